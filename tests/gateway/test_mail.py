"""A message on its way through: below our own trace header it arrives as it was sent, for each of its recipients."""

from __future__ import annotations

from pathlib import Path

from gateway import Gateway, write_gateway
from servers import Received, smtp_sink

LINES = [b"." * count for count in range(4)] + [b"x" * 998, b"caf\xe9", b"", b" . ", b"\tend"]
HEAD = b"Subject: bit\r\n for bit\r\nX-Twice: 1\r\nX-Twice: 2\r\n\r\n"


def below_trace(mail: Received) -> bytes:
    """The message without the gateway's Received header."""
    lines = mail.raw.split(b"\n")
    assert lines[0].startswith(b"Received: from client.example.com "), lines[0]
    end = next(at for at, line in enumerate(lines) if at and not line.startswith((b" ", b"\t")))
    return b"\n".join(lines[end:])


def test_bit_for_bit(tmp_path: Path) -> None:
    """A small message, held in memory and in the queue's row; and one of 3 MB, in files on both ways."""
    small = HEAD + b"\r\n".join(LINES) + b"\r\n"
    large = HEAD + (b"\r\n".join(LINES) + b"\r\n") * 3000
    with smtp_sink(tmp_path) as sink:
        session = {"host": sink.host, "port": sink.port, "tls": "disabled"}
        with Gateway(write_gateway(tmp_path, {}, session=session)) as gateway:
            for sender, message in (("small@one.example", small), ("large@one.example", large)):
                answer = gateway.send(sender, "Bob@example.org", "ann@two.example", "Bob@example.org", message=message)
                assert answer[0] == 250
            found = sink.wait(4)
            gateway.wait_drained()
        assert len(sink.messages()) == 4
    for sender, message in (("small", small), ("large", large)):
        mails = [mail for mail in found if mail.sender.startswith(f"<{sender}@one.example>")]
        assert sorted(mail.recipients[0].split()[0] for mail in mails) == ["<Bob@example.org>", "<ann@two.example>"]
        for mail in mails:
            assert below_trace(mail) == message.replace(b"\r\n", b"\n")
    assert list((tmp_path / "queue" / "bodies").iterdir()) == []
