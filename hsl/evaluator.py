"""Statements of the executable tree, and the Program that a run executes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from hsl.calls import CallBuiltin
from hsl.errors import BudgetError, Diagnostic, Halt, ScriptError
from hsl.exceptions import caught
from hsl.functions import BuiltinFunction
from hsl.nodes import (
    BREAK,
    HALT,
    NORMAL,
    RETURN,
    Constant,
    Frame,
    Node,
    Statement,
    Steps,
    execute_all,
    in_sequence,
    result_of,
    steps_of_all,
)
from hsl.run import Run
from hsl.slots import UNSET, Slot, settled
from hsl.source import Span
from hsl.values import Array, Function, Object, Value, loose_equal, share, to_string, type_name
from hsl.variables import SlotTarget, Target

if TYPE_CHECKING:
    from hsl.builtins import Registry


class Block(Statement):
    __slots__ = ("sequence",)

    def __init__(self, span: Span, statements: list[Statement]) -> None:
        super().__init__(span)
        self.sequence = in_sequence(statements)

    def execute(self, frame: Frame) -> int:
        return execute_all(self.sequence, frame)

    def steps(self, frame: Frame) -> Steps:
        return (yield from steps_of_all(self.sequence, frame))


class ExpressionStatement(Statement):
    __slots__ = ("expression",)

    def __init__(self, expression: Node) -> None:
        super().__init__(expression.span)
        self.expression: Final = expression

    def execute(self, frame: Frame) -> int:
        self.expression.evaluate(frame)
        return NORMAL


class HaltStatement(Statement):
    """A verdict: it leaves the script as the end of a statement, not as an exception through all of them.

    Where it is the call of a builtin that does not wait, the implementation is called right here: compiled code pays
    for each function that an exception passes.
    """

    __slots__ = ("call", "expression")

    def __init__(self, expression: Node) -> None:
        super().__init__(expression.span)
        self.expression: Final = expression
        self.call: CallBuiltin | None = None
        if type(expression) is CallBuiltin and not expression.builtin.is_async:
            self.call = expression

    def execute(self, frame: Frame) -> int:
        call = self.call
        try:
            if call is None:
                self.expression.evaluate(frame)
            else:
                implementation = call.builtin.implementation
                implementation(*call.prepare(frame))
        except Halt as halt:
            if halt.span is None:
                halt.span = self.span
            frame.run.halt = halt
            return HALT
        except ScriptError as error:
            raise self.expression.located(error) from None
        return NORMAL


class Echo(Statement):
    __slots__ = ("expression",)

    def __init__(self, span: Span, expression: Node) -> None:
        super().__init__(span)
        self.expression: Final = expression

    def execute(self, frame: Frame) -> int:
        value = self.expression.evaluate(frame)
        try:
            frame.run.echo(to_string(value))
        except ScriptError as error:
            error.span = error.span or self.span
            raise
        return NORMAL


class If(Statement):
    """`if` and `else`."""

    __slots__ = ("condition", "otherwise", "then")

    def __init__(self, span: Span, condition: Node, then: Statement, otherwise: Statement | None) -> None:
        super().__init__(span)
        self.condition: Final = condition
        self.then: Final = then
        self.otherwise: Final = otherwise

    def execute(self, frame: Frame) -> int:
        if self.condition.test(frame):
            return self.then.execute(frame)
        return NORMAL if self.otherwise is None else self.otherwise.execute(frame)

    def steps(self, frame: Frame) -> Steps:
        if self.condition.test(frame):
            return (yield from self.then.steps(frame))
        return NORMAL if self.otherwise is None else (yield from self.otherwise.steps(frame))


class IfChain(Statement):
    """`if`, each `else if`, `else`: one statement, however long it is."""

    __slots__ = ("arms", "otherwise")

    def __init__(self, span: Span, arms: list[If], otherwise: Statement | None) -> None:
        super().__init__(span)
        self.arms: Final = arms
        self.otherwise: Final = otherwise

    def execute(self, frame: Frame) -> int:
        for arm in self.arms:
            if arm.condition.test(frame):
                return arm.then.execute(frame)
        return NORMAL if self.otherwise is None else self.otherwise.execute(frame)

    def steps(self, frame: Frame) -> Steps:
        for arm in self.arms:
            if arm.condition.test(frame):
                return (yield from arm.then.steps(frame))
        return NORMAL if self.otherwise is None else (yield from self.otherwise.steps(frame))


class While(Statement):
    """`while`, and `forever` without a condition."""

    __slots__ = ("body", "condition")

    def __init__(self, span: Span, condition: Node | None, body: Statement) -> None:
        super().__init__(span)
        self.condition: Final = condition
        self.body = body

    def execute(self, frame: Frame) -> int:
        run, condition, body = frame.run, self.condition, self.body
        while condition is None or condition.test(frame):
            run.fuel -= 1
            if run.fuel < 0:
                run.refuel(self.span)
            ended = body.execute(frame)
            if ended == BREAK:
                break
            if ended >= RETURN:
                return ended
        return NORMAL

    def steps(self, frame: Frame) -> Steps:
        while self.condition is None or self.condition.test(frame):
            frame.run.spend(self.span)
            ended = yield from self.body.steps(frame)
            if ended == BREAK:
                break
            if ended >= RETURN:
                return ended
        return NORMAL


class For(Statement):
    __slots__ = ("body", "condition", "start", "step")

    def __init__(
        self,
        span: Span,
        start: Statement | None,
        condition: Node | None,
        step: Statement | None,
        body: Statement,
    ) -> None:
        super().__init__(span)
        self.start = start
        self.condition: Final = condition
        self.step: Final = step
        self.body = body

    def execute(self, frame: Frame) -> int:
        run, condition, step, body = frame.run, self.condition, self.step, self.body
        if self.start is not None:
            self.start.execute(frame)
        while condition is None or condition.test(frame):
            run.fuel -= 1
            if run.fuel < 0:
                run.refuel(self.span)
            ended = body.execute(frame)
            if ended == BREAK:
                break
            if ended >= RETURN:
                return ended
            if step is not None:
                step.execute(frame)
        return NORMAL

    def steps(self, frame: Frame) -> Steps:
        if self.start is not None:
            self.start.execute(frame)
        while self.condition is None or self.condition.test(frame):
            frame.run.spend(self.span)
            ended = yield from self.body.steps(frame)
            if ended == BREAK:
                break
            if ended >= RETURN:
                return ended
            if self.step is not None:
                self.step.execute(frame)
        return NORMAL


class Foreach(Statement):
    """Walks a snapshot of an array: it counts as borrowed meanwhile, so that a change inside the loop copies it.

    Of an object (a generator, say) it takes one item after the other.
    """

    __slots__ = ("body", "key", "subject", "value")

    def __init__(self, span: Span, subject: Node, key: SlotTarget | None, value: Target, body: Statement) -> None:
        super().__init__(span)
        self.subject: Final = subject
        self.key: Final = key
        self.value: Final = value
        self.body = body

    def execute(self, frame: Frame) -> int:
        subject = self.subject.evaluate(frame)
        if not isinstance(subject, Array):
            return self.walk(frame, self.pairs(frame, subject))
        subject.borrows += 1
        try:
            items = subject.items
            if items is None:
                return self.walk_entries(frame, subject.map or {})
            if self.key is None:
                return self.walk_values(frame, items)
            return self.walk(frame, subject.pairs())
        finally:
            subject.borrows -= 1

    def pairs(self, frame: Frame, subject: Value) -> Iterator[tuple[Value, Value]]:
        if isinstance(subject, Object):
            return subject.walk(frame.run)
        raise ScriptError(f"foreach wants an array or an iterator, got {type_name(subject)}", self.subject.span)

    def walk_values(self, frame: Frame, values: list[Value]) -> int:
        run, target, body = frame.run, self.value, self.body
        for value in values:
            run.fuel -= 1
            if run.fuel < 0:
                run.refuel(self.span)
            if isinstance(value, Array):
                value.shared = True
            target.store(frame, value)
            ended = body.execute(frame)
            if ended == BREAK:
                break
            if ended >= RETURN:
                return ended
        return NORMAL

    def walk_entries(self, frame: Frame, entries: dict[Value, Value]) -> int:
        run, body, target, key_target = frame.run, self.body, self.value, self.key
        for key, value in entries.items():
            run.fuel -= 1
            if run.fuel < 0:
                run.refuel(self.span)
            if key_target is not None:
                key_target.store(frame, share(key))
            if isinstance(value, Array):
                value.shared = True
            target.store(frame, value)
            ended = body.execute(frame)
            if ended == BREAK:
                break
            if ended >= RETURN:
                return ended
        return NORMAL

    def walk(self, frame: Frame, pairs: Iterator[tuple[Value, Value]]) -> int:
        run, body = frame.run, self.body
        for key, value in pairs:
            run.fuel -= 1
            if run.fuel < 0:
                run.refuel(self.span)
            self.take(frame, key, value)
            ended = body.execute(frame)
            if ended == BREAK:
                break
            if ended >= RETURN:
                return ended
        return NORMAL

    def take(self, frame: Frame, key: Value, value: Value) -> None:
        if self.key is not None:
            self.key.store(frame, share(key))
        self.value.store(frame, share(value))

    def steps(self, frame: Frame) -> Steps:
        subject = self.subject.evaluate(frame)
        pairs = subject.pairs() if isinstance(subject, Array) else self.pairs(frame, subject)
        if isinstance(subject, Array):
            subject.borrows += 1
        try:
            for key, value in pairs:
                frame.run.spend(self.span)
                self.take(frame, key, value)
                ended = yield from self.body.steps(frame)
                if ended == BREAK:
                    break
                if ended >= RETURN:
                    return ended
            return NORMAL
        finally:
            if isinstance(subject, Array):
                subject.borrows -= 1


class Switch(Statement):
    """Compares loosely, falls through; `break` leaves the switch, `continue` belongs to the loop around it.

    `texts` finds the case of a string where all cases are literal strings.
    """

    __slots__ = ("bodies", "default", "subject", "tests", "texts")

    def __init__(
        self, span: Span, subject: Node, tests: list[Node | None], bodies: list[list[Statement]], default: int | None
    ) -> None:
        super().__init__(span)
        self.subject: Final = subject
        self.tests: Final = tests
        self.bodies: Final = [in_sequence(body) for body in bodies]
        self.default: Final = len(bodies) if default is None else default
        self.texts: Final = literal_cases(tests)

    def start(self, frame: Frame) -> int:
        """The place of the first body that runs."""
        value = self.subject.evaluate(frame)
        texts = self.texts
        if texts is not None and isinstance(value, bytes):
            return texts.get(value, self.default)
        for place, test in enumerate(self.tests):
            if test is not None and loose_equal(value, test.evaluate(frame)):
                return place
        return self.default

    def execute(self, frame: Frame) -> int:
        for place in range(self.start(frame), len(self.bodies)):
            ended = execute_all(self.bodies[place], frame)
            if ended == BREAK:
                return NORMAL
            if ended != NORMAL:
                return ended
        return NORMAL

    def steps(self, frame: Frame) -> Steps:
        for place in range(self.start(frame), len(self.bodies)):
            ended = yield from steps_of_all(self.bodies[place], frame)
            if ended == BREAK:
                return NORMAL
            if ended != NORMAL:
                return ended
        return NORMAL


def literal_cases(tests: list[Node | None]) -> dict[bytes, int] | None:
    """The places of cases that are all literal strings, of equal ones the first; else None."""
    places: dict[bytes, int] = {}
    for place, test in enumerate(tests):
        if test is None:
            continue
        if not isinstance(test, Constant) or not isinstance(test.value, bytes):
            return None
        places.setdefault(test.value, place)
    return places


class Jump(Statement):
    """`break` and `continue`."""

    __slots__ = ("signal",)

    def __init__(self, span: Span, signal: int) -> None:
        super().__init__(span)
        self.signal: Final = signal

    def execute(self, frame: Frame) -> int:
        return self.signal


class Yield(Statement):
    """`yield key => value`; without a key they are counted from 0."""

    __slots__ = ("counter", "key", "value")

    def __init__(self, span: Span, key: Node | None, value: Node | None, counter: int) -> None:
        super().__init__(span)
        self.key: Final = key
        self.value: Final = value
        self.counter = counter  # the slot of the next key

    def steps(self, frame: Frame) -> Steps:
        if self.key is not None:
            key = share(self.key.evaluate(frame))
        else:
            count = frame.slots[self.counter]
            key = count if isinstance(count, float) else 0.0
            frame.slots[self.counter] = key + 1.0
        yield key, None if self.value is None else share(self.value.evaluate(frame))
        return NORMAL


class Try(Statement):
    """`try { } catch ($e) { }`: for run-time errors and what scripts throw; never for budgets and verdicts."""

    __slots__ = ("body", "handler", "variable")

    def __init__(self, span: Span, body: Statement, variable: SlotTarget, handler: Statement) -> None:
        super().__init__(span)
        self.body = body
        self.variable: Final = variable
        self.handler: Final = handler

    def execute(self, frame: Frame) -> int:
        try:
            return self.body.execute(frame)
        except BudgetError:
            raise
        except ScriptError as error:
            self.variable.store(frame, caught(error))
        return self.handler.execute(frame)

    def steps(self, frame: Frame) -> Steps:
        try:
            return (yield from self.body.steps(frame))
        except BudgetError:
            raise
        except ScriptError as error:
            self.variable.store(frame, caught(error))
        return (yield from self.handler.steps(frame))


class Barrier(Statement):
    """`barrier name => $shared { … }`: one execution at a time; the variable lives in the process's shared store."""

    __slots__ = ("body", "name", "variable")

    def __init__(self, span: Span, name: Node, variable: SlotTarget | None, body: Statement) -> None:
        super().__init__(span)
        self.name = name
        self.variable: Final = variable
        self.body = body

    def execute(self, frame: Frame) -> int:
        name = self.enter(frame)
        before = self.read(frame, name)
        try:
            return self.body.execute(frame)
        finally:
            self.leave(frame, name, before)

    def steps(self, frame: Frame) -> Steps:
        name = self.enter(frame)
        before = self.read(frame, name)
        try:
            return (yield from self.body.steps(frame))
        finally:
            self.leave(frame, name, before)

    def enter(self, frame: Frame) -> bytes:
        """Wait for the turn."""
        name = to_string(self.name.evaluate(frame))
        try:
            frame.run.shared.acquire(name, frame.run)
        except ScriptError as error:
            error.span = error.span or self.span
            raise
        return name

    def read(self, frame: Frame, name: bytes) -> Slot:
        """Give the variable the shared value; what it holds then."""
        variable, shared = self.variable, frame.run.shared.variables
        if variable is None:
            return UNSET
        variable.remove(frame)
        if name in shared:
            variable.store(frame, share(shared[name]))
        return variable.peek(frame)

    def leave(self, frame: Frame, name: bytes, before: Slot) -> None:
        """Write the variable back if it was changed here, and let the next one in.

        A generator that is dropped comes here late: then the barrier may be another's, and is left alone.
        """
        store, variable = frame.run.shared, self.variable
        try:
            if variable is not None and store.holds(name, frame.run):
                value = variable.peek(frame)
                if value is UNSET and before is not UNSET:
                    store.forget(name)
                elif value is not before and value is not UNSET:
                    store.remember(name, settled(value))
        finally:
            store.release(name, frame.run)


