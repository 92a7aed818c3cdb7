"""The stage eod over SMTP: the set of scripts/eod with small limits, and what a message's one verdict stores.

One gateway for the set, each test with a sender domain of its own; behind it smtp-sinks: one takes mail, one answers
450 to every RCPT, one is suspended by a test.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from gateway import MESSAGE, SCRIPTS, Gateway, mail_hosts, sample_scripts, submit, wait_until, write_gateway
from servers import Received, Sink

from hsl.programs import Programs
from hsl.runtime.scanners import CLASSES
from hsl.smtpd.configfile import load_config
from hsl.smtpd.hooks import compile_hooks

LIMITS = {"maxperhour": 8, "maxfailures": 1, "maxqueue": 3, "maxbulk": 2, "maxspam": 1}
BULK, SPAM = (f"Subject: a test\r\n\r\n{CLASSES[level].decode()}\r\n" for level in (50, 100))
AUTH = 'if ($arguments["password"] == "secret") Accept();'
NOBODY = "127.99.99.99"  # where nothing listens
CONNECTIONS = 2


class Site(NamedTuple):
    gateway: Gateway
    good: Sink
    slow: Sink

    def wait_arrived(self, sender: str, count: int = 1) -> list[Received]:
        def arrived() -> list[Received]:
            return [item for item in self.good.messages() if item.sender.startswith(f"<{sender}>")]

        wait_until(lambda: len(arrived()) >= count, lambda: f"{count} mails of <{sender}> at the sink")
        return arrived()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("eod")
    with ExitStack() as stack:
        good = stack.enter_context(Sink(folder))
        failing, slow = Sink(folder, "-r", "RCPT"), Sink(folder)
        for sink in (failing, slow):
            sink.port = good.port  # MX delivery has one port for all hosts
            stack.enter_context(sink)
        policies = [{"fields": ["recipientdomain"], "default": {"concurrency": CONNECTIONS}}]
        config = write_gateway(
            folder,
            {**sample_scripts("eod", **LIMITS), "auth": AUTH},
            server={"auth": {"without_tls": True}},
            session={"port": good.port, "tls": "disabled"},
            resolver=mail_hosts(good=good.host, failing=failing.host, slow=slow.host, nobody=NOBODY),
            queues={"policies": policies},
        )
        yield Site(stack.enter_context(Gateway(config, "--grace", "1")), good, slow)


def test_the_set_is_ready_to_run() -> None:
    loaded = load_config(SCRIPTS / "eod" / "smtpd.yaml")
    hooks = compile_hooks(loaded.config, Programs())
    assert (loaded.warnings, hooks.warnings) == ((), ())
    assert {*hooks.servers["outbound"], *hooks.delivery} == {"rcptto", "eod", "predelivery", "postdelivery"}
    policies = yaml.safe_load((SCRIPTS / "eod" / "smtpd.yaml").read_text())["queues"]["policies"]
    assert policies == [{"fields": ["recipientdomain"], "default": {"concurrency": 3}}]


def test_a_message_for_several_recipients(site: Site) -> None:
    code, text = site.gateway.send("Ann@one.example", "Carol@good.example", "dan@good.example")
    assert (code, re.sub(r"\d+", "N", text)) == (250, "N.N.N Ok: queued as N,N")
    mails = site.wait_arrived("Ann@one.example", 2)
    assert sorted(item.recipients[0] for item in mails) == ["<Carol@good.example>", "<dan@good.example>"]
    for mail in mails:
        assert (mail.client, mail.helo) == ("127.0.0.11", "out1.example.net")
        assert mail.raw.endswith(MESSAGE.replace("\r\n", "\n").encode())
    ids = text.rpartition(" ")[2].split(",")
    for number in ids:
        site.gateway.wait_for(rf" attempt queue={number} ")
    site.gateway.wait_for(rf" verdict stage=eod action=accept code=250 .*queue={','.join(ids)} ")


def test_suspect_spam_leaves_through_the_bulk_ip(site: Site) -> None:
    assert site.gateway.send("eve@spam.example", "carol@good.example", "dan@nobody.example", message=SPAM)[0] == 250
    [mail] = site.wait_arrived("eve@spam.example")
    assert mail.client == "127.0.0.14"
    [entry] = site.gateway.entries(sender="eve@spam.example", recipientdomain="nobody.example")
    assert entry["metadata"] == {"spam": "yes"}


def test_messages_per_hour(site: Site) -> None:
    for number in range(LIMITS["maxperhour"]):
        assert site.gateway.send(f"user{number}@hourly.example", "carol@good.example")[0] == 250
        wait_until(lambda: site.gateway.queued(senderdomain="hourly.example") == 0, lambda: "a queue below its limit")
    answer = site.gateway.send("another@HOURLY.example", "carol@good.example")
    assert answer == (450, "4.7.1 You may only send 8 messages per hour, try later")


def test_failed_deliveries_are_counted(site: Site) -> None:
    for number in (1, 2):
        assert site.gateway.send("grace@unlucky.example", "dan@failing.example")[0] == 250
        site.gateway.wait_for(r" attempt .*sender=<grace@unlucky\.example> .*code=450 .*state=RCPT ", number)
    answer = site.gateway.send("grace@unlucky.example", "carol@good.example")
    assert answer == (450, "4.7.1 unlucky.example has more than 2 failed deliveries during the last hour")


def test_messages_in_the_queue(site: Site) -> None:
    for _ in range(LIMITS["maxqueue"] + 1):
        assert site.gateway.send("ivan@stuck.example", "dan@nobody.example")[0] == 250
    answer = site.gateway.send("judy@stuck.example", "carol@good.example")
    assert answer == (450, "4.7.1 stuck.example has exceeded the max queue limit of 3 messages")
    for entry in site.gateway.entries(senderdomain="stuck.example")[:1]:
        assert site.gateway.ask("delete", filters={"id": [str(entry["id"])]}) == {"changed": 1}
    assert site.gateway.send("judy@stuck.example", "carol@good.example")[0] == 250


def test_bounces_have_no_limits(site: Site) -> None:
    for _ in range(LIMITS["maxperhour"] + 1):
        assert site.gateway.send("", "carol@good.example", message=SPAM)[0] == 250
    assert all(mail.client == "127.0.0.14" for mail in site.wait_arrived("", LIMITS["maxperhour"] + 1))


CUSTOMERS = [  # who is limited: the login, else the PHP script, else the domain
    ("sasl", "X-PHP-Originating-Script: 33:{}.php\r\n", ("olivia", "secret")),
    ("php", "X-PHP-Originating-Script: 33:mailer.php\r\n", None),
]


@pytest.mark.parametrize(("name", "header", "login"), CUSTOMERS)
def test_who_the_customer_is(site: Site, name: str, header: str, login: tuple[str, str] | None) -> None:
    def send(number: int) -> tuple[int, str]:
        message = header.format(number) + BULK
        return site.gateway.send(f"www@{name}{number}.example", "carol@good.example", message=message, login=login)

    assert [send(number)[0] for number in range(LIMITS["maxbulk"])] == [250] * LIMITS["maxbulk"]
    code, text = send(LIMITS["maxbulk"])
    limit = "4.7.1 You are only allowed to send 2 bulk messages per 8 hours,\n4.7.1 try later "
    assert (code, text[: len(limit)]) == (421, limit)
    transaction = text[len(limit) :]
    site.gateway.wait_for(rf" verdict stage=eod action=defer code=421 .*transaction={transaction} ")
    assert site.gateway.send(f"www@{name}x.example", "carol@good.example", message=BULK)[0] == 250


def test_spam_per_sender_domain(site: Site) -> None:
    """A refused message is not stored for any of its recipients."""
    answers = [site.gateway.send("niaj@junk.example", "carol@good.example", message=SPAM) for _ in range(2)]
    assert [code for code, _ in answers] == [250, 421]
    assert "only allowed to send 1 spam messages" in answers[1][1]
    assert len(site.wait_arrived("niaj@junk.example")) == 1
    assert site.gateway.entries(senderdomain="junk.example") == []


def test_connections_to_a_domain(site: Site) -> None:
    """The others wait without a retry being counted; everything arrives."""
    site.slow.suspend()
    try:
        for number in range(CONNECTIONS + 2):
            assert site.gateway.send(f"rupert@many{number}.example", f"r{number}@slow.example")[0] == 250
        wait_until(lambda: site.slow.connections() == CONNECTIONS, lambda: "all connections that are allowed")
        assert site.gateway.send("rupert@other.example", "carol@good.example")[0] == 250
        site.wait_arrived("rupert@other.example")
        assert site.slow.connections() == CONNECTIONS
        assert {entry["retry"] for entry in site.gateway.entries(recipientdomain="slow.example")} == {0}
    finally:
        site.slow.resume()
    wait_until(lambda: len(site.slow.messages()) == CONNECTIONS + 2, lambda: "all mails at the slow host")


# --- the verdict

VERDICTS = """
$mail = $arguments["mail"];
$mail->addHeader("X-Seen", $transaction["id"]);
foreach ($transaction["recipients"] as $rcpt)
    $ids[] = $mail->queue($transaction["senderaddress"], $rcpt["address"], "next", ["hold" => true])["queue"];
