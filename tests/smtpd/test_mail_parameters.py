"""Parameters of MAIL and RCPT in dialogues: DSN (RFC 3461) and SMTPUTF8 (RFC 6531), for scripts, trace and replies."""

import re

import pytest
import pytest_asyncio
from smtp_dialogue import ACCEPT, Bench

from hsl.runtime.verdict import Verdict
from hsl.values import to_text

pytestmark = pytest.mark.asyncio
OPEN = {"relay": {"networks": ["127.0.0.0/8"]}}
FOLDED = re.compile(r"\r\n[ \t]+")


@pytest_asyncio.fixture
async def bench(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch)
    yield bench
    await bench.close()


def wire(text: str) -> str:
    """UTF-8 for a dialogue, which sends latin-1."""
    return text.encode().decode("latin-1")


def pairs(array) -> dict[str, str]:
    return {to_text(key): to_text(value) for key, value in array.pairs()}


async def test_scripts_see_what_was_asked(bench):
    seen = []

    def rcptto(context):
        sender = context.variable("transaction").get(b"senderparams")
        seen.append((pairs(sender), pairs(context.variable("arguments").get(b"params"))))
        return ACCEPT

    bench.runner.stages["rcptto"] = rcptto
    bench.runner.stages["mailfrom"] = lambda context: seen.append(pairs(context.arguments().get(b"params"))) or ACCEPT
    await bench.start()
    client = await bench.greeted()
    await client.play(
        """
        C: MAIL FROM:<a@b.example> ret=hdrs ENVID=q+2B1
        S: 250
        C: RCPT TO:<x@y.example> NOTIFY=SUCCESS,delay ORCPT=rfc822;o@y.example
        S: 250
        C: RCPT TO:<z@y.example>
        S: 250
        C: DATA
        S: 354
        C: .
        S: 250
        """
    )
    sender = {"RET": "hdrs", "ENVID": "q+2B1"}
    asked = {"NOTIFY": "SUCCESS,delay", "ORCPT": "rfc822;o@y.example"}
    assert seen == [sender, (sender, asked), (sender, {})]
    [transaction] = bench.stage.transactions
    assert [item.params for item in transaction.recipients] == [asked, {}]


@pytest.mark.parametrize(
    "command",
    ["MAIL FROM:<a@b.example> RET=FULL RET=FULL", "MAIL FROM:<a@b.example> ENVID=a envid=b", "MAIL FROM:<> RET"],
)
async def test_nonsense_and_duplicates_leave_no_transaction(bench, command):
    await bench.start(**OPEN)
    client = await bench.greeted()
    await client.play(f"C: {command}\nS: 501 5.5.4\nC: RCPT TO:<x@y.example>\nS: 503\nC: MAIL FROM:<>\nS: 250")
    await client.play("C: RCPT TO:<x@y.example> NOTIFY=NEVER NOTIFY=DELAY\nS: 501 5.5.4\nC: DATA\nS: 554 5.5.1")


async def test_addresses_of_other_than_ascii(bench):
    await bench.start(**OPEN)
    client = await bench.greeted()
    await client.play(
        wire(
            """
            C: MAIL FROM:<jürgen@b.example>
            S: 553 5.6.7
            C: MAIL FROM:<a@b.example>
            S: 250
            C: RCPT TO:<jürgen@b.example>
            S: 553 5.6.7
            C: RSET
            S: 250
            C: MAIL FROM:<jürgen@bücher.example> SMTPUTF8 BODY=8BITMIME
            S: 250
            C: RCPT TO:<用户@例え.example> ORCPT=utf-8;用户@例え.example
            S: 250
            C: DATA
            S: 354
            C: Subject: grüße
            C:
            C: .
            S: 250
            """
        )
    )
    [transaction] = bench.stage.transactions
    assert transaction.sender.path.decode() == "jürgen@bücher.example"
    assert transaction.recipients[0].address.path.decode() == "用户@例え.example"
    assert transaction.recipients[0].params == {"ORCPT": "utf-8;用户@例え.example"}
    text = FOLDED.sub(" ", bench.stage.traces[0].decode())
    assert f" with UTF8SMTP id {transaction.id} for <用户@例え.example>;" in text


@pytest.mark.parametrize(("asked", "wanted"), [("", "554 5.7.1 gr??e"), (" SMTPUTF8", "554 5.7.1 grüße")])
async def test_replies_speak_utf8_only_to_those_who_asked(bench, asked, wanted):
    def reject(context):
        return Verdict("reject", reason=("grüße",), enhanced=(5, 7, 1))

    bench.runner.stages |= {"rcptto": reject, "mailfrom": ACCEPT}
    await bench.start()
    client = await bench.greeted()
    await client.play(f"C: MAIL FROM:<a@b.example>{asked}\nS: 250")
    assert await client.ask("RCPT TO:<x@y.example>") == wanted
    bench.runner.stages |= {"mailfrom": reject, "helo": reject}
    await client.play("C: RSET\nS: 250")
    assert await client.ask(f"MAIL FROM:<a@b.example>{asked}") == wanted
    assert await client.ask("EHLO c.example") == "554 5.7.1 gr??e"


async def test_the_utf8_ends_with_the_message(bench):
    bench.stage.verdict = "250 grüße {}"
    await bench.start(**OPEN)
    client = await bench.greeted()
    await client.play("C: MAIL FROM:<> SMTPUTF8\nS: 250\nC: RCPT TO:<x@y.example>\nS: 250\nC: DATA\nS: 354")
    assert await client.ask(".") == "250 grüße 1"
    bench.runner.stages["helo"] = Verdict("reject", reason=("grüße",))
    assert await client.ask("EHLO c.example") == "554 gr??e"
