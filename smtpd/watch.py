"""Files that may change come in; whether they have, and have come to rest, goes out. By stat(2), for whoever asks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

State = tuple[int, int, int] | None
"""Modification time (ns), size, inode; None: it is not there."""


class Watch:
    """What a set of files was like when it was last taken note of."""

    def __init__(self) -> None:
        self.known: dict[Path, State] = {}
        self.moving: dict[Path, State] = {}  # the last look, if it showed a change

    def note(self, paths: Iterable[Path], before: dict[Path, State]) -> None:
        """Watch these from now on: as they were `before`, those that were not looked at then as they are now."""
        self.known = {path: before[path] if path in before else state_of(path) for path in paths}
        self.moving = {}

    def look(self) -> dict[Path, State]:
        return {path: state_of(path) for path in self.known}

    def settled(self) -> bool:
        """Whether something has changed, and nothing more since the last time that this was asked."""
        now = self.look()
        if now == self.known:
            self.moving = {}
            return False
        settled, self.moving = now == self.moving, now
        return settled


def state_of(path: Path) -> State:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
