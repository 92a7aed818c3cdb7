"""csv_decode(): tables of good and bad texts, options and schemas."""

from __future__ import annotations

from typing import Any

import pytest

from hsl.errors import ScriptError
from hsl.library.csvtext import MAX_FIELDS

TYPED = {"n": {"type": "number"}, "b": {"type": "boolean"}}
YESNO = {"b": {"type": "boolean", "true": ["yes", "1"], "false": ["no", ""]}}

GOOD: list[tuple[str | bytes, dict[str, Any], Any]] = [
    ("", {}, []),
    ("\n\r\n", {}, []),
    ("a,b", {}, []),
    ("a,b\n1,2", {}, [{b"a": b"1", b"b": b"2"}]),
    ("a,b\r\n1,2\r\n3,4\r\n", {}, [{b"a": b"1", b"b": b"2"}, {b"a": b"3", b"b": b"4"}]),
    ("a,b\n\n1,2\n\n", {}, [{b"a": b"1", b"b": b"2"}]),
    ("a,b\n1,\n,\n", {}, [{b"a": b"1", b"b": b""}, {b"a": b"", b"b": b""}]),
    ('a\n""\n', {}, [{b"a": b""}]),
    ("a\n x \n", {}, [{b"a": b" x "}]),
    ('"a ""b""",c\n"1,2","x\r\ny"\n', {}, [{b'a "b"': b"1,2", b"c": b"x\r\ny"}]),
    ('a\n5" disk\n', {}, [{b"a": b'5" disk'}]),
    (b"\xef\xbb\xbfa\n1\n", {}, [{b"a": b"1"}]),
    (b"a\n\xff\x00\xc3\xa5\xc2\x85\n", {}, [{b"a": b"\xff\x00\xc3\xa5\xc2\x85"}]),
    ("7,x\n1,2", {}, [{7.0: b"1", b"x": b"2"}]),
    ("0,1\na,b", {}, [[b"a", b"b"]]),
    ("a,a\n1,2", {}, [{b"a": b"2"}]),
    # options
    ("a;b\n1,5;2", {"delimiter": ";"}, [{b"a": b"1,5", b"b": b"2"}]),
    ("a\tb\n1\t2", {"delimiter": "\t"}, [{b"a": b"1", b"b": b"2"}]),
    ("a§b\n1§2", {"delimiter": "§"}, [{b"a": b"1", b"b": b"2"}]),
    (b"a\xffb\n1\xff2", {"delimiter": b"\xff"}, [{b"a": b"1", b"b": b"2"}]),
    (b"a\x00b\n1\x002", {"delimiter": b"\x00"}, [{b"a": b"1", b"b": b"2"}]),
    ("a,b\n1\n", {"header": False}, [[b"a", b"b"], [b"1"]]),
    ("", {"header": False}, []),
    ("a\n1", {"unknown": 1}, [{b"a": b"1"}]),
    # schema
    ("n,b,s\n1,true,x\n-0x1F,false,y", {"schema": TYPED},
     [{b"n": 1.0, b"b": True, b"s": b"x"}, {b"n": -31.0, b"b": False, b"s": b"y"}]),
    ("n\n1.50\n2e3\n", {"schema": TYPED}, [{b"n": 1.5}, {b"n": 2000.0}]),
    ("b\nyes\n1\nno\n\"\"", {"schema": YESNO}, [{b"b": True}, {b"b": True}, {b"b": False}, {b"b": False}]),
    ("enabled\nyes\nno", {"schema": {"enabled": {"type": "boolean", "true": ["yes"], "false": ["no"]}}},
     [{b"enabled": True}, {b"enabled": False}]),
    ("n,m\n1,\n,2", {"schema": {"n": {"type": "number", "nullable": True}, "m": {"nullable": True}}},
     [{b"n": 1.0, b"m": None}, {b"n": None, b"m": b"2"}]),
    ("n\nNULL\n\"\"\n7", {"schema": {"n": {"type": "number", "nullable": ["NULL", ""]}}},
     [{b"n": None}, {b"n": None}, {b"n": 7.0}]),
    ("s\nNULL\n\"\"", {"schema": {"s": {"nullable": ["NULL"]}}}, [{b"s": None}, {b"s": b""}]),
    ("b\ntrue", {"schema": {"b": {"type": "boolean", "nullable": ["true"]}}}, [{b"b": None}]),
    ("1,2", {"header": False, "schema": {1: {"type": "number"}}}, [[b"1", 2.0]]),
    ("7,x\n1,2", {"schema": {"7": {"type": "number"}}}, [{7.0: 1.0, b"x": b"2"}]),
    ("a\n1", {"schema": {"other": {"type": "number"}}}, [{b"a": b"1"}]),
    ("a\n1", {"schema": {"a": {"typ": "number"}}}, [{b"a": b"1"}]),
    ("a\n1", {"schema": {"a": {}}}, [{b"a": b"1"}]),
]  # fmt: skip

