"""A whole gateway in this process, on loopback and port 0: from a client's MAIL to a next hop's DATA, and its life."""

from __future__ import annotations

import asyncio
import smtplib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from hsl.errors import CompileError
from hsl.runtime.log import Log
from hsl.smtpd.configfile import read_config
from hsl.smtpd.control import ControlClient
from hsl.smtpd.gateway import Gateway, StartError
from hsl.smtpd.reload import merge, restart_needed

pytestmark = pytest.mark.asyncio

CONFIG = """\
environment: {hostname: gw.example, controlsocket: c.sock}
servers:
  - id: out
    listeners: [{port: 0}]
    transport: next
    phases: {rcptto: {hook: rcptto.hsl}}
transportgroups:
  - id: group
    transports:
      - {id: next, session: {host: 127.0.0.1, port: %PORT%, tls: disabled}}
queues:
  path: spool
  predelivery: {hook: pre.hsl}
resolver: {ptr: false, hosts: {a.example: [127.0.0.1]}, mx: {b.example: [a.example]}}
"""
MESSAGE = "Subject: a test\r\n\r\nHello\r\n"


class Sink:
    """The next hop: keeps what it is given."""

    def __init__(self) -> None:
        self.mails: asyncio.Queue[Envelope] = asyncio.Queue()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.mails.put_nowait(envelope)
        return "250 taken"


@asynccontextmanager
async def sink() -> AsyncIterator[tuple[Sink, int]]:
    kept = Sink()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(kept, hostname="sink.example", loop=loop), "127.0.0.1", 0)
    yield kept, server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


def write(folder: Path, port: int = 9, config: str = CONFIG, rcptto: str = "Accept();\n") -> Path:
    (folder / "rcptto.hsl").write_text(rcptto)
    (folder / "pre.hsl").write_text("Try();\n")
    path = folder / "smtpd.yaml"
    path.write_text(config.replace("%PORT%", str(port)))
    return path


@asynccontextmanager
async def gateway(path: Path, lines: list[str]) -> AsyncIterator[Gateway]:
    made = Gateway(read_config(path), Log("debug", lines.append))
    await made.start()
    try:
        yield made
    finally:
        await made.stop(5)


async def send(made: Gateway, recipient: str = "b@b.example") -> tuple[int, bytes]:
    """One mail by smtplib; the code and text that decided it."""

    def blocking() -> tuple[int, bytes]:
        with smtplib.SMTP(*made.addresses["out"][0], local_hostname="client.example", timeout=20) as client:
            client.ehlo()
            client.mail("a@a.example")
            answer = client.rcpt(recipient)
            return client.data(MESSAGE) if answer[0] == 250 else answer

    return await asyncio.to_thread(blocking)


def ask(made: Gateway, **request: object) -> dict[str, object]:
    client = ControlClient(made.config.environment.controlsocket or Path(), timeout=10)
    try:
        return client.ask(request)
    finally:
        client.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def events(lines: list[str], name: str) -> list[str]:
    return [line for line in lines if line.split(" ")[2] == name]


async def test_a_mail_goes_through(tmp_path: Path) -> None:
    lines: list[str] = []
    async with sink() as (kept, port), gateway(write(tmp_path, port), lines) as made:
        code, text = await send(made)
        assert code == 250, text
        mail = await asyncio.wait_for(kept.mails.get(), 20)
        assert (mail.mail_from, mail.rcpt_tos) == ("a@a.example", ["b@b.example"])
        assert mail.original_content is not None
        assert mail.original_content.endswith(MESSAGE.encode())
        await until(lambda: made.queue.count == 0)
    [ready] = events(lines, "ready")
    assert f"listeners=out=127.0.0.1:{made.addresses['out'][0][1]} " in ready
    assert [line.split(" ")[2] for line in lines[-2:]] == ["stopping", "stopped"]
    assert not (tmp_path / "c.sock").exists()


async def test_the_embedded_scanners_say_that_they_answer(tmp_path: Path) -> None:
    lines: list[str] = []
    async with gateway(write(tmp_path), lines):
        pass
    shown = events(lines, "embedded-scanner")
    assert [name in line for name, line in zip(("ScanRPD", "ScanSA", "ScanCLAM"), shown, strict=True)] == [True] * 3
    assert all(" warning " in line for line in shown)


