"""SMTP as far as a lookup goes (RFC 5321): a server's settings come in, its answer to RCPT TO or AUTH goes out.

No message is sent. One dialogue per lookup, over hsl/library/channels.py, with every TLS option that scripts have.
"""

from __future__ import annotations

import random
import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping
from functools import partial
from ipaddress import ip_address
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple

from hsl.errors import ScriptError, near
from hsl.library.channels import Channel, LineReader, TLSChannel, deadline_of, dial
from hsl.library.misc import gethostname
from hsl.library.network import NetworkError, network_of
from hsl.library.protocols import TLS_MODES, ServerOptions
from hsl.library.sockets import bind_source
from hsl.library.tls import certificate_is_for, client_context, read_names, server_name
from hsl.values import Array, Value, to_number, to_string

if TYPE_CHECKING:
    from hsl.run import Run

LOOKUP_MX: Final = "lookup-mx"
STATES: Final = {  # seconds that each may take (RFC 5321 section 4.5.3.2)
    "CONNECT": 30.0, "BANNER": 300.0, "HELO": 300.0, "EHLO": 300.0, "LHLO": 300.0, "STARTTLS": 120.0, "AUTH": 300.0,
    "AUTH-CRAM-MD5": 300.0, "AUTH-PLAIN": 300.0, "AUTH-LOGIN": 300.0, "AUTH-LOGIN-USER": 300.0, "XCLIENT": 300.0,
    "MAIL": 300.0, "RCPT": 300.0, "RSET": 5.0, "QUIT": 5.0,
}  # fmt: skip
MAX_TIMEOUT: Final = 3600.0
MAX_LINE: Final = 4096  # bytes of a reply's line
MAX_LINES: Final = 500  # of a reply
MAX_HOSTS: Final = 10
REPLY: Final = re.compile(rb"([2-5][0-9][0-9])([ -]?)(.*)\Z", re.DOTALL)
WORD: Final = re.compile(r"[\x21-\x7e]{1,255}\Z")
LOCALPART: Final = re.compile(rb'(?:"(?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*"|[^\x00-\x20"<>\x7f]*)\Z')
DOMAIN: Final = re.compile(rb'[^\x00-\x20"<>@\x7f]*\Z')
PATTERN: Final = re.compile(r"(?:\*\.)?[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,253}[A-Za-z0-9_])?\Z")
KEYWORD: Final = re.compile(rb"[A-Za-z0-9-]{1,64}\Z")
XTEXT: Final = re.compile(rb"[^!-*,-<>-~]")


class Reply(NamedTuple):
    """A server's reply."""

    code: int
    lines: tuple[bytes, ...]

    @property
    def text(self) -> bytes:
        return b" ".join(self.lines)


class Refused(Exception):
    """An unwanted reply, at a state."""

    def __init__(self, state: str, reply: Reply) -> None:
        super().__init__(state)
        self.state = state
        self.reply = reply


class HandshakeFailed(NetworkError):
    """TLS could not be set up; the connection is of no use any more."""

    def __init__(self, message: str) -> None:
        super().__init__("tls", message)


# ------------------------------------------------------------ settings


class Settings(NamedTuple):
    """A server's options, checked."""

    function: str
    options: ServerOptions
    hosts: tuple[str, ...]  # patterns of what the MX lookup may give
    not_hosts: tuple[str, ...]
    names: tuple[str, ...]
    helo: bytes
    timeouts: Mapping[str, float]
    xclient: tuple[bytes, ...]
    source: str | None

    @property
    def tls(self) -> str:
        return self.options.tls.decode()

    @property
    def lmtp(self) -> bool:
        return self.options.protocol == b"lmtp"

    @property
    def login(self) -> tuple[bytes, bytes] | None:
        username = self.options.saslusername or self.options.sasl_username
        return None if username is None else (username, self.options.saslpassword or self.options.sasl_password or b"")


