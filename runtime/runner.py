"""Runs the hooks: a stage's context in, a Verdict out, whatever the script does; and the Reply that a verdict means.

Fails closed: every error of a script, of a backend or of our own gives the stage's on-error verdict. The error is
logged whole; the peer sees a generic text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from hsl.compiler import LoadError
from hsl.errors import CompileError, Diagnostic, ScriptError
from hsl.evaluator import Program
from hsl.library.ldap import LDAPProfile
from hsl.loader import FileLoader
from hsl.programs import Programs
from hsl.run import Budget, Run
from hsl.runtime.context import Context, RcptToContext, text
from hsl.runtime.dlp import Rule
from hsl.runtime.log import Log
from hsl.runtime.metrics import Metrics
from hsl.runtime.model import NetAddress
from hsl.runtime.network import ScriptNetwork
from hsl.runtime.policies import QueuePolicies
from hsl.runtime.protocols import (
    BackendUnavailable,
    Clock,
    MailClient,
    MailStore,
    Others,
    OutbreakScanner,
    Rates,
    Slots,
    SpamScanner,
    VirusScanner,
)
from hsl.runtime.reply import Reply, reply
from hsl.runtime.stages import STAGES, Answer, Stage, environment
from hsl.runtime.verdict import Verdict, VerdictReached
from hsl.shared import SharedStore
from hsl.source import Source, Span

GRACE = 1.0  # seconds that a script may overrun its own time budget, inside a builtin that waits


@dataclass
class Services:
    """What the builtins of all stages act on. `transports` are the configured transport ids.

    `concurrency(serverid, network)` counts a server's sessions, those of an address or network if one is given; None
    for an unknown server. Without a `client` nothing can be sent past the queue. `others`: the other workers, if there
    are any.
    """

    rates: Rates
    slots: Slots
    queue: MailStore
    spam: SpamScanner
    outbreak: OutbreakScanner
    viruses: VirusScanner
    dlp: Mapping[bytes, Rule]
    metrics: Metrics
    policies: QueuePolicies
    addresses: Mapping[str, NetAddress]
    transports: frozenset[str]
    clock: Clock
    log: Log
    shared: SharedStore
    hostname: str
    serial: str
    defer_code: int = 421
    network: ScriptNetwork | None = None  # None: scripts cannot reach anything
    client: MailClient | None = None
    rootpath: Path | None = None  # below which scripts may read files
    ffi: bool = False
    ldap: Mapping[str, LDAPProfile] = field(default_factory=dict)
    concurrency: Callable[[str, str | None], int | None] = lambda serverid, network: None
    others: Others | None = None


EVERY_DOMAIN = "*"


@dataclass(frozen=True, slots=True)
class DomainHooks:
    """The programs of rcptto by the recipient's domain in lower case; EVERY_DOMAIN is for those without their own."""

    programs: Mapping[str, Program]

    def choose(self, context: Context) -> Program | None:
        domain = text(context.recipient.host) if isinstance(context, RcptToContext) else ""
        return self.programs.get(domain) or self.programs.get(EVERY_DOMAIN)


Hook = Program | DomainHooks


def programs_of(hook: Hook) -> Collection[Program]:
    return hook.programs.values() if isinstance(hook, DomainHooks) else [hook]


