"""Budgets of one run: each at its limit and one past it. And what a run gets from its host, and gives back."""

from __future__ import annotations

import pytest
from snippets import load, output_of

from hsl.compiler import Environment, Variable, compile_script
from hsl.errors import BudgetError, ScriptError
from hsl.library import core_registry
from hsl.run import Budget, Run
from hsl.source import Source
from hsl.values import Array, Value


def place(error: ScriptError) -> str:
    return str(error.span)


@pytest.mark.parametrize("steps", [1, 49, 50, 51, 100, 999])
def test_steps_are_counted_exactly(steps: int) -> None:
    loop = "for ($i = 0; $i < %d; $i++) ; echo $i;"
    assert output_of(loop % steps, budget=Budget(steps=steps)) == [str(steps)]
    with pytest.raises(BudgetError, match=f"budget of {steps} steps") as caught:
        output_of(loop % (steps + 1), budget=Budget(steps=steps))
    assert place(caught.value) == "test.hsl:1:1"


def test_no_steps_at_all() -> None:
    assert output_of("echo 1;", budget=Budget(steps=0)) == ["1"]
    with pytest.raises(BudgetError):
        output_of("while (true) ;", budget=Budget(steps=0))


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("while ($i++ < 9) ;", 9),
        ("foreach ([1, 2, 3] as $x) ;", 3),
        ("forever if ($i++ == 6) break;", 7),
        ("function f() { return 1; } f(); f();", 2),
        ("function f($x) { return 1; } $y = array_map(f, [1, 2, 3]);", 3),
        ("for (; $i < 2; $i++) foreach ([1, 2] as $x) continue;", 6),
    ],
)
def test_what_counts_as_a_step(text: str, steps: int) -> None:
    assert output_of(f"$i = 0; {text} echo 1;", budget=Budget(steps=steps)) == ["1"]
    with pytest.raises(BudgetError):
        output_of(f"$i = 0; {text} echo 1;", budget=Budget(steps=steps - 1))


def test_seconds() -> None:
    with pytest.raises(BudgetError, match=r"budget of 0\.01 seconds") as caught:
        output_of("echo 1;\nforever ;", budget=Budget(seconds=0.01))
    assert place(caught.value) == "test.hsl:2:1"


def test_seconds_with_slow_steps() -> None:
    """A step that takes long is noticed: the clock is not read every few thousand steps only."""
    with pytest.raises(BudgetError, match="seconds"):
        output_of("$a = [0] * 200000; forever $b = $a + 1;", budget=Budget(seconds=0.05))


def nested_calls(count: int) -> str:
    functions = "".join(f"function f{i}() {{ return f{i + 1}(); }}\n" for i in range(1, count))
    return f"{functions}function f{count}() {{ return 'done'; }}\necho f1();".replace("'done'", '"done"')


@pytest.mark.parametrize("depth", [1, 10, 100])
def test_call_depth(depth: int) -> None:
    budget = Budget(call_depth=depth)
    assert output_of(nested_calls(depth), budget=budget) == ["done"]
    with pytest.raises(BudgetError, match=f"function calls nest more than {depth} deep") as caught:
        output_of(nested_calls(depth + 1), budget=budget)
    assert caught.value.span is not None
    assert caught.value.span.line == depth
    assert len(caught.value.stack) == min(50, depth)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("1 + (", ")"),
        ("[", "]"),
        ("isset($x[", "])"),
        ('"a" . (', ")"),
        ("not (", ")"),
        ("$x[", "]"),
        ("1 ? (", ") : 0"),
    ],
)
def test_nesting_over_all_calls(before: str, after: str) -> None:
    """Deep expressions in functions that call each other: an error, never the end of the process."""
    deep = 120

    def body(inner: str) -> str:
        return before * deep + inner + after * deep

    functions = "".join(f"function f{i}() {{ $x = []; return {body(f'f{i + 1}()')}; }}\n" for i in range(40))
    text = f"{functions}function f40() {{ return 1; }}\nf0();\n"
    with pytest.raises(BudgetError, match="expressions in function calls nest more than 4000 deep") as caught:
        output_of(text)
    assert caught.value.span is not None


