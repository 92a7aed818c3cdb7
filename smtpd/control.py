"""The control socket: requests of `hsl queue` come in as lines of JSON, answers go out as lines of JSON.

A 0600 unix socket beside the queue. A request is `{"command": …, "filters": {"sender": ["a@b"]}, …}`, its answer an
object, or `{"error": "…"}`. Reading commands (`look`) also work on the queue of a server that is down.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import stat
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hsl.runtime.log import Log
from hsl.runtime.metrics import Metrics
from hsl.runtime.model import ACTIVE, DEFER, HOLD, QueueEntry
from hsl.runtime.policies import QueuePolicies, Rule
from hsl.runtime.protocols import QueueFull, QueueUnavailable
from hsl.runtime.queue import BodyGone, BodyUnreadable, QueueClosed, QueueView, SQLiteQueue
from hsl.smtpd.config import CONTROL_SOCKET, Config
from hsl.smtpd.shards import Shards

MAX_REQUEST = 256 * 1024  # bytes of one line
MAX_ANSWER = 64 * 1024 * 1024  # bytes that a client takes
MAX_BODY = 1024 * 1024  # bytes of a message in one answer
MAX_PAGE = 1000  # entries in one answer, and in one commit of a bulk change
MAX_CLIENTS = 16
IDLE = 60.0  # seconds between two requests of a client
FILTERS = (
    "id", "sender", "senderdomain", "recipient", "recipientdomain", "saslusername", "senderip", "transportid", "state",
    "retry", "quarantine",
)  # fmt: skip

Request = Mapping[str, Any]
Answer = dict[str, Any]
Filters = dict[str, list[bytes]]
ChangingQueue = SQLiteQueue | Shards


class ControlError(Exception):
    """A request that cannot be answered; the text goes to the administrator."""


def control_path(config: Config) -> Path:
    """Where a gateway's control socket is."""
    return config.environment.controlsocket or config.queues.path / CONTROL_SOCKET


# questions


def look(queue: QueueView, request: Request) -> Answer:
    """Answer a reading command: list, show, metric, counts. Raises ControlError."""
    command = request.get("command")
    try:
        if command == "list":
            return list_entries(queue, request)
        if command == "show":
            return show_entry(queue, request)
        if command == "metric":
            return {"value": queue.metric(want_text(request, "metric", "count"), read_filters(request))}
        if command == "counts":
            states = (ACTIVE, DEFER, HOLD)
            return {state: queue.metric("count", {"state": [state.encode()]}) for state in states}
    except ValueError as error:
        raise ControlError(str(error)) from None
    raise ControlError(f"unknown command {command!r}")


async def measure(queue: ChangingQueue, request: Request) -> Answer:
    """A metric of a running gateway: a long walk gives its sessions their turns. Raises ControlError."""
    try:
        return {"value": await queue.measure(want_text(request, "metric", "count"), read_filters(request))}
    except ValueError as error:
        raise ControlError(str(error)) from None


def list_entries(queue: QueueView, request: Request) -> Answer:
    """A page of entries; `more` says whether another one may follow (ask with `after` as it is in the answer)."""
    limit = min(want_number(request, "limit", MAX_PAGE), MAX_PAGE)
    page = queue.page(read_filters(request), limit, want_number(request, "after", 0))
    entries = [describe(queue, entry) for entry in page.entries]
    return {"entries": entries, "more": page.after is not None, "after": page.after or 0}


def show_entry(queue: QueueView, request: Request) -> Answer:
    """One entry; with `headers` or `body` the message too, base64, at most MAX_BODY of it."""
    entry_id = want_number(request, "id", 0)
    entry = queue.get(entry_id)
    if entry is None:
        raise ControlError(f"there is no entry {entry_id}")
    answer: Answer = {"entry": describe(queue, entry)}
    if request.get("headers") or request.get("body"):
        data, whole = read_body(queue, entry)
        if not request.get("body"):
            head, blank, _ = data.partition(b"\r\n\r\n")
            data, whole = head + blank, whole or bool(blank)
        answer["message"] = base64.b64encode(data).decode()
        answer["truncated"] = not whole
    return answer


def read_body(queue: QueueView, entry: QueueEntry) -> tuple[bytes, bool]:
    """The beginning of a message, and whether it is all of it."""
    data = bytearray()
    try:
        for chunk in queue.body(entry).chunks():
            data += chunk
            if len(data) > MAX_BODY:
                break
    except BodyGone:
        raise ControlError(f"entry {entry.id} is gone") from None
    except BodyUnreadable as error:
        raise ControlError(f"the message of entry {entry.id}: {error}") from None
    except OSError as error:
        raise ControlError(f"cannot read the message of entry {entry.id}: {error.strerror}") from None
    return bytes(data[:MAX_BODY]), len(data) <= MAX_BODY


