"""Mail that scripts make: bytes and an envelope come in; a durable queue entry, or an attempt to send, comes out."""

from __future__ import annotations

from collections.abc import Mapping

from hsl.builtins import Options, option
from hsl.errors import ScriptError
from hsl.mime import coding
from hsl.mime.addresses import written_name
from hsl.mime.fields import NAME, date_text, make_field
from hsl.runtime.attempts import attempt_facts
from hsl.runtime.context import Context, error_array, record, result_array, string, text
from hsl.runtime.dsnrequest import DSNRequest, read_request
from hsl.runtime.functions.arguments import (
    want_address,
    want_delay,
    want_metadata,
    want_parameters,
    want_priority,
    want_quotas,
    want_transport_id,
)
from hsl.runtime.functions.servers import ServerOptions, server_plan
from hsl.runtime.message import BytesBody
from hsl.runtime.model import ACTIVE, DEFER, HOLD, Address, Attempt, Mail, QueueEntry, new_id
from hsl.runtime.protocols import QueueFull, QueueUnavailable
from hsl.values import Array, Value, type_name

MAX_MAILS = 1_000  # that one stage's script may queue
MAX_RECIPIENTS = 1_000  # of one message sent at once


class QueueMailOptions(Options):
    """The options of queue() on a message."""

    metadata: Array | None = option(None, "Metadata for the entry: string keys and values.")
    jobid: bytes | None = option(None, "A job id for the entry.")
    tenantid: bytes | None = option(None, "Whose mail it is: a name for policies of the queue.")
    priority: int = option(0, "1 goes before the other mail of its domain, 0 in its turn.")
    quotas: Array | None = option(None, "Names of quotas that the entry counts for.")
    hold: bool = option(False, "Put the entry on hold.")
    delay: float = option(0.0, "Wait before the first attempt.", unit="seconds")


async def queue_mail(
    context: Context, message: bytes, sender: Value, recipient: Value, transportid: bytes, options: Array | None
) -> tuple[str, int]:
    """Store a message for one recipient: the transaction's id and the queue's. Raises ScriptError."""
    chosen = QueueMailOptions.read("queue", options)
    now = context.services.clock.time()
    delay = want_delay("queue", "option delay", chosen.delay)
    entry = QueueEntry(
        transaction=new_id(),
        sender=want_address("queue", "parameter 1 (sender)", sender, null=True),
        recipient=want_address("queue", "parameter 2 (recipient)", recipient),
        transportid=want_transport_id(context.services, "queue", transportid),
        serverid=context.serverid,
        metadata=want_metadata("queue", "option metadata", chosen.metadata) if chosen.metadata else {},
        jobid=chosen.jobid or b"",
        tenantid=chosen.tenantid or b"",
        priority=want_priority("queue", chosen.priority),
        quotas=want_quotas("queue", chosen.quotas),
        ts=now,
        state=HOLD if chosen.hold else DEFER if delay else ACTIVE,
        due=now + delay,
        dsn=want_request("queue", sender, recipient),
    )
    return await store(context, "queue", message, entry)


def want_request(function: str, sender: Value, recipient: Value) -> DSNRequest | None:
    """What the `params` of both addresses ask about notifications; there are no others to be kept."""
    try:
        return read_request(read_params(function, sender), read_params(function, recipient))
    except ValueError as error:
        raise ScriptError(f"{function}(): params: {error}") from None


async def store(context: Context, function: str, message: bytes, entry: QueueEntry) -> tuple[str, int]:
    """Returns when it is on disk. Raises ScriptError when there is no room, or this script has queued too many."""
    context.queued += 1
    if context.queued > MAX_MAILS:
        raise ScriptError(f"{function}(): more than {MAX_MAILS} messages were queued by one script")
    body = BytesBody(coding.BREAK.sub(b"\r\n", message))
    entry.size = body.size
    entry.eightbit = not message.isascii()
    entry.smtputf8 = not (entry.sender.path.isascii() and entry.recipient.path.isascii())
    try:
        [number] = await context.services.queue.apply(store=[Mail(body, (entry,))])
    except QueueFull:
        raise ScriptError(f"{function}(): the disk is full") from None
    except QueueUnavailable as error:
        raise ScriptError(f"{function}(): {error}") from None
    context.services.log.info(
        "queued", id=context.message_id, stage=context.stage, queue=number, transaction=entry.transaction,
        sender=text(entry.sender.path) or "<>", recipient=text(entry.recipient.path), size=entry.size,
    )  # fmt: skip
    return entry.transaction, number


