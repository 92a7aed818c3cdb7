"""What scripts ask of a running gateway: metrics, suspensions and policies, quotas, mail of their own, older names."""

from __future__ import annotations

import http.client
import json
import re
import signal
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path

import pytest
from gateway import MESSAGE, Gateway, hsl, mail_hosts, submit, wait_until, write_gateway
from servers import Sink, free_port

from hsl.runtime.scanners import EICAR

CONNECT = """\
if ($senderip == "127.0.0.3") SetSenderIP("192.0.2.33");
metrics_increment("connections_total", ["server" => $serverid]);
"""
HELO = 'if ($senderhelo == "client.example.com") SetHELO("renamed.example.com");'
MAILFROM = """\
stat("senders", [$senderdomain == "" ? "null" : "other" => 1]);
if ($sender == "old@a.example") SetSender("new@a.example");
metrics_set("of_a_peer", ["text" => "\\xc2\\x9b2J"], 1);
"""
RCPTTO = """\
if ($recipient == "old@good.example") SetRecipient("new@good.example");
switch ($recipientlocalpart)
{
    case "count":
        Reject(string([server_concurrency($serverid), server_concurrency($serverid, $senderip)]));
    case "quota":
        Reject(json_encode(queue_quota("q")));
    case "serial":
        Reject(serial());
    case "hostname":
        Reject(gethostname());
    case "suspend":
        queue_suspend(["recipientdomain" => "held.example"], 3600, ["tag" => "test"]);
        Reject("done");
    case "slow":
        queue_policy(["recipientdomain"], ["recipientdomain" => "slow.example"], ["rate" => [1, 2]], 3600);
        Reject("done");
    case "one":
        queue_policy(["remoteip"], [], ["concurrency" => 1], 3600);
        Reject("done");
}
"""
DATA = """\
syslog("notice", "from $senderip by $senderhelo");
if (ScanCLAM() != []) Reject("Virus " . ScanCLAM()[0]);
if ($recipientlocalpart == "direct") DirectDeliver();
if ($recipientlocalpart == "mime")
{
    $ids = MIME()->addHeader("Subject", "by MIME")->setBody("made")->queue($sender, "made@good.example", "next");
    Reject(json_encode($ids));
}
if ($recipientlocalpart == "send")
{
    $to = [["localpart" => "one", "domain" => "sent.example"], "two@sent.example"];
    $server = ["host" => GetHeader("X-Server"), "port" => number(GetHeader("X-Port"))];
    $found = GetMailMessage()->send($sender, $to, $server);
    Reject($found["error"]["type"] ?? $found["result"]["state"] . " " . $found["result"]["code"]);
}
if ($recipientlocalpart == "tell")
    Reject("told " . mail($sender, "boss@good.example", "Grüße", "text\\n", "next", ["quotas" => ["q"]]));
Deliver(["quotas" => ["q"]]);
"""


class Site:
    def __init__(self, gateway: Gateway, good: Sink, monitor: int) -> None:
        self.gateway = gateway
        self.good = good
        self.monitor = monitor

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.monitor, timeout=10)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def arrived(self, recipient: str) -> int:
        return sum(f"<{recipient}>" in mail.recipients for mail in self.good.messages())

    def wait_arrived(self, recipient: str, count: int = 1) -> None:
        wait_until(lambda: self.arrived(recipient) >= count, lambda: f"{count} mails for {recipient} at the sink")

    def policies(self) -> list[dict[str, object]]:
        done = hsl("queue", "policies", "-c", self.gateway.config, "--json")
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout))

    def say(self, recipient: str) -> str:
        code, text = self.gateway.send("a@a.example", recipient)
        assert code == 554, text
        return text.removeprefix("5.7.1 ")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("runtime")
    monitor = free_port()
    with Sink(folder) as good:
        domains = dict.fromkeys(("good", "held", "slow", "one"), good.host)
        config = write_gateway(
            folder,
            {
                "connect": CONNECT,
                "helo": HELO,
                "mailfrom": MAILFROM,
                "rcptto": RCPTTO,
                "data": DATA,
            },
            server={"relay": {"networks": ["127.0.0.0/8", "192.0.2.0/24"]}},
            session={"port": good.port, "tls": "disabled"},
            resolver=mail_hosts(**domains),
            monitor={
                "listener": {"port": monitor},
                "metrics": [{"name": "connections_total", "type": "counter", "help": "Connections"}],
            },
        )
        with Gateway(config, "--grace", "1") as gateway:
            yield Site(gateway, good, monitor)


