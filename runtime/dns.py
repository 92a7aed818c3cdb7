"""DNS for mail: a domain's mail hosts, a host's addresses, a client's verified name.

Comes in: names and IP addresses. Goes out: lists of text, or a DNSError with the enhanced code of RFC 3463 and 7505.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import Generic, Protocol, TypeVar

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver
import dns.reversename
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.PTR import PTR

from hsl.runtime.reply import Enhanced

T = TypeVar("T")
MAX_HOSTS = 20  # mail hosts of one domain, and addresses of one host, that are looked at
MAX_NAMES = 4  # names of one PTR answer that are verified
POSITIVE_TTL = 3600.0  # an answer is kept for its own TTL, but no longer (seconds)
NEGATIVE_TTL = 60.0
HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\Z")
NULL_MX = (5, 1, 10)  # RFC 7505 4.1
NO_DOMAIN = (5, 1, 2)
DNS_FAILURE = (4, 4, 3)


class DNSError(Exception):
    """A lookup that gave no usable answer. `message` names the domain, for logs and bounces.

    `status` is what the DNS said: NXDOMAIN, NODATA, NULLMX, SERVFAIL or TIMEOUT; empty where it was not asked.
    """

    def __init__(self, temporary: bool, enhanced: Enhanced, message: str, status: str = "") -> None:
        super().__init__(message)
        self.temporary = temporary
        self.enhanced = enhanced
        self.message = message
        self.status = status


class Resolver(Protocol):
    """What mail asks the DNS. Names carry no final dot; an IP literal is its own answer everywhere."""

    async def mx(self, domain: str) -> list[str]:
        """The mail hosts in order of preference, equal ones shuffled; without any the domain itself (RFC 5321 5.1).

        Raises DNSError: 5.1.10 null MX, 5.1.2 no such domain, 4.4.3 (temporary) no answer.
        """
        ...

    async def addresses(self, host: str) -> list[str]:
        """IPv4, then IPv6 addresses; empty when the name has none or does not exist. Raises DNSError 4.4.3."""
        ...

    async def ptr(self, ip: str) -> str | None:
        """The forward-confirmed name of an address, in lower case; None when there is none or the lookup fails."""
        ...


class TableResolver:
    """Fixed answers: `hosts` is name to addresses, `mx` is domain to mail hosts in order (`.` alone is a null MX)."""

    def __init__(self, hosts: Mapping[str, Sequence[str]] | None = None, mx: Mapping[str, Sequence[str]] | None = None):
        self.hosts = {fold(name): list(addresses) for name, addresses in (hosts or {}).items()}
        self.mail_hosts = {fold(name): [fold(host) for host in names] for name, names in (mx or {}).items()}

    def holds(self, name: str) -> bool:
        """Whether the tables answer for this name."""
        name = fold(name)
        return is_literal(name) or name in self.hosts or name in self.mail_hosts

    async def mx(self, domain: str) -> list[str]:
        if not self.holds(domain):
            raise no_such_domain(domain)
        hosts = self.mail_hosts.get(fold(domain), [domain])
        return usable_hosts(domain, hosts)

    async def addresses(self, host: str) -> list[str]:
        return [host] if is_literal(host) else list(self.hosts.get(fold(host), []))

    async def ptr(self, ip: str) -> str | None:
        return next((name for name, addresses in self.hosts.items() if ip in addresses), None)


class DnsResolver:
    """dnspython's asynchronous resolver behind a small cache; the tables answer first for the names they hold.

    servers   IP addresses; none: the system's. Raises ValueError when the system has none either
    timeout   seconds for one lookup in all, retries included
    ptr       False: `ptr()` asks nobody and answers None
    size      how many answers, good and bad ones, are kept
    """

    def __init__(
        self,
        servers: Sequence[str] = (),
        port: int = 53,
        timeout: float = 5.0,
        hosts: Mapping[str, Sequence[str]] | None = None,
        mx: Mapping[str, Sequence[str]] | None = None,
        ptr: bool = True,
        *,
        size: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.table = TableResolver(hosts, mx)
        self.cache: AnswerCache[list[str] | None] = AnswerCache(size, clock)
        self.timeout = timeout
        self.asks_ptr = ptr
        try:
            self.resolver = dns.asyncresolver.Resolver(configure=not servers)
        except dns.resolver.NoResolverConfiguration:
            raise ValueError("the system has no DNS servers configured: set resolver.servers") from None
        if servers:
            self.resolver.nameservers = list(servers)
            self.resolver.port = port
        self.resolver.lifetime = timeout
        self.resolver.timeout = min(2.0, timeout / 2)
        self.resolver.use_edns(0, 0, 1232)

    async def mx(self, domain: str) -> list[str]:
        if self.table.holds(domain):
            return await self.table.mx(domain)
        answers = await self.lookup(domain, "MX")
        if answers is None:
            raise no_such_domain(domain)
        if not answers:
            return [domain]
        ordered = sorted(random.sample(answers, len(answers)), key=preference)
        return usable_hosts(domain, [answer.partition(" ")[2] for answer in ordered])

    async def addresses(self, host: str) -> list[str]:
        if self.table.holds(host):
            return await self.table.addresses(host)
        found = await asyncio.gather(self.lookup(host, "A"), self.lookup(host, "AAAA"), return_exceptions=True)
        addresses: list[str] = []
        for answer in found:
            if isinstance(answer, list):
                addresses += answer[:MAX_HOSTS]
            elif isinstance(answer, BaseException) and not isinstance(answer, DNSError):
                raise answer
        failed = next((answer for answer in found if isinstance(answer, DNSError) and answer.temporary), None)
        if failed is not None and not addresses:
            raise failed
        return addresses

    async def ptr(self, ip: str) -> str | None:
        if not self.asks_ptr:
            return None
        known = await self.table.ptr(ip)
        if known is not None:
            return known
        try:
            async with asyncio.timeout(self.timeout):
                return await self.confirmed_name(ip)
        except (DNSError, TimeoutError, ValueError, dns.exception.DNSException):
            return None

    async def confirmed_name(self, ip: str) -> str | None:
        """The first name of the address whose own addresses hold it (RFC 8601 2.7.3)."""
        wanted = ip_address(ip)
        names = await self.lookup(dns.reversename.from_address(ip).to_text(omit_final_dot=True), "PTR")
        for name in (names or [])[:MAX_NAMES]:
            if HOST_NAME.match(name) and wanted in map(ip_address, await self.addresses(name)):
                return name.lower()
        return None

    async def lookup(self, name: str, kind: str) -> list[str] | None:
        """The answers as text, [] when the name has none of this kind, None when it does not exist.

        Raises DNSError: 5.1.2 for what is no domain name, 4.4.3 for no usable answer in time.
        """
        key = (fold(name), kind)
        kept, answers = self.cache.get(key)
        if kept:
            return answers
        try:
            question = dns.name.from_text(name)
        except (dns.exception.DNSException, UnicodeError):
            raise DNSError(False, NO_DOMAIN, f"{name!r} is not a domain name") from None
        answers, seconds = await self.ask(question, kind)
        self.cache.put(key, answers, seconds)
        return answers

    async def ask(self, name: dns.name.Name, kind: str) -> tuple[list[str] | None, float]:
        """One question to the servers: the answers as `lookup` gives them, and how long they hold (seconds)."""
        try:
            async with asyncio.timeout(self.timeout):  # dnspython sleeps between tries past its own lifetime
                answer = await self.resolver.resolve(name, kind, search=False, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return None, NEGATIVE_TTL
        except (dns.exception.DNSException, TimeoutError) as error:
            late = isinstance(error, dns.exception.Timeout | TimeoutError)
            reason = "no answer in time" if late else "no usable answer"
            status = "TIMEOUT" if late else "SERVFAIL"
            raise DNSError(True, DNS_FAILURE, f"{kind} lookup of {name.to_text(True)}: {reason}", status) from error
        if answer.rrset is None:
            return [], NEGATIVE_TTL
        return [answer_text(record) for record in answer.rrset], min(float(answer.rrset.ttl), POSITIVE_TTL)


class AnswerCache(Generic[T]):
    """Answers with an end, at most `size` of them; the least recently used goes first."""

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self.size = size
        self.clock = clock
        self.entries: OrderedDict[tuple[str, str], tuple[float, T]] = OrderedDict()

    def get(self, key: tuple[str, str]) -> tuple[bool, T | None]:
        """(True, answers) for a live entry, else (False, None)."""
        entry = self.entries.get(key)
        if entry is None:
            return False, None
        if entry[0] <= self.clock():
            del self.entries[key]
            return False, None
        self.entries.move_to_end(key)
        return True, entry[1]

    def put(self, key: tuple[str, str], answers: T, seconds: float) -> None:
        if seconds <= 0 or self.size <= 0:
            return
        self.entries[key] = (self.clock() + seconds, answers)
        self.entries.move_to_end(key)
        while len(self.entries) > self.size:
            self.entries.popitem(last=False)


def fold(name: str) -> str:
    return name.rstrip(".").lower() or "."


@lru_cache(4096)
def is_literal(host: str) -> bool:
    """Whether this is an IP address, not a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def no_such_domain(domain: str) -> DNSError:
    return DNSError(False, NO_DOMAIN, f"domain {domain} does not exist", "NXDOMAIN")


def usable_hosts(domain: str, hosts: Sequence[str]) -> list[str]:
    """The hosts without the root; nothing else left is a null MX (RFC 7505 3). Raises DNSError 5.1.10."""
    found = [host for host in hosts if host != "."]
    if not found:
        raise DNSError(False, NULL_MX, f"domain {domain} takes no mail (null MX)", "NULLMX")
    return found[:MAX_HOSTS]


def answer_text(record: object) -> str:
    """A record as text without final dots: `10 mail.example.com` for MX, a name for PTR, an address for A and AAAA."""
    if isinstance(record, MX):
        return f"{record.preference} {name_text(record.exchange)}"
    if isinstance(record, PTR):
        return name_text(record.target)
    return str(record)


def name_text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else "."


def preference(answer: str) -> int:
    return int(answer.partition(" ")[0])
