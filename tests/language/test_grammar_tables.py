"""The kept tables of the grammar: they say the same as Lark, fit their grammar, and are made anew when they do not."""

from __future__ import annotations

import marshal
import subprocess
import sys
from pathlib import Path

import pytest

from hsl import lalr, tables
from hsl.lalr import Automaton

GRAMMAR = """
start: (pair ","?)*
pair: NAME ["=" NUMBER]
    | "[" _numbers "]" -> list
_numbers: NUMBER | _numbers NUMBER
NAME: /[a-z]+/
NUMBER: /[0-9]+/
LET: "let"
%ignore " "
"""


class Builder:
    """Shows what its methods get."""

    def start(self, children: list[object]) -> object:
        return children

    def pair(self, children: list[object]) -> object:
        return {"pair": children}

    def list(self, children: list[object]) -> object:
        return {"list": children}


@pytest.fixture
def grammar(tmp_path: Path) -> Path:
    path = tmp_path / "small.lark"
    path.write_text(GRAMMAR)
    return path


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", []),
        ("a", [{"pair": ["a", None]}]),
        ("a=1,b  c = 22", [{"pair": ["a", "1"]}, {"pair": ["b", None]}, {"pair": ["c", "22"]}]),
        ("[1 2 3] a", [{"list": ["1", "2", "3"]}, {"pair": ["a", None]}]),
        ("a=", None),
        ("[]", None),
        ("a=b", None),
        ("a ?", None),
    ],
)
def test_texts_of_a_small_grammar(grammar: Path, text: str, wanted: object) -> None:
    assert Automaton(tables.load(grammar, grammar.with_suffix(".tables")), Builder()).parse(text) == wanted


def test_tokens_know_their_place(grammar: Path) -> None:
    (pair,) = Automaton(tables.load(grammar, grammar.with_suffix(".tables")), Builder()).parse(" ab = 12") or []
    assert [(item.type, item.start_pos, item.end_pos) for item in pair["pair"]] == [("NAME", 1, 3), ("NUMBER", 6, 8)]


def test_the_file_serves_until_the_grammar_changes(grammar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = grammar.with_suffix(".tables")
    first = tables.load(grammar, kept)
    with monkeypatch.context() as patched:
        patched.delattr(tables, "make")
        assert tables.load(grammar, kept) == first
    grammar.write_text(GRAMMAR.replace('["=" NUMBER]', '[":" NUMBER]'))
    changed = tables.load(grammar, kept)
    assert changed != first
    assert Automaton(changed, Builder()).parse("a:1") == [{"pair": ["a", "1"]}]


@pytest.mark.parametrize("content", [b"", b"rubbish", marshal.dumps(7), marshal.dumps(((), ()))])
def test_a_file_that_holds_something_else_is_written_anew(grammar: Path, content: bytes) -> None:
    kept = grammar.with_suffix(".tables")
    kept.write_bytes(content)
    made = tables.load(grammar, kept)
    assert Automaton(made, Builder()).parse("a") == [{"pair": ["a", None]}]
    assert marshal.loads(kept.read_bytes())[1] == tuple(made)


def test_a_folder_that_takes_no_file(grammar: Path, tmp_path: Path) -> None:
    made = tables.load(grammar, tmp_path / "missing" / "small.tables")
    assert Automaton(made, Builder()).parse("a") == [{"pair": ["a", None]}]
    assert sorted(item.name for item in tmp_path.iterdir()) == ["small.lark"]


def test_nothing_half_written_stays(grammar: Path) -> None:
    kept = grammar.with_suffix(".tables")
    kept.mkdir()  # cannot be replaced by a file
    tables.load(grammar, kept)
    assert sorted(item.name for item in grammar.parent.iterdir()) == ["small.lark", "small.tables"]


def test_words_are_read_whole() -> None:
    assert {"if", "or", "foreach", "include_once"} <= tables.keywords(tables.load())
    assert lalr.Automaton(tables.load(), Builder()).parse("orb") is None


def test_a_run_imports_neither_lark_nor_the_rest_that_it_does_not_need(tmp_path: Path) -> None:
    tables.load()
    script = tmp_path / "one.hsl"
    script.write_text('echo "hello";')
    program = (
        f"import sys; sys.argv = ['hsl', 'run', {str(script)!r}]; from hsl.cli.plain import main\n"
        "try: main()\nfinally: print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, cwd=tmp_path)
    hello, modules = done.stdout.splitlines()
    assert hello == "hello"
    unwanted = {"lark", "click", "asyncio", "dataclasses", "inspect", "hashlib", "hsl.runtime", "hsl.repair", "difflib"}
    assert not unwanted & set(modules.split())
