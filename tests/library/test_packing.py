"""pack() and unpack(): tables of formats that fit and that do not, wrapping, round trips, limits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsl.errors import ScriptError
from hsl.library.packing import MAX_CODES, pack, unpack
from hsl.values import MAX_ITEMS, MAX_STRING, Array

PACKED: list[tuple[list[Any], bytes]] = [
    ([""], b""),
    (["a", "xyz"], b"x"),
    (["a*", "xyz"], b"xyz"),
    (["a5", "xyz"], b"xyz\0\0"),
    (["a0", "xyz"], b""),
    (["a32", b"\xff" * 40], b"\xff" * 32),
    (["a2", 123], b"12"),
    (["a*", True], b"true"),
    (["Z", "xyz"], b"\0"),
    (["Z0", "xyz"], b""),
    (["Z3", "xyz"], b"xy\0"),
    (["Z5", "xyz"], b"xyz\0\0"),
    (["Z*", "xyz"], b"xyz\0"),
    (["H", "ab"], b"\xa0"),
    (["H3", "abcdef"], b"\xab\xc0"),
    (["H*", "0aFf"], b"\x0a\xff"),
    (["H*", ""], b""),
    (["H0", "zz"], b""),
    (["C", 255], b"\xff"),
    (["C", True], b"\x01"),
    (["C", "7"], b"\x07"),
    (["C", "0x1f"], b"\x1f"),
    (["C*", 1, 2, 3], b"\1\2\3"),
    (["C*"], b""),
    (["C0"], b""),
    (["C2", 1, 2, 3], b"\1\2"),
    (["Z*C3", "ab", 1, 2, 3], b"ab\0\1\2\3"),
    (["nvNV", 258, 258, 16909060, 16909060], b"\1\2\2\1\1\2\3\4\4\3\2\1"),
    (["e", 1.5], b"\0\0\0\0\0\0\xf8\x3f"),
    (["E2", 1.5, "2"], b"\x3f\xf8\0\0\0\0\0\0\x40\0\0\0\0\0\0\0"),
    (["x3"], b"\0\0\0"),
    (["x0x"], b"\0"),
    (["x16"], b"\0" * 16),
    (["a0002", "xyz"], b"xy"),
]


@pytest.mark.parametrize(("arguments", "wanted"), PACKED)
def test_packed(call: Any, arguments: list[Any], wanted: bytes) -> None:
    assert call("pack", *arguments) == wanted


WRAPPED = [
    ("C", -1, b"\xff"),
    ("C", 300, b"\x2c"),
    ("C", 1.9, b"\1"),
    ("C", -1.9, b"\xff"),
    ("n", 65541, b"\0\5"),
    ("v", -2, b"\xfe\xff"),
    ("N", -1, b"\xff\xff\xff\xff"),
    ("N", 4294967299, b"\0\0\0\3"),
    ("V", 2**40 + 1, b"\1\0\0\0"),
    ("N", float("inf"), b"\0\0\0\0"),
    ("n", float("nan"), b"\0\0"),
]


@pytest.mark.parametrize(("letter", "number", "wanted"), WRAPPED)
def test_integers_wrap(call: Any, letter: str, number: float, wanted: bytes) -> None:
    assert call("pack", letter, number) == wanted


NOT_PACKED: list[list[Any]] = [
    ["q", 1], ["c", 1], ["C ", 1], [" C", 1], ["*"], ["3C", 1], ["C-1", 1], ["x*"], ["C**", 1], ["C*3", 1],
    [b"\xff", 1], ["C2", 1], ["n"], ["a"], ["CC", 1], ["C", None], ["C", []], ["a*", None], ["a*", []], ["e", None],
    ["H*", "xy"], ["H*", "a b"], ["H*", "\xe5"], ["H5", "abc"], ["C", len], ["C99999999999", 1],
]  # fmt: skip


@pytest.mark.parametrize("arguments", NOT_PACKED, ids=repr)
def test_what_does_not_fit_gives_none(call: Any, arguments: list[Any]) -> None:
    assert call("pack", *arguments) is None


UNPACKED: list[tuple[list[Any], list[Any]]] = [
    (["", "abc"], []),
    (["a", "abc"], [b"a"]),
    (["a2a", "abc"], [b"ab", b"c"]),
    (["a*", b"xy\0"], [b"xy\0"]),
    (["a*", ""], [b""]),
    (["a0", "abc"], [b""]),
    (["Z*", b"ab\0cd"], [b"ab"]),
    (["Z*", "ab"], [b"ab"]),
    (["Z*", ""], [b""]),
    (["Z*C3", b"ab\0\1\2\3"], [b"ab", 1, 2, 3]),
    (["Z*Z*C", b"a\0\0\7"], [b"a", b"", 7]),
    (["Z5C", b"ab\0cd\7"], [b"ab", 7]),
    (["Z2", "abc"], [b"ab"]),
    (["H", b"\xab"], [b"a"]),
    (["H3C", b"\xab\xcd\x01"], [b"abc", 1]),
    (["H*", b"\xab\xcd"], [b"abcd"]),
    (["H*", ""], [b""]),
    (["cC", b"\xff\xff"], [-1, 255]),
    (["c*", b"\x80\x7f"], [-128, 127]),
    (["nvNV", b"\1\2\2\1\1\2\3\4\4\3\2\1"], [258, 258, 16909060, 16909060]),
    (["N", b"\xff\xff\xff\xff"], [4294967295]),
    (["n*", "abcde"], [24930, 25444]),
    (["N*", ""], []),
    (["C0", ""], []),
    (["eE", b"\0\0\0\0\0\0\xf8\x3f\xbf\xf8\0\0\0\0\0\0"], [1.5, -1.5]),
    (["x2C", "abc"], [99]),
    (["CxC", "abc"], [97, 99]),
    (["n", "abc", 1], [25187]),
    (["a*", "abc", 3], [b""]),
    (["a*", "abc", 1.9], [b"bc"]),
]


@pytest.mark.parametrize(("arguments", "wanted"), UNPACKED)
def test_unpacked(call: Any, arguments: list[Any], wanted: list[Any]) -> None:
    assert call("unpack", *arguments) == wanted


NOT_UNPACKED: list[list[Any]] = [
    ["n", "a"], ["C3", "ab"], ["a5", "abc"], ["Z3", "ab"], ["H5", "ab"], ["x4", "abc"], ["x*", "abc"], ["q", "abc"],
    ["Cx/C", "abc"], ["C 2", "abc"], ["n", "abc", 2], ["a*", "abc", 4], ["a*", "abc", -1], ["e", "1234567"],
    ["C99999999999", "abc"], ["a9999999999", "abc"],
]  # fmt: skip


@pytest.mark.parametrize("arguments", NOT_UNPACKED, ids=repr)
def test_what_is_too_short_or_no_format_gives_none(call: Any, arguments: list[Any]) -> None:
    assert call("unpack", *arguments) is None


def test_there_is_no_negative_zero(call: Any) -> None:
    assert str(call("unpack", "E", b"\x80" + bytes(7))[0]) == "0.0"


WRONG_TYPES: list[tuple[list[Any], str]] = [
    (["pack", 1], "pack(): parameter 1 (format): wanted string, got number"),
    (["pack"], "pack() takes at least 1 argument, got 0"),
    (["unpack", "C"], "unpack() takes at least 2 arguments, got 1"),
    (["unpack", "C", []], "unpack(): parameter 2 (data): wanted string, got array"),
    (["unpack", "C", "x", "1"], "unpack(): parameter 3 (offset): wanted number, got string"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG_TYPES)
def test_wrong_arguments(call: Any, arguments: list[Any], message: str) -> None:
    with pytest.raises(ScriptError) as caught:
        call(*arguments)
    assert caught.value.message == message


# ------------------------------------------------------------ limits, at them and one past them


def test_the_longest_string(call: Any) -> None:
    assert len(call("pack", f"x{MAX_STRING}")) == MAX_STRING


@pytest.mark.parametrize(
    "arguments",
    [[f"x{MAX_STRING + 1}"], ["x9999999999"], ["a9999999999", "x"], ["Z9999999999", "x"], [f"x{MAX_STRING}C", 1]],
    ids=repr,
)
def test_strings_that_are_too_long(call: Any, arguments: list[Any]) -> None:
    with pytest.raises(ScriptError, match=f"string exceeds {MAX_STRING} bytes"):
        call("pack", *arguments)


def test_more_items_than_an_array_has(call: Any) -> None:
    assert len(call("unpack", "C*", bytes(MAX_ITEMS))) == MAX_ITEMS
    with pytest.raises(ScriptError, match=f"array exceeds {MAX_ITEMS} items"):
        call("unpack", "C*", bytes(MAX_ITEMS + 1))


def test_hex_of_a_string_that_is_too_long(call: Any) -> None:
    with pytest.raises(ScriptError, match="string exceeds"):
        call("unpack", "H*", bytes(MAX_STRING // 2 + 1))


@pytest.mark.parametrize(("name", "arguments"), [("pack", []), ("unpack", [bytes(MAX_CODES + 1)])])
def test_the_codes_of_a_format(call: Any, name: str, arguments: list[Any]) -> None:
    assert call(name, "x" * MAX_CODES, *arguments) is not None
    with pytest.raises(ScriptError) as caught:
        call(name, "x" * (MAX_CODES + 1), *arguments)
    assert caught.value.message == f"{name}(): parameter 1 (format): has more than {MAX_CODES} codes"


# ------------------------------------------------------------ round trips

FIELDS = st.one_of(
    st.tuples(st.just("C"), st.integers(0, 255).map(float)),
    st.tuples(st.sampled_from("nv"), st.integers(0, 65535).map(float)),
    st.tuples(st.sampled_from("NV"), st.integers(0, 2**32 - 1).map(float)),
    st.tuples(st.sampled_from("eE"), st.floats(allow_nan=False).map(lambda number: number + 0.0)),
    st.tuples(st.just("Z*"), st.binary(max_size=20).map(lambda text: text.replace(b"\0", b""))),
)


@given(st.lists(FIELDS, max_size=20), st.binary(max_size=10))
def test_what_is_packed_comes_out_again(fields: list[tuple[str, Any]], rest: bytes) -> None:
    format = "".join(letter for letter, _ in fields).encode() + b"a*"
    values = [*(value for _, value in fields), rest]
    data = pack(format, *values)
    assert data is not None
    found = unpack(format, b"??" + data, 2)
    assert isinstance(found, Array)
    assert found.items == values


@given(st.binary(max_size=12), st.binary(max_size=40), st.integers(-1, 41))
def test_any_format_is_read_or_refused(format: bytes, data: bytes, offset: int) -> None:
    found = unpack(format, data, offset)
    assert found is None or isinstance(found, Array)
    result = pack(format, data, float(offset))
    assert result is None or isinstance(result, bytes)
