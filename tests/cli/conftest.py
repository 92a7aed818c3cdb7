"""A gateway as a process of its own: `hsl serve` on port 0, stopped by its id."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HSL = (sys.executable, "-m", "hsl.cli.main")
TIMEOUT = 30.0

CONFIG = """\
environment: {hostname: gw.example, controlsocket: c.sock}
servers:
  - id: out
    listeners: [{port: 0}]
    transport: next
    phases: {rcptto: {hook: rcptto.hsl}}
transportgroups:
  - id: group
    transports: [{id: next, session: {host: 127.0.0.1, port: 9}}]
queues:
  path: spool
  predelivery: {hook: pre.hsl}
resolver: {ptr: false, hosts: {a.example: [127.0.0.1]}}
"""


class Served:
    """A running `hsl serve`. Its log is read all the time; `wait_for` finds a line in it."""

    def __init__(self, config: Path, **environment: str) -> None:
        self.process = subprocess.Popen(
            [*HSL, "serve", "-c", str(config)],
            cwd=config.parent,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        self.lines: list[str] = []
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self.changed:
                self.lines.append(line)
                self.changed.notify_all()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match of a line of the log, one yet to come included."""

        def found() -> re.Match[str] | None:
            return next((match for line in self.lines if (match := re.search(pattern, line))), None)

        with self.changed:
            match = self.changed.wait_for(found, TIMEOUT)
        assert match is not None, f"no {pattern!r} in {self.lines}"
        return match

    def port(self) -> int:
        return int(self.wait_for(r" ready listeners=out=127\.0\.0\.1:(\d+) ")[1])

    def stop(self, number: int) -> int:
        """Send a signal and wait for the end; the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(TIMEOUT)
        self.reader.join(TIMEOUT)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(TIMEOUT)
        self.reader.join(TIMEOUT)
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "rcptto.hsl").write_text("Accept();\n")
    (tmp_path / "pre.hsl").write_text("Reschedule(600);\n")
    path = tmp_path / "smtpd.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    running: list[Served] = []

    def start(config: Path, **environment: str) -> Served:
        running.append(Served(config, **environment))
        return running[-1]

    yield start
    for served in running:
        served.close()


def hsl(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*HSL, *map(str, arguments)], capture_output=True, text=True, timeout=TIMEOUT, cwd=cwd)


@pytest.fixture(name="hsl")
def hsl_fixture() -> Callable[..., subprocess.CompletedProcess[str]]:
    return hsl
