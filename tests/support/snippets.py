"""Loads and runs pieces of script text for tests: text comes in, printed lines or the finished Run go out."""

from __future__ import annotations

from collections.abc import Iterable

from hsl.builtins import Chapter
from hsl.compiler import Environment, Loader, compile_script
from hsl.errors import CompileError
from hsl.evaluator import Program
from hsl.library import core_registry
from hsl.run import Budget, Run
from hsl.shared import SharedStore
from hsl.source import Source


def load(text: str | bytes, *, chapters: Iterable[Chapter] = (), loader: Loader | None = None) -> Program:
    """The compiled program. Raises CompileError."""
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return compile_script(Source.from_bytes("test.hsl", data), Environment(core_registry(chapters), loader=loader))


def output_of(
    text: str | bytes,
    *,
    chapters: Iterable[Chapter] = (),
    budget: Budget | None = None,
    shared: SharedStore | None = None,
) -> list[str]:
    """The lines that a script prints. Raises CompileError and ScriptError."""
    lines: list[bytes] = []
    Run(load(text, chapters=chapters), output=lines.append, budget=budget, shared=shared).execute()
    return [line.decode("utf-8", "backslashreplace").removesuffix("\n") for line in lines]


def mistakes(text: str | bytes) -> list[str]:
    """`line:column: message` of every static error; empty if the script loads."""
    try:
        load(text)
    except CompileError as error:
        return [f"{item.span.line}:{item.span.column}: {item.message}" for item in error.errors]
    return []
