"""A real server whose files are damaged: what is readable is served, and what is gone is said."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import sqlite3
import urllib.error
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stream_server.errors import StartError
from stream_server.storage import data_directory
from stream_server.storage.database import Database
from stream_server.storage.setting_aside import damaged_recordings
from tests.helpers.agents import recorded_lines
from tests.helpers.candump_logs import write_log
from tests.helpers.conditions import eventually
from tests.helpers.damaged_recordings import DAMAGES, PAGE, damage, lanes, make_recording
from tests.helpers.processes import EnrolledAgent, Process, ProcessError, StreamServer, replay_summary
from tests.helpers.server_parts import enrol

STARTS = int(os.environ.get("DAMAGED_STARTS", "5"))
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


def is_ready(server: StreamServer, token: str) -> bool:
    with contextlib.suppress(urllib.error.HTTPError):
        return bool(server.read("/readyz", token))
    return False


def assert_books_name(server: StreamServer, lost: int, place: str) -> None:
    """What is gone stands in the books as a hole, until somebody gives it up or its agent sends it."""
    command = [*server.program, "books", "van7-can0", "--json", "--data-dir", server.data_dir]
    with Process(command) as process:
        assert process.wait() == bool(lost), place
        starts = json.loads(process.output)["starts"]
    assert sum(one["in_holes"] for one in starts) == lost, place


def test_whatever_is_damaged_it_starts_records_anew_and_says_what_is_gone(tmp_path: Path) -> None:
    recording = tmp_path / "data" / "recording.sqlite3"
    old, new = write_log(tmp_path / "old.log", 20_000, 2000), write_log(tmp_path / "new.log", 500, 2000)
    with StreamServer(tmp_path / "data") as server:
        agent, token = EnrolledAgent(server, "van7", tmp_path), server.create_token()
        with agent.replay(old, options=["--speed", "max"]) as replay:
            assert replay_summary(replay).acknowledged == 20_000
        before = Counter(recorded_lines(server, "van7-can0", token))
        server.stop()
        whole, size = recording.read_bytes(), recording.stat().st_size // PAGE
        chance = random.Random(os.environ.get("DAMAGED_SEED", "1"))
        for number in range(STARTS):
            kind, page = DAMAGES[number % len(DAMAGES)], chance.randint(1, size)
            place = f"{number}: page {page} of {size}, {kind}"
            for path in (recording, *damaged_recordings(recording.parent)):
                path.unlink(missing_ok=True)
            recording.write_bytes(whole)
            damage(recording, page, chance, kind)
            server.start()
            eventually(lambda: is_ready(server, token), f"ready, {place}", timeout_seconds=60)
            left = Counter(recorded_lines(server, "van7-can0", token))
            assert left <= before, place
            lost = before.total() - left.total()
            kept = damaged_recordings(recording.parent)
            if kept:
                (record,) = [one for one in audited(server) if one["subject"] == f"file:{kept[0].name}"]
                after: Any = record["after"]
                assert sum(one["frames"] for one in after["lost"]) == lost or not after["is_sure"], place
                assert_said(server.process.errors, lost, is_sure=after["is_sure"])
            assert not lost or kept, place
            with agent.replay(new, options=["--speed", "max"]) as replay:
                assert replay_summary(replay).acknowledged == 500, place
            now = recorded_lines(server, "van7-can0", token)
            assert len(now) == left.total() + 500, place
            if not kept or after["is_sure"]:
                assert_books_name(server, lost, place)
            server.stop()


def assert_said(log: str, lost: int, *, is_sure: bool) -> None:
    """That so many frames are gone, or that nobody knows it."""
    said = f"with {lost} frames of van7-can0 are lost" if lost else "nothing that was recorded is lost"
    assert said in log or (not is_sure and ("nobody knows" in log or "nothing can be read" in log)), log


def test_a_registry_with_any_damaged_page_is_refused(filled: Path, tmp_path: Path) -> None:
    whole = (filled / "server.sqlite3").read_bytes()
    expected, refused = rows_of(filled / "server.sqlite3"), 0
    chance, size = random.Random(os.environ.get("DAMAGED_SEED", "1")), len(whole) // PAGE
    kinds = [kind for kind in DAMAGES if kind != "bit"]
    for number in range(4 * STARTS):
        kind, page = kinds[number % len(kinds)], chance.randint(1, size)
        path = tmp_path / str(number)
        path.mkdir()
        for name in ("recording.sqlite3", "stream-server.sqlite3"):
            shutil.copy(filled / name, path)
        (path / "server.sqlite3").write_bytes(whole)
        damage(path / "server.sqlite3", page, chance, kind)
        said = refusal(path)
        refused += said is not None
        if said is None:
            assert rows_of(path / "server.sqlite3") == expected, f"page {page}, {kind}"
        else:
            assert re.search(r"server\.sqlite3 is damaged .*: restore a backup", said)
    assert refused > 2 * STARTS


def refusal(path: Path) -> str | None:
    """Why the server will not start on a data directory."""
    try:
        data_directory.prepare(path)
    except StartError as error:
        return str(error)
    return None


def rows_of(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(path)) as plain:
        return list(plain.iterdump())


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
