"""Settings of smtpd.yaml that a whole gateway is to follow: written in the file, seen by a client or a next hop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from dnsserver import dns_server
from loopgateway import greeted
from servers import free_port
from smtp_dialogue import Dialogue, eventually
from smtp_peer import Peer

from hsl.runtime.dns import DnsResolver
from hsl.runtime.log import Log
from hsl.runtime.redis_state import RedisRates
from hsl.runtime.scanners import ClamdScanner, SpamdScanner
from hsl.smtpd.configfile import read_config
from hsl.smtpd.gateway import Gateway

pytestmark = pytest.mark.asyncio

CONFIG = """\
environment: {hostname: gw.example, controlsocket: c.sock}
servers:
  - id: out
    listeners: [{port: 0}]
    transport: next
    limits: {%LIMITS%}
    relay: {networks: [127.0.0.0/8]}
    phases: {%PHASES%}
transportgroups:
  - id: group
    transports: [{id: next, session: {host: 127.0.0.1, port: %PORT%, tls: disabled}}]
queues: {path: spool, %QUEUES%}
scripting: {%SCRIPTING%}
resolver: {%RESOLVER%}
scanners: {%SCANNERS%}
state: {%STATE%}
"""
SETTINGS = {
    "PORT": "9",
    "LIMITS": "",
    "PHASES": "",
    "QUEUES": "free: 0",
    "SCRIPTING": "",
    "RESOLVER": "ptr: false, hosts: {a.example: [127.0.0.1]}",
    "SCANNERS": "",
    "STATE": "",
}
MIB = 1024 * 1024


@asynccontextmanager
async def gateway(folder: Path, **settings: str) -> AsyncIterator[Gateway]:
    text = CONFIG
    for name, value in (SETTINGS | settings).items():
        text = text.replace(f"%{name}%", value)
    (folder / "smtpd.yaml").write_text(text)
    made = Gateway(read_config(folder / "smtpd.yaml"), Log("debug", [].append))
    await made.start()
    try:
        yield made
    finally:
        await made.stop(2)


async def send(made: Gateway, recipients: int = 1) -> None:
    client = await greeted(made)
    await client.play("C: MAIL FROM:<a@a.example>\nS: 250")
    for number in range(recipients):
        await client.play(f"C: RCPT TO:<r{number}@a.example>\nS: 250")
    await client.play("C: DATA\nS: 354\nC: .\nS: 250\nC: QUIT\nS: 221")
    await client.close()


@pytest.mark.parametrize(("setting", "wanted"), [("", "421 4.7.1"), ("defer_code: 451", "451 4.7.1")])
async def test_what_defer_answers_at_the_end_of_data(tmp_path: Path, setting: str, wanted: str) -> None:
    (tmp_path / "data.hsl").write_text("Defer();")
    async with gateway(tmp_path, SCRIPTING=setting, PHASES="data: {hook: data.hsl}") as made:
        client = await greeted(made)
        await client.play("C: MAIL FROM:<a@a.example>\nS: 250\nC: RCPT TO:<r@a.example>\nS: 250")
        await client.play(f"C: DATA\nS: 354\nC: .\nS: {wanted}\nC: NOOP\nS: 250")
        await client.close()


@pytest.mark.parametrize(
    ("pooling", "connections"), [("", 1), ("timeout: 0", 3), ("transactions: 2", 2), ("age: 0", 3), ("size: 0", 3)]
)
async def test_connections_that_are_kept(tmp_path: Path, pooling: str, connections: int) -> None:
    async with (
        Peer().serve() as peer,
        gateway(tmp_path, PORT=str(peer.port), QUEUES=f"free: 0, pooling: {{{pooling}}}") as made,
    ):
        for number in range(1, 4):
            await send(made)
            await eventually(lambda: len(peer.messages) == number and made.queue.count == 0)  # noqa: B023
        assert len(peer.sessions) == connections


async def test_attempts_at_once(tmp_path: Path) -> None:
    """Two; and two more when these have lasted longer than a second."""
    peer = Peer(hang="BANNER")
    queues = "free: 0, concurrency: 2, concurrency_per_destination: 10"
    async with peer.serve(), gateway(tmp_path, PORT=str(peer.port), QUEUES=queues) as made:
        await send(made, 12)
        await eventually(lambda: len(peer.sessions) >= 4)
        for _ in range(50):
            await asyncio.sleep(0.002)
        assert len(peer.sessions) == 4


@pytest.mark.parametrize(("limits", "wanted"), [("size: 40MiB", "250"), ("size: 60MiB", "452 4.3.1")])
async def test_room_for_twice_the_largest_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: str, wanted: str
) -> None:
    monkeypatch.setattr("hsl.runtime.queue.free_bytes", lambda _: 100 * MIB)
    async with gateway(tmp_path, LIMITS=limits, QUEUES="free: 64MiB") as made:
        client = await greeted(made)
        await client.play(f"C: MAIL FROM:<a@a.example>\nS: {wanted}")
        await client.close()


@pytest.mark.parametrize(("ptr", "name"), [("true", "client.a.example"), ("false", "nobody")])
async def test_the_name_of_a_client(tmp_path: Path, ptr: str, name: str) -> None:
    zone = {("1.0.0.127.in-addr.arpa", "PTR"): ["client.a.example."], ("client.a.example", "A"): ["127.0.0.1"]}
    (tmp_path / "connect.hsl").write_text('Accept(["reason" => $arguments["remoteptr"] ?? "nobody"]);')
    async with dns_server(zone) as dns:
        resolver = f"ptr: {ptr}, servers: [127.0.0.1], port: {dns.port}"
        async with gateway(tmp_path, RESOLVER=resolver, PHASES="connect: {hook: connect.hsl}") as made:
            client = await Dialogue.connect(made.addresses["out"][0])
            await client.play(f"S: 220 {name}")
            await client.close()


async def test_what_is_asked_elsewhere_and_for_how_long(tmp_path: Path) -> None:
    """Hosts, ports, limits and patience of scanners, resolver and state."""
    settings = {
        "SCANNERS": "spamassassin: {host: 127.0.0.2, port: 1783, timeout: 3, max_size: 3MiB},"
        " clamav: {host: 127.0.0.3, port: 1310, timeout: 4, max_size: 4MiB}",
        "RESOLVER": "ptr: false, servers: [127.0.0.4], port: 1053, timeout: 6",
        "STATE": f"backend: redis, url: 'redis://127.0.0.1:{free_port()}', prefix: 'mine:', timeout: 7",
    }
    async with gateway(tmp_path, **settings) as made:
        spam, viruses, resolver, rates = made.spam, made.viruses, made.resolver, made.rates
        assert isinstance(spam, SpamdScanner)
        assert (spam.host, spam.port, spam.timeout, spam.max_size) == ("127.0.0.2", 1783, 3, 3 * MIB)
        assert isinstance(viruses, ClamdScanner)
        assert (viruses.host, viruses.port, viruses.timeout, viruses.max_size) == ("127.0.0.3", 1310, 4, 4 * MIB)
        assert isinstance(resolver, DnsResolver)
        assert (resolver.resolver.nameservers, resolver.resolver.port, resolver.timeout) == (["127.0.0.4"], 1053, 6)
        assert isinstance(rates, RedisRates)
        assert (rates.prefix, rates.client.timeout) == (b"mine:rate:", 7)
