"""Nodes that read and write variables: slots, subscript paths, isset and unset.

A Target is the left side of an assignment. `own(frame)` gives the array that lives at the target, made so that it may
be changed in place: created where it is missing, copied where somebody else holds it too.
"""

from __future__ import annotations

from hsl import arithmetic
from hsl.errors import ScriptError
from hsl.nodes import Frame, Node
from hsl.slots import UNSET, Buffer, Slot, Unset, settled
from hsl.source import Span
from hsl.values import Array, Value, concatenation_text, share, to_number, type_name


class Target(Node):
    """Something that can be assigned to."""

    __slots__ = ()

    def store(self, frame: Frame, value: Value) -> None:
        raise AssertionError(f"{type(self).__name__} cannot be stored to")

    def own(self, frame: Frame) -> Array:
        raise AssertionError(f"{type(self).__name__} holds no array")

    def remove(self, frame: Frame) -> bool:
        raise AssertionError(f"{type(self).__name__} cannot be removed")


class SlotTarget(Target):
    """A variable in a slot: a local of the function, or of the script itself."""

    __slots__ = ("name", "slot")

    def __init__(self, span: Span, name: str, slot: int) -> None:
        super().__init__(span)
        self.aliases = True
        self.name = name
        self.slot = slot

    def slots(self, frame: Frame) -> list[Slot]:
        return frame.slots

    def evaluate(self, frame: Frame) -> Value:
        value = frame.slots[self.slot]
        if isinstance(value, Buffer):
            return value.freeze()
        if isinstance(value, Unset):
            raise self.undeclared()
        return value

    def undeclared(self) -> ScriptError:
        return ScriptError(f"undeclared variable ${self.name}", self.span)

    def peek(self, frame: Frame) -> Slot:
        value = self.slots(frame)[self.slot]
        return value.freeze() if isinstance(value, Buffer) else value

    def store(self, frame: Frame, value: Value) -> None:
        frame.slots[self.slot] = value

    def own(self, frame: Frame) -> Array:
        slots = self.slots(frame)
        value = slots[self.slot]
        array = value.own() if isinstance(value, Array) else Array()
        slots[self.slot] = array
        return array

    def remove(self, frame: Frame) -> bool:
        slots = self.slots(frame)
        there = not isinstance(slots[self.slot], Unset)
        slots[self.slot] = UNSET
        return there

    def append_text(self, frame: Frame, text: bytes) -> None:
        """`.=` on a variable."""
        slots = self.slots(frame)
        value = slots[self.slot]
        if not isinstance(value, Buffer):
            if isinstance(value, Unset):
                raise self.undeclared()
            value = Buffer(concatenation_text(value))
            slots[self.slot] = value
        value.append(text)


class GlobalTarget(SlotTarget):
    """A variable of the script, seen from a function that said `global`."""

    __slots__ = ()

    def slots(self, frame: Frame) -> list[Slot]:
        return frame.run.globals

    def evaluate(self, frame: Frame) -> Value:
        value = frame.run.globals[self.slot]
        if isinstance(value, Buffer):
            return value.freeze()
        if isinstance(value, Unset):
            raise self.undeclared()
        return value

    def store(self, frame: Frame, value: Value) -> None:
        frame.run.globals[self.slot] = value


class TolerantVariable(Node):
    """A variable on the left of `??`: none while it is unset."""

    __slots__ = ("target",)

    def __init__(self, target: SlotTarget) -> None:
        super().__init__(target.span)
        self.aliases = True
        self.target = target

    def evaluate(self, frame: Frame) -> Value:
        return settled(self.target.peek(frame))


