"""`hsl run`: scripts on their own and on every stage; its output, its errors, its exit codes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from click.testing import Result
from servers import redis_server, spamd

from hsl.runtime.stages import STAGES

Invoke = Callable[..., Result]
Script = Callable[..., Path]
Hsl = Callable[..., CompletedProcess[str]]

DATA = Path(__file__).parents[1] / "data"
COMMAND = (sys.executable, "-m", "hsl.cli.main", "run")

# ------------------------------------------------------------ without a stage


def test_output_of_a_plain_script(invoke: Invoke, script: Script) -> None:
    done = invoke("run", script('$who = "you";\necho "hello $who";\necho 1 + 1;\n'))
    assert (done.exit_code, done.stdout, done.stderr) == (0, "hello you\n2\n", "")


def test_a_script_from_the_standard_input(invoke: Invoke) -> None:
    assert invoke("run", "-", stdin="echo 6 * 7;").stdout == "42\n"
    done = invoke("run", "-", stdin="echo 6 *;")
    assert done.exit_code == 1
    assert done.stderr.startswith("<stdin>:1:9: error: ")


def test_every_static_error_is_shown_and_nothing_runs(invoke: Invoke, script: Script) -> None:
    done = invoke("run", script('echo 1;\nstrlne("");\nif (1 { }\nbreak;\n'))
    assert (done.exit_code, done.stdout) == (1, "")
    assert len(re.findall(r"script\.hsl:\d+:\d+: error: ", done.stderr)) == 3


def test_a_script_error_has_position_caret_and_calls(invoke: Invoke, script: Script) -> None:
    path = script('function f($x) {\n\treturn md5($x);\n}\necho "before";\nf([1]);\n')
    done = invoke("run", path)
    assert (done.exit_code, done.stdout) == (1, "before\n")
    error, line, caret, call = done.stderr.splitlines()
    assert error == f"{path}:2:9: error: md5(): parameter 1 (message): wanted string, got array"
    assert line == "    \treturn md5($x);"
    assert caret.startswith("    \t       ^^^")
    assert call == f"    in f() called at {path}:5:1"


def test_a_function_of_a_stage_is_explained(invoke: Invoke, script: Script) -> None:
    done = invoke("run", script("echo ScanSA();"))
    assert done.exit_code == 1
    assert "hint: ScanSA() is only available in data" in done.stderr


def test_warnings_do_not_stop_a_script(invoke: Invoke, script: Script) -> None:
    done = invoke("run", script("if (false) echo $nothing;\necho 1;\n"))
    assert (done.exit_code, done.stdout) == (0, "1\n")
    assert "warning: $nothing is never set" in done.stderr


def test_includes_are_relative_to_the_script_and_named_as_they_can_be_opened(hsl: Hsl, script: Script) -> None:
    script("$limit = 3;\nlength();\n", "scripts/common/limits.hsl")
    path = script('include "common/limits.hsl";\necho $limit;\n', "scripts/main.hsl")
    done = hsl("run", "scripts/main.hsl", cwd=path.parents[1])
    assert done.returncode == 1
    assert done.stderr.startswith("scripts/common/limits.hsl:2:1: error: ")
    script("$limit = 3;\n", "scripts/common/limits.hsl")
    assert hsl("run", "scripts/main.hsl", cwd=path.parents[1]).stdout == "3\n"


def test_the_root_of_includes(invoke: Invoke, script: Script, tmp_path: Path) -> None:
    script("$limit = 4;\n", "common/limits.hsl")
    path = script('include "common/limits.hsl";\necho $limit;\n', "stages/main.hsl")
    refused = invoke("run", path)
    assert refused.exit_code == 1
    assert "cannot read common/limits.hsl" in refused.stderr
    assert invoke("run", "--root", tmp_path, path).stdout == "4\n"


def test_includes_stay_below_the_root(invoke: Invoke, script: Script) -> None:
    script("echo 1;", "outside.hsl")
    done = invoke("run", script('include "../outside.hsl";', "inside/main.hsl"))
    assert done.exit_code == 1
    assert "../outside.hsl is outside the script root" in done.stderr


def test_a_script_that_includes_itself(invoke: Invoke, script: Script) -> None:
    done = invoke("run", script('include "script.hsl";'))
    assert done.exit_code == 1
    assert "includes itself" in done.stderr


# ------------------------------------------------------------ stages

QUEUE_ALL = """
$arguments["mail"]->addHeader("X-A", "b");
foreach ($transaction["recipients"] as $rcpt)
    $arguments["mail"]->queue("", $rcpt["address"], $rcpt["transportid"], ["hold" => true, "jobid" => "j"]);
