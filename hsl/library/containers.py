"""The classes Map and Set: what scripts collect by key comes in, one type for all keys and one for all values.

Unlike an array's keys they are never cast: the string "1" stays one. A copy of the variable is the same object.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final

from hsl.arithmetic import add, check_items
from hsl.builtins import Chapter, NativeObject, method
from hsl.errors import ScriptError, near
from hsl.invocation import convert
from hsl.values import Object, Value, share

chapter = Chapter("Map and Set")

KEY_TYPES: Final = ("string", "number", "boolean")
VALUE_TYPES: Final = (*KEY_TYPES, "array", "function", "object", "any")

Pair = tuple[Value, Value]


class Typed:
    """One type by its name, and the values of it."""

    __slots__ = ("name", "names")

    def __init__(self, name: bytes, allowed: tuple[str, ...], where: str) -> None:
        self.name = name.decode("utf-8", "replace")
        self.names = frozenset({self.name})
        if self.name not in allowed:
            shown = ", ".join(allowed)
            raise ScriptError(f"{where}: wanted one of {shown}", hint=near(self.name[:40], allowed))

    def value(self, value: Value, function: str, parameter: str) -> Value:
        """A value of the type. Raises ScriptError that names function, parameter, wanted and got."""
        converted: Value = convert(value, self.names, False, function, parameter)
        return share(converted)

    def key(self, key: Value, function: str) -> Value:
        """A key of the type; nan is none, since it equals nothing."""
        converted = self.value(key, function, "parameter 1 (key)")
        if isinstance(converted, float) and math.isnan(converted):
            raise ScriptError(f"{function}(): parameter 1 (key): cannot be nan")
        return converted


@chapter.object("Iterator", creatable=False)
class PairIterator(NativeObject):
    """What foreach walks: the items of a Map or Set as they were when it was asked for.

    It is walked once: a foreach that was left is continued by the next one, and one that ended gives nothing more.

    Example:
        $map = Map("string", "number");
        $map->set("a", 1);
        $items = $map->entries();
        $map->clear();
        foreach ($items as $key => $value) echo "$key: $value";  // expect: a: 1
        foreach ($items as $key => $value) throw "it has ended";
    """

    def __init__(self, pairs: Iterable[Pair]) -> None:
        super().__init__()
        self.pairs = iter(list(pairs))

    def walk(self, run: object) -> Iterator[Pair]:
        return self.pairs


@chapter.object("Map")
class ScriptMap(NativeObject):
    """Values by key, in the order in which the keys came. Keys are of one type, values too.

    Types of keys are "string", "number" and "boolean"; of values these, "array", "function", "object" and "any". A key
    or value of another type is an error, as is a key that is nan. At most 4,000,000 keys.

    Example:
        $seen = Map("string", "number");
        $seen->set("example.com", 1);
        echo $seen->get("example.com");  // expect: 1
        foreach ($seen->entries() as $domain => $count) echo "$domain: $count";  // expect: example.com: 1
    """

    def __init__(self, keytype: bytes, valuetype: bytes) -> None:
        super().__init__()
        self.keys = Typed(keytype, KEY_TYPES, "Map(): parameter 1 (keytype)")
        self.values = Typed(valuetype, VALUE_TYPES, "Map(): parameter 2 (valuetype)")
        self.content: dict[Value, Value] = {}

    def put(self, key: Value, value: Value) -> bool:
        """Whether the key is new."""
        added = key not in self.content
        if added:
            check_items(len(self.content) + 1)
        self.content[key] = value
        return added

    @method("set")
    def set(self, key: Value, value: Value) -> bool:
        """Store a value under a key, and return true if the key is new, false if a value was replaced.

        Example:
            $map = Map("number", "any");
            echo $map->set(1, "a");  // expect: true
            echo $map->set(1, ["b"]);  // expect: false
            echo $map->get(1);  // expect: [0=>"b"]
        """
        key = self.keys.key(key, "Map->set")
        return self.put(key, self.values.value(value, "Map->set", "parameter 2 (value)"))

    @method("merge")
    def merge(self, key: Value, value: Value) -> bool:
        """Add (+) a value to the one under a key, or store it, and return true if the key is new.

        Numbers are added, arrays appended, strings joined. Raises an error where the sum is not of the values' type.

        Example:
            $count = Map("string", "number");
            echo $count->merge("a", 1);  // expect: true
            echo $count->merge("a", 2);  // expect: false
            echo $count->get("a");  // expect: 3
        """
        key = self.keys.key(key, "Map->merge")
        value = self.values.value(value, "Map->merge", "parameter 2 (value)")
        if key in self.content:
            value = self.values.value(add(self.content[key], value), "Map->merge", "the sum")
        return self.put(key, value)

    @method("has")
    def has_key(self, key: Value) -> bool:
        """Return true if there is a value under the key.

        Example:
            echo Map("string", "any")->has("a");  // expect: false
        """
        return self.keys.key(key, "Map->has") in self.content

    @method("get")
    def get(self, key: Value) -> Value:
        """Return the value under a key, or none.

        Example:
            echo Map("string", "any")->get("a") ?? "missing";  // expect: missing
        """
        return share(self.content.get(self.keys.key(key, "Map->get")))

    @method("delete")
    def delete(self, key: Value) -> bool:
        """Remove a key, and return whether it was there.

        Example:
            $map = Map("string", "any");
            $map->set("a", 1);
            echo $map->delete("a");  // expect: true
            echo $map->delete("a");  // expect: false
        """
        key = self.keys.key(key, "Map->delete")
        there = key in self.content
        self.content.pop(key, None)
        return there

    @method("size")
    def size(self) -> float:
        """Return the number of keys.

        Example:
            echo Map("string", "any")->size();  // expect: 0
        """
        return float(len(self.content))

    @method("clear")
    def clear(self) -> None:
        """Remove all keys.

        Example:
            $map = Map("string", "any");
            $map->set("a", 1);
            $map->clear();
            echo $map->size();  // expect: 0
        """
        self.content.clear()

    @method("entries")
    def entries(self) -> Object:
        """Return an Iterator for foreach: keys and values as they are now, in the order in which the keys came.

        Example:
            $map = Map("string", "number");
            $map->set("b", 2);
            foreach ($map->entries() as $key => $value) echo "$key: $value";  // expect: b: 2
        """
        return PairIterator(self.content.items())


@chapter.object("Set")
class ScriptSet(NativeObject):
    """Keys of one type, each once, in the order in which they came.

    The types are "string", "number" and "boolean". A key of another type is an error, as is nan. At most 4,000,000
    keys.

    Example:
        $domains = Set("string");
        $domains->add("example.com");
        echo $domains->has("example.com");  // expect: true
        foreach ($domains->values() as $domain) echo $domain;  // expect: example.com
    """

    def __init__(self, keytype: bytes) -> None:
        super().__init__()
        self.keys = Typed(keytype, KEY_TYPES, "Set(): parameter 1 (keytype)")
        self.content: dict[Value, None] = {}

    @method("add")
    def add(self, key: Value) -> bool:
        """Add a key, and return true if it is new.

        Example:
            $set = Set("number");
            echo $set->add(1);  // expect: true
            echo $set->add(1);  // expect: false
        """
        key = self.keys.key(key, "Set->add")
        if key in self.content:
            return False
        check_items(len(self.content) + 1)
        self.content[key] = None
        return True

    @method("has")
    def has_key(self, key: Value) -> bool:
        """Return true if the key is there.

        Example:
            echo Set("string")->has("a");  // expect: false
        """
        return self.keys.key(key, "Set->has") in self.content

    @method("delete")
    def delete(self, key: Value) -> bool:
        """Remove a key, and return whether it was there.

        Example:
            $set = Set("string");
            $set->add("a");
            echo $set->delete("a");  // expect: true
            echo $set->delete("a");  // expect: false
        """
        key = self.keys.key(key, "Set->delete")
        there = key in self.content
        self.content.pop(key, None)
        return there

    @method("size")
    def size(self) -> float:
        """Return the number of keys.

        Example:
            echo Set("string")->size();  // expect: 0
        """
        return float(len(self.content))

    @method("clear")
    def clear(self) -> None:
        """Remove all keys.

        Example:
            $set = Set("string");
            $set->add("a");
            $set->clear();
            echo $set->size();  // expect: 0
        """
        self.content.clear()

    @method("values")
    def values(self) -> Object:
        """Return an Iterator for foreach: the keys as they are now, in the order in which they came, numbered from 0.

        Example:
            $set = Set("string");
            $set->add("b");
            foreach ($set->values() as $number => $key) echo "$number: $key";  // expect: 0: b
        """
        return PairIterator((float(number), key) for number, key in enumerate(self.content))
