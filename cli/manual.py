"""The manual: a declaration comes in, its page as Markdown goes out, the same in a terminal and in `make docs`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from hsl.builtins import BuiltinClass, Chapter, Option, Options
from hsl.invocation import REQUIRED, Builtin, Parameter
from hsl.library.eras import years_of
from hsl.values import Resource

Entry = Builtin | BuiltinClass

EXAMPLE = "\n\nExample:\n"
NEWEST = "2026"
UNSHOWN = 1e15  # defaults from here on mean "no limit"
NAMED_DEFAULTS = {2.718281828459045: "e"}


class Documentation(NamedTuple):
    """A docstring in its parts. The example is empty where there is none."""

    summary: str
    text: str
    example: str


# ---------------------------------------------------------------- what there is


def every_chapter() -> tuple[Chapter, ...]:
    """The chapters of the library and of the stages."""
    from hsl.library import chapters
    from hsl.runtime.stages import CHAPTERS as MAIL

    return (*chapters(), *MAIL)


def every_entry() -> list[Entry]:
    """What they declare, chapter by chapter: several files may have a title in common."""
    found = list(entries(every_chapter()))
    titles = list(dict.fromkeys(item.chapter for item in found))
    return sorted(found, key=lambda item: titles.index(item.chapter))


def entries(chapters: Iterable[Chapter]) -> Iterator[Entry]:
    """What chapters declare. A class stands where its constructor does."""
    for chapter in chapters:
        created = {item.constructor: item for item in chapter.classes if item.constructor is not None}
        for function in chapter.functions:
            yield created.get(function, function)
        yield from (item for item in chapter.classes if item.constructor is None)


def methods(item: Entry) -> list[Builtin]:
    """The functions of a class, static ones last."""
    return [*item.methods.values(), *item.static_methods.values()] if isinstance(item, BuiltinClass) else []


def names_of(item: Entry) -> tuple[str, ...]:
    return (item.name,) if isinstance(item, BuiltinClass) else (item.name, *item.aliases)


def stage_order(item: Entry) -> list[str]:
    from hsl.runtime.stages import STAGES

    return [name for name in STAGES if item.stages is None or name in item.stages]


# ---------------------------------------------------------------- parts of a page


def documentation(item: Entry) -> Documentation:
    text, _, example = f"{item.doc}\n".partition(EXAMPLE)
    summary, _, rest = text.partition("\n")
    lines = [line.removeprefix("    ") for line in example.rstrip().split("\n")]
    return Documentation(summary, rest.strip(), "\n".join(lines))


def heading(item: Entry) -> str:
    """A function's signature, with defaults; or the one of a class's constructor."""
    if isinstance(item, Builtin):
        return signature(item)
    return f"class {item.name}" if item.constructor is None else signature(item.constructor)


def signature(function: Builtin) -> str:
    """`round(number number, [number decimals = 0]) -> number`."""
    shown = ", ".join(parameter_text(parameter) for parameter in function.parameters)
    tail = f" -> {function.result}" if function.result != "none" else ""
    return f"{function.name}({shown}){tail}"


def parameter_text(parameter: Parameter) -> str:
    if parameter.variadic:
        return f"...{parameter.name}"
    text = f"{parameter.wanted} {parameter.name}"
    if parameter.required:
        return text
    default = default_text(parameter.default)
    return f"[{text} = {default}]" if default else f"[{text}]"


def default_text(value: object) -> str:
    """A default as a script writes it; empty where it says nothing."""
    if value is None or value is REQUIRED or isinstance(value, Resource):
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if abs(value) >= UNSHOWN:
            return ""
        return NAMED_DEFAULTS.get(value) or f"{value:.15g}"
    return option_text(value)


def option_text(value: object) -> str:
    if isinstance(value, bytes):
        return '"' + value.decode().translate(ESCAPES) + '"'
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.15g}" if isinstance(value, float) else str(value)


ESCAPES = str.maketrans({"\t": "\\t", "\r": "\\r", "\n": "\\n", '"': '\\"', "\\": "\\\\"})


def option_line(option: Option) -> str:
    """`- name (boolean, default true): What it does.`"""
    kind = " or ".join(sorted(option.types))
    unit = f", {option.unit}" if option.unit else ""
    default = "" if option.default is None else f", default {option_text(option.default)}"
    return f"- `{option.name}` ({kind}{unit}{default}): {option.doc}"


def era(name: str) -> str:
    """From when to when the reference has a name."""
    years = years_of(re.sub(r"->|::", ".", name))
    if not years:
        return "not in the reference"
    first, last = years[0], years[-1]
    if last == NEWEST:
        return f"since {first}"
    return f"{first} only" if first == last else f"{first} to {last}"


def facts(item: Entry) -> str:
    """Where it exists, since when, and under which older names."""
    known = [] if "->" in item.name or "::" in item.name else [stages_text(item)]
    known.append(era(item.name))
    older = [f"`{name}` ({era(name)})" for name in names_of(item)[1:]]
    if older:
        known.append(f"older names: {', '.join(older)}")
    text = "; ".join(known)
    return f"{text[0].upper()}{text[1:]}."


def stages_text(item: Entry) -> str:
    return "every stage" if item.stages is None else f"stages: {', '.join(stage_order(item))}"


# ---------------------------------------------------------------- pages


def page(item: Entry, level: int = 2) -> str:
    """All about one function or class: signature, facts, documentation, options, example, methods."""
    known = documentation(item)
    function = item if isinstance(item, Builtin) else item.constructor
    parts = [f"{'#' * level} {item.name}", f"    {heading(item)}", known.summary, known.text, facts(item)]
    parts += [] if function is None else options_texts(function.parameters)
    if known.example:
        parts += ["Example:", example_text(known.example)]
    parts += [page(method, level + 1) for method in methods(item)]
    return "\n\n".join(part for part in parts if part)


def options_texts(parameters: Iterable[Parameter]) -> list[str]:
    """A list for each options array. The same one may stand for several parameters."""
    places: dict[type[Options], list[str]] = {}
    for parameter in parameters:
        if parameter.options is not None:
            places.setdefault(parameter.options, []).append(f"`{parameter.name}`")
    return [
        "\n".join([f"Options in {' or '.join(names)}:", "", *map(option_line, options.declared().values())])
        for options, names in places.items()
    ]


def example_text(example: str) -> str:
    """The example as a code block; what it prints stands behind each line."""
    shown = example.replace("// expect: ", "// ")
    return "\n".join(f"    {line}".rstrip() for line in shown.split("\n"))


def slug(title: str) -> str:
    """A chapter's file name without its extension."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def chapter_pages() -> dict[str, str]:
    """The manual: Markdown by file name, one page for each chapter and an index."""
    by_title: dict[str, list[Entry]] = {}
    for item in every_entry():
        by_title.setdefault(item.chapter, []).append(item)
    index = ["# The library", INTRODUCTION]
    pages = {}
    for title, items in by_title.items():
        name = f"{slug(title)}.md"
        pages[name] = "\n\n".join([f"# {title}", *(page(item) for item in items)]) + "\n"
        links = ", ".join(f"[{item.name}]({name}#{item.name.lower()})" for item in items)
        index.append(f"## [{title}]({name})\n\n{links}")
    return {"index.md": "\n\n".join(index) + "\n", **pages}


