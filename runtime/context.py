"""What a script of a stage sees and acts on: one context class per stage, variables built when a script uses them.

The server or the scheduler makes a context, the runner sets `services` and runs the script, builtins change it.
`$context` goes in and out through `context`. Which variables a stage has, their types and words: `stages.py`.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hsl.library.certificates import X509Resource
from hsl.library.files import FileResource
from hsl.library.mime import MailMessage
from hsl.runtime.dsnrequest import DSNRequest
from hsl.runtime.model import (
    Address,
    Attempt,
    AttemptError,
    Connection,
    DeliveryPlan,
    DSNPlan,
    Ending,
    PeerCert,
    QueueEntry,
    Recipient,
    Result,
    TLSInfo,
    Transaction,
)
from hsl.runtime.policies import Limits, Rule
from hsl.runtime.queuedfile import HoldsBodies, QueuedFile
from hsl.runtime.reply import Reply
from hsl.values import Array, Value

if TYPE_CHECKING:
    from hsl.library.ldap import LDAPProfile
    from hsl.mime.mail import MailModel
    from hsl.runtime.data import MessageState
    from hsl.runtime.network import ScriptNetwork
    from hsl.runtime.runner import Services

Getters = dict[str, Callable[[Any], Value]]
MASK = b"********"
SASL_PIECES = re.compile(rb"[\x00-\x20,]+")
SEVERITIES = ("critical", "critical", "critical", "error", "warning", "info", "info", "debug")  # emerg … debug


def string(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def optional(value: str | None) -> Value:
    return None if value is None else string(value)


def strings(values: Iterable[str]) -> Array:
    return Array.of(string(value) for value in values)


def record(**entries: Value) -> Array:
    """An array with the given keys; those without a value are left out ("not always available")."""
    return Array.record({key.encode(): value for key, value in entries.items() if value is not None})


def parameters(params: Mapping[str, str]) -> Array:
    return Array.from_pairs((string(key), string(value)) for key, value in params.items())


def address_array(address: Address) -> Array:
    return record(localpart=address.localpart, domain=address.domain)


def recipient_array(recipient: Recipient) -> Array:
    return record(
        recipient=recipient.address.text,
        address=address_array(recipient.address),
        params=parameters(recipient.params),
        transportid=string(recipient.transportid),
    )


def tls_array(tls: TLSInfo | None, started: bool | None = None) -> Array | None:
    if tls is None:
        return None
    return record(
        started=started,
        protocol=string(tls.protocol),
        cipher=string(tls.cipher),
        keysize=float(tls.keysize),
        sni=optional(tls.sni),
        peercert=None if tls.peercert is None else peercert_array(tls.peercert),
    )


def peercert_array(peercert: PeerCert) -> Array:
    return record(
        x509=X509Resource.of(peercert.certificate),
        chain=Array.of(X509Resource.of(item) for item in peercert.chain),
        error=None if peercert.error is None else float(peercert.error),
    )


def connection_array(connection: Connection, without: Collection[str] = ()) -> Array:
    """`$connection`: what is known of the session so far, `without` what the stage is about."""
    helo = None if "helo" in without else connection.helo
    auth = None if "auth" in without else connection.auth
    return record(
        id=string(connection.id),
        priority=float(connection.priority),
        remoteip=string(connection.remoteip),
        remoteport=float(connection.remoteport),
        remoteptr=optional(connection.remoteptr),
        localip=string(connection.localip),
        localport=float(connection.localport),
        serverid=string(connection.serverid),
        helo=record(verb=string(helo.verb), host=helo.host) if helo else None,
        tls=tls_array(connection.tls),
        auth=record(mechanism=string(auth.mechanism), username=auth.username) if auth else None,
    )


def transaction_array(transaction: Transaction) -> Array:
    """`$transaction`: the id, and the envelope as far as it is accepted."""
    sender = transaction.sender
    if sender is None:
        return record(id=string(transaction.id))
    return record(
        id=string(transaction.id),
        sender=sender.text,
        senderaddress=address_array(sender),
        senderparams=parameters(transaction.senderparams),
        recipients=Array.of(recipient_array(item) for item in transaction.recipients),
    )


def message_array(entry: QueueEntry, sender: Address, recipient: Address, file: FileResource | None) -> Array:
    """`$message` of the queue's stages."""
    return record(
        id=record(transaction=string(entry.transaction), queue=float(entry.id)),
        ts=entry.ts,
        serverid=string(entry.serverid),
        sender=sender.text,
        senderaddress=address_array(sender),
        recipient=recipient.text,
        recipientaddress=address_array(recipient),
        transportid=string(entry.transportid),
        tenantid=entry.tenantid or None,
        jobid=entry.jobid or None,
        priority=float(entry.priority),
        size=float(entry.size),
        file=None if file is None else record(modified=file),
        dsn=dsn_array(entry.dsn),
    )


