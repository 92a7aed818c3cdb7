"""The abstract syntax tree: what the parser builds and the compiler reads. Small, frozen, each node with its span."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import cache

from hsl.source import Span
from hsl.values import Value


@dataclass(frozen=True, slots=True)
class Node:
    """Two nodes are equal when they mean the same, wherever they stand."""

    span: Span = field(compare=False)


# ---------------------------------------------------------------- expressions


@dataclass(frozen=True, slots=True)
class Literal(Node):
    value: Value


@dataclass(frozen=True, slots=True)
class Regex(Node):
    """`#/pattern/modifiers`; the value is the string between `#` and the end."""

    value: bytes


@dataclass(frozen=True, slots=True)
class Interpolation(Node):
    """A double-quoted string with variables in it: literals and variables in turn."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Variable(Node):
    name: str


@dataclass(frozen=True, slots=True)
class Item(Node):
    """One item of an array literal."""

    key: Expression | None
    value: Expression
    spread: bool = False


@dataclass(frozen=True, slots=True)
class ArrayLiteral(Node):
    """An array; on the left of an assignment the pattern of a destructuring, defaults written as assignments."""

    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Subscript(Node):
    base: Expression
    index: Expression


@dataclass(frozen=True, slots=True)
class Slice(Node):
    base: Expression
    first: Expression | None
    last: Expression | None
    step: Expression | None


@dataclass(frozen=True, slots=True)
class Append(Node):
    """`$a[]`, only to be assigned to."""

    base: Expression


@dataclass(frozen=True, slots=True)
class Property(Node):
    """`->name`."""

    base: Expression
    name: str


@dataclass(frozen=True, slots=True)
class Argument(Node):
    value: Expression
    spread: bool = False


@dataclass(frozen=True, slots=True)
class FunctionName(Node):
    """A function by its name: the callee of a call, or a function pointer. `builtin` skips overrides."""

    name: str
    builtin: bool = False


@dataclass(frozen=True, slots=True)
class ScopedName(Node):
    """`owner::name`: a static method, or a function of a module imported as `owner`. `static` is the class around."""

    owner: str
    name: str


@dataclass(frozen=True, slots=True)
class ScopedVariable(Node):
    """`owner::$name`."""

    owner: str
    name: str


@dataclass(frozen=True, slots=True)
class Call(Node):
    callee: Expression
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Cache(Node):
    options: ArrayLiteral
    call: Call


@dataclass(frozen=True, slots=True)
class Unary(Node):
    operator: str
    operand: Expression


@dataclass(frozen=True, slots=True)
class Not(Node):
    operand: Expression


@dataclass(frozen=True, slots=True)
class Binary(Node):
    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Concatenation(Node):
    """A whole chain of `.`."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Logical(Node):
    """A whole chain of `and`, or of `or`."""

    operator: str
    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Ternary(Node):
    """`condition ? then : otherwise`; without `then` (`?:`) the condition's value is the result."""

    condition: Expression
    then: Expression | None
    otherwise: Expression


@dataclass(frozen=True, slots=True)
class Coalesce(Node):
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Assign(Node):
    """`target = value`, or with an operator `target op= value`."""

    target: Expression
    operator: str | None
    value: Expression


@dataclass(frozen=True, slots=True)
class Step(Node):
    """`++` or `--`, before or after."""

    target: Expression
    delta: int
    before: bool


@dataclass(frozen=True, slots=True)
class Isset(Node):
    targets: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Unset(Node):
    targets: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Parameter(Node):
    name: str
    default: Expression | None
    variadic: bool = False


@dataclass(frozen=True, slots=True)
class Lambda(Node):
    """A function without a name. `captures` are a closure's variables; `parameters` is None where none are listed."""

    parameters: tuple[Parameter, ...] | None
    captures: tuple[Variable, ...]
    body: Block


@dataclass(frozen=True, slots=True)
class MatchArm(Node):
    """`a, b => value`; `default` has no tests."""

    tests: tuple[Expression, ...]
    value: Expression


@dataclass(frozen=True, slots=True)
class Match(Node):
    subject: Expression
    arms: tuple[MatchArm, ...]


