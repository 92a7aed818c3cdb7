"""`hsl builtins`: the list, the page of one function, JSON; all from the declarations."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from hsl.builtins import Builtin, BuiltinClass
from hsl.cli import manual
from hsl.library import chapters
from hsl.runtime.stages import CHAPTERS as MAIL
from hsl.runtime.stages import STAGES

Invoke = Callable[..., Result]

EVERY = [item for chapter in (*chapters(), *MAIL) for item in chapter.functions]
CHAPTERS = list(dict.fromkeys(item.chapter for item in manual.every_entry()))

CLASSES = [item for chapter in (*chapters(), *MAIL) for item in chapter.classes]


def available(item: Builtin, stage: str) -> bool:
    return item.stages is None or stage in item.stages


def test_the_list_has_every_function_with_signature_stages_and_a_line(invoke: Invoke) -> None:
    done = invoke("builtins")
    assert done.exit_code == 0
    for item in EVERY:
        stages = "" if item.stages is None else f"  [{', '.join(name for name in STAGES if name in item.stages)}]"
        assert f"  {manual.signature(item)}\n      {item.summary}{stages}\n" in done.stdout, item.name


def test_the_list_has_the_chapters(invoke: Invoke) -> None:
    lines = invoke("builtins").stdout.splitlines()
    assert [line for line in lines if line and not line.startswith(" ")] == CHAPTERS


def test_the_class_of_a_stage(invoke: Invoke) -> None:
    found = {item["name"]: item for item in json.loads(invoke("builtins", "--stage", "eod", "--json").stdout)}
    methods = {item["name"]: item for item in found["EODMailMessage"]["methods"]}
    options = methods["EODMailMessage->queue"]["parameters"][-1]["options"]
    assert {item["name"] for item in options} == {
        "metadata",
        "jobid",
        "quotas",
        "tenantid",
        "priority",
        "hold",
        "delay",
        "dsn",
    }
    assert "EODMailMessage" not in invoke("builtins", "--stage", "data").stdout


@pytest.mark.parametrize("item", EVERY, ids=lambda item: item.name)
def test_every_summary_is_one_sentence(item: Builtin) -> None:
    assert item.summary.endswith((".", ".)")), item.summary
    assert len(item.summary) <= 120


@pytest.mark.parametrize("stage", STAGES)
def test_the_functions_of_a_stage(invoke: Invoke, stage: str) -> None:
    found = json.loads(invoke("builtins", "--stage", stage, "--json").stdout)
    functions = [item["name"] for item in found if item["parameters"] is not None]
    assert sorted(functions) == sorted(item.name for item in EVERY if available(item, stage))


def test_json(invoke: Invoke) -> None:
    (found,) = json.loads(invoke("builtins", "--json", "Reschedule").stdout)
    assert found["signature"] == "Reschedule(number delay, [array options])"
    assert found["stages"] == ["predelivery"]
    assert found["result"] == "none"
    assert found["summary"] == found["doc"].split("\n")[0]
    assert "Example:" not in found["doc"]
    assert found["eras"] == ["2015", "2019"]
    delay, options = found["parameters"]
    assert (delay["name"], delay["types"], delay["required"]) == ("delay", ["number"], True)
    assert options["required"] is False
    found_options = {item["name"]: (item["types"], item["default"]) for item in options["options"]}
    assert found_options["reason"] == (["none", "string"], None)
    assert found_options["increment_retry"] == (["boolean"], "true")


def test_a_page(invoke: Invoke) -> None:
    lines = invoke("builtins", "Reschedule").stdout.splitlines()
    assert lines[:3] == ["## Reschedule", "", "    Reschedule(number delay, [array options])"]
    assert "Stages: predelivery; 2015 to 2019." in lines
    assert "Options in `options`:" in lines
    assert "- `increment_retry` (boolean, default true): Count this as a retry." in lines


@pytest.mark.parametrize("name", ["count", "length", "length()"])
def test_a_page_by_any_name(invoke: Invoke, name: str) -> None:
    done = invoke("builtins", name)
    assert done.stdout.startswith("## length\n\n    length(any value) -> number or none\n\nReturn ")
    facts = "Every stage; since 2019; older names: `count` (2015 to 2019), `strlen` (2015 to 2019).\n"
    assert facts in done.stdout
    assert done.stdout.endswith("\n    echo length(17);  // none\n")


@pytest.mark.parametrize("item", EVERY, ids=lambda item: item.name)
def test_every_function_has_a_page(invoke: Invoke, item: Builtin) -> None:
    lines = invoke("builtins", item.name).stdout.splitlines()
    assert f"    {manual.signature(item)}" in lines
    assert item.doc.splitlines()[0] in lines


def test_the_list_has_the_methods_of_classes(invoke: Invoke) -> None:
    assert (
        '  Exception([string message = ""]) -> object\n'
        "      An error with a message and the place in the script where it came up.\n"
        "      Exception->message() -> string\n"
        "          Return what went wrong.\n"
    ) in invoke("builtins").stdout


@pytest.mark.parametrize("item", CLASSES, ids=lambda item: item.name)
def test_the_page_of_a_class_has_its_methods(invoke: Invoke, item: BuiltinClass) -> None:
    lines = invoke("builtins", item.name).stdout.splitlines()
    for method in (*item.methods.values(), *item.static_methods.values()):
        assert f"    {manual.signature(method)}" in lines
        assert invoke("builtins", method.name).stdout.startswith(
            f"## {method.name}\n\n    {manual.signature(method)}\n"
        )


def test_a_class_as_json(invoke: Invoke) -> None:
    (found,) = json.loads(invoke("builtins", "--json", "Exception").stdout)
    assert [item["name"] for item in found["parameters"]] == ["message"]
    assert [item["signature"] for item in found["methods"]][:2] == [
        "Exception->message() -> string",
        "Exception->file() -> string or none",
    ]
    assert found["static_methods"] == []


SIGNATURES = [
    ("round", "round(number number, [number decimals = 0]) -> number"),
    ("log", "log(number number, [number base = e]) -> number"),
    ("array_reduce", "array_reduce(function callback, array array, [any initial]) -> any"),
    ("str_strip", 'str_strip(string string, [string characters = " \\t\\r\\n"]) -> string'),
    ("memory_dec", "memory_dec(string key, [number offset = 1], [boolean remove_if_zero = false]) -> number or none"),
    ("pack", "pack(string format, ...arguments) -> string or none"),
]


@pytest.mark.parametrize(("name", "wanted"), SIGNATURES)
def test_signatures_show_defaults(invoke: Invoke, name: str, wanted: str) -> None:
    assert invoke("builtins", name).stdout.splitlines()[2] == f"    {wanted}"


ERAS = [
    ("round", "since 2015"),
    ("array_range", "since 2019"),
    ("Map", "since 2026"),
    ("Map->merge", "since 2026"),
    ("File::String", "since 2019"),
    ("explode", "2015 only"),
    ("serial", "2015 to 2019"),
    ("dnscname", "not in the reference"),
]


@pytest.mark.parametrize(("name", "wanted"), ERAS)
def test_pages_say_since_when_the_reference_has_a_name(invoke: Invoke, name: str, wanted: str) -> None:
    assert manual.era(name) == wanted
    assert re.search(rf"^(.*; )?{wanted}(;.*)?[.]$", invoke("builtins", name).stdout, re.MULTILINE | re.IGNORECASE)


def test_the_manual_has_a_page_for_each_chapter(invoke: Invoke, tmp_path: Path) -> None:
    done = invoke("builtins", "--pages", str(tmp_path / "manual"))
    written = {file.name: file.read_text() for file in (tmp_path / "manual").iterdir()}
    assert done.stdout == f"{len(written)} pages in {tmp_path / 'manual'}\n"
    assert written == manual.chapter_pages()
    titles = {f"# {title}" for title in CHAPTERS}
    assert {text.splitlines()[0] for text in written.values()} == {"# The library", *titles}
    every = "\n".join(written.values())
    for item in EVERY:
        assert f"\n## {item.name}\n\n    {manual.signature(item)}\n" in every


def test_a_manual_that_cannot_be_written(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = invoke("builtins", "--pages", str(tmp_path / "file" / "manual"))
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == f"cannot write {tmp_path / 'file' / 'manual'}: Not a directory\n"


UNKNOWN = [
    (["Exception->lin"], "there is no function Exception->lin()\nhint: did you mean Exception->line?\n"),
    (["scansa"], "there is no function scansa()\nhint: did you mean ScanSA?\n"),
    (["ScanAS"], "there is no function ScanAS()\nhint: did you mean ScanSA?\n"),
    (["zzzzzzzz"], "there is no function zzzzzzzz()\n"),
    (
        ["--stage", "helo", "ScanSA"],
        "there is no function ScanSA() in helo\nhint: ScanSA() is only available in data and eod\n",
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
