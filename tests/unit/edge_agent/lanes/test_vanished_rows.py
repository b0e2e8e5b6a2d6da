"""What is no longer in the spool's file costs nothing but itself: all that is there is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from can_stream.lanes.backlog import Stretch
from can_stream.lanes.sender import LaneSender
from can_stream.protocol.packet_head import PacketNumber
from edge_agent.lanes.disk_backlog import DiskBacklog, SpoolRow
from edge_agent.spool.changes import Changes, Moment
from edge_agent.spool.store import SpoolStore
from tests.helpers.spooled_lanes import (
    START,
    a_spooled_lane,
    acknowledge_all,
    load,
    offer_left,
    random_frames,
    store_all,
    window_of,
)

EARLIER: Final = "02" * 8
NOW: Final = Moment("boot", 100.0, None)


def hold(lane: LaneSender, packets: int) -> None:
    for _ in range(packets):
        lane.take_frames(random_frames(3), NOW.monotonic_seconds)


def a_store_with_an_earlier_start(directory: Path) -> SpoolStore:
    store = SpoolStore(directory, 10_000_000, NOW)
    earlier = a_spooled_lane(start_id=EARLIER)
    hold(earlier, 4)
    store_all(store, earlier, NOW)
    return store


def test_what_was_stored_before_the_gap_of_rows_that_are_gone_is_sent(tmp_path: Path) -> None:
    store = a_store_with_an_earlier_start(tmp_path)
    lane = a_spooled_lane()
    offer_left(store, lane, NOW)
    store.apply(Changes(deletes=[1, 2, 3, 4]), NOW)  # somebody else has been at the file
    lane.connect(NOW.monotonic_seconds)
    hold(lane, 4)
    store_all(store, lane, NOW)
    assert load(store, lane, NOW) == 0
    store_all(store, lane, NOW)
    hold(lane, 4)
    store_all(store, lane, NOW)
    lane.disconnect()
    assert not window_of(lane).memory.held, "all is on disk alone"
    hello = lane.connect(NOW.monotonic_seconds)
    assert hello.complete
    sent = [
        acknowledged for _ in range(4) if load(store, lane, NOW) for acknowledged in acknowledge_all(lane)
    ]
    assert sorted(sent) == [1, 2, 3, 4, 4, 5, 6, 7, 8], "all of this start, and the gap of what is gone"
    assert window_of(lane).held_packets == 0


def row(number: int, start_id: str, seq: int) -> SpoolRow:
    return SpoolRow(number, PacketNumber(start_id, seq), (seq - 1) * 3, seq, 3, None, None, 1.0)


def test_what_is_put_first_while_another_range_is_acknowledged_does_not_keep_that() -> None:
    backlog = DiskBacklog()
    backlog.append(Stretch(START, 1, 3, 0, 9, 0, 50.0, 3, 11, 13))
    backlog.put_first([Stretch(EARLIER, 1, 3, 0, 9, 0, 40.0, 3, 1, 3)])
    for seq in (1, 2, 3):
        backlog.acknowledged(row(10 + seq, START, seq))
    assert [one.start_id for one in backlog.stretches] == [EARLIER]


def test_of_packets_that_a_file_has_twice_the_rows_that_were_read_go() -> None:
    backlog = DiskBacklog()
    backlog.append(Stretch(START, 1, 3, 0, 9, 0, 40.0, 3, 1, 3))
    backlog.append(Stretch(START, 1, 3, 0, 9, 0, 50.0, 3, 11, 13))
    backlog.acknowledged(row(11, START, 1))
    assert [(one.first_seq, one.first_row, one.last_row) for one in backlog.stretches] == [
        (1, 1, 3),
        (2, 12, 13),
    ]
