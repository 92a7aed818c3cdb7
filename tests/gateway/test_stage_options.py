"""Every option of the verdicts, said by a script and seen by a client over SMTP; and what one stage leaves the next."""

from __future__ import annotations

import errno
import json
import smtplib
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest
from gateway import Gateway, write_gateway
from servers import Sink

REFUSALS = """
    function refuse($what) {
        switch ($what) {
            case "reject": Reject();
            case "reject-text": Reject("No, thank you");
            case "reject-lines": Reject(["One", "Two\\nThree"]);
            case "reject-codes": Reject("Gone", ["reply_codes" => ["code" => 556, "enhanced" => [5, 1, 10]]]);
            case "reject-enhanced": Reject("Gone", ["reply_codes" => ["enhanced" => [5, 2, 2]]]);
            case "reject-close": Reject("Bye", ["disconnect" => true]);
            case "defer": Defer();
            case "defer-text": Defer("Come back");
            case "defer-lines": Defer(["Come", "back"]);
            case "defer-codes": Defer("Full", ["reply_codes" => ["code" => 452, "enhanced" => [4, 3, 1]]]);
            case "defer-close": Defer("Bye", ["disconnect" => true]);
        }
    }
"""
SEEN = """Reject(str_chunk(json_encode(
    ["connection" => $connection, "transaction" => $transaction, "context" => $context]), 300));"""
SCRIPTS = {
    "options.hsl": REFUSALS,
    "connect": """
        import { refuse } from "options.hsl";
        $cases = json_decode(''%s'');
        $context = ["connect"];
        switch ($cases[$arguments["remoteip"]] ?? "") {
            case "accept": Accept(["reason" => ["mail.example.com ESMTP", "no spam"]]);
            case "other": Accept(["remoteip" => "192.0.2.77", "remoteptr" => "client.example.org"]);
            default: refuse($cases[$arguments["remoteip"]] ?? "");
        }
    """,
    "helo": """
        import { refuse } from "options.hsl";
        $context[] = "helo";
        $name = $arguments["host"];
        if ($name =~ "^told-(.*)$") Accept(["reason" => memory_fetch("ended " . pcre_match("^told-(.*)$", $name)[1])]);
        if ($name == "reason.example") Accept(["reason" => "Pleased to meet you"]);
        if ($name == "host.example") Accept(["host" => "other.example"]);
        if ($name == "extensions.example") Accept(["extensions" => ["SIZE 1000", "X-NEW"]]);
        refuse(str_replace(".example", "", $name));
    """,
    "mailfrom": """
        import { refuse } from "options.hsl";
        $context[] = "mailfrom";
        $name = $arguments["address"]["localpart"];
        if ($name == "reason") Accept(["reason" => ["Hello", "sender"], "reply_codes" => ["code" => 251]]);
        if ($name == "sender") Accept(["sender" => "New@Other.example"]);
        if ($name == "array") Accept(["sender" => ["localpart" => "a b", "domain" => "x.example"]]);
        if ($name == "null") Accept(["sender" => ["localpart" => "", "domain" => ""]]);
        if ($name == "classic") { SetSender("classic@other.example"); Accept(); }
        refuse($name);
    """,
    "rcptto": """
        import { refuse } from "options.hsl";
        $context[] = "rcptto";
        $name = $arguments["address"]["localpart"];
        if ($name == "seen") """
    + SEEN
    + """
        if ($name == "reason") Accept(["reason" => "Known", "reply_codes" => ["enhanced" => [2, 1, 6]]]);
        if ($name == "recipient") Accept(["recipient" => ["localpart" => "New", "domain" => "other.example"]]);
        if ($name == "transport") Accept(["transportid" => "second"]);
        if ($name == "classic") { SetRecipient("classic@other.example"); Accept(); }
        refuse($name);
        Accept();
    """,
    "data": """
        import { refuse } from "options.hsl";
        $name = $arguments["address"]["localpart"];
        if ($name == "data-seen") """
    + SEEN
    + """
        if ($name == "data-reason") Deliver(["reason" => ["Taken", "for good"]]);
        if ($name == "data-close") Deliver(["disconnect" => true]);
        if ($name == "data-codes") Deliver(["reply_codes" => ["enhanced" => [2, 6, 0]]]);
        refuse(str_replace("data-", "", $name));
        Deliver();
    """,
    "disconnect": """
        memory_store("ended " . ($connection["helo"]["host"] ?? ""), json_encode($arguments));
    """,
}
WAYS = ["reject", "reject-text", "reject-lines", "reject-codes", "reject-enhanced", "reject-close"]
WAYS += ["defer", "defer-text", "defer-lines", "defer-codes", "defer-close"]
CASES = {f"127.0.0.{30 + number}": way for number, way in enumerate([*WAYS, "accept", "other"])}


