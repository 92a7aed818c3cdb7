"""A Received header (RFC 5321 4.4) comes in, what it tells of one hop goes out. Headers are written in many ways."""

from __future__ import annotations

import re
from email.utils import mktime_tz, parsedate_tz

MAX_VALUE = 4096  # bytes of a header that are looked at
SHORT_HOP = ("from", "ip", "by")
HOP = ("from", "ptr", "ip", "by", "with", "id", "for", "time")
CLAUSE = re.compile(rb"(?:^|[\s)])(from|by|with|id|for)\s+<?([^\s;()<>]+)", re.IGNORECASE)
ADDRESS = re.compile(rb"\[(?:IPv6:)?([0-9A-Fa-f:.]{3,45})\]", re.IGNORECASE)
VERIFIED = re.compile(rb"\(\s*([A-Za-z0-9](?:[A-Za-z0-9.-]{0,253}[A-Za-z0-9])?)\s*\[")


def read_received(value: bytes) -> dict[str, bytes | float]:
    """The clauses that are there: from, by, with, id, for; and ip, ptr (names verified by that host) and time."""
    value = value[:MAX_VALUE]
    clauses, _, date = value.rpartition(b";")
    clauses = clauses or value
    hop: dict[str, bytes | float] = {}
    for match in CLAUSE.finditer(clauses):
        hop.setdefault(match[1].decode().lower(), match[2])
    if address := ADDRESS.search(clauses):
        hop["ip"] = address[1].lower()
    if verified := VERIFIED.search(clauses):
        hop["ptr"] = verified[1].lower()
    time = read_date(date)
    if time is not None:
        hop["time"] = time
    return hop


def read_date(date: bytes) -> float | None:
    parsed = parsedate_tz(date.decode("ascii", "replace").strip())
    try:
        return None if parsed is None else float(mktime_tz(parsed))
    except (ValueError, OverflowError):
        return None
