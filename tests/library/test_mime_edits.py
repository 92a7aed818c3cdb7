"""Edits of messages: only what is edited changes; snapshots; what is put in cannot break out."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oddmail import MIXED, ODD, mail_of, our_tree
from snippets import output_of

from hsl.errors import ScriptError
from hsl.mime.mail import MAX_BODY, MAX_INSERTED, MAX_SNAPSHOTS, MAX_SPLICES, MailModel
from hsl.mime.source import BytesBody
from hsl.mime.stream import open_version
from hsl.values import MAX_STRING

Edit = Callable[[MailModel], object]

PLAIN = b"Subject: one\r\nX-A: 1\r\nx-a: 2\r\n\r\nbody\r\n"
TWO = MIXED + b"\r\npre\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: text/html\r\n\r\ntwo\r\n--b--\r\nend\r\n"
NEW = b"X: n\r\n\r\nnew"


def part(mail: MailModel, *numbers: int):  # type: ignore[no-untyped-def]
    found = mail.split()
    for number in numbers:
        found = found.children[number - 1]
    return found


SPLICES: list[tuple[str, bytes, Edit, bytes, bytes]] = [
    ("add", PLAIN, lambda m: m.add_field(m.root, b"X-New", b"v"), b"", b"X-New: v\r\n"),
    ("set", PLAIN, lambda m: m.set_field(m.root, b"SUBJECT", b"two"), b"Subject: one", b"Subject: two"),
    ("set one", PLAIN, lambda m: m.set_field(m.root, b"X-A", b"3", index=1), b"x-a: 2", b"x-a: 3"),
    ("set none", PLAIN, lambda m: m.set_field(m.root, b"X-A", b"3", index=2), b"", b""),
    ("set new", PLAIN, lambda m: m.set_field(m.root, b"X-B", b"3"), b"", b"X-B: 3\r\n"),
    ("delete", PLAIN, lambda m: m.delete_field(m.root, b"X-A"), b"X-A: 1\r\nx-a: 2\r\n", b""),
    ("delete one", PLAIN, lambda m: m.delete_field(m.root, b"X-A", 0), b"X-A: 1\r\n", b""),
    ("delete none", PLAIN, lambda m: m.delete_field(m.root, b"X-A", -1), b"", b""),
    ("rename", b"Subject :\t=?x?= \r\n y\r\n\r\n", lambda m: m.rename_field(m.root, b"subject", b"X-S"),
     b"Subject", b"X-S"),
    ("content", PLAIN, lambda m: m.set_content(part(m), b"new"), b"body\r\n", b"new"),
    ("LF", PLAIN.replace(b"\r", b""), lambda m: m.add_field(m.root, b"X", b"w " * 50), b"",
     b"X: " + b" ".join([b"w"] * 38) + b"\n " + b" ".join([b"w"] * 12) + b"\n"),
    ("part's header", TWO, lambda m: m.add_field(part(m, 2), b"X", b"v"), b"Content-Type: text/html",
     b"X: v\r\nContent-Type: text/html"),
    ("first header of a part", TWO, lambda m: m.add_field(part(m, 1), b"X", b"v"), b"\r\none", b"X: v\r\n\r\none"),
    ("part's content", TWO, lambda m: m.set_content(part(m, 1), b"eins"), b"one", b"eins"),
    ("preamble", TWO, lambda m: m.set_preamble(part(m), b"vor"), b"pre", b"vor"),
    ("epilogue", TWO, lambda m: m.set_epilogue(part(m), b"Ende"), b"end\r\n", b"Ende"),
    ("remove the first", TWO, lambda m: m.remove(part(m, 1)), b"--b\r\n\r\none\r\n", b""),
    ("remove the last", TWO, lambda m: m.remove(part(m, 2)), b"--b\r\nContent-Type: text/html\r\n\r\ntwo\r\n", b""),
    ("replace", TWO, lambda m: m.replace_part(part(m, 1), NEW), b"\r\none", NEW),
    ("append to the message", TWO, lambda m: m.insert(part(m), NEW, b"multipart/mixed", after=True), b"--b--",
     b"--b\r\n" + NEW + b"\r\n--b--"),
    ("prepend to the message", TWO, lambda m: m.insert(part(m), NEW, b"multipart/mixed", after=False),
     b"--b\r\n\r\none", b"--b\r\n" + NEW + b"\r\n--b\r\n\r\none"),
    ("append to a part", TWO, lambda m: m.insert(part(m, 1), NEW, b"multipart/mixed", after=True),
     b"one\r\n", b"one\r\n--b\r\n" + NEW + b"\r\n"),
    ("prepend to a part", TWO, lambda m: m.insert(part(m, 2), NEW, b"multipart/mixed", after=False),
     b"one\r\n", b"one\r\n--b\r\n" + NEW + b"\r\n"),
    ("bytes", PLAIN, lambda m: m.splice(9, 3, b"three"), b"one", b"three"),
    ("bytes at the end", PLAIN, lambda m: m.splice(len(PLAIN), 0, b"more"), b"body\r\n", b"body\r\nmore"),
    ("bytes at the beginning", PLAIN, lambda m: m.splice(0, 0, b"X: y\r\n"), b"", b"X: y\r\n"),
    ("bytes beside another edit", TWO, lambda m: (m.splice(len(TWO) - 5, 3, b"E"), m.add_field(m.root, b"X", b"v")),
     TWO, b"X: v\r\n" + TWO[:-5] + b"E\r\n"),
    ("bytes over a delimiter", TWO, lambda m: (m.splice(TWO.index(b"one"), 8, b"1"), m.remove(part(m, 2))),
     TWO[TWO.index(b"one") : -12], b"1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "edit", "old", "new"), [item[1:] for item in SPLICES], ids=[item[0] for item in SPLICES]
)
def test_an_edit_is_a_splice(data: bytes, edit: Edit, old: bytes, new: bytes) -> None:
    mail = mail_of(data)
    edit(mail)
    assert mail.current_bytes() == (data.replace(old, new, 1) if old else new + data)
    mail.reset()
    assert mail.current_bytes() == data


def test_bytes_at_the_end_of_nothing() -> None:
    mail = mail_of(b"")
    mail.splice(0, 0, b"Subject: x\r\n")
    assert mail.current_bytes() == b"Subject: x\r\n"


# New parts around a part


def boundary_of(data: bytes) -> bytes:
    found = re.search(rb'boundary="(=_[0-9a-f]{32})"', data)
    assert found
    return found[1]


def test_a_multipart_around_a_message() -> None:
    mail = mail_of(b"Subject: s\r\nContent-Type: text/html\r\nTo: t\r\n\r\n<p>\r\n")
    for _ in range(2):
        mail.insert(part(mail), NEW, b"multipart/mixed", after=True)
    mail.insert(part(mail), b"\r\nfirst", b"multipart/mixed", after=False)
    out = mail.current_bytes()
    b = boundary_of(out)
    assert out == (
        b"Subject: s\r\nTo: t\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"" + b + b"\"\r\n\r\n"
        b"--" + b + b"\r\n\r\nfirst\r\n--" + b + b"\r\nContent-Type: text/html\r\n\r\n<p>\r\n\r\n--" + b + b"\r\n" + NEW
        + b"\r\n--" + b + b"\r\n" + NEW + b"\r\n--" + b + b"--\r\n"
    )  # fmt: skip


WRAPPED = [
    ("no empty line", ["text/plain"]),
    ("empty", ["text/plain"]),
    ("LF", ["text/plain"]),
    ("mailbox line", ["text/plain"]),
    ("nested", [["text/plain"], "text/plain"]),
    ("encoded", ["text/plain"]),
]


@pytest.mark.parametrize("name", [name for name, _ in WRAPPED])
def test_what_is_wrapped_keeps_its_content(name: str) -> None:
    mail = mail_of(ODD[name])
    before = our_tree(mail, part(mail))
    mail.insert(mail.root, b"\r\nnew", b"multipart/related", after=True)
    mail.add_field(mail.root, b"X-Later", b"v")
    after = mail_of(mail.current_bytes())
    assert our_tree(after, after.split()) == ("multipart/related", [before, ("text/plain", b"new")])
    assert after.root.errors == []
    assert after.fields(after.root)[0].name == b"x-later"


def test_multiparts_around_multiparts() -> None:
    mail = mail_of(TWO)
    mail.insert(part(mail, 1), b"\r\nA", b"multipart/alternative", after=True)
    mail.insert(part(mail, 1), b"\r\nR", b"multipart/related", after=False)
    mail.insert(part(mail, 1), b"\r\nR2", b"multipart/related", after=False)
    mail.insert(part(mail, 1), b"\r\nM", b"multipart/mixed", after=True)
    after = mail_of(mail.current_bytes())
    leaf = "text/plain"
    inner = ("multipart/alternative", [(leaf, b"one"), (leaf, b"A")])
    around = ("multipart/related", [(leaf, b"R2"), (leaf, b"R"), inner])
    assert our_tree(after, after.split()) == ("multipart/mixed", [around, (leaf, b"M"), ("text/html", b"two")])
    assert (after.preamble(after.root), after.epilogue(after.root)) == (b"pre", b"end\r\n")


def test_a_message_in_a_message() -> None:
    mail = mail_of(ODD["a message inside"])
    inner = part(mail, 1, 1)
    mail.add_field(inner, b"X-Inner", b"v")
    mail.insert(inner, b"\r\nnew", b"multipart/related", after=True)
    after = mail_of(mail.current_bytes())
    found = part(after, 1, 1)
    assert [field.name for field in after.fields(found)] == [b"x-inner", b"subject", b"mime-version", b"content-type"]
    assert our_tree(after, found)[1][1] == ("text/plain", b"new")
    with pytest.raises(ScriptError, match="cannot be removed"):
        mail.remove(inner)
    mail.replace_part(inner, b"Content-Type: text/html\r\nX-Y: z\r\n\r\n<p>")
    after = mail_of(mail.current_bytes())
    names = [field.name for field in after.fields(part(after, 1, 1))]
    assert names == [b"x-inner", b"subject", b"x-y", b"mime-version", b"content-type"]


def test_the_message_replaced() -> None:
    mail = mail_of(b"Subject: s\r\nX-A: 1\r\nContent-Type: text/html\r\nContent-ID: <i>\r\n\r\n<p>\r\n")
    mail.replace_part(part(mail), b"Content-Type: text/plain\r\nX-A: 2\r\n\r\nnew")
    assert mail.current_bytes() == b"Subject: s\r\nContent-Type: text/plain\r\nX-A: 2\r\n\r\nnew"
    with pytest.raises(ScriptError, match="cannot be removed"):
        mail.remove(mail.root)


@pytest.mark.parametrize("data", [TWO, TWO[: TWO.index(b"\r\n--b--")], ODD["empty parts"]])
def test_no_part_is_left(data: bytes) -> None:
    mail = mail_of(data)
    for child in part(mail).children:
        mail.remove(child)
    after = mail_of(mail.current_bytes())
    assert our_tree(after, after.split()) == ("multipart/mixed", [("text/plain", b"")])
    assert after.root.errors == []


@pytest.mark.parametrize("name", ["never closed", "empty parts"])
def test_new_parts_where_the_multipart_is_not_closed(name: str) -> None:
    mail = mail_of(ODD[name])
    old = our_tree(mail, part(mail))[1]
    mail.insert(mail.root, b"\r\nnew", b"multipart/mixed", after=True)
    after = mail_of(mail.current_bytes())
    assert our_tree(after, after.split())[1] == [*old, ("text/plain", b"new")]
    assert after.root.errors == []


# Contents

CONTENTS = [
    (b"", b"plain", b"7bit", b"plain"),
    (b"", b"a\nb\r\nc\rd", b"7bit", b"a\r\nb\r\nc\r\nd"),
    (b"", "naïve text, that is".encode(), b"quoted-printable", b"na=C3=AFve text, that is"),
    (b"", "あいう".encode(), b"base64", b"44GC44GE44GG"),
    (b"", b"x" * 999, b"quoted-printable", b"=\r\n".join([b"x" * 75] * 13 + [b"x" * 24])),
    (b"", b"nul\x00 and much more text", b"quoted-printable", b"nul=00 and much more text"),
    (b"", b"blank \nat the end\t", b"7bit", b"blank \r\nat the end\t"),
    (b"Content-Type: image/png\r\n", b"a\nb", b"base64", b"YQpi"),
    (b"Content-Type: image/png\r\n", b"a\r\nb", b"7bit", b"a\r\nb"),
    (b"Content-Type: text/html\r\n", b"", b"7bit", b""),
]


@pytest.mark.parametrize(("header", "data", "encoding", "raw"), CONTENTS)
@pytest.mark.parametrize(
    "before", [b"", b"content-transfer-encoding: x\r\n", b"Content-Transfer-Encoding: 8bit\r\n" * 2]
)
def test_new_contents(header: bytes, data: bytes, encoding: bytes, raw: bytes, before: bytes) -> None:
    mail = mail_of(MIXED + b"\r\n--b\r\n" + before + header + b"\r\nold\r\n--b--\r\n")
    assert mail.set_content(part(mail, 1), data)
    field = b"Content-Transfer-Encoding: " + encoding + b"\r\n"
    fields = field + header if before else header if encoding == b"7bit" else header + field
    assert mail.current_bytes() == MIXED + b"\r\n--b\r\n" + fields + b"\r\n" + raw + b"\r\n--b--\r\n"
    after = mail_of(mail.current_bytes())
    text = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    assert after.content(part(after, 1)) == (data if header.startswith(b"Content-Type: image") else text)


TYPES: list[tuple[bytes, bytes | None, bytes, bytes, bytes]] = [
    (b"", b"image/png", b"a\nb\r", b"base64", b"YQpiDQ=="),
    (b"Content-Type: text/plain\r\n", b"application/octet-stream", b"\n", b"base64", b"Cg=="),
    (b"Content-Type: text/plain\r\n", b"TEXT/html; x=y", b"a\nb", b"7bit", b"a\r\nb"),
    (b"Content-Type: image/png\r\n", b"text/plain", b"a\nb", b"7bit", b"a\r\nb"),
    (b"Content-Type: image/png\r\n", None, b"a\nb", b"7bit", b"a\r\nb"),
    (b"Content-Type: image/png\r\nContent-Type: text/x\r\n", None, b"a\nb", b"7bit", b"a\r\nb"),
]


@pytest.mark.parametrize(("header", "type", "data", "encoding", "raw"), TYPES)
def test_a_content_is_encoded_for_the_type_that_the_part_has_now(
    header: bytes, type: bytes | None, data: bytes, encoding: bytes, raw: bytes
) -> None:
    """A part that came as text and is an image now keeps the image's octets."""
    mail = mail_of(MIXED + b"\r\n--b\r\n" + header + b"\r\nold\r\n--b--\r\n")
    if type is None:
        mail.delete_field(part(mail, 1), b"Content-Type")
    else:
        mail.set_field(part(mail, 1), b"Content-Type", type)
    assert mail.set_content(part(mail, 1), data)
    after = mail.current_bytes()
    assert after.endswith(b"\r\n\r\n" + raw + b"\r\n--b--\r\n")
    assert (b"Content-Transfer-Encoding: " + encoding in after) == (encoding != b"7bit")
    if encoding == b"base64":
        again = mail_of(after)
        assert again.content(part(again, 1)) == data


