"""LDAP against slapd and against scripted servers; filters and names against libldap."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme
from directory import ADMIN, BASE, PASSWORD, Slapd, slapd
from loopback import await_script, peer, run_script

from hsl.errors import BudgetError, ScriptError
from hsl.library import ldapwire as wire
from hsl.library.ldap import LDAPProfile
from hsl.library.ldaperrors import MESSAGES
from hsl.library.network import NotPermitted
from hsl.runtime.network import NetworkPolicy, ScriptNetwork
from hsl.runtime.plainhost import PlainHost

PEOPLE = f"ou=people,{BASE}"
TESLA = f"uid=tesla,{PEOPLE}"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def directory(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with slapd(tmp_path_factory.mktemp("slapd"), authority) as server:
        yield server


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's authority is the one that this system knows."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))


Ask = Callable[..., list[str]]


@pytest.fixture
def ask(directory: Slapd) -> Ask:
    """Run a script that has an LDAP of the directory in $l."""

    def run(text: str, host: object = None, **variables: Any) -> list[str]:
        start = f'$uri = "ldap://127.0.0.1:{directory.port}"; $l = LDAP($uri); $l->setoption("timeout", 10);'
        start += f'$tls = "ldaps://localhost:{directory.tls_port}"; $base = "{BASE}"; $tesla = "{TESLA}";'
        return run_script(start + text, host, **variables)

    return run


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("echo $l->bind() === $l; echo $l->errno();", ["true", "0"]),
        (f'echo $l->bind("{ADMIN}", "{PASSWORD}") === $l;', ["true"]),
        ('echo $l->bind($tesla, "coil") === $l;', ["true"]),
        ('echo $l->bind($tesla, "wrong"); echo $l->errno();', ["none", "49"]),
        ('echo $l->bind($tesla, ""); echo $l->errno();', ["none", "49"]),
        ("echo $l->bind($tesla); echo $l->errno();", ["none", "49"]),
        ('echo $l->bind("uid=nobody,$base", "x"); echo $l->errno();', ["none", "49"]),
        ('echo $l->bind("not a name", "x"); echo LDAP::err2string($l->errno());', ["none", "Invalid DN syntax"]),
        ("$l->bind(); echo $l->unbind() === $l; echo $l->errno(); echo $l->bind(); echo $l->errno();",
         ["true", "0", "none", "-1"]),
    ],
)  # fmt: skip
def test_bind(ask: Ask, text: str, printed: list[str]) -> None:
    assert ask(text) == printed


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ("$base", [BASE, PEOPLE, TESLA, f"uid=curie,{PEOPLE}"]),
        ('$base, ["scope" => "base"]', [BASE]),
        ('$base, ["scope" => "one"]', [PEOPLE]),
        ('$base, ["filter" => "(uid=tesla)"]', [TESLA]),
        ('$base, ["filter" => "uid=tesla"]', [TESLA]),
        ('$base, ["filter" => "(&(objectClass=inetOrgPerson)(!(uid=tesla)))"]', [f"uid=curie,{PEOPLE}"]),
        ('$base, ["filter" => "(|(sn=Tesla)(sn=Curie))"]', [TESLA, f"uid=curie,{PEOPLE}"]),
        ('$base, ["filter" => "(mail=*ikola*ample*)"]', [TESLA]),
        ('$base, ["filter" => "(mail=nik*com)"]', [TESLA]),
        ('$base, ["filter" => "(sn=*)"]', [TESLA, f"uid=curie,{PEOPLE}"]),
        ('$base, ["filter" => "(sn~=Tesla)"]', [TESLA]),
        ('$base, ["filter" => "(sn:caseExactMatch:=Tesla)"]', [TESLA]),
        ('$base, ["filter" => "(sn:caseExactMatch:=tesla)"]', []),
        ('$base, ["filter" => "(ou:dn:=people)"]', [PEOPLE, TESLA, f"uid=curie,{PEOPLE}"]),
        ('$base, ["filter" => "(cn=" . LDAP::filter_escape("Marie (Curie)*") . ")"]', [f"uid=curie,{PEOPLE}"]),
        ('$base, ["filter" => "(cn=" . LDAP::filter_escape("Marie*") . ")"]', []),
        ('$base, ["filter" => "(uid=nobody)"]', []),
        ('$base, ["filter" => "(&)"]', [BASE, PEOPLE, TESLA, f"uid=curie,{PEOPLE}"]),
        ('$base, ["filter" => "(|)"]', []),
    ],
)
def test_search(ask: Ask, arguments: str, names: list[str]) -> None:
    assert ask(f'foreach ($l->search({arguments}) as $entry) echo $entry["dn"];') == names


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ('$r = $l->search($tesla, ["attributes" => ["mail", "sn"]]); echo $r->next(); echo $r->next();',
         [f'["dn"=>"{TESLA}","sn"=>[0=>"Tesla"],"mail"=>[0=>"tesla@example.com",1=>"nikola@example.com"]]', "none"]),
        ('$r = $l->search("uid=curie,ou=people,$base", ["attributes" => ["jpegPhoto"]]);'
         'echo base64_encode($r->next()["jpegPhoto"][0]);', ["AP8KQw=="]),
        ('$r = $l->search($tesla, ["attributes" => ["1.1"]]); echo $r->next();', [f'["dn"=>"{TESLA}"]']),
        ('echo $l->search("ou=gone,$base"); echo $l->errno();', ["none", "32"]),
        ('echo $l->search($base, ["filter" => "(uid="]); echo $l->errno();', ["none", "-7"]),
        ('$r = $l->search($base); $r->next(); $n = 0; foreach ($r as $k => $e) $n += 1; echo [$n, $r->next()];',
         ["[0=>3,1=>none]"]),
        ('echo $l->setoption("timelimit", 5) === $l; echo is_object($l->search($base));', ["true", "true"]),
    ],
)  # fmt: skip
def test_entries_and_failures(ask: Ask, text: str, printed: list[str]) -> None:
    assert ask(text) == printed


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("$l = LDAP($tls); echo $l->bind() === $l;", ["true"]),
        ('$l = LDAP($tls); $l->bind(); foreach ($l->search($tesla) as $e) echo $e["dn"];', [TESLA]),
        ('$l = LDAP(str_replace("localhost", "127.0.0.1", $tls)); echo $l->bind(); echo $l->errno();', ["none", "-1"]),
        ('$l = LDAP(str_replace("localhost", "127.0.0.1", $tls)); $l->setoption("tls_verify_peer", false);'
         "echo $l->bind() === $l;", ["true"]),
        ('$l = LDAP(str_replace("127.0.0.1", "localhost", $uri)); echo $l->starttls() === $l;'
         'echo $l->bind($tesla, "coil") === $l;', ["true", "true"]),
        ("echo $l->starttls(); echo LDAP::err2string($l->errno());", ["none", "Connect error"]),
        ('$l->setoption("tls_verify_peer", false); echo $l->starttls() === $l; echo $l->starttls();', ["true", "none"]),
    ],
)  # fmt: skip
def test_tls(ask: Ask, text: str, printed: list[str]) -> None:
    assert ask(text) == printed


def test_an_unknown_authority_is_refused(ask: Ask) -> None:
    assert ask("$l = LDAP($tls); echo $l->bind(); echo $l->errno();") == ["none", "-1"]


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("network_timeout", "5", True), ("timeout", "0.5", True), ("timelimit", "9", True),
        ("referrals", "false", True),
        ("protocol_version", "3", True), ("tls_verify_peer", "true", True), ("tls_default_ca", "true", True),
        ("protocol_version", "2", False), ("referrals", "true", False), ("timeout", "-1", False),
    ],
)  # fmt: skip
def test_options(name: str, value: str, taken: bool) -> None:
    text = f'$l = LDAP("ldap://127.0.0.1"); echo $l->setoption("{name}", {value}) === $l; echo $l->errno();'
    assert run_script(text) == (["true", "0"] if taken else ["false", "-12"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('LDAP("");', "wanted ldap://host or ldaps://host, got an empty string"),
        ('LDAP("http://x");', "got 'http://x'"),
        ('LDAP("ldap://a ldapi://b");', "got 'ldapi://b'"),
        ('LDAP("ldap://a:99999");', "got 'ldap://a:99999'"),
        ('LDAP("ldap://a")->setoption("timeot", 1);', "there is no option 'timeot'"),
        ('LDAP("ldap://a")->search("", ["scope" => "all"]);', "option scope: wanted sub, one or base, got 'all'"),
        ('ldap_bind("none", "u", "p");', r"there is no profile 'none' \(scripting\.ldap\)"),
        ('ldap_search("none", "x");', "there is no profile 'none'"),
        ('LDAPResult();', "LDAPResult"),
    ],
)  # fmt: skip
def test_wrong_values(text: str, message: str) -> None:
    with pytest.raises(Exception, match=message):
        run_script(text)


def test_the_next_server_is_asked(directory: Slapd) -> None:
    with peer(lambda connection: None) as gone:
        port = int(gone.port)
    text = f'$l = LDAP("ldap://127.0.0.1:{port} ldap://127.0.0.1:{directory.port}"); echo $l->bind() === $l;'
    assert run_script(text) == ["true"]
    text = f'$l = LDAP("ldap://127.0.0.1:{port}"); echo $l->bind(); echo LDAP::err2string($l->errno());'
    assert run_script(text) == ["none", "Can't contact LDAP server"]


def test_the_policy_is_asked(directory: Slapd) -> None:
    host = PlainHost()
    host.__dict__["network"] = ScriptNetwork(NetworkPolicy(deny=["127.0.0.0/8"]))
    with pytest.raises(NotPermitted):
        run_script(f'LDAP("ldap://127.0.0.1:{directory.port}")->bind();', host)


# ------------------------------------------------------------ servers that misbehave


def request_of(connection: socket.socket) -> bytes:
    data = b""
    while not data or wire.header(data) is None or len(data) < wire.header(data)[1]:  # type: ignore[index]
        piece = connection.recv(65536)
        if not piece:
            return data
        data += piece
    return data


def result(number: int, operation: int, code: int) -> bytes:
    parts = wire.integer(code, wire.ENUMERATED), wire.tlv(wire.OCTETS), wire.tlv(wire.OCTETS)
    return wire.message(number, wire.tlv(operation, *parts))


BIND = '$l = LDAP("ldap://127.0.0.1:" . $port); $l->setoption("timeout", 0.2); echo $l->bind(); echo $l->errno();'


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "-1"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "-4"),
        (b"\x30\x84\xff\xff\xff\xff", "-4"),
        (b"\x30\x80\x00\x00", "-4"),
        (b"\x30\x03\x02\x05\x01", "-4"),
        (b"\x30\x05\x02\x01\x01\x61\x00", "-4"),
        (b"\x30\x0c\x02\x01\x01", "-1"),
        (result(0, wire.EXTENDED_DONE, 52), "-1"),
        (result(1, wire.BIND_DONE, 53), "53"),
        (result(7, wire.BIND_DONE, 0) + result(1, wire.BIND_DONE, 8), "8"),
    ],
)
def test_wrong_answers(answer: bytes, code: str) -> None:
    def serve(connection: socket.socket) -> None:
        request_of(connection)
        connection.sendall(answer)

    with peer(serve) as found:
        assert run_script(BIND, port=str(int(found.port)).encode()) == ["none", code]


def keep_silent(connection: socket.socket) -> None:
    """Until the client goes."""
    while connection.recv(65536):
        pass


def test_a_silent_server_times_out() -> None:
    with peer(keep_silent) as found:
        assert run_script(BIND, port=str(int(found.port)).encode()) == ["none", "-5"]
        with pytest.raises(BudgetError, match="seconds"):
            run_script(
                BIND.replace('$l->setoption("timeout", 0.2);', ""), None, 0.2, port=str(int(found.port)).encode()
            )


def test_an_endless_result_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    value = wire.tlv(wire.OCTETS, b"x" * 1_000_000)
    attribute = wire.tlv(wire.SEQUENCE, wire.tlv(wire.OCTETS, b"a"), wire.tlv(0x31, value))
    entry = wire.message(1, wire.tlv(wire.ENTRY, wire.tlv(wire.OCTETS, b"dc=x"), wire.tlv(wire.SEQUENCE, attribute)))

    def serve(connection: socket.socket) -> None:
        request_of(connection)
        try:
            while True:
                connection.sendall(entry)
        except ConnectionError:
            pass

    with peer(serve) as found, pytest.raises(ScriptError, match="more than 1000000 values or 67108864 bytes"):
        run_script('LDAP("ldap://127.0.0.1:" . $port)->search("");', port=str(int(found.port)).encode())


def test_more_values_than_may_be() -> None:
    values = wire.tlv(0x31, wire.tlv(wire.OCTETS) * 1_100_000)
    attribute = wire.tlv(wire.SEQUENCE, wire.tlv(wire.OCTETS, b"a"), values)
    entry = wire.message(1, wire.tlv(wire.ENTRY, wire.tlv(wire.OCTETS, b"dc=x"), wire.tlv(wire.SEQUENCE, attribute)))

    def serve(connection: socket.socket) -> None:
        request_of(connection)
        connection.sendall(entry)
        connection.recv(1)

    text = '$l = LDAP("ldap://127.0.0.1:" . $port); echo $l->search(""); echo $l->errno();'
    with peer(serve) as found:
        assert run_script(text, port=str(int(found.port)).encode()) == ["none", "-4"]


def test_bytes_before_tls_are_refused() -> None:
    def serve(connection: socket.socket) -> None:
        request_of(connection)
        connection.sendall(result(1, wire.EXTENDED_DONE, 0) + result(2, wire.BIND_DONE, 0))
        connection.recv(1)

    text = '$l = LDAP("ldap://127.0.0.1:" . $port); echo $l->starttls(); echo $l->errno();'
    with peer(serve) as found:
        assert run_script(text, port=str(int(found.port)).encode()) == ["none", "-4"]


def test_a_connection_that_was_lost_is_not_made_anew() -> None:
    """The new one would be without the first one's TLS and login: a password would go over it as it is."""
    requests: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        requests.append(request_of(connection))
        connection.sendall(result(1, wire.BIND_DONE, 0))

    text = '$l = LDAP("ldap://127.0.0.1:" . $port); echo $l->bind() === $l;'
    text += 'echo [$l->search(""), $l->bind("cn=a", "b"), $l->starttls(), $l->errno()];'
    with peer(serve) as found:
        port = str(int(found.port)).encode()
        assert run_script(text, port=port) == ["true", "[0=>none,1=>none,2=>none,3=>-1]"]
    assert len(requests) == 1


