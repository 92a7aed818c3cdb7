"""Queues of any size: entries as a busy gateway's queue has them come out, and folders that hold so many of them."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hsl.runtime.log import Log
from hsl.runtime.model import ACTIVE, DEFER, HOLD, Address, Mail, QueueEntry
from hsl.runtime.queue import SQLiteQueue

BATCH = 2000  # mails of one commit
DAY = 86_400.0
CUSTOMERS, SENDERS, DOMAINS = 500, 10, 20_000  # senders of each customer


@dataclass(frozen=True)
class SmallBody:
    """A message that is short: what it costs to hold entries does not depend on their bodies."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def chunks(self) -> Iterator[bytes]:
        yield self.data


def busy_entry(rng: random.Random, number: int, transportid: str = "outbound") -> QueueEntry:
    """One of many: most wait for a later attempt, which lies an hour to a day ahead; each has its own recipient."""
    customer = rng.randrange(CUSTOMERS)
    client = customer // 2
    state = rng.choices((DEFER, HOLD, ACTIVE), (90, 5, 5))[0]
    domain = f"domain{rng.randrange(DOMAINS)}.example"
    recipient = f"recipient.{number}@{domain}"
    tried = state == DEFER
    return QueueEntry(
        transaction=str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        sender=Address.of(f"newsletter.{rng.randrange(SENDERS)}@customer{customer}.example".encode()),
        recipient=Address.of(recipient.encode()),
        transportid=transportid,
        serverid="submission",
        senderip=f"192.0.2.{client}",
        senderhelo=f"mail{client}.customer.example".encode(),
        saslusername=f"customer{customer}".encode(),
        metadata={b"customer": b"%d" % customer, b"campaign": b"2024-11 newsletter", b"spam": b"no"},
        jobid=b"campaign-%d" % customer,
        quotas=(b"customer-%d" % customer,),
        state=state,
        due=time.time() + DAY / 24 + rng.random() * DAY if tried else 0.0,
        retry=rng.randrange(1, 10) if tried else 0,
        error=f"451 4.7.1 <{recipient}>: temporarily deferred, try again later (RCPT)" if tried else "",
    )


async def fill(
    path: Path, count: int, *, seed: int = 1, transportid: str = "outbound", hold_active: bool = False
) -> None:
    """Bring the queue of a folder to so many more entries, each a message of its own.

    `hold_active`: what would be due at once is held, so that nothing is tried when a gateway starts on it.
    """
    rng = random.Random(seed)
    queue = await SQLiteQueue.open(path, log=Log("error"))
    try:
        for start in range(0, count, BATCH):
            mails = []
            for number in range(start, min(start + BATCH, count)):
                entry = busy_entry(rng, number, transportid)
                if hold_active and entry.state == ACTIVE:
                    entry.state = HOLD
                mails.append(Mail(SmallBody(b"Subject: %d\r\n\r\nx\r\n" % number), (entry,)))
            await queue.apply(store=mails)
    finally:
        await queue.close()
