"""ScanDMARC, DKIMSDID, DKIMADSP and DeliverWithDKIM at the end of data, over a DNS of a table."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from dnstable import TableDNS, TableNetwork

from hsl.library import dkimtext
from hsl.library.dkim import SIGNATURE, Message, Signature, verify
from hsl.library.dkimtext import SignOptions
from hsl.runtime.model import Address, Body

pytestmark = pytest.mark.asyncio

Signer = Callable[..., bytes]
FROM = b"From: Alice <alice@example.com>\r\nSubject: x\r\n\r\nbody\r\n"
P = "v=DMARC1; p="
PASS = {"example.com": "v=spf1 ip4:192.0.2.9 -all"}  # the world's client
NOBODY = {"example.com": "v=spf1 -all"}


@cache
def key() -> RSAPrivateKey:
    return generate_private_key(65537, 1024)


@cache
def pem() -> str:
    return key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@cache
def record() -> bytes:
    der = key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b"v=DKIM1; p=" + b64encode(der)


@pytest.fixture
def dns(world: Any) -> TableDNS:
    """The world's DNS: keys for the selector `mail` of three domains, addresses of two."""
    names = ("example.com", "mail.example.com", "example.org")
    table: dict[tuple[str, str], list[bytes] | str] = {(f"mail._domainkey.{name}", "TXT"): [record()] for name in names}
    table |= {(name, "A"): [b"192.0.2.80"] for name in names}
    found = TableDNS(table)
    world.services = replace(world.services, network=TableNetwork(found))
    return found


def publish(dns: TableDNS, prefix: str, records: dict[str, str]) -> None:
    for name, text in records.items():
        dns.table[prefix + name, "TXT"] = text if text.isupper() else [text.encode()]


class Nowhere:
    """A run without a host: for signing only."""

    host = None


def signed(domain: str, message: bytes = FROM, **options: Any) -> bytes:
    chosen = SignOptions(**options)
    field = dkimtext.sign(Nowhere(), "sign", message, b"mail", domain.encode(), pem().encode(), chosen)  # type: ignore[arg-type]
    return field + message


async def result(world: Any, expression: str, body: bytes) -> Any:
    """What an expression gives at the end of data."""
    outcome = await world.data(f"Reject(json_encode({expression}));", body=body)
    reply = outcome.reply([])
    assert reply.code == 550, world.lines
    return json.loads(" ".join(reply.lines))


DMARC = [
    # DMARC records, SPF records, who signed, the result
    ({}, PASS, "", "policy_absent"),
    ({"example.com": P + "reject"}, {}, "", "reject"),
    ({"example.com": P + "quarantine"}, NOBODY, "", "quarantine"),
    ({"example.com": P + "none"}, NOBODY, "", "none"),
    ({"example.com": P + "reject"}, PASS, "", "pass"),
    ({"example.com": P + "reject"}, NOBODY, "example.com", "pass"),
    ({"example.com": P + "reject"}, NOBODY, "mail.example.com", "pass"),
    ({"example.com": P + "reject; adkim=s"}, NOBODY, "mail.example.com", "reject"),
    ({"example.com": P + "reject; adkim=s"}, NOBODY, "example.com", "pass"),
    ({"example.com": P + "reject"}, NOBODY, "example.org", "reject"),
    ({"example.com": P + "reject; t=y"}, NOBODY, "", "quarantine"),
    ({"example.com": "SERVFAIL"}, PASS, "", "temperror"),
    ({"com": "TIMEOUT"}, PASS, "", "temperror"),
    ({"example.com": P + "reject"}, {"example.com": "TIMEOUT"}, "", "temperror"),
    ({"example.com": P + "reject"}, {"example.com": "TIMEOUT"}, "example.com", "pass"),
    ({"com": P + "reject; psd=y"}, NOBODY, "", "reject"),
]


@pytest.mark.parametrize(("policies", "spf", "signer", "wanted"), DMARC)
async def test_scan_dmarc(
    world: Any, dns: TableDNS, policies: dict[str, str], spf: dict[str, str], signer: str, wanted: str
) -> None:
    world.transaction.sender = Address.of(b"bounce@example.com")
    publish(dns, "_dmarc.", policies)
    publish(dns, "", spf)
    body = signed(signer) if signer else FROM
    assert await result(world, "ScanDMARC()", body) == {"example.com": wanted}


