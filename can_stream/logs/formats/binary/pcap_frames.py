"""CAN frames out of captured packets, in columns.

A SocketCAN packet is the identifier with three flags above its 29 bits (uint32), the length, FD flags, a byte
that is reserved, the raw length code of classic frames, and the data. Public source: tcpdump.org,
LINKTYPE_CAN_SOCKETCAN; the flags are those of Linux' `can.h`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct, field
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
from can_stream.logs.log_blocks import NS_PER_SECOND

XL_FRAMES: Final = "CAN XL frames"
REASONS: Final = (
    "",
    "it has fewer bytes than a CAN frame's header",
    "its length is none that a frame has",
    "it has fewer data bytes than its length says",
    "its identifier has more bits than the frame's kind",
)
_SHORT, _LENGTH, _MISSING, _IDENTIFIER = range(1, len(REASONS))
HEAD_BYTES: Final = 8
RECORD_BYTES: Final = 16
# The largest that libpcap takes for a packet.
MAX_PACKET_BYTES: Final = 262_144
_FD_PACKET: Final = HEAD_BYTES + FD_DATA_BYTES
_EFF, _RTR, _ERR = 31, 30, 29
_XL: Final = 0x80
_BRS, _ESI, _FDF = 1, 2, 4
_MARGIN: Final = bytes(_FD_PACKET)
_IS_FD_LENGTH: Final = np.isin(np.arange(256), FD_LENGTHS)


class Packets(Struct, frozen=True, eq=False):
    """N packets of one piece of a file, in columns of N.

    `stamp` int64; `at` and `size` int64, in the piece; `channel` uint16, a number; `is_sent` and `is_little`
    bool, the latter of the identifier.
    """

    stamp: NDArray[np.int64]
    at: NDArray[np.int64]
    size: NDArray[np.int64]
    channel: NDArray[np.uint16]
    is_sent: NDArray[np.bool_]
    is_little: NDArray[np.bool_]


class PacketList(Struct):
    """Packets that are found one at a time."""

    rows: list[tuple[int, int, int, int, bool, bool]] = field(default_factory=list)

    def packets(self) -> Packets:
        """All of them, in columns."""
        columns = list(zip(*self.rows, strict=True)) or [()] * 6
        types = (np.int64, np.int64, np.int64, np.uint16, np.bool_, np.bool_)
        return Packets(*(np.array(column, dtype) for column, dtype in zip(columns, types, strict=True)))


def even_packets(content: bytes, order: str, units: int) -> tuple[Packets, int]:
    """The records of pcap that `content` begins with, up to the first of another size; how many bytes.

    A record is seconds, parts of a second, the captured and the original size (all uint32), and the packet.
    """
    if len(content) < RECORD_BYTES:
        return PacketList().packets(), 0
    size = int.from_bytes(content[8:12], "little" if order == "<" else "big")
    if not 0 < size <= MAX_PACKET_BYTES:
        return PacketList().packets(), 0
    step = RECORD_BYTES + size
    heads = np.ndarray((len(content) // step, 4), f"{order}u4", content, 0, (step, 4))
    other = heads[:, 2] != size
    count = int(np.argmax(other)) if other.any() else len(heads)
    seconds, parts = heads[:count, 0].astype(np.int64), heads[:count, 1].astype(np.int64)
    stamp = seconds * NS_PER_SECOND + parts * (NS_PER_SECOND // units)
    at, nowhere = np.arange(count) * step + RECORD_BYTES, np.zeros(count, np.bool_)
    return Packets(
        stamp, at, np.full(count, size), np.zeros(count, np.uint16), nowhere, nowhere
    ), count * step


class PcapFrames(Struct, frozen=True, eq=False):
    """The frames among N packets. `why` uint8[N]: index into `REASONS`. `xl`: how many are CAN XL frames."""

    frames: FrameBatch
    channel: NDArray[np.uint16]
    why: NDArray[np.uint8]
    xl: int


def frames_of(content: bytes, packets: Packets) -> PcapFrames:
    """The frames of packets that lie in `content`, in their order."""
    at, size = packets.at, packets.size
    rows = _rows(content + _MARGIN, at, FD_DATA_BYTES + HEAD_BYTES)
    identifier, code = _identifiers(rows, packets.is_little), rows[:, 4]
    is_xl = ((code & _XL) != 0) & (size >= HEAD_BYTES)
    flags = _flags(identifier, rows, size)
    is_fd = (flags & FrameFlag.FD) != 0
    present = np.where((flags & FrameFlag.REMOTE) != 0, np.uint8(0), code)
    why = np.zeros(len(at), np.uint8)
    highest = np.where((identifier >> _EFF) != 0, EXTENDED_ID_MASK, STANDARD_ID_MASK)
    is_error = (flags & FrameFlag.ERROR) != 0
    bare = identifier & np.uint32(EXTENDED_ID_MASK)
    why[(bare > highest) & ~is_error] = _IDENTIFIER
    why[size < HEAD_BYTES + present.astype(np.int64)] = _MISSING
    why[np.where(is_fd, ~_IS_FD_LENGTH[code], code > CLASSIC_DATA_BYTES)] = _LENGTH
    why[size < HEAD_BYTES] = _SHORT
    why[is_xl] = 0
    raw = (
        ~is_fd
        & ~is_error
        & (code == CLASSIC_DATA_BYTES)
        & (rows[:, 7] > CLASSIC_DATA_BYTES)
        & (rows[:, 7] < 16)
    )
    length = np.where(raw, rows[:, 7], code)
    flags |= packets.is_sent * np.uint8(FrameFlag.TX)
    width = FD_DATA_BYTES if is_fd.any() else CLASSIC_DATA_BYTES
    data = rows[:, HEAD_BYTES : HEAD_BYTES + width] * (present[:, None] > np.arange(width, dtype=np.uint8))
    batch = FrameBatch(packets.stamp, bare, flags, length, data)
    good = (why == 0) & ~is_xl
    return PcapFrames(batch[good], packets.channel[good], why, int(is_xl.sum()))


def _rows(content: bytes, at: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
    """uint8[N, size]: the bytes at each place."""
    every: NDArray[np.void] = np.ndarray((len(content) - size + 1,), f"V{size}", content, 0, (1,))
    return every[at].view(np.uint8).reshape(len(at), size)


def _identifiers(rows: NDArray[np.uint8], is_little: NDArray[np.bool_]) -> NDArray[np.uint32]:
    words = np.ascontiguousarray(rows[:, :4])
    big, little = words.view(">u4")[:, 0].astype(np.uint32), words.view("<u4")[:, 0].astype(np.uint32)
    return np.where(is_little, little, big)


def _flags(
    identifier: NDArray[np.uint32], rows: NDArray[np.uint8], size: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Old software does not set CANFD_FDF: then the packet's size says what it is, or the length."""
    is_error, is_remote = (identifier >> _ERR) & 1 != 0, (identifier >> _RTR) & 1 != 0
    marks, code = rows[:, 5], rows[:, 4]
    is_fd = ((marks & _FDF) != 0) | (size == _FD_PACKET) | (code > CLASSIC_DATA_BYTES)
    is_fd &= ~is_error & ~is_remote
    flags = ((identifier >> _EFF) & ~is_error) * np.uint8(FrameFlag.EXTENDED)
    flags += is_error * np.uint8(FrameFlag.ERROR) + (is_remote & ~is_error) * np.uint8(FrameFlag.REMOTE)
    flags += is_fd * np.uint8(FrameFlag.FD) + (is_fd & ((marks & _BRS) != 0)) * np.uint8(FrameFlag.BRS)
    flags += (is_fd & ((marks & _ESI) != 0)) * np.uint8(FrameFlag.ESI)
    narrow: NDArray[np.uint8] = flags.astype(np.uint8)
    return narrow
