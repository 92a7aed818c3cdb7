"""Operators with many cells, as tables: formats, bitwise, slices, augmented assignments."""

from __future__ import annotations

import pytest
from snippets import output_of

from hsl.errors import ScriptError

# ---------------------------------------------------------------- the format operator


@pytest.mark.parametrize(
    ("template", "values", "wanted"),
    [
        # argument
        ("%s %s", '["a", "b"]', "a b"),
        ("%[1]s%[0]s", '["a", "b"]', "ba"),
        ("%[1]s%s", '["a", "b", "c"]', "bc"),
        ("%s%[0]s%s", '["a", "b"]', "aab"),
        ("%s", '["a", "not used"]', "a"),
        ("%s-%s", '["k" => "a", 7 => "b"]', "a-b"),
        # width, alignment and fill
        ("%3s|", '["a"]', "a  |"),
        ("%<3s|", '["a"]', "a  |"),
        ("%>3s|", '["a"]', "  a|"),
        ("%^3s|", '["a"]', " a |"),
        ("%^4s|", '["a"]', " a  |"),
        ("%=3s|", '["a"]', "  a|"),
        ("%1s|", '["abc"]', "abc|"),
        ("%'.>4s|", '["a"]', "...a|"),
        ("%'->4s|", '["a"]', "---a|"),
        ("%'%^5s|", '["a"]', "%%a%%|"),
        ("%''<3s|", '["a"]', "a''|"),
        ("%'0=7.2f|", "[-1.5]", "-001.50|"),
        ("%'0>7.2f|", "[-1.5]", "00-1.50|"),
        ("%<7.2f|", "[-1.5]", "-1.50  |"),
        ("%[0]'*>3s%['0]", '["a"]', "**a%['0]"),
        # precision
        ("%.2s|", '["abc"]', "ab|"),
        ("%.9s|", '["abc"]', "abc|"),
        ("%.0s|", '["abc"]', "|"),
        ("%4.2s|", '["abc"]', "ab  |"),
        ("%f", "[1.5]", "1.500000"),
        ("%.0f", "[1.75]", "2"),
        ("%.3f", "[2]", "2.000"),
        ("%.20f", "[0.5]", "0.50000000000000000000"),
        # types
        ("%s %s %s %s", '[1.50, true, none, ["k" => 1]]', '1.5 true none ["k"=>1]'),
        ("%f", '["2.5"]', "2.500000"),
        ("%f", "[true]", "1.000000"),
        ("%.1f %.1f %.1f", "[1 / 0, -1 / 0, 0 / 0]", "inf -inf nan"),
        ("%8f|", "[2]", "2.000000|"),
        ("%9f|", "[2]", " 2.000000|"),
        ("%x %x %x", '[255, "16", 3.9]', "ff 10 3"),
        ("%4x|%<4x|%'0>4x", "[10, 10, 10]", "   a|a   |000a"),
        ("%x", "[-1]", "ffffffff"),
        ("%b", "[10]", "1010"),
        ("%'0>8b", "[5]", "00000101"),
        ("%c%c", "[72, 105]", "Hi"),
        ("%c", "[256 + 65]", "A"),
        ("%3c|%>3c|", "[65, 66]", "A  |  B|"),
        # what a type does not support is ignored
        ("%.2x %.3b %.1c", "[255, 1, 65]", "ff 1 A"),
        # literal signs
        ("%%", "[]", "%"),
        ("100%% of %s", '["x"]', "100% of x"),
        ("%%s", '["x"]', "%s"),
        ("%d %q %", "[1]", "%d %q %"),
        ("%5%", "[1]", "%5%"),
        ("%'05s", '["x"]', "%'05s"),  # a fill wants an alignment
        ("", "[1]", ""),
    ],
)
def test_format(template: str, values: str, wanted: str) -> None:
    assert output_of(f'echo "{template}" % {values};') == [wanted]
    assert output_of(f'$t = "{template}"; $v = {values}; echo $t % $v;') == [wanted]


