"""What a stage decided, and the control flow that carries the decision out of the script."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hsl.errors import Halt
from hsl.source import Span


@dataclass(frozen=True, slots=True)
class Verdict:
    """A stage's decision.

    action      accept, reject, defer, deliver, quarantine, delete, done, pass, reply, try, queue,
                bounce, default
    explicit    the script said so; False for "no verdict", "no hook" and script errors
    error       the script failed and this is the stage's on-error action
    reason      lines of reply text, None for the stage's own text
    code, enhanced   from the reply_codes option
    options     what else the action carries (delay, hold, recipient …), by the reference's names
    at          the statement that decided, or failed; None where no statement did
    """

    action: str
    explicit: bool = True
    error: bool = False
    reason: tuple[str, ...] | None = None
    code: int | None = None
    enhanced: tuple[int, int, int] | None = None
    disconnect: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    at: Span | None = field(default=None, compare=False)

    def placed(self, at: Span | None) -> Verdict:
        """The same, decided there."""
        return Verdict(
            self.action,
            self.explicit,
            self.error,
            self.reason,
            self.code,
            self.enhanced,
            self.disconnect,
            self.options,
            at,
        )


class VerdictReached(Halt):
    """Raised by a verdict function; no script can catch it."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.action)
        self.verdict = verdict
