"""Verdicts that only an id, a kind and a length decide, each found once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from can_stream.frames.batches import FrameBatch
from edge_agent.transmit.policy import TargetBus, Verdicts

# A bus has a few hundred; beyond it all are forgotten, so that nobody fills the memory with ids.
MOST_KNOWN: Final = 4_096


class FixedVerdicts:
    """What `judge` says, from memory unless `reads_data`: whether it asks for data too."""

    def __init__(self, judge: Callable[[FrameBatch, TargetBus], Verdicts], *, reads_data: bool) -> None:
        self._judge = judge
        self._reads_data = reads_data
        self._bus: tuple[TargetBus, int] | None = None
        self._known: dict[tuple[int, int, int], int] = {}

    def of(self, frames: FrameBatch, target: TargetBus) -> list[int]:
        """A `Verdict` for each frame."""
        if self._reads_data:
            verdicts: list[int] = self._judge(frames, target).tolist()
            return verdicts
        if self._bus != (target, frames.width):
            self._bus = (target, frames.width)
            self._known.clear()
        columns = frames.arbitration_id, frames.flags, frames.length
        shapes = list(zip(*(column.tolist() for column in columns), strict=True))
        try:
            return [self._known[shape] for shape in shapes]
        except KeyError:
            verdicts = self._judge(frames, target).tolist()
            if len(self._known) + len(shapes) > MOST_KNOWN:
                self._known.clear()
            self._known.update(zip(shapes[:MOST_KNOWN], verdicts, strict=False))
            return verdicts
