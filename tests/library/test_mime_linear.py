"""The work on a message grows with its size and no faster: bytes that are read and steps that are taken are counted."""

from __future__ import annotations

import encodings
import re

import pytest
from oddmail import MIXED

from hsl.library.mime import MailMessage
from hsl.mime import coding, parameters, words
from hsl.mime.fields import MAX_HEADERS
from hsl.mime.mail import MAX_KEPT, MailModel
from hsl.mime.source import CHUNK, BytesBody
from hsl.mime.tree import MAX_DEPTH, Part, Splitter

MEGABYTE = 2**20


class Counting(BytesBody):
    """Counts what is read of it."""

    read = 0

    def read_at(self, start: int, end: int) -> bytes:
        self.read += end - start
        return super().read_at(start, end)


def nested(levels: int) -> bytes:
    lines = [b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d" % (level, level) for level in range(levels)]
    return b"\r\n".join(lines) + b"\r\n\r\nthe leaf\r\n" + b"".join(b"--b%d--\r\n" % n for n in reversed(range(levels)))


def test_unknown_character_sets_leave_nothing_behind() -> None:
    assert words.decode(b"".join(b"=?x-none-%d?q?a?=\n" % number for number in range(100))).startswith(b"=?x-none-0?q")
    assert [name for name in vars(encodings)["_cache"] if "none" in name] == []


MESSAGES = {
    "a header field of 10 MB": b"X: " + b"y" * 10 * MEGABYTE + b"\r\n\r\nbody",
    "a folded header of 10 MB": b"X: y\r\n" + b" z\r\n" * (10 * MEGABYTE // 4) + b"\r\nbody",
    "10 MB of header fields": b"a:\r\n" * (10 * MEGABYTE // 4) + b"\r\nbody",
    "10 MB of a header without an end": MIXED + b"X" * 10 * MEGABYTE,
    "10,000 parts": MIXED + b"\r\n" + b"--b\r\nX: y\r\n\r\ntext\r\n" * 10_000 + b"--b--\r\n",
    "10,000 parts without empty lines": MIXED + b"\r\n" + b"--b\r\nX: y\r\n" * 10_000 + b"--b--\r\n",
    "100,000 parts": MIXED + b"\r\n" + b"--b\r\n\r\n" * 100_000,
    "1,000 levels": nested(1_000),
    "as many levels as are split": nested(MAX_DEPTH) * 100,
    "1,000 messages in messages": b"Content-Type: message/rfc822\r\n\r\n" * 1_000,
    "1 MB that looks like delimiters": MIXED + b"\r\n" + b"--b-\r\n" * (MEGABYTE // 6),
    "10 MB of dashes": MIXED + b"\r\n--b\r\n\r\n" + b"-" * 10 * MEGABYTE,
    "10 MB of line breaks": MIXED + b"\r\n--b\r\n\r\n" + b"\n" * 10 * MEGABYTE,
    "10 MB of carriage returns": MIXED + b"\r\n--b\r\n\r\n" + b"\r" * 10 * MEGABYTE,
    "10 MB of attachment": MIXED + b"\r\n--b\r\n\r\n" + (b"A" * 76 + b"\r\n") * (10 * MEGABYTE // 78) + b"--b--\r\n",
    "boundaries of all sizes": b"".join(
        b"Content-Type: multipart/mixed; boundary=" + b"b" * size + b"\r\n\r\n--" + b"b" * size + b"\r\n"
        for size in range(1, MAX_DEPTH)
    )
    + b"--" * 500_000,
}


@pytest.mark.parametrize("name", MESSAGES)
def test_each_byte_is_read_once_and_each_step_has_a_line(name: str) -> None:
    data = MESSAGES[name]
    source = Counting(data)
    splitter = Splitter(source)
    splitter.run(Part(None, 0))
    assert source.read == splitter.window.read <= len(data)
    assert splitter.steps <= data.count(b"\n") + 1


@pytest.mark.parametrize("name", MESSAGES)
def test_the_buffer_holds_a_field_or_a_line_not_the_message(name: str) -> None:
    class Measured(Counting):
        most = 0

        def read_at(self, start: int, end: int) -> bytes:
            self.most = max(self.most, end - start)
            return super().read_at(start, end)

    source = Measured(MESSAGES[name])
    Splitter(source).run(Part(None, 0))
    assert source.most <= 2 * MAX_HEADERS


@pytest.mark.parametrize("name", MESSAGES)
def test_twice_the_message_is_at_most_twice_the_work(name: str) -> None:
    half = len(MESSAGES[name]) // 2
    work = []
    for data in (MESSAGES[name][:half], MESSAGES[name]):
        splitter = Splitter(BytesBody(data))
        splitter.run(Part(None, 0))
        work.append(splitter.work)
    assert work[1] <= 2 * work[0] + 3 * MAX_HEADERS


def test_the_header_alone_is_read_for_headers() -> None:
    source = Counting(b"Subject: x\r\n\r\n" + b"body\r\n" * MEGABYTE)
    mail = MailModel(source)
    assert mail.fields(mail.root)[0].value == b"x"
    mail.set_field(mail.root, b"Subject", b"y")
    assert mail.version().size == source.size
    assert source.read <= 3 * CHUNK


def test_a_part_alone_is_read_for_its_body() -> None:
    large = MIXED + b"\r\n--b\r\n\r\none\r\n--b\r\n\r\n" + b"x" * 10 * MEGABYTE + b"\r\n--b--\r\n"
    source = Counting(large)
    mail = MailModel(source)
    mail.split()
    source.read = 0
    assert mail.content(mail.root.children[0]) == b"one"
    mail.remove(mail.root.children[1])
    assert mail.current_bytes() == MIXED + b"\r\n--b\r\n\r\none\r\n--b--\r\n"
    assert source.read <= 2 * CHUNK


def test_fields_of_many_parts_are_not_all_kept() -> None:
    """A message of 48 MB took 1.2 GB when the fields of all its parts were."""
    part = b"--b\r\n" + b"X: y\r\n" * 9_000 + b"\r\n"
    mail = MailModel(BytesBody(MIXED + b"\r\n" + part * 10 + b"--b--\r\n"))
    parts = mail.split().children
    assert [len(mail.fields(found)) for found in parts * 2] == [9_000] * 20
    kept = sum(len(fields) for found, fields in mail.received.items() if found is not mail.root)
    assert 0 < kept <= MAX_KEPT
    mail.set_field(parts[9], b"X-New", b"z")
    assert mail.current(parts[9])[0].name == b"x-new"
    assert mail.current_bytes().endswith(b"--b\r\nX-New: z\r\n" + part[5:] + b"--b--\r\n")


def test_pauses() -> None:
    pauses = []
    MailModel(BytesBody(MESSAGES["1 MB that looks like delimiters"])).split(lambda: pauses.append(1))
    assert len(pauses) >= 40

    def stop() -> None:
        raise TimeoutError

    mail = MailModel(BytesBody(MESSAGES["10,000 parts"]))
    with pytest.raises(TimeoutError):
        mail.split(stop)
    assert len(mail.split().children) == 9_999
    assert mail.root.children[-1].id == b"9999", "what the first attempt found is forgotten"


def test_changed_parts_are_written_in_linear_work() -> None:
    mail = MailModel(BytesBody(MESSAGES["10,000 parts"]))
    for part in mail.split().children[::10]:
        mail.remove(part)
    version = mail.version()
    assert len(version.pieces) <= 2 * 1_001
    assert len(MailModel(BytesBody(mail.current_bytes())).split().children) == 10_000 - 1_000


# Values: the regular expressions count their own work where nothing is possessive; these would never come to an end.

LONG = 100_000
VALUES = [
    b'text/plain; a="' * LONG,
    b'text/plain; a="\\' * LONG,
    b"text/plain" + b";" * LONG,
    b"text/plain" + b"; a" * LONG,
    b"text/plain; a*" + b"0" * LONG + b"=b",
    b"text/plain" + b"; a*0=b" * LONG,
    b"text/plain; a=" + b"(" * LONG,
    b"text/plain; a=" + b" " * LONG + b"x",
    b"text/plain; a=x" + b" " * MEGABYTE + b"y",
    b"text/plain; a=x" + b" (" * LONG + b")",
    b"text/plain; a=" + b"%" * LONG,
    b" " * LONG,
    b"a" * LONG,
    b"a/" * LONG,
    b"text/plain; a=" + b"=?utf-8?q?" * LONG,
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_parameters_of_any_size(value: bytes) -> None:
    assert parameters.parse_type(value).word in (b"text/plain", b"a/a", b"")
    parameters.parse_disposition(value)


def test_the_type_is_read_once_for_all_headers() -> None:
    """Their raw octets are read in its charset."""
    source = b"Content-Type: text/plain; charset=iso-8859-1" + b"; a=b" * LONG + b"\r\n" + b"X: \xe9\r\n" * 5_000
    found = MailMessage.of_bytes(source).get_headers(b"X")
    assert list(found.values()) == ["é".encode()] * 5_000


@pytest.mark.parametrize(
    "data", [b"begin 644 x\n" * LONG, b"=" * MEGABYTE, b"=\r\n" * LONG, b"A" * 10 * MEGABYTE, b"\xff" * MEGABYTE]
)
@pytest.mark.parametrize("encoding", [b"base64", b"quoted-printable", b"x-uuencode"])
def test_bodies_of_any_size(data: bytes, encoding: bytes) -> None:
    assert len(coding.decode(data, encoding)) <= len(data)


@pytest.mark.parametrize(
    "data", [b"\r" * LONG, b"\n" * LONG, b"=" * LONG, b"x" * MEGABYTE, b"\xff" * MEGABYTE, b" \n" * LONG]
)
def test_contents_of_any_size(data: bytes) -> None:
    for text in (True, False):
        encoding, encoded = coding.encode(data, text=text)
        assert coding.decode(encoded, encoding) == (re.sub(rb"[\r\n]", b"\r\n", data) if text else data)
    assert words.decode(words.encode(data[:LONG])) is not None
