"""The regular expressions' adapter: encapsulation, groups, replacement, UTF-8, limits."""

from __future__ import annotations

from typing import Any

import pytest

from hsl.errors import BudgetError, ScriptError
from hsl.regex import MAX_PATTERN, SLOW_SUBJECT, compile_pattern
from hsl.values import MAX_STRING, Array, Function, Value

MATCHES: list[tuple[bytes, bytes, bool]] = [
    (rb"halon", b"a halon b", True),
    (rb"^halon$", b"a halon b", False),
    (rb"HALON", b"halon", False),
    (rb"/HALON/i", b"halon", True),
    (rb"/^b/", b"a\nb", False),
    (rb"/^b/m", b"a\nb", True),
    (rb"/a.b/", b"a\nb", False),
    (rb"/a.b/s", b"a\nb", True),
    (rb"/a b # c/x", b"ab", True),
    (rb"/a/b/i", b"xA/Bx", True),  # the last slash ends it
    (rb"/a/b", b"/a/b", True),  # b is no modifier: a bare pattern
    (rb"/a/", b"a", True),
    (rb"/a", b"/a", True),
    (rb"/", b"/", True),
    (rb"//", b"", True),
    (rb"//i", b"x", True),
    (rb"/\d/iX", b"1", True),
    (rb"/^..$/", "å".encode(), True),
    (rb"/^.$/u", "å".encode(), True),
    ("/Å/iu".encode(), "å".encode(), True),
    (rb"/^.+$/u", b"a\xffb", False),  # bytes that are not UTF-8 match nothing
    (rb"/spam/u", b"\xff spam \xff", True),  # and do not hide the rest
    (rb"\x{41}\x42\e\Qa.b\E", b"AB\x1ba.b", True),
    (rb"\x00\xff", b"\x00\xff", True),
    (b"\x00", b"a\x00b", True),
    (rb"(?<q>['\"]).*?\k<q>", b"'a'", True),
    (rb"^(?<n>\((?:[^()]|(?&n))*\))$", b"(a(b)c)", True),
    (rb"(?<=a)b(?!c)", b"abd", True),
    (rb"\bword\b", b"a word.", True),
    (rb"\w", b"\xe5", False),
    (rb"", b"", True),
]

WHOLE: list[tuple[bytes, bytes, object]] = [
    (rb"b", b"abc", [b"b"]),
    (rb"(b)(c)", b"abc", [b"bc", b"b", b"c"]),
    (rb"(x)?(b)(y)?", b"abc", [b"b", b"", b"b"]),
    (rb"(?<first>a)(b)", b"ab", {0: b"ab", b"first": b"a", 1: b"a", 2: b"b"}),
    (rb"(\x00)", b"\xff\x00", [b"\x00", b"\x00"]),
    (rb"x", b"abc", []),
]

ALL: list[tuple[bytes, bytes, object]] = [
    (rb"\d", b"a1b2", [[b"1", b"2"]]),
    (rb"a*", b"baac", [[b"", b"aa", b"", b""]]),
    (rb"(?<k>\w)=(\w)?", b"a=1 b=", {0: [b"a=1", b"b="], b"k": [b"a", b"b"], 1: [b"a", b"b"], 2: [b"1", b""]}),
    (rb"/(?=(.))/u", "åb".encode(), [[b"", b""], ["å".encode(), b"b"]]),
    (rb"x", b"abc", []),
]

REPLACED: list[tuple[bytes, bytes, bytes, int, bytes]] = [
    (rb"\d", b"($0)", b"foo1bar2baz", 0, b"foo(1)bar(2)baz"),
    (rb"\d", b"", b"1a2b3", 2, b"ab3"),
    (rb"\d", b"x", b"1a2", -1, b"xax"),
    (rb"(a)(b)?", b"[$2|$1]", b"ab a", 0, b"[b|a] [|a]"),
    (rb"a", rb"\0\1\\$0", b"a", 0, rb"\0\1\\a"),  # a backslash is literal
    (rb"(a)", b"$12 $2 $x $ $$1 ${1}", b"a", 0, b"a2 $2 $x $ $a ${1}"),
    (rb"()()()()()()()()()(a)", b"$10|$1", b"a", 0, b"a|"),
    (rb"", b"-", b"ab", 0, b"-a-b-"),
    (rb"/(?=.)/u", b"-", "åb".encode(), 0, "-å-b".encode()),
    (rb"\x00", b"\xff", b"a\x00b", 0, b"a\xffb"),
]

SPLIT: list[tuple[bytes, bytes, int, list[bytes]]] = [
    (rb",\s*", b"a, b,c", 0, [b"a", b"b", b"c"]),
    (rb",", b"a,b,c", 2, [b"a", b"b,c"]),
    (rb",", b",a,", 0, [b"", b"a", b""]),
    (rb"", b"abc", 0, [b"a", b"b", b"c"]),
    (rb"x", b"abc", 0, [b"abc"]),
]

INVALID: list[tuple[bytes, str]] = [
    (rb"(abc", "invalid regular expression: missing closing parenthesis at offset 4"),
    (rb"/(abc/i", "invalid regular expression: missing closing parenthesis at offset 4"),
    (rb"*a", "invalid regular expression: quantifier does not follow a repeatable item at offset 1"),
    (rb"a\j", "invalid regular expression: unrecognized character follows \\ at offset 3"),
    (b"a" * (MAX_PATTERN + 1), f"invalid regular expression: longer than {MAX_PATTERN} bytes"),
]


def plain(value: Value) -> Any:
    if not isinstance(value, Array):
        return value
    if value.items is not None:
        return [plain(item) for item in value.items]
    return {key: plain(item) for key, item in value.pairs()}