def dsn_array(request: DSNRequest | None) -> Array | None:
    if request is None:
        return None
    return record(
        envid=string(request.envid) if request.envid else None,
        ret=string(request.ret) if request.ret else None,
        notify=strings(request.notify) if request.notify else None,
        orcpt=string(request.orcpt) if request.orcpt else None,
    )


def result_array(result: Result | None) -> Array | None:
    if result is None:
        return None
    return record(
        code=float(result.code),
        enhanced=Array.of(float(part) for part in result.enhanced) if result.enhanced else None,
        reason=strings(result.lines),
        state=string(result.state),
    )


def reply_array(reply: Reply, state: str) -> Array:
    return record(
        code=float(reply.code),
        enhanced=Array.of(float(part) for part in reply.enhanced) if reply.enhanced else None,
        reason=strings(reply.lines),
        state=string(state),
    )


def error_array(error: AttemptError | None) -> Array | None:
    if error is None:
        return None
    return record(
        temporary=error.temporary,
        message=string(error.message),
        type=string(error.kind),
        dns=optional(error.dns or None),
    )


def attempt_array(attempt: Attempt) -> Array:
    """`$arguments["attempt"]` of post-delivery."""
    tls = tls_array(attempt.tls, started=True)
    if attempt.tlsrpt:
        tls = tls or record(started=False)
        tls.set(b"tlsrpt", string(attempt.tlsrpt))
    return record(
        result=result_array(attempt.result),
        error=error_array(attempt.error),
        connection=record(
            id=optional(attempt.connection or None),
            transactions=float(attempt.transactions) if attempt.connection else None,
            localip=string(attempt.localip),
            localipid=optional(attempt.localipid or None),
            helo=string(attempt.helo),
            remoteip=string(attempt.remoteip),
            remotemx=string(attempt.remotemx),
            remotegreet=strings(attempt.greeting) if attempt.greeting else None,
            tls=tls,
        ),
        duration=attempt.duration,
    )


def policy_array(rules: Sequence[Rule]) -> Array:
    """`$arguments["policy"]`: the policies that an attempt was counted by, and their tags."""
    return record(
        tags=strings(dict.fromkeys(rule.tag for rule in rules if rule.tag)),
        policies=Array.of(rule_array(rule) for rule in rules),
    )


def rule_array(rule: Rule) -> Array:
    limits = rule.limits or Limits()
    rate = limits.rate and Array.of([float(limits.rate[0]), limits.rate[1]])
    return record(
        id=string(rule.id),
        fields=strings(rule.fields),
        condition=parameters(rule.match.given),
        tag=optional(rule.tag or None),
        concurrency=None if limits.concurrency is None else float(limits.concurrency),
        rate=rate,
        connectinterval=limits.interval,
        stop=limits.stop,
        properties=Array.from_pairs((string(name), value) for name, value in limits.properties),
    )


def family(address: str) -> bytes:
    return b"ipv6" if ":" in address else b"ipv4"


