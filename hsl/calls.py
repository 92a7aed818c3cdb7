"""Nodes that call: builtins, the script's own functions, function values, methods, and classes."""

from __future__ import annotations

from typing import Final, TypeAlias

from hsl.errors import ScriptError
from hsl.functions import Declaration, ScriptFunction
from hsl.invocation import Builtin
from hsl.nodes import Constant, Frame, Node
from hsl.objects import ClassDeclaration, Instance
from hsl.paths import subscript
from hsl.run import HEAVY, WORTH, Run
from hsl.slots import Cell
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

    __slots__ = ("arguments", "count", "first", "nodes", "second", "spreads")

    def __init__(self, span: Span, arguments: Arguments) -> None:
        super().__init__(span)
        self.arguments: Final = arguments
        self.spreads: Final = any(spread for _, spread in arguments)
        self.nodes: Final = [Shared(node) if node.aliases else node for node, _ in arguments]  # for slots of the callee
        self.count = len(self.nodes)
        self.first: Node = self.nodes[0] if self.count > 0 else self
        self.second: Node = self.nodes[1] if self.count > 1 else self

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
    """A call of a builtin. The hottest ones have subclasses (hsl.intrinsics) with their own `one`, `two`, `three`."""

    __slots__ = ("builtin", "fourth", "name", "third")

    def __init__(self, span: Span, name: str, builtin: Builtin, arguments: Arguments) -> None:
        super().__init__(span, arguments)
        self.name = name
        self.builtin: Final = builtin
        nodes = [node for node, _ in arguments]  # not shared: builtins store nothing
        if self.spreads or self.count > 4 or not builtin.is_plain(self.count):
            self.count = -1  # through `call`
        self.first = nodes[0] if len(nodes) > 0 else self
        self.second = nodes[1] if len(nodes) > 1 else self
        self.third: Node = nodes[2] if len(nodes) > 2 else self
        self.fourth: Node = nodes[3] if len(nodes) > 3 else self

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

    def prepare(self, frame: Frame) -> list[object]:
        """What the implementation is called with."""
        return self.builtin.prepare(frame.run, self.values(frame), self.name)

    def evaluate(self, frame: Frame) -> Value:
        count = self.count
        if count < 0:
            return self.invoke(frame, self.values(frame))
        first = self.first.evaluate(frame) if count > 0 else None
        second = self.second.evaluate(frame) if count > 1 else None
        third = self.third.evaluate(frame) if count > 2 else None
        fourth = self.fourth.evaluate(frame) if count > 3 else None
        if isinstance(first, bytes) and len(first) > HEAVY:
            frame.run.fuel -= len(first) >> WORTH
        if isinstance(third, bytes) and len(third) > HEAVY:  # the subject of str_replace() and the like
            frame.run.fuel -= len(third) >> WORTH
        try:
            if count == 1:
                return self.one(frame.run, first)
            if count == 2:
                return self.two(frame.run, first, second)
            if count == 3:
                return self.three(frame.run, first, second, third)
            if count == 4:
                return self.builtin.call_four(frame.run, self.name, first, second, third, fourth)
            return self.builtin.call_none(frame.run, self.name)
        except ScriptError as error:
            raise self.located(error) from None

    def one(self, run: Run, first: Value) -> Value:
        return self.builtin.call_one(run, self.name, first)

    def two(self, run: Run, first: Value, second: Value) -> Value:
        return self.builtin.call_two(run, self.name, first, second)

    def three(self, run: Run, first: Value, second: Value, third: Value) -> Value:
        return self.builtin.call_three(run, self.name, first, second, third)


class CallScript(CallNode):
    """A call of a function that is known at load. `this` is passed on where a method calls its own object's."""

    __slots__ = ("declaration",)

    def __init__(self, span: Span, declaration: Declaration, arguments: Arguments) -> None:
        super().__init__(span, arguments)
        self.declaration: Final = declaration

    @property
    def qualified_name(self) -> str:
        return f"{self.declaration.span.file}:{self.declaration.name}"

    def invoke(self, frame: Frame, values: list[Value]) -> Value:
        return self.declaration.invoke(frame.run, values, self.span)


