"""A syntax tree (hsl/ast.py) in, HSL text out: tabs, one statement a line, no more parentheses than the text needs.

A node becomes a row of pieces: text, marks of the layout (hsl/layout.py), and other nodes, which are taken apart in
turn. Nothing recurses, so a tree of any depth prints.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from functools import cache
from typing import NamedTuple

from hsl import ast
from hsl.layout import Mark, lay_out

(  # the precedence of operators, loosest first (reference: "operators", precedence)
    ASSIGNMENT, TERNARY, COALESCE, OR, AND, NOT, COMPARISON, BIT_OR, BIT_XOR, BIT_AND, SHIFT, CONCATENATION, SUM,
    PRODUCT, POWER, PREFIX, POSTFIX,
) = range(17)  # fmt: skip
OPERATORS = {
    "or": OR, "and": AND, "==": COMPARISON, "!=": COMPARISON, "===": COMPARISON, "!==": COMPARISON, "<": COMPARISON,
    "<=": COMPARISON, ">": COMPARISON, ">=": COMPARISON, "=~": COMPARISON, "!~": COMPARISON, "|": BIT_OR,
    "^": BIT_XOR, "&": BIT_AND, "<<": SHIFT, ">>": SHIFT, ">>>": SHIFT, "+": SUM, "-": SUM, "*": PRODUCT,
    "/": PRODUCT, "%": PRODUCT, "**": POWER,
}  # fmt: skip
LEVELS: dict[type[ast.Node], int] = {
    ast.Assign: ASSIGNMENT, ast.Throw: ASSIGNMENT, ast.Ternary: TERNARY, ast.Coalesce: COALESCE,
    ast.Concatenation: CONCATENATION, ast.Unary: PREFIX, ast.Not: PREFIX,
}  # fmt: skip
ESCAPED = re.compile(r'["\\\n\r\t]|\$(?=[a-zA-Z_{])')
ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
WORD = re.compile("[a-zA-Z0-9_]")
INFINITE = "9" * 309
BRACKETED = ast.ArrayLiteral | ast.Lambda | ast.Match  # these break inside their own brackets
SHORT = ast.Return | ast.ExpressionStatement | ast.Echo  # a function of one such statement may stand in one line


class Placed(NamedTuple):
    """A node and its place: the loosest level that needs no parentheses there, and whether the expression ends there.

    An assignment or a throw takes all that follows: only at the end of an expression may it be a bare operand.
    """

    node: ast.Node
    level: int = ASSIGNMENT
    end: bool = True


Piece = str | Mark | Placed
Pieces = list[Piece]


def print_tree(node: ast.Node) -> str:
    """The text of a script, a statement or an expression. Parsing it gives an equal tree, which prints the same text.

    What is not in the tree is lost: comments, empty lines, how a literal was written. A script's text ends with a line
    end. Bytes of a regex literal that are not UTF-8 are surrogates in the text: encode it with `surrogateescape`.
    There is no limit of depth, though the compiler loads only what nests 400 deep.
    """
    printer = Printer()
    pending: Pieces = [Placed(node)]
    finished: list[str | Mark] = []
    while pending:
        piece = pending.pop()
        if isinstance(piece, Placed):
            pending += reversed(printer.pieces(piece))
        else:
            finished.append(piece)
    return lay_out(finished)


class Printer:
    """One method for each kind of node gives the pieces of its text."""

    def pieces(self, placed: Placed) -> Pieces:
        node, level, end = placed
        if isinstance(node, ast.Not) and level <= NOT and COMPARISON <= level_of(node.operand) < PREFIX:
            return ["not ", last(node.operand, NOT, end)]
        own = level_of(node)
        if own < level:
            return ["(", Placed(node), ")"]
        visit: Callable[..., Pieces] = getattr(self, method_name(type(node).__name__))
        return visit(node, end) if own < POSTFIX else visit(node)

    # ------------------------------------------------------------ statements

    def visit_script(self, node: ast.Script) -> Pieces:
        return [*lines(node.statements), Mark.NEWLINE] if node.statements else []

    def visit_block(self, node: ast.Block) -> Pieces:
        return braced(node.statements)

    def visit_expression_statement(self, node: ast.ExpressionStatement) -> Pieces:
        return [Placed(node.expression), ";"]

    def visit_echo(self, node: ast.Echo) -> Pieces:
        return ["echo ", Placed(node.expression), ";"]

    def visit_if(self, node: ast.If) -> Pieces:
        head: Pieces = ["if (", Placed(node.condition), ")"]
        if node.otherwise is None:
            return [*head, *body(node.then)]
        then = node.then
        if ends_with_if(then):
            then = ast.Block(then.span, (then,))
        behind: Piece = " " if isinstance(then, ast.Block) else Mark.NEWLINE
        otherwise = [" ", Placed(node.otherwise)] if isinstance(node.otherwise, ast.If) else body(node.otherwise)
        return [*head, *body(then), behind, "else", *otherwise]

    def visit_while(self, node: ast.While) -> Pieces:
        if node.condition is None:
            return ["forever", *body(node.body)]
        return ["while (", Placed(node.condition), ")", *body(node.body)]

    def visit_for(self, node: ast.For) -> Pieces:
        condition, step = spaced(node.condition), spaced(node.step)
        return ["for (", *optional(node.start), ";", *condition, ";", *step, ")", *body(node.body)]

    def visit_foreach(self, node: ast.Foreach) -> Pieces:
        key: Pieces = [Placed(node.key), " => "] if node.key else []
        return ["foreach (", Placed(node.subject), " as ", *key, Placed(node.value), ")", *body(node.body)]

    def visit_switch(self, node: ast.Switch) -> Pieces:
        return ["switch (", Placed(node.subject), ") ", *braced(node.cases)]

    def visit_case(self, node: ast.Case) -> Pieces:
        head: Pieces = ["default:"] if node.test is None else ["case ", Placed(node.test), ":"]
        if not node.statements:
            return head
        return [*head, Mark.INDENT, Mark.NEWLINE, *lines(node.statements), Mark.DEDENT]

    def visit_break(self, node: ast.Break) -> Pieces:
        return ["break;"]

    def visit_continue(self, node: ast.Continue) -> Pieces:
        return ["continue;"]

    def visit_return(self, node: ast.Return) -> Pieces:
        return ["return", *spaced(node.value), ";"]

    def visit_function(self, node: ast.Function) -> Pieces:
        return [f"function {node.name}", *parameters(node.parameters), " ", Placed(node.body)]

    def visit_global(self, node: ast.Global) -> Pieces:
        return [f"global {', '.join('$' + item.name for item in node.variables)};"]

    def visit_include(self, node: ast.Include) -> Pieces:
        return ["include_once " if node.once else "include ", path(node.path), ";"]

    def visit_barrier(self, node: ast.Barrier) -> Pieces:
        variable: Pieces = [" => ", Placed(node.variable)] if node.variable else []
        return ["barrier ", Placed(node.name), *variable, " ", Placed(node.body)]

    def visit_class(self, node: ast.Class) -> Pieces:
        return [f"class {node.name} ", *braced(node.members)]

    def visit_field(self, node: ast.Field) -> Pieces:
        value: Pieces = [] if node.value is None else [" = ", Placed(node.value)]
        return [*(f"{word} " for word in node.modifiers), f"${node.name}", *value, ";"]

    def visit_method(self, node: ast.Method) -> Pieces:
        head = node.name if node.constructor else f"function {node.name}"
        return [*(f"{word} " for word in node.modifiers), head, *parameters(node.parameters), " ", Placed(node.body)]

    def visit_import(self, node: ast.Import) -> Pieces:
        names = bracketed("{", node.names, "}", space=True)
        return ["import ", *names, " from ", path(node.path), ";"]

    def visit_imported(self, node: ast.Imported) -> Pieces:
        sign = "$" if node.variable else ""
        return [f"{sign}{node.name}" if node.alias == node.name else f"{sign}{node.name} as {sign}{node.alias}"]

    def visit_import_all(self, node: ast.ImportAll) -> Pieces:
        return [f"import * as {node.alias} from ", path(node.path), ";"]

    def visit_import_data(self, node: ast.ImportData) -> Pieces:
        options: Pieces = [" with ", Placed(node.options)] if node.options else []
        return ["import ", Placed(node.variable), " from ", path(node.path), *options, ";"]

    def visit_try(self, node: ast.Try) -> Pieces:
        return ["try ", Placed(node.body), " catch (", Placed(node.variable), ") ", Placed(node.handler)]

    def visit_yield(self, node: ast.Yield) -> Pieces:
        key: Pieces = [] if node.key is None else [" ", Placed(node.key), " =>"]
        return ["yield", *key, *spaced(node.value), ";"]

    # ------------------------------------------------------------ operators: `end` as in Placed

    def visit_assign(self, node: ast.Assign, end: bool) -> Pieces:
        return [Placed(node.target, POSTFIX, False), f" {node.operator or ''}= ", Placed(node.value)]

    def visit_throw(self, node: ast.Throw, end: bool) -> Pieces:
        return ["throw ", Placed(node.value)]

    def visit_ternary(self, node: ast.Ternary, end: bool) -> Pieces:
        then: Pieces = [" ?: "] if node.then is None else [" ? ", Placed(node.then), " : "]
        return [Placed(node.condition, COALESCE, False), *then, last(node.otherwise, TERNARY, end)]

    def visit_coalesce(self, node: ast.Coalesce, end: bool) -> Pieces:
        return [Placed(node.left, OR, False), " ?? ", last(node.right, COALESCE, end)]

    def visit_logical(self, node: ast.Logical, end: bool) -> Pieces:
        level = OPERATORS[node.operator] + 1
        *parts, final = node.parts
        return chain(f"{node.operator} ", [*(Placed(part, level, False) for part in parts), last(final, level, end)])

    def visit_not(self, node: ast.Not, end: bool) -> Pieces:
        tilde = isinstance(node.operand, ast.Unary) and node.operand.operator == "~"  # `!~` is another operator
        return ["! " if tilde else "!", last(node.operand, PREFIX, end)]

    def visit_binary(self, node: ast.Binary, end: bool) -> Pieces:
        level = OPERATORS[node.operator]
        left, right = (PREFIX, POWER) if level == POWER else (level, level + 1)
        return [Placed(node.left, left, False), f" {node.operator} ", Placed(node.right, right, end)]

    def visit_concatenation(self, node: ast.Concatenation, end: bool) -> Pieces:
        *parts, final = node.parts
        return chain(". ", [*(Placed(part, SUM, False) for part in parts), Placed(final, SUM, end)])

    def visit_unary(self, node: ast.Unary, end: bool) -> Pieces:
        return [signed(node.operator, node.operand), Placed(node.operand, PREFIX, end)]

    def visit_step(self, node: ast.Step, end: bool = True) -> Pieces:
        operator = "++" if node.delta > 0 else "--"
        if node.before:
            return [signed(operator, node.target), Placed(node.target, PREFIX, end)]
        return [Placed(node.target, POSTFIX, False), operator]

    # ------------------------------------------------------------ operands

    def visit_literal(self, node: ast.Literal) -> Pieces:
        if isinstance(node.value, bytes):
            return [string(node.value)]
        if isinstance(node.value, float):
            return [number(node.value)]
        return ["none" if node.value is None else "true" if node.value else "false"]

    def visit_regex(self, node: ast.Regex) -> Pieces:
        return ["#" + node.value.decode("utf-8", "surrogateescape")]

    def visit_interpolation(self, node: ast.Interpolation) -> Pieces:
        texts: list[str] = []
        for part in reversed(node.parts):
            if isinstance(part, ast.Variable):
                braces = texts and WORD.match(texts[-1])
                texts.append(f"${{{part.name}}}" if braces else f"${part.name}")
            elif isinstance(part, ast.Literal) and isinstance(part.value, bytes):
                texts.append(escaped(part.value))
        return [f'"{"".join(reversed(texts))}"']

    def visit_variable(self, node: ast.Variable) -> Pieces:
        return [f"${node.name}"]

    def visit_array_literal(self, node: ast.ArrayLiteral) -> Pieces:
        return bracketed("[", node.items, "]")

    def visit_item(self, node: ast.Item) -> Pieces:
        key: Pieces = [] if node.key is None else [Placed(node.key), " => "]
        return ["..." if node.spread else "", *key, Placed(node.value)]

    def visit_subscript(self, node: ast.Subscript) -> Pieces:
        return [Placed(node.base, POSTFIX), "[", Placed(node.index), "]"]

    def visit_slice(self, node: ast.Slice) -> Pieces:
        bounds = [optional(bound, COALESCE) for bound in (node.first, node.last, node.step)]
        if node.step is None:
            return [Placed(node.base, POSTFIX), "[", *bounds[0], ":", *bounds[1], "]"]
        simple = node.last or node.first is None or isinstance(node.first, ast.Variable | ast.Literal)
        colon = ":" if simple else " : "  # `name::` would be a scope
        return [Placed(node.base, POSTFIX), "[", *bounds[0], colon, *bounds[1], ":", *bounds[2], "]"]

    def visit_append(self, node: ast.Append) -> Pieces:
        return [Placed(node.base, POSTFIX), "[]"]

    def visit_property(self, node: ast.Property) -> Pieces:
        return [Placed(node.base, POSTFIX), f"->{node.name}"]

    def visit_argument(self, node: ast.Argument) -> Pieces:
        return ["..." if node.spread else "", Placed(node.value)]

    def visit_function_name(self, node: ast.FunctionName) -> Pieces:
        return [f"builtin {node.name}" if node.builtin else node.name]

    def visit_scoped_name(self, node: ast.ScopedName) -> Pieces:
        return [f"{node.owner}::{node.name}"]

    def visit_scoped_variable(self, node: ast.ScopedVariable) -> Pieces:
        return [f"{node.owner}::${node.name}"]

    def visit_call(self, node: ast.Call) -> Pieces:
        return [Placed(node.callee, POSTFIX), *arguments(node.arguments)]

    def visit_cache(self, node: ast.Cache) -> Pieces:
        return ["cache ", Placed(node.options), " ", Placed(node.call)]

    def visit_isset(self, node: ast.Isset) -> Pieces:
        return ["isset", *arguments(node.targets)]

    def visit_unset(self, node: ast.Unset) -> Pieces:
        return ["unset", *arguments(node.targets)]

    def visit_parameter(self, node: ast.Parameter) -> Pieces:
        default: Pieces = [] if node.default is None else [" = ", Placed(node.default)]
        return ["...$" if node.variadic else "$", node.name, *default]

    def visit_lambda(self, node: ast.Lambda) -> Pieces:
        captures = f" closure ({', '.join('$' + item.name for item in node.captures)})" if node.captures else ""
        listed = [] if node.parameters is None else [" ", *parameters(node.parameters)]
        return ["function", *listed, captures, " ", *function_body(node.body)]

    def visit_match(self, node: ast.Match) -> Pieces:
        return ["match (", Placed(node.subject), ") ", *braced(node.arms)]

    def visit_match_arm(self, node: ast.MatchArm) -> Pieces:
        tests = separated([Placed(test) for test in node.tests], ", ") if node.tests else ["default"]
        return [*tests, " => ", Placed(node.value), ","]


# ---------------------------------------------------------------- precedence


def level_of(node: ast.Node) -> int:
    """How tightly a node binds; statements and whatever needs no parentheses anywhere count as operands."""
    if isinstance(node, ast.Binary | ast.Logical):
        return OPERATORS[node.operator]
    if isinstance(node, ast.Step) and node.before:
        return PREFIX
    return LEVELS.get(type(node), POSTFIX)


def last(node: ast.Expression, level: int, end: bool) -> Placed:
    """The last operand of an operator that takes a bare assignment or throw, as in `!$x = f()` and `$x ?? throw 1`."""
    bare = end and isinstance(node, ast.Assign | ast.Throw)
    return Placed(node, ASSIGNMENT if bare else level, end)


def signed(operator: str, operand: ast.Expression) -> str:
    """A sign, and a space where it would run together with the operand's own."""
    inner = operand.operator if isinstance(operand, ast.Unary) else ""
    if isinstance(operand, ast.Step) and operand.before:
        inner = "++" if operand.delta > 0 else "--"
    return f"{operator} " if operator != "~" and inner.startswith(operator[0]) else operator


