"""Chapter "Protocols": whether a mail server takes a recipient, and whether servers of several kinds take a password.

SMTP is spoken in smtpclient.py, RADIUS and TACACS+ in radius.py and tacplus.py, which are imported when they are
needed; here are the functions of scripts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from hsl.builtins import Chapter, Options, option
from hsl.errors import ScriptError
from hsl.library.channels import Channel, LineReader, deadline_of, dial
from hsl.library.network import NetworkError
from hsl.library.tls import EVERY_PROTOCOL
from hsl.values import Array, Value, to_number, to_string

if TYPE_CHECKING:
    from hsl.library import radius
    from hsl.library.smtpclient import Refused, Reply, Session
    from hsl.run import Run

chapter = Chapter("Protocols")

MAX_LINE: Final = 16 * 1024  # bytes of a line of Dovecot's
MAX_LINES: Final = 1000  # before its answer
YES, NO, ERROR = 1.0, 0.0, -1.0
TLS_MODES: Final = ("disabled", "optional", "optional_verify", "require", "require_verify")
AUTH_STATES: Final = ("AUTH", "AUTH-PLAIN", "AUTH-LOGIN-USER")
NOT_THE_PASSWORD: Final = frozenset({500, 501, 502, 503, 504, 530, 534, 538})  # RFC 4954 section 6


@runtime_checkable
class HasTransports(Protocol):
    """A host whose configuration has transports: the settings of one, as the options of a server."""

    def transport_server(self, function: str, transportid: bytes) -> Array:
        """Raises ScriptError for a transport that there is not."""
        ...


# ------------------------------------------------------------ SMTP


class ServerOptions(Options):
    """A server to ask."""

    host: bytes | None = option(None, "The host or IP address; by default `lookup-mx`: those of the recipient's MX.")
    port: int = option(25, "The TCP port.")
    helo: bytes | None = option(None, "The HELO name; by default gethostname().")
    sourceip: bytes | None = option(None, "The source address: an IP address, or `netaddr:ID`.")
    sourceipid: bytes | None = option(None, "The id of a source address.")
    nonlocal_source: bool = option(False, "Allow a source address that this system does not have.")
    saslusername: bytes | None = option(None, "Log in with this name before MAIL FROM.")
    saslpassword: bytes | None = option(None, "Its password.")
    sasl_username: bytes | None = option(None, "The older name of saslusername.")
    sasl_password: bytes | None = option(None, "The older name of saslpassword.")
    tls: bytes = option(b"disabled", f"One of {', '.join(TLS_MODES)}; `verify`: the certificate is checked.")
    tls_sni: bytes | bool = option(False, "The name to ask for by SNI; true: the host's.")
    tls_protocols: bytes = option(
        EVERY_PROTOCOL, "The TLS protocols, separated by commas; those after `!` are left out."
    )
    tls_ciphers: bytes | None = option(None, "The ciphers of TLS up to 1.2, as OpenSSL lists them.")
    tls_verify_host: bool = option(False, "The certificate must be for the host.")
    tls_verify_name: Array | None = option(None, "Host names, one of which the certificate must be for.")
    tls_default_ca: bool = option(False, "The authorities that this system knows; there are no others.")
    tls_client_cert: bytes | None = option(None, "Our certificate, its chain and its private key as PEM text.")
    tls_capture_peer_cert: bool = option(False, "Give the peer's certificate in the extended result.")
    xclient: Array | None = option(None, "Attributes of an XCLIENT command, name to value.")
    protocol: bytes = option(b"smtp", "`smtp` or `lmtp` (RFC 2033).")
    mx_include: Array | None = option(None, "Only mail hosts of these names, or one label below `*.` of them.")
    mx_exclude: Array | None = option(None, "No mail hosts of these names, or one label below `*.` of them.")
    chunking: bool = option(True, "Without effect: no message is sent.")
    timeout: Array | None = option(
        None, "How long states may take: BANNER, EHLO, MAIL, RCPT and others.", unit="seconds"
    )
    connect_timeout: float = option(30.0, "How long connecting may take.", unit="seconds")


class RcptOptions(Options):
    extended_result: bool = option(False, "Return an array of error_code, error_message, on_rcptto and tls.")
    error_code: bool = option(False, "The older way: return an array of error_code and error_message.")


def server_options(run: Run, function: str, server: bytes | ServerOptions) -> ServerOptions:
    """A server's options, or those of a transport by its id. Raises ScriptError."""
    if not isinstance(server, bytes):
        return server
    if not isinstance(run.host, HasTransports):
        raise ScriptError(f"{function}(): there are no transports here: give an array of server settings")
    return ServerOptions.read(function, run.host.transport_server(function, server))


