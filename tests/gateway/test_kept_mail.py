"""What verdicts do with mail besides accepting it, from an SMTP client to an SMTP server: hold, copy, deliver at once,
delete; and the commands of `hsl queue` that move what is held."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest
from gateway import Gateway, hsl, mail_hosts, wait_until, write_gateway
from servers import Sink

DATA = """\
switch ($recipientlocalpart)
{
    case "hold": Quarantine("suspect");
    case "kept": Quarantine("suspect", ["reject" => false, "reason" => "kept for you"]);
    case "copy": CopyMail("archive@home.example"); Reject("not here");
    case "both": CopyMail("archive@home.example"); Deliver();
    case "late": CopyMail("archive@home.example"); Defer("not now");
    case "now": DirectDeliver();
    case "gone": Delete();
}
"""
PREDELIVERY = """\
if ($recipientlocalpart == "park" and (GetMetaData()["parked"] ?? "no") == "no")
{
    SetMetaData(["parked" => "yes"]);
    Queue(["hold" => true, "reason" => "parked", "increment_retry" => false]);
}
"""


class Site(NamedTuple):
    gateway: Gateway
    home: Sink
    before: int = 0  # mails that the sink had when the test began

    def change(self, command: str, *words: str) -> str:
        done = hsl("queue", command, "-c", self.gateway.config, *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def recipients(self) -> list[str]:
        return sorted(name for mail in self.home.messages()[self.before :] for name in mail.recipients)

    def wait_recipients(self, *wanted: str) -> None:
        wait_until(lambda: self.recipients() == sorted(wanted), lambda: f"{wanted}, there are {self.recipients()}")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    tmp_path = tmp_path_factory.mktemp("kept")
    with ExitStack() as stack:
        home = stack.enter_context(Sink(tmp_path))
        refusing = Sink(tmp_path, "-f", ".", "-B", "554 5.6.0 We do not like it")
        deferring = Sink(tmp_path, "-r", "RCPT", "-b", "451 4.7.1 Greylisted")
        for sink in (refusing, deferring):
            sink.port = home.port
            stack.enter_context(sink)
        config = write_gateway(
            tmp_path,
            {"data": DATA, "predelivery": PREDELIVERY},
            session={"port": home.port, "tls": "disabled"},
            resolver=mail_hosts(home=home.host, refusing=refusing.host, deferring=deferring.host),
        )
        yield Site(stack.enter_context(Gateway(config)), home)


@pytest.fixture
def site(running: Site) -> Iterator[Site]:
    yield running._replace(before=len(running.home.messages()))
    running.change("delete", "--all")


def test_quarantine_and_release(site: Site) -> None:
    assert site.gateway.send("a@home.example", "hold@home.example")[0] == 550
    code, text = site.gateway.send("a@home.example", "kept@home.example")
    assert (code, "kept for you" in text) == (250, True)
    held = site.gateway.entries()
    assert [(entry["state"], entry["quarantine"]) for entry in held] == [("hold", "suspect")] * 2
    assert site.recipients() == []
    site.change("release", "--recipient", "hold@home.example")
    site.wait_recipients("<hold@home.example>")
    assert [entry["recipient"] for entry in site.gateway.entries()] == ["kept@home.example"]
    site.change("delete", str(held[1]["id"]))
    site.gateway.wait_drained()
    assert site.recipients() == ["<hold@home.example>"]


def test_hold_by_a_script_then_by_hand_then_retry(site: Site) -> None:
    assert site.gateway.send("a@home.example", "park@home.example")[0] == 250
    site.gateway.wait_for(" decision .*action=hold .*reason=parked")
    [entry] = site.gateway.entries()
    assert (entry["state"], entry["retry"]) == ("hold", 0)
    site.change("release", str(entry["id"]))
    site.wait_recipients("<park@home.example>")
    assert site.gateway.send("a@home.example", "b@deferring.example")[0] == 250
    site.gateway.wait_for(" attempt .*code=451 .*action=defer")
    site.change("hold", "--recipientdomain", "deferring.example")
    [entry] = site.gateway.entries()
    assert (entry["state"], entry["retry"]) == ("hold", 1)
    site.change("release", str(entry["id"]))
    site.gateway.wait_for(" attempt .*code=451 .*action=defer", 2)
    site.change("retry", str(entry["id"]))
    site.gateway.wait_for(" attempt .*code=451 .*action=defer", 3)


@pytest.mark.parametrize(
    ("recipients", "code", "arrived"),
    [
        (["copy@home.example"], 550, ["<archive@home.example>"]),  # a refusal keeps copies
        (["both@home.example"], 250, ["<archive@home.example>", "<both@home.example>"]),
        (["late@home.example"], 421, []),  # the client comes again: nothing is kept
        (["both@home.example", "late@home.example"], 421, []),
        (["gone@home.example"], 250, []),
        (["gone@home.example", "fine@home.example"], 250, ["<fine@home.example>"]),
    ],
)
def test_copies_and_deletions(site: Site, recipients: list[str], code: int, arrived: list[str]) -> None:
    assert site.gateway.send("a@home.example", *recipients)[0] == code
    site.wait_recipients(*arrived)
    site.gateway.wait_drained()
    assert site.recipients() == sorted(arrived)


@pytest.mark.parametrize(
    ("domain", "code", "text"),
    [
        ("home", 250, "2.0.0 Ok"),
        ("refusing", 554, "5.6.0 We do not like it"),
        ("deferring", 421, "4.7.1 Greylisted"),  # at RCPT: it is no answer to our end of data
    ],
)
def test_the_next_hops_answer_is_ours(site: Site, domain: str, code: int, text: str) -> None:
    assert site.gateway.send("a@home.example", f"now@{domain}.example") == (code, text)
    assert site.gateway.queued() == 0
    site.wait_recipients(*(["<now@home.example>"] if code == 250 else []))
    site.gateway.wait_for(
        f" direct-delivery .*recipient=now@{domain}.example .*sourceip=127.0.0.1 helo=gateway.* reply="
    )