class Site(NamedTuple):
    gateway: Gateway
    sink: Sink


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("options")
    with ExitStack() as stack:
        sink = stack.enter_context(Sink(folder))
        scripts = {**SCRIPTS, "connect": SCRIPTS["connect"] % json.dumps(CASES)}
        session = {"host": sink.host, "port": sink.port, "tls": "disabled"}
        transports = [
            {"id": "next", "session": session},
            {"id": "second", "session": {**session, "helo": "two.example"}},
        ]
        config = write_gateway(folder, scripts, server={"limits": {"idle": 2}}, group={"transports": transports})
        yield Site(stack.enter_context(Gateway(config)), sink)


Reply = tuple[int, list[str]]


def raw(site: Site, address: str = "127.0.0.1") -> tuple[smtplib.SMTP, Reply]:
    """A client, and the banner that it got."""
    client = smtplib.SMTP(source_address=(address, 0), timeout=30)
    code, text = client.connect("127.0.0.1", site.gateway.port)
    return client, (code, text.decode().split("\n"))


def say(client: smtplib.SMTP, *lines: str) -> Reply:
    """The reply to the last of these commands; those before must be taken."""
    code, text = 0, b""
    for line in lines:
        assert code < 400, (line, text)
        client.send(line + "\r\n")
        code, text = client.getreply()
    return code, text.decode().split("\n")


def closed(client: smtplib.SMTP) -> bool:
    """Whether the gateway has closed the connection; one that is open answers NOOP."""
    try:
        return client.noop()[0] != 250
    except smtplib.SMTPServerDisconnected:
        return True


# what a client sees of each way to refuse: (code, lines with their enhanced codes, whether the connection is closed);
# the first pair of numbers is the stage's own
def wanted(way: str, reject: tuple[int, str], defer: tuple[int, str]) -> tuple[int, list[str], bool]:
    mine, theirs = ("5.7.1", "4.7.1")
    code, own = reject if way.startswith("reject") else defer
    enhanced = own or (theirs if way.startswith("defer") else mine)
    return {
        "reject": (code, [f"{enhanced} Refused by policy"], False),
        "reject-text": (code, [f"{enhanced} No, thank you"], False),
        "reject-lines": (code, [f"{enhanced} One", f"{enhanced} Two", f"{enhanced} Three"], False),
        "reject-codes": (556, ["5.1.10 Gone"], False),
        "reject-enhanced": (code, ["5.2.2 Gone"], False),
        "reject-close": (code, [f"{enhanced} Bye"], True),
        "defer": (code, [f"{enhanced} Please try again later"], False),
        "defer-text": (code, [f"{enhanced} Come back"], False),
        "defer-lines": (code, [f"{enhanced} Come", f"{enhanced} back"], False),
        "defer-codes": (452, ["4.3.1 Full"], False),
        "defer-close": (code, [f"{enhanced} Bye"], True),
    }[way]


@pytest.mark.parametrize("way", WAYS)
def test_refusals_at_connect(site: Site, way: str) -> None:
    address = next(ip for ip, name in CASES.items() if name == way)
    client, banner = raw(site, address)
    code, lines, _ = wanted(way, (521, ""), (421, "4.7.0"))
    with client:
        assert banner == (code, lines)
        assert closed(client), "a refusal at connect always closes"


@pytest.mark.parametrize("way", WAYS)
def test_refusals_at_helo(site: Site, way: str) -> None:
    client, _ = raw(site)
    with client:
        code, lines, closes = wanted(way, (554, ""), (450, "4.7.0"))
        assert say(client, f"EHLO {way}.example") == (code, lines)
        assert closed(client) is closes


@pytest.mark.parametrize("way", WAYS)
def test_refusals_at_mailfrom(site: Site, way: str) -> None:
    client, _ = raw(site)
    with client:
        code, lines, closes = wanted(way, (554, ""), (450, ""))
        assert say(client, "EHLO c.example", f"MAIL FROM:<{way}@a.example>") == (code, lines)
        assert closed(client) is closes


