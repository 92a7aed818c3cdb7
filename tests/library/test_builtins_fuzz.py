"""Every builtin and method with arguments of every type: only ScriptErrors come out, and values of the language."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest
from anyvalues import OBJECTS, PROGRAM, REGISTRY, Host, Network, arguments, attempt, make

from hsl import bridge
from hsl.builtins import NativeObject
from hsl.invocation import Builtin
from hsl.run import Budget, Run
from hsl.values import Value

ROUNDS = 60  # calls of each builtin and method
CLOSED_BY_THE_RUN: list[tuple[str, list[Value]]] = [
    ("Socket", [b"AF_INET", b"SOCK_STREAM"]), ("Socket", [b"AF_UNIX", b"SOCK_DGRAM"]), ("LDAP", [b"ldap://127.0.0.1"]),
]  # fmt: skip


def attempts(builtin: Builtin, rootpath: Path, rounds: int) -> None:
    """Call a function, or a static method, many times."""
    random = Random(builtin.name)
    for _ in range(rounds):
        run = Run(PROGRAM, host=Host(rootpath, Network(random)), budget=Budget(seconds=5))
        attempt(builtin, run, arguments(builtin, random), None)
        run.close()


def steps(name: str, given: list[Value], rootpath: Path, rounds: int) -> None:
    """Make objects, and call several of the methods of each."""
    random = Random(name)
    for _ in range(rounds):
        run = Run(PROGRAM, host=Host(rootpath, Network(random)), budget=Budget(seconds=5))
        receiver = make(run, name, given)
        assert isinstance(receiver, NativeObject)
        methods = receiver.builtin_class.methods
        for called in random.choices(sorted(methods), k=8) if methods else ():
            attempt(methods[called], run, arguments(methods[called], random), receiver)
        run.close()


FUNCTIONS = [builtin for builtin in REGISTRY.unique() if builtin.name not in ("File",)]
STATIC = [builtin for item in REGISTRY.classes.values() for builtin in item.static_methods.values()]


@pytest.mark.parametrize("builtin", [*FUNCTIONS, *STATIC], ids=lambda builtin: builtin.name)
def test_functions_raise_nothing_but_script_errors(builtin: Builtin, tmp_path: Path) -> None:
    (tmp_path / "0").write_bytes(b"a,b\n\xff,1\n")
    asyncio.run(bridge.run_script(lambda: attempts(builtin, tmp_path, ROUNDS)))


@pytest.mark.parametrize(("name", "given"), [*OBJECTS, *CLOSED_BY_THE_RUN])
def test_methods_raise_nothing_but_script_errors(name: str, given: list[Value], tmp_path: Path) -> None:
    asyncio.run(bridge.run_script(lambda: steps(name, given, tmp_path, ROUNDS)))