class Context:
    """What all stages share. `context` holds the script's `$context`; `message_id` is the transaction's id."""

    stage: ClassVar[str]
    values: ClassVar[Getters]
    services: Services
    context: Value
    message_id: str
    queued: int = 0  # messages that the script made

    @property
    def serverid(self) -> str:
        """The server that the mail came in by."""
        raise NotImplementedError

    @property
    def default_transport(self) -> str:
        """The transport of mail that names none; empty: there is none."""
        return ""

    def variable(self, name: str) -> Value:
        """The value of a stage variable (its name without `$`). Raises KeyError for one the stage does not have."""
        return self.values[name](self)

    def mask(self, data: bytes) -> bytes:
        """A text of the script as it may be logged: without credentials."""
        return data

    # What the standard library asks of its host (hsl.library.host, hsl.library.network).

    @property
    def network(self) -> ScriptNetwork | None:
        return self.services.network

    @property
    def rootpath(self) -> Path | None:
        return self.services.rootpath

    @property
    def ffi(self) -> bool:
        return self.services.ffi

    @property
    def ldap(self) -> Mapping[str, LDAPProfile]:
        return self.services.ldap

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def time(self) -> float:
        return self.services.clock.time()

    def serial(self) -> bytes:
        return string(self.services.serial)

    def hostname(self) -> bytes:
        return string(self.services.hostname)

    async def queue_mail(
        self, message: bytes, sender: Value, recipient: Value, transportid: bytes, options: Array | None
    ) -> Array:
        from hsl.runtime import outgoing  # it needs the functions' arguments, and these the contexts

        ids = await outgoing.queue_mail(self, message, sender, recipient, transportid, options)
        return outgoing.ids_array(ids)

    async def send_mail(self, message: bytes, sender: Value, recipients: Array, server: Value) -> Array:
        from hsl.runtime import outgoing

        return outgoing.attempt_result(await outgoing.send_mail(self, message, sender, recipients, server))

    def transport_server(self, function: str, transportid: bytes) -> Array:
        from hsl.runtime import lookups

        return lookups.transport_server(self, function, transportid)

    def syslog(self, priority: int, message: bytes) -> None:
        """A line in our log; the severity (RFC 5424 6.2.1) becomes its level, the facility is not kept."""
        level = SEVERITIES[priority & 7]
        self.services.log.event(level, "syslog", stage=self.stage, id=self.message_id, text=text(self.mask(message)))


SESSION: Getters = {
    "arguments": lambda c: c.arguments(),
    "connection": lambda c: connection_array(c.connection),
    "transaction": lambda c: transaction_array(c.transaction),
    "context": lambda c: c.context,
    "senderip": lambda c: string(c.senderip),
    "senderport": lambda c: float(c.connection.remoteport),
    "serverip": lambda c: string(c.connection.localip),
    "serverport": lambda c: float(c.connection.localport),
    "serverid": lambda c: string(c.connection.serverid),
    "messageid": lambda c: string(c.transaction.id),
}
NO_ENVELOPE: Getters = {"transaction": lambda c: record(id=string(c.transaction.id))}
GREETED: Getters = SESSION | {
    "senderhelo": lambda c: c.senderhelo,
    "tlsstarted": lambda c: c.connection.tls is not None,
    "saslauthed": lambda c: c.connection.auth is not None,
    "saslusername": lambda c: c.saslusername,
}
SENDER: Getters = GREETED | {
    "sender": lambda c: c.sender.text,
    "senderlocalpart": lambda c: c.sender.localpart,
    "senderdomain": lambda c: c.sender.host,
    "senderparams": lambda c: parameters(c.senderparams),
}
RECIPIENT: Getters = SENDER | {
    "recipient": lambda c: c.recipient.text,
    "recipientlocalpart": lambda c: c.recipient.localpart,
    "recipientdomain": lambda c: c.recipient.host,
    "transportid": lambda c: string(c.transportid),
}


