"""Counters, gauges and histograms: what they hold, how they are shown, and what they refuse."""

from __future__ import annotations

import pytest

from hsl.runtime.log import Log
from hsl.runtime.metrics import COUNTER, GAUGE, HISTOGRAM, Family, MetricError, Metrics, gauge


def made(max_series: int = 100) -> Metrics:
    return Metrics(Log(write=lambda line: None), max_series)


def test_the_text_form() -> None:
    metrics = made()
    metrics.declare("logins", COUNTER, "Failed logins,\nby \\mechanism")
    metrics.declare("delay", HISTOGRAM, buckets=[10, 1])
    metrics.add("logins", {"mechanism": 'PL"AIN', "a": "b\n"}, 2)
    metrics.add("logins", {"a": "b\n", "mechanism": 'PL"AIN'}, 0.5)
    metrics.set("load", {}, -1.25)
    for value in (0.5, 1, 5, 100):
        metrics.set("delay", {"to": "x"}, value)
    assert metrics.render().splitlines() == [
        "# HELP logins Failed logins,\\nby \\\\mechanism",
        "# TYPE logins counter",
        'logins{a="b\\n",mechanism="PL\\"AIN"} 2.5',
        "# TYPE delay histogram",
        'delay_bucket{to="x",le="1"} 2',
        'delay_bucket{to="x",le="10"} 3',
        'delay_bucket{to="x",le="+Inf"} 4',
        'delay_sum{to="x"} 106.5',
        'delay_count{to="x"} 4',
        "# TYPE load gauge",
        "load -1.25",
    ]


def test_a_declared_metric_without_values_is_not_shown() -> None:
    metrics = made()
    metrics.declare("logins", COUNTER)
    assert metrics.render() == ""


def test_collectors_come_first() -> None:
    metrics = made()
    metrics.set("load", {}, 1)
    metrics.collectors.append(lambda: [gauge("hsl_up", "Up", {(("server", "in"),): 1.0})])
    assert metrics.render().startswith('# HELP hsl_up Up\n# TYPE hsl_up gauge\nhsl_up{server="in"} 1\n# TYPE load')


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.add("", {}, 1), "wanted a name"),
        (lambda m: m.add("9a", {}, 1), "wanted a name"),
        (lambda m: m.add("a-b", {}, 1), "wanted a name"),
        (lambda m: m.add("a\n", {}, 1), "wanted a name"),
        (lambda m: m.add("n" * 201, {}, 1), "wanted a name"),
        (lambda m: m.set("hsl_ready", {}, 1), "the gateway's own"),
        (lambda m: m.add("a", {"le": "1"}, 1), "wanted a label"),
        (lambda m: m.add("a", {"__x": "1"}, 1), "wanted a label"),
        (lambda m: m.add("a", {"x-y": "1"}, 1), "wanted a label"),
        (lambda m: m.add("a", {"x": "é" * 101}, 1), "label x: longer than 200 bytes"),
        (lambda m: m.add("a", {f"l{n}": "" for n in range(11)}, 1), "at most 10 labels, got 11"),
        (lambda m: m.add("count", {}, -1), "a counter: it cannot go down"),
        (lambda m: m.add("histo", {}, 1), "a histogram: its values are set"),
        (lambda m: m.set("load", {}, float("nan")), "wanted a finite number"),
        (lambda m: m.add("count", {}, float("inf")), "wanted a finite number"),
    ],
)
def test_what_cannot_be(change: object, message: str) -> None:
    metrics = made()
    metrics.declare("count", COUNTER)
    metrics.declare("histo", HISTOGRAM)
    with pytest.raises(MetricError, match=message):
        change(metrics)  # type: ignore[operator]
    assert metrics.render() == "", "nothing was counted"


def test_the_limits_of_names_and_labels_are_met() -> None:
    metrics = made()
    assert metrics.add("n" * 200, {f"l{number}": "é" * 100 for number in range(10)}, 1)


def test_a_full_store_goes_on_with_what_it_has() -> None:
    lines: list[str] = []
    metrics = Metrics(Log(write=lines.append), max_series=2)
    assert metrics.add("a", {"n": "1"}, 1)
    assert metrics.add("a", {"n": "2"}, 1)
    assert not metrics.add("a", {"n": "3"}, 1)
    assert not metrics.set("b", {}, 1)
    assert metrics.add("a", {"n": "1"}, 1)
    assert metrics.refused == 2
    assert sum("metrics-full" in line for line in lines) == 1
    assert metrics.get("b", {}) is None


def test_a_new_declaration() -> None:
    """The help may change; another kind begins anew, and gives its room back."""
    metrics = made(max_series=1)
    metrics.declare("a", COUNTER, "old")
    metrics.add("a", {}, 5)
    metrics.declare("a", COUNTER, "new")
    assert "# HELP a new" in metrics.render()
    found = metrics.get("a", {})
    assert found is not None
    assert found[1].value == 5
    metrics.declare("a", GAUGE)
    assert metrics.get("a", {}) is None
    assert metrics.set("a", {}, 1)


def test_families_of_the_gateway_are_not_scripts() -> None:
    metrics = made()
    own = metrics.own("hsl_stat", "Sums")
    assert metrics.step(own, {"name": "x"}, 3)
    assert isinstance(own, Family)
    with pytest.raises(MetricError, match="the gateway's own"):
        metrics.add("hsl_stat", {"name": "x"}, 1)
