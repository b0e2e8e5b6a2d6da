"""At most one value for each signal of a table, in columns."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from can_stream.frames.batches import SignalBatch
from can_stream.signals.checking import MAX_SIGNALS

_NONE: Final = 0xFF


class NewestValues:
    """The value that each signal had last. Numbers that no table can have are left out.

    The columns grow as far as the numbers do, so that no table is needed.
    """

    __slots__ = ("_bits", "_kind", "_timestamp_ns", "count")

    def __init__(self) -> None:
        self.count = 0
        self._timestamp_ns = np.zeros(0, np.int64)
        self._kind = np.zeros(0, np.uint8)
        self._bits = np.zeros(0, np.uint64)

    def put(self, batch: SignalBatch) -> None:
        """The last value of each signal in `batch` takes the place of what is there."""
        self._put(batch, _last_rows(batch.signal))

    def put_newer(self, batch: SignalBatch) -> None:
        """The newest value of each signal in `batch`, where its time is after that of what is there."""
        in_time = np.argsort(batch.timestamp_ns, kind="stable")
        rows = in_time[_last_rows(batch.signal[in_time])]
        self._reserve(batch.signal[rows])
        rows = rows[batch.signal[rows] < MAX_SIGNALS]
        signal = batch.signal[rows]
        newer = batch.timestamp_ns[rows] > self._timestamp_ns[signal]
        self._put(batch, rows[newer | (self._kind[signal] == _NONE)])

    def signals(self) -> NDArray[np.intp]:
        """Which signals have a value, in order."""
        return np.flatnonzero(self._kind != _NONE)

    def batch(self, table_hash: bytes, signals: NDArray[np.intp]) -> SignalBatch:
        """The values of these signals."""
        return SignalBatch(
            table_hash,
            self._timestamp_ns[signals],
            signals.astype(np.uint32),
            self._kind[signals],
            self._bits[signals],
        )

    def remove(self, signals: NDArray[np.intp]) -> None:
        """These signals, all of which have a value, have none any more."""
        self._kind[signals] = _NONE
        self.count -= len(signals)

    def _put(self, batch: SignalBatch, rows: NDArray[np.intp]) -> None:
        self._reserve(batch.signal[rows])
        rows = rows[batch.signal[rows] < MAX_SIGNALS]
        signal = batch.signal[rows]
        self.count += int(np.count_nonzero(self._kind[signal] == _NONE))
        self._timestamp_ns[signal] = batch.timestamp_ns[rows]
        self._kind[signal] = batch.kind[rows]
        self._bits[signal] = batch.bits[rows]

    def _reserve(self, signal: NDArray[np.uint32]) -> None:
        size = len(self._kind)
        needed = min(int(signal.max(initial=0)) + 1, MAX_SIGNALS)
        if needed > size:
            more = min(max(needed, 2 * size), MAX_SIGNALS) - size
            self._timestamp_ns = np.pad(self._timestamp_ns, (0, more))
            self._kind = np.pad(self._kind, (0, more), constant_values=_NONE)
            self._bits = np.pad(self._bits, (0, more))


def _last_rows(signal: NDArray[np.uint32]) -> NDArray[np.intp]:
    """Where each signal is last, in the order of signals."""
    _, from_the_end = np.unique(signal[::-1], return_index=True)
    return np.asarray(len(signal) - 1 - from_the_end, np.intp)
