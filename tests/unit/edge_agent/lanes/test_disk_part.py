"""What of a lane is on disk alone: how it is counted, let go and lost."""

from __future__ import annotations

from can_stream.lanes.backlog import Stretch
from can_stream.lanes.held import Held
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Gap, GapReason, decode_packet, encode_gap
from edge_agent.lanes.disk_backlog import SpoolRow, Unneeded
from edge_agent.lanes.disk_part import DiskPart
from edge_agent.lanes.trim import trim

OWN, EARLIER = "0b" * 8, "0a" * 8


def a_row(row: int, seq: int, start_id: str = EARLIER, gap: Gap | None = None) -> SpoolRow:
    number, position = PacketNumber(start_id, seq), 10 * (seq - 1)
    return SpoolRow(row, number, position, seq, 10, gap, None, 5.0, b"%d" % seq)


EARLIER_ROWS = [a_row(row, row) for row in range(1, 7)]
OWN_ROWS = [a_row(10 + seq, seq, OWN) for seq in range(1, 5)]


def a_part(in_memory: tuple[PacketNumber, ...] = ()) -> DiskPart:
    """Six packets of an earlier start, and four of this one, of ten frames each."""
    part = DiskPart(OWN, in_memory)
    part.backlog.append(Stretch(EARLIER, 1, 3, 0, 30, 0, 40.0, 3, 1, 3))
    part.backlog.stretches.append(Stretch(EARLIER, 4, 6, 30, 30, 0, 45.0, 3, 4, 6))
    part.backlog.append(Stretch(OWN, 1, 4, 0, 40, 0, 50.0, 4, 11, 14))
    return part


def stretches(part: DiskPart) -> list[tuple[str, int, int]]:
    return [(one.start_id, one.first_seq, one.last_seq) for one in part.backlog.stretches]


def read(part: DiskPart, *rows: SpoolRow) -> None:
    """A connection that listed all has read these."""
    part.is_connected = True
    part.reader.open(14)
    fetch = part.reader.next_fetch()
    assert fetch is not None
    part.reader.take_rows(fetch, list(rows))


def test_it_says_how_much_of_which_start_waits_and_for_how_long() -> None:
    part = a_part()
    assert (part.frames, part.waiting_frames(OWN), part.waiting_frames(EARLIER)) == (100, 40, 60)
    assert part.oldest_age_seconds(100.0) == 60.0
    assert DiskPart(OWN).oldest_age_seconds(100.0) is None


def test_what_was_read_back_and_acknowledged_is_not_there_any_more() -> None:
    part = a_part()
    read(part, *EARLIER_ROWS[:3])
    held = part.release(PacketNumber(EARLIER, 1))
    assert isinstance(held, Held)
    assert held.row == 1
    assert stretches(part)[0] == (EARLIER, 2, 3)
    first = part.backlog.stretches[0]
    assert (first.position, first.frames, first.first_row, first.packets) == (10, 20, 2, 2)
    assert part.release(PacketNumber(EARLIER, 5)) is None, "it was not read"


def test_what_the_server_has_of_this_start_is_not_needed_as_far_as_it_stands_together() -> None:
    part = a_part()
    assert part.release_through(OWN, 3) == 0
    assert part.release_through(EARLIER, 5) == 30
    assert part.release_through(OWN, 4) == 40
    assert stretches(part) == [(EARLIER, 4, 6)]
    assert [(one.first_row, one.last_row) for one in part.unneeded.take().stretches] == [(1, 3), (11, 14)]


def test_what_has_to_go_is_one_gap_across_ranges_where_no_hello_listed_them() -> None:
    part = a_part()
    plan = trim(part, EARLIER_ROWS)
    assert [decode_packet(row.packet).body for row in plan.puts] == [Gap(GapReason.SPOOL, 1, 60)]
    assert [row.row for row in plan.merged] == [1, 2, 3, 4, 5]
    part.trimmed(plan.lost, plan.merged)
    assert (part.frames, part.trimmed_frames, part.earlier_trimmed_frames) == (40, 0, 60)
    first = part.backlog.stretches[0]
    assert (first.first_seq, first.last_seq, first.frames, first.packets) == (1, 6, 60, 1)