class SessionContext(Context):
    """A stage of an SMTP session: `$context` is the connection's."""

    values: ClassVar[Getters] = SESSION

    def __init__(self, connection: Connection, transaction: Transaction) -> None:
        self.connection = connection
        self.transaction = transaction
        self.message_id = transaction.id

    @property
    def context(self) -> Value:
        return self.connection.context

    @context.setter
    def context(self, value: Value) -> None:
        self.connection.context = value

    @property
    def serverid(self) -> str:
        return self.connection.serverid

    @property
    def senderip(self) -> str:
        return self.connection.remoteip

    @property
    def senderhelo(self) -> bytes:
        return self.connection.helo.host if self.connection.helo else b""

    @property
    def saslusername(self) -> bytes:
        return self.connection.auth.username if self.connection.auth else b""

    @property
    def sender(self) -> Address:
        return self.transaction.sender or Address(b"", b"")

    @property
    def senderparams(self) -> Mapping[str, str]:
        return self.transaction.senderparams

    def arguments(self) -> Array:
        return Array()


class ConnectContext(SessionContext):
    """Before the banner (reference 2015 "IP", 2019 "Connect")."""

    stage = "connect"
    values: ClassVar[Getters] = (
        SESSION
        | NO_ENVELOPE
        | {
            "connection": lambda c: connection_array(c.connection, ("helo", "auth")),
            "family": lambda c: family(c.connection.remoteip),
            "protocol": lambda c: b"tcp",
            "service": lambda c: string(c.connection.serverid),
        }
    )

    def arguments(self) -> Array:
        connection = self.connection
        return record(
            remoteip=string(connection.remoteip),
            remoteport=float(connection.remoteport),
            remoteptr=optional(connection.remoteptr),
            localip=string(connection.localip),
            localport=float(connection.localport),
            serverid=string(connection.serverid),
        )


class HeloContext(SessionContext):
    """On HELO and EHLO; `extensions` are those to be announced."""

    stage = "helo"
    values: ClassVar[Getters] = (
        GREETED | NO_ENVELOPE | {"connection": lambda c: connection_array(c.connection, ("helo",))}
    )

    def __init__(
        self, connection: Connection, transaction: Transaction, verb: str, host: bytes, extensions: Sequence[str] = ()
    ) -> None:
        super().__init__(connection, transaction)
        self.verb = verb
        self.host = host
        self.extensions = tuple(extensions)

    @property
    def senderhelo(self) -> bytes:
        return self.host

    def arguments(self) -> Array:
        return record(verb=string(self.verb), host=self.host, extensions=strings(self.extensions))


class AuthContext(SessionContext):
    """On AUTH, and on each response to a challenge of the script.

    With PLAIN and LOGIN `password` is there, with other mechanisms `response` (decoded; None without an initial one)
    and `state`, the number of challenges so far. Credentials are visible here only, and masked in all that is logged.
    """

    stage = "auth"
    values: ClassVar[Getters] = (
        GREETED
        | NO_ENVELOPE
        | {
            "connection": lambda c: connection_array(c.connection, ("auth",)),
            "saslpassword": lambda c: c.password or b"",
        }
    )

    def __init__(
        self,
        connection: Connection,
        transaction: Transaction,
        mechanism: str,
        username: bytes = b"",
        password: bytes | None = None,
    ) -> None:
        super().__init__(connection, transaction)
        self.mechanism = mechanism.upper()
        self.username = username
        self.password = password
        self.state = 0
        self.response: bytes | None = None
        self.earlier: frozenset[bytes] = frozenset()  # secrets of the responses before

    def next(self, response: bytes) -> AuthContext:
        """The context for the client's response to a challenge."""
        context = AuthContext(self.connection, self.transaction, self.mechanism)
        context.state = self.state + 1
        context.response = response
        context.earlier = self.secrets
        return context

    @property
    def saslusername(self) -> bytes:
        return self.username

    def arguments(self) -> Array:
        if self.password is not None:
            return record(username=self.username, password=self.password, mechanism=string(self.mechanism))
        return record(mechanism=string(self.mechanism), state=float(self.state), response=self.response)

    @property
    def secrets(self) -> frozenset[bytes]:
        """What must not be logged: the password; of a mechanism by script all responses, and what they are made of."""
        if self.password is not None:
            return frozenset((self.password, b64encode(self.password))) if self.password else frozenset()
        return self.earlier | secrets_in(self.response or b"")

    def mask(self, data: bytes) -> bytes:
        for secret in sorted(self.secrets, key=len, reverse=True):
            data = data.replace(secret, MASK)
        return data


