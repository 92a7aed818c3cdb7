"""A whole gateway in this process, on loopback and port 0, with scripts by stage; its one transport goes to a port."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from smtp_dialogue import Dialogue

from hsl.runtime.log import Log
from hsl.smtpd.configfile import read_config
from hsl.smtpd.gateway import Gateway

CONFIG = """\
environment: {hostname: gw.example, controlsocket: c.sock}
servers:
  - id: out
    listeners: [{port: 0}]
    transport: next
    auth: {without_tls: true, %AUTH%}
    tls: %TLS%
    relay: {networks: [127.0.0.2], domains: [here.example]}
    phases: {%PHASES%}
transportgroups:
  - id: group
    transports: [{id: next, session: {host: 127.0.0.1, port: %PORT%, tls: disabled}}]
queues: {%QUEUES%}
scripting: {budgets: {steps: 20000}}
resolver: {ptr: false, hosts: {a.example: [127.0.0.1]}}
"""
QUEUED = ("predelivery", "postdelivery")


@asynccontextmanager
async def gateway(
    folder,
    lines: list[str],
    scripts: Mapping[str, str],
    port: int = 9,
    *,
    auth: str = "",
    tls: str = "null",
    queues: str = "",
) -> AsyncIterator[Gateway]:
    """A gateway with these scripts, by stage, and settings of its server's `auth` and `tls`, and of `queues`. Fails
    for what asyncio finds unhandled."""
    found: list[dict] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: found.append(context))
    for stage, text in scripts.items():
        (folder / f"{stage}.hsl").write_text(text)
    hooks = {stage: f"{stage}: {{hook: {stage}.hsl}}" for stage in scripts}
    text = CONFIG.replace("%PHASES%", ", ".join(hook for stage, hook in hooks.items() if stage not in QUEUED))
    settings = [
        "path: spool",
        *(hook for stage, hook in hooks.items() if stage in QUEUED),
        *([queues] if queues else []),
    ]
    text = text.replace("%QUEUES%", ", ".join(settings))
    (folder / "smtpd.yaml").write_text(text.replace("%PORT%", str(port)).replace("%AUTH%", auth).replace("%TLS%", tls))
    made = Gateway(read_config(folder / "smtpd.yaml"), Log("debug", lines.append))
    await made.start()
    try:
        yield made
    finally:
        await made.stop(2)
    assert found == []


async def greeted(made: Gateway, local: str | None = None) -> Dialogue:
    client = await Dialogue.connect(made.addresses["out"][0], local=local)
    await client.play("S: 220\nC: EHLO client.example\nS: 250")
    return client
