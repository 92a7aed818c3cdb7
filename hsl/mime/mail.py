"""A message under edit: a source of received bytes in; its header and parts, edits, and versions of it out.

Nothing is parsed before it is asked for, nothing that was received is ever changed: an edit is a note beside it, and a
version is made of spans of the received bytes and of what the notes say. An untouched message is one span.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from hsl.errors import ScriptError
from hsl.mime import coding
from hsl.mime.changes import UNCHANGED, Change, Splice, State, Wrap, new_boundary
from hsl.mime.fields import FIELD, Field, HeaderReader, check_size, join_values, make_field
from hsl.mime.parameters import parse_type
from hsl.mime.render import Piece, Renderer
from hsl.mime.source import CHUNK, BytesBody, Checked, Source, Window, pieces
from hsl.mime.tree import Part, Splitter
from hsl.values import MAX_STRING

MAX_BODY: Final = 1024 * 1024  # bytes that one setBody() takes
MAX_INSERTED: Final = 1_000  # new parts of one message
MAX_SNAPSHOTS: Final = 1_000
MAX_SPLICES: Final = 1_000
MAX_KEPT: Final = 50_000  # header fields of the parts below the message that are kept once they were read
ENCODING: Final = b"content-transfer-encoding"
TYPE: Final = b"content-type"
START: Final = State({}, (), 0, 0, 0, 0)


class Version:
    """A message as it was at one time; `chunks` gives its bytes. The same serial means the same version."""

    __slots__ = ("pieces", "serial", "size", "source")

    def __init__(self, serial: int, source: Source, pieces: Sequence[Piece]) -> None:
        self.serial = serial
        self.source = source
        self.pieces = pieces
        self.size = sum(len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in pieces)

    def chunks(self) -> Iterator[bytes]:
        """The bytes in pieces of at most 64 KiB; may be called more than once."""
        waiting: list[bytes] = []
        for piece in self.pieces:
            if isinstance(piece, bytes):
                waiting.append(piece)
                continue
            yield from pieces(b"".join(waiting))
            waiting.clear()
            for start in range(piece[0], piece[1], CHUNK):
                yield self.source.read_at(start, min(piece[1], start + CHUNK))
        yield from pieces(b"".join(waiting))


class MailModel:
    """A received message and its edits. `lead` are bytes before it that nothing here sees (our own Received).

    Reading gives what was received; `current` fields are those after the edits. All methods raise ScriptError for
    names that are none and over the limits.
    """

    def __init__(self, source: Source, lead: bytes = b"") -> None:
        self.source = source
        self.reader = Checked(source)
        self.lead = lead
        self.root = Part(None, 0)
        self.state = START
        self.owned = False  # whether nothing else holds the changes of `state`
        self.serial = 0  # of the last edit
        self.snapshots: list[State] = []
        self.was_split = False
        self.received: dict[Part, tuple[Field, ...]] = {}
        self.kept = 0  # fields in `received` of the parts below the message
        self.written: Version | None = None
        self.line_break: bytes | None = None

    # --- what was received

    def split(self, pause: Callable[[], None] = lambda: None) -> Part:
        """The message as a tree of parts, split once. `pause` is called now and then, and may raise."""
        if not self.was_split:
            self.root.forget()
            Splitter(self.reader, pause).run(self.root)
            self.was_split = True
        return self.root

    def fields(self, part: Part) -> tuple[Field, ...]:
        """The header fields of a part as they came; read once, as long as there are not too many."""
        found = self.received.get(part)
        if found is None:
            if part is self.root:
                self.read_head()
            if part.too_large:
                raise ScriptError(f"the message's header block {part.too_large}")
            found = self.received.get(part)
            if found is None:
                block = self.reader.read_at(part.first, part.headers_end)
                found = self.ended(parse_fields(block))
                if self.kept + len(found) <= MAX_KEPT:
                    self.kept += len(found)
                    self.received[part] = found
        return found

    def read_head(self) -> None:
        """The message's own header and where it ends, without a look at what comes after it."""
        if self.was_split or self.root.body:
            return
        reader = HeaderReader(Window(self.reader), 0, envelope=True)
        found: list[Field] = []
        while (field := reader.next_field()) is not None:
            found.append(field)
        root = self.root
        root.first, root.headers_end, root.body = reader.first, reader.position, reader.body
        root.end = self.source.size
        root.too_large = reader.too_large
        if not root.too_large:
            self.received[root] = self.ended(found)

    def ended(self, fields: list[Field]) -> tuple[Field, ...]:
        """The fields of a header; the last one gets a line break if it has none."""
        if fields and not fields[-1].raw.endswith(b"\n"):
            fields[-1] = fields[-1]._replace(raw=fields[-1].raw + self.newline)
        return tuple(fields)

    @property
    def newline(self) -> bytes:
        """The message's line break: that of its first line, CRLF without one."""
        if self.line_break is None:
            start = self.reader.read_at(0, min(CHUNK, self.source.size))
            end = start.find(b"\n")
            self.line_break = b"\n" if end >= 0 and start[end - 1 : end] != b"\r" else b"\r\n"
        return self.line_break

    def raw(self, start: int, end: int) -> bytes:
        """Received bytes. Raises ScriptError over the limit of a string."""
        if end - start > MAX_STRING:
            raise ScriptError(f"string exceeds {MAX_STRING} bytes")
        return self.reader.read_at(start, end)

    def content(self, part: Part, decoded: bool = True) -> bytes:
        """The content of a part, its transfer encoding decoded; that of a multipart or message as it stands."""
        self.split()
        data = self.raw(part.body, part.end)
        return self.decoded(part, data) if decoded else data

    def decoded(self, part: Part, data: bytes) -> bytes:
        """Content of a part, or its beginning, decoded."""
        return data if part.children else coding.decode(data, part.encoding)

    # --- headers

    def current(self, part: Part) -> tuple[Field, ...]:
        """The header fields of a part as they would leave now."""
        fields = self.state.changes.get(part, UNCHANGED).fields
        return self.fields(part) if fields is None else fields

    def add_field(self, part: Part, name: bytes, value: bytes, refold: bool = True) -> None:
        """Add a field on top."""
        field = make_field(name, value, refold, self.newline)
        self.put_fields(part, (field, *self.current(part)))

    def add_raw(self, part: Part, raw: bytes) -> None:
        """Add a complete field with CRLF line breaks on top, as it is."""
        if self.newline != b"\r\n":
            raw = raw.replace(b"\r\n", self.newline)
        self.put_fields(part, (Field(raw.partition(b":")[0].rstrip().lower(), raw), *self.current(part)))

    def set_field(self, part: Part, name: bytes, value: bytes, refold: bool = True, index: int | None = None) -> int:
        """Overwrite the fields of a name (or one of them, counted from 0), or add one. How many there are now."""
        return self.rewrite(part, name, lambda _: value, value, refold, index)

    def prepend_field(self, part: Part, name: bytes, value: bytes, refold: bool = True) -> int:
        """Put a text in front of the value of every field of that name, or add one. How many there are now."""
        return self.rewrite(part, name, lambda old: join_values(value, old), value, refold)

    def append_field(self, part: Part, name: bytes, value: bytes, refold: bool = True) -> int:
        """Put a text behind the value of every field of that name, or add one. How many there are now."""
        return self.rewrite(part, name, lambda old: join_values(old, value), value, refold)

    def rewrite(
        self,
        part: Part,
        name: bytes,
        edit: Callable[[bytes], bytes],
        missing: bytes,
        refold: bool,
        index: int | None = None,
    ) -> int:
        fields = list(self.current(part))
        found = places(fields, name, index)
        for place in found:
            field = fields[place]
            fields[place] = make_field(field.written_name, edit(field.value), refold, self.newline)
        if found:
            self.put_fields(part, tuple(fields))
        elif index is None:
            self.add_field(part, name, missing, refold)
            return 1
        return len(found)

    def delete_field(self, part: Part, name: bytes, index: int | None = None) -> int:
        """Delete the fields of a name, or one of them. How many were deleted."""
        fields = self.current(part)
        found = set(places(fields, name, index))
        if found:
            self.put_fields(part, tuple(field for place, field in enumerate(fields) if place not in found))
        return len(found)

    def rename_field(self, part: Part, name: bytes, new: bytes) -> int:
        """Give the fields of a name another name; their values stay bit for bit. How many were renamed."""
        make_field(new, b"", False)
        fields = list(self.current(part))
        found = places(fields, name, None)
        for place in found:
            fields[place] = Field(new.lower(), new + fields[place].raw[len(fields[place].written_name) :])
        if found:
            self.put_fields(part, tuple(fields))
        return len(found)

    def put_fields(self, part: Part, fields: tuple[Field, ...]) -> None:
        check_size(len(fields), sum(len(field.raw) for field in fields))
        self.change(part, fields=fields)

    def set_date_later(self, part: Part, clock: Callable[[], float]) -> int:
        """Set the Date when the message is written. How many Date fields there will be."""
        self.change(part, later=clock)
        return max(1, len(places(self.current(part), b"Date", None)))

    # --- contents and parts

    def set_content(self, part: Part, data: bytes, encode: bool = True) -> bool:
        """Give a part another content, in the most readable transfer encoding; false for a multipart or too much."""
        self.split()
        if len(data) > MAX_BODY or part.children or part.type.startswith(b"multipart/"):
            return False
        if not encode:
            check_boundary(data, part)
            self.change(part, added=len(data), content=data)
            return True
        encoding, content = self.encode(part, data)
        fields = self.with_encoding(part, encoding)
        check_size(len(fields), sum(len(field.raw) for field in fields))
        self.change(part, added=len(content), content=content, fields=fields)
        return True

    def encode(self, part: Part, data: bytes) -> tuple[bytes, bytes]:
        """The transfer encoding that suits a part, and the encoded content, in which no boundary is."""
        kind = self.current_type(part)
        text = kind in (b"", b"text") or kind.startswith(b"text/")
        encoding, content = coding.encode(data, text=text, newline=self.newline)
        if has_boundary(content, part):
            encoding, content = b"base64", coding.encode_base64(data, self.newline)
        if encoding == b"base64" and part.is_message:
            content += self.newline
        return encoding, content

    def current_type(self, part: Part) -> bytes:
        """`type/subtype` as the Content-Type says it now; where no edit has touched the fields, as it was received."""
        if self.state.changes.get(part, UNCHANGED).fields is None:
            return part.type
        fields = self.current(part)
        found = places(fields, TYPE, 0)
        return parse_type(fields[found[0]].value).word if found else b""

    def with_encoding(self, part: Part, encoding: bytes) -> tuple[Field, ...]:
        """The fields of a part with another transfer encoding, in the place of the first one."""
        fields = self.current(part)
        found = places(fields, ENCODING, None)
        if not found and encoding == b"7bit":
            return fields
        field = make_field(b"Content-Transfer-Encoding", encoding, False, self.newline)
        place = found[0] if found else len(fields)
        return (*fields[:place], field, *(item for item in fields[place:] if item.name != ENCODING))

    def preamble(self, part: Part) -> bytes | None:
        """What stands before the first part; None without parts."""
        self.split()
        if not part.split:
            return None
        return self.raw(part.body, part.dashes[0]).removesuffix(b"\n").removesuffix(b"\r")

    def epilogue(self, part: Part) -> bytes | None:
        """What stands behind the closing delimiter; None without one."""
        self.split()
        if not part.closed:
            return None
        data = self.raw(part.tail, part.end)
        return data[data.find(b"\n") + 1 :]

    def set_preamble(self, part: Part, data: bytes) -> bool:
        self.split()
        if part.split and not has_boundary(data, part):
            self.change(part, added=len(data), preamble=data)
            return True
        return False

    def set_epilogue(self, part: Part, data: bytes) -> bool:
        self.split()
        if part.closed and not has_boundary(data, part.parent):
            self.change(part, added=len(data), epilogue=data)
            return True
        return False

    def insert(self, part: Part, data: bytes, kind: bytes, *, after: bool) -> None:
        """Put a new part before or after a part (and what was put there already): into the multipart of that kind that
        it stands in, or that it is; without one, a new multipart is put around it."""
        self.split()
        check_boundary(data, part.parent)
        change = self.state.changes.get(part, UNCHANGED)
        parent = part.parent
        values: dict[str, Any] = {}
        if change.wraps and change.wraps[-1].type == kind:
            *inner, outer = change.wraps
            values["wraps"] = (*inner, beside(outer, data, after))
        elif parent is not None and parent.split and parent.type == kind:
            values = grown(change, "after" if after else "before", data, after)
        elif takes_parts(part, change, kind) and b"--" + part.boundary not in data:
            values = grown(change, "last" if after else "first", data, after)
        else:
            values["wraps"] = (*change.wraps, beside(Wrap(kind, new_boundary()), data, after))
        self.change(part, added=len(data), inserted=1, **values)

    def remove(self, part: Part) -> None:
        """Take a part out of its multipart."""
        if part.is_message:
            raise ScriptError("a message cannot be removed from itself; remove() is for the parts of a multipart")
        self.change(part, removed=True)

    def replace_part(self, part: Part, data: bytes) -> None:
        """Put another part in the place of a part. A message keeps its header, but for what the new part has."""
        self.split()
        check_boundary(data, part.parent)
        if part.is_message:
            self.replace_content(part, data)
        else:
            self.change(part, added=len(data), whole=data)

    def replace_content(self, part: Part, data: bytes) -> None:
        new = MailModel(BytesBody(data))
        fields = new.fields(new.root)
        names = {field.name for field in fields}
        kept = (f for f in self.current(part) if f.name not in names and not f.name.startswith(b"content-"))
        content = data[new.root.body :]
        self.change(part, added=len(data), fields=(*kept, *fields), content=content)

    def splice(self, start: int, count: int, data: bytes) -> None:
        """Replace received bytes, wherever they stand. Two splices may not overlap."""
        end = start + count
        if not 0 <= start <= end <= self.source.size:
            raise ScriptError(f"there are no bytes {start} to {end} in a message of {self.source.size}")
        splices = self.state.splices
        if any((start < other.end and other.start < end) or start == other.start for other in splices):
            raise ScriptError("these bytes of the message are replaced already")
        if len(splices) >= MAX_SPLICES:
            raise ScriptError(f"more than {MAX_SPLICES} places of a message are replaced")
        self.note(len(data))
        self.state = self.state._replace(splices=tuple(sorted((*splices, Splice(start, end, data)))))

    def render(self, part: Part) -> bytes:
        """A part as it would leave now."""
        renderer = self.renderer()
        renderer.part(part)
        return self.joined(renderer.pieces)

    def current_bytes(self) -> bytes:
        """The message as it would leave now, without the lead."""
        return self.joined(self.all_pieces())

    def bare_version(self) -> Version:
        """The message as it is now, without the lead."""
        return Version(self.state.serial, self.source, self.all_pieces())

    def joined(self, found: Sequence[Piece]) -> bytes:
        version = Version(0, self.reader, found)
        if version.size > MAX_STRING:
            raise ScriptError(f"string exceeds {MAX_STRING} bytes")
        return b"".join(version.chunks())

    # --- states

    def change(self, part: Part, *, added: int = 0, inserted: int = 0, **values: Any) -> None:
        """Note an edit of a part. Raises ScriptError over the limits, and nothing is changed."""
        old = self.state.changes.get(part, UNCHANGED)
        self.note(added, inserted)
        changes = self.state.changes if self.owned else dict(self.state.changes)
        changes[part] = old._replace(**values)
        self.owned = True
        self.state = self.state._replace(changes=changes)

    def note(self, added: int, inserted: int = 0) -> None:
        """Count an edit."""
        state = self.state
        if state.added + added > MAX_STRING:
            raise ScriptError(f"more than {MAX_STRING} bytes are put into one message")
        if state.inserted + inserted > MAX_INSERTED:
            raise ScriptError(f"more than {MAX_INSERTED} parts are put into one message")
        self.serial += 1
        self.state = state._replace(
            serial=self.serial, edits=state.edits + 1, added=state.added + added, inserted=state.inserted + inserted
        )

    def with_field(self, raw: bytes) -> Version:
        """A version with one more field on top, as it stands; the message stays as it is."""
        before, written = self.state, self.written
        self.owned = False
        self.add_raw(self.root, raw)
        version = self.version()
        self.take(before)
        self.written = written
        return version

    def reset(self) -> int:
        """Undo all edits. How many there were."""
        count = self.state.edits
        self.take(START)
        return count

    def snapshot(self) -> int:
        """Keep the state; its id, from 1."""
        if len(self.snapshots) >= MAX_SNAPSHOTS:
            raise ScriptError(f"more than {MAX_SNAPSHOTS} snapshots of one message")
        self.owned = False
        self.snapshots.append(self.state)
        return len(self.snapshots)

    def restore(self, number: int) -> bool:
        """Go back to the state of a snapshot; false if there is none of that id."""
        if not 1 <= number <= len(self.snapshots):
            return False
        self.take(self.snapshots[number - 1])
        return True

    def take(self, state: State) -> None:
        self.state = state
        self.owned = False

    # --- versions

    def version(self) -> Version:
        """The message as it is now; without edits in between always the same object."""
        if self.written is None or self.written.serial != self.state.serial:
            lead: list[Piece] = [self.lead] if self.lead else []
            self.written = Version(self.state.serial, self.source, [*lead, *self.all_pieces()])
        return self.written

    def all_pieces(self) -> list[Piece]:
        if not self.state.changes and not self.state.splices:
            return [(0, self.source.size)]  # nothing is read
        self.read_head()
        renderer = self.renderer()
        renderer.part(self.root)
        behind = (splice.data for splice in self.state.splices if splice.start == self.source.size)
        return [*renderer.pieces, *behind]

    def renderer(self) -> Renderer:
        return Renderer(self.reader, self.state, self.newline, self.fields)


