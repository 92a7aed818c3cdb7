"""Functions: what the compiler makes of a declaration, and the function values that scripts pass around."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hsl.builtins import Builtin, plural
from hsl.errors import BudgetError, ScriptError
from hsl.nodes import NORMAL, RETURN, Frame, Node, Statement, Steps, spend
from hsl.run import Run
from hsl.slots import UNSET, Cell, Slot
from hsl.source import Span
from hsl.values import Array, Function, Object, Value

MAX_NESTING: Final = 4_000  # nodes below each other, over all nested function calls: the evaluator recurses that deep


class Declaration:
    """A function of a script, shared by all runs of the loaded program: parameters, slots and body.

    The slots of an activation are the parameters (then the array of the rest, then 2015's count), the cells of
    captured variables, and the locals.
    """

    __slots__ = (
        "blank",
        "body",
        "boxed",
        "captures",
        "counted",
        "defaults",
        "depth",
        "generates",
        "name",
        "parameters",
        "plain",
        "program",
        "required",
        "slot_count",
        "span",
        "value",
        "variadic",
    )

    def __init__(self, name: str, span: Span) -> None:
        self.name = name
        self.span = span
        self.parameters: list[str] = []
        self.defaults: list[Value] = []  # of the last parameters; arrays in it are shared
        self.required = 0
        self.variadic = False
        self.counted = False  # the slot behind the rest holds the number of arguments ($argc)
        self.generates = False  # there is a `yield` in it
        self.captures = 0  # how many cells a closure brings along
        self.plain = False  # the arguments of a call are just the first slots
        self.boxed: list[int] = []  # slots of variables that closures in it capture
        self.slot_count = 0
        self.blank: list[Slot] = []  # the slots before a call: defaults, and unset
        self.depth = 0  # how deep the nodes of the body nest
        self.body: list[Statement] = []
        self.program: object = None  # whose globals it uses
        self.value: Function = ScriptFunction(self)  # the one function value of it, equal to itself only

    def finish(self, slot_count: int, depth: int, body: list[Statement]) -> None:
        """The body is compiled."""
        self.slot_count = slot_count
        self.depth = depth
        self.body = body
        self.blank = [UNSET] * self.required
        self.blank += self.defaults
        self.blank += [UNSET] * (slot_count - len(self.blank))
        self.plain = not (self.variadic or self.boxed or self.captures or self.generates)

    def arity_error(self, count: int) -> str | None:
        """What is wrong with a call of so many arguments, or None."""
        most = len(self.parameters)
        if count < self.required:
            least = "at least " if self.variadic or most != self.required else ""
            return f"{self.name}() takes {least}{plural(self.required)}, got {count}"
        if count > most and not self.variadic:
            at_most = "at most " if most != self.required else ""
            return f"{self.name}() takes {at_most}{plural(most)}, got {count}"
        return None

    def invoke(
        self,
        run: Run,
        arguments: list[Value],
        span: Span | None,
        this: Object | None = None,
        cells: list[Cell] | None = None,
    ) -> Value:
        """Call with any arguments. Raises ScriptError with this call on its stack."""
        problem = self.arity_error(len(arguments))
        if problem is not None:
            raise ScriptError(problem, span)
        frame = Frame(run, self.bind(arguments, cells), this)
        if self.generates:
            return Generator(self, frame)
        if run.home is self.program:
            return self.execute(frame, span)
        home = run.move(self.program)  # a function of another script, out of the memory that scripts share
        try:
            return self.execute(frame, span)
        finally:
            run.move(home)

    def bind(self, arguments: list[Value], cells: list[Cell] | None) -> list[Slot]:
        """The slots of a new activation."""
        slots = self.blank[:]
        count = len(self.parameters)
        for index, value in enumerate(arguments[:count]):
            slots[index] = value
        if self.variadic:
            slots[count] = Array(arguments[count:])
            count += 1
        if self.counted:
            slots[count] = float(len(arguments))
            count += 1
        for cell in cells or ():
            slots[count] = cell
            count += 1
        for index in self.boxed:
            slots[index] = Cell(slots[index])
        return slots

    def execute(self, frame: Frame, span: Span | None) -> Value:
        """Run the body with its slots filled. Raises ScriptError with this call on its stack."""
        run = frame.run
        self.enter(run, span)
        try:
            for statement in self.body:
                try:
                    ended = statement.execute(frame)
                except ScriptError as error:
                    if error.span is None:
                        error.span = statement.span
                    raise
                if ended == RETURN:
                    return frame.result
            return None
        except ScriptError as error:
            run.trace(error, self.name, span)
            raise
        finally:
            self.leave(run)

    def enter(self, run: Run, span: Span | None) -> None:
        """Count a call. Raises BudgetError where calls nest too deeply."""
        calls = run.calls
        if len(calls) >= run.call_depth:
            raise BudgetError(f"function calls nest more than {run.call_depth} deep", span)
        if run.nesting + self.depth > MAX_NESTING:
            raise BudgetError(f"expressions in function calls nest more than {MAX_NESTING} deep", span)
        spend(run, span or self.span)
        run.nesting += self.depth
        calls.append(self)

    def leave(self, run: Run) -> None:
        run.calls.pop()
        run.nesting -= self.depth

    def steps(self, frame: Frame) -> Steps:
        """The body of a generator."""
        for statement in self.body:
            if (yield from statement.steps(frame)) == RETURN:
                return RETURN
        return NORMAL


class Generator(Object):
    """What a call of a function with `yield` gives: `foreach` runs the body from one `yield` to the next."""

    __slots__ = ("declaration", "ended", "frame", "iterator")

    def __init__(self, declaration: Declaration, frame: Frame) -> None:
        super().__init__("Generator")
        self.declaration = declaration
        self.frame = frame
        self.iterator: Steps = declaration.steps(frame)
        self.ended = False

    def walk(self, run: object) -> Iterator[tuple[Value, Value]]:
        while (pair := self.advance(run)) is not None:
            yield pair

    def advance(self, run: object) -> tuple[Value, Value] | None:
        """Run up to the next `yield`; None at the end. Raises ScriptError with the function on its stack."""
        if self.ended:
            return None
        if run is not self.frame.run or not isinstance(run, Run):
            raise ScriptError("a generator runs only in the script execution that made it")
        declaration = self.declaration
        if declaration in run.calls:
            raise ScriptError(f"recursion is not allowed: {declaration.name}() is already running")
        home = run.move(declaration.program)
        declaration.enter(run, None)
        ended, self.ended = self.ended, True  # also when it fails
        try:
            pair = next(self.iterator)
            self.ended = ended
            return pair
        except StopIteration:
            return None
        except ScriptError as error:
            run.trace(error, declaration.name, None)
            raise
        finally:
            declaration.leave(run)
            run.move(home)


class ScriptFunction(Function):
    """A script's function as a value. Builtins that call it share what they took out of an array, and only that:
    a reduce that appends to its carry would else copy it at every step."""

    __slots__ = ("declaration",)

    def __init__(self, declaration: Declaration) -> None:
        super().__init__(declaration.name)
        self.declaration = declaration

    def call(self, run: object, arguments: list[Value]) -> Value:
        assert isinstance(run, Run)
        self.check_recursion(run)
        return self.declaration.invoke(run, arguments, None)

    def check_recursion(self, run: Run) -> None:
        """Raises ScriptError while the function is running."""
        if self.declaration in run.calls:
            raise ScriptError(f"recursion is not allowed: {self.name}() is already running")


class Closure(ScriptFunction):
    """A function without a name that holds variables of where it was made, and its `$this`."""

    __slots__ = ("cells", "this")

    def __init__(self, declaration: Declaration, cells: list[Cell], this: Object | None) -> None:
        super().__init__(declaration)
        self.cells = cells
        self.this = this

    def call(self, run: object, arguments: list[Value]) -> Value:
        assert isinstance(run, Run)
        self.check_recursion(run)
        return self.declaration.invoke(run, arguments, None, self.this, self.cells)


class MakeClosure(Node):
    """`function (…) closure (…) { … }`: a new value at each evaluation. `cells` are the slots it captures."""

    __slots__ = ("cells", "declaration", "holds_this")

    def __init__(self, span: Span, declaration: Declaration, cells: list[int], holds_this: bool) -> None:
        super().__init__(span)
        self.declaration = declaration
        self.cells = cells
        self.holds_this = holds_this

    def evaluate(self, frame: Frame) -> Value:
        cells: list[Cell] = []
        for slot in self.cells:
            cell = frame.slots[slot]
            assert isinstance(cell, Cell)
            cells.append(cell)
        return Closure(self.declaration, cells, frame.this if self.holds_this else None)


class BuiltinFunction(Function):
    """A builtin function as a value."""

    __slots__ = ("builtin",)

    def __init__(self, name: str, builtin: Builtin) -> None:
        super().__init__(name)
        self.builtin = builtin

    def call(self, run: object, arguments: list[Value]) -> Value:
        assert isinstance(run, Run)
        return self.builtin.call(run, arguments, self.name)
