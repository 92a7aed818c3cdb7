"""The end of data, once for the message: what a script sees and queues, what is stored, and the one reply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hsl.runtime.eod import run_message
from hsl.runtime.message import BytesBody, Message
from hsl.runtime.model import ACTIVE, DEFER, HOLD, Address, Body, QueueEntry, Recipient

pytestmark = pytest.mark.asyncio

MAIL = b"Subject: hello\r\n\r\nbody\r\n"
TRACE = b"Received: from client by gateway\r\n"
EACH = """
foreach ($transaction["recipients"] as $rcpt)
    $arguments["mail"]->queue($transaction["senderaddress"], $rcpt["address"], $rcpt["transportid"]);
"""
ONE = '$arguments["mail"]->queue("a@b.example", "c@d.example", "outbound"%s);'


def entries(outcome: Any) -> list[QueueEntry]:
    return [entry for mail in outcome.mails for entry in mail.entries]


async def test_a_message_for_all_its_recipients(world: Any, read: Callable[[Body], bytes]) -> None:
    world.login(b"alice")
    outcome = await world.eod(EACH + "Accept();", "Bob@Example.COM", "carol@example.com", body=MAIL)
    (mail,) = outcome.mails
    assert read(mail.body) == TRACE + MAIL
    bob, carol = mail.entries
    assert (bob.sender.path, bob.recipient.path) == (b"Alice@Example.ORG", b"Bob@Example.COM")
    assert (bob.senderip, bob.senderhelo, bob.saslusername) == ("192.0.2.9", b"client.example", b"alice")
    assert (bob.transaction, bob.serverid, bob.transportid) == ("t-1", "inbound", "outbound")
    assert (bob.state, bob.ts, bob.due, bob.size) == (ACTIVE, 1_000_000.0, 1_000_000.0, len(TRACE + MAIL))
    assert (bob.actionid, carol.actionid) == (1, 2)
    assert (bob.id, carol.id) == (501, 502), "the ids that the script was told"
    assert str(outcome.reply([501, 502])) == "250 2.0.0 Ok: queued as 501,502"
    assert outcome.stage == "eod"


async def test_queue_gives_the_ids(world: Any) -> None:
    script = ONE.replace(";", "") % ""
    await world.eod(f"echo {script}; echo {script};")
    assert len(world.logged("echo", 'transaction\\"=>\\"t-1\\",\\"queue\\"=>501]')) == 1
    assert len(world.logged("echo", "=>502]")) == 1


async def test_actionid_counts_what_is_queued(world: Any) -> None:
    await world.eod(f'echo "id $actionid"; {ONE % ""} echo "id $actionid"; {ONE % ""} echo "id $actionid";')
    shown = [line.partition('text="id ')[2].rstrip('"') for line in world.logged("echo")]
    assert shown == ["1", "2", "3"]


@pytest.mark.parametrize("params", [{}, {"SMTPUTF8": ""}])
async def test_internationalised_mail_stays_so(world: Any, params: dict[str, str]) -> None:
    """Or nothing would tell a next hop that cannot take it (RFC 6531 3.6)."""
    (entry,) = entries(await world.eod(ONE % "" + "Accept();", params=params))
    assert entry.smtputf8 == ("SMTPUTF8" in params)


ENDINGS = [
    ("Accept();", "250 2.0.0 Ok: queued as 7", 1),
    ('Accept(["reason" => "thanks"]);', "250 2.0.0 thanks (queued as 7)", 1),
    ('Accept(["reason" => ["one", "two"]]);', "250-2.0.0 one\r\n250 2.0.0 two (queued as 7)", 1),
    (
        'Accept(["reply_codes" => ["code" => 251, "enhanced" => [2, 6, 0]]]);',
        "251 2.6.0 Ok: queued as 7",
        1,
    ),
    ("Reject();", "550 5.7.1 Refused by policy", 0),
    ('Reject(["no", "never"]);', "550-5.7.1 no\r\n550 5.7.1 never", 0),
    ('Reject("no", ["reply_codes" => ["code" => 554, "enhanced" => [5, 6, 0]]]);', "554 5.6.0 no", 0),
    ("Defer();", "421 4.7.1 Please try again later", 0),
    ('Defer("later", ["reply_codes" => ["code" => 451]]);', "451 4.7.1 later", 0),
    ("", "421 4.7.1 Please try again later", 0),
    ("return 1;", "421 4.7.1 Please try again later", 0),
    ("echo $nothing;", "421 4.3.0 Temporary server error, please try again later", 0),
]


@pytest.mark.parametrize(("ending", "reply", "stored"), ENDINGS)
async def test_endings(world: Any, ending: str, reply: str, stored: int) -> None:
    outcome = await world.eod(ONE % "" + ending)
    assert len(entries(outcome)) == stored
    assert str(outcome.reply([7] * stored)) == reply
    assert not outcome.disconnect


@pytest.mark.parametrize("verdict", ['Reject("x", %s)', 'Defer("x", %s)', "Accept(%s)"])
async def test_any_verdict_can_disconnect(world: Any, verdict: str) -> None:
    outcome = await world.eod(verdict % '["disconnect" => true]' + ";")
    assert outcome.disconnect


async def test_defer_obeys_the_configured_code(world: Any) -> None:
    world.services.defer_code = 451
    assert str((await world.eod("")).reply([])) == "451 4.7.1 Please try again later"


async def test_accepted_and_dropped(world: Any) -> None:
    outcome = await world.eod("Accept();")
    assert outcome.mails == []
    assert str(outcome.reply([])) == "250 2.0.0 Ok"


async def test_options_of_queue(world: Any) -> None:
    options = (
        ', ["metadata" => ["k" => "v"], "jobid" => "j", "tenantid" => "t", "priority" => 1, "quotas" => ["q", "q"],'
        ' "delay" => %d, "hold" => %s]'
    )
    outcome = await world.eod(ONE % options % (60, "false") + ONE % options % (0, "true") + "Accept();")
    waits, held = entries(outcome)
    assert (waits.metadata, waits.jobid, waits.quotas) == ({b"k": b"v"}, b"j", (b"q",))
    assert (waits.tenantid, waits.priority) == (b"t", 1)
    assert (waits.state, waits.due - waits.ts) == (DEFER, 60.0)
    assert held.state == HOLD


WRONG = [
    ('queue("", "", "outbound")', "EODMailMessage->queue(): parameter 2 (recipient): wanted an email address"),
    ('queue("x y", "a@b.example", "outbound")', "EODMailMessage->queue(): parameter 1 (sender): wanted an email"),
    ('queue("", "a@b.example", "outbond")', "EODMailMessage->queue(): there is no transport 'outbond'"),
    ('queue("", "a@b.example", "outbound", ["delay" => 0-1])', "option delay: wanted seconds from 0"),
    ('queue("", "a@b.example", "outbound", ["metadata" => ["a"]])', "wanted string keys and string values"),
    ('queue("", "a@b.example", "outbound", ["quotas" => [1]])', "option quotas: wanted a name"),
    ('queue("", "a@b.example", "outbound", ["dsn" => ["notfy" => "NEVER"]])', "option dsn: there is no 'notfy'"),
    ('queue("", "a@b.example", "outbound", ["dsn" => ["notify" => "OFTEN"]])', "option dsn: NOTIFY: wanted NEVER"),
    ('queue("", "a@b.example", "outbound", ["dsn" => ["ret" => 1]])', "option dsn: ret: wanted a string"),
]


@pytest.mark.parametrize(("call", "error"), WRONG)
async def test_wrong_arguments_defer_and_store_nothing(world: Any, call: str, error: str) -> None:
    outcome = await world.eod(f'{ONE % ""} $arguments["mail"]->{call}; Accept();')
    assert entries(outcome) == []
    assert world.logged("script-error", "stage=eod", error)


async def test_each_version_is_stored_once(world: Any, read: Callable[[Body], bytes]) -> None:
    script = """
        $mail = $arguments["mail"];
        $before = $mail->snapshot();
        $mail->queue("", "a@x.example", "outbound");
        $mail->addHeader("X-Copy", "yes");
        $mail->queue("", "b@x.example", "archive");
        $mail->restore($before);
        $mail->queue("", "c@x.example", "outbound");
        Accept();
    """
    outcome = await world.eod(script, body=MAIL)
    bodies = {entry.recipient.localpart: read(mail.body) for mail in outcome.mails for entry in mail.entries}
    assert bodies[b"a"] == bodies[b"c"] == TRACE + MAIL
    assert bodies[b"b"] == TRACE + b"X-Copy: yes\r\n" + MAIL


async def test_lower_case_addresses_mean_those_of_the_transaction(world: Any) -> None:
    script = """
        foreach ($transaction["recipients"] as $rcpt)
            $arguments["mail"]->queue($transaction["sender"], $rcpt["recipient"], "outbound");
        Accept();
    """
    (entry,) = entries(await world.eod(script, "Bob@Example.COM"))
    assert (entry.sender.path, entry.recipient.path) == (b"Alice@Example.ORG", b"Bob@Example.COM")


async def test_of_two_recipients_that_differ_by_case_each_is_itself(world: Any) -> None:
    first, second = entries(await world.eod(EACH + "Accept();", "Bob@x.example", "bob@x.example"))
    assert (first.recipient.localpart, second.recipient.localpart) == (b"Bob", b"bob")


async def test_notifications_are_those_that_the_client_asked_for(world: Any) -> None:
    script = EACH + ONE % "" + ONE % ', ["dsn" => ["notify" => ["FAILURE", "DELAY"], "ret" => "HDRS"]]' + "Accept();"
    world.transaction.recipients = [
        Recipient(Address.of(b"bob@example.com"), "outbound", {"NOTIFY": "SUCCESS", "ORCPT": "rfc822;b@x"})
    ]
    world.transaction.senderparams = {"ENVID": "e1", "RET": "FULL"}
    runner = world.runner(eod=script)
    outcome = await run_message(runner, world.connection, world.transaction, Message(BytesBody(MAIL)))
    named, other, chosen = (entry.dsn for entry in entries(outcome))
    assert named
    assert (named.notify, named.orcpt, named.envid) == (("SUCCESS",), "rfc822;b@x", "e1")
    assert other
    assert (other.notify, other.orcpt, other.envid) == ((), "", "e1")
    assert chosen
    assert (chosen.notify, chosen.ret, chosen.envid) == (("FAILURE", "DELAY"), "HDRS", "")


async def test_what_is_queued_has_a_limit(world: Any) -> None:
    many = 'for ($i = 0; $i < %d; $i += 1) $arguments["mail"]->queue("", "a@b.example", "outbound"); Accept();'
    assert len(entries(await world.eod(many % 100))) == 100
    assert entries(await world.eod(many % 101)) == []
    assert world.logged("script-error", "more than 100 entries for one message")


async def test_mail_of_the_scripts_own_making_is_stored_at_once(world: Any) -> None:
    mail = 'MIME()->addHeader("Subject", "x")->setBody("y")->queue("", "a@b.example", "outbound", {}); '
    outcome = await world.eod(mail.format("[]") + mail.format('["priority" => 1]') + "Reject();")
    assert outcome.mails == []
    assert [stored.entries[0].priority for stored in world.queue.stored] == [0, 1]


async def test_scanners_headers_and_history_know_the_message(world: Any) -> None:
    script = """
        echo ScanSA();
        echo GetHeader("Subject") . "," . $arguments["mail"]->getHeader("Subject");
        echo length(ScanDLP([])) . "," . ScanRPD() . "," . length(ScanCLAM());
        echo GetMailMessage()->queue("", "a@b.example", "outbound")["queue"];
        echo $transaction["ts"];
        History("DELIVER", "a@b.example");
    """
    await world.eod(script, body=MAIL)
    for shown in ("7.5", "hello,hello", "0,50,0", "501", "1000000"):
        assert world.logged("echo", "stage=eod", shown), shown
    assert world.logged(" history ", "recipient=<a@b.example>")


async def test_the_sender_for_scanners_is_the_transactions(world: Any) -> None:
    await world.eod("ScanSA();", "x@y.example")
    (envelope,) = world.spam.envelopes
    assert (envelope.sender, envelope.recipients, envelope.remoteip) == (
        "Alice@Example.ORG", ("x@y.example",), "192.0.2.9"
    )  # fmt: skip


async def test_a_message_that_is_over_cannot_be_queued(world: Any) -> None:
    """A script may keep the object in `$context`."""
    await world.eod('$context = $arguments["mail"]; Accept();')
    outcome = await world.eod(ONE % "" + '$context->queue("", "a@b.example", "outbound"); Accept();')
    assert outcome.mails == []
    assert world.logged("script-error", "EODMailMessage->queue(): this is an earlier message, which is over")


async def test_the_parameters_of_a_recipient_have_two_names(world: Any) -> None:
    world.transaction.recipients = [Recipient(Address.of(b"bob@example.com"), "outbound", {"NOTIFY": "NEVER"})]
    script = 'foreach ($transaction["recipients"] as $r) echo $r["params"]["NOTIFY"] . $r["recipientparams"]["NOTIFY"];'
    runner = world.runner(eod=script)
    await run_message(runner, world.connection, world.transaction, Message(BytesBody(MAIL)))
    assert world.logged("echo", "NEVERNEVER")


async def test_without_an_eod_hook_the_data_stage_decides(world: Any) -> None:
    world.transaction.recipients = [Recipient(Address.of(b"bob@example.com"), "outbound")]
    runner = world.runner(data='Reject("data");')
    outcome = await run_message(runner, world.connection, world.transaction, Message(BytesBody(MAIL)))
    assert (outcome.stage, str(outcome.reply([]))) == ("data", "550 5.7.1 data")
