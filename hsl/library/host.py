"""What functions of the standard library ask of a run's host. All are optional: without them the language manages."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class Sleeps(Protocol):
    """A host on an event loop: sleep() gives other scripts their turns meanwhile."""

    async def sleep(self, seconds: float) -> None: ...


@runtime_checkable
class KeepsTime(Protocol):
    """A host with a clock of its own: UTC wall seconds. Without it, the system's clock."""

    def time(self) -> float: ...


@runtime_checkable
class Logs(Protocol):
    """A host with a log. `priority` is facility * 8 + severity (RFC 5424 section 6.2.1), 0 to 191."""

    def syslog(self, priority: int, message: bytes) -> None: ...


@runtime_checkable
class HasSerial(Protocol):
    """A host that knows the serial number of its installation."""

    def serial(self) -> bytes: ...
