"""Suspensions and policies: which entries they hold back, for how long, and what frees them."""

from __future__ import annotations

import pytest

from hsl.errors import ScriptError
from hsl.regex import Pattern
from hsl.runtime.clock import SettableClock
from hsl.runtime.model import Address, QueueEntry
from hsl.runtime.policies import Blocked, Limits, Permit, Policy, QueuePolicies, Rule, Share
from hsl.runtime.policyfields import Grouping, Groupings, Match, facts_of, read_pattern

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
        ({"remotemx": "@gsuite"}, "there is no list"),
        ({"remotemx": "/(/"}, "invalid regular expression"),
    ],
)
def test_fields_that_cannot_be(given: dict[str, str], message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        Match.of(given)


@pytest.mark.parametrize("wanted", ["j\udcff", "/\\xff$/", "/\udcff/"])
def test_octets_that_are_no_text(wanted: str) -> None:
    """A script's strings are octets: what it reads of an entry it can name in a suspension."""
    entry = QueueEntry("t", Address.of(b"a@b.example"), Address.of(b"c@d.example"), "out", jobid=b"j\xff")
    match = Match.of({"jobid": wanted})
    assert match.applies(facts_of(entry))
    entry.jobid = b"j\xfe"
    assert not match.applies(facts_of(entry))


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
    freed: list[tuple[tuple[str, ...], int | None]] = []
    policies.on_free = lambda key, count: freed.append((key, count))
    policies.limit(["recipientdomain"], Match.of({}), Limits(concurrency=2), 60.0, "", True)
    first, second = policies.admit(HERE), policies.admit(HERE)
    assert isinstance(first, Permit)
    assert isinstance(second, Permit)
    blocked = policies.admit(HERE)
    assert isinstance(blocked, Blocked)
    assert blocked.reason == "concurrency limit of 2"
    assert isinstance(policies.admit(HERE | {"recipientdomain": "two.example"}), Permit)
    policies.release(first)
    assert freed == [(blocked.key, 1)]
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
    assert len(changes) == 3  # made, changed, removed: a suspension wakes its own only


def test_rules_are_limited() -> None:
    policies, clock = made(max_rules=2)
    assert policies.suspend(Match.of({"jobid": "1"}), 10.0, "", True)
    assert policies.suspend(Match.of({"jobid": "2"}), 20.0, "", True)
    assert policies.suspend(Match.of({"jobid": "3"}), 20.0, "", True) is None
    clock.advance(10.0)
    assert policies.suspend(Match.of({"jobid": "3"}), 20.0, "", True)


# ------------------------------------------------------------ many, often, badly written


def test_what_cannot_be_counted_waits() -> None:
    """The limit on counters is one; room comes back as entries end."""
    policies, _ = made()
    policies.max_counters = 3
    policies.limit(["recipientdomain"], Match.of({}), Limits(concurrency=5), 60.0, "many", True)
    permits = [policies.admit(HERE | {"recipientdomain": f"{number}.example"}) for number in range(3)]
    blocked = policies.admit(HERE | {"recipientdomain": "3.example"})
    assert isinstance(blocked, Blocked)
    assert (blocked.reason, blocked.tag) == ("too many counters of policies", "many")
    assert len(policies.counters) == 3
    assert isinstance(policies.admit(HERE | {"recipientdomain": "0.example"}), Permit)  # one that there is
    assert isinstance(permits[1], Permit)
    policies.release(permits[1])
    assert isinstance(policies.admit(HERE | {"recipientdomain": "3.example"}), Permit)
    assert isinstance(policies.admit(HERE | {"recipientdomain": "4.example"}), Blocked)


def test_a_counter_is_forgotten_when_it_means_nothing_any_more() -> None:
    policies, clock = made()
    policies.max_counters = 1
    policies.limit(["recipientdomain"], Match.of({}), Limits(rate=(2, 10.0)), 600.0, "", True)
    permit = policies.admit(HERE)
    assert isinstance(permit, Permit)
    policies.release(permit)
    other = HERE | {"recipientdomain": "two.example"}
    clock.advance(4.9)  # of two tokens one is missing for 5 seconds
    assert isinstance(policies.admit(other), Blocked)
    clock.advance(0.1)
    assert isinstance(policies.admit(other), Permit)
    assert [counter.key for counter in policies.counters.values()] == [("count", "recipientdomain=two.example")]


def test_counters_of_ended_entries_leave_nothing_behind() -> None:
    policies, _ = made()
    policies.limit(["recipientdomain"], Match.of({}), Limits(concurrency=1), 60.0, "", True)
    for number in range(100):
        permit = policies.admit(HERE | {"recipientdomain": f"{number}.example"})
        assert isinstance(permit, Permit)
        policies.release(permit)
    assert not policies.counters
    assert not policies.resting


def test_prolonging_a_rule_a_thousand_times_keeps_one_end() -> None:
    policies, clock = made()
    match = Match.of({"recipientdomain": "one.example"})
    for number in range(1000):
        policies.suspend(match, 60.0 + number, "", True)
    assert len(policies.due) < 100
    clock.advance(1058.0)
    assert isinstance(policies.admit(HERE), Blocked)
    clock.advance(1.0)
    assert isinstance(policies.admit(HERE), Permit)


def test_a_rule_that_is_shortened_ends_early() -> None:
    policies, clock = made()
    match = Match.of({"recipientdomain": "one.example"})
    policies.suspend(match, 600.0, "", True)
    policies.suspend(match, 10.0, "", True)
    clock.advance(10.0)
    assert isinstance(policies.admit(HERE), Permit)


class Counted(dict[str, str]):
    """Facts that count how often they are looked at."""

    looks = 0

    def __getitem__(self, key: str) -> str:
        self.looks += 1
        return super().__getitem__(key)


def test_rules_of_exact_values_are_found_without_a_search() -> None:
    policies, _ = made(max_rules=5000)
    for number in range(2000):
        policies.suspend(Match.of({"recipientdomain": f"{number}.example"}), 60.0, "", True)
        policies.limit(
            ["recipientdomain"], Match.of({"recipientdomain": f"{number}.test"}), Limits(concurrency=1), 60.0, "", True
        )
    facts = Counted(HERE | {"recipientdomain": "7.TEST"})
    assert isinstance(policies.admit(facts), Permit)
    assert isinstance(policies.admit(facts), Blocked)
    assert facts.looks == 0
    assert isinstance(policies.admit(HERE | {"recipientdomain": "1999.Example"}), Blocked)


def test_a_later_pattern_goes_before_an_exact_value_and_the_other_way_round() -> None:
    policies, _ = made()
    fields = ["recipientdomain"]
    policies.limit(fields, Match.of({"recipientdomain": "one.example"}), Limits(concurrency=1), 60.0, "", True)
    policies.limit(fields, Match.of({"recipientdomain": "*.example"}), Limits(concurrency=2), 60.0, "", True)
    assert [isinstance(policies.admit(HERE), Permit) for _ in range(3)] == [True, True, False]
    two = HERE | {"recipientdomain": "two.example"}
    policies.limit(fields, Match.of({"recipientdomain": "two.example"}), Limits(concurrency=1), 60.0, "", True)
    assert [isinstance(policies.admit(two), Permit) for _ in range(2)] == [True, False]


def test_a_regular_expression_over_its_limits_matches_nothing_and_is_told_once() -> None:
    policies, _ = made()
    told: list[str] = []
    policies.faults.report = told.append
    policies.suspend(Match.of({"recipientdomain": "/^(a+)+$/"}), 60.0, "", True)
    facts = HERE | {"recipientdomain": "a" * 200 + ".example"}
    for _ in range(3):
        assert isinstance(policies.admit(facts), Permit)
    [text] = told
    assert "regular expression" in text


def test_many_regular_expressions_are_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    policies, _ = made(max_rules=400)
    for number in range(300):
        policies.suspend(Match.of({"recipientdomain": f"/^{number}[.]example$/"}), 60.0, "", True)

    def compiled(self: Pattern) -> None:
        raise AssertionError(f"{self.source!r} is compiled again")

    monkeypatch.setattr(Pattern, "compile", compiled)
    for _ in range(2):
        assert isinstance(policies.admit(HERE | {"recipientdomain": "299.example"}), Blocked)
        assert isinstance(policies.admit(HERE), Permit)


# ------------------------------------------------------------ lists, groupings, stop


def test_a_list_of_the_configuration() -> None:
    policies, _ = made()
    policies.configure([], {"big": ["one.example", "*.big.example"]}, Groupings())
    assert policies.suspend(Match.of({"recipientdomain": "@big"}, policies.lists), 60.0, "", True)
    assert isinstance(policies.admit(HERE), Blocked)
    assert isinstance(policies.admit(HERE | {"recipientdomain": "mail.big.example"}), Blocked)
    assert isinstance(policies.admit(HERE | {"recipientdomain": "two.example"}), Permit)
    policies.configure([], {"big": ["two.example"]}, Groupings())  # a reload
    assert isinstance(policies.admit(HERE), Permit)
    assert isinstance(policies.admit(HERE | {"recipientdomain": "two.example"}), Blocked)


def entry_to(domain: bytes) -> QueueEntry:
    return QueueEntry("t", Address(b"a", b"a.example"), Address(b"b", domain), "out")


@pytest.mark.parametrize(
    ("remoteip", "remotemx", "default", "wanted"),
    [
        ("192.0.2.7", "aspmx.big.example", "recipientdomain", "&big"),
        ("198.51.100.9", "mx.elsewhere.example", "recipientdomain", "&big"),
        ("192.0.2.7", "mx.small.example", "recipientdomain", "one.example"),
        ("192.0.2.7", "mx.small.example", "remotemx", "mx.small.example"),
        ("192.0.2.7", "mx.small.example", "", ""),
    ],
)
def test_groupings(remoteip: str, remotemx: str, default: str, wanted: str) -> None:
    policies, _ = made()
    hosts = (read_pattern("remotemx", "*.big.example", None),)
    networks = (read_pattern("remoteip", "198.51.100.0/24", None),)
    policies.configure([], {}, Groupings((Grouping("big", hosts, networks),), default))
    assert policies.facts(entry_to(b"one.example"), "", remoteip, remotemx)["grouping"] == wanted


def test_a_policy_by_grouping() -> None:
    policies, _ = made()
    policies.limit(["grouping"], Match.of({"grouping": "&big"}), Limits(concurrency=1), 60.0, "", True)
    assert isinstance(policies.admit(THERE | {"grouping": "&big"}, late=True), Permit)
    assert isinstance(policies.admit(THERE | {"grouping": "&BIG"}, late=True), Blocked)
    assert isinstance(policies.admit(THERE | {"grouping": "one.example"}, late=True), Permit)


def test_stop_ends_the_walk() -> None:
    policies, _ = made()
    vip = Match.of({"jobid": "j-1"})
    policies.limit(["jobid"], vip, Limits(stop=True), 60.0, "vip", True)
    policies.limit(["recipientdomain"], Match.of({}), Limits(concurrency=1), 60.0, "", True)
    policies.limit(["remotemx"], Match.of({}), Limits(concurrency=1), 60.0, "", True)
    for late in (False, True):
        assert all(isinstance(policies.admit(THERE, late=late), Permit) for _ in range(3))
        others = [policies.admit(THERE | {"jobid": "j-2"}, late=late) for _ in range(2)]
        assert [isinstance(item, Permit) for item in others] == [True, False]


def test_policies_of_the_configuration() -> None:
    """Conditions in order, then the default; a script's condition on the same fields goes before them."""
    policies, _ = made()
    fields = ("recipientdomain",)
    rules = (
        Rule("c-1", Match.of({"recipientdomain": "*.example"}), tag="ex", fields=fields, limits=Limits(concurrency=2)),
        Rule("c-2", Match.of({"recipientdomain": "one.example"}), fields=fields, limits=Limits(concurrency=9)),
        Rule("c-0", Match.of({}), fields=fields, limits=Limits(concurrency=1)),
    )
    policies.configure([Policy(fields, rules)], {}, Groupings())
    assert [isinstance(policies.admit(HERE), Permit) for _ in range(3)] == [True, True, False]
    test = HERE | {"recipientdomain": "one.test"}
    permits = [policies.admit(test) for _ in range(2)]
    assert isinstance(permits[0], Permit)
    assert [rule.id for rule in permits[0].rules] == ["c-0"]
    assert isinstance(permits[1], Blocked)
    assert policies.limit(fields, Match.of({"recipientdomain": "one.test"}), Limits(concurrency=2), 60.0, "", True)
    assert isinstance(policies.admit(test), Permit)
    assert isinstance(policies.admit(test), Blocked)
    policies.configure([], {}, Groupings())  # what the script made stays
    assert isinstance(policies.admit(HERE), Permit)
    assert isinstance(policies.admit(test), Blocked)
    assert len(policies.active()) == 1


# several workers


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("whole", [1, 2, 3, 10, 100])
def test_the_shares_of_all_workers_are_the_whole(whole: int, workers: int) -> None:
    limits = Limits(concurrency=whole, rate=(whole, 60.0), interval=4.0)
    shares = [Share(number, workers).of(limits) for number in range(workers)]
    assert sum(share.concurrency or 0 for share in shares) == max(whole, workers)
    assert sum(share.rate[0] / share.rate[1] for share in shares if share.rate) == pytest.approx(whole / 60)
    assert sum(1 / share.interval for share in shares if share.interval) == pytest.approx(1 / 4)


def test_a_worker_keeps_to_its_share() -> None:
    policies, _ = made()
    policies.share = Share(1, 2)
    policies.limit(["recipientdomain"], Match.of({}), Limits(concurrency=3), 60, "", True)
    assert isinstance(policies.admit(HERE), Permit)
    assert isinstance(policies.admit(HERE), Blocked), "two of three are the first worker's"


def test_rules_are_told_and_heard() -> None:
    """The id of a rule is the same wherever it is made."""
    (here, _), (there, _) = made(), made()
    told: list[str] = []
    here.on_made = lambda rule: (told.append(rule.id), there.hear(rule))[0]
    here.on_removed = there.forget
    there.on_made = lambda rule: pytest.fail("what is heard is not told again")
    rule = here.suspend(Match.of({"jobid": "j-1"}), 60, "", True)
    assert told == [rule]
    assert isinstance(there.admit(HERE), Blocked)
    here.suspend(Match.of({"jobid": "j-1"}), 90, "", False)
    assert told == [rule], "it was not changed"
    assert rule is not None
    assert here.remove(rule)
    assert isinstance(there.admit(HERE), Permit)
    there.on_made = lambda rule: None
    assert there.suspend(Match.of({"jobid": "j-1"}), 60, "", True) == rule
