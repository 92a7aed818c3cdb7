"""What functions of the standard library ask of the network under a run: names, connections, HTTP requests.

A host shows it by one attribute, `network`; `network_of(run)` gives it to a builtin. Implemented in runtime/network.py.
Addresses, names and paths are text here, contents are bytes. Every wait takes a timeout in seconds; callers bound it
by `seconds_left(run, wanted)`. Tests may give a host any object of these shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from hsl.errors import ScriptError

if TYPE_CHECKING:
    from hsl.run import Run


class NotPermitted(ScriptError):
    """The policy denies an address or a path. A script can catch it; nothing was sent."""


class NetworkError(Exception):
    """Something did not answer, or not as it should. Builtins turn it into none or into a result, never let it pass.

    `kind` is one word for programs: timeout, refused, unreachable, resolve, tls, protocol, too-large, redirects.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class DNSAnswer(NamedTuple):
    """What came of a question.

    status    NOERROR (without records: the name exists, but has none of this type), NXDOMAIN, SERVFAIL, REFUSED … as
              the last server said; TIMEOUT: none answered in time; FORMERR: the name cannot be asked for
    records   in presentation form without final dots, in the order in which they came: an address, a name,
              `10 mail.example.com`; of TXT the joined strings as bytes, unquoted
    ttl       seconds that the records may still be kept
    dnssec    the resolver says that it has validated the answer (AD)
    """

    status: str
    records: tuple[bytes, ...] = ()
    ttl: float = 0.0
    dnssec: bool = False


class DNS(Protocol):
    """Questions to the DNS."""

    async def query(
        self, name: str, kind: str = "A", *, timeout: float = 5.0, servers: Sequence[str] = ()
    ) -> DNSAnswer:
        """Ask for one type (`A`, `AAAA`, `MX`, `TXT`, `CNAME`, `NS`, `PTR`, `TLSA` …) of a name, CNAMEs followed.

        servers: addresses, or `address:port` and `[address]:port`; none: the configured ones, and only their answers
        are kept. Never raises for what the DNS says. Raises NotPermitted for a server that the policy denies, and
        ValueError for a server or a type that is none.
        """
        ...

    async def addresses(self, host: str, *, timeout: float = 5.0) -> list[str]:
        """The addresses of a host to connect to, IPv4 first: an address is its own, then /etc/hosts, then the DNS.

        Empty when there are none. Raises NetworkError when nobody answers. The policy is not asked.
        """
        ...


class Policy(Protocol):
    """Which addresses scripts may reach."""

    def permit(self, address: str) -> None:
        """Let an IP address, or the absolute path of a UNIX socket, pass. Raises NotPermitted.

        Asked with what is connected to (or sent to), after names were resolved: what a name gave a moment ago counts
        for nothing.
        """
        ...


class HTTPRequest(NamedTuple):
    """One request. The URL is encoded and sent as it is; whoever builds the request has refused CR, LF and NUL."""

    url: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()  # text of Latin-1: each character a byte
    body: bytes | None = None
    connect_timeout: float = 10.0
    timeout: float | None = None  # seconds for the rest, once the connection stands; None: only `total` counts
    total: float = 30.0  # seconds in all, redirects included
    max_size: int = 1 << 20  # bytes of content; more raise NetworkError("too-large")
    redirects: int = 0  # to follow; -1: as many as the implementation allows
    sourceip: str | None = None
    proxy: str | None = None  # a URL; empty: none; None: as the environment says
    tls_verify_peer: bool = True
    tls_verify_host: bool = True


class HTTPResponse(NamedTuple):
    """The last response: content and headers as they came, chunks joined."""

    version: str
    status: int
    reason: str
    headers: tuple[tuple[bytes, bytes], ...]
    content: bytes


class HTTP(Protocol):
    """Requests to web servers."""

    async def request(self, request: HTTPRequest) -> HTTPResponse:
        """The response, whatever its status. Raises NetworkError; NotPermitted, also for a redirect's target."""
        ...

    def enqueue(self, request: HTTPRequest, *, queue: int = 0, retries: int = 0, delay: float = 0.0) -> bool:
        """Have a request made in the background, and again `delay` seconds after each failure.

        Those of one queue are made one after the other. Returns false when too many wait already.
        """
        ...


class Network(Protocol):
    """What a host shows as `network`. `sockets`: as hsl/library/sockets.py describes it."""

    @property
    def policy(self) -> Policy: ...

    @property
    def dns(self) -> DNS: ...

    @property
    def http(self) -> HTTP: ...

    @property
    def sockets(self) -> Any: ...

    def source(self, address_id: str) -> str | None:
        """The source address that is configured under an id (`netaddr:ID` in scripts)."""
        ...


def network_of(run: Run, function: str) -> Network:
    """The network of a run's host. Raises ScriptError where it has none."""
    network: Network | None = getattr(run.host, "network", None)
    if network is None:
        raise ScriptError(f"{function}(): there is no network here")
    return network


def seconds_left(run: Run, wanted: float | None = None) -> float:
    """A timeout within what the run has left. None: all that it has left."""
    left = max(run.remaining(), 0.001)
    return left if wanted is None else max(min(wanted, left), 0.001)
