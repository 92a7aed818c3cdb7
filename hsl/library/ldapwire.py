"""LDAP v3 as bytes: requests, filters and names come in as scripts write them, BER goes out; and answers back.

RFC 4511 (messages), 4515 (filters), 4514 (names). What comes from a server is hostile: lengths are checked first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

MAX_MESSAGE: Final = 16 * 1024 * 1024  # bytes of one message
MAX_PARTS: Final = 16  # of an operation that are looked at
MAX_DEPTH: Final = 100  # of nested filters
MAX_FILTER: Final = 1024 * 1024  # bytes of a filter, and of a name
START_TLS: Final = b"1.3.6.1.4.1.1466.20037"
SCOPES: Final = ("base", "one", "sub")  # in the order of their numbers
ATTRIBUTE: Final = re.compile(rb"[A-Za-z][A-Za-z0-9-]*(?:;[A-Za-z0-9-]+)*|[0-9]+(?:\.[0-9]+)*(?:;[A-Za-z0-9-]+)*")
ESCAPED: Final = re.compile(rb"\\([0-9A-Fa-f]{2})|\\")
NEEDS_ESCAPE: Final = re.compile(rb"[\x00-\x1f()*\\\x7f-\xff]")

INTEGER, OCTETS, ENUMERATED, SEQUENCE, BOOLEAN = 0x02, 0x04, 0x0A, 0x30, 0x01
BIND, BIND_DONE, UNBIND, SEARCH, ENTRY, SEARCH_DONE, REFERENCE = 0x60, 0x61, 0x42, 0x63, 0x64, 0x65, 0x73
EXTENDED, EXTENDED_DONE = 0x77, 0x78


class Malformed(ValueError):
    """A message that is not LDAP, a filter or a name that is none."""


# ------------------------------------------------------------ BER


def tlv(tag: int, *parts: bytes) -> bytes:
    """An element (X.690, definite lengths: RFC 4511 section 5.1)."""
    content = b"".join(parts)
    size = len(content)
    if size < 128:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 128 | len(length))) + length + content


def integer(number: int, tag: int = INTEGER) -> bytes:
    return tlv(tag, number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True))


class Element(NamedTuple):
    tag: int
    content: bytes

    def number(self) -> int:
        return int.from_bytes(self.content, "big", signed=True)


def header(data: bytes | bytearray, place: int = 0) -> tuple[int, int] | None:
    """Where the content of an element begins and ends; None: more bytes are needed. Raises Malformed."""
    if len(data) < place + 2:
        return None
    length, start = data[place + 1], place + 2
    if length & 128:
        start += length & 127
        if not place + 2 < start <= place + 6:
            raise Malformed("a length that LDAP does not use")
        if len(data) < start:
            return None
        length = int.from_bytes(data[place + 2 : start], "big")
    if length > MAX_MESSAGE:
        raise Malformed(f"a message of more than {MAX_MESSAGE} bytes")
    return start, start + length


def elements(data: bytes) -> Iterator[Element]:
    """The elements that stand side by side. Raises Malformed."""
    place = 0
    while place < len(data):
        bounds = header(data, place)
        if bounds is None or bounds[1] > len(data):
            raise Malformed("an element that ends too early")
        yield Element(data[place], data[bounds[0] : bounds[1]])
        place = bounds[1]


# ------------------------------------------------------------ messages


class Answer(NamedTuple):
    """A message of the server. `code` is of its result (-1: it carries none), `parts` what an entry is made of."""

    number: int
    operation: int
    code: int
    parts: tuple[Element, ...]


def message(number: int, operation: bytes) -> bytes:
    return tlv(SEQUENCE, integer(number), operation)


def bind_request(name: bytes, password: bytes) -> bytes:
    return tlv(BIND, integer(3), tlv(OCTETS, name), tlv(0x80, password))


def unbind_request() -> bytes:
    return tlv(UNBIND)


def start_tls_request() -> bytes:
    return tlv(EXTENDED, tlv(0x80, START_TLS))


def search_request(base: bytes, scope: int, seconds: int, found: bytes, attributes: Iterable[bytes]) -> bytes:
    return tlv(
        SEARCH,
        tlv(OCTETS, base),
        integer(scope, ENUMERATED),
        integer(0, ENUMERATED),  # aliases are not followed
        integer(0),  # entries: as many as the server gives
        integer(seconds),
        tlv(BOOLEAN, b"\0"),
        found,
        tlv(SEQUENCE, *(tlv(OCTETS, name) for name in attributes)),
    )


def read_answer(content: bytes) -> Answer:
    """The content of a message. Raises Malformed."""
    outer = list(elements(content))
    if len(outer) < 2 or outer[0].tag != INTEGER:
        raise Malformed("this is no LDAP message")
    number, operation = outer[0].number(), outer[1]
    if operation.tag == REFERENCE:
        return Answer(number, REFERENCE, -1, ())
    parts = tuple(islice(elements(operation.content), MAX_PARTS))
    if operation.tag == ENTRY:
        return Answer(number, ENTRY, -1, parts)
    if not parts or parts[0].tag != ENUMERATED:
        raise Malformed("an answer without a result")
    return Answer(number, operation.tag, parts[0].number(), parts)


def read_entry(parts: tuple[Element, ...], most: int) -> tuple[bytes, list[tuple[bytes, list[bytes]]]]:
    """An entry's name and its attributes, each with its values. Raises Malformed, also for more values than `most`."""
    if len(parts) != 2:
        raise Malformed("an entry that is none")
    attributes = []
    for attribute in elements(parts[1].content):
        found = list(islice(elements(attribute.content), 3))
        if len(found) != 2:
            raise Malformed("an attribute that is none")
        values = [value.content for value in islice(elements(found[1].content), most)]
        most -= len(values) + 1
        if most <= 0:
            raise Malformed("too many values")
        attributes.append((found[0].content, values))
    return parts[0].content, attributes


