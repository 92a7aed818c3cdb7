"""Scanners. In: a message's bytes. Out: a spam score with its rules, or an outbreak class with its reference.

The embedded ones know their test strings only; SpamAssassin is asked on spamd's own protocol (through aiospamc).
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from email.utils import formatdate
from types import ModuleType
from typing import Any

from hsl.runtime.breaker import Breaker
from hsl.runtime.clock import SystemClock
from hsl.runtime.log import Log
from hsl.runtime.model import Body
from hsl.runtime.protocols import Clock, ScanEnvelope, SpamResult

GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
CLASSES = {
    10: b"ZQW*7RKDMTXPV2.KLDB9*4HJWNA*HSL-OUTBREAK-TEST-SUSPECT*C.10X",
    40: b"ZQW*7RKDMTXPV2.KLDB9*4HJWNA*HSL-OUTBREAK-TEST-VALID-BULK*C.40X",
    50: b"ZQW*7RKDMTXPV2.KLDB9*4HJWNA*HSL-OUTBREAK-TEST-BULK*C.50X",
    100: GTUBE,
}
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
BLOCK = 64 * 1024  # bytes of a message that is searched at once
TURN = 16  # chunks searched before other sessions get their turn
MAX_REPORT = 1 << 20  # bytes of spamd's answer
UNSAFE = re.compile(r"[^!-'*-:=?-[\]-~]+")  # kept out of a trace header: space, controls, ()<>;\\ and 8-bit
RULE = re.compile(
    rb"^ {0,3}(-?\d+(?:\.\d+)?) +([A-Za-z_]\w*)(?=\s|$)", re.MULTILINE
)  # a wrapped text is indented further
RULES_BELOW = re.compile(rb"^ *-+ -{10,} -{10,}[^\n]*\n", re.MULTILINE)


async def find(body: Body, marks: Iterable[bytes], digest: hashlib._Hash | None = None) -> set[bytes]:
    """Which of the marks occur in the message, also across chunks. Linear in its size. `digest` takes every byte."""
    wanted = set(marks)
    keep = max(map(len, wanted)) - 1
    found: set[bytes] = set()
    tail = b""
    for index, chunk in enumerate([b"".join(body.chunks())] if body.size <= BLOCK else body.chunks(), 1):
        if digest is not None:
            digest.update(chunk)
        window = tail + chunk
        found |= {mark for mark in wanted - found if mark in window}
        tail = window[-keep:]
        if index % TURN == 0:
            await asyncio.sleep(0)
    return found


class EmbeddedSpamScanner:
    """ScanSA() without SpamAssassin: a message with the GTUBE string scores 1000 (rule GTUBE), any other 0.

    https://spamassassin.apache.org/gtube/ has the string. Nothing else is spam to it: not EICAR, a virus test.
    """

    name = "embedded"

    async def scan(self, message: Body, envelope: ScanEnvelope) -> SpamResult:
        if await find(message, [GTUBE]):
            return SpamResult(1000.0, {"GTUBE": 1000.0})
        return SpamResult(0.0)


class EmbeddedOutbreakScanner:
    """ScanRPD() without an outbreak service: the class of the highest test string in the message, 0 without any.

    === ===================================================================
    10  ZQW*7RKDMTXPV2.KLDB9*4HJWNA*HSL-OUTBREAK-TEST-SUSPECT*C.10X
    40  ZQW*7RKDMTXPV2.KLDB9*4HJWNA*HSL-OUTBREAK-TEST-VALID-BULK*C.40X
    50  ZQW*7RKDMTXPV2.KLDB9*4HJWNA*HSL-OUTBREAK-TEST-BULK*C.50X
    100 GTUBE
    === ===================================================================

    The reference id is a hash of the message.
    """

    name = "embedded"

    async def classify(self, message: Body, envelope: ScanEnvelope) -> tuple[int, str]:
        refid = hashlib.sha256()
        found = await find(message, CLASSES.values(), refid)
        return max((level for level, mark in CLASSES.items() if mark in found), default=0), refid.hexdigest()[:32]


class EmbeddedVirusScanner:
    """ScanCLAM() without ClamAV: finds the EICAR test file where it stands in the message as it is, and nothing else.

    https://www.eicar.org has it. A test file that is encoded (base64), or in an archive, is not seen.
    """

    name = "embedded"

    async def scan_viruses(self, message: Body) -> list[str]:
        return ["Eicar-Test-Signature"] if await find(message, [EICAR]) else []


class ScannerDaemon:
    """A scanner that is asked over TCP.

    At most `concurrency` scans run at once, and waiting counts: a scan that is not done after `timeout` seconds, an
    unreachable daemon or a wrong answer raise BackendUnavailable. Messages over `max_size` bytes are not scanned, which
    is logged.
    """

    daemon: str
    errors: tuple[type[Exception], ...] = (OSError, ValueError)  # what a scan may end with

    def __init__(
        self,
        host: str,
        port: int,
        timeout: float,
        max_size: int,
        log: Log,
        clock: Clock | None = None,
        concurrency: int = 20,
    ) -> None:
        """Does not connect. Raises ImportError when the extra `scan` is not installed."""
        self.host = host
        self.port = port
        self.timeout = timeout
        self.max_size = max_size
        self.log = log
        self.outage = Breaker(self.daemon, f"{host}:{port}", log, clock or SystemClock())
        self.turns = asyncio.Semaphore(concurrency)
        self.load()

    def load(self) -> None:
        """Import the library that speaks to the daemon."""
        raise NotImplementedError

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """The turn of one scan. What goes wrong in it becomes BackendUnavailable."""
        try:
            async with asyncio.timeout(self.timeout), self.turns:
                yield
        except TimeoutError as error:
            raise self.outage.failed("no answer in time") from error
        except self.errors as error:
            raise self.outage.failed(f"{type(error).__name__}: {error}") from error
        self.outage.succeeded()


class ClamdScanner(ScannerDaemon):
    """ScanCLAM() by ClamAV's clamd over TCP (INSTREAM): the whole message, which clamd takes apart.

    Keep `max_size` at clamd's own StreamMaxLength.
    """

    name = "clamav"
    daemon = "clamd"

    def load(self) -> None:
        library = load_aioclamd()
        self.client = library.ClamdAsyncClient(self.host, self.port)
        self.errors = (*self.errors, library.ClamdError, TypeError, KeyError)

    async def scan_viruses(self, message: Body) -> list[str]:
        """Raises BackendUnavailable."""
        if message.size > self.max_size:
            self.log.warning("clamd-too-big", size=message.size, limit=self.max_size)
            return []
        async with self.turn():
            answer = await self.client.instream(Pieces(message))
            status, found = answer["stream"]
            if status not in ("FOUND", "OK"):
                raise ValueError(str(found))
        return [found] if status == "FOUND" else []


class Pieces:
    """A body as the file that aioclamd reads: it asks for 1 KiB in a thread each time, and gets what comes."""

    def __init__(self, body: Body) -> None:
        self.chunks = iter(body.chunks())

    def read(self, size: int) -> bytes:
        return next((chunk for chunk in self.chunks if chunk), b"")


def load_aioclamd() -> ModuleType:
    try:
        return importlib.import_module("aioclamd")
    except ImportError as error:
        raise ImportError(
            "scanners.clamav needs the package aioclamd: pip install 'hslmta[scan]'", name=error.name
        ) from error


class SpamdScanner(ScannerDaemon):
    """ScanSA() by SpamAssassin's spamd.

    It is asked for a REPORT, the one command whose answer has the total and every rule with its score (SYMBOLS names
    rules only). The rules are read from the report's table; a site that changed the template gets the total alone.

    A message over `max_size` bytes has score 0 and the rule NOT_SCANNED_TOO_BIG.
    """

    name = "spamassassin"
    daemon = "spamd"

    def load(self) -> None:
        self.spamc = load_aiospamc()

    async def scan(self, message: Body, envelope: ScanEnvelope) -> SpamResult:
        """Raises BackendUnavailable."""
        if message.size > self.max_size:
            self.log.warning("spamd-too-big", transaction=envelope.transaction, size=message.size, limit=self.max_size)
            return SpamResult(0.0, {"NOT_SCANNED_TOO_BIG": 0.0})
        async with self.turn():
            return read_report(await self.report(trace(envelope) + b"".join(message.chunks())))

    async def report(self, message: bytes) -> Any:
        """spamd's answer to REPORT. Raises OSError, or ValueError for an answer that is none or an error.

        aiospamc makes the request and reads the answer; its own connections are not used: they are left open when
        they fail, wait 600 s, and load the certificate authorities for every message.
        """
        request = bytes(self.spamc.requests.Request("REPORT", body=message))
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(request)
            writer.write_eof()
            await writer.drain()
            data = await read_all(reader)
        finally:
            writer.transport.abort()
        try:
            answer = self.spamc.responses.Response(**self.spamc.incremental_parser.ResponseParser().parse(data))
            answer.raise_for_status()
        except Exception as error:  # aiospamc has no common base of what it raises
            raise ValueError(f"spamd's answer: {type(error).__name__}") from error
        return answer


async def read_all(reader: asyncio.StreamReader) -> bytes:
    data = bytearray()
    while block := await reader.read(65536):
        data += block
        if len(data) > MAX_REPORT:
            raise ValueError(f"spamd's answer has more than {MAX_REPORT} bytes")
    return bytes(data)


def load_aiospamc() -> ModuleType:
    """aiospamc with the modules used here; it logs nothing unless its logger is enabled."""
    try:
        for module in ("requests", "responses", "incremental_parser"):
            importlib.import_module(f"aiospamc.{module}")
        return importlib.import_module("aiospamc")
    except ImportError as error:
        raise ImportError(
            "scanners.spamassassin needs the package aiospamc: pip install 'hslmta[scan]'", name=error.name
        ) from error


def trace(envelope: ScanEnvelope) -> bytes:
    """The Received header that the gateway will add (RFC 5321 4.4): rules on the client's IP and HELO need it."""
    helo, ip, transaction = (UNSAFE.sub("_", text) for text in (envelope.helo, envelope.remoteip, envelope.transaction))
    sender = UNSAFE.sub("_", envelope.sender)
    return (
        f"Received: from {helo or 'unknown'} ([{ip}]) by localhost with ESMTP id {transaction or 'none'}\r\n"
        f"\t(envelope-from <{sender}>); {formatdate()}\r\n"
    ).encode("ascii")


def read_report(answer: Any) -> SpamResult:
    """Score and rules of spamd's answer to REPORT. Raises ValueError without a score."""
    spam = answer.headers.spam
    if spam is None:
        raise ValueError("spamd's answer has no score")
    table = RULES_BELOW.search(answer.body)
    lines = RULE.findall(answer.body, table.end()) if table else []
    return SpamResult(float(spam.score), {name.decode(): float(score) for score, name in lines})