def read_settings(run: Run, function: str, options: ServerOptions) -> Settings:
    """Check a server's options. Raises ScriptError."""
    check_word(function, "tls", options.tls, TLS_MODES)
    check_word(function, "protocol", options.protocol, ("smtp", "lmtp"))
    if not 1 <= options.port <= 65535:
        raise ScriptError(f"{function}(): option port: wanted 1 to 65535, got {options.port}")
    helo = (gethostname(run) if options.helo is None else options.helo).decode("utf-8", "replace")
    if not WORD.match(helo):
        raise ScriptError(f"{function}(): option helo: wanted a host name, got {helo!r}")
    return Settings(
        function,
        options,
        read_patterns(function, "mx_include", options.mx_include),
        read_patterns(function, "mx_exclude", options.mx_exclude),
        read_names(function, options.tls_verify_name),
        helo.encode(),
        read_timeouts(function, options),
        read_xclient(function, options.xclient),
        read_source(run, function, options),
    )


def check_word(function: str, name: str, value: bytes, words: tuple[str, ...]) -> None:
    text = value.decode("utf-8", "replace")
    if text not in words:
        wanted = ", ".join(words)
        raise ScriptError(f"{function}(): option {name}: wanted one of {wanted}, got {text!r}", hint=near(text, words))


def read_timeouts(function: str, options: ServerOptions) -> Mapping[str, float]:
    timeouts = dict(STATES)
    pairs = [] if options.timeout is None else options.timeout.pairs()
    given = {to_string(key).decode("utf-8", "replace"): value for key, value in pairs}
    for state, value in [*given.items(), ("CONNECT", options.connect_timeout)]:
        if state not in STATES:
            hint = near(state, STATES) or f"there are {', '.join(STATES)}"
            raise ScriptError(f"{function}(): option timeout: there is no state {state[:60]!r}", hint=hint)
        seconds = to_number(value)
        if not 0 < seconds <= MAX_TIMEOUT:
            raise ScriptError(f"{function}(): option timeout: {state}: wanted seconds up to {MAX_TIMEOUT:g}")
        timeouts[state] = seconds
    return timeouts


def read_patterns(function: str, name: str, patterns: Array | None) -> tuple[str, ...]:
    found = [] if patterns is None else [to_string(item).decode("utf-8", "replace") for item in patterns.values()]
    for item in found:
        if not PATTERN.match(item):
            raise ScriptError(f"{function}(): option {name}: wanted host names, got {item[:60]!r}")
    return tuple(item.lower() for item in found)


def read_xclient(function: str, attributes: Array | None) -> tuple[bytes, ...]:
    """`NAME=VALUE` words, values as xtext (RFC 3461 section 4)."""
    words = []
    for key, value in () if attributes is None else attributes.pairs():
        if not isinstance(key, bytes) or not KEYWORD.match(key):
            raise ScriptError(f"{function}(): option xclient: wanted attribute names as keys")
        words.append(key + b"=" + XTEXT.sub(lambda match: b"+%02X" % match[0][0], to_string(value)))
    return tuple(words)


def read_source(run: Run, function: str, options: ServerOptions) -> str | None:
    """The source address; None: the system chooses it."""
    given = options.sourceip if options.sourceipid is None else b"netaddr:" + options.sourceipid
    if given is None:
        return None
    text = given.decode("utf-8", "replace")
    if text.startswith("netaddr:"):
        found = network_of(run, function).source(text.removeprefix("netaddr:"))
        if found is None:
            raise ScriptError(f"{function}(): option sourceip: there is no address {text!r}")
        return found
    try:
        return str(ip_address(text))
    except ValueError:
        raise ScriptError(f"{function}(): option sourceip: wanted an IP address or netaddr:ID, got {text!r}") from None


class Address(NamedTuple):
    """An envelope address as it is sent."""

    path: bytes
    domain: bytes


