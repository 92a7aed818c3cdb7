"""Chapter "Date and time": clocks, sleep and date formats. Times are UTC seconds since 1970, with decimals."""

from __future__ import annotations

import re
import time as system
from typing import TYPE_CHECKING, Any

from hsl import bridge
from hsl.builtins import Chapter, Options, option
from hsl.errors import ScriptError
from hsl.library.host import KeepsTime, Sleeps

if TYPE_CHECKING:
    from hsl.run import Run

chapter = Chapter("Date and time")

MAX_DATE = 100  # bytes of a formatted date (reference)
MAX_FORMAT = 1_000  # bytes of a format
DIRECTIVE = re.compile(rb"%[_0^#-]?[EO]?[A-Za-z%+]")
DATE_DIRECTIVE = re.compile(r"%[aAbBcdDeFGjmsuUVwWxyY]")


def now(run: Run) -> float:
    return run.host.time() if isinstance(run.host, KeepsTime) else system.time()


@chapter.function("executiontime")
def executiontime(run: Run) -> float:
    """Return the seconds since the script began."""
    return system.monotonic() - run.started


@chapter.function("sleep")
def sleep(run: Run, seconds: float) -> float:
    """Pause the script and return the seconds slept. It sleeps no longer than its budget of time lasts."""
    if seconds != seconds:
        raise ScriptError("sleep(): parameter 1 (seconds): wanted a number of seconds, got nan")
    begun = system.monotonic()
    pause = max(0.0, min(seconds, run.remaining()))
    if isinstance(run.host, Sleeps):
        run.wait(run.host.sleep(pause))
    elif bridge.bridged():
        raise ScriptError("sleep(): the host of this script cannot wait")
    else:
        system.sleep(pause)
    if pause < seconds:
        run.check_time()
    return system.monotonic() - begun


@chapter.function("time")
def time(run: Run) -> float:
    """Return the UTC seconds since 1970-01-01T00:00:00Z."""
    return now(run)


@chapter.function("timelocal")
def timelocal(run: Run) -> float:
    """Return the seconds since 1970-01-01T00:00:00Z, moved by the offset of the local timezone."""
    seconds = now(run)
    return seconds + system.localtime(seconds).tm_gmtoff


@chapter.function("uptime")
def uptime() -> float:
    """Return the monotonic seconds since the system was started."""
    return system.clock_gettime(system.CLOCK_BOOTTIME) if hasattr(system, "CLOCK_BOOTTIME") else system.monotonic()


class TimeOptions(Options):
    local: bool = option(True, "Use the local timezone instead of UTC.")


def broken_down(seconds: float, options: TimeOptions | None) -> system.struct_time:
    """Raises ValueError, OverflowError or OSError for times that no calendar has."""
    return system.gmtime(seconds) if options and not options.local else system.localtime(seconds)


@chapter.function("strftime")
def strftime(run: Run, format: bytes, time: float | None = None, options: TimeOptions | None = None) -> bytes:
    """Return a time (by default now) in the given strftime(3) format; at most 100 bytes, the rest is cut off."""
    if len(format) > MAX_FORMAT:
        raise ScriptError(f"strftime(): parameter 1 (format): longer than {MAX_FORMAT} bytes")
    try:
        fields = broken_down(now(run) if time is None else time, options)
    except (ValueError, OverflowError, OSError):
        raise ScriptError("strftime(): parameter 2 (time): no such date") from None

    def directive(match: re.Match[bytes]) -> bytes:
        return system.strftime(match[0].decode("ascii"), fields).encode("utf-8", "replace")

    return DIRECTIVE.sub(directive, format)[:MAX_DATE]


@chapter.function("strptime")
def strptime(run: Run, datestring: bytes, format: bytes, options: TimeOptions | None = None) -> float | None:
    """Return the UTC seconds of a date written in the given strftime(3) format, or none if it is not.

    A format without a date means today.
    """
    from calendar import timegm

    if len(format) > MAX_DATE or len(datestring) > MAX_FORMAT:
        return None
    try:
        pattern = format.decode()
        fields = system.strptime(datestring.decode(), pattern)
    except (ValueError, re.error):
        return None
    moment: Any = tuple(fields)
    if not DATE_DIRECTIVE.search(pattern):
        today = broken_down(now(run), options)
        moment = (*today[:3], *moment[3:6], *today[6:8], -1)
    try:
        if "%z" in pattern:
            return float(timegm(moment) - fields.tm_gmtoff)
        return float(timegm(moment)) if options and not options.local else system.mktime(moment)
    except (ValueError, OverflowError):
        return None
