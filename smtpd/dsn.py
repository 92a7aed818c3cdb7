"""A failed, delayed or delivered entry in; a delivery status notification out (RFC 3464, multipart/report of RFC 6522).

The report is 7-bit: what a peer said is stripped of control characters, other octets are escaped, and addresses with
other than ASCII have the 7-bit form of RFC 6533 3. Only `To:` holds UTF-8, when the sender's address does.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from hsl.mime import coding
from hsl.mime.addresses import written_name
from hsl.mime.build import Builder
from hsl.mime.fields import Field, date_text, make_field
from hsl.runtime.dsnrequest import decoded, original_recipient
from hsl.runtime.message import BytesBody
from hsl.runtime.model import NULL_SENDER, Address, Attempt, Body, DSNPlan, Mail, QueueEntry, new_id
from hsl.runtime.protocols import Clock

MAX_HEADERS = 64 * 1024  # octets of the original's headers in a report
MAX_RETURNED = 256 * 1024  # octets of an original that is returned whole (RET=FULL); of a larger one the headers
MAX_NAME = 255  # characters of a script's name in From
MAX_DIAGNOSTIC = 2000  # characters of a peer's reply in a report
UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
REPLY = re.compile(r"[45]\d\d ")
# Errors that tell of our own network or configuration are not the sender's business.
PRIVATE_KINDS = {"bind": "The mail system could not open a connection.", "config": "The mail system has no route."}


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an entry failed without an attempt. `status` is an RFC 3463 code."""

    text: str
    status: tuple[int, int, int] = (5, 0, 0)


EXPIRED = Reason("The message could not be delivered within the time limit.", (4, 4, 7))
EXHAUSTED = Reason("The message was not delivered and no retry is left.", (4, 4, 7))
REFUSED = Reason("The message was returned by the policy of the mail system.", (5, 7, 1))


def failure_dsn(
    entry: QueueEntry,
    cause: Attempt | Reason,
    *,
    hostname: str,
    original: Body | None,
    clock: Clock,
    wanted: DSNPlan | None = None,
) -> bytes:
    """The notification that `entry` failed for good. Raises ValueError for a null sender (RFC 5321 6.1)."""
    text = [
        f"This is the mail system at {header_text(hostname)}.",
        "Your message could not be delivered to the recipient below and was removed from the queue.",
    ]
    if isinstance(cause, Attempt) and not cause.permanent:
        text.append("No more attempts will be made; the last one failed as shown.")
    fields = recipient_fields(entry, "failed", cause)
    if isinstance(cause, Attempt):
        fields.append(("Last-Attempt-Date", date(clock.time())))
    subject = "Undelivered mail returned to sender"
    return build(entry, subject, text, fields, cause, hostname, original, clock, wanted)


def delay_dsn(
    entry: QueueEntry,
    cause: Attempt | Reason,
    *,
    hostname: str,
    original: Body | None,
    clock: Clock,
    until: float,
    wanted: DSNPlan | None = None,
) -> bytes:
    """The notification that `entry` is late; it will be tried until `until` (UTC wall seconds).

    Raises ValueError for a null sender.
    """
    text = [
        f"This is the mail system at {header_text(hostname)}.",
        "Your message could not yet be delivered to the recipient below. You need not send it again:",
        f"more attempts will be made until {date(until)}.",
    ]
    fields = recipient_fields(entry, "delayed", cause)
    if isinstance(cause, Attempt):
        fields.append(("Last-Attempt-Date", date(clock.time())))
    fields.append(("Will-Retry-Until", date(until)))
    return build(entry, "Delayed mail, still being tried", text, fields, cause, hostname, original, clock, wanted)


def success_dsn(
    entry: QueueEntry,
    attempt: Attempt,
    *,
    final: bool,
    hostname: str,
    original: Body | None,
    clock: Clock,
    wanted: DSNPlan | None = None,
) -> bytes:
    """The notification that `entry` was delivered (`final`), or relayed to where no more can be known (RFC 3461 6.2).

    Raises ValueError for a null sender.
    """
    text = [f"This is the mail system at {header_text(hostname)}."]
    if final:
        subject, action = "Delivered mail", "delivered"
        text.append("Your message was delivered to the recipient below.")
    else:
        subject, action = "Relayed mail", "relayed"
        text.append("Your message was relayed to the next mail system on its way to the recipient below.")
        text.append("That one sends no such notifications: you may hear no more of it.")
    fields = recipient_fields(entry, action, attempt)
    return build(entry, subject, text, fields, attempt, hostname, original, clock, wanted)


