"""Chapter "Mail": SPF, DNS lists, and the tags of DKIM's headers.

What signs and verifies messages is in dkimtext.py; DMARC, which needs a message, is a function of the data stage.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from hsl.builtins import Chapter, Options, option
from hsl.errors import ScriptError
from hsl.library.network import DNSAnswer
from hsl.values import Array

if TYPE_CHECKING:
    from hsl.run import Run

chapter = Chapter("Mail")

TOTAL: Final = 20.0  # seconds of all questions of one check (RFC 7208 section 4.6.4)
SCORES: Final = {"pass": 0.0, "softfail": 20.0, "fail": 100.0}
UNKNOWN: Final = 50.0


class Questions:
    """The DNS as the checks ask it: one question after the other, each with a timeout, all of them within TOTAL."""

    def __init__(self, run: Run, function: str, timeout: float = 5.0, servers: Array | None = None) -> None:
        self.run = run
        self.function = function
        self.timeout = timeout
        self.servers = servers
        self.ends = monotonic() + TOTAL

    def ask(self, name: str, kind: str) -> DNSAnswer:
        from hsl.library.dns import ask

        left = self.ends - monotonic()
        if left <= 0:
            return DNSAnswer("TIMEOUT")
        timeout = min(self.timeout, left)
        host = name.encode("utf-8", "surrogateescape")
        return self.run.wait(ask(self.run, self.function, host, kind.encode(), self.servers, timeout))


class SPFOptions(Options):
    """The options of spf_query()."""

    timeout: float = option(5.0, "How long each question to the DNS may take.", unit="seconds")
    servers: Array | None = option(None, "Addresses of resolvers (`address:port` too); the system's by default.")


@chapter.function("spf_query")
async def spf_query(run: Run, ip: bytes, helo: bytes, sender: bytes, options: SPFOptions | None = None) -> Array:
    """Return an array whose `result` says whether a client may send mail for a sender, by SPF (RFC 7208).

    The sender is an address, a domain alone (`postmaster` of it), or empty: then the HELO name stands for it. Names are
    UTF-8. `result` is pass, fail, softfail, neutral, none, permerror, temperror, or invalid for an ip that is no
    address.

    The limits are those of the RFC: 10 terms that ask the DNS, 2 questions without an answer, and 20 seconds for all.

    Example:
        if (spf_query("192.0.2.1", "mail.example.com", "user@example.com")["result"] == "fail")
            echo "not from there";
    """
    options = options or SPFOptions()
    questions = Questions(run, "spf_query", options.timeout, options.servers)
    return Array.from_pairs([(b"result", check_spf(questions, ip, helo, sender).encode())])


@chapter.function("spf")
async def spf(run: Run, ip: bytes, helo: bytes, domain: bytes) -> float:
    """Return a number for the SPF result (RFC 7208): 0 pass, 20 softfail, 100 fail, 50 for anything else.

    The older form of spf_query(), with the same parameters and limits.

    Example:
        $reject = spf("192.0.2.1", "mail.example.com", "example.com") == 100;
    """
    return SCORES.get(check_spf(Questions(run, "spf"), ip, helo, domain), UNKNOWN)


def check_spf(questions: Questions, ip: bytes, helo: bytes, sender: bytes) -> str:
    """SPF's word for a client and a sender."""
    from hsl.library.spf import TemporaryError, check_sender

    def ask(name: str, kind: str) -> DNSAnswer:
        answer = questions.ask(name, kind)
        if answer.status == "TIMEOUT":
            raise TemporaryError
        return answer

    local, at, domain = sender.rpartition(b"@")
    path = (local + at).decode("utf-8", "surrogateescape") + ascii_name(domain)
    return check_sender(ask, ip.decode("ascii", "replace").strip(), ascii_name(helo), path)


def ascii_name(name: bytes) -> str:
    """A name with its UTF-8 labels encoded (RFC 8616), where they can be."""
    from hsl.library.dns import idna_encode

    encoded = name if name.isascii() else idna_encode(name) or name
    return encoded.decode("utf-8", "surrogateescape")


@chapter.function("dnsbl")
async def dnsbl(run: Run, ip: bytes, hostname: bytes, resolvers: Array | None = None, timeout: float = 5.0) -> Array:
    """Return the addresses (of 127.0.0.0/8) under which a DNS list has an IPv4 or IPv6 address (RFC 5782), as a list.

    Empty when it is not listed, or when nobody answers. `resolvers` is a list of addresses, `timeout` is in seconds;
    an array of options (timeout, servers, extended_result) is taken as dns4() does.

    Raises an error for an ip that is no address.

    Example:
        if (in_array("127.0.0.2", dnsbl("192.0.2.1", "list.example.org"))) echo "listed";
    """
    from ipaddress import ip_address

    from hsl.library.dns import older

    try:
        reverse = ip_address(ip.decode("ascii", "replace")).reverse_pointer
    except ValueError:
        raise ScriptError("dnsbl(): parameter 1 (ip): wanted an IP address") from None
    labels = reverse.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")
    return await older(run, "dnsbl", (b"a",), labels.encode() + b"." + hostname.lstrip(b"."), resolvers, timeout)


class DecodeOptions(Options):
    """The options of header_dkim_decode()."""

    field: bool = option(False, "The value is a whole field: its name, a colon, its value.")


@chapter.function("header_dkim_decode", constant=True)
def header_dkim_decode(value: bytes, options: DecodeOptions | None = None) -> Array | None:
    """Return the tags of a `name=value; …` list as DKIM and ARC headers have them (RFC 6376 section 3.2), as an array.

    Bytes; values are unfolded, and stripped of spaces at both ends. None for what is no such list: a part without `=`,
    a name that is none, a name that is there twice.

    Example:
        $tags = header_dkim_decode("v=1; d=example.com; s=mail; h=to:from:date");
        echo $tags["s"] . "._domainkey." . $tags["d"];  // expect: mail._domainkey.example.com
    """
    from hsl.library.taglists import TagError, parse_tags

    if options is not None and options.field:
        _, colon, value = value.partition(b":")
        if not colon:
            return None
    try:
        tags = parse_tags(value)
    except TagError:
        return None
    return Array.from_pairs((name, text) for name, text in tags.items())
