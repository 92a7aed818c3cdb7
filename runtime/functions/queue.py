"""Chapter "Queue": suspensions and policies of what is delivered, and what quotas hold."""

from __future__ import annotations

import math

from hsl.builtins import Chapter, Options, option
from hsl.errors import ScriptError, near
from hsl.run import Run
from hsl.runtime.context import Context, string, text
from hsl.runtime.functions.arguments import ALL_STAGES, MAX_DELAY, host, is_integer, want_quota
from hsl.runtime.policies import MAX_TAG, Limits
from hsl.runtime.policyfields import FIELDS, Lists, Match
from hsl.values import Array, Value, to_string, type_name

chapter = Chapter("Queue policies", stages=ALL_STAGES)
MAX_LIMIT = 1_000_000
MAX_PROPERTIES = 4096  # bytes of the names and values of one policy


class SuspendOptions(Options):
    """The options of queue_suspend()."""

    tag: bytes | None = option(None, "A name for what it is about, up to 32 bytes.")
    update: bool = option(True, "Prolong a suspension of the same fields; false leaves it as it is.")


class PolicyOptions(Options):
    """The options of queue_policy()."""

    update: bool = option(True, "Change a policy of the same fields and condition; false leaves it as it is.")


class PolicyLimits(Options):
    """What queue_policy() may limit."""

    concurrency: float | bytes | None = option(None, "How many deliveries at a time.")
    rate: Array | None = option(None, "How many deliveries in how many seconds: [messages, seconds].")
    connectinterval: float | bytes | None = option(None, "From one delivery to the next.", unit="seconds")
    tag: bytes | None = option(None, "A name for what it is about, up to 32 bytes.")
    cluster: bool = option(True, "Taken and not used: policies hold in all workers.")
    properties: Array | None = option(None, "What post-delivery is to see of it, beside its limits.")
    stop: bool = option(False, "Policies of other fields that came later do not count what this one counts.")


@chapter.function("queue_suspend")
def queue_suspend(run: Run, fields: Array, ttl: float, options: SuspendOptions | None = None) -> Array | None:
    """Hold back all deliveries that match, for `ttl` seconds; returns an array with the `id` of the suspension.

    Fields, all of which must match: tenantid, transportid, recipientdomain, jobid, localip, remoteip, remotemx,
    grouping. Values are text, `*.domain` for a name below a domain, an address or network for an IP, `/a regular
    expression/`, `@name` for a list of the configuration (`queues.lists`), or `&id` for a grouping (`queues.grouping`).
    No fields at all suspend everything. A delivery that has begun goes on; an entry held back keeps its retry count and
    its age.

    A suspension of the same fields is prolonged. Suspensions are kept in memory: a reload keeps them, a restart does
    not; `hsl queue policies` lists them. None when there are 10,000 suspensions and policies.

    Example:
        queue_suspend(["remotemx" => "*.protection.example.com"], 60, ["tag" => "busy"]);
    """
    options = options or SuspendOptions()
    policies = host(run, Context).services.policies
    match = read_match("queue_suspend", "parameter 1 (fields)", fields, policies.lists)
    tag = want_tag("queue_suspend", options.tag)
    found = policies.suspend(match, want_ttl("queue_suspend", ttl), tag, options.update)
    return None if found is None else Array.record({b"id": string(found)})


@chapter.function("queue_policy")
def queue_policy(
    run: Run, fields: Array, condition: Array, policy: PolicyLimits, ttl: float, options: PolicyOptions | None = None
) -> Array | None:
    """Limit deliveries for `ttl` seconds; returns an array with the `id` of the policy.

    `fields` names what is counted together: entries with the same tenantid, transportid, recipientdomain, jobid,
    localip, remoteip, remotemx or grouping; none: all entries. `condition` says for which of them this policy is: field
    to value, as in queue_suspend(); it may name only fields that are counted by. Of several policies with the same
    fields the latest that matches holds, and one of a script before those of the configuration (`queues.policies`);
    policies with other fields hold beside it, unless one says `stop`.

    `concurrency` is how many deliveries run at a time, `rate` how many may begin in so many seconds (a token bucket:
    all of them at once, then one by one), `connectinterval` how many seconds pass from one to the next. What is over a
    limit waits in the queue; neither its retry count nor its age changes. Pre-delivery may run again for it.

    A policy of the same fields and condition is changed. Policies are kept in memory: a reload keeps them, a restart
    does not. None when there are 10,000 suspensions and policies.

    Example:
        queue_policy(["localip", "recipientdomain"], ["recipientdomain" => "example.com"], ["rate" => [10, 60]], 3600);
    """
    options = options or PolicyOptions()
    policies = host(run, Context).services.policies
    names = read_fields(fields)
    match = read_match("queue_policy", "parameter 2 (condition)", condition, policies.lists)
    for name in match.given:
        if name not in names:
            raise ScriptError(f"queue_policy(): condition {name}: it is not among the fields {', '.join(names)}")
    limits, tag = read_limits(policy), want_tag("queue_policy", policy.tag)
    seconds = want_ttl("queue_policy", ttl)
    found = policies.limit(names, match, limits, seconds, tag, options.update)
    return None if found is None else Array.record({b"id": string(found)})


