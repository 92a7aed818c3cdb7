"""Programs that the grammar makes up: nothing but our own errors comes out of the parser and the compiler, and the
printer writes the same tree.
"""

from __future__ import annotations

from importlib import resources

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.lark import LarkStrategy
from lark import Lark
from lark.grammar import NonTerminal, Symbol
from lark.lexer import PatternStr
from snippets import load
from trees import kinds, round_trip, tree_of

from hsl import ast
from hsl.errors import CompileError

TEXTS = {  # for terminals that are no words and no signs
    "NAME": ["count", "length", "f", "array_map", "A", "static", "match", "nothing", "x", "default", "or"],
    "VARIABLE": ["$a", "$b", "$c_1", "$this", "$argv"],
    "NUMBER": ["0", "1", "2.5", "0x1f", "1_000", "0b11", "0o17", "99999999999"],
    "CONSTANT": ["true", "false", "none"],
    "STRING": ['""', '"a"', '"$a"', '"${b}c\\n"', '"10"', '"/a+/i"', '"\\xff\\$"', '"file:x.hsl"', '"data.json"'],
    "RAW_STRING": ["''raw''", "'#'a'#'", "''\\d''"],
    "REGEX": ["#/a+/", "#/[/]\\//i", "#/(/"],
    "COMMENT": ["/* c */", "// c\n"],
}
OPERATORS = [  # rules of which the first form, the next tighter operator, is the usual one
    *("ternary", "coalesce", "disjunction", "conjunction", "negation", "comparison", "bit_or", "bit_xor", "bit_and"),
    *("shift", "concatenation", "sum", "product", "power", "prefix", "postfix"),
]
FRAMES = {  # of each rule that programs are made of: the program around it
    "statement": "%s",
    "expression": "echo %s;",
    "primary": "echo %s;",
    "prefix": "echo %s;",
    "postfix": "%s += 1; unset(%s);",
    "items": "[%s] = f();",
    "walked": "foreach (f() as $k => %s) echo $k;",
    "parameters": "function f(%s) { yield $a => $b; } class A { constructor(%s) {} }",
    "member": "class A { %s } echo A(1)->f();",
    "imported": 'import { %s } from "x"; function f($a) { while ($a->b) echo [1, f(A::b()) . "c" => !$a]; }',
    "case": "while (f()) switch ($a) { %s }",
    "arm": "echo match ($a) { %s };",
}


class Programs(LarkStrategy):
    """`from_lark`, but for the odds: with equal ones most expressions have no end."""

    def __init__(self, grammar: Lark, rule: str) -> None:
        super().__init__(grammar, rule, terminals(grammar), st.characters(codec="utf-8"))
        self.ignored_symbols = tuple(item for item in self.ignored_symbols if item.name == "COMMENT")
        forms: dict[str, list[tuple[Symbol, ...]]] = {}
        for entry in grammar.grammar.compile([rule], ())[1]:
            forms.setdefault(entry.origin.name, []).append(tuple(entry.expansion))
        for name in OPERATORS:
            usual, *rest = sorted(forms.get(name, [()]), key=len)
            self.nonterminal_strategies[name] = st.sampled_from([usual] * (9 * len(rest)) + [usual, *rest])
        primaries = forms.get("primary", [()])
        leaves = [form for form in primaries if not any(isinstance(item, NonTerminal) for item in form)]
        self.nonterminal_strategies["primary"] = st.sampled_from(leaves * 5 + primaries)


def terminals(grammar: Lark) -> dict[str, st.SearchStrategy[str]]:
    """A few texts for each terminal; names and words have blanks around them."""
    found = {name: st.sampled_from([f" {text} " for text in texts]) for name, texts in TEXTS.items()}
    for terminal in grammar.terminals:
        if isinstance(terminal.pattern, PatternStr) and terminal.pattern.value.isidentifier():
            found[terminal.name] = st.just(f" {terminal.pattern.value} ")
    return found


@pytest.fixture(scope="module")
def grammar() -> Lark:
    return Lark(resources.files("hsl.grammar").joinpath("hsl.lark").read_text(encoding="utf-8"), parser="lalr")


@pytest.mark.parametrize("rule", FRAMES)
def test_programs_of_the_grammar(grammar: Lark, rule: str) -> None:
    """What fails is shown in its shortest form."""
    seen: set[type[ast.Node]] = set()

    def check(part: str) -> None:
        text = FRAMES[rule].replace("%s", part)
        try:
            tree = tree_of(text)
        except CompileError:
            return
        seen.update(kinds(tree))
        assert codes(round_trip(tree)) == codes(text)

    health = list(HealthCheck)
    bounded = settings(max_examples=45, deadline=None, derandomize=True, database=None, suppress_health_check=health)
    bounded(given(Programs(grammar, rule))(check))()
    assert len(seen) >= 12  # the programs are no trivial ones


def codes(text: str) -> list[str]:
    """What the compiler finds in a program, wherever; empty if it loads."""
    try:
        load(text)
    except CompileError as error:
        return sorted(item.code for item in error.errors)
    return []
