"""Retention in SQL: the oldest packets go, and starts and gaps of which there are too many.

One connection, no rules.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, exists, func, insert, select, update

from can_stream.protocol.control import LaneName
from can_stream.protocol.packet_head import PacketKind, PacketNumber
from stream_server.recording import block_store, clock_store, gap_store
from stream_server.storage.recording_schema import (
    clock_records,
    gaps,
    holes,
    lane_starts,
    lanes,
    packet_blocks,
    packets,
    retention_totals,
)

RETENTION_PACKETS: Final = 500
# A hello names 2,112 starts at most, and an agent that starts anew every minute takes three days.
MOST_STARTS: Final = 4096
MOST_GAPS: Final = 65_536
FORGOTTEN_ROWS: Final = 1000
_ROWS: Final = select(
    packets.c.id, packets.c.kind, packets.c.frames, packets.c.size_bytes,
    packets.c.start_pk, packets.c.seq, lane_starts.c.lane_id,
)  # fmt: skip


class Taken(NamedTuple):
    """What a lane's packets take of the disk."""

    lane_id: int
    dongle_id: str
    size_bytes: int


def taken(connection: Connection) -> list[Taken]:
    """The size of every lane's packets, from the books: the recording is too large to add up."""
    stored = (
        select(lane_starts.c.lane_id, func.sum(lane_starts.c.bytes).label("size"))
        .group_by(lane_starts.c.lane_id)
        .subquery()
    )
    deleted = func.coalesce(retention_totals.c.bytes, 0)
    query = (
        select(lanes.c.id, lanes.c.dongle_id, stored.c.size - deleted)
        .join(stored, stored.c.lane_id == lanes.c.id)
        .outerjoin(retention_totals, retention_totals.c.lane_id == lanes.c.id)
    )
    return [Taken(*row) for row in connection.execute(query)]


def starts_with_packets(connection: Connection, lane_ids: Iterable[int]) -> list[int]:
    """The starts of these lanes of which a packet is left."""
    some = exists().where(packets.c.start_pk == lane_starts.c.id)
    query = select(lane_starts.c.id).where(lane_starts.c.lane_id.in_(lane_ids), some)
    return list(connection.execute(query).scalars())


class Deleted(NamedTuple):
    """What has gone, values counting as no frames. `numbers`: by dongle, of its packets of frames."""

    packets: int = 0
    frames: int = 0
    size_bytes: int = 0
    numbers: Mapping[str, Sequence[PacketNumber]] = {}


def delete_oldest(connection: Connection, through_id: int) -> Deleted:
    """Delete the oldest packets of all up to `through_id`, at most RETENTION_PACKETS at once."""
    query = _ROWS.join_from(packets, lane_starts).where(packets.c.id <= through_id)
    query = query.order_by(packets.c.id).limit(RETENTION_PACKETS)
    return _delete(connection, connection.execute(query).all())


