"""How Linux lays out CAN frames and the messages that carry them, for recvmmsg(2) and sendmmsg(2).

Layouts: recvmmsg(2), cmsg(3), linux/can.h. `long`, `size_t` and pointers have one size on every Linux ABI
that Python runs on, and aligned numpy structures are laid out as C lays them out, so the same descriptions
hold for 64 and 32 bit: see `kernel_layouts`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from can_stream.frames.batches import FD_DATA_BYTES

CAN_MTU: Final = 16  # struct can_frame
CANFD_MTU: Final = 72  # struct canfd_frame
MSG_DONTROUTE: Final = 0x4  # on a CAN socket: a program of this machine has sent it, this one or another
MSG_CONFIRM: Final = 0x800  # on a CAN socket: the echo of a frame that this socket sent
CANFD_BRS: Final = 1
CANFD_ESI: Final = 2

Rows = NDArray[Any]


class KernelLayouts(Struct, frozen=True):
    """`message` is struct mmsghdr, `vector` struct iovec, `control` a message's room for control messages."""

    message: np.dtype[np.void]
    vector: np.dtype[np.void]
    control: np.dtype[np.void]


def kernel_layouts(word: type[np.unsignedinteger[Any]], long: type[np.signedinteger[Any]]) -> KernelLayouts:
    """The structures of an ABI with these types for `size_t` and `long`."""
    header = [("length", word), ("level", np.int32), ("type", np.int32)]
    stamp = [*header, ("seconds", long), ("nanoseconds", long)]
    overflow = [*header, ("frames", np.uint32)]
    message = [
        ("name", word), ("name_length", np.uint32), ("vectors", word), ("vector_count", word),
        ("control", word), ("control_length", word), ("flags", np.int32),
    ]  # fmt: skip
    # The kernel writes the timestamp first. On 32 bit glibc adds the same with 64 bits at the end.
    control = [
        ("stamp", np.dtype(stamp, align=True)),
        ("overflow", np.dtype(overflow, align=True)),
        ("rest", np.uint8, 64),
    ]
    return KernelLayouts(
        np.dtype([("header", np.dtype(message, align=True)), ("size", np.uint32)], align=True),
        np.dtype([("base", word), ("length", word)], align=True),
        np.dtype(control, align=True),
    )


NATIVE: Final = kernel_layouts(np.uintp, np.intp)
# struct canfd_frame; struct can_frame is its beginning, with the raw length code in the last byte before
# the data and nothing in `flags`.
FRAME: Final = np.dtype(
    [
        ("can_id", np.uint32), ("length", np.uint8), ("flags", np.uint8), ("reserved", np.uint8),
        ("raw_dlc", np.uint8), ("data", np.uint8, FD_DATA_BYTES),
    ]
)  # fmt: skip


def addresses(rows: Rows) -> NDArray[np.uintp]:
    """Where in memory each row begins."""
    return np.uintp(rows.ctypes.data) + np.arange(len(rows), dtype=np.uintp) * np.uintp(rows.itemsize)
