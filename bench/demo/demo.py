"""The seed article's gateway at work: real SMTP sessions in, scripts at every stage, real sinks behind it.

Starts `hsl serve` with the scripts of scripts/outbound (and small limits of its own), smtp-sinks and a dead host on
loopback addresses, sends with swaks, prints what the wire and the sinks' records show, and ends everything again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))  # the launchers that the tests use

from gateway import Gateway, hsl  # noqa: E402
from servers import Sink, needs  # noqa: E402

GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
CONFIG = """\
version: 1
environment: {{ hostname: gateway.example.net }}
servers:
  - id: outbound
    transport: internet
    listeners: [{{ address: 127.0.0.1, port: 0 }}]
    relay: {{ networks: [127.0.0.1/32] }}
    phases: {{ rcptto: {{ hook: rcptto.hsl }}, data: {{ hook: data.hsl }} }}
transportgroups:
  - id: default
    retry: {{ count: 30, intervals: [{{ interval: 15m }}] }}
    transports: [{{ id: internet, session: {{ port: {sink_port} }} }}]
addresses:
  - {{ id: "1", address: 127.0.0.11, hostname: out1.example.net }}
  - {{ id: "2", address: 127.0.0.12, hostname: out2.example.net }}
  - {{ id: "3", address: 127.0.0.13, hostname: out3.example.net }}
  - {{ id: "4", address: 127.0.0.14, hostname: bulk.example.net }}
queues:
  path: queue
  predelivery: {{ hook: predelivery.hsl }}
  postdelivery: {{ hook: postdelivery.hsl }}
scripting: {{ rootpath: . }}
resolver:
  ptr: false
  hosts: {{ mx.good.example: [{good}], mx.failing.example: [{failing}], mx.dead.example: [{dead}] }}
  mx: {{ good.example: [mx.good.example], failing.example: [mx.failing.example], dead.example: [mx.dead.example] }}
