"""The scheduler over fakes with a settable clock: what each decision stores, and what survives which failure."""

import asyncio
import copy
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from hsl.runtime.log import Log
from hsl.runtime.message import BytesBody
from hsl.runtime.model import (
    ACTIVE,
    DEFER,
    HOLD,
    NULL_SENDER,
    Address,
    Attempt,
    AttemptError,
    Body,
    DeliveryPlan,
    DSNPlan,
    Mail,
    QueueEntry,
    Result,
    TLSInfo,
)
from hsl.runtime.policies import Blocked, Limits, Match
from hsl.runtime.protocols import BackendUnavailable, QueueFull, QueueUnavailable
from hsl.runtime.verdict import Verdict
from hsl.smtpd.config import Config
from hsl.smtpd.lanes import FIRST_WIDTH, Lane
from hsl.smtpd.scheduler import LANE_LIMIT, RECHECK, Scheduler
from hsl.smtpd.transports import TransportTable
from hsl.source import Source, Span

pytestmark = pytest.mark.asyncio

START = 1_700_000_000.0
DELIVERED = Attempt(result=Result(250, (2, 0, 0), ["ok"], "EOD"), remoteip="192.0.2.1", localip="127.0.0.2", helo="h")
BUSY = Attempt(result=Result(450, (4, 2, 1), ["busy"], "RCPT"), remoteip="192.0.2.1")
UNKNOWN = Attempt(result=Result(550, (5, 1, 1), ["unknown"], "RCPT"), remoteip="192.0.2.1")
NO_DOMAIN = Attempt(error=AttemptError(False, "no such domain", "dns", (5, 1, 2)))
NO_ANSWER = Attempt(error=AttemptError(True, "SERVFAIL", "dns", (4, 4, 3)))


class Clock:
    def __init__(self) -> None:
        self.now = START

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


class FakeQueue:
    """The Queue protocol in memory. `full`: QueueFull for changes that match; `broken`: raised by apply."""

    def __init__(self) -> None:
        self.stored: dict[int, QueueEntry] = {}
        self.bodies: dict[int, Body] = {}
        self.claimed: set[int] = set()
        self.applied: list[tuple[int, int, int]] = []
        self.full: Callable[[Sequence[Mail]], bool] = lambda store: False
        self.broken: list[Exception] = []
        self.changed = asyncio.Event()
        self.claims = 0

    async def apply(
        self, *, store: Sequence[Mail] = (), update: Sequence[QueueEntry] = (), delete: Iterable[int] = ()
    ) -> list[int]:
        await asyncio.sleep(0)
        if self.full(store):
            raise QueueFull("no space")
        if self.broken:
            raise self.broken.pop(0)
        delete = list(delete)
        self.applied.append((len(store), len(update), len(delete)))
        ids = [self.add(entry, mail.body) for mail in store for entry in mail.entries]
        for entry in update:
            if entry.id in self.stored:
                self.stored[entry.id] = copy.deepcopy(entry)
            self.claimed.discard(entry.id)
        for entry_id in delete:
            self.stored.pop(entry_id, None)
            self.claimed.discard(entry_id)
        self.changed.set()
        return ids

    def add(self, entry: QueueEntry, body: Body) -> int:
        entry = copy.deepcopy(entry)
        entry.id = max(self.bodies, default=0) + 1
        self.stored[entry.id] = entry
        self.bodies[entry.id] = body
        self.changed.set()
        return entry.id

    def waiting(self) -> list[QueueEntry]:
        return [e for e in self.stored.values() if e.id not in self.claimed and e.state != HOLD]

    async def claim(self, limit: int, now: float) -> list[QueueEntry]:
        self.claims += 1
        due = sorted((e for e in self.waiting() if e.due <= now), key=lambda e: e.due)[:limit]
        self.claimed.update(entry.id for entry in due)
        return copy.deepcopy(due)

    def release(self, entry_id: int) -> None:
        if entry_id in self.claimed:
            self.claimed.discard(entry_id)
            self.changed.set()

    def next_due(self) -> float | None:
        return min((entry.due for entry in self.waiting()), default=None)

    def get(self, entry_id: int) -> QueueEntry | None:
        return copy.deepcopy(self.stored.get(entry_id))

    def body(self, entry: QueueEntry) -> Body:
        return self.bodies[entry.id]

    async def wait_changed(self) -> None:
        await self.changed.wait()
        self.changed.clear()

    def entries(
        self,
        filters: Mapping[str, Sequence[bytes]] = {},
        limit: int = 0,
        after: int = 0,
    ) -> Iterator[QueueEntry]:
        return iter(self.stored.values())

    def metric(self, metric: str, filters: Mapping[str, Sequence[bytes]]) -> int:
        return len(self.stored)

    async def measure(self, metric: str, filters: Mapping[str, Sequence[bytes]]) -> int:
        return self.metric(metric, filters)

    def quota(self, name: bytes) -> tuple[int, int]:
        return 0, 0

    async def close(self) -> None:
        self.changed.set()


Hook = Callable[[Any], Any]


class FakeRunner:
    """Hooks are functions from a context to a Verdict (or an awaitable of one)."""

    def __init__(self) -> None:
        self.hooks: dict[str, Hook] = {}
        self.seen: list[tuple[str, Any]] = []

    def has(self, stage: str) -> bool:
        return stage in self.hooks

    async def run(self, context: Any) -> Verdict:
        self.seen.append((context.stage, context))
        verdict = self.hooks[context.stage](context)
        decided = await verdict if isinstance(verdict, Awaitable) else verdict
        assert isinstance(decided, Verdict)
        return decided

    def forget_message(self, message_id: str) -> None:
        """Nothing is kept."""

    def actions(self) -> list[str | None]:
        return [context.action for stage, context in self.seen if stage == "postdelivery"]


class FakeDeliverer:
    """Answers by recipient domain: an Attempt, an exception, or an awaitable's result; else `outcome`."""

    def __init__(self) -> None:
        self.outcome: Any = DELIVERED
        self.domains: dict[bytes, Any] = {}
        self.plans: list[DeliveryPlan] = []

    async def attempt(self, plan: DeliveryPlan, entry: QueueEntry, body: Body) -> Attempt:
        self.plans.append(plan)
        outcome = self.domains.get(plan.recipient.host, self.outcome)
        if callable(outcome):
            outcome = await outcome()
        if isinstance(outcome, Exception):
            raise outcome
        assert isinstance(outcome, Attempt)
        return outcome


