"""What a lane says when it opens, what it sends, and what an ack does."""

from __future__ import annotations

from can_stream.frames.batches import batch_of
from can_stream.lanes.sender import LaneSender
from can_stream.lanes.window import WindowLimits
from can_stream.protocol.clock_record import ClockRecord
from can_stream.protocol.hop import RangeKind
from can_stream.protocol.lanes_control import BacklogRange, LaneHello, LedgerEntry
from can_stream.protocol.marker import Marker, activation_name
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Gap, GapReason, Packet, decode_packet

START = "01" * 8
FIRST, SECOND = activation_name("ab" * 16, 1), activation_name("ab" * 16, 2)
Sent = tuple[RangeKind, Packet]


def a_lane(packets: int = 0, max_in_flight: int = 256) -> LaneSender:
    """Ten frames in each packet."""
    lane = LaneSender("van7-can0", "frames", START, WindowLimits(max_in_flight=max_in_flight))
    make(lane, packets)
    return lane


def make(lane: LaneSender, packets: int) -> None:
    for _ in range(packets):
        lane.take_frames(batch_of([(1_000, 1, 0, 1, b"\1")] * 10), 1.0)


def sent_by(lane: LaneSender) -> list[Sent]:
    """All that can be sent now."""
    sent = []
    while (packet := lane.next_packet()) is not None:
        sent.append((packet[0], decode_packet(packet[1])))
    return sent


def numbers(sent: list[Sent]) -> list[tuple[RangeKind, int]]:
    return [(kind, packet.number.seq) for kind, packet in sent]


def test_hello_says_where_the_lane_is_and_all_that_waits() -> None:
    lane = a_lane(3)
    lane.take_loss(GapReason.SOURCE, 5, 2.0)
    expected = [BacklogRange(START, 1, 4, 0, 35, 9.0)]
    starts = [LedgerEntry(START, 4, 35, 0)]
    assert lane.connect(10.0) == LaneHello("van7-can0", "frames", 5, expected, 35, True, starts)


def test_a_lane_that_has_nothing_is_complete_too() -> None:
    assert a_lane().connect(0.0) == LaneHello(
        "van7-can0", "frames", 1, [], 0, True, [LedgerEntry(START, 0, 0, 0)]
    )


def test_hello_names_as_many_starts_as_there_is_room_for() -> None:
    lane = a_lane()
    lane.ledger.read(LedgerEntry(f"{number:016x}", 1, 1, 1) for number in range(9))
    starts = lane.connect(0.0, max_starts=3).starts
    assert [entry.start_id for entry in starts] == [f"{7:016x}", f"{8:016x}", START]


def test_every_packet_says_its_position() -> None:
    lane = a_lane(1)
    lane.take_loss(GapReason.SOURCE, 5, 0.0)
    lane.take_loss(GapReason.START, None, 0.0)
    lane.take_clock(ClockRecord("boot", 1, synchronised=False), 0.0)
    make(lane, 1)
    lane.connect(0.0)
    assert [packet.position for _, packet in sent_by(lane)] == [0, 10, 15, 15, 15]
    assert lane.next_frame == 25


def test_a_marker_has_a_number_and_no_frames_and_begins_a_range() -> None:
    lane = a_lane(1)
    lane.take_marker(Marker(FIRST), 0.0)
    make(lane, 2)
    lane.take_marker(Marker(SECOND), 0.0)
    make(lane, 1)
    lane.take_marker(Marker(""), 0.0)
    make(lane, 1)
    told = [(one.first_seq, one.last_seq, one.frames, one.activation) for one in lane.connect(0.0).backlog]
    assert told == [(1, 1, 10, None), (2, 4, 20, FIRST), (5, 6, 10, SECOND), (7, 8, 10, None)]
    bodies = [packet.body for _, packet in sent_by(lane)]
    assert [body.activation for body in bodies if isinstance(body, Marker)] == [FIRST, SECOND, ""]


def test_a_full_window_lets_no_marker_go_and_no_gap_stands_for_two_activations() -> None:
    lane = LaneSender("van7-can0", "frames", START, WindowLimits(max_bytes=700))
    for activation in (FIRST, SECOND, ""):
        make(lane, 4)
        lane.take_marker(Marker(activation), 0.0)
    make(lane, 16)
    lane.connect(0.0)
    sent = [packet for _, packet in sent_by(lane)]
    assert [one.body.activation for one in sent if isinstance(one.body, Marker)] == [FIRST, SECOND, ""]
    gaps = [(one.first_seq, one.number.seq) for one in sent if isinstance(one.body, Gap)]
    assert gaps[:3] == [(1, 4), (6, 9), (11, 14)]


