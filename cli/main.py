"""The command `hsl`: a table of sub-commands, each imported only when it is used."""

from __future__ import annotations

import sys
from importlib import import_module
from io import TextIOWrapper
from typing import NamedTuple

import click


class Lazy(NamedTuple):
    """Where a sub-command is, and its line in `hsl --help`."""

    module: str
    help: str


COMMANDS = {
    "run": Lazy("hsl.cli.run", "Run a script, on a stage or on its own."),
    "check": Lazy("hsl.cli.check", "Report everything that is wrong with scripts."),
    "builtins": Lazy("hsl.cli.builtins", "List the functions and what they take."),
    "repl": Lazy("hsl.cli.repl", "Try the language and the stages line by line."),
    "serve": Lazy("hsl.cli.serve", "Run the gateway."),
    "queue": Lazy("hsl.cli.queue", "Look at a gateway's queue and change it."),
    "metrics": Lazy("hsl.cli.metrics", "Print what a gateway has counted."),
}


class LazyGroup(click.Group):
    """A group whose commands are the attribute `command` of their modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = COMMANDS.get(cmd_name)
        if found is None:
            return None
        command: click.Command = import_module(found.module).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, item.help) for name, item in COMMANDS.items()])


def show_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    """`hsl 0.1.0 (compiled)`, or `(pure)`: whether the interpreter's core is C or Python here."""
    if not value or ctx.resilient_parsing:
        return
    from importlib.machinery import EXTENSION_SUFFIXES
    from importlib.metadata import version

    from hsl import evaluator

    compiled = evaluator.__file__.endswith(tuple(EXTENSION_SUFFIXES))
    click.echo(f"hsl {version('hslmta')} ({'compiled' if compiled else 'pure'})")
    ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=show_version, help="The version.")
def main() -> None:
    """An open HSL: the mail scripting language, and the SMTP gateway that runs it."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # mail and file names hold bytes that a terminal may not know


if __name__ == "__main__":
    main(prog_name="hsl")
