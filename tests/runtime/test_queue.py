"""SQLiteQueue: what is stored, changed, claimed and removed; bodies, locks, versions, cancellation, grouping."""

from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import pytest

from hsl.runtime.dsnrequest import DSNRequest
from hsl.runtime.log import Log
from hsl.runtime.model import ACTIVE, DEFER, HOLD, NULL_SENDER, Address, Mail, QueueEntry
from hsl.runtime.protocols import Queue, QueueFull, QueueUnavailable
from hsl.runtime.queue import BodyGone, BodyUnreadable, QueueClosed, QueueError, QueueLocked, SQLiteQueue
from hsl.runtime.rows import changing_row
from hsl.runtime.spool import BODY_FILES, ROW_LIMIT, SCHEMA_VERSION, SHARD_IDS, Reader

pytestmark = pytest.mark.asyncio
DEADLINE = 20.0


@dataclass
class Bytes:
    """A body in memory, with two knobs: a wrong size, and an error in the middle."""

    data: bytes
    claimed: int | None = None
    error: Exception | None = None

    @property
    def size(self) -> int:
        return len(self.data) if self.claimed is None else self.claimed

    def chunks(self) -> Iterator[bytes]:
        for start in range(0, len(self.data), 50_000):
            yield self.data[start : start + 50_000]
        if self.error:
            raise self.error


@asynccontextmanager
async def opened(path: Path, lines: list[str] | None = None, shard: int = 0) -> AsyncIterator[SQLiteQueue]:
    log = Log("debug", (lines if lines is not None else []).append)
    async with asyncio.timeout(DEADLINE):
        queue = await SQLiteQueue.open(path, log=log, shard=shard, free_floor=0)
        try:
            yield queue
        finally:
            await queue.close()


def silent() -> Log:
    return Log(write=lambda line: None)


def entry(recipient: bytes = b"to@example.org", **fields: object) -> QueueEntry:
    made = QueueEntry("t-1", Address.of(b"From@Example.com"), Address.of(recipient), "out")
    return replace(made, **fields)  # type: ignore[arg-type]


def mail(data: bytes = b"Subject: x\r\n\r\nx\r\n", *entries: QueueEntry) -> Mail:
    return Mail(Bytes(data), entries or (entry(),))


def read(queue: SQLiteQueue, stored: QueueEntry | None) -> bytes:
    assert stored is not None
    chunks = list(queue.body(stored).chunks())
    assert all(0 < len(chunk) <= 65536 for chunk in chunks)
    return b"".join(chunks)


def files(path: Path) -> list[Path]:
    return sorted((path / "bodies").iterdir())


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path / "queue.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


FULL_ENTRY = QueueEntry(
    transaction="0f3c",
    sender=Address.of(b'"A b"@Example.COM'),
    recipient=Address.of("ö@Exämple.org".encode()),
    transportid="out",
    serverid="in",
    senderip="2001:db8::1",
    senderhelo=b"h\xffelo",
    saslusername=b"User\x00",
    metadata={b"spam": b"yes", b"\xff\x00": b"\r\n", b"": b""},
    jobid=b"job\xfe",
    actionid=7,
    eightbit=True,
    smtputf8=True,
    ts=1700000000.125,
    state=DEFER,
    due=1700000060.5,
    retry=3,
    quarantine="spam",
    priority=1,
    error="450 4.2.0 später",
)


async def test_is_a_queue(tmp_path: Path) -> None:
    async with opened(tmp_path / "q") as queue:
        checked: Queue = queue
        assert await checked.apply() == []


@pytest.mark.parametrize("reopen", [False, True])
async def test_every_field_survives(tmp_path: Path, reopen: bool) -> None:
    null = entry(b"postmaster", sender=NULL_SENDER)
    async with opened(tmp_path) as queue:
        ids = await queue.apply(store=[mail(b"body", FULL_ENTRY, null)])
        assert ids == [1, 2]
        got = [queue.get(number) for number in ids]
    if reopen:
        async with opened(tmp_path) as queue:
            got = [queue.get(number) for number in ids]
    assert got == [replace(FULL_ENTRY, id=1, body=1, size=4), replace(null, id=2, body=1, size=4)]


async def test_the_folder_is_private(tmp_path: Path) -> None:
    async with opened(tmp_path / "a" / "q"):
        assert (tmp_path / "a" / "q").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "a" / "q" / "bodies").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "a" / "q" / "lock").stat().st_mode & 0o777 == 0o600


async def test_messages_are_private_in_a_folder_that_is_not(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "bodies").mkdir()
    async with opened(tmp_path) as queue:
        await queue.apply(store=[mail(b"small"), mail(b"x" * (ROW_LIMIT + 1))])
        found = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert {path.name for path in found} >= {"queue.db", "queue.db-wal"}
        assert len(files(tmp_path)) == 1
        assert [path.name for path in found if path.stat().st_mode & 0o077] == []


async def test_commits_are_synchronous(tmp_path: Path) -> None:
    async with opened(tmp_path) as queue:
        query = queue._spool._connection.execute
        assert query("PRAGMA journal_mode").fetchall() == [("wal",)]
        assert query("PRAGMA synchronous").fetchall() == [(2,)]