def describe(queue: QueueView, entry: QueueEntry) -> Answer:
    """An entry as JSON. Octets that are not UTF-8 are shown as escapes."""
    return {
        "id": entry.id,
        "state": entry.state,
        "claimed": queue.is_claimed(entry.id),
        "transaction": entry.transaction,
        "sender": text_of(entry.sender.path),
        "recipient": text_of(entry.recipient.path),
        "transportid": entry.transportid,
        "serverid": entry.serverid,
        "senderip": entry.senderip,
        "senderhelo": text_of(entry.senderhelo),
        "saslusername": text_of(entry.saslusername),
        "metadata": {text_of(key): text_of(value) for key, value in entry.metadata.items()},
        "jobid": text_of(entry.jobid),
        "tenantid": text_of(entry.tenantid),
        "priority": entry.priority,
        "size": entry.size,
        "ts": entry.ts,
        "due": entry.due,
        "retry": entry.retry,
        "quarantine": entry.quarantine,
        "dsn": entry.dsn.sender_params | entry.dsn.recipient_params if entry.dsn else {},
        "error": entry.error,
    }


def text_of(octets: bytes) -> str:
    return octets.decode("utf-8", "backslashreplace")


# what a request may hold


def read_filters(request: Request) -> Filters:
    """The filters of a request as the queue wants them."""
    given = request.get("filters", {})
    if not isinstance(given, dict):
        raise ControlError("filters: wanted an object")
    for name, values in given.items():
        if name not in FILTERS:
            raise ControlError(f"unknown filter {name!r}: known are {', '.join(FILTERS)}")
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise ControlError(f"filter {name!r}: wanted a list of strings")
    return {name: [value.encode("utf-8", "surrogateescape") for value in values] for name, values in given.items()}


def want_number(request: Request, name: str, default: int) -> int:
    value = request.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise ControlError(f"{name}: wanted a whole number")
    return value


def want_text(request: Request, name: str, default: str) -> str:
    value = request.get(name, default)
    if not isinstance(value, str):
        raise ControlError(f"{name}: wanted a string")
    return value


# changes


@dataclass(frozen=True, slots=True)
class Change:
    """One changing command: which entries it touches, and the state that they get (None: deleted)."""

    applies: Callable[[QueueEntry, float], bool]
    state: Callable[[QueueEntry], str] | None


CHANGES: Mapping[str, Change] = {
    "hold": Change(lambda entry, now: entry.state != HOLD, lambda entry: HOLD),
    "release": Change(lambda entry, now: entry.state == HOLD, lambda entry: DEFER if entry.retry else ACTIVE),
    "retry": Change(lambda entry, now: entry.state == DEFER and entry.due > now, lambda entry: DEFER),
    "delete": Change(lambda entry, now: True, None),
}


async def change(queue: ChangingQueue, request: Request) -> Answer:
    """Carry out hold, release, retry or delete on all entries that match, one commit per MAX_PAGE of them.

    hold: whatever is not held; release: what is held, due at once; retry: what waits, due at once; delete: all.
    An attempt under way goes on: a deleted entry's result is dropped, a held one that fails stays held, and none is
    attempted twice at once (the scheduler's part). Entries stored meanwhile are not touched.

    The answer counts `changed`. Raises ControlError.
    """
    command = CHANGES[str(request["command"])]
    filters = read_filters(request)
    if not filters and request.get("all") is not True:
        raise ControlError("name ids or filters, or ask for all")
    changed = 0
    left, after = queue.count, 0
    while left > 0:
        try:
            page = queue.page(filters, min(MAX_PAGE, left), after)
        except ValueError as error:
            raise ControlError(str(error)) from None
        fit = [entry for entry in page.entries if command.applies(entry, time.time())]
        await commit(queue, command, fit)
        changed += len(fit)
        if page.after is None:
            break
        after, left = page.after, left - len(page.entries)
    return {"changed": changed}


async def commit(queue: ChangingQueue, command: Change, entries: Sequence[QueueEntry]) -> None:
    now = time.time()
    try:
        if command.state is None:
            await queue.apply(delete=[entry.id for entry in entries])
            return
        for entry in entries:
            entry.state, entry.due = command.state(entry), now
        await queue.apply(update=entries)
    except QueueUnavailable as error:
        raise ControlError(f"{error}: not everything was changed") from None
    except QueueFull:
        raise ControlError("the disk is full: not everything was changed") from None
    except QueueClosed:
        raise ControlError("the server is stopping") from None


# the server


class Desk:
    """Answers requests for one worker: its queue, its metrics, and the policies that all have."""

    def __init__(self, queue: ChangingQueue, log: Log, policies: QueuePolicies, metrics: Metrics) -> None:
        self.queue = queue
        self.log = log
        self.policies = policies
        self.metrics = metrics

    async def answer(self, request: Request) -> Answer:
        """Raises ControlError."""
        command = request.get("command")
        if command == "policies":
            now = self.policies.clock.monotonic()
            return {"rules": [describe_rule(rule, now) for rule in self.policies.active()]}
        if command == "lift":
            return self.lift(want_text(request, "id", ""))
        if command == "metrics":
            return {"text": await self.render()}
        if command == "metric":
            return await measure(self.queue, request)
        if command not in tuple(CHANGES):  # a tuple: what came may not be hashable
            return look(self.queue, request)
        answer = await change(self.queue, request)
        self.log.info("control", command=command, filters=json.dumps(request.get("filters")), **answer)
        return answer

    def lift(self, rule_id: str) -> Answer:
        """The end of a suspension or a policy."""
        if not self.policies.remove(rule_id):
            raise ControlError(f"there is no suspension or policy {rule_id}")
        self.log.info("control", command="lift", id=rule_id)
        return {"lifted": rule_id}

    async def render(self) -> str:
        """The metrics, in Prometheus' text form."""
        return self.metrics.render()


