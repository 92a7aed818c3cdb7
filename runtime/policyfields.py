"""What queue policies look at: the fields of a delivery come in, and whether they are what a rule is for goes out.

Fields that are known of an entry in the queue are EARLY ones; the others are known address by address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from hsl import regex
from hsl.errors import ScriptError, near
from hsl.regex import compile_pattern
from hsl.runtime.model import QueueEntry

FIELDS = ("tenantid", "transportid", "recipientdomain", "jobid", "localip", "grouping", "remoteip", "remotemx")
EARLY = frozenset({"tenantid", "transportid", "recipientdomain", "jobid"})
HOSTS = frozenset({"recipientdomain", "grouping", "remotemx"})
ADDRESSES = frozenset({"localip", "remoteip"})
FREE_TEXT = frozenset({"jobid", "tenantid"})  # may begin with any character
GROUP = "&"  # before the id of a grouping, where a domain could stand

Facts: TypeAlias = Mapping[str, str]
Key: TypeAlias = tuple[str, ...]


def facts_of(entry: QueueEntry) -> dict[str, str]:
    """What is known of an entry in the queue."""
    return {
        "transportid": entry.transportid,
        "recipientdomain": text_of(entry.recipient.host),
        "jobid": text_of(entry.jobid),
        "tenantid": text_of(entry.tenantid),
    }


def text_of(octets: bytes) -> str:
    """Octets as text, those that are no UTF-8 too: as scripts' strings come in."""
    return octets.decode("utf-8", "surrogateescape")


def octets_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class Pattern(Protocol):
    def matches(self, value: str) -> bool:
        """Raises ScriptError: a regular expression went over its limits."""
        ...


@dataclass(frozen=True, slots=True)
class Exactly:
    text: str
    folded: bool

    def matches(self, value: str) -> bool:
        return (value.lower() if self.folded else value) == self.text


@dataclass(frozen=True, slots=True)
class Below:
    """`*.example.com`: every name below, not the domain itself."""

    suffix: str

    def matches(self, value: str) -> bool:
        return value.lower().endswith(self.suffix) and len(value) > len(self.suffix)


@dataclass(frozen=True, slots=True)
class Within:
    network: ipaddress.IPv4Network | ipaddress.IPv6Network

    def matches(self, value: str) -> bool:
        try:
            return ipaddress.ip_address(value) in self.network
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class Regex:
    """Holds its compiled pattern: the cache of compile_pattern is the scripts', and small."""

    pattern: regex.Pattern

    def matches(self, value: str) -> bool:
        return self.pattern.matches(octets_of(value))


@dataclass(frozen=True, slots=True)
class Listed:
    """`@name`: anything of a list of the configuration, as it is when it is asked."""

    name: str
    field: str
    lists: Lists

    def matches(self, value: str) -> bool:
        return any(pattern.matches(value) for pattern in self.lists.patterns(self.name, self.field))


class Lists:
    """The lists of the configuration, by name. `replace` exchanges them while they are in use."""

    def __init__(self, lists: Mapping[str, Sequence[str]] | None = None) -> None:
        self.replace(lists or {})

    def replace(self, lists: Mapping[str, Sequence[str]]) -> None:
        self.lists = dict(lists)
        self.read: dict[tuple[str, str], tuple[Pattern, ...]] = {}

    def patterns(self, name: str, field: str) -> tuple[Pattern, ...]:
        """What a list means for a field; nothing for a list that is gone. Raises ScriptError for unfit items."""
        found = self.read.get((name, field))
        if found is None:
            items = tuple(read_pattern(field, text, None) for text in self.lists.get(name, ()))
            found = self.read[name, field] = items
        return found


def read_pattern(name: str, text: str, lists: Lists | None) -> Pattern:
    """What a field must be: text, `*.domain`, an address or network, `/regex/`, `@list`. Raises ScriptError."""
    if not text:
        raise ScriptError(f"field {name}: wanted a value, got an empty string")
    if name not in FREE_TEXT and text[0] in "@#&" and not (text[0] == GROUP and name == "grouping"):
        return read_list(name, text, lists)
    if text.startswith("/"):
        return Regex(compile_pattern(octets_of(text)))
    if name in ADDRESSES:
        try:
            return Within(ipaddress.ip_network(text, strict=False))
        except ValueError:
            raise ScriptError(f"field {name}: wanted an IP address or network, got {text!r}") from None
    if name in HOSTS and text.startswith("*."):
        return Below(text[1:].lower())
    return Exactly(text.lower() if name in HOSTS else text, name in HOSTS)


def read_list(name: str, text: str, lists: Lists | None) -> Pattern:
    if text[0] == "#":
        raise ScriptError(f"field {name}: rollups ({text}) are not supported: use the field grouping")
    if text[0] == GROUP:
        raise ScriptError(f"field {name}: a grouping ({text}) is a value of the field grouping")
    if lists is None:
        raise ScriptError(f"field {name}: a list cannot be within a list: {text}")
    if text[1:] not in lists.lists:
        raise ScriptError(f"field {name}: there is no list {text[1:]!r}", hint=near(text[1:], lists.lists))
    lists.patterns(text[1:], name)
    return Listed(text[1:], name, lists)


@dataclass(frozen=True, slots=True)
class Match:
    """Fields and what each must be; all of them. `exact`: each is one text, and nothing else."""

    given: Mapping[str, str]
    patterns: tuple[tuple[str, Pattern], ...]
    key: Key
    exact: bool

    @classmethod
    def of(cls, given: Mapping[str, str], lists: Lists | None = None) -> Match:
        """Raises ScriptError for an unknown field and for a value that is none."""
        known = lists or Lists()
        patterns = tuple((name, read_pattern(name, text, known)) for name, text in sorted(given.items()))
        key = tuple(f"{name}={canonical(pattern, given[name])}" for name, pattern in patterns)
        exact = bool(patterns) and all(isinstance(pattern, Exactly) for _, pattern in patterns)
        return cls(given, patterns, key, exact)

    def applies(self, facts: Facts) -> bool:
        return all(name in facts and pattern.matches(facts[name]) for name, pattern in self.patterns)


def canonical(pattern: Pattern, text: str) -> str:
    """One text for values that mean the same."""
    if isinstance(pattern, Exactly):
        return pattern.text
    return str(pattern.network) if isinstance(pattern, Within) else text


@dataclass(frozen=True, slots=True)
class Grouping:
    """Mail hosts that are one: by their names, or by their addresses."""

    id: str
    hosts: tuple[Pattern, ...] = ()
    networks: tuple[Pattern, ...] = ()


@dataclass(frozen=True, slots=True)
class Groupings:
    """What the field `grouping` is: `&id` of the first grouping of a mail host, else its `default` field's value."""

    items: tuple[Grouping, ...] = ()
    default: str = "recipientdomain"  # or remotemx, or empty

    def of(self, facts: Facts) -> str:
        """Raises ScriptError: a regular expression went over its limits."""
        for item in self.items:
            if any(pattern.matches(facts.get("remotemx", "")) for pattern in item.hosts) or any(
                pattern.matches(facts.get("remoteip", "")) for pattern in item.networks
            ):
                return GROUP + item.id
        return facts.get(self.default, "")


@dataclass(slots=True)
class Faults:
    """Regular expressions that went over their limits do not match; `report(text)` hears of each once."""

    report: Callable[[str], None] = lambda text: None
    known: set[str] = field(default_factory=set)

    def note(self, what: str, error: ScriptError) -> None:
        if what not in self.known and len(self.known) < 1000:
            self.known.add(what)
            self.report(f"{what}: {error.message}")
