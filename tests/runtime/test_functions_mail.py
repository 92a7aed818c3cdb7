"""What scripts ask of the mail runtime beside verdicts: metrics, policies, quotas, mail of their own, older names."""

from __future__ import annotations

import hashlib
import json
from base64 import encodebytes
from email import message_from_bytes
from email.header import decode_header, make_header
from email.utils import getaddresses
from typing import Any

import pytest
from cryptography import x509
from pki import Holder

from hsl.errors import ScriptError
from hsl.runtime.context import ConnectContext, HeloContext, MailFromContext, PreDeliveryContext, RcptToContext
from hsl.runtime.dsnrequest import DSNRequest
from hsl.runtime.model import (
    DEFER,
    HOLD,
    Address,
    Attempt,
    AttemptError,
    DeliveryPlan,
    DSNPlan,
    PeerCert,
    QueueEntry,
    Recipient,
    Result,
    SourceIP,
    TLSInfo,
    TLSSettings,
)
from hsl.runtime.network import NetworkPolicy, ScriptNetwork
from hsl.runtime.policies import Blocked, Permit
from hsl.runtime.protocols import BackendUnavailable
from hsl.runtime.verdict import Verdict
from hsl.values import Array, to_text

pytestmark = pytest.mark.asyncio


def rcptto(world: Any) -> RcptToContext:
    return RcptToContext(world.connection, world.transaction, Recipient(Address.of(b"c@d.example"), "outbound"))


async def run(world: Any, script: str) -> Verdict:
    verdict: Verdict = await world.runner(rcptto=script).run(rcptto(world))
    return verdict


async def say(world: Any, expression: str) -> str:
    """What an expression is, as echo shows it."""
    world.lines.clear()
    verdict = await run(world, f'Reject("=" . string({expression}));')
    assert verdict.reason is not None, world.lines
    return verdict.reason[0][1:]


# --- metrics


async def test_metrics(world: Any) -> None:
    assert await say(world, 'metrics_increment("a_total", ["x" => 1, "y" => true])') == "true"
    assert await say(world, 'metrics_increment("a_total", ["y" => "true", "x" => "1"], 2.5)') == "true"
    assert await say(world, 'metrics_get("a_total", ["x" => "1", "y" => "true"])["value"]') == "3.5"
    assert await say(world, 'metrics_decrement("g", [], 2)') == "true"
    assert await say(world, 'metrics_set("g2", ["l" => "\\x00\\xff"], 4)') == "true"
    assert "a_total{" in world.metrics.render()
    assert 'g2{l="\x00\ufffd"} 4' in world.metrics.render()
    assert "\ng -2\n" in world.metrics.render()
    assert await say(world, 'metrics_get("nothing", [])') == "none"


async def test_histograms(world: Any) -> None:
    world.metrics.declare("seconds", "histogram", buckets=[1.0, 2.5])
    for value in (0.5, 2, 9):
        assert await say(world, f'metrics_set("seconds", [], {value})') == "true"
    shown = await say(world, 'json_encode(metrics_get("seconds", []))')
    assert shown == '{"type":"histogram","count":3,"sum":11.5,"buckets":{"1":1,"2.5":2}}'


async def test_a_full_store_gives_none(world: Any) -> None:
    world.metrics.max_series = 1
    assert await say(world, 'metrics_increment("a", ["n" => 1])') == "true"
    for call in ('metrics_increment("a", ["n" => 2])', 'metrics_decrement("b", [])', 'metrics_set("c", [], 1)'):
        assert await say(world, f"{call} === none") == "true"


async def test_stat(world: Any) -> None:
    for _ in range(2):
        await run(world, 'stat("ip-family", ["ipv4" => 1, "ipv6" => 0]);')
    assert 'hsl_stat{legend="ipv4",name="ip-family"} 2\n' in world.metrics.render()
    assert 'hsl_stat{legend="ipv6",name="ip-family"} 0\n' in world.metrics.render()


WRONG = [
    ('metrics_increment("hsl_stat", []);', "the gateway's own"),
    ('metrics_increment("a b", []);', "metrics_increment(): wanted a name"),
    ('metrics_increment("a", ["x" => []]);', "parameter 2 (labels): wanted strings, got array"),
    ('metrics_increment("a", [], -1);', "it cannot go down"),
    ('metrics_decrement("a", [], -1);', "wanted 0 or more"),
    ('metrics_set("a", ["le" => 1], 1);', "wanted a label"),
    ('stat("IP", []);', "wanted a-z, 0-9, . and -"),
    ('stat("a", ["a b" => 1]);', "wanted letters, digits, - and _"),
    ('stat("a", ["b" => "1"]);', "legend b: wanted number, got string"),
    ('queue_suspend(["remotemxx" => "a"], 60);', "did you mean remotemx?"),
    ('queue_suspend(["remoteip" => "a"], 60);', "wanted an IP address or network"),
    ('queue_suspend(["jobid" => 1], 60);', "jobid: wanted string, got number"),
    ("queue_suspend([], 0);", "ttl: wanted seconds"),
    ('queue_suspend([], 60, ["tag" => "123456789012345678901234567890123"]);', "tag: wanted up to 32 bytes, got 33"),
    ("queue_policy([1], [], [], 60);", "parameter 1 (fields): wanted strings"),
    ('queue_policy(["jobid"], [], [], 60);', "wanted concurrency, rate, connectinterval or stop"),
    ('queue_policy(["jobid"], ["remotemx" => "a"], ["concurrency" => 1], 60);', "it is not among the fields jobid"),
    ('queue_policy(["jobid"], [], ["concurrency" => 0], 60);', "concurrency: wanted 1 to"),
    ('queue_policy(["jobid"], [], ["rate" => [1]], 60);', "rate: wanted [messages, seconds]"),
    ('queue_policy(["jobid"], [], ["rate" => ["x", 1]], 60);', "rate: wanted 1 to"),
    ('mail("a@b.example", "c@d.example", "", "", "outbound", ["priority" => 2]);', "option priority: wanted 0 or 1"),
    ('MIME()->queue("a@b.example", "c@d.example", "outbound", ["priority" => 2]);', "option priority: wanted 0 or 1"),
    ('queue_policy(["remotemx"], ["remotemx" => "#x"], ["stop" => true], 60);', "rollups"),
    ('queue_policy(["remotemx"], ["remotemx" => "&x"], ["stop" => true], 60);', "a value of the field grouping"),
    ('queue_policy(["jobid"], [], ["concurrency" => 1, "properties" => ["a" => []]], 60);', "properties: wanted"),
    ('queue_quota("");', "wanted a name of 1 to 200 bytes"),
    ('server_concurrency("inbound", "x");', "wanted an IP address or network"),
    ('mail("a b", "c@d.example", "", "", "outbound");', "mail(): parameter 1 (sender): wanted an email address"),
    ('mail("", "", "", "", "outbound");', "mail(): parameter 2 (recipient): wanted an email address"),
    ('mail("", "c@d.example", "", "", "outbund");', "did you mean outbound?"),
    ('mail("", "c@d.example", "", "", "outbound", ["headers" => ["A B" => "x"]]);', "wanted header names"),
    ('mail("", "c@d.example", "", "", "outbound", ["headers" => ["A" => 1]]);', "A: wanted string, got number"),
    ('mail("", "c@d.example", "", "", "outbound", ["quotas" => [""]]);', "wanted a name of 1 to 200 bytes"),
    ('mail("", "c@d.example", "", "", ["template" => "x"]);', "option template is not supported"),
]


