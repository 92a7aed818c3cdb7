"""A field with parameters (Content-Type, Content-Disposition): a value in, its first word and the parameters out.

RFC 2045 section 5.1, RFC 2231 (charsets and continuations), and the encoded words that many senders put there.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from hsl.mime import words
from hsl.mime.coding import to_utf8

TYPE: Final = re.compile(rb"[ \t\"]*+([!#-'*+\-.0-9A-Z^-~]++/[!#-'*+\-.0-9A-Z^-~]++)")
WORD: Final = re.compile(rb"[ \t\"]*+([!#-'*+\-.0-9A-Z^-~]++)")
# Every attempt ends at the next `;`, or at the end of a quoted string: that a second one begins before the end of the
# first is impossible, so even what is never closed is looked through once.
PARAMETER: Final = re.compile(
    rb";[ \t\r\n]*+([^ \t\r\n=;\"()]++)[ \t\r\n]*+=[ \t\r\n]*+(?:\"((?:[^\"\\]|\\.)*+)\"|([^;]*+))", re.DOTALL
)
ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
SECTION: Final = re.compile(rb"([^*]+)(?:\*(0|[1-9][0-9]{0,3}))?(\*)?\Z")
PERCENT: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
MAX_SECTIONS: Final = 1_000  # of one parameter
PLAIN: Final = re.compile(rb"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~ (),/:;<>?@\[\]=]*\Z")
ATTRIBUTE: Final = re.compile(rb"[^!#$&+\-.0-9A-Z^_`a-z{|}~]")


class Structured(NamedTuple):
    """`word` is lower case (empty: there is none), parameters are UTF-8, their names lower case."""

    word: bytes
    parameters: dict[bytes, bytes]


def parse_type(value: bytes) -> Structured:
    """A Content-Type; `word` is `type/subtype`."""
    return parse(value, TYPE)


def parse_disposition(value: bytes) -> Structured:
    """A Content-Disposition."""
    return parse(value, WORD)


def parse(value: bytes, first: re.Pattern[bytes]) -> Structured:
    found = first.match(value)
    word = found[1].lower() if found else b""
    sections: dict[bytes, list[tuple[int, bool, bytes]]] = {}
    for match in PARAMETER.finditer(value):
        quoted = match[2]
        text = bare(match[3]) if quoted is None else ESCAPED.sub(rb"\1", quoted)
        named = SECTION.match(match[1].lower())
        if named is None:
            continue
        number = -1 if named[2] is None else int(named[2])
        group = sections.setdefault(named[1], [])
        if len(group) < MAX_SECTIONS:
            group.append((number, named[3] is not None, text))
    return Structured(word, {name: join(group) for name, group in sections.items()})


def bare(text: bytes) -> bytes:
    """A value without quotes, blanks around it and a comment behind it."""
    text = text.strip(b" \t\r\n")
    if text.endswith(b")"):
        before, opening, comment = text.rpartition(b"(")
        text = before if opening and comment.count(b")") == 1 else text
    return text.strip(b' \t\r\n"')


def join(group: list[tuple[int, bool, bytes]]) -> bytes:
    """The value of one parameter: RFC 2231's forms go before the plain one, of equal ones the first."""
    extended = [item for item in group if item[0] >= 0]
    if not extended:
        number, coded, text = max(group, key=lambda item: item[1])
        return decode_extended([(coded, text)]) if coded else words.decode(to_utf8(text))
    extended.sort(key=lambda item: item[0])
    chosen: list[tuple[bool, bytes]] = []
    for number, coded, text in extended:
        if number == len(chosen):
            chosen.append((coded, text))
    if not any(coded for coded, _ in chosen):
        return words.decode(to_utf8(b"".join(text for _, text in chosen)))
    return decode_extended(chosen)


def decode_extended(parts: list[tuple[bool, bytes]]) -> bytes:
    """RFC 2231 section 4: `charset'language'text` with escapes; later sections have only the text."""
    charset = b""
    octets: list[bytes] = []
    for index, (coded, text) in enumerate(parts):
        if coded and index == 0 and text.count(b"'") >= 2:
            charset, _, text = text.split(b"'", 2)
        octets.append(unescape(text) if coded else text)
    value = b"".join(octets)
    codec = words.find_charset(charset) if charset else None
    if codec is None:
        return to_utf8(value)
    return value.decode(codec, "replace").encode("utf-8", "replace")


def unescape(text: bytes) -> bytes:
    """`%41` as `A`."""
    return PERCENT.sub(lambda found: bytes((int(found[1], 16),)), text)


def write_parameter(name: bytes, value: bytes) -> bytes:
    """`name="value"`, or `name*=utf-8''…` for one that is not plain ASCII."""
    if PLAIN.match(value):
        return name + b'="' + value + b'"'
    escaped = ATTRIBUTE.sub(lambda found: b"%%%02X" % found[0][0], to_utf8(value))
    return name + b"*=utf-8''" + escaped
