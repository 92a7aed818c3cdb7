"""What a service manager hears of a gateway: start, reload, watchdog and stop, over a socket like systemd's."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import suppress
from pathlib import Path

import pytest
from gateway import DEADLINE, Gateway, write_gateway

UNIT = Path(__file__).resolve().parents[2] / "systemd" / "hsl.service"


class Manager:
    """The receiving end of sd_notify(3)."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(DEADLINE)

    def next(self) -> dict[str, str]:
        """The states of the next datagram that is not the watchdog's."""
        while True:
            states = dict(line.split("=", 1) for line in self.socket.recv(4096).decode().split("\n"))
            if "WATCHDOG" not in states:
                return states

    def drain(self) -> int:
        """How many datagrams have come."""
        count = 0
        self.socket.settimeout(0)
        with suppress(BlockingIOError):
            while self.socket.recv(4096):
                count += 1
        self.socket.settimeout(DEADLINE)
        return count


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Manager, str]]:
    name = str(tmp_path / "notify.sock") if request.param == "path" else f"@hsl-test-{os.getpid()}"
    made = Manager(name.replace("@", "\0", 1))
    yield made, name
    made.socket.close()


def test_start_reload_and_stop(tmp_path: Path, manager: tuple[Manager, str]) -> None:
    heard, name = manager
    with Gateway(write_gateway(tmp_path, {"rcptto": "Accept();"}), NOTIFY_SOCKET=name) as gateway:
        assert heard.next() == {"READY": "1", "STATUS": "1 of 1 workers run"}
        for script, done in (("Reject(;", " reload-failed "), ("Reject();", " reloaded ")):
            (tmp_path / "rcptto.hsl").write_text(script)
            before = time.monotonic_ns() // 1000
            gateway.send_signal(signal.SIGHUP)
            states = heard.next()
            assert states.keys() == {"RELOADING", "MONOTONIC_USEC"}
            assert before <= int(states["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
            assert heard.next()["READY"] == "1", "it is up, whether the new set was taken or not"
            gateway.wait_for(done)
        environment = Path(f"/proc/{gateway.workers()[0]}/environ").read_bytes()
        assert b"NOTIFY_SOCKET" not in environment, "no other process is to speak for the service"
        assert gateway.end() == 0
        assert heard.next() == {"STOPPING": "1"}


def test_the_watchdog_hears_of_us_as_long_as_the_workers_answer(tmp_path: Path) -> None:
    heard = Manager(str(tmp_path / "notify.sock"))
    path = write_gateway(tmp_path, {})
    with Gateway(path, NOTIFY_SOCKET=str(tmp_path / "notify.sock"), WATCHDOG_USEC="600000") as gateway:
        assert heard.next()["READY"] == "1"
        for _ in range(3):
            assert heard.socket.recv(4096) == b"WATCHDOG=1"
        worker = gateway.workers()[0]
        os.kill(worker, signal.SIGSTOP)
        try:
            gateway.wait_for(r" error worker-silent .*worker 0: no answer to ping")
            heard.drain()
            gateway.wait_for(r" error worker-silent ", gateway.count(" worker-silent ") + 2)
            assert heard.drain() == 0
        finally:
            os.kill(worker, signal.SIGCONT)
        assert heard.socket.recv(4096) == b"WATCHDOG=1"
    heard.socket.close()


def test_the_watchdog_of_another_process_is_not_ours(tmp_path: Path) -> None:
    heard = Manager(str(tmp_path / "notify.sock"))
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify.sock"), "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
    with Gateway(write_gateway(tmp_path, {}), **environment):
        assert heard.next()["READY"] == "1"
    assert heard.socket.recv(4096) == b"STOPPING=1"
    heard.socket.close()


def test_the_unit_file_fits_the_program() -> None:
    unit = ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT)
    service = unit["Service"]
    assert service["Type"] == "notify", "notify-reload is a mistake to Debian 12's systemd, which then reloads nothing"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert re.fullmatch(r"\S+/hsl serve -c \S+/smtpd\.yaml --grace \d+", service["ExecStart"])
    grace = int(service["ExecStart"].rpartition(" ")[2])
    assert int(service["TimeoutStopSec"]) > grace + 15, "else a stop in order is cut off"
    assert service["KillMode"] == "mixed", "SIGTERM is for the supervisor"
