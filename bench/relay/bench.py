"""Our gateway beside Postfix and Haraka: smtp-source → server → smtp-sink, in one run, on one machine.

Postfix 3.7 with its queue · Haraka 3.3 with its queue and a plugin that keeps the same rates · ours, compiled, with the
outbound scripts, with one worker and with two · ours without scripts, to see what these cost. Each once with a
connection for each message and once with connections kept open, several rounds in turn; medians are printed.

Accepted: until smtp-source has its last 250. Delivered: until the sink has every message. CPU: user and system time of
all processes of the server. Memory: their proportional share (PSS) when the sink has all.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "tests" / "support"), str(HERE.parent)]  # the launchers of tests and benches

from gateway import Gateway, outbound_scripts, write_gateway  # noqa: E402
from measured import Load, cpu_seconds, greets, send, shared_bytes  # noqa: E402
from others import Haraka, Postfix  # noqa: E402
from servers import Server, is_root, needs, on_free_port, redis_server  # noqa: E402

LIMITS = HERE / "limits.hsl"
WAIT = 300.0  # seconds until the sink has all
NAMES = {
    "postfix": "Postfix",
    "haraka": "Haraka",
    "one": "ours, one worker",
    "two": "ours, two workers",
    "plain": "ours, one worker, no scripts",
}
MODES = {"closed": "a connection for each message", "open": "connections kept open"}


@dataclass(frozen=True)
class Figure:
    """Messages per second accepted and delivered, milliseconds of CPU per message, MiB of memory."""

    accepted: float
    delivered: float
    cpu: float
    memory: float


class CountingSink(Server):
    """smtp-sink that keeps nothing but a count."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "counting-sink")
        self.port = on_free_port(self.start_at)

    def start_at(self, port: int) -> None:
        user = ["-u", "nobody"] if is_root() else []
        command = [needs("smtp-sink", "postfix"), "-c", *user, f"127.0.0.1:{port}", "1000"]
        self.launch(command, lambda: greets(port))

    def messages(self) -> int:
        """How many it has taken."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - 200))
            counts = re.findall(rb"mesg=(\d+)", log.read())
        return int(counts[-1]) if counts else 0

    def wait_for(self, count: int) -> None:
        """Raises TimeoutError when they do not come."""
        deadline = time.monotonic() + WAIT
        while self.messages() < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the sink has {self.messages()} of {count} messages after {WAIT:g} s")
            time.sleep(0.005)


# the servers


@contextmanager
def other(start: Callable[[], Server]) -> Iterator[tuple[int, int]]:
    server = start()
    try:
        yield server.pid, server.port  # type: ignore[attr-defined]
    finally:
        server.stop()


@contextmanager
def ours(folder: Path, sink: int, workers: int, scripts: bool) -> Iterator[tuple[int, int]]:
    with ExitStack() as stack:
        sections = {}
        if workers > 1:
            url = stack.enter_context(redis_server(folder))
            sections = {"state": {"backend": "redis", "url": url}}
        config = write_gateway(
            folder,
            outbound_scripts() | {"limits.hsl": LIMITS.read_text()} if scripts else {},
            server={"limits": {"connections_per_ip": 1000}},
            session={"host": "127.0.0.1", "port": sink, "tls": "disabled"},
            environment={"workers": workers},
            **sections,
        )
        gateway = stack.enter_context(Gateway(config))
        yield gateway.pid, gateway.port


def numbers() -> dict[str, int]:
    """What limits.hsl sets."""
    return {name: int(number) for name, number in re.findall(r"^\$(\w+) = (\d+);", LIMITS.read_text(), re.M)}


def measure(key: str, mode: str, load: Load, parent: Path, sink: CountingSink) -> Figure:
    folder = Path(tempfile.mkdtemp(dir=parent))
    folder.chmod(0o755)
    servers = {
        "postfix": lambda: other(lambda: Postfix(folder, sink.port)),
        "haraka": lambda: other(lambda: Haraka(folder, sink.port, numbers())),
        "one": lambda: ours(folder, sink.port, 1, True),
        "two": lambda: ours(folder, sink.port, 2, True),
        "plain": lambda: ours(folder, sink.port, 1, False),
    }
    with servers[key]() as (pid, port):
        had, cpu, start = sink.messages(), cpu_seconds(pid), time.monotonic()
        accepted = send(port, load, *(["-d"] if mode == "open" else []))
        sink.wait_for(had + load.messages)
        delivered = time.monotonic() - start
        spent, held = cpu_seconds(pid) - cpu, shared_bytes(pid) / 2**20
    count = load.messages
    return Figure(count / accepted, count / delivered, spent / count * 1000, held)


# what is printed


def median(figures: list[Figure]) -> Figure:
    names = ("accepted", "delivered", "cpu", "memory")
    return Figure(*(statistics.median(getattr(item, name) for item in figures) for name in names))


def show(mode: str, rows: dict[str, list[Figure]]) -> None:
    found = {key: median(figures) for key, figures in rows.items()}
    print(f"\n{MODES[mode]}:\n")
    heads = ("", "accepted/s", "delivered/s", "CPU ms/msg", "MiB", "× Postfix", "× Haraka")
    print("{:30} {:>11} {:>12} {:>11} {:>6} {:>10} {:>9}".format(*heads))
    for key, item in found.items():
        ratios = [ratio(item, found.get(other)) for other in ("postfix", "haraka")]
        print(
            f"{NAMES[key]:30} {item.accepted:11.0f} {item.delivered:12.0f} {item.cpu:11.2f} {item.memory:6.0f}"
            f" {ratios[0]:>10} {ratios[1]:>9}"
        )
    if {"one", "plain"} <= set(found):
        share = 1 - found["plain"].cpu / found["one"].cpu
        print(f"\nscripts: {share:.0%} of our CPU (with against without)")


def ratio(figure: Figure, other: Figure | None) -> str:
    return "" if other is None else f"{figure.delivered / other.delivered:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--only", nargs="+", choices=list(NAMES), default=list(NAMES))
    given = parser.parse_args()
    load = Load(given.sessions, given.messages, given.size)
    print(f"{load.messages} messages of {load.size} bytes, {load.sessions} sessions, medians of {given.rounds} rounds.")
    print("Embedded scanner and the bench's own limits.hsl, with limits that are not reached. Haraka does not sync its")
    print("queue to disk, Postfix and ours do, before the 250.")
    with tempfile.TemporaryDirectory(prefix="hsl-bench-") as name:
        Path(name).chmod(0o755)
        sink = CountingSink(Path(name))
        try:
            for mode in MODES:
                rows: dict[str, list[Figure]] = {key: [] for key in given.only}
                for _ in range(given.rounds):
                    for key, figures in rows.items():
                        figures.append(measure(key, mode, load, Path(name), sink))
                show(mode, rows)
        finally:
            sink.stop()


if __name__ == "__main__":
    main()
