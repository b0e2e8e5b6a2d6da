"""Lanes that come, and what earlier starts left of them."""

from __future__ import annotations

from can_stream.lanes.backlog import Stretch
from can_stream.lanes.sender import LaneSender
from can_stream.lanes.window import WindowLimits
from can_stream.protocol.lanes_control import LedgerEntry
from edge_agent.lanes.disk_backlog import DiskBacklog
from edge_agent.spool.changes import LaneKey
from edge_agent.spool.known_lanes import KnownLanes
from edge_agent.spool.left import LeftLane
from tests.helpers.spooled_lanes import a_spooled_lane, window_of

EARLIER, OWN = "01" * 8, "02" * 8
FIRST: LaneKey = ("van7-can0", "frames")
SECOND: LaneKey = ("van7-can1", "frames")


def a_lane(dongle_id: str) -> LaneSender:
    return a_spooled_lane(dongle_id, OWN)


def left_lane(frames: int) -> LeftLane:
    backlog = DiskBacklog()
    backlog.append(Stretch(EARLIER, 1, 3, 0, frames, 0, 40.0, 3, 1, 3))
    return LeftLane(backlog, [LedgerEntry(EARLIER, 3, frames + 5, 5)])


def left() -> dict[LaneKey, LeftLane]:
    return {FIRST: left_lane(30), SECOND: left_lane(12)}


def test_what_is_left_is_counted_and_goes_to_its_lane_when_that_comes() -> None:
    first = a_lane("van7-can0")
    lanes: list[LaneSender] = [first]
    known = KnownLanes(lanes, 1_000_000)
    known.leave(left())
    known.adopt()
    assert (known.frames, first.window.held_packets) == (42, 3)
    assert known.oldest_age_seconds(100.0) == 60.0
    second = a_lane("van7-can1")
    lanes.append(second)
    known.adopt()
    assert (known.frames, second.window.held_packets) == (42, 3)
    assert known.get(SECOND) is window_of(second).disk
    hello = second.connect(100.0)
    assert [one.frames for one in hello.backlog] == [12]
    assert hello.starts == [LedgerEntry(EARLIER, 3, 17, 5), LedgerEntry(OWN, 0, 0, 0)]


def test_a_hello_is_complete_once_the_file_was_read_also_where_it_has_nothing() -> None:
    lanes = [a_lane("van7-can0"), a_lane("van7-can2")]
    known = KnownLanes(lanes, 1_000_000)
    known.adopt()
    assert not any(lane.connect(0.0).complete for lane in lanes)
    known.leave(left())
    assert all(window_of(lane).wants_greeting for lane in lanes), "what was not known is to be said"
    assert all(lane.connect(0.0).complete for lane in lanes)
    assert not any(window_of(lane).wants_greeting and not lane.has_unsent for lane in lanes[1:])
    late = a_lane("van7-can3")
    lanes.append(late)
    known.adopt()
    assert late.connect(0.0).complete


def test_lanes_that_wait_for_no_disk_stay_out() -> None:
    lanes = [LaneSender("van7-can0", "frames", OWN, WindowLimits(), 1000), a_lane("van7-can1")]
    known = KnownLanes(lanes, 1_000_000)
    known.adopt()
    assert list(known.spooled) == [SECOND]


def test_with_the_file_all_that_was_left_is_gone_and_counted_where_somebody_has_the_lane() -> None:
    lane = a_lane("van7-can0")
    known = KnownLanes([lane], 1_000_000)
    known.leave(left())
    known.adopt()
    known.disk_lost(50.0)
    assert (known.frames, known.trimmed_frames) == (0, 30)
    assert known.get(SECOND) is None
    hello = lane.connect(50.0)
    assert hello.complete
    assert [(one.start_id, one.position, one.frames) for one in hello.backlog] == [(EARLIER, 0, 30)]


def test_what_another_file_has_is_offered_before_what_was_moved_behind_it() -> None:
    lane = a_lane("van7-can0")
    known = KnownLanes([lane], 1_000_000)
    known.leave({FIRST: left_lane(30)})
    known.adopt()
    lane.connect(50.0)
    backlog = DiskBacklog()
    backlog.append(Stretch("03" * 8, 1, 9, 0, 90, 0, None, 9, 1, 9))
    known.moved({FIRST: LeftLane(backlog), SECOND: left_lane(12)}, 9)
    assert known.frames == 132
    assert window_of(lane).wants_greeting
    assert [one.start_id for one in lane.connect(50.0).backlog] == ["03" * 8, EARLIER]
    assert [one.first_row for one in window_of(lane).disk.backlog.stretches] == [1, 10]


def test_the_ledger_is_written_once() -> None:
    lane = a_lane("van7-can0")
    known = KnownLanes([lane], 1_000_000)
    known.leave({})
    known.adopt()
    changed = known.changed_ledger([FIRST])
    assert changed == [(FIRST, LedgerEntry(OWN, 0, 0, 0))]
    known.ledger_written(changed)
    assert known.changed_ledger([FIRST]) == []
    known.disk_lost(0.0)
    assert known.changed_ledger([FIRST]) == changed, "another file says nothing yet"
