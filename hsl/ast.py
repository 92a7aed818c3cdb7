"""The abstract syntax tree: what the parser builds and the compiler reads. Small, frozen, each node with its span."""

from __future__ import annotations

from dataclasses import dataclass

from hsl.source import Span
from hsl.values import Value


@dataclass(frozen=True, slots=True)
class Node:
    span: Span


# ---------------------------------------------------------------- expressions


@dataclass(frozen=True, slots=True)
class Literal(Node):
    value: Value


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
    parameters: tuple[Parameter, ...]
    body: Block


Expression = (
    Literal | Interpolation | Variable | ArrayLiteral | Subscript | Slice | Append | Property | FunctionName | Call
    | Cache | Unary | Not | Binary | Concatenation | Logical | Ternary | Coalesce | Assign | Step | Isset | Unset
    | Lambda
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
    value: Variable
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
    """A named function; the span is that of its name."""

    name: str
    parameters: tuple[Parameter, ...]
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


Statement = (
    Block | ExpressionStatement | Echo | If | While | For | Foreach | Switch | Break | Continue | Return | Function
    | Global | Include | Barrier
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Script(Node):
    statements: tuple[Statement, ...]
