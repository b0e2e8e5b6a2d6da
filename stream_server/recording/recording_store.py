"""The recording in SQL: packets as received with what they change. One connection, no rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, insert, update

from can_stream.lanes.counted import Counted
from can_stream.lanes.opening import Start
from can_stream.lanes.receiver import Change
from can_stream.protocol.clock_record import ClockRecord
from can_stream.protocol.packet_head import PacketKind
from stream_server.recording import block_store, gap_store, start_store
from stream_server.recording.gap_news import GapNews
from stream_server.storage.bulk import Bulk
from stream_server.storage.checksums import COVERED, row_checksum
from stream_server.storage.recording_schema import lane_starts, packets

_INSERT_PACKETS: Final = Bulk(
    insert(packets),
    (*COVERED, "checksum"),
)
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
    `dongle_id`, `lane`: which lane it is.
    """

    lane_id: int
    start_keys: Mapping[str, int]
    stored: Sequence[StoredPacket]
    before: Mapping[str, Start]
    change: Change
    at_ns: int
    dongle_id: str = ""
    lane: str = ""


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
    block_store.note(
        connection,
        [
            block_store.Noted(
                change.start_keys[packet.start_id], packet.seq, packet.first_ns, packet.last_ns, packet.kind
            )
            for change in changes
            for packet in change.stored
        ],
    )
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
    columns = (
        packet.body,
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
        packet.position,
    )
    return (*columns, row_checksum(*columns))


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
