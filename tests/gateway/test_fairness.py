"""10,000 messages for a destination whose connects hang do not hold up the one for a destination that lives."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from gateway import Gateway, mail_hosts, wait_until, write_gateway
from manyentries import SmallBody
from servers import smtp_sink

from hsl.runtime.log import Log
from hsl.runtime.model import Address, Mail, QueueEntry
from hsl.runtime.queue import SQLiteQueue

MANY = 10_000
BACKLOG = 8  # connects until a listener that accepts nobody answers no more
HANGS = 600  # seconds of a connect: longer than the test


@contextmanager
def dead_listener(address: str, port: int) -> Iterator[None]:
    """Connects to it hang: it never accepts, and its backlog is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((address, port))
        listener.listen(0)
        for _ in range(BACKLOG):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex((address, port))
        yield


async def queue_for(path: Path, domain: bytes) -> None:
    queue = await SQLiteQueue.open(path, log=Log("error"))
    entries = tuple(
        QueueEntry("t", Address.of(b"a@b.example"), Address.of(b"r%d@%b" % (number, domain)), "next")
        for number in range(MANY)
    )
    await queue.apply(store=[Mail(SmallBody(b"Subject: x\r\n\r\nx\r\n"), entries)])
    await queue.close()


@pytest.mark.parametrize("late", [False, True], ids=["stored at once", "stored later"])
def test_a_dead_destination_holds_nobody_up(tmp_path: Path, late: bool) -> None:
    with smtp_sink(tmp_path) as sink:
        hosts = mail_hosts(dead="127.77.77.77", live=sink.host)
        session = {"port": sink.port, "tls": "disabled", "connect_timeout": HANGS}
        path = write_gateway(tmp_path, {}, session=session, resolver={"ptr": False, **hosts})
        asyncio.run(queue_for(tmp_path / "queue", b"dead.example"))
        if not late:
            asyncio.run(queue_for(tmp_path / "queue", b"live.example"))
        with dead_listener("127.77.77.77", sink.port), Gateway(path, "--grace", "1") as gateway:
            if late:
                wait_until(lambda: len(claimed(gateway)) > 0, lambda: "attempts that hang")
                assert gateway.send("a@b.example", "c@live.example")[0] == 250
            sink.wait(1 if late else 100)
            assert gateway.queued(recipientdomain="dead.example") == MANY
            assert gateway.count(r" attempt .*dead\.example") == 0, "no attempt has ended: nobody waited for one"


def claimed(gateway: Gateway) -> list[object]:
    entries = gateway.ask("list", filters={"recipientdomain": ["dead.example"]}, limit=100)["entries"]
    return [entry for entry in entries if entry["claimed"]]
