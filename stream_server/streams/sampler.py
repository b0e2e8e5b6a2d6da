"""Which frames a console shows when a bus carries more than people can read.

Up to the limit every frame is shown by itself, in order. When more frames wait than the limit lets out
within 0.8 s, the sampler *merges*: each key (dongle, direction, id, extended, remote) keeps its newest
frame and the count of those it stands for, and each tick's budget goes to the keys that were shown
longest ago. So a rare id appears every time and no key starves. It stops merging when nothing waits and
the last second brought no more than the limit.

Books: `received == shown + pending` in frames, always. Error frames are never merged and cost no budget.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from heapq import nsmallest
from operator import attrgetter
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from can_stream.frames.batches import FrameBatch, FrameFlag
from can_stream.text.frame_json import FrameOrigin, FrameRow, rows_of
from stream_server.streams.rates import Budget, RateWindow

MAXIMUM_KEYS: Final = 4_096
AT_ONCE: Final = 512
"""What one tick shows takes some 10 ms at the most."""
_FRAME_BYTES, _KEY_BYTES = 500, 200
_QUEUE_SECONDS: Final = 0.8
_SILENCE_SECONDS: Final = 0.75
_NEVER: Final = float("-inf")
_KEY_BITS: Final = ((FrameFlag.EXTENDED, 29), (FrameFlag.REMOTE, 30), (FrameFlag.TX, 31))

Key = tuple[str | None, int]


class ShownFrame(NamedTuple):
    """A frame to show, standing for `frames` of its key. `order` is its place of arrival."""

    order: int
    origin: FrameOrigin
    row: FrameRow
    frames: int


class Sampler:
    """Takes batches in, gives the frames to show at each tick out.

    Not more than `max_frames_per_second` frames (None: all) in any second, error frames apart, with two
    exceptions so that no count is ever lost or late: a dongle that was silent for 0.75 s gets all its
    pending frames shown, and above 4,096 pending keys the oldest go out early. A tick shows some hundred
    frames: while more are due the sampler is `overfull`, and should be given ticks and nothing else.
    """

    def __init__(self, max_frames_per_second: int | None) -> None:
        self.received = 0
        self.shown = 0
        self.merging = False
        self.frames_in = RateWindow()
        self._budget = Budget()
        self._errors: list[ShownFrame] = []
        self._queue: deque[ShownFrame] = deque()
        self._pending: dict[Key, ShownFrame] = {}
        self._shown_at: dict[Key, float] = {}
        self._heard_at: dict[str | None, float] = {}
        self._more_due = False
        self.max_frames_per_second = max_frames_per_second

    @property
    def max_frames_per_second(self) -> int | None:
        """The limit, at least 1; None shows every frame. ValueError below 1."""
        return self._limit

    @max_frames_per_second.setter
    def max_frames_per_second(self, value: int | None) -> None:
        if value is not None and value < 1:
            raise ValueError("max_frames_per_second must be at least 1, or None for every frame")
        self._limit = value
        self._merge_when_too_many(0)

    @property
    def frames_out(self) -> RateWindow:
        """The frames shown, error frames apart."""
        return self._budget.spent

    @property
    def pending(self) -> int:
        """Frames received and not yet in any count that was shown."""
        return self.received - self.shown

    @property
    def overfull(self) -> bool:
        """Whether more is due now than one tick shows."""
        return self._more_due or len(self._pending) > MAXIMUM_KEYS

    @property
    def held_bytes(self) -> int:
        """About what the frames take that wait, and the keys that are remembered."""
        frames = len(self._pending) + len(self._queue) + len(self._errors)
        return frames * _FRAME_BYTES + len(self._shown_at) * _KEY_BYTES

    def offer(self, batch: FrameBatch, origin: FrameOrigin, now_seconds: float) -> None:
        """Live frames of one dongle, in the order of its bus."""
        order = np.arange(self.received, self.received + len(batch))
        self.received += len(batch)
        self._heard_at[origin.dongle_id] = now_seconds
        is_error = (batch.flags & FrameFlag.ERROR) != 0
        if is_error.any():
            self._errors.extend(_each(batch[is_error], order[is_error], origin))
            batch, order = batch[~is_error], order[~is_error]
        self.frames_in.add_count(len(batch), now_seconds)
        self._merge_when_too_many(len(batch))
        if not self.merging:
            self._queue.extend(_each(batch, order, origin))
        elif len(batch):
            self._merge_batch(batch, order, origin)

    def skip(self, frames: int) -> None:
        """So many more frames, and all that wait, count as shown: it is too late to show them."""
        self._errors.clear()
        self._queue.clear()
        self._pending.clear()
        self.received += frames
        self.shown = self.received

    def tick(self, now_seconds: float) -> list[ShownFrame]:
        """What to show now, in the order of arrival."""
        allowed = self._budget.earn(self._limit, now_seconds)
        budget = min(allowed, AT_ONCE)
        silent = {
            dongle for dongle, heard in self._heard_at.items() if now_seconds - heard >= _SILENCE_SECONDS
        }
        chosen = self._take_pending(budget, silent, now_seconds) + self._take_queued(budget, silent)
        self._budget.spend(len(chosen), now_seconds)
        chosen += self._errors[:AT_ONCE]
        del self._errors[:AT_ONCE]
        self._more_due = bool(self._errors) or (allowed > budget and bool(self._queue or self._pending))
        chosen.sort(key=attrgetter("order"))
        self.shown += sum(frame.frames for frame in chosen)
        within_limit = self._limit is None or self.frames_in.count(now_seconds) <= self._limit
        self.merging = self.merging and (bool(self._pending) or not within_limit)
        return chosen

    def _take_queued(self, budget: int, silent: set[str | None]) -> list[ShownFrame]:
        taken: list[ShownFrame] = []
        queue = self._queue
        while queue and (len(taken) < budget or queue[0].origin.dongle_id in silent):
            taken.append(queue.popleft())
        return taken

    def _take_pending(self, budget: int, silent: set[str | None], now_seconds: float) -> list[ShownFrame]:
        if not self._pending:
            return []
        # nsmallest is stable: among keys never shown the one that has waited longest is first.
        due = dict.fromkeys(nsmallest(budget, self._pending, key=lambda key: self._shown_at.get(key, _NEVER)))
        if silent:
            due.update(dict.fromkeys(key for key in self._pending if key[0] in silent))
        surplus = len(self._pending) - len(due) - MAXIMUM_KEYS
        if surplus > 0:
            waiting = [key for key in self._pending if key not in due]
            due.update(dict.fromkeys(waiting[: min(surplus, AT_ONCE)]))
        for key in due:
            self._shown_at.pop(key, None)
            self._shown_at[key] = now_seconds
        for key in list(self._shown_at)[: max(0, len(self._shown_at) - MAXIMUM_KEYS)]:
            del self._shown_at[key]
        return [self._pending.pop(key) for key in due]

    def _merge_when_too_many(self, arriving: int) -> None:
        if self._limit is None or self.merging:
            return
        if len(self._queue) + arriving > max(1, int(self._limit * _QUEUE_SECONDS)):
            self.merging = True
            for frame in self._queue:
                key = _key(frame.row.arbitration_id, frame.row.flags)
                self._merge((frame.origin.dongle_id, key), frame)
            self._queue.clear()

    def _merge_batch(self, batch: FrameBatch, order: NDArray[np.int64], origin: FrameOrigin) -> None:
        keys = _keys(batch)
        unique, from_the_end, counts = np.unique(keys[::-1], return_index=True, return_counts=True)
        newest = len(keys) - 1 - from_the_end
        rows = rows_of(batch[newest])
        columns = (unique.tolist(), order[newest].tolist(), rows, counts.tolist())
        for key, place, row, count in zip(*columns, strict=True):
            self._merge((origin.dongle_id, key), ShownFrame(place, origin, row, count))

    def _merge(self, key: Key, frame: ShownFrame) -> None:
        earlier = self._pending.get(key)
        if earlier is not None:
            frame = frame._replace(frames=frame.frames + earlier.frames)
        self._pending[key] = frame


def _each(batch: FrameBatch, order: NDArray[np.int64], origin: FrameOrigin) -> Iterable[ShownFrame]:
    for place, row in zip(order.tolist(), rows_of(batch), strict=True):
        yield ShownFrame(place, origin, row, 1)


def _key(arbitration_id: int, flags: int) -> int:
    return arbitration_id | sum(1 << bit for flag, bit in _KEY_BITS if flags & flag)


def _keys(batch: FrameBatch) -> NDArray[np.int64]:
    keys = batch.arbitration_id.astype(np.int64)
    for flag, bit in _KEY_BITS:
        keys |= ((batch.flags & flag) != 0).astype(np.int64) << bit
    return keys
