"""Nodes that read and write variables.

A Target is the left side of an assignment. `own(frame)` gives the array that lives at the target, made so that it may
be changed in place: created where it is missing, copied where somebody else holds it too.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from hsl import arithmetic
from hsl.errors import ScriptError
from hsl.nodes import NAN, NORMAL, Frame, Node, Statement
from hsl.slots import UNSET, Buffer, Cell, Pending, Slot, Unset, settled
from hsl.source import Span
from hsl.values import Array, Object, Value, concatenation_text, share, to_number


class Target(Node):
    """Something that can be assigned to."""

    __slots__ = ()

    def store(self, frame: Frame, value: Value) -> None:
        raise AssertionError(f"{type(self).__name__} cannot be stored to")

    def container(self, frame: Frame) -> Array | Object:
        """What an item of this target is stored in: the object that is there, or the array, owned."""
        raise AssertionError(f"{type(self).__name__} holds no array")

    def existing(self, frame: Frame) -> Array | None:
        """The array at the target, owned; None, and nothing is created, where there is none."""
        raise AssertionError(f"{type(self).__name__} holds no array")

    def remove(self, frame: Frame) -> bool:
        raise AssertionError(f"{type(self).__name__} cannot be removed")


class SlotTarget(Target):
    """A variable in a slot of the frame: a local of the function, or of the script itself."""

    __slots__ = ("name", "slot")

    def __init__(self, span: Span, name: str, slot: int) -> None:
        super().__init__(span)
        self.aliases = True
        self.name = name
        self.slot: Final[i64] = slot

    def load(self, frame: Frame) -> Slot:
        return frame.slots[self.slot]

    def put(self, frame: Frame, content: Slot) -> None:
        frame.slots[self.slot] = content

    def evaluate(self, frame: Frame) -> Value:
        value = frame.slots[self.slot]
        if isinstance(value, Pending):
            return self.settle(value)
        assert not isinstance(value, Cell)
        return value

    def number(self, frame: Frame) -> float:
        value = frame.slots[self.slot]
        if isinstance(value, float):
            return value
        frame.mixed = self.settle(value)
        return NAN

    def settle(self, content: Slot) -> Value:
        if isinstance(content, Buffer):
            return content.freeze()
        if isinstance(content, Unset):
            raise self.undeclared()
        return settled(content)

    def undeclared(self) -> ScriptError:
        shown = self.name if "::" in self.name else f"${self.name}"
        return ScriptError(f"undeclared variable {shown}", self.span)

    def peek(self, frame: Frame) -> Slot:
        content = self.load(frame)
        return content.freeze() if isinstance(content, Buffer) else content

    def store(self, frame: Frame, value: Value) -> None:
        frame.slots[self.slot] = value

    def own(self, frame: Frame) -> Array:
        content = self.load(frame)
        array = content.own() if isinstance(content, Array) else Array()
        self.put(frame, array)
        return array

    def container(self, frame: Frame) -> Array | Object:
        content = self.load(frame)
        return content if isinstance(content, Object) else self.own(frame)

    def existing(self, frame: Frame) -> Array | None:
        return self.own(frame) if isinstance(self.load(frame), Array) else None

    def remove(self, frame: Frame) -> bool:
        there = not isinstance(self.load(frame), Unset)
        self.put(frame, UNSET)
        return there

    def append_text(self, frame: Frame, text: bytes) -> None:
        """`.=` on a variable."""
        content = self.load(frame)
        if not isinstance(content, Buffer):
            content = Buffer(concatenation_text(self.settle(content)))
            self.put(frame, content)
        content.append(text)


class GlobalTarget(SlotTarget):
    """A variable of the script or of a module, seen from a function: by `global`, a capture, or as a class's static."""

    __slots__ = ()

    def load(self, frame: Frame) -> Slot:
        return frame.run.globals[self.slot]

    def put(self, frame: Frame, content: Slot) -> None:
        frame.run.globals[self.slot] = content

    def evaluate(self, frame: Frame) -> Value:
        value = frame.run.globals[self.slot]
        if isinstance(value, Pending):
            return self.settle(value)
        assert not isinstance(value, Cell)
        return value

    def number(self, frame: Frame) -> float:
        value = frame.run.globals[self.slot]
        if isinstance(value, float):
            return value
        frame.mixed = self.settle(value)
        return NAN

    def store(self, frame: Frame, value: Value) -> None:
        frame.run.globals[self.slot] = value


