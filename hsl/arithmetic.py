"""All arithmetic of the language. Nothing outside this file uses Python's own `**`, `%`, `/` on script values.

Numbers are IEEE doubles: division by zero, overflow and a negative base with a fractional power give INF and NAN, never
an error. Bitwise operators wrap to 32 bits. `+ - *` also work on arrays, `*` and `%` on strings ("operators").
Sizes are checked before anything is allocated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeAlias

from hsl.errors import ScriptError
from hsl.values import (
    EXACT,
    MAX_ITEMS,
    MAX_STRING,
    Array,
    Value,
    less,
    less_equal,
    loose_equal,
    share,
    strict_equal,
    to_number,
    to_string,
    type_name,
)

Bounds: TypeAlias = tuple[int | None, int | None, int | None]  # first, last and step of a slice
MAX_KEPT: Final = 1024  # bytes of a format that is kept
FORMAT: Final = re.compile(rb"%(?:%|(?:\[(\d{1,9})\])?(?:(?:'(.))?([<>^=]))?(\d{1,9})?(?:\.(\d{1,9}))?([sfxcb]))", re.S)


def add(left: Value, right: Value) -> Value:
    if isinstance(left, float) and isinstance(right, float):
        return left + right
    if isinstance(left, Array) or isinstance(right, Array):
        return add_arrays(left, right)
    if isinstance(left, bytes) or isinstance(right, bytes):
        return concatenate([left, right])
    return to_number(left) + to_number(right)


def subtract(left: Value, right: Value) -> Value:
    if isinstance(left, float) and isinstance(right, float):
        return left - right
    if isinstance(left, Array):
        return remove_values(left, right)
    for operand in (left, right):
        if isinstance(operand, (bytes, Array)):
            raise ScriptError(f"unsupported operands: {type_name(left)} - {type_name(right)}")
    return to_number(left) - to_number(right)


def multiply(left: Value, right: Value) -> Value:
    if isinstance(left, float) and isinstance(right, float):
        return left * right
    for subject, count in ((left, right), (right, left)):
        if isinstance(subject, Array):
            return repeat_array(subject, to_number(count))
        if isinstance(subject, bytes) and not isinstance(count, (bytes, Array)):
            return repeat_string(subject, to_number(count))
    return to_number(left) * to_number(right)


def divide(left: Value, right: Value) -> Value:
    return quotient(to_number(left), to_number(right))


def quotient(dividend: float, divisor: float) -> float:
    if divisor != 0.0:
        return dividend / divisor
    if dividend == 0.0 or dividend != dividend:
        return math.nan
    return math.copysign(math.inf, dividend)  # there is no -0


def remainder(left: Value, right: Value) -> Value:
    """A string on the left, with an array on the right, is a format; else the remainder of numbers."""
    if isinstance(left, bytes) and isinstance(right, Array):
        return format_string(left, right)
    return modulo(to_number(left), to_number(right))


def modulo(dividend: float, divisor: float) -> float:
    """C's fmod: the sign of the dividend, fractions kept; NaN where there is none."""
    if 0.0 <= dividend <= EXACT and 0.0 < divisor <= EXACT:  # whole numbers, nearly always
        whole, size = int(dividend), int(divisor)
        if float(whole) == dividend and float(size) == divisor:
            return float(whole % size)
        return dividend % divisor
    if divisor == 0.0 or dividend - dividend != 0.0 or divisor != divisor:
        return math.nan
    magnitude = abs(divisor)
    if magnitude == math.inf:
        return dividend
    return dividend % magnitude if dividend >= 0.0 else 0.0 - (-dividend) % magnitude


def power(left: Value, right: Value) -> Value:
    base, exponent = to_number(left), to_number(right)
    try:
        return math.pow(base, exponent)
    except OverflowError:
        negative = base < 0 and math.fmod(exponent, 2.0) == 1.0
        return -math.inf if negative else math.inf
    except ValueError:  # 0 to a negative power, or a negative base with a fractional power
        return math.inf if base == 0.0 else math.nan


def negative(value: Value) -> Value:
    return 0.0 - to_number(value)


def positive(value: Value) -> Value:
    return to_number(value)


# ---------------------------------------------------------------- bitwise


