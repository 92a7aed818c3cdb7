"""A real spamd behind ScanSA(): its score decides, and without it nothing is accepted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway import Gateway, write_gateway
from servers import Spamd

from hsl.runtime.scanners import GTUBE

DATA = """\
$score = ScanSA();
if ($score > 900 and $recipientdomain == "strict.example")
	Defer("scored $score");
SetMetaData(["score" => "$score"]);
"""
SPAM = f"Subject: hslmta-test\r\n\r\n{GTUBE.decode()}\r\n"


@pytest.fixture(scope="module")
def spamd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spamd]:
    with Spamd(tmp_path_factory.mktemp("spamd")) as server:
        yield server


def gateway(folder: Path, spamd: Spamd) -> Gateway:
    scanners = {"spamassassin": {"host": spamd.host, "port": spamd.port}}
    scripts = {"data": DATA, "predelivery": "Reschedule(600);"}
    return Gateway(write_gateway(folder, scripts, scanners=scanners))


def test_gtube_is_marked_or_deferred(tmp_path: Path, spamd: Spamd) -> None:
    with gateway(tmp_path, spamd) as running:
        assert running.send("eve@one.example", "bob@strict.example", message=SPAM) == (421, "4.7.1 scored 1001.5")
        assert running.queued() == 0
        assert running.send("eve@one.example", "bob@example.org", message=SPAM)[0] == 250
        assert running.send("joe@one.example", "bob@strict.example")[0] == 250
        found = {entry["sender"]: float(entry["metadata"]["score"]) for entry in running.entries()}
        assert found["eve@one.example"] == 1001.5
        assert found["joe@one.example"] < 5


def test_without_spamd_nothing_is_accepted(tmp_path: Path, spamd: Spamd) -> None:
    with gateway(tmp_path, spamd) as running:
        spamd.stop()
        for _ in range(2):
            answer = running.send("joe@one.example", "bob@example.org")
            assert answer == (421, "4.3.0 Temporary server error, please try again later")
        assert running.queued() == 0
        assert running.count(r" spamd-down ") == 1
        spamd.start()
        assert running.send("joe@one.example", "bob@example.org")[0] == 250
        assert running.queued() == 1
        running.wait_for(r" spamd-up ")
