"""By which clock the frames of a start are stamped: the body of `clock` packets."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from can_stream.protocol.errors import PacketError
from can_stream.protocol.varint import Reader, put_varint, zigzag

MAX_BOOT_ID_BYTES: Final = 64
OFFSET_LIMIT_NS: Final = 2**62
# A wall clock begins anew in 1970 after this: 20 February 2116, the last whole second of a packet's times.
WALL_PERIOD_SECONDS: Final = 2**62 // 10**9 - 2


class ClockRecord(Struct, frozen=True):
    """From here on frames of this start are stamped by a wall clock `offset_ns` ahead of the monotonic one.

    `synchronised`: whether a time service keeps that wall clock right. `boot_id` names the boot whose
    monotonic clock it is, "" where it has no name.
    """

    boot_id: str
    offset_ns: int
    synchronised: bool


def put_clock(out: bytearray, record: ClockRecord) -> None:
    """Appends the fields of docs/wire-protocol.md 7.5."""
    boot_id = record.boot_id.encode("ascii", "replace")[:MAX_BOOT_ID_BYTES]
    put_varint(out, len(boot_id))
    out += boot_id
    out.append(record.synchronised)
    put_varint(out, zigzag(max(1 - OFFSET_LIMIT_NS, min(record.offset_ns, OFFSET_LIMIT_NS - 1))))


def take_clock(reader: Reader) -> ClockRecord:
    """The inverse of `put_clock`. Raises PacketError."""
    size, at = reader.varint("boot id length", MAX_BOOT_ID_BYTES), reader.offset
    boot_id = reader.take(size)
    if not boot_id.isascii():
        raise PacketError("the boot id is not ASCII", at)
    at = reader.offset
    synchronised = reader.byte()
    if synchronised > 1:
        raise PacketError(f"synchronised byte is {synchronised}", at)
    offset_ns = reader.signed("clock offset")
    if abs(offset_ns) >= OFFSET_LIMIT_NS:
        raise PacketError(f"clock offset {offset_ns} out of range", at + 1)
    return ClockRecord(boot_id.decode("ascii"), offset_ns, bool(synchronised))
