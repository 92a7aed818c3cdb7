"""Each `.hsl` file below this folder is one test. What it must print or report stands in comments on that line:

    // expect: TEXT                  one line of output, in order
    // expect static error: TEXT     a diagnostic of this line contains TEXT (several: one comment each, `;;` between)
    // expect warning: TEXT          the same for warnings
    // expect runtime error: TEXT    the script ends here with an error that contains TEXT

What is missing and what is unexpected both fail.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hsl.compiler import Environment, compile_script
from hsl.errors import CompileError, ScriptError
from hsl.library import core_registry
from hsl.loader import FileLoader
from hsl.run import Budget, Run
from hsl.source import Source

COMMENT = re.compile(r"// expect( static error| warning| runtime error|): ?(.*)$")


class ScriptTest(pytest.Item):
    def runtest(self) -> None:
        text = self.path.read_bytes()
        expectation = Expectation(text.decode("utf-8", "surrogateescape"))
        outcome = run(self.path, text)
        assert outcome.output == expectation.output
        assert_found("static error", expectation.errors, outcome.errors)
        assert_found("warning", expectation.warnings, outcome.warnings)
        if expectation.failure is None:
            assert outcome.failure is None, f"unexpected runtime error: {outcome.failure}"
        else:
            assert outcome.failure is not None, f"no runtime error, wanted {expectation.failure}"
            assert_found("runtime error", [expectation.failure], [outcome.failure])

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.name


class ScriptFile(pytest.File):
    def collect(self) -> Iterator[pytest.Item]:
        yield ScriptTest.from_parent(self, name=self.path.stem)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix == ".hsl" and "include" not in file_path.parts:
        return ScriptFile.from_parent(parent, path=file_path)
    return None


class Expectation:
    def __init__(self, text: str) -> None:
        self.output: list[str] = []
        self.errors: list[tuple[int, str]] = []
        self.warnings: list[tuple[int, str]] = []
        self.failure: tuple[int, str] | None = None
        for number, line in enumerate(text.split("\n"), 1):
            match = COMMENT.search(line)
            if match is None:
                continue
            kind, wanted = match[1].strip(), match[2].rstrip("\r")
            if kind == "":
                self.output.append(wanted)
            elif kind == "runtime error":
                self.failure = (number, wanted)
            else:
                found = self.errors if kind == "static error" else self.warnings
                found.extend((number, part.strip()) for part in wanted.split(";;"))


class Outcome:
    def __init__(self) -> None:
        self.output: list[str] = []
        self.errors: list[tuple[int, str]] = []
        self.warnings: list[tuple[int, str]] = []
        self.failure: tuple[int, str] | None = None


def run(path: Path, text: bytes) -> Outcome:
    """Load and run a script; limits/ gets budgets that are quick to reach."""
    outcome = Outcome()
    environment = Environment(core_registry(), loader=FileLoader(path.parent))
    try:
        program = compile_script(Source.from_bytes(path.name, text), environment)
    except CompileError as error:
        outcome.errors = [(item.span.line, item.message) for item in error.errors]
        return outcome
    outcome.warnings = [(item.span.line, item.message) for item in program.warnings]
    written: list[bytes] = []
    budget = Budget(steps=1_000_000, seconds=20.0)
    try:
        Run(program, output=written.append, budget=budget).execute()
    except ScriptError as error:
        if error.span is None:
            pytest.fail(f"no place: {error.message}")
        outcome.failure = (error.span.line, error.message)
    if written:
        outcome.output = b"".join(written).decode("utf-8", "backslashreplace").removesuffix("\n").split("\n")
    return outcome


def assert_found(kind: str, wanted: list[tuple[int, str]], found: list[tuple[int, str]]) -> None:
    """Every wanted (line, text) matches a found one, one to one."""
    left = list(found)
    for line, text in wanted:
        match = next((item for item in left if item[0] == line and text in item[1]), None)
        assert match is not None, f"line {line}: no {kind} with {text!r} among {found}"
        left.remove(match)
    assert not left, f"unexpected {kind}: {left}"
