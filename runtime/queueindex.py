"""The queue in memory: entries come in as they are committed; metrics, listings and what is due go out.

One counter per value of each filter, so that a metric with one filter is a look-up; a metric with several walks the
smallest of their buckets. Knows nothing of disks or threads: it belongs to the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush

from hsl.runtime.model import ACTIVE, HOLD, QueueEntry
from hsl.runtime.protocols import QUEUE_FILTERS

MUTABLE = ("state", "due", "retry", "metadata", "error", "transportid", "recipient", "sender", "quotas")
SLACK = 1024  # stale items that the heap may hold before it is rebuilt

KEYS: Mapping[str, Callable[[QueueEntry], bytes]] = {
    "senderip": lambda entry: entry.senderip.encode().lower(),
    "saslusername": lambda entry: entry.saslusername,
    "sender": lambda entry: entry.sender.text,
    "senderdomain": lambda entry: entry.sender.host,
    "recipient": lambda entry: entry.recipient.text,
    "recipientdomain": lambda entry: entry.recipient.host,
    "transportid": lambda entry: entry.transportid.encode(),
    "retry": lambda entry: b"%d" % entry.retry,
    "state": lambda entry: entry.state.encode(),
    "id": lambda entry: b"%d" % entry.id,
    "quarantine": lambda entry: entry.quarantine.encode(),
}
LATER = "recipient"  # counted from the first time that it is asked: a counter for each costs as much as the entry
COUNTED = tuple((name, KEYS[name]) for name in QUEUE_FILTERS if name != LATER)
METADATA = "metadata."  # a filter on one key of the metadata: counted from the first time that it is asked
MAX_LATER = 20  # filters that are counted since they were asked
FOLDED = frozenset({"senderip", "sender", "senderdomain", "recipient", "recipientdomain"})


def key_of(name: str) -> Callable[[QueueEntry], bytes | None] | None:
    """What a filter looks at; None for an unknown filter."""
    if name.startswith(METADATA):
        key = name.removeprefix(METADATA).encode("utf-8", "surrogateescape")
        return lambda entry: entry.metadata.get(key)
    return KEYS.get(name)


Wanted = Mapping[str, frozenset[bytes]]


def copy_entry(entry: QueueEntry) -> QueueEntry:
    """An entry of one's own: changing it changes nobody else's."""
    return replace(entry, metadata=dict(entry.metadata))


def due_of(entry: QueueEntry) -> float | None:
    """When an entry falls due (UTC wall seconds); None: never by itself."""
    if entry.state == ACTIVE:
        return 0.0
    return None if entry.state == HOLD else entry.due


def read_filters(filters: Mapping[str, Sequence[bytes]]) -> Wanted:
    """Checked filters, their values spelled as the counters spell them. Raises ValueError for an unknown name."""
    for name in filters:
        if key_of(name) is None:
            raise ValueError(f"unknown queue filter {name!r}: known are {', '.join(KEYS)}, metadata.NAME")
    return {
        name: frozenset(value.lower() if name in FOLDED else value for value in values)
        for name, values in filters.items()
    }


def matches(entry: QueueEntry, wanted: Wanted) -> bool:
    return all((key := key_of(name)) is not None and key(entry) in values for name, values in wanted.items())


@dataclass(slots=True)
class Bucket:
    """The entries with one value of one filter, and their bytes."""

    ids: set[int] = field(default_factory=set)
    size: int = 0


class QueueIndex:
    """All entries, their counters, and a heap of what is due. What it returns are copies."""

    def __init__(self) -> None:
        self.stored: dict[int, QueueEntry] = {}  # in the order of ids: they only grow
        self.size = 0
        self._counted: list[tuple[str, Callable[[QueueEntry], bytes | None]]] = list(COUNTED)
        self._buckets: dict[str, dict[bytes, Bucket]] = {name: {} for name, _ in COUNTED}
        self._quotas: dict[bytes, list[int]] = {}  # entries and bytes of each quota
        self._heap: list[tuple[float, int]] = []  # (due, id); items that no longer hold are dropped when they surface
        self._claimed: set[int] = set()

    # changes

    def add(self, entry: QueueEntry) -> None:
        """Take over a committed entry; the caller keeps no reference to it."""
        self.stored[entry.id] = entry
        self._account(entry)
        self._push(entry)

    def change(self, changed: QueueEntry) -> None:
        """Adopt what may change of an entry, and end its claim. An entry that is gone stays gone."""
        entry = self.stored.get(changed.id)
        if entry is None:
            return
        self._unaccount(entry)
        for name in MUTABLE:
            setattr(entry, name, getattr(changed, name))
        self._account(entry)
        self._claimed.discard(entry.id)
        self._push(entry)

    def remove(self, entry_id: int) -> None:
        entry = self.stored.pop(entry_id, None)
        if entry is not None:
            self._unaccount(entry)
            self._claimed.discard(entry_id)

    def _account(self, entry: QueueEntry) -> None:
        self.size += entry.size
        for quota in entry.quotas:
            self._charge(quota, 1, entry.size)
        for name, key in self._counted:
            if (value := key(entry)) is not None:
                self._enter(name, value, entry)

    def _enter(self, name: str, value: bytes, entry: QueueEntry) -> None:
        bucket = self._buckets[name].setdefault(value, Bucket())
        bucket.ids.add(entry.id)
        bucket.size += entry.size

    def _count_later(self, wanted: Wanted) -> None:
        """Begin to count what is asked for the first time (recipients, metadata keys), as far as there is room."""
        for name in wanted:
            key = key_of(name)
            room = len(self._buckets) < len(COUNTED) + MAX_LATER
            if (name == LATER or name.startswith(METADATA)) and name not in self._buckets and key and room:
                self._buckets[name] = {}
                self._counted.append((name, key))
                for entry in self.stored.values():
                    if (value := key(entry)) is not None:
                        self._enter(name, value, entry)

    def _unaccount(self, entry: QueueEntry) -> None:
        self.size -= entry.size
        for quota in entry.quotas:
            self._charge(quota, -1, -entry.size)
        for name, key in self._counted:
            buckets = self._buckets[name]
            value = key(entry)
            if value is None:
                continue
            bucket = buckets[value]
            bucket.ids.discard(entry.id)
            bucket.size -= entry.size
            if not bucket.ids:
                del buckets[value]

    def _charge(self, quota: bytes, count: int, size: int) -> None:
        held = self._quotas.setdefault(quota, [0, 0])
        held[0] += count
        held[1] += size
        if not held[0]:
            del self._quotas[quota]

    # what is due

    def _push(self, entry: QueueEntry) -> None:
        due = due_of(entry)
        if due is None:
            return
        if len(self._heap) > 2 * len(self.stored) + SLACK:
            self._heap = [(at, entry.id) for entry in self.stored.values() if (at := due_of(entry)) is not None]
            heapify(self._heap)
        heappush(self._heap, (due, entry.id))

    def next_due(self) -> float | None:
        """When the next unclaimed entry falls due (UTC wall seconds, 0 for at once); None: there is none."""
        while self._heap:
            due, entry_id = self._heap[0]
            entry = self.stored.get(entry_id)
            if entry is not None and entry_id not in self._claimed and due_of(entry) == due:
                return due
            heappop(self._heap)
        return None

    def claim(self, limit: int, now: float) -> list[QueueEntry]:
        """At most `limit` entries due at `now`, oldest due first, marked as claimed."""
        claimed: list[QueueEntry] = []
        while len(claimed) < limit and (due := self.next_due()) is not None and due <= now:
            entry_id = heappop(self._heap)[1]
            self._claimed.add(entry_id)
            claimed.append(copy_entry(self.stored[entry_id]))
        return claimed

    def release(self, entry_id: int) -> bool:
        """End a claim without a change. False when there was none."""
        if entry_id not in self._claimed:
            return False
        self._claimed.discard(entry_id)
        self._push(self.stored[entry_id])
        return True

    def is_claimed(self, entry_id: int) -> bool:
        return entry_id in self._claimed

    # questions

    def get(self, entry_id: int) -> QueueEntry | None:
        entry = self.stored.get(entry_id)
        return None if entry is None else copy_entry(entry)

    def select(self, filters: Mapping[str, Sequence[bytes]], limit: int, after: int) -> list[QueueEntry]:
        """At most `limit` matching entries with ids above `after`, in the order of ids."""
        wanted = read_filters(filters)
        found: list[QueueEntry] = []
        for entry_id in self._candidates(wanted, ordered=True):
            if len(found) >= limit:
                break
            entry = self.stored.get(entry_id)
            if entry is not None and entry_id > after and matches(entry, wanted):
                found.append(copy_entry(entry))
        return found

    def metric(self, metric: str, filters: Mapping[str, Sequence[bytes]]) -> int:
        """`count` or `bytes` of the matching entries. Raises ValueError for another metric or an unknown filter."""
        if metric not in ("count", "bytes"):
            raise ValueError(f"unknown queue metric {metric!r}: known are count, bytes")
        wanted = read_filters(filters)
        self._count_later(wanted)
        count, size = self._measure(wanted)
        return count if metric == "count" else size

    def quota(self, name: bytes) -> tuple[int, int]:
        """How many entries a quota holds, and their bytes."""
        count, size = self._quotas.get(name, (0, 0))
        return count, size

    def _measure(self, wanted: Wanted) -> tuple[int, int]:
        if not wanted:
            return len(self.stored), self.size
        if len(wanted) == 1:
            [name] = wanted
            if name in self._buckets:
                buckets = self._of(name, wanted[name])
                return sum(len(bucket.ids) for bucket in buckets), sum(bucket.size for bucket in buckets)
        sizes = [
            entry.size
            for entry_id in self._candidates(wanted)
            if (entry := self.stored.get(entry_id)) is not None and matches(entry, wanted)
        ]
        return len(sizes), sum(sizes)

    def _of(self, name: str, values: Iterable[bytes]) -> list[Bucket]:
        buckets = self._buckets[name]
        return [buckets[value] for value in values if value in buckets]

    def _candidates(self, wanted: Wanted, ordered: bool = False) -> Iterable[int]:
        """The ids that can match: those of the filter that leaves the fewest."""
        if "id" in wanted:
            named = {int(value) for value in wanted["id"] if value.isdigit() and len(value) < 20}
            return sorted(named) if ordered else named
        counted = [self._of(name, values) for name, values in wanted.items() if name in self._buckets]
        if not counted:
            return self.stored
        fewest = min(counted, key=lambda buckets: sum(len(bucket.ids) for bucket in buckets))
        ids = set().union(*(bucket.ids for bucket in fewest))
        return sorted(ids) if ordered else ids
