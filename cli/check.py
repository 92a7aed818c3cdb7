"""`hsl check`: everything that is wrong with scripts, without running them."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hsl.compiler import Environment
    from hsl.errors import Diagnostic

UNREADABLE = "unreadable"  # the code of the one finding that is about no text


@click.command("check", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--stage", metavar="STAGE", help="Check for a stage; by default the one a file is named after.")
@click.option("--strict", is_flag=True, help="Also name today's form of older names, and fail on warnings.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list of objects, for editors.")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False, exists=True), metavar="FOLDER",
              help="Where includes are read from; by default each file's folder.")  # fmt: skip
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def command(stage: str | None, strict: bool, as_json: bool, root: Path | None, files: tuple[Path, ...]) -> None:
    """Check script FILEs. A file named after a stage (data.hsl) is checked for that stage, others for none.

    The file - is the standard input.

    Exit codes: 0 nothing found, 1 errors (with --strict also warnings), 2 wrong usage.
    """
    every = [item for file in files for item in findings(file, stage, root)]
    # a file that several include is reported once
    once = {(item.span.file, item.span.start, item.code, item.message): item for item in every}
    found = [item for item in once.values() if strict or item.severity != "note"]
    if as_json:
        click.echo(json.dumps([as_object(item) for item in found], indent=2))
    else:
        for item in found:
            click.echo(render(item), err=True)
        click.echo(summary(len(files), found, strict))
    sys.exit(1 if (strict and found) or any(item.severity == "error" for item in found) else 0)


def findings(file: Path, stage: str | None, root: Path | None) -> list[Diagnostic]:
    """The diagnostics of one file and of what it includes."""
    from hsl.cli.scripts import Unreadable, read_script, shown_path
    from hsl.compiler import compile_script
    from hsl.errors import CompileError, Diagnostic
    from hsl.source import Source, Span

    environment = environment_for(file, stage, root)
    try:
        program = compile_script(read_script(file), environment)
    except Unreadable as error:
        nothing = Span(Source(shown_path(file), ""), 0, 0)
        return [Diagnostic("error", UNREADABLE, f"cannot be read: {error}", nothing)]
    except CompileError as error:
        return list(error.diagnostics)
    return sorted([*program.warnings, *program.notes], key=lambda item: (item.span.file, item.span.start))


def environment_for(file: Path, stage: str | None, root: Path | None) -> Environment:
    """What the script may use. Raises click.UsageError for an unknown stage."""
    from hsl.cli.scripts import loader_for, plain_environment
    from hsl.runtime.stages import STAGES, environment, unknown_stage

    if stage is None and file.stem in STAGES:
        stage = file.stem
    loader = loader_for(file, root)
    if stage is None:
        return plain_environment(loader)
    if stage not in STAGES:
        raise click.UsageError(unknown_stage(stage))
    return environment(stage, loader)


def render(item: Diagnostic) -> str:
    if item.code == UNREADABLE:
        return f"{item.span.file}: {item.severity}: {item.message}"
    return item.render()


def summary(files: int, found: list[Diagnostic], strict: bool) -> str:
    """`2 files: 1 error, 0 warnings`."""
    count = Counter(item.severity for item in found)
    kinds = ("error", "warning", "note") if strict else ("error", "warning")
    return f"{plural(files, 'file')}: " + ", ".join(plural(count[kind], kind) for kind in kinds)


def plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def as_object(item: Diagnostic) -> dict[str, object]:
    """A finding for editors: 1-based lines and columns, `end` is the place behind it."""
    span = item.span
    end_line, end_column = span.source.line_column(span.end)
    return {
        "file": span.file,
        "line": span.line,
        "column": span.column,
        "end": {"line": end_line, "column": end_column},
        "severity": item.severity,
        "code": item.code,
        "message": item.message,
        "hint": item.hint,
    }
