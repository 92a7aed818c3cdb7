"""`hsl run`: a script on its own, or on a stage; there it prints the verdict and what the script changed."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from hsl.cli.options import StageOptions, ffi_option, given, make_scene, pairs, stage_options
from hsl.cli.plain import load, run_plain

if TYPE_CHECKING:
    from hsl.cli.workbench import Outcome, Scene, Workbench
    from hsl.evaluator import Program
    from hsl.runtime.context import Context, DataContext, PreDeliveryContext
    from hsl.runtime.message import Field
    from hsl.runtime.model import Mail, QueueEntry

USUAL = {"increment_retry": True, "reject": True}  # options of verdicts that say nothing when they are so


@click.command("run", context_settings={"help_option_names": ["-h", "--help"]})
@stage_options
@ffi_option
@click.argument("file", type=click.Path(path_type=Path))
def command(file: Path, stage: str | None, root: Path | None, ffi: bool, **options: Unpack[StageOptions]) -> None:
    """Run a script FILE (- is the standard input). With --stage it runs as the gateway would run it at that stage.

    Exit codes: 0 the script ran, 1 it does not load or failed, 2 wrong usage.
    """
    if stage is not None:
        sys.exit(run_on_stage(file, root, ffi, stage, options))
    unused = given(options)
    if unused:
        raise click.UsageError(f"{unused[0]} belongs to a stage: name one by --stage")
    sys.exit(run_plain(file, root, ffi))


def run_on_stage(file: Path, root: Path | None, ffi: bool, stage: str, options: StageOptions) -> int:
    import asyncio

    from hsl.cli.workbench import UsageError

    try:
        scene = make_scene(stage, options)
        return asyncio.run(run_scene(file, root, ffi, scene, pairs(options["settings"], "--set")))
    except UsageError as error:
        raise click.UsageError(str(error)) from None


async def run_scene(file: Path, root: Path | None, ffi: bool, scene: Scene, settings: dict[str, str]) -> int:
    from hsl.cli.scripts import loader_for
    from hsl.cli.workbench import Workbench
    from hsl.runtime.stages import environment

    bench = await Workbench.open(scene, settings, root=root or file.parent, ffi=ffi)
    try:
        program = load(file, environment(scene.stage, loader_for(file, root)))
        return 1 if program is None else await show_run(bench, program)
    finally:
        await bench.close()


async def show_run(bench: Workbench, program: Program) -> int:
    """Run the program on each context (recipient) and print what it decided and changed; the exit code."""
    from hsl.runtime.context import AuthContext, MessageContext

    failed = False
    several = len(bench.contexts) > 1
    for context in bench.contexts:
        if several:
            click.echo(f"recipient: {shown(context.variable('recipient'))}")
        if isinstance(context, AuthContext) and context.state:
            click.echo(f"response: {shown(context.response)}")
        before, fields = snapshot(context), bench.fields()
        _, outcome = await bench.execute(program, context)
        show_outcome(bench, context, outcome)
        show_changes(before, snapshot(context))
        for line in header_changes(fields, bench.fields()):
            click.echo(f"header: {line}")
        bench.finish_data(context, outcome.verdict)
        if outcome.error is not None:
            failed = True
            break
        if (following := bench.next_round(context, outcome.verdict)) is not None:
            bench.contexts.append(following)
    if isinstance(context, MessageContext):
        verdict, mails = await bench.message_result(outcome.verdict)
        if several or outcome.verdict.action == "done":
            for line in reply_lines("reply to all: ", bench.reply_text(verdict) or ""):
                click.echo(line)
        show_mails(mails)
    return 1 if failed else 0


def show_outcome(bench: Workbench, context: Context, outcome: Outcome) -> None:
    if outcome.error is not None:
        click.echo(outcome.error.render(), err=True)
    for line in outcome_lines(bench, context, outcome):
        click.echo(line)


def outcome_lines(bench: Workbench, context: Context, outcome: Outcome) -> list[str]:
    """The verdict, and the reply that a client would get; where none waits for one, the reason for the log."""
    lines = [f"verdict: {describe(context, outcome)}"]
    reply = bench.reply_text(outcome.verdict)
    if reply is not None:
        lines += reply_lines("reply: ", reply)
    elif outcome.verdict.reason:
        lines.append(f"reason: {shown(' '.join(outcome.verdict.reason))}")
    return lines


def reply_lines(lead: str, reply: str) -> list[str]:
    """A reply of one or several lines (RFC 5321 4.2.1), one below the other."""
    return [(" " * len(lead) if index else lead) + line for index, line in enumerate(reply.splitlines())]


def describe(context: Context, outcome: Outcome) -> str:
    """`defer`, `deliver (no verdict)`, `queue (script error) delay=300`, `default (no verdict): bounce`."""
    from hsl.runtime.context import PostDeliveryContext

    verdict = outcome.verdict
    note = " (script error)" if outcome.error else "" if verdict.explicit else " (no verdict)"
    if isinstance(context, PostDeliveryContext) and verdict.action == "default":
        note += f": {(context.action or 'delivered').lower()}"
    given = {name: value for name, value in verdict.options.items() if value not in (None, "")}
    options = [f"{name}={shown(value)}" for name, value in given.items() if value is not USUAL.get(name, False)]
    return " ".join([f"{verdict.action}{note}", *options])


def shown(value: object) -> str:
    """A value for a line of output: bytes as text, nothing that would move a terminal's cursor."""
    from hsl.source import printable

    if isinstance(value, bytes):
        return printable(value.decode("utf-8", "replace"))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(map(shown, value))
    return f"{value:g}" if isinstance(value, float) else printable(str(value))


