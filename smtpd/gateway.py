"""The gateway: a Config comes in; servers, queue, delivery and control socket run until stopped.

Everything that can be wrong is looked at before anything is opened to the world: scripts, queue, state, certificates.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import uuid
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hsl.errors import CompileError, Diagnostic, ScriptError
from hsl.library.ldap import LDAPProfile
from hsl.programs import Programs
from hsl.run import Budget
from hsl.runtime.clock import SystemClock
from hsl.runtime.dlp import Rule, read_rule
from hsl.runtime.dns import DnsResolver, Resolver, TableResolver
from hsl.runtime.log import Log
from hsl.runtime.metrics import Family, Labels, Metrics, gauge
from hsl.runtime.model import ACTIVE, DEFER, HOLD, NetAddress
from hsl.runtime.network import NetworkPolicy, ScriptNetwork
from hsl.runtime.policies import QueuePolicies
from hsl.runtime.protocols import OutbreakScanner, Rates, Slots, SpamScanner, VirusScanner
from hsl.runtime.queue import QueueError, SQLiteQueue
from hsl.runtime.rates import MemoryRates
from hsl.runtime.redis_state import RedisState, StateError, StateUnreachable
from hsl.runtime.runner import EVERY_DOMAIN, Hook, Services, StageRunner, load_hooks, programs_of
from hsl.runtime.scanners import (
    ClamdScanner,
    EmbeddedOutbreakScanner,
    EmbeddedSpamScanner,
    EmbeddedVirusScanner,
    SpamdScanner,
)
from hsl.runtime.slots import MemorySlots
from hsl.shared import SharedStore
from hsl.smtpd.client import Deliverer
from hsl.smtpd.config import Config, Phases, RecipientHooks, Server
from hsl.smtpd.configfile import load_config
from hsl.smtpd.control import ControlServer, control_path
from hsl.smtpd.descriptors import raise_descriptor_limit
from hsl.smtpd.inline import InlineClient
from hsl.smtpd.limits import plain_ip
from hsl.smtpd.monitor import Monitor
from hsl.smtpd.policyconfig import configure_policies
from hsl.smtpd.scheduler import Scheduler
from hsl.smtpd.server import SMTPServer
from hsl.smtpd.transports import TransportTable
from hsl.smtpd.wire import make_context

WILDCARDS = frozenset({"0.0.0.0", "::"})
SCRIPTED = frozenset({"phases", "transport"})  # of a server: what a reload takes over
DELIVERY = frozenset({"predelivery", "postdelivery"})  # of the queue
RELOADED = DELIVERY | {"policies", "grouping", "lists"}  # of the queue: what a reload takes over
SERIAL = "serial"  # the file in queues.path that holds the serial number
SCRIPT_REST = 0.005  # seconds; as long as a script's turn (hsl.run.TURN): sessions and commits get half of the time

Endpoint = tuple[str, int]


class StartError(Exception):
    """The gateway cannot start; the text tells an administrator why."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """All compiled scripts of a configuration: by server id and stage, and the two of the queue."""

    servers: Mapping[str, Mapping[str, Hook]]
    delivery: Mapping[str, Hook]

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        hooks = [*self.delivery.values(), *(item for hooks in self.servers.values() for item in hooks.values())]
        return unique(item for hook in hooks for program in programs_of(hook) for item in program.warnings)


def compile_hooks(config: Config, known: Programs) -> Hooks:
    """Compile every script that the configuration names and that is not `known` as it is now.

    Raises one CompileError with the findings of all.
    """
    findings: list[Diagnostic] = []

    def load(hooks: Mapping[str, str | Mapping[str, str] | None]) -> Mapping[str, Hook]:
        try:
            return load_hooks(config.scripting.rootpath, {stage: path for stage, path in hooks.items() if path}, known)
        except CompileError as error:
            findings.extend(error.diagnostics)
            return {}

    servers = {
        server.id: load({stage: hook_of(server.phases, stage) for stage in type(server.phases).model_fields})
        for server in config.servers
    }
    delivery = load({stage: getattr(config.queues, stage).hook for stage in sorted(DELIVERY)})
    if findings:
        raise CompileError(unique(findings))
    return Hooks(servers, delivery)


def hook_of(phases: Phases, stage: str) -> str | Mapping[str, str] | None:
    """A stage's script, or its scripts by domain."""
    hook: str | RecipientHooks | None = getattr(phases, stage).hook
    if isinstance(hook, RecipientHooks):
        domains = hook.recipientdomains
        return domains[EVERY_DOMAIN] if domains.keys() == {EVERY_DOMAIN} else domains
    return hook


