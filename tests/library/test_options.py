"""Every option that the references of 2015, 2019 and early 2020 name is declared, with the default that they give."""

from __future__ import annotations

import json
from typing import Any

import catalogue
import pytest

# Function, or `stage: function`, to its options; their defaults where these are booleans or numbers, else null.
OPTIONS: dict[str, dict[str, bool | float | None]] = json.loads((catalogue.DATA / "options-older.json").read_text())

OURS = {  # our defaults where they are others than the references': safer ones, and faster ones
    ("http", "tls_verify_host"): True,
    ("predelivery: Try", "pooling"): True,
}


def declared_options(place: str) -> dict[str, dict[str, Any]]:
    """The options of all parameters of a function, as it is on its stage."""
    stage, _, name = place.rpartition(": ")
    forms = [one for one in catalogue.declarations()[name] if not stage or stage in (one.get("stages") or [stage])]
    assert len(forms) >= 1, f"{name} is not there"
    return {option["name"]: option for parameter in forms[0]["parameters"] or [] for option in parameter["options"]}


@pytest.mark.parametrize("place", OPTIONS)
def test_options_of_the_references(place: str) -> None:
    wanted, ours = OPTIONS[place], declared_options(place)
    assert set(wanted) <= set(ours)
    for name, default in wanted.items():
        if default is not None:
            want = OURS.get((place, name), default)
            shown = str(want).lower() if isinstance(want, bool) else f"{want:g}"
            assert ours[name]["default"] in {shown, None}, name


def test_the_table_is_whole() -> None:
    assert sum(map(len, OPTIONS.values())) > 300
    assert declared_options("http")["tls_verify_host"]["default"] == "true"
    assert "tls_verify_host" in (catalogue.DATA.parents[1] / "docs" / "differences.md").read_text()
