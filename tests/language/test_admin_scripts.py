"""The scripts of scripts/library, as an administrator writes and runs them: what they print, in full; and whether
others read it as it is meant."""

from __future__ import annotations

import base64
import hmac
import json
import re
from email import message_from_string, policy
from email.message import EmailMessage
from pathlib import Path

import pytest
from click.testing import CliRunner

from hsl.cli.main import main
from hsl.compiler import Environment, compile_script
from hsl.library import core_registry
from hsl.loader import FileLoader
from hsl.run import Run
from hsl.source import Source

ROOT = Path(__file__).parents[2] / "scripts" / "library"
WANTED = Path(__file__).parent / "admin_scripts"
SCRIPTS = sorted(path.stem for path in ROOT.glob("*.hsl"))


def printed(name: str) -> str:
    """What a script wrote before its test began, with the line ends of this system."""
    return (WANTED / f"{name}.txt").read_text()


def test_every_script_has_its_output() -> None:
    assert SCRIPTS == ["dsn", "greylist", "milter", "srs"]
    assert sorted(path.stem for path in WANTED.glob("*.txt")) == SCRIPTS


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_prints_what_it_should(name: str) -> None:
    path = ROOT / f"{name}.hsl"
    source = Source.from_bytes(path.name, path.read_bytes())
    program = compile_script(source, Environment(core_registry(), loader=FileLoader(ROOT)))
    written: list[bytes] = []
    run = Run(program, output=written.append)
    assert run.execute() is True
    assert b"".join(written).decode() == printed(name)
    assert [str(item) for item in (*program.warnings, *program.notes)] == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_commands_run_and_check_it(name: str) -> None:
    path = str(ROOT / f"{name}.hsl")
    runner = CliRunner(catch_exceptions=False)
    assert runner.invoke(main, ["check", "--strict", path]).stdout == "1 file: 0 errors, 0 warnings, 0 notes\n"
    done = runner.invoke(main, ["run", path])
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == printed(name)


@pytest.mark.parametrize("name", SCRIPTS)
def test_nothing_fails_in_its_own_test(name: str) -> None:
    lines = printed(name).splitlines()
    checks = [line for line in lines if re.match(r"(not )?ok \d", line)]
    assert len(checks) >= 9
    assert [line for line in checks if line.startswith("not")] == []
    assert lines[-1].endswith(f": {len(checks)} checks, 0 failed")


def test_the_hash_of_a_rewritten_sender_is_that_of_the_scheme() -> None:
    """HMAC-SHA1 over day, domain and local part in lower case, the first characters of its base64."""
    (found,) = re.findall(r"<ann@one.example> -> <SRS0=(.{4})=(..)=one.example=ann@forward.example>", printed("srs"))
    digest = hmac.digest(b"tempest", f"{found[1]}one.exampleann".lower().encode(), "sha1")
    assert found[0] == base64.b64encode(digest)[:4].decode()
    day = 1767225600 // 86400 % 1024
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    assert found[1] == letters[day // 32] + letters[day % 32]


def reports() -> list[EmailMessage]:
    """The reports that dsn.hsl prints, as Python's email package reads them."""
    texts = re.findall(r"^---- .*\n((?s:.*?)--\n)\nok ", printed("dsn"), re.MULTILINE)
    found = [message_from_string(text, policy=policy.default) for text in texts]
    assert all(isinstance(item, EmailMessage) for item in found)
    return found  # type: ignore[return-value]


def test_reports_are_multipart_reports() -> None:
    every = reports()
    assert len(every) == 3
    for report in every:
        assert report.get_content_type() == "multipart/report"
        assert report.get_param("report-type") == "delivery-status"
        assert report["Auto-Submitted"] == "auto-replied"
        assert not report.defects
        kinds = [part.get_content_type() for part in report.iter_parts()]
        assert kinds[:2] == ["text/plain", "message/delivery-status"]
        assert kinds[2] in ("text/rfc822-headers", "message/rfc822")


def test_the_fields_of_each_recipient() -> None:
    _, status, _ = reports()[0].iter_parts()
    message, *recipients = status.get_payload()
    assert dict(message.items()) == {
        "Reporting-MTA": "dns;out.example.net",
        "Original-Envelope-Id": "QQ314159+2Bx",
        "Arrival-Date": "Wed, 31 Dec 2025 23:58:11 +0000",
    }
    assert [(item["Final-Recipient"], item["Action"], item["Status"]) for item in recipients] == [
        ("rfc822;bob@two.example", "failed", "5.1.1"),
        ("rfc822;kaethe@three.example", "failed", "5.4.4"),
        ("rfc822;carol@four.example", "delayed", "4.7.1"),
    ]
    given = json.loads((ROOT / "data" / "deliveries.json").read_text())[0]["failures"][0]
    assert recipients[0]["Diagnostic-Code"] == "smtp;" + given["reply"]


def test_the_mail_comes_back_whole() -> None:
    *_, returned = reports()[1].iter_parts()
    original = (ROOT / "data" / "original.txt").read_text()
    assert returned.get_payload(0)["Subject"] == "Minutes of the meeting"
    assert returned.get_payload(0).get_payload().strip() == original.split("\n\n", 1)[1].strip()
