"""Bytes over sockets, plain and TLS, for the functions that speak to servers: an address comes in, bytes go both ways.

Nothing here blocks: a socket that is not ready is waited for by the network's `sockets` (runtime/sockets.py). Each wait
has a deadline on time.monotonic()'s clock; past it TimeoutError is raised, and OSError for what the system reports.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from hsl.errors import ScriptError
from hsl.library.handles import Handles
from hsl.library.network import Network, NetworkError, network_of, seconds_left

if TYPE_CHECKING:
    import socket
    import ssl

    from hsl.run import Run

T = TypeVar("T")

MAX_OPEN: Final = 100  # sockets of one run
MAX_TRIED: Final = 8  # addresses of one host
TURN: Final = 512 * 1024  # bytes between two turns of other scripts
PIECE: Final = 64 * 1024  # bytes that are received in one go
RECORD: Final = 16 * 1024  # bytes of one TLS record (RFC 8446 5.1)


class Sockets(Protocol):
    """What a network shows as `sockets`: it waits for them."""

    async def ready(self, number: int, *, write: bool, timeout: float) -> bool:
        """Wait until a descriptor can be read from (or written to); false when that takes longer."""
        ...


def deadline_of(run: Run, timeout: float | None) -> float:
    """When a wait of so many seconds ends, the run's own end at the latest. None: then."""
    return monotonic() + seconds_left(run, timeout)


class Channel:
    """A socket of a run. It is closed at the run's end, and when nothing refers to it any more.

    Without handles it belongs to the host, which closes it.
    """

    def __init__(self, sock: socket.socket, network: Network, handles: Handles | None = None) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.network = network
        self.handles = handles
        self.waiting = False
        self.moved = 0  # bytes since the last wait
        if handles is not None:
            handles.open.add(self)

    @classmethod
    def open(cls, run: Run, function: str, family: int, kind: int) -> Channel:
        """A new socket. Raises ScriptError where there is no network, and when too many are open; OSError."""
        import socket

        network = network_of(run, function)
        handles = Handles.of(run, "sockets", MAX_OPEN)
        handles.check(function)
        return cls(socket.socket(family, kind), network, handles)

    def __del__(self) -> None:
        if self.handles is not None:
            self.release()

    def release(self) -> None:
        """Close the socket; a second time does nothing."""
        self.sock.close()
        if self.handles is not None:
            self.handles.open.discard(self)

    async def wait(self, deadline: float, *, write: bool) -> None:
        """Wait until the socket is ready. Raises TimeoutError; ScriptError while another script waits for it."""
        if self.waiting:
            raise ScriptError("another script is waiting for this socket")
        sockets: Sockets = self.network.sockets
        self.waiting = True
        self.moved = 0
        try:
            seconds = deadline - monotonic()
            if seconds <= 0 or not await sockets.ready(self.sock.fileno(), write=write, timeout=seconds):
                raise TimeoutError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        finally:
            self.waiting = False

    async def connect(self, address: str, port: int, deadline: float) -> None:
        """Connect to an IP address, or to the absolute path of a UNIX socket. Raises NotPermitted too."""
        place: str | tuple[str, int] = (address, port)
        if address.startswith("/"):
            place = address = os.path.normpath(address)  # what is checked is what is connected to
        self.network.policy.permit(address)
        code = self.sock.connect_ex(place)
        if code == errno.EINPROGRESS:
            code = await self.connected(deadline) or self.sock.connect_ex(place)  # told twice, Linux takes note of it
        if code:
            raise OSError(code, os.strerror(code))

    async def connected(self, deadline: float) -> int:
        """How a connection that is under way ends, as an errno."""
        import socket

        try:
            await self.wait(deadline, write=True)
        except TimeoutError:
            return errno.ETIMEDOUT
        return self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    async def send(self, data: bytes, deadline: float) -> int:
        """Send; how much was sent until an error or the deadline. Raises where that is nothing."""
        view = memoryview(data)
        sent = 0
        try:
            while True:
                sent += await self.send_some(view[sent:], deadline)
                if sent >= len(view):
                    return sent
        except OSError:
            if not sent:
                raise
            return sent  # the next call meets the error again

    async def send_some(self, data: memoryview, deadline: float) -> int:
        await self.take_turns(deadline, write=True)
        while True:
            try:
                sent = self.sock.send(data[:TURN])
                self.moved += sent
                return sent
            except BlockingIOError:
                await self.wait(deadline, write=True)

    async def take_turns(self, deadline: float, *, write: bool) -> None:
        """Let others have a turn now and then: a fast peer is always ready, and would never be waited for."""
        if self.moved >= TURN and deadline:
            await self.wait(deadline, write=write)

    async def receive(self, length: int, deadline: float, flags: int = 0) -> bytes:
        """Up to so many bytes, as soon as there are any; none of a stream: its end. Deadline 0: do not wait."""
        await self.take_turns(deadline, write=False)
        while True:
            try:
                data = self.sock.recv(min(length, PIECE), flags)
                self.moved += len(data)
                return data
            except BlockingIOError:
                await self.wait(deadline, write=False)


