"""Numbers out of many lines of text at once.

A `TextBlock` looks at a block of lines as bytes and as overlapping 8-byte words, so that one gather fetches
up to eight characters of every line, and shifts and masks turn them into numbers (the known SIMD-within-a-
register way to read digits). Byte 0 of a word is the leftmost character.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]
Words = NDArray[np.uint64]
Mask = NDArray[np.bool_]

MARGIN: Final = 32
"""Words may begin this far before the first and end this far behind the last line."""

_NOT_HEX: Final = 0x80
_NIBBLES: Final = bytes(
    int(chr(code), 16) if chr(code) in "0123456789abcdefABCDEF" else _NOT_HEX for code in range(256)
)
# Of the eight characters of a word, the first or the last n.
_FIRST: Final = np.array([(1 << (8 * n)) - 1 for n in range(9)], np.uint64)
_LAST: Final = _FIRST[8] ^ _FIRST[8 - np.arange(9)]

_INVALID: Final = np.uint64(0x8080808080808080)
_OVER_NINE: Final = np.uint64(0x7676767676767676)
_ZEROS: Final = np.uint64(int.from_bytes(b"0" * 8, "little"))


def _word(value: int) -> np.uint64:
    return np.uint64(value)


class TextBlock:
    """Lines of one block. `start` and `end` int64[N]: where each line begins and ends, without CR LF."""

    def __init__(self, block: bytes) -> None:
        margin = bytes(MARGIN)
        tail = b"" if block.endswith(b"\n") or not block else b"\n"
        self.raw: Final = b"".join((margin, block, tail, margin))
        self.chars: Final = np.frombuffer(self.raw, np.uint8)
        self._text_words = _overlapping_words(self.raw)
        self.line_feed: Final[Positions] = line_feeds(self.chars)
        self.start: Final[Positions] = np.concatenate(
            (np.full(min(len(self.line_feed), 1), MARGIN, np.int64), self.line_feed[:-1] + 1)
        )
        self.end: Final[Positions] = self._line_ends() if b"\r" in block else self.line_feed

    def __len__(self) -> int:
        return len(self.start)

    @cached_property
    def _nibbles(self) -> bytes:
        """Made where it is asked for: not all formats do."""
        return self.raw.translate(_NIBBLES)

    @cached_property
    def _nibble_words(self) -> Words:
        return _overlapping_words(self._nibbles)

    @cached_property
    def digits(self) -> NDArray[np.uint8]:
        """The hexadecimal digit value of each character, 0x80 for what is no digit."""
        return np.frombuffer(self._nibbles, np.uint8)

    def _line_ends(self) -> Positions:
        has_return = (self.chars[self.line_feed - 1] == ord("\r")) & (self.line_feed > self.start)
        ends: Positions = self.line_feed - has_return
        return ends

    def find(self, character: bytes) -> Positions:
        """Every position of `character`."""
        return np.flatnonzero(self.chars == ord(character))

    def text(self, at: Positions) -> Words:
        """Eight characters from each position."""
        return self._text_words[at]

    def nibbles(self, at: Positions) -> Words:
        """Eight hexadecimal digit values from each position, 0x80 for what is no digit."""
        return self._nibble_words[at]

    def line(self, index: int) -> bytes:
        """One line with its CR, without its LF."""
        return self.raw[int(self.start[index]) : int(self.line_feed[index])]


def _overlapping_words(text: bytes) -> Words:
    return np.ndarray((len(text) - 7,), np.dtype("<u8"), text, 0, (1,))


def line_feeds(chars: NDArray[np.uint8]) -> Positions:
    """Every position of LF."""
    return np.flatnonzero(chars == ord("\n"))


def first(words: Words, count: Positions) -> Words:
    """The first `count` (0 to 8) characters, the others 0."""
    kept: Words = words & _FIRST[count]
    return kept


def last(words: Words, count: Positions) -> Words:
    """The last `count` (0 to 8) characters, the others 0."""
    kept: Words = words & _LAST[count]
    return kept


def decimal_values(text: Words) -> Words:
    """Eight decimal digit values of eight characters, more than nine for what is no digit."""
    values: Words = text ^ _ZEROS
    return values


def are_hex(nibbles: Words) -> Mask:
    """Whether all eight are hexadecimal digits (masked ones count as 0)."""
    valid: Mask = (nibbles & _INVALID) == 0
    return valid


def are_decimal(nibbles: Words) -> Mask:
    """Whether all eight are decimal digits."""
    valid: Mask = ((nibbles | (nibbles + _OVER_NINE)) & _INVALID) == 0
    return valid


def decimal(nibbles: Words) -> Words:
    """The number that eight decimal digits write."""
    pairs = nibbles * _word(10) + (nibbles >> _word(8))
    high = (pairs & _word(0x000000FF000000FF)) * _word(100 + (1_000_000 << 32))
    low = ((pairs >> _word(16)) & _word(0x000000FF000000FF)) * _word(1 + (10_000 << 32))
    number: Words = (high + low) >> _word(32)
    return number


def hex_bytes(nibbles: Words) -> Words:
    """Four bytes, the leftmost in the lowest, that eight hexadecimal digits write."""
    pairs = ((nibbles << _word(4)) | (nibbles >> _word(8))) & _word(0x00FF00FF00FF00FF)
    quads = (pairs | (pairs >> _word(8))) & _word(0x0000FFFF0000FFFF)
    four: Words = (quads | (quads >> _word(16))) & _word(0xFFFFFFFF)
    return four


def hex_number(nibbles: Words) -> NDArray[np.uint32]:
    """The number that eight hexadecimal digits write."""
    return hex_bytes(nibbles).astype(np.uint32).byteswap()
