"""What is written to disk, and when."""

from __future__ import annotations

from functools import partial
from itertools import count

from can_stream.frames.batches import FrameBatch
from can_stream.lanes.sender import LaneSender
from can_stream.protocol.hop import RangeKind
from can_stream.protocol.packets import Gap, GapReason, decode_packet
from edge_agent.lanes.disk_backlog import SpoolRow
from edge_agent.lanes.spool_writer import SpoolWriter, row_of
from tests.helpers.spooled_lanes import a_spooled_lane, random_frames, window_of

PATIENCE = 0.25


class Trial:
    """A lane that is asked by hand; `open` frames are no packet yet, since `open_since`."""

    def __init__(self) -> None:
        self.lane: LaneSender = a_spooled_lane(patience_seconds=PATIENCE)
        self.window = window_of(self.lane)
        self.writer: SpoolWriter = self.window.writer
        self.next_row = partial(next, count(1))
        self.open: FrameBatch | None = None
        self.open_since = 0.0
        self.writer.open_batch = lambda: None if self.open is None else (self.open, self.open_since, 0)

    def make(self, made_at: float, frames: int = 10) -> None:
        self.lane.take_frames(random_frames(frames), made_at)

    def finish_batch(self) -> None:
        assert self.open is not None
        self.lane.take_frames(self.open, self.open_since)
        self.open = None

    def hand_over(self, now: float, max_bytes: int = 1 << 20) -> list[SpoolRow]:
        return self.window.hand_over(now, self.next_row, max_bytes)

    def unneeded(self) -> list[int]:
        return self.window.disk.unneeded.take().rows


def seqs(rows: list[SpoolRow]) -> list[int]:
    return [row.number.seq for row in rows]


def test_a_packet_is_due_when_the_server_takes_too_long_over_it() -> None:
    trial = Trial()
    assert trial.writer.due_in(5.0) == PATIENCE, "as far as is certain"
    trial.make(5.0)
    assert trial.writer.due_in(5.125) == 0.125
    assert trial.writer.due_in(5.5) == 0.0


def test_on_a_connection_only_what_has_waited_goes_along() -> None:
    trial = Trial()
    trial.lane.connect(0.0)
    for made_at in (5.0, 5.1, 5.2):
        trial.make(made_at)
    assert seqs(trial.hand_over(5.25)) == [1, 2]
    assert trial.hand_over(5.25) == [], "each once"
    trial.lane.disconnect()
    assert seqs(trial.hand_over(5.25)) == [3], "nobody could acknowledge it"


def test_no_more_than_a_transaction_holds_and_always_one() -> None:
    trial = Trial()
    for _ in range(3):
        trial.make(0.0)
    assert [seqs(trial.hand_over(1.0, 1)) for _ in range(3)] == [[1], [2], [3]]


def test_what_is_acknowledged_before_it_is_due_is_never_written() -> None:
    trial = Trial()
    trial.lane.connect(0.0)
    trial.make(5.0)
    sent = trial.lane.next_packet()
    assert sent is not None
    trial.lane.acknowledged(RangeKind.LIVE, decode_packet(sent[1]).number)
    assert trial.hand_over(9.0) == []
    assert trial.unneeded() == []


def test_what_is_acknowledged_after_it_was_written_is_not_needed_there() -> None:
    trial = Trial()
    trial.lane.connect(0.0)
    trial.make(5.0)
    rows = trial.hand_over(9.0)
    trial.window.written(rows)
    trial.lane.accepted(1)
    assert trial.unneeded() == [rows[0].row]
    assert trial.unneeded() == [], "once"


def test_a_disk_that_refuses_gets_it_again_under_another_number() -> None:
    trial = Trial()
    for _ in range(3):
        trial.make(0.0)
    refused = trial.hand_over(1.0)
    spooled = trial.window.memory.spooled_bytes
    assert spooled == trial.window.held_bytes
    trial.writer.not_written(refused)
    assert trial.window.memory.spooled_bytes == 0
    trial.make(0.5)
    again = trial.hand_over(1.0)
    assert seqs(again) == [1, 2, 3, 4]
    assert not {row.row for row in again} & {row.row for row in refused}
    assert trial.unneeded() == [row.row for row in refused], "they may be there after all"


