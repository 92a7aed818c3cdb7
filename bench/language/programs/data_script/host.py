"""The stub that program.hsl runs on: in goes the loaded program, each message is one run of it.

The functions do what those of program.py, program.php and program.lua do; they are declared as the gateway's are.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hsl.builtins import Chapter, Options, option
from hsl.compiler import Variable
from hsl.errors import Halt
from hsl.evaluator import Program
from hsl.run import Run
from hsl.shared import SharedStore
from hsl.values import Array, Value

WINDOW = 5000  # messages until all rates and queues are empty again
chapter = Chapter("Stub of the gateway")
VARIABLES = {
    name: Variable(name, "string", "Set for each message.") for name in ("senderdomain", "saslusername", "messageid")
}


class Deferred(Halt):
    """What Defer() ends the script with."""


@dataclass
class Gateway:
    """What outlives a message."""

    rates: dict[tuple[bytes, bytes], int] = field(default_factory=dict)
    queued: dict[bytes, int] = field(default_factory=dict)


@dataclass
class Message:
    gateway: Gateway
    variables: dict[str, Value]
    headers: dict[bytes, bytes]
    rpd: float
    sa: float
    metadata: dict[bytes, bytes] = field(default_factory=dict)


class MetricOptions(Options):
    filter: Array = option(None, "Which entries.")


@chapter.function("GetHeader")
def get_header(run: Run, name: bytes) -> bytes | None:
    """Return a header's value, none without such a header."""
    return run.host.headers.get(name)


@chapter.function("ScanRPD")
def scan_rpd(run: Run) -> float:
    """Return the one scanner's verdict."""
    return run.host.rpd


@chapter.function("ScanSA")
def scan_sa(run: Run) -> float:
    """Return the other scanner's score."""
    return run.host.sa


@chapter.function("rate")
def rate(run: Run, namespace: bytes, entry: bytes, count: float, interval: float) -> bool | float:
    """Account one and tell whether the limit allows it; with count 0 return how many there were."""
    rates = run.host.gateway.rates
    key = (namespace, entry)
    used = rates.get(key, 0)
    if count == 0:
        return float(used)
    if used >= count:
        return False
    rates[key] = used + 1
    return True


@chapter.function("SetMetaData")
def set_metadata(run: Run, metadata: Array) -> None:
    """Set the message's metadata."""
    run.host.metadata = dict(metadata.map or {})


@chapter.function("GetMailQueueMetric")
def get_mail_queue_metric(run: Run, options: MetricOptions | None = None) -> float:
    """Return how many entries of the queue match the filter."""
    assert options is not None
    return float(run.host.gateway.queued.get(options.filter.get(b"senderdomain"), 0))


@chapter.function("Defer", halts=True)
def defer(run: Run, reason: bytes) -> None:
    """End the script."""
    raise Deferred(reason)


def main(program: Program, size: int) -> str:
    """Run the script for each of `size` messages."""
    gateway, shared = Gateway(), SharedStore()
    accepted = deferred = spam = letters = 0
    for i in range(size):
        if i % WINDOW == 0:
            gateway = Gateway()
        message = make_message(gateway, i)
        try:
            Run(program, host=message, variables=message.variables.__getitem__, shared=shared).execute()
        except Deferred as verdict:
            deferred += 1
            letters += len(verdict.args[0])
        else:
            accepted += 1
            domain = message.variables["senderdomain"]
            assert isinstance(domain, bytes)
            gateway.queued[domain] = gateway.queued.get(domain, 0) + 1
        if message.metadata.get(b"spam") == b"yes":
            spam += 1
    return f"accepted {accepted} deferred {deferred} spam {spam} letters {letters}"


def make_message(gateway: Gateway, i: int) -> Message:
    variables: dict[str, Value] = {
        "senderdomain": b"domain%d.example" % (i % 40),
        "saslusername": b"login%d" % (i % 25) if i % 3 == 0 else b"",
        "messageid": b"m%d" % i,
    }
    headers = {b"X-PHP-Originating-Script": b"33:mail%d.php" % (i % 10)} if i % 5 == 0 else {}
    return Message(gateway, variables, headers, (0.0, 0.0, 50.0, 0.0, 100.0, 10.0, 0.0)[i % 7], float(i * 7 % 9))
