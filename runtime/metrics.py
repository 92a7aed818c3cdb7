"""Counters, gauges and histograms with labels: what scripts count comes in, Prometheus' text form goes out.

A family is declared by the configuration, or made by its first use. All families together hold at most MAX_SERIES
series: labels made of addresses or ids would otherwise fill the memory.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hsl.runtime.log import Log

MAX_SERIES = 10_000  # of all families
MAX_LABELS = 10  # of one series
MAX_VALUE = 200  # bytes of a label's value
RESERVED = "hsl_"  # names that begin so are the gateway's own
COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # upper bounds, where none are configured
NAME = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]{0,199}\Z")
LABEL = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]{0,99}\Z")

Labels = tuple[tuple[str, str], ...]  # sorted by name


class MetricError(ValueError):
    """A name, a label or a value that cannot be; the text says what was wanted."""


@dataclass(slots=True)
class Series:
    """One combination of labels: its value, or a histogram's sum; and what a histogram counted, by bucket."""

    value: float = 0.0
    counts: list[int] = field(default_factory=list)  # one more than there are bounds


@dataclass(slots=True)
class Family:
    """All series of one name."""

    name: str
    kind: str
    help: str = ""
    buckets: tuple[float, ...] = ()
    own: bool = False  # the gateway's
    series: dict[Labels, Series] = field(default_factory=dict)

    def made(self, labels: Labels) -> Series:
        found = self.series.get(labels)
        if found is None:
            found = self.series[labels] = Series(counts=[0] * (len(self.buckets) + 1) if self.buckets else [])
        return found

    def render(self) -> Iterable[str]:
        if self.help:
            yield f"# HELP {self.name} {escape(self.help, quotes=False)}"
        yield f"# TYPE {self.name} {self.kind}"
        for labels, series in self.series.items():
            yield from self.render_series(labels, series)

    def render_series(self, labels: Labels, series: Series) -> Iterable[str]:
        if self.kind != HISTOGRAM:
            yield f"{self.name}{braces(labels)} {number(series.value)}"
            return
        total = 0
        for bound, count in zip((*self.buckets, math.inf), series.counts, strict=True):
            total += count
            yield f"{self.name}_bucket{braces((*labels, ('le', number(bound))))} {total}"
        yield f"{self.name}_sum{braces(labels)} {number(series.value)}"
        yield f"{self.name}_count{braces(labels)} {total}"


class Metrics:
    """The metrics of one process. Belongs to the event loop.

    `collectors` give the gateway's own families, made when they are asked for.
    """

    def __init__(self, log: Log, max_series: int = MAX_SERIES) -> None:
        self.log = log
        self.max_series = max_series
        self.families: dict[str, Family] = {}
        self.collectors: list[Callable[[], Iterable[Family]]] = []
        self.count = 0  # of series
        self.refused = 0  # series that had no room

    def declare(self, name: str, kind: str, text: str = "", buckets: Sequence[float] = ()) -> None:
        """Declare a family, or change its help. One of another kind or other buckets begins anew."""
        bounds = tuple(sorted(map(float, buckets)) or BUCKETS) if kind == HISTOGRAM else ()
        found = self.families.get(name)
        if found is not None and (found.kind, found.buckets) == (kind, bounds):
            found.help = text
            return
        if found is not None:
            self.count -= len(found.series)
        self.families[name] = Family(name, kind, text, bounds)

    def own(self, name: str, text: str) -> Family:
        """A gauge of the gateway's own: scripts cannot change it but by what it stands for."""
        return self.families.setdefault(name, Family(name, GAUGE, text, own=True))

    def add(self, name: str, labels: Mapping[str, str], value: float, *, kind: str = COUNTER) -> bool:
        """Add to a counter or a gauge; `kind` is that of a new one. False when there is no room for another series.

        Raises MetricError for what is neither, and for a negative step of a counter.
        """
        family = self.family(name, kind)
        if family.kind == HISTOGRAM:
            raise MetricError(f"{name} is a histogram: its values are set")
        if family.kind == COUNTER and value < 0:
            raise MetricError(f"{name} is a counter: it cannot go down")
        return self.step(family, labels, value)

    def step(self, family: Family, labels: Mapping[str, str], value: float) -> bool:
        """Add to a series of a family. False when there is no room for another one."""
        finite(value)
        series = self.series(family, labels)
        if series is None:
            return False
        series.value += value
        return True

    def set(self, name: str, labels: Mapping[str, str], value: float) -> bool:
        """Set a gauge or a counter; let a histogram take a value. False when there is no room for another series."""
        family = self.family(name, GAUGE)
        finite(value)
        series = self.series(family, labels)
        if series is None:
            return False
        if family.kind == HISTOGRAM:
            series.counts[bisect_left(family.buckets, value)] += 1
            series.value += value
        else:
            series.value = float(value)
        return True

    def get(self, name: str, labels: Mapping[str, str]) -> tuple[Family, Series] | None:
        """A series with its family; None if nothing was counted there."""
        family = self.families.get(name)
        series = None if family is None else family.series.get(ordered(labels))
        return None if family is None or series is None else (family, series)

    def family(self, name: str, kind: str) -> Family:
        """The family of a name, made if there is none. Raises MetricError for a name that cannot be."""
        if name.startswith(RESERVED):
            raise MetricError(f"names that begin with {RESERVED} are the gateway's own, got {name[:60]!r}")
        if not NAME.match(name):
            raise MetricError(f"wanted a name of letters, digits, _ and :, got {name[:60]!r}")
        return self.families.get(name) or Family(name, kind)

    def series(self, family: Family, labels: Mapping[str, str]) -> Series | None:
        """The series of these labels, made if there is none; None when there is no room."""
        key = ordered(labels)
        if key in family.series:
            return family.series[key]
        if self.count >= self.max_series:
            if not self.refused:
                self.log.warning("metrics-full", series=self.count, metric=family.name)
            self.refused += 1
            return None
        self.count += 1
        self.families.setdefault(family.name, family)
        return family.made(key)

    def collect(self) -> list[Family]:
        """Everything that has a series: the gateway's own first."""
        own = [family for collect in self.collectors for family in collect()]
        return [*own, *(family for family in self.families.values() if family.series)]

    def render(self) -> str:
        return render(self.collect())


def render(families: Iterable[Family]) -> str:
    """Families in Prometheus' text form (version 0.0.4)."""
    return "".join(f"{line}\n" for family in families for line in family.render())


def gauge(name: str, text: str, values: Mapping[Labels, float]) -> Family:
    """A collector's family: the values by their labels."""
    return Family(name, GAUGE, text, own=True, series={labels: Series(value) for labels, value in values.items()})


def ordered(labels: Mapping[str, str]) -> Labels:
    """Labels as a key. Raises MetricError for too many of them, and for names and values that cannot be."""
    if len(labels) > MAX_LABELS:
        raise MetricError(f"wanted at most {MAX_LABELS} labels, got {len(labels)}")
    for name, value in labels.items():
        if not LABEL.match(name) or name == "le":
            raise MetricError(f"wanted a label of letters, digits and _, got {name[:60]!r}")
        if len(value.encode("utf-8", "replace")) > MAX_VALUE:
            raise MetricError(f"label {name}: longer than {MAX_VALUE} bytes")
    return tuple(sorted(labels.items()))


def finite(value: float) -> float:
    if not math.isfinite(value):
        raise MetricError(f"wanted a finite number, got {value}")
    return value


def number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def escape(text: str, quotes: bool = True) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def braces(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{escape(value)}"' for name, value in labels) + "}" if labels else ""
