"""A packet that the server has not acknowledged, and how it becomes a gap when there is no room for it."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from can_stream.lanes.backlog import Stretch
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Gap, GapReason, encode_gap

SpanNs = tuple[int, int]


class Held(Struct):
    """`gap` where that is what it holds, `position` None where it is of version 1.

    `row` and `replaces`: where it is on disk, and what it takes the place of there; 0: not. `is_stored`:
    certainly there. `was_sent`: on the current connection; `was_tried`: on any. `activation`: what its frames
    are carried for, "" for none. `born_ns`: a moment of CLOCK_BOOTTIME before any of its frames was on the
    bus; 0 where none is known.
    """

    number: PacketNumber
    position: int | None
    packet: bytes
    frames: int | None
    gap: Gap | None
    span_ns: SpanNs | None
    made_at_seconds: float
    was_sent: bool = False
    row: int = 0
    is_stored: bool = False
    replaces: int = 0
    was_tried: bool = False
    activation: str = ""
    born_ns: int = 0

    @property
    def first_seq(self) -> int:
        """The first number it stands for."""
        return self.gap.first_seq if self.gap else self.number.seq

    @property
    def data_frames(self) -> int:
        """How many frames are in it; those that a gap stands for are not."""
        return 0 if self.gap else self.frames or 0

    @property
    def stretch(self) -> Stretch:
        """It alone, as what waits."""
        frames = self.frames or 0
        start_id, seq = self.number
        lost_frames = frames if self.gap else 0
        stretch = Stretch(
            start_id, self.first_seq, seq, self.position, frames, lost_frames, self.made_at_seconds
        )
        stretch.first_row = stretch.last_row = self.row
        stretch.activation = self.activation
        return stretch

    def as_gap(self, reason: GapReason) -> Held:
        """What is left of it when its frames are given up."""
        gap = Gap(reason, self.first_seq, self.frames, *(self.span_ns or (None, None)))
        return replace(self, packet=encode_gap(self.number, gap, self.position), gap=gap)


def lost_stretch(stretch: Stretch, now_seconds: float) -> Held:
    """A gap for packets that are nowhere any more."""
    number = PacketNumber(stretch.start_id, stretch.last_seq)
    gap = Gap(GapReason.SPOOL, stretch.first_seq, stretch.frames)
    packet = encode_gap(number, gap, stretch.position)
    held = Held(number, stretch.position, packet, stretch.frames, gap, None, now_seconds)
    held.activation = stretch.activation
    return held


def may_merge(before: Gap | None, after: Gap | None) -> bool:
    """Whether both are gaps of packets that were given up, for one reason."""
    if before is None or after is None or before.reason is not after.reason:
        return False
    return before.reason in (GapReason.WINDOW, GapReason.SPOOL) and None not in (before.frames, after.frames)


def joined_span(one: SpanNs | None, other: SpanNs | None) -> SpanNs | None:
    """From the earliest to the latest, as far as known."""
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), max(one[1], other[1])