def unique(findings: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Findings without those that repeat (one script may be the hook of several servers)."""
    return tuple({(str(item.span), item.message): item for item in findings}.values())


class Gateway:
    """One process's gateway. `start` it once, `stop` it once; `reload` may come in between.

    `addresses` holds what is bound, by server id, in the order of the listeners.
    """

    def __init__(self, config: Config, log: Log) -> None:
        self.config = config
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
        async with AsyncExitStack() as stack:
            try:
                await self._open(stack)
                await self._listen(stack, hooks)
            except (QueueError, StateError, OSError, ValueError, ImportError) as error:
                raise StartError(describe(error)) from error
            self._stack = stack.pop_all()
        self.log.info(
            "ready",
            listeners=",".join(f"{name}={endpoint(item)}" for name, bound in self.addresses.items() for item in bound),
            control=control_path(self.config),
            queue=self.config.queues.path,
            entries=self.queue.count,
            loop=type(asyncio.get_running_loop()).__module__,
        )

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
        self.queue = await SQLiteQueue.open(
            config.queues.path,
            log=self.log,
            free_floor=config.queues.free,
            size_limit=max(server.limits.size for server in config.servers),
        )
        stack.push_async_callback(self.queue.close)
        self.rates, self.slots = await self._open_state(stack)
        self.serial = await asyncio.to_thread(read_serial, config.queues.path)
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
        deliverer = Deliverer(
            resolver=self.resolver,
            hostname=config.environment.hostname,
            log=self.log,
            local_addresses=self.is_listener,
            policies=self.policies,
        )
        stack.push_async_callback(deliverer.close)
        self.client = InlineClient(deliverer, lambda: self.scheduler.transports)
        self.scheduler = Scheduler(
            queue=self.queue,
            runner=self._runner(config, hooks.delivery),
            deliverer=deliverer,
            transports=TransportTable(config),
            slots=self.slots,
            log=self.log,
            clock=self.clock,
            hostname=config.environment.hostname,
            concurrency=config.queues.concurrency,
            policies=self.policies,
        )
        stack.push_async_callback(self._stop_traffic)
        control = ControlServer(control_path(config), self.queue, self.log, self.policies, self.metrics)
        await control.start()
        stack.push_async_callback(control.close)
        await self._start_monitor(stack)
        for server in config.servers:
            await self._start_server(server, hooks.servers[server.id])
        self.scheduler.start()

    async def _start_monitor(self, stack: AsyncExitStack) -> None:
        wanted = self.config.monitor.listener
        if wanted is None:
            return
        monitor = Monitor(self.metrics, self.log, self.unhealthy)
        try:
            bound = await monitor.start(wanted.address, wanted.port)
        except OSError as error:
            where = endpoint((wanted.address, wanted.port))
            raise StartError(f"the monitor cannot listen on {where}: {describe(error)}") from error
        stack.push_async_callback(monitor.close)
        self.log.info("monitor", listener=endpoint(bound))

    async def _start_server(self, config: Server, hooks: Mapping[str, Hook]) -> None:
        server = SMTPServer(
            config,
            runner=self._runner(self.config, hooks),
            queue=self.queue,
            log=self.log,
            hostname=self.config.environment.hostname,
            spool_path=self.config.queues.path,
            resolver=self.resolver,
        )
        try:
            self.addresses[config.id] = await server.start()
        except OSError as error:
            wanted = ", ".join(endpoint((item.address, item.port)) for item in config.listeners)
            raise StartError(f"server {config.id} cannot listen on {wanted}: {describe(error)}") from error
        self.servers[config.id] = server

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
                hooks = await asyncio.to_thread(compile_hooks, loaded.config, self.programs)
            except CompileError as error:
                for item in error.errors:
                    self.log.error("reload-failed", at=item.span, error=item.message, hint=item.hint)
                return False
            for item in (*loaded.warnings, *hooks.warnings):
                self.log.warning("reload", at=item.span, warning=item.message, hint=item.hint)
            for name in restart_needed(self.config, loaded.config):
                self.log.warning("restart-needed", setting=name)
            self._take_over(merge(self.config, loaded.config), hooks)
            self.log.info("reloaded", servers=len(self.servers))
            return True

    def _take_over(self, config: Config, hooks: Hooks) -> None:
        """Without a wait: a session or an attempt has either the old set or the new one."""
        self.config = config
        configure_policies(self.policies, config.queues)
        self.network.configure(network_policy(config), source_addresses(config))
        self._declare_metrics(config)
        self.scheduler.runner = self._runner(config, hooks.delivery)
        self.scheduler.transports = TransportTable(config)
        for server in config.servers:
            running = self.servers[server.id]
            if server.id in hooks.servers:
                running.config = server
                running.runner = self._runner(config, hooks.servers[server.id])
            self._renew_certificate(running)

    def _renew_certificate(self, server: SMTPServer) -> None:
        if server.config.tls is None:
            return
        try:
            server.tls_context = make_context(str(server.config.tls.certificate), str(server.config.tls.privatekey))
        except (OSError, ValueError) as error:
            self.log.error("certificate-kept", server=server.config.id, error=describe(error))


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


def read_serial(folder: Path) -> str:
    """The installation's serial number: a file beside the queue, made at the first start. Raises OSError."""
    path = folder / SERIAL
    with suppress(FileNotFoundError):
        found = path.read_text("ascii", "replace").strip()
        if found:
            return found
    serial = str(uuid.uuid4())
    path.write_text(f"{serial}\n", "ascii")
    return serial


def merge(running: Config, new: Config) -> Config:
    """The running configuration with what a reload takes over from the new one."""
    given = {server.id: server for server in new.servers}

    def server_of(server: Server) -> Server:
        taken = given.get(server.id, server)
        return server.model_copy(update={name: getattr(taken, name) for name in SCRIPTED})

    return running.model_copy(
        update={
            "servers": [server_of(server) for server in running.servers],
            "queues": running.queues.model_copy(update={name: getattr(new.queues, name) for name in RELOADED}),
            "transportgroups": new.transportgroups,
            "addresses": new.addresses,
            "scripting": new.scripting,
            "monitor": running.monitor.model_copy(update={"metrics": new.monitor.metrics}),
        }
    )


def restart_needed(running: Config, new: Config) -> list[str]:
    """The settings that differ and that a reload does not take over."""
    merged = merge(running, new)
    names = [name for name in Config.model_fields if name not in ("servers", "queues")]
    found = [name for name in names if getattr(merged, name) != getattr(new, name)]
    found += differences("queues", merged.queues, new.queues)
    before, after = ({server.id: server for server in config.servers} for config in (merged, new))
    for name in sorted(before.keys() | after.keys()):
        if name in before and name in after:
            found += differences(f"servers[{name}]", before[name], after[name])
        else:
            found.append(f"servers[{name}]")
    return found


def differences(prefix: str, one: Any, other: Any) -> list[str]:
    return [f"{prefix}.{name}" for name in type(one).model_fields if getattr(one, name) != getattr(other, name)]


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