@pytest.mark.parametrize(("script", "message"), WRONG)
async def test_wrong_arguments(world: Any, script: str, message: str) -> None:
    assert (await run(world, script)).error
    assert world.logged("script-error", message)
    assert world.queue.stored == []


# --- policies and quotas


async def test_queue_suspend(world: Any) -> None:
    found = await say(world, 'queue_suspend(["recipientdomain" => "a.example"], 60, ["tag" => "busy"])["id"]')
    [rule] = world.policies.active()
    assert (rule.id, rule.tag, rule.match.given) == (found, "busy", {"recipientdomain": "a.example"})
    again = await say(world, 'queue_suspend(["recipientdomain" => "a.example"], 60)["id"]')
    assert again == found
    assert isinstance(world.policies.admit({"recipientdomain": "a.example"}), Blocked)
    assert await say(world, f'queue_policy_delete("{found}")') == "false", "it is no policy"


async def test_queue_policy(world: Any) -> None:
    found = await say(
        world,
        'queue_policy(["recipientdomain", "localip"], ["recipientdomain" => "a.example"],'
        ' ["rate" => ["10", "3600"], "concurrency" => "2", "connectinterval" => 1, "tag" => "t"], 60)["id"]',
    )
    [rule] = world.policies.active()
    assert rule.fields == ("recipientdomain", "localip")
    assert (rule.limits.concurrency, rule.limits.rate, rule.limits.interval) == (2, (10, 3600.0), 1.0)
    assert isinstance(world.policies.admit({"recipientdomain": "a.example", "localip": ""}, late=True), Permit)
    assert await say(world, f'queue_policy_delete("{found}")') == "true"
    assert await say(world, f'queue_policy_delete("{found}")') == "false"
    assert world.policies.active() == []


async def test_no_room_for_a_rule_gives_none(world: Any) -> None:
    world.policies.max_rules = 1
    assert await say(world, "queue_suspend([], 60) !== none") == "true"
    assert await say(world, 'queue_suspend(["jobid" => "1"], 60) === none') == "true"
    assert await say(world, 'queue_policy(["jobid"], [], ["concurrency" => 1], 60) === none') == "true"


async def test_quotas(world: Any) -> None:
    outcome = await world.data('Deliver(["quotas" => ["a", "b", "a"]]);', "x@y.example")
    [mail] = outcome.mails
    assert mail.entries[0].quotas == (b"a", b"b")
    world.queue.stored.append(mail)
    assert await say(world, 'json_encode(queue_quota("a"))') == f'{{"count":1,"bytes":{mail.entries[0].size}}}'
    assert await say(world, 'json_encode(queue_quota("z"))') == '{"count":0,"bytes":0}'


async def test_quotas_of_a_quarantine(world: Any) -> None:
    outcome = await world.data('Quarantine("spam", ["quotas" => ["q"], "reject" => false]);')
    assert outcome.mails[0].entries[0].quotas == (b"q",)


async def test_server_concurrency(world: Any) -> None:
    world.sessions["192.0.2.0/24"] = 2
    world.sessions["192.0.2.9/32"] = 1
    assert await say(world, "server_concurrency($serverid)") == "3"
    assert await say(world, 'server_concurrency("inbound", "192.0.2.77/24")') == "2"
    assert await say(world, "server_concurrency($serverid, $senderip)") == "1"
    assert await say(world, 'server_concurrency("other") === none') == "true"


async def test_serial_and_syslog(world: Any) -> None:
    assert await say(world, "serial()") == "serial-1"
    await run(world, 'syslog("err", "a\\nb"); syslog(4 + (4 << 3), "c");')
    assert world.logged(" error syslog ", 'text="a\\nb"')
    assert world.logged(" warning syslog ", "text=c")


# --- mail()


def stored(world: Any) -> tuple[QueueEntry, Any]:
    [mail] = world.queue.stored
    [entry] = mail.entries
    return entry, message_from_bytes(b"".join(mail.body.chunks()))


