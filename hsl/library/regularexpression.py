"""Chapter "Regular expression": the functions beside the operators =~ and !~ (patterns and their limits: hsl.regex)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hsl import intrinsics
from hsl.arithmetic import check_string
from hsl.builtins import Chapter, NativeObject
from hsl.errors import ScriptError
from hsl.regex import Pattern, compile_pattern
from hsl.values import Array, Function, Object, Value, type_name

if TYPE_CHECKING:
    from hsl.run import Run

chapter = Chapter("Regular expression")

SPECIAL = re.compile(rb"[.\\+*?\[^\]$(){}=!<>|:\-#\0]")


@chapter.object("Regex", creatable=False)
class Regex(NativeObject):
    """A compiled regular expression, which pcre_compile() makes.

    Example:
        $word = pcre_compile("/[a-z]+/i");
        echo pcre_match($word, "1 Two 3");  // expect: [0=>"Two"]
    """

    def __init__(self, pattern: bytes) -> None:
        super().__init__()
        self.pattern = pattern
        self.compiled = compile_pattern(pattern)


def pattern_of(function: str, place: int, value: Value) -> Pattern:
    """The pattern of an argument that is a Regex or a string.

    Raises ScriptError for other values and for what is no regular expression.
    """
    if isinstance(value, bytes):
        return compile_pattern(value)
    if isinstance(value, Regex):
        return value.compiled
    got = value.class_name if isinstance(value, Object) else type_name(value)
    raise ScriptError(f"{function}(): parameter {place} (pattern): wanted Regex or string, got {got}")


@chapter.function("pcre_compile")
def pcre_compile(string: bytes) -> Object:
    """Return a regular expression compiled, for the functions that take one: bare or as `/pattern/imsuxUX`.

    What is no regular expression, or longer than 64 KiB, is an error.

    Example:
        $digits = pcre_compile(''\\d+'');
        echo pcre_replace($digits, "#", "1 and 23");  // expect: # and #
    """
    return Regex(string)


@chapter.function("pcre_match", constant=True, node=intrinsics.PcreMatch)
def pcre_match(pattern: bytes | Object, subject: bytes) -> Array:
    """Return the first match at 0 and its groups by number (and name); an empty array if nothing matches.

    The pattern is a Regex or a string, bare or with modifiers (`/…/imsuxUX`). A match that takes more than 1,000,000
    steps is an error, here and in the other functions.

    Example:
        echo pcre_match("/(?<user>.+)@(.+)/", "joe@example.com")["user"];  // expect: joe
        echo pcre_match("/B(.)/i", "abc");  // expect: [0=>"bc",1=>"c"]
        echo pcre_match("x", "abc");  // expect: []
    """
    return pattern_of("pcre_match", 1, pattern).match(subject)


@chapter.function("pcre_match_all")
def pcre_match_all(run: Run, pattern: bytes | Object, subject: bytes) -> Array:
    """Return for each group (0: the whole match) the array of all its matches; an empty array if nothing matches.

    Example:
        echo pcre_match_all("(.)=([0-9])", "a=1 b=2")[1];  // expect: [0=>"a",1=>"b"]
    """
    return pattern_of("pcre_match_all", 1, pattern).match_all(subject, run)


@chapter.function("pcre_quote", constant=True)
def pcre_quote(string: bytes) -> bytes:
    """Return a string with every character escaped that means something in a regular expression.

    Example:
        echo pcre_quote("1.5 (a)");  // expect: 1\\.5 \\(a\\)
        echo "a.b" =~ "^" . pcre_quote("a.b") . "$";  // expect: true
    """
    check_string(4 * len(string))
    return SPECIAL.sub(lambda match: b"\\000" if match[0] == b"\0" else b"\\" + match[0], string)


@chapter.function("pcre_replace", node=intrinsics.PcreReplace)
def pcre_replace(run: Run, pattern: bytes | Object, replace: bytes | Function, subject: bytes, limit: int = 0) -> bytes:
    """Return the subject with its matches replaced, at most `limit` of them (0: all).

    In a string `$0` is the match and `$1` … `$n` are its groups; a function gets the array of them and gives the text.

    Example:
        echo pcre_replace("[0-9]", "($0)", "foo1bar2baz");  // expect: foo(1)bar(2)baz
        echo pcre_replace("[0-9]", "", "foo1bar2baz", 1);  // expect: foobar2baz
        echo pcre_replace(''\\b[a-z]'', function ($i) { return str_upper($i[0]); }, "hello world");
        // expect: Hello World
    """
    return pattern_of("pcre_replace", 1, pattern).replace(replace, run, subject, limit)
