"""The supervisor: a configuration comes in; its workers run, are restarted, reload and stop together.

It does no mail itself. It opens what must outlive a worker (listening sockets, control socket, monitor), passes on what
workers ask and tell each other, and is what a service manager and an administrator speak to.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hsl.errors import CompileError
from hsl.runtime.clock import SystemClock
from hsl.runtime.log import Log
from hsl.runtime.metrics import Family, gauge
from hsl.runtime.queue import QueueLocked
from hsl.smtpd.board import Board
from hsl.smtpd.channel import Lost, Message, Refused
from hsl.smtpd.config import Config
from hsl.smtpd.configfile import LoadedConfig, load_config
from hsl.smtpd.control import ControlServer, control_path
from hsl.smtpd.keptrules import KeptRules
from hsl.smtpd.keyfiles import key_paths, read_keys
from hsl.smtpd.listeners import BindError, bind_listeners
from hsl.smtpd.monitor import Monitor, endpoint
from hsl.smtpd.notify import Notifier
from hsl.smtpd.privileges import Identity, PrivilegeError, find_identity
from hsl.smtpd.shards import check_unlocked, found_shards, make_folders, read_serial
from hsl.smtpd.together import Together
from hsl.smtpd.watch import State, Watch
from hsl.smtpd.workerprocess import Unfit, WorkerProcess

BACK_OFF = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # seconds before a worker that died is started again
STEADY = 60.0  # seconds after which a worker's death is its first again
GIVE_UP = 5  # deaths in a row after which another worker takes the shard
LOOK = 1.0  # seconds between two looks at the files
ANSWER = 1.5  # seconds for what one worker asks another; less than fleet.WAIT
LETTING_GO = 1.0  # seconds for a queue in use to be free
LEAVE = 15.0  # seconds beyond the grace until a worker that does not stop is killed


class StartFailed(Exception):
    """The gateway does not start. `findings` say what is wrong with its scripts, else the text what is."""

    def __init__(self, text: str, findings: list[Message] | None = None) -> None:
        super().__init__(text)
        self.findings = findings or []


class Supervisor:
    """`start` once, `stop` once; `reload` in between. The configuration's file is read again at each reload."""

    def __init__(self, loaded: LoadedConfig, log: Log, notifier: Notifier) -> None:
        self.path = loaded.path
        self.config = loaded.config
        self.log = log
        self.notifier = notifier
        self.count = self.config.environment.workers
        self.workers = [WorkerProcess(number) for number in range(self.count)]
        self.together = Together(self.living, self.families, log)
        self.stopping = False
        self.ready = False
        self.files: Mapping[str, Any] = {}  # the scripts of the running set
        self.names: list[str] = []
        self.rules = KeptRules(SystemClock())
        self.watch = Watch()
        self.board: Board | None = None
        self.deaths = 0
        self.serial = ""
        self._identity: Identity | None = None
        self._control: ControlServer | None = None
        self._monitor: Monitor | None = None
        self._changing = asyncio.Lock()  # no worker starts while a set is exchanged
        self._tasks: set[asyncio.Task[None]] = set()

    def living(self) -> list[WorkerProcess]:
        """The workers that there should be."""
        return [worker for worker in self.workers if not worker.gone]

    # --- start

    async def start(self) -> None:
        """Start all workers; logs `ready`. Raises StartFailed; then nothing runs."""
        try:
            answers = await self._start()
        except BaseException as error:
            await self._close()
            await asyncio.gather(*(worker.end() for worker in self.workers))
            if isinstance(error, Unfit):
                raise StartFailed(str(error), error.findings) from None
            if isinstance(error, BindError | PrivilegeError | QueueLocked | OSError):
                raise StartFailed(str(error)) from error
            raise
        self.ready = True
        for worker in self.workers:
            self._run(f"worker {worker.number}", self._keep(worker))
        self._run("changes", self._look_for_changes())
        if self.notifier.watchdog:
            self._run("watchdog", self._feed_watchdog())
        self.log.info("ready", **answers)
        self.notifier.ready(self.status())

    async def _start(self) -> dict[str, object]:
        """What is to be said of it."""
        self._identity = find_identity(self.config.environment.privdrop)
        await asyncio.gather(*(worker.spawn(self._handle, self.log) for worker in self.workers))
        before = self.watch.look()
        answer = await self._check(self.workers[0], None)
        self.files, self.names = answer["files"], answer["names"]
        self._watch_files(before)
        await asyncio.gather(*(self._check(worker, self.files) for worker in self.workers[1:]))
        await self._wait_for_queue()
        self._make_places()
        await self._open_desk()
        opened = await asyncio.gather(*(self._open(worker) for worker in self.workers))
        listening = await asyncio.gather(*(worker.begin("listen") for worker in self.workers))
        addresses = listening[0]["addresses"]
        return {
            "listeners": ",".join(f"{name}={endpoint(*item)}" for name, bound in addresses.items() for item in bound),
            "control": control_path(self.config),
            "queue": self.config.queues.path,
            "entries": sum(answer["entries"] for answer in opened),
            "workers": self.count,
            "loop": listening[0]["loop"],
        }

    async def _wait_for_queue(self) -> None:
        """Processes that were killed just now may still hold it. Raises QueueLocked when one goes on to."""
        deadline = time.monotonic() + LETTING_GO
        while True:
            try:
                check_unlocked(self.config.queues.path)
                return
            except QueueLocked:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.05)

    def _make_places(self) -> None:
        """The folders and sockets of all workers. Raises OSError, BindError."""
        path = self.config.queues.path
        owner = (self._identity.uid, self._identity.gid) if self._identity else None
        make_folders(path, self.count, owner)
        self.serial = read_serial(path)
        for number in found_shards(path):
            if number >= self.count:
                self.workers[number % self.count].adopts.append(number)
        for worker, sockets in zip(self.workers, bind_listeners(self.config, self.count), strict=True):
            worker.sockets = sockets
        if self.count > 1:
            self.board = Board.make(self.count, len(self.config.servers))

    async def _open_desk(self) -> None:
        """Control socket and monitor. Raises OSError."""
        control = ControlServer(control_path(self.config), self.together.answer, self.log)
        await control.start()
        self._control = control
        monitor = Monitor(self.together.render, self.log, self.together.unhealthy)
        if await monitor.start(self.config.monitor.listener):
            self._monitor = monitor

    async def _check(self, worker: WorkerProcess, files: Mapping[str, Any] | None) -> Message:
        """Let a worker take its place and compile the scripts: from disk, or these. Raises Unfit."""
        identity, umask = self._identity, self.config.environment.umask
        return await worker.begin(
            "check",
            config=self.config.model_dump_json(by_alias=True),
            keys=self._read_keys(self.config),
            files=files,
            number=worker.number,
            count=self.count,
            parent=os.getpid(),
            identity=identity and (identity.uid, identity.gid, identity.groups),
            umask=None if umask is None else int(umask, 8),
        )

    def _read_keys(self, config: Config) -> dict[str, str]:
        """Key files as root reads them, where the workers are somebody else: else they read them themselves."""
        return read_keys(config) if self._identity else {}

    async def _open(self, worker: WorkerProcess) -> Message:
        """Let a worker open its shards. Raises Unfit."""
        listeners = worker.hand_down([self.board.descriptor] if self.board else [])
        answer = await worker.begin(
            "open",
            listeners=listeners,
            serial=self.serial,
            adopts=worker.adopts,
            salt=self.board.salt.hex() if self.board else "",
        )
        for message in self.rules.current():
            worker.tell("rule", **message)
        worker.ready = True
        assert worker.process is not None
        self.log.info("worker-started", worker=worker.number, pid=worker.process.pid, entries=answer["entries"])
        return answer

    def status(self) -> str:
        """One line for a service manager."""
        running = sum(worker.ready for worker in self.workers)
        return f"{running} of {self.count} workers run"

    def _run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.log.critical("supervisor-failed", task=task.get_name(), error=repr(error))

    # --- a worker's life

    async def _keep(self, worker: WorkerProcess) -> None:
        """Start a worker again when it has ended, later each time, until it is given up."""
        deaths, since = 0, time.monotonic()
        while True:
            assert worker.process is not None
            code = await worker.process.wait()
            if self.stopping:
                return
            worker.ready = False
            self.deaths += 1
            deaths = 1 if time.monotonic() - since > STEADY else deaths + 1
            if deaths >= GIVE_UP and len(self.living()) > 1:
                await self._give_up(worker)
                return
            delay = BACK_OFF[min(deaths, len(BACK_OFF)) - 1]
            self.log.error(
                "worker-died", worker=worker.number, pid=worker.process.pid, how=describe_end(code), again=delay
            )
            await asyncio.sleep(delay)
            since = time.monotonic()
            try:
                await self._restart(worker)
            except (Unfit, OSError) as error:
                findings = error.findings if isinstance(error, Unfit) else []
                reason = findings[0]["text"] if findings else str(error)
                self.log.error("worker-unfit", worker=worker.number, error=reason)
                await self._kill(worker)

    async def _restart(self, worker: WorkerProcess) -> None:
        """Raises Unfit."""
        await worker.end()
        if self.board:
            self.board.clear(worker.number)
        async with self._changing:
            await worker.spawn(self._handle, self.log)
            await self._check(worker, self.files)
            await self._open(worker)
            await worker.begin("listen")

    async def _kill(self, worker: WorkerProcess) -> None:
        worker.ready = False
        if worker.process is not None and worker.process.returncode is None:
            with suppress(ProcessLookupError):
                worker.process.kill()
            await worker.process.wait()

    async def _give_up(self, worker: WorkerProcess) -> None:
        """Another worker delivers its shard. What that one cannot deliver either is left for an administrator: shards
        are handed on once, or one message that kills whoever delivers it would kill all."""
        self.log.critical("worker-given-up", worker=worker.number, deaths=GIVE_UP, until="a restart")
        worker.gone = True
        await worker.end()
        worker.close_sockets()
        if self.board:
            self.board.clear(worker.number)
        heirs = [heir for heir in self.living() if heir.ready]
        if not heirs:
            self.log.critical("queue-abandoned", shard=worker.number, until="a restart")
            return
        heir = min(heirs, key=lambda heir: len(heir.adopts))
        try:
            await heir.ask("adopt", None, shards=[worker.number, *worker.adopts])
        except (Lost, Refused) as error:
            self.log.critical("queue-abandoned", shard=worker.number, error=str(error), until="a restart")

    async def _feed_watchdog(self) -> None:
        """Tell the service manager that we live, as long as every worker that runs answers."""
        pause = self.notifier.watchdog / 3
        while True:
            await asyncio.sleep(pause)
            try:
                await asyncio.gather(*(worker.ask("ping", pause) for worker in self.workers if worker.ready))
            except (Lost, Refused) as error:
                self.log.error("worker-silent", error=str(error))
            else:
                self.notifier.alive()

    # --- what workers ask and tell

    async def _handle(self, worker: WorkerProcess, name: str, message: Message) -> Mapping[str, Any]:
        if name == "others":
            return {"answers": await self._ask_others(worker, message["question"])}
        if name == "rule":
            self.rules.keep(message)
        elif name == "lift":
            self.rules.lift(message["id"])
        for other in self.living():
            if other is not worker and other.ready:
                other.tell(name, **message)
        return {}

    async def _ask_others(self, worker: WorkerProcess, question: Message) -> list[Message]:
        """Raises Refused, Lost when one of them cannot answer."""
        others = [other for other in self.living() if other is not worker]
        for other in others:
            if not other.ready:
                raise Refused(f"worker {other.number} is not running")
        return list(await asyncio.gather(*(other.ask("question", ANSWER, **question) for other in others)))

    def families(self) -> Iterable[Family]:
        """The supervisor's own metrics."""
        yield gauge(
            "hsl_worker_deaths", "Workers that ended by themselves, and were restarted", {(): float(self.deaths)}
        )

    # --- reload

    async def _look_for_changes(self) -> None:
        """Reload when a file of the set has changed and then stayed as it is for LOOK seconds."""
        while True:
            await asyncio.sleep(LOOK)
            if self.watch.settled():
                self.log.info("changed", reload="configuration and scripts")
                await self.reload()

    def _watch_files(self, before: dict[Path, State]) -> None:
        """The configuration and all scripts. Certificates are watched by the workers, as far as they can read them."""
        keys = key_paths(self.config) if self._identity else ()
        root = self.config.scripting.rootpath
        self.watch.note([self.path, *keys, *(root / name for name in self.names)], before)

    async def reload(self) -> bool:
        """Load configuration and scripts anew. Only if all of it is right all workers take it over, else none does.

        What is taken over and what is not: Gateway.reload. Returns whether it was taken over.
        """
        async with self._changing:
            if self.stopping:
                return False
            self.notifier.reloading()
            known, before = self.watch.known, self.watch.look()
            try:
                return await self._reload()
            except (Lost, Refused) as error:
                self.log.error("reload-failed", error=str(error))
                before = known  # what has changed is still to be taken
                return False
            finally:
                self._watch_files(before)
                self.notifier.ready(self.status())

    async def _reload(self) -> bool:
        """Raises Lost, Refused; then nothing was taken over."""
        try:
            loaded = await asyncio.to_thread(load_config, self.path)
        except CompileError as error:
            for item in error.errors:
                self.log.error("reload-failed", at=item.span, error=item.message, hint=item.hint)
            return False
        workers = [worker for worker in self.living() if worker.ready]
        if not workers:
            raise Refused("no worker is running")
        config = loaded.config.model_dump_json(by_alias=True)
        keys = self._read_keys(loaded.config)
        first = await workers[0].ask("prepare", None, config=config, keys=keys, files=None)
        self.names = sorted({*self.files, *first["names"]})
        if self._report_findings(first):
            return False
        new: dict[str, Any] = {"config": config, "keys": keys, "files": first["files"]}
        for answer in await asyncio.gather(*(worker.ask("prepare", None, **new) for worker in workers[1:])):
            if self._report_findings(answer):
                return False
        for item in loaded.warnings:
            self.log.warning("reload", at=item.span, warning=item.message, hint=item.hint)
        for finding in first["warnings"]:
            self.log.warning("reload", at=finding["at"], warning=finding["message"], hint=finding["hint"])
        for name in first["restart"]:
            self.log.warning("restart-needed", setting=name)
        self.config = Config.model_validate_json(first["config"])
        self.files, self.names = first["files"], first["names"]
        await asyncio.gather(*map(self._commit, workers))
        self.log.info("reloaded", servers=len(self.config.servers), workers=len(workers))
        return True

    def _report_findings(self, answer: Message) -> bool:
        """Whether there are errors among the findings of a worker."""
        for item in answer.get("findings", ()):
            if item["severity"] == "error":
                self.log.error("reload-failed", at=item["at"], error=item["message"], hint=item["hint"])
        return "findings" in answer

    async def _commit(self, worker: WorkerProcess) -> None:
        """From here on there is no way back: a worker that cannot follow is restarted, with the new set."""
        try:
            await worker.ask("commit", None)
        except (Lost, Refused) as error:
            self.log.error("worker-left-behind", worker=worker.number, error=str(error))
            if worker.process is not None and worker.process.returncode is None:
                worker.process.kill()

    # --- stop

    async def stop(self, grace: float) -> None:
        """Stop accepting; what is under way may end within `grace` seconds; then all workers end."""
        self.stopping = True
        self.notifier.stopping()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._close()
        await asyncio.gather(*(self._stop(worker, grace) for worker in self.workers))

    async def _stop(self, worker: WorkerProcess, grace: float) -> None:
        if worker.ready:
            worker.tell("stop", grace=grace)
            assert worker.process is not None
            try:
                async with asyncio.timeout(grace + LEAVE):
                    await worker.process.wait()
            except TimeoutError:
                self.log.error("worker-killed", worker=worker.number, after=grace + LEAVE)
        await worker.end()

    async def _close(self) -> None:
        """Close what only the supervisor holds. The workers' own ends of the sockets are the last ones then."""
        for worker in self.workers:
            worker.close_sockets()
        if self._control is not None:
            await self._control.close()
        if self._monitor is not None:
            await self._monitor.close()

    def kill(self) -> None:
        """End all at once: the queue is safe at any instant."""
        for worker in self.workers:
            if worker.process is not None and worker.process.returncode is None:
                worker.process.kill()


def describe_end(code: int) -> str:
    """`exit code 3`, `SIGKILL`"""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
