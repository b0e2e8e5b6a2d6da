"""Which frames of a bus are those that were written to it, where its driver does not say so."""

from __future__ import annotations

from collections import deque
from typing import Final, Literal

import numpy as np

from can_stream.frames.batches import FrameBatch, FrameFlag, concatenate

ComeBack = Literal["marked", "unmarked", "never"]
"""How frames that were written come back from a driver: as own ones; as if they were others'; not at all."""

# Own frames come back in the order of writing, unless they are lost: what was written so long before is.
_MAX_EXPECTED: Final = 256

_TX: Final = int(FrameFlag.TX)

_Key = tuple[int, int, int, bytes]


class OwnFrames:
    """Of one bus. Each written frame is an own one once: what others send alike is theirs."""

    def __init__(self, come_back: ComeBack) -> None:
        self._come_back = come_back
        self._expected: deque[_Key] = deque(maxlen=_MAX_EXPECTED)
        self._taken: list[FrameBatch] = []

    def written(self, frame: FrameBatch) -> None:
        """This one frame is about to be written, and may come back from now on."""
        if self._come_back == "unmarked":
            self._expected += _keys(frame)

    def taken(self, frame: FrameBatch) -> None:
        """The driver has taken it."""
        if self._come_back == "never":
            self._taken.append(frame)

    def refused(self, frame: FrameBatch) -> None:
        """The driver has not taken it, and it will not come back."""
        if self._expected and [self._expected[-1]] == _keys(frame):
            self._expected.pop()

    def marked(self, frames: FrameBatch, now_ns: int) -> FrameBatch:
        """What a bus has given, own frames with `FrameFlag.TX`, and behind it what came back of others.

        Where nothing comes back, what the driver took does, as of this wall time, and nothing else as own.
        """
        if self._come_back == "never":
            return self._with_taken(frames, now_ns)
        if not self._expected or not len(frames):
            return frames
        own = [row for row, key in enumerate(_keys(frames)) if self._is_expected(key)]
        if not own:
            return frames
        flags = frames.flags.copy()
        flags[own] |= np.uint8(_TX)
        return FrameBatch(frames.timestamp_ns, frames.arbitration_id, flags, frames.length, frames.data)

    def _is_expected(self, key: _Key) -> bool:
        if key not in self._expected:
            return False
        while self._expected.popleft() != key:
            pass  # lost: it would have come before
        return True

    def _with_taken(self, frames: FrameBatch, now_ns: int) -> FrameBatch:
        others = frames[(frames.flags & FrameFlag.TX) == 0]
        if not self._taken:
            return others
        own, self._taken = concatenate(self._taken), []
        times = np.full(len(own), now_ns, np.int64)
        flags = own.flags | np.uint8(FrameFlag.TX)
        back = FrameBatch(times, own.arbitration_id, flags, own.length, own.data)
        return concatenate([others, back]) if len(others) else back


def _keys(frames: FrameBatch) -> list[_Key]:
    """What is the same of a frame and of what came back of it."""
    width, data = frames.width, frames.data.tobytes()
    columns = (frames.arbitration_id, frames.flags, frames.length)
    rows = zip(*(column.tolist() for column in columns), range(0, len(data), width), strict=True)
    return [
        (one, flags & ~_TX, length, data[begin : begin + min(length, width)])
        for one, flags, length, begin in rows
    ]
