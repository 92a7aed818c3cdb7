"""Due queue entries in; attempts, and one queue transaction for each entry's outcome, out.

An entry goes: claim, expiry, pre-delivery, attempt, post-delivery, commit. Nothing is lost on the way: a stop gives
entries back, an error of our own puts them off, and a result that the disk does not take stays in memory until it does.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

from hsl.errors import ScriptError
from hsl.runtime.attempts import attempt_facts, describe
from hsl.runtime.context import PostDeliveryContext, PreDeliveryContext
from hsl.runtime.dsnrequest import DELAY, FAILURE, SUCCESS, wants
from hsl.runtime.log import Log
from hsl.runtime.model import (
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
)
from hsl.runtime.policies import FREE, Blocked, Permit, QueuePolicies, Rule
from hsl.runtime.policyfields import Key, facts_of
from hsl.runtime.protocols import Clock, Queue, QueueFull, QueueUnavailable, Slots
from hsl.runtime.verdict import Verdict
from hsl.smtpd import dsn
from hsl.smtpd.config import Retry
from hsl.smtpd.dsn import EXHAUSTED, EXPIRED, REFUSED, Reason
from hsl.smtpd.lanes import Lane, Lanes, lane_of, share_of
from hsl.smtpd.parking import MAX_ENTRIES, Parking
from hsl.smtpd.transports import Route, RouteError, TransportTable
from hsl.source import Span
from hsl.values import Value

PUT_OFF = 300.0  # seconds until the next look at an entry after a script's error, or one of ours
MIN_DELAY = 1.0  # seconds; Reschedule(0) would otherwise turn as fast as the machine can
RECHECK = 60.0  # seconds between two looks at the clock: wall time may jump
MIN_PAUSE = 0.05  # seconds; rounding of due times must not make the loop spin
RECONSIDER = 1.0  # seconds between two looks at all that policies hold back, however often these change
CLAIM = 256  # entries taken from the queue at once
WAITING_LIMIT = 100_000  # entries claimed and waiting, over all lanes
LANE_LIMIT = 10_000  # of one lane; what is due beyond it is put off by a minute or two for each so many
MAX_PREPARED = 10_000  # entries that wait for a policy with what pre-delivery made of them; it runs again for others
LANE_FLOOR = 100  # entries that any lane may hold, however many wait in others
PATIENCE = 1.0  # seconds after which an attempt no longer keeps others from beginning; as many as may be at once
LAST_MOMENT = 5.0  # seconds that stop() gives to commits after the grace is over

OURS = frozenset({"plan", "bind", "config", "policy"})  # errors that say nothing about the destination

PREPARE, ATTEMPT, SETTLE = "prepare", "attempt", "settle"


class Runner(Protocol):
    """Runs the hook of a stage. Never raises for a script's sake: its errors are the stage's on-error verdict."""

    def has(self, stage: str) -> bool: ...

    async def run(self, context: Any) -> Verdict: ...

    def forget_message(self, message_id: str) -> None: ...


class AttemptDriver(Protocol):
    async def attempt(self, plan: DeliveryPlan, entry: QueueEntry, body: Body) -> Attempt: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of an entry: `delivered`, `delete`, `bounce` or `queue`, and the options of Queue() (seconds).

    `at`: the statement of a script that decided it.
    """

    action: str
    delay: float | None = None
    hold: bool = False
    reason: str | None = None
    increment_retry: bool = True
    reset_retry: bool = False
    transportid: str | None = None
    priority: int | None = None
    recipient: Address | None = None
    quotas: tuple[bytes, ...] | None = None
    at: Span | None = field(default=None, compare=False)


OPTIONS = frozenset(item.name for item in fields(Outcome)) - {"action", "at"}


def outcome_of(verdict: Verdict) -> Outcome:
    """The decision of a verdict. Raises ValueError for an action that decides nothing about a queued entry.

    `deliver` (2015, "Post-delivery") is a queue verdict for now, with the retries reset.
    """
    if verdict.action not in ("delete", "bounce", "queue", "deliver"):
        raise ValueError(f"{verdict.action} is not a decision about a queued entry")
    known = {name: value for name, value in verdict.options.items() if name in OPTIONS and value is not None}
    if verdict.reason:
        known["reason"] = " ".join(verdict.reason)
    if verdict.action == "deliver":
        return Outcome(**{"delay": 0.0, "reset_retry": True, **known, "action": "queue", "at": verdict.at})
    return Outcome(verdict.action, **known, at=verdict.at)


