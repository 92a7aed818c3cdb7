"""`hsl repl` as a process: from a pipe, and on a real terminal (tmux)."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from servers import needs, redis_server

Invoke = Callable[..., Result]

DATA = Path(__file__).parents[1] / "data"
COMMAND = (sys.executable, "-m", "hsl.cli.main", "repl")
TIMEOUT = 30.0

# ------------------------------------------------------------ from a pipe

PIPED = [
    ([], "1 + 1\n", "2\n"),
    ([], "$a = [1,\n2\n];\n$a\n", "[0=>1,1=>2]\n"),
    ([], "function f($x) {\n\n  return $x * 2;\n}\nf(4)\n", "8\n"),
    ([], '"a\nb"\n', '"a\\nb"\n'),
    ([], "if (true) {\necho 1;\n} else {\necho 2;\n}\n", "1\n"),
    ([], "nope()\n1\n", "input 1:1:1: error: there is no function nope()\n    nope()\n    ^^^^\n"
                        "    hint: did you mean range()?\n1\n"),
    ([], "function f() {\n", "input 1:1:14: error: unexpected end of file, expected a statement or `}`\n"
                             "    function f() {\n                 ^\n    hint: the `{` of line 1 is never closed\n"),
    ([], "1\n:quit\n2\n", "1\n"),
    ([], "", ""),
    ([], "3", "3\n"),
    ([], ":stage data\nScanSA()\n", "stage data: At the end of data, for each recipient\n0\n"),
    (["--sender", "a@b.example"], ":stage mailfrom\n$sender\n", "stage mailfrom: On MAIL FROM\n\"a@b.example\"\n"),
    (["--stage", "data"], 'Defer("x")\n2\n', "verdict: defer\nreply: 421 4.7.1 x\n2\n"),
    (["--stage", "data", "--message", DATA / "gtube.eml"], "ScanSA()\n", "1000\n"),
    (["--stage", "predelivery", "--metadata", "a=b"], "GetMetaData()\n", '["a"=>"b"]\n'),
    (["--stage", "postdelivery", "--reply", "550 5.1.1 No"], "$errorcode\n", "550\n"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "text", "wanted"), PIPED)
def test_piped_input(invoke: Invoke, options: list[str], text: str, wanted: str) -> None:
    done = invoke("repl", *options, stdin=text)
    assert (done.exit_code, done.stdout, done.stderr) == (0, wanted, "")


def test_another_message_from_a_pipe(invoke: Invoke) -> None:
    done = invoke("repl", "--stage", "data", stdin=f":message {DATA / 'gtube.eml'}\nScanSA() > 900\n")
    assert re.fullmatch(r"message of \d+ bytes\ntrue\n", done.stdout)


@pytest.mark.parametrize("line", [":vars", ":help", ":help ScanSA", ":stage", ":load /nowhere"])
def test_commands_from_a_pipe(invoke: Invoke, line: str) -> None:
    done = invoke("repl", "--stage", "data", stdin=line + "\n")
    assert done.exit_code == 0
    assert done.stdout


def test_a_rate_in_redis_is_shared_by_sessions(invoke: Invoke, tmp_path: Path) -> None:
    text = 'rate("r", "x", 1, 3600)\n:stage data\nrate("r", "x", 1, 3600)\n'
    with redis_server(tmp_path) as url:
        outputs = [
            invoke("repl", "--stage", "rcptto", "--set", f"rate={url}", stdin=text).stdout.split("\n") for _ in range(2)
        ]
    assert [(lines[0], lines[2]) for lines in outputs] == [("true", "false"), ("false", "false")]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--stage", "dta"], "there is no stage 'dta'; did you mean data?"),
        (["--stage", "data", "--message", "/nowhere"], "cannot read /nowhere: No such file or directory"),
        (["--stage", "data", "--set", "rate=redis://127.0.0.1:1"], "rate=redis://127.0.0.1:1: "),
        (["--ip", "nowhere"], "'nowhere' is not an IP address"),
    ],
)
def test_wrong_usage(invoke: Invoke, options: list[str], wanted: str) -> None:
    done = invoke("repl", *options, stdin="")
    assert (done.exit_code, done.stdout) == (2, "")
    assert wanted in done.stderr


def test_bytes_that_are_no_text() -> None:
    done = subprocess.run(COMMAND, input=b'strlen("\xff\xfe")\n\xff\n1\n', capture_output=True, timeout=TIMEOUT)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert lines[0] == "2"
    assert "error: unexpected character" in lines[1]
    assert lines[-1] == "1"


def test_a_reader_that_goes_away() -> None:
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"1\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"1\n"
        process.stdout.close()
        process.stdin.write(b"2\n3\n")
        process.stdin.close()
        assert process.stderr.read() == b""


# ------------------------------------------------------------ on a terminal


class Terminal:
    """`hsl repl` in a tmux server of its own. What it says when it ends stays on the screen."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.tmux = [needs("tmux", "tmux"), "-f", os.devnull, "-S", str(folder / "tmux")]
        repl = shlex.join([*COMMAND, *options])
        self.history = folder / "state" / "hsl" / "history"
        self.run("new-session", "-d", "-x", "100", "-y", "50", f"{repl}; echo left with $?; exec cat")

    def run(self, *arguments: str) -> str:
        environment = os.environ | {"XDG_STATE_HOME": str(self.history.parents[1]), "TERM": "screen"}
        environment.pop("TMUX", None)
        done = subprocess.run(
            [*self.tmux, *arguments], capture_output=True, text=True, timeout=TIMEOUT, env=environment, check=True
        )
        return done.stdout

    def type(self, text: str) -> None:
        """As if typed, without Enter."""
        self.run("send-keys", "-l", "--", re.sub(r";\Z", r"\;", text))

    def press(self, *keys: str) -> None:
        """Keys by tmux's names: Enter, Tab, Up, C-c …"""
        self.run("send-keys", *keys)

    def screen(self) -> list[str]:
        return self.run("capture-pane", "-p").rstrip().split("\n")

    def wait(self, *wanted: str) -> None:
        """Until the screen ends with these lines."""
        deadline = time.monotonic() + TIMEOUT
        while (screen := self.screen())[-len(wanted) :] != list(wanted):
            if time.monotonic() > deadline:
                pytest.fail("wanted at the end:\n" + "\n".join(wanted) + "\ngot:\n" + "\n".join(screen))
            time.sleep(0.02)

    def enter(self, text: str, *wanted: str) -> None:
        """Type a line, see it, press Enter, see what it gives."""
        self.type(text)
        self.wait(f"data> {text}")
        self.press("Enter")
        self.wait(f"data> {text}", *wanted, "data>")

    def interrupt(self) -> None:
        """Ctrl-C, until it meets the running script and not yet, or no longer, the prompt."""
        deadline = time.monotonic() + TIMEOUT
        while not any("interrupted" in line for line in self.screen()):
            if time.monotonic() > deadline:
                pytest.fail("nothing was interrupted:\n" + "\n".join(self.screen()))
            self.press("C-c")
            time.sleep(0.2)
        self.wait("data>")

    def close(self) -> None:
        self.run("kill-server")


