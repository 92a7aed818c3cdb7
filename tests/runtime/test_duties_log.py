"""The log's lines: time, escapes, limits; whatever a value holds, a line is one event and nobody else's."""

from __future__ import annotations

import json
import re

import pytest

from hsl.runtime.log import LEVELS, MAX_VALUE, Log, format_event, format_value

STAMPS = [
    (0.0, "1970-01-01T00:00:00.000Z"),
    (1.0005, "1970-01-01T00:00:01.000Z"),
    (1709251199.999, "2024-02-29T23:59:59.999Z"),
    (1709251199.9996, "2024-02-29T23:59:59.999Z"),
    (1709251200.0, "2024-03-01T00:00:00.000Z"),
]


@pytest.mark.parametrize(("now", "wanted"), STAMPS)
def test_the_time_is_rfc_3339_utc_with_milliseconds(now: float, wanted: str) -> None:
    assert format_event("info", "x", {}, now) == f"{wanted} info x"


VALUES = [
    ("plain-1.example", "plain-1.example"),
    (b"a@b.example", "a@b.example"),
    ("<>", "<>"),
    (250, "250"),
    (0.1234, "0.123"),
    ("two words", '"two words"'),
    ('"', r'"\""'),
    ("a\r\nb", r'"a\r\nb"'),
    ("\x1b[31m\x7f", r'"\u001b[31m\u007f"'),
    ("\x85\u2028\u00e5", r'"\u0085\u2028\u00e5"'),
    (b"\xff\n", r'"\\xff\n"'),
    ("\udcff", r'"\udcff"'),
]


@pytest.mark.parametrize(("value", "wanted"), VALUES)
def test_values_are_printable_ascii_on_one_line(value: object, wanted: str) -> None:
    assert format_value(value) == wanted
    assert all(" " <= char <= "~" for char in wanted)


def test_absent_values_leave_no_field() -> None:
    assert format_event("info", "x", {"a": None, "b": "", "c": b"", "d": 0, "e": False}, 0).endswith(" x d=0 e=False")


@pytest.mark.parametrize("text", ["x", "\x01", "\u2028"])
def test_a_value_at_the_limit_and_one_past(text: str) -> None:
    assert format_value(text * MAX_VALUE) in (text * MAX_VALUE, json.dumps(text * MAX_VALUE))
    assert format_value(text * (MAX_VALUE + 1)) == json.dumps(text * MAX_VALUE + " ... 1 more")


def test_no_value_ends_its_line_or_begins_another_field() -> None:
    lines: list[str] = []
    Log("debug", lines.append).info("event", one='x" two=forged\n2024-01-01T00:00:00.000Z error forged', three="y")
    assert re.fullmatch(r'\S+ info event one="(?:[^"\\]|\\.)*" three=y', lines[0])


@pytest.mark.parametrize("level", LEVELS)
def test_levels(level: str) -> None:
    lines: list[str] = []
    log = Log(level, lines.append)
    for name in LEVELS:
        log.event(name, "x")
    assert [line.split()[1] for line in lines] == list(LEVELS[LEVELS.index(level) :])