def test_one_script_that_waits_stops_no_other(directory: Slapd) -> None:
    async def both() -> list[list[str]]:
        host = PlainHost()
        with peer(keep_silent) as silent:
            waits = asyncio.ensure_future(await_script(BIND, host, port=str(int(silent.port)).encode()))
            other = await await_script(f'echo LDAP("ldap://127.0.0.1:{directory.port}")->bind() != none;', host)
            assert not waits.done()
            return [await waits, other]

    assert asyncio.run(both()) == [["none", "-5"], ["true"]]


# ------------------------------------------------------------ the older functions


class Host(PlainHost):
    def __init__(self, profiles: Mapping[str, LDAPProfile]) -> None:
        super().__init__()
        self.ldap = profiles


@pytest.fixture
def host(directory: Slapd) -> Host:
    uri = f"ldap://127.0.0.1:{directory.port}"
    return Host({"1": LDAPProfile(uri, TESLA, "coil", BASE, "(mail=%s)"), "anonymous": LDAPProfile(uri, base=BASE)})


@pytest.mark.parametrize(
    ("call", "printed"),
    [
        ('ldap_bind("1", $tesla, "coil")', "1"),
        ('ldap_bind("1", $tesla, "wrong")', "0"),
        ('ldap_bind("1", $tesla, "")', "0"),
        ('ldap_bind("1", "no name", "x")', "0"),
        ('ldap_bind("", $tesla, "coil", ["host" => $uri])', "1"),
        ('ldap_bind("1", $tesla, "coil", ["host" => "ldap://127.0.0.1:1"])', "-1"),
        ('ldap_search("1", "tesla@example.com")[0]["dn"]', TESLA),
        ('ldap_search("1", "tesla@*")', "[]"),
        ('ldap_search("1", "tesla@*", ["query" => "(mail=%x)"])[0]["dn"]', TESLA),
        ('ldap_search("1", ["tesla", "Tesla"], ["query" => "(&(uid=$1)(sn=$2)(!(uid=$3)))"])', "[]"),
        ('ldap_search("1", ["tesla", "Tesla"], ["query" => "(&(uid=$1)(sn=$2))"])[0]["dn"]', TESLA),
        ('ldap_search("1", "x", ["password" => "wrong"])', "-1"),
        ('ldap_search("1", "x", ["query" => "(mail="])', "-1"),
        ('ldap_search("1", "x", ["base" => "dc=gone"])', "-1"),
        ('length(ldap_search("anonymous", ""))', "4"),
        ('ldap_search("other", "tesla", ["host" => $uri, "base" => $base, "query" => "(uid=%s)"])[0]["dn"]', TESLA),
    ],
)
def test_older_functions(ask: Ask, host: Host, call: str, printed: str) -> None:
    assert ask(f"echo {call};".replace("(uid=$1)(sn=$2)", "(uid=\\$1)(sn=\\$2)").replace("$3", "\\$3"), host) == [
        printed
    ]