def parse_fields(block: bytes) -> list[Field]:
    """The fields of a block that holds nothing else."""
    fields: list[Field] = []
    position = 0
    while match := FIELD.match(block, position):
        fields.append(Field(match[1].lower(), match[0]))
        position = match.end()
    return fields


def places(fields: Sequence[Field], name: bytes, index: int | None) -> list[int]:
    """Where the fields of a name are, or the one of an index among them (from 0, from the top)."""
    wanted = name.lower()
    found = [place for place, field in enumerate(fields) if field.name == wanted]
    if index is None:
        return found
    return found[index : index + 1] if index >= 0 else []


def beside(wrap: Wrap, data: bytes, after: bool) -> Wrap:
    return wrap._replace(after=(*wrap.after, data)) if after else wrap._replace(before=(data, *wrap.before))


def takes_parts(part: Part, change: Change, kind: bytes) -> bool:
    """Whether new parts of a kind can stand in a part as it is now."""
    return part.split and part.type == kind and change.content is change.whole is None and not change.wraps


def grown(change: Change, where: str, data: bytes, after: bool) -> dict[str, Any]:
    held: tuple[bytes, ...] = getattr(change, where)
    return {where: (*held, data) if after else (data, *held)}


def check_boundary(data: bytes, part: Part | None) -> None:
    """A new part must not end the multiparts that it is put into."""
    if has_boundary(data, part):
        raise ScriptError("the new part has the message's boundary in it")


def has_boundary(data: bytes, part: Part | None) -> bool:
    """Whether the boundary of a part, or of one around it, stands anywhere in a text."""
    while part is not None:
        if part.boundary and b"--" + part.boundary in data:
            return True
        part = part.parent
    return False
