"""HSL beside CPython, PHP and Lua: the same algorithms, their outputs compared, medians of interleaved rounds.

Prints one table with geometric means below it, then what loading, starting and counting steps cost. Exits with 1 when
a program fails or two outputs differ.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from budget import ROOT, compiled_python, cost
from comparison import Comparison, table
from engines import SIZES, Engine, Failed, cpython, execute, hsl, lua, php
from loading import LINES
from starting import start

LOADING = Path(__file__).resolve().with_name("loading.py")


def main() -> int:
    options = arguments()
    try:
        engines = chosen_engines(options)
    except Failed as error:
        sys.exit(str(error))
    for engine in engines:
        print(f"{engine.name:13} {engine.version}")
    report, problems = compare(engines, options)
    if not options.only and not options.table:
        report["aside"], failures = asides([engine for engine in engines if engine.suffix == ".hsl"], options.rounds)
        problems += failures
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    for problem in problems:
        print(f"FAILED {problem}", file=sys.stderr)
    return 1 if problems else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each program in each engine (5)")
    parser.add_argument("--only", action="append", choices=sorted(SIZES), metavar="NAME", help="this program; repeat")
    parser.add_argument("--table", action="store_true", help="only the table")
    parser.add_argument("--engines", default="cpython,php,lua,compiled,pure", help="which, separated by commas")
    parser.add_argument(
        "--hsl", metavar="PYTHON", help="the interpreter with the compiled package (tools/compiled-venv)"
    )
    parser.add_argument("--pure", metavar="PYTHON", default=sys.executable, help="the one with the pure package")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser.parse_args()


def chosen_engines(options: argparse.Namespace) -> list[Engine]:
    """Raises Failed for one that is not there."""
    makers: dict[str, Callable[[], Engine]] = {
        "cpython": cpython,
        "php": php,
        "lua": lua,
        "compiled": lambda: hsl(options.hsl or compiled_python(ROOT), compiled=True),
        "pure": lambda: hsl(options.pure, compiled=False),
    }
    names = options.engines.split(",")
    if unknown := [name for name in names if name not in makers]:
        raise Failed(f"no such engine: {', '.join(unknown)}; there are {', '.join(makers)}")
    return [makers[name]() for name in names]


def compare(engines: list[Engine], options: argparse.Namespace) -> tuple[dict[str, object], list[str]]:
    """Run the programs and print the table; the figures, and what went wrong."""
    programs = options.only or list(SIZES)
    comparison = Comparison(engines, {program: SIZES[program].bench for program in programs})
    comparison.run(options.rounds, progress)
    times = comparison.medians()
    print(*["", *table(times, [engine.name for engine in engines])], sep="\n", flush=True)
    versions = {engine.name: engine.version for engine in engines}
    return {"versions": versions, "seconds": times}, list(comparison.problems.values())


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text:60}\r", end="", file=sys.stderr, flush=True)


def asides(engines: list[Engine], rounds: int) -> tuple[dict[str, object], list[str]]:
    """What is not a program: the figures, and what went wrong."""
    figures: dict[str, object] = {}
    problems = []
    for engine in engines:
        try:
            figures[engine.name] = aside(engine, rounds)
        except Failed as error:
            problems.append(f"loading, starting or the budget check in {engine.name}: {error}")
    return figures, problems


def aside(engine: Engine, rounds: int) -> dict[str, object]:
    """Measure and print loading, starting, the budget check. Raises Failed."""
    python = engine.command[0]
    loaded = json.loads(execute([python, str(LOADING)])[0])
    ours, bare = start(python)
    checks = cost(engine, engine.name == "HSL compiled", 3 * rounds)
    print(
        f"\n{engine.name}",
        f"  load of {LINES} lines: {loaded['seconds'] * 1000:.0f} ms, the program holds {loaded['bytes'] / 1e6:.1f} MB",
        f"  hsl run of one line: {ours * 1000:.0f} ms, {ours / bare:.1f} x python -c pass ({bare * 1000:.0f} ms)",
        "  budget check: " + ", ".join(f"{share:+.1%} in {program}" for program, share in checks.items()),
        sep="\n",
        flush=True,
    )
    return {"loading": loaded, "start": {"hsl run": ours, "python -c pass": bare}, "budget": checks}


if __name__ == "__main__":
    sys.exit(main())
