"""Odd messages of our own, and what the standard library's parser makes of a message (compat32: `policy.default` is
quadratic)."""

from __future__ import annotations

import email
from email.message import Message
from typing import Any

from hsl.mime.mail import MailModel
from hsl.mime.source import BytesBody
from hsl.mime.tree import Part

MIXED = b'Content-Type: multipart/mixed; boundary="b"\r\n'

ODD: dict[str, bytes] = {
    "empty": b"",
    "one line break": b"\r\n",
    "no header": b"\r\nbody only\r\n",
    "no body": b"Subject: x\r\n",
    "no line end": b"Subject: x",
    "no empty line": b"Subject: x\r\nthis is no field\r\nX: y\r\n\r\nbody\r\n",
    "LF": b"Subject: x\nX: folded\n here\n\nbody\n",
    "LF and CRLF": b"Subject: x\nX: y\r\n\nbody\r\n",
    "mailbox line": b"From a@example.com Mon Jan  1 00:00:00 2024\nSubject: x\n\nFrom here\n",
    "quoted mailbox line": b">From a@example.com Mon Jan  1\r\nSubject: x\r\n\r\nbody\r\n",
    "bytes": b"Subject: \xe5\x00\xff\r\n\r\n\x00\xff\r\n.\r\n",
    "two parts": MIXED
    + b"\r\npre\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: text/html\r\n\r\ntwo\r\n--b--\r\nepilogue\r\n",
    "LF parts": MIXED.replace(b"\r", b"") + b"\n--b\n\none\n--b\n\ntwo\n--b--\n",
    "no preamble": MIXED + b"\r\n--b\r\n\r\none\r\n--b--\r\n",
    "empty parts": MIXED + b"\r\n--b\r\n--b\r\n\r\n--b\r\n\r\n\r\n--b--",
    "blanks behind the boundary": MIXED + b"\r\n--b \t\r\n\r\none\r\n--b-- \t\r\n",
    "never closed": MIXED + b"\r\n--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n",
    "never opened": MIXED + b"\r\nno parts\r\n",
    "only closed": MIXED + b"\r\n--b--\r\n",
    "no boundary": b"Content-Type: multipart/mixed\r\n\r\n--\r\n\r\none\r\n----\r\n",
    "near boundaries": MIXED + b"\r\n--b\r\n\r\n--bb\r\n --b\r\n---b\r\n--b-\r\n--\r\n--b--\r\n",
    "nested": MIXED
    + b"\r\n--b\r\nContent-Type: multipart/alternative; boundary=bb\r\n\r\n--bb\r\n\r\none\r\n--bb--\r\n"
    + b"\r\n--b\r\n\r\ntwo\r\n--b--\r\n",
    "nested, not closed": MIXED
    + b"\r\n--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\n\r\none"
    + b"\r\n--b\r\n\r\ntwo\r\n--b--\r\n",
    "the same boundary inside": MIXED + b"\r\n--b\r\n" + MIXED + b"\r\n--b\r\n\r\none\r\n--b--\r\n--b--\r\n",
    "a message inside": MIXED
    + b"\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inside\r\n"
    + MIXED.replace(b'"b"', b"c")
    + b"\r\n--c\r\n\r\none\r\n--c--\r\n\r\n--b--\r\n",
    "a digest": MIXED.replace(b"mixed", b"digest") + b"\r\n--b\r\n\r\nSubject: one\r\n\r\nbody\r\n--b--\r\n",
    "parts of a part without an empty line": MIXED + b"\r\n--b\r\nX: y\r\n--b\r\nX: y\r\nno field\r\n--b--\r\n",
    "a field that looks like a boundary": MIXED + b"--b: c\r\n\r\n--b\r\n--b: c\r\n\r\none\r\n--b--\r\n",
    "two types": MIXED + b"Content-Type: text/plain\r\n\r\n--b\r\n\r\none\r\n--b--\r\n",
    "encoded": b"Content-Transfer-Encoding: BASE64\r\n\r\nSGVs\r\n  bG8=\r\n",
    "quoted-printable": b"Content-Transfer-Encoding: quoted-printable\r\n\r\nHe=6Clo=\r\n there =XY =\r\n",
}


def mail_of(data: bytes) -> MailModel:
    return MailModel(BytesBody(data))


Tree = tuple[str, Any]


def our_tree(mail: MailModel, part: Part) -> Tree:
    """Types, and the decoded contents of the leaves."""
    kind = part.type.decode("latin-1") or "text/plain"
    if part.children:
        return kind, [our_tree(mail, child) for child in part.children]
    return kind, mail.content(part).replace(b"\r\n", b"\n")


def their_tree(data: bytes) -> Tree:
    """The same by the standard library."""
    return tree_of(email.message_from_bytes(data))


def tree_of(message: Message) -> Tree:
    if message.is_multipart():
        children: list[Any] = message.get_payload()  # type: ignore[assignment]
        return message.get_content_type(), [tree_of(child) for child in children]
    content: Any = message.get_payload(decode=True)
    return message.get_content_type(), (content or b"").replace(b"\r\n", b"\n")


def their_names(data: bytes) -> list[bytes]:
    return [name.lower().encode("ascii", "surrogateescape") for name in email.message_from_bytes(data)]
