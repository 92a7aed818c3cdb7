"""Mail that cannot be delivered comes back to its sender, once; mail of the null sender does not."""

from __future__ import annotations

import email
from collections.abc import Iterator
from contextlib import ExitStack
from email.message import Message
from pathlib import Path
from typing import NamedTuple

import pytest
from gateway import Gateway, mail_hosts, write_gateway
from servers import Sink


class Site(NamedTuple):
    gateway: Gateway
    home: Sink  # the senders' mail host


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        home = stack.enter_context(Sink(tmp_path))
        refusing = Sink(tmp_path, "-f", "RCPT", "-B", "550 5.1.1 No such user")
        refusing.port = home.port
        stack.enter_context(refusing)
        config = write_gateway(
            tmp_path,
            {"postdelivery": 'echo $arguments["action"];'},
            session={"port": home.port, "tls": "disabled"},
            resolver=mail_hosts(home=home.host, refusing=refusing.host),
        )
        yield Site(stack.enter_context(Gateway(config)), home)


def parts(message: Message) -> list[Message]:
    found = message.get_payload()
    assert isinstance(found, list)
    return [part for part in found if isinstance(part, Message)]


def test_a_permanent_failure_makes_one_bounce(site: Site) -> None:
    message = "Subject: to nobody\r\nMessage-ID: <1@home.example>\r\n\r\nHello\r\n"
    recipients = ["gone@refusing.example", "ann@home.example"]
    assert site.gateway.send("Joe@home.example", *recipients, message=message)[0] == 250
    site.gateway.wait_drained()
    found = site.home.wait(2)
    assert len(found) == 2
    [bounce] = [mail for mail in found if mail.sender.startswith("<>")]
    assert bounce.recipients == ["<Joe@home.example>"]
    report = email.message_from_bytes(bounce.raw)
    assert report.get_content_type() == "multipart/report"
    assert report["Auto-Submitted"] == "auto-replied"
    text, status, original = parts(report)
    assert "gone@refusing.example" in str(text.get_payload())
    about_message, about_recipient = parts(status)
    assert about_message["Reporting-MTA"] == "dns; gateway.example.net"
    assert about_recipient["Final-Recipient"] == "rfc822; gone@refusing.example"
    assert about_recipient["Action"] == "failed"
    assert about_recipient["Status"] == "5.1.1"
    assert about_recipient["Diagnostic-Code"].startswith("smtp; 550 5.1.1 No such user")
    assert "Message-ID: <1@home.example>" in original.as_string()
    assert site.gateway.count(" attempt .*action=bounce") == 1


def test_the_null_sender_gets_none(site: Site) -> None:
    assert site.gateway.send("", "gone@refusing.example", "ann@home.example")[0] == 250
    site.gateway.wait_drained()
    assert [mail.recipients for mail in site.home.wait(1)] == [["<ann@home.example>"]]
    site.gateway.wait_for(r" attempt .*sender=<> recipient=<gone@refusing\.example> .*code=550 .*action=delete")


def test_a_bounce_that_cannot_be_delivered_ends(site: Site) -> None:
    """The sender does not exist either: no bounce for a bounce (RFC 5321 6.1)."""
    assert site.gateway.send("gone@refusing.example", "lost@refusing.example")[0] == 250
    site.gateway.wait_for(r" attempt .*sender=<> recipient=<gone@refusing\.example> .*action=delete")
    site.gateway.wait_drained()
    assert site.home.messages() == []
