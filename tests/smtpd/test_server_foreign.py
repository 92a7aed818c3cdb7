"""Clients that are not ours: smtplib, swaks and smtp-source; and the same server on uvloop."""

import asyncio
import shutil
import smtplib
import ssl
from email import policy
from email.message import EmailMessage

import pytest
import pytest_asyncio
import trustme
import uvloop
from smtp_dialogue import ACCEPT, Bench, Dialogue

OPEN = {"relay": {"networks": ["127.0.0.0/8"]}}
MESSAGE = b"Subject: x\r\n\r\n.dot\r\n..dots\r\n"


@pytest_asyncio.fixture
async def bench(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch)
    yield bench
    await bench.close()


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def certificate(authority, folder):
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    return {"certificate": str(folder / "cert.pem"), "privatekey": str(folder / "key.pem")}


async def run(*command: str) -> str:
    """A program's output; it must succeed."""
    program = shutil.which(command[0], path="/usr/bin:/usr/sbin:/usr/local/bin")
    assert program, f"{command[0]} is not installed"
    process = await asyncio.create_subprocess_exec(
        program, *command[1:], stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, output.decode()
    return output.decode()


@pytest.mark.asyncio
@pytest.mark.parametrize("tls", [False, True])
async def test_smtplib(bench, authority, tmp_path, tls):
    bench.runner.stages["auth"] = ACCEPT
    await bench.start(tls=certificate(authority, tmp_path), auth={"without_tls": True})
    host, port = bench.addresses[0]
    trust = ssl.create_default_context()
    authority.configure_trust(trust)

    def talk():
        with smtplib.SMTP(host, port, timeout=10) as client:
            if tls:
                client.starttls(context=trust)
            client.login("user", "pass word")
            assert client.has_extn("size")
            return client.sendmail("a@one.example", ["b@two.example", "c@two.example"], MESSAGE)

    assert await asyncio.to_thread(talk) == {}
    assert bench.queue.stored[0][1] == MESSAGE
    assert len(bench.queue.stored[0][0].recipients) == 2
    assert bench.runner.contexts[0].password == b"pass word"


@pytest.mark.asyncio
async def test_smtplib_with_addresses_of_other_than_ascii(bench):
    """The library asks for SMTPUTF8 by itself where it is announced."""
    await bench.start(**OPEN)
    host, port = bench.addresses[0]
    message = EmailMessage(policy=policy.SMTPUTF8)
    message["From"], message["To"], message["Subject"] = "jürgen@bücher.example", "用户@例え.example", "grüße"
    message.set_content("körper\n")

    def talk():
        with smtplib.SMTP(host, port, local_hostname="c.example", timeout=10) as client:
            return client.send_message(message, rcpt_options=["NOTIFY=NEVER"])

    assert await asyncio.to_thread(talk) == {}
    [(transaction, data)] = bench.queue.stored
    assert transaction.senderparams.keys() == {"SIZE", "SMTPUTF8", "BODY"}
    assert transaction.sender.path.decode() == "jürgen@bücher.example"
    assert [item.params for item in transaction.recipients] == [{"NOTIFY": "NEVER"}]
    assert "Subject: grüße\r\n".encode() in data


@pytest.mark.asyncio
async def test_swaks(bench):
    bench.runner.stages["auth"] = ACCEPT
    await bench.start(auth={"without_tls": True})
    host, port = bench.addresses[0]
    output = await run(
        "swaks", "--server", f"{host}:{port}", "--from", "a@one.example", "--to", "b@two.example",
        "--auth", "LOGIN", "--auth-user", "user", "--auth-password", "hunter2", "--pipeline",
    )  # fmt: skip
    assert "250 queued as 1" in output
    assert bench.runner.contexts[0].password == b"hunter2"


@pytest.mark.asyncio
async def test_smtp_source(bench):
    await bench.start(limits={"connections_per_ip": 5}, **OPEN)
    host, port = bench.addresses[0]
    await run("smtp-source", "-s", "5", "-m", "50", "-l", "2048", "-f", "a@one.example", "-t", "b@two.example",
              f"inet:{host}:{port}")  # fmt: skip
    assert len(bench.queue.stored) == 50
    assert len({transaction.id for transaction, _ in bench.queue.stored}) == 50


@pytest.mark.parametrize("clients", [None, {"mode": "require"}])
def test_uvloop(tmp_path, monkeypatch, authority, clients):
    """STARTTLS, implicit TLS, a message, the idle clock and the end, on the other loop."""
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    authority.issue_cert("client.example").configure_cert(trust)

    async def talk():
        bench = Bench(tmp_path, monkeypatch)
        try:
            await asyncio.wait_for(session(bench), 20)
        finally:
            await bench.close()

    async def session(bench):
        listeners = [{"port": 0}, {"port": 0, "implicit_tls": True}]
        tls = certificate(authority, tmp_path) | {"clients": clients}
        settings = {"tls": tls, "limits": {"idle": 0.5}, "listeners": listeners}
        server = await bench.start(**settings, **OPEN)
        message = """
            C: EHLO c.example
            S: 250
            C: MAIL FROM:<>
            S: 250
            C: RCPT TO:<a@b.example>
            S: 250
            C: DATA
            S: 354
            C: body
            C: .
            S: 250
        """
        client = await bench.greeted()
        await client.play("C: STARTTLS\nS: 220")
        await asyncio.wait_for(client.writer.start_tls(trust, server_hostname="127.0.0.1"), 10)
        client.reader._transport = client.writer.transport
        await client.play(message + "\nC: QUIT\nS: 221")
        implicit = await Dialogue.connect(bench.addresses[1], tls=trust)
        await implicit.play("S: 220" + message)
        await implicit.send(b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nBDAT 3\r\nbodBDAT 3 LAST\r\ny\r\n")
        await implicit.play("S: 250\nS: 250\nS: 250\nS: 250")
        await implicit.play("S: 421 4.4.2")
        await implicit.close()
        assert server.certificates is not None
        assert [message for _, message in bench.queue.stored] == [b"body\r\n"] * 3

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(talk())
