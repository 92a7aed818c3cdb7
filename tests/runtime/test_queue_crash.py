"""The queue against kill -9 and against a disk that takes no more (a file size limit: it needs no privileges)."""

from __future__ import annotations

import asyncio
import errno
import random
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hsl.runtime.log import Log
from hsl.runtime.queue import SQLiteQueue
from hsl.runtime.spool import is_full

DEADLINE = 60.0

COMMON = """
import asyncio, random, sys
from pathlib import Path
from hsl.runtime.log import Log
from hsl.runtime.model import Address, Mail, QueueEntry
from hsl.runtime.protocols import QueueFull
from hsl.runtime.queue import SQLiteQueue

class Body:
    def __init__(self, seed, size):
        self.data, self.size = random.Random(seed).randbytes(size), size
    def chunks(self):
        for start in range(0, self.size, 65536):
            yield self.data[start:start + 65536]

def mail(seed, size, count=1):
    entry = QueueEntry(f"{seed}:{size}", Address.of(b"a@b.example"), Address.of(b"c@d.example"), "out")
    return Mail(Body(seed, size), (entry,) * count)

def say(*words):
    print(*words, flush=True)
"""

# Eight clients store and, half of the time, delete the one before. Each line is printed when its apply() has returned;
# "deleting" is printed before: from then on the entry may be there or not.
STORE = """
async def client(queue, number):
    last = []
    for turn in range(1_000_000):
        seed = number * 1_000_000 + turn
        size = random.choice([10, 5_000, 60_000, 70_000, 300_000])
        gone = last if turn % 2 else []
        if gone:
            say("deleting", *gone)
        last = await queue.apply(store=[mail(seed, size, 2)], delete=gone)
        if gone:
            say("deleted", *gone)
        say("stored", *last)

async def main():
    queue = await SQLiteQueue.open(Path(sys.argv[1]), log=Log("error"))
    await asyncio.gather(*(client(queue, int(sys.argv[2]) * 8 + number) for number in range(8)))

asyncio.run(main())
"""


def silent() -> Log:
    return Log(write=lambda line: None)


class Ledger:
    """What the killed processes said."""

    def __init__(self) -> None:
        self.stored: set[int] = set()
        self.deleting: set[int] = set()
        self.deleted: set[int] = set()

    def take(self, line: bytes) -> None:
        if line.endswith(b"\n"):  # not cut by the kill
            word, *ids = line.split()
            getattr(self, word.decode()).update(map(int, ids))


def run_and_kill(path: Path, turn: int, lines: int, ledger: Ledger) -> None:
    """Let a child store until it has said so many lines, kill it, and read what it said to the end."""
    child = subprocess.Popen([sys.executable, "-c", COMMON + STORE, str(path), str(turn)], stdout=subprocess.PIPE)
    deadline = threading.Timer(DEADLINE, child.kill)
    deadline.start()
    try:
        assert child.stdout is not None
        for _ in range(lines):
            line = child.stdout.readline()
            assert line, "the child ended by itself"
            ledger.take(line)
        child.kill()
        for line in child.stdout:
            ledger.take(line)
    finally:
        deadline.cancel()
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


async def check_against(path: Path, ledger: Ledger) -> None:
    view = SQLiteQueue.open_readonly(path)
    assert ledger.stored - ledger.deleting <= {entry.id for entry in view.entries(limit=10**6)}
    view.close()
    queue = await SQLiteQueue.open(path, log=silent())
    try:
        there = {entry.id: entry for entry in queue.entries(limit=10**6)}
        assert ledger.stored - ledger.deleting <= there.keys()
        assert not ledger.deleted & there.keys()
        for entry in there.values():
            seed, size = map(int, entry.transaction.split(":"))
            assert b"".join(queue.body(entry).chunks()) == random.Random(seed).randbytes(size)
        assert queue.metric("bytes") == sum(entry.size for entry in there.values())
        large = {entry.body for entry in there.values() if entry.size > 65536}
        assert len(list((path / "bodies").iterdir())) == len(large)
    finally:
        await queue.close()