def unsigned(value: Value) -> int:
    """An operand modulo 2^32; fractions are cut off, NAN and INF are 0."""
    number = to_number(value)
    return int(number) & 0xFFFFFFFF if math.isfinite(number) else 0


def signed(bits: int) -> float:
    bits &= 0xFFFFFFFF
    return float(bits - (1 << 32) if bits & 0x80000000 else bits)


def bit_and(left: Value, right: Value) -> Value:
    return signed(unsigned(left) & unsigned(right))


def bit_or(left: Value, right: Value) -> Value:
    return signed(unsigned(left) | unsigned(right))


def bit_xor(left: Value, right: Value) -> Value:
    return signed(unsigned(left) ^ unsigned(right))


def bit_not(value: Value) -> Value:
    return signed(~unsigned(value))


def shift_left(left: Value, right: Value) -> Value:
    count = unsigned(right)
    return signed(unsigned(left) << count) if count < 32 else 0.0


def shift_right(left: Value, right: Value) -> Value:
    """Sign-propagating; by 32 and more 0, or -1 for a negative."""
    return float(int(signed(unsigned(left))) >> min(unsigned(right), 31))


def shift_right_zero(left: Value, right: Value) -> Value:
    """`>>>`: zeros are shifted in."""
    count = unsigned(right)
    return signed(unsigned(left) >> count) if count < 32 else 0.0


# ---------------------------------------------------------------- strings and arrays


def concatenate(parts: list[Value]) -> bytes:
    """Join as strings; none is empty. Raises ScriptError over the string limit."""
    texts = [part if isinstance(part, bytes) else b"" if part is None else to_string(part) for part in parts]
    check_string(sum(map(len, texts)))
    return b"".join(texts)


def check_string(size: float) -> None:
    if size > MAX_STRING:
        raise ScriptError(f"string exceeds {MAX_STRING} bytes")


def check_items(count: float) -> None:
    if count > MAX_ITEMS:
        raise ScriptError(f"array exceeds {MAX_ITEMS} items")


def repeat_count(number: float) -> int:
    if number != number or number < 1.0:
        return 0
    return int(min(number, 2.0**53))


def repeat_string(text: bytes, number: float) -> bytes:
    count = repeat_count(number)
    check_string(len(text) * count)
    return text * count if text else b""


def repeat_array(array: Array, number: float) -> Array:
    count = repeat_count(number)
    check_items(len(array) * count)
    return Array([share(value) for value in array.values()] * count if len(array) else [])


def add_arrays(left: Value, right: Value) -> Array:
    """Numeric keys are renumbered, other keys merged (the right side wins); an operand that is no array is pushed."""
    result = Array()
    for operand in (left, right):
        if not isinstance(operand, Array):
            result.append(operand)
            continue
        check_items(len(result) + len(operand))
        for key, value in operand.pairs():
            if isinstance(key, float):
                result.append(share(value))
            else:
                result.set(key, share(value))
    return result


def remove_values(array: Array, unwanted: Value) -> Array:
    """The array without the values that strictly equal one of the unwanted; the other keys stay."""
    gone = unwanted.values() if isinstance(unwanted, Array) else [unwanted]
    hashed = {value for value in gone if isinstance(value, bytes)}
    others = [value for value in gone if not isinstance(value, bytes)]
    result = Array()
    for key, value in array.pairs():
        if isinstance(value, bytes) and value in hashed:
            continue
        if not any(strict_equal(value, other) for other in others):
            result.set(key, share(value))
    return result


