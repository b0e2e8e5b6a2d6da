"""Stretches of what waits: how neighbours become one range of a hello, and what that says of them."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from can_stream.lanes.backlog import Stretch, follows, joined
from can_stream.protocol.lanes_control import BacklogRange

OLD, NEW = "00000000000000a1", "00000000000000b2"


def stretch(first: int, last: int, start_id: str = NEW, **more: int) -> Stretch:
    """Ten frames in each packet, one of them lost."""
    count = last - first + 1
    return Stretch(start_id, first, last, 10 * count, count, 5.0, count, **more)


def ranges(stretches: list[Stretch]) -> list[tuple[str, int, int]]:
    return [(one.start_id, one.first_seq, one.last_seq) for one in stretches]


def test_neighbours_of_one_start_become_one_with_all_they_have() -> None:
    first, second = stretch(1, 2, first_row=4, last_row=5), stretch(3, 3, last_row=9)
    second.oldest_seconds = 99.0
    (one,) = joined([first, second], {}, 10)
    assert one == Stretch(NEW, 1, 3, 30, 3, 5.0, 3, 4, 9), "as old as its oldest"
    assert first.last_seq == 2, "what was given is as it was"


def test_another_start_or_a_missing_number_begins_a_new_range() -> None:
    parts = [stretch(1, 2, OLD), stretch(3, 3), stretch(5, 6), stretch(7, 7)]
    assert ranges(joined(parts, {}, 10)) == [(OLD, 1, 2), (NEW, 3, 3), (NEW, 5, 7)]


def test_what_a_hello_listed_is_not_mixed_with_what_came_later() -> None:
    parts = [stretch(number, number) for number in range(1, 7)]
    assert ranges(joined(parts, {NEW: 4, OLD: 2}, 10)) == [(NEW, 1, 4), (NEW, 5, 6)]


def test_a_range_that_has_enough_packets_takes_no_more() -> None:
    parts = [stretch(number, number) for number in range(1, 8)]
    assert ranges(joined(parts, {}, 3)) == [(NEW, 1, 3), (NEW, 4, 6), (NEW, 7, 7)]


def test_a_range_says_how_old_its_oldest_is_where_that_can_be_known() -> None:
    one = stretch(2, 4)
    assert one.listed(12.34567) == BacklogRange(NEW, 2, 4, None, 30, 7.346)
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


@given(waiting(), st.integers(0, 30), st.integers(1, 8))
def test_no_number_and_no_frame_is_lost_or_made(parts: list[Stretch], through: int, packets: int) -> None:
    before = [replace(part) for part in parts]
    found = joined(parts, {NEW: through}, packets)
    assert parts == before

    def numbers(stretches: list[Stretch]) -> list[int]:
        return [seq for one in stretches for seq in range(one.first_seq, one.last_seq + 1)]

    assert numbers(found) == numbers(parts)
    for name in ("frames", "lost_frames", "packets"):
        assert sum(getattr(one, name) for one in found) == sum(getattr(one, name) for one in parts)
    for one, other in pairwise(found):
        assert one.packets >= packets or not follows(one, other, {NEW: through})
