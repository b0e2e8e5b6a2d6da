"""The words of many lines at once: where those near the beginning of each line begin and end."""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from can_stream.text.text_columns import MARGIN, Mask, Positions, TextBlock

_BEFORE: Final = 8
_BLANK: Final = bytes(character in b" \t\r\n" for character in range(256))


class WideText:
    """A block of text of which pieces of many characters can be taken at once."""

    def __init__(self, text: TextBlock) -> None:
        self.text: Final = text
        self.size: Final = len(text.raw)
        # Behind it is only the margin.
        self.last: Final = len(text.raw) - MARGIN

    @cached_property
    def adds_identifiers(self) -> bool:
        """Whether `ID = ` may stand in a line. The rarer character first: of the others data are full."""
        return b"=" in self.text.raw and b"ID" in self.text.raw

    def pieces(self, at: Positions, width: int, ok: Mask) -> NDArray[np.uint8]:
        """uint8[N, width]: the characters from each place on. Clears `ok` where the block ends before."""
        room = self.size - width
        if room < 0:
            ok[:] = False
            return np.zeros((len(at), width), np.uint8)
        ok &= at <= room
        # One item of so many bytes each: taking them copies memory, and not single characters.
        items = np.ndarray((room + 1,), np.dtype((np.void, width)), self.text.raw, 0, (1,))
        return items[np.minimum(at, room)].view(np.uint8).reshape(len(at), width)


class Heads:
    """The same number of characters of each of N lines, of which columns can be taken, from `at` on."""

    def __init__(self, at: Positions, cells: NDArray[np.void]) -> None:
        self.at: Final = at
        self._cells: Final = cells
        self._step: Final = (cells.dtype.itemsize,)

    @classmethod
    def of(cls, wide: WideText, at: Positions, width: int, ok: Mask) -> Heads | None:
        """`width` characters from each place on, and eight before it; None for a block that has not as many.

        Clears `ok` where the block ends before.
        """
        room = wide.size - width
        ok &= at <= room
        if room < _BEFORE:
            return None
        items = np.ndarray(
            (room + 1 - _BEFORE,), np.dtype((np.void, width + _BEFORE)), wide.text.raw, 0, (1,)
        )
        return cls(at, items[np.minimum(at, room) - _BEFORE])

    def __len__(self) -> int:
        return len(self._cells)

    def word(self, begin: int) -> NDArray[np.uint64]:
        """Eight characters from `begin` on, which may be up to eight before the place."""
        return np.ndarray((len(self._cells),), np.dtype("<u8"), self._cells, _BEFORE + begin, self._step)

    def character(self, at: int) -> NDArray[np.uint8]:
        """One character of each line."""
        return np.ndarray((len(self._cells),), np.uint8, self._cells, _BEFORE + at, self._step)

    def digit(self, at: int) -> NDArray[np.uint8]:
        """One decimal digit of each line, more than nine for any other character."""
        return self.character(at) - np.uint8(ord("0"))

    def text(self, line: int, width: int) -> bytes:
        """The first characters of one line."""
        cells: bytes = self._cells[line].tobytes()
        return cells[_BEFORE : _BEFORE + width]

    def begin_with(self, lines: Positions, other: Heads) -> None:
        """In these lines, the characters of `other`, which has fewer, in place of the first ones."""
        first = np.ndarray((len(self._cells),), other._cells.dtype, self._cells, 0, self._step)
        first[lines] = other._cells

    def take(self, lines: Positions) -> Heads:
        """Those of some lines."""
        return Heads(self.at.take(lines), self._cells.take(lines))


class WordWindow:
    """The first words of N pieces of text, each from `at` to `stop` but at most `width` characters.

    `begin`, `end` int64[words, N]: where word k of each piece is, valid below `count`, else somewhere in the
    block. A word that the window may have cut is not counted.
    """

    def __init__(self, wide: WideText, at: Positions, stop: Positions, width: int, words: int) -> None:
        is_there = np.ones(len(at), np.bool_)
        edges = _edges(wide.pieces(at, width, is_there))
        begin, end = edges[0::2], edges[1::2]
        base = np.arange(len(at)) * width
        index = np.searchsorted(begin, base)
        # The last place is left out: whether a word ends there cannot be seen.
        behind = base + np.minimum(np.maximum(stop - at, 0), width - 2)
        self.count: Final = (np.searchsorted(end, behind, side="right") - index) * is_there
        place = np.arange(words)[:, None] + index
        shift = at - base
        self.begin: Final[Positions] = np.minimum(begin.take(place, mode="clip") + shift, wide.last)
        self.end: Final[Positions] = np.minimum(end.take(place, mode="clip") + shift, wide.last)


def _edges(pieces: NDArray[np.uint8]) -> Positions:
    """Where in a row of pieces words begin and end, in turn. Each piece ends with a blank."""
    rows, width = pieces.shape
    blank = np.ones(rows * width + 1, np.bool_)
    blank[1:] = np.frombuffer(pieces.tobytes().translate(_BLANK), np.bool_)
    blank[width::width] = True
    edges = np.flatnonzero(blank[1:] != blank[:-1])
    return edges if len(edges) else np.zeros(2, np.int64)
