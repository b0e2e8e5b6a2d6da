"""Writes frames to a bus of python-can, in a thread of its own: drivers may take their time for a `send`."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

import numpy as np

from can_stream.frames.batches import CLASSIC_DATA_BYTES, FrameBatch, FrameFlag
from can_stream.protocol.control import CanEmptyQueue, Confirms
from edge_agent.transmit.own_frames import ComeBack, OwnFrames
from edge_agent.transmit.writer import FrameCheck, closed

if TYPE_CHECKING:
    import can

_log = logging.getLogger(__name__)

_MAX_WAITING: Final = 16
# What a driver that hangs has kept from being sent for so long is not sent: nobody knows any more how old
# it is.
_MAX_WAIT_SECONDS: Final = 0.2
_CLOSE_SECONDS: Final = 1.0


class PythonCanWriter:
    """Writes to `bus` as long as it is open; `come_back`: how its driver gives back what is written.

    `refused`: how many frames the driver did not take, or too late.
    """

    def __init__(self, bus: can.BusABC, channel: str, *, fd: bool, come_back: ComeBack) -> None:
        self.refused = 0
        self._bus = bus
        self._channel = channel
        self._check = FrameCheck(fd, channel)
        self._own = OwnFrames(come_back)
        self._waiting: deque[tuple[FrameBatch, float]] = deque()
        self._news = threading.Condition()
        self._driver = threading.Lock()
        self._is_open = True
        self._thread: threading.Thread | None = None

    @property
    def confirms(self) -> Confirms:
        """The queue: of what comes back nobody says that it was on the bus."""
        return "queue"

    @property
    def can_empty_queue(self) -> CanEmptyQueue:
        """Nobody can look into these drivers."""
        return "probe"

    def is_empty(self) -> bool | None:
        """It cannot be known."""
        return None

    def write(self, frames: FrameBatch) -> int:
        """As `Writer.write`: they are handed to the thread that writes, at most 16 at a time."""
        self._check.check(frames)
        with self._news:
            if not self._is_open:
                raise closed(self._channel)
            count = min(len(frames), _MAX_WAITING - len(self._waiting))
            now_seconds = _seconds()
            sendable = as_sent(frames[:count])
            self._waiting.extend((sendable[row : row + 1], now_seconds) for row in range(count))
            if self._thread is None:
                name = f"writer {self._channel}"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()
            self._news.notify()
        return count

    def marked(self, frames: FrameBatch, now_ns: int) -> FrameBatch:
        """As `OwnFrames.marked`, for what its source has read."""
        with self._news:
            return self._own.marked(frames, now_ns)

    def close(self) -> None:
        """Nothing is written any more once this has returned, unless the driver hangs."""
        with self._news:
            self._is_open = False
            self._waiting.clear()
            self._news.notify()
        if self._driver.acquire(timeout=_CLOSE_SECONDS):
            self._driver.release()

    # In the thread that writes.

    def _run(self) -> None:
        while True:
            with self._news:
                while self._is_open and not self._waiting:
                    self._news.wait()
                if not self._is_open:
                    return
                frame, since_seconds = self._waiting.popleft()
                self._own.written(frame)
                self._driver.acquire()
            try:
                is_taken = _seconds() - since_seconds <= _MAX_WAIT_SECONDS and self._send(frame)
            finally:
                self._driver.release()
            with self._news:
                if is_taken:
                    self._own.taken(frame)
                else:
                    self.refused += 1
                    self._own.refused(frame)

    def _send(self, frame: FrameBatch) -> bool:
        try:
            self._bus.send(message_of(frame), timeout=0)
        except Exception as error:  # drivers raise what they like; that one is gone is found by reading
            _log.debug("%s does not take a frame: %s", self._channel, error)
            return False
        return True


def _seconds() -> float:
    """Runs on while the machine sleeps: what waited that long is old."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def as_sent(frames: FrameBatch) -> FrameBatch:
    """The same with length codes that python-can knows: 8 for those above."""
    is_raw = ((frames.flags & FrameFlag.FD) == 0) & (frames.length > CLASSIC_DATA_BYTES)
    if not is_raw.any():
        return frames
    length = np.where(is_raw, np.uint8(CLASSIC_DATA_BYTES), frames.length)
    return FrameBatch(frames.timestamp_ns, frames.arbitration_id, frames.flags, length, frames.data)


def message_of(frame: FrameBatch) -> can.Message:
    """One frame as python-can has it."""
    import can  # noqa: PLC0415 - memory of what is not used

    flags, length = int(frame.flags[0]), int(frame.length[0])
    return can.Message(
        arbitration_id=int(frame.arbitration_id[0]),
        is_extended_id=bool(flags & FrameFlag.EXTENDED),
        is_remote_frame=bool(flags & FrameFlag.REMOTE),
        is_fd=bool(flags & FrameFlag.FD),
        bitrate_switch=bool(flags & FrameFlag.BRS),
        error_state_indicator=bool(flags & FrameFlag.ESI),
        dlc=length,
        data=None if flags & FrameFlag.REMOTE else frame.data[0, :length].tobytes(),
    )
