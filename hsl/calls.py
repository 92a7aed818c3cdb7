"""Nodes that call: builtins, the script's own functions, function values, methods, and classes."""

from __future__ import annotations

from typing import Final, TypeAlias

from hsl.builtins import Builtin
from hsl.errors import ScriptError
from hsl.functions import Declaration
from hsl.nodes import Frame, Node
from hsl.objects import ClassDeclaration, Instance, check_recursion
from hsl.paths import subscript
from hsl.source import Span
from hsl.values import Array, Function, Object, Value, share, type_name

MAX_ARGUMENTS: Final = 100_000  # of one call, spread ones included
Arguments: TypeAlias = list[tuple[Node, bool]]  # value and whether it is spread


def evaluate_arguments(frame: Frame, arguments: Arguments, shares: bool) -> list[Value]:
    """The values of a call's arguments, spread ones unpacked; shared when the callee will store them in variables."""
    values: list[Value] = []
    for node, spread in arguments:
        value = node.evaluate(frame)
        if not spread:
            if shares and node.aliases:
                share(value)
            values.append(value)
            continue
        if not isinstance(value, Array):
            raise ScriptError(f"... wants an array, got {type_name(value)}", node.span)
        if len(values) + len(value) > MAX_ARGUMENTS:
            raise ScriptError(f"a call takes at most {MAX_ARGUMENTS} arguments", node.span)
        values.extend([share(item) for item in value.values()])
    return values


class CallNode(Node):
    """What the `cache` statement can stand before."""

    __slots__ = ("arguments",)

    def __init__(self, span: Span, arguments: Arguments) -> None:
        super().__init__(span)
        self.arguments = arguments

    @property
    def qualified_name(self) -> str:
        """What `cache` knows the callee by, where it is known at load."""
        raise AssertionError

    def values(self, frame: Frame) -> list[Value]:
        return evaluate_arguments(frame, self.arguments, True)

    def invoke(self, frame: Frame, values: list[Value]) -> Value:
        raise AssertionError

    def evaluate(self, frame: Frame) -> Value:
        return self.invoke(frame, self.values(frame))


class CallBuiltin(CallNode):
    __slots__ = ("builtin", "name")

    def __init__(self, span: Span, name: str, builtin: Builtin, arguments: Arguments) -> None:
        super().__init__(span, arguments)
        self.name = name
        self.builtin = builtin

    @property
    def qualified_name(self) -> str:
        return f"builtin {self.builtin.name}"

    def values(self, frame: Frame) -> list[Value]:
        return evaluate_arguments(frame, self.arguments, False)

    def invoke(self, frame: Frame, values: list[Value]) -> Value:
        try:
            return self.builtin.call(frame.run, values, self.name)
        except ScriptError as error:
            raise self.located(error) from None


class CallScript(CallNode):
    """A call of a function that is known at load. `this` is passed on where a method calls its own object's."""

    __slots__ = ("declaration",)

    def __init__(self, span: Span, declaration: Declaration, arguments: Arguments) -> None:
        super().__init__(span, arguments)
        self.declaration = declaration

    @property
    def qualified_name(self) -> str:
        return f"{self.declaration.span.file}:{self.declaration.name}"

    def invoke(self, frame: Frame, values: list[Value]) -> Value:
        return self.declaration.invoke(frame.run, values, self.span)


class CallDirect(CallScript):
    """The same where the arguments are just the first slots of the callee: the plain case."""

    __slots__ = ("nodes",)

    def __init__(self, span: Span, declaration: Declaration, arguments: Arguments) -> None:
        super().__init__(span, declaration, arguments)
        self.nodes = [node for node, _ in arguments]

    def evaluate(self, frame: Frame) -> Value:
        declaration = self.declaration
        if not declaration.plain:
            return super().evaluate(frame)
        slots = declaration.blank[:]
        place = 0
        for node in self.nodes:
            value = node.evaluate(frame)
            if node.aliases:
                share(value)
            slots[place] = value
            place += 1  # noqa: SIM113  (enumerate would box it)
        return declaration.execute(Frame(frame.run, slots), self.span)


class Create(CallNode):
    """`Name(…)`: a new instance."""

    __slots__ = ("declaration",)

    def __init__(self, span: Span, declaration: ClassDeclaration, arguments: Arguments) -> None:
        super().__init__(span, arguments)
        self.declaration = declaration

    @property
    def qualified_name(self) -> str:
        return f"{self.declaration.span.file}:{self.declaration.name}"

    def invoke(self, frame: Frame, values: list[Value]) -> Value:
        return self.declaration.create(frame.run, values, self.span)


class CallValue(CallNode):
    """`$f(…)`, or a call of whatever an expression gives."""

    __slots__ = ("callee",)

    def __init__(self, span: Span, callee: Node, arguments: Arguments) -> None:
        super().__init__(span, arguments)
        self.callee = callee

    def evaluate(self, frame: Frame) -> Value:
        callee = self.callee.evaluate(frame)
        if not isinstance(callee, Function):
            raise ScriptError(f"only functions can be called, got {type_name(callee)}", self.span)
        return self.call(frame, callee, self.values(frame))

    def call(self, frame: Frame, callee: Function, values: list[Value]) -> Value:
        try:
            return callee.call(frame.run, values)
        except ScriptError as error:
            raise self.located(error) from None


class CallMethod(CallValue):
    """`$object->name(…)` and `$object["name"](…)`; `callee` is the object, or the array that holds a function."""

    __slots__ = ("key",)

    def __init__(self, span: Span, base: Node, key: Node, arguments: Arguments) -> None:
        super().__init__(span, base, arguments)
        self.key = key

    @property
    def qualified_name(self) -> str:
        return "method"

    def evaluate(self, frame: Frame) -> Value:
        base = self.callee.evaluate(frame)
        key = self.key.evaluate(frame)
        if isinstance(base, Instance):
            try:
                method = base.method(key, frame.this)
            except ScriptError as error:
                raise self.located(error) from None
            if method is not None:
                return self.call_method(frame, base, method)
        if isinstance(base, Object):
            values = self.values(frame)
            try:
                return base.invoke(frame.run, key, values, frame.this)
            except ScriptError as error:
                raise self.located(error) from None
        callee = subscript(base, key, frame.this)
        if not isinstance(callee, Function):
            raise ScriptError(f"only functions can be called, got {type_name(callee)}", self.span)
        return self.call(frame, callee, self.values(frame))

    def call_method(self, frame: Frame, base: Instance, method: Declaration) -> Value:
        values = self.values(frame)
        run = frame.run
        try:
            check_recursion(run, method)
        except ScriptError as error:
            raise self.located(error) from None
        return method.invoke(run, values, self.span, base)
