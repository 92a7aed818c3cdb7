"""What the benches of the gateway share: loads by smtp-source, a sink that keeps nothing, CPU and memory of a server.

A bench puts tests/support on its path before it imports this: the launchers are those of the tests.
"""

from __future__ import annotations

import os
import re
import socket
import time
from contextlib import suppress
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


def family(pid: int) -> set[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            children.setdefault(int(fields_of(stat)[1]), []).append(int(stat.parent.name))
    found, ahead = set(), [pid]
    while ahead:
        found.add(one := ahead.pop())
        ahead += children.get(one, [])
    return found


def fields_of(stat: Path) -> list[str]:
    """What stands in a /proc/PID/stat behind the process's name."""
    return stat.read_text().rpartition(")")[2].split()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its family, those that have ended included."""
    ticks = 0
    for member in family(pid):
        with suppress(OSError):
            ticks += sum(map(int, fields_of(Path(f"/proc/{member}/stat"))[11:15]))
    return ticks / TICKS


def shared_bytes(pid: int) -> int:
    """The memory of a process and its family; pages that several use count in shares (PSS)."""
    total = 0
    for member in family(pid):
        with suppress(OSError):
            found = re.search(r"^Pss: +(\d+)", Path(f"/proc/{member}/smaps_rollup").read_text(), re.M)
            total += int(found[1]) * 1024 if found else 0
    return total


def resident_bytes(pid: int) -> int:
    """The memory of a process that is in RAM."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def send(port: int, load: Load, *options: str) -> float:
    """Send the load by smtp-source; how many seconds it took."""
    words = ["-s", str(load.sessions), "-m", str(load.messages), "-l", str(load.size), *options]
    start = time.monotonic()
    smtp_source("127.0.0.1", port, *words, "-f", "alice@one.example", "-t", "bob@example.org", timeout=600)
    return time.monotonic() - start
