"""SPF (RFC 7208): a client's address, its HELO name, a sender and answers of the DNS in; one word of the RFC out.

Records are hostile input: everything here is linear in their length, and the RFC's limits bound the questions asked.
An explanation (`exp=`) is checked for its syntax and never fetched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple
from urllib.parse import quote

from hsl.library.network import DNSAnswer

Ask = Callable[[str, str], DNSAnswer]  # a name and a type

# RFC 7208 section 4.6.4
MAX_LOOKUPS: Final = 10  # terms that ask the DNS
MAX_VOIDS: Final = 2  # questions without an answer
MAX_HOSTS: Final = 10  # hosts of one MX answer, names of one PTR answer
MAX_NAME: Final = 253
MAX_MACRO: Final = 1_000  # characters of a local part and of a HELO name, which a record may repeat thousands of times

QUALIFIERS: Final = {"+": "pass", "-": "fail", "?": "neutral", "~": "softfail"}
VERSION: Final = re.compile(rb"v=spf1(?: |\Z)", re.IGNORECASE)
MODIFIER: Final = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)=(.*)", re.DOTALL)
MECHANISM: Final = re.compile(r"([+?~-]?)([A-Za-z0-9]+)(.*)", re.DOTALL)
DUAL_LENGTH: Final = re.compile(r"(?:/(0|[1-9]\d?))?(?://(0|[1-9]\d{0,2}))?\Z")
LENGTH: Final = re.compile(r"/(0|[1-9]\d{0,2})\Z")
EXPAND: Final = r"%(?:[%_-]|\{([a-zA-Z])([0-9]*+)(r?)([.+,/_=-]*+)\})"
MACRO: Final = re.compile(EXPAND, re.IGNORECASE)
MACRO_STRING: Final = re.compile(rf"(?:{EXPAND}|[!-$&-~])*+", re.IGNORECASE)
TOP_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*+(?<!-))?")
LETTERS: Final = "slodiphv"
EXPLANATION_LETTERS: Final = "crt"


class PermanentError(Exception):
    """The record cannot be evaluated: `permerror`."""


class TemporaryError(Exception):
    """The DNS did not answer: `temperror`."""


class Term(NamedTuple):
    """One mechanism: its result if it matches, its domain-spec or network, prefix lengths for IPv4 and IPv6."""

    result: str
    name: str
    spec: str = ""
    network: IPv4Network | IPv6Network | None = None
    lengths: tuple[int, int] = (32, 128)


class Record(NamedTuple):
    """A parsed record."""

    terms: list[Term]
    redirect: str | None


def check_sender(ask: Ask, ip: str, helo: str, sender: str) -> str:
    """The result for an address `local@domain`, a domain, or the null sender (then HELO stands for it).

    `ask` may raise TemporaryError. `invalid`: the client's address is none.
    """
    try:
        address = ip_address(ip)
    except ValueError:
        return "invalid"
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    local, _, domain = (sender or helo).rpartition("@")
    try:
        return Check(ask, address, helo[:MAX_MACRO], local[:MAX_MACRO] or "postmaster", domain).run()
    except PermanentError:
        return "permerror"
    except TemporaryError:
        return "temperror"


class Check:
    """One evaluation (RFC 7208 section 4): check_host() of the domain and of those that it includes."""

    def __init__(self, ask: Ask, ip: IPv4Address | IPv6Address, helo: str, local: str, domain: str) -> None:
        self.ask = ask
        self.ip = ip
        self.helo = helo
        self.local = local
        self.sender_domain = domain
        self.address_type = "A" if ip.version == 4 else "AAAA"
        self.lookups = 0
        self.voids = 0
        self.names: list[str] | None = None  # the client's validated names

    def run(self) -> str:
        domain = self.sender_domain.removesuffix(".")
        if not well_formed(domain) or "." not in domain:
            return "none"
        return self.check_host(domain)

    def check_host(self, domain: str) -> str:
        """The result for a domain; `none` without a record."""
        found = self.find_record(domain)
        if found is None:
            return "none"
        record = parse_record(found)
        for term in record.terms:
            if self.matches(term, domain):
                return term.result
        if record.redirect is None:
            return "neutral"
        self.count_lookup()
        result = self.check_host(self.expand(record.redirect, domain))
        if result == "none":  # section 6.1
            raise PermanentError
        return result

    def find_record(self, domain: str) -> str | None:
        """The one SPF record of a domain (section 4.5)."""
        if not well_formed(domain):
            return None
        found = [record for record in self.query(domain, "TXT") if VERSION.match(record)]
        if not found:
            return None
        if len(found) > 1 or not found[0].isascii():
            raise PermanentError
        return found[0].decode()

    def query(self, name: str, kind: str) -> tuple[bytes, ...]:
        """The records of a name. Those without any are counted (section 4.6.4); a name that is none has none."""
        if not well_formed(name):
            return ()
        answer = self.ask(name, kind)
        if answer.status not in ("NOERROR", "NXDOMAIN", "FORMERR"):
            raise TemporaryError
        if not answer.records:
            self.voids += 1
            if self.voids > MAX_VOIDS:
                raise PermanentError
        return answer.records

    def count_lookup(self) -> None:
        self.lookups += 1
        if self.lookups > MAX_LOOKUPS:
            raise PermanentError

    def matches(self, term: Term, domain: str) -> bool:
        if term.name == "all":
            return True
        if term.network is not None:
            return self.ip in term.network
        self.count_lookup()
        target = self.expand(term.spec, domain) if term.spec else domain
        if term.name == "include":
            return self.included(target)
        if term.name == "exists":
            return bool(self.query(target, "A"))
        if term.name == "ptr":
            return any(name == target.lower() or name.endswith(f".{target.lower()}") for name in self.validated())
        hosts = [target] if term.name == "a" else self.mail_hosts(target)
        return any(self.near(self.query(host, self.address_type), term.lengths) for host in hosts)

    def included(self, domain: str) -> bool:
        """Whether an included domain passes (section 5.2)."""
        result = self.check_host(domain)
        if result == "none":
            raise PermanentError
        return result == "pass"

    def mail_hosts(self, domain: str) -> list[str]:
        hosts = [text(record).partition(" ")[2] for record in self.query(domain, "MX")]
        if len(hosts) > MAX_HOSTS:
            raise PermanentError
        return hosts

    def near(self, addresses: Iterable[bytes], lengths: tuple[int, int]) -> bool:
        """Whether one of the addresses has the client's first bits."""
        length = lengths[self.ip.version == 6]
        return any(self.ip in network(text(address), length) for address in addresses)

    def validated(self) -> list[str]:
        """The client's names whose addresses include its own (section 5.5); none when the DNS fails."""
        if self.names is None:
            self.names = []
            pointers = self.quiet(self.ip.reverse_pointer, "PTR")[:MAX_HOSTS]
            for name in dict.fromkeys(text(record).lower() for record in pointers):
                if self.near(self.quiet(name, self.address_type), (32, 128)):
                    self.names.append(name)
        return self.names

    def quiet(self, name: str, kind: str) -> tuple[bytes, ...]:
        """The records of a name; none when the DNS fails."""
        try:
            return self.query(name, kind)
        except TemporaryError:
            return ()

    def client_name(self, domain: str) -> str:
        """The macro `p`: a validated name, at best the domain itself or one below it (section 7.3)."""
        names, domain = self.validated(), domain.lower()
        if domain in names:
            return domain
        below = (name for name in names if name.endswith(f".{domain}"))
        return next(below, names[0] if names else "unknown")

    def expand(self, spec: str, domain: str) -> str:
        """A domain-spec with its macros expanded (section 7), without a final dot and cut to the length of a name."""
        name = MACRO.sub(lambda match: self.expand_macro(match, domain), spec).removesuffix(".")
        if len(name) > MAX_NAME:
            cut = name.find(".", len(name) - MAX_NAME - 1)
            name = name[cut + 1 :] if cut >= 0 else name
        return name

    def expand_macro(self, match: re.Match[str], domain: str) -> str:
        letter, digits, reverse, delimiters = match.groups()
        if letter is None:
            return {"%%": "%", "%_": " ", "%-": "%20"}[match[0]]
        parts = re.split(f"[{re.escape(delimiters or '.')}]", self.value(letter.lower(), domain))
        if reverse:
            parts.reverse()
        if digits:
            parts = parts[-int(digits.lstrip("0")[:4]) :]
        value = ".".join(parts)
        return quote(value, safe="-._~") if letter.isupper() else value

    def value(self, letter: str, domain: str) -> str:
        match letter:
            case "s":
                return f"{self.local}@{self.sender_domain}"
            case "l":
                return self.local
            case "o":
                return self.sender_domain
            case "d":
                return domain
            case "i":
                return dotted(self.ip)
            case "p":
                return self.client_name(domain)
            case "h":
                return self.helo
        return "in-addr" if self.ip.version == 4 else "ip6"


