"""kill -9 at random instants under load, and while starting: what had its 250 arrives, and what arrives twice had to.

A life of the gateway ends by SIGKILL, the next one goes on with the same queue. After each the sink's record and the
files of the queue are compared: only a message that the sink has and the queue still holds may come again.
"""

from __future__ import annotations

import asyncio
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import load
import pytest
from gateway import HSL, Gateway, wait_until
from loads import CONNECTIONS, message_ids, seeded, transaction_of, write_outbound
from servers import Received, Sink, read_dump, smtp_sink

from hsl.runtime.log import Log
from hsl.runtime.queue import ReadonlyQueue, SQLiteQueue
from hsl.runtime.spool import ROW_LIMIT

LIVES = 50
STARTS = 12  # more of them, killed while they start
LONGEST = 1.5  # seconds between the first 250 of a life and its end
DRAINED = 300.0
SMALL = load.Load(connections=16, messages=1_000_000, size=4096)
LAST = load.LAST.replace(b"\r\n", b"\n")
LARGE = load.Load(connections=4, messages=1_000_000, size=3 * ROW_LIMIT, recipient="large{n}@example.org")


@dataclass
class Life:
    """What the sink received in it, and what was in the queue when it had ended; by transaction id."""

    arrived: Counter[str]
    queued: set[str]


@dataclass
class Lives:
    """One queue through many lives of a gateway."""

    sink: Sink
    gateway: Gateway
    rng: random.Random
    outcomes: list[load.Outcome] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    @property
    def queue(self) -> Path:
        return self.gateway.config.parent / "queue"

    def live(self) -> None:
        """Start, take mail from two clients and deliver, die."""
        self.gateway.start()
        kill_later = KillLater(self.gateway, self.rng.uniform(0, LONGEST))
        clients = [threading.Thread(target=self.send, args=(what, kill_later)) for what in (SMALL, LARGE)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        self.gateway.kill()
        self.look()

    def send(self, what: load.Load, on_accepted: Callable[[int], None]) -> None:
        self.outcomes.append(load.send("127.0.0.1", self.gateway.port, what, on_accepted))

    def die_starting(self) -> None:
        command = [*HSL, "serve", "-c", str(self.gateway.config)]
        self.gateway.launch(command, lambda: True)
        time.sleep(self.rng.uniform(0, LONGEST))
        self.gateway.kill()
        self.look()

    def drain(self) -> None:
        with self.gateway:
            self.gateway.wait_drained(DRAINED)
        self.look()

    def look(self) -> None:
        """The end of a life: read what is new at the sink, and the queue's files."""
        wait_until(self.sink.is_at_rest, lambda: "a sink at rest")
        new = {path.name for path in self.sink.spool.glob("m.*")} - self.seen
        self.seen |= new
        mails = [read_dump((self.sink.spool / name).read_bytes()) for name in new]
        assert all(mail.raw.endswith(LAST) for mail in mails), "the sink keeps only what arrived whole"
        self.received += mails
        view = ReadonlyQueue(self.queue)
        try:
            queued = {entry.transaction for entry in view.entries(limit=10**7)}
        finally:
            view.close()
        self.lives.append(Life(Counter(map(transaction_of, mails)), queued))


class KillLater:
    """Told of each 250: so many seconds after the first one the gateway dies."""

    def __init__(self, gateway: Gateway, seconds: float) -> None:
        self.timer = threading.Timer(seconds, gateway.send_signal, [signal.SIGKILL])
        self.lock = threading.Lock()
        self.started = False

    def __call__(self, count: int) -> None:
        with self.lock:
            if not self.started:
                self.started = True
                self.timer.start()


async def body_files(path: Path) -> tuple[int, int]:
    """How many large bodies a queue has once it is opened, and how many files; each must be readable to its end."""
    queue = await SQLiteQueue.open(path, log=Log("error"))
    try:
        large = {entry.body: entry for entry in queue.entries(limit=10**7) if entry.size > ROW_LIMIT}
        for entry in large.values():
            assert sum(map(len, queue.body(entry).chunks())) == entry.size
        return len(large), len(list((path / "bodies").iterdir()))
    finally:
        await queue.close()


@pytest.mark.full
def test_fifty_kills_under_load(tmp_path: Path) -> None:
    rng = seeded()
    with smtp_sink(tmp_path) as sink:
        run = Lives(sink, Gateway(write_outbound(tmp_path, sink)), rng)
        ends = [run.live] * LIVES + [run.die_starting] * STARTS
        rng.shuffle(ends)
        for number, end in enumerate(ends):
            end()
            if number % 10 == 0:
                large, files = asyncio.run(body_files(run.queue))
                assert large == files, "no orphans after a start, and no body is missing"
        run.drain()
        assert not list((run.queue / "bodies").iterdir())
    check(run)


def check(run: Lives) -> None:
    promised = {item.message_id for outcome in run.outcomes for item in outcome.accepted}
    unanswered = {message_id for outcome in run.outcomes for message_id in outcome.unanswered}
    refused = sum((outcome.refused for outcome in run.outcomes), Counter[str]())
    arrived = message_ids(run.received)
    assert not refused
    assert not promised - arrived.keys(), "a 250 is a promise"
    assert not arrived.keys() - promised - unanswered, "nothing else arrives but what lost its reply"

    twice = 0
    for life in run.lives:
        assert max(life.arrived.values(), default=1) == 1, "nothing arrives twice in one life"
        assert len(life.arrived.keys() & life.queued) <= CONNECTIONS, "only what was in flight may come again"
    for transaction, copies in sum((life.arrived for life in run.lives), Counter[str]()).items():
        cut_short = sum(transaction in life.arrived and transaction in life.queued for life in run.lives)
        assert copies == 1 + cut_short, "each repetition is explained by a kill between the sink's 250 and our commit"
        twice += copies - 1
    assert run.lives[-1].queued == set()
    assert len(promised) > LIVES
    assert any(life.queued for life in run.lives), "some lives ended with mail in the queue"
    print(
        f"{len(run.lives) - 1} kills: {len(promised)} messages with a 250, all arrived; {twice} of {len(run.received)} "
        f"came again, each in flight at a kill; {len(unanswered)} had no answer"
    )
