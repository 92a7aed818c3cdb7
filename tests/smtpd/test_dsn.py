"""Notifications, read back by the standard library's parser and held against RFC 3464 and RFC 6522."""

from collections.abc import Iterator
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime
from typing import Any

import pytest

from hsl.runtime.model import NULL_SENDER, Address, Attempt, AttemptError, DSNPlan, QueueEntry, Result
from hsl.smtpd import dsn

NOW = 1_700_000_000.0


class Clock:
    def time(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return 0.0


class Text:
    """A body that comes in small pieces."""

    def __init__(self, data: bytes, piece: int = 7) -> None:
        self.data, self.piece = data, piece

    @property
    def size(self) -> int:
        return len(self.data)

    def chunks(self) -> Iterator[bytes]:
        for start in range(0, len(self.data), self.piece):
            yield self.data[start : start + self.piece]


ORIGINAL = Text(b"Subject: hello\r\nMessage-ID: <1@example>\r\n\r\nthe secret body\r\n")
REFUSED = Attempt(
    result=Result(550, (5, 1, 1), ["no such user", "see http://x.example"], "RCPT"),
    remotemx="mx.r.example",
    remoteip="192.0.2.1",
)


def entry(sender: bytes = b"Ann@S.example", recipient: bytes = b"bob@r.example", **more: object) -> QueueEntry:
    return QueueEntry(
        "tid",
        Address.of(sender),
        Address.of(recipient),
        "t",
        ts=NOW - 3600,
        id=5,
        **more,  # type: ignore[arg-type]
    )


def failure(
    item: QueueEntry | None = None, cause: Attempt | dsn.Reason = REFUSED, original: Text | None = ORIGINAL
) -> bytes:
    return dsn.failure_dsn(item or entry(), cause, hostname="gw.example", original=original, clock=Clock())


def parse(data: bytes) -> tuple[Message, list[Any]]:
    assert b"\r" not in data.replace(b"\r\n", b"")
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert max(len(line) for line in data.split(b"\r\n")) <= 998
    message = message_from_bytes(data)
    assert not message.defects
    parts = message.get_payload()
    assert isinstance(parts, list)
    return message, parts


def unfold(value: str) -> str:
    return " ".join(value.split())


def status_of(part: Message) -> tuple[Any, Any]:
    blocks = part.get_payload()
    assert isinstance(blocks, list)
    assert len(blocks) == 2
    return blocks[0], blocks[1]


def test_failure_has_what_the_rfc_requires() -> None:
    message, parts = parse(failure())
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert message["From"] == "Mail Delivery System <MAILER-DAEMON@gw.example>"
    assert message["To"] == "<Ann@S.example>"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["MIME-Version"] == "1.0"
    assert message["Message-ID"].endswith("@gw.example>")
    assert parsedate_to_datetime(message["Date"]).timestamp() == NOW
    assert [part.get_content_type() for part in parts] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]
    whole, one = status_of(parts[1])
    assert whole["Reporting-MTA"] == "dns; gw.example"
    assert parsedate_to_datetime(whole["Arrival-Date"]).timestamp() == NOW - 3600
    assert one["Final-Recipient"] == "rfc822; bob@r.example"
    assert one["Action"] == "failed"
    assert one["Status"] == "5.1.1"
    assert one["Remote-MTA"] == "dns; mx.r.example"
    assert unfold(one["Diagnostic-Code"]) == "smtp; 550 5.1.1 no such user see http://x.example"
    assert parsedate_to_datetime(one["Last-Attempt-Date"]).timestamp() == NOW


def test_the_human_part_names_recipient_and_reply() -> None:
    text = parse(failure())[1][0].get_payload()
    assert "<bob@r.example>:" in text
    assert "550 5.1.1 no such user" in text
    assert "No more attempts" not in text


def test_only_the_headers_come_back() -> None:
    data = failure()
    assert parse(data)[1][2].get_payload() == "Subject: hello\r\nMessage-ID: <1@example>\r\n"
    assert b"secret body" not in data


def test_delay_says_until_when() -> None:
    late = Attempt(result=Result(450, None, ["busy"], "RCPT"), remoteip="192.0.2.1")
    data = dsn.delay_dsn(entry(), late, hostname="gw.example", original=ORIGINAL, clock=Clock(), until=NOW + 86400)
    _, parts = parse(data)
    one = status_of(parts[1])[1]
    assert (one["Action"], one["Status"], one["Remote-MTA"]) == ("delayed", "4.0.0", "dns; [192.0.2.1]")
    assert parsedate_to_datetime(one["Will-Retry-Until"]).timestamp() == NOW + 86400


