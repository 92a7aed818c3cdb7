"""Source text in, syntax tree out. Syntax errors are translated here, at one door, into our own Diagnostics.

After a syntax error the broken statement is blanked out and the text parsed again, so that several mistakes give
several errors, each at its own place. The tree is built during the parse: walking Lark's own would recurse.
"""

from __future__ import annotations

import re
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, cast

from hsl import ast, tables
from hsl.errors import Diagnostics
from hsl.lalr import Automaton, Token
from hsl.source import Source, Span

if TYPE_CHECKING:
    from lark import Lark

    from hsl.syntaxerrors import Finding

MAX_ERRORS = 20
MAX_SOURCE = 4 * 1024 * 1024  # characters of one file
MAX_REPARSED = 4 * 1024 * 1024  # characters parsed again in search of more errors

INTERPOLATED = re.compile(r"\$(?:([a-zA-Z_][a-zA-Z0-9_]*)|\{([a-zA-Z_][a-zA-Z0-9_]*)\})")
ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.)", re.S)
ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def parse(source: Source, diagnostics: Diagnostics) -> ast.Script:
    """The tree of a source. Syntax errors go to `diagnostics`; the tree then lacks the broken statements."""
    if len(source.text) > MAX_SOURCE:
        diagnostics.error("syntax", f"the file is larger than {MAX_SOURCE} characters", Span(source, 0, 0))
        return ast.Script(Span(source, 0, 0), ())
    return parser().parse(source, diagnostics)


@cache
def parser() -> Parser:
    """The one parser of the process: its tables are made once. It parses one text at a time."""
    return Parser()


