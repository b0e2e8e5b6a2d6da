"""The fields of regular lines of a Vector ASC log, of many lines at once.

All of these clear `ok` where a field is not regular.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from can_stream.frames.batches import (
    CLASSIC_DATA_BYTES,
    EXTENDED_ID_MASK,
    FD_LENGTHS,
    STANDARD_ID_MASK,
    FrameFlag,
)
from can_stream.logs.formats.asc_lines import BRS, EDL, ESI, LONG_NUMBER, RTR, may_be_name
from can_stream.logs.formats.asc_text.words import WideText
from can_stream.logs.log_blocks import NS_PER_SECOND
from can_stream.text.byte_pairs import read_pairs
from can_stream.text.text_columns import (
    Mask,
    Positions,
    TextBlock,
    are_decimal,
    are_hex,
    decimal,
    hex_number,
    last,
)

Numbers = NDArray[np.int64]

HIGHEST_REGULAR_CHANNEL: Final = 99
_MOST_DIGITS: Final = 8
_RX: Final = np.uint64(int.from_bytes(b"rx", "little"))
_TX: Final = np.uint64(int.from_bytes(b"tx", "little"))
_LOWER_CASE: Final = np.uint64(0x2020202020202020)
_ONE_CHARACTER, _TWO_CHARACTERS, _THREE_CHARACTERS = (np.uint64((1 << 8 * size) - 1) for size in (1, 2, 3))
_TAIL, _BLANK_AND_TAIL, _BLANKS_AND_TAIL = (
    np.uint64(int.from_bytes(tail, "little")) for tail in (b"L", b" L", b"  L")
)
_LENGTH_OF_CODE: Final = np.array(FD_LENGTHS, np.int64)


def ends_at(text: TextBlock, behind: Positions, line_end: Positions) -> Mask:
    """Whether behind the data, which end at `behind`, the line ends or goes on with `Length = ...`."""
    after = text.text(behind) >> np.uint64(8)
    is_tail: Mask = (behind + 1 >= line_end) | ((after & _ONE_CHARACTER) == _TAIL)
    is_tail |= (after & _TWO_CHARACTERS) == _BLANK_AND_TAIL
    is_tail |= (after & _THREE_CHARACTERS) == _BLANKS_AND_TAIL
    return is_tail


def stamps(text: TextBlock, begin: Positions, end: Positions, ok: Mask) -> Numbers:
    """Nanoseconds of decimal seconds, all with as many digits of fraction as the first has."""
    usual = int(np.argmax(ok)) if len(ok) else 0
    head = text.raw[int(begin[usual]) : int(end[usual])].replace(b",", b".") if len(ok) else b""
    digits = len(head) - 1 - head.rfind(b".")
    if not 0 < digits <= _MOST_DIGITS:
        ok[:] = False
        return np.zeros(len(begin), np.int64)
    point = end - 1 - digits
    mark, size = text.chars[point], point - begin
    ok &= ((mark == ord(".")) | (mark == ord(","))) & (size > 0) & (size <= _MOST_DIGITS)
    whole = last(text.nibbles(point - 8), np.minimum(np.maximum(size, 0), _MOST_DIGITS))
    part = last(text.nibbles(end - 8), np.full(len(end), digits))
    ok &= are_decimal(whole) & are_decimal(part)
    ns = decimal(whole) * np.uint64(NS_PER_SECOND) + decimal(part) * np.uint64(10 ** (9 - digits))
    return ns.view(np.int64)


def buses(text: TextBlock, begin: Positions, end: Positions, ok: Mask) -> NDArray[np.uint8]:
    """The bus of channel 1 is 0, and so is that of channel 0."""
    return (np.maximum(two_digits(text, begin, end, ok), 1) - 1).astype(np.uint8)


def identifiers(
    text: TextBlock, begin: Positions, end: Positions, ok: Mask
) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Identifiers, and their flag: `123` and `123x`."""
    extended = text.chars[end - 1] | 0x20 == ord("x")
    number = hexadecimal(text, begin, end - extended, ok)
    ok &= fits_identifier(number, extended)
    return number, extended * np.uint8(FrameFlag.EXTENDED)


