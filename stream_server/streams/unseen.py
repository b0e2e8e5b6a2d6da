"""What a stream was given while nobody watched (pure)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from stream_server.streams.ring import RingLimits

_UNSEEN_OVERHEAD_BYTES: Final = 400


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
