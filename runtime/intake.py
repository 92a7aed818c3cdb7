"""A message on its way in: bytes are written once, in order, and read as often as needed.

In: blocks of an incoming message. Out: a Body. Small messages stay in memory, larger ones go to an unnamed file.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

MEMORY = 64 * 1024  # bytes held in memory; beyond it everything is in the file
BLOCK = 64 * 1024
BLANK_LINE = re.compile(rb"\A\r\n|\r\n\r\n")


class Intake:
    """The bytes of one message (hsl.mime.source.Source), held until `close`.

    `folder` is where the unnamed file is made; it vanishes with the process. Raises OSError when the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.size = 0
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self.closed = False

    def write(self, block: bytes) -> None:
        """Append. Raises OSError, ValueError when closed."""
        self._check()
        if self._file is None and self.size + len(block) <= MEMORY:
            self._memory += block
        else:
            self._to_file(block)
        self.size += len(block)

    def _to_file(self, block: bytes) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self.folder, buffering=0)  # noqa: SIM115
            write_all(self._file, bytes(self._memory))
            self._memory = bytearray()
        write_all(self._file, block)

    def chunks(self) -> Iterator[bytes]:
        """The bytes in pieces of at most 64 KiB; several readers may be under way at once."""
        self._check()
        if self._file is None:
            if self._memory:
                yield bytes(self._memory)
            return
        offset = 0
        while offset < self.size:
            piece = self.read_at(offset, offset + BLOCK)
            offset += len(piece)
            yield piece

    def read_at(self, start: int, end: int) -> bytes:
        """The bytes between two offsets. Raises OSError, ValueError when closed."""
        self._check()
        if self._file is None:
            return bytes(self._memory[start:end])
        parts: list[bytes] = []
        end = min(end, self.size)
        while start < end:
            part = os.pread(self._file.fileno(), end - start, start)
            if not part:
                raise OSError("the intake file was cut short")
            parts.append(part)
            start += len(part)
        return b"".join(parts)

    def head(self, limit: int) -> bytes:
        """The header up to and including its blank line, or the first `limit` bytes if it ends later (or never)."""
        head = b""
        for piece in self.chunks():
            searched = max(len(head) - 3, 0)
            head += piece
            found = BLANK_LINE.search(head, searched)
            if found:
                return head[: min(found.end(), limit)]
            if len(head) >= limit:
                break
        return head[:limit]

    def close(self) -> None:
        """Free memory and file. May be called twice."""
        self.closed = True
        self._memory = bytearray()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _check(self) -> None:
        if self.closed:
            raise ValueError("the intake is closed")


def write_all(file: IO[bytes], block: bytes) -> None:
    """An unbuffered file may take less than it is given."""
    view = memoryview(block)
    while view:
        view = view[file.write(view) :]
