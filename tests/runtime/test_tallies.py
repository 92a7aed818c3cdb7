"""Sets of ids and tallies equal naive ones, whatever happens to them."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from hsl.runtime.tallies import BLOCK, IdSet, Tally

ORDERS: dict[str, Callable[[random.Random, list[int]], None]] = {
    "growing": lambda rng, ids: ids.sort(),
    "falling": lambda rng, ids: ids.sort(reverse=True),
    "mixed": lambda rng, ids: rng.shuffle(ids),
}


@pytest.mark.parametrize("order", ORDERS)
def test_a_set_of_ids(order: str) -> None:
    rng = random.Random(1)
    ids = rng.sample(range(1, 2**52), 3 * BLOCK)
    ORDERS[order](rng, ids)
    found, model = IdSet(), set[int]()
    for entry_id in ids:
        found.add(entry_id)
        model.add(entry_id)
    assert len(found) == len(model)
    rng.shuffle(ids)
    while ids:
        for _ in range(min(1000, len(ids))):
            found.remove(ids[-1])
            model.remove(ids.pop())
        for after in (0, 2**52, *rng.sample(sorted(model), min(3, len(model)))):
            assert list(found.after(after)) == sorted(entry_id for entry_id in model if entry_id > after)
    assert not found
    found.add(7)
    assert list(found.after(0)) == [7]


@pytest.mark.parametrize("order", ORDERS)
def test_blocks_are_neither_long_nor_many(order: str) -> None:
    """What a change costs is bounded by the first, the memory by the second."""
    rng = random.Random(2)
    ids = list(range(1, 10 * BLOCK))
    ORDERS[order](rng, ids)
    found = IdSet()
    for entry_id in ids:
        found.add(entry_id)
    assert max(map(len, found._blocks)) <= BLOCK
    assert len(found._blocks) <= 20
    rng.shuffle(ids)
    for entry_id in ids[100:]:
        found.remove(entry_id)
    assert sorted(ids[:100]) == list(found.after(0))
    assert len(found._blocks) <= 2


def test_a_tally() -> None:
    rng = random.Random(3)
    sizes: dict[int, int] = {}
    values: dict[int, bytes] = {}
    tally = Tally(sizes.__getitem__)
    for entry_id in range(1, 3000):
        values[entry_id], sizes[entry_id] = b"%d" % (rng.random() ** 4 * 50), rng.randrange(100)
        tally.add(values[entry_id], entry_id, sizes[entry_id])
        if rng.random() < 0.4:
            gone = rng.choice(list(values))
            tally.remove(values.pop(gone), gone, sizes[gone])
    for wanted in ([b"0"], [b"1", b"7", b"none"], [b"%d" % number for number in range(50)], []):
        ids = [entry_id for entry_id, value in values.items() if value in wanted]
        assert tally.count(wanted) == len(ids)
        assert tally.size(wanted) == sum(sizes[entry_id] for entry_id in ids)
        assert sorted(item for part in tally.after(wanted, 1500) for item in part) == [i for i in ids if i > 1500]
        assert all((found := list(part)) == sorted(found) for part in tally.after(wanted, 0))
    for entry_id, value in values.items():
        tally.remove(value, entry_id, sizes[entry_id])
    assert not tally._groups
