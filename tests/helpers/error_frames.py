"""Error frames as the kernel's drivers make them (linux/can/error.h)."""

from __future__ import annotations

from typing import Final

from can_stream.frames.batches import FrameBatch, FrameFlag, batch_of

# Class and data.
BUS_OFF: Final = (0x40, "")
RESTARTED: Final = (0x100, "")
OVERFLOW: Final = (0x04, "0001")
WARNING: Final = (0x04, "0004")
PASSIVE: Final = (0x204, "0010000000000088")
ACTIVE: Final = (0x04, "0040")
STUFFING: Final = (0x88, "000004")
NO_ACK: Final = (0x20, "")
NO_ACK_SLOT: Final = (0xA8, "00001019")
TX_TIMEOUT: Final = (0x01, "")
LOST_ARBITRATION: Final = (0x02, "05")
CANH_LOOSE: Final = (0x10, "0000000004")

Error = tuple[int, str]


def row(error: Error | None, stamp_ns: int) -> tuple[int, int, int, int, bytes]:
    """An error frame; an ordinary frame for None."""
    if error is None:
        return stamp_ns, 0x123, 0, 1, b"\1"
    return stamp_ns, error[0], FrameFlag.ERROR, 8, bytes.fromhex(error[1]).ljust(8, b"\0")


def errors(*kinds: Error | None) -> FrameBatch:
    """Error frames and, for None, ordinary ones, a millisecond apart."""
    return batch_of(row(kind, 1_000_000 * number) for number, kind in enumerate(kinds, 1))


def text_of(error: Error) -> str:
    """As cansend takes it."""
    return f"{0x2000_0000 | error[0]:08X}#{error[1].ljust(16, '0')}"
