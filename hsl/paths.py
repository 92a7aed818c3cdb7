"""Nodes that reach into arrays, strings and objects: subscripts, properties, slices, and assignments to all of them."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from hsl import arithmetic
from hsl.errors import ScriptError
from hsl.nodes import NAN, Frame, Node
from hsl.objects import Instance
from hsl.slots import UNSET, Slot, settled
from hsl.source import Span
from hsl.values import Array, Object, Value, array_key, share, to_number, type_name
from hsl.variables import SlotTarget, Target, This

BYTES: Final = [bytes([byte]) for byte in range(256)]


# ---------------------------------------------------------------- reading


def subscript(base: Value, index: Value, this: Object | None) -> Value:
    """`base[index]` and `base->index`; of a missing key, or of anything that has no keys, none."""
    if isinstance(base, Array):
        return base.get(index)
    if isinstance(base, bytes):
        if isinstance(index, bytes):
            key = array_key(index)
            return byte_at(base, key) if isinstance(key, float) else None
        if isinstance(index, float):
            return byte_at(base, index)
        return byte_at(base, to_number(index)) if isinstance(index, bool) else None
    if isinstance(base, Object):
        return base.read(index, this)
    return None


def byte_at(text: bytes, place: float) -> Value:
    """One byte of a string; a negative place counts from the end."""
    size = len(text)
    if not -float(size) <= place < float(size):
        return None
    at = int(place)
    return BYTES[text[at]] if at >= 0 else BYTES[text[size + at]]


class Subscript(Node):
    """`base[index]`; locals are read here, not by their own nodes."""

    __slots__ = ("base", "base_slot", "index", "index_slot")

    def __init__(self, span: Span, base: Node, index: Node) -> None:
        super().__init__(span)
        self.aliases = True
        self.base: Final = base
        self.index = index
        self.base_slot: Final[i64] = base.slot if type(base) is SlotTarget else -1
        self.index_slot: Final[i64] = index.slot if type(index) is SlotTarget else -1

    def evaluate(self, frame: Frame) -> Value:
        if self.base_slot >= 0:
            held = frame.slots[self.base_slot]
            if isinstance(held, Array):
                return self.item(held, frame)
        base = self.base.evaluate(frame)
        if isinstance(base, Array):
            return self.item(base, frame)
        return self.other(base, self.index.evaluate(frame), frame)

    def item(self, array: Array, frame: Frame) -> Value:
        items = array.items
        if items is None:
            return array.get(self.index.evaluate(frame))
        if self.index_slot >= 0:
            held = frame.slots[self.index_slot]
            place = held if isinstance(held, float) else self.index.number(frame)
        else:
            place = self.index.number(frame)
        if -1.0 < place < float(len(items)) and items:
            return items[int(place)]
        if place == place or frame.mixed is UNSET:
            return None
        return array.get(frame.take())

    def number(self, frame: Frame) -> float:
        value = self.evaluate(frame)
        if isinstance(value, float):
            return value
        frame.mixed = value
        return NAN

    def other(self, base: Value, index: Value, frame: Frame) -> Value:
        try:
            return subscript(base, index, frame.this)
        except ScriptError as error:
            raise self.located(error) from None

    def peek(self, frame: Frame) -> Slot:
        base = settled(self.base.peek(frame))
        index = self.index.evaluate(frame)
        if isinstance(base, Array):
            return base.get(index) if base.has(index) else UNSET
        if isinstance(base, Object):
            return base.read(index, frame.this) if base.has(index, frame.this) else UNSET
        value = subscript(base, index, frame.this)
        return UNSET if value is None else value


class Tolerant(Subscript):
    """A subscript below `??` and `isset`, in which private members are missing ones."""

    __slots__ = ()

    def evaluate(self, frame: Frame) -> Value:
        return settled(self.peek(frame))


class Property(Subscript):
    """`base->name`, and `base["name"]`: the key is known, and cast."""

    __slots__ = ("key",)

    def __init__(self, span: Span, base: Node, index: Node, key: Value) -> None:
        super().__init__(span, base, index)
        self.key: Final = key

    def evaluate(self, frame: Frame) -> Value:
        if self.base_slot >= 0:
            held = frame.slots[self.base_slot]
            if isinstance(held, Array):
                entries = held.map
                return held.get(self.key) if entries is None else entries.get(self.key)
        base = self.base.evaluate(frame)
        if isinstance(base, Array):
            entries = base.map
            return base.get(self.key) if entries is None else entries.get(self.key)
        if isinstance(base, Instance):
            return self.of_instance(base, frame)
        return self.other(base, self.key, frame)

    def of_instance(self, base: Instance, frame: Frame) -> Value:
        if base is frame.this:
            value = base.members.get(self.key)
            if value is not None:
                return value
        try:
            return base.member(self.key, frame.this)
        except ScriptError as error:
            raise self.located(error) from None


class Slice(Node):
    """`base[first:last:step]`."""

    __slots__ = ("base", "bounds")

    def __init__(self, span: Span, base: Node, bounds: list[Node | None]) -> None:
        super().__init__(span)
        self.base: Final = base
        self.bounds: Final = bounds

    def evaluate(self, frame: Frame) -> Value:
        base = self.base.evaluate(frame)
        first, last, step = bound_values(self.bounds, frame)
        try:
            return arithmetic.slice_value(base, first, last, step)
        except ScriptError as error:
            raise self.located(error) from None


def bound_values(bounds: list[Node | None], frame: Frame) -> arithmetic.Bounds:
    values = [None if bound is None else index_of(bound.evaluate(frame)) for bound in bounds]
    return values[0], values[1], values[2]


def index_of(value: Value) -> int | None:
    """A slice bound: a number cut to an integer; none is a bound left out."""
    if value is None:
        return None
    number = to_number(value)
    if number != number:
        return 0
    return int(max(-(2.0**53), min(2.0**53, number)))


# ---------------------------------------------------------------- writing


class Path(Target):
    """`$a[k1]->k2 = …`: where it starts, and the keys from there; a missing key appends.

    It starts at a target, or (`source`) at the object that an expression gives.
    """

    __slots__ = ("keys", "root", "source")

    def __init__(self, span: Span, root: Target | None, source: Node | None, keys: list[Node | None]) -> None:
        super().__init__(span)
        self.aliases = True
        self.root: Final = root
        self.source = source
        self.keys: Final = keys

    def begin(self, frame: Frame) -> Object | None:
        """The object that the path starts from, if it does not start at a target: evaluated once."""
        if self.source is None:
            return None
        value = self.source.evaluate(frame)
        if not isinstance(value, Object):
            raise ScriptError(f"only variables and objects have items to assign to, got {type_name(value)}", self.span)
        return value

    def key_values(self, frame: Frame) -> list[Value]:
        """The keys, evaluated in order; None in the place of an appending one."""
        return [None if key is None else key.evaluate(frame) for key in self.keys]

    def store(self, frame: Frame, value: Value) -> None:
        start = self.begin(frame)
        self.store_at(frame, start, self.key_values(frame), value)

    def container(self, frame: Frame) -> Array | Object:
        start = self.begin(frame)
        keys = self.key_values(frame)
        containers = self.walk(frame, start, [*keys, None])
        settle_depths(containers)
        return containers[-1]

    def existing(self, frame: Frame) -> Array | None:
        start = self.begin(frame)
        keys = self.key_values(frame)
        if not isinstance(self.read_at(frame, start, keys), Array):
            return None
        array = self.walk(frame, start, [*keys, None])[-1]
        assert isinstance(array, Array)
        return array

    def store_at(self, frame: Frame, start: Object | None, keys: list[Value], value: Value) -> None:
        last = len(keys) - 1
        try:
            if start is None and not isinstance(value, Array):
                container = self.quick_walk(frame, keys, last)
                if container is not None:
                    put(container, self.keys[last] is None, keys[last], value, frame)
                    return
            containers = self.walk(frame, start, keys)
            put(containers[-1], self.keys[last] is None, keys[last], value, frame)
        except ScriptError as error:
            raise self.located(error) from None
        settle_depths(containers)

    def quick_walk(self, frame: Frame, keys: list[Value], count: int) -> Array | None:
        """What the first keys lead to where all on the way are arrays that are there and nobody else's."""
        assert self.root is not None
        container = self.root.container(frame)
        if not isinstance(container, Array):
            return None
        for place in range(count):
            held = None if self.keys[place] is None else container.get(keys[place])
            if not isinstance(held, Array) or held.shared or held.borrows > 0:
                return None
            container = held
        return container

    def walk(self, frame: Frame, start: Object | None, keys: list[Value]) -> list[Array | Object]:
        """The arrays (each owned) and objects along the path; the last one is where the last key goes."""
        if start is None:
            assert self.root is not None
            containers = [self.root.container(frame)]
        else:
            containers = [start]
        for place in range(len(keys) - 1):
            node, key = self.keys[place], keys[place]
            parent = containers[-1]
            held = None if node is None else subscript(parent, key, frame.this)
            if isinstance(held, Object):
                containers.append(held)
                continue
            child = held.own() if isinstance(held, Array) else Array()
            if child is not held or isinstance(parent, Object):
                put(parent, node is None, key, child, frame)
            containers.append(child)
        return containers

    def read_at(self, frame: Frame, start: Object | None, keys: list[Value]) -> Value:
        value = start if start is not None else self.start_value(frame)
        for place in range(len(keys)):
            if self.keys[place] is None:
                value = None
            elif isinstance(value, Array):
                value = value.get(keys[place])
            else:
                value = subscript(value, keys[place], frame.this)
        return value

    def start_value(self, frame: Frame) -> Value:
        assert self.root is not None
        return settled(self.root.peek(frame))

    def remove(self, frame: Frame) -> bool:
        start = self.begin(frame)
        keys = self.key_values(frame)
        holder = start if start is not None else self.start_value(frame)
        for key in keys[:-1]:
            holder = subscript(holder, key, frame.this)
        if isinstance(holder, Object):
            return holder.remove(keys[-1], frame.this)
        if not isinstance(holder, Array) or not holder.has(keys[-1]):
            return False
        last = self.walk(frame, start, keys)[-1]
        assert isinstance(last, Array)
        return last.remove(keys[-1])


