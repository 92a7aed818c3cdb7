"""What supervisor and workers are made of, each part by itself: channel, board, sockets, snapshots, sums, watch."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hsl.environment import LoadError
from hsl.runtime.clock import SettableClock
from hsl.runtime.log import Log
from hsl.runtime.metrics import Metrics, render
from hsl.runtime.metricsum import pack_families, sum_families, unpack_families
from hsl.runtime.policies import Limits, Rule
from hsl.runtime.policyfields import Lists, Match
from hsl.runtime.protocols import BackendUnavailable
from hsl.smtpd.board import Board, SharedConnections
from hsl.smtpd.channel import Channel, Handler, Lost, Message, Refused
from hsl.smtpd.config import Config, Listener
from hsl.smtpd.control import ControlError
from hsl.smtpd.fleet import FRESH, Fleet, pack_rule, unpack_rule
from hsl.smtpd.listeners import BindError, bind_listeners, close_listeners
from hsl.smtpd.snapshot import RecordingLoader, SnapshotLoader
from hsl.smtpd.together import Together, join_pages
from hsl.smtpd.watch import Watch
from hsl.smtpd.workerprocess import WorkerProcess

CONFIG = {
    "servers": [{"id": "in", "transport": "t", "listeners": [{"port": 0}, {"port": 0, "address": "::1"}]}],
    "transportgroups": [{"id": "g", "transports": [{"id": "t"}]}],
}


# --- channel


@asynccontextmanager
async def channels(one: Handler, other: Handler, lines: list[str]) -> AsyncIterator[tuple[Channel, Channel]]:
    ends = socket.socketpair()
    log = Log(write=lines.append)
    made = [await Channel.open(end, handle, log) for end, handle in zip(ends, (one, other), strict=True)]
    try:
        yield made[0], made[1]
    finally:
        for channel in made:
            await channel.close()


async def nothing(name: str, message: Message) -> Mapping[str, Any]:
    return {}


@pytest.mark.asyncio
async def test_questions_and_answers_go_both_ways_and_may_overtake() -> None:
    release = asyncio.Event()
    heard: list[Message] = []

    async def slow(name: str, message: Message) -> Mapping[str, Any]:
        if name == "wait":
            await release.wait()
        if name == "tell":
            heard.append(message)
        return {"id": message.get("id"), "to": name}

    async with channels(slow, slow, []) as (one, other), asyncio.timeout(30):
        waiting = asyncio.create_task(one.ask("wait", None, id="a"))
        assert await one.ask("quick", 30, id="b", ask="c", number=7) == {"id": "b", "to": "quick"}
        assert await other.ask("quick", 30) == {"id": None, "to": "quick"}
        one.tell("tell", to=3, error="none")
        release.set()
        assert await waiting == {"id": "a", "to": "wait"}
        assert heard == [{"to": 3, "error": "none"}]


@pytest.mark.asyncio
async def test_who_asks_hears_no_too_late_and_gone() -> None:
    lines: list[str] = []

    async def refuse(name: str, message: Message) -> Mapping[str, Any]:
        if name == "wait":
            await asyncio.Event().wait()
        if name == "broken":
            raise ZeroDivisionError("secret")
        raise Refused("not today")

    async with channels(nothing, refuse, lines) as (one, other), asyncio.timeout(30):
        with pytest.raises(Refused, match="not today"):
            await one.ask("a", 30)
        with pytest.raises(Refused, match="internal error: ZeroDivisionError"):
            await one.ask("broken", 30)
        assert "channel-question-failed" in lines[0]
        with pytest.raises(Lost, match=r"no answer to wait in 0\.01 seconds"):
            await one.ask("wait", 0.01)
        waiting = asyncio.create_task(one.ask("wait", None))
        await asyncio.sleep(0)
        await other.close()
        with pytest.raises(Lost, match="gone"):
            await waiting
        with pytest.raises(Lost, match="gone"):
            await one.ask("a", None)
        one.tell("nobody hears this")
    assert len(lines) == 1


@pytest.mark.asyncio
async def test_nonsense_ends_a_channel() -> None:
    lines: list[str] = []
    ours, theirs = socket.socketpair()
    channel = await Channel.open(ours, nothing, Log(write=lines.append))
    theirs.sendall(b"{no json\n")
    async with asyncio.timeout(30):
        await channel.closed.wait()
    assert " error channel-failed " in lines[0]
    await channel.close()
    theirs.close()


# --- what workers ask each other


class Asked:
    """A channel whose other end knows the answer, or does not."""

    def __init__(self) -> None:
        self.questions: list[Message] = []
        self.answers: list[Message] | Exception = [{"value": 3}, {"value": 4}]

    async def ask(self, name: str, wait: float, question: Message) -> Message:
        self.questions.append(question)
        if isinstance(self.answers, Exception):
            raise self.answers
        return {"answers": self.answers}


@pytest.mark.asyncio
async def test_others_are_asked_once_a_second_and_never_taken_for_none() -> None:
    clock, asked = SettableClock(monotonic=10.0), Asked()
    fleet = Fleet(asked, clock)  # type: ignore[arg-type]
    filters = {"sender": [b"a@b\xff"]}
    found = await asyncio.gather(*(fleet.metric("count", filters) for _ in range(20)))
    assert (found, len(asked.questions)) == ([7] * 20, 1)
    assert asked.questions[0]["filters"] == {"sender": ["a@b\xff"]}
    asked.answers = [{"value": 0}, {"value": 1}]
    clock.advance(FRESH / 2)
    assert await fleet.metric("count", filters) == 7
    clock.advance(FRESH / 2)
    assert await fleet.metric("count", filters) == 1
    for error in (Refused("worker 1 is not running"), Lost("no answer")):
        clock.advance(FRESH)
        asked.answers = error
        with pytest.raises(BackendUnavailable, match=str(error)):
            await fleet.metric("count", filters)
    asked.answers = [{"value": 0}, {"value": 2}]
    assert await fleet.metric("count", filters) == 2, "a failure is not kept"


def test_a_rule_arrives_as_it_was() -> None:
    limits = Limits(5, (10, 60.0), 2.5, True, (("class", b"a\xff"), ("weight", 2.0)))
    for given in (limits, None):
        fields = ("recipientdomain",)
        rule = Rule("id", Match.of({"recipientdomain": "one.example"}), 70.0, "tag", fields, given, ("k",))
        heard = unpack_rule(pack_rule(rule, now=10.0), Lists(), now=1000.0)
        assert (heard.expires, heard.limits, heard.match, heard.key) == (1060.0, given, rule.match, rule.key)
        assert (heard.id, heard.tag, heard.fields) == ("id", "tag", ("recipientdomain",))


# --- counters of connections


@pytest.fixture
def board() -> Any:
    made = Board.make(3, 2)
    yield made
    made.close()


def test_connections_are_limited_over_all_workers(board: Board) -> None:
    own = Board(os.dup(board.descriptor), 3, 2, board.salt)  # as a worker opens it
    first = SharedConnections(board, 0, 0, total=5, per_ip=2)
    second = SharedConnections(own, 2, 0, total=5, per_ip=2)
    elsewhere = SharedConnections(board, 0, 1, total=5, per_ip=2)
    assert [first.enter("192.0.2.1"), second.enter("192.0.2.1"), first.enter("192.0.2.1")] == [True, True, False]
    assert second.enter("192.0.2.2")
    assert elsewhere.enter("192.0.2.1"), "another server has its own"
    assert [second.enter("2001:db8::1"), first.enter("2001:db8::2"), first.enter("2001:db8::3")] == [True, True, False]
    assert not first.enter("192.0.2.9"), "five in all"
    second.leave("192.0.2.2")
    assert first.enter("192.0.2.9")
    board.clear(2)
    assert first.enter("192.0.2.1"), "what a worker had counted goes with it"
    for ip in ("192.0.2.1", "192.0.2.1", "192.0.2.9", "2001:db8::2"):
        first.leave(ip)
    elsewhere.leave("192.0.2.1")
    assert not any(board.cells)
    own.close()


# --- sockets


def config_of(**listener: object) -> Config:
    config = Config.model_validate(CONFIG)
    if not listener:
        return config
    server = config.servers[0].model_copy(update={"listeners": [Listener(**listener)]})  # type: ignore[arg-type]
    return config.model_copy(update={"servers": [server]})


@pytest.mark.parametrize("workers", [1, 3])
def test_every_worker_has_a_socket_on_the_same_port(workers: int) -> None:
    made = bind_listeners(config_of(), workers)
    try:
        names = [[bound.getsockname()[:2] for bound in place["in"]] for place in made]
        assert len(names) == workers
        assert all(name == names[0] for name in names)
        assert [host for host, _ in names[0]] == ["127.0.0.1", "::1"]
        numbers = {bound.fileno() for place in made for bound in place["in"]}
        assert len(numbers) == 2 * workers
        port = names[0][0][1]
        made[0]["in"][0].listen()
        with pytest.raises(BindError, match=rf"server in cannot listen on 127\.0\.0\.1:{port}: "):
            bind_listeners(config_of(port=port), workers)
    finally:
        close_listeners(made)


@pytest.mark.parametrize("workers", [1, 2])
def test_all_addresses_of_ipv6_are_not_those_of_ipv4(workers: int) -> None:
    """Whatever the system's default is."""
    made = bind_listeners(config_of(address="::"), workers)
    try:
        assert [bound.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) for bound in made[0]["in"]] == [1]
    finally:
        close_listeners(made)


