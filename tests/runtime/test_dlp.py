"""ScanDLP(): rules against parts and archives; what cannot be looked into is said."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
from email.message import EmailMessage
from typing import Any

import pytest

from hsl.errors import ScriptError
from hsl.runtime import dlp
from hsl.runtime.dlp import Item, Scan, read_rule

TEXT = b"card 4111-1111 here\r\n"


def zipped(*members: tuple[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return data.getvalue()


def locked(data: bytes) -> bytes:
    """The same archive with all members marked as encrypted."""
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = 0
        while (start := data.find(mark, start)) >= 0:
            flags = struct.unpack_from("<H", data, start + place)[0] | 1
            data = data[: start + place] + struct.pack("<H", flags) + data[start + place + 2 :]
            start += 4
    return data


def mail(*attachments: tuple[str, str, bytes], text: str = "Hello") -> bytes:
    message = EmailMessage()
    message["Subject"] = "x"
    message.set_content(text)
    for name, kind, data in attachments:
        major, _, minor = kind.partition("/")
        message.add_attachment(data, maintype=major, subtype=minor, filename=name)
    return message.as_bytes().replace(b"\n", b"\r\n")


async def found(world: Any, body: bytes, arguments: str) -> str:
    world.lines.clear()
    outcome = await world.data(f'Reject("=" . json_encode(ScanDLP({arguments})));', body=body)
    shown = outcome.reply([]).render().decode().strip()
    assert shown.startswith("550 5.7.1 ="), (shown, world.lines)
    return str(shown.removeprefix("550 5.7.1 ="))


PROGRAM = ("Run.EXE", "application/x-msdownload", b"MZ binary")
RULES = [
    ('["R" => ["filename" => ["/[.]exe$/i"]]]', [PROGRAM], '["R"]'),
    ('["R" => ["filename" => "/[.]exe$/"]]', [PROGRAM], "[]"),
    ('["R" => ["mimetype" => ["/msdownload/"]]]', [PROGRAM], '["R"]'),
    ('["R" => ["content" => ["/^MZ/"]]]', [PROGRAM], '["R"]'),
    ('["R" => ["content" => ["/4111-1111/"]]]', [("a.txt", "text/plain", TEXT)], '["R"]'),
    ('["R" => ["content" => ["/zero/", "/Hello/"]], "S" => ["content" => ["/nothing/"]]]', [], '["R"]'),
    (f'["R" => ["sha1hash" => ["{hashlib.sha1(TEXT).hexdigest().upper()}"]]]', [("a", "x/y", TEXT)], '["R"]'),
    (f'["R" => ["md5hash" => ["{hashlib.md5(TEXT).hexdigest()}"]]]', [("a", "x/y", TEXT)], '["R"]'),
    (f'["R" => ["sha256hash" => ["{hashlib.sha256(TEXT).hexdigest()}"]]]', [("a", "x/y", TEXT + b"x")], "[]"),
    ("", [("x.PDF", "application/octet-stream", b"")], '["PDF"]'),
    ('["PDF"]', [("x", "application/pdf", b"%PDF")], '["PDF"]'),
    ('["PDF"], ["partid" => true]', [PROGRAM, ("x", "application/pdf", b"%PDF")], '{"PDF":["3"]}'),
    ('["PDF"], ["extended_result" => true]', [("x", "application/pdf", b"%PDF")], '{"rules":["PDF"]}'),
    ('["A" => ["content" => "/./"], "B" => ["content" => "/./"]]', [], '["A","B"]'),
    ('["A" => ["content" => "/Hello/"], "B" => ["filename" => "/./"]], ["stop_on_match" => true]', [PROGRAM], '["A"]'),
    ('["A" => ["filename" => "/^in[.]js$/"]]', [("a.zip", "application/zip", zipped(("in.js", b"")))], '["A"]'),
    ('["A" => ["content" => "/4111/"]]', [("a.docx", "x/y", zipped(("word/document.xml", TEXT)))], '["A"]'),
    (
        '["A" => ["content" => "/4111/"]], ["partid" => true]',
        [("a.zip", "x/y", zipped(("b.zip", zipped(("c.zip", zipped(("d", TEXT)))))))],
        '{"A":["2"]}',
    ),
    (
        '["A" => ["content" => "/4111/"]], ["recursion_limit" => 2]',
        [("a.zip", "x/y", zipped(("b.zip", zipped(("c", TEXT)))))],
        '["ERR_RECURSION_LIMIT"]',
    ),
    (
        '["A" => ["filename" => "/secret/"]]',
        [("a.zip", "x/y", locked(zipped(("secret.txt", TEXT))))],
        '["ERR_PASSWORD_PROTECTED","A"]',
    ),
    ('["A" => ["content" => "/4111/"]]', [("a.zip", "x/y", zipped(("a", TEXT))[:-30])], '["ERR_UNKNOWN_ERROR"]'),
    ('["PDF"], ["extended_result" => true]', [("a.zip", "x/y", b"PK\x03\x04")],
     '{"rules":["ERR_UNKNOWN_ERROR"],"error":true}'),
    ('["PDF"], ["timeout" => 0]', [], '["ERR_UNKNOWN_ERROR"]'),
]  # fmt: skip


@pytest.mark.asyncio
@pytest.mark.parametrize(("arguments", "attachments", "wanted"), RULES)
async def test_rules(world: Any, arguments: str, attachments: list[tuple[str, str, bytes]], wanted: str) -> None:
    assert await found(world, mail(*attachments), arguments) == wanted


WRONG = [
    ('["PFD"]', "there is no rule 'PFD'"),
    ("[1]", "there is no rule '1'"),
    ('["A" => ["filname" => "/x/"]]', "rule A: there is no type 'filname'"),
    ('["A" => ["content" => "/(/"]]', "invalid regular expression"),
    ('["A" => ["content" => [1]]]', "rule A: content: wanted strings, got number"),
    ('["A" => ["md5hash" => "abc"]]', "md5hash: wanted 32 hexadecimal digits"),
    ('["PDF"], ["recursion_limit" => 101]', "recursion_limit: wanted 0 to 100, got 101"),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("arguments", "message"), WRONG)
async def test_wrong_rules(world: Any, arguments: str, message: str) -> None:
    outcome = await world.data(f"ScanDLP({arguments}); Deliver();")
    assert outcome.mails == []
    assert world.logged("script-error", message)


def scan(data: bytes, **more: Any) -> dict[bytes, list[bytes]]:
    made = Scan({b"A": read_rule("A", {"content": [b"/4111/"]})}, lambda: None, **more)
    made.look(Item(b"1", 1, b"a.zip", b"", data))
    return made.found


@pytest.mark.parametrize(
    ("limit", "size", "wanted"),
    [
        ("MAX_MEMBER", 1000, {b"A": [b"1"]}),
        ("MAX_MEMBER", 999, {b"ERR_UNKNOWN_ERROR": [b"1"]}),
        ("MAX_UNPACKED", 2000, {b"A": [b"1"]}),
        ("MAX_UNPACKED", 1999, {b"ERR_UNKNOWN_ERROR": [b"1"]}),
        ("MAX_MEMBERS", 2, {b"A": [b"1"]}),
        ("MAX_MEMBERS", 1, {b"ERR_UNKNOWN_ERROR": [b"1"]}),
    ],
)
def test_limits(monkeypatch: pytest.MonkeyPatch, limit: str, size: int, wanted: dict[bytes, list[bytes]]) -> None:
    monkeypatch.setattr(dlp, limit, size)
    assert scan(zipped(("a", b"x" * 1000), ("b", b"4111".rjust(1000)))) == wanted


def test_a_bomb_is_left_alone() -> None:
    """Ten members of 16 MiB each, a few kilobytes packed."""
    bomb = zipped(*((str(number), bytes(16 << 20)) for number in range(10)))
    assert len(bomb) < 200_000
    assert scan(bomb) == {b"ERR_UNKNOWN_ERROR": [b"1"]}


def test_rules_have_limits() -> None:
    read_rule("A", {"content": [b"/x/"] * 1000})
    with pytest.raises(ScriptError, match="rule A: more than 1000 patterns"):
        read_rule("A", {"content": [b"/x/"] * 500, "filename": [b"/x/"] * 501})
