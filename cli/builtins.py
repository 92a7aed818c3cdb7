"""`hsl builtins`: every function and class with its signature, stages and documentation, from the declarations."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import NoReturn

import click

from hsl.builtins import BuiltinClass, Chapter, Option, Options
from hsl.invocation import Builtin, Parameter

Entry = Builtin | BuiltinClass


@click.command("builtins", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--stage", metavar="STAGE", help="Only what a stage's scripts can call.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON list of objects.")
@click.argument("name", required=False)
def command(stage: str | None, as_json: bool, name: str | None) -> None:
    """List the functions and classes, or show all about the function or class NAME."""
    found = select(stage, name)
    if as_json:
        click.echo(json.dumps([as_object(item) for item in found], indent=2))
        return
    if name is not None:
        click.echo("\n\n".join(page(item) for item in found))
        return
    chapter = ""
    for item in found:
        if item.chapter != chapter:
            click.echo(("\n" if chapter else "") + item.chapter)
            chapter = item.chapter
        click.echo(f"  {heading(item)}")
        click.echo(f"      {summary(item)}{stages_note(item)}")
        for method in methods(item):
            click.echo(f"      {method.signature}\n          {method.summary}")


def select(stage: str | None, name: str | None) -> list[Entry]:
    """The functions and classes asked for; a method by its full name. Exits with a hint when there is no such one."""
    from hsl.library import CHAPTERS as LIBRARY
    from hsl.runtime.stages import CHAPTERS as MAIL
    from hsl.runtime.stages import STAGES

    if stage is not None and stage not in STAGES:
        raise click.UsageError(f"there is no stage {stage!r}: {', '.join(STAGES)}")
    every = entries((*LIBRARY, *MAIL))
    found = [item for item in every if stage is None or item.stages is None or stage in item.stages]
    if name is None:
        return found
    name = name.removesuffix("()")
    found += [method for item in found for method in methods(item)]
    named = [item for item in found if name in names_of(item)]
    if not named:
        refuse(name, stage, [word for item in found for word in names_of(item)])
    return named


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


def heading(item: Entry) -> str:
    """A function's signature, or the one of a class's constructor."""
    if isinstance(item, Builtin):
        return item.signature
    return f"class {item.name}" if item.constructor is None else item.constructor.signature


def summary(item: Entry) -> str:
    return item.doc.split("\n", 1)[0]


def refuse(name: str, stage: str | None, names: list[str]) -> NoReturn:
    """Exit with what is wrong with the name, and a hint."""
    from hsl.errors import near
    from hsl.runtime.stages import elsewhere

    click.echo(f"there is no function {name}()" + (f" in {stage}" if stage else ""), err=True)
    hint = elsewhere(name) or near(name, names)
    if hint:
        click.echo(f"hint: {hint}", err=True)
    sys.exit(1)


def stages_note(item: Entry) -> str:
    return "" if item.stages is None else f"  [{', '.join(stage_order(item))}]"


def stage_order(item: Entry) -> list[str]:
    from hsl.runtime.stages import STAGES

    return [name for name in STAGES if item.stages is None or name in item.stages]


def page(item: Entry) -> str:
    """All about one function or class: signature, older names, stages, documentation, options, methods."""
    lines = [heading(item)]
    if isinstance(item, Builtin) and item.aliases:
        lines.append(f"older names: {', '.join(item.aliases)}")
    lines.append("stages: " + ("all" if item.stages is None else ", ".join(stage_order(item))))
    lines += ["", item.doc]
    function = item if isinstance(item, Builtin) else item.constructor
    for parameter in () if function is None else function.parameters:
        if parameter.options is not None:
            lines += ["", f"{parameter.name}:"]
            lines += [f"  {option_line(option)}" for option in parameter.options.declared().values()]
    for method in methods(item):
        lines += ["", method.signature, *(f"    {line}" for line in method.doc.split("\n"))]
    return "\n".join(lines)


def option_line(option: Option) -> str:
    unit = f" {option.unit}" if option.unit else ""
    default = "" if option.default is None else f" The default is {option_text(option.default)}{unit}."
    return f"{option.name} ({' or '.join(sorted(option.types))})  {option.doc}{default}"


def option_text(value: object) -> str:
    if isinstance(value, bytes):
        return '"' + value.decode() + '"'
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def as_object(item: Entry) -> dict[str, object]:
    """A function; a class as its constructor (null parameters where there is none), with its methods."""
    function = item if isinstance(item, Builtin) else item.constructor
    found: dict[str, object] = {
        "name": item.name,
        "aliases": list(names_of(item)[1:]),
        "signature": heading(item),
        "chapter": item.chapter,
        "stages": None if item.stages is None else stage_order(item),
        "summary": summary(item),
        "doc": item.doc,
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
