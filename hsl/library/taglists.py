"""Tag=value lists (RFC 6376 section 3.2), as DKIM, ARC and DMARC write them: bytes in, names and values out."""

from __future__ import annotations

import re
from typing import Final

FOLD: Final = re.compile(rb"\r?\n(?=[ \t])")
NAME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9_]*\Z")
SPACE: Final = b" \t\r\n"


class TagError(ValueError):
    """What is no list of tags: a part without `=`, a name that is none, a name given twice."""


def parse_tags(text: bytes) -> dict[bytes, bytes]:
    """The tags in order; values are unfolded and stripped. A `;` may end the list. Raises TagError."""
    parts = text.split(b";")
    if not parts[-1].strip(SPACE):
        parts.pop()
    tags: dict[bytes, bytes] = {}
    for part in parts:
        name, equals, value = part.partition(b"=")
        name = name.strip(SPACE)
        if not equals or not NAME.match(name):
            raise TagError("a part is no tag")
        if name in tags:
            raise TagError(f"the tag {name.decode()} is there twice")
        tags[name] = FOLD.sub(b"", value).strip(SPACE)
    return tags


def without_value(text: bytes, wanted: bytes) -> bytes:
    """The list with the value of one tag taken out, the spaces around the value too."""
    parts = text.split(b";")
    for index, part in enumerate(parts):
        name, equals, _ = part.partition(b"=")
        if equals and name.strip(SPACE) == wanted:
            parts[index] = name + equals
    return b";".join(parts)


def solid(value: bytes) -> bytes:
    """A value without any space in it, as Base64 and lists of names are read."""
    return b"".join(value.split())