def test_another_edit_of_the_fields_leaves_the_type_as_it_was() -> None:
    mail = mail_of(MIXED + b"\r\n--b\r\nContent-Type: image/png\r\n\r\nold\r\n--b--\r\n")
    mail.add_field(part(mail, 1), b"X", b"v")
    assert mail.set_content(part(mail, 1), b"a\nb")
    assert b"\r\n\r\nYQpi\r\n--b--" in mail.current_bytes()


def test_contents_that_are_refused() -> None:
    mail = mail_of(TWO)
    assert mail.set_content(part(mail, 1), b"x" * MAX_BODY)
    assert not mail.set_content(part(mail, 1), b"x" * (MAX_BODY + 1))
    assert not mail.set_content(part(mail), b"x")
    assert not mail_of(ODD["never opened"]).set_preamble(mail.root, b"--b")


# What is put in cannot break out of its part


def test_a_boundary_in_what_is_put_in() -> None:
    mail = mail_of(TWO)
    assert mail.set_content(part(mail, 1), b"--b--\r\n--b\r\n\r\nsmuggled")
    after = mail_of(mail.current_bytes())
    assert our_tree(after, after.split())[1] == [
        ("text/plain", b"--b--\n--b\n\nsmuggled"), ("text/html", b"two")
    ]  # fmt: skip
    bad = b"\r\nx\r\n--b--\r\n"
    for edit in (
        lambda: mail.insert(part(mail, 1), bad, b"multipart/mixed", after=True),
        lambda: mail.insert(part(mail, 1), bad, b"multipart/related", after=True),
        lambda: mail.replace_part(part(mail, 1), bad),
        lambda: mail.set_content(part(mail, 1), bad, encode=False),
    ):
        with pytest.raises(ScriptError, match="boundary"):
            edit()
    assert not mail.set_preamble(mail.root, b"--b")
    before = our_tree(after, after.root)
    mail.insert(mail.root, bad, b"multipart/mixed", after=True)  # a new boundary is there for it
    after = mail_of(mail.current_bytes())
    assert our_tree(after, after.split())[1] == [before, ("text/plain", b"x\n--b--\n")]


