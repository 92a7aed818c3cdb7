"""Delivery attempts against a scripted peer on real loopback sockets."""

from __future__ import annotations

import asyncio
import re
import resource
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop
from smtp_peer import EXTENSIONS, Peer

from hsl.runtime.dns import TableResolver
from hsl.runtime.log import Log
from hsl.runtime.model import Address, Attempt, DeliveryPlan, QueueEntry, SourceIP
from hsl.smtpd import client as client_module
from hsl.smtpd.client import Deliverer
from hsl.smtpd.dialogue import Dialogue, Timeouts, stuffed
from hsl.smtpd.pool import PoolLimits
from hsl.smtpd.tls import ClientContexts

SENDER = Address(b"sender", b"from.example")
RECIPIENT = Address(b"rcpt", b"to.example")
TEXT = b"Subject: x\r\n\r\nhello\r\n"
DEADLINE = 20.0


class Bytes:
    """A body in memory, in pieces of `step` bytes."""

    def __init__(self, data: bytes, step: int = 65536) -> None:
        self.data, self.step = data, step

    @property
    def size(self) -> int:
        return len(self.data)

    def chunks(self) -> Iterator[bytes]:
        return (self.data[start : start + self.step] for start in range(0, len(self.data), self.step))


class Client:
    """A Deliverer with everything at hand, and short ways to use it."""

    def __init__(self, **knobs: object) -> None:
        self.lines: list[str] = []
        hosts = knobs.pop("hosts", {"mx.to.example": ["127.0.0.1"]})
        mx = knobs.pop("mx", {"to.example": ["mx.to.example"]})
        knobs.setdefault("limits", PoolLimits(idle=0))
        self.deliverer = Deliverer(
            resolver=TableResolver(hosts, mx),  # type: ignore[arg-type]
            hostname="gateway.example",
            log=Log("debug", self.lines.append),
            **knobs,  # type: ignore[arg-type]
        )

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        async with asyncio.timeout(DEADLINE):
            await self.deliverer.close()

    async def send(self, port: int, body: bytes = TEXT, **plan: object) -> Attempt:
        eightbit = not body.isascii()
        entry = QueueEntry("t", SENDER, RECIPIENT, "default", eightbit=eightbit, smtputf8=bool(plan.pop("utf8", False)))
        plan.setdefault("sender", SENDER)
        plan.setdefault("recipient", RECIPIENT)
        async with asyncio.timeout(DEADLINE):
            return await self.deliverer.attempt(DeliveryPlan(port=port, **plan), entry, Bytes(body))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mx.to.example").configure_cert(context)
    return context


@pytest.fixture
def trusting(authority: trustme.CA, tmp_path: Path) -> ClientContexts:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return ClientContexts(str(tmp_path / "ca.pem"))


def outcome(attempt: Attempt) -> tuple[object, ...]:
    """The part of an attempt that tables compare."""
    if attempt.result is not None:
        return (attempt.result.code, attempt.result.state)
    assert attempt.error is not None
    return (attempt.error.kind, attempt.error.temporary, attempt.error.enhanced)


@pytest.mark.asyncio
async def test_a_delivery_by_mx() -> None:
    async with Peer().serve() as peer, Client() as client:
        attempt = await client.send(peer.port)
    assert attempt.delivered
    assert attempt.error is None
    assert attempt.result is not None
    assert (attempt.result.code, attempt.result.enhanced, attempt.result.state) == (250, (2, 0, 0), "EOD")
    assert attempt.result.lines == ["Ok: queued as 1234"]
    assert (attempt.remotemx, attempt.remoteip, attempt.remoteport) == ("mx.to.example", "127.0.0.1", peer.port)
    assert (attempt.localip, attempt.helo, attempt.tls) == ("127.0.0.1", "gateway.example", None)
    assert attempt.duration > 0
    assert peer.commands == [
        b"EHLO gateway.example",
        b"MAIL FROM:<sender@from.example> SIZE=21",
        b"RCPT TO:<rcpt@to.example>",
        b"DATA",
        b"QUIT",
    ]
    assert peer.messages[0].data == TEXT


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "path",
    [b"a:b@c.d", b"Weird.CASE+tag@Example.ORG", b'"a b>c"@d.e', b"x=y?z@d.e", b"(c)x@d.e", b"a,b@d.e", b"postmaster"],
)
async def test_addresses_arrive_byte_for_byte(path: bytes) -> None:
    async with Peer().serve() as peer, Client() as client:
        attempt = await client.send(peer.port, sender=Address.of(path), recipient=Address.of(path), host="127.0.0.1")
    assert attempt.delivered
    assert peer.commands[1].startswith(b"MAIL FROM:<" + path + b"> ")
    assert peer.commands[2] == b"RCPT TO:<" + path + b">"


