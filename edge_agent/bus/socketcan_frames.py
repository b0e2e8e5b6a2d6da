"""What recvmmsg(2) leaves in memory for a raw CAN socket, as batches of frames.

Layouts: `kernel_frames`.
"""

from __future__ import annotations

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
)
from can_stream.protocol.clock_record import WALL_PERIOD_SECONDS
from edge_agent.host.kernel_frames import (
    CAN_MTU,
    CANFD_BRS,
    CANFD_ESI,
    CANFD_MTU,
    FRAME,
    MSG_CONFIRM,
    MSG_DONTROUTE,
    NATIVE,
    KernelLayouts,
    Rows,
    addresses,
)

SOL_SOCKET: Final = 1
# asm-generic/socket.h: SO_TIMESTAMPNS_OLD, whose timestamps are two `long`; _NEW has 64 bits everywhere.
SO_TIMESTAMPNS: Final = 35
SO_RXQ_OVFL: Final = 40
MSG_TRUNC: Final = 0x20

_MAX_LENGTH_CODE: Final = 15


# The bits of a frame's first 8 bytes that are set in impossible frames and those with a raw length code.
_ODD_HEAD: Final = np.array((0, 0xF0, 0, 0, 0xFF, [0] * 64), FRAME).reshape(1).view(np.uint64)[0]

# By the three highest bits of can_id: extended, remote, error. An error frame's id is its error class.
_FLAGS_OF_KIND: Final = np.array(
    [
        FrameFlag.ERROR if kind & 1
        else (FrameFlag.EXTENDED if kind & 4 else 0) | (FrameFlag.REMOTE if kind & 2 else 0)
        for kind in range(8)
    ],
    np.uint8,
)  # fmt: skip
_ID_MASK_OF_KIND: Final = np.array(
    [EXTENDED_ID_MASK if kind & 5 else STANDARD_ID_MASK for kind in range(8)], np.uint32
)
_FLAGS_OF_FD: Final = np.array(
    [
        FrameFlag.FD | (FrameFlag.BRS if bits & CANFD_BRS else 0) | (FrameFlag.ESI if bits & CANFD_ESI else 0)
        for bits in range(4)
    ],
    np.uint8,
)
# uint64[8, 16]: by kind and length, all ones in those of the 8 data bytes that are data.
_DATA_BITS: Final = np.array(
    [
        [(np.arange(8) < (0 if flags & FrameFlag.REMOTE else length)) * 0xFF for length in range(16)]
        for flags in _FLAGS_OF_KIND
    ],
    np.uint8,
).view(np.uint64)[:, :, 0]


class Received(Struct, frozen=True, eq=False):
    """`batch` of N frames, and `malformed`: how many records were no possible classic or FD frame.

    `overflow` uint32[N]: how many frames the kernel had dropped before each, modulo 2**32; 0, or None for
    all, is no news.
    """

    batch: FrameBatch
    overflow: NDArray[np.uint32] | None
    malformed: int


