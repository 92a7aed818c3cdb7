"""The table of stages against what contexts build, what functions declare, and the reference's defaults."""

from __future__ import annotations

from typing import Any

import pytest

from hsl.compiler import Variable
from hsl.errors import CompileError
from hsl.runtime.context import (
    AuthContext,
    ConnectContext,
    Context,
    DataContext,
    DisconnectContext,
    EodContext,
    HeloContext,
    MailFromContext,
    PostDeliveryContext,
    PreDeliveryContext,
    RcptToContext,
)
from hsl.runtime.data import MessageState
from hsl.runtime.dsnrequest import DSNRequest
from hsl.runtime.message import BytesBody, Message
from hsl.runtime.model import (
    Address,
    Attempt,
    AttemptError,
    DeliveryPlan,
    Ending,
    PeerCert,
    QueueEntry,
    Recipient,
    Result,
    SourceIP,
    TLSInfo,
)
from hsl.runtime.policies import Limits, Rule
from hsl.runtime.policyfields import Match
from hsl.runtime.reply import reply
from hsl.runtime.stages import CHAPTERS, STAGES, TABLE, environment, registry, stages_of
from hsl.values import Array, Value, to_text, type_name

NAMES = ["connect", "helo", "auth", "mailfrom", "rcptto", "data", "eod", "disconnect", "predelivery", "postdelivery"]

ENTRY = QueueEntry(
    transaction="t-9",
    sender=Address.of(b"Alice@Example.ORG"),
    recipient=Address.of(b"Bob@Example.COM"),
    transportid="outbound",
    serverid="inbound",
    senderip="192.0.2.9",
    senderhelo=b"client.example",
    saslusername=b"alice",
    jobid=b"job",
    tenantid=b"tenant",
    priority=1,
    actionid=2,
    size=1234,
    dsn=DSNRequest("FULL", "id+20one", ("FAILURE", "DELAY"), "rfc822;bob@example.com"),
    ts=1.5,
    retry=3,
    id=17,
)
ENDING = Ending("error", reply(250, "Ok", (2, 0, 0)), "EOD", "Connection reset by peer", "disconnect", 104)
PEERCERT = PeerCert(b"0", (b"0", b"1"), 18)
FAILED = Attempt(
    result=Result(550, (5, 1, 1), ["no such user", "here"], "RCPT"),
    localip="10.0.0.2",
    remoteip="203.0.113.5",
    remoteport=25,
    remotemx="mx.example.com",
    helo="mail2.example.com",
    tls=TLSInfo("TLSv1.3", "AES", 256, peercert=PEERCERT),
    tlsrpt="validation-failure",
    localipid="4",
    connection="c-1",
    transactions=2,
    greeting=("mx.example.com ESMTP",),
    duration=0.5,
)


def contexts(world: Any) -> dict[str, Context]:
    connection, transaction = world.connection, world.transaction
    world.login(b"alice")
    connection.tls = TLSInfo("TLSv1.3", "AES", 256, "mx.example.org", PEERCERT)
    connection.remoteptr = "client.example"
    transaction.senderparams = {"SIZE": "100"}
    recipient = Recipient(Address.of(b"Bob@Example.COM"), "outbound", {"NOTIFY": "NEVER"})
    transaction.recipients = [recipient]
    state = MessageState(connection, transaction, Message(BytesBody(b"\r\n")))
    plan = DeliveryPlan(ENTRY.sender, ENTRY.recipient, host="mx.example.com", source=SourceIP("10.0.0.1"))
    both = Attempt(**{name: getattr(FAILED, name) for name in FAILED.__slots__})
    both.error = AttemptError(True, "timed out", "timeout", dns="TIMEOUT")  # a shape to look at, both at once
    limits = Limits(2, (3, 60.0), 1.0, properties=(("why", b"x"),))
    rule = Rule("1", Match.of({"jobid": "j"}), tag="slow", fields=("jobid",), limits=limits)
    made = [
        ConnectContext(connection, transaction),
        HeloContext(connection, transaction, "EHLO", b"client.example", ["SIZE 1"]),
        AuthContext(connection, transaction, "plain", b"alice", b"secret"),
        MailFromContext(connection, transaction, Address.of(b"Eve@Example.NET"), {"SIZE": "1"}),
        RcptToContext(connection, transaction, recipient),
        DataContext(connection, transaction, recipient, state),
        EodContext(connection, transaction, state, 12.5),
        DisconnectContext(connection, transaction, ENDING),
        PreDeliveryContext(ENTRY, plan, 30, "holder"),
        PostDeliveryContext(ENTRY, both, "BOUNCE", 30, None, rules=[rule], grouping="&big"),
    ]
    world.queue.body = lambda entry: BytesBody(b"Subject: x\r\n\r\n")  # a queue that holds messages
    for context in made:
        context.services = world.services
    return {context.stage: context for context in made}


