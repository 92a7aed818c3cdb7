"""Parameters of fields (RFC 2045, 2231) and transfer encodings: values by the RFCs, and what senders write instead."""

from __future__ import annotations

import base64
import binascii
import email
from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsl.mime import coding, words
from hsl.mime.coding import to_utf8
from hsl.mime.fields import make_field
from hsl.mime.parameters import parse_disposition, parse_type, write_parameter

TYPES: list[tuple[bytes, bytes, dict[bytes, bytes]]] = [
    (b"text/plain", b"text/plain", {}),
    (b" Text/PLAIN ; Charset=UTF-8", b"text/plain", {b"charset": b"UTF-8"}),
    (b'text/plain; charset="us-ascii" (plain text)', b"text/plain", {b"charset": b"us-ascii"}),
    (b"text/plain; charset=us-ascii (Plain text)", b"text/plain", {b"charset": b"us-ascii"}),  # RFC 2045 5.1
    (b'multipart/mixed; boundary="a; b=\\"c\\""', b"multipart/mixed", {b"boundary": b'a; b="c"'}),
    (b"multipart/mixed; boundary = x", b"multipart/mixed", {b"boundary": b"x"}),
    (b"text/plain;; ; a=1;", b"text/plain", {b"a": b"1"}),
    (b"text/plain; a=1; a=2", b"text/plain", {b"a": b"1"}),
    (b"text/plain; a=", b"text/plain", {b"a": b""}),
    (b'text/plain; a="', b"text/plain", {b"a": b""}),
    (b'text/plain; a="b', b"text/plain", {b"a": b"b"}),
    (b"text/plain; name=two words.txt; x=y", b"text/plain", {b"name": b"two words.txt", b"x": b"y"}),
    (b"text", b"", {}),
    (b"", b"", {}),
    (b"; charset=x", b"", {b"charset": b"x"}),
    (b"text/plain charset=us-ascii", b"text/plain", {}),
    (b"text/html/x; a=1", b"text/html", {b"a": b"1"}),
    (b'"text/plain"', b"text/plain", {}),
    # RFC 2231 sections 3, 4, 4.1
    (b'message/external-body; access-type=URL; URL*0="ftp://"; URL*1="cs.utk.edu/pub/moore/bulk-mailer.tar"',
     b"message/external-body", {b"access-type": b"URL", b"url": b"ftp://cs.utk.edu/pub/moore/bulk-mailer.tar"}),
    (b"application/x-stuff; title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A",
     b"application/x-stuff", {b"title": b"This is ***fun***"}),
    (b"application/x-stuff; title*0*=us-ascii'en'This%20is%20even%20more%20; title*1*=%2A%2A%2Afun%2A%2A%2A%20;"
     b' title*2="isn\'t it!"', b"application/x-stuff", {b"title": b"This is even more ***fun*** isn't it!"}),
    (b"a/b; x*1=b; x*0=a", b"a/b", {b"x": b"ab"}),
    (b"a/b; x*0=a; x*2=c", b"a/b", {b"x": b"a"}),
    (b"a/b; x*0=a; x*0=b; x*1=c", b"a/b", {b"x": b"ac"}),
    (b"a/b; x=plain; x*=utf-8''better", b"a/b", {b"x": b"better"}),
    (b"a/b; x*=iso-8859-1''%E5", b"a/b", {b"x": "å".encode()}),
    (b"a/b; x*=''%C3%A5", b"a/b", {b"x": "å".encode()}),
    (b"a/b; x*=nonsense''%C3%A5%zz", b"a/b", {b"x": "å%zz".encode()}),
    (b"a/b; x*=%41", b"a/b", {b"x": b"A"}),
    (b"a/b; x*0*=utf-8''%C3; x*1*=%A5", b"a/b", {b"x": "å".encode()}),
    # encoded words and raw octets, where neither may stand
    (b"a/b; x=y (c) ; z=(", b"a/b", {b"x": b"y", b"z": b"("}),
    (b'a/b; name="=?utf-8?B?w6UudHh0?="', b"a/b", {b"name": "å.txt".encode()}),
    (b"a/b; name==?iso-8859-1?Q?=E5?=", b"a/b", {b"name": "å".encode()}),
    (b'a/b; name="\xc3\xa5"', b"a/b", {b"name": "å".encode()}),
    (b'a/b; name="\xe5"', b"a/b", {b"name": "å".encode()}),
]  # fmt: skip


@pytest.mark.parametrize(("value", "word", "parameters"), TYPES)
def test_types(value: bytes, word: bytes, parameters: dict[bytes, bytes]) -> None:
    assert parse_type(value) == (word, parameters)


@pytest.mark.parametrize(("value", "word"), [(b"Attachment; filename=x", b"attachment"), (b"", b""), (b";a=b", b"")])
def test_dispositions(value: bytes, word: bytes) -> None:
    assert parse_disposition(value).word == word


@given(st.text(max_size=60))
def test_a_written_parameter_reads_back(text: str) -> None:
    value = text.encode("utf-8", "replace")
    written = b"attachment; " + write_parameter(b"filename", value)
    assert parse_disposition(written).parameters[b"filename"] == value
    field = make_field(b"Content-Disposition", written, True)
    assert max(map(len, field.raw.split(b"\r\n"))) <= 998
    theirs = email.message_from_bytes(field.raw + b"\r\n").get_filename()
    assert theirs is not None or not text
    if theirs is not None:
        assert theirs.split() == value.decode().split()