def test_metrics(site: Site) -> None:
    site.gateway.send("", "a@good.example")
    site.wait_arrived("a@good.example")
    status, text = site.get("/metrics")
    assert status == 200
    assert "# HELP connections_total Connections\n# TYPE connections_total counter\n" in text
    assert re.search(r'^connections_total\{server="in"\} [1-9]\d*$', text, re.M)
    assert re.search(r'^hsl_stat\{legend="null",name="senders"\} 1$', text, re.M)
    assert re.search(r'^hsl_queue_entries\{state="active"\} \d+$', text, re.M)
    assert re.search(r'^hsl_sessions\{server="in"\} \d+$', text, re.M)
    assert "\nhsl_healthy 1\n" in text
    done = hsl("metrics", "-c", site.gateway.config)
    assert done.returncode == 0, done.stderr
    assert 'connections_total{server="in"}' in done.stdout
    assert 'of_a_peer{text="\\x9b2J"} 1\n' in done.stdout, "a control character would reach the terminal"
    assert 'of_a_peer{text="\x9b2J"} 1\n' in text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/ready", 200),
        ("GET", "/healthy", 200),
        ("GET", "/", 404),
        ("POST", "/metrics", 405),
        ("GET", "/metrics?x", 200),
    ],
)
def test_the_monitor(site: Site, method: str, path: str, status: int) -> None:
    assert site.get(path, method)[0] == status


def test_older_names_in_a_session(site: Site) -> None:
    with site.gateway.client("127.0.0.3") as client:
        assert submit(client, "old@a.example", "old@good.example")[0] == 250
    site.wait_arrived("new@good.example")
    [mail] = [item for item in site.good.messages() if item.recipients == ["<new@good.example>"]]
    assert mail.sender.startswith("<new@a.example>")
    site.gateway.wait_for(r' info syslog .*text="from 192\.0\.2\.33 by renamed\.example\.com"')
    assert b"Received: from renamed.example.com ([192.0.2.33])" in mail.raw


def test_server_concurrency(site: Site) -> None:
    with site.gateway.client("127.0.0.7"), site.gateway.client("127.0.0.8") as client:
        client.mail("a@a.example")
        code, text = client.rcpt("count@good.example")
        assert code == 554
        total, own = (int(number) for number in re.findall(rb"=>(\d+)", text))
        assert (total >= 2, own) == (True, 1)


def test_a_mail_of_a_scripts_own(site: Site) -> None:
    code, text = site.gateway.send("ann@a.example", "tell@good.example")
    assert code == 550
    transaction = text.split(" ")[-1]
    site.gateway.wait_for(rf" info queued .*transaction={transaction} ")
    site.wait_arrived("boss@good.example")
    [mail] = [item for item in site.good.messages() if item.recipients == ["<boss@good.example>"]]
    assert b"\nSubject: =?utf-8?" in mail.raw
    assert mail.raw.endswith(b"\n\ntext\n")


def test_delivery_while_the_client_waits(site: Site) -> None:
    code, text = site.gateway.send("ann@a.example", "direct@good.example")
    assert code == 250
    assert "queued as" not in text
    assert site.arrived("direct@good.example") == 1, "it is there before our answer"
    assert site.gateway.queued(recipient="direct@good.example") == 0


def test_a_mime_object_goes_into_the_queue(site: Site) -> None:
    code, text = site.gateway.send("ann@a.example", "mime@good.example")
    assert code == 550
    ids = json.loads(text.removeprefix("5.7.1 "))
    site.gateway.wait_for(rf" attempt queue={ids['queue']} transaction={ids['transaction']} .*action=delivered")
    [mail] = [item for item in site.good.messages() if item.recipients == ["<made@good.example>"]]
    message = message_from_bytes(mail.raw)
    assert (message["Subject"], message.get_payload(decode=True)) == ("by MIME", b"made")


def test_a_message_is_sent_at_once_to_several(site: Site, tmp_path: Path) -> None:
    """The reply after the final dot comes back to the script; where nobody listens there is an error."""

    def send(host: str, port: int) -> str:
        message = f"X-Server: {host}\r\nX-Port: {port}\r\n\r\nthe body\r\n"
        return site.gateway.send("ann@a.example", "send@good.example", message=message)[1]

    with Sink(tmp_path) as other:
        assert send(other.host, other.port) == "5.7.1 EOD 250"
        [mail] = other.wait(1)
        assert mail.recipients == ["<one@sent.example>", "<two@sent.example>"]
        site.gateway.wait_for(
            r" sent id=\S+ stage=data .*recipient=one@sent\.example,two@sent\.example .*code=250 state=EOD"
        )
        assert mail.raw.endswith(b"\n\nthe body\n")
    assert send("127.0.0.1", free_port()) == "5.7.1 connect"
    site.gateway.wait_for(r" not-sent id=\S+ stage=data .*relayip=127\.0\.0\.1 .*helo=\S+ .*code=0 state=connect")