@pytest.mark.parametrize(
    ("sender", "helo", "options", "wanted"),
    [
        (b"a@mail.example.com", b"client.example", "", "pass"),
        (b"a@example.org", b"mail.example.com", "", "reject"),
        (b"", b"mail.example.com", "", "pass"),
        (b"", b"client.example", "", "reject"),
        (b"a@example.org", b"client.example", '["domain" => "mail.example.com"]', "pass"),
        (b"", b"client.example", '["helo" => "mail.example.com"]', "pass"),
        (b"a@mail.example.com", b"client.example", '["ip" => "198.51.100.1"]', "reject"),
        (b"a@mail.example.com", b"client.example", '["ip" => "nowhere"]', "reject"),
    ],
)
async def test_what_spf_is_asked_for(
    world: Any, dns: TableDNS, sender: bytes, helo: bytes, options: str, wanted: str
) -> None:
    world.transaction.sender = Address.of(sender) if sender else Address(b"", b"")
    world.connection.helo = replace(world.connection.helo, host=helo)
    publish(dns, "_dmarc.", {"example.com": P + "reject"})
    publish(dns, "", {"mail.example.com": "v=spf1 ip4:192.0.2.9 -all", "example.org": "v=spf1 +all"})
    assert await result(world, f"ScanDMARC({options})", FROM) == {"example.com": wanted}


async def test_strict_spf_wants_the_same_domain(world: Any, dns: TableDNS) -> None:
    world.transaction.sender = Address.of(b"a@mail.example.com")
    publish(dns, "_dmarc.", {"example.com": P + "reject; aspf=s"})
    publish(dns, "", {"mail.example.com": "v=spf1 +all"})
    assert await result(world, "ScanDMARC()", FROM) == {"example.com": "reject"}


@pytest.mark.parametrize(
    "head",
    [b"Subject: x\r\n", b"From: a@example.com, b@example.org\r\n", b"From: a@example.com\r\nFrom: b@example.com\r\n"],
)
async def test_dmarc_without_an_author(world: Any, dns: TableDNS, head: bytes) -> None:
    assert await result(world, "ScanDMARC()", head + b"\r\nbody\r\n") == "permerror"
    assert await result(world, "DKIMADSP()", head + b"\r\nbody\r\n") == []
    assert dns.asked == []


async def test_edits_are_seen(world: Any, dns: TableDNS) -> None:
    publish(dns, "_dmarc.", {"example.com": P + "reject", "example.org": P + "none"})
    script = 'SetHeader("From", "x@example.org"); Reject(json_encode(ScanDMARC()));'
    outcome = await world.data(script, body=signed("example.com"))
    assert outcome.reply([]).lines == ('{"example.org":"none"}',)


async def test_many_signatures_ask_few_questions(world: Any, dns: TableDNS) -> None:
    publish(dns, "_dmarc.", {"example.com": P + "reject"})
    body = b"DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=no; h=from; bh=AAAA; b=AAAA\r\n" * 500 + FROM
    assert await result(world, "ScanDMARC()", body) == {"example.com": "reject"}
    assert len(dns.asked) < 20


async def test_sdid(world: Any, dns: TableDNS) -> None:
    dns.table["late._domainkey.example.org", "TXT"] = "TIMEOUT"
    late = b"DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=late; h=from; bh=AAAA; b=AAAA\r\n"
    unknown = late.replace(b"s=late", b"s=none").replace(b"example.org", b"example.net")
    broken = b"DKIM-Signature: nonsense\r\n"
    body = broken + unknown + late + signed("example.com").replace(b"body", b"other")
    found = {"example.net": "permerror", "example.org": "temperror", "example.com": "fail"}
    assert await result(world, "DKIMSDID()", body) == found
    assert await result(world, "DKIMSDID([])", body) == found
    body = broken + signed("example.org", late + signed("example.com"))
    assert await result(world, "DKIMSDID()", body) == {"example.org": "pass", "example.com": "pass"}
    explicit = 'DKIMSDID(["Example.COM", "example.net"])'
    assert await result(world, explicit, body) == {"example.com": "pass", "example.net": "none"}


@pytest.mark.parametrize(
    ("options", "wanted"), [("[]", 5), ('["signature_limit" => 2]', 2), ('["signature_limit" => 0]', 0)]
)
async def test_sdid_verifies_so_many(world: Any, dns: TableDNS, options: str, wanted: int) -> None:
    fields = [
        b"DKIM-Signature: v=1; a=rsa-sha256; d=d%d.example; s=s; h=from; bh=AAAA; b=AAAA\r\n" % n for n in range(9)
    ]
    assert len(await result(world, f"DKIMSDID([], {options})", b"".join(fields) + FROM)) == wanted


ADSP = [
    (None, "", "none"),
    ("dkim=unknown", "", "unknown"),
    ("dkim=all", "", "fail"),
    ("dkim=discardable", "", "discard"),
    ("dkim = all ; x=y", "", "fail"),
    ("dkim=whatever", "", "unknown"),
    ("dkim", "", "none"),
    ("something else", "", "none"),
    ("dkim=discardable", "example.com", "pass"),
    ("dkim=discardable", "mail.example.com", "discard"),
    ("SERVFAIL", "", "temperror"),
    ("SERVFAIL", "example.com", "pass"),
    ("FORMERR", "", "permerror"),
]


