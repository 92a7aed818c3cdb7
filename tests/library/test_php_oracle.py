"""PHP as an oracle for corners where the languages agree: one php process computes the whole table."""

from __future__ import annotations

import base64
import json
import math
import shutil
import subprocess
import zlib
from typing import Any

import pytest

INSTALL = "this test needs PHP: apt-get install --no-install-recommends php-cli"

# (our function, PHP's call with the arguments as $a[0], $a[1] …, rows of arguments)
TABLE: list[tuple[str, str, list[list[Any]]]] = [
    (
        "substr",
        "substr(...$a)",
        [[s, o, n] for s in ("abcdef", "", b"\x00\xff") for o in range(-8, 9, 2) for n in range(-8, 9, 2)],
    ),
    ("substr", "substr(...$a)", [[s, o] for s in ("abcdef", "") for o in range(-8, 9)]),
    (
        "strpos",
        "(($p = strpos(...$a)) === false ? -1 : $p)",
        [["abcabc", f, o] for f in ("a", "c", "ca", "x", "") for o in range(-6, 7)],
    ),
    (
        "strrpos",
        "(($p = strrpos($a[0], $a[1], -$a[2])) === false ? -1 : $p)",
        [["abcabc", f, o] for f in ("a", "c", "ca", "x") for o in range(1, 7)],
    ),
    (
        "str_replace",
        "str_replace(...$a)",
        [["a", "aa", "banana"], ["", "x", "abc"], ["aa", "a", "aaaa"], ["b", "", "b"]],
    ),
    ("str_repeat", "str_repeat(...$a)", [["ab", 0], ["ab", 3], ["", 5]]),
    ("explode", "explode(...$a)", [[",", "a,b,,c,"], ["ab", "abab"], [",", ""], ["\x00", b"\xff\x00\xfe"]]),
    ("implode", "implode(...$a)", [[",", ["a", "b"]], ["", []], ["--", ["x"]], [",", [1, 2.5, "", None]]]),
    ("strtolower", "strtolower(...$a)", [[b"ABC\xc5\xff"], ["åÄ Zz"]]),
    ("strtoupper", "strtoupper(...$a)", [[b"abc\xe5\xff"]]),
    ("trim", 'trim($a[0], " \\t\\r\\n")', [[" \t\r\na b\n"], [""], [" \n"], [b"\x00a"]]),
    ("chr", "chr(...$a)", [[0], [65], [255], [256], [-1]]),
    ("ord", "ord(...$a)", [["a"], [""], [b"\xff"]]),
    ("md5", "md5(...$a)", [[""], [b"\x00\xff"]]),
    ("sha1", "sha1(...$a)", [[""], [b"\x00\xff"]]),
    ("hmac_md5", 'hash_hmac("md5", $a[1], $a[0])', [["k" * 100, "m"], ["", ""]]),
    ("hmac_sha1", 'hash_hmac("sha1", $a[1], $a[0])', [["k" * 100, b"\xff"], ["", ""]]),
    ("base64_encode", "base64_encode(...$a)", [[""], ["a"], ["ab"], [b"\x00\xff\xfe\xfd"]]),
    ("base64_decode", "base64_decode(...$a)", [["YQ=="], ["YQ"], ["Y W\r\nI="], ["YWJjZ"], ["!"], ["YWI*"], ["AP/+"]]),
    (
        "round",
        "round(...$a)",
        [[x, d] for x in (1.005, 2.5, -2.5, 1234.5678, 0.285, 1.955, 5.055, -0.4, 1e15) for d in (-3, -1, 0, 1, 2, 3)],
    ),
    ("floor", "floor(...$a)", [[1.5], [-1.5], [-0.5], [1e20], [0]]),
    ("ceil", "ceil(...$a)", [[1.5], [-1.5], [-0.5], [1e20], [0]]),
    ("abs", "abs(...$a)", [[1.5], [-1.5], [0]]),
    ("sqrt", "sqrt(...$a)", [[2], [0], [-1]]),
    ("log", "log(...$a)", [[2], [0.5], [1000, 10], [8, 2], [10, 3], [0]]),
    ("pow", "pow(...$a)", [[2, 10], [2, -1], [2.5, 2.5], [-8, 3], [-8, 0.5], [0, 0], [10, 400]]),
    ("array_keys", "array_keys(...$a)", [[["a", "b"]], [{"k": 1, "j": 2}], [[]], [{"5": 1, "05": 2}]]),
    ("array_reverse", "array_reverse(...$a)", [[["a", "b"]], [{"k": 1, "j": 2}], [{5: "a", "k": "b", 7: "c"}]]),
    ("array_unique", "array_unique(...$a)", [[["a", "b", "a"]], [{"k": 1, "j": 1}]]),
    ("array_combine", "array_combine(...$a)", [[["a", 5], ["x", "y"]]]),
    ("in_array", "in_array(...$a)", [["a", ["b", "a"]], ["a", []], [1, [2, 1]], ["x", ["X"]]]),
    ("range", "range(...$a)", [[1, 5], [0, 10, 3], [5, 1, -2], [3, 3], [0, 1, 0.25]]),
    ("count", "count(...$a)", [[[1, 2]], [[]]]),
    ("json_encode", "json_encode(...$a)", [[["a", 1, 2.5, None, True]], [{"k": []}], ['å"\\\n\x01'], [{1: "a"}]]),
    ("json_decode", "json_decode($a[0], true)", [['{"a":[1,{"b":null}]}'], ["[1,]"], ["nope"], ["1e3"], ['"\\u00e5"']]),
    (
        "pcre_match",
        '(preg_match("/$a[0]/", $a[1], $m) ? $m : [])',
        [["(a)(b)?(c)?", "xab"], ["x", "a"], ["(?<n>a)b", "ab"]],
    ),
    (
        "pcre_match_all",
        '(preg_match_all("/$a[0]/", $a[1], $m) ? $m : [])',
        [["a*", "baac"], ["(a)|(b)", "abc"], ["(?<n>a)(b)?", "aba"], ["", "ab"], [r"(?=a)|a\b", "aa"]],
    ),
    (
        "pcre_replace",
        'preg_replace("/$a[0]/", $a[1], $a[2])',
        [["a*", "-", "baac"], ["(a)(b)?", "[$2$1$0]", "abac"], ["", "-", "ab"], [r"\b", "|", "a bc"]],
    ),
    (
        "pack",
        "@pack(...$a)",
        [
            [code + count, *values]
            for code, values in {
                "a": ["xyz"], "Z": ["xyz"], "H": ["a1b2"], "C": [1, 2, -3], "n": [1, 65537, -1],
                "N": [2**32 + 5, -2, 3.9], "v": [258, 1, 2], "V": [258, -1, 7], "e": [1.5, -2, 0.1], "E": [1e300, 0, 3],
            }.items()
            for count in ("", "0", "1", "2", "3", "*")
        ] + [["a5Z5x2Cn", "ab", "abcdefg", 7, 8], ["x"], ["x0"]],
    ),
    (
        "unpack",
        "(($u = @unpack(...$a)) === false ? null : array_values($u))",
        [
            [code + count, data]
            for code in "aHcCnNvVeE"
            for count in ("", "0", "2", "3", "*")
            for data in (b"", b"\xff", bytes(range(0xF8, 0x100)), bytes(range(1, 20)))
        ] + [["Z5", b"ab\x00cd"], ["Z2", "abc"], ["Z*", b"ab\x00cd"], ["Z*", "ab"], ["x2", "ab"], ["x3", "ab"],
             ["n", "abc", 1], ["n", "abc", 2], ["a*", "abc", 3]],
    ),
    ("str_lstrip", "ltrim(...$a)", [["xxay", "xy"], [b"\x00\xffa", b"\xff\x00"], ["", "a"]]),
    ("str_rstrip", "rtrim(...$a)", [["axyx", "xy"], ["a", ""], ["aaa", "a"]]),
    ("str_chunk", "($a[0] === '' ? [] : str_split(...$a))", [["abcdefg", 3], ["abc", 1], ["abc", 9], ["", 2]]),
    ("url_encode", "rawurlencode(...$a)", [[bytes(range(256))], [""], ["a b+ü"]]),
    ("url_decode", "rawurldecode(...$a)", [["%41%4a%4A+%"], ["%zz%4%%41"], [b"%ff\xff%00"], [""]]),
    (
        "url_parse",
        "array_filter(array_merge(array_fill_keys(['scheme', 'user', 'host', 'port'], null), ['path' => ''],"
        " array_fill_keys(['query', 'fragment'], null), parse_url(...$a)), fn($v) => $v !== null)",
        [["http://a"], ["https://u@a.b:81/c/d?e=f&g#h"], ["http://a?b"], ["http://a/#"], ["http://[::1]:8/"], ["x:y"]],
    ),
    (
        "csv_encode",
        '(function ($row) { $f = fopen("php://memory", "w+"); fputcsv($f, $row, ",", "\\"", ""); rewind($f);'
        ' return substr(stream_get_contents($f), 0, -1); })($a[0])',
        [[["Hello", "World", "Hello World"]], [['"', ",", "a\nb", "\r", "\t", "é", b"\xff"]], [["", ""]], [[1, 1.5]]],
    ),
    ("zlib_uncompress", "@gzuncompress(...$a) ?: null", [[zlib.compress(b"Hello")], ["Hello"], [""]]),
    ("pcre_quote", "preg_quote(...$a)", [[".\\+*?[^]$(){}=!<>|:-#/ abc\x00"]]),
]  # fmt: skip

