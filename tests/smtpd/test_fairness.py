"""Ten thousand messages to a destination that hangs, and one to another: the one does not wait for them."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from smtp_peer import Peer

from hsl.runtime.log import Log
from hsl.runtime.message import BytesBody
from hsl.runtime.model import Address, Mail, QueueEntry
from hsl.smtpd.configfile import read_config
from hsl.smtpd.gateway import Gateway
from hsl.smtpd.lanes import FIRST_WIDTH, Lane

DEADLINE = 60.0
HANGING = 10_000
DEAD, LIVE = "127.0.0.2", "127.0.0.3"
FOREVER = 3600  # seconds
Dead = Callable[[int], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def never_accepting(port: int) -> AsyncIterator[None]:
    """A listener whose backlog is full: connecting to it takes as long as one waits."""
    with socket.socket() as listener, socket.socket() as first:
        listener.bind((DEAD, port))
        listener.listen(0)
        first.connect((DEAD, port))
        yield


@asynccontextmanager
async def never_greeting(port: int) -> AsyncIterator[None]:
    async with Peer(hang="BANNER").serve(DEAD, port):
        yield


@asynccontextmanager
async def running(
    folder: Path, lines: list[str], port: int, host: str | None = None, **queues: int
) -> AsyncIterator[Gateway]:
    """A gateway that finds dead.example at one address and live.example at another, or all by transports' hosts."""
    session = {"port": port, "connect_timeout": FOREVER}
    hosts = {"first": {"host": host and DEAD}, "second": {"host": host and LIVE}}
    config = {
        "environment": {"hostname": "gw.example", "controlsocket": str(folder / "c.sock")},
        "servers": [{"id": "in", "transport": "first", "listeners": [{"port": 0}]}],
        "transportgroups": [
            {"id": "group", "transports": [{"id": name, "session": session | hosts[name]} for name in hosts]}
        ],
        "queues": {"path": str(folder / "spool"), **queues},
        "resolver": {
            "hosts": {"h.dead": [DEAD], "h.live": [LIVE]},
            "mx": {"dead.example": ["h.dead"], "live.example": ["h.live"]},
        },
    }
    (folder / "smtpd.yaml").write_text(json.dumps(config))
    made = Gateway(read_config(folder / "smtpd.yaml"), Log("info", lines.append))
    await made.start()
    try:
        yield made
    finally:
        await made.stop(0)


def mail(recipient: bytes, transport: str) -> Mail:
    entry = QueueEntry("t", Address.of(b"s@from.example"), Address.of(recipient), transport)
    return Mail(BytesBody(b"Subject: x\r\n\r\nx\r\n"), (entry,))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("dead", "host", "domain"),
    [
        (never_accepting, None, b"dead.example"),
        (never_greeting, None, b"dead.example"),
        (never_greeting, "one for all domains", b"%d.example"),
    ],
)
async def test_ten_thousand_hang_and_one_leaves(tmp_path: Path, dead: Dead, host: str | None, domain: bytes) -> None:
    lines: list[str] = []
    async with Peer().serve(LIVE) as live, dead(live.port), running(tmp_path, lines, live.port, host) as made:
        recipients = [b"r@" + (domain % number if b"%" in domain else domain) for number in range(HANGING)]
        await made.queue.apply(store=[mail(recipient, "first") for recipient in recipients])
        async with asyncio.timeout(DEADLINE):
            while made.scheduler.running < FIRST_WIDTH:
                await asyncio.sleep(0.01)
            await made.queue.apply(store=[mail(b"r@live.example", "second")])
            while not live.messages:
                await asyncio.sleep(0.01)
        assert made.queue.count >= HANGING
        assert not any(" attempt " in line and "live.example" not in line for line in lines)  # those are still at it


@pytest.mark.asyncio
async def test_a_destination_has_no_more_than_it_is_given(tmp_path: Path) -> None:
    dead, lines = Peer(hang="BANNER"), list[str]()
    async with (
        Peer().serve(LIVE) as live,
        dead.serve(DEAD, live.port),
        running(tmp_path, lines, live.port, concurrency_per_destination=2) as made,
    ):
        await made.queue.apply(store=[mail(b"r@dead.example", "first") for _ in range(100)])
        await made.queue.apply(store=[mail(b"r@live.example", "first") for _ in range(100)])
        async with asyncio.timeout(DEADLINE):
            while len(live.messages) < 100 or len(dead.sessions) < 2:
                await asyncio.sleep(0.01)
        assert len(dead.sessions) == 2
        assert made.scheduler.lanes.width(Lane("first", b"live.example")) == 2
