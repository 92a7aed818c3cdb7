"""One delivery attempt: a plan and a queue entry come in, an Attempt goes out. Nothing else decides its outcome.

The way is RFC 5321 5.1: mail hosts in order of preference, the addresses of each, until one says something that counts.

Go on to the next address after: no connection, a lost or stalled one, a failed TLS handshake, a banner, EHLO, HELO or
STARTTLS refused, 421 anywhere, all of it before our final dot.
Stop after: any other reply to AUTH, MAIL, RCPT or DATA, a next hop that cannot take this mail (8BITMIME, SMTPUTF8), a
local bind that fails, and whatever happens after our final dot.

Among several failures the last temporary one is reported, and a permanent one only when all are permanent.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address

from hsl.runtime.dns import DNSError, Resolver
from hsl.runtime.log import Log
from hsl.runtime.message import BytesBody
from hsl.runtime.model import (
    Address,
    Attempt,
    AttemptError,
    Body,
    DeliveryPlan,
    QueueEntry,
    SourceIP,
)
from hsl.runtime.policies import Blocked, Permit, QueuePolicies
from hsl.smtpd.dialogue import Dialogue, Failed, HandshakeFailed, Timeouts, problem
from hsl.smtpd.dsn import headers_of
from hsl.smtpd.pool import Pool, PoolKey, PoolLimits
from hsl.smtpd.sevenbit import MAX_CONVERTED, Unconvertible, to_seven_bit
from hsl.smtpd.tls import ClientContexts

LOOKUP_MX = "lookup-mx"
PROTOCOLS = ("smtp", "lmtp")
OUR_PARAMS = frozenset({"SIZE", "BODY", "SMTPUTF8"})
DSN_PARAMS = frozenset({"RET", "ENVID", "NOTIFY", "ORCPT"})  # RFC 3461
TLS_MODES = ("disabled", "optional", "optional_verify", "require", "require_verify")
MAX_ADDRESSES = 10  # connections tried in one attempt
IP_BIND_ADDRESS_NO_PORT = 24  # <linux/in.h>: choose the port at connect, so many connections share one source address
IP_FREEBIND = 15
IPV6_FREEBIND = 78
EARLY_STATES = ("BANNER", "EHLO", "HELO", "LHLO", "STARTTLS")
HELO_NAME = re.compile(r"[\x21-\x7e]{1,255}\Z")
PATH = re.compile(rb'(?:"(?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*"|[^\x00-\x20"<>\x7f]*)\Z')
DOMAIN = re.compile(rb"[^\x00-\x20\"<>@\x7f]*\Z")


Recipients = Sequence[tuple[Address, Mapping[str, str]]]


@dataclass(frozen=True, slots=True)
class Order:
    """A plan in the form of the wire, checked before anything is opened."""

    plan: DeliveryPlan
    entry: QueueEntry
    body: Body
    sender: bytes
    recipients: tuple[tuple[bytes, dict[str, str]], ...]  # paths, and the parameters of RCPT
    hostname: str

    @property
    def walks_mx(self) -> bool:
        return self.plan.host in (None, "", LOOKUP_MX)

    def targets(self, host: str, ip: str) -> list[Target]:
        """The ways to an address: one for each source address of its family, in order; none if there is none."""
        sources = self.plan.sources or (None,)
        return [
            Target(host, ip, self.plan.port, source, self.helo(source))
            for source in sources
            if source is None or family_of(source.address) == family_of(ip)
        ]

    def helo(self, source: SourceIP | None) -> str:
        """Our name: what a script said with the address, else the plan's, else the address's, else this system's."""
        if source is not None and source.own_helo and source.helo:
            return source.helo
        return self.plan.helo or (source.helo if source else None) or self.hostname


@dataclass(frozen=True, slots=True)
class Target:
    """One address of one mail host, and how it is gone to."""

    host: str
    ip: str
    port: int
    source: SourceIP | None
    helo: str


