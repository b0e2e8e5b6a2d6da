"""Frames of a batch that repeat each other but for their time, as most of a bus do."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from can_stream.frames.batches import FrameBatch
from can_stream.frames.slots import slots_of
from can_stream.text.pieces import Places

# Odd, so that no two words become one.
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)
_HALF: Final = np.uint64(32)


class Repeats(NamedTuple):
    """`first` intp[D]: a row of each of the D different frames; `which` intp[N]: the one that each row is."""

    first: Places
    which: Places


def keys_but_data(batch: FrameBatch, origin: NDArray[np.uint16]) -> NDArray[np.uint64]:
    """uint64[N]: what frames are told apart by besides their data, and their time."""
    keys: NDArray[np.uint64] = (
        batch.arbitration_id
        | batch.flags.astype(np.uint64) << np.uint64(32)
        | batch.length.astype(np.uint64) << np.uint64(40)
        | origin.astype(np.uint64) << np.uint64(48)
    )
    return keys


def find_repeats(batch: FrameBatch, origin: NDArray[np.uint16]) -> Repeats | None:
    """None where less than half of the frames repeat another one of the same `origin` uint16[N]."""
    words = np.ascontiguousarray(batch.data).view(np.uint64)
    key = keys_but_data(batch, origin)
    mixed = key
    for column in words.T:
        mixed = mixed * _FACTOR
        mixed ^= mixed >> _HALF
        mixed ^= column
    slots = slots_of(mixed)
    if len(slots.first) * 2 > len(batch):
        return None
    which = slots.numbers()
    same_as = slots.first.take(which)
    # Different frames can have the same sum, by chance or by intention.
    if (key.take(same_as) != key).any() or (words.take(same_as, axis=0) != words).any():
        return None
    return Repeats(slots.first, which)
