"""What a sender asks about notifications (RFC 3461), through a whole gateway: to the next hop, and in our reports."""

import asyncio
import re
from email import message_from_bytes
from email.message import Message

import pytest
from loopgateway import gateway, greeted
from smtp_dialogue import eventually
from smtp_peer import EXTENSIONS, Peer

from hsl.runtime.dsnrequest import DSNRequest, wants

pytestmark = pytest.mark.asyncio
DSN = (*EXTENSIONS, "DSN")
MAIL = b"MAIL FROM:<ann@here.example>"
ACCEPT = {"rcptto": "Accept();"}
WHOLE = b"Subject: x\r\n\r\nthe body\r\n"


async def send(made, mail: str = "", rcpt: str = "", message: bytes = WHOLE) -> None:
    client = await greeted(made)
    await client.play(f"C: MAIL FROM:<ann@here.example>{mail}\nS: 250\nC: RCPT TO:<bob@there.example>{rcpt}\nS: 250")
    await client.send(b"BDAT %d LAST\r\n" % len(message) + message)
    await client.play("S: 250\nC: QUIT\nS: 221")
    await client.close()


async def drained(made) -> None:
    """No entry is left: everything has its outcome, reports too."""
    await asyncio.wait_for(eventually(lambda: made.queue.count == 0), 30)


def reports(peer) -> list[bytes]:
    return [message.data for message in peer.messages if message.mail.startswith(b"MAIL FROM:<>")]


def fields(data: bytes) -> tuple[Message, Message, list[Message]]:
    """The fields about the message, those about the recipient, and all parts of the report."""
    parts = message_from_bytes(data).get_payload()
    [whole, one] = parts[1].get_payload()
    return whole, one, parts


# --- to the next hop


@pytest.mark.parametrize(
    ("extensions", "script", "mail", "rcpt"),
    [
        (DSN, "", b" RET=HDRS ENVID=q+2B1", b" NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bc@d.example"),
        (EXTENSIONS, "", b"", b""),
        (DSN, 'SetSenderParams(["ENVID" => "mine"]); SetRecipientParams([]);', b" ENVID=mine", b""),
        (
            DSN,
            'Try(["recipient" => ["localpart" => "x", "domain" => "y.example", "params" => ["NOTIFY" => "NEVER"]]]);',
            b" RET=HDRS ENVID=q+2B1",
            b" NOTIFY=NEVER ORCPT=rfc822;b+2Bc@d.example",
        ),
    ],
)
async def test_what_was_asked_is_passed_on_where_it_is_understood(tmp_path, extensions, script, mail, rcpt):
    scripts = ACCEPT | {"predelivery": script}
    async with Peer(extensions=extensions).serve() as peer, gateway(tmp_path, [], scripts, peer.port) as made:
        await send(made, " ret=hdrs ENVID=q+2B1", " NOTIFY=delay,success ORCPT=rfc822;b+2Bc@d.example")
        await drained(made)
    first = next(message for message in peer.messages if message.mail.startswith(MAIL))
    assert first.mail.split(b" SIZE=")[1].partition(b" ")[1:] == (mail[:1], mail[1:])
    assert [line.partition(b">")[2] for line in first.rcpt] == [rcpt]


async def test_mail_without_a_word_is_passed_on_without_one(tmp_path):
    async with Peer(extensions=DSN).serve() as peer, gateway(tmp_path, [], ACCEPT, peer.port) as made:
        await send(made)
        await drained(made)
    [message] = peer.messages
    assert message.rcpt == [b"RCPT TO:<bob@there.example>"]
    assert b"ENVID" not in message.mail


async def test_a_script_of_the_queue_sees_it_and_a_restart_keeps_it(tmp_path):
    seen = 'if ($sender) echo "asked: " . implode("|", $message["dsn"]["notify"]) . " " . $message["dsn"]["envid"];'
    lines: list[str] = []
    scripts = ACCEPT | {"predelivery": f'{seen} if ($retry == 0) Queue(["delay" => 1]);'}
    async with Peer(extensions=DSN).serve() as peer:
        async with gateway(tmp_path, lines, scripts, peer.port) as made:
            await send(made, " RET=FULL ENVID=e+201", " NOTIFY=NEVER ORCPT=rfc822;o@there.example")
            await eventually(lambda: any("action=defer" in line for line in lines))
        async with gateway(tmp_path, lines, scripts, peer.port) as made:
            [entry] = made.queue.entries()
            assert entry.dsn == DSNRequest("FULL", "e+201", ("NEVER",), "rfc822;o@there.example")
            await drained(made)
    assert sum("asked: NEVER e+201" in line for line in lines) == 2
    assert len(peer.messages) == 1