def test_the_stages() -> None:
    assert [stage.name for stage in TABLE] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_variables_are_as_the_table_says(world: Any, name: str) -> None:
    context = contexts(world)[name]
    declared = STAGES[name].variables
    assert set(declared) == set(context.values), "each variable stands in both tables"
    for variable in declared.values():
        check_shape(variable, context.variable(variable.name))
        assert variable.doc
        assert variable.readonly == (variable.name != "context")
    with pytest.raises(KeyError):
        context.variable("nothing")


EITHER = {"state", "response"}  # at auth, instead of username and password: mechanisms by script


def check_shape(variable: Variable, value: Value) -> None:
    assert variable.type in (type_name(value), "any"), variable.name
    if variable.keys:
        assert isinstance(value, Array)
        keys = {item.name: item for item in variable.keys if not item.later}
        given = {to_text(key): item for key, item in value.pairs()}
        assert set(given) <= set(keys), variable.name
        assert set(keys) - set(given) <= {"started", "sni", *EITHER}, f"{variable.name}: everything is there to be seen"
        for key, item in given.items():
            check_shape(keys[key], item)


VALUES = [
    ("connect", "family", "ipv4"),
    ("connect", "senderip", "192.0.2.9"),
    ("helo", "senderhelo", "client.example"),
    ("auth", "saslpassword", "secret"),
    ("mailfrom", "sender", "eve@example.net"),
    ("mailfrom", "senderdomain", "example.net"),
    ("rcptto", "sender", "alice@example.org"),
    ("rcptto", "senderlocalpart", "Alice"),
    ("rcptto", "recipient", "bob@example.com"),
    ("rcptto", "recipientlocalpart", "Bob"),
    ("rcptto", "recipientdomain", "example.com"),
    ("rcptto", "saslusername", "alice"),
    ("rcptto", "saslauthed", "true"),
    ("data", "messageid", "t-1"),
    ("data", "actionid", "1"),
    ("data", "recipients", '[0=>"bob@example.com"]'),
    ("data", "recipientdomains", '[0=>"example.com"]'),
    ("predelivery", "sourceip", "10.0.0.1"),
    ("predelivery", "destination", "mx.example.com"),
    ("predelivery", "queueid", "17"),
    ("predelivery", "retries", "30"),
    ("postdelivery", "errorcode", "550"),
    ("postdelivery", "errorndr", "5.1.1"),
    ("postdelivery", "errormsg", "5.1.1 no such user here"),
    ("postdelivery", "transfertime", "0.5"),
    ("postdelivery", "serverip", "203.0.113.5"),
    ("postdelivery", "messageid", "t-9"),
]


@pytest.mark.parametrize(("stage", "name", "wanted"), VALUES)
def test_values(world: Any, stage: str, name: str, wanted: str) -> None:
    assert to_text(contexts(world)[stage].variable(name)) == wanted


def test_the_null_sender_is_empty(world: Any) -> None:
    world.transaction.sender = Address(b"", b"")
    context = RcptToContext(world.connection, world.transaction, Recipient(Address.of(b"b@c.d"), "outbound"))
    assert [context.variable(name) for name in ("sender", "senderdomain", "saslusername")] == [b"", b"", b""]


