"""A gateway of several workers, for tests: its configuration, whose a message is, mail for each of them."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from gateway import DEADLINE, Gateway, write_gateway
from servers import RedisServer

from hsl.runtime.spool import SHARD_IDS

PUT_OFF = {"predelivery": "Reschedule(600);"}


def write_workers(folder: Path, redis: RedisServer, scripts: dict[str, str], workers: int = 2, **sections: Any) -> Path:
    state = {"backend": "redis", "url": redis.url, "prefix": f"{folder.name}:"}
    environment = {"workers": workers, "controlsocket": "c.sock", "hostname": "gateway.example.net"}
    return write_gateway(folder, scripts, environment=environment, state=state, **sections)


def worker_of(text: str) -> int:
    """Whose queue a message is in, by the id of its 250."""
    found = re.search(r"queued as (\d+)", text)
    assert found is not None, text
    return int(found[1]) // SHARD_IDS


def send_to_each(gateway: Gateway, count: int = 1, sender: str = "joe@one.example") -> list[int]:
    """Send until each of two workers has got `count` messages; whose each one is."""
    owners: list[int] = []
    deadline = time.monotonic() + DEADLINE
    while min(owners.count(0), owners.count(1)) < count:
        assert time.monotonic() < deadline, f"the workers got {owners}"
        code, text = gateway.send(sender, "bob@example.org")
        assert code == 250, text
        owners.append(worker_of(text))
    return owners
