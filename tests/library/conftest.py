"""A run without a script, and `call(name, *arguments)`: a builtin as scripts call it, with Python values for short."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from snippets import load

from hsl.library import core_registry
from hsl.run import Budget, Run
from hsl.values import Array, Function, Value

Call = Callable[..., Any]


def to_hsl(value: Any) -> Value:
    """Python's int and str stand for numbers and strings, lists and dicts for arrays."""
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, list):
        return Array.of(to_hsl(item) for item in value)
    if isinstance(value, dict):
        return Array.from_pairs((to_hsl(key), to_hsl(item)) for key, item in value.items())
    return cast(Value, value)


def from_hsl(value: Value) -> Any:
    """Arrays as lists (numbered from 0) or dicts, anything else as it is."""
    if not isinstance(value, Array):
        return value
    if value.items is not None:
        return [from_hsl(item) for item in value.items]
    return {key: from_hsl(item) for key, item in value.pairs()}


class PythonFunction(Function):
    """A function value whose body is Python's."""

    __slots__ = ("body",)

    def __init__(self, body: Callable[..., Any]) -> None:
        super().__init__("callback")
        self.body = body

    def call(self, run: object, arguments: list[Value]) -> Value:
        return to_hsl(self.body(*arguments))


@pytest.fixture
def output() -> list[bytes]:
    """What echo wrote."""
    return []


@pytest.fixture
def make_run(output: list[bytes]) -> Callable[..., Run]:
    def make(host: object = None, seconds: float = 30.0) -> Run:
        return Run(load(""), host=host, output=output.append, budget=Budget(seconds=seconds))

    return make


@pytest.fixture
def call(make_run: Callable[..., Run]) -> Call:
    """Call a builtin by any of its names; `run` may be given."""
    registry = core_registry()

    def call(name: str, *arguments: Any, run: Run | None = None) -> Any:
        builtin = registry.entries[name].builtin
        values = [PythonFunction(item) if callable(item) else to_hsl(item) for item in arguments]
        result = builtin.call(run or make_run(), values, name)
        assert not isinstance(result, int) or isinstance(result, bool), "numbers are floats"
        return from_hsl(result)

    return call
