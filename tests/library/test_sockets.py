"""Socket and TLSSocket against real peers: what is sent and received, waits, limits, the policy, certificates."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from loopback import Peer, Serve, await_script, peer, receive_all, receive_line, run_script

from hsl.errors import BudgetError, ScriptError
from hsl.library.channels import MAX_OPEN
from hsl.library.network import NotPermitted
from hsl.library.sockets import SocketResource
from hsl.library.tls import matches, read_protocols
from hsl.run import Run
from hsl.runtime.network import NetworkPolicy, ScriptNetwork
from hsl.runtime.plainhost import PlainHost

CONNECT = '$s = Socket("AF_INET", "SOCK_STREAM")->settimeout(10)->connect("127.0.0.1", $port);\n'


class Host(PlainHost):
    """A plain host whose network has a policy of the test's."""

    def __init__(self, **policy: Any) -> None:
        super().__init__()
        self.__dict__["network"] = ScriptNetwork(NetworkPolicy(**policy))


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def echo_back(connection: socket.socket) -> None:
    connection.sendall(receive_all(connection))


@pytest.mark.parametrize("data", ["Hello", "", "\\x00\\xff", "\\xc3"])
def test_what_is_sent_comes_back(data: str) -> None:
    text = CONNECT + f'$data = "{data}"; echo $s->send($data) == length($data); $s->shutdown("SHUT_WR");'
    text += '$got = ""; while ($piece = $s->recv(1000)) $got .= $piece; echo $got == $data; echo $s->recv(10) === "";'
    with peer(echo_back) as found:
        assert run_script(text, port=found.port) == ["true", "true", "true"]


def test_ten_megabytes_go_both_ways() -> None:
    received = b""

    def swap(connection: socket.socket) -> None:
        nonlocal received
        received = receive_all(connection)
        connection.sendall(received)

    text = CONNECT + '$data = str_repeat("0123456789", 1000000); echo $s->send($data); $s->shutdown("SHUT_WR");'
    text += 'echo $s->recv(20000000, ["MSG_WAITALL"]) == $data;'
    with peer(swap) as found:
        assert run_script(text, port=found.port) == ["10000000", "true"]
    assert received == b"0123456789" * 1_000_000


@pytest.mark.parametrize(
    ("receive", "printed"),
    [
        ("$s->recv(3)", "abc"),
        ("$s->recv(0)", ""),
        ('$s->recv(2, ["MSG_PEEK"]) . $s->recv(3)', "ababc"),
        ('$s->recv(2, "MSG_PEEK") . $s->recv(3)', "ababc"),
        ('$s->recv(6, ["MSG_WAITALL"])', "abcdef"),
        ('$s->recv(100, ["MSG_WAITALL"])', "abcdef"),
    ],
)
def test_flags(receive: str, printed: str) -> None:
    def two_pieces(connection: socket.socket) -> None:
        connection.sendall(b"abc")
        receive_line(connection)
        connection.sendall(b"def")

    text = CONNECT + f'$s->recv(3, "MSG_PEEK"); $s->send("go\\n"); echo {receive};'
    with peer(two_pieces) as found:
        assert run_script(text, port=found.port) == [printed]


def wait_for_end(connection: socket.socket) -> None:
    receive_all(connection)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ('echo $s->recv(10, ["MSG_DONTWAIT"]); echo $s->errno();', ["none", str(errno.EAGAIN)]),
        ('$s->settimeout(0.01); echo $s->recv(10); echo $s->errno();', ["none", str(errno.EAGAIN)]),
        ('$s->close(); echo $s->recv(10); echo $s->errno();', ["none", str(errno.EBADF)]),
        ('$s->close(); echo $s->send("x"); echo $s->errno();', ["none", str(errno.EBADF)]),
        ('$s->close(); echo $s->close(); echo $s->errno();', ["none", str(errno.EBADF)]),
        ('echo $s->connect("127.0.0.1", $port); echo $s->errno();', ["none", str(errno.EISCONN)]),
        ('echo $s->connect("::1", $port); echo $s->errno();', ["none", str(errno.EAFNOSUPPORT)]),
        ('$s->shutdown("SHUT_WR"); echo $s->send("x"); echo $s->errno();', ["none", str(errno.EPIPE)]),
        ('echo $s->errno();', ["0"]),
        ('echo $s->shutdown("SHUT_RD") === $s; echo $s->close() === $s;', ["true", "true"]),
    ],
)  # fmt: skip
def test_errors_give_none_and_a_number(text: str, printed: list[str]) -> None:
    with peer(wait_for_end) as found:
        assert run_script(CONNECT + text, port=found.port) == printed


