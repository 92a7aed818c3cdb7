"""The certificates of a server: which one a client gets, what its files may become, whom clients must be."""

import asyncio
import smtplib
import ssl
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from loopgateway import gateway, greeted
from pki import DAY, NOW, Holder, ec_key, key_pem, rsa_key
from smtp_dialogue import DEADLINE, IMPLICIT, Bench, Dialogue, eventually

from hsl.runtime.log import Log
from hsl.smtpd.certificates import MAX_FILE, CertificateError, CertificateStore, read_file
from hsl.smtpd.config import ServerTLS

pytestmark = pytest.mark.asyncio
CA = Holder("Test CA", ca=True)
SECOND_CA = Holder("Other CA", ca=True)


def issued(*names: str, authority: Holder | None = CA, **options) -> Holder:
    alternative = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    return Holder(names[0], authority=authority, extensions=[(alternative, False)], **options)


def write(folder: Path, stem: str, holder: Holder, key: bytes | None = None) -> dict[str, str]:
    """A pair as the configuration names it."""
    paths = {"certificate": folder / f"{stem}.pem", "privatekey": folder / f"{stem}.key"}
    paths["certificate"].write_bytes(holder.pem + CA.pem)
    paths["privatekey"].write_bytes(holder.key_pem if key is None else key)
    return {name: str(path) for name, path in paths.items()}


def client_context(holder: Holder | None = None, folder: Path | None = None, **settings) -> ssl.SSLContext:
    """A client that takes any name of CA's; `holder` is its own certificate."""
    context = ssl.create_default_context(cadata=CA.pem.decode())
    context.check_hostname = False
    if holder is not None and folder is not None:
        (folder / "client.both").write_bytes(holder.both)
        context.load_cert_chain(folder / "client.both")
    for name, value in settings.items():
        setattr(context, name, value)
    return context


@pytest_asyncio.fixture
async def bench(tmp_path, monkeypatch):
    """A bench that also fails for what asyncio finds unhandled."""
    found: list[dict] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: found.append(context))
    bench = Bench(tmp_path, monkeypatch)
    bench.runner.stages["mailfrom"] = IMPLICIT
    yield bench
    await bench.close()
    assert found == []


async def secured(bench: Bench, context: ssl.SSLContext, name: str | None = "x.example", **options) -> Dialogue:
    """A client past STARTTLS and EHLO. Raises what its handshake raises."""
    client = await bench.greeted(**options)
    await client.play("C: STARTTLS\nS: 220")
    await asyncio.wait_for(client.writer.start_tls(context, server_hostname=name), DEADLINE)
    client.reader._transport = client.writer.transport
    await client.play("C: EHLO c.example\nS: 250")
    return client


def shown(client: Dialogue) -> str:
    """The name in the certificate that a client was shown."""
    subject = client.writer.get_extra_info("peercert")["subject"]
    return dict(pair for group in subject for pair in group)["commonName"]


def logged(bench: Bench, event: str) -> list[str]:
    return [line for line in bench.lines if f" {event} " in line]


# --- which certificate

MODES = [None, {"mode": "request"}]
CHOICES = [
    ("mail.one.example", "mail.one.example"),
    ("MAIL.One.Example", "mail.one.example"),
    ("alias.one.example", "mail.one.example"),
    ("any.two.example", "*.two.example"),
    ("deep.any.two.example", "default.example"),
    ("two.example", "default.example"),
    ("exact.two.example", "exact.two.example"),
    ("given.three.example", "three.example"),
    ("w.given.example", "three.example"),
    ("three.example", "default.example"),
    ("unknown.example", "default.example"),
    (None, "default.example"),
]