def parse_record(text: str) -> Record:
    """A record's terms (section 4.6.1): an error anywhere in it is an error of the whole."""
    terms: list[Term] = []
    once: dict[str, str] = {}
    for part in text.split(" ")[1:]:
        if not part:
            continue
        modifier = MODIFIER.fullmatch(part)
        if modifier is None:
            terms.append(parse_mechanism(part))
            continue
        name, value = modifier[1].lower(), modifier[2]
        if name in ("redirect", "exp"):
            if name in once:
                raise PermanentError
            once[name] = check_spec(value)
        else:
            check_macros(value, LETTERS + EXPLANATION_LETTERS)
    return Record(terms, once.get("redirect"))


def parse_mechanism(part: str) -> Term:
    match = MECHANISM.fullmatch(part)
    if match is None:
        raise PermanentError
    result, name, rest = QUALIFIERS[match[1] or "+"], match[2].lower(), match[3]
    if name == "all":
        if rest:
            raise PermanentError
        return Term(result, name)
    if name in ("ip4", "ip6"):
        return Term(result, name, network=parse_network(name, rest))
    if name in ("include", "exists"):
        return Term(result, name, parse_target(rest, needed=True))
    if name == "ptr":
        return Term(result, name, parse_target(rest))
    if name in ("a", "mx"):
        length = DUAL_LENGTH.search(rest)
        assert length is not None  # it matches nothing at the end as well
        lengths = int(length[1] or 32), int(length[2] or 128)
        if lengths[0] > 32 or lengths[1] > 128:
            raise PermanentError
        return Term(result, name, parse_target(rest[: length.start()]), lengths=lengths)
    raise PermanentError