def test_a_full_peer_stops_send_half_way() -> None:
    done = threading.Event()

    def never_read(connection: socket.socket) -> None:
        done.wait(20)

    text = CONNECT + '$s->settimeout(0.05); $n = $s->send(str_repeat("x", 60000000)); echo $n > 0 and $n < 60000000;'
    with peer(never_read) as found:
        try:
            text += '$more = str_repeat("x", 1000000); while ($s->send($more)) {} echo $s->errno();'
            assert run_script(text, port=found.port) == ["true", "11"]
        finally:
            done.set()


def test_a_refused_connection() -> None:
    with peer(echo_back) as found:
        port = found.port
    text = '$s = Socket("AF_INET", "SOCK_STREAM"); echo $s->connect("127.0.0.1", $port); echo $s->errno();'
    assert run_script(text, port=port) == ["none", str(errno.ECONNREFUSED)]


def test_a_connection_that_is_not_accepted_times_out() -> None:
    """The listener's queue is full: the system drops what comes."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for sock in (first, second):
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        text = '$s = Socket("AF_INET", "SOCK_STREAM")->settimeout(0.05);'
        text += 'echo $s->connect("127.0.0.1", $port); echo $s->errno();'
        assert run_script(text, port=float(listener.getsockname()[1])) == ["none", str(errno.ETIMEDOUT)]


def test_ipv6_and_datagrams_and_local_addresses() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("::1", 0))
        sock.settimeout(20)
        seen: list[bytes] = []

        def answer() -> None:
            for reply in (b"one", b""):
                data, sender = sock.recvfrom(100)
                seen.append(data)
                sock.sendto(reply, sender)

        thread = threading.Thread(target=answer)
        thread.start()
        text = '$s = Socket("AF_INET6", "SOCK_DGRAM")->settimeout(10)->bind("::1")->connect("::1", $port);'
        text += 'foreach (["x", ""] as $d) { echo $s->send($d); echo $s->recv(2) . "."; }'
        assert run_script(text, port=float(sock.getsockname()[1])) == ["1", "on.", "0", "."]
        thread.join(20)
    assert seen == [b"x", b""]


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ('echo $s->bind("192.0.2.1"); echo $s->errno();', ["none", str(errno.EADDRNOTAVAIL)]),
        ('echo $s->bind("192.0.2.1", 0, ["nonlocal" => true]) === $s;', ["true"]),
        ('echo $s->bind("127.0.0.1") === $s; echo $s->bind("127.0.0.1"); echo $s->errno();', ["true", "none", "22"]),
        ('echo $s->bind("::1"); echo $s->errno();', ["none", str(errno.EAFNOSUPPORT)]),
    ],
)
def test_bind(text: str, printed: list[str]) -> None:
    for kind in ("SOCK_STREAM", "SOCK_DGRAM"):
        assert run_script(f'$s = Socket("AF_INET", "{kind}"); {text}') == printed


def test_unix_sockets_are_those_that_are_permitted(tmp_path: Path) -> None:
    place = str(tmp_path / "peer.sock")
    text = '$s = Socket("AF_UNIX", "SOCK_STREAM")->connect($place); $s->send("x"); $s->shutdown("SHUT_WR");'
    text += "echo $s->recv(10);"
    with peer(echo_back, socket.AF_UNIX, place):
        for name in (place, f"{tmp_path}/./peer.sock", f"{tmp_path}/missing/../peer.sock"):
            assert run_script(text, Host(unix=[place]), place=name.encode()) == ["x"]
        with pytest.raises(NotPermitted, match=r"peer\.sock"):
            run_script(text, place=place.encode())
    with pytest.raises(NotPermitted, match="other"):
        run_script('Socket("AF_UNIX", "SOCK_DGRAM")->bind("/other");', Host(unix=[place]))


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "169.254.0.1", "224.0.0.1", "100.100.100.200", "10.1.2.3"]
)  # fmt: skip
@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM"])
def test_the_policy_is_asked(address: str, kind: str) -> None:
    host = Host(deny=["10.0.0.0/8"])
    with pytest.raises(NotPermitted, match="not permitted"):
        run_script(f'Socket("AF_INET", "{kind}")->connect("{address}", 80);', host)
    with pytest.raises(NotPermitted):
        run_script(f'Socket("AF_INET6", "{kind}")->connect("::ffff:{address}", 80);', host)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('Socket("AF_INET7", "SOCK_STREAM");', r"parameter 1 \(family\): wanted AF_INET, AF_INET6, AF_UNIX, got"),
        ('Socket("AF_INET", "SOCK_RAW");', r"parameter 2 \(type\): wanted SOCK_STREAM, SOCK_DGRAM, got 'SOCK_RAW'"),
        ('Socket("AF_INET", "SOCK_STREAM")->connect("localhost", 1);', "wanted an IP address"),
        ('Socket("AF_INET", "SOCK_STREAM")->connect("127.0.0.1\\x00", 1);', "wanted an IP address"),
        ('Socket("AF_INET", "SOCK_STREAM")->connect("127.0.0.1", 65536);', "wanted 0 to 65535, got 65536"),
        ('Socket("AF_UNIX", "SOCK_STREAM")->connect("name");', "wanted an absolute path"),
        ('Socket("AF_INET", "SOCK_STREAM")->bind("eth0");', "wanted an IP address"),
        ('Socket("AF_INET", "SOCK_STREAM")->recv(-1);', "wanted 0 or more, got -1"),
        ('Socket("AF_INET", "SOCK_STREAM")->recv(10000000000);', "string"),
        ('Socket("AF_INET", "SOCK_STREAM")->recv(1, ["MSG_OOB"]);', "MSG_PEEK, MSG_WAITALL, MSG_DONTWAIT, got"),
        ('Socket("AF_INET", "SOCK_STREAM")->settimeout(-1);', "wanted 0 or more, got -1"),
        ('Socket("AF_INET", "SOCK_STREAM")->shutdown("SHUT");', "wanted SHUT_RD, SHUT_WR, SHUT_RDWR"),
        ('TLSSocket(Socket("AF_INET", "SOCK_DGRAM"), []);', "of type SOCK_STREAM, got a datagram Socket"),
        ('TLSSocket(File::String(""), []);', "wanted a Socket of type SOCK_STREAM, got File"),
        ('TLSSocket(Socket("AF_INET", "SOCK_STREAM"), ["tls_protocols" => "TLSv1.4"]);', "got 'TLSv1.4'"),
        ('TLSSocket(Socket("AF_INET", "SOCK_STREAM"), ["tls_protocols" => "SSLv3"]);', "none is left"),
        ('TLSSocket(Socket("AF_INET", "SOCK_STREAM"), ["tls_protocols" => "!TLSv1.2"]);', "between two others"),
        ('TLSSocket(Socket("AF_INET", "SOCK_STREAM"), ["tls_ciphers" => "no-such"]);', "OpenSSL knows none"),
        ('TLSSocket(Socket("AF_INET", "SOCK_STREAM"), ["tls_client_cert" => "pki:1"]);', "give the PEM text"),
        ('TLSSocket(Socket("AF_INET", "SOCK_STREAM"), ["tls_client_cert" => "x"]);', "as PEM text"),
        ('TLSSocket(Socket("AF_INET", "SOCK_STREAM"), ["tls_sni" => "a b"]);', "tls_sni: wanted a host name"),
        ('TLSSocket(Socket("AF_INET", "SOCK_STREAM"), ["tls_verify_name" => [""]]);', "wanted host names"),
    ],
)  # fmt: skip
def test_wrong_values(text: str, message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        run_script(text)


def test_no_run_holds_more_than_so_many_sockets() -> None:
    before = open_descriptors()
    with pytest.raises(ScriptError, match=rf"Socket\(\): {MAX_OPEN} sockets are open already"):
        run_script('$all = []; for ($i = 0; $i < 200; $i += 1) $all[] = Socket("AF_INET", "SOCK_STREAM");')
    assert open_descriptors() == before
    text = 'for ($i = 0; $i < 300; $i += 1) $s = Socket("AF_INET", "SOCK_STREAM"); echo $i;'
    assert run_script(text) == ["300"]


def test_the_end_of_a_run_closes_its_sockets() -> None:
    ended = threading.Event()

    def until_end(connection: socket.socket) -> None:
        assert receive_all(connection) == b""
        ended.set()

    with peer(until_end) as found:
        with pytest.raises(ScriptError, match="thrown"):
            run_script(CONNECT + 'throw Exception("thrown");', port=found.port)
        assert ended.wait(20)


def test_a_wait_ends_with_the_scripts_time() -> None:
    with peer(wait_for_end) as found, pytest.raises(BudgetError, match=r"0\.2 seconds"):
        run_script(CONNECT + "$s->settimeout(0); $s->recv(1);", seconds=0.2, port=found.port)


def test_one_script_that_waits_stops_no_other() -> None:
    """The second script's words are what the first one waits for."""
    arrived = threading.Barrier(2, timeout=20)
    words: list[bytes] = []

    def relay(connection: socket.socket) -> None:
        words.append(receive_line(connection))
        arrived.wait()
        connection.sendall(b"seen")

    async def both(first: Peer, second: Peer) -> list[list[str]]:
        text = CONNECT + '$s->send("$word\\n"); echo $s->recv(10);'
        host = PlainHost()
        scripts = [
            await_script(text, host, port=found.port, word=word) for found, word in ((first, b"a"), (second, b"b"))
        ]
        return await asyncio.gather(*scripts)

    with peer(relay) as first, peer(relay) as second:
        assert asyncio.run(both(first, second)) == [["seen"], ["seen"]]
    assert sorted(words) == [b"a\n", b"b\n"]


