"""What a script can ask of one attempt: LMTP, parameters, XCLIENT, timeouts, mail hosts; policies by address."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from smtp_peer import EXTENSIONS, Peer

from hsl.runtime.clock import SystemClock
from hsl.runtime.dns import TableResolver
from hsl.runtime.log import Log
from hsl.runtime.message import BytesBody
from hsl.runtime.model import Address, Attempt, DeliveryPlan, QueueEntry
from hsl.runtime.policies import Limits, Match, QueuePolicies
from hsl.smtpd.client import Deliverer
from hsl.smtpd.dialogue import Timeouts
from hsl.smtpd.pool import PoolLimits

pytestmark = pytest.mark.asyncio

SENDER, RECIPIENT = Address.of(b"sender@from.example"), Address.of(b"rcpt@to.example")
BODY = BytesBody(b"Subject: x\r\n\r\nbody\r\n")
HOSTS = {f"mx{number}.to.example": [f"127.0.0.{number}"] for number in (1, 2, 3)}
MX = {"to.example": list(HOSTS)}


def client(**more: object) -> Deliverer:
    more.setdefault("limits", PoolLimits(idle=0))
    return Deliverer(
        resolver=TableResolver(HOSTS, MX),
        hostname="gateway.example",
        log=Log(write=lambda line: None),
        **more,  # type: ignore[arg-type]
    )


async def attempt(
    deliverer: Deliverer,
    port: int,
    recipients: list[tuple[Address, Mapping[str, str]]] | None = None,
    entry_id: int = 1,
    **plan: object,
) -> Attempt:
    entry = QueueEntry("t", SENDER, RECIPIENT, "out", id=entry_id)
    made = DeliveryPlan(SENDER, RECIPIENT, port=port, **plan)  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        return await deliverer.attempt(made, entry, BODY, recipients)


async def test_lmtp() -> None:
    deliverer = client()
    async with Peer().serve() as peer:
        done = await attempt(deliverer, peer.port, host="127.0.0.1", protocol="lmtp")
        await deliverer.close()
    assert done.delivered
    assert peer.commands[0] == b"LHLO gateway.example"
    assert not any(command.startswith((b"EHLO", b"HELO")) for command in peer.commands)
    assert len(peer.messages) == 1


async def test_lmtp_that_is_refused_does_not_fall_back_to_helo() -> None:
    deliverer = client()
    async with Peer(replies={"LHLO": ["500 5.5.2 what?"]}).serve() as peer:
        done = await attempt(deliverer, peer.port, host="127.0.0.1", protocol="lmtp")
        await deliverer.close()
    assert done.result is not None
    assert (done.result.code, done.result.state) == (500, "LHLO")
    assert b"HELO gateway.example" not in peer.commands


async def test_connections_of_two_protocols_are_not_mixed() -> None:
    deliverer = client(limits=PoolLimits(idle=10))
    async with Peer().serve() as peer:
        for protocol in ("smtp", "lmtp", "smtp", "lmtp"):
            assert (await attempt(deliverer, peer.port, host="127.0.0.1", protocol=protocol)).delivered
        await deliverer.close()
    assert len(peer.sessions) == 2


async def test_lmtp_takes_one_recipient() -> None:
    done = await attempt(client(), 1, [(SENDER, {}), (RECIPIENT, {})], host="127.0.0.1", protocol="lmtp")
    assert done.error is not None
    assert "one recipient at a time" in done.error.message


PARAMS = {"senderparams": {"RET": "HDRS", "ENVID": "1", "MT-PRIORITY": "3", "X": "", "SIZE": "9"}}
RCPT_PARAMS = {"recipientparams": {"NOTIFY": "NEVER", "X-Y": "z"}}


@pytest.mark.parametrize(
    ("offered", "mail", "rcpt"),
    [
        ((*EXTENSIONS, "DSN"), b"SIZE=20 RET=HDRS ENVID=1 MT-PRIORITY=3 X", b" NOTIFY=NEVER X-Y=z"),
        (EXTENSIONS, b"SIZE=20 MT-PRIORITY=3 X", b" X-Y=z"),
    ],
)
async def test_parameters(offered: tuple[str, ...], mail: bytes, rcpt: bytes) -> None:
    """DSN's only where it is offered; SIZE is ours."""
    deliverer = client()
    async with Peer(extensions=offered).serve() as peer:
        assert (await attempt(deliverer, peer.port, host="127.0.0.1", **PARAMS, **RCPT_PARAMS)).delivered
        await deliverer.close()
    assert peer.commands[1] == b"MAIL FROM:<sender@from.example> " + mail
    assert peer.commands[2] == b"RCPT TO:<rcpt@to.example>" + rcpt