@pytest.mark.parametrize("size", [0, 1, 50_000, ROW_LIMIT - 1, ROW_LIMIT, ROW_LIMIT + 1, 1_000_000])
async def test_bodies(tmp_path: Path, size: int) -> None:
    data = bytes(index * 7 % 251 for index in range(size))
    async with opened(tmp_path) as queue:
        [number] = await queue.apply(store=[mail(data)])
        assert len(files(tmp_path)) == (size > ROW_LIMIT)
        assert read(queue, queue.get(number)) == data
    async with opened(tmp_path) as queue:
        stored = queue.get(number)
        assert stored is not None
        assert stored.size == queue.body(stored).size == size
        assert read(queue, stored) == read(queue, stored) == data


async def test_a_file_and_its_folder_are_synced_before_the_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[str, object]] = []
    fsync = os.fsync

    def record(fd: int) -> None:
        fsync(fd)
        synced.append((os.readlink(f"/proc/self/fd/{fd}"), rows(tmp_path, "SELECT count(*) FROM body")[0][0]))

    async with opened(tmp_path) as queue:
        monkeypatch.setattr("hsl.runtime.spool.os.fsync", record)
        await queue.apply(store=[mail(b"x" * 100_000)])
        assert synced == [(str(files(tmp_path)[0]), 0), (str(tmp_path / "bodies"), 0)]


@pytest.mark.parametrize("size", [10, 200_000])
async def test_a_body_goes_with_its_last_entry(tmp_path: Path, size: int) -> None:
    count = 70
    async with opened(tmp_path) as queue:
        ids = await queue.apply(store=[mail(b"x" * size, *[entry() for _ in range(count)])])
        assert len(files(tmp_path)) == (size > ROW_LIMIT)
        assert rows(tmp_path, "SELECT count(*) FROM body") == [(1,)]
        last = queue.get(ids[-1])
        await queue.apply(delete=ids[:-1])
        assert read(queue, last) == b"x" * size
    async with opened(tmp_path) as queue:
        assert queue.count == 1
        assert read(queue, last) == b"x" * size
        await queue.apply(delete=[ids[-1], ids[-1], 999])
        assert queue.count == 0
        assert files(tmp_path) == []
        assert rows(tmp_path, "SELECT count(*) FROM body") == [(0,)]
        with pytest.raises(BodyGone):
            read(queue, last)


async def test_a_file_being_read_outlives_its_entry(tmp_path: Path) -> None:
    async with opened(tmp_path) as queue:
        [number] = await queue.apply(store=[mail(b"x" * 200_000)])
        stored = queue.get(number)
        assert stored is not None
        chunks = queue.body(stored).chunks()
        first = next(chunks)
        await queue.apply(delete=[number])
        assert len(first + b"".join(chunks)) == 200_000


@pytest.mark.parametrize("size", [10, 200_000])
async def test_a_stored_body_can_be_stored_again_while_its_entry_goes(tmp_path: Path, size: int) -> None:
    async with opened(tmp_path) as queue:
        [old] = await queue.apply(store=[mail(b"y" * size)])
        stored = queue.get(old)
        assert stored is not None
        [new] = await queue.apply(store=[Mail(queue.body(stored), (entry(),))], delete=[old])
        assert queue.get(old) is None
        assert read(queue, queue.get(new)) == b"y" * size
        assert len(files(tmp_path)) == (size > ROW_LIMIT)


async def test_ids_are_never_used_again(tmp_path: Path) -> None:
    seen: list[int] = []
    for _ in range(3):
        async with opened(tmp_path) as queue:
            ids = await queue.apply(store=[mail(b"x", entry(), entry()), mail()])
            seen += ids
            await queue.apply(delete=ids)
    assert seen == list(range(1, 10))


async def test_ids_stay_exact_as_doubles(tmp_path: Path) -> None:
    last = 2**53 // SHARD_IDS
    async with opened(tmp_path, shard=last):
        pass
    connection = sqlite3.connect(tmp_path / "queue.db")
    connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('entry', ?)", (2**53 - 2,))
    connection.commit()
    connection.close()
    async with opened(tmp_path, shard=last) as queue:
        assert await queue.apply(store=[mail()]) == [2**53 - 1]
        with pytest.raises(sqlite3.IntegrityError):
            await queue.apply(store=[mail()])
        assert queue.count == 1


# updates


async def test_update_changes_what_may_change(tmp_path: Path) -> None:
    wanted = {
        "state": DEFER,
        "due": 50.0,
        "retry": 2,
        "metadata": {b"a": b"b"},
        "error": "450 busy",
        "transportid": "slow",
        "recipient": Address.of(b"Other@Example.net"),
        "sender": NULL_SENDER,
        "priority": 1,
    }
    async with opened(tmp_path) as queue:
        [number] = await queue.apply(store=[mail()])
        before = queue.get(number)
        assert before is not None
        await queue.apply(update=[replace(before, serverid="no", ts=1.0, size=9, body=77, **wanted)])  # type: ignore[arg-type]
        after = replace(before, **wanted)  # type: ignore[arg-type]
        assert queue.get(number) == after
        assert queue.metric("count", {"senderdomain": [b"example.com"]}) == 0
        assert queue.metric("count", {"sender": [b""], "recipientdomain": [b"EXAMPLE.net"]}) == 1
    async with opened(tmp_path) as queue:
        assert queue.get(number) == after