Accept();
"""
ROUNDS = """
$context .= $arguments["response"] ?? "none";
if ($arguments["state"] < 2) Reply(string($arguments["state"]));
Accept(["username" => $context]);
"""
ON_STAGES = [
    ("connect", [], "Accept();", ["verdict: accept", "reply: 220 ESMTP"]),
    ("connect", ["--ip", "2001:db8::1"], "echo $senderip;", ["2001:db8::1", "verdict: accept (no verdict)"]),
    ("helo", ["--helo", "me.example"], "echo $senderhelo; Defer();", ["me.example", "verdict: defer", "reply: 450 "]),
    ("auth", ["--user", "u", "--password", "p"], 'if ($saslpassword == "p") Accept();', ["accept", "reply: 235 "]),
    ("auth", [], "", ["verdict: reject (no verdict)", "reply: 535 "]),
    ("auth", ["--mechanism", "x", "--response", "b", "--response", "c"], ROUNDS,
     ["reply: 334 MA==", "response: b\nverdict: reply challenge=1", "334 MQ==", "response: c\n", "username=nonebc"]),
    ("auth", ["--mechanism", "X", "--initial", "a"], ROUNDS, ["verdict: reply challenge=0\nreply: 334 MA==\n"]),
    ("mailfrom", ["--sender", "A@B.example"], "Reject($senderdomain);", ["reject", "reply: 554 5.7.1 b.example"]),
    ("mailfrom", ["--sender", ""], 'if ($sender == "") Accept();', ["verdict: accept", "reply: 250 "]),
    ("rcptto", ["--recipient", "x@y.example"], "Reject($recipient);", ["reject", "reply: 554 5.7.1 x@y.example"]),
    ("rcptto", ["--user", "joe"], 'if ($saslusername == "joe") Accept();', ["verdict: accept", "reply: 250 "]),
    ("data", [], "", ["verdict: deliver (no verdict)", "reply: 250 ", "queued: recipient@example.net active"]),
    ("data", [], 'Quarantine("q");', ["verdict: quarantine", "reply: ", "queued: ", "quarantine=q"]),
    ("data", [], 'SetDelayedDeliver(60); Deliver();', ["delay: 60", "queued: recipient@example.net defer", "delay=60"]),
    ("data", [], "Delete();", ["verdict: delete", "reply: 250 "]),
    ("eod", [], "", ["verdict: defer (no verdict)", "reply: 421 4.7.1 "]),
    ("eod", [], QUEUE_ALL, ["verdict: accept", "reply: 250 ", "header: +X-A: b", "hold transport=default", "jobid=j"]),
    ("disconnect", [], "", ["verdict: pass (no verdict)"]),
    ("predelivery", [], 'SetSourceIP("netaddr:3");', ["verdict: try (no verdict)", "source ip: 192.0.2.3 (netaddr:3)"]),
    ("predelivery", [], 'SetDestination("mx.example", 26);', ["destination: mx.example:26"]),
    ("predelivery", [], 'Reschedule(30, ["reason" => "busy"]);', ["verdict: queue delay=30\nreason: busy"]),
    ("predelivery", ["--metadata", "spam=yes"], 'echo GetMetaData()["spam"]; Delete();', ["yes", "verdict: delete"]),
    ("postdelivery", [], "echo $errorcode;", ["250", "verdict: default (no verdict): delivered"]),
    ("postdelivery", ["--reply", "450 4.2.1 Later"], "echo $errormsg;", ["4.2.1 Later", "(no verdict): queue"]),
    ("postdelivery", ["--reply", "550 5.1.1 No"], "echo $errorndr;", ["5.1.1", "(no verdict): bounce"]),
    ("postdelivery", ["--reply", "550 5.1.1 No"], 'echo $arguments["attempt"]["result"]["reason"];', ['[0=>"No"]']),
    ("postdelivery", ["--reply", "550 No"], 'Queue(["delay" => 60, "hold" => true]);', ["queue delay=60 hold=true"]),
    ("predelivery", [], 'Reschedule(9, ["increment_retry" => false]);', ["queue delay=9 increment_retry=false"]),
    ("predelivery", [], 'Queue(["quotas" => ["a", "b"]]);', ["verdict: queue quotas=a,b\n"]),
]  # fmt: skip


@pytest.mark.parametrize(("stage", "options", "text", "wanted"), ON_STAGES)
def test_stages(invoke: Invoke, script: Script, stage: str, options: list[str], text: str, wanted: list[str]) -> None:
    done = invoke("run", "--stage", stage, *options, script(text))
    assert (done.exit_code, done.stderr) == (0, "")
    for part in wanted:
        assert part in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mechanism", "plain"], "PLAIN is built in: give --user and --password"),
        (["--response", "x"], "--initial and --response belong to a mechanism: name it by --mechanism"),
    ],
)
def test_an_exchange_needs_a_mechanism_by_script(
    invoke: Invoke, script: Script, options: list[str], message: str
) -> None:
    done = invoke("run", "--stage", "auth", *options, script("Accept();"))
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr


def test_the_table_has_every_stage() -> None:
    assert {row[0] for row in ON_STAGES} == set(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_a_script_error_on_a_stage(invoke: Invoke, script: Script, stage: str) -> None:
    path = script('echo "begun";\nrate("r", [], 1, 1);\n')
    done = invoke("run", "--stage", stage, path)
    assert done.exit_code == 1
    assert done.stderr.startswith(
        f"{path}:2:1: error: rate(): parameter 2 (entry): wanted number or string, got array\n"
    )
    assert '    rate("r", [], 1, 1);\n    ^^^^' in done.stderr
    assert done.stdout.startswith("begun\nverdict: ")
    assert " (script error)" in done.stdout
    assert "wanted" not in done.stdout, "what a client is told"


def test_what_a_data_script_changed(invoke: Invoke, script: Script) -> None:
    path = script(
        'SetMetaData(["spam" => "yes"]);\n'
        'SetSender("bounces@example.org");\n'
        'SetRecipient("else@example.org");\n'
        'AddHeader("X-Spam", "yes");\n'
        'SetHeader("Subject", "[spam] " . GetHeader("Subject"));\n'
        'DelHeader("Message-ID");\n'
        "Deliver();\n"
    )
    done = invoke("run", "--stage", "data", "--message", DATA / "clean.eml", path)
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "verdict: deliver",
        "reply: 250 2.0.0 Ok",
        "sender: bounces@example.org",
        "recipient: else@example.org",
        "metadata: spam=yes",
        "header: -Subject: Minutes of the meeting",
        "header: -Message-ID: <20150112.1@example.com>",
        "header: +X-Spam: yes",
        "header: +Subject: [spam] Minutes of the meeting",
        "queued: else@example.org active transport=default",
    ]


def test_several_recipients_have_one_reply(invoke: Invoke, script: Script) -> None:
    path = script('echo $recipient;\nif ($recipient == "b@example.net") Defer("not\\nnow");\nDeliver();\n')
    done = invoke("run", "--stage", "data", "--recipient", "a@example.net", "--recipient", "b@example.net", path)
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "recipient: a@example.net",
        "a@example.net",
        "verdict: deliver",
        "reply: 250 2.0.0 Ok",
        "recipient: b@example.net",
        "b@example.net",
        "verdict: defer",
        "reply: 421-4.7.1 not",
        "       421 4.7.1 now",
        "reply to all: 421-4.7.1 not",
        "              421 4.7.1 now",
    ]


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("Done();", "421 4.7.1 Please try again later"),
        ('CopyMail("b@example.net"); Abort();', "250 2.0.0 Ok"),
    ],
)
def test_done_leaves_the_reply_to_what_was_done_before(invoke: Invoke, script: Script, text: str, reply: str) -> None:
    done = invoke("run", "--stage", "data", script(text))
    assert done.exit_code == 0
    assert done.stdout.splitlines()[:2] == ["verdict: done", f"reply to all: {reply}"]


def test_gtube_is_spam_to_the_embedded_scanner(invoke: Invoke, script: Script) -> None:
    path = script("echo ScanSA() > 900;\necho ScanRPD();\n")
    assert invoke("run", "--stage", "data", "--message", DATA / "gtube.eml", path).stdout.startswith("true\n100\n")
    assert invoke("run", "--stage", "data", "--message", DATA / "clean.eml", path).stdout.startswith("false\n0\n")


def test_the_outbound_scripts_run(invoke: Invoke) -> None:
    scripts = Path(__file__).parents[2] / "scripts" / "outbound"
    spam = invoke("run", "--stage", "data", "--message", DATA / "gtube.eml", scripts / "data.hsl")
    assert "metadata: spam=yes" in spam.stdout
    leaves = invoke("run", "--stage", "predelivery", "--metadata", "spam=yes", scripts / "predelivery.hsl")
    assert "source ip: 192.0.2.4 (netaddr:4)" in leaves.stdout
    for stage in ("rcptto", "postdelivery"):
        assert invoke("run", "--stage", stage, scripts / f"{stage}.hsl").exit_code == 0


def test_the_eod_scripts_run(invoke: Invoke) -> None:
    scripts = Path(__file__).parents[2] / "scripts" / "eod"
    people = ["--recipient", "a@example.net", "--recipient", "B@example.net"]
    spam = invoke("run", "--stage", "eod", *people, "--message", DATA / "gtube.eml", scripts / "eod.hsl")
    assert "verdict: accept\n" in spam.stdout
    assert "queued: B@example.net active transport=default\n" in spam.stdout
    leaves = invoke("run", "--stage", "predelivery", "--metadata", "spam=yes", scripts / "predelivery.hsl")
    assert "source ip: 192.0.2.4 (netaddr:4)" in leaves.stdout
    for stage in ("rcptto", "postdelivery"):
        assert invoke("run", "--stage", stage, scripts / f"{stage}.hsl").exit_code == 0


def test_a_rate_in_redis_is_shared_by_runs(invoke: Invoke, script: Script, tmp_path: Path) -> None:
    path = script('echo rate("r", $senderdomain, 2, 3600);\necho rate("r", $senderdomain, 0, 3600);\n')
    with redis_server(tmp_path) as url:
        runs = [invoke("run", "--stage", "rcptto", "--set", f"rate={url}", path).stdout for _ in range(3)]
    assert [output.split()[:2] for output in runs] == [["true", "1"], ["true", "2"], ["false", "2"]]


def test_a_score_of_spamd(invoke: Invoke, script: Script, tmp_path: Path) -> None:
    path = script("echo ScanSA();\n")
    with spamd(tmp_path) as server:
        options = ["--stage", "data", "--set", f"spam=spamd://{server.host}:{server.port}"]
        spam = invoke("run", *options, "--message", DATA / "gtube.eml", path)
        clean = invoke("run", *options, "--message", DATA / "clean.eml", path)
    assert float(spam.stdout.split()[0]) >= 1000
    assert float(clean.stdout.split()[0]) < 5
    gone = invoke("run", *options, path)
    assert gone.exit_code == 1
    assert ":1:6: error: spamd does not answer" in gone.stderr


# ------------------------------------------------------------ wrong usage

WRONG = [
    (["--stage", "rcpto"], "there is no stage 'rcpto'; did you mean rcptto?"),
    (["--stage", "proxy"], "there is no stage 'proxy': sessions are not relayed command by command; the stages of"),
    (["--stage", "data", "--ip", "1.2.3"], "'1.2.3' is not an IP address"),
    (["--stage", "data", "--set", "rate"], "wanted NAME=VALUE, got 'rate'"),
    (["--stage", "data", "--set", "rates=memory"], "--set knows rate and spam, not rates"),
    (["--stage", "data", "--set", "rate=file:///x"], "rate=file:///x: "),
    (["--stage", "data", "--set", "rate=redis://127.0.0.1:1"], "rate=redis://127.0.0.1:1: "),
    (["--stage", "data", "--set", "spam=rspamd://x:1"], "wanted embedded or spamd://host:port"),
    (["--stage", "predelivery", "--metadata", "=x"], "wanted NAME=VALUE, got '=x'"),
    (["--stage", "postdelivery", "--reply", "no"], "--reply wants a reply like '550 5.1.1 No such user', not 'no'"),
    (["--stage", "data", "--message", "/nowhere.eml"], "cannot read /nowhere.eml: No such file or directory"),
    (["--stage", "data", "--message", "/"], "cannot read /: Is a directory"),
    (["--root", "/nowhere"], "'/nowhere' does not exist"),
    (["--sender", "a@b.example"], "--sender belongs to a stage: name one by --stage"),
    (["--set", "rate=memory"], "--set belongs to a stage: name one by --stage"),
    (["--nothing"], "No such option '--nothing'"),
]


@pytest.mark.parametrize(("options", "wanted"), WRONG)
def test_wrong_usage(invoke: Invoke, script: Script, options: list[str], wanted: str) -> None:
    done = invoke("run", *options, script("echo 1;"))
    assert (done.exit_code, done.stdout) == (2, "")
    assert wanted in " ".join(done.stderr.split())


# ------------------------------------------------------------ odd files


@pytest.mark.parametrize(
    ("name", "wanted"), [("none.hsl", "No such file or directory"), ("", "Is a directory"), ("script.hsl/x", "Not a")]
)
def test_a_script_that_cannot_be_read(invoke: Invoke, script: Script, tmp_path: Path, name: str, wanted: str) -> None:
    script("")
    done = invoke("run", tmp_path / name)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: cannot read {tmp_path / name}: {wanted}")


@pytest.mark.parametrize("stage", [[], ["--stage", "connect"]])
def test_an_empty_script(invoke: Invoke, script: Script, stage: list[str]) -> None:
    done = invoke("run", *stage, script(""))
    assert (done.exit_code, done.stderr) == (0, "")


@pytest.mark.parametrize("data", [bytes(range(256)), b"\x7fELF\0\0\1", b"\0" * 10_000, b"$a = \xff;\n", b"\xff\xfee\0"])
def test_a_binary_file(hsl: Hsl, script: Script, data: bytes) -> None:
    done = hsl("run", script(data))
    assert (done.returncode, done.stdout) == (1, "")
    assert "script.hsl:1:" in done.stderr
    assert "Traceback" not in done.stderr


def test_bytes_of_a_string_come_out_as_they_went_in(script: Script) -> None:
    done = subprocess.run([*COMMAND, script(b'echo "\xff\xc3\xa9";')], capture_output=True, timeout=30)
    assert (done.stdout, done.stderr) == (b"\xff\xc3\xa9\n", b"")


def test_a_script_larger_than_scripts_may_be(invoke: Invoke, script: Script) -> None:
    done = invoke("run", script(b"\n" * (4 * 1024 * 1024 + 1)))
    assert done.exit_code == 1
    assert "larger than 4194304 bytes" in done.stderr


def test_a_file_name_that_is_no_text(script: Script, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.hsl"
    Path(os.fsdecode(path)).write_text("echo 1;\necho $x;\nstrlne();\n")
    done = subprocess.run([*COMMAND, path], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "/\N{REPLACEMENT CHARACTER}.hsl:3:1: error: " in done.stderr


ODD_MESSAGES = [
    (b"", "none", 0),
    (b"\r\n", "none", 0),
    (b"just text without any header\n", "none", 0),
    (b"Subject: a\nno header any more\n\nbody", '"a"', 0),
    (b"Subject: \x1b[2Ja\xff\n\n", None, 0),
    (b"Subject: ten megabytes\n\n" + b"x" * 70 + b"\n" * 10 * 1024 * 1024, '"ten megabytes"', 0),
    (b"X: y\n" * 20_000 + b"Subject: late\n\nbody", None, 1),
]


@pytest.mark.parametrize(("message", "subject", "code"), ODD_MESSAGES, ids=range(len(ODD_MESSAGES)))
def test_odd_messages(
    invoke: Invoke, script: Script, tmp_path: Path, message: bytes, subject: str | None, code: int
) -> None:
    (tmp_path / "mail.eml").write_bytes(message)
    path = script(
        '$subject = GetHeader("Subject");\necho json_encode($subject) . ScanSA();\nSetHeader("Subject", "b");\n'
    )
    done = invoke("run", "--stage", "data", "--message", tmp_path / "mail.eml", path)
    assert done.exit_code == code
    if code:
        assert "the message's header block has more than 10000 fields" in done.stderr
        assert "verdict: defer (script error)" in done.stdout
        return
    assert "header: +Subject: b" in done.stdout
    assert "\x1b" not in done.stdout, "nothing moves the terminal's cursor"
    if subject is not None:
        assert done.stdout.startswith((subject if subject != "none" else "null") + "0\n")


# ------------------------------------------------------------ the process


def modules(*arguments: str | Path) -> set[str]:
    """What the command imports."""
    program = (
        "import sys\nfrom hsl.cli.main import main\ntry: main(sys.argv[1:])\nfinally: print('MODULES', *sys.modules)"
    )
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert "MODULES" in done.stdout, done.stderr
    return set(done.stdout.partition("MODULES")[2].split())


def test_a_plain_script_needs_no_mail_and_no_event_loop(script: Script) -> None:
    loaded = modules("run", script("echo 1;"))
    assert "hsl.evaluator" in loaded
    assert not loaded & {"asyncio", "redis", "aiosmtpd", "pydantic", "yaml", "hsl.runtime", "hsl.smtpd"}


def test_a_stage_needs_no_server_and_no_redis(script: Script) -> None:
    loaded = modules("run", "--stage", "data", script("Deliver();"))
    assert "hsl.runtime.stages" in loaded
    assert not loaded & {"redis", "aiosmtpd", "aiosmtplib", "pydantic", "yaml", "hsl.smtpd"}


@pytest.mark.parametrize("stage", [[], ["--stage", "connect"]])
def test_a_reader_that_goes_away(script: Script, stage: list[str]) -> None:
    path = script("for ($i = 0; $i < 100000; $i += 1) echo $i;")
    process = subprocess.Popen([*COMMAND, *stage, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.parametrize("stage", [[], ["--stage", "connect"]])
def test_an_interrupt(script: Script, stage: list[str]) -> None:
    path = script('echo "begun";\nforever { }\n')
    process = subprocess.Popen([*COMMAND, *stage, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert errors.strip() == "Aborted!"
