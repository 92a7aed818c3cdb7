"""The queue's verdicts and their options, said by scripts; seen at the next hop, in the queue and after the attempt."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest
from gateway import Gateway, wait_until, write_gateway
from servers import Received, Sink

TRY = """
    switch ($message["recipientaddress"]["localpart"]) {
        case "host": Try(["host" => "%(second)s"]);
        case "classic-host": SetDestination("%(second)s"); break;
        case "sender": Try(["sender" => ["localpart" => "New", "domain" => "other.example"]]);
        case "null": Try(["sender" => ""]);
        case "recipient": Try(["recipient" => "New@other.example"]);
        case "helo": Try(["helo" => "said.example"]);
        case "source": Try(["sourceip" => ["2"]]);
        case "source-helo": Try(["sourceip" => [["id" => "3", "helo" => "own.example"]], "helo" => "said.example"]);
        case "source-order": Try(["sourceip" => ["four", "3", "2"], "sourceip_random" => false]);
        case "source-literal": Try(["sourceip" => [["address" => "127.0.0.77"]]]);
        case "source-id": Try(["sourceipid" => "4"]);
        case "classic-source": SetSourceIP("netaddr:1"); SetHELO("classic.example"); break;
        case "lmtp": Try(["host" => "%(lmtp)s", "protocol" => "lmtp"]);
        case "nobody": Try(["sourceip" => ["99"]]);
        case "context": $context = ["from" => "predelivery"]; Try(["jobid" => "job-7"]);
        case "hold": Queue(["hold" => true, "reason" => "on hold"]);
        case "delay": Queue(["delay" => 5000]);
        case "uncounted": Queue(["delay" => 5000, "increment_retry" => false]);
        case "reset": Queue(["delay" => 5000, "reset_retry" => true]);
        case "transport": Queue(["transportid" => "second", "delay" => 5000]);
        case "priority": Queue(["priority" => 1, "delay" => 5000]);
        case "classic-priority": Reschedule(5000, ["priority" => 1]);
        case "priority-two": Queue(["priority" => 2]);
        case "delete": Delete(["reason" => "not wanted"]);
        case "bounce": Bounce(["dsn" => ["from" => "robot@gateway.example", "from_name" => "Robot"]]);
        case "classic-delay": Reschedule(5000, ["increment_retry" => false]);
        case "metadata":
            $data = GetMetaData();
            if (!isset($data["tries"])) { SetMetaData(["tries" => "1"]); Queue(["delay" => 1]); }
            SetMetaData(["tries" => "2"]);
            break;
        case "metadata-number": SetMetaData(["tries" => 1]); break;
        case "metadata-list": SetMetaData(["tries"]); break;
        case "policy": break;
    }
    Try();
