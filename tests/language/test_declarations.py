"""Builtins are declared once: arity, types and options are checked with errors that all read alike."""

from __future__ import annotations

import pytest
from snippets import load, mistakes, output_of

from hsl.builtins import Chapter, Options, Registry, option
from hsl.errors import CompileError, ScriptError
from hsl.run import Run
from hsl.values import Array, Function, Value, to_string

chapter = Chapter("Test")


class Colours(Options):
    shade: bytes = option(b"light", "How dark.")
    depth: float = option(1.0, "How deep.", unit="metres")
    count: int = option(2, "How many.")
    loud: bool = option(False, "Whether it is loud.")
    limit: float | None = option(None, "The most, or none.")
    kind: bytes = option(b"x", "Its kind.", name="class")


@chapter.function("paint")
def paint(run: Run, name: bytes, times: int = 1, options: Colours | None = None) -> bytes:
    """Return what was given."""
    assert isinstance(run, Run)
    assert options is not None
    shown = f"{times}{options.depth:g}{options.count}{options.loud}{options.limit}"
    return name + options.shade + shown.encode() + options.kind


@chapter.function("mix", aliases=["blend"])
def mix(first: Array | bytes, *others: Value) -> bytes:
    """Return what was given."""
    return b"+".join(to_string(item) for item in (first, *others))


@chapter.function("flag")
def flag(on: bool, number: float | None = None) -> bytes:
    """Return what was given."""
    return f"{on} {number}".encode()


@chapter.function("use")
def use(function: Function) -> bytes:
    """Return the function's name."""
    return function.name.encode()


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        ('paint("a")', "alight112FalseNonex"),
        ('paint("a", 3.9)', "alight312FalseNonex"),
        ('paint("a", true)', "alight112FalseNonex"),
        ('paint("a", 1, ["shade" => "dark", "depth" => 2.5])', "adark12.52FalseNonex"),
        ('paint("a", 1, ["count" => -7.9, "loud" => 5])', "alight11-7TrueNonex"),
        ('paint("a", 1, ["limit" => none])', "alight112FalseNonex"),
        ('paint("a", 1, ["limit" => 4, "class" => "y"])', "alight112False4.0y"),
        ('paint("a", 1, ["unknown" => 4, "kind" => "y"])', "alight112FalseNonex"),
        ('paint("a", 1, none)', "alight112FalseNonex"),
        ('mix("a")', "a"),
        ('mix([1], none, true, "b")', "[0=>1]+none+true+b"),
        ("flag(true)", "True None"),
        ("flag(0, none)", "False None"),
        ("flag(2.5, false)", "True 0.0"),
        ("use(length)", "length"),
        ("use(function () { return 1; })", "function"),
    ],
)
def test_arguments(call: str, wanted: str) -> None:
    assert output_of(f"echo {call};", chapters=[chapter]) == [wanted]


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        ("paint(5)", "paint(): parameter 1 (name): wanted string, got number"),
        ("paint(none)", "paint(): parameter 1 (name): wanted string, got none"),
        ('paint("a", "5")', "paint(): parameter 2 (times): wanted number, got string"),
        ('paint("a", 1 / 0)', "paint(): parameter 2 (times): wanted a finite number, got inf"),
        ('paint("a", 0 / 0)', "paint(): parameter 2 (times): wanted a finite number, got nan"),
        ('paint("a", none)', "paint(): parameter 2 (times): wanted number, got none"),
        ('paint("a", 1, "x")', "paint(): parameter 3 (options): wanted array, got string"),
        ('paint("a", 1, ["depth" => "x"])', "paint(): option depth: wanted number, got string"),
        ('paint("a", 1, ["count" => 1 / 0])', "paint(): option count: wanted a finite number, got inf"),
        ('paint("a", 1, ["shade" => none])', "paint(): option shade: wanted string, got none"),
        ('paint("a", 1, ["class" => []])', "paint(): option class: wanted string, got array"),
        ("mix(length)", "mix(): parameter 1 (first): wanted array or string, got function"),
        ("blend(1)", "blend(): parameter 1 (first): wanted array or string, got number"),
        ('flag("yes")', "flag(): parameter 1 (on): wanted boolean, got string"),
        ("flag(true, [])", "flag(): parameter 2 (number): wanted number, got array"),
        ('use("length")', "use(): parameter 1 (function): wanted function, got string"),
    ],
)
def test_wrong_arguments(call: str, wanted: str) -> None:
    with pytest.raises(ScriptError) as caught:
        output_of(f"echo 1;\n$x = {call};", chapters=[chapter])
    assert caught.value.message == wanted
    assert str(caught.value.span) == "test.hsl:2:6"


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        ("paint()", "paint() takes at least 1 argument, got 0"),
        ('paint("a", 1, [], 2)', "paint() takes at most 3 arguments, got 4"),
        ("mix()", "mix() takes at least 1 argument, got 0"),
        ("use()", "use() takes 1 argument, got 0"),
        ("use(1, 2)", "use() takes 1 argument, got 2"),
    ],
)
def test_wrong_number_of_arguments(call: str, wanted: str) -> None:
    with pytest.raises(Exception, match="takes") as caught:
        load(f"{call};", chapters=[chapter])
    assert wanted in str(caught.value)
    name, inside = call.removesuffix(")").split("(", 1)
    with pytest.raises(ScriptError) as caught_late:
        output_of(f"{name}(...[{inside}]);", chapters=[chapter])
    assert caught_late.value.message == wanted