def test_what_was_confirmed_survives_kill(tmp_path: Path) -> None:
    rng = random.Random(5)
    ledger = Ledger()
    for turn in range(6):
        run_and_kill(tmp_path, turn, rng.randrange(1, 400), ledger)
        if turn % 2:  # every other time the next process itself recovers
            asyncio.run(check_against(tmp_path, ledger))
    assert len(ledger.stored) > 100
    assert ledger.deleted


# Stores until the disk (a limit of 400 KiB on each file) takes no more, then shows that nothing changed by that (a
# full WAL takes no removal either), and that the same calls succeed when there is room again.
FILL = """
import resource
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

async def main():
    path = Path(sys.argv[1])
    queue = await SQLiteQueue.open(path, log=Log("error"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (400 * 1024, hard))
    stored = []
    try:
        for seed in range(1000):
            stored += await queue.apply(store=[mail(seed, 20_000)])
    except QueueFull:
        say("full")
    try:
        await queue.apply(store=[mail(2000, 500_000)])
    except QueueFull:
        say("file full", len(list((path / "bodies").iterdir())))
    [claimed] = await queue.claim(1, 0.0)
    same = [entry.id for entry in queue.entries()] == stored and queue.metric("bytes") == 20_000 * len(stored)
    say("unchanged" if same and queue.is_claimed(claimed.id) else "changed")
    try:
        await queue.apply(delete=stored[5:])
    except QueueFull:
        say("removal full", queue.count == len(stored))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await queue.apply(delete=stored[5:])
    say("removed", queue.count)
    [late] = await queue.apply(store=[mail(2000, 500_000)])
    say("late", late > stored[-1])
    await queue.close()

asyncio.run(main())
"""


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", COMMON + FILL, str(tmp_path)], capture_output=True, timeout=DEADLINE, check=False
    )
    assert child.stderr == b""
    wanted = ["full", "file full 0", "unchanged", "removal full True", "removed 5", "late True"]
    assert child.stdout.decode().splitlines() == wanted

    async def look() -> list[tuple[str, int]]:
        queue = await SQLiteQueue.open(tmp_path, log=silent())
        try:
            for entry in queue.entries():
                seed, size = map(int, entry.transaction.split(":"))
                assert b"".join(queue.body(entry).chunks()) == random.Random(seed).randbytes(size)
            return [(entry.transaction, entry.size) for entry in queue.entries()]
        finally:
            await queue.close()

    assert asyncio.run(look()) == [(f"{seed}:20000", 20_000) for seed in range(5)] + [("2000:500000", 500_000)]


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("…")
    error.sqlite_errorcode = code
    return error


FULL = [
    (sqlite_error(sqlite3.SQLITE_FULL), True),
    (sqlite_error(sqlite3.SQLITE_IOERR), True),
    (sqlite_error(sqlite3.SQLITE_IOERR_WRITE), True),
    (sqlite_error(sqlite3.SQLITE_IOERR_FSYNC), True),
    (sqlite_error(sqlite3.SQLITE_BUSY), False),
    (sqlite_error(sqlite3.SQLITE_CONSTRAINT), False),
    (sqlite3.ProgrammingError("closed"), False),
    (OSError(errno.ENOSPC, "full"), True),
    (OSError(errno.EDQUOT, "quota"), True),
    (OSError(errno.EFBIG, "limit"), True),
    (OSError(errno.EIO, "disk"), True),
    (PermissionError(errno.EACCES, "no"), False),
    (ValueError("x"), False),
]


@pytest.mark.parametrize(("error", "wanted"), FULL, ids=lambda value: repr(value))
def test_what_counts_as_full(error: Exception, wanted: bool) -> None:
    assert is_full(error) is wanted
