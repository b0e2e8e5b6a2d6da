"""One console stream: its events, current state and the books that let a client check them.

A subscriber is a `Cursor`; `ConsoleStream.read` gives it what follows. The rules are those of docs/sse.md.
What comes while nobody watches waits in an `UnseenFeed`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from can_stream.frames.batches import FrameBatch, SignalBatch
from stream_server.moment import Moment
from stream_server.streams.console_signals import FindTable, no_tables
from stream_server.streams.event_ids import IdSource
from stream_server.streams.live_traffic import LiveTraffic
from stream_server.streams.ring import ResetReason, Ring, RingLimits, SharedText
from stream_server.streams.sse_format import encode_event, encode_head, encode_payload, parse_event_id
from stream_server.streams.unseen import UnseenFeed

DEFAULT_MAX_FRAMES_PER_SECOND: Final = 200
STATE_SECONDS: Final = 30.0
_PASSING_FIELDS: Final = frozenset({"seen_at"})


@dataclass(slots=True)
class Cursor:
    """A subscriber's place in a stream: it has been given everything up to the event `position`.

    `reset` is the reason and the requested id of a stream_reset it is owed, `state_due` whether it is
    owed the current state as soon as it has caught up. `asked`: the arguments of `ConsoleStream.open` while
    the stream is behind, so that its place is not known yet.
    """

    position: int
    state_due: bool = False
    reset: tuple[ResetReason, int | None] | None = None
    asked: tuple[str | None, float, Moment] | None = None

    @property
    def only_follows(self) -> bool:
        """Whether it is owed nothing but the events behind `position`."""
        return not (self.state_due or self.reset or self.asked)


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """What every new stream begins with."""

    ring: RingLimits = field(default_factory=RingLimits)
    max_frames_per_second: int | None = DEFAULT_MAX_FRAMES_PER_SECOND


class ConsoleStream:
    """The events of one dongle, once for all its subscribers.

    `on_activity` is called with the stream whenever there is something for the next tick. `find_table` gives
    signal tables; `table_hash` is that of the dongle's own, which its frames are decoded with. `watched`
    is set while there is a subscriber.
    """

    def __init__(
        self,
        dongle_id: str,
        ids: IdSource,
        limits: StreamLimits,
        on_activity: Callable[[ConsoleStream], None],
        find_table: FindTable = no_tables,
    ) -> None:
        self.dongle_id: Final = dongle_id
        self.table_hash: str | None = None
        self.watched = False
        self._ids = ids
        self._limits = limits
        self._on_activity = on_activity
        self._ring = Ring(ids.start, limits.ring)
        self._traffic = LiveTraffic(dongle_id, limits.max_frames_per_second, self._append, find_table)
        self._unseen = UnseenFeed(ids, self._ring, limits.ring, self._traffic, self._show)
        self._state_at: float | None = None
        self._presence: dict[str, Any] = {
            "dongle_id": dongle_id,
            "online": False,
            "agent_id": None,
            "seen_at": None,
            "reason": "not seen since the server started",
            "clock_synchronised": False,
        }

    @property
    def last_id(self) -> int:
        """The id issued last; the starting id when there was none."""
        return self._ring.last

    @property
    def max_frames_per_second(self) -> int | None:
        """The sampling limit, of `signals` events too; None shows all. Setting it below 1 is a ValueError."""
        return self._traffic.frames.max_frames_per_second

    @max_frames_per_second.setter
    def max_frames_per_second(self, value: int | None) -> None:
        self._traffic.frames.max_frames_per_second = value
        self._on_activity(self)

    @property
    def is_behind(self) -> bool:
        """Whether something waits for `catch_up`."""
        return self._unseen.behind

    @property
    def needs_ticks(self) -> bool:
        """Whether the next ticks have something to do even if nothing arrives."""
        return not self._unseen.behind and self._traffic.busy

    def offer_packet(self, body: FrameBatch | SignalBatch, packet: bytes, bus: str, now: Moment) -> None:
        """A live packet, decoded and as received; backlog must not come here."""
        if self.watched and not self._unseen.behind:
            self.offer_body(body, bus, now.seconds)
        else:
            self._unseen.keep_packet(body, packet, bus, now)

    def offer_body(self, body: FrameBatch | SignalBatch, bus: str, now_seconds: float) -> None:
        """Live frames or values, in the order of the bus, for the next ticks; backlog must not come here."""
        self._traffic.offer_body(body, bus, now_seconds)
        self._on_activity(self)

    def set_presence(self, payload: Mapping[str, Any], now: Moment) -> None:
        """The dongle's presence as it is now: an event where more than `seen_at` changed."""
        if self._unseen.behind:
            self._unseen.keep_event(partial(self._set_presence, payload, now), now)
        else:
            self._set_presence(payload, now)

    def set_clock(self, now: Moment, *, synchronised: bool) -> None:
        """Whether a time service keeps the clock right that stamps what comes from here on."""
        if self._unseen.behind:
            self._unseen.keep_event(partial(self._traffic.set_clock, synchronised=synchronised), now)
        else:
            self._traffic.set_clock(synchronised=synchronised)

    def _set_presence(self, payload: Mapping[str, Any], now: Moment) -> None:
        before, self._presence = self._presence, dict(payload)
        if _lasting(before) != _lasting(self._presence):
            self._emit_state(now)
            self._on_activity(self)

    def emit(self, event: str, payload: Mapping[str, Any] | SharedText, now: Moment) -> int:
        """Puts one event into the ring behind all that came before it.

        An event of many streams is given as `encode_shared` makes it. Returns the ring's last id: that of
        this event, unless the stream is behind. IdsExhaustedError as `IdSource.next_after`.
        """
        rest = payload if isinstance(payload, SharedText) else None
        text = encode_payload(event, payload) if isinstance(payload, Mapping) else b""
        show = partial(self._append, event, text, now, rest)
        if self._unseen.behind:
            shared_bytes = 0 if rest is None else len(rest.text)
            self._unseen.keep_event(show, now, len(text) + shared_bytes, shared_bytes)
        else:
            show()
            self._on_activity(self)
        return self._ring.last

    @property
    def own_bytes(self) -> int:
        """About what its events and what waits take, without what it shares with other streams."""
        return self._ring.own_bytes + self._unseen.own_bytes + self._traffic.frames.held_bytes

    def shrink(self, size_bytes: int, now: Moment) -> None:
        """Forget the oldest events as if there were room for no more, and what waits likewise."""
        self._unseen.shrink(size_bytes, now)
        self._ring.shrink(size_bytes)

    def tick(self, now: Moment) -> None:
        """Shows what the sampler lets out, tells about sampling, repeats the state, forgets what is old."""
        if self._unseen.behind:
            self._unseen.forget_old(now)
        else:
            self._show(now)
            if self.watched and self._traffic.frames.overfull:
                self._unseen.fall_behind(now)
        self._ring.expire(now.seconds)

    def catch_up(self, now: Moment) -> None:
        """Shows a part of what nobody has seen yet; call it until the stream `is_behind` no more."""
        self._unseen.catch_up(now)

    def _show(self, now: Moment) -> None:
        self._traffic.show(now, self.table_hash)
        if self._state_at is None:
            self._state_at = now.seconds
        elif now.seconds - self._state_at >= STATE_SECONDS:
            self._emit_state(now)

    def open(self, last_event_id: str | None, history_seconds: float, now: Moment) -> Cursor:
        """The cursor of a new subscriber: resumed, reset, or with `history_seconds` and the current state."""
        cursor = Cursor(self._ring.last, asked=(last_event_id, history_seconds, now))
        if not self._unseen.behind:
            self._place(cursor)
        return cursor

    def _place(self, cursor: Cursor) -> None:
        if cursor.asked is None:
            return
        ring, (last_event_id, history_seconds, now) = self._ring, cursor.asked
        ring.expire(now.seconds)
        cursor.asked, cursor.position = None, ring.last
        if last_event_id is None:
            seconds = min(history_seconds, self._limits.ring.seconds)
            cursor.position = ring.position_at(seconds, now.seconds) if seconds > 0 else ring.last
            cursor.state_due = True
            return
        requested = parse_event_id(last_event_id)
        reason = "unknown" if requested is None else ring.why_not_resumable(requested)
        if requested is None or reason is not None:
            cursor.reset = (reason or "unknown", requested)
        else:
            cursor.position = requested

    def has_more(self, cursor: Cursor) -> bool:
        """Whether `read` would give it something."""
        return (cursor.position < self._ring.last or not cursor.only_follows) and not self._unseen.behind

    def read(self, cursor: Cursor, maximum_bytes: int) -> bytes:
        """What `cursor` gets next, about `maximum_bytes` of it, and moves it there; nothing while behind."""
        if self._unseen.behind:
            return b""
        self._place(cursor)
        if cursor.reset is None and cursor.position < self._ring.evicted:
            cursor.reset = ("too_old", cursor.position)
        opening = b""
        if cursor.reset is not None:
            opening = self._reset_event(*cursor.reset)
            cursor.position, cursor.reset, cursor.state_due = self._ring.last, None, True
        events, cursor.position = self._ring.read(cursor.position, maximum_bytes)
        if cursor.state_due and cursor.position == self._ring.last:
            cursor.state_due = False
            return opening + events + encode_event("presence", self._state_json())
        return opening + events

    def _append(self, event: str, payload_json: bytes, now: Moment, rest: SharedText | None = None) -> None:
        event_id = self._ids.next_after(self._ring.last, now.wall_us)
        if rest is None:
            self._ring.append(event_id, encode_event(event, payload_json, event_id), now.seconds)
        else:
            self._ring.append(event_id, encode_head(event, event_id), now.seconds, rest)

    def _emit_state(self, now: Moment) -> None:
        self._state_at = now.seconds
        self._append("presence", self._state_json(), now)

    def _books(self) -> dict[str, int]:
        frames = self._traffic.frames
        return {"frames_received": frames.received, "frames_pending": frames.pending}

    def _state_json(self) -> bytes:
        return encode_payload("presence", self._presence | self._books())

    def _reset_event(self, reason: ResetReason, requested_id: int | None) -> bytes:
        payload = {
            "reason": reason,
            "requested_id": requested_id,
            "oldest_id": self._ring.oldest,
            "newest_id": self._ring.last,
            **self._books(),
        }
        return encode_event("stream_reset", encode_payload("stream_reset", payload), self._ring.last)


def _lasting(presence: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in presence.items() if name not in _PASSING_FIELDS}
