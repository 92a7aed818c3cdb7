"""PIPELINING (RFC 2920) under abuse: order, what may not follow what, floods, clients that do not read."""

import asyncio
import re
import socket

import pytest
import pytest_asyncio
from smtp_dialogue import ACCEPT, REJECT, Bench, Dialogue, eventually

from hsl.runtime.verdict import Verdict
from hsl.smtpd.wire import BUFFER

pytestmark = pytest.mark.asyncio
OPEN = {"relay": {"networks": ["127.0.0.0/8"]}}
RECEIVE = 256 * 1024  # octets that asyncio reads at once


@pytest_asyncio.fixture
async def bench(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch)
    yield bench
    await bench.close()


async def replies(client: Dialogue) -> list[str]:
    """The codes of all replies until the server closes."""
    codes = []
    while answer := await client.reply():
        codes.append(answer[:3])
    return codes


ENVELOPE = b"MAIL FROM:<a@one.example>\r\nRCPT TO:<b@two.example>\r\n"
GROUPS = {
    # what comes in one piece, after EHLO, with a half close behind it: the codes, messages stored
    "all of it": (ENVELOPE + b"BDAT 3 LAST\r\nx\r\nQUIT\r\n", "250 250 250 221", 1),
    "data is the last of its group": (ENVELOPE + b"DATA\r\n", "250 250 354", 0),
    "a message behind data": (ENVELOPE + b"DATA\r\nx\r\n.\r\nQUIT\r\n", "250 250 554", 0),
    "a command behind data": (ENVELOPE + b"DATA\r\nRSET\r\nMAIL FROM:<>\r\n", "250 250 554", 0),
    "a message behind refused data": (b"DATA\r\nMAIL FROM:<>\r\nQUIT\r\n", "503 250 221", 0),
    "data without a good recipient": (
        b"MAIL FROM:<>\r\nRCPT TO:<no>\r\nDATA\r\nRSET\r\nQUIT\r\n",
        "250 501 554 250 221",
        0,
    ),
    "a command behind starttls": (b"STARTTLS\r\nEHLO evil.example\r\nQUIT\r\n", "502 250 221", 0),
    "errors in between": (
        b"MAIL FROM:<a>\r\n" + ENVELOPE + b"NONSENSE\r\nRCPT TO:<c@two.example>\r\nBDAT 0 LAST\r\nQUIT\r\n",
        "501 250 250 500 250 250 221",
        1,
    ),
    "two transactions": ((ENVELOPE + b"BDAT 0 LAST\r\n") * 2 + b"QUIT\r\n", "250 250 250 250 250 250 221", 2),
    "what follows quit": (b"QUIT\r\n" + ENVELOPE + b"BDAT 0 LAST\r\n", "221", 0),
    "greetings": (ENVELOPE + b"EHLO other.example\r\nDATA\r\nHELO x\r\nQUIT\r\n", "250 250 250 503 250 221", 0),
    "auth that was not offered": (b"AUTH PLAIN AAA\r\n" + ENVELOPE + b"RSET\r\nQUIT\r\n", "502 250 250 250 221", 0),
}


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("half", [True, False])
async def test_a_group_of_commands(bench, name, half):
    octets, codes, stored = GROUPS[name]
    await bench.start(**OPEN)
    client = await bench.greeted()
    await client.send(octets)
    if half:
        client.writer.write_eof()
        assert await replies(client) == codes.split()
    else:
        assert [(await client.reply())[:3] for _ in codes.split()] == codes.split()
    assert len(bench.queue.stored) == stored


async def test_quit_behind_a_script_that_waits_is_still_answered(bench):
    """The client sends everything and shuts its side down while the script of MAIL runs."""
    gate, running = asyncio.Event(), asyncio.Event()

    async def slow(context):
        running.set()
        await gate.wait()
        return ACCEPT

    bench.runner.stages["mailfrom"] = slow
    server = await bench.start(**OPEN)
    client = await bench.greeted()
    await client.send(ENVELOPE + b"BDAT 3 LAST\r\nx\r\nQUIT\r\n")
    client.writer.write_eof()
    await asyncio.wait_for(running.wait(), 30)
    gate.set()
    assert await replies(client) == ["250", "250", "250", "221"]
    assert len(bench.queue.stored) == 1
    await eventually(lambda: server.sessions == 0)


