"""How a builtin function is called: a script's values come in, checked against the parameters, its result goes out.

What a parameter takes as it is, is a set of types, kept as bits. A call whose values all fit goes straight to the
implementation; everything else takes the general path, which converts and reports.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from mypy_extensions import i64

from hsl.errors import ScriptError
from hsl.run import Run
from hsl.values import Array, Function, Object, Value, type_name

if TYPE_CHECKING:
    from hsl.builtins import Options

STRING: Final = 1
NUMBER: Final = 2
BOOLEAN: Final = 4
ARRAY: Final = 8
FUNCTION: Final = 16
OBJECT: Final = 32
RESOURCE: Final = 64
NONE: Final = 128
ANYTHING: Final = 255
INTEGER: Final = 256  # a finite number, which is cut to an integer
BITS: Final = {
    "string": STRING,
    "number": NUMBER,
    "boolean": BOOLEAN,
    "array": ARRAY,
    "function": FUNCTION,
    "object": OBJECT,
    "resource": RESOURCE,
    "none": NONE,
    "any": ANYTHING,
}
UNFIT: Final[object] = object()
REQUIRED: Final[object] = object()


class OptionEntry:
    """One option of an options array: the attribute that holds it, and what it takes."""

    __slots__ = ("attribute", "fits", "has_none", "name", "types", "wants_int")

    def __init__(self, attribute: str, name: str, types: frozenset[str], wants_int: bool, has_none: bool) -> None:
        self.attribute: Final = attribute
        self.name = name
        self.types: Final = types
        self.wants_int: Final = wants_int
        self.has_none: Final = has_none  # none stands for its default
        self.fits: Final = fitting(types, wants_int)


def read_options(function: str, options: object, known: dict[Value, OptionEntry], array: Array) -> None:
    """Set on `options` what an array gives. Errors name function, option, wanted and got; unknown names are ignored."""
    entries = array.map
    if entries is None:
        return
    for name, value in entries.items():
        entry = known.get(name)
        if entry is None or (value is None and entry.has_none):
            continue
        given = fitted(entry.fits, value)
        if given is UNFIT:
            given = convert(value, entry.types, entry.wants_int, function, f"option {entry.name}")
        setattr(options, entry.attribute, given)


def fitting(types: frozenset[str], wants_int: bool) -> i64:
    """The bits of the types whose values are passed as they are."""
    fits: i64 = 0
    for name in types:
        fits |= BITS[name]
    return fits & ~NUMBER | INTEGER if wants_int else fits


class Parameter:
    """One parameter as scripts see it. `default` is REQUIRED where it has none."""

    __slots__ = ("default", "entries", "fits", "name", "options", "types", "variadic", "wants_int")

    def __init__(
        self,
        name: str,
        types: frozenset[str],
        wants_int: bool,
        default: Any,
        variadic: bool,
        options: type[Options] | None,
    ) -> None:
        self.name = name
        self.types: Final = types
        self.wants_int: Final = wants_int
        self.default: Final[Any] = default
        self.variadic = variadic
        self.options: Final = options
        self.entries: dict[Value, OptionEntry] | None = None  # of the options, once a call gave some
        self.fits: Final[i64] = self.fitting()

    def fitting(self) -> i64:
        """The bits of the types whose values are passed as they are; options are not."""
        fits = fitting(self.types, self.wants_int)
        if self.options is not None:
            return fits & ~ARRAY
        return fits | NONE if self.default is None else fits

    @property
    def required(self) -> bool:
        return self.default is REQUIRED and not self.variadic

    @property
    def wanted(self) -> str:
        return wanted(self.types)


class Builtin:
    """A declared function: a Python function, the parameters that scripts see, and its documentation.

    All calls raise ScriptError: wrong number or type of arguments, or what the function itself reports. An `async def`
    is awaited through the bridge. `call_none` … `call_four` are for plain counts: omitted parameters have a Python
    default that serves. (Subclasses in Python would make each of these calls a slow one.)
    """

    def __init__(
        self,
        name: str,
        implementation: Callable[..., Any],
        parameters: tuple[Parameter, ...],
        *,
        takes_run: bool,
        is_async: bool,
        chapter: str,
        result: str,
        doc: str,
        aliases: tuple[str, ...],
        stages: frozenset[str] | None,
        halts: bool,
        constant: bool,
        node: Any,
    ) -> None:
        self.name = name
        self.implementation: Final[Callable[..., Any]] = implementation
        self.parameters: Final[list[Parameter]] = list(parameters)
        self.takes_run: Final = takes_run
        self.is_async: Final = is_async
        self.chapter: Final = chapter
        self.result = result
        self.doc: Final = doc
        self.aliases = aliases
        self.stages = stages  # None: everywhere
        self.halts: Final = halts  # ends the script (a verdict)
        self.constant: Final = constant  # the result depends on the arguments alone: calls may be folded while loading
        self.node: Final[Any] = node  # the class of its calls (hsl.intrinsics), where that is not the general one
        self.minimum: Final = sum([1 for item in parameters if item.required])
        variadic = any(item.variadic for item in parameters)
        self.maximum: Final[int | None] = None if variadic else len(parameters)
        self.most: Final = sys.maxsize if variadic else len(parameters)
        self.first: i64 = self.fits(0)
        self.second: i64 = self.fits(1)
        self.third: i64 = self.fits(2)
        self.fourth: i64 = self.fits(3)

    @property
    def summary(self) -> str:
        """The first line of the documentation."""
        return self.doc.split("\n", 1)[0]

    @property
    def signature(self) -> str:
        """The reference's notation: `strpos(string s, string find, [number offset]) -> number`."""
        shown = []
        for parameter in self.parameters:
            text = f"{parameter.wanted} {parameter.name}"
            if parameter.variadic:
                text = f"...{parameter.name}"
            elif not parameter.required:
                text = f"[{text}]"
            shown.append(text)
        tail = f" -> {self.result}" if self.result != "none" else ""
        return f"{self.name}({', '.join(shown)}){tail}"

    def parameter(self, index: int) -> Parameter:
        """The parameter that takes an argument: the last one may take many."""
        return self.parameters[min(index, len(self.parameters) - 1)]

    def fits(self, index: int) -> i64:
        return self.parameter(index).fits if self.parameters else 0

    def is_plain(self, count: int) -> bool:
        """Whether calls with so many arguments need nothing for the parameters that they omit."""
        if self.arity_error(count) is not None:
            return False
        return all(item.options is None for item in self.parameters[count:])

    def arity_error(self, count: int, name: str | None = None) -> str | None:
        """What is wrong with a call of so many arguments, or None."""
        return arity_problem(name or self.name, count, self.minimum, self.maximum)

    def call_none(self, run: Run, name: str) -> Value:
        implementation = self.implementation
        return self.finish(run, implementation(run) if self.takes_run else implementation())

    def call_one(self, run: Run, name: str, value: Value) -> Value:
        first = fitted(self.first, value)
        if first is UNFIT:
            return self.call(run, [value], name)
        implementation = self.implementation
        return self.finish(run, implementation(run, first) if self.takes_run else implementation(first))

    def call_two(self, run: Run, name: str, value: Value, other: Value) -> Value:
        first = fitted(self.first, value)
        second = fitted(self.second, other)
        if first is UNFIT or second is UNFIT:
            return self.call(run, [value, other], name)
        implementation = self.implementation
        if self.takes_run:
            return self.finish(run, implementation(run, first, second))
        return self.finish(run, implementation(first, second))

    def call_three(self, run: Run, name: str, value: Value, other: Value, last: Value) -> Value:
        first = fitted(self.first, value)
        second = fitted(self.second, other)
        third = fitted(self.third, last)
        if first is UNFIT or second is UNFIT or third is UNFIT:
            return self.call(run, [value, other, last], name)
        implementation = self.implementation
        if self.takes_run:
            return self.finish(run, implementation(run, first, second, third))
        return self.finish(run, implementation(first, second, third))

    def call_four(self, run: Run, name: str, value: Value, other: Value, third: Value, last: Value) -> Value:
        given = fitted(self.first, value)
        second = fitted(self.second, other)
        behind = fitted(self.third, third)
        fourth = fitted(self.fourth, last)
        if given is UNFIT or second is UNFIT or behind is UNFIT or fourth is UNFIT:
            return self.call(run, [value, other, third, last], name)
        implementation = self.implementation
        if self.takes_run:
            return self.finish(run, implementation(run, given, second, behind, fourth))
        return self.finish(run, implementation(given, second, behind, fourth))

    def call(self, run: Run, arguments: list[Value], name: str | None = None, receiver: Object | None = None) -> Value:
        """Call with any arguments. Methods get their receiver."""
        implementation = self.implementation
        return self.finish(run, implementation(*self.prepare(run, arguments, name, receiver)))

    def prepare(
        self, run: Run, arguments: list[Value], name: str | None = None, receiver: Object | None = None
    ) -> list[object]:
        """What the implementation takes for any arguments."""
        count = len(arguments)
        if count < self.minimum or count > self.most:
            raise ScriptError(self.arity_error(count, name) or "")
        values: list[object] = [] if receiver is None else [receiver]
        if self.takes_run:
            values.append(run)
        declared = len(self.parameters)
        for index in range(count):
            parameter = self.parameters[index if index < declared else declared - 1]
            given = fitted(parameter.fits, arguments[index])
            if given is UNFIT:
                given = self.argument(name or self.name, index, arguments[index])
            values.append(given)
        for index in range(count, declared):
            parameter = self.parameters[index]
            if parameter.options is not None:
                values.append(parameter.options())
            elif not parameter.variadic:
                values.append(parameter.default)
        return values

    def argument(self, called: str, index: int, value: Value) -> object:
        """One argument that does not fit as it is, as the implementation takes it."""
        parameter = self.parameter(index)
        options = parameter.options
        if options is not None:
            if value is None and parameter.default is None:
                return options()
            if isinstance(value, Array):
                given = object.__new__(options)  # without values, its __init__ does nothing
                if parameter.entries is None:
                    parameter.entries = options.entries()
                read_options(called, given, parameter.entries, value)
                return given
        where = f"parameter {index + 1} ({parameter.name})"
        return convert(value, parameter.types, parameter.wants_int, called, where)

    def finish(self, run: Run, result: Any) -> Value:
        return cast(Value, run.wait(result) if self.is_async else result)


