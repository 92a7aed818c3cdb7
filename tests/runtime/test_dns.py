"""The resolver against a real DNS server on loopback, and the fixed tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from hsl.runtime.dns import MAX_HOSTS, DNSError, DnsResolver, TableResolver

pytestmark = pytest.mark.asyncio
ZONE: dict[tuple[str, str], list[str]] = {
    ("two.example", "MX"): ["20 mx2.two.example.", "10 mx1.two.example."],
    ("equal.example", "MX"): [f"10 mx{number}.equal.example." for number in range(8)],
    ("null.example", "MX"): ["0 ."],
    ("mixed.example", "MX"): ["0 .", "10 mx.mixed.example."],
    ("many.example", "MX"): [f"{number} mx{number}.many.example." for number in range(40)],
    ("bare.example", "A"): ["192.0.2.1"],
    ("both.example", "A"): ["192.0.2.2", "192.0.2.3"],
    ("both.example", "AAAA"): ["2001:db8::2"],
    ("six.example", "AAAA"): ["2001:db8::6"],
    ("half.example", "A"): ["192.0.2.9"],
    ("half.example", "AAAA"): ["SERVFAIL"],
    ("fail.example", "MX"): ["SERVFAIL"],
    ("fail.example", "A"): ["SERVFAIL"],
    ("fail.example", "AAAA"): ["SERVFAIL"],
    ("refused.example", "MX"): ["REFUSED"],
    ("silent.example", "MX"): ["SILENT"],
    ("silent.example", "A"): ["SILENT"],
    ("silent.example", "AAAA"): ["SILENT"],
    ("garbage.example", "MX"): ["GARBAGE"],
    ("1.2.0.192.in-addr.arpa", "PTR"): ["Bare.example."],
    ("2.2.0.192.in-addr.arpa", "PTR"): ["bare.example.", "both.example."],
    ("3.2.0.192.in-addr.arpa", "PTR"): ["bare.example."],
    ("4.2.0.192.in-addr.arpa", "PTR"): ["ev\\\\il\\010.example."],
    ("5.2.0.192.in-addr.arpa", "PTR"): ["SILENT"],
}


@dataclass
class Server(asyncio.DatagramProtocol):
    """A DNS server over UDP. A name without any record does not exist; one of another kind has no data.

    SERVFAIL and REFUSED answer that code, SILENT nothing, GARBAGE what is no message.
    """

    zone: dict[tuple[str, str], list[str]]
    ttl: int = 300
    asked: list[tuple[str, str]] = field(default_factory=list)
    transport: asyncio.DatagramTransport | None = None
    port: int = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self.answer(dns.message.from_wire(data))
        assert self.transport is not None
        if answer is not None:
            self.transport.sendto(answer, addr)

    def answer(self, query: dns.message.Message) -> bytes | None:
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        records = self.zone.get((name, kind), [])
        if records == ["SILENT"]:
            return None
        if records == ["GARBAGE"]:
            return b"\x00\x01\x02"
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if records and records[0] in ("SERVFAIL", "REFUSED"):
            response.set_rcode(dns.rcode.from_text(records[0]))
        elif records:
            response.answer.append(dns.rrset.from_text(question.name, self.ttl, "IN", kind, *records))
        elif not any(known == name for known, _ in self.zone):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def serve(ttl: int = 300) -> AsyncIterator[Server]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: Server(ZONE, ttl), ("127.0.0.1", 0))
    try:
        yield server
    finally:
        transport.close()
        await asyncio.sleep(0)


def resolver(server: Server, **knobs: object) -> DnsResolver:
    knobs.setdefault("timeout", 0.3)
    return DnsResolver(["127.0.0.1"], server.port, **knobs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("domain", "wanted"),
    [
        ("two.example", ["mx1.two.example", "mx2.two.example"]),
        ("TWO.Example.", ["mx1.two.example", "mx2.two.example"]),
        ("bare.example", ["bare.example"]),
        ("mixed.example", ["mx.mixed.example"]),
        ("many.example", [f"mx{number}.many.example" for number in range(MAX_HOSTS)]),
        ("192.0.2.7", ["192.0.2.7"]),
        ("2001:db8::7", ["2001:db8::7"]),
    ],
)
async def test_mail_hosts(domain: str, wanted: list[str]) -> None:
    async with serve() as server:
        assert await resolver(server).mx(domain) == wanted


@pytest.mark.parametrize(
    ("domain", "temporary", "enhanced"),
    [
        ("null.example", False, (5, 1, 10)),
        ("missing.example", False, (5, 1, 2)),
        ("a..b", False, (5, 1, 2)),
        ("x" * 70 + ".example", False, (5, 1, 2)),
        ("fail.example", True, (4, 4, 3)),
        ("refused.example", True, (4, 4, 3)),
        ("silent.example", True, (4, 4, 3)),
        ("garbage.example", True, (4, 4, 3)),
    ],
)
async def test_mail_host_errors(domain: str, temporary: bool, enhanced: tuple[int, int, int]) -> None:
    async with serve() as server:
        with pytest.raises(DNSError) as caught:
            await resolver(server).mx(domain)
    assert (caught.value.temporary, caught.value.enhanced) == (temporary, enhanced)
    assert domain in caught.value.message


async def test_equal_preferences_are_shuffled() -> None:
    async with serve() as server:
        client = resolver(server)
        orders = {tuple(await client.mx("equal.example")) for _ in range(20)}
    assert len(orders) > 1
    assert len({frozenset(order) for order in orders}) == 1


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("bare.example", ["192.0.2.1"]),
        ("both.example", ["192.0.2.2", "192.0.2.3", "2001:db8::2"]),
        ("six.example", ["2001:db8::6"]),
        ("half.example", ["192.0.2.9"]),
        ("two.example", []),
        ("missing.example", []),
        ("127.0.0.1", ["127.0.0.1"]),
        ("::1", ["::1"]),
    ],
)
async def test_addresses(host: str, wanted: list[str]) -> None:
    async with serve() as server:
        assert sorted(await resolver(server).addresses(host)) == sorted(wanted)


@pytest.mark.parametrize("host", ["fail.example", "silent.example"])
async def test_address_errors_are_temporary(host: str) -> None:
    async with serve() as server:
        with pytest.raises(DNSError) as caught:
            await resolver(server).addresses(host)
    assert (caught.value.temporary, caught.value.enhanced) == (True, (4, 4, 3))


@pytest.mark.parametrize(
    ("ip", "wanted"),
    [
        ("192.0.2.1", "bare.example"),
        ("192.0.2.2", "both.example"),
        ("192.0.2.3", None),
        ("192.0.2.4", None),
        ("192.0.2.5", None),
        ("192.0.2.6", None),
        ("no address", None),
    ],
)
async def test_verified_names(ip: str, wanted: str | None) -> None:
    async with serve() as server:
        assert await resolver(server).ptr(ip) == wanted


async def test_names_are_not_asked_for_when_switched_off() -> None:
    async with serve() as server:
        assert await resolver(server, ptr=False).ptr("192.0.2.1") is None
        assert server.asked == []


async def test_the_cache_keeps_good_and_bad_answers_but_no_failures() -> None:
    clock = Clock()
    async with serve(ttl=100) as server:
        client = resolver(server, clock=clock)
        for _ in range(2):
            await client.mx("two.example")
            with pytest.raises(DNSError):
                await client.mx("missing.example")
            with pytest.raises(DNSError):
                await client.mx("fail.example")
        assert server.asked.count(("two.example", "MX")) == 1
        assert server.asked.count(("missing.example", "MX")) == 1
        assert server.asked.count(("fail.example", "MX")) == 2
        clock.now += 61
        with pytest.raises(DNSError):
            await client.mx("missing.example")
        await client.mx("two.example")
        assert server.asked.count(("missing.example", "MX")) == 2
        assert server.asked.count(("two.example", "MX")) == 1
        clock.now += 40
        await client.mx("two.example")
        assert server.asked.count(("two.example", "MX")) == 2


async def test_no_answer_is_kept_for_more_than_an_hour() -> None:
    """Whatever its TTL says."""
    clock = Clock()
    async with serve(ttl=86400) as server:
        client = resolver(server, clock=clock)
        await client.mx("two.example")
        clock.now += 3599
        await client.mx("two.example")
        assert server.asked.count(("two.example", "MX")) == 1
        clock.now += 2
        await client.mx("two.example")
        assert server.asked.count(("two.example", "MX")) == 2


async def test_the_cache_is_bounded() -> None:
    async with serve() as server:
        client = resolver(server, size=3)
        for number in range(10):
            with pytest.raises(DNSError):
                await client.mx(f"missing{number}.example")
        assert len(client.cache.entries) == 3


async def test_an_answer_with_no_time_to_live_is_not_kept() -> None:
    async with serve(ttl=0) as server:
        client = resolver(server)
        await client.mx("two.example")
        await client.mx("two.example")
        assert server.asked == [("two.example", "MX")] * 2


async def test_the_tables_answer_first() -> None:
    async with serve() as server:
        client = resolver(server, hosts={"Here.example": ["127.0.0.3"]}, mx={"two.example": ["here.example"]})
        assert await client.mx("TWO.example") == ["here.example"]
        assert await client.mx("here.example") == ["here.example"]
        assert await client.addresses("here.example") == ["127.0.0.3"]
        assert await client.ptr("127.0.0.3") == "here.example"
        assert server.asked == []
        assert await client.addresses("bare.example") == ["192.0.2.1"]


@pytest.mark.parametrize(
    ("domain", "wanted"),
    [
        ("a.example", ["m1.example", "m2.example"]),
        ("A.example.", ["m1.example", "m2.example"]),
        ("m1.example", ["m1.example"]),
        ("192.0.2.1", ["192.0.2.1"]),
        ("none.example", (5, 1, 10)),
        ("missing.example", (5, 1, 2)),
    ],
)
async def test_the_table_resolver(domain: str, wanted: object) -> None:
    table = TableResolver(
        {"m1.example": ["127.0.0.1"]}, {"a.example": ["m1.example", "m2.example"], "none.example": ["."]}
    )
    if isinstance(wanted, list):
        assert await table.mx(domain) == wanted
    else:
        with pytest.raises(DNSError) as caught:
            await table.mx(domain)
        assert (caught.value.temporary, caught.value.enhanced) == (False, wanted)


async def test_the_table_resolver_knows_addresses_and_names() -> None:
    table = TableResolver({"m1.example": ["127.0.0.1", "::1"]})
    assert await table.addresses("M1.example") == ["127.0.0.1", "::1"]
    assert await table.addresses("missing.example") == []
    assert await table.addresses("::1") == ["::1"]
    assert await table.ptr("::1") == "m1.example"
    assert await table.ptr("127.0.0.9") is None