# ------------------------------------------------------------ what a script changed


def snapshot(context: Context) -> dict[str, str]:
    """What scripts can change, for comparison; headers aside."""
    from hsl.errors import ScriptError
    from hsl.runtime.context import DataContext, PreDeliveryContext, QueueContext
    from hsl.values import to_text

    found: dict[str, str] = {}
    if isinstance(context, DataContext):
        found |= data_snapshot(context)
    elif isinstance(context, PreDeliveryContext):
        found |= delivery_snapshot(context)
    if isinstance(context, QueueContext):
        found["metadata"] = show_metadata(context.entry.metadata)
    try:
        found["context"] = to_text(context.context)
    except ScriptError as error:
        found["context"] = f"({error.message})"
    return found


def data_snapshot(context: DataContext) -> dict[str, str]:
    return {
        "sender": shown(context.sender.path),
        "recipient": shown(context.recipient.path),
        "sender ip": context.senderip,
        "sender helo": shown(context.senderhelo),
        "transport": context.transportid,
        "delay": f"{context.delay:g}",
        "metadata": show_metadata(context.state.metadata),
    }


def delivery_snapshot(context: PreDeliveryContext) -> dict[str, str]:
    plan = context.plan
    source = "" if plan.source is None else plan.source.address
    if plan.source is not None and plan.source.id is not None:
        source += f" (netaddr:{plan.source.id})"
    return {
        "sender": shown(plan.sender.path),
        "recipient": shown(plan.recipient.path),
        "destination": f"{plan.host or 'lookup-mx'}:{plan.port}",
        "helo": plan.helo or (plan.source.helo if plan.source else None) or "",
        "source ip": source,
    }


def show_metadata(metadata: dict[bytes, bytes]) -> str:
    return ", ".join(f"{shown(key)}={shown(value)}" for key, value in metadata.items())


def show_changes(before: dict[str, str], after: dict[str, str]) -> None:
    for name, value in after.items():
        if before.get(name) != value:
            click.echo(f"{name}: {value}")


def header_changes(before: Sequence[Field], after: Sequence[Field]) -> Iterator[str]:
    """`-Name: value` for each header that is gone, `+Name: value` for each new one."""
    for sign, fields, others in (("-", before, after), ("+", after, before)):
        left = Counter(field.raw for field in others)
        for field in fields:
            if left[field.raw] > 0:
                left[field.raw] -= 1
            else:
                yield f"{sign}{shown(field.written_name)}: {shown(field.value)}"


def show_mails(mails: list[Mail]) -> None:
    """What would be stored."""
    for mail in mails:
        for entry in mail.entries:
            click.echo(f"queued: {shown(entry.recipient.path)} {entry.state.lower()} {' '.join(storage(entry))}")


def storage(entry: QueueEntry) -> Iterator[str]:
    """The particulars of a stored entry."""
    yield f"transport={entry.transportid}"
    if entry.quarantine:
        yield f"quarantine={entry.quarantine}"
    if entry.due > entry.ts:
        yield f"delay={entry.due - entry.ts:g}"
    if entry.jobid:
        yield f"jobid={shown(entry.jobid)}"
    if entry.tenantid:
        yield f"tenantid={shown(entry.tenantid)}"
    if entry.priority:
        yield f"priority={entry.priority}"
