"""A short run of the fuzzer, the same each time; `make fuzz` runs it for longer, with other random numbers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

FUZZER = Path(__file__).with_name("mutate_scripts.py")


BREAK_THE_PRINTER = """
import runpy, sys
import hsl.printer
hsl.printer.number = lambda value: "1"
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


def fuzz(keep: Path, *, runs: int, seeds: int, command: list[str]) -> subprocess.CompletedProcess[str]:
    options = ["--seed=1", f"--seeds={seeds}", f"--runs={runs}", "--seconds=100", f"--keep={keep}"]
    return subprocess.run([*command, *options], capture_output=True, text=True, errors="replace", timeout=300)


def test_mutated_scripts(tmp_path: Path) -> None:
    done = fuzz(tmp_path, runs=1_000, seeds=150, command=[sys.executable, str(FUZZER)])
    assert done.returncode == 0, f"{done.stdout[-10_000:]}\n{done.stderr[-3_000:]}"
    assert "Done 1000 runs" in done.stderr


def test_a_defect_is_found_and_shown(tmp_path: Path) -> None:
    """With a printer that takes every number for 1."""
    done = fuzz(tmp_path, runs=100, seeds=50, command=[sys.executable, "-c", BREAK_THE_PRINTER, str(FUZZER)])
    assert done.returncode != 0
    assert "this script breaks:" in done.stdout
    assert "AssertionError" in done.stdout + done.stderr
    (kept,) = tmp_path.glob("crash-*")
    assert re.search(rb"[02-9]", kept.read_bytes())