def notification(entry: QueueEntry, data: bytes, transportid: str, now: float, wanted: DSNPlan | None = None) -> Mail:
    """The report as mail from the null sender to the failed mail's sender, due at once; or as a script wants it."""
    wanted = wanted or DSNPlan()
    recipient = wanted.recipient or entry.sender
    report = QueueEntry(
        transaction=new_id(),
        sender=NULL_SENDER,
        recipient=recipient,
        transportid=wanted.transportid or transportid,
        metadata=dict(wanted.metadata),
        jobid=wanted.jobid,
        serverid=entry.serverid,
        size=len(data),
        eightbit=not data.isascii(),
        smtputf8=not recipient.path.isascii(),
        ts=now,
        due=now,
    )
    return Mail(BytesBody(data), (report,))


def recipient_fields(entry: QueueEntry, action: str, cause: Attempt | Reason) -> list[tuple[str, str]]:
    """The per-recipient fields (RFC 3464 2.3)."""
    fields = [("Original-Recipient", original_recipient(entry.dsn))] if entry.dsn and entry.dsn.orcpt else []
    fields += [
        ("Final-Recipient", typed_address(entry.recipient)),
        ("Action", action),
        ("Status", ".".join(map(str, status(cause)))),
    ]
    if isinstance(cause, Attempt):
        if cause.remotemx or cause.remoteip:
            fields.append(("Remote-MTA", f"dns; {header_text(cause.remotemx) or f'[{cause.remoteip}]'}"))
        fields.append(("Diagnostic-Code", f"{'smtp' if cause.result else 'x-local'}; {explain(cause)}"))
    return fields


def status(cause: Attempt | Reason) -> tuple[int, int, int]:
    """The RFC 3463 code: the peer's where it is of the outcome's class, else that class."""
    if isinstance(cause, Reason):
        return cause.status
    known = cause.result.enhanced if cause.result else cause.error.enhanced if cause.error else None
    wanted = 2 if cause.delivered else 5 if cause.permanent else 4
    return known if known is not None and known[0] == wanted else (wanted, 0, 0)


def expired(entry: QueueEntry, reason: Reason = EXPIRED) -> Reason:
    """The reason together with the last reply that a peer gave to this entry, if one did."""
    if not REPLY.match(entry.error):
        return reason
    return Reason(f"{reason.text} The last reply was: {header_text(entry.error, MAX_DIAGNOSTIC)}", reason.status)


def explain(cause: Attempt | Reason) -> str:
    """What went wrong, as safe ASCII on one line."""
    if isinstance(cause, Reason):
        return cause.text
    if cause.result is not None:
        enhanced = ".".join(map(str, cause.result.enhanced)) + " " if cause.result.enhanced else ""
        return header_text(f"{cause.result.code} {enhanced}{' '.join(cause.result.lines)}", MAX_DIAGNOSTIC)
    if cause.error is not None:
        return PRIVATE_KINDS.get(cause.error.kind) or header_text(cause.error.message, MAX_DIAGNOSTIC)
    return "unknown error"


def header_text(text: str, limit: int = 255) -> str:
    """Text of others as ASCII for one header line: no control characters, escapes for the rest."""
    return UNSAFE.sub(" ", text)[:limit].encode("ascii", "backslashreplace").decode().strip()


def address_text(address: Address) -> str:
    return UNSAFE.sub("", address.path.decode("utf-8", "backslashreplace"))


def typed_address(address: Address) -> str:
    """`rfc822; a@b`, or `utf-8; ...` with every other character as \\x{HEX} (RFC 6533 3)."""
    text = address_text(address)
    if text.isascii():
        return f"rfc822; {text}"
    escaped = "".join(c if c.isascii() and c not in "\\+=" else f"\\x{{{ord(c):02X}}}" for c in text)
    return f"utf-8; {escaped}"


def date(seconds: float) -> str:
    return date_text(seconds).decode()


