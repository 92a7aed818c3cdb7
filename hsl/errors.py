"""The whole error tree of the language.

HslError            anything wrong with a script
  CompileError      found before it runs: carries every Diagnostic of the script at once
  ScriptError       found while it runs: message, place, call stack
    ThrownError     what a script threw and did not catch
    BudgetError     steps, wall time, call depth or value size exceeded; a script cannot catch it
Halt                not an error: ends a script on purpose (a verdict); nothing in a script can catch it
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mypy_extensions import mypyc_attr

from hsl.source import Span, printable


@mypyc_attr(allow_interpreted_subclasses=True)
class HslError(Exception):
    """The base of everything that is wrong with a script."""


class Diagnostic(NamedTuple):
    """One finding of the parser or the compiler. `code` is a stable word; every syntax error has the code `syntax`."""

    severity: str  # error, warning or note
    code: str
    message: str
    span: Span
    hint: str | None = None

    def render(self) -> str:
        """`file:line:column: error: message`, the source line, a caret, and the hint if there is one."""
        text = f"{self.span}: {self.severity}: {printable(self.message)}\n{indent(self.span.excerpt())}"
        return f"{text}\n    hint: {self.hint}" if self.hint else text


@mypyc_attr(allow_interpreted_subclasses=True)
class CompileError(HslError):
    """A script that does not load. `diagnostics` holds all errors found (and the warnings), in order of place."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join(item.render() for item in self.diagnostics))

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        return tuple(item for item in self.diagnostics if item.severity == "error")


class StackEntry(NamedTuple):
    """One call on the script's stack: the called function and the place of the call."""

    function: str
    span: Span | None


@mypyc_attr(allow_interpreted_subclasses=True)
class ScriptError(HslError):
    """A run-time error of a script. The innermost node that knows its place sets `span`; frames add to `stack`."""

    def __init__(self, message: str, span: Span | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.span = span
        self.hint = hint
        self.stack: list[StackEntry] = []

    def __str__(self) -> str:
        return f"{self.span}: {self.message}" if self.span else self.message

    def render(self) -> str:
        """The error with its source line, caret, hint and call stack."""
        if self.span is None:
            lines = [f"error: {self.message}"]
        else:
            lines = [f"{self.span}: error: {self.message}", indent(self.span.excerpt())]
        if self.hint:
            lines.append(f"    hint: {self.hint}")
        lines += [f"    in {entry.function}() called at {entry.span}" for entry in self.stack]
        return "\n".join(lines)


class ThrownError(ScriptError):
    """A script's own `throw`, on its way to a `catch`. `value` is what it threw (a hsl.values.Value)."""

    def __init__(self, value: object, message: str, span: Span) -> None:
        super().__init__(f"uncaught exception: {message}", span)
        self.value = value


class BudgetError(ScriptError):
    """A script that exceeded one of its budgets; it cannot be caught by the script."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Halt(BaseException):
    """Ends a script on purpose. Verdicts derive from it; like the cancellation of a task it is not an Exception.

    The innermost statement sets `span`.
    """

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.span: Span | None = None


class Diagnostics:
    """Collects findings; `check` raises them all at once."""

    def __init__(self) -> None:
        self.items: list[Diagnostic] = []

    def error(self, code: str, message: str, span: Span, hint: str | None = None) -> None:
        self.items.append(Diagnostic("error", code, message, span, hint))

    def warning(self, code: str, message: str, span: Span, hint: str | None = None) -> None:
        self.items.append(Diagnostic("warning", code, message, span, hint))

    def note(self, code: str, message: str, span: Span, hint: str | None = None) -> None:
        """Something that works, and has a better form today: shown by `hsl check --strict` only."""
        self.items.append(Diagnostic("note", code, message, span, hint))

    def check(self) -> None:
        """Sort by place, and raise CompileError if there is any error."""
        self.items.sort(key=lambda item: (item.span.file, item.span.start))
        if any(item.severity == "error" for item in self.items):
            raise CompileError(self.items)


def near(name: str, names: Iterable[str], form: str = "did you mean {}?") -> str | None:
    """A hint that names the nearest of `names`, or None."""
    from difflib import get_close_matches  # a run without mistakes does without it

    names = list(names)
    matches = get_close_matches(name, names, n=1, cutoff=0.6)
    if not matches:
        folded = {item.lower(): item for item in names}
        matches = [folded[item] for item in get_close_matches(name.lower(), list(folded), n=1, cutoff=0.6)]
    return form.format(matches[0]) if matches else None


def indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.split("\n"))