class Outcome:
    """What a lookup came to."""

    def __init__(self) -> None:
        self.value = ERROR
        self.code = 0
        self.message = b""
        self.on_rcptto = False
        self.tls = Array.record({b"started": False})

    def failed(self, error: Exception) -> None:
        self.message = (str(error) or type(error).__name__).encode("utf-8", "replace")

    def replied(self, reply: Reply, on_rcptto: bool) -> None:
        self.code, self.message, self.on_rcptto = reply.code, reply.text, on_rcptto

    def refused(self, refused: Refused, states: tuple[str, ...], besides: frozenset[int] = frozenset()) -> None:
        """A refusal for good, at one of these states, is an answer, but for some codes; any other is a failure."""
        self.replied(refused.reply, refused.state == "RCPT")
        answer = refused.reply.code >= 500 and refused.state in states and refused.reply.code not in besides
        self.value = NO if answer else ERROR

    def extended(self) -> Array:
        entries: dict[Value, Value] = {
            b"error_code": float(self.code),
            b"error_message": self.message,
            b"on_rcptto": self.on_rcptto,
            b"tls": self.tls,
        }
        return Array.record(entries)


@chapter.function("smtp_lookup_rcpt")
async def smtp_lookup_rcpt(
    run: Run,
    server: bytes | ServerOptions,
    sender: bytes | Array,
    recipient: bytes | Array,
    options: RcptOptions,
) -> float | Array:
    """Return 1 if a mail server takes mail from a sender to a recipient, 0 if it refuses, -1 if it cannot be asked.

    `server` is an array of settings, or the id of a transport. Addresses are strings, or arrays of `localpart` and
    `domain`; an empty sender is the null sender. A dialogue is held up to RCPT TO, and no message sent. 0 is a refusal
    for good (5xx) of MAIL FROM or RCPT TO; refusals for now (4xx), and of anything before, are -1.

    With `extended_result` it is an array: `error_code` (the code of the last reply, 0 without one), `error_message`
    (its text, or what went wrong), `on_rcptto` (it was the reply to RCPT TO) and `tls` (started, protocol, cipher,
    keysize; with tls_capture_peer_cert also peercert).

    An address that the network policy denies raises an error.

    Example:
        $found = smtp_lookup_rcpt(["host" => "192.0.2.25", "tls" => "optional"], "", "someone@example.com");
        if ($found === 0)
            echo "unknown user";
    """
    from hsl.library import smtpclient

    function = "smtp_lookup_rcpt"
    settings = smtpclient.read_settings(run, function, server_options(run, function, server))
    origin = smtpclient.read_address(function, "parameter 2 (sender)", sender, null=True)
    target = smtpclient.read_address(function, "parameter 3 (recipient)", recipient, null=False)
    outcome = Outcome()
    session: Session | None = None
    try:
        session = await smtpclient.connect(run, settings, target.domain)
        outcome.tls = session.tls_array()
        outcome.replied(await session.envelope(origin, target), on_rcptto=True)
        outcome.value = YES
    except smtpclient.Refused as refused:
        outcome.refused(refused, () if session is None else ("MAIL", "RCPT"))
    except (NetworkError, OSError) as error:
        outcome.failed(error)
    await finish(session)
    if options.extended_result:
        return outcome.extended()
    if options.error_code:
        return Array.record({b"error_code": float(outcome.code), b"error_message": outcome.message})
    return outcome.value


