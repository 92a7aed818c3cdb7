"""What one worker has of the others: questions about queue and sessions go out, sums come in; and rules go both ways.

The supervisor passes everything on. An answer is kept for FRESH seconds: a script that asks at every recipient costs
the others one question a second, and what it hears is at most that old (and the time that the answer took).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hsl.runtime.policies import Limits, QueuePolicies, Rule
from hsl.runtime.policyfields import Lists, Match
from hsl.runtime.protocols import BackendUnavailable, Clock
from hsl.smtpd.channel import Channel, Lost, Message, Refused

FRESH = 1.0  # seconds
WAIT = 2.0  # seconds for the others' answer
MAX_KEPT = 1_000  # answers

Filters = Mapping[str, Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer, or one that is on its way."""

    answers: asyncio.Task[list[Message]]
    until: float  # monotonic


class Fleet:
    """See protocols.Others."""

    def __init__(self, channel: Channel, clock: Clock) -> None:
        self.channel = channel
        self.clock = clock
        self.kept: dict[str, Kept] = {}

    async def metric(self, metric: str, filters: Filters) -> int:
        packed = {name: [text.decode("latin-1") for text in values] for name, values in filters.items()}
        answers = await self._ask({"what": "metric", "metric": metric, "filters": packed})
        return sum(answer["value"] for answer in answers)

    async def quota(self, name: bytes) -> tuple[int, int]:
        answers = await self._ask({"what": "quota", "name": name.decode("latin-1")})
        return sum(answer["count"] for answer in answers), sum(answer["bytes"] for answer in answers)

    async def concurrency(self, serverid: str, network: str | None) -> int:
        answers = await self._ask({"what": "concurrency", "server": serverid, "network": network})
        return sum(answer["value"] or 0 for answer in answers)

    async def _ask(self, question: Message) -> list[Message]:
        """The others' answers, asked for at most every FRESH seconds. Raises BackendUnavailable."""
        key = json.dumps(question, sort_keys=True)
        now = self.clock.monotonic()
        known = self.kept.get(key)
        if known is None or now >= known.until:
            self.kept.pop(key, None)
            if len(self.kept) >= MAX_KEPT:
                del self.kept[next(iter(self.kept))]
            known = self.kept[key] = Kept(asyncio.create_task(self._send(question)), now + FRESH)
        try:
            return await asyncio.shield(known.answers)
        except (Refused, Lost) as error:
            if self.kept.get(key) is known:
                del self.kept[key]
            raise BackendUnavailable(f"another worker cannot be asked: {error}") from None

    async def _send(self, question: Message) -> list[Message]:
        answers: list[Message] = (await self.channel.ask("others", WAIT, question=question))["answers"]
        return answers

    def share_rules(self, policies: QueuePolicies) -> None:
        """Tell the others of every rule that is made or ended here."""
        policies.on_made = lambda rule: self.channel.tell("rule", **pack_rule(rule, policies.clock.monotonic()))
        policies.on_removed = lambda rule_id: self.channel.tell("lift", id=rule_id)

    def share_failure(self, serverid: str, kind: str, ip: str) -> None:
        """Tell the others of a failed login, or handshake, of a client."""
        self.channel.tell("failure", server=serverid, kind=kind, ip=ip)


def pack_rule(rule: Rule, now: float) -> Message:
    """A rule as JSON takes it. Its end is given from now: clocks are each process's own."""
    limits = rule.limits
    return {
        "id": rule.id,
        "ttl": rule.expires - now,
        "match": dict(rule.match.given),
        "tag": rule.tag,
        "fields": rule.fields,
        "key": rule.key,
        "limits": limits and {
            "concurrency": limits.concurrency,
            "rate": limits.rate,
            "interval": limits.interval,
            "stop": limits.stop,
            "properties": [
                [name, value.decode("latin-1") if isinstance(value, bytes) else value]
                for name, value in limits.properties
            ],
        },
    }  # fmt: skip


def unpack_rule(packed: Message, lists: Lists, now: float) -> Rule:
    """Raises ScriptError for a rule that names a list which is not there (any more)."""
    given: dict[str, Any] | None = packed["limits"]
    limits = given and Limits(
        given["concurrency"],
        given["rate"] and (given["rate"][0], given["rate"][1]),
        given["interval"],
        given["stop"],
        tuple(
            (name, value.encode("latin-1") if isinstance(value, str) else value) for name, value in given["properties"]
        ),
    )
    return Rule(
        packed["id"],
        Match.of(packed["match"], lists),
        now + packed["ttl"],
        packed["tag"],
        tuple(packed["fields"]),
        limits or None,
        tuple(packed["key"]),
    )
