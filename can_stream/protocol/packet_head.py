"""The header of a packet, which says what it is, where it belongs and of what times it is.

A header of version 2 says the position too, how many rows there are and the span of their times; where
`put_header` is given no position it makes one of version 1, whose times come behind it. Both are read.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from can_stream.protocol.columns import put_ticks, take_ticks
from can_stream.protocol.errors import PacketError
from can_stream.protocol.varint import Reader, put_varint, zigzag

PACKET_VERSION: Final = 2
MAX_PACKET_BYTES: Final = 1024 * 1024
MAX_ROWS: Final = 8192
MAX_SEQ: Final = 2**53
MAX_RESOLUTION_NS: Final = 10**9
# The years 1824 to 2116: half of what 64 bits hold, so that no difference of two times overflows.
TIME_LIMIT_NS: Final = 2**62
LAST_TIME_NS: Final = TIME_LIMIT_NS - 2 * MAX_RESOLUTION_NS
_LONGEST_HEADER_BYTES: Final = 64


class PacketKind(IntEnum):
    """What a packet holds."""

    FRAMES = 1
    SIGNALS = 2
    GAP = 3
    CLOCK = 4
    MARKER = 5


class PacketNumber(NamedTuple):
    """A packet's number: which start of the agent (8 random bytes as hex) and which in it, from 1."""

    start_id: str
    seq: int


class PacketHead(Struct, frozen=True):
    """What a packet's header says.

    `position`: how many frames (values, in a signals lane) its start had put into the lane before it, None in
    version 1, whose header says neither `rows` nor `span_ns` (earliest and latest time, int ns UTC). Of a gap
    `rows` is how many frames it stands for, 0 where that is unknown; of what is no batch the span is None.
    """

    kind: int
    number: PacketNumber
    position: int | None = None
    rows: int = 0
    span_ns: tuple[int, int] | None = None


def head_of(data: bytes) -> PacketHead:
    """What a packet's header says. Raises PacketError."""
    return take_head(Reader(data[:_LONGEST_HEADER_BYTES]))[0]


def as_version_1(data: bytes) -> bytes:
    """The same packet for a side that speaks version 1 alone. Raises PacketError."""
    if data[:1] == b"\x01":
        return data
    reader = Reader(data)
    head, times = take_head(reader)
    out = put_header(PacketKind(head.kind), head.number, None)
    if times is not None:
        first = times.low + reader.varint("first time", 2**64 - 1)
        for value in (times.rows, times.resolution_ns, zigzag(first)):
            put_varint(out, value)
    return bytes(out) + data[reader.offset :]


class Times(NamedTuple):
    """What the header says of a batch's times, in ticks of the resolution."""

    rows: int
    resolution_ns: int
    low: int
    high: int


def take_head(reader: Reader) -> tuple[PacketHead, Times | None]:
    """The header; the times where it says them."""
    version = reader.byte()
    if version not in (1, PACKET_VERSION):
        raise PacketError(f"packet version {version}, this side reads 1 and {PACKET_VERSION}", 0)
    kind = reader.byte()
    start_id = reader.take(8).hex()
    number = PacketNumber(start_id, reader.varint("seq", MAX_SEQ, 1))
    if version == 1:
        return PacketHead(kind, number), None
    position = reader.varint("position", MAX_SEQ)
    if kind not in (PacketKind.FRAMES, PacketKind.SIGNALS):
        return PacketHead(kind, number, position, reader.varint("rows", MAX_SEQ)), None
    times = _take_span(reader)
    span_ns = (times.low * times.resolution_ns, times.high * times.resolution_ns)
    return PacketHead(kind, number, position, times.rows, span_ns), times


def _take_span(reader: Reader) -> Times:
    rows = reader.varint("row count", MAX_ROWS, 1)
    resolution_ns = reader.varint("resolution", MAX_RESOLUTION_NS, 1)
    at, limit = reader.offset, TIME_LIMIT_NS // resolution_ns
    low = reader.signed("first time")
    high = low + reader.varint("span of times", 2 * TIME_LIMIT_NS)
    if not -limit <= low <= high <= limit:
        raise PacketError(f"times from {low} to {high} are out of range", at)
    return Times(rows, resolution_ns, low, high)


def put_header(kind: PacketKind, number: PacketNumber, position: int | None) -> bytearray:
    """What every header begins with; behind the position of version 2 the rows have to follow."""
    out = bytearray((1 if position is None else PACKET_VERSION, kind))
    out += bytes.fromhex(number.start_id)
    put_varint(out, number.seq)
    if position is not None:
        put_varint(out, position)
    return out


def put_batch_header(
    kind: PacketKind,
    number: PacketNumber,
    position: int | None,
    timestamp_ns: NDArray[np.int64],
    resolution_ns: int,
    span_ns: tuple[int, int] | None = None,
) -> bytearray:
    """The header of a batch, rounded down to `resolution_ns`, and its times; `span_ns` where it is known."""
    out = put_header(kind, number, position)
    earliest_ns, latest_ns = span_ns or span_of(timestamp_ns)
    if earliest_ns < -LAST_TIME_NS or latest_ns > LAST_TIME_NS:
        # A clock that shows nonsense must not make a packet that its receiver has to refuse for ever.
        timestamp_ns = timestamp_ns.clip(-LAST_TIME_NS, LAST_TIME_NS)
        earliest_ns, latest_ns = span_of(timestamp_ns)
    ticks = timestamp_ns // resolution_ns
    first = int(ticks[0])
    put_varint(out, len(ticks))
    put_varint(out, resolution_ns)
    if position is None:
        put_varint(out, zigzag(first))
    else:
        low = earliest_ns // resolution_ns
        put_varint(out, zigzag(low))
        put_varint(out, latest_ns // resolution_ns - low)
        put_varint(out, first - low)
    put_ticks(out, ticks)
    return out


def span_of(timestamp_ns: NDArray[np.int64]) -> tuple[int, int]:
    """The earliest and the latest of at least one time."""
    return int(np.minimum.reduce(timestamp_ns)), int(np.maximum.reduce(timestamp_ns))


def take_times(reader: Reader, times: Times | None) -> NDArray[np.int64]:
    """The times of all rows; `times` None: version 1, where they are said behind the header."""
    if times is None:
        rows = reader.varint("row count", MAX_ROWS, 1)
        resolution_ns = reader.varint("resolution", MAX_RESOLUTION_NS, 1)
        first = reader.signed("first time")
        return take_ticks(reader, first, rows, TIME_LIMIT_NS // resolution_ns)[0] * resolution_ns
    at = reader.offset
    first = times.low + reader.varint("first time", 2 * TIME_LIMIT_NS)
    ticks, low, high = take_ticks(reader, first, times.rows, TIME_LIMIT_NS // times.resolution_ns)
    if (low, high) != (times.low, times.high):
        raise PacketError("times are not within the span that the header says", at)
    return ticks * times.resolution_ns