OUTCOMES = [
    (Attempt(error=AttemptError(True, "no route")), 0.0, b"no route", b""),
    (Attempt(error=AttemptError(False, "no such domain", "dns", (5, 1, 2))), 0.0, b"no such domain", b"5.1.2"),
    (Attempt(result=Result(250, (2, 0, 0), ["ok"], "EOD")), 250.0, b"2.0.0 ok", b"2.0.0"),
    (Attempt(result=Result(450, None, ["busy"], "MAIL")), 450.0, b"busy", b""),
    (None, 0.0, b"", b""),
]


@pytest.mark.parametrize(("attempt", "code", "text", "ndr"), OUTCOMES)
def test_outcomes(attempt: Attempt | None, code: float, text: bytes, ndr: bytes) -> None:
    context = PostDeliveryContext(ENTRY, attempt, None, 30, None)
    assert [context.variable(name) for name in ("errorcode", "errormsg", "errorndr")] == [code, text, ndr]
    arguments = context.variable("arguments")
    assert isinstance(arguments, Array)
    assert not arguments.has(b"action")


DEFAULTS = [  # reference 2019: implicit termination, script error
    ("connect", "accept", "defer"),
    ("helo", "accept", "defer"),
    ("auth", "reject", "defer"),
    ("mailfrom", "accept", "defer"),
    ("rcptto", "accept", "defer"),
    ("data", "deliver", "defer"),
    ("eod", "defer", "defer"),
    ("disconnect", "pass", "pass"),
    ("predelivery", "try", "queue"),
    ("postdelivery", "default", "default"),
]


@pytest.mark.parametrize(("stage", "implicit", "error"), DEFAULTS)
def test_defaults(stage: str, implicit: str, error: str) -> None:
    row = STAGES[stage]
    assert (row.implicit.action, row.implicit.explicit, row.implicit.error) == (implicit, False, False)
    assert (row.on_error.action, row.on_error.explicit, row.on_error.error) == (error, False, True)


def test_a_predelivery_error_queues_for_300_seconds_uncounted() -> None:
    assert STAGES["predelivery"].on_error.options == {"delay": 300.0, "increment_retry": False}


def test_every_function_is_in_the_stages_it_names() -> None:
    for chapter in CHAPTERS:
        for builtin in chapter.functions:
            assert builtin.stages, builtin.name
            assert builtin.summary
            for stage in NAMES:
                found = registry(stage).get(builtin.name)
                assert (found is builtin) == (stage in builtin.stages), (builtin.name, stage)


ELSEWHERE = [
    ("Reschedule", ("predelivery",)),
    ("GenerateDSN", ("predelivery", "postdelivery")),
    ("Abort", ("data",)),
    ("Accept", ("connect", "helo", "auth", "mailfrom", "rcptto", "eod")),
    ("rate", tuple(NAMES)),
    ("strlen", ()),
]


@pytest.mark.parametrize(("name", "stages"), ELSEWHERE)
def test_stages_of(name: str, stages: tuple[str, ...]) -> None:
    assert stages_of(name) == stages


OUT_OF_STAGE = [
    ("rcptto", "Reschedule(3);", "Reschedule() is only available in predelivery"),
    ("data", 'CurrentConnections("a", "b", 1);', "CurrentConnections() is only available in predelivery"),
    ("predelivery", "ScanSA();", "ScanSA() is only available in data and eod"),
    ("connect", "Bounce();", "Bounce() is only available in predelivery and postdelivery"),
]


@pytest.mark.parametrize(("stage", "script", "hint"), OUT_OF_STAGE)
def test_out_of_stage_is_a_compile_error(world: Any, stage: str, script: str, hint: str) -> None:
    with pytest.raises(CompileError) as caught:
        world.runner(**{stage: script})
    assert hint in str(caught.value)


def test_an_unknown_stage() -> None:
    with pytest.raises(KeyError):
        environment("proxy")