@chapter.function("smtp_lookup_auth")
async def smtp_lookup_auth(run: Run, server: bytes | ServerOptions, username: bytes, password: bytes) -> float:
    """Return 1 if a mail server takes a name and password, 0 if it refuses them, -1 if it cannot be asked.

    A refusal is a reply of 5xx, except those to the command as such (500 to 504, 530, 534, 538). `server` is an array
    of settings, whose `host` must be given, or the id of a transport. AUTH PLAIN, LOGIN or CRAM-MD5 is used, the first
    that is offered; passwords go over the connection as it is: set `tls`.

    Example:
        $server = ["host" => "192.0.2.25", "port" => 587, "tls" => "require_verify", "tls_verify_host" => true];
        if (smtp_lookup_auth($server, "someone", "password") == 1)
            echo "welcome";
    """
    from hsl.library import smtpclient

    function = "smtp_lookup_auth"
    options = server_options(run, function, server)
    settings = smtpclient.read_settings(run, function, options)
    outcome = Outcome()
    session: Session | None = None
    try:
        session = await smtpclient.connect(run, settings, b"")
        await session.login(username, password)
        outcome.value = YES
    except smtpclient.Refused as refused:
        outcome.refused(refused, () if session is None else AUTH_STATES, NOT_THE_PASSWORD)
    except (NetworkError, OSError) as error:
        outcome.failed(error)
    await finish(session)
    return outcome.value


async def finish(session: Session | None) -> None:
    if session is not None:
        await session.quit()


# ------------------------------------------------------------ what the others share


class ServiceOptions(Options):
    """A server that is asked for a verdict on a password."""

    host: bytes | None = option(None, "The server's host name or IP address; it has to be given.")
    timeout: float = option(5.0, "How long the server may take.", unit="seconds")


def read_service(function: str, options: ServiceOptions, port: int | None) -> tuple[str, int]:
    """Host and port. Raises ScriptError."""
    if not options.host:
        raise ScriptError(f"{function}(): option host is missing")
    if port is None or not 1 <= port <= 65535:
        got = "none" if port is None else port
        raise ScriptError(f"{function}(): option port: wanted 1 to 65535, got {got}")
    if not options.timeout > 0:
        raise ScriptError(f"{function}(): option timeout: wanted more than 0, got {options.timeout:g}")
    return options.host.decode("utf-8", "replace"), port


def read_secret(function: str, secret: bytes | None) -> bytes:
    if not secret:
        raise ScriptError(f"{function}(): option secret is missing")
    return secret


# ------------------------------------------------------------ Dovecot


class DovecotOptions(ServiceOptions):
    port: int | None = option(None, "The TCP port of its auth service; it has to be given.")
    service: bytes = option(b"smtp", "The name of the service that asks.")
    rip: bytes | None = option(None, "The client's IP address.")
    lip: bytes | None = option(None, "Our IP address.")
    secured: bool = option(False, "The client's connection is encrypted.")


@chapter.function("dovecot_lookup_auth")
async def dovecot_lookup_auth(run: Run, options: DovecotOptions, username: bytes, password: bytes) -> float:
    """Return 1 if a Dovecot server takes a name and password, 0 if it does not, -1 if it cannot be asked.

    The server needs an auth service on a TCP port (`inet_listener`); the protocol is Dovecot's auth client protocol
    1.x, the mechanism PLAIN.

    Example:
        if (dovecot_lookup_auth(["host" => "192.0.2.25", "port" => 12345], "someone", "password") == 1)
            echo "welcome";
    """
    function = "dovecot_lookup_auth"
    host, port = read_service(function, options, options.port)
    deadline = deadline_of(run, options.timeout)
    channel: Channel | None = None
    try:
        channel = await dial(run, function, host, port, deadline)
        return await ask_dovecot(channel, deadline, dovecot_request(options, username, password))
    except (NetworkError, OSError):
        return ERROR
    finally:
        if channel is not None:
            channel.release()


def dovecot_request(options: DovecotOptions, username: bytes, password: bytes) -> bytes:
    from base64 import b64encode

    fields = [b"AUTH", b"1", b"PLAIN", b"service=" + escaped(options.service)]
    fields += [b"secured"] if options.secured else []
    fields += [name + b"=" + escaped(value) for name, value in ((b"rip", options.rip), (b"lip", options.lip)) if value]
    fields.append(b"resp=" + b64encode(b"\0" + username + b"\0" + password))  # has to be the last one
    return b"\t".join(fields) + b"\n"


