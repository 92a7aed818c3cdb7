"""Stages without a gateway: a made-up session, message or queue entry on which `hsl run` and `hsl repl` try scripts.

They are the very stages, builtins and replies of the gateway, over the embedded backends (or what `--set` names).
"""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hsl.cli.scripts import Unreadable, read_file, shown_path
from hsl.errors import ScriptError
from hsl.evaluator import Program
from hsl.run import Budget, Run
from hsl.runtime.clock import SystemClock
from hsl.runtime.context import (
    AuthContext,
    ConnectContext,
    Context,
    DataContext,
    DisconnectContext,
    EodContext,
    HeloContext,
    MailFromContext,
    PostDeliveryContext,
    PreDeliveryContext,
    RcptToContext,
)
from hsl.runtime.data import MessageState, choose, finish, store
from hsl.runtime.functions.arguments import MESSAGE_STAGES
from hsl.runtime.log import Log
from hsl.runtime.message import BytesBody, Field, Message
from hsl.runtime.metrics import Metrics
from hsl.runtime.model import (
    Address,
    Attempt,
    Auth,
    Connection,
    DeliveryPlan,
    Helo,
    Mail,
    NetAddress,
    QueueEntry,
    Recipient,
    Result,
    Transaction,
)
from hsl.runtime.network import ScriptNetwork
from hsl.runtime.policies import QueuePolicies
from hsl.runtime.protocols import Rates, Slots, SpamScanner
from hsl.runtime.rates import MemoryRates
from hsl.runtime.runner import Services, StageRunner
from hsl.runtime.scanners import EmbeddedOutbreakScanner, EmbeddedSpamScanner, EmbeddedVirusScanner, SpamdScanner
from hsl.runtime.slots import MemorySlots
from hsl.runtime.stages import STAGES, unknown_stage
from hsl.runtime.verdict import Verdict, VerdictReached
from hsl.shared import SharedStore
from hsl.values import Value

SAMPLE = b"From: sender@example.com\r\nTo: recipient@example.net\r\nSubject: A test\r\n\r\nHello.\r\n"
Closer = Callable[[], Awaitable[object]]
MAX_MESSAGE = 100 * 1024 * 1024  # bytes of a message file
NETADDRESSES = {str(n): NetAddress(str(n), f"192.0.2.{n}", f"out{n}.example.com") for n in range(1, 10)}


class UsageError(Exception):
    """An option that cannot be used as given."""


@dataclass(frozen=True)
class Scene:
    """What the tried script is told. Addresses are bytes as on the wire."""

    stage: str
    sender: bytes = b"sender@example.com"
    recipients: tuple[bytes, ...] = (b"recipient@example.net",)
    ip: str = "192.0.2.100"
    helo: bytes = b"mail.example.com"
    user: bytes = b""
    password: bytes = b"secret"
    mechanism: str = ""  # of the auth stage; "": PLAIN with user and password
    initial: bytes | None = None
    responses: tuple[bytes, ...] = ()
    message: bytes = SAMPLE
    transport: str = "default"
    serverid: str = "test"
    metadata: Mapping[bytes, bytes] = field(default_factory=dict)
    reply: str = "250 2.0.0 Ok"
    retry: int = 0


class EmptyQueue:
    """A queue that holds nothing, and numbers what is stored."""

    def __init__(self) -> None:
        self.last = 0

    def metric(self, metric: str, filters: Mapping[str, Sequence[bytes]]) -> int:
        return 0

    async def measure(self, metric: str, filters: Mapping[str, Sequence[bytes]]) -> int:
        return self.metric(metric, filters)

    def quota(self, name: bytes) -> tuple[int, int]:
        return 0, 0

    def reserve(self) -> int:
        self.last += 1
        return self.last

    async def apply(self, *, store: Sequence[Mail] = ()) -> list[int]:
        return [entry.id or self.reserve() for mail in store for entry in mail.entries]


@dataclass
class Outcome:
    """What became of a script: a verdict (or the stage's implicit one), or an error; and the value of a `return`."""

    verdict: Verdict
    error: ScriptError | None = None
    value: Value = None


