"""What the server has of a start that says no positions: numbers of packets, and counts beside them. Pure.

Starts of version 1, and those recorded before there were positions. Counts are as good as their sums: where
a stretch is here in part, what is missing of it is what was said of it less what came.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from can_stream.lanes.holdings import Found, Holding, NewGap, Taken, is_final
from can_stream.lanes.holes import Hole
from can_stream.lanes.intervals import IntervalSet
from can_stream.protocol.lanes_control import BacklogRange
from can_stream.protocol.packet_head import MAX_SEQ
from can_stream.protocol.packets import Gap, GapReason, Packet

Count: TypeAlias = Callable[[str, int, int], int]
"""(start_id, first_seq, last_seq) -> frames that are recorded or in gaps of these numbers."""


class Counted(Holding, kw_only=True):
    """Sets of numbers. `gap_frames`: what its gaps say together."""

    gap_frames: int = 0

    def copy(self) -> Counted:
        """An independent one."""
        return Counted(
            start_id=self.start_id,
            known=self.known.copy(),
            findable=self.findable.copy(),
            holes=self.holes,  # never changed, only replaced
            frames=self.frames,
            gap_frames=self.gap_frames,
        )

    @property
    def through(self) -> int:
        """Each number up to this one is stored for good."""
        known = self.known.prefix()
        first, _ = next(iter(self.findable), (known + 1, 0))
        return min(known, first - 1)

    @property
    def in_gaps(self) -> int:
        """Frames that stand in gaps, as far as these know."""
        return self.gap_frames

    # -- what a hello says

    def hear(self, ranges: Sequence[BacklogRange], count: Count, now_seconds: float) -> IntervalSet:
        """A hello lists these ranges; what it does not list stays a hole. Returns the numbers listed."""
        listed, holes = IntervalSet(), dict[int, Hole]()
        for one in ranges:
            listed.add(one.first_seq, one.last_seq)
            if self.known.missing(one.first_seq, one.last_seq):
                here = self._here(one, count)
                since = self._since(one.first_seq, one.last_seq, now_seconds)
                frames = max(0, one.frames - here)
                holes[one.first_seq] = Hole(one.first_seq, one.last_seq, frames, since, now_seconds)
        self.holes = _disjoint(sorted([*holes.values(), *self._unlisted(list(holes.values()))]))
        return listed

    def _here(self, one: BacklogRange, count: Count) -> int:
        whole = self.known.missing(one.first_seq, one.last_seq) == [(one.first_seq, one.last_seq)]
        return 0 if whole else count(self.start_id, one.first_seq, one.last_seq)

    def _since(self, first: int, last: int, now_seconds: float) -> float:
        old = [h.known_since_seconds for h in self.holes if h.first <= last and first <= h.last]
        return min(old, default=now_seconds)

    def _unlisted(self, listed: Sequence[Hole]) -> list[Hole]:
        """What is left of the holes before; the last of them has the whole count."""
        if not self.holes:
            return []
        covered = self.known.copy()
        for hole in listed:
            covered.add(hole.first, hole.last)
        out = [
            Hole(*part, 0, *hole[3:])
            for hole in self.holes
            for part in covered.missing(hole.first, hole.last)
        ]
        known = max(hole.last for hole in self.holes)
        frames = self.in_holes - sum(hole.frames for hole in listed if hole.first <= known)
        return [*out[:-1], out[-1]._replace(frames=max(0, min(frames, MAX_SEQ)))] if out else []

    def silent(self, listed: IntervalSet, below: int | None) -> list[NewGap]:
        """Holes that their owner has not listed, as far as it speaks for them, become a gap."""
        return self._lost(
            [
                hole
                for hole in self.holes
                if not listed.common(hole.first, hole.last) and (below is None or hole.last < below)
            ]
        )

    def expired(self, listed_before_seconds: float) -> list[NewGap]:
        """Holes that no hello has listed since then become a gap."""
        return self._lost([hole for hole in self.holes if hole.last_listed_seconds < listed_before_seconds])

    def _lost(self, holes: Sequence[Hole]) -> list[NewGap]:
        lost = IntervalSet(part for hole in holes for part in self.known.missing(hole.first, hole.last))
        if not lost:
            return []
        frames = min(sum(hole.frames for hole in holes), MAX_SEQ)
        for part in lost:
            self.known.add(*part)
            self.findable.add(*part)
        self.gap_frames += frames
        gone = set(holes)
        self.holes = [hole for hole in self.holes if hole not in gone]
        parts = list(lost)
        first, last = parts[0][0], parts[-1][1]
        return [NewGap(self.start_id, GapReason.ANNOUNCED, first, last, first, parts, frames)]

    # -- what packets say

    def is_new(self, packet: Packet) -> bool:
        """Whether it has to be stored."""
        first, last = packet.first_seq, packet.number.seq
        return bool(self.final_parts(first, last) if is_final(packet) else self.known.missing(first, last))

    def take(self, packet: Packet, now_seconds: float) -> Taken | None:
        """Store it; None where nothing of it is new."""
        if not self.is_new(packet):
            return None
        first, last, frames = packet.first_seq, packet.number.seq, packet.frames or 0
        final = is_final(packet)
        parts = self.final_parts(first, last) if final else self.known.missing(first, last)
        found = self.pop_findable(first, last) if final else []
        for part in parts:
            self.known.add(*part)
            if not final:
                self.findable.add(*part)
        self._fill(last, frames)
        if found:
            self.gap_frames = max(0, self.gap_frames - frames)
        body = packet.body
        if not isinstance(body, Gap):
            self.frames += frames
            return Taken(None, Found(self.start_id, found, frames) if found else None)
        self.gap_frames += frames
        times = (body.first_ns, body.last_ns)
        gap = NewGap(self.start_id, body.reason, first, last, parts[0][0], parts, body.frames, *times)
        return Taken(gap, Found(self.start_id, found, 0) if found else None)

    def _fill(self, number: int, frames: int) -> None:
        """A packet came for the hole that it lies in; holes of which nothing is missing are none."""
        if not self.holes:
            return
        left = []
        for hole in self.holes:
            if self.known.missing(hole.first, hole.last):
                here = frames if hole.first <= number <= hole.last else 0
                left.append(hole._replace(frames=max(0, hole.frames - here)))
        self.holes = left


def _disjoint(holes: Sequence[Hole]) -> list[Hole]:
    """Each number in one hole, also where a hello lists some twice."""
    out: list[Hole] = []
    for hole in holes:
        if not out or hole.first > out[-1].last:
            out.append(hole)
        elif hole.last > out[-1].last:
            out.append(hole._replace(first=out[-1].last + 1))
    return out