def escaped(value: bytes) -> bytes:
    """A value without tabs and line ends, as Dovecot writes them."""
    for plain, written in (
        (b"\x01", b"\x011"),
        (b"\0", b"\x010"),
        (b"\t", b"\x01t"),
        (b"\r", b"\x01r"),
        (b"\n", b"\x01n"),
    ):
        value = value.replace(plain, written)
    return value


async def ask_dovecot(channel: Channel, deadline: float, request: bytes) -> float:
    """The verdict. Raises NetworkError, OSError."""
    reader = LineReader(channel, MAX_LINE)
    greeting = b"VERSION\t1\t1\nCPID\t1\n"
    await send_all(channel, greeting, deadline)
    for _ in range(MAX_LINES):
        fields = (await reader.line(deadline)).split(b"\t")
        if fields[0] == b"VERSION" and fields[1:2] != [b"1"]:
            raise NetworkError("protocol", "this is another version of the protocol")
        if fields[0] == b"DONE":
            await send_all(channel, request, deadline)
        elif fields[:2] == [b"OK", b"1"]:
            return YES
        elif fields[:2] == [b"FAIL", b"1"]:
            return ERROR if b"temp" in fields else NO
        elif fields[:2] == [b"CONT", b"1"]:
            break
    return ERROR


async def send_all(channel: Channel, data: bytes, deadline: float) -> None:
    while data:
        data = data[await channel.send(data, deadline) :]


# ------------------------------------------------------------ RADIUS


class RadiusOptions(ServiceOptions):
    port: int = option(1812, "The UDP port.")
    secret: bytes | None = option(None, "The secret that is shared with the server; it has to be given.")
    clientip: bytes | None = option(None, "The client's IP address (Calling-Station-Id).")
    retry: int = option(3, "How often the question is sent again, each time with the timeout.")


@chapter.function("radius_authen")
async def radius_authen(
    run: Run, options: RadiusOptions, username: bytes, password: bytes, vendorstrings: Array | None = None
) -> float:
    """Return 1 if a RADIUS server (RFC 2865, PAP) takes a name and password, 0 if not, -1 if it cannot be asked.

    `vendorstrings` are sent as attributes of the vendor 33234: a string's number in the array, from 0, plus 1 is its
    type. Answers are checked by the secret; a question has a Message-Authenticator, and one in an answer must be right.
    A name of more than 253 bytes or a password of more than 128 cannot be sent: 0. A challenge is -1.

    Example:
        $server = ["host" => "192.0.2.18", "secret" => "shared"];
        if (radius_authen($server, "someone", "password") == 1)
            echo "welcome";
    """
    from hsl.library import radius

    function = "radius_authen"
    host, port = read_service(function, options, options.port)
    secret = read_secret(function, options.secret)
    if not 0 <= options.retry <= 100:
        raise ScriptError(f"{function}(): option retry: wanted 0 to 100, got {options.retry}")
    vendor = list(read_vendor(function, vendorstrings))
    if sum(len(text) + 8 for _, text in vendor) > radius.MAX_EXTRA:
        raise ScriptError(f"{function}(): parameter 4 (vendorstrings): they do not fit into a packet")
    if not username or len(username) > radius.MAX_VALUE or len(password) > radius.MAX_PASSWORD:
        return NO
    question = radius.Question(secret, username, password, options.clientip or b"", vendor)
    channel: Channel | None = None
    try:
        deadline = deadline_of(run, options.timeout)
        channel = await dial(run, function, host, port, deadline, datagram=True)
        for _ in range(options.retry + 1):
            code = await ask_radius(channel, question, deadline_of(run, options.timeout))
            if code is not None:
                return {radius.ACCEPT: YES, radius.REJECT: NO}.get(code, ERROR)
    except (NetworkError, OSError):
        pass
    finally:
        if channel is not None:
            channel.release()
    return ERROR


def read_vendor(function: str, strings: Array | None) -> Iterator[tuple[int, bytes]]:
    from hsl.library import radius

    for key, value in () if strings is None else strings.pairs():
        number = to_number(key) + 1 if isinstance(key, float) else 0
        text = to_string(value)
        if not 1 <= number <= 255 or len(text) > radius.MAX_VENDOR:
            wanted = f"wanted strings of up to {radius.MAX_VENDOR} bytes, numbered from 0 to 254"
            raise ScriptError(f"{function}(): parameter 4 (vendorstrings): {wanted}")
        yield int(number), text


