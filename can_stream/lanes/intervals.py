"""Sets of packet numbers as sorted, disjoint, non-adjacent closed intervals."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class IntervalSet:
    """Whole numbers from 1; a lane's numbers form very few intervals, so the lists stay short."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, intervals: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in intervals:
            self.add(first, last)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._firsts, self._lasts, strict=True)

    def __contains__(self, number: int) -> bool:
        i = bisect_right(self._firsts, number) - 1
        return i >= 0 and number <= self._lasts[i]

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def add(self, first: int, last: int) -> None:
        """Put in the numbers first to last."""
        low = bisect_left(self._lasts, first - 1)
        high = bisect_right(self._firsts, last + 1)
        if low < high:
            first = min(first, self._firsts[low])
            last = max(last, self._lasts[high - 1])
        self._firsts[low:high] = [first]
        self._lasts[low:high] = [last]

    def missing(self, first: int, last: int) -> list[tuple[int, int]]:
        """Which parts of first to last are not in the set."""
        parts = []
        i = bisect_left(self._lasts, first)
        while first <= last:
            if i == len(self._firsts) or self._firsts[i] > last:
                parts.append((first, last))
                break
            if self._firsts[i] > first:
                parts.append((first, self._firsts[i] - 1))
            first = self._lasts[i] + 1
            i += 1
        return parts

    def prefix(self) -> int:
        """The greatest n such that 1 to n are all in the set; 0 where 1 is not."""
        return self._lasts[0] if self._firsts and self._firsts[0] == 1 else 0

    def copy(self) -> IntervalSet:
        """An independent set of the same numbers."""
        twin = IntervalSet()
        twin._firsts, twin._lasts = self._firsts.copy(), self._lasts.copy()
        return twin
