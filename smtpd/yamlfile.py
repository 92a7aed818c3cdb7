"""A YAML file comes in; plain data goes out, with the place of every key and value, and everything that is wrong.

Scalars follow YAML 1.2's core schema: only `true` and `false` are booleans, only decimal digits are numbers. What YAML
1.1 took for something else (`no`, `on`, `010`, `1:30`, `1_000`, dates) stays the text that was written.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hsl.errors import CompileError, Diagnostics
from hsl.source import Source, Span

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32
MAX_NODES = 50_000  # aliases expanded

INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\Z")
FRACTION = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,17}\Z")
BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
NULLS = frozenset({"", "~", "null", "Null", "NULL"})
TAG = "tag:yaml.org,2002:"
SCALAR_TAGS = frozenset(TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp", "value", "merge"))

KeyPath = tuple[str | int, ...]
Data = None | bool | int | float | str | list[Any] | dict[str, Any]


class ConfigError(CompileError):
    """A configuration that does not load: every finding at once, rendered as a script's are."""


class TooMuch(Exception):
    """The file nests too deeply or expands to too many values; nothing more of it is read."""

    def __init__(self, message: str, mark: Any) -> None:
        super().__init__(message)
        self.mark = mark


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands; `key` is its key's place, None for an item of a list. `text` is a scalar as written."""

    key: Span | None
    value: Span
    text: str | None = None


