"""The queue in memory: rows come in as they are committed; metrics, listings and what is due go out.

A tally for each filter makes a metric with one filter a look-up; one with several walks the entries of the filter that
leaves the fewest. Knows nothing of disks or threads: it belongs to the event loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush, merge
from itertools import islice

from hsl.runtime.model import QueueEntry
from hsl.runtime.protocols import QUEUE_FILTERS
from hsl.runtime.rows import (
    AT,
    ID,
    METADATA,
    PRIORITY,
    QUOTAS,
    SIZE,
    Row,
    Rows,
    changed,
    due_of,
    entry_of,
    extent_of,
    unpack_metadata,
    unpack_quotas,
)
from hsl.runtime.tallies import IdSet, Tally

SLACK = 1024  # stale items that a heap may hold before it is rebuilt
PRIORITIES = (1, 0)  # the first to go first
VISITS = 10_000  # entries that one page of a listing looks at
PAGE_EXTENT = 1024 * 1024  # octets of metadata and errors after which a page ends
METADATA_FILTER = "metadata."  # a filter on one key of the metadata: counted from the first time that it is asked
SLICE = 1_000  # entries that one step of counting or measuring looks at
MAX_LATER = 20  # filters that are counted since they were asked

Key = Callable[[Row], bytes | None]


def text_key(name: str) -> Callable[[Row], bytes]:
    place = AT[name]
    return lambda row: row[place].encode()


def octets_key(name: str) -> Callable[[Row], bytes]:
    place = AT[name]
    return lambda row: row[place]


def number_key(name: str) -> Callable[[Row], bytes]:
    place = AT[name]
    return lambda row: b"%d" % row[place]


def address_key(name: str) -> Callable[[Row], bytes]:
    """As `Address.path`."""
    local, domain = AT[f"{name}local"], AT[f"{name}domain"]
    return lambda row: b"%b@%b" % (row[local], row[domain]) if row[domain] else row[local]


def folded(key: Callable[[Row], bytes]) -> Callable[[Row], bytes]:
    return lambda row: key(row).lower()


def domain_key(name: str) -> Callable[[Row], bytes]:
    place = AT[f"{name}domain"]
    return lambda row: row[place].lower()


def metadata_key(name: str) -> Key:
    key = name.encode("utf-8", "surrogateescape")
    return lambda row: unpack_metadata(row[METADATA]).get(key)


KEYS: Mapping[str, Key] = {
    "senderip": folded(text_key("senderip")),
    "saslusername": octets_key("saslusername"),
    "sender": folded(address_key("sender")),
    "senderdomain": domain_key("sender"),
    "recipient": folded(address_key("recipient")),
    "recipientdomain": domain_key("recipient"),
    "transportid": text_key("transportid"),
    "retry": number_key("retry"),
    "state": text_key("state"),
    "id": number_key("id"),
    "quarantine": text_key("quarantine"),
}
FOLDED = frozenset({"senderip", "sender", "senderdomain", "recipient", "recipientdomain"})
COUNTED = (*QUEUE_FILTERS, "state", "quarantine")

Wanted = Mapping[str, frozenset[bytes]]


def key_of(name: str) -> Key | None:
    """What a filter looks at; None for an unknown filter."""
    if name.startswith(METADATA_FILTER):
        return metadata_key(name.removeprefix(METADATA_FILTER))
    return KEYS.get(name)


def read_filters(filters: Mapping[str, Sequence[bytes]]) -> Wanted:
    """Checked filters, their values spelled as the tallies spell them. Raises ValueError for an unknown name."""
    for name in filters:
        if key_of(name) is None:
            raise ValueError(f"unknown queue filter {name!r}: known are {', '.join(KEYS)}, metadata.NAME")
    return {
        name: frozenset(value.lower() if name in FOLDED else value for value in values)
        for name, values in filters.items()
    }


def check_metric(metric: str) -> None:
    """Raises ValueError for another metric than `count` and `bytes`."""
    if metric not in ("count", "bytes"):
        raise ValueError(f"unknown queue metric {metric!r}: known are count, bytes")


def matcher(wanted: Wanted) -> Callable[[Row], bool]:
    """Whether a row has, for every filter, one of its values."""
    tests = [(key, values) for name, values in wanted.items() if (key := key_of(name)) is not None]
    return lambda row: all(key(row) in values for key, values in tests)


@dataclass(slots=True)
class Filter:
    """What a filter looks at, and the entries by it, as far as they are counted."""

    key: Key
    tally: Tally
    upto: float = math.inf  # the highest id that is counted


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing. `after`: the id to go on after; None: nothing follows."""

    entries: list[QueueEntry]
    after: int | None