@pytest.mark.parametrize("command", [b"RSET\r\n", b"NOOP\r\n", b"MAIL FROM:<>\r\nRSET\r\n", b"EHLO c\r\n"])
async def test_thousands_of_commands_hold_nobody_up(bench, command):
    await bench.start(**OPEN)
    flooding, other = await bench.greeted(), await bench.greeted()
    count = 5000
    flood = asyncio.ensure_future(flooding.send(command * count + b"QUIT\r\n"))
    reading = asyncio.ensure_future(replies(flooding))
    for _ in range(10):
        assert await other.ask("RSET") == "250 2.0.0 OK"
    assert not reading.done()  # the other one did not wait for the flood's end
    await asyncio.wait_for(flood, 30)
    assert await asyncio.wait_for(reading, 30) == ["250"] * count * command.count(b"\r\n") + ["221"]


async def test_errors_of_a_flood_end_it(bench):
    await bench.start(limits={"errors": 10})
    client = await bench.greeted()
    await client.send(b"NONSENSE\r\n" * 1000 + b"MAIL FROM:<>\r\n")
    assert await replies(client) == ["500"] * 10 + ["421"]
    assert bench.runner.contexts == []


@pytest.mark.parametrize("kind", ["rcpt", "bdat"])
async def test_refusals_in_a_flood_end_it_too(bench, kind):
    bench.runner.stages["rcptto"] = REJECT
    await bench.start(limits={"errors": 10})
    client = await bench.greeted()
    await client.send(
        b"MAIL FROM:<>\r\n" + (b"RCPT TO:<a@b.example>\r\n" if kind == "rcpt" else b"BDAT 2\r\nxx") * 1000
    )
    refused = "554" if kind == "rcpt" else "503"
    assert await replies(client) == ["250"] + [refused] * 10 + ["421"]


def small_window(address: tuple[str, int]) -> socket.socket:
    """A client whose side of the connection takes little."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(address)
    sock.setblocking(False)
    return sock


async def test_a_client_that_does_not_read_is_not_read_either(bench):
    """Replies and commands that wait stay within their limits, and the next session does not notice."""
    server = await bench.start(limits={"replies": 2000})
    sock = small_window(bench.addresses[0])
    await eventually(lambda: server.sessions == 1)
    [session] = server._live
    session.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    loop = asyncio.get_running_loop()
    line = b"HELP " + b"x" * 400 + b"\r\n"
    flood = asyncio.ensure_future(loop.sock_sendall(sock, line * 100_000))
    await eventually(lambda: session.transport.get_write_buffer_size() > 2000)
    other = await bench.greeted()
    for _ in range(50):
        assert (await other.ask("NOOP")).startswith("250")
        assert session.transport.get_write_buffer_size() <= 2000 + 512
        assert len(session._reader._buffer) <= 2 * BUFFER + RECEIVE
    assert not flood.done()
    flood.cancel()
    await asyncio.wait([flood])
    sock.close()
    await eventually(lambda: server.sessions == 1)


async def test_a_flood_behind_a_script_that_waits_is_not_read(bench):
    gate = asyncio.Event()

    async def slow(context):
        await gate.wait()
        return ACCEPT

    bench.runner.stages["mailfrom"] = slow
    server = await bench.start()
    client = await bench.greeted()
    await client.send(b"MAIL FROM:<>\r\n")
    flood = asyncio.ensure_future(client.send((b"NOOP " + b"x" * 400 + b"\r\n") * 50_000))
    [session] = server._live
    await eventually(lambda: len(session._reader._buffer) > 2 * BUFFER)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(session._reader._buffer) <= 2 * BUFFER + RECEIVE
    flood.cancel()
    await asyncio.wait([flood])
    client.writer.transport.abort()
    gate.set()


async def test_replies_come_in_the_order_of_commands_whatever_scripts_take(bench):
    """The first script is slow, the others are not: no reply overtakes another."""

    async def rcptto(context):
        if context.recipient.localpart == b"u0":
            await asyncio.sleep(0.05)
        return Verdict("accept", reason=(context.recipient.localpart.decode(),))

    bench.runner.stages["rcptto"] = rcptto
    await bench.start()
    client = await bench.greeted()
    await client.send(b"MAIL FROM:<>\r\n" + b"".join(b"RCPT TO:<u%d@b.example>\r\n" % n for n in range(100)))
    await client.play("S: 250")
    assert [re.search(r"u\d+", await client.reply())[0] for _ in range(100)] == [f"u{n}" for n in range(100)]
