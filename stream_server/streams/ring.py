"""The ring of a stream's last events, which every subscriber reads at its own cursor."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Final, Literal

_COMPACT_AT: Final = 1_024
# What an event takes beside its bytes: their object, and its entries in the columns with their numbers.
_PLACE_BYTES: Final = 160

ResetReason = Literal["too_old", "unknown"]


@dataclass(frozen=True, slots=True)
class RingLimits:
    """What a ring holds at most: events, seconds and bytes, whichever is less."""

    events: int = 10_000
    seconds: float = 60.0
    size_bytes: int = 32 * 1024 * 1024


class SharedText:
    """The end of an event that several rings hold: it is kept once, and lives as long as any holds it."""

    __slots__ = ("__weakref__", "text")

    def __init__(self, text: bytes) -> None:
        self.text: Final = text


class Ring:
    """A stream's last events as encoded bytes, in the order of their ids.

    `last` is the id issued last, `evicted` the id that left the ring last; both are `start` in the
    beginning. An id is resumable when `evicted <= id <= last`, be the ring empty or not.
    """

    def __init__(self, start: int, limits: RingLimits) -> None:
        self.last = start
        self.evicted = start
        self._limits = limits
        self._head = 0
        self._ids: list[int] = []
        self._seconds: list[float] = []
        self._ends: list[int] = []
        self._events: list[bytes] = []
        self._shared: dict[int, SharedText] = {}
        self._shared_bytes = 0
        self._total_bytes = 0
        self._evicted_bytes = 0

    def __len__(self) -> int:
        return len(self._ids) - self._head

    @property
    def written_bytes(self) -> int:
        """The size of all events it was ever given."""
        return self._total_bytes

    @property
    def own_bytes(self) -> int:
        """About what it takes: its events and their places, without what it shares with others."""
        return self.size_bytes - self._shared_bytes + len(self) * _PLACE_BYTES

    @property
    def size_bytes(self) -> int:
        """The size of the events it holds."""
        return self._total_bytes - self._evicted_bytes

    @property
    def oldest(self) -> int:
        """The id of the oldest event it holds; `last` when it is empty."""
        return self._ids[self._head] if len(self) else self.last

    def append(
        self, event_id: int, encoded: bytes, now_seconds: float, shared: SharedText | None = None
    ) -> None:
        """Adds an event whose id is above `last`; the oldest go when a limit is passed.

        `shared` is the rest of an event that other rings hold too.
        """
        self.last = event_id
        self._total_bytes += len(encoded)
        if shared is not None:
            self._shared[event_id] = shared
            self._shared_bytes += len(shared.text)
            self._total_bytes += len(shared.text)
        self._ids.append(event_id)
        self._seconds.append(now_seconds)
        self._ends.append(self._total_bytes)
        self._events.append(encoded)
        while len(self) > self._limits.events or (
            self.size_bytes > self._limits.size_bytes and len(self) > 1
        ):
            self._evict(self._head + 1)

    def shrink(self, size_bytes: int) -> None:
        """The oldest go until those that are left have at most `size_bytes`; the newest stays."""
        if self.size_bytes > size_bytes and len(self) > 1:
            first = bisect_left(self._ends, self._total_bytes - size_bytes, self._head)
            self._evict(min(first + 1, len(self._ids) - 1))

    def skip(self, event_id: int) -> None:
        """An event whose id is above `last` has come and gone, and all before it."""
        if len(self):
            self._evict(len(self._ids))
        self.last = self.evicted = event_id

    def expire(self, now_seconds: float) -> None:
        """Evicts what is older than the limit."""
        oldest = now_seconds - self._limits.seconds
        if len(self) and self._seconds[self._head] < oldest:
            self._evict(bisect_left(self._seconds, oldest, self._head))

    def why_not_resumable(self, event_id: int) -> ResetReason | None:
        """None when everything after `event_id` is still here."""
        if event_id > self.last:
            return "unknown"
        return "too_old" if event_id < self.evicted else None

    def position_at(self, seconds_ago: float, now_seconds: float) -> int:
        """The position from which reading begins with the first event of the last `seconds_ago`."""
        first = bisect_left(self._seconds, now_seconds - seconds_ago, self._head)
        return self._ids[first - 1] if first > self._head else self.evicted

    def read(self, position: int, maximum_bytes: int) -> tuple[bytes, int]:
        """The events after `position`, at least one and at most `maximum_bytes` of them; the new position.

        `position` must be resumable. No bytes when nothing follows.
        """
        if position >= self.last:
            return b"", position
        first = bisect_right(self._ids, position, self._head)
        before = self._ends[first - 1] if first > self._head else self._evicted_bytes
        end = max(first + 1, bisect_right(self._ends, before + maximum_bytes, first))
        events = self._events[first:end]
        if self._shared:
            for place, event_id in enumerate(self._ids[first:end]):
                if event_id in self._shared:
                    events[place] += self._shared[event_id].text
        return b"".join(events), self._ids[end - 1]

    def _evict(self, head: int) -> None:
        self.evicted = self._ids[head - 1]
        self._evicted_bytes = self._ends[head - 1]
        self._events[self._head : head] = [b""] * (head - self._head)
        self._head = head
        while self._shared and (oldest := next(iter(self._shared))) <= self.evicted:
            self._shared_bytes -= len(self._shared.pop(oldest).text)
        if head > _COMPACT_AT and head * 2 > len(self._ids):
            for column in (self._ids, self._seconds, self._ends, self._events):
                del column[:head]
            self._head = 0
