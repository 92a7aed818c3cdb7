"""Options that are taken and change nothing: the code and the table of docs/differences.md, both ways."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from hsl import library
from hsl.builtins import Options
from hsl.runtime import functions

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| `(\w+)` \| (.+) \|$", re.MULTILINE)


def declared(kind: type[Options] = Options) -> set[str]:
    """The attributes of all options that functions declare; tests declare some too."""
    own = set(kind.written) if kind.__module__.startswith("hsl.") else set()
    return own.union(*map(declared, kind.__subclasses__()))


def read(path: Path) -> Iterator[str]:
    """The attributes that a module reads, by `.name` or by a call that is given the name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "refuse"):
            yield from (item.value for item in node.args if isinstance(item, ast.Constant) and item.value)


def test_what_nothing_reads_stands_on_the_page() -> None:
    for package in (library, functions):
        for module in iter_modules(package.__path__, f"{package.__name__}."):
            import_module(module.name)  # a chapter is loaded when a script first calls one of its functions
    known = {name for folder in ("hsl", "runtime") for path in (ROOT / folder).rglob("*.py") for name in read(path)}
    page = (ROOT / "docs" / "differences.md").read_text()
    table = dict(ROW.findall(page.split("## Options that change nothing\n")[1].split("\n## ")[0]))
    assert declared() - known == table.keys()
