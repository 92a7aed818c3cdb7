"""What scripts reach on the commands: files below the root, C functions only with --ffi."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from hsl.cli.plain import run_file

Invoke = Callable[..., Result]

FFI = 'echo FFI::number(FFI("libc.so.6")->func("abs", [FFI::type("sint32")], FFI::type("sint32"))(-5));'


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A script that reads the file beside it."""
    (tmp_path / "words.txt").write_text("hello")
    path = tmp_path / "script.hsl"
    path.write_text('echo File::read("words.txt");')
    return path


def test_files_beside_the_script(script: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_file(script) == 0
    assert capfd.readouterr().out == "hello\n"


@pytest.mark.parametrize("waits", ["", "sleep(0);"])
def test_files_of_the_root(invoke: Invoke, script: Path, tmp_path: Path, waits: str) -> None:
    script.write_text(waits + script.read_text())
    other = tmp_path / "other"
    other.mkdir()
    (other / "words.txt").write_text("elsewhere")
    assert invoke("run", script).stdout == "hello\n"
    assert invoke("run", "--root", other, script).stdout == "elsewhere\n"


@pytest.mark.parametrize("command", [("run", "--stage", "connect"), ("repl",), ("repl", "--stage", "connect")])
def test_files_on_a_stage(invoke: Invoke, script: Path, tmp_path: Path, command: tuple[str, ...]) -> None:
    if command[0] == "repl":
        done = invoke(*command, "--root", tmp_path, stdin=script.read_text())
    else:
        done = invoke(*command, script)
    assert "hello" in done.stdout


@pytest.mark.parametrize("stage", [(), ("--stage", "connect")])
def test_c_functions_only_where_they_are_allowed(invoke: Invoke, script: Path, stage: tuple[str, ...]) -> None:
    script.write_text(FFI)
    assert "scripting.ffi: true" in invoke("run", *stage, script).stderr
    assert invoke("run", *stage, "--ffi", script).stdout.startswith("5\n")