def put(container: Array | Object, append: bool, key: Value, value: Value, frame: Frame) -> None:
    if isinstance(container, Object):
        if append:
            raise ScriptError(f"[] cannot append to an object of {container.class_name}")
        container.write(key, value, frame.this)
    elif append:
        container.append(value)
    else:
        container.set(key, value)


def settle_depths(containers: list[Array | Object]) -> None:
    """After a change at the end of a path: the arrays around it know how deep they nest."""
    for at in range(len(containers) - 1, 0, -1):
        outer, inner = containers[at - 1], containers[at]
        if isinstance(outer, Array) and isinstance(inner, Array):
            outer.deepen(inner)


class AssignPath(Node):
    """`$a[k] = value`: keys first, then the value, then the store."""

    __slots__ = ("shares", "target", "value")

    def __init__(self, span: Span, target: Path, value: Node) -> None:
        super().__init__(span)
        self.aliases = True
        self.target: Final = target
        self.value: Final = value
        self.shares: Final = value.aliases

    def evaluate(self, frame: Frame) -> Value:
        start = self.target.begin(frame)
        keys = self.target.key_values(frame)
        value = self.value.evaluate(frame)
        if self.shares:
            share(value)
        self.target.store_at(frame, start, keys, value)
        return value


class AssignItem(Node):
    """`$a[k] = value` and `$a[] = value`, the paths of one key."""

    __slots__ = ("key", "root", "shares", "slot", "value")

    def __init__(self, span: Span, root: SlotTarget, key: Node | None, value: Node) -> None:
        super().__init__(span)
        self.aliases = True
        self.root: Final = root
        self.slot: Final[i64] = root.slot if type(root) is SlotTarget else -1
        self.key: Final = key
        self.value: Final = value
        self.shares: Final = value.aliases

    def evaluate(self, frame: Frame) -> Value:
        key_node = self.key
        key = None if key_node is None else key_node.evaluate(frame)
        value = self.value.evaluate(frame)
        if self.shares and isinstance(value, Array):
            value.shared = True
        try:
            container = self.container(frame)
            if isinstance(container, Object):
                put(container, key_node is None, key, value, frame)
            elif key_node is None:
                container.append(value)
            else:
                container.set(key, value)
        except ScriptError as error:
            raise self.located(error) from None
        return value

    def container(self, frame: Frame) -> Array | Object:
        if self.slot >= 0:
            held = frame.slots[self.slot]
            if isinstance(held, Array) and not held.shared and held.borrows == 0:
                return held
        return self.root.container(frame)


