"""The parts of a message (RFC 2046), found in one pass: a source comes in, a tree of offsets goes out.

Linear in the size of the message: each byte is read once; a line that begins with `--` is looked up among all open
boundaries at once, however deep they nest. Where two open multiparts have the same boundary the outer one takes it.
Limits end the splitting, never the message: what lies beyond stays one part, and `errors` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from hsl.mime import coding, parameters
from hsl.mime.fields import HARD_LINE, HeaderReader
from hsl.mime.parameters import Structured
from hsl.mime.source import Source, Window

MAX_DEPTH: Final = 100  # of nested parts
MAX_PARTS: Final = 10_000
MAX_BOUNDARY: Final = 250  # RFC 2046 5.1.1 allows 70; senders do not all know
MESSAGES: Final = frozenset({b"message/rfc822", b"message/global"})
TURN: Final = 4096  # steps between two pauses
NO_TYPE: Final = Structured(b"", {})


class Part:
    """One part by its offsets: all of it from `start`, header fields from `first` to `headers_end`, content from `body`
    to `end`.

    `type` is the Content-Type in lower case, empty if there is none. A multipart that was split has `boundary`;
    `dashes` are the offsets of its delimiter lines' `--`, one per child and, if it is closed, that of the closing one,
    which ends at `tail`. A message inside a message (`message/rfc822`) is the only child of its part.
    """

    __slots__ = (
        "body",
        "boundary",
        "children",
        "closed",
        "dashes",
        "depth",
        "encoding",
        "end",
        "errors",
        "first",
        "headers_end",
        "id",
        "parent",
        "start",
        "tail",
        "too_large",
        "type",
    )

    def __init__(self, parent: Part | None, start: int) -> None:
        self.parent = parent
        self.start = self.first = self.headers_end = self.body = self.end = start
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.forget()
        self.id = b"0"
        if parent is not None:
            number = b"%d" % (len(parent.children) + 1)
            self.id = number if parent.parent is None else parent.id + b"." + number

    def forget(self) -> None:
        """As before it was looked into."""
        self.type = b""
        self.encoding = b""
        self.boundary = b""
        self.children: list[Part] = []
        self.dashes: list[int] = []
        self.tail = self.start
        self.closed = False
        self.errors: list[str] = []
        self.too_large = ""  # what is wrong with a header over the limits

    @property
    def split(self) -> bool:
        """Whether it is a multipart with parts."""
        return bool(self.children) and bool(self.boundary)

    @property
    def is_message(self) -> bool:
        """The received message itself, or one inside it: its header has more than what describes the content."""
        return self.parent is None or not self.parent.boundary

    def walk(self) -> Iterator[Part]:
        """This part and all below it, in the order of the message."""
        pending = [self]
        while pending:
            part = pending.pop()
            yield part
            pending += reversed(part.children)


class Splitter:
    """One pass over a source. `work` counts bytes read, fields and lines looked up: the proof that it is linear.

    `pause` is called now and then: it may raise, and others may be served.
    """

    def __init__(self, source: Source, pause: Callable[[], None] = lambda: None) -> None:
        self.window = Window(source)
        self.pause = pause
        self.open: dict[bytes, Part] = {}  # by boundary
        self.stack: list[Part] = []  # all around the current position, the innermost last
        self.parts = 0
        self.steps = 0

    @property
    def work(self) -> int:
        return self.window.read + self.steps

    def step(self) -> None:
        self.steps += 1
        if self.steps % TURN == 0:
            self.pause()

    def run(self, root: Part) -> None:
        """The whole message; its part is filled in."""
        position = self.begin(root)
        while self.open and (dash := self.window.find(b"\n--", position - 1) + 1) > 0:
            self.step()
            line = self.line_at(dash)
            part, closes = self.delimited(line)
            if part is None:
                position = dash + 1
            elif closes:
                position = self.close(part, dash, dash + 2 + len(line))
            elif self.parts < MAX_PARTS:
                position = self.divide(part, dash, dash + 2 + len(line))
            else:
                part.errors.append(f"more than {MAX_PARTS} parts: the rest is not split")
                break
        self.end_inside(None, self.window.source.size)

    def line_at(self, dash: int) -> bytes:
        """The text behind the dashes of a line, without blanks at its end; empty if it is too long to matter."""
        line = self.window.slice(dash - 2, HARD_LINE)[4:]  # the line break before it must not leave the buffer
        end = line.find(b"\n")
        if end < 0 and len(line) == HARD_LINE - 4:
            return b""
        return (line if end < 0 else line[:end]).rstrip(b" \t\r")

    def delimited(self, line: bytes) -> tuple[Part | None, bool]:
        """The multipart whose delimiter a line is, and whether it closes it."""
        part = self.open.get(line)
        if part is not None or not line.endswith(b"--"):
            return part, False
        part = self.open.get(line[:-2])
        return (part, True) if part is not None and part.dashes else (None, False)

    def divide(self, part: Part, dash: int, line_end: int) -> int:
        """A further part of a multipart begins. Gives the offset to go on at."""
        self.end_inside(part, dash)
        part.dashes.append(dash)
        child = Part(part, self.behind_line(line_end))
        part.children.append(child)
        return self.begin(child)

    def close(self, part: Part, dash: int, line_end: int) -> int:
        self.end_inside(part, dash)
        part.dashes.append(dash)
        part.tail = line_end
        part.closed = True
        del self.open[part.boundary]
        return self.behind_line(line_end)

    def behind_line(self, position: int) -> int:
        """The beginning of the next line, or the end of the message."""
        found = self.window.find(b"\n", position)
        return self.window.source.size if found < 0 else found + 1

    def begin(self, part: Part) -> int:
        """Read the header of a part, and of the message that it is. Gives the offset of the content."""
        while True:
            self.parts += 1
            self.stack.append(part)
            self.describe(part, self.read_header(part))
            holds_message = part.type in MESSAGES and part.encoding in coding.IDENTITY and not part.too_large
            if not (holds_message and self.may_descend(part)):
                return part.body
            inner = Part(part, part.body)
            part.children.append(inner)
            part = inner

    def read_header(self, part: Part) -> bytes | None:
        """Find where header and content of a part begin and end. Gives the Content-Type."""
        reader = HeaderReader(self.window, part.start, envelope=part.is_message)
        content_type: bytes | None = None
        while True:
            position = reader.position
            field = reader.next_field()
            if field is None:
                break
            self.step()
            if field.raw.startswith(b"--") and self.is_delimiter(field.raw):  # it looks like a field
                reader.position = position
                break
            if field.name == b"content-type" and content_type is None:
                content_type = field.value
            elif field.name == b"content-transfer-encoding" and not part.encoding:
                part.encoding = read_encoding(field.value)
        part.first, part.headers_end, part.body = reader.first, reader.position, reader.body
        part.too_large = reader.too_large
        if reader.too_large:
            part.errors.append(f"the header {reader.too_large}")
        elif part.body == part.headers_end < self.window.source.size and not self.at_delimiter(part.body):
            part.errors.append("the header does not end with an empty line")
        return content_type

    def is_delimiter(self, line: bytes) -> bool:
        return self.delimited(line.partition(b"\n")[0][2:].rstrip(b" \t\r"))[0] is not None

    def at_delimiter(self, position: int) -> bool:
        return self.window.slice(position, 2) == b"--" and self.delimited(self.line_at(position))[0] is not None

    def describe(self, part: Part, content_type: bytes | None) -> None:
        """What the Content-Type means: a multipart is opened."""
        found = NO_TYPE if content_type is None else parameters.parse_type(content_type)
        part.type = found.word
        if content_type is None and part.parent is not None and part.parent.type == b"multipart/digest":
            part.type = b"message/rfc822"  # RFC 2046 5.1.5
        if part.encoding not in coding.KNOWN:
            part.errors.append("unknown transfer encoding " + part.encoding[:80].decode("ascii", "replace"))
        if part.type.startswith(b"multipart/"):
            self.open_multipart(part, found.parameters.get(b"boundary", b"").rstrip())

    def open_multipart(self, part: Part, boundary: bytes) -> None:
        if not boundary:
            part.errors.append("a multipart without a boundary")
        elif len(boundary) > MAX_BOUNDARY or b"\n" in boundary:
            part.errors.append(f"a boundary of more than {MAX_BOUNDARY} bytes or with a line break")
        elif boundary in self.open:
            part.errors.append("the boundary is that of a multipart around it")
        elif self.may_descend(part):
            part.boundary = boundary
            self.open[boundary] = part

    def may_descend(self, part: Part) -> bool:
        if part.depth >= MAX_DEPTH:
            part.errors.append(f"nested more than {MAX_DEPTH} deep: not split")
        return part.depth < MAX_DEPTH and self.parts < MAX_PARTS

    def end_inside(self, part: Part | None, line: int) -> None:
        """All parts inside a part (None: all) end before a delimiter line; its line break belongs to the delimiter."""
        end = line
        if part is not None:
            end -= 2 if self.window.slice(line - 2, 2) == b"\r\n" else 1
        while self.stack and self.stack[-1] is not part:
            ended = self.stack.pop()
            ended.end = end = max(ended.body, end)  # with nothing in it, the line break before is not its own
            if ended.boundary and not ended.closed:
                self.open.pop(ended.boundary, None)
                ended.errors.append(
                    "a multipart without its closing delimiter" if ended.dashes else "a multipart without parts"
                )


def read_encoding(value: bytes) -> bytes:
    """A Content-Transfer-Encoding in lower case, without what senders put behind it."""
    found = parameters.WORD.match(value)
    return found[1].lower() if found else b""
