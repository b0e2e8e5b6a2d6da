"""The queue between the thread that reads a source and the event loop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from can_stream.frames.batches import FrameBatch
from edge_agent.bus.source import LOSS_PLACES, Dropped, Item, LossPlace

# What a source that can wait may have ready: more only takes memory.
_READY_FRAMES: Final = 8_192


class QueueCounts(Struct, frozen=True):
    """Frames since the start, as they were at one moment.

    `read` frames came from the source; of these `lost["queue"]` did not fit, and `waiting` are still in the
    queue. The other places lost theirs before they could be read.
    """

    read: int
    lost: Mapping[LossPlace, int]
    waiting: int


class FrameQueue:
    """Batches from the reading thread to the event loop, bounded in frames; what does not fit is counted.

    `taken_born_ns`: no frame that was taken last came before that moment of CLOCK_BOOTTIME; 0: unknown.
    """

    def __init__(self, limit_frames: int) -> None:
        self._limit_frames = limit_frames
        self._ready_frames = min(limit_frames, _READY_FRAMES)
        self._items: deque[Item] = deque()
        self._frames = 0
        self._read = 0
        self._lost: dict[LossPlace, int] = dict.fromkeys(LOSS_PLACES, 0)
        self._born_ns: int | None = None
        self.taken_born_ns = 0
        self._lock = threading.Condition()

    def counts(self) -> QueueCounts:
        """What has come in and what became of it."""
        with self._lock:
            return QueueCounts(self._read, dict(self._lost), self._frames)

    def put(self, batch: FrameBatch, born_ns: int = 0) -> int:
        """Appends `batch` as far as there is room; returns how many frames had to be dropped."""
        with self._lock:
            self._note_born(born_ns)
            self._read += len(batch)
            room = max(self._limit_frames - self._frames, 0)
            if room:
                self._append(batch if len(batch) <= room else batch[:room])
            if len(batch) > room:
                left_out = batch[room:].timestamp_ns
                self._drop(Dropped(len(left_out), int(left_out[0]), int(left_out[-1]), "queue"))
            return max(len(batch) - room, 0)

    def put_loss(self, loss: Dropped) -> None:
        """Appends what was lost before it came here."""
        with self._lock:
            self._drop(loss)

    def put_when_room(self, batch: FrameBatch, stop: threading.Event, born_ns: int = 0) -> None:
        """Appends `batch` once little enough waits in the queue; gives up when `stop` is set."""
        with self._lock:
            while self._frames >= self._ready_frames and not stop.is_set():
                self._lock.wait(0.1)
            self._note_born(born_ns)
            self._read += len(batch)
            self._append(batch)

    def take_items(self) -> list[Item]:
        """Everything in it, in order."""
        with self._lock:
            items = list(self._items)
            self._items.clear()
            self.taken_born_ns, self._born_ns = self._born_ns or 0, None
            self._frames = 0
            self._lock.notify_all()
            return items

    def _note_born(self, born_ns: int) -> None:
        self._born_ns = born_ns if self._born_ns is None else min(self._born_ns, born_ns)

    def _append(self, batch: FrameBatch) -> None:
        self._items.append(batch)
        self._frames += len(batch)

    def _drop(self, loss: Dropped) -> None:
        self._lost[loss.place] += loss.frames or 0
        earlier = self._items[-1] if self._items else None
        if isinstance(earlier, Dropped) and earlier.frames is not None and loss.frames is not None:
            self._items.pop()
            loss = Dropped(earlier.frames + loss.frames, earlier.first_ns, loss.last_ns, loss.place)
        self._items.append(loss)
