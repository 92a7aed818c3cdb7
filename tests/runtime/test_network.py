"""What scripts may reach, and questions to a real DNS server on loopback."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from dnsserver import Zone, dns_server

from hsl.errors import ScriptError
from hsl.library.network import DNSAnswer, NetworkError, NotPermitted
from hsl.runtime import names
from hsl.runtime.dns import TableResolver
from hsl.runtime.names import MAX_RECORDS, MAX_SERVERS, ScriptDNS, read_server
from hsl.runtime.network import NetworkPolicy, ScriptNetwork

# ------------------------------------------------------------ the policy

ALWAYS_DENIED = [
    "169.254.169.254",
    "169.254.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "224.0.0.1",
    "ff02::1",
    "::ffff:169.254.169.254",  # IPv4 in IPv6
    "64:ff9b::a9fe:a9fe",  # NAT64
    "2002:a9fe:a9fe::1",  # 6to4
    "64:ff9b:1::a9fe:a9fe",  # NAT64 of one's own
    "::ffff:0:169.254.169.254",  # SIIT
    "::169.254.169.254",  # IPv4-compatible
    "",
    "metadata.example",
    "2130706433",
    "0x7f.1",
    "169.254.169.254 ",
    "/var/run/docker.sock",
]


@pytest.mark.parametrize("address", ALWAYS_DENIED)
def test_denied_by_default(address: str) -> None:
    with pytest.raises(NotPermitted, match=r"not permitted \(scripting.network\)"):
        NetworkPolicy().permit(address)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "10.0.0.1", "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "0.0.0.0", "fec0::1"]
)
def test_permitted_by_default(address: str) -> None:
    NetworkPolicy().permit(address)


# (allow, deny, address, whether it may be reached)
RULES: list[tuple[list[str], list[str], str, bool]] = [
    ([], ["::ffff:10.0.0.0/104"], "10.1.2.3", False),  # IPv4 in IPv6
    ([], ["::ffff:10.0.0.0/104"], "::ffff:10.1.2.3", False),
    (["::1", "127.0.0.1"], ["0.0.0.0/8"], "::1", True),
    (["10.0.0.0/8"], [], "10.1.2.3", True),
    (["10.0.0.0/8"], [], "11.1.2.3", False),
    (["10.0.0.0/8"], [], "::1", False),
    (["10.0.0.0/8"], [], "::ffff:10.1.2.3", True),
    (["10.0.0.0/8"], ["10.1.0.0/16"], "10.1.2.3", False),
    (["10.1.0.0/16"], ["10.0.0.0/8"], "10.1.2.3", True),
    (["10.0.0.0/8"], ["10.0.0.0/8"], "10.1.2.3", False),
    ([], ["127.0.0.0/8"], "127.0.0.1", False),
    ([], ["127.0.0.0/8"], "0.0.0.0", False),
    ([], ["127.0.0.0/8"], "::", False),
    ([], ["::1"], "0.0.0.0", False),
    ([], ["127.0.0.0/8"], "::ffff:127.0.0.1", False),
    ([], ["127.0.0.0/8"], "64:ff9b::7f00:1", False),
    ([], ["127.0.0.0/8"], "::1", True),
    (["169.254.169.254"], [], "169.254.169.254", True),
    (["169.254.0.0/16"], [], "169.254.169.254", True),
    (["0.0.0.0/0"], [], "169.254.169.254", False),
    (["169.254.0.0/16"], ["169.254.169.254"], "169.254.169.254", False),
    (["192.0.2.7/24"], [], "192.0.2.9", True),
]


@pytest.mark.parametrize(("allow", "deny", "address", "wanted"), RULES)
def test_the_longest_network_decides(allow: list[str], deny: list[str], address: str, wanted: bool) -> None:
    assert NetworkPolicy(allow, deny).permits(address) is wanted


def test_unix_sockets_are_named_one_by_one() -> None:
    policy = NetworkPolicy(unix=["/run/one.sock"])
    assert policy.permits("/run/one.sock")
    assert policy.permits("/run/x/../one.sock")
    assert not policy.permits("/run/two.sock")
    assert not policy.permits("/run")


@pytest.mark.parametrize("network", ["nothing", "10.0.0.0/33", ""])
def test_what_is_no_network(network: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        NetworkPolicy(allow=[network])


# ------------------------------------------------------------ questions

ZONE: Zone = {
    ("one.example", "A"): ["192.0.2.1"],
    ("one.example", "TXT"): ['"v=spf1 " "-all"', '"\\000\\255;"'],
    ("both.example", "A"): ["192.0.2.2"],
    ("both.example", "AAAA"): ["2001:db8::2"],
    ("alias.example", "CNAME"): ["One.example."],
    ("dangling.example", "CNAME"): ["nowhere.example."],
    ("mail.example", "MX"): ["20 mx2.mail.example.", "10 MX1.mail.example."],
    ("null.example", "MX"): ["0 ."],
    ("_25._tcp.mail.example", "TLSA"): ["3 1 1 " + "ab" * 32],
    ("_x._tcp.mail.example", "SRV"): ["1 2 25 mail.example."],
    ("1.2.0.192.in-addr.arpa", "PTR"): ["one.example."],
    ("big.example", "TXT"): ["TRUNCATED", '"' + "x" * 200 + '"'],
    ("many.example", "A"): [f"10.0.{n >> 8}.{n & 255}" for n in range(MAX_RECORDS + 5)],
    ("fail.example", "A"): ["SERVFAIL"],
    ("refused.example", "A"): ["REFUSED"],
    ("silent.example", "A"): ["SILENT"],
    ("half.example", "A"): ["SERVFAIL"],
    ("half.example", "AAAA"): ["2001:db8::3"],
    ("garbage.example", "A"): ["GARBAGE"],
    ("xn--fuball-cta.example", "A"): ["192.0.2.3"],
}


def anything(address: str) -> None:
    """A policy that permits everything."""


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


QUESTIONS: list[tuple[str, str, str, tuple[bytes, ...]]] = [
    ("one.example", "A", "NOERROR", (b"192.0.2.1",)),
    ("ONE.example.", "a", "NOERROR", (b"192.0.2.1",)),
    ("one.example", "AAAA", "NOERROR", ()),
    ("one.example", "TXT", "NOERROR", (b"v=spf1 -all", b"\x00\xff;")),
    ("alias.example", "A", "NOERROR", (b"192.0.2.1",)),
    ("alias.example", "CNAME", "NOERROR", (b"One.example",)),
    ("mail.example", "MX", "NOERROR", (b"20 mx2.mail.example", b"10 MX1.mail.example")),
    ("null.example", "MX", "NOERROR", (b"0 .",)),
    ("_25._tcp.mail.example", "TLSA", "NOERROR", (b"3 1 1 " + b"ab" * 32,)),
    ("_x._tcp.mail.example", "SRV", "NOERROR", (b"1 2 25 mail.example",)),
    ("1.2.0.192.in-addr.arpa", "PTR", "NOERROR", (b"one.example",)),
    ("big.example", "TXT", "NOERROR", (b"x" * 200,)),
    ("fußball.example", "A", "NOERROR", (b"192.0.2.3",)),
    ("missing.example", "A", "NXDOMAIN", ()),
    ("fail.example", "A", "SERVFAIL", ()),
    ("refused.example", "A", "REFUSED", ()),
    ("silent.example", "A", "TIMEOUT", ()),
    ("", "A", "FORMERR", ()),
    ("a..b", "A", "FORMERR", ()),
    ("x" * 64 + ".example", "A", "FORMERR", ()),
    ("a." * 130 + "example", "A", "FORMERR", ()),
    ("x" * 10_000_000, "A", "FORMERR", ()),
    ("\udcff.example", "A", "FORMERR", ()),
    ("☃\x00.example", "A", "FORMERR", ()),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("name", "kind", "status", "records"), QUESTIONS)
async def test_questions(name: str, kind: str, status: str, records: tuple[bytes, ...]) -> None:
    async with dns_server(ZONE) as server:
        answer = await ScriptDNS(anything, ["127.0.0.1"], server.port).query(name, kind, timeout=0.5)
        named = await ScriptDNS(anything).query(name, kind, timeout=0.5, servers=[server.address])
    assert (answer.status, sorted(answer.records)) == (status, sorted(records))  # servers shuffle
    assert (named.status, sorted(named.records)) == (status, sorted(records))
    assert answer.ttl == (300.0 if records else answer.ttl)
    assert not answer.dnssec


@pytest.mark.asyncio
async def test_garbage_is_a_failure() -> None:
    async with dns_server(ZONE) as server:
        answer = await ScriptDNS(anything, ["127.0.0.1"], server.port).query("garbage.example", timeout=0.5)
    assert answer.status in ("SERVFAIL", "TIMEOUT")


@pytest.mark.asyncio
async def test_a_truncated_answer_comes_over_tcp() -> None:
    async with dns_server(ZONE) as server:
        await ScriptDNS(anything, ["127.0.0.1"], server.port).query("big.example", "TXT")
        assert server.over_tcp == 1


@pytest.mark.asyncio
async def test_only_so_many_records() -> None:
    async with dns_server({**ZONE, ("many.example", "A"): ["TRUNCATED", *ZONE["many.example", "A"]]}) as server:
        answer = await ScriptDNS(anything, ["127.0.0.1"], server.port).query("many.example")
    assert len(answer.records) == MAX_RECORDS


@pytest.mark.asyncio
async def test_an_impatient_question_leaves_others_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver is shared: the second try of a patient question has the patient question's time."""
    monkeypatch.setattr(names, "TRY", 1.0)
    zone = {**ZONE, ("hasty.example", "A"): ["SILENT"], ("slow.example", "A"): ["192.0.2.5"]}
    async with dns_server(zone) as server:
        client = ScriptDNS(anything, ["127.0.0.1"], server.port)
        received = server.datagram_received

        def late(data: bytes, addr: tuple[str, int]) -> None:
            """The first question is lost; answers to the others take half a second."""
            if b"slow" not in data or ("slow.example", "A") in server.asked:
                asyncio.get_running_loop().call_later(0.5, received, data, addr)
            else:
                server.asked.append(("slow.example", "A"))

        monkeypatch.setattr(server, "datagram_received", late)
        patient = asyncio.create_task(client.query("slow.example", timeout=10.0))
        await asyncio.sleep(0)
        hasty = await client.query("hasty.example", timeout=0.1)
        assert hasty.status == "TIMEOUT"
        assert (await patient).records == (b"192.0.2.5",)


