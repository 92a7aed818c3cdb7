"""What one running script owns: budget, output, globals, call stack, the host behind its builtins."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from hsl import bridge
from hsl.errors import BudgetError, ScriptError, StackEntry
from hsl.shared import SharedStore
from hsl.slots import UNSET, Slot, Unset, settled
from hsl.values import Value, share

if TYPE_CHECKING:
    from hsl.evaluator import Program
    from hsl.source import Span

T = TypeVar("T")
SLICE = 50  # steps between two looks at the clock
TURN = 0.005  # seconds after which other sessions get their turn

# The evaluator recurses as deep as a script's expressions and calls nest; both are capped (parser.MAX_DEPTH,
# Budget.call_depth), well below this.
sys.setrecursionlimit(max(sys.getrecursionlimit(), 20_000))


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that one execution may use. Over it the script ends with a BudgetError."""

    steps: int = 20_000_000  # loop turns and function calls
    seconds: float = 30.0  # wall time, waits included
    call_depth: int = 100  # nested function calls
    output: int = 16 * 1024 * 1024  # bytes written by echo


class Run:
    """One execution of a program.

    `host` is what the builtins of the mail runtime act on (a stage's context); the language only passes it along.
    `output` takes the bytes of each echo, newline included. `shared` holds cache and barriers of the process.
    """

    __slots__ = (
        "budget",
        "calls",
        "deadline",
        "fuel",
        "globals",
        "host",
        "message_id",
        "nesting",
        "output",
        "program",
        "shared",
        "slice",
        "started",
        "steps",
        "turn_ends",
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
        self.output = output or write_stdout
        self.budget = budget or Budget()
        self.shared = shared or SharedStore()
        self.message_id = message_id
        self.globals: list[Slot] = [UNSET] * program.global_count
        if variables is not None:
            for name, slot in program.stage_variables.items():
                self.globals[slot] = share(variables(name))
        self.calls: list[object] = []  # the declarations now executing, outermost first
        self.started = time.monotonic()
        self.deadline = self.started + self.budget.seconds
        self.steps = 0
        self.slice = self.fuel = max(0, min(SLICE, self.budget.steps))  # fuel: steps left of this slice
        self.turn_ends = self.started + TURN
        self.nesting = 0  # of the nodes in all running functions
        self.written = 0

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
            self.shared.release_all(self)

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

    def tick(self) -> None:
        """Called when a slice of steps is used up: checks the budget, and lets others run when it is their turn.

        Slices are short, because a step can be slow (a string of megabytes copied).
        """
        self.steps += self.slice
        self.slice = min(SLICE, self.budget.steps - self.steps)
        if self.slice <= 0:
            raise BudgetError(f"the script exceeded its budget of {self.budget.steps} steps")
        self.fuel = self.slice - 1
        now = time.monotonic()
        self.check_time()
        if now > self.turn_ends and bridge.bridged():
            bridge.wait(self.shared.rest())
            self.check_time()
            self.turn_ends = time.monotonic() + TURN

    def check_time(self) -> None:
        if time.monotonic() > self.deadline:
            raise self.out_of_time()

    def out_of_time(self, span: Span | None = None) -> BudgetError:
        return BudgetError(f"the script exceeded its budget of {self.budget.seconds:g} seconds", span)

    def remaining(self) -> float:
        """Seconds of wall time that the script may still use."""
        return self.deadline - time.monotonic()

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
        return None if slot is None else settled(self.globals[slot])

    def is_set(self, name: str) -> bool:
        """Whether a global of the script holds anything, none included."""
        slot = self.program.global_names.get(name)
        return slot is not None and not isinstance(self.globals[slot], Unset)

    def set_variable(self, name: str, value: Value) -> None:
        """Set a stage variable, read-only ones included (SetSender updates $sender)."""
        slot = self.program.global_names.get(name)
        if slot is not None:
            self.globals[slot] = share(value)

    def trace(self, error: ScriptError, function: str, span: Span | None) -> None:
        """Note on its way out that an error passed a call."""
        if len(error.stack) < 50:
            error.stack.append(StackEntry(function, span))


def write_stdout(text: bytes) -> None:
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
