"""The inbound server's commands as dialogues: greetings, MAIL, RCPT, relaying, and what the stages' verdicts do."""

import asyncio

import pytest
import pytest_asyncio
from smtp_dialogue import ACCEPT, DEFER, ERROR, IMPLICIT, REJECT, Bench, disconnecting, eventually

from hsl.runtime.model import NULL_SENDER, Address
from hsl.runtime.verdict import Verdict

pytestmark = pytest.mark.asyncio
MAIL = "C: EHLO c.example\nS: 250\nC: MAIL FROM:<>\nS: 250\n"
OPEN = {"relay": {"networks": ["127.0.0.0/8"]}}


@pytest_asyncio.fixture
async def bench(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch)
    yield bench
    await bench.close()


PLAIN = """
    S: 220 mx.example ESMTP
    C: EHLO client.example
    S: 250-mx.example
    C: MAIL FROM:<a@one.example>
    S: 250 2.1.0
    C: RCPT TO:<b@two.example>
    S: 250 2.1.5
    C: DATA
    S: 354
    C: Subject: x
    C:
    C: body
    C: .
    S: 250 queued as 1
    C: QUIT
    S: 221 2.0.0
    S:
"""


async def test_a_message(bench):
    await bench.start(**OPEN)
    await bench.play(PLAIN)
    [(transaction, message)] = bench.queue.stored
    assert message == b"Subject: x\r\n\r\nbody\r\n"
    assert transaction.sender == Address(b"a", b"one.example")
    assert [item.address.path for item in transaction.recipients] == [b"b@two.example"]
    assert transaction.recipients[0].transportid == "out"


async def test_announced_extensions(bench):
    await bench.start(limits={"size": 1000})
    client = await bench.play("S: 220")
    assert (
        await client.ask("EHLO c.example")
        == "\n".join(
            f"250-{line}" for line in ("mx.example", "PIPELINING", "ENHANCEDSTATUSCODES", "SIZE 1000", "8BITMIME")
        )
        + "\n250-SMTPUTF8\n250-DSN\n250 CHUNKING"
    )
    assert await client.ask("HELO c.example") == "250 mx.example"


@pytest.mark.parametrize(
    "dialogue",
    [
        "C: MAIL FROM:<a@one.example>\nS: 503 5.5.1 Send HELO",
        "C: RCPT TO:<a@one.example>\nS: 503 5.5.1 Send HELO",
        "C: DATA\nS: 503 5.5.1 Send HELO",
        "C: EHLO\nS: 501 5.5.4",
        "C: EHLO bad(name\nS: 501 5.5.4",
        "C: EHLO c.example\nS: 250\nC: RCPT TO:<a@one.example>\nS: 503 5.5.1 Send MAIL",
        "C: EHLO c.example\nS: 250\nC: DATA\nS: 503 5.5.1 Send MAIL",
        MAIL + "C: MAIL FROM:<>\nS: 503 5.5.1",
        MAIL + "C: DATA\nS: 503 5.5.1 Send RCPT",
        MAIL + "C: RCPT TO:<a@b.example>\nS: 550 5.7.1\nC: DATA\nS: 554 5.5.1",
        MAIL + "C: RSET\nS: 250 2.0.0\nC: RCPT TO:<a@b.example>\nS: 503",
        MAIL + "C: EHLO c.example\nS: 250\nC: RCPT TO:<a@b.example>\nS: 503",
        "C: EHLO c.example\nS: 250\nC: MAIL FROM:<> SIZE=99999999999\nS: 552 5.3.4",
        "C: HELO c.example\nS: 250\nC: MAIL FROM:<> SIZE=1\nS: 555 5.5.4",
        "C: EHLO c.example\nS: 250\nC: MAIL FROM:<> AUTH=<>\nS: 555 5.5.4",
        "C: HELO c.example\nS: 250\nC: MAIL FROM:<> SMTPUTF8\nS: 555 5.5.4",
        "C: EHLO c.example\nS: 250\nC: MAIL FROM:<> SMTPUTF8=1\nS: 501 5.5.4\nC: MAIL FROM:<> SMTPUTF8\nS: 250",
        "C: EHLO c.example\nS: 250\nC: MAIL FROM:<\xe4@b.example>\nS: 553 5.6.7",
        MAIL + "C: RCPT TO:<>\nS: 501 5.1.3",
        MAIL + "C: RCPT TO:<a@b.example> NOTIFY=ALWAYS\nS: 501 5.5.4",
        MAIL + "C: RCPT TO:<a@b.example> ORCPT=x\nS: 501 5.5.4",
        MAIL + "C: RCPT TO:<a@b.example> RET=FULL\nS: 555 5.5.4",
        "C: HELO c\nS: 250\nC: MAIL FROM:<>\nS: 250\nC: RCPT TO:<a@b.example> NOTIFY=NEVER\nS: 555 5.5.4",
        "C: NOOP anything\nS: 250 2.0.0\nC: HELP\nS: 214\nC: VRFY root\nS: 252 2.1.5\nC: EXPN staff\nS: 502 5.5.1",
        "C: RSET x\nS: 501\nC: QUIT x\nS: 501\nC: noop\nS: 250\nC: quit\nS: 221\nS:",
        "C: STARTTLS\nS: 502 5.5.1\nC: AUTH PLAIN\nS: 502 5.5.1",
    ],
)
async def test_commands(bench, dialogue):
    await bench.start()
    await bench.play("S: 220\n" + dialogue)


