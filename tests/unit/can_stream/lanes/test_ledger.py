"""What an agent says of its starts."""

from __future__ import annotations

from can_stream.lanes.held import Held
from can_stream.lanes.ledger import Ledger
from can_stream.protocol.lanes_control import MAX_STARTS, LedgerEntry
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Gap, GapReason

OWN, EARLIER = "ff" * 8, "01" * 8


def held(start_id: str, frames: int | None, gap: Gap | None = None, position: int = 0) -> Held:
    return Held(PacketNumber(start_id, 1), position, b"", frames, gap, None, 0.0)


def test_it_begins_with_nothing_but_this_start() -> None:
    assert Ledger(OWN).entries(0, 0) == [LedgerEntry(OWN, 0, 0, 0)]


def test_acknowledged_are_frames_and_no_gaps() -> None:
    ledger = Ledger(OWN)
    ledger.acknowledged(held(OWN, 10))
    ledger.acknowledged(held(OWN, 3, Gap(GapReason.WINDOW, 1, 3)))
    ledger.acknowledged(held(OWN, None, Gap(GapReason.START, 1, None)))
    assert ledger.entries(4, 13) == [LedgerEntry(OWN, 4, 13, 10)]


def test_an_earlier_start_has_its_own_books_until_all_of_it_is_acknowledged() -> None:
    ledger = Ledger(OWN)
    ledger.read([LedgerEntry(EARLIER, 9, 90, 50), LedgerEntry(OWN, 7, 70, 70)])
    ledger.acknowledged(held(EARLIER, 25))
    ledger.acknowledged(held("aa" * 8, 25))  # nobody knows it: its file was lost
    assert ledger.entries(0, 0) == [LedgerEntry(EARLIER, 9, 90, 75), LedgerEntry(OWN, 0, 0, 0)]
    ledger.acknowledged(held(EARLIER, 25, position=25))
    assert ledger.entries(0, 0)[0] == LedgerEntry(EARLIER, 9, 90, 90), "never more than there were"


def test_a_file_that_is_behind_takes_nothing_back_and_is_written() -> None:
    ledger = Ledger(OWN)
    ledger.read([LedgerEntry(EARLIER, 9, 90, 80)])
    ledger.read([LedgerEntry(EARLIER, 9, 90, 50)])
    assert ledger.entries(0, 0)[0] == LedgerEntry(EARLIER, 9, 90, 80)
    assert ledger.changed(0, 0)[0] == LedgerEntry(EARLIER, 9, 90, 80)


def test_an_older_copy_of_the_file_makes_no_more_of_what_was_acknowledged() -> None:
    ledger = Ledger(OWN)
    ledger.read([LedgerEntry(EARLIER, 20, 200, 40)])
    ledger.read(
        [LedgerEntry(EARLIER, 20, 200, 20)]
    )  # it has rows from 20 on, and those from 40 on moved there
    for position in (*range(20, 100, 10), *range(40, 100, 10)):
        ledger.acknowledged(held(EARLIER, 10, position=position))
    assert ledger.entries(0, 0)[0] == LedgerEntry(EARLIER, 20, 200, 100)


def test_there_is_room_for_the_newest_alone() -> None:
    ledger = Ledger(OWN)
    ledger.read(LedgerEntry(f"{number:016x}", 1, 1, 0) for number in range(100))
    entries = ledger.entries(5, 5)
    assert len(entries) == MAX_STARTS
    assert [entry.start_id for entry in entries] == [f"{number:016x}" for number in range(37, 100)] + [OWN]


def test_only_what_the_file_does_not_say_is_written() -> None:
    ledger = Ledger(OWN)
    ledger.read([LedgerEntry(EARLIER, 9, 90, 50)])
    new = ledger.changed(1, 10)
    assert new == [LedgerEntry(OWN, 1, 10, 0)]
    assert ledger.changed(1, 10) == new, "until it is there"
    ledger.written(new)
    assert ledger.changed(1, 10) == []
    ledger.add_acknowledged(EARLIER, 1)
    assert ledger.changed(2, 20) == [LedgerEntry(EARLIER, 9, 90, 51), LedgerEntry(OWN, 2, 20, 0)]
    ledger.written(ledger.changed(2, 20))
    ledger.not_written()
    assert ledger.changed(2, 20) == ledger.entries(2, 20), "another file says nothing yet"
