"""A scripted SMTP server for tests of the outbound client: the whole protocol, a record of what came, error knobs."""

from __future__ import annotations

import asyncio
import base64
import hmac
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

EXTENSIONS = ("SIZE 104857600", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "AUTH PLAIN LOGIN")


@dataclass
class Message:
    """One transaction that reached its final dot; `data` is without dot-stuffing, `raw` as it came."""

    mail: bytes
    rcpt: list[bytes]
    raw: bytes

    @property
    def data(self) -> bytes:
        lines = self.raw.split(b"\r\n")
        return b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)


@dataclass
class SessionRecord:
    ip: str
    commands: list[bytes] = field(default_factory=list)
    tls: bool = False
    partial: bytes = b""  # body bytes of a transaction whose dot never came


@dataclass
class Peer:
    """Knobs. States: BANNER, EHLO, HELO, STARTTLS, AUTH, MAIL, RCPT, DATA, BODY (within the body), EOD, RSET, QUIT.

    replies     state -> replies in turn, the last one repeats; lines joined by \\n
    drop        close without a reply when this state is reached
    hang        never answer when this state is reached
    stall       stop reading after this many body bytes, until `resume` is set
    early       reply sent after the first body bytes, before the dot
    """

    replies: dict[str, list[str]] = field(default_factory=dict)
    drop: str = ""
    hang: str = ""
    stall: int = -1
    early: str = ""
    extensions: tuple[str, ...] = EXTENSIONS
    context: ssl.SSLContext | None = None
    broken_tls: bool = False
    users: dict[bytes, bytes] = field(default_factory=lambda: {b"user": b"secret"})
    sessions: list[SessionRecord] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)  # a session ended
    stalled: asyncio.Event = field(default_factory=asyncio.Event)
    resume: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @asynccontextmanager
    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Peer]:
        server = await asyncio.start_server(self.accept, host, port, limit=1 << 20)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in list(self.tasks):
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
            await server.wait_closed()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        record = SessionRecord(writer.get_extra_info("peername")[0])
        self.sessions.append(record)
        try:
            await Session(self, reader, writer, record).run()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        except asyncio.CancelledError:
            pass
        finally:
            self.ended.set()
            writer.transport.abort()

    @property
    def commands(self) -> list[bytes]:
        return [command for session in self.sessions for command in session.commands]


class Ended(Exception):
    pass


