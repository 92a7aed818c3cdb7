"""The octets of DATA or BDAT in blocks of any size; the message, without dot-stuffing, out to a sink in blocks.

Only CRLF.CRLF ends DATA (RFC 5321 4.1.1.4). A fault does not stop the reading: the rest is read and dropped, and
the fault is the answer to the end of data, or to the chunk. Time is linear in the octets, memory is one block.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from hsl.runtime.reply import Reply, reply

END = b"\r\n.\r\n"
HELD = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")  # what may be the beginning of END, longest first
NEWLINE = re.compile(rb"\r\n|\r|\n")

BARE_NEWLINE = reply(550, "Message contains bare CR or LF", (5, 6, 11))
NUL_OCTET = reply(550, "Message contains NUL", (5, 6, 0))
TOO_BIG = reply(552, "Message exceeds the size limit", (5, 3, 4))
NO_SPACE = reply(452, "Insufficient system storage", (4, 3, 1))


def has_bare_newline(data: bytes) -> bool:
    """Whether a CR or LF stands alone. (Two searches in what the pairs leave cost half of counting all three.)"""
    rest = data.replace(b"\r\n", b"")
    return b"\r" in rest or b"\n" in rest


class Checker:
    """What holds for a message however it comes: its blocks go to `write`, which returns False when there is no room.

    `line_limit` is octets of a line without its CRLF, 0 for none; `size_limit` is octets of the message, 0 for none.
    `normalise` makes CRLF of bare CR and LF, and leaves NUL out; without it they are faults.
    """

    def __init__(
        self, write: Callable[[bytes], bool], *, line_limit: int = 0, size_limit: int = 0, normalise: bool = False
    ) -> None:
        self.write = write
        self.size_limit = size_limit
        self.normalise = normalise
        self.fault: Reply | None = None
        self.size = 0
        self._line_limit = line_limit
        self._column = 0  # octets of the line that is not yet ended

    def take(self, data: bytes) -> None:
        """The message's next octets, which never end between CR and LF."""
        if self.fault is not None:
            return
        bare, nul = has_bare_newline(data), b"\0" in data
        if self.normalise and (bare or nul):
            data = NEWLINE.sub(b"\r\n", data).replace(b"\0", b"")
        elif bare or nul:
            self.fault = NUL_OCTET if nul else BARE_NEWLINE
        self._check_lines(data)
        self.size += len(data)
        if self.fault is None and self.size_limit and self.size > self.size_limit:
            self.fault = TOO_BIG
        if self.fault is None and data and not self.write(data):
            self.fault = NO_SPACE

    def _check_lines(self, data: bytes) -> None:
        if not self._line_limit:
            return
        lengths = list(map(len, data.split(b"\r\n")))
        lengths[0] += self._column
        self._column = lengths[-1]
        if max(lengths) > self._line_limit and self.fault is None:
            self.fault = reply(550, f"Message has a line of more than {self._line_limit} octets", (5, 6, 0))


class DataReader(Checker):
    """What follows DATA: give it blocks by `feed` until it returns what came after the end."""

    def __init__(
        self, write: Callable[[bytes], bool], *, line_limit: int = 0, size_limit: int = 0, normalise: bool = False
    ) -> None:
        super().__init__(write, line_limit=line_limit, size_limit=size_limit, normalise=normalise)
        self._held = b"\r\n"  # the end of the command line before: `.` CRLF alone is an empty message
        self._first = True

    def feed(self, block: bytes) -> bytes | None:
        """One more block. None: the message goes on; else it has ended, and these octets came after it."""
        data = self._held + block
        end = data.find(END)
        if end >= 0:
            self._unstuff(data[: end + 2])
            return data[end + len(END) :]
        held = next((mark for mark in HELD if data.endswith(mark)), b"")
        if held != data:
            self._unstuff(data[: len(data) - len(held)])
        self._held = held
        return None

    def _unstuff(self, data: bytes) -> None:
        if self.fault is not None:
            return
        data = data.replace(b"\r\n.", b"\r\n")
        if self._first:
            self._first = False
            data = data[2:]
        self.take(data)


class ChunkReader(Checker):
    """The chunks of BDAT (RFC 3030): octets as they are. A line may cross chunks, and CR LF may."""

    _held = b""
    _open = False  # the last line has no end yet

    def feed(self, block: bytes) -> None:
        """One more block."""
        data = self._held + block
        self._held = b"\r" if data.endswith(b"\r") else b""
        data = data[: len(data) - len(self._held)]
        if data:
            self._open = not data.endswith(b"\n")
            self.take(data)

    def end(self) -> None:
        """After the last block: a line that has no end gets one, as after DATA every line has."""
        if self._held:
            self.take(self._held)
            self._open = not self.normalise
        if self._open:
            self.take(b"\r\n")
