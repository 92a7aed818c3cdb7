"""The values of the language, and what they are when seen as another type.

none is None, boolean is bool, number is float, string is bytes; Array, Function, Object and Resource are the classes
below. The reference's tables (equality, truthiness, key casts: chapters "operators" and "literals") are code here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Final, TypeAlias

from mypy_extensions import mypyc_attr

from hsl.errors import ScriptError, near

MAX_ARRAY_DEPTH: Final = 1_000
MAX_STRING: Final = 64 * 1024 * 1024  # bytes of one string
MAX_ITEMS: Final = 4_000_000  # items of one array
MAX_WORK: Final = 1_000_000  # items visited by one comparison, written by one conversion to a string

INTEGER_KEY = re.compile(rb"(?:0|-?[1-9][0-9]{0,15})\Z")
DECIMAL = re.compile(rb"\s*([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*\Z")
HEXADECIMAL = re.compile(rb"\s*([+-]?)0[xX]([0-9a-fA-F]{1,256})\s*\Z")
EXACT: Final = float(2**53)
NINE: Final = 0x39  # the last character that a number can begin with


@mypyc_attr(allow_interpreted_subclasses=True)
class Function:
    """A callable value. `call` takes the run, the arguments and gives the result; subclasses live in the evaluator."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def call(self, run: object, arguments: list[Value]) -> Value:
        raise ScriptError(f"{self.name} cannot be called")

    def call_one(self, run: object, value: Value) -> Value:
        """`call` with one argument, without a list where that is possible."""
        return self.call(run, [value])

    def call_two(self, run: object, value: Value, other: Value) -> Value:
        return self.call(run, [value, other])

    def same(self, other: Function) -> bool:
        """Whether both are the same function (===)."""
        return self is other


@mypyc_attr(allow_interpreted_subclasses=True)
class Object:
    """An instance of a class, held by reference. `->` and `[]` on it come here.

    `this` is the object whose function is running, or None: private and readonly members open only to themselves.
    All raise ScriptError for what the class does not allow.
    """

    __slots__ = ("class_name",)

    def __init__(self, class_name: str) -> None:
        self.class_name: Final = class_name

    def read(self, key: Value, this: Object | None) -> Value:
        """The property or bound method; None where there is none."""
        return None

    def has(self, key: Value, this: Object | None) -> bool:
        return False

    def write(self, key: Value, value: Value, this: Object | None) -> None:
        raise ScriptError(f"{self.class_name} has no properties to assign to")

    def remove(self, key: Value, this: Object | None) -> bool:
        raise ScriptError(f"{self.class_name} has no properties to unset")

    def invoke(self, run: object, key: Value, arguments: list[Value], this: Object | None) -> Value:
        """Call a method, or a function that a property holds."""
        function = self.read(key, this)
        if isinstance(function, Function):
            return function.call(run, arguments)
        raise self.no_method(key)

    def methods(self) -> list[str]:
        """The names of the methods, for hints."""
        return []

    def no_method(self, key: Value) -> ScriptError:
        name = to_text(key)
        return ScriptError(f"{self.class_name} has no method {name}()", None, near(name, self.methods()))

    def walk(self, run: object) -> Iterator[tuple[Value, Value]]:
        """The keys and values that `foreach` sees."""
        raise ScriptError(f"foreach wants an array or an iterator, got {self.class_name}")


