"""The functions of regular expressions with a Regex and with strings; what the patterns do is tested in test_regex."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from onnetwork import lines_of
from snippets import load

from hsl.errors import ScriptError
from hsl.library import core_registry
from hsl.run import Run
from hsl.values import Object


def run(source: str) -> list[bytes]:
    """What a script writes."""
    output: list[bytes] = []
    Run(load(source), output=output.append).execute()
    return b"".join(output).splitlines()


def regex(call: Any, pattern: str) -> Object:
    found = call("pcre_compile", pattern)
    assert isinstance(found, Object)
    return found


PATTERNS = ["b(.)", "/B(.)/i", "(?<n>b.)", "x", ""]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_regex_does_what_its_string_does(call: Any, pattern: str) -> None:
    compiled = regex(call, pattern)
    for name in ("pcre_match", "pcre_match_all"):
        assert call(name, compiled, "abcbd") == call(name, pattern, "abcbd")
    assert call("pcre_replace", compiled, "[$0]", "abcbd") == call("pcre_replace", pattern, "[$0]", "abcbd")
    assert call("pcre_replace", compiled, "-", "abcbd", 1) == call("pcre_replace", pattern, "-", "abcbd", 1)


def test_a_callback_replaces(call: Any) -> None:
    assert call("pcre_replace", regex(call, "[a-z]"), lambda match: match.get(0.0).upper(), "a1b") == b"A1B"
    assert call("pcre_replace", "[a-z]", lambda match: None, "a1b") == b"1"


def test_a_regex_in_a_script() -> None:
    script = """
        $word = pcre_compile("/([a-z]+)=/i");
        echo pcre_match($word, "A=b")[1];
        echo pcre_match_all($word, "a=b c=d")[1];
        foreach (["1", "2"] as $i) echo pcre_replace($word, $i, "a=b");
        echo is_object($word);
        echo "$word";
    """
    assert run(script) == [b"A", b'[0=>"a",1=>"c"]', b"1b", b"2b", b"true", b"Regex"]


def test_only_pcre_compile_makes_one() -> None:
    assert core_registry().get("Regex") is None
    assert core_registry().classes["Regex"].constructor is None


BAD: list[tuple[list[Any], str]] = [
    (["pcre_compile", "("], "invalid regular expression: missing closing parenthesis at offset 1"),
    (["pcre_compile", "x" * 65537], "invalid regular expression: longer than 65536 bytes"),
    (["pcre_compile", 1], "pcre_compile(): parameter 1 (string): wanted string, got number"),
    (["pcre_match", Object("Map"), ""], "pcre_match(): parameter 1 (pattern): wanted Regex or string, got Map"),
    (["pcre_match_all", Object("Map"), ""], "pcre_match_all(): parameter 1 (pattern): wanted Regex or string, got Map"),
    (["pcre_replace", Object("A"), "", ""], "pcre_replace(): parameter 1 (pattern): wanted Regex or string, got A"),
    (["pcre_match", 1, ""], "pcre_match(): parameter 1 (pattern): wanted object or string, got number"),
    (["pcre_replace", "a", 1, ""], "pcre_replace(): parameter 2 (replace): wanted function or string, got number"),
    (["pcre_match", "(a+)+$", "a" * 100 + "b"], "regular expression: match limit exceeded"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[row[1][:60] for row in BAD])
def test_bad_calls(call: Any, arguments: list[Any], message: str) -> None:
    with pytest.raises(ScriptError) as caught:
        call(*arguments)
    assert caught.value.message == message


def test_what_is_quoted_matches_itself(call: Any) -> None:
    text = bytes(range(256)) * 20
    assert call("pcre_match", b"\\A" + call("pcre_quote", text) + b"\\z", text) == [text]


def test_ten_megabytes(call: Any) -> None:
    size = 10_000_000
    assert call("pcre_match", "b", "a" * size) == []
    assert call("pcre_replace", "/\\xff+/", "", b"\xff" * size) == b""
    assert len(call("pcre_quote", "." * size)) == 2 * size


@pytest.mark.parametrize(
    "text",
    [
        'pcre_match_all("/a(?!.*z)|a/s", str_repeat("a", 10000));',
        "zlib_compress(str_repeat(random_bytes(50000), 100), 9);",
    ],
)
@pytest.mark.asyncio
async def test_long_work_lets_others_run(text: str) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count())
    await lines_of(text, None)
    other.cancel()
    assert turns > 2