@pytest.mark.asyncio
async def test_another_server_answers_for_one_that_is_silent() -> None:
    async with dns_server({("one.example", "A"): ["SILENT"]}) as silent, dns_server(ZONE) as server:
        servers = [silent.address, server.address]
        answer = await ScriptDNS(anything).query("one.example", timeout=3.0, servers=servers)
    assert answer.records == (b"192.0.2.1",)


@pytest.mark.asyncio
async def test_answers_are_kept_for_their_time() -> None:
    clock = Clock()
    async with dns_server(ZONE, ttl=100) as server:
        client = ScriptDNS(anything, ["127.0.0.1"], server.port, clock=clock)
        assert (await client.query("one.example")).ttl == 100.0
        clock.now += 40
        assert await client.query("One.Example") == DNSAnswer("NOERROR", (b"192.0.2.1",), 60.0)
        assert len(server.asked) == 1
        clock.now += 61
        await client.query("one.example")
        assert len(server.asked) == 2
        for name in ("fail.example", "fail.example"):
            await client.query(name)
        assert server.asked.count(("fail.example", "A")) >= 2  # failures are not kept
        await client.query("one.example", servers=[server.address])
        await client.query("one.example", servers=[server.address])
        assert server.asked.count(("one.example", "A")) == 4  # nor what servers of a script's choice say


