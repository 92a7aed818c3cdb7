"""The functions of the session, of the queue's stages, and those of every stage."""

from __future__ import annotations

from typing import Any

import pytest

from hsl.runtime.context import (
    AuthContext,
    ConnectContext,
    DisconnectContext,
    HeloContext,
    MailFromContext,
    PostDeliveryContext,
    PreDeliveryContext,
    RcptToContext,
)
from hsl.runtime.model import Address, Attempt, AttemptError, DeliveryPlan, QueueEntry, Recipient, Result
from hsl.runtime.verdict import Verdict

pytestmark = pytest.mark.asyncio


async def session(world: Any, stage: str, script: str) -> Verdict:
    connection, transaction = world.connection, world.transaction
    contexts = {
        "connect": lambda: ConnectContext(connection, transaction),
        "helo": lambda: HeloContext(connection, transaction, "EHLO", b"h.example", ["SIZE"]),
        "auth": lambda: AuthContext(connection, transaction, "PLAIN", b"u", b"tops3cret"),
        "mailfrom": lambda: MailFromContext(connection, transaction, Address.of(b"a@b.example"), {}),
        "rcptto": lambda: RcptToContext(connection, transaction, Recipient(Address.of(b"c@d.example"), "outbound")),
        "disconnect": lambda: DisconnectContext(connection, transaction),
    }
    verdict: Verdict = await world.runner(**{stage: script}).run(contexts[stage]())
    return verdict


ACCEPTED = [
    (
        "connect",
        'Accept(["remoteip" => "2001:db8:0::1", "remoteptr" => "p"]);',
        {"remoteip": "2001:db8::1", "remoteptr": "p"},
    ),
    ("connect", 'Accept(["priority" => 1]);', {"priority": 1}),
    ("connect", 'Accept(["priority" => 0]);', {"priority": 0}),
    ("connect", "Allow();", {}),
    ("helo", 'Accept(["host" => "x", "extensions" => ["A", "B"]]);', {"host": b"x", "extensions": ("A", "B")}),
    ("auth", 'Accept(["username" => "v"]);', {"username": b"v"}),
    ("mailfrom", 'Accept(["sender" => ""]);', {"sender": Address(b"", b"")}),
    ("mailfrom", 'Accept(["sender" => ["localpart" => "S", "domain" => "t"]]);', {"sender": Address(b"S", b"t")}),
    (
        "rcptto",
        'Accept(["recipient" => "x@y", "transportid" => "archive"]);',
        {"recipient": Address(b"x", b"y"), "transportid": "archive"},
    ),
]


@pytest.mark.parametrize(("stage", "script", "options"), ACCEPTED)
async def test_what_accept_changes_is_in_its_options(
    world: Any, stage: str, script: str, options: dict[str, Any]
) -> None:
    verdict = await session(world, stage, script)
    assert (verdict.action, verdict.explicit, verdict.options) == ("accept", True, options)


BLOCKED = [
    ("Block();", "reject", None, None),
    ('Block("go away");', "reject", ("go away",), None),
    ('Block("421 later, please");', "defer", ("later, please",), 421),
    ('Block(["554-one", "554 two"]);', "reject", ("one", "two"), 554),
    ('Block("550");', "reject", None, 550),
    ('Block("250 welcome");', "reject", ("250 welcome",), None),
]


@pytest.mark.parametrize(("script", "action", "reason", "code"), BLOCKED)
async def test_block(world: Any, script: str, action: str, reason: tuple[str, ...] | None, code: int | None) -> None:
    verdict = await session(world, "connect", script)
    assert (verdict.action, verdict.reason, verdict.code) == (action, reason, code)
    assert world.runner().reply("connect", verdict).close


async def test_refusals_can_disconnect(world: Any) -> None:
    verdict = await session(world, "mailfrom", 'Reject("x", ["disconnect" => true]);')
    assert world.runner().reply("mailfrom", verdict).close
    assert (await session(world, "disconnect", "Pass();")).action == "pass"