async def test_the_last_update_counts(tmp_path: Path) -> None:
    async with opened(tmp_path) as queue:
        [number] = await queue.apply(store=[mail()])
        base = queue.get(number)
        assert base is not None
        await queue.apply(update=[replace(base, retry=1), replace(base, retry=2)])
        assert (queue.get(number) or base).retry == 2
    async with opened(tmp_path) as queue:
        assert (queue.get(number) or base).retry == 2


@pytest.mark.parametrize("together", [False, True])
async def test_a_deleted_entry_is_not_brought_back(tmp_path: Path, together: bool) -> None:
    async with opened(tmp_path) as queue:
        ids = await queue.apply(store=[mail(b"x", entry(), entry())])
        [claimed, _] = await queue.claim(2, 0.0)
        late = replace(claimed, state=DEFER, due=5.0)
        if together:
            await asyncio.gather(queue.apply(delete=[claimed.id]), queue.apply(update=[late]))
        else:
            await queue.apply(delete=[claimed.id])
            await queue.apply(update=[late], delete=[claimed.id, 12345])
        queue.release(claimed.id)
        assert queue.get(claimed.id) is None
        assert queue.next_due() is None
        assert queue.metric("count", {}) == 1
    async with opened(tmp_path) as queue:
        assert [item.id for item in queue.entries()] == ids[1:]


async def test_what_is_handed_out_is_a_copy(tmp_path: Path) -> None:
    given = entry(metadata={b"k": b"v"})
    async with opened(tmp_path) as queue:
        [number] = await queue.apply(store=[mail(b"x", given)])
        given.metadata[b"k"] = b"changed"
        given.state = HOLD
        for handed in [queue.get(number), *await queue.claim(1, 0.0), *queue.entries()]:
            assert handed is not None
            assert (handed.state, handed.metadata) == (ACTIVE, {b"k": b"v"})
            handed.transportid = "elsewhere"
            handed.metadata.clear()
        assert queue.metric("count", {"transportid": [b"out"]}) == 1


async def test_undecodable_text_is_escaped(tmp_path: Path) -> None:
    odd = b"450 \xff".decode("utf-8", "surrogateescape")
    async with opened(tmp_path) as queue:
        [number] = await queue.apply(store=[mail(b"x", entry(error=odd))])
        stored = queue.get(number)
        assert stored is not None
        assert stored.error == "450 \\udcff"
    async with opened(tmp_path) as queue:
        assert queue.get(number) == stored


# what is due


async def test_claim_oldest_due_first(tmp_path: Path) -> None:
    states = [(DEFER, 30.0), (DEFER, 10.0), (HOLD, 0.0), (ACTIVE, 99.0), (DEFER, 20.0), (ACTIVE, 0.0)]
    async with opened(tmp_path) as queue:
        await queue.apply(store=[mail(b"x", *[entry(state=state, due=due) for state, due in states])])
        assert queue.next_due() == 0.0
        assert [item.id for item in await queue.claim(3, 10.0)] == [4, 6, 2]
        assert queue.next_due() == 20.0
        assert await queue.claim(10, 19.9) == []
        assert [item.id for item in await queue.claim(10, 1000.0)] == [5, 1]
        assert queue.next_due() is None
        assert await queue.claim(10, 1e12) == []


@pytest.mark.parametrize("reopen", [False, True])
async def test_claim_priority_first(tmp_path: Path, reopen: bool) -> None:
    made = [(0, 10.0), (1, 30.0), (0, 20.0), (1, 20.0), (1, 99.0)]
    entries = [entry(state=DEFER, due=due, priority=priority) for priority, due in made]
    async with opened(tmp_path) as queue:
        await queue.apply(store=[mail(b"x", *entries)])
        if not reopen:
            await claim_one_by_one(queue)
    if reopen:
        async with opened(tmp_path) as queue:
            await claim_one_by_one(queue)


async def claim_one_by_one(queue: SQLiteQueue) -> None:
    assert queue.next_due() == 10.0
    claimed = [[item.id for item in await queue.claim(2, 50.0)] for _ in range(3)]
    assert claimed == [[4, 2], [1, 3], []]
    assert queue.next_due() == 99.0


async def test_an_entry_that_changes_its_priority_is_claimed_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as queue:
        await queue.apply(store=[mail(b"x", entry(), entry(), entry(priority=1))])
        _, two, three = queue.entries()
        await queue.apply(update=[replace(two, priority=1), replace(three, priority=0)])
        assert [item.id for item in await queue.claim(10, 0.0)] == [2, 1, 3]
        assert queue.next_due() is None
        queue.release(1)
        queue.release(2)
        assert [item.id for item in await queue.claim(10, 0.0)] == [2, 1]


