"""One outbound SMTP connection, driven command by command (RFC 5321), on aiosmtplib's protocol.

In: a connected socket, the envelope's own bytes, a body. Out: the remote's reply, or a Failed that names the state.

Of aiosmtplib only `execute_command`, `starttls` and the reply reader are used. Its mail(), rcpt(), sendmail() rewrite
addresses through parseaddr; its data() writes the body in one piece, starts the reply's clock at once and flushes on
close, so that a message given up by us is still delivered. Here the final dot is written only after everything before
it has left for the kernel; up to then a failure aborts the connection, and the remote cannot take the message (RFC
1047). There is no pipelining: aiosmtplib's protocol reads one reply per command.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import re
import ssl
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from socket import socket
from typing import NoReturn, cast

from aiosmtplib import (
    SMTP,
    SMTPConnectResponseError,
    SMTPReadTimeoutError,
    SMTPResponseException,
    SMTPServerDisconnected,
    SMTPTimeoutError,
)
from aiosmtplib.protocol import SMTPProtocol
from aiosmtplib.response import SMTPResponse

from hsl.runtime.model import AttemptError, Body, Result, TLSInfo, TLSSettings, new_id
from hsl.runtime.reply import Enhanced
from hsl.smtpd.datareader import has_bare_newline
from hsl.smtpd.tls import ClientContexts, NameChecks, WrongName, report_type, tls_info

BLOCK = 64 * 1024
BARE_NEWLINE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
MAX_GREETING = 20  # lines of a banner that are kept
FLUSH_POLL = 0.005  # seconds between looks at a TLS connection's plain buffer, which reports to nobody


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The longest wait in each state, seconds (RFC 5321 4.5.3.2). Connecting has its own in the delivery plan."""

    banner: float = 300.0
    helo: float = 300.0
    starttls: float = 120.0
    auth: float = 300.0
    mail: float = 300.0
    rcpt: float = 300.0
    data: float = 120.0
    block: float = 180.0
    dot: float = 600.0
    rset: float = 20.0
    quit: float = 5.0


class Failed(Exception):
    """A transaction that ended in `state` without success: by the remote's `result`, or else by an `error`.

    `localip`, `tls` and `tlsrpt` are what was known of a connection that nobody else holds any more.
    """

    def __init__(self, state: str, result: Result | None = None, error: AttemptError | None = None) -> None:
        super().__init__(state)
        self.state = state
        self.result = result
        self.error = error
        self.localip = ""
        self.tls: TLSInfo | None = None
        self.tlsrpt = ""


class HandshakeFailed(Failed):
    """STARTTLS was answered 220 and TLS did not come about."""


def problem(state: str, message: str, kind: str, enhanced: Enhanced | None = None, temporary: bool = True) -> Failed:
    """A Failed without a reply; the state stands in its message."""
    return Failed(state, error=AttemptError(temporary, f"{state}: {message}", kind, enhanced, state))


def read_result(response: SMTPResponse, state: str) -> Result:
    """A reply in our form."""
    text = response.message.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return Result.read(response.code, text.split("\n"), state)


def stuffed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """A body as it stands between DATA and the final dot (RFC 5321 4.5.2), in pieces of about 64 KiB.

    Lines that begin with a dot get another one, the last line gets its CRLF. A CR or LF that stands alone, which a
    stored body never has, becomes CRLF: sent as it is, it could end the message early at a lenient server (2.3.8).
    """
    line_start, held = True, b""
    for chunk in chunks:
        for start in range(0, len(chunk), BLOCK):
            piece = held + chunk[start : start + BLOCK]
            held = b"\r" if piece.endswith(b"\r") else b""
            piece = piece[: len(piece) - len(held)]
            if not piece:
                continue
            if has_bare_newline(piece):
                piece = BARE_NEWLINE.sub(b"\r\n", piece)
            if line_start and piece.startswith(b"."):
                yield b"."
            yield piece.replace(b"\r\n.", b"\r\n..")
            line_start = piece.endswith(b"\r\n")
    if held or not line_start:
        yield b"\r\n"


