"""The agent's half of a lane: numbers packets and sends them over a window until the server has them.

States of a packet: held -> (in a range of the current connection) sent -> acknowledged and released, or
replaced by a gap where the window has no room. Pure: time is an argument, bytes are returned.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct, field

from can_stream.frames.batches import FrameBatch, SignalBatch
from can_stream.lanes.held import Held, SpanNs
from can_stream.lanes.ledger import Ledger
from can_stream.lanes.reconciling import AtHello, Difference, at_hello, difference
from can_stream.lanes.window import MemoryWindow, Window, WindowLimits
from can_stream.protocol.clock_record import ClockRecord
from can_stream.protocol.control import MAX_RANGES, LaneName
from can_stream.protocol.hop import RangeKind
from can_stream.protocol.lanes_control import MAX_STARTS, LaneHello, StartBooks
from can_stream.protocol.marker import Marker
from can_stream.protocol.packet_head import PacketNumber, span_of
from can_stream.protocol.packets import (
    Gap,
    GapReason,
    encode_clock,
    encode_frames,
    encode_gap,
    encode_marker,
    encode_signals,
)

# Of all lanes of an agent together: a server comes to a live packet behind so many frames of backlog. (256
# full packets would be a million.) Where a server is near and fast, catching up takes up to twice as long.
MAX_BACKLOG_FRAMES: Final = 65_536


class _OnItsWay(Struct):
    """What was sent in one range of the connection, each with its frames, and these together."""

    numbers: deque[tuple[PacketNumber, int]] = field(default_factory=deque)
    frames: int = 0


class LaneSender:
    """One lane of one dongle at the agent.

    `max_backlog_frames` is its share of MAX_BACKLOG_FRAMES: so many of its backlog may be on their way.
    `on_unsent` is called when there is something to send on this connection, `on_freed` after acks.
    `difference`: what the server's books said at the last hello that listed everything. `activation`: what
    the frames from here on are carried for, "" for none.
    """

    def __init__(
        self,
        dongle_id: str,
        lane: LaneName,
        start_id: str,
        limits: WindowLimits,
        resolution_ns: int = 1000,
        window: Window | None = None,
    ) -> None:
        self.dongle_id = dongle_id
        self.lane = lane
        self.start_id = start_id
        self.limits = limits
        self.resolution_ns = resolution_ns
        self.window: Final[Window] = window or MemoryWindow(limits)
        self.ledger: Final = Ledger(start_id)
        self.difference = Difference()
        self.next_seq = 1
        self.next_frame = 0
        self.activation = ""
        self.paused = False
        self.on_unsent: Callable[[], None] = _nobody_asks
        self.on_freed: Callable[[], None] = _nobody_asks
        self.max_backlog_frames = MAX_BACKLOG_FRAMES
        self._taken_through = 0
        self._is_connected = False
        self._at_hello: AtHello | None = None
        self._live: deque[PacketNumber] = deque()
        self._sent = {kind: _OnItsWay() for kind in RangeKind}

    # -- what the agent produces

    def take_frames(self, batch: FrameBatch, now_seconds: float, born_ns: int = 0) -> None:
        """Number a batch of 1 to MAX_ROWS frames; `born_ns`: see `Held`."""
        self._hold(self.packed(batch, now_seconds, born_ns))

    def take_signals(self, batch: SignalBatch, now_seconds: float) -> None:
        """Number a batch of 1 to MAX_ROWS values, each of which counts as a frame does in a frames lane."""
        span_ns = span_of(batch.timestamp_ns)
        packet = encode_signals(self._number, batch, self.resolution_ns, self.next_frame, span_ns)
        self._hold(self._held(packet, len(batch), now_seconds, span_ns=span_ns))

    def take_loss(
        self, reason: GapReason, frames: int | None, now_seconds: float, span_ns: SpanNs | None = None
    ) -> None:
        """Number a gap: frames lost before they reached this lane."""
        gap = Gap(reason, self.next_seq, frames, *(span_ns or (None, None)))
        packet = encode_gap(self._number, gap, self.next_frame)
        self._hold(self._held(packet, frames, now_seconds, gap, span_ns))

    def take_clock(self, record: ClockRecord, now_seconds: float) -> None:
        """Number what is said of the clock that stamps the frames behind it. It is never trimmed."""
        self._hold(self._held(encode_clock(self._number, record, self.next_frame), 0, now_seconds))

    def take_marker(self, marker: Marker, now_seconds: float) -> None:
        """Number what says which activation the frames behind it are carried for. It is never trimmed."""
        self.activation = marker.activation
        self._hold(self._held(encode_marker(self._number, marker, self.next_frame), 0, now_seconds))

    def packed(self, batch: FrameBatch, made_at_seconds: float, born_ns: int = 0) -> Held:
        """What a batch of 1 to MAX_ROWS frames would be as the next packet."""
        span_ns = span_of(batch.timestamp_ns)
        packet = encode_frames(self._number, batch, self.resolution_ns, self.next_frame, span_ns)
        return self._held(packet, len(batch), made_at_seconds, span_ns=span_ns, born_ns=born_ns)

    def send_more(self) -> None:
        """There may be something to send that was not there before."""
        if self._is_connected:
            self.on_unsent()

    # -- how it stands

    @property
    def is_full(self) -> bool:
        """Whether a source that can wait should; the next packet of one that cannot pushes out the oldest."""
        return self.window.held_bytes >= self.limits.max_bytes

    @property
    def is_empty(self) -> bool:
        """Whether the server has everything."""
        return not self.window.held_packets

    @property
    def is_next_there(self) -> bool:
        """Whether the server has the next packet already, of an earlier run of the same start."""
        return self.next_seq <= self._taken_through

    @property
    def has_unsent(self) -> bool:
        """Whether packets wait to be sent, be it for room in a range."""
        return bool(self._live) or self.window.has_backlog

    @property
    def acknowledged_frames(self) -> int:
        """How many frames of this start the server has acknowledged."""
        return self.ledger.acknowledged_frames

    @property
    def waiting_frames(self) -> int:
        """How many frames of this start wait for their acknowledgement, wherever they are."""
        return self.window.waiting_frames(self.start_id)

    @property
    def untried_frames(self) -> int:
        """How many of those were never sent, on no connection; 0 where some are on disk."""
        return self.window.untried_frames if isinstance(self.window, MemoryWindow) else 0

    # -- one connection after another

    def connect(
        self, now_seconds: float, max_ranges: int = MAX_RANGES, max_starts: int = MAX_STARTS
    ) -> LaneHello:
        """A new connection: what is held is its backlog, in at most `max_ranges` ranges; the rest is live."""
        self.disconnect()
        self._is_connected = True
        ranges, is_complete = self.window.open(max_ranges)
        starts = self.ledger.entries(self.next_seq - 1, self.next_frame)[-max_starts:]
        self._at_hello = at_hello(starts[-1], ranges) if is_complete else None
        return LaneHello(
            self.dongle_id,
            self.lane,
            self.next_seq,
            [one.listed(now_seconds) for one in ranges],
            self.next_frame,
            is_complete,
            starts,
        )

    def disconnect(self) -> None:
        """The connection is gone; acks for it no longer count."""
        self._is_connected = False
        self._live.clear()
        self._sent = {kind: _OnItsWay() for kind in RangeKind}
        self.window.close()

    def accepted(self, taken_through: int, books: Sequence[StartBooks] = ()) -> None:
        """The server's answer to hello: it has all of this start up to that number.

        Numbers beyond those made so far are possible where a log is replayed again under the same start:
        what is then made up to there is not sent.
        """
        if self._at_hello is not None and books:
            earlier = self.ledger.entries(self.next_seq - 1, self.next_frame)
            self.difference = difference(self._at_hello, self.start_id, books, earlier)
        self._taken_through = max(self._taken_through, taken_through)
        released = self.window.release_through(self.start_id, taken_through)
        self.ledger.add_acknowledged(self.start_id, released)
        self.on_freed()

    def next_packet(self) -> tuple[RangeKind, bytes] | None:
        """What to send now, live before backlog; None while `paused`, all is on its way or nothing waits."""
        sent = self.next_held()
        return None if sent is None else (sent[0], sent[1].packet)

    def next_held(self) -> tuple[RangeKind, Held] | None:
        """The same with all that is known of it."""
        if self.paused:
            return None
        while self._live and len(self._sent[RangeKind.LIVE].numbers) < self.limits.max_in_flight:
            held = self.window.find(self._live.popleft())
            if held is not None:
                return self._send(RangeKind.LIVE, held)
        backlog = self._sent[RangeKind.BACKLOG]
        is_full = len(backlog.numbers) >= self.limits.max_in_flight
        is_full = is_full or backlog.frames >= self.max_backlog_frames
        if not is_full and (held := self.window.next_backlog()) is not None:
            return self._send(RangeKind.BACKLOG, held)
        return None

    def acknowledged(self, kind: RangeKind, number: PacketNumber) -> None:
        """An ack of the current connection: cumulative over what was sent in that range."""
        sent = self._sent[kind]
        if not any(one == number for one, _ in sent.numbers):
            return
        while True:
            first, frames = sent.numbers.popleft()
            sent.frames -= frames
            held = self.window.release(first)
            if held is not None:
                self.ledger.acknowledged(held)
            if first == number:
                break
        self.on_freed()

    # -- inside

    @property
    def _number(self) -> PacketNumber:
        return PacketNumber(self.start_id, self.next_seq)

    def _held(
        self,
        packet: bytes,
        frames: int | None,
        now_seconds: float,
        gap: Gap | None = None,
        span_ns: SpanNs | None = None,
        born_ns: int = 0,
    ) -> Held:
        held = Held(self._number, self.next_frame, packet, frames, gap, span_ns, now_seconds)
        held.activation, held.born_ns = self.activation, born_ns
        return held

    def _hold(self, held: Held) -> None:
        self.next_seq += 1
        self.next_frame += held.frames or 0
        if held.number.seq <= self._taken_through:
            self.ledger.acknowledged(held)
            return
        self.window.hold(held)
        if self._is_connected:
            self._live.append(held.number)
            self.on_unsent()

    def _send(self, kind: RangeKind, held: Held) -> tuple[RangeKind, Held]:
        held.was_sent = held.was_tried = True
        sent, frames = self._sent[kind], held.frames or 0
        sent.numbers.append((held.number, frames))
        sent.frames += frames
        return kind, held


def _nobody_asks() -> None:
    """Until somebody sends for the lane, or waits for room in it."""