@pytest.mark.parametrize("way", WAYS)
def test_refusals_at_rcptto(site: Site, way: str) -> None:
    client, _ = raw(site)
    with client:
        code, lines, closes = wanted(way, (554, ""), (450, ""))
        assert say(client, "EHLO c.example", "MAIL FROM:<>", f"RCPT TO:<{way}@a.example>") == (code, lines)
        assert closed(client) is closes


@pytest.mark.parametrize("way", WAYS)
def test_refusals_at_data(site: Site, way: str) -> None:
    client, _ = raw(site)
    with client:
        code, lines, closes = wanted(way, (550, ""), (421, ""))
        say(client, "EHLO c.example", "MAIL FROM:<>", f"RCPT TO:<data-{way}@a.example>", "DATA")
        assert say(client, "A: b\r\n\r\n.") == (code, lines)
        assert closed(client) is closes


def test_the_banner(site: Site) -> None:
    client, banner = raw(site, next(ip for ip, name in CASES.items() if name == "accept"))
    with client:
        assert banner == (220, ["mail.example.com ESMTP", "no spam"])


ACCEPTED = [  # the commands; the last one's reply
    (["EHLO reason.example"], 250, "Pleased to meet you"),
    (["HELO reason.example"], 250, "Pleased to meet you"),
    (["EHLO c.example", "MAIL FROM:<reason@a.example>"], 251, "2.1.0 Hello\n2.1.0 sender"),
    (["EHLO c.example", "MAIL FROM:<>", "RCPT TO:<reason@a.example>"], 250, "2.1.6 Known"),
    (
        ["EHLO c.example", "MAIL FROM:<>", "RCPT TO:<data-reason@a.example>", "DATA", "."],
        250,
        "2.0.0 Taken\n2.0.0 for good (",
    ),
    (["EHLO c.example", "MAIL FROM:<>", "RCPT TO:<data-codes@a.example>", "DATA", "."], 250, "2.6.0 Ok: queued as"),
]


@pytest.mark.parametrize(("commands", "code", "text"), ACCEPTED, ids=range(len(ACCEPTED)))
def test_texts_and_codes_of_acceptance(site: Site, commands: list[str], code: int, text: str) -> None:
    client, _ = raw(site)
    with client:
        got, lines = say(client, *commands)
    assert got == code
    assert "\n".join(lines).startswith(text)


def test_a_delivery_that_closes(site: Site) -> None:
    client, _ = raw(site)
    with client:
        say(client, "EHLO c.example", "MAIL FROM:<>", "RCPT TO:<data-close@a.example>", "DATA")
        assert say(client, "A: b\r\n\r\n.")[0] == 250
        assert closed(client)


def test_the_extensions_that_helo_chooses(site: Site) -> None:
    client, _ = raw(site)
    with client:
        assert say(client, "EHLO extensions.example") == (250, ["gateway.example.net", "SIZE 1000", "X-NEW"])
        assert say(client, "HELO extensions.example") == (250, ["gateway.example.net"])


def seen(client: smtplib.SMTP, *commands: str) -> dict[str, Any]:
    """What a script at rcptto sees after these commands."""
    _, lines = say(client, *commands, "RCPT TO:<seen@a.example>")
    found: dict[str, Any] = json.loads("".join(line.removeprefix("5.7.1 ") for line in lines))
    return found


def test_what_accept_changes_is_what_later_stages_see(site: Site) -> None:
    client, _ = raw(site, next(ip for ip, name in CASES.items() if name == "other"))
    with client:
        found = seen(
            client, "EHLO host.example", "MAIL FROM:<sender@a.example>", "RCPT TO:<recipient@a.example>",
            "RCPT TO:<transport@a.example>", "RCPT TO:<classic@a.example>",
        )  # fmt: skip
    connection, transaction = found["connection"], found["transaction"]
    assert (connection["remoteip"], connection["remoteptr"]) == ("192.0.2.77", "client.example.org")
    assert connection["helo"] == {"verb": "EHLO", "host": "other.example"}
    assert transaction["sender"] == "new@other.example"
    assert transaction["senderaddress"] == {"localpart": "New", "domain": "Other.example"}
    assert [(item["recipient"], item["transportid"]) for item in transaction["recipients"]] == [
        ("new@other.example", "next"),
        ("transport@a.example", "second"),
        ("classic@other.example", "next"),
    ]


@pytest.mark.parametrize(
    ("sender", "wanted"), [("null", ""), ("classic", "classic@other.example"), ("plain", "plain@a.example")]
)
def test_senders(site: Site, sender: str, wanted: str) -> None:
    client, _ = raw(site)
    with client:
        assert seen(client, "EHLO c.example", f"MAIL FROM:<{sender}@a.example>")["transaction"]["sender"] == wanted


