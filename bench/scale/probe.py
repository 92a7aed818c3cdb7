"""Opens the queue in FOLDER, as the gateway does, and prints what that and single questions and changes cost (JSON).

Times are seconds of one call, the median of many; `open` is once; `memory` is bytes of one entry.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from measured import resident_bytes

from hsl.runtime.log import Log
from hsl.runtime.queue import SQLiteQueue
from hsl.runtime.queueindex import QueueIndex
from hsl.runtime.rows import ID, changing_row, entry_row

ROUNDS = 200
ENTRIES = 500  # that are claimed, changed, added and removed
ONE = {
    "state": [b"defer"],
    "senderdomain": [b"customer17.example"],
    "recipient": [b"recipient.17@domain17.example"],
    "metadata.customer": [b"17"],
}
TWO = {"state": [b"defer"], "senderdomain": [b"customer17.example"]}


def median(call: Callable[[], object], rounds: int = ROUNDS) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def each(call: Callable[[], object], count: int) -> float:
    """CPU time: what else runs on the machine does not count."""
    start = time.process_time()
    call()
    return (time.process_time() - start) / count


def changes(index: QueueIndex) -> dict[str, float]:
    """What the index itself takes for one entry; the disk is not touched, and the index is as it was."""
    later = time.time() + 10**6
    claimed = index.claim(ENTRIES, later)
    found = {"claim": each(lambda: [index.claim(1, later) for _ in range(ENTRIES)], ENTRIES)}
    rows = [entry_row(entry) for entry in claimed]
    deferred = [changing_row(replace(entry, retry=entry.retry + 1, due=entry.due + 3600)) for entry in claimed]
    pairs = list(zip(rows, deferred, strict=True))
    found["update"] = each(lambda: [index.change(row[ID], changing) for row, changing in pairs], ENTRIES)
    found["remove"] = each(lambda: [index.remove(row[ID]) for row in rows], ENTRIES)
    found["add"] = each(lambda: [index.add(row) for row in rows], ENTRIES)
    return found


async def probe(folder: Path) -> dict[str, float]:
    before = resident_bytes(os.getpid())
    start = time.monotonic()
    queue = await SQLiteQueue.open(folder, log=Log("error"))
    found = {"open": time.monotonic() - start}
    found["memory"] = (resident_bytes(os.getpid()) - before) / queue.count
    try:
        start = time.monotonic()
        for name, values in ONE.items():
            await queue.measure("count", {name: values})
        found["first"] = time.monotonic() - start
        found["one"] = statistics.mean(median(partial(queue.metric, "count", {name: ONE[name]})) for name in ONE)
        found["two"] = median(lambda: queue.metric("count", TWO), 20)
        found["page"] = median(lambda: queue.page({}, 100), 20)
        found["show"] = median(lambda: queue.get(100))
        return found | changes(queue._index)
    finally:
        await queue.close()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(probe(Path(sys.argv[1])))))
