"""A message for a next hop without 8BITMIME (RFC 6152 3): octets in; the same message in 7 bits out, or a refusal.

Each part with octets over 127 gets a transfer encoding; everything else stays as it came. What a signature covers,
headers, and parts that may not be encoded (RFC 2046 5.2) are not touched: such a message cannot be converted.
"""

from __future__ import annotations

import re

from hsl.mime import coding
from hsl.mime.source import BytesBody
from hsl.mime.tree import Part, Splitter

MAX_CONVERTED = 32 * 1024 * 1024  # octets of a message that is converted, in memory
ENCODING = re.compile(rb"^content-transfer-encoding[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*", re.IGNORECASE | re.MULTILINE)
VERSION = re.compile(rb"^mime-version[ \t]*:", re.IGNORECASE | re.MULTILINE)
ENCODABLE_MESSAGES = (b"message/global", b"message/http")  # RFC 6532 3.7
FIXED = (b"multipart/signed", b"multipart/encrypted")  # RFC 1847 2
Edit = tuple[int, int, bytes]


class Unconvertible(ValueError):
    """Its text says why, without anything of the message."""


def to_seven_bit(data: bytes) -> bytes:
    """The message in ASCII. Raises Unconvertible."""
    root = Part(None, 0)
    Splitter(BytesBody(data)).run(root)
    pieces: list[bytes] = []
    done = 0
    for start, end, text in part_edits(data, root):
        pieces += [data[done:start], text]
        done = end
    pieces.append(data[done:])
    result = b"".join(pieces)
    if not result.isascii():
        raise Unconvertible("8-bit data outside of its parts")
    return result


def part_edits(data: bytes, part: Part) -> list[Edit]:
    """What changes of a part, and of all in it, in the order of the message."""
    if data[part.start : part.end].isascii():
        return []
    if not data[part.start : part.body].isascii():
        raise Unconvertible("8-bit data in headers")
    if part.type in FIXED:
        raise Unconvertible("8-bit data that is signed or encrypted")
    if part.children and part.type != b"message/global":
        if part.encoding not in coding.IDENTITY:
            raise Unconvertible("8-bit data in a part that may not be encoded")
        own = header_edits(data, part, b"7bit") if part.encoding in (b"8bit", b"binary") else []
        return own + [edit for child in part.children for edit in part_edits(data, child)]
    encoding, content = encoded(data, part)
    return [*header_edits(data, part, encoding), (part.body, part.end, content)]


def encoded(data: bytes, part: Part) -> tuple[bytes, bytes]:
    """A part's content in 7 bits, and its transfer encoding."""
    known = part.encoding in coding.IDENTITY or part.encoding in (b"quoted-printable", b"base64")
    composite = part.type.startswith(b"multipart/") or (
        part.type.startswith(b"message/") and not part.type.startswith(ENCODABLE_MESSAGES)
    )
    if not known or composite:
        raise Unconvertible("8-bit data in a part that may not be encoded")
    content = coding.decode(data[part.body : part.end], part.encoding)
    encoding, text = coding.encode(content, text=False)
    if text.startswith(b"--") or b"\n--" in text:  # a cut line must not become a delimiter
        return b"base64", coding.encode_base64(content)
    return encoding, text


def header_edits(data: bytes, part: Part, encoding: bytes) -> list[Edit]:
    """The part's Content-Transfer-Encoding; of a message without MIME also what makes it one (RFC 1428)."""
    block = data[part.first : part.headers_end]
    field = b"Content-Transfer-Encoding: " + encoding + b"\r\n"
    edits = []
    matches = list(ENCODING.finditer(block))
    for match in matches:
        edits.append((part.first + match.start(), part.first + match.end(), field if match is matches[0] else b""))
    added = b"" if matches else field
    if part.parent is None and not VERSION.search(block):
        added += b"MIME-Version: 1.0\r\n"
        if not part.type:
            added += b"Content-Type: text/plain; charset=" + charset(data[part.body : part.end]) + b"\r\n"
    if added and part.headers_end == part.body:
        added += b"\r\n"  # there was no header
    if added:
        edits.append((part.headers_end, part.headers_end, added))
    return edits


def charset(content: bytes) -> bytes:
    try:
        content.decode()
    except UnicodeDecodeError:
        return b"unknown-8bit"
    return b"utf-8"