@pytest.mark.asyncio
async def test_the_null_sender_and_changed_addresses() -> None:
    async with Peer().serve() as peer, Client() as client:
        await client.send(peer.port, sender=Address(b"", b""))
    assert peer.commands[1].startswith(b"MAIL FROM:<> ")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "bad",
    [
        {"recipient": Address(b"a\r\nRSET", b"b.c")},
        {"recipient": Address(b"a", b"b.c\nDATA")},
        {"sender": Address(b"a\rb", b"b.c")},
        {"recipient": Address(b"a> SIZE=1 <b", b"c.d")},
        {"recipient": Address(b"a b", b"c.d")},
        {"recipient": Address(b'"a', b"c.d")},
        {"recipient": Address(b"", b"")},
        {"helo": "two words"},
        {"helo": "x\r\nRSET"},
        {"tls": "maybe"},
        {"protocol": "uucp"},
    ],
)
async def test_what_cannot_be_sent_fails_for_good_and_opens_nothing(bad: dict[str, Any]) -> None:
    async with Peer().serve() as peer, Client() as client:
        attempt = await client.send(peer.port, **bad)
    assert attempt.error is not None
    assert attempt.permanent
    assert re.search(r"cannot be sent|not supported|empty", attempt.error.message)
    assert peer.sessions == []


@pytest.mark.asyncio
async def test_a_source_address_takes_no_port_before_it_connects() -> None:
    """Else 28,000 connections to all hosts together would be the most of one address."""
    async with Client() as client:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            client.deliverer.bind(sock, SourceIP("127.0.0.5"))
            assert sock.getsockname() == ("127.0.0.5", 0)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("helo", "source", "wanted"),
    [
        (None, None, b"gateway.example"),
        (None, SourceIP("127.0.0.5", helo="five.example"), b"five.example"),
        ("plan.example", SourceIP("127.0.0.5", helo="five.example"), b"plan.example"),
        (None, SourceIP("127.0.0.5"), b"gateway.example"),
    ],
)
async def test_source_address_and_helo_name(helo: str | None, source: SourceIP | None, wanted: bytes) -> None:
    async with Peer().serve() as peer, Client() as client:
        attempt = await client.send(peer.port, helo=helo, source=source)
    assert attempt.delivered
    assert peer.commands[0] == b"EHLO " + wanted
    assert attempt.helo == wanted.decode()
    assert peer.sessions[0].ip == attempt.localip == (source.address if source else "127.0.0.1")


REFUSALS: list[tuple[dict[str, list[str]], tuple[object, ...]]] = [
    ({"BANNER": ["554 5.7.1 no"]}, (554, "BANNER")),
    ({"BANNER": ["421 4.3.2 busy"]}, (421, "BANNER")),
    ({"EHLO": ["450 4.7.1 later"]}, (450, "EHLO")),
    ({"EHLO": ["502 what"], "HELO": ["550 no"]}, (550, "HELO")),
    ({"MAIL": ["451 4.7.1 grey"]}, (451, "MAIL")),
    ({"MAIL": ["550 5.7.1 no"]}, (550, "MAIL")),
    ({"RCPT": ["450 4.2.1 later"]}, (450, "RCPT")),
    ({"RCPT": ["550 5.1.1 unknown"]}, (550, "RCPT")),
    ({"RCPT": ["421 4.3.2 closing"]}, (421, "RCPT")),
    ({"DATA": ["451 4.3.0 no"]}, (451, "DATA")),
    ({"DATA": ["554 5.5.1 no valid recipients"]}, (554, "DATA")),
    ({"EOD": ["450 4.3.0 later"]}, (450, "EOD")),
    ({"EOD": ["554 5.7.1 spam"]}, (554, "EOD")),
    ({"EOD": ["421 4.3.2 closing"]}, (421, "EOD")),
    ({"MAIL": ["252 perhaps"]}, ("protocol", True, (4, 5, 0))),
    ({"RCPT": ["252 perhaps"]}, ("protocol", True, (4, 5, 0))),
    ({"DATA": ["250 done"]}, ("protocol", True, (4, 5, 0))),
    ({"EOD": ["354 more"]}, ("protocol", True, (4, 5, 0))),
    ({"BANNER": ["hello, this is no SMTP"]}, ("protocol", True, (4, 5, 0))),
    ({"MAIL": ["what?"]}, ("protocol", True, (4, 5, 0))),
    ({"EOD": ["what?"]}, ("protocol", True, (4, 5, 0))),
    ({"MAIL": ["999 what"]}, ("protocol", True, (4, 5, 0))),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("replies", "wanted"), REFUSALS, ids=lambda item: str(item)[:40])
