"""DATA on the wire: what is taken, what is refused after it was read, what is stored, and who may interrupt."""

import asyncio
import re
import socket
import struct
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from smtp_dialogue import Bench, eventually

from hsl.runtime.model import Address, Auth, Connection, Helo, Recipient, TLSInfo, Transaction
from hsl.smtpd.received import received

pytestmark = pytest.mark.asyncio
OPEN = {"relay": {"networks": ["127.0.0.0/8"]}}
BEGIN = "C: MAIL FROM:<a@one.example>\nS: 250\nC: RCPT TO:<b@two.example>\nS: 250\nC: DATA\nS: 354"
FOLDED = re.compile(r"\r\n[ \t]+")


@pytest_asyncio.fixture
async def bench(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch)
    yield bench
    await bench.close()


async def data(bench, octets: bytes, **settings):
    """The reply to a message, its end included in `octets`, and the client."""
    await bench.start(**(OPEN | settings))
    client = await bench.greeted()
    await client.play(BEGIN)
    await client.send(octets)
    return await client.reply(), client


@pytest.mark.parametrize(
    ("octets", "settings", "wanted"),
    [
        (b"a\r\n..b\r\n.\r\n", {}, "250"),
        (b"a\nb\r\n.\r\n", {}, "550 5.6.11"),
        (b"a\r\n.\nb\r\n.\r\n", {}, "550 5.6.11"),
        (b"a\rb\r\n.\r\n", {}, "550 5.6.11"),
        (b"a\nb\r\n.\r\n", {"bare_newline": "normalise"}, "250"),
        (b"a\0\r\n.\r\n", {}, "550 5.6.0"),
        (b"a" * 998 + b"\r\n.\r\n", {}, "250"),
        (b"a" * 999 + b"\r\n.\r\n", {}, "550 5.6.0"),
        (b"a" * 200_000 + b"\r\n.\r\n", {"limits": {"line": 0}}, "250"),
        (b"a" * 98 + b"\r\n.\r\n", {"limits": {"size": 100}}, "250"),
        (b"a" * 99 + b"\r\n.\r\n", {"limits": {"size": 100}}, "552 5.3.4"),
        (b"a" * 900_000 + b"\r\n.\r\n", {"limits": {"size": 100, "line": 0}}, "552 5.3.4"),
        (b"a\r\n" * 33 + b".\r\n", {"limits": {"spool": 99}}, "250"),
        (b"a\r\n" * 34 + b".\r\n", {"limits": {"spool": 99}}, "452 4.3.1"),
        (b"Received: x\r\n" * 50 + b"\r\n.\r\n", {}, "250"),
        (b"Received: x\r\n" * 51 + b"\r\n.\r\n", {}, "554 5.4.6"),
        (b"A: b\r\n\r\n" + b"Received: x\r\n" * 60 + b".\r\n", {}, "250"),
    ],
)
async def test_messages_taken_and_refused(bench, octets, settings, wanted):
    answer, client = await data(bench, octets, **settings)
    assert answer.startswith(wanted)
    assert len(bench.queue.stored) == (wanted == "250")
    assert len(bench.verdicts("data")) == 1
    await client.play("C: NOOP\nS: 250\nC: DATA\nS: 503 5.5.1\nC: MAIL FROM:<>\nS: 250")


async def test_what_follows_the_end_is_the_next_command(bench):
    answer, client = await data(bench, b"a\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<x@y.example>\r\nDATA\r\n")
    assert answer.startswith("250")
    await client.play("S: 250\nS: 250\nS: 354\nC: .\nS: 250")
    assert [message for _, message in bench.queue.stored] == [b"a\r\n", b""]


async def test_a_large_message_is_spooled_and_comes_through_unchanged(bench):
    body = b"".join(b"%d some line of text\r\n..dots\r\n" % number for number in range(100_000))
    answer, _ = await data(bench, body + b".\r\n")
    assert answer.startswith("250")
    assert bench.queue.stored[0][1] == body.replace(b"\r\n..", b"\r\n.")