# ------------------------------------------------------------ filters and names


@pytest.fixture(scope="module")
def libldap() -> ctypes.CDLL:
    library = ctypes.CDLL("libldap-2.5.so.0")
    library.ldap_err2string.restype = ctypes.c_char_p
    library.ldap_str2dn.argtypes = (ctypes.c_char_p, ctypes.c_void_p, ctypes.c_uint)
    library.ldap_dn2str.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint)
    library.ldap_dnfree.argtypes = (ctypes.c_void_p,)
    library.ldap_memfree.argtypes = (ctypes.c_void_p,)
    return library


class Berval(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ulong), ("value", ctypes.c_void_p))


def test_values_are_escaped_as_libldap_does(libldap: ctypes.CDLL) -> None:
    for value in (bytes(range(256)), b"", b"plain", b"(cn=*)"):
        given = Berval(len(value), ctypes.cast(ctypes.c_char_p(value), ctypes.c_void_p))
        taken = Berval()
        assert libldap.ldap_bv2escaped_filter_value(ctypes.byref(given), ctypes.byref(taken)) == 0
        assert wire.escape(value) == ctypes.string_at(taken.value, taken.length)
        assert wire.unescape(wire.escape(value)) == value


def test_errors_are_called_as_libldap_calls_them(libldap: ctypes.CDLL) -> None:
    assert {number: libldap.ldap_err2string(number).decode() for number in MESSAGES} == dict(MESSAGES)


