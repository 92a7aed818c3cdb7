"""The commands of one SMTP session (RFC 5321): an argument in, a reply and a changed state out.

Those of a mail transaction are mailsession.py, AUTH is authsession.py. A stage's script decides where there is one;
what happens without its word is written here.
"""

from __future__ import annotations

from hsl.runtime.context import ConnectContext, DisconnectContext, HeloContext
from hsl.runtime.model import Helo
from hsl.runtime.reply import Reply, reply
from hsl.smtpd import auth, paths
from hsl.smtpd.authsession import AuthSession
from hsl.smtpd.mailsession import ACCEPT, NO_ARGUMENT, OK, PIPELINED, as_bytes, as_text

START_TLS = reply(220, "Ready to start TLS", (2, 0, 0))
BYE = reply(221, "Bye", (2, 0, 0), close=True)
VRFY = reply(252, "Cannot verify, but will take mail for delivery", (2, 1, 5))
HELP = reply(214, "See RFC 5321", (2, 0, 0))
NOT_IMPLEMENTED = reply(502, "Command not implemented", (5, 5, 1))
HELO_SYNTAX = reply(501, "Syntax: HELO or EHLO, and a host name", (5, 5, 4))
TLS_ACTIVE = reply(503, "TLS is already active", (5, 5, 1))
NO_TLS = reply(502, "TLS is not offered", (5, 5, 1))
TLS_LATER = reply(454, "TLS is not available for now", (4, 7, 0))
TLS_FIRST = reply(530, "Must issue a STARTTLS command first", (5, 7, 0))
BEFORE_TLS = frozenset(("EHLO", "HELO", "NOOP", "HELP", "QUIT", "STARTTLS", "BDAT"))  # RFC 3207 4; BDAT reads its chunk


class Session(AuthSession):
    """One client. State besides its mail's: `helo`, `tls` and `auth`, on the connection."""

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
            self.connection.priority = verdict.options.get("priority", 0)
        await self.answer("connect", verdict, answer)

    async def ended(self) -> None:
        await self.stage(DisconnectContext(self.connection, self.transaction, self.outcome))
        self.runner.forget_message(self.transaction.id)

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
            self.announced, self.mechanisms = frozenset(), ()
            if verb == "EHLO":
                announced = [as_text(item) for item in verdict.options.get("extensions", extensions)]
                self.announced = frozenset(word.partition(" ")[0].upper() for word in announced)
                self.mechanisms = auth.announced(announced)
                answer = reply(250, [answer.lines[0], *announced])
        await self.answer("helo", verdict, answer, verb=verb, helo=host)

    def extensions(self) -> list[str]:
        """What EHLO announces now."""
        offered = ["PIPELINING", "ENHANCEDSTATUSCODES", f"SIZE {self.limits.size}"]
        offered += ["8BITMIME", "SMTPUTF8", "DSN", "CHUNKING"]
        if self.offers_tls() and self.connection.tls is None:
            offered.append("STARTTLS")
        if self.offers_auth():
            offered.append("AUTH " + " ".join(self.config.auth.mechanisms))
        return offered

    def offers_tls(self) -> bool:
        """Whether STARTTLS may be tried: not by a peer whose handshakes keep failing."""
        return self.server.certificates is not None and not self.server.failed_handshakes.exhausted(self.peer_ip)

    def refuse_command(self, verb: str) -> Reply | None:
        tls = self.config.tls
        needed = tls is not None and tls.required and self.connection.tls is None
        return TLS_FIRST if needed and verb not in BEFORE_TLS else None

    async def smtp_STARTTLS(self, arg: str) -> None:
        """RFC 3207: what came before the handshake is forgotten; what came with the command ends the session."""
        if arg:
            await self.reply(NO_ARGUMENT)
        elif self.connection.tls is not None:
            await self.reply(TLS_ACTIVE)
        elif self.server.certificates is None:
            await self.reply(NO_TLS)
        elif not self.offers_tls():
            await self.answer("session", ACCEPT, TLS_LATER)
        elif self.extended and "STARTTLS" not in self.announced:  # a helo script has left it out
            await self.reply(NO_TLS)
        elif self.read_ahead():
            await self.answer("session", ACCEPT, PIPELINED)
        else:
            await self.reply(START_TLS)
            if self.read_ahead():  # while the go-ahead waited to be taken; after it, it would pass for said under TLS
                self.over = True
                self.abort_transport()
            if not self.over and await self.start_tls():
                self.connection.helo = self.connection.auth = None
                self.announced, self.mechanisms = frozenset(), ()
                self.end_transaction()

    # --- the rest

    async def smtp_NOOP(self, arg: str) -> None:
        await self.reply(OK)

    async def smtp_VRFY(self, arg: str) -> None:
        await self.reply(VRFY)

    async def smtp_EXPN(self, arg: str) -> None:
        await self.reply(NOT_IMPLEMENTED)

    async def smtp_HELP(self, arg: str) -> None:
        await self.reply(HELP)
