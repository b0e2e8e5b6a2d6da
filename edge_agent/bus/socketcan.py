"""SocketCAN: a kernel CAN interface as a source, read with recvmmsg."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from can_stream.frames.batches import EXTENDED_ID_MASK, STANDARD_ID_MASK
from edge_agent.bus.driver_errors import open_failure, read_failure
from edge_agent.bus.socketcan_frames import (
    SO_RXQ_OVFL,
    SO_TIMESTAMPNS,
    OverflowCounter,
    Received,
    ReceiveSlots,
)
from edge_agent.bus.source import Dropped, FoundEmpty, Item, Source
from edge_agent.config.dongle import DongleSection
from edge_agent.config.frame_filters import FrameFilter
from edge_agent.errors import LinkError, SourceError
from edge_agent.host.can_link import read_can_link
from edge_agent.host.can_set_up import set_up_by_hand
from edge_agent.host.clock import Clock
from edge_agent.host.kernel_frames import CANFD_MTU

if TYPE_CHECKING:
    from edge_agent.transmit.socketcan_writer import SocketCanWriter

# linux/can/raw.h, linux/can.h; Python 3.11 does not name all of them.
_CAN_RAW_FILTER: Final = 1
_CAN_RAW_ERR_FILTER: Final = 2
_CAN_RAW_RECV_OWN_MSGS: Final = 4
_CAN_RAW_FD_FRAMES: Final = 5
_CAN_EFF_FLAG: Final = 0x8000_0000
_SO_RCVBUFFORCE: Final = 33
_SO_MEMINFO: Final = 55
_SK_MEMINFO_DROPS: Final = 8  # linux/sock_diag.h, since Linux 4.12
_SIOCGIFMTU: Final = 0x8921

# A beat of a full bus.
_SLOTS: Final = 512
_MAX_CALLS: Final = 8
# A buffer that was not found empty for so long is read until it is: how old its frames are would be unknown.
_LONGEST_UNPROVEN_NS: Final = 100_000_000
_MOST_CALLS: Final = 64
# The kernel doubles it and counts some 770 bytes per frame: 2.7 s of a full bus of 1 Mbit/s.
_RECEIVE_BUFFER_BYTES: Final = 8 << 20
_BEAT_SECONDS: Final = 0.05
# What every system allows holds 278 frames, 35 ms of a full bus.
_SMALL_BUFFER_BEAT_SECONDS: Final = 0.02

_recvmmsg = ctypes.CDLL(None, use_errno=True).recvmmsg
_recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)


class SocketCanBus:
    """An opened CAN interface. The constructor opens it and raises SourceError.

    Error frames and own messages are received; the latter, when the kernel confirms them as sent, have
    `FrameFlag.TX`. Timestamps are the kernel's, in nanoseconds of the wall clock. What the kernel dropped
    because its receive buffer was full stands as `Dropped` where it is missing.
    `open_socket` gives a bound socket of records like `struct can_frame`.
    """

    can_wait = False

    def __init__(
        self,
        dongle: DongleSection,
        clock: Clock | None = None,
        open_socket: Callable[[DongleSection], socket.socket] | None = None,
    ) -> None:
        self._dongle = dongle
        self._channel = dongle.channel
        self._clock = clock or Clock()
        self._slots = ReceiveSlots(_SLOTS)
        self._overflows = OverflowCounter()
        self._found_empty = FoundEmpty()
        self._last_ns: int | None = None
        self._pending: SourceError | None = None
        self._malformed = 0
        try:
            self._socket = (open_socket or open_can_socket)(dongle)
        except OSError as error:
            raise _open_failure(error, dongle) from error
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
        self._buffer_bytes = _raise_receive_buffer(self._socket)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._writer = self._opened_writer() if dongle.mode == "normal" else None

    @property
    def writer(self) -> SocketCanWriter | None:
        """Who writes to its socket; None where the dongle or its interface only listens."""
        return self._writer

    @property
    def info(self) -> str:
        """The interface, and what to do where the system keeps its receive buffer small."""
        if self._buffer_bytes >= _RECEIVE_BUFFER_BYTES:
            return f"socketcan {self._channel}"
        remedy = f"run `sudo sysctl net.core.rmem_max={_RECEIVE_BUFFER_BYTES}` to be able to wait longer"
        return f"socketcan {self._channel} with a receive buffer of {self._buffer_bytes >> 10} KiB; {remedy}"

    @property
    def patience_seconds(self) -> float:
        """As long as a batch lasts, where the receive buffer is as large as it should be."""
        is_large = self._buffer_bytes >= _RECEIVE_BUFFER_BYTES
        return _BEAT_SECONDS if is_large else _SMALL_BUFFER_BEAT_SECONDS

    @property
    def malformed(self) -> int:
        """Frames of impossible length, which other programs may send on a virtual interface."""
        return self._malformed

    @property
    def born_ns(self) -> int:
        """See `Aged`."""
        return self._found_empty.born_ns

    def follows(self, before: Source) -> None:
        """See `Following`."""
        if isinstance(before, SocketCanBus) and before.writer is not None and self._writer is not None:
            self._writer.follows(before.writer)

    def give_everything(self) -> None:
        """The kernel filters no more. Raises SourceError."""
        every = struct.pack("=II", 0, 0)
        try:
            self._socket.setsockopt(socket.SOL_CAN_RAW, _CAN_RAW_FILTER, every)
        except OSError as error:
            raise _read_failure(error, self._dongle) from error

    def read(self, timeout_seconds: float) -> list[Item]:
        """What has arrived, losses in their places: waits for the first frame only. Raises SourceError."""
        if self._writer is not None:
            self._writer.prove()
        items = self._drain()
        if not items and self._pending is None:
            self._poll.poll(timeout_seconds * 1000)
            items = self._drain()
        items = items or self._drain_to_loss()
        if not items and self._pending is not None:  # told once the frames before it have been handed over
            raise self._pending
        return items

    def close(self) -> None:
        """Closes the socket, when nobody is writing to it."""
        if self._writer is not None:
            self._writer.close()
        with suppress(OSError):
            self._socket.close()

    def _opened_writer(self) -> SocketCanWriter | None:
        from edge_agent.transmit.socketcan_writer import SocketCanWriter  # noqa: PLC0415 - memory

        try:
            link = read_can_link(self._channel)
        except LinkError:
            link = None
        if link is not None and link.listen_only:
            return None
        return SocketCanWriter(self._socket, self._channel, fd=self._dongle.fd, link=link)

    def _drain(self) -> list[Item]:
        items: list[Item] = []
        found_empty = self._found_empty
        for call in range(_MOST_CALLS):
            had_failed = self._pending is not None
            looked_ns = self._clock.boottime_ns()
            if call >= _MAX_CALLS and looked_ns - found_empty.last_ns < _LONGEST_UNPROVEN_NS:
                break
            count = self._receive()
            if count and self._writer is not None:
                self._tell(self._writer, count)
            if count:
                if not items:
                    found_empty.reads()
                items += self._items(self._slots.take_received(count, self._clock.wall_ns()))
            if count < _SLOTS and (had_failed or self._pending is None):
                found_empty.empty(looked_ns)
                break
        return items

    def _tell(self, writer: SocketCanWriter, count: int) -> None:
        """Its writer, of the first `count` frames in the slots: how many are its own, whether others send."""
        own, is_neighbour = self._slots.sent_here(count)
        if own:
            writer.echoed(own)
        if is_neighbour:
            writer.has_neighbours = True

    def _receive(self) -> int:
        """How many frames are in the slots now. An error is kept: frames may still be queued behind it."""
        count: int = _recvmmsg(self._socket.fileno(), self._slots.address, _SLOTS, socket.MSG_DONTWAIT, None)
        if count >= 0:
            return count
        number = ctypes.get_errno()
        if self._writer is not None and self._writer.failed_by:
            number = self._writer.failed_by
        if number not in (errno.EAGAIN, errno.EINTR):
            if self._writer is not None:
                self._writer.failed_by = number
            self._pending = _read_failure(OSError(number, os.strerror(number)), self._dongle)
        return 0

    def _items(self, received: Received) -> list[Item]:
        self._malformed += received.malformed
        batch, begin = received.batch, 0
        items: list[Item] = []
        for row, frames in self._overflows.losses(received.overflow):
            if row > begin:
                items.append(batch[begin:row])
            here_ns = int(batch.timestamp_ns[row])
            before_ns = int(batch.timestamp_ns[row - 1]) if row else self._last_ns
            first_ns = here_ns if before_ns is None else before_ns
            items.append(Dropped(frames, min(first_ns, here_ns), max(first_ns, here_ns), "kernel"))
            begin = row
        if len(batch):
            items.append(batch[begin:])
            self._last_ns = int(batch.timestamp_ns[-1])
        return items

    def _drain_to_loss(self) -> list[Item]:
        """What was dropped behind the last frame: none has brought the news, and none may come for long.

        Asked before the queue is found empty, so that no frame with an older total is still in it.
        """
        total = _dropped_so_far(self._socket)
        if items := self._drain():
            return items
        frames, now_ns = self._overflows.lost_by(total), self._clock.wall_ns()
        first_ns = now_ns if self._last_ns is None else self._last_ns
        if not frames:
            return []
        return [Dropped(frames, min(first_ns, now_ns), max(first_ns, now_ns), "kernel")]


def open_can_socket(dongle: DongleSection) -> socket.socket:
    """A raw CAN socket on the dongle's interface, for both directions. Raises OSError and SourceError."""
    if dongle.options:
        raise SourceError("BAD_OPTION", "socketcan has no `options`", "leave them out of this dongle")
    opened = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
    try:
        level = socket.SOL_CAN_RAW
        opened.setsockopt(level, _CAN_RAW_ERR_FILTER, EXTENDED_ID_MASK)
        opened.setsockopt(level, _CAN_RAW_RECV_OWN_MSGS, 1)
        opened.setsockopt(level, _CAN_RAW_FD_FRAMES, int(dongle.fd))
        if filters := kernel_filters(dongle):
            opened.setsockopt(level, _CAN_RAW_FILTER, filters)
        opened.bind((dongle.channel,))
        # An interface that is down can be bound; it tells the first who asks.
        if number := opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(number, os.strerror(number))
        if dongle.fd:
            _check_fd(opened, dongle.channel)
    except BaseException:
        opened.close()
        raise
    return opened


