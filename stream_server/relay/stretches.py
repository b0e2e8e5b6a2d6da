"""Positions of one start that are in no packet here: holes, counts, and what is of no activation. Pure.

They are disjoint and in order, and few: neighbours of one kind are one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from operator import attrgetter
from typing import Final

from msgspec import Struct

from stream_server.relay.values import PASSED, Reason

_FIRST: Final = attrgetter("first")
_THROUGH: Final = attrgetter("through")
_UNCOUNTED: Final = ("hole", *PASSED)


class Stretch(Struct):
    """Positions `first` up to `through`; `frames` of them are others'. The rest as in `StoredStretch`."""

    first: int
    through: int
    frames: int
    reason: Reason
    born_ns: int | None = None
    fresh: bool = False
    in_doubt: bool = False

    @property
    def is_count(self) -> bool:
        """Whether it is handed as a row of counts."""
        return self.reason not in _UNCOUNTED

    def frames_from(self, position: int) -> int:
        """How many of its frames lie there or above. Exact where all of it counts, or nothing."""
        return min(self.frames, self.through - max(position, self.first))

    def goes_on_as(self, other: Stretch, exposed: int) -> bool:
        """Whether `other`, which follows, is more of the same.

        Below `exposed` a sink may settle any part of it, so that both have to count all, or nothing.
        """
        if self.through != other.first or self.reason != other.reason or self.born_ns != other.born_ns:
            return False
        if (self.fresh, self.in_doubt) != (other.fresh, other.in_doubt):
            return False
        if self.first >= exposed:
            return True
        return self._share == other._share is not None

    @property
    def _share(self) -> int | None:
        if self.frames in (0, self.through - self.first):
            return int(self.frames > 0)
        return None


class Stretches:
    """Those of one start."""

    __slots__ = ("_all",)

    def __init__(self) -> None:
        self._all: list[Stretch] = []

    def __iter__(self) -> Iterator[Stretch]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def at(self, position: int) -> Stretch | None:
        """The one that this position is in."""
        i = bisect_right(self._all, position, key=_FIRST) - 1
        return self._all[i] if i >= 0 and position < self._all[i].through else None

    def within(self, first: int, through: int) -> list[Stretch]:
        """Those that have some position of these, in order."""
        low = bisect_right(self._all, first, key=_THROUGH)
        high = bisect_left(self._all, through, key=_FIRST)
        return self._all[low:high]

    def take_out(self, first: int, through: int) -> None:
        """These positions are in none any more; of holes and what is of no activation, or of whole ones."""
        low = bisect_right(self._all, first, key=_THROUGH)
        high = bisect_left(self._all, through, key=_FIRST)
        if low >= high:
            return
        before, after = self._all[low], self._all[high - 1]
        if first <= before.first and before is after and through < before.through:  # as a backlog comes in
            before.frames = before.frames_from(through)
            before.first = through
            return
        kept = []
        if before.first < first:
            kept.append(_part(before, before.first, first))
        if after.through > through:
            kept.append(_part(after, through, after.through))
        self._all[low:high] = kept

    def put(self, stretch: Stretch, exposed: int) -> None:
        """One whose positions are in no other."""
        everything = self._all
        i = bisect_left(everything, stretch.first, key=_FIRST)
        if i and everything[i - 1].goes_on_as(stretch, exposed):
            i -= 1
            stretch = _joined(everything[i], stretch)
            everything[i] = stretch
        else:
            everything.insert(i, stretch)
        if i + 1 < len(everything) and stretch.goes_on_as(everything[i + 1], exposed):
            everything[i] = _joined(stretch, everything.pop(i + 1))


def _part(stretch: Stretch, first: int, through: int) -> Stretch:
    frames = stretch.frames_from(first) - max(0, stretch.frames_from(through))
    return Stretch(first, through, frames, stretch.reason, stretch.born_ns, stretch.fresh, stretch.in_doubt)


def _joined(one: Stretch, other: Stretch) -> Stretch:
    return Stretch(
        one.first,
        other.through,
        one.frames + other.frames,
        one.reason,
        one.born_ns,
        one.fresh,
        one.in_doubt,
    )
