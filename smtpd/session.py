"""The commands of one SMTP session (RFC 5321): an argument in, a reply and a changed state out.

Those of a mail transaction are mailsession.py. A stage's script decides where there is one; what happens without its
word is written here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hsl.runtime.context import AuthContext, ConnectContext, DisconnectContext, HeloContext
from hsl.runtime.model import Auth, Helo
from hsl.runtime.reply import Reply, reply
from hsl.smtpd import auth, paths
from hsl.smtpd.mailsession import ACCEPT, NO_ARGUMENT, OK, PIPELINED, MailSession, as_bytes, as_text
from hsl.smtpd.paths import Refused
from hsl.smtpd.wire import LineTooLong

if TYPE_CHECKING:
    from hsl.smtpd.server import SMTPServer

START_TLS = reply(220, "Ready to start TLS", (2, 0, 0))
AUTHENTICATED = "Authentication successful"
BYE = reply(221, "Bye", (2, 0, 0), close=True)
VRFY = reply(252, "Cannot verify, but will take mail for delivery", (2, 1, 5))
HELP = reply(214, "See RFC 5321", (2, 0, 0))
NOT_IMPLEMENTED = reply(502, "Command not implemented", (5, 5, 1))
HELO_SYNTAX = reply(501, "Syntax: HELO or EHLO, and a host name", (5, 5, 4))
TLS_ACTIVE = reply(503, "TLS is already active", (5, 5, 1))
NO_TLS = reply(502, "TLS is not offered", (5, 5, 1))
NO_AUTH = reply(502, "AUTH is not offered", (5, 5, 1))
EHLO_FIRST = reply(503, "Send EHLO first", (5, 5, 1))
AUTH_DONE = reply(503, "Already authenticated", (5, 5, 1))
AUTH_IN_MAIL = reply(503, "Not within a mail transaction", (5, 5, 1))
AUTH_SYNTAX = reply(501, "Syntax: AUTH mechanism [initial response]", (5, 5, 4))
AUTH_NEEDS_TLS = reply(538, "Encryption required for authentication", (5, 7, 11))
TOO_MANY_LOGINS = reply(421, "Too many failed logins, try again later", (4, 7, 0), close=True)


class Session(MailSession):
    """One client. State besides its mail's: `helo`, `tls` and `auth`, on the connection."""

    def __init__(self, server: SMTPServer, *, implicit_tls: bool = False) -> None:
        super().__init__(server, implicit_tls=implicit_tls)
        self.logins = 0  # failed ones

    # --- connect and disconnect

    async def greet(self) -> None:
        """The connect stage, then the banner: nothing is sent before."""
        if self.server.resolver is not None:
            self.connection.remoteptr = await self.server.find_name(self.connection.remoteip)
        verdict = ACCEPT
        if self.runner.has("connect"):
            verdict = await self.stage(ConnectContext(self.connection, self.transaction))
        banner = reply(220, f"{self.hostname} ESMTP")
        answer = self.decide("connect", verdict, banner)
        if answer.code >= 400:
            answer = Reply(answer.code, answer.lines, answer.enhanced, close=True)
        else:
            self.connection.remoteip = as_text(verdict.options.get("remoteip", self.connection.remoteip))
            if "remoteptr" in verdict.options:
                self.connection.remoteptr = as_text(verdict.options["remoteptr"])
        await self.answer("connect", verdict, answer)

    async def ended(self) -> None:
        await self.stage(DisconnectContext(self.connection, self.transaction))

    async def smtp_QUIT(self, arg: str) -> None:
        await self.reply(NO_ARGUMENT if arg else BYE)

    # --- HELO, EHLO

    async def smtp_HELO(self, hostname: str) -> None:
        await self.greeted("HELO", hostname)

    async def smtp_EHLO(self, hostname: str) -> None:
        await self.greeted("EHLO", hostname)

    async def greeted(self, verb: str, host: str) -> None:
        """Both greetings. One that is refused leaves everything as it was (RFC 5321 4.1.4)."""
        if not paths.HELO_NAME.match(host):
            await self.reply(HELO_SYNTAX)
            return
        extensions = self.extensions() if verb == "EHLO" else []
        verdict = ACCEPT
        context = HeloContext(self.connection, self.transaction, verb, host.encode(), extensions)
        if self.runner.has("helo"):
            verdict = await self.stage(context)
        answer = self.decide("helo", verdict, reply(250, self.hostname))
        if answer.code < 400:
            self.end_transaction()
            self.connection.helo = Helo(verb, as_bytes(verdict.options.get("host", context.host)))
            self.announced = frozenset()
            if verb == "EHLO":
                announced = [as_text(item) for item in verdict.options.get("extensions", extensions)]
                self.announced = frozenset(word.partition(" ")[0].upper() for word in announced)
                answer = reply(250, [answer.lines[0], *announced])
        await self.answer("helo", verdict, answer, verb=verb, helo=host)

    def extensions(self) -> list[str]:
        """What EHLO announces now."""
        offered = ["PIPELINING", "ENHANCEDSTATUSCODES", f"SIZE {self.limits.size}"]
        offered += ["8BITMIME", "SMTPUTF8", "DSN", "CHUNKING"]
        if self.server.tls_context is not None and self.connection.tls is None:
            offered.append("STARTTLS")
        if self.offers_auth():
            offered.append("AUTH " + " ".join(auth.MECHANISMS))
        return offered

    async def smtp_STARTTLS(self, arg: str) -> None:
        """RFC 3207: what came before the handshake is forgotten; what came with the command ends the session."""
        if arg:
            await self.reply(NO_ARGUMENT)
        elif self.server.tls_context is None:
            await self.reply(NO_TLS)
        elif self.connection.tls is not None:
            await self.reply(TLS_ACTIVE)
        elif self.read_ahead():
            await self.answer("session", ACCEPT, PIPELINED)
        else:
            await self.reply(START_TLS)
            if self.read_ahead():  # while the go-ahead waited to be taken; after it, it would pass for said under TLS
                self.over = True
                self.abort_transport()
            if not self.over and await self.start_tls():
                self.connection.helo = self.connection.auth = None
                self.announced = frozenset()
                self.end_transaction()

    # --- AUTH

    def offers_auth(self) -> bool:
        return self.runner.has("auth") and (self.connection.tls is not None or self.config.auth.without_tls)

    def refuse_auth(self, argument: str) -> Reply | None:
        """Why AUTH cannot begin (RFC 4954 4), or None."""
        if not self.runner.has("auth"):
            return NO_AUTH
        if not self.offers_auth():
            return AUTH_NEEDS_TLS
        if not self.extended:
            return EHLO_FIRST
        if self.connection.auth is not None:
            return AUTH_DONE
        if self.transaction.sender is not None:
            return AUTH_IN_MAIL
        if self.logins >= self.limits.auth_failures or self.server.failed_logins.exhausted(self.peer_ip):
            return TOO_MANY_LOGINS
        return None if argument else AUTH_SYNTAX

    async def smtp_AUTH(self, arg: str) -> None:
        refusal = self.refuse_auth(arg)
        if refusal is TOO_MANY_LOGINS:
            await self.answer("auth", ACCEPT, refusal)
            return
        if refusal is not None:
            await self.reply(refusal)
            return
        mechanism, _, initial = arg.partition(" ")
        mechanism = mechanism.upper()
        try:
            username, password = await auth.credentials(mechanism, initial.strip().encode("latin-1"), self.challenge)
        except Refused as refused:
            if refused.reply is auth.BAD_CREDENTIALS:
                self.failed_login()
            await self.reply(refused.reply)
        else:
            await self.log_in(mechanism, username, password)

    async def challenge(self, text: str) -> bytes:
        """334 and the client's answer. Raises Refused, ConnectionError at the end of input."""
        await self.reply(Reply(334, (text,)))
        try:
            line = await self.read_line()
        except LineTooLong:
            raise Refused(auth.TOO_LONG) from None
        if line is None:
            raise ConnectionResetError("end of input within AUTH")
        return line

    async def log_in(self, mechanism: str, username: bytes, password: bytes) -> None:
        """Only an explicit Accept() of the script lets anybody in."""
        context = AuthContext(self.connection, self.transaction, mechanism, username, password)
        verdict = await self.stage(context)
        if not verdict.explicit and not verdict.error:
            answer = auth.BAD_CREDENTIALS
        else:
            answer = self.decide("auth", verdict, reply(235, AUTHENTICATED, (2, 7, 0)))
        if verdict.reason is not None:  # a script may repeat what it was asked about
            answer = replace(answer, lines=tuple(as_text(context.mask(as_bytes(line))) for line in answer.lines))
        if verdict.explicit and verdict.action == "accept" and answer.code < 400:
            username = as_bytes(verdict.options.get("username", username))
            self.connection.auth = Auth(mechanism, username)
            await self.answer("auth", verdict, answer, mechanism=mechanism, username=username)
            return
        if answer.code < 400:
            answer = auth.BAD_CREDENTIALS
        if answer.code >= 500:
            self.failed_login()
        await self.answer("auth", verdict, answer, mechanism=mechanism)

    def failed_login(self) -> None:
        self.logins += 1
        self.server.failed_logins.add(self.peer_ip)

    # --- the rest

    async def smtp_NOOP(self, arg: str) -> None:
        await self.reply(OK)

    async def smtp_VRFY(self, arg: str) -> None:
        await self.reply(VRFY)

    async def smtp_EXPN(self, arg: str) -> None:
        await self.reply(NOT_IMPLEMENTED)

    async def smtp_HELP(self, arg: str) -> None:
        await self.reply(HELP)