def read_address(function: str, place: str, value: Value, *, null: bool) -> Address:
    """`local@domain`, or an array of `localpart` and `domain`. Raises ScriptError."""
    if isinstance(value, Array):
        localpart, domain = to_string(value.get(b"localpart") or b""), to_string(value.get(b"domain") or b"")
    else:
        localpart, at, domain = to_string(value).rpartition(b"@")
        if not at:
            localpart, domain = domain, b""
    if not LOCALPART.match(localpart) or not DOMAIN.match(domain) or not (localpart or (null and not domain)):
        shown = (localpart + b"@" + domain)[:100].decode("utf-8", "replace")
        raise ScriptError(f"{function}(): {place}: wanted an address, got {shown!r}")
    return Address(localpart + b"@" + domain if domain else localpart, domain)


# ------------------------------------------------------------ the dialogue


class Session:
    """A connection to one server. Methods raise Refused for its refusals; NetworkError and OSError when it breaks."""

    def __init__(self, run: Run, settings: Settings, host: str, channel: Channel) -> None:
        self.run = run
        self.settings = settings
        self.host = host
        self.channel = channel
        self.tls: TLSChannel | None = None
        self.reader = LineReader(channel, MAX_LINE)
        self.broken = False
        self.offers: dict[bytes, list[bytes]] = {}  # EHLO keyword -> its parameters

    def deadline(self, state: str) -> float:
        return deadline_of(self.run, self.settings.timeouts[state])

    async def reply(self, state: str) -> Reply:
        deadline = self.deadline(state)
        lines: list[bytes] = []
        while len(lines) < MAX_LINES:
            match = REPLY.match((await self.reader.line(deadline)).removesuffix(b"\r"))
            if match is None:
                raise NetworkError("protocol", f"{state}: the answer is not SMTP")
            lines.append(match[3])
            if match[2] != b"-":
                return Reply(int(match[1]), tuple(lines))
        raise NetworkError("protocol", f"{state}: the answer has too many lines")

    async def command(self, state: str, *words: bytes, accept: tuple[int, ...] = (250,)) -> Reply:
        """Send a command; its reply, if it has one of these codes."""
        data = b" ".join(words) + b"\r\n"
        deadline = self.deadline(state)
        side = self.tls or self.channel
        try:
            while data:
                data = data[await side.send(data, deadline) :]
            reply = await self.reply(state)
        except (NetworkError, OSError):
            self.broken = True
            raise
        return self.accepted(state, reply, accept)

    def accepted(self, state: str, reply: Reply, accept: tuple[int, ...]) -> Reply:
        if reply.code not in accept:
            raise Refused(state, reply)
        return reply

    async def open(self, tls: str) -> None:
        """Banner, EHLO, STARTTLS, XCLIENT."""
        self.accepted("BANNER", await self.reply("BANNER"), (220,))
        await self.hello()
        if tls != "disabled":
            await self.start_tls(tls)
        if self.settings.xclient:
            if b"XCLIENT" not in self.offers:
                raise NetworkError("protocol", "XCLIENT is wanted and was not offered")
            await self.command("XCLIENT", b"XCLIENT", *self.settings.xclient, accept=(220, 250))
            await self.hello()

    async def hello(self) -> None:
        """EHLO, and HELO where that is refused for good (RFC 5321 section 3.2)."""
        verb = "LHLO" if self.settings.lmtp else "EHLO"
        try:
            reply = await self.command(verb, verb.encode(), self.settings.helo)
        except Refused as refused:
            if self.settings.lmtp or refused.reply.code < 500:
                raise
            await self.command("HELO", b"HELO", self.settings.helo)
            reply = Reply(250, ())
        words = [line.upper().replace(b"=", b" ").split() for line in reply.lines[1:]]
        self.offers = {line[0]: line[1:] for line in words if line}

    async def start_tls(self, mode: str) -> None:
        """STARTTLS as the mode asks (RFC 3207), and a new EHLO after it."""
        if b"STARTTLS" not in self.offers:
            if mode.startswith("require"):
                raise NetworkError("tls", "TLS is required and was not offered")
            return
        try:
            await self.command("STARTTLS", b"STARTTLS", accept=(220,))
        except Refused:
            if mode != "optional":
                raise
            return
        if self.reader.buffer:
            raise HandshakeFailed("STARTTLS: there was something before TLS")
        await self.handshake(mode.endswith("verify"))
        await self.hello()

    async def handshake(self, verify: bool) -> None:
        """Raises HandshakeFailed, also for a certificate that is not for one of the names."""
        options, function = self.settings.options, self.settings.function
        context = client_context(
            function, protocols=options.tls_protocols, ciphers=options.tls_ciphers, verify=verify,
            certificate=options.tls_client_cert,
        )  # fmt: skip
        sni = self.host.encode() if options.tls_sni is True else options.tls_sni or None
        tls = TLSChannel(self.channel, context, server_name(function, sni))
        try:
            await tls.handshake(self.deadline("STARTTLS"))
        except OSError as error:
            reason = getattr(error, "reason", None) or type(error).__name__
            raise HandshakeFailed(f"STARTTLS: TLS handshake failed ({reason})") from None
        names = self.settings.names + ((self.host.lower(),) if options.tls_verify_host else ())
        certificate = tls.tls.getpeercert(binary_form=True)
        if names and (certificate is None or not certificate_is_for(certificate, names)):
            raise HandshakeFailed("STARTTLS: the certificate is for none of the names")
        self.tls = tls
        self.reader.channel = tls

    async def login(self, username: bytes, password: bytes) -> None:
        """AUTH (RFC 4954) by PLAIN, LOGIN or CRAM-MD5, the first one that is offered."""
        offered = self.offers.get(b"AUTH", [])
        if b"PLAIN" in offered:
            token = b64encode(b"\0" + username + b"\0" + password)
            await self.command("AUTH-PLAIN", b"AUTH", b"PLAIN", token, accept=(235,))
        elif b"LOGIN" in offered:
            await self.command("AUTH-LOGIN", b"AUTH", b"LOGIN", accept=(334,))
            await self.command("AUTH-LOGIN-USER", b64encode(username), accept=(334,))
            await self.command("AUTH", b64encode(password), accept=(235,))
        elif b"CRAM-MD5" in offered:
            await self.login_cram(username, password)
        else:
            raise NetworkError("protocol", "none of AUTH PLAIN, LOGIN and CRAM-MD5 is offered")

    async def login_cram(self, username: bytes, password: bytes) -> None:
        """RFC 2195."""
        from hmac import new

        challenge = await self.command("AUTH-CRAM-MD5", b"AUTH", b"CRAM-MD5", accept=(334,))
        try:
            text = b64decode(challenge.text, validate=True)
        except NotBase64:
            raise NetworkError("protocol", "AUTH CRAM-MD5: the challenge is not base64") from None
        digest = new(password, text, "md5").hexdigest().encode()
        await self.command("AUTH", b64encode(username + b" " + digest), accept=(235,))

    async def envelope(self, sender: Address, recipient: Address) -> Reply:
        """The reply to RCPT TO."""
        extra: list[bytes] = []
        if not (sender.path + recipient.path).isascii():
            if b"SMTPUTF8" not in self.offers:
                raise NetworkError("protocol", "the address needs SMTPUTF8, which was not offered")
            extra = [b"SMTPUTF8"]
        await self.command("MAIL", b"MAIL", b"FROM:<" + sender.path + b">", *extra, accept=(250, 251))
        return await self.command("RCPT", b"RCPT", b"TO:<" + recipient.path + b">", accept=(250, 251))

    async def quit(self) -> None:
        """QUIT and close; nothing depends on the answer, and a connection that broke is just closed."""
        try:
            if self.broken:
                return
            await self.command("QUIT", b"QUIT", accept=(221,))
        except (Refused, NetworkError, OSError):
            pass
        finally:
            self.channel.release()

    def tls_array(self) -> Array:
        """What is known of TLS, as scripts see it."""
        if self.tls is None:
            return Array.record({b"started": False})
        cipher = self.tls.tls.cipher()
        entries: dict[Value, Value] = {
            b"started": True,
            b"protocol": (self.tls.tls.version() or "").encode(),
            b"cipher": (cipher[0] if cipher else "").encode(),
            b"keysize": float(cipher[2] if cipher else 0),
        }
        certificate = self.tls.tls.getpeercert(binary_form=True)
        if self.settings.options.tls_capture_peer_cert and certificate:
            from hsl.library.tls import x509_resource

            entries[b"peercert"] = Array.record({b"x509": x509_resource(certificate)})
        return Array.record(entries)


