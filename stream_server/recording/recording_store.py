"""The recording in SQL: packets as received with what they change, retention. One connection, no rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from can_stream.lanes.counted import Counted
from can_stream.lanes.opening import Start
from can_stream.lanes.receiver import Change
from can_stream.protocol.clock_record import ClockRecord
from can_stream.protocol.packet_head import PacketKind
from stream_server.recording import clock_store, gap_store, start_store
from stream_server.recording.gap_news import GapNews
from stream_server.storage.bulk import Bulk
from stream_server.storage.recording_schema import lane_starts, packets, retention_totals

RETENTION_PACKETS: Final = 500
_INSERT_PACKETS: Final = Bulk(
    insert(packets),
    (
        "start_pk", "seq", "first_seq", "kind", "frames", "first_ns", "last_ns", "received_ns", "is_backlog",
        "size_bytes", "body", "position",
    ),
)  # fmt: skip
_ADD_PROGRESS: Final = Bulk(
    update(lane_starts)
    .where(lane_starts.c.id == bindparam("start_pk"))
    .values(
        taken=bindparam("new_taken"),
        packets=lane_starts.c.packets + bindparam("more_packets"),
        frames=lane_starts.c.frames + bindparam("more_frames"),
        bytes=lane_starts.c.bytes + bindparam("more_bytes"),
        known=bindparam("new_known"),
    ),
    ("new_taken", "more_packets", "more_frames", "more_bytes", "new_known", "start_pk"),
)


class StoredPacket(NamedTuple):
    """One row of the recording."""

    start_id: str
    seq: int
    kind: PacketKind
    frames: int
    first_ns: int
    last_ns: int
    received_ns: int
    is_backlog: bool
    body: bytes
    position: int | None = None
    clock: ClockRecord | None = None


@dataclass(frozen=True, slots=True)
class LaneChange:
    """What one commit changes in a lane: new packets, and what is known of their starts after them.

    `start_keys`: the key of each start concerned, from `start_store`. `before`: the starts as stored so far.
    """

    lane_id: int
    start_keys: Mapping[str, int]
    stored: Sequence[StoredPacket]
    before: Mapping[str, Start]
    change: Change
    at_ns: int


def store(connection: Connection, changes: Sequence[LaneChange]) -> list[list[GapNews]]:
    """Store packets, progress, gaps and holes of several lanes, all or nothing. The news of each's gaps."""
    rows: list[tuple[Any, ...]] = []
    progress: list[tuple[Any, ...]] = []
    for change in changes:
        keys = change.start_keys
        rows.extend(_packet_row(packet, keys[packet.start_id]) for packet in change.stored)
        progress.extend(_progress_row(change, start_id) for start_id in change.change.starts)
    _ADD_PROGRESS.execute(connection, progress)
    _INSERT_PACKETS.execute(connection, rows)
    return [_store_gaps(connection, change) for change in changes]


def _store_gaps(connection: Connection, lane: LaneChange) -> list[GapNews]:
    change = lane.change
    start_store.save_holes(connection, lane.start_keys, lane.before, change.starts)
    news = gap_store.add(connection, change.gaps, lane.start_keys, lane.at_ns)
    for start_id in dict.fromkeys(one.start_id for one in change.found):
        found = [one for one in change.found if one.start_id == start_id]
        exact = not isinstance(change.starts[start_id], Counted)
        news += gap_store.find(connection, lane.start_keys[start_id], found, exact=exact)
    return news


def _packet_row(packet: StoredPacket, start_pk: int) -> tuple[Any, ...]:
    return (
        start_pk,
        packet.seq,
        packet.seq,
        int(packet.kind),
        packet.frames,
        packet.first_ns,
        packet.last_ns,
        packet.received_ns,
        packet.is_backlog,
        len(packet.body),
        packet.body,
        packet.position,
    )


def _progress_row(change: LaneChange, start_id: str) -> tuple[Any, ...]:
    stored = [packet for packet in change.stored if packet.start_id == start_id]
    taken, known = start_store.progress(change.change.starts[start_id])
    return (
        taken,
        len(stored),
        sum(packet.frames for packet in stored),
        sum(len(packet.body) for packet in stored),
        known,
        change.start_keys[start_id],
    )


def recorded_bytes(connection: Connection) -> int:
    """The size of all recorded packets, from the books: the recording is too large to add up."""
    stored: int = connection.execute(select(func.coalesce(func.sum(lane_starts.c.bytes), 0))).scalar_one()
    deleted: int = connection.execute(
        select(func.coalesce(func.sum(retention_totals.c.bytes), 0))
    ).scalar_one()
    return stored - deleted


def delete_oldest(connection: Connection, through_id: int, surplus_bytes: int) -> tuple[int, int, int]:
    """Delete the oldest packets: those up to `through_id`, and more until `surplus_bytes` are gone.

    At most RETENTION_PACKETS at once. Returns (packets, frames, bytes) deleted, values counting as no frames;
    zeros when nothing is due.
    """
    rows = connection.execute(
        select(
            packets.c.id, packets.c.kind, packets.c.frames, packets.c.size_bytes,
            packets.c.start_pk, packets.c.seq, lane_starts.c.lane_id,
        )
        .join(lane_starts, packets.c.start_pk == lane_starts.c.id)
        .order_by(packets.c.id)
        .limit(RETENTION_PACKETS)
    ).all()  # fmt: skip
    due = list(_due(rows, through_id, surplus_bytes))
    if not due:
        return 0, 0, 0
    connection.execute(delete(packets).where(packets.c.id <= due[-1].id))
    gap_store.forget(connection, {row.start_pk for row in due})
    clock_store.forget(connection, due)
    for lane_id in {row.lane_id for row in due}:
        _add_to_totals(connection, lane_id, [row for row in due if row.lane_id == lane_id])
    frames = sum(row.frames for row in due if row.kind == PacketKind.FRAMES)
    return len(due), frames, sum(row.size_bytes for row in due)


def _due(rows: Iterable[Any], through_id: int, surplus_bytes: int) -> Iterator[Any]:
    for row in rows:
        if row.id > through_id and surplus_bytes <= 0:
            return
        surplus_bytes -= row.size_bytes
        yield row


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