def ends_with_if(node: ast.Statement) -> bool:
    """Whether an `else` behind a statement would belong to an `if` inside it. Only made trees have that."""
    while isinstance(node, ast.If | ast.While | ast.For | ast.Foreach):
        if not isinstance(node, ast.If):
            node = node.body
        elif node.otherwise is None:
            return True
        else:
            node = node.otherwise
    return False


# ---------------------------------------------------------------- rows of pieces


def lines(nodes: Sequence[ast.Node]) -> Pieces:
    """One node a line; functions and classes have an empty line around them."""
    pieces: Pieces = []
    before: ast.Node | None = None
    for node in nodes:
        if before is not None:
            apart = any(isinstance(item, ast.Function | ast.Class | ast.Method) for item in (before, node))
            pieces += [Mark.NEWLINE, Mark.NEWLINE] if apart else [Mark.NEWLINE]
        pieces.append(Placed(node))
        before = node
    return pieces


def braced(nodes: Sequence[ast.Node]) -> Pieces:
    if not nodes:
        return ["{}"]
    return ["{", Mark.INDENT, Mark.NEWLINE, *lines(nodes), Mark.DEDENT, Mark.NEWLINE, "}"]


def body(node: ast.Statement) -> Pieces:
    """What a loop or an `if` holds: a block in the same line, another statement in the next."""
    if isinstance(node, ast.Block):
        return [" ", Placed(node)]
    return [Mark.INDENT, Mark.NEWLINE, Placed(node), Mark.DEDENT]


