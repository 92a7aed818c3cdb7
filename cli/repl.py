"""`hsl repl`: try the language and the stages line by line. With a terminal by prompt_toolkit, else from standard input."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from hsl.cli.options import make_scene, pairs, stage_options

WORD = re.compile(r"[$:]?[A-Za-z_][A-Za-z0-9_]*\Z|[$:]\Z")


@click.command("repl", context_settings={"help_option_names": ["-h", "--help"]})
@stage_options
def command(stage: str | None, root: Path | None, **options: Any) -> None:
    """Read, run and show pieces of script. :help lists the commands; Ctrl-D leaves."""
    from hsl.cli.session import Session
    from hsl.cli.workbench import UsageError, Workbench

    with asyncio.Runner() as runner:
        try:
            settings = pairs(options["settings"], "--set")
            bench = None
            if stage is not None:
                scene = make_scene(stage, options)
                bench = runner.run(open_bench(scene, settings))
            session = Session(bench, root or Path(), settings)
        except UsageError as error:
            raise click.UsageError(str(error)) from None
        try:
            loop(runner, session)
        finally:
            if isinstance(session.bench, Workbench):
                runner.run(session.bench.close())


async def open_bench(scene: Any, settings: dict[str, str]) -> Any:
    from hsl.cli.workbench import Workbench

    return await Workbench.open(scene, settings)


def loop(runner: asyncio.Runner, session: Any) -> None:
    from hsl.cli.session import Leave

    reader = terminal_reader(session) if sys.stdin.isatty() else piped_reader()
    for text in reader:
        try:
            lines = runner.run(session.feed(text))
        except Leave:
            return
        except KeyboardInterrupt:
            lines = ["interrupted"]
        for line in lines:
            click.echo(line)


def piped_reader() -> Iterable[str]:
    """Inputs from a pipe: lines, joined while a construct is open."""
    from hsl.cli.session import is_incomplete

    held = ""
    for line in sys.stdin:
        held += line
        if not is_incomplete(held):
            yield held
            held = ""
    if held:
        yield held


def terminal_reader(session: Any) -> Iterable[str]:
    """Inputs from a terminal, with history, completion and several lines to an input."""
    try:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.completion import Completer, Completion
        from prompt_toolkit.document import Document
        from prompt_toolkit.history import FileHistory, History, InMemoryHistory
    except ImportError:
        click.echo("prompt_toolkit is not installed (extra `repl`): no completion, no history", err=True)
        yield from plain_reader(session)
        return
    from prompt_toolkit.filters import Condition
    from prompt_toolkit.key_binding import KeyBindings

    from hsl.cli.session import completions, is_incomplete

    class Names(Completer):
        def get_completions(self, document: Document, complete_event: object) -> Iterable[Completion]:
            match = WORD.search(document.text_before_cursor)
            prefix = match[0] if match else ""
            if prefix:
                for name in completions(prefix, session.names()):
                    yield Completion(name, start_position=-len(prefix))

    keys = KeyBindings()

    @Condition
    def goes_on() -> bool:
        return is_incomplete(prompt.default_buffer.text)

    @keys.add("enter", filter=goes_on)
    def more(event: Any) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("enter", filter=~goes_on)
    def done(event: Any) -> None:
        event.current_buffer.validate_and_handle()

    history: History = InMemoryHistory()
    place = history_file()
    if place is not None:
        history = FileHistory(str(place))
    prompt: PromptSession[str] = PromptSession(
        history=history, completer=Names(), complete_while_typing=False, multiline=True, key_bindings=keys,
        prompt_continuation="... ",
    )  # fmt: skip
    click.echo(f"HSL. {session.stage or 'No stage'}. :help lists the commands, Ctrl-D leaves.")
    while True:
        try:
            yield prompt.prompt(prompt_text(session))
        except KeyboardInterrupt:
            continue
        except EOFError:
            return


def plain_reader(session: Any) -> Iterable[str]:
    """A terminal without prompt_toolkit."""
    from hsl.cli.session import is_incomplete

    held = ""
    while True:
        try:
            held += input("... " if held else prompt_text(session)) + "\n"
        except KeyboardInterrupt:
            held = ""
            click.echo()
            continue
        except EOFError:
            return
        if not is_incomplete(held):
            yield held
            held = ""


def prompt_text(session: Any) -> str:
    return f"{session.stage or 'hsl'}> "


def history_file() -> Path | None:
    """Where inputs are remembered; None when there is no place for it."""
    folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "hsl"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return None
    return folder / "history"