WRONG = [
    ("connect", 'Accept(["remoteip" => "x"]);', "wanted an IP address"),
    ("connect", 'Accept(["priority" => 2]);', "Accept(): option priority: wanted 0 or 1, got 2"),
    ("helo", 'Accept(["extensions" => [1]]);', "wanted strings, got number"),
    ("auth", 'Accept(["reply_codes" => ["code" => 535]]);', "wanted a code 200-299, got 535"),
    ("auth", 'Reply("x");', "PLAIN and LOGIN are built in"),
    ("mailfrom", 'Accept(["sender" => "x y@z"]);', "wanted an email address"),
    ("rcptto", 'Accept(["recipient" => ""]);', "wanted an email address"),
    ("rcptto", 'Accept(["transportid" => "archve"]);', "did you mean archive?"),
    ("rcptto", "Reject(1);", "Reject(): parameter 1 (reason): wanted array or string, got number"),
    ("rcptto", 'rate("a", "b", 1, 0);', "wanted seconds"),
    ("rcptto", 'rate("a", "b", 1000001, 1);', "parameter 3 (count): wanted 0 to 1000000, got 1000001"),
    ("rcptto", 'GetMailQueueMetric(["metric" => "size"]);', "wanted count or bytes"),
    ("rcptto", 'GetMailQueueMetric(["filter" => ["senderdomian" => "x"]]);', "did you mean senderdomain?"),
    ("rcptto", 'GetMailQueueMetric(["filter" => ["sender" => none]]);', "wanted string, got none"),
]


@pytest.mark.parametrize(("stage", "script", "message"), WRONG)
async def test_wrong_arguments(world: Any, stage: str, script: str, message: str) -> None:
    assert (await session(world, stage, script)).error
    assert world.logged("script-error", message)


async def test_rate(world: Any) -> None:
    script = """echo rate("ns", "e", 2, 60) === true; echo rate("ns", "e", 2, 60) === true;
    echo rate("ns", "e", 2, 60) === false; echo rate("ns", "e", 0, 60) === 2; echo rate("ns", 7, 0, 60) === 0;"""
    await session(world, "rcptto", script)
    assert [line.rpartition("text=")[2] for line in world.logged("echo")] == ["true"] * 5


METRICS = [
    ("", "count", {}),
    ('["metric" => "bytes"]', "bytes", {}),
    ('["filter" => ["senderdomain" => "B.Example"]]', "count", {"senderdomain": [b"b.example"]}),
    ('["filter" => ["senderdomain" => ["A", "b"], "retry" => 1]]', "count",
     {"senderdomain": [b"a", b"b"], "retry": [b"1"]}),
    ('["filter" => ["saslusername" => "Alice", "senderip" => "::1"]]', "count",
     {"saslusername": [b"Alice"], "senderip": [b"::1"]}),
    ('["filter" => ["transportid" => "T", "sender" => "", "recipientdomain" => "X"]]', "count",
     {"transportid": [b"T"], "sender": [b""], "recipientdomain": [b"x"]}),
]  # fmt: skip


@pytest.mark.parametrize(("options", "metric", "filters"), METRICS)
async def test_queue_metric(world: Any, options: str, metric: str, filters: dict[str, list[bytes]]) -> None:
    world.queue.answer = 17
    verdict = await session(world, "rcptto", f'Reject("" . GetMailQueueMetric({options}));')
    assert verdict.reason == ("17",)
    assert world.queue.asked == [(metric, filters)]


async def test_queue_metric_of_no_value_is_zero(world: Any) -> None:
    world.queue.answer = 17
    verdict = await session(world, "rcptto", 'Reject("" . GetMailQueueMetric(["filter" => ["sender" => []]]));')
    assert verdict.reason == ("0",)


def entry() -> QueueEntry:
    made = QueueEntry("t-2", Address.of(b"A@b.example"), Address.of(b"C@d.example"), "outbound", id=17, retry=3)
    made.metadata = {b"spam": b"yes"}
    return made


