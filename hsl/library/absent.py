"""What the reference has and only its vendor's product can do: declared, so that scripts load, and raising the reason.

The same sentences stand in docs/differences.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from hsl.builtins import Chapter
from hsl.errors import ScriptError
from hsl.values import Array

chapter = Chapter("Not available")

F = TypeVar("F", bound=Callable[..., Any])

DIFFERENCES: Mapping[str, str] = {
    "Authenticate": "there is no API stage, since there is no web interface to log in to",
    "Deny": "there is no API stage, since there is no web interface to log in to",
    "globalview": "it asks the vendor's reputation service; use dnsbl() with a list of your choice, or http()",
}


def absent(name: str, call: str) -> Callable[[F], F]:
    """Declare a function that raises its sentence. `call` is a call of it, for the example."""

    def declare(implementation: F) -> F:
        sentence = DIFFERENCES[name]
        implementation.__doc__ = f"""Raise an error: {sentence}.

Example:
    try {{ {call}; }} catch ($error) {{ echo $error->message(); }}
"""
        return chapter.function(name)(implementation)

    return declare


def unavailable(name: str) -> ScriptError:
    return ScriptError(f"{name}() is not available: {DIFFERENCES[name]}")


@absent("Authenticate", "Authenticate()")
def authenticate(options: Array | None = None) -> None:
    raise unavailable("Authenticate")


@absent("Deny", 'Deny("Not from here")')
def deny(message: bytes | None = None) -> None:
    raise unavailable("Deny")


@absent("globalview", 'globalview("192.0.2.1")')
def globalview(ip: bytes) -> bytes:
    raise unavailable("globalview")