def parse_target(rest: str, needed: bool = False) -> str:
    """The domain-spec behind a colon, empty without one."""
    if rest.startswith(":"):
        return check_spec(rest[1:])
    if rest or needed:
        raise PermanentError
    return ""


def parse_network(name: str, rest: str) -> IPv4Network | IPv6Network:
    length = LENGTH.search(rest)
    address = rest[1 : length.start() if length else len(rest)]
    most = 32 if name == "ip4" else 128
    if not rest.startswith(":") or "%" in address or (length and int(length[1]) > most):
        raise PermanentError
    try:
        if name == "ip4":
            return IPv4Network((IPv4Address(address), int(length[1]) if length else most), strict=False)
        return IPv6Network((IPv6Address(address), int(length[1]) if length else most), strict=False)
    except ValueError:
        raise PermanentError from None


def check_spec(spec: str) -> str:
    """A domain-spec as it is. It ends in a macro or in a top label (section 7.1)."""
    check_macros(spec, LETTERS)
    tail = spec
    for match in MACRO.finditer(spec):
        tail = spec[match.end() :]
    if tail or not spec:
        _, dot, top = tail.removesuffix(".").rpartition(".")
        if not dot or not TOP_LABEL.fullmatch(top) or top.isdigit():
            raise PermanentError
    return spec


def check_macros(value: str, letters: str) -> None:
    """Raises PermanentError for what is no macro-string (section 7.1)."""
    if not MACRO_STRING.fullmatch(value):
        raise PermanentError
    for match in MACRO.finditer(value):
        letter, digits = match[1], match[2]
        if letter and (letter.lower() not in letters or (digits and not digits.strip("0"))):
            raise PermanentError


def well_formed(name: str) -> bool:
    """Whether the labels of a name can be asked for (section 4.3)."""
    return 0 < len(name) <= MAX_NAME and all(0 < len(label) <= 63 for label in name.split("."))


def network(address: str, length: int) -> IPv4Network | IPv6Network:
    return ip_network((address, length), strict=False)


def dotted(ip: IPv4Address | IPv6Address) -> str:
    """The macro `i`: of IPv6 each hexadecimal digit is a label."""
    return str(ip) if ip.version == 4 else ".".join(ip.exploded.replace(":", "")).upper()


def text(record: bytes) -> str:
    return record.decode("ascii", "surrogateescape")
