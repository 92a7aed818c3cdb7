"""What a mail transaction owes its client and its next hop, whatever comes: RFC 5321, the duties of a gateway."""

import pytest
import pytest_asyncio
from smtp_dialogue import ACCEPT, Bench

from hsl.runtime.intake import Intake

pytestmark = pytest.mark.asyncio
OPEN = {"relay": {"networks": ["127.0.0.0/8"]}}
ENVELOPE = "C: MAIL FROM:<a@one.example>\nS: 250\nC: RCPT TO:<b@two.example>\nS: 250"


@pytest_asyncio.fixture
async def bench(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch)
    yield bench
    await bench.close()


@pytest.mark.parametrize("verb", ["DATA", "BDAT"])
@pytest.mark.parametrize("size", [1_000, 200_000])
async def test_a_disk_that_is_full_under_an_incoming_message(bench, monkeypatch, verb, size):
    """452, nothing kept, the session goes on; and when there is room again, so does the mail."""

    def full(self, block):
        raise OSError(28, "No space left on device")

    server = await bench.start(**OPEN)
    client = await bench.greeted()
    message = b"x" * 98 + b"\r\n"
    message *= size // 100

    async def send() -> str:
        await client.play(ENVELOPE + ("\nC: DATA\nS: 354" if verb == "DATA" else ""))
        await client.send(message + b".\r\n" if verb == "DATA" else b"BDAT %d LAST\r\n" % size + message)
        return await client.reply()

    with monkeypatch.context() as patch:
        patch.setattr(Intake, "write", full)
        answer = await send()
        assert answer.startswith("452 4.3.1")
        assert "device" not in answer
    assert server._bytes.used == 0
    assert bench.queue.stored == []
    assert (await send()).startswith("250")
    assert [len(data) for _, data in bench.queue.stored] == [size]


async def test_what_a_transaction_had_is_not_the_next_one_s(bench):
    """Parameters, recipients and refusals end with their transaction, however it ends."""
    await bench.start(**OPEN)
    client = await bench.greeted()
    begin = "C: MAIL FROM:<a@b.example> RET=FULL ENVID=x SMTPUTF8\nS: 250\n"
    begin += "C: RCPT TO:<c@d.example> NOTIFY=NEVER\nS: 250\n"
    for end in ("C: RSET\nS: 250", "C: EHLO c.example\nS: 250", "C: BDAT 0 LAST\nS: 250", "C: BDAT 1x\nS: 501"):
        await client.play(begin + end)
        if "1x" in end:
            client = await bench.greeted()
        await client.play("C: RCPT TO:<c@d.example>\nS: 503\nC: MAIL FROM:<a@b.example>\nS: 250")
        await client.play("C: RCPT TO:<\xfc@d.example>\nS: 553 5.6.7\nC: RCPT TO:<c@d.example>\nS: 250")
        await client.play("C: DATA\nS: 354\nC: .\nS: 250")
        last = bench.stage.transactions[-1]
        assert (last.senderparams, [item.params for item in last.recipients]) == ({}, [{}])


async def test_a_recipient_named_again_keeps_what_was_asked_first(bench):
    await bench.start(**OPEN)
    client = await bench.greeted()
    await client.play("C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<a@b.example> NOTIFY=NEVER\nS: 250")
    await client.play("C: RCPT TO:<a@B.Example> NOTIFY=SUCCESS\nS: 250\nC: BDAT 0 LAST\nS: 250")
    [transaction] = bench.stage.transactions
    assert [item.params for item in transaction.recipients] == [{"NOTIFY": "NEVER"}]


@pytest.mark.parametrize("parameter", ["SIZE=10", "BODY=8BITMIME", "SMTPUTF8", "RET=HDRS", "ENVID=x", "AUTH=<>"])
async def test_a_parameter_of_an_extension_that_was_not_announced(bench, parameter):
    """Neither after HELO nor before a login is offered; a refused MAIL begins nothing."""
    await bench.start(**OPEN)
    client = await bench.play(
        f"S: 220\nC: HELO c.example\nS: 250\nC: MAIL FROM:<a@b.example> {parameter}\nS: 555 5.5.4"
    )
    await client.play("C: RCPT TO:<a@b.example>\nS: 503 5.5.1\nC: MAIL FROM:<a@b.example>\nS: 250")
    if parameter.startswith("AUTH"):
        await (await bench.greeted()).play(f"C: MAIL FROM:<a@b.example> {parameter}\nS: 555 5.5.4")


async def test_auth_of_mail_is_taken_where_login_is_offered(bench):
    bench.runner.stages |= {"auth": ACCEPT, "mailfrom": ACCEPT}
    await bench.start(auth={"without_tls": True}, **OPEN)
    client = await bench.greeted()
    await client.play("C: MAIL FROM:<a@b.example> AUTH=x+2Dy@b.example\nS: 250\nC: RSET\nS: 250")
    await client.play("C: MAIL FROM:<a@b.example> AUTH=x+2\nS: 501 5.5.4\nC: MAIL FROM:<a@b.example> AUTH=<>\nS: 250")
    assert [context.params["AUTH"] for context in bench.runner.seen("mailfrom")] == ["x+2Dy@b.example", "<>"]


async def test_command_lines_of_mail_and_rcpt_as_long_as_their_parameters_may_be(bench):
    await bench.start(**OPEN)
    client = await bench.greeted()
    longest = "C: MAIL FROM:<" + "a" * 60 + "@" + ("d" * 60 + ".") * 3 + "example>"
    await client.play(f"{longest} SIZE=10000000 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID={'+2B' * 100}\nS: 250")
    await client.play(f"C: RCPT TO:<b@c.example> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;{'a' * 493}\nS: 250")
    await client.play("C: RCPT TO:<b@c.example> ORCPT=rfc822;" + "a" * 1100 + "\nS: 500 5.5.2\nC: NOOP\nS: 250")


@pytest.mark.parametrize("handling", ["reject", "normalise"])
@pytest.mark.parametrize("verb", ["DATA", "BDAT"])
@pytest.mark.parametrize(
    ("octets", "normal"),
    [
        (b"a\nb\r\n", b"a\r\nb\r\n"),
        (b"a\rb\r\n", b"a\r\nb\r\n"),
        (b"a\0b\r\n", b"ab\r\n"),
        (b"a\r\r\n\n\0\r\n", b"a\r\n\r\n\r\n\r\n"),
        (b"a\r\n\0.\r\nb\r\n", b"a\r\n.\r\nb\r\n"),
    ],
)
async def test_octets_that_no_message_has(bench, handling, verb, octets, normal):
    await bench.start(bare_newline=handling, **OPEN)
    client = await bench.greeted()
    await client.play(ENVELOPE + ("\nC: DATA\nS: 354" if verb == "DATA" else ""))
    await client.send(octets + b".\r\n" if verb == "DATA" else b"BDAT %d LAST\r\n" % len(octets) + octets)
    await client.play("S: 250" if handling == "normalise" else "S: 550 5.6.")
    assert [data for _, data in bench.queue.stored] == ([normal] if handling == "normalise" else [])
