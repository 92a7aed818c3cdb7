"""Encodings: RFC vectors, tables of good and bad inputs, round trips, long and hostile inputs."""

from __future__ import annotations

import gzip
import json
import zlib
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from snippets import load

from hsl.errors import ScriptError
from hsl.library import core_registry
from hsl.library.iconv import MAX_TEXT, Iconv
from hsl.library.yamltext import MAX_DEPTH, MAX_VALUES
from hsl.run import Run
from hsl.values import MAX_STRING, Array

LONG = 10_000_000
EVERY_BYTE = bytes(range(256))


def builtin(name: str) -> Any:
    """The Python function behind a builtin, for the round trips."""
    found = core_registry().entries[name].builtin
    return partial(found.implementation, Run(load(""))) if found.takes_run else found.implementation


# ------------------------------------------------------------ RFC 4648, section 10

VECTORS = [
    (b"", b"", b""),
    (b"f", b"Zg==", b"MY======"),
    (b"fo", b"Zm8=", b"MZXQ===="),
    (b"foo", b"Zm9v", b"MZXW6==="),
    (b"foob", b"Zm9vYg==", b"MZXW6YQ="),
    (b"fooba", b"Zm9vYmE=", b"MZXW6YTB"),
    (b"foobar", b"Zm9vYmFy", b"MZXW6YTBOI======"),
]


@pytest.mark.parametrize(("text", "base64", "base32"), VECTORS)
def test_rfc_4648(call: Any, text: bytes, base64: bytes, base32: bytes) -> None:
    assert call("base64_encode", text) == base64
    assert call("base64_decode", base64) == text
    assert call("base64url_encode", text) == base64.rstrip(b"=")
    assert call("base64url_decode", base64) == text
    assert call("base32_encode", text) == base32
    assert call("base32_decode", base32) == text


PAIRS = [
    ("base64_encode", "base64_decode"),
    ("base64url_encode", "base64url_decode"),
    ("base32_encode", "base32_decode"),
    ("url_encode", "url_decode"),
    ("xtext_encode", "xtext_decode"),
    ("zlib_compress", "zlib_uncompress"),
]


@pytest.mark.parametrize(("encode", "decode"), PAIRS)
@given(st.binary(max_size=200))
@settings(max_examples=50)
def test_bytes_come_back(encode: str, decode: str, text: bytes) -> None:
    assert builtin(decode)(builtin(encode)(text)) == text