class FakeSlots:
    def __init__(self) -> None:
        self.held: set[str] = set()
        self.error: Exception | None = None
        self.released: list[str] = []

    async def take(self, namespace: bytes, entry: bytes, maximum: int, holder: str) -> bool:
        self.held.add(holder)
        return True

    async def release(self, holder: str) -> None:
        self.released.append(holder)
        self.held.discard(holder)
        if self.error:
            raise self.error


def config(retry: dict[str, Any] | None = None, dsn: dict[str, Any] | None = None, **session: Any) -> Config:
    return Config.model_validate(
        {
            "servers": [{"id": "s", "transport": "t", "listeners": [{}]}],
            "transportgroups": [
                {
                    "id": "g",
                    "retry": retry or {"count": 2, "intervals": [{"interval": 60}, {"interval": 900}], "expire": 86400},
                    "dsn": dsn or {},
                    "transports": [{"id": "t", "session": session}, {"id": "other"}],
                }
            ],
        }
    )


class World:
    """A scheduler with everything around it. `async with` starts and stops it."""

    def __init__(self, concurrency: int = 40, settings: Config | None = None) -> None:
        self.clock = Clock()
        self.queue = FakeQueue()
        self.runner = FakeRunner()
        self.deliverer = FakeDeliverer()
        self.slots = FakeSlots()
        self.lines: list[str] = []
        self.scheduler = Scheduler(
            queue=self.queue,
            runner=self.runner,
            deliverer=self.deliverer,
            transports=TransportTable(settings or config()),
            slots=self.slots,
            log=Log("debug", self.lines.append),
            clock=self.clock,
            hostname="gw.example",
            concurrency=concurrency,
            uniform=lambda low, high: high,
            commit_retry=0.01,
        )

    def add(self, recipient: bytes = b"r@r.example", sender: bytes = b"s@s.example", **more: Any) -> int:
        more.setdefault("ts", START)
        entry = QueueEntry(
            "tid", Address.of(sender) if sender else NULL_SENDER, Address.of(recipient), more.pop("transportid", "t")
        )
        for name, value in more.items():
            setattr(entry, name, value)
        return self.queue.add(entry, BytesBody(b"Subject: x\r\n\r\nbody\r\n"))

    async def __aenter__(self) -> "World":
        self.scheduler.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        async with asyncio.timeout(10):
            await self.scheduler.stop(0)
        assert not self.slots.held
        assert not self.scheduler.running

    def pre(self, action: str, **options: Any) -> None:
        self.runner.hooks["predelivery"] = lambda context: Verdict(action, options=options)

    def post(self, action: str, **options: Any) -> None:
        self.runner.hooks["postdelivery"] = lambda context: Verdict(action, options=options)

    async def settle(self, entry_id: int) -> QueueEntry | None:
        """The entry after its turn; None when it left the queue."""
        async with asyncio.timeout(10):
            while entry_id in self.queue.claimed or self.due(entry_id) or self.scheduler.running:
                await asyncio.sleep(0.001)
        return self.queue.get(entry_id)

    def due(self, entry_id: int) -> bool:
        entry = self.queue.get(entry_id)
        return entry is not None and entry.state != HOLD and entry.due <= self.clock.now

    def at(self, now: float) -> None:
        self.clock.now = now
        self.scheduler.wake()

    def reports(self) -> list[QueueEntry]:
        return [entry for entry in self.queue.stored.values() if entry.sender == NULL_SENDER]

    def logged(self, text: str) -> list[str]:
        return [line for line in self.lines if text in line]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def hang() -> Attempt:
    await asyncio.Event().wait()
    return DELIVERED


def hold_reports(world: World) -> None:
    """Keep reports in the queue: their own attempts are put on hold."""
    world.deliverer.domains[b"s.example"] = hang


# Default actions


async def test_delivered_mail_leaves_the_queue() -> None:
    async with World() as world:
        number = world.add()
        assert await world.settle(number) is None
        assert world.queue.applied == [(0, 0, 1)]
        assert world.slots.released == []  # no pre-delivery script, so no slots


async def test_an_attempt_is_one_log_line() -> None:
    async with World() as world:
        tls = TLSInfo("TLSv1.3", "AES", 256)
        world.deliverer.outcome = replace(DELIVERED, remoteport=25, tls=tls, remotemx="mx.r.example")
        number = world.add(b"R\xff@r.example")
        await world.settle(number)
        (line,) = world.logged(" attempt ")
        for part in (
            f"queue={number} ",
            "transaction=tid ",
            "sender=<s@s.example> ",
            r'recipient="<R\\xff@r.example>" ',
            "transport=t ",
            "relayport=25 ",
            "tls=TLSv1.3/AES ",
            "stage=postdelivery ",
            "relay=mx.r.example ",
            "relayip=192.0.2.1 ",
            "sourceip=127.0.0.2 ",
            "helo=h ",
            "delay=0.000 ",
            "code=250 ",
            "enhanced=2.0.0 ",
            "state=EOD ",
            "reply=ok ",
            "action=delivered",
        ):
            assert part in line + " ", part


async def test_the_manual_has_every_key_of_a_delivery_s_line() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "mail.md").read_text()
    told = re.findall(r"^\| `(\w+)` \|", manual.partition("## The log")[2].partition("\n## ")[0], re.M)
    at = Span(Source("x.hsl", "Try();"), 0, 6)
    decisions = [Verdict("queue", reason=("why",), at=at), Verdict("default", at=at)]
    async with World() as world:
        world.runner.hooks = {
            "predelivery": lambda context: Verdict("try", at=at),
            "postdelivery": lambda context: decisions.pop(),
        }
        world.deliverer.outcome = replace(
            DELIVERED, remoteport=25, tls=TLSInfo("TLSv1.3", "AES", 256), remotemx="mx.r.example"
        )
        await world.settle(world.add())
        world.deliverer.outcome = replace(BUSY, result=None, error=AttemptError(True, "x", "connect", None, "connect"))
        await world.settle(world.add())
        lines = world.logged(" attempt ")
    keys = {key for line in lines for key in re.findall(r" (\w+)=", line)}
    assert sorted(told) == sorted(keys)
    assert len(told) == 25


async def test_temporary_failures_follow_the_plan_and_end_in_a_bounce() -> None:
    async with World() as world:
        world.deliverer.domains[b"r.example"] = BUSY
        hold_reports(world)
        number = world.add()
        for retry, delay in ((1, 60), (2, 900)):
            now = world.clock.now
            entry = await world.settle(number)
            assert entry is not None
            assert (entry.state, entry.retry, entry.due) == (DEFER, retry, now + delay)
            assert entry.error == "450 4.2.1 busy (RCPT)"
            world.at(entry.due)
        await until(lambda: number not in world.queue.stored)
        (report,) = world.reports()
        assert report.recipient.path == b"s@s.example"
        text = b"".join(world.queue.body(report).chunks())
        assert b"Status: 4.2.1" in text
        assert b"Subject: x" in text
        assert (1, 0, 1) in world.queue.applied  # report and removal are one transaction