def kernel_filters(dongle: DongleSection) -> bytes:
    """`struct can_filter[]` for the dongle's `frame_filters`; empty where the kernel must not apply them."""
    if not dongle.filters_in_kernel:
        return b""
    return b"".join(_kernel_filter(one) for one in dongle.frame_filters)


def _kernel_filter(one: FrameFilter) -> bytes:
    wanted, mask, extended = one.terms()
    mask &= EXTENDED_ID_MASK if extended else STANDARD_ID_MASK
    return struct.pack("=II", wanted | (_CAN_EFF_FLAG if extended else 0), mask | _CAN_EFF_FLAG)


def _check_fd(opened: socket.socket, channel: str) -> None:
    request = struct.pack("=16s24x", channel.encode())
    (mtu,) = struct.unpack_from("=i", fcntl.ioctl(opened, _SIOCGIFMTU, request), 16)
    if mtu < CANFD_MTU:
        link = f"sudo ip link set {channel} up type can bitrate 500000 dbitrate 2000000 fd on"
        remedy = f"run `sudo ip link set {channel} down; {link}` with your bus's bit rates, or leave `fd` out"
        raise SourceError("NO_FD", f"{channel} is set up for classic CAN only", remedy)


def _raise_receive_buffer(opened: socket.socket) -> int:
    """The size in bytes that it has then. To go beyond net.core.rmem_max needs CAP_NET_ADMIN."""
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER_BYTES)
    except PermissionError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    return opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def _dropped_so_far(opened: socket.socket) -> int:
    memory = opened.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * (_SK_MEMINFO_DROPS + 1))
    total: int = struct.unpack_from("=I", memory, 4 * _SK_MEMINFO_DROPS)[0]
    return total


def _open_failure(error: OSError, dongle: DongleSection) -> SourceError:
    channel = dongle.channel
    if error.errno == errno.ENETDOWN:
        return _down(dongle)
    if error.errno in (errno.EPERM, errno.EACCES):
        reason = f"no permission to open a CAN socket on {channel}"
        remedy = "allow the address family AF_CAN to the service (systemd: RestrictAddressFamilies=)"
        return SourceError("NO_PERMISSION", reason, remedy)
    return open_failure(error, "socketcan", channel)


def _read_failure(error: OSError, dongle: DongleSection) -> SourceError:
    if error.errno in (errno.ENETDOWN, errno.ENODEV, errno.ENXIO):
        return _open_failure(error, dongle)
    return read_failure(error, "socketcan", dongle.channel)


def _down(dongle: DongleSection) -> SourceError:
    try:
        link = read_can_link(dongle.channel)
    except LinkError:
        link = None
    settings = dongle.can_settings()
    is_known = settings.bitrate or (link is not None and (link.bitrate or not link.has_controller))
    hint = "" if is_known else " with your bus's bit rate"
    return SourceError("DOWN", f"{dongle.channel} is down", f"run `{set_up_by_hand(settings, link)}`{hint}")