NAMES = [
    ("", []),
    ("cn=admin,dc=example,dc=org", [["cn", "admin"], ["dc", "example"], ["dc", "org"]]),
    ("UID=jsmith, DC=example ,DC=net", [["UID", "jsmith"], ["DC", "example"], ["DC", "net"]]),
    ("OU=Sales+CN=J.  Smith,DC=net", [["OU", "Sales", "CN", "J.  Smith"], ["DC", "net"]]),
    ('CN=James \\"Jim\\" Smith\\, III,DC=net', [["CN", 'James "Jim" Smith, III'], ["DC", "net"]]),
    ("CN=Before\\0dAfter,DC=net", [["CN", "Before\rAfter"], ["DC", "net"]]),
    ("CN=Lu\\C4\\8Di\\C4\\87", [["CN", "Lučić"]]),
    ("1.3.6.1.4.1.1466.0=x", [["1.3.6.1.4.1.1466.0", "x"]]),
    ("cn=\\ x\\ ", [["cn", " x "]]),
    ("cn=a\\\\", [["cn", "a\\"]]),
    ("cn=a\\+b\\;c", [["cn", "a+b;c"]]),
    ("cn=a=b", [["cn", "a=b"]]),
    ("cn=", [["cn", ""]]),
]
WRONG_NAMES = ["cn", "=x", "cn=a,", ",cn=a", "cn=a+", "cn=\\", "cn=\\zz", 'cn="a"', "cn=a<b", "c n=a", "-cn=a"]