@pytest.mark.parametrize("attempt", [UNKNOWN, NO_DOMAIN])
async def test_permanent_failures_bounce_at_once(attempt: Attempt) -> None:
    async with World() as world:
        world.deliverer.domains[b"r.example"] = attempt
        hold_reports(world)
        number = world.add()
        await until(lambda: number not in world.queue.stored)
        assert len(world.reports()) == 1


async def test_temporary_dns_errors_wait() -> None:
    async with World() as world:
        world.deliverer.outcome = NO_ANSWER
        entry = await world.settle(world.add())
        assert entry is not None
        assert (entry.retry, entry.error) == (1, "dns: SERVFAIL")


@pytest.mark.parametrize(
    ("sender", "dsn"), [(b"", {}), (b"s@s.example", {"enabled": False}), (b"", {"enabled": False})]
)
async def test_no_bounce_for_the_null_sender_or_without_dsn(sender: bytes, dsn: dict[str, Any]) -> None:
    async with World(settings=config(dsn=dsn)) as world:
        world.deliverer.outcome = UNKNOWN
        assert await world.settle(world.add(sender=sender)) is None
        assert world.queue.applied == [(0, 0, 1)]
        assert world.logged("action=delete")


@pytest.mark.parametrize(("dsn", "want"), [({}, "t"), ({"transport": "other"}, "other")])
async def test_reports_leave_by_the_dsn_transport(dsn: dict[str, Any], want: str) -> None:
    async with World(settings=config(dsn=dsn)) as world:
        world.deliverer.domains[b"r.example"] = UNKNOWN
        hold_reports(world)
        world.add()
        await until(world.reports)
        assert world.reports()[0].transportid == want


# Expiry and delay notifications


async def test_expired_mail_is_bounced_without_an_attempt() -> None:
    async with World() as world:
        world.pre("try")
        world.post("default")
        hold_reports(world)
        number = world.add(ts=START - 86401, error="450 4.2.1 busy (RCPT)")
        await until(lambda: number not in world.queue.stored)
        assert [plan.recipient.host for plan in world.deliverer.plans] in ([], [b"s.example"])
        assert world.runner.seen[0][0] == "postdelivery"
        assert world.runner.seen[0][1].attempt is None
        assert world.runner.actions()[0] == "BOUNCE"
        text = b"".join(world.queue.body(world.reports()[0]).chunks())
        assert b"Status: 4.4.7" in text
        assert b"busy" in text


async def test_expiry_ends_a_reschedule_that_leaves_the_retry_count_alone() -> None:
    async with World() as world:
        world.pre("queue", delay=3000.0, increment_retry=False)
        hold_reports(world)
        number = world.add()
        for _ in range(28):
            entry = await world.settle(number)
            assert entry is not None
            assert entry.retry == 0
            world.at(entry.due)
        entry = await world.settle(number)
        assert entry is not None
        assert entry.due > START + 86400
        world.at(entry.due)
        await until(lambda: number not in world.queue.stored)
        assert not [plan for plan in world.deliverer.plans if plan.recipient.host == b"r.example"]


async def test_age_is_checked_after_the_attempt_too() -> None:
    async with World() as world:

        async def slow() -> Attempt:
            world.clock.now = START + 86401
            return BUSY

        world.deliverer.domains[b"r.example"] = slow
        hold_reports(world)
        number = world.add()
        await until(lambda: number not in world.queue.stored)
        assert len(world.reports()) == 1


NOTIFY = {"count": 9, "intervals": [{"interval": 60}, {"interval": 600, "notify": True}], "expire": 86400}


async def test_a_notify_step_sends_one_delay_report() -> None:
    async with World(settings=config(retry=NOTIFY)) as world:
        world.deliverer.domains[b"r.example"] = BUSY
        hold_reports(world)
        number = world.add()
        counts = []
        for _ in range(4):
            async with asyncio.timeout(10):
                while world.due(number) or number in world.queue.claimed:
                    await asyncio.sleep(0.001)
            counts.append(len(world.reports()))
            world.at(world.queue.stored[number].due)
        assert counts == [0, 1, 1, 1]
        report = message_from_bytes(b"".join(world.queue.body(world.reports()[0]).chunks()))
        assert "Action: delayed" in report.as_string()
        assert (1, 1, 0) in world.queue.applied


async def test_no_delay_report_to_the_null_sender() -> None:
    async with World(settings=config(retry=NOTIFY)) as world:
        world.deliverer.outcome = BUSY
        entry = await world.settle(world.add(sender=b"", retry=1))
        assert entry is not None
        assert entry.due == START + 600
        assert len(world.queue.stored) == 1


# Pre-delivery


async def test_predelivery_changes_reach_the_attempt_and_the_postdelivery_context() -> None:
    async with World() as world:

        def pre(context: Any) -> Verdict:
            context.plan.host = "10.9.8.7"
            context.context = b"note"
            context.entry.metadata[b"k"] = b"v"
            return Verdict("try", explicit=False)

        world.runner.hooks["predelivery"] = pre
        world.post("default")
        world.deliverer.outcome = BUSY
        entry = await world.settle(world.add())
        assert entry is not None
        assert entry.metadata == {b"k": b"v"}
        assert world.deliverer.plans[0].host == "10.9.8.7"
        post = world.runner.seen[1][1]
        assert (post.context, post.action, post.attempt, post.retries) == (b"note", "QUEUE", BUSY, 2)


PRE_QUEUE = [
    ({"delay": 30.0, "increment_retry": False, "reason": "wait"}, (DEFER, 0, 30, "t", "wait")),
    ({"delay": 30.0}, (DEFER, 1, 30, "t", "")),
    ({}, (DEFER, 1, 60, "t", "")),
    ({"delay": 0.0}, (DEFER, 1, 1, "t", "")),
    ({"hold": True}, (HOLD, 1, 60, "t", "")),
    ({"reset_retry": True}, (DEFER, 0, 60, "t", "")),
    ({"transportid": "other"}, (DEFER, 1, 60, "other", "")),
]


@pytest.mark.parametrize(("options", "want"), PRE_QUEUE)
async def test_predelivery_queue(options: dict[str, Any], want: tuple[Any, ...]) -> None:
    async with World() as world:
        world.pre("queue", **options)
        world.post("delete")
        entry = await world.settle(world.add())
        assert entry is not None
        assert (entry.state, entry.retry, entry.due - START, entry.transportid, entry.error) == want
        assert world.deliverer.plans == []
        assert world.runner.actions() == []
        assert len(world.slots.released) == 1
        assert world.logged(" decision ")


