"""kill -9 of workers under load: what had its 250 arrives, whichever worker gave it; the others go on."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import load
import pytest
from gateway import Gateway
from loads import CONNECTIONS, message_ids, seeded, write_outbound
from servers import RedisServer, smtp_sink

KILLS = 4  # of each worker: one more in a row, and it would be given up


@pytest.mark.full
def test_workers_that_are_killed_lose_nothing(tmp_path: Path) -> None:
    rng = seeded()
    what = load.Load(connections=16, messages=600, size=4096)
    outcomes: list[load.Outcome] = []
    with RedisServer(tmp_path) as redis, smtp_sink(tmp_path) as sink:
        environment = {"workers": 2, "controlsocket": "c.sock", "hostname": "gateway.example.net"}
        state = {"backend": "redis", "url": redis.url}
        with Gateway(write_outbound(tmp_path, sink, environment=environment, state=state)) as gateway:
            for number in range(2 * KILLS):
                client = threading.Thread(target=lambda: outcomes.append(load.send("127.0.0.1", gateway.port, what)))
                client.start()
                time.sleep(rng.uniform(0.05, 1.0))
                os.kill(gateway.workers()[number % 2], signal.SIGKILL)
                client.join()
                gateway.wait_for(rf" worker-started worker={number % 2} ", 2 + number // 2)
            gateway.wait_drained(120)
            assert gateway.count(" worker-died ") == 2 * KILLS
            assert gateway.entries() == []
        arrived = message_ids(sink.messages())
    promised = {item.message_id for outcome in outcomes for item in outcome.accepted}
    unanswered = {message_id for outcome in outcomes for message_id in outcome.unanswered}
    assert not promised - arrived.keys(), "a 250 is a promise"
    assert not arrived.keys() - promised - unanswered
    assert all(line.startswith("4") for outcome in outcomes for line in outcome.refused), "no worker, no final word"
    twice = sum(arrived.values()) - len(arrived)
    assert twice <= 2 * KILLS * CONNECTIONS, "only what was in flight at a kill comes again"
    assert len(promised) > what.messages
    print(f"{2 * KILLS} kills: {len(promised)} messages with a 250, all arrived; {twice} came again")