@pytest.mark.parametrize(("text", "parts"), NAMES)
def test_names(text: str, parts: list[list[str]]) -> None:
    rdns = wire.read_name(text.encode())
    assert [[part.decode() for pair in rdn for part in pair] for rdn in rdns] == parts
    assert wire.read_name(wire.write_name(rdns)) == rdns


@pytest.mark.parametrize("text", [name for name, _ in NAMES])
def test_names_are_written_as_libldap_reads_them(libldap: ctypes.CDLL, text: str) -> None:
    written = wire.write_name(wire.read_name(text.encode()))
    assert normal(libldap, written) == normal(libldap, text.encode())


def normal(libldap: ctypes.CDLL, text: bytes) -> bytes | None:
    """A name as libldap writes it; None for what it does not read."""
    parsed, written = ctypes.c_void_p(), ctypes.c_char_p()
    if libldap.ldap_str2dn(text, ctypes.byref(parsed), 0x10):
        return None
    assert libldap.ldap_dn2str(parsed, ctypes.byref(written), 0x10) == 0
    value = written.value
    libldap.ldap_dnfree(parsed)
    return value


@pytest.mark.parametrize("text", WRONG_NAMES)
def test_wrong_names(text: str) -> None:
    assert run_script("echo LDAP::str2dn($name);", name=text.encode()) == ["none"]


