"""What `import $x from "file"` reads: tables of good and bad files; arrays are born shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hsl.dataimport import import_data, read_data
from hsl.environment import LoadError
from hsl.library.encodings import MAX_JSON_ITEMS
from hsl.loader import MAX_DATA, FileLoader
from hsl.values import MAX_ITEMS, Array, Value

Options = dict[bytes, Value]


def plain(value: Value) -> Any:
    """Arrays as lists (numbered from 0) or dicts."""
    if not isinstance(value, Array):
        return value
    if value.items is not None:
        return [plain(item) for item in value.items]
    return {key: plain(item) for key, item in value.pairs()}


def array(options: Options) -> Array:
    return Array.from_pairs(options.items())


GOOD: list[tuple[str, bytes, Options, Any]] = [
    (".json", b'{"a": [1, "x", null, true, {"b": {}}]}', {}, {b"a": [1.0, b"x", None, True, {b"b": []}]}),
    (".json", b"null", {}, None),
    (".json", b"\xef\xbb\xbf 1.5 \n", {}, 1.5),
    (".json", b"// one\n[ /* two\n // */ 1, // three\n 2]/**/", {}, [1.0, 2.0]),
    (".json", b'["// no comment", "/* nor */"]', {}, [b"// no comment", b"/* nor */"]),
    (".csv", b"name,age\nBo,7\n", {}, [{b"name": b"Bo", b"age": b"7"}]),
    (".csv", b"a;b\n1;2", {b"delimiter": b";"}, [{b"a": b"1", b"b": b"2"}]),
    (".csv", b"1,2\n", {b"header": False}, [[b"1", b"2"]]),
    (
        ".csv",
        b"n\n7",
        {b"schema": array({b"n": array({b"type": b"number"})})},
        [{b"n": 7.0}],
    ),
    (".csv", b"", {}, []),
    (".txt", b"one\r\ntwo\xff\n", {}, b"one\r\ntwo\xff\n"),
    (".txt", b"", {}, b""),
    (".txt", b"one\ntwo\n", {b"array": False}, b"one\ntwo\n"),
    (".txt", b"one\r\ntwo\n\nthree\r\r\n", {b"array": True}, [b"one", b"two", b"", b"three\r"]),
    (".txt", b"one\ntwo", {b"array": True}, [b"one", b"two"]),
    (".txt", b"\n", {b"array": True}, [b""]),
    (".txt", b"", {b"array": True}, []),
]

BAD: list[tuple[str, bytes, Options, str]] = [
    (".json", b"", {}, "f:1:1: expecting value"),
    (".json", b'{\n  "a": 1,\n  b: 2\n}', {}, "f:3:3: expecting property name enclosed in double quotes"),
    (".json", b"[1,\n /* x\n */ 2 3]", {}, "f:3:7: expecting ',' delimiter"),
    (".json", b"[1] // end\n[2]", {}, "f:2:1: extra data"),
    (".json", b'["a\nb"]', {}, "f:1:4: invalid control character"),
    (".json", b'["a', {}, "f:1:2: unterminated string starting"),
    (".json", b"[1, /* end", {}, "f:1:5: a comment has no end"),
    (".json", b'["\xc3\xa5", "\xff"]', {}, "f:1:8: the text is not UTF-8"),
    (".json", b'["NaN", // NaN\n NaN]', {}, "f:2:2: NaN is no number of JSON"),
    (".json", b'{"a": -Infinity}', {}, "f:1:7: -Infinity is no number of JSON"),
    (".json", b"[1,\n1e999]", {}, "f:2:1: 1e999 is no number of JSON"),
    (".json", b'["ok", "\\ud800"]', {}, "f:1:8: a surrogate is alone"),
    (".json", b"[" * 501 + b"]" * 501, {}, "f:1:501: nested more than 500 deep"),
    (".json", b"[" + b"1," * MAX_JSON_ITEMS + b"1]", {}, f"f: JSON exceeds {MAX_JSON_ITEMS} items"),
    (".json", b"1", {b"allow_comments": True}, 'f: there is no option "allow_comments"'),
    (".csv", b'a\n1\n"2\n3', {}, "f:3: a quoted field has no end"),
    (".csv", b'a\n"1"x', {}, "f:2: ',' expected after '\"'"),
    (".csv", b'a,b\n"x\ny",1\n\n1,2,3', {}, "f:5: a row of 3, below a header of 2"),
    (
        ".csv",
        b"n,m\n1,2\n3,x",
        {b"schema": array({b"m": array({b"type": b"number"})})},
        'f:3: column "m": "x" is no number',
    ),
    (
        ".csv",
        b"1,2\n1,maybe",
        {b"header": False, b"schema": array({1.0: array({b"type": b"boolean", b"true": Array([b"2"])})})},
        'f:2: column 1: "maybe" is neither true nor false',
    ),
    (".csv", b"a", {b"delimeter": b";"}, 'f: there is no option "delimeter"; did you mean delimiter?'),
    (".csv", b"a", {b"delimiter": b";;"}, "f: import(): option delimiter: wanted one character"),
    (".csv", b"a", {b"header": b"no"}, "f: import(): option header: wanted boolean, got string"),
    (
        ".csv",
        b"a",
        {b"schema": array({b"a": array({b"typ": b"number"})})},
        'f: there is no option of "a" in the schema: "typ"; did you mean type?',
    ),
    (
        ".csv",
        b"a",
        {b"schema": array({b"a": array({b"type": b"numbr"})})},
        "f: import(): option schema: \"a\": there is no type 'numbr'; did you mean number?",
    ),
    (".txt", b"a", {b"arrays": True}, 'f: there is no option "arrays"; did you mean array?'),
    (".txt", b"a", {b"array": b"yes"}, "f: import(): option array: wanted boolean, got string"),
    (".txt", b"\n" * MAX_ITEMS, {b"array": True}, f"f: array exceeds {MAX_ITEMS} items"),
]


@pytest.mark.parametrize(("extension", "data", "options", "wanted"), GOOD)
def test_good(extension: str, data: bytes, options: Options, wanted: Any) -> None:
    got = plain(read_data("f", data, extension, array(options)))
    assert got == wanted
    assert repr(got) == repr(wanted)


def label(value: object) -> str | None:
    return value[:40].decode("latin-1") if isinstance(value, bytes) else None


@pytest.mark.parametrize(("extension", "data", "options", "message"), BAD, ids=label)
def test_bad(extension: str, data: bytes, options: Options, message: str) -> None:
    with pytest.raises(LoadError) as caught:
        read_data("f", data, extension, array(options))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("extension", "data", "options"),
    [
        (".json", b'{"a": [[1], {"b": []}]}', {}),
        (".csv", b"a,1\n1,2\n3,4", {}),
        (".txt", b"a\nb", {b"array": True}),
    ],
)
def test_all_arrays_are_born_shared(extension: str, data: bytes, options: Options) -> None:
    pending = [read_data("f", data, extension, array(options))]
    arrays = 0
    for value in pending:
        if isinstance(value, Array):
            assert value.shared
            arrays += 1
            pending += value.values()
    assert arrays == {".json": 5, ".csv": 3, ".txt": 1}[extension]


def test_files(tmp_path: Path) -> None:
    (tmp_path / "Config.JSON").write_bytes(b"[1]")
    (tmp_path / "lines.txt").write_bytes(b"a\nb\n")
    loader = FileLoader(tmp_path)
    assert plain(import_data(loader, "file:Config.JSON", None)) == [1.0]
    assert plain(import_data(loader, "lines.txt", array({b"array": True}))) == [b"a", b"b"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("lines.text", "lines.text: data files are .json, .csv, .txt; did you mean .txt?"),
        ("lines.xyz", "lines.xyz: data files are .json, .csv, .txt"),
        ("lines", "lines is no data file; variables of a module: import { $name } from …"),
        ("lines.hsl", "lines.hsl is no data file"),
        ("line.txt", "cannot read line.txt: No such file or directory; did you mean lines.txt?"),
        ("../lines.txt", "../lines.txt is outside the script root"),
        ("extras://lines.txt", "extras://lines.txt is no file: only modules are imported by scheme"),
        ("big.txt", f"big.txt is larger than {MAX_DATA} bytes"),
        ("folder/bad.json", "folder/bad.json:1:1: expecting value"),
    ],
)
def test_bad_files(tmp_path: Path, path: str, message: str) -> None:
    (tmp_path / "lines.txt").write_bytes(b"a\nb\n")
    (tmp_path / "big.txt").write_bytes(b"x" * (MAX_DATA + 1))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/bad.json").write_bytes(b"")
    with pytest.raises(LoadError) as caught:
        import_data(FileLoader(tmp_path), path, None)
    assert str(caught.value).startswith(message)


def test_the_largest_file(tmp_path: Path) -> None:
    (tmp_path / "big.txt").write_bytes(b"x" * MAX_DATA)
    assert import_data(FileLoader(tmp_path), "big.txt", None) == b"x" * MAX_DATA
