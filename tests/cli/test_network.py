"""`hsl run` and `hsl repl` without a stage: a script that waits runs on an event loop, any other one never sees it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

RUN = "import sys; from hsl.cli.plain import main; sys.argv[0] = 'hsl'; main()"
HEAVY = "import atexit, sys; atexit.register(lambda: print(sorted({'asyncio', 'aiohttp', 'dns'} & set(sys.modules))));"


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def hsl(program: str, *arguments: str | Path, text: str = "") -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], input=text, capture_output=True, timeout=60, text=True
    )
    return done.returncode, done.stdout, done.stderr


def write(folder: Path, text: str) -> Path:
    script = folder / "one.hsl"
    script.write_text(text)
    return script


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('echo http("URL/a");', "/a\n"),
        ('$f = http; echo $f("URL/b");', "/b\n"),
        ('function f() { return http("URL/c"); } echo f();', "/c\n"),
        ('echo dns_query("x.example", ["servers" => ["127.0.0.1:1"], "timeout" => 1])["error"];', "TRY_AGAIN\n"),
        ('echo spf_query("192.0.2.1", "a", "b.invalid", ["servers" => ["127.0.0.1:1"]])["result"];', "temperror\n"),
        ('echo http("URL/d", ["background" => true]);', "true\n"),
        ('echo http("URL/e"); echo sleep(0.01) > 0;', "/e\ntrue\n"),
    ],
)
def test_scripts_that_wait(tmp_path: Path, url: str, text: str, wanted: str) -> None:
    assert hsl(RUN, "run", write(tmp_path, text.replace("URL", url))) == (0, wanted, "")


def test_errors_of_scripts_that_wait(tmp_path: Path) -> None:
    code, shown, said = hsl(RUN, "run", write(tmp_path, 'echo 1;\nhttp("http://169.254.169.254/");'))
    assert (code, shown) == (1, "1\n")
    assert "one.hsl:2:1: error: connections to '169.254.169.254' are not permitted" in said


@pytest.mark.parametrize("text", ["echo 1;", 'echo idna_encode("a");', 'echo domain_includes("a", "a");', "sleep(0);"])
def test_a_script_that_does_not_wait_needs_no_event_loop(tmp_path: Path, text: str) -> None:
    code, shown, _ = hsl(HEAVY + RUN, "run", write(tmp_path, text))
    assert (code, shown.splitlines()[-1]) == (0, "[]")


def test_the_repl_waits(url: str) -> None:
    code, shown, _ = hsl(RUN, "repl", text=f'echo http("{url}/x");\n$y = http("{url}/y");\necho $y;\n')
    assert code == 0
    assert shown.split() == ["/x", "/y"]


def test_a_stage_has_a_network(tmp_path: Path, url: str) -> None:
    script = write(tmp_path, f'Reject(http("{url}/why", ["sourceip" => "127.0.0.1"]));')
    code, shown, said = hsl(RUN, "run", "--stage", "rcptto", script)
    assert (code, said) == (0, "")
    assert "/why" in shown