class Session:
    def __init__(
        self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: SessionRecord
    ) -> None:
        self.peer, self.reader, self.writer, self.record = peer, reader, writer, record
        self.mail = b""
        self.rcpt: list[bytes] = []

    async def run(self) -> None:
        try:
            await self.answer("BANNER", "220 peer.example ESMTP")
            while line := await self.reader.readline():
                command = line.rstrip(b"\r\n")
                self.record.commands.append(command)
                await self.dispatch(command)
        except Ended:
            pass

    async def answer(self, state: str, text: str) -> str:
        """Send the state's own reply, or this one, unless a knob says otherwise. The code that was sent."""
        if self.peer.drop == state:
            raise Ended
        if self.peer.hang == state:
            await self.reader.read()
            raise Ended
        scripted = self.peer.replies.get(state)
        if scripted:
            text = scripted.pop(0) if len(scripted) > 1 else scripted[0]
        lines = text.split("\n")
        code = lines[0][:3]
        shown = [line if line[:3].isdigit() or not code.isdigit() else f"{code} {line}" for line in lines]
        marked = [line[:3] + "-" + line[4:] for line in shown[:-1]] + shown[-1:]
        await self.send("".join(line + "\r\n" for line in marked).encode("utf-8", "surrogateescape"))
        if code == "421":
            raise Ended
        return code

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def dispatch(self, command: bytes) -> None:
        verb = command.split(b" ")[0].upper().decode("ascii", "replace")
        handler = getattr(self, f"do_{verb.lower()}", None)
        if handler is None:
            await self.answer(verb, "500 5.5.2 unknown command")
        else:
            await handler(command)

    async def do_ehlo(self, command: bytes) -> None:
        self.mail, self.rcpt = b"", []
        offered = list(self.peer.extensions)
        if (self.peer.context or self.peer.broken_tls) and not self.record.tls:
            offered.append("STARTTLS")
        await self.answer("EHLO", "\n".join(["250 peer.example", *offered]))

    async def do_lhlo(self, command: bytes) -> None:
        await self.answer("LHLO", "\n".join(["250 peer.example", *self.peer.extensions]))

    async def do_xclient(self, command: bytes) -> None:
        await self.answer("XCLIENT", "220 peer.example ESMTP")

    async def do_helo(self, command: bytes) -> None:
        await self.answer("HELO", "250 peer.example")

    async def do_starttls(self, command: bytes) -> None:
        if await self.answer("STARTTLS", "220 2.0.0 go") != "220":
            return
        if self.peer.broken_tls:
            await self.send(b"this is no handshake\r\n")
            await self.reader.read(1024)
            raise Ended
        assert self.peer.context is not None
        await self.writer.start_tls(self.peer.context)
        self.record.tls = True

    async def do_auth(self, command: bytes) -> None:
        words = command.split(b" ")
        if words[1].upper() == b"PLAIN":
            _, user, password = base64.b64decode(words[2]).split(b"\0")
        elif words[1].upper() == b"CRAM-MD5":
            challenge = b"<1.2@peer.example>"
            if await self.answer("AUTH-CRAM-MD5", "334 " + base64.b64encode(challenge).decode()) != "334":
                return
            user, digest = base64.b64decode(await self.reader.readline()).split(b" ")
            known = self.peer.users.get(user, b"")
            password = known if hmac.new(known, challenge, "md5").hexdigest().encode() == digest else b""
        else:
            await self.answer("AUTH-LOGIN", "334 VXNlcm5hbWU6")
            user = base64.b64decode(await self.reader.readline())
            await self.answer("AUTH-LOGIN-USER", "334 UGFzc3dvcmQ6")
            password = base64.b64decode(await self.reader.readline())
        good = self.peer.users.get(user) == password
        await self.answer("AUTH", "235 2.7.0 welcome" if good else "535 5.7.8 wrong credentials")

    async def do_mail(self, command: bytes) -> None:
        if self.mail:
            await self.answer("NESTED", "503 5.5.1 nested MAIL")
        elif (await self.answer("MAIL", "250 2.1.0 ok"))[0] == "2":
            self.mail = command

    async def do_rcpt(self, command: bytes) -> None:
        if not self.mail:
            await self.answer("EARLY", "503 5.5.1 MAIL first")
        elif (await self.answer("RCPT", "250 2.1.5 ok"))[0] == "2":
            self.rcpt.append(command)

    async def do_data(self, command: bytes) -> None:
        if not self.rcpt:
            await self.answer("EARLY", "503 5.5.1 RCPT first")
        elif await self.answer("DATA", "354 go") == "354":
            raw = await self.read_body()
            self.peer.messages.append(Message(self.mail, self.rcpt, raw))
            self.mail, self.rcpt = b"", []
            await self.answer("EOD", "250 2.0.0 Ok: queued as 1234")

    async def read_body(self) -> bytes:
        """Everything up to CRLF.CRLF (the CRLF of DATA counts as the first one)."""
        body = bytearray(b"\r\n")
        while not body.endswith(b"\r\n.\r\n"):
            if self.peer.stall >= 0 and len(body) > self.peer.stall:
                self.peer.stalled.set()
                await self.peer.resume.wait()
            block = await self.reader.read(65536)
            body += block
            self.record.partial = bytes(body[2:])
            if not block or (self.peer.drop == "BODY" and len(body) > 2):
                raise Ended
            if self.peer.early:
                await self.send(self.peer.early.encode() + b"\r\n")
                self.peer.early = ""
        self.record.partial = b""
        return bytes(body[2:-3])

    async def do_rset(self, command: bytes) -> None:
        self.mail, self.rcpt = b"", []
        await self.answer("RSET", "250 2.0.0 ok")

    async def do_quit(self, command: bytes) -> None:
        await self.answer("QUIT", "221 2.0.0 bye")
        raise Ended