# ------------------------------------------------------------ connecting


async def connect(run: Run, settings: Settings, domain: bytes) -> Session:
    """A session, past its greetings and login, with the first host that has one.

    Raises Refused, NetworkError, OSError as the last host did; NotPermitted.
    """
    problem: Exception = NetworkError("resolve", "there is no host")
    for host in await mail_hosts(run, settings, domain):
        try:
            return await connect_host(run, settings, host, settings.tls)
        except HandshakeFailed as error:
            problem = error
            if settings.tls == "optional" and settings.login is None:
                return await connect_host(run, settings, host, "disabled")
        except (Refused, NetworkError, OSError) as error:
            problem = error
    raise problem


async def connect_host(run: Run, settings: Settings, host: str, tls: str) -> Session:
    prepare = None
    if settings.source is not None:
        prepare = partial(bind_source, address=settings.source, nonlocal_source=settings.options.nonlocal_source)
    deadline = deadline_of(run, settings.timeouts["CONNECT"])
    port = settings.options.port
    channel = await dial(run, settings.function, host, port, deadline, prepare=prepare)
    session = Session(run, settings, host, channel)
    try:
        await session.open(tls)
        if settings.login is not None:
            await session.login(*settings.login)
    except BaseException:
        channel.release()
        raise
    return session


