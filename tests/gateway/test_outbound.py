"""The article's scripts (scripts/outbound) over SMTP, paragraph by paragraph, with small limits.

One gateway for all of them: each test has a sender domain, and so limits, of its own. In front of it clients that may
log in, behind it smtp-sinks: one takes mail, one answers 450 to every RCPT, one is suspended by a test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest
from gateway import MESSAGE, Gateway, mail_hosts, outbound_scripts, wait_until, write_gateway
from servers import Received, Sink

from hsl.runtime.scanners import CLASSES

LIMITS = {"maxperhour": 6, "maxfailures": 1, "maxqueue": 3, "maxbulk": 3, "maxspam": 2, "mindelay": 1, "maxdelay": 1}
BULK, SPAM = (f"Subject: a test\r\n\r\n{CLASSES[level].decode()}\r\n" for level in (50, 100))
AUTH = 'if ($saslpassword == "secret") Accept();'
NOBODY = "127.99.99.99"  # where nothing listens


class Site(NamedTuple):
    gateway: Gateway
    good: Sink
    slow: Sink

    def arrived(self, sender: str) -> list[Received]:
        return [item for item in self.good.messages() if item.sender.startswith(f"<{sender}>")]

    def wait_arrived(self, sender: str, count: int = 1) -> list[Received]:
        wait_until(lambda: len(self.arrived(sender)) >= count, lambda: f"{count} mails of <{sender}> at the sink")
        return self.arrived(sender)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("outbound")
    with ExitStack() as stack:
        good = stack.enter_context(Sink(folder))
        failing, slow = Sink(folder, "-r", "RCPT"), Sink(folder)
        for sink in (failing, slow):
            sink.port = good.port  # MX delivery has one port for all hosts
            stack.enter_context(sink)
        config = write_gateway(
            folder,
            {**outbound_scripts(**LIMITS), "auth": AUTH},
            server={"auth": {"without_tls": True}},
            session={"port": good.port, "tls": "disabled"},
            resolver=mail_hosts(good=good.host, failing=failing.host, slow=slow.host, nobody=NOBODY),
        )
        yield Site(stack.enter_context(Gateway(config, "--grace", "1")), good, slow)


@pytest.mark.parametrize(
    ("domain", "address", "helo"),
    [
        ("one.example", "127.0.0.11", "out1.example.net"),
        ("two.example", "127.0.0.13", "out3.example.net"),
        ("beta.example", "127.0.0.12", "out2.example.net"),
    ],
)
def test_a_sender_domain_always_leaves_through_the_same_ip(site: Site, domain: str, address: str, helo: str) -> None:
    for user in ("a", "b"):
        code, text = site.gateway.send(f"{user}@{domain}", "carol@good.example")
        assert (code, re.sub(r"\d+$", "N", text)) == (250, "2.0.0 Ok: queued as N")
        [mail] = site.wait_arrived(f"{user}@{domain}")
        assert (mail.client, mail.helo) == (address, helo)
        assert mail.recipients == ["<carol@good.example>"]
        assert mail.raw.endswith(MESSAGE.replace("\r\n", "\n").encode())


def test_suspect_spam_leaves_through_the_bulk_ip(site: Site) -> None:
    code, _ = site.gateway.send("eve@spam.example", "carol@good.example", "dan@failing.example", message=SPAM)
    assert code == 250
    [mail] = site.wait_arrived("eve@spam.example")
    assert (mail.client, mail.helo) == ("127.0.0.14", "out4.example.net")
    [entry] = site.gateway.entries(sender="eve@spam.example", recipientdomain="failing.example")
    assert entry["metadata"] == {"spam": "yes"}


def test_messages_per_hour(site: Site) -> None:
    for number in range(LIMITS["maxperhour"]):
        assert site.gateway.send(f"user{number}@hourly.example", "carol@good.example")[0] == 250
    answer = site.gateway.send("another@HOURLY.example", "carol@good.example")
    assert answer == (450, "4.7.1 You may only send 6 messages per hour, try later")
    assert site.gateway.send("user@hourly2.example", "carol@good.example")[0] == 250


def test_a_stranger_does_not_use_up_a_customers_rate(site: Site) -> None:
    with site.gateway.client("127.0.0.9") as stranger:
        for _ in range(LIMITS["maxperhour"] + 1):
            stranger.mail("user@customer.example")
            assert stranger.rcpt("carol@good.example")[0] == 550
            stranger.rset()
    assert site.gateway.send("user@customer.example", "carol@good.example")[0] == 250


def test_failed_deliveries_are_counted(site: Site) -> None:
    for number in (1, 2):
        assert site.gateway.send("grace@unlucky.example", "dan@failing.example")[0] == 250
        site.gateway.wait_for(r" attempt .*sender=<grace@unlucky\.example> .*code=450 .*state=RCPT ", number)
    answer = site.gateway.send("grace@unlucky.example", "carol@good.example")
    assert answer == (450, "4.7.1 unlucky.example has more than 2 failed deliveries during the last hour")


def test_attempts_without_a_reply_are_not_counted(site: Site) -> None:
    for number in (1, 2):
        assert site.gateway.send("heidi@unheard.example", "dan@nobody.example")[0] == 250
        site.gateway.wait_for(r" attempt .*sender=<heidi@unheard\.example> .*code=0 .*action=defer ", number)
    assert site.gateway.send("heidi@unheard.example", "carol@good.example")[0] == 250


def test_messages_in_the_queue(site: Site) -> None:
    for _ in range(LIMITS["maxqueue"] + 1):
        assert site.gateway.send("ivan@stuck.example", "dan@nobody.example")[0] == 250
    answer = site.gateway.send("judy@stuck.example", "carol@good.example")
    assert answer == (450, "4.7.1 stuck.example has exceeded the max queue limit of 3 messages")
    for entry in site.gateway.entries(senderdomain="stuck.example")[:1]:
        assert site.gateway.ask("delete", filters={"id": [str(entry["id"])]}) == {"changed": 1}
    assert site.gateway.send("judy@stuck.example", "carol@good.example")[0] == 250


def test_bounces_have_no_limits(site: Site) -> None:
    before = len(site.arrived(""))
    for _ in range(LIMITS["maxperhour"] + 1):
        assert site.gateway.send("", "carol@good.example")[0] == 250
    for _ in range(LIMITS["maxbulk"] + 1):
        assert site.gateway.send("", "carol@good.example", message=SPAM)[0] == 250
    found = site.wait_arrived("", before + LIMITS["maxperhour"] + LIMITS["maxbulk"] + 2)
    assert sum(mail.client == "127.0.0.14" for mail in found) == LIMITS["maxbulk"] + 1


def deferred(site: Site, answer: tuple[int, str], wanted: str) -> bool:
    """Whether an answer is the script's text with the id of its own transaction, as the log has it."""
    code, text = answer
    said, _, transaction = text.rpartition(" ")
    logged = json.dumps(text.partition(" ")[2])
    pattern = rf" verdict stage=data action=defer code=421 .*text={re.escape(logged)} .*transaction={transaction} "
    return (code, said) == (421, wanted) and site.gateway.wait_for(pattern) is not None


