"""The gateway beside bare aiosmtpd: the same load, machine, run and event loop.

(a) aiosmtpd with a handler that answers 250 · (b) the gateway with the outbound scripts, durable queue, delivery running
into smtp-sink · (c) the same without scripts. Each several times in turn; the medians and their ratios are printed.
Messages per second are those accepted; CPU is the server process's own, delivery included in (b) and (c).
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))  # the launchers that the tests use

from servers import Server, free_port, needs, on_free_port  # noqa: E402

CONFIG = """\
version: 1
environment: {{ hostname: gateway.example.net, log: warning }}
servers:
  - id: bench
    transport: sink
    listeners: [{{ address: 127.0.0.1, port: {port} }}]
    relay: {{ networks: [127.0.0.1/32] }}
    limits: {{ connections_per_ip: 1000 }}
{phases}
transportgroups:
  - id: default
    transports: [{{ id: sink, session: {{ host: {sink}, port: {sink_port}, tls: disabled }} }}]
addresses:
  - {{ id: "1", address: 127.0.0.11, hostname: out1.example.net }}
  - {{ id: "2", address: 127.0.0.12, hostname: out2.example.net }}
  - {{ id: "3", address: 127.0.0.13, hostname: out3.example.net }}
  - {{ id: "4", address: 127.0.0.14, hostname: bulk.example.net }}
queues:
  path: queue
{hooks}
scripting: {{ rootpath: . }}
resolver: {{ ptr: false, hosts: {{ localhost: [127.0.0.1] }} }}
"""
PHASES = "    phases: { rcptto: { hook: rcptto.hsl }, data: { hook: data.hsl } }"
HOOKS = "  predelivery: { hook: predelivery.hsl }\n  postdelivery: { hook: postdelivery.hsl }"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    sessions: int
    messages: int
    size: int


@dataclass(frozen=True)
class Figure:
    """One measurement: accepted messages per second, milliseconds of CPU per message, seconds until all is delivered."""

    rate: float
    cpu: float
    drained: float | None = None


class PlainSink(Server):
    """smtp-sink that counts and keeps nothing."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "plain-sink")
        self.port = on_free_port(self.start_at)

    def start_at(self, port: int) -> None:
        command = [needs("smtp-sink", "postfix"), "-u", "nobody"] if os.geteuid() == 0 else [needs("smtp-sink", "postfix")]
        self.launch([*command, f"127.0.0.1:{port}", "500"], lambda: greets(port))


def greets(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        return connection.recv(3) == b"220"


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def send(port: int, load: Load) -> float:
    """Send the load by smtp-source; how many seconds it took."""
    command = [needs("smtp-source", "postfix"), "-s", str(load.sessions), "-m", str(load.messages), "-l", str(load.size)]
    command += ["-f", "alice@one.example", "-t", "bob@example.org", f"127.0.0.1:{port}"]
    start = time.monotonic()
    subprocess.run(command, check=True, timeout=600)
    return time.monotonic() - start


@contextmanager
def process(command: list[str], log: Path) -> Iterator[subprocess.Popen[str]]:
    with log.open("w") as errors:
        running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(30)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
        assert running.stdout is not None
        running.stdout.close()


def measure_bare(folder: Path, load: Load) -> Figure:
    with process([sys.executable, str(HERE / "bare.py")], folder / "bare.log") as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        before = cpu_seconds(server.pid)
        seconds = send(port, load)
        return Figure(load.messages / seconds, (cpu_seconds(server.pid) - before) / load.messages * 1000)


def measure_gateway(folder: Path, load: Load, sink: PlainSink, scripts: bool) -> Figure:
    place = Path(tempfile.mkdtemp(dir=folder))
    for script in (ROOT / "scripts" / "outbound").glob("*.hsl"):
        shutil.copy(script, place)
    shutil.copy(HERE / "limits.hsl", place)
    port = free_port()
    phases, hooks = (PHASES, HOOKS) if scripts else ("", "")
    config = CONFIG.format(port=port, sink="127.0.0.1", sink_port=sink.port, phases=phases, hooks=hooks)
    (place / "smtpd.yaml").write_text(config)
    hsl = str(Path(sys.executable).with_name("hsl"))
    with process([hsl, "serve", "-c", str(place / "smtpd.yaml")], place / "gateway.log") as server:
        wait_for(port, server, place / "gateway.log")
        before = cpu_seconds(server.pid)
        start = time.monotonic()
        seconds = send(port, load)
        while queued(hsl, place) > 0:
            time.sleep(0.2)
        drained = time.monotonic() - start
        return Figure(load.messages / seconds, (cpu_seconds(server.pid) - before) / load.messages * 1000, drained)


def queued(hsl: str, place: Path) -> int:
    command = [hsl, "queue", "metric", "-c", str(place / "smtpd.yaml")]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


def wait_for(port: int, server: subprocess.Popen[str], log: Path) -> None:
    for _ in range(600):
        if server.poll() is not None:
            raise SystemExit("the gateway did not start:\n" + log.read_text())
        try:
            if greets(port):
                return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the gateway does not answer")


def median(figures: list[Figure]) -> Figure:
    drained = [item.drained for item in figures if item.drained is not None]
    return Figure(
        statistics.median(item.rate for item in figures),
        statistics.median(item.cpu for item in figures),
        statistics.median(drained) if drained else None,
    )


def show(rows: dict[str, list[Figure]], load: Load) -> None:
    print(f"\n{load.messages} messages of {load.size} bytes, {load.sessions} sessions, medians of {len(rows['a'])} rounds")
    loop = "asyncio" if os.environ.get("HSL_LOOP") == "asyncio" else "uvloop"
    print(f"event loop: {loop}; embedded scanner; the bench's own limits.hsl\n")
    print(f"{'':36} {'msg/s':>8} {'CPU ms/msg':>11} {'drained s':>10} {'of (a)':>7}")
    names = {"a": "(a) bare aiosmtpd, keeps nothing", "b": "(b) gateway, scripts, durable", "c": "(c) gateway without scripts"}
    base = median(rows["a"])
    for key, figures in rows.items():
        item = median(figures)
        drained = "" if item.drained is None else f"{item.drained:.1f}"
        print(f"{names[key]:36} {item.rate:8.0f} {item.cpu:11.2f} {drained:>10} {item.rate / base.rate:7.2f}")
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
    rows: dict[str, list[Figure]] = {"a": [], "b": [], "c": []}
    with tempfile.TemporaryDirectory(prefix="hsl-bench-") as name:
        folder = Path(name)
        sink = PlainSink(folder)
        try:
            for _ in range(given.rounds):
                rows["a"].append(measure_bare(folder, load))
                rows["b"].append(measure_gateway(folder, load, sink, scripts=True))
                rows["c"].append(measure_gateway(folder, load, sink, scripts=False))
                print(".", end="", flush=True)
        finally:
            sink.stop()
    show(rows, load)


if __name__ == "__main__":
    main()
