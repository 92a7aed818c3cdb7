"""The scheduler's arithmetic: retry steps, lanes, and what a configuration says about an entry."""

import math
import random
from dataclasses import replace

import pytest

from hsl.runtime.model import Address, QueueEntry, SourceIP
from hsl.runtime.verdict import Verdict
from hsl.smtpd.config import Config, Interval, Retry
from hsl.smtpd.lanes import FIRST_WIDTH, MAX_WIDTHS, Lane, Lanes, lane_of, share_of
from hsl.smtpd.scheduler import MIN_DELAY, Outcome, Step, next_step, outcome_of
from hsl.smtpd.transports import RouteError, TransportTable

PLAN = Retry(
    count=10,
    intervals=[Interval(interval=60), Interval(interval=900, notify=True), Interval(interval=3600, notify=True)],
    expire=86400,
)

STEPS = [
    # retries so far, outcome, wanted
    (0, Outcome("queue"), Step(1, 60)),
    (1, Outcome("queue"), Step(2, 900, notify=True)),
    (2, Outcome("queue"), Step(3, 3600, notify=True)),
    (3, Outcome("queue"), Step(4, 3600)),
    (9, Outcome("queue"), Step(10, 3600)),
    (50, Outcome("queue"), Step(51, 3600)),
    (0, Outcome("queue", delay=7.5), Step(1, 7.5)),
    (1, Outcome("queue", delay=7.5), Step(2, 7.5)),
    (1, Outcome("queue", increment_retry=False), Step(1, 900)),
    (1, Outcome("queue", delay=30, increment_retry=False), Step(1, 30)),
    (9, Outcome("queue", reset_retry=True), Step(0, 60)),
    (9, Outcome("queue", delay=0, reset_retry=True), Step(0, MIN_DELAY)),
    (0, Outcome("queue", reset_retry=True), Step(0, 60)),
    (2, Outcome("queue", delay=-5), Step(3, MIN_DELAY)),
    (2, Outcome("queue", delay=math.nan), Step(3, MIN_DELAY)),
    (2, Outcome("queue", delay=math.inf), Step(3, 86400)),
]


@pytest.mark.parametrize(("retries", "outcome", "want"), STEPS)
def test_next_step(retries: int, outcome: Outcome, want: Step) -> None:
    assert next_step(retries, PLAN, outcome) == want


def test_a_plan_with_a_zero_interval_does_not_spin() -> None:
    assert next_step(0, Retry(intervals=[Interval(interval=0)]), Outcome("queue")).delay == MIN_DELAY


def test_outcome_takes_the_options_of_a_verdict_and_leaves_the_rest() -> None:
    verdict = Verdict("queue", options={"delay": None, "hold": True, "reason": "r", "reset_retry": True, "else": 1})
    assert outcome_of(verdict) == Outcome("queue", hold=True, reason="r", reset_retry=True)


def test_outcome_takes_the_reason_of_the_verdict() -> None:
    assert outcome_of(Verdict("queue", reason=("too", "many"))) == Outcome("queue", reason="too many")


def test_deliver_is_an_immediate_queue_with_the_retries_reset() -> None:
    recipient = Address(b"x", b"x.example")
    assert outcome_of(Verdict("deliver", options={"recipient": recipient, "transportid": "other"})) == Outcome(
        "queue", delay=0.0, reset_retry=True, recipient=recipient, transportid="other"
    )


@pytest.mark.parametrize("action", ["accept", "try", "default", ""])
def test_outcome_refuses_other_actions(action: str) -> None:
    with pytest.raises(ValueError, match="not a decision"):
        outcome_of(Verdict(action))


@pytest.mark.parametrize(("concurrency", "want"), [(1, 1), (2, 1), (10, 7), (27, 20), (80, 20), (200, 50), (1000, 250)])
def test_share_leaves_room_for_others(concurrency: int, want: int) -> None:
    assert share_of(concurrency) == want


A, B, C = Lane("t", b"a"), Lane("t", b"b"), Lane("u", b"a")


def test_lanes_take_turns_and_keep_their_order() -> None:
    lanes = Lanes(share=10)
    for number in (1, 2, 3):
        lanes.add(A, number)
    lanes.add(B, 4)
    lanes.add(C, 5)
    assert [lanes.next() for _ in range(6)] == [(A, 1), (B, 4), (C, 5), (A, 2), (A, 3), None]


