"""The gateway with more and more in its queue, and with more and more sessions open: what a message costs then.

Queues of 10^3 … 10^6 entries that wait for a later attempt lie there while a load flows through the outbound scripts
into smtp-sink; 10 … 5,000 sessions stand open while a load flows beside them. CPU is the gateway's own, accepting and
delivering; what questions and changes of the queue cost is measured in a process of its own (probe.py).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SUPPORT = [str(HERE.parent), str(HERE.parent.parent / "tests" / "support")]  # the launchers that the tests use
sys.path[:0] = SUPPORT

from gateway import Gateway, outbound_scripts, wait_until, write_gateway  # noqa: E402
from manyentries import fill  # noqa: E402
from measured import Load, PlainSink, cpu_seconds, resident_bytes, send  # noqa: E402

START = 120.0  # seconds that the gateway may take to be ready
SPARE = 200  # sessions and descriptors that the gateway needs beside those that stand open


@dataclass(frozen=True)
class Flow:
    """One load: messages per second until all is delivered, microseconds of CPU for each."""

    rate: float
    cpu: float


def prepare(folder: Path, sink: PlainSink, sessions: int = 0) -> Gateway:
    """A gateway with the outbound scripts, not started."""
    limits = {"connections": sessions + SPARE, "connections_per_ip": sessions + SPARE}
    scripts = outbound_scripts() | {"limits.hsl": (HERE.parent / "smtp" / "limits.hsl").read_text()}
    session = {"host": "127.0.0.1", "port": sink.port, "tls": "disabled"}
    config = write_gateway(folder, scripts, server={"limits": limits}, session=session)
    gateway = Gateway(config)
    gateway.patience = START
    return gateway


def flow(gateway: Gateway, load: Load, queued: int, rounds: int) -> Flow:
    """The median of loads until the queue is again as it was."""
    flows = []
    for _ in range(rounds):
        cpu, start = cpu_seconds(gateway.pid), time.monotonic()
        send(gateway.port, load)
        wait_until(lambda: gateway.queued() == queued, lambda: f"{queued} entries", 600)
        seconds = time.monotonic() - start
        flows.append(Flow(load.messages / seconds, (cpu_seconds(gateway.pid) - cpu) / load.messages * 1e6))
    return Flow(statistics.median(item.rate for item in flows), statistics.median(item.cpu for item in flows))


# the queue


def add_entries(path: Path, count: int, seed: int) -> None:
    """In a process of its own: its memory is not the bench's."""
    asyncio.run(fill(path, count, seed=seed, hold_active=True))


def measure_queue(folder: Path, sink: PlainSink, sizes: Sequence[int], load: Load, rounds: int) -> list[dict[str, Any]]:
    """A row for each size; the queue grows from one to the next."""
    gateway = prepare(folder, sink)
    queue = folder / "queue"
    rows: list[dict[str, Any]] = []
    there = 0
    for size in sizes:
        child = multiprocessing.get_context("spawn").Process(target=add_entries, args=(queue, size - there, size))
        child.start()
        child.join()
        there = size
        command = [sys.executable, str(HERE / "probe.py"), str(queue)]
        found = subprocess.run(command, env=os.environ | {"PYTHONPATH": ":".join(SUPPORT)}, stdout=subprocess.PIPE)
        row = json.loads(found.stdout) | {"queued": size}
        start = time.monotonic()
        with gateway:
            row["start"] = time.monotonic() - start
            flowed = flow(gateway, load, size, rounds)
        rows.append(row | {"rate": flowed.rate, "cpu": flowed.cpu})
        print(".", end="", flush=True)
    return rows


# sessions


@contextmanager
def sessions_open(port: int, count: int) -> Iterator[None]:
    command = [sys.executable, str(HERE / "holding.py"), "127.0.0.1", str(port), str(count)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"open\n"
        yield
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()


def measure_sessions(
    folder: Path, sink: PlainSink, counts: Sequence[int], load: Load, rounds: int
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for count in counts:
        with prepare(folder / str(count), sink, count) as gateway:
            flow(gateway, load, 0, 1)  # memory that the load itself needs is there before the sessions
            before = resident_bytes(gateway.workers()[0])
            start = time.monotonic()
            with sessions_open(gateway.port, count):
                opened = time.monotonic() - start
                memory = (resident_bytes(gateway.workers()[0]) - before) / count
                flowed = flow(gateway, load, 0, rounds)
        row = {"sessions": count, "opened": opened, "memory": memory / 1024, "rate": flowed.rate, "cpu": flowed.cpu}
        rows.append(row)
        print(".", end="", flush=True)
    return rows


# the tables

Column = tuple[str, str, float, str]  # key, heading, factor, format
QUEUE: Sequence[Column] = (
    ("queued", "queued", 1, ",.0f"),
    ("start", "start s", 1, ".1f"),
    ("memory", "bytes each", 1, ".0f"),
    ("rate", "msg/s", 1, ".0f"),
    ("cpu", "CPU µs/msg", 1, ".0f"),
    ("one", "metric µs", 1e6, ".1f"),
    ("two", "2 filters µs", 1e6, ".0f"),
    ("first", "new key s", 1, ".2f"),
)
CHANGES: Sequence[Column] = (
    ("queued", "queued", 1, ",.0f"),
    ("claim", "claim µs", 1e6, ".1f"),
    ("update", "update µs", 1e6, ".1f"),
    ("remove", "remove µs", 1e6, ".1f"),
    ("add", "add µs", 1e6, ".1f"),
    ("page", "list 100 µs", 1e6, ".0f"),
    ("show", "show µs", 1e6, ".1f"),
)
SESSIONS: Sequence[Column] = (
    ("sessions", "open sessions", 1, ",.0f"),
    ("opened", "opened in s", 1, ".1f"),
    ("memory", "KiB each", 1, ".1f"),
    ("rate", "msg/s", 1, ".0f"),
    ("cpu", "CPU µs/msg", 1, ".0f"),
)


def show(title: str, columns: Sequence[Column], rows: Sequence[Mapping[str, float]], ratios: Sequence[str]) -> None:
    """A table; `ratios`: columns that are also shown as multiples of the first row."""
    print(f"\n{title}\n")
    print("".join(f"{heading:>14}" + (f"{'ratio':>8}" if key in ratios else "") for key, heading, _, _ in columns))
    for row in rows:
        cells = []
        for key, _, factor, form in columns:
            cells.append(f"{format(row[key] * factor, form):>14}")
            if key in ratios:
                cells.append(f"{row[key] / rows[0][key]:8.2f}")
        print("".join(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--queued", type=int, nargs="*", default=[10**3, 10**4, 10**5, 10**6])
    parser.add_argument("--sessions", type=int, nargs="*", default=[10, 1000, 5000])
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2**16), hard))
    load = Load(20, given.messages, 4096)
    with tempfile.TemporaryDirectory(prefix="hsl-bench-") as name:
        folder = Path(name)
        sink = PlainSink(folder)
        try:
            queue = measure_queue(folder / "queue", sink, given.queued, load, given.rounds)
            sessions = measure_sessions(folder / "sessions", sink, given.sessions, load, given.rounds)
        finally:
            sink.stop()
    flowing = f"{load.messages} messages of {load.size} bytes over {load.sessions} sessions, medians of {given.rounds}"
    if queue:
        show(f"With so many entries in the queue: {flowing}", QUEUE, queue, ("cpu", "one"))
        show("One entry of that queue, in memory", CHANGES, queue, ("claim", "update", "remove"))
    if sessions:
        show(f"Beside so many open sessions: {flowing}", SESSIONS, sessions, ("cpu",))


if __name__ == "__main__":
    main()