async def test_mail(world: Any) -> None:
    found = await say(
        world,
        'mail("Post@a.example", ["localpart" => "B", "domain" => "c.example"], "Grüße", "one\\ntwo\\r\\n.\\n",'
        ' "archive", ["sender_name" => "The \\"P\\"", "recipient_name" => "Zoë", "headers" => ["X-A" => "1"],'
        ' "metadata" => ["k" => "v"], "jobid" => "j", "quotas" => ["q"], "tenantid" => "t", "priority" => 1])',
    )
    entry, message = stored(world)
    assert found == entry.transaction
    assert (entry.sender.path, entry.recipient.path, entry.transportid) == (
        b"Post@a.example",
        b"B@c.example",
        "archive",
    )
    assert (entry.metadata, entry.jobid, entry.quotas) == ({b"k": b"v"}, b"j", (b"q",))
    assert (entry.tenantid, entry.priority) == (b"t", 1)
    assert (entry.ts, entry.due, entry.serverid) == (1_000_000.0, 1_000_000.0, "inbound")
    assert entry.size == world.queue.stored[0].body.size
    assert message["From"] == '"The \\"P\\"" <Post@a.example>'
    assert str(message["To"]).endswith(" <B@c.example>")
    assert str(message["Subject"]).startswith("=?")
    assert (message["X-A"], message["MIME-Version"]) == ("1", "1.0")
    assert message.get_content_type() == "text/plain"
    assert message["Message-ID"].endswith("@gateway.example.com>")
    assert message["Date"] == "Mon, 12 Jan 1970 13:46:40 -0000"
    assert message.get_payload(decode=True) == b"one\r\ntwo\r\n.\r\n"
    assert not entry.eightbit
    assert world.logged(" info queued ", f"transaction={found}")


@pytest.mark.parametrize("body", ["\\x00", "\\xff\\xfe", "é", "=20", 'str_repeat("x", 2000)', 'str_repeat("é", 600)'])
async def test_any_body_arrives(world: Any, body: str) -> None:
    quoted = body if body.startswith("str_") else f'"{body}"'
    await run(world, f'mail("", "a@b.example", "", {quoted}, "outbound");')
    entry, message = stored(world)
    want = {"\\x00": b"\x00", "\\xff\\xfe": b"\xff\xfe", "é": "é".encode(), "=20": b"=20"}.get(body)
    found = message.get_payload(decode=True)
    assert found == (want or (b"x" * 2000 if "2000" in body else "é".encode() * 600))
    raw = b"".join(world.queue.stored[0].body.chunks())
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert entry.sender.path == b""


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("Hello", "7bit"), ("Grüße aus Köln, wo es meistens regnet", "quoted-printable"), ("Привет", "base64")],
)
async def test_a_body_is_as_readable_as_it_can_be(world: Any, text: str, encoding: str) -> None:
    await run(world, f'mail("", "a@b.example", "", "{text}", "outbound");')
    _, message = stored(world)
    assert message["Content-Transfer-Encoding"] == encoding
    assert message.get_payload(decode=True) == text.encode()


NAMES = [
    ("Smith, Zoë", "Smith, Zoë"),
    ("Zoë <x@y.example>", "Zoë <x@y.example>"),
    ("a (b)", "a (b)"),
    ("=?utf-8?q?x?=", "=?utf-8?q?x?="),
]


@pytest.mark.parametrize(("name", "want"), NAMES)
async def test_no_name_can_be_an_address(world: Any, name: str, want: str) -> None:
    await run(world, f'mail("a@b.example", "c@d.example", "", "", "outbound", ["sender_name" => "{name}"]);')
    _, message = stored(world)
    [(shown, address)] = getaddresses([message["From"]])
    assert (str(make_header(decode_header(shown))), address) == (want, "a@b.example")


async def test_the_null_sender_has_a_name(world: Any) -> None:
    await run(world, 'mail("", "c@d.example", "", "", "outbound");')
    assert stored(world)[1]["From"] == "MAILER-DAEMON@gateway.example.com"


async def test_headers_cannot_be_injected(world: Any) -> None:
    await run(
        world,
        'mail("a@b.example", "c@d.example", "x\\r\\nBcc: e@f.example\\r\\n\\r\\nbody", "", "outbound",'
        ' ["sender_name" => "n\\r\\nX-Evil: 1", "headers" => ["X" => "y\\nX-Evil: 1"]]);',
    )
    _, message = stored(world)
    assert (message["Bcc"], message["X-Evil"]) == (None, None)


async def test_a_header_of_the_script_replaces_ours(world: Any) -> None:
    await run(
        world, 'mail("a@b.example", "c@d.example", "x", "", "outbound", ["headers" => ["from" => "Me <m@b.example>"]]);'
    )
    _, message = stored(world)
    assert message.get_all("From") == ["Me <m@b.example>"]


CLASSIC = [
    ('"<b>x</b>"', "text/html", "outbound"),
    ('"x", ["plaintext" => true]', "text/plain", "outbound"),
    ('"x", ["rawbody" => true, "transportid" => "archive"]', "text/plain", "archive"),
    ('"x", ["serverid" => "other"]', "text/html", "outbound"),
]


@pytest.mark.parametrize(("rest", "kind", "transport"), CLASSIC)
async def test_mail_of_2015(world: Any, rest: str, kind: str, transport: str) -> None:
    """Options in place of the transport: the mail at hand says which one; the body is HTML."""
    await run(world, f'mail("a@b.example", "c@d.example", "s", {rest});')
    entry, message = stored(world)
    assert (message.get_content_type(), entry.transportid) == (kind, transport)
    assert entry.serverid == ("other" if "serverid" in rest else "inbound")


async def test_mail_of_2015_needs_a_transport_to_choose(world: Any) -> None:
    context = ConnectContext(world.connection, world.transaction)
    verdict = await world.runner(connect='mail("", "c@d.example", "s", "b");').run(context)
    assert verdict.error
    assert world.logged("wanted a transport")


async def test_a_full_disk_is_a_script_error(world: Any) -> None:
    world.queue.full = True
    assert (await run(world, 'mail("", "c@d.example", "", "", "outbound");')).error
    assert world.logged("mail(): the disk is full")


async def test_a_database_that_cannot_be_written_is_a_script_error(world: Any) -> None:
    world.queue.unavailable = True
    assert (await run(world, 'mail("", "c@d.example", "", "", "outbound");')).error
    assert world.logged("mail(): the queue's database cannot be written")


