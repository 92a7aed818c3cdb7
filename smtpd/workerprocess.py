"""A worker as its supervisor sees it: a process, a channel to it, and the sockets that are kept for it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from hsl.runtime.log import Log
from hsl.smtpd.channel import Channel, Lost, Message, Refused

DESCRIPTORS = 200  # of one message; the system takes 253
START = 600.0  # seconds for a step of a worker's start: a long queue is read, a database recovered


class Unfit(Exception):
    """A worker does not start. `findings` say what is wrong with its scripts, else the text what is."""

    def __init__(self, text: str, findings: list[Message] | None = None) -> None:
        super().__init__(text)
        self.findings = findings or []


@dataclass(eq=False, slots=True)
class WorkerProcess:
    """One worker's place; the process in it may be replaced. `ready`: it can be asked; `gone`: it is given up."""

    number: int
    sockets: dict[str, list[socket.socket]] = field(default_factory=dict)
    adopts: list[int] = field(default_factory=list)  # shards of workers that there no longer are
    process: asyncio.subprocess.Process | None = None
    channel: Channel | None = None
    ready: bool = False
    gone: bool = False
    _descriptors: socket.socket | None = None

    async def spawn(
        self, handle: Callable[[WorkerProcess, str, Message], Awaitable[Mapping[str, Any]]], log: Log
    ) -> None:
        """Start a process: a fresh interpreter, which finds no module in the folder that it was started from."""
        ours, theirs = socket.socketpair()
        self._descriptors, descriptors = socket.socketpair()
        with theirs, descriptors:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "hsl.smtpd.worker",
                str(theirs.fileno()), str(descriptors.fileno()), str(os.getpid()),
                pass_fds=(theirs.fileno(), descriptors.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                process_group=0,  # Ctrl-C in a terminal is for the supervisor
            )  # fmt: skip

        async def answer(name: str, message: Message) -> Mapping[str, Any]:
            return await handle(self, name, message)

        self.channel = await Channel.open(ours, answer, log)

    async def ask(self, name: str, wait: float | None, /, **fields: object) -> Message:
        """Raises Refused, Lost."""
        if self.channel is None:
            raise Lost(f"worker {self.number} is not running")
        try:
            return await self.channel.ask(name, wait, **fields)
        except Lost as error:
            raise Lost(f"worker {self.number}: {error}") from None

    def tell(self, name: str, /, **fields: object) -> None:
        if self.channel is not None:
            with suppress(Lost):
                self.channel.tell(name, **fields)

    async def begin(self, name: str, /, **fields: object) -> Message:
        """A step of its start. Raises Unfit."""
        try:
            answer = await self.ask(name, START, **fields)
        except (Lost, Refused) as error:
            raise Unfit(str(error)) from None
        if "findings" in answer:
            raise Unfit("its scripts do not compile", answer["findings"])
        if "failed" in answer:
            raise Unfit(answer["failed"])
        return answer

    def hand_down(self, further: list[int]) -> list[tuple[str, int]]:
        """Send the sockets of its listeners, and further descriptors; how many there are of each server."""
        assert self._descriptors is not None
        numbers = [bound.fileno() for sockets in self.sockets.values() for bound in sockets] + further
        for start in range(0, len(numbers), DESCRIPTORS):
            socket.send_fds(self._descriptors, [b"."], numbers[start : start + DESCRIPTORS])
        return [(name, len(sockets)) for name, sockets in self.sockets.items()]

    def close_sockets(self) -> None:
        for sockets in self.sockets.values():
            for bound in sockets:
                bound.close()
        self.sockets = {}

    async def end(self) -> None:
        """Kill what is left of the process, and close what led to it."""
        self.ready = False
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
        if self.channel is not None:
            await self.channel.close()
            self.channel = None
        if self._descriptors is not None:
            self._descriptors.close()
            self._descriptors = None