@pytest.mark.parametrize("line", ["PASSWORD hunter2", "hunter2", "", "\xe4\xf6", "MAIL", "X" * 600, "hunter2 " * 9000])
async def test_what_is_not_understood_is_never_echoed(bench, line):
    await bench.start()
    client = await bench.play("S: 220\nC: EHLO c.example\nS: 250")
    answer = await client.ask(line)
    assert answer.startswith("50")
    assert "hunter2" not in answer
    assert "hunter2" not in "".join(bench.lines)
    assert (await client.ask("NOOP")).startswith("250")


REQUESTS = ["POST / HTTP/1.1", "GET /a b HTTP/1.0", "NOOP / HTTP/1.1", "PRI * HTTP/2.0"]
REQUESTS += [f"POST /{'x' * size} HTTP/1.1" for size in (1_000, *range(65_520, 65_537), 1_000_000)]


@pytest.mark.parametrize("line", REQUESTS, ids=lambda line: f"{line[:5]}{len(line)}")
@pytest.mark.parametrize("greeting", ["", "EHLO x\r\n"])
async def test_the_body_of_an_http_request_is_no_mail(bench, line, greeting):
    """A page, or a server that fetches what it is told to, could else send mail from an address that may relay."""
    server = await bench.start(**OPEN)
    client = await bench.client()
    await client.play("S: 220")
    body = "EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nBDAT 7 LAST\r\nhello\r\n"
    await client.send(f"{greeting}{line}\r\nHost: mx.example\r\n\r\n{body}".encode())
    await client.play("S: 250\n" * bool(greeting) + "S: 554 5.5.1\nS:")
    await eventually(lambda: server.sessions == 0)
    assert bench.queue.stored == []
    assert len(bench.verdicts("session")) == 1


async def test_command_lines_at_the_limit_and_one_past(bench):
    await bench.start()
    client = await bench.play("S: 220")
    assert (await client.ask("NOOP " + "x" * (512 - 7))).startswith("250")
    assert (await client.ask("NOOP " + "x" * (512 - 6))).startswith("500 5.5.2")


async def test_pipelined_commands_are_answered_in_order_and_finished_after_the_end_of_input(bench):
    await bench.start(**OPEN)
    client = await bench.client()
    await client.send(
        b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nRCPT TO:<bad>\r\nNOOP\r\nRSET\r\nQUIT\r\n"
    )
    client.writer.write_eof()
    await client.play("S: 220\nS: 250-\nS: 250 2.1.0\nS: 250 2.1.5\nS: 501\nS: 250\nS: 250\nS: 221\nS:")


async def test_a_last_line_without_its_end_is_no_command(bench):
    await bench.start()
    client = await bench.play("S: 220")
    await client.send(b"EHLO c.example\r\nEHLO other")
    client.writer.write_eof()
    await client.play("S: 250\nS:")


