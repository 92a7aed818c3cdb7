"""The parts of a message by offsets: what came in goes out, whatever it is, and the trees agree with another parser."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oddmail import MIXED, ODD, mail_of, our_tree, their_names, their_tree

from hsl.mime.fields import HARD_LINE, MAX_HEADERS
from hsl.mime.source import CHUNK
from hsl.mime.tree import MAX_BOUNDARY, MAX_DEPTH, MAX_PARTS, Part

# Where the standard library sees another tree, and why.
DIFFERENT = {
    "quoted mailbox line": "it wants the line without >",
    "empty parts": "it takes two delimiter lines in a row for one; RFC 2046 has an empty part between them",
    "never closed": "it drops the last line break of a part whose multipart is not closed",
    "only closed": "it drops the text of a multipart without parts",
}


@pytest.mark.parametrize("name", ODD)
def test_reading_changes_nothing(name: str) -> None:
    mail = mail_of(ODD[name])
    for part in mail.split().walk():
        mail.fields(part)
        mail.content(part)
        assert mail.render(part) == ODD[name][part.start : part.end]
    assert mail.current_bytes() == ODD[name]
    assert b"".join(mail.version().chunks()) == ODD[name]


@pytest.mark.parametrize("name", ODD)
def test_the_tree_is_that_of_another_parser(name: str) -> None:
    mail = mail_of(ODD[name])
    same = our_tree(mail, mail.split()) == their_tree(ODD[name])
    assert same == (name not in DIFFERENT)
    if name != "quoted mailbox line":
        assert [field.name for field in mail.fields(mail.root)] == their_names(ODD[name])


@pytest.mark.parametrize("name", ODD)
def test_an_added_header_is_all_that_changes(name: str) -> None:
    mail = mail_of(ODD[name])
    mail.add_field(mail.root, b"X-New", b"v")
    first = mail.root.first
    added = b"X-New: v" + mail.newline
    out = mail.current_bytes()
    assert out.startswith(ODD[name][:first] + added)
    rest = out[first + len(added) :]
    if mail.root.body > mail.root.headers_end:
        assert rest == ODD[name][first:]
    else:  # the empty line that the message has not
        assert rest.replace(mail.newline, b"") == ODD[name][first:].replace(mail.newline, b"")
    assert mail.reset() == 1
    assert mail.current_bytes() == ODD[name]


def shape(part: Part) -> list[object]:
    return [part.id.decode(), *(shape(child) for child in part.children)]


SHAPES = [
    ("two parts", ["0", ["1"], ["2"]]),
    ("nested", ["0", ["1", ["1.1"]], ["2"]]),
    ("nested, not closed", ["0", ["1", ["1.1"]], ["2"]]),
    ("the same boundary inside", ["0", ["1"], ["2"]]),
    ("a message inside", ["0", ["1", ["1.1", ["1.1.1"]]]]),
    ("a digest", ["0", ["1", ["1.1"]]]),
    ("never opened", ["0"]),
    ("empty parts", ["0", ["1"], ["2"], ["3"]]),
]


@pytest.mark.parametrize(("name", "wanted"), SHAPES)
def test_ids(name: str, wanted: list[object]) -> None:
    assert shape(mail_of(ODD[name]).split()) == wanted


ERRORS = [
    ("two parts", []),
    ("never closed", ["a multipart without its closing delimiter"]),
    ("nested, not closed", ["a multipart without its closing delimiter"]),
    ("never opened", ["a multipart without parts"]),
    ("no boundary", ["a multipart without a boundary"]),
    ("the same boundary inside", ["the boundary is that of a multipart around it"]),
    ("no empty line", ["the header does not end with an empty line"]),
]


def errors(data: bytes) -> list[str]:
    return [text for part in mail_of(data).split().walk() for text in part.errors]


@pytest.mark.parametrize(("name", "wanted"), ERRORS)
def test_errors(name: str, wanted: list[str]) -> None:
    assert errors(ODD[name]) == wanted


def test_an_unknown_encoding_is_an_error_and_the_content_stays() -> None:
    data = b"Content-Transfer-Encoding: x-rot13; a\r\n\r\nuryyb"
    mail = mail_of(data)
    assert mail.content(mail.split()) == b"uryyb"
    assert errors(data) == ["unknown transfer encoding x-rot13"]


# Buffers: a delimiter, a header field and an empty line stand at every place around the end of one.


@pytest.mark.parametrize("shift", range(-12, 3))
@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
def test_delimiters_at_the_end_of_a_buffer(shift: int, newline: bytes) -> None:
    head = MIXED.replace(b"\r\n", newline) + newline
    preamble = b"p" * (CHUNK + shift - len(head))
    lines = [b"", b"--b", b"X: y", b" folded", b"", b"one", b"--b", b"", b"two", b"--b--", b"end"]
    data = head + preamble + newline.join(lines)
    mail = mail_of(data)
    root = mail.split()
    assert our_tree(mail, root) == ("multipart/mixed", [("text/plain", b"one"), ("text/plain", b"two")])
    assert mail.preamble(root) == preamble
    assert mail.epilogue(root) == b"end"
    assert mail.fields(root.children[0])[0].value == b"y folded"
    assert mail.current_bytes() == data


@pytest.mark.parametrize("size", [CHUNK - 20, CHUNK - 8, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_header_fields_over_the_end_of_a_buffer(size: int) -> None:
    data = b"X: " + b"y" * size + b"\r\n z\r\nSubject: s\r\n\r\nbody"
    mail = mail_of(data)
    assert [field.name for field in mail.fields(mail.split())] == [b"x", b"subject"]
    assert mail.content(mail.root) == b"body"


# Limits, each at it and over it.


def multipart(parts: int) -> bytes:
    return MIXED + b"\r\n" + b"--b\r\n\r\nx\r\n" * parts + b"--b--\r\n"


def nested(levels: int) -> bytes:
    lines = [b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d" % (level, level) for level in range(levels)]
    return b"\r\n".join(lines) + b"\r\n\r\nthe leaf\r\n"


def test_the_number_of_parts() -> None:
    at, over = mail_of(multipart(MAX_PARTS - 1)), mail_of(multipart(MAX_PARTS))
    assert len(at.split().children) == len(over.split().children) == MAX_PARTS - 1
    assert at.root.errors == []
    assert over.root.errors[0] == f"more than {MAX_PARTS} parts: the rest is not split"
    assert over.current_bytes() == multipart(MAX_PARTS)
    assert over.root.children[-1].end == over.source.size


def depth(data: bytes) -> int:
    return max(part.depth for part in mail_of(data).split().walk())


def test_the_depth() -> None:
    assert depth(nested(MAX_DEPTH)) == depth(nested(MAX_DEPTH + 1)) == depth(nested(1_000)) == MAX_DEPTH
    limit = f"nested more than {MAX_DEPTH} deep: not split"
    assert limit not in errors(nested(MAX_DEPTH))
    assert limit in errors(nested(MAX_DEPTH + 1))
    messages = b"Content-Type: message/rfc822\r\n\r\n"
    assert depth(messages * MAX_DEPTH) == depth(messages * 1_000) == MAX_DEPTH
    assert errors(messages * MAX_DEPTH) == []
    assert errors(messages * 1_000) == [limit]


def test_the_length_of_a_boundary() -> None:
    def message(size: int) -> bytes:
        boundary = b"b" * size
        return MIXED.replace(b'b"\r', boundary + b'"\r') + b"\r\n--" + boundary + b"\r\n\r\nx\r\n--" + boundary + b"--"

    assert len(mail_of(message(MAX_BOUNDARY)).split().children) == 1
    assert mail_of(message(MAX_BOUNDARY + 1)).split().children == []
    assert "boundary of more than" in errors(message(MAX_BOUNDARY + 1))[0]


def test_a_line_too_long_for_a_delimiter() -> None:
    at = HARD_LINE - len(b"\r\n--b\r\n")
    for blanks, parts in ((at, 1), (at + 1, 0)):
        mail = mail_of(MIXED + b"\r\n--b" + b" " * blanks + b"\r\n\r\nx\r\n--b--\r\n")
        assert len(mail.split().children) == parts


def test_the_header_of_a_part() -> None:
    field = b"X: " + b"y" * (MAX_HEADERS - 5) + b"\r\n"
    at, over = (MIXED + b"\r\n--b\r\n" + extra + field + b"\r\nx\r\n--b--" for extra in (b"", b"Z:\r\n"))
    assert errors(at) == []
    assert errors(over) == [f"the header exceeds {MAX_HEADERS} bytes"]
    assert mail_of(over).current_bytes() == over


# Whatever comes in.

LINES = [
    *(
        b"",
        b"--b",
        b"--b--",
        b"--c",
        b"--c--",
        b"X: y",
        b" folded",
        b"text",
        b"-",
        b"--",
        b"From x",
        b"\r",
        b"\xff\x00",
    ),
    *(MIXED.strip(), b"Content-Type: multipart/alternative; boundary=c", b"Content-Type: message/rfc822"),
]


@given(st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from([b"\r\n", b"\r\n", b"\n", b""])), max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_message(lines: list[tuple[bytes, bytes]]) -> None:
    data = MIXED + b"".join(text + end for text, end in lines)
    mail = mail_of(data)
    for part in mail.split().walk():
        assert 0 <= part.start <= part.first <= part.headers_end <= part.body <= part.end <= len(data)
        ends = [part.body, *(place for child in part.children for place in (child.start, child.end)), part.end]
        assert ends == sorted(ends)
        assert all(data.startswith(b"--" + part.boundary, dash) for dash in part.dashes)
        mail.fields(part)
        mail.content(part)
    assert mail.current_bytes() == data
    for part in mail.root.walk():
        mail.add_field(part, b"X-New", b"v")
    reread = mail_of(mail.current_bytes())
    assert shape(reread.split()) == shape(mail.root)
    for part in reread.root.walk():
        assert reread.fields(part)[0].name == b"x-new"
