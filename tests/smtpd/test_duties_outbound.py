"""What a hostile next hop must not achieve: in the attempt, in the log, in the report that goes back to the sender."""

import asyncio
import email
import re
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from smtp_peer import Peer

from hsl.runtime.dns import TableResolver
from hsl.runtime.log import Log
from hsl.runtime.message import BytesBody
from hsl.runtime.model import DEFER, Address, Attempt, DeliveryPlan, Mail, QueueEntry, SourceIP
from hsl.smtpd.client import Deliverer
from hsl.smtpd.configfile import read_config
from hsl.smtpd.dialogue import Timeouts
from hsl.smtpd.gateway import Gateway

DEADLINE = 20.0
SENDER, RECIPIENT = Address(b"s", b"from.example"), Address(b"r", b"to.example")
TEXT = b"Subject: x\r\n\r\nhello\r\n"


# --- one attempt


@asynccontextmanager
async def raw_peer(answers: dict[bytes, bytes]) -> AsyncIterator[tuple[int, bytearray]]:
    """A server that says exactly these octets to each verb, and keeps all that it is told."""
    heard = bytearray()
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 peer.example\r\n")
        with suppress(ConnectionError):
            while line := await reader.readline():
                heard.extend(line)
                writer.write(answers.get(line[:4].upper(), b"250 ok\r\n"))
        writer.transport.abort()
        closed.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], heard
        async with asyncio.timeout(DEADLINE):
            await closed.wait()
    finally:
        server.close()
        await server.wait_closed()


async def attempt(port: int) -> Attempt:
    deliverer = Deliverer(resolver=TableResolver(), hostname="gw.example", log=Log("debug", [].append))
    plan = DeliveryPlan(SENDER, RECIPIENT, host="127.0.0.1", port=port)
    async with asyncio.timeout(DEADLINE):
        try:
            return await deliverer.attempt(plan, QueueEntry("t", SENDER, RECIPIENT, "next"), BytesBody(TEXT))
        finally:
            await deliverer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("extra", [b"250 2.0.0 taken\r\n", b"554 5.7.1 no\r\n", b"2"])
async def test_what_comes_with_the_go_ahead_is_no_answer_to_the_dot(extra: bytes) -> None:
    async with raw_peer({b"DATA": b"354 go\r\n" + extra}) as (port, heard):
        tried = await attempt(port)
    assert tried.error is not None
    assert (tried.error.kind, tried.error.temporary) == ("protocol", True)
    assert heard.endswith(b"DATA\r\n")


@pytest.mark.asyncio
@pytest.mark.parametrize("verb", [b"EHLO", b"MAIL", b"RCPT"])
async def test_one_answer_too_many_is_never_a_delivery(verb: bytes) -> None:
    async with raw_peer({verb: b"250 ok\r\n250 ok\r\n", b"DATA": b"354 go\r\n"}) as (port, heard):
        tried = await attempt(port)
    assert not tried.delivered
    assert TEXT not in heard


def test_many_connections_may_share_a_source_address() -> None:
    """The port is chosen at connect, when the other end is known, not at bind."""
    deliverer = Deliverer(resolver=TableResolver(), hostname="gw.example", log=Log("debug", [].append))
    with socket.socket() as sock:
        deliverer.bind(sock, SourceIP("127.0.0.1"))
        assert sock.getsockname() == ("127.0.0.1", 0)


@pytest.mark.asyncio
async def test_the_dot_does_not_wait_for_the_answer_to_what_went_before() -> None:
    """Nagle's algorithm and a delayed ACK would cost 40 ms a message."""
    deliverer = Deliverer(resolver=TableResolver(), hostname="gw.example", log=Log("debug", [].append))
    async with Peer().serve() as peer, asyncio.timeout(DEADLINE):
        plan = DeliveryPlan(SENDER, RECIPIENT, host="127.0.0.1", port=peer.port)
        await deliverer.attempt(plan, QueueEntry("t", SENDER, RECIPIENT, "next"), BytesBody(TEXT))
        [kept] = deliverer.pool.idle
        assert kept.plain.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await deliverer.close()


