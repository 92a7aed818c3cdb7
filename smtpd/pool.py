"""Idle outbound connections, kept for the next mail that would open the very same one."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from hsl.runtime.model import TLSSettings
from hsl.smtpd.dialogue import Dialogue


@dataclass(frozen=True, slots=True)
class PoolKey:
    """What makes two connections interchangeable. `verified` is the name its certificate was checked for, or empty."""

    ip: str
    port: int
    source: str
    helo: str
    tls: str
    verified: str = ""
    username: bytes | None = field(default=None, repr=False)
    password: bytes | None = field(default=None, repr=False)
    said: str = "smtp"  # the protocol, and what XCLIENT told
    settings: TLSSettings | None = None


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """What is kept.

    idle           seconds that an unused connection is kept, 0 for none
    transactions   of one connection
    age            seconds after which one is not kept any more
    total          idle ones
    """

    idle: float = 10.0
    transactions: int = 100
    age: float = 300.0
    total: int = 200


class Pool:
    """Keeps what it is given until it is taken, too old or too many; then it says QUIT in the background."""

    def __init__(self, limits: PoolLimits | None = None) -> None:
        self.limits = limits or PoolLimits()
        self.idle: OrderedDict[Dialogue, tuple[PoolKey, asyncio.TimerHandle]] = OrderedDict()  # oldest first
        self.by_key: dict[PoolKey, list[Dialogue]] = {}
        self.closing: set[asyncio.Task[None]] = set()
        self.closed = False

    def take(self, key: PoolKey) -> Dialogue | None:
        """A live connection, the most recently used one; dead ones are dropped on the way."""
        for dialogue in reversed(self.by_key.get(key, []).copy()):
            self.forget(dialogue)
            if dialogue.alive:
                return dialogue
            dialogue.abort()
        return None

    def give(self, key: PoolKey, dialogue: Dialogue) -> None:
        """Hand a connection back after a transaction; the caller must not use it any more."""
        now = asyncio.get_running_loop().time()
        idle = min(self.limits.idle, dialogue.opened + self.limits.age - now)
        if self.closed or idle <= 0 or dialogue.used >= self.limits.transactions or not dialogue.alive:
            self.finish(dialogue)
            return
        timer = asyncio.get_running_loop().call_later(idle, self.expire, dialogue)
        self.idle[dialogue] = (key, timer)
        self.by_key.setdefault(key, []).append(dialogue)
        while len(self.idle) > self.limits.total:
            self.expire(next(iter(self.idle)))

    def expire(self, dialogue: Dialogue) -> None:
        self.forget(dialogue)
        self.finish(dialogue)

    def forget(self, dialogue: Dialogue) -> None:
        key, timer = self.idle.pop(dialogue)
        timer.cancel()
        same = self.by_key[key]
        same.remove(dialogue)
        if not same:
            del self.by_key[key]

    def finish(self, dialogue: Dialogue) -> None:
        """QUIT in the background; a dead connection is only dropped."""
        if dialogue.alive:
            self.spawn(dialogue.quit())
        else:
            dialogue.abort()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self.closing.add(task)
        task.add_done_callback(self.closing.discard)

    async def close(self) -> None:
        """QUIT on every idle connection; returns when all are closed. What is given later is closed at once."""
        self.closed = True
        for dialogue in list(self.idle):
            self.expire(dialogue)
        while self.closing:
            await asyncio.wait(self.closing.copy())
