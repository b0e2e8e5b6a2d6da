"""Which numbers are lost and which retention deleted."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from can_stream.lanes.intervals import IntervalSet
from stream_server.salvage.lost_numbers import StartBooks, count_of, lost_numbers, without


def books(taken: set[int], stored: set[int]) -> StartBooks:
    return StartBooks(_set(taken), _set(stored))


def _set(numbers: set[int]) -> IntervalSet:
    return IntervalSet((number, number) for number in numbers)


def numbers(ranges: Iterable[tuple[int, int]]) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


SETS = st.sets(st.integers(1, 30))


@given(st.lists(st.tuples(SETS, SETS), max_size=4), st.integers(0, 200))
def test_whatever_is_lost_was_taken_and_is_not_there(
    pairs: list[tuple[set[int], set[int]]], missing: int
) -> None:
    starts = [books(taken, taken & kept) for taken, kept in pairs]
    lost = lost_numbers(starts, missing)
    for (taken, kept), start, ranges in zip(pairs, starts, lost, strict=True):
        assert numbers(ranges) <= taken - kept
        assert count_of(ranges) == len(numbers(ranges))
        left = numbers(without(start.taken, ranges))
        assert left == taken - numbers(ranges)
    gone = sum(len(taken - kept) for taken, kept in pairs)
    assert sum(map(count_of, lost)) >= min(missing, gone), "so many are missing, and so many are named"


@given(st.lists(st.sets(st.integers(1, 30), min_size=1), min_size=1, max_size=4), st.data())
def test_what_retention_took_is_not_lost_and_what_is_lost_behind_it_is(
    taken: list[set[int]], data: st.DataObject
) -> None:
    in_order = [(start, number) for start, one in enumerate(taken) for number in sorted(one)]
    deleted = data.draw(st.integers(0, len(in_order)))
    lost = set(data.draw(st.lists(st.sampled_from(in_order), max_size=5))) - set(in_order[:deleted])
    gone = lost | set(in_order[:deleted])
    starts = [books(one, {n for n in one if (start, n) not in gone}) for start, one in enumerate(taken)]
    named = lost_numbers(starts, len(lost))
    assert {(start, n) for start, ranges in enumerate(named) for n in numbers(ranges)} == lost


def test_what_is_missing_in_front_is_lost_as_far_as_nobody_deleted_it() -> None:
    start = books(set(range(1, 21)), {6, 7, 9, 10, 15})
    behind = [(8, 8), (11, 14), (16, 20)]
    assert lost_numbers([start], 0) == lost_numbers([start], 10) == [behind]
    assert lost_numbers([start], 12) == [[(4, 5), *behind]]
    assert lost_numbers([books({1, 2, 3}, set()), start], 16) == [[(3, 3)], [(1, 5), *behind]]
