"""New parts and messages: type, headers, content and children in; bytes with CRLF line ends out."""

from __future__ import annotations

import re
from typing import Final

from hsl.errors import ScriptError
from hsl.mime import coding
from hsl.mime.changes import new_boundary
from hsl.mime.fields import Field, date_text, make_field
from hsl.mime.parameters import parse_type, write_parameter
from hsl.mime.tree import MAX_DEPTH, MAX_PARTS
from hsl.values import MAX_STRING

MAX_BUILT_FIELDS: Final = 1_000
TYPE: Final = re.compile(rb"[!#-'*+.0-9A-Z^-~-]{1,100}/[!#-'*+.0-9A-Z^-~-]{1,100}(?:[ \t]*;[\t -~]{0,500})?\Z")
BOUNDARY: Final = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]\Z")  # RFC 2046 5.1.1
TOKEN: Final = re.compile(rb"[!#-'*+.0-9A-Z^-~-]{1,100}\Z")


class Builder:
    """A part under construction. `fields` are what was added; they go before what is made here."""

    def __init__(self) -> None:
        self.fields: list[Field] = []
        self.type = b"text/plain"
        self.boundary = b""  # that was set
        self.new_boundary = b""  # that was made
        self.disposition = b""
        self.filename = b""
        self.content: bytes | None = None
        self.children: list[Builder | bytes] = []

    def add_field(self, name: bytes, value: bytes, refold: bool = True) -> None:
        if len(self.fields) >= MAX_BUILT_FIELDS:
            raise ScriptError(f"more than {MAX_BUILT_FIELDS} headers are added to one part")
        self.fields.append(make_field(name, value, refold))

    def add_first(self, raw: bytes) -> None:
        """Add a complete field above all others."""
        self.fields.insert(0, Field(raw.partition(b":")[0].rstrip().lower(), raw))

    def set_date(self, timestamp: float) -> None:
        """The Date header. Raises ScriptError for a time that no calendar has."""
        try:
            date = date_text(timestamp)
        except (ValueError, OverflowError, OSError):
            raise ScriptError(f"there is no date of the timestamp {timestamp:g}") from None
        self.fields = [field for field in self.fields if field.name != b"date"]
        self.add_field(b"Date", date)

    def message(self) -> bytes:
        """As a message of its own, with MIME-Version. Raises ScriptError over the limits."""
        return Writer().run(self, message=True)

    def part(self) -> bytes:
        """As a part of another one."""
        return Writer().run(self, message=False)

    # What the writer asks

    def has(self, name: bytes) -> bool:
        return any(field.name == name for field in self.fields)

    def described(self) -> list[Field]:
        """The fields that are made here: those that were not added."""
        made = []
        if not self.has(b"content-type"):
            made.append(make_field(b"Content-Type", self.content_type(), True))
        if self.disposition or self.filename:
            made.append(make_field(b"Content-Disposition", self.content_disposition(), True))
        if self.content is not None and not self.children and not self.has(b"content-transfer-encoding"):
            made.append(make_field(b"Content-Transfer-Encoding", b"base64", True))
        return made

    def own_boundary(self) -> bytes:
        """That of the Content-Type or its type as they were given, else the one that was set, else a new one."""
        given = next((field.value for field in self.fields if field.name == b"content-type"), None)
        found = parse_type(self.type if given is None else given).parameters.get(b"boundary", b"")
        if BOUNDARY.match(found):
            return found
        if given is not None or found:
            raise ScriptError("the Content-Type of a part with parts was given without a boundary of RFC 2046's")
        self.new_boundary = self.new_boundary or new_boundary()
        return self.boundary or self.new_boundary

    def content_type(self) -> bytes:
        lower = self.type.lower()
        if self.children and b"boundary" not in parse_type(self.type).parameters:
            return self.type + b'; boundary="' + self.own_boundary() + b'"'
        return self.type + b"; charset=utf-8" if lower.startswith(b"text/") and b"charset=" not in lower else self.type

    def content_disposition(self) -> bytes:
        disposition = self.disposition or b"attachment"
        return disposition + b"; " + write_parameter(b"filename", self.filename) if self.filename else disposition

    def encoded(self) -> bytes:
        """The content as it stands in the part."""
        data = self.content or b""
        return data if self.has(b"content-transfer-encoding") else coding.encode_base64(data)


class Writer:
    """Writes a tree of builders; one that holds itself, or is held too often, ends at a limit."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.size = 0
        self.parts = 0

    def run(self, builder: Builder, *, message: bool) -> bytes:
        self.builder(builder, 0, message)
        return b"".join(self.pieces)

    def write(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > MAX_STRING:
            raise ScriptError(f"string exceeds {MAX_STRING} bytes")
        self.pieces.append(data)

    def builder(self, builder: Builder, depth: int, message: bool) -> None:
        self.parts += 1
        if depth > MAX_DEPTH or self.parts > MAX_PARTS:
            raise ScriptError(f"the parts nest more than {MAX_DEPTH} deep, or are more than {MAX_PARTS}")
        for field in builder.fields:
            self.write(field.raw)
        if message and not builder.has(b"mime-version"):
            self.write(b"MIME-Version: 1.0\r\n")
        for field in builder.described():
            self.write(field.raw)
        self.write(b"\r\n")
        if builder.children:
            self.children(builder, depth)
        elif builder.content is not None:
            self.write(builder.encoded())
            if message and not builder.has(b"content-transfer-encoding"):
                self.write(b"\r\n")

    def children(self, builder: Builder, depth: int) -> None:
        """The preamble, and each part behind its delimiter."""
        start = len(self.pieces)
        if builder.content:
            self.write(builder.content + b"\r\n")
        boundary = builder.own_boundary()
        mark = b"--" + boundary
        for child in builder.children:
            self.write(mark + b"\r\n")
            if isinstance(child, Builder):
                self.builder(child, depth + 1, False)
            else:
                self.write(child)
            self.write(b"\r\n")
        given = boundary != builder.new_boundary
        if given and sum(mark in piece for piece in self.pieces[start:]) > len(builder.children):
            raise ScriptError("a part has the boundary in it that was set for the parts")
        self.write(mark + b"--\r\n")
