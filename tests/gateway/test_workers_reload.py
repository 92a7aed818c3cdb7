"""A reload of several workers: all take a set or none does, by a signal or because a file has changed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway import Gateway
from servers import RedisServer
from workers import PUT_OFF, write_workers


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


def test_a_reload_is_for_all_workers_or_none(tmp_path: Path, redis: RedisServer) -> None:
    """By a signal, and by itself when a file has changed."""
    script = tmp_path / "rcptto.hsl"

    def answers(gateway: Gateway) -> set[str]:
        return {gateway.send("joe@one.example", "bob@example.org")[1] for _ in range(8)}

    with Gateway(write_workers(tmp_path, redis, {"rcptto": 'Reject("first");', **PUT_OFF})) as gateway:
        assert answers(gateway) == {"5.7.1 first"}
        script.write_text('Reject("second";')
        gateway.wait_for(r" error reload-failed at=rcptto\.hsl:1:16 ")
        assert answers(gateway) == {"5.7.1 first"}
        # the set that runs is that of a worker which comes anew, not the broken one on disk
        os.kill(gateway.workers()[1], signal.SIGKILL)
        gateway.wait_for(r" worker-started worker=1 ", 2)
        assert answers(gateway) == {"5.7.1 first"}
        script.write_text('Reject("second");')
        gateway.wait_for(r" reloaded .*workers=2")
        assert answers(gateway) == {"5.7.1 second"}
        script.write_text('include "text.hsl";')
        gateway.wait_for(r" error reload-failed .*text\.hsl")
        (tmp_path / "text.hsl").write_text('Reject("third");')
        gateway.wait_for(r" reloaded ", 2)
        assert answers(gateway) == {"5.7.1 third"}
        (tmp_path / "text.hsl").write_text('Reject("fourth");')
        gateway.send_signal(signal.SIGHUP)
        gateway.wait_for(r" reloaded ", 3)
        assert answers(gateway) == {"5.7.1 fourth"}