class QueueIndex:
    """All entries, their tallies, and a heap of what is due for each priority. What it returns are the caller's own."""

    def __init__(self) -> None:
        self._rows = Rows()
        self._ids = IdSet()
        self._size = 0
        self._visited = 0
        self._filters = {name: Filter(KEYS[name], Tally(self._size_of)) for name in COUNTED}
        self._quotas: dict[bytes, list[int]] = {}  # entries and bytes of each quota
        # (due, id); items that no longer hold are dropped when they surface
        self._heaps: dict[int, list[tuple[float, int]]] = {priority: [] for priority in PRIORITIES}
        self._claimed: set[int] = set()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def visited(self) -> int:
        """How many entries questions have looked at so far: what they cost."""
        return self._visited

    # changes

    def add(self, row: Row) -> None:
        """Take over a committed entry."""
        entry_id, size = row[ID], row[SIZE]
        self._rows[entry_id] = row
        self._ids.add(entry_id)
        self._size += size
        self._charge(row, 1)
        for item in self._filters.values():
            if entry_id <= item.upto and (value := item.key(row)) is not None:
                item.tally.add(value, entry_id, size)
        self._push(row)

    def change(self, entry_id: int, changing: Row) -> None:
        """Adopt the changing columns of an entry, and end its claim. An entry that is gone stays gone."""
        if (old := self._rows.get(entry_id)) is None:
            return
        new = changed(old, changing)
        self._rows[entry_id] = new
        self._recount(old, new)
        self._claimed.discard(entry_id)
        self._push(new)

    def _recount(self, old: Row, new: Row) -> None:
        """Most changes touch few filters: the others keep their counts."""
        entry_id, size = old[ID], old[SIZE]
        if old[QUOTAS] != new[QUOTAS]:
            self._charge(old, -1)
            self._charge(new, 1)
        for item in self._filters.values():
            before, now = item.key(old), item.key(new)
            if before == now or entry_id > item.upto:
                continue
            if before is not None:
                item.tally.remove(before, entry_id, size)
            if now is not None:
                item.tally.add(now, entry_id, size)

    def remove(self, entry_id: int) -> None:
        if (row := self._rows.pop(entry_id)) is None:
            return
        size = row[SIZE]
        self._ids.remove(entry_id)
        self._size -= size
        self._charge(row, -1)
        for item in self._filters.values():
            if entry_id <= item.upto and (value := item.key(row)) is not None:
                item.tally.remove(value, entry_id, size)
        self._claimed.discard(entry_id)

    def _size_of(self, entry_id: int) -> int:
        size: int = self._rows[entry_id][SIZE]
        return size

    def _charge(self, row: Row, sign: int) -> None:
        for quota in unpack_quotas(row[QUOTAS]):
            held = self._quotas.setdefault(quota, [0, 0])
            held[0] += sign
            held[1] += sign * row[SIZE]
            if not held[0]:
                del self._quotas[quota]

    # what is due

    def _push(self, row: Row) -> None:
        due = due_of(row)
        if due is None:
            return
        priority = row[PRIORITY]
        heap = self._heaps[priority]
        if len(heap) > 2 * len(self._rows) + SLACK:
            rows = (row for row in self._rows.values() if row[PRIORITY] == priority)
            heap[:] = [(at, row[ID]) for row in rows if (at := due_of(row)) is not None]
            heapify(heap)
        heappush(heap, (due, row[ID]))

    def next_due(self) -> float | None:
        """When the next unclaimed entry falls due (UTC wall seconds, 0 for at once); None: there is none."""
        return min((due for priority in PRIORITIES if (due := self._first_due(priority)) is not None), default=None)

    def _first_due(self, priority: int) -> float | None:
        heap = self._heaps[priority]
        while heap:
            due, entry_id = heap[0]
            row = self._rows.get(entry_id)
            if row is not None and entry_id not in self._claimed and due_of(row) == due and row[PRIORITY] == priority:
                return due
            heappop(heap)
        return None

    def claim(self, limit: int, now: float) -> list[QueueEntry]:
        """At most `limit` entries due at `now`, marked as claimed: priority 1 first, of each oldest due first."""
        claimed: list[QueueEntry] = []
        for priority in PRIORITIES:
            while len(claimed) < limit and (due := self._first_due(priority)) is not None and due <= now:
                entry_id = heappop(self._heaps[priority])[1]
                self._claimed.add(entry_id)
                claimed.append(entry_of(self._rows[entry_id]))
        return claimed

    def release(self, entry_id: int) -> bool:
        """End a claim without a change. False when there was none."""
        if entry_id not in self._claimed:
            return False
        self._claimed.discard(entry_id)
        self._push(self._rows[entry_id])
        return True

    def is_claimed(self, entry_id: int) -> bool:
        return entry_id in self._claimed

    # questions

    def get(self, entry_id: int) -> QueueEntry | None:
        row = self._rows.get(entry_id)
        return None if row is None else entry_of(row)

    def page(self, filters: Mapping[str, Sequence[bytes]], limit: int, after: int) -> Page:
        """At most `limit` matching entries with ids above `after`, in the order of ids, out of at most VISITS; it ends
        with the one that makes it longer than PAGE_EXTENT."""
        wanted = read_filters(filters)
        fits = matcher(wanted)
        found: list[QueueEntry] = []
        extent = 0
        stop = self._visited + VISITS
        for row in self._visit(self._candidates(wanted, after)):
            if self._visited > stop or extent > PAGE_EXTENT or (len(found) == limit and fits(row)):
                return Page(found, after)
            after = row[ID]
            if fits(row):
                found.append(entry_of(row))
                extent += extent_of(row)
        return Page(found, None)

    def metric(self, metric: str, filters: Mapping[str, Sequence[bytes]]) -> int:
        """`count` or `bytes` of the matching entries. Raises ValueError for another metric or an unknown filter."""
        total, after = self.measure(metric, filters, 0)
        while after is not None:
            part, after = self.measure(metric, filters, after)
            total += part
        return total

    def measure(self, metric: str, filters: Mapping[str, Sequence[bytes]], after: int) -> tuple[int, int | None]:
        """The metric of entries with ids above `after`, as far as SLICE visits go; the id to go on after, or None.

        What is counted is known at once.
        """
        check_metric(metric)
        wanted = read_filters(filters)
        if not wanted:
            return (len(self._rows) if metric == "count" else self._size), None
        if len(wanted) == 1:
            [(name, values)] = wanted.items()
            if (tally := self._counted(name)) is not None:
                return (tally.count(values) if metric == "count" else tally.size(values)), None
        fits = matcher(wanted)
        total = 0
        stop = self._visited + SLICE
        for row in self._visit(self._candidates(wanted, after)):
            if self._visited > stop:
                return total, after
            after = row[ID]
            if fits(row):
                total += 1 if metric == "count" else row[SIZE]
        return total, None

    def _counted(self, name: str) -> Tally | None:
        """The tally of a filter, if all entries are in it."""
        item = self._filters.get(name)
        return item.tally if item is not None and item.upto == math.inf else None

    def quota(self, name: bytes) -> tuple[int, int]:
        """How many entries a quota holds, and their bytes."""
        count, size = self._quotas.get(name, (0, 0))
        return count, size

    def count_more(self, filters: Iterable[str]) -> bool:
        """Count a part of what filters on metadata keys ask for the first time, as far as there is room for filters.

        Whether there is more to count: to be called until there is not. Until then a metric walks the queue.
        """
        for name in filters:
            known = name in self._filters or len(self._filters) >= len(COUNTED) + MAX_LATER
            if name.startswith(METADATA_FILTER) and not known:
                key = metadata_key(name.removeprefix(METADATA_FILTER))
                self._filters[name] = Filter(key, Tally(self._size_of), upto=0)
            if name in self._filters and self._filters[name].upto < math.inf:
                self._count_slice(self._filters[name])
                return True
        return False

    def _count_slice(self, item: Filter) -> None:
        for row in self._visit(islice(self._ids.after(int(item.upto)), SLICE)):
            item.upto = row[ID]
            if (value := item.key(row)) is not None:
                item.tally.add(value, row[ID], row[SIZE])
        if next(self._ids.after(int(item.upto)), None) is None:
            item.upto = math.inf

    def _candidates(self, wanted: Wanted, after: int) -> Iterator[int]:
        """The ids above `after` that can match, in order: those of the filter that leaves the fewest."""
        if "id" in wanted:
            named = {int(value) for value in wanted["id"] if value.isdigit() and len(value) < 20}
            return iter(sorted(entry_id for entry_id in named if entry_id > after))
        counted = [(tally, values) for name, values in wanted.items() if (tally := self._counted(name)) is not None]
        if not counted:
            return self._ids.after(after)
        tally, values = min(counted, key=lambda item: item[0].count(item[1]))
        return merge(*tally.after(values, after))

    def _visit(self, ids: Iterable[int]) -> Iterator[Row]:
        """The rows of these ids, as far as they are there."""
        for entry_id in ids:
            self._visited += 1
            if (row := self._rows.get(entry_id)) is not None:
                yield row