def test_never_to_the_null_sender() -> None:
    item = entry(sender=b"")
    assert item.sender == NULL_SENDER
    with pytest.raises(ValueError, match="null sender"):
        failure(item)
    with pytest.raises(ValueError, match="null sender"):
        dsn.delay_dsn(item, REFUSED, hostname="h", original=None, clock=Clock(), until=NOW)


STATUS = [
    (Attempt(result=Result(550, (5, 7, 1), [""], "MAIL")), "5.7.1"),
    (Attempt(result=Result(550, None, [""], "MAIL")), "5.0.0"),
    (Attempt(result=Result(550, (2, 0, 0), [""], "MAIL")), "5.0.0"),
    (Attempt(result=Result(450, (4, 2, 1), [""], "MAIL")), "4.2.1"),
    (Attempt(result=Result(354, None, [""], "EOD")), "4.0.0"),
    (Attempt(error=AttemptError(False, "no such domain", "dns", (5, 1, 2))), "5.1.2"),
    (Attempt(error=AttemptError(True, "refused")), "4.0.0"),
    (dsn.EXPIRED, "4.4.7"),
    (dsn.REFUSED, "5.7.1"),
]


@pytest.mark.parametrize(("cause", "want"), STATUS)
def test_status(cause: Attempt | dsn.Reason, want: str) -> None:
    one = status_of(parse(failure(cause=cause))[1][1])[1]
    assert one["Status"] == want
    assert one["Action"] == "failed"


def test_network_errors_are_no_smtp_diagnostics() -> None:
    attempt = Attempt(error=AttemptError(True, "connection refused"), remoteip="192.0.2.1")
    one = status_of(parse(failure(cause=attempt))[1][1])[1]
    assert one["Diagnostic-Code"] == "x-local; connection refused"


@pytest.mark.parametrize("kind", ["bind", "config"])
def test_our_own_faults_are_not_told_in_detail(kind: str) -> None:
    attempt = Attempt(error=AttemptError(True, "cannot bind 10.1.2.3", kind))
    assert b"10.1.2.3" not in failure(cause=attempt)


