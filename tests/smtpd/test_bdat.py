"""BDAT (RFC 3030): chunks in, one message stored; a chunk is read to its end whatever its answer is."""

import asyncio
import socket
import struct

import pytest
import pytest_asyncio
from smtp_dialogue import REJECT, Bench, eventually

from hsl.runtime.verdict import Verdict
from hsl.smtpd.datareader import ChunkReader

pytestmark = pytest.mark.asyncio
OPEN = {"relay": {"networks": ["127.0.0.0/8"]}}
ENVELOPE = "C: MAIL FROM:<a@one.example>\nS: 250\nC: RCPT TO:<b@two.example>\nS: 250"
NAMED = b"MAIL FROM:<a@one.example>\r\nRCPT TO:<b@two.example>\r\n"


@pytest_asyncio.fixture
async def bench(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch)
    yield bench
    await bench.close()


def chunk(octets: bytes, last: bool = False) -> bytes:
    return b"BDAT %d%s\r\n" % (len(octets), b" LAST" if last else b"") + octets


def stored(bench) -> list[bytes]:
    return [message for _, message in bench.queue.stored]


async def begun(bench, **settings):
    """A client with an envelope."""
    await bench.start(**(OPEN | settings))
    client = await bench.greeted()
    await client.play(ENVELOPE)
    return client


async def test_chunks_become_one_message(bench):
    client = await begun(bench)
    await client.send(chunk(b"Subject: x\r\n\r\n.\r\n..two do"))
    assert await client.reply() == "250 2.0.0 25 octets received"
    await client.send(chunk(b"ts\r\n.\r\n"))
    assert await client.reply() == "250 2.0.0 7 octets received"
    await client.send(chunk(b"", last=True))
    assert (await client.reply()).startswith("250 queued as")
    assert stored(bench) == [b"Subject: x\r\n\r\n.\r\n..two dots\r\n.\r\n"]
    assert b"with ESMTP" in bench.stage.traces[0]


@pytest.mark.parametrize("step", [1, 7, 100_000])
async def test_everything_may_be_pipelined(bench, step):
    """Twice, with the envelope and QUIT, in pieces of any size."""
    await bench.start(**OPEN)
    client = await bench.greeted()
    message = chunk(b"Subject: x\r\n\r\n") + chunk(b"MAIL FROM:<evil@x>\r\n") + chunk(b"end\r\n", last=True)
    octets = (NAMED + message) * 2 + b"QUIT\r\n"
    for start in range(0, len(octets), step):
        await client.send(octets[start : start + step])
        if step < 100:
            await asyncio.sleep(0)
    await client.play("S: 250\nS: 250\nS: 250\nS: 250\nS: 250 queued\n" * 2 + "S: 221\nS:")
    assert stored(bench) == [b"Subject: x\r\n\r\nMAIL FROM:<evil@x>\r\nend\r\n"] * 2


@pytest.mark.parametrize("lost", ["", "a\r\nb\r", "a\r\nb"])
async def test_a_last_line_without_its_end_gets_one(bench, lost):
    client = await begun(bench, bare_newline="normalise")
    await client.send(chunk(lost.encode(), last=True))
    await client.play("S: 250 queued")
    assert stored(bench) == [lost.encode() and b"a\r\nb\r\n"]


@pytest.mark.parametrize(
    ("chunks", "settings", "wanted"),
    [
        ([b"a\r", b"\nb\r\n"], {}, "250"),
        ([b"a\r\nb", b"c\r\n"], {}, "250"),
        ([b"a\n"], {}, "550 5.6.11"),
        ([b"a\r", b"b\r\n"], {}, "550 5.6.11"),
        ([b"a\r"], {}, "550 5.6.11"),
        ([b"a\r", b""], {}, "550 5.6.11"),
        ([b"a\0\r\n"], {}, "550 5.6.0"),
        ([b"a\n", b"\r", b"\0b\r", b"\n"], {"bare_newline": "normalise"}, "250"),
        ([b"a" * 500, b"a" * 498 + b"\r\n"], {}, "250"),
        ([b"a" * 500, b"a" * 499 + b"\r\n"], {}, "550 5.6.0"),
        ([b"a" * 48 + b"\r\n", b"a" * 48 + b"\r\n"], {"limits": {"size": 100}}, "250"),
        ([b"a" * 48 + b"\r\n", b"a" * 49 + b"\r\n"], {"limits": {"size": 100}}, "552 5.3.4"),
        ([b"a\r\n" * 33], {"limits": {"spool": 99}}, "250"),
        ([b"a\r\n" * 30, b"a\r\n" * 4], {"limits": {"spool": 99}}, "452 4.3.1"),
        ([b"Received: x\r\n" * 30, b"Received: x\r\n" * 21], {}, "554 5.4.6"),
    ],
)
async def test_the_rules_of_data_hold_over_all_chunks(bench, chunks, settings, wanted):
    client = await begun(bench, **settings)
    for octets in chunks[:-1]:
        await client.send(chunk(octets))
        await client.play("S: 250")
    await client.send(chunk(chunks[-1], last=True))
    assert (await client.reply()).startswith(wanted)
    assert len(bench.queue.stored) == (wanted == "250")
    if wanted == "250" and "bare_newline" in settings:
        assert stored(bench) == [b"a\r\n\r\nb\r\n"]
    await client.play("C: NOOP\nS: 250\nC: BDAT 0 LAST\nS: 503 5.5.1\nC: MAIL FROM:<>\nS: 250")


