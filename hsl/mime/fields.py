"""Header fields (RFC 5322 section 2.2): bytes in, fields as they stand out; and new fields from any value.

Everything is linear in the size of its input.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from hsl.errors import ScriptError
from hsl.mime import words
from hsl.mime.source import Window

MAX_HEADERS: Final = 1024 * 1024  # bytes of one header block
MAX_FIELDS: Final = 10_000
FOLD: Final = 78  # RFC 5322 2.1.1
HARD_LINE: Final = 998

FIELD: Final = re.compile(rb"([!-9;-~]++)[ \t]*+:[^\n]*+(?:\n|\Z)(?:[ \t][^\n]*+(?:\n|\Z))*+")
ENVELOPE: Final = re.compile(rb">*+From [^\n]*+\n")  # a mailbox file's line before the message
NAME: Final = re.compile(rb"[!-9;-~]{1,200}\Z")
CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
FOLDS: Final = re.compile(rb"\r?\n(?=[ \t])")
BREAK: Final = re.compile(rb"[\r\n][ \t\r\n]*+")
SOLID: Final = re.compile(rb"[^ ]")


class Field(NamedTuple):
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


class HeaderReader:
    """Reads the header block that begins at an offset: take its fields one by one, then look at `position` and `body`.

    The first line that is neither a field nor its continuation ends the headers, as in Postfix. `first` is where the
    fields begin (with `envelope` a mailbox file's line may stand before them), `position` where they end so far;
    `too_large` says what is wrong with a block over its limits.
    """

    def __init__(self, window: Window, start: int, *, envelope: bool = False) -> None:
        self.window = window
        self.start = start
        self.first = self.position = start
        self.count = 0
        self.too_large = ""
        if envelope:
            self.first = self.position = start + self.envelope_size()

    def envelope_size(self) -> int:
        found = ENVELOPE.match(self.window.slice(self.start, HARD_LINE))
        return found.end() if found else 0

    def next_field(self) -> Field | None:
        """The field at the current position, or None: the headers have ended."""
        window = self.window
        while True:
            match = FIELD.match(window.data, self.position - window.base) if window.end > self.position else None
            if match is None:
                if window.complete or self.is_broken():
                    return None
            elif window.base + match.end() - self.start > MAX_HEADERS:
                self.too_large = f"exceeds {MAX_HEADERS} bytes"
                return None
            elif match.end() < len(window.data) or window.complete:
                return self.take(match)
            window.grow(self.position)

    def take(self, match: re.Match[bytes]) -> Field | None:
        self.count += 1
        if self.count > MAX_FIELDS:
            self.too_large = f"has more than {MAX_FIELDS} fields"
            return None
        self.position = self.window.base + match.end()
        return Field(match[1].lower(), match[0])

    def is_broken(self) -> bool:
        """Whether the line at the current position cannot become a field, whatever follows the buffer."""
        line = self.window.data[self.position - self.window.base :]
        return b"\n" in line or len(line) > HARD_LINE

    @property
    def body(self) -> int:
        """Where the body begins: behind the empty line, if there is one."""
        following = self.window.slice(self.position, 2)
        for empty in (b"\r\n", b"\n"):
            if following.startswith(empty):
                return self.position + len(empty)
        return self.position


def check_size(fields: int, size: int) -> None:
    """Raises ScriptError for a header block over the limits."""
    if size > MAX_HEADERS:
        raise ScriptError(f"the message's header block exceeds {MAX_HEADERS} bytes")
    if fields > MAX_FIELDS:
        raise ScriptError(f"the message has more than {MAX_FIELDS} header fields")


def make_field(name: bytes, value: bytes, refold: bool, newline: bytes = b"\r\n") -> Field:
    """A field from any value. No value can start another field: a line break is always followed by a space."""
    if not NAME.match(name):
        raise ScriptError("a header name is printable ASCII without spaces and colons")
    check_size(1, len(value))
    value = CONTROL.sub(b"", value)
    texts = [BREAK.sub(b" ", value).strip(b" \t")] if refold else BREAK.split(value)
    lines: list[bytes] = []
    for text in texts:
        lead = 1 if lines else len(name) + 2
        lines += [line for line in fold(words.encode(text), lead, FOLD if refold else HARD_LINE) if line.strip()]
    return Field(name.lower(), name + b": " + (newline + b" ").join(lines) + newline)


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
        cut = text.rfind(b" ", solid.end(), start + max(0, width - lead) + 1)
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
    return b" ".join(part if part.isascii() else words.encode_run(part) for part in parts)


def date_text(timestamp: float) -> bytes:
    """A time (seconds since 1970) as the Date header has it. Raises ValueError, OverflowError, OSError."""
    from email.utils import formatdate  # what few scripts need is not loaded by all

    return formatdate(timestamp).encode()
