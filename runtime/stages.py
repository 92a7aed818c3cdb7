"""The one table of the stages: name, variables, functions, replies, what no verdict and a script error mean.

A stage's name is the same in config, hook file, log and manual. The defaults are those of the 2019 reference; at rcptto
"accept without a verdict" is not a permission to relay: the server then asks its own relay rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hsl.builtins import Chapter, Registry
from hsl.compiler import Environment, Loader, Variable
from hsl.errors import near
from hsl.library import core_registry
from hsl.runtime.functions import (
    attachments,
    delivery,
    dlp,
    eod,
    mailauth,
    mailing,
    message,
    metrics,
    queue,
    session,
    state,
)
from hsl.runtime.reply import Enhanced
from hsl.runtime.verdict import Verdict

CHAPTERS: tuple[Chapter, ...] = (
    state.chapter,
    metrics.chapter,
    queue.chapter,
    mailing.chapter,
    mailauth.chapter,
    session.chapter,
    message.actions,
    message.arguments,
    message.headers,
    message.scanners,
    dlp.chapter,
    attachments.chapter,
    attachments.queued,
    eod.chapter,
    delivery.both,
    delivery.before,
    delivery.after,
)


def variables(*groups: tuple[Variable, ...]) -> Mapping[str, Variable]:
    return {item.name: item for group in groups for item in group}


def later(name: str, kind: str, reason: str) -> Variable:
    """A key of today's reference that this version never sets."""
    return Variable(name, kind, "In today's reference", later=reason)


NO_PLUGINS = "there are no plugins"
NO_PROXY = "servers do not take the PROXY protocol"
NO_SUBMISSION = "messages come by SMTP only"

ADDRESS = (
    Variable("localpart", "string", "The part before the @, case as it came"),
    Variable("domain", "string", "The domain, case as it came"),
)
RECIPIENT_KEYS = (
    Variable("recipient", "string", "The recipient's address, lower case"),
    Variable("address", "array", "The address in its two parts", keys=ADDRESS),
    Variable("params", "array", "The parameters of RCPT TO, name to value"),
    Variable("transportid", "string", "The transport's id"),
)
HELO_KEYS = (
    Variable("verb", "string", "HELO or EHLO"),
    Variable("host", "string", "The name that the client gave"),
)
PEERCERT_KEYS = (
    Variable("x509", "resource", "The certificate, for the class X509"),
    Variable("chain", "array", "The certificates that came, its own first, for the class X509"),
    Variable("error", "number", "What OpenSSL says of it (SSL_get_verify_result), 0: good; missing: it was not asked"),
)
TLS_KEYS = (
    Variable("protocol", "string", "The protocol's version"),
    Variable("cipher", "string", "The cipher"),
    Variable("keysize", "number", "The cipher's key size in bits"),
    Variable("peercert", "array", "The peer's certificate, if it gave one", keys=PEERCERT_KEYS),
)
SNI = Variable("sni", "string", "The server name that the client asked for")
AUTH_KEYS = (
    Variable("mechanism", "string", "The SASL mechanism, upper case"),
    Variable("username", "string", "The user name"),
)
ENDPOINTS = (
    Variable("remoteip", "string", "The client's IP address"),
    Variable("remoteport", "number", "The client's TCP port"),
    Variable("remoteptr", "string", "The client's verified reverse DNS name, if there is one"),
    later("remoteuid", "number", "clients come by TCP, not by UNIX sockets"),
    Variable("localip", "string", "The server's IP address"),
    Variable("localport", "number", "The server's TCP port"),
    Variable("serverid", "string", "The server's id"),
)
HELO = Variable("helo", "array", "HELO, once it was accepted", keys=HELO_KEYS)
TLS = Variable("tls", "array", "TLS, if it is in use", keys=(*TLS_KEYS, SNI))
AUTH = Variable("auth", "array", "The login, if there was one", keys=AUTH_KEYS)