HOSTILE = [
    "x\r\nBcc: victim@example",
    "x\r\n\r\n--boundary",
    "x\nX-Evil: 1",
    "a\x00b\x1b[31mc\x7f",
    "line\u2028sep\u0085",
    "\udce9t\udce9 \u00e9\u4e2d",
    "w" * 5000,
    "word " * 2000,
    "\udcff" * 3000,
    "",
    "   ",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_peers_text_cannot_shape_the_report(text: str) -> None:
    attempt = Attempt(result=Result(550, None, [text, text], "RCPT"), remotemx=text)
    data = failure(cause=attempt)
    assert data.isascii()
    message, parts = parse(data)
    assert len(parts) == 3
    assert set(message.keys()) == {
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "Auto-Submitted",
        "MIME-Version",
        "Content-Type",
    }
    one = status_of(parts[1])[1]
    assert set(one.keys()) <= {
        "Final-Recipient",
        "Action",
        "Status",
        "Remote-MTA",
        "Diagnostic-Code",
        "Last-Attempt-Date",
    }
    assert one["Diagnostic-Code"].startswith("smtp; 550")


def test_hostile_addresses_cannot_shape_the_report() -> None:
    item = entry(recipient=b"b\r\nX-Evil: 1@r.example", sender=b"a\r\nX-Evil: 1@s.example")
    message, parts = parse(failure(item))
    assert "X-Evil" not in message
    assert "X-Evil" not in status_of(parts[1])[1]


ADDRESSES = [
    (b"bob@r.example", "rfc822; bob@r.example"),
    (b'"a b"@r.example', 'rfc822; "a b"@r.example'),
    (b"postmaster", "rfc822; postmaster"),
    ("josé@r.example".encode(), r"utf-8; jos\x{E9}@r.example"),
    ("a+ü@中.example".encode(), r"utf-8; a\x{2B}\x{FC}@\x{4E2D}.example"),
]


@pytest.mark.parametrize(("address", "want"), ADDRESSES)
def test_final_recipient(address: bytes, want: str) -> None:
    data = failure(entry(recipient=address))
    assert data.isascii()
    assert status_of(parse(data)[1][1])[1]["Final-Recipient"] == want


def test_a_utf8_sender_is_addressed_as_it_is() -> None:
    item = entry(sender="josé@s.example".encode())
    data = failure(item)
    assert "To: <josé@s.example>\r\n".encode() in data
    (report,) = dsn.notification(item, data, "back", NOW).entries
    assert (report.smtputf8, report.eightbit) == (True, True)


def test_notification_is_mail_from_the_null_sender() -> None:
    data = failure()
    mail = dsn.notification(entry(serverid="in"), data, "back", NOW)
    (report,) = mail.entries
    assert b"".join(mail.body.chunks()) == data
    assert (report.sender, report.recipient.path, report.transportid) == (NULL_SENDER, b"Ann@S.example", "back")
    assert (report.size, report.ts, report.state, report.id) == (len(data), NOW, "active", 0)
    assert (report.smtputf8, report.eightbit, report.serverid) == (False, False, "in")
    assert report.transaction != "tid"


HEADERS = [
    (b"A: 1\r\n\r\nbody", b"A: 1\r\n"),
    (b"A: 1\r\nB: 2\r\n", b"A: 1\r\nB: 2\r\n"),
    (b"\r\nbody: not a header\r\n\r\n", b""),
    (b"", b""),
    (b"no line end", b"no line end"),
    (b"A: 1\r\n" * 20000 + b"\r\nbody", b"A: 1\r\n" * (65536 // 6)),
    (b"A: " + b"x" * 70000, (b"A: " + b"x" * 70000)[:65536]),
    (b"A: " + b"x" * 65531 + b"\r\n\r\nbody", b"A: " + b"x" * 65531 + b"\r\n"),
]


@pytest.mark.parametrize("piece", [3, 65536])
@pytest.mark.parametrize(("original", "want"), HEADERS)
def test_headers_are_whole_lines_and_capped(original: bytes, want: bytes, piece: int) -> None:
    if piece == 3 and len(original) > 1000:
        piece = 4096
    assert dsn.headers_of(Text(original, piece)) == want


def test_eight_bit_and_long_headers_are_quoted() -> None:
    raw = b"Subject: \xe9t\xe9 = 1\r\nX: " + b"y" * 2000 + b" \r\nZ: a\x00b\r\n"
    data = failure(original=Text(raw + b"\r\nbody"))
    assert data.isascii()
    part = parse(data)[1][2]
    assert part["Content-Transfer-Encoding"] == "quoted-printable"
    assert part.get_payload(decode=True) == raw


def test_without_an_original_there_are_two_parts() -> None:
    assert len(parse(failure(original=None))[1]) == 2


def test_an_expired_entry_tells_the_last_reply_but_not_our_own_errors() -> None:
    item = entry(error="450 4.2.1 mailbox busy (RCPT)")
    assert "450 4.2.1 mailbox busy" in dsn.expired(item).text
    item.error = "bind: cannot bind 10.1.2.3"
    assert dsn.expired(item) == dsn.EXPIRED


def test_a_temporary_cause_says_that_no_more_is_tried() -> None:
    attempt = Attempt(result=Result(450, None, ["busy"], "RCPT"))
    assert "No more attempts" in parse(failure(cause=attempt))[1][0].get_payload()


NAMES = ["Help", "Smith, Zoë", "Zoë <x@y.example>", 'A "B"', "=?utf-8?q?x?=", "é" * 255]


@pytest.mark.parametrize("name", NAMES)
def test_a_scripts_name_stays_a_name(name: str) -> None:
    wanted = DSNPlan(from_name=name.encode())
    data = dsn.failure_dsn(entry(), REFUSED, hostname="h.example", original=None, clock=Clock(), wanted=wanted)
    [(shown, address)] = getaddresses([unfold(parse(data)[0]["From"])])
    assert (str(make_header(decode_header(shown))), address) == (name, "MAILER-DAEMON@h.example")


def test_headers_of_other_scripts_are_base64() -> None:
    raw = "Subject: Привет, мир\r\n".encode()
    part = parse(failure(original=Text(raw + b"\r\nbody")))[1][2]
    assert part["Content-Transfer-Encoding"] == "base64"
    assert part.get_payload(decode=True) == raw
