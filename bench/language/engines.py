"""The programs, and how each language runs one: a program and a size go in, its output and its seconds come out.

A runner (runners/) loads the program and measures main(size) alone, so neither the start nor the loading counts.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
RUNNERS = HERE / "runners"
PROGRAMS = HERE / "programs"
TIMEOUT = 300.0  # seconds for one run of one program


@dataclass(frozen=True)
class Sizes:
    """How much a program does: for the bench (about 0.25 s of CPython), and for a test of its output."""

    bench: int
    test: int


SIZES = {
    "arithmetic": Sizes(70_000, 30),
    "calls": Sizes(2_000_000, 300),
    "closures": Sizes(350_000, 20),
    "methods": Sizes(90_000, 20),
    "strings": Sizes(300_000, 410),
    "scanning": Sizes(20_000, 2),
    "arrays": Sizes(8_000, 2),
    "dictionary": Sizes(700_000, 4_000),
    "sorting": Sizes(500, 1),
    "regex": Sizes(40_000, 3),
    "tree": Sizes(2_000, 3),
    "functional": Sizes(20_000, 3),
    "sieve": Sizes(2_500_000, 1_000),
    "matrix": Sizes(200, 7),
    "headers": Sizes(50_000, 3),
    "dispatch": Sizes(120_000, 3),
    "data_script": Sizes(200_000, 6_000),
}


class Failed(Exception):
    """A program, or an interpreter, that does not run; the text is what it wrote."""


@dataclass(frozen=True)
class Result:
    output: str
    seconds: float


@dataclass(frozen=True)
class Engine:
    """One language as one interpreter runs it."""

    name: str
    command: tuple[str, ...]  # what comes before the program's path and the size
    suffix: str
    version: str

    def run(self, program: str, size: int) -> Result:
        """Raises Failed."""
        path = PROGRAMS / program / f"program{self.suffix}"
        output, errors = execute([*self.command, str(path), str(size)])
        return Result(output.rstrip("\n"), float(errors))


def execute(command: list[str], timeout: float = TIMEOUT) -> tuple[str, str]:
    """The standard output and the standard error of a command that ends well. Raises Failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=HERE)
    except subprocess.TimeoutExpired:
        raise Failed(f"not done after {timeout:g} s") from None
    if done.returncode != 0:
        raise Failed(done.stderr.strip() or f"exit code {done.returncode}")
    return done.stdout, done.stderr


def needs(program: str, package: str) -> str:
    """The program's path. Raises Failed with the line that installs it."""
    path = shutil.which(program)
    if path is None:
        raise Failed(f"{program} is missing: apt-get install --no-install-recommends {package}")
    return path


def cpython(python: str = sys.executable) -> Engine:
    version, _ = execute([python, "-c", "import platform; print(platform.python_version())"])
    return Engine("CPython", (python, str(RUNNERS / "run.py")), ".py", version.strip())


def php() -> Engine:
    """PHP as its command line comes: without a php.ini, which leaves OPcache and its JIT off."""
    program = needs("php", "php-cli")
    version, _ = execute([program, "-n", "-r", "echo PHP_VERSION;"])
    return Engine("PHP", (program, "-n", str(RUNNERS / "run.php")), ".php", f"{version} without JIT")


def lua() -> Engine:
    program = needs("lua5.4", "lua5.4")
    version, _ = execute([program, "-e", "print(_VERSION)"])
    return Engine("Lua", (program, str(RUNNERS / "run.lua")), ".lua", version.removeprefix("Lua ").strip())


def hsl(python: str, compiled: bool | None = None) -> Engine:
    """HSL as the package that `python` imports runs it. Raises Failed when that is not of the wanted kind, if any."""
    probe = "import json, hsl.nodes; from importlib.metadata import version; "
    probe += "print(json.dumps([hsl.nodes.__file__, version('hslmta')]))"
    file, version = json.loads(execute([python, "-P", "-c", probe])[0])
    kind = "pure" if file.endswith(".py") else "compiled"
    if compiled is not None and compiled != (kind == "compiled"):
        raise Failed(f"the hsl package of {python} is {kind}: {file}")
    return Engine(f"HSL {kind}", (python, str(RUNNERS / "run_hsl.py")), ".hsl", version)
