"""Bytes written as two hexadecimal digits each with one blank between, of many lines at once."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from can_stream.text.text_columns import Mask, Positions, Words

# Eight bytes are read at once: so many characters, and one word of data.
_CHARACTERS: Final = 24
_BYTES: Final = 8
_ONES: Final = int.from_bytes(b"\1" * _BYTES, "little")
# uint64[9]: 1, and all bits, in each of the first so many bytes.
_FIRST: Final = np.array([_ONES & ((1 << 8 * size) - 1) for size in range(_BYTES + 1)], np.uint64)
_FIRST_BYTES: Final = _FIRST * np.uint64(0xFF)


def read_pairs(
    text: bytes, at: Positions, length: Positions, spaced: Positions, width: int
) -> tuple[NDArray[np.uint8], Mask]:
    """uint8[N, width] of what stands in `text` from each place on, 0 behind `length`; and which are so.

    `width` is 8 or 64. `spaced` int64[N]: behind how many of the bytes a blank must stand.
    """
    if width == _BYTES:
        words, good = _read_words(text, at, length, spaced)
        return words.view(np.uint8).reshape(-1, width), good
    count = (length + (_BYTES - 1)) >> 3
    row = np.repeat(np.arange(len(at)), count)
    before = (np.arange(len(row)) - (np.cumsum(count) - count)[row]) * _BYTES
    words, are_good = _read_words(text, at[row] + 3 * before, length[row] - before, spaced[row] - before)
    data, good = np.zeros((len(at), width), np.uint8), np.ones(len(at), np.bool_)
    data.reshape(-1).view(np.uint64)[row * (width // _BYTES) + (before >> 3)] = words
    good[row[~are_good]] = False
    return data, good


def _read_words(text: bytes, at: Positions, length: Positions, spaced: Positions) -> tuple[Words, Mask]:
    """The same of up to eight bytes, each row one word; `length` and `spaced` may be more than eight."""
    room = len(text) - _CHARACTERS
    if room < 0:
        return np.zeros(len(at), np.uint64), np.zeros(len(at), np.bool_)
    # One item of so many bytes each: taking them copies memory, and not single characters.
    items = np.ndarray((room + 1,), np.dtype((np.void, _CHARACTERS)), text, 0, (1,))
    chars = items[np.minimum(at, room)].view(np.uint8)
    digits = np.empty((2, len(at) * _BYTES), np.uint8)
    digits[0], digits[1] = chars[0::3], chars[1::3]
    (values, low), (are_digits, are_low) = hex_digits(digits)
    wanted = _FIRST.take(length, mode="clip")
    blanks = _FIRST.take(spaced, mode="clip")
    are_digits &= are_low
    good = are_digits.view(np.uint64) & wanted == wanted
    good &= (chars[2::3] == ord(" ")).view(np.uint64) & blanks == blanks
    good &= at <= room
    values *= np.uint8(16)
    values |= low
    return values.view(np.uint64) & _FIRST_BYTES.take(length, mode="clip"), good


def hex_digits(digits: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Mask]:
    """The value of each hexadecimal digit, and what is one: by bytes, of which one instruction takes 64."""
    work = digits | np.uint8(0x20)
    work -= np.uint8(ord("a"))
    are_letters = work < 6
    are_digits = np.subtract(digits, np.uint8(ord("0")), out=work) < 10
    are_digits |= are_letters
    values = digits & np.uint8(0x0F)
    values += np.multiply(are_letters, np.uint8(9), out=work)
    return values, are_digits