if ($mail->getHeader("Subject") == "accept") Accept(["reason" => ["Thank you", array_join($ids, "+")]]);
if ($mail->getHeader("Subject") == "reject") Reject(["No", "never"], ["disconnect" => true]);
if ($mail->getHeader("Subject") == "error") md5($ids);
"""


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(write_gateway(tmp_path_factory.mktemp("verdicts"), {"eod": VERDICTS})) as gateway:
        yield gateway


def subject(word: str) -> str:
    return f"Subject: {word}\r\n\r\nHello.\r\n"


def bdat(client: Any, *chunks: str) -> tuple[int, str]:
    """A message by CHUNKING (RFC 3030): the reply to the last chunk."""
    for number, chunk in enumerate(chunks, 1):
        last = " LAST" if number == len(chunks) else ""
        client.send(f"BDAT {len(chunk)}{last}\r\n{chunk}".encode())
        code, text = client.getreply()
    return code, text.decode()


@pytest.mark.parametrize("verb", ["DATA", "BDAT"])
def test_the_ids_that_the_script_knows_are_those_of_the_queue(held: Gateway, verb: str) -> None:
    people = [f"a-{verb}@x.example", f"b-{verb}@x.example"]
    with held.client() as client:
        if verb == "DATA":
            code, text = submit(client, "joe@one.example", *people, message=subject("accept"))
        else:
            client.mail("joe@one.example")
            for recipient in people:
                client.rcpt(recipient)
            code, text = bdat(client, subject("accept")[:15], subject("accept")[15:])
    assert code == 250
    match = re.fullmatch(r"2\.0\.0 Thank you\n2\.0\.0 (\d+)\+(\d+) \(queued as (\d+),(\d+)\)", text)
    assert match
    assert match.groups()[:2] == match.groups()[2:]
    for number, recipient in zip(match.groups(), people, strict=False):
        [entry] = held.entries(recipient=recipient)
        assert (entry["id"], entry["state"]) == (int(number), "hold")


REFUSALS = [
    ("reject", 550, "5.7.1 No\n5.7.1 never"),
    ("error", 421, "4.3.0 Temporary server error, please try again later"),
    ("nothing", 421, "4.7.1 Please try again later"),
]


@pytest.mark.parametrize(("word", "code", "text"), REFUSALS)
def test_a_refused_message_is_not_stored(held: Gateway, word: str, code: int, text: str) -> None:
    before = held.queued()
    answer = held.send("joe@one.example", f"{word}@x.example", f"{word}2@x.example", message=subject(word))
    assert answer == (code, text)
    assert held.queued() == before
    held.wait_for(rf" verdict stage=eod action=\w+ code={code} ")


def test_large_messages_and_their_copies(tmp_path: Path) -> None:
    """Over 64 KiB the body is a file; each version of the message is one, shared by those that get it."""
    script = """
        $mail = $arguments["mail"];
        foreach ($transaction["recipients"] as $rcpt) $mail->queue("", $rcpt["address"], "next", ["hold" => true]);
        $mail->addHeader("X-Archive", "yes");
        $mail->queue("", "archive@x.example", "next", ["hold" => true]);
        Accept();
    """
    message = "Subject: large\r\n\r\n" + ("x" * 70 + "\r\n") * 2000
    config = write_gateway(tmp_path, {"eod": script})
    with Gateway(config) as gateway:
        assert gateway.send("joe@one.example", "a@x.example", "b@x.example", message=message)[0] == 250
        sizes = [entry["size"] for entry in gateway.entries()]
    assert sizes[0] == sizes[1] == sizes[2] - len("X-Archive: yes\r\n")
    first, archive = sorted((tmp_path / "queue" / "bodies").iterdir(), key=lambda item: item.stat().st_size)
    assert first.read_bytes().endswith(message.encode())
    assert archive.read_bytes().count(b"X-Archive: yes\r\n") == 1


def test_a_reload_changes_the_stage(tmp_path: Path) -> None:
    """From data to eod, for new sessions; a configuration with both is not taken over."""
    both = write_gateway(tmp_path / "both", {"data": 'Reject("data");', "eod": 'Reject("eod");'}).read_text()
    config = write_gateway(tmp_path / "site", {"data": 'Reject("data");'})
    with Gateway(config) as gateway:
        assert gateway.send("joe@one.example", "a@x.example")[1] == "5.7.1 data"
        config.write_text(both)
        (tmp_path / "site" / "eod.hsl").write_text('Reject("eod");')
        gateway.send_signal(signal.SIGHUP)
        gateway.wait_for(r" error reload-failed .*has a data hook, too")
        assert gateway.send("joe@one.example", "a@x.example")[1] == "5.7.1 data"
        write_gateway(tmp_path / "site", {"eod": 'Reject("eod");'})
        gateway.send_signal(signal.SIGHUP)
        gateway.wait_for(r" info reloaded ")
        assert gateway.send("joe@one.example", "a@x.example")[1] == "5.7.1 eod"


def test_reject_can_disconnect(held: Gateway) -> None:
    with held.client() as client:
        assert submit(client, "joe@one.example", "a@x.example", message=subject("reject"))[0] == 550
        assert client.sock is not None
        assert client.sock.recv(1) == b""
        client.close()


def test_rcptto_by_the_recipients_domain(tmp_path: Path) -> None:
    """The domain's own script, else that of `*`; where there is none, the relay rule decides."""
    scripts = {"one.hsl": 'Reject("one");', "others.hsl": 'Reject("others " . $recipientdomain);'}

    def answers(name: str, hook: dict[str, str], *recipients: str) -> list[str]:
        server = {"phases": {"rcptto": {"hook": {"recipientdomains": hook}}}}
        with Gateway(write_gateway(tmp_path / name, scripts, server=server)) as gateway, gateway.client() as client:
            client.mail("joe@a.example")
            return [client.rcpt(recipient)[1].decode() for recipient in recipients]

    people = ("x@One.Example", "x@sub.one.example", "x@two.example")
    found = answers("all", {"one.EXAMPLE": "one.hsl", "*": "others.hsl"}, *people)
    assert found == ["5.7.1 one", "5.7.1 others sub.one.example", "5.7.1 others two.example"]
    found = answers("one", {"one.example": "one.hsl"}, *people)
    assert found == ["5.7.1 one", "2.1.5 Recipient accepted", "2.1.5 Recipient accepted"]
