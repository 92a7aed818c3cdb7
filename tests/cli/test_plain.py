"""The short way of `hsl run FILE` does what the long one, by the command line's framework, does."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SHORT = "import sys; from hsl.cli.plain import main; sys.argv[0] = 'hsl'; main()"
LONG = "from hsl.cli.main import main; main(prog_name='hsl')"


def run(program: str, *arguments: str | Path) -> tuple[int, bytes, bytes]:
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, timeout=30)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (b'echo "h\xffllo"; echo [1, none];', 0, b""),
        (b"", 0, b""),
        (b"echo 1; nothing();", 1, b"nothing"),
        (b"echo 1; echo $missing;", 1, b"undeclared variable $missing"),
        (b"function f() { return f(); } echo f();", 1, b"recurs"),
        (b"echo (;", 1, b"unexpected"),
    ],
)
def test_scripts(tmp_path: Path, text: bytes, code: int, said: bytes) -> None:
    script = tmp_path / "one.hsl"
    script.write_bytes(text)
    short = run(SHORT, "run", script)
    assert short == run(LONG, "run", script)
    assert short[0] == code
    assert said in short[2]


def test_a_script_that_is_not_there(tmp_path: Path) -> None:
    short = run(SHORT, "run", tmp_path / "none.hsl")
    assert short == run(LONG, "run", tmp_path / "none.hsl")
    assert short[0] == 1
    assert short[2].startswith(b"Error: cannot read ")


@pytest.mark.parametrize("arguments", [[], ["--version"], ["run"], ["run", "--help"], ["check", "--nothing"]])
def test_everything_else_is_the_frameworks(arguments: list[str]) -> None:
    assert run(SHORT, *arguments) == run(LONG, *arguments)


def test_a_reader_that_went_away_ends_the_script_quietly(tmp_path: Path) -> None:
    script = tmp_path / "one.hsl"
    script.write_text('for ($i = 0; $i < 100000; $i += 1) { echo "line"; }')
    running = subprocess.Popen(
        [sys.executable, "-c", SHORT, "run", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert running.stdout is not None
    assert running.stdout.readline() == b"line\n"
    running.stdout.close()
    assert running.stderr is not None
    assert running.stderr.read() == b""
    assert running.wait(30) == 1
    running.stderr.close()


def test_an_interrupt_ends_the_script(tmp_path: Path) -> None:
    script = tmp_path / "one.hsl"
    script.write_text('echo "begun"; forever { $x = str_repeat("x", 50000); }')
    running = subprocess.Popen(
        [sys.executable, "-c", SHORT, "run", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert running.stdout is not None
    assert running.stdout.readline() == b"begun\n"
    time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    output, errors = running.communicate(timeout=30)
    assert (running.returncode, output, errors) == (1, b"", b"Aborted!\n")