@pytest.mark.asyncio
@pytest.mark.parametrize("secure", [True, False])
async def test_a_validated_answer_says_so(secure: bool) -> None:
    async with dns_server(ZONE, secure=secure) as server:
        client = ScriptDNS(anything, ["127.0.0.1"], server.port)
        answers = [await client.query(name) for name in ("one.example", "missing.example")]
    assert [answer.dnssec for answer in answers] == [secure, secure]


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["NOTHING", "AXFR", "ANY", "OPT", "", "TYPE999999", "A\x00"])
async def test_types_that_cannot_be_asked_for(kind: str) -> None:
    with pytest.raises(ValueError, match="type"):
        await ScriptDNS(anything, ["127.0.0.1"]).query("one.example", kind)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("192.0.2.1", ("192.0.2.1", 53)),
        ("192.0.2.1:5353", ("192.0.2.1", 5353)),
        ("2001:db8::1", ("2001:db8::1", 53)),
        ("[2001:db8::1]", ("2001:db8::1", 53)),
        ("[2001:db8::1]:54", ("2001:db8::1", 54)),
    ],
)
def test_servers(text: str, wanted: tuple[str, int]) -> None:
    assert read_server(text) == wanted


@pytest.mark.parametrize(
    "text", ["", "dns.example", "192.0.2.1:", "192.0.2.1:x", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.1:٣", "[::1"]
)
def test_what_is_no_server(text: str) -> None:
    with pytest.raises(ValueError, match="not the address of a server"):
        read_server(text)


@pytest.mark.asyncio
async def test_servers_of_a_script_are_subject_to_the_policy() -> None:
    client = ScriptNetwork(NetworkPolicy(deny=["127.0.0.1"])).dns
    with pytest.raises(NotPermitted):
        await client.query("one.example", servers=["192.0.2.53", "127.0.0.1:53"])
    with pytest.raises(ValueError, match="more than"):
        await client.query("one.example", servers=["192.0.2.53"] * (MAX_SERVERS + 1))


@pytest.mark.asyncio
async def test_the_table_answers_first() -> None:
    table = TableResolver({"mx.fixed.example": ["192.0.2.8", "2001:db8::8"]}, {"fixed.example": ["mx.fixed.example"]})
    async with dns_server(ZONE) as server:
        client = ScriptDNS(anything, ["127.0.0.1"], server.port, table)
        found = {
            (name, kind): (await client.query(name, kind)).records
            for name, kind in [
                ("mx.fixed.example", "A"),
                ("mx.fixed.example", "AAAA"),
                ("mx.fixed.example", "TXT"),
                ("fixed.example", "MX"),
                ("8.2.0.192.in-addr.arpa", "PTR"),
                ("one.example", "A"),
            ]
        }
        assert len(server.asked) == 1
    assert list(found.values()) == [
        (b"192.0.2.8",),
        (b"2001:db8::8",),
        (),
        (b"10 mx.fixed.example",),
        (b"mx.fixed.example",),
        (b"192.0.2.1",),
    ]


# ------------------------------------------------------------ addresses to connect to


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("192.0.2.9", ["192.0.2.9"]),
        ("2001:db8::9", ["2001:db8::9"]),
        ("localhost", ["127.0.0.1", "::1"]),
        ("a.LOCALHOST.", ["127.0.0.1", "::1"]),
        ("both.example", ["192.0.2.2", "2001:db8::2"]),
        ("half.example", ["2001:db8::3"]),
        ("alias.example", ["192.0.2.1"]),
        ("in.file", ["192.0.2.77", "2001:db8::77"]),
        ("dangling.example", []),
        ("missing.example", []),
        ("a..b", []),
    ],
)
async def test_addresses(tmp_path: Path, host: str, wanted: list[str]) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("# comment\n192.0.2.77 first In.File # more\n2001:db8::77\tin.file\nnothing in.file\n\n")
    async with dns_server(ZONE) as server:
        assert await ScriptDNS(anything, ["127.0.0.1"], server.port, hosts=hosts).addresses(host) == wanted


