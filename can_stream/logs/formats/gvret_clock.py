"""The clock of GVRET's firmware: microseconds in 32 bits, which wrap after 71.6 minutes."""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from can_stream.frames.batches import FrameBatch
from can_stream.text.text_columns import Mask

_NS_PER_MICRO: Final = 1000
_CLOCK_WRAPS: Final = 2**32
_LATE: Final = 60_000_000


class GvretClock(Struct):
    """How often the clock of 32 bits has wrapped, and the last time stamp in microseconds."""

    wraps: int = 0
    last: int = 0

    def unwrapped(self, frames: FrameBatch) -> FrameBatch:
        """`frames` with what their clock left out. Stamps of more than 32 bits are of a longer clock."""
        if not len(frames):
            return frames
        micros = frames.timestamp_ns // _NS_PER_MICRO
        before = np.append(np.int64(self.last), micros[:-1])
        self.last = int(micros[-1])
        fall = before - micros
        is_short = (np.minimum(before, micros) >= 0) & (np.maximum(before, micros) < _CLOCK_WRAPS)
        wraps = self._count(is_short & (fall > _CLOCK_WRAPS // 2), is_short & (-fall > _CLOCK_WRAPS - _LATE))
        if not wraps.any():
            return frames
        added = np.where((micros >= 0) & (micros < _CLOCK_WRAPS), wraps * (_CLOCK_WRAPS * _NS_PER_MICRO), 0)
        return structs.replace(frames, timestamp_ns=frames.timestamp_ns + added)

    def _count(self, is_wrap: Mask, is_late: Mask) -> NDArray[np.int64]:
        """int64[N]: the wraps before each frame. One that came late, by up to a minute, is from before."""
        steps = np.zeros(len(is_wrap), np.int64)
        before = self.wraps
        for place in np.flatnonzero(is_wrap | is_late).tolist():
            step = 1 if is_wrap[place] else -min(self.wraps, 1)
            steps[place] = step
            self.wraps += step
        return before + np.cumsum(steps)
