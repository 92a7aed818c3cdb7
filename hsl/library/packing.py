"""Chapter "Encodings and JSON", binary strings: pack() makes them of values by a format, unpack() reads them back.

A format is a row of codes, each a letter and how many: `n2Z*` are two 16-bit integers and a string with its NUL.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from hsl.arithmetic import check_items, check_string, unsigned
from hsl.builtins import Chapter
from hsl.errors import ScriptError
from hsl.values import Array, Value, to_number, to_string

chapter = Chapter("Encodings and JSON")

CODE = re.compile(rb"([A-Za-z])(\*|0*[0-9]{1,10}|)(?![0-9*])")
MAX_CODES = 10_000  # of one format

# letter: byte order, letter of `struct`, bytes
INTEGERS = {"C": ("<", "B", 1), "n": (">", "H", 2), "N": (">", "I", 4), "v": ("<", "H", 2), "V": ("<", "I", 4)}
REALS = {"e": ("<", "d", 8), "E": (">", "d", 8)}
NUMBERS = {**INTEGERS, **REALS, "c": ("<", "b", 1)}
STRINGS = "aHZ"
PACKED = frozenset({*INTEGERS, *REALS, *STRINGS, "x"})
UNPACKED = PACKED | {"c"}
NUL = b"\0"


class Unfit(Exception):
    """The format is wrong, or does not fit the values or the data."""


def codes(function: str, text: bytes, known: frozenset[str]) -> Iterator[tuple[str, int | None]]:
    """The letters of a format with their counts; None is `*`. Raises Unfit; ScriptError for more than MAX_CODES."""
    place = found = 0
    while place < len(text):
        match = CODE.match(text, place)
        if match is None or (letter := match[1].decode()) not in known or (letter == "x" and match[2] == b"*"):
            raise Unfit
        found += 1
        if found > MAX_CODES:
            raise ScriptError(f"{function}(): parameter 1 (format): has more than {MAX_CODES} codes")
        yield letter, None if match[2] == b"*" else int(match[2] or b"1")
        place = match.end()


@chapter.function("pack", constant=True)
def pack(format: bytes, *arguments: Value) -> bytes | None:
    """Return a binary string of the arguments, or none if the format is wrong or wants more or other arguments.

    Strings: a (padded with NUL), Z (ends with NUL), H (of hex digits). Numbers: C 8 bits, n 16 and N 32 big-endian,
    v and V little-endian, e and E doubles. x is a NUL. Behind a code stands how many, or * for all that are left;
    of a string it is its length. Integers wrap; surplus arguments are passed over.

    Example:
        echo base64_encode(pack("nZ*C2", 258, "ab", 7, 255));  // expect: AQJhYgAH/w==
        echo pack("N");  // expect: none
    """
    pieces: list[bytes] = []
    size = 0
    given = list(arguments)[::-1]
    try:
        for letter, count in codes("pack", format, PACKED):
            piece = packed(letter, count, given)
            size += len(piece)
            check_string(size)
            pieces.append(piece)
    except Unfit:
        return None
    return b"".join(pieces)


def packed(letter: str, count: int | None, given: list[Value]) -> bytes:
    """What one code makes of the last of the given values, which it takes away. Raises Unfit."""
    if letter in NUMBERS:
        return packed_numbers(letter, len(given) if count is None else count, given)
    if letter == "x":
        return padded(b"", count or 0)
    if not given:
        raise Unfit
    text = to_string(plain(given.pop()))
    if letter == "H":
        return packed_hex(text, count)
    if letter == "a":
        return text if count is None else padded(text[:count], count)
    return text + NUL if count is None else padded(text[: max(0, count - 1)], count)


def packed_numbers(letter: str, count: int, given: list[Value]) -> bytes:
    if count > len(given):
        raise Unfit
    order, code, width = NUMBERS[letter]
    values = [plain(given.pop()) for _ in range(count)]
    if letter in REALS:
        return struct.pack(f"{order}{count}{code}", *map(to_number, values))
    return struct.pack(f"{order}{count}{code}", *(unsigned(value) % 256**width for value in values))


def packed_hex(digits: bytes, count: int | None) -> bytes:
    """The first digits as bytes; the low half of the last one is 0 when their count is odd."""
    if count is not None:
        if count > len(digits):
            raise Unfit
        digits = digits[:count]
    if not digits.isalnum() and digits:  # fromhex() would pass over blanks
        raise Unfit
    try:
        return bytes.fromhex((digits + b"0" * (len(digits) % 2)).decode())
    except ValueError:
        raise Unfit from None


def padded(text: bytes, size: int) -> bytes:
    check_string(size)
    return text.ljust(size, NUL)


def plain(value: Value) -> Value:
    """A value that has a binary form. Raises Unfit for none, arrays, functions and objects."""
    if not isinstance(value, float | bytes | bool):
        raise Unfit
    return value


@chapter.function("unpack", constant=True)
def unpack(format: bytes, data: bytes, offset: int = 0) -> Array | None:
    """Return the values in a binary string, numbered from 0, or none if the format is wrong or the data too short.

    The codes are those of pack(), and c: 8 bits with a sign. a* is all that is left, Z* all up to and with a NUL
    (which is not in the value), a number's * as many as there are. x passes over bytes.

    Example:
        echo unpack("n2", chr(1) . chr(2) . chr(0) . chr(3));  // expect: [0=>258,1=>3]
        echo unpack("Z*C", "ab" . chr(0) . chr(7));  // expect: [0=>"ab",1=>7]
        echo unpack("a2", "xxabc", 2);  // expect: [0=>"ab"]
    """
    if not 0 <= offset <= len(data):
        return None
    values: list[Value] = []
    place = offset
    try:
        for letter, count in codes("unpack", format, UNPACKED):
            place += unpacked(letter, count, data, place, values)
    except Unfit:
        return None
    return Array(values)


def unpacked(letter: str, count: int | None, data: bytes, place: int, values: list[Value]) -> int:
    """Append what one code finds at a place; gives the bytes it took. Raises Unfit when there are too few."""
    if letter in NUMBERS:
        return unpacked_numbers(letter, count, data, place, values)
    size = size_of(letter, count, data, place)
    if place + size > len(data):
        raise Unfit
    if letter == "a":
        values.append(data[place : place + size])
    elif letter == "H":
        check_string(2 * size)
        values.append(data[place : place + size].hex().encode()[:count])
    elif letter == "Z":
        values.append(data[place : place + size].partition(NUL)[0])
    return size


def size_of(letter: str, count: int | None, data: bytes, place: int) -> int:
    """The bytes that a string's code takes."""
    if count is not None:
        return (count + 1) // 2 if letter == "H" else count
    end = data.find(NUL, place) + 1 if letter == "Z" else 0
    return (end or len(data)) - place


def unpacked_numbers(letter: str, count: int | None, data: bytes, place: int, values: list[Value]) -> int:
    order, code, width = NUMBERS[letter]
    there = (len(data) - place) // width
    count = there if count is None else count
    if count > there:
        raise Unfit
    check_items(len(values) + count)
    found = struct.unpack_from(f"{order}{count}{code}", data, place)
    values.extend(number + 0.0 for number in found)  # there is no negative zero
    return count * width
