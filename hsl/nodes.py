"""The ground of the executable tree: nodes and frames."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, TypeAlias

from hsl.errors import Halt, ScriptError
from hsl.run import Run
from hsl.slots import UNSET, Slot, settled
from hsl.source import Span
from hsl.values import Object, Value, share, truthy

NORMAL: Final = 0  # how a statement ended
BREAK: Final = 1
CONTINUE: Final = 2
RETURN: Final = 3
HALT: Final = 4  # by a verdict, which is in `run.halt`

NAN: Final = float("nan")

Steps: TypeAlias = Generator[tuple[Value, Value], None, int]  # what a generator's statement yields, and how it ended


class Frame:
    """One activation: the variables of the script or of a function call, and the object that a method runs on.

    The frames of the script itself and of its modules use `run.globals`. `mixed` is how `Node.number` hands over a
    value that is no number; `busy` is true while the function runs.
    """

    __slots__ = ("busy", "mixed", "result", "run", "slots", "this")

    def __init__(self, run: Run, slots: list[Slot], this: Object | None = None) -> None:
        self.run: Final = run
        self.slots = slots
        self.this = this
        self.result: Value = None
        self.mixed: Slot = UNSET
        self.busy = False

    def take(self) -> Value:
        """The value that was no number."""
        value = self.mixed
        self.mixed = UNSET
        return settled(value)


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

    def number(self, frame: Frame) -> float:
        """The value where a number is likely, without making an object of it.

        What is no number is left in `frame.mixed`, and NaN returned: whoever calls this looks there for every NaN.
        """
        value = self.evaluate(frame)
        if isinstance(value, float):
            return value
        frame.mixed = value
        return NAN

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


class Link:
    """A list of nodes. (What is read from a Python list is type-checked at each read, compiled; this is not.)"""

    __slots__ = ("next", "node")

    def __init__(self, node: Node, following: Link | None) -> None:
        self.node: Final = node
        self.next: Final = following


def linked(nodes: list[Node]) -> Link | None:
    first: Link | None = None
    for node in reversed(nodes):
        first = Link(node, first)
    return first


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
        self.value: Final = value

    def evaluate(self, frame: Frame) -> Value:
        return self.value


class Number(Constant):
    """A literal number."""

    __slots__ = ("float",)

    def __init__(self, span: Span, value: float) -> None:
        super().__init__(span, value)
        self.float: Final = value

    def number(self, frame: Frame) -> float:
        return self.float


def constant(span: Span, value: Value) -> Constant:
    return Number(span, value) if isinstance(value, float) else Constant(span, value)


class Return(Statement):
    """Also ends the script when it stands outside functions. A local's array needs no sharing: its holder dies."""

    __slots__ = ("shares", "value")

    def __init__(self, span: Span, value: Node | None, shares: bool) -> None:
        super().__init__(span)
        self.value: Final = value
        self.shares: Final = shares

    def execute(self, frame: Frame) -> int:
        if self.value is not None:
            value = self.value.evaluate(frame)
            frame.result = share(value) if self.shares else value
        else:
            frame.result = None
        return RETURN


def result_of(sequence: Sequence | None, frame: Frame) -> Value:
    """Execute a body: what its `return` gives, or None. Raises the Halt of a verdict."""
    ended = execute_all(sequence, frame)
    if ended == RETURN:
        return frame.result
    if ended == HALT:
        raise frame.run.take_halt()
    return None


class Sequence:
    """Statements one after the other, as a list of its own kind: see Link."""

    __slots__ = ("next", "statement")

    def __init__(self, statement: Statement, following: Sequence | None) -> None:
        self.statement: Final = statement
        self.next: Final = following


def in_sequence(statements: list[Statement]) -> Sequence | None:
    first: Sequence | None = None
    for statement in reversed(statements):
        first = Sequence(statement, first)
    return first


def execute_all(sequence: Sequence | None, frame: Frame) -> int:
    """Execute statements in order; says how they ended. An error or a verdict without a place gets that of its
    statement."""
    while sequence is not None:
        try:
            ended = sequence.statement.execute(frame)
        except (ScriptError, Halt) as error:
            if error.span is None:
                error.span = sequence.statement.span
            raise
        if ended != NORMAL:
            return ended
        sequence = sequence.next
    return NORMAL


def steps_of_all(sequence: Sequence | None, frame: Frame) -> Steps:
    """The same inside a generator."""
    while sequence is not None:
        try:
            ended = yield from sequence.statement.steps(frame)
        except (ScriptError, Halt) as error:
            if error.span is None:
                error.span = sequence.statement.span
            raise
        if ended != NORMAL:
            return ended
        sequence = sequence.next
    return NORMAL
