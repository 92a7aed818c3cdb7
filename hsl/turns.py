"""Turns inside a builtin whose work takes long: a run comes in, others run meanwhile, and its time is watched."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from hsl import bridge

if TYPE_CHECKING:
    from hsl.run import Run

TURN: Final = 0.005  # seconds until others are let run again


def give_turn(run: Run) -> None:
    """Let others run when it is their turn, as between two steps of a script. Raises BudgetError out of time."""
    run.check_time()
    if monotonic() > run.turn_ends and bridge.bridged():
        run.wait(run.shared.rest())
        run.turn_ends = monotonic() + TURN
