"""http() against web servers on loopback: what it sends, what it returns, and what it does not do."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trustme
from aiohttp import web
from dnsserver import DNSServer, Zone, dns_server
from onnetwork import lines_of
from webserver import WebServer, raw_server, web_server

from hsl.errors import ScriptError
from hsl.library.http import clean_url
from hsl.library.network import HTTPRequest, HTTPResponse
from hsl.runtime.httpqueue import Background
from hsl.runtime.log import Log
from hsl.runtime.network import NetworkPolicy, ScriptNetwork

pytestmark = pytest.mark.asyncio


async def page(request: web.Request) -> web.StreamResponse:
    """Shows what was asked; some paths answer otherwise."""
    match request.path:
        case "/missing":
            return web.Response(status=404, reason="Not Here", text="no")
        case "/empty":
            return web.Response(status=204)
        case "/zipped":
            return web.Response(body=gzip.compress(b"plain"), headers={"Content-Encoding": "gzip"})
        case "/raw":
            return web.Response(body=b"\x00\xff\r\n", headers={"X-Raw": "caf\u00e9"})
        case "/slow":
            await asyncio.sleep(10)
    return web.Response(text=f"{request.method} {request.raw_path}")


@asynccontextmanager
async def named_server(
    name: str, zone: Zone, *, certificate: trustme.LeafCert | None = None, ttl: int = 300, **knobs: Any
) -> AsyncIterator[tuple[WebServer, ScriptNetwork, DNSServer]]:
    """A web server under a name of a zone, and a network that asks for it there."""
    async with (
        dns_server(zone, ttl=ttl) as dns,
        web_server(page, certificate) as server,
        opened(servers=["127.0.0.1"], port=dns.port, **knobs) as network,
    ):
        server.host = name
        yield server, network, dns


@asynccontextmanager
async def opened(**knobs: Any) -> AsyncIterator[ScriptNetwork]:
    network = ScriptNetwork(**knobs)
    try:
        yield network
    finally:
        await network.close(0.0)


async def run(text: str, network: ScriptNetwork, server: WebServer | None = None, seconds: float = 20.0) -> list[bytes]:
    """The lines of a script in which URL stands for the server's."""
    return await lines_of(text.replace("URL", server.url if server else ""), network, seconds)


# (expression, what echo prints)
RESULTS: list[tuple[str, bytes]] = [
    ('http("URL")', b"GET /"),
    ('http("URL/a?b=c#fragment")', b"GET /a?b=c"),
    ('http("URL/missing")', b"none"),
    ('http("URL/missing", ["extended_result" => true])', b'["status"=>404,"content"=>"no"]'),
    ('http("URL", ["extended_result" => true])', b'["status"=>200,"content"=>"GET /"]'),
    ('http("URL/empty") === ""', b"true"),
    ('http("URL/raw") === "\\x00\\xff\\r\\n"', b"true"),
    ('http("URL", ["method" => "PURGE"])', b"PURGE /"),
    ('http("URL", ["method" => "HEAD", "extended_result" => true])', b'["status"=>200,"content"=>""]'),
    ('http("URL", [], [], "")', b"POST /"),
    ('http("URL", [], [], [])', b"POST /"),
    ('http("URL", ["method" => "PUT"], [], "data")', b"PUT /"),
    ('http("URL/$1/$2?x=$1", [], ["a b&c/", "å"])', b"GET /a%20b%26c%2F/%C3%A5?x=a%20b%26c%2F"),
    ('http("URL/$1$2$3/$0", [], ["x" => 1, "y" => true])', b"GET /1true$3/$0"),
    ('http("URL/$10", [], ["a"])', b"GET /$10"),
    ('http("URL/$1", [], ["\\xff\\x00\\r\\n"])', b"GET /%FF%00%0D%0A"),
    ('http("URL/\xe4\\"<>%20")', b"GET /%C3%A4%22%3C%3E%20"),
    ('http("URL/%2e%2E/a%2Fb/../c;d")', b"GET /%2e%2E/a%2Fb/../c;d"),
    ('http("URL/slow", ["timeout" => 0.2])', b"none"),
    ('http("URL/x", ["max_file_size" => 6])', b"GET /x"),
    ('http("URL/x", ["max_file_size" => 5])', b"none"),
    ('http("URL", ["sourceip" => "127.0.0.7"])', b"GET /"),
    ('http("URL", ["sourceip" => "netaddr:one"])', b"GET /"),
    ('http("URL", ["sourceipid" => "one"])', b"GET /"),
    ('http("URL", ["sourceip" => "192.0.2.1"])', b"none"),
    ('http("http://127.0.0.1:1/")', b"none"),
    ('http("http://nothing.invalid/")', b"none"),
    ('http("URL", ["proxy" => ""])', b"GET /"),
]


