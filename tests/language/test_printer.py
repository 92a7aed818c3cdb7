"""What the printer writes parses to the same tree, is written the same way again, and has no parenthesis too many."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees import flat, kinds, round_trip, tree_of

from hsl import ast
from hsl.errors import Diagnostics
from hsl.parser import parse
from hsl.printer import print_tree
from hsl.source import Source, Span

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path for folder in ("scripts", "tests") for path in (ROOT / folder).rglob("*.hsl"))


def printed(text: str) -> str:
    return round_trip(tree_of(text)).removesuffix("\n")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_scripts(path: Path) -> None:
    """Of a script with syntax errors what is left of it."""
    diagnostics = Diagnostics()
    tree = parse(Source.from_bytes(path.name, path.read_bytes()), diagnostics)
    if diagnostics.items:
        assert flat(parse(Source("again", print_tree(tree)), Diagnostics())) == flat(tree)
    else:
        round_trip(tree)


# One of everything, as the printer writes it.
EVERYTHING = r"""
include "a.hsl";
include_once "b \$c.hsl";
import { f, g as h, $x, $y as $z } from "modules/f";
import * as ns from "extras://rate";
import $data from "data.csv" with ["delimiter" => ";", "header" => true];
import $json from "data.json";
global $a, $b;
echo 10 . 0.5 . 65535 . "text" . ''\d+"'' . #/a[/]\/b/iU . none . true . false;
echo "$a ${b}c \$d $e[0] \x00\xff\r\n\t\\" . "it's a \"";
$a = [1, "k" => [], ...$b, ...f()];
[$a, $b = 1, [$c, $d[0]], ...$rest] = f();
["k" => $a, "l" => $b = 1] = f();
$a[] = $a[0]["k"][1:][:-1][1:2][::2][1:2:3][f() : :2]->p->q[];
$a += $b -= $c *= $d /= $e %= $f **= $g .= $h &= $i |= $j ^= $k <<= $l >>= $m >>>= 1;
$a++;
--$a;
f(1, ...$a)(2)["x"]->y()->z;
builtin f("x");
$a = builtin f;
$a = ns::f(ns::$x) . static::$y . static::z();
cache ["ttl" => 60, "argv" => [$a]] f($a)["k"];
cache [] builtin http("x");
cache [] Name::f();
cache [] $this->a->f();
isset($a, $b["k"]);
unset($a[1:3]);
$f = function () {};
$f = function ($x) { return $x; };
$f = function ($x, $y = [1], ...$z) closure ($a, $b) {
	echo $x;
	return $a;
};
$f = function { return $argv; };
$a = !$b ? $c ?? $d : $e and $f or $g;
$a = match (f()) {
	1, 2 => "a",
	f() => match (true) {
		default => 3,
	},
	default => throw Exception("b"),
};
throw "x";
{}
{
	echo 1;
}
if ($a)
	echo 1;
if ($a) {
	echo 1;
} else
	echo 2;
if ($a) {
	echo 1;
} else if ($b) {
	echo 2;
} else {
	echo 3;
}
while ($a)
	forever {
		break;
	}
for (;;) {
	continue;
}
for ($i = 0; $i < 3; $i++)
	echo $i;
foreach ($a as $b)
	foreach ($b as $k => ["x" => $v]) {}
switch ($a) {
	case 1:
	case "b":
		echo 1;
		break;
	default:
		echo 2;
}
switch ($a) {}
try {
	f();
} catch ($e) {}
barrier "x" {
	f();
}
barrier "x" . $a => $b {
	$b += 1;
}
return;

function f($a, $b = 2, ...$c) {
	yield;
	yield 1;
	yield "k" => $a;
	return 3;
}

function g {
	return $argc;
}

class Empty {}

class Name {
	$a;
	private static $b = [1];
	readonly private $c = none;

	constructor($a = 1) {
		$this->a = $a;
	}

	private function m() {}

