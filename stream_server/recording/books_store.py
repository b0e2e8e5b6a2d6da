"""The books of a dongle read from the recording. One connection, no rules."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, Row, func, select

from can_stream.lanes.opening import Start
from can_stream.lanes.positions import Positions
from can_stream.protocol.packet_head import PacketKind
from can_stream.protocol.packets import GapReason
from stream_server.recording import start_store
from stream_server.recording.books import Books, HoleLine, LaneLine, StartLine, differences
from stream_server.storage import kept_facts
from stream_server.storage.columns import total
from stream_server.storage.recording_schema import gaps, lane_starts, lanes, packets, retention_totals

_BEFORE: Final = "before"
"""Gaps of a server of before, whose reasons are in their packets alone."""


def load(connection: Connection, dongle_id: str) -> Books:
    """The books of a dongle, of which nothing may be recorded. Reads its whole recording."""
    running_seconds = float(kept_facts.get(connection, kept_facts.RUNNING_SECONDS) or 0.0)
    running_seconds = max(running_seconds, start_store.newest_hole_seconds(connection))
    starts: list[StartLine] = []
    lane_lines: list[LaneLine] = []
    query = select(lanes).where(lanes.c.dongle_id == dongle_id).order_by(lanes.c.lane)
    for lane in connection.execute(query).all():
        mine = _starts(connection, lane, running_seconds)
        starts += mine
        lane_lines.append(_lane(connection, lane, sum(one.recorded for one in mine)))
    return Books(dongle_id, starts, lane_lines, differences(starts, lane_lines))


def _starts(connection: Connection, lane: Row[Any], running_seconds: float) -> list[StartLine]:
    rows = connection.execute(
        select(lane_starts.c.id, lane_starts.c.start_id)
        .where(lane_starts.c.lane_id == lane.id)
        .order_by(lane_starts.c.id)
    ).all()
    known = start_store.load(connection, lane.id, [row.start_id for row in rows])
    return [_start(connection, lane.lane, row.id, known[row.start_id], running_seconds) for row in rows]


def _start(
    connection: Connection, lane: str, start_pk: int, start: Start, running_seconds: float
) -> StartLine:
    by_reason, unknown = _gaps(connection, start_pk)
    in_gaps = start.in_gaps + by_reason.get(_BEFORE, 0)
    return StartLine(
        lane=lane,
        start_id=start.start_id,
        made=start.end if isinstance(start, Positions) else None,
        recorded=start.frames,
        in_gaps=in_gaps,
        gaps=by_reason,
        gaps_forgotten=in_gaps - sum(by_reason.values()),
        unknown_gaps=unknown,
        in_holes=start.in_holes,
        holes=[
            HoleLine(
                hole.frames,
                running_seconds - hole.known_since_seconds,
                running_seconds - hole.last_listed_seconds,
            )
            for hole in start.holes
        ],
        told_frames=start.told_frames,
        told_acknowledged=start.told_acknowledged,
    )


def _gaps(connection: Connection, start_pk: int) -> tuple[dict[str, int], int]:
    """Frames by reason, and how many gaps are of unknown size."""
    found, unknown = dict[str, int](), 0
    query = select(gaps.c.reason, func.count(), func.count(gaps.c.frames), total(gaps.c.frames))
    for reason, count, counted, frames in connection.execute(
        query.where(gaps.c.start_pk == start_pk).group_by(gaps.c.reason)
    ):
        unknown += count - counted
        if counted:
            found[GapReason(reason).where] = int(frames)
    query = select(func.count(), func.count(packets.c.frames), total(packets.c.frames))
    count, counted, frames = connection.execute(
        query.where(packets.c.start_pk == start_pk, packets.c.kind == PacketKind.GAP)
    ).one()
    return (found | {_BEFORE: int(frames)} if counted else found), unknown + count - counted


def _lane(connection: Connection, lane: Row[Any], recorded: int) -> LaneLine:
    here = connection.execute(
        select(func.coalesce(func.sum(packets.c.frames), 0))
        .join(lane_starts, packets.c.start_pk == lane_starts.c.id)
        .where(lane_starts.c.lane_id == lane.id, packets.c.kind != PacketKind.GAP)
    ).scalar_one()
    query = select(retention_totals.c.frames).where(retention_totals.c.lane_id == lane.id)
    return LaneLine(lane.lane, here, connection.execute(query).scalar() or 0, recorded)