@dataclass(frozen=True, slots=True)
class Throw(Node):
    value: Expression


Expression = (
    Literal | Regex | Interpolation | Variable | ArrayLiteral | Subscript | Slice | Append | Property | FunctionName
    | ScopedName | ScopedVariable | Call | Cache | Unary | Not | Binary | Concatenation | Logical | Ternary | Coalesce
    | Assign | Step | Isset | Unset | Lambda | Match | Throw
)  # fmt: skip


# ---------------------------------------------------------------- statements


@dataclass(frozen=True, slots=True)
class Block(Node):
    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class ExpressionStatement(Node):
    expression: Expression


@dataclass(frozen=True, slots=True)
class Echo(Node):
    expression: Expression


@dataclass(frozen=True, slots=True)
class If(Node):
    condition: Expression
    then: Statement
    otherwise: Statement | None


@dataclass(frozen=True, slots=True)
class While(Node):
    """`while`, or `forever` when there is no condition."""

    condition: Expression | None
    body: Statement


@dataclass(frozen=True, slots=True)
class For(Node):
    start: Expression | None
    condition: Expression | None
    step: Expression | None
    body: Statement


@dataclass(frozen=True, slots=True)
class Foreach(Node):
    subject: Expression
    key: Variable | None
    value: Variable | ArrayLiteral
    body: Statement


@dataclass(frozen=True, slots=True)
class Case(Node):
    """One `case` of a switch; `default` has no test."""

    test: Expression | None
    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Switch(Node):
    subject: Expression
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Break(Node):
    pass


@dataclass(frozen=True, slots=True)
class Continue(Node):
    pass


@dataclass(frozen=True, slots=True)
class Return(Node):
    value: Expression | None


@dataclass(frozen=True, slots=True)
class Function(Node):
    """A named function; the span is that of its name. `parameters` is None where none are listed (2015)."""

    name: str
    parameters: tuple[Parameter, ...] | None
    body: Block


@dataclass(frozen=True, slots=True)
class Global(Node):
    variables: tuple[Variable, ...]


@dataclass(frozen=True, slots=True)
class Include(Node):
    path: str
    once: bool


@dataclass(frozen=True, slots=True)
class Barrier(Node):
    name: Expression
    variable: Variable | None
    body: Block


@dataclass(frozen=True, slots=True)
class Member(Node):
    """What a class holds, and the words before it: static, private, readonly. The span is that of the name."""

    modifiers: tuple[str, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Field(Member):
    """`$name = value;`"""

    value: Expression | None


@dataclass(frozen=True, slots=True)
class Method(Member):
    """A function of a class; the constructor has the name `constructor`, and says so."""

    parameters: tuple[Parameter, ...]
    body: Block
    constructor: bool


@dataclass(frozen=True, slots=True)
class Class(Node):
    """The span is that of the name."""

    name: str
    members: tuple[Field | Method, ...]


@dataclass(frozen=True, slots=True)
class Imported(Node):
    """`name as alias`, with `$` before both for a variable."""

    name: str
    alias: str
    variable: bool


@dataclass(frozen=True, slots=True)
class Import(Node):
    """`import { … } from path`."""

    names: tuple[Imported, ...]
    path: str


@dataclass(frozen=True, slots=True)
class ImportAll(Node):
    """`import * as alias from path`."""

    alias: str
    path: str


@dataclass(frozen=True, slots=True)
class ImportData(Node):
    """`import $variable from path with [options]`."""

    variable: Variable
    path: str
    options: ArrayLiteral | None


@dataclass(frozen=True, slots=True)
class Try(Node):
    body: Block
    variable: Variable
    handler: Block


@dataclass(frozen=True, slots=True)
class Yield(Node):
    key: Expression | None
    value: Expression | None


Statement = (
    Block | ExpressionStatement | Echo | If | While | For | Foreach | Switch | Break | Continue | Return | Function
    | Global | Include | Barrier | Class | Import | ImportAll | ImportData | Try | Yield
)  # fmt: skip


@dataclass(frozen=True, slots=True)
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
