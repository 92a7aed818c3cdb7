"""The nouns of the mail flow: addresses, connections, transactions, queued mail and delivery attempts."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from hsl.runtime.dsnrequest import DSNRequest
from hsl.values import Value

if TYPE_CHECKING:
    from hsl.library.dkimtext import Signer
    from hsl.runtime.policies import Blocked, Permit
    from hsl.runtime.reply import Reply


def new_id() -> str:
    """A random UUID (RFC 9562 5.4) as text; the uuid module takes three times as long, several times a message."""
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


@dataclass(frozen=True, slots=True)
class Address:
    """An envelope address (RFC 5321 mailbox) as it came; both parts empty is the null sender `<>`.

    A quoted local part keeps its quotes.
    """

    localpart: bytes
    domain: bytes

    @classmethod
    def of(cls, text: bytes) -> Address:
        """Split at the last @; without one the text is a local part (`<postmaster>`)."""
        localpart, _, domain = text.rpartition(b"@")
        return cls(localpart, domain) if localpart else cls(text, b"")

    @property
    def path(self) -> bytes:
        """The address for the wire, without angle brackets, case as it came."""
        return self.localpart + b"@" + self.domain if self.domain else self.localpart

    @property
    def text(self) -> bytes:
        """The address as scripts see it: lower case; `""` for the null sender."""
        return self.path.lower()

    @property
    def host(self) -> bytes:
        """The domain as scripts see it: lower case."""
        return self.domain.lower()


NULL_SENDER = Address(b"", b"")


@dataclass(frozen=True, slots=True)
class Helo:
    verb: str  # HELO or EHLO
    host: bytes


@dataclass(frozen=True, slots=True)
class PeerCert:
    """A peer's certificate (DER), and what came with it. `error`: OpenSSL's verify result, None where none was made."""

    certificate: bytes
    chain: tuple[bytes, ...] = ()
    error: int | None = None


@dataclass(frozen=True, slots=True)
class TLSInfo:
    protocol: str
    cipher: str
    keysize: int
    sni: str | None = None
    peercert: PeerCert | None = None


@dataclass(frozen=True, slots=True)
class TLSSettings:
    """What a script says about the TLS of an attempt besides its mode; None: as the mode has it.

    sni           the name to ask for; True: the mail host's
    protocols     `TLSv1.2,!TLSv1.3`; ciphers: OpenSSL's list, of TLS up to 1.2
    verify_host   whether the certificate must be for the mail host; names: for one of these
    certificate   our own, its chain and its key as PEM
    """

    sni: str | bool | None = None
    protocols: bytes | None = None
    ciphers: bytes | None = None
    verify_host: bool | None = None
    names: tuple[str, ...] = ()
    certificate: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Auth:
    mechanism: str
    username: bytes


@dataclass(slots=True)
class Connection:
    """One SMTP session: our own object, it outlives aiosmtpd's Session (which STARTTLS replaces).

    `context` is the script's `$context`.
    """

    serverid: str
    remoteip: str
    remoteport: int
    localip: str
    localport: int
    id: str = field(default_factory=new_id)
    remoteptr: str | None = None
    helo: Helo | None = None
    tls: TLSInfo | None = None
    auth: Auth | None = None
    priority: int = 0  # of the session's messages
    context: Value = None


@dataclass(slots=True)
class Ending:
    """How a session ended.

    close   QUIT: the client said it; client: it went without; server: we closed, the reply says why; error: it broke
    reply   the last reply that was sent, and which command it answered (BANNER, EHLO, …, EOD)
    error   what broke, in words; its type (disconnect, timeout, tls) and the system's number, 0: there is none
    """

    close: str = "client"
    reply: Reply | None = None
    state: str = ""
    error: str = ""
    type: str = ""
    code: int = 0


@dataclass(slots=True)
class Recipient:
    address: Address
    transportid: str
    params: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Transaction:
    """One mail transaction. The id stands in logs, in `$messageid` and in Received; a new one after each."""

    id: str = field(default_factory=new_id)
    sender: Address | None = None  # None: no MAIL seen yet
    senderparams: dict[str, str] = field(default_factory=dict)
    recipients: list[Recipient] = field(default_factory=list)


class Body(Protocol):
    """A message's bytes (headers and body), with CRLF line ends and without dot-stuffing."""

    @property
    def size(self) -> int: ...

    def chunks(self) -> Iterator[bytes]:
        """The bytes in pieces of at most 64 KiB; may be called more than once."""
        ...


ACTIVE, DEFER, HOLD = "active", "defer", "hold"


@dataclass(slots=True)
class QueueEntry:
    """One recipient of one queued message. `id` is 0 until it is stored; times are UTC wall seconds.

    ACTIVE: never tried, due now; DEFER: waits for `due`; HOLD: only an administrator moves it.
    """

    transaction: str
    sender: Address
    recipient: Address
    transportid: str
    serverid: str = ""
    senderip: str = ""
    senderhelo: bytes = b""
    saslusername: bytes = b""
    metadata: dict[bytes, bytes] = field(default_factory=dict)
    jobid: bytes = b""
    tenantid: bytes = b""  # whose mail it is, for policies
    priority: int = 0  # 1: it goes before the other mail of its domain
    quotas: tuple[bytes, ...] = ()  # what it counts for while it is queued
    actionid: int = 1
    size: int = 0
    eightbit: bool = False  # MAIL carried BODY=8BITMIME, or the data has bytes over 127
    smtputf8: bool = False
    dsn: DSNRequest | None = None
    ts: float = field(default_factory=time.time)
    state: str = ACTIVE
    due: float = 0.0
    retry: int = 0
    quarantine: str = ""  # the profile of a Quarantine()
    error: str = ""  # the last attempt's outcome, for people
    id: int = 0
    body: int = 0  # which stored body; entries of one message share it