class Unsendable(ValueError):
    """A plan that no attempt can carry out, now or later."""


def wire_path(address: Address) -> bytes:
    """The address between angle brackets, byte for byte. Raises Unsendable for bytes that could leave them."""
    if not PATH.match(address.localpart) or not DOMAIN.match(address.domain):
        raise Unsendable("an envelope address holds characters that cannot be sent")
    return address.path


def make_order(
    plan: DeliveryPlan, entry: QueueEntry, body: Body, hostname: str, recipients: Recipients | None = None
) -> Order:
    """Check a plan. Raises Unsendable for addresses, HELO names, TLS modes and protocols that cannot be used.

    Without `recipients` there is one, the plan's.
    """
    if plan.protocol not in PROTOCOLS:
        raise Unsendable(f"delivery protocol {plan.protocol!r} is not supported: use {' or '.join(PROTOCOLS)}")
    if plan.tls not in TLS_MODES:
        raise Unsendable(f"TLS mode {plan.tls!r} is not supported: use one of {', '.join(TLS_MODES)}")
    named = recipients or [(plan.recipient, plan.recipientparams)]
    if plan.protocol == "lmtp" and len(named) > 1:
        raise Unsendable("LMTP is for one recipient at a time here: each has a reply of its own")
    paths = tuple((wire_path(address), dict(params)) for address, params in named)
    if not all(path for path, _ in paths):
        raise Unsendable("the recipient is empty")
    order = Order(plan, entry, body, wire_path(plan.sender), paths, hostname)
    if not all(HELO_NAME.match(order.helo(source)) for source in plan.sources or (None,)):
        raise Unsendable("the HELO name holds characters that cannot be sent")
    return order