async def test_an_unknown_priority_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as queue:
        with pytest.raises(ValueError, match="unknown priority 2: known are 0 and 1"):
            await queue.apply(store=[mail(b"x", entry(priority=2))])
        assert queue.count == 0


async def test_claims_end_by_update_delete_and_release(tmp_path: Path) -> None:
    async with opened(tmp_path) as queue:
        await queue.apply(store=[mail(b"x", entry(), entry(), entry(), entry())])
        one, two, three, four = await queue.claim(10, 0.0)
        assert queue.is_claimed(one.id)
        await queue.apply(update=[replace(one, state=DEFER, due=7.0)], delete=[two.id])
        queue.release(three.id)
        queue.release(three.id)
        queue.release(999)
        assert [queue.is_claimed(item.id) for item in (one, two, three, four)] == [False, False, False, True]
        assert [item.id for item in await queue.claim(10, 7.0)] == [three.id, one.id]
        await queue.apply(update=[replace(one, state=HOLD)])
        assert queue.next_due() is None
        await queue.apply(update=[replace(one, state=ACTIVE)])
        assert [item.id for item in await queue.claim(10, 7.0)] == [one.id]
    async with opened(tmp_path) as queue:
        assert [item.id for item in await queue.claim(10, 0.0)] == [1, 3, 4]


async def test_the_heap_does_not_grow_with_changes(tmp_path: Path) -> None:
    async with opened(tmp_path) as queue:
        [number] = await queue.apply(store=[mail()])
        base = queue.get(number)
        assert base is not None
        for round_ in range(5000):
            queue._index.change(number, changing_row(replace(base, state=DEFER, due=1e9 - round_)))
        assert len(queue._index._heaps[0]) < 1100
        assert queue.next_due() == 1e9 - 4999


async def test_wait_changed(tmp_path: Path) -> None:
    async with opened(tmp_path) as queue:
        waiting = asyncio.create_task(queue.wait_changed())
        await asyncio.sleep(0)
        assert not waiting.done()
        await queue.apply(store=[mail()])
        await waiting
        [claimed] = await queue.claim(1, 0.0)
        queue.release(claimed.id)
        await queue.wait_changed()
        await queue.apply(update=[claimed])
        await queue.wait_changed()
        await queue.apply(delete=[claimed.id])
        waiting = asyncio.create_task(queue.wait_changed())
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()


# one call's failure is its own


