"""Chapter "Regular expression": the functions beside the operators =~ and !~ (patterns and their limits: hsl.regex)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hsl import intrinsics
from hsl.arithmetic import check_string
from hsl.builtins import Chapter
from hsl.regex import compile_pattern
from hsl.values import Array, Function

if TYPE_CHECKING:
    from hsl.run import Run

chapter = Chapter("Regular expression")

SPECIAL = re.compile(rb"[.\\+*?\[^\]$(){}=!<>|:\-#\0]")


@chapter.function("pcre_match", constant=True, node=intrinsics.PcreMatch)
def pcre_match(pattern: bytes, subject: bytes) -> Array:
    """Return the first match at 0 and its groups by number (and name); an empty array if nothing matches."""
    return compile_pattern(pattern).match(subject)


@chapter.function("pcre_match_all")
def pcre_match_all(run: Run, pattern: bytes, subject: bytes) -> Array:
    """Return for each group (0: the whole match) the array of all its matches; an empty array if nothing matches."""
    return compile_pattern(pattern).match_all(subject, run)


@chapter.function("pcre_quote", constant=True)
def pcre_quote(string: bytes) -> bytes:
    """Return a string with every character escaped that means something in a regular expression."""
    check_string(4 * len(string))
    return SPECIAL.sub(lambda match: b"\\000" if match[0] == b"\0" else b"\\" + match[0], string)


@chapter.function("pcre_replace", node=intrinsics.PcreReplace)
def pcre_replace(run: Run, pattern: bytes, replace: bytes | Function, subject: bytes, limit: int = 0) -> bytes:
    """Return the subject with its matches replaced, at most `limit` of them (0: all).

    In a string `$0` is the match and `$1` … `$n` are its groups; a function gets the array of them.
    """
    return compile_pattern(pattern).replace(replace, run, subject, limit)
