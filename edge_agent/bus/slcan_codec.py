"""slcan: what an adapter says on its serial line, as batches of frames and replies.

The ASCII protocol of the Lawicel CAN232 and CANUSB (their manuals): `tiiildd..` and `riiil` for 11-bit ids,
`T` and `R` for 29-bit ids, and where timestamps are on four more digits behind each frame, milliseconds of
the running minute. Firmware of CANable 2 adds CAN FD as `d` and `D`, with bit rate switch `b` and `B`. CR
ends a line, BELL is a refusal; CRLF and LF end lines too.

Whether a line has a timestamp is seen from the line: there are adapters that acknowledge `Z0` and send
timestamps, and such that acknowledge `Z1` and send none. Some count milliseconds in 16 bits and not within
the minute (ArduPilot). Eight digits are a count of whatever unit, which nobody says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
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
    FrameBatch,
    FrameFlag,
    empty_batch,
)
from can_stream.text.text_columns import (
    Mask,
    Positions,
    TextBlock,
    are_hex,
    hex_bytes,
    hex_number,
)
from edge_agent.bus.driver_times import TimestampMapper

_STAMP_DIGITS: Final = 4
_LONG_STAMP_DIGITS: Final = 8
_MINUTE_MS: Final = 60_000
_SIXTEEN_BITS_MS: Final = 1 << 16
# An extended CAN FD frame of 64 bytes with its timestamp.
MAX_LINE_BYTES: Final = 1 + 8 + 1 + 2 * FD_DATA_BYTES + _LONG_STAMP_DIGITS

# Letter, digits of the id, flags.
_KINDS: Final = (
    (b"t", 3, 0),
    (b"T", 8, FrameFlag.EXTENDED),
    (b"r", 3, FrameFlag.REMOTE),
    (b"R", 8, FrameFlag.REMOTE | FrameFlag.EXTENDED),
    (b"d", 3, FrameFlag.FD),
    (b"D", 8, FrameFlag.FD | FrameFlag.EXTENDED),
    (b"b", 3, FrameFlag.FD | FrameFlag.BRS),
    (b"B", 8, FrameFlag.FD | FrameFlag.BRS | FrameFlag.EXTENDED),
)
# A key is a kind and a length code; code 16 stands for what is no digit, the last kind for what is no frame.
_CODES: Final = 17
_KEYS: Final = [
    (digits, int(flags), code)
    for digits, flags in [*((d, f) for _, d, f in _KINDS), (0, 0)]
    for code in range(_CODES)
]
_IMPOSSIBLE: Final = -1 << 20


def _by_letter(other: int, values: Iterable[int]) -> NDArray[np.int64]:
    table = np.full(256, other, np.int64)
    table[[letter[0] for letter, _, _ in _KINDS]] = list(values)
    return table


_KEY_OF_LETTER: Final = _by_letter(len(_KINDS) * _CODES, range(0, len(_KINDS) * _CODES, _CODES))
_CODE_AT: Final = _by_letter(0, (1 + digits for _, digits, _ in _KINDS))


def _data_bytes(digits: int, flags: int, code: int) -> int:
    """How many bytes of data stand in a line; negative where no such frame exists."""
    if not digits or code > (15 if flags & FrameFlag.FD else CLASSIC_DATA_BYTES):
        return _IMPOSSIBLE
    return 0 if flags & FrameFlag.REMOTE else FD_LENGTHS[code]


def _characters(begin: int, end: int) -> int:
    """A mask of the characters from `begin` to `end` in a word of eight."""
    begin, end = (8 * min(max(place, 0), 8) for place in (begin, end))
    return (1 << end) - (1 << begin) if begin < end else 0


_DATA_BYTES: Final = np.array([_data_bytes(*key) for key in _KEYS], np.int64)
_LINE_BYTES: Final = np.array(
    [2 + digits + 2 * size for (digits, _, _), size in zip(_KEYS, _DATA_BYTES.tolist(), strict=True)],
    np.int64,
)
_FLAGS: Final = np.array([flags for _, flags, _ in _KEYS], np.uint8)
_LENGTHS: Final = np.array([(*FD_LENGTHS, 0)[code] for _, _, code in _KEYS], np.uint8)
_ID_LIMIT: Final = np.array(
    [EXTENDED_ID_MASK if key[0] == 8 else STANDARD_ID_MASK for key in _KEYS], np.uint32
)
# Words from the length code on: the id before it, and eight bytes of data behind it; what of them counts.
_WORDS_AT: Final = np.array([-8, 1, 9], np.int64)
_WORD_CHARACTERS: Final = np.array(
    [
        [_characters(8 - digits, 8), _characters(0, 2 * size), _characters(0, 2 * size - 8)]
        for (digits, _, _), size in zip(_KEYS, _DATA_BYTES.tolist(), strict=True)
    ],
    np.uint64,
)
# The same for the data of CAN FD beyond those, by its size.
_MORE_WORDS_AT: Final = np.arange(17, 2 * FD_DATA_BYTES, 8)
_MORE_CHARACTERS: Final = np.array(
    [[_characters(0, 2 * size + 1 - int(at)) for at in _MORE_WORDS_AT] for size in range(FD_DATA_BYTES + 1)],
    np.uint64,
)
_STAMP_CHARACTERS: Final = np.uint64(_characters(8 - _STAMP_DIGITS, 8))

_LINE_FEEDS: Final = bytes.maketrans(b"\r\a", b"\n\n")


class ReplyKind(Enum):
    """What an adapter says besides frames."""

    DONE = "done"
    REFUSED = "refused"
    SENT = "sent"
    STATUS = "status"
    VERSION = "version"
    SERIAL_NUMBER = "serial number"


_REPLIES: Final = (
    (ReplyKind.SENT, re.compile(rb"[zZ]()")),
    (ReplyKind.STATUS, re.compile(rb"F([0-9A-Fa-f]{2})")),
    (ReplyKind.VERSION, re.compile(rb"V([0-9A-Za-z._-]{1,32})")),
    (ReplyKind.SERIAL_NUMBER, re.compile(rb"N([0-9A-Za-z._-]{1,32})")),
)


class Reply(Struct, frozen=True):
    """`text`: what stands behind the letter."""

    kind: ReplyKind
    text: str = ""


class Parsed(Struct, frozen=True, eq=False):
    """What whole lines said. Each of them is a frame, a reply or malformed; LF alone is no line."""

    frames: FrameBatch
    replies: tuple[Reply, ...]
    malformed: int


class _Columns(Struct, frozen=True, eq=False):
    """The frames of a block, where `ok`. `stamp_ms` int64[N] is -1 for those without one of four digits."""

    ok: Mask
    arbitration_id: NDArray[np.uint32]
    flags: NDArray[np.uint8]
    length: NDArray[np.uint8]
    data: NDArray[np.uint8]
    stamp_ms: NDArray[np.int64]


class SlcanParser:
    """Reads an adapter's bytes, cut anywhere. What is no line of the protocol costs itself only: the next
    CR, LF or BELL begins anew.

    `has_stamps`: whether the newest frame has a timestamp that is used; None before the first.
    """

    def __init__(self) -> None:
        self.has_stamps: bool | None = None
        self._unfinished = b""
        self._stamps = _Stamps()

    def parse(self, received: bytes, now_ns: int) -> Parsed:
        """The lines that end in `received`, which arrived at this time of the wall clock.

        That is the timestamp of frames without one; others are moved to the wall clock.
        """
        block = self._whole_lines(received)
        if not block:
            return Parsed(empty_batch(), (), 0)
        text = TextBlock(block.translate(_LINE_FEEDS))
        rows, columns = _frames_in(text)
        replies, malformed = _replies_in(text, block, rows)
        frames = self._frames(columns, now_ns)
        return Parsed(frames, replies, malformed + len(columns.ok) - len(frames))

    def _whole_lines(self, received: bytes) -> bytes:
        held = self._unfinished + received
        end = 1 + max(held.rfind(b"\r"), held.rfind(b"\n"), held.rfind(b"\a"))
        # No more is needed of a line that is too long to be one.
        self._unfinished = held[end : end + MAX_LINE_BYTES + 1]
        return held[:end].replace(b"\r\n", b"\r")

    def _frames(self, columns: _Columns, now_ns: int) -> FrameBatch:
        stamp_ns = np.full(len(columns.ok), now_ns, np.int64)
        has_stamp = columns.ok & (columns.stamp_ms >= 0)
        if has_stamp.any():
            stamp_ns[has_stamp] = self._stamps.map(columns.stamp_ms[has_stamp], now_ns)
        if columns.ok.any():
            self.has_stamps = bool(has_stamp[columns.ok][-1])
        frames = FrameBatch(stamp_ns, columns.arbitration_id, columns.flags, columns.length, columns.data)
        return frames if columns.ok.all() else frames[columns.ok]


class _Stamps:
    """Turns milliseconds that start again every minute, or after 16 bits, into wall clock nanoseconds.

    That they count in 16 bits is known from the first that is beyond the minute.
    """

    def __init__(self) -> None:
        self._mapper = TimestampMapper()
        self._newest_ms: int | None = None
        self._period_ms = _MINUTE_MS

    def map(self, stamp_ms: NDArray[np.int64], now_ns: int) -> NDArray[np.int64]:
        """int64[N] nanoseconds. Minutes of silence are a jump, for which the mapper finds its offset anew."""
        if self._period_ms == _MINUTE_MS and int(stamp_ms.max()) >= _MINUTE_MS:
            # What was made of earlier ones may have been wrong by a few seconds at each turn.
            self._period_ms, self._newest_ms, self._mapper = _SIXTEEN_BITS_MS, None, TimestampMapper()
        newest_ms = int(stamp_ms[-1]) if self._newest_ms is None else self._newest_ms
        half_ms = self._period_ms // 2
        unwrapped_ms = newest_ms + (stamp_ms - newest_ms + half_ms) % self._period_ms - half_ms
        self._newest_ms = int(unwrapped_ms[-1])
        return self._mapper.map(unwrapped_ms * 1_000_000, now_ns)


def _frames_in(text: TextBlock) -> tuple[Mask, _Columns]:
    """Which lines have the shape of a frame, and the columns of those."""
    letter = text.chars.take(text.start)
    code_at = text.start + _CODE_AT.take(letter)
    key = _KEY_OF_LETTER.take(letter) + np.minimum(text.digits.take(code_at), _CODES - 1)
    more = text.end - text.start - _LINE_BYTES.take(key)
    rows = (more == 0) | (more == _STAMP_DIGITS) | (more == _LONG_STAMP_DIGITS)
    if not rows.all():
        code_at, key, more = code_at[rows], key[rows], more[rows]
    words = text.nibbles(code_at[:, None] + _WORDS_AT) & _WORD_CHARACTERS.take(key, axis=0)
    values = hex_bytes(words).astype(np.uint32)
    arbitration_id = values[:, 0].byteswap()
    data = np.ascontiguousarray(values[:, 1:]).view(np.uint8)
    ok = are_hex(words[:, 0] | words[:, 1] | words[:, 2]) & (arbitration_id <= _ID_LIMIT.take(key))
    size = _DATA_BYTES.take(key)
    is_long = size > CLASSIC_DATA_BYTES
    if is_long.any():
        data = _long_data(text, code_at, size, np.flatnonzero(is_long), data, ok)
    stamp_ms = _timestamps(text, code_at + 1 + 2 * size, more, ok)
    return rows, _Columns(ok, arbitration_id, _FLAGS.take(key), _LENGTHS.take(key), data, stamp_ms)


def _long_data(
    text: TextBlock, code_at: Positions, size: Positions, rows: Positions, data: NDArray[np.uint8], ok: Mask
) -> NDArray[np.uint8]:
    """`data` in 64 columns, with what `rows` have beyond 8 bytes. Clears `ok` where that is no number."""
    at = np.minimum(code_at[rows, None] + _MORE_WORDS_AT, len(text.raw) - 8)
    words = text.nibbles(at) & _MORE_CHARACTERS.take(size[rows], axis=0)
    wide = np.zeros((len(data), FD_DATA_BYTES), np.uint8)
    wide[:, :CLASSIC_DATA_BYTES] = data
    wide[rows, CLASSIC_DATA_BYTES:] = hex_bytes(words).astype(np.uint32).view(np.uint8)
    ok[rows] &= are_hex(words).all(axis=1)
    return wide


def _timestamps(text: TextBlock, begin: Positions, more: Positions, ok: Mask) -> NDArray[np.int64]:
    """int64[N] milliseconds at `begin`, -1 where there are none. Clears `ok` where they are no numbers."""
    stamp_ms = np.full(len(more), -1, np.int64)
    if not more.any():
        return stamp_ms
    has_stamp = more == _STAMP_DIGITS
    digits = np.where(has_stamp, text.nibbles(begin - 4) & _STAMP_CHARACTERS, np.uint64(0))
    ok &= are_hex(digits)
    is_long = np.flatnonzero(more == _LONG_STAMP_DIGITS)
    if len(is_long):
        ok[is_long] &= are_hex(text.nibbles(begin[is_long]))
    stamp_ms[has_stamp] = hex_number(digits[has_stamp]).astype(np.int64)
    return stamp_ms


def _replies_in(text: TextBlock, block: bytes, is_frame: Mask) -> tuple[tuple[Reply, ...], int]:
    """The replies in the lines that are no frames, and how many are no replies either."""
    replies, malformed = [], 0
    for index in np.flatnonzero(~is_frame).tolist():
        line, end = text.line(index), int(text.line_feed[index] - text.start[0])
        reply = _reply(line, block[end : end + 1])
        if reply is not None:
            replies.append(reply)
        elif line:
            malformed += 1
    return tuple(replies), malformed


def _reply(line: bytes, terminator: bytes) -> Reply | None:
    if not line:
        kinds = {b"\r": ReplyKind.DONE, b"\a": ReplyKind.REFUSED}
        return Reply(kinds[terminator]) if terminator in kinds else None
    for kind, pattern in _REPLIES:
        if match := pattern.fullmatch(line):
            return Reply(kind, match[1].decode("ascii"))
    return None
