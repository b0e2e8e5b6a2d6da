"""The agent's half of a lane: numbers packets, holds them until the server has them.

States of a packet: held -> (in a range of the current connection) sent -> acknowledged and forgotten, or
replaced by a gap of the same number where the window is full. Pure: time is an argument, bytes are returned.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from can_stream.frames.batches import FrameBatch, SignalBatch
from can_stream.lanes.backlog import Stretch, follows, joined
from can_stream.protocol.clock_record import ClockRecord
from can_stream.protocol.control import MAX_RANGES, LaneName
from can_stream.protocol.hop import RangeKind
from can_stream.protocol.lanes_control import LaneHello
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import (
    Gap,
    GapReason,
    encode_clock,
    encode_frames,
    encode_gap,
    encode_signals,
)

_PACKETS_PER_RANGE: Final = 16
# To go through an enumeration takes longer than what is done here for each.
_KINDS: Final = tuple(RangeKind)


# Of all lanes of an agent together: a server comes to a live packet behind so many frames of backlog. (256
# full packets would be a million.) Where a server is near and fast, catching up takes up to twice as long.
MAX_BACKLOG_FRAMES: Final = 65_536


class WindowLimits(Struct, frozen=True):
    """How much a lane holds unacknowledged, and how many packets may be on their way in each range.

    `trims` is False where the source waits while the lane is full: it then holds one packet more at most.
    """

    max_bytes: int = 32_000_000
    max_in_flight: int = 256
    trims: bool = True


class Held(Struct):
    """A packet the server has not acknowledged; `row` and the rest: see `edge_agent.lanes.spooled_lane`."""

    number: PacketNumber
    packet: bytes
    frames: int | None
    gap: Gap | None
    span_ns: tuple[int, int] | None
    made_at_seconds: float
    was_sent: bool = False
    row: int = 0
    is_stored: bool = False
    replaces: int = 0

    @property
    def first_seq(self) -> int:
        """The first number it stands for."""
        return self.gap.first_seq if self.gap else self.number.seq

    @property
    def stretch(self) -> Stretch:
        """It alone, as what waits."""
        frames = self.frames or 0
        lost_frames = frames if self.gap else 0
        stretch = Stretch(
            self.number.start_id, self.first_seq, self.number.seq, frames, lost_frames, self.made_at_seconds
        )
        stretch.first_row = stretch.last_row = self.row
        return stretch


class LaneSender:
    """One lane of one dongle at the agent.

    `max_backlog_frames` is its share of MAX_BACKLOG_FRAMES: so many of its backlog may be on their way.
    `on_unsent` is called when there is something to send on this connection, `on_freed` after acks.
    """

    def __init__(
        self, dongle_id: str, lane: LaneName, start_id: str, limits: WindowLimits, resolution_ns: int = 1000
    ) -> None:
        self.dongle_id = dongle_id
        self.lane = lane
        self.start_id = start_id
        self.limits = limits
        self.resolution_ns = resolution_ns
        self.next_seq = 1
        self.held_bytes = 0
        self.acknowledged_frames = 0
        self.trimmed_frames = 0
        self.paused = False
        self.on_unsent: Callable[[], None] = _nobody_asks
        self.on_freed: Callable[[], None] = _nobody_asks
        self.max_backlog_frames = MAX_BACKLOG_FRAMES
        self._taken_through = 0
        self._held: OrderedDict[PacketNumber, Held] = OrderedDict()
        self._announced: dict[str, int] = {}
        self._connected = False
        self._todo: dict[RangeKind, deque[PacketNumber]] = {kind: deque() for kind in RangeKind}
        self._sent: dict[RangeKind, deque[PacketNumber]] = {kind: deque() for kind in RangeKind}
        self._backlog_frames: deque[int] = deque()  # of each packet of backlog on its way

    # -- what the agent produces

    def take_frames(self, batch: FrameBatch, now_seconds: float) -> None:
        """Number a batch of 1 to MAX_ROWS frames."""
        number = self._next_number()
        self._hold_batch(number, batch, encode_frames(number, batch, self.resolution_ns), now_seconds)

    def take_signals(self, batch: SignalBatch, now_seconds: float) -> None:
        """Number a batch of 1 to MAX_ROWS values, each of which counts as a frame does in a frames lane."""
        number = self._next_number()
        self._hold_batch(number, batch, encode_signals(number, batch, self.resolution_ns), now_seconds)

    def take_loss(
        self,
        reason: GapReason,
        frames: int | None,
        now_seconds: float,
        span_ns: tuple[int, int] | None = None,
    ) -> None:
        """Number a gap: frames lost before they reached this lane."""
        number = self._next_number()
        gap = Gap(reason, number.seq, frames, *(span_ns or (None, None)))
        self._hold(Held(number, encode_gap(number, gap), frames, gap, span_ns, now_seconds))

    def take_clock(self, record: ClockRecord, now_seconds: float) -> None:
        """Number what is said of the clock that stamps the frames behind it. It is never trimmed."""
        number = self._next_number()
        self._hold(Held(number, encode_clock(number, record), 0, None, None, now_seconds))

    @property
    def is_full(self) -> bool:
        """Whether a source that can wait should; the next packet of one that cannot pushes out the oldest."""
        return self.held_bytes >= self.limits.max_bytes

    @property
    def is_empty(self) -> bool:
        """Whether the server has everything."""
        return not self._held

    @property
    def has_unsent(self) -> bool:
        """Whether packets wait to be sent, be it for room in a range."""
        return any(self._todo.values())

    @property
    def held_packets(self) -> int:
        """How many packets wait for their acknowledgement."""
        return len(self._held)

    @property
    def held_frames(self) -> int:
        """How many frames wait for their acknowledgement and would be lost with the process."""
        return sum(held.frames or 0 for held in self._held.values() if held.gap is None)

    @property
    def waiting_frames(self) -> int:
        """How many frames of this start wait for their acknowledgement, wherever they are."""
        return sum(held.frames or 0 for held in self._held.values() if held.gap is None)

    @property
    def oldest_made_at_seconds(self) -> float | None:
        """When the first of them was made, by the clock of `now_seconds`; None where the server has all."""
        return next((held.made_at_seconds for held in self._held.values()), None)

    # -- one connection after another

    def connect(self, now_seconds: float, max_ranges: int = MAX_RANGES) -> LaneHello:
        """A new connection: what is held is its backlog, in about `max_ranges` ranges; the rest is live."""
        self.disconnect()
        self._todo[RangeKind.BACKLOG].extend(self._held)
        self._connected = True
        return self._hello(
            self._ranges([held.stretch for held in self._held.values()], max_ranges), now_seconds
        )

    def disconnect(self) -> None:
        """The connection is gone; acks for it no longer count."""
        self._connected = False
        for kind in RangeKind:
            self._todo[kind].clear()
            self._sent[kind].clear()
        self._backlog_frames.clear()

    def accepted(self, taken_through: int) -> None:
        """The server's answer to hello: it has all of this start up to that number.

        Numbers beyond those made so far are possible where a log is replayed again under the same start:
        what is then made up to there is not sent.
        """
        self._taken_through = max(self._taken_through, taken_through)
        for number in list(self._held):
            if number.start_id == self.start_id and number.seq <= taken_through:
                self._release(number)
        self.on_freed()

    def next_packet(self) -> tuple[RangeKind, bytes] | None:
        """What to send now, live before backlog; None while `paused`, all is on its way or nothing waits."""
        if self.paused:
            return None
        for kind in _KINDS:
            todo, sent = self._todo[kind], self._sent[kind]
            while todo and self._has_room(kind):
                held = self._find(todo.popleft())
                if held is not None:
                    held.was_sent = True
                    sent.append(held.number)
                    if kind is RangeKind.BACKLOG:
                        self._backlog_frames.append(held.frames or 0)
                    return kind, held.packet
        return None

    def _has_room(self, kind: RangeKind) -> bool:
        if len(self._sent[kind]) >= self.limits.max_in_flight:
            return False
        return kind is RangeKind.LIVE or sum(self._backlog_frames) < self.max_backlog_frames

    def acknowledged(self, kind: RangeKind, number: PacketNumber) -> None:
        """An ack of the current connection: cumulative over what was sent in that range."""
        sent = self._sent[kind]
        if number not in sent:
            return
        while True:
            first = sent.popleft()
            if kind is RangeKind.BACKLOG:
                self._backlog_frames.popleft()
            self._release(first)
            if first == number:
                break
        self.on_freed()

    # -- inside

    def _next_number(self) -> PacketNumber:
        number = PacketNumber(self.start_id, self.next_seq)
        self.next_seq += 1
        return number

    def _hold_batch(
        self, number: PacketNumber, batch: FrameBatch | SignalBatch, packet: bytes, now_seconds: float
    ) -> None:
        span_ns = (int(batch.timestamp_ns.min()), int(batch.timestamp_ns.max()))
        self._hold(Held(number, packet, len(batch), None, span_ns, now_seconds))

    def _hold(self, held: Held) -> None:
        self._held[held.number] = held
        self.held_bytes += len(held.packet)
        if held.number.seq <= self._taken_through:
            self._release(held.number)
        elif self._connected:
            self._todo[RangeKind.LIVE].append(held.number)
            self.on_unsent()
        if self.limits.trims and self._memory_alone_bytes > self.limits.max_bytes:
            self._trim()

    def _find(self, number: PacketNumber) -> Held | None:
        return self._held.get(number)

    def _release(self, number: PacketNumber) -> None:
        held = self._held.pop(number, None)
        if held is not None:
            self.held_bytes -= len(held.packet)
            self._count_acknowledged(held)

    def _count_acknowledged(self, held: Held) -> None:
        if held.gap is None and held.frames is not None and held.number.start_id == self.start_id:
            self.acknowledged_frames += held.frames

    @property
    def _memory_alone_bytes(self) -> int:
        return self.held_bytes

    def _trim(self) -> None:
        """Replace the oldest packets by gaps of the same numbers until a tenth of the window is free."""
        goal = self.limits.max_bytes * 9 // 10
        previous: Held | None = None
        rebuilt: OrderedDict[PacketNumber, Held] = OrderedDict()
        for number, held in self._held.items():
            trimming = self._memory_alone_bytes > goal and not held.row and number.seq != self.next_seq - 1
            kept = self._as_gap(held) if trimming else held
            merged = self._merge(previous, kept) if trimming else None
            if previous is not None and merged is not None:
                self.held_bytes += len(merged.packet) - len(previous.packet) - len(kept.packet)
                del rebuilt[previous.number]
                kept = merged
            rebuilt[kept.number] = previous = kept
        self._held = rebuilt

    def _as_gap(self, held: Held) -> Held:
        if held.gap is not None or not held.frames:
            return held
        self.trimmed_frames += held.frames
        gap = Gap(GapReason.WINDOW, held.number.seq, held.frames, *(held.span_ns or (None, None)))
        packet = encode_gap(held.number, gap)
        self.held_bytes += len(packet) - len(held.packet)
        return replace(held, packet=packet, gap=gap)

    def _ranges(self, waiting: list[Stretch], max_ranges: int) -> list[Stretch]:
        """All that waits; none mixes numbers that an earlier hello announced with others."""
        packets = sum(stretch.packets for stretch in waiting)
        return joined(waiting, self._announced, max(_PACKETS_PER_RANGE, -(-2 * packets // max_ranges)))

    def _hello(self, ranges: list[Stretch], now_seconds: float) -> LaneHello:
        """Announces these."""
        for one in ranges:
            self._announced[one.start_id] = max(one.last_seq, self._announced.get(one.start_id, 0))
        listed = [one.listed(now_seconds) for one in ranges]
        return LaneHello(self.dongle_id, self.lane, self.next_seq, listed)

    def _merge(self, before: Held | None, after: Held) -> Held | None:
        if before is None or not follows(before.stretch, after.stretch, self._announced):
            return None
        return _merge(before, after)


def _nobody_asks() -> None:
    """Until somebody sends for the lane, or waits for room in it."""


def _merge(before: Held, after: Held) -> Held | None:
    """One gap for two neighbours, or None.

    Not where one was ever sent: the server may have taken that one alone.
    """
    if before.gap is None or after.gap is None or before.was_sent or after.was_sent:
        return None
    if before.row or before.replaces:  # it has a place on disk of its own
        return None
    if before.gap.reason != GapReason.WINDOW or after.gap.reason != GapReason.WINDOW:
        return None
    span_ns = _join(before.span_ns, after.span_ns)
    frames = (before.gap.frames or 0) + (after.gap.frames or 0)
    gap = Gap(GapReason.WINDOW, before.first_seq, frames, *(span_ns or (None, None)))
    return replace(
        after,
        packet=encode_gap(after.number, gap),
        frames=frames,
        gap=gap,
        span_ns=span_ns,
        made_at_seconds=before.made_at_seconds,
    )


def _join(one: tuple[int, int] | None, other: tuple[int, int] | None) -> tuple[int, int] | None:
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), max(one[1], other[1])
