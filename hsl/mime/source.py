"""Where a message's bytes are read from: memory, a file. Offsets in, bytes out; nothing is read before it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from hsl.errors import ScriptError

CHUNK: Final = 64 * 1024
BREAK: Final = 2  # bytes of the longest line break


class Source(Protocol):
    """Bytes that do not change while they are read."""

    @property
    def size(self) -> int: ...

    def chunks(self) -> Iterator[bytes]:
        """All bytes in pieces of at most 64 KiB; may be called more than once."""
        ...

    def read_at(self, start: int, end: int) -> bytes:
        """The bytes between two offsets. Raises OSError."""
        ...


class BytesBody:
    """A message held in memory."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    @property
    def size(self) -> int:
        return len(self.data)

    def chunks(self) -> Iterator[bytes]:
        yield from pieces(self.data)

    def read_at(self, start: int, end: int) -> bytes:
        return self.data[start:end]


class Checked:
    """A source for scripts: what cannot be read (any more) is a ScriptError."""

    __slots__ = ("source",)

    def __init__(self, source: Source) -> None:
        self.source = source

    @property
    def size(self) -> int:
        return self.source.size

    def chunks(self) -> Iterator[bytes]:
        return self.source.chunks()

    def read_at(self, start: int, end: int) -> bytes:
        try:
            return self.source.read_at(start, end)
        except (OSError, ValueError):
            raise ScriptError("the message cannot be read any more") from None


def pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), CHUNK):
        yield data[start : start + CHUNK]


class Window:
    """A source read forward through a buffer, which begins at offset `base` and grows on demand. Offsets only rise.

    `read` counts the bytes that were read: no more than the source has, however it is searched.
    """

    __slots__ = ("base", "data", "read", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.base = 0
        self.data = b""
        self.read = 0

    @property
    def end(self) -> int:
        """The offset behind the buffer."""
        return self.base + len(self.data)

    @property
    def complete(self) -> bool:
        return self.end >= self.source.size

    def grow(self, position: int) -> bool:
        """Drop what lies before an offset (all but a line break), and double what is left (64 KiB at least).

        False at the end. A search that begins anew after each time stays linear, because the buffer doubles.
        """
        if self.complete:
            return False
        first = max(self.base, position - BREAK)
        kept = self.data[first - self.base :]
        start = self.end
        added = self.source.read_at(start, min(self.source.size, start + max(CHUNK, len(kept))))
        if not added:
            raise OSError("the message was cut short")
        self.read += len(added)
        self.base, self.data = first, kept + added
        return True

    def slice(self, start: int, count: int) -> bytes:
        """So many bytes from an offset on, fewer at the end."""
        while self.end < start + count and self.grow(start):
            pass
        return self.data[max(0, start - self.base) : max(0, start + count - self.base)]

    def find(self, needle: bytes, start: int) -> int:
        """The offset of the next occurrence, or -1."""
        while (found := self.data.find(needle, max(0, start - self.base))) < 0:
            start = max(start, self.end - len(needle) + 1)
            if not self.grow(start):
                return -1
        return self.base + found
