"""The mail transaction of an SMTP session (RFC 5321 3.3): MAIL, RCPT, DATA, BDAT, RSET in; replies, stored mail out.

A stage's script decides where there is one; what happens without its word is written here, and it never relays.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hsl.runtime.context import MailFromContext, RcptToContext, SessionContext
from hsl.runtime.data import DataOutcome
from hsl.runtime.eod import run_message, stage_of
from hsl.runtime.intake import Intake
from hsl.runtime.message import Message
from hsl.runtime.model import Address, Recipient, Transaction
from hsl.runtime.protocols import QueueFull
from hsl.runtime.reply import Reply, reply
from hsl.runtime.verdict import Verdict
from hsl.smtpd import paths
from hsl.smtpd.datareader import NO_SPACE, Checker, ChunkReader, DataReader
from hsl.smtpd.paths import Refused
from hsl.smtpd.received import MAX_RECEIVED, count_received, received, submission_headers
from hsl.smtpd.wire import BUFFER, TOO_MANY_RECIPIENTS, Wire

if TYPE_CHECKING:
    from hsl.smtpd.server import SMTPServer

MAX_HEAD = 1024 * 1024  # octets of header that are looked at
ACCEPT = Verdict("accept", explicit=False)
FAILED = Verdict("defer", explicit=False, error=True)
OK = reply(250, "OK", (2, 0, 0))
SENDER_OK = reply(250, "Sender accepted", (2, 1, 0))
RECIPIENT_OK = reply(250, "Recipient accepted", (2, 1, 5))
START_DATA = reply(354, "End data with <CR><LF>.<CR><LF>")
NO_ARGUMENT = reply(501, "This command takes no argument", (5, 5, 4))
HELO_FIRST = reply(503, "Send HELO or EHLO first", (5, 5, 1))
MAIL_FIRST = reply(503, "Send MAIL first", (5, 5, 1))
RCPT_FIRST = reply(503, "Send RCPT first", (5, 5, 1))
NO_RECIPIENTS = reply(554, "No valid recipients", (5, 5, 1))
NESTED_MAIL = reply(503, "Sender already given", (5, 5, 1))
PIPELINED = reply(554, "Data before the go-ahead: unauthorised pipelining", (5, 5, 0), close=True)
DATA_BEGUN = reply(503, "The message has begun: BDAT, or RSET", (5, 5, 1))
NO_CHUNKING = reply(503, "BDAT is not offered", (5, 5, 1))
NO_RELAY = reply(550, "Relaying is not permitted", (5, 7, 1))
LOOP = reply(554, "Too many Received headers: a mail loop", (5, 4, 6))
INTERNAL = reply(451, "Internal error, try again later", (4, 3, 0))


@dataclass(slots=True)
class Chunks:
    """A message of which some BDAT chunks have come."""

    intake: Intake
    reader: ChunkReader


class MailSession(Wire):
    """One client, as far as its mail goes. State: `transaction`, what was named within it, and the chunks of BDAT.

    `announced` are the keywords of the last EHLO: nothing else may be used.
    """

    def __init__(self, server: SMTPServer, *, implicit_tls: bool = False) -> None:
        super().__init__(server, implicit_tls=implicit_tls)
        self.hostname: str = server.hostname
        self.announced: frozenset[str] = frozenset()
        self.chunks: Chunks | None = None
        self.begin()

    def begin(self) -> None:
        """A new transaction, with an id of its own."""
        self.transaction = Transaction()
        self.named: set[Address] = set()
        self.refused = False  # a recipient was named and not accepted

    def reset(self) -> None:
        """The transaction is over; another one begins."""
        self.release()
        self.begin()

    def release(self) -> None:
        """Drop the chunks that have come, and what scripts have kept for the transaction."""
        if self.chunks is not None:
            self.server.discard(self.chunks.intake, self.peer_ip)
            self.chunks = None
        self.runner.forget_message(self.transaction.id)

    def end_transaction(self) -> None:
        """Drop the transaction, if one has begun."""
        self.utf8 = False
        if self.transaction.sender is not None:
            self.reset()

    def offers_auth(self) -> bool:
        """Whether AUTH is announced."""
        raise NotImplementedError

    @property
    def extended(self) -> bool:
        return self.connection.helo is not None and self.connection.helo.verb == "EHLO"

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
            fields["at"] = verdict.at
            self.server.log_verdict(stage, verdict.action, answer, self.connection, self.transaction, **fields)
        await self.reply(answer)

    # --- MAIL

    async def smtp_MAIL(self, arg: str | None) -> None:
        if self.chunks is not None and self.chunks.reader.fault is not None:
            self.reset()  # a transaction whose chunk was refused has failed (RFC 3030 2)
        refusal = self.refuse_mail()
        if refusal is not None:
            await self.reply(refusal)
            return
        try:
            sender, parameters = paths.parse_mail(arg or "")
            size = paths.check_mail_parameters(parameters, announced=self.announced, size_limit=self.limits.size)
        except Refused as refused:
            await self.reply(refused.reply)
            return
        if not self.server.has_room(self.peer_ip, size):
            await self.answer("mailfrom", ACCEPT, NO_SPACE, sender=sender.path or "<>")
            return
        self.utf8 = "SMTPUTF8" in parameters
        verdict = ACCEPT
        context = MailFromContext(self.connection, self.transaction, sender, parameters)
        if self.runner.has("mailfrom"):
            verdict = await self.stage(context)
        answer = self.decide("mailfrom", verdict, SENDER_OK)
        if answer.code < 400:
            self.transaction.sender = as_address(verdict.options.get("sender", context.asked))
            self.transaction.senderparams = parameters
        await self.answer("mailfrom", verdict, answer, sender=sender.path or "<>")
        self.utf8 = self.utf8 and self.transaction.sender is not None

    def refuse_mail(self) -> Reply | None:
        if self.connection.helo is None:
            return HELO_FIRST
        return NESTED_MAIL if self.transaction.sender is not None else None

    # --- RCPT

    async def smtp_RCPT(self, arg: str | None) -> None:
        if self.transaction.sender is None:
            await self.reply(MAIL_FIRST if self.connection.helo else HELO_FIRST)
            return
        if self.chunks is not None:
            await self.reply(DATA_BEGUN)
            return
        utf8 = "SMTPUTF8" in self.transaction.senderparams
        try:
            named, parameters = paths.parse_rcpt(arg or "", utf8=utf8)
            paths.check_rcpt_parameters(parameters, announced=self.announced, utf8=utf8)
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
            await self.add_recipient(named, key, parameters)

    async def add_recipient(self, named: Address, key: Address, parameters: dict[str, str]) -> None:
        address = named if named.domain else self.server.postmaster()
        recipient = Recipient(address, self.config.transport, parameters)
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
        try:
            await self.reply(START_DATA)
            fault = await self.receive(intake)
        except BaseException:
            self.server.discard(intake, self.peer_ip)
            self.reset()
            raise
        await self.finish_message(intake, fault)

    async def finish_message(self, intake: Intake, fault: Reply | None) -> None:
        """The stage, the commit, the reply to the end of data; the transaction is over. Owns the intake."""
        self.state = "EOD"
        commit = None
        try:
            outcome = await self.collect(intake, fault)
            if isinstance(outcome, Reply):
                answer = outcome
            else:
                commit = self.server.track_commit(self.commit(outcome, intake, self.transaction))
        finally:
            if commit is None:
                self.server.discard(intake, self.peer_ip)
            self.reset()
        if commit is not None:
            answer = await asyncio.shield(commit)  # a client that leaves cancels this wait, not the commit
        await self.reply(answer)
        self.utf8 = False

    def refuse_data(self, argument: str) -> Reply | None:
        if argument:
            return NO_ARGUMENT
        if self.chunks is not None:
            return DATA_BEGUN
        refusal = self.refuse_message()
        return PIPELINED if refusal is None and self.read_ahead() else refusal

    def refuse_message(self) -> Reply | None:
        """Why no message may come now, or None."""
        if self.transaction.sender is None:
            return MAIL_FIRST if self.connection.helo else HELO_FIRST
        if not self.transaction.recipients:
            return NO_RECIPIENTS if self.refused else RCPT_FIRST
        return None

    async def receive(self, intake: Intake) -> Reply | None:
        """The message into the intake, to its end; the fault that it has, or None. Raises ConnectionError."""
        reader = DataReader(**self.checks(intake))
        rest = None
        while rest is None:
            rest = reader.feed(await self.need_block())
            self.drop_faulty(intake, reader)
        self.unread(rest)
        return reader.fault

    def checks(self, intake: Intake) -> dict[str, Any]:
        """What a reader of messages is told: where to, and the limits."""

        def write(block: bytes) -> bool:
            return self.server.keep(intake, block, self.peer_ip)

        normalise = self.config.bare_newline == "normalise"
        return {
            "write": write, "line_limit": self.limits.line, "size_limit": self.limits.size, "normalise": normalise
        }  # fmt: skip

    async def need_block(self, most: int = BUFFER) -> bytes:
        """A block of at most `most` octets. Raises ConnectionError at the end of input."""
        block = await self.read_block(most)
        if not block:
            raise ConnectionResetError("end of input within a message")
        return block

    def drop_faulty(self, intake: Intake, reader: Checker) -> None:
        """What has come of a message that will be refused is not kept."""
        if reader.fault is not None:
            self.server.discard(intake, self.peer_ip)

    # --- BDAT (RFC 3030, without BINARYMIME)

    async def smtp_BDAT(self, arg: str) -> None:
        """One chunk. It is read to its end before the answer, whatever that is: it may have been sent already."""
        try:
            size, last = paths.parse_chunk(arg)
        except Refused as refused:  # nobody knows where the next command begins
            await self.reply(replace(refused.reply, close=True))
            return
        refusal = self.refuse_chunk()
        if refusal is not None:
            await self.skip(size)
            await self.reply(refusal)
            return
        if self.chunks is None:
            intake = Intake(self.server.spool_path)
            self.chunks = Chunks(intake, ChunkReader(**self.checks(intake)))
        await self.take_chunk(self.chunks, size, last)

    def refuse_chunk(self) -> Reply | None:
        return self.refuse_message() if "CHUNKING" in self.announced else NO_CHUNKING

    async def skip(self, size: int) -> None:
        while size:
            size -= len(await self.need_block(size))

    async def take_chunk(self, chunks: Chunks, size: int, last: bool) -> None:
        """A fault is the answer to its own chunk and to all that follow it, up to the last one."""
        reader = chunks.reader
        if (known := reader.fault) is not None:
            await self.skip(size)
            if last:
                self.reset()
            await self.reply(known)
            return
        left = size
        while left:
            block = await self.need_block(left)
            left -= len(block)
            reader.feed(block)
            self.drop_faulty(chunks.intake, reader)
        if last:
            reader.end()
            self.chunks = None
            await self.finish_message(chunks.intake, reader.fault)
        elif reader.fault is None:
            await self.reply(reply(250, f"{size} octets received", (2, 0, 0)))
        else:
            await self.answer(stage_of(self.runner), ACCEPT, reader.fault)

    async def collect(self, intake: Intake, fault: Reply | None) -> Reply | DataOutcome:
        """The message's stage: an outcome if there is something to store, else the reply."""
        head = b"" if fault else intake.head(MAX_HEAD)
        if fault is None and count_received(head) > MAX_RECEIVED:
            fault = LOOP
        if fault is not None:
            self.server.log_verdict(stage_of(self.runner), action_of(fault), fault, self.connection, self.transaction)
            return fault
        try:
            message = Message(intake, self.trace(head))
            outcome = await run_message(self.runner, self.connection, self.transaction, message)
        except Exception as error:
            self.server.log.error("stage-failed", stage=stage_of(self.runner), ip=self.peer_ip, error=repr(error))
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
            self.server.log_verdict(outcome.stage, "defer", NO_SPACE, self.connection, transaction)
            return NO_SPACE
        except Exception as error:
            self.server.log.error("queue-failed", transaction=transaction.id, error=repr(error))
            return INTERNAL
        finally:
            self.server.discard(intake, self.peer_ip)

    def conclude(self, outcome: DataOutcome, ids: list[int], transaction: Transaction, size: int) -> Reply:
        answer = outcome.reply(ids)
        if outcome.disconnect and not answer.close:
            answer = Reply(answer.code, answer.lines, answer.enhanced, close=True)
        sender = transaction.sender
        self.server.log_verdict(
            outcome.stage, action_of(answer), answer, self.connection, transaction,
            sender=sender and (sender.path or "<>"),
            recipient=b",".join(item.address.path for item in transaction.recipients[:20]),
            queue=",".join(map(str, ids[:20])), size=size, at=outcome.at,
        )  # fmt: skip
        return answer

    async def smtp_RSET(self, arg: str) -> None:
        if arg:
            await self.reply(NO_ARGUMENT)
            return
        self.end_transaction()
        await self.reply(OK)


def action_of(answer: Reply) -> str:
    return "accept" if answer.code < 400 else "defer" if answer.code < 500 else "reject"


def as_text(value: Any) -> str:
    """A text that a script chose, as bytes or str."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def as_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def as_address(value: Address | bytes | str) -> Address:
    return value if isinstance(value, Address) else Address.of(as_bytes(value))