async def before(world: Any, script: str, holder: str = "h-1") -> tuple[Verdict, PreDeliveryContext]:
    queued = entry()
    plan = DeliveryPlan(queued.sender, queued.recipient)
    context = PreDeliveryContext(queued, plan, 30, holder)
    return await world.runner(predelivery=script).run(context), context


QUEUED = [
    ("Reschedule(20);", {"delay": 20.0, "increment_retry": True, "reset_retry": False}),
    (
        'Reschedule(1, ["reason" => "busy", "increment_retry" => false, "reset_retry" => true]);',
        {"delay": 1.0, "increment_retry": False, "reset_retry": True},
    ),
    (
        'Reschedule(1, ["transportid" => "archive"]);',
        {"delay": 1.0, "increment_retry": True, "reset_retry": False, "transportid": "archive"},
    ),
    ("Queue();", {"hold": False, "increment_retry": True, "reset_retry": False}),
    (
        'Queue(["delay" => 9, "hold" => true, "reset_retry" => true, "transportid" => "archive"]);',
        {"delay": 9.0, "hold": True, "increment_retry": True, "reset_retry": True, "transportid": "archive"},
    ),
    (
        'Queue(["quotas" => ["a", "b", "a"]]);',
        {"hold": False, "increment_retry": True, "reset_retry": False, "quotas": (b"a", b"b")},
    ),
    ('Queue(["quotas" => []]);', {"hold": False, "increment_retry": True, "reset_retry": False, "quotas": ()}),
]


@pytest.mark.parametrize(("script", "options"), QUEUED)
async def test_back_to_the_queue(world: Any, script: str, options: dict[str, Any]) -> None:
    verdict, _ = await before(world, script)
    assert (verdict.action, verdict.options) == ("queue", options)
    assert verdict.reason == (("busy",) if "busy" in script else None)


@pytest.mark.parametrize(
    ("script", "action"), [("Delete();", "delete"), ("Bounce();", "bounce"), ("Try();", "try"), ("", "try")]
)
async def test_other_verdicts_before(world: Any, script: str, action: str) -> None:
    assert (await before(world, script))[0].action == action


async def test_the_set_functions_change_the_plan(world: Any) -> None:
    script = """SetSourceIP("netaddr:4"); SetDestination("mx.example.net", 2525); SetHELO("helo.example");
    SetSASL("u", "p"); SetProtocol("smtp"); SetSender("s@t.example"); SetRecipient("r@t.example");
    SetMetaData(GetMetaData() + ["more" => "1"]);
    echo "$sourceip $destination $destinationport $sender $senderdomain $recipient $recipientdomain";"""
    verdict, context = await before(world, script)
    plan = context.plan
    assert verdict.action == "try"
    assert plan.source is not None
    assert (plan.source.address, plan.source.helo, plan.source.id) == ("10.0.0.4", "mail4.example.com", "4")
    assert (plan.host, plan.port, plan.helo) == ("mx.example.net", 2525, "helo.example")
    assert (plan.username, plan.password) == (b"u", b"p")
    assert (plan.sender.path, plan.recipient.path) == (b"s@t.example", b"r@t.example")
    assert context.entry.sender.path == b"A@b.example", "the entry keeps its own"
    assert context.entry.metadata == {b"spam": b"yes", b"more": b"1"}
    assert world.logged("10.0.0.4 mx.example.net 2525 s@t.example t.example r@t.example t.example")


async def test_try_options(world: Any) -> None:
    script = """Try(["host" => "192.0.2.1", "port" => 26, "helo" => "h", "sourceip" => [["id" => "2", "helo" => "x"]],
        "sender" => "", "recipient" => "r@t.example", "saslusername" => "u", "saslpassword" => "p",
        "tls" => "require", "connect_timeout" => 5, "jobid" => "j", "protocol" => "smtp", "pooling" => false]);"""
    verdict, context = await before(world, script)
    plan = context.plan
    assert verdict.action == "try"
    assert (plan.host, plan.port, plan.helo, plan.tls, plan.connect_timeout) == ("192.0.2.1", 26, "h", "require", 5.0)
    assert plan.source is not None
    assert (plan.source.address, plan.source.helo) == ("10.0.0.2", "x")
    assert (plan.sender.path, plan.recipient.path, plan.username, plan.password) == (b"", b"r@t.example", b"u", b"p")
    assert context.entry.jobid == b"j"
    assert not plan.pooling
    assert (await before(world, "Try([]);"))[1].plan.pooling