# ------------------------------------------------------------ filters


def escape(value: bytes) -> bytes:
    """A value as it may stand in a filter (RFC 4515 section 3)."""
    return NEEDS_ESCAPE.sub(lambda match: b"\\%02X" % match[0][0], value)


def unescape(value: bytes) -> bytes:
    def byte(match: re.Match[bytes]) -> bytes:
        if match[1] is None:
            raise Malformed("a backslash without two hexadecimal digits")
        return bytes.fromhex(match[1].decode())

    return ESCAPED.sub(byte, value)


def read_filter(text: bytes) -> bytes:
    """A filter as BER. Raises Malformed."""
    if len(text) > MAX_FILTER:
        raise Malformed(f"it is longer than {MAX_FILTER} bytes")
    reader = FilterReader(text.strip())
    return reader.read_all()


class FilterReader:
    """Reads one filter; `place` is how far."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.place = 0

    def read_all(self) -> bytes:
        if not self.text.startswith(b"("):  # as libldap takes it too
            return comparison(self.text)
        result = self.read(0)
        if self.place != len(self.text):
            raise Malformed(f"something follows it, at byte {self.place}")
        return result

    def read(self, depth: int) -> bytes:
        """What stands in brackets, here."""
        if depth > MAX_DEPTH:
            raise Malformed(f"it nests more than {MAX_DEPTH} deep")
        self.expect(b"(")
        kind = self.text[self.place : self.place + 1]
        if kind in (b"&", b"|"):
            self.place += 1
            result = tlv(0xA0 if kind == b"&" else 0xA1, *self.read_list(depth))
        elif kind == b"!":
            self.place += 1
            result = tlv(0xA2, self.read(depth + 1))
        else:
            end = self.text.find(b")", self.place)
            end = len(self.text) if end < 0 else end
            result = comparison(self.text[self.place : end])
            self.place = end
        self.expect(b")")
        return result

    def read_list(self, depth: int) -> Iterator[bytes]:
        while self.text[self.place : self.place + 1] == b"(":
            yield self.read(depth + 1)

    def expect(self, character: bytes) -> None:
        if self.text[self.place : self.place + 1] != character:
            raise Malformed(f"{character.decode()} is missing at byte {self.place}")
        self.place += 1


def comparison(text: bytes) -> bytes:
    """`attribute=value` and its kin. Raises Malformed."""
    left, equals, right = text.partition(b"=")
    if not equals or b"(" in right:
        raise Malformed(f"{text[:60]!r} is no comparison")
    if left.endswith(b":"):
        return extensible(left[:-1], right)
    kind = {b">": 0xA5, b"<": 0xA6, b"~": 0xA8}.get(left[-1:], 0xA3)
    name = left if kind == 0xA3 else left[:-1]
    if not ATTRIBUTE.fullmatch(name):
        raise Malformed(f"{name[:60]!r} is no attribute")
    if kind == 0xA3 and right == b"*":
        return tlv(0x87, name)
    if kind == 0xA3 and b"*" in right:
        return substrings(name, right)
    return tlv(kind, tlv(OCTETS, name), tlv(OCTETS, unescape(right)))


def substrings(name: bytes, pattern: bytes) -> bytes:
    pieces = [unescape(piece) for piece in pattern.split(b"*")]
    last = len(pieces) - 1
    tags = {0: 0x80, last: 0x82}
    parts = (tlv(tags.get(place, 0x81), piece) for place, piece in enumerate(pieces) if piece)
    return tlv(0xA4, tlv(OCTETS, name), tlv(SEQUENCE, *parts))


def extensible(left: bytes, value: bytes) -> bytes:
    """`attribute:dn:rule:=value` (RFC 4515 section 3)."""
    name, *rest = left.split(b":")
    whole = bool(rest) and rest[0].lower() == b"dn"
    rule = rest[1:] if whole else rest
    named = [item for item in (name, *rule) if item]
    if len(rule) > 1 or not named or any(not ATTRIBUTE.fullmatch(item) for item in named):
        raise Malformed(f"{left[:60]!r} is no matching rule")
    parts = [tlv(0x81, rule[0])] if rule else []
    parts += [tlv(0x82, name)] if name else []
    parts.append(tlv(0x83, unescape(value)))
    parts += [tlv(0x84, b"\xff")] if whole else []
    return tlv(0xA9, *parts)


# ------------------------------------------------------------ names

SPECIAL: Final = b'"+,;<>\\'
VALUE_ESCAPE: Final = re.compile(rb"\\([0-9A-Fa-f]{2}|[ \"#+,;<=>\\])|\\|([^\\])", re.DOTALL)


def read_name(text: bytes) -> list[list[tuple[bytes, bytes]]]:
    """A distinguished name: its RDNs, each of one or more attributes with values. Raises Malformed."""
    if len(text) > MAX_FILTER:
        raise Malformed(f"it is longer than {MAX_FILTER} bytes")
    if not text.strip(b" "):
        return []
    return [[read_pair(pair) for pair in split(rdn, b"+")] for rdn in split(text, b",;")]


def split(text: bytes, separators: bytes) -> list[bytes]:
    """The pieces between separators that are not escaped."""
    pieces = []
    start = 0
    for match in re.finditer(rb"\\.|[" + separators + rb"]", text, re.DOTALL):
        if match[0][0] != 0x5C:
            pieces.append(text[start : match.start()])
            start = match.end()
    return [*pieces, text[start:]]


def read_pair(text: bytes) -> tuple[bytes, bytes]:
    name, equals, value = text.partition(b"=")
    name = name.strip(b" ")
    if not equals or not ATTRIBUTE.fullmatch(name):
        raise Malformed(f"{text[:60]!r} is no attribute and value")
    return name, read_value(trimmed(value))


def trimmed(value: bytes) -> bytes:
    """A value without blanks around it; an escaped blank at the end stays."""
    value = value.lstrip(b" ")
    bare = value.rstrip(b" ")
    backslashes = len(bare) - len(bare.rstrip(b"\\"))
    return bare + b" " if backslashes % 2 and len(bare) < len(value) else bare


def read_value(text: bytes) -> bytes:
    def byte(match: re.Match[bytes]) -> bytes:
        if match[2] is not None:
            if match[2][0] in SPECIAL or match[2] == b"\0":
                raise Malformed(f"{match[2]!r} has to be escaped")
            return match[2]
        if match[1] is None:
            raise Malformed("a backslash before nothing that is escaped")
        return match[1] if len(match[1]) == 1 else bytes.fromhex(match[1].decode())

    return VALUE_ESCAPE.sub(byte, text)


def write_name(rdns: Iterable[Iterable[tuple[bytes, bytes]]]) -> bytes:
    """The inverse of read_name(), with the escapes that are necessary. Raises Malformed."""
    return b",".join(b"+".join(write_pair(*pair) for pair in rdn) for rdn in rdns)


def write_pair(name: bytes, value: bytes) -> bytes:
    if not ATTRIBUTE.fullmatch(name):
        raise Malformed(f"{name[:60]!r} is no attribute")
    written = re.sub(rb'["+,;<>\\]', lambda match: b"\\" + match[0], value).replace(b"\0", b"\\00")
    if written.startswith((b" ", b"#")):
        written = b"\\" + written
    if value.endswith(b" ") and len(value) > 1:
        written = written[:-1] + b"\\ "
    return name + b"=" + written
