"""The grammar comes in, the tables that hsl/lalr.py drives go out. Lark makes them, which takes ten times as long as a
short script needs: so they are kept beside the grammar, in a file that is made anew when it no longer fits.
"""

from __future__ import annotations

import marshal
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsl import grammar
from hsl.lalr import END, Tables

if TYPE_CHECKING:
    from lark import Lark

FORMAT = 1  # another number whenever `make` gives something else for the same grammar
GRAMMAR = Path(grammar.__file__).with_name("hsl.lark")
KEPT = GRAMMAR.with_suffix(f".{sys.implementation.cache_tag}.tables")


def load(path: Path = GRAMMAR, kept: Path = KEPT) -> Tables:
    """The tables of a grammar. A file of the package's own folder is as trustworthy as the package; and marshal, unlike
    pickle, only ever gives data."""
    text = path.read_text(encoding="utf-8")
    fits = (FORMAT, sys.version, text)
    with suppress(OSError, ValueError, EOFError, TypeError):
        found, tables = marshal.loads(kept.read_bytes())
        if found == fits:
            return Tables._make(tables)
    tables = make(lark(text))
    keep(kept, marshal.dumps((fits, tuple(tables))))
    return tables


def keep(path: Path, data: bytes) -> None:
    """Write the file at once or not at all: the folder may be read-only, and others may be starting too."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(OSError):
        try:
            draft.write_bytes(data)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def keywords(tables: Tables) -> frozenset[str]:
    """The words that are no names: each is one somewhere."""
    return frozenset(word for group in tables.words for words in group.values() for word in words)


def lark(text: str | None = None) -> Lark:
    """Lark's own parser of a grammar.

    Words are read as a whole everywhere: where no name may stand, it would read `orb` as `or` and `b`.
    """
    from lark import Lark
    from lark.lark import PostLex

    class WholeWords(PostLex):
        always_accept = ("NAME",)

        def process(self, stream: Any) -> Any:
            return stream

    text = GRAMMAR.read_text(encoding="utf-8") if text is None else text
    return Lark(text, parser="lalr", postlex=WholeWords(), maybe_placeholders=True)


# ---------------------------------------------------------------- what Lark knows


def make(lark: Lark) -> Tables:
    """The tables in Lark's parser (1.3). Raises AssertionError for what the grammar does not use and lalr.py lacks."""
    frontend: Any = lark.parser
    table = frontend.parser._parse_table
    contextual = frontend.lexer.lexer
    numbers = {rule: number for number, rule in enumerate(lark.rules)}
    states = range(len(table.states))
    assert set(table.states) == set(states)
    lexers, patterns, words = lexers_of(contextual.lexers, states)
    steps = [split(table.states[state], numbers) for state in states]
    return Tables(
        lexers=lexers,
        actions=[actions for actions, _ in steps],
        gotos=[gotos for _, gotos in steps],
        patterns=patterns,
        words=words,
        ignored=sorted(contextual.root_lexer.ignore_types),
        rules=[rule_of(rule) for rule in lark.rules],
        start=table.start_states["start"],
        end=table.end_states["start"],
    )


def split(steps: dict[str, tuple[Any, Any]], numbers: dict[Any, int]) -> tuple[dict[str, int], dict[str, int]]:
    """A state's steps: by terminals (a state, or a rule to reduce by), and by the rules just reduced."""
    actions: dict[str, int] = {}
    gotos: dict[str, int] = {}
    for symbol, (action, argument) in steps.items():
        name = str(symbol)
        if action.name == "Reduce":
            actions[name] = -1 - numbers[argument]
        elif name.isupper() or name == END:
            actions[name] = argument
        else:
            gotos[name] = argument
    return actions, gotos


def lexers_of(lexers: dict[int, Any], states: range) -> tuple[list[tuple[int, int]], list[str], list[Any]]:
    """Of each state the numbers of its expression and of its words; the expressions, the words."""
    patterns: list[str] = []
    words: list[dict[str, dict[str, str]]] = []
    found: list[tuple[int, int]] = []
    for state in states:
        scanner = lexers[state].scanner
        assert len(scanner._mres) == 1
        assert not scanner.g_regex_flags
        reserved = {name: words_of(callback) for name, callback in lexers[state].callback.items()}
        found.append((place(patterns, scanner._mres[0].pattern), place(words, reserved)))
    return found, patterns, words


def words_of(callback: Any) -> dict[str, str]:
    terminals = callback.scanner.terminals
    assert all(terminal.pattern.type == "str" and not terminal.pattern.flags for terminal in terminals)
    return {terminal.pattern.value: terminal.name for terminal in terminals}


def place(known: list[Any], item: Any) -> int:
    if item not in known:
        known.append(item)
    return known.index(item)


def rule_of(rule: Any) -> tuple[str, int, str, bool, list[tuple[int, bool, int]], int]:
    """The fields of a Rule: Lark leaves out tokens without a name, and opens what begins with `_`."""
    options, expansion = rule.options, rule.expansion
    assert options.priority is None
    gaps = gaps_of(options.empty_indices) or [0] * (len(expansion) + 1)
    children: list[tuple[int, bool, int]] = []
    nones = 0
    for index, symbol in enumerate(expansion):
        nones += gaps[index]
        if options.keep_all_tokens or not (symbol.is_term and symbol.filter_out):
            children.append((index, not symbol.is_term and symbol.name.startswith("_"), nones))
            nones = 0
    name = str(rule.origin.name)
    callback = str(rule.alias or options.template_source or name)
    single = bool(options.expand1 and not rule.alias)
    return name, len(expansion), callback, single, children, nones + gaps[-1]


def gaps_of(empty: Any) -> list[int]:
    """How many optional parts are left out before each child, and behind the last."""
    return [len(ones) for ones in "".join(str(int(item)) for item in empty).split("0")] if empty else []
