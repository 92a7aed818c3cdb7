"""What a reload takes over: the running configuration and a new one come in; what runs from now on goes out, and what
would need a restart."""

from __future__ import annotations

from typing import Any

from hsl.smtpd.config import Config, Server
from hsl.smtpd.hooks import DELIVERY

SCRIPTED = frozenset({"phases", "transport"})  # of a server
RELOADED = DELIVERY | {"policies", "grouping", "lists"}  # of the queue


def merge(running: Config, new: Config) -> Config:
    """The running configuration with what a reload takes over from the new one."""
    given = {server.id: server for server in new.servers}

    def server_of(server: Server) -> Server:
        taken = given.get(server.id, server)
        return server.model_copy(update={name: getattr(taken, name) for name in SCRIPTED})

    return running.model_copy(
        update={
            "servers": [server_of(server) for server in running.servers],
            "queues": running.queues.model_copy(update={name: getattr(new.queues, name) for name in RELOADED}),
            "transportgroups": new.transportgroups,
            "addresses": new.addresses,
            "scripting": new.scripting,
            "monitor": running.monitor.model_copy(update={"metrics": new.monitor.metrics}),
        }
    )


def lost_transports(merged: Config) -> list[str]:
    """Why a merged configuration cannot be taken over: what a server that runs on takes would have no way out."""
    known = {transport.id for group in merged.transportgroups for transport in group.transports}
    return [
        f"server {server.id} runs on until a restart, and its transport {server.transport} would be gone"
        for server in merged.servers
        if server.transport not in known
    ]


def restart_needed(running: Config, new: Config) -> list[str]:
    """The settings that differ and that a reload does not take over."""
    merged = merge(running, new)
    names = [name for name in Config.model_fields if name not in ("servers", "queues")]
    found = [name for name in names if getattr(merged, name) != getattr(new, name)]
    found += differences("queues", merged.queues, new.queues)
    before, after = ({server.id: server for server in config.servers} for config in (merged, new))
    for name in sorted(before.keys() | after.keys()):
        if name in before and name in after:
            found += differences(f"servers[{name}]", before[name], after[name])
        else:
            found.append(f"servers[{name}]")
    return found


def differences(prefix: str, one: Any, other: Any) -> list[str]:
    return [f"{prefix}.{name}" for name in type(one).model_fields if getattr(one, name) != getattr(other, name)]
