"""SASL PLAIN and LOGIN as dialogues, STARTTLS, implicit TLS; secrets stay out of log and replies."""

import asyncio
import ssl
from base64 import b64encode

import pytest
import pytest_asyncio
import trustme
from smtp_dialogue import ACCEPT, DEFER, ERROR, IMPLICIT, REJECT, Bench, eventually

from hsl.runtime.model import Auth
from hsl.runtime.verdict import Verdict

pytestmark = pytest.mark.asyncio
CLEAR = {"auth": {"without_tls": True}}
GOOD = b64encode(b"\0user\0hunter2").decode()
USER, PASSWORD = b64encode(b"user").decode(), b64encode(b"hunter2").decode()


@pytest_asyncio.fixture
async def bench(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch)
    yield bench
    await bench.close()


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def certificate(authority, tmp_path):
    issued = authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    return {"certificate": str(tmp_path / "cert.pem"), "privatekey": str(tmp_path / "key.pem")}


@pytest.fixture
def trust(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


EXCHANGES = [
    f"C: AUTH PLAIN {GOOD}\nS: 235",
    f"C: auth plain {GOOD}\nS: 235",
    f"C: AUTH PLAIN\nS: 334 \nC: {GOOD}\nS: 235",
    f"C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: {USER}\nS: 334 UGFzc3dvcmQ6\nC: {PASSWORD}\nS: 235",
    f"C: AUTH login {USER}\nS: 334 UGFzc3dvcmQ6\nC: {PASSWORD}\nS: 235",
    "C: AUTH PLAIN " + b64encode(b"user\0user\0hunter2").decode() + "\nS: 235",
]


@pytest.mark.parametrize("exchange", EXCHANGES)
async def test_logins(bench, exchange):
    bench.runner.stages["auth"] = ACCEPT
    await bench.start(**CLEAR)
    client = await bench.greeted()
    await client.play(exchange)
    await client.play(f"C: AUTH PLAIN {GOOD}\nS: 503 5.5.1\nC: MAIL FROM:<> AUTH=a@b.example\nS: 250")
    [context] = bench.runner.contexts
    assert (context.username, context.password) == (b"user", b"hunter2")
    assert context.mechanism in ("PLAIN", "LOGIN")
    assert context.connection.auth == Auth(context.mechanism, b"user")
    log = "".join(bench.lines)
    assert not any(secret in log for secret in ("hunter2", PASSWORD, GOOD))


@pytest.mark.parametrize(
    "exchange",
    [
        "C: AUTH\nS: 501 5.5.4",
        "C: AUTH CRAM-MD5\nS: 504 5.5.4",
        f"C: AUTH CRAM-MD5 {GOOD}\nS: 504 5.5.4",
        "C: AUTH hunter2 hunter2\nS: 504 5.5.4",
        "C: AUTH PLAIN =\nS: 501 5.5.2",
        "C: AUTH PLAIN !!!\nS: 501 5.5.2",
        "C: AUTH PLAIN " + b64encode(b"\0\0hunter2").decode() + "\nS: 501 5.5.2",
        "C: AUTH PLAIN " + b64encode(b"other\0user\0hunter2").decode() + "\nS: 535 5.7.8",
        "C: AUTH PLAIN\nS: 334\nC: *\nS: 501 5.7.0",
        "C: AUTH LOGIN\nS: 334\nC: *\nS: 501 5.7.0",
        f"C: AUTH LOGIN\nS: 334\nC: {USER}\nS: 334\nC: *\nS: 501 5.7.0",
        "C: AUTH PLAIN\nS: 334\nC: " + "A" * 12_289 + "\nS: 500 5.5.6",
        "C: AUTH PLAIN\nS: 334\nC: " + "A" * 200_000 + "\nS: 500 5.5.6",
        f"C: MAIL FROM:<>\nS: 250\nC: AUTH PLAIN {GOOD}\nS: 503 5.5.1",
        f"C: HELO c.example\nS: 250\nC: AUTH PLAIN {GOOD}\nS: 503 5.5.1",
    ],
)
async def test_exchanges_that_fail(bench, exchange):
    bench.runner.stages["auth"] = ACCEPT
    await bench.start(**CLEAR)
    client = await bench.greeted()
    await client.play(exchange + "\nC: NOOP\nS: 250")
    assert bench.runner.contexts == []
    assert "hunter2" not in "".join(bench.lines)


async def test_a_response_of_12288_octets_is_taken(bench):
    bench.runner.stages["auth"] = ACCEPT
    await bench.start(**CLEAR)
    password = b"x" * (12_288 // 4 * 3 - 6)
    response = b64encode(b"\0user\0" + password).decode()
    assert len(response) == 12_288
    await (await bench.greeted()).play(f"C: AUTH PLAIN {response}\nS: 235")
    await (await bench.greeted()).play(f"C: AUTH PLAIN\nS: 334\nC: {response}\nS: 235")
    assert bench.runner.contexts[0].password == password


async def test_the_longest_mechanism_with_the_longest_response(bench):
    bench.runner.stages["auth"] = ACCEPT
    name = "X" * 20
    await bench.start(auth={"without_tls": True, "mechanisms": [name]})
    response = "A" * 12_288
    await (await bench.greeted()).play(f"C: AUTH {name} {response}\nS: 235")
    await (await bench.greeted()).play(f"C: AUTH {name} {response}A\nS: 500 5.5.2")
    assert bench.runner.contexts[0].response == bytes(9216)


@pytest.mark.parametrize("hook", [False, True])
@pytest.mark.parametrize("without_tls", [False, True])
async def test_auth_is_announced_only_where_it_can_be_used(bench, hook, without_tls):
    if hook:
        bench.runner.stages["auth"] = ACCEPT
    await bench.start(auth={"without_tls": without_tls})
    client = await bench.play("S: 220")
    assert ("AUTH PLAIN LOGIN" in await client.ask("EHLO c.example")) == (hook and without_tls)
    wanted = "235" if hook and without_tls else "538 5.7.11" if hook else "502 5.5.1"
    await client.play(f"C: AUTH PLAIN {GOOD}\nS: {wanted}")


async def test_no_credentials_in_replies_or_log_whatever_goes_wrong(bench):
    """After a refused mechanism, a lost login or a slip, a client's next lines may be its name and password."""
    bench.runner.stages["auth"] = REJECT
    await bench.start(**CLEAR, limits={"errors": 100, "auth_failures": 100})
    client = await bench.greeted()
    secrets = (USER, PASSWORD, GOOD, "hunter2")
    lines = ["AUTH CRAM-MD5", USER, PASSWORD, f"AUTH X-OTHER {GOOD}", f"AUTH {GOOD}", f"AUTH PLAIN {GOOD} {GOOD}"]
    lines += [f"AUTH PLAIN {GOOD}", f"AUTH PLAIN {GOOD}!", PASSWORD, f"AUTHPLAIN {GOOD}", f"RSET {PASSWORD}", "hunter2"]
    lines += [f"MAIL FROM:<> AUTH={GOOD}", f"NOOP {PASSWORD}", f"HELO {PASSWORD}!", f"VRFY {PASSWORD}"]
    said = [await client.ask(line) for line in lines]
    assert all(reply[:3] in ("500", "501", "502", "504", "535", "250", "252") for reply in said)
    assert not any(secret in text for secret in secrets for text in (*said, *bench.lines))


@pytest.mark.parametrize("response", [b"\xff\xfe", b"\0", b"====", b"QQ", b"QQ=", b"Q Q=", b" ", b"\x80" * 500, b"*Q"])
async def test_responses_that_are_no_base64(bench, response):
    bench.runner.stages["auth"] = ACCEPT
    await bench.start(**CLEAR)
    client = await bench.greeted()
    await client.play("C: AUTH LOGIN\nS: 334")
    await client.send(response + b"\r\n")
    await client.play("S: 501 5.5.2\nC: NOOP\nS: 250")
    assert bench.runner.contexts == []


@pytest.mark.parametrize(
    ("verdict", "wanted"),
    [
        (REJECT, "535"),
        (DEFER, "454"),
        (ERROR, "454"),
        (IMPLICIT, "535 5.7.8"),
        (Verdict("accept", explicit=False, error=True), "535"),
        (Verdict("reject", explicit=False), "535 5.7.8"),
        (Verdict("reject", disconnect=True), "535"),
    ],
)
async def test_only_an_explicit_accept_lets_in(bench, verdict, wanted):
    bench.runner.stages["auth"] = verdict
    await bench.start(**CLEAR)
    client = await bench.greeted()
    await client.play(f"C: AUTH PLAIN {GOOD}\nS: {wanted}")
    await client.play("S:" if verdict.disconnect else "C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<a@b.example>\nS: 550 5.7.1")


async def test_the_script_may_name_the_user(bench):
    bench.runner.stages["auth"] = Verdict("accept", options={"username": b"other"})
    await bench.start(**CLEAR)
    await (await bench.greeted()).play(f"C: AUTH PLAIN {GOOD}\nS: 235")
    assert bench.runner.contexts[0].connection.auth == Auth("PLAIN", b"other")


async def test_failed_logins_of_a_session_at_the_limit_and_one_past(bench):
    bench.runner.stages["auth"] = REJECT
    await bench.start(limits={"auth_failures": 2}, **CLEAR)
    client = await bench.greeted()
    await client.play(f"C: AUTH PLAIN {GOOD}\nS: 535\n" * 2 + f"C: AUTH PLAIN {GOOD}\nS: 421 4.7.0\nS:")
    assert len(bench.runner.contexts) == 2


async def test_failed_logins_of_an_ip_for_an_hour(bench):
    class Clock:
        now = 1000.0

        def time(self):
            return self.now

        monotonic = time

    clock = Clock()
    bench.runner.stages["auth"] = REJECT
    await bench.start(limits={"auth_failures_per_ip": 2}, clock=clock, **CLEAR)
    attempt = f"C: AUTH PLAIN {GOOD}\nS: "
    for _ in range(2):
        await (await bench.greeted()).play(attempt + "535")
    await (await bench.greeted()).play(attempt + "421 4.7.0\nS:")
    await (await bench.greeted(local="127.0.0.2")).play(attempt + "535")
    clock.now += 3601
    await (await bench.greeted()).play(attempt + "535")


async def test_deferred_logins_are_not_failed_ones(bench):
    bench.runner.stages["auth"] = ERROR
    await bench.start(limits={"auth_failures": 1}, **CLEAR)
    await (await bench.greeted()).play(f"C: AUTH PLAIN {GOOD}\nS: 454\n" * 3)


# --- TLS


async def test_starttls(bench, certificate, trust):
    bench.runner.stages["auth"] = ACCEPT
    bench.runner.stages["mailfrom"] = IMPLICIT
    await bench.start(tls=certificate, relay={"networks": ["127.0.0.1"]})
    client = await bench.play("S: 220")
    assert "250 STARTTLS" in await client.ask("EHLO c.example")
    await client.play(f"C: AUTH PLAIN {GOOD}\nS: 538 5.7.11\nC: MAIL FROM:<> AUTH=<>\nS: 555\nC: MAIL FROM:<>\nS: 250")
    connection = bench.runner.contexts[0].connection
    await client.play("C: STARTTLS now\nS: 501\nC: STARTTLS\nS: 220 2.0.0")
    await client.start_tls(trust)
    await client.play("C: MAIL FROM:<>\nS: 503 5.5.1 Send HELO")
    answer = await client.ask("EHLO c.example")
    assert "STARTTLS" not in answer
    assert "AUTH PLAIN LOGIN" in answer
    await client.play(f"C: STARTTLS\nS: 503\nC: AUTH PLAIN {GOOD}\nS: 235\nC: MAIL FROM:<>\nS: 250")
    await client.play("C: RCPT TO:<a@b.example>\nS: 250\nC: DATA\nS: 354\nC: .\nS: 250\nC: QUIT\nS: 221\nS:")
    last = bench.runner.contexts[-1].connection
    assert last is connection
    assert last.tls.protocol in ("TLSv1.2", "TLSv1.3")
    assert last.tls.keysize >= 128
    assert last.tls.sni == "localhost"
    assert b"ESMTPSA" in bench.stage.traces[0]


async def test_tls_begins_anew(bench, certificate, trust):
    """RFC 3207 4.2: neither the login from before the handshake counts, nor what was begun of a mail."""
    bench.runner.stages["auth"] = ACCEPT
    await bench.start(tls=certificate, **CLEAR)
    client = await bench.greeted()
    await client.play(f"C: AUTH PLAIN {GOOD}\nS: 235\nC: MAIL FROM:<>\nS: 250\nC: RCPT TO:<a@b.example>\nS: 250")
    await client.play("C: STARTTLS\nS: 220")
    await client.start_tls(trust)
    await client.play("C: RCPT TO:<a@b.example>\nS: 503\nC: DATA\nS: 503\nC: EHLO c.example\nS: 250")
    await client.play("C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<a@b.example>\nS: 550 5.7.1 Relaying is not permitted")
    await client.play(f"C: RSET\nS: 250\nC: AUTH PLAIN {GOOD}\nS: 235")


async def test_implicit_tls(bench, certificate, trust):
    bench.runner.stages["auth"] = ACCEPT
    await bench.start(tls=certificate, listeners=[{"port": 0, "implicit_tls": True}, {"port": 0}])
    client = await bench.client(port=0, tls=trust_any_name(trust))
    await client.play("S: 220 mx.example")
    answer = await client.ask("EHLO c.example")
    assert "STARTTLS" not in answer
    assert "AUTH PLAIN LOGIN" in answer
    await client.play(f"C: AUTH PLAIN {GOOD}\nS: 235")
    plain = await bench.client(port=1)
    await plain.play("S: 220")
    assert "STARTTLS" in await plain.ask("EHLO c.example")


async def test_commands_with_starttls_are_refused(bench, certificate):
    await bench.start(tls=certificate)
    client = await bench.greeted()
    await client.send(b"STARTTLS\r\nMAIL FROM:<>\r\n")
    await client.play("S: 554 5.5.0\nS:")


@pytest.mark.parametrize("implicit", [False, True])
async def test_a_handshake_that_fails_ends_the_session(bench, certificate, implicit):
    bench.runner.stages["disconnect"] = IMPLICIT
    server = await bench.start(tls=certificate, listeners=[{"port": 0, "implicit_tls": implicit}])
    client = await bench.client()
    if not implicit:
        await client.play("S: 220\nC: EHLO c.example\nS: 250\nC: STARTTLS\nS: 220")
    await client.send(b"this is not TLS at all\r\n" * 10)
    await eventually(lambda: server.sessions == 0)
    await eventually(lambda: any("tls-failed" in line for line in bench.lines))
    assert len(bench.runner.seen("disconnect")) == 1


async def test_old_tls_is_refused(bench, certificate, trust):
    server = await bench.start(tls=certificate)
    assert server.certificates.context.minimum_version == ssl.TLSVersion.TLSv1_2


async def test_what_came_before_a_tls_close_is_finished(bench, certificate, trust):
    server = await bench.start(tls=certificate, relay={"networks": ["127.0.0.1"]})
    client = await bench.greeted()
    await client.play("C: STARTTLS\nS: 220")
    await client.start_tls(trust)
    await client.play(
        "C: EHLO c.example\nS: 250\nC: MAIL FROM:<>\nS: 250\nC: RCPT TO:<a@b.example>\nS: 250\nC: DATA\nS: 354"
    )
    bench.stage.gate = asyncio.Event()
    await client.send(b"body\r\n.\r\nQUIT\r\n")
    await asyncio.wait_for(bench.stage.running.wait(), 10)
    await client.close()
    bench.stage.gate.set()
    await eventually(lambda: server.sessions == 0)
    assert [message for _, message in bench.queue.stored] == [b"body\r\n"]


async def test_implicit_tls_without_a_certificate_does_not_start(bench):
    with pytest.raises(ValueError, match="certificate"):
        await bench.start(listeners=[{"port": 0, "implicit_tls": True}])


def trust_any_name(context: ssl.SSLContext) -> ssl.SSLContext:
    """The dialogue connects by address; the certificate names localhost."""
    context.check_hostname = False
    return context