@dataclass(frozen=True, slots=True)
class Step:
    """When an entry is tried again: the new retry count, the delay in seconds, whether a delay DSN goes out."""

    retry: int
    delay: float
    notify: bool = False


def next_step(retries: int, plan: Retry, outcome: Outcome) -> Step:
    """The step after `retries` retries (0 after the first attempt).

    The delay is the outcome's, else the plan's interval of that number, the last one repeated. `notify` only when the
    plan chose the delay and this interval is reached for the first time.
    """
    retry = 0 if outcome.reset_retry else retries + 1 if outcome.increment_retry else retries
    if outcome.delay is not None:
        delay = outcome.delay if outcome.delay > MIN_DELAY else MIN_DELAY  # NAN too
        return Step(retry, min(delay, max(plan.expire, MIN_DELAY)))
    index = 0 if outcome.reset_retry else min(retries, len(plan.intervals) - 1)
    chosen = plan.intervals[index]
    first = retry == retries + 1 and index == retries
    return Step(retry, max(chosen.interval, MIN_DELAY), chosen.notify and first)


@dataclass(slots=True)
class Changes:
    """One queue transaction."""

    store: list[Mail] = field(default_factory=list)
    update: list[QueueEntry] = field(default_factory=list)
    delete: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Work:
    """One claimed entry on its way through an attempt."""

    entry: QueueEntry
    lane: Lane
    holder: str
    route: Route
    permit: Permit
    phase: str = PREPARE
    held: Blocked | None = None  # by a policy that knows where it goes
    prepared: Prepared | None = None
    dsn: DSNPlan | None = None
    plan: DeliveryPlan | None = None
    attempt: Attempt | None = None
    context: Value = None
    tried: Span | None = None  # the Try() of pre-delivery
    metadata: dict[bytes, bytes] = field(default_factory=dict)  # as it was claimed
    stage: str = "postdelivery"  # which decides
    slow: bool = False  # it has given its place to another
    slots: bool = False  # a script may hold slots
    expired: bool = False  # its retries or its time are used up
    committed: bool = False  # the outcome is on its way to disk

    @property
    def answered(self) -> bool | None:
        """Whether the destination gave an answer that counts; None: it was not asked."""
        if self.attempt is None:
            return None
        if self.attempt.error is not None:
            return None if self.attempt.error.kind in OURS else False
        return self.attempt.result is not None and self.attempt.result.code != 421


@dataclass(frozen=True, slots=True)
class Prepared:
    """What pre-delivery made of an entry that then had to wait. Scripts that hold slots are not kept: they give them
    back while they wait."""

    runner: Runner
    plan: DeliveryPlan
    context: Value
    dsn: DSNPlan | None
    jobid: bytes
    tried: Span | None


