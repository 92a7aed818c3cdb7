"""Sliding windows in the memory of one process. In: rate() calls on a clock. Out: accounted or refused, or how many.

All times are integer microseconds, so that this backend and Redis agree to the last call. An accounted call counts
while `now - then < interval`: at exactly `interval` it no longer does.

A window keeps its stamps as long as the longest interval that was asked of it, and is forgotten when that long nothing
was asked. Stamps are 8 bytes each in one array (a deque of floats takes 32, and cannot be bisected).
"""

from __future__ import annotations

import hashlib
import heapq
from array import array
from bisect import bisect_right

from hsl.errors import ScriptError
from hsl.runtime.protocols import Clock

MICRO = 1_000_000
MAX_COUNT = 1_000_000  # the most that a window holds, and the highest count
MAX_INTERVAL = 31 * 86400  # seconds
SWEEP = 64  # windows looked at by one call


def entry_key(namespace: bytes, entry: bytes) -> bytes:
    """16 bytes for an entry of a namespace, however long these are; the length in front keeps them apart."""
    return hashlib.blake2b(b"%d:%b%b" % (len(namespace), namespace, entry), digest_size=16).digest()


def check_rate(count: int, interval: float) -> int:
    """The interval in microseconds. Raises ScriptError for a count or an interval out of bounds."""
    if not 0 <= count <= MAX_COUNT:
        raise ScriptError(f"rate(): count must be 0 to {MAX_COUNT}, got {count}")
    if not 1 / MICRO <= interval <= MAX_INTERVAL:
        raise ScriptError(f"rate(): interval must be more than 0 and at most {MAX_INTERVAL} seconds, got {interval}")
    return round(interval * MICRO)


class Window:
    """The stamps of one entry, oldest first. Those before `head` are trimmed; the array is cut when half of it is."""

    __slots__ = ("expires", "head", "longest", "stamps")

    def __init__(self) -> None:
        self.stamps = array("q")
        self.head = 0
        self.longest = 0
        self.expires = 0

    def __len__(self) -> int:
        return len(self.stamps) - self.head

    def touch(self, now: int, interval: int) -> None:
        """Note that `interval` was asked, and trim by the longest."""
        self.longest = max(self.longest, interval)
        self.expires = now + self.longest
        self.head = bisect_right(self.stamps, now - self.longest, self.head)
        if self.head * 2 > len(self.stamps):
            del self.stamps[: self.head]
            self.head = 0

    def used(self, now: int, interval: int) -> int:
        """How many were accounted in the last `interval`."""
        return len(self.stamps) - bisect_right(self.stamps, now - interval, self.head)


class MemoryRates:
    """Rates of this process. `max_keys` windows and `max_stamps` accounted calls in all are kept.

    Only expired windows make room. When there is no room an accounting call raises ScriptError: it neither counts nor
    passes uncounted. Reading never needs room.
    """

    def __init__(self, clock: Clock, max_keys: int = 250_000, max_stamps: int = 10_000_000) -> None:
        self.clock = clock
        self.max_keys = max_keys
        self.max_stamps = max_stamps
        self.windows: dict[bytes, Window] = {}
        self.due: list[tuple[int, bytes]] = []  # a heap: once for each window, not later than it expires
        self.stamps = 0

    async def rate(self, namespace: bytes, entry: bytes, count: int, interval: float) -> bool | int:
        """See protocols.Rates. Raises ScriptError: count or interval out of bounds, or no room."""
        span = check_rate(count, interval)
        now = round(self.clock.monotonic() * MICRO)
        key = entry_key(namespace, entry)
        self.sweep(now, SWEEP)
        window = self.windows.get(key)
        if window is None:
            window = self.add(key, now, span, reading=count == 0)
        if window is None:
            return 0
        before = len(window)
        window.touch(now, span)
        self.stamps -= before - len(window)
        used = window.used(now, span)
        if count == 0:
            return used
        if used >= count:
            return False
        self.account(window, now)
        return True

    def add(self, key: bytes, now: int, span: int, reading: bool) -> Window | None:
        """A new window; None when there is no room and none is needed."""
        if len(self.windows) >= self.max_keys and not self.make_room(now):
            if reading:
                return None
            raise ScriptError(f"rate(): {self.max_keys} entries are in use, no room for another")
        window = self.windows[key] = Window()
        window.expires = now + span
        heapq.heappush(self.due, (window.expires, key))
        return window

    def account(self, window: Window, now: int) -> None:
        if len(window) >= MAX_COUNT:
            raise ScriptError(f"rate(): {MAX_COUNT} are accounted for this entry already")
        while self.stamps >= self.max_stamps:
            if not self.make_room(now):
                raise ScriptError(f"rate(): {self.max_stamps} are accounted in all, no room for another")
        window.stamps.append(now)
        self.stamps += 1

    def make_room(self, now: int) -> bool:
        """Forget expired windows; False if there are none."""
        while self.due and self.due[0][0] <= now:
            if self.sweep(now, SWEEP):
                return True
        return False

    def sweep(self, now: int, limit: int) -> int:
        """Look at up to `limit` windows that may have expired; how many had."""
        gone = 0
        while limit > 0 and self.due and self.due[0][0] <= now:
            key = self.due[0][1]
            window = self.windows[key]
            if window.expires > now:
                heapq.heapreplace(self.due, (window.expires, key))
            else:
                heapq.heappop(self.due)
                self.stamps -= len(window)
                del self.windows[key]
                gone += 1
            limit -= 1
        return gone
