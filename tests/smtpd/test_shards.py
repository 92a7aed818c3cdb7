"""The shards of a queue: whose an entry is, what one worker makes of several, what is on disk without a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from hsl.runtime.log import Log
from hsl.runtime.model import ACTIVE, Address, Mail, QueueEntry
from hsl.runtime.queue import QueueError, QueueLocked, SQLiteQueue
from hsl.runtime.spool import MAX_SHARDS, SHARD_IDS
from hsl.smtpd.shards import ReadonlyShards, Shards, found_shards, shard_folder, shard_of

pytestmark = pytest.mark.asyncio


@dataclass
class Text:
    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def chunks(self) -> Iterator[bytes]:
        yield self.data


def mail(text: str = "x", quota: bytes = b"") -> Mail:
    address = Address(text.encode(), b"one.example")
    return Mail(Text(text.encode()), (QueueEntry("t", address, address, "next", quotas=(quota,) if quota else ()),))


def opener(root: Path):
    async def open_shard(number: int, changed: asyncio.Event) -> SQLiteQueue:
        log = Log(write=lambda line: None)
        return await SQLiteQueue.open(shard_folder(root, number), log=log, shard=number, free_floor=0, changed=changed)

    return open_shard


@asynccontextmanager
async def worker(root: Path, number: int) -> AsyncIterator[Shards]:
    queue = await Shards.open(number, opener(root))
    try:
        yield queue
    finally:
        await queue.close()


async def fill(root: Path, number: int, *texts: str) -> list[int]:
    async with worker(root, number) as queue:
        return await queue.apply(store=[mail(text) for text in texts])


async def test_an_id_tells_its_shard_and_grows(tmp_path: Path) -> None:
    assert await fill(tmp_path, 0, "a", "b") == [1, 2]
    first = await fill(tmp_path, 3, "a", "b")
    assert first == [3 * SHARD_IDS + 1, 3 * SHARD_IDS + 2]
    assert [shard_of(entry_id) for entry_id in first] == [3, 3]
    async with worker(tmp_path, 3) as queue:
        await queue.apply(delete=first)
    assert await fill(tmp_path, 3, "c") == [3 * SHARD_IDS + 3]
    assert await fill(tmp_path, 0, "c") == [3]
    assert MAX_SHARDS * SHARD_IDS < 2**53
    assert found_shards(tmp_path) == [0, 3]


async def test_a_shard_in_another_ones_place_is_refused(tmp_path: Path) -> None:
    await fill(tmp_path, 1, "a")
    (tmp_path / "shards" / "1").rename(tmp_path / "shards" / "2")
    with pytest.raises(QueueError, match="is shard 1, not 2: move it back"):
        await Shards.open(2, opener(tmp_path))


async def test_a_shard_is_adopted_only_with_its_lock(tmp_path: Path) -> None:
    [held] = await fill(tmp_path, 1, "a")
    async with worker(tmp_path, 0) as queue:
        async with worker(tmp_path, 1):
            with pytest.raises(QueueLocked):
                await queue.adopt(1)
            assert queue.count == 0
        assert await queue.adopt(1) == 1
        with pytest.raises(QueueLocked):
            await Shards.open(1, opener(tmp_path))
        assert [entry.id for entry in await queue.claim(9, 2e9)] == [held]


async def test_what_is_adopted_is_counted_claimed_and_changed_where_it_lies(tmp_path: Path) -> None:
    ids = await fill(tmp_path, 1, "a", "b", "c")
    async with worker(tmp_path, 0) as queue:
        [own] = await queue.apply(store=[mail("d", b"q")])
        assert await queue.adopt(1) == 3
        assert queue.metric("count") == 4
        assert queue.metric("count", {"recipient": [b"a@one.example"]}) == 1
        assert await queue.measure("count", {}) == 4, "so do scripts count"
        assert queue.quota(b"q") == (1, 1)
        assert [entry.id for entry in await queue.claim(2, 2e9)] == [own, ids[0]]
        assert [queue.is_claimed(entry_id) for entry_id in (own, *ids)] == [True, True, False, False]
        queue.release(ids[0])
        assert not queue.is_claimed(ids[0])
        entry = queue.get(ids[1])
        assert entry is not None
        assert b"".join(queue.body(entry).chunks()) == b"b"
        entry.error = "later"
        await queue.apply(update=[entry])
        [bounce] = await queue.apply(store=[mail("bounce")], delete=[ids[0]])
        assert shard_of(bounce) == 1
        [new] = await queue.apply(store=[mail("e")])
        assert shard_of(new) == 0
        assert await queue.apply(delete=[own, ids[2]]) == []
        found = [(entry.id, entry.error) for entry in queue.entries()]
        assert found == [(new, ""), (ids[1], "later"), (bounce, "")]
    assert [entry.id for entry in ReadonlyShards(tmp_path).entries()] == [new, ids[1], bounce]


async def test_a_change_in_an_adopted_shard_wakes_who_waits(tmp_path: Path) -> None:
    await fill(tmp_path, 1, "a")
    async with worker(tmp_path, 0) as queue, asyncio.timeout(30):
        waiting = asyncio.create_task(queue.wait_changed())
        await queue.adopt(1)
        await waiting
        assert queue.next_due() == 0
        [entry] = await queue.claim(1, 2e9)
        waiting = asyncio.create_task(queue.wait_changed())
        await asyncio.sleep(0)
        queue.release(entry.id)
        await waiting


async def test_an_empty_shard_is_left_to_others(tmp_path: Path) -> None:
    await fill(tmp_path, 1)
    async with worker(tmp_path, 0) as queue:
        assert await queue.adopt(1) == 0
        async with worker(tmp_path, 1) as other:
            assert other.number == 1


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_pages_go_through_all_shards(tmp_path: Path, limit: int) -> None:
    """Also through one without entries, and with filters."""
    wanted = await fill(tmp_path, 0, "a", "b", "c")
    await fill(tmp_path, 1)
    wanted += await fill(tmp_path, 2, "a", "b")
    queue = ReadonlyShards(tmp_path)
    for filters, ids in (({}, wanted), ({"recipient": [b"b@one.example"]}, [wanted[1], wanted[4]])):
        found: list[int] = []
        after: int | None = 0
        while after is not None:
            page = queue.page(filters, limit, after)
            assert len(page.entries) <= limit
            found += [entry.id for entry in page.entries]
            after = page.after
        assert found == ids
    entry = queue.get(wanted[4])
    assert entry is not None
    assert (entry.state, b"".join(queue.body(entry).chunks())) == (ACTIVE, b"b")
    assert queue.get(7 * SHARD_IDS + 1) is None
    assert queue.metric("count") == 5
    queue.close()


async def test_without_a_queue_nothing_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(QueueError, match="there is no queue"):
        ReadonlyShards(tmp_path)
