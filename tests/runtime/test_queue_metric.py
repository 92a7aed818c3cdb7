"""Metrics and listings equal a naive scan, after any sequence of operations and after reopening."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hsl.runtime.log import Log
from hsl.runtime.model import ACTIVE, DEFER, HOLD, Address, Mail, QueueEntry
from hsl.runtime.protocols import QUEUE_FILTERS
from hsl.runtime.queue import SQLiteQueue
from hsl.runtime.queueindex import COUNTED, MAX_LATER, SLICE, VISITS, QueueIndex
from hsl.runtime.rows import changing_row, entry_row

Filters = Mapping[str, Sequence[bytes]]
SENDERS = [b"", b"a@X.example", b"A@x.example", b"b@y.example", b'"q@r"@Y.example', b"postmaster"]
RECIPIENTS = [b"r@One.example", b"s@one.example", b"t@two.example"]
VALUES: dict[str, list[bytes]] = {
    "senderip": [b"192.0.2.1", b"2001:DB8::1", b"", b"192.0.2.9"],
    "saslusername": [b"", b"user", b"User"],
    "sender": [*SENDERS, b"nobody@x.example"],
    "senderdomain": [b"", b"x.example", b"Y.EXAMPLE", b"z.example"],
    "recipient": [*RECIPIENTS, b"S@ONE.example", b"x@y"],
    "metadata.customer": [b"17", b"18", b""],
    "recipientdomain": [b"one.example", b"TWO.example", b""],
    "transportid": [b"out", b"slow", b"OUT"],
    "retry": [b"0", b"1", b"2", b"9"],
    "state": [b"active", b"defer", b"hold"],
    "quarantine": [b"", b"spam"],
}


@dataclass
class Body:
    size: int

    def chunks(self) -> list[bytes]:
        return [b"x" * self.size]


def silent() -> Log:
    return Log(write=lambda line: None)


def naive_value(name: str, entry: QueueEntry) -> bytes:
    values: dict[str, bytes] = {
        "senderip": entry.senderip.lower().encode(),
        "saslusername": entry.saslusername,
        "sender": entry.sender.text,
        "senderdomain": entry.sender.host,
        "recipient": entry.recipient.text,
        "metadata.customer": entry.metadata.get(b"customer", b"no value is like this"),
        "recipientdomain": entry.recipient.host,
        "transportid": entry.transportid.encode(),
        "retry": str(entry.retry).encode(),
        "state": entry.state.encode(),
        "quarantine": entry.quarantine.encode(),
    }
    return values[name]


FOLDED = ("senderip", "sender", "senderdomain", "recipient", "recipientdomain")


def naive(entries: Sequence[QueueEntry], filters: Filters) -> list[QueueEntry]:
    return [
        entry
        for entry in entries
        if all(
            naive_value(name, entry) in [value.lower() if name in FOLDED else value for value in values]
            for name, values in filters.items()
        )
    ]


def random_change(rng: random.Random, entry: QueueEntry) -> QueueEntry:
    return replace(
        entry,
        sender=Address.of(rng.choice(SENDERS)),
        recipient=Address.of(rng.choice(RECIPIENTS)),
        transportid=rng.choice(["out", "slow"]),
        retry=rng.randrange(3),
        state=rng.choice([ACTIVE, DEFER, HOLD]),
        due=float(rng.randrange(100)),
        metadata=rng.choice([{}, {b"customer": b"17"}, {b"customer": b"18", b"more": b"x"}]),
    )


def random_entry(rng: random.Random) -> QueueEntry:
    entry = QueueEntry("t", Address.of(b""), Address.of(b"x@y"), "out")
    entry.senderip = rng.choice(["192.0.2.1", "2001:db8::1", ""])
    entry.saslusername = rng.choice([b"", b"user", b"User"])
    entry.quarantine = rng.choice(["", "spam"])
    return random_change(rng, entry)


def random_filters(rng: random.Random, names: Sequence[str]) -> Filters:
    chosen = rng.sample(names, rng.randrange(4))
    return {name: rng.choices(VALUES[name], k=rng.randrange(4)) for name in chosen}


async def compare(rng: random.Random, queue: SQLiteQueue, model: dict[int, QueueEntry]) -> None:
    everything = list(model.values())
    singles: list[Filters] = [{name: [value]} for name in VALUES for value in VALUES[name]]
    mixed = [random_filters(rng, list(VALUES)) for _ in range(60)]
    counted = [random_filters(rng, QUEUE_FILTERS) for _ in range(60)]
    for filters in [{}, *singles, *mixed, *counted]:
        wanted = naive(everything, filters)
        assert queue.metric("count", filters) == len(wanted)
        assert queue.metric("bytes", filters) == sum(entry.size for entry in wanted)
        assert list(queue.entries(filters)) == wanted
        assert await queue.measure("bytes", filters) == sum(entry.size for entry in wanted)
    assert queue.count == len(everything)


async def random_step(rng: random.Random, queue: SQLiteQueue, model: dict[int, QueueEntry]) -> None:
    """One apply with something of everything; the model follows."""
    mails = [
        Mail(Body(rng.randrange(50)), tuple(random_entry(rng) for _ in range(rng.randrange(1, 4))))  # type: ignore[arg-type]
        for _ in range(rng.randrange(4))
    ]
    known = list(model)
    updates = [random_change(rng, model[number]) for number in rng.sample(known, min(len(known), rng.randrange(4)))]
    deletes = [*rng.sample(known, min(len(known), rng.randrange(3))), 10**6]
    ids = iter(await queue.apply(store=mails, update=updates, delete=deletes))
    for mail in mails:
        for entry in mail.entries:
            number = next(ids)
            stored = queue.get(number)
            assert stored is not None
            model[number] = replace(entry, id=number, body=stored.body, size=mail.body.size)
    model.update((entry.id, entry) for entry in updates)
    for number in deletes:
        model.pop(number, None)
    for claimed in await queue.claim(rng.randrange(3), 50.0):
        assert claimed == model[claimed.id]
        if rng.random() < 0.5:
            queue.release(claimed.id)


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(4))
async def test_metrics_equal_a_naive_scan(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    model: dict[int, QueueEntry] = {}
    for _ in range(3):
        queue = await SQLiteQueue.open(tmp_path, log=silent())
        await compare(rng, queue, model)
        for _ in range(40):
            await random_step(rng, queue, model)
        await compare(rng, queue, model)
        await queue.close()


@pytest.mark.asyncio
async def test_an_emptied_queue_keeps_no_counters(tmp_path: Path) -> None:
    rng = random.Random(0)
    queue = await SQLiteQueue.open(tmp_path, log=silent())
    mails = [Mail(Body(5), (random_entry(rng),)) for _ in range(50)]  # type: ignore[arg-type]
    await queue.apply(delete=await queue.apply(store=mails))
    assert all(not item.tally._groups for item in queue._index._filters.values())
    assert not queue._index._ids
    assert queue.metric("bytes") == queue.metric("count") == 0
    await queue.close()


def filled(count: int) -> QueueIndex:
    index = QueueIndex()
    for number in range(1, count + 1):
        index.add(entry_row(replace(random_entry(random.Random(number)), id=number, size=10)))
    return index


PAGES = [
    ({}, 3, 0, [1, 2, 3]),
    ({}, 3, 3, [4, 5, 6]),
    ({}, 3, 9, [10]),
    ({}, 3, 10, []),
    ({}, 0, 0, []),
    ({"id": [b"4", b"2", b"77", b"x", b"9" * 30]}, 10, 0, [2, 4]),
    ({"id": [b"4", b"2"]}, 10, 2, [4]),
    ({"id": [b"4"], "retry": [b"8"]}, 10, 0, []),
    ({"id": []}, 10, 0, []),
]


@pytest.mark.parametrize(("filters", "limit", "after", "wanted"), PAGES)
def test_pages(filters: Filters, limit: int, after: int, wanted: list[int]) -> None:
    assert [entry.id for entry in filled(10).page(filters, limit, after).entries] == wanted


@pytest.mark.parametrize("name", ["Sender", "recipients", "metadata", ""])
def test_unknown_filters(name: str) -> None:
    index = filled(1)
    with pytest.raises(ValueError, match=f"unknown queue filter '{name}': known are senderip, saslusername"):
        index.metric("count", {name: [b"x"]})
    with pytest.raises(ValueError, match="unknown queue filter"):
        index.page({name: [b"x"]}, 1, 0)


def test_unknown_metric() -> None:
    with pytest.raises(ValueError, match="unknown queue metric 'size': known are count, bytes"):
        filled(1).metric("size", {})


@pytest.mark.parametrize("metric", ["count", "bytes"])
@pytest.mark.parametrize("name", [name for name in VALUES if not name.startswith("metadata.")])
def test_one_filter_looks_at_no_entry(name: str, metric: str) -> None:
    index = filled(500)
    assert sum(index.metric(metric, {name: [value]}) for value in {value.lower() for value in VALUES[name]}) > 0
    assert index.metric(metric, {}) == {"count": 500, "bytes": 5000}[metric]
    assert index.visited == 0


def test_several_filters_walk_the_one_that_leaves_the_fewest() -> None:
    index = QueueIndex()
    for number in range(1, 1001):
        entry = QueueEntry("t", Address.of(b"a@x.example"), Address.of(b"r@rare.example"), "out", id=number, size=1)
        if number % 100:
            entry.recipient = Address.of(b"r@common.example")
        index.add(entry_row(entry))
    filters = {"senderdomain": [b"x.example"], "recipientdomain": [b"rare.example"], "transportid": [b"out", b"slow"]}
    assert index.metric("count", filters) == 10
    assert index.visited == 10
    assert [entry.id for entry in index.page(filters, 3, 300).entries] == [400, 500, 600]
    assert index.visited == 10 + 4, "three, and the one that shows that more follow"


def test_a_metadata_key_walks_the_queue_once() -> None:
    index = filled(500)
    while index.count_more(["metadata.customer", "sender"]):
        pass
    assert index.visited == 500
    assert index.metric("count", {"metadata.customer": [b"17"]}) > 0
    assert index.visited == 500


def test_a_metadata_key_is_counted_while_the_queue_changes() -> None:
    rng = random.Random(3)
    index = filled(3 * SLICE)
    keys = [b"customer", b"more"]
    names = [f"metadata.{key.decode()}" for key in keys]
    live = set(range(1, 3 * SLICE + 1))
    steps = 0
    while index.count_more(names):
        steps += 1
        for number in rng.sample(sorted(live), 50):
            if rng.random() < 0.5:
                index.remove(number)
                live.discard(number)
            else:
                index.change(number, changing_row(random_entry(rng)))
        index.add(entry_row(replace(random_entry(rng), id=3 * SLICE + steps, size=10)))
        live.add(3 * SLICE + steps)
        everything = [entry for number in sorted(live) if (entry := index.get(number)) is not None]
        for name, key in zip(names, keys, strict=True):
            fitting = sum(entry.metadata.get(key) in (b"17", b"x") for entry in everything)
            assert index.metric("bytes", {name: [b"17", b"x"]}) == 10 * fitting
    assert steps >= 4, "the changes came in the middle of it"


def test_a_long_walk_comes_in_parts() -> None:
    index = filled(3 * SLICE)
    filters = {"transportid": [b"out", b"slow"], "state": [b"active", b"defer", b"hold"], "retry": [b"0", b"1", b"2"]}
    first, after = index.measure("count", filters, 0)
    assert (first, after) == (SLICE, SLICE)
    for number in (1, 2 * SLICE):
        index.remove(number)
    assert index.measure("count", filters, 2 * SLICE) == (SLICE, None)
    assert index.metric("count", filters) == 3 * SLICE - 2


@pytest.mark.asyncio
async def test_a_long_walk_gives_others_their_turns(tmp_path: Path) -> None:
    queue = await SQLiteQueue.open(tmp_path, log=silent())
    try:
        entries = tuple(random_entry(random.Random(number)) for number in range(3 * SLICE))
        await queue.apply(store=[Mail(Body(1), entries)])  # type: ignore[arg-type]
        for filters in (
            {"transportid": [b"out", b"slow"], "retry": [b"0", b"1", b"2"]},
            {"metadata.customer": [b"17"]},
        ):
            turns = 0
            walk = asyncio.create_task(queue.measure("count", filters))
            while not walk.done():
                turns += 1
                await asyncio.sleep(0)
            assert turns >= 3
            assert await walk == queue.metric("count", filters) > 0
    finally:
        await queue.close()


def test_a_page_ends_after_so_many_visits() -> None:
    index = QueueIndex()
    for number in range(1, 2 * VISITS + 2):
        entry = QueueEntry("t", Address.of(b""), Address.of(b"r@e.example"), "out", id=number, size=1)
        entry.retry = int(number == 2 * VISITS)
        entry.state = HOLD if number % 2 else DEFER
        index.add(entry_row(entry))
    filters = {"metadata.none": [b"x"]}
    assert index.page(filters, 10, 0).after == VISITS
    assert index.page(filters, 10, VISITS).after == 2 * VISITS
    assert index.page(filters, 10, 2 * VISITS).after is None
    found = index.page({"retry": [b"1"], "state": [b"defer"]}, 10, 0)
    assert ([entry.id for entry in found.entries], found.after) == ([2 * VISITS], None)


@pytest.mark.asyncio
async def test_metadata_keys_are_counted_as_far_as_there_is_room(tmp_path: Path) -> None:
    queue = await SQLiteQueue.open(tmp_path, log=silent(), free_floor=0)
    try:
        entries = [random_entry(random.Random(1)) for _ in range(3)]
        for number, entry in enumerate(entries):
            entry.metadata = {b"k%d" % key: b"%d" % number for key in range(30)}
        await queue.apply(store=[Mail(Body(1), tuple(entries))])  # type: ignore[arg-type]
        for _ in range(2):
            for key in range(31):
                await queue.measure("count", {f"metadata.k{key}": [b"0"]})
            assert [queue.metric("count", {f"metadata.k{key}": [b"0", b"2"]}) for key in range(31)] == [2] * 30 + [0]
        assert len(queue._index._filters) == len(COUNTED) + MAX_LATER
    finally:
        await queue.close()
