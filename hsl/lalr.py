"""Drives the grammar's tables (hsl/tables.py): text goes in, what the builder makes of it comes out.

The tables are Lark's, and so is the way through them: the state says which terminals the next token may be. Lark itself
is imported only where tables are made or a syntax error is explained: importing and loading it takes longer than most
scripts run, and its own loop is half as fast.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

END = "$END"


class Token(str):
    """A terminal of the text. `type` is its name in the grammar; the positions are offsets into the text."""

    __slots__ = ("end_pos", "start_pos", "type")

    type: str
    start_pos: int
    end_pos: int


class Rule(NamedTuple):
    """A rule of the grammar, and which of its children go to the builder's method `callback`."""

    name: str
    size: int
    callback: str
    expand_single: bool  # a single child stands for the rule
    children: list[tuple[int, bool, int]]  # which child, whether it is a list to be opened, how many None before it
    nones: int  # how many None at the end


class Tables(NamedTuple):
    """The states' tables as marshal keeps them. A state is a number, an index into the first three."""

    lexers: list[tuple[int, int]]  # indexes into patterns and words
    actions: list[dict[str, int]]  # by terminal: the next state, or -1 - the number of the rule to reduce by
    gotos: list[dict[str, int]]  # by the name of a rule: the next state
    patterns: list[str]  # an alternative for each terminal, and for what is ignored, in a group of its name
    words: list[dict[str, dict[str, str]]]  # by terminal: texts of it that are terminals of their own
    ignored: list[str]
    rules: list[tuple[str, int, str, bool, list[tuple[int, bool, int]], int]]
    start: int
    end: int


Maker = Callable[[list[Any]], Any]


class Automaton:
    """A parser of one text at a time. `builder` has a method for each rule that does not just give a list."""

    def __init__(self, tables: Tables, builder: object) -> None:
        self.tables = tables
        self.ignored = frozenset(tables.ignored)
        self.rules = [(rule.name, rule.size, maker(rule, builder)) for rule in map(Rule._make, tables.rules)]
        self.matchers: list[Callable[[str, int], re.Match[str] | None] | None] = [None] * len(tables.patterns)

    def parse(self, text: str) -> Any | None:
        """What the builder made of the start rule; None when the text is not of the grammar."""
        actions, gotos, rules = self.tables.actions, self.tables.gotos, self.rules
        states: list[int] = [self.tables.start]
        values: list[Any] = []
        position = 0
        while True:
            token = self.token(text, position, states[-1])
            if token is None:
                return None
            position = token.end_pos
            step = actions[states[-1]].get(token.type)
            while step is not None and step < 0:
                name, size, make = rules[-1 - step]
                first = len(values) - size
                value = make(values[first:])
                del values[first:], states[first + 1 :]
                states.append(gotos[states[-1]][name])
                if states[-1] == self.tables.end:
                    return value
                values.append(value)
                step = actions[states[-1]].get(token.type)
            if step is None:
                return None
            states.append(step)
            values.append(token)

    def token(self, text: str, position: int, state: int) -> Token | None:
        """The next token, one that the state takes; None where there is none of these."""
        number, words = self.tables.lexers[state]
        matcher = self.matchers[number] or self.matcher(number)
        while position < len(text):
            match = matcher(text, position)
            if match is None:
                return None
            start, position = position, match.end()
            kind = match.lastgroup or ""
            if kind not in self.ignored:
                value = match[0]
                reserved = self.tables.words[words].get(kind)
                return made(value, kind if reserved is None else reserved.get(value, kind), start, position)
        return made("", END, position, position)

    def matcher(self, number: int) -> Callable[[str, int], re.Match[str] | None]:
        """Expressions are compiled when a text first needs them: short scripts need few."""
        match = self.matchers[number] = re.compile(self.tables.patterns[number]).match
        return match


def made(text: str, kind: str, start: int, end: int) -> Token:
    token = Token(text)
    token.type = kind
    token.start_pos = start
    token.end_pos = end
    return token


def maker(rule: Rule, builder: object) -> Maker:
    """What reduces by a rule: it chooses among the children, opens lists, and hands them to the builder's method."""
    make: Maker = getattr(builder, rule.callback, as_list)
    if rule.expand_single:
        make = single(make)
    if rule.children == [(index, False, 0) for index in range(rule.size)] and not rule.nones:
        return make
    return choosing(make, rule.children, rule.nones)


def as_list(children: list[Any]) -> list[Any]:
    return children


def single(make: Maker) -> Maker:
    def or_the_child(children: list[Any]) -> Any:
        return children[0] if len(children) == 1 else make(children)

    return or_the_child


def choosing(make: Maker, chosen: list[tuple[int, bool, int]], nones: int) -> Maker:
    def with_chosen(children: list[Any]) -> Any:
        found: list[Any] = []
        for index, is_list, before in chosen:
            if before:
                found += [None] * before
            if not is_list:
                found.append(children[index])
            elif found:
                found += children[index]
            else:
                found = children[index]  # a list that grows on its left stays one list
        if nones:
            found += [None] * nones
        return make(found)

    return with_chosen