@pytest.mark.parametrize("clients", MODES)
async def test_the_name_decides(bench, tmp_path, clients):
    more = [
        write(tmp_path, "one", issued("mail.one.example", "alias.one.example")),
        write(tmp_path, "two", issued("*.two.example")),
        write(tmp_path, "exact", issued("exact.two.example")),
        write(tmp_path, "three", issued("three.example"))
        | {"names": ["given.three.example", "*.given.example", "any.two.example2"]},
        write(tmp_path, "late", issued("mail.one.example", authority=CA)) | {"names": ["default.example"]},
    ]
    default = write(tmp_path, "default", issued("default.example"))
    await bench.start(tls={**default, "certificates": more, "clients": clients})
    for name, wanted in CHOICES:
        client = await secured(bench, client_context(), name)
        assert shown(client) == wanted
        await client.play("C: MAIL FROM:<>\nS: 250")
        assert bench.runner.contexts[-1].connection.tls.sni == (None if name is None else name)


@pytest.mark.parametrize("clients", MODES)
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_versions_from_1_2_on(bench, tmp_path, clients, version):
    await bench.start(tls={**write(tmp_path, "a", issued("a.example")), "clients": clients})
    only = ssl.TLSVersion[version]
    client = await secured(bench, client_context(minimum_version=only, maximum_version=only))
    await client.play("C: MAIL FROM:<>\nS: 250")
    assert bench.runner.contexts[-1].connection.tls.protocol == version.replace("_", ".")
    assert bench.runner.contexts[-1].connection.tls.keysize >= 128


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("clients", MODES)
@pytest.mark.parametrize(
    ("client", "server"),
    [("TLSv1", "TLSv1.2"), ("TLSv1_1", "TLSv1.2"), ("TLSv1_2", "TLSv1.3")],
)
async def test_versions_that_are_too_old(bench, tmp_path, clients, client, server):
    await bench.start(tls={**write(tmp_path, "a", issued("a.example")), "clients": clients, "minimum": server})
    context = client_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion[client]
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await secured(bench, context)
    await eventually(lambda: logged(bench, "tls-failed"))
    assert "unsupported protocol" in logged(bench, "tls-failed")[0]


@pytest.mark.parametrize("clients", MODES)
async def test_ciphers(bench, tmp_path, clients):
    tls = write(tmp_path, "a", issued("a.example"))
    await bench.start(tls={**tls, "clients": clients, "ciphers": "ECDHE-ECDSA-AES128-GCM-SHA256"})
    context = client_context(maximum_version=ssl.TLSVersion.TLSv1_2)
    await (await secured(bench, context)).play("C: MAIL FROM:<>\nS: 250")
    assert bench.runner.contexts[-1].connection.tls.cipher == "ECDHE-ECDSA-AES128-GCM-SHA256"
    context.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await secured(bench, context)
    await eventually(lambda: any("no shared cipher" in line for line in logged(bench, "tls-failed")))


@pytest.mark.parametrize("clients", MODES)
async def test_the_whole_chain_is_sent(bench, tmp_path, clients):
    middle = Holder("Middle CA", authority=CA, ca=True)
    leaf = issued("a.example", authority=middle)
    tls = write(tmp_path, "a", leaf)
    (tmp_path / "a.pem").write_bytes(leaf.pem + middle.pem)
    await bench.start(tls={**tls, "clients": clients})
    assert shown(await secured(bench, client_context())) == "a.example"


# --- clients' certificates

