"""Which decoded values differ from the value the same signal had before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from signal_decoding.decoded import Decoded
from signal_decoding.table import SignalTable
from wire_protocol.batches import SignalBatch

_NO_KIND = 0xFF


class ChangeFilter:
    """The last value of every signal of one table on one bus. A signal's first value is a change."""

    def __init__(self, table: SignalTable) -> None:
        self._bits = np.zeros(len(table.signals), np.uint64)
        self._kind = np.full(len(table.signals), _NO_KIND, np.uint8)

    def changed(self, values: Decoded | SignalBatch) -> NDArray[np.bool_]:
        """bool[M]: which values differ from their signal's previous one. Equal bits are equal, NaN too."""
        order = np.argsort(values.signal, kind="stable")
        signal, bits, kind = values.signal[order], values.bits[order], values.kind[order]
        first = np.ones(len(order), np.bool_)
        first[1:] = signal[1:] != signal[:-1]
        before_bits, before_kind = np.empty_like(bits), np.empty_like(kind)
        before_bits[1:], before_kind[1:] = bits[:-1], kind[:-1]
        before_bits[first], before_kind[first] = self._bits[signal[first]], self._kind[signal[first]]
        self._remember(signal, bits, kind, first)
        differs = np.empty(len(order), np.bool_)
        differs[order] = (bits != before_bits) | (kind != before_kind)
        return differs

    def forget(self) -> None:
        """Offer every signal's next value again."""
        self._kind[:] = _NO_KIND

    def _remember(
        self,
        signal: NDArray[np.uint32],
        bits: NDArray[np.uint64],
        kind: NDArray[np.uint8],
        first: NDArray[np.bool_],
    ) -> None:
        last = np.ones(len(first), np.bool_)
        last[:-1] = first[1:]
        self._bits[signal[last]] = bits[last]
        self._kind[signal[last]] = kind[last]