async def test_a_script_queues_a_thousand_messages_at_most(world: Any) -> None:
    script = '$i = 0; while ($i++ < COUNT) mail("", "c@d.example", "", "", "outbound");'
    assert not (await run(world, script.replace("COUNT", "1000"))).error
    assert len(world.queue.stored) == 1000
    assert (await run(world, script.replace("COUNT", "1001"))).error
    assert world.logged("more than 1000 messages")


# --- what MIME objects ask


async def open_context(world: Any) -> RcptToContext:
    context = rcptto(world)
    context.services = world.services
    return context


def array(**entries: Any) -> Array:
    return Array.record({key.encode(): value for key, value in entries.items()})


async def test_queue_mail(world: Any) -> None:
    context = await open_context(world)
    options = array(
        hold=True,
        delay=60.0,
        jobid=b"j",
        tenantid=b"t",
        priority=1.0,
        quotas=Array.of([b"q"]),
        metadata=array(k=b"v"),
        unknown=1.0,
    )
    ids = await context.queue_mail(b"A: b\n\nbody\r", b"", b"x@y.example", b"outbound", options)
    [mail] = world.queue.stored
    entry = mail.entries[0]
    assert to_text(ids.get(b"transaction")) == entry.transaction
    assert ids.get(b"queue") == 101.0
    assert (entry.state, entry.due, entry.jobid, entry.quotas) == (HOLD, 1_000_060.0, b"j", (b"q",))
    assert (entry.tenantid, entry.priority) == (b"t", 1)
    assert (entry.metadata, entry.ts, entry.serverid) == ({b"k": b"v"}, 1_000_000.0, "inbound")
    assert b"".join(mail.body.chunks()) == b"A: b\r\n\r\nbody\r\n", "line ends are CRLF"
    await context.queue_mail(
        b"\xff", b"", array(localpart="é".encode(), domain=b"y.example"), b"archive", array(delay=5.0)
    )
    later = world.queue.stored[1].entries[0]
    assert (later.state, later.eightbit, later.smtputf8) == (DEFER, True, True)
    assert (entry.dsn, later.dsn) == (None, None)


async def test_queue_mail_takes_what_the_params_ask_about_notifications(world: Any) -> None:
    context = await open_context(world)
    sender = array(localpart=b"s", domain=b"a.example", params=array(RET=b"full", X=b"y"))
    recipient = array(localpart=b"r", domain=b"b.example", params=array(NOTIFY=b"delay,SUCCESS"))
    await context.queue_mail(b"A: b\r\n", sender, recipient, b"outbound", None)
    assert world.queue.stored[0].entries[0].dsn == DSNRequest(ret="FULL", notify=("SUCCESS", "DELAY"))
    recipient.set(b"params", array(NOTIFY=b"ALWAYS"))
    with pytest.raises(ScriptError, match=r"queue\(\): params: NOTIFY: wanted NEVER, or some of"):
        await context.queue_mail(b"A: b\r\n", sender, recipient, b"outbound", None)
    assert len(world.queue.stored) == 1


async def test_send_mail(world: Any) -> None:
    context = await open_context(world)
    sender = array(localpart=b"s", domain=b"a.example", params=array(RET=b"HDRS"))
    people = Array.of([b"x@y.example", array(localpart=b"z", domain=b"y.example", params=array(NOTIFY=b"DELAY"))])
    server = array(host=b"192.0.2.1", port=26.0, tls=b"require", helo=b"h.example", sourceipid=b"2", protocol=b"lmtp")
    result = await context.send_mail(b"A: b\n\n", sender, people, server)
    [(plan, recipients, body)] = world.client.sent
    assert (plan.host, plan.port, plan.tls, plan.helo, plan.protocol) == (
        "192.0.2.1",
        26,
        "require",
        "h.example",
        "lmtp",
    )
    assert plan.source is not None
    assert plan.source.address == "10.0.0.2"
    assert (plan.sender.path, plan.senderparams) == (b"s@a.example", {"RET": "HDRS"})
    assert recipients == [(Address(b"x", b"y.example"), {}), (Address(b"z", b"y.example"), {"NOTIFY": "DELAY"})]
    assert body == b"A: b\r\n\r\n"
    assert (
        to_text(result)
        == '["result"=>["code"=>250,"enhanced"=>[0=>2,1=>0,2=>0],"reason"=>[0=>"taken"],"state"=>"EOD"]]'
    )


async def test_send_mail_without_a_word_of_tls_is_plain(world: Any) -> None:
    context = await open_context(world)
    await context.send_mail(b"", b"", Array.of([b"x@y.example"]), array(host=b"192.0.2.1"))
    assert world.client.sent[0][0].tls == "disabled"


async def test_send_mail_by_a_transport(world: Any) -> None:
    context = await open_context(world)
    world.client.attempt = Attempt(error=AttemptError(True, "no route", "connect"))
    result = await context.send_mail(b"", b"", Array.of([b"x@y.example"]), b"archive")
    assert world.client.sent[0][0].host == "archive.example"
    assert to_text(result) == '["error"=>["temporary"=>true,"message"=>"no route","type"=>"connect"]]'


SEND_WRONG: list[tuple[Any, Any, Any, str]] = [
    (b"a b", [b"x@y.example"], b"archive", "parameter 1 .sender.: wanted an email address"),
    (b"", [], b"archive", "wanted 1 to 1000, got 0"),
    (b"", [b""], b"archive", "parameter 2 .recipients.: wanted an email address"),
    (b"", [b"x@y.example"], b"nowhere", "there is no transport 'nowhere'"),
    (b"", [b"x@y.example"], 1.0, "parameter 3 .server.: wanted string or array, got number"),
    (b"", [b"x@y.example"], Array(), "the server has no host"),
    (b"", [b"x@y.example"], array(host=b"lookup-mx"), "the server has no host"),
    (b"", [b"x@y.example"], array(host=b"h", tls_sni=b"a b"), "tls_sni: wanted a host name"),
    (b"", [b"x@y.example"], array(host=b"h", port=0.0), "option port: wanted 1 to 65535"),
]