# --- our own reports

NOTIFY = {
    # what was asked             delivered, to a hop with DSN; without; refused
    "": (0, 0, 1),
    " NOTIFY=NEVER": (0, 0, 0),
    " NOTIFY=FAILURE": (0, 0, 1),
    " NOTIFY=DELAY": (0, 0, 0),
    " NOTIFY=SUCCESS": (0, 1, 0),
    " NOTIFY=SUCCESS,FAILURE,DELAY": (0, 1, 1),
}


@pytest.mark.parametrize("asked", NOTIFY)
async def test_who_is_told_of_what(tmp_path, asked):
    for number, wanted in enumerate(NOTIFY[asked]):
        peer = Peer(extensions=DSN if number == 0 else EXTENSIONS)
        if number == 2:
            peer.replies["RCPT"] = ["550 5.1.1 no such user", "250 ok"]
        folder = tmp_path / str(number)
        folder.mkdir()
        async with peer.serve(), gateway(folder, [], ACCEPT, peer.port) as made:
            await send(made, "", asked)
            await drained(made)
        assert len(reports(peer)) == wanted, (asked, number)
        if wanted:
            _, one, _ = fields(reports(peer)[0])
            assert (one["Action"], one["Status"]) == (("failed", "5.1.1") if number == 2 else ("relayed", "2.0.0"))


@pytest.mark.parametrize("asked", ["NEVER", "FAILURE", "SUCCESS", "DELAY", ""])
async def test_only_those_who_want_it_hear_of_a_delay(asked):
    request = DSNRequest(notify=(asked,)) if asked else None
    assert wants(request, "DELAY") == (asked in ("DELAY", ""))


async def test_a_script_s_bounce_respects_never(tmp_path):
    scripts = ACCEPT | {"predelivery": "if ($sender) Bounce();"}
    async with Peer().serve() as peer, gateway(tmp_path, [], scripts, peer.port) as made:
        await send(made, "", " NOTIFY=NEVER")
        await drained(made)
        assert peer.messages == []
        await send(made, "", " NOTIFY=FAILURE")
        await drained(made)
    assert len(reports(peer)) == 1


async def test_post_delivery_is_told_what_will_happen(tmp_path):
    lines: list[str] = []
    scripts = ACCEPT | {"postdelivery": 'echo "action: " . ($arguments["action"] ?? "none");'}
    peer = Peer(replies={"RCPT": ["550 5.1.1 no", "550 5.1.1 no", "250 ok"]})
    async with peer.serve(), gateway(tmp_path, lines, scripts, peer.port) as made:
        await send(made, "", " NOTIFY=NEVER")
        await drained(made)
        await send(made)
        await drained(made)
    told = [word for line in lines for word in re.findall(r"action: (\w+)", line)]
    assert told == ["DELETE", "BOUNCE", "none"]


async def test_mail_that_was_handed_over_with_its_request_is_reported_by_nobody_else(tmp_path):
    """A script that takes NOTIFY away leaves the report to us."""
    scripts = ACCEPT | {"predelivery": "SetRecipientParams([]);"}
    async with Peer(extensions=DSN).serve() as peer, gateway(tmp_path, [], scripts, peer.port) as made:
        await send(made, "", " NOTIFY=SUCCESS")
        await drained(made)
    assert len(reports(peer)) == 1


async def test_lmtp_is_delivery(tmp_path):
    scripts = ACCEPT | {"predelivery": 'if ($sender) SetProtocol("lmtp");'}
    async with Peer().serve() as peer, gateway(tmp_path, [], scripts, peer.port) as made:
        await send(made, "", " NOTIFY=SUCCESS")
        await drained(made)
    [report] = reports(peer)
    assert fields(report)[1]["Action"] == "delivered"


@pytest.mark.parametrize("ret", ["", " RET=HDRS", " RET=FULL"])
async def test_the_report_has_the_ids_and_as_much_of_the_mail_as_was_asked(tmp_path, ret):
    peer = Peer(replies={"RCPT": ["550 5.1.1 no such user", "250 ok"]})
    async with peer.serve(), gateway(tmp_path, [], ACCEPT, peer.port) as made:
        await send(made, f"{ret} ENVID=QQ+3D314+20x", " ORCPT=rfc822;old+2Btag@there.example")
        await drained(made)
    [report] = reports(peer)
    whole, one, parts = fields(report)
    assert whole["Original-Envelope-Id"] == "QQ=314 x"
    assert one["Original-Recipient"] == "rfc822; old+tag@there.example"
    assert one["Final-Recipient"] == "rfc822; bob@there.example"
    kind = "message/rfc822" if ret == " RET=FULL" else "text/rfc822-headers"
    assert parts[2].get_content_type() == kind
    assert (b"the body" in report) == (ret == " RET=FULL")
    assert b"Subject: x" in report


