"""A message with its edits: parts and changes in, pieces out: bytes that were written, and spans of what was received.

What was not edited is never looked into: it leaves as the span that it came as.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

from hsl.mime.changes import UNCHANGED, Change, State, Wrap
from hsl.mime.fields import Field, date_text, make_field
from hsl.mime.source import Source
from hsl.mime.tree import Part

Span = tuple[int, int]
Piece = bytes | Span
Cell = bytes | tuple[Part, int, int]


class Renderer:
    """Collects pieces. `fields` gives the received fields of a part."""

    def __init__(self, source: Source, state: State, newline: bytes, fields: Callable[[Part], Sequence[Field]]) -> None:
        self.source = source
        self.changes = state.changes
        self.splices = state.splices
        self.newline = newline
        self.fields = fields
        self.pieces: list[Piece] = []
        self.dirty = set[Part]()
        for part in state.changes:
            above: Part | None = part
            while above is not None and above not in self.dirty:
                self.dirty.add(above)
                above = above.parent

    # What is put out

    def write(self, data: bytes) -> None:
        if data:
            self.pieces.append(data)

    def span(self, start: int, end: int) -> None:
        """Received bytes; with the splices that begin in them."""
        first = bisect_left(self.splices, (start,))
        if first and self.splices[first - 1].end > start:  # one that began before
            start = min(self.splices[first - 1].end, end)
        for splice in self.splices[first:]:
            if splice.start >= end:
                break
            self.copy(start, splice.start)
            self.write(splice.data)
            start = min(splice.end, end)
        self.copy(start, end)

    def copy(self, start: int, end: int) -> None:
        if start >= end:
            return
        last = self.pieces[-1] if self.pieces else None
        if isinstance(last, tuple) and last[1] == start:
            self.pieces[-1] = (last[0], end)
        else:
            self.pieces.append((start, end))

    def end_line(self) -> None:
        """What follows begins on a line of its own."""
        last = self.pieces[-1] if self.pieces else b"\n"
        tail = self.source.read_at(last[1] - 1, last[1]) if isinstance(last, tuple) else last
        if not tail.endswith(b"\n"):
            self.write(self.newline)

    # Parts

    def part(self, part: Part) -> None:
        """A part with all that was changed in it and put around it, without what was put beside it."""
        if part not in self.dirty:
            self.span(part.start, part.end)
            return
        change = self.changes.get(part, UNCHANGED)
        if change.wraps:
            self.wrapped(part, change)
        else:
            self.whole(part, change)

    def whole(self, part: Part, change: Change) -> None:
        if change.whole is not None:
            self.write(change.whole)
            return
        self.header(part, change)
        self.content(part, change)

    def header(self, part: Part, change: Change) -> None:
        if change.fields is None and change.later is None:
            self.span(part.start, part.body)
        else:
            self.span(part.start, part.first)
            self.raw(self.current(part, change))
            self.separator(part)

    def raw(self, fields: Iterable[Field]) -> None:
        self.write(b"".join(field.raw for field in fields))

    def current(self, part: Part, change: Change) -> Sequence[Field]:
        """The fields as they are now."""
        fields = self.fields(part) if change.fields is None else change.fields
        if change.later is None:
            return fields
        date = make_field(b"Date", date_text(change.later()), False, self.newline)
        if any(field.name == b"date" for field in fields):
            return [date if field.name == b"date" else field for field in fields]
        return [date, *fields]

    def separator(self, part: Part) -> None:
        """The empty line; a header that ends without one gets it, lest new fields run into the body."""
        if part.body > part.headers_end:
            self.span(part.headers_end, part.body)
        else:
            self.write(self.newline)

    def content(self, part: Part, change: Change) -> None:
        if change.content is not None:
            self.write(change.content)
        elif part.split:
            self.multipart(part, change)
        elif part.children:
            self.part(part.children[0])
        else:
            self.span(part.body, part.end)

    # Multiparts

    def multipart(self, part: Part, change: Change) -> None:
        if change.preamble is None:
            self.span(part.body, part.dashes[0])
        elif change.preamble:
            self.write(change.preamble + self.newline)
        cells = self.cells(part, change) or [self.newline]  # RFC 2046 5.1.1: at least one part
        last = None if part.closed else part.children[-1]
        for cell in cells:
            if isinstance(cell, bytes):
                self.new_cell(part.boundary, cell)
            else:
                self.old_cell(*cell)
                if cell[0] is last and cell is not cells[-1]:  # the line break at its end is its own
                    self.write(self.newline)
        if part.closed:
            self.span(part.dashes[-1], part.tail)
            self.epilogue(part, change)
        elif isinstance(cells[-1], bytes):
            self.write(b"--" + part.boundary + b"--" + self.newline)

    def cells(self, part: Part, change: Change) -> list[Cell]:
        """The parts of a multipart: new ones, and received ones from their delimiter to the next one."""
        cells: list[Cell] = [*change.first]
        ends = [*part.dashes[1:], part.end]
        for child, dash, end in zip(part.children, part.dashes, ends, strict=False):
            beside = self.changes.get(child, UNCHANGED)
            cells += beside.before
            if not beside.removed:
                cells.append((child, dash, end))
            cells += beside.after
        return [*cells, *change.last]

    def new_cell(self, boundary: bytes, data: bytes) -> None:
        self.end_line()
        self.write(b"--" + boundary + self.newline + data + self.newline)

    def old_cell(self, child: Part, dash: int, end: int) -> None:
        self.span(dash, child.start)
        if child in self.dirty:  # the delimiter's line may end with the message
            self.end_line()
        self.part(child)
        self.span(child.end, end)
        if end == child.end and child in self.dirty:
            self.end_line()

    def epilogue(self, part: Part, change: Change) -> None:
        if change.epilogue is None:
            self.span(part.tail, part.end)
        else:
            self.write(self.newline + change.epilogue)

    # Multiparts around a part

    def wrapped(self, part: Part, change: Change) -> None:
        """The outermost multipart has the message's header; what describes the content stays with the content."""
        splits = part.is_message
        inner: list[Field] = []
        if splits:
            fields = self.current(part, change)
            inner = [field for field in fields if field.name.startswith(b"content-")]
            self.span(part.start, part.first)
            self.raw(field for field in fields if not field.name.startswith(b"content-"))
            if not any(field.name == b"mime-version" for field in fields):
                self.write(b"MIME-Version: 1.0" + self.newline)
        for wrap in reversed(change.wraps):
            self.open_wrap(wrap)
        if splits:
            self.raw(inner)
            self.separator(part)
            self.content(part, change)
        else:
            self.whole(part, change)
        for wrap in change.wraps:
            self.close_wrap(wrap)
        if part.parent is None:
            self.write(self.newline)

    def open_wrap(self, wrap: Wrap) -> None:
        described = b"Content-Type: " + wrap.type + b'; boundary="' + wrap.boundary + b'"' + self.newline
        self.write(described + self.newline)
        for data in wrap.before:
            self.write(b"--" + wrap.boundary + self.newline + data + self.newline)
        self.write(b"--" + wrap.boundary + self.newline)

    def close_wrap(self, wrap: Wrap) -> None:
        for data in wrap.after:
            self.write(self.newline + b"--" + wrap.boundary + self.newline + data)
        self.write(self.newline + b"--" + wrap.boundary + b"--")
