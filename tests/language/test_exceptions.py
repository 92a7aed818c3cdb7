"""What a script cannot catch, call stacks of exceptions, and barriers that exceptions leave."""

from __future__ import annotations

import asyncio

import pytest
from snippets import load, output_of

from hsl.builtins import Chapter
from hsl.errors import BudgetError, Halt, ScriptError
from hsl.run import Budget, Run
from hsl.shared import SharedStore
from hsl.values import Function, Value

DEADLINE = 20  # seconds, against hanging
chapter = Chapter("Test")


class Stop(Halt):
    pass


@chapter.function("stop", halts=True)
def stop() -> None:
    """End the script."""
    raise Stop


@chapter.function("call_back")
def call_back(run: Run, function: Function) -> Value:
    """Return what the function gives."""
    return function.call(run, [])


@chapter.function("turn")
async def turn() -> None:
    """Let other tasks run."""
    for _ in range(3):
        await asyncio.sleep(0)


@chapter.function("fail_later")
async def fail_later() -> None:
    """Raise a script error after a wait."""
    await asyncio.sleep(0)
    raise ScriptError("it failed later")


@chapter.function("wait_forever")
async def wait_forever(run: Run) -> None:
    """Wait until the task is cancelled."""
    assert isinstance(run.host, asyncio.Event)
    run.host.set()
    await asyncio.get_running_loop().create_future()


# ---------------------------------------------------------------- what cannot be caught


@pytest.mark.parametrize(
    ("body", "budget"),
    [
        ("forever ;", Budget(steps=100)),
        ("while (true) $x = 1;", Budget(seconds=0.05)),
        ("function a() { return b(); } function b() { return 1; } a();", Budget(call_depth=1)),
        ('forever echo "text";', Budget(output=100)),
        ("call_back(function () { forever ; });", Budget(steps=100)),
        ("function g() { forever yield 1; } foreach (g() as $x) ;", Budget(steps=100)),
    ],
)
def test_budgets(body: str, budget: Budget) -> None:
    lines: list[bytes] = []
    program = load(f'try {{ {body} }} catch ($e) {{ echo "caught"; }} echo "never";', chapters=[chapter])
    with pytest.raises(BudgetError):
        Run(program, output=lines.append, budget=budget).execute()
    assert b"caught\n" not in lines
    assert b"never\n" not in lines


def test_too_little_memory() -> None:
    def out_of_memory(line: bytes) -> None:
        raise MemoryError

    with pytest.raises(BudgetError):
        Run(load("try { echo 1; } catch ($e) { }"), output=out_of_memory).execute()


@pytest.mark.parametrize(
    "call", ["stop();", "call_back(stop);", "call_back(function () { try { stop(); } catch ($e) { } });"]
)
def test_verdicts(call: str) -> None:
    lines: list[bytes] = []
    program = load(f'try {{ {call} }} catch ($e) {{ echo "caught"; }} echo "never";', chapters=[chapter])
    with pytest.raises(Stop):
        Run(program, output=lines.append).execute()
    assert lines == []


@pytest.mark.asyncio
async def test_cancellation() -> None:
    waiting = asyncio.Event()
    shared = SharedStore(turns=asyncio.get_running_loop().create_future)
    lines: list[bytes] = []
    text = 'try { barrier "b" { wait_forever(); } } catch ($e) { echo "caught"; } echo "never";'
    run = Run(load(text, chapters=[chapter]), output=lines.append, host=waiting, shared=shared)
    task = asyncio.create_task(run.execute_async())
    async with asyncio.timeout(DEADLINE):
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert lines == []
    assert shared.barriers == {}


@pytest.mark.asyncio
async def test_errors_of_builtins_that_wait_are_caught() -> None:
    lines: list[bytes] = []
    text = 'try {\n\tfail_later(); } catch ($e) { echo $e->toString(); turn(); echo "after"; }'
    async with asyncio.timeout(DEADLINE):
        await Run(load(text, chapters=[chapter]), output=lines.append).execute_async()
    assert lines == [b"test.hsl:2:2: it failed later\n", b"after\n"]


# ---------------------------------------------------------------- call stacks


def stack(text: str) -> list[str]:
    """The rendered error, without the excerpt of the source."""
    with pytest.raises(ScriptError) as caught:
        output_of(text, chapters=[chapter])
    lines = caught.value.render().split("\n")
    return [lines[0], *lines[3:]]


