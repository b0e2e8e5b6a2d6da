"""One console stream: ids, ring, sampler, current state and the books that let a client check them (pure).

A subscriber is a `Cursor`; `ConsoleStream.read` gives it what follows. The rules are those of docs/sse.md.

While nobody watches, packets are only kept, and a stream that has kept some is *behind*: whatever comes then
waits in the same order. When somebody comes, `catch_up` shows all of it as if at its time, ticks included. So
a console costs next to nothing until it is opened, and nobody can tell afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from can_stream.frames.batches import FrameBatch, SignalBatch
from can_stream.protocol.packets import decode_packet
from can_stream.text.normalized import UNSYNCHRONISED_MEMBER, FrameOrigin, can_frame_json
from can_stream.text.timestamps import format_timestamp
from stream_server.moment import Moment
from stream_server.streams.console_signals import FindTable, members_of, no_tables, signals_json
from stream_server.streams.event_ids import IdSource
from stream_server.streams.ring import ResetReason, Ring, RingLimits
from stream_server.streams.sampler import Sampler
from stream_server.streams.sampling_log import SamplingLog
from stream_server.streams.signal_sampler import SignalSampler
from stream_server.streams.sse_format import encode_event, encode_payload, parse_event_id
from stream_server.streams.unseen import Unseen, UnseenQueue

DEFAULT_MAX_FRAMES_PER_SECOND: Final = 200
STATE_SECONDS: Final = 30.0
BEAT_SECONDS: Final = 0.05
IDLE_BEAT_SECONDS: Final = 1.0
# One step of catching up takes some 10 ms, in which nobody else is served.
_STEP_BYTES: Final = 128 * 1024
_STEP_TICKS: Final = 200
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
        self._unseen = UnseenQueue()
        self._behind = False
        # The last tick, and what was shown last: where catching up has got to.
        self._clock = self._heard = Moment(0.0, 0)
        self._ids = ids
        self._limits = limits
        self._on_activity = on_activity
        self._ring = Ring(ids.start, limits.ring)
        self._sampler = Sampler(limits.max_frames_per_second)
        self._signal_sampler = SignalSampler()
        self._find_table = find_table
        self._sampling_log = SamplingLog()
        self._clock_synchronised = True
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
        return self._sampler.max_frames_per_second

    @max_frames_per_second.setter
    def max_frames_per_second(self, value: int | None) -> None:
        self._sampler.max_frames_per_second = value
        self._on_activity(self)

    @property
    def is_behind(self) -> bool:
        """Whether something waits for `catch_up`."""
        return self._behind

    @property
    def needs_ticks(self) -> bool:
        """Whether the next ticks have something to do even if nothing arrives."""
        return not self._behind and self._is_busy

    @property
    def _is_busy(self) -> bool:
        samplers_wait = self._sampler.pending > 0 or self._sampler.merging or self._signal_sampler.waiting
        return samplers_wait or self._sampling_log.watching

    def offer_packet(self, body: FrameBatch | SignalBatch, packet: bytes, bus: str, now: Moment) -> None:
        """A live packet, decoded and as received; backlog must not come here."""
        if self.watched and not self._behind:
            self._offer(body, bus, now)
            return
        if not self._behind:
            self._behind = True
            self._clock = Moment(now.seconds - BEAT_SECONDS, now.wall_us - int(BEAT_SECONDS * 1e6))
        frames = len(body) if isinstance(body, FrameBatch) else 0
        self._unseen.append(Unseen(*now, packet, frames, partial(self._offer_again, packet, bus, now)))

    def offer_frames(self, batch: FrameBatch, bus: str, now_seconds: float) -> None:
        """Live frames, in the order of the bus; backlog must not come here."""
        if len(batch):
            self._sampler.offer(batch, FrameOrigin(self.dongle_id, bus), now_seconds)
            self._on_activity(self)

    def offer_signals(self, batch: SignalBatch, now_seconds: float) -> None:
        """Live values of a dongle that sends no frames; backlog must not come here."""
        table = self._find_table(batch.table_hash.hex())
        self._signal_sampler.offer(batch, table, self.max_frames_per_second, now_seconds)
        self._on_activity(self)

    def set_presence(self, payload: Mapping[str, Any], now: Moment) -> None:
        """The dongle's presence as it is now: an event where more than `seen_at` changed."""
        if self._behind:
            self._unseen.append(Unseen(*now, None, 0, partial(self._set_presence, payload, now)))
        else:
            self._set_presence(payload, now)

    def set_clock(self, now: Moment, *, synchronised: bool) -> None:
        """Whether a time service keeps the clock right that stamps what comes from here on."""
        if self._behind:
            show = partial(self._set_clock, synchronised=synchronised)
            self._unseen.append(Unseen(*now, None, 0, show))
        else:
            self._set_clock(synchronised=synchronised)

    def _set_clock(self, *, synchronised: bool) -> None:
        self._clock_synchronised = synchronised

    def _set_presence(self, payload: Mapping[str, Any], now: Moment) -> None:
        before, self._presence = self._presence, dict(payload)
        if _lasting(before) != _lasting(self._presence):
            self._emit_state(now)
            self._on_activity(self)

    def emit(self, event: str, payload: Mapping[str, Any], now: Moment) -> int:
        """Puts one event into the ring behind all that came before it.

        Returns the ring's last id: that of this event, unless the stream is behind. IdsExhaustedError as
        `IdSource.next_after`.
        """
        show = partial(self._append, event, encode_payload(event, payload), now)
        if self._behind:
            self._unseen.append(Unseen(*now, None, 0, show))
        else:
            show()
            self._on_activity(self)
        return self._ring.last

    def tick(self, now: Moment) -> None:
        """Shows what the sampler lets out, tells about sampling, repeats the state, forgets what is old."""
        if self._behind:
            self._forget_unseen(now)
        else:
            self._show(now)
        self._ring.expire(now.seconds)

    def catch_up(self, now: Moment) -> None:
        """Shows a part of what nobody has seen yet; call it until the stream `is_behind` no more."""
        self._forget_unseen(now)
        enough_bytes = self._ring.written_bytes + _STEP_BYTES
        for _ in range(_STEP_TICKS):
            if self._ring.written_bytes >= enough_bytes:
                return
            tick = self._next_tick()
            if self._unseen and self._unseen.oldest.seconds <= tick.seconds:
                unseen = self._unseen.pop()
                self._heard = Moment(unseen.seconds, unseen.wall_us)
                unseen.show()
            elif self._unseen or (self._is_busy and tick <= now):
                self._show(tick)
            else:
                self._behind = False
                return

    def _show(self, now: Moment) -> None:
        self._clock = now
        self._show_frames(now)
        self._show_signals(now)
        details = self._note_sampling(now.seconds)
        if details is not None:
            payload = _sampling_payload(details, now, counted=not self._signal_sampler.merging)
            self._append("log", encode_payload("log", payload), now)
        if self._state_at is None:
            self._state_at = now.seconds
        elif now.seconds - self._state_at >= STATE_SECONDS:
            self._emit_state(now)

    def open(self, last_event_id: str | None, history_seconds: float, now: Moment) -> Cursor:
        """The cursor of a new subscriber: resumed, reset, or with `history_seconds` and the current state."""
        cursor = Cursor(self._ring.last, asked=(last_event_id, history_seconds, now))
        if not self._behind:
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
        return not self._behind and (cursor.position < self._ring.last or not cursor.only_follows)

    def read(self, cursor: Cursor, maximum_bytes: int) -> bytes:
        """What `cursor` gets next, about `maximum_bytes` of it, and moves it there; nothing while behind."""
        if self._behind:
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

    def _append(self, event: str, payload_json: bytes, now: Moment) -> None:
        event_id = self._ids.next_after(self._ring.last, now.wall_us)
        self._ring.append(event_id, encode_event(event, payload_json, event_id), now.seconds)

    def _offer(self, body: FrameBatch | SignalBatch, bus: str, now: Moment) -> None:
        if isinstance(body, FrameBatch):
            self.offer_frames(body, bus, now.seconds)
        else:
            self.offer_signals(body, now.seconds)

    def _offer_again(self, packet: bytes, bus: str, now: Moment) -> None:
        body = decode_packet(packet).body
        assert isinstance(body, FrameBatch | SignalBatch)
        self._offer(body, bus, now)

    def _next_tick(self) -> Moment:
        """When the fan-out would have ticked: on its beat, or at once for what came after silence."""
        seconds, wall_us = self._clock
        beat = BEAT_SECONDS if self._is_busy else IDLE_BEAT_SECONDS
        return max(Moment(seconds + beat, wall_us + int(beat * 1e6)), self._heard)

    def _forget_unseen(self, now: Moment) -> None:
        """Of what the ring would hold no longer, frames count as shown and events are evicted."""
        while self._unseen.exceeds(self._limits.ring, now.seconds):
            self._skip(self._unseen.oldest)
            self._unseen.pop()
        if not self._unseen and self._clock.seconds < now.seconds - self._limits.ring.seconds:
            self._behind = False

    def _skip(self, unseen: Unseen) -> None:
        if unseen.packet is None:
            unseen.show()
        else:
            self._ring.skip(self._ids.next_after(self._ring.last, unseen.wall_us))
            self._sampler.skip(unseen.frames)
            if self._signal_sampler.waiting:
                self._signal_sampler = SignalSampler()
        self._clock = Moment(unseen.seconds, unseen.wall_us)

    def _show_frames(self, now: Moment) -> None:
        shown = self._sampler.tick(now.seconds)
        if not shown:
            return
        added = members_of([frame.row for frame in shown], self._find_table(self.table_hash))
        clock = b"" if self._clock_synchronised else UNSYNCHRONISED_MEMBER
        for frame, members in zip(shown, added, strict=True):
            event = can_frame_json(frame.row, frame.origin, frame.frames, members + clock)
            self._append("can_frame", event, now)

    def _show_signals(self, now: Moment) -> None:
        sampler = self._signal_sampler
        table = self._find_table(sampler.table_hash) if sampler.merged else None
        for shown in sampler.tick(table, self.max_frames_per_second, now.seconds):
            clock = {} if self._clock_synchronised else {"clock_synchronised": False}
            self._append("signals", signals_json(shown, self.dongle_id, clock), now)

    def _note_sampling(self, now_seconds: float) -> dict[str, object] | None:
        """Rates of both kinds together: a message is what one frame said."""
        frames, messages = self._sampler, self._signal_sampler
        rates = (
            frames.frames_in.count(now_seconds) + messages.messages_in.count(now_seconds),
            frames.frames_out.count(now_seconds) + messages.messages_out.count(now_seconds),
        )
        return self._sampling_log.note(frames.merging or messages.merging, *rates, now_seconds)

    def _emit_state(self, now: Moment) -> None:
        self._state_at = now.seconds
        self._append("presence", self._state_json(), now)

    def _books(self) -> dict[str, int]:
        return {"frames_received": self._sampler.received, "frames_pending": self._sampler.pending}

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


def _sampling_payload(details: dict[str, object], now: Moment, *, counted: bool) -> dict[str, object]:
    shown, received = details["frames_out_per_second"], details["frames_in_per_second"]
    rule = "`count` says how many each stands for" if counted else "of each signal the newest value stays"
    return {
        "ts": format_timestamp(now.wall_us),
        "level": "warning",
        "source": "sampler",
        "message": f"the console shows {shown} of {received} frames/s; {rule}"
        if details["active"]
        else "the console shows every frame again",
        "details": details,
    }
