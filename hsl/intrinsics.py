"""The hottest builtins as nodes of their own: what their declarations in hsl.library do, without a call of Python.

A node takes the arguments whose types fit, and leaves all others to the declaration; what both need is a function here.
"""

from __future__ import annotations

import math
from typing import Any, Final

from hsl.arithmetic import check_items, check_string
from hsl.calls import Arguments, CallBuiltin
from hsl.invocation import Builtin
from hsl.nodes import NAN, Frame
from hsl.paths import BYTES
from hsl.regex import Pattern, compile_pattern
from hsl.run import Run
from hsl.sequences import includes
from hsl.source import Span
from hsl.values import MAX_ITEMS, Array, Function, Object, Value, concatenation_text, loose_equal, to_number, to_string

WHITESPACE: Final = b" \t\r\n"
EXACT: Final = 9e15  # numbers up to here are integers of Python without loss
TO_END: Final = 1 << 53


# ---------------------------------------------------------------- what declarations and nodes share


def part(string: bytes, offset: int, length: int) -> bytes:
    """The part from an offset on (negative: from the end), of a length (negative: so many bytes less than up to the
    end)."""
    size = len(string)
    start = offset
    if offset < 0:
        start = size + offset
        if start < 0:
            start = 0
    end = start + length if length >= 0 else size + length
    if end <= start:
        return b""
    return string[start:end]


def split(string: bytes, delimiter: bytes) -> Array:
    """The parts between the delimiters, which are not empty strings. Raises ScriptError over the limit of items."""
    if len(string) >= MAX_ITEMS:
        check_items(string.count(delimiter) + 1)
    parts: Any = string.split(delimiter)
    array = Array()
    array.items = parts
    return array


def join(array: Array, separator: bytes) -> bytes:
    """The values as strings, none as empty. Raises ScriptError over the limit of a string."""
    texts: list[bytes] = []
    size = -len(separator)
    for value in array.values():
        text = value if isinstance(value, bytes) else concatenation_text(value)
        size += len(text) + len(separator)
        check_string(size)
        texts.append(text)
    return separator.join(texts)


def replace(search: bytes, replacement: bytes, subject: bytes) -> bytes:
    """Every occurrence replaced. Raises ScriptError over the limit of a string."""
    if not search:
        return subject
    growth = len(replacement) - len(search)
    if growth > 0:
        check_string(len(subject) + subject.count(search) * growth)
    return subject.replace(search, replacement)


def text(value: Value) -> bytes:
    """What echo writes. Raises ScriptError over the limit of a string."""
    if isinstance(value, bytes):
        return value
    result = to_string(value)
    check_string(len(result))
    return result


def holds(array: Array, sought: Value) -> bool:
    """Whether one of the values equals (==) the sought one."""
    for value in array.values():  # noqa: SIM110  (a generator here costs a call per value)
        if loose_equal(sought, value):
            return True
    return False


# ---------------------------------------------------------------- data types


class Length(CallBuiltin):
    __slots__ = ()

    def one(self, run: Run, first: Value) -> Value:
        if isinstance(first, bytes):
            return float(len(first))
        return float(len(first)) if isinstance(first, Array) else None

    def number(self, frame: Frame) -> float:
        if self.count != 1:
            return super().number(frame)
        value = self.first.evaluate(frame)
        if isinstance(value, bytes):
            return float(len(value))
        if isinstance(value, Array):
            return float(len(value))
        frame.mixed = None
        return NAN


class Number(CallBuiltin):
    __slots__ = ()

    def one(self, run: Run, first: Value) -> Value:
        return to_number(first)


class String(CallBuiltin):
    __slots__ = ()

    def one(self, run: Run, first: Value) -> Value:
        return text(first)


class IsArray(CallBuiltin):
    __slots__ = ()

    def one(self, run: Run, first: Value) -> Value:
        return isinstance(first, Array)


class IsBoolean(CallBuiltin):
    __slots__ = ()

    def one(self, run: Run, first: Value) -> Value:
        return isinstance(first, bool)


class IsFunction(CallBuiltin):
    __slots__ = ()

    def one(self, run: Run, first: Value) -> Value:
        return isinstance(first, Function)


class IsNumber(CallBuiltin):
    __slots__ = ()

    def one(self, run: Run, first: Value) -> Value:
        return isinstance(first, float)


class IsObject(CallBuiltin):
    __slots__ = ()

    def one(self, run: Run, first: Value) -> Value:
        return isinstance(first, Object)


class IsString(CallBuiltin):
    __slots__ = ()

    def one(self, run: Run, first: Value) -> Value:
        return isinstance(first, bytes)


# ---------------------------------------------------------------- mathematical


class Abs(CallBuiltin):
    __slots__ = ()

    def one(self, run: Run, first: Value) -> Value:
        return abs(first) if isinstance(first, float) else super().one(run, first)


class Ceil(CallBuiltin):
    __slots__ = ()

    def one(self, run: Run, first: Value) -> Value:
        if isinstance(first, float) and -EXACT < first < EXACT:
            return float(math.ceil(first))
        return super().one(run, first)


class Floor(CallBuiltin):
    __slots__ = ()

    def one(self, run: Run, first: Value) -> Value:
        if isinstance(first, float) and -EXACT < first < EXACT:
            return float(math.floor(first))
        return super().one(run, first)


# ---------------------------------------------------------------- strings


