"""Lanes that come, and what earlier starts left of them."""

from __future__ import annotations

from edge_agent.lanes.spooled_lane import SpooledLane

from can_stream.lanes.backlog import Stretch
from can_stream.lanes.sender import LaneSender
from can_stream.lanes.window import WindowLimits
from edge_agent.lanes.disk_backlog import DiskBacklog, Marks
from edge_agent.spool.known_lanes import KnownLanes
from edge_agent.spool.left import LeftLane

EARLIER = "01" * 8


def a_lane(dongle_id: str) -> SpooledLane:
    return SpooledLane(dongle_id, "frames", "02" * 8, WindowLimits(), 1000, 0.0)


def left_lane(frames: int) -> LeftLane:
    backlog = DiskBacklog()
    backlog.append(Stretch(EARLIER, 1, 3, frames, 0, 40.0, 3, 1, 3), {})
    return LeftLane(backlog, {EARLIER: Marks(announced=3)})


def test_what_is_left_is_counted_and_goes_to_its_lane_when_that_comes() -> None:
    first = a_lane("van7-can0")
    lanes: list[LaneSender] = [first]
    known = KnownLanes(lanes, 1_000_000)
    known.leave({("van7-can0", "frames"): left_lane(30), ("van7-can1", "frames"): left_lane(12)})
    known.adopt()
    assert (known.frames, first.held_packets) == (42, 3)
    assert known.oldest_age_seconds(100.0) == 60.0
    second = a_lane("van7-can1")
    lanes.append(second)
    known.adopt()
    assert (known.frames, second.held_packets) == (42, 3)
    assert known.get(("van7-can1", "frames")) is second
    assert [one.frames for one in second.connect(100.0).backlog] == [12]


def test_lanes_that_wait_for_no_disk_stay_out() -> None:
    lanes = [LaneSender("van7-can0", "frames", "02" * 8, WindowLimits(), 1000), a_lane("van7-can1")]
    known = KnownLanes(lanes, 1_000_000)
    known.adopt()
    assert list(known.spooled) == [("van7-can1", "frames")]


def test_with_the_file_all_that_was_left_is_gone_and_counted_where_somebody_has_the_lane() -> None:
    lane = a_lane("van7-can0")
    known = KnownLanes([lane], 1_000_000)
    known.leave({("van7-can0", "frames"): left_lane(30), ("van7-can1", "frames"): left_lane(12)})
    known.adopt()
    known.disk_lost()
    assert (known.frames, known.trimmed_frames) == (0, 30)
    assert known.get(("van7-can1", "frames")) is None