class Deliverer:
    """Delivers queue entries, one attempt at a time each; attempts may run side by side and share idle connections.

    local_addresses   (ip, port) -> whether that is a listener of ours: such a mail host is a loop, 5.4.6
    contexts          TLS contexts; the default trusts the system's authorities
    policies          what may hold an attempt back, address by address
    """

    def __init__(
        self,
        *,
        resolver: Resolver,
        hostname: str,
        log: Log,
        local_addresses: Callable[[str, int], bool] | None = None,
        timeouts: Timeouts | None = None,
        limits: PoolLimits | None = None,
        contexts: ClientContexts | None = None,
        policies: QueuePolicies | None = None,
    ) -> None:
        self.resolver = resolver
        self.hostname = hostname
        self.log = log
        self.is_local = local_addresses or (lambda ip, port: False)
        self.timeouts = timeouts or Timeouts()
        self.pool = Pool(limits)
        self.contexts = contexts or ClientContexts()
        self.policies = policies

    async def attempt(
        self,
        plan: DeliveryPlan,
        entry: QueueEntry,
        body: Body,
        recipients: Recipients | None = None,
        permit: Callable[[str], None] | None = None,
    ) -> Attempt:
        """Try to deliver; every outcome is in the Attempt, which is not logged here.

        A plan that cannot be sent (see make_order) is a permanent error, and nothing is opened for it. Of several
        recipients the first one that is refused ends the transaction. `permit` is asked about each IP address before it
        is connected to; what it raises is raised.
        """
        try:
            order = make_order(plan, entry, body, self.hostname, recipients)
        except Unsendable as error:
            return Attempt(error=AttemptError(temporary=False, message=str(error), kind="plan", enhanced=(5, 6, 0)))
        started = time.monotonic()
        attempt = await self.walk(order, permit or permit_all)
        attempt.helo = attempt.helo or order.helo(plan.source)
        attempt.duration = time.monotonic() - started
        return attempt

    async def close(self) -> None:
        """QUIT on all idle connections. Call it after the last attempt."""
        await self.pool.close()

    async def walk(self, order: Order, permit: Callable[[str], None]) -> Attempt:
        """Host by host, address by address, to the first outcome that counts."""
        failure: Attempt | None = None
        held: Attempt | None = None
        tried, skipped = 0, 0
        try:
            hosts = await self.hosts(order)
        except DNSError as error:
            return dns_failure(error)
        for host in hosts:
            try:
                addresses = await self.resolver.addresses(host)
            except DNSError as error:
                failure = weigh(failure, dns_failure(error, host))
                continue
            if order.walks_mx and any(self.is_local(ip, order.plan.port) for ip in addresses):
                return failure or loop_failure(host)  # worse hosts would only send it back (RFC 5321 5.1)
            usable = [ways for ip in addresses if (ways := order.targets(host, ip))]
            skipped += len(addresses) - len(usable)
            for ways in usable[: MAX_ADDRESSES - tried]:
                tried += 1
                permit(ways[0].ip)
                target, admitted = self.admit_one(order, ways)
                if isinstance(admitted, Blocked):
                    held = held or held_back(target, admitted)
                    continue
                try:
                    attempt, final = await self.try_target(order, target)
                finally:
                    self.release(admitted)
                attempt.permit = admitted
                if final:
                    return attempt
                failure = weigh(failure, attempt)
        return failure or held or no_address(order, hosts, skipped)

    def admit_one(self, order: Order, ways: Sequence[Target]) -> tuple[Target, Permit | Blocked | None]:
        """The first source address that the policies let go to this address; the first of all when they let none."""
        asked = [(target, self.admit(order, target)) for target in ways[:1]]
        for target in ways[1:]:
            if not isinstance(asked[-1][1], Blocked):
                break
            asked.append((target, self.admit(order, target)))
        return asked[0] if isinstance(asked[-1][1], Blocked) else asked[-1]

    def admit(self, order: Order, target: Target) -> Permit | Blocked | None:
        """Whether the queue's policies let a mail go to this address now."""
        if self.policies is None or not order.entry.id:
            return None
        source = target.source.address if target.source else ""
        host = target.host.lower().removesuffix(".")
        return self.policies.admit(self.policies.facts(order.entry, source, target.ip, host), late=True)

    def release(self, permit: Permit | None) -> None:
        if permit is not None and self.policies is not None:
            self.policies.release(permit)

    async def hosts(self, order: Order) -> list[str]:
        """The names, or address literals (RFC 5321 4.1.3), that take this mail. Raises DNSError."""
        if not order.walks_mx:
            return [order.plan.host or ""]
        domain = order.plan.recipient.domain.decode("utf-8", "replace")
        if not domain:
            raise DNSError(False, (5, 1, 3), "the recipient has no domain, and the transport no host")
        if not domain.startswith("["):
            return choose_hosts(order.plan, await self.resolver.mx(domain))
        try:
            return [str(ip_address(re.sub(r"\A\[(?:IPv6:)?|\]\Z", "", domain, flags=re.IGNORECASE)))]
        except ValueError:
            raise DNSError(False, (5, 1, 3), f"{domain} is not an address literal") from None

    async def try_target(self, order: Order, target: Target) -> tuple[Attempt, bool]:
        """One address, on an idle connection if there is one: the outcome, and whether the walk ends with it."""
        key = pool_key(order, target)
        dialogue = self.pool.take(key) if order.plan.pooling else None
        if dialogue is not None:
            try:
                return await self.transact(order, target, key, dialogue), True
            except Failed as failed:
                if not stale(failed):
                    return settle(target, failed, dialogue)
        try:
            dialogue = await self.connect(order, target)
        except Failed as failed:
            return settle(target, failed, None)
        try:
            return await self.transact(order, target, key, dialogue), True
        except Failed as failed:
            return settle(target, failed, dialogue)

    async def connect(self, order: Order, target: Target) -> Dialogue:
        """A connection ready for MAIL. `optional` TLS falls back to a plain one once, unless credentials would be sent
        over it. Raises Failed.
        """
        try:
            return await self.negotiate(order, target, order.plan.tls)
        except HandshakeFailed as failed:
            if order.plan.tls != "optional" or order.plan.username is not None:
                raise
            self.log.debug("tls-fallback", host=target.host, ip=target.ip, port=target.port)
            dialogue = await self.negotiate(order, target, "disabled")
            dialogue.tlsrpt = failed.tlsrpt
            return dialogue

    async def negotiate(self, order: Order, target: Target, tls: str) -> Dialogue:
        """Connect, banner, EHLO, STARTTLS, AUTH."""
        plan = order.plan
        sock = await self.open_socket(target, target.source, plan.connect_timeout)
        localip = sock.getsockname()[0]
        try:
            dialogue = await Dialogue.open(sock, target.helo, self.waits(plan), lmtp=plan.protocol == "lmtp")
        except Failed as failed:
            failed.localip = localip
            raise
        try:
            await dialogue.hello(target.helo)
            await dialogue.secure(tls, plan.tls_settings, self.contexts, target.host, target.helo)
            if plan.xclient:
                await dialogue.xclient(plan.xclient, target.helo)
            if plan.username is not None:
                await dialogue.login(plan.username, plan.password or b"")
        except Failed as failed:
            failed.localip = localip
            failed.tls, failed.tlsrpt = dialogue.tls, dialogue.tlsrpt
            self.pool.finish(dialogue)
            raise
        except BaseException:
            dialogue.abort()
            raise
        return dialogue

    def waits(self, plan: DeliveryPlan) -> Timeouts:
        return replace(self.timeouts, **plan.timeouts) if plan.timeouts else self.timeouts

    async def open_socket(self, target: Target, source: SourceIP | None, timeout: float) -> socket.socket:
        """A connected socket, bound to the source. Raises Failed of kind bind, connect or timeout; a failed bind never
        falls back to the default address.
        """
        sock = new_socket(target.ip)
        try:
            sock.setblocking(False)
            if source is not None:
                self.bind(sock, source)
            loop = asyncio.get_running_loop()
            await asyncio.wait_for(loop.sock_connect(sock, (target.ip, target.port)), timeout)
        except TimeoutError:
            sock.close()
            raise problem("connect", "no connection in time", "timeout", (4, 4, 1)) from None
        except OSError as error:
            sock.close()
            raise problem("connect", explain(error), "connect", (4, 4, 1)) from error
        except BaseException:
            sock.close()
            raise
        return sock

    def bind(self, sock: socket.socket, source: SourceIP) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            if source.nonlocal_source and sock.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
            elif source.nonlocal_source:
                sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
            sock.bind((source.address, 0))
        except OSError as error:
            self.log.warning("bind-failed", address=source.address, id=source.id, reason=explain(error))
            raise problem("bind", f"source {source.address}: {explain(error)}", "bind", (4, 3, 5)) from error

    async def transact(self, order: Order, target: Target, key: PoolKey, dialogue: Dialogue) -> Attempt:
        """MAIL to the reply after the final dot. The connection goes back to the pool if it is still in step."""
        keep = False
        dialogue.timeouts = self.waits(order.plan)
        try:
            body = await fitting_body(order, dialogue)
            params = mail_params(order, body, dialogue)
            await dialogue.mail(order.sender, *params, *given_params(order.plan.senderparams, dialogue))
            for path, given in order.recipients:
                await dialogue.recipient(path, *given_params(given, dialogue))
            result = await dialogue.data(body)
            keep = True
            return describe(Attempt(result=result), target, dialogue)
        except Failed as failed:
            refused = failed.result is not None and failed.result.code == 421
            keep = not refused and not (dialogue.used > 1 and stale(failed))
            raise
        finally:
            if keep and order.plan.pooling:
                self.pool.give(key, dialogue)
            elif keep:
                self.pool.finish(dialogue)
            else:
                dialogue.abort()


