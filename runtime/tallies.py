"""How many entries have which value: ids come in with the value that they have, and counts and sorted ids come out.

Nothing here grows faster than 8 bytes for an id: a queue has a tally for every filter, and each knows all entries.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Collection, Iterator
from operator import itemgetter

BLOCK = 4096  # ids of one block, at most

first = itemgetter(0)


class IdSet:
    """A sorted set of ids in blocks: the cost of a change does not grow with the set."""

    __slots__ = ("_blocks", "count")

    def __init__(self, *ids: int) -> None:
        self._blocks = [array("Q", sorted(ids))]
        self.count = len(ids)

    def __len__(self) -> int:
        return self.count

    def add(self, entry_id: int) -> None:
        """Put in an id that is not there."""
        self.count += 1
        block = self._blocks[-1]
        if block and entry_id < block[-1]:
            self._insert(entry_id)
        elif len(block) < BLOCK:
            block.append(entry_id)
        else:
            self._blocks.append(array("Q", (entry_id,)))

    def _insert(self, entry_id: int) -> None:
        place = self._block_of(entry_id)
        block = self._blocks[place]
        insort(block, entry_id)
        if len(block) > BLOCK:
            self._blocks[place : place + 1] = [block[: BLOCK // 2], block[BLOCK // 2 :]]

    def remove(self, entry_id: int) -> None:
        """Take out an id that is there."""
        self.count -= 1
        blocks = self._blocks
        place = self._block_of(entry_id) if len(blocks) > 1 else 0
        block = blocks[place]
        del block[bisect_left(block, entry_id)]
        if len(blocks) == 1:
            return
        if place + 1 < len(blocks) and len(block) + len(blocks[place + 1]) < BLOCK // 2:
            block.extend(blocks.pop(place + 1))
        elif not block:
            del blocks[place]

    def _block_of(self, entry_id: int) -> int:
        """The block that an id belongs to."""
        return max(0, bisect_right(self._blocks, entry_id, key=first) - 1) if len(self._blocks) > 1 else 0

    def after(self, entry_id: int) -> Iterator[int]:
        """The ids above this one, in order. The set must not change meanwhile."""
        place = self._block_of(entry_id)
        for number in range(place, len(self._blocks)):
            block = self._blocks[number]
            yield from block[bisect_right(block, entry_id) :] if number == place else block


class Group(IdSet):
    """The entries that share a value, and their bytes."""

    __slots__ = ("size",)

    def __init__(self, size: int, *ids: int) -> None:
        super().__init__(*ids)
        self.size = size


class Tally:
    """All entries by the value that they have under one filter. A value of one entry costs its id only."""

    def __init__(self, size_of: Callable[[int], int]) -> None:
        """`size_of`: the bytes of an entry that is in the tally."""
        self._size_of = size_of
        self._groups: dict[bytes, Group | int] = {}

    def add(self, value: bytes, entry_id: int, size: int) -> None:
        group = self._groups.get(value)
        if group is None:
            self._groups[value] = entry_id
        elif isinstance(group, int):
            self._groups[value] = Group(self._size_of(group) + size, group, entry_id)
        else:
            group.add(entry_id)
            group.size += size

    def remove(self, value: bytes, entry_id: int, size: int) -> None:
        group = self._groups[value]
        if isinstance(group, int) or group.count == 1:
            del self._groups[value]
        else:
            group.remove(entry_id)
            group.size -= size

    def count(self, values: Collection[bytes]) -> int:
        """How many entries have one of these values."""
        return sum(1 if isinstance(group, int) else group.count for group in self._found(values))

    def size(self, values: Collection[bytes]) -> int:
        """The bytes of those entries."""
        return sum(self._size_of(group) if isinstance(group, int) else group.size for group in self._found(values))

    def after(self, values: Collection[bytes], entry_id: int) -> list[Iterator[int]]:
        """The ids of those entries above this one: for each value in order."""
        return [
            iter((group,) if group > entry_id else ()) if isinstance(group, int) else group.after(entry_id)
            for group in self._found(values)
        ]

    def _found(self, values: Collection[bytes]) -> list[Group | int]:
        return [self._groups[value] for value in values if value in self._groups]