# --- mail()


def compose(
    hostname: str,
    sender: tuple[Address, bytes],
    recipient: tuple[Address, bytes],
    subject: bytes,
    body: bytes,
    *,
    html: bool,
    headers: Mapping[bytes, bytes],
    now: float,
) -> bytes:
    """A message of one text part; `headers` are added, or replace those made here. Names come with the addresses; the
    null sender is shown as MAILER-DAEMON."""
    encoding, encoded = coding.encode(body, text=True)
    fields: dict[bytes, bytes] = {
        b"From": mailbox(sender[0].path or f"MAILER-DAEMON@{hostname}".encode(), sender[1]),
        b"To": mailbox(recipient[0].path, recipient[1]),
        b"Subject": subject,
        b"Date": date_text(now),
        b"Message-ID": f"<{new_id()}@{hostname}>".encode(),
        b"MIME-Version": b"1.0",
        b"Content-Type": b"text/html; charset=utf-8" if html else b"text/plain; charset=utf-8",
        b"Content-Transfer-Encoding": encoding,
    }
    own = {name.lower(): name for name in fields}
    for name, value in headers.items():
        fields[own.get(name.lower(), name)] = value
    return b"".join(make_field(name, value, True).raw for name, value in fields.items()) + b"\r\n" + encoded


def mailbox(path: bytes, name: bytes) -> bytes:
    """`local@domain`, or `Name <local@domain>`."""
    return written_name(name) + b" <" + path + b">" if name else path


def read_headers(function: str, headers: Array | None) -> dict[bytes, bytes]:
    """The option `headers`: names and values. No value can start another header."""
    result: dict[bytes, bytes] = {}
    for name, value in headers.pairs() if headers else ():
        if not isinstance(name, bytes) or not NAME.match(name):
            raise ScriptError(f"{function}(): option headers: wanted header names as keys")
        if not isinstance(value, bytes):
            raise ScriptError(f"{function}(): option headers: {text(name)}: wanted string, got {type_name(value)}")
        result[name] = value
    return result


# --- at once


async def send_mail(context: Context, message: bytes, sender: Value, recipients: Array, server: Value) -> Attempt:
    """Send a message to a server now. Raises ScriptError for wrong arguments; what goes wrong on the way is the result.

    All recipients or none: the first one that is refused ends the transaction.
    """
    client = context.services.client
    if client is None:
        raise ScriptError("send(): sending at once is not available here")
    people = [read_recipient("send", item) for item in recipients.values()]
    if not 1 <= len(people) <= MAX_RECIPIENTS:
        raise ScriptError(f"send(): parameter 2 (recipients): wanted 1 to {MAX_RECIPIENTS}, got {len(people)}")
    origin = want_address("send", "parameter 1 (sender)", sender, null=True)
    if isinstance(server, bytes):
        plan = client.plan(want_transport_id(context.services, "send", server), origin, people[0][0])
    elif isinstance(server, Array):
        plan = server_plan(context.services, "send", ServerOptions.read("send", server), origin, people[0][0])
    else:
        raise ScriptError(f"send(): parameter 3 (server): wanted string or array, got {type_name(server)}")
    if plan.host is None:
        raise ScriptError("send(): the server has no host; MX delivery is the queue's")
    plan.senderparams = read_params("send", sender)
    network = context.services.network
    permit = None if isinstance(server, bytes) or network is None else network.permit  # a transport is configured
    attempt = await client.send(plan, people, BytesBody(coding.BREAK.sub(b"\r\n", message)), permit)
    shown = b",".join(address.path for address, _ in people[:20])
    context.services.log.info(
        "sent" if attempt.delivered else "not-sent", id=context.message_id, stage=context.stage,
        sender=origin.path or "<>", recipient=shown, **attempt_facts(attempt, plan),
    )  # fmt: skip
    return attempt


def read_recipient(function: str, item: Value) -> tuple[Address, dict[str, str]]:
    address = want_address(function, "parameter 2 (recipients)", item)
    return address, read_params(function, item)


def read_params(function: str, item: Value) -> dict[str, str]:
    params = item.get(b"params") if isinstance(item, Array) else None
    return want_parameters(function, "params", params) if isinstance(params, Array) else {}


def attempt_result(attempt: Attempt) -> Array:
    """What send() gives: the `result`, or the `error`."""
    return record(result=result_array(attempt.result), error=error_array(attempt.error))


def ids_array(ids: tuple[str, int]) -> Array:
    transaction, number = ids
    return record(transaction=string(transaction), queue=float(number))