class PathTarget(Target):
    """`$a[k1][k2] = …`: a root variable and its keys; a missing key appends."""

    __slots__ = ("keys", "root")

    def __init__(self, span: Span, root: SlotTarget, keys: list[Node | None]) -> None:
        super().__init__(span)
        self.aliases = True
        self.root = root
        self.keys = keys

    def evaluate(self, frame: Frame) -> Value:
        value = settled(self.root.peek(frame))
        for key in self.keys:
            if key is None:
                raise ScriptError("[] cannot be read", self.span)
            value = subscript(value, key.evaluate(frame))
        return value

    def key_values(self, frame: Frame) -> list[Value]:
        """The keys, evaluated in order; None in the place of an appending one."""
        return [None if key is None else key.evaluate(frame) for key in self.keys]

    def store(self, frame: Frame, value: Value) -> None:
        self.store_at(frame, self.key_values(frame), value)

    def store_at(self, frame: Frame, keys: list[Value], value: Value) -> None:
        try:
            containers = self.walk(frame, keys)
            put(containers[-1], self.keys[-1] is None, keys[-1], value)
        except ScriptError as error:
            raise self.located(error) from None
        for outer, inner in zip(reversed(containers[:-1]), reversed(containers[1:]), strict=True):
            outer.deepen(inner)

    def walk(self, frame: Frame, keys: list[Value]) -> list[Array]:
        """The arrays along the path, each owned; the last one is where the last key goes."""
        containers = [self.root.own(frame)]
        for node, key in zip(self.keys[:-1], keys[:-1], strict=True):
            parent = containers[-1]
            held = None if node is None else parent.get(key)
            child = held.own() if isinstance(held, Array) else Array()
            if child is not held:
                put(parent, node is None, key, child)
            containers.append(child)
        return containers

    def read_at(self, frame: Frame, keys: list[Value]) -> Value:
        value = settled(self.root.peek(frame))
        for node, key in zip(self.keys, keys, strict=True):
            value = None if node is None else subscript(value, key)
        return value

    def remove(self, frame: Frame) -> bool:
        keys = self.key_values(frame)
        value = settled(self.root.peek(frame))
        for key in keys[:-1]:
            value = subscript(value, key)
        if not isinstance(value, Array) or not value.has(keys[-1]):
            return False
        return self.walk(frame, keys)[-1].remove(keys[-1])


def put(array: Array, append: bool, key: Value, value: Value) -> None:
    if append:
        array.append(value)
    else:
        array.set(key, value)


class Assign(Node):
    """`target = value`."""

    __slots__ = ("shares", "target", "value")

    def __init__(self, span: Span, target: Target, value: Node) -> None:
        super().__init__(span)
        self.aliases = True
        self.target = target
        self.value = value
        self.shares = value.aliases

    def evaluate(self, frame: Frame) -> Value:
        value = self.value.evaluate(frame)
        if self.shares and isinstance(value, Array):
            value.shared = True
        self.target.store(frame, value)
        return value


class AssignPath(Node):
    """`$a[k] = value`: keys first, then the value, then the store."""

    __slots__ = ("shares", "target", "value")

    def __init__(self, span: Span, target: PathTarget, value: Node) -> None:
        super().__init__(span)
        self.aliases = True
        self.target = target
        self.value = value
        self.shares = value.aliases

    def evaluate(self, frame: Frame) -> Value:
        keys = self.target.key_values(frame)
        value = self.value.evaluate(frame)
        if self.shares:
            share(value)
        self.target.store_at(frame, keys, value)
        return value


class Augment(Node):
    """`target op= value` on a variable."""

    __slots__ = ("operator", "target", "value")

    def __init__(self, span: Span, target: SlotTarget, operator: arithmetic.Operator, value: Node) -> None:
        super().__init__(span)
        self.target = target
        self.operator = operator
        self.value = value
        self.aliases = True

    def evaluate(self, frame: Frame) -> Value:
        left = self.target.evaluate(frame)
        right = self.value.evaluate(frame)
        try:
            result = self.operator(left, right)
        except ScriptError as error:
            raise self.located(error) from None
        self.target.store(frame, result)
        return result


class AugmentPath(Node):
    """`$a[k] op= value`."""

    __slots__ = ("operator", "target", "value")

    def __init__(self, span: Span, target: PathTarget, operator: arithmetic.Operator, value: Node) -> None:
        super().__init__(span)
        self.target = target
        self.operator = operator
        self.value = value
        self.aliases = True

    def evaluate(self, frame: Frame) -> Value:
        keys = self.target.key_values(frame)
        left = self.target.read_at(frame, keys)
        try:
            result = self.operator(left, self.value.evaluate(frame))
        except ScriptError as error:
            raise self.located(error) from None
        self.target.store_at(frame, keys, result)
        return result


class AppendText(Node):
    """`$s .= value`, linear. As an expression its value is the whole string, so a statement uses AppendTextOnly."""

    __slots__ = ("target", "value")

    def __init__(self, span: Span, target: SlotTarget, value: Node) -> None:
        super().__init__(span)
        self.target = target
        self.value = value

    def append(self, frame: Frame) -> None:
        text = concatenation_text(self.value.evaluate(frame))
        try:
            self.target.append_text(frame, text)
        except ScriptError as error:
            raise self.located(error) from None

    def evaluate(self, frame: Frame) -> Value:
        self.append(frame)
        return self.target.evaluate(frame)


