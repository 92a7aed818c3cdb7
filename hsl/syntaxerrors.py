"""What to say about a syntax error: what Lark found comes in, a Diagnostic in our words goes out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import islice
from typing import Any, cast

from lark import Token
from lark.exceptions import UnexpectedInput, UnexpectedToken
from lark.parsers.lalr_interactive_parser import InteractiveParser
from lark.parsers.lalr_parser_state import ParserState

from hsl.errors import Diagnostics, near
from hsl.repair import Reader, last_lexeme, lexemes, read, unclosed_braces
from hsl.source import Source, Span

MEMBER = "a variable or `function`"
# What would have been right, the most telling first: the terminals that must all be possible, and the words for them.
WANTED: tuple[tuple[tuple[str, ...], str], ...] = (
    (("CONSTRUCTOR",), MEMBER),
    (("CATCH",), "`catch`"),
    (("SEMICOLON",), "`;`"),
    (("COMMA", "RBRACE"), "`,` or `}`"),
    (("STAR", "VARIABLE"), "`{`, `*` or a variable"),
    (("NAME", "VARIABLE", "BUILTIN"), "a function"),
    (("NAME", "VARIABLE"), "a name"),
    (("VARIABLE",), "a variable"),
    (("RPAR",), "`)`"),
    (("RSQB",), "`]`"),
    (("FROM",), "`from`"),
    (("AS",), "`as`"),
    (("COLON",), "`:`"),
    (("LBRACE",), "`{`"),
    (("=>",), "`=>`"),
    (("NAME",), "a name"),
    (("STRING",), "a string"),
    (("CASE",), "`case`"),
    (("LPAR",), "`(`"),
    (("LEFT_BRACKET",), "`[`"),
)
# Words that are read as a function's name where nothing but a name may stand, and what to say about them.
MISPLACED: dict[str, str | None] = {
    "else": None, "as": None, "and": None, "or": None, "case": None, "default": None,
    "elseif": "write `else if`",
    "if": "a statement is no part of an expression; there is `? :`",
    "return": None, "echo": None, "while": None, "for": None, "foreach": None, "switch": None, "global": None,
    "include": None, "import": None, "class": None, "barrier": None, "try": None, "private": None, "readonly": None,
    "yield": "`yield` is a statement of its own, no part of an expression",
    "catch": "it stands behind the block of a `try`",
    "finally": "there is no `finally`",
    "closure": "it stands behind the parameters: function ($x) closure ($y) { … }",
    "constructor": "it stands in a class",
    "new": "an object is made by calling its class: Name()",
    "print": "write `echo`",
    "do": "there is no `do`: write `forever` with a `break`",
    "const": "there are no constants: use a variable",
    "var": "variables are not declared",
    "let": "variables are not declared",
    "use": "write `import`",
    "fn": "write `function`",
    "from": "`from` stands in an import",
}  # fmt: skip
# What stands before (or before the open parenthesis), the unexpected, what was wanted; "" is anything. And the advice.
ADVICE: tuple[tuple[str, str, str, str], ...] = (
    ("&", "&", "", "write `and`"),
    ("|", "|", "", "write `or`"),
    ("<", ">", "", "write `!=`"),
    ("->", "$", "a name", "a property whose name is in a variable is written $a[$name]"),
    ("-", ">", "", "`->` gives none where there is nothing: there is no `?->`"),
    (".", "=", "", "write `.=`"),
    ("catch", "", "`(`", "a `catch` has a variable: catch ($error) { … }"),
    ("catch", ")", "a variable", "a `catch` has a variable: catch ($error) { … }"),
    ("", "", "`catch`", "a `try` has a catch ($error) { … }"),
    ("", "use", "`{`", "write `closure`: function ($x) closure ($y) { … }"),
    ("", "=>", "`{`", "a function has a body: { return …; }"),
    ("", ":", "`{`", "functions have no type of result"),
    ("", "extends", "`{`", "classes do not inherit"),
    ("", "in", "`as`", "write `as`"),
    ("", ":", "`=>`", "write `=>`"),
    ("", ":", "`;`", "write `=`"),
    ("with", "{", "", "options are written in brackets: [key => value]"),
    ("=", "{", "an expression", "an array is written in brackets: [key => value]"),
    ("", "public", MEMBER, "members are public unless they are `private`"),
    ("", "const", MEMBER, "write `static readonly $name = value;`"),
    ("closure", "&", "", "captured variables are shared as they are"),
    ("", "&", "a variable", "arguments are values, not references"),
)
KEYWORDS = (
    "function",
    "class",
    "if",
    "while",
    "for",
    "foreach",
    "switch",
    "return",
    "echo",
    "import",
    "include",
    "try",
)


def place_of(error: UnexpectedInput, text: str) -> int:
    """The offset of a syntax error; the end of the text when that is what was unexpected."""
    at_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    return len(text) if at_end or error.pos_in_stream is None else error.pos_in_stream


def accepted(error: UnexpectedInput, literals: Mapping[str, str]) -> set[str]:
    """The names of the terminals that would have been right, and what they stand for where that is always the same."""
    names: set[str] = set()
    if isinstance(error, UnexpectedToken):
        names = set(error.accepts or ())
        if not names and isinstance(error.state, ParserState):  # the lexer found it
            names = cast(Any, InteractiveParser)(None, error.state, None).accepts()
    return names | {literals[name] for name in names if name in literals}


class Finding:
    """One syntax error: where it is, what is there, and what would have been right."""

    def __init__(self, error: UnexpectedInput, source: Source, text: str, literals: Mapping[str, str]) -> None:
        self.source = source
        self.text = text
        self.position = place_of(error, text)
        self.token = error.token if isinstance(error, UnexpectedToken) else None
        self.accepts = accepted(error, literals)
        self.words = {word for word in literals.values() if word.isidentifier()}
        self.before = last_lexeme(text, self.position)

    def report(self, diagnostics: Diagnostics) -> None:
        """Say it in our words."""
        if self.token is None or self.text.startswith("/*", self.position):
            report_character(self.position, self.source, self.text, diagnostics)
        elif self.token.type == "$END":
            self.report_end(diagnostics)
        elif not self.report_misplaced(diagnostics):
            self.report_unexpected(self.token, diagnostics)

    @property
    def lacks_semicolon(self) -> bool:
        return self.wanted == "`;`"

    @property
    def wanted(self) -> str:
        """The most telling of what would have been right."""
        if "NUMBER" in self.accepts:
            if "IF" not in self.accepts:
                return "an expression"
            return "a statement or `}`" if "RBRACE" in self.accepts else "a statement"
        for terminals, shown in WANTED:
            if self.accepts.issuperset(terminals):
                return shown
        signs = [item for item in self.accepts if not item.isupper() and not item.startswith("__")]
        return f"`{signs[0]}`" if len(signs) == 1 else ""

    @property
    def behind_operand(self) -> bool:
        """Whether what comes before may be a function's name."""
        return ("PLUS" in self.accepts and "NAME" not in self.accepts) or self.accepts == {"SEMICOLON", ";"}

    def report_end(self, diagnostics: Diagnostics) -> None:
        opening = unclosed_braces(self.text)[-1:]
        lines = [self.source.line_column(place)[0] for place in opening]
        hint = f"the `{{` of line {lines[0]} is never closed" if lines else None
        diagnostics.error("syntax", f"unexpected end of file{self.expected()}", Span(self.source, *self.before), hint)

    def report_misplaced(self, diagnostics: Diagnostics) -> bool:
        """Whether the error is a word before it, which was taken for a function's name."""
        if not self.behind_operand:
            return False
        for start, word in self.names_before():
            if word in MISPLACED:
                span = Span(self.source, start, start + len(word))
                diagnostics.error("syntax", f"unexpected `{word}`", span, MISPLACED[word])
                return True
        return False

    def report_unexpected(self, token: Token, diagnostics: Diagnostics) -> None:
        start = token.start_pos or 0
        span = Span(self.source, start, token.end_pos or start + len(token))
        end = self.before[1]
        if self.lacks_semicolon and self.source.line_column(end)[0] < span.line:
            diagnostics.error("syntax", "expected `;` after this", Span(self.source, end - 1, end))
            return
        shown = str(token).split("\n", 1)[0]
        shown = shown if len(shown) <= 30 else shown[:27] + "..."
        diagnostics.error("syntax", f"unexpected `{shown}`{self.expected()}", span, self.advice(str(token)))

    def expected(self) -> str:
        return f", expected {self.wanted}" if self.wanted else ""

    def names_before(self) -> list[tuple[int, str]]:
        """The word before the error, and if a parenthesis is closed there the one before that; no properties."""
        heads: list[tuple[int, str, str]] = []  # what stood before each open parenthesis
        last = closed = (0, "", "")
        for start, lexeme in lexemes(self.text, 0, self.position):
            if lexeme == "(":
                heads.append(last)
            elif lexeme == ")" and heads:
                closed = heads.pop()
            last = (start, lexeme, last[1])
        names = [last, closed] if last[1] == ")" else [last]
        return [(start, word) for start, word, behind in names if behind not in ("->", "::")]

    def advice(self, token: str) -> str | None:
        head = head_of(read(self.text, self.position))
        sign = "$" if token.startswith("$") else token
        fitting = [row for row in ADVICE if row[0] in ("", head) and row[2] in ("", self.wanted)]
        said = [row[3] for row in fitting if row[1] == sign]
        if not said and token.isidentifier():
            said += self.advice_for_word(token)
        if not said and self.behind_operand:
            said += [hint for _, word in self.names_before() for hint in similar(word, KEYWORDS)]
        said += [row[3] for row in fitting if row[1] == ""]
        return said[0] if said else None

    def advice_for_word(self, word: str) -> list[str]:
        """What may have been meant."""
        meant = similar(word, [item for item in self.accepts if item.isidentifier() and item.islower()])
        if self.wanted == MEMBER and word in self.words:
            return ["a class holds variables and functions; statements stand in its functions"]
        if meant or "VARIABLE" not in self.accepts or "NUMBER" in self.accepts:
            return meant
        following = next((item for _, item in list(islice(lexemes(self.text, self.position), 2))[1:]), "")
        if following == "(" and self.wanted == MEMBER:
            return [f"did you mean `function {word}`?"]
        return ["variables have no types" if following.startswith("$") else f"did you mean ${word}?"]


