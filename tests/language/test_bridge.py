"""Scripts on an event loop: builtins wait, errors and cancellation cross, others get their turns."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import weakref
from collections.abc import Awaitable
from typing import Any

import pytest
from snippets import load, output_of

from hsl import bridge
from hsl.builtins import Chapter
from hsl.errors import BudgetError, Halt, ScriptError
from hsl.run import Budget, Run
from hsl.shared import SharedStore
from hsl.values import Function, Value

pytestmark = pytest.mark.asyncio

DEADLINE = 20  # seconds, against hanging
VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")
chapter = Chapter("Test")


class Stop(Halt):
    pass


class Host:
    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.waiting = asyncio.Event()
        self.ended = False


@chapter.function("wait_turn")
async def wait_turn(value: Value) -> Value:
    """Return the value, after other tasks had a turn."""
    await asyncio.sleep(0)
    return value


@chapter.function("wait_gate")
async def wait_gate(run: Run) -> None:
    """Wait until the test opens the gate."""
    assert isinstance(run.host, Host)
    run.host.waiting.set()
    try:
        await run.host.gate.wait()
    finally:
        run.host.ended = True


@chapter.function("doze")
async def doze() -> None:
    """Wait longer than a small budget allows."""
    await asyncio.sleep(0.05)


@chapter.function("fail")
async def fail(text: bytes) -> None:
    """Raise a script error after a wait."""
    await asyncio.sleep(0)
    raise ScriptError(text.decode())


@chapter.function("crash")
async def crash() -> None:
    """Raise what no builtin should raise."""
    await asyncio.sleep(0)
    raise KeyError("a defect")


@chapter.function("halt", halts=True)
async def halt() -> None:
    """End the script."""
    await asyncio.sleep(0)
    raise Stop


@chapter.function("set_context")
def set_context(text: bytes) -> None:
    """Set the context variable."""
    VARIABLE.set(text.decode())


@chapter.function("get_context")
def get_context() -> bytes:
    """Return the context variable."""
    return VARIABLE.get().encode()


@chapter.function("get_context_waiting")
async def get_context_waiting() -> bytes:
    """Return the context variable, seen by the host."""
    await asyncio.sleep(0)
    return VARIABLE.get().encode()


@chapter.function("call_back")
def call_back(run: Run, function: Function, value: Value) -> Value:
    """Return what the function makes of the value."""
    return function.call(run, [value])


def make(text: str, **options: Any) -> tuple[Run, list[str]]:
    lines: list[str] = []
    program = load(text, chapters=[chapter])
    return Run(program, output=lambda line: lines.append(line.decode().removesuffix("\n")), **options), lines


async def run(text: str, **options: Any) -> list[str]:
    script, lines = make(text, **options)
    async with asyncio.timeout(DEADLINE):
        await script.execute_async()
    return lines


async def test_a_builtin_waits() -> None:
    assert await run('$a = wait_turn("x"); echo $a . wait_turn([1])[0] . wait_turn(none);') == ["x1"]


async def test_a_builtin_waits_below_functions_and_callbacks() -> None:
    text = """
        function f($x) { foreach ([1] as $y) return wait_turn($x + $y); }
        echo array_map(function ($x) { return call_back(f, $x); }, [1, 2]);
        echo array_sort(function ($a, $b) { return wait_turn($a) < wait_turn($b); }, [3, 1, 2])[:];
        echo pcre_replace("b", function ($m) { return wait_turn("X"); }, "abcb");
    """
    assert await run(text) == ["[0=>2,1=>3]", "[0=>1,1=>2,2=>3]", "aXcX"]


async def test_the_value_of_a_return_outside_functions() -> None:
    script, _ = make("return wait_turn(5);")
    assert await script.execute_async() == 5.0


async def test_script_errors_get_their_place() -> None:
    with pytest.raises(ScriptError, match="too bad") as caught:
        await run('echo 1;\n$x = fail("too bad");')
    assert caught.value.span is not None
    assert str(caught.value.span) == "test.hsl:2:6"


@pytest.mark.parametrize(("name", "error"), [("crash", KeyError), ("halt", Stop)])
async def test_other_exceptions_pass_as_they_are(name: str, error: type[BaseException]) -> None:
    lines: list[str] = []
    with pytest.raises(error):
        lines = await run(f'echo "before"; {name}(); echo "after";')
    assert lines == []


async def test_a_halt_leaves_barriers_free() -> None:
    shared = SharedStore(turns=asyncio.get_running_loop().create_future)
    with pytest.raises(Stop):
        await run('barrier "b" => $v { $v = 1; halt(); }', shared=shared)
    assert await run('barrier "b" => $v { echo $v; }', shared=shared) == ["1"]
    assert shared.barriers == {}


async def test_cancellation_ends_the_script() -> None:
    host = Host()
    shared = SharedStore(turns=asyncio.get_running_loop().create_future)
    script, lines = make('barrier "b" { echo "in"; wait_gate(); echo "never"; }', host=host, shared=shared)
    task = asyncio.create_task(script.execute_async())
    async with asyncio.timeout(DEADLINE):
        await host.waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert host.ended
    assert lines == ["in"]
    assert shared.barriers == {}
    assert script.depth == 0


async def test_a_timeout_of_the_host_ends_the_script() -> None:
    host = Host()
    script, _ = make("wait_gate();", host=host)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await script.execute_async()
    assert host.ended


async def test_a_dropped_script_is_ended() -> None:
    host = Host()
    shared = SharedStore(turns=asyncio.get_running_loop().create_future)
    script, _ = make('barrier "b" { wait_gate(); }', host=host, shared=shared)
    dropped = script.execute_async()
    dropped.send(None)  # it runs up to the gate
    assert b"b" in shared.barriers
    dropped.close()
    del dropped
    gc.collect()
    assert host.ended
    assert shared.barriers == {}


async def test_scripts_one_after_the_other_and_beside_each_other() -> None:
    shared = SharedStore(turns=asyncio.get_running_loop().create_future)
    results = await asyncio.gather(
        *(run(f"$a = {number}; $b = wait_turn($a); echo $b + wait_turn(1);", shared=shared) for number in range(200))
    )
    assert results == [[str(number + 1)] for number in range(200)]


async def test_a_looping_script_leaves_others_their_turns() -> None:
    turns = 0
    stopped = asyncio.Event()

    async def other() -> None:
        nonlocal turns
        while not stopped.is_set():
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    with pytest.raises(BudgetError, match=r"budget of 0\.3 seconds"):
        await run("forever ;", budget=Budget(seconds=0.3, steps=10**12))
    stopped.set()
    await beside
    assert turns > 5


async def test_slow_steps_leave_others_their_turns_too() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    with pytest.raises(BudgetError, match=r"budget of 0\.3 seconds"):
        await run('$s = "x" * 2000000; forever $t = $s . "y";', budget=Budget(seconds=0.3, steps=10**12))
    beside.cancel()
    assert turns > 2


async def test_context_variables_of_the_host_are_seen() -> None:
    VARIABLE.set("host")
    assert await run("echo get_context(); echo get_context_waiting();") == ["host", "host"]


async def test_context_variables_of_the_script_are_seen() -> None:
    assert await run('set_context("script"); echo get_context_waiting();') == ["script"]
    assert VARIABLE.get() == "script"


async def test_context_variables_of_scripts_beside_each_other_are_apart() -> None:
    async def one(name: str) -> list[str]:
        return await run(f'set_context("{name}"); $x = wait_turn(1); echo get_context() . get_context_waiting();')

    results = await asyncio.gather(*(asyncio.create_task(one(name)) for name in "abc"))
    assert results == [["aa"], ["bb"], ["cc"]]


async def test_time_spent_waiting_counts() -> None:
    with pytest.raises(BudgetError, match=r"budget of 0\.01 seconds"):
        await run("doze(); echo 1;", budget=Budget(seconds=0.01))


async def test_waiting_without_a_bridge_is_a_script_error() -> None:
    with pytest.raises(ScriptError, match="this function waits, and nothing awaits the script") as caught:
        output_of("echo 1; $x = wait_turn(1);", chapters=[chapter])
    assert str(caught.value.span) == "test.hsl:1:14"


async def test_waiting_without_a_bridge_closes_the_coroutine() -> None:
    async def nothing() -> None:
        raise AssertionError("ran")

    coroutine = nothing()
    with pytest.raises(bridge.NoBridgeError):
        bridge.wait(coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


async def test_awaitables_of_any_kind() -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[int] = loop.create_future()
    loop.call_soon(future.set_result, 7)

    def script() -> tuple[int, int]:
        task: Awaitable[int] = asyncio.ensure_future(asyncio.sleep(0, 8))
        return bridge.wait(future), bridge.wait(task)

    assert await bridge.run_script(script) == (7, 8)


async def test_a_script_may_catch_nothing_of_a_budget() -> None:
    text = "function f($x) { forever ; } $r = array_map(f, [1]);"
    with pytest.raises(BudgetError, match="budget of 1000 steps") as caught:
        await run(text, budget=Budget(steps=1000))
    assert [entry.function for entry in caught.value.stack] == ["f"]


async def test_an_idle_stack_keeps_nothing_of_the_last_script() -> None:
    """The greenlet of a finished script waits for the next one, and held the run, with all its values, meanwhile."""
    shared = SharedStore()
    host = Host()
    gone = weakref.ref(host)
    for _ in range(2):
        await Run(load("return 1;"), host=host, shared=shared).execute_async()
    assert len(shared.stacks.idle) == 1
    del host
    gc.collect()
    assert gone() is None