async def fitting_body(order: Order, dialogue: Dialogue) -> Body:
    """The message as the next hop takes it: in 7 bits where it has no 8BITMIME (RFC 6152 3).

    Raises Failed, permanent: 5.6.3 for what cannot be converted, 5.6.7 for internationalised mail without SMTPUTF8.
    """
    body = order.body
    if not dialogue.offers("smtputf8") and is_internationalised(order):
        message = "the next hop does not take internationalised mail (SMTPUTF8)"
        raise problem("MAIL", message, "protocol", (5, 6, 7), temporary=False)
    if dialogue.offers("8bitmime") or is_ascii(body):
        return body
    reason = "it is too large"
    if body.size <= MAX_CONVERTED:
        try:
            return BytesBody(await asyncio.to_thread(to_seven_bit, b"".join(body.chunks())))
        except Unconvertible as error:
            reason = str(error)
    message = f"the next hop does not take 8-bit data, and the message cannot be converted: {reason}"
    raise problem("MAIL", message, "protocol", (5, 6, 3), temporary=False)


def is_internationalised(order: Order) -> bool:
    """Whether envelope or header need SMTPUTF8 (RFC 6531 3.6): a body of other than ASCII does not."""
    if not (order.sender.isascii() and all(path.isascii() for path, _ in order.recipients)):
        return True
    return order.entry.smtputf8 and not headers_of(order.body).isascii()