@asynccontextmanager
async def writer_held(path: Path) -> AsyncIterator[None]:
    """No commit begins meanwhile: what is applied gathers."""
    other = sqlite3.connect(path / "queue.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


async def test_calls_are_committed_in_groups(tmp_path: Path) -> None:
    async with opened(tmp_path) as queue:
        async with writer_held(tmp_path):
            calls = [asyncio.create_task(queue.apply(store=[mail(b"%d" % number)])) for number in range(100)]
            await asyncio.sleep(0)
            assert queue.transactions == 0
        ids = list(chain.from_iterable(await asyncio.gather(*calls)))
        assert ids == list(range(1, 101))
        assert queue.transactions <= 2
        assert [read(queue, queue.get(number)) for number in ids] == [b"%d" % number for number in range(100)]


async def test_one_failure_leaves_its_group_alone(tmp_path: Path) -> None:
    bad = entry(retry=2**70)
    async with opened(tmp_path) as queue:
        async with writer_held(tmp_path):
            calls = [
                asyncio.create_task(queue.apply(store=[mail(b"x", bad if number == 5 else entry(retry=number))]))
                for number in range(10)
            ]
            await asyncio.sleep(0)
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(results.pop(5), OverflowError)
        assert [queue.metric("count", {"retry": [b"%d" % number]}) for number in (4, 5, 6)] == [1, 0, 1]
        stored = {item.id: item.retry for item in queue.entries()}
        assert [stored[ids[0]] for ids in results if isinstance(ids, list)] == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    async with opened(tmp_path) as queue:
        assert {item.id: item.retry for item in queue.entries()} == stored


WRONG_MAILS = [
    (Mail(Bytes(b"x"), ()), ValueError),
    (Mail(Bytes(b"x", claimed=2), (entry(),)), ValueError),
    (Mail(Bytes(b"x" * 100_000, claimed=100_001), (entry(),)), ValueError),
    (Mail(Bytes(b"x" * 100_000, claimed=99_999), (entry(),)), ValueError),
    (Mail(Bytes(b"x", error=OSError("spool is gone")), (entry(),)), OSError),
    (Mail(Bytes(b"x" * 100_000, error=OSError("spool is gone")), (entry(),)), OSError),
    (Mail(Bytes(b"x"), (entry(state="activ"),)), ValueError),
    (Mail(Bytes(b"x" * 100_000), (entry(due=float("nan"), state=DEFER),)), sqlite3.IntegrityError),
]


@pytest.mark.parametrize(("wrong", "error"), WRONG_MAILS)
async def test_a_failed_call_changes_nothing(tmp_path: Path, wrong: Mail, error: type[Exception]) -> None:
    async with opened(tmp_path) as queue:
        [number] = await queue.apply(store=[mail()])
        with pytest.raises(error):
            await queue.apply(store=[mail(b"z" * 100_000), wrong], delete=[number])
        assert [item.id for item in queue.entries()] == [number]
        assert files(tmp_path) == []
    async with opened(tmp_path) as queue:
        assert [item.id for item in queue.entries()] == [number]
        assert rows(tmp_path, "SELECT count(*) FROM body") == [(1,)]


@pytest.mark.parametrize("size", [10, 300_000])
async def test_cancellation_does_not_stop_a_commit(tmp_path: Path, size: int) -> None:
    async with opened(tmp_path) as queue:
        async with writer_held(tmp_path):
            call = asyncio.create_task(queue.apply(store=[mail(b"x" * size)]))
            await asyncio.sleep(0)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert queue.count == 0
        await queue.wait_changed()
        assert read(queue, queue.get(1)) == b"x" * size
    async with opened(tmp_path) as queue:
        assert read(queue, queue.get(1)) == b"x" * size


async def test_a_cancelled_call_that_fails_is_logged(tmp_path: Path) -> None:
    problems: list[object] = []
    lines: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    async with opened(tmp_path, lines) as queue:
        async with writer_held(tmp_path):
            call = asyncio.create_task(queue.apply(store=[mail(b"x", entry(retry=2**70))]))
            await asyncio.sleep(0)
            call.cancel()
        await queue.apply(store=[mail()])
        del call
        gc.collect()
        assert queue.count == 1
    assert problems == []
    assert "error queue-change-failed" in lines[0]


async def test_close_finishes_what_was_begun(tmp_path: Path) -> None:
    async with opened(tmp_path) as queue:
        calls = [asyncio.create_task(queue.apply(store=[mail(b"x" * size)])) for size in (1, 100_000, 2, 200_000)]
        await asyncio.sleep(0)
        await asyncio.gather(queue.close(), queue.close())
        assert sorted(chain.from_iterable(await asyncio.gather(*calls))) == [1, 2, 3, 4]
        with pytest.raises(QueueClosed):
            await queue.apply(store=[mail()])
    async with opened(tmp_path) as queue:
        assert sorted(item.size for item in queue.entries()) == [1, 2, 100_000, 200_000]


# a disk that takes nothing


async def test_a_locked_database_is_no_fault_of_the_changes(tmp_path: Path) -> None:
    async with opened(tmp_path) as queue:
        [number] = await queue.apply(store=[mail(b"kept")])
        queue._spool._connection.execute("PRAGMA busy_timeout = 50")
        async with writer_held(tmp_path):
            calls = [queue.apply(store=[mail(b"y" * 100_000)]), queue.apply(delete=[number]), queue.apply(delete=[7])]
            results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [QueueUnavailable] * 3
        assert [item.id for item in queue.entries()] == [number]
        assert files(tmp_path) == []
        assert await queue.apply(delete=[number]) == []


async def test_a_group_waits_once_for_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as queue:
        tries: list[int] = []
        attempt = queue._spool._attempt
        monkeypatch.setattr(queue._spool, "_attempt", lambda jobs: tries.append(len(jobs)) or attempt(jobs))
        queue._spool._connection.execute("PRAGMA busy_timeout = 50")
        async with writer_held(tmp_path):
            calls = [queue.apply(store=[mail(b"%d" % number)]) for number in range(100)]
            results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(result) for result in results} == {QueueUnavailable}
        assert sum(tries) == 100


# a full disk


async def test_a_full_database(tmp_path: Path) -> None:
    async with opened(tmp_path) as queue:
        ids = [(await queue.apply(store=[mail(b"x" * 60_000)]))[0] for _ in range(5)]
        [claimed] = await queue.claim(1, 0.0)
        pages = queue._spool._connection.execute("PRAGMA page_count").fetchall()[0][0]
        queue._spool._connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()
        deferred = replace(claimed, state=DEFER, due=9.0)
        with pytest.raises(QueueFull):
            await queue.apply(store=[mail(b"y" * 60_000), mail(b"z" * 100_000)], update=[deferred], delete=ids[1:])
        assert queue.is_claimed(claimed.id)
        assert [item.id for item in queue.entries()] == ids
        assert (queue.metric("count"), queue.metric("bytes")) == (5, 300_000)
        assert files(tmp_path) == []
        async with writer_held(tmp_path):  # a removal and a result get through in the same group
            calls = [
                asyncio.create_task(call)
                for call in (
                    queue.apply(store=[mail(b"y" * 60_000)]),
                    queue.apply(delete=[ids[1]]),
                    queue.apply(update=[deferred]),
                )
            ]
            await asyncio.sleep(0)
        full, gone, changed = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(full, QueueFull)
        assert (gone, changed) == ([], [])
        assert queue.get(claimed.id) == deferred
        assert not queue.is_claimed(claimed.id)
        [again] = await queue.apply(store=[mail(b"y" * 60_000)])
        assert read(queue, queue.get(again)) == b"y" * 60_000
    async with opened(tmp_path) as queue:
        assert [item.id for item in queue.entries()] == [ids[0], *ids[2:], again]