@pytest.mark.parametrize(("expression", "wanted"), RESULTS)
async def test_results(expression: str, wanted: bytes) -> None:
    sources = {"one": "127.0.0.8"}
    async with (
        dns_server({}) as dns,
        web_server(page) as server,
        opened(servers=["127.0.0.1"], port=dns.port, sources=sources) as network,
    ):
        assert await run(f"echo {expression};", network, server) == [wanted]


async def test_the_source_address_is_used() -> None:
    async with web_server(page) as server, opened(sources={"one": "127.0.0.8"}) as network:
        await run('http("URL", ["sourceip" => "127.0.0.7"]); http("URL", ["sourceipid" => "one"]);', network, server)
        await run('http("URL");', network, server)
    assert [request.remote for request, _ in server.seen] == ["127.0.0.7", "127.0.0.8", "127.0.0.1"]


async def test_response_headers() -> None:
    async with web_server(page) as server, opened() as network:
        (found,) = await run('echo http("URL/missing", ["response_headers" => true]);', network, server)
        both = '["response_headers" => true, "extended_result" => true]'
        (array,) = await run(f'echo http("URL/missing", {both})["content"];', network, server)
        (raw,) = await run('echo http("URL/raw", ["response_headers" => true]);', network, server)
    head, _, content = found.partition(b"\r\n\r\n")
    assert head.splitlines()[0] == b"HTTP/1.1 404 Not Here"
    assert b"Content-Type: text/plain; charset=utf-8" in head.splitlines()
    assert content == b"no"
    assert array.splitlines()[0] == b"HTTP/1.1 404 Not Here"
    assert b"X-Raw: caf\xc3\xa9" in raw.splitlines()


async def test_what_is_sent() -> None:
    async with web_server(page) as server, opened() as network:
        await run(
            """http("URL", ["headers" => ["X-One:  a b ", "Host: other.example", "Accept" => "text/html", "X-Empty:",
            "X-Text: å", "User-Agent: me"]]);""",
            network,
            server,
        )
        await run('http("URL");', network, server)
    headers = {name.decode().lower(): value for name, value in server.seen[0][0].raw_headers}
    assert headers == {
        "x-one": b"a b",
        "host": b"other.example",
        "accept": b"text/html",
        "x-empty": b"",
        "x-text": "å".encode(),
        "user-agent": b"me",
    }
    plain = {name.decode().lower() for name, _ in server.seen[1][0].raw_headers}
    assert plain == {"host", "accept", "user-agent"}


# (post, wanted Content-Type, wanted body)
POSTS: list[tuple[str, str, bytes]] = [
    ('"a=\\x00\\xff"', "application/x-www-form-urlencoded", b"a=\x00\xff"),
    ('["a b" => "c&d", "n" => 1, "å" => "\\xff", "t" => true]', "application/x-www-form-urlencoded",
     b"a+b=c%26d&n=1&%C3%A5=%FF&t=true"),
    ('[]', "application/x-www-form-urlencoded", b""),
    ('function ($size) { return ""; }', "application/octet-stream", b""),
    ('function () { }', "application/octet-stream", b""),
]  # fmt: skip


@pytest.mark.parametrize(("post", "kind", "body"), POSTS)
async def test_posts(post: str, kind: str, body: bytes) -> None:
    async with web_server(page) as server, opened() as network:
        assert await run(f'echo http("URL", [], [], {post});', network, server) == [b"POST /"]
        await run(f'http("URL", ["headers" => ["content-type: a/b"], "method" => "PUT"], [], {post});', network, server)
    (first, sent), (second, _) = server.seen
    assert (first.content_type, sent) == (kind, body)
    assert (second.content_type, second.method) == ("a/b", "PUT")


