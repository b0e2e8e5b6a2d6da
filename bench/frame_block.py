"""Frames as a raw CAN socket takes them, many of them with one system call."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np

from edge_agent.host.kernel_frames import FRAME, NATIVE

_MAX_BURST: Final = 64
_END_SECONDS: Final = 2.0

_sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg
_sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)


class FrameBlock:
    """Records like `struct can_frame` and `struct canfd_frame`, to be sent again and again."""

    def __init__(self, records: Sequence[bytes]) -> None:
        count = len(records)
        self._count = count
        self._frames = np.zeros(count, FRAME)
        self._vectors = np.zeros(count, NATIVE.vector)
        self._messages = np.zeros(count, NATIVE.message)
        raw = self._frames.view(np.uint8).reshape(count, -1)
        for row, record in zip(raw, records, strict=True):
            row[: len(record)] = np.frombuffer(record, np.uint8)
        rows = np.arange(count, dtype=np.uintp)
        self._vectors["base"] = self._frames.ctypes.data + rows * np.uintp(FRAME.itemsize)
        self._vectors["length"] = [len(record) for record in records]
        headers = self._messages["header"]
        headers["vectors"] = self._vectors.ctypes.data + rows * np.uintp(NATIVE.vector.itemsize)
        headers["vector_count"] = 1

    def send(
        self,
        sockets: Sequence[socket.socket],
        frames: int,
        frames_per_second: float,
        begin: int = 0,
        *,
        stamped: bool = False,
    ) -> None:
        """`frames` of the block from `begin` on to each, evenly, as far as this machine wakes up in time."""
        began, sent = time.monotonic(), 0
        while sent < frames:
            due = min(int((time.monotonic() - began) * frames_per_second), frames) - sent
            at = (begin + sent) % self._count
            count = min(due, _MAX_BURST, self._count - at)
            if stamped:
                self.stamp(at, count)
            for opened in sockets:
                done = 0
                while done < count:
                    more = self.burst(opened, at + done, count - done)
                    done += more
                    if not more:  # a queue is full
                        time.sleep(0.001)
            sent += count
            if count < _MAX_BURST:
                time.sleep(0.001)

    def stamp(self, first: int, count: int) -> None:
        """The first 8 bytes of data of so many frames now hold the time on the monotonic clock."""
        self._frames.view(np.uint64).reshape(self._count, -1)[first : first + count, 1] = time.monotonic_ns()

    def burst(self, opened: socket.socket, first: int, count: int) -> int:
        """Sends `count` frames of the block at once; how many could be sent."""
        address = self._messages.ctypes.data + first * NATIVE.message.itemsize
        return max(_sendmmsg(opened.fileno(), address, count, 0), 0) if count else 0

    @contextlib.contextmanager
    def sender(
        self, opened: socket.socket, frames: int, frames_per_second: float
    ) -> Iterator[Callable[[], None]]:
        """A process that begins to send when what this gives is called."""
        context = multiprocessing.get_context("fork")
        begin = context.Event()

        def run() -> None:
            begin.wait()
            self.send([opened], frames, frames_per_second)

        process = context.Process(target=run)
        process.start()
        try:
            yield begin.set
        finally:
            process.join(_END_SECONDS)
            process.kill()