"""
SCRIPTS = {
    "rcptto": "Accept();",
    "mailfrom": """
        $name = $arguments["address"]["localpart"];
        if ($name =~ "^told-") {
            $found = memory_fetch(str_replace("told-", "", $name));
            if ($found !== none) Reject(str_chunk(base64_encode($found), 300));
        }
    """,
    "postdelivery": """
        memory_store($message["recipientaddress"]["localpart"], json_encode([
            "arguments" => $arguments, "message" => $message, "context" => $context, "metadata" => GetMetaData()]));
        memory_store("file." . $message["id"]["queue"], File($message["file"]["modified"])->read(1000));
    """,
}


class Site(NamedTuple):
    gateway: Gateway
    first: Sink
    second: Sink
    lmtp: Sink


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("queue")
    with ExitStack() as stack:
        first = stack.enter_context(Sink(folder))
        second, lmtp = Sink(folder), Sink(folder, "-L")
        second.port = lmtp.port = first.port
        stack.enter_context(second)
        stack.enter_context(lmtp)
        session = {"host": first.host, "port": first.port, "tls": "disabled"}
        transports = [{"id": "next", "session": session}, {"id": "second", "session": session}]
        addresses = [
            {"id": str(number), "address": f"127.0.0.1{number}", "hostname": f"out{number}.example.net"}
            for number in range(1, 5)
        ]
        addresses.append({"id": "four", "address": "::1", "hostname": "six.example.net"})
        config = write_gateway(
            folder,
            {**SCRIPTS, "predelivery": TRY % {"second": second.host, "lmtp": lmtp.host}},
            group={"transports": transports, "dsn": {"transport": "second"}},
            queues={
                "policies": [
                    {"fields": ["recipientdomain"], "default": {"concurrency": 50, "tag": "all"}},
                    {
                        "fields": ["grouping", "localip"],
                        "conditions": [
                            {
                                "if": {"grouping": "&sinks"},
                                "then": {"rate": "1000/1", "tag": "sinks", "properties": {"a": 1}},
                            }
                        ],
                    },
                ],
                "grouping": {"groupings": [{"id": "sinks", "remoteip": [f"{first.host}/32"]}]},
            },
        )
        data = json.loads(config.read_text())
        data["addresses"] = addresses
        config.write_text(json.dumps(data))
        yield Site(stack.enter_context(Gateway(config)), first, second, lmtp)


def send(site: Site, name: str) -> None:
    assert site.gateway.send("Ann@a.example", f"{name}@b.example", message=f"X-Case: {name}\r\n\r\nHello\r\n")[0] == 250


def arrived(site: Site, name: str, at: Sink | None = None) -> Received:
    """The mail of a case at the next hop."""
    deadline = time.monotonic() + 30
    while True:
        for mail in (at or site.first).messages():
            if f"X-Case: {name}\n".encode() in mail.raw:
                return mail
        assert time.monotonic() < deadline, site.gateway.output()[-3000:]
        time.sleep(0.05)


def waits(site: Site, name: str) -> dict[str, Any]:
    """The entry of a case, once a script has put it off."""
    site.gateway.wait_for(rf" decision .*recipient=<{name}@b.example>")
    [entry] = site.gateway.entries(recipient=f"{name}@b.example")
    return entry


def told(site: Site, key: str) -> str:
    """What post-delivery has noted."""
    with site.gateway.client() as client:
        deadline = time.monotonic() + 30
        while True:
            code, text = client.mail(f"told-{key}@x.example")
            if code >= 500:
                lines = (line.removeprefix(b"5.7.1 ") for line in text.split(b"\n"))
                return base64.b64decode(b"".join(lines)).decode()
            client.rset()
            assert time.monotonic() < deadline
            time.sleep(0.05)


SEEN = [  # the case; what the next hop sees: source IP, HELO, sender, recipient
    ("plain", {"helo": "gateway.example.net", "sender": "<Ann@a.example>", "recipients": ["<plain@b.example>"]}),
    ("sender", {"sender": "<New@other.example>"}),
    ("null", {"sender": "<>"}),
    ("recipient", {"recipients": ["<New@other.example>"]}),
    ("helo", {"helo": "said.example"}),
    ("source", {"client": "127.0.0.12", "helo": "out2.example.net"}),
    ("source-helo", {"client": "127.0.0.13", "helo": "own.example"}),
    ("source-order", {"client": "127.0.0.13", "helo": "out3.example.net"}),
    ("source-literal", {"client": "127.0.0.77", "helo": "gateway.example.net"}),
    ("source-id", {"client": "127.0.0.14", "helo": "out4.example.net"}),
    ("classic-source", {"client": "127.0.0.11", "helo": "classic.example"}),
]


@pytest.mark.parametrize(("name", "wanted"), SEEN, ids=[name for name, _ in SEEN])
def test_what_the_next_hop_sees(site: Site, name: str, wanted: dict[str, Any]) -> None:
    send(site, name)
    mail = arrived(site, name)
    for field, value in wanted.items():
        found = getattr(mail, field)
        assert found.startswith(value) if field == "sender" else found == value, field


@pytest.mark.parametrize("name", ["host", "classic-host"])
def test_another_host(site: Site, name: str) -> None:
    send(site, name)
    arrived(site, name, site.second)


def test_another_protocol(site: Site) -> None:
    send(site, "lmtp")
    assert arrived(site, "lmtp", site.lmtp).recipients == ["<lmtp@b.example>"]


QUEUED = [  # the case; what becomes of the entry, which was never tried before
    ("hold", {"state": "hold", "error": "on hold"}),
    ("delay", {"state": "defer", "retry": 1, "transportid": "next"}),
    ("uncounted", {"state": "defer", "retry": 0}),
    ("reset", {"state": "defer", "retry": 0}),
    ("transport", {"state": "defer", "transportid": "second", "priority": 0}),
    ("priority", {"state": "defer", "retry": 1, "priority": 1}),
    ("classic-priority", {"state": "defer", "retry": 1, "priority": 1}),
    ("priority-two", {"state": "defer", "retry": 0, "priority": 0}),  # a script error
    ("classic-delay", {"state": "defer", "retry": 0}),
    ("nobody", {"state": "defer", "retry": 0}),  # a script error: 300 seconds and a bit, uncounted
    ("metadata-number", {"state": "defer", "retry": 0, "metadata": {}}),
    ("metadata-list", {"state": "defer", "retry": 0, "metadata": {}}),
]
ERRORS = ("nobody", "priority-two", "metadata-number", "metadata-list")


@pytest.mark.parametrize(("name", "wanted"), QUEUED, ids=[name for name, _ in QUEUED])
def test_what_becomes_of_the_entry(site: Site, name: str, wanted: dict[str, Any]) -> None:
    send(site, name)
    entry = waits(site, name)
    assert {key: entry[key] for key in wanted} == wanted
    delay = entry["due"] - entry["ts"]
    if "error" in wanted:
        return
    assert 4999 <= delay <= 5060 if name not in ERRORS else 299 <= delay <= 420


def test_delete(site: Site) -> None:
    send(site, "delete")
    site.gateway.wait_for(r" decision .*recipient=<delete@b.example>.* action=delete.* reason=\"not wanted\"")
    wait_until(lambda: site.gateway.queued(recipient="delete@b.example") == 0, lambda: "no entry")


def test_bounce(site: Site) -> None:
    send(site, "bounce")
    deadline = time.monotonic() + 30
    while not (found := [mail for mail in site.first.messages() if b"Final-Recipient: rfc822; bounce@b" in mail.raw]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    [mail] = found
    assert mail.sender.startswith("<>")
    assert mail.recipients == ["<Ann@a.example>"]
    assert b"Robot <robot@gateway.example>" in mail.raw


def test_metadata_is_remembered_for_the_next_attempt(site: Site) -> None:
    send(site, "metadata")
    arrived(site, "metadata")
    found = json.loads(told(site, "metadata"))
    assert found["metadata"] == {"tries": "2"}
    assert found["arguments"]["retry"] == 1


def test_the_context_goes_from_before_to_after(site: Site) -> None:
    send(site, "context")
    found = json.loads(told(site, "context"))
    assert found["context"] == {"from": "predelivery"}
    assert found["message"]["jobid"] == "job-7"
    assert "action" not in found["arguments"], "it was delivered"
    assert found["arguments"]["expired"] is False


def test_after_an_attempt_the_message_is_as_it_was_sent(site: Site) -> None:
    send(site, "sender")
    found = json.loads(told(site, "sender"))["message"]
    assert (found["sender"], found["recipient"]) == ("new@other.example", "sender@b.example")
    assert told(site, f"file.{found['id']['queue']}").startswith("Received: from ")


def test_policies_grouping_and_connection_of_an_attempt(site: Site) -> None:
    send(site, "policy")
    arguments = json.loads(told(site, "policy"))["arguments"]
    assert arguments["grouping"] == "&sinks"
    policy = arguments["policy"]
    assert policy["tags"] == ["all", "sinks"]
    assert [(item["fields"], item["properties"]) for item in policy["policies"]] == [
        (["recipientdomain"], []),
        (["localip", "grouping"], {"a": 1}),
    ]
    assert policy["policies"][1]["rate"] == [1000, 1]
    connection = arguments["attempt"]["connection"]
    assert connection["remoteip"] == site.first.host
    assert connection["transactions"] >= 1
    assert connection["remotegreet"]
    assert len(connection["id"]) == 36
