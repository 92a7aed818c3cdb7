"""HSL beside CPython, PHP and Lua: the same algorithms, their outputs compared, medians of interleaved rounds.

Prints one table with the geometric means below it, then what loading, starting and counting steps cost.
Exits with 1 when a program fails or two outputs differ.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from engines import SIZES, Engine, Failed, cpython, execute, hsl, lua, php

ROOT = Path(__file__).resolve().parent.parent.parent
COMPILED_VENV = ROOT / "tools" / "compiled-venv"
OTHERS = ("CPython", "PHP", "Lua")
OURS = ("HSL compiled", "HSL pure")
Times = dict[str, dict[str, float]]  # program → engine → median seconds


def main() -> int:
    options = arguments()
    engines = chosen_engines(options)
    for engine in engines:
        print(f"{engine.name:13} {engine.version}")
    times, problems = measure(engines, options.only or list(SIZES), options.rounds)
    for line in table(times, [engine.name for engine in engines]):
        print(line)
    for problem in problems:
        print(f"FAILED {problem}", file=sys.stderr)
    if options.json is not None:
        report = {"versions": {engine.name: engine.version for engine in engines}, "seconds": times}
        options.json.write_text(json.dumps(report | {"problems": problems}, indent=2) + "\n")
    return 1 if problems else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each program in each language (5)")
    parser.add_argument("--only", action="append", choices=sorted(SIZES), metavar="NAME", help="this program; repeat")
    parser.add_argument("--engines", default="cpython,php,lua,compiled,pure", help="which, separated by commas")
    parser.add_argument("--hsl", metavar="PYTHON", help="the interpreter with the compiled package (see tools/)")
    parser.add_argument("--pure", metavar="PYTHON", default=sys.executable, help="the one with the pure package")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser.parse_args()


def chosen_engines(options: argparse.Namespace) -> list[Engine]:
    """The engines asked for; without a compiled package that one is left out, and said so."""
    makers: dict[str, Callable[[], Engine]] = {
        "cpython": cpython,
        "php": php,
        "lua": lua,
        "compiled": lambda: hsl(options.hsl or compiled_python(), compiled=True),
        "pure": lambda: hsl(options.pure, compiled=False),
    }
    names = options.engines.split(",")
    if unknown := [name for name in names if name not in makers]:
        sys.exit(f"no such engine: {', '.join(unknown)}; there are {', '.join(makers)}")
    try:
        return [makers[name]() for name in names]
    except Failed as error:
        sys.exit(str(error))


def compiled_python() -> str:
    """The interpreter that tools/compiled-venv makes. Raises Failed."""
    return execute([str(COMPILED_VENV)])[0].strip()


# ------------------------------------------------------------ the programs


def measure(engines: Sequence[Engine], programs: Sequence[str], rounds: int) -> tuple[Times, list[str]]:
    """Median seconds, and what went wrong. A program that fails in a language is not tried there again."""
    samples: dict[tuple[str, str], list[float]] = {}
    outputs: dict[str, dict[str, str]] = {program: {} for program in programs}
    problems: dict[tuple[str, str], str] = {}
    for turn in range(1, rounds + 1):
        for program in programs:
            progress(f"round {turn} of {rounds}: {program}")
            for engine in engines:
                place = program, engine.name
                if place in problems:
                    continue
                try:
                    result = engine.run(program, SIZES[program].bench)
                except Failed as error:
                    problems[place] = f"{program} in {engine.name}: {error}"
                    continue
                samples.setdefault(place, []).append(result.seconds)
                wanted = outputs[program].setdefault("", result.output)
                if result.output != wanted:
                    problems[place] = f"{program} in {engine.name}: wanted {wanted!r}, got {result.output!r}"
    progress("")
    times = {
        program: {
            engine.name: statistics.median(samples[program, engine.name])
            for engine in engines
            if (program, engine.name) in samples and (program, engine.name) not in problems
        }
        for program in programs
    }
    return times, list(problems.values())


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text:60}\r", end="", file=sys.stderr, flush=True)


def table(times: Times, names: Sequence[str]) -> list[str]:
    """One line for each program: the seconds, then HSL's multiples of the others' times; geometric means below."""
    pairs = [(ours, other) for ours in OURS if ours in names for other in OTHERS if other in names]
    heads = [f"{ours.removeprefix('HSL ')}/{other}" for ours, other in pairs]
    widths = [len(head) + 2 for head in heads]
    lines = [
        "",
        f"{'seconds':12}"
        + "".join(f"{name:>14}" for name in names)
        + "  |"
        + "".join(f"{head:>{width}}" for head, width in zip(heads, widths, strict=True)),
    ]
    for program, found in times.items():
        seconds = "".join(f"{found[name]:14.3f}" if name in found else f"{'-':>14}" for name in names)
        lines.append(
            f"{program:12}{seconds}  |"
            + "".join(f"{ratio(found, pair):>{width}}" for pair, width in zip(pairs, widths, strict=True))
        )
    means = [mean(times, pair) for pair in pairs]
    lines.append(
        f"{'geometric mean of the ratios':{12 + 14 * len(names)}}  |"
        + "".join(f"{text:>{width}}" for text, width in zip(means, widths, strict=True))
    )
    return lines


def ratio(found: dict[str, float], pair: tuple[str, str]) -> str:
    ours, other = pair
    return f"{found[ours] / found[other]:.2f}" if ours in found and other in found else "-"


def mean(times: Times, pair: tuple[str, str]) -> str:
    ours, other = pair
    ratios = [found[ours] / found[other] for found in times.values() if ours in found and other in found]
    return f"{statistics.geometric_mean(ratios):.2f}" if ratios else "-"


if __name__ == "__main__":
    sys.exit(main())
