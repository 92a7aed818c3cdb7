"""Transfer encodings (RFC 2045 section 6) and charsets: bytes of a body in, its content out, and back."""

from __future__ import annotations

import binascii
import re
from contextlib import suppress
from typing import Final

from hsl.mime import words
from hsl.mime.fields import HARD_LINE

IDENTITY: Final = frozenset({b"", b"7bit", b"8bit", b"binary"})
UUENCODE: Final = frozenset({b"x-uuencode", b"uuencode", b"x-uue", b"uue"})
KNOWN: Final = IDENTITY | UUENCODE | {b"base64", b"quoted-printable"}
BREAK: Final = re.compile(rb"\r\n|\r|\n")
BARE: Final = re.compile(rb"\r(?!\n)|(?<!\r)\n")
NOT_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/=]+")
READABLE: Final = bytes(byte for byte in (9, 10, 13, *range(32, 127)) if byte != 61)  # in quoted-printable: not `=`
TEXT_LINE: Final = re.compile(rb"[^\r\n]++")
BEGIN: Final = re.compile(rb"^begin [0-7]{3,4} [^\n]*\n", re.MULTILINE)
LINE: Final = 57  # bytes in one line of base64: 76 characters


def decode(data: bytes, encoding: bytes) -> bytes:
    """The content of a body. What cannot be decoded is left out (base64) or stays (the others)."""
    if encoding == b"base64":
        return decode_base64(data)
    if encoding == b"quoted-printable":
        return binascii.a2b_qp(data)
    if encoding in UUENCODE:
        return decode_uu(data)
    return data


def decode_base64(data: bytes) -> bytes:
    """Everything outside the alphabet is passed over, and the text ends at its padding (RFC 2045 section 6.8)."""
    text = NOT_BASE64.sub(b"", data)
    end = text.find(b"=")
    text = text if end < 0 else text[:end]
    if len(text) % 4 == 1:
        text = text[:-1]
    return binascii.a2b_base64(text + b"=" * (-len(text) % 4))


def decode_uu(data: bytes) -> bytes:
    begin = BEGIN.search(data)
    if begin is None:
        return data
    lines: list[bytes] = []
    for line in data[begin.end() :].split(b"\n"):
        if line.rstrip() == b"end":
            break
        try:
            lines.append(binascii.a2b_uu(line))
        except binascii.Error:  # a sender's wrong padding: as many characters as the first one says
            with suppress(binascii.Error):
                lines.append(binascii.a2b_uu(line[: (((line[0] - 32) & 63) * 4 + 5) // 3]))
    return b"".join(lines)


def encode(data: bytes, *, text: bool, newline: bytes = b"\r\n") -> tuple[bytes, bytes]:
    """The most readable transfer encoding that keeps the content, and the encoded body: 7bit, quoted-printable, base64.

    Line ends of a text become the message's; other content with line ends that mail would change is base64.
    """
    if text:
        data = BREAK.sub(newline, data)
    elif BARE.search(data):
        return b"base64", encode_base64(data, newline)
    if data.isascii() and b"\0" not in data and not has_long_line(data):
        return b"7bit", data
    if len(data.translate(None, READABLE)) <= len(data) // 6:
        lines = (binascii.b2a_qp(line, istext=False) for line in data.split(newline))
        return b"quoted-printable", newline.join(line.replace(b"=\n", b"=" + newline) for line in lines)
    return b"base64", encode_base64(data, newline)


def has_long_line(data: bytes) -> bool:
    """Whether a line is longer than RFC 5322 2.1.1 allows."""
    return any(line.end() - line.start() > HARD_LINE for line in TEXT_LINE.finditer(data))


def encode_base64(data: bytes, newline: bytes = b"\r\n") -> bytes:
    """Lines of 76 characters; the last one has no line end."""
    lines = (binascii.b2a_base64(data[start : start + LINE], newline=False) for start in range(0, len(data), LINE))
    return newline.join(lines)


def to_utf8(value: bytes, charset: bytes | None = None) -> bytes:
    """Raw octets of a header as UTF-8, whatever they were: UTF-8, else the charset, else Windows-1252 or Latin-1."""
    try:
        value.decode("utf-8")
        return value
    except UnicodeDecodeError:
        pass
    name = words.find_charset(charset) if charset else None
    for codec in (name, "cp1252"):
        try:
            if codec and b"Az=?".decode(codec) == "Az=?":
                return value.decode(codec).encode("utf-8")
        except ValueError:
            continue
    return value.decode("latin-1").encode("utf-8")
