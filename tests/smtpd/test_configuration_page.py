"""docs/configuration.md is what the models say, and every key of smtpd.yaml says what it means."""

from __future__ import annotations

from pathlib import Path

import configuration

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


def test_the_page_is_what_the_models_say() -> None:
    assert PAGE.read_text() == configuration.page(), "run tools/configuration"


def test_every_key_says_what_it_means() -> None:
    assert configuration.unexplained() == []


def test_defaults_stand_in_an_administrator_s_units() -> None:
    rows = [line for line in configuration.page().splitlines() if line.startswith("| `")]
    assert any(row.startswith("| `size` | size | `50MiB`") for row in rows)
    assert any(row.startswith("| `idle` | time | `5m`") for row in rows)
