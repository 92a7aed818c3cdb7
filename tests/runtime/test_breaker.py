"""The breaker, on a clock that is moved by hand."""

from __future__ import annotations

import pytest

from hsl.runtime.breaker import Breaker
from hsl.runtime.clock import SettableClock
from hsl.runtime.log import Log
from hsl.runtime.protocols import BackendUnavailable


def test_one_probe_at_a_time_and_two_log_lines() -> None:
    lines: list[str] = []
    clock = SettableClock()
    breaker = Breaker("redis", "127.0.0.1:1", Log(write=lines.append), clock)
    assert breaker.admit() is False
    breaker.failed("no answer in time")
    breaker.failed("no answer in time")  # a call that was under way
    for _ in range(3):
        with pytest.raises(BackendUnavailable, match="redis does not answer"):
            breaker.admit()
    clock.advance(1)
    assert breaker.admit() is True
    with pytest.raises(BackendUnavailable):
        breaker.admit()  # while the probe is out
    breaker.failed("refused")
    breaker.probe_done()
    with pytest.raises(BackendUnavailable):
        breaker.admit()
    clock.advance(1)
    assert breaker.admit() is True
    breaker.probe_done()  # cancelled: neither success nor failure
    assert breaker.admit() is True
    breaker.succeeded()
    breaker.probe_done()
    assert breaker.admit() is False
    assert [line.split(" ", 1)[1] for line in lines] == [
        'warning redis-down address=127.0.0.1:1 error="no answer in time"',
        "info redis-up address=127.0.0.1:1 outage=2.000 failed_calls=8",
    ]
