"""Rates and slots in Redis, shared by processes and nodes. In: the calls of protocols.py. Out: one script call each.

While Redis is unreachable every call raises BackendUnavailable: the first ones when their time is up, the others at
once (breaker.py). A call that timed out may have been accounted: rates err to the strict side. The clients of one
Redis need no common clock, the scripts use its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Self

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, NoScriptError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from hsl.errors import ScriptError
from hsl.runtime.breaker import Breaker
from hsl.runtime.log import Log
from hsl.runtime.protocols import BackendUnavailable, Clock
from hsl.runtime.rates import MAX_COUNT, check_rate, entry_key
from hsl.runtime.redis_line import RedisLine, Word
from hsl.runtime.slots import MAX_SLOTS

MAX_CONNECTIONS = 32  # beside the one of the calls: for questions about the server itself
POOL_WAIT = 1.0  # seconds for a free one
LEASE = 300.0  # seconds that a slot outlives its process; renewed every third of it
RETRY_RELEASE = 5.0  # seconds between attempts to give back what could not be given back


class StateError(Exception):
    """The state backend cannot be used as configured; the text is for the administrator."""


class StateUnreachable(StateError):
    """The server does not answer (now); its settings may be right."""


class Script:
    """A Lua script that ships with this package."""

    def __init__(self, name: str) -> None:
        self.source = files("hsl.runtime").joinpath(name).read_text("ascii")
        self.sha = hashlib.sha1(self.source.encode()).hexdigest()


class Client:
    """One server behind a time limit and a breaker. Every failure is a BackendUnavailable."""

    def __init__(self, url: str, timeout: float, log: Log, clock: Clock) -> None:
        """Does not connect. Raises StateError for a URL that is none."""
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=MAX_CONNECTIONS,
                timeout=POOL_WAIT,
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                retry=Retry(NoBackoff(), 0),
                protocol=2,
            )
        except ValueError as error:
            raise StateError(f"state.url is not a Redis URL: {error}") from None
        self.redis = Redis.from_pool(pool)
        self.line = RedisLine(pool, timeout)
        self.timeout = timeout
        self.log = log
        self.address = address_of(pool.connection_kwargs)
        self.breaker = Breaker("redis", self.address, log, clock)
        self.checked = False

    async def call(self, *words: Word, otherwise: tuple[Word, ...] = ()) -> Any:
        """The reply to a command, or to `otherwise` if its script is unknown. Raises BackendUnavailable."""
        probe = self.breaker.admit()
        try:
            if not self.checked:
                async with asyncio.timeout(self.timeout):
                    await self.check()
            try:
                result = await self.line.ask(*words)
            except NoScriptError:
                result = await self.line.ask(*otherwise)
        except (RedisError, OSError, StateError) as error:
            raise self.breaker.failed(reason_of(error)) from error
        finally:
            if probe:
                self.breaker.probe_done()
        self.breaker.succeeded()
        return result

    async def script(self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes | int]) -> Any:
        """Run a script, sending its source only when the server does not know it (any more)."""
        words = (len(keys), *keys, *arguments)
        return await self.call("EVALSHA", script.sha, *words, otherwise=("EVAL", script.source, *words))

    async def check(self) -> None:
        """Raises StateError unless the server keeps what it is given: evicted rates would fail open."""
        policy = await self.policy()
        if policy is None:
            self.log.warning("redis-policy-unknown", address=self.address, wanted="noeviction")
        elif policy != "noeviction":
            raise StateError(
                f"Redis at {self.address} has maxmemory-policy {policy}: it would forget rates when its memory is"
                " full. Set `maxmemory-policy noeviction`"
            )
        self.checked = True

    async def policy(self) -> str | None:
        """The server's maxmemory-policy; None where neither CONFIG nor INFO is allowed."""
        try:
            found = await self.redis.config_get("maxmemory-policy")
        except ResponseError as error:
            if not is_refusal(error):
                raise
        else:
            return text_of(found.get("maxmemory-policy"))
        try:
            return text_of((await self.redis.info("memory")).get("maxmemory_policy"))
        except ResponseError as error:
            if not is_refusal(error):
                raise
            return None

    async def close(self) -> None:
        await self.line.close()
        await self.redis.aclose()


