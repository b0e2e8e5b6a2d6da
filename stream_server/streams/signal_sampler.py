"""Which decoded messages a console shows of a dongle that sends values and no frames.

Up to the limit every message is shown by itself, in order. When more wait than the limit lets out within
0.8 s, or the table is not known yet, the sampler *merges*: the newest value of each signal waits, and each
tick's budget goes to the messages that were shown longest ago. It stops merging when nothing waits and the
last second brought no more than the limit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from can_stream.frames.batches import SignalBatch
from can_stream.signals.table import SignalTable
from stream_server.signals.newest_values import NewestValues
from stream_server.streams.rates import Budget, RateWindow

_QUEUE_SECONDS: Final = 0.8
_SILENCE_SECONDS: Final = 0.75
_NEVER: Final = float("-inf")


class ShownMessage(NamedTuple):
    """One message to show: `values` are of this message of `table`, the newest of their times is its."""

    table: SignalTable
    message: int
    values: SignalBatch

    @property
    def timestamp_ns(self) -> int:
        """When the message was on the bus."""
        return int(self.values.timestamp_ns.max())


class SignalSampler:
    """Takes live values of one dongle in, gives the messages to show at each tick out.

    Not more than `limit` messages (None: all) in any second, except that all that waits goes out 0.75 s after
    the dongle fell silent.
    """

    def __init__(self) -> None:
        self.merging = False
        self.messages_in = RateWindow()
        self.table_hash: str | None = None
        self._budget = Budget()
        self._queue: deque[ShownMessage] = deque()
        self._merged = NewestValues()
        self._message_of: NDArray[np.int32] | None = None
        self._shown_at: NDArray[np.float64] = np.zeros(0)
        self._heard_at = _NEVER

    @property
    def messages_out(self) -> RateWindow:
        """The messages shown."""
        return self._budget.spent

    @property
    def merged(self) -> bool:
        """Whether `tick` needs the table."""
        return self._merged.count > 0

    @property
    def waiting(self) -> bool:
        """Whether there is something to show at the next ticks, with the table that is known."""
        return bool(self._queue) or (self.merged and self._message_of is not None) or self.merging

    def offer(
        self, batch: SignalBatch, table: SignalTable | None, limit: int | None, now_seconds: float
    ) -> None:
        """Live values; `table` is what their hash names, None while it is not known."""
        self._heard_at = now_seconds
        if batch.table_hash.hex() != self.table_hash:
            self._begin(batch.table_hash.hex())
        if table is None:
            self._merged.put(batch)
            return
        message_of = self._learn(table)
        batch = batch[batch.signal < len(message_of)]
        starts = _starts(batch, message_of)
        self.messages_in.add_count(len(starts), now_seconds)
        self._merge_when_too_many(len(starts), limit)
        if self.merging or self.merged:
            self._merged.put(batch)
        else:
            self._queue.extend(_each(batch, starts, table))

    def tick(self, table: SignalTable | None, limit: int | None, now_seconds: float) -> list[ShownMessage]:
        """What to show now, in order; `table` is what `table_hash` names, None while it is not known."""
        self._merge_when_too_many(0, limit)
        budget = self._budget.earn(limit, now_seconds)
        if now_seconds - self._heard_at >= _SILENCE_SECONDS:
            budget = len(self._queue) + self._merged.count
        shown = [self._queue.popleft() for _ in range(min(budget, len(self._queue)))]
        if table is not None and self.merged:
            shown += self._take_merged(table, budget - len(shown), now_seconds)
        self._budget.spend(len(shown), now_seconds)
        within_limit = limit is None or self.messages_in.count(now_seconds) <= limit
        self.merging = self.merging and (self.merged or not within_limit)
        return shown

    def _begin(self, table_hash: str) -> None:
        """Merged values of another table go: the gateway sends every signal anew with a new one."""
        self.table_hash = table_hash
        self._merged = NewestValues()
        self._message_of = None

    def _learn(self, table: SignalTable) -> NDArray[np.int32]:
        if self._message_of is None:
            self._message_of = np.array(table.message_of, np.int32)
            self._shown_at = np.full(len(table.messages), _NEVER)
        return self._message_of

    def _merge_when_too_many(self, arriving: int, limit: int | None) -> None:
        if limit is None or len(self._queue) + arriving <= max(1, int(limit * _QUEUE_SECONDS)):
            return
        self.merging = True
        of_other_tables = deque[ShownMessage]()
        for queued in self._queue:
            if queued.values.table_hash.hex() == self.table_hash:
                self._merged.put(queued.values)
            else:
                of_other_tables.append(queued)
        self._queue = of_other_tables

    def _take_merged(self, table: SignalTable, budget: int, now_seconds: float) -> list[ShownMessage]:
        message_of = self._learn(table)
        signals = self._merged.signals()
        self._merged.remove(signals[signals >= len(message_of)])
        signals = signals[signals < len(message_of)]
        of_message = message_of[signals]
        waiting, first, count = np.unique(of_message, return_index=True, return_counts=True)
        due = np.argsort(self._shown_at[waiting], kind="stable")[:budget]
        self._shown_at[waiting[due]] = now_seconds
        taken = []
        for message, start, size in zip(waiting[due], first[due], count[due], strict=True):
            mine = signals[start : start + size]
            values = self._merged.batch(bytes.fromhex(self.table_hash or ""), mine)
            taken.append(ShownMessage(table, int(message), values))
            self._merged.remove(mine)
        return sorted(taken, key=lambda one: one.timestamp_ns)


def _starts(batch: SignalBatch, message_of: NDArray[np.int32]) -> NDArray[np.intp]:
    """Where the messages in `batch` begin: neighbouring rows of one time and message are one."""
    of_message = message_of[batch.signal]
    begins = np.ones(len(batch), np.bool_)
    begins[1:] = (of_message[1:] != of_message[:-1]) | (batch.timestamp_ns[1:] != batch.timestamp_ns[:-1])
    return np.flatnonzero(begins)


def _each(batch: SignalBatch, starts: NDArray[np.intp], table: SignalTable) -> Iterator[ShownMessage]:
    places = starts.tolist()
    for start, end in pairwise([*places, len(batch)]):
        yield ShownMessage(table, table.message_of[batch.signal[start]], batch[start:end])
