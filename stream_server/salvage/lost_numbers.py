"""Which numbers of a lane were taken and are gone, and not because retention deleted them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from can_stream.lanes.intervals import IntervalSet

Ranges = list[tuple[int, int]]


class StartBooks(NamedTuple):
    """Of one start: the numbers that were taken, and those that are there."""

    taken: IntervalSet
    stored: IntervalSet


def lost_numbers(starts: Sequence[StartBooks], missing_packets: int) -> list[Ranges]:
    """The lost numbers of each start of a lane, the oldest start first.

    Retention deletes from the front. So what is missing between and behind what is there is lost; of what is
    missing in front as much as `missing_packets` asks for, the packets that nobody deleted, the newest of it.
    """
    lost = [_behind(start) for start in starts]
    rest = missing_packets - sum(map(count_of, lost))
    for start, ranges in reversed(list(zip(starts, lost, strict=True))):
        for first, last in reversed(_in_front(start)):
            if rest <= 0:
                return lost
            ranges.insert(0, (max(first, last - rest + 1), last))
            rest -= last - first + 1
    return lost


def without(taken: IntervalSet, ranges: Iterable[tuple[int, int]]) -> IntervalSet:
    """The set without these numbers."""
    gone = IntervalSet(ranges)
    return IntervalSet(part for first, last in taken for part in gone.missing(first, last))


def count_of(ranges: Iterable[tuple[int, int]]) -> int:
    """How many numbers there are in ranges that do not overlap."""
    return sum(last - first + 1 for first, last in ranges)


def _behind(start: StartBooks) -> Ranges:
    edge = _edge(start)
    return [(max(first, edge), last) for first, last in _missing(start) if last >= edge]


def _in_front(start: StartBooks) -> Ranges:
    edge = _edge(start)
    return [(first, min(last, edge - 1)) for first, last in _missing(start) if first < edge]


def _missing(start: StartBooks) -> Ranges:
    return [part for first, last in start.taken for part in start.stored.missing(first, last)]


def _edge(start: StartBooks) -> int:
    """The first number that is there; behind all that was taken where nothing is."""
    behind = max((last for _, last in start.taken), default=0) + 1
    return min((first for first, _ in start.stored), default=behind)
