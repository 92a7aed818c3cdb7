"""The durable queue: mails and changed entries come in, and are on disk when `apply` returns; due entries go out.

The files are `spool.py`, the state in memory is `queueindex.py`; this file joins them: one thread commits what has
gathered while the last commit ran (group commit), and the event loop adopts each group once it is durable.
"""

from __future__ import annotations

import asyncio
import math
import os
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import MappingProxyType

from hsl.runtime.log import Log
from hsl.runtime.model import ACTIVE, DEFER, HOLD, Mail, QueueEntry
from hsl.runtime.protocols import Clock, QueueUnavailable
from hsl.runtime.queueindex import PAGE_EXTENT, PRIORITIES, Page, QueueIndex, check_metric, matcher, read_filters
from hsl.runtime.rows import BODY, ID, SIZE, changing_row, entry_of, entry_row, extent_of
from hsl.runtime.spool import (
    ROW_LIMIT,
    SCHEMA_VERSION,
    BodyGone,
    BodyUnreadable,
    Job,
    NewMail,
    QueueError,
    QueueLocked,
    Reader,
    Spool,
    StoredBody,
)

__all__ = ["BodyGone", "BodyUnreadable", "QueueClosed", "QueueError", "QueueLocked", "ReadonlyQueue", "SQLiteQueue"]

GROUP = 256  # jobs of one transaction
BUSY = 0.010  # seconds after a commit in which another job means load
GATHER = 0.004  # the most seconds that such a job waits for others
GATHER_STEP = 0.0005  # seconds for each job that the last commit had over ALONE
ALONE = 2  # jobs that one client makes: a mail is stored while the one before it is removed
RECENT = 8 * 1024 * 1024  # bytes of bodies kept in memory
FILE_WRITERS = 4  # large bodies written at once
SLICE = 1000  # entries read at once at start
ROOM_AGE = 1.0  # seconds for which an answer about free disk holds
NO_FILTERS: Mapping[str, Sequence[bytes]] = MappingProxyType({})
STATES = frozenset({ACTIVE, DEFER, HOLD})


class QueueClosed(Exception):
    """The queue was closed: it takes no more changes."""


class QueueView(ABC):
    """What can be asked of a queue. Entries are copies: only a committed change changes the queue."""

    _reader: Reader

    @property
    def count(self) -> int:
        """The number of entries, in whatever state."""
        return self.metric("count")

    @abstractmethod
    def get(self, entry_id: int) -> QueueEntry | None: ...

    @abstractmethod
    def page(self, filters: Mapping[str, Sequence[bytes]], limit: int, after: int = 0) -> Page:
        """At most `limit` entries that match, with ids above `after`, in the order of ids.

        Filters are those of the metric and `state`, `id`, `quarantine`. A page may have fewer entries, or none, though
        more follow: its work is limited too. Raises ValueError for an unknown filter.
        """

    def entries(
        self, filters: Mapping[str, Sequence[bytes]] = NO_FILTERS, limit: int = 1000, after: int = 0
    ) -> Iterator[QueueEntry]:
        """The same as one sequence, read page by page."""
        page = Page([], after)
        while limit > 0 and page.after is not None:
            page = self.page(filters, limit, page.after)
            limit -= len(page.entries)
            yield from page.entries

    @abstractmethod
    def metric(self, metric: str, filters: Mapping[str, Sequence[bytes]] = NO_FILTERS) -> int:
        """`count` or `bytes` of the entries (active, deferred and held) that have, for every filter, one of its values.

        Addresses compare in lower case. A filter without a value matches nothing. Raises ValueError for an unknown
        metric or filter.
        """

    def is_claimed(self, entry_id: int) -> bool:
        """Whether an attempt for this entry is under way."""
        return False

    def body(self, entry: QueueEntry) -> StoredBody:
        """The message of an entry, read when its chunks are asked for (BodyGone when it was deleted meanwhile)."""
        return self._reader.body(entry.body, entry.size)


