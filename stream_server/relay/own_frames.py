"""Which frames of a packet are no part of any count: own echoes and error frames. A bit each. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from can_stream.frames.batches import FrameBatch, FrameFlag

_UNCOUNTED: Final = int(FrameFlag.TX | FrameFlag.ERROR)


def own_frames(batch: FrameBatch) -> bytes:
    """A bit for each frame, from the highest of the first byte on; b"" where there is none such."""
    flags = batch.flags
    if not int(np.bitwise_or.reduce(flags)) & _UNCOUNTED:
        return b""
    return np.packbits((flags & _UNCOUNTED) != 0).tobytes()


def others_from(own: bytes, position: int, first: int, through: int) -> int:
    """How many frames from `first` up to `through` count, of a packet at `position`."""
    if not own:
        return through - first
    low, high = first - position, through - position
    bits = np.unpackbits(np.frombuffer(own, np.uint8), count=high)[low:]
    return int(high - low - int(bits.sum()))


def runs(own: bytes, position: int, first: int, through: int) -> Iterator[tuple[int, int, bool]]:
    """Those frames in stretches that count wholly or not at all: (first, through, whether they do not)."""
    low, high = first - position, through - position
    bits = np.unpackbits(np.frombuffer(own, np.uint8), count=high)[low:]
    begin = 0
    for end in [*(np.flatnonzero(np.diff(bits)) + 1).tolist(), len(bits)]:
        yield first + begin, first + end, bool(bits[begin])
        begin = end
