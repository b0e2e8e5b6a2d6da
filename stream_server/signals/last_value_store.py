"""The last values of every dongle: in memory, and in storage every ten seconds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, delete, func, insert, select

from can_stream.frames.batches import SignalBatch
from can_stream.protocol.errors import PacketError
from can_stream.protocol.packet_head import PacketKind
from can_stream.protocol.packets import decode_packet
from stream_server.errors import StorageError
from stream_server.signals.last_values import LastValues, restored
from stream_server.storage import kept_facts, recording_schema
from stream_server.storage.database import Database
from stream_server.storage.server_schema import dongles

PERIOD_SECONDS: Final = 10.0
_PAGE_PACKETS: Final = 500
_DONGLES_AT_ONCE: Final = 50
_logger: Final = logging.getLogger(__name__)


class LastValueStore:
    """What each signal of each dongle said last.

    What is stored covers every packet up to one that is stored with it; the packets behind that are read
    again at the next start. What was taken and not committed by then comes again from its gateway.
    """

    def __init__(self, database: Database, recording: Database) -> None:
        self._database = database
        self._recording = recording
        self._dongles: dict[str, LastValues] = {}
        self._dirty: dict[str, None] = {}
        self._covered: int | None = None

    async def load(self) -> None:
        """Read what was stored, and what was recorded since."""
        tables = await self._database.read(_current_tables)
        damaged: list[str] = []
        self._dongles = await self._recording.read(partial(_load, tables=tables, damaged=damaged))
        for reason in damaged[:1]:
            self._recording.found_damage(reason)
        self._dirty = dict.fromkeys(self._dongles)

    async def run(self) -> None:
        """Store what has changed every ten seconds until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            try:
                await self.store()
            except StorageError as error:
                _logger.warning("last values wait: %s", error)

    async def store(self) -> None:
        """Store what has changed. StorageError."""
        # First, so that the values hold at least what is recorded up to there.
        covered = await self._recording.read(_last_packet)
        changed, self._dirty = list(self._dirty), {}
        for start in range(0, len(changed), _DONGLES_AT_ONCE):
            rows = [_row(one, self._dongles[one]) for one in changed[start : start + _DONGLES_AT_ONCE]]
            try:
                await self._recording.write(partial(_store, rows=rows))
            except BaseException:
                self._dirty.update(dict.fromkeys(changed[start:]))
                raise
        if covered not in (None, self._covered):
            key = kept_facts.LAST_VALUES_PACKET
            await self._recording.write(lambda connection: kept_facts.put(connection, key, str(covered)))
            self._covered = covered

    def of(self, dongle_id: str) -> LastValues:
        """The last values of a known dongle."""
        values = self._dongles.get(dongle_id)
        if values is None:
            values = self._dongles[dongle_id] = LastValues(None)
        return values

    def declare(self, dongle_id: str, table_hash: str | None) -> None:
        """The gateway says which table is the dongle's current one."""
        if self.of(dongle_id).declare(table_hash):
            self._dirty[dongle_id] = None

    def take_values(self, dongle_id: str, batch: SignalBatch, *, is_backlog: bool) -> None:
        """Values that were received and are being recorded, in that order."""
        if _take(self.of(dongle_id), batch, is_backlog=is_backlog):
            self._dirty[dongle_id] = None


def _take(values: LastValues, batch: SignalBatch, *, is_backlog: bool) -> bool:
    if is_backlog:
        return values.take_backlog(batch)
    values.take_live(batch)
    return True


def _row(dongle_id: str, values: LastValues) -> dict[str, Any]:
    return {"dongle_id": dongle_id, "table_hash": values.table_hash, "body": values.to_bytes()}


def _store(connection: Connection, rows: list[dict[str, Any]]) -> None:
    table = recording_schema.last_values
    connection.execute(delete(table).where(table.c.dongle_id.in_([row["dongle_id"] for row in rows])))
    kept = [row for row in rows if row["table_hash"] is not None]
    if kept:
        connection.execute(insert(table), kept)


def _last_packet(connection: Connection) -> int | None:
    newest: int | None = connection.execute(select(func.max(recording_schema.packets.c.id))).scalar_one()
    return newest


def _current_tables(connection: Connection) -> dict[str, str | None]:
    return {row.dongle_id: row.signal_table for row in connection.execute(select(dongles))}


def _load(
    connection: Connection, tables: Mapping[str, str | None], damaged: list[str]
) -> dict[str, LastValues]:
    found = {dongle_id: LastValues(table_hash) for dongle_id, table_hash in tables.items()}
    for row in connection.execute(select(recording_schema.last_values)):
        found[row.dongle_id] = restored(row.table_hash, row.body)
    covered = int(kept_facts.get(connection, kept_facts.LAST_VALUES_PACKET) or 0)
    for row in _packets_since(connection, covered):
        try:
            body = decode_packet(row.body).body
        except PacketError as error:
            damaged.append(f"a packet of {row.dongle_id} cannot be read: {error}")
            continue
        if isinstance(body, SignalBatch):
            # A registry that is older than the recording may not know the dongle.
            values = found.setdefault(row.dongle_id, LastValues(None))
            _take(values, body, is_backlog=row.is_backlog)
    for values in found.values():
        # What a gateway said before this start does not count: it says it anew when it connects.
        values.declare(values.table_hash)
    return found


def _packets_since(connection: Connection, covered: int) -> Iterator[Any]:
    packets, starts = recording_schema.packets, recording_schema.lane_starts
    lanes = recording_schema.lanes
    query = (
        select(packets.c.id, packets.c.is_backlog, packets.c.body, lanes.c.dongle_id)
        .join(starts, packets.c.start_pk == starts.c.id)
        .join(lanes, starts.c.lane_id == lanes.c.id)
        .where(packets.c.kind == PacketKind.SIGNALS)
        .order_by(packets.c.id)
        .limit(_PAGE_PACKETS)
    )
    while page := connection.execute(query.where(packets.c.id > covered)).all():
        yield from page
        covered = page[-1].id