@chapter.function("queue_policy_delete")
def queue_policy_delete(run: Run, id: bytes) -> bool:
    """End a policy by the id that queue_policy() gave; returns whether there was one.

    Example:
        $policy = queue_policy(["recipientdomain"], [], ["concurrency" => 5], 3600);
        echo queue_policy_delete($policy["id"]);  // expect: true
        echo queue_policy_delete($policy["id"]);  // expect: false
    """
    return host(run, Context).services.policies.remove(text(id), policies_only=True)


@chapter.function("queue_quota")
async def queue_quota(run: Run, name: bytes) -> Array:
    """Return what a quota holds: the `count` and the `bytes` of the queued entries that were given its name.

    Names are given by the option `quotas` of Deliver(), Quarantine(), Queue(), mail() and queue(). An entry counts
    until it leaves the queue, delivered or not.

    Example:
        if (queue_quota("customer:17")["count"] > 1000) Defer("Your queue is full, try later");
    """
    services = host(run, Context).services
    quota = want_quota("queue_quota", "parameter 1 (name)", name)
    count, size = services.queue.quota(quota)
    if services.others is not None:
        theirs = await services.others.quota(quota)
        count, size = count + theirs[0], size + theirs[1]
    return Array.record({b"count": float(count), b"bytes": float(size)})


def read_fields(fields: Array) -> tuple[str, ...]:
    """The names to count by, in an order of their own."""
    names: set[str] = set()
    for value in fields.values():
        if not isinstance(value, bytes):
            raise ScriptError(f"queue_policy(): parameter 1 (fields): wanted strings, got {type_name(value)}")
        names.add(want_field("queue_policy", text(value)))
    return tuple(name for name in FIELDS if name in names)


def want_field(function: str, name: str) -> str:
    if name not in FIELDS:
        known = ", ".join(FIELDS)
        raise ScriptError(f"{function}(): there is no field {name!r}; there are {known}", hint=near(name, FIELDS))
    return name


def read_match(function: str, where: str, fields: Array, lists: Lists) -> Match:
    given: dict[str, str] = {}
    for key, value in fields.pairs():
        name = want_field(function, text(to_string(key)))
        if not isinstance(value, bytes):
            raise ScriptError(f"{function}(): {where}: {name}: wanted string, got {type_name(value)}")
        given[name] = text(value)
    try:
        return Match.of(given, lists)
    except ScriptError as error:
        raise ScriptError(f"{function}(): {where}: {error.message}", hint=error.hint) from None


def read_limits(policy: PolicyLimits) -> Limits:
    """What a policy allows. Numbers may come as text, as they stand in a configuration's properties."""
    concurrency = None if policy.concurrency is None else want_limit("concurrency", policy.concurrency)
    interval = None if policy.connectinterval is None else want_seconds("connectinterval", policy.connectinterval)
    rate = None
    if policy.rate is not None:
        parts = list(policy.rate.values())
        if len(parts) != 2:
            raise ScriptError("queue_policy(): rate: wanted [messages, seconds]")
        rate = want_limit("rate", parts[0]), want_seconds("rate", parts[1])
    if concurrency is None and rate is None and interval is None and not policy.stop:
        raise ScriptError("queue_policy(): parameter 3 (policy): wanted concurrency, rate, connectinterval or stop")
    properties = () if policy.properties is None else read_properties(policy.properties)
    return Limits(concurrency, rate, interval, policy.stop, properties)


def read_properties(given: Array) -> tuple[tuple[str, bytes | float], ...]:
    """Names with a string, number or boolean each."""
    found: list[tuple[str, bytes | float]] = []
    for key, value in given.pairs():
        if not isinstance(value, bytes | float | bool):
            raise ScriptError(f"queue_policy(): properties: wanted strings, numbers, booleans, got {type_name(value)}")
        found.append((text(to_string(key)), value))
    if sum(len(name) + len(to_string(value)) for name, value in found) > MAX_PROPERTIES:
        raise ScriptError(f"queue_policy(): properties: more than {MAX_PROPERTIES} bytes")
    return tuple(found)


def as_number(value: Value) -> float:
    try:
        return float(value) if isinstance(value, float | bytes) else math.nan
    except ValueError:
        return math.nan


def want_limit(name: str, value: Value) -> int:
    number = as_number(value)
    if not is_integer(number) or not 1 <= number <= MAX_LIMIT:
        raise ScriptError(f"queue_policy(): {name}: wanted 1 to {MAX_LIMIT}, got {text(to_string(value))}")
    return int(number)


def want_seconds(name: str, value: Value) -> float:
    number = as_number(value)
    if not 0 < number <= MAX_DELAY:
        raise ScriptError(f"queue_policy(): {name}: wanted seconds, got {text(to_string(value))}")
    return number


def want_ttl(function: str, ttl: float) -> float:
    if not 0 < ttl <= MAX_DELAY:
        raise ScriptError(f"{function}(): ttl: wanted seconds up to {MAX_DELAY:.0f}, got {ttl:g}")
    return ttl


def want_tag(function: str, tag: bytes | None) -> str:
    if tag is not None and len(tag) > MAX_TAG:
        raise ScriptError(f"{function}(): tag: wanted up to {MAX_TAG} bytes, got {len(tag)}")
    return text(tag or b"")
