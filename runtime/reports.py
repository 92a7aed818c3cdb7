"""A message comes in; if it is a delivery status notification (RFC 3464 in RFC 6522), what it says goes out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from hsl.errors import ScriptError
from hsl.mime.mail import MailModel
from hsl.runtime.message import BytesBody, Message
from hsl.runtime.model import Body

MAX_REPORT = 4 * 1024 * 1024  # bytes of a message that are looked at
MAX_RECIPIENTS = 1_000
STATUS = (b"message/delivery-status", b"message/global-delivery-status")  # RFC 3464, RFC 6533
ORIGINAL = (b"message/rfc822", b"text/rfc822-headers", b"message/global", b"message/global-headers")

Fields = dict[bytes, bytes]  # lower-case names


@dataclass(frozen=True, slots=True)
class Report:
    """The fields about the message, those of each recipient, and what is there of the original message."""

    message: Fields
    recipients: list[Fields]
    original: Message

    def summary(self) -> dict[str, bytes]:
        """Recipient, action, status and diagnostic of the first recipient."""
        first = self.recipients[0] if self.recipients else {}
        recipient = untyped(first.get(b"final-recipient") or first.get(b"original-recipient") or b"")
        return {
            "recipient": recipient.strip(b"<>"),
            "action": first.get(b"action", b"").lower(),
            "status": first.get(b"status", b""),
            "diagnostic": untyped(first.get(b"diagnostic-code", b"")),
        }


def untyped(value: bytes) -> bytes:
    """A field's value without `rfc822;`."""
    return value.partition(b";")[2].strip() if b";" in value else value


def read_report(body: Body, pause: Callable[[], None]) -> Report | None:
    """The report of a message, None if it is none. `pause` is called now and then, and may raise."""
    mail = MailModel(BytesBody(read_head(body)))
    root = mail.split(pause)
    parts = {part.type: part for part in reversed(root.children)}  # the first of each type
    status, original = (next((parts[kind] for kind in kinds if kind in parts), None) for kinds in (STATUS, ORIGINAL))
    if root.type != b"multipart/report" or status is None:
        return None
    message, *recipients = read_groups(mail.content(status)) or [{}]
    returned = BytesBody(b"" if original is None else mail.content(original))
    return Report(message, recipients[:MAX_RECIPIENTS], Message(returned))


def read_head(body: Body) -> bytes:
    data = bytearray()
    for chunk in body.chunks():
        data += chunk
        if len(data) >= MAX_REPORT:
            break
    return bytes(data[:MAX_REPORT])


def read_groups(status: bytes) -> list[Fields]:
    """The groups of fields of a delivery status, apart by empty lines."""
    groups: list[Fields] = []
    for block in re.split(rb"(?:\r?\n){2,}", status.strip(b"\r\n")):
        fields = read_fields(block)
        if fields:
            groups.append(fields)
    return groups


def read_fields(block: bytes) -> Fields:
    """The header fields of a block, the first of each name; none for a block over the limits."""
    try:
        fields = Message(BytesBody(block)).headers()
    except ScriptError:
        return {}
    return {field.name: field.value for field in reversed(fields)}