def test_ranges_that_an_open_hello_listed_stay_apart() -> None:
    part = a_part()
    part.is_connected = True
    plan = trim(part, EARLIER_ROWS)
    assert [(row.first_seq, row.number.seq) for row in plan.puts] == [(1, 3), (4, 6)]
    assert [row.position for row in plan.puts] == [0, 30]


def test_what_is_on_its_way_keeps_its_number_and_is_sent_as_a_gap() -> None:
    part = a_part()
    read(part, *EARLIER_ROWS[:2])
    plan = trim(part, EARLIER_ROWS[:3])
    assert [(row.first_seq, row.number.seq) for row in plan.puts] == [(1, 1), (2, 2), (3, 3)]
    part.trimmed(plan.lost, plan.merged)
    held = part.reader.next_packet()
    assert held is not None
    assert held.packet == encode_gap(PacketNumber(EARLIER, 1), Gap(GapReason.SPOOL, 1, 10), 0)
    assert part.earlier_trimmed_frames == 30


def test_what_is_sent_from_memory_stays_on_disk() -> None:
    part = a_part((PacketNumber(OWN, 2),))
    plan = trim(part, OWN_ROWS)
    assert [(row.first_seq, row.number.seq) for row in plan.puts] == [(1, 1), (3, 4)]
    part.trimmed(plan.lost, plan.merged)
    assert part.trimmed_frames == 30


def test_gaps_that_nobody_reads_may_be_forgotten_the_oldest_first() -> None:
    part = a_part()
    gaps = [a_row(row, row, EARLIER, Gap(GapReason.SPOOL, row, 10)) for row in (1, 2)]
    plan = trim(part, EARLIER_ROWS[:1])
    part.trimmed(plan.lost, plan.merged)
    assert part.may_drop(gaps)
    part.dropped(gaps[:1])
    first = part.backlog.stretches[0]
    assert (first.first_seq, first.position, first.frames, first.lost_frames) == (2, 10, 20, 0)
    read(part, *EARLIER_ROWS[1:3])
    assert not part.may_drop(gaps[1:])
    assert not a_part((PacketNumber(EARLIER, 1),)).may_drop(gaps)


def test_a_file_that_is_gone_takes_all_with_it_counted() -> None:
    part = a_part()
    read(part, *EARLIER_ROWS[:3])
    part.release_through(OWN, 4)
    lost = part.lost_all()
    assert [(one.start_id, one.first_seq, one.last_seq) for one in lost] == [(EARLIER, 1, 3), (EARLIER, 4, 6)]
    assert (part.frames, part.earlier_trimmed_frames) == (0, 60)
    assert not part.unneeded, "there is nothing to delete in another file"
    assert part.reader.is_idle
    assert part.release(PacketNumber(EARLIER, 1)) is None


def test_what_could_not_be_read_is_counted() -> None:
    part = a_part()
    part.vanished([part.backlog.stretches[2]])
    assert (part.frames, part.trimmed_frames) == (60, 40)


def test_what_was_moved_is_known_by_its_new_rows() -> None:
    part = a_part()
    part.release_through(EARLIER, 3)
    part.unneeded.rows.append(9)
    part.shift_rows(100)
    assert [(one.first_row, one.last_row) for one in part.backlog.stretches] == [(104, 106), (111, 114)]
    unneeded = part.unneeded.take()
    assert (unneeded.rows, unneeded.stretches[0].first_row) == ([109], 101)
    assert not part.unneeded


def test_what_the_disk_did_not_take_is_asked_for_again() -> None:
    unneeded = Unneeded([1], [Stretch(OWN, 1, 1, 0, 1, 0, None)])
    taken = unneeded.take()
    unneeded.rows.append(2)
    unneeded.put_back(taken)
    assert sorted(unneeded.rows) == [1, 2]
    assert len(unneeded.stretches) == 1