def mail_params(order: Order, body: Body, dialogue: Dialogue) -> list[bytes]:
    """SIZE, BODY and SMTPUTF8 as offered and needed (RFC 1870, 6152, 6531)."""
    params = []
    if dialogue.offers("size"):
        params.append(b"SIZE=%d" % body.size)
    if dialogue.offers("8bitmime") and order.entry.eightbit:
        params.append(b"BODY=8BITMIME")
    if dialogue.offers("smtputf8") and (order.entry.smtputf8 or is_internationalised(order)):
        params.append(b"SMTPUTF8")
    return params


def given_params(params: Mapping[str, str], dialogue: Dialogue) -> list[bytes]:
    """What a script wants said: not what is ours to say, and DSN's only where it is offered (RFC 3461 5.2)."""
    left_out = OUR_PARAMS if dialogue.offers("dsn") else OUR_PARAMS | DSN_PARAMS
    return [
        (f"{name}={value}" if value else name).encode("ascii") for name, value in params.items() if name not in left_out
    ]


def permit_all(address: str) -> None:
    """The queue's deliveries go anywhere."""


def choose_hosts(plan: DeliveryPlan, hosts: list[str]) -> list[str]:
    """The mail hosts that a script leaves. Raises DNSError when it leaves none."""
    if not plan.mx_include and not plan.mx_exclude:
        return hosts
    left = [
        host
        for host in hosts
        if (not plan.mx_include or names_host(plan.mx_include, host)) and not names_host(plan.mx_exclude, host)
    ]
    if not left:
        raise DNSError(True, (4, 4, 4), "no mail host is left by mx_include and mx_exclude")
    return left


def names_host(patterns: tuple[str, ...], host: str) -> bool:
    """Whether one of the patterns is this host; `*.` stands for one label."""
    name = host.lower().removesuffix(".")
    return any(name == item or (item.startswith("*.") and name.partition(".")[2] == item[2:]) for item in patterns)


def held_back(target: Target, blocked: Blocked) -> Attempt:
    """The outcome when no address may be tried now."""
    tag = f" ({blocked.tag})" if blocked.tag else ""
    error = AttemptError(True, f"held back by a queue policy: {blocked.reason}{tag}", "policy", (4, 4, 5))
    return Attempt(error=error, remotemx=target.host, held=blocked)


def is_ascii(body: Body) -> bool:
    return all(chunk.isascii() for chunk in body.chunks())


def stale(failed: Failed) -> bool:
    """On a reused connection: may its age be to blame, so that the mail is tried at once on a fresh one?"""
    if failed.state in ("MAIL", "RSET"):
        return failed.error is None or failed.error.temporary
    lost = failed.error is not None and failed.error.kind in ("disconnect", "protocol")
    return lost and failed.state != "EOD"


