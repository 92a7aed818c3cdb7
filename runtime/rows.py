"""A queue entry as a row: what the columns of the database hold, and, packed, what the queue keeps in memory.

Rows are what travels through the queue: an entry becomes one when it is handed over (that is the copy), and a row
becomes an entry when somebody asks for it.
"""

from __future__ import annotations

import json
import marshal
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from hsl.runtime import dsnrequest
from hsl.runtime.model import ACTIVE, HOLD, Address, QueueEntry

FIXED = (
    "id", "body", "transactionid", "serverid", "senderip", "senderhelo", "saslusername", "jobid", "actionid", "size",
    "eightbit", "smtputf8", "ts", "quarantine", "dsn", "tenantid",
)  # fmt: skip
CHANGING = (
    "priority", "quotas", "state", "due", "retry", "metadata", "error", "transportid",
    "senderlocal", "senderdomain", "recipientlocal", "recipientdomain",
)  # fmt: skip
COLUMNS = FIXED + CHANGING
AT = {name: place for place, name in enumerate(COLUMNS)}
ID, BODY, SIZE, PRIORITY, QUOTAS, STATE, DUE, METADATA, ERROR = (
    AT[name] for name in ("id", "body", "size", "priority", "quotas", "state", "due", "metadata", "error")
)

FRESH = 1_000  # rows that are kept as they are

Row = tuple[Any, ...]  # str, bytes, int, float, as COLUMNS says


def entry_row(entry: QueueEntry) -> Row:
    """All columns of an entry."""
    return (
        entry.id, entry.body, plain(entry.transaction), plain(entry.serverid), plain(entry.senderip), entry.senderhelo,
        entry.saslusername, entry.jobid, entry.actionid, entry.size, entry.eightbit, entry.smtputf8, entry.ts,
        plain(entry.quarantine), dsnrequest.pack(entry.dsn), entry.tenantid, *changing_row(entry),
    )  # fmt: skip


def changing_row(entry: QueueEntry) -> Row:
    """The columns of an entry that may change while it is queued."""
    return (
        entry.priority, pack_quotas(entry.quotas), entry.state, entry.due, entry.retry, pack_metadata(entry.metadata),
        plain(entry.error), plain(entry.transportid),
        entry.sender.localpart, entry.sender.domain, entry.recipient.localpart, entry.recipient.domain,
    )  # fmt: skip


def numbered(row: Row, entry_id: int, body: int, size: int) -> Row:
    """The row of an entry that is stored now."""
    return (entry_id, body, *row[2:SIZE], size, *row[SIZE + 1 :])


def changed(row: Row, changing: Row) -> Row:
    """A row with new changing columns."""
    return row[: len(FIXED)] + changing


def entry_of(row: Row) -> QueueEntry:
    """The entry of a row: an object of the caller's own."""
    return QueueEntry(
        id=row[0], body=row[1], transaction=row[2], serverid=row[3], senderip=row[4], senderhelo=row[5],
        saslusername=row[6], jobid=row[7], actionid=row[8], size=row[9], eightbit=bool(row[10]),
        smtputf8=bool(row[11]), ts=row[12], quarantine=row[13], dsn=dsnrequest.unpack(row[14]),
        tenantid=row[15], priority=row[16],
        quotas=unpack_quotas(row[17]), state=row[18], due=row[19], retry=row[20], metadata=unpack_metadata(row[21]),
        error=row[22], transportid=row[23], sender=Address(row[24], row[25]), recipient=Address(row[26], row[27]),
    )  # fmt: skip


def due_of(row: Row) -> float | None:
    """When an entry falls due (UTC wall seconds); None: never by itself."""
    state: str = row[STATE]
    due: float = row[DUE]
    if state == ACTIVE:
        return 0.0
    return None if state == HOLD else due


def extent_of(row: Row) -> int:
    """About how many octets an entry takes when it is shown: what scripts and peers may make long."""
    return len(row[METADATA]) + len(row[ERROR]) + len(row[QUOTAS])


# columns


def plain(text: str) -> str:
    """Text that SQLite takes: lone surrogates (undecodable octets of peers) become escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def pack_metadata(metadata: dict[bytes, bytes]) -> str:
    if not metadata:
        return "{}"
    return json.dumps({key.decode("latin-1"): value.decode("latin-1") for key, value in metadata.items()})


def unpack_metadata(text: str) -> dict[bytes, bytes]:
    if text == "{}":
        return {}
    return {key.encode("latin-1"): value.encode("latin-1") for key, value in json.loads(text).items()}


def pack_quotas(quotas: tuple[bytes, ...]) -> str:
    return json.dumps([name.decode("latin-1") for name in quotas]) if quotas else "[]"


def unpack_quotas(text: str) -> tuple[bytes, ...]:
    return tuple(name.encode("latin-1") for name in json.loads(text)) if text != "[]" else ()


# memory


class Rows:
    """The rows of all entries by id, packed but for the ones that came or changed last: most leave while they are."""

    def __init__(self) -> None:
        self._packed: dict[int, bytes] = {}
        self._fresh: OrderedDict[int, Row] = OrderedDict()

    def __len__(self) -> int:
        return len(self._packed) + len(self._fresh)

    def __getitem__(self, entry_id: int) -> Row:
        row = self.get(entry_id)
        if row is None:
            raise KeyError(entry_id)
        return row

    def __setitem__(self, entry_id: int, row: Row) -> None:
        self._packed.pop(entry_id, None)
        self._fresh[entry_id] = row
        if len(self._fresh) > FRESH:
            old, row = self._fresh.popitem(last=False)
            self._packed[old] = pack(row)

    def get(self, entry_id: int) -> Row | None:
        row = self._fresh.get(entry_id)
        if row is None and (packed := self._packed.get(entry_id)) is not None:
            row = unpack(packed)
        return row

    def pop(self, entry_id: int) -> Row | None:
        row = self._fresh.pop(entry_id, None)
        if row is None and (packed := self._packed.pop(entry_id, None)) is not None:
            row = unpack(packed)
        return row

    def values(self) -> Iterator[Row]:
        """All rows, in no order. They must not change meanwhile."""
        yield from map(unpack, self._packed.values())
        yield from self._fresh.values()


def pack(row: Row) -> bytes:
    """A row in few bytes, for this process only."""
    return marshal.dumps(row)


def unpack(packed: bytes) -> Row:
    row: Row = marshal.loads(packed)
    return row