async def test_data_before_the_go_ahead_is_unauthorised_pipelining(bench):
    await bench.start(**OPEN)
    client = await bench.greeted()
    await client.send(b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\nSubject: x\r\n\r\n.\r\n")
    await client.play("S: 250\nS: 250\nS: 554 5.5.0\nS:")
    assert bench.stage.messages == []


@pytest.mark.parametrize("verdict", ["250 fine", "550 no", "421 later"])
@pytest.mark.parametrize("stores", [True, False])
async def test_the_outcome_decides_what_is_stored_and_said(bench, verdict, stores):
    bench.stage.verdict, bench.stage.stores = verdict, stores
    answer, client = await data(bench, b"a\r\n.\r\n")
    assert answer == verdict
    assert len(bench.queue.stored) == stores
    await client.play("C: MAIL FROM:<>\nS: 250")


async def test_an_outcome_may_end_the_session(bench):
    bench.stage.disconnect = True
    answer, client = await data(bench, b"a\r\n.\r\n")
    assert answer.startswith("250")
    await client.play("S:")


@pytest.mark.parametrize(
    ("where", "knob", "wanted"),
    [
        ("queue", {"full": True}, "452 4.3.1"),
        ("queue", {"error": OSError("secret")}, "451 4.3.0"),
        ("stage", {"error": RuntimeError("secret")}, "451 4.3.0"),
        ("stage", {"error": ConnectionResetError("secret")}, "451 4.3.0"),
    ],
)
async def test_failures_are_temporary_keep_the_session_and_tell_nothing(bench, where, knob, wanted):
    for name, value in knob.items():
        setattr(getattr(bench, where), name, value)
    answer, client = await data(bench, b"a\r\n.\r\n")
    assert answer.startswith(wanted)
    assert "secret" not in answer
    assert bench.queue.stored == []
    await client.play(BEGIN)


async def test_no_reply_before_the_commit(bench):
    bench.queue.gate = asyncio.Event()
    await bench.start(**OPEN)
    client = await bench.greeted()
    await client.play(BEGIN + "\nC: .")
    await asyncio.wait_for(bench.queue.committing.wait(), 10)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.reader.read(1), 0.1)
    bench.queue.gate.set()
    assert (await client.reply()).startswith("250")


async def test_a_commit_survives_the_client(bench):
    bench.queue.gate = asyncio.Event()
    server = await bench.start(**OPEN)
    client = await bench.greeted()
    await client.play(BEGIN + "\nC: body\nC: .")
    await asyncio.wait_for(bench.queue.committing.wait(), 10)
    reset(client)
    await eventually(lambda: server.sessions == 0)
    bench.queue.gate.set()
    await eventually(lambda: len(bench.queue.stored) == 1)
    assert bench.queue.stored[0][1] == b"body\r\n"
    assert len(bench.verdicts("data")) == 1


async def test_a_stage_whose_client_is_gone_stores_nothing(bench):
    bench.stage.gate = asyncio.Event()
    server = await bench.start(**OPEN)
    client = await bench.greeted()
    await client.play(BEGIN + "\nC: body\nC: .")
    await asyncio.wait_for(bench.stage.running.wait(), 10)
    reset(client)
    await eventually(lambda: server.sessions == 0)
    assert bench.queue.stored == []


async def test_a_client_that_leaves_within_data_leaves_nothing(bench):
    server = await bench.start(**OPEN)
    client = await bench.greeted()
    await client.play(BEGIN + "\nC: " + "x" * 900)
    await client.close()
    await eventually(lambda: server.sessions == 0)
    assert bench.queue.stored == []
    assert server._bytes.used == 0


async def test_half_closed_after_the_message_still_gets_the_answer(bench):
    await bench.start(**OPEN)
    client = await bench.greeted()
    await client.play(BEGIN + "\nC: body\nC: .\nC: QUIT")
    client.writer.write_eof()
    await client.play("S: 250\nS: 221\nS:")


