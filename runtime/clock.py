"""The two clocks: the system's, and one that tests set by hand."""

from __future__ import annotations

import time


class SystemClock:
    """The system's clocks."""

    def time(self) -> float:
        """UTC wall seconds; it may jump."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""
        return time.monotonic()


class SettableClock:
    """A clock that stands still until it is moved. `now` is its wall time in UTC seconds."""

    def __init__(self, now: float = 0.0, monotonic: float = 0.0) -> None:
        self.now = now
        self.elapsed = monotonic

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.elapsed

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks. Raises ValueError when it would run backwards."""
        if seconds < 0:
            raise ValueError("a monotonic clock never goes back; set `now` to make the wall clock jump")
        self.now += seconds
        self.elapsed += seconds
