"""README.md is true: its scripts print what it shows, and so does the REPL."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
FILES = dict(re.findall(r"`(\w+\.hsl)`:\n\n```\n(.*?)^```$", README, re.DOTALL | re.MULTILINE))
RUNS = [block for block in BLOCKS if block.startswith("$ hsl run")]

Invoke = Callable[..., Result]


def test_the_examples_are_there() -> None:
    assert list(FILES) == ["hello.hsl", "count.hsl", "mail.hsl"]
    assert len(RUNS) == 4


@pytest.mark.parametrize("block", RUNS)
def test_a_script_prints_what_is_shown(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: str
) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    command, shown = block.split("\n", 1)
    _, _, *words = shlex.split(command)
    monkeypatch.chdir(tmp_path if words[-1] in FILES else ROOT)
    done = invoke(*words)
    assert (done.exit_code, done.stdout, done.stderr) == (0, shown, "")


def test_the_repl_answers_what_is_shown(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = [block for block in BLOCKS if block.startswith("$ hsl repl")]
    command, *lines = block.splitlines()
    inputs = [line.removeprefix("data> ") for line in lines if line.startswith("data> ")]
    answers = [line for line in lines if not line.startswith("data> ")]
    monkeypatch.chdir(ROOT)
    _, _, *words = shlex.split(command)
    done = invoke(*words, stdin="\n".join(inputs) + "\n")
    assert (done.exit_code, done.stdout.splitlines()) == (0, answers)


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)]+)\)", README))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()