class FixedClock:
    def __init__(self) -> None:
        self.now = 100.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


ROOMS = [
    # floor, size limit, free, asked for, wanted
    (1000, 0, 1000, 0, True),
    (1000, 0, 999, 0, False),
    (1000, 0, 1500, 500, True),
    (1000, 0, 1500, 501, False),
    (1000, 600, 1200, 0, True),
    (1000, 600, 1199, 0, False),
]


@pytest.mark.parametrize(("floor", "limit", "free", "size", "wanted"), ROOMS)
async def test_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, floor: int, limit: int, free: int, size: int, wanted: bool
) -> None:
    monkeypatch.setattr("hsl.runtime.queue.free_bytes", lambda _: free)
    queue = await SQLiteQueue.open(tmp_path, log=silent(), free_floor=floor, size_limit=limit)
    assert queue.has_room(size) is wanted
    await queue.close()


async def test_has_room_asks_the_disk_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def free_bytes(path: Path) -> int:
        asked.append(path)
        return 1000

    monkeypatch.setattr("hsl.runtime.queue.free_bytes", free_bytes)
    clock = FixedClock()
    queue = await SQLiteQueue.open(tmp_path, log=silent(), free_floor=1000, clock=clock)
    assert [queue.has_room(), queue.has_room(1), queue.has_room()] == [True, False, True]
    assert len(asked) == 1
    clock.now += 1.0
    assert queue.has_room()
    assert asked == [tmp_path] * 2
    await queue.close()


async def test_has_room_by_the_disk_itself(tmp_path: Path) -> None:
    async with opened(tmp_path) as queue:
        assert queue.has_room()
        assert not queue.has_room(1 << 60)


async def test_no_answer_about_the_disk_is_no_room(tmp_path: Path) -> None:
    async with opened(tmp_path / "q") as queue:
        (tmp_path / "q").rename(tmp_path / "away")
        assert not queue.has_room()
        (tmp_path / "away").rename(tmp_path / "q")


# opening


async def test_two_openers(tmp_path: Path) -> None:
    log = silent()
    async with opened(tmp_path) as queue:
        [number] = await queue.apply(store=[mail()])
        with pytest.raises(QueueLocked, match=r"in use by process \d+"):
            await SQLiteQueue.open(tmp_path, log=log)
        assert await queue.apply(delete=[number]) == []
    async with opened(tmp_path) as queue:
        assert queue.count == 0


async def test_readonly(tmp_path: Path) -> None:
    async with opened(tmp_path) as queue:
        await queue.apply(store=[mail(b"small", entry(), entry(state=HOLD)), mail(b"L" * 100_000)])
        beside = SQLiteQueue.open_readonly(tmp_path)
        assert beside.count == 3
        beside.close()
    view = SQLiteQueue.open_readonly(tmp_path)
    async with opened(tmp_path):  # it holds no lock
        pass
    assert [item.id for item in view.entries({"state": [b"active"]})] == [1, 3]
    assert (view.metric("count"), view.metric("bytes", {"senderdomain": [b"example.com"]})) == (3, 100_010)
    assert [len(b"".join(view.body(item).chunks())) for item in view.entries()] == [5, 5, 100_000]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        view._reader._connection.execute("DELETE FROM entry")
    view.close()


async def test_readonly_without_a_queue(tmp_path: Path) -> None:
    with pytest.raises(QueueError, match="no queue in"):
        SQLiteQueue.open_readonly(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "queue.db").write_bytes(b"")
    with pytest.raises(QueueError, match="no queue in"):
        SQLiteQueue.open_readonly(tmp_path)
    (tmp_path / "queue.db").write_bytes(b"something else\n" * 1000)
    with pytest.raises(QueueError, match="cannot read"):
        SQLiteQueue.open_readonly(tmp_path)


async def test_an_unknown_schema_is_left_alone(tmp_path: Path) -> None:
    log = silent()
    connection = sqlite3.connect(tmp_path / "queue.db")
    connection.executescript("CREATE TABLE entry (id); PRAGMA user_version = 99")
    connection.close()
    before = (tmp_path / "queue.db").read_bytes()
    with pytest.raises(
        QueueError, match=rf"schema version 99, this program knows versions up to {SCHEMA_VERSION} only: let"
    ):
        await SQLiteQueue.open(tmp_path, log=log)
    with pytest.raises(QueueError, match="schema version 99"):
        SQLiteQueue.open_readonly(tmp_path)
    assert (tmp_path / "queue.db").read_bytes() == before
    (tmp_path / "queue.db").unlink()
    async with opened(tmp_path) as queue:  # the lock was given back
        assert queue.count == 0


@pytest.mark.parametrize("content", [b"something else\n" * 1000])
async def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "queue.db").write_bytes(content)
    with pytest.raises(QueueError, match="cannot use"):
        await SQLiteQueue.open(tmp_path, log=silent())
    assert (tmp_path / "queue.db").read_bytes() == content


