"""`hsl queue` against a real gateway in a process of its own, and against the files of one that is down."""

from __future__ import annotations

import json
import signal
import smtplib
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

Serve = Callable[..., Any]
Hsl = Callable[..., CompletedProcess[str]]
MESSAGE = "Subject: a test\r\nX-Bell: \a\r\n\r\nHello\r\n"


def send(port: int, *recipients: str, sender: str = "joe@one.example") -> None:
    with smtplib.SMTP("127.0.0.1", port, local_hostname="c.example", timeout=20) as client:
        assert client.sendmail(sender, recipients, MESSAGE, ["RET=HDRS", "ENVID=e1"], ["NOTIFY=NEVER"]) == {}


def wait_deferred(served: Any, count: int) -> None:
    """Until pre-delivery has put that many entries off."""
    for entry_id in range(1, count + 1):
        served.wait_for(rf" decision queue={entry_id} ")


def test_a_round_trip(config: Path, serve: Serve, hsl: Hsl) -> None:
    def queue(*arguments: str) -> CompletedProcess[str]:
        return hsl("queue", "-c", config, *arguments)

    def metric(*arguments: str) -> int:
        return int(queue("metric", *arguments).stdout)

    served = serve(config)
    send(served.port, "a@two.example", "b@two.example", "c@three.example")
    wait_deferred(served, 3)

    listed = queue("list")
    assert listed.returncode == 0, listed.stderr
    head, *rows = listed.stdout.splitlines()
    assert head.split()[:7] == ["ID", "STATE", "AGE", "SIZE", "TRY", "NEXT", "SENDER"]
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]
    assert "defer" in rows[0]
    assert "<joe@one.example>  <a@two.example>" in rows[0]
    entries = json.loads(queue("list", "--recipientdomain", "two.example", "--json").stdout)
    assert [(entry["id"], entry["recipient"]) for entry in entries] == [(1, "a@two.example"), (2, "b@two.example")]
    cut = queue("list", "--limit", "2")
    assert len(cut.stdout.splitlines()) == 3
    assert "--limit" in cut.stderr

    assert metric() == 3
    assert metric("--recipientdomain", "two.example", "--recipientdomain", "three.example") == 3
    assert metric("--senderdomain", "one.example", "--recipientdomain", "three.example") == 1
    assert metric("--metric", "bytes", "--id", "3") == entries[0]["size"]
    assert json.loads(queue("metric", "--state", "defer", "--json").stdout) == {"count": 3}

    shown = queue("show", "1", "--headers")
    assert "recipient:   a@two.example\n" in shown.stdout
    assert "dsn:         RET=HDRS ENVID=e1 NOTIFY=NEVER\n" in shown.stdout
    assert "Subject: a test" in shown.stdout
    assert "Hello" not in shown.stdout
    assert "Hello" in queue("show", "1", "--body").stdout
    assert json.loads(queue("show", "2", "--json").stdout)["entry"]["state"] == "defer"
    missing = queue("show", "99")
    assert (missing.returncode, missing.stderr) == (1, "Error: there is no entry 99\n")

    assert queue("hold", "1", "2").stdout == "hold: 2 changed\n"
    assert metric("--state", "hold") == 2
    assert json.loads(queue("release", "--recipientdomain", "two.example", "--json").stdout) == {"changed": 2}
    assert queue("delete", "--id", "3").stdout == "delete: 1 changed\n"
    assert hsl("queue", "retry", "-c", config, "--all").returncode == 0
    assert metric() == 2
    nobody = queue("delete", "--senderdomain", "nowhere.example")
    assert (nobody.returncode, nobody.stdout) == (0, "delete: 0 changed\n")
    assert hsl("queue", "--socket", config.parent / "c.sock", "metric").stdout == "2\n"

    assert served.end(signal.SIGTERM) == 0
    down = queue("list")
    assert down.returncode == 0
    assert [row.split()[0] for row in down.stdout.splitlines()[1:]] == ["1", "2"]
    assert down.stderr == f"no gateway is running: read from {config.parent / 'spool'}\n"
    assert metric("--id", "1") == 1
    assert "Hello" in queue("show", "1", "--body").stdout
    refused = queue("delete", "--all")
    assert (refused.returncode, refused.stderr) == (1, f"Error: no gateway answers at {config.parent / 'c.sock'}\n")
    assert metric() == 2


@pytest.mark.parametrize(
    ("arguments", "code", "wanted"),
    [
        (["list"], 1, "there is no queue in "),
        (["hold", "1"], 1, "no gateway answers at "),
        (["delete"], 2, "name ids or filters, or give --all"),
        (["delete", "--all", "1"], 2, "name ids or filters, or give --all"),
        (["show"], 2, "Missing argument"),
        (["show", "x"], 2, "'x' is not a valid integer"),
        (["metric", "--metric", "weight"], 2, "'weight' is not one of"),
        (["list", "--colour", "red"], 2, "No such option"),
    ],
)
def test_refusals(config: Path, hsl: Hsl, arguments: list[str], code: int, wanted: str) -> None:
    done = hsl("queue", "-c", config, *arguments)
    assert done.returncode == code
    assert wanted in done.stderr
    assert "Traceback" not in done.stderr


def test_only_a_socket_and_nobody_there(tmp_path: Path, hsl: Hsl) -> None:
    done = hsl("queue", "--socket", tmp_path / "c.sock", "list")
    assert (done.returncode, done.stderr) == (1, f"Error: no gateway answers at {tmp_path / 'c.sock'}\n")


def test_a_configuration_that_is_wrong_elsewhere_is_good_enough(config: Path, hsl: Hsl) -> None:
    config.write_text(config.read_text().replace("listeners", "listner"))
    assert "there is no queue in" in hsl("queue", "-c", config, "list").stderr
    config.write_text("servers: [\n")
    assert "smtpd.yaml:2:1: error: " in hsl("queue", "-c", config, "list").stderr
