"""The last values of every dongle: in memory, and in storage every ten seconds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, delete, func, insert, select

from can_stream.frames.batches import SignalBatch
from can_stream.protocol.packet_head import PacketKind
from can_stream.protocol.packets import decode_packet
from stream_server.errors import StorageError
from stream_server.signals.last_values import LastValues, restored
from stream_server.storage import schema, server_state
from stream_server.storage.database import Database

PERIOD_SECONDS: Final = 10.0
_PAGE_PACKETS: Final = 500
_DONGLES_AT_ONCE: Final = 50
_logger: Final = logging.getLogger(__name__)


class LastValueStore:
    """What each signal of each dongle said last.

    What is stored covers every packet up to one that is stored with it; the packets behind that are read
    again at the next start. What was taken and not committed by then comes again from its gateway.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._dongles: dict[str, LastValues] = {}
        self._dirty: dict[str, None] = {}
        self._covered: int | None = None

    async def load(self) -> None:
        """Read what was stored, and what was recorded since."""
        self._dongles = await self._database.read(_load)
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
        covered = await self._database.read(_last_packet)
        changed, self._dirty = list(self._dirty), {}
        for start in range(0, len(changed), _DONGLES_AT_ONCE):
            rows = [_row(one, self._dongles[one]) for one in changed[start : start + _DONGLES_AT_ONCE]]
            try:
                await self._database.write(partial(_store, rows=rows))
            except BaseException:
                self._dirty.update(dict.fromkeys(changed[start:]))
                raise
        if covered not in (None, self._covered):
            key = server_state.LAST_VALUES_PACKET
            await self._database.write(lambda connection: server_state.put(connection, key, str(covered)))
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
    table = schema.last_values
    connection.execute(delete(table).where(table.c.dongle_id.in_([row["dongle_id"] for row in rows])))
    kept = [row for row in rows if row["table_hash"] is not None]
    if kept:
        connection.execute(insert(table), kept)


def _last_packet(connection: Connection) -> int | None:
    newest: int | None = connection.execute(select(func.max(schema.packets.c.id))).scalar_one()
    return newest


def _load(connection: Connection) -> dict[str, LastValues]:
    dongles, stored = schema.dongles, schema.last_values
    rows = connection.execute(
        select(dongles.c.dongle_id, dongles.c.signal_table, stored.c.table_hash, stored.c.body)
        .outerjoin(stored, stored.c.dongle_id == dongles.c.dongle_id)
    )  # fmt: skip
    found = {
        row.dongle_id: LastValues(row.signal_table)
        if row.table_hash is None
        else restored(row.table_hash, row.body)
        for row in rows
    }
    covered = int(server_state.get(connection, server_state.LAST_VALUES_PACKET) or 0)
    for row in _packets_since(connection, covered):
        body = decode_packet(row.body).body
        if isinstance(body, SignalBatch):
            _take(found[row.dongle_id], body, is_backlog=row.is_backlog)
    for values in found.values():
        # What a gateway said before this start does not count: it says it anew when it connects.
        values.declare(values.table_hash)
    return found


def _packets_since(connection: Connection, covered: int) -> Iterator[Any]:
    packets, starts, lanes = schema.packets, schema.lane_starts, schema.lanes
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
