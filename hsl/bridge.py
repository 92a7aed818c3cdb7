"""The one file that knows greenlet: synchronous scripts on an asynchronous host (after SQLAlchemy's util).

`run_script(function)` is awaited by the host and runs the function in a greenlet; inside it, `wait(awaitable)` hands
the awaitable to the host and stands still until its result, or its error, comes back. Errors, cancellation and context
variables cross both ways. A greenlet that is still suspended when the host gives up is ended by throwing into it.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

import greenlet

T = TypeVar("T")


class NoBridgeError(RuntimeError):
    """A builtin that waits was called where no host awaits the script."""


class ScriptGreenlet(greenlet.greenlet):
    """Marks our greenlets, so that `wait` never switches into somebody else's."""


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
    return current.parent.switch(awaitable)  # type: ignore[no-any-return]


def bridged() -> bool:
    """Whether `wait` would work here."""
    return isinstance(greenlet.getcurrent(), ScriptGreenlet)


async def run_script(function: Callable[[], T]) -> T:
    """Run a synchronous function that may `wait`. Raises what it raises, Halt and cancellation included."""
    script = ScriptGreenlet(function)
    script.gr_context = greenlet.getcurrent().gr_context  # the caller's own: what the script sets stays set
    result: Any = script.switch()
    try:
        while not script.dead:
            try:
                value = await result
            except BaseException as error:
                result = script.throw(error)
            else:
                result = script.switch(value)
    finally:
        if not script.dead:
            script.throw(greenlet.GreenletExit)
    return result  # type: ignore[no-any-return]