def test_signatures() -> None:
    registry = Registry([chapter])
    shown = [builtin.signature for builtin in registry.unique()]
    assert shown == [
        "paint(string name, [number times], [array options]) -> string",
        "mix(array or string first, ...others) -> string",
        "flag(boolean on, [number number]) -> string",
        "use(function function) -> string",
    ]
    assert registry.get("blend") is registry.get("mix")


def test_option_warnings_name_the_nearest() -> None:
    program = load('$x = paint("a", 1, ["shde" => "dark", "depth" => 1]);', chapters=[chapter])
    assert [(item.message, item.hint) for item in program.warnings] == [
        ("paint() has no option 'shde'", "did you mean shade?")
    ]


def test_older_names_are_notes() -> None:
    program = load('echo blend("a");', chapters=[chapter])
    assert [(item.severity, item.message) for item in program.notes] == [("note", "blend() is an older name of mix()")]


def test_a_name_declared_twice() -> None:
    other = Chapter("Other")

    @other.function("blend")
    def blend() -> None:
        """Do nothing."""

    with pytest.raises(ValueError, match="builtin blend is declared twice"):
        Registry([chapter, other])


def test_unknown_functions_name_the_nearest() -> None:
    assert mistakes("array_revers([1]);") == ["1:1: there is no function array_revers()"]


class Some(Options):
    name: bytes = option(b"", "A name.")


def test_the_default_options_of_one_call_are_not_those_of_the_next() -> None:
    chapter = Chapter("Test")

    @chapter.function("take")
    def take(given: Some | None = None) -> bytes:
        """Change the options, as a function may."""
        assert given is not None
        before, given.name = given.name, b"changed"
        return before

    assert output_of("echo take(); echo take();", chapters=[chapter]) == ["", ""]


def test_options_that_required_parameters_follow_are_required() -> None:
    chapter = Chapter("Test")

    @chapter.function("ask")
    def ask(given: Some, name: bytes, more: Some | None = None) -> bytes:
        """Return the names."""
        assert more is not None
        return given.name + name + more.name

    assert output_of('echo ask(["name" => "a"], "b"); echo ask([], "b", ["name" => "c"]);', chapters=[chapter]) == [
        "ab",
        "bc",
    ]
    with pytest.raises(CompileError, match=r"ask\(\) takes at least 2 arguments, got 1"):
        load('ask("b");', chapters=[chapter])
    with pytest.raises(ScriptError, match=r"ask\(\): parameter 1 \(given\): wanted array, got none"):
        output_of('ask(none, "b");', chapters=[chapter])