def connection(*keys: Variable) -> Variable:
    """`$connection`, with what may be known of a session besides its two ends."""
    known = (
        Variable("id", "string", "The connection's id"),
        Variable("priority", "number", "Of the session's messages, as connect set it: 0 or 1"),
        *ENDPOINTS,
    )
    return Variable("connection", "array", "The session so far", keys=(*known, *keys))


TRANSACTION_ID = Variable("id", "string", "The transaction's id")
NO_ENVELOPE = Variable("transaction", "array", "The transaction that has not begun yet", keys=(TRANSACTION_ID,))
TRANSACTION = Variable(
    "transaction",
    "array",
    "The envelope as far as it is accepted",
    keys=(
        TRANSACTION_ID,
        Variable("sender", "string", "The sender's address, lower case; empty for the null sender"),
        Variable("senderaddress", "array", "The sender's address in its two parts", keys=ADDRESS),
        Variable("senderparams", "array", "The parameters of MAIL FROM, name to value"),
        Variable("recipients", "array", "The accepted recipients, each an array like $arguments of rcptto"),
    ),
)
CONTEXT = Variable("context", "any", "The connection's own variable, kept from script to script", readonly=False)
QUEUE_CONTEXT = Variable("context", "any", "Passed from pre-delivery to post-delivery of one attempt", readonly=False)