def secrets_in(response: bytes) -> frozenset[bytes]:
    """A SASL response whole, in base64, and its pieces: between controls, blanks and commas, and after `name=`.

    Pieces of less than 4 bytes are left out: they would mask everything.
    """
    pieces = SASL_PIECES.split(response)
    values = [piece.partition(b"=")[2] for piece in pieces]
    found = frozenset((response, b64encode(response), *pieces, *values))
    return frozenset(piece for piece in found if len(piece) >= 4)


class MailFromContext(SessionContext):
    """On MAIL FROM: `sender` is asked for, not yet accepted."""

    stage = "mailfrom"
    values: ClassVar[Getters] = SENDER | NO_ENVELOPE

    def __init__(
        self, connection: Connection, transaction: Transaction, sender: Address, params: Mapping[str, str]
    ) -> None:
        super().__init__(connection, transaction)
        self.asked = sender
        self.params = params

    @property
    def sender(self) -> Address:
        return self.asked

    @property
    def senderparams(self) -> Mapping[str, str]:
        return self.params

    def arguments(self) -> Array:
        return record(sender=self.asked.text, address=address_array(self.asked), params=parameters(self.params))


class RcptToContext(SessionContext):
    """On RCPT TO: `asked` is the recipient asked for; transaction.recipients are those accepted before.

    `relay` is what the server's relay rule says: whether the recipient is accepted without an explicit Accept().
    """

    stage = "rcptto"
    values: ClassVar[Getters] = RECIPIENT

    def __init__(
        self, connection: Connection, transaction: Transaction, recipient: Recipient, relay: bool = True
    ) -> None:
        super().__init__(connection, transaction)
        self.asked = recipient
        self.relay = relay

    @property
    def default_transport(self) -> str:
        return self.asked.transportid

    @property
    def recipient(self) -> Address:
        return self.asked.address

    @property
    def transportid(self) -> str:
        return self.asked.transportid

    def arguments(self) -> Array:
        arguments = recipient_array(self.asked)
        arguments.set(b"relay", self.relay)
        return arguments


class MessageContext(SessionContext):
    """A received message at the end of data: what describes it (sender, sender's IP and HELO, headers) is `state`'s."""

    state: MessageState

    @property
    def senderip(self) -> str:
        return self.state.senderip

    @property
    def senderhelo(self) -> bytes:
        return self.state.senderhelo

    @property
    def sender(self) -> Address:
        return self.state.sender

    @property
    def mail(self) -> MailModel:
        """The message, for the library (hsl.library.host.HasMail)."""
        return self.state.message.mail

    def mail_object(self) -> MailMessage:
        """`$arguments["mail"]`."""
        return MailMessage(self.mail)


ENVELOPE: Getters = {
    "recipients": lambda c: Array.of(item.address.text for item in c.transaction.recipients),
    "recipientdomains": lambda c: Array.of(item.address.host for item in c.transaction.recipients),
    "actionid": lambda c: float(c.state.actionid),
}


class DataContext(MessageContext):
    """At the end of data, once per recipient (2015 "DATA", 2019 "Per recipient").

    What describes the message (sender, sender's IP and HELO, metadata, headers) lives in `state`, which all recipients
    share; what describes the recipient (address, transport, delay) lives here.
    """

    stage = "data"
    values: ClassVar[Getters] = RECIPIENT | ENVELOPE

    def __init__(
        self, connection: Connection, transaction: Transaction, recipient: Recipient, state: MessageState
    ) -> None:
        super().__init__(connection, transaction)
        self.original = recipient
        self.recipient = recipient.address
        self.transportid = recipient.transportid
        self.delay = 0.0  # seconds
        self.state = state
        self.first_act = len(state.acts)

    @property
    def default_transport(self) -> str:
        return self.transportid

    @property
    def acted(self) -> bool:
        """Whether an action was taken for this recipient."""
        return len(self.state.acts) > self.first_act

    def arguments(self) -> Array:
        arguments = recipient_array(Recipient(self.recipient, self.transportid, self.original.params))
        arguments.set(b"mail", self.mail_object())
        return arguments


