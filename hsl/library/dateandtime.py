"""Chapter "Date and time": clocks, sleep and date formats. Times are UTC seconds since 1970, with decimals."""

from __future__ import annotations

import math
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
PARSED_DIRECTIVE = re.compile(r"%[A-Za-z%+]")
DATE_DIRECTIVE = re.compile(r"(?<!%)(?:%%)*%[aAbBcdGjmuUVwWxyY]")
WRITTEN = {"%+": "%a %b %e %H:%M:%S %Z %Y", "%v": "%e-%b-%Y"}  # BSD's own
PARSED = {
    "%D": "%m/%d/%y",
    "%F": "%Y-%m-%d",
    "%R": "%H:%M",
    "%T": "%H:%M:%S",
    "%r": "%I:%M:%S %p",
    "%e": "%d",
    "%h": "%b",
    "%k": "%H",
    "%l": "%I",
    "%n": " ",
    "%t": " ",
    "%v": "%d-%b-%Y",
    "%+": "%a %b %d %H:%M:%S %Z %Y",
}
UNIX_TIME = re.compile(r"-?[0-9]{1,15}")
AMOUNT = rb"([0-9]{1,15}(?:\.[0-9]{1,15})?)"
SECONDS = re.compile(AMOUNT)
DURATION = re.compile(rb"(?:%bd)?\s*(?:%bh)?\s*(?:%bm)?\s*(?:%bs)?" % (AMOUNT, AMOUNT, AMOUNT, AMOUNT))


def now(run: Run) -> float:
    return run.host.time() if isinstance(run.host, KeepsTime) else system.time()


@chapter.function("executiontime")
def executiontime(run: Run) -> float:
    """Return the seconds since the script began, with decimals.

    Example:
        echo executiontime() < 30;  // expect: true
    """
    return system.monotonic() - run.started


@chapter.function("sleep")
def sleep(run: Run, seconds: float) -> float:
    """Pause the script and return the seconds slept. It sleeps no longer than its budget of time lasts.

    Other scripts run meanwhile.

    Example:
        echo sleep(0.01) >= 0.01;  // expect: true
    """
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
    """Return the UTC seconds since 1970-01-01T00:00:00Z, with decimals.

    Example:
        echo time() > 1700000000;  // expect: true
    """
    return now(run)


@chapter.function("timelocal")
def timelocal(run: Run) -> float:
    """Return the seconds since 1970-01-01T00:00:00Z, moved by the offset of the local timezone.

    Example:
        echo round((timelocal() - time()) / 900) * 900;
    """
    seconds = now(run)
    return seconds + system.localtime(seconds).tm_gmtoff


@chapter.function("uptime")
def uptime() -> float:
    """Return the monotonic seconds since the system was started, with decimals.

    Example:
        $begun = uptime();
        echo uptime() >= $begun;  // expect: true
    """
    return system.clock_gettime(system.CLOCK_BOOTTIME) if hasattr(system, "CLOCK_BOOTTIME") else system.monotonic()


class TimeOptions(Options):
    local: bool = option(True, "Use the local timezone instead of UTC.")


def broken_down(seconds: float, options: TimeOptions | None) -> system.struct_time:
    """Raises ValueError, OverflowError or OSError for times that no calendar has."""
    return system.gmtime(seconds) if options and not options.local else system.localtime(seconds)


@chapter.function("strftime")
def strftime(run: Run, format: bytes, time: float | None = None, options: TimeOptions | None = None) -> bytes:
    """Return a time (by default now) in the given strftime(3) format; at most 100 bytes, the rest is cut off.

    `time` is in UTC seconds since 1970. What is no directive stays as it is, byte by byte. Raises an error for a format
    of more than 1,000 bytes, and for a time that no calendar has.

    Example:
        echo strftime("%Y-%m-%dT%H:%M:%SZ", 1425470460, ["local" => false]);  // expect: 2015-03-04T12:01:00Z
        echo strftime("%a, %d %b %Y %T %z");
    """
    if len(format) > MAX_FORMAT:
        raise ScriptError(f"strftime(): parameter 1 (format): longer than {MAX_FORMAT} bytes")
    seconds = now(run) if time is None else time
    try:
        fields = broken_down(seconds, options)
    except (ValueError, OverflowError, OSError):
        raise ScriptError("strftime(): parameter 2 (time): no such date") from None

    def directive(match: re.Match[bytes]) -> bytes:
        if match[0] == b"%s":
            return b"%d" % math.floor(seconds)  # the C library's would take the fields for local ones
        written = match[0].decode("ascii")
        return system.strftime(WRITTEN.get(written, written), fields).encode("utf-8", "replace")

    return DIRECTIVE.sub(directive, format)[:MAX_DATE]


@chapter.function("strptime")
def strptime(run: Run, datestring: bytes, format: bytes, options: TimeOptions | None = None) -> float | None:
    """Return the UTC seconds of a date written in the given strftime(3) format, or none if it is not.

    A format without a date means today. A date that names its offset (%z), or GMT or UTC (%Z), is taken by it, any
    other by the option. The date is UTF-8 text of at most 1,000 bytes, the format has at most 100.

    Example:
        echo strptime("2015-03-04 12:01", "%Y-%m-%d %H:%M", ["local" => false]);  // expect: 1425470460
        echo strptime("Wed, 04 Mar 2015 13:01:00 +0100", "%a, %d %b %Y %T %z");  // expect: 1425470460
        echo strptime("tomorrow", "%F");  // expect: none
    """
    if len(format) > MAX_DATE or len(datestring) > MAX_FORMAT:
        return None
    try:
        pattern = PARSED_DIRECTIVE.sub(expanded, format.decode())
        text = datestring.decode().lstrip()
        if pattern == "%s":
            return float(text) if UNIX_TIME.fullmatch(text) else None
        fields = system.strptime(text, pattern)
    except (ValueError, re.error):
        return None
    moment: Any = tuple(fields)
    if not DATE_DIRECTIVE.search(pattern):
        today = broken_down(now(run), options)
        moment = (*today[:3], *moment[3:6], *today[6:8], -1)
    return moment_seconds(moment, fields, local=options is None or options.local)


def expanded(match: re.Match[str]) -> str:
    """A directive in terms of those that Python reads."""
    return PARSED.get(match[0], match[0])


def moment_seconds(moment: Any, fields: Any, *, local: bool) -> float | None:
    """The UTC seconds of a moment. `fields` are what was read: they know about a timezone."""
    from calendar import timegm

    try:
        if fields.tm_gmtoff is not None:
            return float(timegm(moment) - fields.tm_gmtoff)
        utc = fields.tm_zone is not None and fields.tm_zone.upper() in ("GMT", "UTC")
        return system.mktime(moment) if local and not utc else float(timegm(moment))
    except (ValueError, OverflowError):
        return None


@chapter.function("strpduration", constant=True)
def strpduration(during: bytes) -> float | None:
    """Return the seconds of a duration written as days, hours, minutes and seconds (`1d2h3m4s`), or none if it is not.

    Each part may be left out, and may have decimals; blanks may stand between them. A number alone is seconds.

    Example:
        echo strpduration("1h30m");  // expect: 5400
        echo strpduration("1.5d");  // expect: 129600
        echo strpduration("soon");  // expect: none
    """
    if len(during) > MAX_DATE:
        return None
    text = during.strip()
    if SECONDS.fullmatch(text):
        return float(text)
    match = DURATION.fullmatch(text)
    if match is None or not text:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