def fits_identifier(number: NDArray[np.uint32], extended: Mask) -> Mask:
    """Whether identifiers have no more than their 11 or 29 bits."""
    fits: Mask = number <= np.where(extended, np.uint32(EXTENDED_ID_MASK), np.uint32(STANDARD_ID_MASK))
    return fits


def leave_names(
    wide: WideText, begin: Positions, number: NDArray[np.uint32], flags: NDArray[np.uint8], ok: Mask
) -> None:
    """Leave to the line reader the hexadecimal numbers that may be names, where `ID = ` may say more."""
    if wide.adds_identifiers:
        letter = wide.text.chars[begin] >= ord("A")
        ok &= ~may_be_name(letter, number >= LONG_NUMBER, flags == FrameFlag.EXTENDED)


def directions(text: TextBlock, begin: Positions, end: Positions, ok: Mask) -> NDArray[np.uint8]:
    """The flag of `Rx` or `Tx`."""
    word = (text.text(begin) | _LOWER_CASE) & _TWO_CHARACTERS
    sent = word == _TX
    ok &= (end - begin == 2) & (sent | (word == _RX))
    flag: NDArray[np.uint8] = sent * np.uint8(FrameFlag.TX)
    return flag


def hexadecimal(text: TextBlock, begin: Positions, end: Positions, ok: Mask) -> NDArray[np.uint32]:
    """uint32[N]: numbers of up to 8 hexadecimal digits."""
    size = end - begin
    digits = last(text.nibbles(end - 8), np.minimum(np.maximum(size, 0), _MOST_DIGITS))
    ok &= (size > 0) & (size <= _MOST_DIGITS) & are_hex(digits)
    return hex_number(digits)


def digit(text: TextBlock, begin: Positions, end: Positions, highest: int, ok: Mask) -> Numbers:
    """One hexadecimal digit of at most `highest`. Clears `ok` where it is anything else."""
    value = text.digits[begin].astype(np.int64)
    ok &= (end - begin == 1) & (value <= highest)
    return np.minimum(value, highest)


def two_digits(text: TextBlock, begin: Positions, end: Positions, ok: Mask) -> Numbers:
    """A decimal number of one or two digits; 99 where it is none."""
    size = end - begin
    low, high = text.digits[end - 1], text.digits[end - 2] * (size == 2)
    good = (size <= 2) & (low <= 9) & (high <= 9)
    ok &= good
    return np.where(good, high * np.uint8(10) + low, HIGHEST_REGULAR_CHANNEL).astype(np.int64)


def fd_meaning(
    said: NDArray[np.uint32], switch: Numbers, code: Numbers, length: Numbers, ok: Mask
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Flags and lengths of CANFD lines by their flags column: FD frames, and classic data frames."""
    is_fd = said & EDL != 0
    full = np.where(is_fd, _LENGTH_OF_CODE[code], np.minimum(code, CLASSIC_DATA_BYTES))
    ok &= (is_fd | ((said & RTR == 0) & (switch == 0))) & (length == full)
    flags = is_fd * np.uint8(FrameFlag.FD)
    for bit, flag in ((BRS, FrameFlag.BRS), (ESI, FrameFlag.ESI)):
        flags |= (is_fd & (said & bit != 0)) * np.uint8(flag)
    return flags, np.where(is_fd, length, code).astype(np.uint8)


def payloads(
    wide: WideText, at: Positions, length: Numbers, line_end: Positions, width: int, ok: Mask
) -> tuple[NDArray[np.uint8], Positions]:
    """uint8[N, width]: `length` bytes of two digits from `at` on, a space behind each; and where they end."""
    behind = at + 3 * length - 1
    # Behind the last byte the line may end.
    spaced = np.maximum(length - (behind >= line_end), 0)
    data, good = read_pairs(wide.text.raw, at, length, spaced, width)
    ok &= good
    return data, np.minimum(behind, wide.last)