@pytest.mark.parametrize("value", [b"a\r\n\r\nbody", b"a\r\nX: y", b"a\nX: y", b"\r\n\r\n", b"a\r\n"])
@pytest.mark.parametrize("refold", [True, False])
def test_a_header_cannot_end_the_header(value: bytes, refold: bool) -> None:
    mail = mail_of(PLAIN)
    mail.add_field(mail.root, b"X-New", value, refold)
    after = mail_of(mail.current_bytes())
    assert [field.name for field in after.fields(after.root)] == [b"x-new", b"subject", b"x-a", b"x-a"]


# States


def test_snapshots() -> None:
    mail = mail_of(TWO)
    mail.add_field(mail.root, b"X", b"1")
    one = mail.snapshot()
    first = mail.version()
    mail.remove(part(mail, 1))
    two = mail.snapshot()
    second = mail.current_bytes()
    mail.set_content(part(mail, 2), b"new")
    mail.splice(0, 0, b"Y: z\r\n")
    assert mail.restore(one)
    assert mail.current_bytes() == b"X: 1\r\n" + TWO
    assert mail.version().serial == first.serial
    assert mail.restore(two)
    assert mail.current_bytes() == second
    mail.add_field(mail.root, b"Z", b"")
    assert mail.restore(two)
    assert mail.current_bytes() == second, "a snapshot is not touched by later edits"
    assert [mail.restore(number) for number in (0, -1, 3, 10**9)] == [False] * 4
    assert mail.reset() == 2
    assert mail.current_bytes() == TWO
    assert mail.version().serial == 0
    assert mail.reset() == 0
    assert mail.restore(one), "snapshots outlive a reset"