def test_a_lane_never_runs_more_than_its_share() -> None:
    lanes = Lanes(share=2)
    for number in range(5):
        lanes.add(A, number)
    assert [lanes.next(), lanes.next(), lanes.next()] == [(A, 0), (A, 1), None]
    lanes.add(B, 9)
    assert lanes.next() == (B, 9)
    assert lanes.next() is None
    lanes.done(A)
    assert lanes.next() == (A, 2)
    assert len(lanes) == 2
    assert 3 in lanes
    assert 2 not in lanes


def test_a_destination_begins_narrow_and_answers_widen_it() -> None:
    lanes = Lanes(share=7)
    for number in range(100):
        lanes.add(A, number)
    assert started(lanes) == FIRST_WIDTH
    for more in (2, 2, 1):  # one for the attempt that is over, one for the answer; the share is the end
        lanes.done(A, answered=True)
        assert started(lanes) == more
    lanes.done(A)  # it was not asked
    assert started(lanes) == 1


def test_a_destination_without_answers_becomes_narrow() -> None:
    lanes = Lanes(share=20)
    for number in range(100):
        lanes.add(A, number)
    assert started(lanes) == FIRST_WIDTH
    for _ in range(FIRST_WIDTH):
        lanes.done(A, answered=False)
    assert started(lanes) == 1
    lanes.done(A, answered=False)
    assert started(lanes) == 1  # never none: else nobody would learn that it is back
    lanes.done(A, answered=True)
    assert started(lanes) == 2


def test_the_domains_behind_one_host_share_its_width() -> None:
    lanes = Lanes(share=20)
    behind = [Lane("t", b"%d.example" % number, "smarthost") for number in range(100)]
    for number, lane in enumerate(behind):
        lanes.add(lane, number)
    lanes.add(B, 1000)
    turns = [lanes.next() for _ in range(FIRST_WIDTH + 1)]
    assert turns == [*((behind[number], number) for number in range(FIRST_WIDTH)), (B, 1000)]
    assert lanes.next() is None
    lanes.add(behind[0], 2000)
    assert lanes.next() is None
    for number in range(FIRST_WIDTH, 100):
        lanes.done(behind[0])
        assert lanes.next() == (behind[number], number)  # each in its turn, and none is forgotten
    lanes.done(behind[0])
    assert lanes.next() == (behind[0], 2000)


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_every_entry_has_its_turn_once(seed: int) -> None:
    """Entries come, attempts begin and end, with and without answers: nothing is lost, and no width exceeded."""
    chance = random.Random(seed)
    lanes = Lanes(share=chance.randint(1, 8))
    choices = [Lane("t", b"%d" % number, chance.choice(("", "", "one", "two")), number % 2) for number in range(8)]
    begun: list[int] = []
    running: list[Lane] = []
    added = 0
    while added < 300 or running:
        if added < 300 and chance.random() < 0.5:
            lanes.add(chance.choice(choices), added)
            added += 1
        elif running and chance.random() < 0.6:
            lanes.done(running.pop(chance.randrange(len(running))), chance.choice((True, False, None)))
        while (turn := lanes.next()) is not None:
            running.append(turn[0])
            begun.append(turn[1])
            assert lanes.running[turn[0].destination] <= lanes.share
        assert running or not len(lanes), "entries wait, and nothing runs that could let them go"
    assert sorted(begun) == list(range(300))
    assert not any((lanes.lists, lanes.ready, lanes.blocked, lanes.running))


def test_widths_that_are_remembered_are_limited() -> None:
    lanes = Lanes(share=20)
    for number in range(MAX_WIDTHS + 1):
        lane = Lane("t", b"%d" % number)
        lanes.add(lane, number)
        lanes.next()
        lanes.done(lane, answered=False)
    assert len(lanes.widths) == MAX_WIDTHS
    assert Lane("t", b"0") not in lanes.widths
    assert not lanes.running


def started(lanes: Lanes) -> int:
    """How many attempts begin now."""
    count = 0
    while lanes.next() is not None:
        count += 1
    return count


def test_lanes_drained_and_done_leave_nothing_behind() -> None:
    lanes = Lanes(share=1)
    for number in range(3):
        lanes.add(A, number)
    lanes.next()
    assert lanes.drain() == [1, 2]
    lanes.done(A)
    assert lanes.next() is None
    assert not lanes.lists
    assert not lanes.ready
    assert not lanes.running


