"""What is read back from disk for a connection."""

from __future__ import annotations

from can_stream.lanes.backlog import Stretch
from can_stream.protocol.packet_head import PacketNumber
from edge_agent.lanes.backlog_reader import BacklogReader, Fetch
from edge_agent.lanes.disk_backlog import DiskBacklog, SpoolRow

OLD, NEW = "0a" * 8, "0b" * 8


def a_row(row: int, seq: int, start_id: str = OLD) -> SpoolRow:
    return SpoolRow(row, PacketNumber(start_id, seq), 10 * (seq - 1), seq, 10, None, None, 5.0, b"%d" % seq)


class Trial:
    """Rows 1 to 3 are of an old start, and 11 to 14 of a new one."""

    def __init__(self) -> None:
        self.disk = DiskBacklog()
        self.disk.append(Stretch(OLD, 1, 3, 0, 30, 0, 5.0, 3, 1, 3))
        self.disk.append(Stretch(NEW, 1, 4, 0, 40, 0, 5.0, 4, 11, 14))
        self.reader = BacklogReader(self.disk)

    def fetch(self) -> Fetch:
        fetch = self.reader.next_fetch()
        assert fetch is not None
        return fetch

    def take(self, fetch: Fetch, *rows: SpoolRow) -> list[Stretch]:
        return self.reader.take_rows(fetch, list(rows))

    def numbers(self) -> list[PacketNumber]:
        numbers = []
        while (held := self.reader.next_packet()) is not None:
            numbers.append(held.number)
        return numbers


def old(*seqs: int) -> list[PacketNumber]:
    return [PacketNumber(OLD, seq) for seq in seqs]


def test_without_a_connection_nothing_is_read() -> None:
    trial = Trial()
    assert trial.reader.next_fetch() is None
    assert not trial.reader.has_more


def test_one_stretch_after_the_other_is_read_as_far_as_the_hello_listed() -> None:
    trial = Trial()
    trial.reader.open(14)
    first = trial.fetch()
    assert first == Fetch(OLD, 1, 3, 0, 3, first.epoch)
    assert trial.reader.next_fetch() is None, "one after the other"
    trial.take(first, a_row(1, 1), a_row(2, 2))
    rest = trial.fetch()
    assert rest == Fetch(OLD, 3, 3, 2, 3, first.epoch)
    trial.take(rest, a_row(3, 3))
    second = trial.fetch()
    assert second == Fetch(NEW, 1, 4, 10, 14, first.epoch)
    assert trial.reader.has_packets
    assert trial.numbers() == old(1, 2, 3)
    assert not trial.reader.is_finished
    trial.take(second, *(a_row(10 + seq, seq, NEW) for seq in range(1, 5)))
    assert [number.start_id for number in trial.numbers()] == [NEW] * 4
    assert (trial.reader.is_finished, trial.reader.is_idle, trial.reader.has_more) == (True, False, False)
    for number in [*old(1, 2, 3), *(PacketNumber(NEW, seq) for seq in range(1, 5))]:
        held = trial.reader.release(number)
        assert held is not None
        assert (held.is_stored, held.position, held.packet) == (
            True,
            10 * (number.seq - 1),
            b"%d" % number.seq,
        )
    assert trial.reader.is_idle
    assert trial.reader.release(old(1)[0]) is None


def test_what_the_hello_did_not_list_waits_for_the_next() -> None:
    trial = Trial()
    trial.reader.open(3)
    assert trial.reader.has_unlisted
    trial.take(trial.fetch(), a_row(1, 1), a_row(2, 2), a_row(3, 3))
    assert trial.reader.next_fetch() is None
    trial.reader.open(14)
    assert not trial.reader.has_unlisted


def test_what_comes_before_all_of_it_waits_for_the_next_hello_too() -> None:
    trial = Trial()
    trial.disk.pop_through(OLD, 3)
    trial.reader.open(14)
    trial.disk.put_first([Stretch(OLD, 1, 3, 0, 30, 0, 5.0, 3, 1, 3)])
    trial.reader.skip(3)
    assert trial.fetch().start_id == NEW
    trial.reader.open(14)
    assert trial.fetch().start_id == OLD


def test_what_was_read_for_another_connection_is_not_sent() -> None:
    trial = Trial()
    trial.reader.open(14)
    late = trial.fetch()
    trial.reader.close()
    assert trial.take(late, a_row(1, 1)) == []
    trial.reader.open(14)
    assert trial.take(late, a_row(1, 1)) == []
    assert trial.take(late) == [], "nor is it gone"
    assert not trial.reader.has_packets
    assert trial.fetch().first_seq == 1


def test_no_more_is_read_than_is_comfortable() -> None:
    disk = DiskBacklog()
    disk.append(Stretch(OLD, 1, 200, 0, 2_000, 0, 5.0, 200, 1, 200))
    reader = BacklogReader(disk)
    reader.open(200)
    fetch = reader.next_fetch()
    assert fetch is not None
    reader.take_rows(fetch, [a_row(seq, seq) for seq in range(1, 65)])
    assert reader.next_fetch() is None
    assert reader.has_more
    reader.next_packet()
    assert reader.next_fetch() == Fetch(OLD, 65, 200, 64, 200, fetch.epoch)


def test_what_is_there_no_more_is_named() -> None:
    trial = Trial()
    trial.reader.open(14)
    assert trial.take(trial.fetch()) == [trial.disk.stretches[0]]


def test_a_disk_that_does_not_work_holds_up_nobody() -> None:
    trial = Trial()
    trial.reader.open(14)
    trial.fetch()
    trial.reader.use_disk(False)
    assert trial.reader.is_finished
    assert trial.reader.next_fetch() is None
    trial.reader.use_disk(True)
    assert trial.fetch().first_seq == 1


def test_rows_that_were_moved_are_read_under_their_new_numbers_and_none_twice() -> None:
    trial = Trial()
    trial.reader.open(14)
    trial.take(trial.fetch(), a_row(1, 1), a_row(2, 2))
    on_its_way = trial.fetch()
    for stretch in trial.disk.stretches:
        stretch.first_row += 100
        stretch.last_row += 100
    trial.reader.shift_rows(100)
    assert trial.take(on_its_way, a_row(3, 3)) == []
    again = trial.fetch()
    assert again == Fetch(OLD, 3, 3, 102, 103, again.epoch)
    trial.take(again, a_row(103, 3))
    assert trial.numbers() == old(1, 2, 3)
    assert trial.reader.has_unlisted is False
    rows = [held.row for number in old(1, 2, 3) if (held := trial.reader.find(number))]
    assert rows == [101, 102, 103]
