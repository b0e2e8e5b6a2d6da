"""slcan: what an adapter says on its serial line, as batches of frames and replies.

The ASCII protocol of the Lawicel CAN232 and CANUSB (their manuals): `tiiildd..` and `riiil` for 11-bit ids,
`T` and `R` for 29-bit ids, and where timestamps are on four more digits behind each frame. Firmware of
CANable 2 adds CAN FD as `d` and `D`, with bit rate switch `b` and `B`, and one digit behind all else for the
error state indicator; a CANdapter writes `x` for `T`. CR ends a line, BELL is a refusal; CRLF and LF end
lines too.

What stands behind a frame is seen from each line, whatever the adapter was told: there are adapters that
acknowledge `Z0` and send timestamps, and such that acknowledge `Z1` and send none. Lines in plain form are
read all at once; any other is looked at by itself (`slcan_lines`) and brought into it.
"""

from __future__ import annotations

from collections.abc import Iterable
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
from edge_agent.bus.slcan_clock import StampReader
from edge_agent.bus.slcan_lines import MAX_TAIL_DIGITS, Reply, plain_frame, reply_in

# An extended CAN FD frame of 64 bytes with its timestamp, and with blanks between all bytes.
MAX_LINE_BYTES: Final = 256
_MAX_EXAMPLE_BYTES: Final = 40
_MIN_REMARKS: Final = 3

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
    (b"x", 8, FrameFlag.EXTENDED),
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
# What some firmware writes behind a remote frame: as many digits as its data would have.
_DATA_OF_REMOTE: Final = np.array(
    [2 * code if flags & FrameFlag.REMOTE and code <= CLASSIC_DATA_BYTES else 0 for _, flags, code in _KEYS],
    np.int64,
)
# The leftmost n characters of a word count, and how far they are from its end.
_TAIL_CHARACTERS: Final = np.array([_characters(0, count) for count in range(9)], np.uint64)
_TAIL_SHIFT: Final = np.array([0, *(8 * (8 - count) for count in range(1, 9))], np.uint64)

_LINE_FEEDS: Final = bytes.maketrans(b"\r\a", b"\n\n")


class Parsed(Struct, frozen=True, eq=False):
    """What whole lines said. Each of them is a frame, a reply or malformed; LF alone is no line.

    `unread`: the malformed ones, as far as they are shown. A line with the beginning of another frame behind
    its own is malformed too.
    """

    frames: FrameBatch
    replies: tuple[Reply, ...]
    unread: tuple[bytes, ...] = ()

    @property
    def malformed(self) -> int:
        """How many are no frame and no reply."""
        return len(self.unread)


class _Columns(Struct, frozen=True, eq=False):
    """The lines of a block that are frames: `rows` says which. `digits` and `number`: what stands behind."""

    rows: Mask
    arbitration_id: NDArray[np.uint32]
    flags: NDArray[np.uint8]
    length: NDArray[np.uint8]
    data: NDArray[np.uint8]
    digits: NDArray[np.int64]
    number: NDArray[np.int64]


class _Others(Struct):
    """The lines that are no frames in plain form, and those of them that are frames all the same.

    `own`: the lines whose frames the adapter has sent itself.
    """

    replies: list[Reply]
    frames: dict[int, bytes]
    own: set[int]
    unread: list[bytes]
    remarks: list[bytes]


class SlcanParser:
    """Reads an adapter's bytes, cut anywhere. What is no line of the protocol costs itself only: the next
    CR, LF or BELL begins anew.

    `stamps`: what is known of the adapter's timestamps. `remark`: what stood behind frames and is not
    understood, as the first had it; noise may have made of one what it likes.
    """

    def __init__(self) -> None:
        self.stamps = StampReader()
        self.remark = b""
        self._remarks: list[bytes] = []
        self._unfinished = b""
        self._digits = 0

    @property
    def is_inside_line(self) -> bool:
        """Whether a line has begun that has not ended."""
        return bool(self._unfinished)

    def parse(self, received: bytes, now_ns: int) -> Parsed:
        """The lines that end in `received`, which arrived at this time of the wall clock.

        That is the timestamp of frames without one; others are moved to the wall clock.
        """
        block = self._whole_lines(received)
        if not block:
            return Parsed(empty_batch(), ())
        text = TextBlock(block.translate(_LINE_FEEDS))
        columns = _frames_in(text, self._digits)
        if columns.rows.all():
            return Parsed(self._frames(columns, now_ns), ())
        others = _look_at(text, block, columns.rows)
        if others.frames:
            is_frame = columns.rows
            columns = _frames_in(_in_plain_form(text, is_frame, others.frames), self._digits)
            _mark_own(columns, is_frame, others)
            self._take(others.remarks)
        return Parsed(self._frames(columns, now_ns), tuple(others.replies), tuple(others.unread))

    def _take(self, remarks: list[bytes]) -> None:
        if not self.remark:
            self._remarks += remarks
            self.remark = self._remarks[0] if len(self._remarks) >= _MIN_REMARKS else b""

    def _whole_lines(self, received: bytes) -> bytes:
        held = self._unfinished + received
        end = 1 + max(held.rfind(b"\r"), held.rfind(b"\n"), held.rfind(b"\a"))
        # No more is needed of a line that is too long to be one.
        self._unfinished = held[end : end + MAX_LINE_BYTES + 1]
        return held[:end].replace(b"\r\n", b"\r")

    def _frames(self, columns: _Columns, now_ns: int) -> FrameBatch:
        if len(columns.digits):
            self._digits = int(columns.digits[-1])
        stamp_ns = self.stamps.times(columns.digits, columns.number, now_ns)
        return FrameBatch(stamp_ns, columns.arbitration_id, columns.flags, columns.length, columns.data)


