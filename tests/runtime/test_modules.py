"""Modules in scripts of the stages: those that ship with the gateway, and what modules see of a stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hsl.loader import FileLoader
from hsl.programs import Programs
from hsl.runtime.context import RcptToContext
from hsl.runtime.model import Address, Recipient
from hsl.runtime.runner import StageRunner, load_hooks
from hsl.runtime.verdict import Verdict

pytestmark = pytest.mark.asyncio


async def run(world: Any, root: Path, **files: str) -> Verdict:
    """Run main.hsl as the rcptto script, beside the other files."""
    for name, text in files.items():
        (root / f"{name}.hsl").write_text(text)
    runner = StageRunner(
        load_hooks(FileLoader(root).root, {"rcptto": "main.hsl"}, Programs()), world.services, world.budget
    )
    recipient = Recipient(Address.of(b"bob@example.com"), "outbound")
    return await runner.run(RcptToContext(world.connection, world.transaction, recipient))


def echoed(world: Any) -> list[str]:
    return [line.rpartition("text=")[2] for line in world.logged("echo")]


@pytest.mark.parametrize(
    ("statement", "call"),
    [
        ('import { rate } from "extras://rate";', "rate"),
        ('import { rate as limit } from "extras://rate";', "limit"),
        ('import * as extras from "extras://rate";', "extras::rate"),
    ],
)
async def test_rate_as_a_module(world: Any, tmp_path: Path, statement: str, call: str) -> None:
    """It counts with the same counters as the builtin function."""
    main = f"""{statement}
        echo {call}("ns", "e", 2, 60); echo builtin rate("ns", "e", 2, 60, ["sync" => false]);
        echo {call}("ns", "e", 2, 60, []); echo {call}("ns", "e", 0, 60);"""
    await run(world, tmp_path, main=main)
    assert echoed(world) == ["true", "true", "false", "2"]


async def test_a_module_gives_verdicts(world: Any, tmp_path: Path) -> None:
    module = 'function refuse($why) { try { Reject($why); } catch ($e) { echo "caught"; } }'
    main = 'import { refuse } from "policy"; try { refuse("no $recipient"); } catch ($e) { echo "caught"; } Accept();'
    verdict = await run(world, tmp_path, policy=module, main=main)
    assert (verdict.action, verdict.explicit, verdict.error) == ("reject", True, False)
    assert echoed(world) == []


async def test_a_module_gives_a_verdict_while_it_is_imported(world: Any, tmp_path: Path) -> None:
    verdict = await run(world, tmp_path, policy="Defer(); $x = 1;", main='import { $x } from "policy"; Reject();')
    assert (verdict.action, verdict.explicit) == ("defer", True)


async def test_variables_of_the_stage_are_not_visible_in_a_module(world: Any, tmp_path: Path) -> None:
    module = "function direct() { return isset($recipient); } function given($recipient) { return $recipient; }"
    main = 'import { direct, given } from "m"; echo direct(); echo given($recipient);'
    await run(world, tmp_path, m=module, main=main)
    assert echoed(world) == ["false", "bob@example.com"]


async def test_an_error_in_a_module_is_logged_with_its_file(world: Any, tmp_path: Path) -> None:
    verdict = await run(world, tmp_path, m='\nfunction f() { return 1 - "x"; }', main='import { f } from "m"; f();')
    assert verdict.error
    assert world.logged("script-error", "m.hsl:2:23")
