"""Shares of a whole: who gives up how much."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_server.shares import surpluses


@pytest.mark.parametrize(
    ("taken", "whole", "each", "expected"),
    [
        ({"a": 50, "b": 50}, 100, None, {}),
        ({"a": 90, "b": 20}, 100, None, {"a": 10}),
        ({"a": 90, "b": 60, "c": 10}, 100, None, {"a": 45, "b": 15}),
        ({"a": 90, "b": 20}, 1000, 30, {"a": 60}),
        ({"a": 90, "b": 20}, 40, 30, {"a": 70}),
        ({"a": 3}, 1, None, {"a": 2}),
        ({}, 1, None, {}),
    ],
)
def test_those_who_take_most_come_down_to_one_level(
    taken: dict[str, int], whole: int, each: int | None, expected: dict[str, int]
) -> None:
    assert surpluses(taken, whole, each) == expected


@given(
    st.dictionaries(st.text(max_size=2), st.integers(0, 10**12), max_size=8),
    st.integers(1, 10**12),
    st.none() | st.integers(1, 10**12),
)
def test_the_rest_fits_and_nobody_gives_who_takes_less_than_another_keeps(
    taken: dict[str, int], whole: int, each: int | None
) -> None:
    gone = surpluses(taken, whole, each)
    left = {one: size - gone.get(one, 0) for one, size in taken.items()}
    assert sum(left.values()) <= whole
    assert all(each is None or size <= each for size in left.values())
    assert all(0 < size <= taken[one] for one, size in gone.items())
    for giver in gone:
        assert all(left[one] <= left[giver] for one in taken)
    if gone and max(left.values()) != each:
        assert whole - sum(left.values()) < len(taken), "and no more than is needed"
