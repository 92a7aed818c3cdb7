"""Messages under edit: what comes out is what came in, except for what was edited."""

import time

import pytest

from hsl.errors import ScriptError
from hsl.mime.fields import MAX_FIELDS, MAX_HEADERS
from hsl.runtime.message import BytesBody, Message

TRACE = b"Received: from a by b\r\n"
MAIL = b"Subject: one\r\nX-A: 1\r\n folded\r\nx-a: 2\r\n\r\nbody\r\n\r\nmore\r\n"


def make(data: bytes = MAIL) -> Message:
    return Message(BytesBody(data), TRACE)


def out(message: Message) -> bytes:
    version = message.version()
    data = b"".join(version.chunks())
    assert len(data) == version.size == message.size
    assert data.startswith(TRACE)
    return data[len(TRACE) :]


RAW = [
    MAIL,
    b"",
    b"\r\n",
    b"\r\nbody only\r\n",
    b"no header at all\r\nbody\r\n",
    b"Subject: no body\r\n",
    b"Subject: no line end",
    b" starts with a blank\r\nSubject: x\r\n\r\nb\r\n",
    b"Subject: x\r\nbroken line\r\nX-After: y\r\n\r\nb\r\n",
    b"Odd : space before colon\r\n\r\n\x00\xff\r\n",
    b"Subject: x\r\n\r\n" + b"0123456789abcde\r\n" * 9000,
]


@pytest.mark.parametrize("data", RAW, ids=range(len(RAW)))
def test_untouched_is_bit_for_bit(data: bytes) -> None:
    message = make(data)
    assert out(message) == data
    message.get(b"subject")
    message.get_all(None)
    assert out(message) == data


@pytest.mark.parametrize("data", RAW[4:10], ids=range(4, 10))
def test_an_added_header_never_touches_the_rest(data: bytes) -> None:
    message = make(data)
    message.add(b"X-New", b"v")
    edited = out(message)
    assert edited.startswith(b"X-New: v\r\n")
    fields = message.headers()
    head, _, rest = edited.partition(b"\r\n\r\n")
    assert len(head.split(b"\r\nX-New")) == 1
    assert edited.endswith(data[message.mail.root.body :])
    assert len(fields) == 1 + len(make(data).headers())
    assert rest is not None


def test_reading() -> None:
    message = make()
    assert message.get(b"SUBJECT") == b"one"
    assert message.get(b"X-A") == b"1 folded"
    assert message.get(b"X-None") is None
    assert message.get_all(b"x-a") == [b"1 folded", b"2"]
    assert message.get_all(None) == [b"Subject: one", b"X-A: 1 folded", b"x-a: 2"]
    assert message.get(b"Received") is None, "our own trace header is out of reach"


def test_editing() -> None:
    message = make()
    assert message.set(b"Subject", b"two") == 1
    assert message.prepend(b"x-a", b"<") == 2
    assert message.append(b"X-A", b">") == 2
    assert out(message) == b"Subject: two\r\nX-A: <1 folded>\r\nx-a: <2>\r\n\r\nbody\r\n\r\nmore\r\n"
    assert message.delete(b"X-A") == 2
    assert message.delete(b"X-A") == 0
    assert message.set(b"X-B", b"new") == 1
    message.add(b"X-C", b"top")
    assert out(message) == b"X-C: top\r\nX-B: new\r\nSubject: two\r\n\r\nbody\r\n\r\nmore\r\n"


def test_a_version_keeps_what_was() -> None:
    message = make()
    before = message.version()
    message.delete(b"Subject")
    assert message.version() is message.version()
    assert b"".join(before.chunks()) == TRACE + MAIL
    assert message.version().serial != before.serial


DECODED = [
    (b"=?utf-8?Q?=C3=A5_b?=", "å b".encode()),
    (b"=?UTF-8?b?w6U=?=", "å".encode()),
    (b"=?iso-8859-1?q?=E5?= x", "å x".encode()),
    (b"=?utf-8?B?w6U=?= =?utf-8?B?w6U=?=", "åå".encode()),
    (b"=?utf-8?B?ww==?=\r\n =?utf-8?B?pQ==?=", "å".encode()),
    (b"=?utf-8?B?w6U=?= =?iso-8859-1?Q?=E5?=", "åå".encode()),
    (b"=?utf-8*en?Q?a?=", b"a"),
    (b"a =?utf-8?Q?b?= c", b"a b c"),
    (b"=?nonsense?Q?a?= b", b"=?nonsense?Q?a?= b"),
    (b"=?idna?Q?a?=", b"=?idna?Q?a?="),
    (b"=?hex?Q?41?=", b"=?hex?Q?41?="),
    (b"=?utf-8?B?w?=", b"=?utf-8?B?w?="),
    (b"=?utf-8?Q?=ZZ?=", b"=ZZ"),
    (b"=?utf-8?Q?broken", b"=?utf-8?Q?broken"),
    (b"=?ascii?Q?=FF?=", "\N{REPLACEMENT CHARACTER}".encode()),
    (b"\xe5 raw", b"\xe5 raw"),
    (b"x =?nonsense?Q?a?= =?utf-8?Q?b?=", b"x =?nonsense?Q?a?= b"),
    (b"=?utf-8?Q?b?= =?nonsense?Q?a?=", b"b =?nonsense?Q?a?="),
]


@pytest.mark.parametrize(("raw", "wanted"), DECODED)
def test_decoding(raw: bytes, wanted: bytes) -> None:
    message = make(b"X: " + raw + b"\r\n\r\n")
    assert message.get(b"x") == wanted
    assert message.get(b"x", decode=False) == raw.replace(b"\r\n", b"")