def similar(word: str, words: Collection[str]) -> list[str]:
    """The hint for a word that was mistyped, if it looks like one of the words."""
    hint = near(word, words) if word.isidentifier() and word not in words else None
    return [hint] if hint else []


def head_of(reader: Reader) -> str:
    """The token before the error; at the beginning of parentheses the one before them."""
    level = reader.level
    return reader.levels[-2].last if level.last == "(" and level.kind == "(" else level.last


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
    elif text.startswith("#/", position):
        diagnostics.error("syntax", "this regular expression has no end", span, "it ends with `/` in the same line")
    else:
        advice = "comments are written // or /* */" if char == "#" else None
        shown = char if char.isprintable() or "\udc80" <= char <= "\udcff" else f"\\x{ord(char):02x}"
        diagnostics.error("syntax", f"unexpected character `{shown}`", span, advice)


def declared_names(text: str) -> set[str]:
    """What a broken text may declare: names behind `function` and `class`, and between `import` and `from`.

    Misplaced words are among them: they have been reported.
    """
    names = set(MISPLACED)
    importing, before = False, ""
    for _, lexeme in lexemes(text):
        importing = lexeme == "import" or (importing and lexeme != "from")
        if importing or before in ("function", "class"):
            names.add(lexeme)
        before = lexeme
    return names
