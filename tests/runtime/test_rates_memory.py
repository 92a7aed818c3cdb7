"""rate() in memory: tables of calls on a clock that is moved by hand."""

from __future__ import annotations

import pytest

from hsl.errors import ScriptError
from hsl.runtime.clock import SettableClock
from hsl.runtime.rates import MAX_COUNT, MAX_INTERVAL, MemoryRates, entry_key

pytestmark = pytest.mark.asyncio

# (seconds since the start, count, interval, wanted)
SEQUENCES = {
    "the window slides, its end is open": [
        (0, 2, 10, True), (1, 2, 10, True), (9.999999, 2, 10, False), (10, 2, 10, True), (10, 2, 10, False),
        (10.999999, 2, 10, False), (11, 2, 10, True),
    ],
    "a refused call is not counted": [
        (0, 1, 10, True), (5, 1, 10, False), (6, 0, 10, 1), (9, 1, 10, False), (10, 1, 10, True),
    ],
    "count 0 reads and counts nothing": [(0, 0, 10, 0), (0, 0, 10, 0), (0, 5, 10, True), (0, 0, 10, 1), (10, 0, 10, 0)],
    "several counts share one entry": [(0, 3, 10, True), (0, 1, 10, False), (0, 3, 10, True), (0, 2, 10, False)],
    "a shorter interval trims nothing that a longer one counts": [
        (0, 0, 100, 0), (0, 9, 100, True), (50, 9, 1, True), (51, 0, 1, 0), (51, 0, 100, 2), (99, 2, 100, False),
        (100, 2, 100, True),
    ],
    "the longest interval is remembered from a read": [
        (0, 0, 100, 0), (0, 9, 10, True), (20, 9, 10, True), (30, 0, 100, 2),
    ],
    "it is forgotten when that long nothing was asked": [
        (0, 9, 100, True), (100, 9, 10, True), (111, 9, 10, True), (111, 0, 100, 1),
    ],
    "microseconds count": [(0, 1, 0.000002, True), (0.000001, 1, 0.000002, False), (0.000002, 1, 0.000002, True)],
}  # fmt: skip


@pytest.mark.parametrize("calls", SEQUENCES.values(), ids=SEQUENCES.keys())
@pytest.mark.parametrize("start", [0.0, 1_700_000_000.0])
async def test_sequence(calls: list[tuple[float, int, float, bool | int]], start: float) -> None:
    clock = SettableClock()
    rates = MemoryRates(clock)
    for moment, count, interval, wanted in calls:
        clock.elapsed = start + moment
        got = await rates.rate(b"ns", b"entry", count, interval)
        assert (got, type(got)) == (wanted, type(wanted)), (moment, count, interval)


async def test_the_wall_clock_does_not_matter() -> None:
    clock = SettableClock()
    rates = MemoryRates(clock)
    assert await rates.rate(b"ns", b"e", 1, 10) is True
    clock.now = 1e9
    assert await rates.rate(b"ns", b"e", 1, 10) is False


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((b"a", b"bc"), (b"ab", b"c")),
        ((b"a", b""), (b"", b"a")),
        ((b"1:a", b"b"), (b"1", b":ab")),
        ((b"n", b"a"), (b"n", b"A")),
    ],
)
async def test_namespace_and_entry_do_not_run_together(one: tuple[bytes, bytes], other: tuple[bytes, bytes]) -> None:
    assert entry_key(*one) != entry_key(*other)
    rates = MemoryRates(SettableClock())
    assert await rates.rate(*one, 1, 10) is True
    assert await rates.rate(*other, 1, 10) is True
    assert await rates.rate(*one, 1, 10) is False


@pytest.mark.parametrize(("count", "interval"), [(MAX_COUNT, 1), (0, MAX_INTERVAL), (1, 0.000001)])
async def test_limits_that_are_allowed(count: int, interval: float) -> None:
    await MemoryRates(SettableClock()).rate(b"ns", b"e", count, interval)


@pytest.mark.parametrize(
    ("count", "interval", "message"),
    [
        (MAX_COUNT + 1, 1, "count must be 0 to 1000000, got 1000001"),
        (-1, 1, "count must be"),
        (1, 0, "interval must be"),
        (1, -5, "interval must be"),
        (1, MAX_INTERVAL + 1, "interval must be"),
        (1, float("nan"), "interval must be"),
        (1, float("inf"), "interval must be"),
    ],
)
async def test_limits_that_are_not(count: int, interval: float, message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        await MemoryRates(SettableClock()).rate(b"ns", b"e", count, interval)


async def test_no_room_for_another_key_until_one_expires() -> None:
    clock = SettableClock()
    rates = MemoryRates(clock, max_keys=3)
    for index, entry in enumerate([b"a", b"b", b"c"]):
        assert await rates.rate(b"ns", entry, 1, 10 + index)
    with pytest.raises(ScriptError, match="3 entries are in use"):
        await rates.rate(b"ns", b"d", 1, 10)
    assert await rates.rate(b"ns", b"d", 0, 10) == 0  # reading needs no room
    assert await rates.rate(b"ns", b"a", 1, 10) is False  # the others go on, and none was given up
    clock.advance(10.5)  # a was asked again at 0, so it is gone now as well
    assert await rates.rate(b"ns", b"d", 1, 10) is True
    assert await rates.rate(b"ns", b"b", 1, 11) is False
    assert await rates.rate(b"ns", b"c", 1, 12) is False
    with pytest.raises(ScriptError, match="3 entries are in use"):
        await rates.rate(b"ns", b"a", 1, 10)


async def test_a_key_in_use_is_not_swept_though_it_was_due() -> None:
    clock = SettableClock()
    rates = MemoryRates(clock, max_keys=1)
    for _ in range(20):
        assert await rates.rate(b"ns", b"a", 100, 10)
        clock.advance(3)
    with pytest.raises(ScriptError):
        await rates.rate(b"ns", b"b", 1, 10)
    assert await rates.rate(b"ns", b"a", 0, 10) == 3


async def test_no_room_for_more_stamps() -> None:
    clock = SettableClock()
    rates = MemoryRates(clock, max_stamps=5)
    for entry in (b"a", b"a", b"a", b"b", b"b"):
        assert await rates.rate(b"ns", entry, 10, 10)
    with pytest.raises(ScriptError, match="5 are accounted in all"):
        await rates.rate(b"ns", b"a", 10, 10)
    clock.advance(10)
    assert await rates.rate(b"ns", b"a", 10, 10)
    assert rates.stamps == 1


async def test_one_entry_holds_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsl.runtime.rates.MAX_COUNT", 3)
    clock = SettableClock()
    rates = MemoryRates(clock)
    assert await rates.rate(b"ns", b"a", 0, 100) == 0
    for _ in range(3):
        assert await rates.rate(b"ns", b"a", 3, 1)
        clock.advance(1)
    with pytest.raises(ScriptError, match="accounted for this entry already"):
        await rates.rate(b"ns", b"a", 3, 1)


async def test_nothing_is_left_of_what_has_expired() -> None:
    clock = SettableClock()
    rates = MemoryRates(clock)
    for index in range(1000):
        assert await rates.rate(b"ns", b"%d" % index, 5, 10)
    clock.advance(10)
    for _ in range(20):
        await rates.rate(b"ns", b"x", 0, 10)
    assert (len(rates.windows), len(rates.due), rates.stamps) == (1, 1, 0)
