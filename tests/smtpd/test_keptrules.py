"""What the supervisor keeps of suspensions and policies: those that hold, and little more."""

from __future__ import annotations

from dataclasses import dataclass

from hsl.smtpd.keptrules import KeptRules


@dataclass
class Clock:
    now: float = 100.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


def test_a_rule_holds_for_its_time() -> None:
    clock = Clock()
    kept = KeptRules(clock)
    kept.keep({"id": "a", "ttl": 10.0, "tag": "first"})
    kept.keep({"id": "b", "ttl": 20.0})
    kept.keep({"id": "c", "ttl": 30.0})
    kept.keep({"id": "a", "ttl": 15.0, "tag": "changed"})
    kept.lift("c")
    kept.lift("unknown")
    clock.now += 12
    assert kept.current() == [{"id": "a", "ttl": 3.0, "tag": "changed"}, {"id": "b", "ttl": 8.0}]
    clock.now += 5
    assert kept.current() == [{"id": "b", "ttl": 3.0}]


def test_what_has_ended_is_forgotten_though_nobody_asks() -> None:
    clock = Clock()
    kept = KeptRules(clock, room=100)
    for number in range(10_000):
        kept.keep({"id": str(number), "ttl": 10.0})
        clock.now += 1
        assert len(kept) <= 101
    assert len(kept.current()) == 9


def test_all_that_holds_is_kept() -> None:
    kept = KeptRules(Clock(), room=100)
    for number in range(1000):
        kept.keep({"id": str(number), "ttl": 10.0})
    assert len(kept.current()) == 1000
