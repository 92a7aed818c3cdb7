"""Scripts that fail: one that never ends is stopped while others go on; an error's text stays in the log."""

from __future__ import annotations

import smtplib
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from gateway import Gateway, submit, write_gateway
from servers import free_port

LOOP = """\
$i = 0;
if ($senderdomain == "loop.example")
	while (true)
		$i += 1;
"""
STEPS = 2_000_000_000  # more than any machine takes within the time
TROUBLE = "4.3.0 Temporary server error, please try again later"


def test_a_loop_is_stopped_and_others_go_on(tmp_path: Path) -> None:
    """Counted are transactions of another session that begin and end while the loop runs."""
    budgets = {"steps": STEPS, "seconds": 1.5}
    scripts = {"rcptto": LOOP, "predelivery": "Reschedule(600);"}
    config = write_gateway(tmp_path, scripts, scripting={"rootpath": ".", "budgets": budgets})
    with Gateway(config) as gateway, gateway.client() as looping, gateway.client() as other:
        looping.mail("joe@loop.example")
        answers: list[tuple[int, bytes]] = []
        thread = threading.Thread(target=lambda: answers.append(looping.rcpt("bob@example.org")))
        thread.start()
        meanwhile = -2  # the first one may have begun before the loop, the last one ended after it
        while thread.is_alive():
            assert submit(other, "ann@one.example", "bob@example.org")[0] == 250
            meanwhile += 1
        thread.join()
        assert answers == [(450, TROUBLE.encode())]
        assert meanwhile > 10, "commits were kept from the interpreter for as long as the loop ran"
        gateway.wait_for(
            r" error script-error stage=rcptto .*at=rcptto\.hsl:[34]:\d+ .* exceeded its budget of 1\.5 seconds"
        )
        looping.rset()
        assert submit(looping, "joe@one.example", "bob@example.org")[0] == 250, "the session goes on"


WRONG = """\
$hidden = ["hidden-value"];
if ({condition})
	md5($hidden);
"""
CONDITIONS = {
    "connect": '$senderip == "127.0.0.2"',
    "helo": '$arguments["host"] == "helo.wrong.example"',
    "auth": "true",
    "mailfrom": '$sender == "mailfrom@wrong.example"',
    "rcptto": '$sender == "rcptto@wrong.example"',
    "data": '$sender == "data@wrong.example"',
    "disconnect": '$senderhelo == "disconnect.wrong.example"',
    "predelivery": '$sender == "predelivery@wrong.example"',
    "postdelivery": '$sender == "postdelivery@wrong.example"',
}


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose every stage has an error for some of its clients; its next hop refuses connections."""
    config = write_gateway(
        tmp_path_factory.mktemp("wrong"),
        {stage: WRONG.replace("{condition}", condition) for stage, condition in CONDITIONS.items()},
        server={"auth": {"without_tls": True}},
        session={"host": "127.0.0.1", "port": free_port()},
    )
    with Gateway(config) as gateway:
        yield gateway


def fail_at(stage: str, gateway: Gateway) -> tuple[int, str]:
    """Meet the error of a stage of the session; the reply to it."""
    address = "127.0.0.2" if stage == "connect" else "127.0.0.1"
    client = smtplib.SMTP()
    client.source_address = (address, 0)
    client.local_hostname = "client.example.com"
    client.timeout = 20
    code, text = client.connect("127.0.0.1", gateway.port)
    if stage == "helo":
        code, text = client.ehlo("helo.wrong.example")
    elif stage == "auth":
        client.ehlo()
        code, text = client.docmd("AUTH", "PLAIN AGpvZQBzZWNyZXQ=")
    elif stage in ("mailfrom", "rcptto", "data"):
        client.ehlo()
        answer = submit(client, f"{stage}@wrong.example", "bob@example.org")
        code, text = answer[0], answer[1].encode()
    with suppress(smtplib.SMTPServerDisconnected):
        client.quit()
    client.close()
    return code, text.decode()


def assert_logged(gateway: Gateway, stage: str) -> None:
    """The error of a stage is logged with its place: line, column, source and caret."""
    found = gateway.wait_for(rf' error script-error stage={stage} id=\S+ at={stage}\.hsl:3:(\d+) error="(.*)"')
    assert found[2].startswith(f"{stage}.hsl:3:{found[1]}: error: md5(): parameter 1")
    assert "md5($hidden);" in found[2]
    assert found[2].endswith("^")


@pytest.mark.parametrize(
    ("stage", "code", "text"),
    [
        ("connect", 421, TROUBLE),
        ("helo", 450, TROUBLE),
        ("auth", 454, "4.7.0 Temporary authentication failure"),
        ("mailfrom", 450, TROUBLE),
        ("rcptto", 450, TROUBLE),
        ("data", 421, TROUBLE),
    ],
)
def test_an_error_is_a_generic_reply_and_a_line_in_the_log(wrong: Gateway, stage: str, code: int, text: str) -> None:
    assert fail_at(stage, wrong) == (code, text)
    assert_logged(wrong, stage)
    assert wrong.queued(sender=f"{stage}@wrong.example") == 0
    assert "AGpvZQBzZWNyZXQ=" not in wrong.output()


def test_an_error_at_disconnect_is_only_logged(wrong: Gateway) -> None:
    with wrong.client(greet=False) as client:
        assert client.ehlo("disconnect.wrong.example")[0] == 250
    assert_logged(wrong, "disconnect")
    assert wrong.send("joe@one.example", "bob@example.org")[0] == 250


def test_an_error_before_delivery_puts_it_off(wrong: Gateway) -> None:
    """About 300 seconds, and no retry is counted."""
    assert wrong.send("predelivery@wrong.example", "bob@example.org")[0] == 250
    assert_logged(wrong, "predelivery")
    wrong.wait_for(r" decision .*sender=<predelivery@wrong\.example> .*retry=0 .*action=defer")
    [entry] = wrong.entries(sender="predelivery@wrong.example")
    assert (entry["state"], entry["retry"]) == ("defer", 0)
    assert 290 <= entry["due"] - entry["ts"] <= 400


def test_an_error_after_delivery_takes_the_default(wrong: Gateway) -> None:
    assert wrong.send("postdelivery@wrong.example", "bob@example.org")[0] == 250
    assert_logged(wrong, "postdelivery")
    wrong.wait_for(r" attempt .*sender=<postdelivery@wrong\.example> .*retry=1 .*action=defer")
    [entry] = wrong.entries(sender="postdelivery@wrong.example")
    assert (entry["state"], entry["retry"]) == ("defer", 1)


@pytest.mark.parametrize("level", ["debug", "info"])
def test_what_a_script_echoes_is_in_the_log_at_debug_only(tmp_path: Path, level: str) -> None:
    scripts = {"mailfrom": 'echo "seen by me";'}
    with Gateway(write_gateway(tmp_path, scripts, environment={"log": level})) as gateway, gateway.client() as client:
        assert client.docmd("MAIL FROM:<ann@one.example>")[0] == 250
        gateway.wait_for(r" info verdict stage=mailfrom ")
        assert ('"seen by me"' in gateway.output()) == (level == "debug")
