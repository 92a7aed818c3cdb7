"""For loads: a gateway with the outbound scripts and a sink behind it goes in, what the sink's dumps tell comes out."""

from __future__ import annotations

import os
import random
import re
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gateway import outbound_scripts, write_gateway
from servers import Received, Sink

RAISED = dict.fromkeys(("maxperhour", "maxfailures", "maxqueue", "maxbulk", "maxspam", "failurewindow"), 1_000_000)
CONNECTIONS = 50
TRANSACTION = re.compile(rb"\AReceived: .*\n(?:[ \t].*\n)*?[ \t]*.*\bid ([0-9a-f-]{36})\b")
MESSAGE_ID = re.compile(rb"^Message-ID: (\S+)$", re.M)


def write_outbound(folder: Path, sink: Sink, **sections: Any) -> Path:
    """The outbound scripts with limits that no load here reaches, everything delivered to one sink."""
    scripts = outbound_scripts(**RAISED, maxconnections=CONNECTIONS)
    session = {"host": sink.host, "port": sink.port, "tls": "disabled"}
    limits = {"connections_per_ip": 100}
    return write_gateway(folder, scripts, session=session, server={"limits": limits}, **sections)


def transaction_of(mail: Received) -> str:
    """The gateway's transaction id, from its Received header."""
    found = TRANSACTION.search(mail.raw)
    assert found is not None, mail.raw[:1000]
    return found[1].decode()


def message_ids(messages: Iterable[Received]) -> Counter[str]:
    return Counter(MESSAGE_ID.findall(mail.raw)[0].decode() for mail in messages)


def seeded() -> random.Random:
    """Another course of events each time; one that failed can be had again by its number."""
    seed = int(os.environ.get("CRASH_SEED", time.time_ns() % 10**9))
    print(f"CRASH_SEED={seed}")
    return random.Random(seed)
