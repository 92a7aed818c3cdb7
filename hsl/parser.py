"""Source text in, syntax tree out. Lark's errors are translated here, at one door, into our own Diagnostics.

After a syntax error the broken statement is blanked out and the text parsed again, so that several mistakes give
several errors, each at its own place. The tree is built during the parse: walking Lark's own would recurse.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any, cast

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from hsl import ast
from hsl.errors import Diagnostics
from hsl.source import Source, Span

MAX_ERRORS = 20
MAX_SOURCE = 4 * 1024 * 1024  # characters of one file
MAX_REPARSED = 4 * 1024 * 1024  # characters parsed again in search of more errors

INTERPOLATED = re.compile(r"\$(?:([a-zA-Z_][a-zA-Z0-9_]*)|\{([a-zA-Z_][a-zA-Z0-9_]*)\})")
ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.)", re.S)
ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
LATER = {
    "class": "classes",
    "import": "modules",
    "try": "exceptions",
    "catch": "exceptions",
    "throw": "exceptions",
    "match": "match expressions",
    "closure": "closures",
    "yield": "generators",
    "static": "classes",
    "::": "classes",
}
WANTED = (
    ("SEMICOLON", "`;`"), ("RPAR", "`)`"), ("RSQB", "`]`"), ("COLON", "`:`"), ("VARIABLE", "a variable"),
    ("NAME", "a name"), ("LPAR", "`(`"), ("LBRACE", "`{`"), ("STRING", "a string"), ("CASE", "`case`"),
)  # fmt: skip
CASE = "case 0:"
TRIVIA = re.compile(r"//[^\n]*|/\*.*?\*/|\s+", re.S)
LEXEME = re.compile(  # what has no end reaches to the end of the text: so every scan is linear
    r'//[^\n]*|/\*.*?(?:\*/|\Z)|\s+|"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|'
    r"'(?P<delimiter>[!-&(-~]*)'.*?(?:'(?P=delimiter)'|\Z)|[a-zA-Z0-9_$]+|::|.",
    re.S,
)
FILLERS = {  # what stands for the broken inside of a statement's parentheses: the first that has room
    "if": ("0",), "while": ("0",), "switch": ("0",), "for": (";;",), "foreach": ("0 as $_",), "function": ("...$_", ""),
}  # fmt: skip
MISPLACED = {"else", "elseif", "case", "default", "as", "and", "or"}  # lexed as names where they make no sense


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
    def __init__(self) -> None:
        grammar = resources.files("hsl.grammar").joinpath("hsl.lark").read_text(encoding="utf-8")
        self.builder = Builder()
        self.lark = Lark(grammar, parser="lalr", maybe_placeholders=True, transformer=self.builder)

    def parse(self, source: Source, diagnostics: Diagnostics) -> ast.Script:
        text = source.text
        reported: set[int] = set()
        for _ in range(min(MAX_ERRORS, 2 + MAX_REPARSED // (len(text) + 1))):
            self.builder.begin(source)
            try:
                script = cast(ast.Script, self.lark.parse(text))
            except UnexpectedInput as error:
                position = place_of(error, text)
                if position > len(source.text):
                    break
                found = Diagnostics() if position in reported else diagnostics
                reported.add(position)
                repaired = self.repair(error, position, source, text, found)
                if repaired is None:
                    break
                text = repaired
            else:
                diagnostics.items += self.builder.problems.items
                return script
        return ast.Script(Span(source, 0, 0), ())

    @staticmethod
    def repair(
        error: UnexpectedInput, position: int, source: Source, text: str, diagnostics: Diagnostics
    ) -> str | None:
        """Report an error, and give a text without it, or None."""
        later = unsupported(text, position)
        if later is not None:
            start, keyword = later
            message = f"`{keyword}`: {LATER[keyword]} are not supported by this version"
            diagnostics.error("syntax", message, Span(source, start, start + len(keyword)))
            return blank_construct(text, start)
        report(error, position, source, text, diagnostics)
        if position == len(text):
            return text + "}" * len(unclosed_braces(text)) if unclosed_braces(text) else None
        return blank(text, position)


def place_of(error: UnexpectedInput, text: str) -> int:
    """The offset of a syntax error; the end of the text when that is what was unexpected."""
    at_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    return len(text) if at_end or error.pos_in_stream is None else error.pos_in_stream


def report(error: UnexpectedInput, position: int, source: Source, text: str, diagnostics: Diagnostics) -> None:
    """Say in our words what Lark found."""
    before = last_lexeme(text, position)
    if isinstance(error, UnexpectedCharacters) or text.startswith("/*", position):
        report_character(position, source, text, diagnostics)
        return
    accepts = cast(UnexpectedToken, error).accepts or ()
    behind_name = "LPAR" in accepts and "NAME" not in accepts
    for start, misplaced in neighbours(text, position)[1:]:
        if misplaced in MISPLACED and behind_name:
            advice = "write `else if`" if misplaced == "elseif" else None
            span = Span(source, start, start + len(misplaced))
            diagnostics.error("syntax", f"unexpected `{misplaced}`", span, advice)
            return
    token = cast(UnexpectedToken, error).token
    wanted = expected(cast(UnexpectedToken, error))
    if token.type == "$END":
        opening = unclosed_braces(text)[-1:]
        lines = [source.line_column(place)[0] for place in opening]
        hint = f"the `{{` of line {lines[0]} is never closed" if lines else None
        diagnostics.error("syntax", f"unexpected end of file{wanted}", Span(source, *before), hint)
        return
    span = token_span(source, token)
    if wanted == ", expected `;`" and source.line_column(before[1])[0] < span.line:
        diagnostics.error("syntax", "expected `;` after this", Span(source, before[1] - 1, before[1]))
        return
    shown = str(token).split("\n", 1)[0]
    shown = shown if len(shown) <= 30 else shown[:27] + "..."
    diagnostics.error("syntax", f"unexpected `{shown}`{wanted}", span)


def report_character(position: int, source: Source, text: str, diagnostics: Diagnostics) -> None:
    char = text[position]
    span = Span(source, position, position + 1)
    if char == '"':
        diagnostics.error("syntax", "this string has no end", span, 'a string ends with `"`')
    elif char == "'":
        hint = "raw strings are written ''text'' or 'X'text'X'"
        diagnostics.error("syntax", "this raw string has no end", span, hint)
    elif text.startswith("/*", position):
        diagnostics.error("syntax", "this comment has no end", Span(source, position, position + 2))
    elif char == "$":
        diagnostics.error("syntax", "a variable's name is missing after `$`", span)
    else:
        advice = "comments are written // or /* */" if char == "#" else None
        shown = char if char.isprintable() or "\udc80" <= char <= "\udcff" else f"\\x{ord(char):02x}"
        diagnostics.error("syntax", f"unexpected character `{shown}`", span, advice)


def expected(error: UnexpectedToken) -> str:
    """`, expected …` for the most telling of what would have been right here."""
    accepted = error.accepts or set()
    if "NUMBER" in accepted:
        if "IF" not in accepted:
            return ", expected an expression"
        return ", expected a statement or `}`" if "RBRACE" in accepted else ", expected a statement"
    for terminal, shown in WANTED:
        if terminal in accepted:
            return f", expected {shown}"
    return ""


def token_span(source: Source, token: Token) -> Span:
    start = token.start_pos or 0
    return Span(source, start, token.end_pos or start + len(token))


# ---------------------------------------------------------------- repairs


def lexemes(text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, str]]:
    """The tokens from one offset to another, each with its place; comments and blanks are left out."""
    for match in LEXEME.finditer(text, start, len(text) if end is None else end):
        if not TRIVIA.fullmatch(match[0]):
            yield match.start(), match[0]


def last_lexeme(text: str, position: int) -> tuple[int, int]:
    """Start and end of the last token before a position."""
    found = (0, min(1, len(text)))
    for start, lexeme in lexemes(text, 0, position):
        found = (start, start + len(lexeme))
    return found


def unclosed_braces(text: str) -> list[int]:
    opened: list[int] = []
    for place, lexeme in lexemes(text):
        if lexeme == "{":
            opened.append(place)
        elif lexeme == "}" and opened:
            opened.pop()
    return opened


def declared_names(text: str) -> set[str]:
    """What a broken text may declare: names behind `function` and `class`, and between `import` and `from`."""
    names: set[str] = set()
    importing, before = False, ""
    for _, lexeme in lexemes(text):
        importing = lexeme == "import" or (importing and lexeme != "from")
        if importing or before in ("function", "class"):
            names.add(lexeme)
        before = lexeme
    return names


def unsupported(text: str, position: int) -> tuple[int, str] | None:
    """The keyword of a later version that an error is about: at the error, before it, or before `(…) {`."""
    here, last, head = neighbours(text, position)
    for found in (here, last):
        if found[1] in LATER:
            return found
    return head if here[1] == "{" and head[1] in LATER else None


def neighbours(text: str, position: int) -> tuple[tuple[int, str], tuple[int, str], tuple[int, str]]:
    """The token at a position, the one before, and if that closes a parenthesis the one before the parenthesis."""
    heads: list[tuple[int, str]] = []  # what stood before each open parenthesis
    last = closed = (0, "")
    for start, lexeme in lexemes(text, 0, position):
        if lexeme == "(":
            heads.append(last)
        elif lexeme == ")" and heads:
            closed = heads.pop()
        last = (start, lexeme)
    here = next(lexemes(text, position), (position, ""))
    return here, last, closed if last[1] == ")" else (0, "")


def blank(text: str, position: int) -> str | None:
    """The text with the statement around an error blanked out, line ends kept; None if nothing is left to blank."""
    start, opening, depth = statement_start(text, position)
    keyword = re.compile(r"\s*([a-z]+)").match(text, start)
    word = keyword[1] if keyword else ""
    for filler in FILLERS.get(word, ()) if depth > 0 else ():
        repaired = filled(text, opening, filler)
        if repaired is not None:
            return repaired
    end = statement_end(text, start, max(position, start))
    if word in ("case", "default") and end - start > len(CASE):
        return text[:start] + CASE + spaces(text[start + len(CASE) : end]) + text[end:]
    return blanked(text, start, end)


def blank_construct(text: str, position: int) -> str | None:
    """The same for a construct of a later version, its braces and all."""
    return blanked(text, statement_start(text, position)[0], construct_end(text, position))


def blanked(text: str, start: int, end: int) -> str | None:
    if not text[start:end].strip():
        return None
    return text[:start] + spaces(text[start:end]) + text[end:]


def spaces(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def filled(text: str, opening: int, filler: str) -> str | None:
    """The text with the inside of a statement's parentheses replaced, and closed before `{` if they were not."""
    depth = 0
    for place, lexeme in lexemes(text, opening):
        if lexeme in "([":
            depth += 1
        elif lexeme in ")]":
            depth -= 1
        if lexeme in "{}" or depth == 0:
            closed = filler + ")" if lexeme == "{" else filler
            if lexeme == "}" or place - opening - 1 < len(closed):
                return None
            inner = spaces(text[opening + 1 : place])
            return text[: opening + 1] + closed + inner[len(closed) :] + text[place:]
    return None


