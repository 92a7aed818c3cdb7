"""A version of a message as a file that is read: nothing of it is held in memory but a buffer."""

from __future__ import annotations

import io
from bisect import bisect_right
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from hsl.mime.mail import Version


def open_version(version: Version) -> BinaryIO:
    return cast("BinaryIO", io.BufferedReader(VersionStream(version), 64 * 1024))


class VersionStream(io.RawIOBase):
    """Reads the pieces of a version, from any position. Raises OSError when the message is gone."""

    def __init__(self, version: Version) -> None:
        self.version = version
        self.position = 0
        self.starts: list[int] = []
        start = 0
        for piece in version.pieces:
            self.starts.append(start)
            start += len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.version.size}[whence]
        if base + offset < 0:
            raise ValueError("a position before the beginning")
        self.position = base + offset
        return self.position

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Up to the end of a piece."""
        view = memoryview(buffer).cast("B")
        data = self.at(self.position, len(view))
        view[: len(data)] = data
        self.position += len(data)
        return len(data)

    def at(self, position: int, count: int) -> bytes:
        if position >= self.version.size:
            return b""
        index = bisect_right(self.starts, position) - 1
        piece = self.version.pieces[index]
        offset = position - self.starts[index]
        if isinstance(piece, bytes):
            return piece[offset : offset + count]
        start = piece[0] + offset
        try:
            return self.version.source.read_at(start, min(piece[1], start + count))
        except ValueError:
            raise OSError("the message is gone") from None