class Stream(Protocol):
    """What bytes come from: a Channel, or a TLSChannel."""

    async def receive(self, length: int, deadline: float) -> bytes: ...


class LineReader:
    """Lines and blocks out of a stream."""

    def __init__(self, channel: Stream, limit: int) -> None:
        self.channel = channel
        self.limit = limit  # bytes of a line
        self.buffer = bytearray()

    async def line(self, deadline: float) -> bytes:
        """The next line without its LF. Raises NetworkError at the end and for a line over the limit."""
        while b"\n" not in self.buffer:
            if len(self.buffer) > self.limit:
                raise NetworkError("protocol", "the line is too long")
            await self.more(deadline)
        line, _, rest = bytes(self.buffer).partition(b"\n")
        self.buffer[:] = rest
        return line

    async def block(self, length: int, deadline: float) -> bytes:
        """Just so many bytes. Raises NetworkError at the end."""
        while len(self.buffer) < length:
            await self.more(deadline)
        block = bytes(self.buffer[:length])
        del self.buffer[:length]
        return block

    async def more(self, deadline: float) -> None:
        data = await self.channel.receive(PIECE, deadline)
        if not data:
            raise NetworkError("protocol", "the connection was closed")
        self.buffer += data


async def dial(
    run: Run,
    function: str,
    host: str,
    port: int,
    deadline: float,
    *,
    datagram: bool = False,
    prepare: Callable[[Channel], None] | None = None,
) -> Channel:
    """A connection to the first address of a host that accepts it. Raises NotPermitted, NetworkError, OSError.

    `prepare` is called with each socket before it connects; what it raises is as if connecting had failed.
    """
    import socket

    network = network_of(run, function)
    kind = socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM
    addresses = await network.dns.addresses(host, timeout=max(deadline - monotonic(), 0.001))
    problem: OSError | None = None
    for address in addresses[:MAX_TRIED]:
        family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
        channel = Channel.open(run, function, family, kind)
        try:
            if prepare is not None:
                prepare(channel)
            await channel.connect(address, port, deadline)
        except OSError as error:
            channel.release()
            problem = error
        else:
            return channel
    raise problem or NetworkError("resolve", f"{host} has no address")


# ------------------------------------------------------------ TLS


class TLSChannel:
    """TLS over a connected channel, by ssl's memory BIOs: whatever the TLS side does, the channel stays usable."""

    def __init__(self, channel: Channel, context: ssl.SSLContext, server_name: str | None) -> None:
        import ssl

        self.channel = channel
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=server_name)
        self.unsent = bytearray()

    async def perform(self, step: Callable[[], T], deadline: float) -> T:
        """Do one step of TLS, with what must be sent and received for it. Raises ssl.SSLError, OSError."""
        import ssl

        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self.flush(deadline)
                await self.fill(deadline)
            except ssl.SSLError:
                await self.say_goodbye(deadline)
                raise
            else:
                await self.flush(deadline)
                return result

    async def say_goodbye(self, deadline: float) -> None:
        """Send the alert that tells the peer what went wrong, if it goes."""
        try:
            await self.flush(deadline)
        except OSError:
            self.unsent.clear()

    async def flush(self, deadline: float) -> None:
        self.unsent += self.outgoing.read()
        while self.unsent:
            sent = await self.channel.send(bytes(self.unsent), deadline)
            del self.unsent[:sent]

    async def fill(self, deadline: float) -> None:
        data = await self.channel.receive(PIECE, deadline)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    async def handshake(self, deadline: float) -> None:
        await self.perform(self.tls.do_handshake, deadline)

    async def receive(self, length: int, deadline: float) -> bytes:
        """Up to so many bytes; none: the peer ended the connection as TLS wants it."""
        import ssl

        try:
            return await self.perform(partial(self.tls.read, min(length, PIECE)), deadline)
        except ssl.SSLZeroReturnError:
            return b""

    async def send(self, data: bytes, deadline: float) -> int:
        """Send; how much until an error or the deadline. Raises where that is nothing."""
        sent = 0
        try:
            while True:
                await self.flush(deadline)  # what an earlier deadline left over
                piece = data[sent : sent + RECORD]
                sent += await self.perform(partial(self.tls.write, piece), deadline)
                if sent >= len(data):
                    return sent
        except OSError:
            if not sent:
                raise
            return sent

    async def shutdown(self, deadline: float) -> int:
        """SSL_shutdown(3): 0 when our end is told to the peer, 1 when its end is here too."""
        import ssl

        if not self.told:
            self.told = True
            try:
                self.tls.unwrap()
            except ssl.SSLWantReadError:
                await self.flush(deadline)
                return 0
        else:
            await self.perform(self.tls.unwrap, deadline)
        await self.flush(deadline)
        return 1

    told = False
