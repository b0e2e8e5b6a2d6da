"""The way into a lane, which a spent budget closes: what does not pass is counted and becomes gaps."""

from __future__ import annotations

from typing import Final

from can_stream.frames.batches import FrameBatch, SignalBatch
from can_stream.lanes.sender import LaneSender
from can_stream.protocol.packets import GapReason

TELL_SECONDS: Final = 600.0


class LaneGate:
    """Gives batches to `lane` while it is open.

    While it is closed the lane sends nothing, what it holds included, and each ten minutes of what was left
    out are one gap of known count and times.
    """

    def __init__(self, lane: LaneSender) -> None:
        self.lane: Final = lane
        self.left_out = 0
        self._missing = 0
        self._span_ns = (0, 0)
        self._since_seconds = 0.0

    def pass_on(self, batch: FrameBatch | SignalBatch, now_seconds: float, born_ns: int = 0) -> None:
        """1 to MAX_ROWS frames or values; `born_ns` of frames: see `Held`."""
        if self.lane.paused:
            self._leave_out(batch, now_seconds)
        elif isinstance(batch, FrameBatch):
            self.lane.take_frames(batch, now_seconds, born_ns)
        else:
            self.lane.take_signals(batch, now_seconds)

    def set_closed(self, now_seconds: float, *, closed: bool) -> None:
        """Close or open it; call it from time to time, so that what is missing is told in time."""
        if not closed or now_seconds - self._since_seconds >= TELL_SECONDS:
            self.tell(now_seconds)
        self.lane.paused = closed
        if not closed:
            self.lane.on_unsent()

    def tell(self, now_seconds: float) -> None:
        """What was left out so far becomes a gap in its place."""
        if self._missing:
            self.lane.take_loss(GapReason.BUDGET, self._missing, now_seconds, self._span_ns)
            self._missing = 0

    def _leave_out(self, batch: FrameBatch | SignalBatch, now_seconds: float) -> None:
        first_ns, last_ns = int(batch.timestamp_ns.min()), int(batch.timestamp_ns.max())
        if self._missing:
            first_ns, last_ns = min(first_ns, self._span_ns[0]), max(last_ns, self._span_ns[1])
        else:
            self._since_seconds = now_seconds
        self._span_ns = (first_ns, last_ns)
        self._missing += len(batch)
        self.left_out += len(batch)
