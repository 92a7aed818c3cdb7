"""The gateway: a Config comes in; servers, queue, delivery and control socket run until stopped.

Everything that can be wrong is looked at before anything is opened to the world: scripts, queue, state, certificates.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from hsl.errors import CompileError, Diagnostic, ScriptError
from hsl.library.ldap import LDAPProfile
from hsl.loader import FileLoader
from hsl.programs import Programs
from hsl.run import Budget
from hsl.runtime.clock import SystemClock
from hsl.runtime.dlp import Rule, read_rule
from hsl.runtime.dns import DnsResolver, Resolver, TableResolver
from hsl.runtime.log import Log
from hsl.runtime.metrics import Family, Labels, Metrics, gauge
from hsl.runtime.model import ACTIVE, DEFER, HOLD, NetAddress
from hsl.runtime.network import NetworkPolicy, ScriptNetwork
from hsl.runtime.policies import QueuePolicies, Share
from hsl.runtime.protocols import OutbreakScanner, Rates, Slots, SpamScanner, VirusScanner
from hsl.runtime.queue import QueueError, SQLiteQueue
from hsl.runtime.rates import MemoryRates
from hsl.runtime.redis_state import RedisState, StateError, StateUnreachable
from hsl.runtime.runner import Hook, Services, StageRunner
from hsl.runtime.scanners import (
    ClamdScanner,
    EmbeddedOutbreakScanner,
    EmbeddedSpamScanner,
    EmbeddedVirusScanner,
    SpamdScanner,
)
from hsl.runtime.slots import MemorySlots
from hsl.shared import SharedStore
from hsl.smtpd.board import Board, SharedConnections
from hsl.smtpd.client import Deliverer
from hsl.smtpd.config import Config, Server
from hsl.smtpd.configfile import load_config
from hsl.smtpd.control import ControlServer, Desk, control_path
from hsl.smtpd.descriptors import raise_descriptor_limit
from hsl.smtpd.fleet import Fleet
from hsl.smtpd.hooks import Hooks, compile_hooks
from hsl.smtpd.inline import InlineClient
from hsl.smtpd.keyfiles import KeyFiles
from hsl.smtpd.limits import plain_ip
from hsl.smtpd.monitor import Monitor
from hsl.smtpd.policyconfig import configure_policies
from hsl.smtpd.pool import PoolLimits
from hsl.smtpd.reload import lost_transports, merge, restart_needed
from hsl.smtpd.scheduler import Scheduler
from hsl.smtpd.server import Admission, SMTPServer
from hsl.smtpd.shards import Shards, read_serial, shard_folder
from hsl.smtpd.transports import TransportTable
from hsl.source import Source, Span

WILDCARDS = frozenset({"0.0.0.0", "::"})
SCRIPT_REST = 0.005  # seconds; as long as a script's turn (hsl.run.TURN): sessions and commits get half of the time

Endpoint = tuple[str, int]


class StartError(Exception):
    """The gateway cannot start; the text tells an administrator why."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker among others is given by its supervisor, who also has control socket and monitor."""

    number: int  # of the worker, and of its shard
    count: int  # of all workers
    serial: str
    sockets: Mapping[str, Sequence[socket.socket]]  # by server, in the order of the listeners
    adopts: Sequence[int]  # further shards
    fleet: Fleet  # the other workers
    board: Board | None  # counters shared with them, if there are any
    keys: KeyFiles  # which the supervisor may have read


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked new set, to be taken over: what is to run, and what would need a restart."""

    config: Config
    hooks: Hooks
    transports: TransportTable
    restart: list[str] = field(default_factory=list)


class Gateway:
    """One process's gateway. `start` it once, `stop` it once; `reload` may come in between.

    Without a `place` it is alone: it listens, and has a control socket and a monitor of its own. `addresses` holds what
    is bound, by server id, in the order of the listeners.
    """

    def __init__(self, config: Config, log: Log, place: Place | None = None) -> None:
        self.config = config
        self.place = place
        self.keys = place.keys if place else KeyFiles()
        self.log = log
        self.clock = SystemClock()
        self.programs = Programs()
        self.metrics = Metrics(log)
        self.metrics.collectors.append(self._own_metrics)
        self.policies = QueuePolicies(self.clock)
        self.client: InlineClient | None = None
        self.stopping = False
        self.addresses: dict[str, list[Endpoint]] = {}
        self.servers: dict[str, SMTPServer] = {}
        self._grace = 0.0
        self._stack = AsyncExitStack()
        self._reloading = asyncio.Lock()

    # --- life

    async def start(self) -> None:
        """Check everything, then listen and deliver; logs `ready` with the bound addresses.

        Raises CompileError with the findings of all scripts, StartError for anything else. Then nothing runs.
        """
        hooks = compile_hooks(self.config, self.programs)
        await self.open()
        await self.listen(hooks)
        self.log.info(
            "ready",
            listeners=",".join(f"{name}={endpoint(item)}" for name, bound in self.addresses.items() for item in bound),
            control=control_path(self.config),
            queue=self.config.queues.path,
            entries=self.queue.count,
            loop=type(asyncio.get_running_loop()).__module__,
        )

    async def open(self) -> None:
        """Open queue and state: questions about them can be answered. Raises StartError; then nothing is open."""
        async with self._starting():
            await self._open(self._stack)

    async def listen(self, hooks: Hooks) -> None:
        """Take and deliver mail. Raises StartError; then nothing is open."""
        async with self._starting():
            await self._listen(self._stack, hooks)

    @asynccontextmanager
    async def _starting(self) -> AsyncIterator[None]:
        try:
            yield
        except BaseException as error:
            await self._stack.aclose()
            if isinstance(error, QueueError | StateError | OSError | ValueError | ImportError):
                raise StartError(describe(error)) from error
            raise

    async def stop(self, grace: float = 10.0) -> None:
        """Stop accepting and claiming; what is under way may end within `grace` seconds; then close everything."""
        self.stopping = True
        self.log.info("stopping", sessions=sum(server.sessions for server in self.servers.values()))
        self._grace = grace
        await self._stack.aclose()
        self.log.info("stopped")

    async def _open(self, stack: AsyncExitStack) -> None:
        """What the scripts stand on: queue, state, scanners, resolver."""
        config = self.config
        raise_descriptor_limit(config, self.log)
        self.queue = await Shards.open(self.place.number if self.place else 0, self._open_shard)
        stack.push_async_callback(self.queue.close)
        for number in self.place.adopts if self.place else ():
            await self.adopt(number)
        self.desk = Desk(self.queue, self.log, self.policies, self.metrics)
        self.rates, self.slots = await self._open_state(stack)
        self.serial = self.place.serial if self.place else await asyncio.to_thread(read_serial, config.queues.path)
        if self.place:
            self.place.fleet.share_rules(self.policies)
            self.policies.share = Share(self.place.number, self.place.count)
        self.spam, self.outbreak = self._scanners()
        self.viruses = self._virus_scanner()
        self.dlp = read_dlp_rules(config)
        self._declare_metrics(config)
        configure_policies(self.policies, config.queues)
        self.resolver = self._resolver()
        given = config.resolver
        self.network = ScriptNetwork(
            network_policy(config),
            servers=given.servers,
            port=given.port,
            table=TableResolver(given.hosts, given.mx),
            sources=source_addresses(config),
            log=self.log,
        )
        stack.push_async_callback(self.network.close)
        self.shared = SharedStore(
            turns=asyncio.get_running_loop().create_future, rest=lambda: asyncio.sleep(SCRIPT_REST)
        )

    async def _open_shard(self, number: int, changed: asyncio.Event) -> SQLiteQueue:
        return await SQLiteQueue.open(
            shard_folder(self.config.queues.path, number),
            log=self.log,
            shard=number,
            free_floor=self.config.queues.free,
            size_limit=max(server.limits.size for server in self.config.servers),
            changed=changed,
        )

    async def adopt(self, number: int) -> None:
        """Deliver a shard whose worker is gone, beside the own one. Raises QueueError."""
        entries = await self.queue.adopt(number)
        if entries:
            self.log.info("queue-adopted", shard=number, entries=entries)

    async def _open_state(self, stack: AsyncExitStack) -> tuple[Rates, Slots]:
        """Rates and slots. A Redis that is down may come back; one that forgets rates is refused (StateError)."""
        state = self.config.state
        if state.backend == "memory" or state.url is None:
            return MemoryRates(self.clock), MemorySlots()
        arguments = (state.url, state.prefix, state.timeout, self.log, self.clock)
        try:
            redis = await RedisState.connect(*arguments)
        except StateUnreachable as error:
            self.log.warning("state-unreachable", error=str(error), until="scripts that need it fail temporarily")
            redis = await RedisState.connect(*arguments, lazy=True)
        stack.push_async_callback(redis.close)
        return redis.rates, redis.slots

    def _scanners(self) -> tuple[SpamScanner, OutbreakScanner]:
        self.log.warning("embedded-scanner", function="ScanRPD", knows="test strings only")
        found = self.config.scanners.spamassassin
        if found is None:
            self.log.warning("embedded-scanner", function="ScanSA", knows="the GTUBE test string only")
            return EmbeddedSpamScanner(), EmbeddedOutbreakScanner()
        spamd = SpamdScanner(found.host, found.port, found.timeout, found.max_size, self.log, self.clock)
        return spamd, EmbeddedOutbreakScanner()

    def _virus_scanner(self) -> VirusScanner:
        found = self.config.scanners.clamav
        if found is None:
            self.log.warning("embedded-scanner", function="ScanCLAM", knows="the EICAR test file only")
            return EmbeddedVirusScanner()
        return ClamdScanner(found.host, found.port, found.timeout, found.max_size, self.log, self.clock)

    def _declare_metrics(self, config: Config) -> None:
        for metric in config.monitor.metrics:
            self.metrics.declare(metric.name, metric.type, metric.help, metric.buckets)

    def _own_metrics(self) -> Iterable[Family]:
        """What the gateway itself has to tell."""
        states = {state: self.queue.metric("count", {"state": [state.encode()]}) for state in (ACTIVE, DEFER, HOLD)}
        sessions: dict[Labels, float] = {
            (("server", name),): float(server.sessions) for name, server in self.servers.items()
        }
        yield gauge("hsl_ready", "Whether the gateway runs", {(): 1.0})
        yield gauge("hsl_healthy", "Whether the gateway takes mail", {(): 0.0 if self.unhealthy() else 1.0})
        yield gauge(
            "hsl_queue_entries", "Entries in the queue", {(("state", name),): float(n) for name, n in states.items()}
        )
        yield gauge("hsl_queue_bytes", "Bytes in the queue", {(): float(self.queue.metric("bytes"))})
        yield gauge("hsl_sessions", "SMTP sessions", sessions)
        yield gauge("hsl_deliveries", "Delivery attempts under way", {(): float(self.scheduler.running)})
        yield gauge("hsl_policies", "Suspensions and policies of the queue", {(): float(len(self.policies.active()))})

    def unhealthy(self) -> str:
        """Why the gateway does not take mail now; empty if it does."""
        if self.stopping:
            return "the gateway is stopping"
        return "" if self.queue.has_room() else "the disk of the queue is full"

    def concurrency(self, serverid: str, network: str | None) -> int | None:
        """How many sessions a server has, from a network if one is given; None for an unknown server."""
        server = self.servers.get(serverid)
        if server is None:
            return None
        return server.sessions if network is None else server.sessions_from(ipaddress.ip_network(network))

    def _resolver(self) -> Resolver:
        """DNS behind the configured tables; only the tables where a system without DNS has some (a demo, a test)."""
        given = self.config.resolver
        try:
            return DnsResolver(given.servers, given.port, given.timeout, given.hosts, given.mx, given.ptr)
        except ValueError as error:
            if not (given.hosts or given.mx):
                raise
            self.log.warning("no-dns", error=str(error), resolver="only resolver.hosts and resolver.mx are known")
            return TableResolver(given.hosts, given.mx)

    async def _listen(self, stack: AsyncExitStack, hooks: Hooks) -> None:
        """Control socket, listeners, delivery. The listeners come last that may fail."""
        config = self.config
        pooling = config.queues.pooling
        deliverer = Deliverer(
            resolver=self.resolver,
            hostname=config.environment.hostname,
            log=self.log,
            local_addresses=self.is_listener,
            policies=self.policies,
            limits=PoolLimits(pooling.timeout, pooling.transactions, pooling.age, pooling.size),
        )
        stack.push_async_callback(deliverer.close)
        self.client = InlineClient(deliverer, lambda: self.scheduler.transports)
        self.scheduler = Scheduler(
            queue=self.queue,
            runner=self._runner(config, hooks.delivery),
            deliverer=deliverer,
            transports=TransportTable(config, self.keys.read),
            slots=self.slots,
            log=self.log,
            clock=self.clock,
            hostname=config.environment.hostname,
            concurrency=config.queues.concurrency,
            share=config.queues.concurrency_per_destination,
            policies=self.policies,
        )
        stack.push_async_callback(self._stop_traffic)
        if self.place is None:
            await self._open_desk(stack)
        for index, server in enumerate(config.servers):
            await self._start_server(server, hooks.servers[server.id], self._admission(index, server))
        self.scheduler.start()

    async def _open_desk(self, stack: AsyncExitStack) -> None:
        """Control socket and monitor."""
        control = ControlServer(control_path(self.config), self.desk.answer, self.log)
        await control.start()
        stack.push_async_callback(control.close)

        async def unhealthy() -> str:
            return self.unhealthy()

        monitor = Monitor(self.desk.render, self.log, unhealthy)
        if await monitor.start(self.config.monitor.listener):
            stack.push_async_callback(monitor.close)

    def _admission(self, index: int, server: Server) -> Admission | None:
        """Who counts connections, if it is not the server itself."""
        if self.place is None or self.place.board is None:
            return None
        limits = server.limits
        return SharedConnections(
            self.place.board, self.place.number, index, limits.connections, limits.connections_per_ip
        )

    async def _start_server(self, config: Server, hooks: Mapping[str, Hook], connections: Admission | None) -> None:
        server = SMTPServer(
            config,
            runner=self._runner(self.config, hooks),
            queue=self.queue,
            log=self.log,
            hostname=self.config.environment.hostname,
            spool_path=self.config.queues.path,
            resolver=self.resolver,
            connections=connections,
            read=self.keys.read,
        )
        try:
            self.addresses[config.id] = await server.start(self.place.sockets[config.id] if self.place else None)
        except OSError as error:
            wanted = ", ".join(endpoint((item.address, item.port)) for item in config.listeners)
            raise StartError(f"server {config.id} cannot listen on {wanted}: {describe(error)}") from error
        self.servers[config.id] = server
        if self.place:
            server.failed_logins.on_add = partial(self.place.fleet.share_failure, config.id, "login")
            server.failed_handshakes.on_add = partial(self.place.fleet.share_failure, config.id, "handshake")

    async def _stop_traffic(self) -> None:
        """Servers and delivery end side by side, within one grace."""
        stops = [server.stop(self._grace) for server in self.servers.values()]
        await asyncio.gather(*stops, self.scheduler.stop(self._grace))

    def _runner(self, config: Config, hooks: Mapping[str, Hook]) -> StageRunner:
        """A runner over what is open, with the names, limits and texts of a configuration."""
        services = Services(
            rates=self.rates,
            slots=self.slots,
            queue=self.queue,
            spam=self.spam,
            outbreak=self.outbreak,
            viruses=self.viruses,
            dlp=self.dlp,
            metrics=self.metrics,
            policies=self.policies,
            addresses={item.id: NetAddress(item.id, item.address, item.hostname) for item in config.addresses},
            transports=frozenset(item.id for group in config.transportgroups for item in group.transports),
            clock=self.clock,
            log=self.log,
            shared=self.shared,
            hostname=config.environment.hostname,
            serial=self.serial,
            client=self.client,
            concurrency=self.concurrency,
            others=self.place.fleet if self.place and self.place.count > 1 else None,
            defer_code=config.scripting.defer_code,
            network=self.network,
            rootpath=config.scripting.rootpath,
            ffi=config.scripting.ffi,
            ldap={item.id: LDAPProfile(**item.model_dump(exclude={"id"})) for item in config.scripting.ldap},
        )
        return StageRunner(hooks, services, Budget(config.scripting.budgets.steps, config.scripting.budgets.seconds))

    def is_listener(self, ip: str, port: int) -> bool:
        """Whether mail for this address would come back to us (RFC 5321 5.1). 0.0.0.0 and :: mean this machine."""
        address = ipaddress.ip_address(plain_ip(ip))
        for bound, bound_port in (item for items in self.addresses.values() for item in items):
            same = ipaddress.ip_address(bound) == address or address.is_unspecified
            if port == bound_port and (same or (bound in WILDCARDS and is_ours(str(address)))):
                return True
        return False

    # --- reload

    async def reload(self, path: Path) -> bool:
        """Load configuration and scripts anew. Only if all of it is right it takes the place of what runs.

        Taken over, for new sessions and attempts: scripts, `scripting`, `transportgroups`, `addresses`, a server's
        `phases` and `transport`, and the contents of certificate files. Other changes are logged: they need a restart.
        Returns whether it was taken over.
        """
        async with self._reloading:
            try:
                loaded = await asyncio.to_thread(load_config, path)
                prepared = await self.prepare(loaded.config)
            except CompileError as error:
                for item in error.errors:
                    self.log.error("reload-failed", at=place_of(item), error=item.message, hint=item.hint)
                return False
            for item in (*loaded.warnings, *prepared.hooks.warnings):
                self.log.warning("reload", at=item.span, warning=item.message, hint=item.hint)
            for name in prepared.restart:
                self.log.warning("restart-needed", setting=name)
            self.take_over(prepared)
            self.log.info("reloaded", servers=len(self.servers))
            return True

    async def prepare(self, config: Config, loader: FileLoader | None = None) -> Prepared:
        """Compile the scripts of a new configuration; nothing changes yet. Raises CompileError."""
        hooks = await asyncio.to_thread(compile_hooks, config, self.programs, loader)
        merged = merge(self.config, config)
        nowhere = Span(Source("", ""), 0, 0)
        if lost := lost_transports(merged):
            raise CompileError([Diagnostic("error", "transport", text, nowhere) for text in lost])
        try:
            transports = await asyncio.to_thread(TransportTable, merged, self.keys.read)
        except (OSError, ValueError) as error:
            raise CompileError([Diagnostic("error", "dkim", describe(error), nowhere)]) from None
        return Prepared(merged, hooks, transports, restart_needed(self.config, config))

    def take_over(self, prepared: Prepared) -> None:
        """Without a wait: a session or an attempt has either the old set or the new one."""
        config, hooks = prepared.config, prepared.hooks
        self.config = config
        configure_policies(self.policies, config.queues)
        self.network.configure(network_policy(config), source_addresses(config))
        self._declare_metrics(config)
        self.scheduler.runner = self._runner(config, hooks.delivery)
        self.scheduler.transports = prepared.transports
        for server in config.servers:
            running = self.servers[server.id]
            if server.id in hooks.servers:
                running.config = server
                running.runner = self._runner(config, hooks.servers[server.id])
            if running.certificates is not None:
                running.certificates.reload()


def place_of(item: Diagnostic) -> str:
    """file:line:column; empty for what is wrong with the set and with no line of it."""
    return str(item.span) if item.span.file else ""


def network_policy(config: Config) -> NetworkPolicy:
    given = config.scripting.network
    return NetworkPolicy(given.allow, given.deny, given.unix)


def source_addresses(config: Config) -> dict[str, str]:
    return {item.id: item.address for item in config.addresses}


def read_dlp_rules(config: Config) -> dict[bytes, Rule]:
    """The rules of scanners.dlp. Raises StartError."""
    try:
        return {
            name.encode(): read_rule(name, {kind: [text.encode() for text in texts] for kind, texts in types.items()})
            for name, types in config.scanners.dlp.rules.items()
        }
    except ScriptError as error:
        raise StartError(f"scanners.dlp: {error.message}") from None


def endpoint(address: Endpoint) -> str:
    """`127.0.0.1:25`, `[::1]:25`"""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_ours(ip: str) -> bool:
    """Whether an address is one of this machine's: only those can be bound."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((ip, 0))
    except OSError:
        return False
    return True


def describe(error: BaseException) -> str:
    return str(error) or type(error).__name__
