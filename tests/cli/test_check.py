"""`hsl check`: all findings with positions, as text and as JSON; exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from click.testing import Result

Invoke = Callable[..., Result]
Script = Callable[..., Path]
Hsl = Callable[..., CompletedProcess[str]]

SCRIPTS = Path(__file__).parents[2] / "scripts"
MISTAKES = '$a = strlne("x");\nif ($a { echo 1; }\nbreak;\n'


def findings(done: Result) -> list[tuple[int, int, str, str]]:
    return [(item["line"], item["column"], item["severity"], item["code"]) for item in json.loads(done.stdout)]


def test_nothing_to_find(invoke: Invoke, script: Script) -> None:
    done = invoke("check", script("echo 1;"))
    assert (done.exit_code, done.stdout, done.stderr) == (0, "1 file: 0 errors, 0 warnings\n", "")


def test_three_mistakes_three_errors(invoke: Invoke, script: Script) -> None:
    path = script(MISTAKES)
    done = invoke("check", path)
    assert (done.exit_code, done.stdout) == (1, "1 file: 3 errors, 0 warnings\n")
    assert done.stderr == (
        f"{path}:1:6: error: there is no function strlne()\n"
        '    $a = strlne("x");\n'
        "         ^^^^^^\n"
        "    hint: did you mean strlen()?\n"
        f"{path}:2:8: error: unexpected `{{`, expected `)`\n"
        "    if ($a { echo 1; }\n"
        "           ^\n"
        f"{path}:3:1: error: break outside a loop or switch\n"
        "    break;\n"
        "    ^^^^^\n"
    )


def test_three_mistakes_as_json(invoke: Invoke, script: Script) -> None:
    path = script(MISTAKES)
    done = invoke("check", "--json", path)
    assert (done.exit_code, done.stderr) == (1, "")
    found = json.loads(done.stdout)
    assert found[0] == {
        "file": str(path),
        "line": 1,
        "column": 6,
        "end": {"line": 1, "column": 12},
        "severity": "error",
        "code": "undefined",
        "message": "there is no function strlne()",
        "hint": "did you mean strlen()?",
    }
    assert [(item["line"], item["column"]) for item in found] == [(1, 6), (2, 8), (3, 1)]


def test_json_of_nothing(invoke: Invoke, script: Script) -> None:
    done = invoke("check", "--json", script("echo 1;"))
    assert (done.exit_code, done.stdout) == (0, "[]\n")


@pytest.mark.parametrize(
    "text", ['echo "x', "echo (1;", "1 +;", "}", "if", "\x01", "/* x", "''x", "foreach ($a as) {}", "switch (1) { 2; }"]
)
def test_every_syntax_error_has_the_code_syntax(invoke: Invoke, script: Script, text: str) -> None:
    done = invoke("check", "--json", script(text))
    assert done.exit_code == 1
    found = findings(done)
    assert found
    assert {(severity, code) for _, _, severity, code in found} == {("error", "syntax")}


def test_columns_are_characters(invoke: Invoke, script: Script) -> None:
    assert findings(invoke("check", "--json", script('echo "äöü€𝄞" . nope();'))) == [(1, 16, "error", "undefined")]


def test_warnings_fail_only_when_strict(invoke: Invoke, script: Script) -> None:
    path = script("if (false) echo $nothing;")
    done = invoke("check", path)
    assert (done.exit_code, done.stdout) == (0, "1 file: 0 errors, 1 warning\n")
    assert ":1:17: warning: $nothing is never set" in done.stderr
    assert invoke("check", "--strict", path).exit_code == 1


def test_older_names_are_named_only_when_strict(invoke: Invoke, script: Script) -> None:
    path = script("echo count([1]);")
    done = invoke("check", path)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "1 file: 0 errors, 0 warnings\n", "")
    strict = invoke("check", "--strict", path)
    assert (strict.exit_code, strict.stdout) == (1, "1 file: 0 errors, 0 warnings, 1 note\n")
    assert ":1:6: note: count() is an older name of length()" in strict.stderr
    assert "hint: today's form is length()" in strict.stderr


def test_unknown_options_of_a_function_are_named(invoke: Invoke, script: Script) -> None:
    done = invoke("check", "--stage", "predelivery", script('Reschedule(1, ["reson" => "x"]);'))
    assert done.exit_code == 0
    assert "warning: " in done.stderr
    assert "did you mean reason" in done.stderr


def test_a_file_named_after_a_stage_is_checked_for_it(invoke: Invoke, script: Script) -> None:
    assert invoke("check", script("ScanSA();", "data.hsl")).exit_code == 0
    other = invoke("check", script("ScanSA();", "rcptto.hsl"))
    assert other.exit_code == 1
    assert "hint: ScanSA() is only available in data" in other.stderr
    assert invoke("check", "--stage", "data", script("ScanSA();", "rcptto.hsl")).exit_code == 0


def test_a_read_only_variable(invoke: Invoke, script: Script) -> None:
    done = invoke("check", script('$sender = "x";', "data.hsl"))
    assert done.exit_code == 1
    assert ":1:1: error: $sender is read-only" in done.stderr


def test_several_files(hsl: Hsl, script: Script, tmp_path: Path) -> None:
    script("echo 1;", "a.hsl")
    script("nope();", "b.hsl")
    done = hsl("check", "a.hsl", "missing.hsl", "b.hsl", ".", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "4 files: 3 errors, 0 warnings\n")
    lines = done.stderr.splitlines()
    assert lines[0] == "missing.hsl: error: cannot be read: No such file or directory"
    assert lines[1] == "b.hsl:1:1: error: there is no function nope()"
    assert lines[-1] == ".: error: cannot be read: Is a directory"


def test_what_several_scripts_include_is_reported_once(invoke: Invoke, script: Script, tmp_path: Path) -> None:
    script("nope();", "common/shared.hsl")
    paths = [script('include "common/shared.hsl";', name) for name in ("a.hsl", "b.hsl")]
    done = invoke("check", *paths)
    assert done.stdout == "2 files: 1 error, 0 warnings\n"
    assert done.stderr.startswith(f"{tmp_path / 'common/shared.hsl'}:1:1: error: ")


def test_the_root_of_includes(invoke: Invoke, script: Script, tmp_path: Path) -> None:
    script("$limit = 1;", "common/limits.hsl")
    path = script('include "common/limit.hsl";', "stages/a.hsl")
    assert "cannot read common/limit.hsl" in invoke("check", path).stderr
    assert "did you mean common/limits.hsl?" in invoke("check", "--root", tmp_path, path).stderr


def test_the_standard_input(invoke: Invoke) -> None:
    done = invoke("check", "--json", "--stage", "data", "-", stdin="ScanSA()")
    assert [item["file"] for item in json.loads(done.stdout)] == ["<stdin>"]


@pytest.mark.parametrize("folder", ["outbound"])
def test_the_scripts_of_the_tree_are_right(invoke: Invoke, folder: str) -> None:
    files = sorted((SCRIPTS / folder).glob("*.hsl"))
    done = invoke("check", *files)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == f"{len(files)} files: 0 errors, 0 warnings\n"


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ([], "Missing argument 'FILES...'"),
        (["--stage", "nope", "a.hsl"], "there is no stage 'nope'"),
        (["--root", "/nowhere", "a.hsl"], "'/nowhere' does not exist"),
    ],
)
def test_wrong_usage(invoke: Invoke, options: list[str], wanted: str) -> None:
    done = invoke("check", *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert wanted in done.stderr


@pytest.mark.parametrize("data", [b"", bytes(range(256)), b"\0" * 10_000, b"\xff\xfee\0", b"(" * 100_000, b"{" * 9_999])
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_odd_files(hsl: Hsl, script: Script, data: bytes, form: list[str]) -> None:
    done = hsl("check", *form, script(data))
    assert done.returncode == (1 if data else 0)
    assert "Traceback" not in done.stderr
    if form:
        assert (not json.loads(done.stdout)) == (not data)
    else:
        assert len(done.stderr) < 100_000


# ------------------------------------------------------------ what only a run finds

ARGUMENTS = [
    ('substr([], 1);', "substr(): parameter 1 (string): wanted string, got array"),
    ('substr("a", "b");', "substr(): parameter 2 (offset): wanted number, got string"),
    ('array_join("a");', "array_join(): parameter 1 (array): wanted array, got string"),
    ('md5(1);', "md5(): parameter 1 (message): wanted string, got number"),
    ('rate("a", "b", "c", 1);', "rate(): parameter 3 (count): wanted number, got string"),
    ('AddHeader("X", none);', "AddHeader(): parameter 2 (value): wanted string, got none"),
    ('ScanSA(["rules" => "yes"]);', "ScanSA(): option rules: wanted boolean, got string"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), ARGUMENTS)
def test_a_wrong_type_names_function_parameter_wanted_and_got(
    invoke: Invoke, script: Script, text: str, wanted: str
) -> None:
    path = script(text)
    done = invoke("run", "--stage", "data", path)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"{path}:1:1: error: {wanted}\n    {text}\n    ^")