# ---------------------------------------------------------------- bitwise


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("12 & 10", 8),
        ("12 | 10", 14),
        ("12 ^ 10", 6),
        ("~12", -13),
        ("-1 & 255", 255),
        ("-8 | 3", -5),
        ("-1 ^ 5", -6),
        ("~-1", 0),
        ("~~5", 5),
        ("2147483647 | 0", 2147483647),
        ("2147483648 | 0", -2147483648),
        ("4294967295 & -1", -1),
        ("4294967296 | 1", 1),
        ("-2147483649 | 0", 2147483647),
        ("10 ** 300 | 0", 0),
        ("(1 / 0) | 7", 7),
        ("(0 / 0) | 7", 7),
        ("5.99 & 7", 5),
        ("-5.99 | 0", -5),
        ('"12" & "0xa"', 8),
        ("true | 2", 3),
        ("none ^ 5", 5),
        ("[1] | 4", 4),
        ("1 << 4", 16),
        ("3 << 31", -2147483648),
        ("1 << 31.9", -2147483648),
        ("1 << 32", 0),
        ("1 << -1", 0),
        ("-1 << 4", -16),
        ("256 >> 4", 16),
        ("-256 >> 4", -16),
        ("-1 >> 31", -1),
        ("-1 >> 32", -1),
        ("1 >> 32", 0),
        ("5 >> 0", 5),
        ("-1 >>> 1", 2147483647),
        ("-1 >>> 31", 1),
        ("-1 >>> 32", 0),
        ("-1 >>> 0", -1),
        ("256 >>> 4", 16),
        ("2147483648 >> 1", -1073741824),
        ("2147483648 >>> 1", 1073741824),
    ],
)
def test_bitwise(expression: str, wanted: int) -> None:
    assert output_of(f"echo {expression};") == [str(wanted)]
    assert output_of(f"$v = {expression}; echo $v;") == [str(wanted)]


# ---------------------------------------------------------------- slices

TEXT = "abcdefg"
BOUNDS = ["", "0", "1", "3", "6", "7", "9", "-1", "-3", "-7", "-9"]


def walked(first: int | None, last: int | None, step: int) -> str:
    """What the reference says a slice is, letter by letter."""
    size = len(TEXT)

    def place(bound: int | None, default: int) -> int:
        if bound is None:
            return default
        bound += size if bound < 0 else 0
        return max(0, min(size, bound)) if step > 0 else max(-1, min(size - 1, bound))

    at, end = (place(first, 0), place(last, size)) if step > 0 else (place(first, size - 1), place(last, -1))
    letters = ""
    while (at < end) if step > 0 else (at > end):
        letters += TEXT[at]
        at += step
    return letters


@pytest.mark.parametrize("step", [1, 2, 5, 9, -1, -2, -5, -9])
def test_slices(step: int) -> None:
    """Every pair of bounds, of a string and of an array."""
    pairs = [(first, last) for first in BOUNDS for last in BOUNDS]
    text = f'$s = "{TEXT}"; $a = [{", ".join(map(repr, TEXT))}];'.replace("'", '"')
    text += "".join(f'echo $s[{a}:{b}:{step}] . "|" . implode("", $a[{a}:{b}:{step}]);' for a, b in pairs)
    wanted = [walked(int(a) if a else None, int(b) if b else None, step) for a, b in pairs]
    assert output_of(text) == [f"{letters}|{letters}" for letters in wanted]


# ---------------------------------------------------------------- every operator once more with its other form

VALUES = ["0", "7", "-2.5", '"ab"', '"3"', "true", "none", "[]", '[1, "k" => 2]']
AUGMENTED = ["+", "-", "*", "/", "%", "**", ".", "&", "|", "^", "<<", ">>", ">>>"]


def result(text: str) -> list[str]:
    """What a script prints; of one that fails at run time, its error."""
    try:
        return output_of(text)
    except ScriptError as error:
        return [error.message]


@pytest.mark.parametrize("operator", AUGMENTED)
def test_augmented_assignments_are_the_operators(operator: str) -> None:
    for left in VALUES:
        for right in VALUES:
            wanted = result(f"$x = {left}; $y = {right}; echo $x {operator} $y;")
            assert result(f"echo {left} {operator} {right};") == wanted, (left, right)
            assert result(f"$x = {left}; $x {operator}= {right}; echo $x;") == wanted, (left, right)
            assert result(f'$x["k"] = {left}; $x["k"] {operator}= {right}; echo $x["k"];') == wanted, (left, right)
            assert result(f"$x = [[{left}]]; echo $x[0][0] {operator}= {right};") == wanted, (left, right)


def test_numbers_beyond_a_double_in_the_script() -> None:
    assert output_of(f"echo {'9' * 400}; echo 0x{'f' * 300}; echo 0.{'0' * 400}1;") == ["inf", "inf", "0"]
