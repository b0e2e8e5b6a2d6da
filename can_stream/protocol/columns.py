"""Columns of a packet: byte planes for integers, and rows as changes against the previous row of their slot.

A slot is what the rows of one key share (a frame's id, flags and length; a signal's number and kind). Rows
are stored slot by slot: first one bit per byte that says whether it differs from the slot's previous row
(zero before the first), then the differences modulo 256. Counters become runs of ones, which deflate well.
"""

from __future__ import annotations

from sys import byteorder
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from can_stream.frames.slots import Slots, slot_starts
from can_stream.protocol.errors import PacketError
from can_stream.protocol.varint import Reader

MAX_PLANES: Final = 8
U8: Final = np.dtype(np.uint8)
U16: Final = np.dtype(np.uint16)
U32: Final = np.dtype(np.uint32)
U64: Final = np.dtype(np.uint64)
# In so many planes no sum of 8192 differences can wrap around in 64 bits.
_SAFE_PLANES: Final = 6
_ONE: Final = np.uint64(1)
_Scalar = TypeVar("_Scalar", bound=np.generic)

# Packets are small: numpy's fixed cost per call is what reading them costs, so calls are few in here.


def column(reader: Reader, dtype: np.dtype[_Scalar], count: int) -> NDArray[_Scalar]:
    """The next `count` little-endian values of this native type."""
    values = np.frombuffer(reader.take(count * dtype.itemsize), dtype)
    return values if byteorder == "little" else values.byteswap()


def put_planes(out: bytearray, values: NDArray[np.uint64]) -> None:
    """Append uint64[N] as a count of planes and that many columns of N bytes, lowest first."""
    planes = (int(np.maximum.reduce(values, initial=0)).bit_length() + 7) // 8
    out.append(planes)
    matrix = values.astype("<u8", copy=False).view(np.uint8).reshape(-1, MAX_PLANES)
    out += matrix[:, :planes].T.tobytes()


def take_planes(reader: Reader, count: int) -> NDArray[np.uint64]:
    """The inverse of `put_planes`."""
    at = reader.offset
    planes = reader.byte()
    if planes > MAX_PLANES:
        raise PacketError(f"{planes} planes, at most {MAX_PLANES} are allowed", at)
    matrix = np.zeros((count, MAX_PLANES), U8)
    matrix[:, :planes] = column(reader, U8, planes * count).reshape(planes, count).T
    values = matrix.view(U64).reshape(count)
    return values if byteorder == "little" else values.byteswap()


def put_ticks(out: bytearray, ticks: NDArray[np.int64]) -> None:
    """Append the zigzag differences between times in planes; the first time itself is written apart."""
    deltas = np.zeros(len(ticks), np.int64)
    np.subtract(ticks[1:], ticks[:-1], out=deltas[1:])
    put_planes(out, (deltas << 1 ^ deltas >> 63).view(np.uint64))


def take_ticks(reader: Reader, first: int, count: int, limit: int) -> tuple[NDArray[np.int64], int, int]:
    """The inverse of `put_ticks`, the lowest and the highest; all must be within plus or minus `limit`."""
    at = reader.offset
    coded = take_planes(reader, count)
    deltas = (coded >> _ONE).view(np.int64) ^ -(coded & _ONE).view(np.int64)
    sums = deltas.cumsum()
    low, high = lowest, highest = first + int(np.minimum.reduce(sums)), first + int(np.maximum.reduce(sums))
    if reader.data[at] > _SAFE_PLANES:
        # In floating point, because a hostile sum wraps around silently in 64 bits.
        exact = first + deltas.cumsum(dtype=np.float64)
        low, high = int(exact.min()), int(exact.max())
    if low <= -limit or high >= limit:
        raise PacketError("times out of range", at)
    return sums + first, lowest, highest


def put_slots(out: bytearray, slots: Slots) -> None:
    """Append the slot of each row: one byte each, two where there are more than 256 slots."""
    slot = np.empty(len(slots.order), np.uint8 if len(slots.first) <= 256 else "<u2")
    slot[slots.order] = slots.starts.cumsum() - 1
    out += slot.tobytes()


def take_slots(reader: Reader, count: int, slots: int) -> NDArray[np.uint16]:
    """The inverse of `put_slots`."""
    at = reader.offset
    slot = column(reader, U8, count).astype(U16) if slots <= 256 else column(reader, U16, count)
    highest = int(np.maximum.reduce(slot, initial=0))
    if highest >= slots:
        raise PacketError(f"slot {highest} of {slots}", at)
    return slot


def put_rows(out: bytearray, slots: Slots, rows: NDArray[np.uint8]) -> None:
    """Append uint8[N, W] (W a multiple of 8) as changes within each slot."""
    grouped = np.ascontiguousarray(rows).view(U64).take(slots.order, axis=0)
    previous = np.empty_like(grouped)
    previous[1:] = grouped[:-1]
    previous[slots.starts] = 0  # the first row too: a slot starts there
    differences = grouped.view(U8) - previous.view(U8)
    out += np.packbits(differences != 0).tobytes()
    out += differences.tobytes().translate(None, b"\0")


def take_rows(reader: Reader, slot: NDArray[np.uint16], width: int) -> NDArray[np.uint8]:
    """The inverse of `put_rows`: uint8[N, width]."""
    count = len(slot)
    mask = column(reader, U8, count * width // 8)
    changed = np.unpackbits(mask).view(np.bool_)
    values = column(reader, U8, int(np.count_nonzero(changed)))
    differences = np.zeros(count * width, U8)
    differences[changed] = values
    order = slot.argsort(kind="stable")
    starts = slot_starts(slot[order])
    first = starts.nonzero()[0]
    # Sums run through all slots; taking off what the slots before have summed up leaves those of each alone.
    sums = differences.reshape(count, width).cumsum(axis=0, dtype=U8)
    rows = np.empty_like(sums)
    before = np.zeros((len(first), width), U8)
    before[1:] = sums[first[1:] - 1]
    sums -= before[starts.cumsum() - 1]
    rows[order] = sums
    return rows
