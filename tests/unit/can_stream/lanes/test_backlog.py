"""Stretches of what waits: how neighbours become one range of a hello, and what that says of them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from can_stream.lanes.backlog import Stretch, follows, joined, listing
from can_stream.protocol.lanes_control import BacklogRange

OLD, NEW = "00000000000000a1", "00000000000000b2"


def stretch(
    first: int, last: int, start_id: str = NEW, *, position: int | None = -1, first_row: int = 0
) -> Stretch:
    """Ten frames in each packet, one of them lost; the position is that of a lane that has no others."""
    count = last - first + 1
    place = 10 * (first - 1) if position == -1 else position
    rows = (first_row, first_row and first_row + count - 1)
    return Stretch(start_id, first, last, place, 10 * count, count, 5.0, count, *rows)


def ranges(stretches: list[Stretch]) -> list[tuple[str, int, int]]:
    return [(one.start_id, one.first_seq, one.last_seq) for one in stretches]


def test_neighbours_of_one_start_become_one_with_all_they_have() -> None:
    first, second = stretch(1, 2, first_row=4), stretch(3, 3, first_row=9)
    second.oldest_seconds = 99.0
    (one,) = joined([first, second], 10)
    assert one == Stretch(NEW, 1, 3, 0, 30, 3, 5.0, 3, 4, 9), "as old as its oldest"
    assert (first.last_seq, first.last_row) == (2, 5), "what was given is as it was"


def test_another_start_or_a_missing_number_begins_a_new_range() -> None:
    parts = [stretch(1, 2, OLD), stretch(3, 3), stretch(5, 6), stretch(7, 7)]
    assert ranges(joined(parts, 10)) == [(OLD, 1, 2), (NEW, 3, 3), (NEW, 5, 7)]


def test_a_range_is_one_piece_of_positions_too() -> None:
    parts = [stretch(1, 1), stretch(2, 2, position=11), stretch(3, 3, position=21)]
    assert ranges(joined(parts, 10)) == [(NEW, 1, 1), (NEW, 2, 3)]


def test_packets_of_version_1_have_ranges_of_their_own() -> None:
    parts = [stretch(1, 1, position=None), stretch(2, 2, position=None), stretch(3, 3)]
    found = joined(parts, 10)
    assert ranges(found) == [(NEW, 1, 2), (NEW, 3, 3)]
    assert [one.listed(5.0).position for one in found] == [None, 20]


def test_a_range_that_has_enough_packets_takes_no_more() -> None:
    parts = [stretch(number, number) for number in range(1, 8)]
    assert ranges(joined(parts, 3)) == [(NEW, 1, 3), (NEW, 4, 6), (NEW, 7, 7)]


def test_a_range_says_how_old_its_oldest_is_where_that_can_be_known() -> None:
    one = stretch(2, 4)
    assert one.listed(12.34567) == BacklogRange(NEW, 2, 4, 10, 30, 7.346)
    assert one.listed(4.0).age_seconds == 0.0, "never less than nothing"
    one.oldest_seconds = None
    assert one.listed(12.0).age_seconds is None


@st.composite
def waiting(draw: st.DrawFn) -> list[Stretch]:
    parts, next_seq = [], 1
    for _ in range(draw(st.integers(0, 12))):
        first = next_seq + draw(st.sampled_from([0, 0, 0, 1]))
        next_seq = first + draw(st.integers(1, 3))
        parts.append(stretch(first, next_seq - 1))
    return parts


@pytest.mark.parametrize(
    ("count", "max_ranges", "listed"), [(0, 5, 0), (32, 2, 32), (33, 2, 33), (5000, 7, 5000)]
)
def test_a_hello_that_has_room_lists_all(count: int, max_ranges: int, listed: int) -> None:
    found, is_all = listing([stretch(number, number) for number in range(1, count + 1)], max_ranges)
    assert is_all
    assert len(found) <= max_ranges
    assert sum(one.packets for one in found) == listed


def test_a_hello_that_has_no_room_lists_the_oldest_and_says_so() -> None:
    parts = [stretch(number, number) for number in range(1, 20, 2)]
    found, is_all = listing(parts, 3)
    assert ranges(found) == [(NEW, 1, 1), (NEW, 3, 3), (NEW, 5, 5)]
    assert not is_all


@given(waiting(), st.integers(1, 8))
def test_no_number_and_no_frame_is_lost_or_made(parts: list[Stretch], packets: int) -> None:
    before = [replace(part) for part in parts]
    found = joined(parts, packets)
    assert parts == before

    def numbers(stretches: list[Stretch]) -> list[int]:
        return [seq for one in stretches for seq in range(one.first_seq, one.last_seq + 1)]

    assert numbers(found) == numbers(parts)
    for name in ("frames", "lost_frames", "packets"):
        assert sum(getattr(one, name) for one in found) == sum(getattr(one, name) for one in parts)
    for one, other in pairwise(found):
        assert one.packets >= packets or not follows(one, other)
