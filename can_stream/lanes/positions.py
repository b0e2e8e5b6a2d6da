"""What the server has of a start whose packets say their positions: exact to the frame. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import field

from can_stream.lanes.holdings import Found, Holding, NewGap, Parts, Taken, is_final
from can_stream.lanes.holes import of_positions, relisted, without, without_all
from can_stream.lanes.intervals import IntervalSet
from can_stream.protocol.errors import SessionError
from can_stream.protocol.lanes_control import BacklogRange
from can_stream.protocol.packets import Gap, Packet

_NOTHING_NEW: Final = None
# Who said positions once speaks version 2, and without them nobody knows which packets are the same.
_REMEDY: Final = "see that whatever is between lets Sec-WebSocket-Protocol pass, as when it began"


class Positions(Holding, kw_only=True):
    """Sets of positions. `numbers`: those of packets that are final; `end`: all below it is known of."""

    numbers: IntervalSet = field(default_factory=IntervalSet)
    end: int = 0

    def copy(self) -> Positions:
        """An independent one."""
        return Positions(
            start_id=self.start_id,
            known=self.known.copy(),
            findable=self.findable.copy(),
            holes=self.holes,  # never changed, only replaced
            frames=self.frames,
            told_frames=self.told_frames,
            told_acknowledged=self.told_acknowledged,
            went_back=self.went_back,
            numbers=self.numbers.copy(),
            end=self.end,
        )

    @property
    def through(self) -> int:
        """Each number up to this one is stored for good."""
        return self.numbers.prefix()

    @property
    def in_gaps(self) -> int:
        """Frames that stand in gaps, in those too whose records retention has deleted."""
        return self.known.size - self.frames

    # -- what a hello says

    def hear(self, ranges: Sequence[BacklogRange], end: int, now_seconds: float) -> IntervalSet:
        """A hello lists these ranges; the start has made `end` frames. Returns the positions listed."""
        listed = IntervalSet()
        for one in ranges:
            if one.position is None:
                raise SessionError(
                    f"start {self.start_id} says positions, and its range from {one.first_seq} on has none: "
                    f"{_REMEDY}"
                )
            if one.frames:
                listed.add(one.position, one.position + one.frames - 1)
            end = max(end, one.position + one.frames)
        self.end = max(self.end, end)
        missing = IntervalSet.of_disjoint(self.known.missing(0, self.end - 1))
        self.holes = relisted(self.holes, missing, listed, now_seconds)
        return listed

    def silent(self, listed: IntervalSet, below: int | None) -> list[NewGap]:
        """Holes that their owner has not listed, as far as it speaks for them, become a gap."""
        parts = []
        for hole in self.holes:
            last = hole.last if below is None else min(hole.last, below - 1)
            if not listed.covers(hole.first, last):  # as it nearly always does
                parts += listed.missing(hole.first, last)
        return self._lost(parts)

    def expired(self, listed_before_seconds: float) -> list[NewGap]:
        """Holes that no hello has listed since then become a gap."""
        old = [hole for hole in self.holes if hole.last_listed_seconds < listed_before_seconds]
        return self._lost([(hole.first, hole.last) for hole in old])

    def _lost(self, parts: Parts) -> list[NewGap]:
        if not parts:
            return []
        lost = IntervalSet(parts)
        for part in lost:
            self.known.add(*part)
            self.findable.add(*part)
        self.holes = without_all(self.holes, lost)
        # One for each place where something is missing: readers show a gap where it begins.
        return [
            NewGap(self.start_id, self.reason, 0, 0, first, [(first, last)], last - first + 1)
            for first, last in lost
        ]

    # -- what packets say

    def is_new(self, packet: Packet) -> bool:
        """Whether it has to be stored. SessionError where it contradicts what is recorded."""
        return self._news(packet) is not _NOTHING_NEW

    def take(self, packet: Packet, now_seconds: float) -> Taken | None:
        """Store it; None where nothing of it is new. SessionError as `is_new`."""
        news = self._news(packet)
        if news is _NOTHING_NEW:
            return None
        position, frames = packet.position or 0, packet.frames or 0
        self._reach(position, now_seconds)
        self.end = max(self.end, position + frames)
        found: Parts = []
        final = is_final(packet)
        for part in news:
            self.known.add(*part)
            self.holes = without(self.holes, *part) if self.holes else self.holes
            found += self.pop_findable(*part)
            if not final:
                self.findable.add(*part)
        if final or not frames:
            self.numbers.add(packet.first_seq, packet.number.seq)
        body = packet.body
        if isinstance(body, Gap):
            return Taken(self._gap(packet, body, news), Found(self.start_id, found, 0) if found else None)
        self.frames += frames
        return Taken(None, Found(self.start_id, found, IntervalSet(found).size) if found else None)

    def _news(self, packet: Packet) -> Parts | None:
        """Positions that it would change, none of them where it has none; None where all is known."""
        position, frames = packet.position, packet.frames or 0
        if position is None:
            raise SessionError(
                f"packet {packet.number.seq} of start {self.start_id} says no position, as others of it do: "
                f"{_REMEDY}"
            )
        if not frames:
            known = not self.numbers.missing(packet.first_seq, packet.number.seq)
            return _NOTHING_NEW if known else []
        last = position + frames - 1
        if position >= self.end and packet.number.seq not in self.numbers:
            return [(position, last)]  # as what is live does
        parts = self.final_parts(position, last) if is_final(packet) else self.known.missing(position, last)
        if not parts:
            return _NOTHING_NEW
        if not isinstance(packet.body, Gap):
            self._check_whole(packet, position, last, parts)
        return parts

    def _check_whole(self, packet: Packet, position: int, last: int, parts: Parts) -> None:
        """Packets never change: one that is recorded in part, or whose number is, is not what it says."""
        if packet.number.seq in self.numbers or parts[0] != (position, last):
            raise SessionError(
                f"packet {packet.number.seq} of start {self.start_id} has frames {position} to {last}, "
                "and some of these, or its number, are recorded as part of another packet"
            )

    def _reach(self, position: int, now_seconds: float) -> None:
        if position > self.end:
            self.holes = [*self.holes, of_positions(self.end, position - 1, now_seconds, now_seconds)]
            self.end = position

    def _gap(self, packet: Packet, gap: Gap, parts: Parts) -> NewGap:
        frames = gap.frames and sum(last - first + 1 for first, last in parts)
        place = parts[0][0] if parts else packet.position or 0
        times = (gap.first_ns, gap.last_ns)
        first_seq, last_seq = packet.first_seq, packet.number.seq
        return NewGap(self.start_id, gap.reason, first_seq, last_seq, place, parts, frames, *times)
