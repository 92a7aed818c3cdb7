"""Chapter "Data types": what a value is, and what it is when seen as another type (the tables are in hsl.values)."""

from __future__ import annotations

from hsl import intrinsics
from hsl.builtins import Chapter
from hsl.values import Array, Function, Object, Value, share, to_number, truthy

chapter = Chapter("Data types")


@chapter.function("length", aliases=("count", "strlen"), constant=True, node=intrinsics.Length)
def length(value: Value) -> float | None:
    """Return the number of items of an array or of bytes of a string; none for any other type.

    Example:
        echo length([1, 2]);  // expect: 2
        echo length("é");  // expect: 2
        echo length(17);  // expect: none
    """
    return float(len(value)) if isinstance(value, (bytes, Array)) else None


@chapter.function("array", constant=True)
def array(*args: Value) -> Array:
    """Return an array of the arguments.

    Example:
        echo array("a", 1);  // expect: [0=>"a",1=>1]
    """
    return Array([share(value) for value in args])


@chapter.function("boolean", constant=True)
def boolean(value: Value) -> bool:
    """Return the truth of a value: only 0, "", [], false and none are false.

    Example:
        echo boolean("0");  // expect: true
        echo boolean([]);  // expect: false
    """
    return truthy(value)


@chapter.function("number", constant=True, node=intrinsics.Number)
def number(value: Value) -> float:
    """Return a value as a number: decimal and hexadecimal (0x) strings, booleans as 1 and 0, anything else 0.

    Example:
        echo number("0xff") + number("1.5");  // expect: 256.5
        echo number("abc");  // expect: 0
    """
    return to_number(value)


@chapter.function("string", constant=True, node=intrinsics.String)
def string(value: Value) -> bytes:
    """Return a value as a string, as echo writes it.

    The result has at most 64 MiB.

    Example:
        echo string(1.50) . string(true);  // expect: 1.5true
    """
    return intrinsics.text(value)


@chapter.function("is_array", constant=True, node=intrinsics.IsArray)
def is_array(value: Value) -> bool:
    """Return true if the value is an array.

    Example:
        echo is_array([]);  // expect: true
        echo is_array("");  // expect: false
    """
    return isinstance(value, Array)


@chapter.function("is_boolean", constant=True, node=intrinsics.IsBoolean)
def is_boolean(value: Value) -> bool:
    """Return true if the value is a boolean.

    Example:
        echo is_boolean(false);  // expect: true
        echo is_boolean(0);  // expect: false
    """
    return isinstance(value, bool)


@chapter.function("is_function", constant=True, node=intrinsics.IsFunction)
def is_function(value: Value) -> bool:
    """Return true if the value is a function.

    Example:
        echo is_function(length);  // expect: true
        echo is_function("length");  // expect: false
    """
    return isinstance(value, Function)


@chapter.function("is_number", constant=True, node=intrinsics.IsNumber)
def is_number(value: Value) -> bool:
    """Return true if the value is a number.

    Example:
        echo is_number(1);  // expect: true
        echo is_number("1");  // expect: false
    """
    return isinstance(value, float)


@chapter.function("is_object", constant=True, node=intrinsics.IsObject)
def is_object(value: Value) -> bool:
    """Return true if the value is an object.

    Example:
        echo is_object(Exception("x"));  // expect: true
        echo is_object([]);  // expect: false
    """
    return isinstance(value, Object)


@chapter.function("is_string", constant=True, node=intrinsics.IsString)
def is_string(value: Value) -> bool:
    """Return true if the value is a string.

    Example:
        echo is_string("");  // expect: true
        echo is_string(1);  // expect: false
    """
    return isinstance(value, bytes)
