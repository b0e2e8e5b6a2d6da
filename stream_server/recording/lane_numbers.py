"""How much each dongle's frames lane has recorded and given up, for whoever lists dongles."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, func, select

from stream_server.storage.recording_schema import lane_starts, lanes, retention_totals


class LaneNumbers(NamedTuple):
    """Packets and frames of a lane: all that were ever recorded, and those of them that retention deleted."""

    packets: int = 0
    frames: int = 0
    deleted_packets: int = 0
    deleted_frames: int = 0


def frames_lanes(connection: Connection, dongle_id: str | None = None) -> dict[str, LaneNumbers]:
    """By dongle, of all or of one; a dongle that has recorded nothing yet is not among them."""
    recorded = (
        select(
            lane_starts.c.lane_id,
            func.sum(lane_starts.c.packets).label("packets"),
            func.sum(lane_starts.c.frames).label("frames"),
        )
        .group_by(lane_starts.c.lane_id)
        .subquery()
    )
    query = (
        select(
            lanes.c.dongle_id,
            func.coalesce(recorded.c.packets, 0),
            func.coalesce(recorded.c.frames, 0),
            func.coalesce(retention_totals.c.packets, 0),
            func.coalesce(retention_totals.c.frames, 0),
        )
        .outerjoin(recorded, recorded.c.lane_id == lanes.c.id)
        .outerjoin(retention_totals, retention_totals.c.lane_id == lanes.c.id)
        .where(lanes.c.lane == "frames")
    )
    if dongle_id is not None:
        query = query.where(lanes.c.dongle_id == dongle_id)
    return {row[0]: LaneNumbers(*row[1:]) for row in connection.execute(query)}