def test_what_is_sent_says_since_when_it_may_have_been_on_the_bus() -> None:
    lane = a_lane()
    lane.take_frames(batch_of([(1_000, 1, 0, 1, b"\1")]), 1.0, 700)
    make(lane, 1)
    lane.connect(0.0)
    assert [sent[1].born_ns for _ in range(2) if (sent := lane.next_held()) is not None] == [700, 0]


def test_live_goes_before_backlog_as_far_as_each_has_room() -> None:
    lane = a_lane(4, max_in_flight=2)
    asked = []
    lane.on_unsent = lambda: asked.append(lane.next_seq)
    lane.connect(0.0)
    make(lane, 3)
    assert asked == [6, 7, 8]
    live, backlog = RangeKind.LIVE, RangeKind.BACKLOG
    assert numbers(sent_by(lane)) == [(live, 5), (live, 6), (backlog, 1), (backlog, 2)]
    assert lane.has_unsent is True
    lane.acknowledged(live, PacketNumber(START, 6))
    assert numbers(sent_by(lane)) == [(live, 7)]
    lane.acknowledged(backlog, PacketNumber(START, 1))
    assert numbers(sent_by(lane)) == [(backlog, 3)]
    lane.acknowledged(backlog, PacketNumber(START, 3))
    assert numbers(sent_by(lane)) == [(backlog, 4)]
    assert (lane.acknowledged_frames, lane.waiting_frames, lane.has_unsent) == (50, 20, False)


def test_an_ack_is_for_what_was_sent_in_its_range_on_this_connection() -> None:
    lane = a_lane(2)
    freed = []
    lane.on_freed = lambda: freed.append(lane.acknowledged_frames)
    lane.connect(0.0)
    sent_by(lane)
    lane.acknowledged(RangeKind.LIVE, PacketNumber(START, 2))
    lane.acknowledged(RangeKind.BACKLOG, PacketNumber(START, 3))
    lane.disconnect()
    lane.acknowledged(RangeKind.BACKLOG, PacketNumber(START, 2))
    assert (lane.acknowledged_frames, freed) == (0, [])
    lane.connect(0.0)
    sent_by(lane)
    lane.acknowledged(RangeKind.BACKLOG, PacketNumber(START, 2))
    assert (lane.acknowledged_frames, freed, lane.is_empty) == (20, [20], True)


def test_a_gap_is_acknowledged_and_no_frame_with_it() -> None:
    lane = a_lane()
    lane.take_loss(GapReason.SOURCE, 7, 0.0)
    lane.connect(0.0)
    sent_by(lane)
    lane.acknowledged(RangeKind.BACKLOG, PacketNumber(START, 1))
    assert (lane.is_empty, lane.acknowledged_frames) == (True, 0)
    assert lane.connect(0.0).starts == [LedgerEntry(START, 1, 7, 0)]


def test_what_the_server_had_taken_is_not_sent_again() -> None:
    lane = a_lane(5)
    lane.connect(0.0)
    lane.accepted(3)
    assert [seq for _, seq in numbers(sent_by(lane))] == [4, 5]
    assert lane.acknowledged_frames == 30


def test_a_log_that_is_replayed_again_sends_what_the_server_lacks() -> None:
    lane = a_lane(1)
    lane.connect(0.0)
    lane.accepted(3)
    make(lane, 4)
    assert [(packet.number.seq, packet.position) for _, packet in sent_by(lane)] == [(4, 30), (5, 40)]
    assert lane.acknowledged_frames == 30


def test_what_is_paused_is_held_and_sent_when_it_goes_on() -> None:
    lane = a_lane(1)
    lane.connect(0.0)
    make(lane, 1)
    lane.paused = True
    assert lane.next_packet() is None
    assert (lane.has_unsent, lane.window.held_packets) == (True, 2)
    lane.paused = False
    assert numbers(sent_by(lane)) == [(RangeKind.LIVE, 2), (RangeKind.BACKLOG, 1)]
