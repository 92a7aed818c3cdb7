"""A mail world in memory for the tests of stages: services over embedded backends, sessions, scripts as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from hsl.compiler import compile_script
from hsl.run import Budget
from hsl.runtime.clock import SettableClock
from hsl.runtime.data import DataOutcome, run_data
from hsl.runtime.dlp import read_rule
from hsl.runtime.eod import run_message
from hsl.runtime.log import Log
from hsl.runtime.message import BytesBody, Message
from hsl.runtime.metrics import Metrics
from hsl.runtime.model import (
    Address,
    Attempt,
    Auth,
    Body,
    Connection,
    DeliveryPlan,
    Helo,
    Mail,
    NetAddress,
    Recipient,
    Result,
    Transaction,
)
from hsl.runtime.policies import QueuePolicies
from hsl.runtime.protocols import QueueFull, QueueUnavailable, ScanEnvelope, SpamResult
from hsl.runtime.rates import MemoryRates
from hsl.runtime.runner import Services, StageRunner
from hsl.runtime.slots import MemorySlots
from hsl.runtime.stages import environment
from hsl.shared import SharedStore
from hsl.source import Source

MAIL = b"Subject: hello\r\nX-Number: 1\r\nX-Number: 2\r\n\r\nbody\r\n"
TRACE = b"Received: from client by gateway\r\n"


@dataclass
class FakeQueue:
    """Answers every metric with `answer` and notes what was asked."""

    answer: int = 0
    asked: list[tuple[str, dict[str, list[bytes]]]] = field(default_factory=list)

    stored: list[Mail] = field(default_factory=list)
    full: bool = False
    unavailable: bool = False

    def metric(self, metric: str, filters: Mapping[str, Sequence[bytes]]) -> int:
        self.asked.append((metric, {name: list(values) for name, values in filters.items()}))
        return self.answer

    async def measure(self, metric: str, filters: Mapping[str, Sequence[bytes]]) -> int:
        return self.metric(metric, filters)

    def quota(self, name: bytes) -> tuple[int, int]:
        held = [entry for mail in self.stored for entry in mail.entries if name in entry.quotas]
        return len(held), sum(entry.size for entry in held)

    reserved: int = 500

    def reserve(self) -> int:
        self.reserved += 1
        return self.reserved

    async def apply(self, *, store: Sequence[Mail] = ()) -> list[int]:
        if self.full:
            raise QueueFull("full")
        if self.unavailable:
            raise QueueUnavailable("the queue's database cannot be written")
        self.stored += store
        return [len(self.stored) + 100 for mail in store for _ in mail.entries]


@dataclass
class FakeClient:
    """Notes what was sent, and gives the same attempt each time."""

    attempt: Attempt = field(default_factory=lambda: Attempt(result=Result(250, (2, 0, 0), ["taken"], "EOD")))
    sent: list[tuple[DeliveryPlan, list[tuple[Address, dict[str, str]]], bytes]] = field(default_factory=list)

    def plan(self, transportid: str, sender: Address, recipient: Address) -> DeliveryPlan:
        return DeliveryPlan(sender, recipient, host=f"{transportid}.example")

    async def send(
        self,
        plan: DeliveryPlan,
        recipients: Sequence[tuple[Address, Mapping[str, str]]],
        body: Body,
        permit: Callable[[str], None] | None = None,
    ) -> Attempt:
        if permit is not None:
            permit(plan.host or "")
        people = [(address, dict(params)) for address, params in recipients]
        self.sent.append((plan, people, b"".join(body.chunks())))
        return self.attempt


@dataclass
class FakeScanner:
    """All scanners: fixed answers, or `error`; counts the scans and keeps what was scanned."""

    name: str = "fake"
    score: float = 7.5
    level: int = 50
    viruses: list[str] = field(default_factory=list)
    error: Exception | None = None
    scanned: list[bytes] = field(default_factory=list)
    envelopes: list[ScanEnvelope] = field(default_factory=list)

    def take(self, message: Body, envelope: ScanEnvelope) -> None:
        self.scanned.append(b"".join(message.chunks()))
        self.envelopes.append(envelope)
        if self.error is not None:
            raise self.error

    async def scan(self, message: Body, envelope: ScanEnvelope) -> SpamResult:
        self.take(message, envelope)
        return SpamResult(self.score, {"RULE_A": 5.0, "RULE_B": 2.5})

    async def classify(self, message: Body, envelope: ScanEnvelope) -> tuple[int, str]:
        self.take(message, envelope)
        return self.level, "ref-1"

    async def scan_viruses(self, message: Body) -> list[str]:
        self.scanned.append(b"".join(message.chunks()))
        if self.error is not None:
            raise self.error
        return self.viruses


class World:
    """Everything a stage's script can reach, and short ways to run one."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.clock = SettableClock(now=1_000_000.0)
        self.queue = FakeQueue()
        self.spam = FakeScanner()
        self.outbreak = FakeScanner()
        self.viruses = FakeScanner()
        self.client = FakeClient()
        self.metrics = Metrics(Log("debug", self.lines.append))
        self.policies = QueuePolicies(self.clock)
        self.sessions = {"inbound": 3}
        self.rules = {b"PDF": read_rule("PDF", {"mimetype": [b"/^application.pdf$/"], "filename": [b"/[.]pdf$/i"]})}
        self.slots = MemorySlots()
        self.budget = Budget(seconds=5.0)
        addresses = [NetAddress(str(item), f"10.0.0.{item}", f"mail{item}.example.com") for item in range(1, 5)]
        self.services = Services(
            rates=MemoryRates(self.clock),
            slots=self.slots,
            queue=self.queue,
            spam=self.spam,
            outbreak=self.outbreak,
            viruses=self.viruses,
            dlp=self.rules,
            metrics=self.metrics,
            policies=self.policies,
            addresses={item.id: item for item in addresses},
            transports=frozenset({"outbound", "archive"}),
            clock=self.clock,
            log=Log("debug", self.lines.append),
            shared=SharedStore(),
            hostname="gateway.example.com",
            serial="serial-1",
            client=self.client,
            concurrency=lambda serverid, network: self.sessions.get(serverid if network is None else network),
        )
        self.connection = Connection(
            "inbound", "192.0.2.9", 41666, "10.0.0.1", 25, helo=Helo("EHLO", b"client.example")
        )
        self.transaction = Transaction(id="t-1", sender=Address.of(b"Alice@Example.ORG"))

    def login(self, username: bytes) -> None:
        self.connection.auth = Auth("PLAIN", username)

    def runner(self, **scripts: str) -> StageRunner:
        """A runner with these scripts, by stage."""
        hooks = {
            stage: compile_script(Source(f"{stage}.hsl", text), environment(stage)) for stage, text in scripts.items()
        }
        return StageRunner(hooks, self.services, self.budget)

    async def data(
        self, script: str, *recipients: str, body: bytes = MAIL, params: dict[str, str] | None = None
    ) -> DataOutcome:
        """Run a data script for a message to these recipients; without a script there is no hook."""
        named = recipients or ("bob@example.com",)
        self.transaction.recipients = [Recipient(Address.of(item.encode()), "outbound") for item in named]
        self.transaction.senderparams = params or {}
        runner = self.runner(data=script) if script else self.runner()
        return await run_data(runner, self.connection, self.transaction, Message(BytesBody(body), TRACE))

    async def eod(
        self, script: str, *recipients: str, body: bytes = MAIL, params: dict[str, str] | None = None
    ) -> DataOutcome:
        """Run an eod script for a message to these recipients."""
        named = recipients or ("bob@example.com",)
        self.transaction.recipients = [Recipient(Address.of(item.encode()), "outbound") for item in named]
        self.transaction.senderparams = params or {}
        return await run_message(
            self.runner(eod=script), self.connection, self.transaction, Message(BytesBody(body), TRACE)
        )

    def logged(self, *parts: str) -> list[str]:
        """The log lines that contain all these parts."""
        return [line for line in self.lines if all(part in line for part in parts)]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def read() -> Callable[[Body], bytes]:
    return lambda body: b"".join(body.chunks())
