"""Signal tables in storage and memory: bounded, read once, and whatever is wrong with one ends with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, update

from can_stream.protocol.errors import SessionError
from can_stream.signals.model import SignalModel
from can_stream.signals.table import SignalTable
from stream_server.signals import tables as module
from stream_server.signals.tables import SignalTables
from stream_server.storage import server_schema as schema
from stream_server.storage.database import Database
from tests.helpers.server_parts import enrol, new_storage
from tests.helpers.signal_tables import table_of


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(new_storage(tmp_path))
    yield opened
    await opened.close()


def named_table(name: str, signals: int = 1) -> SignalTable:
    return table_of({name: [SignalModel(f"S{number}", number, 1) for number in range(signals)]})


async def store(tables: SignalTables, table: SignalTable) -> str:
    table_hash = table.hash.hex()
    await tables.store(table_hash, table.to_bytes())
    return table_hash


async def test_a_table_is_found_again_after_a_restart(database: Database) -> None:
    tables = SignalTables(database, 10**9)
    table_hash = await store(tables, named_table("A"))
    again = SignalTables(database, 10**9)
    assert again.lacking([table_hash, "0" * 32]) == [table_hash, "0" * 32]
    await again.load()
    assert again.lacking([table_hash, "0" * 32]) == ["0" * 32]
    assert again.find(table_hash) is None, "not read yet"
    both = await asyncio.gather(again.fetch(table_hash), again.fetch(table_hash))
    assert list(both) == [named_table("A")] * 2
    assert both[0] is both[1] is again.find(table_hash)
    assert await again.fetch("0" * 32) is None
    assert await again.fetch(None) is None
    await again.close()


async def test_memory_keeps_the_tables_used_last(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SIGNALS_IN_MEMORY", 3 * 12)
    tables = SignalTables(database, 10**9)
    first, second, third = [await store(tables, named_table(name, 10)) for name in "ABC"]
    assert tables.find(first) is not None
    fourth = await store(tables, named_table("D", 10))
    assert tables.find(second) is None
    assert None not in [tables.find(one) for one in (first, third, fourth)]
    assert await tables.fetch(second) == named_table("B", 10)
    large = await store(tables, named_table("E", 64))
    assert tables.find(large) is not None
    assert [tables.find(one) for one in (first, second, third, fourth)] == [None] * 4
    await tables.close()


async def test_tables_have_a_bound_in_bytes_and_those_that_no_dongle_has_go_first(database: Database) -> None:
    bodies = [named_table(name, 50) for name in "ABCD"]
    size = max(len(table.to_bytes()) for table in bodies)
    await enrol(database, "van7", "van7-can0")
    tables = SignalTables(database, 3 * size)
    hashes = [await store(tables, bodies[0])]
    await database.write(lambda c: c.execute(update(schema.dongles).values(signal_table=hashes[0])))
    hashes += [await store(tables, table) for table in bodies[1:]]
    assert tables.lacking(hashes) == [hashes[1]], "the oldest that nobody has"
    again = SignalTables(database, 3 * size)
    await again.load()
    assert again.lacking(hashes) == [hashes[1]]


async def test_tables_that_no_dongle_has_are_bounded_and_asked_for_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNUSED_TABLES", 2)
    tables = SignalTables(database, 10**9)
    used = await store(tables, named_table("Used"))
    agent = insert(schema.agents).values(agent_id="a", token_hash="", created_at_ns=0)
    values = {"interface": "", "channel": "", "mode": "", "fd": False, "listed": False, "created_at_ns": 0}
    dongle = insert(schema.dongles).values(dongle_id="d", agent_id="a", signal_table=used, **values)
    await database.write(lambda connection: (connection.execute(agent), connection.execute(dongle)))
    others = [await store(tables, named_table(name)) for name in "ABCD"]
    assert tables.lacking([used, *others]) == others[:2]
    count = select(func.count()).select_from(schema.signal_tables)
    assert await database.read(lambda connection: connection.execute(count).scalar_one()) == 3


async def test_what_is_not_the_table_it_is_said_to_be_is_not_kept(database: Database) -> None:
    tables = SignalTables(database, 10**9)
    table = named_table("A")
    for table_hash, body in (
        (table.hash.hex(), b""),
        (table.hash.hex(), b"SIGT" + bytes(100)),
        (table.hash.hex(), table.to_bytes() + b"x"),
        ("0" * 32, table.to_bytes()),
    ):
        with pytest.raises(SessionError):
            await tables.store(table_hash, body)
        assert tables.lacking([table_hash]) == [table_hash]
    await store(tables, table)


async def test_a_stored_table_that_cannot_be_read_is_asked_for_again(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    table_hash = await store(SignalTables(database, 10**9), named_table("A"))
    damage = update(schema.signal_tables).values(body=b"SIGT?")
    await database.write(lambda connection: connection.execute(damage))
    tables = SignalTables(database, 10**9)
    await tables.load()
    assert await tables.fetch(table_hash) is None
    assert tables.lacking([table_hash]) == [table_hash]
    assert table_hash in caplog.text
    await store(tables, named_table("A"))
    assert await tables.fetch(table_hash) == named_table("A")