def test_two_scripts_cannot_wait_for_one_socket() -> None:
    async def both(port: float) -> list[object]:
        host = PlainHost()
        shared = []

        async def second() -> object:
            while not shared:
                await asyncio.sleep(0)
            return await await_script("$s->recv(1);", host, s=shared[0])

        from snippets import load

        run = Run(load(CONNECT + "$s->settimeout(0.3); $s->recv(1);"), host=host)
        run.set_variable("port", port)
        first = asyncio.ensure_future(run.execute_async())
        while run.variable("s") is None:
            await asyncio.sleep(0)
        shared.append(run.variable("s"))
        return await asyncio.gather(first, second(), return_exceptions=True)

    with peer(wait_for_end) as found:
        first, second = asyncio.run(both(found.port))
    assert first is None
    assert "another script is waiting" in str(second)


def test_a_connection_of_the_host() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        text = '$s = Socket::Resource($r)->settimeout(5); echo $s->recv(10); $s->send("back");'
        theirs.sendall(b"hello")
        assert run_script(text, r=SocketResource(ours)) == ["hello"]
        assert theirs.recv(10) == b"back"
        assert ours.fileno() >= 0
    assert run_script("echo Socket::Resource($r);", r=SocketResource(ours)) == ["none"]


@pytest.mark.parametrize(
    ("address", "family"),
    [("127.0.0.1", "AF_INET"), ("::1", "AF_INET6"), ("fe80::1%eth0", "AF_INET6"), ("/tmp/x", "none"), ("", "none"),
     ("256.0.0.1", "none"), ("\\xff", "none"), ("example.com", "none")],
)  # fmt: skip
def test_the_family_of_an_address(address: str, family: str) -> None:
    assert run_script(f'echo Socket::AF("{address}");') == [family]


