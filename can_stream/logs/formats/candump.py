"""candump logs, a block at a time: regular `-l` lines in whole columns, every other line by itself, in order.

Regular is `(SECONDS.FRACTION) CHANNEL ID#DATA` with 6 or 9 digits of fraction, 3 or 8 of ID, and ` R` or
` T` or nothing behind; classic data and error frames. All else goes to `candump_lines`, which reads the
regular lines just the same: the fast way is only faster.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from can_stream.errors import LineError
from can_stream.frames.batches import EXTENDED_ID_MASK, STANDARD_ID_MASK, FrameBatch, FrameFlag
from can_stream.logs.formats.candump_lines import CAN_ERR_FLAG, HumanClock, read_candump_line
from can_stream.logs.log_blocks import (
    MAX_LINE_BYTES,
    MAX_SECONDS,
    NS_PER_SECOND,
    ChannelNames,
    ParsedBlock,
    Row,
    RowCollector,
    channel_name,
    merge_lines,
    parse_lines,
    split_lines,
)
from can_stream.text.text_columns import (
    MARGIN,
    Mask,
    Positions,
    TextBlock,
    Words,
    are_decimal,
    are_hex,
    decimal,
    first,
    hex_bytes,
    hex_number,
    last,
)

_MAX_SECOND_DIGITS: Final = 10
_MAX_CHANNEL_CHARACTERS: Final = 16
# Channels that the fast path recognises; lines of any others are read one at a time.
_MAX_KEYS: Final = 64
# From the space before an identifier to the character behind it.
_SHORT: Final = 1 + 3
_LONG: Final = 1 + 8


class _Lines(Struct, eq=False):
    """The regular lines of a block: columns for all lines, valid where `ok`."""

    ok: Mask
    timestamp_ns: NDArray[np.int64]
    arbitration_id: NDArray[np.uint32]
    flags: NDArray[np.uint8]
    length: NDArray[np.uint8]
    data: NDArray[np.uint8]
    key: NDArray[np.int64]

    def frames(self) -> FrameBatch:
        """All lines as frames."""
        return FrameBatch(self.timestamp_ns, self.arbitration_id, self.flags, self.length, self.data)


class CandumpParser:
    """A `BlockParser` of candump output. `deltas`: human-readable times are differences (`-t d`)."""

    def __init__(self, *, deltas: bool = False) -> None:
        self._names = ChannelNames()
        self._clock = HumanClock(deltas)
        # What stands where the channel does, as two words, and its name; None where it is none.
        self._keys: list[tuple[np.uint64, np.uint64, str | None]] = []

    @property
    def channels(self) -> list[str]:
        """Channel names in order of first appearance."""
        return self._names.names

    def parse(self, block: bytes) -> ParsedBlock:
        """The frames of a block of whole lines, in order."""
        if b"#" not in block:
            found = parse_lines(split_lines(block), self._names, self._read_line)
            return replace(found, is_local=self._clock.is_local)
        text = TextBlock(block)
        lines = self._regular_lines(text)
        rest = RowCollector(self._names)
        for index in np.flatnonzero(~lines.ok).tolist():
            rest.take_line(index, text.line(index), self._read_line)
        channel = self._channels_of(text, lines, rest)
        faults = tuple(sorted(rest.faults, key=lambda fault: fault.line or 0))
        return ParsedBlock(
            merge_lines(lines.ok, lines.frames(), channel, rest),
            len(text),
            rest.others,
            rest.unreadable,
            faults,
            self._clock.is_local,
        )

    def _read_line(self, line: bytes) -> Row | str:
        return read_candump_line(line, self._clock)

    def _regular_lines(self, text: TextBlock) -> _Lines:
        close, has_close = _closing(text)
        hash_sign, has_hash = _hash_sign(text, close)
        end, flags = _direction(text)
        ok = has_close & has_hash & (text.chars[text.start] == ord("("))
        ok &= (text.line_feed - text.start <= MAX_LINE_BYTES) & (text.chars[close + 1] == ord(" "))
        timestamp, good = _timestamps(text, close)
        ok &= good
        arbitration_id, id_begin, id_flags, good = _identifiers(text, hash_sign)
        ok &= good
        length, data, good = _payloads(text, hash_sign + 1, end)
        ok &= good
        key = self._recognise(text, close + 2, id_begin - 1, ok)
        return _Lines(ok, timestamp, arbitration_id, flags | id_flags, length, data, key)

    def _recognise(self, text: TextBlock, begin: Positions, end: Positions, ok: Mask) -> NDArray[np.int64]:
        """Index into `_keys` of each line's channel. Clears `ok` where a line must be read by itself:

        also the first line of a new channel, so that channels are numbered in file order.
        """
        size = end - begin
        ok &= (size > 0) & (size <= _MAX_CHANNEL_CHARACTERS)
        size = np.minimum(np.maximum(size, 0), _MAX_CHANNEL_CHARACTERS)
        low, high = first(text.text(begin), np.minimum(size, 8)), np.zeros(len(ok), np.uint64)
        if (size > 8).any():
            high = first(text.text(begin + 8), np.maximum(size, 8) - 8)
        key = np.full(len(ok), -1, np.int64)
        for number, (known_low, known_high, name) in enumerate(self._keys):
            self._mark(key, ok, (low == known_low) & (high == known_high), number, name)
        while len(self._keys) < _MAX_KEYS and (unknown := ok & (key < 0)).any():
            line = int(np.argmax(unknown))
            name = _name_between(text.raw[int(begin[line]) : int(end[line])])
            self._keys.append((low[line], high[line], name))
            same = (low == low[line]) & (high == high[line])
            self._mark(key, ok, same, len(self._keys) - 1, name)
            ok[line] = False
        ok &= key >= 0
        return key

    @staticmethod
    def _mark(key: NDArray[np.int64], ok: Mask, lines: Mask, number: int, name: str | None) -> None:
        key[lines] = number
        if name is None:
            ok[lines] = False

    def _channels_of(self, text: TextBlock, lines: _Lines, rest: RowCollector) -> NDArray[np.uint16]:
        """Channel numbers of the regular lines; those of a channel too many become faults."""
        numbers = [self._names.find(name) if name else None for _, _, name in self._keys]
        table = np.array([-1 if number is None else number for number in numbers] or [-1], np.int64)
        channel = table[lines.key]
        for index in np.flatnonzero(lines.ok & (channel < 0)).tolist():
            lines.ok[index] = False
            rest.take_line(index, text.line(index), self._read_line)
        return channel.astype(np.uint16)


def _name_between(text: bytes) -> str | None:
    try:
        return channel_name(text.strip(b" "))
    except LineError:
        return None


def _closing(text: TextBlock) -> tuple[Positions, Mask]:
    """The first `)` of each line, which nearly always is as far from the line's start as that of the first.

    What stands before it is looked at elsewhere: where that is another one the line is not regular.
    """
    if len(text):
        begin = int(text.start[0])
        distance = text.raw.find(b")", begin, int(text.end[0])) - begin
        close = text.start + distance
        if 0 < distance < MARGIN and _all_are(text, close, b")"):
            return close, np.ones(len(text), np.bool_)
    return _first_of(text, b")")


def _hash_sign(text: TextBlock, close: Positions) -> tuple[Positions, Mask]:
    """The `#` of each line, nearly always 3 or 8 digits behind a channel as long as that of the first."""
    if len(text):
        begin, end = int(close[0]), int(text.end[0])
        distance = text.raw.rfind(b" ", begin, text.raw.find(b"#", begin, end)) - begin
        if 0 < distance < MARGIN - _LONG:
            is_short = text.chars[close + (distance + _SHORT)] == ord("#")
            hash_sign = close + np.where(is_short, distance + _SHORT, distance + _LONG)
            if _all_are(text, hash_sign, b"#"):
                return hash_sign, np.ones(len(text), np.bool_)
    return _first_of(text, b"#")


def _all_are(text: TextBlock, at: Positions, character: bytes) -> bool:
    """Whether `character` stands there in every line."""
    return bool((at < text.end).all() and (text.chars[at] == ord(character)).all())


def _first_of(text: TextBlock, character: bytes) -> tuple[Positions, Mask]:
    """The first place of `character` in each line (the line's start where it has none)."""
    found = text.find(character)
    if len(found) != len(text) or not np.array_equal(found > text.start, found < text.end):
        index = np.minimum(np.searchsorted(found, text.start), max(len(found) - 1, 0))
        found = found[index] if len(found) else text.start - 1
    here = (found >= text.start) & (found < text.end)
    return np.where(here, found, text.start), here


def _direction(text: TextBlock) -> tuple[Positions, NDArray[np.uint8]]:
    """Where each line ends without its ` R` or ` T`, and the flag of the latter."""
    letter = text.chars[text.end - 1]
    is_tx = letter == ord("T")
    marked = (text.chars[text.end - 2] == ord(" ")) & (is_tx | (letter == ord("R")))
    return text.end - 2 * marked, (marked & is_tx) * np.uint8(FrameFlag.TX)


def _timestamps(text: TextBlock, close: Positions) -> tuple[NDArray[np.int64], Mask]:
    """Nanoseconds of `(SECONDS.FRACTION)` that ends at `close`."""
    ok: Mask = text.chars[close - 7] == ord(".")
    if len(ok) and not ok[0] and text.chars[close[0] - 10] == ord("."):
        ok, dot = text.chars[close - 10] == ord("."), close - 10
        low, top = text.nibbles(close - 8), text.nibbles(close - 9) & np.uint64(0xFF)
        ok &= are_decimal(low) & are_decimal(top)
        fraction_ns = decimal(low) + top * np.uint64(100_000_000)
    else:
        dot = close - 7
        micros = text.nibbles(close - 6) << np.uint64(16)
        ok &= are_decimal(micros)
        fraction_ns = decimal(micros) * np.uint64(1000)
    seconds, good = _seconds(text, text.start + 1, dot)
    return (seconds * np.uint64(NS_PER_SECOND) + fraction_ns).view(np.int64), ok & good


def _seconds(text: TextBlock, begin: Positions, end: Positions) -> tuple[Words, Mask]:
    """Of all lines; neighbours with the same digits, which nearly all are, are read once."""
    digits, low = end - begin, text.nibbles(end - 8)
    is_new = np.ones(len(end), np.bool_)
    is_new[1:] = (low[1:] != low[:-1]) | (digits[1:] != digits[:-1])
    for place in range(8, _MAX_SECOND_DIGITS):
        character = text.chars[end - place - 1]
        is_new[1:] |= character[1:] != character[:-1]
    lines = np.flatnonzero(is_new)
    places = zip(begin[lines].tolist(), end[lines].tolist(), strict=True)
    seconds = np.array([_whole_number(text.raw[first:behind]) for first, behind in places], np.int64)
    seconds = np.repeat(seconds, np.diff(lines, append=len(end)))
    return seconds.view(np.uint64), seconds >= 0


def _whole_number(digits: bytes) -> int:
    """-1 for what is no time in seconds."""
    number = int(digits) if len(digits) <= _MAX_SECOND_DIGITS and digits.isdigit() else -1
    return number if number <= MAX_SECONDS else -1


def _identifiers(
    text: TextBlock, hash_sign: Positions
) -> tuple[NDArray[np.uint32], Positions, NDArray[np.uint8], Mask]:
    """Arbitration ids, where they begin, their flags, and whether they are good."""
    is_short = text.chars[hash_sign - 4] == ord(" ")
    is_long = (text.chars[hash_sign - 9] == ord(" ")) & ~is_short
    digits = last(text.nibbles(hash_sign - 8), np.where(is_short, 3, 8))
    number = hex_number(digits)
    is_error = is_long & ((number & ~np.uint32(EXTENDED_ID_MASK)) == CAN_ERR_FLAG)
    in_range = number <= np.where(is_short, STANDARD_ID_MASK, EXTENDED_ID_MASK)
    flags = (is_long & ~is_error) * np.uint8(FrameFlag.EXTENDED) + is_error * np.uint8(FrameFlag.ERROR)
    ok = are_hex(digits) & (is_short | is_long) & (in_range | is_error)
    return number & np.uint32(EXTENDED_ID_MASK), hash_sign - np.where(is_short, 3, 8), flags, ok


def _payloads(
    text: TextBlock, begin: Positions, end: Positions
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], Mask]:
    """Lengths uint8[N] and data uint8[N, 8] of up to 16 hexadecimal digits."""
    digits = end - begin
    ok = (digits >= 0) & (digits <= 16) & (digits & 1 == 0)
    digits = np.minimum(np.maximum(digits, 0), 16)
    low = first(text.nibbles(begin), np.minimum(digits, 8))
    high = first(text.nibbles(begin + 8), np.maximum(digits, 8) - 8)
    ok &= are_hex(low | high)
    data = (hex_bytes(low) | (hex_bytes(high) << np.uint64(32))).astype("<u8", copy=False)
    return (digits >> 1).astype(np.uint8), data.view(np.uint8).reshape(-1, 8), ok