# --- who may relay

NETWORK, DOMAIN, STRANGER, USER = "network", "domain", "stranger", "user"
RELAY = [
    # client    hook          wanted
    (STRANGER, None, "550 5.7.1"),
    (STRANGER, IMPLICIT, "550 5.7.1"),
    (STRANGER, ERROR, "450"),
    (STRANGER, Verdict("accept", explicit=False, error=True), "550 5.7.1"),
    (STRANGER, ACCEPT, "250"),
    (STRANGER, REJECT, "554"),
    (STRANGER, DEFER, "450"),
    (NETWORK, None, "250"),
    (NETWORK, IMPLICIT, "250"),
    (NETWORK, ERROR, "450"),
    (NETWORK, ACCEPT, "250"),
    (NETWORK, REJECT, "554"),
    (DOMAIN, None, "250"),
    (DOMAIN, IMPLICIT, "250"),
    (DOMAIN, ERROR, "450"),
    (DOMAIN, ACCEPT, "250"),
    (DOMAIN, DEFER, "450"),
    (USER, None, "250"),
    (USER, IMPLICIT, "250"),
    (USER, ERROR, "450"),
    (USER, ACCEPT, "250"),
    (USER, REJECT, "554"),
]


@pytest.mark.parametrize(("client", "hook", "wanted"), RELAY)
async def test_who_may_relay(bench, client, hook, wanted):
    settings = {
        STRANGER: {"relay": {"networks": ["192.0.2.0/24"], "domains": ["here.example"]}},
        NETWORK: {"relay": {"networks": ["127.0.0.1"]}},
        DOMAIN: {"relay": {"domains": ["There.Example"]}},
        USER: {"auth": {"without_tls": True}},
    }[client]
    if hook is not None:
        bench.runner.stages["rcptto"] = hook
    if client == USER:
        bench.runner.stages["auth"] = ACCEPT
    await bench.start(**settings)
    session = await bench.greeted()
    if client == USER:
        await session.play("C: AUTH PLAIN AHVzZXIAcGFzcw==\nS: 235")
    await session.play(f"C: MAIL FROM:<a@one.example>\nS: 250\nC: RCPT TO:<b@there.EXAMPLE>\nS: {wanted}")
    await session.play("C: DATA\nS: " + ("354" if wanted == "250" else "554 5.5.1"))


@pytest.mark.parametrize(
    ("settings", "wanted", "address"),
    [
        ({"postmaster": "root@ops.example"}, "250", b"root@ops.example"),
        ({}, "550 5.7.1", None),
        ({"relay": {"domains": ["mx.example"]}}, "250", b"postmaster@mx.example"),
        ({"postmaster": "root@ops.example", "relay": {"networks": ["127.0.0.1"]}}, "250", b"root@ops.example"),
    ],
)
async def test_postmaster_without_a_domain(bench, settings, wanted, address):
    await bench.start(**settings)
    client = await bench.greeted()
    await client.play(f"C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<Postmaster>\nS: {wanted}")
    if address:
        await client.play("C: DATA\nS: 354\nC: .\nS: 250")
        assert [item.address.path for item in bench.queue.stored[0][0].recipients] == [address]


async def test_an_address_named_twice_is_queued_once(bench):
    bench.runner.stages["rcptto"] = ACCEPT
    await bench.start()
    client = await bench.greeted()
    await client.play(
        """
        C: MAIL FROM:<>
        S: 250
        C: RCPT TO:<a@b.example>
        S: 250
        C: RCPT TO:<a@B.Example>
        S: 250
        C: RCPT TO:<A@b.example>
        S: 250
        C: DATA
        S: 354
        C: .
        S: 250
        """
    )
    [(transaction, _)] = bench.queue.stored
    assert [item.address.path for item in transaction.recipients] == [b"a@b.example", b"A@b.example"]
    assert len(bench.runner.seen("rcptto")) == 2