def test_the_times_of_rfc_5321() -> None:
    times = Timeouts()
    wanted = (300, 300, 300, 120, 180, 600)
    assert (times.banner, times.mail, times.rcpt, times.data, times.block, times.dot) == wanted
    assert DeliveryPlan(SENDER, RECIPIENT).connect_timeout == 30


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", ["200 taken", "252 taken", "299 taken"])
async def test_any_2xx_after_the_dot_is_a_delivery(answer: str) -> None:
    """Anything else would send the mail again to who has it."""
    async with Peer(replies={"EOD": [answer]}).serve() as peer:
        assert (await attempt(peer.port)).delivered


@pytest.mark.asyncio
async def test_ten_addresses_are_tried_in_an_attempt() -> None:
    hosts = {name: [f"127.0.{number}.{last}" for last in range(1, 8)] for number, name in enumerate(("one", "two"), 1)}
    resolver = TableResolver(hosts, {"to.example": ["one", "two"]})
    deliverer = Deliverer(resolver=resolver, hostname="gw.example", log=Log("debug", [].append))
    async with Peer(replies={"BANNER": ["554 no"]}).serve("0.0.0.0") as peer, asyncio.timeout(DEADLINE):
        plan = DeliveryPlan(SENDER, RECIPIENT, port=peer.port)
        tried = await deliverer.attempt(plan, QueueEntry("t", SENDER, RECIPIENT, "next"), BytesBody(TEXT))
        await deliverer.close()
        assert len(peer.sessions) == 10
    assert (tried.remotemx, tried.remoteip) == ("two", "127.0.2.3")


@pytest.mark.asyncio
async def test_a_peer_that_stops_reading_keeps_no_connection() -> None:
    """What is given up is thrown away: to wait until the rest has left would be to wait for ever."""
    deliverer = Deliverer(
        resolver=TableResolver(), hostname="gw.example", log=Log("debug", [].append), timeouts=Timeouts(block=0.3)
    )
    plan = DeliveryPlan(SENDER, RECIPIENT, host="127.0.0.1", port=0)
    body = BytesBody(b"x" * 70 + b"\r\n" + b"x" * 16_000_000 + b"\r\n")
    async with Peer(stall=100_000).serve() as peer, asyncio.timeout(DEADLINE):
        plan.port = peer.port
        before = connections_to(peer.port)
        tried = await deliverer.attempt(plan, QueueEntry("t", SENDER, RECIPIENT, "next"), body)
        assert tried.error is not None
        assert tried.error.kind == "timeout"
        await deliverer.close()
        assert (before, connections_to(peer.port)) == (0, 0)


def connections_to(port: int) -> int:
    """How many sockets that somebody still has open are connected to a port of 127.0.0.1."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(line[2] == f"0100007F:{port:04X}" and line[9] != "0" for line in lines)


# --- a whole gateway

CONFIG = """\
environment: {hostname: gw.example, controlsocket: c.sock}
servers:
  - id: out
    listeners: [{port: 0}]
    transport: next
transportgroups:
  - id: group
    transports: [{id: next, session: {host: 127.0.0.1, port: %PORT%, tls: disabled}}]