class AugmentItem(Node):
    """`$a[k] op= value`, the path of one key; `otherwise` where `$a` holds no array."""

    __slots__ = ("key", "operator", "otherwise", "root", "value")

    def __init__(
        self, span: Span, root: SlotTarget, key: Node, operator: arithmetic.Operation, value: Node, otherwise: Node
    ) -> None:
        super().__init__(span)
        self.aliases = True
        self.root: Final = root
        self.key: Final = key
        self.operator: Final = operator
        self.value: Final = value
        self.otherwise: Final = otherwise

    def evaluate(self, frame: Frame) -> Value:
        held = self.root.load(frame)
        if not isinstance(held, Array):
            return self.otherwise.evaluate(frame)
        key = self.key.evaluate(frame)
        left = held.get(key)
        right = self.value.evaluate(frame)
        try:
            result = self.operator.apply(left, right)
            self.root.own(frame).set(key, result)
        except ScriptError as error:
            raise self.located(error) from None
        return result


class AssignProperty(Node):
    """`object->name = value` and `object->name op= value`; `otherwise` where there is no object of a script's class."""

    __slots__ = ("base", "key", "of_this", "operator", "otherwise", "shares", "value")

    def __init__(
        self,
        span: Span,
        base: Node,
        key: Value,
        operator: arithmetic.Operation | None,
        value: Node,
        otherwise: Node,
    ) -> None:
        super().__init__(span)
        self.aliases = True
        self.base: Final = base
        self.of_this: Final = isinstance(base, This)
        self.key: Final = key
        self.operator: Final = operator
        self.value: Final = value
        self.shares: Final = value.aliases
        self.otherwise: Final = otherwise

    def evaluate(self, frame: Frame) -> Value:
        base = frame.this if self.of_this else settled(self.base.peek(frame))
        if not isinstance(base, Instance):
            return self.otherwise.evaluate(frame)
        try:
            operator = self.operator
            if operator is None:
                value = self.value.evaluate(frame)
                if self.shares:
                    share(value)
            else:
                left = base.member(self.key, frame.this)
                value = operator.apply(left, self.value.evaluate(frame))
            base.put(self.key, value, frame.this)
        except ScriptError as error:
            raise self.located(error) from None
        return value


