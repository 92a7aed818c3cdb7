"""Functions: what the compiler makes of a declaration, and the function values that scripts pass around."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hsl.errors import BudgetError, ScriptError
from hsl.invocation import Builtin, arity_problem
from hsl.nodes import (
    HALT,
    Frame,
    Node,
    Return,
    Sequence,
    Statement,
    Steps,
    in_sequence,
    result_of,
    steps_of_all,
)
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
        "boxed",
        "captures",
        "counted",
        "defaults",
        "depth",
        "generates",
        "index",
        "most",
        "name",
        "parameters",
        "plain",
        "program",
        "required",
        "sequence",
        "single",
        "slot_count",
        "span",
        "value",
        "variadic",
    )

    def __init__(self, name: str, span: Span) -> None:
        self.name = name
        self.span = span
        self.parameters: Final[list[str]] = []
        self.defaults: Final[list[Value]] = []  # of the last parameters; arrays in it are shared
        self.required = 0
        self.most = 0
        self.variadic = False
        self.counted = False  # the slot behind the rest holds the number of arguments ($argc)
        self.generates = False  # there is a `yield` in it
        self.captures = 0  # how many cells a closure brings along
        self.plain = False  # the arguments of a call are just the first slots
        self.boxed: list[int] = []  # slots of variables that closures in it capture
        self.index = 0  # among the functions of its program
        self.slot_count = 0
        self.blank: list[Slot] = []  # the slots before a call: defaults, and unset
        self.depth = 0  # how deep the nodes of the body nest
        self.sequence: Sequence | None = None  # the body
        self.single: Node | None = None  # the value, where the body is one `return`
        self.program: object = None  # whose globals it uses
        self.value: Final[Function] = ScriptFunction(self)  # the one function value of it, equal to itself only

    def finish(self, slot_count: int, depth: int, body: list[Statement]) -> None:
        """The body is compiled."""
        self.slot_count = slot_count
        self.depth = depth
        self.sequence = in_sequence(body)
        if len(body) == 1:
            only = body[0]
            if isinstance(only, Return) and only.value is not None and not only.shares:
                self.single = only.value
        self.blank = [UNSET] * self.required
        self.blank += self.defaults
        self.blank += [UNSET] * (slot_count - len(self.blank))
        self.most = len(self.parameters)
        self.plain = not (self.variadic or self.generates)

    def arity_error(self, count: int) -> str | None:
        """What is wrong with a call of so many arguments, or None."""
        most = None if self.variadic else len(self.parameters)
        return arity_problem(self.name, count, self.required, most)

    def invoke(
        self,
        run: Run,
        arguments: list[Value],
        span: Span | None,
        this: Object | None = None,
        cells: list[Cell] | None = None,
    ) -> Value:
        """Call with any arguments. Raises ScriptError with this call on its stack."""
        count = len(arguments)
        if count < self.required or (count > self.most and not self.variadic):
            raise ScriptError(self.arity_error(count) or "", span)
        if self.generates:
            frame = Frame(run, self.blank[:], this)
            self.bind(frame.slots, arguments, cells)
            return Generator(self, frame)
        home = run.home
        if home is not self.program:  # a function of another script, out of the memory that scripts share
            run.move(self.program)
        try:
            frame = self.activate(run, span)
            frame.this = this
            self.bind(frame.slots, arguments, cells)
            return self.execute(frame, span)
        finally:
            if run.home is not home:
                run.move(home)

    def activate(self, run: Run, span: Span | None) -> Frame:
        """The frame for a call. A run keeps one for each function, since none runs twice at a time.

        Raises ScriptError while the function is running.
        """
        frame = run.frames[self.index]
        if frame is None:
            frame = Frame(run, self.blank[:])
            run.frames[self.index] = frame
        elif frame.busy:
            raise ScriptError(f"recursion is not allowed: {self.name}() is already running", span)
        return frame

    def bind(self, slots: list[Slot], arguments: list[Value], cells: list[Cell] | None) -> None:
        """Fill the slots of a new activation."""
        blank = self.blank
        most = self.most
        given = min(most, len(arguments))
        for index in range(given):
            slots[index] = arguments[index]
        for index in range(given, self.slot_count):
            slots[index] = blank[index]
        if self.variadic:
            slots[most] = Array(arguments[most:])
            most += 1
        if self.counted:
            slots[most] = float(len(arguments))
            most += 1
        if cells is not None:
            for cell in cells:
                slots[most] = cell
                most += 1
        if self.boxed:
            self.box(slots)

    def box(self, slots: list[Slot]) -> None:
        """Give the variables that closures capture cells of their own."""
        for index in self.boxed:
            slots[index] = Cell(slots[index])

    def enter(
        self, frame: Frame, count: int, span: Span | None, this: Object | None, cells: list[Cell] | None
    ) -> Value:
        """Run a plain function whose first `count` slots are filled."""
        slots = frame.slots
        blank = self.blank
        for place in range(count, self.slot_count):
            slots[place] = blank[place]
        if cells is not None:
            place = self.most
            for cell in cells:
                slots[place] = cell
                place += 1
        if self.boxed:
            self.box(slots)
        frame.this = this
        return self.execute(frame, span)

    def execute(self, frame: Frame, span: Span | None) -> Value:
        """Run the body with its slots filled. Raises ScriptError with this call on its stack."""
        run = frame.run
        if run.depth >= run.call_depth or run.nesting + self.depth > MAX_NESTING:
            raise self.too_deep(run, span)
        run.fuel -= 1
        if run.fuel < 0:
            run.refuel(span or self.span)
        run.depth += 1
        run.nesting += self.depth
        frame.busy = True
        try:
            if self.single is not None:
                return self.single.evaluate(frame)
            return result_of(self.sequence, frame)
        except ScriptError as error:
            if error.span is None:
                error.span = self.span if self.single is None else self.single.span
            run.trace(error, self.name, span)
            raise
        finally:
            frame.busy = False
            run.depth -= 1
            run.nesting -= self.depth

    def too_deep(self, run: Run, span: Span | None) -> BudgetError:
        if run.depth >= run.call_depth:
            return BudgetError(f"function calls nest more than {run.call_depth} deep", span)
        return BudgetError(f"expressions in function calls nest more than {MAX_NESTING} deep", span)


class Generator(Object):
    """What a call of a function with `yield` gives: `foreach` runs the body from one `yield` to the next."""

    __slots__ = ("declaration", "ended", "frame", "iterator")

    def __init__(self, declaration: Declaration, frame: Frame) -> None:
        super().__init__("Generator")
        self.declaration: Final = declaration
        self.frame: Final = frame
        self.iterator: Final[Steps] = steps_of_all(declaration.sequence, frame)
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
        home = run.move(self.declaration.program)
        try:
            return self.resume(run, self.declaration.activate(run, None))
        finally:
            run.move(home)

    def resume(self, run: Run, mark: Frame) -> tuple[Value, Value] | None:
        """`mark` is the run's frame for the function: it only says that the function is running."""
        declaration = self.declaration
        if run.depth >= run.call_depth or run.nesting + declaration.depth > MAX_NESTING:
            raise declaration.too_deep(run, None)
        run.spend(declaration.span)
        run.depth += 1
        run.nesting += declaration.depth
        mark.busy = True
        self.ended = True  # also when it fails
        try:
            pair = next(self.iterator)
            self.ended = False
            return pair
        except StopIteration as end:
            if end.value == HALT:
                raise run.take_halt() from None
            return None
        except ScriptError as error:
            run.trace(error, declaration.name, None)
            raise
        finally:
            mark.busy = False
            run.depth -= 1
            run.nesting -= declaration.depth


