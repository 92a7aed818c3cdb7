"""Chapter "Metrics": what scripts count, for Prometheus and `hsl metrics`; and stat(), its form of 2015."""

from __future__ import annotations

import re

from hsl.builtins import Chapter
from hsl.errors import ScriptError
from hsl.run import Run
from hsl.runtime.context import Context
from hsl.runtime.functions.arguments import ALL_STAGES, host
from hsl.runtime.metrics import COUNTER, GAUGE, HISTOGRAM, MetricError, Metrics
from hsl.values import Array, Value, to_string, type_name

chapter = Chapter("Metrics", stages=ALL_STAGES)
STAT = "hsl_stat"
STAT_NAME = re.compile(rb"[a-z0-9.-]{1,100}\Z")
LEGEND = re.compile(rb"[A-Za-z0-9_-]{1,100}\Z")
MAX_LEGENDS = 100


def metrics(run: Run) -> Metrics:
    return host(run, Context).services.metrics


def utf8(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def read_labels(function: str, labels: Array) -> dict[str, str]:
    """Label names and values as text: values may be strings, numbers and booleans."""
    result: dict[str, str] = {}
    for key, value in labels.pairs():
        if not isinstance(value, bytes | float | bool):
            raise ScriptError(f"{function}(): parameter 2 (labels): wanted strings, got {type_name(value)}")
        result[utf8(to_string(key))] = utf8(to_string(value))
    return result


def change(run: Run, function: str, name: bytes, labels: Array, value: float, kind: str) -> bool | None:
    """Add to a metric; none when there is no room for another series."""
    try:
        return metrics(run).add(utf8(name), read_labels(function, labels), value, kind=kind) or None
    except MetricError as error:
        raise ScriptError(f"{function}(): {error}") from None


@chapter.function("metrics_increment")
def metrics_increment(run: Run, name: bytes, labels: Array, value: float = 1.0) -> bool | None:
    """Add to a counter or a gauge, and return true; none when the limit of 10,000 series is reached.

    The name is of letters, digits, `_` and `:`; `monitor.metrics` of the configuration gives it a type and a help text,
    and a name that is not there becomes a counter. Up to 10 labels, name to value, tell the series of one name apart;
    values are UTF-8 text of up to 200 bytes. Raises an error for a histogram, and for a counter that would go down.
    All metrics are 0 again after a restart. `hsl metrics` shows them, and `monitor.listener` serves them to Prometheus.

    Example:
        metrics_increment("authfail", ["mechanism" => "PLAIN"]);
        echo metrics_get("authfail", ["mechanism" => "PLAIN"]);  // expect: ["type"=>"counter","value"=>1]
    """
    return change(run, "metrics_increment", name, labels, value, COUNTER)


@chapter.function("metrics_decrement")
def metrics_decrement(run: Run, name: bytes, labels: Array, value: float = 1.0) -> bool | None:
    """Subtract from a gauge, and return true; none when the limit of 10,000 series is reached.

    A name that is not configured and not yet used becomes a gauge. Raises an error for a counter and a histogram.

    Example:
        metrics_set("workers", [], 5);
        metrics_decrement("workers", [], 2);
        echo metrics_get("workers", [])["value"];  // expect: 3
    """
    if value < 0:
        raise ScriptError(f"metrics_decrement(): parameter 3 (value): wanted 0 or more, got {value:g}")
    return change(run, "metrics_decrement", name, labels, -value, GAUGE)


@chapter.function("metrics_set")
def metrics_set(run: Run, name: bytes, labels: Array, value: float) -> bool | None:
    """Set a gauge or a counter, or let a histogram count a value, and return true; none when the limit is reached.

    A name that is not configured and not yet used becomes a gauge. Histograms are configured in `monitor.metrics`.

    Example:
        metrics_set("temperature", ["room" => "server"], 21.5);
        echo metrics_get("temperature", ["room" => "server"])["value"];  // expect: 21.5
    """
    try:
        return metrics(run).set(utf8(name), read_labels("metrics_set", labels), value) or None
    except MetricError as error:
        raise ScriptError(f"metrics_set(): {error}") from None


@chapter.function("metrics_get")
def metrics_get(run: Run, name: bytes, labels: Array) -> Array | None:
    """Return a metric's `type` and `value`, or none if nothing was counted under these labels.

    A histogram has `count`, `sum` and `buckets` (upper bound to how many values were not above it) instead of `value`.

    Example:
        echo metrics_get("nothing", []);  // expect: none
    """
    try:
        found = metrics(run).get(utf8(name), read_labels("metrics_get", labels))
    except MetricError as error:
        raise ScriptError(f"metrics_get(): {error}") from None
    if found is None:
        return None
    family, series = found
    if family.kind != HISTOGRAM:
        return Array.record({b"type": family.kind.encode(), b"value": series.value})
    counted = [float(sum(series.counts[: index + 1])) for index in range(len(family.buckets))]
    buckets = Array.from_pairs((to_string(bound), count) for bound, count in zip(family.buckets, counted, strict=True))
    total: Value = float(sum(series.counts))
    return Array.record({b"type": HISTOGRAM.encode(), b"count": total, b"sum": series.value, b"buckets": buckets})


@chapter.function("stat")
def stat(run: Run, name: bytes, legends: Array) -> None:
    """Add numbers to the statistics of a name (2015, 2019): an array of legend to number.

    A name is of a-z, 0-9, `.` and `-`, a legend of letters, digits, `-` and `_`; up to 100 legends in one call. The
    sums are the gauges `hsl_stat{name="…",legend="…"}` of `hsl metrics`, within the limit of 10,000 series.

    Example:
        $v6 = inet_includes($senderip, "::/0") ? 1 : 0;
        stat("ip-family", ["ipv4" => 1 - $v6, "ipv6" => $v6]);
    """
    if not STAT_NAME.match(name):
        raise ScriptError(f"stat(): parameter 1 (name): wanted a-z, 0-9, . and -, got {utf8(name)[:60]!r}")
    if len(legends) > MAX_LEGENDS:
        raise ScriptError(f"stat(): parameter 2 (legends): wanted at most {MAX_LEGENDS}, got {len(legends)}")
    values: list[tuple[str, float]] = []
    for key, value in legends.pairs():
        legend = to_string(key)
        if not LEGEND.match(legend):
            raise ScriptError(f"stat(): parameter 2 (legends): wanted letters, digits, - and _, got {utf8(legend)!r}")
        if not isinstance(value, float | bool):
            raise ScriptError(f"stat(): legend {utf8(legend)}: wanted number, got {type_name(value)}")
        values.append((utf8(legend), float(value)))
    family = metrics(run).own(STAT, "What scripts gave to stat()")
    try:
        for text, amount in values:
            metrics(run).step(family, {"name": utf8(name), "legend": text}, amount)
    except MetricError as error:
        raise ScriptError(f"stat(): {error}") from None
