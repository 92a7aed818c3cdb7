"""The builtins that have nodes of their own: calls give what their declarations give, values and errors alike."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from hsl.builtins import Builtin
from hsl.calls import CallBuiltin
from hsl.compiler import Environment, compile_script
from hsl.errors import ScriptError
from hsl.library import core_registry
from hsl.nodes import Frame, constant
from hsl.run import Run
from hsl.source import Source, Span
from hsl.values import Array, Value, literal

REGISTRY = core_registry()
NAMES = sorted(item.name for item in REGISTRY.unique() if item.node is not None)
NUMBERS: list[Value] = [0.0, 1.0, -1.0, 2.0, -3.0, 1.5, -0.5, 65.7, 300.0, 1e15, -1e18, 1e300]
VALUES: list[Value] = [
    *(None, True, False, *NUMBERS, math.inf, -math.inf, math.nan),
    *(
        b"",
        b"a",
        b" Abc,d-a\r\n",
        b"abcabc" * 9,
        b"\xff\x00",
        b"12",
        b" 12.5 ",
        b"0x1f",
        b"1_2",
        b"$0$1",
        b"(a)(x)?",
        b"(",
    ),
    *(
        Array(),
        Array([b"a", None, 1.0, b"b"]),
        Array([Array([b"a"]), True]),
        Array.from_pairs([(b"k", b"a"), (7.0, b"")]),
    ),
]


@pytest.fixture
def run() -> Run:
    return Run(compile_script(Source.from_bytes("x.hsl", b""), Environment(REGISTRY)))


def shown(value: Value) -> object:
    return type(value), literal(value)


@pytest.mark.parametrize("name", NAMES)
def test_a_node_does_what_the_declaration_says(name: str, run: Run) -> None:
    builtin = REGISTRY.get(name)
    assert builtin is not None
    most = min(builtin.maximum or 4, 4)
    for count in range(builtin.minimum, most + 1):
        rows = list(itertools.product(VALUES, repeat=count))
        if len(rows) > 1500:
            rows = random.Random(7).sample(rows, 1500)
        for row in rows:
            assert by_node(builtin, run, list(row)) == by_declaration(builtin, run, list(row)), row


def by_node(builtin: Builtin, run: Run, values: list[Value]) -> object:
    """What the node gives as a value, and what it gives where a number is wanted; or its error, placed at the call."""
    assert builtin.node is not None
    here = Span(Source.from_bytes("x.hsl", b""), 0, 0)
    frame = Frame(run, [])
    node = builtin.node(here, builtin.name, builtin, [(constant(here, value), False) for value in values])
    try:
        result = node.evaluate(frame)
        number = node.number(frame)
    except ScriptError as error:
        return error.message if error.span is here else error.span
    assert shown(result) == shown(number if isinstance(result, float) else frame.take())
    return shown(result)


def by_declaration(builtin: Builtin, run: Run, values: list[Value]) -> object:
    try:
        return shown(builtin.call(run, values))
    except ScriptError as error:
        return error.message


def test_the_hottest_have_nodes() -> None:
    assert {"length", "str_slice", "str_find", "explode", "implode", "pcre_match"} <= set(NAMES)
    strlen = REGISTRY.get("strlen")
    assert strlen is not None
    assert strlen.node is not None
    assert issubclass(strlen.node, CallBuiltin)
