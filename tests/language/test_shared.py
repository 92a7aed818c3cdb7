"""What scripts of one process share: the `cache` statement's options, barriers and their variables."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from snippets import load, output_of

from hsl.builtins import Chapter
from hsl.errors import Halt, ScriptError
from hsl.loader import FileLoader
from hsl.run import Budget, Run
from hsl.shared import MAX_BUCKETS, MAX_MESSAGE_BUCKETS, MAX_MESSAGES, MAX_VARIABLES, SharedStore
from hsl.values import Array

DEADLINE = 20  # seconds, against hanging


chapter = Chapter("Test")


class Stop(Halt):
    pass


@chapter.function("stop", halts=True)
def stop() -> None:
    """End the script."""
    raise Stop


@chapter.function("turn")
async def turn() -> None:
    """Let other tasks run."""
    for _ in range(3):
        await asyncio.sleep(0)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shared(clock: Clock) -> SharedStore:
    return SharedStore(clock)


@pytest.fixture
def calls(shared: SharedStore) -> Callable[[str], list[str]]:
    """Runs `cache [options] f(…)` for each argument list; f echoes its arguments and returns the first."""

    def run(text: str) -> list[str]:
        functions = """
            function f(...$a) { echo "ran"; return $a[0] ?? none; }
            function ttl_of($x) { return $x == "short" ? 5 : 500; }
            function merge($old, $new) { return $old === none ? [$new] : $old + [$new]; }
        """
        return output_of(functions + text, shared=shared)

    return run


Calls = Callable[[str], list[str]]


def test_ttl_is_60_seconds(calls: Calls, clock: Clock) -> None:
    assert calls("echo cache [] f(1);") == ["ran", "1"]
    clock.now += 59
    assert calls("echo cache [] f(1);") == ["1"]
    clock.now += 2
    assert calls("echo cache [] f(1);") == ["ran", "1"]


def test_ttl(calls: Calls, clock: Clock) -> None:
    assert calls('echo cache ["ttl" => 5] f(1);') == ["ran", "1"]
    clock.now += 6
    assert calls('echo cache ["ttl" => 5] f(1);') == ["ran", "1"]


def test_ttl_0_reads_but_never_stores(calls: Calls) -> None:
    assert calls('$x = cache ["ttl" => 0] f(1); $x = cache ["ttl" => 0] f(1);') == ["ran", "ran"]
    assert calls('$x = cache [] f(1); echo cache ["ttl" => 0] f(1);') == ["ran", "1"]


def test_ttl_that_is_no_number_of_seconds(calls: Calls) -> None:
    assert calls('$x = cache ["ttl" => 0 / 0] f(1); $x = cache ["ttl" => 0 / 0] f(1);') == ["ran", "ran"]
    assert calls('$x = cache ["ttl" => 1 / 0] f(2); $x = cache ["ttl" => 1 / 0] f(2);') == ["ran"]


def test_ttl_override(calls: Calls, clock: Clock) -> None:
    call = 'echo cache ["ttl" => 500, "ttl_override" => ["miss" => 5, true => 7]] '
    assert calls(f'{call} f("miss"); {call} f("hit"); {call} f(true);') == ["ran", "miss", "ran", "hit", "ran", "true"]
    clock.now += 6
    assert calls(f'{call} f("miss"); {call} f("hit"); {call} f(true);') == ["ran", "miss", "hit", "true"]
    clock.now += 2
    assert calls(f'{call} f("hit"); {call} f(true);') == ["hit", "ran", "true"]


@pytest.mark.parametrize("function", ["ttl_of", '"ttl_of"', 'function ($x) { return $x == "short" ? 5 : 500; }'])
def test_ttl_function(calls: Calls, clock: Clock, function: str) -> None:
    call = f'echo cache ["ttl_function" => {function}] '
    assert calls(f'{call} f("short"); {call} f("long");') == ["ran", "short", "ran", "long"]
    clock.now += 6
    assert calls(f'{call} f("short"); {call} f("long");') == ["ran", "short", "long"]


def test_ttl_function_that_does_not_exist(calls: Calls) -> None:
    with pytest.raises(ScriptError, match=r"cache: there is no function nowhere\(\)"):
        calls('$x = cache ["ttl_function" => "nowhere"] f(1);')


def test_update_function(calls: Calls, clock: Clock) -> None:
    call = 'echo cache ["update_function" => merge, "ttl" => 5, "argv_filter" => []]'
    assert calls(f"{call} f(1);") == ["ran", "[0=>1]"]
    assert calls(f"{call} f(2);") == ["[0=>1]"]
    clock.now += 6
    assert calls(f"{call} f(3);") == ["ran", "[0=>1,1=>3]"]


def test_argv_filter(calls: Calls) -> None:
    call = 'echo cache ["argv_filter" => [2]]'
    assert calls(f'{call} f("first", "same"); {call} f("second", "same"); {call} f("third", "other");') == [
        *("ran", "first"),
        "first",
        *("ran", "third"),
    ]


def test_argv_filter_outside_the_arguments(calls: Calls) -> None:
    use = '$x = cache ["argv_filter" => [0, 9, -1, 1 / 0, -1 / 0, 0 / 0, none]]'
    assert calls(f'{use} f(1); echo cache ["argv_filter" => []] f(2);') == ["ran", "1"]


def test_force(calls: Calls) -> None:
    assert calls('$x = cache [] f(1); $x = cache ["force" => true] f(1); $x = cache [] f(1);') == ["ran", "ran"]


def test_size_with_lru(calls: Calls) -> None:
    use = '$x = cache ["size" => 2] '
    assert calls(f"{use} f(1); {use} f(2); {use} f(1); {use} f(3);") == ["ran"] * 3
    assert calls(f"{use} f(1); {use} f(3); {use} f(2);") == ["ran"]


def test_size_without_lru(calls: Calls, clock: Clock) -> None:
    use = '$x = cache ["size" => 2, "lru" => false] '
    assert calls(f"{use} f(1); {use} f(2); {use} f(3); {use} f(3); {use} f(1);") == ["ran"] * 4
    clock.now += 61
    assert calls(f"{use} f(3); {use} f(3);") == ["ran"]


@pytest.mark.parametrize("size", ["0", "-5", "0 / 0", "-1 / 0"])
def test_size_0_stores_nothing(calls: Calls, size: str) -> None:
    assert calls(f'$x = cache ["size" => {size}] f(1); $x = cache ["size" => {size}] f(1);') == ["ran", "ran"]


def test_size_is_32(calls: Calls) -> None:
    fill = "for ($i = 0; $i < 33; $i++) $x = cache [] f($i);"
    assert calls(fill) == ["ran"] * 33
    assert calls("$x = cache [] f(1); $x = cache [] f(0);") == ["ran"]


def test_namespace(calls: Calls) -> None:
    one, two = '$x = cache ["namespace" => "a"] ', '$x = cache ["namespace" => "b"] '
    assert calls(f"{one} f(1); {two} f(1); {one} f(1); $x = cache [] f(1);") == ["ran"] * 3


def test_functions_have_their_own_caches(shared: SharedStore) -> None:
    text = 'function f($x) { return "f"; } function g($x) { return "g"; } echo cache [] f(1); echo cache [] g(1);'
    assert output_of(text, shared=shared) == ["f", "g"]


def test_per_message(shared: SharedStore) -> None:
    program = load('function f() { echo "ran"; return 1; } $x = cache ["per_message" => true] f();')

    def run(message: str) -> list[bytes]:
        lines: list[bytes] = []
        Run(program, output=lines.append, shared=shared, message_id=message).execute()
        return lines

    assert [run("a"), run("a"), run("b"), run("a")] == [[b"ran\n"], [], [b"ran\n"], []]
    shared.forget_message("a")
    assert [run("a"), run("b")] == [[b"ran\n"], []]


def test_arguments_are_typed(calls: Calls) -> None:
    each = ["1", '"1"', "true", "none", "[1]", '["1"]', '["a" => 1]', "[[1], 2]", "[[2], 2]", "0 / 1"]
    once = "".join(f"$x = cache [] f({value});" for value in each)
    assert calls(once) == ["ran"] * len(each)
    assert calls(once) == []


def test_values_are_copies(calls: Calls) -> None:
    text = "$a = [1]; $x = cache [] f($a); $x[] = 2; $a[] = 3; echo cache [] f([1]);"
    assert calls(text) == ["ran", "[0=>1]"]


def test_arguments_are_copies(calls: Calls) -> None:
    assert calls("$a = [[1]]; $x = cache [] f($a); $a[0][] = 2; $y = cache [] f([[1]]);") == ["ran"]


def test_nothing_is_stored_when_the_call_fails(shared: SharedStore) -> None:
    text = 'function f($x) { echo "ran"; return 1 - "x"; } $x = cache [] f(1);'
    for _ in range(2):
        with pytest.raises(ScriptError):
            output_of(text, shared=shared)
    assert all(not bucket.entries for bucket in shared.buckets.values())


def test_nothing_is_stored_when_the_call_ends_the_script(shared: SharedStore) -> None:
    text = 'function f() { echo "ran"; stop(); return 1; } $x = cache [] f();'
    for _ in range(2):
        with pytest.raises(Stop):
            output_of(text, chapters=[chapter], shared=shared)
    assert all(not bucket.entries for bucket in shared.buckets.values())


def test_ttl_function_that_throws_stores_nothing(calls: Calls) -> None:
    call = 'try { $x = cache ["ttl_function" => function ($x) { throw "no"; }] f(1); } catch ($e) { echo $e; }'
    assert calls(f"{call} {call} $x = cache [] f(1); $x = cache [] f(1);") == ["ran", "no", "ran", "no", "ran"]


def test_methods_are_cached_for_later_runs(shared: SharedStore) -> None:
    text = """
        class A {
            private static function hidden($x) { echo "hidden"; return $x; }
            private function own($x) { echo "own"; return $x; }
            function both($x) { return cache [] static::hidden($x) . cache [] $this->own($x); }
        }
        echo A()->both(1);
    """
    assert output_of(text, shared=shared) == ["hidden", "own", "11"]
    assert output_of(text, shared=shared) == ["11"]


def test_scripts_share_the_cache_of_a_module(shared: SharedStore, tmp_path: Path) -> None:
    (tmp_path / "m.hsl").write_text('function get($x) { echo "ran"; return $x; }')
    lines: list[bytes] = []
    for text in (
        'import { get } from "m"; echo cache [] get(1);',
        'import { get as other } from "m.hsl"; echo cache [] other(1);',
        'import * as module from "m.hsl"; echo cache [] module::get(1);',
    ):
        Run(load(text, loader=FileLoader(tmp_path)), output=lines.append, shared=shared).execute()
    assert lines == [b"ran\n", *[b"1\n"] * 3]


def test_options_known_at_run_time(calls: Calls) -> None:
    assert calls('$o = ["ttl" => 0]; $x = cache [...$o] f(1); $x = cache [...$o] f(1);') == ["ran", "ran"]


def test_buckets_are_limited(shared: SharedStore) -> None:
    for number in range(MAX_BUCKETS + 5):
        shared.bucket(str(number), "f")
    assert len(shared.buckets) == MAX_BUCKETS
    assert ("0", "f") not in shared.buckets


def test_caches_of_messages_are_limited_and_push_out_no_others(shared: SharedStore) -> None:
    shared.bucket("a", "f")
    for number in range(MAX_MESSAGES + 5):
        shared.message_bucket(str(number), "a", "f")
    assert len(shared.message_buckets) == MAX_MESSAGES
    assert "0" not in shared.message_buckets
    for number in range(MAX_MESSAGE_BUCKETS + 5):
        shared.message_bucket("m", str(number), "f")
    assert len(shared.message_buckets["m"]) == MAX_MESSAGE_BUCKETS
    assert list(shared.buckets) == [("a", "f")]


# ---------------------------------------------------------------- barriers


def test_barrier_variables_hold_closures_of_an_earlier_run(shared: SharedStore) -> None:
    make = "function make($n) { return function () closure ($n) { return ++$n; }; }"
    first = f'{make} barrier "f" => $f {{ $f = make(5); echo $f(); }}'
    assert output_of(first, shared=shared) == ["6"]
    assert output_of('barrier "f" => $f { echo $f() . $f(); }', shared=shared) == ["78"]


def test_barrier_variables_are_limited(shared: SharedStore) -> None:
    for number in range(MAX_VARIABLES):
        shared.remember(b"%d" % number, 1.0)
    with pytest.raises(ScriptError, match=f"more than {MAX_VARIABLES} shared variables") as caught:
        output_of('echo 1;\nbarrier "new" => $v {\n$v = 1; }', shared=shared)
    assert caught.value.span is not None
    assert caught.value.span.line == 2
    assert shared.barriers == {}


def test_barrier_variables_outlive_the_run(shared: SharedStore) -> None:
    text = 'barrier "n" => $v { $v = ($v ?? 0) + 1; echo $v; }'
    assert [output_of(text, shared=shared) for _ in range(3)] == [["1"], ["2"], ["3"]]


def test_barrier_variable_is_kept_after_an_error(shared: SharedStore) -> None:
    with pytest.raises(ScriptError):
        output_of('barrier "n" => $v { $v = "set"; echo 1 - "x"; }', shared=shared)
    assert shared.barriers == {}
    assert output_of('barrier "n" => $v { echo $v; }', shared=shared) == ["set"]


def test_barrier_arrays_are_copies(shared: SharedStore) -> None:
    output_of('$a = [1]; barrier "n" => $v { $v = $a; } $a[] = 2; barrier "n" => $w { $w[] = 3; }', shared=shared)
    kept = shared.variables[b"n"]
    assert isinstance(kept, Array)
    assert kept.values() == [1.0, 3.0]


@pytest.mark.asyncio
class TestBesideEachOther:
    """Several runs on one event loop."""

    async def both(self, text: str, count: int = 2, **options: object) -> tuple[list[str], SharedStore]:
        shared = SharedStore(turns=asyncio.get_running_loop().create_future)
        program = load(text, chapters=[chapter])
        lines: list[str] = []

        def write(line: bytes) -> None:
            lines.append(line.decode().removesuffix("\n"))

        runs = [Run(program, output=write, shared=shared, budget=Budget(seconds=DEADLINE)) for _ in range(count)]
        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(*(run.execute_async() for run in runs), return_exceptions=True)
        return lines, shared

    async def test_one_at_a_time(self) -> None:
        lines, shared = await self.both('barrier "b" { echo "in"; turn(); echo "out"; }', 5)
        assert lines == ["in", "out"] * 5
        assert shared.barriers == {}

    async def test_other_names_do_not_wait(self) -> None:
        text = 'barrier "n" => $n { $n = ($n ?? 0) + 1; $me = $n; } barrier "b$me" { echo "in"; turn(); echo "out"; }'
        lines, _ = await self.both(text)
        assert lines == ["in", "in", "out", "out"]

    async def test_the_counter_counts(self) -> None:
        lines, shared = await self.both(
            'for ($i = 0; $i < 10; $i++) barrier "n" => $n { $old = $n ?? 0; turn(); $n = $old + 1; }', 10
        )
        assert lines == []
        assert shared.variables == {b"n": 100.0}

    async def test_reentrant(self) -> None:
        text = 'barrier "b" { barrier "b" { turn(); } echo "still in"; turn(); echo "out"; }'
        lines, shared = await self.both(text)
        assert lines == ["still in", "out"] * 2
        assert shared.barriers == {}

    async def test_released_on_an_error(self) -> None:
        lines, shared = await self.both('barrier "b" { echo "in"; turn(); echo 1 - "x"; }', 3)
        assert lines == ["in"] * 3
        assert shared.barriers == {}

    async def test_a_cancelled_waiter_leaves_the_queue(self) -> None:
        shared = SharedStore(turns=asyncio.get_running_loop().create_future)
        program = load('barrier "b" { echo "in"; for ($i = 0; $i < 5; $i++) turn(); }', chapters=[chapter])
        lines: list[bytes] = []
        tasks = [
            asyncio.create_task(Run(program, output=lines.append, shared=shared).execute_async()) for _ in range(3)
        ]
        async with asyncio.timeout(DEADLINE):
            while not lines:
                await asyncio.sleep(0)
            tasks[1].cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[1], asyncio.CancelledError)
        assert len(lines) == 2
        assert shared.barriers == {}

    async def test_a_waiter_cancelled_while_it_gets_its_turn_hands_it_on(self) -> None:
        shared = SharedStore(turns=asyncio.get_running_loop().create_future)
        program = load('barrier "b" { echo "in"; }', chapters=[chapter])
        lines: list[bytes] = []
        holder = Run(program, shared=shared)
        shared.acquire(b"b", holder)
        runs = [Run(program, output=lines.append, shared=shared) for _ in range(2)]
        tasks = [asyncio.create_task(run.execute_async()) for run in runs]
        async with asyncio.timeout(DEADLINE):
            while len(shared.barriers[b"b"].waiting) < 2:
                await asyncio.sleep(0)
            shared.release(b"b", holder)
            chosen = shared.barriers[b"b"].owner
            tasks[runs.index(chosen)].cancel()  # type: ignore[arg-type]
            await asyncio.gather(*tasks, return_exceptions=True)
        assert len(lines) == 1
        assert shared.barriers == {}

    async def test_a_held_barrier_without_an_event_loop(self) -> None:
        shared = SharedStore()
        shared.acquire(b"b", Run(load(""), shared=shared))
        with pytest.raises(ScriptError, match="barrier is held"):
            output_of('barrier "b" { echo 1; }', shared=shared)
