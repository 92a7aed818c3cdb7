"""A connection to a directory: URIs and requests come in, entries go out; what fails is an LDAPFailure.

Over hsl/library/channels.py, by the messages of ldapwire.py. (bonsai, over libldap, was looked at first: it resolves
and connects by itself, past the network policy and blocking, polls while it waits, and gives no certificate.)
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, NamedTuple

from hsl.errors import ScriptError
from hsl.library import ldapwire as wire
from hsl.library.channels import PIECE, Channel, TLSChannel, deadline_of, dial
from hsl.library.ldaperrors import MESSAGES
from hsl.library.network import NetworkError
from hsl.values import Array, to_string

if TYPE_CHECKING:
    from hsl.run import Run

MAX_RESULT: Final = 64 * 1024 * 1024  # bytes of the entries of one search
MAX_VALUES: Final = 1_000_000  # of all its entries
URI: Final = re.compile(r"(ldaps?)://(\[[0-9A-Fa-f:.]+\]|[^\s/:?\[\]]+)(?::([0-9]{1,5}))?(?:[/?]\S*)?\Z", re.IGNORECASE)
PORTS: Final = {"ldap": 389, "ldaps": 636}

SERVER_DOWN, DECODING_ERROR, TIMEOUT, FILTER_ERROR = -1, -4, -5, -7
PARAMETER_ERROR, CONNECT_ERROR = -9, -11
REFUSED: Final = frozenset({32, 34, 48, 49, 50, 53})  # no such name … unwilling: answers to a password, no failures


class Server(NamedTuple):
    """One of the servers that a URI names."""

    tls: bool
    host: str
    port: int


class LDAPFailure(Exception):
    """An operation failed; `code` is LDAP's result or, below 0, what libldap would call it."""

    def __init__(self, code: int) -> None:
        super().__init__(MESSAGES.get(code, "unknown"))
        self.code = code


def read_uri(function: str, uri: bytes) -> list[Server]:
    """The servers of a URI, separated by blanks. Raises ScriptError."""
    servers = []
    for item in uri.decode("utf-8", "replace").split():
        match = URI.match(item)
        port = int(match[3]) if match and match[3] else 0
        if match is None or port > 65535:
            raise ScriptError(f"{function}(): wanted ldap://host or ldaps://host, got {item!r}")
        scheme = match[1].lower()
        servers.append(Server(scheme == "ldaps", match[2].strip("[]"), port or PORTS[scheme]))
    if not servers:
        raise ScriptError(f"{function}(): wanted ldap://host or ldaps://host, got an empty string")
    return servers


