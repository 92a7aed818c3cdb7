"""Entries that wait for a policy: in order, in time, within limits."""

from __future__ import annotations

import pytest

from hsl.runtime.policies import Blocked
from hsl.smtpd import parking
from hsl.smtpd.lanes import Lane
from hsl.smtpd.parking import Parking

LANE = Lane("out", b"one.example")


def blocked(key: str, until: float = 10.0, step: float = 0.0) -> Blocked:
    return Blocked((key,), until, step, "", "")


def ids(freed: list[tuple[Lane, int]]) -> list[int]:
    return [entry_id for _, entry_id in freed]


def test_first_come_first_freed() -> None:
    waiting = Parking()
    for number in (1, 2, 3):
        assert waiting.park(LANE, number, blocked("a"))
    assert waiting.park(LANE, 4, blocked("b"))
    assert ids(waiting.free(("a",))) == [1]
    assert ids(waiting.free(("x",))) == []
    assert sorted(ids(waiting.free_all())) == [2, 3, 4]
    assert len(waiting) == 0


def test_a_suspension_frees_all_at_its_end() -> None:
    waiting = Parking()
    for number in (1, 2, 3):
        waiting.park(LANE, number, blocked("a", until=10.0))
    assert waiting.next_due() == 10.0
    assert ids(waiting.free_due(9.9)) == []
    assert ids(waiting.free_due(10.0)) == [1, 2, 3]
    assert waiting.next_due() is None


def test_a_rate_frees_one_for_each_step() -> None:
    waiting = Parking()
    for number in range(1, 8):
        waiting.park(LANE, number, blocked("a", until=10.0, step=2.0))
    assert ids(waiting.free_due(10.0)) == [1]
    assert waiting.next_due() == 12.0
    assert ids(waiting.free_due(11.9)) == []
    assert ids(waiting.free_due(16.5)) == [2, 3, 4], "the looks that came late are made up for"


def test_what_is_elsewhere_is_not_freed() -> None:
    waiting = Parking()
    waiting.park(LANE, 1, blocked("a"))
    waiting.park(LANE, 2, blocked("a"))
    waiting.forget(1)
    assert 1 not in waiting
    assert ids(waiting.free(("a",))) == [2]


def test_what_has_waited_long_enough_is_freed_whatever_it_waits_for() -> None:
    waiting = Parking()
    for number, key, end in ((1, "a", 50.0), (2, "a", 60.0), (3, "b", 40.0)):
        waiting.park(LANE, number, blocked(key, until=1e9), end)
    assert ids(waiting.free_ended(40.0)) == []
    assert ids(waiting.free_ended(50.5)) == [1, 3]
    assert ids(waiting.free(("a",), None)) == [2]
    assert len(waiting) == 0


def test_what_has_waited_long_enough_leaves_room() -> None:
    waiting = Parking()
    for number in range(parking.MAX_WAITING):
        waiting.park(LANE, number, blocked("a"), 50.0)
    assert len(waiting.free_ended(51.0)) == parking.MAX_WAITING
    assert waiting.park(LANE, parking.MAX_WAITING, blocked("a"))


def test_lists_are_limited() -> None:
    waiting = Parking()
    for number in range(parking.MAX_WAITING):
        assert waiting.park(LANE, number, blocked("a"))
    assert not waiting.park(LANE, parking.MAX_WAITING, blocked("a"))
    assert waiting.park(LANE, parking.MAX_WAITING, blocked("b"))


@pytest.mark.parametrize("lists", [6])
def test_all_lists_together_are_limited(lists: int) -> None:
    waiting = Parking()
    taken = sum(
        waiting.park(LANE, number, blocked(str(number % lists))) for number in range(parking.MAX_ENTRIES + lists)
    )
    assert taken == parking.MAX_ENTRIES


def test_mail_with_priority_is_freed_first() -> None:
    waiting = Parking()
    for number in (1, 2, 3):
        waiting.park(LANE, number, blocked("a", until=10.0, step=2.0))
    waiting.park(LANE.with_priority(1), 4, blocked("a", until=10.0, step=2.0))
    assert waiting.free(("a",)) == [(LANE.with_priority(1), 4)]
    waiting.park(LANE.with_priority(1), 5, blocked("a"))
    assert ids(waiting.free_due(12.5)) == [5, 1]
    assert waiting.next_due() == 14.5
    assert ids(waiting.free(("a",), None)) == [2, 3]
    assert not waiting.lists