async def mail_hosts(run: Run, settings: Settings, domain: bytes) -> list[str]:
    """The host of the settings, or those of a domain's MX in order (RFC 5321 section 5.1). Raises NetworkError."""
    named = (settings.options.host or b"").decode("utf-8", "replace")
    if named not in ("", LOOKUP_MX):
        return [named.strip("[]")]
    text = domain.decode("utf-8", "replace")
    if text.startswith("["):
        return [re.sub(r"\A\[(?:IPv6:)?|\]\Z", "", text, flags=re.IGNORECASE)]
    if not text:
        raise ScriptError(f"{settings.function}(): option host: it is missing, and there is no recipient's domain")
    timeout = max(deadline_of(run, settings.timeouts["CONNECT"]) - monotonic(), 0.001)
    answer = await network_of(run, settings.function).dns.query(text, "MX", timeout=timeout)
    if answer.status != "NOERROR":
        raise NetworkError("resolve", f"MX of {text}: {answer.status}")
    records = [record.decode("ascii", "replace").partition(" ") for record in answer.records]
    if [host for _, _, host in records] in ([""], ["."]):
        raise NetworkError("resolve", f"{text} takes no mail")  # RFC 7505
    random.shuffle(records)
    records.sort(key=lambda record: int(record[0]))
    found = [host for _, _, host in records] or [text]
    return [host for host in found if chosen(settings, host.lower())][:MAX_HOSTS]


def chosen(settings: Settings, host: str) -> bool:
    included = not settings.hosts or any(fits(pattern, host) for pattern in settings.hosts)
    return included and not any(fits(pattern, host) for pattern in settings.not_hosts)


def fits(pattern: str, host: str) -> bool:
    """Whether a name is a host's; `*.` stands for one label."""
    return pattern == host or (pattern.startswith("*.") and host.partition(".")[2] == pattern[2:])
