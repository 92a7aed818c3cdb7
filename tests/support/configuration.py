"""The page of smtpd.yaml in the manual: hsl.smtpd.config's models come in, docs/configuration.md goes out.

A key's meaning is the comment behind its field, a section's the docstring of its class.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from hsl.smtpd.config import SIZES, Config, Section

HEAD = """# The configuration

`smtpd.yaml`, section by section. Times are seconds or like `1d2h3m4s`, sizes bytes or like `10MiB`. A wrong key or
value is reported with its place and the nearest right one: `hsl serve -c smtpd.yaml --check`.

(Made by `tools/configuration` from `smtpd/config.py`.)
"""
PLAIN = frozenset({"id", "host", "port", "address", "password"})  # keys that say themselves what they are
COMPUTED = "the system's"  # a default that a function makes
NAMES = {"Seconds": "time", "Bytes": "size", "Port": "port", "MetricName": "name"}
TIMES = {"d": 86400, "h": 3600, "m": 60, "s": 1}
TYPES = {str: "text", int: "number", float: "number", bool: "true, false", "Path": "path"}


class Key(NamedTuple):
    """A key of a section. `section` is the model below it, if there is one."""

    name: str
    type: str
    default: str
    meaning: str
    section: type[Section] | None
    many: bool  # a list, or a map by name, of that section


def page() -> str:
    """The whole page."""
    return HEAD + "".join(render(path, section) for path, section in sections("", Config))


def sections(path: str, section: type[Section]) -> Iterator[tuple[str, type[Section]]]:
    """A section and those below it, depth first, each model once; those of one key (a hook) stand with their parent."""
    seen: set[type[Section]] = set()

    def walk(path: str, section: type[Section]) -> Iterator[tuple[str, type[Section]]]:
        seen.add(section)
        yield path, section
        for key in keys(section):
            if key.section is not None and key.section not in seen:
                dot = "." if path else ""
                yield from walk(f"{path}{dot}{key.name}{'[]' if key.many else ''}", key.section)

    return walk(path, section)


def unexplained() -> list[str]:
    """Keys whose meaning nothing says."""
    found = ((path, key) for path, section in sections("", Config) for key in keys(section))
    return [f"{path}.{key.name}" for path, key in found if not key.meaning and key.name not in PLAIN]


def render(path: str, section: type[Section]) -> str:
    title = f"`{path}`" if path else "The top level"
    lines = [f"\n## {title}\n"]
    if text := own_docstring(section):
        lines.append(text + "\n")
    lines += ["| key | value | default | meaning |", "|---|---|---|---|"]
    lines += [f"| `{key.name}` | {key.type} | {key.default} | {key.meaning} |" for key in keys(section)]
    return "\n".join(lines) + "\n"


def own_docstring(section: type[Section]) -> str:
    """Not what pydantic's base class says."""
    return inspect.cleandoc(section.__doc__) if "__doc__" in vars(section) and section.__doc__ else ""


def keys(section: type[Section]) -> list[Key]:
    """The keys of a section in the order of the file, inherited ones first."""
    found: dict[str, Key] = {}
    for model in reversed(section.__mro__):
        if issubclass(model, Section) and model is not Section:
            found |= {name: read_key(model, name, word, text) for name, (word, text) in declared(model).items()}
    return list(found.values())


def read_key(model: type[Section], name: str, annotation: str, meaning: str) -> Key:
    field = model.model_fields[name]
    below = below_of(field.annotation)
    kind = type_of(field.annotation, annotation)
    if below is not None and not meaning:
        meaning = first_sentence(own_docstring(below))
    return Key(name, kind, default_of(field, kind, below), meaning, below, is_many(field.annotation))


def first_sentence(text: str) -> str:
    return re.split(r"(?<=[.:])\s", text, maxsplit=1)[0].rstrip(".:").replace("\n", " ")


def default_of(field: FieldInfo, kind: str, below: type[Section] | None) -> str:
    if field.is_required():
        return "**required**"
    if field.default_factory is not None:
        return COMPUTED
    if below is not None:
        return ""  # what its own keys say
    return shown(field.default, kind)


def below_of(annotation: Any) -> type[Section] | None:
    """The section that a key holds, or holds many of."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for item in get_args(annotation) if (found := below_of(item)) is not None), None)


def is_many(annotation: Any) -> bool:
    return get_origin(annotation) in (list, dict) or any(
        is_many(item) for item in get_args(annotation) if not is_literal(annotation)
    )


def is_literal(annotation: Any) -> bool:
    return get_origin(annotation) is Literal


def type_of(annotation: Any, written: str) -> str:
    """In an administrator's words; `written` is the annotation's source, which knows times from numbers."""
    for name, word in NAMES.items():
        if name in written.split("[")[0].split(" | ")[0]:
            return word
    return words(annotation)


def words(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return words(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{item}`" for item in arguments)
    if origin is list:
        return f"list of {plural(words(arguments[0]))}"
    if origin is dict:
        return f"map to {words(arguments[1])}"
    if origin in (Union, types.UnionType):
        return " or ".join(words(item) for item in arguments if item is not type(None))
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "section"
    return TYPES.get(annotation) or TYPES.get(getattr(annotation, "__name__", "")) or str(annotation)


def plural(word: str) -> str:
    return word if word.startswith(("text", "`", "list", "map", "true")) else word + "s"


def shown(value: Any, kind: str) -> str:
    """A default as an administrator would write it; nothing for what is empty."""
    if value is None or value == "" or isinstance(value, list | dict):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if kind == "size":
        return f"`{in_units(value, SIZES, 'B')}`"
    return f"`{in_units(value, TIMES, 's')}`" if kind == "time" else f"`{value}`"


def in_units(value: float, units: Mapping[str, int], smallest: str) -> str:
    """The number in the largest unit that divides it."""
    unit = next((name for name, size in units.items() if value and not value % size), smallest)
    return f"{value / units.get(unit, 1):g}" + ("" if unit == "B" else unit)


def declared(model: type[Section]) -> dict[str, tuple[str, str]]:
    """The fields that a class itself declares: annotation and comment as they are written."""
    source = inspect.getsource(model)
    tree = ast.parse(source).body[0]
    assert isinstance(tree, ast.ClassDef)
    comments = comments_of(source)
    found = {}
    for item in tree.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            lines = range(item.lineno, (item.end_lineno or item.lineno) + 1)
            text = " ".join(comments[line] for line in lines if line in comments)
            found[item.target.id] = (ast.unparse(item.annotation), text)
    return found


def comments_of(source: str) -> dict[int, str]:
    """Line to comment; formatters' marks are none."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    texts = {item.start[0]: item.string.removeprefix("#").strip() for item in tokens if item.type == tokenize.COMMENT}
    return {
        line: text.replace("|", "\\|") for line, text in texts.items() if not text.startswith(("fmt:", "noqa", "type:"))
    }
