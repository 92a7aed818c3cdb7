"""A disk that runs full while mail flows: 452 and nothing half-written, no second attempt, and recovery by itself."""

from __future__ import annotations

import asyncio
import smtplib
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from gateway import Gateway, submit, wait_until, write_gateway
from smalldisk import MIB, small_disk
from smtp_peer import Peer

DISK = 24 * MIB
FLOOR = 8 * MIB
LIMITS = {"size": 2 * MIB, "connections_per_ip": 100}
SMALL = "Subject: small\r\n\r\n" + "x" * 70 + "\r\n"
LARGE = "Subject: large\r\n\r\n" + ("x" * 70 + "\r\n") * 4000  # a body file
NO_SPACE = (452, "4.3.1")
IN_FLIGHT = 4  # at once: fewer than what a destination begins with


def answer_of(reply: tuple[int, str]) -> tuple[int, str]:
    code, text = reply
    return code, text.split(" ")[0]


def config(folder: Path, disk: Path, port: int = 25) -> Path:
    return write_gateway(
        folder,
        {},
        server={"limits": LIMITS},
        session={"host": "127.0.0.1", "port": port, "tls": "disabled"},
        group={"retry": {"intervals": [{"interval": 2}]}},
        queues={"path": str(disk / "queue"), "free": FLOOR},
    )


def files_of(disk: Path) -> list[str]:
    return sorted(path.name for path in (disk / "queue" / "bodies").iterdir())


def test_below_the_floor_mail_gets_452(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", DISK) as disk, Gateway(config(tmp_path / "g", disk.path)) as gateway:
        disk.fill(FLOOR - MIB)
        wait_until(lambda: mail(gateway)[0] == 452, lambda: "452 to MAIL")
        assert answer_of(mail(gateway)) == NO_SPACE
        disk.empty()
        wait_until(lambda: mail(gateway)[0] == 250, lambda: "250 to MAIL again")


@pytest.mark.parametrize("message", [SMALL, LARGE], ids=["small", "large"])
def test_a_disk_that_is_full_at_the_end_of_data(tmp_path: Path, message: str) -> None:
    with small_disk(tmp_path / "disk", DISK) as disk:
        path = config(tmp_path / "g", disk.path)
        with Gateway(path) as gateway:
            clients = [gateway.client() for _ in range(3)]
            for client in clients:
                assert client.mail("a@b.example")[0] == 250
                assert client.rcpt("c@d.example")[0] == 250
            disk.fill()
            for client in clients:
                code, text = client.data(message)
                assert answer_of((code, text.decode())) == NO_SPACE
                assert client.noop()[0] == 250, "the session goes on"
            assert gateway.queued() == 0
            assert files_of(disk.path) == []
            disk.empty()
            wait_until(lambda: answer_of(submit_again(clients[0], message))[0] == 250, lambda: "mail is taken again")
            assert gateway.queued() == 1
            for client in clients:
                client.close()
        assert len(Gateway(path).entries()) == 1, "one message, and what is on disk says so too"
        assert len(files_of(disk.path)) == (1 if message == LARGE else 0)


def mail(gateway: Gateway) -> tuple[int, str]:
    """The reply to MAIL in a session of its own."""
    with gateway.client() as client:
        code, text = client.mail("a@b.example")
        assert client.noop()[0] == 250, "the session goes on"
        return code, text.decode()


def submit_again(client: smtplib.SMTP, message: str) -> tuple[int, str]:
    client.rset()
    return submit(client, "a@b.example", "c@d.example", message=message)


async def until(true: Callable[[], bool], wanted: str) -> None:
    await asyncio.to_thread(wait_until, true, lambda: wanted)


@pytest.mark.asyncio
async def test_results_that_the_disk_does_not_take_are_kept_and_not_repeated(tmp_path: Path) -> None:
    """Every message is at its final dot when the disk fills up; the next hop takes all of them."""
    peer = Peer(stall=0)
    with small_disk(tmp_path / "disk", DISK) as disk:
        async with peer.serve():
            gateway = Gateway(config(tmp_path / "g", disk.path, peer.port))
            await asyncio.to_thread(gateway.start)
            try:
                for number in range(IN_FLIGHT):
                    reply = await asyncio.to_thread(gateway.send, "a@b.example", f"r{number}@d.example", message=LARGE)
                    assert reply[0] == 250
                await until(lambda: in_data(peer) == IN_FLIGHT, "all at their bodies")
                disk.fill()
                peer.resume.set()
                await until(lambda: len(peer.messages) == IN_FLIGHT, "all taken")
                await asyncio.to_thread(gateway.wait_for, r" queue-full ")
                assert gateway.queued() == IN_FLIGHT, "nothing of it could be removed"
                assert len(files_of(disk.path)) == IN_FLIGHT
                disk.empty()
                await asyncio.to_thread(gateway.wait_drained)
                await asyncio.to_thread(gateway.wait_for, r" queue-writable")
                assert files_of(disk.path) == []
                reply = await asyncio.to_thread(gateway.send, "a@b.example", "later@d.example")
                assert reply[0] == 250
                await until(lambda: len(peer.messages) == IN_FLIGHT + 1, "the next message")
                await asyncio.to_thread(gateway.wait_drained)
                assert await asyncio.to_thread(gateway.end) == 0
            finally:
                gateway.kill()
        recipients = [message.rcpt[0] for message in peer.messages]
        assert len(set(recipients)) == len(recipients) == IN_FLIGHT + 1, "nothing was attempted twice"


def in_data(peer: Peer) -> int:
    return sum(command == b"DATA" for command in peer.commands)


@pytest.mark.asyncio
async def test_no_new_attempt_while_a_result_is_kept(tmp_path: Path) -> None:
    """What falls due meanwhile waits on: an attempt whose result cannot be stored could only be repeated."""
    peer = Peer(stall=0, replies={"RCPT": ["451 4.7.1 later", "250 2.1.5 ok"]})
    with small_disk(tmp_path / "disk", DISK) as disk:
        async with peer.serve():
            gateway = Gateway(config(tmp_path / "g", disk.path, peer.port))
            await asyncio.to_thread(gateway.start)
            try:
                for name in ("deferred", "delivered"):
                    reply = await asyncio.to_thread(gateway.send, "a@b.example", f"{name}@d.example")
                    assert reply[0] == 250
                    await asyncio.to_thread(gateway.wait_for, r" attempt .*451" if name == "deferred" else r" ready ")
                await until(lambda: in_data(peer) == 1, "the second at its body")
                disk.fill()
                peer.resume.set()
                await asyncio.to_thread(gateway.wait_for, r" queue-full ")
                [deferred] = gateway.ask("list", filters={"state": ["defer"]})["entries"]
                await asyncio.sleep(max(0.0, deferred["due"] - time.time()) + 1.0)
                assert len(recipients_of(peer)) == 2, "no attempt has begun since"
                disk.empty()
                await asyncio.to_thread(gateway.wait_drained)
                assert recipients_of(peer) == ["deferred", "delivered", "deferred"]
                assert await asyncio.to_thread(gateway.end) == 0
            finally:
                gateway.kill()


def recipients_of(peer: Peer) -> list[str]:
    """The local parts of all RCPT commands."""
    return [command[9:].partition(b"@")[0].decode() for command in peer.commands if command.startswith(b"RCPT")]