@pytest.mark.parametrize(
    ("options", "want"), [({}, (b"a",)), ({"quotas": (b"b", b"c")}, (b"b", b"c")), ({"quotas": ()}, ())]
)
async def test_the_quotas_of_a_requeued_entry(options: dict[str, Any], want: tuple[bytes, ...]) -> None:
    async with World() as world:
        world.pre("queue", delay=30.0, **options)
        entry = await world.settle(world.add(quotas=(b"a",)))
        assert entry is not None
        assert entry.quotas == want


async def test_predelivery_delete_sends_no_report() -> None:
    async with World() as world:
        world.pre("delete")
        world.post("default")
        assert await world.settle(world.add()) is None
        assert world.queue.applied == [(0, 0, 1)]
        assert world.runner.actions() == ["DELETE"]


async def test_predelivery_bounce_sends_a_report() -> None:
    async with World() as world:
        world.runner.hooks["predelivery"] = lambda context: Verdict(
            "bounce" if context.entry.recipient.host == b"r.example" else "queue", options={"hold": True}
        )
        number = world.add()
        assert await world.settle(number) is None
        assert len(world.reports()) == 1


async def test_predelivery_queue_beyond_the_last_retry_bounces() -> None:
    async with World() as world:
        world.pre("queue", delay=1.0)
        world.post("default")
        assert await world.settle(world.add(retry=2)) is None
        assert world.runner.actions()[0] == "BOUNCE"


async def test_predelivery_script_error_waits_at_least_300_seconds_with_jitter() -> None:
    async with World() as world:
        world.runner.hooks["predelivery"] = lambda context: Verdict(
            "queue", explicit=False, error=True, options={"delay": 300, "increment_retry": False}
        )
        entry = await world.settle(world.add())
        assert entry is not None
        assert (entry.retry, entry.due) == (0, START + 300 * 1.2)
        assert len(world.slots.released) == 1


# Post-delivery

POST = [
    # attempt, action, options, wanted (state, retry, delay, transport, recipient) or "bounce"/"delete"
    (BUSY, "default", {}, (DEFER, 1, 60, "t", b"r@r.example")),
    (BUSY, "delete", {}, "delete"),
    (BUSY, "bounce", {}, "bounce"),
    (BUSY, "queue", {"delay": 5.0}, (DEFER, 1, 5, "t", b"r@r.example")),
    (BUSY, "queue", {"hold": True}, (HOLD, 1, 60, "t", b"r@r.example")),
    (UNKNOWN, "default", {}, "bounce"),
    (UNKNOWN, "delete", {}, "delete"),
    (UNKNOWN, "bounce", {}, "bounce"),
    (UNKNOWN, "queue", {}, (DEFER, 1, 60, "t", b"r@r.example")),
    (UNKNOWN, "queue", {"increment_retry": False, "delay": 9.0}, (DEFER, 0, 9, "t", b"r@r.example")),
    (
        UNKNOWN,
        "queue",
        {"delay": 0, "reset_retry": True, "transportid": "other", "recipient": Address(b"x", b"x.example")},
        (DEFER, 0, 1, "other", b"x@x.example"),
    ),
    (
        BUSY,
        "deliver",
        {"transportid": "other", "recipient": Address(b"x", b"x.example")},
        (DEFER, 0, 1, "other", b"x@x.example"),
    ),
    (DELIVERED, "deliver", {"transportid": "other", "recipient": Address(b"x", b"x.example")}, "delete"),
    (DELIVERED, "delete", {}, "delete"),
    (DELIVERED, "bounce", {}, "delete"),
    (DELIVERED, "queue", {}, "delete"),
]


@pytest.mark.parametrize(("attempt", "action", "options", "want"), POST)
async def test_postdelivery(attempt: Attempt, action: str, options: dict[str, Any], want: Any) -> None:
    async with World() as world:
        world.post(action, **options)
        world.deliverer.domains[b"r.example"] = attempt
        hold_reports(world)
        number = world.add()
        await until(lambda: world.queue.applied)
        entry = world.queue.get(number)
        if isinstance(want, str):
            assert entry is None
            assert len(world.reports()) == (want == "bounce")
        else:
            assert entry is not None
            assert (entry.state, entry.retry, entry.due - START, entry.transportid, entry.recipient.path) == want
        default = {250: None, 450: "QUEUE", 550: "BOUNCE"}[attempt.result.code if attempt.result else 0]
        assert world.runner.actions()[0] == default


async def test_postdelivery_retry_beyond_the_last_retry_bounces() -> None:
    async with World() as world:
        world.post("queue")
        world.deliverer.domains[b"r.example"] = UNKNOWN
        hold_reports(world)
        number = world.add(retry=2)
        await until(lambda: world.queue.applied)
        assert number not in world.queue.stored
        assert len(world.reports()) == 1


async def test_postdelivery_bounce_of_the_null_sender_only_deletes() -> None:
    async with World() as world:
        world.post("bounce")
        world.deliverer.outcome = BUSY
        assert await world.settle(world.add(sender=b"")) is None
        assert world.queue.applied == [(0, 0, 1)]


@pytest.mark.parametrize(("attempt", "left"), [(DELIVERED, False), (BUSY, True)])
async def test_an_error_of_ours_in_postdelivery_takes_the_default(attempt: Attempt, left: bool) -> None:
    async with World() as world:

        def fail(context: Any) -> Verdict:
            raise KeyError("ours")

        world.runner.hooks["postdelivery"] = fail
        world.deliverer.outcome = attempt
        entry = await world.settle(world.add())
        assert (entry is not None) == left
        assert len(world.deliverer.plans) == 1
        assert world.logged("postdelivery-failed")


# Configuration that changed


@pytest.mark.parametrize(("transport", "session"), [("gone", {}), ("t", {"sourceip": "9"})])
async def test_an_unknown_id_is_a_logged_temporary_failure(transport: str, session: dict[str, Any]) -> None:
    async with World(settings=config(**session)) as world:
        entry = await world.settle(world.add(transportid=transport))
        assert entry is not None
        assert (entry.state, entry.retry, entry.due) == (DEFER, 1, START + 60)
        assert world.deliverer.plans == []
        assert world.logged("error no-route")


# Errors of our own


async def test_a_crash_in_the_deliverer_puts_the_entry_off() -> None:
    async with World() as world:
        world.pre("try")
        world.deliverer.outcome = RuntimeError("boom")
        entry = await world.settle(world.add())
        assert entry is not None
        assert (entry.state, entry.retry, entry.due) == (DEFER, 0, START + 300)
        assert "RuntimeError: boom" in world.logged("delivery-failed")[0]
        assert len(world.slots.released) == 1


