"""The reference's tables, whole: truthiness, loose and strict equality, key casts, numbers as strings and back."""

from __future__ import annotations

import pytest
from snippets import output_of

FUNCTION = "length"
CLOSURE = "$closure"
OBJECT = "$object"
METHOD = "$object->m"
PRELUDE = (
    "class Box { function m() { return 0; } } $object = Box(); $closure = function () closure ($object) { return 0; };"
)
VALUES = {
    "none": "none",
    "true": "boolean",
    "false": "boolean",
    "0": "number",
    "1": "number",
    "2": "number",
    '""': "string",
    '"0"': "string",
    '"1"': "string",
    '"01"': "string",
    '"x"': "string",
    "[]": "array",
    "[0]": "array",
    '["0"]': "array",
    FUNCTION: "function",
    CLOSURE: "function",
    METHOD: "function",
    OBJECT: "object",
}

TRUE = {"true", "1", "2", '"0"', '"1"', '"01"', '"x"', "[0]", '["0"]', FUNCTION, CLOSURE, METHOD, OBJECT}

# Each unordered pair of different values that are equal by ==. All other pairs are not.
EQUAL = {
    frozenset(pair)
    for pair in [
        ("true", "1"),
        ("false", "0"),
        ("true", '"0"'),
        ("true", '"1"'),
        ("true", '"01"'),
        ("true", '"x"'),
        ("false", '""'),
        ("true", "[0]"),
        ("true", '["0"]'),
        ("false", "[]"),
        ("true", FUNCTION),
        ("0", '""'),
        ("0", '"0"'),
        ("0", '"x"'),
        ("1", '"1"'),
        ("1", '"01"'),
        ("0", "[]"),
        ("1", "[0]"),
        ("1", '["0"]'),
        ("1", FUNCTION),
        *((one, other) for one in ("true", "1") for other in (CLOSURE, METHOD, OBJECT)),
    ]
}


def echo(expression: str) -> str:
    return output_of(f"{PRELUDE} echo {expression};")[0]


@pytest.mark.parametrize("value", VALUES)
def test_truthiness(value: str) -> None:
    wanted = str(value in TRUE).lower()
    assert echo(f'{value} ? "true" : "false"') == wanted
    assert output_of(f'{PRELUDE} $v = {value}; if ($v) echo "true"; else echo "false";') == [wanted]
    assert echo(f"!!({value})") == wanted


@pytest.mark.parametrize("left", VALUES)
@pytest.mark.parametrize("right", VALUES)
def test_loose_equality(left: str, right: str) -> None:
    wanted = left == right or frozenset((left, right)) in EQUAL
    assert echo(f"{left} == {right}") == str(wanted).lower()
    assert echo(f"{left} != {right}") == str(not wanted).lower()
    assert output_of(f"{PRELUDE} $l = {left}; $r = {right}; echo $l == $r;") == [str(wanted).lower()]


@pytest.mark.parametrize("left", VALUES)
@pytest.mark.parametrize("right", VALUES)
def test_strict_equality(left: str, right: str) -> None:
    assert echo(f"{left} === {right}") == str(left == right).lower()
    assert echo(f"{left} !== {right}") == str(left != right).lower()


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("0", "0"),
        ("1.0", "1"),
        ("-1.50", "-1.5"),
        ("0.1", "0.1"),
        ("100", "100"),
        ("1 / 3", "0.3333333333333333"),
        ("2 / 3", "0.6666666666666666"),
        ("123456.789", "123456.789"),
        ("0.000001", "0.000001"),
        ("0.0000015", "0.0000015"),
        ("0.0000001", "1e-7"),
        ("0.00000012", "1.2e-7"),
        ("-0.0000001", "-1e-7"),
        ("2 ** 53", "9007199254740992"),
        ("2 ** 53 + 2", "9007199254740994"),
        ("2 ** 63", "9223372036854776000"),
        ("-(2 ** 63)", "-9223372036854776000"),
        ("10 ** 15 + 0.5", "1000000000000000.5"),
        ("10 ** 16", "10000000000000000"),
        ("10 ** 20", "100000000000000000000"),
        ("999999999999999900000", "999999999999999900000"),
        ("10 ** 21", "1e+21"),
        ("1.5 * 2 ** 80", "1.8133887294219438e+24"),
        ("2 ** 1023 * 1.5", "1.348269851146737e+308"),
        ("1 / 0", "inf"),
        ("-1 / 0", "-inf"),
        ("0 / 0", "nan"),
        ("0 * -1", "0"),
    ],
)
def test_numbers_as_strings(expression: str, wanted: str) -> None:
    assert echo(expression) == wanted
    assert echo(f'({expression}) . ""') == wanted
    assert echo(f"[{expression}]") == f"[0=>{wanted}]"


