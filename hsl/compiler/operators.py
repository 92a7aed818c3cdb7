"""Compiles expressions that compute: literals, operators, match and throw."""

from __future__ import annotations

from hsl import arithmetic, ast, expressions, paths
from hsl.compiler.base import Base
from hsl.environment import Variable
from hsl.errors import ScriptError
from hsl.nodes import Constant, Node, constant
from hsl.regex import Pattern, compile_pattern
from hsl.source import Span
from hsl.values import array_key


class Operators(Base):
    def visit_Literal(self, node: ast.Literal) -> Node:
        value = node.value
        if isinstance(value, bytes):
            value = self.texts.setdefault(value, value)
        return constant(node.span, value)

    def visit_Regex(self, node: ast.Regex) -> Node:
        unknown = node.value[node.value.rindex(b"/") + 1 :].strip(b"imusxUX")
        if unknown:
            message = f"there is no modifier {unknown.decode()} of regular expressions"
            self.error("regex", message, node.span, "there are i m u s x U X")
        else:
            self.pattern(node.value, node.span)
        return Constant(node.span, node.value)

    def pattern(self, source: bytes, span: Span) -> Pattern | None:
        """A pattern that is known at load; None after an error."""
        try:
            return compile_pattern(source)
        except ScriptError as error:
            self.error("regex", error.message, span, error.hint)
            return None

    def visit_Interpolation(self, node: ast.Interpolation) -> Node:
        return expressions.Concatenation(node.span, self.in_order(node.parts))

    def visit_ArrayLiteral(self, node: ast.ArrayLiteral) -> Node:
        items = [
            (None if item.key is None else self.expression(item.key), self.expression(item.value), item.spread)
            for item in node.items
        ]
        operands = [part for key, value, _ in items for part in (key, value) if part is not None]
        return self.fold(self.array(node.span, items), *operands)

    @staticmethod
    def array(span: Span, items: list[tuple[Node | None, Node, bool]]) -> Node:
        """The node of an array literal: those without keys, and those with names as keys, have their own."""
        values = [value for _, value, _ in items]
        if not any(spread or key is not None for key, _, spread in items):
            return expressions.ListLiteral(span, values)
        names = [
            key.value
            for key, _, spread in items
            if isinstance(key, Constant) and not spread and isinstance(array_key(key.value), bytes)
        ]
        texts = [name for name in names if isinstance(name, bytes)]
        if len(texts) == len(items):
            return expressions.RecordLiteral(span, texts, values)
        return expressions.ArrayLiteral(span, items)

    def visit_Subscript(self, node: ast.Subscript) -> Node:
        self.check_key(node)
        base, index = self.in_order([node.base, node.index])
        if isinstance(index, Constant) and isinstance(index.value, bytes):
            key = array_key(index.value)
            if isinstance(key, bytes):
                return self.fold(paths.Property(node.span, base, index, key), base)
        return self.fold(paths.Subscript(node.span, base, index), base, index)

    def check_key(self, node: ast.Subscript) -> None:
        """A documented key that the host never sets."""
        key = self.documented(node)
        if key is not None and key.later:
            self.error("later", f'"{key.name}" is not available here: {key.later}', node.index.span)

    def documented(self, node: ast.Expression) -> Variable | None:
        """What a key of a preset variable is documented as, where all keys on the way to it are written out."""
        path = []
        while isinstance(node, ast.Subscript):
            if not isinstance(node.index, ast.Literal):
                return None
            path.append(node.index.value)
            node = node.base
        if not isinstance(node, ast.Variable) or not self.is_stage_variable(self.scope, node.name):
            return None
        found: Variable | None = self.environment.variables[node.name]
        while found is not None and path:
            key = path.pop()
            found = next((item for item in found.keys if item.name.encode() == key), None)
        return found

    def visit_Property(self, node: ast.Property) -> Node:
        key = self.text(node.name)
        return paths.Property(node.span, self.expression(node.base), Constant(node.span, key), key)

    def visit_Slice(self, node: ast.Slice) -> Node:
        bounds = [None if item is None else self.expression(item) for item in (node.first, node.last, node.step)]
        base = self.expression(node.base)
        return self.fold(paths.Slice(node.span, base, bounds), base, *[item for item in bounds if item is not None])

    def visit_Append(self, node: ast.Append) -> Node:
        self.error("append", "[] can only be assigned to", node.span)
        return Constant(node.span, None)

    def visit_Unary(self, node: ast.Unary) -> Node:
        operand = self.expression(node.operand)
        return self.fold(expressions.Unary(node.span, arithmetic.UNARY[node.operator], operand), operand)

    def visit_Not(self, node: ast.Not) -> Node:
        operand = self.expression(node.operand)
        return self.fold(expressions.Not(node.span, operand), operand)

    def visit_Binary(self, node: ast.Binary) -> Node:
        if node.operator in ("=~", "!~"):
            return self.match_regex(node)
        left, right = self.in_order([node.left, node.right])
        return self.fold(expressions.binary(node.span, node.operator, left, right), left, right)

    def match_regex(self, node: ast.Binary) -> Node:
        subject, source = self.in_order([node.left, node.right])
        pattern = None
        if isinstance(source, Constant) and isinstance(source.value, bytes):
            if not isinstance(node.right, ast.Regex):  # a bad literal was reported already
                pattern = self.pattern(source.value, node.right.span)
            else:
                pattern = quietly(source.value)
        compiled = expressions.MatchRegex(node.span, subject, source, pattern, node.operator == "!~")
        return self.fold(compiled, subject, source)

    def visit_Concatenation(self, node: ast.Concatenation) -> Node:
        parts = self.in_order(node.parts)
        return self.fold(expressions.Concatenation(node.span, parts), *parts)

    def visit_Logical(self, node: ast.Logical) -> Node:
        parts = [self.expression(part) for part in node.parts]
        kind = expressions.And if node.operator == "and" else expressions.Or
        return self.fold(kind(node.span, parts), *parts)

    def visit_Ternary(self, node: ast.Ternary) -> Node:
        condition = self.expression(node.condition)
        then = None if node.then is None else self.expression(node.then)
        otherwise = self.expression(node.otherwise)
        compiled = expressions.Ternary(node.span, condition, then, otherwise)
        return self.fold(compiled, condition, then or otherwise, otherwise)

    def visit_Match(self, node: ast.Match) -> Node:
        subject = self.expression(node.subject)
        arms: list[tuple[list[Node], Node]] = []
        for place, arm in enumerate(node.arms):
            if not arm.tests and place != len(node.arms) - 1:
                self.error("match", "the default of a match is its last arm", arm.span)
            arms.append(([self.expression(test) for test in arm.tests], self.expression(arm.value)))
        return expressions.Match(node.span, subject, arms)

    def visit_Throw(self, node: ast.Throw) -> Node:
        return expressions.Throw(node.span, self.expression(node.value))


def quietly(source: bytes) -> Pattern | None:
    """A pattern, or None if it is not right."""
    try:
        return compile_pattern(source)
    except ScriptError:
        return None