class ReadonlyQueue(QueueView):
    """A queue as it lies on disk, for a look at it while no server runs: every question reads. Takes no lock."""

    def __init__(self, path: Path) -> None:
        """Raises QueueError when there is no queue or it cannot be read."""
        database = path / "queue.db"
        if not database.is_file():
            raise QueueError(f"there is no queue in {path}: {database} does not exist")
        try:
            self._reader = Reader(path, readonly=True)
            try:
                version = self._reader.check_version(database)
                if version == 0:
                    raise QueueError(f"there is no queue in {path}: {database} is empty")
                if version != SCHEMA_VERSION:
                    raise QueueError(
                        f"{database} has schema version {version}: start the gateway, it brings it up to date"
                    )
            except BaseException:
                self._reader.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise QueueError(f"cannot read {database}: {error}") from error

    def get(self, entry_id: int) -> QueueEntry | None:
        return next(map(entry_of, self._reader.rows("WHERE id = ?", entry_id)), None)

    def page(self, filters: Mapping[str, Sequence[bytes]], limit: int, after: int = 0) -> Page:
        fits = matcher(read_filters(filters))
        found: list[QueueEntry] = []
        extent = 0
        for row in self._reader.rows("WHERE id > ?", after):
            if fits(row):
                if len(found) == limit or extent > PAGE_EXTENT:
                    return Page(found, after)
                found.append(entry_of(row))
                extent += extent_of(row)
            after = row[ID]
        return Page(found, None)

    def metric(self, metric: str, filters: Mapping[str, Sequence[bytes]] = NO_FILTERS) -> int:
        check_metric(metric)
        fits = matcher(read_filters(filters))
        return sum(1 if metric == "count" else row[SIZE] for row in self._reader.rows() if fits(row))

    def close(self) -> None:
        self._reader.close()


