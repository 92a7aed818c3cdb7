"""Suspensions and policies of the queue: what scripts ask for comes in, whether an entry may go out.

A suspension holds back every entry whose fields match. A policy counts entries by the values of its fields, and its
condition says which of these counters it limits: how many at a time (concurrency), how many in a time (rate, a token
bucket), how long after one another (connectinterval). All end after their time to live; they are kept in memory.

An entry is looked at twice: by what is known of it in the queue (EARLY fields), and then, address by address, by where
it goes (the other fields).
"""

from __future__ import annotations

import heapq
import ipaddress
import math
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from hsl.errors import ScriptError
from hsl.regex import compile_pattern
from hsl.runtime.model import QueueEntry
from hsl.runtime.protocols import Clock

FIELDS = ("transportid", "recipientdomain", "jobid", "localip", "remoteip", "remotemx")
EARLY = frozenset({"transportid", "recipientdomain", "jobid"})
HOSTS = frozenset({"recipientdomain", "remotemx"})
ADDRESSES = frozenset({"localip", "remoteip"})
MAX_RULES = 10_000  # suspensions and policies together
MAX_COUNTERS = 100_000
MAX_TAG = 32  # bytes
PROBE = 1.0  # seconds until an entry that waits for another one's end is looked at in any case

Facts: TypeAlias = Mapping[str, str]
Key: TypeAlias = tuple[str, ...]


def facts_of(entry: QueueEntry) -> dict[str, str]:
    """What is known of an entry in the queue."""
    return {
        "transportid": entry.transportid,
        "recipientdomain": entry.recipient.host.decode("utf-8", "replace"),
        "jobid": entry.jobid.decode("utf-8", "replace"),
    }


