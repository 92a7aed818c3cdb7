"""Builtins that are asked so often that the compiler makes nodes of their calls: what a value is, and how long."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from hsl.nodes import NAN, Frame, Node
from hsl.source import Span
from hsl.values import Array, Function, Object, Value

IS_ARRAY: Final = 0
IS_STRING: Final = 1
IS_NUMBER: Final = 2
IS_BOOLEAN: Final = 3
IS_FUNCTION: Final = 4
IS_OBJECT: Final = 5
TYPE_TESTS: Final = {
    "is_array": IS_ARRAY,
    "is_string": IS_STRING,
    "is_number": IS_NUMBER,
    "is_boolean": IS_BOOLEAN,
    "is_function": IS_FUNCTION,
    "is_object": IS_OBJECT,
}
HOME: Final = "hsl.library.datatypes"  # where their declarations are


def intrinsic(name: str, module: str, span: Span, operand: Node) -> Node | None:
    """The node that stands for a call of a builtin with one argument, if there is one."""
    if module != HOME:
        return None
    if name == "length":
        return Length(span, operand)
    return TypeTest(span, operand, TYPE_TESTS[name]) if name in TYPE_TESTS else None


class Length(Node):
    """length(): the items of an array, the bytes of a string; none of anything else."""

    __slots__ = ("operand",)

    def __init__(self, span: Span, operand: Node) -> None:
        super().__init__(span)
        self.operand = operand

    def evaluate(self, frame: Frame) -> Value:
        value = self.operand.evaluate(frame)
        if isinstance(value, bytes):
            return float(len(value))
        return float(len(value)) if isinstance(value, Array) else None

    def number(self, frame: Frame) -> float:
        value = self.operand.evaluate(frame)
        if isinstance(value, bytes):
            return float(len(value))
        if isinstance(value, Array):
            return float(len(value))
        frame.mixed = None
        return NAN


class TypeTest(Node):
    """is_array(), is_string() …"""

    __slots__ = ("kind", "operand")

    def __init__(self, span: Span, operand: Node, kind: int) -> None:
        super().__init__(span)
        self.operand = operand
        self.kind: i64 = kind

    def evaluate(self, frame: Frame) -> Value:
        return self.test(frame)

    def test(self, frame: Frame) -> bool:
        value = self.operand.evaluate(frame)
        kind = self.kind
        if kind == IS_ARRAY:
            return isinstance(value, Array)
        if kind == IS_STRING:
            return isinstance(value, bytes)
        if kind == IS_NUMBER:
            return isinstance(value, float)
        if kind == IS_BOOLEAN:
            return isinstance(value, bool)
        if kind == IS_FUNCTION:
            return isinstance(value, Function)
        return isinstance(value, Object)