async def test_a_refused_chunk_is_the_answer_to_all_that_follow(bench):
    """A temporary refusal stays one: chunks that were sent already do not turn it into a permanent one."""
    client = await begun(bench, limits={"spool": 10})
    await client.send(chunk(b"a" * 8 + b"\r\n") + chunk(b"more\r\n") * 2 + chunk(b"QUIT\r\n", last=True))
    await client.play("S: 250\nS: 452 4.3.1\nS: 452 4.3.1\nS: 452 4.3.1\nC: NOOP\nS: 250\n" + ENVELOPE)
    assert bench.queue.stored == []
    assert len(bench.verdicts("data")) == 1


@pytest.mark.parametrize("again", ["C: RSET\nS: 250\n", "C: EHLO c.example\nS: 250\n", ""])
async def test_after_a_refused_chunk_a_new_transaction_may_begin(bench, again):
    client = await begun(bench, limits={"size": 10})
    await client.send(chunk(b"a" * 20 + b"\r\n"))
    await client.play(f"S: 552 5.3.4\n{again}{ENVELOPE}")
    await client.send(chunk(b"short\r\n", last=True))
    await client.play("S: 250")
    assert stored(bench) == [b"short\r\n"]


async def test_rset_between_chunks_drops_them(bench):
    client = await begun(bench)
    server = bench.servers[0]
    await client.send(chunk(b"dropped\r\n"))
    await client.play("S: 250")
    assert server._bytes.used == 9
    await client.play("C: RSET\nS: 250")
    assert server._bytes.used == 0
    await client.play(f"C: BDAT 0 LAST\nS: 503 5.5.1\n{ENVELOPE}")
    await client.send(chunk(b"kept\r\n", last=True))
    await client.play("S: 250")
    assert stored(bench) == [b"kept\r\n"]


async def test_data_and_recipients_after_bdat_are_out_of_order(bench):
    client = await begun(bench)
    await client.send(chunk(b"one\r\n"))
    await client.play(
        "S: 250\nC: DATA\nS: 503 5.5.1\nC: RCPT TO:<c@d.example>\nS: 503 5.5.1\nC: MAIL FROM:<>\nS: 503 5.5.1"
    )
    await client.send(chunk(b"two\r\n", last=True))
    await client.play(f"S: 250\n{ENVELOPE}\nC: DATA\nS: 354\nC: three\nC: .\nS: 250")
    assert stored(bench) == [b"one\r\ntwo\r\n", b"three\r\n"]


@pytest.mark.parametrize(
    ("envelope", "answers"),
    [
        (b"", "S: 503 5.5.1\nS: 503 5.5.1"),
        (b"MAIL FROM:<bad>\r\nRCPT TO:<b@two.example>\r\n", "S: 501\nS: 503\nS: 503 5.5.1\nS: 503 5.5.1"),
        (b"MAIL FROM:<>\r\nRCPT TO:<no@two.example>\r\n", "S: 250\nS: 554\nS: 554 5.5.1\nS: 554 5.5.1"),
        (b"MAIL FROM:<>\r\n", "S: 250\nS: 503 5.5.1\nS: 503 5.5.1"),
    ],
)
async def test_chunks_behind_a_refused_envelope_are_read_and_dropped(bench, envelope, answers):
    bench.runner.stages["rcptto"] = REJECT
    await bench.start(**OPEN)
    client = await bench.greeted()
    await client.send(
        envelope + chunk(b"MAIL FROM:<evil@x>\r\n" * 10_000) + chunk(b"QUIT\r\n", last=True) + b"NOOP\r\n"
    )
    await client.play(f"{answers}\nS: 250 2.0.0 OK\nC: QUIT\nS: 221\nS:")
    assert bench.queue.stored == []