# ------------------------------------------------------------ TLS

HANDSHAKE = CONNECT + "$t = TLSSocket($s, $options);\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's authority is the one that this system knows."""
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def over_tls(context: ssl.SSLContext, serve: Serve) -> Serve:
    """The same service over TLS; clients that give up are none of its errors."""

    def wrapped(connection: socket.socket) -> None:
        try:
            with context.wrap_socket(connection, server_side=True) as secured:
                serve(secured)
        except (ssl.SSLError, ConnectionError):
            pass

    return wrapped


@pytest.fixture
def tls_echo(authority: trustme.CA) -> Iterator[Peer]:
    """Answers each line with `got: LINE` until the client ends TLS, then ends it too."""

    def answer(connection: socket.socket) -> None:
        assert isinstance(connection, ssl.SSLSocket)
        while line := connection.recv(65536):
            connection.sendall(b"got: " + line)
        connection.unwrap().close()

    with peer(over_tls(server_context(authority, "mail.example.com", "*.wild.example.com"), answer)) as found:
        yield found


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("written", "works"),
    [
        ("[]", True),
        ('["tls_verify_ca" => true]', True),
        ('["tls_verify_ca" => true, "tls_default_ca" => true, "tls_verify_name" => ["mail.example.com"]]', True),
        ('["tls_verify_name" => ["other.example.com", "MAIL.example.com"]]', True),
        ('["tls_verify_name" => ["x.wild.example.com"]]', True),
        ('["tls_verify_name" => [".example.com"]]', True),
        ('["tls_verify_name" => ["x.y.wild.example.com"]]', False),
        ('["tls_verify_name" => ["example.com"]]', False),
        ('["tls_verify_ca" => true, "tls_verify_name" => ["other.example.com"]]', False),
        ('["tls_protocols" => "TLSv1.2"]', True),
        ('["tls_protocols" => "TLSv1.2,TLSv1.3"]', True),
        ('["tls_protocols" => "!TLSv1.3"]', True),
        ('["tls_ciphers" => "ECDHE+AESGCM"]', True),
    ],
)
def test_handshakes(tls_echo: Peer, written: str, works: bool) -> None:
    text = HANDSHAKE.replace("$options", written) + "echo $t->handshake() === $t; echo $t->errno();"
    assert run_script(text, port=tls_echo.port) == (["true", "0"] if works else ["false", "1"])


