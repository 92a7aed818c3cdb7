"""The DNS as scripts see it: any question, by any server, with TTL and AD; and the addresses of hosts to connect to.

Names come in as text, answers go out as DNSAnswer (hsl/library/network.py). For the gateway's own mail there is dns.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from ipaddress import ip_address
from pathlib import Path

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.resolver
import dns.reversename
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.nsbase import NSBase
from dns.rdtypes.txtbase import TXTBase

from hsl.errors import ScriptError
from hsl.library.network import DNSAnswer, NetworkError
from hsl.runtime.dns import NEGATIVE_TTL, POSITIVE_TTL, AnswerCache, TableResolver, fold, is_literal

TRY = 2.0  # seconds for one server, before the next is asked
MAX_RECORDS = 1_000  # of one answer; the rest is left out
MAX_SERVERS = 16  # that one question may name
LOOPBACK = ("127.0.0.1", "::1")
MAX_HOSTS_FILE = 16 * 1024 * 1024


class ScriptDNS:
    """The Protocol DNS over dnspython. Answers of the configured servers are kept, negative ones too.

    permit          asked for each server that a question names
    servers, port   the configured ones; none: the system's
    table           names that are answered without asking
    """

    def __init__(
        self,
        permit: Callable[[str], None],
        servers: Sequence[str] = (),
        port: int = 53,
        table: TableResolver | None = None,
        *,
        hosts: Path = Path("/etc/hosts"),
        size: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.permit = permit
        self.servers = servers
        self.port = port
        self.table = table or TableResolver()
        self.hosts = HostsFile(hosts)
        self.clock = clock
        self.cache: AnswerCache[tuple[float, DNSAnswer]] = AnswerCache(size, clock)
        self.resolver: dns.asyncresolver.Resolver | None = None

    async def query(
        self, name: str, kind: str = "A", *, timeout: float = 5.0, servers: Sequence[str] = ()
    ) -> DNSAnswer:
        known = known_kind(kind)
        question = read_name(name)
        if question is None:
            return DNSAnswer("FORMERR")
        if servers:
            return await self.ask(self.named_servers(servers), question, known, timeout)
        return await self.kept(question, known, timeout, search=False)

    async def kept(self, question: dns.name.Name, kind: str, timeout: float, *, search: bool) -> DNSAnswer:
        """An answer out of the table or the cache, else of the configured servers."""
        name = question.to_text(omit_final_dot=True)
        tabled = await self.look_up(name, kind)
        if tabled is not None:
            return tabled
        key = (fold(name), f"{kind} search" if search else kind)
        found, entry = self.cache.get(key)
        if found and entry is not None:
            end, answer = entry
            return answer._replace(ttl=max(0.0, end - self.clock()))
        answer = await self.ask(self.default(), question, kind, timeout, search=search)
        seconds = min(answer.ttl, POSITIVE_TTL if answer.records else NEGATIVE_TTL)
        if answer.status in ("NOERROR", "NXDOMAIN"):
            self.cache.put(key, (self.clock() + answer.ttl, answer), seconds)
        return answer

    async def ask(
        self,
        resolver: dns.asyncresolver.Resolver,
        question: dns.name.Name,
        kind: str,
        timeout: float,
        *,
        search: bool = False,
    ) -> DNSAnswer:
        """One question over the wire, with a time of its own for each try: the resolver is shared."""
        resolver = copy(resolver)
        resolver.timeout = min(TRY, timeout / 2)
        try:
            async with asyncio.timeout(timeout):  # dnspython sleeps between tries past its own lifetime
                answer = await resolver.resolve(
                    question, kind, search=search, raise_on_no_answer=False, lifetime=timeout
                )
        except dns.resolver.NXDOMAIN as error:
            return no_such_name(error, trusted(resolver))
        except dns.resolver.NoNameservers as error:
            return DNSAnswer(last_status(error))
        except (TimeoutError, dns.exception.Timeout):
            return DNSAnswer("TIMEOUT")
        except (dns.exception.DNSException, OSError, ValueError):
            return DNSAnswer("SERVFAIL")
        records = () if answer.rrset is None else tuple(map(record_bytes, list(answer.rrset)[:MAX_RECORDS]))
        secure = trusted(resolver) and validated(answer.response)
        return DNSAnswer("NOERROR", records, float(answer.chaining_result.minimum_ttl), secure)

    def default(self) -> dns.asyncresolver.Resolver:
        """The configured servers. Raises ScriptError where there are none."""
        if self.resolver is None:
            try:
                self.resolver = configured(dns.asyncresolver.Resolver(configure=not self.servers))
            except dns.resolver.NoResolverConfiguration:
                raise ScriptError("the system has no DNS servers configured: name some") from None
            if self.servers:
                self.resolver.nameservers = list(self.servers)
                self.resolver.port = self.port
        return self.resolver

    def named_servers(self, servers: Sequence[str]) -> dns.asyncresolver.Resolver:
        """Servers that a question names. Raises NotPermitted; ValueError for what is no address."""
        if len(servers) > MAX_SERVERS:
            raise ValueError(f"more than {MAX_SERVERS} servers")
        places = [read_server(text) for text in servers]
        for address, _ in places:
            self.permit(address)
        resolver = configured(dns.asyncresolver.Resolver(configure=False))
        resolver.nameservers = [dns.nameserver.Do53Nameserver(address, port) for address, port in places]
        return resolver

    async def look_up(self, name: str, kind: str) -> DNSAnswer | None:
        """What the table says; None for a name that it does not hold."""
        table = self.table
        if kind == "PTR":
            host = await table.ptr(reversed_address(name))
            return None if host is None else DNSAnswer("NOERROR", (host.encode(),))
        if is_literal(name) or not table.holds(name):
            return None
        if kind == "MX":
            hosts = table.mail_hosts.get(fold(name), [])
            return DNSAnswer("NOERROR", tuple(f"{10 * (at + 1)} {host}".encode() for at, host in enumerate(hosts)))
        colon = {"A": False, "AAAA": True}.get(kind)
        found = [address for address in await table.addresses(name) if (":" in address) is colon]
        return DNSAnswer("NOERROR", tuple(address.encode() for address in found))

    async def addresses(self, host: str, *, timeout: float = 5.0) -> list[str]:
        name = fold(host)
        if is_literal(host):
            return [host]
        if name == "localhost" or name.endswith(".localhost"):  # RFC 6761 6.3
            return list(LOOPBACK)
        local = [] if self.table.holds(name) else self.hosts.addresses(name)
        question = read_name(host, searched="." not in host)
        if local or question is None:
            return local
        search = not question.is_absolute()
        asked = (self.kept(question, kind, timeout, search=search) for kind in ("A", "AAAA"))
        answers = await asyncio.gather(*asked)
        found = [record.decode("ascii") for answer in answers for record in answer.records]
        if not found and any(answer.status not in ("NOERROR", "NXDOMAIN") for answer in answers):
            raise NetworkError("resolve", f"no DNS server tells the addresses of {host}")
        return found


class HostsFile:
    """/etc/hosts, read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: tuple[int, int] | None = None
        self.names: dict[str, list[str]] = {}

    def addresses(self, name: str) -> list[str]:
        try:
            status = self.path.stat()
            if self.seen != (status.st_mtime_ns, status.st_size):
                self.seen = (status.st_mtime_ns, status.st_size)
                self.names = {}
                if status.st_size <= MAX_HOSTS_FILE:
                    self.read(self.path.read_text("utf-8", "replace").splitlines())
        except OSError:
            return []
        return list(self.names.get(name, []))

    def read(self, lines: Iterable[str]) -> None:
        for line in lines:
            address, *names = line.partition("#")[0].split() or [""]
            if is_literal(address):
                for name in names:
                    self.names.setdefault(fold(name), []).append(address)