def goes_on(failed: Failed) -> bool:
    """Whether the next address may be tried (the rules at the top of this file)."""
    if failed.state == "EOD":
        return False
    if failed.result is not None:
        return failed.state in EARLY_STATES or failed.result.code == 421
    return failed.error is not None and failed.error.temporary and failed.error.kind != "bind"


def settle(target: Target, failed: Failed, dialogue: Dialogue | None) -> tuple[Attempt, bool]:
    attempt = describe(Attempt(result=failed.result, error=failed.error), target, dialogue)
    attempt.localip = attempt.localip or failed.localip
    attempt.tls = attempt.tls or failed.tls
    attempt.tlsrpt = attempt.tlsrpt or failed.tlsrpt
    return attempt, not goes_on(failed)


def describe(attempt: Attempt, target: Target, dialogue: Dialogue | None) -> Attempt:
    """Fill in where it happened."""
    attempt.remotemx, attempt.remoteip, attempt.remoteport = target.host, target.ip, target.port
    attempt.helo, attempt.localipid = target.helo, (target.source.id or "" if target.source else "")
    if dialogue is not None:
        attempt.localip, attempt.tls, attempt.dsn = dialogue.localip, dialogue.tls, dialogue.offers("dsn")
        attempt.tlsrpt, attempt.greeting = dialogue.tlsrpt, dialogue.greeting
        attempt.connection, attempt.transactions = dialogue.id, dialogue.used
    return attempt


def weigh(old: Attempt | None, new: Attempt) -> Attempt:
    """Of two failures the later one, but a temporary one before a permanent one."""
    return old if old is not None and new.permanent and not old.permanent else new


def dns_failure(error: DNSError, host: str = "") -> Attempt:
    failure = AttemptError(error.temporary, error.message, "dns", error.enhanced, dns=error.status)
    return Attempt(error=failure, remotemx=host)


def loop_failure(host: str) -> Attempt:
    message = f"mail host {host} is this server: the mail would loop"
    return Attempt(error=AttemptError(False, message, "dns", (5, 4, 6)), remotemx=host)


def no_address(order: Order, hosts: list[str], skipped: int) -> Attempt:
    """The failure when there was nothing to connect to."""
    shown = ", ".join(hosts[:3])
    if skipped and order.plan.source is not None:
        sources = ", ".join(source.address for source in order.plan.sources[:3])
        message = f"no address of {shown} is of the family of the source address {sources}"
        return Attempt(error=AttemptError(True, message, "bind", (4, 4, 4)))
    return Attempt(error=AttemptError(True, f"no address found for {shown}", "dns", (4, 4, 4), dns="NODATA"))


def pool_key(order: Order, target: Target) -> PoolKey:
    plan = order.plan
    source = target.source.address if target.source else ""
    checks_name = plan.tls.endswith("verify") or plan.tls_settings.verify_host or plan.tls_settings.sni is True
    verified = target.host if checks_name else ""
    said = plan.protocol + "".join(f" {name}={value}" for name, value in plan.xclient.items())
    return PoolKey(
        target.ip, target.port, source, target.helo, plan.tls, verified, plan.username, plan.password, said,
        plan.tls_settings,
    )  # fmt: skip


def new_socket(ip: str) -> socket.socket:
    """A socket to connect to an address. Raises Failed: of kind connect without its family on this machine, for the
    next address may be of another; else of kind bind: no descriptors or memory are left, and that is our own affair.
    """
    try:
        # With the protocol named, asyncio sets TCP_NODELAY; without it the dot waits 40 ms for a delayed ACK.
        return socket.socket(family_of(ip), socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        kind = "connect" if error.errno == errno.EAFNOSUPPORT else "bind"
        raise problem("connect", f"no socket: {explain(error)}", kind, (4, 3, 0)) from error


def family_of(ip: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in ip else socket.AF_INET


def explain(error: OSError) -> str:
    """The system's words for an error, without Python's."""
    return os.strerror(error.errno) if error.errno is not None else type(error).__name__