def test_an_unknown_authority_is_refused(tls_echo: Peer) -> None:
    text = HANDSHAKE.replace("$options", '["tls_verify_ca" => true]') + "echo $t->handshake(); echo $t->errno();"
    text += 'echo $t->send("x"); echo $t->recv(1);'
    assert run_script(text, port=tls_echo.port) == ["none", "1", "none", "none"]


def test_names_that_fail_leave_nothing_to_be_sent(tls_echo: Peer) -> None:
    text = HANDSHAKE.replace("$options", '["tls_verify_name" => ["x.org"]]') + 'echo $t->send("x"); echo $t->send("x");'
    assert run_script(text, port=tls_echo.port) == ["none", "none"]


def test_bytes_over_tls_and_its_end(tls_echo: Peer) -> None:
    text = (
        HANDSHAKE.replace("$options", "[]") + 'echo $t->send("a\\x00\\xff"); echo $t->recv(100) == "got: a\\x00\\xff";'
    )
    text += 'echo $t->shutdown(); echo $t->shutdown(); echo $t->recv(1) === ""; echo $t->toSocket() === $s;'
    assert run_script(text, port=tls_echo.port) == ["3", "true", "0", "1", "true", "true"]


def test_ten_megabytes_over_tls(authority: trustme.CA) -> None:
    def swap(connection: socket.socket) -> None:
        data = b""
        while len(data) < 10_000_000:
            data += connection.recv(1 << 20)
        connection.sendall(data)

    text = HANDSHAKE.replace("$options", "[]") + '$data = str_repeat("0123456789", 1000000); echo $t->send($data);'
    text += (
        '$got = ""; while (length($got) < 10000000 and $piece = $t->recv(65536)) $got .= $piece; echo $got == $data;'
    )
    with peer(over_tls(server_context(authority, "mail.example.com"), swap)) as found:
        assert run_script(text, port=found.port) == ["10000000", "true"]


def test_a_timeout_over_tls_can_be_followed_by_more(authority: trustme.CA) -> None:
    def late(connection: socket.socket) -> None:
        receive_line(connection)
        connection.sendall(b"late")

    text = HANDSHAKE.replace("$options", "[]") + "$t->handshake(); $s->settimeout(0.01);"
    text += (
        'echo $t->recv(10); echo [$t->errno(), $s->errno()]; $s->settimeout(10); $t->send("go\\n"); echo $t->recv(10);'
    )
    with peer(over_tls(server_context(authority, "mail.example.com"), late)) as found:
        assert run_script(text, port=found.port) == ["none", "[0=>2,1=>11]", "late"]


