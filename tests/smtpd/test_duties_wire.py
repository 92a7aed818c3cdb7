"""What a hostile or unlucky client must not achieve at the inbound server: dialogues, and what is left after them."""

import asyncio
import re
import socket
import ssl
import struct
from base64 import b64encode

import pytest
import pytest_asyncio
import trustme
from smtp_dialogue import ACCEPT, REJECT, Bench, eventually

from hsl.runtime.verdict import Verdict

pytestmark = pytest.mark.asyncio
OPEN = {"relay": {"networks": ["127.0.0.0/8"]}}
BEGIN = "C: MAIL FROM:<a@one.example>\nS: 250\nC: RCPT TO:<b@two.example>\nS: 250\nC: DATA\nS: 354"


@pytest_asyncio.fixture
async def bench(tmp_path, monkeypatch):
    """A bench that also fails for what asyncio finds unhandled."""
    found: list[dict] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: found.append(context))
    bench = Bench(tmp_path, monkeypatch)
    yield bench
    await bench.close()
    assert found == []


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def certificate(authority, tmp_path):
    issued = authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    return {"certificate": str(tmp_path / "cert.pem"), "privatekey": str(tmp_path / "key.pem")}


@pytest.fixture
def trust(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


# --- one message stays one message

EVIL = b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<evil@y.example>\r\nDATA\r\nSubject: evil\r\n\r\n"
ENDS = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r.\r\n",
    b"\r.\r",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\n\r.\r\n",
    b"\r\n.\r\r\n",
    b"\r\n\0.\r\n",
]


@pytest.mark.parametrize("mark", ENDS)
@pytest.mark.parametrize("handling", ["reject", "normalise"])
@pytest.mark.parametrize("step", [1, 1000])
async def test_a_false_end_smuggles_no_second_message(bench, mark, handling, step):
    await bench.start(bare_newline=handling, **OPEN)
    client = await bench.greeted()
    await client.play(BEGIN)
    octets = b"Subject: x\r\n\r\nhello" + mark + EVIL + b".\r\nQUIT\r\n"
    for start in range(0, len(octets), step):
        await client.send(octets[start : start + step])
        if step == 1:
            await asyncio.sleep(0)
    taken = handling == "normalise"
    await client.play(f"S: {'250 queued' if taken else '550 5.6.'}\nS: 221\nS:")
    assert len(bench.queue.stored) == taken
    assert all(b"MAIL FROM:<evil@x.example>" in message for _, message in bench.queue.stored)


# --- TLS


async def test_plain_text_that_follows_the_go_ahead_is_not_taken_for_said_under_tls(bench, certificate):
    """The go-ahead waits for a client that reads nothing; meanwhile somebody between the two says something more."""
    server = await bench.start(tls=certificate, **OPEN)
    client = await bench.greeted()
    [session] = server._live
    session.transport.get_write_buffer_size = lambda: 1 << 20
    session.pause_writing()
    await client.play("C: STARTTLS\nS: 220")
    await client.send(b"EHLO evil.example\r\n")
    await eventually(session.read_ahead)
    session.resume_writing()
    await client.play("S:")
    await eventually(lambda: server.sessions == 0)


async def test_the_script_s_own_variable_and_address_survive_starttls(bench, certificate, trust):
    def connect(context):
        context.context = 42.0
        return Verdict("accept", options={"remoteip": b"192.0.2.9"})

    bench.runner.stages |= {"connect": connect, "helo": ACCEPT}
    await bench.start(tls=certificate)
    client = await bench.greeted()
    await client.play("C: STARTTLS\nS: 220")
    await client.start_tls(trust)
    await client.play("C: EHLO again.example\nS: 250")
    last = bench.runner.seen("helo")[-1]
    assert (last.context, last.senderip, last.connection.tls is None) == (42.0, "192.0.2.9", False)


@pytest.mark.parametrize("action", ["accept", "reject", "defer"])
async def test_a_script_that_repeats_the_password_tells_nobody(bench, action):
    bench.runner.stages["auth"] = Verdict(action, reason=("no", "it was hunter2, hunter2"))
    await bench.start(auth={"without_tls": True})
    client = await bench.greeted()
    answer = await client.ask("AUTH PLAIN " + b64encode(b"\0user\0hunter2").decode())
    assert answer.endswith("it was ********, ********")
    assert len(bench.verdicts("auth")) == 1
    assert "hunter2" not in "".join(bench.lines)


async def test_an_initial_response_of_one_equals_sign_is_an_empty_one(bench):
    bench.runner.stages["auth"] = REJECT
    await bench.start(auth={"without_tls": True})
    await (await bench.greeted()).play("C: AUTH LOGIN =\nS: 334 UGFzc3dvcmQ6\nC: cGFzcw==\nS: 535")
    assert (bench.runner.contexts[0].username, bench.runner.contexts[0].password) == (b"", b"pass")


# --- too many of everything


async def test_recipients_beyond_the_limit_do_not_end_the_session(bench):
    await bench.start(limits={"recipients": 2, "errors": 3}, **OPEN)
    client = await bench.greeted()
    await client.send(b"MAIL FROM:<>\r\n" + b"".join(b"RCPT TO:<u%d@b.example>\r\n" % number for number in range(100)))
    await client.play("S: 250\n" + "S: 250\n" * 2 + "S: 452 4.5.3\n" * 98 + "C: DATA\nS: 354\nC: .\nS: 250")
    [(transaction, _)] = bench.queue.stored
    assert len(transaction.recipients) == 2


