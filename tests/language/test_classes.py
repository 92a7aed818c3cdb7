"""Classes over several runs: statics per run, initial values untouched; call stacks, budgets, objects in memory."""

from __future__ import annotations

import pytest
from snippets import load, mistakes, output_of

from hsl.errors import BudgetError, CompileError, ScriptError
from hsl.evaluator import Program
from hsl.run import Budget, Run
from hsl.shared import SharedStore


def output(program: Program, shared: SharedStore | None = None) -> list[str]:
    lines: list[bytes] = []
    Run(program, output=lines.append, shared=shared).execute()
    return b"".join(lines).decode().splitlines()


def test_static_variables_are_of_one_run() -> None:
    program = load("class A { static $n = 0; static $list = [[1]]; } echo ++A::$n; A::$list[0][] = 2; echo A::$list;")
    assert [output(program), output(program)] == [["1", "[0=>[0=>1,1=>2]]"]] * 2


def test_initial_values_of_fields_stay_as_they_are() -> None:
    program = load("class A { $list = [[1]]; } $a = A(); $a->list[0][] = 2; echo $a->list;")
    assert [output(program), output(program)] == [["[0=>[0=>1,1=>2]]"]] * 2


def test_the_call_stack_names_classes() -> None:
    text = """class A {
	$x = A::broken();
	constructor() { }
	static function broken() { return B(1)->f(); }
}
class B {
	constructor($x) { $this->x = $x; }
	function f() { return $this->x - "x"; }
}
class C { constructor() { A(); } }
C();
"""
    with pytest.raises(ScriptError) as caught:
        output_of(text)
    assert [f"{entry.function} {entry.span}" for entry in caught.value.stack] == [
        "B->f test.hsl:4:36",
        "A::broken test.hsl:2:7",
        "A test.hsl:10:27",
        "C test.hsl:11:1",
    ]


METHODS = "class A { $n = 0; function f() { return 1; } static function g() { return 1; } constructor() { } } $a = A();"


@pytest.mark.parametrize("call", ["$a->f();", '$a["f"]();', "A::g();", "A();", "$f = $a->f; $f();", "$g = A::g; $g();"])
def test_calls_are_counted_as_steps(call: str) -> None:
    assert output_of(f"{METHODS} {call} echo 1;", budget=Budget(steps=2)) == ["1"]
    with pytest.raises(BudgetError):
        output_of(f"{METHODS} {call} {call}", budget=Budget(steps=2))


def test_calls_of_methods_nest_as_deep_as_others() -> None:
    text = """
        class A { function f() { return B()->f(); } }
        class B { function f() { return C::f(); } }
        class C { static function f() { return 1; } }
        echo A()->f();
    """
    assert output_of(text, budget=Budget()) == ["1"]
    program = load(text)
    lines: list[bytes] = []
    Run(program, output=lines.append, budget=Budget(call_depth=3)).execute()
    assert lines == [b"1\n"]
    with pytest.raises(BudgetError, match="more than 2 deep"):
        Run(program, budget=Budget(call_depth=2)).execute()


def test_objects_in_the_shared_memory_outlive_the_run() -> None:
    shared = SharedStore()
    text = """
        class Counter { $n = 0; private $step = 2; function up() { $this->n += $this->step; return $this->n; } }
        barrier "counter" => $counter { $counter = $counter ?? Counter(); echo $counter->up(); }
    """
    program = load(text)
    assert [output(program, shared), output(program, shared)] == [["2"], ["4"]]
    assert output(load('echo memory_fetch("counter")->up();'), shared) == ["6"]


def test_objects_of_another_script_use_its_functions() -> None:
    shared = SharedStore()
    first = 'function tell() { return "first"; } class A { static $n = 5; function f() { return tell() . A::$n; } }'
    output(load(f'{first} memory_store("a", A());'), shared)
    second = 'function tell() { return "second"; } class A { function f() { return "other"; } }'
    assert output(load(f'{second} echo memory_fetch("a")->f() . A()->f();'), shared) == ["first5other"]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("class A { static $count = 1; } echo A::$cuont;", "count"),
        ("class A { static function update() { } } A::updte();", "update"),
        ("class Account { static $n = 1; } echo Acount::$n;", "Account"),
        ("class Account { } $a = Acount();", "Account"),
    ],
)
def test_static_mistakes_name_the_nearest(text: str, hint: str) -> None:
    with pytest.raises(CompileError) as caught:
        load(text)
    (error,) = caught.value.errors
    assert error.hint is not None
    assert hint in error.hint


def test_calls_of_missing_methods_name_the_nearest() -> None:
    with pytest.raises(ScriptError) as caught:
        output_of("class A { function publish() { } } A()->publsh();")
    assert caught.value.hint is not None
    assert "publish" in caught.value.hint


WORDS = [
    *("and", "array", "as", "barrier", "break", "builtin", "cache", "case"),
    *("catch", "class", "closure", "constructor", "continue", "default", "echo", "else"),
    *("false", "for", "foreach", "forever", "from", "function", "global", "if"),
    *("import", "include", "include_once", "isset", "match", "none", "not", "or"),
    *("private", "readonly", "return", "static", "switch", "throw", "true", "try"),
    *("unset", "while", "with", "yield"),
]


@pytest.mark.parametrize("word", WORDS)
def test_keywords_are_names_of_members_only(word: str) -> None:
    declared = f"class A {{ static function {word}() {{ return 1; }} }} class B {{ function {word}() {{ return 2; }} }}"
    if word != "constructor":
        assert output_of(f"{declared} echo A::{word}(); $b = B(); echo $b->{word}();") == ["1", "2"]
    assert output_of(f"class A {{ ${word} = 3; }} $a = A(); $a->{word} += 1; echo $a->{word};") == ["4"]
    assert mistakes(f"class {word} {{ }}") != []
    assert mistakes(f"function {word}() {{ }}") != []
