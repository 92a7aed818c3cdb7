"""The yardstick: aiosmtpd as it comes, with a handler that answers 250 and keeps nothing. Prints its port."""

from __future__ import annotations

import asyncio
import os
import signal

from aiosmtpd.smtp import SMTP


class Handler:
    async def handle_DATA(self, server: object, session: object, envelope: object) -> str:
        return "250 2.0.0 Ok"


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Handler(), hostname="bare.example.net"), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    if os.environ.get("HSL_LOOP") == "asyncio":
        asyncio.run(main())
    else:
        import uvloop

        uvloop.run(main())
