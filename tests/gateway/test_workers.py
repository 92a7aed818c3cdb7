"""Several workers as real processes on one port: what they share, and what they answer together."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway import DEADLINE, Gateway, hsl, wait_until, write_gateway
from servers import RedisServer, smtp_sink
from workers import PUT_OFF, send_to_each, worker_of, write_workers

from hsl.runtime.spool import SHARD_IDS


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


def test_several_workers_need_redis(tmp_path: Path) -> None:
    path = write_gateway(tmp_path, {}, environment={"workers": 2})
    done = hsl("serve", "--check", "-c", path)
    assert done.returncode == 1
    assert "error: 2 workers need rates and slots in Redis" in done.stderr
    assert re.search(r"smtpd\.yaml:\d+:\d+: error: 2 workers", done.stderr)


def test_workers_share_load_rates_metrics_and_the_control_socket(tmp_path: Path, redis: RedisServer) -> None:
    rcptto = """
        if ($senderdomain == "counted.example") {
            if (!rate("a", "b", 4, 3600)) Defer("four an hour");
        }
        if ($senderdomain == "asks.example")
            Reject(GetMailQueueMetric(["filter" => ["senderdomain" => "one.example"]]) . " queued");
    """
    with Gateway(write_workers(tmp_path, redis, {"rcptto": rcptto, **PUT_OFF})) as gateway:
        assert sorted(gateway.workers()) == [0, 1]
        owners = send_to_each(gateway, 2)
        total = len(owners)
        # the control socket answers for all
        assert gateway.queued() == gateway.queued(senderdomain="one.example") == total
        entries = gateway.entries()
        assert len(entries) == total
        assert sorted(worker_of(f"queued as {entry['id']}") for entry in entries) == sorted(owners)
        assert [entry["id"] for entry in entries] == sorted(entry["id"] for entry in entries)
        far = entries[-1]["id"]
        assert far > SHARD_IDS
        assert gateway.ask("show", id=far)["entry"]["id"] == far
        assert gateway.ask("hold", filters={"id": [str(far), str(entries[0]["id"])]}) == {"changed": 2}
        assert gateway.queued(state="hold") == 2
        done = hsl("metrics", "--socket", gateway.control)
        assert f"\nhsl_queue_bytes {sum(entry['size'] for entry in entries)}\n" in done.stdout
        assert "\nhsl_workers 2\n" in done.stdout
        assert "\nhsl_ready 1\n" in done.stdout
        # so does the metric in a script, whichever worker runs it
        answers = {gateway.send("joe@asks.example", "bob@example.org") for _ in range(8)}
        assert answers == {(554, f"5.7.1 {total} queued")}
        # four in all, not four for each
        codes = [gateway.send("joe@counted.example", "bob@example.org")[0] for _ in range(12)]
        assert codes.count(250) == 4
    assert len(gateway.entries()) == total + 4, "the files of all shards are read without a server"


def test_connection_limits_count_all_workers(tmp_path: Path, redis: RedisServer) -> None:
    limits = {"connections": 6, "connections_per_ip": 4}
    path = write_workers(tmp_path, redis, PUT_OFF, server={"limits": limits})
    with Gateway(path) as gateway:

        def admitted(address: str, count: int) -> list[socket.socket]:
            """Those of so many connections that are greeted with 220."""
            found = []
            for _ in range(count):
                client = socket.create_connection(("127.0.0.1", gateway.port), DEADLINE, source_address=(address, 0))
                if client.recv(200).startswith(b"220 "):
                    found.append(client)
                else:
                    client.close()
            return found

        first = admitted("127.0.0.1", 12)
        second = admitted("127.0.0.2", 12)
        assert (len(first), len(second)) == (4, 2)
        for client in (*first, *second):
            client.close()
        wait_until(lambda: "\nhsl_sessions{server=\"in\"} 0\n" in hsl("metrics", "--socket", gateway.control).stdout,
                   lambda: "no session")  # fmt: skip
        third = admitted("127.0.0.3", 12)
        assert len(third) == 4
        for client in third:
            client.close()


def test_failed_logins_count_in_all_workers(tmp_path: Path, redis: RedisServer) -> None:
    """Ten in an hour, or a few more while the others are told; not ten for each worker."""
    server = {"auth": {"without_tls": True}, "limits": {"auth_failures_per_ip": 10}}
    with Gateway(write_workers(tmp_path, redis, {"auth": "Reject();"}, server=server)) as gateway:
        codes: list[int] = []

        def refusing() -> set[str]:
            """The workers that let this client try no more."""
            with gateway.client() as client:
                codes.append(client.docmd("AUTH PLAIN AGpvZQBzZWNyZXQ=")[0])
            return set(re.findall(r" verdict stage=auth action=defer code=421 .* worker=(\d)$", gateway.output(), re.M))

        wait_until(lambda: refusing() == {"0", "1"}, lambda: f"refusals of both workers, not {codes[:20]}")
        assert 10 <= codes.count(535) < 16
        assert set(codes) == {535, 421}


def test_rules_of_one_worker_hold_in_all(tmp_path: Path, redis: RedisServer) -> None:
    rcptto = """
        if ($senderdomain == "suspend.example")
            Reject(queue_suspend(["recipientdomain" => "example.org"], 600, ["tag" => "held"])["id"]);
    """
    with smtp_sink(tmp_path) as sink:
        session = {"host": sink.host, "port": sink.port, "tls": "disabled"}
        with Gateway(write_workers(tmp_path, redis, {"rcptto": rcptto}, session=session)) as gateway:
            _, text = gateway.send("joe@suspend.example", "bob@example.org")
            owners = send_to_each(gateway)
            [rule] = gateway.ask("policies")["rules"]
            assert text == f"5.7.1 {rule['id']}"
            # a worker that comes anew hears of it
            os.kill(gateway.workers()[0], signal.SIGKILL)
            gateway.wait_for(r" worker-started worker=0 ", 2)
            wait_until(lambda: gateway.queued(state="active") == len(owners), lambda: "all mail held back")
            assert sink.messages() == []
            assert gateway.ask("lift", id=rule["id"]) == {"lifted": rule["id"]}
            assert len(sink.wait(len(owners))) == len(owners)
            assert gateway.ask("policies")["rules"] == []


def is_closed(port: int) -> bool:
    """Whether nobody listens any more: each worker closes its own socket."""
    try:
        socket.create_connection(("127.0.0.1", port), DEADLINE).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_stop_ends_all_workers_and_lets_their_messages_end(tmp_path: Path, redis: RedisServer) -> None:
    gateway = Gateway(write_workers(tmp_path, redis, PUT_OFF))
    with gateway:
        pids = gateway.workers().values()
        clients = [gateway.client() for _ in range(6)]
        for client in clients[:3]:
            client.mail("joe@one.example")
            client.rcpt("bob@example.org")
            assert client.docmd("DATA")[0] == 354
        gateway.send_signal(signal.SIGTERM)
        for client in clients[3:]:
            assert client.getreply()[0] == 421
            client.close()
        wait_until(lambda: is_closed(gateway.port), lambda: "closed ports")
        for client in clients[:3]:
            client.send("Subject: a\r\n\r\nb\r\n.\r\n")
            assert client.getreply()[0] == 250
            client.close()
        assert gateway.process is not None
        assert gateway.process.wait(DEADLINE) == 0
        for pid in pids:
            assert not Path(f"/proc/{pid}").exists()
    assert len(gateway.entries()) == 3
