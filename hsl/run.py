"""What one running script owns: budget, output, globals, call stack, the host behind its builtins."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeVar, cast

from hsl import bridge
from hsl.errors import BudgetError, Halt, ScriptError, StackEntry
from hsl.shared import SharedStore
from hsl.slots import UNSET, Cell, Slot, is_set, settled
from hsl.values import Value, share

if TYPE_CHECKING:
    from hsl.evaluator import Program
    from hsl.nodes import Frame
    from hsl.source import Span

T = TypeVar("T")
SLICE: Final = 50  # steps between two looks at the clock; more while they are quick
LONGEST: Final = 800  # the most
HEAVY: Final = 1 << 16  # bytes of a string from which on work on it costs more than a step
WORTH: Final = 12  # so many bits of its length are worth a step
QUICK: Final = 0.0005  # seconds that a slice may take
TURN: Final = 0.005  # seconds after which other sessions get their turn

# The evaluator recurses as deep as a script's expressions and calls nest; both are capped (parser.MAX_DEPTH,
# Budget.call_depth), well below this.
sys.setrecursionlimit(max(sys.getrecursionlimit(), 20_000))


class Budget:
    """The most that one execution may use. Over it the script ends with a BudgetError."""

    __slots__ = ("call_depth", "output", "seconds", "steps")

    def __init__(
        self,
        steps: int = 20_000_000,  # loop turns and function calls
        seconds: float = 30.0,  # wall time, waits included
        call_depth: int = 100,  # nested function calls
        output: int = 16 * 1024 * 1024,  # bytes written by echo
    ) -> None:
        self.steps = steps
        self.seconds: Final = seconds
        self.call_depth: Final = call_depth
        self.output = output


STANDARD: Final = Budget()


class Run:
    """One execution of a program.

    `host` is what the builtins of the mail runtime act on (a stage's context); the language only passes it along.
    `output` takes the bytes of each echo, newline included. `shared` holds cache and barriers of the process.
    """

    __slots__ = (
        "budget",
        "call_depth",
        "closing",
        "deadline",
        "depth",
        "frames",
        "fuel",
        "globals",
        "goes_on",
        "halt",
        "home",
        "host",
        "looked",
        "message_id",
        "modules",
        "nesting",
        "output",
        "own",
        "program",
        "shared",
        "slice",
        "spaces",
        "started",
        "steps",
        "turn_ends",
        "variables",
        "written",
    )

    def __init__(
        self,
        program: Program,
        *,
        host: object = None,
        variables: Callable[[str], Value] | None = None,
        output: Callable[[bytes], None] | None = None,
        budget: Budget | None = None,
        shared: SharedStore | None = None,
        message_id: str = "",
    ) -> None:
        self.program = program
        self.host = host
        self.output = write_stdout if output is None else output
        budget = STANDARD if budget is None else budget
        self.budget = budget
        self.shared = SharedStore() if shared is None else shared
        self.message_id = message_id
        self.variables = variables
        self.home: object = program  # the program whose function is running
        self.globals: list[Slot] = self.space(program)  # of `home`
        self.frames: list[Frame | None] = [None] * program.function_count  # of its functions: none runs twice at a time
        self.own = self.globals  # of `program`
        self.spaces: dict[Program, tuple[list[Slot], list[Frame | None]]] | None = None  # once there are others
        self.modules: set[int] | None = None  # those that have run
        self.depth = 0  # of function calls
        self.halt: Halt | None = None  # the verdict that is ending the script
        self.call_depth: int = budget.call_depth
        now = monotonic()
        self.started = now
        self.deadline = now + budget.seconds
        self.steps = 0
        self.slice = SLICE if budget.steps > SLICE else max(0, budget.steps)
        self.fuel = self.slice  # steps left of this slice
        self.looked = now  # when a slice ended last
        self.turn_ends = now + TURN
        self.nesting = 0  # of the nodes in all running functions
        self.written = 0
        self.closing: list[Callable[[], None]] | None = None  # what the end of the run calls
        self.goes_on = False  # another piece of script follows (a REPL): what is open stays open, until `close`

    def space(self, program: Program) -> list[Slot]:
        """The variables of a program before it runs: what the host sets, class statics, data imports."""
        slots: list[Slot] = [UNSET] * program.global_count
        for slot, value in program.initial:
            slots[slot] = value
        if self.variables is not None:
            for name, slot in program.stage_variables.items():
                slots[slot] = share(self.variables(name))
        for slot in program.boxed:
            slots[slot] = Cell(slots[slot])
        return slots

    def move(self, program: object) -> object:
        """Make the globals of a program the current ones; gives the program whose they were.

        Functions travel between scripts in the memory that these share; each keeps to the variables of its own.
        """
        before = self.home
        if program is not before:
            home = cast("Program", program)
            if self.spaces is None:
                self.spaces = {self.program: (self.globals, self.frames)}
            if home not in self.spaces:
                self.spaces[home] = (self.space(home), [None] * home.function_count)
            self.home = home
            self.globals, self.frames = self.spaces[home]
        return before

    def enter_module(self, number: int) -> bool:
        """Whether a module has not run yet; from now on it has."""
        if self.modules is None:
            self.modules = set()
        if number in self.modules:
            return False
        self.modules.add(number)
        return True

    def execute(self) -> Value:
        """Run the program to its end; the value of a `return` outside functions, or None.

        Raises ScriptError, BudgetError, or the Halt that ended it.
        """
        try:
            return self.program.execute(self)
        except RecursionError:
            raise BudgetError("the script nests too deeply", self.program.span) from None
        except MemoryError:
            raise BudgetError("the script needs too much memory", self.program.span) from None
        finally:
            if self.closing is not None and not self.goes_on:
                self.close()
            self.shared.release_all(self)

    def at_end(self, close: Callable[[], None]) -> None:
        """Have something called when the run ends, however it ends (a resource's close); the last one first."""
        if self.closing is None:
            self.closing = []
        self.closing.append(close)

    def close(self) -> None:
        """Call what waits for the end of the run. Each is called; their errors are dropped."""
        waiting, self.closing = self.closing or [], None
        for close in reversed(waiting):
            with suppress(Exception):
                close()

    async def execute_async(self, limit: Callable[[], AbstractAsyncContextManager[object]] = nullcontext) -> Value:
        """The same on an event loop: builtins may wait, and other tasks get their turns.

        `limit` makes the context (a timeout) of the time from the first wait on.
        """
        try:
            return await bridge.run_script(self.execute, self.shared.stacks, limit)
        except TimeoutError:
            if self.remaining() > 0:
                raise
            raise self.out_of_time(self.program.span) from None

    def spend(self, span: Span) -> None:
        """One step of the budget: at each turn of a loop and at each call of a function. (Loops do this inline.)"""
        self.fuel -= 1
        if self.fuel < 0:
            self.refuel(span)

    def refuel(self, span: Span) -> None:
        """A slice of steps is used up. Raises BudgetError, placed at `span`."""
        try:
            self.tick()
        except ScriptError as error:
            if error.span is None:
                error.span = span
            raise

    def tick(self) -> None:
        """Called when a slice of steps is used up: checks the budget, and lets others run when it is their turn.

        Slices are short, because a step can be slow (a string of megabytes copied).
        """
        self.steps += self.slice
        now = monotonic()
        if now - self.looked > QUICK:
            self.slice = SLICE
        elif self.slice < LONGEST:
            self.slice *= 2
        self.looked = now
        self.slice = min(self.slice, self.budget.steps - self.steps)
        if self.slice <= 0:
            raise BudgetError(f"the script exceeded its budget of {self.budget.steps} steps")
        self.fuel = self.slice - 1
        self.give_turn(now)

    def give_turn(self, now: float = 0.0) -> None:
        """Let others run, if it is their turn: also inside a builtin whose work takes long. Raises BudgetError."""
        if now == 0.0:
            now = monotonic()
        if now > self.deadline:
            raise self.out_of_time()
        if now > self.turn_ends and bridge.bridged():
            bridge.wait(self.shared.rest())
            self.check_time()
            self.turn_ends = monotonic() + TURN

    def check_time(self) -> None:
        if monotonic() > self.deadline:
            raise self.out_of_time()

    def out_of_time(self, span: Span | None = None) -> BudgetError:
        return BudgetError(f"the script exceeded its budget of {self.budget.seconds:g} seconds", span)

    def remaining(self) -> float:
        """Seconds of wall time that the script may still use."""
        return self.deadline - monotonic()

    def wait(self, awaitable: Awaitable[T]) -> T:
        """Await for a builtin. Raises ScriptError where scripts run without a host that can wait."""
        try:
            result = bridge.wait(awaitable)
        except bridge.NoBridgeError as error:
            raise ScriptError(str(error)) from None
        self.check_time()
        return result

    def echo(self, text: bytes) -> None:
        self.written += len(text) + 1
        if self.written > self.budget.output:
            raise BudgetError(f"the script exceeded its budget of {self.budget.output} bytes of output")
        self.output(text + b"\n")

    def variable(self, name: str) -> Value:
        """A global of the script by name, None if it is not set (or not used by the script)."""
        slot = self.program.global_names.get(name)
        return None if slot is None else settled(self.own[slot])

    def is_set(self, name: str) -> bool:
        """Whether a global of the script holds anything, none included."""
        slot = self.program.global_names.get(name)
        return slot is not None and is_set(self.own[slot])

    def set_variable(self, name: str, value: Value) -> None:
        """Set a stage variable, read-only ones included (SetSender updates $sender)."""
        slot = self.program.global_names.get(name)
        if slot is not None:
            slots = self.own
            held = slots[slot]
            if isinstance(held, Cell):
                held.content = share(value)
            else:
                slots[slot] = share(value)

    def take_halt(self) -> Halt:
        """The verdict that ends the script."""
        halt = self.halt
        assert halt is not None
        self.halt = None
        return halt

    def trace(self, error: ScriptError, function: str, span: Span | None) -> None:
        """Note on its way out that an error passed a call."""
        if len(error.stack) < 50:
            error.stack.append(StackEntry(function, span))


def write_stdout(text: bytes) -> None:
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
