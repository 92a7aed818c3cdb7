"""The stage runner: verdicts, defaults, errors that are logged whole and answered generically, replies."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hsl.errors import CompileError
from hsl.programs import Programs
from hsl.run import Budget
from hsl.runtime.context import AuthContext, ConnectContext, PostDeliveryContext, PreDeliveryContext, RcptToContext
from hsl.runtime.model import Address, DeliveryPlan, QueueEntry, Recipient
from hsl.runtime.protocols import BackendUnavailable
from hsl.runtime.runner import StageRunner, load_hooks
from hsl.runtime.stages import STAGES
from hsl.runtime.verdict import Verdict

pytestmark = pytest.mark.asyncio


def rcptto(world: Any) -> RcptToContext:
    return RcptToContext(world.connection, world.transaction, Recipient(Address.of(b"bob@example.com"), "outbound"))


async def run(world: Any, script: str) -> Verdict:
    return await world.runner(rcptto=script).run(rcptto(world))


VERDICTS = [
    ("", "accept", False, "250 2.1.5 Ok"),
    ("Accept();", "accept", True, "250 2.1.5 Ok"),
    ('Accept(["reason" => "fine"]);', "accept", True, "250 2.1.5 fine"),
    ("Reject();", "reject", True, "554 5.7.1 Refused by policy"),
    ('Reject("no");', "reject", True, "554 5.7.1 no"),
    ('Reject("$recipient\\nis gone");', "reject", True, "554-5.7.1 bob@example.com\r\n554 5.7.1 is gone"),
    ('Reject(["a", "b"]);', "reject", True, "554-5.7.1 a\r\n554 5.7.1 b"),
    ('Defer("later");', "defer", True, "450 4.7.1 later"),
    ('Defer("x", ["reply_codes" => ["code" => 451]]);', "defer", True, "451 4.7.1 x"),
    ('Reject("x", ["reply_codes" => ["code" => 550, "enhanced" => [5,1,1]]]);', "reject", True, "550 5.1.1 x"),
    ('Defer("a\\r\\n250 ok\\tx");', "defer", True, "450-4.7.1 a\r\n450 4.7.1 250 okx"),
]


@pytest.mark.parametrize(("script", "action", "explicit", "wire"), VERDICTS)
async def test_verdicts_and_replies(world: Any, script: str, action: str, explicit: bool, wire: str) -> None:
    verdict = await run(world, script)
    assert (verdict.action, verdict.explicit, verdict.error) == (action, explicit, False)
    assert str(world.runner().reply("rcptto", verdict)) == wire


@pytest.mark.parametrize(
    ("script", "at"),
    [
        ("", None),
        ("$x = 1;\n  Reject();", "rcptto.hsl:2:3"),
        ("function no() {\n Reject();\n}\nno();", "rcptto.hsl:2:2"),
        ('$x = 1;\nrate("a", "b", -1, 1);', "rcptto.hsl:2:1"),
    ],
)
async def test_verdicts_have_a_place(world: Any, script: str, at: str | None) -> None:
    verdict = await run(world, script)
    assert (str(verdict.at) if verdict.at else None) == at


REPLIES = [
    ("connect", "reject", "521 5.7.1 Refused by policy", True),
    ("connect", "defer", "421 4.7.0 Please try again later", True),
    ("helo", "reject", "554 5.7.1 Refused by policy", False),
    ("helo", "defer", "450 4.7.0 Please try again later", False),
    ("auth", "accept", "235 2.7.0 Authentication successful", False),
    ("auth", "reject", "535 5.7.8 Authentication credentials invalid", False),
    ("auth", "defer", "454 4.7.0 Temporary authentication failure", False),
    ("mailfrom", "accept", "250 2.1.0 Ok", False),
    ("mailfrom", "reject", "554 5.7.1 Refused by policy", False),
    ("mailfrom", "defer", "450 4.7.1 Please try again later", False),
    ("data", "reject", "550 5.7.1 Refused by policy", False),
    ("data", "defer", "421 4.7.1 Please try again later", False),
    ("data", "delete", "250 2.0.0 Ok", False),
    ("data", "quarantine", "550 5.7.1 Refused by policy", False),
]


@pytest.mark.parametrize(("stage", "action", "wire", "close"), REPLIES)
async def test_the_reference_s_codes(world: Any, stage: str, action: str, wire: str, close: bool) -> None:
    reply = world.runner().reply(stage, Verdict(action))
    assert (str(reply), reply.close) == (wire, close)


async def test_the_default_text_and_the_hang_up(world: Any) -> None:
    runner = world.runner()
    assert str(runner.reply("connect", Verdict("accept"), "mx ESMTP")) == "220 mx ESMTP"
    assert str(runner.reply("connect", Verdict("accept", reason=("hi",)), "mx ESMTP")) == "220 hi"
    assert runner.reply("mailfrom", Verdict("reject", disconnect=True)).close


async def test_defer_code(world: Any) -> None:
    world.services.defer_code = 451
    assert world.runner().reply("data", Verdict("defer")).code == 451
    assert world.runner().reply("data", Verdict("defer", code=452)).code == 452
    assert world.runner().reply("rcptto", Verdict("defer")).code == 450


async def test_without_a_hook_the_stage_s_own_verdict(world: Any) -> None:
    runner = world.runner(connect="Reject();")
    assert runner.has("connect")
    assert not runner.has("rcptto")
    assert await runner.run(rcptto(world)) == Verdict("accept", explicit=False)
    assert (await runner.run(ConnectContext(world.connection, world.transaction))).action == "reject"


async def test_hooks_of_stages_that_do_not_exist(world: Any) -> None:
    with pytest.raises(ValueError, match="proxy"):
        StageRunner({"proxy": world.runner(connect="").hooks["connect"]}, world.services, Budget())


async def test_a_script_error_is_logged_whole_and_answered_generically(world: Any) -> None:
    script = 'function f($x) {\n  Reject("x", ["reply_codes" => ["code" => $x]]);\n}\nf(450);\n'
    verdict = await run(world, script)
    assert verdict == STAGES["rcptto"].on_error
    (line,) = world.logged("error script-error", "stage=rcptto", "id=t-1")
    for part in ("rcptto.hsl:2", "wanted a code 500-599, got 450", "in f() called at rcptto.hsl:4"):
        assert part in line
    assert str(world.runner().reply("rcptto", verdict, "secret detail")) == (
        "450 4.3.0 Temporary server error, please try again later"
    )


ERRORS = ["$undeclared . 1;", 'rate("a", "b", -1, 1);', 'rate([], "b", 1, 1);', "for (;;) {}", 'Reject(["a", none]);']


@pytest.mark.parametrize("script", ERRORS)
async def test_every_error_gives_the_on_error_verdict(world: Any, script: str) -> None:
    world.budget = Budget(steps=10_000, seconds=5.0)
    assert await run(world, script) == STAGES["rcptto"].on_error
    assert world.logged("error script-error", "rcptto.hsl:1:")


BROKEN = [
    ValueError("inner"),
    RecursionError(),
    MemoryError(),
    ConnectionResetError("peer"),
    TimeoutError(),
    KeyError("k"),
]


class Failing:
    """A queue whose metric raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def metric(self, metric: str, filters: object) -> int:
        raise self.error

    async def measure(self, metric: str, filters: object) -> int:
        return self.metric(metric, filters)


