"""The regular lines of a PEAK trace in whole columns: those that are laid out as a line before them.

What it reads, `trc_lines` reads just the same. Eight characters are a word, the leftmost in its lowest byte.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from can_stream.frames.batches import (
    CLASSIC_DATA_BYTES,
    EXTENDED_ID_MASK,
    FD_DATA_BYTES,
    FD_LENGTHS,
    STANDARD_ID_MASK,
    FrameFlag,
)
from can_stream.logs.formats.trc_text.layout import CODES, OTHER, SPACE, WORD, Layout, Place, Variant
from can_stream.text.byte_pairs import read_pairs
from can_stream.text.text_columns import Mask, Positions, Words, decimal, line_feeds

_EVERY: Final = 0x0101010101010101
_SPACES: Final = np.uint64(SPACE * _EVERY)
_EVERY_OTHER: Final = np.uint64(0x00FF00FF00FF00FF)
_EVERY_OTHER_HALF: Final = np.uint64(0x0000FFFF0000FFFF)
# By whether they are extended.
_MOST_OF: Final = np.array([STANDARD_ID_MASK, EXTENDED_ID_MASK], np.uint32)
_NO_DIGIT: Final = np.uint64(OTHER * _EVERY)
_OVER_NINE: Final = np.uint64(0x7676767676767676)
_NS_DIGITS: Final = 6


def _lengths(known: tuple[int, ...], *, is_code: bool) -> NDArray[np.int64]:
    """Data bytes of the numbers 0 to 255 in the column of lengths; 0 bytes are not regular."""
    table = np.zeros(256, np.int64)
    for code, length in enumerate(known):
        table[code if is_code else length] = length
    return table


_CLASSIC: Final = _lengths(FD_LENGTHS[: CLASSIC_DATA_BYTES + 1], is_code=False)
_FD: Final = {is_code: _lengths(FD_LENGTHS, is_code=is_code) for is_code in (False, True)}

_FIRST_BYTES: Final = np.array([(1 << (8 * n)) - 1 for n in range(9)], np.uint64)


class Columns(Struct, eq=False):
    """N lines, valid where `ok`: as in `FrameBatch`, and the channel numbers of their variants."""

    ok: Mask
    offset_ns: NDArray[np.int64]
    arbitration_id: NDArray[np.uint32]
    flags: NDArray[np.uint8]
    length: NDArray[np.uint8]
    data: NDArray[np.uint8]
    channel: NDArray[np.uint16]


class LineBlock:
    """The lines of one block. `start`, `end` int64[N]: where each begins, and ends but for blank, CR, LF."""

    def __init__(self, block: bytes) -> None:
        # Room for a word before the first line, and for the longest regular line from the last one on.
        tail = b"" if block.endswith(b"\n") else b"\n"
        self.text: Final = b"".join((bytes(WORD), block, tail, bytes(2 * 256)))
        self.codes: Final = self.text.translate(CODES)
        chars = np.frombuffer(self.text, np.uint8, len(block) + len(tail), WORD)
        self.line_feed: Final = line_feeds(chars)
        self.start: Final[Positions] = np.concatenate((np.zeros(1, np.int64), self.line_feed[:-1] + 1))
        end = self.line_feed
        if b"\r" in block:
            end = end - (chars[np.maximum(end - 1, 0)] == ord("\r"))
        self.end: Final[Positions] = end - (chars[np.maximum(end - 1, 0)] == ord(" "))

    def __len__(self) -> int:
        return len(self.start)

    def line(self, index: int) -> bytes:
        """One line with its CR, without its LF."""
        return self.text[WORD + int(self.start[index]) : WORD + int(self.line_feed[index])]


class _Rows:
    """As many characters of each line as a layout looks at, by their codes."""

    def __init__(self, block: LineBlock, lines: Positions | None, width: int) -> None:
        at = block.start if lines is None else block.start[lines]
        size = len(block.codes) - width + 1
        self._width = width
        self.count: Final = len(at)
        self._rows = np.ndarray((size,), f"V{width}", block.codes, 0, (1,))[at]

    def word(self, begin: int) -> Words:
        """Eight characters from `begin`, which may lie up to eight before the line."""
        return np.ndarray((self.count,), np.dtype("<u8"), self._rows, WORD + begin, (self._width,))

    def last(self, begin: int, end: int) -> Words:
        """The characters of a field at the end of a word, those before it 0."""
        keep = np.uint64(((1 << (8 * (end - begin))) - 1) << (8 * (WORD - end + begin)))
        # Copied: it is worked on.
        kept: Words = self.word(end - WORD) & keep
        return kept

    def code(self, at: int) -> NDArray[np.uint8]:
        """One character."""
        return np.ndarray((self.count,), np.uint8, self._rows, WORD + at, (self._width,))


def read_columns(block: LineBlock, layout: Layout, lines: Positions | None) -> Columns:
    """`lines` of `block` (all where None), as far as they are laid out so."""
    place = layout.place
    is_fd = any(variant.is_fd for variant in layout.variants)
    most = FD_DATA_BYTES if is_fd else CLASSIC_DATA_BYTES
    rows = _Rows(block, lines, WORD + place.data + WORD)
    ok, flags, channel = _meanings(rows, layout)
    length = _length(rows, place, (flags & FrameFlag.FD) != 0 if is_fd else None, layout.is_code)
    end, start = (block.end, block.start) if lines is None else (block.end[lines], block.start[lines])
    ok &= (length > 0) & (end - start == place.data - 1 + 3 * length)
    wrong = np.zeros(rows.count, np.uint64)
    if place.number is not None:
        digits, blanks = _field(rows, *place.number)
        wrong |= _misplaced(blanks) | digits | (digits + _OVER_NINE)
    offset_ns = _offset(rows, place, wrong)
    identifier, is_extended = _identifier(rows, place, wrong)
    ok &= _fits(identifier, is_extended)
    between = np.maximum(length - 1, 0)
    data, good = read_pairs(block.text, start + (WORD + place.data), length, between, most)
    ok &= good
    ok &= (wrong & _NO_DIGIT) == 0
    return Columns(ok, offset_ns, identifier, flags | is_extended, length.astype(np.uint8), data, channel)


def _fits(identifier: NDArray[np.uint32], is_extended: NDArray[np.uint8]) -> Mask:
    """Whether identifiers have no more than their 11 or 29 bits."""
    fits: Mask = identifier <= _MOST_OF[is_extended]
    return fits


def _meanings(rows: _Rows, layout: Layout) -> tuple[Mask, NDArray[np.uint8], NDArray[np.uint16]]:
    """Which lines are of a variant, their flags and channels."""
    words = [
        (rows.word(WORD * place) & np.uint64(mask), place) for place, mask in enumerate(layout.masks) if mask
    ]
    first, *others = layout.variants
    ok = _are_same(words, first)
    flags = np.full(rows.count, first.flags, np.uint8)
    channel = np.full(rows.count, first.channel, np.uint16)
    for variant in others:
        same = _are_same(words, variant)
        flags[same], channel[same] = variant.flags, variant.channel
        ok |= same
    return ok, flags, channel


def _are_same(words: list[tuple[Words, int]], variant: Variant) -> Mask:
    """Which lines have the text of `variant`."""
    differ = words[0][0] ^ np.uint64(variant.text[words[0][1]])
    for word, place in words[1:]:
        differ |= word ^ np.uint64(variant.text[place])
    same: Mask = differ == 0
    return same


def _length(rows: _Rows, place: Place, is_fd: Mask | None, is_code: bool) -> NDArray[np.int64]:
    """Data bytes of each line, 0 where its length cannot be."""
    begin, end = place.length
    number = rows.code(end - 1)
    if end - begin > 1:
        tens = rows.code(begin)
        number = np.where((tens > 9) | (number > 9), np.uint8(OTHER), tens * np.uint8(10) + number)
    length: NDArray[np.int64] = _CLASSIC[number]
    return length if is_fd is None else np.where(is_fd, _FD[is_code][number], length)


def _field(rows: _Rows, begin: int, end: int) -> tuple[Words, Words]:
    """A field of right-aligned digits: their values, and where its blanks are."""
    word = rows.last(begin, end)
    if end - begin < WORD:
        word |= _SPACES & _FIRST_BYTES[WORD - end + begin]
    blanks = word & _SPACES
    return word ^ blanks, blanks


def _misplaced(blanks: Words) -> Words:
    """The bit of `_NO_DIGIT` for each blank behind a digit or at the end; the leftmost is the lowest byte."""
    misplaced: Words = ((blanks >> np.uint64(8)) & ~blanks | blanks >> np.uint64(56)) << np.uint64(1)
    return misplaced


def _offset(rows: _Rows, place: Place, wrong: Words) -> NDArray[np.int64]:
    """Nanoseconds of decimal milliseconds."""
    digits, blanks = _field(rows, *place.whole)
    wrong |= _misplaced(blanks) | digits | (digits + _OVER_NINE)
    ns = decimal(digits) * np.uint64(10**_NS_DIGITS)
    if place.decimals:
        begin = place.whole[1] + 1
        part = rows.last(begin, begin + place.decimals)
        # A blank among them is more than nine.
        wrong |= part | (part + _OVER_NINE)
        ns += _fraction(part, place.decimals) * np.uint64(10 ** (_NS_DIGITS - place.decimals))
    return ns.view(np.int64)


def _fraction(part: Words, decimals: int) -> Words:
    """The number that the last `decimals` digits of a word write."""
    if decimals == 1:
        one: Words = part >> np.uint64(56)
        return one
    return decimal(part)


def _identifier(rows: _Rows, place: Place, wrong: Words) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Arbitration ids, and 1 for those that have more than four digits."""
    digits, blanks = _field(rows, *place.identifier)
    wrong |= _misplaced(blanks) | digits
    is_extended = (blanks & np.uint64(SPACE << 24)) == 0
    return _hex_number(digits), is_extended.view(np.uint8)


def _hex_number(digits: Words) -> NDArray[np.uint32]:
    """The number that eight hexadecimal digits write, the leftmost in the lowest byte."""
    pairs = ((digits << np.uint64(4)) | (digits >> np.uint64(8))) & _EVERY_OTHER
    halves = ((pairs << np.uint64(8)) | (pairs >> np.uint64(16))) & _EVERY_OTHER_HALF
    return ((halves << np.uint64(16)) | (halves >> np.uint64(32))).astype(np.uint32)
