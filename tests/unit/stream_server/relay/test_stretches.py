"""Stretches of positions: cut, joined, found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_server.relay.stretches import Stretch, Stretches

REASONS = st.sampled_from(["hole", "too_old", "gap"])


def test_a_count_that_counts_all_or_nothing_is_cut_exactly() -> None:
    assert Stretch(10, 20, 10, "too_old").frames_from(14) == 6
    assert Stretch(10, 20, 0, "too_old").frames_from(14) == 0


def test_neighbours_of_one_kind_are_one() -> None:
    stretches = Stretches()
    for first in (0, 8, 4):
        stretches.put(Stretch(first, first + 4, 3, "too_old"), exposed=0)
    assert list(stretches) == [Stretch(0, 12, 9, "too_old")]


def test_below_what_was_handed_what_counts_in_part_is_not_joined() -> None:
    stretches = Stretches()
    stretches.put(Stretch(0, 4, 4, "too_old"), exposed=12)
    stretches.put(Stretch(4, 8, 4, "too_old"), exposed=12)
    stretches.put(Stretch(8, 12, 3, "too_old"), exposed=12)
    assert list(stretches) == [Stretch(0, 8, 8, "too_old"), Stretch(8, 12, 3, "too_old")]


@given(
    st.lists(st.tuples(st.integers(0, 19), REASONS), unique_by=lambda one: one[0]),
    st.integers(0, 20),
    st.integers(0, 20),
)
def test_each_position_is_where_it_was_put_until_it_is_taken_out(
    put: list[tuple[int, str]], one: int, other: int
) -> None:
    stretches = Stretches()
    expected: dict[int, str] = {}
    for position, reason in put:
        stretches.put(Stretch(position, position + 1, 1, reason), exposed=0)  # type: ignore[arg-type]
        expected[position] = reason
    first, through = min(one, other), max(one, other)
    assert sum(
        min(x.through, through) - max(x.first, first) for x in stretches.within(first, through)
    ) == sum(first <= position < through for position in expected)
    if first < through:
        stretches.take_out(first, through)
    expected = {place: why for place, why in expected.items() if not first <= place < through}
    for position in range(20):
        found = stretches.at(position)
        assert (found and found.reason) == expected.get(position)
    assert sum(x.frames for x in stretches) == len(expected)
    assert all(x.through - x.first == x.frames for x in stretches)
