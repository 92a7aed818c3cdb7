"""Suspensions and policies: which entries they hold back, for how long, and what frees them."""

from __future__ import annotations

import pytest

from hsl.errors import ScriptError
from hsl.runtime.clock import SettableClock
from hsl.runtime.policies import Blocked, Limits, Match, Permit, QueuePolicies

HERE = {"transportid": "out", "recipientdomain": "one.example", "jobid": "j-1"}
THERE = HERE | {"localip": "10.0.0.1", "remoteip": "192.0.2.7", "remotemx": "mx1.one.example"}


def made(max_rules: int = 100) -> tuple[QueuePolicies, SettableClock]:
    clock = SettableClock(now=1e6, monotonic=50.0)
    return QueuePolicies(clock, max_rules), clock


MATCHES = [
    ({}, True),
    ({"transportid": "out"}, True),
    ({"transportid": "OUT"}, False),
    ({"transportid": "out", "jobid": "j-1"}, True),
    ({"transportid": "out", "jobid": "j-2"}, False),
    ({"recipientdomain": "ONE.example"}, True),
    ({"recipientdomain": "*.example"}, True),
    ({"recipientdomain": "*.one.example"}, False),
    ({"remotemx": "*.one.example"}, True),
    ({"remotemx": "*.ONE.example"}, True),
    ({"remotemx": "/^mx[0-9]\\./"}, True),
    ({"remotemx": "/^mx[2-9]\\./"}, False),
    ({"remoteip": "192.0.2.7"}, True),
    ({"remoteip": "192.0.2.0/24"}, True),
    ({"remoteip": "198.51.100.0/24"}, False),
    ({"localip": "2001:db8::/32"}, False),
]


