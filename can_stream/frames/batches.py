"""Frames and signal values in columns: the unit of work from the driver to the browser."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum, IntFlag
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

CLASSIC_DATA_BYTES: Final = 8
FD_DATA_BYTES: Final = 64
STANDARD_ID_MASK: Final = 0x7FF
EXTENDED_ID_MASK: Final = 0x1FFF_FFFF

# ISO 11898-1: data bytes of each length code, CAN FD.
FD_LENGTHS: Final = (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64)


def id_text(arbitration_id: int, *, extended: bool) -> str:
    """Upper-case hexadecimal, 3 digits standard, 8 extended: `0x7E8`."""
    return f"0x{arbitration_id:0{8 if extended else 3}X}"


class FrameFlag(IntFlag):
    """One bit each in `FrameBatch.flags`."""

    EXTENDED = 1
    REMOTE = 2
    ERROR = 4
    FD = 8
    BRS = 16
    ESI = 32
    TX = 64


FLAG_MASK: Final = 0x7F


class FrameBatch(Struct, frozen=True, eq=False):
    """N raw CAN frames of one bus in arrival order.

    `timestamp_ns` int64[N], UTC since 1970. `arbitration_id` uint32[N], bare 11 or 29 bits.
    `flags` uint8[N], see `FrameFlag`; a frame without TX was received.
    `length` uint8[N]: the number of data bytes; for a remote frame the length it asks for; for a
    classic frame 9 to 15 is that raw length code with 8 data bytes (ISO 11898-1 allows it).
    `data` uint8[N, 8 or 64], zero behind the data. Remote frames carry no data.
    """

    timestamp_ns: NDArray[np.int64]
    arbitration_id: NDArray[np.uint32]
    flags: NDArray[np.uint8]
    length: NDArray[np.uint8]
    data: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.timestamp_ns)

    @property
    def width(self) -> int:
        """Columns of `data`: 8, or 64 where the batch may hold CAN FD frames."""
        return int(self.data.shape[1])

    def __getitem__(self, rows: slice | NDArray[np.bool_] | NDArray[np.intp]) -> FrameBatch:
        return FrameBatch(
            self.timestamp_ns[rows],
            self.arbitration_id[rows],
            self.flags[rows],
            self.length[rows],
            self.data[rows],
        )

    def data_length(self) -> NDArray[np.uint8]:
        """uint8[N]: how many bytes of each row of `data` are data."""
        classic = (self.flags & int(FrameFlag.FD)) == 0
        bounded = np.where(classic, np.minimum(self.length, CLASSIC_DATA_BYTES), self.length)
        return np.where((self.flags & int(FrameFlag.REMOTE)) != 0, 0, bounded).astype(np.uint8)

    def dlc(self) -> NDArray[np.uint8]:
        """uint8[N]: the length code of each frame, 0 to 15."""
        codes = np.searchsorted(np.array(FD_LENGTHS), self.length)
        return np.where((self.flags & FrameFlag.FD) != 0, codes, self.length).astype(np.uint8)

    def equals(self, other: FrameBatch) -> bool:
        """Whether both hold the same frames, whatever their widths."""
        if len(self) != len(other):
            return False
        width = max(self.width, other.width)
        return all(
            np.array_equal(mine, theirs)
            for mine, theirs in (
                (self.timestamp_ns, other.timestamp_ns),
                (self.arbitration_id, other.arbitration_id),
                (self.flags, other.flags),
                (self.length, other.length),
                (widen(self.data, width), widen(other.data, width)),
            )
        )


def widen(data: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """`data` with `width` columns, zero-padded on the right."""
    missing = width - data.shape[1]
    return np.pad(data, ((0, 0), (0, missing))) if missing > 0 else data


def empty_batch(width: int = CLASSIC_DATA_BYTES) -> FrameBatch:
    """A batch of no frames."""
    return FrameBatch(
        np.zeros(0, np.int64),
        np.zeros(0, np.uint32),
        np.zeros(0, np.uint8),
        np.zeros(0, np.uint8),
        np.zeros((0, width), np.uint8),
    )


def batch_of(rows: Iterable[tuple[int, int, int, int, bytes]]) -> FrameBatch:
    """A batch from (timestamp_ns, arbitration_id, flags, length, data) rows of a driver."""
    listed = list(rows)
    if not listed:
        return empty_batch()
    timestamps, ids, flags, lengths, payloads = zip(*listed, strict=True)
    longest = max(map(len, payloads))
    width = CLASSIC_DATA_BYTES if longest <= CLASSIC_DATA_BYTES else FD_DATA_BYTES
    packed = b"".join(payload.ljust(width, b"\0") for payload in payloads)
    return FrameBatch(
        np.array(timestamps, np.int64),
        np.array(ids, np.uint32),
        np.array(flags, np.uint8),
        np.array(lengths, np.uint8),
        np.frombuffer(packed, np.uint8).reshape(-1, width),
    )


def concatenate(batches: Sequence[FrameBatch]) -> FrameBatch:
    """All frames of `batches` in order, in one batch of the largest width."""
    if len(batches) == 1:
        return batches[0]
    if not batches:
        return empty_batch()
    width = max(batch.width for batch in batches)
    return FrameBatch(
        np.concatenate([batch.timestamp_ns for batch in batches]),
        np.concatenate([batch.arbitration_id for batch in batches]),
        np.concatenate([batch.flags for batch in batches]),
        np.concatenate([batch.length for batch in batches]),
        np.concatenate([widen(batch.data, width) for batch in batches]),
    )


class ValueKind(IntEnum):
    """How the 64 bits of a signal value are read, in `SignalBatch.kind`."""

    FLOAT = 0
    SIGNED = 1
    UNSIGNED = 2


class SignalBatch(Struct, frozen=True, eq=False):
    """N decoded signal values of one bus, in the order of their frames.

    `table_hash`: 16 bytes, the signal table that `signal` indexes.
    `timestamp_ns` int64[N]. `signal` uint32[N], the row in the table. `kind` uint8[N], see `ValueKind`.
    `bits` uint64[N]: the value as IEEE 754 binary64 or as a 64-bit integer, so that no integer loses a bit.
    """

    table_hash: bytes
    timestamp_ns: NDArray[np.int64]
    signal: NDArray[np.uint32]
    kind: NDArray[np.uint8]
    bits: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.timestamp_ns)

    def __getitem__(self, rows: slice | NDArray[np.bool_] | NDArray[np.intp]) -> SignalBatch:
        return SignalBatch(
            self.table_hash, self.timestamp_ns[rows], self.signal[rows], self.kind[rows], self.bits[rows]
        )
