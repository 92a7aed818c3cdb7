"""Syntax trees for tests: a text comes in, its tree or a flat form of it, which compares strictly, goes out."""

from __future__ import annotations

from collections.abc import Iterator

from hsl import ast
from hsl.errors import Diagnostics
from hsl.parser import parse
from hsl.printer import print_tree
from hsl.source import Source


def tree_of(text: str) -> ast.Script:
    """The tree. Raises CompileError."""
    diagnostics = Diagnostics()
    tree = parse(Source("test.hsl", text), diagnostics)
    diagnostics.check()
    return tree


def flat(node: ast.Node) -> list[object]:
    """All nodes with their fields, but for the places. Trees of any depth; `true` and `1` differ."""
    rows: list[object] = []
    pending: list[object] = [node]
    while pending:
        item = pending.pop()
        if isinstance(item, ast.Node):
            rows.append(type(item).__name__)
            pending += reversed(item.content())
        elif isinstance(item, tuple):
            rows.append(len(item))
            pending += reversed(item)
        else:
            rows.append(repr(item))
    return rows


def kinds(node: ast.Node) -> Iterator[type[ast.Node]]:
    """The kind of each node of a tree."""
    pending = [node]
    while pending:
        item = pending.pop()
        yield type(item)
        pending += ast.children(item)


def round_trip(tree: ast.Script) -> str:
    """The printed text, which must give the same tree, and that tree the same text."""
    text = print_tree(tree)
    again = tree_of(text)
    assert flat(again) == flat(tree), text
    assert print_tree(again) == text
    return text
