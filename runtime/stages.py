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
from hsl.runtime.variables import (
    ADDRESS,
    ATTEMPT,
    AUTH,
    BASE,
    ENDPOINTS,
    ENVELOPE,
    GREETED,
    HELO,
    HELO_KEYS,
    MESSAGE_NAMES,
    NO_ENVELOPE,
    NO_PROXY,
    NO_SUBMISSION,
    POLICY_KEYS,
    QUEUE_PLUGIN,
    QUEUED,
    RECEIVED,
    RECIPIENT_KEYS,
    RECIPIENT_NAMES,
    RESULT_KEYS,
    TLS,
    arguments,
    connection,
    later,
    variables,
)
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