class Directive:
    """One `%…` of a format, and the text before it. `position` is -1 for the next value."""

    __slots__ = ("align", "before", "fill", "kind", "position", "precision", "text", "width")

    def __init__(self, before: bytes, match: re.Match[bytes]) -> None:
        position, fill, align, width, precision, kind = match.groups()
        self.before: Final = before
        self.text: Final = match[0]
        self.position: Final = int(position) if position else -1
        self.kind: Final[bytes] = kind or b"%"
        self.fill: Final[bytes] = fill or b" "
        self.align: Final[bytes] = align or (b"<" if kind in (b"s", b"c") else b">")
        self.width: Final = int(width or 0)
        self.precision: Final = -1 if precision is None else int(precision)

    def apply(self, value: Value) -> bytes:
        """The value as the directive has it. Raises ScriptError over the limit of a string."""
        sign = b""
        kind = self.kind
        if kind == b"s":
            text = to_string(value)
            if self.precision >= 0:
                text = text[: self.precision]
        elif kind == b"c":
            text = bytes([unsigned(value) & 0xFF]) if isinstance(value, (float, bool)) else to_string(value)
        elif kind == b"f":
            check_string(self.precision)
            number = to_number(value)
            sign = b"-" if number < 0 else b""
            text = f"{abs(number):.{6 if self.precision < 0 else self.precision}f}".encode()
        else:
            text = format(unsigned(value), "x" if kind == b"x" else "b").encode()
        missing = self.width - len(sign) - len(text)
        return self.padded(sign, text, missing) if missing > 0 else sign + text

    def padded(self, sign: bytes, text: bytes, missing: int) -> bytes:
        check_string(self.width)
        fill = self.fill
        if self.align == b"=":
            return sign + fill * missing + text
        if self.align == b"<":
            return sign + text + fill * missing
        if self.align == b">":
            return fill * missing + sign + text
        before = missing // 2
        return fill * before + sign + text + fill * (missing - before)


class Format:
    """The left side of the format operator, taken apart: directives, and the text after the last one."""

    __slots__ = ("directives", "tail")

    def __init__(self, template: bytes) -> None:
        self.directives: Final[list[Directive]] = []
        done = 0
        for match in FORMAT.finditer(template):
            self.directives.append(Directive(template[done : match.start()], match))
            done = match.end()
        self.tail: Final = template[done:]


@lru_cache(maxsize=256)
def parsed_format(template: bytes) -> Format:
    """Formats stand in loops: the last ones are kept."""
    return Format(template)


def format_string(template: bytes, values: Array) -> bytes:
    """The format operator: `%[argument][[fill]align][width][.precision]type` ("operators", format)."""
    parsed = parsed_format(template) if len(template) <= MAX_KEPT else Format(template)
    items = values.values()
    parts: list[bytes] = []
    size = following = 0
    for directive in parsed.directives:
        if directive.kind == b"%":
            text = b"%"
        else:
            index = following if directive.position < 0 else directive.position
            if index >= len(items):
                raise ScriptError(f"format has no value {index} for {directive.text.decode(errors='replace')}")
            following = index + 1
            text = directive.apply(items[index])
        parts.append(directive.before)
        parts.append(text)
        size += len(directive.before) + len(text)
        check_string(size)
    check_string(size + len(parsed.tail))
    parts.append(parsed.tail)
    return b"".join(parts)


def slice_value(subject: Value, first: int | None, last: int | None, step: int | None) -> Value:
    """`[first:last:step]`: bounds clamp, keys are renumbered; of anything but strings and arrays, none."""
    if step == 0:
        raise ScriptError("the step of a slice cannot be 0")
    if isinstance(subject, bytes):
        return subject[first:last:step]
    if isinstance(subject, Array):
        return Array([share(value) for value in subject.values()[first:last:step]])
    return None


def slice_places(array: Array, bounds: Bounds) -> tuple[list[int], int]:
    """The places that a slice takes, in order, and the place where it would begin."""
    first, last, step = bounds
    if step == 0:
        raise ScriptError("the step of a slice cannot be 0")
    start, stop, stride = slice(first, last, step).indices(len(array))
    places = sorted(range(start, stop, stride))
    return places, places[0] if places else max(0, min(start, len(array)))


def replace_slice(array: Array, bounds: Bounds, inserted: Array) -> None:
    """Slice assignment, in place: number keys are renumbered, other keys kept; only the values of `inserted` count."""
    places, start = slice_places(array, bounds)
    check_items(len(array) - len(places) + len(inserted))
    removed = set(places)
    result = Array()
    for place, (key, value) in enumerate(list(array.pairs())):
        if place == start:
            append_all(result, inserted)
        if place in removed:
            continue
        if isinstance(key, float):
            result.append(value)
        else:
            result.set(key, value)
    if start >= len(array):
        append_all(result, inserted)
    array.become(result)


def append_all(array: Array, values: Array) -> None:
    for value in values.values():
        array.append(share(value))