def delete_oldest_of(connection: Connection, start_pks: Sequence[int], surplus_bytes: int) -> Deleted:
    """Delete the oldest packets of these starts until `surplus_bytes` are gone, each start's in their order.

    About RETENTION_PACKETS at once.
    """
    if not start_pks or surplus_bytes <= 0:
        return Deleted()
    share = max(2, 2 * RETENTION_PACKETS // len(start_pks))
    # The index of numbers finds the first of a start, however many there are. To join by the start as well
    # would make SQLite look at all of them.
    inner = packets.alias()
    first = select(inner.c.id).where(inner.c.start_pk == lane_starts.c.id).order_by(inner.c.seq).limit(share)
    query = _ROWS.join_from(lane_starts, packets, packets.c.id.in_(first.correlate(lane_starts)))
    query = query.where(lane_starts.c.id.in_(start_pks))
    rows = connection.execute(query.order_by(packets.c.start_pk, packets.c.seq)).all()
    return _delete(connection, list(_due(_merged(rows, share), surplus_bytes)))


def _merged(rows: Iterable[Any], share: int) -> list[Any]:
    """The first packets of several starts, at most `share` of each, in the order in which they go.

    Of a start of which there may be more, nothing that comes later than those is among them.
    """
    ordered: list[tuple[int, Any]] = []
    end: float = math.inf
    for _, mine in groupby(rows, attrgetter("start_pk")):
        place, count = 0, 0
        for row in mine:
            place, count = max(place, row.id), count + 1
            ordered.append((place, row))
        if count == share:
            end = min(end, place)
    return [row for place, row in sorted(ordered, key=itemgetter(0)) if place <= end]


def _due(rows: Iterable[Any], surplus_bytes: int) -> Iterator[Any]:
    for row in rows:
        if surplus_bytes <= 0:
            return
        surplus_bytes -= row.size_bytes
        yield row


def _delete(connection: Connection, due: Sequence[Any]) -> Deleted:
    if not due:
        return Deleted()
    connection.execute(delete(packets).where(packets.c.id.in_([row.id for row in due])))
    block_store.forget(connection, {row.start_pk for row in due})
    gap_store.forget(connection, {row.start_pk for row in due})
    clock_store.forget(connection, due)
    for lane_id in {row.lane_id for row in due}:
        _add_to_totals(connection, lane_id, [row for row in due if row.lane_id == lane_id])
    frames = sum(row.frames for row in due if row.kind == PacketKind.FRAMES)
    return Deleted(len(due), frames, sum(row.size_bytes for row in due), _numbers(connection, due))


def _numbers(connection: Connection, due: Sequence[Any]) -> dict[str, list[PacketNumber]]:
    of_frames = [row for row in due if row.kind == PacketKind.FRAMES]
    query = select(lane_starts.c.id, lane_starts.c.start_id, lanes.c.dongle_id).join_from(lane_starts, lanes)
    query = query.where(lane_starts.c.id.in_({row.start_pk for row in of_frames}))
    starts = {row.id: row for row in connection.execute(query)}
    found: dict[str, list[PacketNumber]] = {}
    for row in of_frames:
        start = starts[row.start_pk]
        found.setdefault(start.dongle_id, []).append(PacketNumber(start.start_id, row.seq))
    return found


def _frames(rows: Iterable[Any]) -> int:
    return sum(row.frames or 0 for row in rows if row.kind != PacketKind.GAP)


def _add_to_totals(connection: Connection, lane_id: int, rows: list[Any]) -> None:
    table = retention_totals
    known = connection.execute(select(table.c.lane_id).where(table.c.lane_id == lane_id)).one_or_none()
    if known is None:
        connection.execute(insert(table).values(lane_id=lane_id, packets=0, frames=0, bytes=0))
    recorded = sum(row.kind != PacketKind.GAP for row in rows)
    connection.execute(
        update(table)
        .where(table.c.lane_id == lane_id)
        .values(
            packets=table.c.packets + recorded,
            frames=table.c.frames + _frames(rows),
            bytes=table.c.bytes + sum(row.size_bytes for row in rows),
        )
    )


class Forgotten(NamedTuple):
    """How many starts and gaps."""

    starts: int = 0
    gaps: int = 0


def crowded_lanes(connection: Connection) -> list[tuple[str, LaneName]]:
    """(dongle_id, lane) of those that have too many of either."""
    starts = select(lane_starts.c.lane_id).group_by(lane_starts.c.lane_id)
    starts = starts.having(func.count() > MOST_STARTS)
    lost = select(lane_starts.c.lane_id).join_from(gaps, lane_starts).group_by(lane_starts.c.lane_id)
    lost = lost.having(func.count() > MOST_GAPS)
    query = select(lanes.c.dongle_id, lanes.c.lane).where(lanes.c.id.in_(starts) | lanes.c.id.in_(lost))
    return [(row.dongle_id, row.lane) for row in connection.execute(query)]


def forget(connection: Connection, lane_id: int, keep: Collection[int]) -> Forgotten:
    """Forget the oldest of what a lane has too many of, a batch at most of each.

    A start that has packets, or is one of `keep`, stays. Gaps and holes go with their start; what is known as
    recorded and deleted of it is in no sum any more, and would be recorded again.
    """
    mine = lane_starts.c.lane_id == lane_id
    return Forgotten(_forget_starts(connection, lane_id, mine, keep), _forget_gaps(connection, mine))


def _forget_starts(
    connection: Connection, lane_id: int, mine: ColumnElement[bool], keep: Collection[int]
) -> int:
    surplus = connection.execute(select(func.count()).where(mine)).scalar_one() - MOST_STARTS
    if surplus <= 0:
        return 0
    counts = (lane_starts.c.packets, lane_starts.c.frames, lane_starts.c.bytes)
    used = exists().where(packets.c.start_pk == lane_starts.c.id)
    # With + 0 SQLite goes by id and stops at the limit, where it else would sort all starts of the lane.
    query = select(lane_starts.c.id, *counts).where(lane_starts.c.lane_id + 0 == lane_id)
    query = query.where(~used, lane_starts.c.id.not_in(keep))
    rows = connection.execute(query.order_by(lane_starts.c.id).limit(min(surplus, FORGOTTEN_ROWS))).all()
    ids = [row.id for row in rows]
    for table in (packet_blocks, gaps, holes, clock_records):
        connection.execute(delete(table).where(table.c.start_pk.in_(ids)))
    connection.execute(delete(lane_starts).where(lane_starts.c.id.in_(ids)))
    totals = {name: sum(getattr(row, name) for row in rows) for name in ("packets", "frames", "bytes")}
    _take_from_totals(connection, lane_id, totals)
    return len(rows)


def _take_from_totals(connection: Connection, lane_id: int, gone: dict[str, int]) -> None:
    table = retention_totals
    values: dict[str, Any] = {name: func.max(0, table.c[name] - size) for name, size in gone.items()}
    connection.execute(update(table).where(table.c.lane_id == lane_id).values(values))


def _forget_gaps(connection: Connection, mine: ColumnElement[bool]) -> int:
    of_lane = gaps.c.start_pk.in_(select(lane_starts.c.id).where(mine))
    surplus = connection.execute(select(func.count()).where(of_lane)).scalar_one() - MOST_GAPS
    if surplus <= 0:
        return 0
    oldest = select(gaps.c.id).where(of_lane).order_by(gaps.c.id).limit(min(surplus, FORGOTTEN_ROWS))
    return connection.execute(delete(gaps).where(gaps.c.id.in_(oldest))).rowcount
