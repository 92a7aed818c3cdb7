"""Suspensions and policies that scripts made come in, as workers tell of them; those that still hold go out.

The supervisor keeps them for workers that start later.
"""

from __future__ import annotations

from hsl.runtime.policies import MAX_RULES
from hsl.runtime.protocols import Clock
from hsl.smtpd.channel import Message

ROOM = 2 * MAX_RULES  # rules kept before those that have ended are looked for


class KeptRules:
    """By id, with the (monotonic) time at which each ends."""

    def __init__(self, clock: Clock, room: int = ROOM) -> None:
        self.clock = clock
        self.least = self.room = room
        self.rules: dict[str, tuple[Message, float]] = {}

    def __len__(self) -> int:
        return len(self.rules)

    def keep(self, message: Message) -> None:
        """A rule as `fleet.pack_rule` made it: new, or changed."""
        self.rules[message["id"]] = message, self.clock.monotonic() + message["ttl"]
        if len(self.rules) > self.room:
            self.forget_ended()
            self.room = max(self.least, 2 * len(self.rules))

    def lift(self, rule_id: str) -> None:
        self.rules.pop(rule_id, None)

    def forget_ended(self) -> None:
        now = self.clock.monotonic()
        self.rules = {key: (message, ends) for key, (message, ends) in self.rules.items() if ends > now}

    def current(self) -> list[Message]:
        """Those that still hold, with the seconds that are left of each."""
        self.forget_ended()
        now = self.clock.monotonic()
        return [message | {"ttl": ends - now} for message, ends in self.rules.values()]
