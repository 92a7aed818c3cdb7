"""RFC 2047 encoded words in header values: bytes in, UTF-8 bytes out, and back. Linear time, whatever the input."""

from __future__ import annotations

import base64
import binascii
import codecs
import encodings
import encodings.aliases
import re
import string
from functools import cache

# RFC 2047 2. No `?` inside a word, so each attempt ends at the next one; spaces pass, as many senders write them.
WORD = re.compile(rb"=\?([A-Za-z0-9_.:+-]{1,60})(?:\*[A-Za-z0-9-]{0,20})?\?([QqBb])\?([^?\r\n]*)\?=")
BLANK = re.compile(rb"[ \t\r\n]*\Z")
REFUSED = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"})
MAX_CHARSET = 60
WORD_BYTES = 45  # of UTF-8 in one encoded word: 60 characters of base64, 72 in all (at most 75, RFC 2047 2)
Q_BYTES = 63  # of Q in one encoded word: 75 characters in all
Q_PLAIN = frozenset((string.ascii_letters + string.digits + "!*+-/").encode())  # also in phrases (RFC 2047 5)
Q_OCTETS = [b"_" if octet == 32 else b"%c" % octet if octet in Q_PLAIN else b"=%02X" % octet for octet in range(256)]


def decode(value: bytes) -> bytes:
    """A header value with its encoded words decoded; what cannot be decoded stays as it came."""
    if b"=?" not in value:
        return value
    parts: list[bytes] = []
    pending: list[tuple[str, bytes, bytes]] = []  # adjacent words: charset, octets, as it came
    position = 0
    for match in WORD.finditer(value):
        between = value[position : match.start()]
        charset, octets = find_charset(match[1]), transfer_decode(match[2], match[3])
        readable = charset is not None and octets is not None
        if not (pending and readable and BLANK.match(between)):  # blanks between two words vanish (RFC 2047 6.2)
            flush(pending, parts)
            parts.append(between)
        if charset is not None and octets is not None:
            pending.append((charset, octets, match[0]))
        else:
            parts.append(match[0])
        position = match.end()
    flush(pending, parts)
    parts.append(value[position:])
    return b"".join(parts)


def flush(pending: list[tuple[str, bytes, bytes]], parts: list[bytes]) -> None:
    """Decode words of one charset together: senders split characters across words."""
    start = 0
    while start < len(pending):
        charset = pending[start][0]
        end = start
        while end < len(pending) and pending[end][0] == charset:
            end += 1
        octets = b"".join(item[1] for item in pending[start:end])
        try:
            parts.append(codecs.decode(octets, charset, "replace").encode("utf-8", "replace"))
        except (LookupError, ValueError):
            parts.append(b" ".join(item[2] for item in pending[start:end]))
        start = end
    pending.clear()


def transfer_decode(encoding: bytes, text: bytes) -> bytes | None:
    try:
        if encoding in b"Qq":
            return binascii.a2b_qp(text, header=True)
        return base64.b64decode(text + b"==")  # too much padding does no harm
    except (binascii.Error, ValueError):
        return None


def find_charset(name: bytes) -> str | None:
    """The name of a text codec, or None for an unknown one or one that is not meant for mail."""
    if len(name) > MAX_CHARSET or normalized(name) not in codec_names():
        return None
    try:
        info = codecs.lookup(name.decode("ascii"))
    except (LookupError, ValueError):
        return None
    known = getattr(info, "_is_text_encoding", True) and info.name.replace("-", "_") not in REFUSED
    return info.name if known else None


@cache
def codec_names() -> frozenset[str]:
    """What Python's codecs are called. It looks for a module under any other name, and keeps that name for ever."""
    from pkgutil import iter_modules

    modules = (module.name for module in iter_modules(encodings.__path__))
    return frozenset({*modules, *encodings.aliases.aliases})


def normalized(name: bytes) -> str:
    return encodings.normalize_encoding(name.decode("ascii", "replace").lower()).replace(".", "_")


def encode(value: bytes, quoted: bool = False) -> bytes:
    """A value fit for a header: runs of words with bytes over 127 become encoded words of UTF-8, in B or Q."""
    if value.isascii():
        return value
    words = value.split(b" ")
    parts: list[bytes] = []
    index = 0
    while index < len(words):
        end = index
        while end < len(words) and (not words[end].isascii() or (end > index and words[end] == b"")):
            end += 1
        if end == index:
            parts.append(words[index])
            index += 1
        else:
            run = b" ".join(words[index:end])
            # Blanks between encoded words vanish: beside one that the script wrote, the blank goes into ours.
            before = b" " if index and words[index - 1].endswith(b"?=") else b""
            after = b" " if end < len(words) and words[end].startswith(b"=?") else b""
            parts.append(encode_run(before + run + after, quoted))
            index = end
    return b" ".join(parts)


def encode_run(text: bytes, quoted: bool = False) -> bytes:
    """One or more encoded words, cut between characters. Bytes that are not UTF-8 are taken as Latin-1."""
    try:
        characters = text.decode("utf-8")
    except UnicodeDecodeError:
        characters = text.decode("latin-1")
    octets = [character.encode("utf-8") for character in characters]
    if quoted:
        shown = [b"".join(Q_OCTETS[octet] for octet in item) for item in octets]
        return b" ".join(b"=?utf-8?Q?" + item + b"?=" for item in joined(shown, Q_BYTES))
    return b" ".join(b"=?utf-8?B?" + base64.b64encode(item) + b"?=" for item in joined(octets, WORD_BYTES))


def joined(pieces: list[bytes], most: int) -> list[bytes]:
    """The pieces, put together to at most so many bytes each."""
    found: list[bytes] = []
    start = size = 0
    for place, piece in enumerate(pieces):
        if size + len(piece) > most:
            found.append(b"".join(pieces[start:place]))
            start, size = place, 0
        size += len(piece)
    return [*found, b"".join(pieces[start:])]
