"""Bytes written as two hexadecimal digits each with one blank between, of many lines at once."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from can_stream.text.text_columns import Mask, Positions

_NO_BYTE: Final = np.uint16(0x100)
_FEW: Final = 8
_MOST: Final = 64
_DIGITS: Final = "0123456789abcdefABCDEF"


def _values() -> NDArray[np.uint16]:
    """By two characters, the left one in the lower byte."""
    table = np.full(1 << 16, _NO_BYTE, np.uint16)
    for high in _DIGITS:
        for low in _DIGITS:
            table[ord(high) | ord(low) << 8] = int(high + low, 16)
    return table


_VALUES: Final = _values()
_BLANK: Final = np.uint8(ord(" "))
_BEFORE: Final = {width: np.arange(width) < np.arange(_MOST + 1)[:, None] for width in (_FEW, _MOST)}
# uint16[65, width], uint8[65, width]: all bits for each of the first so many bytes.
_WANTED: Final = {width: before * np.uint16(0xFFFF) for width, before in _BEFORE.items()}
_SPACED: Final = {width: before * np.uint8(0xFF) for width, before in _BEFORE.items()}


def read_pairs(
    text: bytes, at: Positions, length: Positions, spaced: Positions, width: int
) -> tuple[NDArray[np.uint8], Mask]:
    """`byte_pairs` of what stands in `text` from each place on, short rows apart from long ones."""
    is_long = length > _FEW
    if width == _FEW or is_long.all():
        return _pairs_at(text, at, length, spaced, width)
    data, good = np.zeros((len(at), width), np.uint8), np.zeros(len(at), np.bool_)
    for rows, size in ((np.flatnonzero(is_long), width), (np.flatnonzero(~is_long), _FEW)):
        part, good[rows] = _pairs_at(text, at[rows], length[rows], spaced[rows], size)
        # By words of eight bytes: single ones take longer.
        data.view(np.uint64)[rows, : size // _FEW] = part.view(np.uint64)
    return data, good


def _pairs_at(
    text: bytes, at: Positions, length: Positions, spaced: Positions, width: int
) -> tuple[NDArray[np.uint8], Mask]:
    room = len(text) - 3 * width
    if room < 0:
        return np.zeros((len(at), width), np.uint8), np.zeros(len(at), np.bool_)
    # One item of so many bytes each: taking them copies memory, and not single characters.
    items = np.ndarray((room + 1,), np.dtype((np.void, 3 * width)), text, 0, (1,))
    rows = items[np.minimum(at, room)].view(np.uint8).reshape(len(at), 3 * width)
    data, good = byte_pairs(rows, length, spaced, width)
    good &= at <= room
    return data, good


def byte_pairs(
    rows: NDArray[np.uint8], length: NDArray[np.int64], spaced: NDArray[np.int64], width: int
) -> tuple[NDArray[np.uint8], Mask]:
    """uint8[N, width] of `rows` uint8[N, 3 * width], 0 behind `length`; and which rows are written so.

    `width` is 8 or 64. `spaced` int64[N]: behind how many of the bytes a blank must stand.
    """
    count = len(rows)
    pairs = np.ndarray((count, width), np.dtype("<u2"), rows, 0, (3 * width, 3))
    wanted = _WANTED[width][length]
    values = _VALUES.take(pairs)
    values &= wanted
    unspaced = (rows[:, 2::3] ^ _BLANK) & _SPACED[width][spaced]
    data, good = values.astype(np.uint8), np.ones(count, np.bool_)
    if unspaced.any():
        good &= ~unspaced.any(axis=1)
    none = values & _NO_BYTE
    if none.any():
        good &= ~none.any(axis=1)
    return data, good