class SQLiteQueue(QueueView):
    """The `Queue` of one server, durable in one folder. Belongs to the event loop that opened it."""

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        log: Log,
        shard: int = 0,
        free_floor: int = 64 * 1024 * 1024,
        size_limit: int = 0,
        clock: Clock | None = None,
        changed: asyncio.Event | None = None,
    ) -> SQLiteQueue:
        """Open the queue in the folder `path`, created (0700) if it is missing, and take its lock.

        `shard` says which ids it gives (shards.py in smtpd); queues with one `changed` are waited for together.
        `free_floor`: bytes of disk that stay free, at least; and twice `size_limit`, the largest message in bytes.
        What is queued is read in slices: others have their turns. Raises QueueLocked when it is in use, QueueError when
        it cannot be used.
        """
        spool = await asyncio.to_thread(Spool, path, log, shard)
        try:
            index = QueueIndex()
            for number, row in enumerate(spool.rows()):
                index.add(row)
                if number % SLICE == 0:
                    await asyncio.sleep(0)
            return cls(spool, index, max(free_floor, 2 * size_limit), clock or time, changed or asyncio.Event())
        except BaseException:
            spool.close()
            raise

    @staticmethod
    def open_readonly(path: Path) -> ReadonlyQueue:
        """The queue in `path` for reading only, without its lock. Raises QueueError."""
        return ReadonlyQueue(path)

    def __init__(self, spool: Spool, index: QueueIndex, floor: int, clock: Clock, changed: asyncio.Event) -> None:
        self._reader = Reader(spool.folder)
        self._index = index
        self._spool = spool
        self._floor = floor
        self._clock = clock
        self._free = 0
        self._free_until = float("-inf")
        self._loop = asyncio.get_running_loop()
        self._changed = changed
        self._closing: asyncio.Task[None] | None = None
        self._recent: dict[int, bytes] = {}  # by body, oldest first
        self._recent_size = 0
        self._dead: BaseException | None = None  # what ended the writer
        self._pending: dict[Job, asyncio.Future[list[int]]] = {}
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._files = ThreadPoolExecutor(FILE_WRITERS, thread_name_prefix="queue-body")
        self._writer = threading.Thread(target=self._write, name="queue-writer", daemon=True)
        self._writer.start()

    # changes

    async def apply(
        self, *, store: Sequence[Mail] = (), update: Sequence[QueueEntry] = (), delete: Iterable[int] = ()
    ) -> list[int]:
        """One transaction: new mails, changed entries, removed entries. The ids of the new entries, in order.

        Returns after the commit is on disk. The work goes on when the caller is cancelled. The arguments are copied
        at once (a large body is read later, in another thread). Of an entry in `update` state, due, retry, metadata,
        error, transportid, recipient, sender, priority and quotas are stored; it is no longer claimed. Ids that are
        not, or no longer, in the queue are ignored. The size of a new entry is its body's, its id the next one unless
        it has one from `reserve`.

        Raises QueueFull when the disk does not take it, QueueUnavailable when nothing can be written, QueueClosed,
        ValueError for an entry or a body that is not right, and what reading a body raises. Whatever it raises, nothing
        has changed, and claims stand.
        """
        if self._closing is not None:
            raise QueueClosed("the queue is closed")
        if self._dead is not None:
            raise QueueUnavailable("the queue's writer has ended")
        updates = [(entry.id, changing_row(checked(entry))) for entry in update]
        job = Job([new_mail(mail) for mail in store], updates, list(delete))
        if not (job.mails or job.updates or job.deletes):
            return []
        future = self._pending[job] = self._loop.create_future()
        if job.has_files:
            self._files.submit(self._write_files, job)
        else:
            self._jobs.put(job)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            future.add_done_callback(self._log_abandoned)
            raise

    def reserve(self) -> int:
        """The id of an entry that may be stored later, with this id; without it `apply` gives it the next one.

        It is nobody else's while this queue is open. One that was never stored may be given again after a restart.
        """
        return self._spool.reserve()

    def _write_files(self, job: Job) -> None:
        """In a thread of the pool: a job's large bodies go to disk before the job goes to the writer."""
        try:
            self._spool.write_files(job)
        except Exception as error:
            self._report([(job, error)])
        else:
            self._jobs.put(job)

    def _write(self) -> None:
        """The writer's thread: commit what has gathered, until None comes.

        A job that comes soon after a commit of many waits up to GATHER for others to share the next one: under load
        that is fewer syncs and fewer hand-overs of the GIL. Jobs that come one by one do not wait (4 ms each took a
        lone client from 1,390 messages/s to 197).
        """
        try:
            self._write_groups()
        except BaseException as error:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self._die, error)

    def _write_groups(self) -> None:
        last = -math.inf
        size = 0
        while (job := self._jobs.get()) is not None:
            if size > ALONE and time.monotonic() - last < BUSY:
                time.sleep(min(GATHER, (size - ALONE) * GATHER_STEP))
            group = [job, *self._gathered()]
            size = len(group)
            try:
                outcomes = self._spool.commit(group)
            except Exception as error:
                outcomes = [(job, error) for job in group]
            self._report(outcomes)
            last = time.monotonic()

    def _die(self, error: BaseException) -> None:
        """The writer ended on an error of our own: nothing can be stored any more, and nobody may wait for it."""
        self._dead = error
        self._spool.log.critical("queue-writer-died", error=repr(error))
        for future in self._pending.values():
            if not future.done():
                future.set_exception(QueueUnavailable("the queue's writer has ended"))
        self._pending.clear()

    def _gathered(self) -> list[Job]:
        jobs: list[Job] = []
        try:
            while len(jobs) < GROUP - 1:
                job = self._jobs.get_nowait()
                if job is None:
                    self._jobs.put(None)
                    break
                jobs.append(job)
        except Empty:
            pass
        return jobs

    def _report(self, outcomes: list[tuple[Job, Exception | None]]) -> None:
        """From a thread: let the loop adopt what was committed, in the order of the commits."""
        try:
            self._loop.call_soon_threadsafe(self._adopt, outcomes)
        except RuntimeError:  # the loop was closed without closing the queue: nobody waits for the answer
            self._spool.log.warning("queue-abandoned", jobs=len(outcomes))

    def _adopt(self, outcomes: list[tuple[Job, Exception | None]]) -> None:
        for job, error in outcomes:
            if error is None:
                self._adopt_job(job)
            future = self._pending.pop(job)
            if future.done():
                continue
            if error is None:
                future.set_result(job.ids)
            else:
                future.set_exception(error)

    def _log_abandoned(self, future: asyncio.Future[list[int]]) -> None:
        """The caller was cancelled: a failure has nobody else to be told to."""
        if not future.cancelled() and (error := future.exception()) is not None:
            self._spool.log.error("queue-change-failed", error=error)

    # questions

    def get(self, entry_id: int) -> QueueEntry | None:
        return self._index.get(entry_id)

    def page(self, filters: Mapping[str, Sequence[bytes]], limit: int, after: int = 0) -> Page:
        return self._index.page(filters, limit, after)

    def metric(self, metric: str, filters: Mapping[str, Sequence[bytes]] = NO_FILTERS) -> int:
        """As above, by counters (2015 reference, GetMailQueueMetric)."""
        return self._index.metric(metric, filters)

    async def measure(self, metric: str, filters: Mapping[str, Sequence[bytes]]) -> int:
        """As `metric`; a walk over many entries, and counting a new metadata key, give others their turns."""
        while self._index.count_more(filters):
            await asyncio.sleep(0)
        total, after = self._index.measure(metric, filters, 0)
        while after is not None:
            await asyncio.sleep(0)
            part, after = self._index.measure(metric, filters, after)
            total += part
        return total

    def quota(self, name: bytes) -> tuple[int, int]:
        """How many entries a quota holds, and their bytes."""
        return self._index.quota(name)

    @property
    def visited(self) -> int:
        """How many entries metrics and listings have looked at since the queue was opened."""
        return self._index.visited

    def body(self, entry: QueueEntry) -> StoredBody:
        """As above; what was stored just now needs no reading."""
        return StoredBody(self._reader, entry.body, entry.size, self._recent.get(entry.body))

    def _keep_recent(self, mail: NewMail) -> None:
        """Small bodies stay in memory for their first delivery, up to RECENT bytes in all."""
        if mail.data is None:
            return
        self._recent[mail.rows[0][BODY]] = mail.data
        self._recent_size += len(mail.data)
        while self._recent_size > RECENT:
            oldest = next(iter(self._recent))
            self._recent_size -= len(self._recent.pop(oldest))

    def _adopt_job(self, job: Job) -> None:
        for mail in job.mails:
            self._keep_recent(mail)
            for row in mail.rows:
                self._index.add(row)
        for entry_id, changing in job.updates:
            self._index.change(entry_id, changing)
        for entry_id in job.deletes:
            self._index.remove(entry_id)
        if job.mails or job.updates:
            self._changed.set()

    # what is due

    async def claim(self, limit: int, now: float) -> list[QueueEntry]:
        """At most `limit` entries due at `now` (UTC wall seconds), those with priority first, then oldest due first.

        Held ones never. They stay claimed until updated, deleted or released.
        """
        return self._index.claim(limit, now)

    def release(self, entry_id: int) -> None:
        """Give a claimed entry back unchanged."""
        if self._index.release(entry_id):
            self._changed.set()

    def is_claimed(self, entry_id: int) -> bool:
        """Whether an attempt for this entry is under way. To update it now would let a second attempt start."""
        return self._index.is_claimed(entry_id)

    def next_due(self) -> float | None:
        """When the next unclaimed entry falls due (UTC wall seconds; 0: at once); None: none will."""
        return self._index.next_due()

    async def wait_changed(self) -> None:
        """Returns when something was stored, updated or released since the last call."""
        await self._changed.wait()
        self._changed.clear()

    # the disk

    def has_room(self, size: int = 0) -> bool:
        """Whether the disk takes `size` more bytes and its floor stays free. The disk is asked once a second."""
        now = self._clock.monotonic()
        if now >= self._free_until:
            self._free = free_bytes(self._spool.folder)
            self._free_until = now + ROOM_AGE
        return self._free - size >= self._floor

    @property
    def transactions(self) -> int:
        """How many commits there were since the queue was opened."""
        return self._spool.transactions

    async def close(self) -> None:
        """Finish what was begun, then close the files and give up the lock. A second call waits for the first."""
        if self._closing is None:
            self._closing = self._loop.create_task(self._drain())
        await asyncio.shield(self._closing)

    async def _drain(self) -> None:
        if self._pending:
            await asyncio.wait(list(self._pending.values()))
        self._jobs.put(None)
        await asyncio.to_thread(self._writer.join)
        self._files.shutdown()
        self._reader.close()
        self._spool.close()


def free_bytes(folder: Path) -> int:
    """Free disk for the unprivileged; none when it cannot be found out."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return -1
    return status.f_bavail * status.f_frsize


def checked(entry: QueueEntry) -> QueueEntry:
    """An entry that may be stored. Raises ValueError for an unknown state or priority."""
    if entry.state not in STATES:
        raise ValueError(f"unknown queue state {entry.state!r}: known are {', '.join(sorted(STATES))}")
    if entry.priority not in PRIORITIES:
        raise ValueError(f"unknown priority {entry.priority!r}: known are 0 and 1")
    return entry


def new_mail(mail: Mail) -> NewMail:
    """A mail's own copy; a small body is read now. Raises ValueError, and what reading the body raises."""
    if not mail.entries:
        raise ValueError("a mail needs at least one entry")
    size = mail.body.size
    new = NewMail(size, [entry_row(checked(entry)) for entry in mail.entries])
    if size > ROW_LIMIT:
        new.source = mail.body
        return new
    new.data = b"".join(mail.body.chunks())
    if len(new.data) != size:
        raise ValueError(f"a body of {size} bytes gave {len(new.data)}")
    return new