class ScriptFunction(Function):
    """A script's function as a value; a closure holds variables of where it was made, and its `$this`.

    Builtins that call it share what they took out of an array, and only that: a reduce that appends to its carry would
    else copy it at every step.
    """

    __slots__ = ("cells", "declaration", "this")

    def __init__(self, declaration: Declaration, cells: list[Cell] | None = None, this: Object | None = None) -> None:
        super().__init__(declaration.name)
        self.declaration: Final = declaration
        self.cells: Final = cells
        self.this = this

    def call(self, run: object, arguments: list[Value]) -> Value:
        assert isinstance(run, Run)
        return self.declaration.invoke(run, arguments, None, self.this, self.cells)

    def call_one(self, run: object, value: Value) -> Value:
        assert isinstance(run, Run)
        declaration = self.declaration
        if not self.takes(run, 1):
            return self.call(run, [value])
        frame = declaration.activate(run, None)
        frame.slots[0] = value
        return declaration.enter(frame, 1, None, self.this, self.cells)

    def call_two(self, run: object, value: Value, other: Value) -> Value:
        assert isinstance(run, Run)
        declaration = self.declaration
        if not self.takes(run, 2):
            return self.call(run, [value, other])
        frame = declaration.activate(run, None)
        slots = frame.slots
        slots[0] = value
        slots[1] = other
        return declaration.enter(frame, 2, None, self.this, self.cells)

    def takes(self, run: Run, count: int) -> bool:
        """Whether so many arguments are just the first slots of a function of the running script."""
        declaration = self.declaration
        plain = declaration.plain and declaration.required <= count <= declaration.most
        return plain and run.home is declaration.program


class MakeClosure(Node):
    """`function (…) closure (…) { … }`: a new value at each evaluation.

    `cells` are the slots that it captures, each of the globals (true) or of the frame.
    """

    __slots__ = ("cells", "declaration", "holds_this")

    def __init__(self, span: Span, declaration: Declaration, cells: list[tuple[bool, int]], holds_this: bool) -> None:
        super().__init__(span)
        self.declaration: Final = declaration
        self.cells: Final = cells
        self.holds_this: Final = holds_this

    def evaluate(self, frame: Frame) -> Value:
        cells: list[Cell] = []
        for of_globals, slot in self.cells:
            cell = frame.run.globals[slot] if of_globals else frame.slots[slot]
            assert isinstance(cell, Cell)
            cells.append(cell)
        return ScriptFunction(self.declaration, cells, frame.this if self.holds_this else None)


class BuiltinFunction(Function):
    """A builtin function as a value."""

    __slots__ = ("builtin",)

    def __init__(self, name: str, builtin: Builtin) -> None:
        super().__init__(name)
        self.builtin: Final = builtin

    def call(self, run: object, arguments: list[Value]) -> Value:
        assert isinstance(run, Run)
        return self.builtin.call(run, arguments, self.name)
