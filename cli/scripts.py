"""Script files for the commands: a path goes in, a Source comes out, named as the user can open it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO

from hsl.environment import Environment, Loader
from hsl.library import core_registry
from hsl.loader import FileLoader
from hsl.parser import MAX_SOURCE
from hsl.source import Source


class Unreadable(Exception):
    """A file that cannot be read; the text says why."""


def shown_loader(root: Path) -> FileLoader:
    """Loads files below the root, named by the path from here."""
    return FileLoader(root, named=lambda name: shown_path(root / name))


def shown_path(path: Path) -> str:
    """A path for people: bytes of its name that are no text are replaced."""
    return os.fsencode(path).decode("utf-8", "replace")


def loader_for(file: Path, root: Path | None) -> FileLoader:
    """Where a script's includes and imports come from: `root`, else its own folder (for `-` the working folder)."""
    return shown_loader(root or file.parent)


def read_file(path: Path, limit: int) -> bytes:
    """A file's bytes. Raises Unreadable, also when there are more than `limit`."""
    try:
        with path.open("rb") as stream:
            return read_limited(stream, limit)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise Unreadable(getattr(error, "strerror", None) or str(error)) from None


def read_limited(stream: BinaryIO, limit: int) -> bytes:
    data = stream.read(limit + 1)
    if len(data) > limit:
        raise Unreadable(f"it is larger than {limit} bytes")
    return data


def read_script(file: Path) -> Source:
    """A script; `-` is the standard input. Raises Unreadable."""
    if str(file) == "-":
        return Source.from_bytes("<stdin>", read_limited(sys.stdin.buffer, MAX_SOURCE))
    return Source.from_bytes(shown_path(file), read_file(file, MAX_SOURCE))


def plain_environment(loader: Loader) -> Environment:
    """The language alone, without a stage."""
    return Environment(core_registry(), loader=loader, elsewhere=elsewhere)


def elsewhere(name: str) -> str | None:
    """A hint for a function that a stage has. The stages are imported only then: they bring the mail runtime along."""
    from hsl.runtime import stages

    return stages.elsewhere(name)
