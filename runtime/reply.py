"""Every SMTP reply leaves through this file.

A Reply is checked and rendered in one place: text is split at newlines, CR, LF and control characters are removed,
the code's class is enforced, the enhanced code (RFC 2034, 3463) is put on each line. Never an exception's text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

Enhanced = tuple[int, int, int]
MAX_TEXT = 480  # RFC 5321 4.5.3.1.5: a reply line is at most 512 octets, code and CRLF included
MAX_LINES = 50
CLEAN = re.compile(rf"(?! )[ -~]{{1,{MAX_TEXT}}}(?<! )\Z")  # a line that needs nothing done to it
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply: code, optional enhanced code, and at least one line of text. `close` ends the session after it."""

    code: int
    lines: tuple[str, ...]
    enhanced: Enhanced | None = None
    close: bool = False

    def render(self, utf8: bool = False) -> bytes:
        """The reply's octets. Without `utf8` (SMTPUTF8 in force) other than ASCII becomes `?`."""
        prefix = "{}.{}.{} ".format(*self.enhanced) if self.enhanced else ""
        rendered = []
        for index, line in enumerate(self.lines):
            mark = " " if index == len(self.lines) - 1 else "-"
            text = f"{self.code}{mark}{prefix}{line}"
            text = text.rstrip(" ") if line or prefix else text  # "334 " keeps its space (RFC 4954 4)
            rendered.append(text.encode("utf-8" if utf8 else "ascii", "replace") + b"\r\n")
        return b"".join(rendered)

    def __str__(self) -> str:
        return self.render(utf8=True).decode().rstrip("\r\n")


def reply(code: int, text: str | Iterable[str], enhanced: Enhanced | None = None, *, close: bool = False) -> Reply:
    """A safe reply from any text. Raises ValueError for a code outside 200-599 or an enhanced class that differs."""
    if not 200 <= code <= 599:
        raise ValueError(f"{code} is not an SMTP reply code")
    if enhanced is not None and enhanced[0] != code // 100:
        raise ValueError(f"enhanced code {'.'.join(map(str, enhanced))} does not fit reply code {code}")
    if isinstance(text, str) and CLEAN.match(text):
        return Reply(code, (text,), enhanced, close)
    parts = [text] if isinstance(text, str) else list(text)
    lines: list[str] = []
    for part in parts:
        for line in re.split(r"\r\n|\r|\n", part):
            clean = UNPRINTABLE.sub("", line).strip()
            encoded = clean.encode("utf-8", "replace")
            lines.append(clean if len(encoded) <= MAX_TEXT else encoded[:MAX_TEXT].decode("utf-8", "ignore"))
    lines = lines[:MAX_LINES] or [""]
    return Reply(code, tuple(lines), enhanced, close)
