"""The bench of the language: its programs print the same in HSL, Python, PHP and Lua, and it sees when they do not."""

from __future__ import annotations

import ast
import sys

import pytest
from admin_script import admin_script
from budget import REFILLS, ROOT, without_check
from comparison import Comparison, geometric_mean, table
from engines import PROGRAMS, SIZES, Engine, Failed, Result, cpython, hsl, lua, php
from loading import load

SUFFIXES = (".hsl", ".py", ".php", ".lua")


@pytest.fixture(scope="module")
def engines() -> list[Engine]:
    try:
        return [cpython(), php(), lua(), hsl(sys.executable)]
    except Failed as error:
        pytest.fail(str(error), pytrace=False)


@pytest.mark.parametrize("program", SIZES)
def test_every_language_prints_the_same(program: str, engines: list[Engine]) -> None:
    size = SIZES[program].test
    outputs = {engine.name: engine.run(program, size).output for engine in engines}
    assert set(outputs.values()) == {outputs["CPython"]}
    assert any(digit in outputs["CPython"] for digit in "123456789")


def test_every_program_has_its_four_files_and_sizes() -> None:
    folders = {path.name: path for path in PROGRAMS.iterdir()}
    assert folders.keys() == SIZES.keys()
    missing = [folder / f"program{suffix}" for folder in folders.values() for suffix in SUFFIXES]
    assert [path for path in missing if not path.is_file()] == []


class Fake(Engine):
    """An engine whose runs give what stands in `results`, one after another."""

    def __init__(self, name: str, *results: Result | Failed) -> None:
        super().__init__(name, (), "", "")
        object.__setattr__(self, "results", iter(results))

    def run(self, program: str, size: int) -> Result:
        result = next(self.results)
        if isinstance(result, Failed):
            raise result
        return result


def compare(*engines: Engine) -> Comparison:
    comparison = Comparison(engines, {"sum": 1})
    comparison.run(3, lambda text: None)
    return comparison


def test_the_medians_of_the_rounds_count() -> None:
    one = Fake("CPython", Result("6", 2.0), Result("6", 9.0), Result("6", 3.0))
    two = Fake("HSL pure", Result("6", 12.0), Result("6", 11.0), Result("6", 99.0))
    comparison = compare(one, two)
    assert comparison.problems == {}
    assert comparison.medians() == {"sum": {"CPython": 3.0, "HSL pure": 12.0}}


def test_another_output_is_a_problem_and_no_time() -> None:
    one = Fake("CPython", *[Result("6", 1.0)] * 3)
    two = Fake("HSL pure", Result("6", 1.0), Result("7", 1.0))
    comparison = compare(one, two)
    assert list(comparison.problems.values()) == ["sum: HSL pure printed '7', CPython '6'"]
    assert comparison.medians() == {"sum": {"CPython": 1.0}}


def test_a_failure_is_a_problem_and_not_tried_again() -> None:
    comparison = compare(Fake("CPython", Failed("no such file")))
    assert list(comparison.problems.values()) == ["sum in CPython: no such file"]
    assert comparison.medians() == {"sum": {}}


def test_the_table_ends_with_geometric_means() -> None:
    times = {
        "one": {"CPython": 1.0, "PHP": 0.5, "HSL compiled": 2.0},
        "two": {"CPython": 2.0, "PHP": 1.0, "HSL compiled": 1.0},
        "three": {"CPython": 2.0, "PHP": 1.0},
    }
    titles, head, *lines, means = table(times, ["CPython", "PHP", "HSL compiled"])
    assert titles.split() == ["|", "compiled", "divided", "by"]
    assert head.split() == ["program", "CPython", "PHP", "compiled", "|", "CPython", "PHP"]
    assert [item.split() for item in lines] == [
        ["one", "1.000", "0.500", "2.000", "|", "2.00", "4.00"],
        ["two", "2.000", "1.000", "1.000", "|", "0.50", "1.00"],
        ["three", "2.000", "1.000", "-", "|", "-", "-"],
    ]
    assert means.split() == ["geometric", "means", "|", "1.00", "2.00"]
    assert geometric_mean(times, ("HSL pure", "CPython")) is None


def test_a_program_that_does_not_run_says_why() -> None:
    with pytest.raises(Failed, match=r"program\.hsl"):
        hsl(sys.executable).run("nothing", 1)


def test_the_other_kind_of_package_is_refused() -> None:
    compiled = hsl(sys.executable).name == "HSL compiled"
    with pytest.raises(Failed, match=r"the hsl package of .* is (pure|compiled): "):
        hsl(sys.executable, not compiled)


@pytest.mark.parametrize("lines", [100, 1000])
def test_the_generated_script_has_its_length_and_is_always_the_same(lines: int) -> None:
    text = admin_script(lines)
    assert text.count("\n") == lines
    assert text == admin_script(lines)
    names = [line for line in text.split("\n") if line.startswith("function ")]
    assert len(set(names)) == len(names) > lines / 30


def test_the_generated_script_loads_without_a_finding() -> None:
    assert load(admin_script(1000)).warnings == []


def test_the_check_is_found_in_the_source_and_all_of_it_can_be_taken_out() -> None:
    texts = [path.read_text() for path in (ROOT / "hsl").rglob("*.py") if path.name != REFILLS]
    without = [without_check(text) for text in texts]
    assert sum(removed for _, removed in without) > 0
    assert not any("fuel" in ast.unparse(ast.parse(text)) for text, removed in without if removed)


def test_a_use_of_the_check_that_would_be_left_is_an_error() -> None:
    with pytest.raises(Failed, match="line 2 "):
        without_check("run.fuel -= 1\nleft = run.fuel\n")
