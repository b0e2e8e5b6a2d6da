"""The recording in SQL: packets as received, what is taken, holes, retention. One connection, no rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from can_stream.lanes.intervals import IntervalSet
from can_stream.lanes.receiver import Hole
from can_stream.protocol.clock_record import ClockRecord
from can_stream.protocol.control import LaneName
from can_stream.protocol.packet_head import PacketKind
from stream_server.recording import clock_store
from stream_server.storage.recording_schema import holes, lane_starts, lanes, packets, retention_totals

RETENTION_PACKETS: Final = 500
_PAGE_PACKETS: Final = 200
# Statements of every commit are made once: building one costs more than its row.
_INSERT_PACKETS: Final = insert(packets)
_ADD_PROGRESS: Final = (
    update(lane_starts)
    .where(lane_starts.c.id == bindparam("start_pk"))
    .values(
        taken=bindparam("taken_after"),
        packets=lane_starts.c.packets + bindparam("more_packets"),
        frames=lane_starts.c.frames + bindparam("more_frames"),
        bytes=lane_starts.c.bytes + bindparam("more_bytes"),
    )
)
_json: Final = msgspec.json.Encoder()


class StoredPacket(NamedTuple):
    """One row of the recording. `frames` None: a gap of unknown size."""

    start_id: str
    seq: int
    first_seq: int
    kind: PacketKind
    frames: int | None
    first_ns: int
    last_ns: int
    received_ns: int
    is_backlog: bool
    body: bytes
    clock: ClockRecord | None = None


@dataclass(frozen=True, slots=True)
class LaneChange:
    """What one commit changes in a lane: new packets, what is taken after them, its holes if they change.

    `start_keys`: the key of each start concerned, from `start_keys`.
    """

    lane_id: int
    start_keys: Mapping[str, int]
    stored: Sequence[StoredPacket]
    taken: dict[str, list[tuple[int, int]]]
    holes: Sequence[Hole] | None
    at_ns: int


def lane_id_of(connection: Connection, dongle_id: str, lane: LaneName) -> int:
    """The lane's key; made when it is new."""
    query = select(lanes.c.id).where(lanes.c.dongle_id == dongle_id, lanes.c.lane == lane)
    known: int | None = connection.execute(query).scalar_one_or_none()
    if known is not None:
        return known
    made: int = connection.execute(
        insert(lanes).values(dongle_id=dongle_id, lane=lane).returning(lanes.c.id)
    ).scalar_one()
    return made


def load_lane(
    connection: Connection, lane_id: int, start_ids: Iterable[str]
) -> tuple[dict[str, IntervalSet], list[Hole]]:
    """What is taken of these starts and of all that have holes, and the holes."""
    missing = [
        Hole(row.start_id, row.first_seq, row.last_seq, row.frames)
        for row in connection.execute(
            select(lane_starts.c.start_id, holes)
            .join(lane_starts, holes.c.start_pk == lane_starts.c.id)
            .where(lane_starts.c.lane_id == lane_id)
            .order_by(holes.c.id)
        )
    ]
    wanted = {*start_ids, *(hole.start_id for hole in missing)}
    rows = connection.execute(
        select(lane_starts.c.start_id, lane_starts.c.taken).where(
            lane_starts.c.lane_id == lane_id, lane_starts.c.start_id.in_(wanted)
        )
    )
    return {row.start_id: IntervalSet(msgspec.json.decode(row.taken)) for row in rows}, missing


def add_starts(connection: Connection, lane_id: int, start_ids: Iterable[str]) -> None:
    """Starts in the agent's order; known ones keep their place."""
    known = set(start_keys(connection, lane_id, start_ids))
    for start_id in start_ids:
        if start_id not in known:
            connection.execute(insert(lane_starts).values(lane_id=lane_id, start_id=start_id, taken="[]"))


def count_taken(connection: Connection, lane_id: int, start_id: str, first_seq: int, last_seq: int) -> int:
    """Frames of the recorded packets with these numbers."""
    total: int = connection.execute(
        select(func.coalesce(func.sum(packets.c.frames), 0))
        .join(lane_starts, packets.c.start_pk == lane_starts.c.id)
        .where(
            lane_starts.c.lane_id == lane_id,
            lane_starts.c.start_id == start_id,
            packets.c.seq.between(first_seq, last_seq),
        )
    ).scalar_one()
    return total


