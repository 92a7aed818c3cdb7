"""The scripts of a configuration come in, compiled hooks go out, or the findings of all that are wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hsl.errors import CompileError, Diagnostic
from hsl.loader import FileLoader
from hsl.programs import Programs
from hsl.runtime.runner import EVERY_DOMAIN, Hook, load_hooks, programs_of
from hsl.smtpd.config import Config, Phases, RecipientHooks

DELIVERY = frozenset({"predelivery", "postdelivery"})  # of the queue


@dataclass(frozen=True, slots=True)
class Hooks:
    """All compiled scripts of a configuration: by server id and stage, and the two of the queue."""

    servers: Mapping[str, Mapping[str, Hook]]
    delivery: Mapping[str, Hook]

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        hooks = [*self.delivery.values(), *(item for hooks in self.servers.values() for item in hooks.values())]
        return unique(item for hook in hooks for program in programs_of(hook) for item in program.warnings)


def compile_hooks(config: Config, known: Programs, loader: FileLoader | None = None) -> Hooks:
    """Compile every script that the configuration names and that is not `known` as it is now.

    `loader` reads them, if given. Raises one CompileError with the findings of all.
    """
    findings: list[Diagnostic] = []

    def load(hooks: Mapping[str, str | Mapping[str, str] | None]) -> Mapping[str, Hook]:
        try:
            named = {stage: path for stage, path in hooks.items() if path}
            return load_hooks(config.scripting.rootpath, named, known, loader)
        except CompileError as error:
            findings.extend(error.diagnostics)
            return {}

    servers = {
        server.id: load({stage: hook_of(server.phases, stage) for stage in type(server.phases).model_fields})
        for server in config.servers
    }
    delivery = load({stage: getattr(config.queues, stage).hook for stage in sorted(DELIVERY)})
    if findings:
        raise CompileError(unique(findings))
    return Hooks(servers, delivery)


def hook_of(phases: Phases, stage: str) -> str | Mapping[str, str] | None:
    """A stage's script, or its scripts by domain."""
    hook: str | RecipientHooks | None = getattr(phases, stage).hook
    if isinstance(hook, RecipientHooks):
        domains = hook.recipientdomains
        return domains[EVERY_DOMAIN] if domains.keys() == {EVERY_DOMAIN} else domains
    return hook


def unique(findings: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Findings without those that repeat (one script may be the hook of several servers)."""
    return tuple({(str(item.span), item.message): item for item in findings}.values())