NOT_CSV: list[tuple[str, dict[str, Any]]] = [
    ('a\n"1', {}),
    ('a\n"1"x', {}),
    ('"a', {}),
    ("a,b\n1", {}),
    ("a,b\n1,2,3", {}),
    ("a\n" + "x" * 200_000, {}),
    ("n\nx", {"schema": TYPED}),
    ('n\n""', {"schema": TYPED}),
    ("n\n1 2", {"schema": TYPED}),
    ("n\n1e999", {"schema": TYPED}),
    ("n\nnan", {"schema": TYPED}),
    ("b\nTrue", {"schema": TYPED}),
    ("b\n1", {"schema": TYPED}),
    ("b\ntrue", {"schema": YESNO}),
    ("x", {"header": False, "schema": {0: {"type": "number"}}}),
]

BAD: list[tuple[dict[str, Any], str]] = [
    ({"delimiter": ""}, "option delimiter: wanted one character"),
    ({"delimiter": "ab"}, "option delimiter: wanted one character"),
    ({"delimiter": '"'}, "option delimiter: wanted one character"),
    ({"delimiter": "\n"}, "option delimiter: wanted one character"),
    ({"delimiter": 1}, "option delimiter: wanted string, got number"),
    ({"header": "no"}, "option header: wanted boolean, got string"),
    ({"schema": "a"}, "option schema: wanted array or none, got string"),
    ({"schema": {"a": "number"}}, 'option schema: "a": wanted array, got string'),
    ({"schema": {"a": {"type": "int"}}}, "option schema: \"a\": there is no type 'int'"),
    ({"schema": {"a": {"type": 1}}}, "option type: wanted string, got number"),
    ({"schema": {"a": {"nullable": "NULL"}}}, "option nullable: wanted array or boolean, got string"),
    ({"schema": {"a": {"true": "yes"}}}, "option true: wanted array or none, got string"),
]


@pytest.mark.parametrize(("text", "options", "wanted"), GOOD)
def test_good(call: Any, text: str | bytes, options: dict[str, Any], wanted: Any) -> None:
    got = call("csv_decode", text, options)
    assert got == wanted
    assert repr(got) == repr(wanted)  # the same types, in the same order


@pytest.mark.parametrize(("text", "options"), NOT_CSV)
def test_not_csv_is_none(call: Any, text: str, options: dict[str, Any]) -> None:
    assert call("csv_decode", text, options) is None


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_options(call: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ScriptError) as caught:
        call("csv_decode", "a\n1", options)
    assert message in caught.value.message
    assert caught.value.message.startswith("csv_decode(): ")


def test_without_options(call: Any) -> None:
    assert call("csv_decode", "a\n1") == [{b"a": b"1"}]


def test_the_number_of_fields_is_limited(call: Any) -> None:
    assert len(call("csv_decode", "\n" * (MAX_FIELDS - 1) + "a,b", {"header": False})) == 1
    with pytest.raises(ScriptError, match=f"CSV exceeds {MAX_FIELDS} fields"):
        call("csv_decode", "\n" * MAX_FIELDS + "a,b", {"header": False})