@pytest.mark.parametrize("refold", [True, False])
def test_no_line_is_too_long_behind_the_longest_name(refold: bool) -> None:
    lines = make_field(b"n" * 200, b"w " * 2_500, refold).raw.split(b"\r\n")
    assert max(map(len, lines)) <= (203 if refold else 998)


WORDS = [
    (b"SGVs bG8", b"Hello"),  # broken by a blank
    (b"SGVsbG8", b"Hello"),
    (b"SGVsbG8==", b"Hello"),
    (b"SGVsbG8h", b"Hello!"),
    (b"S", b"=?utf-8?B?S?="),
]


@pytest.mark.parametrize(("text", "wanted"), WORDS)
def test_base64_in_words(text: bytes, wanted: bytes) -> None:
    assert words.decode(b"=?utf-8?B?" + text + b"?=") == wanted


BASE64 = [
    (b"SGVsbG8=", b"Hello"),
    (b"SGVs\r\nbG8=\r\n", b"Hello"),
    (b"SGVsbG8", b"Hello"),
    (b"S G!V\xffs-b_G8=", b"Hello"),
    (b"SGVsbG8=SGVsbG8=", b"Hello"),
    (b"SGVsbG8==", b"Hello"),
    (b"SGVsbG8A5", b"Hello\0"),
    (b"S", b""),
    (b"====", b""),
    (b"", b""),
    (b"\x00\xff", b""),
]


@pytest.mark.parametrize(("data", "wanted"), BASE64)
def test_base64(data: bytes, wanted: bytes) -> None:
    assert coding.decode(data, b"base64") == wanted


QUOTED = [
    (b"a=3Db=\r\nc", b"a=bc"),
    (b"a=\nb", b"ab"),
    (b"=e5=E5", b"\xe5\xe5"),
    (b"=XY= =", b"=XY= "),
    (b"x  \r\ny", b"x  \r\ny"),
    (b"=00\xff", b"\0\xff"),
]


@pytest.mark.parametrize(("data", "wanted"), QUOTED)
def test_quoted_printable(data: bytes, wanted: bytes) -> None:
    assert coding.decode(data, b"quoted-printable") == wanted


def test_uuencode() -> None:
    content = bytes(range(256)) * 3
    lines = [binascii.b2a_uu(content[start : start + 45]) for start in range(0, len(content), 45)]
    encoded = b"intro\nbegin 644 a.bin\n" + b"".join(lines) + b"`\nend\nrest\n"
    assert coding.decode(encoded, b"x-uuencode") == content
    assert coding.decode(encoded.replace(b"\n", b"\r\n"), b"x-uuencode") == content
    assert coding.decode(b"no uuencode", b"uuencode") == b"no uuencode"


@given(st.binary(max_size=300))
def test_encodings_are_each_others_inverse(data: bytes) -> None:
    assert coding.decode(coding.encode_base64(data), b"base64") == data == base64.b64decode(coding.encode_base64(data))
    encoding, encoded = coding.encode(data, text=False)
    assert coding.decode(encoded, encoding) == data
    assert encoded.isascii()
    assert all(len(line) <= 998 for line in encoded.split(b"\r\n"))


RAW = [
    (b"\xc3\xa5", None, "å"),
    (b"\xe5", None, "å"),
    (b"\xe5", b"iso-8859-5", "х"),
    (b"\xc3\xa5", b"iso-8859-1", "å"),
    (b"\x80", b"nonsense", "€"),
    (b"\x81", None, "\x81"),
    (b"a\xff", b"utf-16", "aÿ"),
    (b"\xa4\xa2", b"euc-jp", "あ"),
    (b"\xff\xff", b"euc-jp", "ÿÿ"),
    (b"x", b"hex", "x"),
    (b"\xff", b"hex", "ÿ"),
]


@pytest.mark.parametrize(("value", "charset", "wanted"), RAW)
def test_raw_octets(value: bytes, charset: bytes | None, wanted: str) -> None:
    assert to_utf8(value, charset).decode() == wanted


@given(st.text(st.characters(exclude_categories=["C", "Z"]), max_size=80))
def test_encoded_words_are_read_elsewhere(text: str) -> None:
    written = words.encode(text.encode())
    assert str(make_header(decode_header(written.decode()))) == text
    assert words.decode(written).decode() == text


QUOTED = [
    (b"plain", b"plain"),
    ("Grüße".encode(), b"=?utf-8?Q?Gr=C3=BC=C3=9Fe?="),
    ("a ü b".encode(), b"a =?utf-8?Q?=C3=BC?= b"),
    ("ü ö".encode(), b"=?utf-8?Q?=C3=BC_=C3=B6?="),
    ("ü?=_".encode(), b"=?utf-8?Q?=C3=BC=3F=3D=5F?="),
    (b"\xfc", b"=?utf-8?Q?=C3=BC?="),
]


@pytest.mark.parametrize(("value", "wanted"), QUOTED)
def test_words_in_q(value: bytes, wanted: bytes) -> None:
    assert words.encode(value, quoted=True) == wanted


@given(st.text(min_size=1, max_size=200))
def test_words_in_q_read_back(text: str) -> None:
    value = b"\xc3\xbc" + text.replace("\r", "").replace("\n", "").encode("utf-8", "replace") + b"\xc3\xbc"
    written = words.encode(value.replace(b" ", b""), quoted=True)
    assert written.isascii()
    assert all(len(word) <= 75 for word in written.split(b" "))
    assert str(make_header(decode_header(written.decode()))) == value.replace(b" ", b"").decode()
