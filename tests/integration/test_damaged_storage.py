"""A real server whose files are damaged: what is readable is served, and what is gone is said."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import urllib.error
from collections import Counter
from pathlib import Path

import pytest

from stream_server.storage import data_directory
from stream_server.storage.database import Database
from stream_server.storage.setting_aside import damaged_recordings
from tests.helpers.agents import recorded_lines
from tests.helpers.damaged_recordings import damage, lanes, make_recording
from tests.helpers.processes import ProcessError, StreamServer
from tests.helpers.server_parts import enrol

LANES = [lane for lane in lanes(2, 40) if lane.lane == "frames"]
API = "/api/v1"


@pytest.fixture
async def filled(tmp_path: Path) -> Path:
    """A data directory with the recordings of two dongles."""
    directory = data_directory.prepare(tmp_path / "data")
    database = Database(directory.server_path)
    await enrol(database, "van7", "can0", "can1")
    await database.close()
    make_recording(directory.recording_path, LANES)
    return directory.path


def every_line(server: StreamServer, token: str) -> Counter[str]:
    """What is recorded of both dongles; two starts have read the same frames."""
    lines: Counter[str] = Counter()
    for dongle_id in ("can0", "can1"):
        lines.update(recorded_lines(server, dongle_id, token))
    return lines


def packets_page(path: Path) -> int:
    """A page in the middle, which packets are in."""
    with contextlib.closing(sqlite3.connect(path)) as plain:
        (root,) = plain.execute("SELECT rootpage FROM sqlite_master WHERE name = 'packets'").fetchone()
    return int(root) + 30


def audited(server: StreamServer) -> list[dict[str, object]]:
    records = server.read_json(f"{API}/audit", server.create_token("admin"))["records"]
    return [record for record in records if record["action"] == "recording.damaged"]


def test_a_damaged_page_costs_what_was_in_it_and_is_told(filled: Path) -> None:
    with StreamServer(filled) as server:
        token = server.create_token()
        before = every_line(server, token)
        server.stop()
        damage(filled / "recording.sqlite3", packets_page(filled / "recording.sqlite3"), random.Random(1))
        server.start()
        after = every_line(server, token)
        assert after < before
        assert after.total() > before.total() * 0.8
        (kept,) = damaged_recordings(filled)
        (record,) = audited(server)
        assert record["subject"] == f"file:{kept.name}"
        assert kept.name in server.process.errors
        assert "are lost, unless their agent still has them" in server.process.errors
        books = sum(
            server.read_json(f"{API}/dongles/{one}", token)["recording"]["frames"] for one in ("can0", "can1")
        )
        assert books == after.total()
        assert b"stream_server_damaged_recordings 1.0" in server.read("/metrics", token)
        server.restart()
        assert len(audited(server)) == 1
        assert every_line(server, token) == after


def test_damage_that_a_running_server_meets_is_mended_under_the_same_address(filled: Path) -> None:
    recording = filled / "recording.sqlite3"
    with StreamServer(filled) as server:
        token = server.create_token()
        before = every_line(server, token)
        server.stop()
        server.start()
        damage(recording, packets_page(recording), random.Random(1))
        with contextlib.suppress(urllib.error.URLError, ConnectionError, OSError):
            every_line(server, token)
        server.process.wait_for_line(r"listening on .*")
        after = every_line(server, token)
        assert after < before
        assert after.total() > before.total() * 0.8
        assert damaged_recordings(filled)


def test_a_damaged_registry_stops_the_server_with_the_remedy(filled: Path) -> None:
    path = filled / "server.sqlite3"
    whole = path.read_bytes()
    for page in (1, 5):
        path.write_bytes(whole)
        damage(path, page, random.Random(1))
        server = StreamServer(filled)
        with pytest.raises(ProcessError) as failed:
            server.start()
        said = failed.value.errors.strip()
        assert said.startswith("Error: ")
        assert said.count("\n") == 0
        for part in ("server.sqlite3 is damaged", "backup", ".recover", "docs/operations.md"):
            assert part in said
    path.write_bytes(whole)
    with StreamServer(filled) as server:
        assert every_line(server, server.create_token())