class Workbench:
    """One stage set up to run scripts on. Made inside a running event loop; `close` ends its clients."""

    def __init__(self, scene: Scene, services: Services, budget: Budget, closers: Sequence[Closer]) -> None:
        self.scene = scene
        self.services = services
        self.budget = budget
        self.closers = closers
        self.runner = StageRunner({}, services, budget)
        self.connection = make_connection(scene)
        self.transaction = make_transaction(scene)
        self.message = Message(BytesBody(scene.message))
        self.state = MessageState(self.connection, self.transaction, self.message)
        self.contexts = self.make_contexts()

    @classmethod
    async def open(
        cls,
        scene: Scene,
        settings: Mapping[str, str],
        budget: Budget | None = None,
        *,
        root: Path | None = None,
        ffi: bool = False,
    ) -> Workbench:
        """Set a stage up. `settings`: rate=redis://… and spam=spamd://host:port. Raises UsageError.

        `root`: where scripts may read files; `ffi`: whether they may call C functions.
        """
        if scene.stage not in STAGES:
            raise UsageError(unknown_stage(scene.stage))
        unknown = set(settings) - {"rate", "spam"}
        if unknown:
            raise UsageError(f"--set knows rate and spam, not {', '.join(sorted(unknown))}")
        make_attempt(scene.reply)
        log = Log("warning")
        clock = SystemClock()
        spam = open_spam(settings.get("spam", "embedded"), log, clock)
        rates, slots, close = await open_state(settings.get("rate", "memory"), log, clock)
        network = ScriptNetwork(sources={item.id: item.address for item in NETADDRESSES.values()}, log=log)
        services = Services(
            rates=rates,
            slots=slots,
            queue=EmptyQueue(),
            spam=spam,
            outbreak=EmbeddedOutbreakScanner(),
            viruses=EmbeddedVirusScanner(),
            dlp={},
            metrics=Metrics(log),
            policies=QueuePolicies(clock),
            addresses=NETADDRESSES,
            transports=frozenset({scene.transport}),
            clock=clock,
            log=log,
            shared=SharedStore(turns=lambda: asyncio.get_running_loop().create_future()),
            hostname="gateway.example.com",
            network=network,
            serial="workbench",
            concurrency=lambda serverid, network: 1,
            rootpath=root,
            ffi=ffi,
        )
        closers = [network.close, close] if close else [network.close]
        return cls(scene, services, budget or Budget(), closers)

    async def close(self) -> None:
        for closer in self.closers:
            await closer()

    def make_contexts(self) -> list[Context]:
        """The stage's context: one, or one per recipient where the stage runs for each."""
        scene = self.scene
        connection, transaction = self.connection, self.transaction
        recipients = transaction.recipients
        match scene.stage:
            case "connect":
                made: list[Context] = [ConnectContext(connection, transaction)]
            case "helo":
                made = [HeloContext(connection, transaction, "EHLO", scene.helo, ["PIPELINING", "8BITMIME"])]
            case "auth":
                made = [make_auth(connection, transaction, scene)]
            case "mailfrom":
                made = [MailFromContext(connection, transaction, Address.of(scene.sender), {})]
            case "rcptto":
                transaction.recipients = []
                made = [RcptToContext(connection, transaction, item) for item in recipients]
            case "data":
                made = [DataContext(connection, transaction, item, self.state) for item in recipients]
            case "eod":
                made = [EodContext(connection, transaction, self.state, time.time())]
            case "disconnect":
                made = [DisconnectContext(connection, transaction)]
            case "predelivery":
                made = [self.predelivery(entry) for entry in self.entries()]
            case _:
                attempt = make_attempt(scene.reply)
                action = None if attempt.delivered else "BOUNCE" if attempt.permanent else "QUEUE"
                made = [PostDeliveryContext(entry, attempt, action, 30, None) for entry in self.entries()]
        for context in made:
            context.services = self.services
        return made

    def next_round(self, context: Context, verdict: Verdict) -> Context | None:
        """Where the auth stage goes on after a challenge: with the client's next response, if there is one."""
        if not isinstance(context, AuthContext) or verdict.action != "reply" or verdict.disconnect:
            return None
        if context.state >= len(self.scene.responses):
            return None
        following = context.next(self.scene.responses[context.state])
        following.services = self.services
        return following

    def entries(self) -> list[QueueEntry]:
        scene = self.scene
        return [
            QueueEntry(
                transaction=self.transaction.id,
                sender=Address.of(scene.sender),
                recipient=item.address,
                transportid=scene.transport,
                serverid=scene.serverid,
                senderip=scene.ip,
                senderhelo=scene.helo,
                saslusername=scene.user,
                metadata=dict(scene.metadata),
                size=len(scene.message),
                ts=time.time(),
                retry=scene.retry,
                id=number,
            )
            for number, item in enumerate(self.transaction.recipients, 1)
        ]

    @staticmethod
    def predelivery(entry: QueueEntry) -> PreDeliveryContext:
        plan = DeliveryPlan(entry.sender, entry.recipient)
        return PreDeliveryContext(entry, plan, 30, f"{entry.id}-1")

    def take_message(self, message: bytes) -> None:
        """Put another message on the bench."""
        self.scene = replace(self.scene, message=message)
        self.message = Message(BytesBody(message))
        self.transaction = make_transaction(self.scene)
        self.state = MessageState(self.connection, self.transaction, self.message)
        self.contexts = self.make_contexts()

    async def execute(
        self,
        program: Program,
        context: Context,
        output: Callable[[bytes], None] | None = None,
        start: Callable[..., Run] = Run,
    ) -> tuple[Run, Outcome]:
        """Run a program on a context as the gateway would; errors come back in the outcome. `start` makes the run."""
        stage = STAGES[context.stage]
        run = start(
            program,
            host=context,
            variables=context.variable,
            output=output,
            budget=self.budget,
            shared=self.services.shared,
            message_id=context.message_id,
        )
        try:
            return run, Outcome(stage.implicit, value=await run.execute_async())
        except VerdictReached as reached:
            return run, Outcome(reached.verdict)
        except ScriptError as error:
            return run, Outcome(stage.on_error, error)
        finally:
            if "context" in program.stage_variables:
                context.context = run.variable("context")

    def fields(self) -> Sequence[Field]:
        """The message's header fields as they are now; none where the stage has no message, or they are too many."""
        if self.scene.stage not in MESSAGE_STAGES:
            return ()
        try:
            return self.message.headers()
        except ScriptError:
            return ()

    def forget_acts(self) -> None:
        """Let the message be decided upon anew."""
        self.state.acts.clear()
        for context in self.contexts:
            if isinstance(context, DataContext):
                context.first_act = 0

    def reply_text(self, verdict: Verdict) -> str | None:
        """The SMTP reply that a verdict means, where its stage answers a client; none for Done(): all acts count."""
        stage = STAGES[self.scene.stage]
        if not stage.answers or verdict.action == "done":
            return None
        if verdict.action == "reply":
            return f"{verdict.code or 334} {b64encode(verdict.options['challenge']).decode()}"
        return str(self.runner.reply(stage.name, verdict))

    def finish_data(self, context: Context, verdict: Verdict) -> None:
        """Note what the end of a data script means for its recipient."""
        if isinstance(context, DataContext) and not verdict.error:
            finish(context, verdict)

    async def message_result(self, verdict: Verdict) -> tuple[Verdict, list[Mail]]:
        """The one answer for all recipients, and what it stores. `verdict` is the last script's."""
        if self.scene.stage == "data" and not verdict.error:
            verdict = choose(self.state.acts)
        code = self.runner.reply(self.scene.stage, verdict).code
        return verdict, await store(self.state, self.transaction, code)


