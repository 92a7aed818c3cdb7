"""DMARC (RFC 9989): authors, the tree walk, alignment, policies."""

from __future__ import annotations

import pytest
from dnstable import TableDNS

from hsl.library.dkim import Message
from hsl.library.dmarc import NoAnswer, Policies, ancestors, author_domain
from hsl.library.network import DNSAnswer

AUTHORS = [
    (b"user@example.com", "example.com"),
    (b"<user@Example.COM>", "example.com"),
    (b'"Last, First" <user@example.com>', "example.com"),
    (b'"a \\" <x@evil.example>" <user@example.com>', "example.com"),
    (b"First (a comment <x@evil.example>) <user@example.com>", "example.com"),
    (b'(5" tall (nested)) Joe <user@example.com> (another)', "example.com"),
    (b'"quoted@local"@example.com', "example.com"),
    (b"a@example.com, b@EXAMPLE.com", "example.com"),
    (b"Team: a@example.com, b@example.com;", "example.com"),
    (b"=?utf-8?q?x?= <user@example.com>", "example.com"),
    ("<user@bücher.example>".encode(), "xn--bcher-kva.example"),
    (b" \r\n <user@example.com>", "example.com"),
    (b"user@example.com.", None),
    (b"", None),
    (b"no address", None),
    (b"<>", None),
    (b"undisclosed:;", None),
    (b"a@example.com, b@example.org", None),
    (b"<a@example.com> <b@example.org>", None),
    (b"a@example.com <b@example.org", None),
    (b"a@example.com, ", "example.com"),
    (b"a@[192.0.2.1]", None),
    (b"a@", None),
    (b"a@b c", None),
    (b"a@example.com\x00", None),
    (b'"open <user@example.com>', None),
    (b"(open <user@example.com>", None),
    (b"close) <user@example.com>", "example.com"),
    (b"a@\xff\xfe", None),
]


@pytest.mark.parametrize(("value", "domain"), AUTHORS)
def test_the_authors_domain(value: bytes, domain: str | None) -> None:
    assert author_domain(Message(b"From: " + value + b"\r\n\r\n")) == domain


@pytest.mark.parametrize("head", [b"Subject: x\r\n", b"From: a@example.com\r\nFrom: a@example.com\r\n"])
def test_there_has_to_be_one_from(head: bytes) -> None:
    assert author_domain(Message(head + b"\r\n")) is None


@pytest.mark.parametrize(
    "text", [b'"' * 300_000, b"(" * 300_000, b'"\\' * 300_000, b"a@b.c, " * 100_000, b'("\\"' * 100_000]
)
def test_a_hostile_from_is_read_at_once(text: bytes) -> None:
    assert author_domain(Message(b"From: " + text + b"\r\n\r\n")) in (None, "b.c")


def policies(records: dict[str, str], **others: list[bytes] | str) -> tuple[Policies, TableDNS]:
    """Records at `_dmarc.`; others are answers for A of a name, dots as underscores."""
    table: dict[tuple[str, str], list[bytes] | str] = {
        (f"_dmarc.{name}", "TXT"): [item.encode() for item in text.split("|")] for name, text in records.items()
    }
    table |= {(name.replace("_", "."), "A"): answer for name, answer in others.items()}
    dns = TableDNS(table)

    def ask(name: str, kind: str) -> DNSAnswer:
        coroutine = dns.query(name, kind)
        try:
            coroutine.send(None)
        except StopIteration as stop:
            answer: DNSAnswer = stop.value
            return answer
        raise AssertionError

    return Policies(ask), dns


P = "v=DMARC1; p="
ORGANIZATIONS = [
    # records, a domain, its organization
    ({}, "a.b.example.com", "a.b.example.com"),
    ({"example.com": P + "none"}, "a.b.example.com", "example.com"),
    ({"example.com": P + "none", "b.example.com": P + "reject"}, "a.b.example.com", "example.com"),
    ({"example.com": P + "none", "b.example.com": P + "reject; psd=n"}, "a.b.example.com", "b.example.com"),
    ({"com": P + "none; psd=y"}, "a.b.example.com", "example.com"),
    ({"com": P + "none; psd=y", "example.com": P + "none"}, "a.b.example.com", "example.com"),
    ({"com": P + "none; psd=y", "b.example.com": P + "none"}, "a.b.example.com", "example.com"),
    ({"com": P + "none; psd=u"}, "a.b.example.com", "com"),
    ({"example.com": P + "none; psd=y"}, "example.com", "example.com"),
    ({"example.com": "v=DMARC1; psd=n"}, "www.example.com", "example.com"),
    ({"example.com": P + "none|v=spf1 -all"}, "www.example.com", "example.com"),
    ({"example.com": P + "none|" + P + "reject"}, "www.example.com", "www.example.com"),
]