async def test_several_recipients_in_one_transaction() -> None:
    deliverer = client()
    people: list[tuple[Address, Mapping[str, str]]] = [
        (Address.of(b"A@to.example"), {"NOTIFY": "DELAY"}),
        (Address.of(b"b@other.example"), {}),
    ]
    async with Peer(extensions=("DSN",)).serve() as peer:
        assert (await attempt(deliverer, peer.port, people, host="127.0.0.1")).delivered
        await deliverer.close()
    [message] = peer.messages
    assert message.rcpt == [b"RCPT TO:<A@to.example> NOTIFY=DELAY", b"RCPT TO:<b@other.example>"]


async def test_all_recipients_or_none() -> None:
    deliverer = client()
    people: list[tuple[Address, Mapping[str, str]]] = [(SENDER, {}), (RECIPIENT, {})]
    async with Peer(replies={"RCPT": ["250 ok", "550 5.1.1 no"]}).serve() as peer:
        done = await attempt(deliverer, peer.port, people, host="127.0.0.1")
        await deliverer.close()
    assert done.result is not None
    assert (done.result.code, done.result.state) == (550, "RCPT")
    assert peer.messages == []


async def test_xclient_begins_the_session_anew() -> None:
    deliverer = client(limits=PoolLimits(idle=10))
    told = {"ADDR": "192.0.2.1", "HELO": "client.example"}
    async with Peer(extensions=("XCLIENT NAME ADDR HELO",)).serve() as peer:
        assert (await attempt(deliverer, peer.port, host="127.0.0.1", xclient=told)).delivered
        assert (await attempt(deliverer, peer.port, host="127.0.0.1", xclient=told)).delivered
        assert (await attempt(deliverer, peer.port, host="127.0.0.1")).delivered
        await deliverer.close()
    first, second = peer.sessions
    assert first.commands[:4] == [
        b"EHLO gateway.example",
        b"XCLIENT ADDR=192.0.2.1 HELO=client.example",
        b"EHLO gateway.example",
        b"MAIL FROM:<sender@from.example>",
    ]
    assert not any(command.startswith(b"XCLIENT") for command in second.commands), "not on that connection"


@pytest.mark.parametrize(
    ("extensions", "reply", "state"), [((), "220 ok", ""), (("XCLIENT ADDR",), "550 5.7.0 no", "XCLIENT")]
)
async def test_xclient_that_is_not_taken(extensions: tuple[str, ...], reply: str, state: str) -> None:
    deliverer = client()
    async with Peer(extensions=extensions, replies={"XCLIENT": [reply]}).serve() as peer:
        done = await attempt(deliverer, peer.port, host="127.0.0.1", xclient={"ADDR": "192.0.2.1"})
        await deliverer.close()
    assert peer.messages == []
    if state:
        assert done.result is not None
        assert (done.result.code, done.result.state) == (550, state)
    else:
        assert done.error is not None
        assert (done.error.temporary, done.error.kind) == (True, "protocol")
        assert "was not offered" in done.error.message


@pytest.mark.parametrize("state", ["mail", "rcpt", "data", "dot"])
async def test_a_timeout_of_a_state(state: str) -> None:
    hang = {"dot": "EOD"}.get(state, state.upper())
    deliverer = client(timeouts=Timeouts())
    async with Peer(hang=hang).serve() as peer:
        done = await attempt(deliverer, peer.port, host="127.0.0.1", timeouts={state: 0.05})
        await deliverer.close()
    assert done.error is not None
    assert done.error.kind == "timeout"
    assert done.error.message.startswith(f"{hang}: ")


