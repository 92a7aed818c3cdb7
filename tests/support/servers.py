"""Real servers for tests: redis-server, spamd, Postfix's smtp-sink and smtp-source. Loopback only.

Each is a process that the test starts and ends by its pid. A missing program fails the test with the line that installs
it. A free port may be taken by somebody else before the server binds it: then another one is tried.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

SBIN = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
START = 20.0  # seconds for a server to answer
PORTS_TRIED = 5
UNPRIVILEGED = "nobody"
ESTABLISHED, TIME_WAIT, LISTENING = "01", "06", "0A"  # states of /proc/net/tcp


def needs(program: str, package: str) -> str:
    """The program's path. Without it the test fails and says how to install it."""
    path = shutil.which(program, path=SBIN)
    if path is None:
        pytest.fail(f"{program} is missing: apt-get install --no-install-recommends {package}", pytrace=False)
    return path


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nobody listened on just now."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def is_root() -> bool:
    return os.geteuid() == 0


class StartFailed(Exception):
    """The server ended, or did not answer in time; the text is its output."""


class Server:
    """A process that is started and ended by its pid. Its output goes to `log`."""

    patience = START  # seconds to be ready

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.name = name
        self.log = directory / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self.name} was not started"
        return self.process.pid

    def launch(self, command: list[str], ready: Callable[[], bool], **environment: str) -> None:
        """Start and wait until `ready`. Raises StartFailed; nothing is left running then."""
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=self.directory,
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + self.patience
        while self.process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError):
                if ready():
                    return
            time.sleep(0.01)
        self.kill()
        raise StartFailed(f"{self.name} did not start: {self.log.read_text(errors='replace')[-2000:]}")

    def stop(self) -> None:
        """End it (SIGTERM, after 5 seconds SIGKILL). It may be suspended or dead already."""
        if self.process is None:
            return
        for number in (signal.SIGTERM, signal.SIGCONT):
            self.process.send_signal(number)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, as in a crash."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def suspend(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


def on_free_port(start: Callable[[int], None], address: str = "127.0.0.1") -> int:
    """Start on a free port, on another one when it is taken meanwhile. The port."""
    for attempt in range(PORTS_TRIED):
        port = free_port(address)
        try:
            start(port)
        except StartFailed:
            if attempt == PORTS_TRIED - 1 or not is_listening(address, port):
                raise
        else:
            return port
    raise AssertionError("unreachable")