async def test_a_crash_in_the_runner_puts_the_entry_off() -> None:
    async with World() as world:

        def fail(context: Any) -> Verdict:
            raise RuntimeError("boom")

        world.runner.hooks["predelivery"] = fail
        entry = await world.settle(world.add())
        assert entry is not None
        assert entry.due == START + 300
        assert len(world.slots.released) == 1


async def test_a_verdict_that_decides_nothing_puts_the_entry_off() -> None:
    async with World() as world:
        world.pre("accept")
        entry = await world.settle(world.add())
        assert entry is not None
        assert entry.due == START + 300


async def test_a_commit_that_fails_once_for_another_reason_is_tried_differently() -> None:
    async with World() as world:
        world.queue.broken = [ValueError("odd")]
        assert await world.settle(world.add()) is None
        assert world.logged("delivery-failed")
        assert len(world.deliverer.plans) == 1


async def test_an_entry_whose_result_cannot_be_stored_stays_claimed_and_others_go_on() -> None:
    async with World() as world:
        world.queue.broken = [ValueError("odd"), ValueError("odd")]
        first = world.add()
        await until(lambda: world.logged("entry-stuck"))
        assert await world.settle(world.add()) is None
        assert first in world.queue.stored
        assert len(world.deliverer.plans) == 2


async def test_slots_that_cannot_be_released_do_no_harm() -> None:
    async with World() as world:
        world.pre("try")
        world.slots.error = BackendUnavailable("gone")
        assert await world.settle(world.add()) is None
        assert world.logged("slots-not-released")


async def test_slots_are_free_when_postdelivery_runs_and_holders_differ() -> None:
    async with World() as world:

        async def take(context: Any) -> Verdict:
            await world.slots.take(b"d", b"d", 3, context.holder)
            return Verdict("try")

        held: list[int] = []

        def post(context: Any) -> Verdict:
            held.append(len(world.slots.held))
            return Verdict("queue", options={"delay": 1.0, "increment_retry": False})

        world.runner.hooks = {"predelivery": take, "postdelivery": post}
        world.deliverer.outcome = BUSY
        number = world.add()
        for _ in range(2):
            entry = await world.settle(number)
            assert entry is not None
            world.at(entry.due)
        await until(lambda: len(held) == 3)
        assert held == [0, 0, 0]
        assert len(set(world.slots.released)) == 3


async def test_a_missing_body_does_not_stop_the_bounce() -> None:
    async with World() as world:
        number = world.add(ts=START - 90000)
        del world.queue.bodies[number]
        world.queue.bodies[number + 10] = BytesBody(b"")
        hold_reports(world)
        await until(world.reports)
        assert number not in world.queue.stored
        assert world.logged("body-unreadable")


async def test_the_loop_survives_a_queue_that_fails() -> None:
    async with World() as world:
        claim = world.queue.claim
        failures = [OSError("once")]

        async def failing(limit: int, now: float) -> list[QueueEntry]:
            if failures:
                raise failures.pop()
            return await claim(limit, now)

        world.queue.claim = failing  # type: ignore[method-assign]
        assert await world.settle(world.add()) is None
        assert world.logged("scheduler-failed")


# A full disk


async def test_a_result_is_held_until_the_disk_takes_it_and_nothing_new_starts() -> None:
    async with World() as world:
        world.queue.full = lambda store: True
        first = world.add()
        await until(lambda: world.logged("error queue-full"))
        second = world.add(b"r@other.example")
        await asyncio.sleep(0.05)
        assert len(world.deliverer.plans) == 1
        world.queue.full = lambda store: False
        assert await world.settle(first) is None
        assert await world.settle(second) is None
        assert len(world.deliverer.plans) == 2
        assert len(world.logged("queue-full")) == 1
        assert len(world.logged("queue-writable")) == 1


@pytest.mark.parametrize("outcome", ["delivered", "bounced"])
async def test_a_result_is_held_while_nothing_can_be_written(outcome: str) -> None:
    async with World() as world:
        if outcome == "bounced":
            world.deliverer.domains[b"r.example"] = UNKNOWN
        world.queue.broken = [QueueUnavailable("database is locked")] * 10_000
        first = world.add()
        await until(lambda: world.logged("queue-unavailable"))
        second = world.add(b"r@other.example")
        await asyncio.sleep(0.05)
        assert len(world.deliverer.plans) == 1
        world.queue.broken.clear()
        assert await world.settle(first) is None
        assert await world.settle(second) is None
        tried = [plan.recipient.host for plan in world.deliverer.plans if plan.recipient.host != b"s.example"]
        assert tried == [b"r.example", b"other.example"]
        assert len(world.logged("database is locked")) == len(world.logged("queue-writable")) == 1
        assert not world.logged("delivery-failed")


async def test_entries_in_predelivery_when_the_disk_fills_up_wait_too() -> None:
    async with World() as world:
        gate = asyncio.Event()

        async def pre(context: Any) -> Verdict:
            if context.entry.recipient.host == b"late.example":
                await gate.wait()
            return Verdict("try")

        world.runner.hooks["predelivery"] = pre
        world.queue.full = lambda store: True
        world.add()
        late = world.add(b"r@late.example")
        await until(lambda: world.logged("queue-full"))
        gate.set()
        await asyncio.sleep(0.05)
        assert len(world.deliverer.plans) == 1
        world.queue.full = lambda store: False
        assert await world.settle(late) is None


async def test_a_report_without_room_waits_while_deliveries_free_the_disk() -> None:
    async with World() as world:
        world.deliverer.domains[b"r.example"] = UNKNOWN
        hold_reports(world)
        world.queue.full = lambda store: bool(store)
        bounced = world.add()
        await until(lambda: world.logged("queue-full"))
        other = world.add(b"r@other.example")
        await until(lambda: other not in world.queue.stored)
        assert bounced in world.queue.stored
        world.queue.full = lambda store: False
        await until(lambda: bounced not in world.queue.stored)
        assert len(world.reports()) == 1


async def test_stop_with_a_full_disk_says_what_it_could_not_store() -> None:
    world = World()
    world.queue.full = lambda store: True
    number = world.add()
    async with world:
        await until(lambda: world.logged("queue-full"))
    assert f"entries={number}" in world.logged("result-lost")[0]


# Fairness


