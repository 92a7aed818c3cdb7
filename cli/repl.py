"""`hsl repl`: try the language and the stages line by line. On a terminal through prompt_toolkit, else from a pipe."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from hsl.cli.options import StageOptions, ffi_option, make_scene, pairs, stage_options

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import History

    from hsl.cli.session import Session


@click.command("repl", context_settings={"help_option_names": ["-h", "--help"]})
@stage_options
@ffi_option
def command(stage: str | None, root: Path | None, ffi: bool, **options: Unpack[StageOptions]) -> None:
    """Read, run and show pieces of script. :help lists the commands; Ctrl-D leaves."""
    from hsl.cli.workbench import UsageError

    with asyncio.Runner() as runner:
        try:
            session = runner.run(open_session(stage, root or Path(), ffi, options))
        except UsageError as error:
            raise click.UsageError(str(error)) from None
        try:
            loop(runner, session)
        finally:
            runner.run(session.close())


async def open_session(stage: str | None, root: Path, ffi: bool, options: StageOptions) -> Session:
    """Raises UsageError. Without a stage the options wait for `:stage`."""
    from hsl.cli.session import Session
    from hsl.cli.workbench import Workbench

    settings = pairs(options["settings"], "--set")
    scene = make_scene(stage or "", options)
    bench = None if stage is None else await Workbench.open(scene, settings, root=root, ffi=ffi)
    return Session(bench, root, settings, scene, ffi=ffi)


def loop(runner: asyncio.Runner, session: Session) -> None:
    from hsl.cli.session import Leave

    for text in reader(session):
        try:
            lines = runner.run(session.feed(text))
        except Leave:
            return
        except KeyboardInterrupt:
            lines = ["interrupted"]
        for line in lines:
            click.echo(line)


def reader(session: Session) -> Iterable[str]:
    """The inputs, from where they come."""
    if not sys.stdin.isatty():
        return piped_reader()
    if not sys.stdout.isatty():
        return plain_reader(session)
    try:
        import prompt_toolkit  # noqa: F401
    except ImportError:
        click.echo("prompt_toolkit is not installed (extra `repl`): no completion, no history", err=True)
        return plain_reader(session)
    return terminal_reader(session)


def piped_reader() -> Iterator[str]:
    """Inputs from a pipe: lines, joined while a construct is open."""
    from hsl.cli.session import is_incomplete

    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # as script files are read
    held = ""
    for line in sys.stdin:
        held += line
        if not is_incomplete(held):
            yield held
            held = ""
    if held:
        yield held


def plain_reader(session: Session) -> Iterator[str]:
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


def terminal_reader(session: Session) -> Iterator[str]:
    """Inputs from a terminal, with history, completion and several lines to an input."""
    prompt = make_prompt(session)
    click.echo(f"HSL. {session.stage or 'No stage'}. :help lists the commands, Ctrl-D leaves.")
    while True:
        try:
            yield prompt.prompt(prompt_text(session))
        except KeyboardInterrupt:
            continue
        except EOFError:
            return


def make_prompt(session: Session) -> PromptSession[str]:
    """prompt_toolkit's editor: Enter ends an input that is complete, and else begins its next line."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document
    from prompt_toolkit.filters import Condition
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    from hsl.cli.session import is_incomplete

    class Names(Completer):
        def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
            text = document.text_before_cursor
            start, names = session.complete(text)
            for name in names:
                yield Completion(name, start_position=start - len(text))

    keys = KeyBindings()
    goes_on = Condition(lambda: is_incomplete(prompt.default_buffer.text))

    @keys.add("enter", filter=goes_on)
    def more(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("enter", filter=~goes_on)
    def done(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    prompt: PromptSession[str] = PromptSession(
        history=open_history(),
        completer=Names(),
        complete_while_typing=False,
        multiline=True,
        key_bindings=keys,
        prompt_continuation="... ",
    )
    return prompt


def prompt_text(session: Session) -> str:
    return f"{session.stage or 'hsl'}> "


def open_history() -> History:
    """The inputs of earlier sessions; only this session's where there is no place to keep them."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    place = history_file()
    return InMemoryHistory() if place is None else FileHistory(str(place))


def history_file() -> Path | None:
    """Where inputs are remembered (XDG Base Directory: the state folder); None when it cannot be written."""
    try:
        folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "hsl"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        place = folder / "history"
        os.close(os.open(place, os.O_APPEND | os.O_CREAT | os.O_RDWR, 0o600))
    except (OSError, RuntimeError):  # RuntimeError: no home folder
        return None
    return place
