"""The abstract syntax tree: what the parser builds and the compiler reads. Small, frozen, each node with its span."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from typing import TypeVar, dataclass_transform

from hsl.source import Span
from hsl.values import Value

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def node(cls: type[T]) -> type[T]:
    """A frozen dataclass with slots: that nothing is assigned later, the type checker sees to. (Making sixty classes
    that refuse, compare and show themselves by their own methods took as long as starting Python.)"""
    return dataclass(slots=True, eq=False, repr=False)(cls)


@node
class Node:
    """Two nodes are equal when they mean the same, wherever they stand."""

    span: Span

    def content(self) -> tuple[object, ...]:
        """The values of the fields, without the span."""
        return tuple(getattr(self, name) for name in field_names(type(self).__name__))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and type(self) is type(other) and self.content() == other.content()

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.content()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self.content()}"


# ---------------------------------------------------------------- expressions


@node
class Literal(Node):
    value: Value


@node
class Regex(Node):
    """`#/pattern/modifiers`; the value is the string between `#` and the end."""

    value: bytes


@node
class Interpolation(Node):
    """A double-quoted string with variables in it: literals and variables in turn."""

    parts: tuple[Expression, ...]


@node
class Variable(Node):
    name: str


@node
class Item(Node):
    """One item of an array literal."""

    key: Expression | None
    value: Expression
    spread: bool = False


@node
class ArrayLiteral(Node):
    """An array; on the left of an assignment the pattern of a destructuring, defaults written as assignments."""

    items: tuple[Item, ...]


@node
class Subscript(Node):
    base: Expression
    index: Expression


@node
class Slice(Node):
    base: Expression
    first: Expression | None
    last: Expression | None
    step: Expression | None


@node
class Append(Node):
    """`$a[]`, only to be assigned to."""

    base: Expression


@node
class Property(Node):
    """`->name`."""

    base: Expression
    name: str


@node
class Argument(Node):
    value: Expression
    spread: bool = False


@node
class FunctionName(Node):
    """A function by its name: the callee of a call, or a function pointer. `builtin` skips overrides."""

    name: str
    builtin: bool = False


@node
class ScopedName(Node):
    """`owner::name`: a static method, or a function of a module imported as `owner`. `static` is the class around."""

    owner: str
    name: str


@node
class ScopedVariable(Node):
    """`owner::$name`."""

    owner: str
    name: str


@node
class Call(Node):
    callee: Expression
    arguments: tuple[Argument, ...]


@node
class Cache(Node):
    options: ArrayLiteral
    call: Call


@node
class Unary(Node):
    operator: str
    operand: Expression


@node
class Not(Node):
    operand: Expression


@node
class Binary(Node):
    operator: str
    left: Expression
    right: Expression


@node
class Concatenation(Node):
    """A whole chain of `.`."""

    parts: tuple[Expression, ...]


@node
class Logical(Node):
    """A whole chain of `and`, or of `or`."""

    operator: str
    parts: tuple[Expression, ...]


@node
class Ternary(Node):
    """`condition ? then : otherwise`; without `then` (`?:`) the condition's value is the result."""

    condition: Expression
    then: Expression | None
    otherwise: Expression


@node
class Coalesce(Node):
    left: Expression
    right: Expression


@node
class Assign(Node):
    """`target = value`, or with an operator `target op= value`."""

    target: Expression
    operator: str | None
    value: Expression


@node
class Step(Node):
    """`++` or `--`, before or after."""

    target: Expression
    delta: int
    before: bool


@node
class Isset(Node):
    targets: tuple[Argument, ...]


@node
class Unset(Node):
    targets: tuple[Argument, ...]


@node
class Parameter(Node):
    name: str
    default: Expression | None
    variadic: bool = False


@node
class Lambda(Node):
    """A function without a name. `captures` are a closure's variables; `parameters` is None where none are listed."""

    parameters: tuple[Parameter, ...] | None
    captures: tuple[Variable, ...]
    body: Block


@node
class MatchArm(Node):
    """`a, b => value`; `default` has no tests."""

    tests: tuple[Expression, ...]
    value: Expression


@node
class Match(Node):
    subject: Expression
    arms: tuple[MatchArm, ...]


