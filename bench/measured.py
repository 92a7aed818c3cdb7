"""What the benches of the gateway share: loads by smtp-source, a sink that keeps nothing, CPU and memory of a process.

A bench puts tests/support on its path before it imports this: the launchers are those of the tests.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from servers import Server, is_root, needs, on_free_port, smtp_source

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Load:
    sessions: int
    messages: int
    size: int


class PlainSink(Server):
    """smtp-sink that keeps nothing."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "plain-sink")
        self.port = on_free_port(self.start_at)

    def start_at(self, port: int) -> None:
        user = ["-u", "nobody"] if is_root() else []
        command = [needs("smtp-sink", "postfix"), *user, f"127.0.0.1:{port}", "500"]
        self.launch(command, lambda: greets(port))


def greets(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        return connection.recv(3) == b"220"


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_bytes(pid: int) -> int:
    """The memory of a process that is in RAM."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def send(port: int, load: Load) -> float:
    """Send the load by smtp-source; how many seconds it took."""
    options = ["-s", str(load.sessions), "-m", str(load.messages), "-l", str(load.size)]
    start = time.monotonic()
    smtp_source("127.0.0.1", port, *options, "-f", "alice@one.example", "-t", "bob@example.org", timeout=600)
    return time.monotonic() - start
