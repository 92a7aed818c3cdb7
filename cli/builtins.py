"""`hsl builtins`: every function and class with its signature, stages and documentation, from the declarations."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NoReturn

import click

from hsl.cli.manual import (
    Entry,
    as_object,
    documentation,
    every_entry,
    heading,
    methods,
    names_of,
    page,
    signature,
    stage_order,
    write_pages,
)


@click.command("builtins", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--stage", metavar="STAGE", help="Only what a stage's scripts can call.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON list of objects.")
@click.option(
    "--pages",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the manual there: a Markdown page for each chapter.",
)
@click.argument("name", required=False)
def command(stage: str | None, as_json: bool, pages: Path | None, name: str | None) -> None:
    """List the functions and classes, or show all about the function or class NAME."""
    if pages is not None:
        write_manual(pages)
        return
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
            click.echo(f"      {signature(method)}\n          {summary(method)}")


def write_manual(folder: Path) -> None:
    """Write the manual and say so. Exits where that fails."""
    try:
        count = write_pages(folder)
    except OSError as error:
        click.echo(f"cannot write {folder}: {error.strerror}", err=True)
        sys.exit(1)
    click.echo(f"{count} pages in {folder}")


def select(stage: str | None, name: str | None) -> list[Entry]:
    """The functions and classes asked for; a method by its full name. Exits with a hint when there is no such one."""
    from hsl.runtime.stages import STAGES, unknown_stage

    if stage is not None and stage not in STAGES:
        raise click.UsageError(unknown_stage(stage))
    found = [item for item in every_entry() if stage is None or item.stages is None or stage in item.stages]
    if name is None:
        return found
    name = name.removesuffix("()")
    found += [method for item in found for method in methods(item)]
    named = [item for item in found if name in names_of(item)]
    if not named:
        refuse(name, stage, [word for item in found for word in names_of(item)])
    return named


def summary(item: Entry) -> str:
    return documentation(item).summary


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
