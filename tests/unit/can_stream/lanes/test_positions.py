"""A start whose packets say positions: what is taken, what stands in gaps, what may come in their place."""

from __future__ import annotations

import pytest

from can_stream.frames.batches import batch_of
from can_stream.lanes.holdings import NewGap, Taken
from can_stream.lanes.positions import Positions
from can_stream.protocol.clock_record import ClockRecord
from can_stream.protocol.errors import SessionError
from can_stream.protocol.lanes_control import BacklogRange, LedgerEntry
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Gap, GapReason, Packet

START = "00000000000000aa"


def data(seq: int, position: int | None, frames: int) -> Packet:
    batch = batch_of([(i, 1, 0, 0, b"") for i in range(frames)])
    return Packet(PacketNumber(START, seq), batch, position)


def gap(
    first: int, seq: int, position: int, frames: int | None, reason: GapReason = GapReason.SPOOL
) -> Packet:
    return Packet(PacketNumber(START, seq), Gap(reason, first, frames), position)


def clock(seq: int, position: int) -> Packet:
    return Packet(PacketNumber(START, seq), ClockRecord("boot", 0, synchronised=True), position)


def holding(*packets: Packet) -> Positions:
    made = Positions(start_id=START)
    for packet in packets:
        made.take(packet, 0.0)
    return made


def taken(start: Positions, packet: Packet) -> Taken:
    change = start.take(packet, 0.0)
    assert change is not None
    return change


def sums(start: Positions) -> tuple[int, int, int]:
    return start.frames, start.in_gaps, start.in_holes


def test_what_comes_again_is_not_new() -> None:
    packets = [gap(1, 1, 0, None, GapReason.START), data(2, 0, 5), clock(3, 5), gap(4, 4, 5, 3)]
    start = holding(*packets)
    assert sums(start) == (5, 3, 0)
    assert not any(start.is_new(packet) for packet in packets)
    assert [start.take(packet, 0.0) for packet in packets] == [None] * 4


def test_a_gap_is_judged_by_all_that_it_covers() -> None:
    start = holding(data(2, 0, 4), gap(5, 7, 20, 10))
    more = taken(start, gap(3, 6, 4, 22)).gap
    assert more is not None
    assert (more.parts, more.frames, more.place) == ([(4, 19)], 16, 4), "its end is known already"
    assert sums(start) == (4, 26, 0)


def test_data_takes_the_place_of_a_gap_that_stands_for_it_by_exactly_its_frames() -> None:
    start = holding(gap(1, 4, 0, 40))
    found = taken(start, data(2, 10, 7)).found
    assert found is not None
    assert (found.parts, found.frames) == ([(10, 16)], 7)
    assert sums(start) == (7, 33, 0)
    assert start.take(data(2, 10, 7), 0.0) is None


def test_a_known_loss_of_its_own_takes_the_place_of_a_gap_that_the_server_made() -> None:
    start = Positions(start_id=START)
    start.hear([], 10, 0.0)
    (made,) = start.expired(1.0)
    assert made == NewGap(START, GapReason.ANNOUNCED, 0, 0, 0, [(0, 9)], 10)
    change = taken(start, gap(1, 1, 0, 10, GapReason.SOURCE))
    assert change.gap is not None
    assert change.found is not None
    assert (change.gap.frames, change.found.frames, sums(start)) == (10, 0, (0, 10, 0))
    assert start.take(data(2, 4, 2), 0.0) is None, "no packet can come for it"


def test_through_stops_before_a_gap_that_stands_for_packets() -> None:
    start = holding(
        gap(1, 1, 0, None, GapReason.START), data(2, 0, 5), gap(3, 3, 5, 1, GapReason.BUDGET), clock(4, 6)
    )
    assert start.through == 4
    start.take(gap(5, 6, 6, 9), 0.0)
    start.take(data(7, 15, 1), 0.0)
    assert start.through == 4
    for packet in (data(5, 6, 4), data(6, 10, 5)):
        start.take(packet, 0.0)
    assert start.through == 7


def test_what_lies_below_a_position_and_is_nowhere_is_a_hole_from_that_moment() -> None:
    start = holding(data(1, 0, 5))
    start.take(data(4, 20, 5), 7.0)
    assert [tuple(hole) for hole in start.holes] == [(5, 19, 15, 7.0, 7.0)]
    start.hear([BacklogRange(START, 2, 2, 5, 3, None)], 30, 9.0)
    assert [tuple(hole) for hole in start.holes] == [
        (5, 7, 3, 7.0, 9.0), (8, 19, 12, 7.0, 7.0), (25, 29, 5, 9.0, 9.0),
    ]  # fmt: skip
    (gone,) = start.expired(8.0)
    assert (gone.parts, sums(start)) == ([(8, 19)], (10, 12, 8))


def test_where_more_was_acknowledged_than_is_recorded_the_server_went_back() -> None:
    start = holding(data(1, 0, 5))
    start.ledger(LedgerEntry(START, 3, 20, 12))
    start.ledger(LedgerEntry(START, 2, 10, 5))
    start.hear([], start.told_frames, 0.0)
    assert start.lacks_acknowledged, "an older copy of the ledger takes nothing back"
    (gone,) = start.expired(1.0)
    assert (gone.reason, gone.frames) == (GapReason.RESTORED, 15)
    start.take(data(2, 5, 7), 0.0)
    assert not start.lacks_acknowledged


@pytest.mark.parametrize(
    ("packet", "text"),
    [
        (data(2, 3, 5), "packet 2 of start .* has frames 3 to 7, and some of these"),
        (data(1, 5, 5), "packet 1 of start .* has frames 5 to 9, and some of these, or its number"),
        (data(2, None, 5), "packet 2 of start .* says no position"),
    ],
)
def test_frames_are_never_recorded_twice_nor_where_they_cannot_be(packet: Packet, text: str) -> None:
    start = holding(data(1, 0, 5))
    with pytest.raises(SessionError, match=text):
        start.is_new(packet)
    with pytest.raises(SessionError, match=text):
        start.take(packet, 0.0)
    assert sums(start) == (5, 0, 0)


def test_a_range_without_position_is_refused_with_the_remedy() -> None:
    with pytest.raises(SessionError, match="lets Sec-WebSocket-Protocol pass"):
        holding().hear([BacklogRange(START, 2, 2, None, 3, None)], 0, 0.0)