class Chr(CallBuiltin):
    __slots__ = ()

    def one(self, run: Run, first: Value) -> Value:
        if isinstance(first, float) and -EXACT < first < EXACT:
            return BYTES[int(first) & 0xFF]
        return super().one(run, first)


class Ord(CallBuiltin):
    __slots__ = ()

    def one(self, run: Run, first: Value) -> Value:
        if isinstance(first, bytes):
            return float(first[0]) if len(first) > 0 else 0.0
        return super().one(run, first)


class StrFind(CallBuiltin):
    __slots__ = ()

    def two(self, run: Run, first: Value, second: Value) -> Value:
        if isinstance(first, bytes) and isinstance(second, bytes):
            return float(first.find(second))
        return super().two(run, first, second)

    def three(self, run: Run, first: Value, second: Value, third: Value) -> Value:
        if not (isinstance(first, bytes) and isinstance(second, bytes) and isinstance(third, float)):
            return super().three(run, first, second, third)
        if not -EXACT < third < EXACT:
            return super().three(run, first, second, third)
        return float(first.find(second, int(third)))


class StrLower(CallBuiltin):
    __slots__ = ()

    def one(self, run: Run, first: Value) -> Value:
        return first.lower() if isinstance(first, bytes) else super().one(run, first)


class StrUpper(CallBuiltin):
    __slots__ = ()

    def one(self, run: Run, first: Value) -> Value:
        return first.upper() if isinstance(first, bytes) else super().one(run, first)


class StrStrip(CallBuiltin):
    __slots__ = ()

    def one(self, run: Run, first: Value) -> Value:
        return first.strip(WHITESPACE) if isinstance(first, bytes) else super().one(run, first)


class StrSlice(CallBuiltin):
    __slots__ = ()

    def two(self, run: Run, first: Value, second: Value) -> Value:
        if isinstance(first, bytes) and isinstance(second, float) and -EXACT < second < EXACT:
            return part(first, int(second), TO_END)
        return super().two(run, first, second)

    def three(self, run: Run, first: Value, second: Value, third: Value) -> Value:
        if not (isinstance(first, bytes) and isinstance(second, float) and isinstance(third, float)):
            return super().three(run, first, second, third)
        if not (-EXACT < second < EXACT and -EXACT < third < EXACT):
            return super().three(run, first, second, third)
        return part(first, int(second), int(third))


class StrSplit(CallBuiltin):
    __slots__ = ()

    def two(self, run: Run, first: Value, second: Value) -> Value:
        if isinstance(first, bytes) and isinstance(second, bytes) and second:
            return split(first, second)
        return super().two(run, first, second)


class Explode(CallBuiltin):
    __slots__ = ()

    def two(self, run: Run, first: Value, second: Value) -> Value:
        if isinstance(first, bytes) and isinstance(second, bytes) and first:
            return split(second, first)
        return super().two(run, first, second)


class StrReplace(CallBuiltin):
    __slots__ = ()

    def three(self, run: Run, first: Value, second: Value, third: Value) -> Value:
        if isinstance(first, bytes) and isinstance(second, bytes) and isinstance(third, bytes):
            return replace(first, second, third)
        return super().three(run, first, second, third)


# ---------------------------------------------------------------- arrays


class ArrayJoin(CallBuiltin):
    __slots__ = ()

    def two(self, run: Run, first: Value, second: Value) -> Value:
        if isinstance(first, Array) and isinstance(second, bytes):
            return join(first, second)
        return super().two(run, first, second)


class Implode(CallBuiltin):
    __slots__ = ()

    def two(self, run: Run, first: Value, second: Value) -> Value:
        if isinstance(first, bytes) and isinstance(second, Array):
            return join(second, first)
        return super().two(run, first, second)


class ArrayIncludes(CallBuiltin):
    __slots__ = ()

    def two(self, run: Run, first: Value, second: Value) -> Value:
        if isinstance(second, Array) and not isinstance(first, Function):
            return includes(second.values(), first)
        return super().two(run, first, second)


class InArray(CallBuiltin):
    __slots__ = ()

    def two(self, run: Run, first: Value, second: Value) -> Value:
        return holds(second, first) if isinstance(second, Array) else super().two(run, first, second)


# ---------------------------------------------------------------- regular expressions


class WithPattern(CallBuiltin):
    """A call whose first argument is a pattern: the last one is kept, since most are literals."""

    __slots__ = ("pattern", "source")

    def __init__(self, span: Span, name: str, builtin: Builtin, arguments: Arguments) -> None:
        super().__init__(span, name, builtin, arguments)
        self.source = b""
        self.pattern: Pattern = compile_pattern(b"")

    def compiled(self, source: bytes) -> Pattern:
        if source is not self.source:
            self.pattern = compile_pattern(source)
            self.source = source
        return self.pattern


class PcreMatch(WithPattern):
    __slots__ = ()

    def two(self, run: Run, first: Value, second: Value) -> Value:
        if isinstance(first, bytes) and isinstance(second, bytes):
            return self.compiled(first).match(second)
        return super().two(run, first, second)


class PcreReplace(WithPattern):
    __slots__ = ()

    def three(self, run: Run, first: Value, second: Value, third: Value) -> Value:
        if isinstance(first, bytes) and isinstance(second, bytes) and isinstance(third, bytes):
            return self.compiled(first).replace(second, run, third)
        return super().three(run, first, second, third)