async def test_a_flood_of_commands_leaves_others_their_turn(bench):
    """Counted in turns of the loop while commands that came in one piece are worked off."""
    server = await bench.start()
    client = await bench.play("S: 220")
    [session] = server._live
    loop = asyncio.get_running_loop()
    turns = 0

    def turn() -> None:
        nonlocal turns
        if session.read_ahead():
            turns += 1
            loop.call_soon(turn)

    session._reader.feed_data(b"NOOP\r\n" * 2000)
    loop.call_soon(turn)
    for _ in range(2000):
        assert await client.reply() == "250 2.0.0 OK"
    assert turns >= 30


# --- nothing is left


def reset(client) -> None:
    """Cut the connection with a RST."""
    client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.writer.transport.abort()


BODY = b"line of text\r\n" * 10_000
STATES = {
    "banner": (),
    "half a command": (b"EHLO c.exa",),
    "greeted": (b"EHLO c.example\r\n",),
    "mail": (b"EHLO c.example\r\n", b"MAIL FROM:<>\r\n"),
    "rcpt": (b"EHLO c.example\r\n", b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\n"),
    "data": (b"EHLO c.example\r\n", b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n"),
    "body": (b"EHLO c.example\r\n", b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n", BODY),
    "dot": (b"EHLO c.example\r\n", b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n", BODY + b".\r\n"),
    "auth": (b"EHLO c.example\r\n", b"AUTH LOGIN\r\n"),
    "starttls": (b"EHLO c.example\r\n", b"STARTTLS\r\n"),
    "no handshake": (b"EHLO c.example\r\n", b"STARTTLS\r\n", b"this is no handshake\r\n"),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("ending", ["reset", "close", "half"])
async def test_a_client_that_leaves_leaves_nothing(bench, certificate, state, ending):
    bench.runner.stages |= {"auth": REJECT, "disconnect": ACCEPT}
    settings = {"tls": certificate, "auth": {"without_tls": True}, "limits": {"connections_per_ip": 1}}
    server = await bench.start(**settings, **OPEN)
    client = await bench.client()
    await client.reply()
    for number, octets in enumerate(STATES[state]):
        await client.send(octets)
        if number + 1 < len(STATES[state]):
            for _ in range(octets.count(b"\r\n") if len(octets) < 1000 else 0):
                await client.reply()
    if ending == "reset":
        reset(client)
    elif ending == "half":
        client.writer.write_eof()
        while await client.reply():
            pass
    await client.close()
    await eventually(lambda: server.sessions == 0 and server._bytes.used == 0)
    await eventually(lambda: len(bench.runner.seen("disconnect")) == 1)
    assert len(bench.queue.stored) <= (state == "dot")
    assert not [line for line in bench.lines if " error " in line]
    await bench.greeted()


async def test_a_stop_never_leaves_before_a_commit_ends(bench):
    async def at_once(seconds: float) -> None:
        pass

    server = await bench.start(**OPEN)
    server._settle = at_once
    bench.queue.gate = asyncio.Event()
    client = await bench.greeted()
    await client.play(BEGIN + "\nC: .")
    await asyncio.wait_for(bench.queue.committing.wait(), 10)
    stopping = asyncio.ensure_future(server.stop(grace=0.01))
    await client.play("S:")
    await eventually(lambda: server.sessions == 0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not stopping.done()
    bench.queue.gate.set()
    await asyncio.wait_for(stopping, 10)
    assert len(bench.queue.stored) == 1


# --- the log

LINE = re.compile(
    r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?:debug|info|warning|error) [\w.-]+(?: \w+=(?:"(?:[^"\\]|\\.)*"|[^" ]+))*'
)


def decisions(bench, stage: str) -> list[tuple[str, str]]:
    """Action and code of a stage's lines."""
    return [pair for line in bench.verdicts(stage) for pair in re.findall(r" action=(\w+) code=(\d+)", line)]


async def test_what_we_refuse_ourselves_is_one_line_each(bench):
    bench.runner.stages["auth"] = REJECT
    bench.queue.room = 10
    await bench.start(limits={"auth_failures": 1}, auth={"without_tls": True}, **OPEN)
    await (await bench.greeted()).play("C: MAIL FROM:<a@b.example> SIZE=11\nS: 452 4.3.1")
    client = await bench.greeted()
    await client.send(b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\nSubject: x\r\n")
    await client.play("S: 250\nS: 250\nS: 554 5.5.0\nS:")
    login = "C: AUTH PLAIN AHUAcA==\nS: "
    await (await bench.greeted()).play(f"{login}535\n{login}421 4.7.0\nS:")
    assert decisions(bench, "mailfrom") == [("defer", "452")]
    assert decisions(bench, "session") == [("reject", "554")]
    assert decisions(bench, "auth") == [("reject", "535"), ("defer", "421")]
    assert "sender=a@b.example" in bench.verdicts("mailfrom")[0]


async def test_every_line_is_an_event_with_fields_whatever_the_client_says(bench, certificate):
    bench.runner.stages |= {"helo": REJECT, "rcptto": REJECT}
    await bench.start(tls=certificate, limits={"errors": 50})
    client = await bench.play("S: 220")
    for line in ('HELO a"b', "HELO [x]", "\x1b[31m\x07", 'BOGUS a="b" c=d', "HELO x", "MAIL FROM:<\xff@x>"):
        await client.ask(line)
    bench.runner.stages["helo"] = ACCEPT
    await client.play('C: HELO x\nS: 250\nC: MAIL FROM:<"a b\\"="@x.example>\nS: 250\nC: RCPT TO:<" "@y>\nS: 554')
    await client.send(b"STARTTLS\r\n")
    await client.reply()
    await client.send(b"no handshake\r\n")
    while await client.reply():
        pass
    await eventually(lambda: any("tls-failed" in line for line in bench.lines))
    assert len(bench.lines) >= 5
    assert [line for line in bench.lines if not LINE.fullmatch(line)] == []
