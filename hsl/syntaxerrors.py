"""What to say about a syntax error, and how to go on behind it: the broken statement is blanked out and the text parsed
again, so that several mistakes give several errors, each at its own place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import cast

from lark import Token
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from hsl.errors import Diagnostics
from hsl.source import Source, Span

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