@pytest.mark.parametrize(("practices", "signer", "wanted"), ADSP)
async def test_adsp(world: Any, dns: TableDNS, practices: str | None, signer: str, wanted: str) -> None:
    if practices is not None:
        publish(dns, "_adsp._domainkey.", {"example.com": practices})
    body = signed(signer) if signer else FROM
    assert await result(world, "DKIMADSP()", body) == {"example.com": wanted}


async def test_adsp_of_a_domain_that_does_not_exist(world: Any, dns: TableDNS) -> None:
    found = await result(world, "DKIMADSP()", b"From: a@nowhere.example\r\n\r\n")
    assert found == {"nowhere.example": "nxdomain"}


# DeliverWithDKIM


def delivery(options: str = "", before: str = "") -> str:
    return f'{before} DeliverWithDKIM("mail", "example.com", "{pem()}"{", " + options if options else ""});'


def check(message: bytes) -> dict[bytes, bytes]:
    """The tags of a message's valid signature."""
    parsed = Message(message)
    signature = Signature(parsed.named(SIGNATURE)[0])
    verify(parsed, signature, lambda name: record(), 0)
    return signature.tags


async def test_deliver_with_dkim(world: Any, read: Callable[[Body], bytes]) -> None:
    outcome = await world.data(delivery(), body=FROM)
    assert outcome.reply([7]).lines == ("Ok: queued as 7",)
    (mail,) = outcome.mails
    message = read(mail.body)
    tags = check(message)
    assert (tags[b"c"], tags[b"a"], tags[b"d"]) == (b"simple/simple", b"rsa-sha256", b"example.com")
    assert message.endswith(FROM)
    assert mail.entries[0].size == len(message)


async def test_equal_signatures_are_stored_once(world: Any, read: Callable[[Body], bytes]) -> None:
    outcome = await world.data(delivery(), "a@x.example", "b@x.example", body=FROM)
    assert [len(mail.entries) for mail in outcome.mails] == [2]


async def test_a_signature_is_in_its_recipients_message_only(world: Any, read: Callable[[Body], bytes]) -> None:
    edit = 'AddHeader("X-For", $recipient);'
    script = f'{edit} if ($recipientlocalpart == "a") {{ {delivery()} }} Deliver();'
    outcome = await world.data(script, "a@x.example", "b@x.example", body=FROM)
    first, second = (read(mail.body) for mail in outcome.mails)
    check(first)
    assert b"X-For: a@x.example" in first
    assert b"X-For: b@x.example" not in first
    assert b"DKIM-Signature" not in second
    assert second.index(b"X-For: b@x.example") < second.index(b"X-For: a@x.example")


async def test_changes_are_signed_or_discarded(world: Any, read: Callable[[Body], bytes]) -> None:
    edit = 'SetHeader("Subject", "another");'
    outcome = await world.data(delivery(before=edit), body=FROM)
    message = read(outcome.mails[0].body)
    assert b"Subject: another" in message
    check(message)
    outcome = await world.data(delivery('["discard_changes" => true]', edit), body=FROM)
    message = read(outcome.mails[0].body)
    assert message.endswith(FROM)
    check(message)


async def test_the_options_of_signing(world: Any, read: Callable[[Body], bytes]) -> None:
    options = """["canonicalization_header" => "relaxed", "canonicalization_body" => "relaxed",
        "headers" => ["from"], "additional_headers" => ["subject"]]"""
    tags = check(read((await world.data(delivery(options), body=FROM)).mails[0].body))
    assert (tags[b"c"], tags[b"h"]) == (b"relaxed/relaxed", b"from:subject:from")
    message = read((await world.data(delivery('["algorithm" => "sha1"]'), body=FROM)).mails[0].body)
    assert Signature(Message(message).named(SIGNATURE)[0]).tags[b"a"] == b"rsa-sha1"


@pytest.mark.parametrize(
    ("script", "body", "logged"),
    [
        ('DeliverWithDKIM("mail", "example.com", "pki:1");', FROM, "pass the key's PEM text"),
        ('DeliverWithDKIM("mail", "example.com", "");', FROM, "wanted an RSA private key"),
        ('DeliverWithDKIM("ma il", "example.com", "");', FROM, "parameter 1 (selector): wanted a domain name"),
        (delivery('["algorithm" => "md5"]'), FROM, "option algorithm: wanted sha256 or sha1"),
        (delivery('["canonicalization_body" => "x"]'), FROM, "wanted simple or relaxed"),
        (delivery(), b"Subject: x\r\n\r\n", "has no From header"),
    ],
)
async def test_what_cannot_be_signed_is_deferred(world: Any, script: str, body: bytes, logged: str) -> None:
    outcome = await world.data(script, body=body)
    assert outcome.reply([]).code == 421
    assert outcome.mails == []
    assert world.logged(logged)
