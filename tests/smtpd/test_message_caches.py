"""What `cache ["per_message" => true]` keeps goes with its transaction, however that ends."""

import socket
import struct

import pytest
from loopgateway import gateway, greeted
from smtp_dialogue import eventually

pytestmark = pytest.mark.asyncio

KEEP = 'function f($x) { echo "ran"; return $x; } $x = cache ["per_message" => true, "namespace" => "n"] f(1);'
ENVELOPE = "C: MAIL FROM:<a@b.example>\nS: 250\nC: RCPT TO:<c@here.example>\nS: 250\n"
ENDINGS = {
    "a message that is taken": ENVELOPE + "C: DATA\nS: 354\nC: x\nC: .\nS: 250",
    "a message that is refused": ENVELOPE + "C: DATA\nS: 354\nC: \0\nC: .\nS: 550",
    "RSET": "C: MAIL FROM:<a@b.example>\nS: 250\nC: RSET\nS: 250",
    "EHLO": "C: MAIL FROM:<a@b.example>\nS: 250\nC: EHLO x.example\nS: 250",
    "QUIT": ENVELOPE + "C: QUIT\nS: 221\nS:",
    "QUIT after a refused sender": "C: MAIL FROM:<no@b.example>\nS: 554\nC: QUIT\nS: 221\nS:",
    "a client that goes": ENVELOPE,
    "a client that goes within a script": ENVELOPE.replace("<a@", "<slow@") + "C: DATA\nS: 354\nC: x\nC: .",
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_they_go_with_the_transaction(tmp_path, ending):
    lines: list[str] = []
    scripts = {
        "mailfrom": f'{KEEP} if ($senderlocalpart == "no") Reject();',
        "rcptto": KEEP,
        "data": f'{KEEP} if ($senderlocalpart == "slow") {{ echo "waits"; sleep(20); }} Deliver();',
        "disconnect": f'{KEEP} echo "over";',
    }
    async with gateway(tmp_path, lines, scripts) as made:
        client = await greeted(made)
        await client.play(ENDINGS[ending])
        if "within" in ending:
            await eventually(lambda: any("text=waits" in line for line in lines))
            reset = struct.pack("ii", 1, 0)
            client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        if "QUIT" in ending or "goes" in ending:
            client.writer.transport.abort()
            await eventually(lambda: any("text=over" in line for line in lines))
        await eventually(lambda: not made.shared.message_buckets)
        client.writer.transport.abort()


async def test_within_a_transaction_they_are_kept(tmp_path):
    lines: list[str] = []
    async with gateway(tmp_path, lines, {"mailfrom": KEEP, "rcptto": KEEP, "data": KEEP}) as made:
        client = await greeted(made)
        await client.play("C: MAIL FROM:<a@b.example>\nS: 250")
        assert len(made.shared.message_buckets) == 1
        await client.play("C: RSET\nS: 250")
        assert not made.shared.message_buckets
        await client.play(ENVELOPE)
        assert len(made.shared.message_buckets) == 1
        client.writer.transport.abort()


async def test_what_the_queue_keeps_goes_with_the_attempt(tmp_path):
    lines: list[str] = []
    hold = f'{KEEP} echo "tried"; Queue(["hold" => true]);'
    async with gateway(tmp_path, lines, {"rcptto": "Accept();", "predelivery": hold}) as made:
        client = await greeted(made)
        await client.play(ENVELOPE + "C: DATA\nS: 354\nC: x\nC: .\nS: 250")
        await eventually(lambda: any("text=tried" in line for line in lines))
        await eventually(lambda: not made.shared.message_buckets)
        client.writer.transport.abort()
