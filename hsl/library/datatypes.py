"""Chapter "Data types": what a value is, and what it is when seen as another type (the tables are in hsl.values)."""

from __future__ import annotations

from hsl import intrinsics
from hsl.builtins import Chapter
from hsl.values import Array, Function, Object, Value, share, to_number, truthy

chapter = Chapter("Data types")


@chapter.function("length", aliases=("count", "strlen"), constant=True, node=intrinsics.Length)
def length(value: Value) -> float | None:
    """Return the number of items of an array or of bytes of a string; none for any other type."""
    return float(len(value)) if isinstance(value, (bytes, Array)) else None


@chapter.function("array", constant=True)
def array(*args: Value) -> Array:
    """Return an array of the arguments."""
    return Array([share(value) for value in args])


@chapter.function("boolean", constant=True)
def boolean(value: Value) -> bool:
    """Return the truth of a value: only 0, "", [], false and none are false."""
    return truthy(value)


@chapter.function("number", constant=True, node=intrinsics.Number)
def number(value: Value) -> float:
    """Return a value as a number: decimal and hexadecimal (0x) strings, booleans as 1 and 0, anything else 0."""
    return to_number(value)


@chapter.function("string", constant=True, node=intrinsics.String)
def string(value: Value) -> bytes:
    """Return a value as a string, as echo writes it."""
    return intrinsics.text(value)


@chapter.function("is_array", constant=True, node=intrinsics.IsArray)
def is_array(value: Value) -> bool:
    """Return true if the value is an array."""
    return isinstance(value, Array)


@chapter.function("is_boolean", constant=True, node=intrinsics.IsBoolean)
def is_boolean(value: Value) -> bool:
    """Return true if the value is a boolean."""
    return isinstance(value, bool)


@chapter.function("is_function", constant=True, node=intrinsics.IsFunction)
def is_function(value: Value) -> bool:
    """Return true if the value is a function."""
    return isinstance(value, Function)


@chapter.function("is_number", constant=True, node=intrinsics.IsNumber)
def is_number(value: Value) -> bool:
    """Return true if the value is a number."""
    return isinstance(value, float)


@chapter.function("is_object", constant=True, node=intrinsics.IsObject)
def is_object(value: Value) -> bool:
    """Return true if the value is an object."""
    return isinstance(value, Object)


@chapter.function("is_string", constant=True, node=intrinsics.IsString)
def is_string(value: Value) -> bool:
    """Return true if the value is a string."""
    return isinstance(value, bytes)
