"""The commands of one SMTP session (RFC 5321): an argument in, a reply and a changed state out.

A stage's script decides where there is one; what happens without its word is written here, and it never relays.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hsl.runtime.context import (
    AuthContext,
    ConnectContext,
    DisconnectContext,
    HeloContext,
    MailFromContext,
    RcptToContext,
    SessionContext,
)
from hsl.runtime.data import DataOutcome, run_data
from hsl.runtime.intake import Intake
from hsl.runtime.message import Message
from hsl.runtime.model import Address, Auth, Helo, Recipient, Transaction
from hsl.runtime.protocols import QueueFull
from hsl.runtime.reply import Reply, reply
from hsl.runtime.verdict import Verdict
from hsl.smtpd import auth, paths
from hsl.smtpd.datareader import NO_SPACE, DataReader
from hsl.smtpd.paths import Refused
from hsl.smtpd.received import MAX_RECEIVED, count_received, received, submission_headers
from hsl.smtpd.wire import TOO_MANY_RECIPIENTS, LineTooLong, Wire

if TYPE_CHECKING:
    from hsl.smtpd.server import SMTPServer

MAX_HEAD = 1024 * 1024  # octets of header that are looked at
ACCEPT = Verdict("accept", explicit=False)
FAILED = Verdict("defer", explicit=False, error=True)

OK = reply(250, "OK", (2, 0, 0))
SENDER_OK = reply(250, "Sender accepted", (2, 1, 0))
RECIPIENT_OK = reply(250, "Recipient accepted", (2, 1, 5))
START_DATA = reply(354, "End data with <CR><LF>.<CR><LF>")
START_TLS = reply(220, "Ready to start TLS", (2, 0, 0))
AUTHENTICATED = "Authentication successful"
BYE = reply(221, "Bye", (2, 0, 0), close=True)
VRFY = reply(252, "Cannot verify, but will take mail for delivery", (2, 1, 5))
HELP = reply(214, "See RFC 5321", (2, 0, 0))
NOT_IMPLEMENTED = reply(502, "Command not implemented", (5, 5, 1))
NO_ARGUMENT = reply(501, "This command takes no argument", (5, 5, 4))
HELO_FIRST = reply(503, "Send HELO or EHLO first", (5, 5, 1))
MAIL_FIRST = reply(503, "Send MAIL first", (5, 5, 1))
RCPT_FIRST = reply(503, "Send RCPT first", (5, 5, 1))
NO_RECIPIENTS = reply(554, "No valid recipients", (5, 5, 1))
NESTED_MAIL = reply(503, "Sender already given", (5, 5, 1))
HELO_SYNTAX = reply(501, "Syntax: HELO or EHLO, and a host name", (5, 5, 4))
PIPELINED = reply(554, "Data before the go-ahead: unauthorised pipelining", (5, 5, 0), close=True)
TLS_ACTIVE = reply(503, "TLS is already active", (5, 5, 1))
NO_TLS = reply(502, "TLS is not offered", (5, 5, 1))
NO_AUTH = reply(502, "AUTH is not offered", (5, 5, 1))
EHLO_FIRST = reply(503, "Send EHLO first", (5, 5, 1))
AUTH_DONE = reply(503, "Already authenticated", (5, 5, 1))
AUTH_IN_MAIL = reply(503, "Not within a mail transaction", (5, 5, 1))
AUTH_SYNTAX = reply(501, "Syntax: AUTH mechanism [initial response]", (5, 5, 4))
AUTH_NEEDS_TLS = reply(538, "Encryption required for authentication", (5, 7, 11))
TOO_MANY_LOGINS = reply(421, "Too many failed logins, try again later", (4, 7, 0), close=True)
NO_RELAY = reply(550, "Relaying is not permitted", (5, 7, 1))
LOOP = reply(554, "Too many Received headers: a mail loop", (5, 4, 6))
INTERNAL = reply(451, "Internal error, try again later", (4, 3, 0))


class Session(Wire):
    """One client. State: `helo` (on the connection), `transaction`, and what was named within it."""

    def __init__(self, server: SMTPServer, *, implicit_tls: bool = False) -> None:
        super().__init__(server, implicit_tls=implicit_tls)
        self.hostname: str = server.hostname
        self.logins = 0  # failed ones
        self.reset()

    def reset(self) -> None:
        """A new transaction, with an id of its own."""
        self.transaction = Transaction()
        self.named: set[Address] = set()
        self.refused = False  # a recipient was named and not accepted

    def end_transaction(self) -> None:
        """Drop the transaction, if one has begun."""
        if self.transaction.sender is not None:
            self.reset()

    # --- stages

    async def stage(self, context: SessionContext) -> Verdict:
        """Run a stage's script. Never raises: a runner that fails is a script that fails."""
        try:
            return await self.runner.run(context)
        except Exception as error:
            self.server.log.error("stage-failed", stage=context.stage, ip=self.peer_ip, error=repr(error))
            return FAILED

    def decide(self, stage: str, verdict: Verdict, default: Reply) -> Reply:
        """The reply to a verdict: the script's, or the default where there was no script or it said nothing."""
        if not verdict.explicit and not verdict.error:
            return default
        text = default.lines[0] if verdict.action == "accept" else None
        said: Reply = self.runner.reply(stage, verdict, text)
        if verdict.disconnect and not said.close:
            said = Reply(said.code, said.lines, said.enhanced, close=True)
        return said

    async def answer(self, stage: str, verdict: Verdict, answer: Reply, **fields: object) -> None:
        """Log a verdict, unless it is only that nothing objected, and send its reply."""
        if verdict is not ACCEPT or answer.code >= 400:
            self.server.log_verdict(stage, verdict.action, answer, self.connection, self.transaction, **fields)
        await self.reply(answer)

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
            if verb == "EHLO":
                announced = [as_text(item) for item in verdict.options.get("extensions", extensions)]
                answer = reply(250, [answer.lines[0], *announced])
        await self.answer("helo", verdict, answer, verb=verb, helo=host)

    def extensions(self) -> list[str]:
        """What EHLO announces now."""
        offered = ["PIPELINING", "ENHANCEDSTATUSCODES", f"SIZE {self.limits.size}", "8BITMIME"]
        if self.server.tls_context is not None and self.connection.tls is None:
            offered.append("STARTTLS")
        if self.offers_auth():
            offered.append("AUTH " + " ".join(auth.MECHANISMS))
        return offered

    @property
    def extended(self) -> bool:
        return self.connection.helo is not None and self.connection.helo.verb == "EHLO"

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

    # --- MAIL

    async def smtp_MAIL(self, arg: str | None) -> None:
        refusal = self.refuse_mail()
        if refusal is not None:
            await self.reply(refusal)
            return
        try:
            sender, parameters = paths.parse_mail(arg or "")
            size = paths.check_mail_parameters(
                parameters, extended=self.extended, auth=self.offers_auth(), size_limit=self.limits.size
            )
        except Refused as refused:
            await self.reply(refused.reply)
            return
        if not self.server.has_room(size):
            await self.answer("mailfrom", ACCEPT, NO_SPACE, sender=sender.path or "<>")
            return
        verdict = ACCEPT
        context = MailFromContext(self.connection, self.transaction, sender, parameters)
        if self.runner.has("mailfrom"):
            verdict = await self.stage(context)
        answer = self.decide("mailfrom", verdict, SENDER_OK)
        if answer.code < 400:
            self.transaction.sender = as_address(verdict.options.get("sender", context.asked))
            self.transaction.senderparams = parameters
        await self.answer("mailfrom", verdict, answer, sender=sender.path or "<>")

    def refuse_mail(self) -> Reply | None:
        if self.connection.helo is None:
            return HELO_FIRST
        return NESTED_MAIL if self.transaction.sender is not None else None

    # --- RCPT

    async def smtp_RCPT(self, arg: str | None) -> None:
        if self.transaction.sender is None:
            await self.reply(MAIL_FIRST if self.connection.helo else HELO_FIRST)
            return
        try:
            named, parameters = paths.parse_rcpt(arg or "")
            if parameters:
                raise Refused(paths.UNKNOWN_PARAMETER)
        except Refused as refused:
            self.refused = True
            await self.reply(refused.reply)
            return
        key = Address(named.localpart, named.host)
        if key in self.named:
            await self.reply(RECIPIENT_OK)  # named twice, queued once
        elif len(self.transaction.recipients) >= self.limits.recipients:
            await self.reply(TOO_MANY_RECIPIENTS)
        else:
            await self.add_recipient(named, key)

    async def add_recipient(self, named: Address, key: Address) -> None:
        address = named if named.domain else self.server.postmaster()
        recipient = Recipient(address, self.config.transport)
        may_relay = self.may_relay(named)
        verdict = ACCEPT
        if self.runner.has("rcptto"):
            verdict = await self.stage(RcptToContext(self.connection, self.transaction, recipient, may_relay))
        answer = self.decide("rcptto", verdict, RECIPIENT_OK)
        relayed = verdict.explicit and verdict.action == "accept"
        if answer.code < 400 and not relayed and not may_relay:
            answer = NO_RELAY
        if answer.code < 400:
            recipient.address = as_address(verdict.options.get("recipient", recipient.address))
            recipient.transportid = as_text(verdict.options.get("transportid", recipient.transportid))
            self.transaction.recipients.append(recipient)
            self.named.add(key)
        else:
            self.refused = True
        sender = self.transaction.sender
        await self.answer("rcptto", verdict, answer, sender=sender and (sender.path or "<>"), recipient=address.path)

    def may_relay(self, named: Address) -> bool:
        """Without a script's explicit Accept(): who may send to this address."""
        if self.connection.auth is not None or self.server.relays_from(self.connection.remoteip):
            return True
        if not named.domain and self.config.postmaster is not None:
            return True
        return self.server.relays_to((named if named.domain else self.server.postmaster()).host)

    # --- DATA

    async def smtp_DATA(self, arg: str) -> None:
        refusal = self.refuse_data(arg)
        if refusal is PIPELINED:
            await self.answer("session", ACCEPT, refusal)
            return
        if refusal is not None:
            await self.reply(refusal)
            return
        intake = Intake(self.server.spool_path)
        commit = None
        try:
            await self.reply(START_DATA)
            outcome = await self.collect(intake)
            if isinstance(outcome, Reply):
                answer = outcome
            else:
                commit = self.server.track_commit(self.commit(outcome, intake, self.transaction))
        finally:
            if commit is None:
                self.server.discard(intake)
            self.reset()
        if commit is not None:
            answer = await asyncio.shield(commit)  # a client that leaves cancels this wait, not the commit
        await self.reply(answer)

    def refuse_data(self, argument: str) -> Reply | None:
        if argument:
            return NO_ARGUMENT
        if self.transaction.sender is None:
            return MAIL_FIRST if self.connection.helo else HELO_FIRST
        if not self.transaction.recipients:
            return NO_RECIPIENTS if self.refused else RCPT_FIRST
        return PIPELINED if self.read_ahead() else None

    async def receive(self, intake: Intake) -> Reply | None:
        """The message into the intake, to its end; the fault that it has, or None. Raises ConnectionError."""

        def write(block: bytes) -> bool:
            return self.server.keep(intake, block)

        normalise = self.config.bare_newline == "normalise"
        reader = DataReader(write, line_limit=self.limits.line, size_limit=self.limits.size, normalise=normalise)
        rest = None
        while rest is None:
            block = await self.read_block()
            if not block:
                raise ConnectionResetError("end of input within DATA")
            rest = reader.feed(block)
            if reader.fault is not None:
                self.server.discard(intake)
        self.unread(rest)
        return reader.fault

    async def collect(self, intake: Intake) -> Reply | DataOutcome:
        """The message and its stage: an outcome if there is something to store, else the reply."""
        fault = await self.receive(intake)
        head = b"" if fault else intake.head(MAX_HEAD)
        if fault is None and count_received(head) > MAX_RECEIVED:
            fault = LOOP
        if fault is not None:
            self.server.log_verdict("data", action_of(fault), fault, self.connection, self.transaction)
            return fault
        try:
            message = Message(intake, self.trace(head))
            outcome = await run_data(self.runner, self.connection, self.transaction, message)
        except Exception as error:
            self.server.log.error("stage-failed", stage="data", ip=self.peer_ip, error=repr(error))
            return INTERNAL
        return outcome if outcome.mails else self.conclude(outcome, [], self.transaction, intake.size)

    def trace(self, head: bytes) -> bytes:
        """The header lines that go on top of the message."""
        now = self.server.clock.time()
        trace = received(self.connection, self.transaction, self.hostname, now)
        if self.config.submission:
            trace += submission_headers(head, self.transaction, self.hostname, now)
        return trace

    async def commit(self, outcome: DataOutcome, intake: Intake, transaction: Transaction) -> Reply:
        """Store what the stage decided; the reply is made only after it is on disk. Owns the intake."""
        try:
            ids = await self.server.queue.apply(store=outcome.mails)
            return self.conclude(outcome, ids, transaction, intake.size)
        except QueueFull:
            self.server.log_verdict("data", "defer", NO_SPACE, self.connection, transaction)
            return NO_SPACE
        except Exception as error:
            self.server.log.error("queue-failed", transaction=transaction.id, error=repr(error))
            return INTERNAL
        finally:
            self.server.discard(intake)

    def conclude(self, outcome: DataOutcome, ids: list[int], transaction: Transaction, size: int) -> Reply:
        answer = outcome.reply(ids)
        if outcome.disconnect and not answer.close:
            answer = Reply(answer.code, answer.lines, answer.enhanced, close=True)
        sender = transaction.sender
        self.server.log_verdict(
            "data", action_of(answer), answer, self.connection, transaction,
            sender=sender and (sender.path or "<>"),
            recipient=b",".join(item.address.path for item in transaction.recipients[:20]),
            queue=",".join(map(str, ids[:20])), size=size,
        )  # fmt: skip
        return answer

    # --- the rest

    async def smtp_RSET(self, arg: str) -> None:
        if arg:
            await self.reply(NO_ARGUMENT)
            return
        self.end_transaction()
        await self.reply(OK)

    async def smtp_NOOP(self, arg: str) -> None:
        await self.reply(OK)

    async def smtp_VRFY(self, arg: str) -> None:
        await self.reply(VRFY)

    async def smtp_EXPN(self, arg: str) -> None:
        await self.reply(NOT_IMPLEMENTED)

    async def smtp_HELP(self, arg: str) -> None:
        await self.reply(HELP)


def action_of(answer: Reply) -> str:
    return "accept" if answer.code < 400 else "defer" if answer.code < 500 else "reject"


def as_text(value: Any) -> str:
    """A text that a script chose, as bytes or str."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def as_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def as_address(value: Address | bytes | str) -> Address:
    return value if isinstance(value, Address) else Address.of(as_bytes(value))
