"""The end of data: runs the data script once per recipient, then decides the one reply and what is stored.

Reply: reject before defer before quarantine before delete before deliver (reference 2019, "Per recipient"). Stored: on
4xx nothing, on 5xx only the copies of Quarantine() and CopyMail(), on 2xx everything, all in one list.

What a script changes about the message holds for this and all later recipients: headers, metadata (2019, SetMetaData),
and also sender, sender's IP and HELO. (2019 counts those among the arguments of the current recipient, 2015 has one
sender for all; a script that sets the sender without looking at the recipient means the same under every reading.)
What it changes about the recipient (address, transport, delay) holds for that recipient only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from hsl.errors import ScriptError
from hsl.runtime.context import DataContext, string, text
from hsl.runtime.dsnrequest import DSNRequest, read_request
from hsl.runtime.message import Message, Version
from hsl.runtime.model import ACTIVE, DEFER, HOLD, Address, Connection, Mail, QueueEntry, Transaction
from hsl.runtime.protocols import ScanEnvelope, SpamResult
from hsl.runtime.reply import MAX_LINES, MAX_TEXT, Reply
from hsl.runtime.reports import Report
from hsl.runtime.verdict import Verdict
from hsl.source import Span

if TYPE_CHECKING:
    from hsl.runtime.runner import StageRunner

ORDER = ("reject", "defer", "quarantine", "delete", "deliver", "copy")
KEPT_ON_REJECT = ("quarantine", "copy")
MAX_ACTS = 100  # actions of one recipient
IDS_SHOWN = 20
TURN = 16  # chunks read before other sessions get their turn
Asked = tuple[int, bytes | None, bytes | None]  # the serial of a version; the sender's IP and sender that a script gave
UNDECIDED = Verdict("defer", explicit=False, error=True)


@dataclass(frozen=True, slots=True)
class Act:
    """One action of the script, or of the stage in its place: a word of ORDER, and what it queues."""

    kind: str
    verdict: Verdict
    entry: QueueEntry | None = None
    version: Version | None = None


class MessageState:
    """What all recipients of one message share while the data script runs for them."""

    def __init__(self, connection: Connection, transaction: Transaction, message: Message) -> None:
        self.connection = connection
        self.transaction = transaction
        self.message = message
        self.sender = transaction.sender or Address(b"", b"")
        self.senderip = connection.remoteip
        self.senderhelo = connection.helo.host if connection.helo else b""
        self.metadata: dict[bytes, bytes] = {}
        self.actionid = 1
        self.acts: list[Act] = []
        self.spam: tuple[int, SpamResult] | None = None  # with the serial of the version that was scanned
        self.outbreak: tuple[Asked, tuple[int, str]] | None = None
        self.viruses: tuple[int, Sequence[str]] | None = None
        self.report: tuple[int, Report | None] | None = None

    def envelope(self) -> ScanEnvelope:
        """What scanners are told besides the message."""
        recipients = tuple(text(item.address.path) for item in self.transaction.recipients)
        return ScanEnvelope(
            self.transaction.id, self.senderip, text(self.senderhelo), text(self.sender.path), recipients
        )


@dataclass(frozen=True, slots=True)
class Destination:
    """What an action says about the entry it queues; None and empty mean the recipient's own, or the session's."""

    recipient: Address | None = None
    transportid: str | None = None
    metadata: dict[bytes, bytes] | None = None
    jobid: bytes = b""
    tenantid: bytes = b""
    priority: int | None = None
    quotas: tuple[bytes, ...] = ()
    delay: float | None = None
    quarantine: str = ""


@dataclass(frozen=True, slots=True)
class DataOutcome:
    """What the server does at the end of data: store `mails` in one transaction, then send `reply(ids)`.

    `ids` are the queue ids of the stored entries, in the order of `mails` and their entries. `stage` is what decided,
    `at` the place of the verdict.
    """

    stage: str
    mails: list[Mail]
    reply: Callable[[Sequence[int]], Reply]
    disconnect: bool
    at: Span | None = None


def act(context: DataContext, kind: str, verdict: Verdict, destination: Destination | None = None) -> None:
    """Note an action that the script takes for the current recipient. Raises ScriptError over MAX_ACTS of them."""
    if len(context.state.acts) - context.first_act >= MAX_ACTS:
        raise ScriptError(f"more than {MAX_ACTS} actions for one recipient")
    note(context, kind, verdict, destination)


def note(context: DataContext, kind: str, verdict: Verdict, destination: Destination | None = None) -> None:
    """Note an action; with a destination it queues the message as it is now."""
    state = context.state
    if destination is None:
        state.acts.append(Act(kind, verdict))
    else:
        version = state.message.version()
        state.acts.append(Act(kind, verdict, make_entry(context, version, destination, kind), version))
    state.actionid += 1


def make_entry(context: DataContext, version: Version, destination: Destination, kind: str = "deliver") -> QueueEntry:
    state, transaction = context.state, context.transaction
    now = context.services.clock.time()
    delay = context.delay if destination.delay is None else destination.delay
    mode = HOLD if destination.quarantine else DEFER if delay > 0 else ACTIVE
    return QueueEntry(
        transaction=transaction.id,
        sender=state.sender,
        recipient=destination.recipient or context.recipient,
        transportid=destination.transportid or context.transportid,
        serverid=context.connection.serverid,
        senderip=state.senderip,
        senderhelo=state.senderhelo,
        saslusername=context.saslusername,
        metadata=state.metadata | (destination.metadata or {}),
        jobid=destination.jobid,
        tenantid=destination.tenantid,
        priority=context.connection.priority if destination.priority is None else destination.priority,
        quotas=destination.quotas,
        actionid=state.actionid,
        size=version.size,
        smtputf8="SMTPUTF8" in transaction.senderparams,
        ts=now,
        state=mode,
        due=now + delay if delay > 0 else now,
        quarantine=destination.quarantine,
        dsn=request_of(context, kind),
    )


def request_of(context: DataContext, kind: str) -> DSNRequest | None:
    """What the client asked about notifications; less for a copy to somebody whom it did not name."""
    request = read_request(context.transaction.senderparams, context.original.params)
    return request.for_copy() if request is not None and kind == "copy" else request


async def run_data(
    runner: StageRunner, connection: Connection, transaction: Transaction, message: Message
) -> DataOutcome:
    """Run the data script for each recipient, in order. Raises nothing but CancelledError.

    A script error defers the whole message and ends the round: a later run might still have taken it back.
    """
    state = MessageState(connection, transaction, message)
    decided: Verdict | None = None
    for recipient in transaction.recipients:
        context = DataContext(connection, transaction, recipient, state)
        verdict = await runner.run(context)
        if verdict.error:
            decided = verdict
            break
        finish(context, verdict)
    return await conclude(runner, "data", state, decided or choose(state.acts))


async def conclude(runner: StageRunner, stage: str, state: MessageState, decided: Verdict) -> DataOutcome:
    """The outcome of a message for which a stage has decided."""
    transaction = state.transaction
    try:
        mails = await store(state, transaction, runner.reply(stage, decided).code)
    except OSError as error:
        runner.services.log.error("message-unreadable", id=transaction.id, error=str(error))
        decided, mails = UNDECIDED, []
    return DataOutcome(stage, mails, partial(answer, runner, stage, decided), decided.disconnect, decided.at)


def finish(context: DataContext, verdict: Verdict) -> None:
    """What the end of a script means; the functions that decide have noted their action already."""
    acts = context.state.acts
    if context.acted and acts[-1].verdict == verdict:
        acts[-1] = replace(acts[-1], verdict=verdict)  # this one knows its place
    if verdict.action == "deliver" and not verdict.explicit:
        note(context, "deliver", verdict, Destination())
    elif not context.acted:
        note(context, "defer", Verdict("defer", explicit=False))


def choose(acts: Sequence[Act]) -> Verdict:
    """The verdict that answers for all recipients; a Quarantine() that refuses goes before one that does not."""
    if not acts:
        return UNDECIDED
    first = min(acts, key=lambda item: (ORDER.index(item.kind), not item.verdict.options.get("reject", True)))
    return first.verdict


async def store(state: MessageState, transaction: Transaction, code: int) -> list[Mail]:
    """The mails that a reply of this code allows, one per version of the message."""
    versions: dict[int, tuple[Version, list[QueueEntry]]] = {}
    for item in state.acts:
        allowed = code < 300 or (code >= 500 and item.kind in KEPT_ON_REJECT)
        if allowed and item.entry is not None and item.version is not None:
            versions.setdefault(item.version.serial, (item.version, []))[1].append(item.entry)
    declared = transaction.senderparams.get("BODY", "").upper() == "8BITMIME"
    for version, entries in versions.values():
        eightbit = declared or await has_eightbit(version)
        for entry in entries:
            entry.eightbit = eightbit
    return [Mail(version, tuple(entries)) for version, entries in versions.values()]


async def has_eightbit(version: Version) -> bool:
    """Whether there are bytes over 127."""
    for index, chunk in enumerate(version.chunks(), 1):
        if not chunk.isascii():
            return True
        if index % TURN == 0:
            await asyncio.sleep(0)
    return False


def answer(runner: StageRunner, stage: str, verdict: Verdict, ids: Sequence[int]) -> Reply:
    """The reply to the end of data; the queue ids stand in every 2xx that stored something."""
    plain = runner.reply(stage, verdict)
    if not ids or plain.code >= 300:
        return plain
    queued = "queued as " + ",".join(map(str, ids[:IDS_SHOWN])) + (",..." if len(ids) > IDS_SHOWN else "")
    if verdict.reason is None:
        return runner.reply(stage, verdict, f"Ok: {queued}")
    *lines, last = verdict.reason  # cut before the ids are, whatever the script has to say
    last = text(string(last)[: MAX_TEXT - len(queued) - 3])
    return runner.reply(stage, replace(verdict, reason=(*lines[: MAX_LINES - 1], f"{last} ({queued})")))
