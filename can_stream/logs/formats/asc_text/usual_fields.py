"""The fields of lines of a Vector ASC log that stand in the same columns, of many lines at once.

All of these clear `ok` where a field is not as it is usual.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from can_stream.frames.batches import FrameFlag
from can_stream.logs.formats.asc_text.fields import Numbers, fits_identifier
from can_stream.logs.formats.asc_text.words import Heads
from can_stream.logs.log_blocks import NS_PER_SECOND
from can_stream.text.byte_pairs import hex_digits
from can_stream.text.text_columns import (
    Mask,
    Words,
    are_decimal,
    decimal,
    decimal_values,
)

HEX_WIDTH: Final = 9
DECIMAL_WIDTH: Final = 10
BLANK: Final = 0x20
_MOST_DIGITS: Final = 8
# uint16[256]: by which of eight characters are digits, which must be blanks: those before the last ones.
_BLANKS_BEFORE: Final = np.full(256, 1 << 8, np.uint16)
_BLANKS_BEFORE[[256 - (1 << size) for size in range(8)]] = [(1 << size) - 1 for size in range(8)]
# uint16[256], uint32[256]: by which of eight characters are digits, which of those from the second on are
# behind the first ones that are, and how many bits of eight digits have none.
_FIRST_DIGITS: Final = [(1 << size) - 1 for size in range(1, 9)]
_BEHIND_DIGITS: Final = np.full(256, 1 << 8, np.uint16)
_BEHIND_DIGITS[_FIRST_DIGITS] = [0xFF & (0xFF << size) for size in range(8)]
_UNUSED_BITS: Final = np.zeros(256, np.uint32)
_UNUSED_BITS[_FIRST_DIGITS] = range(28, -4, -4)


class Pattern(Struct, frozen=True):
    """For some eight characters of a line, from `begin` on: what they are where they are `kept`."""

    begin: int
    text: np.uint64
    kept: np.uint64


def pattern_of(line: bytes, behind: int, free: Iterable[tuple[int, int]]) -> tuple[Pattern, ...]:
    """What stands before `behind` but where it is `free`."""
    kept = bytearray(b"\xff" * behind).ljust(-(-behind // 8) * 8, b"\0")
    for first, end in free:
        kept[first:end] = bytes(max(end - first, 0))
    line = line.ljust(len(kept))
    found = []
    for begin in range(0, len(kept), 8):
        mask = int.from_bytes(kept[begin : begin + 8], "little")
        if mask:
            text = int.from_bytes(line[begin : begin + 8], "little") & mask
            found.append(Pattern(begin, np.uint64(text), np.uint64(mask)))
    return tuple(found)


def are_alike(heads: Heads, patterns: Iterable[Pattern]) -> Mask:
    """Which lines are as the `patterns`."""
    differ = np.zeros(len(heads), np.uint64)
    for pattern in patterns:
        differ |= (heads.word(pattern.begin) & pattern.kept) ^ pattern.text
    same: Mask = differ == 0
    return same


class StampPlace(Struct, frozen=True):
    """Where the stamp of a line stands: `point` characters before its point, `fraction` digits behind it."""

    point: int
    fraction: int

    def read(self, heads: Heads, ok: Mask) -> Numbers:
        """Nanoseconds. Whole seconds are read once for neighbours with the same characters."""
        part = decimal_values(heads.word(self.point + self.fraction - 7)) & _last_characters(self.fraction)
        ok &= are_decimal(part)
        # At most 15 characters stand before the point.
        near = heads.word(self.point - 7) & _last_characters(min(self.point + 1, 8))
        is_new = near[1:] != near[:-1]
        if self.point >= _MOST_DIGITS:
            far = heads.word(0)
            is_new |= far[1:] != far[:-1]
        begin = np.concatenate(([0], np.flatnonzero(is_new) + 1))
        seconds = [_seconds(heads.text(line, self.point + 1)) for line in begin.tolist()]
        whole = np.repeat(np.array(seconds, np.int64) * NS_PER_SECOND, np.diff(begin, append=len(heads)))
        if min(seconds) < 0:
            ok &= whole >= 0
        whole += (decimal(part) * np.uint64(10 ** (9 - self.fraction))).view(np.int64)
        return whole


def _last_characters(count: int) -> np.uint64:
    """A mask of the last so many of eight characters."""
    return np.uint64((1 << 64) - (1 << 8 * (8 - count)))


def _seconds(text: bytes) -> int:
    """-1 for what is no number of seconds with blanks before it and a point or a comma behind it."""
    digits = text[:-1].lstrip(b" ")
    return int(digits) if digits.isdigit() and len(digits) <= _MOST_DIGITS and text[-1:] in b".," else -1


def buses_at(heads: Heads, place: tuple[int, int], ok: Mask) -> NDArray[np.uint8]:
    """The bus of channel 1 is 0, and so is that of channel 0."""
    number = np.zeros(len(heads), np.uint8)
    for at in range(*place):
        value = heads.digit(at)
        ok &= value <= 9
        number = number * np.uint8(10) + value
    return np.where(ok, np.maximum(number, 1) - np.uint8(1), np.uint8(0))


def sent_flags(heads: Heads, at: int, ok: Mask) -> NDArray[np.uint8]:
    """The flag of the R or T there."""
    letter = heads.character(at)
    is_sent = letter == ord("T")
    ok &= is_sent | (letter == ord("R"))
    flag: NDArray[np.uint8] = is_sent * np.uint8(FrameFlag.TX)
    return flag


def left_identifiers(heads: Heads, begin: int, ok: Mask) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Identifiers that begin there: up to 8 digits, an x or not, and blanks up to 9 characters."""
    values, are_digits = hex_digits(heads.word(begin).copy().view(np.uint8))
    digits = _bits(are_digits)
    extended = _are_marked(heads, begin, _BEHIND_DIGITS.take(digits), ok)
    number = _hex_number(values * are_digits) >> _UNUSED_BITS.take(digits)
    ok &= fits_identifier(number, extended)
    return number, extended * np.uint8(FrameFlag.EXTENDED)