class Dialogue:
    """A connection past its banner. Every method raises Failed; the connection is then reusable only if `alive`."""

    def __init__(self, smtp: SMTP, plain: asyncio.Transport, timeouts: Timeouts, lmtp: bool = False) -> None:
        self.smtp = smtp
        self.lmtp = lmtp
        self.plain = plain  # stays the TCP transport when TLS is put on top
        self.timeouts = timeouts
        self.state = "BANNER"
        self.tls: TLSInfo | None = None
        self.tlsrpt = ""  # why there is no TLS though it was wanted (RFC 8460 4.3)
        self.id = new_id()
        self.greeting: tuple[str, ...] = ()
        self.localip: str = plain.get_extra_info("sockname")[0]
        self.opened = asyncio.get_running_loop().time()
        self.used = 0  # transactions begun
        self.dirty = False  # an unfinished transaction stands: RSET before the next one

    @classmethod
    async def open(cls, sock: socket, helo: str, timeouts: Timeouts, lmtp: bool = False) -> Dialogue:
        """Take over a connected socket and read the banner. Raises Failed (BANNER), with the socket closed."""
        smtp = SMTP(sock=sock, local_hostname=helo, timeout=timeouts.banner, start_tls=False)
        try:
            banner = await smtp.connect()
            if not smtp.is_connected:  # a banner, and gone
                raise problem("BANNER", "connection lost", "disconnect", (4, 4, 2))
            dialogue = cls(smtp, cast(asyncio.Transport, smtp.transport), timeouts, lmtp)
            dialogue.greeting = tuple(read_result(banner, "BANNER").lines[:MAX_GREETING])
            return dialogue
        except SMTPConnectResponseError as error:
            raise refusal("BANNER", SMTPResponse(error.code, error.message)) from None
        except (SMTPResponseException, OSError) as error:
            raise breakdown("BANNER", error) from error
        finally:
            if not smtp.is_connected:
                smtp.close()
                sock.close()

    @property
    def alive(self) -> bool:
        return self.smtp.is_connected

    def offers(self, extension: str) -> bool:
        return self.smtp.supports_extension(extension)

    async def command(self, state: str, *words: bytes, timeout: float, accept: tuple[int, ...]) -> SMTPResponse:
        """Send a command and demand one of these codes."""
        self.state = state
        try:
            response = await self.smtp.execute_command(*words, timeout=timeout)
        except (SMTPResponseException, OSError) as error:
            self.abort()
            raise breakdown(state, error) from error
        if response.code not in accept:
            if not 400 <= response.code <= 599:
                self.abort()  # whatever it means, we no longer agree where we are
            raise refusal(state, response)
        return response

    async def hello(self, name: str) -> None:
        """EHLO, and HELO where that is refused for good (RFC 5321 3.2); LHLO alone in LMTP (RFC 2033 4.1)."""
        words = name.encode("ascii")
        if self.lmtp:
            self.smtp.last_ehlo_response = await self.command(
                "LHLO", b"LHLO", words, timeout=self.timeouts.helo, accept=(250,)
            )
            return
        try:
            reply = await self.command("EHLO", b"EHLO", words, timeout=self.timeouts.helo, accept=(250,))
        except Failed as failed:
            if failed.result is None or failed.result.code < 500 or not self.alive:
                raise
            await self.command("HELO", b"HELO", words, timeout=self.timeouts.helo, accept=(250,))
        else:
            self.smtp.last_ehlo_response = reply

    async def secure(self, mode: str, settings: TLSSettings, contexts: ClientContexts, name: str, helo: str) -> None:
        """STARTTLS as the mode asks (RFC 3207), and a new EHLO after it. `name`: the mail host's.

        The `_verify` modes also check the host's name, unless the settings say otherwise. Raises HandshakeFailed, with
        the connection gone.
        """
        required = mode.startswith("require")
        if mode == "disabled":
            return
        if not self.offers("starttls"):
            self.tlsrpt = "starttls-not-supported"
            if required:
                raise problem("STARTTLS", "TLS is required and was not offered", "tls", (4, 7, 4))
            return
        self.state = "STARTTLS"
        try:
            await self.handshake(mode.endswith("verify"), settings, contexts, name)
        except SMTPResponseException as error:
            self.tlsrpt = "starttls-not-supported"
            if error.code < 400:
                self.abort()
                raise breakdown("STARTTLS", error) from error
            if required or mode == "optional_verify":
                raise refusal("STARTTLS", SMTPResponse(error.code, error.message)) from None
            return
        await self.hello(helo)

    async def handshake(self, verify: bool, settings: TLSSettings, contexts: ClientContexts, name: str) -> None:
        """TLS, and whether the certificate is for whom it must be for."""
        checks = NameChecks.of(verify, settings, name)
        context = contexts.get(verify, settings, checks_host=checks.by_ssl)
        try:
            await self.smtp.starttls(tls_context=context, server_hostname=checks.sni, timeout=self.timeouts.starttls)
            self.tls = tls_info(self.smtp.transport, verified=verify)
            checks.check(self.tls)
        except OSError as error:  # ssl.SSLError, timeouts and lost connections are OSErrors all
            self.abort()
            failed = HandshakeFailed("STARTTLS", error=handshake_error(error, name))
            self.tls, self.tlsrpt = None, report_type(error)
            failed.tlsrpt = self.tlsrpt
            raise failed from error

    async def login(self, username: bytes, password: bytes) -> None:
        """AUTH PLAIN, else LOGIN, else CRAM-MD5 (RFC 4954); CRAM-MD5 (RFC 2195) first where there is no TLS."""
        offered, wait = self.smtp.server_auth_methods, self.timeouts.auth
        if "cram-md5" in offered and (self.tls is None or not {"plain", "login"} & set(offered)):
            response = await self.command("AUTH-CRAM-MD5", b"AUTH", b"CRAM-MD5", timeout=wait, accept=(334,))
            await self.command("AUTH", cram_md5(response, username, password), timeout=wait, accept=(235,))
        elif "plain" in offered:
            token = base64.b64encode(b"\0" + username + b"\0" + password)
            await self.command("AUTH", b"AUTH", b"PLAIN", token, timeout=wait, accept=(235,))
        elif "login" in offered:
            await self.command("AUTH-LOGIN", b"AUTH", b"LOGIN", timeout=wait, accept=(334,))
            await self.command("AUTH-LOGIN-USER", base64.b64encode(username), timeout=wait, accept=(334,))
            await self.command("AUTH", base64.b64encode(password), timeout=wait, accept=(235,))
        else:
            raise problem("AUTH", "none of AUTH PLAIN, LOGIN, CRAM-MD5 is offered", "protocol", (4, 7, 0))

    async def xclient(self, attributes: Mapping[str, str], helo: str) -> None:
        """XCLIENT (Postfix's XCLIENT_README): whom the mail is from; the session then begins again with EHLO."""
        if not self.offers("xclient"):
            raise problem("XCLIENT", "XCLIENT is wanted and was not offered", "protocol", (4, 5, 0))
        words = [f"{name}={value}".encode("ascii") for name, value in attributes.items()]
        await self.command("XCLIENT", b"XCLIENT", *words, timeout=self.timeouts.helo, accept=(220, 250))
        await self.hello(helo)

    async def mail(self, path: bytes, *params: bytes) -> None:
        """MAIL FROM with the path's own bytes; after an unfinished transaction RSET first."""
        self.used += 1
        if self.dirty:
            await self.command("RSET", b"RSET", timeout=self.timeouts.rset, accept=(250,))
        self.dirty = True
        await self.command(
            "MAIL", b"MAIL", b"FROM:<" + path + b">", *params, timeout=self.timeouts.mail, accept=(250, 251)
        )

    async def recipient(self, path: bytes, *params: bytes) -> None:
        words = (b"RCPT", b"TO:<" + path + b">", *params)
        await self.command("RCPT", *words, timeout=self.timeouts.rcpt, accept=(250, 251))

    async def data(self, body: Body) -> Result:
        """DATA, the body, the final dot: the reply to it. A Failed with state EOD: the dot was sent, outcome unknown
        or refused; with any other state: the remote cannot have taken the message.
        """
        await self.command("DATA", b"DATA", timeout=self.timeouts.data, accept=(354,))
        protocol = cast(SMTPProtocol, self.smtp.protocol)
        if protocol._buffer:  # came in one piece with the go-ahead: it would be read as the answer to the final dot
            self.abort()
            raise problem("DATA", "the remote answered before it was asked", "protocol", (4, 5, 0))
        reply = asyncio.ensure_future(protocol.read_response())  # armed now: a refusal may come before the dot
        try:
            response = await self.send_body(protocol, body, reply)
        except BaseException as error:
            self.abort()
            reply.cancel()
            await asyncio.wait({reply})
            if not reply.cancelled():
                reply.exception()
            if isinstance(error, SMTPResponseException | OSError):
                raise breakdown(self.state, error) from error
            raise
        if not 200 <= response.code <= 299:
            if not 400 <= response.code <= 599:
                self.abort()
            raise refusal("EOD", response)
        self.dirty = False
        return read_result(response, "EOD")

    async def send_body(self, protocol: SMTPProtocol, body: Body, reply: asyncio.Task[SMTPResponse]) -> SMTPResponse:
        """Everything drained, then the dot, then the wait. Until the dot a reply or a stall raises."""
        transport = cast(asyncio.Transport, protocol.transport)
        # TLS transports pause at `size >= high`, so 0 would pause an empty one for ever.
        transport.set_write_buffer_limits(high=1 if self.tls else 0, low=0)
        for block in stuffed(body.chunks()):
            protocol.write(block)
            if transport.get_write_buffer_size():
                await self.drain(protocol, reply)
            await asyncio.sleep(0)  # a turn for everybody else, and for an early reply
            if reply.done():
                early_reply(reply)
        await self.flush(transport, reply)
        protocol.write(b".\r\n")
        self.state = "EOD"
        return await asyncio.wait_for(reply, self.timeouts.dot)

    async def drain(self, protocol: SMTPProtocol, reply: asyncio.Task[SMTPResponse]) -> None:
        """Wait until the block has left, a reply came, or the block's time is over."""
        drained = asyncio.ensure_future(protocol._drain_helper())  # what asyncio's own StreamWriter.drain() awaits
        try:
            await asyncio.wait({drained, reply}, timeout=self.timeouts.block, return_when=asyncio.FIRST_COMPLETED)
            if drained.done():
                drained.result()
            elif not reply.done():
                raise TimeoutError
        finally:
            drained.cancel()

    async def flush(self, transport: asyncio.Transport, reply: asyncio.Task[SMTPResponse]) -> None:
        """Wait until nothing is buffered on our side, under TLS neither; an early reply raises."""
        end = asyncio.get_running_loop().time() + self.timeouts.block
        while transport.get_write_buffer_size() or self.plain.get_write_buffer_size():
            if asyncio.get_running_loop().time() >= end:
                raise TimeoutError
            await asyncio.wait({reply}, timeout=FLUSH_POLL)
            if reply.done():
                break
        if reply.done():
            early_reply(reply)

    async def quit(self) -> None:
        """QUIT and close, without a complaint whatever the remote does."""
        try:
            if self.alive:
                await self.smtp.execute_command(b"QUIT", timeout=self.timeouts.quit)
        except (SMTPResponseException, OSError):
            pass  # nothing depends on the answer
        finally:
            self.abort()
            await asyncio.sleep(0)

    def abort(self) -> None:
        """Close at once; what is still buffered is thrown away, not flushed."""
        if self.tls is not None:
            self.smtp.close()
        self.plain.abort()
        self.smtp.close()


