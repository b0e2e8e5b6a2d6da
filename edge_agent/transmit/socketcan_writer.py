"""Writes frames to a raw CAN socket with sendmmsg(2): the socket that its source reads."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import numpy as np

from can_stream.frames.batches import CLASSIC_DATA_BYTES, FrameBatch, FrameFlag
from can_stream.protocol.control import CanEmptyQueue, Confirms
from edge_agent.errors import LinkError, SourceError
from edge_agent.host.can_link import CanLink, DeviceStatistics, read_can_link, read_waiting_frames
from edge_agent.host.kernel_frames import (
    CAN_MTU,
    CANFD_BRS,
    CANFD_ESI,
    CANFD_MTU,
    FRAME,
    NATIVE,
    addresses,
)
from edge_agent.transmit.interface_books import InterfaceBooks, Standing
from edge_agent.transmit.writer import MAX_FRAMES, FrameCheck, closed, write_failure

_CAN_EFF_FLAG: Final = np.uint32(0x8000_0000)
_CAN_RTR_FLAG: Final = np.uint32(0x4000_0000)
_SO_MEMINFO: Final = 55
_SK_MEMINFO_WMEM_ALLOC: Final = 2  # linux/sock_diag.h
# Longer than any beat in which a busy bus is read.
_STEADY_SECONDS: Final = 0.1
# An interface that was set down, or taken away, has thrown away what was in it.
_WENT_DOWN: Final = frozenset({errno.ENETDOWN, errno.ENODEV, errno.ENXIO})
# The queue of the interface, or what this socket may have in it, is full.
_FULL: Final = frozenset({errno.ENOBUFS, errno.EAGAIN, errno.EINTR, errno.ENOMEM})

_sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg
_sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)


class SendSlots:
    """Memory for up to `MAX_FRAMES` frames of one sendmmsg call; `address` is that of its `struct mmsghdr[]`.

    A raw length code of 9 to 15 goes along with 8 bytes, as the kernel has it: a driver that knows nothing
    of such codes sends 8.
    """

    def __init__(self) -> None:
        self.frames = np.zeros(MAX_FRAMES, FRAME)
        self._messages = np.zeros(MAX_FRAMES, NATIVE.message)
        self._vectors = np.zeros(MAX_FRAMES, NATIVE.vector)
        self._vectors["base"] = addresses(self.frames)
        header = self._messages["header"]
        header["vectors"] = addresses(self._vectors)
        header["vector_count"] = 1
        self.address = int(self._messages.ctypes.data)

    def fill(self, frames: FrameBatch) -> None:
        """Puts frames of a bus that can carry them, at most `MAX_FRAMES`, into the first slots."""
        count, slots = len(frames), self.frames[: len(frames)]
        flags = frames.flags
        is_fd, is_remote = (flags & FrameFlag.FD) != 0, (flags & FrameFlag.REMOTE) != 0
        extended = np.where((flags & FrameFlag.EXTENDED) != 0, _CAN_EFF_FLAG, np.uint32(0))
        remote = np.where(is_remote, _CAN_RTR_FLAG, np.uint32(0))
        is_raw = ~is_fd & (frames.length > CLASSIC_DATA_BYTES)
        slots["can_id"] = frames.arbitration_id | extended | remote
        slots["length"] = np.where(is_raw, np.uint8(CLASSIC_DATA_BYTES), frames.length)
        slots["raw_dlc"] = np.where(is_raw, frames.length, np.uint8(0))
        rate_bit = np.where((flags & FrameFlag.BRS) != 0, CANFD_BRS, 0)
        state_bit = np.where((flags & FrameFlag.ESI) != 0, CANFD_ESI, 0)
        slots["flags"] = np.where(is_fd, rate_bit | state_bit, 0)
        slots["data"] = 0
        slots["data"][:, : frames.width] = frames.data
        self._vectors["length"][:count] = np.where(is_fd, CANFD_MTU, CAN_MTU)


class SocketCanWriter:
    """A raw CAN socket, and whether it may still be written to: nobody closes it while it is used.

    `failed_by` is the error number that writing or reading has failed with, 0 as long as neither has: the
    kernel tells an error once, to whoever asks first. `has_neighbours` is set by the source once it reads
    frames of another program of this machine: the counters do not say whose frames they count.
    """

    def __init__(
        self,
        opened: socket.socket,
        channel: str,
        *,
        fd: bool,
        link: CanLink | None,
        monotonic_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failed_by = 0
        self.has_neighbours = False
        self._monotonic_seconds = monotonic_seconds
        self._empty: tuple[int, float] | None = None
        self._socket = opened
        self._channel = channel
        self._check = FrameCheck(fd, channel)
        self._lock = threading.Lock()
        self._is_open = True
        self._slots = SendSlots()
        self._echoes = link is not None and link.echoes
        self._opened_at = None if link is None else _standing(link)
        self._books = InterfaceBooks()

    @property
    def confirms(self) -> Confirms:
        """Where the driver gives back what it has sent "bus"; else "queue", for then the kernel does it."""
        return "bus" if self._echoes else "queue"

    @property
    def can_empty_queue(self) -> CanEmptyQueue:
        """The counters tell where they count what was on the bus, and ours alone, and it is known what was
        inside before; else a probe does, whose echo makes that known.
        """
        can_count = self._echoes and self._books.is_known and not self.has_neighbours
        return "counters" if can_count else "probe"

    def follows(self, before: SocketCanWriter) -> None:
        """It is the next one on this interface: what the one before has put into it may be there still."""
        if self._opened_at is not None:
            went_down = before.failed_by in _WENT_DOWN
            self._books.follow(before._books, self._opened_at, went_down=went_down)

    def echoed(self, frames: int) -> None:
        """So many of its frames were read back. Called, like `prove`, by the thread that reads."""
        self._books.echoes += frames
        self._books.echoed_seconds = self._monotonic_seconds()

    def prove(self) -> None:
        """Where all that was written has come back: how the interface stands with nothing inside."""
        books = self._books
        if not self._echoes or self.has_neighbours or not books.is_proof_due(self._monotonic_seconds()):
            return
        taken = books.taken
        try:
            link, waiting = read_can_link(self._channel), 1
            if link is not None:
                waiting = read_waiting_frames(link.index)
        except LinkError:
            return
        with self._lock:  # nothing was written meanwhile
            if link is not None and not waiting and books.taken == books.echoes == taken:
                books.begin(_standing(link))

    def write(self, frames: FrameBatch) -> int:
        """As `Writer.write`: at once, or not at all."""
        frames = frames[:MAX_FRAMES]
        self._check.check(frames)
        self._slots.fill(frames)
        with self._lock:
            if not self._is_open:
                raise closed(self._channel)
            count: int = _sendmmsg(
                self._socket.fileno(), self._slots.address, len(frames), socket.MSG_DONTWAIT
            )
            number = ctypes.get_errno() if count < 0 else 0
            self._books.taken += max(count, 0)
        if number and number not in _FULL:
            self.failed_by = number
            raise self._failure(number)
        return max(count, 0)

    def is_empty(self) -> bool | None:
        """By what waits in the kernel's queue, and by what the driver has sent since nothing was inside.

        True is said where it has been so for 0.1 s: a frame of another program is counted before it is read
        here. From a bus-off on, which empties queues unseen, or once another program sends there, it is not
        known any more; nor is it before it is known what was inside when the socket was opened.
        """
        held_bytes = self._held_bytes()
        if held_bytes is None or self.can_empty_queue != "counters":
            return None
        try:
            left = 1 if held_bytes else self._left_frames()
        except LinkError:
            return None
        if left is None or left < 0:
            self._books.doubt()
            return None
        return self._has_been_empty() if left == 0 else False

    def _has_been_empty(self) -> bool:
        now_seconds = self._monotonic_seconds()
        if self._empty is None or self._empty[0] != self._books.taken:
            self._empty = self._books.taken, now_seconds
        return now_seconds - self._empty[1] >= _STEADY_SECONDS

    def close(self) -> None:
        """Closes the socket once nobody is writing to it."""
        with self._lock, suppress(OSError):
            self._is_open = False
            self._socket.close()

    def _left_frames(self) -> int | None:
        """As `InterfaceBooks.left`, and what waits for whomever. LinkError."""
        link = read_can_link(self._channel)
        left = None if link is None else self._books.left(_standing(link))
        if link is None or left is None or left < 0:
            return left
        return max(left, read_waiting_frames(link.index))

    def _held_bytes(self) -> int | None:
        """How much memory of what this socket has sent waits in the interface's queue; None once closed."""
        with self._lock:
            if not self._is_open:
                return None
            memory = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * (_SK_MEMINFO_WMEM_ALLOC + 1))
        held: int = struct.unpack_from("=I", memory, 4 * _SK_MEMINFO_WMEM_ALLOC)[0]
        return held

    def _failure(self, number: int) -> SourceError:
        if number == errno.ENETDOWN:
            return SourceError("DOWN", f"{self._channel} is down", "set it up again")
        if number in (errno.ENODEV, errno.ENXIO):
            return SourceError("NO_DEVICE", f"{self._channel} is not there", "plug it in")
        return write_failure(os.strerror(number), self._channel)


def _standing(link: CanLink) -> Standing:
    gone_frames = link.counters.tx_packets + link.counters.tx_dropped
    return Standing(link.index, gone_frames, _troubles(link.statistics))


def _troubles(statistics: DeviceStatistics | None) -> tuple[int, int]:
    return (0, 0) if statistics is None else (statistics.bus_off, statistics.restarts)
