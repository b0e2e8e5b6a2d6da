"""When the packets of a recording are of, block by block, so that a search reads only where something is.

A block is the packets of one start whose numbers share all but the last eight bits. Its times are a little
wider than they must be, so that most new packets change nothing here. Blocks know of all packets once
nothing is due: those recorded before there were blocks, or salvaged, are looked at in the background.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from sqlalchemy import Connection, delete, func, or_, select

from can_stream.protocol.packet_head import PacketKind
from stream_server.errors import StorageError
from stream_server.storage import kept_facts
from stream_server.storage.database import Database
from stream_server.storage.recording_schema import lane_starts, lanes, packet_blocks, packets

BLOCK_PACKETS: Final = 256
_SLACK_NS: Final = 30_000_000_000
_LEAST_NS, _MOST_NS = -(1 << 63), (1 << 63) - 1
_STEP_PACKETS: Final = 500
_PAUSE_SECONDS: Final = 0.02
_RETRY_SECONDS: Final = 10.0
_NOTE: Final = (
    "INSERT INTO packet_blocks (start_pk, block, first_ns, last_ns, gaps) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (start_pk, block) DO UPDATE SET first_ns = min(first_ns, excluded.first_ns),"
    " last_ns = max(last_ns, excluded.last_ns), gaps = gaps + excluded.gaps"
    " WHERE excluded.first_ns + :slack < first_ns OR excluded.last_ns - :slack > last_ns"
    " OR excluded.gaps > 0"
).replace(":slack", str(_SLACK_NS))
_logger: Final = logging.getLogger(__name__)


class Noted(NamedTuple):
    """What a block must know of a packet."""

    start_pk: int
    seq: int
    first_ns: int
    last_ns: int
    kind: int


class Block(NamedTuple):
    """Packets of a start from number `first` to `last` that may be of the times asked for."""

    start_pk: int
    first: int
    last: int


def note(connection: Connection, noted: Iterable[Noted]) -> None:
    """Packets are recorded."""
    blocks: dict[tuple[int, int], tuple[int, int, int]] = {}
    for start_pk, seq, first_ns, last_ns, kind in noted:
        key = start_pk, seq // BLOCK_PACKETS
        first, last, gaps = blocks.get(key, (first_ns, last_ns, 0))
        blocks[key] = min(first, first_ns), max(last, last_ns), gaps + (kind == PacketKind.GAP)
    rows = [
        (*key, max(first - _SLACK_NS, _LEAST_NS), min(last + _SLACK_NS, _MOST_NS), gaps)
        for key, (first, last, gaps) in blocks.items()
    ]
    if rows:
        connection.exec_driver_sql(_NOTE, rows)


def forget(connection: Connection, start_pks: Iterable[int]) -> None:
    """Packets of these starts are deleted: blocks before what is left of them go."""
    for start_pk in start_pks:
        oldest = select(func.min(packets.c.seq)).where(packets.c.start_pk == start_pk)
        seq = connection.execute(oldest).scalar_one()
        gone = delete(packet_blocks).where(packet_blocks.c.start_pk == start_pk)
        if seq is not None:
            gone = gone.where(packet_blocks.c.block < seq // BLOCK_PACKETS)
        connection.execute(gone)


def is_complete(connection: Connection) -> bool:
    """Whether the blocks know of all packets."""
    return kept_facts.get(connection, kept_facts.BLOCKS_DUE) is None


def find(
    connection: Connection,
    dongle_id: str,
    after: tuple[int, int],
    times_ns: tuple[int | None, int | None],
    at_most: int,
) -> list[Block]:
    """The next blocks of a dongle's frames lane behind a packet (start, number), in order."""
    start_pk, seq = after
    from_ns, to_ns = times_ns
    table = packet_blocks
    is_later = or_(
        table.c.start_pk > start_pk,
        (table.c.start_pk == start_pk) & (table.c.block >= (seq + 1) // BLOCK_PACKETS),
    )
    query = (
        select(table.c.start_pk, table.c.block)
        .join(lane_starts, table.c.start_pk == lane_starts.c.id)
        .join(lanes, lane_starts.c.lane_id == lanes.c.id)
        .where(lanes.c.dongle_id == dongle_id, lanes.c.lane == "frames", is_later)
        .order_by(table.c.start_pk, table.c.block)
        .limit(at_most)
    )
    if from_ns is not None:
        query = query.where(table.c.last_ns >= from_ns)
    if to_ns is not None:
        query = query.where(table.c.first_ns < to_ns)
    return [_block(row.start_pk, row.block, after) for row in connection.execute(query)]


def with_gaps(connection: Connection, dongle_id: str) -> Iterator[Block]:
    """Blocks of a dongle's frames lane that may have gaps among their packets, as servers of before wrote."""
    query = (
        select(packet_blocks.c.start_pk, packet_blocks.c.block)
        .join(lane_starts, packet_blocks.c.start_pk == lane_starts.c.id)
        .join(lanes, lane_starts.c.lane_id == lanes.c.id)
        .where(lanes.c.dongle_id == dongle_id, lanes.c.lane == "frames", packet_blocks.c.gaps > 0)
    )
    for row in connection.execute(query).all():
        yield _block(row.start_pk, row.block, (0, 0))


def _block(start_pk: int, block: int, after: tuple[int, int]) -> Block:
    first = block * BLOCK_PACKETS
    if start_pk == after[0]:
        first = max(first, after[1] + 1)
    return Block(start_pk, first, (block + 1) * BLOCK_PACKETS - 1)


def fill_in_some(connection: Connection) -> bool:
    """Look at some packets that no block knows of. Returns whether more are due."""
    due = kept_facts.get(connection, kept_facts.BLOCKS_DUE)
    if due is None:
        return False
    columns = [packets.c[name] for name in Noted._fields]
    query = select(packets.c.id, *columns).where(packets.c.id <= int(due)).order_by(packets.c.id.desc())
    rows = connection.execute(query.limit(_STEP_PACKETS)).all()
    note(connection, [Noted(*row[1:]) for row in rows])
    if len(rows) < _STEP_PACKETS:
        kept_facts.remove(connection, kept_facts.BLOCKS_DUE)
        return False
    kept_facts.put(connection, kept_facts.BLOCKS_DUE, str(rows[-1].id - 1))
    return True


async def fill_in(recording: Database) -> None:
    """Look at all that no block knows of, some at a time, so that new packets never wait long."""
    due = True
    while due:
        try:
            due = await recording.write(fill_in_some)
            await asyncio.sleep(_PAUSE_SECONDS)
        except StorageError as error:
            _logger.warning("searching goes on slowly: %s", error)
            await asyncio.sleep(_RETRY_SECONDS)