queues: {path: spool}
resolver: {ptr: false, hosts: {a.example: [127.0.0.1]}}
"""


@asynccontextmanager
async def gateway(folder, port: int, lines: list[str]) -> AsyncIterator[Gateway]:
    (folder / "smtpd.yaml").write_text(CONFIG.replace("%PORT%", str(port)))
    made = Gateway(read_config(folder / "smtpd.yaml"), Log("info", lines.append))
    await made.start()
    try:
        yield made
    finally:
        await made.stop(2)


def entry(sender: Address = SENDER, recipient: Address = RECIPIENT) -> QueueEntry:
    return QueueEntry("tid", sender, recipient, "next")


async def until(true) -> None:
    async with asyncio.timeout(DEADLINE):
        while not true():
            await asyncio.sleep(0.01)


def attempts(lines: list[str]) -> list[str]:
    return [line for line in lines if " attempt " in line]


HOSTILE = '550 5.1.1 \x1b[31mred\x07 \x00\x7f \udce9 \x85\u2028 a\rb " k=v\n550 5.1.1 --=_x\n550 5.1.1 Subject: evil'


@pytest.mark.asyncio
async def test_a_peer_s_text_shapes_neither_log_nor_report(tmp_path) -> None:
    lines: list[str] = []
    async with (
        Peer(replies={"RCPT": [HOSTILE, "250 ok"]}).serve() as peer,
        gateway(tmp_path, peer.port, lines) as made,
    ):
        await made.queue.apply(store=[Mail(BytesBody(TEXT), (entry(),))])
        await until(lambda: peer.messages and made.queue.count == 0)
    refused, reported = attempts(lines)
    assert all(" " <= char <= "~" for line in lines for char in line)
    assert " enhanced=5.1.1 " in refused
    assert " action=bounce" in refused
    assert " sender=<> " in reported
    [report] = peer.messages
    assert report.mail.startswith(b"MAIL FROM:<> ")
    assert report.rcpt == [b"RCPT TO:<s@from.example>"]
    assert all(octet in b"\r\n\t" or 32 <= octet < 127 for octet in report.data)
    parsed = email.message_from_bytes(report.data)
    assert [part.get_content_type() for part in parsed.walk()][1:3] == ["text/plain", "message/delivery-status"]
    assert parsed.get_all("Subject") == ["Undelivered mail returned to sender"]


@pytest.mark.asyncio
async def test_a_long_reply_makes_no_long_line(tmp_path) -> None:
    lines: list[str] = []
    answer = "\n".join(["450 " + "x" * 90] * 300)
    async with Peer(replies={"RCPT": [answer]}).serve() as peer, gateway(tmp_path, peer.port, lines) as made:
        await made.queue.apply(store=[Mail(BytesBody(TEXT), (entry(),))])
        await until(lambda: attempts(lines))
        await until(lambda: (found := next(made.queue.entries(), None)) is not None and found.error)
        assert len(next(made.queue.entries()).error) <= 1000
    [line] = attempts(lines)
    assert " code=450 " in line
    assert len(line) < 10_000


@pytest.mark.asyncio
async def test_a_failure_without_a_reply_has_its_code_in_the_log(tmp_path) -> None:
    lines: list[str] = []
    async with gateway(tmp_path, 9, lines) as made:
        await made.queue.apply(store=[Mail(BytesBody(TEXT), (entry(),))])
        await until(lambda: attempts(lines))
    assert re.search(r" enhanced=4\.4\.1 code=0 state=connect error=connect ", attempts(lines)[0])


def addresses() -> Iterator[tuple[Address, Address]]:
    for bad in (b"a\r\nRCPT TO:<x@y.example>", b"a> SIZE=1", b"a\nb", b"a\0b"):
        yield Address(bad, b"from.example"), RECIPIENT
        yield SENDER, Address(bad, b"to.example")
        yield SENDER, Address(b"a", bad)


@pytest.mark.asyncio
async def test_queued_addresses_that_could_leave_their_brackets_bounce(tmp_path) -> None:
    lines: list[str] = []
    entries = tuple(entry(sender, recipient) for sender, recipient in addresses())
    async with Peer().serve() as peer, gateway(tmp_path, peer.port, lines) as made:
        await made.queue.apply(store=[Mail(BytesBody(TEXT), entries)])
        await until(lambda: made.queue.count == 0)
    envelopes = {line for line in peer.commands if line.startswith((b"MAIL", b"RCPT"))}
    assert {line.split(b" ")[1].strip() for line in envelopes} <= {b"FROM:<>", b"TO:<" + SENDER.path + b">"}
    assert all("\n" not in line for line in lines)


class Clock:
    """Wall time that jumps; monotonic time that does not."""

    jump = 0.0
    monotonic = staticmethod(time.monotonic)

    def time(self) -> float:
        return time.time() + self.jump


@pytest.mark.asyncio
async def test_a_jump_of_the_wall_clock_is_noticed_without_a_call(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("hsl.smtpd.scheduler.RECHECK", 0.05)
    waiting = entry()
    waiting.state, waiting.due = DEFER, time.time() + 3600
    async with Peer().serve() as peer, gateway(tmp_path, peer.port, []) as made:
        made.scheduler.clock = clock = Clock()
        await made.queue.apply(store=[Mail(BytesBody(TEXT), (waiting,))])
        await asyncio.sleep(0.2)
        assert peer.sessions == []
        clock.jump = 3700.0
        await until(lambda: peer.messages)