@pytest.mark.parametrize(("pattern", "subject", "wanted"), MATCHES)
def test_matches(pattern: bytes, subject: bytes, wanted: bool) -> None:
    assert compile_pattern(pattern).matches(subject) is wanted


@pytest.mark.parametrize(("pattern", "subject", "wanted"), WHOLE)
def test_match(pattern: bytes, subject: bytes, wanted: object) -> None:
    assert plain(compile_pattern(pattern).match(subject)) == wanted


@pytest.mark.parametrize(("pattern", "subject", "wanted"), ALL)
def test_match_all(pattern: bytes, subject: bytes, wanted: object) -> None:
    assert plain(compile_pattern(pattern).match_all(subject)) == wanted


@pytest.mark.parametrize(("pattern", "replacement", "subject", "limit", "wanted"), REPLACED)
def test_replace(pattern: bytes, replacement: bytes, subject: bytes, limit: int, wanted: bytes) -> None:
    assert compile_pattern(pattern).replace(replacement, None, subject, limit) == wanted


@pytest.mark.parametrize(("pattern", "subject", "limit", "wanted"), SPLIT)
def test_split(pattern: bytes, subject: bytes, limit: int, wanted: list[bytes]) -> None:
    assert plain(compile_pattern(pattern).split(subject, limit)) == wanted


@pytest.mark.parametrize(("pattern", "message"), INVALID)
def test_invalid_patterns(pattern: bytes, message: str) -> None:
    with pytest.raises(ScriptError) as caught:
        compile_pattern(pattern)
    assert caught.value.message == message


def test_ungreedy() -> None:
    assert plain(compile_pattern(rb"/a+/U").match(b"aaa")) == [b"a"]


def test_a_function_replaces(call: Any) -> None:
    def upper(groups: Array) -> Value:
        text = groups.get(0.0)
        assert isinstance(text, bytes)
        return text.upper()

    assert call("pcre_replace", rb"\b[a-z]", upper, "hello world") == b"Hello World"
    assert call("pcre_replace", rb"o", lambda groups: None, "foo", 1) == b"fo"
    assert call("pcre_replace", rb"(?<n>o)(x)?", lambda groups: len(groups), "fo") == b"f4"


def test_an_error_in_the_function_comes_out(call: Any) -> None:
    def fail(groups: Array) -> Value:
        raise ScriptError("inner")

    with pytest.raises(ScriptError, match="inner"):
        call("pcre_replace", "o", fail, "foo")


@pytest.mark.parametrize(
    ("pattern", "subject"),
    [
        (rb"(a+)+$", b"a" * 40 + b"b"),
        (rb"(a|aa)+$", b"a" * 60 + b"b"),
        (rb"^(([a-z])+.)+[A-Z]([a-z])+$", b"a" * 60),
        (rb"(*LIMIT_MATCH=4000000000)(a+)+$", b"a" * 40 + b"b"),
        (rb"(*NO_JIT)(a+)+$", b"a" * 40 + b"b"),
        (rb"(*NO_JIT)(*LIMIT_MATCH=4000000000)(a+)+$", b"a" * 40 + b"b"),
    ],
)
def test_catastrophic_patterns_end_in_an_error(pattern: bytes, subject: bytes) -> None:
    compiled = compile_pattern(pattern)
    for attempt in (compiled.matches, compiled.match, compiled.match_all, compiled.split):
        with pytest.raises(ScriptError, match="limit exceeded"):
            attempt(subject)
    with pytest.raises(ScriptError, match="limit exceeded"):
        compiled.replace(b"", None, subject)


def test_what_the_fast_code_has_no_stack_for_is_matched_slowly() -> None:
    pattern = compile_pattern(rb"^(?:[a-z]|\.)*$")
    assert pattern.matches(b"ab." * 10_000)
    assert plain(pattern.match_all(b"ab." * 10_000)) == [[b"ab." * 10_000]]


def test_a_long_subject_gets_no_slow_try() -> None:
    with pytest.raises(ScriptError, match="too much memory"):
        compile_pattern(rb"^(?:[a-z]|\.)*$").matches(b"a" * (SLOW_SUBJECT + 1))


def test_invalid_utf8_under_the_patterns_own_switch_is_an_error() -> None:
    with pytest.raises(ScriptError, match="UTF-8 error"):
        compile_pattern(rb"(*UTF)b").matches(b"\xffb")


def test_replace_stops_at_the_limit_of_a_string() -> None:
    big = b"x" * (MAX_STRING // 100)
    with pytest.raises(ScriptError, match="string exceeds"):
        compile_pattern(rb"a").replace(big, None, b"a" * 101)


def test_many_matches_watch_the_budget(call: Any, make_run: Any) -> None:
    run = make_run(seconds=-1.0)
    for arguments in (("pcre_match_all", "a", "aaa"), ("pcre_replace", "a", "b", "aaa")):
        with pytest.raises(BudgetError):
            call(*arguments, run=run)


def test_compiled_patterns_are_kept_and_bounded() -> None:
    assert compile_pattern(b"kept") is compile_pattern(b"kept")
    assert compile_pattern.cache_info().maxsize == 256


def test_named_groups_are_shared_between_name_and_number() -> None:
    result = compile_pattern(rb"(?<n>a)").match_all(b"aa")
    column = result.get(b"n")
    assert isinstance(column, Array)
    assert column.shared
    assert column is result.get(1.0)


class Nested(Function):
    """A callback that itself matches with the same pattern."""

    def call(self, run: object, arguments: list[Value]) -> Value:
        return compile_pattern(rb"\d").replace(b"<$0>", None, b"1 2")


def test_a_callback_may_use_the_same_pattern() -> None:
    assert compile_pattern(rb"\d").replace(Nested("nested"), None, b"a1b2") == b"a<1> <2>b<1> <2>"
