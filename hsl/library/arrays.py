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

    `default_value` stands for values that are missing. Raises an error when there are more values than keys, and when
    there are fewer without a default. Of equal keys the last one counts.

    Example:
        echo array_combine(["a", "b"], [1, 2]);  // expect: ["a"=>1,"b"=>2]
        echo array_combine(["a", "b"], [1], 0);  // expect: ["a"=>1,"b"=>0]
    """
    missing = len(keys) - len(values)
    if missing < 0 or (missing and default_value is OMITTED):
        raise ScriptError(f"array_combine(): got {len(keys)} keys and {len(values)} values")
    filled = [*values.values(), *[default_value] * missing]
    return Array.from_pairs((key, share(value)) for key, value in zip(keys.values(), filled, strict=True))


@chapter.function("array_every")
def array_every(run: Run, callback: Function, array: Array) -> bool:
    """Return true if the callback returns true for every value.

    It is called as callback(value), up to the first value for which it does not. Of an empty array true.

    Example:
        echo array_every(function ($x) { return $x > 0; }, [1, 2, 3]);  // expect: true
    """
    return sequences.position(run, callback, list(array.values()), False) < 0


@chapter.function("array_filter")
def array_filter(run: Run, callback: Function, array: Array) -> Array:
    """Return the values for which callback(value) returns true, under their keys.

    Example:
        echo array_filter(is_number, [1, "b", 3]);  // expect: [0=>1,2=>3]
    """
    return sequences.filtered(run, callback, array)


@chapter.function("array_find")
def array_find(run: Run, callback: Function, array: Array) -> Value:
    """Return the first value for which callback(value) returns true, or none.

    Example:
        echo array_find(function ($x) { return $x > 1; }, [1, 2, 3]);  // expect: 2
    """
    values = list(array.values())
    place = sequences.position(run, callback, values, True)
    return None if place < 0 else values[place]


@chapter.function("array_includes", node=intrinsics.ArrayIncludes)
def array_includes(run: Run, needle: Value, array: Array) -> bool:
    """Return true if a value of the array is identical (===) to the needle, or if a callback returns true for one.

    A needle that is a function is called as needle(value).

    Example:
        echo array_includes("b", ["a", "b"]);  // expect: true
        echo array_includes(false, [0, none, ""]);  // expect: false
        echo array_includes(function ($x) { return $x > 2; }, [1, 2]);  // expect: false
    """
    if isinstance(needle, Function):
        return sequences.position(run, needle, list(array.values()), True) >= 0
    return sequences.includes(array.values(), needle)


@chapter.function("in_array", constant=True, node=intrinsics.InArray)
def in_array(value: Value, array: Array) -> bool:
    """Return true if a value of the array equals (==) the given one. Today's form is array_includes().

    Example:
        echo in_array("2", [1, 2]);  // expect: true
    """
    return intrinsics.holds(array, value)


@chapter.function("array_join", constant=True, node=intrinsics.ArrayJoin)
def array_join(array: Array, separator: bytes = b"") -> bytes:
    """Join the values of an array to a string; none is empty, other values are as echo writes them.

    The result has at most 64 MiB.

    Example:
        echo array_join(["a", "b"], ", ");  // expect: a, b
    """
    return intrinsics.join(array, separator)


@chapter.function("implode", constant=True, node=intrinsics.Implode)
def implode(glue: bytes, array: Array) -> bytes:
    """Join the values of an array to a string. Today's form is array_join().

    Example:
        echo implode(", ", ["a", "b"]);  // expect: a, b
    """
    return intrinsics.join(array, glue)


@chapter.function("explode", constant=True, node=intrinsics.Explode)
def explode(delimiter: bytes, string: bytes) -> Array:
    """Split a string into an array. Today's form is str_split().

    Works on bytes. Raises an error for an empty delimiter.

    Example:
        echo explode(",", "a,b");  // expect: [0=>"a",1=>"b"]
    """
    if not delimiter:
        raise ScriptError("explode(): parameter 1 (delimiter): cannot be empty")
    return intrinsics.split(string, delimiter)


@chapter.function("array_keys", constant=True)
def array_keys(array: Array) -> Array:
    """Return the keys of an array.

    Example:
        echo array_keys(["a" => 1, "b" => 2]);  // expect: [0=>"a",1=>"b"]
    """
    return sequences.keys(array)


@chapter.function("array_map")
def array_map(run: Run, callback: Function, array: Array) -> Array:
    """Return what callback(value) makes of each value, under the same keys.

    Example:
        echo array_map(function ($x) { return $x * 2; }, [1, 2]);  // expect: [0=>2,1=>4]
    """
    return sequences.mapped(run, callback, array)


@chapter.function("array_random")
def array_random(array: Array) -> Array:
    """Return an array with one of the items, chosen at random, under its key; of an empty array an empty one.

    Each item has the same chance. The random numbers are the system's.

    Example:
        [$server] = array_random(["mx1", "mx1"]);
        echo $server;  // expect: mx1
    """
    pairs = list(array.pairs())
    return Array.from_pairs((key, share(value)) for key, value in pairs and [SystemRandom().choice(pairs)])


@chapter.function("array_range", constant=True)
def array_range(start: float, stop: float, step: float = 1.0) -> Array:
    """Return the numbers from start up to, not including, stop. Empty if the step leads away from stop.

    At most 4,000,000 numbers. Raises an error for a step of 0 and for numbers that are not finite.

    Example:
        echo array_range(0, 3);  // expect: [0=>0,1=>1,2=>2]
        echo array_range(3, 0, -2);  // expect: [0=>3,1=>1]
    """
    return numbers(start, step, math.ceil(steps("array_range", start, stop, step) - NEARLY))


@chapter.function("range", constant=True)
def inclusive_range(start: float, stop: float, step: float = 1.0) -> Array:
    """Return the numbers from start to stop, stop included. Today's form, without its end, is array_range().

    Example:
        echo range(0, 3);  // expect: [0=>0,1=>1,2=>2,3=>3]
    """
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

    Example:
        echo array_reduce(function ($carry, $x) { return $carry + $x; }, [1, 2, 3]);  // expect: 6
    """
    return sequences.reduced(run, callback, array, initial)


@chapter.function("array_reverse", constant=True)
def array_reverse(array: Array) -> Array:
    """Return an array in reverse order; number keys are renumbered, other keys stay.

    Example:
        echo array_reverse([1, 2, "k" => 3]);  // expect: ["k"=>3,0=>2,1=>1]
    """
    return renumbered(reversed(list(array.pairs())))


@chapter.function("array_shuffle")
def array_shuffle(array: Array) -> Array:
    """Return the values of an array in random order, renumbered. The random numbers are the system's.

    Example:
        echo length(array_shuffle([1, 2, 3]));  // expect: 3
    """
    values = [share(value) for value in array.values()]
    SystemRandom().shuffle(values)
    return Array(values)


@chapter.function("array_unique", constant=True)
def array_unique(array: Array) -> Array:
    """Return an array without the values that are identical (===) to an earlier one; keys are kept.

    Example:
        echo array_unique([1, "1", 1, 2]);  // expect: [0=>1,1=>"1",3=>2]
    """
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

    Example:
        echo array_sort(function ($a, $b) { return $a < $b; }, [2, 3, 1]);  // expect: [2=>1,0=>2,1=>3]
        $fruit = ["b" => 1, "a" => 2];
        echo array_sort(function ($a, $b) { return $a < $b; }, $fruit, ["keys" => true]);  // expect: ["a"=>2,"b"=>1]
    """
    return sequences.arranged(run, callback, array, options.keys)