def test_an_uncaught_exception() -> None:
    assert stack('function f() { throw Exception("no"); }\nfunction g() { f(); }\ng();') == [
        "test.hsl:1:16: error: uncaught exception: no",
        "    in f() called at test.hsl:2:16",
        "    in g() called at test.hsl:3:1",
    ]


def test_an_exception_thrown_again_keeps_its_first_stack() -> None:
    text = """function f() { throw Exception("no"); }
function g() { try { f(); } catch ($e) { throw $e; } }
function h($e) { throw $e; }
try { g(); } catch ($e) { h($e); }"""
    assert stack(text)[:2] == ["test.hsl:1:16: error: uncaught exception: no", "    in f() called at test.hsl:2:22"]


def test_a_runtime_error_thrown_again_keeps_its_first_stack() -> None:
    text = 'function f() { return 1 - "x"; }\ntry { f(); } catch ($e) {\n\tthrow $e;\n}'
    found = stack(text)
    assert found[0].startswith("test.hsl:1:23: error: ")
    assert "unsupported operands: number - string" in found[0]
    assert found[1] == "    in f() called at test.hsl:2:7"


def test_other_values_have_the_place_of_their_last_throw() -> None:
    text = 'function f() { throw "text"; }\ntry { f(); } catch ($e) {\n\tthrow $e;\n}'
    assert stack(text) == ["test.hsl:3:2: error: uncaught exception: text"]


def test_an_error_in_a_catch_has_its_own_stack() -> None:
    text = 'function f() { throw "x"; }\nfunction g() { return 1 - "x"; }\ntry { f(); } catch ($e) { g(); }'
    assert stack(text) == [
        "test.hsl:2:23: error: unsupported operands: number - string",
        "    in g() called at test.hsl:3:27",
    ]


def test_caught_errors_leave_nothing_on_the_stack() -> None:
    text = """
        class A { constructor() { throw "x"; } function f() { throw "x"; } }
        function g() { yield 1; throw "x"; }
        function f() { foreach ([1] as $x) barrier "b" { throw "x"; } }
        for ($i = 0; $i < 300; $i++) {
            try { f(); } catch ($e) { }
            try { A(); } catch ($e) { }
            try { foreach (g() as $x) ; } catch ($e) { }
            try { call_back(function () { return 1 - "x"; }); } catch ($e) { }
        }
        echo "end";
    """
    lines: list[bytes] = []
    run = Run(load(text, chapters=[chapter]), output=lines.append, budget=Budget(call_depth=3))
    run.execute()
    assert lines == [b"end\n"]
    assert run.depth == 0
    assert run.nesting == 0
    assert run.shared.barriers == {}


# ---------------------------------------------------------------- barriers


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "leave",
    [
        'throw "x";',
        'throw Exception("x");',
        'echo 1 - "x";',
        "fail_later();",
        'barrier "c" { throw "x"; }',
        'barrier "b" { throw "x"; }',
        'call_back(function () { throw "x"; });',
        'function g() { barrier "b" { yield 1; throw "x"; } } foreach (g() as $x) ;',
    ],
)
async def test_an_exception_that_is_caught_outside_frees_the_barrier(leave: str) -> None:
    """The first run goes on waiting behind the barrier; the second one gets in meanwhile."""
    text = f"""
        try {{ barrier "b" {{ echo "in"; turn(); {leave} }} }} catch ($e) {{ echo "out"; }}
        turn(); turn(); turn(); turn();
        echo "end";
    """
    shared = SharedStore(turns=asyncio.get_running_loop().create_future)
    lines: list[bytes] = []
    program = load(text, chapters=[chapter])
    runs = [Run(program, output=lines.append, shared=shared) for _ in range(2)]
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*(run.execute_async() for run in runs))
    assert lines == [b"in\n", b"out\n", b"in\n", b"out\n", b"end\n", b"end\n"]
    assert shared.barriers == {}


@pytest.mark.asyncio
async def test_an_exception_that_is_caught_inside_keeps_the_barrier() -> None:
    text = 'barrier "b" { echo "in"; try { turn(); throw "x"; } catch ($e) { turn(); } turn(); echo "out"; }'
    shared = SharedStore(turns=asyncio.get_running_loop().create_future)
    lines: list[bytes] = []
    program = load(text, chapters=[chapter])
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*(Run(program, output=lines.append, shared=shared).execute_async() for _ in range(3)))
    assert lines == [b"in\n", b"out\n"] * 3