async def test_a_function_gives_what_is_posted_in_pieces() -> None:
    text = """
        $left = 3;
        function piece($size) { global $left; if ($left == 0) return none; $left -= 1; return str_repeat("x", $size); }
        echo http("URL", [], [], piece);
    """
    async with web_server(page) as server, opened() as network:
        await run(text, network, server)
    assert server.seen[0][1] == b"x" * 3 * 65536


async def test_a_form_with_a_file() -> None:
    text = """http("URL", [], [], ["a" => "1", "file\\"\\r\\n" => ["data" => "\\x00\\xff", "filename" => "x\\".bin",
        "type" => "a/b\\r\\nX-Evil: 1"]]);"""
    async with web_server(page) as server, opened() as network:
        await run(text, network, server)
    request, body = server.seen[0]
    assert request.content_type == "multipart/form-data"
    parts = body.split(b"--" + request.headers["Content-Type"].partition("boundary=")[2].encode())
    assert parts[1:] == [
        b'\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n',
        b'\r\nContent-Disposition: form-data; name="file%22%0D%0A"; filename="x%22.bin"\r\n'
        b"Content-Type: a/bX-Evil: 1\r\n\r\n\x00\xff\r\n",
        b"--\r\n",
    ]


ERRORS = [
    ('http("URL/\\r\\nX: y")', "a space, line break or control character in a URL"),
    ('http("URL/a b")', "a space, line break or control character in a URL"),
    ('http("ftp://a/")', "parameter 1 (url): wanted http://host"),
    ('http("file:///etc/passwd")', "parameter 1 (url): wanted http://host"),
    ('http("")', "parameter 1 (url): wanted http://host"),
    ('http(str_repeat("x", 10000000))', "parameter 1 (url): longer than 65536 bytes"),
    ('http("URL/$1", [], [str_repeat("x", 100000)])', "parameter 1 (url): longer than 65536 bytes"),
    ('http("URL", ["headers" => ["X: a\\r\\nY: b"]])', "without line breaks"),
    ('http("URL", ["headers" => ["X: a\\nY: b"]])', "without line breaks"),
    ('http("URL", ["headers" => ["X: a\\x00"]])', "without line breaks"),
    ('http("URL", ["headers" => ["X" => "a\\rb"]])', "without line breaks"),
    ('http("URL", ["headers" => ["X\\r\\nY" => "b"]])', "without line breaks"),
    ('http("URL", ["headers" => ["X Y: b"]])', "without line breaks"),
    ('http("URL", ["headers" => ["no colon"]])', "wanted `Name: value`"),
    ('http("URL", ["headers" => [": x"]])', "wanted `Name: value`"),
    ('http("URL", ["headers" => ["X: \\xff"]])', "not UTF-8"),
    ('http("URL", ["headers" => [1]])', "option headers: wanted strings, got number"),
    ('http("URL", ["headers" => ["X: " . str_repeat("x", 70000)]])', "longer than 65536 bytes"),
    ('http("URL", ["headers" => array_map(function ($n) { return "X: y"; }, array_range(0, 101))])', "more than 100"),
    ('http("URL", ["headers" => ["Content-Length: 5"]], [], "x")', "Content-Length is set by the client"),
    ('http("URL", ["headers" => ["transfer-encoding: chunked"]])', "transfer-encoding is set by the client"),
    ('http("URL", ["method" => "GET /x HTTP/1.1\\r\\n"])', "there is no method"),
    ('http("URL", ["method" => ""])', "there is no method"),
    ('http("URL", ["method" => "CONNECT"])', "there is no method"),
    ('http("URL", ["timeout" => -1])', "option timeout: wanted seconds, got -1"),
    ('http("URL", ["connect_timeout" => 0])', "option connect_timeout: wanted seconds, got 0"),
    ('http("URL", ["max_file_size" => -1])', "option max_file_size: wanted bytes, got -1"),
    ('http("URL", ["sourceip" => "a"])', "option sourceip: wanted an IP address, got 'a'"),
    ('http("URL", ["sourceip" => "netaddr:x"])', "there is no address 'netaddr:x' in the configuration"),
    ('http("URL", ["sourceipid" => "x"])', "there is no address 'netaddr:x' in the configuration"),
    ('http("URL", ["proxy" => "socks5://127.0.0.1:1"])', "option proxy: wanted http://host"),
    ('http("URL", ["tls_client_cert" => "pki:1"])', "name it by the option proxy"),
    ('http("URL", ["timeout" => "x"])', "option timeout: wanted number or none, got string"),
    ('http("URL", [], [], 5)', "parameter 4 (post): wanted array or function or string, got number"),
    ('http("URL", [], [], function () { return 5; })', "the post function returned number"),
    ('http("URL", [], [], function () { return str_repeat("x", 60000000); })', "string exceeds 67108864 bytes"),
    ('http("URL", [], [], ["a" => ["b" => 1]])', "wanted a string, or an array with data"),
]


