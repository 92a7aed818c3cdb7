"""smtp_lookup_*, dovecot_lookup_auth, radius_authen, tacplus_*: against real and scripted peers on the loopback."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import socket
import ssl
import struct
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from loopback import await_script, datagrams, peer, receive_line, run_script
from servers import smtp_sink
from smtp_peer import Peer

from hsl.errors import BudgetError, ScriptError
from hsl.library import radius, tacplus
from hsl.library.network import NotPermitted
from hsl.runtime.dns import TableResolver
from hsl.runtime.network import NetworkPolicy, ScriptNetwork
from hsl.runtime.plainhost import PlainHost
from hsl.values import Array


class Host(PlainHost):
    """A plain host with a network, or transports, of the test's."""

    def __init__(self, network: ScriptNetwork | None = None) -> None:
        super().__init__()
        self.__dict__["network"] = network or ScriptNetwork()


def ask(smtp: Peer, text: str, host: object = None, **variables: Any) -> list[str]:
    """Run a script against an SMTP peer; $port and $server are its."""

    async def both() -> list[str]:
        async with smtp.serve():
            start = '$server = ["host" => "127.0.0.1", "port" => $port];'
            return await await_script(start + text, host, port=float(smtp.port), **variables)

    return asyncio.run(both())


RCPT = 'echo smtp_lookup_rcpt($server, "joe@example.com", "ann@example.org");'
EXTENDED = RCPT.replace(");", ', ["extended_result" => true]);')


def test_smtp_sink(tmp_path: Path) -> None:
    with smtp_sink(tmp_path) as sink:
        server = f'["host" => "{sink.host}", "port" => {sink.port}]'
        assert run_script(RCPT.replace("$server", server)) == ["1"]
    with smtp_sink(tmp_path, "-f", "RCPT") as sink:
        server = f'["host" => "{sink.host}", "port" => {sink.port}]'
        assert run_script(RCPT.replace("$server", server)) == ["0"]
    with smtp_sink(tmp_path, "-r", "RCPT") as sink:
        server = f'["host" => "{sink.host}", "port" => {sink.port}]'
        assert run_script(RCPT.replace("$server", server)) == ["-1"]


@pytest.mark.parametrize(
    ("replies", "value", "extended"),
    [
        ({}, "1", '"error_code"=>250,"error_message"=>"2.1.5 ok","on_rcptto"=>true'),
        ({"RCPT": ["251 will forward"]}, "1", '"error_code"=>251,"error_message"=>"will forward","on_rcptto"=>true'),
        ({"RCPT": ["550 5.1.1 no\n550 such user"]}, "0",
         '"error_code"=>550,"error_message"=>"5.1.1 no such user","on_rcptto"=>true'),
        ({"RCPT": ["450 4.2.0 later"]}, "-1", '"error_code"=>450,"error_message"=>"4.2.0 later","on_rcptto"=>true'),
        ({"MAIL": ["550 no sender"]}, "0", '"error_code"=>550,"error_message"=>"no sender","on_rcptto"=>false'),
        ({"MAIL": ["451 later"]}, "-1", '"error_code"=>451,"error_message"=>"later","on_rcptto"=>false'),
        ({"BANNER": ["554 no service"]}, "-1", '"error_code"=>554,"error_message"=>"no service","on_rcptto"=>false'),
        ({"EHLO": ["550 no"], "HELO": ["550 no"]}, "-1",
         '"error_code"=>550,"error_message"=>"no","on_rcptto"=>false'),
        ({"EHLO": ["502 no"]}, "1", '"error_code"=>250,"error_message"=>"2.1.5 ok","on_rcptto"=>true'),
        ({"RCPT": ["hello"]}, "-1",
         '"error_code"=>0,"error_message"=>"RCPT: the answer is not SMTP","on_rcptto"=>false'),
        ({"RCPT": ["354 go"]}, "-1", '"error_code"=>354,"error_message"=>"go","on_rcptto"=>true'),
    ],
)  # fmt: skip
def test_recipients(replies: dict[str, list[str]], value: str, extended: str) -> None:
    printed = ask(Peer(replies=replies), RCPT + EXTENDED)
    assert printed == [value, f'[{extended},"tls"=>["started"=>false]]']


