"""`hsl builtins`: every function with its signature, stages and documentation, from the declarations."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from hsl.builtins import Builtin, Options


@click.command("builtins", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--stage", metavar="STAGE", help="Only what a stage's scripts can call.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON list of objects.")
@click.argument("name", required=False)
def command(stage: str | None, as_json: bool, name: str | None) -> None:
    """List the functions, or show all about the function NAME."""
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
        click.echo(f"  {item.signature}")
        click.echo(f"      {item.summary}{stages_note(item)}")


def select(stage: str | None, name: str | None) -> list[Builtin]:
    """The functions asked for. Exits with a hint when there is no such function."""
    from hsl.library import CHAPTERS as LIBRARY
    from hsl.runtime.stages import CHAPTERS as MAIL
    from hsl.runtime.stages import STAGES

    if stage is not None and stage not in STAGES:
        raise click.UsageError(f"there is no stage {stage!r}: {', '.join(STAGES)}")
    every = [item for chapter in (*LIBRARY, *MAIL) for item in chapter.functions]
    found = [item for item in every if stage is None or item.stages is None or stage in item.stages]
    if name is None:
        return found
    name = name.removesuffix("()")
    named = [item for item in found if name == item.name or name in item.aliases]
    if not named:
        names = [word for item in found for word in (item.name, *item.aliases)]
        refuse(name, stage, names)
    return named


def refuse(name: str, stage: str | None, names: list[str]) -> NoReturn:
    """Exit with what is wrong with the name, and a hint."""
    from hsl.errors import near
    from hsl.runtime.stages import elsewhere

    click.echo(f"there is no function {name}()" + (f" in {stage}" if stage else ""), err=True)
    hint = elsewhere(name) or near(name, names)
    if hint:
        click.echo(f"hint: {hint}", err=True)
    sys.exit(1)


def stages_note(item: Builtin) -> str:
    return "" if item.stages is None else f"  [{', '.join(stage_order(item))}]"


def stage_order(item: Builtin) -> list[str]:
    from hsl.runtime.stages import STAGES

    return [name for name in STAGES if item.stages is None or name in item.stages]


def page(item: Builtin) -> str:
    """All about one function: signature, older names, stages, documentation, options."""
    lines = [item.signature]
    if item.aliases:
        lines.append(f"older names: {', '.join(item.aliases)}")
    lines.append("stages: " + ("all" if item.stages is None else ", ".join(stage_order(item))))
    lines += ["", item.doc]
    for parameter in item.parameters:
        if parameter.options is not None:
            lines += ["", f"{parameter.name}:"]
            for option in parameter.options.declared.values():
                unit = f" {option.unit}" if option.unit else ""
                default = "" if option.default is None else f" The default is {option_text(option.default)}{unit}."
                lines.append(f"  {option.name} ({' or '.join(sorted(option.types))})  {option.doc}{default}")
    return "\n".join(lines)


def option_text(value: object) -> str:
    if isinstance(value, bytes):
        return '"' + value.decode() + '"'
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def as_object(item: Builtin) -> dict[str, object]:
    return {
        "name": item.name,
        "aliases": list(item.aliases),
        "signature": item.signature,
        "chapter": item.chapter,
        "stages": None if item.stages is None else stage_order(item),
        "summary": item.summary,
        "doc": item.doc,
        "parameters": [
            {
                "name": parameter.name,
                "types": sorted(parameter.types),
                "required": parameter.required,
                "variadic": parameter.variadic,
                "options": [] if parameter.options is None else options_of(parameter.options),
            }
            for parameter in item.parameters
        ],
        "result": item.result,
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
        for option in options.declared.values()
    ]
