"""Script text and places in it. Everything that can be wrong in a script is reported with a Span."""

from __future__ import annotations

import codecs
from bisect import bisect_right
from typing import Final

MAX_EXCERPT = 200  # characters of a source line that an error shows


class Source:
    """One script file: its display name (path relative to the script root) and its text.

    The text is the file's bytes decoded as UTF-8 with surrogateescape, so that any byte survives into string literals.
    """

    __slots__ = ("line_starts", "name", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name: Final = name
        self.text: Final = text
        self.line_starts: Final = [0]
        position = text.find("\n")
        while position >= 0:
            self.line_starts.append(position + 1)
            position = text.find("\n", position + 1)

    @classmethod
    def from_bytes(cls, name: str, data: bytes) -> Source:
        """The source of a file. A byte order mark, which some editors write, is no part of it."""
        return cls(name, data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape"))

    def line_column(self, offset: int) -> tuple[int, int]:
        """The 1-based line and column (in characters) of an offset into the text."""
        line = bisect_right(self.line_starts, offset)
        return line, offset - self.line_starts[line - 1] + 1

    def line_text(self, line: int) -> str:
        start = self.line_starts[line - 1]
        end = self.line_starts[line] - 1 if line < len(self.line_starts) else len(self.text)
        return self.text[start:end].rstrip("\r")


class Span:
    """A half-open range of characters of one source."""

    __slots__ = ("end", "source", "start")

    def __init__(self, source: Source, start: int, end: int) -> None:
        self.source: Final = source
        self.start: Final = start
        self.end: Final = end

    @property
    def file(self) -> str:
        return self.source.name

    @property
    def line(self) -> int:
        return self.source.line_column(self.start)[0]

    @property
    def column(self) -> int:
        return self.source.line_column(self.start)[1]

    def excerpt(self) -> str:
        """The source line with a caret line under the span's part of it; of a very long line the part around it."""
        line, column = self.source.line_column(self.start)
        text = self.source.line_text(line)
        first = max(0, column - 1 - MAX_EXCERPT // 2) if len(text) > MAX_EXCERPT else 0
        shown = text[first : first + MAX_EXCERPT]
        before = shown[: column - 1 - first]
        width = max(1, min(self.end - self.start, len(shown) - len(before)))
        lead = "".join("\t" if char == "\t" else " " for char in before)
        return f"{printable(shown)}\n{lead}{'^' * width}"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


def printable(text: str) -> str:
    """Script text for people: a replacement character for each byte that is no UTF-8, and each control character."""
    return "".join(char if char.isprintable() or char == "\t" else "\N{REPLACEMENT CHARACTER}" for char in text)