def test_a_port_that_others_would_share_is_not_taken() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(BindError, match="cannot listen"):
            bind_listeners(config_of(port=other.getsockname()[1]), 2)


# --- scripts


def test_a_snapshot_gives_what_was_read_whatever_is_on_disk(tmp_path: Path) -> None:
    (tmp_path / "a.hsl").write_bytes(b'echo "\xff\xc3\xa4";')
    (tmp_path / "lib.hsl").write_text("1;")
    reading = RecordingLoader(tmp_path)
    reading.load("file:a.hsl")
    reading.load_module("lib")
    with pytest.raises(LoadError):
        reading.load("missing.hsl")
    assert reading.names == ["a.hsl", "lib.hsl", "missing.hsl"]
    (tmp_path / "a.hsl").write_text("broken(")
    (tmp_path / "missing.hsl").write_text("2;")
    kept = SnapshotLoader(tmp_path, {name: (shown, text) for name, (shown, text) in reading.files.items()})
    assert kept.load_data("a.hsl") == ("a.hsl", b'echo "\xff\xc3\xa4";')
    assert kept.load_module("lib").text == "1;"
    with pytest.raises(LoadError, match="not among the files of this set"):
        kept.load("missing.hsl")


def test_files_are_changed_once_they_lie_still(tmp_path: Path) -> None:
    here, later = tmp_path / "a", tmp_path / "b"
    here.write_text("one")
    watch = Watch()
    watch.note([here, later], {})
    assert [watch.settled() for _ in range(3)] == [False] * 3
    here.write_text("two, longer")
    assert not watch.settled(), "it may go on"
    later.write_text("new")
    assert not watch.settled()
    assert watch.settled()
    before = watch.look()
    later.unlink()
    watch.note([here, later], before)
    assert [watch.settled(), watch.settled()] == [False, True], "what changed while it was read counts"
    watch.note([here, later], {})
    here.write_text("three!")
    here.write_text("two, longer")
    assert watch.known[here] is not None


