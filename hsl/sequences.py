"""What calls a function for the items of an array: map, filter, find, reduce, sort. The arrays stay as they are.

The arguments of a callback are shared where they came out of the array. A callback may suspend the script, and may
change the variable that the array came from: the loops walk a list of their own, and none of them is C's.
"""

from __future__ import annotations

from typing import Final

from hsl.errors import ScriptError
from hsl.run import Run
from hsl.values import Array, Function, Resource, Value, share, strict_equal, truthy

OMITTED: Final[Value] = Resource("omitted")  # a left-out argument where none is a value like others


def entries(array: Array) -> tuple[list[Value], list[Value]]:
    """The keys and the values, in lists that nobody else holds."""
    return list(array.keys()), list(array.values())


def keys(array: Array) -> Array:
    """The keys as an array."""
    return Array([share(key) for key in array.keys()])  # noqa: SIM118  (not a dict)


def mapped(run: Run, callback: Function, array: Array) -> Array:
    """What the callback makes of each value, under the same keys."""
    if array.items is not None:
        return Array([callback.call_one(run, share(value)) for value in list(array.items)])
    names, values = entries(array)
    result = Array()
    for index in range(len(names)):
        result.set(names[index], callback.call_one(run, share(values[index])))
    return result


def filtered(run: Run, callback: Function, array: Array) -> Array:
    """The values for which the callback returns true, under their keys."""
    result = Array()
    names, values = entries(array)
    for index in range(len(names)):
        value = values[index]
        if truthy(callback.call_one(run, share(value))):
            result.set(names[index], value)
    return result


def position(run: Run, callback: Function, values: list[Value], sought: bool) -> int:
    """The first value for which the truth of what the callback returns is the sought one; -1 without any."""
    for index in range(len(values)):
        if truthy(callback.call_one(run, share(values[index]))) is sought:
            return index
    return -1


def reduced(run: Run, callback: Function, array: Array, initial: Value) -> Value:
    """The last result of callback(carry, value). Raises ScriptError for an empty array without `initial`."""
    values = [share(value) for value in array.values()]
    first = 0
    carry = share(initial)
    if initial is OMITTED:
        if not values:
            raise ScriptError("array_reduce(): the array is empty and there is no initial value")
        carry = values[0]
        first = 1
    for index in range(first, len(values)):
        carry = callback.call_two(run, carry, values[index])
    return carry


def includes(values: list[Value], needle: Value) -> bool:
    """Whether one of the values is identical to the needle."""
    if isinstance(needle, bytes):
        return needle in values  # bytes equal only bytes
    return any(strict_equal(needle, value) for value in values)


def arranged(run: Run, callback: Function, array: Array, by_keys: bool) -> Array:
    """Sorted by callback(a, b), which returns true if a comes before b. Keys stay with their values."""
    names, values = entries(array)
    result = Array()
    for place in merge_sort(run, callback, names if by_keys else values):
        result.set(names[place], share(values[place]))
    return result


def merge_sort(run: Run, before: Function, values: list[Value]) -> list[int]:
    """The places of the values in their order. Stable, bottom-up, n log n calls.

    (Not list.sort: a callback may suspend the script, which C cannot.)
    """
    for value in values:
        share(value)
    order = list(range(len(values)))
    width = 1
    while width < len(order):
        merged: list[int] = []
        for start in range(0, len(order), 2 * width):
            merge(run, before, values, order, start, width, merged)
        order = merged
        width *= 2
    return order


def merge(
    run: Run, before: Function, values: list[Value], order: list[int], start: int, width: int, merged: list[int]
) -> None:
    """Append two sorted neighbours of a width as one."""
    first = start
    middle = second = min(start + width, len(order))
    end = min(middle + width, len(order))
    while first < middle and second < end:
        left = order[first]
        right = order[second]
        if truthy(before.call_two(run, values[right], values[left])):
            merged.append(right)
            second += 1
        else:
            merged.append(left)
            first += 1
    merged += order[first:middle]
    merged += order[second:end]
