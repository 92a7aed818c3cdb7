"""The pluggable runtime: what stands behind the builtins, each with an embedded backend and a real one.

A backend that is unreachable raises BackendUnavailable: the script fails, the stage's on-error action answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hsl.errors import ScriptError
from hsl.runtime.model import Address, Attempt, Body, DeliveryPlan, Mail, QueueEntry


class BackendUnavailable(ScriptError):
    """Redis, a scanner or a resolver does not answer. Never answered with a permanent refusal."""


class Rates(Protocol):
    """Exact sliding windows (reference 2015, "Misc": rate)."""

    async def rate(self, namespace: bytes, entry: bytes, count: int, interval: float) -> bool | int:
        """count > 0: account one and return True, or return False (and account nothing) when `count` have been
        accounted in the last `interval` seconds. count 0: how many have been."""
        ...


class Slots(Protocol):
    """Concurrency slots (2015, "Pre-delivery": CurrentConnections): leases that end by release or by time."""

    async def take(self, namespace: bytes, entry: bytes, maximum: int, holder: str) -> bool:
        """Take one slot for `holder` if fewer than `maximum` are taken; a holder's second slot of the same entry
        is the first one."""
        ...

    async def release(self, holder: str) -> None:
        """Free all slots of a holder."""
        ...


@dataclass(frozen=True, slots=True)
class SpamResult:
    """SpamAssassin's answer: score and rules with their scores."""

    score: float
    rules: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScanEnvelope:
    """What a scanner may know of a message besides its bytes."""

    transaction: str
    remoteip: str
    helo: str
    sender: str
    recipients: tuple[str, ...]


class SpamScanner(Protocol):
    """ScanSA()."""

    name: str

    async def scan(self, message: Body, envelope: ScanEnvelope) -> SpamResult: ...


class OutbreakScanner(Protocol):
    """ScanRPD(): 0 unknown, 10 suspect, 40 valid bulk, 50 bulk, 100 spam; and a reference id."""

    name: str

    async def classify(self, message: Body, envelope: ScanEnvelope) -> tuple[int, str]: ...


class VirusScanner(Protocol):
    """ScanCLAM(): the names of what was found; empty for a clean message."""

    name: str

    async def scan_viruses(self, message: Body) -> Sequence[str]: ...


QUEUE_FILTERS = (
    "senderip", "saslusername", "sender", "senderdomain", "recipient", "recipientdomain", "transportid", "retry",
)  # fmt: skip


class QueueMetrics(Protocol):
    """GetMailQueueMetric(): counters; with several filters a walk over the entries of one of them."""

    def metric(self, metric: str, filters: Mapping[str, Sequence[bytes]]) -> int:
        """`count` or `bytes` of the entries that match: any value of one filter, all filters together."""
        ...

    async def measure(self, metric: str, filters: Mapping[str, Sequence[bytes]]) -> int:
        """The same, for filters that scripts choose: a long walk gives others their turns."""
        ...

    def quota(self, name: bytes) -> tuple[int, int]:
        """How many entries a quota holds, and their bytes."""
        ...


class MailStore(QueueMetrics, Protocol):
    """What scripts can do with the queue: ask, and store mail of their own."""

    def reserve(self) -> int:
        """The id of an entry that may be stored later, with this id."""
        ...

    async def apply(self, *, store: Sequence[Mail] = ()) -> list[int]:
        """Store in one transaction; the ids of the new entries. Returns when it is on disk; raises QueueFull."""
        ...


class Others(Protocol):
    """The other workers of the gateway that this process is one of: what they know is added to what this one knows.

    Answers may be as old as a second. Raises BackendUnavailable while a worker cannot be asked: never fewer than there
    are.
    """

    async def metric(self, metric: str, filters: Mapping[str, Sequence[bytes]]) -> int:
        """As QueueMetrics.metric, of all their entries."""
        ...

    async def quota(self, name: bytes) -> tuple[int, int]:
        """As QueueMetrics.quota, of all their entries."""
        ...

    async def concurrency(self, serverid: str, network: str | None) -> int:
        """How many sessions a server has with them, from a network if one is given."""
        ...


class MailClient(Protocol):
    """Sends a message now, past the queue (reference 2019: MailMessage.send)."""

    def plan(self, transportid: str, sender: Address, recipient: Address) -> DeliveryPlan:
        """What a transport says."""
        ...

    async def send(
        self,
        plan: DeliveryPlan,
        recipients: Sequence[tuple[Address, Mapping[str, str]]],
        body: Body,
        permit: Callable[[str], None] | None = None,
    ) -> Attempt:
        """One transaction for all recipients, each with the parameters of its RCPT. Every outcome is in the Attempt.

        `permit` is asked about each IP address before it is connected to; what it raises is raised.
        """
        ...


class Queue(QueueMetrics, Protocol):
    """The durable queue. Every method that changes it returns after the commit is on disk.

    Raises QueueFull when the disk does not take it.
    """

    async def apply(
        self, *, store: Sequence[Mail] = (), update: Sequence[QueueEntry] = (), delete: Iterable[int] = ()
    ) -> list[int]:
        """One transaction: new mails, changed entries, removed entries. The ids of the new entries, in order."""
        ...

    async def claim(self, limit: int, now: float) -> list[QueueEntry]:
        """Entries that are due, oldest due first; they stay claimed until updated, deleted or released."""
        ...

    def release(self, entry_id: int) -> None:
        """Give a claimed entry back unchanged."""
        ...

    def next_due(self) -> float | None:
        """When the next unclaimed entry falls due (UTC wall seconds)."""
        ...

    def get(self, entry_id: int) -> QueueEntry | None: ...

    def entries(
        self, filters: Mapping[str, Sequence[bytes]] = ..., limit: int = ..., after: int = ...
    ) -> Iterator[QueueEntry]: ...

    def body(self, entry: QueueEntry) -> Body: ...

    async def wait_changed(self) -> None:
        """Returns when something was stored, updated or released since the last call."""
        ...

    async def close(self) -> None: ...


class QueueFull(Exception):
    """The disk is full, or below its floor: 452 4.3.1 to the client, nothing half-written."""


class QueueUnavailable(Exception):
    """Nothing at all can be written now, be the change right or wrong: try the same again later."""


class Clock(Protocol):
    def time(self) -> float:
        """UTC wall seconds."""
        ...

    def monotonic(self) -> float: ...