BASE = (
    connection(HELO, TLS, AUTH),
    TRANSACTION,
    CONTEXT,
    Variable("senderip", "string", "The client's IP address"),
    Variable("senderport", "number", "The client's TCP port"),
    Variable("serverip", "string", "The server's IP address"),
    Variable("serverport", "number", "The server's TCP port"),
    Variable("serverid", "string", "The server's id"),
    Variable("messageid", "string", "The transaction's id"),
)
SASLUSERNAME = Variable("saslusername", "string", "The user name of the login; empty without one")
SENDERHELO = Variable("senderhelo", "string", "The client's HELO name")
GREETED = (
    *BASE,
    SENDERHELO,
    Variable("tlsstarted", "boolean", "Whether the session uses TLS"),
    Variable("saslauthed", "boolean", "Whether the client is logged in"),
    SASLUSERNAME,
)
SENDER_NAMES = (
    Variable("sender", "string", "The sender's address, lower case; empty for the null sender"),
    Variable("senderlocalpart", "string", "The local part of the sender, case as it came"),
    Variable("senderdomain", "string", "The domain of the sender, lower case; empty for the null sender"),
)
RECIPIENT_NAMES = (
    Variable("recipient", "string", "The recipient's address, lower case"),
    Variable("recipientlocalpart", "string", "The local part of the recipient, case as it came"),
    Variable("recipientdomain", "string", "The domain of the recipient, lower case"),
    Variable("transportid", "string", "The transport's id"),
)
ENVELOPE = (
    *GREETED,
    *SENDER_NAMES,
    Variable("senderparams", "array", "The parameters of MAIL FROM, name to value"),
)
MESSAGE_NAMES = (
    Variable("recipients", "array", "The addresses of all recipients, in order"),
    Variable("recipientdomains", "array", "The domains of all recipients, in order"),
    Variable("actionid", "number", "Grows with each action and recipient of the message"),
)
RECEIVED = Variable(
    "transaction",
    "array",
    "The envelope",
    keys=(*TRANSACTION.keys, Variable("ts", "number", "When the message was all there, Unix time in seconds")),
)
QUEUED = (
    Variable(
        "message",
        "array",
        "The queued message",
        keys=(
            Variable(
                "id",
                "array",
                "Its ids",
                keys=(
                    Variable("transaction", "string", "The transaction's id"),
                    Variable("queue", "number", "The queue id"),
                ),
            ),
            Variable("ts", "number", "When it was received, Unix time in seconds"),
            Variable("serverid", "string", "The server that received it"),
            Variable("sender", "string", "The sender's address, lower case"),
            Variable("senderaddress", "array", "The sender's address in its two parts", keys=ADDRESS),
            Variable("recipient", "string", "The recipient's address, lower case"),
            Variable("recipientaddress", "array", "The recipient's address in its two parts", keys=ADDRESS),
            Variable("transportid", "string", "The transport's id"),
            Variable("tenantid", "string", "Whose mail it is, if somebody said"),
            Variable("jobid", "string", "The job id, if there is one"),
            Variable("priority", "number", "1: it goes before the other mail of its domain; 0"),
            Variable("size", "number", "The size in bytes"),
            Variable(
                "file",
                "array",
                "The message as it lies in the queue",
                keys=(
                    later("original", "FileResource", "the queue holds the message with its changes only"),
                    Variable("modified", "resource", "With the changes that scripts made, for the class File"),
                ),
            ),
            Variable(
                "dsn",
                "array",
                "What the client asked about notifications (RFC 3461), if anything",
                keys=(
                    Variable("envid", "string", "ENVID, as xtext"),
                    Variable("ret", "string", "RET: FULL or HDRS"),
                    Variable("notify", "array", "The words of NOTIFY"),
                    Variable("orcpt", "string", "ORCPT, as xtext with its type"),
                ),
            ),
        ),
    ),
    QUEUE_CONTEXT,
    Variable("senderip", "string", "The IP address of the client that sent the message"),
    SENDERHELO,
    SASLUSERNAME,
    *SENDER_NAMES,
    *RECIPIENT_NAMES,
    Variable("retry", "number", "The retry count"),
    Variable("retries", "number", "The most retries that the transport allows"),
    Variable("messageid", "string", "The transaction's id"),
    Variable("actionid", "number", "The number of the action that queued the message"),
    Variable("queueid", "number", "The queue id"),
    Variable("serverid", "string", "The server that received the message"),
)
RESULT_KEYS = (
    Variable("code", "number", "The SMTP reply code"),
    Variable("enhanced", "array", "The enhanced status code, three numbers"),
    Variable("reason", "array", "The lines of the reply"),
    Variable("state", "string", "The command that was answered: BANNER, EHLO, MAIL, RCPT, DATA, EOD …"),
)
ERROR_KEYS = (
    Variable("temporary", "boolean", "Whether a later attempt may succeed"),
    Variable("message", "string", "What went wrong"),
    Variable("type", "string", "dns, bind, connect, timeout, tls, disconnect, protocol, config or plan"),
    Variable("dns", "string", "What the DNS said: NXDOMAIN, NODATA, NULLMX, SERVFAIL, TIMEOUT"),
)
ROUTE_KEYS = (
    Variable("id", "string", "The connection's id; attempts may share one"),
    Variable("transactions", "number", "How many mails it has carried, with this one"),
    Variable("localip", "string", "The source address"),
    Variable("localipid", "string", "The source address's id"),
    Variable("helo", "string", "Our HELO name"),
    Variable("remoteip", "string", "The address connected to; empty on DNS errors"),
    Variable("remotemx", "string", "The mail host connected to"),
    Variable("remotegreet", "array", "The lines of its banner"),
    Variable(
        "tls",
        "array",
        "TLS, if it was started or should have been",
        keys=(
            Variable("started", "boolean", "Whether STARTTLS succeeded"),
            *TLS_KEYS,
            later("tlsa", "array", "there is no DANE"),
            Variable("tlsrpt", "string", "Why there was none that could be trusted, in the words of RFC 8460 4.3"),
        ),
    ),
)
POLICY_KEYS = (
    Variable("tags", "array", "Their tags"),
    Variable("policies", "array", "Each: id, fields, condition, tag, its limits, stop, properties"),
)
ATTEMPT = Variable(
    "attempt",
    "array",
    "The delivery attempt, if there was one",
    keys=(
        Variable("result", "array", "The reply that decided, if one did", keys=RESULT_KEYS),
        Variable("error", "array", "What decided when no reply did", keys=ERROR_KEYS),
        Variable("connection", "array", "How the attempt went out", keys=ROUTE_KEYS),
        Variable("duration", "number", "Seconds"),
        later("plugin", "array", NO_PLUGINS),
    ),
)
QUEUE_PLUGIN = later("queue", "array", NO_PLUGINS)


