"""AUTH of an SMTP session (RFC 4954): a mechanism and its responses in, a login or a refusal out."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING

from hsl.runtime.context import AuthContext
from hsl.runtime.model import Auth
from hsl.runtime.reply import Reply, reply
from hsl.runtime.verdict import Verdict
from hsl.smtpd import auth
from hsl.smtpd.mailsession import ACCEPT, MailSession, as_bytes, as_text
from hsl.smtpd.paths import Refused
from hsl.smtpd.wire import LineTooLong

if TYPE_CHECKING:
    from hsl.smtpd.server import SMTPServer

AUTHENTICATED = reply(235, "Authentication successful", (2, 7, 0))
NO_AUTH = reply(502, "AUTH is not offered", (5, 5, 1))
EHLO_FIRST = reply(503, "Send EHLO first", (5, 5, 1))
AUTH_DONE = reply(503, "Already authenticated", (5, 5, 1))
AUTH_IN_MAIL = reply(503, "Not within a mail transaction", (5, 5, 1))
AUTH_SYNTAX = reply(501, "Syntax: AUTH mechanism [initial response]", (5, 5, 4))
AUTH_NEEDS_TLS = reply(538, "Encryption required for authentication", (5, 7, 11))
TOO_MANY_LOGINS = reply(421, "Too many failed logins, try again later", (4, 7, 0), close=True)
CHALLENGE = Reply(334, ("",))  # its text is never logged


class AuthSession(MailSession):
    """One client, as far as its login goes. Only `mechanisms`, those that the last EHLO announced, may be used."""

    def __init__(self, server: SMTPServer, *, implicit_tls: bool = False) -> None:
        super().__init__(server, implicit_tls=implicit_tls)
        self.mechanisms: tuple[str, ...] = ()
        self.logins = 0  # failed ones

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
        if not self.mechanisms:
            return NO_AUTH
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
        mechanism, response = mechanism.upper(), initial.strip().encode("latin-1")
        try:
            if mechanism not in self.mechanisms:
                raise Refused(auth.BAD_MECHANISM)
            if mechanism in auth.BUILT_IN:
                username, password = await auth.credentials(mechanism, response, self.challenge)
                context = AuthContext(self.connection, self.transaction, mechanism, username, password)
                verdict = await self.stage(context)
            else:
                context, verdict = await self.converse(mechanism, response)
        except Refused as refused:
            await self.refused_login(mechanism, refused.reply)
        else:
            if verdict.action != "reply":
                await self.log_in(context, verdict)

    async def refused_login(self, mechanism: str, refusal: Reply) -> None:
        """A login that no script decided on. Only one with wrong credentials is a failed one."""
        if refusal is auth.BAD_CREDENTIALS:
            self.failed_login()
            await self.answer("auth", ACCEPT, refusal, mechanism=mechanism)
        else:
            await self.reply(refusal)

    async def converse(self, mechanism: str, initial: bytes) -> tuple[AuthContext, Verdict]:
        """The exchange of a mechanism by script: the stage runs once for the beginning and for each response.

        The last context and its verdict; that is Reply() only if it closed the session. Raises Refused. A client that
        leaves it at a challenge after it has responded has failed: the challenge may have told it so (RFC 7628 3.2.3).
        """
        context = AuthContext(self.connection, self.transaction, mechanism)
        context.response = auth.decode(initial) if initial else None
        for _ in range(auth.MAX_ROUNDS + 1):
            verdict = await self.stage(context)
            if verdict.action != "reply":
                return context, verdict
            said = Reply(verdict.code or CHALLENGE.code, CHALLENGE.lines, close=verdict.disconnect)
            self.server.log_verdict(
                "auth", "reply", said, self.connection, self.transaction, mechanism=mechanism, at=verdict.at
            )
            challenge = as_bytes(verdict.options["challenge"])
            answered = False
            try:
                if said.close:
                    await self.reply(encoded(said, challenge))
                    return context, verdict
                response = auth.decode(await self.challenge(challenge, said))
                answered = True
            finally:
                if not answered and context.response is not None:
                    self.failed_login()
            context = context.next(response)
        raise Refused(auth.BAD_CREDENTIALS)

    async def challenge(self, challenge: bytes, said: Reply = CHALLENGE) -> bytes:
        """334 and the client's answer. Raises Refused, ConnectionError at the end of input."""
        await self.reply(encoded(said, challenge))
        try:
            line = await self.read_line()
        except LineTooLong:
            raise Refused(auth.TOO_LONG) from None
        if line is None:
            raise ConnectionResetError("end of input within AUTH")
        return line

    async def log_in(self, context: AuthContext, verdict: Verdict) -> None:
        """Only an explicit Accept() of the script lets anybody in."""
        mechanism = context.mechanism
        if not verdict.explicit and not verdict.error:
            answer = auth.BAD_CREDENTIALS
        else:
            answer = self.decide("auth", verdict, AUTHENTICATED)
        if verdict.reason is not None:  # a script may repeat what it was asked about
            answer = replace(answer, lines=tuple(as_text(context.mask(as_bytes(line))) for line in answer.lines))
        if verdict.explicit and verdict.action == "accept" and answer.code < 400:
            username = as_bytes(verdict.options.get("username", context.username))
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


def encoded(said: Reply, challenge: bytes) -> Reply:
    """A challenge as it goes out; base64 of any length is one line (RFC 4954 4)."""
    return replace(said, lines=(b64encode(challenge).decode("ascii"),))
