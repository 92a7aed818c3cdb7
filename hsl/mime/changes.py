"""What was edited of a message: one immutable Change per part, and the state that a snapshot keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hsl.mime.fields import Field
from hsl.mime.tree import Part


class Wrap(NamedTuple):
    """A multipart put around a part, with new parts before and after it."""

    type: bytes
    boundary: bytes
    before: tuple[bytes, ...] = ()
    after: tuple[bytes, ...] = ()


class Change(NamedTuple):
    """The edits of one part; None and empty mean: as it came.

    `content` is the new raw content, `whole` what the part is replaced with, header and all. `before` and `after` are
    new parts beside it, `first` and `last` new parts inside it; `wraps` go from the inside out. `later` gives the time
    that becomes its Date when the message is written.
    """

    fields: tuple[Field, ...] | None = None
    content: bytes | None = None
    preamble: bytes | None = None
    epilogue: bytes | None = None
    removed: bool = False
    whole: bytes | None = None
    before: tuple[bytes, ...] = ()
    after: tuple[bytes, ...] = ()
    first: tuple[bytes, ...] = ()
    last: tuple[bytes, ...] = ()
    wraps: tuple[Wrap, ...] = ()
    later: Callable[[], float] | None = None


UNCHANGED = Change()


class Splice(NamedTuple):
    """Received bytes between two offsets, and what stands in their place."""

    start: int
    end: int
    data: bytes


class State(NamedTuple):
    """All edits of a message at one time. The same serial always means the same bytes."""

    changes: dict[Part, Change]
    splices: tuple[Splice, ...]
    serial: int
    edits: int  # how many there were
    added: int  # bytes that were put in
    inserted: int  # parts that were put in


def new_boundary() -> bytes:
    """A boundary that no content has."""
    from uuid import uuid4  # what few scripts need is not loaded by all

    return b"=_" + uuid4().hex.encode()
