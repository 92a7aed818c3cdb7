"""What the reference of 2015, 2019 and 2026 names is there, with its arguments, or is a declared difference."""

from __future__ import annotations

import re
from pathlib import Path

import catalogue
import pytest
from catalogue import Named
from snippets import mistakes, output_of

from hsl.errors import ScriptError
from hsl.library import core_registry, eras
from hsl.library.absent import DIFFERENCES
from hsl.runtime.stages import ABSENT, STAGES

DOCS = Path(__file__).parents[2] / "docs"
ROW = re.compile(r"^\| `([\w.: ]+)` \| (.+) \|$", re.MULTILINE)

NAMED = (*catalogue.todays_names(), *catalogue.older_names())
EVERY = [item for item in NAMED if catalogue.in_question(item)]


def identity(item: Named) -> str:
    return f"{item.era}-{item.stage}-{item.name}"


@pytest.mark.parametrize("item", EVERY, ids=identity)
def test_a_name_is_there_with_its_arguments(item: Named) -> None:
    assert catalogue.problems(item) == []


@pytest.mark.parametrize(("older", "todays"), catalogue.aliases().items())
def test_an_older_name_is_todays_function(older: str, todays: str) -> None:
    registry = core_registry()
    assert registry.get(older) is registry.get(todays)


@pytest.mark.parametrize("script", ["isset($x);", "$x = 1; unset($x);", 'echo "text";'])
def test_constructs_are_part_of_the_language(script: str) -> None:
    assert mistakes(script) == []


def test_the_catalogues_are_whole() -> None:
    core = [item for item in catalogue.todays_names() if item.stage == "core"]
    assert sum("." not in item.name for item in core) == 151 + 13
    assert len({item.name for item in catalogue.older_names()}) > 300


SIGNATURES = [
    ("2026", "f(array $a, string or none $b [, any $c = 1 [, any ...$d]]): array", ["a", "b", "?c", "?...d"]),
    ("2026", "f(string $a [, array, string or function $b]): string, array or none (or so)", ["a", "?b"]),
    ("2026", "f(array of (string or array) $a, string $b): array", ["a", "b"]),
    ("2026", "f([any ...$args])", ["?...args"]),
    ("2026", "f(): none", []),
    ("2019", "f(a, [b], [c = 1])", ["a", "?b", "?c"]),
    ("2019", "f([a, b])", ["?a", "?b"]),
    ("2019", "f([...a])", ["?...a"]),
    ("2015", "f(a, [b, [c]]])", ["a", "?b", "?c"]),
]


@pytest.mark.parametrize(("era", "signature", "wanted"), SIGNATURES)
def test_signatures_are_read(era: str, signature: str, wanted: list[str]) -> None:
    parameters = catalogue.named(era, "core", "f", signature).parameters
    shown = ["?" * (not item.required) + "..." * item.variadic + item.name for item in parameters]
    assert shown == wanted


RESULTS = [
    ("f(): string, array or none (a reason)", {"string", "array", "none"}),
    ("f(array of (string or array) $a): array of [string, string]", {"array"}),
    ("f(): FFIValue or None", {"object", "none"}),
    ("f()", set()),
]


@pytest.mark.parametrize(("signature", "wanted"), RESULTS)
def test_results_are_read(signature: str, wanted: set[str]) -> None:
    assert catalogue.named("2026", "core", "f", signature).result == wanted


def test_the_table_of_eras_is_current() -> None:
    assert Path(eras.__file__ or "").name.startswith("eras")
    assert (Path(__file__).parents[2] / "hsl" / "library" / "eras.py").read_text() == catalogue.eras_module()


def rows(heading: str) -> dict[str, str]:
    """The table of a section of the page on differences."""
    section = (DOCS / "differences.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return dict(ROW.findall(section))


def test_differences_stand_on_their_page() -> None:
    functions = rows("Functions that raise an error")
    assert functions == {name: f"{text[0].upper()}{text[1:]}." for name, text in DIFFERENCES.items()}


def test_stages_that_there_are_not_stand_on_the_page() -> None:
    found = rows("Stages that there are not")
    assert found == {name: f"{text[0].upper()}{text[1:]}." for name, text in ABSENT.items()}
    assert not ABSENT.keys() & STAGES.keys()


def test_errata_stand_on_the_page() -> None:
    assert rows("Where the catalogues cannot be meant") == catalogue.ERRATA
    assert rows("Other results") == catalogue.RESULTS


@pytest.mark.parametrize("name", catalogue.RESULTS)
def test_a_listed_result_does_differ(name: str) -> None:
    (item,) = [item for item in catalogue.todays_names() if item.name == name]
    assert item.result
    assert {one["result"] for one in catalogue.declarations()[name]} != {" or ".join(sorted(item.result))}


@pytest.mark.parametrize("erratum", catalogue.ERRATA)
def test_an_erratum_is_about_a_parameter_of_the_reference(erratum: str) -> None:
    name, parameter = erratum.split(": ")
    assert any(item.name == name and parameter in [one.name for one in item.parameters] for item in NAMED)


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_difference_says_what_it_is(name: str) -> None:
    builtin = core_registry().get(name)
    assert builtin is not None
    values = {"string": '"x"', "array": "[]", "number": "1", "boolean": "true"}
    arguments = ", ".join(values[min(item.types)] for item in builtin.parameters if item.required)
    with pytest.raises(ScriptError) as caught:
        output_of(f"{name}({arguments});")
    assert caught.value.message == f"{name}() is not available: {DIFFERENCES[name]}"
    assert len(DIFFERENCES[name]) <= 100


def test_the_summary_counts_all() -> None:
    numbers = [int(number) for number in re.findall(r"\d+", catalogue.summary())]
    there, functions, classes_there, classes, older_there, older, differences = numbers
    assert (functions, classes) == (151, 13)
    assert there <= functions
    assert classes_there <= classes
    assert older_there <= older
    assert functions - there + older - older_there >= differences