def arguments(*keys: Variable) -> tuple[Variable, ...]:
    return (Variable("arguments", "array", "What this stage is asked about", keys=keys),)


@dataclass(frozen=True, slots=True)
class Answer:
    """A stage's reply for one action: code, enhanced code (RFC 3463), text without a reason of the script."""

    code: int
    enhanced: Enhanced | None
    text: str


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage. `answers` maps a verdict's action to its reply; `error` is the answer to a script error."""

    name: str
    summary: str
    variables: Mapping[str, Variable]
    implicit: Verdict
    on_error: Verdict
    answers: Mapping[str, Answer] = field(default_factory=dict)
    error: Answer | None = None
    closes: bool = False  # a refusal ends the session


def implicit(action: str) -> Verdict:
    return Verdict(action, explicit=False)


def failure(action: str, **options: object) -> Verdict:
    return Verdict(action, explicit=False, error=True, options=dict(options))


TROUBLE = "Temporary server error, please try again later"
POLICY = "Refused by policy"
LATER = "Please try again later"

TABLE: tuple[Stage, ...] = (
    Stage(
        "connect",
        "Before the banner",
        variables(
            BASE,
            (connection(TLS), NO_ENVELOPE),
            arguments(
                *ENDPOINTS,
                later("remoteptrresult", "array", '$arguments["remoteptr"] is all that is known of the client\'s name'),
                later("proxyip", "string", NO_PROXY),
                later("proxytlv", "string", NO_PROXY),
            ),
            (
                Variable("family", "string", "ipv4 or ipv6"),
                Variable("protocol", "string", "tcp"),
                Variable("service", "string", "The server's id"),
            ),
        ),
        implicit("accept"),
        failure("defer"),
        {
            "accept": Answer(220, None, "ESMTP"),
            "reject": Answer(521, (5, 7, 1), POLICY),
            "defer": Answer(421, (4, 7, 0), LATER),
        },
        Answer(421, (4, 3, 0), TROUBLE),
        closes=True,
    ),
    Stage(
        "helo",
        "On HELO and EHLO",
        variables(
            GREETED,
            (connection(TLS, AUTH), NO_ENVELOPE),
            arguments(*HELO_KEYS, Variable("extensions", "array", "The extensions to be announced on EHLO")),
        ),
        implicit("accept"),
        failure("defer"),
        {
            "accept": Answer(250, None, "Hello"),
            "reject": Answer(554, (5, 7, 1), POLICY),
            "defer": Answer(450, (4, 7, 0), LATER),
        },
        Answer(450, (4, 3, 0), TROUBLE),
    ),
    Stage(
        "auth",
        "On AUTH, with the name and password of PLAIN or LOGIN; with other mechanisms for each response of the client",
        variables(
            GREETED,
            (connection(HELO, TLS), NO_ENVELOPE),
            arguments(
                Variable("username", "string", "The user name (PLAIN and LOGIN only)"),
                Variable("password", "string", "The password (PLAIN and LOGIN only)"),
                Variable("mechanism", "string", "The SASL mechanism, upper case"),
                Variable("state", "number", "How many challenges there were (not with PLAIN and LOGIN)"),
                Variable("response", "string", "The response, decoded, if there is one (not with PLAIN and LOGIN)"),
            ),
            (Variable("saslpassword", "string", "The password"),),
        ),
        implicit("reject"),
        failure("defer"),
        {
            "accept": Answer(235, (2, 7, 0), "Authentication successful"),
            "reply": Answer(334, None, ""),
            "reject": Answer(535, (5, 7, 8), "Authentication credentials invalid"),
            "defer": Answer(454, (4, 7, 0), "Temporary authentication failure"),
        },
        Answer(454, (4, 7, 0), "Temporary authentication failure"),
    ),
    Stage(
        "mailfrom",
        "On MAIL FROM",
        variables(
            ENVELOPE,
            (NO_ENVELOPE,),
            arguments(
                Variable("sender", "string", "The sender's address, lower case"),
                Variable("address", "array", "The sender's address in its two parts", keys=ADDRESS),
                Variable("params", "array", "The parameters of MAIL FROM, name to value"),
            ),
        ),
        implicit("accept"),
        failure("defer"),
        {
            "accept": Answer(250, (2, 1, 0), "Ok"),
            "reject": Answer(554, (5, 7, 1), POLICY),
            "defer": Answer(450, (4, 7, 1), LATER),
        },
        Answer(450, (4, 3, 0), TROUBLE),
    ),
    Stage(
        "rcptto",
        "On RCPT TO, for each recipient; an explicit Accept() relays",
        variables(
            ENVELOPE,
            RECIPIENT_NAMES,
            arguments(
                *RECIPIENT_KEYS,
                Variable("relay", "boolean", "Whether the recipient is accepted without an explicit Accept()"),
            ),
        ),
        implicit("accept"),
        failure("defer"),
        {
            "accept": Answer(250, (2, 1, 5), "Ok"),
            "reject": Answer(554, (5, 7, 1), POLICY),
            "defer": Answer(450, (4, 7, 1), LATER),
        },
        Answer(450, (4, 3, 0), TROUBLE),
    ),
    Stage(
        "data",
        "At the end of data, for each recipient",
        variables(
            ENVELOPE,
            RECIPIENT_NAMES,
            arguments(*RECIPIENT_KEYS, Variable("mail", "object", "The message, a MailMessage")),
            MESSAGE_NAMES,
        ),
        implicit("deliver"),
        failure("defer"),
        {
            "deliver": Answer(250, (2, 0, 0), "Ok"),
            "delete": Answer(250, (2, 0, 0), "Ok"),
            "held": Answer(250, (2, 0, 0), "Ok"),  # Quarantine() with reject false
            "quarantine": Answer(550, (5, 7, 1), POLICY),
            "reject": Answer(550, (5, 7, 1), POLICY),
            "defer": Answer(421, (4, 7, 1), LATER),
        },
        Answer(421, (4, 3, 0), TROUBLE),
    ),
    Stage(
        "eod",
        "At the end of data, once for the message; it queues what the script queues, when it accepts",
        variables(
            ENVELOPE,
            arguments(
                Variable("mail", "object", "The message, an EODMailMessage"),
                later("metadata", "any", NO_SUBMISSION),
                later("http", "array", NO_SUBMISSION),
            ),
            MESSAGE_NAMES,
            (RECEIVED,),
        ),
        implicit("defer"),
        failure("defer"),
        {
            "accept": Answer(250, (2, 0, 0), "Ok"),
            "reject": Answer(550, (5, 7, 1), POLICY),
            "defer": Answer(421, (4, 7, 1), LATER),
        },
        Answer(421, (4, 3, 0), TROUBLE),
    ),
    Stage(
        "disconnect",
        "When a session is over",
        variables(
            GREETED,
            arguments(
                Variable("close", "string", "QUIT; client: it went without; server: we closed; error: it broke"),
                Variable(
                    "reply",
                    "array",
                    "The last reply, if there was one",
                    keys=(
                        *RESULT_KEYS[:3],
                        Variable("state", "string", "What it answered: BANNER, EHLO, …, EOD"),
                    ),
                ),
                Variable(
                    "error",
                    "array",
                    "What broke, if something did",
                    keys=(
                        Variable("reason", "string", "In words"),
                        Variable("type", "string", "disconnect, timeout or tls"),
                        Variable("code", "number", "The system's number of it, if it has one"),
                    ),
                ),
            ),
        ),
        implicit("pass"),
        failure("pass"),
    ),
    Stage(
        "predelivery",
        "Before each delivery attempt",
        variables(
            QUEUED,
            arguments(Variable("retry", "number", "The retry count"), QUEUE_PLUGIN),
            (
                Variable("sourceip", "string", "The source address; empty leaves it to the system"),
                Variable("destination", "string", "The destination host, or lookup-mx"),
                Variable("destinationport", "number", "The destination's TCP port"),
            ),
        ),
        implicit("try"),
        failure("queue", delay=300.0, increment_retry=False),
    ),
    Stage(
        "postdelivery",
        "After each delivery attempt, and when a message leaves the queue without one",
        variables(
            QUEUED,
            arguments(
                Variable("retry", "number", "The retry count"),
                Variable("expired", "boolean", "Whether its retries or its time are used up"),
                Variable(
                    "grouping", "string", "The grouping of the mail host (`queues.grouping`), if an attempt was made"
                ),
                Variable("policy", "array", "The policies that the attempt was counted by", keys=POLICY_KEYS),
                Variable(
                    "action", "string", "What happens by default: QUEUE, BOUNCE, DELETE; missing after a delivery"
                ),
                ATTEMPT,
                later("dsn", "array", "reports are made after the script"),
                QUEUE_PLUGIN,
            ),
            (
                Variable("sourceip", "string", "The source address of the attempt"),
                Variable("serverip", "string", "The address that we tried to connect to; empty on DNS errors"),
                Variable("serverport", "number", "The port that we tried to connect to"),
                Variable("destination", "string", "The mail host that we tried to connect to"),
                Variable("destinationport", "number", "The port that we tried to connect to"),
                Variable("transfertime", "number", "How long the attempt took, in seconds"),
                Variable("errorcode", "number", "The remote's reply code; 0 without a reply"),
                Variable("errormsg", "string", "The remote's reply, or what went wrong"),
                Variable("errorndr", "string", "The enhanced status code, like 5.1.1, if there is one"),
            ),
        ),
        implicit("default"),
        failure("default"),
    ),
)
STAGES: Mapping[str, Stage] = {stage.name: stage for stage in TABLE}
ABSENT: Mapping[str, str] = {  # stages of the references that there are not, and why
    "api": "it decides who may log in to the vendor's web interface",
    "proxy": "sessions are not relayed command by command; the stages of the server decide",
}


