"""What a script without a stage runs on, where it may wait: an event loop, and the network."""

from __future__ import annotations

import asyncio
from functools import cached_property
from pathlib import Path

from hsl.runtime.network import ScriptNetwork

BACKGROUND = 30.0  # seconds that the end waits for HTTP requests in the background


class PlainHost:
    """The host of `hsl run` and `hsl repl` (hsl/library/host.py, hsl/library/network.py)."""

    def __init__(self, rootpath: Path | None = None, ffi: bool = False) -> None:
        self.rootpath = rootpath  # below which scripts may read files
        self.ffi = ffi

    @cached_property
    def network(self) -> ScriptNetwork:
        return ScriptNetwork()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        if "network" in self.__dict__:
            await self.network.close(BACKGROUND)
