"""Chapter "String". A string is bytes; letters, where they matter, are those of US-ASCII."""

from __future__ import annotations

from hsl import intrinsics
from hsl.arithmetic import check_items, check_string
from hsl.builtins import Chapter
from hsl.errors import ScriptError
from hsl.values import Array

chapter = Chapter("String")


@chapter.function("chr", constant=True, node=intrinsics.Chr)
def character(number: int) -> bytes:
    """Return the string of one byte that has the given number, modulo 256.

    Example:
        echo chr(72) . chr(105);  // expect: Hi
    """
    return bytes([number & 0xFF])


@chapter.function("ord", constant=True, node=intrinsics.Ord)
def ordinal(character: bytes) -> float:
    """Return the number of a string's first byte; 0 for an empty string.

    Example:
        echo ord("Hi");  // expect: 72
    """
    return float(character[0]) if character else 0.0


@chapter.function("str_repeat", constant=True)
def str_repeat(string: bytes, multiplier: int) -> bytes:
    """Return a string repeated so many times.

    Example:
        echo str_repeat("ab", 3);  // expect: ababab
    """
    if not string or multiplier <= 0:
        return b""
    check_string(len(string) * multiplier)
    return string * multiplier


@chapter.function("str_replace", constant=True, node=intrinsics.StrReplace)
def str_replace(search: bytes, replace: bytes, subject: bytes) -> bytes:
    """Return the subject with every occurrence of one string replaced with another.

    Example:
        echo str_replace("Hello", "Hej", "Hello World");  // expect: Hej World
    """
    return intrinsics.replace(search, replace, subject)


@chapter.function("str_split", constant=True, node=intrinsics.StrSplit)
def str_split(string: bytes, delimiter: bytes, limit: int = 0) -> Array:
    """Split a string on a delimiter into at most `limit` parts (0: all).

    The last part holds the rest; with a negative limit it splits from the end and the first part holds the rest.

    Example:
        echo str_split("how are you", " ");  // expect: [0=>"how",1=>"are",2=>"you"]
        echo str_split("how are you", " ", 2);  // expect: [0=>"how",1=>"are you"]
        echo str_split("how are you", " ", -2);  // expect: [0=>"how are",1=>"you"]
    """
    if not delimiter:
        raise ScriptError("str_split(): parameter 2 (delimiter): cannot be empty")
    parts = abs(limit) or string.count(delimiter) + 1
    check_items(min(parts, string.count(delimiter) + 1))
    most = min(parts, len(string) + 1) - 1
    return Array.of(string.split(delimiter, most) if limit >= 0 else string.rsplit(delimiter, most))


@chapter.function("str_chunk", constant=True)
def str_chunk(string: bytes, length: int, firstlength: int | None = None) -> Array:
    """Split a string into parts of a length; the first part may have a length of its own.

    Example:
        echo str_chunk("abcdefg", 3);  // expect: [0=>"abc",1=>"def",2=>"g"]
        echo str_chunk("abcdefg", 3, 1);  // expect: [0=>"a",1=>"bcd",2=>"efg"]
    """
    first = length if firstlength is None else firstlength
    if length < 1 or first < 1:
        raise ScriptError("str_chunk(): wanted lengths of at least 1")
    check_items(len(string) / length + 1)
    starts = range(first, len(string), min(length, len(string) + 1))
    return Array.of([string[:first], *(string[start : start + length] for start in starts)] if string else [])


@chapter.function("str_find", aliases=("strpos",), constant=True, node=intrinsics.StrFind)
def str_find(string: bytes, substring: bytes, offset: int = 0) -> float:
    """Return the position (from 0) of the first occurrence at or after the offset, -1 if there is none.

    A negative offset counts from the end.

    Example:
        echo str_find("banana", "an");  // expect: 1
        echo str_find("banana", "an", 2);  // expect: 3
        echo str_find("banana", "x");  // expect: -1
    """
    return float(string.find(substring, offset))


@chapter.function("str_rfind", aliases=("strrpos",), constant=True)
def str_rfind(string: bytes, substring: bytes, offset: int = 0) -> float:
    """Return the position (from 0) of the last occurrence, -1 if there is none.

    With an offset the search goes backward from so many bytes before the end (its sign does not matter).

    Example:
        echo str_rfind("banana", "an");  // expect: 3
        echo str_rfind("banana", "an", 4);  // expect: 1
    """
    last_start = len(string) - abs(offset)
    return float(string.rfind(substring, 0, last_start + len(substring))) if last_start >= 0 else -1.0


@chapter.function("str_lower", aliases=("strtolower",), constant=True, node=intrinsics.StrLower)
def str_lower(string: bytes) -> bytes:
    """Return a string with its US-ASCII letters in lower case.

    Example:
        echo str_lower("Hello É");  // expect: hello É
    """
    return string.lower()


@chapter.function("str_upper", aliases=("strtoupper",), constant=True, node=intrinsics.StrUpper)
def str_upper(string: bytes) -> bytes:
    """Return a string with its US-ASCII letters in upper case.

    Example:
        echo str_upper("Hello é");  // expect: HELLO é
    """
    return string.upper()


@chapter.function("str_slice", aliases=("substr",), constant=True, node=intrinsics.StrSlice)
def str_slice(string: bytes, offset: int = 0, length: int | None = None) -> bytes:
    """Return the part of a string that begins at the offset, of the given length or up to the end.

    A negative offset counts from the end; a negative length leaves so many bytes off the end.

    Example:
        echo str_slice("abcdef", 1, 3);  // expect: bcd
        echo str_slice("abcdef", -2);  // expect: ef
        echo str_slice("abcdef", 1, -1);  // expect: bcde
    """
    return intrinsics.part(string, offset, intrinsics.TO_END if length is None else length)


@chapter.function("str_strip", aliases=("trim",), constant=True, node=intrinsics.StrStrip)
def str_strip(string: bytes, characters: bytes = intrinsics.WHITESPACE) -> bytes:
    """Return a string without the given characters (by default space, tab, CR, LF) at its start and end.

    Example:
        echo "[" . str_strip("  a b \\n") . "]";  // expect: [a b]
        echo str_strip("xxayx", "xy");  // expect: a
    """
    return string.strip(characters)


@chapter.function("str_lstrip", constant=True)
def str_lstrip(string: bytes, characters: bytes = intrinsics.WHITESPACE) -> bytes:
    """Return a string without the given characters (by default space, tab, CR, LF) at its start.

    Example:
        echo str_lstrip("0012", "0");  // expect: 12
    """
    return string.lstrip(characters)


@chapter.function("str_rstrip", constant=True)
def str_rstrip(string: bytes, characters: bytes = intrinsics.WHITESPACE) -> bytes:
    """Return a string without the given characters (by default space, tab, CR, LF) at its end.

    Example:
        echo str_rstrip("example.com.", ".");  // expect: example.com
    """
    return string.rstrip(characters)
