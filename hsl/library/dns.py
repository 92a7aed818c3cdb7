"""Chapter "DNS": questions to the DNS through the run's network, and what can be said of a domain without asking."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from hsl.builtins import Chapter, Options, option
from hsl.errors import ScriptError
from hsl.library.network import DNSAnswer, network_of, seconds_left
from hsl.values import Array, Value, type_name

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

    from hsl.run import Run

chapter = Chapter("DNS")
MAX_DOMAIN = 1024  # bytes of what is taken for a domain at all
MAX_LABEL = 63  # RFC 1035 2.3.4
MAX_NAME = 253
DNS_PORT = 53
RESOLVER_ERRORS = {"TIMEOUT": b"TRY_AGAIN", "NOERROR": b"NO_DATA"}  # as h_errno names them; others are DNS statuses


class QueryOptions(Options):
    """The options of dns_query()."""

    type: bytes = option(b"a", "`a`, `aaaa`, `mx`, `txt`, `cname`, `ns`, `ptr`, or any other type by its name.")
    timeout: float = option(5.0, "How long to wait for an answer.", unit="seconds")
    servers: Array | None = option(None, "Addresses of resolvers (`address:port` too); the system's by default.")
    port: float = option(53.0, "The port of `servers`.")


@chapter.function("dns_query")
async def dns_query(run: Run, host: bytes, options: QueryOptions | None = None) -> Array:
    """Return an array with the records of a host name (`result`) or what failed (`error`), and `dnssec`.

    `result` is a list of strings: addresses, names without a final dot, texts as they are (the parts of a TXT record
    joined); of `mx` the host names, the best preference first. Other types are in presentation form. `error` is the
    status of the answer (`NXDOMAIN`, `SERVFAIL`, `REFUSED` …), `NO_DATA` for a name without records of this type, or
    `TRY_AGAIN` when none answered in time; `FORMERR` for what is no domain name. `dnssec` is true when a resolver on
    this host has validated the answer.

    The host is UTF-8: other than ASCII labels are encoded by IDNA 2008. CNAMEs are followed. Answers of the system's
    resolvers are kept for their TTL, at most an hour. At most 1,000 records are given. Raises an error for an unknown
    type, and for servers that are no addresses or that the configuration denies (scripting.network).

    Example:
        $answer = dns_query("example.com", ["type" => "mx", "timeout" => 2]);
        foreach ($answer["result"] ?? [] as $host) echo $host;
    """
    options = options or QueryOptions()
    answer = await ask(run, "dns_query", host, options.type, options.servers, options.timeout, options.port)
    return extended(answer, options.type)


async def ask(
    run: Run, function: str, host: bytes, kind: bytes, servers: Array | None, timeout: float, port: float = 53.0
) -> DNSAnswer:
    """One question; all wrong values are ScriptErrors of the function."""
    if not 0 < timeout < float("inf"):
        raise ScriptError(f"{function}(): timeout: wanted seconds, got {timeout:g}")
    network = network_of(run, function)
    named = [with_port(server, read_port(function, port)) for server in read_servers(function, servers)]
    try:
        return await network.dns.query(
            host.decode("utf-8", "surrogateescape"),
            kind.decode("utf-8", "replace").upper(),
            timeout=seconds_left(run, timeout),
            servers=named,
        )
    except ValueError as error:
        raise ScriptError(f"{function}(): {error}") from None


def read_servers(function: str, servers: Array | None) -> list[str]:
    found: list[str] = []
    for server in servers.values() if servers is not None else ():
        if not isinstance(server, bytes):
            raise ScriptError(f"{function}(): servers: wanted strings, got {type_name(server)}")
        found.append(server.decode("utf-8", "replace"))
    return found


def read_port(function: str, port: float) -> int:
    if not (1 <= port <= 65535 and port.is_integer()):
        raise ScriptError(f"{function}(): option port: wanted 1 to 65535, got {port:g}")
    return int(port)


def with_port(server: str, port: int) -> str:
    """The server with a port: its own, else that one."""
    if port == DNS_PORT or "]:" in server or server.count(":") == 1:
        return server
    return f"[{server}]:{port}" if server.count(":") > 1 and not server.startswith("[") else f"{server}:{port}"


def plain_records(answer: DNSAnswer, kind: bytes) -> list[bytes]:
    """The records as scripts see them: of MX the hosts alone, in their order of preference."""
    if kind.lower() != b"mx":
        return list(answer.records)
    pairs = [record.partition(b" ") for record in answer.records]
    return [host for _, _, host in sorted(pairs, key=lambda pair: int(pair[0]))]


def extended(answer: DNSAnswer, kind: bytes) -> Array:
    entries: list[tuple[Value, Value]] = []
    if answer.records:
        entries.append((b"result", Array.of(plain_records(answer, kind))))
    else:
        entries.append((b"error", RESOLVER_ERRORS.get(answer.status) or answer.status.encode()))
    return Array.from_pairs([*entries, (b"dnssec", answer.dnssec)])


class OlderOptions(Options):
    """What dns(), dns4(), … take as an options array (since 2017)."""

    timeout: float = option(5.0, "How long to wait for an answer.", unit="seconds")
    extended_result: bool = option(False, "Return what dns_query() does.")
    servers: Array | None = option(None, "Addresses of resolvers; the system's by default.")


async def older(
    run: Run, function: str, kinds: tuple[bytes, ...], host: bytes, given: Array | None, timeout: float
) -> Array:
    """The functions before dns_query(): a list of resolvers and a timeout, or an options array, in one parameter."""
    if given is None or all(isinstance(key, float) for key, _ in given.pairs()):
        options = OlderOptions(timeout=timeout, servers=given)
    else:
        options = OlderOptions.read(function, given)
    answers = [await ask(run, function, host, kind, options.servers, options.timeout) for kind in kinds]
    pairs = list(zip(answers, kinds, strict=True))
    found = [record for answer, kind in pairs for record in plain_records(answer, kind)]
    if not options.extended_result:
        return Array.of(found)
    failed = next((pair for pair in pairs if pair[0].status != "NOERROR"), pairs[0])
    if not found:
        return extended(*failed)
    secure = all(answer.dnssec for answer in answers if answer.records)
    return Array.from_pairs([(b"result", Array.of(found)), (b"dnssec", secure)])


@chapter.function("dns")
async def dns(run: Run, host: bytes, resolvers: Array | None = None, timeout: float = 5.0) -> Array:
    """Return the IPv4, then the IPv6 addresses of a host name as a list, empty when there are none or nobody answers.

    `resolvers` is a list of addresses, or an array of options: timeout (seconds), servers (the list), and
    extended_result, which gives what dns_query() does. Today's way to ask is dns_query().

    Example:
        foreach (dns("localhost.example.com", ["192.0.2.53"], 1) as $address) echo $address;
    """
    return await older(run, "dns", (b"a", b"aaaa"), host, resolvers, timeout)


@chapter.function("dns4")
async def dns4(run: Run, host: bytes, resolvers: Array | None = None, timeout: float = 5.0) -> Array:
    """Return the IPv4 addresses of a host name as a list, empty when there are none or nobody answers.

    The parameters are those of dns(). Today's way to ask is dns_query().

    Example:
        $addresses = dns4("www.example.com");
    """
    return await older(run, "dns4", (b"a",), host, resolvers, timeout)


@chapter.function("dns6")
async def dns6(run: Run, host: bytes, resolvers: Array | None = None, timeout: float = 5.0) -> Array:
    """Return the IPv6 addresses of a host name as a list, empty when there are none or nobody answers.

    The parameters are those of dns(). Today's way to ask is dns_query().

    Example:
        $addresses = dns6("www.example.com");
    """
    return await older(run, "dns6", (b"aaaa",), host, resolvers, timeout)


@chapter.function("dnscname")
async def dnscname(run: Run, host: bytes, resolvers: Array | None = None, timeout: float = 5.0) -> Array:
    """Return the name that a host name is an alias of, in a list that is empty when it is none or nobody answers.

    The parameters are those of dns(). Today's way to ask is dns_query().

    Example:
        $names = dnscname("www.example.com");
    """
    return await older(run, "dnscname", (b"cname",), host, resolvers, timeout)


@chapter.function("dnsmx")
async def dnsmx(run: Run, host: bytes, resolvers: Array | None = None, timeout: float = 5.0) -> Array:
    """Return the mail hosts of a domain as a list, the best preference first; empty when there are none.

    A null MX (RFC 7505) is the name `.`. The parameters are those of dns(). Today's way to ask is dns_query().

    Example:
        $hosts = dnsmx("example.com");
    """
    return await older(run, "dnsmx", (b"mx",), host, resolvers, timeout)


@chapter.function("dnsns")
async def dnsns(run: Run, host: bytes, resolvers: Array | None = None, timeout: float = 5.0) -> Array:
    """Return the name servers of a domain as a list, empty when there are none or nobody answers.

    The parameters are those of dns(). Today's way to ask is dns_query().

    Example:
        $servers = dnsns("example.com");
    """
    return await older(run, "dnsns", (b"ns",), host, resolvers, timeout)


@chapter.function("dnsptr")
async def dnsptr(run: Run, address: bytes, resolvers: Array | None = None, timeout: float = 5.0) -> Array:
    """Return the names of an IPv4 or IPv6 address as a list, empty when it has none or nobody answers.

    The other parameters are those of dns(). Today's way to ask is dns_query() with inet_reverse().

    Example:
        $names = dnsptr("192.0.2.1");
    """
    from ipaddress import ip_address

    try:
        host = ip_address(address.decode("ascii", "replace")).reverse_pointer.encode()
    except ValueError:
        host = address
    return await older(run, "dnsptr", (b"ptr",), host, resolvers, timeout)


@chapter.function("dnstxt")
async def dnstxt(run: Run, host: bytes, resolvers: Array | None = None, timeout: float = 5.0) -> Array:
    """Return the TXT records of a name as a list, empty when there are none; the parts of a record are joined.

    The parameters are those of dns(). Today's way to ask is dns_query().

    Example:
        foreach (dnstxt("_dmarc.example.com") as $text) echo $text;
    """
    return await older(run, "dnstxt", (b"txt",), host, resolvers, timeout)


class IncludesOptions(Options):
    """The options of domain_includes(): none are known."""


@chapter.function("domain_includes", aliases=("is_subdomain",), constant=True)
def domain_includes(subdomain: bytes, domain: bytes, options: IncludesOptions | None = None) -> bool:
    """Return true if subdomain equals domain or lies below it; below it only, if domain starts with a dot.

    Both are bytes; US-ASCII letters are compared without regard to case (RFC 4343).

    Example:
        echo domain_includes("www.Example.com", "example.com");  // expect: true
        echo domain_includes("example.com", ".example.com");  // expect: false
    """
    subdomain, domain = subdomain.lower(), domain.lower()
    if domain.startswith(b"."):
        return subdomain.endswith(domain) and len(subdomain) > len(domain)
    return subdomain == domain or (bool(domain) and subdomain.endswith(b"." + domain))


@chapter.function("domain_publicsuffix", constant=True)
def domain_publicsuffix(domain: bytes) -> bytes | None:
    """Return the public suffix of a domain, in lower case: what its owner could not register; none for no domain.

    By the list of publicsuffix.org, its ICANN and its private section, as the package publicsuffixlist brings it along;
    a top-level domain that is not listed is a suffix. UTF-8 and encoded (xn--) labels are both understood, and the
    suffix comes back as it was written. A final dot is left out.

    Example:
        echo domain_publicsuffix("www.example.co.uk");  // expect: co.uk
    """
    if len(domain) > MAX_DOMAIN:
        return None
    try:
        text = domain.decode("utf-8").removesuffix(".")
        suffix = public_suffixes().publicsuffix(text)
    except ValueError:
        return None
    return None if suffix is None else suffix.encode()


@cache
def public_suffixes() -> PublicSuffixList:
    """The list, read when it is first needed."""
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList()


@chapter.function("idna_encode", constant=True)
def idna_encode(domain: bytes) -> bytes | None:
    """Return a UTF-8 domain with its labels in ASCII (xn--), in lower case; none for what is no domain.

    By IDNA 2008 (RFC 5891) after the mapping of UTS 46, not transitional. ASCII labels may hold any printable
    character but a space (`_dmarc`). None when a label is empty or longer than 63 bytes, or the result longer than 253.

    Example:
        echo idna_encode("Fußball.example");  // expect: xn--fuball-cta.example
    """
    labels = split_labels(domain)
    if labels is None:
        return None
    import idna

    try:
        encoded = [label.encode("ascii") if is_plain(label) else idna.alabel(label) for label in labels]
    except (idna.IDNAError, UnicodeError):
        return None
    result = b".".join(encoded)
    fits = all(len(label) <= MAX_LABEL for label in encoded) and len(result.removesuffix(b".")) <= MAX_NAME
    return result if fits else None


@chapter.function("idna_decode", constant=True)
def idna_decode(domain: bytes) -> bytes | None:
    """Return a domain with its encoded labels (xn--) as UTF-8, in lower case; none for what is no domain.

    The other way round of idna_encode(); labels that are UTF-8 already are checked and mapped as there.

    Example:
        echo idna_decode("xn--fuball-cta.example");  // expect: fußball.example
    """
    labels = split_labels(domain)
    if labels is None:
        return None
    import idna

    try:
        return ".".join(label if is_plain(label) else idna.ulabel(label) for label in labels).encode()
    except (idna.IDNAError, UnicodeError):
        return None


def split_labels(domain: bytes) -> list[str] | None:
    """The labels of a UTF-8 domain as UTS 46 maps them; the last one may be empty (the root). None: no domain."""
    import idna

    if not domain or len(domain) > MAX_DOMAIN:
        return None
    try:
        labels = idna.uts46_remap(domain.decode("utf-8"), std3_rules=False).split(".")
    except (idna.IDNAError, UnicodeError):
        return None
    return None if "" in labels[:-1] or labels == [""] else labels


def is_plain(label: str) -> bool:
    """Whether a label is printable ASCII that encodes nothing. Raises UnicodeError for other ASCII."""
    if not label.isascii() or label.startswith("xn--"):
        return False
    if not (label.isprintable() and " " not in label):
        raise UnicodeError("not printable")
    return True
