"""Functions that act on the host, with and without one: sleep, clocks, log, serial number, name."""

from __future__ import annotations

import os
import socket
import time
import uuid
from typing import Any

import pytest

from hsl import bridge
from hsl.errors import BudgetError, ScriptError


class Host:
    """A host that writes down what it was asked."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.logged: list[tuple[int, bytes]] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def time(self) -> float:
        return 1425470460.5

    def syslog(self, priority: int, message: bytes) -> None:
        self.logged.append((priority, message))

    def serial(self) -> bytes:
        return b"00000042"

    def hostname(self) -> bytes:
        return b"mx.example.com"


@pytest.mark.asyncio
async def test_sleep_is_the_hosts(call: Any, make_run: Any) -> None:
    host = Host()
    run = make_run(host)
    slept = await bridge.run_script(lambda: call("sleep", 3, run=run))
    assert host.slept == [3.0]
    assert isinstance(slept, float)


@pytest.mark.asyncio
async def test_sleep_lasts_no_longer_than_the_budget(call: Any, make_run: Any) -> None:
    host = Host()
    run = make_run(host, seconds=0.0)
    with pytest.raises(BudgetError):
        await bridge.run_script(lambda: call("sleep", float("inf"), run=run))
    assert host.slept == [0.0]


@pytest.mark.asyncio
async def test_sleep_never_stops_an_event_loop(call: Any) -> None:
    with pytest.raises(ScriptError, match="the host of this script cannot wait"):
        await bridge.run_script(lambda: call("sleep", 1))


def test_sleep_without_a_host(call: Any, make_run: Any) -> None:
    assert call("sleep", 0.01) >= 0.01
    assert call("sleep", -5) >= 0.0
    with pytest.raises(BudgetError):
        call("sleep", 1000, run=make_run(seconds=0.02))


def test_times(call: Any, make_run: Any) -> None:
    run = make_run(Host())
    assert call("time", run=run) == 1425470460.5
    assert call("timelocal", run=run) == 1425470460.5 + time.localtime(1425470460).tm_gmtoff
    assert call("strftime", "%Y", run=run) == b"2015"
    assert call("strptime", "00:00:01", "%H:%M:%S", {"local": False}, run=run) == 1425427201.0
    assert abs(call("time") - time.time()) < 60
    assert 0 <= call("executiontime", run=run) < 60
    assert call("uptime") <= call("uptime")


def test_local_time_there_and_back(call: Any) -> None:
    text = call("strftime", "%Y-%m-%d %H:%M:%S", 1425470460)
    assert call("strptime", text, "%Y-%m-%d %H:%M:%S") == 1425470460.0


@pytest.mark.parametrize(("priority", "wanted"), [("emerg", 0), ("err", 3), ("debug", 7), (3 + (4 << 3), 35), (6.9, 6)])
def test_syslog_to_a_host(call: Any, make_run: Any, priority: Any, wanted: int) -> None:
    host = Host()
    call("syslog", priority, b"a\x00\xff", run=make_run(host))
    assert host.logged == [(wanted, b"a\x00\xff")]


def test_syslog_without_a_host_is_an_echo(call: Any, output: list[bytes]) -> None:
    call("syslog", "warning", "disk full")
    call("syslog", 3 + (4 << 3), "bad")
    assert output == [b"warning: disk full\n", b"err: bad\n"]


def test_the_installation(call: Any, make_run: Any) -> None:
    assert call("serial", run=make_run(Host())) == b"00000042"
    assert call("serial") == call("serial") != b""
    assert call("gethostname", run=make_run(Host())) == b"mx.example.com"
    assert call("gethostname") == os.fsencode(socket.gethostname())
    assert uuid.UUID(call("uuid").decode()).version == 4
    assert call("uuid") != call("uuid")