	static function constructor() {
		return static::$b;
	}
}
""".strip("\n")


def test_everything() -> None:
    assert printed(EVERYTHING) == EVERYTHING


def test_everything_is_everything() -> None:
    known = {kind for kind in vars(ast).values() if isinstance(kind, type) and issubclass(kind, ast.Node)}
    assert known - set(kinds(tree_of(EVERYTHING))) == {ast.Node, ast.Member}


@pytest.mark.parametrize(
    "text",
    [
        # each operator beside the next one, and what needs its parentheses
        *("$a = $b = 1", "$a ? $b : $c ? $d : $e", "($a ? $b : $c) ? $d : $e", "$a ?: $b ?: $c", "($a ?: $b) ?: $c"),
        *("$a ? $b ? 1 : 2 : 3", "$a ?? $b ?? $c", "($a ?? $b) ?? $c", "$a ?? $b ? $c ?? $d : $e ?? $f"),
        *("$a or $b and $c or $d", "($a or $b) and $c", "$a or ($b or $c)", "($a or $b) or $c", "$a and ($b and $c)"),
        *("not $a == $b", "!$a and not $b . $c", "!($a and $b)", "!$a == $b", "!($a == $b) == $c", "!!$a"),
        *("$a == $b == $c", "$a == ($b == $c)", "$a < $b | $c ^ $d & $e << $f . $g + $h * $i ** -$j"),
        *("($a == $b) | $c", "($a | $b) ^ $c", "($a ^ $b) & $c", "($a & $b) << $c", "($a << $b) . $c"),
        *("$a >> ($b >>> $c)", "($a . $b) + $c", "$a . $b + $c . $d", "($a . $b) . $c", "$a . ($b . $c)"),
        *("$a - $b + $c", "$a - ($b + $c)", "($a + $b) * $c", "$a * $b % $c", "$a * ($b % $c)", "($a * $b) ** $c"),
        *("$a ** $b ** $c", "($a ** $b) ** $c", "-$a ** -$b", "-($a ** $b)", "(-$a)[0]", "-$a[0]", "(!$a)->b"),
        *("- -$a", "- --$a", "-++$a", "+ +$a", "+ ++$a", "++ ++$a", "-- -$a", "+-$a", "~~$a", "! ~$a", "!-$a"),
        *("$a++ + ++$b", "$a-- - --$b", "(++$a)++", "++$a++", "-$a--", "(-$a)--"),
        # an assignment takes everything behind it
        *("!$a = f()", "not $a == $b and $c = 1", "($a = f()) and $b = g($a)", "($a = 1) + 2", "1 + ($a = 2)"),
        *("-($a = 1)", "$a = $b += $c", "($a = $b) ?? $c", "$a ?? $b = $c", "($a = 1) ? 2 : 3", "$a ? $b = 1 : $c = 2"),
        *("!($a = 1) and $b", "!($a = 1) == $b", "$a == !$b = 1", "![$a, $b] = f()", "f($a = 1)", "[$a = 1, 2]"),
        *("$a[$b = 1]", "($a = 1)[0]", "($a = [1])[0] = 2", "(throw 1) or 2", "$a or throw 1", "throw $a or $b"),
        *("$a ?? throw 1", "$a ? 1 : throw 2", "throw $a = 1", "$a = throw 1", "(throw 1) ?? 2", "-(throw 1)"),
        # what stands before brackets
        *("(1 . 2)[0]", "f()()", "function () {}()", "(function () { return 1; } . 2)()", "[1][0]", '"a"[0]', "f[0]"),
        *("none[0]", "1->x", "(f or g)()", "$a->b()->c", "builtin f(1)", "builtin f", "A::b", "A::b()", "A::$b[0]"),
        # slices: a name before two colons is not a scope
        *("$a[f : :2]", "$a[f:2:3]", "$a[$b::2]", "$a[1::2]", "$a[::-1]", "$a[:]", "$a[f:g]", "$a[A::b:]"),
        *("$a[($b ? 1 : 2):]", "$a[$b ?? 1:$c ?? 2]", "$a[($b = 1):]"),
        # words of the language may be names of properties and methods
        *("$a->if", "$a->match()", "A::if()", "$a->or or $b->and"),
    ],
)
def test_parentheses(text: str) -> None:
    """These are written as the printer writes them."""
    assert printed(f"{text};") == f"{text};"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("(($a))", "$a"),
        ("($a * $b) + $c", "$a * $b + $c"),
        ("$a = ($b = (1 + 2))", "$a = $b = 1 + 2"),
        ("$a ** ($b ** $c)", "$a ** $b ** $c"),
        ("(-$a) ** 2", "-$a ** 2"),
        ("$a . ($b + $c)", "$a . $b + $c"),
        ("$a + $b = $c", "$a + ($b = $c)"),
        ("not not $a", "!!$a"),
        ("! ($a == $b)", "not $a == $b"),
        ("1 + !($a == $b)", "1 + !($a == $b)"),
        ("not ($a or $b)", "!($a or $b)"),
        ("($a ?? $b) ? ($c) : ($d ? $e : $f)", "$a ?? $b ? $c : $d ? $e : $f"),
        ("$a ? : $b", "$a ?: $b"),
        ("array(1, array())", "[1, []]"),
        ("f(1, 2,)", "f(1, 2)"),
        ("0x1F", "31"),
        ("0b11 + 0o17 + 1_000.50", "3 + 15 + 1000.5"),
        ("0.0000001", "0.0000001"),
        ("123456789012345678901234567890", "123456789012345680000000000000"),
        ("9" * 400, "9" * 309),
        ("'#'it''s'#'", "\"it''s\""),
        (r'"\d\\d"', r"''\d\d''"),
        (r'''"a\"b"''', """''a"b''"""),
        (r'"\$a$\{b}${c}$1$"', r'"\$a$\\{b}$c$1$"'),
        ('"${a}b${c}$d"', '"${a}b$c$d"'),
        ('"a\nb\u200b\u00e9\u00a0"', r'"a\nb\xe2\x80\x8bé\xc2\xa0"'),
        ("''$a''", r'"\$a"'),
        ("'x'\\'x'", "''\\''"),
    ],
)
def test_other_ways_to_write_it(text: str, wanted: str) -> None:
    assert printed(f"{text};") == f"{wanted};"