class AugmentPath(Node):
    """`$a[k] op= value`."""

    __slots__ = ("operator", "target", "value")

    def __init__(self, span: Span, target: Path, operator: arithmetic.Operation, value: Node) -> None:
        super().__init__(span)
        self.target: Final = target
        self.operator: Final = operator
        self.value: Final = value
        self.aliases = True

    def evaluate(self, frame: Frame) -> Value:
        start = self.target.begin(frame)
        keys = self.target.key_values(frame)
        try:
            left = self.target.read_at(frame, start, keys)
            result = self.operator.apply(left, self.value.evaluate(frame))
        except ScriptError as error:
            raise self.located(error) from None
        self.target.store_at(frame, start, keys, result)
        return result


class StepPath(Node):
    """`$a[k]++`."""

    __slots__ = ("before", "delta", "target")

    def __init__(self, span: Span, target: Path, delta: float, before: bool) -> None:
        super().__init__(span)
        self.target: Final = target
        self.delta: Final = delta
        self.before: Final = before

    def evaluate(self, frame: Frame) -> Value:
        start = self.target.begin(frame)
        keys = self.target.key_values(frame)
        try:
            old = to_number(self.target.read_at(frame, start, keys))
        except ScriptError as error:
            raise self.located(error) from None
        new = old + self.delta
        self.target.store_at(frame, start, keys, new)
        return new if self.before else old


