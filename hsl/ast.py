"""The abstract syntax tree: what the parser builds and the compiler reads. Small, frozen, each node with its span."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, dataclass_transform

from hsl.source import Span
from hsl.values import Value


@dataclass_transform(frozen_default=True)
class Record:
    """The base of what the type checker sees as frozen dataclasses. (To make sixty true ones takes as long as to start
    Python; these share their methods.)"""

    field_names: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls.field_names = (*cls.field_names, *vars(cls).get("__annotations__", ()))

    def __init__(self, *values: Any, **named: Any) -> None:
        vars(self).update(zip(self.field_names, values, strict=False), **named)


class Node(Record):
    """Two nodes are equal when they mean the same, wherever they stand."""

    span: Span

    def content(self) -> tuple[object, ...]:
        """The values of the fields, without the span."""
        return tuple(getattr(self, name) for name in self.field_names[1:])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and type(self) is type(other) and self.content() == other.content()

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.content()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self.content()}"


# ---------------------------------------------------------------- expressions


class Literal(Node):
    value: Value


class Regex(Node):
    """`#/pattern/modifiers`; the value is the string between `#` and the end."""

    value: bytes


class Interpolation(Node):
    """A double-quoted string with variables in it: literals and variables in turn."""

    parts: tuple[Expression, ...]


class Variable(Node):
    name: str


class Item(Node):
    """One item of an array literal."""

    key: Expression | None
    value: Expression
    spread: bool = False


class ArrayLiteral(Node):
    """An array; on the left of an assignment the pattern of a destructuring, defaults written as assignments."""

    items: tuple[Item, ...]


class Subscript(Node):
    base: Expression
    index: Expression


class Slice(Node):
    base: Expression
    first: Expression | None
    last: Expression | None
    step: Expression | None


class Append(Node):
    """`$a[]`, only to be assigned to."""

    base: Expression


class Property(Node):
    """`->name`."""

    base: Expression
    name: str


class Argument(Node):
    value: Expression
    spread: bool = False


class FunctionName(Node):
    """A function by its name: the callee of a call, or a function pointer. `builtin` skips overrides."""

    name: str
    builtin: bool = False


class ScopedName(Node):
    """`owner::name`: a static method, or a function of a module imported as `owner`. `static` is the class around."""

    owner: str
    name: str


class ScopedVariable(Node):
    """`owner::$name`."""

    owner: str
    name: str


class Call(Node):
    callee: Expression
    arguments: tuple[Argument, ...]


class Cache(Node):
    options: ArrayLiteral
    call: Call


class Unary(Node):
    operator: str
    operand: Expression


class Not(Node):
    operand: Expression


class Binary(Node):
    operator: str
    left: Expression
    right: Expression


class Concatenation(Node):
    """A whole chain of `.`."""

    parts: tuple[Expression, ...]


class Logical(Node):
    """A whole chain of `and`, or of `or`."""

    operator: str
    parts: tuple[Expression, ...]


class Ternary(Node):
    """`condition ? then : otherwise`; without `then` (`?:`) the condition's value is the result."""

    condition: Expression
    then: Expression | None
    otherwise: Expression


class Coalesce(Node):
    left: Expression
    right: Expression


class Assign(Node):
    """`target = value`, or with an operator `target op= value`."""

    target: Expression
    operator: str | None
    value: Expression


class Step(Node):
    """`++` or `--`, before or after."""

    target: Expression
    delta: int
    before: bool


class Isset(Node):
    targets: tuple[Argument, ...]


class Unset(Node):
    targets: tuple[Argument, ...]


class Parameter(Node):
    name: str
    default: Expression | None
    variadic: bool = False


class Lambda(Node):
    """A function without a name. `captures` are a closure's variables; `parameters` is None where none are listed."""

    parameters: tuple[Parameter, ...] | None
    captures: tuple[Variable, ...]
    body: Block


class MatchArm(Node):
    """`a, b => value`; `default` has no tests."""

    tests: tuple[Expression, ...]
    value: Expression


class Match(Node):
    subject: Expression
    arms: tuple[MatchArm, ...]


class Throw(Node):
    value: Expression


Expression = (
    Literal | Regex | Interpolation | Variable | ArrayLiteral | Subscript | Slice | Append | Property | FunctionName
    | ScopedName | ScopedVariable | Call | Cache | Unary | Not | Binary | Concatenation | Logical | Ternary | Coalesce
    | Assign | Step | Isset | Unset | Lambda | Match | Throw
)  # fmt: skip


# ---------------------------------------------------------------- statements


class Block(Node):
    statements: tuple[Statement, ...]


class ExpressionStatement(Node):
    expression: Expression


class Echo(Node):
    expression: Expression


class If(Node):
    condition: Expression
    then: Statement
    otherwise: Statement | None


class While(Node):
    """`while`, or `forever` when there is no condition."""

    condition: Expression | None
    body: Statement


class For(Node):
    start: Expression | None
    condition: Expression | None
    step: Expression | None
    body: Statement


class Foreach(Node):
    subject: Expression
    key: Variable | None
    value: Variable | ArrayLiteral
    body: Statement


class Case(Node):
    """One `case` of a switch; `default` has no test."""

    test: Expression | None
    statements: tuple[Statement, ...]


class Switch(Node):
    subject: Expression
    cases: tuple[Case, ...]


class Break(Node):
    pass


class Continue(Node):
    pass


class Return(Node):
    value: Expression | None


class Function(Node):
    """A named function; the span is that of its name. `parameters` is None where none are listed (2015)."""

    name: str
    parameters: tuple[Parameter, ...] | None
    body: Block


class Global(Node):
    variables: tuple[Variable, ...]


class Include(Node):
    path: str
    once: bool


class Barrier(Node):
    name: Expression
    variable: Variable | None
    body: Block


class Member(Node):
    """What a class holds, and the words before it: static, private, readonly. The span is that of the name."""

    modifiers: tuple[str, ...]
    name: str


class Field(Member):
    """`$name = value;`"""

    value: Expression | None


class Method(Member):
    """A function of a class; the constructor has the name `constructor`, and says so."""

    parameters: tuple[Parameter, ...]
    body: Block
    constructor: bool


class Class(Node):
    """The span is that of the name."""

    name: str
    members: tuple[Field | Method, ...]


class Imported(Node):
    """`name as alias`, with `$` before both for a variable."""

    name: str
    alias: str
    variable: bool


class Import(Node):
    """`import { … } from path`."""

    names: tuple[Imported, ...]
    path: str


class ImportAll(Node):
    """`import * as alias from path`."""

    alias: str
    path: str


class ImportData(Node):
    """`import $variable from path with [options]`."""

    variable: Variable
    path: str
    options: ArrayLiteral | None


class Try(Node):
    body: Block
    variable: Variable
    handler: Block


class Yield(Node):
    key: Expression | None
    value: Expression | None


Statement = (
    Block | ExpressionStatement | Echo | If | While | For | Foreach | Switch | Break | Continue | Return | Function
    | Global | Include | Barrier | Class | Import | ImportAll | ImportData | Try | Yield
)  # fmt: skip


class Script(Node):
    statements: tuple[Statement, ...]


def children(node: Node) -> Iterator[Node]:
    """The nodes right below a node, in the order of their fields."""
    for value in node.content():
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