def statement_start(text: str, position: int) -> tuple[int, int, int]:
    """Where the statement around a position begins; the outermost parenthesis open there, and how many are."""
    start, depth, opening = 0, 0, 0
    for place, lexeme in lexemes(text, 0, position):
        if lexeme in "([":
            if depth == 0:
                opening = place
            depth += 1
        elif lexeme in ")]":
            depth = max(0, depth - 1)
        elif lexeme in "{}" or (lexeme == ";" and depth == 0):
            start, depth = place + 1, 0
    return start, opening, depth


def statement_end(text: str, start: int, position: int) -> int:
    """Behind the `;` that ends the statement, or before the brace that does; past a brace that stands alone."""
    for place, lexeme in lexemes(text, position):
        if lexeme == ";":
            return place + 1
        if lexeme[0] == '"' and (len(lexeme) == 1 or place + len(lexeme) == len(text)):  # it has no end
            line_end = text.find("\n", place)
            return len(text) if line_end < 0 else line_end
        if lexeme in "{}":
            return place if text[start:place].strip() else place + 1
    return len(text)


def construct_end(text: str, position: int) -> int:
    """Behind a construct with braces, and what belongs to it: `class A { … }`, `try { … } catch ($e) { … }`,
    `import { … } from "…";`, `match (…) { … };`."""
    depth = closed = 0
    for place, lexeme in lexemes(text, position):
        if closed and lexeme not in ("catch", "from") and (lexeme[0] in "$\"'{}" or lexeme[0].isalnum()):
            return closed
        closed = 0
        if lexeme in "([{":
            depth += 1
        elif lexeme in ")]}":
            if depth == 0 and lexeme == "}":
                return place
            depth = max(0, depth - 1)
            closed = place + 1 if depth == 0 and lexeme == "}" else 0
        elif lexeme == ";" and depth == 0:
            return place + 1
    return len(text)


