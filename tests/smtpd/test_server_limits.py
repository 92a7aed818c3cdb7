"""Clocks, counts and the end of the server: each limit at it and one past it."""

import asyncio
import logging

import pytest
import pytest_asyncio
from smtp_dialogue import ACCEPT, IMPLICIT, Bench, eventually

from hsl.smtpd.limits import MAX_PEERS, ByteBudget, Connections, Failures, peer_key, plain_ip

OPEN = {"relay": {"networks": ["127.0.0.0/8"]}}
BEGIN = "C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<a@b.example>\nS: 250\nC: DATA\nS: 354"


@pytest_asyncio.fixture
async def bench(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch)
    yield bench
    await bench.close()


# --- clocks


@pytest.mark.asyncio
@pytest.mark.parametrize("where", ["", "C: EHLO c.example\nS: 250", "half a line", "in data", "in auth"])
async def test_a_silent_client_is_told_before_the_close(bench, where):
    bench.runner.stages["auth"] = ACCEPT
    server = await bench.start(limits={"idle": 0.2}, auth={"without_tls": True}, **OPEN)
    client = await bench.play("S: 220")
    if where == "half a line":
        await client.send(b"EHLO c.exam")
    elif where == "in data":
        await client.play("C: EHLO c.example\nS: 250\n" + BEGIN)
        await client.send(b"half a message")
    elif where == "in auth":
        await client.play("C: EHLO c.example\nS: 250\nC: AUTH LOGIN\nS: 334")
    else:
        await client.play(where)
    await client.play("S: 421 4.4.2\nS:")
    await eventually(lambda: server.sessions == 0)
    assert bench.queue.stored == []


@pytest.mark.asyncio
async def test_a_steady_sender_is_not_cut(bench):
    await bench.start(limits={"idle": 0.4}, **OPEN)
    client = await bench.greeted()
    await client.play(BEGIN)
    for _ in range(12):
        await client.send(b"a line\r\n")
        await asyncio.sleep(0.1)
    await client.play("C: .\nS: 250")


@pytest.mark.asyncio
@pytest.mark.parametrize("stage", ["connect", "mailfrom", "data"])
async def test_a_slow_script_is_not_cut(bench, stage):
    async def slow(context):
        await asyncio.sleep(0.8)
        return ACCEPT

    if stage == "data":
        bench.stage.gate = asyncio.Event()
        asyncio.get_running_loop().call_later(0.8, bench.stage.gate.set)
    else:
        bench.runner.stages[stage] = slow
    await bench.start(limits={"idle": 0.3}, **OPEN)
    client = await bench.greeted()
    await client.play(BEGIN + "\nC: .\nS: 250")


@pytest.mark.asyncio
async def test_a_session_has_its_time_and_no_more(bench):
    server = await bench.start(limits={"session": 0.6})
    client = await bench.greeted()
    answer = ""
    async with asyncio.timeout(10):
        while not answer.startswith("421"):
            answer = await client.ask("NOOP")
            await asyncio.sleep(0.02)
    assert answer.startswith("421 4.4.2")
    await eventually(lambda: server.sessions == 0)


@pytest.mark.asyncio
async def test_a_session_over_time_ends_after_its_script(bench):
    gate = asyncio.Event()

    async def slow(context):
        await gate.wait()
        return IMPLICIT

    bench.runner.stages["mailfrom"] = slow
    await bench.start(limits={"session": 0.2})
    client = await bench.greeted()
    await client.send(b"MAIL FROM:<>\r\nNOOP\r\n")
    await asyncio.sleep(0.4)
    gate.set()
    await client.play("S: 250 2.1.0\nS: 421 4.4.2\nS:")


@pytest.mark.asyncio
async def test_a_client_that_reads_nothing_is_cut(bench):
    server = await bench.start(limits={"idle": 0.3})
    client = await bench.greeted()
    client.writer.transport.pause_reading()

    async def flood():
        with_end = b"NOOP\r\n" * 10_000
        while True:
            client.writer.write(with_end)
            await client.writer.drain()

    task = asyncio.ensure_future(flood())
    await eventually(lambda: any("4.4.2" in line for line in bench.verdicts("session")))
    task.cancel()
    await asyncio.wait([task])
    client.writer.transport.abort()
    await eventually(lambda: server.sessions == 0)