async def test_the_control_socket_works_on_the_queue(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "pre.hsl").write_text("Reschedule(600);\n")
    async with gateway(path, []) as made:
        assert (await send(made))[0] == 250
        await until(lambda: [entry.state for entry in made.queue.entries()] == ["defer"])
        assert await asyncio.to_thread(ask, made, command="hold", all=True) == {"changed": 1}
        assert await asyncio.to_thread(ask, made, command="metric", filters={"state": ["hold"]}) == {"value": 1}
    async with gateway(path, []) as made:  # and it is on disk
        assert [entry.state for entry in made.queue.entries()] == ["hold"]


async def test_two_gateways_on_one_queue_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    async with gateway(path, []) as first:
        with pytest.raises(StartError, match=r"spool"):
            await Gateway(read_config(path), Log("error", lambda line: None)).start()
        assert (await send(first))[0] == 250, "the first one goes on"


async def test_nothing_is_bound_when_a_script_is_wrong(tmp_path: Path) -> None:
    path = write(tmp_path, rcptto="$x = ;\nfoo();\n")
    (tmp_path / "pre.hsl").write_text("Tri();\n")
    made = Gateway(read_config(path), Log("error", lambda line: None))
    with pytest.raises(CompileError) as caught:
        await made.start()
    assert "rcptto.hsl:1:6: error: " in str(caught.value)
    assert "pre.hsl:1:1: error: " in str(caught.value)
    assert not (tmp_path / "spool").exists()


