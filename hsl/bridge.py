"""The one file that knows greenlet: synchronous scripts on an asynchronous host (after SQLAlchemy's util).

`run_script(function)` is awaited by the host and runs the function in a greenlet; inside it, `wait(awaitable)` hands
the awaitable to the host and stands still until its result, or its error, comes back. Errors, cancellation and context
variables cross both ways. A script that is still suspended when the host gives up is ended by throwing into it.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, TypeVar

import greenlet

T = TypeVar("T")


class NoBridgeError(RuntimeError):
    """A builtin that waits was called where no host awaits the script."""


class Done:
    """A script's end: its result, or what it raised."""

    __slots__ = ("error", "result")

    def __init__(self, result: Any, error: BaseException | None) -> None:
        self.result = result
        self.error = error

    def outcome(self) -> Any:
        """The result. Raises the error."""
        error, self.error = self.error, None  # else the error's traceback would hold the error
        if error is None:
            return self.result
        try:
            raise error
        finally:
            del error


class ScriptGreenlet(greenlet.greenlet):
    """Runs one script after the other: a new stack for each costs an mmap and an munmap.

    It is started by a `switch()`; then `switch(function)` starts a script, and what comes back is an awaitable of
    `wait`, or Done. While it is idle it holds nothing of the last script.
    """

    def run(self) -> None:
        done: list[Done | None] = [None]
        while True:
            parent = self.parent
            assert parent is not None
            done.append(attempt(parent.switch(done.pop())))


def attempt(function: Callable[[], Any]) -> Done:
    try:
        return Done(function(), None)
    except BaseException as error:
        return Done(None, error)


class Stacks:
    """The idle greenlets of one event loop."""

    MOST = 64

    def __init__(self) -> None:
        self.idle: list[ScriptGreenlet] = []

    def take(self) -> ScriptGreenlet:
        if self.idle:
            return self.idle.pop()
        script = ScriptGreenlet()
        script.switch()
        return script

    def give(self, script: ScriptGreenlet) -> None:
        if len(self.idle) < self.MOST:
            self.idle.append(script)


@types.coroutine
def pause() -> Generator[None, None, None]:
    """Gives every other task of the event loop one turn."""
    yield


def wait(awaitable: Awaitable[T]) -> T:
    """Await from inside a script. Raises whatever the awaitable raises; NoBridgeError outside `run_script`."""
    current = greenlet.getcurrent()
    if not isinstance(current, ScriptGreenlet) or current.parent is None:
        close = getattr(awaitable, "close", None)
        if close is not None:
            close()
        raise NoBridgeError("this function waits, and nothing awaits the script")
    waiting: Awaitable[T] = awaitable
    if isinstance(awaitable, types.CoroutineType):
        try:  # most do not wait at all: their first step is their last, and needs no switch
            yielded = awaitable.send(None)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        waiting = resume(awaitable, yielded)
    return current.parent.switch(waiting)  # type: ignore[no-any-return]


@types.coroutine
def resume(coroutine: types.CoroutineType[Any, Any, T], yielded: Any) -> Generator[Any, Any, T]:
    """The rest of a coroutine that has made its first step and yielded something to the event loop."""
    try:
        while True:
            try:
                value = yield yielded
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:
                yielded = coroutine.throw(error)
            else:
                yielded = coroutine.send(value)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


def alone(function: Callable[[], T]) -> T:
    """Call a function that must not wait, nor let others have their turns: below it are frames of C code.

    A `wait` inside raises NoBridgeError; everything else that it raises is raised here.
    """
    return greenlet.greenlet(function).switch()  # type: ignore[no-any-return]


def bridged() -> bool:
    """Whether `wait` would work here."""
    return isinstance(greenlet.getcurrent(), ScriptGreenlet)


async def drive(script: ScriptGreenlet, answer: Any) -> Done:
    """Await for a script until it is done."""
    while not isinstance(answer, Done):
        try:
            value = await answer
        except BaseException as error:
            answer = script.throw(error)
        else:
            answer = script.switch(value)
    return answer


async def run_script(
    function: Callable[[], T],
    stacks: Stacks | None = None,
    limit: Callable[[], AbstractAsyncContextManager[object]] = nullcontext,
) -> T:
    """Run a synchronous function that may `wait`. Raises what it raises, Halt and cancellation included.

    `stacks` keeps greenlets for the next script of the same event loop. `limit` makes a context for the time from the
    first wait on (a timeout); a script that never waits does not pay for it.
    """
    stacks = stacks or Stacks()
    script = stacks.take()
    script.gr_context = greenlet.getcurrent().gr_context  # the caller's own: what the script sets stays set
    answer: Any = script.switch(function)
    if not isinstance(answer, Done):
        async with limit():  # the script's error is raised inside: a timeout must see its cancellation come back
            answer = await drive(script, answer)
            stacks.give(script)
            return answer.outcome()  # type: ignore[no-any-return]
    stacks.give(script)
    return answer.outcome()  # type: ignore[no-any-return]
