"""Mail with priority, over SMTP: whose it is, in what order it leaves for a slow destination, and after a restart."""

import asyncio
from pathlib import Path

import pytest
from loopgateway import gateway, greeted
from smtp_dialogue import Dialogue
from smtp_peer import Peer

from hsl.smtpd.gateway import Gateway

pytestmark = pytest.mark.asyncio

DEADLINE = 30.0
ONE_SLOT = "concurrency_per_destination: 1"
URGENT = "127.0.0.2"  # clients from here have priority
CONNECT = f'if ($arguments["remoteip"] == "{URGENT}") Accept(["priority" => 1]);'
DATA = """\
echo $connection["priority"];
switch ($recipientlocalpart)
{
    case "urgent": Deliver(["priority" => 1]);
    case "plain": Deliver(["priority" => 0]);
    case "held": Quarantine("q", ["reject" => false]);
    case "copied": CopyMail("copy@there.example"); Delete();
    case "made": mail("", "own@there.example", "x", "x", "next", []); Delete();
}
"""
EOD = """\
foreach ($transaction["recipients"] as $rcpt)
{
    $name = $rcpt["address"]["localpart"];
    $options = $name == "urgent" ? ["priority" => 1] : ($name == "plain" ? ["priority" => 0] : []);
    $arguments["mail"]->queue("", $rcpt["recipient"], "next", $options);
}
Accept();
"""


async def send(client: Dialogue, *recipients: str) -> None:
    named = "".join(f"C: RCPT TO:<{name}@there.example>\nS: 250\n" for name in recipients)
    await client.play(
        f"C: MAIL FROM:<a@here.example>\nS: 250\n{named}C: DATA\nS: 354\nC: Subject: x\nC:\nC: x\nC: .\nS: 250"
    )


def priorities(made: Gateway) -> dict[str, int]:
    return {entry.recipient.localpart.decode(): entry.priority for entry in made.queue.entries()}


def arrived(peer: Peer) -> list[str]:
    return [message.rcpt[0].split(b"<")[1].split(b"@")[0].decode() for message in peer.messages]


CASES = [
    (None, "data", {"urgent": 1, "plain": 0, "other": 0, "held": 0, "copy": 0, "own": 0}),
    (URGENT, "data", {"urgent": 1, "plain": 0, "other": 1, "held": 1, "copy": 1, "own": 0}),
    (None, "eod", {"urgent": 1, "plain": 0, "other": 0}),
    (URGENT, "eod", {"urgent": 1, "plain": 0, "other": 1}),
    (URGENT, "", {"other": 1}),
]


@pytest.mark.parametrize(("local", "stage", "wanted"), CASES)
async def test_the_priority_of_a_session_and_of_a_message(
    tmp_path: Path, local: str | None, stage: str, wanted: dict[str, int]
) -> None:
    lines: list[str] = []
    stages = {"connect": CONNECT, "rcptto": "Accept();", "predelivery": 'Queue(["hold" => true]);'}
    scripts = stages | ({stage: {"data": DATA, "eod": EOD}[stage]} if stage else {})
    asked = {"copy": "copied", "own": "made"}
    async with gateway(tmp_path, lines, scripts) as made:
        client = await greeted(made, local)
        await send(client, *(asked.get(name, name) for name in wanted))
        await client.close()
        assert priorities(made) == wanted
    if stage == "data":
        said = {line.rpartition("text=")[2] for line in lines if " echo " in line}
        assert said == {"1" if local else "0"}


async def test_a_slow_destination_gets_mail_with_priority_first(tmp_path: Path) -> None:
    peer, scripts = Peer(stall=0), {"connect": CONNECT, "rcptto": "Accept();"}
    async with peer.serve(), gateway(tmp_path, [], scripts, peer.port, queues=ONE_SLOT) as made:
        plain, urgent = await greeted(made), await greeted(made, URGENT)
        async with asyncio.timeout(DEADLINE):
            await send(plain, "first")
            await peer.stalled.wait()
            for number in range(3):
                await send(plain, f"plain{number}")
            for number in range(2):
                await send(urgent, f"urgent{number}")
            await send(plain, "plain3")
            assert made.queue.count == 7
            peer.resume.set()
            while made.queue.count:
                await asyncio.sleep(0.01)
        await plain.close()
        await urgent.close()
    assert arrived(peer) == ["first", "urgent0", "urgent1", "plain0", "plain1", "plain2", "plain3"]


async def test_it_holds_after_a_restart(tmp_path: Path) -> None:
    peer, scripts = Peer(), {"connect": CONNECT, "rcptto": "Accept();"}
    async with gateway(tmp_path, [], scripts | {"predelivery": 'Queue(["hold" => true]);'}, queues=ONE_SLOT) as made:
        for local, name in ((None, "plain0"), (URGENT, "urgent0"), (None, "plain1"), (URGENT, "urgent1")):
            client = await greeted(made, local)
            await send(client, name)
            await client.close()
        async with asyncio.timeout(DEADLINE):
            while {entry.state for entry in made.queue.entries()} != {"hold"}:
                await asyncio.sleep(0.01)
    async with peer.serve(), gateway(tmp_path, [], scripts, peer.port, queues=ONE_SLOT) as made:
        entries = list(made.queue.entries())
        for entry in entries:
            entry.state, entry.due = "active", 0.0
        await made.queue.apply(update=entries)
        async with asyncio.timeout(DEADLINE):
            while made.queue.count:
                await asyncio.sleep(0.01)
    assert arrived(peer) == ["urgent0", "urgent1", "plain0", "plain1"]
