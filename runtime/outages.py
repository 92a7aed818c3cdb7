"""Outages of backends: the first failed call of each is news, the others are not, until the backend answers again."""

from __future__ import annotations

from hsl.runtime.protocols import BackendUnavailable


class OutageGoesOn(BackendUnavailable):
    """A backend that was already reported does still not answer."""


class Outages:
    """Which backends are down, by name, with the number of calls that failed so far."""

    def __init__(self) -> None:
        self.down: dict[str, int] = {}

    def failed(self, backend: str, error: BackendUnavailable) -> BackendUnavailable:
        """The error to raise: the first of an outage as it is, later ones as OutageGoesOn."""
        calls = self.down.get(backend, 0)
        self.down[backend] = calls + 1
        return OutageGoesOn(error.message) if calls else error

    def answered(self, backend: str) -> bool:
        """To be called after each good call; True when it ends an outage."""
        return self.down.pop(backend, 0) > 0 if self.down else False