@mypyc_attr(allow_interpreted_subclasses=True)
class Resource:
    """A handle of the host (a certificate, a key) that scripts pass around but cannot look into."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        self.kind: Final = kind


class Array:
    """An ordered map with value semantics by copy-on-write.

    `items` holds the values while the keys are 0..n-1 (reads and appends are O(1)); otherwise `map` holds key to value.
    `shared` is set when the array is stored a second time; whoever wants to change a shared or borrowed array changes
    an `own()` copy instead. `borrows` counts the loops that walk the array right now.
    """

    __slots__ = ("borrows", "depth", "items", "map", "next_index", "shared")

    def __init__(self, items: list[Value] | None = None) -> None:
        self.items: list[Value] | None = [] if items is None else items
        self.map: dict[Value, Value] | None = None
        self.next_index = 0.0
        self.shared = False
        self.borrows = 0
        self.depth = 1
        if items:
            for value in items:
                if type(value) is Array:
                    self.deepen(value)

    @classmethod
    def of(cls, values: Iterable[Value]) -> Array:
        return cls(list(values))

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[Value, Value]]) -> Array:
        array = cls()
        for key, value in pairs:
            array.set(key, value)
        return array

    @classmethod
    def record(cls, entries: dict[Value, Value]) -> Array:
        """An array of named entries. The keys are strings that are no integers, so that nothing needs a cast."""
        array = cls()
        array.items = None
        array.map = entries
        for value in entries.values():
            if type(value) is Array:
                array.deepen(value)
        return array

    def __len__(self) -> int:
        items = self.items
        if items is not None:
            return len(items)
        entries = self.map
        return 0 if entries is None else len(entries)

    def get(self, key: Value) -> Value:
        """The value at a key (cast by the reference's rules), or None."""
        entries = self.map
        if entries is not None:
            return entries.get(array_key(key))
        items = self.items
        assert items is not None
        if isinstance(key, bytes):
            key = array_key(key)
        if isinstance(key, bool):
            key = 1.0 if key else 0.0
        if isinstance(key, float) and -1.0 < key < float(len(items)) and items:
            return items[int(key)]
        return None

    def has(self, key: Value) -> bool:
        key = array_key(key)
        entries = self.map
        if entries is not None:
            return key in entries
        items = self.items
        assert items is not None
        return isinstance(key, float) and 0.0 <= key < float(len(items))

    def set(self, key: Value, value: Value) -> None:
        """Store in place: the caller owns this array."""
        if isinstance(value, Array):
            self.deepen(value)
        items = self.items
        if items is not None and isinstance(key, float):
            size = float(len(items))
            if -1.0 < key < size and size > 0.0:
                items[int(key)] = value
                return
            if size <= key < size + 1.0:
                self.append(value)
                return
        key = array_key(key)
        if items is not None:
            if isinstance(key, float) and 0.0 <= key <= float(len(items)):  # cast from another type
                self.set(key, value)
                return
            self.to_map()
        entries = self.map
        assert entries is not None
        if isinstance(key, float):
            if self.next_index <= key < EXACT:
                self.next_index = key + 1.0
        elif isinstance(key, Array):
            key.shared = True
        if len(entries) >= MAX_ITEMS and key not in entries:
            raise ScriptError(f"array exceeds {MAX_ITEMS} items")
        entries[key] = value

    def append(self, value: Value) -> None:
        """Store at the next index, in place: the caller owns this array."""
        if isinstance(value, Array):
            self.deepen(value)
        items = self.items
        if items is not None:
            if len(items) >= MAX_ITEMS:
                raise ScriptError(f"array exceeds {MAX_ITEMS} items")
            items.append(value)
        else:
            self.set(self.next_index, value)

    def remove(self, key: Value) -> bool:
        """Remove a key in place; the others keep theirs. True if it was there."""
        key = array_key(key)
        if not self.has(key):
            return False
        if self.items is not None:
            self.to_map()  # the next index does not fall back, as in PHP
        assert self.map is not None
        del self.map[key]
        return True

    def to_map(self) -> None:
        items = self.items or []
        self.map = {float(index): value for index, value in enumerate(items)}
        self.next_index = float(len(items))
        self.items = None

    def keys(self) -> list[Value]:
        if self.items is not None:
            return [float(index) for index in range(len(self.items))]
        return list(self.map or ())

    def values(self) -> list[Value]:
        """The values in order. The list may be the array's own: do not change it."""
        if self.items is not None:
            return self.items
        return list((self.map or {}).values())

    def pairs(self) -> Iterator[tuple[Value, Value]]:
        if self.items is not None:
            for index, value in enumerate(self.items):
                yield float(index), value
        else:
            yield from (self.map or {}).items()

    def own(self) -> Array:
        """This array if nobody else holds it, else a copy that the caller may change."""
        return self.copy() if self.shared or self.borrows else self

    def copy(self) -> Array:
        """A shallow copy; nested arrays become shared."""
        for value in self.values():
            if isinstance(value, Array):
                value.shared = True
        array = Array()
        array.depth = self.depth
        array.next_index = self.next_index
        if self.items is not None:
            array.items = list(self.items)
        else:
            array.items = None
            array.map = dict(self.map or {})
        return array

    def become(self, other: Array) -> None:
        """Take the content of another array, which nobody else holds."""
        self.items = other.items
        self.map = other.map
        self.next_index = other.next_index
        self.depth = other.depth

    def deepen(self, child: Array) -> None:
        if child.depth >= self.depth:
            if child.depth >= MAX_ARRAY_DEPTH:
                raise ScriptError(f"array is nested more than {MAX_ARRAY_DEPTH} deep")
            self.depth = child.depth + 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Array) and arrays_equal(self, other)

    def __hash__(self) -> int:
        """Of the outer values: the whole content could take for ever ([$a, $a] nested 60 times)."""
        return hash(tuple(len(value) if type(value) is Array else value for value in self.values()))

    def __repr__(self) -> str:
        return f"Array({to_text(self)!r})"


