"""The limit on open files: the process takes what it may have, and says when that may not be enough."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from gateway import Gateway, write_gateway

DESCRIPTORS = (128, 1000)  # soft, hard


def limit_of(pid: int) -> tuple[int, int]:
    found = re.search(r"Max open files +(\d+) +(\d+)", Path(f"/proc/{pid}/limits").read_text())
    assert found is not None
    return int(found[1]), int(found[2])


class Narrow(Gateway):
    """A gateway that starts with few descriptors."""

    def launch(self, command: list[str], *arguments: object, **environment: str) -> None:
        limits = f"resource.setrlimit(resource.RLIMIT_NOFILE, {DESCRIPTORS})"
        code = f"import os, resource; {limits}; os.execv({command[0]!r}, {command!r})"
        super().launch([sys.executable, "-c", code], *arguments, **environment)  # type: ignore[arg-type]


def test_the_hard_limit_is_used(tmp_path: Path) -> None:
    path = write_gateway(tmp_path, {}, server={"limits": {"connections": 1000}})
    with Narrow(path) as gateway:
        assert limit_of(gateway.workers()[0]) == (1000, 1000)
        found = gateway.find(r" few-descriptors limit=1000 wanted=(\d+) ")
        assert found is not None
        assert int(found[1]) > 2000


def test_no_warning_when_it_is_enough(tmp_path: Path) -> None:
    path = write_gateway(tmp_path, {}, server={"limits": {"connections": 100}}, queues={"concurrency": 50})
    with Narrow(path) as gateway:
        assert limit_of(gateway.workers()[0]) == (1000, 1000)
        assert gateway.find("few-descriptors") is None


def test_more_sessions_than_the_soft_limit(tmp_path: Path) -> None:
    limits = {"connections": 300, "connections_per_ip": 300}
    path = write_gateway(tmp_path, {}, server={"limits": limits}, queues={"concurrency": 50})
    with Narrow(path) as gateway:
        clients = [gateway.client() for _ in range(200)]
        assert clients[-1].noop()[0] == 250
        for client in clients:
            client.close()
