"""Redis is gone: what each stage that asks for a rate or a slot answers, and what becomes of its mail."""

from __future__ import annotations

import time
from collections.abc import Iterator
from smtplib import SMTP

import pytest
from gateway import DEADLINE, Gateway, mail_hosts, submit, write_gateway
from servers import RedisServer, Sink

SCRIPTS = {
    "connect": 'if ($senderip == "127.0.0.2") rate("connect", $senderip, 9, 60);',
    "helo": 'if ($senderhelo == "asks.example") rate("helo", $senderhelo, 9, 60);',
    "auth": 'rate("auth", $saslusername, 9, 60); Accept();',
    "mailfrom": 'if ($senderlocalpart == "asks") rate("mailfrom", $sender, 9, 60);',
    "rcptto": 'if ($recipientlocalpart == "asks") rate("rcptto", $recipient, 9, 60);',
    "data": 'if ($recipientlocalpart == "late") rate("data", $recipient, 9, 60);',
    "predelivery": """\
if ($recipientlocalpart == "before") rate("predelivery", $recipient, 9, 60);
if ($recipientlocalpart == "slot") CurrentConnections("slots", $recipientdomain, 1);
""",
    "postdelivery": """\
if ($recipientlocalpart == "after") rate("postdelivery", $recipient, 9, 60);
if ($recipientlocalpart == "after") Queue(["hold" => true]);
""",
}
ERROR = b"4.3.0 Temporary server error, please try again later"


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    with Sink(tmp_path_factory.mktemp("sink")) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(sink: Sink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One whose Redis has gone."""
    folder = tmp_path_factory.mktemp("outages")
    with RedisServer(folder) as redis:
        config = write_gateway(
            folder,
            SCRIPTS,
            server={"relay": {"networks": ["127.0.0.0/8"]}, "auth": {"without_tls": True}},
            session={"port": sink.port, "tls": "disabled"},
            resolver=mail_hosts(good=sink.host, dead="127.66.66.66"),
            state={"backend": "redis", "url": redis.url},
        )
        with Gateway(config) as running:
            redis.kill()
            yield running


def test_a_connection(gateway: Gateway) -> None:
    client = SMTP(timeout=DEADLINE, source_address=("127.0.0.2", 0))
    assert client.connect("127.0.0.1", gateway.port) == (421, ERROR)
    client.close()
    with gateway.client() as other:
        assert other.noop()[0] == 250, "who is not asked about is served"


@pytest.mark.parametrize(
    ("commands", "answer"),
    [
        (["EHLO asks.example"], (450, ERROR)),
        (["EHLO client.example", "AUTH PLAIN AGpvZQBzZWNyZXQ="], (454, b"4.7.0 Temporary authentication failure")),
        (["EHLO client.example", "MAIL FROM:<asks@a.example>"], (450, ERROR)),
        (["EHLO client.example", "MAIL FROM:<ann@a.example>", "RCPT TO:<asks@good.example>"], (450, ERROR)),
    ],
)
def test_a_command(gateway: Gateway, commands: list[str], answer: tuple[int, bytes]) -> None:
    """A temporary refusal, and the session goes on."""
    with gateway.client(greet=False) as client:
        for command in commands[:-1]:
            assert client.docmd(command)[0] == 250
        assert client.docmd(commands[-1]) == answer
        assert client.docmd("NOOP")[0] == 250


def test_the_end_of_data(gateway: Gateway, sink: Sink) -> None:
    """For one recipient it cannot be decided: nobody gets it, and nothing of it is kept."""
    with gateway.client() as client:
        recipients = ["one@good.example", "late@good.example"]
        assert submit(client, "ann@a.example", *recipients) == (421, ERROR.decode())
        assert client.docmd("NOOP")[0] == 250
    assert gateway.queued(recipient="one@good.example") == gateway.queued(recipient="late@good.example") == 0
    assert not [mail for mail in sink.messages() if "<one@good.example>" in mail.recipients]


@pytest.mark.parametrize("who", ["before", "slot"])
def test_before_an_attempt(gateway: Gateway, sink: Sink, who: str) -> None:
    """It waits for five to six minutes, which is no retry; at no time is it sent."""
    recipient = f"{who}@good.example"
    began = time.time()
    assert gateway.send("ann@a.example", recipient)[0] == 250
    gateway.wait_for(rf" decision .* recipient=<{recipient}> .* action=defer stage=predelivery ")
    [entry] = gateway.entries(recipient=recipient)
    assert (entry["state"], entry["retry"]) == ("defer", 0)
    assert began + 300 <= entry["due"] <= time.time() + 360
    assert not [mail for mail in sink.messages() if f"<{recipient}>" in mail.recipients]


def test_after_an_attempt(gateway: Gateway, sink: Sink) -> None:
    """What was delivered stays so: it leaves the queue, and comes once."""
    assert gateway.send("ann@a.example", "after@good.example")[0] == 250
    gateway.wait_for(r" attempt .* recipient=<after@good.example> .* action=delivered ")
    assert gateway.queued(recipient="after@good.example") == 0
    assert len([mail for mail in sink.messages() if "<after@good.example>" in mail.recipients]) == 1


def test_after_a_failed_attempt(gateway: Gateway) -> None:
    """It is tried again, as without a script."""
    assert gateway.send("ann@a.example", "after@dead.example")[0] == 250
    gateway.wait_for(r" attempt .* recipient=<after@dead.example> .* error=connect .* action=defer stage=postdelivery ")
    [entry] = gateway.entries(recipient="after@dead.example")
    assert (entry["state"], entry["retry"]) == ("defer", 1)