async def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(QueueError, match="cannot create the queue's folder"):
        await SQLiteQueue.open(tmp_path / "file" / "q", log=silent())


async def test_a_start_reads_no_bodies(tmp_path: Path) -> None:
    """A million bodies in the database are gigabytes."""
    async with opened(tmp_path):
        plan = rows(tmp_path, f"EXPLAIN QUERY PLAN {BODY_FILES}")
        assert "COVERING INDEX body_file" in str(plan[0])


async def test_a_body_of_which_a_page_is_damaged(tmp_path: Path) -> None:
    """Its mail can leave the queue, and no other waits for it."""
    lines: list[str] = []
    async with opened(tmp_path) as queue:
        await queue.apply(store=[mail(b"QQQQQQQQ" * 6000), mail(b"QQQQQQQQ" * 6000)])
    damage(tmp_path / "queue.db", b"QQQQQQQQ")
    async with opened(tmp_path, lines) as queue:
        damaged, whole = queue.entries()
        with pytest.raises(BodyUnreadable, match="body 1 cannot be read: database disk image is malformed"):
            list(queue.body(damaged).chunks())
        assert read(queue, whole) == b"QQQQQQQQ" * 6000
        await asyncio.gather(queue.apply(delete=[damaged.id]), *(queue.apply(store=[mail()]) for _ in range(5)))
        await queue.apply(delete=[whole.id])
        assert [line for line in lines if "queue-body-damaged" in line and "bodies=1 " in line]
    async with opened(tmp_path) as queue:
        assert [stored.id for stored in queue.entries()] == [3, 4, 5, 6, 7]
    assert rows(tmp_path, "SELECT min(id), count(*) FROM body") == [(1, 6)]