def test_bytes_that_are_no_text() -> None:
    text = b"echo \"\xff\" . ''\xc3'' . #/\xff/;".decode("utf-8", "surrogateescape")
    assert printed(text).encode("utf-8", "surrogateescape") == b'echo "\\xff" . "\\xc3" . #/\xff/;'


def test_a_dangling_else_has_braces() -> None:
    """No text gives this tree: the `else` is the outer one's."""
    inner, outer = tree_of("if (1) while (2) if (3) echo 4;").statements[0], tree_of("if (1) echo 4; else echo 5;")
    (statement,) = outer.statements
    assert isinstance(inner, ast.If)
    assert isinstance(statement, ast.If)
    made = ast.If(Span(Source("", ""), 0, 0), statement.condition, inner.then, statement.otherwise)
    wanted = "if (1) { while (2) if (3) echo 4; } else echo 5;"
    assert flat(tree_of(print_tree(made))) == flat(tree_of(wanted))


def test_a_line_may_have_120_columns() -> None:
    for word in ("a" * 100, "a" * 101):
        text = f'$a = f("{word}", 1, 2);'
        assert (printed(f"if (1) {text}").count("\n") > 1) == (4 + len(text) > 120)


LONG = r"""
function_with_a_long_name(
	"an argument that takes some room in the line",
	[
		"key" => "a value that takes some room in the line",
		"other key" => ["short", "array"],
		"third key" => "another value that takes some room",
	],
	...$rest,
);
one_argument([
	"key" => "a value that takes some room in the line",
	"other key" => "a value that takes some room in the line",
	"third key" => "another value that takes some room",
]);
$found = array_filter(
	function ($item) { return $item["a key of an array"] > 10; },
	$a_variable_with_a_long_name,
	$another_variable_with_a_long_name,
);
$found = array_filter(function ($item) {
	echo "this function has two statements";
	return $item["a key of an array"] > 10;
}, $a_variable_with_a_long_name, $another_variable_with_a_long_name, $a_third_variable_with_a_long_name);
$short = array_map(function ($x) { return "this is too long " . $x . " for a line with the rest"; }, $short_variable);
$text = "a text that takes some room in the line"
	. $a_variable_with_a_long_name
	. "another text that takes some room in the line"
	. f($a_variable_with_a_long_name, 1);
$function = function ($first) {
	return "a text that takes some room in the line" . "another text that takes some room in the li" . $first;
};
if ($a_variable_with_a_long_name == "a text that takes some room"
	and $another_variable_with_a_long_name == "a text that takes some room")
	echo 1;
import {
	a_function_with_a_long_name,
	another_function_with_a_long_name,
	$a_variable_with_a_long_name as $short,
} from "module";

function with_many_parameters(
	$a_variable_with_a_long_name,
	$another_variable_with_a_long_name,
	$a_third_variable_with_a_long_name = 1,
) {
	return 1;
}
""".strip("\n")


def test_long_lines_are_broken() -> None:
    assert printed(LONG) == LONG
    assert printed(" ".join(LONG.split())) == LONG


MANY = 8_000


@pytest.mark.parametrize(
    "text",
    [
        "if ($a) f();" + " else if ($a) f();" * MANY,
        "if ($a) {} " + " else if ($a) {}" * MANY + " else f();",
        "echo " + " . ".join(["$a"] * MANY) + ";",
        "echo " + " and ".join(["$a"] * MANY) + ";",
        "echo " + " - ".join(["$a"] * MANY) + ";",
        "echo " + " ** ".join(["$a"] * MANY) + ";",
        "echo " + "!" * MANY + "1;",
        "echo " + "- " * MANY + "1;",
        "echo " + "[" * MANY + "1" + "]" * MANY + ";",
        "echo " + "f(" * MANY + "1" + ")" * MANY + ";",
        "echo " + "0 ? 1 : " * MANY + "2;",
        "echo " + "$a ?? " * MANY + "2;",
        "$a = " * MANY + "2;",
        "$a" + "[0]" * MANY + " = 2;",
        "$a" + "->b(1)" * MANY + ";",
        "echo [" + "1," * MANY + "];",
        "echo 1;" * MANY,
        "{" * 1_000 + "}" * 1_000,
        "if (1) " * 1_000 + "echo 1;" + "else f();" * 1_000,
        "$f = " + "function () { return " * 1_000 + "1" + "; }" * 1_000 + ";",
    ],
    ids=lambda text: text[:20],
)
def test_depth_and_length(text: str) -> None:
    """Longer and deeper than Python could recurse."""
    round_trip(tree_of(text))