async def test_a_refusal_names_its_state(replies: dict[str, list[str]], wanted: tuple[object, ...]) -> None:
    async with Peer(replies=replies).serve() as peer, Client() as client:
        attempt = await client.send(peer.port)
    assert outcome(attempt) == wanted
    assert not attempt.delivered
    assert attempt.remoteip == attempt.localip == "127.0.0.1"


@pytest.mark.asyncio
@pytest.mark.parametrize("code", ["250", "251"])
async def test_forwarded_recipients_count(code: str) -> None:
    async with Peer(replies={"RCPT": [f"{code} forwarded"]}).serve() as peer, Client() as client:
        assert (await client.send(peer.port)).delivered


@pytest.mark.asyncio
async def test_helo_when_ehlo_is_unknown() -> None:
    async with Peer(replies={"EHLO": ["500 what"]}).serve() as peer, Client() as client:
        assert (await client.send(peer.port)).delivered
    assert peer.commands[:3] == [b"EHLO gateway.example", b"HELO gateway.example", b"MAIL FROM:<sender@from.example>"]


STATES = ("BANNER", "EHLO", "MAIL", "RCPT", "DATA", "EOD")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("knob", "state", "kind"),
    [("drop", state, "disconnect") for state in (*STATES, "BODY")] + [("hang", state, "timeout") for state in STATES],
)
async def test_lost_and_silent_connections(knob: str, state: str, kind: str) -> None:
    quick = Timeouts(banner=0.1, helo=0.1, mail=0.1, rcpt=0.1, data=0.1, dot=0.1)
    timeouts = quick if knob == "hang" else Timeouts()
    body = b"x" * 70 + b"\r\n"
    peer = Peer(drop=state) if knob == "drop" else Peer(hang=state)
    async with peer.serve(), Client(timeouts=timeouts) as client:
        attempt = await client.send(peer.port, body * 60_000 if state == "BODY" else body)
    assert outcome(attempt) == (kind, True, (4, 4, 2))
    assert attempt.error is not None
    assert attempt.error.message.startswith("DATA:" if state == "BODY" else f"{state}:")
    assert ("after the final dot" in attempt.error.message) == (state == "EOD")


TWO = {"hosts": {"one": ["127.0.0.1"], "two": ["127.0.0.2"]}, "mx": {"to.example": ["one", "two"]}}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("knobs", "second_tried", "wanted"),
    [
        ({"replies": {"BANNER": ["554 no"]}}, True, (250, "EOD")),
        ({"replies": {"BANNER": ["450 no"]}}, True, (250, "EOD")),
        ({"replies": {"EHLO": ["421 busy"]}}, True, (250, "EOD")),
        ({"replies": {"EHLO": ["550 no"], "HELO": ["550 no"]}}, True, (250, "EOD")),
        ({"replies": {"RCPT": ["421 closing"]}}, True, (250, "EOD")),
        ({"drop": "BANNER"}, True, (250, "EOD")),
        ({"drop": "DATA"}, True, (250, "EOD")),
        ({"replies": {"MAIL": ["550 no"]}}, False, (550, "MAIL")),
        ({"replies": {"RCPT": ["450 grey"]}}, False, (450, "RCPT")),
        ({"replies": {"DATA": ["554 no"]}}, False, (554, "DATA")),
        ({"replies": {"EOD": ["421 closing"]}}, False, (421, "EOD")),
        ({"replies": {"EOD": ["450 later"]}}, False, (450, "EOD")),
        ({"drop": "EOD"}, False, ("disconnect", True, (4, 4, 2))),
        ({"extensions": ()}, False, ("protocol", False, (5, 6, 3))),
    ],
)
async def test_when_the_next_mail_host_is_tried(
    knobs: dict[str, object], second_tried: bool, wanted: tuple[object, ...]
) -> None:
    first, second = Peer(**knobs), Peer()  # type: ignore[arg-type]
    async with first.serve(), second.serve("127.0.0.2", first.port), Client(**TWO) as client:
        attempt = await client.send(first.port, "X: blå\r\n".encode())
    assert bool(second.sessions) == second_tried
    assert outcome(attempt) == wanted
    assert attempt.remotemx == ("two" if second_tried else "one")