class CellTarget(SlotTarget):
    """A variable that a closure captured: the slot holds the cell that they share."""

    __slots__ = ()

    def cell(self, frame: Frame) -> Cell:
        cell = frame.slots[self.slot]
        assert isinstance(cell, Cell)
        return cell

    def load(self, frame: Frame) -> Slot:
        return self.cell(frame).content

    def put(self, frame: Frame, content: Slot) -> None:
        self.cell(frame).content = content

    def evaluate(self, frame: Frame) -> Value:
        return self.settle(self.cell(frame).content)

    def number(self, frame: Frame) -> float:
        value = self.cell(frame).content
        if isinstance(value, float):
            return value
        frame.mixed = self.settle(value)
        return NAN

    def store(self, frame: Frame, value: Value) -> None:
        self.cell(frame).content = value


class GlobalCellTarget(CellTarget):
    """A variable of the script that both `global` and a closure reach."""

    __slots__ = ()

    def cell(self, frame: Frame) -> Cell:
        cell = frame.run.globals[self.slot]
        assert isinstance(cell, Cell)
        return cell


class This(Target):
    """`$this`: the object that the running method belongs to."""

    __slots__ = ()

    def __init__(self, span: Span) -> None:
        super().__init__(span)
        self.aliases = True

    def evaluate(self, frame: Frame) -> Value:
        return frame.this

    def container(self, frame: Frame) -> Array | Object:
        this = frame.this
        assert this is not None
        return this


class TolerantVariable(Node):
    """A variable on the left of `??`: none while it is unset."""

    __slots__ = ("target",)

    def __init__(self, target: SlotTarget) -> None:
        super().__init__(target.span)
        self.aliases = True
        self.target: Final = target

    def evaluate(self, frame: Frame) -> Value:
        return settled(self.target.load(frame))


class Assign(Node):
    """`target = value`."""

    __slots__ = ("shares", "target", "value")

    def __init__(self, span: Span, target: Target, value: Node) -> None:
        super().__init__(span)
        self.aliases = True
        self.target: Final = target
        self.value: Final = value
        self.shares: Final = value.aliases

    def evaluate(self, frame: Frame) -> Value:
        value = self.value.evaluate(frame)
        if self.shares:
            share(value)
        self.target.store(frame, value)
        return value


class AssignLocal(Node):
    """`$local = value`."""

    __slots__ = ("shares", "slot", "value")

    def __init__(self, span: Span, slot: int, value: Node) -> None:
        super().__init__(span)
        self.aliases = True
        self.slot: Final[i64] = slot
        self.value: Final = value
        self.shares: Final = value.aliases

    def evaluate(self, frame: Frame) -> Value:
        value = self.value.evaluate(frame)
        if self.shares:
            share(value)
        frame.slots[self.slot] = value
        return value


class Augment(Node):
    """`target op= value` on a variable."""

    __slots__ = ("operator", "target", "value")

    def __init__(self, span: Span, target: SlotTarget, operator: arithmetic.Operation, value: Node) -> None:
        super().__init__(span)
        self.target: Final = target
        self.operator: Final = operator
        self.value: Final = value
        self.aliases = True

    def evaluate(self, frame: Frame) -> Value:
        left = self.target.evaluate(frame)
        right = self.value.evaluate(frame)
        try:
            result = self.operator.apply(left, right)
        except ScriptError as error:
            raise self.located(error) from None
        self.target.store(frame, result)
        return result


class AddTo(Augment):
    """`target += value`, two numbers first."""

    __slots__ = ()

    def evaluate(self, frame: Frame) -> Value:
        left = self.target.number(frame)
        if left != left and frame.mixed is not UNSET:
            return self.change(frame, frame.take(), self.value.evaluate(frame))
        right = self.value.number(frame)
        if right != right and frame.mixed is not UNSET:
            return self.change(frame, left, frame.take())
        result: Value = left + right
        self.target.store(frame, result)
        return result

    def change(self, frame: Frame, left: Value, right: Value) -> Value:
        try:
            result = arithmetic.add(left, right)
        except ScriptError as error:
            raise self.located(error) from None
        self.target.store(frame, result)
        return result


class SubtractFrom(Augment):
    """`target -= value`, two numbers first."""

    __slots__ = ()

    def evaluate(self, frame: Frame) -> Value:
        left = self.target.number(frame)
        if left != left and frame.mixed is not UNSET:
            return self.change(frame, frame.take(), self.value.evaluate(frame))
        right = self.value.number(frame)
        if right != right and frame.mixed is not UNSET:
            return self.change(frame, left, frame.take())
        result: Value = left - right
        self.target.store(frame, result)
        return result

    def change(self, frame: Frame, left: Value, right: Value) -> Value:
        try:
            result = arithmetic.subtract(left, right)
        except ScriptError as error:
            raise self.located(error) from None
        self.target.store(frame, result)
        return result