@dataclass(frozen=True, slots=True)
class Mail:
    """A body and the entries (recipients) that share it, ready to be stored together."""

    body: Body
    entries: tuple[QueueEntry, ...]


ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?:\s+|\Z)")  # as a reply begins with it


@dataclass(slots=True)
class Result:
    """The remote's reply that decided an attempt. `state` is the 2019 reference's word: BANNER, EHLO, MAIL, …, EOD."""

    code: int
    enhanced: tuple[int, int, int] | None
    lines: list[str]
    state: str

    @classmethod
    def read(cls, code: int, lines: list[str], state: str) -> Result:
        """A reply as it came: its enhanced code is taken off the lines if it fits the code's class (RFC 2034 4)."""
        match = ENHANCED.match(lines[0])
        if match is None or int(match[1]) != code // 100:
            return cls(code, None, lines, state)
        mark = re.compile(rf"\A{match[1]}\.{match[2]}\.{match[3]}(?:\s+|\Z)")
        return cls(
            code, (int(match[1]), int(match[2]), int(match[3])), [mark.sub("", line, count=1) for line in lines], state
        )


@dataclass(slots=True)
class AttemptError:
    """What decided an attempt when no reply did: network, DNS, TLS, local bind."""

    temporary: bool
    message: str
    kind: str = "connect"  # plan, dns, bind, connect, timeout, tls, disconnect, protocol
    enhanced: tuple[int, int, int] | None = None
    state: str = ""  # where a dialogue ended: connect, BANNER … EOD
    dns: str = ""  # what the DNS said: NXDOMAIN, NODATA, SERVFAIL, TIMEOUT …


@dataclass(slots=True)
class Attempt:
    """The outcome of one delivery attempt: exactly one of `result` and `error` is set."""

    result: Result | None = None
    error: AttemptError | None = None
    localip: str = ""
    localipid: str = ""  # the id of the source address, if it has one
    remoteip: str = ""  # empty on DNS problems
    remoteport: int = 0
    remotemx: str = ""
    helo: str = ""
    tls: TLSInfo | None = None
    tlsrpt: str = ""  # why there is no TLS, or none that could be trusted (RFC 8460 4.3)
    connection: str = ""  # the id of the connection, which several attempts may use
    transactions: int = 0  # on that connection by now, with this one
    greeting: tuple[str, ...] = ()  # the lines of its banner
    permit: Permit | None = None  # by which policies it counted
    duration: float = 0.0  # seconds
    dsn: bool = False  # the next hop offers DSN (RFC 3461)
    held: Blocked | None = None  # nothing was tried: a policy of the queue holds it back

    @property
    def delivered(self) -> bool:
        """2xx to the end of data."""
        return self.result is not None and 200 <= self.result.code < 300

    @property
    def permanent(self) -> bool:
        """Whether no later attempt will do. A refused login can be put right, and says nothing of the mail."""
        if self.result is not None:
            return self.result.code >= 500 and not self.result.state.startswith("AUTH")
        return self.error is not None and not self.error.temporary


@dataclass(slots=True)
class SourceIP:
    """Where an attempt leaves from: an `addresses[]` entry, or a literal address (nonlocal_source)."""

    address: str
    helo: str | None = None
    id: str | None = None
    nonlocal_source: bool = False
    own_helo: bool = False  # a script gave `helo` with the address: it goes before the plan's


@dataclass(slots=True)
class DeliveryPlan:
    """What the transport says and pre-delivery changed, for one attempt only."""

    sender: Address
    recipient: Address
    host: str | None = None  # None or "lookup-mx": the recipient domain's MX
    port: int = 25
    helo: str | None = None
    source: SourceIP | None = None
    other_sources: tuple[SourceIP, ...] = ()  # in order, where `source` is of the other family, or held back
    tls: str = "optional"  # disabled, optional, optional_verify, require, require_verify
    tls_settings: TLSSettings = TLSSettings()
    username: bytes | None = None
    password: bytes | None = None
    connect_timeout: float = 30.0
    pooling: bool = True  # take an idle connection, and keep it for others afterwards
    protocol: str = "smtp"  # or lmtp
    senderparams: dict[str, str] = field(default_factory=dict)  # of MAIL; an empty value: the keyword alone
    recipientparams: dict[str, str] = field(default_factory=dict)  # of RCPT
    xclient: dict[str, str] = field(default_factory=dict)
    timeouts: dict[str, float] = field(default_factory=dict)  # seconds, by the names of the client's timeouts
    mx_include: tuple[str, ...] = ()  # mail hosts, lower case; `*.` is any one label
    mx_exclude: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[SourceIP, ...]:
        """The source addresses that may be used, the best one first; none: the system's choice."""
        return () if self.source is None else (self.source, *self.other_sources)

    @sources.setter
    def sources(self, sources: Sequence[SourceIP]) -> None:
        self.source, self.other_sources = (sources[0], tuple(sources[1:])) if sources else (None, ())


@dataclass(frozen=True, slots=True)
class DSNPlan:
    """What a script says about the notification of one attempt; None: as without it."""

    transportid: str | None = None
    recipient: Address | None = None
    metadata: dict[bytes, bytes] = field(default_factory=dict)
    from_address: Address | None = None
    from_name: bytes | None = None
    jobid: bytes = b""
    signer: Signer | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class NetAddress:
    """One `addresses[]` entry of the config: `netaddr:ID` in scripts; hostname is its HELO."""

    id: str
    address: str
    hostname: str