def headers_of(body: Body) -> bytes:
    """A message's header section in whole lines, at most MAX_HEADERS octets."""
    head = b""
    for chunk in body.chunks():
        head += chunk
        if head.startswith(b"\r\n"):
            return b""
        if (end := head.find(b"\r\n\r\n")) >= 0 and end + 2 <= MAX_HEADERS:
            return head[: end + 2]
        if len(head) > MAX_HEADERS:
            break
    head = head[:MAX_HEADERS]
    return head[: head.rfind(b"\r\n") + 2] if b"\r\n" in head else head


def part(content_type: bytes, data: bytes) -> Builder:
    """A part that keeps every byte of its data."""
    made = Builder()
    encoding, made.content = coding.encode(data, text=False)
    made.add_field(b"Content-Type", content_type)
    made.add_field(b"Content-Transfer-Encoding", encoding)
    return made


def build(
    entry: QueueEntry,
    subject: str,
    text: list[str],
    fields: list[tuple[str, str]],
    cause: Attempt | Reason,
    hostname: str,
    original: Body | None,
    clock: Clock,
    wanted: DSNPlan | None = None,
) -> bytes:
    """The whole report: human text, status, and the original's headers where there still is an original."""
    if entry.sender == NULL_SENDER:
        raise ValueError("no notification goes to the null sender")
    host = header_text(hostname)
    report = Builder()
    report.type = b"multipart/report; report-type=delivery-status"
    report.add_field(b"From", from_mailbox(wanted, host))
    to = address_text((wanted and wanted.recipient) or entry.sender)
    report.fields.append(Field(b"to", f"To: <{to}>\r\n".encode()))
    report.add_field(b"Subject", subject.encode())
    report.add_field(b"Date", date_text(clock.time()))
    report.add_field(b"Message-ID", f"<{new_id()}@{host}>".encode())
    report.add_field(b"Auto-Submitted", b"auto-replied")

    recipient = header_text(address_text(entry.recipient), 1000)
    explanation = textwrap.wrap(explain(cause), 76, initial_indent="    ", subsequent_indent="    ")
    human = "\r\n".join([*text, "", f"<{recipient}>:", *explanation])
    message_fields = [("Reporting-MTA", f"dns; {host}"), ("Arrival-Date", date(entry.ts))]
    if entry.dsn and entry.dsn.envid:
        message_fields.insert(0, ("Original-Envelope-Id", decoded(entry.dsn.envid)))
    report.children = [
        part(b"text/plain; charset=us-ascii", human.encode()),
        part(b"message/delivery-status", status_part(message_fields) + b"\r\n" + status_part(fields)),
    ]
    if original is not None:
        full = entry.dsn is not None and entry.dsn.ret == "FULL" and ("Action", "failed") in fields
        report.children.append(returned(entry, original, full=full))
    return report.message()


def returned(entry: QueueEntry, original: Body, *, full: bool) -> Builder:
    """The original, or its headers; of internationalised mail in the types of RFC 6533 6."""
    whole = b"".join(original.chunks()) if full and original.size <= MAX_RETURNED else None
    if whole is None or coding.has_long_line(whole):
        headers = headers_of(original)
        utf8 = entry.smtputf8 and not headers.isascii()
        return part(b"message/global-headers" if utf8 else b"text/rfc822-headers", headers)
    made = Builder()
    made.content = whole
    made.add_field(b"Content-Type", b"message/global" if entry.smtputf8 else b"message/rfc822")
    made.add_field(b"Content-Transfer-Encoding", b"7bit" if whole.isascii() else b"8bit")
    return made


def from_mailbox(wanted: DSNPlan | None, host: str) -> bytes:
    """Who sends the report: the mail system, or a script's address and name."""
    address, name = f"MAILER-DAEMON@{host}", b"Mail Delivery System"
    if wanted is not None and wanted.from_address is not None:
        address, name = address_text(wanted.from_address), b""
    if wanted is not None and wanted.from_name is not None:
        name = UNSAFE.sub(" ", wanted.from_name.decode("utf-8", "replace"))[:MAX_NAME].strip().encode()
    return (written_name(name) + b" " if name else b"") + f"<{address}>".encode()


def status_part(fields: list[tuple[str, str]]) -> bytes:
    return b"".join(make_field(name.encode(), value.encode(), True).raw for name, value in fields)
