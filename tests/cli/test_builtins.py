"""`hsl builtins`: the list, the page of one function, JSON; all from the declarations."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from click.testing import Result

from hsl.builtins import Builtin, BuiltinClass
from hsl.library import CHAPTERS as LIBRARY
from hsl.runtime.stages import CHAPTERS as MAIL
from hsl.runtime.stages import STAGES

Invoke = Callable[..., Result]

EVERY = [item for chapter in (*LIBRARY, *MAIL) for item in chapter.functions]

CLASSES = [item for chapter in (*LIBRARY, *MAIL) for item in chapter.classes]


def available(item: Builtin, stage: str) -> bool:
    return item.stages is None or stage in item.stages


def test_the_list_has_every_function_with_signature_stages_and_a_line(invoke: Invoke) -> None:
    done = invoke("builtins")
    assert done.exit_code == 0
    for item in EVERY:
        stages = "" if item.stages is None else f"  [{', '.join(name for name in STAGES if name in item.stages)}]"
        assert f"  {item.signature}\n      {item.summary}{stages}\n" in done.stdout, item.name


def test_the_list_has_the_chapters(invoke: Invoke) -> None:
    lines = invoke("builtins").stdout.splitlines()
    chapters = list(dict.fromkeys(item.chapter for item in EVERY))
    assert [line for line in lines if line and not line.startswith(" ")] == chapters


@pytest.mark.parametrize("item", EVERY, ids=lambda item: item.name)
def test_every_summary_is_one_sentence(item: Builtin) -> None:
    assert item.summary.endswith("."), item.summary
    assert len(item.summary) <= 120


@pytest.mark.parametrize("stage", STAGES)
def test_the_functions_of_a_stage(invoke: Invoke, stage: str) -> None:
    found = json.loads(invoke("builtins", "--stage", stage, "--json").stdout)
    assert [item["name"] for item in found] == [item.name for item in EVERY if available(item, stage)]


def test_json(invoke: Invoke) -> None:
    (found,) = json.loads(invoke("builtins", "--json", "Reschedule").stdout)
    assert found["signature"] == "Reschedule(number delay, [array options])"
    assert found["stages"] == ["predelivery"]
    assert found["result"] == "none"
    assert found["summary"] == found["doc"].split("\n")[0]
    delay, options = found["parameters"]
    assert (delay["name"], delay["types"], delay["required"]) == ("delay", ["number"], True)
    assert options["required"] is False
    assert [(item["name"], item["types"], item["default"]) for item in options["options"]] == [
        ("reason", ["none", "string"], None),
        ("increment_retry", ["boolean"], "true"),
    ]


def test_a_page(invoke: Invoke) -> None:
    lines = invoke("builtins", "Reschedule").stdout.splitlines()
    assert lines[:2] == ["Reschedule(number delay, [array options])", "stages: predelivery"]
    assert "options:" in lines
    assert "  increment_retry (boolean)  Count this as a retry. The default is true." in lines


@pytest.mark.parametrize("name", ["count", "length", "length()"])
def test_a_page_by_any_name(invoke: Invoke, name: str) -> None:
    done = invoke("builtins", name)
    assert done.stdout.startswith("length(")
    assert "older names: " in done.stdout
    assert "stages: all" in done.stdout


@pytest.mark.parametrize("item", EVERY, ids=lambda item: item.name)
def test_every_function_has_a_page(invoke: Invoke, item: Builtin) -> None:
    lines = invoke("builtins", item.name).stdout.splitlines()
    assert item.signature in lines
    assert item.doc.splitlines()[0] in lines


def test_the_list_has_the_methods_of_classes(invoke: Invoke) -> None:
    assert (
        "  Exception([string message]) -> object\n"
        "      An error with a message and the place in the script where it came up.\n"
        "      Exception->message() -> string\n"
        "          Return what went wrong.\n"
    ) in invoke("builtins").stdout


@pytest.mark.parametrize("item", CLASSES, ids=lambda item: item.name)
def test_the_page_of_a_class_has_its_methods(invoke: Invoke, item: BuiltinClass) -> None:
    lines = invoke("builtins", item.name).stdout.splitlines()
    for method in (*item.methods.values(), *item.static_methods.values()):
        assert method.signature in lines
        assert invoke("builtins", method.name).stdout.startswith(f"{method.signature}\nstages: ")


def test_a_class_as_json(invoke: Invoke) -> None:
    (found,) = json.loads(invoke("builtins", "--json", "Exception").stdout)
    assert [item["name"] for item in found["parameters"]] == ["message"]
    assert [item["signature"] for item in found["methods"]][:2] == [
        "Exception->message() -> string",
        "Exception->file() -> string or none",
    ]
    assert found["static_methods"] == []


UNKNOWN = [
    (["Exception->lin"], "there is no function Exception->lin()\nhint: did you mean Exception->line?\n"),
    (["scansa"], "there is no function scansa()\nhint: did you mean ScanSA?\n"),
    (["ScanAS"], "there is no function ScanAS()\nhint: did you mean ScanSA?\n"),
    (["zzzzzzzz"], "there is no function zzzzzzzz()\n"),
    (
        ["--stage", "helo", "ScanSA"],
        "there is no function ScanSA() in helo\nhint: ScanSA() is only available in data\n",
    ),
]


@pytest.mark.parametrize(("arguments", "wanted"), UNKNOWN)
def test_unknown_functions(invoke: Invoke, arguments: list[str], wanted: str) -> None:
    done = invoke("builtins", *arguments)
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", wanted)


def test_unknown_stages(invoke: Invoke) -> None:
    done = invoke("builtins", "--stage", "dat")
    assert done.exit_code == 2
    assert "there is no stage 'dat'" in done.stderr


def test_a_reader_that_goes_away() -> None:
    command = [sys.executable, "-m", "hsl.cli.main", "builtins", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "[\n"
        process.stdout.close()
        assert process.stderr.read() == ""
