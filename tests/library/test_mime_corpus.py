"""The 6,046 mails of the public SpamAssassin corpus (tools/corpus): they leave as they came, and parse as elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from oddmail import Tree, mail_of, our_tree, their_names, their_tree

FOLDER = Path(__file__).parents[2] / "build" / "corpus" / "package" / "data"


@pytest.fixture(scope="module")
def corpus() -> dict[str, bytes]:
    """The mails by folder and number."""
    found = sorted(FOLDER.glob("*/*.txt"))
    assert len(found) == 6_046, "tools/corpus fetches them"
    return {f"{path.parent.name}/{path.name[:5]}": path.read_bytes() for path in found}


def test_untouched_mails_leave_as_they_came(corpus: dict[str, bytes]) -> None:
    for name, data in corpus.items():
        mail = mail_of(data)
        assert b"".join(mail.version().chunks()) == data, name
        for part in mail.split().walk():
            mail.fields(part)
            mail.content(part)
            assert mail.render(part) == data[part.start : part.end], name
        assert mail.current_bytes() == data, name


def test_an_added_header_is_all_that_changes(corpus: dict[str, bytes]) -> None:
    for name, data in corpus.items():
        mail = mail_of(data)
        for part in mail.split().walk():
            mail.add_field(part, b"X-New", b"v")
            added = data[: part.first] + b"X-New: v" + mail.newline + data[part.first :]
            assert mail.current_bytes() == added, (name, part.id)
            mail.reset()
        assert mail.current_bytes() == data, name


def test_a_removed_part_is_all_that_goes(corpus: dict[str, bytes]) -> None:
    for name, data in corpus.items():
        mail = mail_of(data)
        for parent in mail.split().walk():
            for place, child in enumerate(parent.children if len(parent.children) > 1 and parent.split else ()):
                ends = [*parent.dashes[1:], parent.end]
                mail.remove(child)
                left = data[: parent.dashes[place]] + data[ends[place] :]
                assert mail.current_bytes() == left, (name, child.id)
                mail.reset()


# What the standard library sees otherwise. All other mails have the same headers, parts, types and decoded contents.
DIFFERENT = {
    "a report's groups are not parts": {"easy-ham-1/01436", "easy-ham-1/01542", "easy-ham-2/01311"},
    "the line break at the end of what is not closed": {
        "hard-ham-1/00021",
        "spam-1/00038",
        "spam-2/00009",
        "spam-2/00714",
    },
    "base64 that was cut off": {"spam-1/00260", "spam-1/00307", "spam-1/00313"},
    "a type without its semicolon": {"spam-2/00204"},
}


def difference(name: str, data: bytes) -> str | None:
    mail = mail_of(data)
    ours, theirs = our_tree(mail, mail.split()), their_tree(data)
    assert [field.name for field in mail.fields(mail.root)] == their_names(data), name
    if ours == theirs:
        return None
    pairs = list(zip(leaves(ours), leaves(theirs), strict=False))
    (our_type, content), (_, other) = next(pair for pair in pairs if pair[0] != pair[1])
    if our_type == "message/delivery-status":
        return "a report's groups are not parts"
    if content == other + b"\n":
        return "the line break at the end of what is not closed"
    return "a type without its semicolon" if content == other else "base64 that was cut off"


def leaves(tree: Tree) -> list[tuple[str, bytes]]:
    kind, content = tree
    return [leaf for child in content for leaf in leaves(child)] if isinstance(content, list) else [(kind, content)]


def test_parts_and_contents_are_those_of_another_parser(corpus: dict[str, bytes]) -> None:
    found: dict[str, set[str]] = {}
    for name, data in corpus.items():
        what = difference(name, data)
        if what is not None:
            found.setdefault(what, set()).add(name)
    assert found == DIFFERENT
