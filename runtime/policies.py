"""Suspensions and policies of the queue: what scripts and the configuration ask for comes in, whether an entry may go
out.

A suspension holds back every entry whose fields match. A policy counts entries by the values of its fields, and its
condition says which of these counters it limits: how many at a time (concurrency), how many in a time (rate, a token
bucket), how long after one another (connectinterval). Those of scripts end after their time to live and are kept in
memory; those of the configuration stay, and give way to a script's condition on the same fields.

An entry is looked at twice: by what is known of it in the queue (EARLY fields), and then, address by address, by where
it goes (the other fields).
"""

from __future__ import annotations

import heapq
import math
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from hsl.errors import ScriptError
from hsl.runtime.model import QueueEntry
from hsl.runtime.policyfields import EARLY, HOSTS, Facts, Faults, Groupings, Key, Lists, Match, facts_of
from hsl.runtime.protocols import Clock

MAX_RULES = 10_000  # suspensions and policies of scripts together
MAX_COUNTERS = 100_000
SCAN = 8  # counters looked at to find one that can be forgotten
MAX_TAG = 32  # bytes
PROBE = 1.0  # seconds until an entry that waits for another one's end is looked at in any case
NO_COUNTER = 0.01  # seconds for each entry that waits for a counter to be free
RULES = uuid.UUID("9d4c2a3e-5c0b-4f64-9a35-0c2c3a9be7d1")  # of which the ids of rules are made: the same in all workers
STALE = 64  # ends of rules that are kept in vain


@dataclass(frozen=True, slots=True)
class Limits:
    """What a policy allows; None: as many as there are. `stop`: policies that come later are not looked at."""

    concurrency: int | None = None
    rate: tuple[int, float] | None = None  # entries, seconds
    interval: float | None = None  # seconds from one to the next
    stop: bool = False
    properties: tuple[tuple[str, bytes | float], ...] = ()  # what scripts are to see beside


@dataclass(frozen=True, slots=True)
class Share:
    """What one of several workers may do of what a policy allows: none of them sees what the others do.

    Concurrency, and a rate of as many messages as there are workers, are divided; a lower rate, and the interval, are
    stretched. One at a time each is the least: a concurrency lower than the number of workers is taken for that number.
    """

    number: int = 0  # of the worker, from 0
    count: int = 1

    def of(self, limits: Limits) -> Limits:
        if self.count == 1:
            return limits
        return Limits(
            None if limits.concurrency is None else max(1, self.part(limits.concurrency)),
            None if limits.rate is None else self.rate(*limits.rate),
            None if limits.interval is None else limits.interval * self.count,
            limits.stop,
            limits.properties,
        )

    def part(self, whole: int) -> int:
        """The parts of all workers are the whole."""
        return whole // self.count + (self.number < whole % self.count)

    def rate(self, most: int, seconds: float) -> tuple[int, float]:
        return (self.part(most), seconds) if most >= self.count else (1, seconds * self.count / most)


