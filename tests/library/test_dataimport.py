"""What `import $x from "file"` reads: tables of good and bad files; arrays are born shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from pki import Holder, ec_key, ed25519_key, key_der, key_pem, rsa_key

from hsl.compiler import Environment, compile_script
from hsl.dataimport import import_data, read_data
from hsl.environment import LoadError
from hsl.library import core_registry
from hsl.library.certificates import X509Resource
from hsl.library.encodings import MAX_JSON_ITEMS
from hsl.library.keys import PrivateKey
from hsl.loader import MAX_DATA, FileLoader
from hsl.run import Run
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
        ("lines.text", "lines.text: data files are .json, .csv, .txt, .crt, .key; did you mean .txt?"),
        ("lines.xyz", "lines.xyz: data files are .json, .csv, .txt, .crt, .key"),
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


# --- certificates and keys

RESOURCE: Options = {b"resource": True}
HOLDER = Holder("client.example", rsa_key())


@pytest.mark.parametrize("data", [HOLDER.pem, b"text before\n" + HOLDER.pem, HOLDER.both, HOLDER.der])
def test_certificates(data: bytes) -> None:
    assert read_data("f", data, ".crt", None) == data
    found = read_data("f", data, ".crt", array(RESOURCE))
    assert isinstance(found, X509Resource)
    assert found.der == HOLDER.der


@pytest.mark.parametrize(
    ("key", "kind"),
    [(rsa_key(), "RSAPrivateKey"), (ec_key(), "ECPrivateKey"), (ed25519_key(), "ED25519PrivateKey")],
)
def test_private_keys(key: Any, kind: str) -> None:
    for data in (key_pem(key), key_der(key)):
        assert read_data("f", data, ".key", None) == data
        found = read_data("f", data, ".key", array(RESOURCE))
        assert isinstance(found, PrivateKey)
        assert found.kind == kind


LOCKED = rsa_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
BAD_PEM: list[tuple[str, bytes, Options, str]] = [
    (".crt", b"", RESOURCE, "f: import(): the certificate cannot be read"),
    (".crt", HOLDER.der[:-9], RESOURCE, "f: import(): the certificate cannot be read"),
    (".crt", HOLDER.pem * 2, RESOURCE, "f: wanted one certificate, found 2; without the option resource it is text"),
    (".crt", HOLDER.key_pem, RESOURCE, "f: wanted one certificate, found 0"),
    (".key", b"", RESOURCE, "f: wanted a private key"),
    (".key", HOLDER.pem, RESOURCE, "f: wanted a private key"),
    (".key", LOCKED, RESOURCE, "f: wanted a private key (RSA, EC or Ed25519) without a password"),
    (".key", b"", {b"ressource": True}, 'f: there is no option "ressource"; did you mean resource?'),
    (".crt", b"", {b"resource": b"yes"}, "f: import(): option resource: wanted boolean, got string"),
]


@pytest.mark.parametrize(("extension", "data", "options", "message"), BAD_PEM)
def test_bad_certificates_and_keys(extension: str, data: bytes, options: Options, message: str) -> None:
    with pytest.raises(LoadError) as caught:
        read_data("f", data, extension, array(options))
    assert str(caught.value).startswith(message)


def test_a_script_signs_with_imported_files(tmp_path: Path) -> None:
    (tmp_path / "mail.crt").write_bytes(HOLDER.pem)
    (tmp_path / "mail.key").write_bytes(HOLDER.key_pem)
    (tmp_path / "main.hsl").write_text(
        'import $certificate from "mail.crt" with ["resource" => true];\n'
        'import $key from "mail.key" with ["resource" => true];\n'
        'import $text from "mail.key";\n'
        "echo X509($certificate)->subject()[0][1];\n"
        'echo is_string(MIME()->addHeader("From", "a@b.example")->signDKIM("s", "example.com", $key)->toString());\n'
        'echo rsa_sign("data", $key) == rsa_sign("data", $text);\n'
    )
    loader = FileLoader(tmp_path)
    lines: list[bytes] = []
    program = compile_script(loader.load("main.hsl"), Environment(core_registry(), loader=loader))
    Run(program, output=lines.append).execute()
    assert lines == [b"client.example\n", b"true\n", b"true\n"]