CLIENT = issued("client.example")
OTHERS = {
    "none": None,
    "good": CLIENT,
    "selfsigned": issued("client.example", authority=None),
    "stranger": issued("client.example", authority=SECOND_CA),
    "expired": issued("client.example", start=NOW - 9 * DAY, end=NOW - DAY),
    "expired stranger": issued("client.example", authority=SECOND_CA, start=NOW - 9 * DAY, end=NOW - DAY),
}
OUTCOMES = {  # by mode: OpenSSL's number, None for no certificate, or what the log says
    "request": {"none": None, "good": 0, "selfsigned": 18, "stranger": 20, "expired": 10, "expired stranger": 20},
    "require": {
        "none": "did not return a certificate", "good": 0, "selfsigned": 18, "stranger": 20, "expired": 10,
        "expired stranger": 20,
    },
    "verify": {
        "none": "did not return a certificate", "good": 0, "selfsigned": "verify result 18",
        "stranger": "verify result 20", "expired": "verify result 10", "expired stranger": "verify result 20",
    },
}  # fmt: skip


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("mode", OUTCOMES)
async def test_clients_certificates(bench, tmp_path, mode, version):
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    clients = {"mode": mode, "ca": str(tmp_path / "ca.pem")}
    await bench.start(tls={**write(tmp_path, "a", issued("a.example")), "clients": clients})
    only = ssl.TLSVersion[version]
    for name, wanted in OUTCOMES[mode].items():
        holder = OTHERS[name]
        context = client_context(holder, tmp_path, minimum_version=only, maximum_version=only)
        before = len(logged(bench, "tls-failed"))
        if isinstance(wanted, str):
            with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
                await secured(bench, context)
            await eventually(lambda before=before: len(logged(bench, "tls-failed")) > before)
            assert wanted in logged(bench, "tls-failed")[-1], name
            continue
        await (await secured(bench, context)).play("C: MAIL FROM:<>\nS: 250")
        found = bench.runner.contexts[-1].connection.tls.peercert
        assert (None if found is None else found.error) == wanted, name
        if holder is not None:
            assert (found.certificate, found.chain[0]) == (holder.der, holder.der)


async def test_without_authorities_no_certificate_is_good(bench, tmp_path):
    await bench.start(tls={**write(tmp_path, "a", issued("a.example")), "clients": {}})
    await (await secured(bench, client_context(CLIENT, tmp_path))).play("C: MAIL FROM:<>\nS: 250")
    assert bench.runner.contexts[-1].connection.tls.peercert.error == 19  # this client sends its CA along


async def test_the_chain_that_a_client_sends(bench, tmp_path):
    middle = Holder("Middle CA", authority=CA, ca=True)
    leaf = issued("client.example", authority=middle)
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    clients = {"mode": "verify", "ca": str(tmp_path / "ca.pem")}
    await bench.start(tls={**write(tmp_path, "a", issued("a.example")), "clients": clients})
    context = client_context()
    (tmp_path / "chain").write_bytes(leaf.both + middle.pem)
    context.load_cert_chain(tmp_path / "chain")
    await (await secured(bench, context)).play("C: MAIL FROM:<>\nS: 250")
    found = bench.runner.contexts[-1].connection.tls.peercert
    assert found.chain == (leaf.der, middle.der)
    assert found.error == 0


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_a_second_session_is_judged_again(bench, tmp_path, version):
    """A resumed TLS session would carry no verdict: it must not pass for a good one."""
    await bench.start(tls={**write(tmp_path, "a", issued("a.example")), "clients": {"mode": "request"}})
    only = ssl.TLSVersion[version]
    context = client_context(OTHERS["stranger"], tmp_path, minimum_version=only, maximum_version=only)

    def talk(session: ssl.SSLSession | None) -> ssl.SSLSession | None:
        with smtplib.SMTP(*bench.addresses[0], timeout=DEADLINE) as client:
            client.docmd("EHLO", "c.example")
            client.docmd("STARTTLS")
            client.sock = context.wrap_socket(client.sock, server_hostname="a.example", session=session)
            client.file = None
            client.docmd("EHLO", "c.example")
            assert client.docmd("MAIL", "FROM:<>")[0] == 250
            assert not client.sock.session_reused
            return client.sock.session

    first = await asyncio.to_thread(talk, None)
    await asyncio.to_thread(talk, first)
    assert [item.connection.tls.peercert.error for item in bench.runner.contexts] == [20, 20]


async def test_a_client_learns_why_its_certificate_is_refused(bench, tmp_path):
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    clients = {"mode": "verify", "ca": str(tmp_path / "ca.pem")}
    await bench.start(tls={**write(tmp_path, "a", issued("a.example")), "clients": clients})
    old = client_context(OTHERS["stranger"], tmp_path, maximum_version=ssl.TLSVersion.TLSv1_2)
    with pytest.raises(ssl.SSLError, match=r"(?i)alert unknown ca"):
        await secured(bench, old)


