"""Storage: group commits, jobs that fail alone, faults that are told, migrations."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, func, select

from stream_server.errors import StartError, StorageError
from stream_server.storage import migrations
from stream_server.storage.database import Database, open_engine
from stream_server.storage.migrations import RECORDING, SERVER, History
from stream_server.storage.server_schema import server_state


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    path = tmp_path / "server.sqlite3"
    assert migrations.upgrade(path, SERVER)
    opened = Database(path)
    yield opened
    await opened.close()


def insert(key: str) -> sqlalchemy.Insert:
    return sqlalchemy.insert(server_state).values(key=key, value="")


def count(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(server_state)).scalar_one()


async def test_what_was_written_is_read(database: Database) -> None:
    await database.write(lambda connection: connection.execute(insert("a")))
    assert await database.read(count) == 1


async def test_jobs_that_wait_together_share_one_commit(tmp_path: Path) -> None:
    path = tmp_path / "server.sqlite3"
    migrations.upgrade(path, SERVER)
    groups: list[int] = []
    database = Database(path, on_commit=lambda _seconds, jobs: groups.append(jobs))

    async def write(number: int) -> None:
        await database.write(lambda connection: connection.execute(insert(str(number))))

    await asyncio.gather(*(write(number) for number in range(1000)))
    assert await database.read(count) == 1000
    await database.close()
    assert sum(groups) == 1000
    assert len(groups) < 100


async def test_a_failing_job_fails_alone(database: Database) -> None:
    def half_done(connection: Connection) -> None:
        connection.execute(insert("half"))
        raise KeyError("mine")

    results = await asyncio.gather(
        database.write(lambda connection: connection.execute(insert("before"))),
        database.write(half_done),
        database.write(lambda connection: connection.execute(insert("before"))),
        database.write(lambda connection: connection.execute(insert("after"))),
        return_exceptions=True,
    )
    assert [isinstance(result, Exception) for result in results] == [False, True, True, False]
    assert isinstance(results[1], KeyError)
    assert isinstance(results[2], sqlalchemy.exc.IntegrityError)
    keys = await database.read(
        lambda connection: connection.execute(select(server_state.c.key)).scalars().all()
    )
    assert sorted(keys) == ["after", "before"]
    assert database.fault is None


async def test_a_full_disk_fails_the_group_is_told_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "server.sqlite3"
    migrations.upgrade(path, SERVER)
    database = Database(path)

    def fill(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        connection.execute(sqlalchemy.insert(server_state).values(key="big", value="x" * 1_000_000))

    with pytest.raises(StorageError, match="full"):
        await database.write(fill)
    assert "full" in str(database.fault)

    def lift(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count=1000000")

    await database.write(lift)
    await database.write(lambda connection: connection.execute(insert("a")))
    assert database.fault is None
    assert await database.read(count) == 1
    await database.close()


async def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(sqlalchemy.exc.OperationalError, match="readonly"):
        await database.read(lambda connection: connection.execute(insert("a")))


async def test_closing_commits_what_waits_and_refuses_more(tmp_path: Path) -> None:
    path = tmp_path / "server.sqlite3"
    migrations.upgrade(path, SERVER)
    database = Database(path)
    waiting = asyncio.ensure_future(database.write(lambda connection: connection.execute(insert("a"))))
    await asyncio.sleep(0)
    await database.close()
    await waiting
    with pytest.raises(StorageError, match="stopping"):
        await database.write(count)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT key FROM server_state").fetchall() == [("a",)]


async def test_a_cancelled_caller_leaves_the_rest_alone(database: Database) -> None:
    first = asyncio.ensure_future(database.write(lambda connection: connection.execute(insert("a"))))
    second = asyncio.ensure_future(database.write(lambda connection: connection.execute(insert("b"))))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert first.cancelled()


@pytest.mark.parametrize("history", [SERVER, RECORDING], ids=["server", "recording"])
def test_the_migrations_make_exactly_the_schema(tmp_path: Path, history: History) -> None:
    path = tmp_path / "some.sqlite3"
    assert migrations.upgrade(path, history)
    assert not migrations.upgrade(path, history)
    with open_engine(path).begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), history.metadata) == []


def test_no_table_is_in_both_files() -> None:
    """Else a backup, which is one file, could not hold them."""
    assert set(SERVER.metadata.tables) & set(RECORDING.metadata.tables) == set()


def test_a_newer_or_foreign_database_is_refused_with_the_remedy(tmp_path: Path) -> None:
    newer = tmp_path / "newer.sqlite3"
    migrations.upgrade(newer, SERVER)
    with sqlite3.connect(newer) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StartError, match="newer stream-server"):
        migrations.upgrade(newer, SERVER)
    foreign = tmp_path / "foreign.sqlite3"
    foreign.write_bytes(os.urandom(4096))
    with pytest.raises(StartError, match="not a database"):
        migrations.upgrade(foreign, SERVER)


def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "server.sqlite3"
    migrations.upgrade(path, SERVER)
    script = """
import asyncio, os, signal, sys
from pathlib import Path
import sqlalchemy
from stream_server.storage.database import Database
from stream_server.storage.server_schema import server_state
async def main():
    database = Database(Path(sys.argv[1]))
    for key in range(20):
        row = sqlalchemy.insert(server_state).values(key=str(key), value="")
        await database.write(lambda connection: connection.execute(row))
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM server_state").fetchone() == (20,)