def function_body(block: ast.Block) -> Pieces:
    if len(block.statements) != 1 or not isinstance(block.statements[0], SHORT):
        return [Placed(block)]
    statement = Placed(block.statements[0])
    return [Mark.OPEN_WHOLE, "{", Mark.BREAK_OR_SPACE, statement, Mark.LAST_BREAK_OR_SPACE, "}", Mark.CLOSE]


def optional(node: ast.Expression | None, level: int = ASSIGNMENT) -> Pieces:
    return [] if node is None else [Placed(node, level)]


def spaced(node: ast.Expression | None) -> Pieces:
    return [] if node is None else [" ", Placed(node)]


def separated(items: Iterable[Piece], separator: Piece) -> Pieces:
    pieces: Pieces = []
    for item in items:
        pieces += [separator, item] if pieces else [item]
    return pieces


def chain(operator: str, operands: Sequence[Piece]) -> Pieces:
    """A long chain has each operator at the beginning of a line."""
    rest: Pieces = []
    for operand in operands[1:]:
        rest += [Mark.BREAK_OR_SPACE, operator, operand]
    return [Mark.OPEN, operands[0], *rest, Mark.CLOSE]


def bracketed(opening: str, nodes: Sequence[ast.Node], closing: str, space: bool = False) -> Pieces:
    if not nodes:
        return [opening + closing]
    first, final = (Mark.BREAK_OR_SPACE, Mark.LAST_BREAK_OR_SPACE) if space else (Mark.BREAK, Mark.LAST_BREAK)
    pieces: Pieces = [Mark.OPEN, opening, first]
    for node in nodes[:-1]:
        pieces += [Placed(node), ",", Mark.BREAK_OR_SPACE]
    return [*pieces, Placed(nodes[-1]), Mark.COMMA, final, closing, Mark.CLOSE]


