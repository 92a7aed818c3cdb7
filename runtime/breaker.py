"""Whether a server answers. In: each call's outcome. Out: admitted or failed at once, and one log line per outage."""

from __future__ import annotations

from hsl.runtime.log import Log
from hsl.runtime.protocols import BackendUnavailable, Clock


class Breaker:
    """Knows one server by its `name` (the log's events are NAME.down and NAME.up).

    After a failure calls are refused for `interval` seconds. Then one call is let through: its success closes the
    breaker, its failure opens it for another interval.
    """

    def __init__(self, name: str, address: str, log: Log, clock: Clock, interval: float = 1.0) -> None:
        self.name = name
        self.address = address
        self.log = log
        self.clock = clock
        self.interval = interval
        self.since: float | None = None  # when the outage began (monotonic)
        self.probe_at = 0.0
        self.probing = False
        self.lost = 0  # calls that failed in this outage

    def admit(self) -> bool:
        """Let a call pass; True if it is the probe, and then `probe_done` must follow.

        Raises BackendUnavailable at once during an outage.
        """
        if self.since is None:
            return False
        if self.probing or self.clock.monotonic() < self.probe_at:
            self.lost += 1
            raise self.error()
        self.probing = True
        return True

    def probe_done(self) -> None:
        """The probe ended, in whatever way (it may have been cancelled)."""
        self.probing = False

    def failed(self, reason: str) -> BackendUnavailable:
        """Note a failure; the error to raise. The reason goes to the log only."""
        now = self.clock.monotonic()
        self.lost += 1
        self.probe_at = now + self.interval
        if self.since is None:
            self.since = now
            self.log.warning(f"{self.name}-down", address=self.address, error=reason)
        return self.error()

    def succeeded(self) -> None:
        if self.since is not None:
            outage = self.clock.monotonic() - self.since
            self.log.info(f"{self.name}-up", address=self.address, outage=outage, failed_calls=self.lost)
            self.since = None
            self.lost = 0

    def error(self) -> BackendUnavailable:
        return BackendUnavailable(f"{self.name} does not answer")
