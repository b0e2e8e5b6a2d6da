"""The recording read page by page: packets, and gaps in their places, in the order of the bus."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, Select, and_, func, or_, select

from can_stream.protocol.packet_head import PacketKind
from can_stream.protocol.packets import GapReason
from stream_server.recording.gap_news import GapNews
from stream_server.storage.recording_schema import gaps, lane_starts, lanes, packets

_PAGE_ROWS: Final = 200
_GAP, _PACKET = 0, 1

Place = tuple[int, int, int, int]
"""Start, place in it (a position, or a number where it says no positions), gap or packet, id or number."""


class Cursor(NamedTuple):
    """How far a reader has come among the packets (start, number) and the gaps (start, place, id)."""

    packet: tuple[int, int] = (0, 0)
    gap: tuple[int, int, int] = (0, -1, 0)


class Recorded(NamedTuple):
    """One record: the body of a packet, or a gap."""

    place: Place
    body: bytes | GapNews

    @property
    def start_pk(self) -> int:
        """Which start it is of."""
        return self.place[0]

    @property
    def seq(self) -> int:
        """The number of a packet."""
        return self.place[3]


def page(
    connection: Connection, dongle_id: str, after: Cursor, from_ns: int | None, to_ns: int | None
) -> tuple[list[Recorded], Cursor]:
    """What comes next in a dongle's frames lane, and the cursor behind it; nothing at the end."""
    found = [*map(_packet, connection.execute(_packets(dongle_id, after, from_ns, to_ns)))]
    lost = [*map(_gap, connection.execute(_gaps(dongle_id, after, from_ns, to_ns)))]
    # What lies behind the end of a full page may have something of the other kind before it.
    ends = [one[-1].place for one in (found, lost) if len(one) == _PAGE_ROWS]
    records = sorted(found + lost, key=lambda one: one.place)
    if ends:
        records = [one for one in records if one.place <= min(ends)]
    return records, _behind(after, records)


def _behind(after: Cursor, records: list[Recorded]) -> Cursor:
    packet, gap = after
    for start_pk, place, kind, number in (one.place for one in records):
        if kind == _PACKET:
            packet = (start_pk, number)
        else:
            gap = (start_pk, place, number)
    return Cursor(packet, gap)


def _packet(row: Row[Any]) -> Recorded:
    by_position = row.known is not None and row.position is not None
    place = (row.start_pk, row.position if by_position else row.seq, _PACKET, row.seq)
    return Recorded(place, row.body)


def _gap(row: Row[Any]) -> Recorded:
    news = GapNews(row.id, GapReason(row.reason), row.frames, row.first_ns, row.last_ns)
    return Recorded((row.start_pk, row.place, _GAP, row.id), news)


def _packets(dongle_id: str, after: Cursor, from_ns: int | None, to_ns: int | None) -> Select[Any]:
    start_pk, seq = after.packet
    table = packets
    query = (
        select(table.c.start_pk, table.c.seq, table.c.position, table.c.body, lane_starts.c.known)
        .join(lane_starts, table.c.start_pk == lane_starts.c.id)
        .join(lanes, lane_starts.c.lane_id == lanes.c.id)
        .where(
            lanes.c.dongle_id == dongle_id,
            lanes.c.lane == "frames",
            (table.c.start_pk > start_pk) | ((table.c.start_pk == start_pk) & (table.c.seq > seq)),
        )
        .order_by(table.c.start_pk, table.c.seq)
        .limit(_PAGE_ROWS)
    )
    if from_ns is not None:
        query = query.where(table.c.last_ns >= from_ns)
    if to_ns is not None:
        query = query.where(table.c.first_ns < to_ns)
    return query


def _gaps(dongle_id: str, after: Cursor, from_ns: int | None, to_ns: int | None) -> Select[Any]:
    start_pk, place, gap_id = after.gap
    table = gaps
    query = (
        select(table)
        .join(lane_starts, table.c.start_pk == lane_starts.c.id)
        .join(lanes, lane_starts.c.lane_id == lanes.c.id)
        .where(
            lanes.c.dongle_id == dongle_id,
            lanes.c.lane == "frames",
            or_(
                table.c.start_pk > start_pk,
                and_(table.c.start_pk == start_pk, table.c.place > place),
                and_(table.c.start_pk == start_pk, table.c.place == place, table.c.id > gap_id),
            ),
        )
        .order_by(table.c.start_pk, table.c.place, table.c.id)
        .limit(_PAGE_ROWS)
    )
    first_ns = func.coalesce(table.c.first_ns, table.c.received_ns)
    if from_ns is not None:
        query = query.where(func.coalesce(table.c.last_ns, first_ns) >= from_ns)
    if to_ns is not None:
        query = query.where(first_ns < to_ns)
    return query


def known_gaps(connection: Connection, dongle_id: str) -> tuple[int, int]:
    """(gap records, frames they say are missing) in the frames lane, agent starts left out."""
    records, frames = 0, 0
    for table, condition in ((gaps, None), (packets, packets.c.kind == PacketKind.GAP)):
        query = (
            select(func.count(), func.coalesce(func.sum(table.c.frames), 0))
            .select_from(table)
            .join(lane_starts, table.c.start_pk == lane_starts.c.id)
            .join(lanes, lane_starts.c.lane_id == lanes.c.id)
            .where(lanes.c.dongle_id == dongle_id, lanes.c.lane == "frames", table.c.frames.is_not(None))
        )
        row = connection.execute(query if condition is None else query.where(condition)).one()
        records, frames = records + int(row[0]), frames + int(row[1])
    return records, frames