class SliceTarget(Target):
    """`$a[first:last] = …`: the slice's items are removed, the new ones go where they were."""

    __slots__ = ("base", "bounds")

    def __init__(self, span: Span, base: Target, bounds: list[Node | None]) -> None:
        super().__init__(span)
        self.aliases = True
        self.base: Final = base
        self.bounds: Final = bounds

    def store(self, frame: Frame, value: Value) -> None:
        self.replace(frame, bound_values(self.bounds, frame), value, None)

    def replace(
        self, frame: Frame, bounds: arithmetic.Bounds, value: Value, operator: arithmetic.Operation | None
    ) -> Value:
        """Put a value, or what an operator makes of the slice and a value, in the place of the slice."""
        try:
            array = self.base.container(frame)
            if isinstance(array, Object):
                raise ScriptError(f"an object of {array.class_name} has no slices")
            if operator is not None:
                value = operator.apply(arithmetic.slice_value(array, *bounds), value)
            if not isinstance(value, Array):
                raise ScriptError(f"slice assignment wants an array, got {type_name(value)}")
            arithmetic.replace_slice(array, bounds, value)
            return value
        except ScriptError as error:
            raise self.located(error) from None

    def remove(self, frame: Frame) -> bool:
        bounds = bound_values(self.bounds, frame)
        array = self.base.existing(frame)
        try:
            return array is not None and arithmetic.remove_slice(array, bounds)
        except ScriptError as error:
            raise self.located(error) from None


class AssignSlice(Node):
    """`$a[first:last] = value`, and `op=`: the bounds first, then the value, then the array."""

    __slots__ = ("operator", "target", "value")

    def __init__(self, span: Span, target: SliceTarget, operator: arithmetic.Operation | None, value: Node) -> None:
        super().__init__(span)
        self.aliases = True
        self.target: Final = target
        self.operator: Final = operator
        self.value: Final = value

    def evaluate(self, frame: Frame) -> Value:
        bounds = bound_values(self.target.bounds, frame)
        value = share(self.value.evaluate(frame))
        return self.target.replace(frame, bounds, value, self.operator)


# ---------------------------------------------------------------- destructuring


class Part:
    """One target of a pattern: its key (None: the next value in order) and the default for a missing value."""

    __slots__ = ("default", "key", "target")

    def __init__(self, key: Node | None, target: Target, default: Node | None) -> None:
        self.key: Final = key
        self.target: Final = target
        self.default: Final = default


class Pattern(Target):
    """`[$a, $b = 1, ...$rest] = …` and `["key" => $a] = …`."""

    __slots__ = ("parts", "rest")

    def __init__(self, span: Span, parts: list[Part], rest: Target | None) -> None:
        super().__init__(span)
        self.parts: Final = parts
        self.rest: Final = rest

    def store(self, frame: Frame, value: Value) -> None:
        array = value if isinstance(value, Array) else Array()
        values = array.values()
        for place, part in enumerate(self.parts):
            if part.key is None:
                there = place < len(values)
                found = values[place] if there else None
            else:
                key = part.key.evaluate(frame)
                there = array.has(key)
                found = array.get(key)
            if not there and part.default is not None:
                found = part.default.evaluate(frame)
            part.target.store(frame, share(found))
        if self.rest is not None:
            self.rest.store(frame, Array([share(item) for item in values[len(self.parts) :]]))