INTRODUCTION = """\
Every function and class, made from the declarations by `make docs`; `hsl builtins NAME` shows the same for one name.

Strings are bytes. Parameters in square brackets may be left out. A wrong number of arguments is found when the script
loads. An argument or option of a wrong type is a run-time error that names function, parameter, wanted and got. Unknown
options are ignored, and `hsl check` warns of them. What a page calls an error is a run-time error, too: a script can
catch it."""


def write_pages(folder: Path) -> int:
    """Write the manual into a folder; the number of pages. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = chapter_pages()
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
    return len(pages)


# ---------------------------------------------------------------- for programs


def as_object(item: Entry) -> dict[str, object]:
    """A function; a class as its constructor (null parameters where there is none), with its methods."""
    function = item if isinstance(item, Builtin) else item.constructor
    known = documentation(item)
    found: dict[str, object] = {
        "name": item.name,
        "aliases": list(names_of(item)[1:]),
        "signature": heading(item),
        "chapter": item.chapter,
        "stages": None if item.stages is None else stage_order(item),
        "eras": list(years_of(re.sub(r"->|::", ".", item.name))),
        "summary": known.summary,
        "doc": f"{known.summary}\n\n{known.text}".strip(),
        "example": known.example,
        "parameters": None if function is None else [parameter_object(parameter) for parameter in function.parameters],
        "result": "object" if function is None else function.result,
    }
    if isinstance(item, BuiltinClass):
        found["methods"] = [as_object(method) for method in item.methods.values()]
        found["static_methods"] = [as_object(method) for method in item.static_methods.values()]
    return found


def parameter_object(parameter: Parameter) -> dict[str, object]:
    return {
        "name": parameter.name,
        "types": sorted(parameter.types),
        "required": parameter.required,
        "default": default_text(parameter.default) or None,
        "variadic": parameter.variadic,
        "options": [] if parameter.options is None else options_of(parameter.options),
    }


def options_of(options: type[Options]) -> list[dict[str, object]]:
    """A declared options array; `default` is written as in a script, null where there is none."""
    return [
        {
            "name": option.name,
            "types": sorted(option.types),
            "default": None if option.default is None else option_text(option.default),
            "unit": option.unit,
            "doc": option.doc,
        }
        for option in options.declared().values()
    ]