async def test_a_dead_domain_with_a_thousand_entries_does_not_keep_another_back() -> None:
    async with World(concurrency=40) as world:
        world.deliverer.domains[b"dead.example"] = hang
        for number in range(1000):
            world.add(b"r%d@dead.example" % number)
        live = world.add(b"r@live.example", due=START - 0.001)
        await until(lambda: live not in world.queue.stored)
        late = world.add(b"r@late.example")
        await until(lambda: late not in world.queue.stored)
        assert sum(plan.recipient.host == b"dead.example" for plan in world.deliverer.plans) == FIRST_WIDTH
        claims = world.queue.claims
        await asyncio.sleep(0.05)
        assert world.queue.claims == claims  # what waits does not make the loop turn


async def test_dead_domains_that_would_take_every_attempt_do_not_keep_another_back() -> None:
    async with World(concurrency=20) as world:
        for number in range(8):  # twice as many as there are attempts, at five for each
            world.deliverer.domains[b"dead%d.example" % number] = hang
            for _ in range(10):
                world.add(b"r@dead%d.example" % number)
        await until(lambda: len(world.deliverer.plans) == 20)
        late = world.add(b"r@late.example")
        await until(lambda: late not in world.queue.stored)  # as soon as the first have had their time
        await until(lambda: len(world.deliverer.plans) >= 39)
        await asyncio.sleep(0.05)
        assert world.scheduler.running <= 40


async def test_a_dead_smarthost_does_not_keep_another_transport_back() -> None:
    async with World(concurrency=20, settings=config(host="dead.example")) as world:
        world.deliverer.outcome = hang
        world.deliverer.domains[b"live.example"] = DELIVERED
        for number in range(1000):
            world.add(b"r@%d.example" % number)
        live = world.add(b"r@live.example", transportid="other")
        await until(lambda: live not in world.queue.stored)
        assert world.scheduler.running == FIRST_WIDTH