def is_listening(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


def ask(address: str, port: int, question: bytes) -> bytes:
    """The first block of an answer. Raises OSError."""
    with socket.create_connection((address, port), timeout=1) as connection:
        connection.sendall(question)
        return connection.recv(4096)


class RedisServer(Server):
    """A redis-server without persistence. `options` are pairs of its command line: ("--maxmemory", "5mb").

    `start` after `kill` starts it on the same port. A context manager.
    """

    def __init__(self, directory: Path, *options: str) -> None:
        super().__init__(directory, "redis-server")
        self.program = needs("redis-server", "redis-server")
        self.options = options
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        if self.port:
            self.start_at(self.port)
        else:
            self.port = on_free_port(self.start_at)

    def start_at(self, port: int) -> None:
        command = [self.program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(self.directory)]
        command += ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction", *self.options]

        def ready() -> bool:
            # a foreign redis-server on a stolen port answers as well, but then ours has ended, or will with "in use"
            return b"Ready to accept" in self.log.read_bytes() and bool(ask("127.0.0.1", port, b"PING\r\n"))

        self.launch(command, ready)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


@contextmanager
def redis_server(tmp_path: Path, *options: str) -> Iterator[str]:
    """A running redis-server; its URL. RedisServer is for tests that stop and restart it."""
    with RedisServer(tmp_path, *options) as server:
        yield server.url


SPAMD_PLUGINS = "Check HeaderEval BodyEval MIMEEval HTMLEval RelayEval MIMEHeader"
SPAMD_RULES = r"""
required_score 5
use_bayes 0
body     GTUBE /XJS\*C4JDBQADN1\.NSBN3\*2IDNEN\*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL\*C\.34X/
describe GTUBE Generic Test for Unsolicited Bulk Email
tflags   GTUBE userconf noautolearn
score    GTUBE 1000
header   TEST_SUBJECT Subject =~ /\bhslmta-test\b/
describe TEST_SUBJECT The subject names this test
score    TEST_SUBJECT 1.5
header   TEST_RELAY X-Spam-Relays-Untrusted =~ /^\[ ip=192\.0\.2\.9 /
describe TEST_RELAY The relay 192.0.2.9 handed it over
score    TEST_RELAY -0.5
clear_report_template
report Content analysis details:   (_SCORE_ points, _REQD_ required)
report 
report  pts rule name              description
report ---- ---------------------- --------------------------------------------------
report _SUMMARY_
"""  # noqa: W291


class Spamd(Server):
    """SpamAssassin's spamd with local tests only and a few rules of its own (SPAMD_RULES), so that it starts quickly.

    A context manager. It runs as nobody when the tests run as root; then its files are outside of pytest's folder,
    which is closed to others.
    """

    def __init__(self, directory: Path, *options: str) -> None:
        super().__init__(directory, "spamd")
        self.program = needs("spamd", "spamd")
        self.options = options
        self.host = "127.0.0.1"
        self.port = 0
        self.home = Path()
        self.cleanup = ExitStack()

    def __enter__(self) -> Self:
        self.home = Path(self.cleanup.enter_context(tempfile.TemporaryDirectory(prefix="spamd-")))
        for name in ("rules", "site", "home"):
            (self.home / name).mkdir()
        plugins = [f"loadplugin Mail::SpamAssassin::Plugin::{name}\n" for name in SPAMD_PLUGINS.split()]
        (self.home / "site" / "init.pre").write_text("".join(plugins))
        (self.home / "rules" / "10_test.cf").write_text(SPAMD_RULES)
        for path in (self.home, *self.home.rglob("*")):
            path.chmod(0o755)
        if is_root():
            shutil.chown(self.home / "home", UNPRIVILEGED)
        try:
            self.start()
        except BaseException:
            self.cleanup.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        self.cleanup.close()

    def start(self) -> None:
        if self.port:
            self.start_at(self.port)
        else:
            self.port = on_free_port(self.start_at)

    def start_at(self, port: int) -> None:
        command = [self.program, "--local", "--nouser-config", f"--listen={self.host}:{port}", "--syslog=stderr"]
        command += [f"--configpath={self.home / 'rules'}", f"--siteconfigpath={self.home / 'site'}"]
        command += [f"--helper-home-dir={self.home / 'home'}", "--max-children=2", "--min-children=1", *self.options]
        if is_root():
            command += [f"--username={UNPRIVILEGED}"]

        def ready() -> bool:
            started = b"server successfully spawned" in self.log.read_bytes()
            return started and b"PONG" in ask(self.host, port, b"PING SPAMC/1.5\r\n\r\n")

        self.launch(command, ready)


@contextmanager
def spamd(tmp_path: Path, *options: str) -> Iterator[Spamd]:
    """A running spamd; see `host` and `port`."""
    with Spamd(tmp_path, *options) as server:
        yield server


@dataclass(frozen=True)
class Received:
    """One message that smtp-sink took: `head` is what the sink wrote on top, by lower-case name, in order of lines.

    `raw` is the message as it came, with LF line ends.
    """

    head: tuple[tuple[str, str], ...]
    raw: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.head if key == name]

    @property
    def client(self) -> str:
        """The source IP (X-Client-Addr)."""
        return self.all("x-client-addr")[0]

    @property
    def helo(self) -> str:
        return "".join(self.all("x-helo-args")[:1])

    @property
    def sender(self) -> str:
        """The MAIL command's arguments: `<a@b.c>` and parameters."""
        return self.all("x-mail-args")[0]

    @property
    def recipients(self) -> list[str]:
        """The RCPT commands' arguments: `<a@b.c>` and parameters."""
        return self.all("x-rcpt-args")


def read_dump(data: bytes) -> Received:
    """A dump file of smtp-sink: its own headers, a Received header of three lines, the message, an empty line."""
    head: list[tuple[str, str]] = []
    lines = data.split(b"\n")
    at = 0
    while lines[at].startswith(b"X-"):
        name, _, value = lines[at].decode("utf-8", "surrogateescape").partition(":")
        head.append((name.lower(), value.strip()))
        at += 1
    assert lines[at].startswith(b"Received: from "), data[:500]
    assert data.endswith(b"\n\n"), data[-100:]
    return Received(tuple(head), b"\n".join(lines[at + 3 :])[:-1])