class RedisRates:
    """Rates in Redis: exact, one script call each. See protocols.Rates."""

    script = Script("rate.lua")

    def __init__(self, client: Client, prefix: bytes) -> None:
        self.client = client
        self.prefix = prefix + b"rate:"

    async def rate(self, namespace: bytes, entry: bytes, count: int, interval: float) -> bool | int:
        """Raises ScriptError: count or interval out of bounds, or the entry is full; BackendUnavailable."""
        answer, _ = await self.account(namespace, entry, count, interval)
        return answer

    async def account(self, namespace: bytes, entry: bytes, count: int, interval: float) -> tuple[bool | int, int]:
        """As `rate`, with the moment of Redis (microseconds) at which it was decided."""
        span = check_rate(count, interval)
        key = self.prefix + entry_key(namespace, entry).hex().encode()
        answer, now = await self.client.script(self.script, [key], [count, span, MAX_COUNT])
        if answer < 0:
            raise ScriptError(f"rate(): {MAX_COUNT} are accounted for this entry already")
        return (bool(answer) if count else int(answer)), int(now)


@dataclass(frozen=True, slots=True)
class Lease:
    """One taken slot: its key in Redis and our member there, unique over processes and attempts."""

    key: bytes
    member: bytes


class RedisSlots:
    """Slots in Redis: leases of `ttl` seconds, renewed while this process lives. See protocols.Slots.

    Holders need to be unique in this process only. What cannot be given back (Redis is gone, a call was cancelled) is
    given back later, or ends by time.
    """

    script = Script("slot.lua")

    def __init__(self, client: Client, prefix: bytes, ttl: float = LEASE) -> None:
        self.client = client
        self.prefix = prefix + b"slot:"
        self.ttl = ttl
        self.process = uuid.uuid4().hex
        self.serial = 0
        self.held: dict[str, dict[bytes, Lease]] = {}  # holder -> key -> lease
        self.count = 0
        self.unreleased: set[Lease] = set()
        self.task: asyncio.Task[None] | None = None
        self.closed = False

    async def take(self, namespace: bytes, entry: bytes, maximum: int, holder: str) -> bool:
        """Raises BackendUnavailable, and then no slot is held; ScriptError when MAX_SLOTS are."""
        key = self.prefix + entry_key(namespace, entry).hex().encode()
        lease = self.held.get(holder, {}).get(key)
        if lease is not None:
            return True
        if maximum <= 0:
            return False
        if self.count + len(self.unreleased) >= MAX_SLOTS:
            raise ScriptError(f"CurrentConnections(): {MAX_SLOTS} slots are taken in all")
        self.start()
        self.serial += 1
        lease = Lease(key, f"{self.process}:{self.serial}".encode())
        try:
            taken = await self.put(lease, maximum)
        except BaseException:
            self.unreleased.add(lease)  # it may have been taken
            raise
        if taken:
            self.held.setdefault(holder, {})[key] = lease
            self.count += 1
        return taken

    async def release(self, holder: str) -> None:
        """Never raises BackendUnavailable: a slot that cannot be given back now is given back later."""
        leases = self.held.pop(holder, {}).values()
        self.count -= len(leases)
        self.unreleased.update(leases)
        for lease in leases:
            await self.remove(lease)

    async def put(self, lease: Lease, maximum: int) -> bool:
        """Take (or renew, with maximum 0)."""
        arguments: list[bytes | int] = [lease.member, maximum, round(self.ttl * 1000)]
        return bool(await self.client.script(self.script, [lease.key], arguments))

    async def remove(self, lease: Lease) -> None:
        """Give an unreleased slot back; it stays unreleased when Redis does not answer."""
        try:
            await self.client.call("ZREM", lease.key, lease.member)
        except BackendUnavailable:
            return
        self.unreleased.discard(lease)

    def start(self) -> None:
        if self.task is None and not self.closed:
            self.task = asyncio.create_task(self.heartbeat(), name="redis slots")

    async def heartbeat(self) -> None:
        """Renew what is held every third of its time; give back soon what could not be given back."""
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while True:
            await asyncio.sleep(min(RETRY_RELEASE, self.ttl / 3))
            for lease in list(self.unreleased):
                await self.remove(lease)
            if loop.time() - renewed >= self.ttl / 3 - RETRY_RELEASE:
                renewed = loop.time()
                await self.renew()

    async def renew(self) -> None:
        """Renew all leases; what Redis lost meanwhile is put back, for it is still held."""
        for holder, leases in list(self.held.items()):
            for lease in list(leases.values()):
                try:
                    await self.put(lease, 0)
                except BackendUnavailable:
                    continue  # the next round is in time
                if self.held.get(holder, {}).get(lease.key) is not lease:  # released while it was renewed
                    self.unreleased.add(lease)
                    await self.remove(lease)

    async def close(self) -> None:
        """End the heartbeat and give everything back."""
        self.closed = True
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        for holder in list(self.held):
            await self.release(holder)
        for lease in list(self.unreleased):
            await self.remove(lease)


