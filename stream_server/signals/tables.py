"""Signal tables by hash (32 hex digits): all of them in storage, those used last in memory."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable
from functools import partial
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select

from can_stream.protocol.errors import SessionError
from can_stream.signals.checking import MAX_SIGNALS
from can_stream.signals.errors import TableError, TableVersionError
from can_stream.signals.table import SignalTable, read_table
from stream_server import clock
from stream_server.signals.table_quota import StoredTable, surplus_tables
from stream_server.storage.database import Database
from stream_server.storage.server_schema import dongles, signal_tables

# As many as one table can have, about 130 MB. The tables of ordinary databases are small.
SIGNALS_IN_MEMORY: Final = MAX_SIGNALS
UNUSED_TABLES: Final = 1024
_logger: Final = logging.getLogger(__name__)


class SignalTables:
    """The signal tables of all dongles. They are read in a thread, one at a time: it can take seconds.

    Of what is stored `table_quota` says what goes beyond `max_bytes`.
    """

    def __init__(self, database: Database, max_bytes: int) -> None:
        self._database = database
        self._max_bytes = max_bytes
        self._stored: set[str] = set()
        self._read: OrderedDict[str, SignalTable] = OrderedDict()
        self._reading = asyncio.Lock()
        self._fetches: dict[str, asyncio.Task[SignalTable | None]] = {}

    async def load(self) -> None:
        """Find out which tables there are."""
        self._stored = set(await self._database.read(_stored_hashes))

    async def close(self) -> None:
        """End what `find` has begun."""
        for task in list(self._fetches.values()):
            task.cancel()
        await asyncio.gather(*self._fetches.values(), return_exceptions=True)

    def lacking(self, hashes: Iterable[str]) -> list[str]:
        """Those of `hashes` that are not here."""
        return [table_hash for table_hash in hashes if table_hash not in self._stored]

    def find(self, table_hash: str | None) -> SignalTable | None:
        """The table where it is in memory. Where it is in storage it will be in memory soon."""
        table = self._read.get(table_hash or "")
        if table is not None:
            self._read.move_to_end(table_hash or "")
        elif table_hash in self._stored and table_hash is not None:
            self._fetching(table_hash)
        return table

    async def fetch(self, table_hash: str | None) -> SignalTable | None:
        """The table, None where it is not here."""
        table = self.find(table_hash)
        fetching = self._fetches.get(table_hash or "")
        if table is None and fetching is not None:
            table = await asyncio.shield(fetching)
        return table

    async def store(self, table_hash: str, body: bytes) -> None:
        """Keep what an agent has sent.

        TableVersionError for a newer agent's; SessionError for what it is not said to be; StorageError.
        """
        try:
            async with self._reading:
                table = await asyncio.to_thread(read_table, body)
        except TableVersionError:
            raise
        except TableError as error:
            raise SessionError(f"table {table_hash}: {error}") from error
        if table.hash.hex() != table_hash:
            raise SessionError(f"hash: the table sent as {table_hash} has the hash {table.hash.hex()}")
        now_ns = clock.wall_ns()
        store = partial(_store, table_hash=table_hash, body=body, now_ns=now_ns, max_bytes=self._max_bytes)
        gone = await self._database.write(store)
        self._stored.add(table_hash)
        self._stored.difference_update(gone)
        self._keep(table_hash, table)

    def _fetching(self, table_hash: str) -> None:
        if table_hash not in self._fetches:
            task = asyncio.create_task(self._fetch(table_hash))
            self._fetches[table_hash] = task
            task.add_done_callback(lambda task: self._fetched(table_hash, task))

    def _fetched(self, table_hash: str, task: asyncio.Task[SignalTable | None]) -> None:
        del self._fetches[table_hash]
        if not task.cancelled() and task.exception() is not None:
            _logger.warning("the signal table %s cannot be fetched: %r", table_hash, task.exception())

    async def _fetch(self, table_hash: str) -> SignalTable | None:
        body = await self._database.read(partial(_body, table_hash=table_hash))
        if body is None:
            self._stored.discard(table_hash)
            return None
        try:
            async with self._reading:
                table = await asyncio.to_thread(read_table, body)
        except TableError as error:
            _logger.warning("the stored signal table %s cannot be read: %s", table_hash, error)
            self._stored.discard(table_hash)
            return None
        self._keep(table_hash, table)
        return table

    def _keep(self, table_hash: str, table: SignalTable) -> None:
        self._read[table_hash] = table
        self._read.move_to_end(table_hash)
        surplus = sum(map(_weight, self._read.values())) - SIGNALS_IN_MEMORY
        while surplus > 0 and len(self._read) > 1:
            _, oldest = self._read.popitem(last=False)
            surplus -= _weight(oldest)


def _weight(table: SignalTable) -> int:
    return 1 + len(table.messages) + len(table.signals)


def _stored_hashes(connection: Connection) -> list[str]:
    return list(connection.execute(select(signal_tables.c.table_hash)).scalars())


def _body(connection: Connection, table_hash: str) -> bytes | None:
    query = select(signal_tables.c.body).where(signal_tables.c.table_hash == table_hash)
    return connection.execute(query).scalar_one_or_none()


def _store(connection: Connection, table_hash: str, body: bytes, now_ns: int, max_bytes: int) -> list[str]:
    """Store it, and delete what is too much then. Returns the hashes of that."""
    table = signal_tables
    connection.execute(delete(table).where(table.c.table_hash == table_hash))
    connection.execute(insert(table).values(table_hash=table_hash, stored_at_ns=now_ns, body=body))
    query = (
        select(table.c.table_hash, func.length(table.c.body), func.min(dongles.c.agent_id))
        .outerjoin(dongles, dongles.c.signal_table == table.c.table_hash)
        .group_by(table.c.table_hash)
        .order_by(table.c.stored_at_ns)
    )
    stored = [StoredTable(*row) for row in connection.execute(query)]
    gone = [one.table_hash for one in surplus_tables(stored, UNUSED_TABLES, max_bytes)]
    connection.execute(delete(table).where(table.c.table_hash.in_(gone)))
    return gone
