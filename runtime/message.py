"""A received message under edit: the raw body and our trace header in, header access for scripts, snapshots out.

Nothing is parsed until a script asks. An untouched message comes out bit for bit below the trace header; an edited one
keeps every header that was not edited as it came. Values read are unfolded and decoded (RFC 2047) to UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hsl.errors import ScriptError
from hsl.mime import words as mimeword
from hsl.runtime.model import Body

MAX_HEADERS = 1024 * 1024  # bytes of the header block
MAX_FIELDS = 10_000
CHUNK = 64 * 1024
FOLD = 78  # RFC 5322 2.1.1
HARD_LINE = 998

FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:[^\n]*(?:\n|\Z)(?:[ \t][^\n]*(?:\n|\Z))*")
NAME = re.compile(rb"[!-9;-~]{1,200}\Z")
CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
FOLDS = re.compile(rb"\r?\n(?=[ \t])")
BREAK = re.compile(rb"[\r\n][ \t\r\n]*")
SOLID = re.compile(rb"[^ ]")


@dataclass(frozen=True, slots=True)
class Field:
    """One header field as it stands in the message, line ends included; `name` is lower case."""

    name: bytes
    raw: bytes

    @property
    def value(self) -> bytes:
        """The value, unfolded and stripped, not decoded."""
        return FOLDS.sub(b"", self.raw.partition(b":")[2]).strip(b" \t\r\n")

    @property
    def written_name(self) -> bytes:
        """The name in the case it came in."""
        return self.raw.partition(b":")[0].rstrip(b" \t")


class BytesBody:
    """A message held in memory."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    @property
    def size(self) -> int:
        return len(self.data)

    def chunks(self) -> Iterator[bytes]:
        yield from pieces(self.data)


class Version:
    """A snapshot of a message (a Body): trace, header block, and the received body from `offset` on."""

    __slots__ = ("fields", "offset", "original", "separator", "serial", "size", "trace")

    def __init__(
        self, serial: int, trace: bytes, original: Body, fields: tuple[Field, ...] = (), separator: bytes = b"",
        offset: int = 0,
    ) -> None:  # fmt: skip
        self.serial = serial
        self.trace = trace
        self.original = original
        self.fields = fields
        self.separator = separator
        self.offset = offset
        head = len(trace) + sum(len(field.raw) for field in fields) + len(separator)
        self.size = head + original.size - offset

    def chunks(self) -> Iterator[bytes]:
        """Trace and header block, then the body, in pieces of at most 64 KiB."""
        yield from pieces(self.trace + b"".join(field.raw for field in self.fields) + self.separator)
        skip = self.offset
        for chunk in self.original.chunks():
            if skip >= len(chunk):
                skip -= len(chunk)
            else:
                yield chunk[skip:] if skip else chunk
                skip = 0


class Message:
    """A received message and what scripts changed in it. `trace` is our own Received header, out of scripts' reach.

    Every method that reads or changes headers raises ScriptError when the header block is over MAX_HEADERS bytes or
    MAX_FIELDS fields, and for a name that is none (RFC 5322 2.2).
    """

    def __init__(self, original: Body, trace: bytes = b"") -> None:
        self.original = original
        self.trace = trace
        self.serial = 0  # grows with each edit
        self.fields: list[Field] | None = None
        self.separator = b""
        self.offset = 0
        self.snapshot: Version | None = None

    @property
    def size(self) -> int:
        """Bytes of the message as it would leave now."""
        return self.version().size

    def version(self) -> Version:
        """The message as it is now; without edits in between always the same object."""
        if self.snapshot is None or self.snapshot.serial != self.serial:
            if self.serial == 0:
                self.snapshot = Version(0, self.trace, self.original)
            else:
                fields = tuple(self.headers())
                self.snapshot = Version(self.serial, self.trace, self.original, fields, self.separator, self.offset)
        return self.snapshot

    def get(self, name: bytes, decode: bool = True) -> bytes | None:
        """The value of the first header of that name, or None."""
        wanted = name.lower()
        for field in self.headers():
            if field.name == wanted:
                return mimeword.decode(field.value) if decode else field.value
        return None

    def get_all(self, name: bytes | None, decode: bool = True) -> list[bytes]:
        """The values of all headers of that name, in order; without a name all headers as `Name: value`."""
        if name is None:
            return [
                field.written_name + b": " + (mimeword.decode(field.value) if decode else field.value)
                for field in self.headers()
            ]
        wanted = name.lower()
        values = [field.value for field in self.headers() if field.name == wanted]
        return [mimeword.decode(value) for value in values] if decode else values

    def add(self, name: bytes, value: bytes, refold: bool = True) -> None:
        """Add a header on top, below the trace header."""
        field = make_field(name, value, refold)
        self.change([field, *self.headers()])

    def set(self, name: bytes, value: bytes, refold: bool = True) -> int:
        """Overwrite every header of that name, or add one. How many there are now."""
        return self.rewrite(name, lambda _: value, value, refold)

    def prepend(self, name: bytes, value: bytes, refold: bool = True) -> int:
        """Put a text in front of the value of every header of that name, or add one. How many there are now."""
        return self.rewrite(name, lambda old: join_values(value, old), value, refold)

    def append(self, name: bytes, value: bytes, refold: bool = True) -> int:
        """Put a text behind the value of every header of that name, or add one. How many there are now."""
        return self.rewrite(name, lambda old: join_values(old, value), value, refold)

    def delete(self, name: bytes) -> int:
        """Delete every header of that name. How many there were."""
        wanted = name.lower()
        fields = self.headers()
        kept = [field for field in fields if field.name != wanted]
        count = len(fields) - len(kept)
        if count:
            self.change(kept)
        return count

    def rewrite(self, name: bytes, edit: Callable[[bytes], bytes], missing: bytes, refold: bool) -> int:
        wanted = name.lower()
        fields = list(self.headers())
        count = 0
        for index, field in enumerate(fields):
            if field.name == wanted:
                fields[index] = make_field(field.written_name, edit(field.value), refold)
                count += 1
        if not count:
            self.add(name, missing, refold)
            return 1
        self.change(fields)
        return count

    def change(self, fields: list[Field]) -> None:
        check_size(len(fields), sum(len(field.raw) for field in fields))
        self.fields = fields
        self.serial += 1

    def headers(self) -> list[Field]:
        """The header fields, parsed once."""
        if self.fields is None:
            block, more = read_head(self.original)
            self.fields, self.offset = parse_fields(block, more)
            # A block that ends without its empty line gets one, lest new headers run into the body.
            self.separator = b"\r\n"
        return self.fields


def pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), CHUNK):
        yield data[start : start + CHUNK]


def read_head(body: Body) -> tuple[bytes, bool]:
    """The first bytes of a message, at least up to the empty line that ends the headers; whether more follow."""
    block = bytearray()
    for chunk in body.chunks():
        start = max(0, len(block) - 3)
        block += chunk
        if block.startswith(b"\r\n") or block.find(b"\r\n\r\n", start) >= 0 or len(block) > MAX_HEADERS:
            break
    return bytes(block), len(block) < body.size


def parse_fields(block: bytes, more: bool) -> tuple[list[Field], int]:
    """The fields at the start of a block, and where the body begins (behind the empty line, if there is one).

    The first line that is neither a field nor its continuation ends the headers, as in Postfix.
    """
    fields: list[Field] = []
    position = 0
    while match := FIELD.match(block, position):
        fields.append(Field(match[1].lower(), match[0]))
        position = match.end()
        if len(fields) > MAX_FIELDS:
            break
    check_size(len(fields), len(block) if more and position == len(block) else position)
    if fields and not fields[-1].raw.endswith(b"\n"):
        fields[-1] = Field(fields[-1].name, fields[-1].raw + b"\r\n")
    for empty in (b"\r\n", b"\n"):
        if block.startswith(empty, position):
            return fields, position + len(empty)
    return fields, position


def check_size(fields: int, size: int) -> None:
    if size > MAX_HEADERS:
        raise ScriptError(f"the message's header block exceeds {MAX_HEADERS} bytes")
    if fields > MAX_FIELDS:
        raise ScriptError(f"the message has more than {MAX_FIELDS} header fields")


def make_field(name: bytes, value: bytes, refold: bool) -> Field:
    """A field from any value. No value can start another field: a line break is always followed by a space."""
    if not NAME.match(name):
        raise ScriptError("a header name is printable ASCII without spaces and colons")
    check_size(1, len(value))
    value = CONTROL.sub(b"", value)
    texts = [BREAK.sub(b" ", value).strip(b" \t")] if refold else BREAK.split(value)
    lines: list[bytes] = []
    for text in texts:
        lead = 1 if lines else len(name) + 2
        lines += [line for line in fold(mimeword.encode(text), lead, FOLD if refold else HARD_LINE) if line.strip()]
    return Field(name.lower(), name + b": " + b"\r\n ".join(lines) + b"\r\n")


def fold(text: bytes, lead: int, width: int) -> list[bytes]:
    """Cut at spaces into lines of at most `width` octets where the words allow it, and of HARD_LINE in any case.

    The first line has `lead` octets before it; the others stand behind one space, which replaces the space cut out.
    """
    lines: list[bytes] = []
    start = 0
    while len(text) - start > width - lead:
        solid = SOLID.search(text, start)
        if solid is None:
            break
        cut = text.rfind(b" ", solid.end(), start + width - lead + 1)
        if cut < 0:
            cut = text.find(b" ", solid.end(), start + HARD_LINE - lead)
        if cut < 0 and len(text) - start <= HARD_LINE - lead:
            break
        end = cut if cut >= 0 else start + HARD_LINE - lead
        lines.append(text[start:end])
        start = end + 1 if cut >= 0 else end
        lead = 1
    return [*lines, text[start:]]


def join_values(first: bytes, second: bytes) -> bytes:
    """Two texts as one value; one that is not ASCII becomes encoded words, set apart by a space."""
    if first.isascii() and second.isascii():
        return first + second
    parts = (BREAK.sub(b" ", CONTROL.sub(b"", part)) for part in (first, second))
    return b" ".join(part if part.isascii() else mimeword.encode_run(part) for part in parts)
