"""Idle connections: when the next mail takes one, when it must not, and what happens when it has gone stale."""

from __future__ import annotations

import asyncio
import ssl

import pytest
import trustme
from smtp_peer import Peer

from hsl.runtime.dns import TableResolver
from hsl.runtime.log import Log
from hsl.runtime.model import Address, Attempt, DeliveryPlan, QueueEntry, SourceIP
from hsl.smtpd.client import Deliverer
from hsl.smtpd.pool import PoolLimits

pytestmark = pytest.mark.asyncio
SENDER, RECIPIENT = Address(b"s", b"from.example"), Address(b"r", b"to.example")
DEADLINE = 20.0


class Text:
    size = 4

    def chunks(self) -> list[bytes]:
        return [b"hi\r\n"]


class Client:
    def __init__(self, **limits: float) -> None:
        self.deliverer = Deliverer(
            resolver=TableResolver({"localhost": ["127.0.0.1"]}),
            hostname="gateway.example",
            log=Log("critical"),
            limits=PoolLimits(**limits),  # type: ignore[arg-type]
        )

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        async with asyncio.timeout(DEADLINE):
            await self.deliverer.close()

    async def send(self, port: int, **plan: object) -> Attempt:
        plan.setdefault("host", "127.0.0.1")
        chosen = DeliveryPlan(SENDER, RECIPIENT, port=port, **plan)  # type: ignore[arg-type]
        async with asyncio.timeout(DEADLINE):
            return await self.deliverer.attempt(chosen, QueueEntry("t", SENDER, RECIPIENT, "x"), Text())  # type: ignore[arg-type]


def verbs(peer: Peer) -> list[list[str]]:
    """The commands of each session, by their first word."""
    return [[command.split(b" ")[0].decode() for command in session.commands] for session in peer.sessions]


MAIL = ["MAIL", "RCPT", "DATA"]


async def test_the_second_mail_takes_the_same_connection() -> None:
    async with Peer().serve() as peer:
        async with Client() as client:
            for _ in range(3):
                assert (await client.send(peer.port)).delivered
        assert verbs(peer) == [["EHLO", *MAIL, *MAIL, *MAIL, "QUIT"]]


@pytest.mark.parametrize(
    "other",
    [
        {"helo": "other.example"},
        {"source": SourceIP("127.0.0.5")},
        {"source": SourceIP("127.0.0.1")},
        {"tls": "disabled"},
        {"host": "127.0.0.2"},
        {"username": b"user", "password": b"secret"},
    ],
)
async def test_another_way_takes_another_connection(other: dict[str, object]) -> None:
    async with Peer().serve("0.0.0.0") as peer, Client() as client:
        assert (await client.send(peer.port)).delivered
        assert (await client.send(peer.port, **other)).delivered
        assert len(peer.sessions) == 2
        assert (await client.send(peer.port, **other)).delivered
        assert len(peer.sessions) == 2


async def test_a_certificate_checked_for_one_name_does_not_serve_another() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    async with Peer(context=context).serve() as peer, Client() as client:
        trusting = client.deliverer.contexts.get(True)
        authority.configure_trust(trusting)
        assert (await client.send(peer.port, host="localhost", tls="require_verify")).delivered
        refused = await client.send(peer.port, host="127.0.0.1", tls="require_verify")
        assert refused.error is not None
        assert refused.error.kind == "tls"
        again = await client.send(peer.port, host="localhost", tls="require_verify")
        assert again.delivered
        assert again.tls is not None
        assert len(peer.sessions) == 2


@pytest.mark.parametrize(
    ("replies", "code"),
    [
        ({"RCPT": ["550 5.1.1 no", "250 ok"]}, 550),
        ({"DATA": ["451 later", "354 go"]}, 451),
        ({"EOD": ["554 spam", "250 ok"]}, 554),
        ({"MAIL": ["550 no", "250 ok"]}, 550),
    ],
)
async def test_rset_after_a_refusal(replies: dict[str, list[str]], code: int) -> None:
    async with Peer(replies=replies).serve() as peer, Client() as client:
        refused = await client.send(peer.port)
        assert refused.result is not None
        assert refused.result.code == code
        assert (await client.send(peer.port)).delivered
        assert len(peer.sessions) == 1
        assert verbs(peer)[0].count("RSET") == 1


@pytest.mark.parametrize("reply", ["421 4.7.0 too many", "452 4.5.3 too many mails", "550 odd", "nonsense"])
async def test_a_failure_at_mail_on_a_reused_connection_is_retried_on_a_fresh_one(reply: str) -> None:
    async with Peer(replies={"MAIL": ["250 ok", reply, "250 ok"]}).serve() as peer, Client() as client:
        assert (await client.send(peer.port)).delivered
        assert (await client.send(peer.port)).delivered
        assert [session.count("DATA") for session in verbs(peer)] == [1, 1]