@pytest.mark.parametrize("error", BROKEN, ids=lambda item: type(item).__name__)
async def test_errors_of_our_own_are_script_errors(world: Any, error: BaseException) -> None:
    world.services.queue = Failing(error)
    assert await run(world, "GetMailQueueMetric();") == STAGES["rcptto"].on_error
    assert world.logged("error script-error")


class Waiting:
    """Rates that never answer, or fail."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.entered = asyncio.Event()

    async def rate(self, namespace: bytes, entry: bytes, count: int, interval: float) -> bool | int:
        self.entered.set()
        if self.error is not None:
            raise self.error
        await asyncio.Event().wait()
        return True


async def test_a_builtin_that_never_returns_is_a_script_error(world: Any) -> None:
    world.services.rates = Waiting()
    world.budget = Budget(seconds=-0.95)  # with the grace: 50 ms
    async with asyncio.timeout(10):
        assert await run(world, 'rate("a", "b", 1, 1);') == STAGES["rcptto"].on_error
    assert len(world.logged(" error ", "script-error", "exceeded its budget of -0.95 seconds")) == 1


async def test_a_stray_cancellation_is_a_script_error(world: Any) -> None:
    world.services.rates = Waiting(asyncio.CancelledError())
    assert await run(world, 'rate("a", "b", 1, 1);') == STAGES["rcptto"].on_error


async def test_cancelling_the_session_cancels_the_script(world: Any) -> None:
    waiting = world.services.rates = Waiting()
    task = asyncio.create_task(run(world, 'rate("a", "b", 1, 1); Accept();'))
    async with asyncio.timeout(10):
        await waiting.entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_an_outage_is_not_logged_per_call(world: Any) -> None:
    world.services.rates = Waiting(BackendUnavailable("rates do not answer"))
    for _ in range(3):
        assert await run(world, 'rate("a", "b", 1, 1);') == STAGES["rcptto"].on_error
    assert not world.logged(" error ")
    assert len(world.logged(" debug ", "script-error")) == 3


async def test_other_sessions_go_on_beside_a_loop(world: Any) -> None:
    world.budget = Budget(steps=10**9, seconds=0.3)
    looping = asyncio.create_task(run(world, "for (;;) {}"))
    turns = 0
    while not looping.done():
        await asyncio.sleep(0)
        turns += 1
    assert (await looping).error
    assert turns > 1


async def test_context_is_kept_from_stage_to_stage(world: Any) -> None:
    runner = world.runner(connect='$context = ["n" => 1];', rcptto='$context["n"] += 1; Reject("" . $context["n"]);')
    await runner.run(ConnectContext(world.connection, world.transaction))
    assert (await runner.run(rcptto(world))).reason == ("2",)
    assert (await runner.run(rcptto(world))).reason == ("3",)


async def test_context_from_predelivery_to_postdelivery(world: Any) -> None:
    entry = QueueEntry("t-2", Address.of(b"a@b.c"), Address.of(b"d@e.f"), "outbound")
    plan = DeliveryPlan(entry.sender, entry.recipient)
    runner = world.runner(predelivery='$context = "note"; Try();', postdelivery="echo $context; Default();")
    before = PreDeliveryContext(entry, plan, 30, "holder")
    assert (await runner.run(before)).action == "try"
    after = PostDeliveryContext(entry, None, "QUEUE", 30, before.context)
    assert (await runner.run(after)).action == "default"
    assert world.logged("debug echo", "stage=postdelivery", "id=t-2", "text=note")


async def test_passwords_are_masked(world: Any) -> None:
    script = 'echo "pw is $saslpassword"; echo $arguments; Accept(["reply_codes" => ["code" => $saslpassword]]);'
    context = AuthContext(world.connection, world.transaction, "PLAIN", b"alice", b"tops3cret")
    verdict = await world.runner(auth=script).run(context)
    assert verdict.error
    assert world.logged("script-error")
    assert len(world.logged("********")) == 3
    assert not world.logged("tops3cret")


async def test_load_hooks_reports_all_errors_at_once(tmp_path: Path) -> None:
    (tmp_path / "good.hsl").write_text("Accept();")
    (tmp_path / "one.hsl").write_text("Acept();")
    (tmp_path / "two.hsl").write_text("Reschedule(1);\nnothing();")
    assert set(load_hooks(tmp_path, {"rcptto": "good.hsl"}, Programs())) == {"rcptto"}
    hooks = {"rcptto": "one.hsl", "data": "two.hsl", "helo": "missing.hsl", "auth": "good.hsl"}
    with pytest.raises(CompileError) as caught:
        load_hooks(tmp_path, hooks, Programs())
    places = [f"{item.span.file}:{item.span.line}" for item in caught.value.errors]
    assert places == ["one.hsl:1", "two.hsl:1", "two.hsl:2", "missing.hsl:1"]


async def test_scripts_by_the_recipients_domain(world: Any, tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / f"{name}.hsl").write_text(f'Reject("{name}");')
    domains = {"Example.ORG": "one.hsl", "*": "other.hsl"}

    async def reasons(domains: dict[str, str]) -> list[str | None]:
        hooks = load_hooks(tmp_path, {"rcptto": domains}, Programs())
        runner = StageRunner(hooks, world.services, Budget())
        assert runner.has("rcptto")
        people = (Recipient(Address.of(item), "outbound") for item in (b"a@example.org", b"a@EXAMPLE.org", b"a@b.c"))
        verdicts = [await runner.run(RcptToContext(world.connection, world.transaction, item)) for item in people]
        return [verdict.reason[0] if verdict.reason else None for verdict in verdicts]

    assert await reasons(domains) == ["one", "one", "other"]
    assert await reasons({"example.org": "one.hsl"}) == ["one", "one", None]
    (tmp_path / "other.hsl").write_text("Rejct();")
    with pytest.raises(CompileError, match="Rejct"):
        load_hooks(tmp_path, {"rcptto": domains}, Programs())


async def test_the_stage_s_variables_are_the_script_s(world: Any) -> None:
    verdict = await run(
        world, 'Reject("$sender $recipientdomain " . $connection["helo"]["host"] . $transaction["id"]);'
    )
    assert verdict.reason == ("alice@example.org example.com client.examplet-1",)