@pytest.mark.parametrize(("sender", "recipients", "server", "message"), SEND_WRONG)
async def test_send_mail_wrong(world: Any, sender: Any, recipients: Any, server: Any, message: str) -> None:
    context = await open_context(world)
    with pytest.raises(ScriptError, match=message):
        await context.send_mail(b"", sender, Array.of(recipients), server)
    assert world.client.sent == []


# --- delivery while the client waits


REPLIES = [
    (Attempt(result=Result(250, (2, 0, 0), ["stored there"], "EOD")), "250 2.0.0 stored there"),
    (Attempt(result=Result(252, None, ["hm"], "EOD")), "252 2.0.0 hm"),
    (Attempt(result=Result(550, (5, 7, 1), ["spam", "no"], "EOD")), "550-5.7.1 spam\r\n550 5.7.1 no"),
    (Attempt(result=Result(551, (5, 1, 1), ["unknown"], "RCPT")), "550 5.7.1 unknown"),
    (Attempt(result=Result(452, (4, 3, 1), ["full"], "EOD")), "452 4.3.1 full"),
    (Attempt(error=AttemptError(True, "secret detail", "connect")), "421 4.7.1 Please try again later"),
    (Attempt(error=AttemptError(False, "no domain", "dns")), "550 5.7.1 Refused by policy"),
]


@pytest.mark.parametrize("script", ["DirectDeliver();", 'Deliver(["queue" => false]);'])
@pytest.mark.parametrize(("attempt", "reply"), REPLIES)
async def test_the_next_hops_reply_is_ours(world: Any, script: str, attempt: Attempt, reply: str) -> None:
    world.client.attempt = attempt
    outcome = await world.data(script)
    assert outcome.reply([]).render().decode().strip() == reply
    assert outcome.mails == []
    assert world.logged("direct-delivery", "recipient=bob@example.com")


async def test_direct_delivery_of_the_message_as_it_is_now(world: Any) -> None:
    script = 'AddHeader("X-A", "1"); SetSender("n@o.example"); DirectDeliver("other@example.net", "archive");'
    await world.data(script)
    [(plan, recipients, body)] = world.client.sent
    assert (plan.host, plan.sender.path, recipients[0][0].path) == (
        "archive.example",
        b"n@o.example",
        b"other@example.net",
    )
    assert body.startswith(b"Received: from client by gateway\r\nX-A: 1\r\nSubject: hello\r\n")


async def test_direct_delivery_passes_on_what_was_asked_about_notifications(world: Any) -> None:
    await world.data(
        "DirectDeliver();", params={"RET": "FULL", "ENVID": "e", "SIZE": "9", "AUTH": "<>", "BODY": "7BIT"}
    )
    [(plan, _, _)] = world.client.sent
    assert plan.senderparams == {"RET": "FULL", "ENVID": "e"}


# --- older names in the session


async def test_set_sender_ip(world: Any) -> None:
    context = ConnectContext(world.connection, world.transaction)
    script = 'Reject([SetSenderIP("2001:db8:0::1"), $senderip, SetSenderIP("x") === none ? "none" : "", $senderip]);'
    verdict = await world.runner(connect=script).run(context)
    assert verdict.reason == ("2001:db8::1", "2001:db8::1", "none", "2001:db8::1")
    assert world.connection.remoteip == "2001:db8::1"


async def test_set_helo_and_extensions(world: Any) -> None:
    world.connection.tls = TLSInfo("TLSv1.3", "AES", 256)
    context = HeloContext(world.connection, world.transaction, "EHLO", b"h.example", ["SIZE 1", "DSN"])
    script = """Reject([SetHELO("new.example"), $senderhelo, SetHELO("a b") === none ? "none" : "",
        GetExtensions()[1], json_encode(GetTLS(["fingerprint" => "sha256"]))]);"""
    verdict = await world.runner(helo=script).run(context)
    tls = '{"started":true,"protocol":"TLSv1.3","cipher":"AES","ciphers":"AES","keysize":256}'
    assert verdict.reason == ("new.example", "new.example", "none", "DSN", tls)
    assert context.host == b"new.example"


async def test_set_sender_at_mailfrom(world: Any) -> None:
    context = MailFromContext(world.connection, world.transaction, Address.of(b"a@b.example"), {})
    script = """Reject([SetSender("X@Y.example"), $sender, $senderlocalpart, $senderdomain,
        SetSender("a b") === none ? "none" : "", GetTLS()["started"] ? "tls" : "plain"]);"""
    verdict = await world.runner(mailfrom=script).run(context)
    assert verdict.reason == ("x@y.example", "x@y.example", "X", "y.example", "none", "plain")
    assert context.asked == Address(b"X", b"Y.example")


async def test_set_sender_and_recipient_at_rcptto(world: Any) -> None:
    context = rcptto(world)
    script = """Reject([SetSender(""), "<$sender>", SetRecipient(["localpart" => "Q", "domain" => "z.example"]),
        $recipient, $recipientdomain, SetRecipient("") === none ? "none" : ""]);"""
    verdict = await world.runner(rcptto=script).run(context)
    assert verdict.reason == ("", "<>", "q@z.example", "q@z.example", "z.example", "none")
    assert context.asked.address == Address(b"Q", b"z.example")
    assert world.transaction.sender == Address(b"", b"")


async def test_the_certificate_of_a_client(world: Any) -> None:
    names = x509.SubjectAlternativeName([x509.DNSName("a.example"), x509.DNSName("b.example")])
    holder = Holder("client", extensions=[(names, False)], serial=0x5D8BCA)
    world.connection.tls = TLSInfo("TLSv1.3", "AES", 256, None, PeerCert(holder.der, (holder.der,), 18))
    script = 'Reject(json_encode(GetTLS(["fingerprint" => "sha1"])));'
    context = MailFromContext(world.connection, world.transaction, Address.of(b"a@b.example"), {})
    verdict = await world.runner(mailfrom=script).run(context)
    found = json.loads("".join(verdict.reason))
    assert found["peer_cert_error"] == 18
    assert found["peer_cert"] == {
        "subject": {"CN": "client"},
        "issuer": {"CN": "client"},
        "subject_alt_name": {"DNS": ["a.example", "b.example"]},
        "version": 2,
        "serial_number": "5d8bca",
        "not_valid_before": int(holder.certificate.not_valid_before_utc.timestamp()),
        "not_valid_after": int(holder.certificate.not_valid_after_utc.timestamp()),
        "fingerprint": hashlib.sha1(holder.der).hexdigest(),
    }