def unknown_stage(name: str) -> str:
    """What to say of a name that is no stage's."""
    hint = f": {ABSENT[name]}" if name in ABSENT else f"; {near(name, STAGES) or 'there are ' + ', '.join(STAGES)}"
    return f"there is no stage {name!r}{hint}"


def registry(stage: str) -> Registry:
    """The functions that a stage's scripts can call."""
    return core_registry(CHAPTERS, stage)


def environment(stage: str, loader: Loader | None = None) -> Environment:
    """What the scripts of a stage are compiled against. Raises KeyError for an unknown stage."""
    return Environment(registry(stage), STAGES[stage].variables, loader, elsewhere)


def stages_of(name: str) -> tuple[str, ...]:
    """The stages, in order, that have a mail function of that name or older name; none for the library's functions."""
    found: set[str] = set()
    for chapter in CHAPTERS:
        for entry in chapter.entries:
            if name == entry.name or name in entry.aliases:
                found |= entry.stages or set()
    return tuple(stage.name for stage in TABLE if stage.name in found)


def elsewhere(name: str) -> str | None:
    """A hint for a function that other stages have."""
    stages = stages_of(name)
    if not stages:
        return None
    shown = stages[0] if len(stages) == 1 else ", ".join(stages[:-1]) + " and " + stages[-1]
    return f"{name}() is only available in {shown}"
