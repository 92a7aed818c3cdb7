"""A million queued entries: start, memory, questions and changes, and mail that flows past them.

How often entries are looked at is tested exactly elsewhere (tests/runtime/test_queue_metric.py). Here times are
compared, with ten times what is aimed at as the limit; bench/scale prints them.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from gateway import Gateway, hsl, write_gateway
from manyentries import fill
from servers import smtp_sink

MILLION, THOUSAND = 1_000_000, 1_000
START = 300.0  # seconds; the aim is 30
SLOWER = 20.0  # than with a thousand entries; the aim is 2
SUPPORT = Path(__file__).resolve().parents[1] / "support"
BENCH = Path(__file__).resolve().parents[2] / "bench"


def probe(queue: Path) -> dict[str, float]:
    """What the queue costs, measured in a process of its own (bench/scale/probe.py)."""
    path = os.pathsep.join(map(str, (SUPPORT, BENCH)))
    command = [sys.executable, str(BENCH / "scale" / "probe.py"), str(queue)]
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=2 * START, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return dict(json.loads(done.stdout))


@pytest.mark.full
def test_a_million_queued_entries(tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path / "small", THOUSAND))
    asyncio.run(fill(tmp_path / "g" / "queue", MILLION, hold_active=True))
    few, many = probe(tmp_path / "small"), probe(tmp_path / "g" / "queue")
    assert many["open"] < START
    assert many["memory"] <= 1024, "bytes of memory for each entry"
    for name in ("one", "claim", "update", "remove", "add", "page", "show"):
        assert many[name] < SLOWER * few[name], name

    with smtp_sink(tmp_path) as sink:
        session = {"host": sink.host, "port": sink.port, "tls": "disabled"}
        gateway = Gateway(write_gateway(tmp_path / "g", {}, session=session))
        gateway.patience = START
        with gateway:
            assert gateway.queued() == MILLION
            held = json.loads(hsl("queue", "list", "-c", gateway.config, "--state", "hold", "--json").stdout)
            assert (len(held), {entry["state"] for entry in held}) == (100, {"hold"})
            shown = json.loads(hsl("queue", "show", "-c", gateway.config, "--json", str(MILLION)).stdout)
            assert shown["entry"]["recipient"].startswith(f"recipient.{MILLION - 1}@")
            assert gateway.send("a@b.example", "c@d.example")[0] == 250
            sink.wait(1)
        done = hsl("queue", "list", "-c", gateway.config, "--limit", "3", "--json")
        assert [entry["id"] for entry in json.loads(done.stdout)] == [1, 2, 3], "of a queue whose gateway is down, too"
