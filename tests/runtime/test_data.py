"""The end of data: one reply for all recipients, what is stored, what carries over to later recipients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hsl.runtime.data import run_data
from hsl.runtime.message import Message
from hsl.runtime.model import ACTIVE, DEFER, HOLD, Address, Body, Recipient
from hsl.runtime.protocols import BackendUnavailable

pytestmark = pytest.mark.asyncio

TRACE = b"Received: from client by gateway\r\n"
MAIL = b"Subject: hello\r\nX-Number: 1\r\nX-Number: 2\r\n\r\nbody\r\n"
ALL = ("r@x.example", "d@x.example", "q@x.example", "x@x.example", "k@x.example", "c@x.example")
# what each recipient's script does, by the first letter of the address
MIXED = """
if ($recipientlocalpart == "r") Reject("rejected");
if ($recipientlocalpart == "d") Defer("deferred");
if ($recipientlocalpart == "q") Quarantine("q:1", ["reason" => "quarantined"]);
if ($recipientlocalpart == "h") Quarantine("q:1", ["reason" => "held", "reject" => false]);
if ($recipientlocalpart == "x") Delete();
if ($recipientlocalpart == "c") { CopyMail("copy@x.example"); Abort(); }
if ($recipientlocalpart == "e") { echo $nothing; }
if ($recipientlocalpart == "n") Done();
"""
TROUBLE = "421 4.3.0 Temporary server error, please try again later"
OUTCOMES = [  # recipients, reply, stored
    ("k", "250 2.0.0 Ok: queued as 1", "k"),
    ("kk2", "250 2.0.0 Ok: queued as 1,2,3", "k k 2"),
    ("x", "250 2.0.0 Ok", ""),
    ("xk", "250 2.0.0 Ok: queued as 1", "k"),
    ("h", "250 2.0.0 held (queued as 1)", "h"),
    ("hk", "250 2.0.0 held (queued as 1,2)", "h k"),
    ("q", "550 5.7.1 quarantined", "q"),
    ("qk", "550 5.7.1 quarantined", "q"),
    ("hqk", "550 5.7.1 quarantined", "h q"),
    ("c", "250 2.0.0 Ok: queued as 1", "copy"),
    ("ck", "250 2.0.0 Ok: queued as 1,2", "copy k"),
    ("r", "550 5.7.1 rejected", ""),
    ("rk", "550 5.7.1 rejected", ""),
    ("krqchx", "550 5.7.1 rejected", "q copy h"),
    ("rd", "550 5.7.1 rejected", ""),
    ("d", "421 4.7.1 deferred", ""),
    ("dqck", "421 4.7.1 deferred", ""),
    ("n", "421 4.7.1 Please try again later", ""),
    ("kn", "421 4.7.1 Please try again later", ""),
    ("e", TROUBLE, ""),
    ("rek", TROUBLE, ""),
    ("qce", TROUBLE, ""),
]


@pytest.mark.parametrize(("recipients", "reply", "stored"), OUTCOMES)
async def test_mixed_verdicts(world: Any, recipients: str, reply: str, stored: str) -> None:
    outcome = await world.data(MIXED, *(f"{name}@x.example" for name in recipients))
    entries = [entry for mail in outcome.mails for entry in mail.entries]
    assert " ".join(entry.recipient.localpart.decode() for entry in entries) == stored
    assert str(outcome.reply(range(1, 1 + len(entries)))) == reply
    assert not outcome.disconnect


async def test_after_an_error_no_further_recipient_is_run(world: Any) -> None:
    await world.data('echo "ran $recipient"; ' + MIXED, "k@x.example", "e@x.example", "r@x.example")
    assert len(world.logged("echo", "ran")) == 2


async def test_without_a_hook_everything_is_queued_untouched(world: Any, read: Callable[[Body], bytes]) -> None:
    world.login(b"alice")
    outcome = await world.data("", "Bob@Example.COM", "carol@example.com", params={"SMTPUTF8": ""})
    (mail,) = outcome.mails
    assert read(mail.body) == TRACE + MAIL
    bob, carol = mail.entries
    assert bob.recipient.path == b"Bob@Example.COM"
    assert (bob.sender.path, bob.senderip, bob.senderhelo) == (b"Alice@Example.ORG", "192.0.2.9", b"client.example")
    assert (bob.saslusername, bob.serverid, bob.transportid) == (b"alice", "inbound", "outbound")
    assert (bob.state, bob.due, bob.ts, bob.size) == (ACTIVE, 1_000_000.0, 1_000_000.0, mail.body.size)
    assert (bob.transaction, bob.actionid, carol.actionid) == ("t-1", 1, 2)
    assert (bob.smtputf8, bob.eightbit, bob.metadata) == (True, False, {})


@pytest.mark.parametrize(
    ("body", "params", "eightbit"),
    [
        (MAIL, {}, False),
        (MAIL, {"BODY": "8BITMIME"}, True),
        (MAIL, {"BODY": "7BIT"}, False),
        (MAIL + b"\xe5", {}, True),
    ],
)
async def test_eightbit(world: Any, body: bytes, params: dict[str, str], eightbit: bool) -> None:
    outcome = await world.data("", body=body, params=params)
    assert outcome.mails[0].entries[0].eightbit is eightbit


async def test_many_ids_fit_a_reply_line(world: Any) -> None:
    outcome = await world.data("")
    assert len(outcome.reply(range(10**15, 10**15 + 1000)).render()) <= 512


async def test_header_edits_carry_over_to_later_recipients(world: Any, read: Callable[[Body], bytes]) -> None:
    script = 'if ($recipientlocalpart == "b") SetHeader("Subject", "edited"); Deliver();'
    outcome = await world.data(script, "a@x.example", "b@x.example", "c@x.example")
    first, second = outcome.mails
    assert [entry.recipient.localpart for entry in first.entries] == [b"a"]
    assert [entry.recipient.localpart for entry in second.entries] == [b"b", b"c"]
    assert read(first.body) == TRACE + MAIL
    assert read(second.body) == TRACE + MAIL.replace(b"hello", b"edited")
    assert second.entries[0].size == second.body.size == len(read(second.body))


async def test_what_describes_the_message_carries_over(world: Any) -> None:
    script = """
    if ($recipientlocalpart == "b") {
        SetMetaData(["k" => "v"]); SetSender("new@y.example"); SetSenderIP("198.51.100.7"); SetSenderHELO("other");
        SetRecipient("z@z.example"); SetMailTransport("archive"); SetDelayedDeliver(60);
        echo "now $sender $senderdomain $senderip $senderhelo $recipient $recipientdomain $transportid";
    } else echo "sees $sender $senderip";
    """
    outcome = await world.data(script, "a@x.example", "b@x.example", "c@x.example")
    a, b, c = outcome.mails[0].entries
    assert [item.metadata for item in (a, b, c)] == [{}, {b"k": b"v"}, {b"k": b"v"}]
    assert [item.sender.path for item in (a, b, c)] == [b"Alice@Example.ORG", b"new@y.example", b"new@y.example"]
    assert [item.senderip for item in (a, b, c)] == ["192.0.2.9", "198.51.100.7", "198.51.100.7"]
    assert [item.senderhelo for item in (a, b, c)] == [b"client.example", b"other", b"other"]
    assert [item.recipient.path for item in (a, b, c)] == [b"a@x.example", b"z@z.example", b"c@x.example"]
    assert [item.transportid for item in (a, b, c)] == ["outbound", "archive", "outbound"]
    assert [(item.state, item.due) for item in (a, b, c)] == [
        (ACTIVE, 1_000_000.0),
        (DEFER, 1_000_060.0),
        (ACTIVE, 1_000_000.0),
    ]
    assert world.logged("now new@y.example y.example 198.51.100.7 other z@z.example z.example archive")
    assert world.logged("sees new@y.example 198.51.100.7")


async def test_actionid_counts_actions_and_recipients(world: Any) -> None:
    script = 'echo "id $actionid"; CopyMail(); echo "id $actionid"; if ($recipientlocalpart == "b") Done();'
    outcome = await world.data(script, "a@x.example", "b@x.example", "c@x.example")
    entries = [entry for mail in outcome.mails for entry in mail.entries]
    assert [(entry.recipient.localpart, entry.actionid) for entry in entries] == [
        (b"a", 1), (b"a", 2), (b"b", 3), (b"c", 4), (b"c", 5),
    ]  # fmt: skip
    shown = [line.partition('text="id ')[2].rstrip('"') for line in world.logged("echo")]
    assert shown == ["1", "2", "3", "4", "4", "5"]


async def test_quarantine_that_archives(world: Any) -> None:
    script = 'Quarantine("archive:1", ["done" => false, "reject" => false, "recipient" => "arch@x.example"]);'
    outcome = await world.data(script)
    held, sent = outcome.mails[0].entries
    assert (held.state, held.quarantine, held.recipient.path) == (HOLD, "archive:1", b"arch@x.example")
    assert (sent.state, sent.quarantine, sent.recipient.path) == (ACTIVE, "", b"bob@example.com")
    assert str(outcome.reply([5, 6])) == "250 2.0.0 Ok: queued as 5,6"


OLD_FORMS = [
    ('Deliver("z@z.example");', "z@z.example", "outbound", ACTIVE),
    ('Deliver("z@z.example", "archive");', "z@z.example", "archive", ACTIVE),
    ('Deliver(["recipient" => ["localpart" => "z", "domain" => "z.example"]]);', "z@z.example", "outbound", ACTIVE),
    ('Deliver(["transportid" => "archive", "delay" => 5]);', "bob@example.com", "archive", DEFER),
    ('Quarantine("q", "z@z.example");', "z@z.example", "outbound", HOLD),
    ('Quarantine("q", "z@z.example", "archive", ["reject" => false]);', "z@z.example", "archive", HOLD),
    ('Quarantine("q", none, "archive");', "bob@example.com", "archive", HOLD),
    ('Quarantine("q", "z@z.example", none, ["final_action" => false]); Abort();', "z@z.example", "outbound", HOLD),
]


@pytest.mark.parametrize(("script", "recipient", "transport", "state"), OLD_FORMS)
async def test_both_forms_of_deliver_and_quarantine(
    world: Any, script: str, recipient: str, transport: str, state: str
) -> None:
    outcome = await world.data(script)
    (entry,) = outcome.mails[0].entries
    assert (entry.recipient.path.decode(), entry.transportid, entry.state) == (recipient, transport, state)


async def test_deliver_options(world: Any) -> None:
    script = """SetMetaData(["a" => "1", "b" => "1"]);
    Deliver(["metadata" => ["b" => "2"], "jobid" => "j", "reason" => "taken", "disconnect" => true,
             "tenantid" => "t", "priority" => 1, "quotas" => ["q"],
             "reply_codes" => ["code" => 251, "enhanced" => [2, 1, 5]]]);"""
    outcome = await world.data(script)
    (entry,) = outcome.mails[0].entries
    assert (entry.metadata, entry.jobid) == ({b"a": b"1", b"b": b"2"}, b"j")
    assert (entry.tenantid, entry.priority, entry.quotas) == (b"t", 1, (b"q",))
    reply = outcome.reply([7])
    assert (str(reply), reply.close, outcome.disconnect) == ("251 2.1.5 taken (queued as 7)", True, True)


REFUSED = [
    ('Deliver(["transportid" => "archve"]);', "there is no transport", "did you mean archive?"),
    ('SetMailTransport("out");', "there is no transport", ""),
    ('Deliver(["recipient" => "not an address"]);', "wanted an email address", ""),
    ('Deliver(["priority" => 2]);', "Deliver(): option priority: wanted 0 or 1, got 2", ""),
    ('Quarantine("q", ["priority" => -1]);', "Quarantine(): option priority: wanted 0 or 1, got -1", ""),
    ('Deliver(["quotas" => [""]]);', "wanted a name of 1 to 200 bytes", ""),
    ('Deliver(["reply_codes" => ["code" => 550]]);', "wanted a code 200-299, got 550", ""),
    ('Reject("x", ["reply_codes" => ["code" => 450]]);', "wanted a code 500-599, got 450", ""),
    ('Defer("x", ["reply_codes" => ["enhanced" => [5, 0, 0]]]);', "wanted class 4, got 5", ""),
    ('Defer("x", ["reply_codes" => ["enhanced" => [4, 0]]]);', "array of three numbers", ""),
    ('Quarantine("");', "wanted a name", ""),
    ('SetMetaData(["a" => 1]);', "wanted string keys and string values", ""),
    ('SetMetaData(["a"]);', "wanted string keys and string values", ""),
    ('SetMetaData(["a" => str_repeat("x", 70000)]);', "metadata exceeds", ""),
    ("SetDelayedDeliver(-1);", "wanted seconds from 0", ""),
    ('AddHeader("a b", "c");', "a header name is printable ASCII", ""),
    ("for ($i = 0; $i < 1000; $i++) CopyMail();", "more than 100 actions", ""),
    ("GetHeaders(false);", "wanted a name or true", ""),
]


@pytest.mark.parametrize(("script", "message", "hint"), REFUSED)
async def test_wrong_use_defers(world: Any, script: str, message: str, hint: str) -> None:
    outcome = await world.data(script.replace('str_repeat("x", 70000)', '"' + "x" * 70000 + '"'))
    assert (str(outcome.reply([])), outcome.mails) == (TROUBLE, [])
    assert world.logged("error script-error", message, hint)


async def test_the_sender_as_scripts_set_it_or_none(world: Any) -> None:
    script = """
    echo [SetSenderIP("2001:db8:0::1"), SetSenderIP("nonsense"), SetSenderHELO("other"), SetSenderHELO("a\\r\\nb")];
    echo "$senderip $senderhelo";
    """
    await world.data(script)
    given, now = (line.partition("text=")[2].replace('\\"', '"') for line in world.logged("echo"))
    assert given.strip('"') == '[0=>"2001:db8::1",1=>none,2=>"other",3=>none]'
    assert now == '"2001:db8::1 other"'


ADDRESSES = [
    ('"a@b.example"', "a@b.example"),
    ('["localpart" => "A", "domain" => "B.example"]', "a@b.example"),
    ('"a b@c.example"', "none"),
    ('"<a@b.example>"', "none"),
    ('"a@b\\r\\nRCPT TO:<x@y.example>"', "none"),
    ('"a@"', "none"),
    ('""', "none"),
    ('["a", "b"]', "none"),
    ("''\"a b\"@c.example''", '"a b"@c.example'),
]


@pytest.mark.parametrize(("value", "wanted"), ADDRESSES)
async def test_setrecipient_gives_the_address_or_none(world: Any, value: str, wanted: str) -> None:
    await world.data(f'$r = SetRecipient({value}); echo ($r ?? "none") . " | $recipient";')
    (line,) = world.logged("echo")
    recipient = "bob@example.com" if wanted == "none" else wanted
    assert line.replace('\\"', '"').endswith(f'"{wanted} | {recipient}"')


async def test_the_null_sender_can_be_set(world: Any) -> None:
    outcome = await world.data('SetSender(""); echo "<$sender>";')
    assert world.logged("echo", "<>")
    assert outcome.mails[0].entries[0].sender.path == b""


HEADERS = [
    ('echo GetHeader("SUBJECT");', "hello"),
    ('echo GetHeaders("x-number");', '[0=>"1",1=>"2"]'),
    ("echo count(GetHeaders(true));", "3"),
    ('echo GetHeader("None") == none;', "true"),
    ('echo SetHeader("X-Number", "9"); echo GetHeaders("X-Number");', '[0=>"9",1=>"9"]'),
    ('echo DelHeader("X-Number"); echo GetHeaders("X-Number");', "[]"),
    ('PrependHeader("Subject", "[x] "); echo GetHeader("Subject");', "[x] hello"),
    ('AppendHeader("Subject", "!"); echo GetHeader("Subject");', "hello!"),
    ('AddHeader("X-New", "v"); echo GetHeader("X-New");', "v"),
]


@pytest.mark.parametrize(("script", "wanted"), HEADERS)
async def test_header_functions(world: Any, script: str, wanted: str) -> None:
    await world.data(script)
    last = world.logged("echo")[-1].partition("text=")[2]
    assert last.strip('"').replace('\\"', '"') == wanted


async def test_a_message_is_scanned_once_per_version(world: Any) -> None:
    script = """echo ScanSA(); echo ScanSA(["rules" => true]); echo ScanRPD(); echo ScanRPD(["refid" => true]);
    if ($recipientlocalpart == "b") { AddHeader("X-Scanned", "yes"); echo ScanSA(); echo ScanSA(); }"""
    outcome = await world.data(script, "a@x.example", "b@x.example")
    shown = [line.partition("text=")[2] for line in world.logged("echo")]
    assert shown[:4] == ["7.5", '"[\\"RULE_A\\"=>5,\\"RULE_B\\"=>2.5]"', "50", "ref-1"]
    assert world.spam.scanned == [TRACE + MAIL, TRACE + b"X-Scanned: yes\r\n" + MAIL]
    assert world.outbreak.scanned == [TRACE + MAIL]
    envelope = world.spam.envelopes[0]
    assert (envelope.transaction, envelope.remoteip, envelope.helo) == ("t-1", "192.0.2.9", "client.example")
    assert envelope.recipients == ("a@x.example", "b@x.example")
    assert len(outcome.mails) == 2


async def test_a_scanner_that_is_down_defers(world: Any) -> None:
    world.spam.error = BackendUnavailable("spamd does not answer")
    outcome = await world.data("if (ScanSA() > 5) Reject(); Deliver();")
    assert (str(outcome.reply([])), outcome.mails) == (TROUBLE, [])


async def test_defer_code_451(world: Any) -> None:
    world.services.defer_code = 451
    outcome = await world.data('Defer("later");')
    assert str(outcome.reply([])) == "451 4.7.1 later"
    outcome = await world.data("echo $nothing;")
    assert outcome.reply([]).code == 451


class Unreadable:
    """A body whose disk fails."""

    size = 10

    def chunks(self) -> Iterator[bytes]:
        raise OSError("I/O error")
        yield b""

    def read_at(self, start: int, end: int) -> bytes:
        raise OSError("I/O error")


async def test_a_message_that_cannot_be_read_is_deferred(world: Any) -> None:
    world.transaction.recipients = [Recipient(Address.of(b"bob@example.com"), "outbound")]
    outcome = await run_data(world.runner(), world.connection, world.transaction, Message(Unreadable(), b""))
    assert (str(outcome.reply([])), outcome.mails) == (TROUBLE, [])
    assert world.logged("error message-unreadable")
