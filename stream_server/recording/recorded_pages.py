"""The recording read page by page: packets, and gaps in their places, in the order of the bus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, and_, func, or_, select

from can_stream.protocol.packet_head import PacketKind
from can_stream.protocol.packets import GapReason
from stream_server.recording import block_store
from stream_server.recording.gap_news import GapNews
from stream_server.storage.checksums import COVERED, row_checksum
from stream_server.storage.columns import total
from stream_server.storage.recording_schema import gaps, lane_starts, lanes, packets

_PAGE_ROWS: Final = 200
_PAGE_BYTES: Final = 512 * 1024
_PAGE_BLOCKS: Final = 16
_GAP, _PACKET = 0, 1

Place = tuple[int, int, int, int]
"""Start, place in it (a position, or a number where it says no positions), gap or packet, id or number."""


_BEFORE_ALL: Final[Place] = (-1, 0, 0, 0)


class Cursor(NamedTuple):
    """How far a reader has come among the packets (start, number) and the gaps (start, place, id)."""

    packet: tuple[int, int] = (0, 0)
    gap: tuple[int, int, int] = (0, -1, 0)


class Recorded(NamedTuple):
    """One record: the body of a packet, or a gap; None in place of a body that is not what was recorded."""

    place: Place
    body: bytes | GapNews | None

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
) -> tuple[list[Recorded], Cursor | None]:
    """What comes next in a dongle's frames lane, and the cursor behind it, None at the end.

    There may be nothing on a page that is not the last: a page takes a step's time.
    """
    found, reached = _found(connection, dongle_id, after, from_ns, to_ns)
    lost, more_lost = _first(connection, _gaps(dongle_id, after, from_ns, to_ns), _gap)
    records = sorted(found + lost, key=lambda one: one.place)
    # What lies behind the end of a full page may have something of the other kind before it.
    ends = [lost[-1].place] if more_lost else []
    if reached is not None:
        ends.append(found[-1].place if found else _BEFORE_ALL)
    if not ends:
        return records, None
    end = min(ends)
    records = [one for one in records if one.place <= end]
    cursor = _behind(after, records)
    if reached is not None and (not found or found[-1].place <= end):
        cursor = cursor._replace(packet=reached)
    return records, cursor


def _found(
    connection: Connection, dongle_id: str, after: Cursor, from_ns: int | None, to_ns: int | None
) -> tuple[list[Recorded], tuple[int, int] | None]:
    """The next packets, and (start, number) up to which there are no others; None where there are no more."""
    if not block_store.is_complete(connection):
        query = _packets(from_ns, to_ns).join(lanes, lane_starts.c.lane_id == lanes.c.id)
        query = query.where(lanes.c.dongle_id == dongle_id, lanes.c.lane == "frames", _is_behind(after))
        records, more = _first(connection, query, _packet)
        return records, (records[-1].start_pk, records[-1].seq) if more else None
    blocks = block_store.find(connection, dongle_id, after.packet, (from_ns, to_ns), _PAGE_BLOCKS)
    records, size = [], 0
    for block in blocks:
        query = _packets(from_ns, to_ns).where(
            packets.c.start_pk == block.start_pk, packets.c.seq.between(block.first, block.last)
        )
        of_block, more = _first(connection, query, _packet, len(records), size)
        records += of_block
        size += sum(len(one.body) for one in of_block if isinstance(one.body, bytes))
        if more:
            return records, (records[-1].start_pk, records[-1].seq)
    last = blocks[-1] if len(blocks) == _PAGE_BLOCKS else None
    return records, None if last is None else (last.start_pk, last.last)


def _first(
    connection: Connection,
    query: Select[Any],
    record_of: Callable[[Row[Any]], Recorded],
    count: int = 0,
    size: int = 0,
) -> tuple[list[Recorded], bool]:
    """Records up to the size of a page that has `count` of `size` bytes, and whether there may be more."""
    records: list[Recorded] = []
    with connection.execute(query.limit(_PAGE_ROWS)) as rows:
        for row in rows:
            record = record_of(row)
            records.append(record)
            size += len(record.body) if isinstance(record.body, bytes) else 0
            if count + len(records) >= _PAGE_ROWS or size >= _PAGE_BYTES:
                return records, True
    return records, False


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
    is_whole = row.checksum in (None, row_checksum(*row[: len(COVERED)]))
    return Recorded(place, row.body if is_whole else None)


def _gap(row: Row[Any]) -> Recorded:
    news = GapNews(row.id, GapReason(row.reason), row.frames, row.first_ns, row.last_ns)
    return Recorded((row.start_pk, row.place, _GAP, row.id), news)


def _packets(from_ns: int | None, to_ns: int | None) -> Select[Any]:
    table = packets
    query = (
        select(*(table.c[name] for name in COVERED), table.c.checksum, lane_starts.c.known)
        .join(lane_starts, table.c.start_pk == lane_starts.c.id)
        .order_by(table.c.start_pk, table.c.seq)
    )
    if from_ns is not None:
        query = query.where(table.c.last_ns >= from_ns)
    if to_ns is not None:
        query = query.where(table.c.first_ns < to_ns)
    return query


def _is_behind(after: Cursor) -> ColumnElement[bool]:
    start_pk, seq = after.packet
    is_behind = and_(packets.c.start_pk == start_pk, packets.c.seq > seq)
    return or_(packets.c.start_pk > start_pk, is_behind)


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
    )
    first_ns = func.coalesce(table.c.first_ns, table.c.received_ns)
    if from_ns is not None:
        query = query.where(func.coalesce(table.c.last_ns, first_ns) >= from_ns)
    if to_ns is not None:
        query = query.where(first_ns < to_ns)
    return query


def known_gaps(connection: Connection, dongle_id: str) -> tuple[int, int]:
    """(gap records, frames they say are missing) in the frames lane, agent starts left out."""
    found = [_count_gaps(connection, gaps, dongle_id)]
    of_before = packets.c.kind == PacketKind.GAP
    if not block_store.is_complete(connection):
        found.append(_count_gaps(connection, packets, dongle_id, of_before))
        return _sums(found)
    for block in block_store.with_gaps(connection, dongle_id):
        is_in_block = packets.c.seq.between(block.first, block.last)
        where = and_(of_before, packets.c.start_pk == block.start_pk, is_in_block)
        found.append(_count_gaps(connection, packets, dongle_id, where))
    return _sums(found)


def _sums(counts: list[tuple[int, int]]) -> tuple[int, int]:
    return sum(records for records, _ in counts), sum(frames for _, frames in counts)


def _count_gaps(
    connection: Connection, table: Table, dongle_id: str, where: ColumnElement[bool] | None = None
) -> tuple[int, int]:
    query = (
        select(func.count(), total(table.c.frames))
        .select_from(table)
        .join(lane_starts, table.c.start_pk == lane_starts.c.id)
        .join(lanes, lane_starts.c.lane_id == lanes.c.id)
        .where(lanes.c.dongle_id == dongle_id, lanes.c.lane == "frames", table.c.frames.is_not(None))
    )
    records, frames = connection.execute(query if where is None else query.where(where)).one()
    return int(records), int(frames)
