"""`queues.policies`, `.grouping` and `.lists` of the configuration come in; rules of the queue's policies go out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hsl.errors import ScriptError, near
from hsl.runtime.policies import MAX_TAG, Limits, Policy, QueuePolicies, Rule
from hsl.runtime.policyfields import FIELDS, Grouping, Groupings, Lists, Match, read_pattern
from hsl.smtpd.config import PolicyLimits, Queues
from hsl.smtpd.yamlfile import Document, KeyPath

POLICIES, GROUPINGS, LISTS = ("queues", "policies"), ("queues", "grouping", "groupings"), ("queues", "lists")


def configure_policies(policies: QueuePolicies, queues: Queues) -> None:
    """Take over what a checked configuration says."""
    groupings = [
        Grouping(
            item.id,
            tuple(read_pattern("remotemx", text, None) for text in item.remotemx),
            tuple(read_pattern("remoteip", text, None) for text in item.remoteip),
        )
        for item in queues.grouping.groupings
    ]
    policies.lists.replace(queues.lists)
    made = [make_policy(index, queues, policies.lists) for index in range(len(queues.policies))]
    policies.configure(made, queues.lists, Groupings(tuple(groupings), queues.grouping.default))


def make_policy(index: int, queues: Queues, lists: Lists) -> Policy:
    given = queues.policies[index]
    fields = tuple(name for name in FIELDS if name in given.fields)
    found = [(f"conditions[{number}]", item.if_, item.then) for number, item in enumerate(given.conditions)]
    if given.default is not None:
        found.append(("default", {}, given.default))
    rules = tuple(
        Rule(
            id=f"queues.policies[{index}].{name}",
            match=Match.of(condition, lists),
            tag=then.tag,
            fields=fields,
            limits=make_limits(then),
        )
        for name, condition, then in found
    )
    return Policy(fields, rules)


def make_limits(given: PolicyLimits) -> Limits:
    properties = tuple(
        (name, value.encode() if isinstance(value, str) else value if isinstance(value, bool) else float(value))
        for name, value in given.properties.items()
    )
    rate = None if given.rate is None else read_rate(given.rate)
    return Limits(given.concurrency, rate, given.connectinterval or None, given.stop, properties)


def read_rate(text: str) -> tuple[int, float]:
    """`messages/seconds`. Raises ValueError."""
    count, _, seconds = text.partition("/")
    rate = int(count), float(seconds or 1)
    if not (1 <= rate[0] <= 1_000_000 and 0 < rate[1] <= 31 * 86400):
        raise ValueError(text)
    return rate


# what the shape of the file cannot say


def check_policies(document: Document) -> None:
    """Add a finding for each condition, rate, list and grouping that cannot be meant."""
    given = document.get(*LISTS)
    lists = Lists(
        {name: [str(item) for item in items] for name, items in given.items() if isinstance(items, list)}
        if isinstance(given, dict)
        else {}
    )
    seen: dict[frozenset[str], int] = {}
    for path in document.each(*POLICIES):
        fields = frozenset(str(name) for name in document.get(*path, "fields") or () if isinstance(name, str))
        if fields in seen:
            hint = f"first on line {seen[fields]}: put the conditions into one policy"
            document.findings.error("policy", "two policies with the same fields", document.value_span(path), hint)
        seen.setdefault(fields, document.value_span(path).line)
        for condition in document.each(*path, "conditions"):
            check_condition(document, (*condition, "if"), fields, lists)
            check_limits(document, (*condition, "then"))
        check_limits(document, (*path, "default"))
    for path in document.each(*GROUPINGS):
        for field in ("remotemx", "remoteip"):
            for item in document.each(*path, field):
                check_fits(document, item, partial(read_pattern, field, lists=None))


def check_condition(document: Document, path: KeyPath, fields: frozenset[str], lists: Lists) -> None:
    given = document.get(*path)
    for name in given if isinstance(given, dict) else ():
        if name not in fields:
            hint = near(str(name), fields, "did you mean '{}'?") or "a condition names fields that are counted by"
            message = f"{name!r} is not among the policy's fields"
            document.findings.error("policy", message, document.key_span((*path, name)), hint)
        else:
            check_fits(document, (*path, name), partial(read_pattern, name, lists=lists))


def check_limits(document: Document, path: KeyPath) -> None:
    check_fits(document, (*path, "rate"), read_rate, "wanted messages/seconds, like 10/60")
    tag = document.text((*path, "tag"))
    if tag is not None and len(tag.encode()) > MAX_TAG:
        document.findings.error("policy", f"a tag has up to {MAX_TAG} bytes", document.value_span((*path, "tag")))
    given = document.get(*path)
    if isinstance(given, dict) and not given.keys() & {"concurrency", "rate", "connectinterval", "stop"}:
        message = "wanted concurrency, rate, connectinterval or stop"
        document.findings.error("policy", message, document.value_span(path))


def check_fits(document: Document, path: KeyPath, read: Callable[[str], object], wanted: str | None = None) -> None:
    """What is written at a path must be something that can be read so."""
    text = document.text(path)
    if text is None:
        return
    try:
        read(text)
    except ScriptError as error:
        document.findings.error("policy", error.message, document.value_span(path), error.hint)
    except ValueError:
        document.findings.error("policy", wanted or f"{text!r} cannot be read", document.value_span(path))