@node
class Throw(Node):
    value: Expression


Expression = (
    Literal | Regex | Interpolation | Variable | ArrayLiteral | Subscript | Slice | Append | Property | FunctionName
    | ScopedName | ScopedVariable | Call | Cache | Unary | Not | Binary | Concatenation | Logical | Ternary | Coalesce
    | Assign | Step | Isset | Unset | Lambda | Match | Throw
)  # fmt: skip


# ---------------------------------------------------------------- statements


@node
class Block(Node):
    statements: tuple[Statement, ...]


@node
class ExpressionStatement(Node):
    expression: Expression


@node
class Echo(Node):
    expression: Expression


@node
class If(Node):
    condition: Expression
    then: Statement
    otherwise: Statement | None


@node
class While(Node):
    """`while`, or `forever` when there is no condition."""

    condition: Expression | None
    body: Statement


@node
class For(Node):
    start: Expression | None
    condition: Expression | None
    step: Expression | None
    body: Statement


@node
class Foreach(Node):
    subject: Expression
    key: Variable | None
    value: Variable | ArrayLiteral
    body: Statement


@node
class Case(Node):
    """One `case` of a switch; `default` has no test."""

    test: Expression | None
    statements: tuple[Statement, ...]


@node
class Switch(Node):
    subject: Expression
    cases: tuple[Case, ...]


@node
class Break(Node):
    pass


@node
class Continue(Node):
    pass


@node
class Return(Node):
    value: Expression | None


@node
class Function(Node):
    """A named function; the span is that of its name. `parameters` is None where none are listed (2015)."""

    name: str
    parameters: tuple[Parameter, ...] | None
    body: Block


@node
class Global(Node):
    variables: tuple[Variable, ...]


@node
class Include(Node):
    path: str
    once: bool


@node
class Barrier(Node):
    name: Expression
    variable: Variable | None
    body: Block


@node
class Member(Node):
    """What a class holds, and the words before it: static, private, readonly. The span is that of the name."""

    modifiers: tuple[str, ...]
    name: str


@node
class Field(Member):
    """`$name = value;`"""

    value: Expression | None


@node
class Method(Member):
    """A function of a class; the constructor has the name `constructor`, and says so."""

    parameters: tuple[Parameter, ...]
    body: Block
    constructor: bool


@node
class Class(Node):
    """The span is that of the name."""

    name: str
    members: tuple[Field | Method, ...]


@node
class Imported(Node):
    """`name as alias`, with `$` before both for a variable."""

    name: str
    alias: str
    variable: bool


@node
class Import(Node):
    """`import { … } from path`."""

    names: tuple[Imported, ...]
    path: str


@node
class ImportAll(Node):
    """`import * as alias from path`."""

    alias: str
    path: str


@node
class ImportData(Node):
    """`import $variable from path with [options]`."""

    variable: Variable
    path: str
    options: ArrayLiteral | None


@node
class Try(Node):
    body: Block
    variable: Variable
    handler: Block


@node
class Yield(Node):
    key: Expression | None
    value: Expression | None


Statement = (
    Block | ExpressionStatement | Echo | If | While | For | Foreach | Switch | Break | Continue | Return | Function
    | Global | Include | Barrier | Class | Import | ImportAll | ImportData | Try | Yield
)  # fmt: skip


@node
class Script(Node):
    statements: tuple[Statement, ...]


@cache
def field_names(kind: str) -> tuple[str, ...]:
    """The names of the fields of a kind of node, without its span."""
    return tuple(item.name for item in fields(globals()[kind]) if item.name != "span")


def children(node: Node) -> Iterator[Node]:
    """The nodes right below a node, in the order of their fields."""
    for name in field_names(type(node).__name__):
        value = getattr(node, name)
        if isinstance(value, Node):
            yield value
        elif isinstance(value, tuple):
            yield from (item for item in value if isinstance(item, Node))


def within_function(nodes: Iterator[Node]) -> Iterator[Node]:
    """All nodes below, in order, without the bodies of inner functions and classes."""
    pending = list(nodes)[::-1]
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, Function | Lambda | Class):
            pending += list(children(node))[::-1]