@pytest.mark.asyncio
async def test_a_refused_connection_and_a_dead_name_are_passed_by() -> None:
    hosts = {"one": ["127.0.0.9", "127.0.0.1"]}
    async with Peer().serve() as peer, Client(hosts=hosts, mx={"to.example": ["dead", "one"]}) as client:
        attempt = await client.send(peer.port)
    assert attempt.delivered
    assert attempt.remoteip == "127.0.0.1"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("replies", "wanted"), [(["554 a", "450 b"], (450, "BANNER")), (["450 b", "554 a"], (450, "BANNER"))]
)
async def test_a_temporary_failure_outranks_a_permanent_one(replies: list[str], wanted: tuple[object, ...]) -> None:
    hosts, mx = {"one": ["127.0.0.1"], "two": ["127.0.0.1"]}, {"to.example": ["one", "two"]}
    async with Peer(replies={"BANNER": replies}).serve() as peer, Client(hosts=hosts, mx=mx) as client:
        assert outcome(await client.send(peer.port)) == wanted


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("mx", "plan", "wanted"),
    [
        ({}, {}, ("dns", False, (5, 1, 2))),
        ({"to.example": ["."]}, {}, ("dns", False, (5, 1, 10))),
        ({"to.example": ["dead"]}, {}, ("dns", True, (4, 4, 4))),
        ({}, {"host": "dead"}, ("dns", True, (4, 4, 4))),
        ({}, {"recipient": Address(b"postmaster", b"")}, ("dns", False, (5, 1, 3))),
        ({}, {"recipient": Address(b"a", b"[1.2.3]")}, ("dns", False, (5, 1, 3))),
        ({}, {"host": "127.0.0.1", "source": SourceIP("::1")}, ("bind", True, (4, 4, 4))),
        ({}, {"host": "::1", "source": SourceIP("127.0.0.5")}, ("bind", True, (4, 4, 4))),
        ({}, {"host": "127.0.0.1", "source": SourceIP("192.0.2.77")}, ("bind", True, (4, 3, 5))),
        ({}, {"host": "127.0.0.9"}, ("connect", True, (4, 4, 1))),
    ],
)
async def test_failures_without_a_connection(
    mx: dict[str, list[str]], plan: dict[str, Any], wanted: tuple[object, ...]
) -> None:
    async with Peer().serve() as peer, Client(mx=mx) as client:
        attempt = await client.send(peer.port, **plan)
    assert outcome(attempt) == wanted
    assert peer.sessions == []
    if wanted[2] == (4, 3, 5):
        assert any("warning bind-failed address=192.0.2.77" in line for line in client.lines)
    if wanted[0] == "dns":
        assert attempt.remoteip == ""


@pytest.mark.asyncio
async def test_no_descriptor_left_is_our_own_affair() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with Peer().serve() as peer, Client(**TWO) as client:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            attempt = await client.send(peer.port)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert outcome(attempt) == ("bind", True, (4, 3, 0))
        assert attempt.error is not None
        assert "Too many open files" in attempt.error.message
        assert (await client.send(peer.port)).delivered


@pytest.mark.asyncio
async def test_a_family_that_this_machine_lacks_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = 60  # a family that no kernel has
    monkeypatch.setattr(client_module, "family_of", lambda ip: unknown if ":" in ip else socket.AF_INET)
    async with Peer().serve() as peer, Client(hosts={"mx.to.example": ["::1", "127.0.0.1"]}) as client:
        attempt = await client.send(peer.port)
    assert attempt.delivered


@pytest.mark.asyncio
async def test_addresses_of_the_other_family_are_skipped() -> None:
    hosts = {"mx.to.example": ["::1", "127.0.0.1"]}
    async with Peer().serve() as peer, Client(hosts=hosts) as client:
        attempt = await client.send(peer.port, source=SourceIP("127.0.0.5"))
    assert attempt.delivered
    assert attempt.remoteip == "127.0.0.1"