def fitted(fits: i64, value: Value) -> object:
    """The value as an implementation takes it, or UNFIT where its type is not among the given ones."""
    if fits == ANYTHING:
        return value
    if isinstance(value, bytes):
        bit: i64 = STRING
    elif isinstance(value, float):
        if fits & INTEGER and value - value == 0.0:
            return int(value)
        bit = NUMBER
    elif isinstance(value, Array):
        bit = ARRAY
    elif value is None:
        bit = NONE
    elif isinstance(value, bool):
        bit = BOOLEAN
    elif isinstance(value, Function):
        bit = FUNCTION
    else:
        bit = OBJECT if isinstance(value, Object) else RESOURCE
    return value if fits & bit else UNFIT


def convert(value: Value, types: frozenset[str], wants_int: bool, function: str, where: str) -> Any:
    """The value as the implementation wants it. Raises ScriptError naming function, parameter, wanted and got."""
    got = type_name(value)
    if got in types or "any" in types:
        if wants_int and isinstance(value, float):
            if value - value != 0.0:
                raise ScriptError(f"{function}(): {where}: wanted a finite number, got {value}")
            return int(value)
        return value
    if isinstance(value, bool) and "number" in types:
        return int(value) if wants_int else float(value)
    if isinstance(value, float) and "boolean" in types:
        return value != 0.0
    raise ScriptError(f"{function}(): {where}: wanted {wanted(types)}, got {got}")


def wanted(types: frozenset[str]) -> str:
    """`string or array`; none comes last."""
    return " or ".join(sorted(types - {"none"}) + sorted(types & {"none"}))


def arity_problem(name: str, count: int, least: int, most: int | None) -> str | None:
    """What is wrong with a call of so many arguments, or None."""
    if count < least:
        at_least = "at least " if most != least else ""
        return f"{name}() takes {at_least}{plural(least)}, got {count}"
    if most is not None and count > most:
        at_most = "at most " if most != least else ""
        return f"{name}() takes {at_most}{plural(most)}, got {count}"
    return None


def plural(count: int) -> str:
    return f"{count} argument" if count == 1 else f"{count} arguments"
