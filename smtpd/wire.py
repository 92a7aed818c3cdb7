"""One client's connection: octets in, command lines and blocks out; replies in, octets out. Commands are in session.py.

The client has one clock: it runs only while we wait for the client, and a reply (421 4.4.2) goes before the close.
End of input ends nothing by itself: what had come before is finished first (a client may send QUIT and shut down).

Of aiosmtpd (pinned below 1.5) this keeps the protocol and the names of its `smtp_*` methods. Its command loop, timers,
STARTTLS and replies are replaced: it cuts a steady sender and a slow script without a word, cancels its handler at end
of input, and logs and echoes credentials.
"""

from __future__ import annotations

import asyncio
import math
import os
import traceback
from asyncio import sslproto
from dataclasses import replace
from itertools import count
from ssl import SSLContext
from typing import TYPE_CHECKING, cast

from aiosmtpd.smtp import SMTP

from hsl.runtime.model import Connection, Ending
from hsl.runtime.reply import Reply, reply
from hsl.smtpd.certificates import handshake_problem, tls_info
from hsl.smtpd.limits import plain_ip

if TYPE_CHECKING:
    from hsl.smtpd.server import SMTPServer

BUFFER = 64 * 1024  # octets read ahead of the commands that consume them
MAX_COMMAND = 512  # RFC 5321 4.5.3.1.4, with the line end
MAX_COMMANDS = {
    "MAIL": 512 + 26 + 17 + 500 + 10 + 320,  # RFC 1870 6.1, RFC 6152, RFC 4954 3, RFC 6531 3.4, RFC 3461 4.3 and 4.4
    "RCPT": 512 + 500 + 40,  # RFC 3461 4.1 and 4.2
    "AUTH": 12_288 + 28,  # RFC 4954 4: the response; the verb and the longest mechanism before it
}
VERBS = frozenset(
    ("HELO", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "VRFY", "EXPN", "HELP", "QUIT")
)
HTTP = (" HTTP/1.1", " HTTP/1.0", " HTTP/2", " HTTP/2.0")  # how the first line of a request ends
END = 16  # octets at either end of a dropped line that are looked at
TURN = 50  # pipelined commands after which other sessions get their turn
LINGER = 5.0  # seconds for the last reply to be taken

IDLE = reply(421, "Timeout, closing connection", (4, 4, 2), close=True)
OVERTIME = reply(421, "Session has lasted too long, closing connection", (4, 4, 2), close=True)
SHUTDOWN = reply(421, "Service is shutting down, try again later", (4, 3, 2), close=True)
TOO_MANY_ERRORS = reply(421, "Too many errors, closing connection", (4, 7, 0), close=True)
TOO_MANY_SESSIONS = reply(421, "Too many connections, try again later", (4, 7, 0), close=True)
BROKEN = reply(421, "Internal error, closing connection", (4, 3, 0), close=True)
TOO_MANY_RECIPIENTS = reply(452, "Too many recipients", (4, 5, 3))
FOREIGN = reply(554, "This is not HTTP, closing connection", (5, 5, 1), close=True)
UNKNOWN = reply(500, "Command not recognised", (5, 5, 2))
TOO_LONG = reply(500, "Line too long", (5, 5, 2))


class LineTooLong(Exception):
    """A line of more than BUFFER octets; it has been read to its end and dropped. `start` and `end` of it are left."""

    def __init__(self, start: str, end: str) -> None:
        super().__init__()
        self.start = start
        self.end = end


