"""CAN frames out of BLF objects, in columns: a block's objects at once, whatever their mixture.

Of each kind only the fields that make a frame are read; the layouts are public through Vector's
`binlog_objects.h` and the library Vector_BLF.
"""

from __future__ import annotations

from typing import Any, Final

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
)
from can_stream.logs.formats.binary.blf_objects import Objects, Places

CAN_MESSAGE: Final = 1
CAN_ERROR: Final = 2
CAN_ERROR_EXT: Final = 73
CAN_MESSAGE2: Final = 86
CAN_FD_MESSAGE: Final = 100
CAN_FD_MESSAGE_64: Final = 101
CAN_FD_ERROR_64: Final = 104
FRAME_KINDS: Final = (
    CAN_MESSAGE,
    CAN_MESSAGE2,
    CAN_FD_MESSAGE,
    CAN_FD_MESSAGE_64,
    CAN_ERROR,
    CAN_ERROR_EXT,
    CAN_FD_ERROR_64,
)
REQUESTS: Final = "transmit requests"
REASONS: Final = (
    "",
    "its header is none that a CAN frame has",
    "its time stamp is out of range",
    "its length code is none that a frame has",
    "it has fewer data bytes than its length says",
    "its identifier has more bits than the frame's kind",
)
_HEADER, _TIME, _LENGTH, _MISSING, _IDENTIFIER = range(1, len(REASONS))

# The header: 16 bytes that all objects have, flags (uint32), 4 bytes, the time stamp (uint64).
_TIMED_HEADER: Final = 32
_TEN_MICROSECONDS: Final = 1
_UNIT_BITS: Final = np.uint64(3)
_REMOTE: Final = 0x80
_DIRECTION: Final = 0x0F
_TX, _TX_REQUEST = 1, 2
# uint64[256, 8]: all bits in each of the first so many bytes of a frame's data.
_KEPT: Final = (
    np.where(np.arange(256)[:, None] > np.arange(FD_DATA_BYTES), 0xFF, 0).astype(np.uint8).view("<u8")
)
# By flags and length code: the length, and the data bytes that are there. None has more than _NONE.
_NONE: Final = 255
_SHAPE: Final = FrameFlag.FD | FrameFlag.REMOTE


def _by_shape() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    length = np.full((_SHAPE + 1, 256), _NONE, np.uint8)
    length[:, : len(FD_LENGTHS)] = np.arange(len(FD_LENGTHS))
    present = np.where(length == _NONE, length, np.minimum(length, CLASSIC_DATA_BYTES))
    length[FrameFlag.FD, : len(FD_LENGTHS)] = FD_LENGTHS
    present[FrameFlag.FD] = length[FrameFlag.FD]
    present[FrameFlag.REMOTE, : len(FD_LENGTHS)] = 0
    return length, present


_LENGTH_OF, _PRESENT_OF = _by_shape()
_BIT_31: Final = np.uint32(0x8000_0000)


class BlfFrames(Struct, frozen=True, eq=False):
    """The frames among N objects, and what the others are.

    `channel` uint16[frames], as the file numbers them. `why` uint8[N]: index into `REASONS`, above 0
    where the object is an unreadable frame. `requests`: how many are requests to send and no frames.
    """

    frames: FrameBatch
    channel: NDArray[np.uint16]
    why: NDArray[np.uint8]
    requests: int


class _Rows(Struct, eq=False):
    """One column per field of N frames. `room`: how many data bytes the object has place for."""

    channel: NDArray[np.uint16]
    identifier: NDArray[np.uint32]
    flags: NDArray[np.uint8]
    code: NDArray[np.uint8]
    direction: NDArray[np.uint8]
    data_at: Places
    room: Places

    @staticmethod
    def zeros(count: int) -> _Rows:
        narrow, wide = np.zeros((3, count), np.uint8), np.zeros((2, count), np.int64)
        return _Rows(np.zeros(count, np.uint16), np.zeros(count, np.uint32), *narrow, *wide)