def test_nesting_is_free_again_after_a_call() -> None:
    deep = "1 + (" * 200 + "$x" + ")" * 200
    text = f"function f($x) {{ return {deep}; }} for ($i = 0; $i < 100; $i++) $y = f($i); echo $y;"
    assert output_of(text) == ["299"]


def test_output() -> None:
    assert output_of('echo "123456789";', budget=Budget(output=10)) == ["123456789"]
    with pytest.raises(BudgetError, match="budget of 10 bytes of output") as caught:
        output_of('echo 1;\necho "1234567";\necho 1;', budget=Budget(output=10))
    assert place(caught.value) == "test.hsl:3:1"


def test_an_error_of_a_budget_has_the_call_stack() -> None:
    text = "function inner() { forever ; }\nfunction outer() { return inner(); }\nouter();"
    with pytest.raises(BudgetError) as caught:
        output_of(text, budget=Budget(steps=100))
    assert [(entry.function, str(entry.span)) for entry in caught.value.stack] == [
        ("inner", "test.hsl:2:27"),
        ("outer", "test.hsl:3:1"),
    ]


# ---------------------------------------------------------------- the host's variables

STAGE = {
    "fixed": Variable("fixed", "array", "Set by the host."),
    "free": Variable("free", "array", "Set by the host, may be changed.", readonly=False),
}


def run_with(text: str, given: Value) -> Run:
    program = compile_script(Source("test.hsl", text), Environment(core_registry(), STAGE))
    run = Run(program, variables=lambda name: given, output=lambda line: None)
    run.execute()
    return run


def test_arrays_of_the_host_are_not_changed_in_place() -> None:
    given = Array.of([Array.of([1.0])])
    run = run_with("$free[0][] = 2; $free[] = 3; function f() { global $free; $free[] = 4; } f();", given)
    assert len(given) == 1
    assert len(given.get(0.0)) == 1  # type: ignore[arg-type]
    assert len(run.variable("free")) == 3  # type: ignore[arg-type]


def test_a_variable_that_the_host_sets_again_is_not_changed_in_place() -> None:
    run = run_with("$free = 1;", None)
    given = Array.of([1.0])
    run.set_variable("free", given)
    assert run.variable("free") is given
    assert given.shared


def test_variables_of_a_finished_run() -> None:
    run = run_with('$text = "a"; $text .= "b"; if (false) $unset = 1;', None)
    assert run.variable("text") == b"ab"
    assert run.variable("unset") is None
    assert run.variable("unknown") is None


@pytest.mark.parametrize(
    "text",
    [
        "$fixed = 1;",
        "$fixed[] = 1;",
        "$fixed .= 1;",
        "$fixed++;",
        "unset($fixed);",
        "foreach ([1] as $fixed) ;",
        "foreach ([1] as $fixed => $x) ;",
        'barrier "b" => $fixed { }',
        "function f() { global $fixed; $fixed = 1; }",
    ],
)
def test_readonly_variables(text: str) -> None:
    with pytest.raises(Exception, match=r"\$fixed is read-only"):
        run_with(text, None)


def test_readonly_names_are_free_in_functions() -> None:
    run_with("function f($fixed) { $fixed = 1; foreach ([1] as $fixed) ; return $fixed; } f(2);", None)


def test_memory_error_is_a_script_error() -> None:
    def out_of_memory(line: bytes) -> None:
        raise MemoryError

    with pytest.raises(BudgetError, match="the script needs too much memory"):
        Run(load("echo 1;"), output=out_of_memory).execute()


def test_what_a_run_opened_is_closed_when_it_ends() -> None:
    run = Run(load("throw 1;"))
    closed: list[int] = []

    def fail() -> None:
        raise OSError

    for close in (lambda: closed.append(1), fail, lambda: closed.append(3)):
        run.at_end(close)
    with pytest.raises(ScriptError):
        run.execute()
    assert closed == [3, 1]
