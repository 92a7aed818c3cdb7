"""The control socket over a real queue: what it answers, what it refuses, what a change leaves on disk."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import sqlite3
import stat
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from hsl.runtime.clock import SystemClock
from hsl.runtime.dsnrequest import DSNRequest
from hsl.runtime.intake import Intake
from hsl.runtime.log import Log
from hsl.runtime.metrics import Metrics
from hsl.runtime.model import ACTIVE, DEFER, HOLD, Address, Mail, QueueEntry
from hsl.runtime.policies import QueuePolicies
from hsl.runtime.queue import SQLiteQueue
from hsl.runtime.queueindex import PAGE_EXTENT
from hsl.smtpd import control
from hsl.smtpd.control import Answer, ControlClient, ControlError, ControlServer, Desk, Request, look

pytestmark = pytest.mark.asyncio

MESSAGE = b"Subject: a\r\nTo: b\r\n\r\nbody\r\n"


@dataclass
class Bench:
    queue: SQLiteQueue
    server: ControlServer
    lines: list[str]

    async def ask(self, **request: object) -> Answer:
        def blocking() -> Answer:
            client = ControlClient(self.server.path, timeout=10)
            try:
                return client.ask(request)
            finally:
                client.close()

        return await asyncio.to_thread(blocking)

    async def store(self, folder: Path, count: int = 1, message: bytes = MESSAGE, **fields: object) -> list[int]:
        intake = Intake(folder)
        intake.write(message)
        try:
            entries = [make_entry(number, **fields) for number in range(count)]
            return await self.queue.apply(store=[Mail(intake, tuple(entries))])
        finally:
            intake.close()

    def states(self) -> list[str]:
        return [entry.state for entry in self.queue.entries()]


def desk(queue: SQLiteQueue, log: Log) -> Desk:
    return Desk(queue, log, QueuePolicies(SystemClock()), Metrics(log))


def make_entry(number: int, **fields: object) -> QueueEntry:
    entry = QueueEntry("t-1", Address(b"A", b"One.example"), Address(b"b%d" % number, b"two.example"), "fast")
    for name, value in fields.items():
        setattr(entry, name, value)
    return entry


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    lines: list[str] = []
    log = Log("info", lines.append)
    queue = await SQLiteQueue.open(tmp_path / "q", log=log, free_floor=0)
    server = ControlServer(tmp_path / "c.sock", desk(queue, log).answer, log)
    await server.start()
    yield Bench(queue, server, lines)
    await server.close()
    await queue.close()


async def test_the_socket_is_private_and_goes_with_the_server(bench: Bench, tmp_path: Path) -> None:
    path = bench.server.path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(OSError, match="another gateway answers"):
        await ControlServer(path, bench.server.respond, Log("error")).start()
    await bench.server.close()
    assert not path.exists()


async def test_a_stale_socket_is_replaced_and_a_file_is_not(bench: Bench, tmp_path: Path) -> None:
    stale = tmp_path / "old.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(stale))
    server = ControlServer(stale, bench.server.respond, Log("error"))
    await server.start()
    await server.close()
    stale.write_text("mine")
    with pytest.raises(OSError, match="is not a socket"):
        await ControlServer(stale, bench.server.respond, Log("error")).start()


async def test_list_pages_and_filters(bench: Bench, tmp_path: Path) -> None:
    await bench.store(tmp_path, 3)
    [other] = await bench.store(tmp_path, saslusername=b"joe\xff", state=DEFER, due=9.0)
    first = await bench.ask(command="list", limit=3)
    assert [entry["id"] for entry in first["entries"]] == [1, 2, 3]
    assert first["more"]
    second = await bench.ask(command="list", limit=3, after=3)
    assert [(entry["id"], entry["saslusername"]) for entry in second["entries"]] == [(other, "joe\\xff")]
    assert not second["more"]
    one = await bench.ask(command="list", filters={"senderdomain": ["one.EXAMPLE"], "state": [DEFER, HOLD]})
    assert [entry["id"] for entry in one["entries"]] == [other]


async def test_a_page_of_long_entries_is_a_short_one(bench: Bench, tmp_path: Path) -> None:
    """A thousand entries with all the metadata that they may have would be an answer of 300 MB."""
    await bench.store(tmp_path, 30, metadata={b"k": b"\xff" * 65_000})
    listed: list[int] = []
    after, more = 0, True
    while more:
        answer = await bench.ask(command="list", after=after)
        after, more = answer["after"], answer["more"]
        listed += [entry["id"] for entry in answer["entries"]]
        assert len(json.dumps(answer)) < 2 * PAGE_EXTENT
    assert listed == list(range(1, 31))
    assert (await bench.ask(command="hold", all=True)) == {"changed": 30}
    await bench.queue.close()
    stored = SQLiteQueue.open_readonly(tmp_path / "q")
    try:
        pages = [stored.page({}, 1000)]
        while (after := pages[-1].after) is not None:
            pages.append(stored.page({}, 1000, after))
        assert [entry.id for page in pages for entry in page.entries] == listed
        assert max(len(page.entries) for page in pages) == 3
    finally:
        stored.close()


async def test_show(bench: Bench, tmp_path: Path) -> None:
    [entry_id] = await bench.store(tmp_path, metadata={b"spam": b"yes"}, error="450 4.2.0 later")
    [asked] = await bench.store(tmp_path, dsn=DSNRequest("FULL", "e", ("NEVER",)))
    plain = await bench.ask(command="show", id=entry_id)
    assert (plain["entry"]["sender"], plain["entry"]["recipient"]) == ("A@One.example", "b0@two.example")
    assert (plain["entry"]["metadata"], plain["entry"]["error"]) == ({"spam": "yes"}, "450 4.2.0 later")
    assert "message" not in plain
    assert plain["entry"]["dsn"] == {}
    shown = await bench.ask(command="show", id=asked)
    assert shown["entry"]["dsn"] == {"RET": "FULL", "ENVID": "e", "NOTIFY": "NEVER"}
    head = await bench.ask(command="show", id=entry_id, headers=True)
    assert base64.b64decode(head["message"]) == MESSAGE.partition(b"body")[0]
    assert not head["truncated"]
    whole = await bench.ask(command="show", id=entry_id, body=True)
    assert base64.b64decode(whole["message"]) == MESSAGE


@pytest.mark.parametrize(("extra", "truncated"), [(0, False), (1, True)])
async def test_a_shown_message_has_a_limit(bench: Bench, tmp_path: Path, extra: int, truncated: bool) -> None:
    [entry_id] = await bench.store(tmp_path, message=b"x" * (control.MAX_BODY + extra))
    answer = await bench.ask(command="show", id=entry_id, body=True)
    assert len(base64.b64decode(answer["message"])) == control.MAX_BODY
    assert answer["truncated"] is truncated


async def test_metric_and_counts(bench: Bench, tmp_path: Path) -> None:
    await bench.store(tmp_path, 2)
    await bench.store(tmp_path, state=HOLD)
    assert await bench.ask(command="metric") == {"value": 3}
    assert await bench.ask(command="metric", metric="bytes", filters={"state": [HOLD]}) == {"value": len(MESSAGE)}
    assert await bench.ask(command="counts") == {ACTIVE: 2, DEFER: 0, HOLD: 1}


async def test_hold_release_retry_delete(bench: Bench, tmp_path: Path) -> None:
    await bench.store(tmp_path, 2, retry=2, state=DEFER, due=time.time() + 3600)
    assert await bench.ask(command="hold", filters={"id": ["1"]}) == {"changed": 1}
    assert bench.states() == [HOLD, DEFER]
    assert await bench.ask(command="retry", all=True) == {"changed": 1}  # not what is held
    due = bench.queue.next_due()
    assert due is not None
    assert due <= time.time()
    assert await bench.ask(command="release", filters={"sender": ["a@one.example"]}) == {"changed": 1}
    assert bench.states() == [DEFER, DEFER]
    assert await bench.ask(command="delete", filters={"recipientdomain": ["two.example"]}) == {"changed": 2}
    assert bench.states() == []
    assert next(line.split(" ")[2:4] for line in bench.lines if " control " in line) == ["control", "command=hold"]


async def test_a_released_entry_that_was_never_tried_is_active(bench: Bench, tmp_path: Path) -> None:
    await bench.store(tmp_path, state=HOLD)
    await bench.ask(command="release", all=True)
    assert bench.states() == [ACTIVE]


async def test_a_claimed_entry_that_is_deleted_stays_gone(bench: Bench, tmp_path: Path) -> None:
    await bench.store(tmp_path)
    [claimed] = await bench.queue.claim(10, time.time())
    assert (await bench.ask(command="list"))["entries"][0]["claimed"]
    assert await bench.ask(command="delete", all=True) == {"changed": 1}
    claimed.state = DEFER
    await bench.queue.apply(update=[claimed])
    assert bench.queue.count == 0


async def test_bulk_changes_go_in_batches(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MAX_PAGE", 7)
    await bench.store(tmp_path, 20)
    before = bench.queue.transactions
    assert await bench.ask(command="hold", all=True) == {"changed": 20}
    assert bench.queue.transactions - before == 3
    assert bench.states() == [HOLD] * 20


async def test_a_change_while_the_database_is_locked(bench: Bench, tmp_path: Path) -> None:
    await bench.store(tmp_path, 2)
    [database] = tmp_path.rglob("queue.db")
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(ControlError, match="database is locked: not everything was changed"):
            await bench.ask(command="hold", all=True)
    finally:
        other.close()
    assert HOLD not in bench.states()


REFUSED: list[tuple[Request, str]] = [
    ({"command": "fly"}, "unknown command 'fly'"),
    ({}, "unknown command None"),
    ({"command": ["list"]}, "unknown command"),
    ({"command": "list", "filters": {"colour": ["x"]}}, "unknown filter 'colour'"),
    ({"command": "list", "filters": {"sender": "x"}}, "wanted a list of strings"),
    ({"command": "list", "filters": []}, "filters: wanted an object"),
    ({"command": "list", "limit": -1}, "limit: wanted a whole number"),
    ({"command": "list", "after": True}, "after: wanted a whole number"),
    ({"command": "show", "id": 99}, "there is no entry 99"),
    ({"command": "metric", "metric": "weight"}, "unknown queue metric 'weight'"),
    ({"command": "metric", "metric": 1}, "metric: wanted a string"),
    ({"command": "delete"}, "name ids or filters, or ask for all"),
    ({"command": "delete", "all": 1}, "name ids or filters, or ask for all"),
]


@pytest.mark.parametrize(("request_", "wanted"), REFUSED, ids=[json.dumps(row[0]) for row in REFUSED])
async def test_refused_requests(bench: Bench, request_: dict[str, object], wanted: str) -> None:
    with pytest.raises(ControlError) as caught:
        await bench.ask(**request_)
    assert wanted in str(caught.value)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (b"hello\n", "a request must be one line of JSON"),
        (b"[1]\n", "a request must be an object"),
        (b"[" * 100_000 + b"\n", "a request must be one line of JSON"),
        (b"x" * (control.MAX_REQUEST + 10) + b"\n", "a request is at most 262144 bytes"),
    ],
)
async def test_lines_that_are_no_requests(bench: Bench, line: bytes, wanted: str) -> None:
    reader, writer = await asyncio.open_unix_connection(str(bench.server.path))
    writer.write(line)
    answer = json.loads(await asyncio.wait_for(reader.readline(), 10))
    assert wanted in answer["error"]
    writer.close()


async def test_too_many_clients(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MAX_CLIENTS", 1)
    _, first = await asyncio.open_unix_connection(str(bench.server.path))
    with pytest.raises(ControlError, match="too many control connections"):
        await bench.ask(command="counts")
    first.close()


async def test_a_failure_inside_is_logged_and_not_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.queue, "page", lambda *args: 1 / 0)
    with pytest.raises(ControlError, match="internal error, see the gateway's log"):
        await bench.ask(command="list")
    assert any("control-failed" in line and "ZeroDivisionError" in line for line in bench.lines)


async def test_a_stopped_queue_can_be_looked_at(bench: Bench, tmp_path: Path) -> None:
    await bench.store(tmp_path, 2)
    await bench.queue.close()
    queue = SQLiteQueue.open_readonly(tmp_path / "q")
    try:
        assert len(look(queue, {"command": "list"})["entries"]) == 2
        with pytest.raises(ControlError, match="unknown command"):
            look(queue, {"command": "delete", "all": True})
    finally:
        queue.close()
