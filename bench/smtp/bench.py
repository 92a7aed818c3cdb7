"""The gateway beside bare aiosmtpd: the same load, machine, run and event loop.

(a) aiosmtpd with a handler that answers 250 · (b) the gateway with the outbound scripts, durable queue, delivery into
smtp-sink running · (c) the same without scripts. Each several times in turn; medians and their ratios are printed.
Messages per second are those accepted; CPU is the server process's own, deliveries of (b) and (c) included.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent / "tests" / "support")]  # the launchers that the tests use

from gateway import Gateway, outbound_scripts, write_gateway  # noqa: E402
from measured import Load, PlainSink, cpu_seconds, send  # noqa: E402
from servers import Server  # noqa: E402

NAMES = {
    "a": "(a) bare aiosmtpd, keeps nothing",
    "b": "(b) gateway, scripts, durable queue",
    "c": "(c) gateway without scripts",
}


@dataclass(frozen=True)
class Figure:
    """Accepted messages per second, milliseconds of CPU per message, seconds until all is delivered."""

    rate: float
    cpu: float
    drained: float | None = None


class Bare(Server):
    """The yardstick: bare.py."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "bare")
        self.launch([sys.executable, str(HERE / "bare.py")], lambda: self.log.read_text().endswith("\n"))
        self.port = int(self.log.read_text())


def measure_bare(folder: Path, load: Load) -> Figure:
    server = Bare(folder)
    try:
        before = cpu_seconds(server.pid)
        seconds = send(server.port, load)
        return Figure(load.messages / seconds, (cpu_seconds(server.pid) - before) / load.messages * 1000)
    finally:
        server.stop()


def measure_gateway(folder: Path, load: Load, sink: PlainSink, scripts: dict[str, str]) -> Figure:
    config = write_gateway(
        Path(tempfile.mkdtemp(dir=folder)),
        scripts,
        server={"limits": {"connections_per_ip": 1000}},
        session={"host": "127.0.0.1", "port": sink.port, "tls": "disabled"},
        environment={"log": "info"},
    )
    with Gateway(config) as gateway:
        before = cpu_seconds(gateway.pid)
        start = time.monotonic()
        seconds = send(gateway.port, load)
        gateway.wait_drained(600)
        drained = time.monotonic() - start
        return Figure(load.messages / seconds, (cpu_seconds(gateway.pid) - before) / load.messages * 1000, drained)


def median(figures: list[Figure]) -> Figure:
    drained = [item.drained for item in figures if item.drained is not None]
    return Figure(
        statistics.median(item.rate for item in figures),
        statistics.median(item.cpu for item in figures),
        statistics.median(drained) if drained else None,
    )


def show(rows: dict[str, list[Figure]], load: Load) -> None:
    loop = "asyncio" if os.environ.get("HSL_LOOP") == "asyncio" else "uvloop"
    print(f"\n{load.messages} messages of {load.size} bytes, {load.sessions} sessions, {loop}, embedded scanner,")
    print(f"the bench's own limits.hsl; medians of {len(rows['a'])} rounds\n")
    print(f"{'':36} {'msg/s':>8} {'CPU ms/msg':>11} {'drained s':>10} {'of (a)':>7}")
    base = median(rows["a"])
    for key, figures in rows.items():
        item = median(figures)
        drained = "" if item.drained is None else f"{item.drained:.1f}"
        print(f"{NAMES[key]:36} {item.rate:8.0f} {item.cpu:11.2f} {drained:>10} {item.rate / base.rate:7.2f}")
    scripts, plain = median(rows["b"]), median(rows["c"])
    print(f"\n(b) / (a) = {scripts.rate / base.rate:.2f}   (b) / (c) = {scripts.rate / plain.rate:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--size", type=int, default=4096)
    given = parser.parse_args()
    load = Load(given.sessions, given.messages, given.size)
    scripts = outbound_scripts() | {"limits.hsl": (HERE / "limits.hsl").read_text()}
    rows: dict[str, list[Figure]] = {"a": [], "b": [], "c": []}
    with tempfile.TemporaryDirectory(prefix="hsl-bench-") as name:
        folder = Path(name)
        sink = PlainSink(folder)
        try:
            for _ in range(given.rounds):
                rows["a"].append(measure_bare(folder, load))
                rows["b"].append(measure_gateway(folder, load, sink, scripts))
                rows["c"].append(measure_gateway(folder, load, sink, {}))
                print(".", end="", flush=True)
        finally:
            sink.stop()
    show(rows, load)


if __name__ == "__main__":
    main()
