"""Interval sets behave like plain sets of numbers."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from can_stream.lanes.intervals import IntervalSet

ranges = st.tuples(st.integers(1, 40), st.integers(0, 10)).map(lambda r: (r[0], r[0] + r[1]))


@given(st.lists(ranges, max_size=12), ranges)
def test_like_a_set_of_numbers(added: list[tuple[int, int]], asked: tuple[int, int]) -> None:
    intervals = IntervalSet(added)
    numbers = {n for first, last in added for n in range(first, last + 1)}
    assert {n for n in range(60) if n in intervals} == numbers
    missing = [n for first, last in intervals.missing(*asked) for n in range(first, last + 1)]
    assert missing == [n for n in range(asked[0], asked[1] + 1) if n not in numbers]
    assert intervals.prefix() == next(n for n in range(60) if n + 1 not in numbers)
    listed = list(intervals)
    assert all(a[1] + 1 < b[0] for a, b in pairwise(listed))
    assert list(IntervalSet(listed)) == listed