SOURCES = [
    ('SetSourceIP("netaddr:1");', ("10.0.0.1", "1", False)),
    ('SetSourceIP("198.51.100.1", ["nonlocal_source" => true]);', ("198.51.100.1", None, True)),
    ('Try(["sourceip" => ["3"]]);', ("10.0.0.3", "3", False)),
    ('Try(["sourceip" => [["address" => "198.51.100.1"]], "nonlocal_source" => true]);', ("198.51.100.1", None, True)),
    ('Try(["sourceip" => ["address" => "198.51.100.1"]]);', ("198.51.100.1", None, False)),
]


@pytest.mark.parametrize(("script", "wanted"), SOURCES)
async def test_sources(world: Any, script: str, wanted: tuple[str, str | None, bool]) -> None:
    _, context = await before(world, script)
    source = context.plan.source
    assert source is not None
    assert (source.address, source.id, source.nonlocal_source) == wanted


WRONG_BEFORE = [
    ('SetSourceIP("netaddr:9");', "there is no address '9'"),
    ('SetSourceIP("10.0.0.1");', "wanted netaddr:ID"),
    ('SetSourceIP("x", ["nonlocal_source" => true]);', "wanted an IP address"),
    ('SetDestination("a b");', "wanted a host name or an IP address"),
    ('SetDestination("x\\r\\nQUIT");', "wanted a host name or an IP address"),
    ('SetDestination("x", 70000);', "wanted 1 to 65535"),
    ('SetHELO("a\\r\\nb");', "wanted a host name"),
    ('SetProtocol("uucp");', "wanted smtp or lmtp, got uucp"),
    ('SetDSN(["dkim" => []]);', "SetDSN(): option dkim: wanted selector, domain and key"),
    ('SetDSN(["dkim" => ["selector" => "s", "domain" => "d.example", "key" => "x"]]);', "wanted an RSA private key"),
    ('SetDSN(["dkim" => ["selector" => "", "domain" => "d.example", "key" => "x"]]);', "option dkim: parameter 1"),
    ('Queue(["dsn" => ["dkim" => ["selector" => "s"]]]);', "Queue(): option dkim: wanted selector, domain and key"),
    ('SetDSN(["from" => "x y"]);', "option from: wanted an email address"),
    ('Try(["tls_sni" => "a b"]);', "option tls_sni: wanted a host name"),
    ('Try(["tls_protocols" => "TLSv9"]);', "option tls_protocols: wanted some of"),
    ('Try(["tls_ciphers" => "none-such"]);', "OpenSSL knows none of"),
    ('Try(["tls_verify_name" => ["a b"]]);', "option tls_verify_name: wanted host names"),
    ('Try(["tls_client_cert" => "pki:1"]);', "give the PEM text"),
    ('SetTLS(["tls_client_cert" => "nothing"]);', "SetTLS(): option tls_client_cert: wanted a certificate"),
    ('Try(["xclient" => ["ADDR" => "a b"]]);', "ADDR: wanted printable ASCII"),
    ('Try(["timeout" => ["MAIK" => 5]]);', "did you mean MAIL?"),
    ('Try(["timeout" => ["MAIL" => 0]]);', "timeout MAIL: wanted seconds up to 3600"),
    ('Try(["mx_include" => ["a b"]]);', "option mx_include: wanted host names"),
    ('SetTLS(["tls" => "dane"]);', "SetTLS(): option tls: dane is not supported"),
    ('SetSenderParams(["A B" => "x"]);', "wanted a name of letters"),
    ('SetRecipientParams(["NOTIFY" => "a\\r\\nRSET"]);', "NOTIFY: wanted printable ASCII"),
    ('Try(["tls" => "dane"]);', "dane is not supported in this version"),
    ('Try(["tls" => "requir"]);', "did you mean require?"),
    ('Try(["sourceip" => []]);', "at least one"),
    ('Try(["connect_timeout" => 0]);', "wanted seconds"),
    ("Reschedule(-1);", "wanted seconds from 0"),
    ('Queue(["transportid" => "x"]);', "there is no transport"),
    ('Queue(["quotas" => [""]]);', "wanted a name of 1 to 200 bytes"),
    ('CurrentConnections("a", "b", -1);', "wanted 0 to"),
    ('SetMetaData([1 => "x"]);', "wanted string keys"),
]