@pytest.mark.parametrize(
    ("plan", "host"),
    [
        ({}, "mx1.to.example"),
        ({"mx_include": ("mx2.to.example",)}, "mx2.to.example"),
        ({"mx_include": ("*.to.example",), "mx_exclude": ("mx1.to.example", "mx2.to.example")}, "mx3.to.example"),
        ({"mx_exclude": ("*.to.example",)}, None),
        ({"mx_include": ("*.example",)}, None),
    ],
)
async def test_mail_hosts(plan: dict[str, object], host: str | None) -> None:
    """`*.` is one label."""
    deliverer = client()
    async with Peer().serve(host="0.0.0.0") as peer:
        done = await attempt(deliverer, peer.port, **plan)
        await deliverer.close()
    assert done.delivered is (host is not None)
    assert (done.remotemx or None) == host
    if host is None:
        assert done.error is not None
        assert (done.error.temporary, done.error.kind) == (True, "dns")


async def test_a_suspended_host_is_passed_over_while_another_one_is_left() -> None:
    policies = QueuePolicies(SystemClock())
    deliverer = client(policies=policies)
    async with Peer().serve(host="0.0.0.0") as peer:
        for name in ("mx1.to.example", "mx2.to.example"):
            policies.suspend(Match.of({"remotemx": name}), 60.0, "", True)
        assert (await attempt(deliverer, peer.port)).remotemx == "mx3.to.example"
        policies.suspend(Match.of({"remoteip": "127.0.0.3"}), 60.0, "busy", True)
        done = await attempt(deliverer, peer.port)
        assert (await attempt(deliverer, peer.port, entry_id=0)).delivered, "mail past the queue is not held back"
        await deliverer.close()
    assert done.held is not None
    assert done.held.reason == "suspended"
    assert done.error is not None
    assert (done.error.temporary, done.error.kind) == (True, "policy")
    assert len(peer.messages) == 2


async def test_concurrency_by_host_counts_while_the_attempt_runs() -> None:
    policies = QueuePolicies(SystemClock())
    policies.limit(
        ["remotemx", "localip"], Match.of({"remotemx": "*.to.example"}), Limits(concurrency=1), 60.0, "", True
    )
    deliverer = client(policies=policies)
    async with Peer(hang="EOD").serve() as peer:
        running = asyncio.ensure_future(attempt(deliverer, peer.port, host="127.0.0.1"))
        other = asyncio.ensure_future(attempt(deliverer, peer.port, mx_include=("mx1.to.example",)))
        while sum(command == b"DATA" for command in peer.commands) < 2:
            await asyncio.sleep(0.005)
        held = await attempt(deliverer, peer.port, mx_include=("mx1.to.example",))
        for task in (running, other):
            task.cancel()
        await asyncio.gather(running, other, return_exceptions=True)
        await deliverer.close()
    assert held.held is not None
    assert held.held.reason == "concurrency limit of 1"
    assert not any(counter.running for counter in policies.counters.values())


async def test_each_address_is_asked_about_before_it_is_connected_to() -> None:
    asked: list[str] = []

    def permit(address: str) -> None:
        asked.append(address)
        if address == "127.0.0.2":
            raise PermissionError(address)

    deliverer = client()
    entry = QueueEntry("t", SENDER, RECIPIENT, "out")
    async with Peer(replies={"BANNER": ["421 later"]}).serve(host="0.0.0.0") as peer:
        with pytest.raises(PermissionError):
            await deliverer.attempt(DeliveryPlan(SENDER, RECIPIENT, port=peer.port), entry, BODY, None, permit)
        await deliverer.close()
    assert asked == ["127.0.0.1", "127.0.0.2"]
    assert [session.ip for session in peer.sessions] == ["127.0.0.1"]
