"""Start, reload and stop of a gateway under traffic: what is wrong changes nothing, what is under way may end."""

from __future__ import annotations

import signal
import smtplib
import socket
from pathlib import Path

import pytest
from gateway import DEADLINE, Gateway, hsl, submit, wait_until, write_gateway
from servers import smtp_sink

PUT_OFF = {"predelivery": "Reschedule(600);"}


def test_check_places_every_mistake_of_every_script(tmp_path: Path) -> None:
    scripts = {
        "rcptto": 'if ($senderdomain == "a")\n\tDefr("later");\n$x = ;\nGetHeader("X");\n',
        "data": 'include "limits.hsl";\nDeliver(1, 2, 3, 4);\n',
        "predelivery": "Try(;\n",
        "limits.hsl": "$a = 1;\n\n$b = [1, 2;\n",
    }
    done = hsl("serve", "--check", "-c", write_gateway(tmp_path, scripts))
    assert done.returncode == 1
    assert done.stdout == ""
    found = {line.partition(" error: ")[0] for line in done.stderr.splitlines() if " error: " in line}
    assert {"rcptto.hsl:3:6:", "predelivery.hsl:1:5:", "limits.hsl:3:11:"} <= found, done.stderr
    (tmp_path / "rcptto.hsl").write_text(scripts["rcptto"].replace("$x = ;", "$x = 1;"))
    (tmp_path / "limits.hsl").write_text("$a = 1;\n")
    done = hsl("serve", "--check", "-c", tmp_path / "smtpd.yaml")
    found = {line.partition(" error: ")[0] for line in done.stderr.splitlines() if " error: " in line}
    assert {"rcptto.hsl:2:2:", "rcptto.hsl:4:1:", "predelivery.hsl:1:5:"} <= found, done.stderr
    assert any(place.startswith("data.hsl:2:") for place in found), done.stderr
    assert "did you mean Defer()?" in done.stderr


def test_check_places_every_mistake_of_the_configuration(tmp_path: Path) -> None:
    path = write_gateway(tmp_path, {}, server={"transprt": "next", "transport": "nxt"}, queues={"concurency": 5})
    lines = path.read_text().splitlines()
    done = hsl("serve", "--check", "-c", path)
    assert done.returncode == 1
    for key, hint in (("transprt", "transport"), ("concurency", "concurrency")):
        number, line = next((at, text) for at, text in enumerate(lines, 1) if f'"{key}"' in text)
        assert f"smtpd.yaml:{number}:{line.index(key)}: error: unknown key '{key}'" in done.stderr
        assert f"did you mean '{hint}'?" in done.stderr
    assert "error: unknown transport 'nxt'" in done.stderr


def test_a_bad_script_is_refused_before_a_port_is_opened(tmp_path: Path) -> None:
    """The port is taken: opening it first would be another error."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listeners = [{"port": taken.getsockname()[1]}]
        path = write_gateway(tmp_path, {"rcptto": "Acept();\n"}, server={"listeners": listeners})
        done = hsl("serve", "-c", path)
        assert done.returncode == 1
        assert done.stderr.startswith("rcptto.hsl:1:1: error: ")
        assert "listen" not in done.stderr
        assert not (tmp_path / "queue").exists()
        (tmp_path / "rcptto.hsl").write_text("Accept();\n")
        done = hsl("serve", "-c", path)
        assert (done.returncode, "cannot listen on 127.0.0.1:" in done.stderr) == (1, True)


def test_a_reload_is_for_new_sessions_and_only_if_it_is_right(tmp_path: Path) -> None:
    script = tmp_path / "rcptto.hsl"
    config = write_gateway(tmp_path, {"rcptto": 'Reject("the first");\n', **PUT_OFF})
    with Gateway(config) as gateway, gateway.client() as old:

        def answer(client: smtplib.SMTP) -> str:
            text = submit(client, "joe@one.example", "bob@example.org")[1]
            client.rset()
            return text

        def reload(source: str, wanted: str) -> None:
            script.write_text(source)
            gateway.send_signal(signal.SIGHUP)
            gateway.wait_for(wanted)

        reload('Reject("broken";\n', r" error reload-failed at=rcptto\.hsl:1:16 ")
        assert answer(old) == "5.7.1 the first"
        with gateway.client() as client:
            assert answer(client) == "5.7.1 the first"
        reload('Reject("the second");\n', " reloaded ")
        assert answer(old) == "5.7.1 the first"
        with gateway.client() as client:
            assert answer(client) == "5.7.1 the second"


def test_sigterm_lets_a_message_end(tmp_path: Path) -> None:
    gateway = Gateway(write_gateway(tmp_path, PUT_OFF))
    with gateway, gateway.client() as busy, gateway.client() as idle:
        busy.mail("joe@one.example")
        busy.rcpt("bob@example.org")
        assert busy.docmd("DATA")[0] == 354
        busy.send("Subject: half of it\r\n\r\nOne\r\n")
        gateway.send_signal(signal.SIGTERM)
        assert idle.getreply()[0] == 421
        idle.close()
        with pytest.raises(OSError, match=r"refused|reset"):
            gateway.client()
        busy.send("Two\r\n.\r\n")
        code, text = busy.getreply()
        assert (code, text) == (250, b"2.0.0 Ok: queued as 1")
        assert busy.getreply()[0] == 421
        busy.close()
        assert gateway.process is not None
        assert gateway.process.wait(DEADLINE) == 0
    assert [(entry["id"], entry["sender"]) for entry in gateway.entries()] == [(1, "joe@one.example")]


def test_sigterm_lets_a_delivery_end(tmp_path: Path) -> None:
    with smtp_sink(tmp_path) as sink:
        session = {"host": sink.host, "port": sink.port, "tls": "disabled"}
        gateway = Gateway(write_gateway(tmp_path, {}, session=session))
        with gateway:
            sink.suspend()
            assert gateway.send("joe@one.example", "bob@example.org")[0] == 250
            wait_until(lambda: sink.connections() == 1, lambda: "an attempt under way")
            gateway.send_signal(signal.SIGTERM)
            gateway.wait_for(" stopping ")
            sink.resume()
            assert gateway.process is not None
            assert gateway.process.wait(DEADLINE) == 0
        assert gateway.entries() == []
        assert len(sink.messages()) == 1


def test_a_full_disk_takes_no_mail(tmp_path: Path) -> None:
    """The floor of free disk space is higher than any disk."""
    with Gateway(write_gateway(tmp_path, {}, queues={"free": "1000000TiB"})) as gateway:
        answer = gateway.send("joe@one.example", "bob@example.org")
        assert answer == (452, "4.3.1 Insufficient system storage")
        assert gateway.queued() == 0
