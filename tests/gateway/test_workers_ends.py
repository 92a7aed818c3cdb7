"""What becomes of a worker that dies, and of its mail; and of the shards of workers that there no longer are."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from gateway import DEADLINE, Gateway, hsl, submit, write_gateway
from servers import RedisServer, free_port, smtp_sink
from workers import PUT_OFF, send_to_each, worker_of, write_workers


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


def test_a_worker_that_is_killed_is_started_again_and_its_mail_delivered(tmp_path: Path, redis: RedisServer) -> None:
    """Clients that come meanwhile wait in the socket, which the supervisor keeps: none is refused or reset."""
    with smtp_sink(tmp_path) as sink:
        session = {"host": sink.host, "port": sink.port, "tls": "disabled"}
        scripts = {"predelivery": "if ($retry == 0) Reschedule(2); Try();"}
        with Gateway(write_workers(tmp_path, redis, scripts, session=session)) as gateway:
            owners = send_to_each(gateway, 2)
            pid = gateway.workers()[1]
            answers: list[int] = []

            def knock() -> None:
                for _ in range(20):
                    with gateway.client(greet=False) as client:
                        answers.append(client.ehlo()[0])

            os.kill(pid, signal.SIGKILL)
            thread = threading.Thread(target=knock)
            thread.start()
            thread.join(DEADLINE)
            assert answers == [250] * 20
            gateway.wait_for(rf" error worker-died worker=1 pid={pid} how=SIGKILL ")
            gateway.wait_for(r" worker-started worker=1 ", 2)
            assert gateway.workers()[1] != pid
            assert "\nhsl_worker_deaths 1\n" in hsl("metrics", "--socket", gateway.control).stdout
            assert len(sink.wait(len(owners))) == len(owners)
            gateway.wait_drained()


def test_a_worker_that_does_not_get_ready_ends_the_start(tmp_path: Path, redis: RedisServer) -> None:
    path = write_workers(tmp_path, redis, PUT_OFF)
    broken = tmp_path / "queue" / "shards" / "1"
    broken.mkdir(parents=True)
    (broken / "queue.db").write_bytes(b"no database" * 1000)
    done = hsl("serve", "-c", path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"hsl serve: cannot use {broken}/queue.db: ")
    assert " ready " not in done.stderr
    assert not (tmp_path / "c.sock").exists()


def test_fewer_workers_adopt_the_shards_and_more_take_them_back(tmp_path: Path, redis: RedisServer) -> None:
    path = write_workers(tmp_path, redis, PUT_OFF)
    with Gateway(path) as gateway:
        owners = send_to_each(gateway)
    ids = [entry["id"] for entry in gateway.entries()]
    write_workers(tmp_path, redis, PUT_OFF, workers=1)
    with Gateway(path) as gateway:
        gateway.wait_for(rf" queue-adopted shard=1 entries={owners.count(1)}")
        assert gateway.queued() == len(owners)
        assert worker_of(gateway.send("joe@one.example", "bob@example.org")[1]) == 0
    write_workers(tmp_path, redis, PUT_OFF)
    with Gateway(path) as gateway:
        assert gateway.count(" queue-adopted ") == 0
        assert gateway.queued() == len(owners) + 1
    with smtp_sink(tmp_path) as sink:
        session = {"host": sink.host, "port": sink.port, "tls": "disabled"}
        write_workers(tmp_path, redis, {}, workers=1, session=session)
        with Gateway(path) as gateway:
            gateway.ask("retry", all=True)
            assert len(sink.wait(len(owners) + 1)) == len(ids) + 1
            gateway.wait_drained()


@pytest.mark.parametrize("deaths", [2, pytest.param(5, marks=pytest.mark.full)])
def test_the_last_worker_is_started_again_later_each_time(tmp_path: Path, deaths: int) -> None:
    """At once, then after 1, 2, 4, 8 seconds; it is never given up."""
    with Gateway(write_gateway(tmp_path, PUT_OFF)) as gateway:
        for death in range(1, deaths + 1):
            os.kill(gateway.workers()[0], signal.SIGKILL)
            gateway.wait_for(r" worker-started worker=0 ", death + 1)
        died = re.findall(r"^(\S+) error worker-died worker=0 .* again=(\S+)$", gateway.output(), re.M)
        started = re.findall(r"^(\S+) info worker-started worker=0 ", gateway.output(), re.M)[1:]
        assert [float(again) for _, again in died] == [0, 1, 2, 4, 8][:deaths]
        for (end, again), begin in zip(died, started, strict=True):
            waited = datetime.fromisoformat(begin) - datetime.fromisoformat(end)
            assert waited.total_seconds() > float(again) - 0.01
        assert gateway.send("joe@one.example", "bob@example.org")[0] == 250


@pytest.mark.full
def test_a_worker_that_keeps_dying_is_given_up_and_its_shard_adopted(tmp_path: Path, redis: RedisServer) -> None:
    """Also what it had itself taken over, of workers that there no longer are."""
    with Gateway(write_workers(tmp_path, redis, PUT_OFF, workers=4)) as gateway:
        sent = (gateway.send("joe@one.example", "bob@example.org")[1] for _ in range(1000))
        assert any(worker_of(text) == 3 for text in sent)
    path = write_workers(tmp_path, redis, PUT_OFF)
    with Gateway(path) as gateway:
        gateway.wait_for(r" queue-adopted shard=3 .* worker=1\n")
        send_to_each(gateway)
        for death in range(1, 6):
            os.kill(gateway.workers()[1], signal.SIGKILL)
            if death < 5:
                gateway.wait_for(r" worker-started worker=1 ", death + 1)
        gateway.wait_for(r" critical worker-given-up worker=1 ")
        gateway.wait_for(r" queue-adopted shard=1 ")
        gateway.wait_for(r" queue-adopted shard=3 .* worker=0\n")
        before = gateway.queued()
        codes = [gateway.send("joe@one.example", "bob@example.org") for _ in range(6)]
        assert {worker_of(text) for _, text in codes} == {0}, "its socket is closed: nobody waits there"
        assert gateway.queued() == before + 6


def test_workers_end_with_a_supervisor_that_is_killed(tmp_path: Path, redis: RedisServer) -> None:
    """And the next one can start at once, on the same ports."""
    path = write_workers(tmp_path, redis, PUT_OFF, server={"listeners": [{"port": free_port()}]})
    with Gateway(path) as gateway:
        owners = send_to_each(gateway)
        gateway.kill()
        gateway.start()
        assert gateway.queued() == len(owners)
        with gateway.client() as client:
            assert submit(client, "joe@one.example", "bob@example.org")[0] == 250
