"""How to go on behind a syntax error: a text and the place of its first error come in, a text without that error goes
out. What is broken is blanked out, as little as may be: nothing else changes its place, so that later errors are true.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile

TRIVIA = re.compile(r"//[^\n]*|/\*.*?\*/|\s+", re.S)
LEXEME = re.compile(  # what has no end reaches to the end of the text: so every scan is linear
    r'//[^\n]*|/\*.*?(?:\*/|\Z)|\s+|"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|'
    r"'(?P<delimiter>[!-&(-~]*)'.*?(?:'(?P=delimiter)'|\Z)|[a-zA-Z0-9_$]+|::|->|=>|.",
    re.S,
)
FILLERS = {  # what stands for the broken inside of a statement's parentheses: the first that has room
    "if": ("0",), "while": ("0",), "switch": ("0",), "for": (";;",), "foreach": ("0 as $_",),
    "function": ("...$_", ""), "constructor": ("...$_", ""),
}  # fmt: skip
BLOCKS = {*FILLERS, "barrier", "catch", "class", "else", "forever", "try"}  # statements that have braces
MODIFIERS = {"static", "private", "readonly"}
CASE = "case 0:"
CATCH = re.compile(r"catch|[a-z]+\s*\([^(){};]*\)\s*\{")  # or what was meant to be one


# ---------------------------------------------------------------- lexemes


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


# ---------------------------------------------------------------- where an error is


@dataclass(slots=True)
class Level:
    """What is inside one pair of brackets, or outside all of them."""

    kind: str  # what opened it: `(`, `[`, or of a brace `block`, `class`, `switch`, `function`, `match`, `import`
    opening: int = -1
    start: int = 0  # of the statement, member or arm that is being read
    word: str = ""  # its first word, modifiers left out
    expects: str = ""  # `match` or `function`: what the next brace belongs to
    closed: int = -1  # the end of the block of a `try`
    arrow: bool = False  # whether an arm has its `=>`
    last: str = ""  # the token before

    def begin(self, start: int) -> None:
        self.start, self.word, self.expects, self.closed, self.arrow = start, "", "", -1, False

    @property
    def statements(self) -> bool:
        return self.kind in ("", "block", "class", "switch", "function")


@dataclass(slots=True)
class Reader:
    """Reads the tokens before an error, which are all right, and knows in what statement and bracket the error is."""

    levels: list[Level] = field(default_factory=lambda: [Level("")])

    @property
    def level(self) -> Level:
        return self.levels[-1]

    @property
    def statement(self) -> Level:
        """The innermost level that has statements, members or arms."""
        return next(level for level in reversed(self.levels) if level.statements or level.kind == "match")

    @property
    def inside(self) -> list[Level]:
        """The brackets open in that statement, member or arm."""
        statement = self.statement
        return list(takewhile(lambda level: level is not statement, reversed(self.levels)))[::-1]

    @property
    def depth(self) -> int:
        return len(self.inside)

    @property
    def parenthesis(self) -> int:
        """The place of the outermost of them, or -1."""
        return self.inside[0].opening if self.inside else -1

    def read(self, place: int, token: str) -> None:
        level = self.level
        if token in ("(", "["):
            self.levels.append(Level(token, place))
        elif token == "{":
            self.levels.append(Level(self.kind(level), place, place + 1))
        elif token in (")", "]", "}") and len(self.levels) > 1:
            self.close(place, self.levels.pop())
        elif (token == ";" and level.statements) or (token == "," and level.kind == "match" and level.arrow):
            level.begin(place + 1)
        elif token == "=>":
            level.arrow = True
        elif token == "else" and level.last != "->":
            level.begin(place + 4)
        elif level.last not in ("->", "::"):
            self.word(level, token)
        self.level.last = token

    def word(self, level: Level, token: str) -> None:
        if token in ("match", "function"):
            level.expects = token
        if not level.word and token not in MODIFIERS:
            level.word = token
        elif level.last == "function" == level.word and level.statements:
            level.expects = ""  # a name: it is a declaration

    @staticmethod
    def kind(level: Level) -> str:
        """What a brace opens."""
        expects, level.expects = level.expects, ""
        if expects:
            return expects
        return level.word if level.word in ("class", "switch", "import") else "block"

    def close(self, place: int, closed: Level) -> None:
        if not closed.statements or closed.kind == "function":
            return
        if self.level.word == "try" and self.level.closed < 0:
            self.level.closed = place + 1
        else:
            self.level.begin(place + 1)


def read(text: str, position: int) -> Reader:
    reader = Reader()
    for place, token in lexemes(text, 0, position):
        reader.read(place, token)
    return reader


# ---------------------------------------------------------------- repairs


def repaired(text: str, position: int) -> str | None:
    """The text without the error at a position, line ends kept; None if there is nothing left to blank."""
    reader = read(text, position)
    level = reader.statement
    if level.kind == "match":
        return blanked(text, (level.start, arm_end(text, position, reader)))
    if level.word == "import":
        return blanked(text, (level.start, import_end(text, position, reader.level.kind == "import")))
    if level.word == "try" and level.closed > 0:
        return without_catch(text, position, level)
    if level.word == "elseif":  # with `if` in its place the rest of the chain stays as it is
        return text[: level.start] + text[level.start :].replace("elseif", "if    ", 1)
    kept = filled(text, position, reader)
    if kept is not None:
        return kept
    if level.kind == "class":
        return blanked(text, (level.start, member_end(text, position, level)))
    return without_statement(text, position, reader)


def without_catch(text: str, position: int, level: Level) -> str | None:
    """A `try` without its word, and without the head of its `catch` if it has one: two blocks are left."""
    keyword = text.index("try", level.start)
    head = level.closed
    if "catch" in text[level.closed : position] or CATCH.match(text, position):
        ends = (place for place, token, _ in outside(text, position, 0) if token in ("{", ";", "}"))
        head = next(ends, len(text))
    return blanked(text, (keyword, keyword + 3), (level.closed, head))


def without_statement(text: str, position: int, reader: Reader) -> str | None:
    level = reader.statement
    start = level.start
    if text[:start].endswith("else") and not text[start:position].strip():
        start -= 4
    if level.word == "class" and level.last != "class" and text.find("{", position) > position:
        return blanked(text, (position, text.find("{", position)))
    first, *others = statement_parts(text, start, position, reader)
    if level.word in ("case", "default") and first[1] - start > len(CASE):
        return text[:start] + CASE + spaces(text[start + len(CASE) : first[1]]) + text[first[1] :]
    return blanked(text, first, *others)


def statement_parts(text: str, start: int, position: int, reader: Reader) -> list[tuple[int, int]]:
    """What to blank of a statement: up to its `;` or the brace around, without the block in it."""
    level = reader.statement
    whole = level.word in ("switch", "class") or reader.level.expects == "match"
    parts = [(start, len(text))]
    opened = 0
    for place, token, _ in outside(text, position, 0):
        if token == "{":
            opened = place
        elif token == "{}" and level.word in ("switch", "class"):
            return [(start, place + 1)]
        elif token == "{}" and not whole and is_block(text[opened : place + 1]):
            if level.word in BLOCKS or opened == position:
                return [(start, opened)]
            parts = [(start, opened), (place + 1, len(text))]
        elif token == ";" or (token == "}" and text[start:place].strip()):
            return [*parts[:-1], (parts[-1][0], place + (token == ";"))]
        elif token == "}":
            return [(start, place + 1)]
    return parts


def is_block(text: str) -> bool:
    """Whether braces and what is in them can stand as a block: it has statements, or nothing."""
    return ";" in text or not text[1:-1].strip()


def arm_end(text: str, position: int, reader: Reader) -> int:
    """Behind the `,` of an arm, or before the brace around."""
    arrow = reader.statement.arrow
    for place, token, inside in outside(text, position, reader.depth):
        if token == ";" or (token == "," and inside == 0 and arrow):
            return place + 1
        if token == "}":
            return place
        arrow = arrow or token in ("=>", ":")
    return len(text)


def import_end(text: str, position: int, in_braces: bool) -> int:
    """Behind the `;` of an import, or behind its path if it has none."""
    path = 0
    for place, token, _ in outside(text, position, 0):
        if token == ";":
            return place + 1
        if (path and token != "with") or (token == "}" and not in_braces):
            return path or place
        in_braces = in_braces and token != "}"
        path = place + len(token) if token[0] in "\"'" else 0
    return len(text)


def member_end(text: str, position: int, level: Level) -> int:
    """Behind the `;` or the body of a member, or before the brace around."""
    end = 0
    for place, token, _ in outside(text, position, 0):
        if token == ";":
            return place + 1
        if end or token == "}":
            return end or place
        if token == "{}" and not level.word.startswith("$"):
            end = place + 1
    return end or len(text)


def outside(text: str, position: int, depth: int) -> Iterator[tuple[int, str, int]]:
    """The tokens from a position on, and how many parentheses are open there. Of braces only the two ends: `{`, `{}`.

    A string without an end counts as the `;` at the end of its line.
    """
    braces = 0
    for place, token in lexemes(text, position):
        if token[0] == '"' and (len(token) == 1 or place + len(token) == len(text)):
            line_end = text.find("\n", place)
            yield (len(text) if line_end < 0 else line_end) - 1, ";", 0
            return
        if token == "}" and braces > 0:
            braces -= 1
            token = "{}"
        if braces == 0:
            depth = max(0, depth + (token in ("(", "[")) - (token in (")", "]")))
            yield place, token, depth
        braces += token == "{"


def filled(text: str, position: int, reader: Reader) -> str | None:
    """The text with the inside of the parentheses behind a keyword replaced, and closed before `{` if they were not."""
    level = reader.statement
    opening = reader.parenthesis
    if opening < 0 and level.last == level.word and level.word in ("if", "while", "for", "foreach", "switch"):
        return parenthesised(text, position, level)
    for filler in FILLERS.get(level.word, ()) if opening >= 0 else ():
        kept = filled_from(text, opening, filler)
        if kept is not None:
            return kept
    return None


def parenthesised(text: str, position: int, level: Level) -> str | None:
    """The same where the parentheses themselves are missing."""
    brace = text.find("{", position)
    start = text.index(level.word, level.start) + len(level.word)
    filler = f"({FILLERS[level.word][0]})"
    if brace < 0 or brace - start < len(filler) or ";" in text[position:brace]:
        return None
    return text[:start] + filler + spaces(text[start + len(filler) : brace]) + text[brace:]


def filled_from(text: str, opening: int, filler: str) -> str | None:
    depth = 0
    for place, lexeme in lexemes(text, opening):
        depth += (lexeme in ("(", "[")) - (lexeme in (")", "]"))
        if lexeme in ("{", "}") or depth == 0:
            closed = filler + ")" if lexeme == "{" else filler
            if lexeme == "}" or place - opening - 1 < len(closed):
                return None
            inner = spaces(text[opening + 1 : place])
            return text[: opening + 1] + closed + inner[len(closed) :] + text[place:]
    return None


def blanked(text: str, *parts: tuple[int, int]) -> str | None:
    if not any(text[start:end].strip() for start, end in parts):
        return None
    for start, end in parts:
        text = text[:start] + spaces(text[start:end]) + text[end:]
    return text


def spaces(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def with_semicolon(text: str, end: int, position: int) -> str | None:
    """The text with a `;` behind a statement, if the next token is in another line or a brace, and there is room."""
    apart = "\n" in text[end:position] or text.startswith("}", position)
    return f"{text[:end]};{text[end + 1 :]}" if apart and text[end : end + 1].isspace() else None


def closed(text: str, semicolon: bool) -> str | None:
    """A text that ends too early, with what it lacks at the end."""
    braces = "}" * len(unclosed_braces(text))
    return text + ";" * semicolon + braces if braces or semicolon else None
