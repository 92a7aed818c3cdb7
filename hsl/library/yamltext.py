"""YAML 1.2 by its core schema: bytes come in, a value of the language goes out; for yaml_decode().

PyYAML reads the text; it does not make the values, which keeps dates, objects and YAML 1.1's `no` out.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

from hsl.values import Array, Value, array_key, share

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH: Final = 500  # lists and maps within each other
MAX_VALUES: Final = 500_000  # of one text, read in a second or two; those that aliases repeat are counted again
MAX_DIGITS: Final = 255  # hexadecimal ones of a number, which is less than 2^1024 then
TAG: Final = "tag:yaml.org,2002:"
# The parser compares each %TAG directive with all others, and joins its prefix with every tag: neither is linear.
DIRECTIVE: Final = re.compile(rb"(?:\A|[\r\n]|\xc2\x85|\xe2\x80[\xa8\xa9])(?:\xef\xbb\xbf)?%TAG")

NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
BOOLEANS: Final = {
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
INTEGER: Final = re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z", re.ASCII)
REAL: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z", re.ASCII)
SPECIAL: Final = re.compile(r"(?:([-+]?)\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z")


class NotYAML(ValueError):
    """A text that is not YAML, or has no value in the language."""


def read_yaml(data: bytes) -> Value:
    """The value of a YAML text of one document; an empty one is none. Raises NotYAML."""
    import yaml

    try:
        data.decode()
    except UnicodeDecodeError:
        raise NotYAML("the text is not UTF-8") from None
    if DIRECTIVE.search(data):
        raise NotYAML("%TAG is not supported")
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return Reader(yaml.parse(data, Loader=loader)).document()
    except yaml.YAMLError as error:
        raise NotYAML(str(error)) from None


class Reader:
    """Makes a value of PyYAML's events."""

    def __init__(self, events: Iterator[Any]) -> None:
        self.events = events
        self.anchors: dict[str, tuple[Value, int]] = {}  # value, and of how many values it consists
        self.count = 0

    def document(self) -> Value:
        value: Value = None
        documents = 0
        for event in self.events:
            name = type(event).__name__
            if name == "DocumentStartEvent":
                documents += 1
                if documents > 1:
                    raise NotYAML("there is more than one document")
                value = self.value(next(self.events), 0)
        return value

    def value(self, event: Any, depth: int) -> Value:
        """The value that begins with an event."""
        kind = type(event).__name__
        if kind == "AliasEvent":
            if event.anchor not in self.anchors:
                raise NotYAML(f"there is no &{event.anchor} before, or it contains itself")
            value, size = self.anchors[event.anchor]
            self.add(size)
            if isinstance(value, Array) and value.depth + depth > MAX_DEPTH:
                raise NotYAML(f"nested more than {MAX_DEPTH} deep")
            return share(value)
        begun = self.count
        self.add(1)
        self.anchors.pop(event.anchor, None)
        if kind == "ScalarEvent":
            value = scalar(event)
        elif depth >= MAX_DEPTH:
            raise NotYAML(f"nested more than {MAX_DEPTH} deep")
        else:
            want_tag(event.tag, "seq" if kind == "SequenceStartEvent" else "map")
            value = self.sequence(depth) if kind == "SequenceStartEvent" else self.mapping(depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = share(value), self.count - begun
        return value

    def add(self, values: int) -> None:
        self.count += values
        if self.count > MAX_VALUES:
            raise NotYAML(f"there are more than {MAX_VALUES} values")

    def sequence(self, depth: int) -> Array:
        items: list[Value] = []
        for event in self.events:
            if type(event).__name__ == "SequenceEndEvent":
                break
            items.append(self.value(event, depth + 1))
        return Array(items)

    def mapping(self, depth: int) -> Array:
        array = Array()
        for event in self.events:
            if type(event).__name__ == "MappingEndEvent":
                break
            key = array_key(self.value(event, depth + 1))
            if isinstance(key, Array):
                raise NotYAML("a key is a list or a map")
            if array.has(key):
                raise NotYAML("a key is there twice")
            array.set(key, self.value(next(self.events), depth + 1))
        return array


def want_tag(tag: str | None, *allowed: str) -> None:
    """Raises NotYAML for a tag that a node cannot have."""
    if tag is not None and tag != "!" and tag.removeprefix(TAG) not in allowed:
        raise NotYAML(f"the tag {tag[:40]} is not supported here")


def scalar(event: Any) -> Value:
    """The value of a scalar: by its tag if it has one, else by its form if it stands without quotes."""
    tag: str | None = event.tag
    text: str = event.value
    if tag is None:
        return plain(text) if event.implicit[0] else text.encode()
    want_tag(tag, "str", "null", "bool", "int", "float", "binary")
    kind = tag.removeprefix(TAG)
    if kind in ("str", "!"):
        return text.encode()
    return binary(text) if kind == "binary" else of_kind(kind, text)


def plain(text: str) -> Value:
    if text in NULLS:
        return None
    if text in BOOLEANS:
        return BOOLEANS[text]
    number = to_float(text)
    return text.encode() if number is None else number


def to_float(text: str) -> float | None:
    """The number that a scalar is, None if it is none. Raises NotYAML for one that is out of range."""
    base = {"0o": 8, "0x": 16}.get(text[:2]) if INTEGER.match(text) else None
    if base is not None:
        digits = text[2:].lstrip("0") or "0"
        number = float(int(digits, base)) if len(digits) <= MAX_DIGITS else math.inf
    elif INTEGER.match(text) or REAL.match(text):
        number = float(text)
    else:
        special = SPECIAL.match(text)
        if special is None:
            return None
        return math.nan if special[1] is None else float(special[1] + "inf")
    if not math.isfinite(number):
        raise NotYAML("a number is out of range")
    return number + 0.0


def of_kind(kind: str, text: str) -> Value:
    """A scalar under the tag !!null, !!bool, !!int or !!float. Raises NotYAML where it has another form."""
    if kind == "null" and text in NULLS:
        return None
    if kind == "bool" and text in BOOLEANS:
        return BOOLEANS[text]
    if kind == "float" or (kind == "int" and INTEGER.match(text)):
        number = to_float(text)
        if number is not None:
            return number
    raise NotYAML(f"{text[:40]!r} is no !!{kind}")


def binary(text: str) -> bytes:
    """What !!binary says in base64."""
    import base64

    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        raise NotYAML("!!binary wants base64") from None
