"""Runs programs in several engines, compares what they print, and makes the table of their times and ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from engines import Engine, Failed

OTHERS = ("CPython", "PHP", "Lua")
OURS = ("HSL compiled", "HSL pure")
NAME, SECONDS, RATIO = 15, 10, 9  # widths of the table's columns
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
    ours = [name for name in OURS if name in names]
    others = [name for name in OTHERS if name in names]
    short = [name.removeprefix("HSL ") for name in names]
    lines = [line("program", short, [others for _ in ours])]
    for program, found in times.items():
        seconds = [number(found.get(name), 3) for name in names]
        lines.append(line(program, seconds, [[number(ratio(found, one, two), 2) for two in others] for one in ours]))
    means = [[number(geometric_mean(times, (one, two)), 2) for two in others] for one in ours]
    titles = [f"{name.removeprefix('HSL ')} divided by" for name in ours]
    return [title(titles, len(names), len(others)), *lines, line("geometric means", [""] * len(names), means)]


def title(titles: Sequence[str], seconds: int, ratios: int) -> str:
    return f"{'':{NAME + SECONDS * seconds}}" + "".join(f" | {text:{RATIO * ratios}}" for text in titles).rstrip()


def line(head: str, seconds: Sequence[str], groups: Sequence[Sequence[str]]) -> str:
    left = "".join(f"{item:>{SECONDS}}" for item in seconds)
    return f"{head:{NAME}}{left}" + "".join(" | " + "".join(f"{item:>{RATIO}}" for item in group) for group in groups)


def number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def ratio(found: Mapping[str, float], ours: str, other: str) -> float | None:
    return found[ours] / found[other] if ours in found and other in found else None


def geometric_mean(times: Times, pair: tuple[str, str]) -> float | None:
    """Of the ratios of the first engine to the second, over the programs that ran well in both; None without any."""
    ours, other = pair
    found = [value for item in times.values() if (value := ratio(item, ours, other)) is not None]
    return statistics.geometric_mean(found) if found else None
