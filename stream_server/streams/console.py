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
from can_stream.text.frame_json import FrameOrigin
from stream_server.moment import Moment
from stream_server.streams.console_signals import FindTable, no_tables
from stream_server.streams.current_state import CurrentState, State
from stream_server.streams.event_ids import IdSource
from stream_server.streams.live_traffic import LiveTraffic
from stream_server.streams.ring import ResetReason, Ring, RingLimits, SharedText
from stream_server.streams.sse_format import encode_event, encode_head, encode_payload, parse_event_id
from stream_server.streams.subject import Subject
from stream_server.streams.unseen import UnseenFeed

DEFAULT_MAX_FRAMES_PER_SECOND: Final = 200


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
    """The events of one subject, once for all its subscribers.

    `on_activity` is called with the stream whenever there is something for the next tick. `find_table` gives
    signal tables. `watched` is set while there is a subscriber, `ended` when nothing more is to be shown.
    """

    def __init__(
        self,
        subject: Subject,
        ids: IdSource,
        limits: StreamLimits,
        on_activity: Callable[[ConsoleStream], None],
        find_table: FindTable = no_tables,
    ) -> None:
        self.subject: Final = subject
        self.watched = False
        self.ended = False
        self._ids = ids
        self._limits = limits
        self._on_activity = on_activity
        # Not the clock's start: a client may hold an id of a stream of this name that has ended since.
        self._ring = Ring(ids.newest, limits.ring)
        self._traffic = LiveTraffic(
            subject.dongle_ids, limits.max_frames_per_second, self._append, find_table
        )
        self._unseen = UnseenFeed(ids, self._ring, limits.ring, self._traffic, self._show)
        self._state = CurrentState(subject)

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

    def offer_packet(
        self, body: FrameBatch | SignalBatch, packet: bytes, origin: FrameOrigin, now: Moment
    ) -> None:
        """A live packet of one of its dongles, decoded and as received; backlog must not come here."""
        if self.watched and not self._unseen.behind:
            self.offer_body(body, origin, now.seconds)
        else:
            self._unseen.keep_packet(body, packet, origin, now)

    def offer_body(self, body: FrameBatch | SignalBatch, origin: FrameOrigin, now_seconds: float) -> None:
        """Live frames or values, in the order of the bus, for the next ticks; backlog must not come here."""
        self._traffic.offer_body(body, origin, now_seconds)
        self._on_activity(self)

    def set_presence(self, payload: Mapping[str, Any], now: Moment) -> None:
        """A dongle's presence as it is now: an event where more than `seen_at` changed."""
        self._state_changed(partial(self._state.set_presence, payload), now)

    def summary_changed(self, now: Moment) -> None:
        """What holds of a group as a whole may be different now: an event where it is."""
        self._state_changed(self._state.summarise, now)

    def set_clock(self, dongle_id: str, now: Moment, *, synchronised: bool) -> None:
        """Whether a time service keeps the clock right that stamps what comes of the dongle from here on."""
        set_clock = partial(self._traffic.set_clock, dongle_id, synchronised=synchronised)
        if self._unseen.behind:
            self._unseen.keep_event(set_clock, now)
        else:
            set_clock()

    def set_table(self, dongle_id: str, table_hash: str | None) -> None:
        """The signal table that the dongle's frames are decoded with."""
        self._traffic.set_table(dongle_id, table_hash)

    def _state_changed(self, find: Callable[[], list[State]], now: Moment) -> None:
        if self._unseen.behind:
            self._unseen.keep_event(partial(self._tell_changes, find, now), now)
        else:
            self._tell_changes(find, now)

    def _tell_changes(self, find: Callable[[], list[State]], now: Moment) -> None:
        changed = find()
        for state in changed:
            self._tell(state, now)
        if changed:
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
        self._traffic.show(now)
        for state in self._state.due(now.seconds):
            self._tell(state, now)

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
            opening = _reset_event(*cursor.reset, self._ring, self._traffic.books)
            cursor.position, cursor.reset, cursor.state_due = self._ring.last, None, True
        events, cursor.position = self._ring.read(cursor.position, maximum_bytes)
        if cursor.state_due and cursor.position == self._ring.last:
            cursor.state_due = False
            books = self._traffic.books
            states = [encode_event(one.event, _state_json(one, books)) for one in self._state]
            return opening + events + b"".join(states)
        return opening + events

    def _append(self, event: str, payload_json: bytes, now: Moment, rest: SharedText | None = None) -> None:
        event_id = self._ids.next_after(self._ring.last, now.wall_us)
        if rest is None:
            self._ring.append(event_id, encode_event(event, payload_json, event_id), now.seconds)
        else:
            self._ring.append(event_id, encode_head(event, event_id), now.seconds, rest)

    def _tell(self, state: State, now: Moment) -> None:
        state.told_at = now.seconds
        self._append(state.event, _state_json(state, self._traffic.books), now)


def _state_json(state: State, books: Mapping[str, int]) -> bytes:
    return encode_payload(state.event, {**state.payload, **books})


def _reset_event(
    reason: ResetReason, requested_id: int | None, ring: Ring, books: Mapping[str, int]
) -> bytes:
    payload = {
        "reason": reason,
        "requested_id": requested_id,
        "oldest_id": ring.oldest,
        "newest_id": ring.last,
        **books,
    }
    return encode_event("stream_reset", encode_payload("stream_reset", payload), ring.last)