def test_lane_ignores_the_case_of_the_domain() -> None:
    entry = QueueEntry("x", Address(b"s", b"s"), Address(b"R", b"EXAMPLE.com"), "t")
    assert lane_of(entry) == Lane("t", b"example.com")
    assert lane_of(entry, "mx").destination == Lane("t", b"", "mx")
    assert lane_of(replace(entry, priority=1)) == Lane("t", b"example.com", priority=1)


def table(**session: object) -> TransportTable:
    return TransportTable(
        Config.model_validate(
            {
                "servers": [{"id": "s", "transport": "t", "listeners": [{}]}],
                "addresses": [{"id": "1", "address": "127.0.0.2", "hostname": "one.example"}],
                "transportgroups": [
                    {
                        "id": "g",
                        "retry": {"count": 3},
                        "dsn": {"transport": "back"},
                        "transports": [{"id": "t", "session": session}, {"id": "back"}],
                    }
                ],
            }
        )
    )


ENTRY = QueueEntry("x", Address(b"s", b"s.example"), Address(b"r", b"r.example"), "t")


def test_plan_of_a_bare_transport_is_mx_lookup() -> None:
    plan = table().plan(ENTRY)
    assert (plan.sender, plan.recipient) == (ENTRY.sender, ENTRY.recipient)
    assert (plan.host, plan.port, plan.source, plan.tls, plan.username) == (None, 25, None, "optional", None)


def test_plan_takes_the_session_settings() -> None:
    plan = table(
        host="10.0.0.1",
        port=2525,
        helo="h",
        sourceip="1",
        tls="require",
        username="user",
        password="pass",
        connect_timeout="5s",
    ).plan(ENTRY)
    assert (plan.host, plan.port, plan.helo, plan.tls) == ("10.0.0.1", 2525, "h", "require")
    assert plan.source == SourceIP("127.0.0.2", "one.example", "1")
    assert (plan.username, plan.password, plan.connect_timeout) == (b"user", b"pass", 5.0)


def test_lookup_mx_is_no_host() -> None:
    assert table(host="lookup-mx").plan(ENTRY).host is None


def test_unknown_ids_are_route_errors() -> None:
    with pytest.raises(RouteError, match="unknown source address 7"):
        table(sourceip="7").plan(ENTRY)
    gone = QueueEntry("x", ENTRY.sender, ENTRY.recipient, "gone")
    with pytest.raises(RouteError, match="unknown transport gone"):
        table().plan(gone)
    assert table().route("gone") is None


def test_route_carries_the_groups_retry_and_dsn() -> None:
    route = table().route("t")
    assert route is not None
    assert (route.retry.count, route.dsn.transport, route.dsn.enabled) == (3, "back", True)
    assert table().fallback("gone").retry == Retry()


def test_mail_with_priority_goes_first_in_its_lane_and_waits_for_its_turn() -> None:
    lanes, urgent = Lanes(share=10), A.with_priority(1)
    for number in range(3):
        lanes.add(A, number)
    lanes.add(B, 10)
    lanes.add(urgent, 20)
    lanes.add(urgent, 21)
    turns = [lanes.next() for _ in range(7)]
    assert turns == [(urgent, 20), (B, 10), (urgent, 21), (A, 0), (A, 1), (A, 2), None], "one turn for both lists"
    assert lanes.running == {A: 5, B: 1}, "of one width"


def test_mail_with_priority_goes_first_when_there_is_room() -> None:
    lanes, urgent = Lanes(share=1), A.with_priority(1)
    for number in range(3):
        lanes.add(A, number)
    assert [lanes.next(), lanes.next()] == [(A, 0), None]
    lanes.add(urgent, 20)
    assert lanes.next() is None, "what has begun is not interrupted"
    lanes.done(A)
    assert [lanes.next(), lanes.next()] == [(urgent, 20), None]
    lanes.done(urgent)
    assert lanes.next() == (A, 1)
    assert (lanes.waiting(A), lanes.waiting(urgent)) == (1, 0)


def test_priority_is_within_a_domain_also_behind_one_host() -> None:
    lanes = Lanes(share=1)
    one, two = Lane("t", b"one.example", "hub"), Lane("t", b"two.example", "hub")
    lanes.add(one, 1)
    lanes.add(one, 2)
    lanes.add(two, 3)
    lanes.add(two.with_priority(1), 4)
    found = []
    while (turn := lanes.next()) is not None:
        found.append(turn[1])
        lanes.done(turn[0])
    assert found == [1, 4, 2, 3]