@pytest.fixture
def open_terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*options: str) -> Terminal:
        opened.append(Terminal(tmp_path, *options))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.close()


def test_a_session_on_a_terminal(open_terminal: Callable[..., Terminal]) -> None:
    terminal = open_terminal("--stage", "data", "--message", str(DATA / "gtube.eml"))
    terminal.wait("HSL. data. :help lists the commands, Ctrl-D leaves.", "data>")
    terminal.enter("ScanSA()", "1000")
    terminal.enter('Defer("x")', "verdict: defer", "reply: 421 4.7.1 x")
    terminal.enter('SetMetaData(["spam" => "yes"]);')

    terminal.type("GetMeta")
    terminal.wait("data> GetMeta")
    terminal.press("Tab")
    terminal.wait("data> GetMetaData")
    terminal.type("()")
    terminal.press("Enter")
    terminal.wait("data> GetMetaData()", '["spam"=>"yes"]', "data>")

    terminal.type("function f($x) {")
    terminal.press("Enter")
    terminal.wait("data> function f($x) {", "...")
    terminal.type("return $x + 1;")
    terminal.press("Enter")
    terminal.wait("data> function f($x) {", "... return $x + 1;", "...")
    terminal.type("}")
    terminal.press("Enter")
    terminal.wait("... return $x + 1;", "... }", "data>")
    terminal.enter("f(41)", "42")

    terminal.press("Up")
    terminal.wait("42", "data> f(41)")
    terminal.press("Enter")
    terminal.wait("data> f(41)", "42", "data>")

    terminal.type("nonsense")
    terminal.wait("data> nonsense")
    terminal.press("C-c")
    terminal.wait("data> nonsense", "data>")

    terminal.type("forever { }")
    terminal.press("Enter")
    terminal.wait("data> forever { }")
    terminal.interrupt()
    terminal.enter("f(1)", "2")

    terminal.press("C-d")
    terminal.wait("left with 0")
    assert "+f(41)" in terminal.history.read_text()
    assert terminal.history.stat().st_mode & 0o077 == 0


def test_the_history_of_an_earlier_session(open_terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    (tmp_path / "state" / "hsl").mkdir(parents=True)
    (tmp_path / "state" / "hsl" / "history").write_text("\n# 2026-01-01 00:00:00\n+6 *\n+7\n")
    terminal = open_terminal()
    terminal.wait("HSL. No stage. :help lists the commands, Ctrl-D leaves.", "hsl>")
    terminal.press("Up")
    terminal.wait("hsl> 6 *", "... 7")
    terminal.press("Enter")
    terminal.wait("42", "hsl>")
    terminal.type(":quit")
    terminal.press("Enter")
    terminal.wait("hsl> :quit", "left with 0")


def test_no_place_for_a_history(open_terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    terminal = open_terminal()
    terminal.wait("HSL. No stage. :help lists the commands, Ctrl-D leaves.", "hsl>")
    terminal.press("1", "Enter")
    terminal.wait("hsl> 1", "1", "hsl>")
