"""What is known of and not here: stretches of a start, since when, and when a hello listed them last. Pure.

A hole is in *units*: positions of frames, or, of a start that says no positions, numbers of packets. Times
are seconds that the server has run.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple

from can_stream.lanes.intervals import IntervalSet

_FIRST, _LAST = attrgetter("first"), attrgetter("last")


class Hole(NamedTuple):
    """Units first to last, which stand for `frames` frames."""

    first: int
    last: int
    frames: int
    known_since_seconds: float
    last_listed_seconds: float


def of_positions(first: int, last: int, since_seconds: float, listed_seconds: float) -> Hole:
    """A hole in positions, each of which is a frame."""
    return Hole(first, last, last - first + 1, since_seconds, listed_seconds)


def relisted(
    holes: Sequence[Hole], missing: IntervalSet, listed: IntervalSet, now_seconds: float
) -> list[Hole]:
    """Holes in positions once a hello has listed some: all of `missing`, which has grown by what is new."""
    out = []
    for hole in holes:
        first, last, frames, since, _ = hole
        if listed.covers(first, last):  # as nearly always
            out.append(Hole(first, last, frames, since, now_seconds))
            continue
        out += [of_positions(*part, since, now_seconds) for part in listed.common(hole.first, hole.last)]
        rest = listed.missing(hole.first, hole.last)
        out += [of_positions(*part, since, hole.last_listed_seconds) for part in rest]
    if sum(hole.frames for hole in holes) != missing.size:
        before = IntervalSet((hole.first, hole.last) for hole in holes)
        fresh = [new for part in missing for new in before.missing(*part)]
        out += [of_positions(*part, now_seconds, now_seconds) for part in fresh]
    out.sort()
    return _joined(out)


def _joined(holes: Iterable[Hole]) -> list[Hole]:
    out: list[Hole] = []
    for hole in holes:
        last = out[-1] if out else None
        if last is not None and last[1] + 1 == hole[0] and last[3:] == hole[3:]:
            out[-1] = of_positions(last.first, hole.last, *hole[3:])
        else:
            out.append(hole)
    return out


def without(holes: list[Hole], first: int, last: int) -> list[Hole]:
    """Holes in positions, less those from first to last; the same list where nothing is cut."""
    low = bisect_left(holes, first, key=_LAST)
    high = bisect_right(holes, last, key=_FIRST)
    if low >= high:
        return holes
    kept = []
    if (before := holes[low]).first < first:
        kept.append(of_positions(before.first, first - 1, *before[3:]))
    if (after := holes[high - 1]).last > last:
        kept.append(of_positions(last + 1, after.last, *after[3:]))
    return [*holes[:low], *kept, *holes[high:]]


def without_all(holes: Sequence[Hole], parts: IntervalSet) -> list[Hole]:
    """Holes in positions, less all these parts."""
    return [of_positions(*part, *hole[3:]) for hole in holes for part in parts.missing(hole.first, hole.last)]


class Run(NamedTuple):
    """All holes that begin at `first` to `last`: listed anew, and else as they were."""

    first: int
    last: int
    last_listed_seconds: float


class Difference(NamedTuple):
    """What to do to storage, in this order: take out by first unit, list anew, put in."""

    gone: list[int]
    runs: list[Run]
    new: list[Hole]


def difference(before: Sequence[Hole], after: Sequence[Hole]) -> Difference:
    """How storage that holds `before` comes to hold `after`; holes that a hello lists anew are few runs."""
    gone: list[int] = []
    runs: list[Run] = []
    new: list[Hole] = []
    if before is after:
        return Difference(gone, runs, new)
    left = {hole.first: hole for hole in before}
    goes_on = False
    for hole in after:
        old = left.pop(hole[0], None)
        if old == hole:
            goes_on = False
        elif old is not None and old[:4] == hole[:4]:
            if goes_on and runs[-1][2] == hole[4]:
                runs[-1] = Run(runs[-1][0], hole[0], hole[4])
            else:
                runs.append(Run(hole[0], hole[0], hole[4]))
            goes_on = True
        else:
            if old is not None:
                gone.append(hole[0])
            new.append(hole)
    return Difference([*gone, *left], runs, new)
