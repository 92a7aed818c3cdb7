"""A gateway as a process of its own: `hsl serve` on port 0, stopped by its id."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from gateway import Gateway, hsl

from hsl.cli.main import main

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


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "rcptto.hsl").write_text("Accept();\n")
    (tmp_path / "pre.hsl").write_text("Reschedule(600);\n")
    path = tmp_path / "smtpd.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def serve() -> Iterator[Callable[..., Gateway]]:
    """Start gateways; those that a test does not end are killed after it."""
    running: list[Gateway] = []

    def start(config: Path, **environment: str) -> Gateway:
        running.append(Gateway(config, **environment))
        running[-1].start()
        return running[-1]

    yield start
    for gateway in running:
        gateway.kill()


@pytest.fixture(name="hsl")
def hsl_fixture() -> Callable[..., subprocess.CompletedProcess[str]]:
    return hsl


@pytest.fixture
def invoke() -> Callable[..., Result]:
    """The command in this process: quicker than `hsl`, and its exceptions come through."""

    def run(*arguments: str | Path, stdin: str | bytes | None = None) -> Result:
        return CliRunner(catch_exceptions=False).invoke(main, [str(item) for item in arguments], input=stdin)

    return run


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., Path]:
    """Writes a script file."""

    def write(text: str | bytes, name: str = "script.hsl") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write
