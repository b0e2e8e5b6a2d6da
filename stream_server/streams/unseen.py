"""What a stream was given while nobody watched, and how it comes to be seen.

While nobody watches, packets are only kept, and a stream that has kept some is *behind*: whatever comes then
waits in the same order. When somebody comes, `catch_up` shows all of it as if at its time, ticks included. So
a console costs next to nothing until it is opened, and nobody can tell afterwards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

from can_stream.frames.batches import FrameBatch, SignalBatch
from can_stream.text.frame_json import FrameOrigin
from stream_server.moment import Moment
from stream_server.streams.event_ids import IdSource
from stream_server.streams.live_traffic import LiveTraffic
from stream_server.streams.ring import Ring, RingLimits

BEAT_SECONDS: Final = 0.05
IDLE_BEAT_SECONDS: Final = 1.0
# One step of catching up takes some 10 ms, in which nobody else is served.
_STEP_BYTES: Final = 128 * 1024
_STEP_TICKS: Final = 200
_STEP_FRAMES: Final = 1024
_UNSEEN_OVERHEAD_BYTES: Final = 400


class Unseen(NamedTuple):
    """A packet of `frames` frames, or an event (`packet` None), of this time on both clocks.

    `show` does with it what was due then. `event_bytes` is the size of what an event says, `shared_bytes`
    what of it others hold too.
    """

    seconds: float
    wall_us: int
    packet: bytes | None
    frames: int
    show: Callable[[], None]
    event_bytes: int = 0
    shared_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        """About what it takes, with the objects around it."""
        return _UNSEEN_OVERHEAD_BYTES + len(self.packet or b"") + self.event_bytes


class UnseenQueue:
    """What a stream was given while nobody watched, oldest first."""

    def __init__(self) -> None:
        self._queue: deque[Unseen] = deque()
        self._size_bytes = 0
        self._shared_bytes = 0

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def own_bytes(self) -> int:
        """About what it takes, without what it shares with others."""
        return self._size_bytes - self._shared_bytes

    @property
    def oldest(self) -> Unseen:
        """The first to be shown; IndexError when there is none."""
        return self._queue[0]

    def append(self, unseen: Unseen) -> None:
        """One more."""
        self._queue.append(unseen)
        self._size_bytes += unseen.size_bytes
        self._shared_bytes += unseen.shared_bytes

    def pop(self) -> Unseen:
        """Takes the oldest away; IndexError when there is none."""
        unseen = self._queue.popleft()
        self._size_bytes -= unseen.size_bytes
        self._shared_bytes -= unseen.shared_bytes
        return unseen

    def exceeds(self, limits: RingLimits, now_seconds: float) -> bool:
        """Whether the oldest must go: it is too old, or all together are too large."""
        if not self._queue:
            return False
        too_old = self._queue[0].seconds < now_seconds - limits.seconds
        return too_old or self._size_bytes > limits.size_bytes


class UnseenFeed:
    """Keeps what must wait, and feeds it to the traffic, the events and the ticks (`show_tick`) of a stream.

    `behind`: whether something waits, so that whatever comes waits behind it.
    """

    def __init__(
        self,
        ids: IdSource,
        ring: Ring,
        limits: RingLimits,
        traffic: LiveTraffic,
        show_tick: Callable[[Moment], None],
    ) -> None:
        self.behind = False
        self._queue = UnseenQueue()
        # The last tick, and what was shown last: where catching up has got to.
        self._clock = self._heard = Moment(0.0, 0)
        self._ids = ids
        self._ring = ring
        self._limits = limits
        self._traffic = traffic
        self._show_tick = show_tick

    def keep_packet(
        self, body: FrameBatch | SignalBatch, packet: bytes, origin: FrameOrigin, now: Moment
    ) -> None:
        """A live packet, decoded and as received: from here on the stream is behind."""
        if not self.behind:
            self.behind = True
            self._clock = Moment(now.seconds - BEAT_SECONDS, now.wall_us - int(BEAT_SECONDS * 1e6))
        frames = len(body) if isinstance(body, FrameBatch) else 0
        show = partial(self._traffic.offer_packet, packet, origin, now.seconds)
        self._queue.append(Unseen(*now, packet, frames, show))

    def fall_behind(self, now: Moment) -> None:
        """More was due at this tick than one tick shows: what comes waits until the rest is shown."""
        self.behind = True
        self._clock = self._heard = now

    def keep_event(
        self, show: Callable[[], None], now: Moment, event_bytes: int = 0, shared_bytes: int = 0
    ) -> None:
        """Something else that happens while the stream is behind: `show` does what it leads to.

        `event_bytes`, `shared_bytes`: as in `Unseen`.
        """
        self._queue.append(Unseen(*now, None, 0, show, event_bytes, shared_bytes))

    @property
    def own_bytes(self) -> int:
        """About what waits takes, without what it shares with others."""
        return self._queue.own_bytes

    def forget_old(self, now: Moment) -> None:
        """Of what the ring would hold no longer, frames count as shown and events are evicted."""
        self._forget(self._limits, now)

    def shrink(self, size_bytes: int, now: Moment) -> None:
        """Forget the oldest as if the ring held no more than that."""
        self._forget(replace(self._limits, size_bytes=size_bytes), now)

    def _forget(self, limits: RingLimits, now: Moment) -> None:
        while self._queue.exceeds(limits, now.seconds):
            self._skip(self._queue.oldest)
            self._queue.pop()
        if not self._queue and self._clock.seconds < now.seconds - self._limits.seconds:
            self.behind = False

    def catch_up(self, now: Moment) -> None:
        """Shows a part of what waits; call it until `behind` is false."""
        self.forget_old(now)
        enough_bytes = self._ring.written_bytes + _STEP_BYTES
        for _ in range(_STEP_TICKS):
            if not self.behind or self._ring.written_bytes >= enough_bytes:
                return
            tick = self._next_tick()
            if self._traffic.frames.overfull:
                self._show_tick(self._clock)
            elif self._queue and self._queue.oldest.seconds <= tick.seconds:
                unseen = self._queue.pop()
                self._heard = Moment(unseen.seconds, unseen.wall_us)
                unseen.show()
                if unseen.frames > _STEP_FRAMES:
                    return
            elif self._queue or (self._traffic.busy and tick <= now):
                self._clock = tick
                self._show_tick(tick)
            else:
                self.behind = False

    def _next_tick(self) -> Moment:
        """When the fan-out would have ticked: on its beat, or at once for what came after silence."""
        seconds, wall_us = self._clock
        beat = BEAT_SECONDS if self._traffic.busy else IDLE_BEAT_SECONDS
        return max(Moment(seconds + beat, wall_us + int(beat * 1e6)), self._heard)

    def _skip(self, unseen: Unseen) -> None:
        if unseen.packet is None:
            unseen.show()
        else:
            self._ring.skip(self._ids.next_after(self._ring.last, unseen.wall_us))
            self._traffic.skip(unseen.frames)
        self._clock = Moment(unseen.seconds, unseen.wall_us)
