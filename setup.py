"""Compiles the core of the interpreter with mypyc where a C compiler and Python's headers are; else it stays Python.

The metadata is in pyproject.toml. HSLMTA_PURE=1 compiles nothing; HSLMTA_COMPILED=1 fails where that cannot be done.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

# What runs while a script runs. The parser, the compiler and the library stay Python: `inspect` looks at the library's
# functions (the hottest have nodes in hsl.intrinsics), and loading is fast enough.
COMPILED = (
    "arithmetic",
    "caching",
    "calls",
    "errors",
    "evaluator",
    "expressions",
    "functions",
    "intrinsics",
    "invocation",
    "nodes",
    "objects",
    "paths",
    "regex",
    "run",
    "sequences",
    "shared",
    "slots",
    "source",
    "values",
    "variables",
)
BUILDING = {"bdist_wheel", "build", "build_ext", "install"}
# The modules call each other natively all the time: the compiler may see all of them at once, and inline.
WHOLE = ["-flto", "-fno-semantic-interposition", "-fvisibility=hidden"]
NATIVE = Path(__file__).resolve().parent / "hsl" / "native.h"  # what the C code begins with
FAST = [*WHOLE, "-fno-plt", "-falign-functions=32", "-include", str(NATIVE)]
INSIST = os.environ.get("HSLMTA_COMPILED") == "1"


def extensions() -> list[Extension]:
    """The C extensions; none for an editable install, which has to follow the sources."""
    if os.environ.get("HSLMTA_PURE") == "1" or not BUILDING.intersection(sys.argv):
        return []
    try:
        from mypyc.build import mypycify

        # Without the project's own mypy settings: the libraries that these name are not there in an isolated build.
        paths = [f"hsl/{name}.py" for name in COMPILED]
        found = mypycify(["--config-file=", "--ignore-missing-imports", *paths], group_name="hslmta", debug_level="0")
    except (ImportError, SystemExit) as error:
        if INSIST:
            raise
        print(f"hsl stays pure Python: {error}", file=sys.stderr)
        return []
    for extension in found:
        extension.optional = not INSIST
        extension.extra_compile_args = [*extension.extra_compile_args, *FAST]
        extension.extra_link_args = [*extension.extra_link_args, "-O3", *WHOLE]
        extension.depends.append("hsl/native.h")
    return list(found)


class AllOrNothing(build_ext):
    """Drops the extensions when one of them could not be built: they need each other."""

    def run(self) -> None:
        super().run()
        outputs = [Path(name) for name in self.get_outputs()]
        if not all(output.exists() for output in outputs):
            for output in outputs:
                output.unlink(missing_ok=True)


class WithTables(build_py):
    """Adds the tables of the grammar to the package (hsl/tables.py), as its first start would."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            make = "import sys; sys.path.insert(0, sys.argv[1]); from hsl.parser import parser; parser()"
            subprocess.run([sys.executable, "-c", make, self.build_lib], check=False)


setup(ext_modules=extensions(), cmdclass={"build_ext": AllOrNothing, "build_py": WithTables})
