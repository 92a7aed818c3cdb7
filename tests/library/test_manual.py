"""The manual is true: every function, class and method has an example that compiles and prints what it says."""

from __future__ import annotations

import asyncio
import re

import pytest
from catalogue import CALLED

from hsl.builtins import BuiltinClass
from hsl.cli.manual import Entry, documentation, every_entry, methods
from hsl.cli.workbench import Scene, Workbench
from hsl.compiler import Environment, compile_script
from hsl.errors import CompileError
from hsl.evaluator import Program
from hsl.library import core_registry
from hsl.run import Budget, Run
from hsl.runtime.plainhost import PlainHost
from hsl.runtime.stages import STAGES, environment
from hsl.source import Source

EXPECTED = re.compile(r"// expect: (.*)$")
PRINTS = re.compile(r"\becho\b")
BUDGET = Budget(seconds=10.0)


def called(item: Entry) -> bool:
    """Whether scripts write its name: of some classes only functions give instances."""
    if item.name in CALLED:
        return False
    return not isinstance(item, BuiltinClass) or item.constructor is not None


def everything() -> list[Entry]:
    """Functions, classes and methods."""
    return [found for item in every_entry() for found in (item, *methods(item))]


EVERYTHING = everything()
DOCUMENTED = [item for item in EVERYTHING if documentation(item).example]


def first_stage(item: Entry) -> str | None:
    """A stage that has the function; None: all have."""
    return None if item.stages is None else next(name for name in STAGES if name in item.stages)


def compiled(item: Entry) -> Program:
    stage = first_stage(item)
    known = Environment(core_registry()) if stage is None else environment(stage)
    return compile_script(Source(f"{item.name}.hsl", documentation(item).example), known)


async def printed(item: Entry) -> list[str]:
    """What the example prints, on the bench of its stage."""
    lines: list[bytes] = []
    stage = first_stage(item)
    program = compiled(item)
    if stage is None:
        host = PlainHost()
        try:
            await Run(program, host=host, output=lines.append, budget=BUDGET).execute_async()
        finally:
            await host.close()
    else:
        bench = await Workbench.open(Scene(stage), {}, BUDGET)
        try:
            _, outcome = await bench.execute(program, bench.contexts[0], lines.append)
            assert outcome.error is None, outcome.error
        finally:
            await bench.close()
    return [line.decode("utf-8", "backslashreplace").removesuffix("\n") for line in lines]


def wanted(example: str) -> list[str | None]:
    """What is to be printed, in order; None: anything. A line of its own says what the `echo` before it prints."""
    found: list[str | None] = []
    for line in example.split("\n"):
        match = EXPECTED.search(line)
        if match is None:
            found += [None] if PRINTS.search(line) else []
        elif line.startswith("//") and found[-1:] == [None]:
            found[-1] = match[1].rstrip()
        else:
            found.append(match[1].rstrip())
    return found


def name_of(item: Entry) -> str:
    return item.name


@pytest.mark.parametrize("item", DOCUMENTED, ids=name_of)
def test_an_example_compiles(item: Entry) -> None:
    try:
        program = compiled(item)
    except CompileError as error:
        pytest.fail(str(error))
    assert [warning.message for warning in program.warnings] == []


@pytest.mark.parametrize(
    "item", [item for item in DOCUMENTED if EXPECTED.search(documentation(item).example)], ids=name_of
)
def test_an_example_prints_what_it_says(item: Entry) -> None:
    expected = wanted(documentation(item).example)
    lines = asyncio.run(printed(item))
    known = [line.rstrip() if want is not None else None for line, want in zip(lines, expected, strict=False)]
    assert len(lines) == len(expected), f"{lines} for {expected}"
    assert known == expected


@pytest.mark.parametrize("item", [item for item in DOCUMENTED if called(item)], ids=name_of)
def test_an_example_is_about_what_it_documents(item: Entry) -> None:
    name = re.split("->|::", item.name)[-1]
    assert re.search(rf"\b{re.escape(name)}\b", documentation(item).example)


def test_everything_has_an_example() -> None:
    assert [item.name for item in EVERYTHING if not documentation(item).example] == []


@pytest.mark.parametrize("item", EVERYTHING, ids=name_of)
def test_a_page_begins_with_a_sentence(item: Entry) -> None:
    summary = documentation(item).summary
    assert summary.endswith((".", ".)"))
    assert len(summary) <= 120


@pytest.mark.parametrize("item", [item for item in EVERYTHING if not isinstance(item, BuiltinClass)], ids=name_of)
def test_options_are_documented(item: Entry) -> None:
    assert not isinstance(item, BuiltinClass)
    for parameter in item.parameters:
        if parameter.options is not None:
            for option in parameter.options.declared().values():
                assert option.doc.endswith("."), option.name
