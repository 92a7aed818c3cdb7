"""What Try() says about source addresses and TLS, on the wire; and what is known of an attempt afterwards."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme
from smtp_peer import Peer

from hsl.runtime.clock import SystemClock
from hsl.runtime.dns import TableResolver
from hsl.runtime.log import Log
from hsl.runtime.message import BytesBody
from hsl.runtime.model import Address, Attempt, DeliveryPlan, QueueEntry, SourceIP, TLSSettings
from hsl.runtime.policies import Limits, QueuePolicies
from hsl.runtime.policyfields import Match
from hsl.smtpd.client import Deliverer
from hsl.smtpd.pool import PoolLimits
from hsl.smtpd.tls import ClientContexts

pytestmark = pytest.mark.asyncio

SENDER, RECIPIENT = Address.of(b"sender@from.example"), Address.of(b"rcpt@to.example")
BODY = BytesBody(b"Subject: x\r\n\r\nbody\r\n")
FOUR = [SourceIP(f"127.0.0.{number}", f"out{number}.example", str(number)) for number in (11, 12, 13)]
SIX = SourceIP("::1", "six.example", "6")


def client(hosts: Mapping[str, list[str]] | None = None, mx: Mapping[str, list[str]] | None = None, **more: object):
    more.setdefault("limits", PoolLimits(idle=0))
    resolver = TableResolver(hosts or {"mx.to.example": ["127.0.0.1"]}, mx or {"to.example": ["mx.to.example"]})
    return Deliverer(
        resolver=resolver,
        hostname="gateway.example",
        log=Log(write=lambda line: None),
        **more,  # type: ignore[arg-type]
    )


async def attempt(deliverer: Deliverer, port: int, sources: list[SourceIP] = (), **plan: object) -> Attempt:  # type: ignore[assignment]
    entry = QueueEntry("t", SENDER, RECIPIENT, "out", id=1)
    made = DeliveryPlan(SENDER, RECIPIENT, port=port, **plan)  # type: ignore[arg-type]
    made.sources = sources
    async with asyncio.timeout(10):
        done = await deliverer.attempt(made, entry, BODY)
        await deliverer.close()
    return done


# ------------------------------------------------------------ source addresses


async def test_the_first_source_of_the_hosts_family_is_taken() -> None:
    async with Peer().serve() as peer:
        done = await attempt(client(), peer.port, [SIX, FOUR[1], FOUR[0]])
    assert done.delivered
    assert (done.localip, done.localipid, done.helo) == ("127.0.0.12", "12", "out12.example")
    assert peer.sessions[0].ip == "127.0.0.12"
    assert peer.commands[0] == b"EHLO out12.example"


async def test_each_address_has_a_source_of_its_family() -> None:
    """The IPv6 address is tried first, from the IPv6 source; it refuses, and the IPv4 one gets the IPv4 source."""
    hosts = {"mx.to.example": ["::1", "127.0.0.1"]}
    busy = Peer(replies={"BANNER": ["421 not now"]})
    async with busy.serve("::1") as six, Peer().serve("127.0.0.1", busy.port) as four:
        done = await attempt(client(hosts), four.port, [FOUR[0], SIX])
    assert done.delivered
    assert [session.ip for session in six.sessions] == ["::1"]
    assert [session.ip for session in four.sessions] == ["127.0.0.11"]
    assert done.helo == "out11.example"


async def test_no_source_of_the_family() -> None:
    async with Peer().serve() as peer:
        done = await attempt(client(), peer.port, [SIX])
    assert done.error is not None
    assert (done.error.kind, done.error.temporary) == ("bind", True)
    assert "source address ::1" in done.error.message
    assert not peer.sessions


async def test_a_source_that_is_held_back_leaves_the_others_usable() -> None:
    policies = QueuePolicies(SystemClock())
    policies.suspend(Match.of({"localip": "127.0.0.11"}), 60.0, "", True)
    policies.limit(["localip"], Match.of({"localip": "127.0.0.12"}), Limits(rate=(1, 60.0)), 60.0, "warm", True)
    for wanted in ("127.0.0.12", "127.0.0.13", "127.0.0.13"):
        async with Peer().serve() as peer:
            done = await attempt(client(policies=policies), peer.port, FOUR)
        assert done.delivered
        assert peer.sessions[0].ip == wanted
        assert done.permit is not None
        assert [rule.tag for rule in done.permit.rules] == (["warm"] if wanted == "127.0.0.12" else [])
    async with Peer().serve() as peer:
        done = await attempt(client(policies=policies), peer.port, FOUR[:2])
    assert done.held is not None
    assert not peer.sessions


@pytest.mark.parametrize(
    ("source", "helo", "wanted"),
    [
        (SourceIP("127.0.0.11", "own.example", None, own_helo=True), "plan.example", "own.example"),
        (SourceIP("127.0.0.11", "address.example", "1"), "plan.example", "plan.example"),
        (SourceIP("127.0.0.11", "address.example", "1"), None, "address.example"),
        (SourceIP("127.0.0.11"), None, "gateway.example"),
    ],
)
async def test_who_we_say_we_are(source: SourceIP, helo: str | None, wanted: str) -> None:
    async with Peer().serve() as peer:
        done = await attempt(client(), peer.port, [source], helo=helo)
    assert peer.commands[0] == b"EHLO " + wanted.encode()
    assert done.helo == wanted


# ------------------------------------------------------------ TLS


class Asked:
    """A TLS server, and what its last client asked for."""

    def __init__(self, authority: trustme.CA, *names: str) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names).configure_cert(self.context)
        authority.configure_trust(self.context)
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.context.sni_callback = self.hear
        self.sni: str | None = "nobody came"

    def hear(self, session: ssl.SSLObject | ssl.SSLSocket, name: str | None, _context: ssl.SSLContext) -> None:
        self.sni = name


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def contexts(authority: trustme.CA, tmp_path: Path) -> ClientContexts:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return ClientContexts(str(tmp_path / "ca.pem"))


HERE, OTHER = "mx.to.example", "other.example"
MODES = [  # mode, settings, the certificate's name, whether it is delivered, the SNI that was asked for, report
    ("require", TLSSettings(), OTHER, True, None, ""),
    ("require", TLSSettings(sni=True), OTHER, True, HERE, ""),
    ("require", TLSSettings(sni="name.example"), OTHER, True, "name.example", ""),
    ("require", TLSSettings(verify_host=True), HERE, True, HERE, ""),
    ("require", TLSSettings(verify_host=True), OTHER, False, HERE, "certificate-host-mismatch"),
    ("require", TLSSettings(names=("a.example", OTHER)), OTHER, True, None, ""),
    ("require", TLSSettings(names=("a.example",)), OTHER, False, None, "certificate-host-mismatch"),
    ("require_verify", TLSSettings(), HERE, True, HERE, ""),
    ("require_verify", TLSSettings(), OTHER, False, HERE, "certificate-host-mismatch"),
    ("require_verify", TLSSettings(sni=False), HERE, True, None, ""),
    ("require_verify", TLSSettings(sni=False), OTHER, False, None, "certificate-host-mismatch"),
    ("require_verify", TLSSettings(sni="name.example"), HERE, True, "name.example", ""),
    ("require_verify", TLSSettings(verify_host=False), OTHER, True, HERE, ""),
    ("require_verify", TLSSettings(names=(OTHER,)), OTHER, True, HERE, ""),
    ("require_verify", TLSSettings(names=(OTHER,)), HERE, False, HERE, "certificate-host-mismatch"),
    ("require_verify", TLSSettings(names=(OTHER,), verify_host=True), HERE, True, HERE, ""),
]


@pytest.mark.parametrize(("mode", "settings", "name", "delivered", "sni", "report"), MODES, ids=range(len(MODES)))
async def test_names(
    mode: str,
    settings: TLSSettings,
    name: str,
    delivered: bool,
    sni: str | None,
    report: str,
    authority: trustme.CA,
    contexts: ClientContexts,
) -> None:
    server = Asked(authority, name)
    async with Peer(context=server.context).serve() as peer:
        done = await attempt(client(contexts=contexts), peer.port, tls=mode, tls_settings=settings)
    assert done.delivered is delivered, done.error
    assert server.sni == sni
    assert done.tlsrpt == report
    assert len(peer.messages) == int(delivered)


@pytest.mark.parametrize("mode", ["require_verify", "optional_verify"])
async def test_an_authority_that_is_not_known(mode: str, authority: trustme.CA) -> None:
    server = Asked(authority, HERE)
    async with Peer(context=server.context).serve() as peer:
        done = await attempt(client(), peer.port, tls=mode, tls_settings=TLSSettings(verify_host=False))
    assert not done.delivered
    assert done.tlsrpt == "certificate-not-trusted"
    assert not peer.messages


@pytest.mark.parametrize(("protocols", "wanted"), [(b"TLSv1.2", "TLSv1.2"), (b"TLSv1.3", "TLSv1.3")])
async def test_protocols(protocols: bytes, wanted: str, authority: trustme.CA) -> None:
    async with Peer(context=Asked(authority, HERE).context).serve() as peer:
        done = await attempt(client(), peer.port, tls="require", tls_settings=TLSSettings(protocols=protocols))
    assert done.tls is not None
    assert done.tls.protocol == wanted


async def test_ciphers(authority: trustme.CA) -> None:
    settings = TLSSettings(protocols=b"TLSv1.2", ciphers=b"ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256")
    async with Peer(context=Asked(authority, HERE).context).serve() as peer:
        done = await attempt(client(), peer.port, tls="require", tls_settings=settings)
    assert done.tls is not None
    assert "AES128-GCM-SHA256" in done.tls.cipher


async def test_a_certificate_of_our_own(authority: trustme.CA) -> None:
    """A server that wants one refuses us without it."""
    server = Asked(authority, HERE)
    server.context.verify_mode = ssl.CERT_REQUIRED
    server.context.maximum_version = ssl.TLSVersion.TLSv1_2  # later, a refusal comes after the handshake
    settings = TLSSettings(certificate=authority.issue_cert("gateway.example").private_key_and_cert_chain_pem.bytes())
    async with Peer(context=server.context).serve() as peer:
        assert (await attempt(client(), peer.port, tls="require", tls_settings=settings)).delivered
        assert not (await attempt(client(), peer.port, tls="require")).delivered


async def test_connections_of_other_settings_are_not_shared(authority: trustme.CA) -> None:
    deliverer = client(limits=PoolLimits(idle=30))
    entry = QueueEntry("t", SENDER, RECIPIENT, "out", id=1)
    async with Peer(context=Asked(authority, HERE).context).serve() as peer:
        for settings in (TLSSettings(), TLSSettings(protocols=b"TLSv1.2"), TLSSettings()):
            plan = DeliveryPlan(SENDER, RECIPIENT, port=peer.port, tls="require", tls_settings=settings)
            done = await deliverer.attempt(plan, entry, BODY)
            assert done.delivered
        await deliverer.close()
    assert len(peer.sessions) == 2
    assert done.transactions == 2


async def test_contexts_are_bounded() -> None:
    contexts = ClientContexts()
    first = contexts.get(False)
    for number in range(100):
        contexts.get(False, TLSSettings(ciphers=f"HIGH:@SECLEVEL={number % 3}".encode(), certificate=None))
        contexts.get(False, TLSSettings(protocols=b"TLSv1.2", ciphers=b"HIGH" + b":HIGH" * number))
        assert contexts.get(False) is first
    assert len(contexts.kept) <= 64


# ------------------------------------------------------------ what is known afterwards


async def test_the_connection_of_an_attempt(authority: trustme.CA) -> None:
    server = Asked(authority, HERE)
    deliverer = client(limits=PoolLimits(idle=30))
    entry = QueueEntry("t", SENDER, RECIPIENT, "out", id=1)
    peer = Peer(context=server.context, replies={"BANNER": ["220-mx.to.example ESMTP\n220 no spam"]})
    async with peer.serve():
        plan = DeliveryPlan(SENDER, RECIPIENT, port=peer.port, tls="require")
        one = await deliverer.attempt(plan, entry, BODY)
        two = await deliverer.attempt(plan, entry, BODY)
        await deliverer.close()
    assert one.greeting == two.greeting == ("mx.to.example ESMTP", "no spam")
    assert one.connection == two.connection
    assert (one.transactions, two.transactions) == (1, 2)
    assert one.tls is not None
    assert one.tls.peercert is not None
    assert one.tls.peercert.error is None, "nobody has looked"
    assert one.tls.peercert.chain[0] == one.tls.peercert.certificate


@pytest.mark.parametrize(
    ("mode", "extensions", "delivered", "report"),
    [
        ("require", (), False, "starttls-not-supported"),
        ("optional", (), True, "starttls-not-supported"),
        ("disabled", (), True, ""),
    ],
)
async def test_why_there_was_no_tls(mode: str, extensions: tuple[str, ...], delivered: bool, report: str) -> None:
    async with Peer(extensions=extensions).serve() as peer:
        done = await attempt(client(), peer.port, tls=mode)
    assert (done.delivered, done.tlsrpt, done.tls) == (delivered, report, None)


async def test_a_broken_handshake_is_told_after_the_fallback() -> None:
    async with Peer(broken_tls=True).serve() as peer:
        done = await attempt(client(), peer.port, tls="optional")
    assert (done.delivered, done.tlsrpt) == (True, "validation-failure")


@pytest.mark.parametrize(
    ("hosts", "mx", "status"),
    [
        ({"a.example": ["127.0.0.1"]}, {"b.example": ["a.example"]}, "NXDOMAIN"),
        ({}, {"to.example": ["."]}, "NULLMX"),
        ({"mx.to.example": []}, {"to.example": ["mx.to.example"]}, "NODATA"),
    ],
)
async def test_what_the_dns_said(hosts: dict[str, list[str]], mx: dict[str, list[str]], status: str) -> None:
    done = await attempt(client(hosts or {"x.example": []}, mx), 9)
    assert done.error is not None
    assert (done.error.kind, done.error.dns) == ("dns", status)
