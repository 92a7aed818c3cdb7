"""Which line of which script decided: it stands in the log, for sessions and for deliveries."""

import asyncio
from pathlib import Path

import pytest
from loopgateway import gateway, greeted
from smtp_peer import Peer

pytestmark = pytest.mark.asyncio

ONE_MAIL = """
C: MAIL FROM:<a@here.example>
S: 250
C: RCPT TO:<b@here.example>
S: 250
C: DATA
S: 354
C: Subject: x
C:
C: x
C: .
S: 250
"""


def events(lines: list[str], name: str, **wanted: str) -> list[str]:
    """The log's lines of an event that hold these values."""
    return [
        line
        for line in lines
        if f" {name} " in line and all(f" {key}={value}" in line + " " for key, value in wanted.items())
    ]


SESSIONS = [
    ("mailfrom", '$x = 1;\nReject("no");', "C: MAIL FROM:<a@here.example>\nS: 554", "reject", "mailfrom.hsl:2:1"),
    ("mailfrom", "\n Accept();", "C: MAIL FROM:<a@here.example>\nS: 250", "accept", "mailfrom.hsl:2:2"),
    ("mailfrom", "$x = 1;\nrate([], 1, 1, 1);", "C: MAIL FROM:<a@here.example>\nS: 450", "defer", "mailfrom.hsl:2:1"),
    ("data", 'if ($recipient)\n  Deliver();', ONE_MAIL, "accept", "data.hsl:2:3"),
    ("data", 'CopyMail("c@here.example");\nDeliver();', ONE_MAIL, "accept", "data.hsl:2:1"),
    ("data", 'Reject();', ONE_MAIL[:-4] + "550", "reject", "data.hsl:1:1"),
]  # fmt: skip


@pytest.mark.parametrize(("stage", "script", "play", "action", "at"), SESSIONS)
async def test_a_verdict_of_a_session(tmp_path: Path, stage: str, script: str, play: str, action: str, at: str) -> None:
    lines: list[str] = []
    async with gateway(tmp_path, lines, {stage: script}) as made:
        client = await greeted(made)
        await client.play(play)
        await client.close()
    assert len(events(lines, "verdict", stage=stage, action=action, at=at)) == 1


async def test_what_no_script_decided_has_no_place(tmp_path: Path) -> None:
    lines: list[str] = []
    async with gateway(tmp_path, lines, {"data": "$x = 1;"}) as made:
        client = await greeted(made)
        await client.play(ONE_MAIL)
        await client.close()
    (line,) = events(lines, "verdict", stage="data", action="accept")
    assert " at=" not in line


DELIVERIES = [
    ({"predelivery": "\nDelete();"}, "decision", {"stage": "predelivery", "at": "predelivery.hsl:2:1"}, " try="),
    ({"predelivery": "Queue([]);"}, "decision", {"action": "defer", "at": "predelivery.hsl:1:1"}, " try="),
    ({"predelivery": "rate([], 1, 1, 1);"}, "decision", {"action": "defer", "at": "predelivery.hsl:1:1"}, " try="),
    ({}, "attempt", {"action": "delivered", "stage": "postdelivery"}, " at="),
    ({"predelivery": " Try();"}, "attempt", {"try": "predelivery.hsl:1:2", "action": "delivered"}, " at="),
    (
        {"predelivery": 'Try(["recipient" => "gone@here.example"]);', "postdelivery": "if (1)\n  Delete();"},
        "attempt",
        {"try": "predelivery.hsl:1:1", "action": "delete", "at": "postdelivery.hsl:2:3", "code": "550"},
        "nothing",
    ),
]


@pytest.mark.parametrize(("scripts", "event", "wanted", "absent"), DELIVERIES)
async def test_a_verdict_about_a_delivery(
    tmp_path: Path, scripts: dict[str, str], event: str, wanted: dict[str, str], absent: str
) -> None:
    lines: list[str] = []
    replies = {"RCPT": ["550 5.1.1 gone"]} if wanted.get("code") else {}
    async with Peer(replies=replies).serve() as peer, gateway(tmp_path, lines, scripts, peer.port) as made:
        client = await greeted(made)
        await client.play(ONE_MAIL)
        await client.close()
        async with asyncio.timeout(30):
            while not events(lines, event):
                await asyncio.sleep(0.01)
    (line,) = events(lines, event, **wanted)
    assert absent not in line