class Scheduler:
    """Delivers a queue. `transports` may be replaced while it runs (reload).

    concurrency   attempts at once; those that last longer than `patience` seconds come on top, as many again
    share         attempts at once for one destination: a transport's host, or a recipient domain
    """

    def __init__(
        self,
        *,
        queue: Queue,
        runner: Runner,
        deliverer: AttemptDriver,
        transports: TransportTable,
        slots: Slots,
        log: Log,
        clock: Clock,
        hostname: str,
        concurrency: int,
        policies: QueuePolicies | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
        commit_retry: float = 1.0,
        share: int | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self.queue = queue
        self.runner = runner
        self.deliverer = deliverer
        self.transports = transports
        self.slots = slots
        self.log = log
        self.clock = clock
        self.hostname = hostname
        self.concurrency = concurrency
        self.uniform = uniform
        self.commit_retry = commit_retry
        self.patience = patience
        self.lanes = Lanes(share or share_of(concurrency))
        self.policies = policies or QueuePolicies(clock)
        self.policies.on_free = self._freed
        self.policies.on_change = self._policies_changed
        self.policies.faults.report = lambda text: log.error("policy-fault", reason=text)
        self.parking = Parking()
        self._surplus: list[QueueEntry] = []  # held back, and no room to wait in memory
        self._prepared: dict[int, Prepared] = {}  # of entries that a mail host's policy holds back
        self._changed = False  # policies have
        self._reconsidered = -math.inf
        self._aged = -math.inf  # when what waits was last looked at for its age
        self._wake = asyncio.Event()
        self._flowing = asyncio.Event()  # cleared while a result cannot be committed
        self._flowing.set()
        self._running: dict[int, Work] = {}
        self._again: set[int] = set()  # changed by an administrator during their attempt, and claimed once more
        self._tasks: dict[asyncio.Task[None], Work] = {}
        self._commits: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._attempts = 0
        self._slow = 0  # attempts that no longer count
        self._held = 0
        self._blocking = 0
        self._stopping = False
        self._ending = False

    @property
    def running(self) -> int:
        """How many entries are between claim and commit."""
        return len(self._tasks)

    # Life

    def start(self) -> None:
        """Begin to claim. To be called once, on the event loop."""
        self._loops = [asyncio.create_task(self._loop()), asyncio.create_task(self._watch())]

    def wake(self) -> None:
        """Look at the queue and the clock now."""
        self._wake.set()

    async def stop(self, grace: float) -> None:
        """Stop claiming, give back what waits, and let attempts that have begun end within `grace` seconds.

        An attempt cut off at the end of the grace is tried again after a restart: a duplicate if it was at the dot.
        """
        self._stopping = True
        self.wake()
        if self._loops:
            self._loops[1].cancel()
            await asyncio.wait(self._loops[:1], timeout=min(grace, LAST_MOMENT))
            self._loops[0].cancel()
            await asyncio.gather(*self._loops, return_exceptions=True)
        self._requeue_freed(self.parking.free_all())
        for entry_id in self.lanes.drain():
            self.queue.release(entry_id)
        for task, work in self._tasks.items():
            if work.phase == PREPARE:
                task.cancel()
        await finish(self._tasks, grace)
        self._ending = True
        for task in self._tasks:
            task.cancel()
        await finish({*self._tasks, *self._commits}, LAST_MOMENT)
        left = sorted(self._running)
        if left or self._commits:
            self.log.error("delivery-unfinished", entries=",".join(map(str, left)), commits=len(self._commits))

    async def _watch(self) -> None:
        while True:
            await self.queue.wait_changed()
            self.wake()

    # Claiming

    async def _loop(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                self._requeue_freed(self.parking.free_due(self.clock.monotonic()))
                self._reconsider()
                self._free_aged()
                await self._claim()
                self._start_ready({})
                if self._surplus:
                    surplus, self._surplus = self._surplus, []
                    await self._postpone(surplus, self._parking_crowd)
            except Exception:
                self.log.error("scheduler-failed", traceback=traceback.format_exc())
                await asyncio.sleep(self.commit_retry)
            await self._pause()

    async def _claim(self) -> None:
        """Take what is due into the lanes, and start what may start."""
        while self._claiming():
            now = self.clock.time()
            due = self.queue.next_due()
            if due is None or due > now:
                return
            batch = await self.queue.claim(CLAIM, now)
            if not batch:
                return
            surplus = [entry for entry in batch if not self._enlist(entry)]
            self._start_ready({entry.id: entry for entry in batch})
            if surplus:
                await self._postpone(surplus, self._lane_crowd)

    def _claiming(self) -> bool:
        return self._flowing.is_set() and not self._stopping and len(self.lanes) < WAITING_LIMIT

    def _enlist(self, entry: QueueEntry) -> bool:
        """Put a claimed entry in its lane; False when the lane is full."""
        if entry.id in self._running:
            self._again.add(entry.id)
        elif entry.id not in self.lanes:
            self.parking.forget(entry.id)  # an administrator changed it while it waited
            self._prepared.pop(entry.id, None)
            route = self.transports.route(entry.transportid)
            lane = lane_of(entry, route.session.fixed_host if route else None)
            if self.lanes.waiting(lane) >= self._lane_room():
                return False
            self.lanes.add(lane, entry.id)
        return True

    def _lane_room(self) -> int:
        """How many may wait in one lane: the less, the more wait in all, so that some dead domains do not use it up."""
        return min(LANE_LIMIT, max(LANE_FLOOR, (WAITING_LIMIT - len(self.lanes)) // 2))

    def _lane_crowd(self, entry: QueueEntry) -> float:
        """How many lanes full there are for an entry's domain."""
        return self.queue.metric("count", {"recipientdomain": [entry.recipient.host]}) / LANE_LIMIT

    def _parking_crowd(self, entry: QueueEntry) -> float:
        """How often what is queued would fill the places for what policies hold back."""
        return self.queue.metric("count", {}) / MAX_ENTRIES

    async def _postpone(self, surplus: list[QueueEntry], crowd: Callable[[QueueEntry], float]) -> None:
        """The larger the crowd, the longer: a million entries must not be put off anew every minute."""
        now = self.clock.time()
        for entry in surplus:
            wait = self.uniform(RECHECK, 2 * RECHECK) * max(1.0, crowd(entry))
            entry.state, entry.due = DEFER, now + wait
        await self._commit(Changes(update=surplus))

    def _start_ready(self, fresh: Mapping[int, QueueEntry]) -> None:
        """Start waiting entries as far as attempts are free. `fresh`: entries claimed in this very turn."""
        while self._flowing.is_set() and not self._stopping and len(self._tasks) - self._slow < self.concurrency:
            turn = self.lanes.next()
            if turn is None:
                return
            lane, entry_id = turn
            entry = fresh.get(entry_id) or self.queue.get(entry_id)
            if entry is None or entry.state == HOLD or entry.due > self.clock.time():
                self.lanes.done(lane)  # deleted, held or put off by an administrator while it waited
                self._prepared.pop(entry_id, None)
                self.queue.release(entry_id)
                continue
            permit = FREE if self._too_old(entry) else self.policies.admit(facts_of(entry))
            if isinstance(permit, Blocked):
                self.lanes.done(lane)
                self._park(lane, entry, permit)
            else:
                self._start(lane, entry, permit)

    # Held back by policies

    def _park(self, lane: Lane, entry: QueueEntry, blocked: Blocked) -> None:
        """Let an entry wait in memory, or on disk when there are too many."""
        if not self.parking.park(lane, entry.id, blocked, self._end_of(entry)):
            self._prepared.pop(entry.id, None)
            self._surplus.append(entry)
            self.wake()

    def _freed(self, key: Key, count: int | None) -> None:
        """What these entries wait for is free: so many of them, or all, may try."""
        self._requeue_freed(self.parking.free(key, count))

    def _policies_changed(self) -> None:
        self._changed = True
        self.wake()

    def _reconsider(self) -> None:
        """Policies have changed: everything that waits is looked at anew, at most once a second."""
        now = self.clock.monotonic()
        if self._changed and now >= self._reconsidered + RECONSIDER:
            self._changed, self._reconsidered = False, now
            self._requeue_freed(self.parking.free_all())

    def _free_aged(self) -> None:
        """Age ends everything: nothing waits for a policy any longer than for a destination."""
        now = self.clock.monotonic()
        if now >= self._aged + RECHECK:
            self._aged = now
            self._requeue_freed(self.parking.free_ended(self.clock.time()))

    def _requeue_freed(self, freed: list[tuple[Lane, int]]) -> None:
        for lane, entry_id in freed:
            self.lanes.add(lane, entry_id)
        if freed:
            self.wake()

    def _start(self, lane: Lane, entry: QueueEntry, permit: Permit) -> None:
        self._attempts += 1
        work = Work(
            entry=entry,
            permit=permit,
            lane=lane,
            holder=f"{self.hostname}/{entry.id}/{self._attempts}",
            route=self._route(entry),
            metadata=dict(entry.metadata),
        )
        timer = asyncio.get_running_loop().call_later(self.patience, self._slowed, work)
        task = asyncio.create_task(self._deliver(work))
        task.add_done_callback(lambda _: timer.cancel())
        self._running[entry.id] = work
        self._tasks[task] = work
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        work = self._tasks.pop(task)
        del self._running[work.entry.id]
        self.lanes.done(work.lane, work.answered)
        self._slow -= work.slow
        self.policies.release(work.permit)
        if work.held is not None and not work.committed:
            if self._stopping or work.entry.id in self._again:
                self._again.discard(work.entry.id)
                self.queue.release(work.entry.id)
            else:
                if work.prepared is not None and len(self._prepared) < MAX_PREPARED:
                    self._prepared[work.entry.id] = work.prepared
                self._park(work.lane, work.entry, work.held)
            self.wake()
            return
        if work.entry.id in self._again:
            self._again.discard(work.entry.id)
            self.queue.release(work.entry.id)
        if task.cancelled():
            if not work.committed:  # also one that never ran
                self.queue.release(work.entry.id)
        elif (error := task.exception()) is not None:
            self.log.error("delivery-task-failed", queue=work.entry.id, reason=repr(error))
        self.wake()

    async def _pause(self) -> None:
        """Until something changed, an entry falls due, or RECHECK is over; monotonic time."""
        due = self.queue.next_due() if self._claiming() else None
        timeout = RECHECK if due is None else min(max(due - self.clock.time(), MIN_PAUSE), RECHECK)
        parked = self.parking.next_due()
        if self._changed:
            parked = min(parked or math.inf, self._reconsidered + RECONSIDER)
        if parked is not None:
            timeout = min(timeout, max(parked - self.clock.monotonic(), MIN_PAUSE))
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._wake.wait()

    # One entry

    async def _deliver(self, work: Work) -> None:
        """Bring one entry to its outcome, whatever happens on the way."""
        try:
            await self._process(work)
        except asyncio.CancelledError:
            await self._interrupted(work)
            raise
        except Exception:
            self.log.error("delivery-failed", queue=work.entry.id, traceback=traceback.format_exc())
            await self._rescue(work)
        finally:
            self.runner.forget_message(work.entry.transaction)
            await self._release_slots(work)

    async def _process(self, work: Work) -> None:
        if self._expired(work):
            work.expired = True
            await self._conclude(work, self._give_up(work), dsn.expired(work.entry))
            return
        try:
            plan = self.transports.plan(work.entry)
        except RouteError as error:
            self.log.error("no-route", queue=work.entry.id, transport=work.entry.transportid, reason=str(error))
            work.attempt = Attempt(error=AttemptError(True, str(error), "config"))
        else:
            if not self._resume(work):
                verdict = await self._predelivery(work, plan)
                if verdict.action != "try":
                    await self._refrain(work, verdict)
                    return
            await self._attempt(work)
            if work.attempt is not None and work.attempt.held is not None:
                await self._wait(work, work.attempt.held)
                return
        await self._conclude(work, self._default(work), work.attempt or REFUSED)

    async def _predelivery(self, work: Work, plan: DeliveryPlan) -> Verdict:
        work.plan = plan
        if not self.runner.has("predelivery"):
            return Verdict("try", explicit=False)
        context = PreDeliveryContext(entry=work.entry, plan=plan, retries=work.route.retry.count, holder=work.holder)
        work.slots, runner = True, self.runner
        verdict = await runner.run(context)
        work.plan, work.context, work.dsn = context.plan, context.context, context.dsn
        work.tried = verdict.at
        work.entry.metadata = context.entry.metadata
        if not context.took_slot:
            work.prepared = Prepared(runner, context.plan, context.context, context.dsn, work.entry.jobid, work.tried)
        return verdict

    def _resume(self, work: Work) -> bool:
        """Take what pre-delivery said before a policy held the entry back, if the scripts are still the same."""
        kept = self._prepared.pop(work.entry.id, None)
        if kept is None or kept.runner is not self.runner:
            return False
        work.prepared, work.plan, work.context, work.dsn = kept, kept.plan, kept.context, kept.dsn
        work.entry.jobid, work.tried = kept.jobid, kept.tried
        return True

    async def _refrain(self, work: Work, verdict: Verdict) -> None:
        """Pre-delivery decided against an attempt."""
        work.stage = "predelivery"
        outcome = outcome_of(verdict)
        if outcome.action != "queue":
            await self._conclude(work, outcome, REFUSED)
            return
        if verdict.error:  # spread, for all entries fail at once when the state backend is gone
            delay = PUT_OFF * self.uniform(1.0, 1.2)
            outcome = Outcome("queue", delay=delay, increment_retry=False, at=verdict.at)
        over = self._over(work, outcome)
        if over is not None:
            work.expired = True
            await self._conclude(work, self._give_up(work), over)
        else:
            work.phase = SETTLE
            await self._release_slots(work)
            await self._settle(work, outcome, REFUSED)

    async def _wait(self, work: Work, blocked: Blocked) -> None:
        """A policy holds the entry back: it waits, and nothing else about it changes but what the script set."""
        work.attempt, work.held = None, blocked
        if work.entry.metadata != work.metadata:
            wait = max(blocked.until - self.clock.monotonic(), MIN_DELAY)
            work.entry.state, work.entry.due = DEFER, self.clock.time() + wait
            await self._commit(Changes(update=[work.entry]), work)

    async def _attempt(self, work: Work) -> None:
        assert work.plan is not None
        await self._flowing.wait()
        work.phase = ATTEMPT
        work.attempt = await self.deliverer.attempt(work.plan, work.entry, self.queue.body(work.entry))

    def _slowed(self, work: Work) -> None:
        """A peer, or a script, takes its time: another attempt may begin."""
        if self._slow < self.concurrency:
            work.slow = True
            self._slow += 1
            self.wake()

    async def _conclude(self, work: Work, default: Outcome, cause: Attempt | Reason) -> None:
        """Ask post-delivery, then carry out its decision, or the default one."""
        work.phase = SETTLE
        await self._release_slots(work)
        outcome = await self._postdelivery(work, default)
        if outcome.action == "queue" and (over := self._over(work, outcome)) is not None:
            outcome = self._give_up(work)
            cause = work.attempt or over
        await self._settle(work, outcome, cause)

    async def _postdelivery(self, work: Work, default: Outcome) -> Outcome:
        """The script's outcome. A delivered entry can only be observed, and an error here takes the default."""
        if not self.runner.has("postdelivery"):
            return default
        delivered = default.action == "delivered"
        try:
            context = PostDeliveryContext(
                entry=work.entry,
                attempt=work.attempt,
                action=None if delivered else default.action.upper(),
                retries=work.route.retry.count,
                context=work.context,
                plan=work.plan,
                expired=work.expired,
                rules=self._rules(work),
                grouping=self._grouping(work),
            )
            verdict = await self.runner.run(context)
            work.entry.metadata = context.entry.metadata
            work.dsn = context.dsn or work.dsn
            if delivered or verdict.action == "default":
                return replace(default, at=verdict.at or default.at)
            work.stage = "postdelivery"
            return outcome_of(verdict)
        except Exception:
            self.log.error("postdelivery-failed", queue=work.entry.id, traceback=traceback.format_exc())
            return default

    def _rules(self, work: Work) -> list[Rule]:
        """The policies that an attempt was counted by."""
        late = work.attempt.permit if work.attempt else None
        return [*work.permit.rules, *(late.rules if late else ())]

    def _grouping(self, work: Work) -> str | None:
        """The grouping of the mail host that an attempt came to."""
        done = work.attempt
        if done is None or not done.remotemx:
            return None
        return self.policies.facts(work.entry, done.localip, done.remoteip, done.remotemx)["grouping"]

    async def _interrupted(self, work: Work) -> None:
        """The task was cancelled: a known outcome is kept, without the script; else the entry is given back."""
        if work.committed:
            return
        if work.attempt is not None:
            default = self._default(work)
            await self._settle(work, default, work.attempt)
        elif work.entry.metadata != work.metadata:
            await self._commit(Changes(update=[work.entry]), work)

    async def _rescue(self, work: Work) -> None:
        """After an error of our own: delivered stays delivered, everything else is put off."""
        if work.committed:
            return
        if work.attempt is not None and work.attempt.delivered:
            changes = Changes(delete=[work.entry.id])
        else:
            work.entry.state, work.entry.due = DEFER, self.clock.time() + PUT_OFF
            changes = Changes(update=[work.entry])
        try:
            await self._commit(changes, work)
        except Exception:
            # It stays claimed: on disk, and out of the way until a restart.
            self.log.error("entry-stuck", queue=work.entry.id, traceback=traceback.format_exc())

    async def _release_slots(self, work: Work) -> None:
        if not work.slots:
            return
        work.slots = False
        try:
            await self.slots.release(work.holder)
        except Exception as error:  # the lease ends by itself
            self.log.warning("slots-not-released", queue=work.entry.id, holder=work.holder, reason=str(error))

    # Decisions

    def _route(self, entry: QueueEntry) -> Route:
        return self.transports.route(entry.transportid) or self.transports.fallback(entry.transportid)

    def _end_of(self, entry: QueueEntry) -> float:
        """When its time is over (UTC wall seconds)."""
        return entry.ts + self._route(entry).retry.expire

    def _too_old(self, entry: QueueEntry) -> bool:
        return self.clock.time() > self._end_of(entry)

    def _expired(self, work: Work) -> bool:
        return self.clock.time() > work.entry.ts + work.route.retry.expire

    def _over(self, work: Work, outcome: Outcome) -> Reason | None:
        """Why an entry may not be queued again. Age counts for itself: a script may leave the retry count alone."""
        if outcome.hold:
            return None
        if self._expired(work):
            return dsn.expired(work.entry, EXPIRED)
        step = next_step(work.entry.retry, work.route.retry, outcome)
        return dsn.expired(work.entry, EXHAUSTED) if step.retry > work.route.retry.count else None

    def _give_up(self, work: Work) -> Outcome:
        return Outcome("bounce" if work.route.dsn.enabled and tells(work.entry, FAILURE) else "delete")

    def _default(self, work: Work) -> Outcome:
        """What follows from an attempt when no script objects."""
        assert work.attempt is not None
        if work.attempt.delivered:
            return Outcome("delivered")
        queue = Outcome("queue")
        work.expired = not work.attempt.permanent and self._over(work, queue) is not None
        return self._give_up(work) if work.attempt.permanent or work.expired else queue

    # Outcomes

    async def _settle(self, work: Work, outcome: Outcome, cause: Attempt | Reason) -> None:
        if outcome.action == "bounce" and not tells(work.entry, FAILURE):
            outcome = Outcome("delete")
        changes = self._changes(work, outcome, cause)
        self._record(work, outcome)
        await self._commit(changes, work)

    def _changes(self, work: Work, outcome: Outcome, cause: Attempt | Reason) -> Changes:
        if outcome.action == "queue":
            return self._requeue(work, outcome, cause)
        changes = Changes(delete=[work.entry.id])
        if outcome.action == "bounce":
            changes.store.append(self._notify(work, lambda original: self._failure(work, cause, original)))
        elif outcome.action == "delivered" and self._reports_success(work):
            changes.store.append(self._notify(work, lambda original: self._success(work, original)))
        return changes

    def _reports_success(self, work: Work) -> bool:
        """Whether it is ours to say that a mail has arrived: nobody else was asked to (RFC 3461 5.2)."""
        if work.plan is None or work.attempt is None or not tells(work.entry, SUCCESS):
            return False
        passed_on = work.attempt.dsn and "NOTIFY" in work.plan.recipientparams
        return work.route.dsn.enabled and not passed_on

    def _requeue(self, work: Work, outcome: Outcome, cause: Attempt | Reason) -> Changes:
        entry, now = work.entry, self.clock.time()
        current = self.queue.get(entry.id)
        if current is None:  # an administrator deleted it during the attempt
            return Changes(delete=[entry.id])
        step = next_step(entry.retry, work.route.retry, outcome)
        changes = Changes(update=[entry])
        if step.notify and not outcome.hold and isinstance(cause, Attempt) and tells(entry, DELAY):
            changes.store.append(self._notify(work, lambda original: self._delay(work, cause, original)))
        entry.retry, entry.due = step.retry, now + step.delay
        entry.state = HOLD if outcome.hold or current.state == HOLD else DEFER
        entry.transportid = outcome.transportid or entry.transportid
        entry.priority = entry.priority if outcome.priority is None else outcome.priority
        entry.recipient = outcome.recipient or entry.recipient
        entry.quotas = entry.quotas if outcome.quotas is None else outcome.quotas
        entry.error = outcome.reason or (describe(work.attempt) if work.attempt else entry.error)
        return changes

    def _failure(self, work: Work, cause: Attempt | Reason, original: Body | None) -> bytes:
        return dsn.failure_dsn(
            work.entry, cause, hostname=self.hostname, original=original, clock=self.clock, wanted=work.dsn
        )

    def _success(self, work: Work, original: Body | None) -> bytes:
        assert work.attempt is not None
        final = work.plan is not None and work.plan.protocol == "lmtp"
        return dsn.success_dsn(
            work.entry, work.attempt, final=final, hostname=self.hostname, original=original, clock=self.clock,
            wanted=work.dsn,
        )  # fmt: skip

    def _delay(self, work: Work, cause: Attempt | Reason, original: Body | None) -> bytes:
        until = work.entry.ts + work.route.retry.expire
        return dsn.delay_dsn(
            work.entry, cause, hostname=self.hostname, original=original, clock=self.clock, until=until, wanted=work.dsn
        )

    def _notify(self, work: Work, build: Callable[[Body | None], bytes]) -> Mail:
        """The notification with the original's headers, or without them when the body cannot be read."""
        try:
            data = build(self.queue.body(work.entry))
        except (OSError, LookupError) as error:
            self.log.error("body-unreadable", queue=work.entry.id, reason=str(error))
            data = build(None)
        signer = (work.dsn and work.dsn.signer) or work.route.signer
        if signer is not None:
            try:
                data = signer.field(data, self.clock.time()) + data
            except ScriptError as error:
                self.log.error("dsn-unsigned", queue=work.entry.id, reason=error.message)
        transportid = work.route.dsn.transport or work.entry.transportid
        return dsn.notification(work.entry, data, transportid, self.clock.time(), work.dsn)

    def _record(self, work: Work, outcome: Outcome) -> None:
        """The log line of an attempt, or of a decision without one."""
        entry = work.entry
        facts: dict[str, object] = {
            "queue": entry.id,
            "transaction": entry.transaction,
            "sender": f"<{entry.sender.path.decode('utf-8', 'backslashreplace')}>",
            "recipient": f"<{entry.recipient.path.decode('utf-8', 'backslashreplace')}>",
            "transport": entry.transportid,
            "retry": entry.retry,
            "delay": self.clock.time() - entry.ts,
            **(attempt_facts(work.attempt, work.plan) if work.attempt else {}),
            "action": entry.state if outcome.action == "queue" else outcome.action,
            "stage": work.stage,
            "try": work.tried if work.attempt else None,
            "at": outcome.at,
        }
        if outcome.action == "queue":
            facts["due"] = rfc3339(entry.due)
        facts["reason"] = outcome.reason
        self.log.info("attempt" if work.attempt else "decision", **facts)

    # Commits

    async def _commit(self, changes: Changes, work: Work | None = None) -> None:
        """Returns when the changes are on disk. Goes on when the caller is cancelled. Raises what `apply` raises."""
        task = asyncio.create_task(self._apply(changes))
        self._commits.add(task)
        task.add_done_callback(self._committed)
        if work is not None:
            work.committed = True
        try:
            await asyncio.shield(task)
        except Exception:
            if work is not None:
                work.committed = False
            raise

    def _committed(self, task: asyncio.Task[None]) -> None:
        self._commits.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.log.error("commit-failed", reason=repr(error))

    async def _apply(self, changes: Changes) -> None:
        """Apply until the disk takes it."""
        held: QueueFull | QueueUnavailable | None = None
        try:
            while True:
                try:
                    await self.queue.apply(store=changes.store, update=changes.update, delete=changes.delete)
                    return
                except (QueueFull, QueueUnavailable) as error:
                    if held is None:
                        held = error
                        self._hold(changes, held)
                if self._ending:
                    lost = [*changes.delete, *(entry.id for entry in changes.update)]
                    self.log.error("result-lost", entries=",".join(map(str, lost)))
                    return
                await asyncio.sleep(self.commit_retry)
        finally:
            if held is not None:
                self._unhold(changes, held)

    def _hold(self, changes: Changes, error: QueueFull | QueueUnavailable) -> None:
        """Keep a result in memory. One that only frees space stops new attempts; one with a notification keeps its
        place among the attempts, while other deliveries may make room for it. None may when nothing can be written."""
        if self._held == 0:
            event = "queue-full" if isinstance(error, QueueFull) else "queue-unavailable"
            self.log.error(event, reason="results of attempts are held in memory", error=str(error))
        self._held += 1
        if stops_all(changes, error):
            self._blocking += 1
            self._flowing.clear()

    def _unhold(self, changes: Changes, error: QueueFull | QueueUnavailable) -> None:
        self._held -= 1
        if stops_all(changes, error):
            self._blocking -= 1
        if self._blocking == 0:
            self._flowing.set()
            self.wake()
        if self._held == 0:
            self.log.info("queue-writable")


def stops_all(changes: Changes, error: QueueFull | QueueUnavailable) -> bool:
    """Whether no attempt may begin while these changes are held: nobody could say how it ended."""
    return not changes.store or isinstance(error, QueueUnavailable)


def tells(entry: QueueEntry, event: str) -> bool:
    """Whether the sender is told: there is one (RFC 5321 6.1), and it did not ask otherwise (RFC 3461 4.1)."""
    return entry.sender != NULL_SENDER and wants(entry.dsn, event)


async def finish(tasks: Mapping[asyncio.Task[None], Work] | set[asyncio.Task[None]], seconds: float) -> None:
    if tasks:
        await asyncio.wait(list(tasks), timeout=seconds)


def rfc3339(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