class EodContext(MessageContext):
    """At the end of data, once per message (2019 "Per message", and today); `ts` is when it was all there."""

    stage = "eod"
    values: ClassVar[Getters] = SENDER | ENVELOPE | {"transaction": lambda c: eod_transaction(c)}

    def __init__(self, connection: Connection, transaction: Transaction, state: MessageState, ts: float) -> None:
        super().__init__(connection, transaction)
        self.state = state
        self.ts = ts

    def mail_object(self) -> MailMessage:
        from hsl.runtime.functions.eod import EODMailMessage  # it needs what is declared here

        return EODMailMessage(self.mail)

    def arguments(self) -> Array:
        return record(mail=self.mail_object())


def eod_transaction(context: EodContext) -> Array:
    """`$transaction` of a whole message: also when it came, and the parameters of RCPT under 2019's name."""
    transaction = transaction_array(context.transaction)
    transaction.set(b"ts", context.ts)
    recipients = [recipient_array(item) for item in context.transaction.recipients]
    for item, recipient in zip(recipients, context.transaction.recipients, strict=True):
        item.set(b"recipientparams", parameters(recipient.params))
    transaction.set(b"recipients", Array.of(recipients))
    return transaction


class DisconnectContext(SessionContext):
    """When a session is over, whoever ended it."""

    stage = "disconnect"
    values: ClassVar[Getters] = GREETED

    def __init__(self, connection: Connection, transaction: Transaction, ending: Ending | None = None) -> None:
        super().__init__(connection, transaction)
        self.ending = ending or Ending()

    def arguments(self) -> Array:
        ending = self.ending
        return record(
            close=string(ending.close),
            reply=None if ending.reply is None else reply_array(ending.reply, ending.state),
            error=record(
                reason=string(ending.error), type=string(ending.type), code=float(ending.code) if ending.code else None
            )
            if ending.type
            else None,
        )


QUEUED: Getters = {
    "arguments": lambda c: c.arguments(),
    "message": lambda c: message_array(c.entry, c.sender, c.recipient, c.file),
    "context": lambda c: c.context,
    "senderip": lambda c: string(c.entry.senderip),
    "senderhelo": lambda c: c.entry.senderhelo,
    "saslusername": lambda c: c.entry.saslusername,
    "sender": lambda c: c.sender.text,
    "senderlocalpart": lambda c: c.sender.localpart,
    "senderdomain": lambda c: c.sender.host,
    "recipient": lambda c: c.recipient.text,
    "recipientlocalpart": lambda c: c.recipient.localpart,
    "recipientdomain": lambda c: c.recipient.host,
    "retry": lambda c: float(c.entry.retry),
    "retries": lambda c: float(c.retries),
    "messageid": lambda c: string(c.entry.transaction),
    "actionid": lambda c: float(c.entry.actionid),
    "queueid": lambda c: float(c.entry.id),
    "serverid": lambda c: string(c.entry.serverid),
    "transportid": lambda c: string(c.entry.transportid),
}


class QueueContext(Context):
    """A stage of a queued message. `retries` is how many retries its transport allows."""

    values: ClassVar[Getters] = QUEUED

    def __init__(self, entry: QueueEntry, retries: int, context: Value = None) -> None:
        self.entry = entry
        self.retries = retries
        self.context = context
        self.message_id = entry.transaction
        self.dsn: DSNPlan | None = None  # what the script says about a notification

    @property
    def file(self) -> FileResource | None:
        """The message as it lies in the queue; None where there is no queue that holds any."""
        queue = self.services.queue
        return QueuedFile(queue, self.entry) if isinstance(queue, HoldsBodies) else None

    @property
    def serverid(self) -> str:
        return self.entry.serverid

    @property
    def default_transport(self) -> str:
        return self.entry.transportid

    @property
    def sender(self) -> Address:
        return self.entry.sender

    @property
    def recipient(self) -> Address:
        return self.entry.recipient

    def arguments(self) -> Array:
        return record(retry=float(self.entry.retry))


