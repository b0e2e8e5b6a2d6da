"""What a source of frames is, and the queue between the thread that reads it and the event loop."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from wire_protocol.batches import FrameBatch


class SourceCode(IntEnum):
    """How a source stands, in the numbers of `ServiceStatus.status_code`."""

    OK = 0
    DEGRADED = 1
    FAILED = 2
    STARTING = 3
    STOPPED = 4


@dataclass(frozen=True, slots=True)
class SourceState:
    """`message` says what is the matter and what to do about it."""

    code: SourceCode
    message: str


class Source(Protocol):
    """An opened bus. Its methods are called from one thread, its properties from anywhere."""

    @property
    def info(self) -> str:
        """What was opened, in the words of its driver."""

    @property
    def malformed(self) -> int:
        """How many frames or lines were unusable so far and are in no batch."""

    @property
    def can_wait(self) -> bool:
        """True where nothing is lost by reading later (a log): it paces itself and is never dropped."""

    def read(self, timeout_seconds: float) -> FrameBatch | list[Item]:
        """What has arrived, after at most `timeout_seconds`; maybe nothing. Raises SourceError.

        A list has what the driver lost in its place, where the driver says so.
        """

    def close(self) -> None:
        """Releases the device. Never raises."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """`frames` frames between these timestamps are lost: a queue was full, the driver's or ours."""

    frames: int
    first_ns: int
    last_ns: int


Item = FrameBatch | Dropped


class FrameQueue:
    """Batches from the reading thread to the event loop, bounded in frames; what does not fit is counted."""

    def __init__(self, limit_frames: int) -> None:
        self._limit_frames = limit_frames
        self._items: deque[Item] = deque()
        self._frames = 0
        self._lock = threading.Condition()

    def put(self, batch: FrameBatch) -> int:
        """Appends `batch` as far as there is room; returns how many frames had to be dropped."""
        with self._lock:
            room = max(self._limit_frames - self._frames, 0)
            if room:
                self._append(batch if len(batch) <= room else batch[:room])
            if len(batch) > room:
                left_out = batch[room:].timestamp_ns
                self._drop(Dropped(len(left_out), int(left_out[0]), int(left_out[-1])))
            return max(len(batch) - room, 0)

    def put_loss(self, loss: Dropped) -> None:
        """Appends what was lost before it came here."""
        with self._lock:
            self._drop(loss)

    def put_when_room(self, batch: FrameBatch, stop: threading.Event) -> None:
        """Appends `batch` once the queue is below its limit; gives up when `stop` is set."""
        with self._lock:
            while self._frames >= self._limit_frames and not stop.is_set():
                self._lock.wait(0.1)
            self._append(batch)

    def take(self) -> list[Item]:
        """Everything in it, in order."""
        with self._lock:
            items = list(self._items)
            self._items.clear()
            self._frames = 0
            self._lock.notify_all()
            return items

    def _append(self, batch: FrameBatch) -> None:
        self._items.append(batch)
        self._frames += len(batch)

    def _drop(self, loss: Dropped) -> None:
        if self._items and isinstance(earlier := self._items[-1], Dropped):
            self._items.pop()
            loss = Dropped(earlier.frames + loss.frames, earlier.first_ns, loss.last_ns)
        self._items.append(loss)
