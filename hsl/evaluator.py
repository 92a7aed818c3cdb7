"""Statements of the executable tree, and the Program that a run executes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsl.calls import BuiltinFunction, Declaration
from hsl.errors import Diagnostic, ScriptError
from hsl.nodes import BREAK, NORMAL, RETURN, Frame, Node, Statement, spend
from hsl.run import Run
from hsl.slots import UNSET, settled
from hsl.source import Span
from hsl.values import Array, Function, Value, loose_equal, share, to_string, truthy, type_name
from hsl.variables import AppendText, SlotTarget

if TYPE_CHECKING:
    from hsl.builtins import Registry


class Block(Statement):
    __slots__ = ("statements",)

    def __init__(self, span: Span, statements: list[Statement]) -> None:
        super().__init__(span)
        self.statements = statements

    def execute(self, frame: Frame) -> int:
        return execute_all(self.statements, frame)


def execute_all(statements: list[Statement], frame: Frame) -> int:
    """Execute statements in order; says how they ended. An error without a place gets that of its statement."""
    for statement in statements:
        try:
            ended = statement.execute(frame)
        except ScriptError as error:
            error.span = error.span or statement.span
            raise
        if ended != NORMAL:
            return ended
    return NORMAL


class ExpressionStatement(Statement):
    __slots__ = ("expression",)

    def __init__(self, expression: Node) -> None:
        super().__init__(expression.span)
        self.expression = expression

    def execute(self, frame: Frame) -> int:
        self.expression.evaluate(frame)
        return NORMAL


class StoreConstant(Statement):
    """`$variable = constant;`, which files of settings are full of."""

    __slots__ = ("slot", "value")

    def __init__(self, span: Span, slot: int, value: Value) -> None:
        super().__init__(span)
        self.slot = slot
        self.value = share(value)

    def execute(self, frame: Frame) -> int:
        frame.slots[self.slot] = self.value
        return NORMAL


class AppendTextStatement(Statement):
    """`$s .= value;`: nobody wants the whole string, so it is not built."""

    __slots__ = ("node",)

    def __init__(self, node: AppendText) -> None:
        super().__init__(node.span)
        self.node = node

    def execute(self, frame: Frame) -> int:
        self.node.append(frame)
        return NORMAL


class Echo(Statement):
    __slots__ = ("expression",)

    def __init__(self, span: Span, expression: Node) -> None:
        super().__init__(span)
        self.expression = expression

    def execute(self, frame: Frame) -> int:
        value = self.expression.evaluate(frame)
        try:
            frame.run.echo(to_string(value))
        except ScriptError as error:
            error.span = error.span or self.span
            raise
        return NORMAL


class If(Statement):
    """`if`, each `else if`, `else`."""

    __slots__ = ("arms", "otherwise")

    def __init__(self, span: Span, arms: list[tuple[Node, Statement]], otherwise: Statement | None) -> None:
        super().__init__(span)
        self.arms = arms
        self.otherwise = otherwise

    def execute(self, frame: Frame) -> int:
        for condition, then in self.arms:
            if truthy(condition.evaluate(frame)):
                return then.execute(frame)
        return NORMAL if self.otherwise is None else self.otherwise.execute(frame)


class While(Statement):
    """`while`, and `forever` without a condition."""

    __slots__ = ("body", "condition")

    def __init__(self, span: Span, condition: Node | None, body: Statement) -> None:
        super().__init__(span)
        self.condition = condition
        self.body = body

    def execute(self, frame: Frame) -> int:
        run, condition, body = frame.run, self.condition, self.body
        while condition is None or truthy(condition.evaluate(frame)):
            spend(run, self.span)
            ended = body.execute(frame)
            if ended == BREAK:
                break
            if ended == RETURN:
                return RETURN
        return NORMAL


class For(Statement):
    __slots__ = ("body", "condition", "start", "step")

    def __init__(
        self, span: Span, start: Node | None, condition: Node | None, step: Node | None, body: Statement
    ) -> None:
        super().__init__(span)
        self.start = start
        self.condition = condition
        self.step = step
        self.body = body

    def execute(self, frame: Frame) -> int:
        run, condition, step, body = frame.run, self.condition, self.step, self.body
        if self.start is not None:
            self.start.evaluate(frame)
        while condition is None or truthy(condition.evaluate(frame)):
            spend(run, self.span)
            ended = body.execute(frame)
            if ended == BREAK:
                break
            if ended == RETURN:
                return RETURN
            if step is not None:
                step.evaluate(frame)
        return NORMAL


class Foreach(Statement):
    """Walks a snapshot: the array counts as borrowed meanwhile, so that a change inside the loop copies it."""

    __slots__ = ("body", "key", "subject", "value")

    def __init__(self, span: Span, subject: Node, key: SlotTarget | None, value: SlotTarget, body: Statement) -> None:
        super().__init__(span)
        self.subject = subject
        self.key = key
        self.value = value
        self.body = body

    def execute(self, frame: Frame) -> int:
        array = self.subject.evaluate(frame)
        if not isinstance(array, Array):
            raise ScriptError(f"foreach wants an array, got {type_name(array)}", self.span)
        array.borrows += 1
        try:
            return self.walk(frame, array)
        finally:
            array.borrows -= 1

    def walk(self, frame: Frame, array: Array) -> int:
        run, key_target, value_target, body = frame.run, self.key, self.value, self.body
        for key, value in array.pairs():
            spend(run, self.span)
            if key_target is not None:
                key_target.store(frame, key)
            value_target.store(frame, share(value))
            ended = body.execute(frame)
            if ended == BREAK:
                break
            if ended == RETURN:
                return RETURN
        return NORMAL


class Switch(Statement):
    """Compares loosely, falls through; `break` leaves the switch, `continue` belongs to the loop around it."""

    __slots__ = ("bodies", "default", "subject", "tests")

    def __init__(
        self, span: Span, subject: Node, tests: list[Node | None], bodies: list[list[Statement]], default: int | None
    ) -> None:
        super().__init__(span)
        self.subject = subject
        self.tests = tests
        self.bodies = bodies
        self.default = default

    def execute(self, frame: Frame) -> int:
        value = self.subject.evaluate(frame)
        start = self.default
        for index, test in enumerate(self.tests):
            if test is not None and loose_equal(value, test.evaluate(frame)):
                start = index
                break
        if start is None:
            return NORMAL
        for body in self.bodies[start:]:
            ended = execute_all(body, frame)
            if ended == BREAK:
                return NORMAL
            if ended != NORMAL:
                return ended
        return NORMAL


class Jump(Statement):
    """`break` and `continue`."""

    __slots__ = ("signal",)

    def __init__(self, span: Span, signal: int) -> None:
        super().__init__(span)
        self.signal = signal

    def execute(self, frame: Frame) -> int:
        return self.signal


class Return(Statement):
    """Also ends the script when it stands outside functions. A local's array needs no sharing: its holder dies."""

    __slots__ = ("shares", "value")

    def __init__(self, span: Span, value: Node | None, shares: bool) -> None:
        super().__init__(span)
        self.value = value
        self.shares = shares

    def execute(self, frame: Frame) -> int:
        if self.value is not None:
            value = self.value.evaluate(frame)
            frame.result = share(value) if self.shares else value
        else:
            frame.result = None
        return RETURN


