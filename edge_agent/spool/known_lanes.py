"""The lanes that have packets on disk: those that are spooled now, and what earlier starts left of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from can_stream.lanes.sender import LaneSender, WindowLimits
from edge_agent.lanes.lane_on_disk import LaneOnDisk
from edge_agent.lanes.spooled_lane import SpooledLane
from edge_agent.spool.changes import LaneKey

if TYPE_CHECKING:
    from edge_agent.spool.left import LeftLane

_LARGEST_PACKET_SHARE: Final = 8


class KnownLanes:
    """`spooled` are those of `lanes` that are; what is left of a lane is an orphan until the lane comes."""

    def __init__(self, lanes: Sequence[LaneSender], max_bytes: int) -> None:
        self.spooled: dict[LaneKey, SpooledLane] = {}
        self._lanes = lanes
        self._max_packet_bytes = max_bytes // _LARGEST_PACKET_SHARE
        self._orphans: dict[LaneKey, LaneOnDisk] = {}

    def leave(self, left: Mapping[LaneKey, LeftLane]) -> None:
        """What earlier starts left, of any lane."""
        for key, one in left.items():
            orphan = LaneOnDisk(key[0], "frames", "00" * 8, WindowLimits(trims=False))
            orphan.offer(one.backlog, one.marks)
            self._orphans[key] = orphan

    def adopt(self) -> None:
        """Lanes that are new here get what earlier starts left of them."""
        for lane in self._lanes:
            key: LaneKey = (lane.dongle_id, lane.lane)
            if isinstance(lane, SpooledLane) and key not in self.spooled:
                self.spooled[key] = lane
                lane.max_packet_bytes = self._max_packet_bytes
                left = self._orphans.pop(key, None)
                if left is not None:
                    lane.offer(left.disk, left.known_marks())

    def get(self, key: LaneKey) -> LaneOnDisk | None:
        """Spooled, or an orphan."""
        return self.spooled.get(key) or self._orphans.get(key)

    def use_disk(self, works: bool) -> None:
        """Whether the disk gives what is there."""
        for lane in self.spooled.values():
            lane.use_disk(works)

    def disk_lost(self) -> None:
        """The file is gone, and orphans with it."""
        self._orphans.clear()
        for lane in self.spooled.values():
            lane.disk_lost()

    # -- how they stand

    @property
    def frames(self) -> int:
        """How many wait on disk."""
        return sum(lane.frames_on_disk for lane in self._all())

    @property
    def trimmed_frames(self) -> int:
        """How many the disk had to let go since the start."""
        return sum(lane.trimmed_frames + lane.earlier_trimmed_frames for lane in self._all())

    def oldest_age_seconds(self, now_seconds: float) -> float | None:
        """Of what is on disk alone; None where nothing is, or its age cannot be known."""
        ages = (lane.oldest_age_seconds(now_seconds) for lane in self._all())
        return max((age for age in ages if age is not None), default=None)

    def _all(self) -> list[LaneOnDisk]:
        return [*self.spooled.values(), *self._orphans.values()]
