"""Duties that only a whole gateway shows, on real scripts and queue: who may relay, what is stored and how often."""

import asyncio
import socket
import struct

import pytest
from loopgateway import gateway, greeted
from smtp_dialogue import eventually
from smtp_peer import Peer

pytestmark = pytest.mark.asyncio

# --- who may relay

HOOKS = {
    # what the script does           stranger to here, to elsewhere; network; login
    None: ("250", "550 5.7.1", "250", "250"),
    "$x = 1;": ("250", "550 5.7.1", "250", "250"),
    "return true;": ("250", "550 5.7.1", "250", "250"),
    "Accept();": ("250", "250", "250", "250"),
    "Reject();": ("554", "554", "554", "554"),
    "Defer();": ("450", "450", "450", "450"),
    'rate("a", "b", -1, 0); Accept();': ("450 4.3.0",) * 4,  # a script error
    "while (true) { }": ("450 4.3.0",) * 4,  # out of its budget
}
LOGIN = "C: AUTH PLAIN AHVzZXIAcGFzcw==\nS: 235"


@pytest.mark.parametrize("script", HOOKS)
async def test_who_may_relay(tmp_path, script):
    scripts = {"auth": "Accept();"} | ({"rcptto": script} if script is not None else {})
    stranger_here, stranger, network, login = HOOKS[script]
    async with gateway(tmp_path, [], scripts) as made:
        for local, before, domain, wanted in (
            (None, "", "here.example", stranger_here),
            (None, "", "HERE.Example", stranger_here),
            (None, "", "elsewhere.example", stranger),
            (None, "", "not-here.example", stranger),
            (None, "", "sub.here.example", stranger),
            ("127.0.0.2", "", "elsewhere.example", network),
            ("127.0.0.3", "", "elsewhere.example", stranger),
            (None, LOGIN, "elsewhere.example", login),
        ):
            client = await greeted(made, local)
            await client.play(f"{before}\nC: MAIL FROM:<a@b.example>\nS: 250\nC: RCPT TO:<x@{domain}>\nS: {wanted}")
            await client.close()


SIDEWAYS = [
    ("<@here.example:x@elsewhere.example>", "550 5.7.1"),
    ("<@here.example,@two.example:x@elsewhere.example>", "550 5.7.1"),
    ('<"x@here.example"@elsewhere.example>', "550 5.7.1"),
    ("<x@here.example.elsewhere.example>", "550 5.7.1"),
    ("<x@[127.0.0.1]>", "550 5.7.1"),
    ("<x@elsewhere.example@here.example>", "501"),
    ("<x@here.example,y@elsewhere.example>", "501"),
    ("<x@here.example\0.elsewhere.example>", "501"),
    ("<x@here.example>,<y@elsewhere.example>", "501"),
    ("<here.example>", "501"),
    ("<>", "501"),
]


@pytest.mark.parametrize(("path", "wanted"), SIDEWAYS)
async def test_no_spelling_of_an_address_relays(tmp_path, path, wanted):
    async with gateway(tmp_path, [], {}) as made:
        client = await greeted(made)
        await client.play(f"C: MAIL FROM:<a@b.example>\nS: 250\nC: RCPT TO:{path}\nS: {wanted}")
        await client.close()


# --- what arrives, and how often


async def test_scripts_see_lower_case_and_the_next_hop_what_came(tmp_path):
    see = 'if ($sender != "a.user@one.example" or $recipient != "b.user@two.example") Reject();'
    scripts = {"rcptto": see + "Accept();", "data": see + "Deliver();", "predelivery": see.replace("Reject", "Delete")}
    async with Peer().serve() as peer, gateway(tmp_path, [], scripts, peer.port) as made:
        client = await greeted(made)
        await client.play(
            """
            C: MAIL FROM:<A.User@One.Example>
            S: 250
            C: RCPT TO:<B.User@Two.Example>
            S: 250
            C: DATA
            S: 354
            C: .
            S: 250
            """
        )
        await eventually(lambda: bool(peer.messages))
        await client.close()
    assert peer.messages[0].mail.startswith(b"MAIL FROM:<A.User@One.Example>")
    assert peer.messages[0].rcpt == [b"RCPT TO:<B.User@Two.Example>"]


@pytest.mark.parametrize("size", [10, 300_000])
async def test_a_client_lost_within_the_commit_gets_its_message_delivered_once(tmp_path, size):
    async with Peer().serve() as peer, gateway(tmp_path, [], {"rcptto": "Accept();"}, peer.port) as made:
        begun, gate, store = asyncio.Event(), asyncio.Event(), made.queue.apply

        async def slow(**changes):
            if changes.get("store"):
                begun.set()
                await gate.wait()
            return await store(**changes)

        made.queue.apply = slow
        client = await greeted(made)
        await client.play("C: MAIL FROM:<a@b.example>\nS: 250\nC: RCPT TO:<x@two.example>\nS: 250\nC: DATA\nS: 354")
        await client.send(b"line of text\r\n" * (size // 14 + 1) + b".\r\n")
        await asyncio.wait_for(begun.wait(), 10)
        option = struct.pack("ii", 1, 0)
        client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
        client.writer.transport.abort()
        await eventually(lambda: made.servers["out"].sessions == 0)
        assert made.servers["out"]._bytes.used > 0
        gate.set()
        await eventually(lambda: bool(peer.messages) and made.queue.count == 0)
        assert made.servers["out"]._bytes.used == 0
        assert list((tmp_path / "spool" / "bodies").iterdir()) == []
    assert len(peer.messages) == 1


OURSELVES = [
    ("127.0.0.1", True),
    ("0.0.0.0", True),
    ("::", True),
    ("::ffff:127.0.0.1", True),
    ("::ffff:0.0.0.0", True),
    ("192.0.2.1", False),
    ("::1", False),
]


@pytest.mark.parametrize(("ip", "wanted"), OURSELVES)
async def test_a_mail_host_that_is_this_listener_by_another_name(tmp_path, ip, wanted):
    async with gateway(tmp_path, [], {}) as made:
        port = made.addresses["out"][0][1]
        assert made.is_listener(ip, port) is wanted
        assert not made.is_listener(ip, port + 1)