class Barrier(Statement):
    """`barrier name => $shared { … }`: one execution at a time; the variable lives in the process's shared store."""

    __slots__ = ("body", "name", "variable")

    def __init__(self, span: Span, name: Node, variable: SlotTarget | None, body: Statement) -> None:
        super().__init__(span)
        self.name = name
        self.variable = variable
        self.body = body

    def execute(self, frame: Frame) -> int:
        run = frame.run
        name = to_string(self.name.evaluate(frame))
        try:
            run.shared.acquire(name, run)
        except ScriptError as error:
            error.span = error.span or self.span
            raise
        try:
            return self.inside(frame, name)
        finally:
            run.shared.release(name, run)

    def inside(self, frame: Frame, name: bytes) -> int:
        variable, store = self.variable, frame.run.shared
        if variable is None:
            return self.body.execute(frame)
        variable.remove(frame)
        if name in store.variables:
            variable.store(frame, share(store.variables[name]))
        try:
            return self.body.execute(frame)
        finally:
            value = variable.peek(frame)
            if value is UNSET:
                store.forget(name)
            else:
                store.remember(name, share(settled(value)))


class Program:
    """A loaded script, shared by all its runs: nothing in it changes while it runs."""

    def __init__(
        self,
        statements: list[Statement],
        *,
        span: Span,
        registry: Registry,
        global_names: dict[str, int],
        stage_names: frozenset[str],
        functions: dict[str, Declaration],
        warnings: list[Diagnostic],
        notes: list[Diagnostic],
    ) -> None:
        self.statements = statements
        self.span = span
        self.registry = registry
        self.global_names = global_names
        self.global_count = len(global_names)
        self.stage_variables = {name: slot for name, slot in global_names.items() if name in stage_names}
        self.functions = functions
        self.warnings = warnings
        self.notes = notes

    def execute(self, run: Run) -> Value:
        """Run from the first statement. The value is that of a `return` outside functions, or None."""
        frame = Frame(run, run.globals)
        return frame.result if execute_all(self.statements, frame) == RETURN else None

    def find_function(self, name: str) -> Function | None:
        """A function by name, the script's own first."""
        if name in self.functions:
            return self.functions[name].value
        builtin = self.registry.get(name)
        return None if builtin is None else BuiltinFunction(name, builtin)