class AppendText(Node):
    """`$s .= value`, linear. As an expression its value is the whole string: see AppendTextStatement."""

    __slots__ = ("target", "value")

    def __init__(self, span: Span, target: SlotTarget, value: Node) -> None:
        super().__init__(span)
        self.target: Final = target
        self.value: Final = value

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
        self.target: Final = target
        self.delta: Final = delta
        self.before: Final = before

    def evaluate(self, frame: Frame) -> Value:
        old = self.target.number(frame)
        if old != old and frame.mixed is not UNSET:
            old = to_number(frame.take())
        new = old + self.delta
        self.target.store(frame, new)
        return new if self.before else old


class Isset(Node):
    """True when every target is there (a variable that holds none is)."""

    __slots__ = ("targets",)

    def __init__(self, span: Span, targets: list[Node]) -> None:
        super().__init__(span)
        self.targets: Final = targets

    def evaluate(self, frame: Frame) -> Value:
        return self.test(frame)

    def test(self, frame: Frame) -> bool:
        for target in self.targets:  # noqa: SIM110  (a generator here costs a call per target)
            if isinstance(target.peek(frame), Unset):
                return False
        return True


class RemoveTargets(Node):
    """`unset(…)`: removes every target; true when all of them were there."""

    __slots__ = ("targets",)

    def __init__(self, span: Span, targets: list[Target]) -> None:
        super().__init__(span)
        self.targets: Final = targets

    def evaluate(self, frame: Frame) -> Value:
        there = True
        for target in self.targets:
            try:
                if not target.remove(frame):
                    there = False
            except ScriptError as error:
                raise self.located(error) from None
        return there


# ---------------------------------------------------------------- statements


class StoreLocal(Statement):
    """`$local = value;`, nobody wants the value."""

    __slots__ = ("shares", "slot", "value")

    def __init__(self, span: Span, slot: int, value: Node) -> None:
        super().__init__(span)
        self.slot: Final[i64] = slot
        self.value: Final = value
        self.shares: Final = value.aliases

    def execute(self, frame: Frame) -> int:
        value = self.value.evaluate(frame)
        if self.shares:
            share(value)
        frame.slots[self.slot] = value
        return NORMAL


class StoreConstant(Statement):
    """`$local = constant;`, which files of settings are full of."""

    __slots__ = ("slot", "value")

    def __init__(self, span: Span, slot: int, value: Value) -> None:
        super().__init__(span)
        self.slot: Final[i64] = slot
        self.value: Final = share(value)

    def execute(self, frame: Frame) -> int:
        frame.slots[self.slot] = self.value
        return NORMAL


class AddToLocal(Statement):
    """`$local += value;` and `$local -= value;`, numbers nearly always."""

    __slots__ = ("node", "sign", "slot", "value")

    def __init__(self, node: AddTo | SubtractFrom) -> None:
        super().__init__(node.span)
        self.node: Final = node
        self.slot: Final[i64] = node.target.slot
        self.value: Final = node.value
        self.sign: Final = 1.0 if isinstance(node, AddTo) else -1.0

    def execute(self, frame: Frame) -> int:
        old = frame.slots[self.slot]
        if not isinstance(old, float):
            self.node.evaluate(frame)
            return NORMAL
        change = self.value.number(frame)
        if change != change and frame.mixed is not UNSET:
            self.node.change(frame, old, frame.take())
        else:
            frame.slots[self.slot] = old + self.sign * change
        return NORMAL


class StepLocal(Statement):
    """`$local++;` and `$local--;`, where nobody wants the value."""

    __slots__ = ("delta", "slot", "target")

    def __init__(self, span: Span, target: SlotTarget, delta: float) -> None:
        super().__init__(span)
        self.target: Final = target
        self.slot: Final[i64] = target.slot
        self.delta: Final = delta

    def execute(self, frame: Frame) -> int:
        old = frame.slots[self.slot]
        if isinstance(old, float):
            frame.slots[self.slot] = old + self.delta
        else:
            frame.slots[self.slot] = to_number(self.target.settle(old)) + self.delta
        return NORMAL


class AppendTextStatement(Statement):
    """`$s .= value;`: nobody wants the whole string, so it is not built."""

    __slots__ = ("node",)

    def __init__(self, node: AppendText) -> None:
        super().__init__(node.span)
        self.node: Final = node

    def execute(self, frame: Frame) -> int:
        self.node.append(frame)
        return NORMAL
