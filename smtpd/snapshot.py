"""The files that scripts were compiled from: read once from disk, then the same for every worker.

So all workers have one set, whatever is written to the files meanwhile; and a worker that is restarted gets the set
that runs, not one that lies half done on disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hsl.environment import LoadError
from hsl.loader import FileLoader

Files = Mapping[str, tuple[str, str]]
"""By the name that a script gave: the name that errors show, and the octets as latin-1 (as JSON takes them)."""


class RecordingLoader(FileLoader):
    """Reads from disk and remembers what it gave, and what it could not."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.files: dict[str, tuple[str, str]] = {}
        self.missed: set[str] = set()

    def read(self, name: str, limit: int) -> tuple[str, bytes]:
        try:
            shown, data = super().read(name, limit)
        except LoadError:
            self.missed.add(name)
            raise
        self.files[name] = shown, data.decode("latin-1")
        return shown, data

    @property
    def names(self) -> list[str]:
        """All files that matter: a change in any of them may change what comes out."""
        return sorted({*self.files, *self.missed})


class SnapshotLoader(FileLoader):
    """Gives what another loader has recorded."""

    def __init__(self, root: Path, files: Files) -> None:
        super().__init__(root)
        self.files = files

    def has(self, name: str) -> bool:
        return name in self.files

    def read(self, name: str, limit: int) -> tuple[str, bytes]:
        if name not in self.files:
            raise LoadError(f"cannot read {name}: it is not among the files of this set")
        shown, text = self.files[name]
        return shown, text.encode("latin-1")