def test_the_test_virus(site: Site) -> None:
    answer = site.gateway.send("ann@a.example", "b@good.example", message=b"Subject: x\r\n\r\n" + EICAR + b"\r\n")
    assert answer == (550, "5.7.1 Virus Eicar-Test-Signature")


def test_a_suspension_holds_until_it_is_lifted_also_over_a_reload(site: Site) -> None:
    gateway = site.gateway
    assert site.say("suspend@good.example") == "done"
    assert gateway.send("ann@a.example", "x@held.example", "y@good.example")[0] == 250
    site.wait_arrived("y@good.example")
    [entry] = gateway.entries(recipientdomain="held.example")
    assert (entry["state"], entry["retry"]) == ("active", 0)
    gateway.send_signal(signal.SIGHUP)
    gateway.wait_for(r" info reloaded ")
    [rule] = [item for item in site.policies() if item["kind"] == "suspension"]
    assert (rule["match"], rule["tag"]) == ({"recipientdomain": "held.example"}, "test")
    shown = hsl("queue", "policies", "-c", gateway.config).stdout
    assert re.search(rf"^{rule['id']}  suspension  \S+ +- +recipientdomain=held\.example +- +test$", shown, re.M), shown
    assert site.arrived("x@held.example") == 0
    done = hsl("queue", "lift", "-c", gateway.config, str(rule["id"]))
    assert (done.returncode, done.stdout) == (0, f"lifted {rule['id']}\n")
    site.wait_arrived("x@held.example")
    again = hsl("queue", "lift", "-c", gateway.config, str(rule["id"]))
    assert (again.returncode, again.stderr) == (1, f"Error: there is no suspension or policy {rule['id']}\n")


def test_the_name_of_the_installation(site: Site) -> None:
    assert site.say("hostname@good.example") == "gateway.example.net"


def test_a_rate_policy(site: Site) -> None:
    """One in 2 seconds: the second one is not there when the first one is."""
    assert site.say("slow@good.example") == "done"
    assert site.gateway.send("ann@a.example", "a@slow.example", "b@slow.example")[0] == 250
    wait_until(lambda: site.arrived("a@slow.example") + site.arrived("b@slow.example") == 1, lambda: "one mail")
    wait_until(lambda: site.gateway.queued(recipientdomain="slow.example") == 1, lambda: "one left")
    site.wait_arrived("a@slow.example")
    site.wait_arrived("b@slow.example")


def test_a_policy_by_address(site: Site) -> None:
    """One at a time to one IP address: they wait for each other, and all arrive."""
    assert site.say("one@good.example") == "done"
    people = [f"r{number}@one.example" for number in range(8)]
    with site.gateway.client() as client:
        assert submit(client, "ann@a.example", *people)[0] == 250
    for person in people:
        site.wait_arrived(person)
    for rule in site.policies():
        hsl("queue", "lift", "-c", site.gateway.config, str(rule["id"]))
    assert site.policies() == []


def test_quotas_and_the_serial_number_survive_a_crash(tmp_path: Path) -> None:
    scripts = {"rcptto": RCPTTO, "data": DATA, "predelivery": "Reschedule(600);"}
    with Gateway(write_gateway(tmp_path, scripts)) as gateway:
        for number in range(3):
            assert gateway.send("ann@a.example", f"r{number}@good.example")[0] == 250
        serial = gateway.send("a@a.example", "serial@good.example")[1]
        before = gateway.send("a@a.example", "quota@good.example")[1]
        count, size = (int(item) for item in re.findall(r":(\d+)", before))
        assert (count, size > 3 * len(MESSAGE)) == (3, True)
        gateway.kill()
        gateway.start()
        assert gateway.send("a@a.example", "quota@good.example")[1] == before
        assert gateway.send("a@a.example", "serial@good.example")[1] == serial
        [first, *_] = gateway.entries()
        assert gateway.ask("delete", filters={"id": [str(first["id"])]}) == {"changed": 1}
        assert '{"count":2,' in gateway.send("a@a.example", "quota@good.example")[1]