@pytest.mark.asyncio
async def test_a_nonlocal_source_may_be_bound_when_asked_for() -> None:
    async with Client() as client:
        sock = socket.socket()
        with sock:
            client.deliverer.bind(sock, SourceIP("192.0.2.77", nonlocal_source=True))
            assert sock.getsockname()[0] == "192.0.2.77"


@pytest.mark.asyncio
async def test_a_mail_host_that_is_ourselves() -> None:
    def ours(ip: str, port: int) -> bool:
        return ip == "127.0.0.2"

    async with Peer().serve() as peer:
        async with Client(**{**TWO, "mx": {"to.example": ["two", "one"]}}, local_addresses=ours) as client:
            assert outcome(await client.send(peer.port)) == ("dns", False, (5, 4, 6))
        assert peer.sessions == []
        peer.replies["BANNER"] = ["450 later"]
        async with Client(**TWO, local_addresses=ours) as client:
            assert outcome(await client.send(peer.port)) == (450, "BANNER")


@pytest.mark.asyncio
async def test_an_address_literal_is_its_own_mail_host() -> None:
    async with Peer().serve() as peer, Client() as client:
        assert (await client.send(peer.port, recipient=Address(b"a", b"[127.0.0.1]"))).delivered


@pytest.mark.asyncio
async def test_a_listener_that_never_accepts() -> None:
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        dead.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(dead.getsockname())
        async with Client() as client:
            attempt = await client.send(dead.getsockname()[1], connect_timeout=0.2)
        for filler in fillers:
            filler.close()
    assert outcome(attempt) == ("timeout", True, (4, 4, 1))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("body", "extensions", "plan", "params", "wanted"),
    [
        (b"7bit\r\n", EXTENSIONS, {}, b" SIZE=6", (250, "EOD")),
        (b"7bit\r\n", (), {}, b"", (250, "EOD")),
        (b"\xe5\r\n", EXTENSIONS, {}, b" SIZE=3 BODY=8BITMIME", (250, "EOD")),
        (b"X: \xe5\r\n", ("SIZE",), {}, None, ("protocol", False, (5, 6, 3))),
        (b"X: y\r\n\r\n\xe5\r\n", ("SIZE",), {}, b" SIZE=114", (250, "EOD")),
        (b"X: y\r\n\r\n\xe5\r\n", ("8BITMIME",), {"utf8": True}, b" BODY=8BITMIME", (250, "EOD")),
        (b"X: y\r\n\r\n\xe5\r\n", (), {"utf8": True}, b"", (250, "EOD")),
        (b"X: \xe5\r\n", (), {"utf8": True}, None, ("protocol", False, (5, 6, 7))),
        (b"x\r\n", ("8BITMIME", "SMTPUTF8"), {"utf8": True}, b" SMTPUTF8", (250, "EOD")),
        (b"x\r\n", ("8BITMIME",), {"utf8": True}, b"", (250, "EOD")),
        (b"\xe5\r\n", ("8BITMIME",), {"utf8": True}, None, ("protocol", False, (5, 6, 7))),
        (b"x\r\n", ("SMTPUTF8",), {"sender": Address("å".encode(), b"x.y")}, b" SMTPUTF8", (250, "EOD")),
        (b"x\r\n", ("8BITMIME",), {"sender": Address("å".encode(), b"x.y")}, None, ("protocol", False, (5, 6, 7))),
    ],
)
async def test_mail_parameters(
    body: bytes, extensions: Sequence[str], plan: dict[str, Any], params: bytes | None, wanted: tuple[object, ...]
) -> None:
    async with Peer(extensions=tuple(extensions)).serve() as peer, Client() as client:
        attempt = await client.send(peer.port, body, **plan)
    assert outcome(attempt) == wanted
    mails = [command for command in peer.commands if command.startswith(b"MAIL")]
    assert [mail.partition(b">")[2] for mail in mails] == ([] if params is None else [params])


BODIES = {
    "empty": b"",
    "dots": b".\r\n..\r\n.a\r\na.b\r\n\r\n.\r\n",
    "no newline at the end": b"abc",
    "dot without newline": b".",
    "a megabyte": (b"." + b"x" * 77 + b"\r\n") * 13_200,
    "every octet": bytes(range(1, 256)).replace(b"\r", b"").replace(b"\n", b"") + b"\r\n",
}