def cram_md5(response: SMTPResponse, username: bytes, password: bytes) -> bytes:
    """The answer to a challenge (RFC 2195 2). Raises Failed for a challenge that is none."""
    try:
        challenge = base64.b64decode(response.message, validate=True)
    except ValueError:
        raise problem("AUTH-CRAM-MD5", "the remote's challenge is not base64", "protocol", (4, 5, 0)) from None
    return base64.b64encode(username + b" " + hmac.new(password, challenge, "md5").hexdigest().encode())


def breakdown(state: str, error: Exception) -> Failed:
    """The Failed for a connection that broke, stalled or spoke nonsense."""
    after = " after the final dot; the remote may have taken the message" if state == "EOD" else ""
    if isinstance(error, SMTPTimeoutError | TimeoutError):
        return problem(state, f"no progress in time{after}", "timeout", (4, 4, 2))
    if isinstance(error, SMTPResponseException):
        return problem(state, f"the remote's answer is not SMTP{after}", "protocol", (4, 5, 0))
    return problem(state, f"connection lost{after}", "disconnect", (4, 4, 2))


def handshake_error(error: OSError, name: str) -> AttemptError | None:
    """Why there is no TLS with this host. A peer that is gone or silent before its 220 is that, and nothing of TLS."""
    broken = breakdown("STARTTLS", error).error
    # aiosmtplib says "… while upgrading transport" after the 220.
    if isinstance(error, SMTPReadTimeoutError) or (
        isinstance(error, SMTPServerDisconnected) and "upgrading" not in error.message
    ):
        return broken
    if isinstance(error, WrongName):
        reason = f"certificate of {name}: {error}"
    elif isinstance(error, ssl.SSLCertVerificationError):
        reason = f"certificate of {name}: {error.verify_message}"
    elif isinstance(error, ssl.SSLError) and error.reason:
        reason = error.reason
    else:
        reason = "no progress in time" if isinstance(error, TimeoutError) else "connection lost"
    return AttemptError(True, f"STARTTLS: TLS handshake failed ({reason})", "tls", (4, 7, 5), "STARTTLS")


def refusal(state: str, response: SMTPResponse) -> Failed:
    """The Failed for an unwanted reply. 4xx and 5xx speak for themselves; any other code here is no acceptance, and
    no refusal that a bounce could rest on: a temporary error (RFC 5321 4.3.2).
    """
    if 400 <= response.code <= 599:
        return Failed(state, result=read_result(response, state))
    lines = " ".join(read_result(response, state).lines)[:200]
    return problem(state, f"unexpected reply {response.code} {lines}".rstrip(), "protocol", (4, 5, 0))


def early_reply(reply: asyncio.Task[SMTPResponse]) -> NoReturn:
    """Raise for a reply, or a lost connection, before the final dot: whatever it says, nothing was accepted."""
    raise refusal("DATA", reply.result())
