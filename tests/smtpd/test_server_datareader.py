"""The block reader: what ends a message, what it makes of it, and that the cutting into blocks makes no difference."""

import random
import tracemalloc
from itertools import pairwise

import pytest

from hsl.smtpd.datareader import BARE_NEWLINE, DataReader

END = b".\r\n"


def read(octets: bytes, cuts: list[int] | None = None, **options):
    """(message, what came after the end or None, fault)."""
    taken: list[bytes] = []
    reader = DataReader(lambda block: taken.append(block) is None, **options)
    edges = [0, *(cuts or []), len(octets)]
    for start, stop in pairwise(edges):
        rest = reader.feed(octets[start:stop])
        if rest is not None:
            return b"".join(taken), rest + octets[stop:], reader.fault
    return b"".join(taken), None, reader.fault


MESSAGES = [
    (b".\r\n", b"", b""),
    (b"a\r\n.\r\n", b"a\r\n", b""),
    (b"a\r\n.\r\nQUIT\r\n", b"a\r\n", b"QUIT\r\n"),
    (b"..\r\n.\r\n", b".\r\n", b""),
    (b"...\r\n.\r\n", b"..\r\n", b""),
    (b".a\r\n.\r\n", b"a\r\n", b""),
    (b"\r\n..\r\n\r\n.\r\n", b"\r\n.\r\n\r\n", b""),
    (b"\r\n\r\n.\r\n.\r\n", b"\r\n\r\n", b".\r\n"),
    (b"a.\r\nb\r\n.\r\n", b"a.\r\nb\r\n", b""),
]


@pytest.mark.parametrize(("octets", "message", "rest"), MESSAGES)
def test_the_end_and_the_dots_wherever_the_blocks_are_cut(octets, message, rest):
    assert read(octets) == (message, rest, None)
    every = list(range(1, len(octets)))
    assert read(octets, every) == (message, rest, None)
    for cut in every:
        assert read(octets, [cut]) == (message, rest, None)


SMUGGLED = [b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\r.\r\n", b"\n.\r", b"\r\r\n.\n"]


@pytest.mark.parametrize("false_end", SMUGGLED)
@pytest.mark.parametrize("one_by_one", [False, True])
def test_only_crlf_dot_crlf_ends_and_bare_newlines_are_a_fault(false_end, one_by_one):
    octets = b"a" + false_end + b"MAIL FROM:<x@y.example>\r\n.\r\n"
    cuts = list(range(1, len(octets))) if one_by_one else None
    _, rest, fault = read(octets, cuts)
    assert rest == b""
    assert fault is BARE_NEWLINE


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        (b"a\nb\rc\r\nd\r\n.\r\n", b"a\r\nb\r\nc\r\nd\r\n"),
        (b"a\n.\nb\r\n.\r\n", b"a\r\n.\r\nb\r\n"),
        (b"a\n..b\r\n.\r\n", b"a\r\n..b\r\n"),
        (b"a\r\r\nb\r\n.\r\n", b"a\r\n\r\nb\r\n"),
        (b"a\0b\r\n.\r\n", b"ab\r\n"),
        (b"a\r\0\nb\r\n.\r\n", b"a\r\n\r\nb\r\n"),
        (b"a\r\n\0.\r\n.\r\n", b"a\r\n.\r\n"),
    ],
)
def test_normalise_makes_crlf_and_moves_no_end(octets, message):
    assert read(octets, normalise=True) == (message, b"", None)
    assert read(octets, list(range(1, len(octets))), normalise=True) == (message, b"", None)


@pytest.mark.parametrize(
    ("octets", "options", "want"),
    [
        (b"a\0b\r\n.\r\n", {}, "550 5.6.0"),
        (b"a\0b\r\n.\r\n", {"normalise": True}, None),
        (b"a" * 10 + b"\r\n.\r\n", {"line_limit": 10}, None),
        (b"a" * 11 + b"\r\n.\r\n", {"line_limit": 10}, "550 5.6.0"),
        (b"b\r\n" + b"a" * 10 + b"\r\nb\r\n.\r\n", {"line_limit": 10}, None),
        (b"b\r\n" + b"a" * 11 + b"\r\nb\r\n.\r\n", {"line_limit": 10}, "550 5.6.0"),
        (b"." + b"a" * 10 + b"\r\n.\r\n", {"line_limit": 10}, None),
        (b"a" * 8 + b"\r\n.\r\n", {"size_limit": 10}, None),
        (b"a" * 9 + b"\r\n.\r\n", {"size_limit": 10}, "552 5.3.4"),
        (b".." + b"a" * 7 + b"\r\n.\r\n", {"size_limit": 10}, None),
    ],
)
def test_limits_at_and_one_past(octets, options, want):
    for cuts in (None, list(range(1, len(octets)))):
        _, rest, fault = read(octets, cuts, **options)
        assert rest == b""
        assert fault is None if want is None else str(fault).startswith(want)


def test_nothing_is_written_after_a_fault_and_no_room_is_one():
    calls = []
    reader = DataReader(lambda block: calls.append(block))  # None: no room
    assert reader.feed(b"a\r\nb") is None
    assert reader.feed(b"\r\nc\r\n") is None
    assert reader.feed(b".\r\n") == b""
    assert str(reader.fault).startswith("452 4.3.1")
    assert len(calls) == 1


def test_any_cutting_of_random_octets_gives_the_same():
    chance = random.Random(5321)
    for _ in range(300):
        octets = b"".join(chance.choice([b"\r\n", b"\r", b"\n", b".", b"a", b"\r\n."]) for _ in range(40))
        cuts = sorted(chance.sample(range(1, len(octets)), 5))
        for options in ({}, {"normalise": True}, {"line_limit": 3}):
            whole, cut = read(octets, **options), read(octets, cuts, **options)
            assert whole[1] == cut[1]
            assert (whole[2] is None) == (cut[2] is None)
            if whole[1] is not None and whole[2] is None:
                assert whole[0] == cut[0]


def test_four_megabytes_of_crlf_take_little_memory():
    block = b"\r\n" * 32_768
    size = 0

    def write(octets: bytes) -> bool:
        nonlocal size
        size += len(octets)
        return True

    reader = DataReader(write, line_limit=998, size_limit=1 << 30)
    tracemalloc.start()
    for _ in range(64):
        assert reader.feed(block) is None
    assert reader.feed(b".\r\n") == b""
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == 64 * len(block)
    assert peak < 2_000_000
