"""Chapter "Array". Arrays come in as they are and are never changed: what goes out is new, its nested values shared."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from random import SystemRandom
from typing import TYPE_CHECKING, Final

from hsl.arithmetic import check_items, check_string
from hsl.builtins import Chapter, Options, option
from hsl.errors import ScriptError
from hsl.values import Array, Function, Resource, Value, concatenation_text, loose_equal, share, strict_equal, truthy

if TYPE_CHECKING:
    from hsl.run import Run

chapter = Chapter("Array")

OMITTED: Final[Value] = Resource("omitted")  # a left-out argument where none is a value like others
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
    return all(truthy(callback.call(run, [share(value)])) for value in list(array.values()))


@chapter.function("array_filter")
def array_filter(run: Run, callback: Function, array: Array) -> Array:
    """Return the values for which the callback returns true, under their keys."""
    return Array.from_pairs(
        (key, value) for key, value in list(array.pairs()) if truthy(callback.call(run, [share(value)]))
    )


@chapter.function("array_find")
def array_find(run: Run, callback: Function, array: Array) -> Value:
    """Return the first value for which the callback returns true, or none."""
    for value in list(array.values()):
        if truthy(callback.call(run, [share(value)])):
            return value
    return None


@chapter.function("array_includes")
def array_includes(run: Run, needle: Value, array: Array) -> bool:
    """Return true if a value of the array is identical (===) to the needle, or if a callback returns true for one."""
    if isinstance(needle, Function):
        return any(truthy(needle.call(run, [share(value)])) for value in list(array.values()))
    return any(strict_equal(needle, value) for value in array.values())


@chapter.function("in_array", constant=True)
def in_array(value: Value, array: Array) -> bool:
    """Return true if a value of the array equals (==) the given one. Today's form is array_includes()."""
    return any(loose_equal(value, item) for item in array.values())


@chapter.function("array_join", constant=True)
def array_join(array: Array, separator: bytes = b"") -> bytes:
    """Join the values of an array to a string; none is empty."""
    size = -len(separator)
    texts = []
    for value in array.values():
        text = concatenation_text(value)
        size += len(text) + len(separator)
        check_string(size)
        texts.append(text)
    return separator.join(texts)


@chapter.function("implode", constant=True)
def implode(glue: bytes, array: Array) -> bytes:
    """Join the values of an array to a string. Today's form is array_join()."""
    return array_join(array, glue)


@chapter.function("explode", constant=True)
def explode(delimiter: bytes, string: bytes) -> Array:
    """Split a string into an array. Today's form is str_split()."""
    if not delimiter:
        raise ScriptError("explode(): parameter 1 (delimiter): cannot be empty")
    check_items(string.count(delimiter) + 1)
    return Array.of(string.split(delimiter))


@chapter.function("array_keys", constant=True)
def array_keys(array: Array) -> Array:
    """Return the keys of an array."""
    return Array.of(share(key) for key in array.keys())  # noqa: SIM118  (not a dict)


@chapter.function("array_map")
def array_map(run: Run, callback: Function, array: Array) -> Array:
    """Return what the callback makes of each value, under the same keys."""
    return Array.from_pairs((key, callback.call(run, [share(value)])) for key, value in list(array.pairs()))


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
    values = [share(value) for value in array.values()]
    if initial is OMITTED:
        if not values:
            raise ScriptError("array_reduce(): the array is empty and there is no initial value")
        carry = values.pop(0)
    else:
        carry = share(initial)
    for value in values:
        carry = callback.call(run, [carry, value])
    return carry


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
    column = 0 if options.keys else 1

    def before(left: Pair, right: Pair) -> bool:
        return truthy(callback.call(run, [share(left[column]), share(right[column])]))

    return Array.from_pairs((key, share(value)) for key, value in merge_sort(list(array.pairs()), before))


def merge_sort(items: list[Pair], before: Callable[[Pair, Pair], bool]) -> list[Pair]:
    """Stable, bottom-up, n log n calls. (Not list.sort: a callback may suspend the script, which C cannot.)"""
    width = 1
    while width < len(items):
        merged: list[Pair] = []
        for start in range(0, len(items), 2 * width):
            merged += merge(items[start : start + width], items[start + width : start + 2 * width], before)
        items = merged
        width *= 2
    return items


def merge(left: list[Pair], right: list[Pair], before: Callable[[Pair, Pair], bool]) -> list[Pair]:
    merged: list[Pair] = []
    first = second = 0
    while first < len(left) and second < len(right):
        if before(right[second], left[first]):
            merged.append(right[second])
            second += 1
        else:
            merged.append(left[first])
            first += 1
    return merged + left[first:] + right[second:]
