"""Every function of every stage with arguments of every type: only ScriptErrors and verdicts come out, and each verdict
has a reply."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from anyvalues import PROGRAM, Network, arguments, attempt

from hsl import bridge
from hsl.library import core_registry
from hsl.run import Budget, Run
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
from hsl.runtime.message import BytesBody, Message
from hsl.runtime.model import Address, Attempt, DeliveryPlan, QueueEntry, Recipient, Result
from hsl.runtime.stages import registry
from hsl.runtime.verdict import VerdictReached

pytestmark = pytest.mark.asyncio

ROUNDS = 40  # calls of each function in each stage
MAIL = b"From: a@b.example\r\nSubject: x\r\n\r\nbody\r\n"
CORE = {builtin.name for builtin in core_registry().unique()}


def contexts(world: Any) -> list[Context]:
    """One of each stage."""
    connection, transaction = world.connection, world.transaction
    bob = Recipient(Address.of(b"c@d.example"), "outbound")
    transaction.recipients = [bob]
    state = MessageState(connection, transaction, Message(BytesBody(MAIL), b"Received: x\r\n"))
    entry = QueueEntry("t-2", Address.of(b"a@b.example"), Address.of(b"c@d.example"), "outbound", id=17, retry=3)
    taken = Attempt(result=Result(250, (2, 0, 0), ["taken"], "EOD"))
    return [
        ConnectContext(connection, transaction),
        HeloContext(connection, transaction, "EHLO", b"h.example", ["SIZE"]),
        AuthContext(connection, transaction, "PLAIN", b"u", b"secret"),
        MailFromContext(connection, transaction, Address.of(b"a@b.example"), {}),
        RcptToContext(connection, transaction, bob),
        DataContext(connection, transaction, bob, state),
        EodContext(connection, transaction, state, 12.5),
        DisconnectContext(connection, transaction),
        PreDeliveryContext(entry, DeliveryPlan(entry.sender, entry.recipient), 30, "h-1"),
        PostDeliveryContext(entry, taken, None, 30),
    ]


async def judged(world: Any, context: Context, reached: VerdictReached) -> None:
    """What follows a verdict: a reply, and mails to be queued."""
    runner = world.runner()
    if isinstance(context, DataContext):
        finish(context, reached.verdict)
        await store(context.state, context.transaction, runner.reply("data", choose(context.state.acts)).code)
    elif isinstance(context, EodContext):
        await store(context.state, context.transaction, runner.reply("eod", reached.verdict).code)
    elif context.stage not in ("disconnect", "predelivery", "postdelivery"):
        runner.reply(context.stage, reached.verdict)


def calling(world: Any, context: Context, name: str, random: Random) -> Callable[[], None]:
    """One call of a function, as a script of the context's stage makes it."""
    builtin = registry(context.stage).entries[name].builtin
    run = Run(PROGRAM, host=context, variables=context.variable, budget=Budget(seconds=5), shared=world.services.shared)

    def call() -> None:
        try:
            attempt(builtin, run, arguments(builtin, random), None)
        finally:
            run.close()

    return call


def names(stage: str) -> list[str]:
    return [builtin.name for builtin in registry(stage).unique() if builtin.name not in CORE]


STAGES = ("connect", "helo", "auth", "mailfrom", "rcptto", "data", "eod", "disconnect", "predelivery", "postdelivery")


@pytest.mark.parametrize("stage", STAGES)
async def test_functions_raise_nothing_but_script_errors_and_verdicts(stage: str, world: Any) -> None:
    random = Random(stage)
    world.services.network = Network(random)
    for name in names(stage):
        for _ in range(ROUNDS):
            context = next(item for item in contexts(world) if item.stage == stage)
            context.services = world.services
            try:
                await bridge.run_script(calling(world, context, name, random))
            except VerdictReached as reached:
                await judged(world, context, reached)
