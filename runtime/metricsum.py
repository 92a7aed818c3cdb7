"""The metrics of several processes as one: families come in from each, their sums go out. Between, they are JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hsl.runtime.metrics import Family, Series

SMALLEST = frozenset({"hsl_ready", "hsl_healthy"})  # one that is not makes the whole not
LARGEST = frozenset({"hsl_policies"})  # all have the same


def pack_families(families: Iterable[Family]) -> list[Any]:
    """As JSON takes it."""
    return [
        [
            item.name, item.kind, item.help, item.buckets, item.own,
            [[labels, series.value, series.counts] for labels, series in item.series.items()],
        ]
        for item in families
    ]  # fmt: skip


def unpack_families(packed: Iterable[Any]) -> list[Family]:
    return [
        Family(
            name,
            kind,
            text,
            tuple(buckets),
            own,
            {tuple((key, word) for key, word in labels): Series(value, counts) for labels, value, counts in series},
        )
        for name, kind, text, buckets, own, series in packed
    ]


def sum_families(processes: Iterable[Iterable[Family]]) -> list[Family]:
    """One family for each name, its series added up. A family that two processes have differently stays that of the
    first one (a reload is under way)."""
    found: dict[str, Family] = {}
    for families in processes:
        for family in families:
            total = found.setdefault(family.name, Family(family.name, family.kind, family.help, family.buckets))
            if (total.kind, total.buckets) == (family.kind, family.buckets):
                for labels, series in family.series.items():
                    known = labels in total.series
                    add_series(family.name, total.made(labels), series, known)
    return list(found.values())


def add_series(name: str, total: Series, series: Series, known: bool) -> None:
    if not known:
        total.value = series.value
    elif name in SMALLEST:
        total.value = min(total.value, series.value)
    elif name in LARGEST:
        total.value = max(total.value, series.value)
    else:
        total.value += series.value
    total.counts = [one + other for one, other in zip(total.counts, series.counts, strict=True)]
