"""The log: one structured line per event on standard error. RFC 3339 UTC with milliseconds, `key=value`, escaped.

Levels: debug (a script's echo), info (verdicts, attempts), warning (degraded but going on), error (a script or a peer's
failure that an administrator should look at), critical (cannot go on). Never bodies, never credentials. What a peer or
a script can make long is cut.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from functools import lru_cache

LEVELS = ("debug", "info", "warning", "error", "critical")
MAX_VALUE = 8192  # characters of one value that are shown
SHORT = 64  # characters of a value whose form is remembered
PLAIN = re.compile(r"[A-Za-z0-9_.:@/<>+=\[\],*-]+\Z")


def format_event(level: str, event: str, fields: dict[str, object], now: float | None = None) -> str:
    """The line of an event; fields that are None or empty are left out."""
    now = time.time() if now is None else now
    line = f"{stamp(int(now))}.{int(now * 1000) % 1000:03d}Z {level} {event}"
    for key, value in fields.items():
        if value or (value is not None and not isinstance(value, str | bytes)):
            line += f" {key}={shown(value) if type(value) is str and len(value) <= SHORT else format_value(value)}"
    return line


@lru_cache(2)
def stamp(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def format_value(value: object) -> str:
    kind = type(value)
    if kind is int:
        return str(value)
    if kind is float:
        return f"{value:.3f}"
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    if len(text) > MAX_VALUE:
        text = f"{text[:MAX_VALUE]} ... {len(text) - MAX_VALUE} more"
    return shown.__wrapped__(text)


@lru_cache(1024)
def shown(text: str) -> str:
    """A text as it stands in a line. Most short ones stand in every other line (stages, servers, replies)."""
    return text if PLAIN.match(text) else json.dumps(text)


class Log:
    """Writes events at or above a level. `write` takes a whole line without its newline; `worker` ends each line."""

    def __init__(
        self, level: str = "info", write: Callable[[str], None] | None = None, *, worker: int | None = None
    ) -> None:
        self.threshold = LEVELS.index(level)
        self.tells = self.threshold <= LEVELS.index("info")
        self.write = write or write_stderr
        self.always: dict[str, object] = {} if worker is None else {"worker": worker}

    def event(self, level: str, name: str, **fields: object) -> None:
        if LEVELS.index(level) >= self.threshold:
            self.write(format_event(level, name, fields | self.always))

    def debug(self, name: str, **fields: object) -> None:
        self.event("debug", name, **fields)

    def info(self, name: str, **fields: object) -> None:
        if self.tells:  # without another call: verdicts and attempts come here
            self.write(format_event("info", name, fields | self.always if self.always else fields))

    def warning(self, name: str, **fields: object) -> None:
        self.event("warning", name, **fields)

    def error(self, name: str, **fields: object) -> None:
        self.event("error", name, **fields)

    def critical(self, name: str, **fields: object) -> None:
        self.event("critical", name, **fields)


def write_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
