"""The scheduler on the real queue: what is on disk after deliveries, failures and a stop in the middle."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hsl.runtime.log import Log
from hsl.runtime.message import BytesBody
from hsl.runtime.model import NULL_SENDER, Address, Attempt, Body, DeliveryPlan, Mail, QueueEntry, Result
from hsl.runtime.queue import SQLiteQueue
from hsl.runtime.verdict import Verdict
from hsl.smtpd.config import Config
from hsl.smtpd.scheduler import Scheduler
from hsl.smtpd.transports import TransportTable

pytestmark = pytest.mark.asyncio

CONFIG = Config.model_validate(
    {
        "servers": [{"id": "s", "transport": "t", "listeners": [{}]}],
        "transportgroups": [{"id": "g", "transports": [{"id": "t"}]}],
    }
)


class NoHooks:
    def has(self, stage: str) -> bool:
        return False

    async def run(self, context: Any) -> Verdict:
        raise AssertionError("there is no hook")

    def forget_message(self, message_id: str) -> None:
        """Nothing is kept."""


class NoSlots:
    async def take(self, namespace: bytes, entry: bytes, maximum: int, holder: str) -> bool:
        return True

    async def release(self, holder: str) -> None:
        raise AssertionError("nothing was taken")


class Driver:
    """Answers 250, 550 or 450 by the recipient's domain; `hang.example` never answers."""

    def __init__(self) -> None:
        self.delivered: list[bytes] = []

    async def attempt(self, plan: DeliveryPlan, entry: QueueEntry, body: Body) -> Attempt:
        await asyncio.sleep(0)
        if plan.recipient.host == b"hang.example":
            await asyncio.Event().wait()
        code = {b"refused.example": 550, b"busy.example": 450}.get(plan.recipient.host, 250)
        if code == 250:
            assert b"".join(body.chunks()).endswith(b"\r\n")
            self.delivered.append(plan.recipient.path)
        return Attempt(result=Result(code, None, ["text"], "EOD"))


@asynccontextmanager
async def delivering(path: Path, driver: Driver) -> AsyncIterator[SQLiteQueue]:
    log = Log("error", lambda line: pytest.fail(line))
    queue = await SQLiteQueue.open(path, log=log, free_floor=0)
    scheduler = Scheduler(
        queue=queue,
        runner=NoHooks(),
        deliverer=driver,
        transports=TransportTable(CONFIG),
        slots=NoSlots(),
        log=log,
        clock=time,
        hostname="gw.example",
        concurrency=40,
    )
    scheduler.start()
    try:
        yield queue
    finally:
        await scheduler.stop(0)
        await queue.close()


def mail(*recipients: bytes) -> Mail:
    body = BytesBody(b"Subject: x\r\n\r\n" + b"line\r\n" * 10)
    sender = Address.of(b"s@sender.example")
    return Mail(body, tuple(QueueEntry("tid", sender, Address.of(recipient), "t") for recipient in recipients))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


async def test_many_messages_arrive_once_each(tmp_path: Path) -> None:
    driver = Driver()
    wanted = [b"r%d@%d.example" % (number, number % 9) for number in range(600)]
    async with delivering(tmp_path, driver) as queue:
        await asyncio.gather(*(queue.apply(store=[mail(*wanted[start : start + 3])]) for start in range(0, 600, 3)))
        await until(lambda: queue.count == 0)
    assert sorted(driver.delivered) == sorted(wanted)


async def test_a_refused_message_comes_back_as_a_report(tmp_path: Path) -> None:
    driver = Driver()
    async with delivering(tmp_path, driver) as queue:
        await queue.apply(store=[mail(b"a@refused.example", b"b@good.example")])
        await until(lambda: queue.count == 0)
    assert sorted(driver.delivered) == [b"b@good.example", b"s@sender.example"]


async def test_what_waits_or_hangs_is_there_after_a_restart(tmp_path: Path) -> None:
    driver = Driver()
    before = time.time()
    async with delivering(tmp_path, driver) as queue:
        ids = await queue.apply(store=[mail(b"a@busy.example", *(b"%d@hang.example" % number for number in range(50)))])
        await queue.apply(store=[mail(b"b@good.example")])
        await until(lambda: driver.delivered and queue.get(ids[0]).retry == 1)  # type: ignore[union-attr]
    readonly = SQLiteQueue.open_readonly(tmp_path)
    entries = {entry.id: entry for entry in readonly.entries()}
    readonly.close()
    assert sorted(entries) == ids
    assert entries[ids[0]].due >= before + 60
    assert entries[ids[0]].error == "450 text (EOD)"
    assert all(entry.retry == 0 and entry.sender != NULL_SENDER for entry in entries.values() if entry.id != ids[0])
    driver.delivered.clear()
    async with delivering(tmp_path, driver) as queue:
        await until(lambda: sum(queue.is_claimed(number) for number in ids) == 50)
    assert driver.delivered == []
