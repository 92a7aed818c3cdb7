"""Chapter "Array". Arrays come in as they are and are never changed: what goes out is new, its nested values shared."""

from __future__ import annotations

import math
from collections.abc import Iterable
from random import SystemRandom
from typing import TYPE_CHECKING

from hsl import intrinsics, sequences
from hsl.arithmetic import check_items
from hsl.builtins import Chapter, Options, option
from hsl.errors import ScriptError
from hsl.sequences import OMITTED
from hsl.values import Array, Function, Value, share

if TYPE_CHECKING:
    from hsl.run import Run

chapter = Chapter("Array")

NEARLY = 1e-9  # of a step: 0 to 0.3 by 0.1 has its end, though the binary fractions fall short

Pair = tuple[Value, Value]


def renumbered(pairs: Iterable[Pair]) -> Array:
    """Values of number keys get new numbers, other keys stay."""
    result = Array()
    for key, value in pairs:
        if isinstance(key, float):
            result.append(share(value))
        else:
            result.set(key, share(value))
    return result


@chapter.function("array_combine", constant=True)
def array_combine(keys: Array, values: Array, default_value: Value = OMITTED) -> Array:
    """Return an array with the values of one array as keys and those of another as values.

    `default_value` stands for values that are missing; without it both arrays must have the same length.
    """
    missing = len(keys) - len(values)
    if missing < 0 or (missing and default_value is OMITTED):
        raise ScriptError(f"array_combine(): got {len(keys)} keys and {len(values)} values")
    filled = [*values.values(), *[default_value] * missing]
    return Array.from_pairs((key, share(value)) for key, value in zip(keys.values(), filled, strict=True))


@chapter.function("array_every")
def array_every(run: Run, callback: Function, array: Array) -> bool:
    """Return true if the callback returns true for every value."""
    return sequences.position(run, callback, list(array.values()), False) < 0


@chapter.function("array_filter")
def array_filter(run: Run, callback: Function, array: Array) -> Array:
    """Return the values for which the callback returns true, under their keys."""
    return sequences.filtered(run, callback, array)


@chapter.function("array_find")
def array_find(run: Run, callback: Function, array: Array) -> Value:
    """Return the first value for which the callback returns true, or none."""
    values = list(array.values())
    place = sequences.position(run, callback, values, True)
    return None if place < 0 else values[place]


@chapter.function("array_includes", node=intrinsics.ArrayIncludes)
def array_includes(run: Run, needle: Value, array: Array) -> bool:
    """Return true if a value of the array is identical (===) to the needle, or if a callback returns true for one."""
    if isinstance(needle, Function):
        return sequences.position(run, needle, list(array.values()), True) >= 0
    return sequences.includes(array.values(), needle)


@chapter.function("in_array", constant=True, node=intrinsics.InArray)
def in_array(value: Value, array: Array) -> bool:
    """Return true if a value of the array equals (==) the given one. Today's form is array_includes()."""
    return intrinsics.holds(array, value)


@chapter.function("array_join", constant=True, node=intrinsics.ArrayJoin)
def array_join(array: Array, separator: bytes = b"") -> bytes:
    """Join the values of an array to a string; none is empty."""
    return intrinsics.join(array, separator)


@chapter.function("implode", constant=True, node=intrinsics.Implode)
def implode(glue: bytes, array: Array) -> bytes:
    """Join the values of an array to a string. Today's form is array_join()."""
    return intrinsics.join(array, glue)


@chapter.function("explode", constant=True, node=intrinsics.Explode)
def explode(delimiter: bytes, string: bytes) -> Array:
    """Split a string into an array. Today's form is str_split()."""
    if not delimiter:
        raise ScriptError("explode(): parameter 1 (delimiter): cannot be empty")
    return intrinsics.split(string, delimiter)


@chapter.function("array_keys", constant=True)
def array_keys(array: Array) -> Array:
    """Return the keys of an array."""
    return sequences.keys(array)


@chapter.function("array_map")
def array_map(run: Run, callback: Function, array: Array) -> Array:
    """Return what the callback makes of each value, under the same keys."""
    return sequences.mapped(run, callback, array)


@chapter.function("array_range", constant=True)
def array_range(start: float, stop: float, step: float = 1.0) -> Array:
    """Return the numbers from start up to, not including, stop. Empty if the step leads away from stop."""
    return numbers(start, step, math.ceil(steps("array_range", start, stop, step) - NEARLY))


@chapter.function("range", constant=True)
def inclusive_range(start: float, stop: float, step: float = 1.0) -> Array:
    """Return the numbers from start to stop, stop included. Today's form, without its end, is array_range()."""
    return numbers(start, step, math.floor(steps("range", start, stop, step) + NEARLY) + 1)


def steps(function: str, start: float, stop: float, step: float) -> float:
    """How many steps lead from start to stop, capped far above the limit of an array."""
    if not (math.isfinite(start) and math.isfinite(stop) and math.isfinite(step)):
        raise ScriptError(f"{function}(): wanted finite numbers")
    if step == 0.0:
        raise ScriptError(f"{function}(): parameter 3 (step): cannot be 0")
    distance = stop / 2 - start / 2  # halves, so that it cannot overflow
    if abs(distance) > abs(step) * 1e12:
        return math.copysign(1e12, distance) * math.copysign(1.0, step)
    return 2 * distance / step


def numbers(start: float, step: float, count: int) -> Array:
    check_items(count)
    return Array.of(start + index * step for index in range(count))


@chapter.function("array_reduce")
def array_reduce(run: Run, callback: Function, array: Array, initial: Value = OMITTED) -> Value:
    """Return the last result of callback(carry, value), called for each value from left to right.

    Without `initial` the first value is the first carry, and an empty array is an error.
    """
    return sequences.reduced(run, callback, array, initial)


@chapter.function("array_reverse", constant=True)
def array_reverse(array: Array) -> Array:
    """Return an array in reverse order; number keys are renumbered, other keys stay."""
    return renumbered(reversed(list(array.pairs())))


@chapter.function("array_shuffle")
def array_shuffle(array: Array) -> Array:
    """Return the values of an array in random order."""
    values = [share(value) for value in array.values()]
    SystemRandom().shuffle(values)
    return Array(values)


@chapter.function("array_unique", constant=True)
def array_unique(array: Array) -> Array:
    """Return an array without the values that are identical (===) to an earlier one; keys are kept."""
    first: dict[object, Pair] = {}
    for key, value in array.pairs():
        first.setdefault((type(value), value), (key, share(value)))
    return Array.from_pairs(first.values())


class SortOptions(Options):
    keys: bool = option(False, "Sort by the keys instead of the values.")


@chapter.function("array_sort")
def array_sort(run: Run, callback: Function, array: Array, options: SortOptions) -> Array:
    """Return an array sorted by callback(a, b), which returns true if a comes before b.

    Keys stay with their values. Values that are neither before nor after each other keep their order.
    """
    return sequences.arranged(run, callback, array, options.keys)