@pytest.mark.parametrize("implicit", [False, True])
async def test_a_large_message_from_a_client_with_a_certificate(bench, tmp_path, implicit):
    tls = {**write(tmp_path, "a", issued("a.example")), "clients": {"mode": "require"}}
    listeners = [{"port": 0, "implicit_tls": implicit}]
    await bench.start(tls=tls, listeners=listeners, relay={"networks": ["127.0.0.1"]})
    context = client_context(CLIENT, tmp_path)
    if implicit:
        client = await bench.client(tls=context)
        await client.play("S: 220\nC: EHLO c.example\nS: 250")
    else:
        client = await secured(bench, context)
    await client.play("C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<a@b.example>\nS: 250\nC: DATA\nS: 354")
    body = (b"x" * 998 + b"\r\n") * 3000
    await client.send(body + b".\r\n")
    await client.play("S: 250\nC: QUIT\nS: 221\nS:")
    assert bench.queue.stored[0][1] == body


@pytest.mark.parametrize("clients", MODES)
async def test_commands_with_starttls_are_refused(bench, tmp_path, clients):
    await bench.start(tls={**write(tmp_path, "a", issued("a.example")), "clients": clients})
    client = await bench.greeted()
    await client.send(b"STARTTLS\r\nMAIL FROM:<>\r\n")
    await client.play("S: 554 5.5.0\nS:")
    assert bench.runner.contexts == []


EXTERNAL = """
$peer = ($connection["tls"] ?? [])["peercert"] ?? none;
if ($peer == none or $peer["error"] != 0 or $arguments["mechanism"] != "EXTERNAL") Reject();
if (X509($peer["x509"])->toResource() != $peer["x509"]) Reject("other");
$name = X509($peer["x509"])->subject()[0][1];
Accept(["username" => $name, "reason" => $connection["tls"]["sni"] . " " . length($peer["chain"])]);
"""
TLS_SEEN = """
echo "seen " . json_encode([$tlsstarted, GetTLS()["started"], (GetTLS()["peer_cert"] ?? ["subject" => []])["subject"],
    GetTLS()["peer_cert_error"] ?? none, $connection["tls"]["protocol"], $connection["tls"]["keysize"] >= 128]);
"""


async def test_a_login_by_certificate(tmp_path):
    """AUTH EXTERNAL by script: what scripts see of a client's certificate."""
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    write(tmp_path, "a", issued("a.example"))
    tls = "{certificate: a.pem, privatekey: a.key, clients: {ca: ca.pem}}"
    lines: list[str] = []
    scripts = {"auth": EXTERNAL, "mailfrom": TLS_SEEN}
    async with gateway(tmp_path, lines, scripts, auth="mechanisms: [EXTERNAL]", tls=tls) as made:
        for name, wanted in {"none": "535", "good": "235 2.7.0 x.example 2", "stranger": "535"}.items():
            client = await greeted(made)
            await client.play("C: AUTH EXTERNAL =\nS: 535\nC: STARTTLS\nS: 220")
            context = client_context(OTHERS[name], tmp_path)
            await asyncio.wait_for(client.writer.start_tls(context, server_hostname="x.example"), DEADLINE)
            client.reader._transport = client.writer.transport
            await client.play(f"C: EHLO c.example\nS: 250\nC: AUTH EXTERNAL =\nS: {wanted}\nC: MAIL FROM:<>\nS: 250")
            await client.play("C: QUIT\nS: 221")
            await client.close()
    seen = [line.replace("\\", "") for line in lines if "seen" in line]
    assert '[true,true,[],null,"TLSv1.3",true]' in seen[0]
    assert '[true,true,{"CN":"client.example"},0,"TLSv1.3",true]' in seen[1]
    assert '{"CN":"client.example"},20,' in seen[2]


