"""`hsl serve`: run the gateway of a configuration until a signal, or only check everything that it would load."""

from __future__ import annotations

import asyncio
import gc
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
from hsl.smtpd.gateway import Gateway, StartError
from hsl.smtpd.hooks import compile_hooks

LOOP = "HSL_LOOP"  # `asyncio`: not uvloop, even where it is installed
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
    """Run the gateway until SIGTERM or SIGINT; a second one ends it at once. SIGHUP loads scripts and routes anew.

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
    factory = loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner:
        sys.exit(runner.run(serve(loaded, grace)))


def check(loaded: LoadedConfig) -> None:
    """Compile all hooks and say what was found. Raises CompileError."""
    warnings = compile_hooks(loaded.config, Programs()).warnings
    report(warnings)
    count = len(loaded.warnings) + len(warnings)
    click.echo(f"{loaded.path}: no errors, {count} warning{'' if count == 1 else 's'}")


def report(findings: Iterable[Diagnostic]) -> None:
    for item in findings:
        click.echo(item.render(), err=True)


def loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    """uvloop's loop where it is installed and wanted."""
    if os.environ.get(LOOP) == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.Loop


async def serve(loaded: LoadedConfig, grace: float) -> int:
    """Run a gateway to its end; the exit code."""
    gateway = Gateway(loaded.config, Log(loaded.config.environment.log))
    signals = Signals(gateway, loaded.path)
    signals.install()
    try:
        await gateway.start()
    except CompileError as error:
        report(error.diagnostics)
        return 1
    except StartError as error:
        click.echo(f"hsl serve: {error}", err=True)
        return 1
    settle_memory()
    await signals.stopping.wait()
    await gateway.stop(grace)
    return 0


def settle_memory() -> None:
    """Keep what the start made (parser tables, scripts, modules) out of garbage collections, and make these rarer.

    A full collection walks everything that lives, and sessions leave few cycles: 3 % more messages under load.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


class Signals:
    """What SIGTERM, SIGINT and SIGHUP do to a gateway."""

    def __init__(self, gateway: Gateway, path: Path) -> None:
        self.gateway = gateway
        self.path = path
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
            self.gateway.log.warning("killed", signal=number.name)
            os._exit(1)
        self.stopping.set()

    def reload(self) -> None:
        """One reload runs, one more may wait: it will see the newest files."""
        if len(self.reloads) < 2 and self.gateway.servers and not self.stopping.is_set():
            task = asyncio.get_running_loop().create_task(self.gateway.reload(self.path))
            self.reloads.add(task)
            task.add_done_callback(self.reloads.discard)
