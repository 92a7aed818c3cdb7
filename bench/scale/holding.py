"""Opens COUNT sessions at HOST PORT, says EHLO in each, prints `open` and holds them until its input ends.

A process of its own: neither its work nor its descriptors count for the gateway.
"""

from __future__ import annotations

import asyncio
import resource
import sys

AT_ONCE = 100


async def open_session(host: str, port: int, turns: asyncio.Semaphore) -> asyncio.StreamWriter:
    async with turns:
        reader, writer = await asyncio.open_connection(host, port)
        assert (await reader.readline()).startswith(b"220 ")
        writer.write(b"EHLO holding.example\r\n")
        while (line := await reader.readline())[3:4] == b"-":
            pass
        assert line.startswith(b"250 "), line
        return writer


async def main(host: str, port: int, count: int) -> None:
    turns = asyncio.Semaphore(AT_ONCE)
    writers = await asyncio.gather(*(open_session(host, port, turns) for _ in range(count)))
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for writer in writers:
        writer.transport.abort()


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
