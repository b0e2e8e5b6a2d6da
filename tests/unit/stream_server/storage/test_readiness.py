"""Ready is who can write: to both files, asked often or not, locked or full."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stream_server.errors import StorageError
from stream_server.storage import kept_facts, readiness
from stream_server.storage.database import Database
from stream_server.storage.readiness import Readiness
from tests.helpers.server_parts import GatedDatabase, fill, new_recording, new_storage


class Files:
    """Both files and whoever is asked about them."""

    def __init__(self, directory: Path) -> None:
        self.server = Database(new_storage(directory))
        self.recording = GatedDatabase(new_recording(directory))
        self.readiness = Readiness(
            [(self.server, kept_facts.SERVER_READY), (self.recording, kept_facts.RECORDING_READY)]
        )

    async def written(self) -> str | None:
        return await self.recording.read(lambda c: kept_facts.get(c, kept_facts.RECORDING_READY))


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[Files]:
    made = Files(tmp_path)
    yield made
    await made.readiness.close()
    await made.recording.close()
    await made.server.close()


async def test_however_many_ask_there_is_one_write_in_a_second(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await asyncio.gather(*(files.readiness.fault() for _ in range(50))) == [None] * 50
    first = await files.written()
    assert first is not None
    assert await files.readiness.fault() is None
    assert await files.written() == first
    monkeypatch.setattr(readiness, "HOLDS_SECONDS", 0.0)
    assert await files.readiness.fault() is None
    assert await files.written() != first


async def test_a_locked_file_is_told_in_time_by_name_and_so_is_its_end(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(readiness, "HOLDS_SECONDS", 0.0)
    with contextlib.closing(sqlite3.connect(files.recording.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            assert "a write has taken" in str(await files.readiness.fault())
    async with asyncio.timeout(10):
        while await files.readiness.fault() is not None:
            pass


async def test_a_full_disk_is_told_although_a_small_write_finds_room(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "HOLDS_SECONDS", 0.0)

    def much(connection: object) -> None:
        fill(connection)  # type: ignore[arg-type]
        kept_facts.put(connection, kept_facts.SALVAGE, "x" * 1_000_000)  # type: ignore[arg-type]

    with pytest.raises(StorageError):
        await files.recording.write(much)
    assert "full" in str(await files.readiness.fault())
    assert await files.readiness.fault() is None, "nothing has failed since"