def configured(resolver: dns.asyncresolver.Resolver) -> dns.asyncresolver.Resolver:
    resolver.use_edns(0, 0, 1232)
    resolver.set_flags(dns.flags.RD | dns.flags.AD)  # AD in a question: tell me (RFC 6840 5.7)
    return resolver


def known_kind(kind: str) -> str:
    """A record type by its name in capitals. Raises ValueError."""
    try:
        found = dns.rdatatype.from_text(kind)
    except (dns.exception.DNSException, ValueError):
        raise ValueError(f"there is no record type {kind[:40]!r}") from None
    if dns.rdatatype.is_metatype(found) or found == dns.rdatatype.NONE:
        raise ValueError(f"records of type {kind[:40]!r} cannot be asked for")
    return dns.rdatatype.to_text(found)


def read_name(name: str, *, searched: bool = False) -> dns.name.Name | None:
    """A domain name, as it is asked for; None for what is none. `searched`: below the system's search domains."""
    origin = None if searched else dns.name.root
    try:
        return dns.name.from_text(name, origin, dns.name.IDNA_2008_UTS_46) if name and len(name) <= 1024 else None
    except (dns.exception.DNSException, UnicodeError):
        return None


def read_server(text: str) -> tuple[str, int]:
    """`address`, `address:port` or `[address]:port`. Raises ValueError."""
    address, port = text, "53"
    if text.startswith("["):
        address, closing, rest = text[1:].partition("]")
        port = (rest.removeprefix(":") or "53") if closing else ""
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    if not is_literal(address) or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise ValueError(f"{text[:100]!r} is not the address of a server")
    return str(ip_address(address)), int(port)


def trusted(resolver: dns.asyncresolver.Resolver) -> bool:
    """Whether AD means anything: on the way from a server elsewhere anybody can set it (RFC 6840 5.8)."""
    servers = [item if isinstance(item, str) else item.answer_nameserver() for item in resolver.nameservers]
    return all(is_literal(server) and ip_address(server).is_loopback for server in servers)


def validated(response: dns.message.Message) -> bool:
    return bool(response.flags & dns.flags.AD)


def no_such_name(error: dns.resolver.NXDOMAIN, trust: bool) -> DNSAnswer:
    responses: Sequence[dns.message.QueryMessage] = list(error.kwargs["responses"].values())
    ttl = min((response.resolve_chaining().minimum_ttl for response in responses), default=0)
    return DNSAnswer("NXDOMAIN", (), float(ttl), trust and all(map(validated, responses)))


def last_status(error: dns.resolver.NoNameservers) -> str:
    """The status of the last server that said anything usable about its failure."""
    for *_, response in reversed(error.kwargs.get("errors") or []):
        if response is not None and response.rcode() != dns.rcode.NOERROR:
            return dns.rcode.to_text(response.rcode())
    return "SERVFAIL"


def record_bytes(record: dns.rdata.Rdata) -> bytes:
    """A record in presentation form without final dots; of TXT the joined strings as they are."""
    if isinstance(record, TXTBase):
        return b"".join(record.strings)
    if isinstance(record, MX):
        text = f"{record.preference} {plain(record.exchange)}"
    elif isinstance(record, NSBase):
        text = plain(record.target)
    else:
        text = record.to_text()
        text = text[:-1] if text.endswith(".") and len(text) > 1 else text
    return text.encode("utf-8", "surrogateescape")


def plain(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True) if name != dns.name.root else "."


def reversed_address(name: str) -> str:
    """The address of a name below in-addr.arpa or ip6.arpa; empty for others."""
    try:
        return dns.reversename.to_address(dns.name.from_text(name))
    except (dns.exception.DNSException, UnicodeError, ValueError):
        return ""