async def test_a_mail_too_large_to_be_returned_comes_back_as_its_headers(tmp_path):
    peer = Peer(replies={"RCPT": ["550 5.1.1 no such user", "250 ok"]})
    async with peer.serve(), gateway(tmp_path, [], ACCEPT, peer.port) as made:
        await send(made, " RET=FULL", "", WHOLE + b"the body\r\n" * 30_000)
        await drained(made)
    [report] = reports(peer)
    assert fields(report)[2][2].get_content_type() == "text/rfc822-headers"
    assert b"the body" not in report


async def test_success_reports_have_the_headers_only(tmp_path):
    async with Peer().serve() as peer, gateway(tmp_path, [], ACCEPT, peer.port) as made:
        await send(made, " RET=FULL", " NOTIFY=SUCCESS")
        await drained(made)
    [report] = reports(peer)
    assert b"Subject: x" in report
    assert b"the body" not in report


async def test_a_copy_is_not_what_the_sender_asked_about(tmp_path):
    scripts = ACCEPT | {"data": 'CopyMail("spy@there.example", "next"); Deliver();'}
    async with Peer().serve() as peer, gateway(tmp_path, [], scripts, peer.port) as made:
        await send(made, "", " NOTIFY=SUCCESS ORCPT=rfc822;bob@there.example")
        await drained(made)
    assert len(peer.messages) == 3
    [report] = reports(peer)
    assert b"spy@" not in report


async def test_a_report_on_a_report_there_is_never(tmp_path):
    peer = Peer(replies={"RCPT": ["550 5.1.1 no such user"]})
    async with peer.serve(), gateway(tmp_path, [], ACCEPT, peer.port) as made:
        await send(made, "", " NOTIFY=SUCCESS,FAILURE")
        await drained(made)
    assert peer.messages == []
    assert [line for line in peer.commands if line.startswith(b"RCPT")] == [
        b"RCPT TO:<bob@there.example>",
        b"RCPT TO:<ann@here.example>",
    ]


async def test_utf8_addresses_in_reports(tmp_path):
    peer = Peer(replies={"RCPT": ["550 5.1.1 no such user", "250 ok"]})
    async with peer.serve(), gateway(tmp_path, [], ACCEPT, peer.port) as made:
        client = await greeted(made)
        dialogue = "C: MAIL FROM:<änne@here.example> SMTPUTF8 RET=FULL\nS: 250\n"
        dialogue += "C: RCPT TO:<bör@there.example> ORCPT=utf-8;bär@there.example\nS: 250\nC: DATA\nS: 354\n"
        dialogue += "C: Subject: grüße\nC:\nC: körper\nC: .\nS: 250"
        await client.play(dialogue.encode().decode("latin-1"))
        await client.close()
        await drained(made)
    [message] = peer.messages
    assert message.rcpt == ["RCPT TO:<änne@here.example>".encode()]
    assert b" SMTPUTF8" in message.mail
    assert b" BODY=8BITMIME" in message.mail
    _, one, parts = fields(message.data)
    assert one["Final-Recipient"] == r"utf-8; b\x{F6}r@there.example"
    assert one["Original-Recipient"] == r"utf-8; b\x{E4}r@there.example"
    assert parts[2].get_content_type() == "message/global"
    assert "Subject: grüße\r\n\r\nkörper".encode() in message.data


async def test_no_smtputf8_at_the_next_hop_is_a_bounce(tmp_path):
    extensions = tuple(item for item in EXTENSIONS if item != "SMTPUTF8")
    async with Peer(extensions=extensions).serve() as peer, gateway(tmp_path, [], ACCEPT, peer.port) as made:
        client = await greeted(made)
        dialogue = "C: MAIL FROM:<ann@here.example> SMTPUTF8\nS: 250\nC: RCPT TO:<bör@there.example>\nS: 250\n"
        await client.play((dialogue + "C: DATA\nS: 354\nC: .\nS: 250").encode().decode("latin-1"))
        await client.close()
        await drained(made)
    [message] = peer.messages
    assert b"SMTPUTF8" not in message.mail
    assert fields(message.data)[1]["Status"] == "5.6.7"
