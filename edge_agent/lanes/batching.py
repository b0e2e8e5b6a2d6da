"""When frames of one dongle become packets of its lane; `dongles/pipeline` asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from can_stream.frames.batches import FrameBatch, FrameFlag, concatenate, empty_batch
from can_stream.protocol.packet_head import MAX_ROWS

# A wake-up of its own costs as much again.
_SOON_SECONDS: Final = 0.001
_NOT_RELAYED: Final = np.uint8(FrameFlag.TX | FrameFlag.ERROR)

Window = tuple[FrameBatch, NDArray[np.uint16]]


class LiveBatcher:
    """Gathers what a bus gives: a batch each `flush_seconds`, at once after silence or when MAX_ROWS wait.

    A batch ends where the clock passes a multiple of `flush_seconds`, so those of all buses end together.
    `is_prompt`: it is due at once where it has frames that can be relayed; our own echoes, of which a burst
    has few, wait for the beat. `born_ns` of what waits: see `Held`.
    """

    def __init__(self, flush_seconds: float) -> None:
        self.is_prompt = False
        self.born_ns = 0
        self._flush_seconds = flush_seconds
        self._waiting: list[FrameBatch] = []
        self._waiting_rows = 0
        self._is_awaited = False
        self._waiting_since_seconds = 0.0
        self._due_at_seconds = float("-inf")

    @property
    def since_seconds(self) -> float | None:
        """When the first of what waits was added; None while nothing waits."""
        return self._waiting_since_seconds if self._waiting else None

    @property
    def waiting(self) -> FrameBatch:
        """What waits, up to MAX_ROWS."""
        return concatenate(self._waiting)[:MAX_ROWS]

    def add_frames(self, batch: FrameBatch, now_seconds: float = 0.0, born_ns: int = 0) -> None:
        """Frames that have arrived."""
        if len(batch):
            self.born_ns = min(self.born_ns, born_ns) if self._waiting else born_ns
            if not self._waiting:
                self._waiting_since_seconds = now_seconds
            self._waiting.append(batch)
            self._waiting_rows += len(batch)
            if self.is_prompt and not self._is_awaited:
                self._is_awaited = bool(((batch.flags & _NOT_RELAYED) == 0).any())

    @property
    def waiting_rows(self) -> int:
        """How many frames wait for `take_batches`."""
        return self._waiting_rows

    def due_in(self, now_seconds: float) -> float | None:
        """Seconds until `take_batches` is due, 0 when it is; None while nothing waits."""
        if not self._waiting:
            return None
        due_seconds = self._due_at_seconds - now_seconds
        is_due = self._is_awaited or due_seconds < _SOON_SECONDS or self._waiting_rows >= MAX_ROWS
        return 0.0 if is_due else due_seconds

    def take_batches(self, now_seconds: float) -> list[FrameBatch]:
        """All that waits, in batches of at most MAX_ROWS."""
        if not self._waiting:
            return []
        batch = concatenate(self._waiting)
        self._waiting, self._waiting_rows, self._is_awaited = [], 0, False
        self._due_at_seconds = (now_seconds // self._flush_seconds + 1) * self._flush_seconds
        return [batch[i : i + MAX_ROWS] for i in range(0, len(batch), MAX_ROWS)]


class LogCutter:
    """Cuts a log into windows by its own times alone, so that a second run cuts alike.

    A window ends before the first frame, on whatever channel, that is `flush_ns` or more behind its first
    one, or before it in time.
    """

    def __init__(self, flush_ns: int) -> None:
        self._flush_ns = flush_ns
        self._frames = empty_batch()
        self._channel = np.zeros(0, np.uint16)

    def add_frames(self, frames: FrameBatch, channel: NDArray[np.uint16]) -> Iterator[Window]:
        """The windows that are complete with these frames."""
        self._frames = concatenate([self._frames, frames]) if len(self._frames) else frames
        self._channel = np.concatenate([self._channel, channel])
        while len(self._frames):
            end = self._end()
            if end == len(self._frames) and end < MAX_ROWS:
                return
            yield self._cut(end)

    def finish(self) -> Iterator[Window]:
        """The last window, at the end of the log."""
        if len(self._frames):
            yield self._cut(len(self._frames))

    def _end(self) -> int:
        times = self._frames.timestamp_ns[:MAX_ROWS]
        outside = (times >= times[0] + self._flush_ns) | (times < times[0])
        return int(np.argmax(outside)) if outside.any() else len(times)

    def _cut(self, end: int) -> Window:
        window = self._frames[:end], self._channel[:end]
        self._frames, self._channel = self._frames[end:], self._channel[end:]
        return window