def arguments(nodes: Sequence[ast.Argument]) -> Pieces:
    if len(nodes) == 1 and isinstance(nodes[0].value, BRACKETED):
        return ["(", Placed(nodes[0]), ")"]
    return bracketed("(", nodes, ")")


def parameters(nodes: Sequence[ast.Parameter] | None) -> Pieces:
    return [] if nodes is None else bracketed("(", nodes, ")")


# ---------------------------------------------------------------- literals


def number(value: float) -> str:
    """The shortest form that reads back, without an exponent: a script's text has none."""
    if value == float("inf"):
        return INFINITE
    return format(Decimal(repr(value)), "f").removesuffix(".0")


def path(name: str) -> str:
    return string(name.encode("utf-8", "surrogateescape"))


def string(value: bytes) -> str:
    """In double quotes; raw where that spares backslashes."""
    text = value.decode("utf-8", "surrogateescape")
    if ("\\" in text or '"' in text) and "'" not in text and text.isprintable():
        return f"''{text}''"
    return f'"{escaped(value)}"'


def escaped(value: bytes) -> str:
    """The inside of a double-quoted string; what cannot be seen is written by its bytes."""
    text = value.decode("utf-8", "surrogateescape")
    text = ESCAPED.sub(lambda found: ESCAPES.get(found[0], "\\" + found[0]), text)
    return text if text.isprintable() else "".join(map(visible, text))


def visible(char: str) -> str:
    if char.isprintable():
        return char
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))


@cache
def method_name(kind: str) -> str:
    return "visit" + re.sub("(?=[A-Z])", "_", kind).lower()
