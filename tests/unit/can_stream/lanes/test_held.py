"""What becomes of a packet that there is no room for."""

from __future__ import annotations

import pytest

from can_stream.frames.batches import batch_of
from can_stream.lanes.backlog import Stretch
from can_stream.lanes.held import Held, joined_span, lost_stretch, may_merge
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Gap, GapReason, Packet, decode_packet, encode_frames

START = "01" * 8
NUMBER = PacketNumber(START, 7)
BATCH = batch_of([(1_000, 1, 0, 0, b""), (3_000, 2, 0, 0, b"")])
HELD = Held(NUMBER, 40, encode_frames(NUMBER, BATCH, 1_000, 40), 2, None, (1_000, 3_000), 5.0, row=9)


def test_what_waits_says_its_place_in_the_lane_and_on_disk() -> None:
    assert HELD.stretch == Stretch(START, 7, 7, 40, 2, 0, 5.0, 1, 9, 9)
    assert (HELD.first_seq, HELD.data_frames) == (7, 2)


@pytest.mark.parametrize("position", [None, 40])
def test_a_gap_takes_its_number_its_position_and_its_times(position: int | None) -> None:
    held = Held(NUMBER, position, b"", 2, None, (1_000, 3_000), 5.0)
    gap = held.as_gap(GapReason.WINDOW)
    assert decode_packet(gap.packet) == Packet(NUMBER, Gap(GapReason.WINDOW, 7, 2, 1_000, 3_000), position)
    assert (gap.frames, gap.data_frames, gap.made_at_seconds) == (2, 0, 5.0)
    assert (gap.stretch.frames, gap.stretch.lost_frames) == (2, 2)


def test_packets_that_are_nowhere_any_more_are_one_gap() -> None:
    gap = lost_stretch(Stretch(START, 3, 7, 20, 22, 4, None, 5, 1, 9), 60.0)
    assert decode_packet(gap.packet) == Packet(NUMBER, Gap(GapReason.SPOOL, 3, 22), 20)
    assert (gap.first_seq, gap.data_frames, gap.row) == (3, 0, 0)


def a_gap(reason: GapReason, frames: int | None = 1) -> Gap:
    return Gap(reason, 1, frames)


@pytest.mark.parametrize("reason", GapReason)
def test_only_gaps_of_given_up_packets_go_into_one(reason: GapReason) -> None:
    is_given_up = reason in (GapReason.WINDOW, GapReason.SPOOL)
    assert may_merge(a_gap(reason), a_gap(reason)) == is_given_up
    assert not may_merge(a_gap(reason), a_gap(reason, None)), "how many both were could not be said"
    assert not may_merge(a_gap(reason), None)


def test_gaps_of_different_reasons_stay_apart() -> None:
    assert not may_merge(a_gap(GapReason.WINDOW), a_gap(GapReason.SPOOL))


def test_times_of_two_are_those_of_both_as_far_as_known() -> None:
    assert joined_span((5, 9), (2, 7)) == (2, 9)
    assert joined_span(None, (2, 7)) == joined_span((2, 7), None) == (2, 7)
    assert joined_span(None, None) is None