def test_the_older_result() -> None:
    text = RCPT.replace(");", ', ["error_code" => true]);')
    assert ask(Peer(replies={"RCPT": ["550 no"]}), text) == ['["error_code"=>550,"error_message"=>"no"]']


@pytest.mark.parametrize(
    ("sender", "recipient", "commands"),
    [
        ('"joe@example.com"', '"ann@example.org"', [b"MAIL FROM:<joe@example.com>", b"RCPT TO:<ann@example.org>"]),
        ('""', '"ann@example.org"', [b"MAIL FROM:<>", b"RCPT TO:<ann@example.org>"]),
        ('["localpart" => "", "domain" => ""]', '["localpart" => "a b", "domain" => "x"]', None),
        ('["localpart" => "j", "domain" => "x"]', '["localpart" => "\\"a b\\"", "domain" => "y"]',
         [b"MAIL FROM:<j@x>", b'RCPT TO:<"a b"@y>']),
        ('"joe"', '"postmaster"', [b"MAIL FROM:<joe>", b"RCPT TO:<postmaster>"]),
        ('"jos\\xc3\\xa9@example.com"', '"ann@example.org"',
         [b"MAIL FROM:<jos\xc3\xa9@example.com> SMTPUTF8", b"RCPT TO:<ann@example.org>"]),
    ],
)  # fmt: skip
def test_addresses(sender: str, recipient: str, commands: list[bytes] | None) -> None:
    smtp = Peer()
    text = f"echo smtp_lookup_rcpt($server, {sender}, {recipient});"
    if commands is None:
        with pytest.raises(ScriptError, match=r"parameter 3 \(recipient\): wanted an address"):
            ask(smtp, text)
    else:
        assert ask(smtp, text) == ["1"]
        assert smtp.commands[1:3] == commands
        assert smtp.commands[3:] == [b"QUIT"]