def store(connection: Connection, changes: Iterable[LaneChange]) -> None:
    """Store packets, progress and holes of several lanes; all or nothing."""
    rows: list[dict[str, Any]] = []
    clocks: list[tuple[int, int, ClockRecord]] = []
    progress: list[dict[str, Any]] = []
    for change in changes:
        keys = change.start_keys
        rows.extend(_packet_row(packet, keys[packet.start_id]) for packet in change.stored)
        clocks.extend(
            (keys[packet.start_id], packet.seq, packet.clock) for packet in change.stored if packet.clock
        )
        progress.extend(_progress_row(change, start_id) for start_id in change.taken)
        if change.holes is not None:
            _store_holes(connection, change.lane_id, change.holes, change.at_ns)
    if progress:
        connection.execute(_ADD_PROGRESS, progress)
    if rows:
        connection.execute(_INSERT_PACKETS, rows)
    clock_store.store(connection, clocks)


def start_keys(connection: Connection, lane_id: int, start_ids: Iterable[str]) -> dict[str, int]:
    """The keys of those of these starts that are stored; they never change."""
    query = select(lane_starts.c.start_id, lane_starts.c.id).where(
        lane_starts.c.lane_id == lane_id, lane_starts.c.start_id.in_(list(start_ids))
    )
    return {row.start_id: row.id for row in connection.execute(query)}


def _packet_row(packet: StoredPacket, start_pk: int) -> dict[str, Any]:
    return {
        "start_pk": start_pk,
        "seq": packet.seq,
        "first_seq": packet.first_seq,
        "kind": packet.kind,
        "frames": packet.frames,
        "first_ns": packet.first_ns,
        "last_ns": packet.last_ns,
        "received_ns": packet.received_ns,
        "is_backlog": packet.is_backlog,
        "size_bytes": len(packet.body),
        "body": packet.body,
    }


def _progress_row(change: LaneChange, start_id: str) -> dict[str, Any]:
    stored = [packet for packet in change.stored if packet.start_id == start_id]
    recorded = [packet for packet in stored if packet.kind is not PacketKind.GAP]
    return {
        "start_pk": change.start_keys[start_id],
        "taken_after": _json.encode(change.taken[start_id]).decode(),
        "more_packets": len(recorded),
        "more_frames": sum(packet.frames or 0 for packet in recorded),
        "more_bytes": sum(len(packet.body) for packet in stored),
    }


def _store_holes(connection: Connection, lane_id: int, missing: Sequence[Hole], at_ns: int) -> None:
    mine = select(lane_starts.c.id).where(lane_starts.c.lane_id == lane_id)
    connection.execute(delete(holes).where(holes.c.start_pk.in_(mine)))
    if not missing:
        return
    keys = start_keys(connection, lane_id, {hole.start_id for hole in missing})
    rows = [
        {
            "start_pk": keys[hole.start_id],
            "first_seq": hole.first_seq,
            "last_seq": hole.last_seq,
            "frames": hole.frames,
            "announced_at_ns": at_ns,
        }
        for hole in missing
    ]
    connection.execute(insert(holes), rows)


def recorded_packets(
    connection: Connection,
    dongle_id: str,
    after: tuple[int, int],
    from_ns: int | None,
    to_ns: int | None,
) -> list[Any]:
    """The next page of a dongle's frames lane, in order, behind (start_pk, seq): start_pk, seq, body."""
    start_pk, seq = after
    query = (
        select(packets.c.start_pk, packets.c.seq, packets.c.body)
        .join(lane_starts, packets.c.start_pk == lane_starts.c.id)
        .join(lanes, lane_starts.c.lane_id == lanes.c.id)
        .where(
            lanes.c.dongle_id == dongle_id,
            lanes.c.lane == "frames",
            (packets.c.start_pk > start_pk) | ((packets.c.start_pk == start_pk) & (packets.c.seq > seq)),
        )
        .order_by(packets.c.start_pk, packets.c.seq)
        .limit(_PAGE_PACKETS)
    )
    if from_ns is not None:
        query = query.where(packets.c.last_ns >= from_ns)
    if to_ns is not None:
        query = query.where(packets.c.first_ns < to_ns)
    return list(connection.execute(query))


def known_gaps(connection: Connection, dongle_id: str) -> tuple[int, int]:
    """(gap records, frames they say are missing) in the frames lane, agent starts left out."""
    row = connection.execute(
        select(func.count(), func.coalesce(func.sum(packets.c.frames), 0))
        .select_from(packets)
        .join(lane_starts, packets.c.start_pk == lane_starts.c.id)
        .join(lanes, lane_starts.c.lane_id == lanes.c.id)
        .where(
            lanes.c.dongle_id == dongle_id,
            lanes.c.lane == "frames",
            packets.c.kind == PacketKind.GAP,
            packets.c.frames.is_not(None),
        )
    ).one()
    return int(row[0]), int(row[1])


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