@pytest.mark.parametrize(
    ("outcome", "width"),
    [
        (DELIVERED, FIRST_WIDTH + 1),
        (Attempt(result=Result(550, None, ["no"], "RCPT")), FIRST_WIDTH + 1),
        (Attempt(result=Result(450, None, ["no"], "MAIL")), FIRST_WIDTH + 1),
        (Attempt(result=Result(421, None, ["busy"], "BANNER")), FIRST_WIDTH // 2),
        (Attempt(error=AttemptError(True, "x", "timeout")), FIRST_WIDTH // 2),
        (Attempt(error=AttemptError(True, "x", "bind")), FIRST_WIDTH),
    ],
)
async def test_what_an_attempt_tells_about_its_destination(outcome: Attempt, width: int) -> None:
    async with World() as world:
        world.deliverer.outcome = outcome
        world.add()
        await until(lambda: world.deliverer.plans and not world.scheduler.running)
        assert world.scheduler.lanes.width(Lane("t", b"r.example")) == width


async def test_dead_domains_do_not_use_up_what_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsl.smtpd.scheduler.WAITING_LIMIT", 1000)
    monkeypatch.setattr("hsl.smtpd.scheduler.LANE_FLOOR", 10)
    async with World(concurrency=20) as world:
        world.deliverer.outcome = hang
        world.deliverer.domains[b"live.example"] = DELIVERED
        for number in range(3):
            for _ in range(700):
                world.add(b"r@dead%d.example" % number)
        live = world.add(b"r@live.example")
        await until(lambda: live not in world.queue.stored)


async def test_busy_domains_share_the_attempts_with_a_newcomer() -> None:
    async with World(concurrency=4) as world:
        for number in range(200):
            world.add(b"r%d@%d.example" % (number, number % 2))
        late = world.add(b"r@late.example")
        await world.settle(late)
        await until(lambda: not world.queue.stored)
        order = [plan.recipient.host for plan in world.deliverer.plans]
        assert len(order) == 201
        assert order.index(b"late.example") < 10


async def test_what_one_lane_cannot_hold_is_put_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LANE_LIMIT >= 1000
    monkeypatch.setattr("hsl.smtpd.scheduler.LANE_LIMIT", 10)
    later = START + 120 * 10  # ten times as many as a lane holds: ten times as long
    async with World(concurrency=40) as world:
        world.deliverer.outcome = hang
        numbers = [world.add(b"r%d@dead.example" % number) for number in range(100)]
        await until(lambda: sum(entry.due == later for entry in world.queue.stored.values()) > 0)
        await until(lambda: world.queue.next_due() == later)
        put_off = [n for n in numbers if world.queue.stored[n].state == DEFER]
        assert len(put_off) == 90
        assert all(world.queue.stored[n].retry == 0 for n in put_off)


async def test_every_entry_is_attempted_once() -> None:
    async with World(concurrency=10) as world:
        numbers = [world.add(b"r%d@%d.example" % (n, n % 7)) for n in range(1500)]
        await until(lambda: not world.queue.stored)
        assert len(world.deliverer.plans) == len(numbers)


# Administrators


async def test_an_entry_deleted_or_held_while_it_waits_is_left_alone() -> None:
    async with World(concurrency=2) as world:
        gate = asyncio.Event()

        async def wait() -> Attempt:
            await gate.wait()
            return DELIVERED

        world.deliverer.outcome = wait
        world.add(b"a@r.example")
        deleted, held = world.add(b"b@r.example"), world.add(b"c@r.example")
        await until(lambda: world.deliverer.plans and held in world.queue.claimed)
        entry = world.queue.get(held)
        assert entry is not None
        entry.state = HOLD
        await world.queue.apply(update=[entry], delete=[deleted])
        gate.set()
        await until(lambda: not world.scheduler.running and not world.scheduler.lanes.ids)
        assert list(world.queue.stored) == [held]
        assert len(world.deliverer.plans) == 1


@pytest.mark.parametrize("change", ["delete", "hold", "due"])
async def test_a_change_during_the_attempt_is_respected(change: str) -> None:
    async with World() as world:
        gate = asyncio.Event()

        async def wait() -> Attempt:
            await gate.wait()
            return BUSY

        world.deliverer.outcome = wait
        number = world.add()
        await until(lambda: world.deliverer.plans)
        entry = world.queue.get(number)
        assert entry is not None
        if change == "delete":
            await world.queue.apply(delete=[number])
        else:
            entry.state = HOLD if change == "hold" else ACTIVE
            await world.queue.apply(update=[entry])
            await asyncio.sleep(0.02)
        assert len(world.deliverer.plans) == 1  # not a second attempt beside the first
        gate.set()
        entry = await world.settle(number)
        if change == "delete":
            assert entry is None
        else:
            assert entry is not None
            assert entry.state == (HOLD if change == "hold" else DEFER)
            assert number not in world.queue.claimed


# Stopping, waking


async def test_stop_lets_a_running_attempt_end_and_gives_back_the_rest() -> None:
    world = World(concurrency=2)
    gate = asyncio.Event()

    async def wait() -> Attempt:
        await gate.wait()
        return DELIVERED

    world.deliverer.outcome = wait
    first = world.add(b"a@r.example")
    waiting = [world.add(b"b%d@r.example" % number) for number in range(5)]
    world.scheduler.start()
    await until(lambda: len(world.queue.claimed) == 6)
    stopping = asyncio.create_task(world.scheduler.stop(10))
    await asyncio.sleep(0.01)
    gate.set()
    await asyncio.wait_for(stopping, 10)
    assert first not in world.queue.stored
    assert sorted(world.queue.stored) == waiting
    assert not world.queue.claimed
    assert len(world.deliverer.plans) == 1


async def test_stop_cuts_off_an_attempt_at_the_end_of_the_grace() -> None:
    world = World()
    world.deliverer.outcome = hang
    world.pre("try")
    number = world.add()
    async with world:
        await until(lambda: world.deliverer.plans)
    assert number in world.queue.stored
    assert not world.queue.claimed
    assert len(world.slots.released) == 1


async def test_stop_ends_predelivery_at_once_and_keeps_its_metadata() -> None:
    world = World()

    async def pre(context: Any) -> Verdict:
        context.entry.metadata[b"k"] = b"v"
        await asyncio.Event().wait()
        return Verdict("try")

    world.runner.hooks["predelivery"] = pre
    number = world.add()
    world.scheduler.start()
    await until(lambda: world.runner.seen)
    await asyncio.wait_for(world.scheduler.stop(3600), 10)
    assert world.queue.stored[number].metadata == {b"k": b"v"}
    assert not world.queue.claimed
    assert len(world.slots.released) == 1


async def test_stop_during_postdelivery_keeps_the_attempts_outcome() -> None:
    world = World()

    async def post(context: Any) -> Verdict:
        await asyncio.Event().wait()
        return Verdict("default")

    world.runner.hooks["postdelivery"] = post
    number = world.add()
    async with world:
        await until(lambda: world.runner.seen)
    assert number not in world.queue.stored


async def test_a_commit_is_not_cut_off_by_stop() -> None:
    world = World()
    number = world.add()
    apply = world.queue.apply
    begun = asyncio.Event()

    async def slow(**changes: Any) -> list[int]:
        begun.set()
        await asyncio.sleep(0.05)
        return await apply(**changes)

    world.queue.apply = slow  # type: ignore[method-assign]
    async with world:
        await asyncio.wait_for(begun.wait(), 10)
    assert number not in world.queue.stored
    assert world.queue.applied == [(0, 0, 1)]


async def test_stop_before_anything_started() -> None:
    world = World()
    await world.scheduler.stop(1)
    assert not world.scheduler.running


async def test_an_entry_waits_for_its_due_time_and_no_longer() -> None:
    async with World() as world:
        number = world.add(state=DEFER, due=START + 100)
        await asyncio.sleep(0.02)
        assert world.deliverer.plans == []
        world.at(START + 100)
        assert await world.settle(number) is None


async def test_held_entries_stay() -> None:
    async with World() as world:
        world.add(state=HOLD)
        other = world.add()
        assert await world.settle(other) is None
        assert len(world.queue.stored) == 1


async def test_new_transports_hold_for_the_next_entry() -> None:
    async with World() as world:
        world.scheduler.transports = TransportTable(config(host="10.0.0.9"))
        await world.settle(world.add())
        assert world.deliverer.plans[0].host == "10.0.0.9"


# Suspensions and policies


async def test_a_suspended_entry_waits_unchanged_and_without_a_script() -> None:
    async with World() as world:
        world.pre("try")
        policies = world.scheduler.policies
        policies.suspend(Match.of({"recipientdomain": "r.example"}), 60.0, "busy", True)
        number, other = world.add(), world.add(b"x@other.example")
        await until(lambda: number in world.scheduler.parking and other not in world.queue.stored)
        assert [context.entry.id for _, context in world.runner.seen] == [other]
        assert world.queue.applied == [(0, 0, 1)], "nothing was written for it"
        world.at(START + 59)
        await asyncio.sleep(0.02)
        assert number in world.queue.stored
        world.at(START + 60)
        await until(lambda: number not in world.queue.stored)
        assert len(world.deliverer.plans) == 2


async def test_a_suspended_entry_ends_by_age() -> None:
    day = 86400.0
    async with World() as world:
        world.pre("try")
        hold_reports(world)
        world.scheduler.policies.suspend(Match.of({"recipientdomain": "r.example"}), 9 * day, "", True)
        number = world.add()
        await until(lambda: number in world.scheduler.parking)
        world.at(START + day)
        await asyncio.sleep(0.02)
        assert number in world.scheduler.parking
        world.at(START + day + RECHECK)
        await until(lambda: number not in world.queue.stored)
        assert [report.recipient.path for report in world.reports()] == [b"s@s.example"]
        assert all(plan.recipient.path != b"r@r.example" for plan in world.deliverer.plans)


async def test_a_suspension_that_is_lifted_lets_go_at_once() -> None:
    async with World() as world:
        found = world.scheduler.policies.suspend(Match.of({}), 3600.0, "", True)
        assert found is not None
        numbers = [world.add() for _ in range(20)]
        await until(lambda: len(world.scheduler.parking) == 20)
        assert world.scheduler.policies.remove(found)
        await until(lambda: not world.queue.stored)
        assert len(world.deliverer.plans) == len(numbers)


async def test_a_concurrency_policy_is_kept_and_everything_leaves() -> None:
    async with World() as world:
        running, most = 0, 0

        async def slow() -> Attempt:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.002)
            running -= 1
            return DELIVERED

        world.deliverer.domains[b"r.example"] = slow
        limits = Limits(concurrency=2)
        world.scheduler.policies.limit(["recipientdomain"], Match.of({}), limits, 3600.0, "", True)
        for _ in range(30):
            world.add()
        await until(lambda: not world.queue.stored)
        assert most == 2
        assert not any(counter.running for counter in world.scheduler.policies.counters.values())


async def test_a_rate_policy_spreads_deliveries() -> None:
    async with World() as world:
        world.scheduler.policies.limit(["transportid"], Match.of({}), Limits(rate=(2, 60.0)), 3600.0, "", True)
        for _ in range(6):
            world.add()
        for minute, left in ((0, 4), (30, 3), (60, 2), (120, 0)):
            world.at(START + minute)
            await until(lambda left=left: len(world.queue.stored) == left)  # type: ignore[misc]
            await asyncio.sleep(0.01)
            assert len(world.queue.stored) == left


async def test_what_the_client_holds_back_waits_too() -> None:
    """A policy that knows the next hop: no retry is counted, post-delivery does not run, pre-delivery has run."""
    async with World() as world:

        def prepare(context: Any) -> Verdict:
            context.plan.host, context.context = "chosen.example", b"mine"
            return Verdict("try")

        world.runner.hooks["predelivery"] = prepare
        world.post("default")
        held = Attempt(
            error=AttemptError(True, "held", "policy"), held=Blocked(("suspend", "1"), START + 30, 0.0, "", "suspended")
        )
        world.deliverer.outcome = held
        number = world.add()
        await until(lambda: number in world.scheduler.parking)
        assert [stage for stage, _ in world.runner.seen] == ["predelivery"]
        assert world.queue.applied == []
        world.deliverer.outcome = DELIVERED
        world.at(START + 30)
        await until(lambda: number not in world.queue.stored)
        assert [stage for stage, _ in world.runner.seen] == ["predelivery", "postdelivery"]
        after = world.runner.seen[-1][1]
        assert (after.entry.retry, after.plan.host, after.context) == (0, "chosen.example", b"mine")


@pytest.mark.parametrize("reason", ["a slot", "a reload"])
async def test_predelivery_runs_again_for_what_was_held_back(reason: str) -> None:
    """A slot was given back while the entry waited; new scripts may say something else."""
    async with World() as world:

        def prepare(context: Any) -> Verdict:
            context.took_slot = reason == "a slot"
            return Verdict("try")

        world.runner.hooks["predelivery"] = prepare
        blocked = Blocked(("suspend", "1"), START + 30, 0.0, "", "suspended")
        world.deliverer.outcome = Attempt(error=AttemptError(True, "held", "policy"), held=blocked)
        number = world.add()
        await until(lambda: number in world.scheduler.parking)
        if reason == "a reload":
            other = FakeRunner()
            other.hooks, other.seen = world.runner.hooks, world.runner.seen
            world.scheduler.runner = other
        world.deliverer.outcome = DELIVERED
        world.at(START + 30)
        await until(lambda: number not in world.queue.stored)
        assert [stage for stage, _ in world.runner.seen] == ["predelivery", "predelivery"]


async def test_metadata_of_a_script_is_kept_when_the_client_holds_back() -> None:
    async with World() as world:

        def mark(context: Any) -> Verdict:
            context.entry.metadata = {b"seen": b"1"}
            return Verdict("try")

        world.runner.hooks["predelivery"] = mark
        blocked = Blocked(("suspend", "1"), START + 30, 0.0, "", "suspended")
        world.deliverer.outcome = Attempt(error=AttemptError(True, "held", "policy"), held=blocked)
        number = world.add()
        entry = await world.settle(number)
        assert entry is not None
        assert (entry.metadata, entry.state, entry.due, entry.retry) == ({b"seen": b"1"}, DEFER, START + 30, 0)


async def test_an_administrator_can_delete_and_hold_what_waits() -> None:
    async with World() as world:
        world.scheduler.policies.suspend(Match.of({}), 60.0, "", True)
        gone, held = world.add(), world.add()
        await until(lambda: len(world.scheduler.parking) == 2)
        await world.queue.apply(delete=[gone])
        entry = world.queue.get(held)
        assert entry is not None
        entry.state = HOLD
        await world.queue.apply(update=[entry])
        world.at(START + 60)
        await until(lambda: len(world.scheduler.parking) == 0 and not len(world.scheduler.lanes))
        assert world.deliverer.plans == []
        assert list(world.queue.stored) == [held]


async def test_more_than_can_wait_is_put_off_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsl.smtpd.parking.MAX_WAITING", 3)
    async with World() as world:
        world.scheduler.policies.suspend(Match.of({}), 3600.0, "", True)
        for _ in range(5):
            world.add()
        await until(lambda: sum(entry.state == DEFER for entry in world.queue.stored.values()) == 2)
        assert len(world.scheduler.parking) == 3
        assert all(entry.retry == 0 for entry in world.queue.stored.values())


async def test_the_longer_the_queue_the_later_what_cannot_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsl.smtpd.parking.MAX_ENTRIES", 3)
    monkeypatch.setattr("hsl.smtpd.scheduler.MAX_ENTRIES", 3)
    async with World() as world:
        world.scheduler.policies.suspend(Match.of({}), 3600.0, "", True)
        for _ in range(30):
            world.add()
        put_off = {START + 10 * 120}  # ten times as many as can wait
        await until(lambda: {entry.due for entry in world.queue.stored.values() if entry.state == DEFER} == put_off)


async def test_what_waits_is_given_back_at_a_stop() -> None:
    async with World() as world:
        world.scheduler.policies.suspend(Match.of({}), 3600.0, "", True)
        numbers = [world.add() for _ in range(3)]
        await until(lambda: len(world.scheduler.parking) == 3)
    assert world.queue.claimed == set()
    assert list(world.queue.stored) == numbers


# What a script says about a notification


@pytest.mark.parametrize("stage", ["predelivery", "postdelivery"])
async def test_a_bounce_as_a_script_wants_it(stage: str) -> None:
    async with World() as world:
        wanted = DSNPlan(
            "other", Address.of(b"help@s.example"), {b"k": b"v"}, Address.of(b"p@q.example"), b'A "B"', b"j"
        )
        world.deliverer.outcome = UNKNOWN

        def say(context: Any) -> Verdict:
            context.dsn = wanted
            return Verdict("try" if stage == "predelivery" else "default")

        world.runner.hooks[stage] = say
        hold_reports(world)
        world.add()
        await until(world.reports)
        (report,) = world.reports()
        assert (report.recipient.path, report.transportid) == (b"help@s.example", "other")
        assert (report.metadata, report.jobid) == ({b"k": b"v"}, b"j")
        message = message_from_bytes(b"".join(world.queue.bodies[report.id].chunks()))
        assert (message["From"], message["To"]) == ('"A \\"B\\"" <p@q.example>', "<help@s.example>")


async def test_a_notifications_name_is_encoded() -> None:
    async with World() as world:
        world.deliverer.outcome = UNKNOWN

        def say(context: Any) -> Verdict:
            context.dsn = DSNPlan(from_name="Zoë\r\nBcc: x@y".encode())
            return Verdict("try")

        world.runner.hooks["predelivery"] = say
        hold_reports(world)
        world.add()
        await until(world.reports)
        (report,) = world.reports()
        message = message_from_bytes(b"".join(world.queue.bodies[report.id].chunks()))
        assert str(message["From"]).endswith(" <MAILER-DAEMON@gw.example>")
        assert "=?" in str(message["From"])
        assert message["Bcc"] is None