BULK_LIMIT = "4.7.1 You are only allowed to send 3 bulk messages per 8 hours, try later"
SPAM_LIMIT = "4.7.1 You are only allowed to send 2 spam messages per 8 hours, try later"


def test_bulk_per_sender_domain(site: Site) -> None:
    def send(message: str) -> tuple[int, str]:
        return site.gateway.send("mallory@bulk.example", "carol@good.example", message=message)

    assert [send(BULK)[0] for _ in range(LIMITS["maxbulk"])] == [250] * LIMITS["maxbulk"]
    assert deferred(site, send(BULK), BULK_LIMIT)
    assert send(MESSAGE)[0] == 250, "other mail is not limited"


def test_spam_per_sender_domain(site: Site) -> None:
    def send() -> tuple[int, str]:
        return site.gateway.send("niaj@junk.example", "carol@good.example", message=SPAM)

    assert [send()[0] for _ in range(LIMITS["maxspam"])] == [250] * LIMITS["maxspam"]
    assert deferred(site, send(), SPAM_LIMIT)
    assert len(site.wait_arrived("niaj@junk.example", LIMITS["maxspam"])) == LIMITS["maxspam"]


def test_the_php_script_is_the_customer(site: Site) -> None:
    """One script under many sender domains is limited; another script under the same ones is not."""

    def send(number: int, script: str) -> tuple[int, str]:
        message = f"X-PHP-Originating-Script: {script}\r\n{SPAM}"
        return site.gateway.send(f"www@php{number}.example", "carol@good.example", message=message)

    assert [send(number, "33:mailer.php")[0] for number in (1, 2)] == [250, 250]
    assert deferred(site, send(3, "33:mailer.php"), SPAM_LIMIT)
    assert send(3, "33:other.php")[0] == 250


def test_the_login_is_the_customer(site: Site) -> None:
    """Before header and domain: one login under many scripts and domains is limited, another one is not."""

    def send(number: int, user: str) -> tuple[int, str]:
        message = f"X-PHP-Originating-Script: 33:{number}.php\r\n{BULK}"
        sender = f"www@sasl{number}.example"
        return site.gateway.send(sender, "carol@good.example", message=message, login=(user, "secret"))

    assert [send(number, "olivia")[0] for number in (1, 2, 3)] == [250, 250, 250]
    assert deferred(site, send(4, "olivia"), BULK_LIMIT)
    assert send(4, "peggy")[0] == 250


def test_three_connections_to_a_domain(site: Site) -> None:
    """The others wait without a retry being counted; other domains are not held up; everything arrives."""
    gateway, domain = site.gateway, r"recipient=<\w+@slow\.example>"
    site.slow.suspend()
    try:
        for number in range(5):
            assert gateway.send(f"rupert@many{number}.example", f"r{number}@slow.example")[0] == 250
        put_off = (
            rf' decision .*{domain} .*retry=0 .*action=defer .*reason="Too many concurrent connections for this domain"'
        )
        gateway.wait_for(put_off, 4)  # the two of them, twice
        assert site.slow.connections() == 3
        assert len(set(re.findall(rf" decision queue=(\d+) .*{domain}", gateway.output()))) == 2
        assert gateway.send("rupert@many0.example", "carol@good.example")[0] == 250
        assert len(site.wait_arrived("rupert@many0.example")) == 1
    finally:
        site.slow.resume()
    assert {mail.recipients[0] for mail in site.slow.wait(5)} == {f"<r{number}@slow.example>" for number in range(5)}
    gateway.wait_for(rf" attempt .*{domain} .*retry=0 .*action=delivered", 5)
