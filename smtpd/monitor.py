"""The monitor: GET /metrics in Prometheus' text form, /ready and /healthy, over plain HTTP on a loopback address."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from hsl.runtime.log import Log
from hsl.smtpd.config import MonitorListener

MAX_REQUEST = 8 * 1024  # bytes of request line and headers
MAX_CLIENTS = 16
WAIT = 5.0  # seconds for a request, and for taking the answer
TEXT = "text/plain; version=0.0.4; charset=utf-8"  # Prometheus' exposition format


class Monitor:
    """Answers one request per connection until closed.

    `render()` gives the metrics' text, `unhealthy()` the reason why no mail is taken, or an empty text.
    """

    def __init__(self, render: Callable[[], Awaitable[str]], log: Log, unhealthy: Callable[[], Awaitable[str]]) -> None:
        self.render = render
        self.log = log
        self.unhealthy = unhealthy
        self.clients: set[asyncio.Task[None]] = set()
        self.server: asyncio.Server | None = None

    async def start(self, wanted: MonitorListener | None) -> bool:
        """Listen, if that is wanted. Raises OSError that says who cannot."""
        if wanted is None:
            return False
        try:
            self.server = await asyncio.start_server(self.serve, wanted.address, wanted.port, limit=MAX_REQUEST)
        except OSError as error:
            where = endpoint(wanted.address, wanted.port)
            raise OSError(error.errno, f"the monitor cannot listen on {where}: {error.strerror or error}") from error
        self.log.info("monitor", listener=endpoint(*self.server.sockets[0].getsockname()[:2]))
        return True

    async def close(self) -> None:
        if self.server is None:
            return
        self.server.close()
        for task in list(self.clients):
            task.cancel()
        await asyncio.gather(*self.clients, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.clients.add(task)
        try:
            async with asyncio.timeout(WAIT):
                status, body = await self.respond(reader)
                writer.write(render(status, body))
                await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.clients.discard(task)
            with suppress(ConnectionError):
                writer.close()

    async def respond(self, reader: asyncio.StreamReader) -> tuple[str, str]:
        if len(self.clients) > MAX_CLIENTS:
            return "503 Service Unavailable", "too many connections\n"
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return "431 Request Header Fields Too Large", "the request is too long\n"
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return "400 Bad Request", "not HTTP/1.1\n"
        if words[0] != b"GET":
            return "405 Method Not Allowed", "only GET is known here\n"
        try:
            return await self.page(words[1].partition(b"?")[0])
        except Exception as error:
            self.log.error("monitor-failed", error=repr(error))
            return "500 Internal Server Error", "see the gateway's log\n"

    async def page(self, path: bytes) -> tuple[str, str]:
        if path == b"/metrics":
            return "200 OK", await self.render()
        if path == b"/ready":
            return "200 OK", "ready\n"
        if path == b"/healthy":
            reason = await self.unhealthy()
            return ("503 Service Unavailable", f"{reason}\n") if reason else ("200 OK", "healthy\n")
        return "404 Not Found", "there are /metrics, /ready and /healthy\n"


def endpoint(host: str, port: int) -> str:
    """`127.0.0.1:25`, `[::1]:25`"""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def render(status: str, body: str) -> bytes:
    data = body.encode("utf-8", "replace")
    head = f"HTTP/1.1 {status}\r\nContent-Type: {TEXT}\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    return head.encode("ascii") + data