def damage(database: Path, content: bytes) -> None:
    """Let the first overflow page that is full of this content lead to a page which is not there."""
    data = bytearray(database.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    page = next(at for at in range(0, len(data), size) if data[at + 4 : at + size].count(content) > size // 16)
    data[page : page + 4] = b"\x7f\xff\xff\xff"
    database.write_bytes(data)


async def test_orphans_are_removed_at_start(tmp_path: Path) -> None:
    async with opened(tmp_path) as queue:
        [number] = await queue.apply(store=[mail(b"x" * 100_000)])
    (tmp_path / "bodies" / "0123").write_bytes(b"half a mess")
    lines: list[str] = []
    async with opened(tmp_path, lines) as queue:
        assert len(files(tmp_path)) == 1
        assert read(queue, queue.get(number)) == b"x" * 100_000
    assert [line.split(" ", 2)[2] for line in lines] == ["queue-orphans-removed count=1"]


async def test_entries_without_their_file_are_held(tmp_path: Path) -> None:
    async with opened(tmp_path) as queue:
        [bad, good] = await queue.apply(store=[mail(b"x" * 100_000), mail()])
    files(tmp_path)[0].unlink()
    lines: list[str] = []
    async with opened(tmp_path, lines) as queue:
        assert [item.id for item in await queue.claim(10, 0.0)] == [good]
        held = queue.get(bad)
        assert held is not None
        assert (held.state, held.error) == (HOLD, "its body file is missing")
        with pytest.raises(BodyGone):
            read(queue, held)
    assert "error queue-body-missing body=1" in lines[0]


async def test_a_reader_of_its_own_may_be_used_by_any_thread(tmp_path: Path) -> None:
    async with opened(tmp_path) as queue:
        await queue.apply(store=[mail(b"x" * size) for size in (10, 100_000)])
        reader = Reader(tmp_path)
        bodies = [reader.body(item.body, item.size) for item in queue.entries()]
        lengths = [len(b"".join(await asyncio.to_thread(list, body.chunks()))) for body in bodies * 5]
        assert lengths == [10, 100_000] * 5
        reader.close()


async def test_a_writer_that_ended_holds_nobody_up(tmp_path: Path) -> None:
    lines: list[str] = []
    async with opened(tmp_path, lines) as queue:

        def broken() -> list[object]:
            raise MemoryError("no room for a list")

        queue._gathered = broken  # type: ignore[method-assign,assignment]
        for _ in range(2):  # the one that was waiting, and the next one
            with pytest.raises(QueueUnavailable, match="writer has ended"):
                await queue.apply(store=[mail(b"x")])
    assert sum(" critical queue-writer-died " in line for line in lines) == 1


FIRST_VERSION = """
CREATE TABLE body (id INTEGER PRIMARY KEY AUTOINCREMENT, size INTEGER NOT NULL, file TEXT, data BLOB);
CREATE TABLE entry (
    id INTEGER PRIMARY KEY AUTOINCREMENT, body INTEGER NOT NULL REFERENCES body (id), transactionid TEXT NOT NULL,
    serverid TEXT NOT NULL, senderip TEXT NOT NULL, senderhelo BLOB NOT NULL, saslusername BLOB NOT NULL,
    jobid BLOB NOT NULL, actionid INTEGER NOT NULL, size INTEGER NOT NULL,
    eightbit INTEGER NOT NULL, smtputf8 INTEGER NOT NULL, ts REAL NOT NULL, quarantine TEXT NOT NULL,
    state TEXT NOT NULL, due REAL NOT NULL, retry INTEGER NOT NULL,
    metadata TEXT NOT NULL, error TEXT NOT NULL, transportid TEXT NOT NULL,
    senderlocal BLOB NOT NULL, senderdomain BLOB NOT NULL,
    recipientlocal BLOB NOT NULL, recipientdomain BLOB NOT NULL);
INSERT INTO body VALUES (3, 7, NULL, x'41203A20620D0A');
INSERT INTO entry VALUES (5, 3, 't', 's', '', x'', x'', x'6A', 1, 7, 0, 0, 1.0, '', 'hold', 2.0, 3, '{"k": "v"}',
    '', 'out', x'61', x'622E63', x'64', x'652E66');
PRAGMA user_version = 1;
"""


LATER_VERSIONS = (
    "",
    "ALTER TABLE entry ADD COLUMN quotas TEXT NOT NULL DEFAULT '[]'; PRAGMA user_version = 2;",
    "ALTER TABLE entry ADD COLUMN dsn TEXT NOT NULL DEFAULT ''; PRAGMA user_version = 3;",
    "CREATE INDEX body_file ON body (file) WHERE file IS NOT NULL; PRAGMA user_version = 4;",
)
ASKED = DSNRequest("FULL", "a+2Bb", ("SUCCESS", "DELAY"), "rfc822;d@e.f")


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
async def test_a_queue_of_an_older_version_is_brought_up_to_date(tmp_path: Path, version: int) -> None:
    connection = sqlite3.connect(tmp_path / "queue.db")
    connection.executescript(FIRST_VERSION + "".join(LATER_VERSIONS[:version]))
    connection.close()
    with pytest.raises(QueueError, match=f"schema version {version}: start the gateway, it brings it up to date"):
        SQLiteQueue.open_readonly(tmp_path)
    lines: list[str] = []
    for again in range(2):
        async with opened(tmp_path, lines) as queue:
            stored = queue.get(5)
            assert stored is not None
            assert (stored.recipient.path, stored.jobid, stored.retry, stored.quotas) == (b"d@e.f", b"j", 3, ())
            assert (stored.metadata, read(queue, stored), stored.dsn) == ({b"k": b"v"}, b"A : b\r\n", None)
            [number] = await queue.apply(
                store=[mail(b"x" * (again + 1), entry(quotas=(b"q",), dsn=ASKED, tenantid=b"ten", priority=1))]
            )
            assert number == 6 + again
            found = [(item.dsn, item.tenantid, item.priority) for item in queue.entries(after=5)]
            assert found == [(ASKED, b"ten", 1)] * (again + 1)
            assert (stored.tenantid, stored.priority) == (b"", 0)
            assert queue.quota(b"q") == (again + 1, 1 if again == 0 else 3)
    assert sum("queue-migrated" in line for line in lines) == 1


async def test_quotas_count_what_is_queued(tmp_path: Path) -> None:
    odd = b"\x00\xff'"
    async with opened(tmp_path) as queue:
        first = entry(quotas=(b"a", odd))
        second = entry(quotas=(b"a",))
        one, two = await queue.apply(store=[mail(b"12345", first, second)])
        [three] = await queue.apply(store=[mail(b"123", entry())])
        assert (queue.quota(b"a"), queue.quota(odd), queue.quota(b"z")) == ((2, 10), (1, 5), (0, 0))
        changed = queue.get(one)
        assert changed is not None
        changed.state, changed.retry = DEFER, 4
        await queue.apply(update=[changed])
        assert queue.quota(odd) == (1, 5)
        changed.quotas = (odd, b"later")
        await queue.apply(update=[changed])
        assert (queue.quota(b"a"), queue.quota(odd), queue.quota(b"later")) == ((1, 5), (1, 5), (1, 5))
        await queue.apply(delete=[two, three])
        assert queue.quota(b"a") == (0, 0)
    async with opened(tmp_path) as queue:
        assert (queue.quota(b"later"), queue.quota(odd)) == ((1, 5), (1, 5))
        await queue.apply(delete=[one])
        assert (queue.quota(b"later"), queue.quota(odd)) == ((0, 0), (0, 0))


async def test_a_reserved_id_is_the_entrys_own(tmp_path: Path) -> None:
    """Whatever is stored in between; and lists stay in the order of ids."""
    async with opened(tmp_path) as queue:
        reserved = [queue.reserve() for _ in range(3)]
        [other] = await queue.apply(store=[mail()])
        assert other not in reserved
        assert await queue.apply(store=[mail(b"x", entry(id=reserved[2]), entry(), entry(id=reserved[0]))]) == [
            reserved[2], other + 1, reserved[0],
        ]  # fmt: skip
        ids = [item.id for item in queue.entries()]
        assert ids == [reserved[0], reserved[2], other, other + 1]
        assert [item.id for item in queue.entries(limit=2, after=reserved[0])] == ids[1:3]
    async with opened(tmp_path) as queue:
        assert [item.id for item in queue.entries()] == ids
        assert queue.reserve() > max(ids)
