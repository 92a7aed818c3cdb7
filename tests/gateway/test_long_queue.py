"""`hsl queue` on a queue so long that one answer does not look at all of it: what matches is found all the same."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

from gateway import Gateway, hsl, write_gateway
from manyentries import SmallBody

from hsl.runtime.log import Log
from hsl.runtime.model import DEFER, HOLD, Address, Mail, QueueEntry
from hsl.runtime.queue import SQLiteQueue
from hsl.runtime.queueindex import VISITS

MANY = VISITS + 1000


def entry(sender: bytes, state: str) -> QueueEntry:
    return QueueEntry(
        "t", Address.of(sender), Address.of(b"r@e.example"), "next", state=state, due=time.time() + 86_400
    )


async def store(path: Path) -> None:
    """Only the last one has both: with either filter more than VISITS come before it."""
    queue = await SQLiteQueue.open(path, log=Log("error"))
    entries = [entry(b"x@a.example", DEFER)] * MANY + [entry(b"x@b.example", HOLD)] * MANY
    mail = Mail(SmallBody(b"Subject: x\r\n\r\nx\r\n"), (*entries, entry(b"last@a.example", HOLD)))
    await queue.apply(store=[mail])
    await queue.close()


def test_what_lies_behind_many_others_is_found(tmp_path: Path) -> None:
    asyncio.run(store(tmp_path / "queue"))
    with Gateway(write_gateway(tmp_path, {})) as gateway:
        first = gateway.ask("list", filters={"senderdomain": ["a.example"], "state": ["hold"]})
        assert (first["entries"], first["more"]) == ([], True)
        [found] = gateway.entries(senderdomain="a.example", state="hold")
        assert found["sender"] == "last@a.example"
        filters = ("--senderdomain", "a.example", "--state", "hold")
        done = hsl("queue", "retry", "-c", gateway.config, *filters, "--json")
        assert json.loads(done.stdout) == {"changed": 0}, "what is held is not retried"
        done = hsl("queue", "delete", "-c", gateway.config, *filters, "--json")
        assert json.loads(done.stdout) == {"changed": 1}
        assert gateway.queued() == 2 * MANY
    assert Gateway(gateway.config).entries(senderdomain="a.example", state="hold") == []
