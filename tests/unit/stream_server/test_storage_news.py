"""What the log and the audit are told of the files and of the clock."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from stream_server import storage_news
from stream_server.storage import health, kept_facts, server_schema
from stream_server.storage.database import Database
from stream_server.storage.kept_facts import Key
from tests.helpers.damaged_recordings import damage, lanes, make_recording
from tests.helpers.server_parts import new_recording, new_storage

LOST = {"dongle_id": "can0", "lane": "frames", "packets": 2, "frames": 500, "from_ns": 1, "to_ns": None}
VALUES = {**LOST, "dongle_id": "can1", "lane": "signals"}


class Files:
    """Both files, and what the audit of the first says."""

    def __init__(self, directory: Path) -> None:
        self.server = Database(new_storage(directory))
        self.recording = Database(new_recording(directory))

    async def put(self, database: Database, key: Key, value: str) -> None:
        await database.write(lambda connection: kept_facts.put(connection, key, value))

    async def audited(self) -> list[tuple[str, str, Any]]:
        table = server_schema.audit
        rows = await self.server.read(lambda connection: connection.execute(select(table)).all())
        return [(row.action, row.subject, json.loads(row.after)) for row in rows]


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[Files]:
    made = Files(tmp_path)
    yield made
    await made.recording.close()
    await made.server.close()


@pytest.mark.parametrize(
    ("lost", "known", "is_sure", "said"),
    [
        (
            [LOST, VALUES],
            2,
            True,
            ["2 packets with 500 frames of can0 are lost", "500 values of can1 are lost"],
        ),
        ([], 2, True, ["nothing that was recorded is lost"]),
        ([], 0, False, ["nothing can be read of it"]),
        ([LOST], 2, False, ["2 packets with 500 frames of can0 are lost", "nobody knows which it is"]),
    ],
    ids=["some", "nothing", "all", "nobody knows"],
)
async def test_what_a_salvage_has_found_is_told_once(
    files: Files,
    caplog: pytest.LogCaptureFixture,
    lost: list[Any],
    known: int,
    is_sure: bool,
    said: list[str],
) -> None:
    report = {"file": "x.sqlite3", "reason": "malformed", "lanes": known, "unread_pages": 0, "lost": lost}
    report |= {"is_sure": is_sure}
    await files.put(files.recording, kept_facts.DAMAGE_REPORT, json.dumps(report))
    for _ in range(2):
        await storage_news.tell_of_damage(files.server, files.recording)
    for sentence in said:
        assert caplog.text.count(sentence) == 1
    after = {"lanes": known, "lost": lost, "is_sure": is_sure, "unread_pages": 0}
    assert await files.audited() == [("recording.damaged", "file:x.sqlite3", after)]


async def test_who_opens_a_backup_says_so_once(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    await storage_news.tell_of_restore(files.server)
    assert await files.audited() == []
    await files.put(files.server, kept_facts.BACKUP_MADE_AT, "1766417462000000000")
    for _ in range(2):
        await storage_news.tell_of_restore(files.server)
    made = "2025-12-22T15:31:02.000000Z"
    assert caplog.text.count(f"this is what a backup of {made} held") == 1
    assert await files.audited() == [("storage.restored", "server", {"backup_of": made})]


async def test_a_jump_of_the_clock_is_audited(files: Files) -> None:
    await storage_news.clock_news(files.server, "clock.jumped", 86_400.0)
    assert await files.audited() == [("clock.jumped", "server", {"jump_seconds": 86_400.0})]


async def test_a_large_recording_is_looked_through_behind_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.sqlite3"
    make_recording(path, lanes(1, 20))
    recording = Database(path)
    damage(path, 40, random.Random(1))
    await storage_news.look_through(recording)
    assert recording.damage is None, "a small one was looked through before"
    monkeypatch.setattr(health, "CHECKED_AT_START_BYTES", 0)
    await storage_news.look_through(recording)
    assert "page 40" in str(recording.damage).lower()  # SQLite 3.46 writes it small
    await recording.close()
