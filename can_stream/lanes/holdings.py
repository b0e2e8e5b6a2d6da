"""What the server has of one start in one lane: recorded, in gaps, in holes. What both kinds share. Pure.

A gap is what is known now, no verdict. One that stands for packets can be found: what is *final* (data, clock
records, gaps that never were a packet) takes its place.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct, field

from can_stream.lanes.holes import Hole
from can_stream.lanes.intervals import IntervalSet
from can_stream.protocol.lanes_control import LedgerEntry
from can_stream.protocol.packets import Gap, GapReason, Packet

Parts: TypeAlias = list[tuple[int, int]]


class NewGap(Struct, frozen=True):
    """A gap to be recorded. `parts`: units it stands for; `frames` None: nobody knows how many.

    `place`: where it stands in the order of its start, in units. `first_seq` and `last_seq` are 0 where the
    server makes it, by positions.
    """

    start_id: str
    reason: GapReason
    first_seq: int
    last_seq: int
    place: int
    parts: Parts
    frames: int | None
    first_ns: int | None = None
    last_ns: int | None = None


class Found(Struct, frozen=True):
    """Units that stood in gaps and do so no more: `frames` are recorded, or (0) another gap has them now."""

    start_id: str
    parts: Parts
    frames: int


class Taken(Struct, frozen=True):
    """What a packet has changed: the gap it is, and what has been found."""

    gap: NewGap | None = None
    found: Found | None = None


class Holding(Struct, kw_only=True):
    """What is stored of a start.

    `known`: units recorded or in gaps; `findable`: those in gaps that stand for packets. `frames`: recorded
    ever, what retention deleted included. `told_*`: what ledgers say, `went_back` that somebody was told that
    this server has less than was acknowledged.
    """

    start_id: str
    known: IntervalSet = field(default_factory=IntervalSet)
    findable: IntervalSet = field(default_factory=IntervalSet)
    holes: list[Hole] = field(default_factory=list)
    frames: int = 0
    told_frames: int = 0
    told_acknowledged: int = 0
    went_back: bool = False

    @property
    def in_holes(self) -> int:
        """Frames that are known of and not here."""
        return sum(hole.frames for hole in self.holes)

    @property
    def reason(self) -> GapReason:
        """Of a gap that the server makes."""
        return GapReason.RESTORED if self.lacks_acknowledged else GapReason.ANNOUNCED

    @property
    def lacks_acknowledged(self) -> bool:
        """Whether more was acknowledged than is recorded: the server went back to an older state."""
        return self.told_acknowledged > self.frames

    def ledger(self, entry: LedgerEntry) -> None:
        """What an agent's file says of it. An older copy of the file says less."""
        self.told_frames = max(self.told_frames, entry.frames)
        self.told_acknowledged = max(self.told_acknowledged, entry.acknowledged)

    def final_parts(self, first: int, last: int) -> Parts:
        """What of these units something final would change: they are nowhere, or in a gap that can shrink."""
        parts = self.known.missing(first, last)
        found = self.findable.common(first, last) if self.findable else []
        return list(IntervalSet([*parts, *found])) if found else parts

    def pop_findable(self, first: int, last: int) -> Parts:
        """These units are in no gap any more; which of them were."""
        found = self.findable.common(first, last) if self.findable else []
        if found:
            self.findable.remove(first, last)
        return found


def is_final(packet: Packet) -> bool:
    """Whether nothing else can come in its place."""
    body = packet.body
    return not (isinstance(body, Gap) and body.reason.was_a_packet)
