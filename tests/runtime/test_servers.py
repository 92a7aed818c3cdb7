"""The launchers of the real servers that other tests use."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import servers
from servers import RedisServer, Server, StartFailed, is_listening, needs, smtp_sink, smtp_source


def test_a_missing_program_fails_and_says_how_to_install_it() -> None:
    with pytest.raises(pytest.fail.Exception, match="apt-get install --no-install-recommends some-package"):
        needs("no-such-program", "some-package")


def test_the_sink_keeps_what_the_source_sends(tmp_path: Path) -> None:
    with smtp_sink(tmp_path) as sink:
        smtp_source(
            sink.host, sink.port, "-m", "5", "-s", "2", "-f", "a@one.example", "-t", "b@two.example", "-M", "me"
        )
        found = sink.wait(5)
        assert len(found) == 5
        for message in found:
            assert message.client.startswith("127.")
            assert message.helo == "me"
            assert message.sender == "<a@one.example>"
            assert message.recipients == ["<b@two.example>"]
            assert message.raw.startswith(b"From: <a@one.example>\nTo: <b@two.example>\n")
    assert not is_listening(sink.host, sink.port)


def test_a_message_is_kept_as_it_came_and_only_when_it_is_complete(tmp_path: Path) -> None:
    with smtp_sink(tmp_path) as sink, socket.socket() as client:
        client.bind(("127.0.0.7", 0))
        client.connect((sink.host, sink.port))
        stream = client.makefile("rwb")

        def say(text: bytes) -> bytes:
            stream.write(text)
            stream.flush()
            return stream.readline()[:3]

        assert stream.readline()[:3] == b"220"
        assert say(b"HELO h.example\r\n") == b"250"
        assert say(b"MAIL FROM:<>\r\n") == b"250"
        assert say(b"RCPT TO:<b@c>\r\n") == b"250"
        assert say(b"RCPT TO:<d@e>\r\n") == b"250"
        assert say(b"DATA\r\n") == b"354"
        stream.write(b"X-Mine: 1\r\n\r\n..dot\r\n\r\n\xff\r\n")
        stream.flush()
        assert sink.messages() == []
        assert say(b".\r\n") == b"250"
        (message,) = sink.wait(1)
        stream.close()
    assert message.client == "127.0.0.7"
    assert message.sender == "<>"
    assert message.recipients == ["<b@c>", "<d@e>"]
    assert message.raw == b"X-Mine: 1\n\n.dot\n\n\xff\n"


def test_a_sink_that_refuses(tmp_path: Path) -> None:
    with smtp_sink(tmp_path, "-r", "RCPT") as sink:
        with pytest.raises(pytest.fail.Exception, match="450"):
            smtp_source(sink.host, sink.port)
        assert sink.messages() == []


def test_a_port_that_is_taken_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else binds the port between its choice and the start: the next one is tried."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    with RedisServer(tmp_path / "one") as one:
        free = servers.free_port
        ports = [one.port]
        monkeypatch.setattr(servers, "free_port", lambda address="127.0.0.1": ports.pop() if ports else free(address))
        with RedisServer(tmp_path / "other") as other:
            assert ports == []
            assert other.port != one.port
            assert servers.ask("127.0.0.1", other.port, b"PING\r\n") == b"+PONG\r\n"


def test_a_program_that_ends_at_once_shows_its_output(tmp_path: Path) -> None:
    server = Server(tmp_path, "broken")
    with pytest.raises(StartFailed, match="wrong option"):
        server.launch(["/bin/sh", "-c", "echo wrong option; exit 3"], lambda: False)