"""


class Demo:
    """The running gateway, its sinks, and the rows of the table."""

    def __init__(self, folder: Path, port: int, sink: Sink) -> None:
        self.folder = folder
        self.port = port
        self.sink = sink
        self.rows: list[tuple[str, str, str, bool]] = []
        self.swaks = needs("swaks", "swaks")

    def send(self, sender: str, *recipients: str, body: str = "Hello.") -> str:
        """Send one mail; the last reply that decided something: to RCPT when it was refused, else to the data."""
        command = [self.swaks, "--server", f"127.0.0.1:{self.port}", "--helo", "client.example.com"]
        command += ["--from", sender, "--to", ",".join(recipients), "--header", "Subject: demo", "--body", body]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        replies = re.findall(r"^(?:<-|<\*\*) +(\d{3} .*)$", done.stdout, re.M)
        refused = [line for line in replies if line[0] in "45"]
        return refused[0] if refused else next(line for line in replies if "queued as" in line)

    def sink_row(self, sender: str) -> str:
        """From which source IP the sink got the newest mail of a sender."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found = [item for item in self.sink.messages() if sender in item.sender]
            if found:
                return f"{found[-1].client} (HELO {found[-1].helo})"
            time.sleep(0.05)
        return "nothing arrived"

    def queue(self, *arguments: str) -> str:
        return str(hsl("queue", *arguments, "-c", self.folder / "smtpd.yaml").stdout)

    def wait_failures(self, sender: str, count: int) -> None:
        """Until that many mails of a sender were tried once and wait for their retry."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            waiting = json.loads(self.queue("list", "--sender", sender, "--json"))
            if sum(item["retry"] > 0 for item in waiting) >= count:
                return
            time.sleep(0.05)

    def row(self, what: str, wanted: str, seen: str) -> None:
        self.rows.append((what, wanted, seen, wanted in seen))


def play(demo: Demo) -> None:
    """The article, paragraph by paragraph."""
    for sender, wanted in (("alice@one.example", "127.0.0.11"), ("bob@two.example", "127.0.0.13")):
        demo.send(sender, "carol@good.example")
        demo.row(f"clean mail from {sender}", wanted, f"left from {demo.sink_row(sender)}")

    demo.send("eve@spam.example", "carol@good.example", "dave@failing.example", body=GTUBE)
    demo.row("GTUBE from eve@spam.example", "127.0.0.14", f"left from {demo.sink_row('eve@spam.example')}")
    entries = json.loads(demo.queue("list", "--sender", "eve@spam.example", "--json"))
    shown = ", ".join(f"{key}={value}" for entry in entries for key, value in entry["metadata"].items())
    demo.row("  its other recipient, still queued", "spam=yes", f"metadata {shown}")

    for _ in range(3):
        demo.send("frank@busy.example", "carol@good.example")
    reply = demo.send("frank@busy.example", "carol@good.example")
    demo.row("4th mail in an hour (limit 3)", "You may only send 3 messages per hour, try later", reply)

    for _ in range(2):
        demo.send("grace@unlucky.example", "dave@failing.example")
        demo.wait_failures("grace@unlucky.example", len(demo.rows) and 1)
    demo.wait_failures("grace@unlucky.example", 2)
    reply = demo.send("grace@unlucky.example", "carol@good.example")
    demo.row("after 2 failed deliveries (limit 1)", "has more than 2 failed deliveries during the last hour", reply)

    for _ in range(2):
        demo.send("heidi@stuck.example", "erin@dead.example")
    reply = demo.send("heidi@stuck.example", "carol@good.example")
    demo.row("with 2 mails in the queue (limit 1)", "has exceeded the max queue limit of 1 messages", reply)


def show(demo: Demo) -> None:
    print("\nThe limits are the demo's own small ones (bench/demo/limits.hsl); scripts/outbound has the article's.\n")
    print(f"{'what':38}  {'what the wire and the sink show'}")
    print(f"{'-' * 38}  {'-' * 80}")
    for what, wanted, seen, right in demo.rows:
        print(f"{what:38}  {seen}" + ("" if right else f"   WRONG, wanted: {wanted}"))
    total = demo.queue("metric").strip()
    print(f"\n{len(demo.sink.messages())} mails arrived at the sink, {total} wait in the queue.")


def dead_host(port: int, stack: ExitStack) -> str:
    """The address of a host that lets nobody in: a full backlog that is never accepted from."""
    listener = stack.enter_context(socket.socket())
    address = "127.66.66.66"
    listener.bind((address, port))
    listener.listen(0)
    for _ in range(2):
        filler = stack.enter_context(socket.socket())
        filler.setblocking(False)
        filler.connect_ex((address, port))
    return address


def main() -> int:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hsl-demo-")))
        os.chmod(folder, 0o755)  # the sinks run as nobody
        for script in (ROOT / "scripts" / "outbound").glob("*.hsl"):
            shutil.copy(script, folder)
        shutil.copy(HERE / "limits.hsl", folder)
        good = stack.enter_context(Sink(folder))
        failing = Sink(folder, "-r", "RCPT")
        failing.port = good.port  # MX delivery has one port for all hosts
        stack.enter_context(failing)
        dead = dead_host(good.port, stack)
        config = CONFIG.format(sink_port=good.port, good=good.host, failing=failing.host, dead=dead)
        (folder / "smtpd.yaml").write_text(config)
        gateway = stack.enter_context(Gateway(folder / "smtpd.yaml", "--grace", "1"))
        print(f"gateway on 127.0.0.1:{gateway.port}, mail hosts on port {good.port}: {good.host} takes mail,")
        print(f"{failing.host} answers 450 to every RCPT, {dead} lets nobody in")
        demo = Demo(folder, gateway.port, good)
        play(demo)
        show(demo)
        return 0 if all(right for *_, right in demo.rows) else 1


if __name__ == "__main__":
    sys.exit(main())