def frames_of(objects: Objects, start_ns: int) -> BlfFrames:
    """The frames of `objects`, whose times count from `start_ns`, in their order."""
    layout = _LAYOUT_OF.take(objects.kind, mode="clip")
    first = int(layout[0])
    if first and (objects.step or (layout == first).all()):
        return _checked(objects, _READ[first](objects), start_ns)
    index = np.flatnonzero(layout)
    chosen = objects.of(index)
    found = _checked(chosen, _mixed(chosen, layout[index]), start_ns)
    why = np.zeros(len(objects), np.uint8)
    why[index] = found.why
    return BlfFrames(found.frames, found.channel, why, found.requests)


def _mixed(objects: Objects, layout: NDArray[np.uint8]) -> _Rows:
    rows = _Rows.zeros(len(objects))
    for number, read in _READ.items():
        index = np.flatnonzero(layout == number)
        if len(index):
            some = read(objects.of(index))
            for name in rows.__struct_fields__:
                getattr(rows, name)[index] = getattr(some, name)
    return rows


def _checked(objects: Objects, rows: _Rows, start_ns: int) -> BlfFrames:
    """Rows as frames, without those that cannot be."""
    length, present = _lengths(rows.flags, rows.code)
    head = objects.words(objects.at, 4)
    stamp, is_late = _timestamps(head, start_ns)
    why = _reasons(objects, rows, present, head)
    why[is_late] = _TIME
    # What lies behind an object that is too short says nothing of it.
    is_request = (rows.direction == _TX_REQUEST) & (rows.room >= 0)
    requests = int(np.count_nonzero(is_request))
    why[is_request] = 0
    is_left_out = is_request | (why != 0)
    present = np.where(is_left_out, np.uint8(0), present)
    flags = rows.flags | ((rows.direction == _TX) * np.uint8(FrameFlag.TX))
    data = _data(objects, rows.data_at, present)
    batch = FrameBatch(stamp, rows.identifier & np.uint32(EXTENDED_ID_MASK), flags, length, data)
    if is_left_out.any():
        return BlfFrames(batch[~is_left_out], rows.channel[~is_left_out], why, requests)
    return BlfFrames(batch, rows.channel, why, requests)