async def test_recipients_at_the_limit_and_one_past(bench):
    await bench.start(limits={"recipients": 2}, **OPEN)
    client = await bench.greeted()
    await client.play(
        """
        C: MAIL FROM:<>
        S: 250
        C: RCPT TO:<a@b.example>
        S: 250
        C: RCPT TO:<b@b.example>
        S: 250
        C: RCPT TO:<c@b.example>
        S: 452 4.5.3
        C: RCPT TO:<a@b.example>
        S: 250
        C: DATA
        S: 354
        C: .
        S: 250
        """
    )


async def test_a_full_disk_is_told_at_mail(bench):
    bench.queue.room = 1000
    await bench.start()
    client = await bench.greeted()
    await client.play("C: MAIL FROM:<> SIZE=1001\nS: 452 4.3.1\nC: MAIL FROM:<> SIZE=1000\nS: 250")


# --- verdicts


@pytest.mark.parametrize(
    ("verdict", "wanted"),
    [(REJECT, "521"), (DEFER, "421"), (ERROR, "421"), (Verdict("reject", reason=("go\r\naway",), code=554), "554-go")],
)
async def test_connect_refuses_before_anything_is_sent(bench, verdict, wanted):
    bench.runner.stages["connect"] = verdict
    await bench.start()
    await bench.play(f"S: {wanted}\nS:")


async def test_connect_runs_before_the_banner_and_changes_the_client(bench):
    gate = asyncio.Event()

    async def slow(context):
        await gate.wait()
        return Verdict("accept", reason=("hello there",), options={"remoteip": b"192.0.2.9", "remoteptr": b"p.example"})

    bench.runner.stages["connect"] = slow
    await bench.start(relay={"networks": ["192.0.2.9"]})
    client = await bench.client()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.reader.read(1), 0.1)
    gate.set()
    await client.play(
        "S: 220 hello there\nC: EHLO c.example\nS: 250\nC: MAIL FROM:<>\nS: 250\nC: RCPT TO:<a@b.example>\nS: 250"
    )
    assert bench.runner.contexts[0].connection.remoteptr == "p.example"


async def test_a_refused_greeting_leaves_the_old_state(bench):
    bench.runner.stages["helo"] = lambda context: REJECT if context.host == b"bad.example" else IMPLICIT
    await bench.start(**OPEN)
    client = await bench.greeted()
    await client.play(
        """
        C: MAIL FROM:<a@one.example>
        S: 250
        C: EHLO bad.example
        S: 554
        C: RCPT TO:<b@two.example>
        S: 250
        C: MAIL FROM:<> SIZE=1
        S: 503
        """
    )
    assert bench.runner.contexts[0].connection.helo.host == b"client.example"


async def test_helo_chooses_host_and_extensions(bench):
    options = {"host": b"chosen.example", "extensions": [b"PIPELINING", b"X-ONE\r\n250 2.0.0 OK"]}
    bench.runner.stages["helo"] = Verdict("accept", options=options)
    await bench.start()
    client = await bench.play("S: 220")
    assert await client.ask("EHLO c.example") == "250-mx.example\n250-PIPELINING\n250-X-ONE\n250 250 2.0.0 OK"
    [context] = bench.runner.contexts
    assert (context.verb, context.host, context.extensions[0]) == ("EHLO", b"c.example", "PIPELINING")
    assert context.connection.helo.host == b"chosen.example"


async def test_sender_and_recipient_are_what_the_scripts_made_of_them(bench):
    bench.runner.stages["mailfrom"] = Verdict("accept", options={"sender": Address(b"s", b"x.example")})
    options = {"recipient": Address(b"r", b"y.example"), "transportid": b"other"}
    bench.runner.stages["rcptto"] = Verdict("accept", options=options)
    await bench.start()
    await bench.play(PLAIN.replace("2.1.0", "").replace("2.1.5", ""))
    [(transaction, _)] = bench.queue.stored
    assert transaction.sender == Address(b"s", b"x.example")
    assert transaction.recipients[0].address == Address(b"r", b"y.example")
    assert transaction.recipients[0].transportid == "other"


async def test_the_null_sender_is_a_sender(bench):
    bench.runner.stages["mailfrom"] = IMPLICIT
    await bench.start(**OPEN)
    client = await bench.greeted()
    await client.play("C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<a@b.example>\nS: 250\nC: DATA\nS: 354\nC: .\nS: 250")
    assert bench.runner.contexts[0].sender == NULL_SENDER
    assert bench.queue.stored[0][0].sender == NULL_SENDER