@pytest.mark.parametrize("greeting", ["C: HELO c.example\nS: 250", "C: EHLO c.example\nS: 250"])
async def test_what_is_not_announced_is_not_taken(bench, greeting):
    """HELO announces nothing; a script may leave CHUNKING out."""
    bench.runner.stages["helo"] = Verdict("accept", options={"extensions": [b"SIZE 1000", b"8BITMIME"]})
    await bench.start(**OPEN)
    client = await bench.play(f"S: 220\n{greeting}\n{ENVELOPE}")
    await client.send(chunk(b"QUIT\r\n", last=True))
    await client.play("S: 503 5.5.1\nC: MAIL FROM:<> SMTPUTF8\nS: 503\nC: DATA\nS: 354\nC: .\nS: 250")
    await client.play("C: MAIL FROM:<> RET=HDRS\nS: 555 5.5.4")


@pytest.mark.parametrize("argument", ["", "LAST", "x", "-1", "1 2", "9" * 21])
async def test_a_chunk_of_unknown_length_ends_the_session(bench, argument):
    """Nobody could say where the next command begins."""
    client = await begun(bench)
    await client.send(f"BDAT {argument}\r\nRSET\r\n".encode())
    await client.play("S: 501 5.5.4\nS:")


@pytest.mark.parametrize("length", [600, 200_000])
async def test_a_command_too_long_to_read_ends_the_session(bench, length):
    """The same: what follows it may be a chunk."""
    client = await begun(bench)
    await client.send(b"bdat 6 LAST" + b" " * length + b"\r\nRSET\r\n")
    await client.play("S: 500 5.5.2\nS:")


@pytest.mark.parametrize("ending", ["reset", "close", "half"])
@pytest.mark.parametrize("where", ["within", "between"])
async def test_a_client_that_leaves_leaves_nothing(bench, ending, where):
    client = await begun(bench)
    server = bench.servers[0]
    await client.send(chunk(b"x" * 99_998 + b"\r\n") if where == "between" else b"BDAT 1000000\r\n" + b"x\r\n" * 30_000)
    if where == "between":
        await client.play("S: 550")  # a line over the limit: what has come is dropped at once
        await client.play("C: RSET\nS: 250\n" + ENVELOPE)
        await client.send(chunk(b"x\r\n" * 30_000))
        await client.play("S: 250")
    await eventually(lambda: server._bytes.used == 90_000)
    if ending == "reset":
        sock = client.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.writer.transport.abort()
    elif ending == "half":
        client.writer.write_eof()
        await client.play("S:")
    else:
        await client.close()
    await eventually(lambda: server.sessions == 0 and server._bytes.used == 0)
    assert bench.queue.stored == []


async def test_a_silent_client_within_a_chunk_is_told_before_the_close(bench):
    client = await begun(bench, limits={"idle": 0.2})
    await client.send(b"BDAT 10\r\nhalf")
    await client.play("S: 421 4.4.2\nS:")


async def test_thousands_of_chunks_of_one_octet_leave_others_their_turn(bench):
    await bench.start(**OPEN)
    busy, other = await bench.greeted(), await bench.greeted()
    octets = b"Subject: x\r\n\r\n" + b"y" * 900 + b"\r\n"
    flood = asyncio.ensure_future(busy.send(NAMED + b"".join(chunk(octets[at : at + 1]) for at in range(len(octets)))))
    for _ in range(5):
        assert await other.ask("NOOP") == "250 2.0.0 OK"
    await busy.play("S: 250\n" * (2 + len(octets)))
    await flood
    await busy.play("C: BDAT 0 LAST\nS: 250 queued")
    assert stored(bench) == [octets]


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
async def test_the_reader_by_itself_takes_any_pieces(step):
    octets = b"a\r\r\nb\n\r\n.\r\n\n" * 5 + b"c\r"
    taken: list[bytes] = []
    reader = ChunkReader(lambda block: not taken.append(block), normalise=True)
    for start in range(0, len(octets), step):
        reader.feed(octets[start : start + step])
    reader.end()
    assert b"".join(taken) == b"a\r\n\r\nb\r\n\r\n.\r\n\r\n" * 5 + b"c\r\n"
    assert reader.fault is None
