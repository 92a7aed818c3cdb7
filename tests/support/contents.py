"""The text of hsl/library/contents.py: what each chapter's file declares, read off the files themselves."""

from __future__ import annotations

import pkgutil
import textwrap
from importlib import import_module

import hsl.library
from hsl.builtins import Chapter

HEAD = '''"""Which file declares a function or class: `module.attribute` of the chapter, its functions, its classes.

A function stands with its older names behind it, `name|older|older`. Made by tools/contents out of the files; the order
of the chapters is that of the manual, new ones come last.
"""

from __future__ import annotations

from collections.abc import Mapping

CONTENTS: Mapping[str, tuple[str, str]] = {'''
WIDTH = 116


def contents_module() -> str:
    lines = [HEAD]
    for place, chapter in sorted(places().items(), key=lambda item: rank(item[0])):
        functions = " ".join("|".join((entry.name, *entry.aliases)) for entry in chapter.entries)
        classes = " ".join(item.name for item in chapter.classes)
        assert all(entry.stages is None for entry in chapter.entries), f"{place}: functions of stages"
        lines += [f'    "{place}": (', *quoted(functions), *quoted(classes), "    ),"]
    return "\n".join([*lines, "}", ""])


def places() -> dict[str, Chapter]:
    """The chapters of the library's files, by `module.attribute`."""
    found: dict[str, Chapter] = {}
    for module in pkgutil.iter_modules(hsl.library.__path__):
        loaded = import_module(f"hsl.library.{module.name}")
        for attribute, value in vars(loaded).items():
            if isinstance(value, Chapter) and value not in found.values():
                found[f"{module.name}.{attribute}"] = value
    return found


def rank(place: str) -> tuple[int, str]:
    known = list(hsl.library.CONTENTS)
    return (known.index(place) if place in known else len(known), place)


def quoted(text: str) -> list[str]:
    if len(text) <= WIDTH - 12:
        return [f'        "{text}",']
    lines = textwrap.wrap(text, WIDTH - 8)
    return ['        """', *(f"        {line}" for line in lines), '        """,']