class ReceiveSlots:
    """Memory for up to `count` frames of one recvmmsg call, used again for the next.

    `address` is that of the `struct mmsghdr[count]` to pass. `take_received` follows each call that gave
    frames.
    """

    def __init__(self, count: int, layouts: KernelLayouts = NATIVE) -> None:
        self.count = count
        self.frames = np.zeros(count, FRAME)
        self.control = np.zeros(count, layouts.control)
        self.messages = np.zeros(count, layouts.message)
        self._vectors = np.zeros(count, layouts.vector)
        self._vectors["base"] = addresses(self.frames)
        self._vectors["length"] = FRAME.itemsize
        header = self.messages["header"]
        header["vectors"] = addresses(self._vectors)
        header["vector_count"] = 1
        header["control"] = addresses(self.control)
        header["control_length"] = self.control.itemsize
        self.address = int(self.messages.ctypes.data)
        self._stamp_end, self._overflow_end = _data_ends(layouts.control)
        # A field of a structure costs as much to look up as the work on it.
        self._can_id, self._length = self.frames["can_id"], self.frames["length"]
        self._head, self._data_word = self.frames.view(np.uint64).reshape(count, -1).T[:2]
        self._written = header["control_length"]
        stamp = self.control["stamp"]
        self._seconds, self._nanoseconds = stamp["seconds"], stamp["nanoseconds"]
        self._message_words = _words(self.messages)
        self._usual_mask, self._usual_message = _usual_message(layouts, self._stamp_end)

    def take_received(self, count: int, now_ns: int) -> Received:
        """Copies the first `count` frames out; `now_ns` is for frames without a timestamp of the kernel."""
        received = self._take_usual(count) if self._are_usual(count) else self._take_any(count, now_ns)
        self._written[:count] = self.control.itemsize
        return received

    def sent_here(self, count: int) -> tuple[int, bool]:
        """How many of the first `count` frames this socket has sent, and whether another program of this
        machine has sent any."""
        flags = self.messages["header"]["flags"][:count] & (MSG_DONTROUTE | MSG_CONFIRM)
        return int(np.count_nonzero(flags & MSG_CONFIRM)), bool(np.count_nonzero(flags == MSG_DONTROUTE))

    def _are_usual(self, count: int) -> bool:
        """Whether all are classic, foreign, whole, with a timestamp and nothing else to say."""
        words = self._message_words[:count] & self._usual_mask
        is_odd = self._head[:count] & _ODD_HEAD
        return not np.count_nonzero(is_odd) and not np.count_nonzero(words != self._usual_message)

    def _take_usual(self, count: int) -> Received:
        """As `_take_any` in a third of its steps: after a beat's sleep each of them is cold."""
        can_id, length = self._can_id[:count], self._length[:count]
        seconds = self._seconds[:count].astype(np.int64, copy=False)
        stamp_ns = _wall_ns(seconds, self._nanoseconds[:count])
        kind = can_id >> 29
        ids, flags = can_id & _ID_MASK_OF_KIND.take(kind), _FLAGS_OF_KIND.take(kind)
        data = (self._data_word[:count] & _DATA_BITS[kind, length]).view(np.uint8)
        batch = FrameBatch(stamp_ns, ids, flags, length.copy(), data.reshape(count, CLASSIC_DATA_BYTES))
        return Received(batch, None, 0)

    def _take_any(self, count: int, now_ns: int) -> Received:
        messages, frames, control = self.messages[:count], self.frames[:count], self.control[:count]
        usable = _is_possible(frames, messages)
        messages, frames, control = messages[usable], frames[usable], control[usable]
        header = messages["header"]
        written, stamp, overflow = header["control_length"], control["stamp"], control["overflow"]
        stamp_ns = _wall_ns(stamp["seconds"].astype(np.int64), stamp["nanoseconds"])
        has_overflow = (written >= self._overflow_end) & (overflow["type"] == SO_RXQ_OVFL)
        batch = _batch(
            np.where(written >= self._stamp_end, stamp_ns, np.int64(now_ns)),
            frames,
            is_fd=messages["size"] == CANFD_MTU,
            is_own=(header["flags"] & MSG_CONFIRM) != 0,
        )
        total = np.where(has_overflow, overflow["frames"], np.uint32(0))
        return Received(batch, total, count - len(batch))


def _wall_ns(seconds: NDArray[np.int64], nanoseconds: Rows) -> NDArray[np.int64]:
    # As the agent's clock says it. To look at the newest is enough: those before it are older.
    if len(seconds) and seconds[-1] >= WALL_PERIOD_SECONDS:
        seconds = seconds % WALL_PERIOD_SECONDS
    return seconds * 1_000_000_000 + nanoseconds


