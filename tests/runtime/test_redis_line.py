"""One connection to Redis for all callers: each gets its own reply, whatever becomes of the others."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from loopback import peer
from redis.asyncio import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from servers import RedisServer

from hsl.runtime.redis_line import RedisLine

pytestmark = pytest.mark.asyncio


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@asynccontextmanager
async def line_to(url: str, timeout: float = 30.0) -> AsyncIterator[RedisLine]:
    line = RedisLine(ConnectionPool.from_url(url, protocol=2), timeout)
    try:
        yield line
    finally:
        await line.close()


async def connections(line: RedisLine) -> int:
    """How many there have been, this one included."""
    info = await line.ask("INFO", "stats")
    return int(info.split(b"total_connections_received:")[1].split(b"\r\n")[0])


async def test_each_caller_gets_its_own_reply(server: RedisServer) -> None:
    async with line_to(server.url) as line:
        replies = await asyncio.gather(*(line.ask("ECHO", b"%d\r\n" % number) for number in range(500)))
        assert replies == [b"%d\r\n" % number for number in range(500)]
        assert await line.ask("RPUSH", "list", 1, b"\0") == 2
        assert await line.ask("LRANGE", "list", 0, -1) == [b"1", b"\0"]
        assert await line.ask("GET", "nothing") is None
        before = await connections(line)
    async with line_to(server.url) as line:
        assert await connections(line) == before + 1


async def test_an_error_is_its_callers_own(server: RedisServer) -> None:
    async with line_to(server.url) as line:
        asked = [line.ask("ECHO", "a"), line.ask("NONSENSE"), line.ask("EVALSHA", "0" * 40, 0), line.ask("ECHO", "b")]
        first, wrong, unknown, last = await asyncio.gather(*asked, return_exceptions=True)
    assert (first, last) == (b"a", b"b")
    assert type(wrong) is ResponseError
    assert "unknown command" in str(wrong)
    assert type(unknown) is NoScriptError


async def test_the_reply_to_a_caller_who_left_is_nobody_elses(server: RedisServer) -> None:
    async with line_to(server.url) as line:
        await line.ask("PING")
        tasks = [asyncio.create_task(line.ask("ECHO", str(number))) for number in range(10)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        assert await asyncio.gather(*tasks[1::2]) == [b"1", b"3", b"5", b"7", b"9"]


async def test_a_connection_that_was_closed_meanwhile_is_made_anew(server: RedisServer) -> None:
    """Redis closes idle ones when it is configured to: that is no failure of the next call."""
    async with line_to(server.url) as line, line_to(server.url) as other:
        await line.ask("PING")
        await other.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        async with asyncio.timeout(30):
            while line._pipe is not None and line._pipe.alive:
                await asyncio.sleep(0.01)
        assert await line.ask("ECHO", "again") == b"again"


async def test_a_server_that_hangs_fails_all_at_once_and_late_replies_are_nobodys(server: RedisServer) -> None:
    async with line_to(server.url, timeout=0.3) as line:
        await line.ask("PING")
        server.suspend()
        results = await asyncio.gather(*(line.ask("ECHO", "old") for _ in range(100)), return_exceptions=True)
        assert {type(result) for result in results} == {RedisTimeoutError}
        server.resume()
    async with line_to(server.url) as line:
        assert await line.ask("ECHO", "new") == b"new"


async def test_a_server_that_dies_fails_those_who_wait(server: RedisServer) -> None:
    async with line_to(server.url) as line:
        await line.ask("PING")
        waiting = [asyncio.create_task(line.ask("BLPOP", "nothing", 0)) for _ in range(3)]
        await asyncio.sleep(0.05)
        server.kill()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(result) for result in results} == {RedisConnectionError}
        with pytest.raises(RedisConnectionError):
            await line.ask("PING")


async def test_something_else_than_redis() -> None:
    """Octets that are no reply end the connection, with an error for those who wait."""

    def serve(connection: socket.socket) -> None:
        while data := connection.recv(1000):
            connection.sendall(b"+OK\r\n" * data.count(b"SETINFO") or b"220 mail.example.org ESMTP\r\n")

    with peer(serve) as other:
        async with line_to(f"redis://127.0.0.1:{other.port:.0f}") as line:
            with pytest.raises(RedisConnectionError, match="not Redis"):
                await line.ask("PING")
