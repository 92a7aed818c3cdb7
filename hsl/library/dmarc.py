"""DMARC (RFC 9989): an author's domain, identifiers that passed SPF or DKIM and answers of the DNS in; a word out.

Organizational domains are found by the tree walk; the public suffix list of RFC 7489 is not asked. Nothing is reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from hsl.library.dkim import DOMAIN, Message
from hsl.library.network import DNSAnswer

Ask = Callable[[str, str], DNSAnswer]  # a name and a type

MAX_QUERIES: Final = 8  # of one walk (RFC 9989 section 4.10)
POLICIES: Final = ("none", "quarantine", "reject")
VERSION: Final = re.compile(rb"[ \t]*v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")


class NoAnswer(Exception):
    """The DNS did not answer: a temporary error."""


class Record(NamedTuple):
    """A policy record and the domain that publishes it."""

    domain: str
    tags: dict[str, str]

    def policy(self, name: str) -> str | None:
        word = self.tags.get(name, "").lower()
        return word if word in POLICIES else None

    def strict(self, name: str) -> bool:
        return self.tags.get(name, "").lower() == "s"

    @property
    def suffix(self) -> str:
        """`psd`: y for a public suffix, n for an organization, u when the record does not say."""
        return self.tags.get("psd", "u").lower()

    @property
    def usable(self) -> bool:
        """Without a valid policy a record counts as `p=none` if it asks for reports (section 4.7), else for nothing."""
        return self.policy("p") is not None or "mailto:" in self.tags.get("rua", "").lower()


class Policies:
    """The policy records around the domains of one message. Each name is asked for once. `ask` may raise NoAnswer."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.records: dict[str, Record | None] = {}

    def record(self, domain: str) -> Record | None:
        """The record that a domain publishes; None also for several."""
        if domain not in self.records:
            answer = self.ask(f"_dmarc.{domain}", "TXT")
            if answer.status not in ("NOERROR", "NXDOMAIN", "FORMERR"):
                raise NoAnswer
            found = [text for text in answer.records if VERSION.match(text)]
            self.records[domain] = read_record(domain, found[0]) if len(found) == 1 else None
        return self.records[domain]

    def walk(self, domain: str) -> list[Record]:
        """The records from a domain upwards; a record that tells what it is ends the walk (section 4.10)."""
        found: list[Record] = []
        for name in ancestors(domain):
            record = self.record(name)
            if record is None:
                continue
            found.append(record)
            if record.suffix == "n" or (record.suffix == "y" and name != domain):
                break
        return found

    def organization(self, domain: str) -> str:
        """The organizational domain (section 4.10.2)."""
        found = self.walk(domain)
        for record in found:
            if record.suffix == "n":
                return record.domain
            if record.suffix == "y" and record.domain != domain:
                return ".".join(domain.split(".")[-record.domain.count(".") - 2 :])
        return found[-1].domain if found else domain

    def applied(self, domain: str) -> Record | None:
        """The record whose policy holds for an author's domain: its own, its organization's, or its suffix's."""
        found = self.record(domain) or self.record(self.organization(domain))
        if found is None:
            found = next((record for record in self.walk(domain) if record.suffix == "y"), None)
        return found if found and found.usable else None

    def aligned(self, author: str, domain: str, strict: bool) -> bool:
        """Whether a domain that was authenticated speaks for the author's domain (section 4.4)."""
        if author == domain or strict:
            return author == domain
        organization = self.organization(author)
        if domain != organization and not domain.endswith(f".{organization}"):
            return False
        return self.organization(domain) == organization

    def policy(self, record: Record, author: str) -> str:
        """What the record asks to do with a message of the author's domain that failed."""
        word = record.policy("p")
        if record.domain != author:
            word = record.policy("sp") or word
            if record.policy("np") and self.missing(author):
                word = record.policy("np")
        if record.tags.get("t", "").lower() == "y" and word in ("quarantine", "reject"):  # a test: one level below
            return POLICIES[POLICIES.index(word) - 1]
        return word or "none"

    def missing(self, domain: str) -> bool:
        """Whether a domain does not exist (RFC 8020)."""
        answer = self.ask(domain, "A")
        if answer.status not in ("NOERROR", "NXDOMAIN", "FORMERR"):
            raise NoAnswer
        return answer.status != "NOERROR"


def ancestors(domain: str) -> list[str]:
    """A domain and those above it, long ones shortened: at most MAX_QUERIES names."""
    labels = domain.split(".")
    shorter = range(min(len(labels), MAX_QUERIES) - 1, 0, -1)
    return [domain, *(".".join(labels[-count:]) for count in shorter)]


def read_record(domain: str, text: bytes) -> Record | None:
    """A record's tags. What is no tag is left out, and of a tag given twice the second."""
    tags: dict[str, str] = {}
    for part in text.decode("utf-8", "replace").split(";"):
        name, equals, value = part.partition("=")
        if equals:
            tags.setdefault(name.strip().lower(), value.strip())
    record = Record(domain, tags)
    return record if record.usable or record.suffix in ("y", "n") else None


def author_domain(message: Message) -> str | None:
    """The one domain in the From field, in lower case and ASCII; None for none, several, or no domain name."""
    from hsl.library.mailaddresses import NoAddressList, read_list

    fields = message.named(b"from")
    if len(fields) != 1:
        return None
    try:
        addresses = read_list(fields[0].raw.partition(b":")[2])
    except NoAddressList:
        return None
    domains = {to_ascii(address.rpartition(b"@")[2]) for address in addresses}
    return domains.pop() if len(domains) == 1 else None


def to_ascii(domain: bytes) -> str | None:
    """A domain name in lower case, its UTF-8 labels encoded (RFC 8616)."""
    from hsl.library.dns import idna_encode

    domain = domain.strip(b" \t\r\n").removesuffix(b".")
    encoded = domain if domain.isascii() else idna_encode(domain)
    return encoded.lower().decode() if encoded and DOMAIN.match(encoded) else None
