"""Questions and answers between the supervisor and a worker, both ways, over one socket: lines of JSON in, and out.

A question is `{"ask": name, "with": {…}, "number": n}`, its answer `{"to": n, "is": {…}}`, a refusal
`{"to": n, "error": text}`. What needs no answer has no number.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from hsl.runtime.log import Log

MAX_LINE = 256 * 1024 * 1024  # octets of one message: all scripts of a configuration, or a long answer
MAX_WAITING = 256 * 1024 * 1024  # octets that the other side has not taken; then it is given up

Message = dict[str, Any]
Handler = Callable[[str, Message], Awaitable[Mapping[str, Any]]]
"""Answers a question by its name; what it raises as Refused goes to the one who asked."""


class Refused(Exception):
    """The other side said no; the text says why."""


class Lost(Exception):
    """The other side is gone, or did not answer in time."""


class Channel:
    """One end. `handle` answers what the other end asks; `closed` is set when that end is gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handle: Handler, log: Log) -> None:
        self.closed = asyncio.Event()
        self._reader = reader
        self._writer = writer
        self._handle = handle
        self._log = log
        self._serial = 0
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._read())

    @classmethod
    async def open(cls, end: socket.socket, handle: Handler, log: Log) -> Channel:
        reader, writer = await asyncio.open_unix_connection(sock=end, limit=MAX_LINE)
        return cls(reader, writer, handle, log)

    async def ask(self, name: str, wait: float | None, /, **fields: object) -> Message:
        """The answer, for which `wait` seconds are given (None: as long as it takes). Raises Refused, Lost."""
        self._serial += 1
        number = self._serial
        future = self._waiting[number] = self._loop.create_future()
        try:
            self._send({"ask": name, "with": fields, "number": number})
            async with asyncio.timeout(wait):
                answer: Message = await future
        except TimeoutError:
            raise Lost(f"no answer to {name} in {wait:g} seconds") from None
        finally:
            del self._waiting[number]
        return answer

    def tell(self, name: str, /, **fields: object) -> None:
        """Say something that has no answer. Nobody hears it when the other end is gone."""
        if not self.closed.is_set():
            self._send({"ask": name, "with": fields})

    def _send(self, message: Mapping[str, Any]) -> None:
        if self.closed.is_set():
            raise Lost("the other side is gone")
        self._writer.write(json.dumps(message).encode() + b"\n")
        if self._writer.transport.get_write_buffer_size() > MAX_WAITING:
            self._log.error("channel-stuck", waiting=self._writer.transport.get_write_buffer_size())
            self._writer.transport.abort()

    async def _read(self) -> None:
        try:
            while line := await self._reader.readline():
                self._take(json.loads(line))
        except ConnectionError:
            pass  # the other process was killed; who waits for its end says so
        except ValueError as error:
            self._log.error("channel-failed", error=repr(error))
        finally:
            self.closed.set()
            self._writer.close()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(Lost("the other side is gone"))

    def _take(self, message: Message) -> None:
        if "ask" in message:
            task = self._loop.create_task(self._answer(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        future = self._waiting.get(message["to"])
        if future is None or future.done():
            return
        if "error" in message:
            future.set_exception(Refused(message["error"]))
        else:
            future.set_result(message["is"])

    async def _answer(self, message: Message) -> None:
        name, answer = message["ask"], {"to": message.get("number")}
        try:
            answer["is"] = dict(await self._handle(name, message["with"]))
        except (Refused, Lost) as error:
            answer["error"] = str(error)
        except Exception as error:
            self._log.error("channel-question-failed", question=name, error=repr(error))
            answer["error"] = f"internal error: {type(error).__name__}"
        if answer["to"] is not None and not self.closed.is_set():
            self._send(answer)

    async def close(self) -> None:
        """End the connection; whoever waits for an answer gets Lost."""
        self._task.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(self._task, *self._tasks, return_exceptions=True)
