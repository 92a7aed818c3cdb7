"""Arguments of every type for builtins, seeded; and a host and network whose answers are nonsense."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random
from typing import Any

from snippets import load

from hsl.errors import ScriptError
from hsl.invocation import Builtin, Parameter
from hsl.library import core_registry
from hsl.library.network import DNSAnswer, HTTPRequest, HTTPResponse, NetworkError, NotPermitted
from hsl.run import Run
from hsl.values import Array, Function, Object, Value

REGISTRY = core_registry()
PROGRAM = load("")
STRINGS = [
    b"", b"0", b"-1", b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"a\x00b", b"\r\n", b" ", b"%", b"%s%n",
    b"a" * 70_000,
    b"\xff\x00" * 500, "ÄÖ\u202e💥".encode(), b"user@example.com", b"127.0.0.1", b"::1", b"10.0.0.0/8",
    b"http://127.0.0.1:1/",
    b"/a(b)?/i", b"(", b"[[:alpha:]]+", b"{\"a\": [1, null]}", b"a: &x [*x]", b"=?utf-8?q?=ff?=", b"xn--a",
    b"a.b", b"..",
    b"1e999", b"0x", b"P1Y", b"%Y-%m-%d %H:%M:%S", b"C*N2", b"a*Z*", b"UTF-8", b"utf-16//TRANSLIT", b"AF_INET",
    b"SOCK_STREAM",
    b"number", b"string", b"v=1; a=rsa-sha256; d=a; s=b", b"aes-256-gcm", b"A" * 64, b"a,b\n\"c", b"127.0.0.1:70000",
]  # fmt: skip
NUMBERS = [
    0.0, 1.0, -1.0, 2.0, 0.5, -0.5, 7.0, 16.0, 255.0, 256.0, 512.0, 65536.0, 1e6, 2.0**31, -(2.0**31), 2.0**53, 2.0**63,
    2.0**64, 1e22, 1e300, -1e300, 5e-324, math.nan, math.inf, -math.inf,
]  # fmt: skip


KEYS = [  # of arrays that mean something
    b"code", b"enhanced", b"localpart", b"domain", b"address", b"name", b"id", b"data", b"type", b"filename", b"params",
    b"host", b"port", b"CONNECT", b"result", b"error", b"transportid", b"status",
]  # fmt: skip


def text(random: Random) -> bytes:
    if random.random() < 0.7:
        return random.choice(STRINGS)
    return random.randbytes(random.randrange(40))


def array(random: Random, depth: int) -> Array:
    length = random.choice((0, 1, 1, 2, 3, 5))
    if random.random() < 0.5:
        return Array.of(anything(random, depth + 1) for _ in range(length))
    keys = (random.choice((text(random), random.choice(NUMBERS), random.choice(KEYS))) for _ in range(length))
    result = Array()
    for key in keys:
        result.set(key, anything(random, depth + 1))
    return result


class Callback(Function):
    """A script's function that gives a value, whatever it is called with."""

    def __init__(self, result: Value) -> None:
        super().__init__("callback")
        self.result = result

    def call(self, run: object, arguments: list[Value]) -> Value:
        return self.result


OBJECTS: list[tuple[str, list[Value]]] = [
    ("Map", [b"string", b"string"]), ("Map", [b"number", b"array"]), ("Set", [b"number"]),
    ("Iconv", [b"UTF-8", b"ASCII"]),
    ("MIME", []), ("Exception", [b"e"]), ("pcre_compile", [b"(a)+"]),
    ("MailMessage::String", [b"From: a@b\r\n\r\nbody\r\n"]),
    ("File::String", [b"a\nb"]),
]  # fmt: skip


def make(run: Run, name: str, arguments: list[Value]) -> Value:
    class_name, _, static = name.partition("::")
    if static:
        return REGISTRY.classes[class_name].static_methods[static].call(run, arguments)
    return REGISTRY.entries[name].builtin.call(run, arguments)