async def test_a_reload_of_the_gateway_takes_renewed_files(tmp_path):
    write(tmp_path, "a", issued("first.example"))
    lines: list[str] = []
    async with gateway(tmp_path, lines, {}, tls="{certificate: a.pem, privatekey: a.key, watch: 0}") as made:
        for name in ("first.example", "second.example"):
            client = await greeted(made)
            await client.play("C: STARTTLS\nS: 220")
            await client.start_tls(client_context())
            assert shown(client) == name
            await client.close()
            write(tmp_path, "a", issued("second.example"))
            assert await made.reload(tmp_path / "smtpd.yaml")
        (tmp_path / "a.key").write_bytes(b"")
        assert not await made.reload(tmp_path / "smtpd.yaml")
        assert any("reload-failed" in line and "cannot be used together" in line for line in lines)
        assert names(made.servers["out"].certificates) == ["second.example"]


# --- TLS first

BEFORE = "C: NOOP\nS: 250\nC: HELP\nS: 214\nC: HELO c.example\nS: 250\nC: EHLO c.example\nS: 250"
NOT_BEFORE = ["MAIL FROM:<>", "RCPT TO:<a@b.example>", "DATA", "RSET", "VRFY a", "EXPN a", "AUTH PLAIN AAAA"]


async def test_no_mail_without_tls(bench, tmp_path):
    bench.runner.stages["auth"] = IMPLICIT
    tls = {**write(tmp_path, "a", issued("a.example")), "required": True}
    await bench.start(tls=tls, auth={"without_tls": True})
    client = await bench.play(f"S: 220\n{BEFORE}")
    for command in NOT_BEFORE:
        assert await client.ask(command) == "530 5.7.0 Must issue a STARTTLS command first"
    await client.send(b"BDAT 9 LAST\r\nMAIL FROM")
    await client.play("S: 503\nC: STARTTLS\nS: 220")
    await client.start_tls(client_context())
    await client.play("C: EHLO c.example\nS: 250\nC: MAIL FROM:<>\nS: 250\nC: QUIT\nS: 221")
    assert len(bench.runner.contexts) == 1


# --- handshakes that fail


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("clients", MODES)
async def test_a_handshake_that_never_comes_ends(bench, tmp_path, clients, implicit):
    tls = {**write(tmp_path, "a", issued("a.example")), "clients": clients}
    listeners = [{"port": 0, "implicit_tls": implicit}]
    server = await bench.start(tls=tls, listeners=listeners, limits={"handshake": 0.2})
    client = await bench.client()
    if not implicit:
        await client.play("S: 220\nC: STARTTLS\nS: 220")
    await client.send(b"\x16\x03\x01\x02")  # it has begun, at least
    await client.play("S:")
    await eventually(lambda: server.sessions == 0)
    assert "no handshake in time" in logged(bench, "tls-failed")[0]


@pytest.mark.parametrize("clients", MODES)
@pytest.mark.parametrize(
    ("octets", "wanted"),
    [(b"EHLO c.example\r\n" * 20, "wrong version number"), (b"", "closed the connection")],
)
async def test_the_log_says_what_went_wrong(bench, tmp_path, clients, octets, wanted):
    tls = {**write(tmp_path, "a", issued("a.example")), "clients": clients}
    server = await bench.start(tls=tls, listeners=[{"port": 0, "implicit_tls": True}])
    client = await bench.client()
    await client.send(octets)
    if not octets:
        await client.close()
    await eventually(lambda: server.sessions == 0)
    [line] = logged(bench, "tls-failed")
    assert "server=test" in line
    assert "ip=127.0.0.1" in line
    assert wanted in line


@pytest.mark.parametrize("implicit", [False, True])
async def test_failed_handshakes_of_an_ip_at_the_limit_and_past_it(bench, tmp_path, implicit):
    listeners = [{"port": 0, "implicit_tls": implicit}]
    tls = write(tmp_path, "a", issued("a.example"))
    server = await bench.start(tls=tls, listeners=listeners, limits={"handshakes_per_ip": 2})

    async def attempt(local: str = "127.0.0.1") -> str:
        client = await bench.client(local=local)
        if not implicit:
            await client.play("S: 220\nC: EHLO c.example\nS: 250")
            answer = await client.ask("STARTTLS")
            if not answer.startswith("220"):
                assert "STARTTLS" not in await client.ask("EHLO c.example")
                return answer
        await client.send(b"rubbish " * 10)
        await client.reader.read()
        return ""

    for _ in range(2):
        assert await attempt() == ""
    assert await attempt() == ("" if implicit else "454 4.7.0 TLS is not available for now")
    await attempt("127.0.0.2")
    assert len(logged(bench, "tls-failed")) == 3
    await eventually(lambda: server.sessions == 0 or not implicit)


