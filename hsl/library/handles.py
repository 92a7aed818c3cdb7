"""What a run holds open: files, sockets. Limited in number, closed at the run's end or when nothing refers to it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from hsl.errors import ScriptError

if TYPE_CHECKING:
    from hsl.run import Run


class Closes(Protocol):
    def release(self) -> None:
        """Close what is open; a second time does nothing."""


class Handles:
    """The open handles of one kind of a run. It is itself what the end of the run calls."""

    def __init__(self, kind: str, limit: int) -> None:
        self.kind = kind
        self.limit = limit
        self.open: WeakSet[Closes] = WeakSet()

    @classmethod
    def of(cls, run: Run, kind: str, limit: int) -> Handles:
        """Those of a run."""
        for close in run.closing or ():
            if isinstance(close, cls) and close.kind == kind:
                return close
        handles = cls(kind, limit)
        run.at_end(handles)
        return handles

    def check(self, function: str) -> None:
        """Whether one more may be opened. Raises ScriptError."""
        if len(self.open) >= self.limit:
            raise ScriptError(f"{function}(): {self.limit} {self.kind} are open already: close() those that are done")

    def __call__(self) -> None:
        for handle in list(self.open):
            with suppress(Exception):
                handle.release()
