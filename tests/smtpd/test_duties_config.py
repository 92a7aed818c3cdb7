"""Settings that fit together: a script must outlive its scanner. And the defaults that the duties of the wire name."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsl.smtpd.config import Limits, Retry
from hsl.smtpd.configfile import load_config

CONFIG = """\
servers:
  - {id: out, listeners: [{port: 2525}], transport: next}
transportgroups:
  - {id: group, transports: [{id: next}]}
queues: {path: spool}
"""
SCANNERS = [
    ("scanners: {spamassassin: {}}", None),
    ("scanners: {spamassassin: {timeout: 29.9}}", None),
    ("scanners: {spamassassin: {timeout: 30}}", "6:36: warning: a script's time (30 s) is over before"),
    ("scanners: {spamassassin: {timeout: 10m}}", "6:36: warning: a script's time (30 s) is over before"),
    ("scanners: {spamassassin: {timeout: 10m}}\nscripting: {budgets: {seconds: 11m}}", None),
    (
        "scanners: {spamassassin: {}}\nscripting: {budgets: {seconds: 5}}",
        "7:32: warning: a script's time (5 s)",
    ),
    ("scripting: {budgets: {seconds: 5}}", None),
]


@pytest.mark.parametrize(("text", "wanted"), SCANNERS)
def test_a_script_outlives_its_scanner(tmp_path: Path, text: str, wanted: str | None) -> None:
    path = tmp_path / "smtpd.yaml"
    path.write_text(CONFIG + text + "\n")
    shown = [item.render() for item in load_config(path).warnings]
    assert len(shown) == (wanted is not None)
    assert all(wanted in item for item in shown if wanted)


def test_defaults() -> None:
    assert (Limits().idle, Limits().line, Retry().expire) == (300, 998, 5 * 86400)
    assert Limits().session > Limits().idle
