"""Event ids, the ring of a stream's last events that every subscriber reads at its own cursor, and what waits
to be put there (pure)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

RESERVE_AHEAD_US: Final = 600_000_000
_RENEW_BELOW_US: Final = 450_000_000
_HEADROOM_US: Final = 300_000_000
_COMPACT_AT: Final = 1_024
_UNSEEN_OVERHEAD_BYTES: Final = 400

ResetReason = Literal["too_old", "unknown"]


class IdsExhaustedError(Exception):
    """Every reserved id is used: `reserved` was never raised, so the next one might be issued twice."""

    def __init__(self, reserved: int) -> None:
        self.reserved = reserved
        super().__init__(f"all event ids below the reservation {reserved} are used and no new one was stored")


class IdSource:
    """The ids of all streams of one server: microseconds that never repeat, whatever the clock does.

    `start` is the greater of the clock and the stored reservation, so that it is above every id of an
    earlier run. Every id is below what is reserved in storage. An id follows the clock only as far as
    leaves room for 300 million more; beyond that, and while the clock is behind, it is the last one plus 1:
    so events go on while a new reservation is being stored.
    """

    def __init__(self, wall_us: int, stored_reservation: int = 0) -> None:
        self.start: Final = max(wall_us, stored_reservation)
        self._highest = self.start
        self._reserved = stored_reservation

    def needs_reservation(self, wall_us: int) -> int | None:
        """What to store now as the new reservation, None while the present one suffices."""
        newest = max(wall_us, self._highest)
        return newest + RESERVE_AHEAD_US if newest + _RENEW_BELOW_US > self._reserved else None

    def reserved(self, value: int) -> None:
        """`value` is in storage: ids below it may be issued."""
        self._reserved = max(self._reserved, value)

    def next_after(self, last: int, wall_us: int) -> int:
        """The id that follows `last` in its stream; IdsExhaustedError where none is reserved."""
        issued = max(last + 1, min(wall_us, self._reserved - _HEADROOM_US))
        if issued >= self._reserved:
            raise IdsExhaustedError(self._reserved)
        self._highest = max(self._highest, issued)
        return issued


@dataclass(frozen=True, slots=True)
class RingLimits:
    """What a ring holds at most: events, seconds and bytes, whichever is less."""

    events: int = 10_000
    seconds: float = 60.0
    size_bytes: int = 32 * 1024 * 1024


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
        self._total_bytes = 0
        self._evicted_bytes = 0

    def __len__(self) -> int:
        return len(self._ids) - self._head

    @property
    def written_bytes(self) -> int:
        """The size of all events it was ever given."""
        return self._total_bytes

    @property
    def oldest(self) -> int:
        """The id of the oldest event it holds; `last` when it is empty."""
        return self._ids[self._head] if len(self) else self.last

    def append(self, event_id: int, encoded: bytes, now_seconds: float) -> None:
        """Adds an event whose id is above `last`; the oldest go when a limit is passed."""
        self.last = event_id
        self._total_bytes += len(encoded)
        self._ids.append(event_id)
        self._seconds.append(now_seconds)
        self._ends.append(self._total_bytes)
        self._events.append(encoded)
        while len(self) > self._limits.events or (
            self._total_bytes - self._evicted_bytes > self._limits.size_bytes and len(self) > 1
        ):
            self._evict(self._head + 1)

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
        return b"".join(self._events[first:end]), self._ids[end - 1]

    def _evict(self, head: int) -> None:
        self.evicted = self._ids[head - 1]
        self._evicted_bytes = self._ends[head - 1]
        self._events[self._head : head] = [b""] * (head - self._head)
        self._head = head
        if head > _COMPACT_AT and head * 2 > len(self._ids):
            for column in (self._ids, self._seconds, self._ends, self._events):
                del column[:head]
            self._head = 0


class Unseen(NamedTuple):
    """A packet of `frames` frames, or an event (`packet` None), of this time on both clocks.

    `show` does with it what was due then.
    """

    seconds: float
    wall_us: int
    packet: bytes | None
    frames: int
    show: Callable[[], None]

    @property
    def size_bytes(self) -> int:
        """About what it takes, with the objects around the packet."""
        return _UNSEEN_OVERHEAD_BYTES + len(self.packet or b"")


class UnseenQueue:
    """What a stream was given while nobody watched, oldest first."""

    def __init__(self) -> None:
        self._queue: deque[Unseen] = deque()
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def oldest(self) -> Unseen:
        """The first to be shown; IndexError when there is none."""
        return self._queue[0]

    def append(self, unseen: Unseen) -> None:
        """One more."""
        self._queue.append(unseen)
        self._size_bytes += unseen.size_bytes

    def pop(self) -> Unseen:
        """Takes the oldest away; IndexError when there is none."""
        unseen = self._queue.popleft()
        self._size_bytes -= unseen.size_bytes
        return unseen

    def exceeds(self, limits: RingLimits, now_seconds: float) -> bool:
        """Whether the oldest must go: it is too old, or all together are too large."""
        if not self._queue:
            return False
        too_old = self._queue[0].seconds < now_seconds - limits.seconds
        return too_old or self._size_bytes > limits.size_bytes
