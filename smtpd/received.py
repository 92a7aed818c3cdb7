"""Our trace header (RFC 5321 4.4), and what a submission server adds: connection and transaction in, lines out."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

from hsl.runtime.model import Connection, Transaction

MAX_RECEIVED = 50  # more of them is a mail loop (RFC 5321 6.3)
RECEIVED = re.compile(rb"^received[ \t]*:", re.IGNORECASE | re.MULTILINE)
HOST = re.compile(r"[A-Za-z0-9_.-]{1,255}\Z")
PRINTABLE = re.compile(r"[!-~\xa1-\u2027\u202a-\uffef\U00010000-\U0010ffff]{1,254}\Z")


def received(connection: Connection, transaction: Transaction, hostname: str, now: float) -> bytes:
    """The Received header with its CRLF. `now` is UTC wall seconds; `for` only when one recipient is named."""
    helo = connection.helo.host.decode("ascii", "replace") if connection.helo else "unknown"
    literal = f"[IPv6:{connection.remoteip}]" if ":" in connection.remoteip else f"[{connection.remoteip}]"
    utf8 = "SMTPUTF8" in transaction.senderparams
    name = f"{connection.remoteptr} " if connection.remoteptr and HOST.match(connection.remoteptr) else ""
    lines = [
        f"Received: from {clean(helo)} ({name}{literal})",
        f"\tby {hostname} with {protocol(connection, utf8)}",
        f"\tid {transaction.id}",
    ]
    if len(transaction.recipients) == 1:
        path = transaction.recipients[0].address.path.decode("utf-8", "replace")
        if PRINTABLE.match(path) and (utf8 or path.isascii()):
            lines.append(f"\tfor <{path}>")
    return ("\r\n".join(lines) + f";\r\n\t{date(now)}\r\n").encode("utf-8" if utf8 else "ascii", "replace")


def protocol(connection: Connection, utf8: bool = False) -> str:
    """The `with` keyword (RFC 3848; RFC 6531 4.3 for mail that came with SMTPUTF8)."""
    if connection.helo is None or connection.helo.verb != "EHLO":
        return "SMTP"
    return ("UTF8SMTP" if utf8 else "ESMTP") + ("S" if connection.tls else "") + ("A" if connection.auth else "")


def clean(host: str) -> str:
    """A HELO name as it may stand in a header; scripts can set it to anything."""
    return re.sub(r"[^A-Za-z0-9_.:\[\]-]", "?", host)[:255] or "unknown"


def date(now: float) -> str:
    """RFC 5322 3.3, numeric zone."""
    return date_of(int(now))


@lru_cache(2)
def date_of(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC))


def count_received(head: bytes) -> int:
    return len(RECEIVED.findall(head))


def submission_headers(head: bytes, transaction: Transaction, hostname: str, now: float) -> bytes:
    """Message-ID and Date where the submitted message has none (RFC 6409 8)."""
    added = b""
    if not re.search(rb"^message-id[ \t]*:", head, re.IGNORECASE | re.MULTILINE):
        added += f"Message-ID: <{transaction.id}@{hostname}>\r\n".encode()
    if not re.search(rb"^date[ \t]*:", head, re.IGNORECASE | re.MULTILINE):
        added += f"Date: {date(now)}\r\n".encode()
    return added