class PreDeliveryContext(QueueContext):
    """Before a delivery attempt: the script changes `plan`, which holds for this attempt only.

    `holder` names the attempt: the connection slots it takes are freed under that name.
    """

    stage = "predelivery"
    values: ClassVar[Getters] = QUEUED | {
        "sourceip": lambda c: string(c.plan.source.address) if c.plan.source else b"",
        "destination": lambda c: string(c.plan.host or "lookup-mx"),
        "destinationport": lambda c: float(c.plan.port),
    }

    def __init__(self, entry: QueueEntry, plan: DeliveryPlan, retries: int, holder: str) -> None:
        super().__init__(entry, retries)
        self.plan = plan
        self.holder = holder
        self.took_slot = False

    @property
    def sender(self) -> Address:
        return self.plan.sender

    @property
    def recipient(self) -> Address:
        return self.plan.recipient


class PostDeliveryContext(QueueContext):
    """After an attempt, or when an entry leaves the queue without one (`attempt` None).

    `action` is what will happen by default: QUEUE, BOUNCE or DELETE; None after a delivery. `context` is what the
    pre-delivery script of this attempt left in `$context`, `plan` what it made of the transport's. `expired`: there
    will be no further attempt, for the retries or the time are used up. `rules` are the policies that the attempt was
    counted by.
    """

    stage = "postdelivery"
    values: ClassVar[Getters] = QUEUED | {
        "sourceip": lambda c: string(c.outcome.localip),
        "serverip": lambda c: string(c.outcome.remoteip),
        "serverport": lambda c: float(c.outcome.remoteport),
        "destination": lambda c: string(c.outcome.remotemx or c.outcome.remoteip),
        "destinationport": lambda c: float(c.outcome.remoteport),
        "transfertime": lambda c: c.outcome.duration,
        "errorcode": lambda c: float(c.outcome.result.code if c.outcome.result else 0),
        "errormsg": lambda c: string(c.error_text()),
        "errorndr": lambda c: string(c.enhanced()),
    }

    def __init__(
        self,
        entry: QueueEntry,
        attempt: Attempt | None,
        action: str | None,
        retries: int,
        context: Value = None,
        *,
        plan: DeliveryPlan | None = None,
        expired: bool = False,
        rules: Sequence[Rule] = (),
        grouping: str | None = None,
    ) -> None:
        super().__init__(entry, retries, context)
        self.attempt = attempt
        self.outcome = attempt or Attempt()
        self.action = action or None
        self.plan = plan
        self.expired = expired
        self.rules = rules
        self.grouping = grouping

    @property
    def sender(self) -> Address:
        return self.plan.sender if self.plan else self.entry.sender

    @property
    def recipient(self) -> Address:
        return self.plan.recipient if self.plan else self.entry.recipient

    @property
    def delivered(self) -> bool:
        return self.outcome.delivered

    def enhanced(self) -> str:
        """The enhanced status code of the outcome as text, empty without one."""
        decided = self.outcome.result or self.outcome.error
        return ".".join(map(str, decided.enhanced)) if decided and decided.enhanced else ""

    def error_text(self) -> str:
        """The remote's reply as one line, the enhanced code first if there is one; or the error's message."""
        if self.outcome.result is None:
            return self.outcome.error.message if self.outcome.error else ""
        reply = " ".join(self.outcome.result.lines)
        enhanced = self.enhanced()
        return reply if not enhanced or reply.startswith(enhanced) else f"{enhanced} {reply}".rstrip()

    def arguments(self) -> Array:
        return record(
            retry=float(self.entry.retry),
            expired=self.expired,
            action=optional(self.action),
            grouping=optional(self.grouping),
            policy=policy_array(self.rules) if self.attempt else None,
            attempt=attempt_array(self.attempt) if self.attempt else None,
        )