def test_versions() -> None:
    mail = mail_of(TWO)
    before = mail.version()
    assert mail.version() is before
    mail.delete_field(mail.root, b"content-type")
    after = mail.version()
    assert mail.version() is after
    assert b"".join(before.chunks()) == TWO
    assert after.serial != before.serial
    signed = mail.with_field(b"DKIM-Signature: x\r\n")
    assert b"".join(signed.chunks()) == b"DKIM-Signature: x\r\n" + b"".join(after.chunks())
    assert mail.version() is after
    mail.add_field(mail.root, b"X", b"")
    assert mail.version().serial not in (signed.serial, after.serial, before.serial)


def test_limits() -> None:
    mail = mail_of(TWO)
    for _ in range(MAX_INSERTED):
        mail.insert(mail.root, NEW, b"multipart/mixed", after=True)
    with pytest.raises(ScriptError, match="parts are put into one message"):
        mail.insert(mail.root, NEW, b"multipart/mixed", after=True)
    assert len(mail_of(mail.current_bytes()).split().children) == MAX_INSERTED + 2
    for _ in range(MAX_SNAPSHOTS):
        mail.snapshot()
    with pytest.raises(ScriptError, match="snapshots"):
        mail.snapshot()
    text = mail_of(b"x" * 2 * MAX_SPLICES)
    for place in range(MAX_SPLICES):
        text.splice(2 * place, 1, b"y")
    with pytest.raises(ScriptError, match="places"):
        text.splice(2 * MAX_SPLICES, 0, b"")
    assert text.current_bytes() == b"yx" * MAX_SPLICES
    full = mail_of(TWO)
    full.insert(full.root, b"x" * MAX_STRING, b"multipart/mixed", after=True)
    with pytest.raises(ScriptError, match="bytes are put into one message"):
        full.insert(full.root, b"x", b"multipart/mixed", after=True)
    with pytest.raises(ScriptError, match="string exceeds"):
        full.current_bytes()
    assert full.version().size > MAX_STRING, "it can be queued all the same"


