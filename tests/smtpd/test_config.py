"""Configurations that do not load, each with the place and the hint it must name; and what a good one becomes."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from hsl.smtpd.config import Config, RecipientHooks
from hsl.smtpd.configfile import ConfigError, load_config, read_config

GOOD = """\
environment: {hostname: gw.example}
servers:
  - id: out
    listeners: [{port: 2525}]
    transport: fast
    phases:
      rcptto: {hook: rcptto.hsl}
transportgroups:
  - id: group
    transports:
      - id: fast
        session: {sourceip: "1"}
addresses:
  - {id: 1, address: 127.0.0.2, hostname: one.example}
queues: {path: spool}
"""


def write(folder: Path, text: str) -> Path:
    (folder / "rcptto.hsl").write_text("Accept();\n")
    (folder / "auth.hsl").write_text("Accept();\n")
    path = folder / "smtpd.yaml"
    path.write_text(text)
    return path


def findings(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(write(folder, text))
    return str(caught.value)


def test_a_good_file(tmp_path: Path) -> None:
    config = read_config(write(tmp_path, GOOD))
    assert config.queues.path == tmp_path / "spool"
    assert config.scripting.rootpath == tmp_path
    assert config.addresses[0].id == "1"  # written without quotes
    assert config.servers[0].phases.rcptto.hook == RecipientHooks(recipientdomains={"*": "rcptto.hsl"})


# (what replaces what in the good file, wanted place, wanted message, wanted hint)
BAD = [
    ("    listeners:", "    listner:", "4:5", "unknown key 'listner' in servers[0]", "did you mean 'listeners'?"),
    ("environment:", "enviroment:", "1:1", "unknown key 'enviroment' at the top level", "did you mean 'environment'?"),
    (
        "{path: spool}",
        "{predeliver: spool}",
        "15:10",
        "unknown key 'predeliver' in queues",
        "did you mean 'predelivery'?",
    ),
    ("{port: 2525}", "{concurrency: 1}", "4:18", "unknown key 'concurrency'", "'concurrency' is a key of queues"),
    ("    transport: fast\n", "", "3:5", "missing key 'transport' in servers[0]", ""),
    ("transport: fast", "transport: fats", "5:16", "unknown transport 'fats'", "did you mean 'fast'?"),
    ('sourceip: "1"', "sourceip: 2", "12:29", "unknown address '2'", "known: 1"),
    ("id: group", "id: group\n    dsn: {transport: x}", "10:22", "unknown transport 'x'", "known: fast"),
    ("127.0.0.2", "127.0.0.256", "14:22", "'127.0.0.256' is not an IP address", ""),
    ("servers:", "resolver: {hosts: {mx: [localhost]}}\nservers:", "2:25", "'localhost' is not an IP address", ""),
    ("id: group", "id: group\n    retry: {expire: 4000d}", "10:21", "'4000d', wanted at most 3.1536e+08", ""),
    ("2525", "99999", "4:24", "servers[0].listeners[0].port: '99999', wanted at most 65535", ""),
    ("2525", "025", "4:24", "wanted a whole number, got '025'", "write 25"),
    ("2525", "0o25", "4:24", "wanted a whole number, got '0o25'", ""),
    ("2525", "1:30", "4:24", "wanted a whole number, got '1:30'", ""),
    ("2525", "2_525", "4:24", "wanted a whole number, got '2_525'", ""),
    ("2525", "25.5", "4:24", "wanted a whole number, got '25.5'", ""),
    ("transport: fast", "transport: fast\n    submission: no", "6:17", "wanted true or false, got 'no'", "write false"),
    ("transport: fast", "transport: fast\n    submission: On", "6:17", "wanted true or false, got 'On'", "write true"),
    ("transport: fast", "transport: fast\n    submission: 1", "6:17", "wanted true or false, got '1'", ""),
    ("one.example", "true", "14:43", "wanted text, got 'true'", 'quote it if it is meant as text: "true"'),
    ("{path: spool}", "[spool]", "15:9", "queues: wanted a mapping (key: value), got a list", ""),
    ("{path: spool}", "", "15:8", "queues: wanted a mapping (key: value), got nothing", ""),
    ("[{port: 2525}]", "[]", "4:16", "wanted at least 1 item, got an empty list", ""),
    ("rcptto.hsl", "rcpto.hsl", "7:22", "no script 'rcpto.hsl' in ", "did you mean 'rcptto.hsl'?"),
    ("rcptto: {hook", "proxy: {hook", "7:7", "there is no stage 'proxy'", "the stages of the server decide"),
    (
        "rcptto: {hook: rcptto.hsl}",
        "{data: {hook: rcptto.hsl}, eod: {hook: auth.hsl}}",
        "7:46",
        "servers[0].phases.eod.hook: server 'out' has a data hook, too (line 7)",
        "choose one: data runs for each recipient, eod once for the message",
    ),
    *(
        ("hook: rcptto.hsl", f"hook: {{{given}}}", f"7:{place}", message, hint)
        for given, place, message, hint in (
            (
                "recipientdomain: {a: b}",
                23,
                "unknown key 'recipientdomain' in servers[0].phases.rcptto.hook",
                "mains'?",
            ),
            ("recipientdomains: {}", 41, "wanted at least 1 item", ""),
            ("recipientdomains: {a.example: rcpto.hsl}", 53, "no script 'rcpto.hsl' in ", "did you mean 'rcptto.hsl'?"),
            ("recipientdomains: {'*.a.example': auth.hsl}", 42, "'*.a.example' is not a domain", "'*' alone"),
            ("recipientdomains: {'a b': auth.hsl}", 42, "'a b' is not a domain", ""),
            ("recipientdomains: {a: auth.hsl, A: auth.hsl}", 55, "'A' stands here twice", "first used on line 7"),
            ("recipientdomains: {a: 1}", 45, "no script '1' in ", ""),
            ("recipientdomains: [a]", 41, "wanted a mapping (key: value), got a list", ""),
        )
    ),
    ("hook: rcptto.hsl", "hook: [rcptto.hsl]", "7:22", "wanted a mapping (key: value), got a list", ""),
    ("{path: spool}", "{predelivery: {hook: x.hsl}}", "15:30", "no script 'x.hsl' in ", ""),
    ("transport: fast", "transport: fast\n    limits: {size: 10MB}", "6:20", "'10MB' is not a size", ""),
    ("transport: fast", "transport: fast\n    limits: {idle: 1:30}", "6:20", "'1:30' is not a time", ""),
    (
        "transport: fast",
        "transport: fast\n    relay: {networks: [10.0.0.1/8]}",
        "6:24",
        "has host bits",
        "'10.0.0.0/8'?",
    ),
    ("transport: fast", "transport: fast\n    relay: {networks: [all]}", "6:24", "'all' is not a network", ""),
    ("{path: spool}", "{path: spool}\nstate: {backend: redus}", "16:18", "state.backend: 'redus'", "'redis'?"),
    ("{path: spool}", "{path: spool}\nstate: {backend: redis}", "16:18", "needs state.url", "url: redis://"),
    ("{path: spool}", "{path: spool}\nstate: {backend: redis, url: 'host:1'}", "16:25", "must begin with redis://", ""),
    ("{path: spool}", "{path: spool}\nmonitor: {listener: {port: 1, address: 0.0.0.0}}", "16:40", "a loopback", "::1"),
    ("{path: spool}", "{path: spool}\nmonitor: {listener: {port: 1, address: x}}", "16:40", "loopback address", ""),
    ("{path: spool}", "{path: spool}\nmonitor: {listener: {}}", "16:11", "missing key 'port'", ""),
    ("{path: spool}", "{path: spool}\nmonitor: {metrics: [{name: a b, type: gauge}]}", "16:28", "is not a metric", ""),
    (
        "{path: spool}",
        "{path: spool}\nmonitor: {metrics: [{name: hsl_x, type: gauge}]}",
        "16:28",
        "is not a metric",
        "",
    ),
    ("{path: spool}", "{path: spool}\nmonitor: {metrics: [{name: a, type: guage}]}", "16:37", "'guage'", "'gauge'?"),
    (
        "{path: spool}",
        "{path: spool}\nmonitor: {metrics: [{name: a, type: gauge}, {name: a, type: counter}]}",
        "16:52",
        "duplicate metric id 'a'",
        "first used on line 16",
    ),
    ("{path: spool}", "{path: spool}\nscripting: {network: {deny: [all]}}", "16:30", "'all' is not a network", "192.0"),
    ("{path: spool}", "{path: spool}\nscripting: {network: {allow: ['::1', x]}}", "16:38", "'x' is not a network", ""),
    ("{path: spool}", "{path: spool}\nscripting: {network: {unix: [a.sock]}}", "16:30", "is not an absolute path", ""),
    ("[{port: 2525}]", "[{port: 25}, {port: 25}]", "4:29", "127.0.0.1:25 has two listeners", "first on line 4"),
    ("2525", "465, implicit_tls: true", "4:29", "implicit_tls needs the server's tls section", ""),
    (
        "transport: fast",
        "transport: fast\n    tls: {certificate: a, privatekey: rcptto.hsl}",
        "6:24",
        "cannot read ",
        "",
    ),
    ("addresses:", "addresses:\n  - {id: 1, address: 127.0.0.3, hostname: x}", "15:10", "duplicate address id '1'", ""),
    ("queues:", "queues: {}\nqueues:", "16:1", "duplicate key 'queues'", "first used on line 15"),
    ("{path: spool}", "{path: !!python/name:os.system ''}", "15:16", "the tag !!python/name:os.system is not sup", ""),
    ("queues: {", "queues: {<<: {}, ", "15:10", "merge keys (<<) are not supported", ""),
    ("queues: {", "queues: {[a]: 1, ", "15:10", "a key must be plain text", ""),
    ("queues: {", "queues: {path: *spool, ", "15:16", "undefined alias", ""),
    ("queues: {path: spool}", "queues: {path: spool", "16:1", "did not find expected ',' or '}'", ""),
    ("{path: spool}", "é: \x01", "15:12", "control characters are not allowed", ""),
]


@pytest.mark.parametrize(("old", "new", "place", "message", "hint"), BAD, ids=[f"{row[2]} {row[3]}" for row in BAD])
def test_findings(tmp_path: Path, old: str, new: str, place: str, message: str, hint: str) -> None:
    assert old in GOOD
    text = findings(tmp_path, GOOD.replace(old, new, 1))
    head = next((line for line in text.splitlines() if line.startswith(f"smtpd.yaml:{place}: error: ")), text)
    assert message in head
    assert head == text.splitlines()[0], "one mistake, one finding"
    assert text.count(": error: ") == 1
    assert hint in text.partition("hint: ")[2]


def test_a_finding_shows_line_and_caret(tmp_path: Path) -> None:
    assert findings(tmp_path, GOOD.replace("    listeners:", "    listner:")) == (
        "smtpd.yaml:4:5: error: unknown key 'listner' in servers[0]\n"
        "        listner: [{port: 2525}]\n"
        "        ^^^^^^^\n"
        "    hint: did you mean 'listeners'?"
    )


def test_all_findings_at_once(tmp_path: Path) -> None:
    text = GOOD
    for old, new in [("fast\n    ph", "fats\n    ph"), ("2525", "x"), ("queues:", "queue:"), ("127.0.0.2", "home")]:
        text = text.replace(old, new)
    shown = [line for line in findings(tmp_path, text).splitlines() if line.startswith("smtpd.yaml:")]
    assert [line.split(":")[1] for line in shown] == ["4", "5", "14", "15"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "1:1: error: the file must hold a mapping"),
        ("- 1\n", "1:1: error: the file must hold a mapping"),
        ("a: [" * 200, "nested more than 32 levels deep"),
        ("&a [*a]\n", "an alias that contains itself"),
        ("a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
            f"{chr(97 + i)}: &{chr(97 + i)} [{','.join(['*' + chr(96 + i)] * 10)}]\n" for i in range(1, 9)
        ), "more than 50000 values"),
        ("x" * (1024 * 1024 + 1), "larger than 1048576 bytes"),
    ],
)  # fmt: skip
def test_files_that_are_no_configuration(tmp_path: Path, text: str, wanted: str) -> None:
    assert wanted in findings(tmp_path, text)


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "smtpd.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: \xff\n")
    with pytest.raises(ConfigError, match=r"smtpd.yaml:1:4: error: the file is not UTF-8"):
        load_config(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*: No such file"):
        load_config(tmp_path / "none.yaml")


SERVER = "    transport: fast\n"
WARNED = [
    (SERVER, SERVER + "    relay: {networks: [0.0.0.0/0]}\n", "6:24: warning: open relay: 0.0.0.0/0"),
    (SERVER, SERVER + "    relay: {networks: ['::/0']}\n", "6:24: warning: open relay: ::/0"),
    ("rcptto: {hook: rcptto.hsl}", "auth: {hook: auth.hsl}", "7:20: warning: this auth script never runs"),
    (SERVER, SERVER + "    auth: {mechanisms: [X-OWN]}\n", "6:12: warning: AUTH is not offered"),
    ("queues:", "state: {url: 'redis://h'}\nqueues:", "15:9: warning: state.url is not used"),
]


@pytest.mark.parametrize(("old", "new", "wanted"), WARNED)
def test_warnings(tmp_path: Path, old: str, new: str, wanted: str) -> None:
    loaded = load_config(write(tmp_path, GOOD.replace(old, new)))
    assert [wanted in item.render() for item in loaded.warnings] == [True]


def test_auth_without_tls_is_no_warning_when_it_is_offered(tmp_path: Path) -> None:
    text = GOOD.replace("rcptto: {hook: rcptto.hsl}", "auth: {hook: auth.hsl}")
    text = text.replace(SERVER, SERVER + "    auth: {without_tls: true}\n")
    assert load_config(write(tmp_path, text)).warnings == ()


def test_certificates_are_checked(tmp_path: Path) -> None:
    authority = trustme.CA()
    for name in ("a", "b"):
        authority.issue_cert("gw.example").private_key_pem.write_to_path(tmp_path / f"{name}.key")
    pair = authority.issue_cert("gw.example")
    pair.cert_chain_pems[0].write_to_path(tmp_path / "good.pem")
    pair.private_key_pem.write_to_path(tmp_path / "good.key")
    good = GOOD.replace(SERVER, SERVER + "    tls: {certificate: good.pem, privatekey: good.key}\n")
    config = load_config(write(tmp_path, good)).config
    assert config.servers[0].tls is not None
    assert config.servers[0].tls.certificate == tmp_path / "good.pem"
    assert "6:5: error: certificate and privatekey cannot be used" in findings(
        tmp_path, good.replace("good.key", "a.key")
    )


TLS = "    tls:\n      certificate: good.pem\n      privatekey: good.key\n"
BAD_TLS = [
    ("certificates: [{certificate: good.pem, privatekey: a.key}]", "9:22: error: certificate and privatekey cannot be"),
    ("certificates: [{certificate: none.pem, privatekey: good.key}]", "cannot read"),
    ("certificates: [{certificate: good.pem}]", "privatekey"),
    ("certificates: [{certificate: good.pem, privatekey: good.key, names: [mail]}]", "'mail' is not a host name"),
    ("certificates: [{certificate: good.pem, privatekey: good.key, names: ['a.*.b']}]", "is not a host name"),
    (
        "certificates: [{certificate: good.pem, privatekey: good.key, names: [a.b, a.b]}]",
        "duplicate server name id 'a.b'",
    ),
    ("clients: {mode: verify}", "9:23: error: clients.mode verify needs clients.ca"),
    ("clients: {mode: verify, ca: none.pem}", "cannot read"),
    ("clients: {ca: good.key}", "holds no PEM certificate"),
    ("clients: {mode: maybe}", "9:23: error"),
    ("minimum: TLSv1.1", "9:16: error"),
    ("ciphers: NONSENSE", "OpenSSL knows none of the ciphers 'NONSENSE'"),
    ("watch: soon", "9:14: error"),
]


@pytest.mark.parametrize(("line", "wanted"), BAD_TLS)
def test_settings_of_tls_that_cannot_be(tmp_path: Path, line: str, wanted: str) -> None:
    authority = trustme.CA()
    authority.issue_cert("gw.example").private_key_pem.write_to_path(tmp_path / "a.key")
    pair = authority.issue_cert("gw.example")
    pair.cert_chain_pems[0].write_to_path(tmp_path / "good.pem")
    pair.private_key_pem.write_to_path(tmp_path / "good.key")
    good = GOOD.replace(SERVER, SERVER + TLS)
    assert load_config(write(tmp_path, good)).config.servers[0].tls is not None
    assert wanted in findings(tmp_path, GOOD.replace(SERVER, SERVER + TLS + f"      {line}\n"))


def test_paths_of_tls_are_taken_from_the_file(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    pair = authority.issue_cert("gw.example")
    pair.cert_chain_pems[0].write_to_path(tmp_path / "good.pem")
    pair.private_key_pem.write_to_path(tmp_path / "good.key")
    more = "      certificates: [{certificate: good.pem, privatekey: good.key}]\n      clients: {ca: ca.pem}\n"
    tls = load_config(write(tmp_path, GOOD.replace(SERVER, SERVER + TLS + more))).config.servers[0].tls
    assert tls is not None
    assert tls.clients is not None
    assert tls.clients.ca == tmp_path / "ca.pem"
    assert tls.certificates[0].privatekey == tmp_path / "good.key"


def test_a_secret_is_not_quoted_in_a_message(tmp_path: Path) -> None:
    text = GOOD.replace('sourceip: "1"', "password: true")
    assert "password: wanted text, got something else" in findings(tmp_path, text)


def test_the_control_sockets_path_has_a_limit(tmp_path: Path) -> None:
    folder = "x" * 100
    text = findings(tmp_path, GOOD.replace("spool", folder))
    assert "15:16: error: the control socket's path is longer than 107 bytes" in text
    good = GOOD.replace("spool", folder).replace("gw.example", "gw.example, controlsocket: c")
    assert isinstance(read_config(write(tmp_path, good)), Config)
