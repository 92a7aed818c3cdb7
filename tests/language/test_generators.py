"""Generators and the run that they belong to: steps, call stacks, barriers they hold, memory that scripts share."""

from __future__ import annotations

import pytest
from snippets import load, output_of

from hsl.errors import BudgetError, ScriptError
from hsl.run import Budget, Run
from hsl.shared import SharedStore


def test_each_step_is_counted() -> None:
    """A turn of the loop and a step of the body, and a last one that finds the end."""
    text = "function g() { yield 1; yield 2; } foreach (g() as $x) ; echo 1;"
    needed = next(steps for steps in range(20) if ends(text, steps))
    assert needed >= 4
    longer = "function g() { yield 1; yield 2; yield 3; yield 4; } foreach (g() as $x) ; echo 1;"
    assert next(steps for steps in range(40) if ends(longer, steps)) >= needed + 2


def ends(text: str, steps: int) -> bool:
    try:
        return output_of(text, budget=Budget(steps=steps)) == ["1"]
    except BudgetError:
        return False


def test_the_call_stack_of_an_error() -> None:
    text = 'function inner() { yield 1; yield 1 - "x"; }\nfunction outer() {\n\tforeach (inner() as $x) yield $x;\n}\n'
    with pytest.raises(ScriptError) as caught:
        output_of(text + "foreach (outer() as $x) ;")
    assert str(caught.value.span) == "test.hsl:1:35"
    assert [entry.function for entry in caught.value.stack] == ["inner", "outer"]


def test_a_generator_of_another_run_is_refused() -> None:
    shared = SharedStore()
    output_of('function g() { yield 1; } memory_store("g", g());', shared=shared)
    with pytest.raises(ScriptError, match="a generator runs only in the script execution that made it"):
        output_of('foreach (memory_fetch("g") as $x) echo $x;', shared=shared)


def test_a_generator_left_in_a_barrier_frees_it_at_the_end_of_the_run() -> None:
    shared = SharedStore()
    text = 'function g() { barrier "b" { yield 1; } } foreach (g() as $x) break; echo "end";'
    assert output_of(text, shared=shared) == ["end"]
    assert shared.barriers == {}


def test_suspended_bodies_do_not_nest() -> None:
    """Generators that wait at a yield are not calls: many may be under way."""
    text = """
        function g() { yield 1; yield 2; }
        $all = [];
        for ($i = 0; $i < 50; $i++) { $all[] = g(); foreach ($all[$i] as $x) break; }
        foreach ($all as $one) foreach ($one as $x) $sum = ($sum ?? 0) + $x;
        echo $sum;
    """
    lines: list[bytes] = []
    run = Run(load(text), output=lines.append, budget=Budget(call_depth=2))
    run.execute()
    assert lines == [b"100\n"]
    assert (run.depth, run.nesting) == (0, 0)


def test_a_chain_of_generators_is_limited() -> None:
    text = "function numbers() { forever yield 1; }\n"
    text += "".join(f"function g{n}($s) {{ foreach ($s as $x) yield $x; }}\n" for n in range(30))
    source = "numbers()"
    for n in range(30):
        source = f"g{n}({source})"
    text += f"foreach ({source} as $x) {{ echo $x; break; }}"
    program = load(text)
    lines: list[bytes] = []
    Run(program, output=lines.append, budget=Budget(call_depth=31)).execute()
    assert lines == [b"1\n"]
    with pytest.raises(BudgetError, match="more than 30 deep"):
        Run(program, output=lines.append, budget=Budget(call_depth=30)).execute()
