"""Text of many lines, put together from pieces in whole columns instead of line by line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Places: TypeAlias = NDArray[np.intp]
# Pieces are copied so many bytes at a time; most need one copy.
_WINDOW: Final = 128
_WIDE_WINDOW: Final = 256


class Spans(NamedTuple):
    """Where texts are in a pool: bytes `start` to `start + length`."""

    start: Places
    length: Places

    def of(self, number: Places) -> Spans:
        """Those of the texts of these numbers."""
        return Spans(self.start.take(number), self.length.take(number))


class Texts:
    """Texts that are found by their number; made once and added to many pools."""

    def __init__(self, texts: Sequence[bytes]) -> None:
        self.joined: Final = b"".join(texts)
        self.length: Final = np.fromiter(map(len, texts), np.intp, len(texts))
        self.offset: Final = self.length.cumsum() - self.length


class Pool:
    """Bytes that pieces are cut from."""

    def __init__(self) -> None:
        self._parts: list[bytes | memoryview] = []
        self._size = 0

    def add_text(self, text: bytes | memoryview) -> int:
        """Where `text` begins; it must stay as it is."""
        at = self._size
        self._parts.append(text)
        self._size += len(text)
        return at

    def add_all(self, texts: Texts) -> Spans:
        """Where each of `texts` is."""
        return Spans(self.add_text(texts.joined) + texts.offset, texts.length)

    def content(self) -> NDArray[np.uint8]:
        """All bytes, and a window of zeros."""
        return np.frombuffer(b"".join([*self._parts, bytes(_WIDE_WINDOW)]), np.uint8)


class Pieces(NamedTuple):
    """One piece of each of some lines: the numbers of the lines, ascending, and what to put there.

    A line may have several pieces of one column, in their order.
    """

    line: Places
    spans: Spans


def join_lines(pool: Pool, columns: Sequence[Pieces]) -> bytes:
    """The lines in order, each made of its pieces in the order of the columns."""
    line = np.concatenate([column.line for column in columns])
    if not len(line):
        return b""
    # Two bytes are sorted in linear time.
    order = (line.astype(np.uint16) if line.max() < 1 << 16 else line).argsort(kind="stable")
    start = np.concatenate([column.spans.start for column in columns]).take(order)
    length = np.concatenate([column.spans.length for column in columns]).take(order)
    end = length.cumsum()
    out = np.empty(int(end[-1]) + _WIDE_WINDOW, np.uint8)
    _copy(pool, start, length, out, end - length)
    return out[: end[-1]].tobytes()


def join_behind(heads: NDArray[np.uint8], pool: Pool, rest: Spans) -> bytes:
    """Lines that begin with the rows of `heads`, uint8[N, K], and go on with a text each."""
    if not len(heads):
        return b""
    size, length = heads.shape[1], rest.length
    end = (length + size).cumsum()
    out = np.empty(int(end[-1]) + _WIDE_WINDOW, np.uint8)
    place = end - length
    _copy(pool, rest.start, length, out, place)
    _windows(out, size)[place - size] = heads.view(f"V{size}").ravel()
    return out[: end[-1]].tobytes()


def _copy(pool: Pool, start: Places, length: Places, out: NDArray[np.uint8], place: Places) -> None:
    """Pieces to ascending places in `out`. What lies between them is overwritten too."""
    window = _WINDOW if length.mean() < _WINDOW else _WIDE_WINDOW
    if length.max() > window:
        count = (length + (window - 1)) // window
        before = np.arange(int(count.sum())) - (count.cumsum() - count).repeat(count)
        before *= window
        start, place = start.repeat(count) + before, place.repeat(count) + before
    # In order, so that what is copied beyond the end of a piece is overwritten by the next.
    _windows(out, window)[place] = _windows(pool.content(), window)[start]


def _windows(data: NDArray[np.uint8], size: int) -> NDArray[np.void]:
    """Overlapping windows, one beginning at each byte but the last ones."""
    return np.ndarray((len(data) - size + 1,), f"V{size}", data, 0, (1,))
