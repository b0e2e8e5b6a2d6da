"""Which faults are the file's own."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from pathlib import Path

import pytest

from stream_server.errors import StartError
from stream_server.storage import health
from stream_server.storage.data_directory import damaged_server
from tests.helpers.damaged_recordings import PAGE, damage, lanes, make_recording


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "recording.sqlite3"
    make_recording(made, lanes(1, 20))
    return made


def test_what_is_whole_is_not_damaged(path: Path) -> None:
    assert health.damage_at_start(path) is None
    assert health.damage_anywhere(path) is None


def test_an_empty_file_is_one_that_was_lost(path: Path) -> None:
    path.write_bytes(b"")
    assert health.damage_at_start(path) == "it is empty"


def test_a_large_file_is_looked_at_where_it_matters(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECKED_AT_START_BYTES", 0)
    assert health.damage_at_start(path) is None
    with contextlib.closing(sqlite3.connect(path)) as plain:
        pages = dict(plain.execute("SELECT name, rootpage FROM sqlite_master").fetchall())
    whole = path.read_bytes()
    for name in ("lane_starts", "lanes", "packets"):
        path.write_bytes(whole)
        damage(path, pages[name], random.Random(1))
        assert health.damage_at_start(path) is not None, name
    path.write_bytes(whole)
    damage(path, pages["packets"] + 20, random.Random(1))
    assert health.damage_anywhere(path) is not None, "what is in the middle is found later"


def test_what_sqlite_takes_for_whole_is_found_where_it_is_not_what_was_recorded(path: Path) -> None:
    changes = (
        "body = CAST(substr(body, 1, length(body) - 1) || x'55' AS BLOB)", "seq = seq + 1000",
        "first_ns = first_ns + 1", "frames = NULL", "received_ns = 5", "is_backlog = 1", "position = 77",
    )  # fmt: skip
    whole = path.read_bytes()
    for change in changes:
        path.write_bytes(whole)
        with contextlib.closing(sqlite3.connect(path)) as plain, plain:
            plain.execute(f"UPDATE packets SET {change} WHERE id = 7")
            assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert health.damage_at_start(path) == "packet 7 is not what was recorded", change


@pytest.mark.parametrize("checked_bytes", [0, health.CHECKED_AT_START_BYTES], ids=["large", "small"])
def test_a_page_of_one_table_in_the_place_of_anothers_is_found(
    path: Path, monkeypatch: pytest.MonkeyPatch, checked_bytes: int
) -> None:
    monkeypatch.setattr(health, "CHECKED_AT_START_BYTES", checked_bytes)
    with contextlib.closing(sqlite3.connect(path)) as plain:
        pages = dict(plain.execute("SELECT name, rootpage FROM sqlite_master").fetchall())
    content = path.read_bytes()
    schema = next(
        page
        for at in range(PAGE, len(content), PAGE)
        if (page := content[at : at + PAGE])[0] == 13 and b"CREATE TABLE recording_state" in page
    )
    with path.open("r+b") as file:
        file.seek((pages["lanes"] - 1) * PAGE)
        file.write(schema)
    assert "lanes" in str(health.damage_at_start(path))


def test_a_file_that_is_in_use_is_not_damaged(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, timeout=0)) as one:
        one.execute("PRAGMA journal_mode=DELETE")
        one.execute("BEGIN EXCLUSIVE")
        with contextlib.closing(sqlite3.connect(path, timeout=0)) as other:
            with pytest.raises(sqlite3.OperationalError) as locked:
                other.execute("SELECT * FROM lanes")
            assert not health.is_damage(locked.value)
    assert not health.is_damage(None)
    assert not health.is_damage(ValueError("x"))
    path.write_bytes(b"x" * PAGE)
    with contextlib.closing(sqlite3.connect(path)) as other, pytest.raises(sqlite3.DatabaseError) as noise:
        other.execute("SELECT * FROM lanes")
    assert health.is_damage(noise.value)
    assert isinstance(damaged_server(path, "noise"), StartError)