async def test_on_a_fresh_connection_the_second_refusal_counts() -> None:
    async with Peer(replies={"MAIL": ["250 ok", "452 no"]}).serve() as peer, Client() as client:
        assert (await client.send(peer.port)).delivered
        attempt = await client.send(peer.port)
        assert attempt.result is not None
        assert (attempt.result.code, attempt.result.state) == (452, "MAIL")
        assert len(peer.sessions) == 2


@pytest.mark.parametrize(("state", "sessions"), [("MAIL", 2), ("RCPT", 2), ("DATA", 2), ("EOD", 1)])
async def test_a_reused_connection_that_breaks(state: str, sessions: int) -> None:
    """Retried on a fresh one, but never after the final dot."""
    async with Peer().serve() as peer, Client() as client:
        assert (await client.send(peer.port)).delivered
        peer.drop = state
        attempt = await client.send(peer.port)
        assert attempt.error is not None
        assert attempt.error.kind == "disconnect"
        assert len(peer.sessions) == sessions


async def test_a_refused_rset_means_a_fresh_connection() -> None:
    peer = Peer(replies={"RCPT": ["550 no", "250 ok"], "RSET": ["500 what"]})
    async with peer.serve(), Client() as client:
        assert (await client.send(peer.port)).permanent
        assert (await client.send(peer.port)).delivered
        assert len(peer.sessions) == 2


async def test_a_server_that_closed_meanwhile() -> None:
    async with Client() as client:
        first = Peer()
        async with first.serve():
            assert (await client.send(first.port)).delivered
        second = Peer()
        async with second.serve(port=first.port):
            assert (await client.send(second.port)).delivered


async def test_the_limit_of_transactions() -> None:
    async with Peer().serve() as peer, Client(transactions=2) as client:
        for _ in range(5):
            assert (await client.send(peer.port)).delivered
        assert [session.count("MAIL") for session in verbs(peer)] == [2, 2, 1]


async def test_the_limit_of_age() -> None:
    async with Peer().serve() as peer, Client(age=30.0) as client:
        assert (await client.send(peer.port)).delivered
        [dialogue] = client.deliverer.pool.idle
        dialogue.opened -= 31.0
        assert (await client.send(peer.port)).delivered  # it is there, and this is its last
        assert not client.deliverer.pool.idle
        assert (await client.send(peer.port)).delivered
        assert [session.count("MAIL") for session in verbs(peer)] == [2, 1]


async def test_an_unused_connection_is_not_kept_beyond_its_age() -> None:
    async with Peer().serve() as peer, Client(idle=3600.0, age=0.1) as client:
        await client.send(peer.port)
        async with asyncio.timeout(DEADLINE):
            await peer.ended.wait()
        assert verbs(peer) == [["EHLO", *MAIL, "QUIT"]]


async def test_an_attempt_that_wants_a_connection_of_its_own() -> None:
    async with Peer().serve() as peer, Client() as client:
        for pooling in (True, False, True):
            assert (await client.send(peer.port, pooling=pooling)).delivered
        assert [session.count("MAIL") for session in verbs(peer)] == [2, 1]
        async with asyncio.timeout(DEADLINE):
            while "QUIT" not in verbs(peer)[1]:
                await asyncio.sleep(0.01)


async def test_the_limit_of_idle_connections() -> None:
    async with Peer().serve() as peer, Client(total=1) as client:
        await client.send(peer.port)
        await client.send(peer.port, helo="other.example")
        assert len(client.deliverer.pool.idle) == 1
        async with asyncio.timeout(DEADLINE):
            while "QUIT" not in verbs(peer)[0]:
                await asyncio.sleep(0.01)
        assert "QUIT" not in verbs(peer)[1]


async def test_an_idle_connection_says_quit_after_its_time() -> None:
    async with Peer().serve() as peer, Client(idle=0.05) as client:
        await client.send(peer.port)
        async with asyncio.timeout(DEADLINE):
            await peer.ended.wait()
        assert verbs(peer) == [["EHLO", *MAIL, "QUIT"]]
        assert not client.deliverer.pool.idle


async def test_attempts_side_by_side_do_not_share_a_connection() -> None:
    async with Peer().serve() as peer, Client() as client:
        attempts = await asyncio.gather(*(client.send(peer.port) for _ in range(10)))
        assert all(attempt.delivered for attempt in attempts)
        assert len(peer.sessions) == 10
        assert len(peer.messages) == 10
    assert not client.deliverer.pool.idle
    assert not client.deliverer.pool.by_key