@pytest.mark.parametrize(("expression", "wanted"), ERRORS)
async def test_wrong_values(expression: str, wanted: str) -> None:
    async with web_server(page) as server, opened() as network:
        with pytest.raises(ScriptError) as caught:
            await run(f"echo {expression};", network, server)
    assert wanted in caught.value.message
    assert server.seen == []


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        (b"http://A.Example", "http://a.example/"),
        (b"HTTPS://u:p%40@a.example:8443?x=y#f", "https://u:p%40@a.example:8443/?x=y"),
        ("http://fußball.example/ä".encode(), "http://xn--fuball-cta.example/%C3%A4"),
        (b"http://[2001:DB8::1]:80/x", "http://[2001:db8::1]:80/x"),
        (b"http://a:/\xff", "http://a/%FF"),
        (b"http://a_b-c/", "http://a_b-c/"),
    ],
)
async def test_addresses_as_they_are_sent(url: bytes, wanted: str) -> None:
    assert clean_url(url) == wanted


@pytest.mark.parametrize(
    "url",
    [
        b"//a/", b"http:/a", b"http:///a", b"http://a:0/", b"http://a:99999/", b"http://a:b/", b"http://a@b@c/",
        b"http://a\\@b/", b"http://good.example\\.evil.example/", b"http://[::1%25eth0]/", b"http://[::1/",
        b"http://[x]/", b"http://a%2eb/", b"http://\xff/", b"http://a\x00/", b"http://a\x7f/", b"http://a^b/",
        b"gopher://a/", b"http://", b"javascript:alert(1)", "http://a..ü/".encode(),
        "http://good.example\uff20evil.example/".encode(), "http://a\uff1a99999/".encode(), "http://a\uff1fx/".encode(),
    ],
)  # fmt: skip
async def test_what_is_no_address(url: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        clean_url(url)


# ------------------------------------------------------------ what servers may not do


async def write_endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x" * 1_000_000)
        await writer.drain()


def answering(data: bytes, wait: float = 0.0) -> Callable[[asyncio.StreamWriter], Any]:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(wait)

    return answer


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 " + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000,
        b"SSH-2.0-x\r\n",
    ],
)
async def test_answers_that_are_not_valid(data: bytes) -> None:
    async with raw_server(answering(data)) as server, opened() as network:
        assert await run('echo http("URL", ["extended_result" => true, "timeout" => 5]);', network, server) == [b"none"]


async def test_an_endless_answer_ends_at_the_limit() -> None:
    async with raw_server(write_endless) as server, opened() as network:
        assert await run('echo http("URL", ["max_file_size" => 3000000]);', network, server) == [b"none"]
        with pytest.raises(ScriptError, match="string exceeds 67108864 bytes"):
            await run('echo http("URL");', network, server)


async def test_10_gigabytes_are_refused_when_they_are_announced() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n"
    async with raw_server(answering(head, 5)) as server, opened() as network:
        with pytest.raises(ScriptError, match="string exceeds 67108864 bytes"):
            await run('echo http("URL");', network, server)
        for size in ("0", "100000000000"):
            assert await run(f'echo http("URL", ["max_file_size" => {size}]);', network, server) == [b"none"]


async def test_what_is_compressed_stays_so() -> None:
    async with web_server(page) as server, opened() as network:
        (found,) = await run('echo http("URL/zipped", ["headers" => ["Accept-Encoding: gzip"]]);', network, server)
    assert gzip.decompress(found) == b"plain"


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def test_an_answer_that_drips() -> None:
    """Each byte comes in time, but not the whole."""
    async with raw_server(drip) as server, opened() as network:
        assert await run('echo http("URL", ["timeout" => 0.4]);', network, server) == [b"none"]
        with pytest.raises(ScriptError, match=r"exceeded its budget of 0\.4 seconds"):
            await run('echo http("URL");', network, server, seconds=0.4)