@pytest.mark.parametrize("stage", ["helo", "mailfrom", "rcptto"])
@pytest.mark.parametrize(("verdict", "kind"), [(REJECT, "554"), (DEFER, "450"), (ERROR, "450")])
async def test_refusals_and_disconnects(bench, stage, verdict, kind):
    bench.runner.stages[stage] = verdict
    await bench.start(**OPEN)
    dialogue = {
        "helo": "S: 220\nC: EHLO c.example\nS: {}",
        "mailfrom": "S: 220\nC: EHLO c.example\nS: 250\nC: MAIL FROM:<>\nS: {}",
        "rcptto": "S: 220\nC: EHLO c.example\nS: 250\nC: MAIL FROM:<>\nS: 250\nC: RCPT TO:<a@b.example>\nS: {}",
    }[stage].format(kind)
    await bench.play(dialogue + "\nC: NOOP\nS: 250")
    bench.runner.stages[stage] = disconnecting(verdict)
    await bench.play(dialogue + "\nS:")


@pytest.mark.parametrize("stage", ["connect", "helo", "mailfrom", "rcptto"])
@pytest.mark.parametrize("error", [ConnectionResetError("secret"), RuntimeError("secret")])
async def test_a_runner_that_raises_is_a_deferral_without_its_text(bench, stage, error):
    async def fail(context):
        raise error

    bench.runner.stages[stage] = fail
    await bench.start(**OPEN)
    client = await bench.client()
    answers = [await client.reply()]
    if stage != "connect":
        answers += [await client.ask(line) for line in ("EHLO c.example", "MAIL FROM:<>", "RCPT TO:<a@b.example>")]
    assert any(answer.startswith("4") for answer in answers)
    assert "secret" not in "".join(answers)


async def test_each_transaction_has_its_own_id(bench):
    bench.runner.stages["mailfrom"] = IMPLICIT
    await bench.start(**OPEN)
    client = await bench.greeted()
    message = "C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<a@b.example>\nS: 250\nC: DATA\nS: 354\nC: .\nS: 250"
    await client.play(message)
    await client.play(message)
    await client.play("C: MAIL FROM:<>\nS: 250\nC: RSET\nS: 250\nC: MAIL FROM:<>\nS: 250")
    ids = [context.transaction.id for context in bench.runner.contexts]
    assert len(set(ids)) == len(ids) == 4
    assert ids[:2] == [transaction.id for transaction, _ in bench.queue.stored]


@pytest.mark.parametrize("ending", ["C: QUIT\nS: 221\nS:", ""])
async def test_disconnect_runs_once_whoever_ends_it(bench, ending):
    bench.runner.stages["disconnect"] = IMPLICIT
    server = await bench.start()
    client = await bench.greeted()
    await client.play(ending)
    client.writer.transport.abort()
    await eventually(lambda: server.sessions == 0)
    await eventually(lambda: len(bench.runner.seen("disconnect")) == 1)
    assert bench.runner.contexts[0].connection.helo.host == b"client.example"


async def test_one_log_line_per_verdict(bench):
    for stage in ("connect", "helo", "mailfrom", "rcptto"):
        bench.runner.stages[stage] = ACCEPT
    await bench.start()
    await bench.play(PLAIN.replace("2.1.0", "").replace("2.1.5", ""))
    for stage in ("connect", "helo", "mailfrom", "rcptto", "data"):
        [line] = bench.verdicts(stage)
        assert "action=accept" in line
        assert "ip=127.0.0.1" in line
        assert bench.queue.stored[0][0].id in line
    assert "sender=a@one.example recipient=b@two.example" in bench.verdicts("rcptto")[0]
    assert "queue=1 size=20" in bench.verdicts("data")[0]


async def test_a_new_runner_is_for_new_sessions(bench):
    server = await bench.start()
    old = await bench.greeted()
    server.runner = type(bench.runner)({"mailfrom": REJECT})
    new = await bench.greeted()
    await old.play("C: MAIL FROM:<>\nS: 250")
    await new.play("C: MAIL FROM:<>\nS: 554")
