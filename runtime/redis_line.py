"""One connection to Redis for all callers of a process: words of commands in, replies out, in the same order.

What is asked in one turn of the event loop goes out in one write, and many may wait for their replies at once: 6 µs of
CPU for a call, where a connection for each call took 48. redis-py connects (URL, TLS, login), hiredis reads and writes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, cast

import hiredis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

Word = str | bytes | int


def reply_error(text: str) -> ResponseError:
    """The exception for an error reply, by its first word."""
    return NoScriptError(text) if text.startswith("NOSCRIPT") else ResponseError(text)


class Pipe(asyncio.Protocol):
    """A connection that redis-py has made, from then on. It ends with its first failure: all who wait are told."""

    def __init__(self, connection: AbstractConnection, timeout: float) -> None:
        self.connection = connection
        self.timeout = timeout
        self.loop = asyncio.get_running_loop()
        self.alive = True
        self._reader = hiredis.Reader(replyError=reply_error, protocolError=RedisConnectionError)
        self._waiting: deque[tuple[float, asyncio.Future[Any]]] = deque()  # with the time by which it wants its reply
        self._unsent: list[bytes] = []
        self._watch: asyncio.TimerHandle | None = None
        self._transport = cast(asyncio.StreamWriter, connection._writer).transport
        self._transport.set_protocol(self)

    def ask(self, words: tuple[Word, ...]) -> asyncio.Future[Any]:
        """The reply to come. The future raises ResponseError, RedisConnectionError, RedisTimeoutError."""
        future = self.loop.create_future()
        deadline = self.loop.time() + self.timeout
        self._waiting.append((deadline, future))
        if self._watch is None:
            self._watch = self.loop.call_at(deadline, self._look)
        if not self._unsent:
            self.loop.call_soon(self._send)
        self._unsent.append(hiredis.pack_command(words))  # type: ignore[arg-type]  # its stub wants one word
        return future

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, []
        if self.alive:
            self._transport.write(b"".join(unsent))

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                self._answer(self._waiting.popleft()[1], reply)
        except (RedisConnectionError, IndexError) as error:  # not RESP, or a reply that nobody asked for
            self.fail(RedisConnectionError(f"not Redis: {error}"))

    def _answer(self, future: asyncio.Future[Any], reply: Any) -> None:
        if future.done():  # the caller was cancelled
            return
        if isinstance(reply, ResponseError):
            future.set_exception(reply)
        else:
            future.set_result(reply)

    def _look(self) -> None:
        """One timer for all: it is set anew when it fires."""
        self._watch = None
        if not self._waiting:
            return
        deadline = self._waiting[0][0]
        if deadline <= self.loop.time():
            self.fail(RedisTimeoutError("no answer in time"))
        else:
            self._watch = self.loop.call_at(deadline, self._look)

    def connection_lost(self, error: Exception | None) -> None:
        self.fail(RedisConnectionError("connection lost"))

    def fail(self, error: Exception) -> None:
        """End, with this error for everybody who waits."""
        self.alive = False
        if self._watch is not None:
            self._watch.cancel()
        waiting, self._waiting = self._waiting, deque()
        for _, future in waiting:
            if not future.done():
                future.set_exception(error)
        self._transport.abort()
        self.connection._close()  # type: ignore[no-untyped-call]


class RedisLine:
    """The connection as callers see it: made when it is needed, and anew after it was lost."""

    def __init__(self, pool: ConnectionPool, timeout: float) -> None:
        """Does not connect. `timeout`: seconds for a reply, and for the connection."""
        self.pool = pool
        self.timeout = timeout
        self._pipe: Pipe | None = None
        self._connecting: asyncio.Task[Pipe] | None = None

    async def ask(self, *words: Word) -> Any:
        """The reply to a command: int, bytes, None, or a list of them. Raises RedisError, TimeoutError."""
        pipe = self._pipe
        if pipe is None or not pipe.alive:
            pipe = await self._connected()
        return await pipe.ask(words)

    async def _connected(self) -> Pipe:
        """A new connection; all who need one meanwhile share it, and its failure."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._connect_done)
        return await asyncio.shield(self._connecting)

    async def _connect(self) -> Pipe:
        connection: AbstractConnection = self.pool.make_connection()  # type: ignore[no-untyped-call]
        async with asyncio.timeout(self.timeout):
            await connection.connect()  # type: ignore[no-untyped-call]
        self._pipe = Pipe(connection, self.timeout)
        return self._pipe

    def _connect_done(self, task: asyncio.Task[Pipe]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()  # those who waited have it; they may all have been cancelled

    async def close(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._pipe is not None:
            self._pipe.fail(RedisConnectionError("closed"))
            await asyncio.sleep(0)  # the socket is closed in the loop's next turn