# The order is that in which compiled code tells them apart.
Value: TypeAlias = float | None | bool | bytes | Array | Object | Function | Resource  # noqa: RUF036


NAN_KEY: Final[Value] = math.nan  # one object: a dict finds NaN by identity


def share(value: Value) -> Value:
    """To be called on a value that comes out of a variable and is stored once more."""
    if isinstance(value, Array):
        value.shared = True
    return value


def array_key(key: Value) -> Value:
    """A key after the reference's casts ("operators", subscript): booleans and integer strings become numbers,
    fractions are cut off; numbers never wrap."""
    if isinstance(key, bytes):
        if not 0 < len(key) <= 17 or key[0] > NINE:  # most keys are names
            return key
        if INTEGER_KEY.match(key):
            number = float(key)
            return number if abs(number) <= EXACT - 1 else key
        return key
    if isinstance(key, float):
        if -EXACT <= key <= EXACT:
            return float(int(key))
        return NAN_KEY if key != key else key
    if isinstance(key, bool):
        return 1.0 if key else 0.0
    return key


def type_name(value: Value) -> str:
    """The reference's word for a value's type, as error messages say it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, float):
        return "number"
    if isinstance(value, bytes):
        return "string"
    if isinstance(value, Array):
        return "array"
    if isinstance(value, Function):
        return "function"
    return "object" if isinstance(value, Object) else "resource"


def truthy(value: Value) -> bool:
    """Truthiness by the reference's table: only 0, "", [], false and none are false ("0" is true)."""
    if value is True or value is False:
        return value
    if value is None:
        return False
    if isinstance(value, float):
        return value != 0.0
    if isinstance(value, bytes):
        return len(value) > 0
    if isinstance(value, Array):
        return len(value) > 0
    return True


def to_number(value: Value) -> float:
    """number(): decimal and hexadecimal strings, booleans as 1 and 0, everything else 0."""
    if isinstance(value, float):
        return value
    if isinstance(value, bool):
        return 1.0 if value else 0.0
    if isinstance(value, bytes):
        if value.isdigit():
            return float(value)
        match = DECIMAL.match(value)
        if match:
            return float(match[1])
        match = HEXADECIMAL.match(value)
        if match:
            magnitude = int(match[2], 16)
            number = float(magnitude) if magnitude < 1 << 1023 else math.inf
            return -number if match[1] == b"-" else number
    return 0.0


def number_text(number: float) -> str:
    """A number as scripts see it: 1.0 is `1`, no -0, no exponent from 1e-6 up to 1e21."""
    if -EXACT <= number <= EXACT:
        whole = int(number)
        if float(whole) == number:
            return str(whole)
    if number != number:
        return "nan"
    if math.isinf(number):
        return "inf" if number > 0 else "-inf"
    text = repr(number)
    if "e" not in text:
        return text.removesuffix(".0")
    if 1e-6 <= abs(number) < 1e21:
        return format(Decimal(text), "f").removesuffix(".0")
    mantissa, exponent = text.split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent):+d}"


