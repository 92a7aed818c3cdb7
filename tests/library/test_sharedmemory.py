"""The memory_* functions: what they store and return, what callbacks get, and how runs wait for each other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from snippets import load, output_of

from hsl.builtins import Chapter
from hsl.errors import Halt, ScriptError
from hsl.run import Budget, Run
from hsl.shared import MAX_VARIABLES, SharedStore
from hsl.values import Array

DEADLINE = 20  # seconds, against hanging
SHOW = 'function show(...$a) { echo "called " . $a; return "result"; }\n'

CASES = [
    # nothing is there
    ('echo memory_exists("k"); echo memory_fetch("k"); echo memory_delete("k");', ["false", "none", "false"]),
    ('echo memory_exists("k", show); echo memory_delete("k", show);', ["false", "false"]),
    ('echo memory_fetch("k", show); echo memory_exists("k");', ['called [0=>"k"]', "result", "false"]),
    # add
    ('echo memory_add("k", 1); echo memory_add("k", 2); echo memory_fetch("k");', ["true", "false", "1"]),
    ('memory_add("k", none); echo memory_exists("k"); echo memory_add("k", 1);', ["true", "false"]),
    # store
    ('echo memory_store("k", 1); echo memory_store("k", 2); echo memory_fetch("k");', ["false", "true", "2"]),
    ('echo memory_store("k", 1, show); echo memory_store("k", 2, show);', ["false", 'called [0=>"k",1=>1]', "true"]),
    ('memory_store("k", 1); memory_store("k", 2, function ($k, $v) { echo memory_fetch($k) - $v; });', ["1"]),
    ('memory_store("", "empty"); echo memory_fetch("");', ["empty"]),
    ('memory_store("\\x00\\xff", "bytes"); echo memory_fetch("\\x00\\xff");', ["bytes"]),
    # fetch
    ('memory_store("k", "v"); echo memory_fetch("k", show);', ["v"]),
    ('memory_store("k", none); echo memory_fetch("k", show);', ["none"]),
    ('memory_store("f", function ($x) { return $x + 1; }); $f = memory_fetch("f"); echo $f(1);', ["2"]),
    # exists
    ('memory_store("k", none); echo memory_exists("k", show);', ['called [0=>"k",1=>none]', "true"]),
    # delete
    ('memory_store("k", 1); echo memory_delete("k"); echo memory_exists("k");', ["true", "false"]),
    ('memory_store("k", 1); echo memory_delete("k", show); echo memory_exists("k");',
     ['called [0=>"k",1=>1]', "true", "false"]),
    ('memory_store("k", 5); echo memory_delete("k", function ($k, $v) { memory_store($k, $v + 1); });'
     'echo memory_fetch("k");', ["true", "6"]),
    # inc and dec
    ('echo memory_inc("n"); echo memory_inc("n"); echo memory_inc("n", 2.5); echo memory_inc("n", -1);',
     ["1", "2", "4.5", "3.5"]),
    ('echo memory_dec("n"); echo memory_dec("n", 3); echo memory_fetch("n");', ["-1", "-4", "-4"]),
    ('memory_store("n", "1"); echo memory_inc("n"); echo memory_dec("n"); echo memory_fetch("n") . "";',
     ["none", "none", "1"]),
    ('memory_store("n", true); echo memory_inc("n");', ["none"]),
    ('memory_store("n", none); echo memory_inc("n");', ["none"]),
    ('memory_inc("n", 2); echo memory_dec("n", 1, true); echo memory_dec("n", 1, true); echo memory_exists("n");',
     ["1", "0", "false"]),
    ('memory_inc("n"); echo memory_dec("n"); echo memory_exists("n");', ["0", "true"]),
    # update
    ('echo memory_update("k", 1, show); echo memory_exists("k");', ["false", "false"]),
    ('memory_store("k", 1); echo memory_update("k", 2, show); echo memory_fetch("k");',
     ['called [0=>"k",1=>1,2=>2]', "true", "result"]),
    ('echo memory_update("k", 2, show, "first"); echo memory_fetch("k");',
     ['called [0=>"k",1=>"first",2=>2]', "false", "result"]),
    ('memory_store("k", 1); memory_update("k", 2, show, "unused");', ['called [0=>"k",1=>1,2=>2]']),
    ('echo memory_update("k", 2, show, none);', ['called [0=>"k",1=>none,2=>2]', "false"]),
    # reading the same variable as barrier
    ('barrier "k" => $v { $v = [1]; } echo memory_fetch("k");', ["[0=>1]"]),
    ('memory_store("k", 1); barrier "k" => $v { $v += 1; } echo memory_fetch("k");', ["2"]),
    ('memory_store("k", 1); barrier "k" { echo memory_inc("k"); echo memory_inc("k"); }', ["2", "3"]),
]  # fmt: skip


@pytest.fixture
def shared() -> SharedStore:
    return SharedStore()


@pytest.mark.parametrize(("text", "wanted"), CASES)
def test_functions(shared: SharedStore, text: str, wanted: list[str]) -> None:
    assert output_of(SHOW + text, shared=shared) == wanted
    assert shared.barriers == {}


def test_values_outlive_the_run(shared: SharedStore) -> None:
    assert [output_of('echo memory_inc("n");', shared=shared) for _ in range(3)] == [["1"], ["2"], ["3"]]


@pytest.mark.parametrize(
    "text",
    [
        '$a = [[1]]; memory_store("k", $a); $a[0][] = 2; $a[] = 3;',
        '$a = [[1]]; memory_add("k", $a); $a[0][] = 2; $a[] = 3;',
        'memory_store("k", [[1]]); $a = memory_fetch("k"); $a[0][] = 2; $a[] = 3;',
        'memory_store("k", [[1]]); memory_exists("k", function ($k, $v) { $v[0][] = 2; $v[] = 3; });',
        'memory_store("k", [[1]]); memory_update("k", 1, function ($k, $c, $v) { $d = $c; $d[0][] = 2; return $c; });',
        '$a = []; memory_update("k", $a, function ($k, $c, $v) { $v[] = 1; return $c; }, [[1]]); if ($a) echo "wrong";',
        '$a = [[1]]; memory_update("k", 1, function ($k, $c, $v) { $d = $c; $c[] = 2; return $d; }, $a); unset($a[0]);',
        '$a = [[1]]; memory_update("k", 1, function ($k, $c, $v) { $d = $c; $c[] = 2; return $d; }, $a); $a[] = 2;',
    ],
)
def test_arrays_are_values(shared: SharedStore, text: str) -> None:
    assert output_of(text, shared=shared) == []
    assert output_of('echo memory_fetch("k");', shared=shared) == ["[0=>[0=>1]]"]


def test_appending_in_an_update(shared: SharedStore) -> None:
    append = 'memory_update("list", "item", function ($k, $c, $v) { $c[] = $v; return $c; }, []);'
    output_of(append * 3, shared=shared)
    assert output_of('echo memory_fetch("list");', shared=shared) == ['[0=>"item",1=>"item",2=>"item"]']


def test_the_store_is_limited(shared: SharedStore) -> None:
    for number in range(MAX_VARIABLES):
        shared.remember(b"%d" % number, 1.0)
    assert output_of('echo memory_inc("0"); echo memory_store("1", 5);', shared=shared) == ["2", "true"]
    for text in ('memory_add("new", 1);', 'memory_store("new", 1);', 'memory_inc("new");'):
        with pytest.raises(ScriptError, match=f"more than {MAX_VARIABLES} shared variables"):
            output_of(text, shared=shared)
    assert shared.barriers == {}
    assert output_of('memory_delete("0"); echo memory_add("new", 1);', shared=shared) == ["true"]


def test_an_error_in_a_callback_changes_nothing_and_frees_the_key(shared: SharedStore) -> None:
    shared.remember(b"k", Array([1.0]))
    with pytest.raises(ScriptError, match="wanted number"):
        output_of('memory_update("k", 1, function ($k, $c, $v) { $c[] = 2; abs("x"); });', shared=shared)
    assert shared.barriers == {}
    assert output_of('echo memory_fetch("k");', shared=shared) == ["[0=>1]"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("memory_fetch(1);", r"memory_fetch\(\): parameter 1 \(key\): wanted string, got number"),
        ('memory_inc("k", "1");', r"memory_inc\(\): parameter 2 \(offset\): wanted number, got string"),
        ('memory_update("k", 1, 2);', r"memory_update\(\): parameter 3 \(callback\): wanted function, got number"),
    ],
)
def test_wrong_arguments(text: str, message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        output_of(text)


chapter = Chapter("Test")


class Ended(Halt):
    """A verdict."""


@chapter.function("turn")
async def turn() -> None:
    """Let other tasks run."""
    for _ in range(3):
        await asyncio.sleep(0)


@chapter.function("halt")
def halt() -> None:
    """End the script."""
    raise Ended


class Runs:
    """Runs of several scripts on one store and event loop."""

    def __init__(self) -> None:
        self.shared = SharedStore(turns=asyncio.get_running_loop().create_future)
        self.lines: list[str] = []

    def start(self, text: str) -> asyncio.Task[object]:
        def write(line: bytes) -> None:
            self.lines.append(line.decode().removesuffix("\n"))

        program = load(text, chapters=[chapter])
        run = Run(program, output=write, shared=self.shared, budget=Budget(seconds=DEADLINE))
        execute: Callable[[], Awaitable[object]] = run.execute_async
        return asyncio.ensure_future(execute())  # type: ignore[return-value]

    async def all(self, *texts: str) -> list[object]:
        async with asyncio.timeout(DEADLINE):
            results = await asyncio.gather(*map(self.start, texts), return_exceptions=True)
        assert self.shared.barriers == {}
        return results


@pytest.mark.asyncio
class TestBesideEachOther:
    async def test_a_callback_holds_the_key(self) -> None:
        runs = Runs()
        update = 'memory_update("n", 1, function ($k, $c, $v) { turn(); return $c + $v; }, 0);'
        await runs.all(*[f"for ($i = 0; $i < 5; $i++) {update}"] * 4)
        assert runs.shared.variables == {b"n": 20.0}

    @pytest.mark.parametrize(
        "callback",
        [
            'memory_fetch("k", function ($k) { echo "in"; turn(); echo "out"; });',
            'memory_exists("j", function ($k, $v) { barrier "k" { echo "in"; turn(); echo "out"; } });',
            'barrier "k" { echo "in"; memory_fetch("k"); turn(); echo "out"; }',
        ],
    )
    async def test_one_at_a_time(self, callback: str) -> None:
        runs = Runs()
        runs.shared.remember(b"j", 1.0)
        await runs.all(*[callback] * 4)
        assert runs.lines == ["in", "out"] * 4

    @pytest.mark.parametrize(
        "call",
        ['memory_inc("k");', 'memory_fetch("k");', 'memory_store("k", 1);', 'memory_add("k", 1);',
         'memory_dec("k");', 'memory_exists("k");', 'memory_delete("k");',
         'memory_update("k", 1, function ($k, $c, $v) { return $c; });'],
    )  # fmt: skip
    async def test_each_waits_for_a_barrier_of_that_name(self, call: str) -> None:
        runs = Runs()
        await runs.all('barrier "k" { echo "in"; turn(); turn(); echo "out"; }', f'{call} echo "after";')
        assert runs.lines == ["in", "out", "after"]

    async def test_a_barrier_waits_for_a_callback(self) -> None:
        runs = Runs()
        await runs.all(
            'memory_fetch("k", function ($k) { echo "in"; turn(); echo "out"; });', 'barrier "k" { echo "after"; }'
        )
        assert runs.lines == ["in", "out", "after"]

    async def test_other_keys_do_not_wait(self) -> None:
        runs = Runs()
        await runs.all('barrier "k" { echo "in"; turn(); echo "out"; }', 'memory_inc("other"); echo "beside";')
        assert runs.lines == ["in", "beside", "out"]

    async def test_the_same_run_enters_again(self) -> None:
        runs = Runs()
        inside = "memory_inc($k); barrier $k { turn(); } echo memory_inc($k); memory_delete($k);"
        text = f'memory_fetch("k", function ($k) {{ {inside} }});'
        await runs.all(text, text)
        assert runs.lines == ["2", "2"]

    @pytest.mark.parametrize("end", ["halt();", 'abs("x");'])
    async def test_a_verdict_or_an_error_in_a_callback_frees_the_key(self, end: str) -> None:
        runs = Runs()
        text = 'memory_fetch("k", function ($k) { echo "in"; turn(); %s });' % end  # noqa: UP031
        results = await runs.all(text, text)
        assert runs.lines == ["in", "in"]
        assert all(isinstance(result, Ended | ScriptError) for result in results)

    async def test_a_cancellation_in_a_callback_frees_the_key(self) -> None:
        runs = Runs()
        first = runs.start('memory_fetch("k", function ($k) { echo "in"; for (;;) turn(); });')
        second = runs.start('echo memory_inc("k");')
        async with asyncio.timeout(DEADLINE):
            while not runs.lines or not runs.shared.barriers[b"k"].waiting:
                await asyncio.sleep(0)
            first.cancel()
            results = await asyncio.gather(first, second, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert runs.lines == ["in", "1"]
        assert runs.shared.barriers == {}

    async def test_a_cancelled_waiter_leaves_the_queue(self) -> None:
        runs = Runs()
        first = runs.start('barrier "k" { turn(); echo memory_inc("k"); }')
        second = runs.start('memory_store("k", "never");')
        async with asyncio.timeout(DEADLINE):
            while not (b"k" in runs.shared.barriers and runs.shared.barriers[b"k"].waiting):
                await asyncio.sleep(0)
            second.cancel()
            await asyncio.gather(first, second, return_exceptions=True)
        assert runs.lines == ["1"]
        assert runs.shared.barriers == {}


def test_a_held_key_without_an_event_loop(shared: SharedStore) -> None:
    shared.acquire(b"k", Run(load(""), shared=shared))
    with pytest.raises(ScriptError, match="held"):
        output_of('memory_inc("k");', shared=shared)