@pytest.mark.asyncio
async def test_no_answer_about_addresses_is_an_error() -> None:
    async with dns_server(ZONE) as server:
        client = ScriptDNS(anything, ["127.0.0.1"], server.port)
        with pytest.raises(NetworkError) as caught:
            await client.addresses("silent.example", timeout=0.3)
    assert caught.value.kind == "resolve"


@pytest.mark.asyncio
async def test_the_file_of_hosts_is_read_again(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    client = ScriptDNS(anything, ["127.0.0.1"], 1, hosts=hosts)
    hosts.write_text("192.0.2.1 changing\n")
    assert await client.addresses("changing") == ["192.0.2.1"]
    hosts.write_text("192.0.2.222 changing\n")
    assert await client.addresses("changing") == ["192.0.2.222"]


@pytest.mark.asyncio
async def test_many_questions_at_once_wait_side_by_side() -> None:
    async with dns_server(ZONE) as server:
        client = ScriptDNS(anything, ["127.0.0.1"], server.port)
        async with asyncio.timeout(5):
            answers = await asyncio.gather(*(client.query("silent.example", timeout=0.3) for _ in range(50)))
    assert {answer.status for answer in answers} == {"TIMEOUT"}


def test_a_configured_source_address() -> None:
    network = ScriptNetwork(sources={"1": "127.0.0.2"})
    assert network.source("1") == "127.0.0.2"
    assert network.source("2") is None
    network.configure(NetworkPolicy(deny=["127.0.0.1"]), {"2": "127.0.0.3"})
    assert network.source("1") is None
    with pytest.raises(ScriptError):
        network.permit("127.0.0.1")
