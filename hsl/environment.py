"""What a script of one kind may use: functions, preset variables, files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from hsl.builtins import Registry
from hsl.source import Source


class Variable(NamedTuple):
    """A variable that the host sets before the script runs. `keys` documents the keys of an array.

    `later` is why a host never sets it: to read it is an error of the script, to ask for it (`isset`, `??`) is not.
    """

    name: str
    type: str
    doc: str
    readonly: bool = True
    keys: tuple[Variable, ...] = ()
    later: str = ""


class Loader(Protocol):
    """Where included and imported files come from. Raises LoadError with a sentence for the script's author."""

    def load(self, path: str) -> Source:
        """A script file."""

    def load_module(self, path: str) -> Source:
        """A module: the same, and by scheme what the host ships."""

    def load_data(self, path: str) -> tuple[str, bytes]:
        """A data file: its name, and its bytes."""


class LoadError(Exception):
    """A file that a script names cannot be had."""


class Environment(NamedTuple):
    """What a script of one kind may use.

    `elsewhere` explains a function that exists, but not for this kind of script.
    """

    registry: Registry
    variables: Mapping[str, Variable] = MappingProxyType({})
    loader: Loader | None = None
    elsewhere: Callable[[str], str | None] = lambda name: None
