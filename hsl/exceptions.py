"""The class Exception: what `catch` gets for a run-time error, and what scripts throw themselves."""

from __future__ import annotations

from hsl.builtins import Chapter, NativeObject, method
from hsl.errors import ScriptError, StackEntry, ThrownError
from hsl.source import Span
from hsl.values import Value, to_text

chapter = Chapter("Exception")


@chapter.object("Exception")
class ScriptException(NativeObject):
    """An error with a message and the place in the script where it came up.

    `catch` gets one for a run-time error; scripts create their own to throw them.

    Example:
        try { throw Exception("no"); }
        catch ($error) { echo $error->message(); }  // expect: no
    """

    def __init__(self, message: bytes = b"") -> None:
        super().__init__()
        self.text = message
        self.span: Span | None = None
        self.stack: list[StackEntry] = []

    @method("message")
    def message(self) -> bytes:
        """Return what went wrong.

        Example:
            try { echo pcre_match("(", ""); } catch ($error) { echo $error->message(); }
        """
        return self.text

    @method("file")
    def file(self) -> bytes | None:
        """Return the name of the script file, or none before the exception is thrown.

        Example:
            echo Exception("no")->file();  // expect: none
        """
        return None if self.span is None else self.span.file.encode("utf-8", "surrogateescape")

    @method("line")
    def line(self) -> float | None:
        """Return the line, counted from 1, or none before the exception is thrown.

        Example:
            try { throw Exception("no"); } catch ($error) { echo $error->line(); }  // expect: 1
        """
        return None if self.span is None else float(self.span.line)

    @method("column")
    def column(self) -> float | None:
        """Return the column in characters, counted from 1, or none before the exception is thrown.

        Example:
            try { throw Exception("no"); } catch ($error) { echo $error->column(); }  // expect: 7
        """
        return None if self.span is None else float(self.span.column)

    @method("toString")
    def to_string(self) -> bytes:
        """Return `file:line:column: message`; before the exception is thrown the message alone.

        Example:
            echo Exception("no")->toString();  // expect: no
        """
        place = b"" if self.span is None else f"{self.span}: ".encode("utf-8", "surrogateescape")
        return place + self.text


def thrown(value: Value, span: Span) -> ScriptError:
    """The error of a `throw`. An exception keeps the place and the calls of its first one."""
    if not isinstance(value, ScriptException):
        return ThrownError(value, to_text(value), span)
    first = value.span is None
    value.span = value.span or span
    error = ThrownError(value, value.text.decode("utf-8", "replace"), value.span)
    error.stack = [] if first else list(value.stack)
    return error


def caught(error: ScriptError) -> Value:
    """What `catch` gets: the thrown value, or an Exception that tells of a run-time error."""
    if isinstance(error, ThrownError):
        value: Value = error.value  # type: ignore[assignment]
        if isinstance(value, ScriptException):
            value.stack = error.stack
        return value
    exception = ScriptException(error.message.encode("utf-8", "surrogateescape"))
    exception.span = error.span
    exception.stack = error.stack
    return exception
