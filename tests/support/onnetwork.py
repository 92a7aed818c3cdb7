"""Scripts on an event loop with a network: a text comes in, the lines that it prints go out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from snippets import load

from hsl.run import Budget, Run
from hsl.runtime.network import ScriptNetwork


@dataclass
class Host:
    """What hsl/library/network.py asks of a host."""

    network: object

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def lines_of(text: str | bytes, network: ScriptNetwork | None, seconds: float = 20.0) -> list[bytes]:
    """The lines that a script prints. Raises ScriptError."""
    lines: list[bytes] = []
    run = Run(load(text), host=Host(network), output=lines.append, budget=Budget(seconds=seconds))
    await run.execute_async(lambda: asyncio.timeout(run.remaining() + 5))
    return [line.removesuffix(b"\n") for line in lines]
