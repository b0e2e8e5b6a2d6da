"""Interval sets behave like plain sets of numbers."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from can_stream.lanes.intervals import IntervalSet

Range = tuple[int, int]
ranges = st.tuples(st.integers(0, 40), st.integers(0, 10)).map(lambda r: (r[0], r[0] + r[1]))
changes = st.lists(st.tuples(st.booleans(), ranges), max_size=16)


def both(made: list[tuple[bool, Range]]) -> tuple[IntervalSet, set[int]]:
    """The set after these additions and removals, and what it should hold."""
    intervals, numbers = IntervalSet(), set[int]()
    for is_added, (first, last) in made:
        if is_added:
            intervals.add(first, last)
            numbers |= set(range(first, last + 1))
        else:
            intervals.remove(first, last)
            numbers -= set(range(first, last + 1))
    return intervals, numbers


def listed(parts: list[Range]) -> list[int]:
    return [n for first, last in parts for n in range(first, last + 1)]


@given(changes, ranges)
def test_like_a_set_of_numbers(made: list[tuple[bool, Range]], asked: Range) -> None:
    intervals, numbers = both(made)
    assert {n for n in range(60) if n in intervals} == numbers
    assert intervals.size == len(numbers)
    assert bool(intervals) == bool(numbers)
    asked_numbers = range(asked[0], asked[1] + 1)
    assert listed(intervals.missing(*asked)) == [n for n in asked_numbers if n not in numbers]
    assert listed(intervals.common(*asked)) == [n for n in asked_numbers if n in numbers]
    assert intervals.prefix() == next(n for n in range(60) if n + 1 not in numbers)
    parts = list(intervals)
    assert all(a[1] + 1 < b[0] for a, b in pairwise(parts))
    assert IntervalSet(parts) == intervals


@given(changes, changes)
def test_equal_is_who_holds_the_same_and_a_copy_lives_alone(
    one: list[tuple[bool, Range]], other: list[tuple[bool, Range]]
) -> None:
    (first, numbers), (second, other_numbers) = both(one), both(other)
    assert (first == second) == (numbers == other_numbers)
    copy = first.copy()
    copy.add(100, 100)
    assert 100 not in first
    assert first != copy
    assert first != numbers
    assert repr(IntervalSet([(1, 2)])) == "IntervalSet([(1, 2)])"