@pytest.mark.parametrize(("encode", "decode"), PAIRS)
def test_ten_megabytes_come_back(call: Any, encode: str, decode: str) -> None:
    text = EVERY_BYTE * (LONG // len(EVERY_BYTE))
    assert call(decode, call(encode, text)) == text


@given(st.binary(max_size=60))
def test_any_bytes_are_decoded(text: bytes) -> None:
    for name in ("base64_decode", "base64url_decode", "base32_decode", "url_decode", "xtext_decode", "mimeword_decode"):
        assert isinstance(builtin(name)(text), bytes)


@pytest.mark.parametrize(
    ("name", "size"),
    [("base64_encode", 50), ("base64url_encode", 50), ("base32_encode", 42), ("url_encode", 23), ("xtext_encode", 23)],
)
def test_what_would_be_too_long_is_refused_before_it_is_made(call: Any, name: str, size: int) -> None:
    with pytest.raises(ScriptError, match=f"string exceeds {MAX_STRING} bytes"):
        call(name, b"\xff" * (size * 1024 * 1024))


# ------------------------------------------------------------ URLs, xtext

TEXTS = [
    ("url_encode", "", b""),
    ("url_encode", "AZaz09-._~", b"AZaz09-._~"),
    ("url_encode", " +%/?&=#", b"%20%2B%25%2F%3F%26%3D%23"),
    ("url_encode", b"\x00\xffz", b"%00%FFz"),
    ("url_encode", "é", b"%C3%A9"),
    ("url_decode", "a%20b+c", b"a b+c"),
    ("url_decode", "%c3%A9%00", "é\0".encode()),
    ("url_decode", "%", b"%"),
    ("url_decode", "%4", b"%4"),
    ("url_decode", "%zz%41%%42", b"%zzA%B"),
    ("url_decode", b"\xff", b"\xff"),
    ("xtext_encode", "a+b=c d", b"a+2Bb+3Dc+20d"),
    ("xtext_encode", b"\x00\x7f\xff~!", b"+00+7F+FF~!"),
    ("xtext_decode", "a+2Bb+3Dc", b"a+b=c"),
    ("xtext_decode", "+2b+00", b"+\0"),
    ("xtext_decode", "+", b"+"),
    ("xtext_decode", "+4", b"+4"),
    ("xtext_decode", "+g1++41", b"+g1+A"),
    ("xtext_decode", b"+\xff1+0 1", b"+\xff1+0 1"),
]


@pytest.mark.parametrize(("name", "text", "wanted"), TEXTS)
def test_texts(call: Any, name: str, text: str | bytes, wanted: bytes) -> None:
    assert call(name, text) == wanted


URLS: list[tuple[str | bytes, dict[str, Any]]] = [
    ("http://example.com", {"scheme": "http", "host": "example.com", "path": ""}),
    ("HTTPS://Example.COM:443/A?b=c#d",
     {"scheme": "https", "host": "example.com", "port": 443, "path": "/A", "query": "b=c", "fragment": "d"}),
    ("ftp://user:pass:word@host/",
     {"scheme": "ftp", "user": "user", "password": "pass:word", "host": "host", "path": "/"}),
    ("http://user@host", {"scheme": "http", "user": "user", "host": "host", "path": ""}),
    ("http://host:/", {"scheme": "http", "host": "host", "path": "/"}),
    ("http://[2001:DB8::1]:8080/", {"scheme": "http", "host": "[2001:db8::1]", "port": 8080, "path": "/"}),
    ("http://h?a?b/c", {"scheme": "http", "host": "h", "path": "", "query": "a?b/c"}),
    ("http://h/#a#b?c", {"scheme": "http", "host": "h", "path": "/", "fragment": "a#b?c"}),
    ("http://h/?#", {"scheme": "http", "host": "h", "path": "/", "query": "", "fragment": ""}),
    ("http://h//a/../b%2f", {"scheme": "http", "host": "h", "path": "//a/../b%2f"}),
    ("mailto:a@example.com?subject=x", {"scheme": "mailto", "path": "a@example.com", "query": "subject=x"}),
    ("urn:a:b", {"scheme": "urn", "path": "a:b"}),
    ("file:///etc/passwd", {"scheme": "file", "host": "", "path": "/etc/passwd"}),
    (b"http://\xff.example/\xff", {"scheme": "http", "host": b"\xff.example", "path": b"/\xff"}),
]  # fmt: skip


@pytest.mark.parametrize(("url", "wanted"), URLS)
def test_url_parse(call: Any, url: str | bytes, wanted: dict[str, Any]) -> None:
    assert call("url_parse", url) == {key.encode(): encoded(value) for key, value in wanted.items()}


def encoded(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


NOT_URLS = [
    "", "/a", "//host/a", "example.com", "1http://host", ":", "http:// host", "http://h/a b", "http://h\n", "http://h\\a",
    "http://h:65536", "http://h:1234567", "http://h:x", "http://a@b@c", "http://[::1", "http://[::g]/", "http://::1/",
    "http://", "http:///a", "http://user@", "http://h/\0", "http://h/\x7f", "ht tp://h",
]  # fmt: skip


@pytest.mark.parametrize("url", NOT_URLS)
def test_what_is_no_url(call: Any, url: str) -> None:
    assert call("url_parse", url) is None


@pytest.mark.parametrize(
    ("url", "scheme", "host"),
    [
        ("example.com/a", b"https", b"example.com"),
        ("example.com:8080/a", b"https", b"example.com"),
        ("//example.com", b"https", b"example.com"),
        ("ftp://example.com", b"ftp", b"example.com"),
    ],
)
def test_a_url_without_its_scheme(call: Any, url: str, scheme: bytes, host: bytes) -> None:
    found = call("url_parse", url, {"default_scheme": "https"})
    assert (found[b"scheme"], found[b"host"]) == (scheme, host)


def test_a_default_scheme_that_is_none(call: Any) -> None:
    with pytest.raises(ScriptError) as caught:
        call("url_parse", "a", {"default_scheme": "a b"})
    assert caught.value.message == 'url_parse(): option default_scheme: wanted a scheme, got "a b"'


# ------------------------------------------------------------ RFC 2047

# The table of section 8, as one header value holds it.
RFC_2047 = [
    ("=?ISO-8859-1?Q?a?=", "a"),
    ("=?ISO-8859-1?Q?a?= b", "a b"),
    ("=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
    ("=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=", "ab"),
    ("=?ISO-8859-1?Q?a?=\r\n  =?ISO-8859-1?Q?b?=", "ab"),
    ("=?ISO-8859-1?Q?a_b?=", "a b"),
    ("=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"),
    ("=?US-ASCII?Q?Keith_Moore?= <moore@cs.utk.edu>", "Keith Moore <moore@cs.utk.edu>"),
    ("=?ISO-8859-1?Q?Patrik_F=E4ltstr=F6m?= <paf@nada.kth.se>", "Patrik Fältström <paf@nada.kth.se>"),
    ("=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=\r\n =?ISO-8859-2?B?dSB1bmRlcnN0YW5kIHRoZSBleGFtcGxlLg==?=",
     "If you can read this you understand the example."),
    ("=?utf-8*de?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
    ("=?utf-8?B?w6k?=", "é"),
    ("=?no-such-charset?Q?a?= b", "=?no-such-charset?Q?a?= b"),
    ("=?utf-8?X?a?=", "=?utf-8?X?a?="),
    ("=?utf-8?Q?a", "=?utf-8?Q?a"),
    ("=?utf-8?Q?=FF?=", "\ufffd"),
    ("=?utf-8?Q?=C3?= =?utf-8?Q?=A9?=", "é"),
    ("plain", "plain"),
    ("", ""),
]  # fmt: skip


@pytest.mark.parametrize(("value", "wanted"), RFC_2047)
def test_mimeword_decode(call: Any, value: str, wanted: str) -> None:
    assert call("mimeword_decode", value) == wanted.encode()


MIMEWORDS = [
    ("", b""),
    ("plain text", b"plain text"),
    ("é", b"=?utf-8?B?w6k=?="),
    ("a é ü b", b"a =?utf-8?B?w6kgw7w=?= b"),
    (b"\xe9", b"=?utf-8?B?w6k=?="),
]


@pytest.mark.parametrize(("text", "wanted"), MIMEWORDS)
def test_mimeword_encode(call: Any, text: str | bytes, wanted: bytes) -> None:
    assert call("mimeword_encode", text) == wanted


@given(st.text(st.characters(exclude_characters="=", exclude_categories=["Cs"]), max_size=100))
def test_words_come_back(text: str) -> None:
    header = builtin("mimeword_encode")(text.encode())
    assert header.isascii()
    assert builtin("mimeword_decode")(header) == text.encode()


def test_every_encoded_word_has_at_most_75_characters(call: Any) -> None:
    words = call("mimeword_encode", "ü" * 10_000).split(b" ")
    assert max(map(len, words)) <= 75


@pytest.mark.parametrize("piece", [b"=?", b"=?utf-8?Q?", b"=?a?q?b?", b"\xff", b"\0 "])
def test_ten_megabytes_of_words(call: Any, piece: bytes) -> None:
    assert len(call("mimeword_decode", piece * (LONG // len(piece)))) >= LONG // len(piece)


def test_mimeword_encode_has_a_limit(call: Any) -> None:
    assert call("mimeword_encode", b"a" * (MAX_STRING // 4)) == b"a" * (MAX_STRING // 4)
    with pytest.raises(ScriptError, match="string exceeds"):
        call("mimeword_encode", b"\xe9" * (MAX_STRING // 4 + 1))


# ------------------------------------------------------------ compression


@pytest.mark.parametrize("level", [-1, 0, 1, 9])
@pytest.mark.parametrize("bits", [9, 15, 25, 31, -9, -15])
def test_every_level_and_window(call: Any, level: int, bits: int) -> None:
    packed = call("zlib_compress", EVERY_BYTE * 100, level, bits)
    assert call("zlib_uncompress", packed, bits) == EVERY_BYTE * 100


def test_other_implementations_read_and_write_it(call: Any) -> None:
    assert zlib.decompress(call("zlib_compress", "Hello")) == b"Hello"
    assert gzip.decompress(call("zlib_compress", "Hello", 9, 31)) == b"Hello"
    assert call("zlib_uncompress", gzip.compress(b"Hello"), 31) == b"Hello"
    assert call("zlib_uncompress", gzip.compress(b"Hello"), 47) == b"Hello"
    assert call("zlib_uncompress", zlib.compress(b"Hello"), 47) == b"Hello"
    assert call("zlib_uncompress", zlib.compress(b"Hello") + b"more") == b"Hello"


NOT_COMPRESSED = [
    (b"", 15), (b"Hello", 15), (zlib.compress(b"Hello")[:-1], 15), (zlib.compress(b"Hello")[:-5] + b"\0" * 5, 15),
    (zlib.compress(b"Hello"), 31), (gzip.compress(b"Hello"), 15), (b"\x78\x9c" + b"\xff" * 100, 15), (b"\0" * LONG, 15),
]  # fmt: skip


@pytest.mark.parametrize(("data", "bits"), NOT_COMPRESSED, ids=range(len(NOT_COMPRESSED)))
def test_what_is_damaged_gives_none(call: Any, data: bytes, bits: int) -> None:
    assert call("zlib_uncompress", data, bits) is None


WRONG_LEVELS = [
    (["zlib_compress", "", 10], "zlib_compress(): parameter 2 (compression): wanted -1 to 9, got 10"),
    (["zlib_compress", "", 6, 16],
     "zlib_compress(): parameter 3 (windowbits): wanted 9 to 15, 25 to 31 or -15 to -9, got 16"),
    (["zlib_uncompress", "", 16],
     "zlib_uncompress(): parameter 2 (windowbits): wanted 8 to 15, 24 to 31, -15 to -8, 40 to 47 or 0, got 16"),
    (["zlib_uncompress", 1], "zlib_uncompress(): parameter 1 (string): wanted string, got number"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), WRONG_LEVELS)
def test_wrong_levels_and_windows(call: Any, arguments: list[Any], message: str) -> None:
    with pytest.raises(ScriptError) as caught:
        call(*arguments)
    assert caught.value.message == message


def bomb(blocks: int) -> bytes:
    """`blocks` MiB of NUL, compressed piece by piece: what it unpacks to is nowhere in memory."""
    packer = zlib.compressobj(9)
    pieces = [packer.compress(bytes(1 << 20)) for _ in range(blocks)]
    return b"".join([*pieces, packer.flush()])


def test_a_bomb_is_stopped(call: Any) -> None:
    assert len(call("zlib_uncompress", bomb(64))) == MAX_STRING
    with pytest.raises(ScriptError, match=f"string exceeds {MAX_STRING} bytes"):
        call("zlib_uncompress", bomb(65))


def test_a_bomb_of_ten_gigabytes_is_stopped(call: Any) -> None:
    whole = zlib.compressobj(9, wbits=-15)
    block = whole.compress(bytes(1 << 20)) + whole.flush(zlib.Z_FULL_FLUSH)  # a piece that can be repeated
    with pytest.raises(ScriptError, match=f"string exceeds {MAX_STRING} bytes"):
        call("zlib_uncompress", block * 10_240, -15)


# ------------------------------------------------------------ CSV, written

ROWS: list[tuple[list[Any] | dict[str, Any], dict[str, Any], bytes]] = [
    ([], {}, b""),
    (["Hello", "World", "Hello World"], {}, b'Hello,World,"Hello World"'),
    (["a", "", "b"], {}, b"a,,b"),
    ([""], {}, b'""'),
    (["", ""], {}, b","),
    (['say "x"'], {}, b'"say ""x"""'),
    (["a,b", "a;b"], {}, b'"a,b",a;b'),
    (["a,b", "a;b"], {"delimiter": ";"}, b'a,b;"a;b"'),
    (["a\nb", "a\rb", "a\tb"], {}, b'"a\nb","a\rb","a\tb"'),
    ([1, 1.5, True, False, None], {}, b"1,1.5,true,false,"),
    ({"k": "v", "l": "w"}, {}, b"v,w"),
    ([b"\x00\xff"], {}, b"\x00\xff"),
    ([b"\xef\xbb\xbfa"], {}, b'"\xef\xbb\xbfa"'),
    (["a§b", "c"], {"delimiter": "§"}, '"a§b"§c'.encode()),
]


@pytest.mark.parametrize(("values", "options", "wanted"), ROWS)
def test_csv_encode(call: Any, values: Any, options: dict[str, Any], wanted: bytes) -> None:
    assert call("csv_encode", values, options) == wanted


WRONG_ROWS: list[tuple[list[Any], str]] = [
    ([[["a"]]], "csv_encode(): parameter 1 (values): wanted strings, got array"),
    (["a"], "csv_encode(): parameter 1 (values): wanted array, got string"),
    ([["a"], {"delimiter": ""}], "csv_encode(): option delimiter: wanted one character, no quote or line end"),
    ([["a"], {"delimiter": '"'}], "csv_encode(): option delimiter: wanted one character, no quote or line end"),
    ([["a"], {"delimiter": 1}], "csv_encode(): option delimiter: wanted string, got number"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG_ROWS)
def test_wrong_rows(call: Any, arguments: list[Any], message: str) -> None:
    with pytest.raises(ScriptError) as caught:
        call("csv_encode", *arguments)
    assert caught.value.message == message


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), min_size=1, max_size=6), st.sampled_from(",;\t|§"))
def test_rows_come_back(fields: list[str], delimiter: str) -> None:
    given_options, read_options = builtin_options("csv_encode"), builtin_options("csv_decode")
    row = builtin("csv_encode")(
        Array.of(field.encode() for field in fields), given_options(delimiter=delimiter.encode())
    )
    found = builtin("csv_decode")(row, read_options(delimiter=delimiter.encode(), header=False))
    assert [[*line.values()] for line in found.values()] == [[field.encode() for field in fields]]


def builtin_options(name: str) -> Any:
    return core_registry().entries[name].builtin.parameters[-1].options


def test_ten_megabytes_of_quotes(call: Any) -> None:
    assert len(call("csv_encode", ['"' * LONG])) == 2 * LONG + 2
    with pytest.raises(ScriptError, match="string exceeds"):
        call("csv_encode", ['"' * (MAX_STRING // 2)])


# ------------------------------------------------------------ JSON

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON_VALUES, st.booleans(), st.booleans())
@settings(max_examples=60)
def test_json_is_what_others_read(value: Any, ascii_only: bool, pretty: bool) -> None:
    options = builtin_options("json_encode")(ensure_ascii=ascii_only, pretty_print=pretty)
    decoded = builtin("json_decode")(json.dumps(value).encode(), builtin_options("json_decode")())
    text = builtin("json_encode")(decoded, options)
    assert text.isascii() or not ascii_only
    again = builtin("json_decode")(text, builtin_options("json_decode")())
    assert builtin("json_encode")(again, options) == text
    if not isinstance(value, dict | list):
        assert json.loads(text, parse_int=float) == value


@pytest.mark.parametrize("text", ["[1] /* one", "[1] / 1", '{"a": 1} // \xff', "/**/ [1]", "[1 // ]"])
def test_comments_are_no_json_unless_allowed(call: Any, text: str) -> None:
    assert call("json_decode", text) is None


def test_ten_megabytes_of_json(call: Any) -> None:
    assert call("json_decode", call("json_encode", "é" * (LONG // 2), {"ensure_ascii": False})) == "é".encode() * (
        LONG // 2
    )
    assert call("json_decode", b'"' + b"\\" * LONG) is None
    assert call("json_decode", b"/*" * (LONG // 2), {"allow_comments": True}) is None


# ------------------------------------------------------------ YAML

YAML: list[tuple[str | bytes, Any]] = [
    ("", None),
    ("# nothing", None),
    ("a", b"a"),
    ("'1'", b"1"),
    ('"\\u00e9\\n"', "é\n".encode()),
    ("é", "é".encode()),
    ("- 1\n- 0x10\n- 0o17\n- -1.5e3\n- +7\n- .5\n- 010\n- 1_000", [1.0, 16.0, 15.0, -1500.0, 7.0, 0.5, 10.0, b"1_000"]),
    ("[true, False, TRUE, no, yes, on, off, y]", [True, False, True, b"no", b"yes", b"on", b"off", b"y"]),
    ("[null, ~, Null, , x]", None),
    ("[null, ~, Null, '']", [None, None, None, b""]),
    ("[.inf, -.INF]", [float("inf"), float("-inf")]),
    ("[2024-01-01, 1:30, 12e, 1.2.3, '~', inf]", [b"2024-01-01", b"1:30", b"12e", b"1.2.3", b"~", b"inf"]),
    ("a: 1\nb: {c: [d]}\n", {b"a": 1.0, b"b": {b"c": [b"d"]}}),
    ("1: a\nfalse: b\n~: c\n", {1.0: b"a", 0.0: b"b", None: b"c"}),
    ("0: a\n1: b", [b"a", b"b"]),
    ("a: &x [1, 2]\nb: *x", {b"a": [1.0, 2.0], b"b": [1.0, 2.0]}),
    ("[&a 1, *a, &a 2, *a]", [1.0, 1.0, 2.0, 2.0]),
    ("<<: {a: 1}\nb: 2", {b"<<": {b"a": 1.0}, b"b": 2.0}),
    ("a: |\n  x\n  y\nb: >\n  x\n  y\n", {b"a": b"x\ny\n", b"b": b"x y\n"}),
    ("!!str 1", b"1"),
    ("! 1", b"1"),
    ("!!int '7'", 7.0),
    ("!!float 7", 7.0),
    ("!!bool 'true'", True),
    ("!!null ''", None),
    ("!!binary AP8=", b"\x00\xff"),
    ("!!seq [a]", [b"a"]),
    ("!!map {a: b}", {b"a": b"b"}),
    ("%YAML 1.2\n---\na\n...\n", b"a"),
    (b"\xef\xbb\xbfa: b", {b"a": b"b"}),
    ("- %TAG x", None),
    ("a: '%TAG x'", {b"a": b"%TAG x"}),
    ("9007199254740993", 9007199254740992.0),
]


@pytest.mark.parametrize(("text", "wanted"), YAML)
def test_yaml_decode(call: Any, text: str | bytes, wanted: Any) -> None:
    assert call("yaml_decode", text) == wanted


def test_yaml_has_nan(call: Any) -> None:
    number = call("yaml_decode", ".nan")
    assert number != number


NOT_YAML: list[str | bytes] = [
    "1: a\ntrue: b",
    "[", "a: b: c", "{a", "'", '"\\x"', "*a", "&a [*a]", "&a {b: *a}", "a: 1\na: 2", "{a: 1, 'a': 2}", "1: a\n'1': b",
    "[a]: b", "? {a: b}\n: c", "---\na\n---\nb", "!x a", "!!python/object:os.system x", "!!set {a}", "!!int x",
    "!!bool yes", "!!null x", "!!seq a", "!!map [a]", "!!binary '*'", "%TAG ! tag:x,2000:\n---\na", "\r%TAG ! x\n--- a",
    "1e999", "0x" + "f" * 256, "0o" + "7" * 500, "9" * 400, b"\xff", b"a: \xc3", b"\xff\xfea\0", "a\x00", "\x07",
    "\t- a",
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_YAML)
def test_what_is_no_yaml_gives_none(call: Any, text: str | bytes) -> None:
    assert call("yaml_decode", text) is None


def test_laughs_are_counted(call: Any) -> None:
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 7))]
    assert len(call("yaml_decode", "\n".join(lines[:6]))) == 6
    assert call("yaml_decode", "\n".join(lines)) is None


def test_the_values_of_a_text(call: Any) -> None:
    assert len(call("yaml_decode", b"[" + b"1," * (MAX_VALUES - 1) + b"]")) == MAX_VALUES - 1
    assert call("yaml_decode", b"[" + b"1," * MAX_VALUES + b"]") is None


def test_yaml_nesting_at_its_limit(call: Any) -> None:
    assert call("yaml_decode", "[" * MAX_DEPTH + "]" * MAX_DEPTH) is not None
    assert call("yaml_decode", "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)) is None


def test_aliases_nest_as_what_they_stand_for(call: Any) -> None:
    def text(depth: int) -> str:
        return f"- &a {'[' * 300}{']' * 300}\n- {'[' * depth}*a{']' * depth}"

    assert call("yaml_decode", text(199)) is not None
    assert call("yaml_decode", text(200)) is None


@pytest.mark.parametrize(
    "piece", [b"[", b"- ", b"{", b"? ", b"&a ", b"a: ", b"'a\n", b"\n", b" ", b"#\n", b"%TAG !a! x\n", b"\xff"]
)
def test_ten_megabytes_of_yaml(call: Any, piece: bytes) -> None:
    assert call("yaml_decode", piece * (LONG // len(piece))) is None


def test_an_alias_is_a_value_of_its_own(make_run: Any) -> None:
    value = core_registry().entries["yaml_decode"].builtin.call(make_run(), [b"[&a [1], *a]"], "yaml_decode")
    assert all(item.shared for item in value.items)


@given(JSON_VALUES)
@settings(max_examples=60)
def test_json_is_yaml(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=True).encode()
    if b"\\ud8" in text or b"\\ud9" in text or b"\\uda" in text or b"\\udb" in text:
        return  # YAML has no pairs of surrogates
    wanted = builtin("json_decode")(text, builtin_options("json_decode")())
    found = builtin("yaml_decode")(text, builtin_options("yaml_decode")())
    assert found == wanted


# ------------------------------------------------------------ Iconv

CONVERTED: list[tuple[str, str, bytes, bytes | None, int]] = [
    ("UTF-8", "ISO-8859-1", "é".encode(), b"\xe9", 0),
    ("iso-8859-1", "utf-8", b"\xe9\x00", "é\0".encode(), 0),
    ("UTF-8", "UTF-16LE", b"a\xc3\xa9", b"a\0\xe9\0", 0),
    ("UTF-16BE", "UTF-8", b"\0a\0\xe9", "aé".encode(), 0),
    ("KOI8-R", "UTF-8", b"\xcd\xc9\xd2", "мир".encode(), 0),
    ("ISO-2022-JP", "UTF-8", b"\x1b$B$3\x1b(B", "こ".encode(), 0),
    ("GB18030", "UTF-8", b"\xc4\xe3", "你".encode(), 0),
    ("UTF-8", "ASCII", b"", b"", 0),
    ("UTF-8", "ASCII", "é".encode(), None, 84),
    ("UTF-8", "ASCII", b"a\xffb", None, 84),
    ("UTF-8", "ASCII", b"a\xc3", None, 22),
    ("UTF-16LE", "UTF-8", b"a", None, 22),
    ("EUC-JP", "UTF-8", b"\xa4", None, 22),
    ("UTF-8", "no-such-charset", b"a", None, 22),
    ("no-such-charset", "UTF-8", b"a", None, 22),
    ("unicode_escape", "UTF-8", b"\\x41", None, 22),
    ("rot13", "UTF-8", b"a", None, 22),
    ("UTF-8", "idna", b"a", None, 22),
    ("\udcff", "UTF-8", b"a", None, 22),
    ("UTF-8", "ASCII//TRANSLIT", "é ß – € ☃ ﬁ".encode(), b"e ss - EUR ? fi", 0),
    ("UTF-8", "ASCII//IGNORE", "é ß ☃a".encode(), b"  a", 0),
    ("UTF-8", "ASCII//TRANSLIT//IGNORE", "wörld☃".encode(), b"world", 0),
    ("UTF-8", "ascii//ignore", b"a\xffb\xc3", b"ab", 0),
    ("UTF-8//IGNORE", "ASCII", b"a\xffb", b"ab", 0),
    ("UTF-8", "ISO-8859-1//TRANSLIT", "ñ ń".encode(), b"\xf1 n", 0),
    ("UTF-8", "ASCII//TRANSLIT", b"a\xff", None, 84),
]


@pytest.mark.parametrize(("source", "target", "text", "wanted", "errno"), CONVERTED)
def test_iconv(source: str, target: str, text: bytes, wanted: bytes | None, errno: int) -> None:
    iconv = Iconv(source.encode("utf-8", "surrogateescape"), target.encode())
    assert iconv.convert(text) == wanted
    assert iconv.errno() == errno


def test_the_last_errno_stays() -> None:
    iconv = Iconv(b"UTF-8", b"ASCII")
    assert iconv.convert(b"\xff") is None
    assert iconv.convert(b"a") == b"a"
    assert iconv.errno() == 84


def test_a_closed_converter() -> None:
    iconv = Iconv(b"UTF-8", b"ASCII")
    iconv.close()
    iconv.close()
    with pytest.raises(ScriptError, match=r"Iconv->convert\(\): it is closed"):
        iconv.convert(b"a")


def test_the_longest_text_of_a_conversion() -> None:
    iconv = Iconv(b"UTF-8", b"ASCII//TRANSLIT")
    assert iconv.convert("é".encode() * (LONG // 2)) == b"e" * (LONG // 2)
    assert iconv.convert(bytes(MAX_TEXT)) == bytes(MAX_TEXT)
    with pytest.raises(ScriptError, match=f"longer than {MAX_TEXT} bytes"):
        iconv.convert(bytes(MAX_TEXT + 1))


@given(
    st.text(st.characters(codec="utf-8"), max_size=50), st.sampled_from([b"UTF-16", b"UTF-32BE", b"GB18030", b"UTF-7"])
)
def test_characters_come_back(text: str, charset: bytes) -> None:
    there = Iconv(b"UTF-8", charset).convert(text.encode())
    assert there is not None
    assert Iconv(charset, b"UTF-8").convert(there) == text.encode()


@given(st.binary(max_size=50), st.sampled_from([b"UTF-7", b"ISO-2022-KR", b"HZ", b"BIG5-HKSCS", b"UTF-16", b"CP037"]))
def test_any_bytes_are_converted_or_refused(text: bytes, charset: bytes) -> None:
    for flags in (b"", b"//IGNORE", b"//TRANSLIT"):
        result = Iconv(charset, b"ASCII" + flags).convert(text)
        assert result is None or result.isascii()
