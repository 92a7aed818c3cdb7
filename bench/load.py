"""A load client: plain SMTP over several connections; for every 250 to a message it notes its Message-ID and queue id.

Unlike smtp-source it goes on to the end of each connection and knows afterwards which messages the server has promised
to deliver, so it can be used to kill the server in the middle. `python bench/load.py --help` runs it alone.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

DEADLINE = 60.0  # seconds for a reply
QUEUED = re.compile(rb"queued as (\d+)")
FILLER = b"x" * 76 + b"\r\n"
LAST = b"x" * 66 + b" the end.\r\n"  # the last line of every message: what has it arrived whole


@dataclass(frozen=True)
class Load:
    """What is sent: `messages` of about `size` bytes over `connections`. {n} in an address is the message's number."""

    connections: int = 20
    messages: int = 2000
    size: int = 4096
    sender: str = "alice@one.example"
    recipient: str = "user{n}@example.org"


@dataclass(frozen=True)
class Accepted:
    """A message that got its 250, and when (seconds since the start)."""

    message_id: str
    queue_id: int
    at: float


@dataclass
class Outcome:
    """What became of a load. `unanswered`: the Message-IDs whose end of data was sent, and no reply came."""

    accepted: list[Accepted] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)  # by the reply's first line
    unanswered: list[str] = field(default_factory=list)
    lost: int = 0  # connections that ended before QUIT
    seconds: float = 0.0


class Lost(Exception):
    """The connection is gone."""


class Client:
    """One connection. Its methods raise Lost."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def reply(self) -> tuple[int, bytes]:
        """Code and last line of the next reply."""
        try:
            line = b"000-"
            while line[3:4] == b"-":
                line = await asyncio.wait_for(self.reader.readline(), DEADLINE)
        except OSError as error:
            raise Lost from error
        if not line.endswith(b"\n"):
            raise Lost
        return int(line[:3]), line.rstrip()

    async def ask(self, octets: bytes) -> tuple[int, bytes]:
        try:
            self.writer.write(octets)
            await self.writer.drain()
        except OSError as error:
            raise Lost from error
        return await self.reply()


class Run:
    """A load on its way. `on_accepted` is told the number of messages accepted so far, after each one."""

    def __init__(self, host: str, port: int, load: Load, on_accepted: Callable[[int], None] | None = None) -> None:
        self.host = host
        self.port = port
        self.load = load
        self.on_accepted = on_accepted
        self.outcome = Outcome()
        self.sent = 0
        self.body = FILLER * (load.size // len(FILLER) - 1) + LAST
        self.started = time.monotonic()

    async def run(self) -> Outcome:
        await asyncio.gather(*(self.connection() for _ in range(self.load.connections)))
        self.outcome.seconds = time.monotonic() - self.started
        return self.outcome

    async def connection(self) -> None:
        """Send messages of the load, one after the other, until there are no more or the connection is lost."""
        try:
            reader, writer = await asyncio.open_connection(self.host, self.port)
        except OSError:
            self.outcome.lost += 1
            return
        client = Client(reader, writer)
        try:
            await client.reply()
            await client.ask(b"EHLO load.example\r\n")
            while self.sent < self.load.messages:
                self.sent += 1
                await self.message(client, self.sent)
            await client.ask(b"QUIT\r\n")
        except Lost:
            self.outcome.lost += 1
        finally:
            writer.transport.abort()

    async def message(self, client: Client, number: int) -> None:
        """One mail transaction."""
        sender, recipient = (text.format(n=number) for text in (self.load.sender, self.load.recipient))
        for command in (f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>", "DATA"):
            code, line = await client.ask(command.encode() + b"\r\n")
            if code >= 400:
                await self.refuse(client, line)
                return
        message_id = f"<{uuid.uuid4()}@load.example>"
        head = f"From: {sender}\r\nTo: {recipient}\r\nMessage-ID: {message_id}\r\nSubject: load\r\n\r\n"
        self.outcome.unanswered.append(message_id)
        code, line = await client.ask(head.encode() + self.body + b".\r\n")
        self.outcome.unanswered.remove(message_id)
        queued = QUEUED.search(line)
        if code == 250 and queued:
            self.outcome.accepted.append(Accepted(message_id, int(queued[1]), time.monotonic() - self.started))
            if self.on_accepted is not None:
                self.on_accepted(len(self.outcome.accepted))
        else:
            await self.refuse(client, line)

    async def refuse(self, client: Client, line: bytes) -> None:
        self.outcome.refused[line.decode("ascii", "replace")] += 1
        await client.ask(b"RSET\r\n")


def send(host: str, port: int, load: Load, on_accepted: Callable[[int], None] | None = None) -> Outcome:
    """Send a load to its end, or to the end of all connections."""
    return asyncio.run(Run(host, port, load, on_accepted).run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    for name in ("connections", "messages", "size"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Load, name))
    for name in ("sender", "recipient"):
        parser.add_argument(f"--{name}", default=getattr(Load, name), help="{n} is the number of the message")
    parser.add_argument("--log", type=Path, help="write queue id and Message-ID of every 250 to this file")
    given = parser.parse_args()
    load = Load(given.connections, given.messages, given.size, given.sender, given.recipient)
    outcome = send(given.host, given.port, load)
    if given.log:
        given.log.write_text("".join(f"{item.queue_id} {item.message_id}\n" for item in outcome.accepted))
    count = len(outcome.accepted)
    print(f"{count} accepted in {outcome.seconds:.2f} s ({count / outcome.seconds:.0f}/s)")
    print(f"{outcome.lost} connections lost, {len(outcome.unanswered)} messages without a reply to their end of data")
    for line, times in outcome.refused.most_common(10):
        print(f"{times} × {line}")


if __name__ == "__main__":
    main()
