"""spf_query, spf, dnsbl, header_dkim_decode, as scripts call them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from dnstable import TableHost

from hsl import bridge
from hsl.errors import ScriptError
from hsl.library import mailauth
from hsl.run import Run

MakeRun = Callable[..., Run]
TABLE = {
    ("example.com", "TXT"): [b"unrelated", b"v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 ~all"],
    ("strict.example", "TXT"): [b"v=spf1 a:host.example -all"],
    ("host.example", "A"): [b"192.0.2.1"],
    ("open.example", "TXT"): [b"v=spf1 ?all"],
    ("two.example", "TXT"): [b"v=spf1 -all", b"v=spf1 +all"],
    ("late.example", "TXT"): "TIMEOUT",
    ("broken.example", "TXT"): "SERVFAIL",
    ("xn--bcher-kva.example", "TXT"): [b"v=spf1 exists:%{d}.ok.example -all"],
    ("xn--bcher-kva.example.ok.example", "A"): [b"127.0.0.2"],
    ("1.2.0.192.list.example", "A"): [b"127.0.0.2", b"127.0.0.4"],
    ("1.0.0.0." + "0." * 20 + "8.b.d.0.1.0.0.2.list.example", "A"): [b"127.0.0.3"],
    ("9.2.0.192.list.example", "A"): "TIMEOUT",
}


@pytest.fixture
def host() -> TableHost:
    return TableHost(TABLE)


@pytest.fixture
def ask(call: Callable[..., Any], make_run: MakeRun, host: TableHost) -> Callable[..., Any]:
    """Call a function that may wait."""

    def ask(name: str, *arguments: Any) -> Any:
        run = make_run(host)
        return asyncio.run(bridge.run_script(lambda: call(name, *arguments, run=run)))

    return ask


SPF = [
    ("192.0.2.1", "mail.example", "user@example.com", b"pass", 0),
    ("2001:db8::1", "mail.example", "example.com", b"pass", 0),
    ("198.51.100.1", "mail.example", "user@example.com", b"softfail", 20),
    ("192.0.2.1", "strict.example", "", b"pass", 0),
    ("192.0.2.2", "strict.example", "", b"fail", 100),
    ("192.0.2.2", "mail.example", "strict.example", b"fail", 100),
    ("192.0.2.1", "mail.example", "open.example", b"neutral", 50),
    ("192.0.2.1", "mail.example", "none.example", b"none", 50),
    ("192.0.2.1", "mail.example", "nodots", b"none", 50),
    ("192.0.2.1", "", "", b"none", 50),
    ("192.0.2.1", "mail.example", "two.example", b"permerror", 50),
    ("192.0.2.1", "mail.example", "late.example", b"temperror", 50),
    ("192.0.2.1", "mail.example", "broken.example", b"temperror", 50),
    ("192.0.2.1", "mail.example", "user@bücher.example", b"pass", 0),
    ("192.0.2.1", "mail.example", "bücher.example", b"pass", 0),
    ("localhost", "mail.example", "example.com", b"invalid", 50),
    ("", "mail.example", "example.com", b"invalid", 50),
    ("192.0.2.1", b"\xff\x00", b"a\x00@\xff\xfe.example", b"none", 50),
    ("192.0.2.1", "mail.example", b"@" * 100_000, b"none", 50),
]


@pytest.mark.parametrize(("ip", "helo", "sender", "result", "score"), SPF)
def test_spf(ask: Callable[..., Any], ip: str, helo: Any, sender: Any, result: bytes, score: int) -> None:
    assert ask("spf_query", ip, helo, sender) == {b"result": result}
    assert ask("spf", ip, helo, sender) == score


def test_questions_go_to_the_given_servers_with_the_given_timeout(ask: Callable[..., Any], host: TableHost) -> None:
    ask(
        "spf_query", "192.0.2.1", "h", "example.com", {"timeout": 1.5, "servers": ["192.0.2.53", "[2001:db8::53]:5353"]}
    )
    assert host.dns.waits == [(1.5, ("192.0.2.53", "[2001:db8::53]:5353"))]


def test_all_questions_together_have_a_limit(make_run: MakeRun, host: TableHost) -> None:
    questions = mailauth.Questions(make_run(host), "spf_query")
    questions.ends -= mailauth.TOTAL
    assert mailauth.check_spf(questions, b"192.0.2.1", b"h", b"example.com") == "temperror"
    assert host.dns.asked == []


BAD = [
    ("spf_query", ("192.0.2.1", "h", "example.com", {"timeout": 0}), "timeout: wanted seconds, got 0"),
    ("spf_query", ("192.0.2.1", "h", "example.com", {"timeout": "1"}), "option timeout"),
    ("spf_query", ("192.0.2.1", "h", "example.com", {"servers": [1]}), "servers: wanted strings, got number"),
    ("spf_query", ("192.0.2.1", "h"), "spf_query"),
    ("spf", (1, "h", "example.com"), "parameter 1"),
    ("dnsbl", ("192.0.2", "list.example"), r"dnsbl\(\): parameter 1 \(ip\): wanted an IP address"),
    ("dnsbl", ("", "list.example"), r"dnsbl\(\): parameter 1 \(ip\): wanted an IP address"),
    ("dnsbl", ("192.0.2.1", "list.example", ["192.0.2.53"], -1), "timeout: wanted seconds"),
    ("header_dkim_decode", (1,), "parameter 1"),
    ("header_dkim_decode", ("a=b", {"field": "x"}), "option field"),
]


@pytest.mark.parametrize(("name", "arguments", "error"), BAD)
def test_wrong_arguments(ask: Callable[..., Any], name: str, arguments: tuple[Any, ...], error: str) -> None:
    with pytest.raises(ScriptError, match=error):
        ask(name, *arguments)


@pytest.mark.parametrize("name", ["spf_query", "spf"])
def test_without_a_network(call: Callable[..., Any], make_run: MakeRun, name: str) -> None:
    run = make_run()
    with pytest.raises(ScriptError, match="there is no network here"):
        asyncio.run(bridge.run_script(lambda: call(name, "192.0.2.1", "h", "example.com", run=run)))


LISTED = [
    (("192.0.2.1", "list.example"), [b"127.0.0.2", b"127.0.0.4"]),
    (("192.0.2.1", ".list.example", ["192.0.2.53"], 2), [b"127.0.0.2", b"127.0.0.4"]),
    (("2001:db8::1", "list.example"), [b"127.0.0.3"]),
    (("192.0.2.2", "list.example"), []),
    (("192.0.2.9", "list.example"), []),
    (("192.0.2.1", ""), []),
]


@pytest.mark.parametrize(("arguments", "wanted"), LISTED)
def test_dnsbl(ask: Callable[..., Any], arguments: tuple[Any, ...], wanted: list[bytes]) -> None:
    assert ask("dnsbl", *arguments) == wanted


def test_dnsbl_asks_the_given_servers(ask: Callable[..., Any], host: TableHost) -> None:
    ask("dnsbl", "192.0.2.1", "list.example", ["192.0.2.53"], 2)
    assert host.dns.asked == [("1.2.0.192.list.example", "A")]
    assert host.dns.waits == [(2.0, ("192.0.2.53",))]


TAGS: list[tuple[Any, Any]] = [
    ("v=1; d=domain; s=selector; h=to:from", {b"v": b"1", b"d": b"domain", b"s": b"selector", b"h": b"to:from"}),
    ("a=b", {b"a": b"b"}),
    ("a=b;", {b"a": b"b"}),
    ("a=b; ", {b"a": b"b"}),
    (" a = b c = d ;\r\n\tB=\r\n x\r\n y ", {b"a": b"b c = d", b"B": b"x y"}),
    ("a=", {b"a": b""}),
    ("p==", {b"p": b"="}),
    ("a=x; A=y", {b"a": b"x", b"A": b"y"}),
    ("a_1=x", {b"a_1": b"x"}),
    (b"a=\x00\xff", {b"a": b"\x00\xff"}),
    ("", []),
    (";", None),
    ("a", None),
    ("a=b; c", None),
    ("a=b;; c=d", None),
    ("=b", None),
    ("1a=b", None),
    ("a-b=c", None),
    ("a b=c", None),
    ("a=b; a=c", None),
    ("DKIM-Signature: v=1", None),
    (b"\xff=x", None),
]


@pytest.mark.parametrize(("value", "wanted"), TAGS)
def test_header_dkim_decode(call: Callable[..., Any], value: Any, wanted: Any) -> None:
    assert call("header_dkim_decode", value) == wanted


FIELDS = [
    ("DKIM-Signature: v=1; d=x", {b"v": b"1", b"d": b"x"}),
    ("ARC-Seal:i=1;\r\n cv=none", {b"i": b"1", b"cv": b"none"}),
    ("v=1; d=x", None),
    ("Name:", []),
]


@pytest.mark.parametrize(("value", "wanted"), FIELDS)
def test_header_dkim_decode_of_a_field(call: Callable[..., Any], value: str, wanted: Any) -> None:
    assert call("header_dkim_decode", value, {"field": True}) == wanted
    assert call("header_dkim_decode", "a=b", {"field": False}) == {b"a": b"b"}


@pytest.mark.parametrize(
    "value", ["a=b; " * 2_000_000, ";" * 10_000_000, "a=" + " " * 10_000_000, "a=\r\n " * 2_000_000]
)
def test_10_mb_of_tags_are_read_at_once(call: Callable[..., Any], value: str) -> None:
    call("header_dkim_decode", value)