class Sink(Server):
    """Postfix's smtp-sink on an address of its own, a random one of 127/8. It keeps what it receives.

    A context manager.
    `options` are smtp-sink's: ("-r", "RCPT") answers 450 to every RCPT, ("-f", "RCPT") 500.
    """

    def __init__(self, directory: Path, *options: str) -> None:
        super().__init__(directory, "smtp-sink")
        self.program = needs("smtp-sink", "postfix")
        self.options = options
        self.host = ".".join(["127", *(str(random.randint(1, 254)) for _ in range(3))])
        self.port = 0
        self.spool = Path()

    def __enter__(self) -> Self:
        self.spool = Path(tempfile.mkdtemp(prefix="sink-", dir=self.directory))
        if is_root():
            shutil.chown(self.spool, UNPRIVILEGED)
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        if self.port:
            self.start_at(self.port)
        else:
            self.port = on_free_port(self.start_at, self.host)

    def start_at(self, port: int) -> None:
        """As root it is confined to its spool and runs as nobody; else it just writes there."""
        confined = ["-u", UNPRIVILEGED, "-R", str(self.spool), "-d", "m."]
        command = [self.program, *(confined if is_root() else ["-d", f"{self.spool}/m."]), *self.options]
        self.launch([*command, f"{self.host}:{port}", "500"], lambda: ask(self.host, port, b"QUIT\r\n") != b"")

    def messages(self) -> list[Received]:
        """What was received completely, in order of arrival."""
        found = sorted(self.spool.glob("m.*"), key=lambda path: path.stat().st_mtime_ns)
        pending = self.open_files()
        return [read_dump(path.read_bytes()) for path in found if path.name not in pending]

    def open_files(self) -> set[str]:
        """The messages that are still being received."""
        names = set()
        for descriptor in Path(f"/proc/{self.pid}/fd").glob("*"):
            with suppress(OSError):
                names.add(os.path.basename(os.readlink(descriptor)))
        return names

    def is_at_rest(self) -> bool:
        """Whether it has read to its end whatever clients have sent: it has no connection and no open file (Linux)."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        states = {row[3] for row in rows if row[1] == self.endpoint}
        return states <= {LISTENING, TIME_WAIT} and not any(name.startswith("m.") for name in self.open_files())

    @property
    def endpoint(self) -> str:
        """As /proc/net/tcp has it."""
        host = "".join(f"{int(part):02X}" for part in reversed(self.host.split(".")))
        return f"{host}:{self.port:04X}"

    def connections(self) -> int:
        """How many clients are connected, accepted or not (Linux)."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(row[2] == self.endpoint and row[3] == ESTABLISHED for row in rows)

    def wait(self, count: int, timeout: float = 30.0) -> list[Received]:
        """Wait until that many messages are there. Blocks: in an async test through asyncio.to_thread."""
        deadline = time.monotonic() + timeout
        while len(found := self.messages()) < count:
            if time.monotonic() > deadline:
                pytest.fail(f"smtp-sink has {len(found)} messages after {timeout} s, wanted {count}")
            time.sleep(0.02)
        return found


@contextmanager
def smtp_sink(tmp_path: Path, *options: str) -> Iterator[Sink]:
    """A running smtp-sink; see `host`, `port` and `messages()`."""
    with Sink(tmp_path, *options) as sink:
        yield sink


def smtp_source(host: str, port: int, *options: str, timeout: float = 60.0) -> str:
    """Run Postfix's smtp-source to its end; its output. Blocks: in an async test through asyncio.to_thread.

    Fails the test when smtp-source does (it gives up at the first lost connection or unexpected reply).
    """
    command = [needs("smtp-source", "postfix"), *options, f"{host}:{port}"]
    done = subprocess.run(command, capture_output=True, timeout=timeout, check=False)
    output = (done.stdout + done.stderr).decode(errors="replace")
    if done.returncode:
        pytest.fail(f"smtp-source ended with {done.returncode}: {output}")
    return output


class Clamd(Server):
    """ClamAV's clamd with one signature of its own, a file's MD5 and size: no database to download, starts at once."""

    def __init__(self, directory: Path, known: bytes, name: str) -> None:
        super().__init__(directory, "clamd")
        self.program = needs("clamd", "clamav-daemon")
        self.known = known
        self.signature = name
        self.host = "127.0.0.1"
        self.port = 0
        self.cleanup = ExitStack()

    def __enter__(self) -> Self:
        self.home = Path(self.cleanup.enter_context(tempfile.TemporaryDirectory(prefix="clamd-")))
        line = f"{hashlib.md5(self.known).hexdigest()}:{len(self.known)}:{self.signature}\n"
        (self.home / "test.hdb").write_text(line)
        try:
            self.port = on_free_port(self.start_at)
        except BaseException:
            self.cleanup.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()
        self.cleanup.close()

    def start_at(self, port: int) -> None:
        settings = {
            "Foreground": "yes", "DatabaseDirectory": self.home, "TCPSocket": port, "TCPAddr": self.host,
            "TemporaryDirectory": self.home, "StreamMaxLength": "1M", "User": "root" if is_root() else None,
        }  # fmt: skip
        config = self.home / "clamd.conf"
        config.write_text("".join(f"{name} {value}\n" for name, value in settings.items() if value is not None))
        self.launch([self.program, f"--config-file={config}"], lambda: ask(self.host, port, b"nPING\n") == b"PONG\n")
