"""The standard library of the language: one file for each chapter of the reference, one registry out of them all.

A chapter's file is loaded when a script first names what it declares: `contents` knows where each name is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module

from hsl import exceptions
from hsl.builtins import BuiltinClass, Chapter, Entry, Registry
from hsl.invocation import Builtin
from hsl.library.contents import CONTENTS


def chapters() -> tuple[Chapter, ...]:
    """All of them, in the order of the manual."""
    return (*(load(place) for place in CONTENTS), exceptions.chapter)


def load(place: str) -> Chapter:
    """The chapter at `module.attribute`."""
    module, _, attribute = place.partition(".")
    chapter = getattr(import_module(f"hsl.library.{module}"), attribute)
    assert isinstance(chapter, Chapter)
    return chapter


def core_registry(extra: Iterable[Chapter] = (), stage: str | None = None) -> Registry:
    """The functions that every script can call, with those of the host's chapters for a stage.

    Raises ValueError when two chapters declare the same name.
    """
    registry = Registry((exceptions.chapter, *extra), stage)
    for place, (functions, classes) in CONTENTS.items():
        for names in functions.split():
            name, *aliases = names.split("|")
            registry.add(Entry(name, tuple(aliases), None, declared_function(place, name)))
        for name in classes.split():
            registry.classes.promise(name, declared_class(place, name))
    return registry


def declared_function(place: str, name: str) -> Callable[[], Builtin]:
    return lambda: next(entry.builtin for entry in load(place).entries if entry.name == name)


def declared_class(place: str, name: str) -> Callable[[], BuiltinClass]:
    return lambda: next(item for item in load(place).classes if item.name == name)
