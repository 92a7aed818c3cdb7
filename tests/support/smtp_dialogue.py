"""SMTP dialogues on a real loopback socket, a deadline for each read; and fakes with knobs for what the server needs.

A dialogue is text: lines `C: …` are sent, lines `S: …` must be how the next reply begins (`S:` alone: the peer closes).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from hsl.runtime.log import Log
from hsl.runtime.protocols import QueueFull
from hsl.runtime.reply import reply
from hsl.runtime.verdict import Verdict
from hsl.smtpd.config import Server
from hsl.smtpd.server import SMTPServer

DEADLINE = 10.0  # seconds until a silent peer fails the test
CODES = {
    "connect": (220, 521, 421),
    "helo": (250, 554, 450),
    "auth": (235, 535, 454),
    "mailfrom": (250, 554, 450),
    "rcptto": (250, 554, 450),
    "data": (250, 550, 421),
}
ACCEPT = Verdict("accept")
IMPLICIT = Verdict("accept", explicit=False)
REJECT = Verdict("reject")
DEFER = Verdict("defer")
ERROR = Verdict("defer", explicit=False, error=True)


class Dialogue:
    """One client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, address: tuple[str, int], *, tls: ssl.SSLContext | None = None, local: str | None = None):
        """Connect, from the address `local` if given."""
        opening = asyncio.open_connection(*address, ssl=tls, local_addr=local and (local, 0))
        return cls(*await asyncio.wait_for(opening, DEADLINE))

    async def line(self) -> str:
        return (await asyncio.wait_for(self.reader.readline(), DEADLINE)).decode().rstrip("\r\n")

    async def reply(self) -> str:
        """The next reply, its lines joined by newlines; "" when the peer has closed."""
        try:
            lines = [await self.line()]
            while lines[-1][3:4] == "-":
                lines.append(await self.line())
        except ConnectionError:
            return ""
        return "\n".join(lines)

    async def send(self, octets: bytes) -> None:
        self.writer.write(octets)
        await asyncio.wait_for(self.writer.drain(), DEADLINE)

    async def ask(self, line: str) -> str:
        await self.send(line.encode("latin-1") + b"\r\n")
        return await self.reply()

    async def play(self, text: str) -> None:
        """Run a dialogue; the first difference fails."""
        for number, line in enumerate(text.strip().splitlines(), 1):
            side, _, rest = line.strip().partition(":")
            if not side:
                continue
            rest = rest.removeprefix(" ")
            if side == "C":
                await self.send(rest.encode("latin-1") + b"\r\n")
            else:
                got = await self.reply()
                assert got.startswith(rest) if rest else got == "", f"line {number}: wanted {rest!r}, got {got!r}"

    async def start_tls(self, context: ssl.SSLContext) -> None:
        await asyncio.wait_for(self.writer.start_tls(context, server_hostname="localhost"), DEADLINE)
        self.reader._transport = self.writer.transport

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await asyncio.wait_for(self.writer.wait_closed(), DEADLINE)


@dataclass
class FakeRunner:
    """Per stage a verdict, or a function of the context that gives one (async or not); other stages have no hook."""

    stages: dict[str, Verdict | Callable] = field(default_factory=dict)
    contexts: list = field(default_factory=list)

    def has(self, stage: str) -> bool:
        return stage in self.stages

    async def run(self, context) -> Verdict:
        self.contexts.append(context)
        knob = self.stages[context.stage]
        verdict = knob(context) if callable(knob) else knob
        return await verdict if asyncio.iscoroutine(verdict) else verdict

    def reply(self, stage: str, verdict: Verdict, default_text: str | None = None):
        codes = dict(zip(("accept", "reject", "defer"), CODES[stage], strict=True))
        text = verdict.reason or default_text or f"{stage} {verdict.action}"
        code = verdict.code or codes[verdict.action]
        return reply(code, text, verdict.enhanced, close=verdict.disconnect)

    def forget_message(self, message_id: str) -> None:
        """There is nothing to forget."""

    def seen(self, stage: str) -> list:
        return [item for item in self.contexts if item.stage == stage]