def make_connection(scene: Scene) -> Connection:
    connection = Connection(scene.serverid, scene.ip, 50000, "192.0.2.1", 25, remoteptr=None)
    if scene.stage not in ("connect", "helo"):
        connection.helo = Helo("EHLO", scene.helo)
    if scene.user and scene.stage != "auth":
        connection.auth = Auth("PLAIN", scene.user)
    return connection


def make_auth(connection: Connection, transaction: Transaction, scene: Scene) -> AuthContext:
    if not scene.mechanism:
        return AuthContext(connection, transaction, "PLAIN", scene.user, scene.password)
    context = AuthContext(connection, transaction, scene.mechanism)
    context.response = scene.initial
    return context


def make_transaction(scene: Scene) -> Transaction:
    transaction = Transaction()
    if scene.stage not in ("connect", "helo", "auth", "mailfrom"):
        transaction.sender = Address.of(scene.sender)
        transaction.recipients = [Recipient(Address.of(item), scene.transport) for item in scene.recipients]
    return transaction


def make_attempt(reply: str) -> Attempt:
    """An attempt that ended with this reply, like `550 5.1.1 No such user`. Raises UsageError."""
    code, _, text = reply.partition(" ")
    if not (len(code) == 3 and code.isdigit()):
        raise UsageError(f"--reply wants a reply like '550 5.1.1 No such user', not {reply!r}")
    result = Result.read(int(code), [text], "EOD")
    return Attempt(result, localip="192.0.2.1", remoteip="192.0.2.200", remoteport=25, remotemx="mx.example.net")


async def open_state(url: str, log: Log, clock: SystemClock) -> tuple[Rates, Slots, Closer | None]:
    if url == "memory":
        return MemoryRates(clock), MemorySlots(), None
    from hsl.runtime.redis_state import RedisState, StateError

    try:
        state = await RedisState.connect(url, prefix="hsl:", timeout=0.5, log=log, clock=clock)
    except (StateError, ValueError) as error:
        raise UsageError(f"rate={url}: {error}") from None
    return state.rates, state.slots, state.close


def open_spam(url: str, log: Log, clock: SystemClock) -> SpamScanner:
    if url == "embedded":
        return EmbeddedSpamScanner()
    scheme, _, place = url.partition("://")
    host, _, port = place.rpartition(":")
    if scheme != "spamd" or not host or not port.isdigit():
        raise UsageError(f"spam={url}: wanted embedded or spamd://host:port")
    return SpamdScanner(host, int(port), timeout=20.0, max_size=512 * 1024, log=log, clock=clock)


def read_message(path: Path) -> bytes:
    """A message file with its line ends as on the wire. Raises UsageError."""
    try:
        data = read_file(path, MAX_MESSAGE)
    except Unreadable as error:
        raise UsageError(f"cannot read {shown_path(path)}: {error}") from None
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
