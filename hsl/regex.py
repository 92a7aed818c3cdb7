"""Regular expressions: a pattern's bytes come in, a compiled Pattern goes out (reference: "operators", regex).

The one file that knows the `pcre2` package. Its low-level layer is used because the public one always switches on
PCRE2_ALT_BSUX, which takes hexadecimal escapes in braces away. Matching holds the interpreter's lock, so each attempt
is limited by a prefix that the pattern cannot raise; the loop over several matches is ours, and callbacks run between
matches, never inside.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from pcre2 import LibraryError, PatternError, _cy

from hsl.errors import ScriptError
from hsl.values import MAX_ITEMS, MAX_STRING, Array, Function, Value, concatenation_text, share

if TYPE_CHECKING:
    from hsl.run import Run

MAX_PATTERN: Final = 64 * 1024  # bytes of one pattern
# Steps, nested steps, KiB: about 15 ms.
LIMITS: Final = b"(*LIMIT_MATCH=1000000)(*LIMIT_DEPTH=1000000)(*LIMIT_HEAP=65536)"

# PCRE's compiler has 32 KiB of stack for its fast code; what needs more is matched by the slow code, whose time grows
# with the square of the subject for some patterns (15 s for 100 kB): only short subjects get that second try.
SLOW_SUBJECT: Final = 64 * 1024

UNGREEDY: Final = 0x00040000  # PCRE2_UNGREEDY
INVALID_UTF: Final = 0x04000000  # PCRE2_MATCH_INVALID_UTF: bytes that are not UTF-8 match nothing, the rest does
ALT_BSUX: Final = 0x00000002  # PCRE2_ALT_BSUX
NOT_WANTED: Final = ALT_BSUX | int(_cy.CompileOption.UCP)  # \w \d \s stay ASCII, as PCRE_UTF8 has it
NOT_EMPTY_AT_START: Final = 0x00000008  # PCRE2_NOTEMPTY_ATSTART
OUT_OF_FAST_STACK: Final = -46  # PCRE2_ERROR_JIT_STACKLIMIT

MODIFIERS: Final = {
    ord("i"): int(_cy.CompileOption.CASELESS),
    ord("m"): int(_cy.CompileOption.MULTILINE),
    ord("u"): int(_cy.CompileOption.UTF) | INVALID_UTF,
    ord("s"): int(_cy.CompileOption.DOTALL),
    ord("x"): int(_cy.CompileOption.EXTENDED),
    ord("U"): UNGREEDY,
    ord("X"): 0,  # PCRE_EXTRA: unknown escapes are errors, as they always are today
}
WATCHED: Final = 8  # matches between two looks at the clock

ENCAPSULATED: Final = re.compile(rb"/(.*)/([imusxUX]*)\Z", re.DOTALL)  # greedy: it ends at the last slash
REFERENCE: Final = re.compile(rb"\$([0-9]{1,2})")
CONTEXT: Final[Any] = _cy.create_match_context()
MATCH: Final[Any] = _cy.match
SPAN: Final[Any] = _cy.match_substring_span_bynumber  # start and end of a group; (-1, -1): it took no part


@lru_cache(maxsize=256)
def compile_pattern(text: bytes) -> Pattern:
    """The compiled pattern of `text`, bare or encapsulated as `/pattern/imusxUX`.

    Raises ScriptError: PCRE's message and the offset in the pattern, or a pattern over MAX_PATTERN bytes.
    """
    if len(text) > MAX_PATTERN:
        raise ScriptError(f"invalid regular expression: longer than {MAX_PATTERN} bytes")
    source, options = text, 0
    encapsulated = ENCAPSULATED.match(text)
    if encapsulated:
        source = encapsulated[1]
        for modifier in encapsulated[2]:
            options |= MODIFIERS[modifier]
    return Pattern(source, options)


class Pattern:
    """A compiled regular expression. All methods raise ScriptError when a match exceeds its limits.

    With the modifier `u` the subject is read as UTF-8; bytes that are not UTF-8 are matched by nothing.
    """

    __slots__ = ("code", "groups", "names", "options", "slow_code", "source")

    def __init__(self, source: bytes, options: int) -> None:
        self.source = source
        self.options: Final = options
        self.slow_code: Any = None
        self.code: Final = self.compile()
        try:
            _cy.jit_compile(self.code)
        except LibraryError:
            self.slow_code = self.code  # a pattern that PCRE cannot turn into fast code
        self.groups: Final[int] = _cy.pattern_capture_count(self.code)
        self.names: Final[dict[int, bytes]] = {
            number: name.encode() for name, number in _cy.pattern_name_dict(self.code).items()
        }

    def compile(self) -> Any:
        try:
            return _cy.compile(LIMITS + self.source, self.options, NOT_WANTED)
        except PatternError as error:
            reason = str(error.msg).split("; ", 1)[-1]
            offset = max(0, error.pos - len(LIMITS))
            raise ScriptError(f"invalid regular expression: {reason} at offset {offset}") from None

    def matches(self, subject: bytes) -> bool:
        """`=~`: whether the pattern matches anywhere in the subject."""
        return self.search(subject, 0, 0) is not None

    def match(self, subject: bytes) -> Array:
        """pcre_match: the first match at 0, each group by number, named groups under their name as well.

        Groups after the last one that took part are left out, those before it are "". Empty if nothing matches.
        """
        data = self.search(subject, 0, 0)
        if data is None:
            return Array()
        values: list[Value] = []
        took_part = 0
        for number in range(self.groups + 1):
            start, end = SPAN(data, subject, number)
            if start >= 0:
                took_part = number + 1
            values.append(subject[start:end] if start >= 0 else b"")
        del values[took_part:]
        return self.grouped(values)

    def match_all(self, subject: bytes, run: Run | None = None) -> Array:
        """pcre_match_all: for each group (0: the whole match) the array of what it took, "" where it took no part.

        Empty if nothing matches. With a run its budget of time is watched.
        """
        columns: list[list[Value]] = [[] for _ in range(self.groups + 1)]
        matches = Matches(self, subject, run)
        while matches.advance():
            if len(columns[0]) >= MAX_ITEMS // len(columns):
                raise ScriptError(f"array exceeds {MAX_ITEMS} items")
            for number in range(len(columns)):
                columns[number].append(matches.group(number))
        return self.grouped([Array(column) for column in columns]) if columns[0] else Array()

    def replace(self, replacement: bytes | Function, run: Run | None, subject: bytes, limit: int = 0) -> bytes:
        """pcre_replace: the subject with at most `limit` matches replaced (0 or less: all of them).

        In a string only `$0` … `$n` (one or two digits, of groups that exist) are special; everything else, also a
        backslash, stands for itself. A function gets the array of `match` and gives the text.
        """
        fixed = isinstance(replacement, bytes) and b"$" not in replacement
        template = [] if fixed or isinstance(replacement, Function) else self.parse_template(replacement)
        parts: list[bytes] = []
        size = len(subject)
        done = count = 0
        matches = Matches(self, subject, run)
        while matches.advance():
            parts.append(subject[done : matches.start])
            if isinstance(replacement, Function):
                added = concatenation_text(replacement.call_one(run, matches.groups()))
            else:
                added = replacement if fixed else b"".join([matches.piece(part) for part in template])
            parts.append(added)
            size += len(added) + matches.start - matches.end
            if size > MAX_STRING:
                raise ScriptError(f"string exceeds {MAX_STRING} bytes")
            done = matches.end
            count += 1
            if count == limit:
                break
        if not parts:
            return subject
        parts.append(subject[done:])
        return b"".join(parts)

    def split(self, subject: bytes, limit: int = 0, run: Run | None = None) -> Array:
        """The parts of the subject between the matches, at most `limit` of them (0 or less: all); empty matches at
        the ends and right after another match do not split."""
        parts: list[Value] = []
        done = 0
        matches = Matches(self, subject, run)
        while matches.advance():
            start = matches.start
            if start == matches.end and (start == done or start == len(subject)):
                continue
            if len(parts) + 1 == limit:
                break
            if len(parts) >= MAX_ITEMS - 1:
                raise ScriptError(f"array exceeds {MAX_ITEMS} items")
            parts.append(subject[done:start])
            done = matches.end
        parts.append(subject[done:])
        return Array(parts)

    def search(self, subject: bytes, offset: int, options: int) -> Any:
        """PCRE's data of the first match at or after an offset, or None.

        Raises ScriptError when the match exceeds its limits.
        """
        try:
            return MATCH(self.code, subject, len(subject), offset, CONTEXT, options)[0]
        except LibraryError as error:
            if error.code != OUT_OF_FAST_STACK:
                raise ScriptError(f"regular expression: {error.msg}") from None
            return self.search_slowly(subject, offset, options)

    def search_slowly(self, subject: bytes, offset: int, options: int) -> Any:
        if len(subject) - offset > SLOW_SUBJECT:
            raise ScriptError("regular expression: it needs too much memory on this subject")
        if self.slow_code is None:
            self.slow_code = self.compile()
        try:
            return MATCH(self.slow_code, subject, len(subject), offset, CONTEXT, options)[0]
        except LibraryError as error:
            raise ScriptError(f"regular expression: {error.msg}") from None

    def grouped(self, values: list[Value]) -> Array:
        """Values by group number, and before each also under the group's name."""
        if not self.names:
            return Array(values)
        array = Array()
        for number, value in enumerate(values):
            name = self.names.get(number)
            if name is not None:
                array.set(name, share(value))
            array.set(float(number), value)
        return array

    def parse_template(self, replacement: bytes) -> list[bytes | int]:
        """A replacement as literal texts and group numbers."""
        parts: list[bytes | int] = []
        done = 0
        for reference in REFERENCE.finditer(replacement):
            digits = reference[1]
            if int(digits) > self.groups:
                digits = digits[:1]
            if int(digits) > self.groups:
                continue
            parts += [replacement[done : reference.start()], int(digits)]
            done = reference.start() + 1 + len(digits)
        parts.append(replacement[done:])
        return parts


