"""How expressions group without parentheses: the tree of each pair of operators is that of the grouped text."""

from __future__ import annotations

import pytest

from hsl import ast
from hsl.errors import Diagnostics
from hsl.parser import parse
from hsl.source import Source

# Loosest first. A level's operators group to the left, except where the grammar below says right.
LEVELS = [
    ["or"],
    ["and"],
    ["==", "!=", "===", "!==", "<", "<=", ">", ">=", "=~", "!~"],
    ["|"],
    ["^"],
    ["&"],
    ["<<", ">>", ">>>"],
    ["."],
    ["+", "-"],
    ["*", "/", "%"],
    ["**"],
]
RIGHT = ["**"]
CHAINS = ["or", "and", "."]  # the tree has the whole chain as one node
LEVEL = {operator: level for level, operators in enumerate(LEVELS) for operator in operators}
PAIRS = [(first, second) for first in LEVEL for second in LEVEL if first != second or first not in CHAINS]


def tree(expression: str) -> ast.Script:
    diagnostics = Diagnostics()
    script = parse(Source("test.hsl", f"{expression};"), diagnostics)
    assert not diagnostics.items, expression
    assert len(script.statements) == 1
    return script


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_precedence_of_pairs(first: str, second: str) -> None:
    left_first = LEVEL[first] > LEVEL[second] or (LEVEL[first] == LEVEL[second] and first not in RIGHT)
    left, right = f"($a {first} $b) {second} $c", f"$a {first} ($b {second} $c)"
    assert tree(left) != tree(right)
    assert tree(f"$a {first} $b {second} $c") == tree(left if left_first else right)


@pytest.mark.parametrize("operator", LEVEL)
@pytest.mark.parametrize("prefix", ["!", "-", "~", "+", "++", "--"])
def test_prefixes_bind_tighter(operator: str, prefix: str) -> None:
    assert tree(f"{prefix}$a {operator} $b") == tree(f"({prefix}$a) {operator} $b")
    assert tree(f"$a {operator} {prefix}$b") == tree(f"$a {operator} ({prefix}$b)")


@pytest.mark.parametrize("operator", LEVEL)
def test_not_is_between_and_and_comparisons(operator: str) -> None:
    inside = operator not in ("and", "or")
    assert tree(f"not $a {operator} $b") == tree(f"not ($a {operator} $b)" if inside else f"(not $a) {operator} $b")


@pytest.mark.parametrize("operator", LEVEL)
def test_coalesce_and_ternary_are_looser(operator: str) -> None:
    assert tree(f"$a {operator} $b ?? $c") == tree(f"($a {operator} $b) ?? $c")
    assert tree(f"$a ?? $b {operator} $c") == tree(f"$a ?? ($b {operator} $c)")
    assert tree(f"$a {operator} $b ? $c : $d") == tree(f"($a {operator} $b) ? $c : $d")
    assert tree(f"$a ? $b : $c {operator} $d") == tree(f"$a ? $b : ($c {operator} $d)")
    assert tree(f"$a ?: $c {operator} $d") == tree(f"$a ?: ($c {operator} $d)")


@pytest.mark.parametrize("operator", LEVEL)
@pytest.mark.parametrize("assignment", ["=", "+=", ".=", ">>>="])
def test_assignments_are_loosest_and_may_be_operands(operator: str, assignment: str) -> None:
    assert tree(f"$a {assignment} $b {operator} $c") == tree(f"$a {assignment} ($b {operator} $c)")
    assert tree(f"$a {operator} $b {assignment} $c") == tree(f"$a {operator} ($b {assignment} $c)")


@pytest.mark.parametrize(
    ("without", "grouped"),
    [
        ("$a ?? $b ?? $c", "$a ?? ($b ?? $c)"),
        ("$a ?? $b ? $c : $d", "($a ?? $b) ? $c : $d"),
        ("$a ? $b : $c ?? $d", "$a ? $b : ($c ?? $d)"),
        ("$a ? $b : $c ? $d : $e", "$a ? $b : ($c ? $d : $e)"),
        ("$a ? $b ? $c : $d : $e", "$a ? ($b ? $c : $d) : $e"),
        ("$a ?: $b ?: $c", "$a ?: ($b ?: $c)"),
        ("$a ? : $b", "$a ?: $b"),
        ("$a = $b = $c", "$a = ($b = $c)"),
        ("$a = $b ? $c : $d", "$a = ($b ? $c : $d)"),
        ("$a = $b ?? $c", "$a = ($b ?? $c)"),
        ("$a ? $b = $c : $d", "$a ? ($b = $c) : $d"),
        ("$a ? $b : $c = $d", "$a ? $b : ($c = $d)"),
        ("$a ?? $b = $c", "$a ?? ($b = $c)"),
        ("not not $a", "not (not $a)"),
        ("not $a = $b", "not ($a = $b)"),
        ("!$a = $b", "!($a = $b)"),
        ("-$a = $b and $c", "-($a = ($b and $c))"),
        ("- - $a", "-(-$a)"),
        ("-$a[0]", "-($a[0])"),
        ("!$a()", "!($a())"),
        ("-$a++", "-($a++)"),
        ("++$a[0][1]", "++(($a[0])[1])"),
        ("$a[0](1)[2:3]", "((($a[0])(1))[2:3])"),
        ("-2 ** 2", "(-2) ** 2"),
        ("2 ** -2 ** 2", "2 ** ((-2) ** 2)"),
        ("$a . -$b . $c", "$a . (-$b) . $c"),
    ],
)
def test_grouping(without: str, grouped: str) -> None:
    assert tree(without) == tree(grouped)
