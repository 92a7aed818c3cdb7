"""The queue on disk: groups of jobs come in, each goes out as one commit of one SQLite database; bodies go back out.

    lock        held for the owner's life (flock)
    queue.db    entries, and bodies of up to 64 KiB (WAL, synchronous=FULL; `user_version` is the schema's version)
    bodies/     one file per larger body: written, fsynced, and its folder fsynced, before its row commits;
                unlinked only after the commit that removes the row; without a row it is an orphan, removed at start

Everything is synchronous. One thread commits. A group is written with few statements of many rows, because sqlite3 lets
go of the GIL at each, and on a busy loop has to wait to get it back. A group that fails is rolled back and its jobs are
committed one by one, so one job's failure is its own.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sqlite3
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from urllib.parse import quote

from hsl.runtime.log import Log
from hsl.runtime.model import HOLD, Body
from hsl.runtime.protocols import QueueFull, QueueUnavailable
from hsl.runtime.rows import CHANGING, COLUMNS, ID, Row, numbered

SCHEMA_VERSION = 5
LOCK = "lock"  # the file
ROW_LIMIT = 64 * 1024  # bytes of body kept in the database; a larger one is a file
CHUNK = 64 * 1024
ROWS = 32  # rows of one statement
SHARD_IDS = 10**13  # ids of one shard: those of shard 3 lie between 30000000000000 and 40000000000000
MAX_SHARDS = 2**53 // SHARD_IDS
DISK_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
DISK_CODES = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})
# Of the database as a whole: another process holds it locked, its disk became read-only, it is damaged.
DATABASE_CODES = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }
)

# AUTOINCREMENT: an id is never used again, also not after its row is gone. Scripts hold numbers as doubles: below 2^53.
SCHEMA = """
CREATE TABLE body (
    id INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id < 9007199254740992),
    size INTEGER NOT NULL, file TEXT, data BLOB,
    CHECK ((file IS NULL) <> (data IS NULL)));
CREATE INDEX body_file ON body (file) WHERE file IS NOT NULL;
CREATE TABLE entry (
    id INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id < 9007199254740992),
    body INTEGER NOT NULL REFERENCES body (id),
    transactionid TEXT NOT NULL,
    serverid TEXT NOT NULL, senderip TEXT NOT NULL, senderhelo BLOB NOT NULL, saslusername BLOB NOT NULL,
    jobid BLOB NOT NULL, actionid INTEGER NOT NULL, size INTEGER NOT NULL,
    eightbit INTEGER NOT NULL, smtputf8 INTEGER NOT NULL, ts REAL NOT NULL, quarantine TEXT NOT NULL,
    quotas TEXT NOT NULL DEFAULT '[]', dsn TEXT NOT NULL DEFAULT '',
    tenantid BLOB NOT NULL DEFAULT x'', priority INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL CHECK (state IN ('active', 'defer', 'hold')), due REAL NOT NULL, retry INTEGER NOT NULL,
    metadata TEXT NOT NULL, error TEXT NOT NULL, transportid TEXT NOT NULL,
    senderlocal BLOB NOT NULL, senderdomain BLOB NOT NULL,
    recipientlocal BLOB NOT NULL, recipientdomain BLOB NOT NULL);
