"""Header fields (RFC 5322 section 2.2): bytes in, fields as they stand out; and new fields from any value.

Everything is linear in the size of its input.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

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


class HeaderReader:
    """Reads the header block that begins at an offset: iterate for its fields, then look at `end` and `body`.

    The first line that is neither a field nor its continuation ends the headers, as in Postfix. `end` is where they
    end, `body` lies behind the empty line, if there is one; `too_large` if the block is over its limits.
    """

    def __init__(self, window: Window, start: int, *, envelope: bool = False) -> None:
        self.window = window
        self.start = start
        self.position = start
        self.too_large = ""
        self.count = 0
        if envelope:
            self.skip_envelope()
        self.first = self.position

    def skip_envelope(self) -> None:
        window = self.window
        while not (found := ENVELOPE.match(window.data, self.position - window.base)):
            begun = window.data[self.position - window.base :][:200].lstrip(b">")
            if not b"From ".startswith(begun[:5]) or b"\n" in begun or window.end - self.position > HARD_LINE:
                return
            if not window.grow(self.position):
                return
        self.position = window.base + found.end()

    def __iter__(self) -> Iterator[Field]:
        while (field := self.next_field()) is not None:
            yield field

    def next_field(self) -> Field | None:
        """The field at the current position, or None: the headers have ended."""
        window = self.window
        while True:
            match = FIELD.match(window.data, self.position - window.base) if window.end > self.position else None
            size = (window.base + match.end() if match else self.position) - self.start
            if size > MAX_HEADERS:
                self.too_large = f"exceeds {MAX_HEADERS} bytes"
                return None
            if match and (match.end() < len(window.data) or window.complete):
                break
            if match is None and (window.complete or self.is_broken()):
                return None
            window.grow(self.position)
        self.count += 1
        if self.count > MAX_FIELDS:
            self.too_large = f"has more than {MAX_FIELDS} fields"
            return None
        self.position = window.base + match.end()
        return Field(match[1].lower(), match[0])

    def is_broken(self) -> bool:
        """Whether the line at the current position cannot become a field, whatever follows the buffer."""
        window = self.window
        line = window.data[self.position - window.base :]
        return b"\n" in line or len(line) > HARD_LINE

    @property
    def end(self) -> int:
        return self.position

    @property
    def body(self) -> int:
        """Where the body begins."""
        window = self.window
        while window.end < self.position + 2 and window.grow(self.position):
            pass
        for empty in (b"\r\n", b"\n"):
            if window.data.startswith(empty, self.position - window.base):
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
    return b" ".join(part if part.isascii() else words.encode_run(part) for part in parts)