def test_what_waits_to_become_a_packet_is_written_as_the_next_and_gives_way_to_it() -> None:
    trial = Trial()
    trial.make(5.0)
    trial.window.written(trial.hand_over(5.5))
    trial.open, trial.open_since = random_frames(4), 6.0
    assert trial.writer.due_in(6.125) == 0.125
    assert trial.hand_over(6.125) == []
    (provisional,) = trial.hand_over(6.25)
    assert (provisional.number.seq, provisional.position, provisional.frames) == (2, 10, 4)
    assert trial.hand_over(6.5) == [], "nothing is new"
    trial.open = random_frames(7)
    assert trial.hand_over(6.375) == []
    (longer,) = trial.hand_over(6.5)
    assert (longer.row, longer.frames) == (provisional.row, 7), "in the place of the first"
    trial.finish_batch()
    (packet,) = trial.hand_over(7.0)
    assert (packet.number.seq, packet.frames) == (2, 7)
    assert trial.unneeded() == [provisional.row]


def test_a_packet_that_is_acknowledged_takes_what_stood_for_it_along() -> None:
    trial = Trial()
    trial.lane.connect(0.0)
    trial.open = random_frames(4)
    (provisional,) = trial.hand_over(6.0)
    trial.finish_batch()
    trial.lane.accepted(1)
    assert trial.hand_over(9.0) == []
    assert trial.unneeded() == [provisional.row]


def test_what_stands_for_it_is_known_after_the_disk_refused_something_else() -> None:
    trial = Trial()
    trial.open = random_frames(4)
    (provisional,) = trial.hand_over(6.0)
    trial.writer.not_written([])
    trial.finish_batch()
    trial.hand_over(7.0)
    assert trial.unneeded() == [provisional.row]


def test_what_stands_for_it_is_written_anew_where_the_disk_refused_it() -> None:
    trial = Trial()
    trial.open = random_frames(4)
    refused = trial.hand_over(6.0)
    trial.writer.not_written(refused)
    (again,) = trial.hand_over(6.0)
    assert again.row != refused[0].row
    assert trial.unneeded() == [refused[0].row]


def test_while_packets_wait_to_be_written_what_is_open_waits_too() -> None:
    trial = Trial()
    trial.make(0.0)
    trial.make(0.0)
    trial.open = random_frames(4)
    assert seqs(trial.hand_over(1.0, 1)) == [1]
    assert seqs(trial.hand_over(1.0)) == [2, 3]


def test_at_the_end_all_that_is_not_there_is_written() -> None:
    trial = Trial()
    trial.lane.connect(0.0)
    trial.make(0.0)
    trial.window.written(trial.hand_over(1.0))
    trial.make(1.0)
    refused = trial.hand_over(2.0)
    trial.make(2.0)
    rows = trial.writer.hand_over_all(trial.next_row)
    assert seqs(rows) == [2, 3]
    assert rows[0].row == refused[0].row


def test_what_is_too_large_for_the_disk_is_a_gap_there_and_in_memory() -> None:
    trial = Trial()
    trial.writer.max_packet_bytes = 200
    trial.make(0.0, 10)
    trial.make(0.0, 100)
    small, large = trial.hand_over(1.0)
    assert (small.gap, large.gap) == (None, Gap(GapReason.SPOOL, 2, 100, 0, 99))
    assert decode_packet(large.packet).position == 10
    assert trial.window.trimmed_frames == 100
    assert trial.window.held_bytes == len(small.packet) + len(large.packet)


def test_in_another_file_all_of_memory_is_new() -> None:
    trial = Trial()
    trial.lane.connect(0.0)
    trial.make(0.0)
    trial.make(0.0)
    trial.window.written(trial.hand_over(1.0))
    trial.make(0.0)
    trial.writer.begin_anew()
    assert trial.window.unsafe_frames == 30
    assert seqs(trial.hand_over(1.0)) == [1, 2, 3]
    assert trial.unneeded() == []


def test_rows_that_were_moved_are_known_by_their_new_numbers() -> None:
    trial = Trial()
    trial.lane.connect(0.0)
    trial.make(0.0)
    (first,) = trial.hand_over(1.0)
    trial.window.written([first])
    trial.open = random_frames(4)
    (provisional,) = trial.hand_over(9.0)
    trial.window.shift_rows(100)
    trial.finish_batch()
    trial.lane.accepted(2)
    assert sorted(trial.unneeded()) == [first.row + 100, provisional.row + 100]


def test_who_packs_says_what_the_next_packet_would_be() -> None:
    lane = a_spooled_lane()
    lane.take_loss(GapReason.SOURCE, 3, 0.0)
    packed = row_of(lane.packed(random_frames(4), 1.0))
    assert (packed.number.seq, packed.position, packed.frames) == (2, 3, 4)
    assert (lane.next_seq, lane.next_frame) == (2, 3), "it is not numbered by that"