"""
# From one version to the next, by the version that a file has.
MIGRATIONS = {
    1: "ALTER TABLE entry ADD COLUMN quotas TEXT NOT NULL DEFAULT '[]'",
    2: "ALTER TABLE entry ADD COLUMN dsn TEXT NOT NULL DEFAULT ''",
    3: "CREATE INDEX body_file ON body (file) WHERE file IS NOT NULL",
    4: "ALTER TABLE entry ADD COLUMN tenantid BLOB NOT NULL DEFAULT x''; "
    "ALTER TABLE entry ADD COLUMN priority INTEGER NOT NULL DEFAULT 0",
}
INSERT_BODY = "INSERT INTO body (id, size, file, data) VALUES {rows}"
INSERT_ENTRY = f"INSERT INTO entry ({', '.join(COLUMNS)}) VALUES {{rows}}"
UPDATE_ENTRY = (
    f"WITH new (id, {', '.join(CHANGING)}) AS (VALUES {{rows}}) "
    f"UPDATE entry SET {', '.join(f'{name} = new.{name}' for name in CHANGING)} FROM new WHERE entry.id = new.id"
)
BODIES_OF = "SELECT json_group_array(body) FROM entry WHERE id IN (VALUES {rows})"  # one row: one hand-over of the GIL
BODY_FILES = "SELECT id, file FROM body WHERE file IS NOT NULL"  # by the index alone: no body is read
DELETE_ENTRY = "DELETE FROM entry WHERE id IN (VALUES {rows})"
DELETE_BODY = "DELETE FROM body WHERE id IN (VALUES {rows})"


class QueueError(Exception):
    """The queue cannot be opened; the text tells an administrator what to do."""


class QueueLocked(QueueError):
    """Another process (or another part of this one) owns the queue."""


class BodyGone(LookupError):
    """A body that is no longer stored: its last entry was deleted."""


class QueueDamaged(QueueUnavailable):
    """What SQLite found within its file makes no sense: that may be all of it, or one row."""


class BodyUnreadable(LookupError):
    """A body that the database does not give: it is damaged, or locked."""


def read_rows(connection: sqlite3.Connection, condition: str = "", *values: int) -> Iterator[Row]:
    """Rows of entries, in the order of ids."""
    return connection.execute(f"SELECT {', '.join(COLUMNS)} FROM entry {condition} ORDER BY id", values)


# jobs


@dataclass(slots=True, eq=False)
class NewMail:
    """One body and the rows that share it, on the way to disk; they are numbered there.

    A small body is `data`, a large one `source` and then `file`.
    """

    size: int
    rows: list[Row]
    data: bytes | None = None
    source: Body | None = None
    file: str | None = None


@dataclass(slots=True, eq=False)
class Job:
    """One call's changes: all of them are committed, or none. Updates are ids and changing columns."""

    mails: list[NewMail]
    updates: list[tuple[int, Row]]
    deletes: list[int]

    @property
    def ids(self) -> list[int]:
        """Of the new entries, once they are committed."""
        return [row[ID] for mail in self.mails for row in mail.rows]

    @property
    def has_files(self) -> bool:
        return any(mail.source is not None for mail in self.mails)


@dataclass(slots=True)
class Changes:
    """What one transaction writes."""

    bodies: list[Row] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    files: dict[int, str] = field(default_factory=dict)  # of new bodies
    shared: dict[int, int] = field(default_factory=dict)  # entries of new bodies that have several
    updates: dict[int, Row] = field(default_factory=dict)
    deletes: list[int] = field(default_factory=list)
    losses: Counter[int] = field(default_factory=Counter)  # entries that bodies lose
    dead: list[int] = field(default_factory=list)  # bodies whose last entry goes


def is_full(error: BaseException) -> bool:
    """Whether the disk did not take it: full, over quota or file size limit, or an I/O error."""
    if isinstance(error, sqlite3.Error):
        return primary_code(error) in DISK_CODES
    return isinstance(error, OSError) and error.errno in DISK_ERRNOS


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's result code without its extension; 0 without one."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def failure(error: Exception) -> Exception:
    """The error to raise to the caller: QueueFull, QueueUnavailable, or the one that it is."""
    known: Exception
    if is_full(error):
        known = QueueFull(f"the disk of the queue is full: {error}")
    elif isinstance(error, sqlite3.Error) and primary_code(error) in DATABASE_CODES:
        damaged = primary_code(error) == sqlite3.SQLITE_CORRUPT
        kind = QueueDamaged if damaged else QueueUnavailable
        known = kind(f"the queue's database cannot be written: {error}")
    else:
        return error
    known.__cause__ = error
    return known


# files


def sync_folder(path: Path) -> None:
    """fsync of a folder: a file's name is on disk only then."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_file(folder: Path, body: Body) -> str:
    """Write a body under a new name, durably, and return the name; on failure nothing is left.

    Raises OSError, ValueError when the body is not as long as it says, and what reading the body raises.
    """
    name = uuid.uuid4().hex
    path = folder / name
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb", buffering=0) as file:
            written = sum(write_all(fd, chunk) for chunk in body.chunks())
            if written != body.size:
                raise ValueError(f"a body of {body.size} bytes gave {written}")
            os.fsync(file.fileno())
        sync_folder(folder)
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise
    return name


def write_all(fd: int, data: bytes) -> int:
    """write(2) until all is written (a nearly full disk takes a part); the number of bytes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    return len(data)