async def test_one_script_that_waits_does_not_stop_another() -> None:
    async with web_server(page) as server, opened() as network:
        slow = asyncio.create_task(run('echo http("URL/slow", ["timeout" => 5]);', network, server))
        async with asyncio.timeout(4):
            assert await run('echo http("URL");', network, server) == [b"GET /"]
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow


# ------------------------------------------------------------ redirects


def redirecting(target: str, status: int = 302) -> Callable[[web.Request], Any]:
    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path == "/from":
            return web.Response(status=status, headers={"Location": target})
        if request.path.startswith("/count/"):
            left = int(request.path.rpartition("/")[2])
            return web.Response(status=302, headers={"Location": f"/count/{left - 1}" if left else "/end"})
        return web.Response(text=f"{request.method} {request.raw_path}")

    return handle


@pytest.mark.parametrize(
    ("status", "call", "wanted"),
    [
        (302, '"URL/from"', b"none"),
        (302, '"URL/from", ["extended_result" => true]', b'["status"=>302,"content"=>""]'),
        (302, '"URL/from", ["redirects" => 1]', b"GET /to?x=%20"),
        (302, '"URL/from", ["redirects" => -1], [], "x"', b"GET /to?x=%20"),
        (303, '"URL/from", ["redirects" => -1, "method" => "PUT"], [], "x"', b"GET /to?x=%20"),
        (307, '"URL/from", ["redirects" => -1], [], "x"', b"POST /to?x=%20"),
        (308, '"URL/from", ["redirects" => -1, "method" => "PUT"], [], "x"', b"PUT /to?x=%20"),
        (304, '"URL/from", ["redirects" => -1]', b"none"),
        (302, '"URL/count/3", ["redirects" => 4]', b"GET /end"),
        (302, '"URL/count/3", ["redirects" => 3]', b"none"),
        (302, '"URL/count/100", ["redirects" => -1]', b"none"),
        (302, '"URL/count/100", ["redirects" => 100000]', b"none"),
    ],
)
async def test_redirects(status: int, call: str, wanted: bytes) -> None:
    async with web_server(redirecting("/to?x=%20", status)) as server, opened() as network:
        assert await run(f"echo http({call});", network, server) == [wanted]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/", "//", "http://a b/", "http://[x"])
async def test_redirects_to_elsewhere(target: str) -> None:
    async with web_server(redirecting(target)) as server, opened() as network:
        assert await run('echo http("URL/from", ["redirects" => 1]);', network, server) == [b"none"]


async def test_secrets_do_not_follow_to_another_host() -> None:
    text = """echo http("URL/from", ["redirects" => 1, "headers" => ["Authorization: secret", "Cookie: secret",
        "Host: first.example", "X-Kept: yes"]], [], "body");"""
    async with web_server(page) as second, web_server(redirecting(f"{second.url}/to")) as first, opened() as network:
        assert await run(text, network, first) == [b"GET /to"]
    sent = second.seen[0][0].headers
    assert {"Authorization", "Cookie", "Content-Type"}.isdisjoint(sent)
    assert (sent["Host"], sent["X-Kept"]) == (f"127.0.0.1:{second.port}", "yes")
    assert first.seen[0][0].headers["Host"] == "first.example"


# ------------------------------------------------------------ denied addresses


DENIED = [
    "http://169.254.169.254/latest/meta-data/",
    "http://[fe80::1]/",
    "http://[fd00:ec2::254]/",
    "http://[::ffff:169.254.169.254]/",
    "http://metadata.example/",
    "http://six.example/",
]
ZONE: Zone = {
    ("metadata.example", "A"): ["169.254.169.254"],
    ("six.example", "AAAA"): ["::ffff:169.254.169.254"],
    ("here.example", "A"): ["127.0.0.1"],
    ("mixed.example", "A"): ["169.254.169.254", "127.0.0.1"],
}


@pytest.mark.parametrize("url", DENIED)
async def test_denied_addresses(url: str) -> None:
    async with dns_server(ZONE) as dns, opened(servers=["127.0.0.1"], port=dns.port) as network:
        with pytest.raises(ScriptError, match="not permitted"):
            await run(f'http("{url}");', network)
        with pytest.raises(ScriptError, match="not permitted"):
            await run(f'http("http://here.example/", ["proxy" => "{url}"]);', network)


