"""Rates and slots in a real redis-server, with and without an outage."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from servers import RedisServer, free_port, redis_server

from hsl.errors import ScriptError
from hsl.runtime.clock import SettableClock, SystemClock
from hsl.runtime.log import Log
from hsl.runtime.protocols import BackendUnavailable
from hsl.runtime.rates import MICRO, MemoryRates
from hsl.runtime.redis_state import RedisState, StateError, StateUnreachable

pytestmark = pytest.mark.asyncio
TIMEOUT = 0.5  # the default configuration's
DEADLINE = 2.0  # seconds for what should take half a second
HOUR = 3600.0


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """Each test has keys of its own in the one server."""
    return f"{request.node.name}:"


@asynccontextmanager
async def connected(
    url: str,
    prefix: str = "t:",
    lines: list[str] | None = None,
    *,
    timeout: float = 10.0,
    lazy: bool = False,
    lease: float = 900.0,
) -> AsyncIterator[RedisState]:
    """A state with a patient time limit; tests of outages give that of the default configuration."""
    log = Log(write=(lines if lines is not None else []).append)
    state = await RedisState.connect(url, prefix, timeout, log, SystemClock(), lazy=lazy, lease=lease)
    try:
        yield state
    finally:
        await state.close()


async def recovered(state: RedisState) -> None:
    """Call until the breaker has let one through."""
    async with asyncio.timeout(10):
        while True:
            try:
                await state.rates.rate(b"ns", b"recovery", 0, 1)
            except BackendUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


@pytest.mark.parametrize("seed", range(3))
async def test_same_answers_as_memory(url: str, prefix: str, seed: int) -> None:
    """Every answer of Redis, at the moment of Redis, is what memory says at that moment.

    Two kinds of entries: one interval all the time (they are trimmed all the time), and several under an hour.
    """
    rng = random.Random(seed)
    clock = SettableClock()
    memory = MemoryRates(clock)
    spans = {b"short": [0.002], b"middle": [0.02], b"mixed": [0.001, 0.005, 0.03, HOUR], b"mixed2": [0.01, HOUR]}
    accounted = refused = 0
    async with connected(url, prefix) as state:
        for entry in (b"mixed", b"mixed2"):
            _, now = await state.rates.account(b"ns", entry, 0, HOUR)
            clock.elapsed = now / MICRO
            await memory.rate(b"ns", entry, 0, HOUR)
        for _ in range(600):
            entry = rng.choice(list(spans))
            count, span = rng.choice([0, 1, 3, 10, 50]), rng.choice(spans[entry])
            answer, now = await state.rates.account(b"ns", entry, count, span)
            clock.elapsed = now / MICRO
            wanted = await memory.rate(b"ns", entry, count, span)
            assert (answer, type(answer)) == (wanted, type(wanted)), (entry, count, span)
            accounted += answer is True
            refused += answer is False
            if rng.random() < 0.1:
                await asyncio.sleep(rng.random() * 0.01)
    assert accounted > 50
    assert refused > 50


async def test_an_entry_is_trimmed_by_the_longest_interval_asked(url: str, prefix: str) -> None:
    async with connected(url, prefix) as state:
        rates = state.rates
        assert await rates.rate(b"ns", b"e", 0, HOUR) == 0
        for _ in range(3):
            assert await rates.rate(b"ns", b"e", 100, 0.000001) is True
            await asyncio.sleep(0.002)
        assert await rates.rate(b"ns", b"e", 0, 0.001) == 0
        assert await rates.rate(b"ns", b"e", 0, HOUR) == 3
        assert await rates.rate(b"ns", b"e", 3, HOUR) is False
        assert await rates.rate(b"ns", b"e", 4, HOUR) is True


async def test_the_servers_clock_is_set_back(url: str, prefix: str) -> None:
    """What was accounted later than now counts, and the next one is not before it."""
    async with connected(url, prefix) as state:
        assert await state.rates.rate(b"ns", b"e", 3, 60) is True
        (key,) = await state.client.call("KEYS", prefix + "*")
        later = int(await state.client.redis.lindex(key, -1)) + 20 * MICRO
        await state.client.redis.lset(key, -1, str(later))
        assert await state.rates.account(b"ns", b"e", 3, 60) == (True, later)
        assert await state.rates.account(b"ns", b"e", 3, 60) == (True, later)
        assert await state.rates.account(b"ns", b"e", 3, 60) == (False, later)


async def test_what_is_stored_and_for_how_long(url: str, prefix: str) -> None:
    async with connected(url, prefix) as state:
        for _ in range(5):
            await state.rates.rate(b"ns", b"e", 3, 60)
        (key,) = await state.client.call("KEYS", prefix + "*")
        assert key.startswith(prefix.encode() + b"rate:")
        assert await state.client.redis.llen(key) == 1 + 3  # refused calls leave nothing
        assert 59_000 < await state.client.redis.pttl(key) <= 60_001
        await state.rates.rate(b"ns", b"e", 3, HOUR)
        await state.rates.rate(b"ns", b"e", 3, 60)
        assert 3_599_000 < await state.client.redis.pttl(key) <= 3_600_001


async def test_trimming_keeps_the_list_short(url: str, prefix: str) -> None:
    async with connected(url, prefix) as state:
        for _ in range(300):
            assert await state.rates.rate(b"ns", b"e", 1000, 0.003) is True
        await asyncio.sleep(0.003)
        assert await state.rates.rate(b"ns", b"e", 0, 0.003) == 0
        await state.rates.rate(b"ns", b"e", 1000, HOUR)  # or Redis forgets the key before it is looked at
        for key in await state.client.redis.keys(prefix + "*"):
            assert await state.client.redis.llen(key) == 1 + 1


async def test_namespace_and_entry_do_not_run_together(url: str, prefix: str) -> None:
    async with connected(url, prefix) as state:
        pairs = [(b"a", b"bc"), (b"ab", b"c"), (b"a:b", b"c"), (b"a", b"b:c"), (b"\0\r\n", b""), (b"", b"\0\r\n")]
        for namespace, entry in pairs:
            assert await state.rates.rate(namespace, entry, 1, HOUR) is True
            assert await state.slots.take(namespace, entry, 1, f"{namespace!r}{entry!r}") is True


@pytest.mark.parametrize(("count", "interval"), [(1_000_001, 1), (-1, 1), (1, 0), (1, 32 * 86400)])
async def test_limits(url: str, prefix: str, count: int, interval: float) -> None:
    async with connected(url, prefix) as state:
        with pytest.raises(ScriptError, match="must be"):
            await state.rates.rate(b"ns", b"e", count, interval)


async def test_an_entry_holds_so_many(url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsl.runtime.redis_state.MAX_COUNT", 3)
    async with connected(url, prefix) as state:
        assert await state.rates.rate(b"ns", b"e", 0, HOUR) == 0
        for _ in range(3):
            assert await state.rates.rate(b"ns", b"e", 3, 0.000001) is True
            await asyncio.sleep(0.001)
        with pytest.raises(ScriptError, match="accounted for this entry already"):
            await state.rates.rate(b"ns", b"e", 3, 0.000001)


async def test_many_clients_never_exceed_the_count(url: str, prefix: str) -> None:
    """50 clients of their own, 10 calls each, at once."""
    async with connected(url, prefix) as first:
        others = [await RedisState.connect(url, prefix, 10.0, Log("critical"), SystemClock()) for _ in range(49)]
        try:
            calls = [state.rates.rate(b"ns", b"e", 123, HOUR) for state in [first, *others] for _ in range(10)]
            answers = await asyncio.gather(*calls)
        finally:
            for state in others:
                await state.close()
        assert (answers.count(True), answers.count(False)) == (123, 377)
        assert await first.rates.rate(b"ns", b"e", 0, HOUR) == 123


async def test_more_calls_than_connections(url: str, prefix: str) -> None:
    async with connected(url, prefix) as state:
        answers = await asyncio.gather(*(state.rates.rate(b"ns", b"e", 250, HOUR) for _ in range(500)))
    assert answers.count(True) == 250


async def test_the_server_forgot_the_scripts(url: str, prefix: str) -> None:
    async with connected(url, prefix) as state:
        assert await state.rates.rate(b"ns", b"e", 2, HOUR) is True
        await state.client.redis.script_flush()
        assert await state.rates.rate(b"ns", b"e", 2, HOUR) is True
        await state.client.redis.script_flush()
        assert await state.slots.take(b"ns", b"e", 1, "1") is True
        assert await state.rates.rate(b"ns", b"e", 2, HOUR) is False


async def fail_in_time(state: RedisState, calls: int) -> None:
    """So many calls at once, and all of them end as BackendUnavailable."""
    async with asyncio.timeout(DEADLINE):
        work = (state.rates.rate(b"ns", b"%d" % index, 1, HOUR) for index in range(calls))
        results = await asyncio.gather(*work, return_exceptions=True)
    assert {type(result) for result in results} == {BackendUnavailable}


@pytest.mark.parametrize("outage", ["suspended", "killed"])
async def test_outage(tmp_path: Path, outage: str) -> None:
    lines: list[str] = []
    with RedisServer(tmp_path) as server:
        async with connected(server.url, "t:", lines, timeout=TIMEOUT) as state:
            assert await state.rates.rate(b"ns", b"e", 5, HOUR) is True
            if outage == "suspended":
                server.suspend()
            else:
                server.kill()
            await fail_in_time(state, 1)
            await fail_in_time(state, 500)
            await asyncio.sleep(1.1)  # the breaker lets a probe through, which fails
            await fail_in_time(state, 500)
            if outage == "suspended":
                server.resume()
            else:
                server.start()
            await recovered(state)
            kept = 1 if outage == "suspended" else 0  # the tests' server keeps nothing on disk
            assert await state.rates.rate(b"ns", b"e", 0, HOUR) == kept
            assert len(await asyncio.gather(*(state.rates.rate(b"ns", b"x", 9, HOUR) for _ in range(50)))) == 50
    events = [line.split(" ")[1:3] for line in lines]
    assert events == [["warning", "redis-down"], ["info", "redis-up"]]


async def test_nobody_is_asked_for_a_second_after_a_failure(tmp_path: Path) -> None:
    """Scripts do not wait one after the other for a server that has just not answered."""
    clock = SettableClock()
    with RedisServer(tmp_path) as server:
        state = await RedisState.connect(server.url, "t:", 10.0, Log(write=[].append), clock)
        try:
            server.kill()
            await fail_in_time(state, 1)
            server.start()
            for _ in range(3):
                with pytest.raises(BackendUnavailable):
                    await state.rates.rate(b"ns", b"e", 1, HOUR)
            clock.elapsed += 1
            assert await state.rates.rate(b"ns", b"e", 1, HOUR) is True
        finally:
            await state.close()


async def test_500_calls_at_the_moment_of_the_outage(tmp_path: Path) -> None:
    lines: list[str] = []
    with RedisServer(tmp_path) as server:
        async with connected(server.url, "t:", lines, timeout=TIMEOUT) as state:
            await asyncio.gather(*(state.rates.rate(b"ns", b"e", 5, HOUR) for _ in range(40)))
            server.suspend()
            await fail_in_time(state, 500)
            server.resume()
            await recovered(state)
    assert len(lines) == 2


async def test_a_cancelled_probe_does_not_end_probing(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        async with connected(server.url, timeout=TIMEOUT) as state:
            server.suspend()
            await fail_in_time(state, 1)
            await asyncio.sleep(1.1)
            probe = asyncio.create_task(state.rates.rate(b"ns", b"e", 1, HOUR))
            await asyncio.sleep(0.1)
            probe.cancel()
            with pytest.raises(asyncio.CancelledError):
                await probe
            server.resume()
            await recovered(state)


async def test_a_full_server_is_an_outage(tmp_path: Path) -> None:
    with RedisServer(tmp_path, "--maxmemory", "3mb") as server:
        async with connected(server.url, timeout=TIMEOUT) as state:
            assert await state.rates.rate(b"ns", b"e", 5, HOUR) is True
            await state.client.redis.config_set("maxmemory", "1")
            with pytest.raises(BackendUnavailable):
                await state.rates.rate(b"ns", b"e", 5, HOUR)
            await state.client.redis.config_set("maxmemory", "0")
            await recovered(state)
            assert await state.rates.rate(b"ns", b"e", 0, HOUR) == 1


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_server_that_forgets_is_refused(tmp_path: Path, policy: str) -> None:
    lines: list[str] = []
    with RedisServer(tmp_path, "--maxmemory-policy", policy) as server:
        with pytest.raises(StateError, match=f"maxmemory-policy {policy}.*Set `maxmemory-policy noeviction`"):
            await RedisState.connect(server.url, "t:", 10.0, Log(write=lines.append), SystemClock())
        async with connected(server.url, "t:", lines, lazy=True) as state:
            with pytest.raises(BackendUnavailable):
                await state.rates.rate(b"ns", b"e", 5, HOUR)
    assert len(lines) == 1
    assert "noeviction" in lines[0]


async def test_config_is_forbidden(tmp_path: Path) -> None:
    """Where CONFIG is not allowed INFO tells; where neither is, a warning says so."""
    lines: list[str] = []
    with RedisServer(tmp_path, "--user", "a", "on", ">pw", "~*", "+@all", "-config") as server:
        url = server.url.replace("//", "//a:pw@")
        async with connected(url, "t:", lines) as state:
            assert await state.rates.rate(b"ns", b"e", 1, HOUR) is True
        assert lines == []
        async with connected(server.url) as admin:
            await admin.client.call("ACL", "SETUSER", "a", "-info")
            async with connected(url, "t:", lines) as state:
                assert await state.rates.rate(b"ns", b"e", 1, HOUR) is False
            assert [line.split(" ")[1:3] for line in lines] == [["warning", "redis-policy-unknown"]]
            await admin.client.redis.config_set("maxmemory-policy", "allkeys-lru")
            await admin.client.call("ACL", "SETUSER", "a", "+info")
        with pytest.raises(StateError, match="maxmemory-policy allkeys-lru"):
            await RedisState.connect(url, "t:", 10.0, Log("critical"), SystemClock())


async def test_start_without_a_server(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        server.kill()
        with pytest.raises(StateUnreachable, match=rf"Redis at 127\.0\.0\.1:{server.port}: "):
            await RedisState.connect(server.url, "t:", 10.0, Log("critical"), SystemClock())
        lines: list[str] = []
        async with connected(server.url, "t:", lines, timeout=TIMEOUT, lazy=True) as state:
            await fail_in_time(state, 50)
            server.start()
            await recovered(state)
            assert await state.rates.rate(b"ns", b"e", 1, HOUR) is True
        assert len(lines) == 2


async def test_a_wrong_password_is_not_an_outage(tmp_path: Path) -> None:
    with RedisServer(tmp_path, "--user", "a", "on", ">pw", "~*", "+@all") as server:
        with pytest.raises(StateError, match="invalid username-password pair") as caught:
            await RedisState.connect(server.url.replace("//", "//a:no@"), "t:", 10.0, Log("critical"), SystemClock())
        assert not isinstance(caught.value, StateUnreachable)


@pytest.mark.parametrize("url", ["http://127.0.0.1", "127.0.0.1:6379", ""])
async def test_not_a_redis_url(url: str) -> None:
    with pytest.raises(StateError, match=r"state\.url is not a Redis URL"):
        await RedisState.connect(url, "t:", 10.0, Log("critical"), SystemClock())


async def test_credentials_are_not_shown() -> None:
    lines: list[str] = []
    url = f"redis://user:secret@127.0.0.1:{free_port()}/0"
    with pytest.raises(StateError) as caught:
        await RedisState.connect(url, "t:", 10.0, Log(write=lines.append), SystemClock())
    async with connected(url, "t:", lines, timeout=TIMEOUT, lazy=True) as state:
        await fail_in_time(state, 1)
    assert "secret" not in str(caught.value) + "".join(lines)


async def test_slots_are_shared(url: str, prefix: str) -> None:
    """Two processes, whose holders have the same names."""
    async with connected(url, prefix) as one, connected(url, prefix) as other:
        assert await one.slots.take(b"to-domain", b"d", 2, "1") is True
        assert await one.slots.take(b"to-domain", b"d", 2, "1") is True
        assert await other.slots.take(b"to-domain", b"d", 2, "1") is True
        assert await one.slots.take(b"to-domain", b"d", 2, "2") is False
        assert await other.slots.take(b"to-domain", b"e", 1, "1") is True
        assert await one.slots.take(b"to-domain", b"e", 0, "2") is False
        await one.slots.release("2")
        assert await one.slots.take(b"to-domain", b"d", 2, "2") is False
        await other.slots.release("1")
        assert await one.slots.take(b"to-domain", b"d", 2, "2") is True
        assert await one.slots.take(b"to-domain", b"e", 1, "2") is True


async def test_close_gives_slots_back(url: str, prefix: str) -> None:
    async with connected(url, prefix) as state:
        assert await state.slots.take(b"n", b"d", 1, "1") is True
    async with connected(url, prefix) as state:
        assert await state.slots.take(b"n", b"d", 1, "2") is True


async def test_many_takers_never_exceed_the_maximum(url: str, prefix: str) -> None:
    async with connected(url, prefix) as one, connected(url, prefix) as other:
        calls = [state.slots.take(b"n", b"d", 7, str(index)) for index in range(50) for state in (one, other)]
        assert (await asyncio.gather(*calls)).count(True) == 7


async def test_leases_end_with_their_process_only(url: str, prefix: str) -> None:
    """A lease of 1.5 s: the heartbeat of a living process keeps it, without one it ends."""
    async with connected(url, prefix, lease=1.5) as alive, connected(url, prefix, lease=1.5) as dead:
        assert await alive.slots.take(b"n", b"a", 1, "1") is True
        assert await dead.slots.take(b"n", b"b", 1, "1") is True
        assert dead.slots.task is not None
        dead.slots.task.cancel()
        async with asyncio.timeout(10):
            while not await alive.slots.take(b"n", b"b", 1, "2"):
                await asyncio.sleep(0.05)
        await asyncio.sleep(1.6)
        async with connected(url, prefix, lease=1.5) as third:
            assert await third.slots.take(b"n", b"a", 1, "3") is False


async def test_a_lost_lease_is_put_back(url: str, prefix: str) -> None:
    async with connected(url, prefix) as state, connected(url, prefix) as other:
        assert await state.slots.take(b"n", b"a", 1, "1") is True
        await state.client.redis.delete(*await state.client.redis.keys(prefix + "*"))
        await state.slots.renew()
        assert await other.slots.take(b"n", b"a", 1, "2") is False


async def test_slots_through_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slot is taken only when True is returned, and what was released meanwhile is given back afterwards: long before
    its lease would end."""
    monkeypatch.setattr("hsl.runtime.redis_state.RETRY_RELEASE", 0.2)
    with RedisServer(tmp_path) as server:
        async with connected(server.url, timeout=TIMEOUT) as state, connected(server.url) as other:
            assert await state.slots.take(b"n", b"a", 1, "1") is True
            server.suspend()
            with pytest.raises(BackendUnavailable):
                await state.slots.take(b"n", b"b", 1, "2")  # Redis will see this call when it wakes up
            async with asyncio.timeout(DEADLINE):
                await state.slots.release("1")
            assert state.slots.count == 0
            server.resume()
            for entry in (b"a", b"b"):
                async with asyncio.timeout(10):
                    while not await taken(other, entry):
                        await asyncio.sleep(0.05)
            async with asyncio.timeout(10):
                while state.slots.unreleased:
                    await asyncio.sleep(0.05)


async def taken(state: RedisState, entry: bytes) -> bool:
    try:
        return await state.slots.take(b"n", entry, 1, "other")
    except BackendUnavailable:
        return False