# --- answers of all


def page(after: int | None, *ids: int) -> dict[str, Any]:
    return {"entries": [{"id": number} for number in ids], "more": after is not None, "after": after or 0}


PAGES = [
    ([page(None, 1, 2), page(None, 10, 11)], 9, [1, 2, 10, 11], None),
    ([page(2, 1, 2), page(None, 10, 11)], 2, [1, 2], 2),
    ([page(3, 1, 3), page(12, 2, 12)], 9, [1, 2, 3], 3),
    ([page(None, 1, 5), page(None, 2, 6)], 3, [1, 2, 5], 5),
    ([page(8), page(None, 2, 9)], 9, [2], 8),
    ([page(None), page(None)], 9, [], None),
]


@pytest.mark.parametrize(("pages", "limit", "ids", "after"), PAGES)
def test_pages_of_workers_are_one_page(pages: list[Any], limit: int, ids: list[int], after: int | None) -> None:
    """It goes as far as every worker has told."""
    assert join_pages(pages, limit) == page(after, *ids)


@pytest.mark.asyncio
async def test_a_worker_that_is_away_makes_no_part_for_the_whole() -> None:
    together = Together(lambda: [WorkerProcess(0), WorkerProcess(1)], list, Log(write=lambda line: None))
    for command in ("list", "show", "metric", "policies", "lift", "delete"):
        with pytest.raises(ControlError, match="worker 0 is not running now: try again in a moment"):
            await together.answer({"command": command, "all": True})
    assert await together.unhealthy() == "worker 0 is not running"
    assert "\nhsl_workers 0\n" in await together.render()


def test_metrics_of_workers_are_added_up() -> None:
    def metrics(count: int, value: float, healthy: float) -> Metrics:
        made = Metrics(Log(write=lambda line: None))
        made.declare("seen", "counter", "Seen")
        made.declare("took", "histogram", "Took", [1, 2])
        for _ in range(count):
            made.add("seen", {"kind": "a"}, 2)
            made.set("took", {}, value)
        made.own("hsl_healthy", "Healthy")
        made.step(made.families["hsl_healthy"], {}, healthy)
        return made

    packed = [pack_families(each.collect()) for each in (metrics(2, 0.5, 1), metrics(3, 1.5, 0))]
    text = render(sum_families(map(unpack_families, packed)))
    assert 'seen{kind="a"} 10\n' in text
    for line in ('took_bucket{le="1"} 2', 'took_bucket{le="2"} 5', "took_sum 5.5", "took_count 5", "hsl_healthy 0"):
        assert f"\n{line}\n" in text