class CallDirect(CallScript):
    """The same where the arguments are just the first slots of the callee: the plain case."""

    __slots__ = ()

    def evaluate(self, frame: Frame) -> Value:
        declaration = self.declaration
        if not declaration.plain:
            return super().evaluate(frame)
        return call_direct(self, frame, declaration, None)


def call_direct(
    call: CallNode, frame: Frame, declaration: Declaration, this: Object | None, cells: list[Cell] | None = None
) -> Value:
    """Fill the slots of a plain function, and run it. All arguments come before the first slot: they may call it."""
    count = call.count
    if count > 2:
        values = [node.evaluate(frame) for node in call.nodes]
        inner = declaration.activate(frame.run, call.span)
        slots = inner.slots
        for place in range(count):
            slots[place] = values[place]
    elif count > 0:
        first = call.first.evaluate(frame)
        second = call.second.evaluate(frame) if count > 1 else None
        inner = declaration.activate(frame.run, call.span)
        slots = inner.slots
        slots[0] = first
        if count > 1:
            slots[1] = second
    else:
        inner = declaration.activate(frame.run, call.span)
    return declaration.enter(inner, count, call.span, this, cells)


class Shared(Node):
    """An argument that comes out of a variable, and goes into one of the callee's."""

    __slots__ = ("operand",)

    def __init__(self, operand: Node) -> None:
        super().__init__(operand.span)
        self.operand: Final = operand

    def evaluate(self, frame: Frame) -> Value:
        value = self.operand.evaluate(frame)
        if isinstance(value, Array):
            value.shared = True
        return value


class Create(CallNode):
    """`Name(…)`: a new instance."""

    __slots__ = ("declaration",)

    def __init__(self, span: Span, declaration: ClassDeclaration, arguments: Arguments) -> None:
        super().__init__(span, arguments)
        self.declaration: Final = declaration

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
        self.callee: Final = callee

    def evaluate(self, frame: Frame) -> Value:
        callee = self.callee.evaluate(frame)
        if isinstance(callee, ScriptFunction):
            declaration = callee.declaration
            fits = declaration.plain and declaration.required <= self.count <= declaration.most and not self.spreads
            if fits and frame.run.home is declaration.program:
                return call_direct(self, frame, declaration, callee.this, callee.cells)
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

    __slots__ = ("found", "is_private", "key", "name", "seen")

    def __init__(self, span: Span, base: Node, key: Node, arguments: Arguments) -> None:
        super().__init__(span, base, arguments)
        self.key: Final = key
        self.name: Value = key.value if isinstance(key, Constant) else None
        self.seen: ClassDeclaration | None = None  # the class of the last object, and what was found there
        self.found: Declaration | None = None
        self.is_private = False

    @property
    def qualified_name(self) -> str:
        return "method"

    def evaluate(self, frame: Frame) -> Value:
        base = self.callee.evaluate(frame)
        if isinstance(base, Instance) and self.name is not None:
            if base.declaration is not self.seen:
                self.look_up(base.declaration)
            if self.found is not None:
                return self.call_method(frame, base, self.found)
        key = self.key.evaluate(frame)
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

    def look_up(self, declaration: ClassDeclaration) -> None:
        self.seen = declaration
        self.found = declaration.methods.get(self.name)
        self.is_private = self.name in declaration.private

    def call_method(self, frame: Frame, base: Instance, method: Declaration) -> Value:
        if self.is_private and frame.this is not base:
            try:
                base.check_access(self.name, frame.this)
            except ScriptError as error:
                raise self.located(error) from None
        plain = method.plain and method.required <= self.count <= method.most and not self.spreads
        if plain and frame.run.home is method.program:
            return call_direct(self, frame, method, base)
        return method.invoke(frame.run, self.values(frame), self.span, base)
