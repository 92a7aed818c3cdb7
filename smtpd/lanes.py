"""Claimed entries in, the next one to attempt out: fair between (transport, recipient domain) pairs.

A lane is one such pair. Lanes take turns. Their destinations have a width: how many attempts may run. It begins narrow,
every answer widens it up to a share of all attempts, and every attempt without one halves it. So what is dead or slow
fills its own width, and leaves the rest of the attempts to the others. The destination is the lane itself, or the host
that a transport has for all domains. In a lane entries with priority go before the others, however long those wait. A
waiting entry costs one number.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Container
from typing import NamedTuple

from hsl.runtime.model import QueueEntry

FIRST_WIDTH = 5  # attempts of a destination of which nothing is known
MAX_WIDTHS = 10_000  # destinations whose width is remembered


class Lane(NamedTuple):
    """`host`: the transport's, where it has one. `priority`: which of a lane's two lists it is; they share its turn."""

    transportid: str
    domain: bytes
    host: str = ""
    priority: int = 0

    @property
    def destination(self) -> Lane:
        if self.host:
            return Lane(self.transportid, b"", self.host)
        return self.with_priority(0)

    def with_priority(self, priority: int) -> Lane:
        return self if self.priority == priority else Lane(self.transportid, self.domain, self.host, priority)


def lane_of(entry: QueueEntry, host: str | None = None) -> Lane:
    return Lane(entry.transportid, entry.recipient.host, host or "", entry.priority)


def share_of(concurrency: int) -> int:
    """How many attempts one destination may have at most: a quarter, at least 20, but never all of them."""
    return max(1, min(max(20, concurrency // 4), concurrency * 3 // 4))


class Lanes(Container[int]):
    """The waiting lists. `next` counts an attempt as running until `done`."""

    def __init__(self, share: int) -> None:
        self.share = share
        self.lists: dict[Lane, deque[int]] = {}
        self.running: Counter[Lane] = Counter()  # by destination
        self.widths: OrderedDict[Lane, int] = OrderedDict()  # of destinations, the longest unchanged first
        # Ordered sets (a dict would look at all that went before, to find its first): lanes that have an entry and room
        # for it, next turn first; and by destination those that wait for room. Without their priorities.
        self.ready: OrderedDict[Lane, None] = OrderedDict()
        self.blocked: dict[Lane, OrderedDict[Lane, None]] = {}
        self.ids: set[int] = set()

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, entry_id: object) -> bool:
        return entry_id in self.ids

    def waiting(self, lane: Lane) -> int:
        return len(self.lists.get(lane, ()))

    def add(self, lane: Lane, entry_id: int) -> None:
        self.lists.setdefault(lane, deque()).append(entry_id)
        self.ids.add(entry_id)
        self.queue_turn(lane)

    def next(self) -> tuple[Lane, int] | None:
        """The first entry of the lane whose turn it is, and the list that it was in; None when nothing may start."""
        while self.ready:
            turn, _ = self.ready.popitem(last=False)
            if not self.room(turn.destination):  # another lane of it was faster
                self.queue_turn(turn)
                continue
            urgent = turn.with_priority(1)
            lane = urgent if urgent in self.lists else turn
            waiting = self.lists[lane]
            entry_id = waiting.popleft()
            self.ids.discard(entry_id)
            if not waiting:
                del self.lists[lane]
            self.running[lane.destination] += 1
            self.queue_turn(lane)
            return lane, entry_id
        return None

    def done(self, lane: Lane, answered: bool | None = None) -> None:
        """An attempt is over: whether its destination answered, or None when it was not asked."""
        destination = lane.destination
        self.running[destination] -= 1
        if not self.running[destination]:
            del self.running[destination]
        if answered is not None:
            self.learn(destination, answered)
        waiting = self.blocked.get(destination)
        if waiting is None:
            return
        for _ in range(min(self.room(destination), len(waiting))):
            other, _ = waiting.popitem(last=False)
            self.ready.setdefault(other)
        if not waiting:
            del self.blocked[destination]

    def width(self, destination: Lane) -> int:
        """How many attempts may run now."""
        return self.widths.get(destination, min(FIRST_WIDTH, self.share))

    def room(self, destination: Lane) -> int:
        """How many more attempts may begin now."""
        return max(0, self.width(destination) - self.running[destination])

    def learn(self, destination: Lane, answered: bool) -> None:
        width = self.width(destination)
        self.widths[destination] = min(width + 1, self.share) if answered else max(width // 2, 1)
        self.widths.move_to_end(destination)
        if len(self.widths) > MAX_WIDTHS:
            self.widths.popitem(last=False)

    def queue_turn(self, lane: Lane) -> None:
        """Let a lane wait for its turn, or for room at its destination."""
        lane = lane.with_priority(0)
        if lane not in self.lists and lane.with_priority(1) not in self.lists:
            return
        destination = lane.destination
        if not self.room(destination):
            self.blocked.setdefault(destination, OrderedDict()).setdefault(lane)
            return
        self.ready.setdefault(lane)
        if destination in self.blocked:
            self.blocked[destination].pop(lane, None)

    def drain(self) -> list[int]:
        """Every waiting entry; none waits afterwards."""
        ids = sorted(self.ids)
        self.lists.clear()
        self.ready.clear()
        self.blocked.clear()
        self.ids.clear()
        return ids
