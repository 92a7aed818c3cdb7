"""docs/stages.md is what the code says, and says all of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hsl.cli.stagepage import functions, stages_page
from hsl.runtime.stages import STAGES

PAGE = Path(__file__).parents[2] / "docs" / "stages.md"


def section(name: str) -> str:
    return PAGE.read_text().split(f"\n## {name}\n")[1].split("\n## ")[0]


def test_the_committed_page_is_current() -> None:
    assert PAGE.read_text() == stages_page(), "run tools/stages"


OVERVIEW = [  # the reference of 2019, and SMTP's codes
    ("connect", "accept", "220", "defer", "421 4.3.0"),
    ("helo", "accept", "250", "defer", "450 4.3.0"),
    ("auth", "reject", "535 5.7.8", "defer", "454 4.7.0"),
    ("mailfrom", "accept", "250 2.1.0", "defer", "450 4.3.0"),
    ("rcptto", "accept", "250 2.1.5", "defer", "450 4.3.0"),
    ("data", "deliver", "250 2.0.0", "defer", "421 4.3.0"),
    ("eod", "defer", "421 4.7.1", "defer", "421 4.3.0"),
    ("disconnect", "pass", "–", "pass", "–"),
    ("predelivery", "try", "–", "queue (`delay` 300, `increment_retry` false)", "–"),
    ("postdelivery", "default", "–", "default", "–"),
]


def test_what_a_stage_does_of_its_own_accord() -> None:
    rows = re.findall(r"^\| \[(\w+)\]\(#\w+\) \| .*? \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", PAGE.read_text(), re.M)
    assert rows == OVERVIEW


@pytest.mark.parametrize("stage", STAGES)
def test_a_stages_section_is_whole(stage: str) -> None:
    text = section(stage)
    for name in STAGES[stage].variables:
        assert f"| `${name}` |" in text
    for name in functions(stage):
        assert f"`{name}`" in text
    for verdict, answer in STAGES[stage].answers.items():
        assert f"| {verdict} | {answer.code}" in text


def test_keys_are_shown_below_their_variables() -> None:
    text = section("eod")
    assert '| `$connection["tls"]["cipher"]` | string | The cipher |' in text
    assert '| `$arguments["http"]` | array | not available: messages come by SMTP only |' in text
    assert "| `$context` | any, writable |" in text
    assert "`EODMailMessage`" in text
    assert "`Accept`" in text