class Wire(SMTP):
    """The connection's life: admission, TLS, lines, replies, clocks, end.

    Subclasses give the commands as `smtp_VERB(argument)`, `greet` before the first command and `ended` after the last.
    """

    line_length_limit = BUFFER  # the stream's; each command has its own limit

    def __init__(self, server: SMTPServer, *, implicit_tls: bool = False) -> None:
        # Not SMTP.__init__: it searches for hooks and commands anew at each connection (inspect.getmembers, 18 % of the
        # loop's time under load), and none of what it finds is used here.
        reader = asyncio.StreamReader(loop=server.loop, limit=self.line_length_limit)
        super(SMTP, self).__init__(reader, client_connected_cb=self._cb_client_connected, loop=server.loop)
        self.loop = server.loop
        self.hostname = server.hostname
        self.event_handler = None
        self.session = None
        self.envelope = None
        self.transport = None
        self._handler_coroutine = None
        self._tls_handshake_okay = True
        self._tls_protocol = None
        self._original_transport = None
        self._timeout_handle = None
        self.server = server
        self.config = server.config
        self.limits = server.config.limits
        self.runner = server.runner  # a session ends under the scripts it began with
        self.implicit_tls = implicit_tls
        self.errors = 0
        self.utf8 = False  # replies may have other than ASCII (RFC 6531 3.7.4.2)
        self.over = False  # nothing more is read or said
        self.state = "BANNER"  # what the next reply answers
        self.outcome = Ending()
        self.lost = False
        self.ending: Reply | None = None  # said after the command that is under way
        self._deadline = math.inf  # of the wait for the client that is under way (loop time)
        self._session_end = math.inf
        self._watcher: asyncio.TimerHandle | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._admitted = False
        self._handshake: asyncio.Future[None] | None = None
        self._in_data = False

    # --- to be filled in

    async def greet(self) -> None:
        raise NotImplementedError

    async def ended(self) -> None:
        """Called only if there is a disconnect stage."""
        raise NotImplementedError

    def release(self) -> None:
        """Free what the session holds; called once, at its end."""
        raise NotImplementedError

    def refuse_command(self, verb: str) -> Reply | None:
        """Why a command may not be given now, whatever its argument is."""
        raise NotImplementedError

    # --- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)
        super(SMTP, self).connection_made(transport)
        self.transport: asyncio.Transport | None = transport
        transport.set_write_buffer_limits(high=self.limits.replies)
        self.connection = make_connection(self.config.id, transport)
        self.peer_ip = self.connection.remoteip  # limits go by the real peer, whatever a script says
        barred = self.implicit_tls and self.server.failed_handshakes.exhausted(self.peer_ip)
        if barred or not self.server.enter(self):
            self.refuse()
            return
        self._admitted = True
        if self.implicit_tls:
            self._wrap_tls()
        self._session_end = self.loop.time() + self.limits.session
        self._watch()
        self._handler_coroutine = self.server.track(self._handle_client())

    def refuse(self) -> None:
        assert self.transport is not None
        self.over = True
        self.server.log_verdict("connect", "defer", TOO_MANY_SESSIONS, self.connection)
        if not self.implicit_tls:
            self._write(TOO_MANY_SESSIONS)
        self._close()

    def eof_received(self) -> bool:
        """Buffered commands are finished and answered; TLS cannot be half closed."""
        self._reader.feed_eof()
        return self.connection.tls is None

    def connection_lost(self, error: Exception | None) -> None:
        """After a clean close what had come is finished, unheard; a broken connection ends the handler at once."""
        if self.lost:
            return
        self.lost = True
        for timer in (self._watcher, self._linger):
            if timer is not None:
                timer.cancel()
        super(SMTP, self).connection_lost(error)
        self.transport = None
        if error is not None:
            self._failed("disconnect", error)
        if self._admitted:
            assert self._handler_coroutine is not None
            if error is not None:
                self._handler_coroutine.cancel()
            if self._handler_coroutine.done():  # as after QUIT: its place is free before the client comes back
                self._leave(self._handler_coroutine)
            else:
                self._handler_coroutine.add_done_callback(self._leave)

    def _leave(self, _handler: asyncio.Task[None]) -> None:
        """The place is kept for the disconnect script: without a limit those that wait would pile up."""
        self.server.leave(self)
        if self.runner.has("disconnect"):
            self.server.track(self.ended()).add_done_callback(lambda _: self.server.free_place(self))
        else:
            self.server.free_place(self)

    def _failed(self, kind: str, error: Exception, reason: str = "") -> None:
        """Note what ended the session, unless something else has."""
        if not self.outcome.type and self.outcome.close == "client":
            number = getattr(error, "errno", None) or 0
            text = reason or (os.strerror(number) if number > 0 else type(error).__name__)
            self.outcome.close, self.outcome.type, self.outcome.error = "error", kind, text
            self.outcome.code = max(number, 0)

    # --- the loop

    async def _handle_client(self) -> None:
        try:
            if self.implicit_tls and not await self.start_tls():
                return
            await self.greet()
            await self._serve()
        except ConnectionError:
            pass  # the peer is gone; there is nobody to tell
        except Exception:
            self.server.log.error("session-failed", ip=self.peer_ip, error=traceback.format_exc())
            self.finish(BROKEN)
        finally:
            self.over = True
            self.release()
            self._close()

    async def _serve(self) -> None:
        """Command after command; many that came at once leave other sessions their turn."""
        for number in count(1):
            if self.over:
                return
            await self._next_command()
            if number % TURN == 0:
                await asyncio.sleep(0)

    async def _next_command(self) -> None:
        if self.ending is not None:
            await self.reply(self.ending)
            return
        try:
            line = await self.read_line()
        except LineTooLong as error:
            verb = error.start.partition(" ")[0].upper()
            await (self.refuse_http() if error.end.endswith(HTTP) else self.refuse_long(verb))
            return
        if line is None:
            self.over = True
            return
        verb, _, argument = line.decode("latin-1").partition(" ")
        verb = verb.upper()
        refusal = self.refuse_command(verb)
        if argument.endswith(HTTP):
            await self.refuse_http()
        elif verb not in VERBS:
            await self.reply(UNKNOWN)  # never echoed: it may be a password
        elif refusal is not None:
            await self.reply(refusal)
        elif len(line) + 2 > MAX_COMMANDS.get(verb, MAX_COMMAND):
            await self.refuse_long(verb)
        else:
            self.state = verb
            await getattr(self, f"smtp_{verb}")(argument.strip(" \t"))

    async def refuse_long(self, verb: str) -> None:
        """Refuse a command unread. After BDAT comes a chunk, whose length is then not known: the session ends."""
        await self.reply(replace(TOO_LONG, close=verb == "BDAT"))

    async def refuse_http(self) -> None:
        """Whoever made a browser or a server send a request here would have his mail in its body."""
        self.server.log_verdict("session", "reject", FOREIGN, self.connection)
        await self.reply(FOREIGN)

    async def read_line(self) -> bytes | None:
        """The next line without its line end; None at the end of input. Raises LineTooLong."""
        self._deadline = self.loop.time() + self.limits.idle
        start, before = b"", b""
        try:
            while True:
                try:
                    line = await self._reader.readuntil(b"\n")
                    break
                except asyncio.LimitOverrunError as error:
                    dropped = await self._reader.readexactly(error.consumed)
                    start, before = start or dropped[:END], (before + dropped)[-END:]
        except asyncio.IncompleteReadError:
            return None
        finally:
            self._deadline = math.inf
        if start:
            end = (before + line).rstrip(b"\r\n")[-END:]
            raise LineTooLong(start.decode("latin-1"), end.decode("latin-1"))
        return line.rstrip(b"\r\n")

    async def read_block(self, most: int = BUFFER) -> bytes:
        """Whatever has come, at most BUFFER octets, and at most `most`; b"" at the end of input."""
        self._deadline = self.loop.time() + self.limits.idle
        self._in_data = True
        try:
            return await self._reader.read(min(most, BUFFER))
        finally:
            self._deadline = math.inf
            self._in_data = False

    def unread(self, octets: bytes) -> None:
        """Octets that belong to the next command."""
        if octets:
            self._reader._buffer[:0] = octets  # type: ignore[attr-defined]

    def read_ahead(self) -> bool:
        """Whether the client has sent something that nobody has read yet."""
        return bool(self._reader._buffer)  # type: ignore[attr-defined]

    # --- replies

    async def reply(self, reply: Reply) -> None:
        """The one way out for replies: counts errors, and ends the session after a reply that closes.

        One recipient too many is no error: the client sends to the rest in its next transaction (RFC 5321 4.5.3.1.10).
        """
        if reply.code >= 400 and reply is not TOO_MANY_RECIPIENTS:
            self.errors += 1
            if self.errors > self.limits.errors and not reply.close:
                reply = TOO_MANY_ERRORS
                self.server.log_verdict("session", "defer", reply, self.connection)
        if reply.close:
            self.over = True
        self._write(reply)
        if self.transport is not None and self.transport.get_write_buffer_size():
            self._deadline = self.loop.time() + self.limits.idle
            try:
                await self._writer.drain()
            finally:
                self._deadline = math.inf

    def finish(self, reply: Reply) -> None:
        """Say a last thing from outside of a command, and close."""
        if not self.over:
            self.over = True
            self._write(reply)
        self._close()

    def _write(self, reply: Reply) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(reply.render(self.utf8))
            self.outcome.reply, self.outcome.state = reply, self.state
            if reply.close:
                self.outcome.close = "QUIT" if self.state == "QUIT" else "server"

    def _close(self) -> None:
        """Close when everything written is sent; a peer that does not take it is cut off."""
        if self.transport is not None and self._linger is None:
            self._linger = self.loop.call_later(LINGER, self.abort)
            self.transport.close()

    def abort_transport(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def abort(self) -> None:
        """Cut the connection, and end the handler whatever it does."""
        self.abort_transport()
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()

    # --- clocks

    def _watch(self) -> None:
        """One timer, moved on only when it fires: commands cost no timers."""
        now = self.loop.time()
        if now >= self._deadline:
            self._expire(IDLE)
        elif now >= self._session_end:
            self._session_end = math.inf
            self._close_soon(OVERTIME)
        if not self.over:
            idle = self._deadline if self._deadline != math.inf else now + self.limits.idle
            self._watcher = self.loop.call_at(min(idle, self._session_end), self._watch)

    def _close_soon(self, reply: Reply) -> None:
        """Now, if the client is silent; else after the command that is under way."""
        if self._deadline == math.inf:
            self.ending = reply
        else:
            self._expire(reply)

    def _expire(self, reply: Reply) -> None:
        self.server.log_verdict("session", "defer", reply, self.connection)
        self.finish(reply)
        if reply is IDLE:
            self.outcome.type, self.outcome.error = "timeout", "the client said nothing in time"
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()

    def shut_down(self) -> None:
        """The server stops: an idle client is told now, a busy one after its command or message."""
        if self._in_data:
            self.ending = SHUTDOWN
        else:
            self._close_soon(SHUTDOWN)

    # --- TLS

    def _wrap_tls(self) -> asyncio.Future[None]:
        """Put TLS between the transport and us, at once: the next octet is the handshake's.

        uvloop's start_tls comes too late for octets that a client sends right after connecting.
        """
        assert self.server.certificates is not None
        assert self.transport is not None
        self._handshake = self.loop.create_future()
        self._tls_protocol = TLSProtocol(
            self.loop,
            self,
            cast(SSLContext, self.server.certificates.context),
            self._handshake,
            server_side=True,
            call_connection_made=False,
            ssl_handshake_timeout=cast(int, self.limits.handshake),
        )
        self.transport.set_protocol(self._tls_protocol)
        self._tls_protocol.connection_made(self.transport)
        return self._handshake

    async def start_tls(self) -> bool:
        """Do the handshake; False when it failed, and then the connection is closed."""
        handshake = self._handshake or self._wrap_tls()
        secured: asyncio.Transport | None = None
        try:
            await handshake
            assert self._tls_protocol is not None
            secured = cast("asyncio.Transport | None", self._tls_protocol._app_transport)
        except OSError as error:
            self.server.failed_handshakes.add(self.peer_ip)
            self.server.log.info(
                "tls-failed",
                server=self.config.id,
                connection=self.connection.id,
                ip=self.peer_ip,
                implicit=self.implicit_tls,
                error=handshake_problem(error),
            )
            self._failed("tls", error, handshake_problem(error))
        finally:
            if secured is None:
                self.over = True
                self.abort_transport()
                self.connection_lost(None)  # a handshake that fails tells its protocol nothing
        if secured is None:
            return False
        self.transport = self._writer._transport = self._reader._transport = secured  # type: ignore[attr-defined]
        secured.set_write_buffer_limits(high=self.limits.replies)
        self.connection.tls = tls_info(secured.get_extra_info("ssl_object"))
        return True


class TLSProtocol(sslproto.SSLProtocol):
    """As asyncio's; but a client whose handshake fails is told so (an alert, RFC 8446 6.2)."""

    def _on_handshake_complete(self, handshake_exc: BaseException | None) -> None:
        if handshake_exc is not None:
            self._process_outgoing()  # type: ignore[attr-defined]  # not in the stubs
        super()._on_handshake_complete(handshake_exc)


def make_connection(serverid: str, transport: asyncio.Transport) -> Connection:
    peer = transport.get_extra_info("peername") or ("0.0.0.0", 0)  # gone already
    local = transport.get_extra_info("sockname") or ("0.0.0.0", 0)
    return Connection(serverid, plain_ip(peer[0]), peer[1], plain_ip(local[0]), local[1])
