"""The end of data, by whichever of its two stages a server has: `eod` runs once for a message, `data` per recipient.

In: a received message. Out: what is stored and the reply. At eod nothing is queued but what the script queues by
`$arguments["mail"]->queue()`, and that only when it accepts: on Reject, Defer, an error or without a verdict nothing is
stored (reference 2019, "Per message"). Mail of a script's own making, `MIME()->queue()`, is stored at once, as ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsl.errors import ScriptError
from hsl.runtime.context import EodContext
from hsl.runtime.data import MAX_ACTS, Act, DataOutcome, MessageState, conclude, run_data
from hsl.runtime.dsnrequest import DSNRequest, read_request
from hsl.runtime.message import Message
from hsl.runtime.model import ACTIVE, DEFER, HOLD, Address, Connection, QueueEntry, Recipient, Transaction
from hsl.runtime.verdict import Verdict

if TYPE_CHECKING:
    from hsl.runtime.runner import StageRunner

QUEUED = Verdict("accept")


async def run_message(
    runner: StageRunner, connection: Connection, transaction: Transaction, message: Message
) -> DataOutcome:
    """Run the stage that a server has at the end of data. Raises nothing but CancelledError."""
    run = run_eod if stage_of(runner) == "eod" else run_data
    return await run(runner, connection, transaction, message)


def stage_of(runner: StageRunner) -> str:
    """What decides at the end of data; a server has a hook of one of the two at most."""
    return "eod" if runner.has("eod") else "data"


async def run_eod(
    runner: StageRunner, connection: Connection, transaction: Transaction, message: Message
) -> DataOutcome:
    """Run the eod script. Raises nothing but CancelledError."""
    state = MessageState(connection, transaction, message)
    verdict = await runner.run(EodContext(connection, transaction, state, runner.services.clock.time()))
    return await conclude(runner, "eod", state, verdict)


@dataclass(frozen=True, slots=True)
class Envelope:
    """What queue() is told about one entry. None for `request`: what the client asked for this recipient;
    for `priority`: the session's."""

    sender: Address
    recipient: Address
    transportid: str
    metadata: dict[bytes, bytes]
    jobid: bytes = b""
    tenantid: bytes = b""
    priority: int | None = None
    quotas: tuple[bytes, ...] = ()
    delay: float = 0.0  # seconds
    hold: bool = False
    request: DSNRequest | None = None


def queue_message(context: EodContext, envelope: Envelope) -> int:
    """Note that the message as it is now is to be queued; the id that the entry will have.

    Raises ScriptError over MAX_ACTS entries for each recipient of the transaction.
    """
    state, transaction = context.state, context.transaction
    most = MAX_ACTS * len(transaction.recipients)
    if len(state.acts) >= most:
        raise ScriptError(f"more than {most} entries for one message")
    version = state.message.version()
    sender, recipient = as_it_came(envelope.sender, [state.sender]), envelope.recipient
    named = find_recipient(transaction, recipient)
    entry = QueueEntry(
        id=context.services.queue.reserve(),
        transaction=transaction.id,
        sender=sender,
        recipient=recipient if named is None else named.address,
        transportid=envelope.transportid,
        serverid=context.serverid,
        senderip=state.senderip,
        senderhelo=state.senderhelo,
        saslusername=context.saslusername,
        metadata=envelope.metadata,
        jobid=envelope.jobid,
        tenantid=envelope.tenantid,
        priority=context.connection.priority if envelope.priority is None else envelope.priority,
        quotas=envelope.quotas,
        actionid=state.actionid,
        size=version.size,
        smtputf8="SMTPUTF8" in transaction.senderparams,
        ts=context.ts,
        state=HOLD if envelope.hold else DEFER if envelope.delay else ACTIVE,
        due=context.ts + envelope.delay,
        dsn=envelope.request or asked_request(transaction, named),
    )
    state.acts.append(Act("deliver", QUEUED, entry, version))
    state.actionid += 1
    return entry.id


def as_it_came(address: Address, known: list[Address]) -> Address:
    """The address that a script has in lower case, as the client wrote it: the local part belongs to its host."""
    return next((item for item in known if item == address), None) or next(
        (item for item in known if item.text == address.path), address
    )


def find_recipient(transaction: Transaction, address: Address) -> Recipient | None:
    """The recipient of the transaction that an address means."""
    meant = as_it_came(address, [item.address for item in transaction.recipients])
    return next((item for item in transaction.recipients if item.address == meant), None)


def asked_request(transaction: Transaction, named: Recipient | None) -> DSNRequest | None:
    """What the client asked about notifications; less for somebody whom it did not name."""
    request = read_request(transaction.senderparams, named.params if named else {})
    return request if request is None or named is not None else request.for_copy()