class Parser:
    """Reads by the grammar's tables. Where they lead nowhere Lark is asked: it knows what would have been right."""

    def __init__(self) -> None:
        made = tables.load()
        self.builder = Builder()
        self.builder.words = tables.keywords(made)
        self.automaton = Automaton(made, self.builder)

    @cached_property
    def lark(self) -> Lark:
        return tables.lark()

    def parse(self, source: Source, diagnostics: Diagnostics) -> ast.Script:
        text = source.text
        reported: set[int] = set()
        for _ in range(min(MAX_ERRORS, 2 + MAX_REPARSED // (len(text) + 1))):
            self.builder.begin(source)
            script = self.automaton.parse(text)
            if script is not None:
                diagnostics.items += self.builder.problems.items
                return cast(ast.Script, script)
            finding = self.explain(source, text)
            if finding.position > len(source.text):
                break
            if finding.position not in reported:
                finding.report(diagnostics)
                reported.add(finding.position)
            without = self.repair(finding)
            if without is None:
                break
            text = without
        return ast.Script(Span(source, 0, 0), ())

    def explain(self, source: Source, text: str) -> Finding:
        """The first error of a text."""
        from lark.exceptions import UnexpectedInput
        from lark.lexer import PatternStr

        from hsl.syntaxerrors import Finding

        strings = [item for item in self.lark.terminals if isinstance(item.pattern, PatternStr)]
        try:
            self.lark.parse(text)
        except UnexpectedInput as error:
            return Finding(error, source, text, {item.name: item.pattern.value for item in strings})
        raise AssertionError("Lark reads what its tables do not")

    @staticmethod
    def repair(finding: Finding) -> str | None:
        """The text without an error, or None."""
        from hsl.repair import closed, repaired, with_semicolon

        text, position = finding.text, finding.position
        if position == len(text):
            without = closed(text, finding.lacks_semicolon)
        else:
            without = with_semicolon(text, finding.before[1], position) if finding.lacks_semicolon else None
        return without or repaired(text, position)


class Builder:
    """Makes the tree's nodes while the text is read. One method for each rule of the grammar."""

    words: frozenset[str] = frozenset()  # the keywords

    def begin(self, source: Source) -> None:
        self.source = source
        self.problems = Diagnostics()

    def at(self, first: Any, last: Any | None = None) -> Span:
        """The span from one token or node to another."""
        last = first if last is None else last
        start: int = first.start_pos if isinstance(first, Token) else first.span.start
        end: int = last.end_pos if isinstance(last, Token) else last.span.end
        return Span(self.source, start, max(start, end))

    def start(self, children: list[Any]) -> ast.Script:
        return ast.Script(Span(self.source, 0, 0), tuple(children))

    # ------------------------------------------------------------ statements

    def empty(self, children: list[Any]) -> ast.Block:
        return ast.Block(Span(self.source, 0, 0), ())

    def block(self, children: list[Any]) -> ast.Block:
        span = self.at(children[0], children[-1]) if children else Span(self.source, 0, 0)
        return ast.Block(span, tuple(children))

    def optional(self, children: list[Any]) -> Any:
        return children[0]

    bound = optional

    def expression_statement(self, children: list[Any]) -> ast.ExpressionStatement:
        return ast.ExpressionStatement(children[0].span, children[0])

    def echo(self, children: list[Any]) -> ast.Echo:
        return ast.Echo(self.at(*children), children[1])

    def if_statement(self, children: list[Any]) -> ast.If:
        otherwise = children[3] if len(children) > 3 else None
        return ast.If(self.at(children[0], children[1]), children[1], children[2], otherwise)

    def while_statement(self, children: list[Any]) -> ast.While:
        return ast.While(self.at(children[0]), children[1], children[2])

    def forever(self, children: list[Any]) -> ast.While:
        return ast.While(self.at(children[0]), None, children[1])

    def for_statement(self, children: list[Any]) -> ast.For:
        return ast.For(self.at(children[0]), *children[1:])

    def foreach(self, children: list[Any]) -> ast.Foreach:
        keyword, subject, *key, value, body = children
        return ast.Foreach(self.at(keyword, subject), subject, self.variable(key) if key else None, value, body)

    def switch(self, children: list[Any]) -> ast.Switch:
        return ast.Switch(self.at(children[0]), children[1], tuple(children[2:]))

    def case(self, children: list[Any]) -> ast.Case:
        return ast.Case(self.at(children[0]), children[1], tuple(children[2:]))

    def default(self, children: list[Any]) -> ast.Case:
        return ast.Case(self.at(children[0]), None, tuple(children[1:]))

    def break_statement(self, children: list[Any]) -> ast.Break:
        return ast.Break(self.at(children[0]))

    def continue_statement(self, children: list[Any]) -> ast.Continue:
        return ast.Continue(self.at(children[0]))

    def return_statement(self, children: list[Any]) -> ast.Return:
        return ast.Return(self.at(children[0]), children[1])

    def function(self, children: list[Any]) -> ast.Function:
        _, name, *parameters, body = children
        return ast.Function(self.at(name), str(name), parameters[0] if parameters else None, body)

    def class_statement(self, children: list[Any]) -> ast.Class:
        return ast.Class(self.at(children[1]), str(children[1]), tuple(children[2:]))

    def modifiers(self, children: list[Any]) -> tuple[str, ...]:
        return tuple(str(item) for item in children)

    def field(self, children: list[Any]) -> ast.Field:
        modifiers, name, *value = children
        return ast.Field(self.at(name), modifiers, name[1:], value[1] if value else None)

    def method(self, children: list[Any]) -> ast.Method:
        modifiers, keyword, *name, parameters, body = children
        name = name[0] if name else keyword
        return ast.Method(self.at(name), modifiers, str(name), parameters, body, keyword.type == "CONSTRUCTOR")

    def yield_statement(self, children: list[Any]) -> ast.Yield:
        keyword, *key, value = children
        return ast.Yield(self.at(keyword, value), key[0] if key else None, value)

    def try_statement(self, children: list[Any]) -> ast.Try:
        keyword, body, _, variable, handler = children
        return ast.Try(self.at(keyword), body, self.variable([variable]), handler)

    def global_statement(self, children: list[Any]) -> ast.Global:
        return ast.Global(self.at(children[0]), tuple(self.variable([name]) for name in children[1:]))

    def path(self, token: Token, statement: str) -> str | None:
        """The file that a statement names; None after an error."""
        literal = self.string([token]) if token.type == "STRING" else self.raw_string([token])
        if not isinstance(literal, ast.Literal):
            self.problems.error(statement, f"{statement} takes a plain string", literal.span)
            return None
        return cast(bytes, literal.value).decode("utf-8", "surrogateescape")

    def include(self, children: list[Any]) -> ast.Include | ast.Block:
        keyword, token = children
        path = self.path(token, "include")
        if path is None:
            return self.empty([])
        return ast.Include(self.at(keyword, token), path, keyword.type == "INCLUDE_ONCE")

    def imported(self, children: list[Any]) -> ast.Imported:
        name, alias = children
        variable = name.type == "VARIABLE"
        names = [str(item)[1:] if variable else str(item) for item in (name, name if alias is None else alias)]
        return ast.Imported(self.at(name, alias), names[0], names[1], variable)

    def import_names(self, children: list[Any]) -> ast.Import | ast.Block:
        keyword, *names, _, token = children
        path = self.path(token, "import")
        return self.empty([]) if path is None else ast.Import(self.at(keyword, token), tuple(names), path)

    def import_all(self, children: list[Any]) -> ast.ImportAll | ast.Block:
        keyword, _, alias, _, token = children
        path = self.path(token, "import")
        return self.empty([]) if path is None else ast.ImportAll(self.at(keyword, token), str(alias), path)

    def import_data(self, children: list[Any]) -> ast.ImportData | ast.Block:
        keyword, variable, _, token, options = children
        path = self.path(token, "import")
        if path is None:
            return self.empty([])
        return ast.ImportData(self.at(keyword, token), self.variable([variable]), path, options)

    def barrier(self, children: list[Any]) -> ast.Barrier:
        variable = self.variable([children[2]]) if len(children) == 4 else None
        return ast.Barrier(self.at(children[0], children[1]), children[1], variable, children[-1])

    def parameters(self, children: list[Any]) -> tuple[ast.Parameter, ...]:
        return tuple(children)

    def parameter(self, children: list[Any]) -> ast.Parameter:
        default = children[1] if len(children) > 1 else None
        return ast.Parameter(self.at(children[0]), children[0][1:], default)

    def variadic(self, children: list[Any]) -> ast.Parameter:
        return ast.Parameter(self.at(children[0]), children[0][1:], None, True)

    # ------------------------------------------------------------ expressions

    def ternary(self, children: list[Any]) -> ast.Ternary:
        return ast.Ternary(self.at(children[0], children[2]), *children)

    def elvis(self, children: list[Any]) -> ast.Ternary:
        return ast.Ternary(self.at(*children), children[0], None, children[1])

    def coalesce(self, children: list[Any]) -> ast.Coalesce:
        return ast.Coalesce(self.at(*children), *children)

    def disjunction(self, children: list[Any]) -> ast.Logical:
        return self.logical("or", children)

    def conjunction(self, children: list[Any]) -> ast.Logical:
        return self.logical("and", children)

    def logical(self, operator: str, children: list[Any]) -> ast.Logical:
        return ast.Logical(self.at(children[0], children[-1]), operator, tuple(children))

    def negate(self, children: list[Any]) -> ast.Not:
        return ast.Not(self.at(*children), children[1])

    def binary(self, children: list[Any]) -> ast.Binary:
        left, operator, right = children
        return ast.Binary(self.at(left, right), str(operator), left, right)

    def bit_or(self, children: list[Any]) -> ast.Binary:
        return ast.Binary(self.at(*children), "|", *children)

    def bit_xor(self, children: list[Any]) -> ast.Binary:
        return ast.Binary(self.at(*children), "^", *children)

    def bit_and(self, children: list[Any]) -> ast.Binary:
        return ast.Binary(self.at(*children), "&", *children)

    def concatenation(self, children: list[Any]) -> ast.Concatenation:
        return ast.Concatenation(self.at(children[0], children[-1]), tuple(children))

    def assign(self, children: list[Any]) -> ast.Assign:
        target, operator, value = children
        return ast.Assign(self.at(target, value), target, None if operator == "=" else operator[:-1], value)

    def throw(self, children: list[Any]) -> ast.Throw:
        return ast.Throw(self.at(*children), children[1])

    def unary(self, children: list[Any]) -> ast.Unary:
        return ast.Unary(self.at(*children), str(children[0]), children[1])

    def step_before(self, children: list[Any]) -> ast.Step:
        return ast.Step(self.at(*children), children[1], 1 if children[0] == "++" else -1, True)

    def step_after(self, children: list[Any]) -> ast.Step:
        return ast.Step(self.at(*children), children[0], 1 if children[1] == "++" else -1, False)

    def subscript(self, children: list[Any]) -> ast.Subscript:
        return ast.Subscript(self.at(*children), *children)

    def slice_bounds(self, children: list[Any]) -> list[Any]:
        return children if len(children) == 3 else [*children, None]

    def slice(self, children: list[Any]) -> ast.Slice:
        return ast.Slice(self.at(children[0]), children[0], *children[1])

    def append(self, children: list[Any]) -> ast.Append:
        return ast.Append(self.at(children[0]), children[0])

    def property(self, children: list[Any]) -> ast.Property:
        return ast.Property(self.at(*children), children[0], str(children[1]))

    def call(self, children: list[Any]) -> ast.Call:
        callee, arguments = children
        span = self.at(callee, arguments[-1]) if arguments else self.at(callee)
        return ast.Call(span, callee, arguments)

    def arguments(self, children: list[Any]) -> tuple[ast.Argument, ...]:
        return tuple(item if isinstance(item, ast.Argument) else ast.Argument(item.span, item) for item in children)

    def spread_argument(self, children: list[Any]) -> ast.Argument:
        return ast.Argument(children[0].span, children[0], True)

    def variable(self, children: list[Any]) -> ast.Variable:
        return ast.Variable(self.at(children[0]), children[0][1:])

    def number(self, children: list[Any]) -> ast.Literal:
        digits = children[0].replace("_", "")
        base = {"0x": 16, "0o": 8, "0b": 2}.get(digits[:2])
        if base is None:
            return ast.Literal(self.at(children[0]), float(digits))
        whole = int(digits[2:], base) if len(digits) <= 258 else 1 << 1024
        return ast.Literal(self.at(children[0]), float(whole) if whole < 1 << 1023 else float("inf"))

    def raw_string(self, children: list[Any]) -> ast.Literal:
        token = children[0]
        fence = token.index("'", 1) + 1
        return ast.Literal(self.at(token), token[fence : len(token) - fence].encode("utf-8", "surrogateescape"))

    def string(self, children: list[Any]) -> ast.Expression:
        token = children[0]
        body = str(token)[1:-1]
        span = self.at(token)
        if "$" not in body:
            return ast.Literal(span, unescape(body))
        parts: list[ast.Expression] = []
        literal, position = [], 0
        while position < len(body):
            if body[position] == "\\":
                literal.append(body[position : position + 2])
                position += 2
                continue
            match = INTERPOLATED.match(body, position) if body[position] == "$" else None
            if match is None:
                literal.append(body[position])
                position += 1
                continue
            if literal:
                parts.append(ast.Literal(span, unescape("".join(literal))))
                literal = []
            place = span.start + 1 + position
            parts.append(ast.Variable(Span(self.source, place, place + len(match[0])), match[1] or match[2]))
            position = match.end()
        if literal:
            parts.append(ast.Literal(span, unescape("".join(literal))))
        if len(parts) == 1 and isinstance(parts[0], ast.Literal):
            return parts[0]
        return ast.Interpolation(span, tuple(parts))

    def constant(self, children: list[Any]) -> ast.Literal:
        value = {"true": True, "false": False, "none": None}[str(children[0])]
        return ast.Literal(self.at(children[0]), value)

    def name(self, children: list[Any]) -> Token:
        return cast(Token, children[0])

    def function_name(self, children: list[Any]) -> ast.FunctionName:
        self.check_word(children[0])
        return ast.FunctionName(self.at(children[0]), str(children[0]))

    def scope(self, children: list[Any]) -> Token:
        if children[0].type == "NAME":
            self.check_word(children[0])
        return cast(Token, children[0])

    def check_word(self, name: Token) -> None:
        """A keyword where only a name may stand is read as one."""
        if name in self.words:
            from hsl.syntaxerrors import MISPLACED  # it brings Lark along

            hint = MISPLACED.get(name)
            self.problems.error("syntax", f"unexpected `{name}`, expected an expression", self.at(name), hint)

    def scoped_name(self, children: list[Any]) -> ast.ScopedName:
        return ast.ScopedName(self.at(*children), str(children[0]), str(children[1]))

    def scoped_variable(self, children: list[Any]) -> ast.ScopedVariable:
        return ast.ScopedVariable(self.at(*children), str(children[0]), str(children[1])[1:])

    def regex(self, children: list[Any]) -> ast.Regex:
        return ast.Regex(self.at(children[0]), children[0][1:].encode("utf-8", "surrogateescape"))

    def builtin_name(self, children: list[Any]) -> ast.FunctionName:
        return ast.FunctionName(self.at(children[1]), str(children[1]), True)

    def group(self, children: list[Any]) -> Any:
        return children[0]

    def array(self, children: list[Any]) -> ast.ArrayLiteral:
        bracket, items = children
        return ast.ArrayLiteral(self.at(bracket, items[-1] if items else bracket), items)

    def items(self, children: list[Any]) -> tuple[ast.Item, ...]:
        return tuple(children)

    def item(self, children: list[Any]) -> ast.Item:
        key = children[0] if len(children) == 2 else None
        return ast.Item(self.at(children[0], children[-1]), key, children[-1])

    def spread(self, children: list[Any]) -> ast.Item:
        return ast.Item(children[0].span, None, children[0], True)

    options = array

    def cache(self, children: list[Any]) -> ast.Cache:
        keyword, options, callee, arguments = children
        return ast.Cache(self.at(keyword, callee), options, ast.Call(callee.span, callee, arguments))

    def isset(self, children: list[Any]) -> ast.Isset:
        return ast.Isset(self.at(children[0]), children[1])

    def unset(self, children: list[Any]) -> ast.Unset:
        return ast.Unset(self.at(children[0]), children[1])

    def captures(self, children: list[Any]) -> tuple[ast.Variable, ...]:
        return tuple(self.variable([name]) for name in children if name is not None)

    def lambda_function(self, children: list[Any]) -> ast.Lambda:
        keyword, *parameters, body = children
        listed, captures = parameters if parameters else (None, None)
        return ast.Lambda(self.at(keyword), listed, captures or (), body)

    def arm(self, children: list[Any]) -> ast.MatchArm:
        *tests, value = children
        return ast.MatchArm(self.at(children[0], value), tuple(tests), value)

    def default_arm(self, children: list[Any]) -> ast.MatchArm:
        return ast.MatchArm(self.at(*children), (), children[1])

    def match(self, children: list[Any]) -> ast.Match:
        keyword, subject, *arms = children
        return ast.Match(self.at(keyword, subject), subject, tuple(arm for arm in arms if arm is not None))


def unescape(body: str) -> bytes:
    """The bytes of a double-quoted literal: the reference's escapes; an unknown one stays as written."""
    if "\\" not in body:
        return body.encode("utf-8", "surrogateescape")
    parts, last = [], 0
    for match in ESCAPE.finditer(body):
        parts.append(body[last : match.start()].encode("utf-8", "surrogateescape"))
        escape = match[1]
        if escape[0] == "x" and len(escape) == 3:
            parts.append(bytes([int(escape[1:], 16)]))
        elif escape in ESCAPES:
            parts.append(ESCAPES[escape].encode())
        elif escape in '\\"$':
            parts.append(escape.encode())
        else:
            parts.append(match[0].encode("utf-8", "surrogateescape"))
        last = match.end()
    parts.append(body[last:].encode("utf-8", "surrogateescape"))
    return b"".join(parts)
