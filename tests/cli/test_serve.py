"""`hsl serve` as a process: its checks, its start and stop, its signals."""

from __future__ import annotations

import signal
import smtplib
import socket
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

Serve = Callable[..., Any]
Hsl = Callable[..., CompletedProcess[str]]


def test_check_of_what_is_right(config: Path, hsl: Hsl) -> None:
    done = hsl("serve", "-c", config, "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{config}: no errors, 0 warnings\n", "")
    assert not (config.parent / "spool").exists(), "a check opens nothing"


def test_check_looks_for_smtpd_yaml(config: Path, hsl: Hsl) -> None:
    assert hsl("serve", "--check", cwd=config.parent).stdout == "smtpd.yaml: no errors, 0 warnings\n"


def test_check_reports_every_mistake_of_every_script(config: Path, hsl: Hsl) -> None:
    (config.parent / "rcptto.hsl").write_text('Acept();\n$x = 1;\nif ($x { echo "a"; }\n')
    (config.parent / "pre.hsl").write_text('Try();\nSetSourceIp("netaddr:1");\n')
    done = hsl("serve", "-c", config, "--check")
    assert done.returncode == 1
    assert "rcptto.hsl:3:8: error: " in done.stderr
    assert "pre.hsl:2:1: error: " in done.stderr
    assert "did you mean" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_reports_the_mistakes_of_the_configuration(config: Path, hsl: Hsl) -> None:
    config.write_text(config.read_text().replace("listeners", "listner").replace("path: spool", "pth: spool"))
    done = hsl("serve", "-c", config, "--check")
    assert done.returncode == 1
    assert "smtpd.yaml:4:5: error: unknown key 'listner' in servers[0]" in done.stderr
    assert "hint: did you mean 'listeners'?" in done.stderr
    assert "smtpd.yaml:11:3: error: unknown key 'pth' in queues" in done.stderr


def test_check_shows_warnings(config: Path, hsl: Hsl) -> None:
    config.write_text(
        config.read_text().replace("    transport: next\n", "    transport: next\n    relay: {networks: ['::/0']}\n")
    )
    (config.parent / "pre.hsl").write_text("echo $nothing;\n")
    done = hsl("serve", "-c", config, "--check")
    assert (done.returncode, done.stdout) == (0, f"{config}: no errors, 2 warnings\n")
    assert "smtpd.yaml:6:24: warning: open relay" in done.stderr
    assert "pre.hsl:1:6: warning: " in done.stderr


@pytest.mark.parametrize(("number", "loop"), [(signal.SIGTERM, ""), (signal.SIGINT, "asyncio")])
def test_a_signal_stops_it_in_order(config: Path, serve: Serve, number: int, loop: str) -> None:
    served = serve(config, HSL_LOOP=loop)
    with smtplib.SMTP("127.0.0.1", served.port, timeout=20) as client:
        assert client.noop()[0] == 250
        assert served.end(number) == 0
        assert client.sock is not None
        assert client.sock.recv(100).startswith(b"421 4.3.2 ")
        client.close()
    assert f"loop={loop or 'uvloop'}" in served.wait_for(" ready ").string
    served.wait_for(" stopped")
    assert not (config.parent / "c.sock").exists()


def test_a_second_signal_ends_it_at_once(config: Path, serve: Serve) -> None:
    (config.parent / "rcptto.hsl").write_text("while (true) { $x = 1; }\n")
    served = serve(config)
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as client:
        client.sendall(b"HELO a\r\nMAIL FROM:<>\r\nRCPT TO:<a@a.example>\r\n")
        answers = client.makefile("rb")
        for _ in range(3):  # banner, HELO, MAIL: the script is under way
            answers.readline()
        served.send_signal(signal.SIGTERM)
        served.wait_for(" stopping ")
        assert served.end(signal.SIGTERM) == 1
    served.wait_for(" killed signal=SIGTERM")


def test_sighup_loads_anew(config: Path, serve: Serve) -> None:
    served = serve(config)
    port = served.port
    (config.parent / "rcptto.hsl").write_text("Defer(\n")
    served.send_signal(signal.SIGHUP)
    served.wait_for(r" error reload-failed at=rcptto\.hsl:")
    (config.parent / "rcptto.hsl").write_text('Defer("later");\n')
    served.send_signal(signal.SIGHUP)
    served.wait_for(" reloaded ")
    with smtplib.SMTP("127.0.0.1", port, local_hostname="c.example", timeout=20) as client:
        client.ehlo()
        client.mail("a@a.example")
        code, text = client.rcpt("b@a.example")
        assert 400 <= code < 500
        assert text.endswith(b"later")
    assert served.end(signal.SIGTERM) == 0


def test_a_second_gateway_on_the_same_queue_is_refused(config: Path, serve: Serve, hsl: Hsl) -> None:
    serve(config)
    done = hsl("serve", "-c", config)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("hsl serve: ")
    assert "spool" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_script_with_errors_does_not_start(config: Path, hsl: Hsl) -> None:
    (config.parent / "pre.hsl").write_text("Tri();\n")
    done = hsl("serve", "-c", config)
    assert done.returncode == 1
    assert done.stderr.startswith("pre.hsl:1:1: error: ")
