"""Claimed entries in, the next one to attempt out: fair between (transport, recipient domain) pairs.

A lane is one such pair. Lanes take turns, and no lane has more than its share of attempts running: a dead or slow
domain fills its own lane and leaves the rest of the attempts to the others. A waiting entry costs one number.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Container
from typing import NamedTuple

from hsl.runtime.model import QueueEntry


class Lane(NamedTuple):
    transportid: str
    domain: bytes


def lane_of(entry: QueueEntry) -> Lane:
    return Lane(entry.transportid, entry.recipient.host)


def share_of(concurrency: int) -> int:
    """How many attempts one lane may have: a quarter, at least 20, but never all of them."""
    return max(1, min(max(20, concurrency // 4), concurrency * 3 // 4))


class Lanes(Container[int]):
    """The waiting lists. `next` counts an attempt as running until `done`."""

    def __init__(self, share: int) -> None:
        self.share = share
        self.lists: dict[Lane, deque[int]] = {}
        self.running: Counter[Lane] = Counter()
        self.ready: dict[Lane, None] = {}  # an ordered set: lanes that have an entry and room for it, next turn first
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
        """The first entry of the lane whose turn it is; None when nothing may start."""
        if not self.ready:
            return None
        lane = next(iter(self.ready))
        del self.ready[lane]
        waiting = self.lists[lane]
        entry_id = waiting.popleft()
        self.ids.discard(entry_id)
        if not waiting:
            del self.lists[lane]
        self.running[lane] += 1
        self.queue_turn(lane)
        return lane, entry_id

    def done(self, lane: Lane) -> None:
        self.running[lane] -= 1
        if not self.running[lane]:
            del self.running[lane]
        self.queue_turn(lane)

    def queue_turn(self, lane: Lane) -> None:
        if lane in self.lists and self.running[lane] < self.share:
            self.ready.setdefault(lane)

    def drain(self) -> list[int]:
        """Every waiting entry; none waits afterwards."""
        ids = sorted(self.ids)
        self.lists.clear()
        self.ready.clear()
        self.ids.clear()
        return ids
