"""Last values over restarts: what is stored and what was recorded since give what was in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Connection, insert

from can_stream.frames.batches import SignalBatch
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import encode_signals
from stream_server.errors import StorageError
from stream_server.signals.last_value_store import LastValueStore
from stream_server.storage import data_directory
from stream_server.storage import server_schema as schema
from stream_server.storage.database import Database, T
from tests.helpers import recordings
from tests.helpers.one_file import PACKETS, directory_of_before
from tests.helpers.server_parts import new_recording, new_storage

START = "00000000000000a1"
TABLE, OTHER = "a" * 32, "b" * 32


class InterruptedDatabase(Database):
    """Lets something else happen before its next write."""

    before_write: Callable[[], Awaitable[None]] | None = None

    async def write(self, run: Callable[[Connection], T]) -> T:
        if self.before_write is not None:
            other, self.before_write = self.before_write, None
            await other()
        return await super().write(run)


class Storage:
    """Both files: a dongle in the one, its packets in the other."""

    def __init__(self, directory: Path) -> None:
        self.registry = Database(new_storage(directory))
        self.recording = InterruptedDatabase(new_recording(directory))


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    opened = Storage(tmp_path)
    agent = insert(schema.agents).values(agent_id="van7", token_hash="", created_at_ns=0)
    values = {"interface": "", "channel": "", "mode": "", "fd": False, "listed": True, "created_at_ns": 0}
    dongle = insert(schema.dongles).values(dongle_id="can0", agent_id="van7", signal_table=TABLE, **values)
    await opened.registry.write(lambda connection: (connection.execute(agent), connection.execute(dongle)))
    yield opened
    await opened.recording.close()
    await opened.registry.close()


def values(number: int, signal: int = 0, table_hash: str = TABLE) -> SignalBatch:
    """One value; its time is its number."""
    return SignalBatch(
        bytes.fromhex(table_hash),
        np.array([number * 1000], np.int64),
        np.array([signal], np.uint32),
        np.array([2], np.uint8),
        np.array([number], np.uint64),
    )


async def record(storage: Storage, batch: SignalBatch, seq: int, *, is_backlog: bool = False) -> None:
    """Puts a packet into the recording."""
    body = encode_signals(PacketNumber(START, seq), batch, 1000)
    await storage.recording.write(lambda c: recordings.record(c, body, lane="signals", is_backlog=is_backlog))


async def receive(
    store: LastValueStore, storage: Storage, batch: SignalBatch, seq: int, *, is_backlog: bool = False
) -> None:
    """What ingest does with a packet, and the recorder later."""
    store.take_values("can0", batch, is_backlog=is_backlog)
    await record(storage, batch, seq, is_backlog=is_backlog)


async def loaded(storage: Storage) -> LastValueStore:
    store = LastValueStore(storage.registry, storage.recording)
    await store.load()
    return store


def shown(store: LastValueStore) -> dict[int, int]:
    columns = store.of("can0").columns()
    return dict(zip(columns.signal.tolist(), columns.bits.tolist(), strict=True))


@pytest.mark.parametrize("stored_after", range(7))
async def test_a_crash_at_any_moment_forgets_nothing_that_was_recorded(
    storage: Storage, stored_after: int
) -> None:
    store = await loaded(storage)
    steps = [(5, 0, False), (6, 1, False), (4, 1, True), (7, 0, True), (2, 1, False), (9, 2, True)]
    for seq, (number, signal, is_backlog) in enumerate(steps, 1):
        if seq == stored_after:
            await store.store()
        await receive(store, storage, values(number, signal), seq, is_backlog=is_backlog)
    assert shown(store) == {0: 7, 1: 2, 2: 9}
    assert shown(await loaded(storage)) == shown(store)


async def test_what_was_received_and_not_recorded_comes_again(storage: Storage) -> None:
    store = await loaded(storage)
    await receive(store, storage, values(5), 1)
    store.take_values("can0", values(6), is_backlog=False)
    await store.store()
    again = await loaded(storage)
    assert shown(again) == {0: 6}
    await receive(again, storage, values(6), 2, is_backlog=True)
    assert shown(again) == shown(await loaded(storage)) == {0: 6}


async def test_what_is_recorded_while_values_are_being_stored_is_read_again(
    storage: Storage,
) -> None:
    store = await loaded(storage)
    await receive(store, storage, values(5), 1)
    storage.recording.before_write = partial(receive, store, storage, values(6), 2)
    await store.store()
    assert shown(await loaded(storage)) == {0: 6}


async def test_a_new_table_begins_anew_also_after_a_restart(storage: Storage) -> None:
    store = await loaded(storage)
    await receive(store, storage, values(5), 1)
    store.declare("can0", OTHER)
    assert shown(store) == {}
    await store.store()
    again = await loaded(storage)
    assert (again.of("can0").table_hash, shown(again)) == (OTHER, {})
    await receive(again, storage, values(6), 2, is_backlog=True)
    assert shown(again) == {}, "of a table that is not the dongle's any more"
    await receive(again, storage, values(7, 1, OTHER), 3)
    last = await loaded(storage)
    last.declare("can0", OTHER)
    assert shown(last) == {1: 7}
    last.declare("can0", None)
    await last.store()
    assert (await loaded(storage)).of("can0").table_hash == TABLE, "what the registry says"


async def test_values_that_cannot_be_stored_wait_for_the_next_time(storage: Storage) -> None:
    store = await loaded(storage)
    await receive(store, storage, values(5), 1)

    def fill(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    def lift(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count=1000000")

    await storage.recording.write(fill)
    store.take_values("can0", _many(), is_backlog=False)
    with pytest.raises(StorageError):
        await store.store()
    await storage.recording.write(lift)
    await store.store()
    assert shown(await loaded(storage)) == shown(store)


def _many() -> SignalBatch:
    size = 8192
    zeros = np.zeros(size, np.int64)
    signals = np.arange(size, dtype=np.uint32)
    return SignalBatch(
        bytes.fromhex(TABLE), zeros, signals, np.full(size, 2, np.uint8), signals.astype(np.uint64)
    )


def test_a_recording_from_before_is_not_searched(tmp_path: Path) -> None:
    directory_of_before(tmp_path, "0001")
    directory = data_directory.prepare(tmp_path)
    with sqlite3.connect(directory.recording_path) as plain:
        facts = dict(plain.execute("SELECT key, value FROM recording_state").fetchall())
    # Values are not searched for; times are, once the server runs.
    assert facts == {"last_values_packet": str(PACKETS), "blocks_due": str(PACKETS)}
    with sqlite3.connect(directory.server_path) as plain:
        assert plain.execute("SELECT frames_mode, signal_table FROM dongles").fetchall() == [("all", None)]