@pytest.mark.parametrize(("script", "message"), WRONG_BEFORE)
async def test_wrong_use_before_delivery_queues_for_300_seconds(world: Any, script: str, message: str) -> None:
    verdict, context = await before(world, script)
    assert (verdict.action, verdict.error) == ("queue", True)
    assert verdict.options == {"delay": 300.0, "increment_retry": False}
    assert world.logged("script-error", message)
    assert context.plan.source is None, "never another address"


async def test_current_connections(world: Any) -> None:
    script = 'if (CurrentConnections("to-domain", $recipientdomain, 2) == false) Reschedule(5); Try();'
    actions = [(await before(world, script, holder))[0].action for holder in ("a", "b", "c", "a")]
    assert actions == ["try", "try", "queue", "try"]
    await world.slots.release("a")
    assert (await before(world, script, "c"))[0].action == "try"


DELIVERED = Attempt(result=Result(250, None, ["ok"], "EOD"))
REFUSED = Attempt(result=Result(550, (5, 1, 1), ["no"], "RCPT"))
LOST = Attempt(error=AttemptError(True, "timed out"))


async def after(world: Any, script: str, attempt: Attempt | None) -> tuple[Verdict, QueueEntry]:
    queued = entry()
    context = PostDeliveryContext(queued, attempt, None if attempt is DELIVERED else "QUEUE", 30, None)
    return await world.runner(postdelivery=script).run(context), queued


AFTER = [
    ("", "default"),
    ("Default();", "default"),
    ("Retry();", "queue"),
    ('Queue(["delay" => 3]);', "queue"),
    ("Bounce();", "bounce"),
    ("GenerateDSN();", "bounce"),
    ("Delete();", "delete"),
    ('Deliver("x@y.example", "archive");', "deliver"),
    ("if ($errorcode >= 400) Bounce(); Retry();", "bounce"),
]


@pytest.mark.parametrize(("script", "action"), AFTER)
async def test_verdicts_after(world: Any, script: str, action: str) -> None:
    verdict, _ = await after(world, script, REFUSED)
    assert (verdict.action, verdict.error) == (action, False)
    if action == "deliver":
        assert verdict.options == {"recipient": Address(b"x", b"y.example"), "transportid": "archive"}


@pytest.mark.parametrize("call", ["Retry()", "Queue()", "Bounce()", "Delete()"])
async def test_a_delivered_message_stays_delivered(world: Any, call: str) -> None:
    verdict, _ = await after(world, f"{call};", DELIVERED)
    assert (verdict.action, verdict.error) == ("default", True)
    assert world.logged("the message was delivered")
    assert not (await after(world, f"{call};", LOST))[0].error
    assert not (await after(world, f"{call};", None))[0].error


async def test_metadata_after(world: Any) -> None:
    _, queued = await after(world, 'SetMetaData(["n" => GetMetaData()["spam"]]);', LOST)
    assert queued.metadata == {b"n": b"yes"}


async def test_failures_are_counted(world: Any) -> None:
    script = 'if ($errorcode >= 400) rate("delivery-failures", $senderdomain, 1000, 3600);'
    for attempt in (REFUSED, LOST, DELIVERED, REFUSED):
        await after(world, script, attempt)
    assert await world.services.rates.rate(b"delivery-failures", b"b.example", 0, 3600.0) == 2