class Pattern(Protocol):
    def matches(self, value: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Exactly:
    text: str
    folded: bool

    def matches(self, value: str) -> bool:
        return (value.lower() if self.folded else value) == self.text


@dataclass(frozen=True, slots=True)
class Below:
    """`*.example.com`: every name below, not the domain itself."""

    suffix: str

    def matches(self, value: str) -> bool:
        return value.lower().endswith(self.suffix) and len(value) > len(self.suffix)


@dataclass(frozen=True, slots=True)
class Within:
    network: ipaddress.IPv4Network | ipaddress.IPv6Network

    def matches(self, value: str) -> bool:
        try:
            return ipaddress.ip_address(value) in self.network
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class Regex:
    pattern: bytes

    def matches(self, value: str) -> bool:
        return compile_pattern(self.pattern).matches(value.encode())


def read_pattern(name: str, text: str) -> Pattern:
    """What a field must be: text, `*.domain`, an address or network, `/regex/`. Raises ScriptError."""
    if not text:
        raise ScriptError(f"field {name}: wanted a value, got an empty string")
    if text[0] in "@#&" and name != "jobid":
        raise ScriptError(f"field {name}: lists and groupings ({text[0]}name) are not supported in this version")
    if text.startswith("/"):
        compile_pattern(text.encode())
        return Regex(text.encode())
    if name in ADDRESSES:
        try:
            return Within(ipaddress.ip_network(text, strict=False))
        except ValueError:
            raise ScriptError(f"field {name}: wanted an IP address or network, got {text!r}") from None
    if name in HOSTS and text.startswith("*."):
        return Below(text[1:].lower())
    return Exactly(text.lower() if name in HOSTS else text, name in HOSTS)


@dataclass(frozen=True, slots=True)
class Match:
    """Fields and what each must be; all of them."""

    given: Mapping[str, str]
    patterns: tuple[tuple[str, Pattern], ...]

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Match:
        """Raises ScriptError for an unknown field and for a value that is none."""
        return cls(given, tuple((name, read_pattern(name, text)) for name, text in given.items()))

    def applies(self, facts: Facts) -> bool:
        return all(name in facts and pattern.matches(facts[name]) for name, pattern in self.patterns)

    @property
    def key(self) -> Key:
        return tuple(f"{name}={text}" for name, text in sorted(self.given.items()))


@dataclass(frozen=True, slots=True)
class Limits:
    """What a policy allows; None: as many as there are."""

    concurrency: int | None = None
    rate: tuple[int, float] | None = None  # entries, seconds
    interval: float | None = None  # seconds from one to the next


@dataclass(slots=True)
class Rule:
    """A suspension (without fields and limits) or a policy. `expires` is monotonic."""

    id: str
    match: Match
    expires: float
    tag: str = ""
    fields: tuple[str, ...] = ()
    limits: Limits | None = None

    @property
    def early(self) -> bool:
        return EARLY.issuperset(self.fields) and EARLY.issuperset(self.match.given)


@dataclass(slots=True)
class Counter:
    """The entries of one combination of values: those under way, the tokens left, when the last one began."""

    key: Key
    running: int = 0
    tokens: float = math.inf
    filled: float = 0.0
    last: float = -math.inf

    def refill(self, rate: tuple[int, float], now: float) -> float:
        count, seconds = rate
        self.tokens = min(float(count), self.tokens + (now - self.filled) * count / seconds)
        self.filled = now
        return self.tokens

    def is_idle(self, now: float) -> bool:
        return not self.running and now - max(self.last, self.filled) > 3600.0


@dataclass(frozen=True, slots=True)
class Blocked:
    """An entry must wait. `until` (monotonic): when to look again; then at one entry every `step` seconds, 0: at all.

    Entries with the same `key` wait for the same thing.
    """

    key: Key
    until: float
    step: float
    tag: str
    reason: str


@dataclass(slots=True)
class Permit:
    """An entry may go: it counts until `release`."""

    counters: Sequence[Counter] = ()


FREE = Permit()


class QueuePolicies:
    """The suspensions and policies of one process. Belongs to the event loop.

    `on_free(key)` is called when an entry that counted has ended, `on_change()` when a rule is gone or new.
    """

    def __init__(self, clock: Clock, max_rules: int = MAX_RULES) -> None:
        self.clock = clock
        self.max_rules = max_rules
        self.rules: dict[Key, Rule] = {}
        self.counters: dict[Key, Counter] = {}
        self.due: list[tuple[float, Key]] = []  # a heap of when rules end; not exact for those that were prolonged
        self.on_free: Callable[[Key], None] = lambda key: None
        self.on_change: Callable[[], None] = lambda: None
        self.suspensions: tuple[tuple[Rule, ...], tuple[Rule, ...]] = ((), ())  # early, late
        self.limiting: tuple[Groups, Groups] = ({}, {})

    # --- rules

    def suspend(self, match: Match, ttl: float, tag: str, update: bool) -> str | None:
        """Suspend what matches, or prolong the suspension that there is; its id, None when there is no room."""
        return self._put(("suspend", *match.key), Rule("", match, self.clock.monotonic() + ttl, tag), update)

    def limit(
        self, fields: Sequence[str], match: Match, limits: Limits, ttl: float, tag: str, update: bool
    ) -> str | None:
        """Limit what matches, counted by fields, or change the policy that there is; its id, None: no room."""
        key = ("policy", ",".join(fields), *match.key)
        rule = Rule("", match, self.clock.monotonic() + ttl, tag, tuple(fields), limits)
        return self._put(key, rule, update)

    def _put(self, key: Key, rule: Rule, update: bool) -> str | None:
        self._expire()
        found = self.rules.get(key)
        if found is not None:
            if update:
                found.expires, found.tag, found.limits = rule.expires, rule.tag or found.tag, rule.limits
                self._changed()
                heapq.heappush(self.due, (rule.expires, key))
            return found.id
        if len(self.rules) >= self.max_rules:
            return None
        rule.id = str(uuid.uuid4())
        self.rules[key] = rule
        heapq.heappush(self.due, (rule.expires, key))
        self._changed()
        return rule.id

    def remove(self, rule_id: str, *, policies_only: bool = False) -> bool:
        """End a rule before its time. False when there is none of that id."""
        for key, rule in self.rules.items():
            if rule.id == rule_id and (rule.limits is not None or not policies_only):
                del self.rules[key]
                self._changed()
                return True
        return False

    def active(self) -> list[Rule]:
        """The rules that have not ended, in the order they came."""
        self._expire()
        return list(self.rules.values())

    def _expire(self) -> None:
        now = self.clock.monotonic()
        gone = False
        while self.due and self.due[0][0] <= now:
            _, key = heapq.heappop(self.due)
            rule = self.rules.get(key)
            if rule is not None and rule.expires <= now:
                del self.rules[key]
                gone = True
        if gone:
            self._changed()

    def _changed(self) -> None:
        """Sort the rules for a quick look; a policy that came later is looked at first."""
        found: tuple[list[Rule], list[Rule]] = ([], [])
        groups: tuple[Groups, Groups] = ({}, {})
        for rule in reversed(self.rules.values()):
            late = not rule.early
            if rule.limits is None:
                found[late].append(rule)
            else:
                groups[late].setdefault(rule.fields, []).append(rule)
        self.suspensions = tuple(found[0]), tuple(found[1])
        self.limiting = groups
        self.on_change()

    # --- entries

    def admit(self, facts: Facts, *, late: bool = False) -> Permit | Blocked:
        """Whether an entry may go: by the rules with early fields only, or by those with others."""
        self._expire()
        if not self.suspensions[late] and not self.limiting[late]:
            return FREE
        blocked = self.suspended(facts, late=late)
        if blocked is not None:
            return blocked
        now = self.clock.monotonic()
        taken: list[tuple[Counter, Limits]] = []
        for fields, rules in self.limiting[late].items():
            rule = next((item for item in rules if item.match.applies(facts)), None)
            if rule is None or rule.limits is None:
                continue
            counter = self._counter(fields, facts, now)
            blocked = over(counter, rule, rule.limits, now)
            if blocked is not None:
                return blocked
            taken.append((counter, rule.limits))
        return self._take(taken, now)

    def suspended(self, facts: Facts, *, late: bool) -> Blocked | None:
        """The suspension that matches, if one does."""
        for rule in self.suspensions[late]:
            if rule.match.applies(facts):
                return Blocked(("suspend", rule.id), rule.expires, 0.0, rule.tag, "suspended")
        return None

    def _take(self, taken: Iterable[tuple[Counter, Limits]], now: float) -> Permit:
        counters = []
        for counter, limits in taken:
            counter.running += 1
            counter.last = now
            if limits.rate is not None:
                counter.tokens -= 1
            counters.append(counter)
        return Permit(counters) if counters else FREE

    def _counter(self, fields: tuple[str, ...], facts: Facts, now: float) -> Counter:
        key = ("count", *(f"{name}={facts.get(name, '')}" for name in fields))
        found = self.counters.get(key)
        if found is None:
            if len(self.counters) >= MAX_COUNTERS:
                self.counters = {name: item for name, item in self.counters.items() if not item.is_idle(now)}
            found = self.counters[key] = Counter(key, filled=now)
        return found

    def release(self, permit: Permit) -> None:
        """The entry no longer counts as being under way."""
        for counter in permit.counters:
            counter.running -= 1
            self.on_free(counter.key)


Groups: TypeAlias = dict[tuple[str, ...], list[Rule]]


def over(counter: Counter, rule: Rule, limits: Limits, now: float) -> Blocked | None:
    """Why a counter takes no further entry now, or None."""
    if limits.concurrency is not None and counter.running >= limits.concurrency:
        return Blocked(counter.key, now + PROBE, PROBE, rule.tag, f"concurrency limit of {limits.concurrency}")
    if limits.rate is not None:
        count, seconds = limits.rate
        tokens = counter.refill(limits.rate, now)
        if tokens < 1.0 - 1e-9:
            step = seconds / count
            return Blocked(
                counter.key, now + (1.0 - tokens) * step, step, rule.tag, f"rate limit of {count}/{seconds:g}"
            )
    if limits.interval is not None and now < counter.last + limits.interval:
        text = f"connect interval of {limits.interval:g}"
        return Blocked(counter.key, counter.last + limits.interval, limits.interval, rule.tag, text)
    return None
