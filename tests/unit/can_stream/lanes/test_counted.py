"""A start that says no positions: numbers are exact, counts are what was said less what came."""

from __future__ import annotations

from can_stream.frames.batches import batch_of
from can_stream.lanes.counted import Counted
from can_stream.protocol.lanes_control import BacklogRange
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Gap, GapReason, Packet

START = "00000000000000aa"


def data(seq: int, frames: int = 10) -> Packet:
    return Packet(PacketNumber(START, seq), batch_of([(i, 1, 0, 0, b"") for i in range(frames)]))


def gap(first: int, seq: int, frames: int | None, reason: GapReason = GapReason.WINDOW) -> Packet:
    return Packet(PacketNumber(START, seq), Gap(reason, first, frames))


def listed(first: int, last: int, frames: int) -> BacklogRange:
    return BacklogRange(START, first, last, None, frames, None)


def hear(start: Counted, *ranges: BacklogRange, now: float = 0.0, here: int = 0) -> list[tuple[float, ...]]:
    start.hear(ranges, lambda *_: here, now)
    return [tuple(hole) for hole in start.holes]


def test_a_hole_shrinks_with_what_comes_and_ends_with_its_last_number() -> None:
    start = Counted(start_id=START)
    assert hear(start, listed(3, 5, 30)) == [(3, 5, 30, 0.0, 0.0)]
    for seq, left in ((4, 20), (3, 10)):
        start.take(data(seq), 0.0)
        assert start.in_holes == left
    start.take(data(5, frames=25), 0.0)
    assert (start.frames, start.in_holes, start.holes) == (45, 0, [])


def test_what_a_hello_does_not_list_stays_a_hole_with_the_rest_of_the_count() -> None:
    start = Counted(start_id=START)
    hear(start, listed(1, 4, 40), listed(7, 7, 5), now=1.0)
    assert hear(start, listed(2, 3, 22), now=2.0) == [
        (1, 1, 0, 1.0, 1.0), (2, 3, 22, 1.0, 2.0), (4, 4, 0, 1.0, 1.0), (7, 7, 23, 1.0, 1.0),
    ]  # fmt: skip
    (gone,) = start.expired(1.5)
    assert (gone.parts, gone.frames, gone.reason) == ([(1, 1), (4, 4), (7, 7)], 23, GapReason.ANNOUNCED)
    assert (start.in_gaps, start.in_holes) == (23, 22)


def test_an_owner_that_is_silent_gives_up_what_it_does_not_make_anew() -> None:
    start = Counted(start_id=START)
    hear(start, listed(1, 2, 20), listed(5, 9, 50))
    numbers = start.hear([listed(1, 2, 20)], lambda *_: 0, 1.0)
    assert start.silent(numbers, below=9) == [], "number 9 is made anew"
    (gone,) = start.silent(numbers, below=None)
    assert (gone.parts, gone.frames) == ([(5, 9)], 50)


def test_data_takes_the_place_of_a_gap_and_through_stops_before_it() -> None:
    start = Counted(start_id=START)
    start.take(gap(1, 1, None, GapReason.START), 0.0)
    start.take(data(2), 0.0)
    start.take(gap(3, 5, 30), 0.0)
    start.take(data(6), 0.0)
    assert (start.through, start.in_gaps) == (2, 30)
    change = start.take(data(4), 0.0)
    assert change is not None
    assert change.found is not None
    assert (change.found.parts, start.in_gaps, start.through) == ([(4, 4)], 20, 2)
    assert not start.is_new(data(4))
    assert not start.is_new(gap(3, 5, 30))
    for seq in (3, 5):
        start.take(data(seq), 0.0)
    assert (start.through, start.in_gaps, start.frames) == (6, 0, 50)


def test_a_gap_is_judged_by_all_numbers_that_it_covers() -> None:
    start = Counted(start_id=START)
    start.take(gap(3, 7, 50), 0.0)
    change = start.take(gap(1, 4, 40), 0.0)
    assert change is not None
    assert change.gap is not None
    assert change.gap.parts == [(1, 2)]


def test_what_is_here_already_is_no_hole_and_counts_less() -> None:
    start = Counted(start_id=START)
    start.take(data(3), 0.0)
    assert hear(start, listed(3, 3, 10), listed(3, 4, 25), here=10) == [(3, 4, 15, 0.0, 0.0)]


def test_numbers_that_a_hello_lists_twice_are_in_one_hole() -> None:
    start = Counted(start_id=START)
    holes = hear(start, listed(1, 5, 50), listed(3, 8, 60), listed(2, 4, 30), listed(3, 8, 60))
    assert [hole[:2] for hole in holes] == [(1, 5), (6, 8)]
