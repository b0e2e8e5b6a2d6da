"""What a lane holds in memory, and what goes when that is too much."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from can_stream.frames.batches import batch_of
from can_stream.lanes.held import Held
from can_stream.lanes.sender import LaneSender
from can_stream.lanes.window import MemoryWindow, WindowLimits
from can_stream.protocol.hop import RangeKind
from can_stream.protocol.packets import Gap, GapReason, decode_packet

START = "01" * 8
LIMIT_BYTES = 1_000


class Trial:
    """A lane in memory whose packets, of ten frames, can be looked at."""

    def __init__(self, max_bytes: int = LIMIT_BYTES) -> None:
        self.window = MemoryWindow(WindowLimits(max_bytes))
        self.lane = LaneSender("van7-can0", "frames", START, self.window.limits, 1000, self.window)

    def make(self, packets: int = 1) -> None:
        for _ in range(packets):
            first = self.lane.next_frame
            rows = [((first + i) * 1_000, 1, 0, 8, os.urandom(8)) for i in range(10)]
            self.lane.take_frames(batch_of(rows), float(self.lane.next_seq))

    def make_until_full(self) -> None:
        while not self.window.trimmed_frames:
            self.make()

    def send(self, packets: int) -> list[tuple[RangeKind, int]]:
        sent = []
        for _ in range(packets):
            packet = self.lane.next_packet()
            assert packet is not None
            sent.append((packet[0], decode_packet(packet[1]).number.seq))
        return sent

    def gaps(self) -> list[tuple[int, int]]:
        """First and last numbers."""
        return [(one.first_seq, one.number.seq) for one in self.held if one.gap is not None]

    @property
    def held(self) -> list[Held]:
        return list(self.window.held.values())


def test_the_oldest_become_one_gap_until_a_tenth_is_free() -> None:
    trial = Trial()
    trial.make_until_full()
    assert trial.window.held_bytes <= LIMIT_BYTES * 9 // 10
    (first, *others) = trial.held
    packet = decode_packet(first.packet)
    lost = trial.window.trimmed_frames
    assert packet.body == Gap(GapReason.WINDOW, 1, lost, 0, (lost - 1) * 1_000)
    assert (packet.position, packet.number.seq) == (0, lost // 10)
    assert first.made_at_seconds == 1.0, "as old as the oldest in it"
    assert [one.gap for one in others] == [None] * len(others)
    assert others[0].position == lost


def test_the_bytes_are_counted_to_the_last() -> None:
    trial = Trial()
    trial.make(60)
    assert trial.window.held_bytes == sum(len(one.packet) for one in trial.held)
    for one in trial.held:
        trial.window.release(one.number)
    assert (trial.window.held_bytes, trial.window.held_packets) == (0, 0)


def test_a_source_that_waits_loses_nothing() -> None:
    window = MemoryWindow(WindowLimits(LIMIT_BYTES, trims=False))
    lane = LaneSender("van7-can0", "frames", START, window.limits, 1000, window)
    while not lane.is_full:
        lane.take_frames(batch_of([(1, 1, 0, 8, os.urandom(8))]), 0.0)
    assert window.trimmed_frames == 0
    assert window.held_bytes < LIMIT_BYTES + 100


def test_what_was_sent_on_this_connection_keeps_its_number() -> None:
    trial = Trial()
    trial.lane.connect(0.0)
    trial.make(4)
    trial.send(3)
    trial.make(60)
    assert trial.gaps()[:3] == [(1, 1), (2, 2), (3, 3)]
    assert len(trial.gaps()) == 4


def test_after_another_hello_it_may_go_into_one() -> None:
    trial = Trial()
    trial.lane.connect(0.0)
    trial.make(4)
    trial.send(3)
    trial.make(60)
    trial.lane.disconnect()
    trial.make(60)
    assert len(trial.gaps()) == 1
    assert trial.lane.acknowledged_frames == 0


def test_no_gap_lies_in_backlog_and_live() -> None:
    trial = Trial()
    trial.make(4)
    (listed,) = trial.lane.connect(0.0).backlog
    assert listed.last_seq == 4
    trial.make(60)
    assert trial.gaps()[0] == (1, 4)
    assert trial.gaps()[1][0] == 5
    assert len(trial.gaps()) == 2


def test_no_gap_lies_in_what_a_hello_listed_and_what_it_had_no_room_for() -> None:
    trial = Trial()
    trial.make(20)
    (listed,) = trial.lane.connect(0.0, 1).backlog
    trial.lane.disconnect()
    trial.lane.take_loss(GapReason.SOURCE, None, 0.0)  # begins another range
    trial.make(3)
    (listed,) = trial.lane.connect(0.0, 1).backlog
    trial.make(60)
    assert all(not first <= listed.last_seq < last for first, last in trial.gaps())


def test_gaps_from_elsewhere_stay_as_they_are() -> None:
    trial = Trial()
    trial.make(2)
    trial.lane.take_loss(GapReason.SOURCE, 5, 0.0)
    trial.make(60)
    assert trial.gaps()[:2] == [(1, 2), (3, 3)]
    assert [one.position for one in trial.held[:3]] == [0, 20, 25]


def test_what_is_on_disk_too_takes_no_room_and_is_not_let_go() -> None:
    trial = Trial()
    trial.make(5)
    for row, one in enumerate(trial.held, 1):
        one.row = row
        trial.window.spooled_bytes += len(one.packet)
    trial.make_until_full()
    assert trial.gaps()[0][0] == 6
    assert trial.window.unsafe_frames == trial.window.waiting_frames(START), "none is known to be there"
    trial.held[0].is_stored = True
    assert trial.window.stored_frames == 10
    assert trial.window.unsafe_frames == trial.window.waiting_frames(START) - 10


def test_what_the_server_has_is_not_waiting() -> None:
    trial = Trial(10**6)
    trial.make(3)
    assert trial.window.release_through(START, 2) == 20
    assert trial.window.release_through("02" * 8, 9) == 0
    assert (trial.window.held_packets, trial.window.waiting_frames(START)) == (1, 10)
    assert trial.window.oldest_made_at_seconds == 3.0
    assert trial.window.release(trial.held[0].number) is not None
    assert trial.window.oldest_made_at_seconds is None


def test_a_hello_without_room_for_all_says_so_and_the_rest_waits_for_the_next() -> None:
    trial = Trial(10**6)
    for _ in range(3):
        trial.make()
        trial.lane.next_seq += 1  # so that each is a range of its own
    hello = trial.lane.connect(0.0, 2)
    assert ([one.first_seq for one in hello.backlog], hello.complete) == ([1, 3], False)
    trial.make()
    assert trial.send(3) == [(RangeKind.LIVE, 7), (RangeKind.BACKLOG, 1), (RangeKind.BACKLOG, 3)]
    assert trial.lane.next_packet() is None
    hello = trial.lane.connect(0.0, 4)
    assert ([one.first_seq for one in hello.backlog], hello.complete) == ([1, 3, 5, 7], True)


@given(st.lists(st.sampled_from(["make", "send", "connect", "cut", "loss"]), max_size=80))
def test_whatever_happens_the_positions_are_one_row_without_holes(steps: list[str]) -> None:
    trial = Trial(400)
    for step in steps:
        if step == "make":
            trial.make()
        elif step == "send":
            trial.lane.next_packet()
        elif step == "connect":
            trial.lane.connect(0.0)
        elif step == "cut":
            trial.lane.disconnect()
        else:
            trial.lane.take_loss(GapReason.SOURCE, 3, 0.0)
    place, seq = 0, 1
    for one in trial.held:
        assert (one.position, one.first_seq) == (place, seq)
        assert decode_packet(one.packet).frames == one.frames
        place, seq = place + (one.frames or 0), one.number.seq + 1
    assert (place, seq) == (trial.lane.next_frame, trial.lane.next_seq)
    assert trial.window.held_bytes <= 400 or len(trial.gaps()) >= len(trial.held) - 1
