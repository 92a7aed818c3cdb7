"""Today's catalogue and the stages, both ways: variables with their keys, functions with what they take, classes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import stagecatalogue
from catalogue import read
from stagecatalogue import COMPARED, OURS

from hsl.compiler import Variable, compile_script
from hsl.errors import CompileError
from hsl.runtime.stages import STAGES, environment
from hsl.source import Source

DIFFERENCES = Path(__file__).parents[2] / "docs" / "differences.md"
ROW = re.compile(r"^\| `(.+?)` \| (.+) \|$", re.MULTILINE)
READABLE = sorted(stagecatalogue.left_for_later().items())


def rows(heading: str) -> dict[str, str]:
    section = DIFFERENCES.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return dict(ROW.findall(section))


@pytest.mark.parametrize("stage", COMPARED)
def test_what_the_catalogue_has_the_stage_has(stage: str) -> None:
    assert list(stagecatalogue.missing_variables(stage)) == []
    assert list(stagecatalogue.missing_functions(stage)) == []


@pytest.mark.parametrize("stage", COMPARED)
def test_what_the_stage_has_the_catalogue_has_or_a_table(stage: str) -> None:
    assert stagecatalogue.undeclared(stagecatalogue.additional_variables(stage), stage) == []
    assert stagecatalogue.undeclared(stagecatalogue.additional_functions(stage), stage) == []


def test_every_stage_of_the_catalogue_is_compared() -> None:
    assert set(read("2026")["variables"]) - {"core", "proxy"} == set(COMPARED)
    assert stagecatalogue.stages_without_table() == set()


def test_the_table_of_our_own_has_nothing_in_vain() -> None:
    found = {
        f"{stage}: {item}"
        for stage in COMPARED
        for item in (*stagecatalogue.additional_variables(stage), *stagecatalogue.additional_functions(stage))
    }
    assert found == OURS.keys()


def test_what_is_left_for_later_is_in_the_reference() -> None:
    assert stagecatalogue.later_keys_without_need() == []


def test_the_page_shows_both() -> None:
    assert rows("Variables that are not set") == dict(READABLE)
    assert rows("Variables and options of our own") == OURS


@pytest.mark.parametrize(("path", "reason"), READABLE)
def test_reading_what_is_left_for_later_is_a_clear_error(path: str, reason: str) -> None:
    stages = [stage for stage in STAGES if has(STAGES[stage].variables, path)]
    assert stages
    for stage in stages:
        with pytest.raises(CompileError) as caught:
            compile_script(Source("x.hsl", f"echo {path};"), environment(stage))
        name = path.rpartition('["')[2].removesuffix('"]')
        assert f'"{name}" is not available here: {reason}' in str(caught.value)
        assert not compile_script(Source("x.hsl", f'echo {path} ?? "none";'), environment(stage)).warnings


def has(variables: Any, path: str) -> bool:
    name, *keys = re.findall(r"\w+", path)
    found: Variable | None = variables.get(name)
    for key in keys:
        found = next((item for item in found.keys if item.name == key), None) if found else None
    return found is not None and bool(found.later)


# The comparison itself: what it must not overlook.


def test_a_missing_key_and_a_wrong_type_are_found() -> None:
    wanted = [
        {"name": "$a", "type": "array", "keys": [{"name": "x", "type": "number"}, {"name": "y", "type": "string"}]},
        {"name": "$b", "type": "string"},
        {"name": "$c", "type": "X509Resource"},
    ]
    inner = (Variable("x", "string", "X"), Variable("z", "string", "Z"))
    given = [Variable("a", "array", "A", keys=inner), Variable("c", "resource", "C")]
    found = list(stagecatalogue.missing_keys(wanted, given, "$"))
    assert found == ['$a["x"] is string, wanted number', '$a["y"] is missing', "$b is missing"]
    assert list(stagecatalogue.additional_keys(wanted[0], given[0], "$a")) == ['$a["z"]']


def test_a_function_that_takes_more_is_found() -> None:
    (item,) = [item for item in stagecatalogue.named_at("connect") if item.name == "Reject"]
    declared = {
        "parameters": [
            {"name": "reason", "types": ["string", "number"], "required": False},
            {"name": "options", "types": ["array"], "required": False},
            {"name": "more", "types": ["any"], "required": False},
        ]
    }
    assert list(stagecatalogue.additional_parameters(item, declared)) == ["Reject(reason): number", "Reject(more)"]
