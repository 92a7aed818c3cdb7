"""Runs programs in several engines, compares what they print, and makes the table of their times and ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from engines import Engine, Failed

OTHERS = ("CPython", "PHP", "Lua")
OURS = ("HSL compiled", "HSL pure")
Times = dict[str, dict[str, float]]  # program → engine → median seconds


class Comparison:
    """The runs of a set of programs: their times, and what went wrong."""

    def __init__(self, engines: Sequence[Engine], sizes: Mapping[str, int]) -> None:
        self.engines = engines
        self.sizes = sizes
        self.samples: dict[tuple[str, str], list[float]] = {}
        self.outputs: dict[str, tuple[str, str]] = {}  # program → the first engine and what it printed
        self.problems: dict[tuple[str, str], str] = {}

    def run(self, rounds: int, progress: Callable[[str], None]) -> None:
        """All programs in all engines, round after round. What failed once is not tried again."""
        for turn in range(1, rounds + 1):
            for program in self.sizes:
                progress(f"round {turn} of {rounds}: {program}")
                for engine in self.engines:
                    if (program, engine.name) not in self.problems:
                        self.run_one(program, engine)
        progress("")

    def run_one(self, program: str, engine: Engine) -> None:
        place = program, engine.name
        try:
            result = engine.run(program, self.sizes[program])
        except Failed as error:
            self.problems[place] = f"{program} in {engine.name}: {error}"
            return
        first, wanted = self.outputs.setdefault(program, (engine.name, result.output))
        if result.output != wanted:
            self.problems[place] = f"{program}: {engine.name} printed {result.output!r}, {first} {wanted!r}"
            return
        self.samples.setdefault(place, []).append(result.seconds)

    def medians(self) -> Times:
        """Of the programs that ran well."""
        times: Times = {program: {} for program in self.sizes}
        for (program, engine), samples in self.samples.items():
            if (program, engine) not in self.problems:
                times[program][engine] = statistics.median(samples)
        return times


def table(times: Times, names: Sequence[str]) -> list[str]:
    """One line for each program: its seconds, then HSL's as multiples of the others'; geometric means at the end."""
    pairs = [(ours, other) for ours in OURS if ours in names for other in OTHERS if other in names]
    heads = [f"{ours.removeprefix('HSL ')}/{other}" for ours, other in pairs]
    return [
        line("seconds", names, heads),
        *(line(program, seconds(found, names), ratios(found, pairs)) for program, found in times.items()),
        line("geometric mean of the ratios", [""] * len(names), means(times, pairs)),
    ]


def line(head: str, seconds: Sequence[str], ratios: Sequence[str]) -> str:
    left = "".join(f"{item:>13}" for item in seconds)
    width = 12 + len(left)
    return f"{head:12}{left}".rstrip().ljust(width) + " |" + "".join(f"{item:>17}" for item in ratios)


def seconds(found: Mapping[str, float], names: Sequence[str]) -> list[str]:
    return [f"{found[name]:.3f}" if name in found else "-" for name in names]


def ratios(found: Mapping[str, float], pairs: Sequence[tuple[str, str]]) -> list[str]:
    return [f"{found[ours] / found[other]:.2f}" if ours in found and other in found else "-" for ours, other in pairs]


def means(times: Times, pairs: Sequence[tuple[str, str]]) -> list[str]:
    return ["-" if (mean := geometric_mean(times, pair)) is None else f"{mean:.2f}" for pair in pairs]


def geometric_mean(times: Times, pair: tuple[str, str]) -> float | None:
    """Of the ratios of the first engine to the second, over the programs that ran well in both; None without any."""
    ours, other = pair
    found = [item[ours] / item[other] for item in times.values() if ours in item and other in item]
    return statistics.geometric_mean(found) if found else None
