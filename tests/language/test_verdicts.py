"""What ends a script, and errors of the host, on their way out through every kind of statement."""

from __future__ import annotations

import pytest

from hsl.builtins import Chapter
from hsl.compiler import Environment, compile_script
from hsl.errors import Halt, ScriptError
from hsl.library import core_registry
from hsl.run import Run
from hsl.source import Source

chapter = Chapter("Stages")


class Verdict(Halt):
    """As the mail runtime has it: a class in Python below one that may be compiled."""


class Outage(ScriptError):
    """The same for errors."""


@chapter.function("stop", halts=True)
def stop() -> None:
    """End the script."""
    raise Verdict


@chapter.function("fail")
def fail() -> None:
    """Report a backend that is away."""
    raise Outage("away")


def run(text: str) -> list[bytes]:
    """What a script wrote. Raises what it raises."""
    lines: list[bytes] = []
    program = compile_script(Source("test.hsl", text), Environment(core_registry([chapter])))
    Run(program, output=lines.append).execute()
    return lines


@pytest.mark.parametrize(
    "text",
    [
        "stop();",
        "if (true) stop();",
        "if (false) ; else if (true) { stop(); }",
        "while (true) stop();",
        "for (;;) { { stop(); } }",
        "foreach ([1] as $x) stop();",
        "foreach ([1] as $k => $x) stop();",
        'foreach (["a" => 1] as $x) stop();',
        "forever { switch (1) { case 1: stop(); } }",
        'switch ("a") { case "a": case "b": stop(); }',
        'barrier "b" { stop(); }',
        "try { stop(); } catch ($e) { }",
        "try { throw 1; } catch ($e) { stop(); }",
        "function f() { stop(); } f();",
        "function f() { stop(); } $x = [f()];",
        "class A { constructor() { stop(); } } A();",
        "class A { $x = [1]; function m() { foreach ($this->x as $i) stop(); } } A()->m();",
        "array_map(function ($x) { stop(); }, [1]);",
        "$f = function () closure ($f) { stop(); }; $f();",
        "function g() { yield 1; stop(); } foreach (g() as $x) ;",
        "function g() { yield 1; if (true) { stop(); } yield 2; } function h() { foreach (g() as $x) yield $x; }"
        " foreach (h() as $x) ;",
        "function g() { try { stop(); } catch ($e) { } yield 1; } foreach (g() as $x) ;",
        "true and stop();",
        "$x = none ?? stop();",
    ],
)
def test_a_verdict_ends_the_script(text: str) -> None:
    with pytest.raises(Verdict):
        run(f'{text} echo "never";')


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("echo 1;\n  stop();", "2:3"),
        ("if (true) stop();", "1:11"),
        ("function f() { stop(); }\nf();", "1:16"),
        ("$x = 1;\n$x and stop();", "2:1"),
        ("while (true) {\n  $x = none ?? stop();\n}", "2:3"),
        ("class A { constructor() { stop(); } }\nA();", "1:27"),
        ("array_map(function ($x) { stop(); }, [1]);", "1:27"),
        ("function g() { yield 1; stop(); }\nforeach (g() as $x) ;", "1:25"),
        ("function g() { yield 1; true and stop(); }\nforeach (g() as $x) ;", "1:25"),
    ],
)
def test_a_verdict_knows_its_innermost_statement(text: str, place: str) -> None:
    with pytest.raises(Verdict) as found:
        run(text)
    assert str(found.value.span) == f"test.hsl:{place}"


def test_errors_of_the_host_are_caught() -> None:
    assert run("try { fail(); } catch ($e) { echo $e->toString(); }") == [b"test.hsl:1:7: away\n"]


def test_errors_of_the_host_keep_their_class() -> None:
    with pytest.raises(Outage, match=r"test\.hsl:1:18: away"):
        run("function f() {   fail(); } f();")


def test_a_caught_verdict_leaves_nothing_behind() -> None:
    program = compile_script(Source("test.hsl", "stop();"), Environment(core_registry([chapter])))
    script = Run(program)
    with pytest.raises(Verdict):
        script.execute()
    assert (script.halt, script.depth) == (None, 0)