class StageRunner:
    """The compiled hooks of one configuration, and how they are run. `hooks` maps a stage's name to what it runs."""

    def __init__(self, hooks: Mapping[str, Hook], services: Services, budget: Budget) -> None:
        unknown = set(hooks) - set(STAGES)
        if unknown:
            raise ValueError(f"there is no stage {', '.join(sorted(unknown))}")
        self.hooks = dict(hooks)
        self.services = services
        self.budget = budget

    def has(self, stage: str) -> bool:
        """Whether a hook is configured for a stage."""
        return stage in self.hooks

    async def run(self, context: Context) -> Verdict:
        """Run a stage's hook: the script's verdict, the stage's own without one, or its on-error verdict.

        Raises nothing but CancelledError, and that only when the caller's task is cancelled.
        """
        context.services = self.services
        stage = STAGES[context.stage]
        hook = self.hooks.get(stage.name)
        program = hook.choose(context) if isinstance(hook, DomainHooks) else hook
        if program is None:
            return stage.implicit
        try:
            return await self.execute(stage, program, context)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return self.failed(stage, context, error)
        except Exception as error:
            return self.failed(stage, context, error)

    def forget_message(self, message_id: str) -> None:
        """Free what scripts have kept for one message alone: its transaction is over."""
        self.services.shared.forget_message(message_id)

    async def execute(self, stage: Stage, program: Program, context: Context) -> Verdict:
        run = Run(
            program,
            host=context,
            variables=context.variable,
            output=self.echo(stage, context),
            budget=self.budget,
            shared=self.services.shared,
            message_id=context.message_id,
        )
        try:
            await run.execute_async(lambda: asyncio.timeout(run.remaining() + GRACE))
        except VerdictReached as reached:
            return reached.verdict.placed(reached.span)
        finally:
            if "context" in program.stage_variables:
                context.context = run.variable("context")
        return stage.implicit

    def failed(self, stage: Stage, context: Context, error: BaseException) -> Verdict:
        """Log an error whole and give the stage's on-error verdict. Backends log their outages themselves, once."""
        level = "debug" if isinstance(error, BackendUnavailable) else "error"
        shown = error.render() if isinstance(error, ScriptError) else f"{type(error).__name__}: {error}"
        place = error.span if isinstance(error, ScriptError) else None
        message = text(context.mask(shown.encode("utf-8", "surrogateescape")))
        self.services.log.event(level, "script-error", stage=stage.name, id=context.message_id, at=place, error=message)
        return stage.on_error.placed(place)

    def echo(self, stage: Stage, context: Context) -> Callable[[bytes], None]:
        """Where echo writes: the log, at debug level, with the transaction's id."""

        def write(line: bytes) -> None:
            shown = text(context.mask(line.removesuffix(b"\n")))
            self.services.log.debug("echo", stage=stage.name, id=context.message_id, text=shown)

        return write

    def reply(self, stage: str, verdict: Verdict, default_text: str | None = None) -> Reply:
        """The reply that a verdict means at a stage. `default_text` stands in for the stage's own text.

        Never the text of an error. Raises KeyError for an action that the stage does not answer.
        """
        row = STAGES[stage]
        answer = find_answer(row, verdict)
        code = verdict.code or answer.code
        if stage in ("data", "eod") and verdict.action == "defer" and verdict.code is None:
            code = self.services.defer_code
        lines = (answer.text,) if verdict.error else verdict.reason or (default_text or answer.text,)
        close = verdict.disconnect or (row.closes and code >= 400)
        return reply(code, lines, verdict.enhanced or answer.enhanced, close=close)


def find_answer(stage: Stage, verdict: Verdict) -> Answer:
    """The table's answer to a verdict."""
    if verdict.error and stage.error is not None:
        return stage.error
    if verdict.action == "quarantine" and not verdict.options.get("reject", True):
        return stage.answers["held"]
    return stage.answers[verdict.action]


def load_hooks(
    root: Path,
    hooks: Mapping[str, str | Mapping[str, str]],
    known: Programs,
    loader: FileLoader | None = None,
) -> dict[str, Hook]:
    """Compile the hooks, as far as they are not `known`: stage name to file below `root`, or to files by domain.

    `loader` reads them, if given.

    Raises one CompileError that carries the findings of all of them.
    """
    findings: list[Diagnostic] = []
    loader = loader or FileLoader(root)

    def load(stage: str, path: str) -> Program | None:
        try:
            return known.load((root, stage), path, loader, partial(environment, stage))
        except CompileError as error:
            findings.extend(error.diagnostics)
        except LoadError as error:
            findings.append(Diagnostic("error", "load", f"{stage}: {error}", Span(Source(path, ""), 0, 0)))
        return None

    def load_all(stage: str, given: str | Mapping[str, str]) -> Hook | None:
        if isinstance(given, str):
            return load(stage, given)
        programs = {domain.lower(): load(stage, path) for domain, path in given.items()}
        return DomainHooks({domain: program for domain, program in programs.items() if program})

    loaded = {stage: load_all(stage, given) for stage, given in hooks.items()}
    if findings:
        raise CompileError(findings)
    return {stage: hook for stage, hook in loaded.items() if hook}
