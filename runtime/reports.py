"""A message comes in; if it is a delivery status notification (RFC 3464 in RFC 6522), what it says goes out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hsl.errors import ScriptError
from hsl.runtime.message import BytesBody, Message
from hsl.runtime.model import Body

MAX_REPORT = 4 * 1024 * 1024  # bytes of a message that are looked at
MAX_RECIPIENTS = 1_000
PARAMETER = rb";\s*%s\s*=\s*(?:\"([^\"]{1,200})\"|([^\s;\"]{1,200}))"
BOUNDARY = re.compile(PARAMETER % b"boundary", re.IGNORECASE)
TYPE = re.compile(rb"\s*([a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+)", re.IGNORECASE)

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


def read_report(body: Body) -> Report | None:
    """The report of a message, None if it is none."""
    data = read_head(body)
    content, rest = split_head(data)
    boundary = BOUNDARY.search(content)
    if boundary is None or not content.lower().startswith(b"multipart/report"):
        return None
    parts = dict(split_parts(rest, boundary[1] or boundary[2]))
    status = parts.get(b"message/delivery-status") or parts.get(b"message/global-delivery-status")
    if status is None:
        return None
    message, *recipients = read_groups(status) or [{}]
    original = parts.get(b"message/rfc822") or parts.get(b"text/rfc822-headers") or parts.get(b"message/global") or b""
    return Report(message, recipients[:MAX_RECIPIENTS], Message(BytesBody(original)))


def read_head(body: Body) -> bytes:
    data = bytearray()
    for chunk in body.chunks():
        data += chunk
        if len(data) >= MAX_REPORT:
            break
    return bytes(data[:MAX_REPORT])


def split_parts(data: bytes, boundary: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The parts of a multipart body: type (lower case) and content."""
    mark = b"--" + boundary
    for piece in (b"\r\n" + data).split(b"\r\n" + mark)[1:]:
        if piece.startswith(b"--"):
            return
        part = piece.partition(b"\r\n")[2]
        content, rest = split_head(part)
        if kind := TYPE.match(content or b"text/plain"):
            yield kind[1].lower(), rest


def read_groups(status: bytes) -> list[Fields]:
    """The groups of fields of a delivery status, apart by empty lines."""
    groups: list[Fields] = []
    for block in re.split(rb"(?:\r?\n){2,}", status.strip(b"\r\n")):
        fields = read_fields(block)
        if fields:
            groups.append(fields)
    return groups


def split_head(part: bytes) -> tuple[bytes, bytes]:
    """The Content-Type of a message or a part (empty without one), and what is below its headers."""
    if part.startswith(b"\r\n"):
        return b"", part[2:]
    head, _, rest = part.partition(b"\r\n\r\n")
    return read_fields(head).get(b"content-type", b""), rest


def read_fields(head: bytes) -> Fields:
    """The header fields of a block, the first of each name; none for a block over the limits."""
    try:
        fields = Message(BytesBody(head + b"\r\n\r\n")).headers()
    except ScriptError:
        return {}
    return {field.name: field.value for field in reversed(fields)}