@pytest.mark.parametrize(("given", "matches"), MATCHES)
def test_fields(given: dict[str, str], matches: bool) -> None:
    assert Match.of(given).applies(THERE) is matches


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"remoteip": "mx1"}, "wanted an IP address or network"),
        ({"recipientdomain": ""}, "wanted a value"),
        ({"remotemx": "@gsuite"}, "lists and groupings"),
        ({"remotemx": "/(/"}, "invalid regular expression"),
    ],
)
def test_fields_that_cannot_be(given: dict[str, str], message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        Match.of(given)


def test_a_suspension_ends_after_its_time() -> None:
    policies, clock = made()
    assert policies.suspend(Match.of({"recipientdomain": "one.example"}), 60.0, "busy", True)
    blocked = policies.admit(HERE)
    assert isinstance(blocked, Blocked)
    assert (blocked.until, blocked.step, blocked.tag, blocked.reason) == (110.0, 0.0, "busy", "suspended")
    assert isinstance(policies.admit(HERE | {"recipientdomain": "two.example"}), Permit)
    clock.advance(60.0)
    assert isinstance(policies.admit(HERE), Permit)
    assert policies.active() == []


def test_fields_known_late_do_not_hold_back_early() -> None:
    policies, _ = made()
    policies.suspend(Match.of({"remotemx": "*.one.example"}), 60.0, "", True)
    assert isinstance(policies.admit(HERE), Permit)
    assert isinstance(policies.admit(THERE, late=True), Blocked)
    assert isinstance(policies.admit(THERE | {"remotemx": "mx.two.example"}, late=True), Permit)


def test_the_same_suspension_is_prolonged() -> None:
    policies, clock = made()
    match = Match.of({"transportid": "out"})
    first = policies.suspend(match, 60.0, "a", True)
    assert policies.suspend(match, 10.0, "b", False) == first
    clock.advance(30.0)
    assert policies.suspend(match, 60.0, "", True) == first
    [rule] = policies.active()
    assert (rule.expires, rule.tag) == (140.0, "a")
    clock.advance(59.0)
    assert isinstance(policies.admit(HERE), Blocked)
    clock.advance(1.0)
    assert isinstance(policies.admit(HERE), Permit)


def test_concurrency_is_counted_by_fields_and_given_back() -> None:
    policies, _ = made()
    freed: list[tuple[str, ...]] = []
    policies.on_free = freed.append
    policies.limit(["recipientdomain"], Match.of({}), Limits(concurrency=2), 60.0, "", True)
    first, second = policies.admit(HERE), policies.admit(HERE)
    assert isinstance(first, Permit)
    assert isinstance(second, Permit)
    blocked = policies.admit(HERE)
    assert isinstance(blocked, Blocked)
    assert blocked.reason == "concurrency limit of 2"
    assert isinstance(policies.admit(HERE | {"recipientdomain": "two.example"}), Permit)
    policies.release(first)
    assert freed == [blocked.key]
    assert isinstance(policies.admit(HERE), Permit)


def test_a_rate_is_a_token_bucket() -> None:
    policies, clock = made()
    policies.limit(["recipientdomain"], Match.of({}), Limits(rate=(3, 60.0)), 3600.0, "slow", True)
    for _ in range(3):
        assert isinstance(policies.admit(HERE), Permit)
    blocked = policies.admit(HERE)
    assert isinstance(blocked, Blocked)
    assert (blocked.until - clock.monotonic(), blocked.step, blocked.tag) == (pytest.approx(20.0), 20.0, "slow")
    clock.advance(19.0)
    assert isinstance(policies.admit(HERE), Blocked)
    clock.advance(1.0)
    assert isinstance(policies.admit(HERE), Permit)
    assert isinstance(policies.admit(HERE), Blocked)
    clock.advance(600.0)
    assert [isinstance(policies.admit(HERE), Permit) for _ in range(4)] == [True, True, True, False]


def test_a_refused_entry_takes_no_token() -> None:
    """Two policies: what the second refuses does not count for the first."""
    policies, _ = made()
    policies.limit(["transportid"], Match.of({}), Limits(rate=(2, 60.0)), 60.0, "", True)
    policies.limit(["recipientdomain"], Match.of({}), Limits(concurrency=1), 60.0, "", True)
    taken = policies.admit(HERE)
    assert isinstance(taken, Permit)
    for _ in range(5):
        assert isinstance(policies.admit(HERE), Blocked)
    policies.release(taken)
    assert isinstance(policies.admit(HERE), Permit)


def test_an_interval() -> None:
    policies, clock = made()
    policies.limit(["remoteip"], Match.of({}), Limits(interval=5.0), 60.0, "", True)
    assert isinstance(policies.admit(THERE, late=True), Permit)
    blocked = policies.admit(THERE, late=True)
    assert isinstance(blocked, Blocked)
    assert blocked.until == clock.monotonic() + 5.0
    clock.advance(5.0)
    assert isinstance(policies.admit(THERE, late=True), Permit)


def test_of_one_counter_the_latest_condition_that_matches_holds() -> None:
    policies, _ = made()
    policies.limit(["recipientdomain"], Match.of({}), Limits(concurrency=1), 60.0, "all", True)
    policies.limit(
        ["recipientdomain"], Match.of({"recipientdomain": "one.example"}), Limits(concurrency=2), 60.0, "one", True
    )
    assert [isinstance(policies.admit(HERE), Permit) for _ in range(3)] == [True, True, False]
    other = HERE | {"recipientdomain": "two.example"}
    assert [isinstance(policies.admit(other), Permit) for _ in range(2)] == [True, False]


def test_a_policy_is_changed_and_removed() -> None:
    policies, _ = made()
    changes: list[int] = []
    policies.on_change = lambda: changes.append(1)
    match = Match.of({})
    found = policies.limit(["jobid"], match, Limits(concurrency=1), 60.0, "", True)
    assert found is not None
    assert policies.limit(["jobid"], match, Limits(concurrency=5), 60.0, "", True) == found
    assert [isinstance(policies.admit(HERE), Permit) for _ in range(6)] == [True] * 5 + [False]
    suspension = policies.suspend(match, 60.0, "", True)
    assert suspension is not None
    assert not policies.remove(suspension, policies_only=True)
    assert policies.remove(found, policies_only=True)
    assert not policies.remove(found)
    assert policies.remove(suspension)
    assert isinstance(policies.admit(HERE), Permit)
    assert len(changes) == 5


def test_rules_are_limited() -> None:
    policies, clock = made(max_rules=2)
    assert policies.suspend(Match.of({"jobid": "1"}), 10.0, "", True)
    assert policies.suspend(Match.of({"jobid": "2"}), 20.0, "", True)
    assert policies.suspend(Match.of({"jobid": "3"}), 20.0, "", True) is None
    clock.advance(10.0)
    assert policies.suspend(Match.of({"jobid": "3"}), 20.0, "", True)