def _is_possible(frames: Rows, messages: Rows) -> NDArray[np.bool_]:
    size, length = messages["size"], frames["length"]
    is_whole = (messages["header"]["flags"] & MSG_TRUNC) == 0
    is_classic = (size == CAN_MTU) & (length <= _MAX_LENGTH_CODE)
    is_fd = (size == CANFD_MTU) & np.isin(length, FD_LENGTHS)
    possible: NDArray[np.bool_] = is_whole & (is_classic | is_fd)
    return possible


def _batch(
    stamp_ns: NDArray[np.int64], frames: Rows, is_fd: NDArray[np.bool_], is_own: NDArray[np.bool_]
) -> FrameBatch:
    can_id, length, raw_dlc = frames["can_id"], frames["length"], frames["raw_dlc"]
    kind = can_id >> 29
    flags = _FLAGS_OF_KIND[kind]
    fd_flags = (flags & ~np.uint8(FrameFlag.REMOTE)) | _FLAGS_OF_FD[frames["flags"] & 3]
    flags = np.where(is_fd, fd_flags, flags) | np.where(is_own, np.uint8(FrameFlag.TX), np.uint8(0))
    width = FD_DATA_BYTES if is_fd.any() else CLASSIC_DATA_BYTES
    # Whoever sent it on this machine may have left anything behind the data.
    held = np.where(is_fd, length, np.minimum(length, CLASSIC_DATA_BYTES))
    held = np.where((flags & FrameFlag.REMOTE) != 0, 0, held)
    data = np.where(np.arange(width) < held[:, None], frames["data"][:, :width], np.uint8(0))
    has_raw_dlc = ~is_fd & (length == CLASSIC_DATA_BYTES) & (raw_dlc > CLASSIC_DATA_BYTES)
    has_raw_dlc &= raw_dlc <= _MAX_LENGTH_CODE
    ids = can_id & _ID_MASK_OF_KIND[kind]
    return FrameBatch(stamp_ns, ids, flags, np.where(has_raw_dlc, raw_dlc, length), data)


class OverflowCounter:
    """Turns the running total of SO_RXQ_OVFL, 32 bits that wrap, into losses."""

    def __init__(self) -> None:
        self._seen = np.uint32(0)

    def losses(self, overflow: NDArray[np.uint32] | None) -> list[tuple[int, int]]:
        """(row, frames): how many frames are missing right before which row; `overflow` as in `Received`."""
        if overflow is None:
            return []
        rows = np.flatnonzero(overflow)
        if not len(rows):
            return []
        totals = overflow[rows]
        lost = np.diff(totals, prepend=self._seen)
        self._seen = totals[-1]
        changed = lost != 0
        return list(zip(rows[changed].tolist(), lost[changed].tolist(), strict=True))

    def lost_by(self, total: int) -> int:
        """How many frames are missing since the last news, when the total is this."""
        lost, self._seen = (total - int(self._seen)) % 2**32, np.uint32(total)
        return lost


def _data_ends(control: np.dtype[np.void]) -> tuple[int, int]:
    """How many bytes of control messages there are at least with a timestamp, and with a total of losses."""
    assert control.fields is not None
    (stamp, stamp_at, *_), (overflow, overflow_at, *_) = control.fields["stamp"], control.fields["overflow"]
    assert overflow.fields is not None
    return stamp_at + stamp.itemsize, overflow_at + overflow.fields["frames"][1] + 4


def _usual_message(layouts: KernelLayouts, stamp_end: int) -> tuple[Rows, Rows]:
    """(mask, value) of the words of a message header of a classic frame that is not odd."""
    mask, value = np.zeros(1, layouts.message), np.zeros(1, layouts.message)
    mask["size"], value["size"] = 0xFFFF_FFFF, CAN_MTU
    mask["header"]["control_length"], value["header"]["control_length"] = 0xFFFF_FFFF, stamp_end
    mask["header"]["flags"] = MSG_TRUNC | MSG_CONFIRM
    return _words(mask), _words(value)


def _words(messages: Rows) -> Rows:
    """A row of words for each message."""
    return messages.view(messages["header"]["vectors"].dtype).reshape(len(messages), -1)
