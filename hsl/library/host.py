"""What functions of the standard library ask of a run's host. All are optional: without them the language manages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    from hsl.mime.mail import MailModel
    from hsl.values import Array, Value


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


@runtime_checkable
class HasHostname(Protocol):
    """A host whose installation has a name of its own. Without it, the system's."""

    def hostname(self) -> bytes: ...


@runtime_checkable
class QueuesMail(Protocol):
    """A host with a mail queue and an SMTP client. Both raise ScriptError for wrong addresses, options and names.

    An address is a string, or an array of `localpart` and `domain` (and `params`, where it is sent at once).
    """

    async def queue_mail(
        self, message: bytes, sender: Value, recipient: Value, transportid: bytes, options: Array | None
    ) -> Array:
        """Put a message into the queue, durably: its ids, `transaction` and `queue`.

        `options`: metadata, jobid, quotas, hold, delay.
        """
        ...

    async def send_mail(self, message: bytes, sender: Value, recipients: Array, server: Value) -> Array:
        """Send a message at once to a server (an array of settings, or a transport's id): its `result` or `error`."""
        ...


@runtime_checkable
class HasFiles(Protocol):
    """A host with a folder below which scripts may read files; None: none of its own."""

    @property
    def rootpath(self) -> Path | None: ...


@runtime_checkable
class AllowsFFI(Protocol):
    """A host that says whether scripts may call C functions (`scripting.ffi`). Without it they may not."""

    @property
    def ffi(self) -> bool: ...


@runtime_checkable
class HasMail(Protocol):
    """A host that works on a received message."""

    @property
    def mail(self) -> MailModel: ...
