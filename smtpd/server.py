"""One virtual SMTP server: listens, admits sessions, holds what they share, and ends them. A session is session.py."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from hsl.runtime.intake import Intake
from hsl.runtime.log import Log
from hsl.runtime.model import Address, Connection, Mail, Transaction
from hsl.runtime.protocols import Clock
from hsl.runtime.reply import Reply
from hsl.smtpd.certificates import CertificateStore, Read, read_file
from hsl.smtpd.config import Listener, Server
from hsl.smtpd.limits import ByteBudget, Connections, Failures, parse_ip
from hsl.smtpd.session import Session
from hsl.smtpd.wire import Wire

if TYPE_CHECKING:
    from hsl.runtime.runner import StageRunner

T = TypeVar("T")
BACKLOG = 1024


class Store(Protocol):
    """What the server needs of the queue."""

    async def apply(self, *, store: Sequence[Mail] = ()) -> list[int]:
        """Store in one transaction; raises QueueFull."""
        ...

    def has_room(self, size: int = 0) -> bool: ...


class Admission(Protocol):
    """Who may have a session: limits.Connections, or over all workers board.SharedConnections."""

    def enter(self, ip: str) -> bool: ...

    def leave(self, ip: str) -> None: ...


class Names(Protocol):
    """What the server needs of the resolver."""

    async def ptr(self, ip: str) -> str | None:
        """The verified name of an address."""
        ...


class SMTPServer:
    """Listens on the listeners of one `servers[]` entry.

    `runner` runs the stages; it may be replaced at any time, for new sessions. `hostname` stands in banner and Received
    unless the config has its own. `spool_path` is a folder for messages over 64 KiB while they come in. Without a
    `resolver` clients have no name. `clock` (for headers, and for failed logins) is the system's unless given.
    `connections` admits sessions in place of the limits of this process; `read` reads the files of certificates.
    """

    def __init__(
        self,
        config: Server,
        *,
        runner: StageRunner,
        queue: Store,
        log: Log,
        hostname: str,
        spool_path: Path,
        resolver: Names | None = None,
        clock: Clock | None = None,
        connections: Admission | None = None,
        read: Read = read_file,
    ) -> None:
        self.config = config
        self.runner = runner
        self.queue = queue
        self.log = log
        self.hostname = config.hostname or hostname
        self.spool_path = spool_path
        self.resolver = resolver
        self.clock: Clock = clock or time
        self.read = read
        self.certificates: CertificateStore | None = None
        self.failed_logins = Failures(config.limits.auth_failures_per_ip, self.clock)
        self.failed_handshakes = Failures(config.limits.handshakes_per_ip, self.clock)
        self._networks = [ipaddress.ip_network(text, strict=False) for text in config.relay.networks]
        self._domains = {text.lower().encode() for text in config.relay.domains}
        limits = config.limits
        self._connections = connections or Connections(limits.connections, limits.connections_per_ip)
        self._bytes = ByteBudget(limits.spool, limits.spool_per_ip)
        self._live: set[Wire] = set()
        self._listening: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._commits: set[asyncio.Task[Any]] = set()
        self._stopping = False
        self._watching: asyncio.TimerHandle | None = None

    @property
    def sessions(self) -> int:
        """How many there are now."""
        return len(self._live)

    def sessions_from(self, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> int:
        """How many of them are from a network, by the client's address as scripts see it."""
        return sum(is_within(session.connection.remoteip, network) for session in self._live)

    # --- life

    async def start(self, sockets: Sequence[socket.socket] | None = None) -> list[tuple[str, int]]:
        """Listen; the bound addresses, in the order of the listeners. `sockets` are bound ones to be used instead.

        Raises OSError for an address that cannot be bound, CertificateError (a ValueError) for a bad certificate.
        """
        self.loop = asyncio.get_running_loop()
        logging.getLogger("mail.log").disabled = True  # aiosmtpd's own log; it is not made to keep secrets
        if self.config.tls is not None:
            self.certificates = CertificateStore(self.config.tls, server=self.config.id, log=self.log, read=self.read)
        elif any(listener.implicit_tls for listener in self.config.listeners):
            raise ValueError(f"server {self.config.id}: implicit_tls needs a certificate (tls)")
        try:
            for index, listener in enumerate(self.config.listeners):
                await self._listen(listener, sockets[index] if sockets else None)
        except BaseException:
            self._stop_listening()
            raise
        self._watch_certificates()
        return [server.sockets[0].getsockname()[:2] for server in self._listening]

    def _watch_certificates(self) -> None:
        """Look at the files now and then."""
        if self.certificates is None or not self.certificates.settings.watch:
            return
        if self._watching is not None:
            self.certificates.poll()
        self._watching = self.loop.call_later(self.certificates.settings.watch, self._watch_certificates)

    async def _listen(self, listener: Listener, bound: socket.socket | None) -> None:
        def session() -> Session:
            return Session(self, implicit_tls=listener.implicit_tls)

        if bound is not None:
            server = await self.loop.create_server(session, sock=bound, backlog=BACKLOG)
        else:
            server = await self.loop.create_server(session, listener.address, listener.port, backlog=BACKLOG)
        self._listening.append(server)

    async def stop(self, grace: float = 10.0) -> None:
        """Stop accepting; idle clients get 421 4.3.2; messages and stages under way may end within `grace` seconds.

        Commits always end: what a client was, or will be, told of is on disk.
        """
        self._stopping = True
        if self._watching is not None:
            self._watching.cancel()
        self._stop_listening()
        for session in list(self._live):
            session.shut_down()
        await self._settle(grace)
        for session in list(self._live):
            session.abort()
        while self._commits:
            await asyncio.wait(list(self._commits))
        await self._settle(1.0)
        for task in list(self._tasks):
            task.cancel()
        await self._settle(1.0)

    async def _settle(self, seconds: float) -> None:
        """Wait until no session and no task is left."""
        end = self.loop.time() + seconds
        while (self._tasks or self._live) and self.loop.time() < end:
            await asyncio.sleep(min(0.01, seconds))

    def _stop_listening(self) -> None:
        for server in self._listening:
            server.close()
        self._listening.clear()

    # --- sessions

    def enter(self, session: Wire) -> bool:
        """Admit a session, or not: limits in all and per IP."""
        if self._stopping or not self._connections.enter(session.peer_ip):
            return False
        self._live.add(session)
        return True

    def leave(self, session: Wire) -> None:
        """A session has ended; it keeps its place among the connections until that is freed."""
        self._live.discard(session)

    def free_place(self, session: Wire) -> None:
        self._connections.leave(session.peer_ip)

    def track(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something that `stop` waits for."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def track_commit(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something that nothing ends but itself."""
        task = self.loop.create_task(work)
        self._commits.add(task)
        task.add_done_callback(self._commits.discard)
        return task

    # --- what sessions ask

    def relays_from(self, ip: str) -> bool:
        """Whether `relay.networks` has this address."""
        return any(is_within(ip, network) for network in self._networks)

    def relays_to(self, domain: bytes) -> bool:
        """Whether `relay.domains` has this lower-case domain."""
        return domain in self._domains

    def postmaster(self) -> Address:
        """Where `<postmaster>` without a domain goes (RFC 5321 4.5.1)."""
        if self.config.postmaster is not None:
            return Address.of(self.config.postmaster.encode())
        return Address(b"postmaster", self.hostname.encode())

    def has_room(self, ip: str, size: int) -> bool:
        """Whether a message of this size may come from there."""
        return self._bytes.has_room(ip, size) and self.queue.has_room(size)

    async def find_name(self, ip: str) -> str | None:
        """A client's verified name; a resolver that fails knows none."""
        if self.resolver is None:
            return None
        try:
            return await self.resolver.ptr(ip)
        except Exception as error:
            self.log.info("resolver-failed", ip=ip, error=repr(error))
            return None

    def keep(self, intake: Intake, block: bytes, ip: str) -> bool:
        """Add to a message that comes from there; False when there is no room for it."""
        if not self._bytes.take(ip, len(block)):
            return False
        try:
            intake.write(block)
        except OSError as error:
            self._bytes.give(ip, len(block))
            self.log.error("intake-failed", error=repr(error))
            return False
        return True

    def discard(self, intake: Intake, ip: str) -> None:
        """Free a message that came from there; may be called twice."""
        if not intake.closed:
            self._bytes.give(ip, intake.size)
            intake.close()

    def log_verdict(
        self,
        stage: str,
        action: str,
        answer: Reply,
        connection: Connection,
        transaction: Transaction | None = None,
        **fields: object,
    ) -> None:
        """The one line of a verdict."""
        self.log.info(
            "verdict",
            stage=stage,
            action=action if answer.code < 400 or action != "accept" else "defer" if answer.code < 500 else "reject",
            code=answer.code,
            enhanced=".".join(map(str, answer.enhanced)) if answer.enhanced else None,
            text=" ".join(answer.lines),
            server=self.config.id,
            connection=connection.id,
            ip=connection.remoteip,
            transaction=transaction.id if transaction else None,
            **fields,
        )


def is_within(ip: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    """Whether an address lies in a network; a script may call the client what it wants."""
    try:
        return parse_ip(ip) in network
    except ValueError:
        return False
