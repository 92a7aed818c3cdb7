"""The intake: what is written comes back, from memory and from the file."""

import pytest

from hsl.runtime.intake import BLOCK, MEMORY, Intake
from hsl.runtime.message import Message


@pytest.mark.parametrize("size", [0, 1, MEMORY, MEMORY + 1, 5 * MEMORY + 7])
def test_bytes_come_back_in_bounded_pieces_as_often_as_asked(tmp_path, size):
    data = bytes(range(256)) * (size // 256 + 1)
    intake = Intake(tmp_path)
    for start in range(0, size, 1000):
        intake.write(data[:size][start : start + 1000])
    for _ in range(2):
        pieces = list(intake.chunks())
        assert b"".join(pieces) == data[:size]
        assert all(0 < len(piece) <= BLOCK for piece in pieces)
    assert intake.size == size
    intake.close()


def test_the_file_has_no_name_and_appears_only_beyond_the_memory_limit(tmp_path):
    missing = tmp_path / "missing"
    intake = Intake(missing)
    intake.write(b"x" * MEMORY)  # no folder needed yet
    with pytest.raises(FileNotFoundError):
        intake.write(b"x")
    intake.close()
    real = Intake(tmp_path)
    real.write(b"x" * (MEMORY + 1))
    assert list(tmp_path.iterdir()) == []
    real.close()


def test_two_readers_do_not_disturb_each_other(tmp_path):
    intake = Intake(tmp_path)
    intake.write(b"a" * BLOCK + b"b" * BLOCK)
    first, second = intake.chunks(), intake.chunks()
    assert [next(first)[:1], next(second)[:1], next(first)[:1], next(second)[:1]] == [b"a", b"a", b"b", b"b"]
    intake.close()


@pytest.mark.parametrize(
    ("data", "head"),
    [
        (b"A: 1\r\n\r\nbody", b"A: 1\r\n\r\n"),
        (b"\r\nbody\r\n\r\n", b"\r\n"),
        (b"no blank line\r\n", b"no blank line\r\n"),
        (b"", b""),
        (b"A: " + b"x" * (MEMORY - 5) + b"\r\n\r\nbody", b"A: " + b"x" * (MEMORY - 5) + b"\r\n\r\n"),
        (b"A: " + b"x" * 200_000, b"A: " + b"x" * 99_997),
    ],
)
def test_head_ends_with_the_blank_line(tmp_path, data, head):
    intake = Intake(tmp_path)
    intake.write(data)
    assert intake.head(100_000) == head
    intake.close()


def test_a_closed_intake_says_so(tmp_path):
    intake = Intake(tmp_path)
    intake.write(b"x")
    intake.close()
    intake.close()
    with pytest.raises(ValueError, match="closed"):
        list(intake.chunks())
    with pytest.raises(ValueError, match="closed"):
        intake.write(b"y")


@pytest.mark.parametrize("size", [10, MEMORY, MEMORY + 1, 5 * MEMORY + 7])
def test_reading_at_an_offset(tmp_path, size):
    data = bytes(range(251)) * (size // 251 + 1)
    intake = Intake(tmp_path)
    intake.write(data[:size])
    for start, end in ((0, size), (0, 0), (3, 7), (size - 3, size), (size - 3, size + 100), (size, size + 1)):
        assert intake.read_at(start, end) == data[:size][start:end]
    intake.close()
    with pytest.raises(ValueError, match="closed"):
        intake.read_at(0, 1)


def test_parts_of_a_message_on_disk(tmp_path):
    intake = Intake(tmp_path)
    intake.write(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\n\r\n")
    intake.write(b"x" * MEMORY)
    intake.write(b"\r\n--b--\r\n")
    message = Message(intake)
    one, two = message.mail.split().children
    assert message.mail.content(one) == b"one"
    message.mail.remove(two)
    assert b"".join(message.version().chunks()).endswith(b"\r\n\r\n--b\r\n\r\none\r\n--b--\r\n")
    assert intake.size > MEMORY
    intake.close()
