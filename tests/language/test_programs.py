"""Kept programs: the same object as long as no file changed, a new one when any of them did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hsl import programs as module
from hsl.compiler import Environment, LoadError
from hsl.errors import CompileError
from hsl.evaluator import Program
from hsl.library import core_registry
from hsl.loader import FileLoader
from hsl.programs import Programs
from hsl.run import Run

MAIN = """include "names.hsl"; import { twice } from "tools"; import $limits from "limits.json";
echo twice(name()) . $limits["a"];"""
FILES = {
    "main.hsl": MAIN,
    "names.hsl": 'function name() { return "x"; }',
    "tools.hsl": "function twice($text) { return $text . $text; }",
    "limits.json": '{"a": 1}',
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def load(root: Path) -> Callable[..., Program]:
    """Loads a script of the root with programs that are kept through the test."""
    known, registry = Programs(), core_registry()

    def of(name: str = "main.hsl", kind: str = "data") -> Program:
        return known.load(kind, name, FileLoader(root), lambda loader: Environment(registry, loader=loader))

    return of


def printed(program: Program) -> str:
    lines: list[bytes] = []
    Run(program, output=lines.append).execute()
    return b"".join(lines).decode()


def test_unchanged_files_are_not_compiled_again(
    root: Path, load: Callable[..., Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load()
    for name, text in FILES.items():
        (root / name).write_text(text)  # written anew, the same
    monkeypatch.delattr(module, "compile_script")
    assert load() is first
    assert printed(first) == "xx1\n"


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("main.hsl", 'echo "new";', "new\n"),
        ("names.hsl", 'function name() { return "y"; }', "yy1\n"),
        ("tools.hsl", "function twice($text) { return $text; }", "x1\n"),
        ("limits.json", '{"a": 2}', "xx2\n"),
        ("tools", "function twice($text) { return 7; }", "71\n"),  # now this is what `import … from "tools"` means
    ],
)
def test_a_change_in_any_file_counts(
    root: Path, load: Callable[..., Program], name: str, text: str, wanted: str
) -> None:
    first = load()
    (root / name).write_text(text)
    assert load() is not first
    assert printed(load()) == wanted


def test_the_same_script_of_another_kind_is_another_program(load: Callable[..., Program]) -> None:
    assert load(kind="data") is not load(kind="rcptto")


def test_errors_are_not_kept(root: Path, load: Callable[..., Program]) -> None:
    (root / "names.hsl").write_text("nothing();")
    with pytest.raises(CompileError):
        load()
    (root / "names.hsl").write_text(FILES["names.hsl"])
    assert printed(load()) == "xx1\n"


@pytest.mark.parametrize("gone", ["names.hsl", "limits.json"])
def test_a_file_that_is_gone_is_an_error(root: Path, load: Callable[..., Program], gone: str) -> None:
    load()
    (root / gone).unlink()
    with pytest.raises(CompileError, match=gone):
        load()


def test_a_script_that_is_gone_is_an_error(root: Path, load: Callable[..., Program]) -> None:
    load()
    (root / "main.hsl").unlink()
    with pytest.raises(LoadError):
        load()


def test_the_one_used_longest_ago_is_dropped(
    root: Path, load: Callable[..., Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PROGRAMS", 2)
    one, two = load("names.hsl"), load("tools.hsl")
    assert load("names.hsl") is one
    load()
    assert load("names.hsl") is one
    assert load("tools.hsl") is not two