class ControlServer:
    """Answers requests at `path` until closed; `respond` knows the answers, and raises ControlError."""

    def __init__(self, path: Path, respond: Callable[[Request], Awaitable[Answer]], log: Log) -> None:
        self.path = path
        self.respond = respond
        self.log = log
        self.clients: set[asyncio.Task[None]] = set()
        self.server: asyncio.Server | None = None

    async def start(self) -> None:
        """Bind, replacing the socket of a gateway that is gone. Raises OSError when another one answers there."""
        self.server = await asyncio.start_unix_server(self.serve, sock=bind_private(self.path), limit=MAX_REQUEST)

    async def close(self) -> None:
        if self.server is None:
            return
        self.server.close()
        for task in list(self.clients):
            task.cancel()
        await asyncio.gather(*self.clients, return_exceptions=True)
        with suppress(OSError):
            self.path.unlink()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.clients.add(task)
        try:
            if len(self.clients) > MAX_CLIENTS:
                await send(writer, {"error": "too many control connections"})
                return
            while line := await asyncio.wait_for(reader.readline(), IDLE):
                await send(writer, await self.answer(line))
        except ValueError:
            await send(writer, {"error": f"a request is at most {MAX_REQUEST} bytes"})
        except (TimeoutError, ConnectionError):
            pass
        finally:
            self.clients.discard(task)
            writer.close()

    async def answer(self, line: bytes) -> Answer:
        """The answer to one line. What goes wrong inside is logged; the client is told that it went wrong."""
        try:
            return await self.respond(read_request(line))
        except ControlError as error:
            return {"error": str(error)}
        except Exception as error:
            self.log.error("control-failed", error=repr(error))
            return {"error": "internal error, see the gateway's log"}


def describe_rule(rule: Rule, now: float) -> Answer:
    """A suspension or a policy as JSON; `ttl` is what is left of it in seconds."""
    limits = rule.limits
    return {
        "id": rule.id,
        "kind": "suspension" if limits is None else "policy",
        "fields": list(rule.fields),
        "match": {name: text_of(value.encode("utf-8", "surrogateescape")) for name, value in rule.match.given.items()},
        "concurrency": limits.concurrency if limits else None,
        "rate": list(limits.rate) if limits and limits.rate else None,
        "connectinterval": limits.interval if limits else None,
        "stop": limits.stop if limits else False,
        "tag": text_of(rule.tag.encode("utf-8", "surrogateescape")),
        "ttl": max(0.0, rule.expires - now),
    }


def read_request(line: bytes) -> Request:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise ControlError("a request must be one line of JSON") from None
    if not isinstance(request, dict):
        raise ControlError("a request must be an object")
    return request


async def send(writer: asyncio.StreamWriter, answer: Answer) -> None:
    with suppress(ConnectionError):
        writer.write(json.dumps(answer).encode() + b"\n")
        await asyncio.wait_for(writer.drain(), IDLE)


def bind_private(path: Path) -> socket.socket:
    """A listening unix socket that only its owner may open. Raises OSError."""
    remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        sock.bind(str(path))
        sock.listen(MAX_CLIENTS)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(mask)
    return sock


def remove_stale(path: Path) -> None:
    """Remove a socket that nobody answers. Raises OSError when somebody does, or when it is no socket."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise FileExistsError(f"{path} exists and is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5)
        with suppress(ConnectionRefusedError):
            probe.connect(str(path))
            raise FileExistsError(f"another gateway answers at {path}")
    path.unlink()


# the client


class ControlClient:
    """Asks a running gateway. Synchronous: it belongs to the command line."""

    def __init__(self, path: Path, timeout: float = 120.0) -> None:
        """Connect. Raises OSError when no gateway answers at `path`."""
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(str(path))
        except BaseException:
            self.socket.close()
            raise
        self.file = self.socket.makefile("rb")

    def ask(self, request: Request) -> Answer:
        """One request, one answer. Raises ControlError for an answer that is an error, or none."""
        try:
            self.socket.sendall(json.dumps(request).encode() + b"\n")
            line = self.file.readline(MAX_ANSWER)
            answer = json.loads(line)
        except TimeoutError:
            raise ControlError("the gateway does not answer in time") from None
        except (OSError, ValueError):
            raise ControlError("the gateway closed the connection without an answer") from None
        if "error" in answer:
            raise ControlError(str(answer["error"]))
        return dict(answer)

    def close(self) -> None:
        self.file.close()
        self.socket.close()