@pytest.mark.parametrize("address", ["a\\r\\nRSET@x", "a>@x", "a@x>", "a@x y", "a\\x00@x", "a@b@c d", "<a@x>", "@x"])
def test_no_address_ends_a_command(address: str) -> None:
    smtp = Peer()
    for call in (f'smtp_lookup_rcpt($server, "{address}", "a@b");', f'smtp_lookup_rcpt($server, "", "{address}");'):
        with pytest.raises(ScriptError, match="wanted an address"):
            ask(smtp, call)
    assert smtp.commands == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('"port" => 0', "option port: wanted 1 to 65535, got 0"),
        ('"helo" => "a b"', "option helo: wanted a host name"),
        ('"tls" => "dane"', "option tls: wanted one of disabled, optional, .* got 'dane'"),
        ('"protocol" => "http"', "option protocol: wanted one of smtp, lmtp"),
        ('"timeout" => ["RCTP" => 5]', "option timeout: there is no state 'RCTP'"),
        ('"timeout" => ["RCPT" => 0]', "option timeout: RCPT: wanted seconds"),
        ('"connect_timeout" => -1', "option timeout: CONNECT: wanted seconds"),
        ('"sourceip" => "netaddr:9"', "there is no address 'netaddr:9'"),
        ('"sourceip" => "localhost"', "wanted an IP address or netaddr:ID"),
        ('"xclient" => ["NA ME" => "x"]', "option xclient: wanted attribute names as keys"),
        ('"mx_include" => ["a b"]', "option mx_include: wanted host names"),
        ('"tls_verify_name" => ["a b"]', "option tls_verify_name: wanted host names"),
        ('"port" => "25"', "option port: wanted number, got string"),
    ],
)
def test_wrong_settings(settings: str, message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        run_script(f'smtp_lookup_rcpt(["host" => "127.0.0.1", {settings}], "", "a@b");')


def test_the_dialogue_of_all_settings() -> None:
    smtp = Peer(extensions=("XCLIENT NAME ADDR", "AUTH=PLAIN LOGIN", "AUTH LOGIN"))
    text = '$server += ["helo" => "me.example", "saslusername" => "user", "saslpassword" => "secret", "sourceip" =>'
    text += '"127.0.0.7", "xclient" => ["NAME" => "a b=+", "ADDR" => "192.0.2.1"]];'
    assert ask(smtp, text + RCPT) == ["1"]
    assert smtp.sessions[0].ip == "127.0.0.7"
    assert smtp.commands[:4] == [
        b"EHLO me.example", b"XCLIENT NAME=a+20b+3D+2B ADDR=192.0.2.1", b"EHLO me.example", b"AUTH LOGIN"
    ]  # fmt: skip


def test_lmtp_and_sources_by_id() -> None:
    smtp = Peer()
    host = Host(ScriptNetwork(sources={"4": "127.0.0.4"}))
    text = '$server += ["protocol" => "lmtp", "sourceip" => "netaddr:4"];' + RCPT
    assert ask(smtp, text, host) == ["1"]
    assert ask(smtp, text.replace('"sourceip" => "netaddr:4"', '"sourceipid" => "4"'), host) == ["1"]
    assert [session.ip for session in smtp.sessions] == ["127.0.0.4"] * 2
    assert smtp.commands[0].startswith(b"LHLO ")


def test_the_helo_name_is_the_installations() -> None:
    smtp = Peer()

    class Named(Host):
        def hostname(self) -> bytes:
            return b"mx.example.com"

    assert ask(smtp, RCPT, Named()) == ["1"]
    assert smtp.commands[0] == b"EHLO mx.example.com"


def test_a_source_of_the_other_family_and_a_foreign_one() -> None:
    assert ask(Peer(), '$server += ["sourceip" => "::1"];' + RCPT) == ["-1"]
    assert ask(Peer(), '$server += ["sourceip" => "192.0.2.9"];' + RCPT) == ["-1"]


# ------------------------------------------------------------ hosts


def test_the_recipients_mail_hosts() -> None:
    smtp = Peer()
    table = TableResolver(
        hosts={"bad.example": ["127.0.0.66"], "good.example": ["127.0.0.1"], "a.out.example": ["127.0.0.67"]},
        mx={"example.org": ["a.out.example", "bad.example", "good.example"], "null.example": ["."]},
    )
    host = Host(ScriptNetwork(table=table))
    text = '$s = ["port" => $port]; echo smtp_lookup_rcpt($s, "", "ann@example.org");'
    text += 'echo smtp_lookup_rcpt($s + ["mx_exclude" => ["good.example"]], "", "ann@example.org");'
    text += 'echo smtp_lookup_rcpt($s + ["mx_include" => ["*.out.example"]], "", "ann@example.org");'
    text += 'echo smtp_lookup_rcpt($s + ["host" => "lookup-mx"], "", "ann@null.example");'
    text += 'echo smtp_lookup_rcpt($s + ["host" => "good.example"], "", "ann@nowhere.example");'
    text += 'echo smtp_lookup_rcpt($s, "", "ann@[127.0.0.1]");'
    assert ask(smtp, text, host) == ["1", "-1", "-1", "-1", "1", "1"]


def test_a_domain_is_needed_for_them() -> None:
    with pytest.raises(ScriptError, match="option host: it is missing"):
        run_script('smtp_lookup_auth([], "u", "p");')
    with pytest.raises(ScriptError, match="option host: it is missing"):
        run_script('smtp_lookup_rcpt([], "", "postmaster");')


def test_the_policy_is_asked() -> None:
    with pytest.raises(NotPermitted):
        ask(Peer(), RCPT, Host(ScriptNetwork(NetworkPolicy(deny=["127.0.0.0/8"]))))
    with pytest.raises(NotPermitted):
        run_script('dovecot_lookup_auth(["host" => "169.254.169.254", "port" => 1], "u", "p");')
    with pytest.raises(NotPermitted):
        run_script('radius_authen(["host" => "169.254.169.254", "secret" => "s"], "u", "p");')
    with pytest.raises(NotPermitted):
        run_script('tacplus_authen(["host" => "169.254.169.254", "secret" => "s"], "u", "p");')


def test_transports_by_their_id() -> None:
    smtp = Peer()

    class Transports(Host):
        def transport_server(self, function: str, transportid: bytes) -> Array:
            if transportid != b"next":
                raise ScriptError(f"{function}(): there is no transport")
            return Array.record({b"host": b"127.0.0.1", b"port": float(smtp.port)})

    assert ask(smtp, 'echo smtp_lookup_rcpt("next", "", "a@b");', Transports()) == ["1"]
    with pytest.raises(ScriptError, match="there is no transport"):
        ask(smtp, 'smtp_lookup_auth("other", "u", "p");', Transports())
    with pytest.raises(ScriptError, match="there are no transports here"):
        ask(smtp, 'smtp_lookup_auth("next", "u", "p");')


# ------------------------------------------------------------ TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secured(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Peer:
    """A peer with STARTTLS and a certificate for mail.example.com, whose authority is known."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mail.example.com").configure_cert(context)
    return Peer(context=context)


NAMED = '"tls_verify_name" => ["mail.example.com"]'


@pytest.mark.parametrize(
    ("settings", "value", "encrypted"),
    [
        ("", "1", False),
        ('"tls" => "optional"', "1", True),
        ('"tls" => "require"', "1", True),
        ('"tls" => "require_verify"', "1", True),
        (f'"tls" => "require_verify", {NAMED}', "1", True),
        ('"tls" => "require_verify", "tls_verify_host" => true', "-1", False),
        ('"tls" => "require", "tls_verify_name" => ["other.example.com"]', "-1", False),
        ('"tls" => "require", "tls_protocols" => "TLSv1.2", "tls_ciphers" => "ECDHE+AESGCM"', "1", True),
        ('"tls" => "require", "tls_sni" => "mail.example.com"', "1", True),
        ('"tls" => "optional_verify", "tls_verify_host" => true', "-1", False),
    ],
)
def test_tls(secured: Peer, settings: str, value: str, encrypted: bool) -> None:
    assert ask(secured, f"$server += [{settings}];" + RCPT) == [value]
    assert any(command.startswith(b"RCPT") for command in secured.commands) is (value == "1")
    assert any(s.tls and any(c.startswith(b"RCPT") for c in s.commands) for s in secured.sessions) is encrypted


def test_what_the_extended_result_says_of_tls(secured: Peer) -> None:
    printed = ask(secured, '$server += ["tls" => "require", "tls_protocols" => "TLSv1.2"];' + EXTENDED)
    assert '"tls"=>["started"=>true,"protocol"=>"TLSv1.2","cipher"=>"ECDHE-' in printed[0]


@pytest.mark.parametrize(
    ("tls", "value"), [("optional", "1"), ("optional_verify", "-1"), ("require", "-1"), ("require_verify", "-1")]
)
def test_a_failed_handshake(tls: str, value: str) -> None:
    smtp = Peer(broken_tls=True)
    assert ask(smtp, f'$server += ["tls" => "{tls}"];' + RCPT) == [value]


def test_credentials_are_not_sent_without_the_tls_that_was_wanted() -> None:
    smtp = Peer(broken_tls=True)
    text = '$server += ["tls" => "optional", "saslusername" => "user", "saslpassword" => "secret"];' + RCPT
    assert ask(smtp, text) == ["-1"]
    assert not any(command.startswith(b"AUTH") for command in smtp.commands)


def test_tls_that_is_required_and_not_offered() -> None:
    assert ask(Peer(), '$server += ["tls" => "require"];' + EXTENDED)[0].startswith(
        '["error_code"=>0,"error_message"=>"TLS is required and was not offered"'
    )


def test_something_before_tls() -> None:
    smtp = Peer(replies={"STARTTLS": ["220 go\r\n250 injected"]}, broken_tls=True)
    assert ask(smtp, '$server += ["tls" => "require"];' + RCPT) == ["-1"]


# ------------------------------------------------------------ AUTH

AUTH = 'echo smtp_lookup_auth($server, "user", "secret"); echo smtp_lookup_auth($server, "user", "wrong");'


@pytest.mark.parametrize("mechanisms", ["PLAIN LOGIN", "LOGIN", "plain"])
def test_passwords(mechanisms: str) -> None:
    assert ask(Peer(extensions=(f"AUTH {mechanisms}",)), AUTH) == ["1", "0"]


@pytest.mark.parametrize(
    ("replies", "value"),
    [
        ({"AUTH": ["235 yes"]}, "1"),
        ({"AUTH": ["535 no"]}, "0"),
        ({"AUTH": ["550 no"]}, "0"),
        ({"AUTH": ["454 later"]}, "-1"),
        ({"AUTH": ["538 encryption required"]}, "-1"),
        ({"AUTH": ["504 no such mechanism"]}, "-1"),
        ({"EHLO": ["550 no"], "HELO": ["550 no"]}, "-1"),
        ({"BANNER": ["535 no"]}, "-1"),
    ],
)
def test_verdicts_on_passwords(replies: dict[str, list[str]], value: str) -> None:
    assert ask(Peer(replies=replies), 'echo smtp_lookup_auth($server, "user", "secret");') == [value]


def test_cram_md5() -> None:
    """The example of RFC 2195."""
    challenge = b"PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+"
    answers: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        connection.sendall(b"220 x\r\n")
        receive_line(connection)
        connection.sendall(b"250-x\r\n250 AUTH CRAM-MD5\r\n")
        assert receive_line(connection) == b"AUTH CRAM-MD5\r\n"
        connection.sendall(b"334 " + challenge + b"\r\n")
        answers.append(receive_line(connection))
        connection.sendall(b"235 ok\r\n")

    with peer(serve) as found:
        text = '$s = ["host" => "127.0.0.1", "port" => $port]; echo smtp_lookup_auth($s, "tim", "tanstaaftanstaaf");'
        assert run_script(text, port=found.port) == ["1"]
    assert b64decode(answers[0]) == b"tim b913a602c7eda7a495b4e6e7334d3890"


def test_a_server_without_passwords() -> None:
    assert ask(Peer(extensions=()), 'echo smtp_lookup_auth($server, "user", "secret");') == ["-1"]


@pytest.mark.parametrize("state", ["BANNER", "EHLO", "MAIL", "RCPT"])
def test_a_server_that_hangs_or_goes(state: str) -> None:
    text = '$server += ["timeout" => ["BANNER" => 0.1, "EHLO" => 0.1, "MAIL" => 0.1, "RCPT" => 0.1]];' + RCPT
    assert ask(Peer(hang=state), text) == ["-1"]
    assert ask(Peer(drop=state), text) == ["-1"]


def test_the_scripts_time_ends_a_lookup() -> None:
    async def run() -> None:
        smtp = Peer(hang="RCPT")
        async with smtp.serve():
            text = 'smtp_lookup_rcpt(["host" => "127.0.0.1", "port" => $port], "", "a@b");'
            await await_script(text, None, 0.3, port=float(smtp.port))

    with pytest.raises(BudgetError, match="seconds"):
        asyncio.run(run())


def test_endless_replies_are_ended() -> None:
    def lines(connection: socket.socket) -> None:
        connection.sendall(b"220-x\r\n" * 1000)

    def one_line(connection: socket.socket) -> None:
        connection.sendall(b"220 " + b"x" * 100_000)

    text = '$s = ["host" => "127.0.0.1", "port" => $port]; echo smtp_lookup_rcpt($s, "", "a@b");'
    for serve in (lines, one_line):
        with peer(serve) as found:
            assert run_script(text, port=found.port) == ["-1"]


# ------------------------------------------------------------ Dovecot

GREETING = b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t00\nDONE\n"
DOVECOT = (
    'echo dovecot_lookup_auth(["host" => "127.0.0.1", "port" => $port, "timeout" => 0.5 OPTIONS], "user", "secret");'
)


def dovecot(answer: bytes, requests: list[bytes], greeting: bytes = GREETING) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        connection.sendall(greeting)
        assert receive_line(connection) == b"VERSION\t1\t1\n"
        assert receive_line(connection).startswith(b"CPID\t")
        try:
            requests.append(receive_line(connection))
            connection.sendall(answer)
            connection.recv(1)
        except (EOFError, ConnectionError):
            pass

    return serve


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (b"OK\t1\tuser=user\n", "1"),
        (b"FAIL\t1\tuser=user\n", "0"),
        (b"FAIL\t1\tuser=user\ttemp\n", "-1"),
        (b"FAIL\t2\nOK\t1\n", "1"),
        (b"CONT\t1\t\n", "-1"),
        (b"OK\t1", "-1"),
        (b"", "-1"),
        (b"x" * 100_000 + b"\n", "-1"),
    ],
)
def test_dovecot(answer: bytes, value: str) -> None:
    requests: list[bytes] = []
    with peer(dovecot(answer, requests)) as found:
        assert run_script(DOVECOT.replace("OPTIONS", ""), port=found.port) == [value]
    assert requests == [b"AUTH\t1\tPLAIN\tservice=smtp\tresp=AHVzZXIAc2VjcmV0\n"]


def test_what_dovecot_is_told() -> None:
    requests: list[bytes] = []
    given = ', "service" => "a\\tb\\nc", "rip" => "192.0.2.1", "lip" => "192.0.2.2", "secured" => true'
    with peer(dovecot(b"OK\t1\n", requests)) as found:
        assert run_script(DOVECOT.replace("OPTIONS", given), port=found.port) == ["1"]
    told = b"service=a\x01tb\x01nc\tsecured\trip=192.0.2.1\tlip=192.0.2.2\tresp=AHVzZXIAc2VjcmV0\n"
    assert requests == [b"AUTH\t1\tPLAIN\t" + told]


def test_another_version_of_dovecots_protocol() -> None:
    with peer(dovecot(b"OK\t1\n", [], GREETING.replace(b"VERSION\t1", b"VERSION\t9"))) as found:
        assert run_script(DOVECOT.replace("OPTIONS", ""), port=found.port) == ["-1"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ('dovecot_lookup_auth(["port" => 1], "u", "p");', "option host is missing"),
        ('dovecot_lookup_auth(["host" => "x"], "u", "p");', "option port: wanted 1 to 65535, got none"),
        ('dovecot_lookup_auth(["host" => "x", "port" => 1, "timeout" => 0], "u", "p");', "option timeout: wanted more"),
        ('radius_authen(["host" => "x"], "u", "p");', "option secret is missing"),
        ('radius_authen(["host" => "x", "secret" => "s", "retry" => -1], "u", "p");', "option retry: wanted 0 to 100"),
        ('radius_authen(["host" => "x", "secret" => "s"], "u", "p", ["a" => "b"]);', "numbered from 0"),
        ('radius_authen(["host" => "x", "secret" => "s"], "u", "p", [str_repeat("x", 248)]);', "up to 247 bytes"),
        ('radius_authen(["host" => "x", "secret" => "s"], "u", "p", array_fill(str_repeat("x", 200), 20));', "not fit"),
        ('tacplus_authen(["host" => "x"], "u", "p");', "option secret is missing"),
        ('tacplus_author(["host" => "x", "secret" => "s"], "u", [str_repeat("x", 256)]);', "up to 255 strings"),
    ],
)  # fmt: skip
def test_wrong_arguments(call: str, message: str) -> None:
    prefix = "function array_fill($v, $n) { $a = []; for ($i = 0; $i < $n; $i += 1) $a[] = $v; return $a; }"
    with pytest.raises(ScriptError, match=message):
        run_script(prefix + call)


# ------------------------------------------------------------ RADIUS


def test_the_example_of_rfc_2865() -> None:
    """Section 7.1: the password as it is hidden, and the answer's authenticator."""
    authenticator = bytes.fromhex("0f403f9473978057bd83d5cb98f4227a")
    secret = b"xyzzy5461"
    assert radius.hide(b"arctangent", secret, authenticator).hex() == "0dbe708d93d413ce3196e43f782a0aee"
    question = radius.Question(secret, b"nemo", b"arctangent", b"")
    question.authenticator, question.number = authenticator, 0
    accept = bytes.fromhex("0200002686fe220e7624ba2a1005f6bf9b55e0b20606000000010f06000000000e06c0a80103")
    assert question.answer(accept) == radius.ACCEPT
    for place in range(len(accept)):
        assert question.answer(accept[:place] + bytes((accept[place] ^ 1,)) + accept[place + 1 :]) is None
        assert question.answer(accept[:place]) is None


def test_long_passwords_are_hidden_in_chains() -> None:
    """RFC 2865 section 5.2, undone as its server would."""
    secret, authenticator, password = b"s", bytes(range(16)), b"0123456789abcdef0123456789ABCDEF!"
    hidden = radius.hide(password, secret, authenticator)
    plain, last = b"", authenticator
    for start in range(0, len(hidden), 16):
        block = hidden[start : start + 16]
        plain += bytes(a ^ b for a, b in zip(block, hashlib.md5(secret + last).digest(), strict=True))
        last = block
    assert plain == password + bytes(15)


def attributes_of(packet: bytes) -> list[tuple[int, bytes]]:
    found, place = [], 20
    while place < len(packet):
        found.append((packet[place], packet[place + 2 : place + packet[place + 1]]))
        place += packet[place + 1]
    return found


def radius_answer(question: bytes, code: int, secret: bytes, *, signed: bool = True, wrong: bool = False) -> bytes:
    """An answer as a server makes it."""
    attributes = b"\x12\x07hello"
    if signed:
        attributes = b"\x50\x12" + bytes(16) + attributes
    head = struct.pack(">BBH", code, question[1], 20 + len(attributes))
    if signed:
        digest = hmac.digest(secret, head + question[4:20] + attributes, "md5")
        attributes = b"\x50\x12" + (bytes(16) if wrong else digest) + attributes[18:]
    return head + hashlib.md5(head + question[4:20] + attributes + secret).digest() + attributes


class RadiusServer:
    """Answers with a code; `losses` questions are lost first."""

    def __init__(self, code: int, losses: int = 0, **how: bool) -> None:
        self.code = code
        self.losses = losses
        self.how = how
        self.questions: list[bytes] = []

    def __call__(self, question: bytes) -> bytes | None:
        self.questions.append(question)
        return None if len(self.questions) <= self.losses else radius_answer(question, self.code, b"shared", **self.how)


RADIUS = 'echo radius_authen(["host" => "127.0.0.1", "port" => $port, "secret" => "shared", "timeout" => 0.1 OPTIONS], '
RADIUS += '"user", "secret" VENDOR);'


def radius_script(options: str = "", vendor: str = "") -> str:
    return RADIUS.replace("OPTIONS", options).replace("VENDOR", vendor)


@pytest.mark.parametrize(
    ("server", "value", "asked"),
    [
        (RadiusServer(2), "1", 1),
        (RadiusServer(3), "0", 1),
        (RadiusServer(11), "-1", 1),
        (RadiusServer(2, signed=False), "1", 1),
        (RadiusServer(2, losses=2), "1", 3),
        (RadiusServer(2, losses=99), "-1", 4),
        (RadiusServer(2, wrong=True), "-1", 4),
    ],
)
def test_radius(server: RadiusServer, value: str, asked: int) -> None:
    with datagrams(server) as port:
        assert run_script(radius_script(), port=port) == [value]
    assert len(server.questions) == asked
    assert len(set(server.questions)) == 1, "a question is repeated as it is"


def test_what_radius_is_told() -> None:
    server = RadiusServer(2)
    with datagrams(server) as port:
        assert run_script(radius_script(', "clientip" => "192.0.2.1"', ', ["one", "two"]'), port=port) == ["1"]
    question = server.questions[0]
    code, _, length = struct.unpack_from(">BBH", question)
    told = dict(attributes_of(question))
    assert (code, length) == (1, len(question))
    assert told[1] == b"user"
    assert told[2] == radius.hide(b"secret", b"shared", question[4:20])
    assert told[31] == b"192.0.2.1"
    assert [value for kind, value in attributes_of(question) if kind == 26] == [
        struct.pack(">I", 33234) + b"\x01\x05one", struct.pack(">I", 33234) + b"\x02\x05two"
    ]  # fmt: skip
    place = question.index(b"\x50\x12") + 2
    unsigned = question[:place] + bytes(16) + question[place + 16 :]
    assert told[80] == hmac.digest(b"shared", unsigned, "md5")


def test_what_cannot_be_sent_is_no() -> None:
    server = RadiusServer(2)
    with datagrams(server) as port:
        assert run_script(radius_script().replace('"user"', '""'), port=port) == ["0"]
        assert run_script(radius_script().replace('"user", "secret"', '"user", str_repeat("x", 129)'), port=port) == [
            "0"
        ]
    assert server.questions == []


def test_nobody_answers_on_the_radius_port() -> None:
    with datagrams(lambda question: None) as port:
        pass
    assert run_script(radius_script(', "retry" => 0'), port=port) == ["-1"]


# ------------------------------------------------------------ TACACS+


def pad(session: bytes, secret: bytes, version: int, number: int, body: bytes) -> bytes:
    """RFC 8907 section 4.5."""
    stream, last = b"", b""
    while len(stream) < len(body):
        last = hashlib.md5(session + secret + bytes([version]) + bytes([number]) + last).digest()
        stream += last
    return bytes(a ^ b for a, b in zip(body, stream, strict=False))


class TacplusServer:
    """Answers one question with a body; `change` makes something of the whole answer."""

    def __init__(self, body: bytes, change: Callable[[bytes], bytes] = bytes) -> None:
        self.body = body
        self.change = change
        self.questions: list[tuple[bytes, bytes]] = []

    def __call__(self, connection: socket.socket) -> None:
        head = b""
        while len(head) < 12:
            head += connection.recv(12 - len(head))
        size = struct.unpack(">I", head[8:])[0]
        body = b""
        while len(body) < size:
            body += connection.recv(size - len(body))
        self.questions.append((head, pad(head[4:8], b"shared", head[0], 1, body)))
        answer = bytes([head[0], head[1], 2, 0]) + head[4:8] + struct.pack(">I", len(self.body))
        connection.sendall(self.change(answer + pad(head[4:8], b"shared", head[0], 2, self.body)))


TACPLUS = '$s = ["host" => "127.0.0.1", "port" => $port, "secret" => "shared", "timeout" => 0.5, "clientip" => "::1"];'
AUTHEN = TACPLUS + 'echo tacplus_authen($s, "user", "secret");'
AUTHOR = TACPLUS + 'echo tacplus_author($s, "user", ["service=smtp", "x*1"]);'


def other_session(answer: bytes) -> bytes:
    return answer[:4] + bytes(4) + answer[8:]


@pytest.mark.parametrize(
    ("server", "value"),
    [
        (TacplusServer(b"\x01\x00\x00\x00\x00\x00"), "1"),
        (TacplusServer(b"\x02\x00\x00\x02\x00\x00no"), "0"),
        (TacplusServer(b"\x07\x00\x00\x00\x00\x00"), "-1"),
        (TacplusServer(b"\x05\x00\x00\x00\x00\x00"), "-1"),
        (TacplusServer(b""), "-1"),
        (TacplusServer(b"\x01\x00\x00\x00\x00\x00", other_session), "-1"),
        (TacplusServer(b"\x01\x00\x00\x00\x00\x00", lambda answer: answer[:3] + b"\x01" + answer[4:]), "-1"),
        (TacplusServer(b"\x01\x00\x00\x00\x00\x00", lambda answer: answer[:10]), "-1"),
        (TacplusServer(b"\x01\x00\x00\x00\x00\x00", lambda answer: answer[:8] + b"\xff\xff\xff\xff"), "-1"),
    ],
)
def test_tacplus_passwords(server: TacplusServer, value: str) -> None:
    with peer(server) as found:
        assert run_script(AUTHEN, port=found.port) == [value]
    head, body = server.questions[0]
    assert head[:4] == b"\xc1\x01\x01\x00"
    assert body == b"\x01\x00\x02\x01\x04\x04\x03\x06usersmtp::1secret"


@pytest.mark.parametrize(
    ("body", "printed"),
    [
        (b"\x01\x02\x00\x02\x00\x01\x03\x05hi!a=bcd*ef", '[0=>"a=b",1=>"cd*ef"]'),
        (b"\x02\x00\x00\x00\x00\x00", "[]"),
        (b"\x10\x00\x00\x00\x00\x00", "0"),
        (b"\x11\x00\x00\x00\x00\x00", "-1"),
        (b"\x01\x02\x00\x00\x00\x00\x03", "-1"),
        (b"\x01\x01\x00\x00\x00\x00\xffabc", "-1"),
        (b"", "-1"),
    ],
)
def test_tacplus_attributes(body: bytes, printed: str) -> None:
    server = TacplusServer(body)
    with peer(server) as found:
        assert run_script(AUTHOR, port=found.port) == [printed]
    head, asked = server.questions[0]
    assert head[:4] == b"\xc0\x02\x01\x00"
    assert asked == b"\x00\x00\x02\x01\x04\x04\x03\x02\x0c\x03usersmtp::1service=smtpx*1"


def test_what_tacplus_cannot_be_told_is_no() -> None:
    text = TACPLUS + 'echo [tacplus_authen($s, str_repeat("x", 256), "p"), tacplus_author($s, "", [])];'
    assert run_script(text, port=1.0) == ["[0=>0,1=>0]"]


def test_a_long_body_is_obfuscated_in_chains() -> None:
    exchange = tacplus.Exchange(tacplus.AUTHEN, b"shared")
    body = bytes(range(256))
    packet = exchange.packet(body)
    assert pad(exchange.session, b"shared", 0xC1, 1, packet[12:]) == body