@dataclass(slots=True)
class Rule:
    """A suspension (without limits) or a policy's condition. `expires` is monotonic; the configuration's never do."""

    id: str
    match: Match
    expires: float = math.inf
    tag: str = ""
    fields: tuple[str, ...] = ()
    limits: Limits | None = None
    key: Key = ()
    serial: int = 0

    @property
    def late(self) -> bool:
        return not (EARLY.issuperset(self.fields) and EARLY.issuperset(self.match.given))


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy of the configuration: its conditions in order, the first that matches holds, then its default."""

    fields: tuple[str, ...]
    rules: tuple[Rule, ...]


@dataclass(slots=True)
class Counter:
    """The entries of one combination of values: those under way, the tokens left, when the last one began."""

    key: Key
    running: int = 0
    tokens: float = math.inf
    filled: float = 0.0
    last: float = -math.inf
    rests: float = -math.inf  # until then it is not as a new one would be

    def refill(self, rate: tuple[int, float], now: float) -> float:
        most, seconds = rate
        self.tokens = min(float(most), self.tokens + (now - self.filled) * most / seconds)
        self.filled = now
        return self.tokens

    def take(self, limits: Limits, now: float) -> None:
        self.running += 1
        self.last = now
        if limits.rate is not None:
            self.tokens -= 1
            most, seconds = limits.rate
            self.rests = max(self.rests, now + (most - self.tokens) * seconds / most)
        if limits.interval is not None:
            self.rests = max(self.rests, now + limits.interval)


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
    """An entry may go: it counts until `release`. `rules` are the policies that it was counted by."""

    counters: Sequence[Counter] = ()
    rules: Sequence[Rule] = ()


FREE = Permit()


@dataclass(slots=True)
class RuleSet:
    """Rules of which the latest that matches is wanted. Those that name exact values are found by these."""

    exact: dict[Key, dict[Key, Rule]] = field(default_factory=dict)  # by names of fields, by their values
    others: dict[Key, Rule] = field(default_factory=dict)  # in the order they came

    def __bool__(self) -> bool:
        return bool(self.exact or self.others)

    def add(self, rule: Rule) -> None:
        if rule.match.exact:
            names, values = exact_key(rule.match)
            self.exact.setdefault(names, {})[values] = rule
        else:
            self.others[rule.key] = rule

    def discard(self, rule: Rule) -> None:
        if not rule.match.exact:
            self.others.pop(rule.key, None)
            return
        names, values = exact_key(rule.match)
        table = self.exact.get(names, {})
        table.pop(values, None)
        if not table:
            self.exact.pop(names, None)

    def find(self, facts: Facts, applies: Callable[[Rule, Facts], bool]) -> Rule | None:
        best: Rule | None = None
        for names, table in self.exact.items():
            found = table.get(tuple(fold(name, facts.get(name, "")) for name in names))
            if found is not None and (best is None or found.serial > best.serial):
                best = found
        for rule in reversed(self.others.values()):
            if best is not None and rule.serial < best.serial:
                break
            if applies(rule, facts):
                return rule
        return best


def exact_key(match: Match) -> tuple[Key, Key]:
    names = tuple(name for name, _ in match.patterns)
    return names, tuple(fold(name, match.given[name]) for name in names)


def fold(name: str, value: str) -> str:
    return value.lower() if name in HOSTS else value


@dataclass(slots=True)
class Group:
    """The policies of one set of fields: they share their counters. A script's conditions go before `fixed` ones."""

    fields: tuple[str, ...]
    rules: RuleSet = field(default_factory=RuleSet)
    fixed: tuple[Rule, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.rules or self.fixed)

    def find(self, facts: Facts, applies: Callable[[Rule, Facts], bool]) -> Rule | None:
        found = self.rules.find(facts, applies)
        return found or next((rule for rule in self.fixed if applies(rule, facts)), None)


Groups = dict[tuple[str, ...], Group]