# --- counts


@pytest.mark.asyncio
async def test_errors_at_the_limit_and_one_past(bench):
    await bench.start(limits={"errors": 3})
    client = await bench.greeted()
    await client.play("C: BOGUS\nS: 500\nC: MAIL FROM:<\nS: 501\nC: RCPT TO:<>\nS: 503\nC: NOOP\nS: 250")
    await client.play("C: BOGUS\nS: 421 4.7.0\nS:")


@pytest.mark.asyncio
async def test_refused_recipients_count_as_errors(bench):
    await bench.start(limits={"errors": 3})
    client = await bench.greeted()
    await client.play("C: MAIL FROM:<>\nS: 250")
    await client.play("C: RCPT TO:<a@b.example>\nS: 550 5.7.1\n" * 3 + "C: RCPT TO:<a@b.example>\nS: 421 4.7.0\nS:")


@pytest.mark.asyncio
@pytest.mark.parametrize("limit", [{"connections": 2}, {"connections_per_ip": 2}])
async def test_connections_at_the_limit_and_one_past(bench, limit):
    server = await bench.start(limits=limit)
    first, _second = await bench.greeted(), await bench.greeted()
    await bench.play("S: 421 4.7.0\nS:")
    other = await bench.client(local="127.0.0.2")
    await other.play("S: 421 4.7.0\nS:" if "connections" in limit else "S: 220")
    await first.play("C: QUIT\nS: 221\nS:")
    await eventually(lambda: server.sessions == (1 if "connections" in limit else 2))
    await bench.greeted()


@pytest.mark.asyncio
@pytest.mark.parametrize("ending", ["quit", "abort"])
async def test_disconnect_scripts_that_wait_do_not_pile_up(bench, ending):
    """One client that came and went had 21,000 of them waiting at once, under a limit of five connections."""
    go_on = asyncio.Event()

    async def waiting(_context):
        await go_on.wait()
        return IMPLICIT

    bench.runner.stages["disconnect"] = waiting
    server = await bench.start(limits={"connections_per_ip": 2})
    for count in (1, 2):
        client = await bench.greeted()
        if ending == "quit":
            await client.play("C: QUIT\nS: 221\nS:")
        else:
            client.writer.transport.abort()
        await eventually(lambda: len(bench.runner.seen("disconnect")) == count)  # noqa: B023
    assert server.sessions == 0
    await bench.play("S: 421 4.7.0\nS:")
    assert len(bench.runner.contexts) == 2
    go_on.set()
    await eventually(lambda: not server._tasks)
    await bench.greeted()


@pytest.mark.asyncio
async def test_a_refused_connection_runs_no_script(bench):
    bench.runner.stages |= {"connect": IMPLICIT, "disconnect": IMPLICIT}
    await bench.start(limits={"connections": 1})
    await bench.greeted()
    await bench.play("S: 421 4.7.0\nS:")
    assert len(bench.runner.contexts) == 1


@pytest.mark.asyncio
async def test_bytes_of_all_sessions_together(bench):
    await bench.start(limits={"spool": 150_000}, **OPEN)
    first, second = await bench.greeted(), await bench.greeted()
    await first.play(BEGIN)
    await second.play(BEGIN)
    await first.send(b"a line of text\r\n" * 6_000)
    await eventually(lambda: bench.servers[0]._bytes.used > 90_000)
    await second.send(b"a line of text\r\n" * 6_000)
    await second.play("C: .\nS: 452 4.3.1")
    await first.play("C: .\nS: 250")
    await second.play(BEGIN + "\nC: .\nS: 250")


@pytest.mark.asyncio
async def test_one_client_s_messages_leave_room_for_those_of_others(bench):
    server = await bench.start(limits={"spool": 150_000, "spool_per_ip": 100_000}, relay={"networks": ["127.0.0.0/8"]})
    greedy = [await bench.greeted() for _ in range(3)]
    for client in greedy:
        await client.play(BEGIN)
    for client in greedy[:2]:
        await client.send(b"a line of text\r\n" * 3_000)
    await eventually(lambda: server._bytes.used > 95_990)
    await greedy[2].send(b"a line of text\r\n" * 3_000)
    await greedy[2].play("C: .\nS: 452 4.3.1\nC: MAIL FROM:<> SIZE=10000\nS: 452 4.3.1")
    other = await bench.client(local="127.0.0.2")
    await other.play("S: 220\nC: EHLO x\nS: 250\nC: MAIL FROM:<> SIZE=10000\nS: 250\nC: RSET\nS: 250\n" + BEGIN)
    await other.send(b"a line of text\r\n" * 2_000)
    await other.play("C: .\nS: 250")
    for client in greedy[:2]:
        await client.play("C: .\nS: 250")
    await greedy[2].play("C: MAIL FROM:<> SIZE=10000\nS: 250")
    assert not server._bytes.peers


