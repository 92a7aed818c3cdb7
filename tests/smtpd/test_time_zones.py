"""What is written down is UTC, whatever the machine's zone: the log, Received, the due times of the queue."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from hsl.runtime.log import format_event
from hsl.smtpd.received import date
from hsl.smtpd.scheduler import rfc3339

MOMENT = 1764000123.25  # 2025-11-24 16:02:03.25 UTC


@pytest.fixture(autouse=True)
def kolkata(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "XST-5:30")
        time.tzset()
        assert time.localtime(MOMENT)[3:5] == (21, 32)
        yield
    time.tzset()


def test_the_log() -> None:
    assert format_event("info", "x", {}, MOMENT) == "2025-11-24T16:02:03.250Z info x"


def test_the_trace_header() -> None:
    assert date(MOMENT) == "Mon, 24 Nov 2025 16:02:03 +0000"


def test_when_an_entry_is_due() -> None:
    assert rfc3339(MOMENT) == "2025-11-24T16:02:03Z"
