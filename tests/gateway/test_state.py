"""Rates in a real redis-server: shared by two gateways; one that hangs or dies is a temporary error, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway import Gateway, hsl, submit, wait_until, write_gateway
from servers import RedisServer

RCPTTO = """\
if ($senderdomain != "free.example" and rate("outbound", $senderdomain, 3, 3600) == false)
	Defer("three an hour");
"""
GENERIC = "4.3.0 Temporary server error, please try again later"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


def gateway(folder: Path, redis: RedisServer) -> Gateway:
    scripts = {"rcptto": RCPTTO, "predelivery": "Reschedule(600);"}
    return Gateway(write_gateway(folder, scripts, state={"backend": "redis", "url": redis.url}))


def rcpt(gateway: Gateway, sender: str) -> tuple[int, str]:
    with gateway.client() as client:
        client.mail(sender)
        code, text = client.rcpt("bob@example.org")
    return code, text.decode()


def test_two_gateways_share_a_rate(tmp_path: Path, redis: RedisServer) -> None:
    with gateway(tmp_path / "a", redis) as first, gateway(tmp_path / "b", redis) as second:
        answers = [rcpt(each, "joe@one.example") for each in (first, second, first, second, first)]
        assert [code for code, _ in answers] == [250, 250, 250, 450, 450]
        assert answers[-1][1] == "4.7.1 three an hour"
        assert rcpt(second, "joe@two.example")[0] == 250


@pytest.mark.parametrize("outage", ["suspended", "killed"])
def test_an_outage(tmp_path: Path, redis: RedisServer, outage: str) -> None:
    """Recipients are deferred, mail that needs no rate passes, the log has one line, and it ends by itself."""
    with gateway(tmp_path / "a", redis) as running:
        assert rcpt(running, "joe@one.example")[0] == 250
        waiting = running.client()
        waiting.mail("ann@one.example")
        redis.suspend() if outage == "suspended" else redis.kill()

        waiting.putcmd("RCPT", "TO:<bob@example.org>")  # its answer takes the time limit of the state backend
        for number in range(3):
            assert running.send(f"user{number}@free.example", "bob@example.org")[0] == 250
        assert waiting.getreply() == (450, GENERIC.encode())
        for _ in range(5):
            assert rcpt(running, "joe@one.example") == (450, GENERIC)
        assert submit(waiting, "ann@free.example", "bob@example.org")[0] == 503, "the transaction is still open"
        waiting.rset()
        assert submit(waiting, "ann@free.example", "bob@example.org")[0] == 250
        waiting.quit()
        assert running.count(r" redis-down ") == 1

        redis.resume() if outage == "suspended" else redis.start()
        wait_until(lambda: rcpt(running, "joe@two.example")[0] == 250, lambda: "a recovery")
        running.wait_for(r" redis-up .*failed_calls=\d+")
        assert (running.count(r" redis-down "), running.count(r" redis-up ")) == (1, 1)
        assert running.count(" script-error ") == 0, "an outage is logged once, not for each script that it stops"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_redis_that_forgets_is_refused(tmp_path: Path, workers: int) -> None:
    """It would let mail through that a rate should hold back."""
    with RedisServer(tmp_path, "--maxmemory-policy", "allkeys-lru") as redis:
        path = write_gateway(
            tmp_path, {}, state={"backend": "redis", "url": redis.url}, environment={"workers": workers}
        )
        done = hsl("serve", "-c", path)
    assert done.returncode == 1
    assert "has maxmemory-policy allkeys-lru" in done.stderr
    assert " ready " not in done.stderr


def test_a_gateway_starts_during_an_outage(tmp_path: Path, redis: RedisServer) -> None:
    redis.kill()
    with gateway(tmp_path / "a", redis) as running:
        running.wait_for(r" warning state-unreachable ")
        assert rcpt(running, "joe@one.example") == (450, GENERIC)
        redis.start()
        wait_until(lambda: rcpt(running, "joe@one.example")[0] == 250, lambda: "a recovery")