PROGRAM = """
function unpacked($v) {
  if (!is_array($v)) return $v;
  if ($v["t"] == "s") return base64_decode($v["v"]);
  $r = [];
  foreach ($v["v"] as [$k, $x]) $r[unpacked($k)] = unpacked($x);
  return $r;
}
function packed($v) {
  if (is_string($v)) return ["t" => "s", "v" => base64_encode($v)];
  if (is_int($v) || is_float($v)) return ["t" => "n", "v" => is_finite($v) ? sprintf("%.17g", $v) : strval($v)];
  if (!is_array($v)) return $v;
  $r = [];
  foreach ($v as $k => $x) $r[] = [packed($k), packed($x)];
  return ["t" => "a", "v" => $r];
}
$out = [];
foreach (json_decode(stream_get_contents(STDIN), true) as [$code, $arguments]) {
  $a = array_map("unpacked", $arguments);
  $out[] = packed(eval("return $code;"));
}
echo json_encode($out);
"""


def packed(value: Any) -> Any:
    """A Python value as the program above reads it."""
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return {"t": "s", "v": base64.b64encode(value).decode()}
    if isinstance(value, list | dict):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {"t": "a", "v": [[packed(key), packed(item)] for key, item in pairs]}
    return value


def unpacked(value: Any) -> Any:
    """What the program above wrote: bytes, float, bool, None or dict."""
    if not isinstance(value, dict):
        return value
    if value["t"] == "s":
        return base64.b64decode(value["v"])
    if value["t"] == "n":
        return float(value["v"])
    return {unpacked(key): unpacked(item) for key, item in value["v"]}


def normal(value: Any) -> Any:
    """To compare: NaN as a word, no -0, a list as the dict that it is, dicts in order."""
    if isinstance(value, list):
        value = {float(index): item for index, item in enumerate(value)}
    if isinstance(value, dict):
        return [(key, normal(item)) for key, item in value.items()]
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value + 0.0
    return value


def test_php_says_the_same(call: Any) -> None:
    php = shutil.which("php")
    if php is None:
        pytest.fail(INSTALL)
    cases = [(name, code, row) for name, code, rows in TABLE for row in rows]
    request = json.dumps([[code, [packed(item) for item in row]] for _, code, row in cases])
    done = subprocess.run(
        [php, "-n", "-r", PROGRAM], input=request.encode(), capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answers = [unpacked(item) for item in json.loads(done.stdout)]
    differences = []
    for (name, _, row), wanted in zip(cases, answers, strict=True):
        got = call(name, *row)
        if repr(normal(got)) != repr(normal(wanted)):  # repr: 1 is not True
            differences.append(f"{name}({row}): {got!r}, PHP {wanted!r}")
    assert not differences, "\n".join(differences)