# --- trace headers


async def test_the_trace_header_and_nothing_else(bench):
    await data(bench, b"Subject: x\r\n\r\n.\r\n")
    [trace] = bench.stage.traces
    transaction = bench.stage.transactions[0]
    text = FOLDED.sub(" ", trace.decode())
    assert re.fullmatch(
        rf"Received: from client\.example \(\[127\.0\.0\.1\]\) by mx\.example with ESMTP id {transaction.id}"
        r" for <b@two\.example>; \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000\r\n",
        text,
    )


@pytest.mark.parametrize(
    ("message", "added"),
    [
        (b"Subject: x\r\n\r\n", ("Message-ID", "Date")),
        (b"date: now\r\n\r\nMessage-ID: <in@body>\r\n", ("Message-ID",)),
        (b"MESSAGE-ID : <x@y>\r\n\r\n", ("Date",)),
        (b"Message-ID: <x@y>\r\nDate: now\r\n\r\n", ()),
    ],
)
async def test_submission_adds_what_is_missing(bench, message, added):
    await data(bench, message + b".\r\n", submission=True)
    [trace] = bench.stage.traces
    assert tuple(line.partition(":")[0] for line in FOLDED.sub(" ", trace.decode()).split("\r\n")[1:-1]) == added
    assert bench.queue.stored[0][1] == message


TLS = TLSInfo("TLSv1.3", "X", 256)
USER = Auth("PLAIN", b"u")


@pytest.mark.parametrize(
    ("helo", "tls", "auth", "ptr", "ip", "recipients", "wanted"),
    [
        (Helo("HELO", b"h"), None, None, None, "192.0.2.1", 1, "from h ([192.0.2.1]) by mx with SMTP id T for <r0@x>;"),
        (Helo("EHLO", b"h"), TLS, None, "p.q", "192.0.2.1", 2, "from h (p.q [192.0.2.1]) by mx with ESMTPS id T;"),
        (Helo("EHLO", b"h"), TLS, USER, None, "2001:db8::1", 2, "from h ([IPv6:2001:db8::1]) by mx with ESMTPSA id T;"),
        (Helo("EHLO", b"h"), None, USER, None, "192.0.2.1", 2, "from h ([192.0.2.1]) by mx with ESMTPA id T;"),
        (
            Helo("EHLO", b"a\r\nB: c"),
            None,
            None,
            "x\r\ny",
            "192.0.2.1",
            2,
            "from a??B:?c ([192.0.2.1]) by mx with ESMTP id T;",
        ),
    ],
)
async def test_received(helo, tls, auth, ptr, ip, recipients, wanted):
    connection = Connection("s", ip, 1, "127.0.0.1", 25, remoteptr=ptr, helo=helo, tls=tls, auth=auth)
    named = [Recipient(Address(b"r%d" % number, b"x"), "out") for number in range(recipients)]
    transaction = Transaction("T", recipients=named)
    now = datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC).timestamp()
    text = FOLDED.sub(" ", received(connection, transaction, "mx", now).decode())
    assert text == f"Received: {wanted} Thu, 29 Feb 2024 23:59:59 +0000\r\n"


async def test_the_name_of_the_client(bench):
    class Names:
        async def ptr(self, ip):
            if ip != "127.0.0.1":
                raise OSError("down")
            return "client.host.example"

    await bench.start(resolver=Names(), **OPEN)
    for local in ("127.0.0.1", "127.0.0.2"):
        client = await bench.greeted(local=local)
        await client.play(BEGIN + "\nC: .\nS: 250")
    assert b"(client.host.example [127.0.0.1])" in bench.stage.traces[0]
    assert b"([127.0.0.2])" in bench.stage.traces[1]


def reset(client) -> None:
    """Cut the connection with a RST."""

    client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.writer.transport.abort()