async def test_unknown_fingerprints(world: Any) -> None:
    assert (await run(world, 'GetTLS(["fingerprint" => "crc32"]);')).error
    assert world.logged("wanted md5, sha1, sha256 or sha512")


# --- older names before a delivery


async def test_the_plan_of_older_scripts(world: Any) -> None:
    queued = QueueEntry("t-2", Address.of(b"a@b.example"), Address.of(b"c@d.example"), "outbound", id=1)
    context = PreDeliveryContext(queued, DeliveryPlan(queued.sender, queued.recipient), 30, "h")
    script = """SetTLS(["tls" => "require_verify"]); SetXCLIENT(["addr" => $senderip, "HELO" => "h"]);
    SetSenderParams(["RET" => "FULL", "X" => none]); SetRecipientParams(["notify" => "NEVER"]);
    SetSourceIP(["netaddr:3"]); SetProtocol("lmtp"); SetDSN(["from_name" => "N", "recipient" => "r@s.example"]);"""
    queued.senderip = "192.0.2.1"
    verdict = await world.runner(predelivery=script).run(context)
    assert not verdict.error, world.lines
    plan = context.plan
    assert (plan.tls, plan.protocol, plan.xclient) == ("require_verify", "lmtp", {"ADDR": "192.0.2.1", "HELO": "h"})
    assert (plan.senderparams, plan.recipientparams) == ({"RET": "FULL", "X": ""}, {"NOTIFY": "NEVER"})
    assert plan.source is not None
    assert plan.source.address == "10.0.0.3"
    assert context.dsn is not None
    assert (context.dsn.from_name, context.dsn.recipient) == (b"N", Address(b"r", b"s.example"))


@pytest.mark.parametrize("way", ["SetTLS(%s); Try();", "Try(%s);", 'SetTLS(%s); SetTLS(["tls" => "require"]); Try();'])
async def test_what_a_script_says_of_tls(world: Any, way: str) -> None:
    queued = QueueEntry("t-2", Address.of(b"a@b.example"), Address.of(b"c@d.example"), "outbound", id=1)
    context = PreDeliveryContext(queued, DeliveryPlan(queued.sender, queued.recipient), 30, "h")
    pem = Holder("client.example").both.decode()
    options = """["tls" => "require", "tls_sni" => "sni.example", "tls_protocols" => "TLSv1.3", "tls_ciphers" => "HIGH",
        "tls_verify_host" => false, "tls_verify_name" => ["one.example", ".Two.example"],
        "tls_client_cert" => ''%s'']"""
    verdict = await world.runner(predelivery=way % (options % pem)).run(context)
    assert verdict.action == "try", world.lines
    assert context.plan.tls == "require"
    names = ("one.example", ".two.example")
    assert context.plan.tls_settings == TLSSettings("sni.example", b"TLSv1.3", b"HIGH", False, names, pem.encode())


@pytest.mark.parametrize("name", ["netaddr:3", "3"])
async def test_a_source_address_by_its_id(world: Any, name: str) -> None:
    queued = QueueEntry("t-2", Address.of(b"a@b.example"), Address.of(b"c@d.example"), "outbound", id=1)
    context = PreDeliveryContext(queued, DeliveryPlan(queued.sender, queued.recipient), 30, "h")
    verdict = await world.runner(predelivery=f'SetSourceIP("{name}"); echo "from $sourceip"; Try();').run(context)
    assert verdict.action == "try", world.lines
    assert context.plan.source is not None
    assert (context.plan.source.address, context.plan.source.id) == ("10.0.0.3", "3")
    assert world.logged("echo", "from 10.0.0.3")


async def test_source_addresses_that_are_not_this_machine_s(world: Any) -> None:
    queued = QueueEntry("t-2", Address.of(b"a@b.example"), Address.of(b"c@d.example"), "outbound", id=1)
    context = PreDeliveryContext(queued, DeliveryPlan(queued.sender, queued.recipient), 30, "h")
    script = """Try(["sourceip" => ["192.0.2.9", ["address" => "2001:db8::9", "helo" => "six.example"]],
        "nonlocal_source" => true, "sourceip_random" => false]);"""
    assert (await world.runner(predelivery=script).run(context)).action == "try", world.lines
    assert list(context.plan.sources) == [
        SourceIP("192.0.2.9", nonlocal_source=True),
        SourceIP("2001:db8::9", "six.example", nonlocal_source=True, own_helo=True),
    ]


WAYS = ["SetDSN(%s); Try();", 'Bounce(["dsn" => %s]);', 'Queue(["dsn" => %s]);']


@pytest.mark.parametrize("way", WAYS)
async def test_what_a_script_says_of_a_notification(world: Any, way: str) -> None:
    queued = QueueEntry("t-2", Address.of(b"a@b.example"), Address.of(b"c@d.example"), "outbound", id=1)
    context = PreDeliveryContext(queued, DeliveryPlan(queued.sender, queued.recipient), 30, "h")
    options = """["transportid" => "archive", "recipient" => "r@s.example", "metadata" => ["k" => "v"],
        "from" => ["localpart" => "p", "domain" => "q.example"], "from_name" => "N", "jobid" => "j"]"""
    assert not (await world.runner(predelivery=way % options).run(context)).error, world.lines
    said, sender = Address.of(b"r@s.example"), Address.of(b"p@q.example")
    assert context.dsn == DSNPlan("archive", said, {b"k": b"v"}, sender, b"N", b"j")