def _frames_in(text: TextBlock, digits: int) -> _Columns:
    """The lines that are frames in plain form; the one before them had so many digits behind."""
    letter = text.chars.take(text.start)
    code_at = text.start + _CODE_AT.take(letter)
    key = _KEY_OF_LETTER.take(letter) + np.minimum(text.digits.take(code_at), _CODES - 1)
    more = text.end - text.start - _LINE_BYTES.take(key)
    rows = (more >= 0) & (more <= MAX_TAIL_DIGITS + _DATA_OF_REMOTE.take(key))
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
    begin = code_at + 1 + 2 * size
    if more.any():
        _skip_data_of_remote(begin, more, _DATA_OF_REMOTE.take(key), digits)
    more, number = _tails(text, begin, more, ok)
    found = _Columns(rows, arbitration_id, _FLAGS.take(key), _LENGTHS.take(key), data, more, number)
    return found if ok.all() else _only(found, ok)


def _only(found: _Columns, ok: Mask) -> _Columns:
    rows = found.rows.copy()
    rows[np.flatnonzero(rows)[~ok]] = False
    return _Columns(
        rows,
        found.arbitration_id[ok],
        found.flags[ok],
        found.length[ok],
        found.data[ok],
        found.digits[ok],
        found.number[ok],
    )


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


def _skip_data_of_remote(begin: Positions, more: Positions, data: Positions, digits: int) -> None:
    """Moves `begin` behind the data of remote frames, where other frames have as many digits as are left."""
    if not data.any():
        return
    others = more[data == 0]
    usual = int(others[-1]) if len(others) else digits
    has_data = (data > 0) & ((more - data == usual) | (more > MAX_TAIL_DIGITS))
    begin += np.where(has_data, data, 0)
    more -= np.where(has_data, data, 0)


def _tails(
    text: TextBlock, begin: Positions, more: Positions, ok: Mask
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many digits stand at `begin`, and the number that they write. Clears `ok` where they are none.

    One digit beyond, where it is 0 or 1, is the error state indicator of a CANable 2.
    """
    number = np.zeros(len(more), np.int64)
    if not more.any():
        return more, number
    end = begin + more
    last = np.where(more > 0, text.digits.take(end - 1), 0)
    has_indicator = (more % 4 == 1) & (last <= 1)
    digits = more - has_indicator
    # Six or seven are no form of a timestamp: the beginning of another frame, say.
    ok &= (last < _CODES - 1) & (digits < MAX_TAIL_DIGITS) & (digits != 6) & (digits != 7)
    digits = np.minimum(digits, MAX_TAIL_DIGITS - 1)
    words = (text.nibbles(begin) & _TAIL_CHARACTERS.take(digits)) << _TAIL_SHIFT.take(digits)
    ok &= are_hex(words)
    return digits, hex_number(words).astype(np.int64)


def _look_at(text: TextBlock, block: bytes, is_frame: Mask) -> _Others:
    """What the lines are that are no frames in plain form."""
    others = _Others([], {}, set(), [], [])
    for index in np.flatnonzero(~is_frame).tolist():
        line, end = text.line(index), int(text.line_feed[index] - text.start[0])
        reply = reply_in(line, block[end : end + 1])
        if reply is not None:
            others.replies.append(reply)
        elif line:
            found = plain_frame(line)
            if found is not None and _is_possible(found.line):
                others.frames[index] = found.line
                others.own |= {index} if found.is_own else set()
                others.remarks += [found.remark] if found.remark else []
            if index not in others.frames or found is None or found.hides_another:
                others.unread.append(line[:_MAX_EXAMPLE_BYTES])
    return others


def _is_possible(line: bytes) -> bool:
    """Whether its identifier has no more bits than it may."""
    return int(line[1:9], 16) <= EXTENDED_ID_MASK if line[:1] in b"TRDBx" else line[1:2] < b"8"


def _in_plain_form(text: TextBlock, is_frame: Mask, others: dict[int, bytes]) -> TextBlock:
    """The lines that are frames, each in plain form."""
    lines = [
        others.get(index) or text.line(index)
        for index in range(len(text))
        if is_frame[index] or index in others
    ]
    return TextBlock(b"\n".join(lines) + b"\n")


def _mark_own(columns: _Columns, is_frame: Mask, others: _Others) -> None:
    """Those that the adapter has sent itself have `FrameFlag.TX`."""
    if others.own:
        lines = [index for index in range(len(is_frame)) if is_frame[index] or index in others.frames]
        is_own = np.isin(np.array(lines)[columns.rows], list(others.own))
        columns.flags[is_own] |= np.uint8(FrameFlag.TX)
