"""`hsl run FILE` and no options: the script's output, its exit code. No click here, nor in what this imports: reading a
command line with it takes as long as a short script.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hsl.environment import Environment
    from hsl.evaluator import Program

GRACE = 1.0  # seconds that a script may overrun its time, inside a builtin that waits


def main() -> None:
    """The entry of the command. Everything but `hsl run FILE` is click's."""
    if len(sys.argv) == 3 and sys.argv[1] == "run" and not sys.argv[2].startswith("-"):
        sys.exit(run_file(Path(sys.argv[2])))
    from hsl.cli.main import main as command

    command(prog_name="hsl")


def run_file(file: Path) -> int:
    """Run a script. An interrupt, or a reader of its output that went away, ends it with 1 as click has it."""
    try:
        return run_plain(file, None)
    except KeyboardInterrupt:
        complain("Aborted!")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in the buffer goes nowhere
    return 1


class FileHost:
    """The host of a script that does not wait (hsl/library/host.py)."""

    def __init__(self, rootpath: Path, ffi: bool) -> None:
        self.rootpath = rootpath
        self.ffi = ffi


def run_plain(file: Path, root: Path | None, ffi: bool = False) -> int:
    """Run a script without a stage; the exit code."""
    from hsl.cli.scripts import loader_for, plain_environment
    from hsl.errors import ScriptError
    from hsl.run import Run

    environment = plain_environment(loader_for(file, root))
    program = load(file, environment)
    if program is None:
        return 1
    try:
        if waits(environment):
            run_waiting(program, root or file.parent, ffi)
        else:
            Run(program, host=FileHost(root or file.parent, ffi)).execute()
    except ScriptError as error:
        complain(error.render())
        return 1
    return 0


def waits(environment: Environment) -> bool:
    """Whether the script that was compiled in this environment names a function or class that waits (`async def`)."""
    registry = environment.registry
    used = [entry.built for entry in registry.entries.values() if entry.built is not None]
    functions = {item.name for item in used}
    known = registry.classes.known.values()
    classes = [item for item in known if item.name in functions or "static_methods" in vars(item)]
    methods = [method for item in classes for method in (*item.methods.values(), *item.static_methods.values())]
    return any(item.is_async for item in (*used, *methods))


def run_waiting(program: Program, root: Path, ffi: bool) -> None:
    """Run a script that waits, on an event loop with a network. Raises ScriptError."""
    import asyncio

    from hsl.run import Run
    from hsl.runtime.plainhost import PlainHost

    async def execute() -> None:
        host = PlainHost(root, ffi)
        run = Run(program, host=host)
        try:
            await run.execute_async(lambda: asyncio.timeout(run.remaining() + GRACE))
        finally:
            await host.close()

    asyncio.run(execute())


def load(file: Path, environment: Environment) -> Program | None:
    """The compiled script; None after its errors were printed."""
    from hsl.cli.scripts import Unreadable, read_script, shown_path
    from hsl.compiler import compile_script
    from hsl.errors import CompileError

    try:
        program = compile_script(read_script(file), environment)
    except Unreadable as error:
        complain(f"Error: cannot read {shown_path(file)}: {error}")
        return None
    except CompileError as error:
        complain(str(error))
        return None
    for warning in program.warnings:
        complain(warning.render())
    return program


def complain(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