def _lengths(
    flags: NDArray[np.uint8], code: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Lengths, and how many data bytes are there, `_NONE` where there is no such code."""
    shape = flags & np.uint8(_SHAPE)
    if not shape.any() and code.max(initial=0) < len(FD_LENGTHS):
        return code, np.minimum(code, np.uint8(CLASSIC_DATA_BYTES))
    index = (shape.astype(np.int64) << 8) | code
    return _LENGTH_OF.take(index), _PRESENT_OF.take(index)


def _reasons(
    objects: Objects, rows: _Rows, present: NDArray[np.uint8], head: NDArray[np.uint64]
) -> NDArray[np.uint8]:
    """uint8[N], indexes into `REASONS`. Of an error frame the identifier may be anything."""
    why = np.zeros(len(objects), np.uint8)
    wrong_id = (rows.identifier > STANDARD_ID_MASK) & ((rows.identifier ^ _BIT_31) > EXTENDED_ID_MASK)
    missing = present > rows.room
    version = head[:, 0] >> np.uint64(48)
    wrong_header = (version - np.uint64(1) > 1) | (objects.header < _TIMED_HEADER)
    if (wrong_id | missing | wrong_header).any():
        why[wrong_id & ((rows.flags & FrameFlag.ERROR) == 0)] = _IDENTIFIER
        why[missing] = _MISSING
        why[present == _NONE] = _LENGTH
        why[rows.room < 0] = _MISSING
        why[wrong_header] = _HEADER
    return why


def _timestamps(head: NDArray[np.uint64], start_ns: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Times, and which of them are out of range. The unit is 10 us or a nanosecond, by a flag."""
    ticks, limit = head[:, 3], 2**63 - 1 - max(start_ns, 0)
    is_coarse = (head[:, 2] & _UNIT_BITS) == _TEN_MICROSECONDS
    unit = np.where(is_coarse, np.uint64(10_000), np.uint64(1)) if is_coarse.any() else np.uint64(1)
    is_late = ticks > np.uint64(limit // 10_000)
    if is_late.any():
        is_late = ticks > np.where(is_coarse, np.uint64(limit // 10_000), np.uint64(limit))
    return (ticks * unit).view(np.int64) + start_ns, is_late


def _data(objects: Objects, at: Places, present: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8[N, 8 or 64]: the bytes at `at`, zero behind the first `present`."""
    if present.max(initial=0) <= CLASSIC_DATA_BYTES:
        # A shift by 64 gives zero, and what is one less is all ones.
        mask = (np.uint64(1) << (present.astype(np.uint64) << np.uint64(3))) - np.uint64(1)
        words = objects.words(at, 1)[:, 0] & mask
        return words.astype("<u8", copy=False).view(np.uint8).reshape(-1, CLASSIC_DATA_BYTES)
    kept: NDArray[np.uint64] = objects.words(at, FD_DATA_BYTES // 8) & _KEPT.take(present, axis=0)
    return kept.astype("<u8", copy=False).view(np.uint8)


def _bits(word: NDArray[np.uint64], shift: int, dtype: type[np.uint8 | np.uint16 | np.uint32]) -> Any:
    """The bits from `shift` on, as many as the type has."""
    return (word >> np.uint64(shift)).astype(dtype)


def _extended(identifier: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """`FrameFlag.EXTENDED`, which is 1, where bit 31 is set."""
    return (identifier >> np.uint32(31)).astype(np.uint8)


def _message(objects: Objects) -> _Rows:
    """Channel uint16, flags uint8, length code uint8, identifier uint32; then 8 data bytes, or in

    CAN_FD_MESSAGE 5 bytes, FD flags uint8, valid bytes uint8, 5 bytes, data.
    """
    begin = objects.at + objects.header
    words = objects.words(begin, 2)
    marks, identifier = _bits(words[:, 0], 16, np.uint8), _bits(words[:, 0], 32, np.uint32)
    flags = _extended(identifier) | (marks >> np.uint8(7)) * np.uint8(FrameFlag.REMOTE)
    code, direction = _bits(words[:, 0], 24, np.uint8), marks & np.uint8(_DIRECTION)
    is_fd = objects.kind == CAN_FD_MESSAGE
    valid = np.full(len(objects), FD_DATA_BYTES, np.uint8)
    if objects.step and not is_fd[0]:
        data_at = begin + 8
    else:
        data_at = begin + np.where(is_fd, 20, 8)
        valid = np.where(is_fd, _bits(words[:, 1], 48, np.uint8), valid)
        flags |= np.where(is_fd, _fd_flags(_bits(words[:, 1], 40, np.uint8), flags), np.uint8(0))
    room = np.minimum(objects.at + objects.size - data_at, valid)
    return _Rows(_bits(words[:, 0], 0, np.uint16), identifier, flags, code, direction, data_at, room)


def _fd_flags(marks: NDArray[np.uint8], flags: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Of bits 0 (EDL), 1 (BRS) and 2 (ESI). ISO 11898-1: what is remote is classic, and then has none."""
    return np.where((flags & FrameFlag.REMOTE) == 0, _FD_FLAGS[marks & np.uint8(7)], np.uint8(0))


_FD_FLAGS: Final = np.array(
    [
        (FrameFlag.FD | FrameFlag.BRS * brs | FrameFlag.ESI * esi) * edl
        for esi in (0, 1)
        for brs in (0, 1)
        for edl in (0, 1)
    ],
    np.uint8,
)


def _fd_64(objects: Objects) -> _Rows:
    """Channel, length code, valid bytes, one more, all uint8; identifier; at 12 flags uint32 (bit 4 remote,

    12 EDL, 13 BRS, 14 ESI); at 34 direction and where extra data begin, both uint8; at 40 the data.
    """
    begin = objects.at + objects.header
    words = objects.words(begin, 5)
    identifier, marks = _bits(words[:, 0], 32, np.uint32), _bits(words[:, 1], 32, np.uint32)
    flags = _extended(identifier) | ((marks & 0x10) != 0) * np.uint8(FrameFlag.REMOTE)
    flags |= _fd_flags(_bits(words[:, 1], 44, np.uint8), flags)
    room = np.minimum(
        _data_end(objects, _bits(words[:, 4], 24, np.uint8)) - (begin + 40), _bits(words[:, 0], 16, np.uint8)
    )
    code, direction = _bits(words[:, 0], 8, np.uint8), _bits(words[:, 4], 16, np.uint8)
    channel = _bits(words[:, 0], 0, np.uint8).astype(np.uint16)
    return _Rows(channel, identifier, flags, code, direction, begin + 40, room)


def _data_end(objects: Objects, extra: NDArray[np.uint8]) -> Places:
    """Where an object's data end: at the extra data, if it has some, which `extra` counts from its begin."""
    return objects.at + np.where(extra > 0, np.minimum(extra, objects.size), objects.size)


def _error(objects: Objects) -> _Rows:
    """Channel uint16 and a length: nothing is said of the frame."""
    begin, count = objects.at + objects.header, len(objects)
    flags = np.full(count, FrameFlag.ERROR, np.uint8)
    code, direction = np.zeros(count, np.uint8), np.zeros(count, np.uint8)
    channel = _bits(objects.words(begin, 1)[:, 0], 0, np.uint16)
    room = objects.at + objects.size - (begin + 4)
    return _Rows(channel, np.zeros(count, np.uint32), flags, code, direction, begin + 4, room)


def _error_ext(objects: Objects) -> _Rows:
    """Channel uint16; at 10 the length code in 4 bits, at 16 the identifier, at 24 up to 8 data bytes."""
    rows, begin = _error(objects), objects.at + objects.header
    words = objects.words(begin, 3)
    rows.code = np.minimum(_bits(words[:, 1], 16, np.uint8) & np.uint8(0x0F), np.uint8(CLASSIC_DATA_BYTES))
    rows.identifier = _bits(words[:, 2], 0, np.uint32)
    rows.data_at, rows.room = begin + 24, objects.at + objects.size - (begin + 24)
    return rows


def _fd_error_64(objects: Objects) -> _Rows:
    """Channel, length code, valid bytes, all uint8; at 10 where extra data begin, uint8; at 12 the id;

    at 44 the data, of which an error frame has no more than 8 here.
    """
    rows, begin = _error(objects), objects.at + objects.header
    words = objects.words(begin, 2)
    rows.channel = _bits(words[:, 0], 0, np.uint8).astype(np.uint16)
    rows.code = np.minimum(_bits(words[:, 0], 16, np.uint8), np.uint8(CLASSIC_DATA_BYTES))
    rows.identifier = _bits(words[:, 1], 32, np.uint32)
    rows.data_at = begin + 44
    rows.room = _data_end(objects, _bits(words[:, 1], 16, np.uint8)) - rows.data_at
    return rows


# Layouts by number, those of kinds of objects, and 0 for what is no frame.
_READ: Final = {1: _message, 2: _fd_64, 3: _error, 4: _error_ext, 5: _fd_error_64}
_LAYOUT_OF: Final = np.zeros(128, np.uint8)
_LAYOUT_OF[[CAN_MESSAGE, CAN_MESSAGE2, CAN_FD_MESSAGE]] = 1
_LAYOUT_OF[[CAN_FD_MESSAGE_64, CAN_ERROR, CAN_ERROR_EXT, CAN_FD_ERROR_64]] = 2, 3, 4, 5