@pytest.mark.parametrize(
    ("start", "count"), [(-1, 1), (0, 10**6), (len(PLAIN) + 1, 0), (5, -1), (9, 1), (8, 2), (10, 1), (8, 10)]
)
def test_bytes_that_cannot_be_replaced(start: int, count: int) -> None:
    mail = mail_of(PLAIN)
    mail.splice(9, 3, b"")
    with pytest.raises(ScriptError):
        mail.splice(start, count, b"x")
    assert mail.current_bytes() == PLAIN.replace(b"one", b"", 1)


def test_a_date_for_later() -> None:
    times = iter([0.0, 86400.0])
    mail = mail_of(b"Subject: x\r\ndate: then\r\n\r\n")
    assert mail.set_date_later(mail.root, lambda: next(times)) == 1
    assert mail.current_bytes() == b"Subject: x\r\nDate: Thu, 01 Jan 1970 00:00:00 -0000\r\n\r\n"
    assert b"Fri, 02 Jan 1970" in mail.current_bytes()
    bare = mail_of(b"Subject: x\r\n\r\n")
    assert bare.set_date_later(bare.root, lambda: 0.0) == 1
    assert bare.current_bytes().startswith(b"Date: Thu, 01 Jan 1970")


# Any edits of any parts

CHOICES = st.lists(
    st.tuples(st.sampled_from(["remove", "append", "prepend", "replace"]), st.integers(0, 5)), max_size=8
)