async def ask_radius(channel: Channel, question: radius.Question, deadline: float) -> int | None:
    """The code of the answer; None when no right one comes in time. Raises OSError."""
    from hsl.library.radius import MAX_PACKET

    await channel.send(question.packet, deadline)
    try:
        while True:
            code = question.answer(await channel.receive(MAX_PACKET, deadline))
            if code is not None:
                return code
    except TimeoutError:
        return None


# ------------------------------------------------------------ TACACS+


class TacplusOptions(ServiceOptions):
    port: int = option(49, "The TCP port.")
    secret: bytes | None = option(None, "The secret that is shared with the server; it has to be given.")
    clientip: bytes | None = option(None, "The client's IP address.")


@chapter.function("tacplus_authen")
async def tacplus_authen(run: Run, options: TacplusOptions, username: bytes, password: bytes) -> float:
    """Return 1 if a TACACS+ server (RFC 8907, PAP) takes a name and password, 0 if not, -1 if it cannot be asked.

    A name or a password of more than 255 bytes cannot be sent: 0.

    Example:
        $server = ["host" => "192.0.2.49", "secret" => "shared"];
        if (tacplus_authen($server, "someone", "password") == 1)
            echo "welcome";
    """
    from hsl.library import tacplus

    function = "tacplus_authen"
    place = read_service(function, options, options.port)
    secret = read_secret(function, options.secret)
    address = options.clientip or b""
    if not username or max(len(username), len(password)) > tacplus.MAX_VALUE:
        return NO
    body = await ask_tacplus(
        run, function, place, options.timeout, tacplus.AUTHEN, tacplus.authen_start(username, password, address), secret
    )
    return {tacplus.AUTHEN_PASS: YES, tacplus.AUTHEN_FAIL: NO}.get(body[0] if body else -1, ERROR)


@chapter.function("tacplus_author")
async def tacplus_author(run: Run, options: TacplusOptions, username: bytes, avpair: Array) -> Array | float:
    """Return the attributes that a TACACS+ server (RFC 8907) grants, 0 if it refuses, -1 if it cannot be asked.

    `avpair` is an array of strings like `service=smtp` (necessary) and `priv*1` (optional), up to 255. The result is an
    array of such strings: those that the server adds or, where it says so, sets instead of the question's.

    Example:
        $granted = tacplus_author(["host" => "192.0.2.49", "secret" => "shared"], "someone", ["service=smtp"]);
        if (is_array($granted))
            echo length($granted);
    """
    from hsl.library import tacplus

    function = "tacplus_author"
    place = read_service(function, options, options.port)
    secret = read_secret(function, options.secret)
    pairs = [to_string(item) for item in avpair.values()]
    if len(pairs) > tacplus.MAX_VALUE or any(len(item) > tacplus.MAX_VALUE for item in pairs):
        wanted = f"wanted up to {tacplus.MAX_VALUE} strings of up to {tacplus.MAX_VALUE} bytes"
        raise ScriptError(f"{function}(): parameter 3 (avpair): {wanted}")
    if not username or len(username) > tacplus.MAX_VALUE:
        return NO
    request = tacplus.author_request(username, options.clientip or b"", pairs)
    body = await ask_tacplus(run, function, place, options.timeout, tacplus.AUTHOR, request, secret)
    granted = None if body is None else tacplus.read_author(body)
    if granted is None:
        return NO if body and body[0] == tacplus.AUTHOR_FAIL else ERROR
    return Array([*granted])


async def ask_tacplus(
    run: Run, function: str, place: tuple[str, int], timeout: float, kind: int, body: bytes, secret: bytes
) -> bytes | None:
    """The body of the server's answer; None when there is none."""
    from hsl.library import tacplus

    deadline = deadline_of(run, timeout)
    channel: Channel | None = None
    try:
        channel = await dial(run, function, *place, deadline)
        session = tacplus.Exchange(kind, secret)
        await send_all(channel, session.packet(body), deadline)
        reader = LineReader(channel, MAX_LINE)
        header = await reader.block(tacplus.HEADER, deadline)
        length = session.expect(header)
        return session.open(await reader.block(length, deadline))
    except (NetworkError, OSError, tacplus.Malformed):
        return None
    finally:
        if channel is not None:
            channel.release()
