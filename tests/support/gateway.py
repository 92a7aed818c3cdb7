"""`hsl serve` as a process of its own: a configuration and scripts go into a folder; a running gateway comes out.

It listens on ports of the system's choice (port 0) and is ended by its id. Loopback only.
"""

from __future__ import annotations

import json
import re
import signal
import smtplib
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from servers import Server

from hsl.smtpd.control import ControlClient

HSL = (sys.executable, "-m", "hsl.cli.main")
SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
DEADLINE = 30.0  # seconds until something that hangs fails the test
DELIVERY = ("predelivery", "postdelivery")
MESSAGE = "Subject: a test\r\n\r\nHello\r\n"
ADDRESSES = [
    {"id": str(number), "address": f"127.0.0.1{number}", "hostname": f"out{number}.example.net"}
    for number in range(1, 5)
]


def hsl(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run([*HSL, *map(str, arguments)], capture_output=True, text=True, timeout=DEADLINE, cwd=cwd)


class Gateway(Server):
    """The gateway of a configuration. A context manager: it starts, and it must end by SIGTERM with exit code 0.

    `start` after `kill` starts it on the same configuration, with a log of its own. `options` are those of `hsl serve`.
    """

    def __init__(self, config: Path, *options: str, **environment: str) -> None:
        super().__init__(config.parent, "gateway")
        self.config = config
        self.options = options
        self.environment = environment
        self.starts = 0
        self.listeners: dict[str, list[int]] = {}  # ports by server id
        self.control = Path()

    def start(self) -> None:
        self.starts += 1
        self.log = self.directory / f"gateway-{self.starts}.log"
        command = [*HSL, "serve", "-c", str(self.config), *self.options]
        self.launch(command, lambda: self.find(" ready ") is not None, **self.environment)
        ready = self.wait_for(r" ready listeners=(\S+) control=(\S+)")
        self.listeners = {}
        for listener in ready[1].split(","):
            name, _, endpoint = listener.partition("=")
            self.listeners.setdefault(name, []).append(int(endpoint.rpartition(":")[2]))
        self.control = Path(ready[2])

    @property
    def port(self) -> int:
        """The port of the first listener."""
        return next(iter(self.listeners.values()))[0]

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def send_signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code."""
        self.send_signal(number)
        assert self.process is not None
        return self.process.wait(DEADLINE)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if self.running:
                code = self.end()
                assert code == 0 or kind is not None, f"the gateway ended with {code}: {self.output()[-2000:]}"
        finally:
            self.kill()

    # the workers

    def workers(self) -> dict[int, int]:
        """The pid of each worker that runs now."""
        found = re.findall(r" worker-started worker=(\d+) pid=(\d+)", self.output())
        return {int(number): int(pid) for number, pid in found}

    # the log

    def output(self) -> str:
        """The log since the last start."""
        return self.log.read_text("utf-8", "replace")

    def find(self, pattern: str) -> re.Match[str] | None:
        return re.search(pattern, self.output())

    def count(self, pattern: str) -> int:
        """How often the log has it by now."""
        return len(re.findall(pattern, self.output()))

    def wait_for(self, pattern: str, count: int = 1) -> re.Match[str]:
        """The first match in the log, once there are `count` of them; `.` ends at the line."""
        wait_until(lambda: self.count(pattern) >= count, lambda: f"{count} × {pattern!r} in\n{self.output()[-5000:]}")
        match = self.find(pattern)
        assert match is not None
        return match

    # the queue

    def ask(self, command: str, **request: object) -> dict[str, Any]:
        """Ask the running gateway over its control socket, as `hsl queue` does."""
        with closing(ControlClient(self.control, DEADLINE)) as client:
            return client.ask({"command": command, **request})

    def queued(self, **filters: str) -> int:
        """How many entries are in the queue of the running gateway."""
        return int(self.ask("metric", filters={name: [value] for name, value in filters.items()})["value"])

    def entries(self, **filters: str) -> list[dict[str, Any]]:
        """The entries of the queue, by `hsl queue list`: from the running gateway, else from its files."""
        options = [word for name, value in filters.items() for word in (f"--{name}", value)]
        done = hsl("queue", "list", "-c", self.config, "--limit", "1000000", "--json", *options)
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout))

    def wait_drained(self, timeout: float = DEADLINE) -> None:
        """Wait until the queue is empty."""
        wait_until(lambda: self.queued() == 0, lambda: f"an empty queue, there are {self.queued()}", timeout)

    # clients

    def client(self, address: str = "127.0.0.1", greet: bool = True, server: str | None = None) -> smtplib.SMTP:
        """A client that comes from a loopback address, its EHLO said."""
        port = self.listeners[server][0] if server else self.port
        client = smtplib.SMTP("127.0.0.1", port, "client.example.com", DEADLINE, source_address=(address, 0))
        if greet:
            client.ehlo()
        return client

    def send(
        self,
        sender: str,
        *recipients: str,
        message: str | bytes = MESSAGE,
        login: tuple[str, str] | None = None,
        server: str | None = None,
    ) -> tuple[int, str]:
        """Send one mail in a session of its own: the first refusal, else the reply to its end of data."""
        with self.client(server=server) as client:
            if login is not None:
                client.login(*login)
            return submit(client, sender, *recipients, message=message)


def submit(client: smtplib.SMTP, sender: str, *recipients: str, message: str | bytes = MESSAGE) -> tuple[int, str]:
    """One mail transaction: the first refusal, else the reply to its end of data."""
    code, text = client.mail(sender)
    for recipient in recipients:
        if code < 400:
            code, text = client.rcpt(recipient)
    if code < 400:
        code, text = client.data(message)
    return code, text.decode()


def wait_until(true: Callable[[], bool], wanted: Callable[[], str], timeout: float = DEADLINE) -> None:
    """Wait for something that comes; fail with what was wanted when it does not."""
    deadline = time.monotonic() + timeout
    while not true():
        if time.monotonic() > deadline:
            pytest.fail(f"after {timeout} s, wanted: {wanted()}")
        time.sleep(0.02)


# configurations


def write_gateway(
    folder: Path,
    scripts: Mapping[str, str],
    *,
    server: Mapping[str, Any] | None = None,
    session: Mapping[str, Any] | None = None,
    group: Mapping[str, Any] | None = None,
    **sections: Mapping[str, Any],
) -> Path:
    """Write scripts and `smtpd.yaml` (JSON is YAML) into a folder; the configuration's path.

    `scripts`: a stage's name makes a hook, any other name is a file. The rest goes into (and over) the sections of that
    name, `server` into the one server, `group` into the one transport group, `session` into its one transport.
    Clients on 127.0.0.1 may relay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    hooks = {name: {"hook": f"{name}.hsl"} for name in scripts if not name.endswith(".hsl")}
    for name, source in scripts.items():
        (folder / name).with_suffix(".hsl").write_text(source)
    config: dict[str, Any] = {
        "environment": {"hostname": "gateway.example.net", "controlsocket": "c.sock"},
        "servers": [
            {
                "id": "in",
                "transport": "next",
                "listeners": [{"port": 0}],
                "relay": {"networks": ["127.0.0.1/32"]},
                "phases": {stage: hook for stage, hook in hooks.items() if stage not in DELIVERY},
                **(server or {}),
            }
        ],
        "transportgroups": [{"id": "group", "transports": [{"id": "next", "session": session or {}}], **(group or {})}],
        "addresses": ADDRESSES,
        "queues": {"path": "queue", **{stage: hook for stage, hook in hooks.items() if stage in DELIVERY}},
        "resolver": {"ptr": False, "hosts": {"localhost": ["127.0.0.1"]}},
        "scripting": {"rootpath": "."},
    }
    for name, section in sections.items():
        config[name] = config.get(name, {}) | section
    path = folder / "smtpd.yaml"
    path.write_text(json.dumps(config, indent=1))
    return path


def mail_hosts(**domains: str) -> dict[str, Any]:
    """A resolver section: the mail host's address of each domain, `good="127.0.0.1"` for good.example."""
    return {
        "hosts": {f"mx.{name}.example": [address] for name, address in domains.items()},
        "mx": {f"{name}.example": [f"mx.{name}.example"] for name in domains},
    }


def sample_scripts(folder: str, **limits: int) -> dict[str, str]:
    """The scripts of a folder of scripts/, with these numbers in their limits.hsl."""
    scripts = {path.stem: path.read_text() for path in (SCRIPTS / folder).glob("*.hsl")}
    text = scripts.pop("limits")
    for name, number in limits.items():
        text, found = re.subn(rf"^\${name} = \d+;", f"${name} = {number};", text, flags=re.M)
        assert found == 1, f"limits.hsl has no ${name}"
    return {**scripts, "limits.hsl": text}


def outbound_scripts(**limits: int) -> dict[str, str]:
    """The scripts of scripts/outbound."""
    return sample_scripts("outbound", **limits)