def remove_slice(array: Array, bounds: Bounds) -> bool:
    """`unset` of a slice, in place; the other items keep their keys. True if there were any."""
    places, _ = slice_places(array, bounds)
    keys = array.keys()
    for place in places:
        array.remove(keys[place])
    return bool(places)


class Operation:
    """An operator of two operands. (A class for each: a call through `Callable` costs ten times as much, compiled.)"""

    __slots__ = ()

    def apply(self, left: Value, right: Value) -> Value:
        raise AssertionError(f"{type(self).__name__} does nothing")


class Add(Operation):
    __slots__ = ()

    def apply(self, left: Value, right: Value) -> Value:
        return add(left, right)


class Subtract(Operation):
    __slots__ = ()

    def apply(self, left: Value, right: Value) -> Value:
        return subtract(left, right)


class Multiply(Operation):
    __slots__ = ()

    def apply(self, left: Value, right: Value) -> Value:
        return multiply(left, right)


class Divide(Operation):
    __slots__ = ()

    def apply(self, left: Value, right: Value) -> Value:
        return divide(left, right)


class Remainder(Operation):
    __slots__ = ()

    def apply(self, left: Value, right: Value) -> Value:
        return remainder(left, right)


class Power(Operation):
    __slots__ = ()

    def apply(self, left: Value, right: Value) -> Value:
        return power(left, right)


class BitAnd(Operation):
    __slots__ = ()

    def apply(self, left: Value, right: Value) -> Value:
        return bit_and(left, right)


class BitOr(Operation):
    __slots__ = ()

    def apply(self, left: Value, right: Value) -> Value:
        return bit_or(left, right)


class BitXor(Operation):
    __slots__ = ()

    def apply(self, left: Value, right: Value) -> Value:
        return bit_xor(left, right)


class ShiftLeft(Operation):
    __slots__ = ()

    def apply(self, left: Value, right: Value) -> Value:
        return shift_left(left, right)


class ShiftRight(Operation):
    __slots__ = ()

    def apply(self, left: Value, right: Value) -> Value:
        return shift_right(left, right)


class ShiftRightZero(Operation):
    __slots__ = ()

    def apply(self, left: Value, right: Value) -> Value:
        return shift_right_zero(left, right)


class Join(Operation):
    __slots__ = ()

    def apply(self, left: Value, right: Value) -> Value:
        return concatenate([left, right])


class Equal(Operation):
    __slots__ = ()

    def apply(self, left: Value, right: Value) -> Value:
        return loose_equal(left, right)


class NotEqual(Operation):
    __slots__ = ()

    def apply(self, left: Value, right: Value) -> Value:
        return not loose_equal(left, right)


class Identical(Operation):
    __slots__ = ()

    def apply(self, left: Value, right: Value) -> Value:
        return strict_equal(left, right)


class NotIdentical(Operation):
    __slots__ = ()

    def apply(self, left: Value, right: Value) -> Value:
        return not strict_equal(left, right)


class Less(Operation):
    __slots__ = ()

    def apply(self, left: Value, right: Value) -> Value:
        return less(left, right)


class LessEqual(Operation):
    __slots__ = ()

    def apply(self, left: Value, right: Value) -> Value:
        return less_equal(left, right)


class Greater(Operation):
    __slots__ = ()

    def apply(self, left: Value, right: Value) -> Value:
        return less(right, left)


class GreaterEqual(Operation):
    __slots__ = ()

    def apply(self, left: Value, right: Value) -> Value:
        return less_equal(right, left)


BINARY: Final[dict[str, Operation]] = {
    "+": Add(),
    "-": Subtract(),
    "*": Multiply(),
    "/": Divide(),
    "%": Remainder(),
    "**": Power(),
    "&": BitAnd(),
    "|": BitOr(),
    "^": BitXor(),
    "<<": ShiftLeft(),
    ">>": ShiftRight(),
    ">>>": ShiftRightZero(),
    ".": Join(),
    "==": Equal(),
    "!=": NotEqual(),
    "===": Identical(),
    "!==": NotIdentical(),
    "<": Less(),
    "<=": LessEqual(),
    ">": Greater(),
    ">=": GreaterEqual(),
}

UNARY: Final[dict[str, Callable[[Value], Value]]] = {"-": negative, "+": positive, "~": bit_not}
