"""docs/language.md is true: its scripts give what it says, its limits are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hsl import cacheoptions, caching, calls, functions, loader, parser, regex, shared, values
from hsl.compiler import Environment, base, compile_script, modules
from hsl.errors import CompileError, ScriptError
from hsl.library import core_registry, cryptographic, csvtext, dateandtime, encodings, packing
from hsl.run import Budget, Run
from hsl.source import Source
from hsl.values import literal

PAGE = (Path(__file__).parents[2] / "docs" / "language.md").read_text()
ROW = re.compile(r"^\| `(.+)` \| (?:`(.+)`|error: (.+)) \|$")


def tables(heading: str) -> list[list[str]]:
    """The tables whose first line begins with `| heading |`, each as its rows."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE):
        first, _, *rows = block.splitlines()
        if first.startswith(f"| {heading} |"):
            found.append(rows)
    return found


SCRIPTS = [row for table in tables("script") for row in table]


def result(script: str) -> str:
    """What the last expression of a script gives, as it is written in a script; or the message of its error."""
    cut = max(script.rfind("; "), script.rfind("} ")) + 1
    for text in (f"{script[:cut]}return {script[cut:]};", f"{script};"):
        try:
            program = compile_script(Source("page.hsl", text), Environment(core_registry()))
            return literal(Run(program).execute()).decode()
        except CompileError as error:
            message = error.errors[0].message
        except ScriptError as error:
            return error.message
    return message


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) > 60


@pytest.mark.parametrize("row", SCRIPTS)
def test_a_script_gives_what_the_page_says(row: str) -> None:
    match = ROW.match(row)
    assert match is not None
    script, wanted, error = match.groups()
    if error is None:
        assert result(script) == wanted
    else:
        assert error in result(script)


def mebi(number: float) -> str:
    return f"{number / 2**20:g} Mi"


BUDGET = Budget()
LIMIT_MATCH, LIMIT_DEPTH, LIMIT_HEAP = (int(number) for number in re.findall(rb"=(\d+)", regex.LIMITS))
LIMITS = {
    "steps (turns of loops, calls) of one run": f"{BUDGET.steps:,} (`scripting.budgets.steps`)",
    "seconds of one run": f"{BUDGET.seconds:g} (`scripting.budgets.seconds`)",
    "bytes echoed by one run": mebi(BUDGET.output),
    "nested function calls": f"{BUDGET.call_depth}",
    "nesting of expressions and statements": f"{base.MAX_DEPTH}",
    "the same over all nested calls": f"{functions.MAX_NESTING:,}",
    "arguments of one call": f"{calls.MAX_ARGUMENTS:,}",
    "bytes of one string": mebi(values.MAX_STRING),
    "items of one array, Map or Set, properties of one object": f"{values.MAX_ITEMS:,}",
    "nesting of arrays": f"{values.MAX_ARRAY_DEPTH:,}",
    "items in one comparison of arrays": f"{values.MAX_WORK:,}",
    "items when one array is turned to a string": f"about {values.MAX_WORK // 4:,}",
    "characters of one script file": mebi(parser.MAX_SOURCE),
    "files that one script includes and imports": f"{modules.MAX_INCLUDES:,}",
    "bytes of one imported data file": mebi(loader.MAX_DATA),
    "fields of one CSV text": f"{csvtext.MAX_FIELDS:,}",
    "characters of one CSV field": f"{131072:,}",
    "values of one JSON text, its nesting": f"{encodings.MAX_JSON_ITEMS:,}, {encodings.MAX_JSON_DEPTH}",
    "bytes of one regular expression": f"{regex.MAX_PATTERN // 1024} Ki",
    "steps, and KiB of memory, of one match": f"{LIMIT_MATCH:,}, {LIMIT_HEAP:,}",
    "codes in a format of `pack()` and `unpack()`": f"{packing.MAX_CODES:,}",
    "bytes of `random_bytes()`": mebi(cryptographic.MAX_RANDOM),
    "bytes of a format of `strftime()`, of its result": f"{dateandtime.MAX_FORMAT:,}, {dateandtime.MAX_DATE}",
    "shared variables of the process": f"{shared.MAX_VARIABLES:,}",
    "caches of the process, entries of one": (
        f"{shared.MAX_BUCKETS:,}, {caching.MAX_ENTRIES:,.0f} (`size`, by default {cacheoptions.CacheOptions().size:g})"
    ),
    "syntax errors reported of one file, errors of one script": f"{parser.MAX_ERRORS}, {base.MAX_ERRORS}",
}


def test_the_limits_are_those_of_the_code() -> None:
    (rows,) = [table for table in tables("what") if any("scripting.budgets" in row for row in table)]
    assert dict(row.strip("| ").split(" | ") for row in rows) == LIMITS


def test_steps_of_a_match_are_limited_in_both_ways() -> None:
    assert LIMIT_MATCH == LIMIT_DEPTH


@pytest.mark.parametrize(("count", "fits"), [(249_000, True), (251_000, False)])
def test_an_array_as_a_string(count: int, fits: bool) -> None:
    text = result(f"length(string(array_range(0, {count}))) > 0")
    assert text == ("true" if fits else "the array is too large to be shown as a string")


@pytest.mark.parametrize(("size", "fits"), [(131_072, True), (131_073, False)])
def test_a_csv_field(size: int, fits: bool) -> None:
    text = result(f'csv_decode(str_repeat("x", {size}), ["header" => false]) !== none')
    assert text == ("true" if fits else "false")


def test_no_chapter_of_the_reference_is_left_out() -> None:
    (rows,) = tables("chapter")
    assert [row.split(" | ")[0].strip("| ") for row in rows] == [
        "Literals", "Operators", "Statements", "Functions", "Classes", "Exceptions", "Modules", "Library",
    ]  # fmt: skip