@pytest.mark.asyncio
@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("tls", ["disabled", "require"])
async def test_bodies_arrive_unchanged(name: str, tls: str, server_context: ssl.SSLContext) -> None:
    body = BODIES[name]
    async with Peer(context=server_context).serve() as peer, Client() as client:
        attempt = await client.send(peer.port, body, tls=tls)
    assert attempt.delivered
    end = b"" if body.endswith(b"\r\n") or not body else b"\r\n"
    assert peer.messages[0].data == body + end


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b"", b""),
        (b"a", b"a\r\n"),
        (b".", b"..\r\n"),
        (b"a\r\n.\r\n", b"a\r\n..\r\n"),
        (b"a\n.\nMAIL", b"a\r\n..\r\nMAIL\r\n"),
        (b"a\r.\rb", b"a\r\n..\r\nb\r\n"),
        (b"a\r", b"a\r\n"),
        (b"a\r\r\n", b"a\r\n\r\n"),
        (b"a\n\r\n", b"a\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("step", [1, 2, 3, 65536])
async def test_dot_stuffing_at_every_seam(body: bytes, wanted: bytes, step: int) -> None:
    assert b"".join(stuffed(Bytes(body, step).chunks())) == wanted


def run(loop: str, scenario: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run it on this kind of event loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else None) as runner:
        runner.run(scenario())


LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
PLAIN_AND_TLS = pytest.mark.parametrize("tls", ["disabled", "require"])
LARGE = b"x" * 78 + b"\r\n" + b"y\r\n" * 8_000_000


@LOOPS
@PLAIN_AND_TLS
def test_a_body_that_times_out_never_gets_its_dot(loop: str, tls: str, server_context: ssl.SSLContext) -> None:
    """A reader that stalls, and goes on when we have given up, finds a cut message."""

    async def scenario() -> None:
        peer = Peer(context=server_context, stall=100_000)
        async with peer.serve(), Client(timeouts=Timeouts(block=0.3)) as client:
            attempt = await client.send(peer.port, LARGE, tls=tls)
            assert peer.stalled.is_set()
            peer.resume.set()
            async with asyncio.timeout(DEADLINE):
                await peer.ended.wait()
        assert outcome(attempt) == ("timeout", True, (4, 4, 2))
        assert attempt.error is not None
        assert attempt.error.message.startswith("DATA:")
        assert peer.messages == []
        assert not peer.sessions[0].partial.endswith(b"\r\n.\r\n")

    run(loop, scenario)


@LOOPS
@PLAIN_AND_TLS
def test_a_slow_reader_gets_all_of_it(loop: str, tls: str, server_context: ssl.SSLContext) -> None:
    async def scenario() -> None:
        peer = Peer(context=server_context, stall=100_000)
        async with peer.serve(), Client() as client:
            sending = asyncio.ensure_future(client.send(peer.port, LARGE, tls=tls))
            async with asyncio.timeout(DEADLINE):
                await peer.stalled.wait()
                await asyncio.sleep(0.1)
                peer.resume.set()
                attempt = await sending
        assert attempt.delivered
        assert peer.messages[0].data == LARGE

    run(loop, scenario)


@pytest.mark.asyncio
async def test_the_dot_waits_for_what_is_buffered_below_tls(
    server_context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The TLS layer has handed everything on, the TCP transport has not."""

    class Clogged:
        def __init__(self, transport: asyncio.Transport) -> None:
            self.transport = transport

        def get_write_buffer_size(self) -> int:
            return 1

        def abort(self) -> None:
            self.transport.abort()

    secure = Dialogue.secure

    async def secure_then_clog(self: Dialogue, *arguments: Any) -> None:
        await secure(self, *arguments)
        self.plain = Clogged(self.plain)  # type: ignore[assignment]

    monkeypatch.setattr(Dialogue, "secure", secure_then_clog)
    peer = Peer(context=server_context)
    async with peer.serve(), Client(timeouts=Timeouts(block=0.1)) as client:
        attempt = await client.send(peer.port, tls="require")
        async with asyncio.timeout(DEADLINE):
            await peer.ended.wait()
    assert outcome(attempt) == ("timeout", True, (4, 4, 2))
    assert peer.messages == []
    assert peer.sessions[0].partial == TEXT


@LOOPS
@pytest.mark.parametrize(
    ("early", "wanted"),
    [
        ("552 5.3.4 too big", (552, "DATA")),
        ("421 4.3.2 closing", (421, "DATA")),
        ("250 2.0.0 thanks", ("protocol", True, (4, 5, 0))),
    ],
)
def test_a_reply_before_the_dot_is_no_acceptance(loop: str, early: str, wanted: tuple[object, ...]) -> None:
    async def scenario() -> None:
        peer = Peer(early=early)
        async with peer.serve(), Client() as client:
            attempt = await client.send(peer.port, LARGE)
        assert outcome(attempt) == wanted
        assert peer.messages == []

    run(loop, scenario)


@LOOPS
@PLAIN_AND_TLS
@pytest.mark.parametrize("state", ["MAIL", "EOD"])
def test_a_cancelled_attempt_closes_its_connection(
    loop: str, tls: str, state: str, server_context: ssl.SSLContext
) -> None:
    async def scenario() -> None:
        peer = Peer(context=server_context, hang=state)
        async with peer.serve(), Client(limits=PoolLimits()) as client:
            sending = asyncio.ensure_future(client.send(peer.port, tls=tls))
            async with asyncio.timeout(DEADLINE):
                while not any(command.startswith(b"MAIL") for command in peer.commands):
                    await asyncio.sleep(0.01)
                sending.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await sending
                await peer.ended.wait()
            assert not client.deliverer.pool.idle

    run(loop, scenario)


OFFERED, NOT_OFFERED, BROKEN = "offered", "not offered", "broken"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("mode", "server", "name", "wanted", "encrypted"),
    [
        ("disabled", OFFERED, "mx.to.example", (250, "EOD"), False),
        ("optional", OFFERED, "mx.to.example", (250, "EOD"), True),
        ("optional", OFFERED, "other.example", (250, "EOD"), True),
        ("optional", NOT_OFFERED, "mx.to.example", (250, "EOD"), False),
        ("optional", BROKEN, "mx.to.example", (250, "EOD"), False),
        ("optional_verify", OFFERED, "mx.to.example", (250, "EOD"), True),
        ("optional_verify", OFFERED, "other.example", ("tls", True, (4, 7, 5)), False),
        ("optional_verify", NOT_OFFERED, "mx.to.example", (250, "EOD"), False),
        ("optional_verify", BROKEN, "mx.to.example", ("tls", True, (4, 7, 5)), False),
        ("require", OFFERED, "other.example", (250, "EOD"), True),
        ("require", NOT_OFFERED, "mx.to.example", ("tls", True, (4, 7, 4)), False),
        ("require", BROKEN, "mx.to.example", ("tls", True, (4, 7, 5)), False),
        ("require_verify", OFFERED, "mx.to.example", (250, "EOD"), True),
        ("require_verify", OFFERED, "other.example", ("tls", True, (4, 7, 5)), False),
        ("require_verify", NOT_OFFERED, "mx.to.example", ("tls", True, (4, 7, 4)), False),
    ],
)
async def test_tls_modes(
    mode: str,
    server: str,
    name: str,
    wanted: tuple[object, ...],
    encrypted: bool,
    server_context: ssl.SSLContext,
    trusting: ClientContexts,
) -> None:
    peer = Peer(context=server_context if server == OFFERED else None, broken_tls=server == BROKEN)
    async with peer.serve(), Client(contexts=trusting, hosts={name: ["127.0.0.1"]}) as client:
        attempt = await client.send(peer.port, tls=mode, host=name)
    assert outcome(attempt) == wanted
    assert [session.tls for session in peer.sessions if b"DATA" in session.commands] == (
        [encrypted] if attempt.delivered else []
    )
    if encrypted:
        assert attempt.tls is not None
        assert attempt.tls.protocol.startswith("TLSv1.")
        assert attempt.tls.keysize >= 128
        assert peer.sessions[0].commands.count(b"EHLO gateway.example") == 2
    else:
        assert attempt.tls is None


@pytest.mark.asyncio
async def test_an_unknown_authority_is_not_trusted(server_context: ssl.SSLContext) -> None:
    async with Peer(context=server_context).serve() as peer, Client() as client:
        attempt = await client.send(peer.port, tls="require_verify")
    assert outcome(attempt) == ("tls", True, (4, 7, 5))
    assert attempt.error is not None
    assert "certificate of mx.to.example" in attempt.error.message


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("mode", "wanted"),
    [("optional", (250, "EOD")), ("optional_verify", (454, "STARTTLS")), ("require", (454, "STARTTLS"))],
)
async def test_a_refused_starttls(mode: str, wanted: tuple[object, ...], server_context: ssl.SSLContext) -> None:
    peer = Peer(context=server_context, replies={"STARTTLS": ["454 4.7.0 not now"]})
    async with peer.serve(), Client() as client:
        assert outcome(await client.send(peer.port, tls=mode)) == wanted


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("extensions", "password", "replies", "wanted"),
    [
        (("AUTH PLAIN LOGIN",), b"secret", {}, (250, "EOD")),
        (("AUTH LOGIN",), b"secret", {}, (250, "EOD")),
        (("AUTH=LOGIN",), b"secret", {}, (250, "EOD")),
        (("AUTH PLAIN",), b"wrong-secret", {}, (535, "AUTH")),
        (("AUTH LOGIN",), b"wrong-secret", {}, (535, "AUTH")),
        (("AUTH LOGIN",), b"secret", {"AUTH-LOGIN": ["504 no"]}, (504, "AUTH-LOGIN")),
        (("AUTH LOGIN",), b"secret", {"AUTH-LOGIN-USER": ["535 no"]}, (535, "AUTH-LOGIN-USER")),
        (("AUTH CRAM-MD5",), b"secret", {}, (250, "EOD")),
        (("AUTH PLAIN CRAM-MD5",), b"secret", {"AUTH-CRAM-MD5": ["504 no"]}, (504, "AUTH-CRAM-MD5")),
        (("AUTH CRAM-MD5",), b"wrong-secret", {}, (535, "AUTH")),
        (("AUTH CRAM-MD5",), b"secret", {"AUTH-CRAM-MD5": ["334 ?!"]}, ("protocol", True, (4, 5, 0))),
        (("AUTH GSSAPI",), b"secret", {}, ("protocol", True, (4, 7, 0))),
        ((), b"secret", {}, ("protocol", True, (4, 7, 0))),
    ],
)
async def test_auth(
    extensions: tuple[str, ...],
    password: bytes,
    replies: dict[str, list[str]],
    wanted: tuple[object, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    async with Peer(extensions=extensions, replies=replies).serve() as peer, Client() as client:
        attempt = await client.send(peer.port, username=b"user", password=password)
        shown = repr(client.deliverer.pool.by_key) + repr(attempt)
    assert outcome(attempt) == wanted
    assert not attempt.permanent, "our login was refused, not the mail"
    logged = shown + caplog.text + "".join(client.lines)
    for secret in (b"secret", b"c2VjcmV0", b"AHVzZXIAc2VjcmV0"):
        assert secret.decode() not in logged


@pytest.mark.asyncio
async def test_credentials_never_fall_back_to_a_plain_connection() -> None:
    async with Peer(broken_tls=True).serve() as peer, Client() as client:
        attempt = await client.send(peer.port, username=b"user", password=b"secret")
    assert outcome(attempt) == ("tls", True, (4, 7, 5))
    assert not any(command.startswith(b"AUTH") for command in peer.commands)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("text", "enhanced", "lines"),
    [
        ("550 5.1.1 no such user", (5, 1, 1), ["no such user"]),
        ("550 4.1.1 wrong class", None, ["4.1.1 wrong class"]),
        ("550 no code", None, ["no code"]),
        ("550 5.1.1", (5, 1, 1), [""]),
        ("550 5.1.10.2 no", None, ["5.1.10.2 no"]),
        ("550 5.7.1 one\n550 5.7.1 two\n550 three", (5, 7, 1), ["one", "two", "three"]),
        ("550 caf\udce9 \xe5", None, ["caf\\xe9 \xe5"]),
    ],
)
async def test_reply_text(text: str, enhanced: tuple[int, int, int] | None, lines: list[str]) -> None:
    async with Peer(replies={"RCPT": [text]}).serve() as peer, Client() as client:
        attempt = await client.send(peer.port)
    assert attempt.result is not None
    assert (attempt.result.enhanced, attempt.result.lines) == (enhanced, lines)


@pytest.mark.asyncio
async def test_an_endless_reply_is_cut_off() -> None:
    endless = "\n".join(["250 " + "x" * 500] * 200)
    async with Peer(replies={"EHLO": [endless]}).serve() as peer, Client() as client:
        assert outcome(await client.send(peer.port)) == ("protocol", True, (4, 5, 0))
