"""Included files, confined to the script root (symbolic links too)."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from hsl.compiler import LoadError
from hsl.parser import MAX_SOURCE
from hsl.source import Source


class FileLoader:
    """Loads `name`, `file:name` and `file://name` from below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def load(self, path: str) -> Source:
        """The file's Source, named by its path below the root. Raises LoadError."""
        name = path
        for scheme in ("file://", "file:"):
            if name.startswith(scheme):
                name = name.removeprefix(scheme)
                break
        if not name or "\0" in name:
            raise LoadError(f"{path!r} is not a file name")
        try:
            place = (self.root / name).resolve()
        except (OSError, RuntimeError) as error:
            raise LoadError(f"cannot read {name}: {error}") from None
        if not place.is_relative_to(self.root):
            raise LoadError(f"{name} is outside the script root")
        try:
            if place.stat().st_size > MAX_SOURCE:
                raise LoadError(f"{name} is larger than {MAX_SOURCE} bytes")
            data = place.read_bytes()
        except OSError as error:
            raise LoadError(f"cannot read {name}: {error.strerror}{self.suggestion(name)}") from None
        return Source.from_bytes(str(place.relative_to(self.root)), data)

    def suggestion(self, name: str) -> str:
        """`; did you mean …?` from the files in the same folder."""
        folder = (self.root / name).parent
        try:
            names = [item.name for item in folder.iterdir()]
        except OSError:
            return ""
        matches = get_close_matches(Path(name).name, names, n=1)
        return f"; did you mean {matches[0]}?" if matches else ""
