"""The embedded scanners on tables of messages, and a real spamd."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import Spamd

from hsl.runtime.clock import SystemClock
from hsl.runtime.log import Log
from hsl.runtime.protocols import BackendUnavailable, ScanEnvelope, SpamResult
from hsl.runtime.scanners import CLASSES, GTUBE, EmbeddedOutbreakScanner, EmbeddedSpamScanner, SpamdScanner, trace

pytestmark = pytest.mark.asyncio
ENVELOPE = ScanEnvelope("t-1", "192.0.2.9", "client.example", "a@one.example", ("b@two.example",))
HEAD = b"From: a@one.example\r\nTo: b@two.example\r\nSubject: hello\r\n\r\n"
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


class Chunks:
    """A body in pieces of a given size."""

    def __init__(self, data: bytes, size: int = 65536) -> None:
        self.data = data
        self.piece = size

    @property
    def size(self) -> int:
        return len(self.data)

    def chunks(self) -> Iterator[bytes]:
        for start in range(0, len(self.data), self.piece):
            yield self.data[start : start + self.piece]


@pytest.mark.parametrize(
    ("text", "score", "rules"),
    [
        (GTUBE, 1000.0, {"GTUBE": 1000.0}),
        (b"x" * 200 + GTUBE + b"y" * 200, 1000.0, {"GTUBE": 1000.0}),
        (GTUBE + b"\r\n" + GTUBE, 1000.0, {"GTUBE": 1000.0}),
        (b"", 0.0, {}),
        (EICAR, 0.0, {}),
        (GTUBE[:-1], 0.0, {}),
        (GTUBE.lower(), 0.0, {}),
        (GTUBE[:-1] + GTUBE, 1000.0, {"GTUBE": 1000.0}),
    ],
)
@pytest.mark.parametrize("size", [1, 7, len(GTUBE) - 1, len(GTUBE), 65536])
async def test_embedded_spam(text: bytes, score: float, rules: dict[str, float], size: int) -> None:
    assert await EmbeddedSpamScanner().scan(Chunks(HEAD + text, size), ENVELOPE) == SpamResult(score, rules)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b"hello", 0),
        *((mark, level) for level, mark in CLASSES.items()),
        (CLASSES[10] + b"\r\n" + CLASSES[50] + b"\r\n" + CLASSES[40], 50),
        (GTUBE + CLASSES[10], 100),
        (CLASSES[50][:-1], 0),
    ],
)
@pytest.mark.parametrize("size", [1, 61, 65536])
async def test_embedded_outbreak(text: bytes, wanted: int, size: int) -> None:
    level, refid = await EmbeddedOutbreakScanner().classify(Chunks(HEAD + text, size), ENVELOPE)
    again = await EmbeddedOutbreakScanner().classify(Chunks(HEAD + text), ENVELOPE)
    other = await EmbeddedOutbreakScanner().classify(Chunks(HEAD + text + b"."), ENVELOPE)
    assert level == wanted
    assert (level, refid) == again
    assert refid != other[1]
    assert len(refid) == 32


async def test_the_classes_are_documented() -> None:
    doc = EmbeddedOutbreakScanner.__doc__ or ""
    assert [mark for level, mark in CLASSES.items() if level < 100 and mark.decode() not in doc] == []


async def test_a_large_message_gives_others_their_turn() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(other())
    assert (await EmbeddedSpamScanner().scan(Chunks(b"a" * 10_000_000), ENVELOPE)).score == 0
    task.cancel()
    assert turns > 5


@pytest.mark.parametrize("bad", ["a\r\nX-Evil: 1", "a\nb", "a;b", "a b", "a>b<c(d)", "a\\b", "ä\0\x7f"])
async def test_nothing_is_injected_into_the_trace(bad: str) -> None:
    header = trace(ScanEnvelope(bad, bad, bad, bad, ()))
    first, second, rest = header.split(b"\r\n")
    assert first.startswith(b"Received: from ")
    assert second.startswith(b"\t(envelope-from <")
    assert rest == b""
    assert first.count(b" ") == len(b"Received: from x ([x]) by localhost with ESMTP id x".split(b" ")) - 1
    assert header.count(b"\r") == header.count(b"\n") == 2
    assert header.count(b"<") == header.count(b";") == 1


@pytest.fixture(scope="module")
def spamd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spamd]:
    with Spamd(tmp_path_factory.mktemp("spamd")) as server:
        yield server


def scanner(server: Spamd, log: Log | None = None, *, timeout: float = 20.0, concurrency: int = 20) -> SpamdScanner:
    log = log or Log("critical")
    return SpamdScanner(server.host, server.port, timeout, 100_000, log, SystemClock(), concurrency)


async def test_spamd_knows_gtube(spamd: Spamd) -> None:
    result = await scanner(spamd).scan(Chunks(HEAD + GTUBE + b"\r\n"), ENVELOPE)
    assert result.score > 900
    assert result.rules["GTUBE"] == 1000


async def test_spamd_finds_mail_clean_and_sees_the_relay(spamd: Spamd) -> None:
    result = await scanner(spamd).scan(Chunks(HEAD + b"How are you?\r\n"), ENVELOPE)
    assert result.score < 5
    assert result.rules == {"TEST_RELAY": -0.5}
    elsewhere = ScanEnvelope("t-2", "192.0.2.10", "client.example", "", ())
    assert (await scanner(spamd).scan(Chunks(HEAD), elsewhere)).rules == {}


async def test_spamd_gives_every_rule_its_score(spamd: Spamd) -> None:
    message = HEAD.replace(b"hello", b"hslmta-test") + GTUBE + b"\r\n"
    result = await scanner(spamd).scan(Chunks(message), ENVELOPE)
    assert result == SpamResult(1001.0, {"GTUBE": 1000.0, "TEST_SUBJECT": 1.5, "TEST_RELAY": -0.5})


async def test_spamd_many_at_once(spamd: Spamd) -> None:
    once = scanner(spamd, concurrency=3)
    results = await asyncio.gather(*(once.scan(Chunks(HEAD + b"x\r\n" * index), ENVELOPE) for index in range(20)))
    assert {result.score for result in results} == {-0.5}


@pytest.mark.parametrize(("size", "scanned"), [(100_000, True), (100_001, False)])
async def test_spamd_message_too_big(spamd: Spamd, size: int, scanned: bool) -> None:
    lines: list[str] = []
    message = (HEAD + GTUBE + b"\r\n").ljust(size, b"x\r\n"[:1])
    result = await scanner(spamd, Log(write=lines.append)).scan(Chunks(message), ENVELOPE)
    assert (result.score > 900) is scanned
    assert (result == SpamResult(0.0, {"NOT_SCANNED_TOO_BIG": 0.0})) is not scanned
    assert [line.split(" ", 1)[1] for line in lines] == (
        [] if scanned else ["warning spamd-too-big transaction=t-1 size=100001 limit=100000"]
    )


async def test_spamd_outage(tmp_path: Path) -> None:
    """Stopped, then back: every call fails or answers, and the log has one line for each turn."""
    lines: list[str] = []
    with Spamd(tmp_path) as server:
        asked = scanner(server, Log(write=lines.append), timeout=0.5)
        assert (await scanner(server).scan(Chunks(HEAD), ENVELOPE)).score < 5
        server.stop()
        for _ in range(3):
            with pytest.raises(BackendUnavailable, match="spamd does not answer"):
                await asked.scan(Chunks(HEAD), ENVELOPE)
        server.start()
        asked.timeout = 20.0
        assert (await asked.scan(Chunks(HEAD), ENVELOPE)).score < 5
    assert [line.split(" ")[1:3] for line in lines] == [["warning", "spamd-down"], ["info", "spamd-up"]]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"",
        b"nonsense\r\n\r\n",
        b"SPAMD/1.1 0 EX_OK\r\nContent-length: 0\r\n\r\n",
        b"SPAMD/1.1 0 EX_OK\r\nSpam: True ; 5.0 / 5.0\r\nContent-length: 99\r\n\r\nshort",
        b"SPAMD/1.1 75 EX_TEMPFAIL\r\n\r\n",
        b"SPAMD/1.1 0 EX_OK\r\nSpam: True ; x / 5.0\r\n\r\n",
        b"x" * 2_000_000,
    ],
    ids=["silence", "nothing", "nonsense", "no score", "cut", "error", "bad score", "endless"],
)
async def test_a_spamd_that_answers_wrong(answer: bytes | None) -> None:
    lines: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
            if answer is None:
                await asyncio.sleep(3600)
            writer.write(answer or b"")
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    asked = SpamdScanner("127.0.0.1", port, 0.5, 1000, Log(write=lines.append), SystemClock())
    async with asyncio.timeout(5):
        with pytest.raises(BackendUnavailable):
            await asked.scan(Chunks(HEAD), ENVELOPE)
    server.close()
    assert len(lines) == 1


async def test_without_aiospamc_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("aiospamc.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "aiospamc", None)
    with pytest.raises(ImportError, match=r"pip install 'hslmta\[scan\]'"):
        SpamdScanner("127.0.0.1", 783, 1, 1000, Log("critical"), SystemClock())
