"""What every mail stage can ask of the runtime: rate() and the queue's metrics (reference 2015, "Misc")."""

from __future__ import annotations

import ipaddress

from hsl.builtins import Chapter, Options, option
from hsl.errors import ScriptError, near
from hsl.run import Run
from hsl.runtime.context import Context, text
from hsl.runtime.functions.arguments import ALL_STAGES, host, is_integer
from hsl.runtime.protocols import QUEUE_FILTERS
from hsl.runtime.rates import MAX_COUNT, MAX_INTERVAL
from hsl.values import Array, Value, to_string, type_name

chapter = Chapter("State", stages=ALL_STAGES)
LOWER_CASE = frozenset({"sender", "senderdomain", "recipient", "recipientdomain"})
METADATA = "metadata."
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
    in the last `interval` seconds (a sliding window, exact; up to 31 days). Rates are shared by all stages, and by all
    processes where the configuration keeps them in Redis.

    Example:
        echo rate("example", "user", 2, 60);  // expect: true
        echo rate("example", "user", 2, 60);  // expect: true
        echo rate("example", "user", 2, 60);  // expect: false
        echo rate("example", "user", 0, 60);  // expect: 2
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
async def get_mail_queue_metric(run: Run, options: MetricOptions | None = None) -> float:
    """Return how many entries, or bytes, of the mail queue match all filters.

    Filters: senderip, saslusername, sender, senderdomain, recipient, recipientdomain, transportid, retry, and
    `metadata.NAME` for a key of the metadata. An array of values matches any of them, up to 1,000; addresses and
    domains match in any case. The queue counts these, so that one filter is a look-up (the first question about a
    metadata key walks the queue once); with several filters the one with fewest entries is walked.
    What other workers have queued is counted as it was up to a second ago; while one of them cannot be asked it is an
    error, for the script is not to act on too small a number.

    Example:
        $mib = GetMailQueueMetric(["metric" => "bytes", "filter" => ["transportid" => "outbound"]]) / 1024 / 1024;
        if ($mib > 500) Defer("The queue is full, try later");
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
    queue = host(run, Context).services.queue
    others = host(run, Context).services.others
    theirs = await others.metric(metric, filters) if others is not None else 0
    return float(await queue.measure(metric, filters) + theirs)


def read_filters(array: Array) -> dict[str, list[bytes]]:
    """The filters with their values as text; addresses and domains in lower case, as the queue counts them."""
    filters: dict[str, list[bytes]] = {}
    for key, value in array.pairs():
        name = text(to_string(key))
        if name not in QUEUE_FILTERS and not name.startswith(METADATA):
            known = ", ".join(QUEUE_FILTERS)
            raise ScriptError(
                f"GetMailQueueMetric(): there is no filter {name!r}; there are {known} and {METADATA}NAME",
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


@chapter.function("server_concurrency")
async def server_concurrency(run: Run, serverid: bytes, address: bytes | None = None) -> float | None:
    """Return how many sessions a server has now, or how many from an IP address or network; none for no such server.

    The session that asks counts too. Sessions of other workers are counted as they were up to a second ago; while one
    of them cannot be asked it is an error.

    Example:
        if (server_concurrency($serverid, $senderip) > 20) Defer("Too many connections");
    """
    network = None
    if address is not None:
        try:
            network = str(ipaddress.ip_network(text(address), strict=False))
        except ValueError:
            shown = text(address)[:60]
            raise ScriptError(f"server_concurrency(): wanted an IP address or network, got {shown!r}") from None
    services = host(run, Context).services
    found = services.concurrency(text(serverid), network)
    if found is not None and services.others is not None:
        found += await services.others.concurrency(text(serverid), network)
    return None if found is None else float(found)
