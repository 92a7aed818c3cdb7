"""Messages for a next hop without 8BITMIME: what they say stays, read back by the standard library's parser."""

from __future__ import annotations

import base64
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
from loopgateway import gateway, greeted
from smtp_dialogue import eventually
from smtp_peer import Peer

from hsl.smtpd import client as smtp_client
from hsl.smtpd.sevenbit import Unconvertible, to_seven_bit

TEXT = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
PARTS = (
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b"preamble\r\n--b\r\n\r\nplain\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\ngr\xc3\xbc\xc3\x9fe\r\n"
    b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\nContent-Transfer-Encoding: 8BIT\r\n\r\n\xe5\r\n"
    b"--b\r\nContent-Type: application/pdf\r\ncontent-transfer-encoding: base64\r\n\r\nAAEC/w==\r\n"
    b"--b--\r\nepilogue\r\n"
)


def leaves(message: Message) -> list[tuple[str, bytes]]:
    """Type and decoded content of each part that holds no others."""
    found = []
    for part in message.walk():
        if not part.is_multipart():
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            found.append((part.get_content_type(), content))
    return found


def converted(data: bytes) -> Message:
    result = to_seven_bit(data)
    assert result.isascii()
    assert b"\n" not in result.replace(b"\r\n", b"")
    assert max(map(len, result.split(b"\r\n"))) <= 998
    message = message_from_bytes(result)
    assert [part.defects for part in message.walk() if part.defects] == []
    return message


CONVERTIBLE = {
    "utf-8 text": TEXT + b"\r\n" + "grüße = alles\r\n..dot\r\n.\r\nende".encode(),
    "mostly eight bit": TEXT + b"\r\n" + "привет мир\r\n".encode() * 100,
    "a long line": TEXT + b"\r\n" + b"\xc3\xbc" * 2000 + b"\r\n",
    "parts": PARTS,
    "binary": TEXT.replace(b"8bit", b"binary") + b"\r\n\xff\xfe\r\n",
    "wrong label": TEXT.replace(b"8bit", b"7bit") + b"\r\n\xff\r\n",
    "no label": TEXT.replace(b"Content-Transfer-Encoding: 8bit\r\n", b"") + b"\r\n\xff\r\n",
    "a folded label": TEXT.replace(b": 8bit", b":\r\n  8bit") + b"\r\n\xff\r\n",
    "two labels": TEXT + b"Content-Transfer-Encoding: 7bit\r\n\r\n\xff\r\n",
    "quoted-printable with a stray octet": TEXT.replace(b"8bit", b"quoted-printable") + b"\r\n=FC\xff\r\n",
    "dashes": TEXT + b"\r\n--not a boundary \xff\r\n",
}


@pytest.mark.parametrize("name", CONVERTIBLE)
def test_what_a_message_says_stays(name: str) -> None:
    data = CONVERTIBLE[name]
    message = converted(data)
    assert leaves(message) == leaves(message_from_bytes(data))
    assert [len(part.get_all("Content-Transfer-Encoding") or []) <= 1 for part in message.walk()]
    assert "8bit" not in str(message)


def test_what_was_not_eight_bit_stays_as_it_came() -> None:
    result = to_seven_bit(PARTS)
    head = PARTS[: PARTS.index(b"Content-Transfer")]
    assert result.startswith(head + b"Content-Transfer-Encoding: 7bit\r\n\r\npreamble")
    assert b"\r\n--b\r\n\r\nplain\r\n--b\r\n" in result
    assert result.endswith(PARTS[PARTS.index(b"--b\r\nContent-Type: application/pdf") :])
    assert to_seven_bit(TEXT + b"\r\nascii\r\n") == TEXT + b"\r\nascii\r\n"