@dataclass(slots=True)
class Document:
    """What a YAML file holds. `places` knows every key path of `data`: `("servers", 0, "id")`."""

    source: Source
    findings: Diagnostics = field(default_factory=Diagnostics)
    data: Data = None
    places: dict[KeyPath, Place] = field(default_factory=dict)

    def span(self, start: int, end: int) -> Span:
        limit = len(self.source.text)
        return Span(self.source, min(start, limit), min(max(start + 1, end), limit))

    def value_span(self, path: KeyPath) -> Span:
        """The place of the value at a path, or of the nearest value around it that exists."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places[path].value if path in self.places else self.span(0, 1)

    def key_span(self, path: KeyPath) -> Span:
        """The place of the key at a path; of the value where there is no key."""
        place = self.places.get(path)
        return place.key if place is not None and place.key is not None else self.value_span(path)

    def text(self, path: KeyPath) -> str | None:
        """The scalar at a path as written; None when there is none."""
        place = self.places.get(path)
        return place.text if place is not None else None

    def get(self, *path: str | int) -> Any:
        """The data at a path; None when it does not reach that far."""
        value: Any = self.data
        for key in path:
            if isinstance(key, int):
                value = value[key] if isinstance(value, list) and key < len(value) else None
            else:
                value = value.get(key) if isinstance(value, dict) else None
        return value

    def each(self, *path: str | int) -> list[KeyPath]:
        """The paths of the items of the list at a path; none when it is not a list."""
        value = self.get(*path)
        return [(*path, index) for index in range(len(value))] if isinstance(value, list) else []


def dotted(path: KeyPath) -> str:
    """`servers[0].limits.size`"""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")


def read_yaml(path: Path) -> Document:
    """Read and compose a file. Raises ConfigError when it cannot be read at all or is not YAML."""
    document = Document(Source(path.name, ""))
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        document.findings.error("file", f"cannot read {path}: {error.strerror}", document.span(0, 1))
        fail(document)
    document.source = Source.from_bytes(path.name, raw.removeprefix(b"\xef\xbb\xbf"))
    if len(raw) > MAX_BYTES:
        document.findings.error("size", f"the file is larger than {MAX_BYTES} bytes", document.span(0, 1))
        fail(document)
    compose(document)
    return document


def fail(document: Document) -> None:
    """Raise what was found, warnings included. Returns when there is no error among it."""
    try:
        document.findings.check()
    except CompileError as error:
        raise ConfigError(error.diagnostics) from None


def compose(document: Document) -> None:
    text = document.source.text
    stray = re.search("[\ud800-\udfff]", text)
    if stray:
        document.findings.error("syntax", "the file is not UTF-8", document.span(stray.start(), stray.end()))
        fail(document)
    try:
        check_depth(text)
        root = yaml.compose(text, Loader=LOADER)
        if root is not None:
            Reader(document).place(root, (), None)
    except TooMuch as error:
        document.findings.error("size", str(error), mark_span(document, error.mark))
    except yaml.MarkedYAMLError as error:
        message = ", ".join(part for part in (error.context, error.problem) if part) or "not YAML"
        document.findings.error("syntax", message, mark_span(document, error.problem_mark or error.context_mark))
    except yaml.reader.ReaderError as error:
        offset = len(text.encode()[: error.position].decode("utf-8", "ignore"))
        document.findings.error("syntax", f"not YAML: {error.reason}", document.span(offset, 0))
    else:
        return
    fail(document)


def mark_span(document: Document, mark: Any) -> Span:
    return document.span(mark.index if mark is not None else 0, 0)


def check_depth(text: str) -> None:
    """The composer recurses, so depth is checked on the stream of events before it runs."""
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise TooMuch(f"nested more than {MAX_DEPTH} levels deep", event.start_mark)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


@dataclass(slots=True)
class Reader:
    """Turns nodes into data, noting places and findings."""

    document: Document
    count: int = 0

    def place(self, node: yaml.Node, path: KeyPath, key: Span | None) -> None:
        """Read a whole document's root (or a subtree) and put the data in the document."""
        self.document.data = self.read(node, path, key)

    def read(self, node: yaml.Node, path: KeyPath, key: Span | None) -> Data:
        self.count += 1
        if self.count > MAX_NODES:
            raise TooMuch(f"more than {MAX_NODES} values (aliases counted as often as used)", node.start_mark)
        if len(path) > MAX_DEPTH:
            raise TooMuch("an alias that contains itself", node.start_mark)
        scalar = isinstance(node, yaml.ScalarNode)
        self.document.places[path] = Place(key, self.span(node), node.value if scalar else None)
        if isinstance(node, yaml.MappingNode):
            return self.read_mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            self.check_tag(node, {TAG + "seq"})
            return [self.read(item, (*path, index), None) for index, item in enumerate(node.value)]
        return self.read_scalar(node)

    def read_mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Data]:
        self.check_tag(node, {TAG + "map"})
        seen: dict[Hashable, Span] = {}
        result: dict[str, Data] = {}
        for key, value in node.value:
            span = self.span(key)
            findings = self.document.findings
            if not isinstance(key, yaml.ScalarNode):
                findings.error("key", "a key must be plain text", span)
            elif key.tag == TAG + "merge" and not key.style:
                findings.error("key", "merge keys (<<) are not supported", span, "write the keys out")
            elif key.value in seen:
                first = seen[key.value]
                findings.error("key", f"duplicate key {key.value!r}", span, f"first used on line {first.line}")
            else:
                seen[key.value] = span
                result[key.value] = self.read(value, (*path, key.value), span)
        return result

    def read_scalar(self, node: Any) -> Data:
        self.check_tag(node, SCALAR_TAGS)
        text: str = node.value
        if node.style in ("'", '"', "|", ">") or node.tag == TAG + "str":
            return text
        if text in NULLS:
            return None
        if text in BOOLEANS:
            return BOOLEANS[text]
        if INTEGER.match(text):
            return int(text)
        return float(text) if FRACTION.match(text) else text

    def check_tag(self, node: yaml.Node, known: frozenset[str] | set[str]) -> None:
        if node.tag not in known:
            shown = str(node.tag).replace(TAG, "!!")
            self.document.findings.error("tag", f"the tag {shown} is not supported", self.span(node))

    def span(self, node: yaml.Node) -> Span:
        return self.document.span(node.start_mark.index, node.end_mark.index)
