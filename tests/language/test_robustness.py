"""Whatever text is loaded, nothing but CompileError comes out; whatever loads and runs, nothing but ScriptError."""

from __future__ import annotations

import random
import re
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.lark import from_lark
from lark import Lark
from snippets import mistakes, output_of

from hsl.compiler import Environment, compile_script
from hsl.errors import CompileError, ScriptError
from hsl.evaluator import Program
from hsl.library import core_registry
from hsl.parser import MAX_SOURCE
from hsl.run import Budget, Run
from hsl.source import Source

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "scripts").rglob("*.hsl")) + sorted((ROOT / "tests" / "language").rglob("*.hsl"))
ENVIRONMENT = Environment(core_registry())
SMALL = Budget(steps=300, seconds=2.0, call_depth=20, output=10_000)
QUICKLY = settings(
    max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def load_and_run(text: bytes) -> None:
    """Load, and run if it loads. Anything but CompileError and ScriptError is a defect."""
    program = loaded(text)
    if program is None or b"sleep" in text:
        return
    error = failure(program)
    if error is not None:
        assert error.span is not None
        error.render().encode()


def loaded(text: bytes) -> Program | None:
    """The program; None if the text has errors, which can all be shown."""
    try:
        return compile_script(Source.from_bytes("fuzz.hsl", text), ENVIRONMENT)
    except CompileError as error:
        diagnostics = error.diagnostics
    assert any(item.severity == "error" for item in diagnostics)
    assert len(diagnostics) <= 10_000
    for item in diagnostics[:200]:
        assert len(item.render().encode()) < 3_000
    return None


def failure(program: Program) -> ScriptError | None:
    """What ended a run early."""
    try:
        Run(program, output=lambda line: None, budget=SMALL).execute()
    except ScriptError as error:
        return error
    return None


def grammar() -> Lark:
    """Our grammar, without the look-around and the back reference that hypothesis cannot make strings for."""
    text = resources.files("hsl.grammar").joinpath("hsl.lark").read_text(encoding="utf-8")
    text = text.replace("(?![a-zA-Z0-9_])", "")
    text, count = re.subn(r"RAW_STRING: .*", "RAW_STRING: /''[a-z]*''/", text)
    assert count == 1
    return Lark(text, parser="lalr")


NAMES = st.sampled_from(["count", "length", "f", "string", "number", "array_map", "is_array", "nothing"])
TERMINALS = {
    "NAME": NAMES.map(lambda name: f" {name} "),
    "VARIABLE": st.sampled_from(["$a", "$b", "$c_1"]),
    "NUMBER": st.sampled_from(["0", "1", "2.5", "0x1f", "1_000", "99999999999"]),
    "STRING": st.sampled_from(['""', '"a"', '"$a"', '"${b}\\n"', '"10"', '"/a+/i"', '"\\xff"']),
    "RAW_STRING": st.sampled_from(["''raw''", "'#'a'#'"]),
    "COMMENT": st.sampled_from(["/* c */", "// c\n"]),
}
KEYWORDS = [
    *("echo", "if", "while", "forever", "for", "foreach", "switch", "case", "default", "break", "continue", "return"),
    *("function", "global", "include", "include_once", "barrier", "builtin", "cache", "array", "isset", "unset", "not"),
]
TERMINALS |= {word.upper(): st.just(f" {word} ") for word in KEYWORDS}


@QUICKLY
@given(from_lark(grammar(), start="start", explicit=TERMINALS))
def test_programs_of_the_grammar(text: str) -> None:
    load_and_run(text.encode("utf-8", "surrogateescape"))


@QUICKLY
@given(st.lists(from_lark(grammar(), start="expression", explicit=TERMINALS), min_size=1, max_size=3))
def test_expressions_of_the_grammar(parts: list[str]) -> None:
    load_and_run("".join(f"echo {part};\n" for part in parts).encode("utf-8", "surrogateescape"))


@QUICKLY
@given(st.binary(max_size=60))
def test_random_bytes(text: bytes) -> None:
    load_and_run(text)


PIECES = re.compile(rb"\s+|[a-zA-Z_0-9$]+|\"[^\"\n]*\"|.", re.S)


def mutated(text: bytes, source: random.Random) -> bytes:
    """The text with some of its tokens dropped, doubled, swapped or replaced."""
    pieces = PIECES.findall(text)
    for _ in range(source.randint(1, 4)):
        if not pieces:
            break
        place = source.randrange(len(pieces))
        kind = source.randrange(5)
        if kind == 0:
            del pieces[place]
        elif kind == 1:
            pieces.insert(place, pieces[place])
        elif kind == 2:
            other = source.randrange(len(pieces))
            pieces[place], pieces[other] = pieces[other], pieces[place]
        elif kind == 3:
            pieces[place] = source.choice([b"{", b"}", b"(", b")", b";", b'"', b"'", b"$", b"/*", b"[", b"::", b"\xff"])
        else:
            del pieces[place : place + source.randint(1, 20)]
    return b"".join(pieces)


@pytest.mark.parametrize("path", SCRIPTS[:: max(1, len(SCRIPTS) // 60)], ids=lambda path: path.stem)
def test_mutated_scripts(path: Path) -> None:
    source = random.Random(path.name)
    text = path.read_bytes()
    for _ in range(6):
        load_and_run(mutated(text, source))


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").rglob("*.hsl")), ids=lambda path: path.stem)
def test_truncated_scripts(path: Path) -> None:
    text = path.read_bytes()
    for end in range(0, len(text), max(1, len(text) // 40)):
        load_and_run(text[:end])


MANY = 8_000  # each level takes more than two frames: beyond Python's recursion limit
MORE = 50_000
DEEP = {
    "parentheses": "echo " + "(" * MANY + "1" + ")" * MANY + ";",
    "open parentheses": "echo " + "(" * MANY,
    "brackets": "echo " + "[" * MANY + "1" + "]" * MANY + ";",
    "braces": "{" * MORE + "}" * MORE,
    "open braces": "{" * MANY,
    "closing braces": "}" * MANY,
    "exclamation marks": "echo " + "!" * MORE + "1;",
    "not": "echo " + "not " * MANY + "1;",
    "minus": "echo " + "- " * MANY + "1;",
    "concatenations": "echo length(" + " . ".join(["1"] * MORE) + ");",
    "and": "echo " + " and ".join(["1"] * MANY) + ";",
    "sums": "echo " + " + ".join(["1"] * MANY) + ";",
    "powers": "echo " + " ** ".join(["1"] * MANY) + ";",
    "subscripts in subscripts": "$a = []; echo " + "$a[" * MANY + "0" + "]" * MANY + ";",
    "subscripts of subscripts": "$a = []; echo $a" + "[0]" * MANY + ";",
    "subscripts assigned to": "$a" + "[0]" * MANY + " = 1;",
    "isset": "echo isset($a" + "[0]" * MANY + ");",
    "unset": "unset($a" + "[0]" * MANY + ");",
    "coalesce of subscripts": "echo $a" + "[0]" * MANY + " ?? 1;",
    "coalesce": "echo " + "none ?? " * MANY + "1;",
    "ternaries": "echo " + "0 ? 1 : " * MANY + "2;",
    "assignments": "$a = " * MANY + "1;",
    "calls": "$f = 1; $f" + "(1)" * MANY + ";",
    "if": "if (1) " * MANY + "echo 1;",
    "else if": "if (0) echo 1;" + " else if (0) echo 1;" * (MANY // 2) + " else echo 2;",
    "functions": "function f() {" * (MANY // 2) + "}" * (MANY // 2),
    "function values": "$f = " + "function () { return " * (MANY // 2) + "1" + "; }" * (MANY // 2) + ";",
    "switches": "switch (1) { case 1: " * (MANY // 2) + "}" * (MANY // 2),
    "patterns": "[" * MANY + "$a" + "]" * MANY + " = 1;",
    "keyed patterns": '["k" => ' * MANY + "$a" + "]" * MANY + " = 1;",
    "patterns of a foreach": "foreach ([] as " + "[" * MANY + "$a" + "]" * MANY + ") ;",
    "targets of one pattern": "[" + ", ".join(f"$a{i}" for i in range(MANY)) + "] = [];",
    "slices of slices": "$a = []; $b = $a" + "[0:1]" * MANY + ";",
    "closures in closures": "$f = "
    + "function () closure ($a) { return " * (MANY // 2)
    + "1"
    + "; }" * (MANY // 2)
    + ";",
    "captures": "$f = function () closure (" + ", ".join(f"$a{i}" for i in range(MANY)) + ") { return 1; };",
    "matches": "$a = " + "match (1) { 1 => " * (MANY // 2) + "1" + "}" * (MANY // 2) + ";",
    "arms": "$a = match (1) { " + "1 => 1, " * MANY + "};",
    "throws": "throw " * MANY + "1;",
    "tries": "try { " * (MANY // 2) + "} catch ($e) { }" * (MANY // 2),
    "properties": "$a = none; echo $a" + "->b" * MANY + ";",
    "properties assigned to": "$a" + "->b" * MANY + " = 1;",
    "members of a class": "class A { " + " ".join(f"$a{i} = {i};" for i in range(MANY)) + " } $a = A();",
    "classes": "".join(f"class A{i} {{ function f() {{ return 1; }} }}\n" for i in range(MANY // 10)),
    "a long regular expression": "echo #/" + "a" * (20 * MORE) + "/;",
    "spreads": "echo [" + "...[" * MANY + "]" * MANY + "];",
    "arguments": "echo length(" * MANY + "1" + ")" * MANY + ";",
    "items": "echo count([" + "1," * MANY + "]);",
    "statements": "$a = 1;" * MANY,
    "comments": "/* " * MANY,
    "quotes": "'a " * MANY,
    "double quotes": '"' * (MANY + 1),
    "dollars": "$ " * MANY,
    "a long string": 'echo length("' + "a" * (20 * MORE) + '");',
    "a long string of escapes": 'echo length("' + "\\n" * (10 * MORE) + '");',
    "a string without an end": '$a = "' + "a" * (20 * MORE),
    "a long name": "$" + "a" * (20 * MORE) + " = 1;",
    "a long number": "echo " + "9" * (20 * MORE) + ";",
    "a long hexadecimal number": "echo 0x" + "f" * (20 * MORE) + ";",
    "one error after the other": "echo 1 2;\n" * MANY,
    "one missing function after the other": "nothing();\n" * MANY,
    "one undeclared variable after the other": "".join(f"echo $a{i};" for i in range(MANY // 10)),
}


LONG = {"parentheses", "concatenations", "and", "else if", "items", "statements", "a long string", "a long name"}
LONG |= {"a long string of escapes", "a long number", "a long hexadecimal number"}  # what is long, not deep, loads


@pytest.mark.parametrize("name", DEEP)
def test_depth_and_length(name: str) -> None:
    program = loaded(DEEP[name].encode())
    assert program is not None or name not in LONG
    if program is not None:
        failure(program)


def test_nesting_at_the_limit() -> None:
    depth = next(depth for depth in range(390, 500) if mistakes("echo " + "!" * depth + "1;"))
    assert mistakes("echo " + "!" * (depth - 1) + "1;") == []
    assert 395 < depth < 405
    assert mistakes("echo " + "!" * depth + "1;") == [f"1:{6 + depth}: nested more than 400 deep"]


def test_the_size_of_a_file() -> None:
    text = "echo 1;" + " " * (MAX_SOURCE - 7)
    assert mistakes(text) == []
    assert mistakes(text + " ") == [f"1:1: the file is larger than {MAX_SOURCE} characters"]


VALUES = [
    *("none", "true", "false", "0", "-1", "1.5", "2 ** 31", "-(2 ** 53)", "10 ** 300", "1 / 0", "-1 / 0", "0 / 0"),
    *('""', '"a"', '"5"', '"\\xff\\x00"', '"a" * 300', "[]", "[1, 2]", '["k" => [none]]', '[["a"], "b", 3]'),
    *("count", "function ($x) { return $x; }", "function (...$x) { return none; }"),
]
OPERATORS = [
    *("+", "-", "*", "/", "%", "**", ".", "&", "|", "^", "<<", ">>", ">>>", "==", "!=", "===", "!==", "<", "<="),
    *(">", ">=", "=~", "!~", "and", "or", "??", "?:"),
]


@pytest.mark.parametrize("operator", OPERATORS)
def test_operators_take_anything(operator: str) -> None:
    for left in VALUES:
        for right in VALUES[::2]:
            load_and_run(f"$r = {right}; echo {left} {operator} $r;".encode())
        load_and_run(f"echo {left} {operator} {left};".encode())


@pytest.mark.parametrize(
    "form",
    [
        *("echo %s[%s];", "echo isset(%s[%s]);", "$x = %s; $x[%s] = 1; echo $x;", "$x = %s; unset($x[%s]); echo $x;"),
        *("echo %s[%s:];", "echo %s[:%s];", "echo %s[::%s];", "echo %s[1:2:%s];", "$x = %s; $x[%s][] = 1; echo $x;"),
        *(
            "echo %s(%s);",
            "echo [...%s, ...%s];",
            "echo [%s => %s];",
            "foreach (%s as $x) echo %s;",
            "echo %s ? 1 : %s;",
        ),
        *("$x = %s; $x += %s; echo $x;", "$x = %s; $x .= %s; echo $x;", "$x = %s; $x[%s]++; echo $x;"),
        *("switch (%s) { case %s: echo 1; }", "$x = cache [] count(%s . %s);", "barrier %s { echo %s; }"),
        *("$x = %s; echo -$x . +$x . ~$x . !$x; echo %s;", "$x = %s; echo $x++ . --$x; echo %s;"),
        *("$x = [1, 2, 3]; $x[%s:%s] = [4]; echo $x;", "$x = %s; $x[::2] = %s; echo $x;"),
        *("$x = %s; $x[1:] += %s; echo $x;", "$x = %s; echo unset($x[%s:]); echo $x;"),
        *("[$x, ...$y] = %s; echo [$x, $y, %s];", '["k" => $x = %s] = %s; echo $x;', "[%s => $x] = %s; echo $x;"),
        *("foreach ([%s, %s] as [$x, [$y]]) echo [$x, $y];", "echo match (%s) { %s => 1, default => 2 };"),
        *("try { throw %s; } catch ($e) { echo $e . %s; }", "throw %s . %s;"),
        *("$x = %s; $x->p->q = %s; echo $x;", "$x = %s; echo $x->p . isset($x->p[%s]) . unset($x->p);"),
        *("class A { $p; } $x = A(); $x[%s] = %s; echo $x->p;", "class A { $p; } $x = A(); $x->p[%s] .= %s;"),
        *("class A { function m() {} } echo A() == %s . (A() < %s);", "class A { $p; } echo %s . A()[%s] . -A();"),
        *("echo %s; return %s;", '$o = ["ttl" => %s, "size" => %s]; $x = cache [...$o] count([]);'),
    ],
)
def test_forms_take_anything(form: str) -> None:
    for left in VALUES[::2]:
        for right in VALUES[1::2]:
            load_and_run((form % (f"({left})", f"({right})")).encode())


@pytest.mark.parametrize("name", sorted(set(ENVIRONMENT.registry.names()) - {"sleep", "syslog", "usleep"}))
def test_builtins_take_anything(name: str) -> None:
    """Every function of the library with every value, and with random combinations of them."""
    builtin = ENVIRONMENT.registry.get(name)
    assert builtin is not None
    source = random.Random(name)
    most = builtin.maximum if builtin.maximum is not None else builtin.minimum + 2
    rows = [[value] * count for value in VALUES for count in range(builtin.minimum, most + 1)]
    rows += [[source.choice(VALUES) for _ in range(source.randint(builtin.minimum, most))] for _ in range(20)]
    for row in rows:
        load_and_run(f"$x = {name}({', '.join(row)});".encode())
        load_and_run(f"$a = [{', '.join(row)}]; $x = {name}(...$a);".encode())


def test_results_of_what_is_compared_with_itself() -> None:
    for value in VALUES:
        if "0 / 0" not in value:
            assert output_of(f"$v = {value}; echo $v == $v; echo $v === $v;") == ["true", "true"], value
