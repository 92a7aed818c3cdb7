"""A worker: one process with its own gateway, told by its supervisor what to do (`python -m hsl.smtpd.worker`).

check     compile the scripts of a configuration       prepare, commit   the two steps of a reload
open      open its shard and what scripts stand on     question          what another worker wants to know
listen    take and deliver mail                        rule, lift        suspensions and policies of others
stop      end in order                                 control           a request of the control socket
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from hsl.errors import CompileError, Diagnostic, ScriptError
from hsl.loader import FileLoader
from hsl.programs import Programs
from hsl.runtime.clock import SystemClock
from hsl.runtime.log import Log
from hsl.runtime.metricsum import pack_families
from hsl.smtpd.board import Board
from hsl.smtpd.channel import Channel, Message, Refused
from hsl.smtpd.config import Config
from hsl.smtpd.control import ControlError
from hsl.smtpd.fleet import Fleet, unpack_rule
from hsl.smtpd.gateway import Gateway, Place, Prepared, StartError, place_of
from hsl.smtpd.hooks import Hooks, compile_hooks
from hsl.smtpd.keyfiles import KeyFiles
from hsl.smtpd.privileges import Identity, become, die_with
from hsl.smtpd.snapshot import RecordingLoader, SnapshotLoader

LOOP = "HSL_LOOP"  # `asyncio`: not uvloop, even where it is installed
GRACE = 30.0  # seconds, for a SIGTERM that does not come from the supervisor
DESCRIPTORS = 200  # of one message over a socket; the system takes 253


class Worker:
    """Answers the supervisor's questions until it is told to stop."""

    def __init__(self, descriptors: socket.socket) -> None:
        self.descriptors = descriptors
        self.log = Log()
        self.number = 0
        self.count = 1
        self.programs = Programs()
        self.keys = KeyFiles()
        self.hooks: Hooks | None = None
        self.prepared: Prepared | None = None
        self.running: Gateway | None = None
        self.stopping = asyncio.Event()
        self.grace = GRACE

    @property
    def gateway(self) -> Gateway:
        if self.running is None:
            raise Refused(f"worker {self.number} is not running yet")
        return self.running

    async def run(self, end: socket.socket) -> int:
        """The exit code."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stopping.set)
        self.channel = await Channel.open(end, self.handle, self.log)
        stop, gone = (asyncio.create_task(event.wait()) for event in (self.stopping, self.channel.closed))
        await asyncio.wait((stop, gone), return_when=asyncio.FIRST_COMPLETED)
        if not self.stopping.is_set():
            self.log.critical("supervisor-gone", worker=self.number)
            os._exit(1)  # as it would be by die_with; the queue is safe at any instant
        if self.running is not None:
            await self.running.stop(self.grace)
        gone.cancel()
        await self.channel.close()
        return 0

    async def handle(self, name: str, message: Message) -> Mapping[str, Any]:
        answers = {
            "check": self.check,
            "open": self.open,
            "listen": self.listen,
            "adopt": self.adopt,
            "prepare": self.prepare,
            "commit": self.commit,
            "control": self.control,
            "question": self.question,
            "families": self.families,
            "health": self.health,
            "ping": self.ping,
            "rule": self.rule,
            "lift": self.lift,
            "failure": self.failure,
            "stop": self.stop,
        }
        return await answers[name](message)

    # --- start

    async def check(self, message: Message) -> Mapping[str, Any]:
        """Take a place and compile the scripts: as the user that the worker is to be."""
        self.number, self.count = message["number"], message["count"]
        if message["umask"] is not None:
            os.umask(message["umask"])
        if message["identity"] is not None:
            become(Identity(*message["identity"]))
            die_with(message["parent"])
            self.check_program()
        self.config = Config.model_validate_json(message["config"])
        self.keys.hand_down(message["keys"])
        self.log = Log(self.config.environment.log, worker=self.number if self.count > 1 else None)
        loader = self.loader(self.config, message)
        try:
            self.hooks = await asyncio.to_thread(compile_hooks, self.config, self.programs, loader)
        except CompileError as error:
            return {"findings": pack_findings(error.diagnostics), **recorded(loader)}
        return recorded(loader)

    def check_program(self) -> None:
        """Modules that are first needed later are read by the user that the worker is now."""
        if not os.access(__file__, os.R_OK) or not os.access(os.__file__, os.R_OK):
            hint = "install Python and this program where the user of environment.privdrop can read them"
            self.log.warning("program-unreadable", path=os.path.dirname(__file__), hint=hint)

    def loader(self, config: Config, message: Message) -> FileLoader:
        """Reads the files of a set: from disk for the first worker, as that one has read them for the others."""
        if message["files"] is None:
            return RecordingLoader(config.scripting.rootpath)
        return SnapshotLoader(config.scripting.rootpath, message["files"])

    async def open(self, message: Message) -> Mapping[str, Any]:
        place = self.place(message)
        gateway = Gateway(self.config, self.log, place)
        gateway.programs = self.programs
        try:
            await gateway.open()
        except StartError as error:
            return {"failed": str(error)}
        self.running = gateway
        return {"entries": gateway.queue.count}

    def place(self, message: Message) -> Place:
        listeners: list[tuple[str, int]] = message["listeners"]
        wanted = sum(count for _, count in listeners)
        received = receive_descriptors(self.descriptors, wanted + (self.count > 1))
        board = None
        if self.count > 1:
            board = Board(received.pop(), self.count, len(self.config.servers), bytes.fromhex(message["salt"]))
        sockets: dict[str, list[socket.socket]] = {}
        for name, count in listeners:
            sockets[name] = [socket.socket(fileno=number) for number in received[:count]]
            del received[:count]
        fleet = Fleet(self.channel, SystemClock())
        return Place(self.number, self.count, message["serial"], sockets, message["adopts"], fleet, board, self.keys)

    async def listen(self, message: Message) -> Mapping[str, Any]:
        assert self.hooks is not None
        try:
            await self.gateway.listen(self.hooks)
        except StartError as error:
            return {"failed": str(error)}
        self.hooks = None
        settle_memory()
        loop = asyncio.get_running_loop()
        return {"addresses": self.gateway.addresses, "loop": type(loop).__module__}

    async def adopt(self, message: Message) -> Mapping[str, Any]:
        for number in message["shards"]:
            await self.gateway.adopt(number)
        return {}

    # --- reload

    async def prepare(self, message: Message) -> Mapping[str, Any]:
        config = Config.model_validate_json(message["config"])
        self.keys.hand_down(message["keys"])
        loader = self.loader(config, message)
        try:
            self.prepared = await self.gateway.prepare(config, loader)
        except CompileError as error:
            return {"findings": pack_findings(error.diagnostics), **recorded(loader)}
        return {
            "warnings": pack_findings(self.prepared.hooks.warnings),
            "restart": self.prepared.restart,
            "config": self.prepared.config.model_dump_json(by_alias=True),
            **recorded(loader),
        }

    async def commit(self, message: Message) -> Mapping[str, Any]:
        if self.prepared is None:
            raise Refused("nothing was prepared")
        self.gateway.take_over(self.prepared)
        self.prepared = None
        return {}

    # --- what others ask

    async def control(self, message: Message) -> Mapping[str, Any]:
        try:
            return await self.gateway.desk.answer(message["request"])
        except ControlError as error:
            raise Refused(str(error)) from None

    async def question(self, message: Message) -> Mapping[str, Any]:
        gateway = self.gateway
        if message["what"] == "metric":
            filters = {name: [text.encode("latin-1") for text in texts] for name, texts in message["filters"].items()}
            return {"value": await gateway.queue.measure(message["metric"], filters)}
        if message["what"] == "quota":
            count, size = gateway.queue.quota(message["name"].encode("latin-1"))
            return {"count": count, "bytes": size}
        return {"value": gateway.concurrency(message["server"], message["network"])}

    async def families(self, message: Message) -> Mapping[str, Any]:
        return {"families": pack_families(self.gateway.metrics.collect())}

    async def health(self, message: Message) -> Mapping[str, Any]:
        return {"reason": self.gateway.unhealthy()}

    async def ping(self, message: Message) -> Mapping[str, Any]:
        """To answer is all that is wanted."""
        return {}

    # --- what others tell

    async def rule(self, message: Message) -> Mapping[str, Any]:
        policies = self.gateway.policies
        try:
            policies.hear(unpack_rule(message, policies.lists, policies.clock.monotonic()))
        except ScriptError as error:
            self.log.error("rule-refused", id=message["id"], error=error.message)
        return {}

    async def lift(self, message: Message) -> Mapping[str, Any]:
        self.gateway.policies.forget(message["id"])
        return {}

    async def failure(self, message: Message) -> Mapping[str, Any]:
        server = self.gateway.servers.get(message["server"])
        if server is not None:
            failures = server.failed_logins if message["kind"] == "login" else server.failed_handshakes
            failures.hear(message["ip"])
        return {}

    async def stop(self, message: Message) -> Mapping[str, Any]:
        self.grace = message["grace"]
        self.stopping.set()
        return {}


def recorded(loader: FileLoader) -> dict[str, Any]:
    return {"files": loader.files, "names": loader.names} if isinstance(loader, RecordingLoader) else {}


def pack_findings(findings: Iterable[Diagnostic]) -> list[Message]:
    """Findings of another process: where, what, and all of it as it is shown."""
    return [
        {
            "severity": item.severity,
            "at": place_of(item),
            "message": item.message,
            "hint": item.hint,
            "text": item.render(),
        }
        for item in findings
    ]


def receive_descriptors(end: socket.socket, wanted: int) -> list[int]:
    received: list[int] = []
    while len(received) < wanted:
        data, descriptors, _, _ = socket.recv_fds(end, 1, DESCRIPTORS)
        if not data:
            raise Refused("the supervisor is gone")
        received += descriptors
    return received


def settle_memory() -> None:
    """Keep what the start made (parser tables, scripts, modules) out of garbage collections, and make these rarer.

    A full collection walks everything that lives, and sessions leave few cycles: 3 % more messages under load.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    """uvloop's loop where it is installed and wanted."""
    if os.environ.get(LOOP) == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.Loop


def main() -> None:
    """The arguments: our end of the channel, our end of the socket that brings descriptors, the supervisor's pid."""
    channel, descriptors, parent = map(int, sys.argv[1:])
    die_with(parent)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # these are the supervisor's
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        worker = Worker(socket.socket(fileno=descriptors))
        sys.exit(runner.run(worker.run(socket.socket(fileno=channel))))


if __name__ == "__main__":
    main()
