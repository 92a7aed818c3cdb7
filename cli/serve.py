"""`hsl serve`: run the gateway of a configuration until a signal, or only check everything that it would load."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from hsl.errors import CompileError, Diagnostic
from hsl.programs import Programs
from hsl.runtime.log import Log
from hsl.smtpd.configfile import LoadedConfig, load_config
from hsl.smtpd.notify import Notifier
from hsl.smtpd.supervisor import StartFailed, Supervisor

GRACE = 30.0  # seconds


@click.command("serve", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-c", "--config", type=click.Path(path_type=Path), default=Path("smtpd.yaml"), show_default=True)
@click.option("--check", "check_only", is_flag=True, help="Check configuration and scripts, and exit.")
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=GRACE,
    show_default=True,
    metavar="SECONDS",
    help="How long a stop waits for what is under way.",
)
def command(config: Path, check_only: bool, grace: float) -> None:
    """Run the gateway until SIGTERM or SIGINT; a second one ends it at once.

    Scripts and routes are loaded anew on SIGHUP, and when their files change; only if all of them are right.

    With HSL_LOOP=asyncio in the environment it runs on asyncio's own event loop, not on uvloop.
    """
    try:
        loaded = load_config(config)
        report(loaded.warnings)
        if check_only:
            check(loaded)
            return
    except CompileError as error:
        report(error.diagnostics)
        sys.exit(1)
    sys.exit(asyncio.run(serve(loaded, grace)))


def check(loaded: LoadedConfig) -> None:
    """Compile all hooks and say what was found. Raises CompileError."""
    from hsl.smtpd.hooks import compile_hooks  # the supervisor does without it: it is small, and ready sooner

    warnings = compile_hooks(loaded.config, Programs()).warnings
    report(warnings)
    count = len(loaded.warnings) + len(warnings)
    click.echo(f"{loaded.path}: no errors, {count} warning{'' if count == 1 else 's'}")


def report(findings: Iterable[Diagnostic]) -> None:
    for item in findings:
        click.echo(item.render(), err=True)


async def serve(loaded: LoadedConfig, grace: float) -> int:
    """Run a gateway to its end; the exit code."""
    supervisor = Supervisor(loaded, Log(loaded.config.environment.log), Notifier())
    signals = Signals(supervisor)
    signals.install()
    start = asyncio.create_task(supervisor.start())
    stop = asyncio.create_task(signals.stopping.wait())
    await asyncio.wait((start, stop), return_when=asyncio.FIRST_COMPLETED)
    if not start.done():
        start.cancel()
    try:
        await start
    except asyncio.CancelledError:
        return 0
    except StartFailed as error:
        for finding in error.findings:
            click.echo(finding["text"], err=True)
        if not error.findings:
            click.echo(f"hsl serve: {error}", err=True)
        return 1
    await stop
    await supervisor.stop(grace)
    return 0


class Signals:
    """What SIGTERM, SIGINT and SIGHUP do to a gateway."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self.stopping = asyncio.Event()
        self.reloads: set[asyncio.Task[bool]] = set()

    def install(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop, number)
        loop.add_signal_handler(signal.SIGHUP, self.reload)

    def stop(self, number: signal.Signals) -> None:
        """The first one stops in order. A second one ends at once: the queue is safe at any instant."""
        if self.stopping.is_set():
            self.supervisor.log.warning("killed", signal=number.name)
            self.supervisor.kill()
            os._exit(1)
        self.stopping.set()

    def reload(self) -> None:
        """One reload runs, one more may wait: it will see the newest files."""
        if len(self.reloads) < 2 and self.supervisor.ready and not self.stopping.is_set():
            task = asyncio.get_running_loop().create_task(self.supervisor.reload())
            self.reloads.add(task)
            task.add_done_callback(self.reloads.discard)
