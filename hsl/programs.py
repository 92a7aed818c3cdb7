"""Compiled scripts that are kept: a path goes in, its Program comes out, compiled anew only when a file of it changed.

The files are read each time and compared whole, with what they include and import: times and sizes can lie.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

from hsl.compiler import compile_script
from hsl.environment import Environment, Loader, LoadError
from hsl.evaluator import Program
from hsl.source import Source

MAX_PROGRAMS = 1_000

Content = tuple[str, str | bytes]  # the name of a file, and its text or a data file's digest


class Reader:
    """A Loader that remembers what it gave."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        self.contents: dict[tuple[str, str], Content] = {}  # by method and path

    def load(self, path: str) -> Source:
        source = self.loader.load(path)
        self.contents["load", path] = source.name, source.text
        return source

    def load_module(self, path: str) -> Source:
        source = self.loader.load_module(path)
        self.contents["load_module", path] = source.name, source.text
        return source

    def load_data(self, path: str) -> tuple[str, bytes]:
        from hashlib import sha256

        name, data = self.loader.load_data(path)
        self.contents["load_data", path] = name, sha256(data).digest()
        return name, data


class Kept(NamedTuple):
    program: Program
    contents: dict[tuple[str, str], Content]


class Programs:
    """The programs of one process. Over MAX_PROGRAMS the one used longest ago is dropped."""

    def __init__(self) -> None:
        self.kept: dict[Hashable, Kept] = {}

    def load(self, kind: Hashable, path: str, loader: Loader, environment: Callable[[Loader], Environment]) -> Program:
        """The program of a script. `kind` stands for what else it depends on: where the loader reads, the environment.

        Raises CompileError; LoadError when the script itself cannot be read.
        """
        known = self.kept.pop((kind, path), None)
        if known is None or changed(known, loader):
            reader = Reader(loader)
            program = compile_script(reader.load(path), environment(reader))
            known = Kept(program, reader.contents)
        self.kept[kind, path] = known
        if len(self.kept) > MAX_PROGRAMS:
            del self.kept[next(iter(self.kept))]
        return known.program


def changed(known: Kept, loader: Loader) -> bool:
    """Whether a file that the program was made of reads differently now."""
    reader = Reader(loader)
    try:
        for method, path in known.contents:
            getattr(reader, method)(path)
    except LoadError:
        return True
    return reader.contents != known.contents
