"""Sets of whole numbers as sorted, disjoint, non-adjacent closed intervals: packet numbers, positions."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence


class IntervalSet:
    """Whole numbers; those of a lane form very few intervals, so the lists stay short."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, intervals: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in intervals:
            self.add(first, last)

    @classmethod
    def of_disjoint(cls, intervals: Sequence[tuple[int, int]]) -> IntervalSet:
        """Of intervals that are as this class has them: what it gave away or stored."""
        made = cls.__new__(cls)
        made._firsts, made._lasts = [one[0] for one in intervals], [one[1] for one in intervals]
        return made

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._firsts, self._lasts, strict=True)

    def __contains__(self, number: int) -> bool:
        i = bisect_right(self._firsts, number) - 1
        return i >= 0 and number <= self._lasts[i]

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IntervalSet):
            return NotImplemented
        return self._firsts == other._firsts and self._lasts == other._lasts

    __hash__ = None  # type: ignore[assignment]  # it can be changed

    def __repr__(self) -> str:
        return f"IntervalSet({list(self)})"

    @property
    def size(self) -> int:
        """How many numbers are in the set."""
        return sum(self._lasts) - sum(self._firsts) + len(self._firsts)

    def add(self, first: int, last: int) -> None:
        """Put in the numbers first to last."""
        following = self._lasts[-1] + 1 if self._lasts else first - 1
        if first >= following:  # as where they come in their order
            if first == following:
                self._lasts[-1] = last
            else:
                self._firsts.append(first)
                self._lasts.append(last)
            return
        low = bisect_left(self._lasts, first - 1)
        high = bisect_right(self._firsts, last + 1)
        if low < high:
            first = min(first, self._firsts[low])
            last = max(last, self._lasts[high - 1])
        self._firsts[low:high] = [first]
        self._lasts[low:high] = [last]

    def remove(self, first: int, last: int) -> None:
        """Take out the numbers first to last."""
        low = bisect_left(self._lasts, first)
        high = bisect_right(self._firsts, last)
        if low >= high:
            return
        before, after = self._firsts[low], self._lasts[high - 1]
        firsts, lasts = [], []
        if before < first:
            firsts.append(before)
            lasts.append(first - 1)
        if after > last:
            firsts.append(last + 1)
            lasts.append(after)
        self._firsts[low:high] = firsts
        self._lasts[low:high] = lasts

    def covers(self, first: int, last: int) -> bool:
        """Whether the numbers first to last are all in the set."""
        i = bisect_right(self._firsts, first) - 1
        return i >= 0 and last <= self._lasts[i]

    def common(self, first: int, last: int) -> list[tuple[int, int]]:
        """Which parts of first to last are in the set."""
        low = bisect_left(self._lasts, first)
        high = bisect_right(self._firsts, last)
        return [(max(first, self._firsts[i]), min(last, self._lasts[i])) for i in range(low, high)]

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
        i = bisect_right(self._firsts, 1) - 1
        return max(0, self._lasts[i]) if i >= 0 else 0

    def copy(self) -> IntervalSet:
        """An independent set of the same numbers."""
        twin = IntervalSet.__new__(IntervalSet)
        twin._firsts, twin._lasts = self._firsts.copy(), self._lasts.copy()
        return twin