class QueuePolicies:
    """The suspensions and policies of one process. Belongs to the event loop.

    `on_free(key, count)`: entries that wait for this may be looked at, so many or (None) all; `on_change()`: all of
    them, for a policy is new, gone or changed. `on_made(rule)` and `on_removed(id)` tell other workers what scripts and
    administrators did here; what is heard from them comes in by `hear` and `forget`. `faults` hears of regular
    expressions that go over their limits.
    """

    def __init__(self, clock: Clock, max_rules: int = MAX_RULES, max_counters: int = MAX_COUNTERS) -> None:
        self.clock = clock
        self.max_rules = max_rules
        self.max_counters = max_counters
        self.rules: dict[Key, Rule] = {}
        self.ids: dict[str, Rule] = {}
        self.counters: dict[Key, Counter] = {}
        self.resting: OrderedDict[Key, Counter] = OrderedDict()  # those with nothing under way
        self.due: list[tuple[float, Key]] = []  # a heap of when rules end; not exact for those that were prolonged
        self.on_free: Callable[[Key, int | None], None] = lambda key, count: None
        self.on_change: Callable[[], None] = lambda: None
        self.on_made: Callable[[Rule], None] = lambda rule: None
        self.on_removed: Callable[[str], None] = lambda rule_id: None
        self.suspensions: tuple[RuleSet, RuleSet] = (RuleSet(), RuleSet())  # early, late
        self.groups: tuple[Groups, Groups] = ({}, {})
        self.lists = Lists()
        self.groupings = Groupings()
        self.faults = Faults()
        self.share = Share()
        self.serials = count(1)

    def configure(self, policies: Sequence[Policy], lists: Mapping[str, Sequence[str]], groupings: Groupings) -> None:
        """Take over what the configuration says; what scripts made stays. Counters stay as they are."""
        self.lists.replace(lists)
        self.groupings = groupings
        dynamic = [rule for rule in self.rules.values() if rule.limits is not None]
        self.groups = ({}, {})
        for policy in policies:
            self._group(policy.fields).fixed = policy.rules
        for rule in dynamic:
            self._group(rule.fields).rules.add(rule)
        self.on_change()

    def _group(self, fields: tuple[str, ...]) -> Group:
        return self.groups[not EARLY.issuperset(fields)].setdefault(fields, Group(fields))

    # --- rules

    def suspend(self, match: Match, ttl: float, tag: str, update: bool) -> str | None:
        """Suspend what matches, or prolong the suspension that there is; its id, None when there is no room."""
        rule = Rule("", match, self.clock.monotonic() + ttl, tag, key=("suspend", *match.key))
        return self._put_and_tell(rule, update)

    def limit(
        self, fields: Sequence[str], match: Match, limits: Limits, ttl: float, tag: str, update: bool
    ) -> str | None:
        """Limit what matches, counted by fields, or change the policy that there is; its id, None: no room."""
        key = ("policy", ",".join(fields), *match.key)
        rule = Rule("", match, self.clock.monotonic() + ttl, tag, tuple(fields), limits, key)
        return self._put_and_tell(rule, update)

    def hear(self, rule: Rule) -> None:
        """Take over a rule that another worker made or changed."""
        self._put(rule, update=True)

    def _put_and_tell(self, rule: Rule, update: bool) -> str | None:
        self._expire()
        known = rule.key in self.rules
        found = self._put(rule, update)
        if found is not None and (update or not known):
            self.on_made(self.ids[found])
        return found

    def _put(self, rule: Rule, update: bool) -> str | None:
        self._expire()
        found = self.rules.get(rule.key)
        if found is not None:
            if update:
                self._update(found, rule)
            return found.id
        if len(self.rules) >= self.max_rules:
            return None
        rule.id, rule.serial = str(uuid.uuid5(RULES, repr(rule.key))), next(self.serials)
        self.rules[rule.key] = self.ids[rule.id] = rule
        self._ends(rule)
        if rule.limits is None:
            self.suspensions[rule.late].add(rule)
        else:
            self._group(rule.fields).rules.add(rule)
            self.on_change()
        return rule.id

    def _update(self, found: Rule, rule: Rule) -> None:
        earlier, changed = rule.expires < found.expires, rule.limits != found.limits
        found.expires, found.tag, found.limits = rule.expires, rule.tag or found.tag, rule.limits
        self._ends(found)
        if changed:
            self.on_change()
        elif earlier and found.limits is None:
            self.on_free(waiting_key(found), None)

    def _ends(self, rule: Rule) -> None:
        """Note when a rule ends; what was noted of it before is left to be passed over, up to a limit."""
        heapq.heappush(self.due, (rule.expires, rule.key))
        if len(self.due) > 2 * len(self.rules) + STALE:
            self.due = [(item.expires, item.key) for item in self.rules.values()]
            heapq.heapify(self.due)

    def remove(self, rule_id: str, *, policies_only: bool = False) -> bool:
        """End a rule before its time. False when there is none of that id."""
        rule = self.ids.get(rule_id)
        if rule is None or (rule.limits is None and policies_only):
            return False
        self._drop(rule)
        self.on_removed(rule_id)
        return True

    def forget(self, rule_id: str) -> None:
        """Another worker has ended a rule."""
        if rule_id in self.ids:
            self._drop(self.ids[rule_id])

    def active(self) -> list[Rule]:
        """The rules of scripts that have not ended, in the order they came."""
        self._expire()
        return list(self.rules.values())

    def _expire(self) -> None:
        now = self.clock.monotonic()
        while self.due and self.due[0][0] <= now:
            _, key = heapq.heappop(self.due)
            rule = self.rules.get(key)
            if rule is not None and rule.expires <= now:
                self._drop(rule)

    def _drop(self, rule: Rule) -> None:
        del self.rules[rule.key], self.ids[rule.id]
        if rule.limits is None:
            self.suspensions[rule.late].discard(rule)
            self.on_free(waiting_key(rule), None)
            return
        group = self._group(rule.fields)
        group.rules.discard(rule)
        if not group:
            for groups in self.groups:
                groups.pop(rule.fields, None)
        self.on_change()

    # --- entries

    def facts(self, entry: QueueEntry, localip: str, remoteip: str, remotemx: str) -> dict[str, str]:
        """All that is known of a delivery, once the mail host's address is."""
        facts = facts_of(entry) | {"localip": localip, "remoteip": remoteip, "remotemx": remotemx}
        try:
            facts["grouping"] = self.groupings.of(facts)
        except ScriptError as error:
            self.faults.note("queues.grouping", error)
            facts["grouping"] = facts.get(self.groupings.default, "")
        return facts

    def applies(self, rule: Rule, facts: Facts) -> bool:
        """Whether a rule is for this; one whose regular expression goes over its limits is not."""
        try:
            return rule.match.applies(facts)
        except ScriptError as error:
            self.faults.note(f"rule {rule.id}", error)
            return False

    def admit(self, facts: Facts, *, late: bool = False) -> Permit | Blocked:
        """Whether an entry may go: by the rules with early fields only, or by those with others."""
        self._expire()
        blocked = self.suspended(facts, late=late)
        if blocked is not None or not self.groups[late]:
            return blocked or FREE
        now = self.clock.monotonic()
        counters: list[Counter] = []
        rules = list(self._limiting(facts, late))
        for rule in rules:
            assert rule.limits is not None
            counter = self._counter(rule.fields, facts, now)
            limits = self.share.of(rule.limits)
            blocked = no_counter(rule, now) if counter is None else over(counter, rule, limits, now)
            if blocked is not None or counter is None:
                self._forget(counters, now)
                return blocked or FREE
            counters.append(counter)
        for counter, rule in zip(counters, rules, strict=True):
            assert rule.limits is not None
            counter.take(self.share.of(rule.limits), now)
            self.resting.pop(counter.key, None)
        return Permit(counters, rules) if counters else FREE

    def _limiting(self, facts: Facts, late: bool) -> Iterator[Rule]:
        """The policies that count an entry, one of each set of fields, up to one that says `stop`."""
        if late and any(rule.limits and rule.limits.stop for rule in self._limiting(facts, late=False)):
            return
        for group in self.groups[late].values():
            rule = group.find(facts, self.applies)
            if rule is not None and rule.limits is not None:
                yield rule
                if rule.limits.stop:
                    return

    def suspended(self, facts: Facts, *, late: bool) -> Blocked | None:
        """The suspension that matches, if one does."""
        if not self.suspensions[late]:
            return None
        rule = self.suspensions[late].find(facts, self.applies)
        return None if rule is None else Blocked(waiting_key(rule), rule.expires, 0.0, rule.tag, "suspended")

    def _counter(self, fields: tuple[str, ...], facts: Facts, now: float) -> Counter | None:
        """The counter of these values; None when there are too many that still mean something."""
        key = ("count", *(f"{name}={fold(name, facts.get(name, ''))}" for name in fields))
        found = self.counters.get(key)
        if found is None and self._has_room(now):
            found = self.counters[key] = self.resting[key] = Counter(key, filled=now)
        return found

    def _has_room(self, now: float) -> bool:
        """Whether there may be one more counter; the oldest at rest are forgotten when they are as new ones."""
        if len(self.counters) < self.max_counters:
            return True
        for _ in range(min(SCAN, len(self.resting))):
            key, counter = self.resting.popitem(last=False)
            if now >= counter.rests:
                del self.counters[key]
                return True
            self.resting[key] = counter
        return False

    def _forget(self, counters: Sequence[Counter], now: float) -> None:
        """Drop counters that are as new ones would be."""
        for counter in counters:
            if not counter.running and now >= counter.rests and self.counters.get(counter.key) is counter:
                del self.counters[counter.key]
                self.resting.pop(counter.key, None)

    def release(self, permit: Permit) -> None:
        """The entry no longer counts as being under way."""
        for counter in permit.counters:
            counter.running -= 1
            if not counter.running:
                self.resting[counter.key] = counter
            self.on_free(counter.key, 1)
        self._forget(permit.counters, self.clock.monotonic())


def waiting_key(rule: Rule) -> Key:
    """What entries wait for that a suspension holds back."""
    return ("suspend", rule.id)


def no_counter(rule: Rule, now: float) -> Blocked:
    return Blocked(("counters",), now + PROBE, NO_COUNTER, rule.tag, "too many counters of policies")


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