class Client:
    """A connection to the first server that answers, made when it is needed. All methods raise LDAPFailure.

    Once it is closed it stays so: another one would silently be without the TLS and the login of the first.
    """

    def __init__(self, servers: list[Server]) -> None:
        self.servers = servers
        self.network_timeout: float | None = None
        self.timeout: float | None = None
        self.timelimit = 0
        self.verify = True
        self.channel: Channel | None = None
        self.tls: TLSChannel | None = None
        self.host = ""
        self.buffer = bytearray()
        self.number = 0
        self.ended = False

    def close(self) -> None:
        channel, self.channel, self.tls = self.channel, None, None
        self.buffer.clear()
        if channel is not None:
            self.ended = True
            channel.release()

    async def connect(self, run: Run) -> Channel:
        if self.channel is not None:
            return self.channel
        problem = LDAPFailure(SERVER_DOWN)
        if self.ended:
            raise problem
        for server in self.servers:
            deadline = deadline_of(run, self.network_timeout)
            try:
                self.channel = await dial(run, "LDAP", server.host, server.port, deadline)
                self.host = server.host
                if server.tls:
                    await self.secure(deadline)
                return self.channel
            except (NetworkError, OSError) as error:
                self.close()
                self.ended = False  # nothing was said yet
                problem = failure(error)
        raise problem

    async def secure(self, deadline: float) -> None:
        """The TLS handshake; the certificate has to be for the host that was asked for. Raises OSError."""
        from hsl.library.tls import client_context

        assert self.channel is not None
        context = client_context("LDAP", verify=self.verify, certificate=None)
        context.check_hostname = self.verify
        tls = TLSChannel(self.channel, context, self.host if self.verify or not is_address(self.host) else None)
        await tls.handshake(deadline)
        self.tls = tls

    async def start_tls(self, run: Run) -> bool:
        if self.tls is not None:
            raise LDAPFailure(PARAMETER_ERROR)
        answer = await self.ask(run, wire.start_tls_request(), wire.EXTENDED_DONE)
        if answer.code:
            raise LDAPFailure(answer.code)
        if self.buffer:  # sent before TLS, so nobody knows by whom (RFC 4511 section 4.14.2)
            self.close()
            raise LDAPFailure(DECODING_ERROR)
        try:
            await self.secure(deadline_of(run, self.network_timeout))
        except OSError as error:
            self.close()
            raise failure(error, CONNECT_ERROR) from None
        return True

    async def bind(self, run: Run, name: bytes, password: bytes) -> bool:
        answer = await self.ask(run, wire.bind_request(name, password), wire.BIND_DONE)
        if answer.code:
            raise LDAPFailure(answer.code)
        return True

    async def search(self, run: Run, base: bytes, scope: str, query: bytes, attributes: list[bytes]) -> list[Array]:
        """The entries. Raises ScriptError when they are too many."""
        try:
            found = wire.read_filter(query)
        except wire.Malformed:
            raise LDAPFailure(FILTER_ERROR) from None
        request = wire.search_request(base, wire.SCOPES.index(scope), self.timelimit, found, attributes)
        entries: list[Array] = []
        size = values = 0
        deadline = await self.send(run, request)
        while True:
            answer, length = await self.receive(deadline)
            if answer.operation == wire.SEARCH_DONE:
                if answer.code:
                    raise LDAPFailure(answer.code)
                return entries
            if answer.operation == wire.ENTRY:
                size += length
                if size > MAX_RESULT or values > MAX_VALUES:
                    self.close()
                    raise ScriptError(f"LDAP->search(): more than {MAX_VALUES} values or {MAX_RESULT} bytes")
                entry = self.entry(answer)
                values += sum(len(item) for item in entry.values() if isinstance(item, Array)) + 1
                entries.append(entry)

    def entry(self, answer: wire.Answer) -> Array:
        try:
            name, attributes = wire.read_entry(answer.parts, MAX_VALUES)
        except wire.Malformed:
            self.close()
            raise LDAPFailure(DECODING_ERROR) from None
        result = Array.record({b"dn": name})
        for attribute, values in attributes:
            result.set(attribute, Array([*values]))
        return result

    async def ask(self, run: Run, request: bytes, wanted: int) -> wire.Answer:
        """The one answer to a request."""
        deadline = await self.send(run, request)
        while True:
            answer, _ = await self.receive(deadline)
            if answer.operation == wanted:
                return answer

    async def send(self, run: Run, request: bytes) -> float:
        """Send a request; until when its answer may take."""
        await self.connect(run)
        deadline = deadline_of(run, self.timeout)
        self.number += 1
        await self.write(wire.message(self.number, request), deadline)
        return deadline

    async def write(self, data: bytes, deadline: float) -> None:
        side = self.tls or self.channel
        assert side is not None
        try:
            while data:
                data = data[await side.send(data, deadline) :]
        except OSError as error:
            self.close()
            raise failure(error) from None

    async def receive(self, deadline: float) -> tuple[wire.Answer, int]:
        """The next answer to the latest request, and its length. What fails ends the connection."""
        try:
            while True:
                content = await self.block(deadline)
                answer = wire.read_answer(content)
                if answer.number == self.number:
                    return answer, len(content)
                if answer.number == 0:  # a notice of disconnection (RFC 4511 section 4.4.1)
                    raise LDAPFailure(SERVER_DOWN)
        except wire.Malformed:
            self.close()
            raise LDAPFailure(DECODING_ERROR) from None
        except OSError as error:
            self.close()
            raise failure(error) from None
        except LDAPFailure:
            self.close()
            raise

    async def block(self, deadline: float) -> bytes:
        """The content of the next message."""
        side = self.tls or self.channel
        assert side is not None
        while True:
            if self.buffer and self.buffer[0] != wire.SEQUENCE:
                raise wire.Malformed("this is no LDAP message")
            place = wire.header(self.buffer)
            if place is not None and len(self.buffer) >= place[1]:
                content = bytes(self.buffer[place[0] : place[1]])
                del self.buffer[: place[1]]
                return content
            data = await side.receive(PIECE, deadline)
            if not data:
                raise LDAPFailure(SERVER_DOWN)
            self.buffer += data

    async def unbind(self, run: Run) -> bool:
        if self.channel is not None:
            self.number += 1
            await self.write(wire.message(self.number, wire.unbind_request()), deadline_of(run, self.timeout))
        self.close()
        self.ended = True
        return True


def failure(error: Exception, code: int = SERVER_DOWN) -> LDAPFailure:
    """What an error of the network is called."""
    timed_out = isinstance(error, TimeoutError) or (isinstance(error, NetworkError) and error.kind == "timeout")
    return LDAPFailure(TIMEOUT if timed_out else code)


def is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def fill_query(query: bytes, lookup: bytes | Array) -> bytes:
    """A query with its values."""
    if isinstance(lookup, bytes):
        values = {b"%s": wire.escape(lookup), b"%x": lookup}
        return re.sub(rb"%[sx]", lambda match: values[match[0]], query)
    items = [wire.escape(to_string(item)) for item in lookup.values()]
    return re.sub(
        rb"\$([1-9][0-9]{0,3})", lambda match: items[int(match[1]) - 1] if int(match[1]) <= len(items) else b"", query
    )