@given(st.integers(1, 6), st.sampled_from([b"\r\n", b"\n"]), st.booleans(), CHOICES)
@settings(max_examples=200, deadline=None)
def test_any_edits(count: int, newline: bytes, closed: bool, edits: list[tuple[str, int]]) -> None:
    """Against the plain model: a list of texts."""
    lines = [b'Content-Type: multipart/mixed; boundary="b"', b""]
    for number in range(count):
        lines += [b"--b", b"", b"%d" % number]
    data = newline.join([*lines, *([b"--b--", b"the end"] if closed else [])])
    mail = mail_of(data)
    model = [([], [b"%d" % number], []) for number in range(count)]  # type: ignore[var-annotated]
    for step, (what, where) in enumerate(edits):
        target = part(mail, where % count + 1)
        before, own, after = model[where % count]
        text = b"new %d" % step
        if what == "remove":
            mail.remove(target)
            own.clear()
        elif what == "replace":
            mail.replace_part(target, newline + text)
            if own:
                own[:] = [text]
        else:
            mail.insert(target, newline + text, b"multipart/mixed", after=what == "append")
            after.append(text) if what == "append" else before.insert(0, text)
    reread = mail_of(mail.current_bytes())
    wanted = [text for before, own, after in model for text in (*before, *own, *after)] or [b""]
    found = [reread.content(child) for child in reread.split().children]
    assert [text.rstrip() for text in found] == wanted
    assert mail.reset() == len(edits)
    assert mail.current_bytes() == data


def test_a_version_as_a_file() -> None:
    mail = mail_of(TWO)
    mail.add_field(mail.root, b"X", b"y" * 50)
    mail.remove(part(mail, 1))
    data = mail.current_bytes()
    file = open_version(mail.bare_version())
    mail.reset()
    assert file.read() == data
    for start in range(len(data) + 2):
        assert file.seek(start) == start
        assert file.read(7) == data[start : start + 7]
    assert file.seek(-3, 2) == len(data) - 3
    assert file.read() == data[-3:]
    file.seek(0)
    assert file.readlines() == data.splitlines(keepends=True)
    file.close()


def test_a_file_of_a_message_that_is_gone() -> None:
    class Gone(BytesBody):
        def read_at(self, start: int, end: int) -> bytes:
            raise ValueError("closed")

    script = 'echo MailMessage::String("")->toFile()->tell();'
    assert output_of(script) == ["0"]
    file = open_version(MailModel(Gone(TWO)).bare_version())
    with pytest.raises(OSError, match="gone"):
        file.read()
    file.close()
    mail = MailModel(Gone(TWO))
    for read in (
        mail.split,
        lambda: mail.fields(mail.root),
        lambda: mail.delete_field(mail.root, b"X"),
        mail.current_bytes,
    ):
        with pytest.raises(ScriptError, match="cannot be read any more"):
            read()
