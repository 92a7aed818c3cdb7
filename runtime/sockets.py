"""Waits for the sockets of scripts: a descriptor comes in, whether it became ready in time goes out."""

from __future__ import annotations

import asyncio


class SocketWaits:
    """What a network shows as `sockets` (hsl/library/channels.py)."""

    async def ready(self, number: int, *, write: bool, timeout: float) -> bool:
        """Wait until a descriptor can be read from (or written to); false when that takes longer."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        add, remove = (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)
        add(number, settle, future)
        try:
            done, _ = await asyncio.wait([future], timeout=timeout)
        finally:
            remove(number)
        return bool(done)


def settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