WRITTEN = [
    (b"plain", True, b"X: plain\r\n"),
    (b"", True, b"X: \r\n"),
    (b"a\r\nBcc: evil@example.com", True, b"X: a Bcc: evil@example.com\r\n"),
    (b"a\nBcc: evil@example.com", False, b"X: a\r\n Bcc: evil@example.com\r\n"),
    (b"a\rBcc: evil", False, b"X: a\r\n Bcc: evil\r\n"),
    (b"a\r\n\r\nbody", True, b"X: a body\r\n"),
    (b"a\r\n\r\nbody", False, b"X: a\r\n body\r\n"),
    (b"a\r\n\tfolded", False, b"X: a\r\n folded\r\n"),
    (b"nul\x00 bell\x07", True, b"X: nul bell\r\n"),
    ("blå himmel".encode(), True, b"X: =?utf-8?B?YmzDpQ==?= himmel\r\n"),
    (b"\xe5", True, b"X: =?utf-8?B?w6U=?=\r\n"),
    (b"word " * 20, True, b"X: " + b" ".join([b"word"] * 15) + b"\r\n " + b" ".join([b"word"] * 5) + b"\r\n"),
    (b"word " * 20, False, b"X: " + b" ".join([b"word"] * 20) + b" \r\n"),
]


@pytest.mark.parametrize(("value", "refold", "wanted"), WRITTEN)
def test_writing_is_safe(value: bytes, refold: bool, wanted: bytes) -> None:
    message = make(b"\r\nbody")
    message.add(b"X", value, refold)
    assert out(message) == wanted + b"\r\nbody"


@pytest.mark.parametrize("refold", [True, False])
@pytest.mark.parametrize(
    "value", [b"x" * 5000, b"x" * 997 + b" y" * 600, " å".encode() * 900, b" " * 3000, b" \r\n " * 50]
)
def test_no_line_is_too_long_and_none_is_blank(value: bytes, refold: bool) -> None:
    message = make(b"\r\nbody")
    message.add(b"X-Long", value, refold)
    lines = out(message).removesuffix(b"\r\n\r\nbody").split(b"\r\n")
    assert all(len(line) <= 998 and line.strip() for line in lines)
    assert all(line[:1] == b" " for line in lines[1:])


@pytest.mark.parametrize(
    "value",
    ["å" * 200, "blå himmel över Åre", "  spaces  å  å ", "=?utf-8?Q?x?= å", "\U0001f600" * 30],
)
def test_what_is_written_reads_back(value: str) -> None:
    message = make()
    message.set(b"Subject", value.encode())
    decoded = message.get(b"subject")
    assert decoded is not None
    assert decoded.decode().split() == value.replace("=?utf-8?Q?x?=", "x").split()


def test_prepend_to_an_encoded_subject() -> None:
    message = make(b"Subject: =?utf-8?Q?=C3=A5?=\r\n\r\n")
    message.prepend(b"Subject", b"[SPAM] ")
    assert message.get(b"Subject") == "[SPAM] å".encode()
    message.prepend(b"Subject", "ö ".encode())
    assert message.get(b"Subject", decode=False) == b"=?utf-8?B?w7Yg?= [SPAM] =?utf-8?Q?=C3=A5?="


@pytest.mark.parametrize("name", [b"", b"a b", b"a:b", b"a\r\nb", "å".encode(), b"x" * 201])
def test_bad_names(name: bytes) -> None:
    with pytest.raises(ScriptError, match="header name"):
        make().add(name, b"v")


def test_limits() -> None:
    longest = b"X: " + b"y" * (MAX_HEADERS - 5) + b"\r\n"
    assert make(longest + b"\r\nb").get(b"x") == b"y" * (MAX_HEADERS - 5)
    for block in (b"X" + longest + b"\r\nb", b"a:\r\n" * (MAX_FIELDS + 1) + b"\r\n"):
        with pytest.raises(ScriptError, match="header"):
            make(block).get(b"x")
        assert out(make(block)) == block
    assert len(make(b"a:\r\n" * MAX_FIELDS + b"\r\n").headers()) == MAX_FIELDS
    message = make()
    with pytest.raises(ScriptError, match="exceeds"):
        message.add(b"X", b"y" * (MAX_HEADERS + 1))
    full = make(b"a:\r\n" * MAX_FIELDS + b"\r\n")
    with pytest.raises(ScriptError, match="more than"):
        full.add(b"X", b"")


def test_long_body_without_an_end_of_headers_is_not_read_whole() -> None:
    class Counting(BytesBody):
        read = 0

        def read_at(self, start: int, end: int) -> bytes:
            self.read += end - start
            return super().read_at(start, end)

    body = Counting(b"no header here\r\n" * 300_000)
    message = Message(body, TRACE)
    assert message.get(b"x") is None
    assert body.read <= MAX_HEADERS + 64 * 1024


@pytest.mark.parametrize(
    "value",
    [
        b"=?x?q?" * 150_000,
        b"=?utf-8?q?a?=" * 70_000,
        b"=?" * 400_000,
        b" " * 900_000,
        b"\r\n " * 300_000,
        b"=?a?b?" + b" " * 900_000,
    ],
    ids=["open", "words", "starts", "blanks", "folds", "long"],
)
def test_hostile_values_take_linear_time(value: bytes) -> None:
    deadline = time.monotonic() + 10
    message = make(b"X: " + value + b"\r\n\r\n")
    message.get(b"x")
    message.append(b"X", b"y")
    message.append(b"X", b"y", refold=False)
    assert time.monotonic() < deadline