def test_a_sender_that_is_none_is_a_script_error(site: Site) -> None:
    client, _ = raw(site)
    with client:
        code, lines = say(client, "EHLO c.example", "MAIL FROM:<array@a.example>")
    assert (code, lines) == (450, ["4.3.0 Temporary server error, please try again later"])
    site.gateway.wait_for(r"option sender: wanted an email address")


def test_the_context_goes_from_stage_to_stage_of_one_connection(site: Site) -> None:
    client, _ = raw(site)
    with client:
        found = seen(client, "EHLO c.example", "MAIL FROM:<a@a.example>")
        assert found["context"] == ["connect", "helo", "mailfrom", "rcptto"]
        assert seen(client, "RSET", "MAIL FROM:<a@a.example>")["context"] == [*found["context"], "mailfrom", "rcptto"]
    other, _ = raw(site)
    with other:
        assert seen(other, "EHLO c.example", "MAIL FROM:<a@a.example>")["context"] == found["context"]


def test_mail_goes_out_as_the_scripts_have_it(site: Site) -> None:
    client, _ = raw(site)
    with client:
        say(
            client, "EHLO c.example", "MAIL FROM:<sender@a.example>", "RCPT TO:<recipient@a.example>",
            "RCPT TO:<transport@a.example>", "DATA",
        )  # fmt: skip
        assert say(client, "X-Test: as-scripts-have-it\r\n\r\n.")[0] == 250
    site.gateway.wait_drained()
    mails = [mail for mail in site.sink.wait(2) if b"as-scripts-have-it" in mail.raw]
    assert sorted((mail.sender, mail.recipients) for mail in mails) == [
        ("<New@Other.example>", ["<New@other.example>"]),
        ("<New@Other.example>", ["<transport@a.example>"]),
    ]


# ------------------------------------------------------------ disconnect


def told(site: Site, name: str) -> dict[str, Any]:
    """What the disconnect script was told of the session that said this name."""
    client, _ = raw(site)
    with client:
        text = ""
        deadline = time.monotonic() + 30
        while not text.startswith("{"):
            assert time.monotonic() < deadline, text
            text = say(client, f"HELO told-{name}")[1][0]
            time.sleep(0.05)
    found: dict[str, Any] = json.loads(text)
    return found


def test_the_client_says_goodbye(site: Site) -> None:
    client, _ = raw(site)
    say(client, "EHLO quit.example", "MAIL FROM:<a@a.example>", "QUIT")
    client.close()
    assert told(site, "quit.example") == {
        "close": "QUIT",
        "reply": {"code": 221, "enhanced": [2, 0, 0], "reason": ["Bye"], "state": "QUIT"},
    }


def test_the_client_goes_without_a_word(site: Site) -> None:
    client, _ = raw(site)
    say(client, "EHLO silent.example", "MAIL FROM:<a@a.example>", "RCPT TO:<reject-codes@a.example>")
    client.close()
    assert told(site, "silent.example") == {
        "close": "client",
        "reply": {"code": 556, "enhanced": [5, 1, 10], "reason": ["Gone"], "state": "RCPT"},
    }


def test_the_connection_breaks(site: Site) -> None:
    client, _ = raw(site)
    say(client, "EHLO broken.example")
    assert client.sock is not None
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()  # with a reset
    found = told(site, "broken.example")
    assert found["close"] == "error"
    assert found["error"] == {"reason": "Connection reset by peer", "type": "disconnect", "code": errno.ECONNRESET}
    assert found["reply"]["state"] == "EHLO"


def test_we_close_after_a_message(site: Site) -> None:
    client, _ = raw(site)
    with client:
        say(client, "EHLO served.example", "MAIL FROM:<>", "RCPT TO:<data-close@a.example>", "DATA", "A: b\r\n\r\n.")
        assert closed(client)
    found = told(site, "served.example")
    assert (found["close"], found["reply"]["code"], found["reply"]["state"]) == ("server", 250, "EOD")


def test_a_client_that_says_nothing(site: Site) -> None:
    client, _ = raw(site)
    say(client, "EHLO idle.example")
    assert client.getreply()[0] == 421
    client.close()
    found = told(site, "idle.example")
    assert found["close"] == "server"
    assert found["error"] == {"reason": "the client said nothing in time", "type": "timeout"}