def anything(random: Random, depth: int = 0) -> Value:
    kind = random.choice(("string", "string", "number", "boolean", "none", "array", "function", "object"))
    return of_type(kind, random, depth)


def of_type(kind: str, random: Random, depth: int = 0) -> Value:
    match kind:
        case "string":
            return text(random)
        case "number":
            return random.choice(NUMBERS)
        case "boolean":
            return random.random() < 0.5
        case "array" if depth < 3:
            return array(random, depth)
        case "function" if depth < 2:
            return Callback(anything(random, depth + 1))
        case "object":
            return make(Run(PROGRAM), *random.choice(OBJECTS))
        case "any":
            return anything(random, depth)
    return None


class Network:
    """A network that gives nonsense: any answer of the DNS, any response, no connection."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.policy = self.dns = self.http = self.sockets = self

    def permit(self, address: str) -> None:
        raise NotPermitted("not here")

    async def query(self, name: str, kind: str = "A", **rest: Any) -> DNSAnswer:
        address = b"2001:db8::1" if kind == "AAAA" else b"192.0.2.1"
        records = {"A": address, "AAAA": address, "MX": b"10 mail.example.com"}
        given = records.get(kind) or self.random.choice((b"v=spf1 a mx ptr exists:%{l}.%{d} -all", text(self.random)))
        return DNSAnswer(self.random.choice(("NOERROR", "NXDOMAIN", "TIMEOUT", "SERVFAIL")), (given,), 1.0, True)

    async def addresses(self, host: str, *, timeout: float = 5.0) -> list[str]:
        if self.random.random() < 0.5:
            raise NetworkError("resolve", "nobody answers")
        return ["192.0.2.1", "2001:db8::1"]

    async def request(self, request: HTTPRequest) -> HTTPResponse:
        if self.random.random() < 0.5:
            raise NetworkError("too-large", "too large")
        return HTTPResponse("1.1", self.random.choice((200, 404)), "\udcff", ((b"a", b"\xff"),), text(self.random))

    def enqueue(self, request: HTTPRequest, *, queue: int = 0, retries: int = 0, delay: float = 0.0) -> bool:
        assert delay == delay >= 0
        assert retries >= 0
        return self.random.random() < 0.5

    async def ready(self, number: int, *, write: bool, timeout: float) -> bool:
        return False

    def source(self, address_id: str) -> str | None:
        return "192.0.2.9" if address_id else None


class Host:
    """What builtins may ask of a host (hsl/library/host.py), as far as nothing outside is touched."""

    def __init__(self, rootpath: Path, network: Network | None = None) -> None:
        self.rootpath = rootpath
        self.network = network

    async def sleep(self, seconds: float) -> None:
        assert seconds >= 0

    def syslog(self, priority: int, message: bytes) -> None:
        assert 0 <= priority < 192


def argument(parameter: Parameter, random: Random) -> Value:
    """Mostly of a type that the parameter takes, with options that it declares."""
    if random.random() < 0.1:
        return anything(random)
    if parameter.options is not None and random.random() < 0.8:
        given = Array()
        for item in parameter.options.declared().values():
            if random.random() < 0.3:
                given.set(item.name.encode(), of_type(random.choice(sorted(item.types)), random))
        return given
    return of_type(random.choice(sorted(parameter.types)), random)


def arguments(builtin: Builtin, random: Random) -> list[Value]:
    most = builtin.minimum + 4 if builtin.maximum is None else builtin.maximum
    return [argument(builtin.parameter(index), random) for index in range(random.randint(builtin.minimum, most))]


def attempt(builtin: Builtin, run: Run, given: list[Value], receiver: Object | None) -> None:
    try:
        result: object = builtin.call(run, given, None, receiver)
    except ScriptError:
        return
    except Exception as error:
        error.add_note(f"{builtin.signature}, called with {given!r:.500}")
        raise
    fits = result is None or isinstance(result, bool | float | bytes | Array | Function | Object)
    assert fits, f"{builtin.name}() gave {result!r:.100}"
