"""The queue of several workers: one folder for each, a shard, with ids of its own; one worker's shards as one queue.

    queues.path             shard 0, that of the first worker (and the whole queue of a single one)
    queues.path/shards/1    shard 1, and so on

The id of an entry tells its shard (spool.SHARD_IDS). A shard whose worker is gone is opened by another worker beside
its own, under its lock: its entries stay where they are, and what comes of them (bounces) is stored with them.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from hsl.runtime.model import Mail, QueueEntry
from hsl.runtime.queue import NO_FILTERS, QueueView, ReadonlyQueue, SQLiteQueue
from hsl.runtime.queueindex import Page
from hsl.runtime.spool import LOCK, MAX_SHARDS, SHARD_IDS, StoredBody, take_lock

FOLDER = "shards"
SERIAL = "serial"  # the file that holds the serial number

OpenShard = Callable[[int, asyncio.Event], Awaitable[SQLiteQueue]]
"""Opens a shard by its number; raises QueueError. Shards with one event are waited for together."""


def read_serial(root: Path) -> str:
    """The installation's serial number: a file beside the queue, made at the first start. Raises OSError."""
    path = root / SERIAL
    with suppress(FileNotFoundError):
        found = path.read_text("ascii", "replace").strip()
        if found:
            return found
    serial = str(uuid.uuid4())
    path.write_text(f"{serial}\n", "ascii")
    return serial


def make_folders(root: Path, count: int, owner: tuple[int, int] | None) -> None:
    """The folders of the queue and its first `count` shards, those that are missing made for their owner (uid, gid).

    Raises OSError.
    """
    folders = [
        root,
        *([root / FOLDER] if count > 1 else []),
        *(shard_folder(root, number) for number in range(1, count)),
    ]
    for folder in folders:
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if owner is not None:
                os.chown(folder, *owner)


def check_unlocked(root: Path) -> None:
    """Raises QueueLocked when another process has one of the shards."""
    for number in found_shards(root):
        folder = shard_folder(root, number)
        if (folder / LOCK).exists():
            os.close(take_lock(folder))


def shard_folder(root: Path, number: int) -> Path:
    return root / FOLDER / str(number) if number else root


def shard_of(entry_id: int) -> int:
    return entry_id // SHARD_IDS


def found_shards(root: Path) -> list[int]:
    """The numbers of the shards that there are on disk, in order."""
    names: list[str] = []
    with suppress(FileNotFoundError):
        names = [path.name for path in (root / FOLDER).iterdir()]
    numbers = {0, *(int(name) for name in names if name.isdecimal() and str(int(name)) == name)}
    return [
        number
        for number in sorted(numbers)
        if number < MAX_SHARDS and (shard_folder(root, number) / "queue.db").is_file()
    ]


def turn_page(parts: Mapping[int, QueueView], filters: Mapping[str, Sequence[bytes]], limit: int, after: int) -> Page:
    """A page out of several shards: that of the first one which has more to tell."""
    numbers = sorted(number for number in parts if number >= shard_of(after))
    for place, number in enumerate(numbers):
        page = parts[number].page(filters, limit, after)
        follows = numbers[place + 1 :]
        if page.after is None and follows:
            if not page.entries:
                continue
            return Page(page.entries, follows[0] * SHARD_IDS)
        return page
    return Page([], None)