class RunModule(Statement):
    """An import: the module's own statements, unless they have run in this run."""

    __slots__ = ("module", "sequence")

    def __init__(self, span: Span, module: int, statements: list[Statement]) -> None:
        super().__init__(span)
        self.module: Final = module
        self.sequence = in_sequence(statements)

    def execute(self, frame: Frame) -> int:
        if frame.run.enter_module(self.module) and execute_all(self.sequence, frame) == HALT:
            return HALT
        return NORMAL


class Program:
    """A loaded script, shared by all its runs: nothing in it changes while it runs."""

    def __init__(
        self,
        statements: list[Statement],
        *,
        span: Span,
        registry: Registry,
        global_names: dict[str, int],
        global_count: int,
        function_count: int,
        initial: list[tuple[int, Value]],
        boxed: list[int],
        stage_names: frozenset[str],
        functions: dict[str, Function],
        warnings: list[Diagnostic],
        notes: list[Diagnostic],
    ) -> None:
        self.sequence = in_sequence(statements)
        self.span = span
        self.registry: Final = registry
        self.global_names: Final = global_names  # of the script itself; modules and statics have slots of their own
        self.global_count: Final = global_count
        self.function_count: Final = function_count
        self.initial: Final = initial  # what slots of the globals hold from the start
        self.boxed = boxed  # the slots of variables that closures capture
        self.stage_variables: Final = {name: slot for name, slot in global_names.items() if name in stage_names}
        self.functions: Final = functions
        self.warnings = warnings
        self.notes: Final = notes

    def execute(self, run: Run) -> Value:
        """Run from the first statement. The value is that of a `return` outside functions, or None."""
        frame = Frame(run, run.globals)
        return result_of(self.sequence, frame)

    def find_function(self, name: str) -> Function | None:
        """A function by name, the script's own first."""
        if name in self.functions:
            return self.functions[name]
        builtin = self.registry.get(name)
        return None if builtin is None else BuiltinFunction(name, builtin)
