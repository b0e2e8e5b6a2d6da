"""Bytes written as up to three decimal digits each with blanks between, of many lines at once."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from can_stream.text.text_columns import Mask, Positions, TextBlock

_BYTES: Final = 8
# Eight times a blank and three digits, two blanks, and what is behind them.
_WIDTH: Final = 40
_WORDS: Final = _WIDTH // 8
_LINES: Final = 2048
_BLANK: Final = ord(" ")
_HIGHEST: Final = 0xFF


def _first(width: int) -> NDArray[np.void]:
    """void[width + 1]: for each of so many places whether it is one of the first, which rises from 0 on."""
    is_first = np.arange(width) < np.arange(width + 1)[:, None]
    return is_first.view(np.dtype((np.void, width)))[:, 0]


_BEFORE: Final = _first(_WIDTH)
_WANTED: Final = _first(_BYTES)
_EVERY: Final = np.uint64(0x0101010101010101)


def decimal_bytes(
    text: TextBlock, at: Positions, length: NDArray[np.int64], line_end: Positions
) -> tuple[NDArray[np.uint8], Mask]:
    """uint8[N, 8] of exactly `length` bytes from the blank at `at` on, 0 behind; and which are written so.

    Behind them the line ends or goes on with a word that begins with L, as `Length = 244016`.
    """
    data, good = np.zeros((len(at), _BYTES), np.uint8), np.zeros(len(at), np.bool_)
    if len(text.raw) < _WIDTH:
        return data, good
    # Of so many lines what is worked with stays near.
    for begin in range(0, len(at), _LINES):
        some = slice(begin, begin + _LINES)
        data[some], good[some] = _bytes_of(text, at[some], length[some], line_end[some])
    return data, good


def _bytes_of(
    text: TextBlock, at: Positions, length: NDArray[np.int64], line_end: Positions
) -> tuple[NDArray[np.uint8], Mask]:
    room = len(text.raw) - _WIDTH
    good = at <= room
    items = np.ndarray((room + 1,), np.dtype((np.void, _WIDTH)), text.raw, 0, (1,))
    chars = items[np.minimum(at, room)].view(np.uint8)
    value = chars - np.uint8(ord("0"))
    is_digit = value <= 9
    behind = (~(is_digit | (chars == _BLANK))).reshape(-1, _WIDTH).argmax(axis=1)
    last = np.arange(0, len(chars), _WIDTH) + behind
    # A digit before the L, or nothing that ends them, which is then the blank or the digit at their begin.
    is_tail = (chars[last] == ord("L")) & (chars[last - 1] == _BLANK) & (behind > 0)
    good &= (at + behind == line_end) | is_tail
    is_digit &= _BEFORE.take(behind).view(np.bool_)
    number, ends, written = _numbers(value, is_digit)
    good &= written
    counts = ends.view(np.uint64).reshape(-1, _WORDS)
    count = (sum(counts[:, word] for word in range(1, _WORDS)) + counts[:, 0]) * _EVERY >> np.uint64(56)
    good &= count == length
    wanted = _WANTED.take(length).view(np.bool_).reshape(-1, _BYTES)
    if not good.all():
        ends &= np.repeat(good, _WIDTH)
        wanted &= good[:, None]
    data = np.zeros((len(at), _BYTES), np.uint8)
    data[wanted] = number[ends]
    return data, good


def _numbers(value: NDArray[np.uint8], is_digit: Mask) -> tuple[NDArray[np.uint16], Mask, Mask]:
    """For each character the number that ends there and whether one does; for each line, if all are bytes."""
    value *= is_digit
    number = value.astype(np.uint16)
    number[1:] += value[:-1] * np.uint8(10)
    number[2:] += (value[:-2] * is_digit[1:-1]) * np.uint16(100)
    ends = is_digit.copy()
    ends[:-1] &= ~is_digit[1:]
    wrong = number > _HIGHEST
    wrong[3:] |= is_digit[2:-1] & is_digit[1:-2] & is_digit[:-3]
    wrong &= is_digit
    written = np.ones(len(value) // _WIDTH, np.bool_)
    if wrong.any():
        written &= ~wrong.reshape(-1, _WIDTH).any(axis=1)
    return number, ends, written
