"""Entries that a policy of the queue holds back come in; when there may be room for them, they come out again.

They stay claimed, and cost one number each: nothing is written for them.
"""

from __future__ import annotations

import heapq
import math
from collections import deque

from hsl.runtime.policies import Blocked
from hsl.runtime.policyfields import Key
from hsl.runtime.queueindex import PRIORITIES
from hsl.smtpd.lanes import Lane

MAX_ENTRIES = 50_000  # in all
MAX_WAITING = 10_000  # for one thing, of each priority


class Parking:
    """Waiting lists by what is waited for, and by priority. Times are monotonic, but for when entries end (UTC)."""

    def __init__(self) -> None:
        self.lists: dict[tuple[Key, int], deque[tuple[Lane, int]]] = {}
        self.ids: dict[int, tuple[Lane, float]] = {}  # with the time after which it must not wait
        self.due: list[tuple[float, Key, float]] = []  # a heap: when to look at a list, and how long for each entry
        self.timed: set[Key] = set()  # lists that stand in it

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, entry_id: object) -> bool:
        return entry_id in self.ids

    def park(self, lane: Lane, entry_id: int, blocked: Blocked, end: float = math.inf) -> bool:
        """Let an entry wait, until `end` at most; False when there is no room for it."""
        waiting = self.lists.setdefault((blocked.key, lane.priority), deque())
        if len(waiting) >= MAX_WAITING or len(self.ids) >= MAX_ENTRIES:
            return False
        waiting.append((lane, entry_id))
        self.ids[entry_id] = lane, end
        self._look_at(blocked.key, blocked.until, blocked.step)
        return True

    def _look_at(self, key: Key, at: float, step: float) -> None:
        if key not in self.timed:
            self.timed.add(key)
            heapq.heappush(self.due, (at, key, step))

    def forget(self, entry_id: int) -> None:
        """The entry is somewhere else now."""
        self.ids.pop(entry_id, None)

    def free(self, key: Key, count: int | None = 1) -> list[tuple[Lane, int]]:
        """The first entries that wait for this, those with priority before the others; all of them without a count."""
        freed: list[tuple[Lane, int]] = []
        for priority in PRIORITIES:
            waiting = self.lists.get((key, priority))
            while waiting and (count is None or len(freed) < count):
                lane, entry_id = waiting.popleft()
                if self.ids.pop(entry_id, None) is not None:
                    freed.append((lane, entry_id))
            if not waiting:
                self.lists.pop((key, priority), None)
        return freed

    def free_all(self) -> list[tuple[Lane, int]]:
        return [item for key in {key: None for key, _ in self.lists} for item in self.free(key, None)]

    def free_due(self, now: float) -> list[tuple[Lane, int]]:
        """What may be looked at again by now."""
        freed: list[tuple[Lane, int]] = []
        while self.due and self.due[0][0] <= now:
            at, key, step = heapq.heappop(self.due)
            self.timed.discard(key)
            freed += self.free(key, 1 + int((now - at) / step) if step else None)
            if any((key, priority) in self.lists for priority in PRIORITIES):
                self._look_at(key, now + step, step)
        return freed

    def free_ended(self, now: float) -> list[tuple[Lane, int]]:
        """What has waited as long as it may (UTC wall seconds), whatever it waits for."""
        ended = [(lane, entry_id) for entry_id, (lane, end) in self.ids.items() if end < now]
        for _, entry_id in ended:
            del self.ids[entry_id]
        if ended:
            self._tidy()
        return ended

    def _tidy(self) -> None:
        """Make room in the lists: what is somewhere else by now no longer stands in them."""
        self.lists = {
            place: left
            for place, waiting in self.lists.items()
            if (left := deque(item for item in waiting if item[1] in self.ids))
        }

    def next_due(self) -> float | None:
        """When to look again."""
        return self.due[0][0] if self.due else None