def take_lock(folder: Path) -> int:
    """The lock's file descriptor: open for as long as the queue is owned. Raises QueueLocked."""
    path = folder / LOCK
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(fd, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(fd)
        raise QueueLocked(f"the queue {folder} is in use by process {holder}: stop it first") from error
    os.ftruncate(fd, 0)
    with suppress(OSError):  # the number is for people; a full disk does not hinder the owner
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    return fd


# the database


def make_private(database: Path) -> None:
    """Let there be a file, its owner's alone: SQLite would make it readable to all; its WAL takes the file's mode.

    Raises QueueError.
    """
    try:
        os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise QueueError(f"cannot use {database}: {error.strerror}") from error


def connect(database: Path, *, readonly: bool = False) -> sqlite3.Connection:
    uri = f"file:{quote(str(database))}?mode={'ro' if readonly else 'rwc'}"
    return sqlite3.connect(uri, uri=True, timeout=5.0, isolation_level=None, check_same_thread=False)


def check_version(connection: sqlite3.Connection, database: Path) -> int:
    """The schema's version, 0 of an empty file. Raises QueueError for one that this program cannot bring up to date."""
    version: int = connection.execute("PRAGMA user_version").fetchall()[0][0]
    tables: int = connection.execute("SELECT count(*) FROM sqlite_master").fetchall()[0][0]
    if version == SCHEMA_VERSION or version in MIGRATIONS or (version == 0 and tables == 0):
        return version
    raise QueueError(
        f"{database} has schema version {version}, this program knows versions up to {SCHEMA_VERSION} only: "
        "let the program that wrote it deliver what is queued, or move the folder away to start with an empty queue"
    )


class Reader:
    """Reads bodies, on a connection of its own; any thread may."""

    def __init__(self, folder: Path, *, readonly: bool = False) -> None:
        self._bodies = folder / "bodies"
        self._connection = connect(folder / "queue.db", readonly=readonly)
        self._lock = threading.Lock()

    def rows(self, condition: str = "", *values: int) -> Iterator[Row]:
        """Rows of entries, in the order of ids; the read transaction lasts until the last one is taken."""
        return read_rows(self._connection, condition, *values)

    def check_version(self, database: Path) -> int:
        return check_version(self._connection, database)

    def body(self, body_id: int, size: int) -> StoredBody:
        return StoredBody(self, body_id, size)

    def find(self, body_id: int) -> bytes | Path:
        """A small body's bytes or a large one's file. Raises BodyGone, BodyUnreadable."""
        try:
            with self._lock:  # fetchall ends the read transaction: an open one would keep the WAL from shrinking
                rows = self._connection.execute("SELECT file, data FROM body WHERE id = ?", (body_id,)).fetchall()
        except sqlite3.Error as error:
            raise BodyUnreadable(f"body {body_id} cannot be read: {error}") from error
        if not rows:
            raise BodyGone(f"body {body_id} is no longer in the queue")
        file: str | None
        data: bytes
        file, data = rows[0]
        return data if file is None else self._bodies / file

    def close(self) -> None:
        with self._lock:
            self._connection.close()


@dataclass(frozen=True, slots=True)
class StoredBody:
    """A body in the queue, read when it is asked for."""

    reader: Reader
    id: int
    size: int
    data: bytes | None = None  # of a body that is still in memory

    def chunks(self) -> Iterator[bytes]:
        """Pieces of at most 64 KiB. Raises BodyGone when the message was deleted, BodyUnreadable, OSError."""
        found = self.reader.find(self.id) if self.data is None else self.data
        if isinstance(found, bytes):
            if found:
                yield found
            return
        try:
            file = open(found, "rb", buffering=0)  # noqa: SIM115  (the `with` stands outside the except)
        except FileNotFoundError:
            raise BodyGone(f"body {self.id} is no longer in the queue") from None
        with file:
            while chunk := file.read(CHUNK):
                yield chunk


class Spool:
    """The owner's side of the files: opened with the lock, then used by the one thread that commits."""

    def __init__(self, folder: Path, log: Log, shard: int = 0) -> None:
        """Open or create; the shard's number says which ids it gives.

        Raises QueueLocked, and QueueError for a database that cannot be used.
        """
        self.folder = folder
        self.shard = shard
        self.log = log
        self.transactions = 0  # commits so far
        self._bodies = folder / "bodies"
        self._shared: dict[int, int] = {}  # entries of each body that has several
        self._files: dict[int, str] = {}  # file name of each large body
        self._make_folders()
        self._lock = take_lock(folder)
        try:
            self._open_database()
        except BaseException:
            os.close(self._lock)
            raise

    # opening

    def _make_folders(self) -> None:
        try:
            for folder in (self.folder, self._bodies):
                if not folder.is_dir():
                    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                    sync_folder(folder.parent)
        except OSError as error:
            raise QueueError(f"cannot create the queue's folder {self.folder}: {error.strerror}") from error

    def _open_database(self) -> None:
        database = self.folder / "queue.db"
        make_private(database)
        self._connection = connect(database)
        try:
            version = check_version(self._connection, database)
            self._connection.executescript(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;"
                f"PRAGMA journal_size_limit = {64 << 20};"
            )
            if version == 0:
                self._connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT")
                sync_folder(self.folder)
            elif version < SCHEMA_VERSION:
                self._migrate(version)
            self._adopt_stored()
            self._hold_bodiless()
            self._remove_orphans()
        except sqlite3.Error as error:
            self._connection.close()
            raise QueueError(f"cannot use {database}: {error}") from error
        except BaseException:
            self._connection.close()
            raise

    def _migrate(self, version: int) -> None:
        """Bring an older file up to date, all of it or nothing."""
        steps = "; ".join(MIGRATIONS[step] for step in range(version, SCHEMA_VERSION))
        self._connection.executescript(f"BEGIN; {steps}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT")
        self.log.info("queue-migrated", before=version, now=SCHEMA_VERSION)

    def _adopt_stored(self) -> None:
        query = self._connection.execute
        last, last_body = (
            query("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ?", (name,)).fetchall()[0][0]
            for name in ("entry", "body")
        )
        if last and last // SHARD_IDS != self.shard:
            raise QueueError(f"the queue {self.folder} is shard {last // SHARD_IDS}, not {self.shard}: move it back")
        self._entry_ids: Iterator[int] = count(max(last, self.shard * SHARD_IDS) + 1)
        self._next_body = last_body + 1
        self._shared = dict(query("SELECT body, count(*) FROM entry GROUP BY body HAVING count(*) > 1"))
        self._files = dict(query(BODY_FILES))

    def _hold_bodiless(self) -> None:
        """Entries whose body file is gone (a damaged disk, a meddler) wait for an administrator."""
        for body, name in self._files.items():
            if not (self._bodies / name).is_file():
                self.log.error("queue-body-missing", body=body, file=name)
                self._connection.execute(
                    "UPDATE entry SET state = ?, error = ? WHERE body = ?", (HOLD, "its body file is missing", body)
                )

    def _remove_orphans(self) -> None:
        known = set(self._files.values())
        orphans = [path for path in self._bodies.iterdir() if path.name not in known]
        for path in orphans:
            path.unlink()
        if orphans:
            self.log.info("queue-orphans-removed", count=len(orphans))

    def rows(self) -> Iterator[Row]:
        return read_rows(self._connection)

    def reserve(self) -> int:
        """The next entry's id. Any thread may: a step of `count` is one instruction under the GIL."""
        return next(self._entry_ids)

    # writing

    def write_files(self, job: Job) -> None:
        """Write a job's large bodies; any thread may. Raises QueueFull, ValueError, and what reading a body raises."""
        try:
            for mail in job.mails:
                if mail.source is not None:
                    mail.file = write_file(self._bodies, mail.source)
                    mail.source = None
        except Exception as error:
            self._unlink(job)
            raise failure(error) from error

    def commit(self, jobs: Sequence[Job]) -> list[tuple[Job, Exception | None]]:
        """Commit a group in one transaction; when that fails, each job in its own. Each job with its error or None.

        A committed job's new entries have their ids; of a failed job nothing is left. QueueUnavailable is that of all
        of them: no job is to blame, and each would wait as long for a lock. A damaged body stays where it is when its
        last entry goes: nothing else is to wait for it.
        """
        error = self._attempt(jobs)
        own = isinstance(error, QueueDamaged) or not isinstance(error, QueueUnavailable)
        if error is not None and len(jobs) > 1 and own:
            return [outcome for job in jobs for outcome in self.commit([job])]
        if isinstance(error, QueueFull):
            self._checkpoint()  # what the WAL took may be just what a removal needs
            error = self._attempt(jobs)
        elif isinstance(error, QueueDamaged):
            error = self._attempt(jobs, leave_bodies=True)
        if error is not None:
            for job in jobs:
                self._unlink(job)
        return [(job, error) for job in jobs]

    def _attempt(self, jobs: Sequence[Job], *, leave_bodies: bool = False) -> Exception | None:
        try:
            changes = self._plan(jobs)
            self._connection.execute("BEGIN IMMEDIATE")
            self._write(changes)
            if not leave_bodies:
                self._execute(DELETE_BODY, [(body,) for body in changes.dead])
            self._connection.execute("COMMIT")
        except Exception as error:
            if self._connection.in_transaction:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
            return failure(error)
        self.transactions += 1
        if leave_bodies and changes.dead:
            self.log.error("queue-body-damaged", bodies=",".join(map(str, changes.dead)), left="in the database")
        self._adopt(changes)
        return None

    def _plan(self, jobs: Sequence[Job]) -> Changes:
        """Bring jobs together, and number what is new."""
        changes = Changes()
        for job in jobs:
            for mail in job.mails:
                self._plan_mail(mail, changes)
            changes.updates.update(job.updates)
            changes.deletes += job.deletes
        return changes

    def _plan_mail(self, mail: NewMail, changes: Changes) -> None:
        body = self._next_body
        self._next_body += 1
        changes.bodies.append((body, mail.size, mail.file, mail.data))
        if mail.file is not None:
            changes.files[body] = mail.file
        if len(mail.rows) > 1:
            changes.shared[body] = len(mail.rows)
        mail.rows = [numbered(row, row[ID] or self.reserve(), body, mail.size) for row in mail.rows]
        changes.rows += mail.rows

    def _write(self, changes: Changes) -> None:
        """All but the removal of bodies whose last entry goes."""
        self._execute(INSERT_BODY, changes.bodies)
        self._execute(INSERT_ENTRY, changes.rows)
        self._execute(UPDATE_ENTRY, [(entry_id, *row) for entry_id, row in changes.updates.items()])
        deletes = [(entry_id,) for entry_id in dict.fromkeys(changes.deletes)]
        for [bodies] in self._execute(BODIES_OF, deletes):
            changes.losses.update(json.loads(bodies))
        changes.dead = [body for body, lost in changes.losses.items() if lost == self._shared.get(body, 1)]
        self._execute(DELETE_ENTRY, deletes)

    def _execute(self, statement: str, rows: Sequence[Row]) -> list[Row]:
        """Run a statement over all rows, in slices of 32, 16 … 1: few statements, and few distinct ones to prepare."""
        done = 0
        results: list[Row] = []
        while done < len(rows):
            size = min(ROWS, 1 << (len(rows) - done).bit_length() - 1)
            part = rows[done : done + size]
            marks = ", ".join([f"({', '.join('?' * len(part[0]))})"] * size)
            found = self._connection.execute(statement.format(rows=marks), [value for row in part for value in row])
            results += found.fetchall()
            done += size
        return results

    def _adopt(self, changes: Changes) -> None:
        """Follow a commit in memory, and unlink the files that it freed."""
        self._shared.update(changes.shared)
        self._files.update(changes.files)
        for body, lost in changes.losses.items():
            if body in self._shared:
                self._shared[body] -= lost
        for body in changes.dead:
            self._shared.pop(body, None)
            if (name := self._files.pop(body, None)) is not None:
                self._unlink_name(name)

    def _unlink(self, job: Job) -> None:
        for mail in job.mails:
            if mail.file is not None:
                self._unlink_name(mail.file)
                mail.file = None

    def _unlink_name(self, name: str) -> None:
        try:
            (self._bodies / name).unlink(missing_ok=True)
        except OSError as error:  # an orphan now: the next start removes it
            self.log.warning("queue-unlink-failed", file=name, error=error.strerror)

    def _checkpoint(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the database and give up the lock; once."""
        self._connection.close()
        os.close(self._lock)
