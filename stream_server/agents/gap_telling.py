"""Gaps as the console tells them: when they are recorded, and when frames of them are found."""

from __future__ import annotations

from collections.abc import Sequence

from can_stream.protocol.control import LaneName
from can_stream.protocol.packets import GapReason
from stream_server import clock
from stream_server.errors import ApiError
from stream_server.fleet.fleet import Fleet
from stream_server.recording.gap_news import GapNews, gap_members


class GapTelling:
    """What the recorder calls with the gaps of a lane."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def tell(self, dongle_id: str, lane: LaneName, news: Sequence[GapNews]) -> None:
        """A `gap` event for each. Of a start the lane of values says nothing where that of frames does."""
        try:
            dongle = self._fleet.dongle(dongle_id)
        except ApiError:  # a registry that is older than the recording
            return
        now = clock.now()
        told_by_frames = lane == "signals" and dongle.sends_frames
        for one in news:
            if not (one.reason is GapReason.START and told_by_frames):
                payload = {"dongle_id": dongle_id, "lane": lane, **gap_members(one)}
                self._fleet.events.emit(dongle.agent_id, [dongle_id], "gap", payload, now)
