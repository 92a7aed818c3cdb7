"""The embedded virus scanner, a real clamd, and one that misbehaves."""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path

import pytest
from servers import Clamd

from hsl.runtime.log import Log
from hsl.runtime.message import BytesBody
from hsl.runtime.protocols import BackendUnavailable
from hsl.runtime.scanners import EICAR, ClamdScanner, EmbeddedVirusScanner

pytestmark = pytest.mark.asyncio

VIRUS = b"this file stands for a virus\n" * 40
NAME = "Our.Test.Signature"


class Chunks:
    """A body in pieces of a given size."""

    def __init__(self, data: bytes, size: int) -> None:
        self.data = data
        self.piece = size

    @property
    def size(self) -> int:
        return len(self.data)

    def chunks(self) -> Iterator[bytes]:
        for start in range(0, len(self.data), self.piece):
            yield self.data[start : start + self.piece]


@pytest.mark.parametrize("size", [1, 30, 65536])
@pytest.mark.parametrize(
    ("text", "found"),
    [
        (EICAR, ["Eicar-Test-Signature"]),
        (b"Subject: x\r\n\r\nsee\r\n" + EICAR + b"\r\n", ["Eicar-Test-Signature"]),
        (EICAR[:-1], []),
        (base64.b64encode(EICAR), []),
        (b"", []),
    ],
)
async def test_embedded(text: bytes, found: list[str], size: int) -> None:
    assert await EmbeddedVirusScanner().scan_viruses(Chunks(text, size)) == found


@pytest.fixture(scope="module")
def clamd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clamd]:
    with Clamd(tmp_path_factory.mktemp("clamd"), VIRUS, NAME) as server:
        yield server


def scanner(port: int, timeout: float = 20.0, max_size: int = 1 << 20) -> tuple[ClamdScanner, list[str]]:
    lines: list[str] = []
    return ClamdScanner("127.0.0.1", port, timeout, max_size, Log("debug", lines.append)), lines


def mail(attachment: bytes) -> BytesBody:
    message = EmailMessage()
    message["Subject"] = "see attached"
    message.set_content("Hello")
    message.add_attachment(attachment, maintype="application", subtype="octet-stream", filename="a.bin")
    return BytesBody(message.as_bytes().replace(b"\n", b"\r\n"))


async def test_clamd_takes_the_message_apart(clamd: Clamd) -> None:
    made, lines = scanner(clamd.port)
    assert await made.scan_viruses(mail(VIRUS)) == [f"{NAME}.UNOFFICIAL"]
    assert await made.scan_viruses(mail(VIRUS[:-1])) == []
    assert await made.scan_viruses(BytesBody(b"")) == []
    assert lines == []


async def test_many_scans_at_once(clamd: Clamd) -> None:
    made, _ = scanner(clamd.port)
    bodies = [mail(VIRUS if number % 2 else b"clean") for number in range(40)]
    found = await asyncio.gather(*(made.scan_viruses(body) for body in bodies))
    assert [len(names) for names in found] == [number % 2 for number in range(40)]


async def test_a_message_over_the_limit_is_not_scanned(clamd: Clamd) -> None:
    size = mail(VIRUS).size
    made, lines = scanner(clamd.port, max_size=size)
    assert await made.scan_viruses(mail(VIRUS)) != []
    made, lines = scanner(clamd.port, max_size=size - 1)
    assert await made.scan_viruses(mail(VIRUS)) == []
    assert [line.split(" ")[2] for line in lines] == ["clamd-too-big"]


async def test_more_than_clamd_takes(clamd: Clamd) -> None:
    """Its StreamMaxLength is below ours: that is an error, not a clean message."""
    made, lines = scanner(clamd.port, max_size=1 << 30)
    with pytest.raises(BackendUnavailable):
        await made.scan_viruses(BytesBody(b"x" * (3 << 20)))
    assert "clamd-down" in lines[0]


ANSWERS = [
    b"",
    b"stream: what?\n",
    b"nonsense",
    b"other: OK\n",
    b"stream: A problem. ERROR\n",
    b"\xff\n",
    b"x" * 100_000,
]


@asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[int]:
    """A server that takes a stream and says this; None: nothing, ever."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\0\0\0\0")
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize("answer", ANSWERS)
async def test_a_wrong_answer_is_no_clean_message(answer: bytes) -> None:
    async with answering(answer) as port:
        made, lines = scanner(port)
        with pytest.raises(BackendUnavailable, match="clamd does not answer"):
            await made.scan_viruses(BytesBody(b"abc"))
    assert len(lines) == 1


async def test_no_answer_in_time() -> None:
    async with answering(None) as port:
        made, lines = scanner(port, timeout=0.1)
        with pytest.raises(BackendUnavailable):
            await made.scan_viruses(BytesBody(b"abc"))
    assert "no answer in time" in lines[0]


async def test_twenty_scans_at_once_and_no_more() -> None:
    """The others wait for their turn, and each gets one."""
    open_now = most = 0
    full = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        if open_now == 20:
            full.set()
        await reader.readuntil(b"\0\0\0\0")
        await full.wait()
        await asyncio.sleep(0.05)
        open_now -= 1
        writer.write(b"stream: OK\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    made, _ = scanner(server.sockets[0].getsockname()[1])
    async with server:
        found = await asyncio.gather(*(made.scan_viruses(BytesBody(b"abc")) for _ in range(60)))
    assert (found, most) == ([[]] * 60, 20)


async def test_an_outage_is_logged_once_and_ends(unused_tcp_port: int, clamd: Clamd) -> None:
    made, lines = scanner(unused_tcp_port)
    for _ in range(3):
        with pytest.raises(BackendUnavailable):
            await made.scan_viruses(BytesBody(b"abc"))
    made.client.port = clamd.port
    assert await made.scan_viruses(BytesBody(b"abc")) == []
    assert [line.split(" ")[2] for line in lines] == ["clamd-down", "clamd-up"]


async def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "aioclamd", None)
    with pytest.raises(ImportError, match=r"scanners\.clamav needs the package aioclamd: pip install 'hslmta\[scan\]'"):
        scanner(1)
