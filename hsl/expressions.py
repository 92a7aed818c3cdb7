"""Nodes that compute: operators, strings, logic, regular expressions."""

from __future__ import annotations

from collections.abc import Callable

from hsl import arithmetic
from hsl.errors import ScriptError
from hsl.nodes import Frame, Node
from hsl.regex import Pattern, compile_pattern
from hsl.slots import settled
from hsl.source import Span
from hsl.values import Value, less, loose_equal, share, to_string, truthy, type_name


class Unary(Node):
    __slots__ = ("operand", "operator")

    def __init__(self, span: Span, operator: Callable[[Value], Value], operand: Node) -> None:
        super().__init__(span)
        self.operator = operator
        self.operand = operand

    def evaluate(self, frame: Frame) -> Value:
        return self.operator(self.operand.evaluate(frame))


class Snapshot(Node):
    """An operand that comes out of a variable, while operands behind it may change the variable."""

    __slots__ = ("operand",)

    def __init__(self, operand: Node) -> None:
        super().__init__(operand.span)
        self.aliases = True
        self.operand = operand

    def evaluate(self, frame: Frame) -> Value:
        return share(self.operand.evaluate(frame))


class Binary(Node):
    """Any operator of two operands by its function in `arithmetic`."""

    __slots__ = ("left", "operator", "right")

    def __init__(self, span: Span, operator: arithmetic.Operator, left: Node, right: Node) -> None:
        super().__init__(span)
        self.operator = operator
        self.left = left
        self.right = right

    def evaluate(self, frame: Frame) -> Value:
        left = self.left.evaluate(frame)
        right = self.right.evaluate(frame)
        try:
            return self.operator(left, right)
        except ScriptError as error:
            raise self.located(error) from None


class Add(Binary):
    """`+`, two numbers first."""

    __slots__ = ()

    def evaluate(self, frame: Frame) -> Value:
        left = self.left.evaluate(frame)
        right = self.right.evaluate(frame)
        if isinstance(left, float) and isinstance(right, float):
            return left + right
        try:
            return arithmetic.add(left, right)
        except ScriptError as error:
            raise self.located(error) from None


class Less(Binary):
    """`<`, two numbers first."""

    __slots__ = ()

    def evaluate(self, frame: Frame) -> Value:
        left = self.left.evaluate(frame)
        right = self.right.evaluate(frame)
        if isinstance(left, float) and isinstance(right, float):
            return left < right
        return less(left, right)


class Equal(Binary):
    """`==`, equal types first."""

    __slots__ = ()

    def evaluate(self, frame: Frame) -> Value:
        left = self.left.evaluate(frame)
        right = self.right.evaluate(frame)
        if type(left) is type(right) and isinstance(left, float | bytes):
            return left == right
        try:
            return loose_equal(left, right)
        except ScriptError as error:
            raise self.located(error) from None


class Concatenation(Node):
    """A chain of `.`, joined once."""

    __slots__ = ("parts",)

    def __init__(self, span: Span, parts: list[Node]) -> None:
        super().__init__(span)
        self.parts = parts

    def evaluate(self, frame: Frame) -> Value:
        try:
            return arithmetic.concatenate([part.evaluate(frame) for part in self.parts])
        except ScriptError as error:
            raise self.located(error) from None


class Not(Node):
    __slots__ = ("operand",)

    def __init__(self, span: Span, operand: Node) -> None:
        super().__init__(span)
        self.operand = operand

    def evaluate(self, frame: Frame) -> Value:
        return not truthy(self.operand.evaluate(frame))


class And(Node):
    """The value is a boolean; the right side runs only when it matters."""

    __slots__ = ("parts",)

    def __init__(self, span: Span, parts: list[Node]) -> None:
        super().__init__(span)
        self.parts = parts

    def evaluate(self, frame: Frame) -> Value:
        for part in self.parts:  # noqa: SIM110  (a generator here costs a call per operand)
            if not truthy(part.evaluate(frame)):
                return False
        return True


class Or(And):
    __slots__ = ()

    def evaluate(self, frame: Frame) -> Value:
        for part in self.parts:  # noqa: SIM110
            if truthy(part.evaluate(frame)):
                return True
        return False


class Ternary(Node):
    __slots__ = ("condition", "otherwise", "then")

    def __init__(self, span: Span, condition: Node, then: Node | None, otherwise: Node) -> None:
        super().__init__(span)
        self.condition = condition
        self.then = then
        self.otherwise = otherwise
        self.aliases = otherwise.aliases or (condition if then is None else then).aliases

    def evaluate(self, frame: Frame) -> Value:
        value = self.condition.evaluate(frame)
        if truthy(value):
            return value if self.then is None else self.then.evaluate(frame)
        return self.otherwise.evaluate(frame)


class Coalesce(Node):
    """`left ?? right`: anything missing on the left, and none, gives the right."""

    __slots__ = ("left", "right")

    def __init__(self, span: Span, left: Node, right: Node) -> None:
        super().__init__(span)
        self.left = left
        self.right = right
        self.aliases = left.aliases or right.aliases

    def evaluate(self, frame: Frame) -> Value:
        value = settled(self.left.peek(frame))
        return self.right.evaluate(frame) if value is None else value


class Match(Node):
    """`=~` and `!~`; a literal pattern was compiled at load."""

    __slots__ = ("negated", "pattern", "source", "subject")

    def __init__(self, span: Span, subject: Node, source: Node, pattern: Pattern | None, negated: bool) -> None:
        super().__init__(span)
        self.subject = subject
        self.source = source
        self.pattern = pattern
        self.negated = negated

    def evaluate(self, frame: Frame) -> Value:
        subject = self.subject.evaluate(frame)
        try:
            pattern = self.pattern
            if pattern is None:
                source = self.source.evaluate(frame)
                if not isinstance(source, bytes):
                    raise ScriptError(f"a regular expression is a string, got {type_name(source)}")
                pattern = compile_pattern(source)
            text = b"" if subject is None else to_string(subject)
            return pattern.matches(text) is not self.negated
        except ScriptError as error:
            raise self.located(error) from None
