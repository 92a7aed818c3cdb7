"""The ground of the executable tree: nodes and frames."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, TypeAlias

from hsl.errors import ScriptError
from hsl.run import Run
from hsl.slots import Slot
from hsl.source import Span
from hsl.values import Object, Value, truthy

NORMAL: Final = 0  # how a statement ended
BREAK: Final = 1
CONTINUE: Final = 2
RETURN: Final = 3

Steps: TypeAlias = Generator[tuple[Value, Value], None, int]  # what a generator's statement yields, and how it ended


class Frame:
    """One activation: the variables of the script or of a function call, and the object that a method runs on.

    The frames of the script itself and of its modules use `run.globals`.
    """

    __slots__ = ("result", "run", "slots", "this")

    def __init__(self, run: Run, slots: list[Slot], this: Object | None = None) -> None:
        self.run = run
        self.slots = slots
        self.this = this
        self.result: Value = None


class Node:
    """An expression of the executable tree.

    `aliases` is true where the result may still be held by a variable, so that storing it once more shares it.
    """

    __slots__ = ("aliases", "span")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.aliases = False

    def evaluate(self, frame: Frame) -> Value:
        raise AssertionError(f"{type(self).__name__} has no value")

    def test(self, frame: Frame) -> bool:
        """The truth of the value."""
        return truthy(self.evaluate(frame))

    def peek(self, frame: Frame) -> Slot:
        """The value for `isset` and `??`: Unset where something on the way is missing, never an error for that."""
        return self.evaluate(frame)

    def located(self, error: ScriptError) -> ScriptError:
        """The error, placed here unless it already has a place."""
        if error.span is None:
            error.span = self.span
        return error


class Statement:
    """A statement of the executable tree; `execute` says how it ended."""

    __slots__ = ("span",)

    def __init__(self, span: Span) -> None:
        self.span = span

    def execute(self, frame: Frame) -> int:
        raise AssertionError(f"{type(self).__name__} cannot be executed")

    def steps(self, frame: Frame) -> Steps:
        """The same inside a generator: yields what the `yield` statements below yield."""
        yield from ()  # a statement without any
        return self.execute(frame)


class Constant(Node):
    """A literal, or what folding made of an expression. Arrays in it are born shared."""

    __slots__ = ("value",)

    def __init__(self, span: Span, value: Value) -> None:
        super().__init__(span)
        self.value = value

    def evaluate(self, frame: Frame) -> Value:
        return self.value


def spend(run: Run, span: Span) -> None:
    """One step of the budget: called at each turn of a loop and at each call of a function."""
    run.fuel -= 1
    if run.fuel < 0:
        try:
            run.tick()
        except ScriptError as error:
            if error.span is None:
                error.span = span
            raise
