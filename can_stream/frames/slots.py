"""Rows of a batch grouped by what they share: a frame's id, flags and length, a signal's number and kind."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray


class Slots(Struct, frozen=True):
    """Rows by slot: `first` intp[S], the first row of each; `order` the rows slot by slot, each slot's in
    the order of the batch; `starts` bool[N], true where a slot begins in `order`."""

    first: NDArray[np.intp]
    order: NDArray[np.intp]
    starts: NDArray[np.bool_]

    def numbers(self) -> NDArray[np.intp]:
        """intp[N]: the slot of each row."""
        numbers = np.empty(len(self.order), np.intp)
        numbers[self.order] = self.starts.cumsum() - 1
        return numbers


def slots_of(key: NDArray[np.uint64] | NDArray[np.uint32] | NDArray[np.uint16]) -> Slots:
    """The slots of rows with these keys, in ascending order of keys."""
    # np.unique would sort once more, and load numpy.ma, which a small agent has no memory for.
    order = key.argsort(kind="stable")
    starts = slot_starts(key.take(order))
    return Slots(order.compress(starts), order, starts)


def slot_starts(ordered: NDArray[np.unsignedinteger[Any]]) -> NDArray[np.bool_]:
    """bool[N]: true where a slot begins in keys that lie slot by slot."""
    starts = np.empty(len(ordered), np.bool_)
    starts[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=starts[1:])
    return starts