async def test_try_takes_everything(world: Any) -> None:
    queued = QueueEntry("t-2", Address.of(b"a@b.example"), Address.of(b"c@d.example"), "outbound", id=1)
    context = PreDeliveryContext(queued, DeliveryPlan(queued.sender, queued.recipient), 30, "h")
    script = """Try(["sender" => ["localpart" => "s", "domain" => "t.example", "params" => ["RET" => "HDRS"]],
        "recipient" => ["localpart" => "r", "domain" => "t.example", "params" => ["NOTIFY" => "DELAY"]],
        "timeout" => ["EOD" => 60, "EHLO" => 5], "mx_include" => ["*.Google.com."], "mx_exclude" => ["mx1.google.com"],
        "xclient" => ["NAME" => "n"], "sourceip" => ["4", "2"], "sourceip_random" => false]);"""
    assert (await world.runner(predelivery=script).run(context)).action == "try"
    plan = context.plan
    assert (plan.senderparams, plan.recipientparams) == ({"RET": "HDRS"}, {"NOTIFY": "DELAY"})
    assert (plan.timeouts, plan.xclient) == ({"dot": 60.0, "helo": 5.0}, {"NAME": "n"})
    assert (plan.mx_include, plan.mx_exclude) == (("*.google.com",), ("mx1.google.com",))
    assert plan.source is not None
    assert plan.source.id == "4"


async def test_a_suspended_source_is_not_chosen(world: Any) -> None:
    queued = QueueEntry("t-2", Address.of(b"a@b.example"), Address.of(b"c@d.example"), "outbound", id=1)
    script = 'queue_suspend(["localip" => "10.0.0.1"], 60); Try(["sourceip" => ["1", "2"]]);'
    for _ in range(20):
        context = PreDeliveryContext(queued, DeliveryPlan(queued.sender, queued.recipient), 30, "h")
        await world.runner(predelivery=script).run(context)
        assert context.plan.source is not None
        assert context.plan.source.id == "2"


# --- scanners


async def data_reply(world: Any, expression: str, **more: Any) -> str:
    outcome = await world.data(f'Reject("=" . {expression});', **more)
    shown = outcome.reply([]).render().decode().strip()
    assert shown.startswith("550 5.7.1 ="), (shown, world.lines)
    return str(shown.removeprefix("550 5.7.1 ="))


async def test_virus_scanners(world: Any) -> None:
    world.viruses.viruses = ["Eicar-Test-Signature", "Other"]
    script = """string([ScanCLAM(), ScanKAV(["signature_exclude" => ["Other"]]), ScanRPDAV(),
        ScanCLAM(["extended_result" => true])["rules"][1]])"""
    shown = await data_reply(world, script)
    assert shown == ('[0=>[0=>"Eicar-Test-Signature",1=>"Other"],1=>[0=>"Eicar-Test-Signature"],2=>100,3=>"Other"]')
    assert len(world.viruses.scanned) == 1, "a message is scanned once"


async def test_a_clean_message(world: Any) -> None:
    assert await data_reply(world, "string([ScanCLAM(), ScanKAV(), ScanRPDAV()])") == "[0=>[],1=>[],2=>0]"


async def test_extended_results(world: Any) -> None:
    shown = await data_reply(
        world, 'json_encode([ScanSA(["extended_result" => true]), ScanRPD(["extended_result" => true])])'
    )
    assert shown == (
        '[{"rules":{"RULE_A":5,"RULE_B":2.5},"score":7.5},{"refid":"ref-1","rules":[],"spam_score":50,'
        '"spam_class":"bulk","virus_score":0,"virus_class":"unknown"}]'
    )


async def test_what_scanrpd_is_told(world: Any) -> None:
    await data_reply(world, 'ScanRPD(["senderip" => "192.0.2.77", "mailfrom" => "x@y.example"])')
    envelope = world.outbreak.envelopes[0]
    assert (envelope.remoteip, envelope.sender) == ("192.0.2.77", "x@y.example")


async def test_another_sender_told_to_scanrpd_is_another_question(world: Any) -> None:
    asked = 'ScanRPD(["senderip" => "192.0.2.77"]) . ScanRPD() . ScanRPD() . ScanRPD(["senderip" => "192.0.2.78"])'
    await data_reply(world, asked)
    assert [item.remoteip for item in world.outbreak.envelopes] == ["192.0.2.77", "192.0.2.9", "192.0.2.78"]


async def test_scanners_that_do_not_answer(world: Any) -> None:
    for scanner in (world.spam, world.outbreak, world.viruses):
        scanner.error = BackendUnavailable("down")
    calls = [f'{name}(["extended_result" => true])["error"]' for name in ("ScanSA", "ScanRPD", "ScanCLAM", "ScanKAV")]
    assert await data_reply(world, " . ".join(calls)) == "1111".replace("1", "true")
    for name in ("ScanSA", "ScanRPD", "ScanCLAM", "ScanKAV", "ScanRPDAV"):
        outcome = await world.data(f"{name}(); Deliver();")
        assert outcome.mails == [], name
        assert outcome.reply([]).code == 421


# --- routes and reports


RECEIVED = b"""\
Received: from mail.a.example (mail.a.example [192.0.2.1]) by mx.b.example (Postfix) with ESMTPS id ABC\r
\tfor <bob@b.example>; Mon, 12 Jan 1970 13:46:40 +0100\r
Received: from [10.0.0.1] (unknown [IPv6:2001:DB8::1])\r
\tby mail.a.example; not a date\r
Received: nonsense\r
Subject: x\r
\r
"""


async def test_get_route(world: Any) -> None:
    assert await data_reply(world, "json_encode(GetRoute())", body=RECEIVED) == (
        '[{"from":"mail.a.example","ip":"192.0.2.1","by":"mx.b.example"},'
        '{"from":"[10.0.0.1]","ip":"10.0.0.1","by":"mail.a.example"},[]]'
    )
    shown = await data_reply(world, "json_encode(GetRoute(true)[0])", body=RECEIVED)
    assert shown == (
        '{"from":"mail.a.example","ptr":"mail.a.example","ip":"192.0.2.1","by":"mx.b.example","with":"ESMTPS",'
        '"id":"ABC","for":"bob@b.example","time":996400}'
    )