def to_string(value: Value) -> bytes:
    """string(): what `echo` writes and `.` joins, except that `.` takes none as empty."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, float):
        return number_text(value).encode()
    if value is None:
        return b"none"
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, Array):
        return array_text(value)
    if isinstance(value, Function):
        return b"function " + value.name.encode()
    return (value.class_name if isinstance(value, Object) else value.kind).encode()


def to_text(value: Value) -> str:
    """The string form of a value for people: logs, tables, the REPL."""
    return to_string(value).decode("utf-8", "replace")


def literal(value: Value) -> bytes:
    """A value as it would be written in a script: strings quoted, arrays in brackets."""
    if isinstance(value, bytes):
        escaped = value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
        return b'"' + escaped + b'"'
    return to_string(value)


def array_text(array: Array) -> bytes:
    """An array as echo shows it. Raises ScriptError over the limits: a small array can be a huge tree."""
    parts: list[bytes] = []
    size = 0

    def write(text: bytes) -> None:
        nonlocal size
        size += len(text)
        if size > MAX_STRING or len(parts) > MAX_WORK:
            raise ScriptError("the array is too large to be shown as a string")
        parts.append(text)

    write_array(array, write)
    return b"".join(parts)


def write_array(array: Array, write: Callable[[bytes], None]) -> None:
    lead = b"["
    for key, value in array.pairs():
        write(lead)
        write(array_text(key) if isinstance(key, Array) else literal(key))
        write(b"=>")
        if isinstance(value, Array):
            write_array(value, write)
        else:
            write(literal(value))
        lead = b","
    write(b"]" if lead == b"," else b"[]")


def concatenation_text(value: Value) -> bytes:
    """A value as an operand of `.` or inside a string: none is empty."""
    if isinstance(value, bytes):
        return value
    return b"" if value is None else to_string(value)


def strict_equal(left: Value, right: Value) -> bool:
    """=== : the same type and the same value; objects and functions by identity."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, Array) and isinstance(right, Array):
        return arrays_equal(left, right)
    if isinstance(left, float):
        return isinstance(right, float) and left == right
    if isinstance(left, bytes):
        return isinstance(right, bytes) and left == right
    if isinstance(left, Function) and isinstance(right, Function):
        return left.same(right)
    return left is right


def arrays_equal(left: Array, right: Array) -> bool:
    """Two arrays are equal with equal keys and strictly equal values in the same order.

    Raises ScriptError after MAX_WORK pairs: a small array can be a huge tree.
    """
    work = 0
    pending = [(left, right)]
    while pending:
        one, other = pending.pop()
        if one is other:
            continue
        if len(one) != len(other):
            return False
        work += len(one)
        if work > MAX_WORK:
            raise ScriptError("the arrays are too large to be compared")
        for (one_key, one_value), (other_key, other_value) in zip(one.pairs(), other.pairs(), strict=True):
            for first, second in ((one_key, other_key), (one_value, other_value)):
                if isinstance(first, Array) and isinstance(second, Array):
                    pending.append((first, second))
                elif not strict_equal(first, second):
                    return False
    return True


def loose_equal(left: Value, right: Value) -> bool:
    """== by the reference's loose equality table ("operators")."""
    if isinstance(left, bytes) and isinstance(right, bytes):
        return left == right
    if left is None or right is None:
        return left is right
    if isinstance(left, bool):
        return to_number(left) == right if isinstance(right, float) else left is truthy(right)
    if isinstance(right, bool):
        return left == to_number(right) if isinstance(left, float) else truthy(left) is right
    if isinstance(left, float):
        return left == number_beside_number(right)
    if isinstance(right, float):
        return right == number_beside_number(left)
    return strict_equal(left, right)


def number_beside_number(value: Value) -> float:
    """A value compared with a number: strings by number(), arrays, functions, objects as their truth."""
    if isinstance(value, float):
        return value
    if isinstance(value, bytes):
        return to_number(value)
    return 1.0 if truthy(value) else 0.0


def less(left: Value, right: Value) -> bool:
    """< : two strings bytewise, everything else as numbers; never an error."""
    if isinstance(left, bytes) and isinstance(right, bytes):
        return left < right
    return to_number(left) < to_number(right)


def less_equal(left: Value, right: Value) -> bool:
    if isinstance(left, bytes) and isinstance(right, bytes):
        return left <= right
    return to_number(left) <= to_number(right)


def integer(number: float, low: float = -EXACT, high: float = EXACT) -> int:
    """A number cut to an integer and clamped; NaN is 0."""
    if number != number:
        return 0
    return int(max(low, min(high, number)))