@pytest.mark.parametrize(("body", "charset"), [("grüße\r\n".encode(), "utf-8"), (b"gr\xfc\xdfe\r\n", "unknown-8bit")])
@pytest.mark.parametrize("head", [b"Subject: x\r\n\r\n", b"\r\n", b""])
def test_a_message_without_mime_becomes_one(head: bytes, body: bytes, charset: str) -> None:
    message = converted(head + body)
    assert message["MIME-Version"] == "1.0"
    assert message.get_content_charset() == charset
    assert message.get_payload(decode=True) == body
    assert message["Subject"] == ("x" if head.startswith(b"Subject") else None)


def test_internationalised_parts_are_encoded_whole() -> None:
    inner = "Subject: grüße\r\n\r\nkörper\r\n".encode()
    outer = b"message/rfc822\r\n\r\nSubject: in\r\nContent-Transfer-Encoding: 8BIT\r\n\r\n\xe5"
    assert outer in PARTS
    result = to_seven_bit(PARTS.replace(outer, b"message/global\r\n\r\n" + inner.rstrip()))
    assert result.isascii()
    part = result.partition(b"Content-Type: message/global\r\n")[2].partition(b"\r\n--b")[0]
    fields, _, text = part.partition(b"\r\n\r\n")
    assert fields == b"Content-Transfer-Encoding: base64"
    assert base64.b64decode(text) == inner.rstrip()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"Subject: gr\xfc\xdfe\r\n\r\nx\r\n", "headers"),
        (PARTS.replace(b"Subject: in", b"Subject: \xfc"), "headers"),
        (PARTS.replace(b"multipart/mixed", b"multipart/signed"), "signed"),
        (PARTS.replace(b"multipart/mixed", b"Multipart/Encrypted"), "signed or encrypted"),
        (PARTS.replace(b"preamble", b"\xfc"), "outside"),
        (PARTS.replace(b"epilogue", b"\xfc"), "outside"),
        (PARTS.replace(b"boundary=b", b"boundary=c"), "may not be encoded"),
        (PARTS.replace(b": 8bit\r\n", b": base64\r\n"), "may not be encoded"),
        (PARTS.replace(b"message/rfc822", b"message/partial"), "may not be encoded"),
        (TEXT.replace(b"8bit", b"x-uuencode") + b"\r\n\xff\r\n", "may not be encoded"),
    ],
)
def test_what_cannot_be_converted(data: bytes, reason: str) -> None:
    with pytest.raises(Unconvertible, match=reason):
        to_seven_bit(data)


def test_no_cut_line_becomes_a_delimiter() -> None:
    """Quoted-printable cuts long lines: just before text that looks like the boundary, if somebody wants it so."""
    for shift in range(60, 80):
        line = b"\xff" + b"a" * shift + b"--b--" + b"a" * 100
        data = PARTS.replace(b"gr\xc3\xbc\xc3\x9fe", line)
        assert leaves(converted(data)) == leaves(message_from_bytes(data))


@pytest.mark.asyncio
@pytest.mark.parametrize("limit", [1_000, 100])
async def test_through_a_gateway_up_to_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(smtp_client, "MAX_CONVERTED", limit)
    data = TEXT + b"\r\n\xff\r\n"
    async with Peer(extensions=()).serve() as peer, gateway(tmp_path, [], {"rcptto": "Accept();"}, peer.port) as made:
        client = await greeted(made)
        await client.play("C: MAIL FROM:<a@x.example> BODY=8BITMIME\nS: 250\nC: RCPT TO:<b@x.example>\nS: 250")
        await client.send(b"BDAT %d LAST\r\n" % len(data) + data)
        await client.play("S: 250")
        await client.close()
        await eventually(lambda: made.queue.count == 0)
    [message] = peer.messages
    if limit == 1_000:
        received = message_from_bytes(message.data)
        del received["Received"]
        assert leaves(received) == leaves(message_from_bytes(data))
    else:
        assert message.mail == b"MAIL FROM:<>"
        assert b"Status: 5.6.3\r\n" in message.data
