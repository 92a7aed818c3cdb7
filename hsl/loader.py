"""A path that a script names comes in, the file's Source or bytes go out: files below one root, modules by scheme."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from hsl.environment import LoadError
from hsl.errors import near
from hsl.parser import MAX_SOURCE
from hsl.source import Source

MAX_DATA = 16 * 1024 * 1024  # bytes of an imported data file
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
SUFFIX = ".hsl"

Resolver = Callable[[str], Source]
"""Takes what follows `scheme://`. Gives a Source whose name is the same for every way to write the same module;
raises LoadError."""


def shipped_module(name: str) -> Source:
    """`extras://NAME`: a module that comes with this package. Raises LoadError."""
    from importlib import resources  # few scripts need it

    folder = resources.files("hsl.modules") / "extras"
    names = sorted(item.name.removesuffix(SUFFIX) for item in folder.iterdir() if item.name.endswith(SUFFIX))
    name = name.removesuffix(SUFFIX)
    if name not in names:
        hint = near(name, names) or f"there are {', '.join(names)}"
        raise LoadError(f"there is no module extras://{name}; {hint}")
    return Source.from_bytes(f"extras://{name}", (folder / (name + SUFFIX)).read_bytes())


SHIPPED: Mapping[str, Resolver] = MappingProxyType({"extras": shipped_module})


class FileLoader:
    """Loads `name`, `file:name` and `file://name` from below one folder (symbolic links too), and modules by scheme.

    A host with modules of its own gives `{**SHIPPED, "company": resolver}`. `named` makes the name that errors show
    out of a file's path below the root.
    """

    def __init__(
        self, root: Path, schemes: Mapping[str, Resolver] = SHIPPED, named: Callable[[str], str] = str
    ) -> None:
        self.root = root.resolve()
        self.schemes = dict(schemes)
        self.named = named

    def load(self, path: str) -> Source:
        """A script. Raises LoadError."""
        return Source.from_bytes(*self.read(file_name(path), MAX_SOURCE))

    def load_module(self, path: str) -> Source:
        """A script, also `NAME.hsl` by a name without extension, or what the resolver of the path's scheme gives.

        Raises LoadError.
        """
        match = SCHEME.fullmatch(path)
        if match is not None and match[1] != "file":
            return self.resolver(match[1])(match[2])
        name = file_name(path)
        if not Path(name).suffix and not self.has(name) and self.has(name + SUFFIX):
            name += SUFFIX
        return Source.from_bytes(*self.read(name, MAX_SOURCE))

    def load_data(self, path: str) -> tuple[str, bytes]:
        """A data file's name and content. Raises LoadError, also for more than MAX_DATA bytes."""
        return self.read(file_name(path), MAX_DATA)

    def resolver(self, scheme: str) -> Resolver:
        """Raises LoadError for a scheme that does not exist."""
        if scheme not in self.schemes:
            known = ["file", *self.schemes]
            hint = near(scheme, known, "did you mean {}://?") or f"there are {', '.join(known)}"
            raise LoadError(f"there is no scheme {scheme}://; {hint}")
        return self.schemes[scheme]

    def has(self, name: str) -> bool:
        try:
            return self.locate(name).is_file()
        except OSError:  # no permission, a name that is too long: reading it will tell
            return False

    def locate(self, name: str) -> Path:
        """Where a file would be. Raises LoadError outside the root."""
        return locate(self.root, name)

    def read(self, name: str, limit: int) -> tuple[str, bytes]:
        try:
            place, stream = open_below(self.root, name)
            with stream:
                data = stream.read(limit + 1)
        except OSError as error:
            raise LoadError(f"cannot read {name}: {error.strerror}{self.suggestion(name)}") from None
        if len(data) > limit:
            raise LoadError(f"{name} is larger than {limit} bytes")
        return self.named(str(place.relative_to(self.root))), data

    def suggestion(self, name: str) -> str:
        """`; did you mean …?` from the files in the same folder."""
        from difflib import get_close_matches

        folder = (self.root / name).parent
        try:
            names = [item.name for item in folder.iterdir()]
        except OSError:
            return ""
        wanted = Path(name)
        matches = [] if wanted.suffix else get_close_matches(wanted.name + SUFFIX, names, n=1)
        matches += get_close_matches(wanted.name, names, n=1)
        return f"; did you mean {wanted.with_name(matches[0])}?" if matches else ""


def file_name(path: str) -> str:
    """A path without its scheme. Raises LoadError if it is not a file's."""
    match = SCHEME.fullmatch(path)
    if match is not None and match[1] != "file":
        raise LoadError(f"{path} is no file: only modules are imported by scheme")
    name = path.removeprefix("file://") if match is not None else path.removeprefix("file:")
    if not name or "\0" in name:
        raise LoadError(f"{path!r} is not a file name")
    return name


def locate(root: Path, name: str) -> Path:
    """Where a file below a folder (resolved already) would be, symbolic links followed. Raises LoadError outside."""
    try:
        place = (root / name).resolve()
    except (OSError, RuntimeError) as error:
        raise LoadError(f"cannot read {name}: {error}") from None
    except ValueError:  # what no file name can hold
        raise LoadError(f"{name!r} is not a file name") from None
    if not place.is_relative_to(root):
        raise LoadError(f"{name} is outside the script root")
    return place


def open_below(root: Path, name: str) -> tuple[Path, BinaryIO]:
    """A file below a folder (resolved already): its path, and its bytes to be read; opening never waits.

    Raises LoadError outside the folder and for what is no file (folders, devices, FIFOs), OSError as the system does.
    """
    place = locate(root, name)
    handle = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise LoadError(f"cannot read {name}: it is not a file")
    return place, os.fdopen(handle, "rb")