REPORT = b"""\
From: MAILER-DAEMON@x.example\r
Content-Type: multipart/report; report-type=delivery-status;\r
 boundary="=_a b"\r
\r
--=_a b\r
\r
human text\r
--=_a b\r
Content-Type: message/delivery-status\r
\r
Reporting-MTA: dns; mx.x.example\r
\r
Final-Recipient: rfc822; <Bob@B.example>\r
Action: Failed\r
Status: 5.1.1\r
Diagnostic-Code: smtp; 550 5.1.1 unknown\r
\r
Final-Recipient: rfc822;eve@b.example\r
Action: delayed\r
--=_a b\r
Content-Type: message/rfc822\r
\r
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r
Message-ID: <1@a.example>\r
\r
original\r
--=_a b--\r
"""


STATUS = REPORT.partition(b"Content-Type: message/delivery-status\r\n\r\n")[2].partition(b"\r\n--=_a b")[0]
STATUS_BASE64 = encodebytes(STATUS).replace(b"\n", b"\r\n")
OTHER_STATUS = b"Content-Type: message/delivery-status\r\n\r\nA: b\r\n\r\nFinal-Recipient: rfc822; x@y.example\r\n"


async def test_get_dsn(world: Any) -> None:
    shown = await data_reply(
        world,
        'array_join([($d = GetDSN())["recipient"], $d["action"], $d["status"], $d["diagnostic"],'
        ' $d["message"]["reporting-mta"], $d["recipients"][1]["action"], string(length($d["recipients"])),'
        ' GetDSNHeader("message-id"), GetDSNHeader("subject"), GetDSNHeader("Subject", true)], "|")',
        body=REPORT,
    )
    assert shown == (
        "Bob@B.example|failed|5.1.1|550 5.1.1 unknown|dns; mx.x.example|delayed|2|<1@a.example>|"
        "Gr??e|=?utf-8?q?Gr=C3=BC=C3=9Fe?="
    ).replace("Gr??e", shown.split("|")[8])
    assert shown.split("|")[8].startswith("Gr")


REPORTS = [
    (
        "encoded",
        lambda report: report.replace(
            b"\r\n\r\n" + STATUS, b"\r\nContent-Transfer-Encoding: base64\r\n\r\n" + STATUS_BASE64
        ),
    ),
    (
        "comment and other parameters",
        lambda report: report.replace(b"; report-type", b'; x="; boundary=z"; report-type'),
    ),
    ("LF", lambda report: report.replace(b"\r\n", b"\n")),
    ("a second status", lambda report: report.replace(b"--=_a b--", b"--=_a b\r\n" + OTHER_STATUS + b"--=_a b--")),
    ("a boundary that begins like it", lambda report: report.replace(b"human text", b"--=_a bc\r\nhuman text")),
]


@pytest.mark.parametrize("change", [change for _, change in REPORTS], ids=[name for name, _ in REPORTS])
async def test_reports_of_all_kinds(world: Any, change: Any) -> None:
    found = 'array_join([($d = GetDSN())["recipient"], $d["status"], GetDSNHeader("message-id")], "|")'
    body = change(REPORT)
    assert body != REPORT
    assert await data_reply(world, found, body=body) == "Bob@B.example|5.1.1|<1@a.example>"


@pytest.mark.parametrize(
    "body",
    [
        b"Subject: x\r\n\r\nbody\r\n",
        b"Content-Type: multipart/report\r\n\r\n",
        b'Content-Type: multipart/report; boundary="b"\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n',
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
        + REPORT.split(b"\r\n\r\n", 1)[1].replace(b"=_a b", b"b"),
    ],
)
async def test_what_is_no_report(world: Any, body: bytes) -> None:
    assert await data_reply(world, 'string([GetDSN() === false, GetDSNHeader("x") === none])', body=body) == (
        "[0=>true,1=>true]"
    )


async def test_a_report_of_ten_megabytes_is_read_in_part(world: Any) -> None:
    body = REPORT.replace(b"human text", b"x" * 10_000_000)
    assert await data_reply(world, "(GetDSN() === false ? 1 : 0)", body=body) == "1"


# --- what became of a message


async def test_history(world: Any) -> None:
    script = """$options = ["reason" => "a b", "metadata" => ["k" => "v"], "sender" => "x@y.example"];
    echo History("DELIVER", $recipient, $options);
    History("REJECT", ["localpart" => "Z", "domain" => "w.example"]); Deliver();"""
    await world.data(script)
    assert world.logged("echo", "text=true")
    assert world.logged(
        " info history ", "action=deliver", "sender=<x@y.example>", "recipient=<bob@example.com>", 'reason="a b"', "k=v"
    )
    assert world.logged(" info history ", "action=reject", "sender=<Alice@Example.ORG>", "recipient=<Z@w.example>")
    outcome = await world.data('History("DELIVERED", $recipient); Deliver();')
    assert outcome.mails == []
    assert world.logged("wanted one of REJECT, DELETE")


async def test_sending_is_confined_to_the_network_of_scripts(world: Any) -> None:
    """A server that the script names; a configured transport may be anywhere."""
    context = await open_context(world)
    world.services.network = ScriptNetwork(NetworkPolicy(deny=["192.0.2.0/24"]))
    with pytest.raises(ScriptError, match=r"connections to '192\.0\.2\.1' are not permitted"):
        await context.send_mail(b"", b"", Array.of([b"x@y.example"]), array(host=b"192.0.2.1"))
    await context.send_mail(b"", b"", Array.of([b"x@y.example"]), array(host=b"198.51.100.1"))
    await context.send_mail(b"", b"", Array.of([b"x@y.example"]), b"archive")
    assert [plan.host for plan, _, _ in world.client.sent] == ["198.51.100.1", "archive.example"]