def decimal_identifiers(heads: Heads, begin: int, ok: Mask) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """The same of up to 9 decimal digits, and blanks up to 10 characters."""
    values = heads.word(begin).copy().view(np.uint8) - np.uint8(ord("0"))
    are_digits = values <= 9
    digits = _bits(are_digits)
    ninth, tenth = heads.digit(begin + _MOST_DIGITS), heads.character(begin + DECIMAL_WIDTH - 1)
    is_long = (digits == 0xFF) & (ninth <= 9)
    is_long_and_marked = is_long & (tenth | np.uint8(BLANK) == ord("x"))
    ok &= is_long_and_marked | (tenth == BLANK)
    extended = _are_marked(heads, begin, np.where(is_long, np.uint16(0), _BEHIND_DIGITS.take(digits)), ok)
    extended |= is_long_and_marked
    kept = (values * are_digits).view(np.uint64) << (_UNUSED_BITS.take(digits) * np.uint64(2))
    number = decimal(kept).astype(np.uint32)
    number = np.where(is_long, number * np.uint32(10) + ninth, number)
    ok &= fits_identifier(number, extended)
    return number, extended * np.uint8(FrameFlag.EXTENDED)


def _are_marked(heads: Heads, begin: int, behind: NDArray[np.uint16], ok: Mask) -> Mask:
    """Where an x is the first of the characters `behind` the digits; bits are characters 1 to 8 of a field.

    All others of them are blanks.
    """
    chars = heads.word(begin + 1).copy().view(np.uint8)
    marks, blanks = _bits(chars | np.uint8(BLANK) == ord("x")), _bits(chars == BLANK)
    ok &= ((marks | blanks) == behind) & (marks & behind << 1 == 0)
    are_marked: Mask = marks > 0
    return are_marked


def right_identifiers(heads: Heads, end: int, ok: Mask) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Identifiers that end there, with the x, blanks before them in a field of 9 characters."""
    extended = heads.character(end - 1) | np.uint8(BLANK) == ord("x")
    ok &= extended | (heads.character(end - HEX_WIDTH) == BLANK)
    text = np.where(extended, heads.word(end - 9), heads.word(end - 8))
    number = right_number(text, 8, ok)
    ok &= fits_identifier(number, extended)
    return number, extended * np.uint8(FrameFlag.EXTENDED)


def right_number(text: Words, size: int, ok: Mask) -> NDArray[np.uint32]:
    """uint32[N]: hexadecimal numbers in the last `size` of eight characters, blanks before them."""
    chars = np.ascontiguousarray(text).view(np.uint8)
    values, are_digits = hex_digits(chars)
    before = np.uint8((1 << 8 - size) - 1)
    digits, blanks = _bits(are_digits) & ~before, _bits(chars == BLANK) | before
    ok &= blanks == _BLANKS_BEFORE.take(digits)
    return _hex_number(values * are_digits) & np.uint32((1 << 4 * size) - 1)


def _hex_number(values: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """The number that each eight digits write."""
    return (values[0::2] * np.uint8(16) | values[1::2]).view(">u4").astype(np.uint32)


def _bits(found: Mask) -> NDArray[np.uint8]:
    """A bit for each of eight characters, the first in the lowest."""
    return np.packbits(found, bitorder="little")
