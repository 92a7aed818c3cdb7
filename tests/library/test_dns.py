"""The chapter "DNS": questions as scripts put them to a server on loopback, and what is said of domains without one."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest
from dnsserver import Zone, dns_server
from onnetwork import lines_of

from hsl.errors import ScriptError
from hsl.runtime.network import NetworkPolicy, ScriptNetwork

Call = Callable[..., Any]

ZONE: Zone = {
    ("one.example", "A"): ["192.0.2.1"],
    ("one.example", "TXT"): ['"a" "b"'],
    ("both.example", "A"): ["192.0.2.2"],
    ("both.example", "AAAA"): ["2001:db8::2"],
    ("alias.example", "CNAME"): ["one.example."],
    ("mail.example", "MX"): ["20 mx2.mail.example.", "100 mx3.mail.example.", "10 MX1.mail.example."],
    ("mail.example", "NS"): ["ns.mail.example."],
    ("null.example", "MX"): ["0 ."],
    ("1.2.0.192.in-addr.arpa", "PTR"): ["one.example."],
    ("8.b.d.0.1.0.0.2.ip6.arpa", "PTR"): ["six.example."],
    ("raw.example", "TXT"): ['"\\000\\255\\""'],
    ("fail.example", "A"): ["SERVFAIL"],
    ("silent.example", "A"): ["SILENT"],
    ("silent.example", "AAAA"): ["SILENT"],
    ("half.example", "A"): ["SERVFAIL"],
    ("half.example", "AAAA"): ["2001:db8::3"],
    ("xn--fuball-cta.example", "A"): ["192.0.2.3"],
}

# (expression; S stands for the server's address, what echo prints)
QUESTIONS = [
    ('dns_query("one.example")', '["result"=>[0=>"192.0.2.1"],"dnssec"=>false]'),
    ('dns_query("ONE.example.", ["type" => "A"])', '["result"=>[0=>"192.0.2.1"],"dnssec"=>false]'),
    ('dns_query("both.example", ["type" => "aaaa"])', '["result"=>[0=>"2001:db8::2"],"dnssec"=>false]'),
    (
        'dns_query("mail.example", ["type" => "mx"])',
        '["result"=>[0=>"MX1.mail.example",1=>"mx2.mail.example",2=>"mx3.mail.example"],"dnssec"=>false]',
    ),
    ('dns_query("null.example", ["type" => "mx"])', '["result"=>[0=>"."],"dnssec"=>false]'),
    ('dns_query("mail.example", ["type" => "ns"])["result"]', '[0=>"ns.mail.example"]'),
    ('dns_query("one.example", ["type" => "txt"])["result"]', '[0=>"ab"]'),
    ('dns_query("raw.example", ["type" => "txt"])["result"][0] === "\\x00\\xff\\""', "true"),
    ('dns_query("alias.example", ["type" => "cname"])["result"]', '[0=>"one.example"]'),
    ('dns_query("alias.example")["result"]', '[0=>"192.0.2.1"]'),
    ('dns_query(inet_reverse("192.0.2.1"), ["type" => "ptr"])["result"]', '[0=>"one.example"]'),
    ('dns_query("fußball.example")["result"]', '[0=>"192.0.2.3"]'),
    ('dns_query("one.example", ["type" => "aaaa"])', '["error"=>"NO_DATA","dnssec"=>false]'),
    ('dns_query("missing.example")', '["error"=>"NXDOMAIN","dnssec"=>false]'),
    ('dns_query("fail.example")', '["error"=>"SERVFAIL","dnssec"=>false]'),
    ('dns_query("silent.example", ["timeout" => 0.2])', '["error"=>"TRY_AGAIN","dnssec"=>false]'),
    ('dns_query("")', '["error"=>"FORMERR","dnssec"=>false]'),
    ('dns_query("\\xff")["error"]', "FORMERR"),
    ('dns_query(str_repeat("x", 10000000))["error"]', "FORMERR"),
    ('dns("both.example")', '[0=>"192.0.2.2",1=>"2001:db8::2"]'),
    ('dns("both.example", ["S"], 2)', '[0=>"192.0.2.2",1=>"2001:db8::2"]'),
    ('dns("both.example", [])', '[0=>"192.0.2.2",1=>"2001:db8::2"]'),
    ('dns("half.example")', '[0=>"2001:db8::3"]'),
    ('dns("half.example", ["extended_result" => true])', '["result"=>[0=>"2001:db8::3"],"dnssec"=>false]'),
    ('dns("missing.example")', "[]"),
    ('dns("missing.example", ["extended_result" => true])', '["error"=>"NXDOMAIN","dnssec"=>false]'),
    ('dns("silent.example", [], 0.2)', "[]"),
    ('dns4("both.example", ["servers" => ["S"], "timeout" => 1])', '[0=>"192.0.2.2"]'),
    ('dns6("both.example")', '[0=>"2001:db8::2"]'),
    ('dns6("one.example", ["extended_result" => true])', '["error"=>"NO_DATA","dnssec"=>false]'),
    ('dnscname("alias.example")', '[0=>"one.example"]'),
    ('dnsmx("mail.example")', '[0=>"MX1.mail.example",1=>"mx2.mail.example",2=>"mx3.mail.example"]'),
    ('dnsns("mail.example")', '[0=>"ns.mail.example"]'),
    ('dnsptr("192.0.2.1")', '[0=>"one.example"]'),
    ('dnsptr("1.2.0.192.in-addr.arpa")', '[0=>"one.example"]'),
    ('dnsptr("2001:db8::1")', "[]"),
    ('dnstxt("one.example")', '[0=>"ab"]'),
    ('dnstxt("missing.example")', "[]"),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("expression", "wanted"), QUESTIONS)
async def test_questions(expression: str, wanted: str) -> None:
    async with dns_server(ZONE) as server:
        network = ScriptNetwork(servers=["127.0.0.1"], port=server.port)
        text = f"echo {expression};".replace('"S"', f'"{server.address}"')
        assert await lines_of(text, network) == [wanted.encode()]


@pytest.mark.asyncio
async def test_what_a_validating_resolver_says() -> None:
    async with dns_server(ZONE, secure=True) as server:
        network = ScriptNetwork(servers=["127.0.0.1"], port=server.port)
        text = 'echo dns_query("one.example"); echo dns("both.example", ["extended_result" => true])["dnssec"];'
        assert await lines_of(text, network) == [b'["result"=>[0=>"192.0.2.1"],"dnssec"=>true]', b"true"]


@pytest.mark.asyncio
async def test_the_port_of_servers() -> None:
    async with dns_server(ZONE) as server:
        _, _, port = server.address.rpartition(":")
        text = f"""
        echo dns_query("one.example", ["servers" => ["127.0.0.1"], "port" => {port}])["result"];
        echo dns_query("one.example", ["servers" => ["{server.address}"], "port" => 9])["result"];
        """
        assert await lines_of(text, ScriptNetwork(servers=["127.0.0.1"], port=1)) == [b'[0=>"192.0.2.1"]'] * 2


ERRORS = [
    ('dns_query("a", ["servers" => ["127.0.0.1"], "port" => 0])', "option port: wanted 1 to 65535, got 0"),
    ('dns_query("a", ["servers" => ["127.0.0.1"], "port" => 5.5])', "option port: wanted 1 to 65535, got 5.5"),
    ('dns_query("a", ["servers" => ["fe80::1"], "port" => 80])', "not permitted (scripting.network)"),
    ('dns_query("a", ["type" => "nothing"])', "dns_query(): there is no record type 'NOTHING'"),
    ('dns_query("a", ["type" => "axfr"])', "cannot be asked for"),
    ('dns_query("a", ["type" => 5])', "option type: wanted string, got number"),
    ('dns_query("a", ["timeout" => 0])', "dns_query(): timeout: wanted seconds, got 0"),
    ('dns_query("a", ["servers" => ["ns.example"]])', "'ns.example' is not the address of a server"),
    ('dns_query("a", ["servers" => [1]])', "servers: wanted strings, got number"),
    ('dns_query("a", ["servers" => ["169.254.169.254"]])', "not permitted (scripting.network)"),
    ('dns4("a", ["169.254.169.254:80"])', "not permitted (scripting.network)"),
    ('dns4("a", ["timeout" => "x"])', "option timeout: wanted number, got string"),
    ('dns4("a", [], -1)', "dns4(): timeout: wanted seconds, got -1"),
    ("dns_query([])", "parameter 1 (host): wanted string, got array"),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("expression", "wanted"), ERRORS)
async def test_wrong_values(expression: str, wanted: str) -> None:
    with pytest.raises(ScriptError) as caught:
        await lines_of(f"echo {expression};", ScriptNetwork(NetworkPolicy(), servers=["127.0.0.1"], port=1))
    assert wanted in caught.value.message


@pytest.mark.asyncio
async def test_without_a_network() -> None:
    with pytest.raises(ScriptError, match=r"dns_query\(\): there is no network here"):
        await lines_of('dns_query("a");', None)


@pytest.mark.asyncio
async def test_a_question_ends_with_the_time_of_the_script() -> None:
    async with dns_server(ZONE) as server:
        network = ScriptNetwork(servers=["127.0.0.1"], port=server.port)
        with pytest.raises(ScriptError, match=r"exceeded its budget of 0\.3 seconds"):
            await lines_of('echo dns_query("silent.example", ["timeout" => 60]);', network, seconds=0.3)


# ------------------------------------------------------------ domains


@pytest.mark.parametrize(
    ("subdomain", "domain", "wanted"),
    [
        ("www.halon.io", "halon.io", True),
        ("halon.io", "halon.io", True),
        ("WWW.Halon.io", ".hALON.IO", True),
        ("halon.io", ".halon.io", False),
        ("xhalon.io", "halon.io", False),
        ("", "", True),
        ("a", "", False),
        (b"\xff.a", b"\xff.A", True),
        (b"\x00" * 10_000_000 + b".a", "a", True),
    ],
)
def test_subdomains(call: Call, subdomain: Any, domain: Any, wanted: bool) -> None:
    assert call("domain_includes", subdomain, domain) is wanted
    assert call("is_subdomain", subdomain, domain, {}) is wanted


def suffix_cases() -> list[tuple[str, str | None]]:
    """(domain, its registrable part) of the tests that publicsuffix.org publishes."""
    lines = (files("publicsuffixlist") / "test_psl.txt").read_text("utf-8").splitlines()
    cases = [line[line.index("(") + 1 : line.index(")")] for line in lines if line.startswith("checkPublicSuffix(")]
    pairs = [[None if part == "null" else part.strip("'") for part in case.split(", ")] for case in cases]
    return [(domain, registrable) for domain, registrable in pairs if domain is not None]


def test_the_public_suffix_lists_own_tests(call: Call) -> None:
    cases = suffix_cases()
    assert len(cases) >= 76  # and one asks for nothing at all
    wrong = [case for case in cases if registrable_part(call, case[0]) != case[1]]
    assert wrong == []


def registrable_part(call: Call, domain: str) -> str | None:
    """The public suffix with one label more, as these tests look at it."""
    suffix = call("domain_publicsuffix", domain)
    if suffix is None:
        return None
    labels = domain.lower().split(".")
    count = len(suffix.decode().split("."))
    return ".".join(labels[-count - 1 :]) if len(labels) > count else None


@pytest.mark.parametrize(
    ("domain", "wanted"),
    [
        ("www.example.co.uk", b"co.uk"),
        ("WWW.EXAMPLE.COM", b"com"),
        ("com", b"com"),
        ("example.com.", b"com"),
        ("a.b.github.io", b"github.io"),
        ("host.unlisted", b"unlisted"),
        ("食狮.公司.cn", "公司.cn".encode()),
        ("xn--85x722f.xn--55qx5d.cn", b"xn--55qx5d.cn"),
        ("", None),
        (".", None),
        (".com", None),
        ("a..com", None),
        (b"\xff.com", None),
        (b"x." * 5_000_000 + b"com", None),
    ],
)
def test_public_suffixes(call: Call, domain: Any, wanted: bytes | None) -> None:
    assert call("domain_publicsuffix", domain) == wanted


# (UTF-8, encoded); what is mapped on the way is in the next table
NAMES = [
    ("fußball.example", "xn--fuball-cta.example"),
    ("faß.de", "xn--fa-hia.de"),
    ("βόλος.com", "xn--nxasmm1c.com"),
    ("ශ්‍රී.com", "xn--10cl1a0b660p.com"),
    ("نامه‌ای.com", "xn--mgba3gch31f060k.com"),
    ("mañana.com", "xn--maana-pta.com"),
    ("点看.example", "xn--3pxu8k.example"),
    ("_dmarc.faß.de", "_dmarc.xn--fa-hia.de"),
    ("example.com", "example.com"),
    ("example.com.", "example.com."),
    ("faß.de.", "xn--fa-hia.de."),
    ("*.example", "*.example"),
    ("a", "a"),
    ("x" * 63 + ".example", "x" * 63 + ".example"),
]


@pytest.mark.parametrize(("text", "encoded"), NAMES)
def test_encoded_names(call: Call, text: str, encoded: str) -> None:
    assert call("idna_encode", text) == encoded.encode()
    assert call("idna_decode", encoded) == text.encode()
    assert call("idna_encode", encoded) == encoded.encode()
    assert call("idna_decode", text) == text.encode()


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("FUSSBALL.Example", "fussball.example"),
        ("Fußball。example", "xn--fuball-cta.example"),  # an ideographic full stop
        ("ＡＢＣ.example", "abc.example"),
        ("man\u0303ana.com", "xn--maana-pta.com"),  # n and a combining tilde
        ("a\u00adb.example", "ab.example"),  # a soft hyphen
        ("XN--FUBALL-CTA.example", "xn--fuball-cta.example"),
    ],
)
def test_mapped_names(call: Call, text: str, encoded: str) -> None:
    assert call("idna_encode", text) == encoded.encode()


BAD_NAMES: list[str | bytes] = [
    "",
    ".",
    "..",
    "a..b",
    ".example",
    "☃.example",  # IDNA 2003 took it
    "xn--a.example",
    "xn--.example",
    "xn--fuball-ct-.example",
    "-ü.example",
    "ab--ü.example",
    "\u0301a.example",  # begins with a combining mark
    "אa.example",  # mixed directions
    "ليهمابتكلموشعربي؟",  # punctuation
    "a b.example",
    "a\x00.example",
    "x" * 64 + ".example",
    "ü" * 60 + ".example",
    ("x" * 60 + ".") * 5,
    b"\xff.example",
    b"\xc3\xbc" * 5_000_000,
]


@pytest.mark.parametrize("name", BAD_NAMES, ids=range(len(BAD_NAMES)))
def test_what_cannot_be_encoded(call: Call, name: str | bytes) -> None:
    assert call("idna_encode", name) is None


@pytest.mark.parametrize("name", ["xn--a.example", "xn--\xff", "xn--.a", "a..b", b"\xff", b"xn--" + b"a" * 10_000_000])
def test_what_cannot_be_decoded(call: Call, name: str | bytes) -> None:
    assert call("idna_decode", name) is None


# RFC 3492 7.1, the samples that are single words of letters
PUNYCODE = [
    ("他们为什么不说中文", "ihqwcrb4cv8a8dqg056pqjye"),
    ("למההםפשוטלאמדבריםעברית", "4dbcagdahymbxekheh6e0a7fei0b"),
    ("なぜみんな日本語を話してくれないのか", "n8jok5ay5dzabd5bym9f0cm5685rrjetr6pdxa"),
    ("почемужеонинеговорятпорусски", "b1abfaaepdrnnbgefbadotcwatmq2g4l"),
    ("tạisaohọkhôngthểchỉnóitiếngviệt", "tisaohkhngthchnitingvit-kjcr8268qyxafd2f1b9g"),
]


@pytest.mark.parametrize(("text", "encoded"), PUNYCODE)
def test_punycode(call: Call, text: str, encoded: str) -> None:
    assert call("idna_encode", text) == b"xn--" + encoded.encode()
    assert call("idna_decode", "xn--" + encoded) == text.encode()
