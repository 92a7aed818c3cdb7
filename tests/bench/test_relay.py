"""The bench beside Postfix: a small run of it relays everything and prints a row for each server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_small_run_prints_its_tables() -> None:
    command = [sys.executable, "bench/relay/bench.py", "--rounds", "1", "--messages", "40", "--only", "postfix", "one"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^(Postfix|ours, one worker) +(\d+) +(\d+) +([\d.]+) +(\d+) +([\d.]+)", done.stdout, re.M)
    assert [row[0] for row in rows] == ["Postfix", "ours, one worker"] * 2
    assert all(float(number) > 0 for row in rows for number in (row[1], row[2], row[4], row[5]))
    assert [row[5] for row in rows if row[0] == "Postfix"] == ["1.00", "1.00"]
