"""What a server has handed over and the bus has not taken yet."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from can_stream.frames.batches import batch_of
from can_stream.protocol.errors import SessionError
from can_stream.protocol.relay_control import NotSent
from can_stream.protocol.relay_items import Counts
from edge_agent.relay.waiting import MAX_ENTRIES, Waiting, WaitingItem

S, T = "00" * 8, "11" * 8


def item(position: int, frames: int, start_id: str = S) -> WaitingItem:
    rows = batch_of([(0, position + row, 0, 0, b"") for row in range(frames)])
    return WaitingItem(start_id, position, rows, 1_000, fresh=False)


def counts(first: int, through: int, reason: NotSent = "gap", start_id: str = S) -> Counts:
    return Counts(0, start_id, first, through, through - first, reason)


def waiting(room: int = 10) -> Waiting:
    made = Waiting(room)
    made.clear(is_open=True)
    return made


def test_credit_grows_by_what_has_passed_and_no_more_is_taken() -> None:
    one = waiting()
    one.add(item(0, 9))
    one.add(item(9, 20))  # one item may go beyond it
    assert one.credit == 10
    with pytest.raises(SessionError, match="29 frames are handed already, 10 may be"):
        one.add(item(29, 1))
    one.cut(S, 12)
    assert one.credit == 22
    assert [(i.position, i.end, i.frames.arbitration_id[0]) for i in one.items()] == [(12, 29, 12)]
    one.cut(S, 29)
    assert (one.head, one.credit) == (None, 39)
    one.add(item(29, 1))


def test_before_directions_and_after_the_end_nothing_is_taken() -> None:
    one = Waiting(10)
    with pytest.raises(SessionError, match="nothing is relayed to this dongle"):
        one.add(item(0, 1))
    one = waiting()
    one.add(item(0, 10))
    one.clear(is_open=False)
    assert (one.head, one.credit) == (None, 10)
    with pytest.raises(SessionError):
        one.add_counts(counts(0, 1))


def test_what_lies_below_another_start_stays() -> None:
    one = waiting()
    one.add(item(0, 3))
    one.add(item(0, 3, T))
    one.cut(T, 3)
    assert len(one.items()) == 2
    one.cut(S, 99)
    assert [i.start_id for i in one.items()] == [T]


def test_a_burst_is_cut_from_items_of_one_start_in_order_up_to_a_row_of_counts() -> None:
    one = waiting(100)
    for entry in (item(0, 3), item(5, 3), item(4, 2), item(0, 9, T)):
        one.add(entry)
    assert [i.position for i in one.next_items(100)] == [0, 5]
    assert [i.position for i in one.next_items(2)] == [0]
    two = waiting()
    two.add(item(0, 1))
    two.add_counts(counts(1, 2))
    two.add(item(2, 1))
    assert [i.position for i in two.next_items(100)] == [0]
    assert [i.position for i in two.items()] == [0, 2]


def test_rows_that_follow_each_other_for_one_reason_are_one() -> None:
    one = waiting()
    for row in (counts(0, 2), counts(2, 5), counts(5, 6, "too_old"), counts(7, 8, "too_old")):
        one.add_counts(row)
    one.add_counts(replace(counts(8, 9, "too_old"), in_doubt=True))
    found = []
    while isinstance(one.head, Counts):
        found.append((one.head.first, one.head.through, one.head.frames))
        one.pop_counts()
    assert found == [(0, 5, 5), (5, 6, 1), (7, 8, 1), (8, 9, 1)]


def test_rows_without_end_are_refused() -> None:
    one = waiting()
    for number in range(MAX_ENTRIES):
        one.add_counts(counts(2 * number, 2 * number + 1))
    with pytest.raises(SessionError, match="more than"):
        one.add_counts(counts(2 * MAX_ENTRIES, 2 * MAX_ENTRIES + 1))


def test_an_item_without_frames_is_nothing() -> None:
    one = waiting()
    one.add(item(0, 0))
    assert one.head is None