# --- files that change


@asynccontextmanager
async def watched(folder: Path, **settings):
    """A store of one certificate, and its log."""
    lines: list[str] = []
    files = write(folder, "a", issued("first.example"))
    settings = {"certificates": [], **settings}
    yield CertificateStore(ServerTLS(**files, **settings), server="test", log=Log("debug", lines.append)), lines


def names(store: CertificateStore) -> list[str]:
    return store.kept[0].names


BROKEN = {
    "other key": (lambda folder: write(folder, "a", issued("second.example"), key_pem(ec_key())), "is not the key of"),
    "half a certificate": (
        lambda folder: (folder / "a.pem").write_bytes(issued("second.example").pem[:300]), "no PEM certificate"),
    "half a key": (lambda folder: (folder / "a.key").write_bytes(CLIENT.key_pem[:60]), "no PEM private key"),
    "empty": (lambda folder: (folder / "a.pem").write_bytes(b""), "no PEM certificate"),
    "gone": (lambda folder: (folder / "a.key").unlink(), "No such file"),
    "a folder": (lambda folder: ((folder / "a.key").unlink(), (folder / "a.key").mkdir()), "Is a directory"),
    "too large": (lambda folder: (folder / "a.pem").write_bytes(b"x" * (MAX_FILE + 1)), "is larger than"),
}  # fmt: skip


async def test_a_renewed_pair_is_taken(tmp_path):
    async with watched(tmp_path) as (store, lines):
        before = store.context
        assert store.reload()
        assert store.context is before, "nothing has changed"
        assert lines == []
        write(tmp_path, "a", issued("second.example"))
        assert store.reload()
        assert names(store) == ["second.example"]
        assert store.context is not before
        assert store.choose("first.example") is None
        assert store.choose("second.example") is store.context
        [line] = lines
        assert f"certificate={tmp_path / 'a.pem'}" in line
        assert "names=second.example" in line


@pytest.mark.parametrize("name", BROKEN)
async def test_a_bad_pair_keeps_the_old_one(tmp_path, name):
    spoil, wanted = BROKEN[name]
    async with watched(tmp_path) as (store, lines):
        before = store.context
        spoil(tmp_path)
        assert not store.reload()
        assert (store.context, names(store)) == (before, ["first.example"])
        [line] = lines
        assert " error certificate-kept " in line
        assert wanted in line
        assert str(tmp_path / "a.pem") in line
        assert str(tmp_path / "a.key") in line
        assert not store.reload()
        assert len(lines) == 2, "each reload tells"
        if (tmp_path / "a.key").is_dir():
            (tmp_path / "a.key").rmdir()
        write(tmp_path, "a", issued("third.example"))
        assert store.reload()
        assert names(store) == ["third.example"]


async def test_one_bad_pair_does_not_hold_up_the_others(tmp_path):
    more = [write(tmp_path, "b", issued("b.example"))]
    async with watched(tmp_path, certificates=more) as (store, _):
        write(tmp_path, "b", issued("c.example"))
        (tmp_path / "a.key").write_bytes(b"")
        assert not store.reload()
        assert names(store) == ["first.example"]
        assert store.choose("c.example") is store.kept[1].context
        assert store.choose("b.example") is None


async def test_a_look_takes_what_lies_still(tmp_path):
    async with watched(tmp_path) as (store, lines):
        store.poll()
        renewed = issued("second.example")
        (tmp_path / "a.pem").write_bytes(renewed.pem)
        store.poll()
        assert lines == [], "it may still be written"
        (tmp_path / "a.key").write_bytes(renewed.key_pem)
        store.poll()
        assert names(store) == ["first.example"]
        store.poll()
        assert names(store) == ["second.example"]
        assert len(lines) == 1
        before = store.context
        store.poll()
        assert store.context is before