class Builder(Transformer[Token, Any]):
    """Makes the tree's nodes while Lark reduces. One method for each rule of the grammar."""

    def begin(self, source: Source) -> None:
        self.source = source
        self.problems = Diagnostics()

    def at(self, first: Any, last: Any | None = None) -> Span:
        """The span from one token or node to another."""
        last = first if last is None else last
        start: int = (first.start_pos or 0) if isinstance(first, Token) else first.span.start
        end: int = (last.end_pos or 0) if isinstance(last, Token) else last.span.end
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
        keyword, subject, *names, body = children
        variables = [self.variable([name]) for name in names]
        key = variables[0] if len(variables) == 2 else None
        return ast.Foreach(self.at(keyword, subject), subject, key, variables[-1], body)

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
        _, name, parameters, body = children
        return ast.Function(self.at(name), str(name), parameters, body)

    def global_statement(self, children: list[Any]) -> ast.Global:
        return ast.Global(self.at(children[0]), tuple(self.variable([name]) for name in children[1:]))

    def include(self, children: list[Any]) -> ast.Include | ast.Block:
        keyword, token = children
        literal = self.string([token]) if token.type == "STRING" else self.raw_string([token])
        if not isinstance(literal, ast.Literal):
            self.problems.error("include", "include takes a plain string", literal.span)
            return self.empty([])
        path = cast(bytes, literal.value).decode("utf-8", "surrogateescape")
        return ast.Include(self.at(keyword, token), path, keyword.type == "INCLUDE_ONCE")

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
        return ast.FunctionName(self.at(children[0]), str(children[0]))

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

    def cache(self, children: list[Any]) -> ast.Cache:
        keyword, items, *rest = children
        builtin = rest[0].type == "BUILTIN"
        name, arguments = rest[-2:]
        callee = ast.FunctionName(self.at(name), str(name), builtin)
        options = ast.ArrayLiteral(self.at(keyword), items)
        return ast.Cache(self.at(keyword, name), options, ast.Call(self.at(name), callee, arguments))

    def isset(self, children: list[Any]) -> ast.Isset:
        return ast.Isset(self.at(children[0]), children[1])

    def unset(self, children: list[Any]) -> ast.Unset:
        return ast.Unset(self.at(children[0]), children[1])

    def lambda_function(self, children: list[Any]) -> ast.Lambda:
        return ast.Lambda(self.at(children[0]), children[1], children[2])


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
