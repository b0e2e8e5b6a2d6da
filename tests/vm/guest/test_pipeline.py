"""The live pipeline on a kernel's bus: every frame and value of a busy bus arrives.

What it costs cannot be seen here: see `bench.pipeline.counts_in_ticks`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bench.pipeline import FRAMES_PER_SECOND, Work, compare, measure

# The whole tree of the host.
DATABASE: Final = Path("/src/dbc/demo-vehicle.dbc")
WORK: Final = Work(DATABASE, "vcan0")
# The peer loses frames above some 700/s here.
BOTH_FRAMES_PER_SECOND: Final = 300.0


def test_a_full_bus_is_streamed_whole() -> None:
    assert measure("ours", WORK, FRAMES_PER_SECOND, seconds=3.0).lost == 0


def test_the_last_values_are_those_that_cantools_gives() -> None:
    cost = compare(WORK, BOTH_FRAMES_PER_SECOND, seconds=2.0)
    assert cost.lost == cost.peer_lost == 0, cost
    assert cost.same_last_values, cost
