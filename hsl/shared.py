"""Memory that the scripts of one process share: the `cache` statement's buckets; variables, each with a barrier.

`barrier` and the memory_* functions name the same variables. One re-entrant lock guards a name; it is released on
return, throw, verdict and cancellation. All scripts of a process run on one event loop, so the lock is a queue of
waiting runs, not a thread's lock.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from hsl.bridge import Stacks, pause
from hsl.errors import ScriptError
from hsl.values import Value, share

if TYPE_CHECKING:
    from hsl.run import Run

MAX_BUCKETS = 10_000
MAX_MESSAGES = 10_000  # that have caches of their own
MAX_MESSAGE_BUCKETS = 100  # of one message
MAX_VARIABLES = 100_000

CacheKey = tuple[Value, ...]


class Turn(Awaitable[None], Protocol):
    """A future of the host's event loop: awaited by one run, resolved by another."""

    def set_result(self, result: None, /) -> None: ...

    def done(self) -> bool: ...


class CacheEntry(NamedTuple):
    value: Value
    expires: float


class Bucket:
    """The cached results of one function in one namespace, least recently used first."""

    def __init__(self) -> None:
        self.entries: Final[OrderedDict[CacheKey, CacheEntry]] = OrderedDict()


class Barrier:
    """A named mutex: who holds it (and how often), and who waits."""

    def __init__(self) -> None:
        self.owner: Run | None = None
        self.depth = 0
        self.waiting: Final[list[tuple[Run, Turn]]] = []


class SharedStore:
    """Caches, barriers and shared variables of one process.

    `clock` gives monotonic seconds; `turns` makes a future of the host's event loop. Without one scripts run one after
    the other, and nothing ever waits. A script whose turn is over awaits `rest()`: a host with threads gives a sleep,
    for one round of the event loop is too short for a thread to get hold of the interpreter.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        turns: Callable[[], Turn] | None = None,
        rest: Callable[[], Awaitable[object]] = pause,
    ) -> None:
        self.clock = clock
        self.turns: Final = turns
        self.rest: Final = rest
        self.buckets: Final[dict[tuple[str, str], Bucket]] = {}
        self.message_buckets: Final[dict[str, dict[tuple[str, str], Bucket]]] = {}  # by the message's id
        self.barriers: Final[dict[bytes, Barrier]] = {}
        self.variables: Final[dict[bytes, Value]] = {}
        self.stacks: Final = Stacks()

    def lookup(self, bucket: Bucket, key: CacheKey) -> CacheEntry | None:
        """A live entry, now the most recently used; or None."""
        entry = bucket.entries.get(key)
        if entry is not None and entry.expires > self.clock():
            bucket.entries.move_to_end(key)
            return entry
        return None

    def store(self, bucket: Bucket, key: CacheKey, value: Value, ttl: float, size: int, lru: bool) -> None:
        """Keep a result for `ttl` seconds; a full bucket drops its oldest entry, or refuses the new one without lru."""
        if ttl <= 0 or size <= 0:
            return
        entries = bucket.entries
        entries.pop(key, None)
        while len(entries) >= size:
            if not lru:
                now = self.clock()
                for old in [item for item, entry in entries.items() if entry.expires <= now]:
                    del entries[old]
                if len(entries) >= size:
                    return
            else:
                entries.popitem(last=False)
        entries[key] = CacheEntry(value, self.clock() + ttl)

    def bucket(self, namespace: str, function: str) -> Bucket:
        """The cache of one function in one namespace; over MAX_BUCKETS the oldest cache is dropped."""
        return find_bucket(self.buckets, namespace, function, MAX_BUCKETS)

    def message_bucket(self, message_id: str, namespace: str, function: str) -> Bucket:
        """The same for one message alone; over MAX_MESSAGES of them the caches of the oldest are dropped."""
        buckets = self.message_buckets.get(message_id)
        if buckets is None:
            if len(self.message_buckets) >= MAX_MESSAGES:
                del self.message_buckets[next(iter(self.message_buckets))]
            buckets = self.message_buckets[message_id] = {}
        return find_bucket(buckets, namespace, function, MAX_MESSAGE_BUCKETS)

    def remember(self, name: bytes, value: Value) -> None:
        """Keep a shared variable; an array is marked as shared. Raises ScriptError at MAX_VARIABLES."""
        if name not in self.variables and len(self.variables) >= MAX_VARIABLES:
            raise ScriptError(f"more than {MAX_VARIABLES} shared variables")
        self.variables[name] = share(value)

    def forget(self, name: bytes) -> None:
        self.variables.pop(name, None)

    def forget_message(self, message_id: str) -> None:
        """Drop the per-message caches of a message that is gone."""
        self.message_buckets.pop(message_id, None)

    @contextmanager
    def held(self, name: bytes, run: Run) -> Iterator[None]:
        """Hold the lock of a name, standing still until it is free. Raises ScriptError where nothing can wait."""
        self.acquire(name, run)
        try:
            yield
        finally:
            self.release(name, run)

    def acquire(self, name: bytes, run: Run) -> None:
        """Enter a barrier, standing still until it is free."""
        barrier = self.barriers.setdefault(name, Barrier())
        if barrier.owner is run:
            barrier.depth += 1
            return
        if barrier.owner is not None:
            if self.turns is None:
                raise ScriptError("barrier is held, and nothing here can wait for it")
            place = (run, self.turns())
            barrier.waiting.append(place)
            try:
                run.wait(place[1])
            finally:
                if place in barrier.waiting:
                    barrier.waiting.remove(place)
            return  # hand_on made the run its owner
        barrier.owner = run
        barrier.depth = 1

    def holds(self, name: bytes, run: Run) -> bool:
        """Whether a run is inside a barrier."""
        barrier = self.barriers.get(name)
        return barrier is not None and barrier.owner is run

    def release(self, name: bytes, run: Run) -> None:
        barrier = self.barriers.get(name)
        if barrier is None or barrier.owner is not run:
            return
        barrier.depth -= 1
        if barrier.depth == 0:
            self.hand_on(name, barrier)

    def hand_on(self, name: bytes, barrier: Barrier) -> None:
        """Give the barrier to one of the waiting, in random order as the reference has it."""
        if barrier.waiting:
            barrier.owner, turn = barrier.waiting.pop(random.randrange(len(barrier.waiting)))
            barrier.depth = 1
            if not turn.done():
                turn.set_result(None)
        else:
            del self.barriers[name]

    def release_all(self, run: Run) -> None:
        """Called when a run ends in whatever way."""
        if not self.barriers:
            return
        for name, barrier in list(self.barriers.items()):
            if barrier.owner is run:
                self.hand_on(name, barrier)


def find_bucket(buckets: dict[tuple[str, str], Bucket], namespace: str, function: str, most: int) -> Bucket:
    """The bucket of a function in a namespace, made where there is none; one more than `most` drops the oldest."""
    bucket = buckets.get((namespace, function))
    if bucket is None:
        if len(buckets) >= most:
            del buckets[next(iter(buckets))]
        bucket = buckets[(namespace, function)] = Bucket()
    return bucket