@dataclass
class FakeOutcome:
    mails: list
    stage = "data"
    disconnect: bool = False
    verdict: str = "250 queued as {}"
    at: None = None

    def reply(self, ids):
        code, _, text = self.verdict.format(",".join(map(str, ids))).partition(" ")
        return reply(int(code), text)


@dataclass
class FakeStage:
    """Stands for run_message: keeps each message's bytes; `verdict` is the reply, `mails` what is stored."""

    verdict: str = "250 queued as {}"
    stores: bool = True
    error: Exception | None = None
    disconnect: bool = False
    messages: list[bytes] = field(default_factory=list)
    traces: list[bytes] = field(default_factory=list)
    transactions: list = field(default_factory=list)
    gate: asyncio.Event | None = None  # the stage waits for it
    running: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, runner, connection, transaction, message):
        self.running.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.messages.append(b"".join(message.original.chunks()))
        self.traces.append(message.trace)
        self.transactions.append(transaction)
        mails = [(transaction, message)] if self.stores else []
        return FakeOutcome(mails, self.disconnect, self.verdict)


@dataclass
class FakeQueue:
    """Takes everything; `full`, `error` and `room` are the knobs, `gate` holds a commit back."""

    stored: list = field(default_factory=list)
    full: bool = False
    error: Exception | None = None
    room: int = 1 << 40
    gate: asyncio.Event | None = None
    committing: asyncio.Event = field(default_factory=asyncio.Event)

    async def apply(self, *, store=()):
        self.committing.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.full:
            raise QueueFull
        if self.error is not None:
            raise self.error
        for transaction, message in store:
            self.stored.append((transaction, b"".join(message.original.chunks())))
        return list(range(len(self.stored), len(self.stored) + len(store)))

    def has_room(self, size: int = 0) -> bool:
        return size <= self.room


class Bench:
    """A server on a free port with its fakes, and the dialogues with it; all of them end at `close`."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.folder = folder
        self.runner = FakeRunner()
        self.queue = FakeQueue()
        self.stage = FakeStage()
        self.lines: list[str] = []
        self.clients: list[Dialogue] = []
        self.servers: list[SMTPServer] = []
        monkeypatch.setattr("hsl.smtpd.mailsession.run_message", self.stage)

    async def start(self, *, listeners=None, resolver=None, clock=None, **settings) -> SMTPServer:
        """`settings` are those of `servers[]`."""
        listeners = listeners or [{"port": 0}]
        config = Server.model_validate({"id": "test", "transport": "out", "listeners": listeners, **settings})
        server = SMTPServer(
            config, runner=self.runner, queue=self.queue, log=Log("debug", self.lines.append),
            hostname="mx.example", spool_path=self.folder, resolver=resolver, clock=clock,
        )  # fmt: skip
        self.addresses = await server.start()
        self.servers.append(server)
        return server

    async def client(self, *, port: int = 0, **options) -> Dialogue:
        dialogue = await Dialogue.connect(self.addresses[port], **options)
        self.clients.append(dialogue)
        return dialogue

    async def greeted(self, **options) -> Dialogue:
        """A client past EHLO."""
        dialogue = await self.client(**options)
        await dialogue.play("S: 220\nC: EHLO client.example\nS: 250")
        return dialogue

    async def play(self, text: str, **options) -> Dialogue:
        dialogue = await self.client(**options)
        await dialogue.play(text)
        return dialogue

    def verdicts(self, stage: str) -> list[str]:
        return [line for line in self.lines if f" verdict stage={stage} " in line]

    async def close(self) -> None:
        for client in self.clients:
            client.writer.transport.abort()
        for server in self.servers:
            await server.stop(grace=2.0)
            assert server.sessions == 0
            assert server._bytes.used == 0


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something holds; fails at the deadline."""

    async def wait() -> None:
        while not condition():
            await asyncio.sleep(0.005)

    await asyncio.wait_for(wait(), DEADLINE)


def disconnecting(verdict: Verdict) -> Verdict:
    return replace(verdict, disconnect=True)
