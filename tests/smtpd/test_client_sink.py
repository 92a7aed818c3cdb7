"""End to end into Postfix's smtp-sink, which nobody here wrote."""

from __future__ import annotations

import asyncio
import os
import pwd
import random
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hsl.runtime.dns import TableResolver
from hsl.runtime.log import Log
from hsl.runtime.model import Address, Attempt, DeliveryPlan, QueueEntry, SourceIP
from hsl.smtpd.client import Deliverer
from hsl.smtpd.dialogue import Timeouts
from hsl.smtpd.pool import PoolLimits

BODY = b"Subject: sink\r\n\r\n.dot\r\n" + b"x" * 70 + b"\r\n"
SENDER, RECIPIENT = Address(b"s", b"from.example"), Address(b"r", b"to.example")


class Bytes:
    size = len(BODY)

    def chunks(self) -> Iterator[bytes]:
        yield BODY


@pytest.fixture
def dumps() -> Iterator[Path]:
    """A folder that smtp-sink may write to: as root it runs as nobody."""
    folder = Path(tempfile.mkdtemp(prefix="sink-"))
    if os.getuid() == 0:
        os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
    yield folder
    shutil.rmtree(folder)


@asynccontextmanager
async def run_sink(folder: Path, *options: str) -> AsyncIterator[tuple[str, int]]:
    """smtp-sink on an address of its own (it cannot report a port that it chose)."""
    ip = f"127.{random.randint(1, 254)}.{random.randint(1, 254)}.{random.randint(2, 254)}"
    with socket.socket() as probe:
        probe.bind((ip, 0))
        port = probe.getsockname()[1]
    program = shutil.which("smtp-sink", path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert program is not None, "smtp-sink is missing: install the package postfix"
    user = ["-u", "nobody"] if os.getuid() == 0 else []
    arguments = [*user, "-R", str(folder), "-d", "m.", *options, f"{ip}:{port}", "50"]
    process = await asyncio.create_subprocess_exec(program, *arguments)
    try:
        async with asyncio.timeout(10):
            while not await is_listening(ip, port):
                assert process.returncode is None
                await asyncio.sleep(0.02)
        yield ip, port
    finally:
        process.terminate()
        await process.wait()


async def is_listening(ip: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(ip, port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def deliver(ip: str, port: int, count: int, **timeouts: float) -> list[Attempt]:
    deliverer = Deliverer(
        resolver=TableResolver({"sink.example": [ip]}, {"to.example": ["sink.example"]}),
        hostname="gateway.example",
        log=Log("critical"),
        limits=PoolLimits(),
        timeouts=Timeouts(**timeouts),
    )
    plan = DeliveryPlan(SENDER, RECIPIENT, port=port, source=SourceIP("127.0.0.5", helo="five.example"))
    try:
        async with asyncio.timeout(20):
            return [
                await deliverer.attempt(plan, QueueEntry("t", SENDER, RECIPIENT, "x"), Bytes()) for _ in range(count)
            ]
    finally:
        await deliverer.close()


@pytest.mark.asyncio
async def test_smtp_sink_takes_it_from_the_chosen_address(dumps: Path) -> None:
    async with run_sink(dumps) as (ip, port):
        attempts = await deliver(ip, port, 3)
    assert [attempt.delivered for attempt in attempts] == [True] * 3
    stored = [file.read_bytes() for file in sorted(dumps.iterdir())]
    assert len(stored) == 3
    for message in stored:
        assert b"X-Client-Addr: 127.0.0.5\n" in message
        assert b"X-Helo-Args: five.example\n" in message
        assert b"X-Rcpt-Args: <r@to.example>\n" in message
        assert message.rstrip(b"\n").endswith(BODY.replace(b"\r\n", b"\n").rstrip(b"\n"))


STATES = ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", ".")
OURS = {"CONNECT": "BANNER", ".": "EOD"}  # our word for smtp-sink's


@pytest.mark.asyncio
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(("option", "code"), [("-r", 450), ("-f", 500)])
async def test_smtp_sink_refuses(dumps: Path, option: str, code: int, state: str) -> None:
    async with run_sink(dumps, option, f"{state},HELO" if state == "EHLO" else state) as (ip, port):
        (attempt,) = await deliver(ip, port, 1)
    assert attempt.result is not None
    wanted = "HELO" if (state, code) == ("EHLO", 500) else OURS.get(state, state)  # HELO where EHLO is not known
    assert (attempt.result.code, attempt.result.state) == (code, wanted)
    assert attempt.permanent == (code == 500)


@pytest.mark.asyncio
@pytest.mark.parametrize("state", STATES)
async def test_smtp_sink_hangs_up(dumps: Path, state: str) -> None:
    async with run_sink(dumps, "-q", state) as (ip, port):
        (attempt,) = await deliver(ip, port, 1)
    assert attempt.error is not None
    assert (attempt.error.kind, attempt.error.temporary) == ("disconnect", True)
    assert attempt.error.message.startswith(OURS.get(state, state) + ": connection lost")


@pytest.mark.asyncio
@pytest.mark.parametrize("option", [("-w", "3600"), ("-W", "DATA:3600")])
async def test_smtp_sink_takes_its_time(dumps: Path, option: tuple[str, str]) -> None:
    """It waits with its answer to DATA."""
    async with run_sink(dumps, *option) as (ip, port):
        (attempt,) = await deliver(ip, port, 1, data=0.2)
    assert attempt.error is not None
    assert (attempt.error.kind, attempt.error.temporary) == ("timeout", True)
    assert attempt.error.message == "DATA: no progress in time"
