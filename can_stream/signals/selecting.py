"""From the raw values of selectors to the nodes they lead to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from can_stream.signals.layout import Index, Words
from can_stream.signals.model import Encoding, SignalModel
from can_stream.signals.nodes import SIGN_BIT, Nodes


class Selection:
    """All segments of all selectors in one sorted column.

    A raw value has as rank the number of segment starts (of any selector) up to it, so that selector and
    rank together fit one number and two binary searches find the segment.
    """

    def __init__(self, signals: Sequence[SignalModel], nodes: Nodes) -> None:
        selectors = sorted(nodes.segments)
        number = np.arange(len(selectors))
        keys = [(at, key) for at, signal in enumerate(selectors) for key, _ in nodes.segments[signal]]
        self._starts = np.array(sorted({key for _, key in keys}), np.uint64)
        ranks = np.searchsorted(self._starts, np.array([key for _, key in keys], np.uint64), "right")
        stride = len(self._starts) + 1
        self._segments = np.array([at for at, _ in keys], np.intp) * stride + ranks
        self._node = np.array([node for at in selectors for _, node in nodes.segments[at]], np.intp)
        self._number = np.zeros(len(signals), np.intp)
        self._number[selectors] = number
        self._base = self._number * stride
        self._bias = np.array(
            [SIGN_BIT if signal.encoding is Encoding.SIGNED else 0 for signal in signals], np.uint64
        )
        self._has_signs = bool(self._bias[selectors].any())
        self._below_count = np.array([len(nodes.below[at]) for at in selectors], np.intp)
        self._below_end = np.cumsum(self._below_count)
        self._below = np.array([signal for at in selectors for signal in nodes.below[at]], np.uint32)

    def nodes_for(self, selector: NDArray[np.uint32], raw: Words) -> Index:
        """The node of each (selector, raw value of 64 bits, sign-extended), NO_NODE for unknown values."""
        if self._has_signs:
            raw = raw ^ self._bias.take(selector)
        rank = self._starts.searchsorted(raw, "right")
        rank += self._base.take(selector)
        at = self._segments.searchsorted(rank, "right")
        at -= 1
        return self._node.take(at)

    def below(self, row: Index, selector: NDArray[np.uint32]) -> tuple[Index, NDArray[np.uint32]]:
        """(row, signal) of every signal that depends on each (row, selector)."""
        number = self._number[selector]
        rows, places = expand(row, self._below_end[number], self._below_count[number])
        return rows, self._below[places]


def expand(row: Index, end: Index, count: Index) -> tuple[Index, Index]:
    """Every row `count` times, with the `count` places before `end`."""
    so_far = count.cumsum()
    total = int(so_far[-1]) if len(so_far) else 0
    places = (end - so_far).repeat(count)
    places += np.arange(total)
    return row.repeat(count), places
