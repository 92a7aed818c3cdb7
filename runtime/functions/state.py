"""What every mail stage can ask of the runtime: rate() and the queue's metrics (reference 2015, "Misc")."""

from __future__ import annotations

from hsl.builtins import Chapter, Options, option
from hsl.errors import ScriptError, near
from hsl.run import Run
from hsl.runtime.context import Context, text
from hsl.runtime.functions.arguments import ALL_STAGES, host, is_integer
from hsl.runtime.protocols import QUEUE_FILTERS
from hsl.values import Array, Value, to_string, type_name

chapter = Chapter("State", stages=ALL_STAGES)
LOWER_CASE = frozenset({"sender", "senderdomain", "recipientdomain"})
MAX_INTERVAL = 31 * 86400.0  # seconds
MAX_COUNT = 10_000_000
MAX_NAME = 1_000  # bytes of a namespace or an entry
MAX_FILTER = 1_000  # values of one filter


class RateOptions(Options):
    """The options of rate()."""

    sync: bool = option(True, "Share the rate in a cluster; where it is kept is the configuration's matter.")


@chapter.function("rate")
async def rate(
    run: Run, namespace: bytes, entry: bytes | float, count: int, interval: float, options: RateOptions | None = None
) -> bool | float:
    """Account one and tell whether the limit allows it, or with count 0 how many there were in the interval.

    With a positive count: true and one more accounted, or false and nothing accounted when `count` have been accounted
    in the last `interval` seconds.
    """
    if not 0 <= count <= MAX_COUNT:
        raise ScriptError(f"rate(): parameter 3 (count): wanted 0 to {MAX_COUNT}, got {count}")
    if not 0 < interval <= MAX_INTERVAL:
        raise ScriptError(f"rate(): parameter 4 (interval): wanted seconds up to {MAX_INTERVAL:.0f}, got {interval:g}")
    services = host(run, Context).services
    names = want_name("rate", 1, namespace), want_name("rate", 2, to_string(entry))
    result = await services.rates.rate(*names, count, interval)
    return bool(result) if count > 0 else float(result)


class MetricOptions(Options):
    """The options of GetMailQueueMetric()."""

    metric: bytes = option(b"count", "`count` or `bytes`.")
    filter: Array | None = option(None, "Which entries: filter name to a value, or to an array of which any matches.")


@chapter.function("GetMailQueueMetric")
def get_mail_queue_metric(run: Run, options: MetricOptions | None = None) -> float:
    """How many entries, or bytes, of the mail queue match all filters.

    Filters: senderip, saslusername, sender, senderdomain, recipientdomain, transportid, retry.
    """
    options = options or MetricOptions()
    metric = text(options.metric)
    if metric not in ("count", "bytes"):
        raise ScriptError(
            f"GetMailQueueMetric(): option metric: wanted count or bytes, got {metric}",
            hint=near(metric, ["count", "bytes"]),
        )
    filters = read_filters(options.filter or Array())
    if any(not values for values in filters.values()):
        return 0.0
    return float(host(run, Context).services.queue.metric(metric, filters))


def read_filters(array: Array) -> dict[str, list[bytes]]:
    """The filters with their values as text; addresses and domains in lower case, as the queue counts them."""
    filters: dict[str, list[bytes]] = {}
    for key, value in array.pairs():
        name = text(to_string(key))
        if name not in QUEUE_FILTERS:
            raise ScriptError(
                f"GetMailQueueMetric(): there is no filter {name!r}; there are {', '.join(QUEUE_FILTERS)}",
                hint=near(name, QUEUE_FILTERS),
            )
        values = value.values() if isinstance(value, Array) else [value]
        if len(values) > MAX_FILTER:
            raise ScriptError(f"GetMailQueueMetric(): filter {name}: more than {MAX_FILTER} values")
        filters[name] = [filter_text(name, item) for item in values]
    return filters


def filter_text(name: str, value: Value) -> bytes:
    if not isinstance(value, bytes) and not is_integer(value):
        raise ScriptError(f"GetMailQueueMetric(): filter {name}: wanted string, got {type_name(value)}")
    shown = to_string(value)
    return shown.lower() if name in LOWER_CASE else shown


def want_name(function: str, position: int, name: bytes) -> bytes:
    """A namespace or an entry of a backend, of bounded length."""
    if len(name) > MAX_NAME:
        raise ScriptError(f"{function}(): parameter {position}: longer than {MAX_NAME} bytes")
    return name