class Matches:
    """Every match of a pattern in order; after an empty one the next is not empty at the same place (as in Perl).

    With a run its budget of time is watched, and others get their turns.
    """

    __slots__ = ("count", "data", "end", "pattern", "run", "start", "subject")

    def __init__(self, pattern: Pattern, subject: bytes, run: Run | None) -> None:
        self.pattern = pattern
        self.subject: Final = subject
        self.run: Final = run
        self.data: Any = None
        self.start = -1
        self.end = 0
        self.count = 0

    def advance(self) -> bool:
        """Go to the next match; false if there is none. Raises ScriptError over the limits."""
        self.count += 1
        if self.run is not None and self.count % WATCHED == 1:
            self.run.give_turn()
        options = NOT_EMPTY_AT_START if self.start == self.end else 0
        self.data = self.pattern.search(self.subject, self.end, options)
        if self.data is None:
            return False
        self.start, self.end = SPAN(self.data, self.subject, 0)
        return True

    def group(self, number: int) -> bytes:
        start, end = SPAN(self.data, self.subject, number)
        return self.subject[start:end] if start >= 0 else b""

    def groups(self) -> Array:
        return self.pattern.grouped([self.group(number) for number in range(self.pattern.groups + 1)])

    def piece(self, part: bytes | int) -> bytes:
        """A piece of a replacement's template."""
        return part if isinstance(part, bytes) else self.group(part)
