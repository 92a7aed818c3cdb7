"""Chapter "Socket": the classes Socket and TLSSocket. Addresses and bytes come in, bytes go out.

What a script reaches is subject to the network policy (`scripting.network`); how it waits: hsl/library/channels.py.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, TypeVar

from hsl.arithmetic import check_string
from hsl.builtins import Chapter, NativeObject, Options, method, option, static_method
from hsl.errors import ScriptError, near
from hsl.library.channels import PIECE, Channel, TLSChannel, deadline_of
from hsl.library.network import network_of
from hsl.values import Array, Object, Resource, to_string

if TYPE_CHECKING:
    import ssl
    from socket import socket

    from hsl.run import Run

T = TypeVar("T")

chapter = Chapter("Socket")

FAMILIES: Final = ("AF_INET", "AF_INET6", "AF_UNIX")
TYPES: Final = ("SOCK_STREAM", "SOCK_DGRAM")
ENDS: Final = ("SHUT_RD", "SHUT_WR", "SHUT_RDWR")
FLAGS: Final = ("MSG_PEEK", "MSG_WAITALL", "MSG_DONTWAIT")
FREEBIND: Final = {4: (0, 15), 6: (41, 78)}  # level and option of IP_FREEBIND, IPV6_FREEBIND; not in Python's socket


def want_name(function: str, place: str, name: bytes, names: Iterable[str]) -> str:
    """One of the names. Raises ScriptError."""
    known = tuple(names)
    text = name.decode("utf-8", "replace")
    if text not in known:
        raise ScriptError(f"{function}(): {place}: wanted {', '.join(known)}, got {text!r}", hint=near(text, known))
    return text


def want_port(function: str, port: int) -> int:
    if not 0 <= port <= 65535:
        raise ScriptError(f"{function}(): parameter 2 (port): wanted 0 to 65535, got {port}")
    return port


class SocketResource(Resource):
    """A connected socket that a host hands to scripts, for `Socket::Resource`."""

    def __init__(self, sock: socket) -> None:
        super().__init__("SocketResource")
        self.sock = sock


class BindOptions(Options):
    nonlocal_: bool = option(False, "Allow an address that this machine does not have (IP_FREEBIND).", name="nonlocal")


@chapter.object("Socket")
class Socket(NativeObject):
    """Return a new socket of a family (`AF_INET`, `AF_INET6`, `AF_UNIX`) and type (`SOCK_STREAM`, `SOCK_DGRAM`).

    Its methods give none when the system reports an error, or nothing happened within the timeout; errno() then tells
    what (Linux's numbers: 110 the connection timed out, 11 nothing came in time, 111 refused, 9 the socket is closed).
    A wait ends at the latest with the script's own time. An address that the network policy denies raises an error.

    At most 100 sockets are open at a time in a run; they are closed by close(), when no variable holds them any more,
    and at the end of the run.

    Example:
        $socket = Socket(Socket::AF("192.0.2.1"), "SOCK_STREAM");
        if ($socket->settimeout(5)->connect("192.0.2.1", 25))
            echo $socket->recv(512);
        else
            echo $socket->errno();
    """

    def __init__(self, run: Run, family: bytes, type: bytes) -> None:
        super().__init__()
        import socket

        self.family = want_name("Socket", "parameter 1 (family)", family, FAMILIES)
        self.stream = want_name("Socket", "parameter 2 (type)", type, TYPES) == "SOCK_STREAM"
        self.timeout: float | None = None
        self.problem = 0  # errno() of the latest error
        self.channel = self.open(run, getattr(socket, self.family), getattr(socket, type.decode()))

    @staticmethod
    def open(run: Run, family: int, kind: int) -> Channel:
        try:
            return Channel.open(run, "Socket", family, kind)
        except OSError as error:
            raise ScriptError(f"Socket(): {error.strerror}") from None

    @classmethod
    def over(cls, channel: Channel) -> Socket:
        """A socket over a channel that is connected already."""
        result = cls.__new__(cls)
        NativeObject.__init__(result)
        result.family = channel.sock.family.name
        result.stream = channel.sock.type.name == "SOCK_STREAM"
        result.timeout = None
        result.problem = 0
        result.channel = channel
        return result

    def deadline(self, run: Run) -> float:
        return deadline_of(run, self.timeout)

    async def attempt(self, action: Awaitable[T]) -> T | None:
        """What comes of an action; none, and its errno noted, for what the system reports."""
        try:
            return await action
        except OSError as error:
            self.problem = error.errno or errno.EIO
            return None

    def attempt_now(self, action: Callable[[], object]) -> Socket | None:
        try:
            action()
        except OSError as error:
            self.problem = error.errno or errno.EIO
            return None
        return self

    def place(self, function: str, address: bytes) -> str | None:
        """The address as text; None for one of another family. Raises ScriptError for what is no address."""
        text = address.decode("utf-8", "surrogateescape")
        if self.family == "AF_UNIX":
            if not text.startswith("/") or "\0" in text:
                raise ScriptError(f"{function}(): parameter 1 (address): wanted an absolute path, got {text!r}")
            return text
        version = address_version(text)
        if version is None:
            wanted = "wanted an IP address (names are resolved by dns_query)"
            raise ScriptError(f"{function}(): parameter 1 (address): {wanted}, got {text!r}")
        if self.family != ("AF_INET6" if version == 6 else "AF_INET"):
            self.problem = errno.EAFNOSUPPORT
            return None
        return text

    @method("bind")
    def bind_to(self, run: Run, address: bytes, port: int = 0, options: BindOptions | None = None) -> Object | None:
        """Bind the socket to a local address and port, and return the socket; none on failure.

        The address is of the socket's family; port 0 takes a free one. A path of an `AF_UNIX` socket is subject to the
        network policy.

        Example:
            $socket = Socket("AF_INET", "SOCK_DGRAM");
            if (!$socket->bind("127.0.0.1"))
                echo "errno " . $socket->errno();
        """
        want_port("Socket->bind", port)
        text = self.place("Socket->bind", address)
        if text is None:
            return None
        if self.family == "AF_UNIX":
            network_of(run, "Socket->bind").policy.permit(text)
            return self.attempt_now(lambda: self.channel.sock.bind(text))
        anywhere = options is not None and options.nonlocal_
        return self.attempt_now(lambda: bind_source(self.channel, text, anywhere, port))

    @method("close")
    def close_socket(self) -> Object | None:
        """Close the socket, and return it; none if it was closed already.

        Example:
            $socket = Socket("AF_INET", "SOCK_STREAM");
            $socket->close();
        """
        if self.channel.sock.fileno() < 0:
            self.problem = errno.EBADF
            return None
        self.channel.release()
        return self

    @method("connect")
    async def connect_to(self, run: Run, address: bytes, port: int = 0) -> Object | None:
        """Connect to an address of the socket's family and a port, and return the socket; none on failure.

        The address is an IP address, or the absolute path of an `AF_UNIX` socket: no names. One that the network
        policy denies raises an error, before anything is sent.

        Example:
            $socket = Socket("AF_INET", "SOCK_STREAM");
            if (!$socket->settimeout(5)->connect("192.0.2.1", 25))
                echo "errno " . $socket->errno();
        """
        want_port("Socket->connect", port)
        text = self.place("Socket->connect", address)
        if text is None:
            return None

        async def connect() -> Socket:
            await self.channel.connect(text, port, self.deadline(run))
            return self

        return await self.attempt(connect())

    @method("errno")
    def last_errno(self) -> float:
        """Return the number of the latest error of this socket (errno(3) of Linux); 0 if there was none.

        Example:
            $socket = Socket("AF_INET", "SOCK_DGRAM");
            $socket->close();
            $socket->send("x");
            echo $socket->errno();
        """
        return float(self.problem)

    @method("recv")
    async def recv(self, run: Run, length: int, flags: bytes | Array | None = None) -> bytes | None:
        """Return what has come, up to `length` bytes and 64 KiB; an empty string at a stream's end, none on errors.

        It waits until there is anything. Flags, a string or an array of them: `MSG_WAITALL` waits until `length` bytes
        are there, or the end or an error (the limit is then that of a string, 64 MiB); `MSG_PEEK` leaves what it
        returns to be received again (it does not go with `MSG_WAITALL`); `MSG_DONTWAIT` does not wait.

        Example:
            $socket = Socket("AF_INET", "SOCK_STREAM");
            if ($socket->settimeout(5)->connect("192.0.2.1", 25))
                echo $socket->recv(4, ["MSG_WAITALL"]);
        """
        from socket import MSG_PEEK

        given = read_flags(flags)
        if length < 0:
            raise ScriptError(f"Socket->recv(): parameter 1 (length): wanted 0 or more, got {length}")
        check_string(length)
        deadline = 0.0 if "MSG_DONTWAIT" in given else self.deadline(run)
        if "MSG_WAITALL" in given and self.stream:
            return await self.attempt(self.receive_all(length, deadline))
        return await self.attempt(self.channel.receive(length, deadline, MSG_PEEK if "MSG_PEEK" in given else 0))

    async def receive_all(self, length: int, deadline: float) -> bytes:
        """Just so many bytes, or less where the end or an error comes first. Raises OSError where there are none."""
        data = bytearray()
        try:
            while len(data) < length:
                piece = await self.channel.receive(length - len(data), deadline)
                if not piece:
                    break
                data += piece
        except OSError as error:
            if not data:
                raise
            self.problem = error.errno or errno.EIO
        return bytes(data)

    @method("send")
    async def send(self, run: Run, data: bytes) -> float | None:
        """Send bytes, and return how many were sent: fewer after a timeout or an error half way; none if it was none.

        Example:
            $socket = Socket("AF_INET", "SOCK_STREAM");
            if ($socket->settimeout(5)->connect("192.0.2.1", 25))
                $socket->send("QUIT\\r\\n");
        """
        sent = await self.attempt(self.channel.send(data, self.deadline(run)))
        return None if sent is None else float(sent)

    @method("settimeout")
    def settimeout(self, timeout: float) -> Object:
        """Set how many seconds connect, recv and send may wait, and return the socket; 0: no limit but the script's.

        By default there is no limit but the time that the script has left.

        Example:
            $socket = Socket("AF_INET", "SOCK_STREAM")->settimeout(5);
        """
        if not timeout >= 0:
            raise ScriptError(f"Socket->settimeout(): parameter 1 (timeout): wanted 0 or more, got {timeout:g}")
        self.timeout = timeout or None
        return self

    @method("shutdown")
    def shutdown(self, how: bytes) -> Object | None:
        """Shut the connection down for receiving, sending or both, and return the socket; none on failure.

        `how` is `SHUT_RD`, `SHUT_WR` or `SHUT_RDWR`.

        Example:
            $socket = Socket("AF_INET", "SOCK_STREAM");
            if ($socket->settimeout(5)->connect("192.0.2.1", 7) and $socket->shutdown("SHUT_WR"))
                echo $socket->recv(100);
        """
        number = ENDS.index(want_name("Socket->shutdown", "parameter 1 (how)", how, ENDS))
        return self.attempt_now(lambda: self.channel.sock.shutdown(number))

    @method("toFFIValue")
    def to_ffi_value(self, run: Run) -> Resource | None:
        """Return the socket's file descriptor as an FFIValue of type `sint32`; none if it is closed.

        The socket keeps the descriptor: it is closed with it. It does not block.

        Example:
            $socket = Socket("AF_INET", "SOCK_STREAM");
            $descriptor = $socket->toFFIValue();
        """
        from hsl.library.ffi import FFIValue, allow

        allow(run, "Socket->toFFIValue")
        number = self.channel.sock.fileno()
        return None if number < 0 else FFIValue.of("sint32", number)

    @staticmethod
    @static_method("AF")
    def address_family(address: bytes) -> bytes | None:
        """Return the family of an IP address, `AF_INET` or `AF_INET6`; none for anything else.

        Example:
            echo Socket::AF("192.0.2.1");  // expect: AF_INET
            echo Socket::AF("2001:db8::1");  // expect: AF_INET6
            echo Socket::AF("example.com");  // expect: none
        """
        version = address_version(address.decode("utf-8", "replace"))
        return {4: b"AF_INET", 6: b"AF_INET6", None: None}[version]

    @staticmethod
    @static_method("Resource")
    def from_resource(run: Run, socket: Resource) -> Object | None:
        """Return a socket over a SocketResource, a connection that the host gave to the script; none if it is closed.

        Example:
            function greet($resource) {
                $socket = Socket::Resource($resource);
                return $socket ? $socket->send("hello") : none;
            }
        """
        if not isinstance(socket, SocketResource):
            raise ScriptError(f"Socket::Resource(): wanted a SocketResource, got a {socket.kind}")
        if socket.sock.fileno() < 0:
            return None
        return Socket.over(Channel(socket.sock, network_of(run, "Socket::Resource")))


def bind_source(channel: Channel, address: str, nonlocal_source: bool, port: int = 0) -> None:
    """Bind a socket to an IP address, also to one that this machine does not have. Raises OSError."""
    from socket import AF_INET6, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET

    if nonlocal_source:
        channel.sock.setsockopt(*FREEBIND[6 if channel.sock.family == AF_INET6 else 4], 1)
    if channel.sock.type == SOCK_STREAM:
        channel.sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    channel.sock.bind((address, port))


def address_version(text: str) -> int | None:
    """4 or 6; None for what is no IP address."""
    try:
        return ip_address(text).version
    except ValueError:
        return None


def read_flags(flags: bytes | Array | None) -> set[str]:
    given = [flags] if isinstance(flags, bytes) else [] if flags is None else list(map(to_string, flags.values()))
    return {want_name("Socket->recv", "parameter 2 (flags)", flag, FLAGS) for flag in given}


# ------------------------------------------------------------ TLS


class TLSSocketOptions(Options):
    tls_protocols: bytes = option(
        b"!SSLv2,!SSLv3", "The TLS protocols, separated by commas; those after `!` are left out."
    )
    tls_ciphers: bytes | None = option(None, "The ciphers of TLS up to 1.2, as OpenSSL lists them.")
    tls_verify_name: Array | None = option(None, "Host names, one of which the certificate must be for.")
    tls_verify_ca: bool = option(False, "The certificate must come from an authority that this system knows.")
    tls_default_ca: bool = option(False, "The same authorities; there are no others.")
    tls_sni: bytes | None = option(None, "The host name to ask for (SNI, RFC 6066 section 3).")
    tls_client_cert: bytes | None = option(None, "Our certificate, its chain and its private key as PEM text.")


@chapter.object("TLSSocket")
class TLSSocket(NativeObject):
    """Return the TLS side, as a client, of a connected Socket of type `SOCK_STREAM`.

    By default the peer's certificate is not checked at all: set `tls_verify_ca` and `tls_verify_name`. Its methods wait
    as long as those of the Socket, by the Socket's timeout. A configuration's certificates (`pki:X`) do not exist
    here: a client certificate is given as PEM text.

    Example:
        $socket = Socket("AF_INET", "SOCK_STREAM")->settimeout(10);
        if ($socket->connect("192.0.2.1", 443)) {
            $names = ["www.example.com"];
            $tls = TLSSocket($socket, ["tls_sni" => $names[0], "tls_verify_ca" => true, "tls_verify_name" => $names]);
            if (!$tls->handshake())
                echo "no TLS: " . $tls->errno();
        }
    """

    def __init__(self, socket: Object, options: TLSSocketOptions) -> None:
        super().__init__()
        from hsl.library.tls import client_context, read_names, server_name

        if not isinstance(socket, Socket) or not socket.stream:
            got = "a datagram Socket" if isinstance(socket, Socket) else socket.class_name
            raise ScriptError(f"TLSSocket(): parameter 1 (socket): wanted a Socket of type SOCK_STREAM, got {got}")
        self.socket = socket
        self.problem = 0
        self.names = read_names("TLSSocket", options.tls_verify_name)
        self.verified = False
        context = client_context(
            "TLSSocket",
            protocols=options.tls_protocols,
            ciphers=options.tls_ciphers,
            verify=options.tls_verify_ca,
            certificate=options.tls_client_cert,
        )
        self.channel = TLSChannel(socket.channel, context, server_name("TLSSocket", options.tls_sni))

    async def attempt(self, run: Run, action: Callable[[float], Awaitable[T]]) -> T | None:
        """What comes of an action, after the handshake; none, and its errno noted, for what goes wrong."""
        import ssl

        deadline = self.socket.deadline(run)
        try:
            if not self.verified:
                await self.verify(deadline)
            return await action(deadline)
        except ssl.SSLError as error:
            self.problem = tls_errno(error)
        except TimeoutError as error:
            self.socket.problem = error.errno or errno.EAGAIN
            self.problem = 2  # SSL_ERROR_WANT_READ
        except OSError as error:
            self.socket.problem = error.errno or errno.EIO
            self.problem = 5  # SSL_ERROR_SYSCALL
        return None

    async def verify(self, deadline: float) -> None:
        """The handshake, and whether the peer's certificate is for one of the names. Raises ssl.SSLError, OSError."""
        import ssl

        from hsl.library.tls import certificate_is_for

        await self.channel.handshake(deadline)
        certificate = self.channel.tls.getpeercert(binary_form=True)
        if self.names and (certificate is None or not certificate_is_for(certificate, self.names)):
            raise ssl.SSLCertVerificationError(1, "the certificate is for none of the names")
        self.verified = True

    @method("handshake")
    async def handshake(self, run: Run) -> Object | None:
        """Perform the TLS handshake, and return the TLSSocket; none if it, or the check of the certificate, fails.

        Example:
            function secured($socket, $host) {
                return TLSSocket($socket, ["tls_verify_ca" => true, "tls_verify_name" => [$host]])->handshake();
            }
        """

        async def done(deadline: float) -> TLSSocket:
            return self

        return await self.attempt(run, done)

    @method("recv")
    async def recv(self, run: Run, length: int) -> bytes | None:
        """Return what has come, up to `length` bytes and 64 KiB; an empty string at the end, none on errors.

        The end is where the peer says so (close_notify); a connection that just breaks off is an error. The first call
        does the handshake if handshake() was not called.

        Example:
            function read_all($tls) {
                $data = "";
                while ($piece = $tls->recv(65536)) $data .= $piece;
                return $data;
            }
        """
        if length < 1:
            raise ScriptError(f"TLSSocket->recv(): parameter 1 (length): wanted 1 or more, got {length}")
        return await self.attempt(run, lambda deadline: self.channel.receive(min(length, PIECE), deadline))

    @method("send")
    async def send(self, run: Run, data: bytes) -> float | None:
        """Send bytes, and return how many were sent: fewer after a timeout or an error half way; none if it was none.

        The first call does the handshake if handshake() was not called.

        Example:
            function say($tls, $line) {
                return $tls->send("$line\\r\\n") == length($line) + 2;
            }
        """
        sent = await self.attempt(run, lambda deadline: self.channel.send(data, deadline))
        return None if sent is None else float(sent)

    @method("shutdown")
    async def shutdown(self, run: Run) -> float | None:
        """End TLS, as SSL_shutdown(3) does: 0 when the peer was told, 1 when it has ended its side too; none on errors.

        Call it a second time to wait for the peer's end.

        Example:
            function finish($tls) {
                return $tls->shutdown() ?? $tls->shutdown();
            }
        """
        state = await self.attempt(run, self.channel.shutdown)
        return None if state is None else float(state)

    @method("errno")
    def last_errno(self) -> float:
        """Return the number of the latest error as SSL_get_error(3) gives it; 0 if there was none.

        1: TLS itself failed, the check of the certificate too; 2: a timeout; 5: the connection, see the Socket's
        errno(), or it broke off; 6: the peer has ended TLS.

        Example:
            function why($tls) {
                return $tls->errno() == 5 ? $tls->toSocket()->errno() : $tls->errno();
            }
        """
        return float(self.problem)

    @method("getpeerx509")
    def getpeerx509(self) -> Object | None:
        """Return the peer's certificate as an X509; none before the handshake, or if there is none.

        Example:
            function common_name($tls) {
                foreach ($tls->getpeerx509()->subject() as $field)
                    if ($field[0] == "CN") return $field[1];
            }
        """
        from hsl.library.tls import x509_object

        try:
            certificate = self.channel.tls.getpeercert(binary_form=True)
        except ValueError:  # no handshake yet
            return None
        return None if certificate is None else x509_object(certificate)

    @method("toSocket")
    def to_socket(self) -> Object:
        """Return the Socket below.

        Example:
            function hang_up($tls) {
                $tls->shutdown();
                $tls->toSocket()->close();
            }
        """
        return self.socket


def tls_errno(error: ssl.SSLError) -> int:
    """SSL_get_error(3)'s number; Python's own number for a connection that broke off is one of the system's errors."""
    import ssl

    if isinstance(error, ssl.SSLEOFError):
        return 5
    return error.errno if isinstance(error.errno, int) and 0 < error.errno <= 6 else 1
