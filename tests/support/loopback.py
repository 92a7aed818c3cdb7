"""Peers on the loopback, in threads of the test, and scripts that talk to them."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from snippets import load

from hsl.run import Budget, Run
from hsl.runtime.plainhost import PlainHost
from hsl.values import Value

DEADLINE = 20.0  # seconds for anything in a test

Serve = Callable[[socket.socket], None]


def run_script(text: str, host: object = None, seconds: float = DEADLINE, **variables: Value) -> list[str]:
    """Run a script on an event loop: the lines that it prints. Raises ScriptError."""
    return asyncio.run(await_script(text, host, seconds, **variables))


async def await_script(text: str, host: object = None, seconds: float = DEADLINE, **variables: Value) -> list[str]:
    """The same within an event loop."""
    lines: list[bytes] = []
    run = Run(load(text), host=host or PlainHost(), output=lines.append, budget=Budget(seconds=seconds))
    for name, value in variables.items():
        run.set_variable(name, value)
    await run.execute_async(lambda: asyncio.timeout(run.remaining() + 1))
    return [line.decode("utf-8", "backslashreplace").removesuffix("\n") for line in lines]


class Peer:
    """A listener whose connections are served one after the other by a function, each in the same thread.

    What the function raises is raised again at the end, but for a connection that the script ended. A connection is
    closed when the function returns.
    """

    def __init__(self, serve: Serve, family: int = socket.AF_INET, place: Any = ("127.0.0.1", 0)) -> None:
        self.serve = serve
        self.listener = socket.socket(family, socket.SOCK_STREAM)
        self.listener.bind(place)
        self.listener.listen(128)
        self.address = self.listener.getsockname()
        self.problem: BaseException | None = None
        self.stopped = False
        self.thread = threading.Thread(target=self.run, daemon=True)

    @property
    def port(self) -> float:
        return float(self.address[1])

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                if self.stopped:
                    return
                connection.settimeout(DEADLINE)
                try:
                    self.serve(connection)
                except ConnectionError:
                    pass  # the script went without reading everything
                except BaseException as error:
                    self.problem = error

    def stop(self) -> None:
        self.stopped = True
        try:
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        finally:
            self.listener.close()
        self.thread.join(DEADLINE)
        if self.problem is not None:
            raise self.problem


@contextmanager
def peer(serve: Serve, family: int = socket.AF_INET, place: Any = ("127.0.0.1", 0)) -> Iterator[Peer]:
    """A listener on a free port (or another place)."""
    result = Peer(serve, family, place)
    result.thread.start()
    try:
        yield result
    finally:
        result.stop()


@contextmanager
def datagrams(answer: Callable[[bytes], bytes | None]) -> Iterator[float]:
    """A UDP port that answers each datagram as the function says."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    problems: list[BaseException] = []

    def run() -> None:
        while True:
            data, sender = sock.recvfrom(65536)
            if data == b"stop":
                return
            try:
                reply = answer(data)
            except BaseException as error:
                problems.append(error)
                continue
            if reply is not None:
                sock.sendto(reply, sender)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield float(sock.getsockname()[1])
    finally:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"stop", sock.getsockname())
        thread.join(DEADLINE)
        sock.close()
        if problems:
            raise problems[0]


def receive_all(connection: socket.socket) -> bytes:
    """What comes until the peer's end."""
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


def receive_line(connection: socket.socket) -> bytes:
    """A line with its LF, byte by byte: nothing after it is read."""
    line = b""
    while not line.endswith(b"\n"):
        piece = connection.recv(1)
        if not piece:
            raise EOFError(line)
        line += piece
    return line