def test_a_connection_that_breaks_off_is_no_end(authority: trustme.CA) -> None:
    def cut(connection: socket.socket) -> None:
        connection.sendall(b"half")
        os.close(connection.detach())

    text = HANDSHAKE.replace("$options", "[]") + "echo $t->recv(10); echo $t->recv(10); echo $t->errno();"
    with peer(over_tls(server_context(authority, "mail.example.com"), cut)) as found:
        assert run_script(text, port=found.port) == ["half", "none", "5"]


def test_a_peer_without_tls_fails_the_handshake() -> None:
    def plain(connection: socket.socket) -> None:
        connection.sendall(b"220 mail.example.com ESMTP\r\n")
        connection.recv(1000)

    text = HANDSHAKE.replace("$options", "[]") + "echo $t->handshake(); echo $t->errno();"
    with peer(plain) as found:
        assert run_script(text, port=found.port) == ["none", "1"]


def test_sni_and_a_client_certificate(authority: trustme.CA) -> None:
    context = server_context(authority, "mail.example.com")
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    asked: list[str | None] = []
    context.sni_callback = lambda connection, name, _: asked.append(name)
    seen: list[Any] = []

    def look(connection: socket.socket) -> None:
        assert isinstance(connection, ssl.SSLSocket)
        seen.append(connection.getpeercert())
        connection.sendall(b"hello")

    client = authority.issue_cert("client.example.com")
    pem = b"".join(blob.bytes() for blob in client.cert_chain_pems) + client.private_key_pem.bytes()
    text = HANDSHAKE.replace("$options", '["tls_sni" => "Mail.example.com", "tls_client_cert" => $pem]')
    before = open_descriptors()
    with peer(over_tls(context, look)) as found:
        assert run_script(text + "echo $t->recv(10);", port=found.port, pem=pem) == ["hello"]
    assert asked == ["mail.example.com"]
    assert seen[0]["subjectAltName"] == (("DNS", "client.example.com"),)
    assert open_descriptors() == before


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("a.example.com", "a.example.com", True),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "a.b.example.com", False),
        ("*.com", "example.com", False),
        ("*", "example", False),
        ("a*.example.com", "ab.example.com", False),
        ("a.example.com", ".example.com", True),
        ("*.example.com", ".example.com", False),
        ("a.b.example.com", ".example.com", False),
        ("example.com", ".example.com", False),
    ],
)
def test_names_of_certificates(pattern: str, name: str, fits: bool) -> None:
    assert matches(pattern, name) is fits


@pytest.mark.parametrize(
    ("written", "named", "allowed"),
    [
        (b"!SSLv2,!SSLv3", False, {"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"}),
        (b"TLSv1.2", True, {"TLSv1.2"}),
        (b"TLSv1.2, TLSv1.3", True, {"TLSv1.2", "TLSv1.3"}),
        (b"TLSv1,TLSv1.2,!TLSv1", True, {"TLSv1.2"}),
    ],
)
def test_lists_of_protocols(written: bytes, named: bool, allowed: set[str]) -> None:
    found, left = read_protocols("f", written)
    assert (found, left - {"SSLv2", "SSLv3"}) == (named, allowed)


def test_only_the_protocols_that_are_allowed_are_used(authority: trustme.CA) -> None:
    versions: list[str | None] = []

    def note(connection: socket.socket) -> None:
        assert isinstance(connection, ssl.SSLSocket)
        versions.append(connection.version())
        connection.sendall(b"x")

    context = server_context(authority, "mail.example.com")
    with peer(over_tls(context, note)) as found:
        for protocols in ("TLSv1.2", "!TLSv1.3", "TLSv1.1,TLSv1.2", "TLSv1.3"):
            text = HANDSHAKE.replace("$options", f'["tls_protocols" => "{protocols}"]') + "echo $t->recv(1);"
            assert run_script(text, port=found.port) == ["x"]
    assert versions == ["TLSv1.2", "TLSv1.2", "TLSv1.2", "TLSv1.3"]


def test_the_peers_certificate(tls_echo: Peer) -> None:
    text = HANDSHAKE.replace("$options", "[]") + "echo $t->getpeerx509(); $t->handshake();"
    text += "echo $t->getpeerx509()->subject_alt_name();"
    printed = run_script(text, port=tls_echo.port)
    assert printed[0] == "none"
    assert "mail.example.com" in printed[1]
