"""Data packets: self-contained, immutable, numbered. The byte layout is in docs/wire-protocol.md.

A packet of version 2 says its position too, its rows and the span of its times, all in its header; where an
encoder is given no position it makes one of version 1. Both are read.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from can_stream.frames.batches import (
    CLASSIC_DATA_BYTES,
    EXTENDED_ID_MASK,
    FD_DATA_BYTES,
    FD_LENGTHS,
    FLAG_MASK,
    STANDARD_ID_MASK,
    FrameBatch,
    FrameFlag,
    SignalBatch,
    ValueKind,
)
from can_stream.frames.slots import slots_of
from can_stream.protocol.clock_record import ClockRecord, put_clock, take_clock
from can_stream.protocol.columns import (
    U8,
    U32,
    U64,
    column,
    put_rows,
    put_slots,
    take_rows,
    take_slots,
)
from can_stream.protocol.errors import PacketError
from can_stream.protocol.marker import Marker, put_marker, take_marker
from can_stream.protocol.packet_head import (
    LAST_TIME_NS,
    MAX_PACKET_BYTES,
    MAX_SEQ,
    TIME_LIMIT_NS,
    PacketHead,
    PacketKind,
    PacketNumber,
    Times,
    head_of,
    put_batch_header,
    put_header,
    take_head,
    take_times,
)
from can_stream.protocol.varint import Reader, put_varint, zigzag

_TABLE_HASH_BYTES: Final = 16
_HIGHEST_KIND: Final = int(max(ValueKind))
_SHORT_SIGNAL_BITS: Final = 14


# What flags and length of a slot say is looked up in few calls of numpy: on packets this small they cost more
# than the work they do.
_FLAGS: Final = np.arange(256)
_IS_FD: Final = (_FLAGS & FrameFlag.FD) != 0
_IS_REMOTE: Final = (_FLAGS & FrameFlag.REMOTE) != 0
_IS_POSSIBLE: Final = (_FLAGS <= FLAG_MASK) & ~(_IS_FD & _IS_REMOTE)
_IMPOSSIBLE: Final = 255
# An error frame's id holds the error class bits, which are wider than a standard id.
_HAS_WIDE_ID: Final = (_FLAGS & (FrameFlag.EXTENDED | FrameFlag.ERROR)) != 0
_HIGHEST_ID: Final = np.where(_HAS_WIDE_ID, EXTENDED_ID_MASK, STANDARD_ID_MASK).astype(np.uint32)
_BEHIND_DATA: Final = np.where(
    np.arange(FD_DATA_BYTES) < np.arange(FD_DATA_BYTES + 1)[:, None], 0, 255
).astype(np.uint8)


def _data_bytes_table() -> NDArray[np.uint8]:
    """uint8[flags, length]: how many bytes are data, _IMPOSSIBLE where there are no such flags or length."""
    table = np.full((len(_FLAGS), 256), _IMPOSSIBLE, np.uint8)
    table[:, :16] = np.minimum(np.arange(16), CLASSIC_DATA_BYTES)
    table[_IS_REMOTE, :16] = 0
    table[_IS_FD] = _IMPOSSIBLE
    table[np.ix_(_IS_FD, FD_LENGTHS)] = FD_LENGTHS
    table[~_IS_POSSIBLE] = _IMPOSSIBLE
    return table


_DATA_BYTES: Final = _data_bytes_table()


class GapReason(IntEnum):
    """Where frames of a gap were lost."""

    START = 1
    WINDOW = 2
    SOURCE = 3
    ANNOUNCED = 4
    SPOOL = 5
    BUDGET = 6
    RESTORED = 7

    @property
    def where(self) -> str:
        """The word of `gap` events: agent_start, agent_window..."""
        side = "server" if self is GapReason.RESTORED else "agent"
        return f"{side}_{self.name.lower()}"

    @property
    def was_a_packet(self) -> bool:
        """Whether such a gap stands for packets that were made, and may be found after all."""
        return self in (GapReason.WINDOW, GapReason.ANNOUNCED, GapReason.SPOOL, GapReason.RESTORED)


class Gap(Struct, frozen=True):
    """Known loss. `frames` None: how many cannot be known. Times int ns UTC, None where unknown.

    A gap stands for the numbers `first_seq` to its own.
    """

    reason: GapReason
    first_seq: int
    frames: int | None
    first_ns: int | None = None
    last_ns: int | None = None


Body: TypeAlias = FrameBatch | SignalBatch | Gap | ClockRecord | Marker


class Packet(Struct, frozen=True):
    """One decoded packet. `position` None: it is of version 1."""

    number: PacketNumber
    body: Body
    position: int | None = None

    @property
    def kind(self) -> PacketKind:
        """What it holds."""
        return _KINDS[type(self.body)]

    @property
    def first_seq(self) -> int:
        """The first number this packet stands for."""
        return self.body.first_seq if isinstance(self.body, Gap) else self.number.seq

    @property
    def frames(self) -> int | None:
        """Rows of a batch, frames missing in a gap (None: unknown), 0 of what is neither."""
        if isinstance(self.body, Gap):
            return self.body.frames
        return 0 if isinstance(self.body, ClockRecord | Marker) else len(self.body)


_KINDS: Final = {
    FrameBatch: PacketKind.FRAMES,
    SignalBatch: PacketKind.SIGNALS,
    Gap: PacketKind.GAP,
    ClockRecord: PacketKind.CLOCK,
    Marker: PacketKind.MARKER,
}


def encode_frames(
    number: PacketNumber,
    batch: FrameBatch,
    resolution_ns: int,
    position: int | None = None,
    span_ns: tuple[int, int] | None = None,
) -> bytes:
    """A packet of 1 to MAX_ROWS frames; timestamps are rounded down to `resolution_ns`.

    `span_ns`: the earliest and the latest of them, where that is known already.
    """
    slots = slots_of(_frame_key(batch))
    first = slots.first
    out = put_batch_header(PacketKind.FRAMES, number, position, batch.timestamp_ns, resolution_ns, span_ns)
    out.append(batch.width // CLASSIC_DATA_BYTES)
    put_varint(out, len(first))
    out += batch.arbitration_id.take(first).astype("<u4", copy=False).tobytes()
    out += batch.flags.take(first).tobytes()
    out += batch.length.take(first).tobytes()
    put_slots(out, slots)
    put_rows(out, slots, batch.data)
    return bytes(out)


def encode_signals(
    number: PacketNumber,
    batch: SignalBatch,
    resolution_ns: int,
    position: int | None = None,
    span_ns: tuple[int, int] | None = None,
) -> bytes:
    """A packet of 1 to MAX_ROWS signal values; otherwise as `encode_frames`."""
    slots = slots_of(_signal_key(batch))
    first = slots.first
    out = put_batch_header(PacketKind.SIGNALS, number, position, batch.timestamp_ns, resolution_ns, span_ns)
    out += batch.table_hash
    put_varint(out, len(first))
    out += batch.signal.take(first).astype("<u4", copy=False).tobytes()
    out += batch.kind.take(first).tobytes()
    put_slots(out, slots)
    put_rows(out, slots, batch.bits.astype("<u8", copy=False).view(np.uint8).reshape(-1, 8))
    return bytes(out)


def _frame_key(batch: FrameBatch) -> NDArray[np.uint64]:
    """By length, then by flags, then by id."""
    key = batch.length.astype(np.uint64)
    key <<= np.uint64(8)
    key |= batch.flags
    key <<= np.uint64(32)
    key |= batch.arbitration_id
    return key


def _signal_key(batch: SignalBatch) -> NDArray[np.uint16] | NDArray[np.uint64]:
    """By kind, then by signal. numpy sorts 16 bits in a third of the time."""
    if int(np.maximum.reduce(batch.signal)) >= 1 << _SHORT_SIGNAL_BITS:
        return batch.kind.astype(np.uint64) << np.uint64(32) | batch.signal
    return batch.kind.astype(np.uint16) << np.uint16(_SHORT_SIGNAL_BITS) | batch.signal.astype(np.uint16)


def encode_gap(number: PacketNumber, gap: Gap, position: int | None = None) -> bytes:
    """A packet that says what is missing."""
    out = put_header(PacketKind.GAP, number, position)
    if position is not None:
        put_varint(out, gap.frames or 0)
    put_varint(out, number.seq - gap.first_seq)
    out.append(gap.reason)
    for value in (gap.frames, gap.first_ns, gap.last_ns):
        out.append(value is not None)
        if value is not None:
            put_varint(out, zigzag(max(-LAST_TIME_NS, min(value, LAST_TIME_NS))))
    return bytes(out)


def encode_clock(number: PacketNumber, record: ClockRecord, position: int | None = None) -> bytes:
    """A packet that says by which clock the frames behind it are stamped."""
    out = put_header(PacketKind.CLOCK, number, position)
    if position is not None:
        put_varint(out, 0)
    put_clock(out, record)
    return bytes(out)


def encode_marker(number: PacketNumber, marker: Marker, position: int | None = None) -> bytes:
    """A packet that says which activation the frames behind it are carried for."""
    out = put_header(PacketKind.MARKER, number, position)
    if position is not None:
        put_varint(out, 0)
    put_marker(out, marker)
    return bytes(out)


def without_marker(data: bytes) -> bytes:
    """The same packet for a side that knows no markers: a gap of nothing in the place of one. PacketError."""
    if data[1:2] != bytes((PacketKind.MARKER,)):
        return data
    head = head_of(data)
    return encode_gap(head.number, Gap(GapReason.SOURCE, head.number.seq, 0), head.position)


def decode_packet(data: bytes) -> Packet:
    """Any packet. Raises PacketError."""
    if len(data) > MAX_PACKET_BYTES:
        raise PacketError(f"packet of {len(data)} bytes, at most {MAX_PACKET_BYTES} are allowed")
    reader = Reader(data)
    head, times = take_head(reader)
    body: Body
    if head.kind == PacketKind.FRAMES:
        body = _take_frames(reader, times)
    elif head.kind == PacketKind.SIGNALS:
        body = _take_signals(reader, times)
    elif head.kind == PacketKind.GAP:
        body = _take_gap(reader, head)
    elif head.kind in (PacketKind.CLOCK, PacketKind.MARKER):
        body = _take_record(reader, head)
    else:
        raise PacketError(f"packet kind {head.kind} is unknown", 1)
    reader.end()
    return Packet(head.number, body, head.position)


def _take_frames(reader: Reader, times: Times | None) -> FrameBatch:
    timestamp_ns = take_times(reader, times)
    count = len(timestamp_ns)
    width = reader.byte() * CLASSIC_DATA_BYTES
    if width not in (CLASSIC_DATA_BYTES, FD_DATA_BYTES):
        raise PacketError(f"data width {width}", reader.offset - 1)
    slots = reader.varint("slot count", count, 1)
    at = reader.offset
    ids = column(reader, U32, slots)
    flags, lengths = column(reader, U8, slots), column(reader, U8, slots)
    data_bytes = _data_bytes_of_slots(ids, flags, lengths, width, at)
    slot = take_slots(reader, count, slots)
    at = reader.offset
    data = take_rows(reader, slot, width)
    if np.minimum.reduce(data_bytes) < width and (data & _BEHIND_DATA[data_bytes, :width][slot]).any():
        raise PacketError("data behind the length of a frame", at)
    return FrameBatch(timestamp_ns, ids[slot], flags[slot], lengths[slot], data)


def _data_bytes_of_slots(
    ids: NDArray[np.uint32], flags: NDArray[np.uint8], lengths: NDArray[np.uint8], width: int, at: int
) -> NDArray[np.uint8]:
    """How many bytes of each row of a slot are data."""
    data_bytes: NDArray[np.uint8] = _DATA_BYTES[flags, lengths]
    if np.maximum.reduce(data_bytes) > width:
        what = "length" if _IS_POSSIBLE[flags].all() else "flags"
        raise PacketError(f"impossible {what} in the slot table", at)
    if np.logical_or.reduce(ids > _HIGHEST_ID[flags]):
        raise PacketError("arbitration id out of range in the slot table", at)
    return data_bytes


def _take_signals(reader: Reader, times: Times | None) -> SignalBatch:
    timestamp_ns = take_times(reader, times)
    count = len(timestamp_ns)
    table_hash = reader.take(_TABLE_HASH_BYTES)
    slots = reader.varint("slot count", count, 1)
    at = reader.offset
    signals, kinds = column(reader, U32, slots), column(reader, U8, slots)
    if int(kinds.max()) > _HIGHEST_KIND:
        raise PacketError("unknown value kind in the slot table", at)
    slot = take_slots(reader, count, slots)
    bits = column(Reader(take_rows(reader, slot, 8).tobytes()), U64, count)
    return SignalBatch(table_hash, timestamp_ns, signals[slot], kinds[slot], bits)


def _take_gap(reader: Reader, head: PacketHead) -> Gap:
    number = head.number
    first_seq = number.seq - reader.varint("numbers before", number.seq - 1)
    at = reader.offset
    reason = reader.byte()
    if reason not in set(GapReason):
        raise PacketError(f"gap reason {reason} is unknown", at)
    frames, first_ns, last_ns = (_take_optional(reader) for _ in range(3))
    if frames is not None and not 0 <= frames <= MAX_SEQ:
        raise PacketError(f"gap of {frames} frames", at)
    if head.position is not None and head.rows != (frames or 0):
        raise PacketError(f"gap of {frames} frames, {head.rows} by its header", at)
    return Gap(GapReason(reason), first_seq, frames, first_ns, last_ns)


def _take_record(reader: Reader, head: PacketHead) -> ClockRecord | Marker:
    if head.rows:
        raise PacketError(f"a record that stands for {head.rows} frames")
    return take_clock(reader) if head.kind == PacketKind.CLOCK else take_marker(reader)


def _take_optional(reader: Reader) -> int | None:
    at = reader.offset
    known = reader.byte()
    if known > 1:
        raise PacketError(f"presence byte is {known}", at)
    if not known:
        return None
    value = reader.signed("optional number")
    if abs(value) >= TIME_LIMIT_NS:
        raise PacketError(f"optional number {value} out of range", at)
    return value