@pytest.mark.parametrize(("records", "domain", "organization"), ORGANIZATIONS)
def test_the_organization(records: dict[str, str], domain: str, organization: str) -> None:
    assert policies(records)[0].organization(domain) == organization


WALKS = [
    ("com", "com"),
    ("a.b.com", "a.b.com b.com com"),
    ("1.2.3.4.5.6.com", "1.2.3.4.5.6.com 2.3.4.5.6.com 3.4.5.6.com 4.5.6.com 5.6.com 6.com com"),
    (
        "x.y.1.2.3.4.5.6.com",
        "x.y.1.2.3.4.5.6.com 1.2.3.4.5.6.com 2.3.4.5.6.com 3.4.5.6.com 4.5.6.com 5.6.com 6.com com",
    ),
]


@pytest.mark.parametrize(("domain", "names"), WALKS)
def test_a_walk_asks_at_most_eight_questions_and_each_once(domain: str, names: str) -> None:
    assert ancestors(domain) == names.split()
    found, dns = policies({})
    found.organization(domain)
    found.applied(domain)
    assert dns.asked == [(f"_dmarc.{name}", "TXT") for name in names.split()]


ALIGNED = [
    ("example.com", "example.com", False, True),
    ("example.com", "example.com", True, True),
    ("example.com", "mail.example.com", False, True),
    ("example.com", "mail.example.com", True, False),
    ("mail.example.com", "example.com", False, True),
    ("a.example.com", "b.example.com", False, True),
    ("example.com", "example.org", False, False),
    ("example.com", "notexample.com", False, False),
    ("example.com", "sub.apart.example.com", False, False),
    ("sub.apart.example.com", "apart.example.com", False, True),
]


@pytest.mark.parametrize(("author", "domain", "strict", "wanted"), ALIGNED)
def test_alignment(author: str, domain: str, strict: bool, wanted: bool) -> None:
    found, _ = policies({"example.com": P + "none", "apart.example.com": P + "none; psd=n"})
    assert found.aligned(author, domain, strict) is wanted


POLICIES = [
    # the organization's record, an author's domain, what is asked for
    (P + "reject", "example.com", "reject"),
    (P + "reject", "sub.example.com", "reject"),
    (P + "reject; sp=quarantine", "sub.example.com", "quarantine"),
    (P + "reject; sp=quarantine", "example.com", "reject"),
    (P + "none; sp=none; np=reject", "missing.example.com", "reject"),
    (P + "none; sp=none; np=reject", "sub.example.com", "none"),
    (P + "quarantine; np=bogus", "missing.example.com", "quarantine"),
    (P + "reject; t=y", "example.com", "quarantine"),
    (P + "quarantine; t=y", "example.com", "none"),
    (P + "none; t=y", "example.com", "none"),
    (P + "reject; pct=0; t=n", "example.com", "reject"),
    (P + "REJECT ; adkim=s", "example.com", "reject"),
    ("v=DMARC1 ;p=reject", "example.com", "reject"),
    ("v=DMARC1; p=reject; junk; =; p=none; sp=x", "example.com", "reject"),
    ("v=DMARC1; p=bogus; rua=mailto:x@example.com", "example.com", "none"),
    ("v=DMARC1; rua=mailto:x@example.com", "example.com", "none"),
    ("v=DMARC1; p=bogus", "example.com", None),
    ("v=DMARC1", "example.com", None),
    ("v=DMARC2; p=reject", "example.com", None),
    ("v=dmarc1; p=reject", "example.com", None),
    ("p=reject; v=DMARC1", "example.com", None),
    ("v=DMARC1x; p=reject", "example.com", None),
]


@pytest.mark.parametrize(("record", "author", "wanted"), POLICIES)
def test_policies(record: str, author: str, wanted: str | None) -> None:
    found, _ = policies({"example.com": record}, sub_example_com=[b"192.0.2.1"], missing_example_com="NXDOMAIN")
    applied = found.applied(author)
    assert (applied and found.policy(applied, author)) == wanted


def test_a_domains_own_record_goes_first_and_a_suffixs_last() -> None:
    records = {"com": P + "reject; psd=y", "example.com": P + "quarantine", "sub.example.com": P + "none"}
    found, _ = policies(records, other_com=[b"192.0.2.1"])
    named = {name: found.applied(name) for name in ("sub.example.com", "x.example.com", "other.com")}
    assert {name: record and record.domain for name, record in named.items()} == {
        "sub.example.com": "sub.example.com",
        "x.example.com": "example.com",
        "other.com": "com",
    }


def test_the_dns_does_not_answer() -> None:
    found, dns = policies({})
    dns.table["_dmarc.example.com", "TXT"] = "SERVFAIL"
    with pytest.raises(NoAnswer):
        found.applied("www.example.com")