class Shards(QueueView):
    """The queue of one worker: its own shard, which takes what is new, and those that it has adopted."""

    def __init__(self, number: int, own: SQLiteQueue, changed: asyncio.Event, open_shard: OpenShard) -> None:
        self.number = number
        self.own = own
        self.parts: dict[int, SQLiteQueue] = {number: own}
        self._changed = changed
        self._open_shard = open_shard

    @classmethod
    async def open(cls, number: int, open_shard: OpenShard) -> Shards:
        """Raises QueueLocked when the shard is in use, QueueError when it cannot be used."""
        changed = asyncio.Event()
        return cls(number, await open_shard(number, changed), changed, open_shard)

    async def adopt(self, number: int) -> int:
        """Take over another shard; how many entries it has. One without entries is closed again.

        Raises QueueLocked while it is in use, QueueError when it cannot be used.
        """
        if number in self.parts:
            return self.parts[number].count
        part = await self._open_shard(number, self._changed)
        if not part.count:
            await part.close()
            return 0
        self.parts[number] = part
        self._changed.set()
        return part.count

    # changes

    def reserve(self) -> int:
        """The id of an entry that may be stored later: in the own shard."""
        return self.own.reserve()

    async def apply(
        self, *, store: Sequence[Mail] = (), update: Sequence[QueueEntry] = (), delete: Iterable[int] = ()
    ) -> list[int]:
        """As SQLiteQueue.apply: one transaction for each shard that has changes. What is new is stored with what is
        changed, so that an entry and its bounce share a transaction; without a change in the own shard."""
        if len(self.parts) == 1:
            return await self.own.apply(store=store, update=update, delete=delete)
        updates: dict[int, list[QueueEntry]] = {}
        deletes: dict[int, list[int]] = {}
        for entry in update:
            updates.setdefault(self._home(entry.id), []).append(entry)
        for entry_id in delete:
            deletes.setdefault(self._home(entry_id), []).append(entry_id)
        numbers = list(dict.fromkeys([*updates, *deletes])) or [self.number]
        ids: list[int] = []
        for place, number in enumerate(numbers):
            ids += await self.parts[number].apply(
                store=() if place else store, update=updates.get(number, ()), delete=deletes.get(number, ())
            )
        return ids

    def _home(self, entry_id: int) -> int:
        number = shard_of(entry_id)
        return number if number in self.parts else self.number

    def _part(self, entry_id: int) -> SQLiteQueue:
        return self.parts.get(shard_of(entry_id), self.own)

    # questions

    def get(self, entry_id: int) -> QueueEntry | None:
        return self._part(entry_id).get(entry_id)

    def page(self, filters: Mapping[str, Sequence[bytes]], limit: int, after: int = 0) -> Page:
        return turn_page(self.parts, filters, limit, after)

    async def measure(self, metric: str, filters: Mapping[str, Sequence[bytes]]) -> int:
        """As SQLiteQueue.measure."""
        return sum([await part.measure(metric, filters) for part in list(self.parts.values())])

    def metric(self, metric: str, filters: Mapping[str, Sequence[bytes]] = NO_FILTERS) -> int:
        return sum(part.metric(metric, filters) for part in self.parts.values())

    def quota(self, name: bytes) -> tuple[int, int]:
        """How many entries a quota holds, and their bytes."""
        held = [part.quota(name) for part in self.parts.values()]
        return sum(count for count, _ in held), sum(size for _, size in held)

    def body(self, entry: QueueEntry) -> StoredBody:
        return self._part(entry.id).body(entry)

    # what is due

    async def claim(self, limit: int, now: float) -> list[QueueEntry]:
        """As SQLiteQueue.claim; the own shard comes first."""
        claimed: list[QueueEntry] = []
        for part in self.parts.values():
            if len(claimed) < limit:
                claimed += await part.claim(limit - len(claimed), now)
        return claimed

    def release(self, entry_id: int) -> None:
        self._part(entry_id).release(entry_id)

    def is_claimed(self, entry_id: int) -> bool:
        return self._part(entry_id).is_claimed(entry_id)

    def next_due(self) -> float | None:
        """When the next unclaimed entry of any shard falls due (UTC wall seconds)."""
        return min((due for part in self.parts.values() if (due := part.next_due()) is not None), default=None)

    async def wait_changed(self) -> None:
        """Returns when something was stored, updated or released in any shard since the last call."""
        await self._changed.wait()
        self._changed.clear()

    # the disk

    def has_room(self, size: int = 0) -> bool:
        return self.own.has_room(size)

    @property
    def transactions(self) -> int:
        return sum(part.transactions for part in self.parts.values())

    async def close(self) -> None:
        await asyncio.gather(*(part.close() for part in self.parts.values()))


class ReadonlyShards(QueueView):
    """All shards as they lie on disk, for a look at them while no server runs."""

    def __init__(self, root: Path) -> None:
        """Raises QueueError when there is no queue or it cannot be read."""
        self.parts: dict[int, ReadonlyQueue] = {}
        try:
            for number in found_shards(root) or [0]:
                self.parts[number] = ReadonlyQueue(shard_folder(root, number))
        except BaseException:
            self.close()
            raise

    def get(self, entry_id: int) -> QueueEntry | None:
        part = self.parts.get(shard_of(entry_id))
        return None if part is None else part.get(entry_id)

    def page(self, filters: Mapping[str, Sequence[bytes]], limit: int, after: int = 0) -> Page:
        return turn_page(self.parts, filters, limit, after)

    def metric(self, metric: str, filters: Mapping[str, Sequence[bytes]] = NO_FILTERS) -> int:
        return sum(part.metric(metric, filters) for part in self.parts.values())

    def body(self, entry: QueueEntry) -> StoredBody:
        return self.parts[shard_of(entry.id)].body(entry)

    def close(self) -> None:
        for part in self.parts.values():
            part.close()