class Step(Node):
    """`++` and `--`."""

    __slots__ = ("before", "delta", "target")

    def __init__(self, span: Span, target: SlotTarget, delta: float, before: bool) -> None:
        super().__init__(span)
        self.target = target
        self.delta = delta
        self.before = before

    def evaluate(self, frame: Frame) -> Value:
        old = to_number(self.target.evaluate(frame))
        new = old + self.delta
        self.target.store(frame, new)
        return new if self.before else old


class StepPath(Node):
    """`$a[k]++`."""

    __slots__ = ("before", "delta", "target")

    def __init__(self, span: Span, target: PathTarget, delta: float, before: bool) -> None:
        super().__init__(span)
        self.target = target
        self.delta = delta
        self.before = before

    def evaluate(self, frame: Frame) -> Value:
        keys = self.target.key_values(frame)
        old = to_number(self.target.read_at(frame, keys))
        self.target.store_at(frame, keys, old + self.delta)
        return old + self.delta if self.before else old


class Subscript(Node):
    """`base[index]`; of a missing key, or of anything that has no keys, none."""

    __slots__ = ("base", "index")

    def __init__(self, span: Span, base: Node, index: Node) -> None:
        super().__init__(span)
        self.aliases = True
        self.base = base
        self.index = index

    def evaluate(self, frame: Frame) -> Value:
        return subscript(self.base.evaluate(frame), self.index.evaluate(frame))

    def peek(self, frame: Frame) -> Slot:
        base = settled(self.base.peek(frame))
        index = self.index.evaluate(frame)
        if isinstance(base, Array):
            return base.get(index) if base.has(index) else UNSET
        value = subscript(base, index)
        return UNSET if value is None else value


def subscript(base: Value, index: Value) -> Value:
    if isinstance(base, Array):
        return base.get(index)
    if isinstance(base, bytes):
        if isinstance(index, bytes | float | bool):
            place = to_number(index)
            if -len(base) <= place < len(base) and (not isinstance(index, bytes) or index.lstrip(b"-").isdigit()):
                at = int(place)
                return base[at : at + 1] if at != -1 else base[-1:]
        return None
    return None


class Slice(Node):
    """`base[first:last:step]`."""

    __slots__ = ("base", "bounds")

    def __init__(self, span: Span, base: Node, bounds: list[Node | None]) -> None:
        super().__init__(span)
        self.base = base
        self.bounds = bounds

    def evaluate(self, frame: Frame) -> Value:
        base = self.base.evaluate(frame)
        first, last, step = (None if bound is None else index_of(bound.evaluate(frame)) for bound in self.bounds)
        try:
            return arithmetic.slice_value(base, first, last, step)
        except ScriptError as error:
            raise self.located(error) from None


def index_of(value: Value) -> int | None:
    """A slice bound: a number cut to an integer; none is a bound left out."""
    if value is None:
        return None
    number = to_number(value)
    if number != number:
        return 0
    return int(max(-(2.0**53), min(2.0**53, number)))


class Isset(Node):
    """True when every target is there (a variable that holds none is)."""

    __slots__ = ("targets",)

    def __init__(self, span: Span, targets: list[Node]) -> None:
        super().__init__(span)
        self.targets = targets

    def evaluate(self, frame: Frame) -> Value:
        return all(not isinstance(target.peek(frame), Unset) for target in self.targets)


class Unset_(Node):
    """Removes every target; true when all of them were there."""

    __slots__ = ("targets",)

    def __init__(self, span: Span, targets: list[Target]) -> None:
        super().__init__(span)
        self.targets = targets

    def evaluate(self, frame: Frame) -> Value:
        removed = [target.remove(frame) for target in self.targets]
        return all(removed)


class ArrayLiteral(Node):
    """`[a, k => b, ...c]`."""

    __slots__ = ("items",)

    def __init__(self, span: Span, items: list[tuple[Node | None, Node, bool]]) -> None:
        super().__init__(span)
        self.items = items

    def evaluate(self, frame: Frame) -> Value:
        array = Array()
        try:
            for key_node, node, spread in self.items:
                key = None if key_node is None else key_node.evaluate(frame)
                value = node.evaluate(frame)
                if spread:
                    spread_into(array, value)
                    continue
                if node.aliases:
                    share(value)
                if key_node is None:
                    array.append(value)
                else:
                    array.set(key, value)
        except ScriptError as error:
            raise self.located(error) from None
        return array


def spread_into(array: Array, value: Value) -> None:
    """`...value` in an array literal: numeric keys are renumbered, string keys kept."""
    if not isinstance(value, Array):
        raise ScriptError(f"... wants an array, got {type_name(value)}")
    for key, item in value.pairs():
        if isinstance(key, float):
            array.append(share(item))
        else:
            array.set(key, share(item))
