"""The one door for reply text: what a script or a peer wrote ends no line, starts no reply, and does not overflow."""

from __future__ import annotations

import pytest

from hsl.runtime.reply import MAX_LINES, MAX_TEXT, Enhanced, reply

TEXTS = [
    ("plain", ["250 2.0.0 plain"]),
    ("", ["250 2.0.0"]),
    ("two\nlines", ["250-2.0.0 two", "250 2.0.0 lines"]),
    ("a\r\n550 no", ["250-2.0.0 a", "250 2.0.0 550 no"]),
    ("a\rb", ["250-2.0.0 a", "250 2.0.0 b"]),
    ("a\0b\x1b[31mc\x7f\x85d", ["250 2.0.0 ab[31mcd"]),
    ("caf\u00e9 \udcff", ["250 2.0.0 caf?"]),
    (["one", "two\nthree"], ["250-2.0.0 one", "250-2.0.0 two", "250 2.0.0 three"]),
    ([], ["250 2.0.0"]),
]


@pytest.mark.parametrize(("text", "wanted"), TEXTS)
def test_text_stays_within_its_reply(text: str | list[str], wanted: list[str]) -> None:
    assert reply(250, text, (2, 0, 0)).render().decode().split("\r\n") == [*wanted, ""]


@pytest.mark.parametrize("char", ["x", "\u00e9", "\u20ac", "\U0001f600"])
@pytest.mark.parametrize("utf8", [False, True])
@pytest.mark.parametrize("length", [MAX_TEXT, MAX_TEXT + 1, 10_000])
def test_no_line_is_over_512_octets(char: str, utf8: bool, length: int) -> None:
    for line in reply(550, char * length, (5, 999, 999)).render(utf8=utf8).splitlines(keepends=True):
        assert len(line) <= 512
        line.decode()


def test_lines_at_the_limit_and_one_past() -> None:
    assert reply(250, ["x"] * MAX_LINES).render().count(b"\r\n") == MAX_LINES
    assert reply(250, ["x"] * (MAX_LINES + 1)).render().count(b"\r\n") == MAX_LINES


@pytest.mark.parametrize(
    ("code", "enhanced"), [(199, None), (600, None), (0, None), (250, (5, 0, 0)), (550, (4, 0, 0))]
)
def test_codes_that_are_none(code: int, enhanced: Enhanced | None) -> None:
    with pytest.raises(ValueError, match="code"):
        reply(code, "x", enhanced)