@pytest.mark.parametrize("power", range(-20, 309, 7))
def test_numbers_as_strings_read_back(power: int) -> None:
    assert echo(f"number(string(1.1 * 10 ** {power})) === 1.1 * 10 ** {power}") == "true"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('"12"', "12"),
        ('"-12.5"', "-12.5"),
        ('"+3"', "3"),
        ('" 7 "', "7"),
        ('"0x1f"', "31"),
        ('"0XFF"', "255"),
        ('"007"', "7"),
        ('""', "0"),
        ('"x"', "0"),
        ('"12x"', "0"),
        ('"1 2"', "0"),
        ('"0x"', "0"),
        ('"--1"', "0"),
        ("true", "1"),
        ("false", "0"),
        ("none", "0"),
        ("[5]", "0"),
        ("length", "0"),
        (OBJECT, "0"),
        ('"20000000000"', "20000000000"),
    ],
)
def test_strings_as_numbers(text: str, wanted: str) -> None:
    assert echo(f"number({text})") == wanted


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("true", "1"),
        ("false", "0"),
        ("1.9", "1"),
        ("-1.9", "-1"),
        ("0.5", "0"),
        ("-0.5", "0"),
        ('"1"', "1"),
        ('"-1"', "-1"),
        ('"0"', "0"),
        ('"-0"', '"-0"'),
        ('"01"', '"01"'),
        ('"+1"', '"+1"'),
        ('"1.5"', '"1.5"'),
        ('" 1"', '" 1"'),
        ('"1e3"', '"1e3"'),
        ('"0x1"', '"0x1"'),
        ('""', '""'),
        ("20000000000", "20000000000"),
        ('"20000000000"', "20000000000"),
        ("-20000000000.7", "-20000000000"),
        ('"9007199254740991"', "9007199254740991"),
        ('"9007199254740993"', '"9007199254740993"'),
        ("1 / 0", "inf"),
        ("0 / 0", "nan"),
        ("none", "none"),
        ("[]", "[]"),
        ('["a"]', '[0=>"a"]'),
        ("length", "function length"),
    ],
)
def test_key_casts(key: str, wanted: str) -> None:
    assert echo(f"[{key} => 5]") == f"[{wanted}=>5]"
    assert output_of(f"$a[{key}] = 5; echo $a; echo $a[{key}]; echo isset($a[{key}]); unset($a[{key}]); echo $a;") == [
        f"[{wanted}=>5]",
        "5",
        "true",
        "[]",
    ]


@pytest.mark.parametrize(
    ("left", "operator", "right", "wanted"),
    [
        ("1", "<", "2", True),
        ("2", "<=", "2", True),
        ('"a"', "<", '"b"', True),
        ('"10"', "<", '"9"', True),
        ('"10"', "<", "9", False),
        ('"x"', "<", "1", True),
        ("none", "<=", "0", True),
        ("none", "<", "none", False),
        ("[9]", ">=", "0", True),
        ("true", ">", "0.5", True),
        ("0 / 0", "<", "1", False),
        ("0 / 0", ">=", "1", False),
        ("1 / 0", ">", "10 ** 308", True),
        ("length", "<", "1", True),
        ('""', ">=", '""', True),
    ],
)
def test_order(left: str, operator: str, right: str, wanted: bool) -> None:
    assert echo(f"{left} {operator} {right}") == str(wanted).lower()


# The grammar's shift/reduce conflicts: assignment as an operand, and the dangling else. Shift is right for each.
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (f"echo 1 {operator} $a = 3; echo $a;", [result, "3"])
        for operator, result in [
            ("+", "4"),
            ("-", "-2"),
            ("*", "3"),
            ("/", "0.3333333333333333"),
            ("%", "1"),
            ("**", "1"),
            (".", "13"),
            ("<<", "8"),
            ("&", "1"),
            ("^", "2"),
            ("|", "3"),
            ("==", "false"),
            ("<", "true"),
            ("and", "true"),
        ]
    ]
    + [
        ("echo -$a = 3; echo $a;", ["-3", "3"]),
        ("echo !$a = 0; echo $a;", ["true", "0"]),
        ("echo ~$a = 0; echo $a;", ["-1", "0"]),
        ("echo not $a = 0; echo $a;", ["true", "0"]),
        ("$a = 1; echo 1 + $a += 3; echo $a;", ["5", "4"]),
        ("$a = 1; echo 2 + $a .= 3 + 1; echo $a;", ["214", "14"]),
        ("echo 1 + $a[0] = 2 + $b = 3; echo $a . $b;", ["6", "[0=>5]3"]),
        ("echo false ? 1 : $a = 2; echo $a;", ["2", "2"]),
        ("echo true ? $a = 1 : 2; echo $a;", ["1", "1"]),
        ("echo none ?? $a = 4; echo $a;", ["4", "4"]),
        ("echo 1 ?? $a = 4; echo isset($a);", ["1", "false"]),
        ("echo 0 and $a = 4; echo isset($a);", ["false", "false"]),
        ("$a = 1 ? 2 : 3; echo $a;", ["2"]),
        ("$a = none ?? 3; echo $a;", ["3"]),
        ("$a = 1 and 0; echo $a;", ["false"]),
        ("if (1) if (0) echo 1; else echo 2;", ["2"]),
        ("if (0) if (0) echo 1; else echo 2;", []),
        ("if (1) for (;false;) if (0) echo 1; else echo 2; else echo 3;", []),
    ],
)
def test_grammar_conflicts(text: str, wanted: list[str]) -> None:
    assert output_of(text) == wanted
