"""Load through the outbound scripts: everything arrives once; and after kill -9 in the middle of it, at least once.

`through` and `Crash` take any number of messages; here they are small enough for every run of the tests.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import load
from gateway import Gateway, wait_until
from loads import CONNECTIONS, message_ids, transaction_of, write_outbound
from servers import Received, smtp_sink, smtp_source

TIMEOUT = 120.0


def through(folder: Path, messages: int, sessions: int = 20, size: int = 4096) -> list[Received]:
    """What arrives of a load of smtp-source, each with a recipient of its own, once the queue is empty."""
    with smtp_sink(folder) as sink, Gateway(write_outbound(folder, sink)) as gateway:
        options = ["-N", "-s", str(sessions), "-m", str(messages), "-l", str(size)]
        addresses = ["-f", "alice@one.example", "-t", "bob@example.org"]
        smtp_source("127.0.0.1", gateway.port, *options, *addresses, timeout=TIMEOUT)
        gateway.wait_drained(TIMEOUT)
        return sink.messages()


def test_everything_arrives_once(tmp_path: Path) -> None:
    found = through(tmp_path, 500)
    assert len(found) == 500
    assert len({mail.recipients[0] for mail in found}) == 500
    assert {mail.client for mail in found} == {"127.0.0.11"}


class Crash:
    """A load, kill -9 in the middle of it, and a restart; `arrived` and so on are by transaction id."""

    def __init__(self, folder: Path, messages: int, kill_after: int) -> None:
        with smtp_sink(folder) as sink:
            gateway = Gateway(write_outbound(folder, sink))
            gateway.start()
            self.load = load.Load(messages=messages)
            self.outcome = load.send("127.0.0.1", gateway.port, self.load, kill_at(gateway, kill_after))
            gateway.kill()
            wait_until(sink.is_at_rest, lambda: "a sink that has read what it was sent")
            self.arrived_before = Counter(map(transaction_of, sink.messages()))
            self.queued = {entry["transaction"]: entry["id"] for entry in gateway.entries()}
            with gateway:
                gateway.wait_drained(TIMEOUT)
            self.messages = sink.messages()
            self.arrived = Counter(map(transaction_of, self.messages))

    @property
    def in_flight(self) -> set[str]:
        """Taken by the sink, and still in the queue when the gateway died."""
        return {item for item in self.arrived_before if item in self.queued}

    @property
    def twice(self) -> set[str]:
        return {item for item, count in self.arrived.items() if count > 1}


def kill_at(gateway: Gateway, count: int) -> Callable[[int], None]:
    def on_accepted(accepted: int) -> None:
        if accepted == count:
            gateway.send_signal(signal.SIGKILL)

    return on_accepted


def test_kill_in_the_middle_of_load(tmp_path: Path) -> None:
    crash = Crash(tmp_path, messages=3000, kill_after=300)
    outcome, accepted = crash.outcome, {item.message_id for item in crash.outcome.accepted}
    assert 300 <= len(accepted) < crash.load.messages, "it was killed in the middle"
    assert (outcome.lost, not outcome.refused) == (crash.load.connections, True)
    assert crash.queued, "there was something left to deliver"

    arrived = message_ids(crash.messages)
    assert accepted <= set(arrived), "a 250 is a promise"
    assert set(arrived) - accepted <= set(outcome.unanswered), "nothing else arrives but what lost its reply"
    assert crash.twice == crash.in_flight, "only what was in flight arrives twice"
    assert max(crash.arrived.values()) <= 2
    assert len(crash.in_flight) <= CONNECTIONS
    assert sum(crash.arrived.values()) == len(crash.messages)
