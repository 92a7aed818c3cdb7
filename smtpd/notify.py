"""systemd's notifications (sd_notify(3)): states of the service come in, datagrams to $NOTIFY_SOCKET go out.

Without that variable nothing is sent: the service runs under something else, or in a terminal.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """Tells the service manager. Takes its variables out of the environment: no other process is to use them."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        address, interval, pid = (environment.pop(name, "") for name in VARIABLES)
        self.address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog = 0.0  # seconds within which it wants to hear of us; 0: it does not
        if interval.isdecimal() and pid in ("", str(os.getpid())):
            self.watchdog = int(interval) / 1_000_000

    def send(self, *states: str) -> None:
        """Send states (`NAME=value`) as one datagram. A service manager that does not listen is no error."""
        if not self.address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
            sender.sendto("\n".join(states).encode(), self.address)

    def ready(self, status: str) -> None:
        """The service is up, or has loaded its configuration anew."""
        self.send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """The configuration is being loaded; `ready` follows, also when it was not taken over."""
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self.send("STOPPING=1")

    def alive(self) -> None:
        """For the watchdog."""
        self.send("WATCHDOG=1")