@pytest.mark.parametrize(
    ("given", "printed"),
    [
        ('[["cn", "Smith, John"], ["dc", "x"]]', "cn=Smith\\, John,dc=x"),
        ('[["cn", " a "]]', "cn=\\ a\\ "),
        ('[["cn", " "]]', "cn=\\ "),
        ('[["cn", "#1"]]', "cn=\\#1"),
        ('[["cn", "a", "sn", "b"]]', "cn=a+sn=b"),
        ("[]", ""),
        ('[["cn"]]', "none"),
        ('["cn"]', "none"),
        ('[["c n", "x"]]', "none"),
    ],
)
def test_names_from_their_components(given: str, printed: str) -> None:
    assert run_script(f"echo LDAP::dn2str({given});") == [printed]


WRONG_FILTERS = [
    "", "()", "(cn)", "(cn=x", "cn=x)(", "(cn=x))", "(cn=x)y", "(&(cn=x)", "(!)", "(!(a=b)(c=d))", "(c n=x)", "(=x)",
    "(cn=\\zz)", "(cn=\\2)", "(a:=)(", "(:=x)", "(a:b:c:d:=x)", "(" * 200 + ")" * 200, "(!" * 150 + "(a=b)" + ")" * 150,
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG_FILTERS)
def test_wrong_filters(text: str) -> None:
    with pytest.raises(wire.Malformed):
        wire.read_filter(text.encode())


def test_long_filters_are_read_in_linear_time() -> None:
    many = b"(|" + b"(a=b)" * 100_000 + b")"
    assert len(wire.read_filter(many)) > 800_000
    with pytest.raises(wire.Malformed, match="longer than"):
        wire.read_filter(many * 3)


def test_descriptors_are_closed(ask: Ask) -> None:
    before = len(os.listdir("/proc/self/fd"))
    ask("$all = []; for ($i = 0; $i < 20; $i += 1) { $all[$i] = LDAP($uri); $all[$i]->bind(); }")
    assert len(os.listdir("/proc/self/fd")) == before