def test_peers():
    assert plain_ip("::ffff:192.0.2.1") == "192.0.2.1"
    assert plain_ip("fe80::1%lo") == "fe80::1"
    assert peer_key("192.0.2.1") == "192.0.2.1"
    assert peer_key("2001:db8::1") == peer_key("2001:db8::2:3") != peer_key("2001:db8:0:1::1")


def test_counters_forget_what_has_left():
    connections = Connections(2, 1)
    assert connections.enter("192.0.2.1")
    assert not connections.enter("192.0.2.1")
    assert connections.enter("192.0.2.2")
    assert not connections.enter("192.0.2.3")
    connections.leave("192.0.2.1")
    connections.leave("192.0.2.2")
    assert connections.count == 0
    assert not connections.peers


def test_a_byte_budget():
    budget = ByteBudget(10, 6)
    assert budget.take("192.0.2.1", 6)
    assert not budget.take("192.0.2.1", 1)
    assert budget.take("2001:db8::1", 4)
    assert not budget.has_room("2001:db8::2", 1)
    assert not budget.take("192.0.2.2", 1)
    budget.give("192.0.2.1", 1)
    assert budget.take("2001:db8::2", 1)
    assert not budget.take("192.0.2.1", 1)
    budget.give("192.0.2.1", 5)
    budget.give("2001:db8::3", 5)
    assert (budget.used, budget.peers) == (0, {})


def test_failed_logins_remember_a_bounded_number_of_peers():
    class Clock:
        def time(self) -> float:
            return 0.0

        monotonic = time

    failed = Failures(1, Clock())
    for number in range(MAX_PEERS + 1):
        failed.add(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(failed.peers) == MAX_PEERS
    assert not failed.exhausted("10.0.0.0")
    assert failed.exhausted("10.0.0.1")


# --- the end


@pytest.mark.asyncio
async def test_stop_tells_the_idle_and_lets_messages_end(bench):
    server = await bench.start(**OPEN)
    idle, sending, scripted = await bench.greeted(), await bench.greeted(), await bench.greeted()
    await sending.play(BEGIN)
    await scripted.play(BEGIN)
    bench.stage.gate = asyncio.Event()
    await scripted.send(b".\r\n")
    await asyncio.wait_for(bench.stage.running.wait(), 10)
    stopping = asyncio.ensure_future(server.stop())
    await idle.play("S: 421 4.3.2\nS:")
    with pytest.raises(ConnectionRefusedError):
        await bench.client()
    bench.stage.gate.set()
    await scripted.play("S: 250\nS: 421 4.3.2\nS:")
    await sending.play("C: body\nC: .\nS: 250\nS: 421 4.3.2\nS:")
    await asyncio.wait_for(stopping, 10)
    assert len(bench.queue.stored) == 2


@pytest.mark.asyncio
async def test_stop_ends_in_time_and_never_a_commit(bench):
    server = await bench.start(**OPEN)
    silent, committing = await bench.greeted(), await bench.greeted()
    await silent.play(BEGIN)
    bench.queue.gate = asyncio.Event()
    await committing.play(BEGIN + "\nC: .")
    await asyncio.wait_for(bench.queue.committing.wait(), 10)
    stopping = asyncio.ensure_future(server.stop(grace=0.2))
    await silent.play("S:")
    assert not stopping.done()
    bench.queue.gate.set()
    await asyncio.wait_for(stopping, 10)
    assert len(bench.queue.stored) == 1
    assert server.sessions == 0


@pytest.mark.asyncio
async def test_the_libraries_own_log_is_silent(bench):
    await bench.start()
    assert logging.getLogger("mail.log").disabled
