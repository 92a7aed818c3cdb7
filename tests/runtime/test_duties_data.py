"""The queue id stands in every 250 that stored something, however long the script's own text is."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("reason", ["x" * 600, "\u00e9" * 400, "x\\n" * 60 + "end"])
async def test_a_long_reason_does_not_push_the_queue_id_out(world: Any, reason: str) -> None:
    outcome = await world.data(f'Deliver(["reason" => "{reason}"]);')
    answer = outcome.reply([4711])
    assert answer.lines[-1].endswith(" (queued as 4711)")
    assert all(len(line) <= 512 for line in answer.render().splitlines(keepends=True))
