"""`hsl run`: a script on its own, or on a stage; there it prints the verdict and what the script changed."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hsl.cli.options import make_scene, pairs, stage_options

if TYPE_CHECKING:
    from hsl.cli.workbench import Outcome, Workbench
    from hsl.compiler import Environment
    from hsl.evaluator import Program
    from hsl.runtime.context import Context
    from hsl.runtime.model import Mail


@click.command("run", context_settings={"help_option_names": ["-h", "--help"]})
@stage_options
@click.argument("file", type=click.Path(path_type=Path))
def command(file: Path, stage: str | None, root: Path | None, **options: Any) -> None:
    """Run a script FILE. With --stage it runs as the gateway would run it at that stage.

    Exit codes: 0 the script ran, 1 it does not load or failed, 2 wrong usage.
    """
    if stage is None:
        sys.exit(run_plain(file, root))
    sys.exit(run_on_stage(file, root, stage, options))


def load(file: Path, root: Path | None, environment: Environment) -> Program | None:
    """The compiled script; None after its errors were printed."""
    from hsl.compiler import compile_script
    from hsl.errors import CompileError
    from hsl.source import Source

    try:
        data = file.read_bytes()
    except OSError as error:
        raise click.ClickException(f"cannot read {file}: {error.strerror}") from None
    try:
        program = compile_script(Source.from_bytes(str(file), data), environment)
    except CompileError as error:
        click.echo(str(error), err=True)
        return None
    for warning in program.warnings:
        click.echo(warning.render(), err=True)
    return program


def run_plain(file: Path, root: Path | None) -> int:
    from hsl.compiler import Environment
    from hsl.errors import ScriptError
    from hsl.library import core_registry
    from hsl.loader import FileLoader
    from hsl.run import Run
    from hsl.runtime.stages import elsewhere

    loader = FileLoader(root or file.parent)
    program = load(file, root, Environment(core_registry(), loader=loader, elsewhere=elsewhere))
    if program is None:
        return 1
    try:
        Run(program).execute()
    except ScriptError as error:
        click.echo(error.render(), err=True)
        return 1
    return 0


def run_on_stage(file: Path, root: Path | None, stage: str, options: dict[str, Any]) -> int:
    import asyncio

    from hsl.cli.workbench import UsageError

    try:
        scene = make_scene(stage, options)
        return asyncio.run(run_scene(file, root, scene, pairs(options["settings"], "--set")))
    except UsageError as error:
        raise click.UsageError(str(error)) from None


async def run_scene(file: Path, root: Path | None, scene: Any, settings: dict[str, str]) -> int:
    from hsl.cli.workbench import Workbench
    from hsl.loader import FileLoader
    from hsl.runtime.stages import environment

    bench = await Workbench.open(scene, settings)
    try:
        program = load(file, root, environment(scene.stage, FileLoader(root or file.parent)))
        if program is None:
            return 1
        return await show_run(bench, program)
    finally:
        await bench.close()


async def show_run(bench: Workbench, program: Program) -> int:
    """Run the program on each context (recipient) and print what it decided and changed."""
    failed = None
    for context in bench.contexts:
        before = snapshot(context)
        _, outcome = await bench.execute(program, context)
        if len(bench.contexts) > 1:
            click.echo(f"recipient: {show(context.variable('recipient'))}")
        show_outcome(bench, outcome)
        show_changes(before, snapshot(context))
        bench.finish_data(context, outcome.verdict)
        if outcome.error is not None:
            failed = outcome.verdict
            break
    if bench.scene.stage == "data":
        verdict, mails = await bench.data_result(failed)
        if len(bench.contexts) > 1:
            click.echo(f"reply to all: {bench.reply_text(verdict)}")
        show_mails(bench, mails)
    return 1 if failed else 0


def show(value: Any) -> str:
    from hsl.values import to_text

    return to_text(value)


def show_outcome(bench: Workbench, outcome: Outcome) -> None:
    if outcome.error is not None:
        click.echo(outcome.error.render(), err=True)
    click.echo(f"verdict: {describe(outcome)}")
    reply = bench.reply_text(outcome.verdict)
    if reply is not None:
        click.echo("reply: " + reply.replace("\r\n", "\n       "))


def describe(outcome: Outcome) -> str:
    """`defer`, `deliver (no verdict)`, `queue (script error) delay=300`."""
    verdict = outcome.verdict
    note = " (script error)" if outcome.error else "" if verdict.explicit else " (no verdict)"
    options = [f"{name}={shown(value)}" for name, value in verdict.options.items() if value not in (None, "", False)]
    return " ".join([f"{verdict.action}{note}", *options])


def shown(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def snapshot(context: Context) -> dict[str, str]:
    """What scripts can change, for comparison."""
    from hsl.runtime.context import DataContext, PreDeliveryContext, QueueContext

    found: dict[str, str] = {}
    if isinstance(context, DataContext):
        found["sender"] = shown(context.sender.path)
        found["recipient"] = shown(context.recipient.path)
        found["transport"] = context.transportid
        found["delay"] = f"{context.delay:g}"
        found["metadata"] = show_metadata(context.state.metadata)
    elif isinstance(context, QueueContext):
        found["metadata"] = show_metadata(context.entry.metadata)
        if isinstance(context, PreDeliveryContext):
            plan = context.plan
            found["sender"] = shown(plan.sender.path)
            found["recipient"] = shown(plan.recipient.path)
            found["destination"] = f"{plan.host or 'lookup-mx'}:{plan.port}"
            found["helo"] = plan.helo or (plan.source.helo if plan.source else None) or ""
            found["source ip"] = "" if plan.source is None else plan.source.address
            if plan.source is not None and plan.source.id is not None:
                found["source ip"] += f" (netaddr:{plan.source.id})"
    found["context"] = show(context.context)
    return found


def show_metadata(metadata: dict[bytes, bytes]) -> str:
    return ", ".join(f"{shown(key)}={shown(value)}" for key, value in metadata.items())


def show_changes(before: dict[str, str], after: dict[str, str]) -> None:
    for name, value in after.items():
        if before.get(name) != value:
            click.echo(f"{name}: {value}")


def show_mails(bench: Workbench, mails: list[Mail]) -> None:
    """What would be stored, and how its headers differ from what came."""
    original = header_lines(b"".join(bench.message.original.chunks()))
    for mail in mails:
        for entry in mail.entries:
            extra = f" quarantine={entry.quarantine}" if entry.quarantine else ""
            click.echo(f"queued: {shown(entry.recipient.path)} {entry.state} transport={entry.transportid}{extra}")
        now = header_lines(b"".join(mail.body.chunks()))
        for line in difflib.unified_diff(original, now, lineterm="", n=0):
            if line[:1] in "+-" and line[:3] not in ("+++", "---"):
                click.echo(f"header: {line}")


def header_lines(message: bytes) -> list[str]:
    head = message.partition(b"\r\n\r\n")[0]
    return [shown(line) for line in head.split(b"\r\n")]