class RedisState:
    """Rates and slots of one Redis. Made by `connect`; `close` it."""

    def __init__(self, client: Client, prefix: str, lease: float = LEASE) -> None:
        self.client = client
        self.rates = RedisRates(client, prefix.encode())
        self.slots = RedisSlots(client, prefix.encode(), lease)

    @classmethod
    async def connect(
        cls,
        url: str,
        prefix: str,
        timeout: float,
        log: Log,
        clock: Clock,
        *,
        lazy: bool = False,
        lease: float = LEASE,
    ) -> Self:
        """Connect and check the server. `timeout` and `lease` are seconds.

        Raises StateUnreachable; StateError: not a Redis URL, a login that is refused, or a maxmemory-policy other than
        noeviction. With `lazy` the check is left to the first call that gets through, and until it passes every call
        raises BackendUnavailable.
        """
        client = Client(url, timeout, log, clock)
        try:
            if not lazy:
                async with asyncio.timeout(timeout):
                    await client.check()
        except (RedisError, OSError) as error:
            await client.close()
            raise start_error(client.address, error) from error
        except BaseException:
            await client.close()
            raise
        return cls(client, prefix, lease)

    async def close(self) -> None:
        """Give the slots back and close the connections."""
        try:
            await self.slots.close()
        finally:
            await self.client.close()


def address_of(settings: dict[str, Any]) -> str:
    """Where it is, without the credentials that the URL may hold."""
    if "path" in settings:
        return str(settings["path"])
    return f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}"


def start_error(address: str, error: Exception) -> StateError:
    """Why the first contact failed. A refused login is no outage, though redis-py has it among connection errors."""
    away = isinstance(error, RedisConnectionError | RedisTimeoutError | OSError)
    kind = StateUnreachable if away and not isinstance(error, AuthenticationError) else StateError
    return kind(f"Redis at {address}: {reason_of(error)}")


def reason_of(error: BaseException) -> str:
    """What went wrong, for the log."""
    if isinstance(error, TimeoutError | RedisTimeoutError):
        return "no answer in time"
    if isinstance(error, RedisConnectionError):
        return str(error) or "connection failed"
    return str(error) or type(error).__name__


def is_refusal(error: RedisError) -> bool:
    """The command is forbidden (ACL) or renamed away."""
    return isinstance(error, NoPermissionError) or "unknown command" in str(error).lower()


def text_of(value: object) -> str | None:
    return value.decode() if isinstance(value, bytes) else None if value is None else str(value)
