"""Every way that an attempt can fail, and what post-delivery sees of it, in both dialects."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from dnsserver import dns_server
from smtp_peer import Peer

from hsl.runtime.context import PostDeliveryContext
from hsl.runtime.dns import DnsResolver, Resolver, TableResolver
from hsl.runtime.log import Log
from hsl.runtime.message import BytesBody
from hsl.runtime.model import Address, DeliveryPlan, QueueEntry, SourceIP
from hsl.smtpd.client import Deliverer
from hsl.smtpd.pool import PoolLimits
from hsl.smtpd.tls import ClientContexts
from hsl.values import Array, Value

pytestmark = pytest.mark.asyncio

SENDER, RECIPIENT = Address.of(b"s@from.example"), Address.of(b"r@to.example")
BODY = BytesBody(b"Subject: x\r\n\r\nbody\r\n")
HOST = "mx.to.example"
TABLE = TableResolver({HOST: ["127.0.0.1"]}, {"to.example": [HOST]})
QUICK = dict.fromkeys(
    ("banner", "helo", "starttls", "auth", "mail", "rcpt", "data", "dot"), 0.2
)  # seconds that the peer must not need
LOGIN = {"username": b"user", "password": b"secret"}


class Told(NamedTuple):
    """The classic variables, and what `attempt` says in the place of them."""

    errorcode: float
    errorndr: str
    errormsg: str
    state: str = ""  # of a result
    type: str = ""  # of an error
    temporary: bool = True
    dns: str = ""


async def told(port: int, resolver: Resolver = TABLE, contexts: ClientContexts | None = None, **plan: Any) -> Told:
    """Make an attempt, and read what a script would."""
    deliverer = Deliverer(
        resolver=resolver, hostname="gw.example", log=Log("critical"), limits=PoolLimits(idle=0), contexts=contexts,
        local_addresses=lambda ip, port: ip == "127.0.0.77",
    )  # fmt: skip
    entry = QueueEntry("t", SENDER, RECIPIENT, "out", id=1)
    async with asyncio.timeout(30):
        attempt = await deliverer.attempt(DeliveryPlan(SENDER, RECIPIENT, port=port, **plan), entry, BODY)
        await deliverer.close()
    context = PostDeliveryContext(entry, attempt, "QUEUE", 30)
    read = context.variable
    seen = get(read("arguments"), "attempt")
    result, error, connection = get(seen, "result"), get(seen, "error"), get(seen, "connection")
    assert (result is None) != (error is None)
    assert read("serverip") == get(connection, "remoteip")
    assert read("transfertime") == get(seen, "duration")
    assert 0 < get(seen, "duration") < 30
    assert get(result, "code") in (None, read("errorcode"))
    return Told(
        read("errorcode"), text(read("errorndr")), text(read("errormsg")),
        text(get(result, "state")), text(get(error, "type")), attempt.permanent is False, text(get(error, "dns")),
    )  # fmt: skip


def get(array: Any, key: str) -> Any:
    return array.get(key.encode()) if isinstance(array, Array) else None


def text(value: Value) -> str:
    return value.decode() if isinstance(value, bytes) else ""


# ------------------------------------------------------------ replies

STATES = ("BANNER", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "EOD")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(("code", "temporary"), [(450, True), (550, False)])
async def test_a_refused_command(state: str, code: int, temporary: bool) -> None:
    replies = {state: [f"{code}-{code // 100}.7.1 not\n{code} {code // 100}.7.1 now"]}
    replies["HELO"] = replies.get("EHLO", [])  # tried where EHLO is refused for good
    at = "HELO" if (state, code) == ("EHLO", 550) else state
    async with Peer(replies=replies).serve() as peer:
        seen = await told(peer.port, tls="disabled", **LOGIN)
    ndr = f"{code // 100}.7.1"
    ours = state.startswith("AUTH")  # not the mail is refused
    assert seen == Told(code, ndr, f"{ndr} not now", state=at, temporary=temporary or ours)


@pytest.mark.parametrize("code", [450, 550])
async def test_a_refused_starttls(code: int) -> None:
    async with Peer(context=server_context(), replies={"STARTTLS": [f"{code} no"]}).serve() as peer:
        seen = await told(peer.port, tls="require")
    assert seen == Told(code, "", "no", state="STARTTLS", temporary=code == 450)


@pytest.mark.parametrize("state", ["AUTH-LOGIN", "AUTH-LOGIN-USER", "AUTH-CRAM-MD5", "XCLIENT", "LHLO"])
async def test_a_refused_command_of_some_sessions(state: str) -> None:
    words = "AUTH CRAM-MD5" if state == "AUTH-CRAM-MD5" else "AUTH LOGIN"
    plan = {"XCLIENT": {"xclient": {"ADDR": "192.0.2.1"}}, "LHLO": {"protocol": "lmtp"}}.get(state, LOGIN)
    async with Peer(extensions=(words, "XCLIENT ADDR"), replies={state: ["554 5.5.0 no"]}).serve() as peer:
        seen = await told(peer.port, tls="disabled", **plan)
    assert seen == Told(554, "5.5.0", "5.5.0 no", state=state, temporary=state.startswith("AUTH"))


async def test_a_delivery() -> None:
    async with Peer().serve() as peer:
        assert await told(peer.port) == Told(250, "2.0.0", "2.0.0 Ok: queued as 1234", state="EOD")


# ------------------------------------------------------------ no reply

LOST = "connection lost"
LATE = "no progress in time"
UNKNOWN = " after the final dot; the remote may have taken the message"


@pytest.mark.parametrize("state", [*STATES, "STARTTLS"])
@pytest.mark.parametrize(("knob", "type_", "words"), [("drop", "disconnect", LOST), ("hang", "timeout", LATE)])
async def test_a_peer_that_is_gone_or_silent(state: str, knob: str, type_: str, words: str) -> None:
    secure = state == "STARTTLS"
    peer = Peer(drop=state, context=server_context()) if knob == "drop" else Peer(hang=state, context=server_context())
    timeouts = QUICK if knob == "hang" else {}
    async with peer.serve():
        seen = await told(peer.port, tls="require" if secure else "disabled", timeouts=timeouts, **LOGIN)
    assert seen == Told(0, "4.4.2", f"{state}: {words}{UNKNOWN if state == 'EOD' else ''}", type=type_)


async def test_a_peer_that_goes_within_the_body() -> None:
    async with Peer(drop="BODY").serve() as peer:
        seen = await told(peer.port, tls="disabled")
    assert (seen.errorcode, seen.type) == (0, "disconnect")


async def test_a_peer_that_speaks_no_smtp() -> None:
    async with Peer(replies={"MAIL": ["hello?"]}).serve() as peer:
        seen = await told(peer.port)
    assert seen == Told(0, "4.5.0", "MAIL: the remote's answer is not SMTP", type="protocol")


async def test_a_refused_connection() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        seen = await told(closed.getsockname()[1])
    assert seen == Told(0, "4.4.1", "connect: Connection refused", type="connect")


async def test_a_connection_that_does_not_come_about() -> None:
    with socket.socket() as listener, socket.socket() as first:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        first.connect(listener.getsockname())
        seen = await told(listener.getsockname()[1], connect_timeout=0.2)
    assert seen == Told(0, "4.4.1", "connect: no connection in time", type="timeout")


async def test_a_source_address_that_cannot_be_bound() -> None:
    seen = await told(1, source=SourceIP("192.0.2.77"))
    assert seen == Told(0, "4.3.5", "bind: source 192.0.2.77: Cannot assign requested address", type="bind")


# ------------------------------------------------------------ TLS

AUTHORITY = trustme.CA()


def server_context(name: str = HOST, *, authority: trustme.CA = AUTHORITY, days: int = 30) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ends = datetime.now(UTC) + timedelta(days=days)
    begins = ends - timedelta(days=60)
    authority.issue_cert(name, not_before=begins, not_after=ends).configure_cert(context)
    return context


@pytest.fixture
def contexts(tmp_path: Path) -> ClientContexts:
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return ClientContexts(str(tmp_path / "ca.pem"))


FAILED = "STARTTLS: TLS handshake failed "
HANDSHAKES = [
    ({"broken_tls": True}, "require", FAILED),
    (
        {"context": server_context("other.example")},
        "require_verify",
        FAILED + f"(certificate of {HOST}: Hostname mismatch, certificate is not valid for '{HOST}'.)",
    ),
    (
        {"context": server_context(days=-1)},
        "require_verify",
        FAILED + f"(certificate of {HOST}: certificate has expired)",
    ),
    (
        {"context": server_context(authority=trustme.CA())},
        "optional_verify",
        FAILED + f"(certificate of {HOST}: unable to get local issuer certificate)",
    ),
]


@pytest.mark.parametrize(("knobs", "mode", "message"), HANDSHAKES, ids=["broken", "name", "expired", "authority"])
async def test_a_failed_handshake(knobs: dict[str, Any], mode: str, message: str, contexts: ClientContexts) -> None:
    async with Peer(**knobs).serve() as peer:
        seen = await told(peer.port, contexts=contexts, tls=mode)
    assert seen._replace(errormsg="") == Told(0, "4.7.5", "", type="tls")
    assert seen.errormsg.startswith(message)  # of one that breaks, as much as there is to know
    assert not peer.messages


@pytest.mark.parametrize("knobs", [item[0] for item in HANDSHAKES], ids=["broken", "name", "expired", "authority"])
async def test_the_same_where_tls_is_optional(knobs: dict[str, Any], contexts: ClientContexts) -> None:
    async with Peer(**knobs).serve() as peer:
        seen = await told(peer.port, contexts=contexts, tls="optional")
    assert (seen.errorcode, seen.state) == (250, "EOD")
    assert len(peer.sessions) == (2 if "broken_tls" in knobs else 1)  # plain, after a handshake that failed


async def test_tls_that_is_not_offered() -> None:
    async with Peer().serve() as peer:
        seen = await told(peer.port, tls="require")
    assert seen == Told(0, "4.7.4", "STARTTLS: TLS is required and was not offered", type="tls")


# ------------------------------------------------------------ DNS


@asynccontextmanager
async def resolving(**records: list[str]) -> AsyncIterator[Resolver]:
    """A resolver over a server with this zone, of to.example and its mail host."""
    names = {"MX": "to.example", "A": HOST, "AAAA": HOST, "NS": "to.example"}
    zone = {(names[kind], kind): found for kind, found in records.items()}
    async with dns_server(zone) as server:
        yield DnsResolver(["127.0.0.1"], server.port, timeout=0.5)


MX = ["10 " + HOST + "."]
DNS_FAILURES = [
    ({}, Told(0, "5.1.2", "domain to.example does not exist", type="dns", temporary=False, dns="NXDOMAIN")),
    (
        {"MX": ["0 ."]},
        Told(0, "5.1.10", "domain to.example takes no mail (null MX)", type="dns", temporary=False, dns="NULLMX"),
    ),
    ({"MX": ["SERVFAIL"]}, Told(0, "4.4.3", "", type="dns", dns="SERVFAIL")),
    ({"MX": ["SILENT"]}, Told(0, "4.4.3", "", type="dns", dns="TIMEOUT")),
    ({"MX": MX}, Told(0, "4.4.4", "", type="dns", dns="NODATA")),
    ({"MX": MX, "A": ["SERVFAIL"], "AAAA": ["SERVFAIL"]}, Told(0, "4.4.3", "", type="dns", dns="SERVFAIL")),
    ({"NS": ["ns.to.example."]}, Told(0, "4.4.4", "", type="dns", dns="NODATA")),
    (
        {"MX": MX, "A": ["127.0.0.77"]},
        Told(0, "5.4.6", f"mail host {HOST} is this server: the mail would loop", type="dns", temporary=False),
    ),
]


@pytest.mark.parametrize(("zone", "wanted"), DNS_FAILURES, ids=[
    "nxdomain", "null mx", "servfail", "timeout", "host without address", "host servfail", "no record at all", "loop",
])  # fmt: skip
async def test_a_domain_without_a_way(zone: dict[str, list[str]], wanted: Told) -> None:
    async with resolving(**zone) as resolver:
        seen = await told(25, resolver)
    exact = wanted.errormsg != ""
    assert seen._replace(errormsg=seen.errormsg if exact else "") == wanted
    assert "example" in seen.errormsg


async def test_a_domain_without_mx_is_its_own_mail_host() -> None:
    async with Peer().serve() as peer, dns_server({("to.example", "A"): ["127.0.0.1"]}) as server:
        seen = await told(peer.port, DnsResolver(["127.0.0.1"], server.port, timeout=0.5))
    assert (seen.errorcode, seen.state) == (250, "EOD")
