"""Nodes that compute: operators, strings, logic, regular expressions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mypy_extensions import i64

from hsl import arithmetic
from hsl.errors import ScriptError
from hsl.exceptions import thrown
from hsl.nodes import NAN, Frame, Node, Number, linked
from hsl.regex import Pattern, compile_pattern
from hsl.run import HEAVY, WORTH
from hsl.slots import UNSET, settled
from hsl.source import Span
from hsl.values import (
    Array,
    Value,
    concatenation_text,
    literal,
    loose_equal,
    share,
    strict_equal,
    to_string,
    truthy,
    type_name,
)
from hsl.variables import SlotTarget


class Unary(Node):
    __slots__ = ("operand", "operator")

    def __init__(self, span: Span, operator: Callable[[Value], Value], operand: Node) -> None:
        super().__init__(span)
        self.operator: Final = operator
        self.operand: Final = operand

    def evaluate(self, frame: Frame) -> Value:
        return self.operator(self.operand.evaluate(frame))


class Snapshot(Node):
    """An operand that comes out of a variable, while operands behind it may change the variable."""

    __slots__ = ("operand",)

    def __init__(self, operand: Node) -> None:
        super().__init__(operand.span)
        self.aliases = True
        self.operand: Final = operand

    def evaluate(self, frame: Frame) -> Value:
        return share(self.operand.evaluate(frame))


class Binary(Node):
    """Any operator of two operands by its function in `arithmetic`."""

    __slots__ = ("left", "operator", "right")

    def __init__(self, span: Span, operator: arithmetic.Operation, left: Node, right: Node) -> None:
        super().__init__(span)
        self.operator: Final = operator
        self.left: Final = left
        self.right: Final = right

    def evaluate(self, frame: Frame) -> Value:
        left = self.left.evaluate(frame)
        return self.apply(left, self.right.evaluate(frame))

    def apply(self, left: Value, right: Value) -> Value:
        try:
            return self.operator.apply(left, right)
        except ScriptError as error:
            raise self.located(error) from None


ADD: Final = 0
SUBTRACT: Final = 1
MULTIPLY: Final = 2
DIVIDE: Final = 3
REMAINDER: Final = 4
LESS: Final = 0
LESS_EQUAL: Final = 1
GREATER: Final = 2
GREATER_EQUAL: Final = 3
SAME: Final = 4
DIFFERENT: Final = 5


class Numeric(Binary):
    """An operator of two operands that are numbers nearly always: locals and literals are read here, not by their own
    nodes, and nothing is boxed in between."""

    __slots__ = ("code", "known", "left_slot", "right_is_known", "right_slot")

    def __init__(self, span: Span, operator: arithmetic.Operation, left: Node, right: Node, code: int) -> None:
        super().__init__(span, operator, left, right)
        self.code: Final[i64] = code
        self.left_slot: Final[i64] = left.slot if type(left) is SlotTarget else -1
        self.right_slot: Final[i64] = right.slot if type(right) is SlotTarget else -1
        self.right_is_known: Final = isinstance(right, Number)
        self.known: Final = right.float if isinstance(right, Number) else 0.0


class Arithmetic(Numeric):
    """`+ - * / %`."""

    __slots__ = ()

    def evaluate(self, frame: Frame) -> Value:
        result = self.number(frame)
        if result != result and frame.mixed is not UNSET:
            return frame.take()
        return result

    def number(self, frame: Frame) -> float:
        if self.left_slot >= 0:
            held = frame.slots[self.left_slot]
            if not isinstance(held, float):
                return self.mixed(frame, self.left.evaluate(frame))
            left = held
        else:
            left = self.left.number(frame)
            if left != left and frame.mixed is not UNSET:
                return self.mixed(frame, frame.take())
        if self.right_is_known:
            right = self.known
        elif self.right_slot >= 0:
            held = frame.slots[self.right_slot]
            if not isinstance(held, float):
                return self.mixed(frame, left)
            right = held
        else:
            right = self.right.number(frame)
            if right != right and frame.mixed is not UNSET:
                return number_of(frame, self.apply(left, frame.take()))
        code = self.code
        if code == ADD:
            return left + right
        if code == SUBTRACT:
            return left - right
        if code == MULTIPLY:
            return left * right
        if code == REMAINDER:
            return arithmetic.modulo(left, right)
        return arithmetic.quotient(left, right)

    def mixed(self, frame: Frame, left: Value) -> float:
        """The right operand is not evaluated yet, and not both are numbers."""
        return number_of(frame, self.apply(left, self.right.evaluate(frame)))


class Comparison(Binary):
    """An operator whose value is a boolean: `test` computes it."""

    __slots__ = ()

    def evaluate(self, frame: Frame) -> Value:
        return self.test(frame)


class NumericComparison(Numeric):
    """`< <= > >=`, and `== != === !==` with a literal number on the right."""

    __slots__ = ()

    def evaluate(self, frame: Frame) -> Value:
        return self.test(frame)

    def test(self, frame: Frame) -> bool:
        if self.left_slot >= 0:
            held = frame.slots[self.left_slot]
            if not isinstance(held, float):
                return self.mixed(frame, self.left.evaluate(frame))
            left = held
        else:
            left = self.left.number(frame)
            if left != left and frame.mixed is not UNSET:
                return self.mixed(frame, frame.take())
        if self.right_is_known:
            right = self.known
        elif self.right_slot >= 0:
            held = frame.slots[self.right_slot]
            if not isinstance(held, float):
                return self.mixed(frame, left)
            right = held
        else:
            right = self.right.number(frame)
            if right != right and frame.mixed is not UNSET:
                return self.apply(left, frame.take()) is True
        code = self.code
        if code == LESS:
            return left < right
        if code == SAME:
            return left == right
        if code == GREATER:
            return left > right
        if code == DIFFERENT:
            return left != right
        if code == LESS_EQUAL:
            return left <= right
        return left >= right

    def mixed(self, frame: Frame, left: Value) -> bool:
        """The right operand is not evaluated yet, and not both are numbers."""
        return self.apply(left, self.right.evaluate(frame)) is True


class Equal(Comparison):
    """`==`, equal types first."""

    __slots__ = ()

    def test(self, frame: Frame) -> bool:
        left = self.left.evaluate(frame)
        right = self.right.evaluate(frame)
        if isinstance(left, bytes) and isinstance(right, bytes):
            return left == right
        if isinstance(left, float) and isinstance(right, float):
            return left == right
        try:
            return loose_equal(left, right)
        except ScriptError as error:
            raise self.located(error) from None


class NotEqual(Comparison):
    """`!=`, equal types first."""

    __slots__ = ()

    def test(self, frame: Frame) -> bool:
        left = self.left.evaluate(frame)
        right = self.right.evaluate(frame)
        if isinstance(left, bytes) and isinstance(right, bytes):
            return left != right
        if isinstance(left, float) and isinstance(right, float):
            return left != right
        try:
            return not loose_equal(left, right)
        except ScriptError as error:
            raise self.located(error) from None


class Identical(Comparison):
    """`===`, equal types first."""

    __slots__ = ()

    def test(self, frame: Frame) -> bool:
        left = self.left.evaluate(frame)
        right = self.right.evaluate(frame)
        if isinstance(left, bytes) and isinstance(right, bytes):
            return left == right
        if isinstance(left, float) and isinstance(right, float):
            return left == right
        try:
            return strict_equal(left, right)
        except ScriptError as error:
            raise self.located(error) from None


class NotIdentical(Comparison):
    """`!==`, equal types first."""

    __slots__ = ()

    def test(self, frame: Frame) -> bool:
        left = self.left.evaluate(frame)
        right = self.right.evaluate(frame)
        if isinstance(left, bytes) and isinstance(right, bytes):
            return left != right
        if isinstance(left, float) and isinstance(right, float):
            return left != right
        try:
            return not strict_equal(left, right)
        except ScriptError as error:
            raise self.located(error) from None


ARITHMETIC: Final = {"+": ADD, "-": SUBTRACT, "*": MULTIPLY, "/": DIVIDE, "%": REMAINDER}
RELATIONS: Final = {"<": LESS, "<=": LESS_EQUAL, ">": GREATER, ">=": GREATER_EQUAL}
EQUALITIES: Final = {"==": SAME, "!=": DIFFERENT, "===": SAME, "!==": DIFFERENT}
EQUALITY: Final[dict[str, type[Comparison]]] = {
    "==": Equal,
    "!=": NotEqual,
    "===": Identical,
    "!==": NotIdentical,
}


def binary(span: Span, operator: str, left: Node, right: Node) -> Binary:
    """The node of an operator of two operands."""
    operation = arithmetic.BINARY[operator]
    if operator in ARITHMETIC:
        return Arithmetic(span, operation, left, right, ARITHMETIC[operator])
    if operator in RELATIONS:
        return NumericComparison(span, operation, left, right, RELATIONS[operator])
    if operator in EQUALITIES and isinstance(right, Number):
        return NumericComparison(span, operation, left, right, EQUALITIES[operator])
    return EQUALITY.get(operator, Binary)(span, operation, left, right)


def number_of(frame: Frame, value: Value) -> float:
    """A value as `Node.number` gives it."""
    if isinstance(value, float):
        return value
    frame.mixed = value
    return NAN


class Concatenation(Node):
    """A chain of `.`, joined once."""

    __slots__ = ("parts",)

    def __init__(self, span: Span, parts: list[Node]) -> None:
        super().__init__(span)
        self.parts: Final = linked(parts)

    def evaluate(self, frame: Frame) -> Value:
        texts: list[bytes] = []
        size = 0
        try:
            link = self.parts
            while link is not None:
                value = link.node.evaluate(frame)
                link = link.next
                text = value if isinstance(value, bytes) else concatenation_text(value)
                size += len(text)
                texts.append(text)
            if size > HEAVY:
                arithmetic.check_string(size)
                frame.run.fuel -= size >> WORTH
        except ScriptError as error:
            raise self.located(error) from None
        return b"".join(texts)


class Not(Node):
    __slots__ = ("operand",)

    def __init__(self, span: Span, operand: Node) -> None:
        super().__init__(span)
        self.operand: Final = operand

    def evaluate(self, frame: Frame) -> Value:
        return not self.operand.test(frame)

    def test(self, frame: Frame) -> bool:
        return not self.operand.test(frame)


class And(Node):
    """The value is a boolean; the right side runs only when it matters."""

    __slots__ = ("parts",)

    def __init__(self, span: Span, parts: list[Node]) -> None:
        super().__init__(span)
        self.parts: Final = linked(parts)

    def evaluate(self, frame: Frame) -> Value:
        return self.test(frame)

    def test(self, frame: Frame) -> bool:
        link = self.parts
        while link is not None:
            if not link.node.test(frame):
                return False
            link = link.next
        return True


class Or(And):
    __slots__ = ()

    def test(self, frame: Frame) -> bool:
        link = self.parts
        while link is not None:
            if link.node.test(frame):
                return True
            link = link.next
        return False


class Ternary(Node):
    __slots__ = ("condition", "otherwise", "then")

    def __init__(self, span: Span, condition: Node, then: Node | None, otherwise: Node) -> None:
        super().__init__(span)
        self.condition: Final = condition
        self.then: Final = then
        self.otherwise: Final = otherwise
        self.aliases = otherwise.aliases or (condition if then is None else then).aliases

    def evaluate(self, frame: Frame) -> Value:
        if self.then is not None:
            return (self.then if self.condition.test(frame) else self.otherwise).evaluate(frame)
        value = self.condition.evaluate(frame)
        return value if truthy(value) else self.otherwise.evaluate(frame)


class Coalesce(Node):
    """`left ?? right`: anything missing on the left, and none, gives the right."""

    __slots__ = ("left", "right")

    def __init__(self, span: Span, left: Node, right: Node) -> None:
        super().__init__(span)
        self.left: Final = left
        self.right: Final = right
        self.aliases = left.aliases or right.aliases

    def evaluate(self, frame: Frame) -> Value:
        value = settled(self.left.peek(frame))
        return self.right.evaluate(frame) if value is None else value


class MatchRegex(Node):
    """`=~` and `!~`; a literal pattern was compiled at load."""

    __slots__ = ("negated", "pattern", "source", "subject")

    def __init__(self, span: Span, subject: Node, source: Node, pattern: Pattern | None, negated: bool) -> None:
        super().__init__(span)
        self.subject: Final = subject
        self.source = source
        self.pattern = pattern
        self.negated: Final = negated

    def evaluate(self, frame: Frame) -> Value:
        return self.test(frame)

    def test(self, frame: Frame) -> bool:
        subject = self.subject.evaluate(frame)
        try:
            pattern = self.pattern
            if pattern is None:
                pattern = pattern_of(self.source.evaluate(frame))
            text = b"" if subject is None else to_string(subject)
            return pattern.matches(text) is not self.negated
        except ScriptError as error:
            raise self.located(error) from None


def pattern_of(source: Value) -> Pattern:
    """The pattern of a string, or of an object that holds a compiled one (Regex)."""
    if isinstance(source, bytes):
        return compile_pattern(source)
    compiled: object = getattr(source, "compiled", None)
    if isinstance(compiled, Pattern):
        return compiled
    raise ScriptError(f"a regular expression is a string or a Regex, got {type_name(source)}")


class Match(Node):
    """`match (subject) { tests => value, … }`; without tests it is the default."""

    __slots__ = ("arms", "subject")

    def __init__(self, span: Span, subject: Node, arms: list[tuple[list[Node], Node]]) -> None:
        super().__init__(span)
        self.subject: Final = subject
        self.arms: Final = arms
        self.aliases = any(value.aliases for _, value in arms)

    def evaluate(self, frame: Frame) -> Value:
        subject = self.subject.evaluate(frame)
        for tests, value in self.arms:
            for test in tests:
                if strict_equal(subject, test.evaluate(frame)):
                    return value.evaluate(frame)
            if not tests:
                return value.evaluate(frame)
        shown = literal(subject)[:100].decode("utf-8", "replace")
        raise ScriptError(f"match: no arm for {shown}", self.span)


class Throw(Node):
    """`throw value`: leaves for the nearest `catch`."""

    __slots__ = ("value",)

    def __init__(self, span: Span, value: Node) -> None:
        super().__init__(span)
        self.value: Final = value

    def evaluate(self, frame: Frame) -> Value:
        raise thrown(self.value.evaluate(frame), self.span)


class ArrayLiteral(Node):
    """`[a, k => b, ...c]`."""

    __slots__ = ("items",)

    def __init__(self, span: Span, items: list[tuple[Node | None, Node, bool]]) -> None:
        super().__init__(span)
        self.items = items

    def evaluate(self, frame: Frame) -> Value:
        array = Array()
        try:
            for key_node, node, spread in self.items:
                key = None if key_node is None else key_node.evaluate(frame)
                value = node.evaluate(frame)
                if spread:
                    spread_into(array, value)
                    continue
                if node.aliases:
                    share(value)
                if key_node is None:
                    array.append(value)
                else:
                    array.set(key, value)
        except ScriptError as error:
            raise self.located(error) from None
        return array


class ListLiteral(Node):
    """`[a, b, c]`: no keys, nothing spread."""

    __slots__ = ("parts",)

    def __init__(self, span: Span, parts: list[Node]) -> None:
        super().__init__(span)
        self.parts: Final = linked(parts)

    def evaluate(self, frame: Frame) -> Value:
        array = Array()
        items = array.items
        assert items is not None
        link = self.parts
        while link is not None:
            value = link.node.evaluate(frame)
            if isinstance(value, Array):
                if link.node.aliases:
                    value.shared = True
                self.deepen(array, value)
            items.append(value)
            link = link.next
        return array

    def deepen(self, array: Array, child: Array) -> None:
        try:
            array.deepen(child)
        except ScriptError as error:
            raise self.located(error) from None


class RecordLiteral(ListLiteral):
    """`["a" => b, "c" => d]`: the keys are names."""

    __slots__ = ("keys",)

    def __init__(self, span: Span, keys: list[bytes], parts: list[Node]) -> None:
        super().__init__(span, parts)
        self.keys: Final = keys

    def evaluate(self, frame: Frame) -> Value:
        entries: dict[Value, Value] = {}
        array = Array()
        array.items = None
        array.map = entries
        link = self.parts
        for key in self.keys:
            assert link is not None
            value = link.node.evaluate(frame)
            if isinstance(value, Array):
                if link.node.aliases:
                    value.shared = True
                self.deepen(array, value)
            entries[key] = value
            link = link.next
        return array


def spread_into(array: Array, value: Value) -> None:
    """`...value` in an array literal: numeric keys are renumbered, string keys kept."""
    if not isinstance(value, Array):
        raise ScriptError(f"... wants an array, got {type_name(value)}")
    for key, item in value.pairs():
        if isinstance(key, float):
            array.append(share(item))
        else:
            array.set(key, share(item))
