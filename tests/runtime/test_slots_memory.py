"""Concurrency slots in memory."""

from __future__ import annotations

import pytest

from hsl.errors import ScriptError
from hsl.runtime.slots import MemorySlots

pytestmark = pytest.mark.asyncio

# (what, arguments, wanted): take (entry, maximum, holder), release (holder)
SEQUENCES = {
    "so many and no more": [
        ("take", (b"d", 2, "1"), True), ("take", (b"d", 2, "2"), True), ("take", (b"d", 2, "3"), False),
        ("release", ("1",), None), ("take", (b"d", 2, "3"), True), ("take", (b"d", 2, "4"), False),
    ],
    "a holder's second slot is the first one": [
        ("take", (b"d", 2, "1"), True), ("take", (b"d", 2, "1"), True), ("take", (b"d", 2, "2"), True),
        ("take", (b"d", 1, "1"), True), ("release", ("1",), None), ("take", (b"d", 2, "3"), True),
    ],
    "a refused holder holds nothing": [
        ("take", (b"d", 1, "1"), True), ("take", (b"d", 1, "2"), False), ("release", ("2",), None),
        ("take", (b"d", 1, "3"), False), ("release", ("1",), None), ("take", (b"d", 1, "3"), True),
    ],
    "release frees all entries of one holder": [
        ("take", (b"d", 1, "1"), True), ("take", (b"e", 1, "1"), True), ("take", (b"f", 1, "2"), True),
        ("release", ("1",), None), ("take", (b"d", 1, "3"), True), ("take", (b"e", 1, "3"), True),
        ("take", (b"f", 1, "3"), False),
    ],
    "a maximum of none": [("take", (b"d", 0, "1"), False), ("take", (b"d", -1, "1"), False)],
    "releasing twice, or what was never held": [
        ("release", ("1",), None), ("take", (b"d", 1, "1"), True), ("release", ("1",), None), ("release", ("1",), None),
        ("take", (b"d", 1, "2"), True),
    ],
}  # fmt: skip


@pytest.mark.parametrize("calls", SEQUENCES.values(), ids=SEQUENCES.keys())
async def test_sequence(calls: list[tuple[str, tuple[object, ...], bool | None]]) -> None:
    slots = MemorySlots()
    for index, (what, arguments, wanted) in enumerate(calls):
        if what == "take":
            got: object = await slots.take(b"to-domain", *arguments)  # type: ignore[arg-type]
        else:
            got = await slots.release(*arguments)  # type: ignore[arg-type, func-returns-value]
        assert got is wanted, (index, arguments)
    assert slots.count == sum(map(len, slots.held.values())) == sum(map(len, slots.holders.values()))


async def test_namespaces_are_apart() -> None:
    slots = MemorySlots()
    assert await slots.take(b"a", b"bc", 1, "1")
    assert await slots.take(b"ab", b"c", 1, "2")


async def test_so_many_in_all() -> None:
    slots = MemorySlots(max_slots=2)
    assert await slots.take(b"n", b"a", 5, "1")
    assert await slots.take(b"n", b"b", 5, "1")
    assert await slots.take(b"n", b"b", 5, "1")
    with pytest.raises(ScriptError, match="2 slots are taken in all"):
        await slots.take(b"n", b"c", 5, "1")
    await slots.release("1")
    assert await slots.take(b"n", b"c", 5, "1")


async def test_close_frees_all() -> None:
    slots = MemorySlots()
    await slots.take(b"n", b"a", 1, "1")
    await slots.close()
    assert await slots.take(b"n", b"a", 1, "2")
