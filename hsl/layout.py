"""Text and marks in, lines out: groups that do not fit in a line are broken at their marks, one item to a line."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from itertools import accumulate
from math import inf

WIDTH = 120  # columns
TAB = 4  # columns
DEEPEST = 50  # tabs; what nests deeper is indented no further, so that the text grows with the tree, not its square


class Mark(Enum):
    """Where a text must be broken, and where it may be: at the breaks of a group, if the group does not fit."""

    NEWLINE = auto()
    INDENT = auto()
    DEDENT = auto()
    OPEN = auto()  # a group; it must fit up to its first own line end
    OPEN_WHOLE = auto()  # a group that must fit as a whole
    CLOSE = auto()
    BREAK = auto()
    BREAK_OR_SPACE = auto()
    LAST_BREAK = auto()  # before a closing bracket
    LAST_BREAK_OR_SPACE = auto()
    COMMA = auto()  # only where the group is broken


BREAKS = {Mark.BREAK, Mark.BREAK_OR_SPACE, Mark.LAST_BREAK, Mark.LAST_BREAK_OR_SPACE}
LAST = {Mark.LAST_BREAK, Mark.LAST_BREAK_OR_SPACE}
SPACES = {Mark.BREAK_OR_SPACE, Mark.LAST_BREAK_OR_SPACE}
STEPS = {Mark.INDENT: 1, Mark.DEDENT: -1}


def lay_out(pieces: Sequence[str | Mark]) -> str:
    """The text of the pieces, in time linear in their number. No piece has a line end in it."""
    return Layout(pieces).text()


class Layout:
    def __init__(self, pieces: Sequence[str | Mark]) -> None:
        self.pieces = pieces
        self.parts: list[str] = []
        self.broken: list[bool] = []  # the groups around
        self.indent = 0
        self.margin = 0  # the indentation of this line
        self.column = 0  # 0: nothing is written in this line

    def text(self) -> str:
        widths = group_widths(self.pieces)
        for place, piece in enumerate(self.pieces):
            if isinstance(piece, str):
                self.write(piece)
            elif place in widths:
                self.broken.append((self.column or self.margin * TAB) + widths[place] > WIDTH)
                self.indent += self.broken[-1]
            else:
                self.mark(piece)
        return "".join(self.parts)

    def mark(self, mark: Mark) -> None:
        if mark in STEPS:
            self.indent += STEPS[mark]
        elif mark is Mark.CLOSE:
            self.indent -= self.broken.pop()
        elif mark is Mark.NEWLINE or self.broken[-1]:
            self.write(",") if mark is Mark.COMMA else self.end_line(self.indent - (mark in LAST))
        elif mark in SPACES:
            self.write(" ")

    def write(self, text: str) -> None:
        if self.column == 0:
            self.parts.append("\t" * self.margin)
            self.column = self.margin * TAB
        self.parts.append(text)
        self.column += len(text)

    def end_line(self, margin: int) -> None:
        self.parts.append("\n")
        self.margin = min(margin, DEEPEST)
        self.column = 0


def group_widths(pieces: Sequence[str | Mark]) -> dict[int, float]:
    """The columns that each group, by the place of its opening mark, and what cannot be parted from it need."""
    ends = list(accumulate(len(piece) if isinstance(piece, str) else piece in SPACES for piece in pieces))
    widths: dict[int, float] = {}
    line_end = place_of_break = len(pieces)  # of the next line end, the next break
    closes: list[tuple[int, int]] = []  # of the groups around: the place of the end, that of the next break behind it
    for place in range(len(pieces) - 1, -1, -1):
        piece = pieces[place]
        if piece is Mark.NEWLINE:
            line_end = place_of_break = place
        elif piece in BREAKS:
            place_of_break = place
        elif piece is Mark.CLOSE:
            closes.append((place, place_of_break))
        elif piece in (Mark.OPEN, Mark.OPEN_WHOLE):
            close, behind = closes.pop()
            whole = piece is Mark.OPEN_WHOLE and line_end < close
            widths[place] = inf if whole else ends[min(line_end, behind) - 1] - ends[place]
    return widths
