"""What a hello changes: who may say that something is gone. Pure.

Silence is no statement. A hole becomes a gap only by a complete hello whose file names its start, or by age.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct

from can_stream.lanes.counted import Count, Counted
from can_stream.lanes.holdings import NewGap
from can_stream.lanes.intervals import IntervalSet
from can_stream.lanes.positions import Positions
from can_stream.protocol.lanes_control import BacklogRange, LaneHello, LedgerEntry, StartBooks

Start: TypeAlias = Positions | Counted


class Opening(Struct, frozen=True):
    """What a hello changes, to be stored in one transaction before it is answered.

    `starts`: every start that the hello names, as it is from now on, in the agent's order. `listed_frames`:
    how many frames it lists that are not here. `went_back`: starts of which this server was found to have
    less than was acknowledged, for the first time.
    """

    starts: dict[str, Start]
    gaps: list[NewGap]
    listed_frames: int
    went_back: list[Positions]

    def books(self, hello: LaneHello, start_id: str) -> list[StartBooks]:
        """What the server has of each start that the hello names."""
        named = {*(one.start_id for one in hello.backlog), *(one.start_id for one in hello.starts), start_id}
        out = []
        for one, start in self.starts.items():
            if one in named:
                named.discard(one)
                out.append(StartBooks(one, start.frames, start.in_gaps, start.in_holes))
        return out + [StartBooks(one, 0, 0, 0) for one in sorted(named)]


def named_starts(hello: LaneHello, start_id: str) -> list[str]:
    """The starts that a hello names, in the agent's order: as its ranges are, then this one.

    Those that only the ledger names are put where it has them.
    """
    order = list(dict.fromkeys([*(one.start_id for one in hello.backlog), start_id]))
    at = 0
    for entry in hello.starts:
        if entry.start_id in order:
            at = order.index(entry.start_id) + 1
        elif entry.frames or entry.last_seq:
            order.insert(at, entry.start_id)
            at += 1
    return order


def opened(
    stored: Mapping[str, Start], hello: LaneHello, start_id: str, now_seconds: float, count: Count
) -> Opening:
    """A connection says what its agent holds. `stored`: what is known of the starts that it names.

    `count` is asked for starts without positions. SessionError where a range contradicts its start.
    """
    ranges: dict[str, list[BacklogRange]] = {}
    for one in hello.backlog:
        ranges.setdefault(one.start_id, []).append(one)
    ledger = {entry.start_id: entry for entry in hello.starts}
    starts: dict[str, Start] = {}
    gaps: list[NewGap] = []
    listed_frames = 0
    for one_id in named_starts(hello, start_id):
        is_own = one_id == start_id
        made = hello.next_frame if is_own else None
        mine, entry = ranges.get(one_id, []), ledger.get(one_id)
        known = stored.get(one_id)
        start = known.copy() if known is not None else _new_start(one_id, mine, made, entry)
        starts[one_id] = start
        listed = _hear(start, mine, made, entry, now_seconds, count)
        listed_frames += _frames_within(start, listed)
        if hello.complete and (entry is not None or is_own):
            gaps += start.silent(listed, _speaks_below(start, hello) if is_own else None)
    return Opening(starts, gaps, listed_frames, _went_back(starts))


def _new_start(
    start_id: str, ranges: list[BacklogRange], made: int | None, entry: LedgerEntry | None
) -> Start:
    """Of the kind that all that is said of it allows."""
    says_none = any(one.position is None for one in ranges)
    if says_none or (made is None and entry is None and not ranges):
        return Counted(start_id=start_id)
    return Positions(start_id=start_id)


def _hear(
    start: Start,
    ranges: list[BacklogRange],
    made: int | None,
    entry: LedgerEntry | None,
    now_seconds: float,
    count: Count,
) -> IntervalSet:
    if isinstance(start, Counted):
        return start.hear(ranges, count, now_seconds)
    if entry is not None:
        start.ledger(entry)
    return start.hear(ranges, max(made or 0, start.told_frames), now_seconds)


def _frames_within(start: Start, listed: IntervalSet) -> int:
    if isinstance(start, Counted):
        return sum(hole.frames for hole in start.holes if listed.common(hole.first, hole.last))
    parts = [part for hole in start.holes for part in listed.common(hole.first, hole.last)]
    return sum(last - first + 1 for first, last in parts)


def _speaks_below(start: Start, hello: LaneHello) -> int | None:
    """A start that is taken up again makes anew what lies above."""
    return hello.next_seq if isinstance(start, Counted) else hello.next_frame


def _went_back(starts: Mapping[str, Start]) -> list[Positions]:
    found = []
    for start in starts.values():
        if isinstance(start, Positions) and start.lacks_acknowledged and not start.went_back:
            start.went_back = True
            found.append(start)
    return found