@pytest.mark.parametrize("url", DENIED)
async def test_redirects_into_denied_networks(url: str) -> None:
    async with (
        dns_server(ZONE) as dns,
        opened(servers=["127.0.0.1"], port=dns.port) as network,
        web_server(redirecting(url)) as server,
    ):
        with pytest.raises(ScriptError, match="not permitted"):
            await run('http("URL/from", ["redirects" => 1]);', network, server)


async def test_a_name_with_a_denied_address_leads_to_the_other() -> None:
    async with named_server("mixed.example", ZONE) as (server, network, _):
        assert await run('echo http("URL");', network, server) == [b"GET /"]


async def test_a_name_that_changes_its_address() -> None:
    """The first answer is permitted, the next one is denied: each connection is looked at anew."""
    zone: Zone = {("here.example", "A"): ["127.0.0.1"]}

    def rebind() -> None:
        zone["here.example", "A"] = ["169.254.169.254"]

    async with named_server("here.example", zone, ttl=0) as (server, network, dns):
        dns.change = rebind
        assert await run('echo http("URL");', network, server) == [b"GET /"]
        with pytest.raises(ScriptError, match="not permitted"):
            await run('http("URL", ["sourceip" => "127.0.0.1"]);', network, server)


async def test_the_policy_is_asked_as_the_socket_is_made() -> None:
    """Even if the question for the addresses is not subject to it."""
    policy = NetworkPolicy(deny=["127.0.0.1"])
    async with named_server("here.example", ZONE, policy=policy) as (server, network, _):
        network.http.names.permit = lambda address: None
        assert await run('echo http("URL");', network, server) == [b"none"]
    assert server.seen == []


async def test_a_new_policy_ends_open_connections() -> None:
    async with named_server("here.example", ZONE) as (server, network, _):
        assert await run('echo http("URL");', network, server) == [b"GET /"]
        network.configure(NetworkPolicy(deny=["127.0.0.1"]), {})
        with pytest.raises(ScriptError, match="not permitted"):
            await run('http("URL");', network, server)
    assert len(server.seen) == 1


# ------------------------------------------------------------ TLS


