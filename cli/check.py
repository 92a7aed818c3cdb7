"""`hsl check`: everything that is wrong with scripts, without running them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hsl.errors import Diagnostic


@click.command("check", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--stage", metavar="STAGE", help="Check for a stage; by default the one a file is named after.")
@click.option("--strict", is_flag=True, help="Also name today's form of older names, and fail on warnings.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list of objects, for editors.")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
              help="Where includes are read from; by default each file's folder.")  # fmt: skip
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def command(stage: str | None, strict: bool, as_json: bool, root: Path | None, files: tuple[Path, ...]) -> None:
    """Check script FILEs. A file named after a stage (data.hsl) is checked for that stage, others for none.

    Exit codes: 0 nothing found, 1 errors (with --strict also warnings), 2 wrong usage.
    """
    found: list[Diagnostic] = []
    for file in files:
        found += findings(file, stage, root)
    if not strict:
        found = [item for item in found if item.severity != "note"]
    if as_json:
        click.echo(json.dumps([as_object(item) for item in found], indent=2))
    else:
        for item in found:
            click.echo(item.render(), err=True)
    errors = sum(item.severity == "error" for item in found)
    if not as_json:
        others = len(found) - errors
        click.echo(f"{len(files)} files: {errors} errors, {others} warnings")
    sys.exit(1 if errors or (strict and found) else 0)


def findings(file: Path, stage: str | None, root: Path | None) -> list[Diagnostic]:
    """The diagnostics of one file."""
    from hsl.compiler import Environment, compile_script
    from hsl.errors import CompileError
    from hsl.library import core_registry
    from hsl.loader import FileLoader
    from hsl.runtime.stages import STAGES, elsewhere, environment
    from hsl.source import Source

    stage = stage or (file.stem if file.stem in STAGES else None)
    loader = FileLoader(root or file.parent)
    if stage is not None and stage not in STAGES:
        raise click.UsageError(f"there is no stage {stage!r}: {', '.join(STAGES)}")
    try:
        data = file.read_bytes()
    except OSError as error:
        raise click.ClickException(f"cannot read {file}: {error.strerror}") from None
    plain = Environment(core_registry(), loader=loader, elsewhere=elsewhere)
    try:
        program = compile_script(
            Source.from_bytes(str(file), data), environment(stage, loader) if stage else plain
        )
    except CompileError as error:
        return list(error.diagnostics)
    return sorted([*program.warnings, *program.notes], key=lambda item: (item.span.file, item.span.start))


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