async def test_a_port_in_use_leaves_nothing_behind(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        path = write(tmp_path, config=CONFIG.replace("{port: 0}", f"{{port: 0}}, {{port: {port}}}"))
        made = Gateway(read_config(path), Log("error", lambda line: None))
        with pytest.raises(StartError, match=rf"server out cannot listen on 127.0.0.1:0, 127.0.0.1:{port}: "):
            await made.start()
    assert not (tmp_path / "c.sock").exists()
    async with gateway(path, []):
        pass  # the queue's lock is free again


async def test_redis_that_is_down_is_no_reason_not_to_start(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{free.getsockname()[1]}"
    state = f"state: {{backend: redis, url: '{url}'}}\n"
    lines: list[str] = []
    async with gateway(
        write(tmp_path, config=CONFIG + state, rcptto='rate("a", "b", 1, 60); Accept();'), lines
    ) as made:
        code, _ = await send(made)
        assert 400 <= code < 500
    assert len(events(lines, "state-unreachable")) == 1


async def test_our_own_listener_is_recognised(tmp_path: Path) -> None:
    async with gateway(write(tmp_path), []) as made:
        host, port = made.addresses["out"][0]
        assert made.is_listener(host, port)
        assert not made.is_listener(host, port + 1)
        assert not made.is_listener("127.0.0.2", port)
        made.addresses["out"][0] = ("0.0.0.0", port)
        assert made.is_listener("127.0.0.2", port)
        assert not made.is_listener("192.0.2.1", port)


# reload


async def test_a_reload_swaps_the_scripts_for_new_sessions(tmp_path: Path) -> None:
    path = write(tmp_path)
    lines: list[str] = []
    async with gateway(path, lines) as made:
        reader, writer = await asyncio.open_connection(*made.addresses["out"][0])
        await asyncio.wait_for(reader.readline(), 10)
        (tmp_path / "rcptto.hsl").write_text('Reject("not today");\n')
        assert await made.reload(path)
        assert await send(made) == (554, b"5.7.1 not today")
        writer.write(b"HELO a\r\nMAIL FROM:<>\r\nRCPT TO:<b@b.example>\r\n")
        answers = [await asyncio.wait_for(reader.readline(), 10) for _ in range(3)]
        assert [line[:3] for line in answers] == [b"250"] * 3, "an old session ends as it began"
        writer.close()
    assert len(events(lines, "reloaded")) == 1


async def test_a_reload_changes_what_scripts_may_reach(tmp_path: Path) -> None:
    async with sink() as (_, port):
        # An SMTP server is no web server: none; and denied it is an error of the script.
        path = write(tmp_path, rcptto=f'http("http://127.0.0.1:{port}/", ["timeout" => 5]); Accept();\n')
        async with gateway(path, []) as made:
            assert (await send(made))[0] == 250
            path.write_text(path.read_text() + "scripting: {network: {deny: [127.0.0.0/8]}}\n")
            assert await made.reload(path)
            code, text = await send(made)
            assert (code, b"127.0.0.1" in text) == (450, False)


async def test_a_bad_reload_leaves_the_running_set(tmp_path: Path) -> None:
    path = write(tmp_path)
    lines: list[str] = []
    async with gateway(path, lines) as made:
        (tmp_path / "rcptto.hsl").write_text("Reject(;\n")
        assert not await made.reload(path)
        path.write_text(path.read_text().replace("transport:", "transprt:"))
        assert not await made.reload(path)
        assert (await send(made))[0] == 250
    failed = events(lines, "reload-failed")
    assert "at=rcptto.hsl:1:8 " in failed[0]
    assert any("at=smtpd.yaml:5:5 " in line and "did you mean 'transport'?" in line for line in failed[1:])


async def test_a_reload_leaves_no_server_without_its_transport(tmp_path: Path) -> None:
    """A server of another name needs a restart: until then the one that runs takes mail for its own transport."""
    path = write(tmp_path)
    lines: list[str] = []
    async with sink() as (kept, port), gateway(path, lines) as made:
        path.write_text(path.read_text().replace("port: 9,", f"port: {port},"))
        assert await made.reload(path)
        path.write_text(path.read_text().replace("id: out", "id: in").replace("next", "other"))
        assert not await made.reload(path)
        path.write_text(path.read_text().replace("other", "next"))
        assert await made.reload(path)
        assert (await send(made))[0] == 250
        assert (await asyncio.wait_for(kept.mails.get(), 20)).rcpt_tos == ["b@b.example"]
    (failed,) = events(lines, "reload-failed")
    assert " at=" not in failed
    assert "server out runs on until a restart, and its transport next would be gone" in failed


async def test_a_reload_takes_over_routes(tmp_path: Path) -> None:
    async with sink() as (kept, port):
        path = write(tmp_path)
        (tmp_path / "pre.hsl").write_text("Reschedule(600);\n")
        async with gateway(path, []) as made:
            text = path.read_text().replace("next", "other").replace("port: 9,", f"port: {port},")
            path.write_text(text)
            (tmp_path / "pre.hsl").write_text("Try();\n")
            assert await made.reload(path)
            assert (await send(made))[0] == 250
            assert (await asyncio.wait_for(kept.mails.get(), 20)).rcpt_tos == ["b@b.example"]


async def test_a_reload_takes_over_policies(tmp_path: Path) -> None:
    async with sink() as (kept, port):
        path = write(tmp_path, port)
        (tmp_path / "pre.hsl").write_text("Try();\n")
        held = path.read_text().replace("queues:", "queues:\n  lists: {big: [b.example]}")
        interval = "policies: [{fields: [recipientdomain], default: {connectinterval: 60, tag: slow}}]"
        path.write_text(held.replace("queues:", f"queues:\n  {interval}"))
        lines: list[str] = []
        async with gateway(path, lines) as made:
            for _ in range(2):
                assert (await send(made))[0] == 250
            await asyncio.wait_for(kept.mails.get(), 20)
            await until(lambda: len(made.scheduler.parking) == 1)
            path.write_text(held.replace("queues:", "queues:\n  policies: [{default: {rate: 100/1}}]"))
            assert await made.reload(path)
            await asyncio.wait_for(kept.mails.get(), 20)
        assert not events(lines, "restart-needed")


RESTARTS = [
    ("{port: 0}", "{port: 1}", ["servers[out].listeners"]),
    ("path: spool", "path: other", ["queues.path"]),
    ("path: spool", "path: spool\n  concurrency: 9", ["queues.concurrency"]),
    ("gw.example", "other.example", ["environment"]),
    ("id: out", "id: in", ["servers[in]", "servers[out]"]),
    ("{ptr: false", "{timeout: 9", ["resolver"]),
    ("transport: next", "transport: next\n    limits: {idle: 9}", ["servers[out].limits"]),
    ("pre.hsl", "rcptto.hsl", []),
    ("phases: {rcptto:", "phases: {connect:", []),
    ("tls: disabled", "tls: require", []),
    ("queues:", "addresses: [{id: 1, address: 127.0.0.2, hostname: a}]\nqueues:", []),
    ("queues:", "scripting: {budgets: {steps: 5000}}\nqueues:", []),
]


@pytest.mark.parametrize(("old", "new", "wanted"), RESTARTS)
async def test_what_a_reload_cannot_take_over(tmp_path: Path, old: str, new: str, wanted: list[str]) -> None:
    assert old in CONFIG
    running = read_config(write(tmp_path))
    changed = read_config(write(tmp_path, config=CONFIG.replace(old, new)))
    assert restart_needed(running, changed) == wanted
    assert restart_needed(merge(running, changed), changed) == wanted, "and says so again"