@pytest.fixture
def authority(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """An authority that the system trusts."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return authority


TLS = [
    ("here.example", '["tls_verify_peer" => true]', b"GET /"),
    ("here.example", "[]", b"GET /"),
    ("here.example", '["ssl_default_ca" => true, "ssl_verify_host" => true]', b"GET /"),
    ("other.example", "[]", b"none"),
    ("other.example", '["tls_verify_host" => false]', b"GET /"),
    ("other.example", '["ssl_verify_host" => false]', b"GET /"),
    ("other.example", '["tls_verify_peer" => false]', b"GET /"),
]


@pytest.mark.parametrize(("name", "options", "wanted"), TLS)
async def test_certificates(authority: trustme.CA, name: str, options: str, wanted: bytes) -> None:
    async with named_server("here.example", ZONE, certificate=authority.issue_cert(name)) as (server, network, _):
        assert await run(f'echo http("URL", {options});', network, server) == [wanted]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("[]", b"none"),
        ('["tls_verify_host" => false]', b"none"),
        ('["tls_verify_peer" => false]', b"GET /"),
        ('["ssl_verify_peer" => false]', b"GET /"),
    ],
)
async def test_an_unknown_authority(authority: trustme.CA, options: str, wanted: bytes) -> None:
    async with web_server(page, trustme.CA().issue_cert("127.0.0.1")) as server, opened() as network:
        assert await run(f'echo http("URL", {options});', network, server) == [wanted]


async def test_a_connection_that_was_not_verified_is_not_used_again(authority: trustme.CA) -> None:
    async with web_server(page, trustme.CA().issue_cert("127.0.0.1")) as server, opened() as network:
        text = 'echo http("URL", ["tls_verify_peer" => false]); echo http("URL");'
        assert await run(text, network, server) == [b"GET /", b"none"]


# ------------------------------------------------------------ proxies


async def proxied(request: web.Request) -> web.StreamResponse:
    return web.Response(text=f"proxy: {request.raw_path} {request.headers.get('Proxy-Authorization', '')}".rstrip())


async def test_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with web_server(proxied) as proxy, web_server(page) as server, opened() as network:
        place = f"127.0.0.1:{proxy.port}"
        text = f'echo http("http://far.example/x", ["proxy" => "{place}"]);'
        assert await run(text, network) == [b"proxy: http://far.example/x"]
        with_password = text.replace(place, f"http://ann:secret@{place}")
        assert await run(with_password, network) == [b"proxy: http://far.example/x Basic YW5uOnNlY3JldA=="]
        monkeypatch.setenv("http_proxy", place)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert await run('echo http("http://far.example/x");', network) == [b"proxy: http://far.example/x"]
        assert await run('echo http("URL");', network, server) == [b"GET /"]
        monkeypatch.setenv("no_proxy", "")
        assert await run('echo http("URL", ["proxy" => ""]);', network, server) == [b"GET /"]


# ------------------------------------------------------------ in the background


async def test_the_background() -> None:
    lines: list[str] = []
    tries = 0

    async def fails_once(request: web.Request) -> web.StreamResponse:
        nonlocal tries
        tries += request.path == "/flaky"
        return web.Response(status=500 if request.path == "/flaky" and tries == 1 else 200)

    async with web_server(fails_once) as server:
        network = ScriptNetwork(log=Log("debug", lines.append))
        text = """
            $options = ["background" => true, "background_hash" => 3000000001];
            echo http("URL/flaky", $options + ["background_retry_count" => 2, "background_retry_delay" => 0.01]);
            echo http("URL/second", $options, [], "data");
            echo http("http://169.254.169.254/", $options);
        """
        assert await run(text, network, server) == [b"true", b"true", b"true"]
        await network.close(10.0)
    assert [(request.path, body) for request, body in server.seen] == [
        ("/flaky", b""), ("/flaky", b""), ("/second", b"data")
    ]  # fmt: skip
    assert ["status 500" in lines[0], "not permitted" in lines[1], len(lines)] == [True, True, 2]


async def test_what_waits_in_the_background_at_the_end_is_logged() -> None:
    lines: list[str] = []
    async with web_server(page) as server:
        network = ScriptNetwork(log=Log("debug", lines.append))
        await run('for ($i = 0; $i < 3; $i += 1) http("URL/slow", ["background" => true]);', network, server)
        await network.close(0.1)
    assert "http-background-lost" in lines[0]
    assert "requests=3" in lines[0]


async def test_headers_count_for_the_background_too() -> None:
    async with raw_server(drip) as server, opened() as network:
        text = """
            $headers = [];
            for ($i = 0; $i < 100; $i += 1) $headers[] = "X: " . str_repeat("x", 60000);
            $sent = 0;
            while (http("URL", ["background" => true, "headers" => $headers])) $sent += 1;
            echo $sent;
        """
        assert await run(text, network, server) == [b"11"]


async def test_a_delay_that_is_no_number_is_none() -> None:
    async with web_server(page) as server, opened() as network:
        text = """
            $infinite = pow(10, 400);
            $options = ["background" => true, "background_retry_count" => 1];
            $options["background_retry_delay"] = $infinite - $infinite;
            echo http("URL/missing", $options);
            echo http("URL/next", $options);
        """
        assert await run(text, network, server) == [b"true", b"true"]
        await network.close(5.0)
    assert [request.path for request, _ in server.seen] == ["/missing", "/missing", "/next"]


async def test_a_request_that_breaks_does_not_stop_its_queue() -> None:
    lines: list[str] = []
    made: list[str] = []

    async def make(request: HTTPRequest) -> HTTPResponse:
        made.append(request.url)
        if request.url == "one":
            raise AssertionError("broken")
        return HTTPResponse("1.1", 200, "OK", (), b"")

    background = Background(make, Log("debug", lines.append))
    assert background.put(HTTPRequest("one"), 0, 0, 0.0)
    assert background.put(HTTPRequest("two"), 0, 0, 0.0)
    await background.close(5.0)
    assert made == ["one", "two"]
    assert len(lines) == 1
    assert "AssertionError: broken" in lines[0]


async def test_the_background_takes_only_so_much() -> None:
    async with raw_server(drip) as server, opened() as network:
        text = """
            $large = str_repeat("x", 30000000);
            for ($i = 0; $i < 3; $i += 1) echo http("URL", ["background" => true], [], $large);
        """
        assert await run(text, network, server) == [b"true", b"true", b"none"]