async def test_a_look_logs_a_problem_once_and_tries_again(tmp_path):
    async with watched(tmp_path) as (store, lines):
        key = (tmp_path / "a.key").read_bytes()
        (tmp_path / "a.key").write_bytes(b"")
        for _ in range(5):
            store.poll()
        assert len(lines) == 1
        (tmp_path / "a.key").write_bytes(key)
        for _ in range(3):
            store.poll()
        assert len(lines) == 1
        assert store.reload()


async def test_files_may_be_read_by_somebody_else(tmp_path):
    """A process without rights to the key is given its contents."""
    pairs = [issued("first.example"), issued("second.example")]
    kept = {Path("/keys/a.pem"): pairs[0].pem, Path("/keys/a.key"): pairs[0].key_pem}
    settings = ServerTLS(certificate="/keys/a.pem", privatekey="/keys/a.key")
    store = CertificateStore(settings, server="test", log=Log("debug", lambda line: None), read=kept.__getitem__)
    kept.update({Path("/keys/a.pem"): pairs[1].pem, Path("/keys/a.key"): pairs[1].key_pem})
    assert store.reload()
    assert names(store) == ["second.example"]


async def test_other_authorities_are_taken(bench, tmp_path):
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    clients = {"mode": "request", "ca": str(tmp_path / "ca.pem")}
    server = await bench.start(tls={**write(tmp_path, "a", issued("a.example")), "clients": clients})
    context = client_context(OTHERS["stranger"], tmp_path)
    for content, wanted, fine in ((b"", 20, False), (SECOND_CA.pem, 0, True), (b"rubbish", 0, False)):
        (tmp_path / "ca.pem").write_bytes(content)
        assert server.certificates.reload() is fine
        await (await secured(bench, context)).play("C: MAIL FROM:<>\nS: 250")
        assert bench.runner.contexts[-1].connection.tls.peercert.error == wanted
    assert len(logged(bench, "authorities-kept")) == 2


@pytest.mark.parametrize("clients", MODES)
async def test_new_connections_get_the_new_certificate_and_old_ones_go_on(bench, tmp_path, clients):
    tls = {**write(tmp_path, "a", issued("first.example")), "clients": clients, "watch": 0.02}
    await bench.start(tls=tls)
    old = await secured(bench, client_context())
    waiting = await bench.greeted()
    await waiting.play("C: STARTTLS\nS: 220")  # its handshake has begun
    write(tmp_path, "a", issued("second.example"))
    await eventually(lambda: logged(bench, "certificate-renewed"))
    await waiting.start_tls(client_context())
    assert shown(waiting) == "first.example"
    assert shown(await secured(bench, client_context())) == "second.example"
    await old.play("C: MAIL FROM:<>\nS: 250")


async def test_a_stopped_server_looks_no_more(bench, tmp_path):
    tls = {**write(tmp_path, "a", issued("first.example")), "watch": 0.01}
    server = await bench.start(tls=tls)
    await server.stop()
    polled = []
    server.certificates.poll = lambda: polled.append(1)
    await asyncio.sleep(0.05)
    assert polled == []


async def test_certificates_that_cannot_be_used_at_all(tmp_path):
    weak = write(tmp_path, "weak", issued("weak.example", key=rsa_key(1024), authority=None))
    locked = write(tmp_path, "locked", CLIENT)
    secret = CLIENT.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    (tmp_path / "locked.key").write_bytes(secret)
    for files, wanted in ((weak, rf"{tmp_path}/weak.pem: .*key too small"), (locked, "locked.key has a password")):
        for clients in MODES:
            with pytest.raises(CertificateError, match=wanted):
                CertificateStore(ServerTLS(**files, clients=clients), server="s", log=Log("debug", print))
            good = write(tmp_path, "good", CLIENT) | {"certificates": [files], "clients": clients}
            with pytest.raises(CertificateError, match=wanted):
                CertificateStore(ServerTLS(**good), server="s", log=Log("debug", print))
    with pytest.raises(CertificateError, match="cannot read"):
        read_file(tmp_path / "none")
