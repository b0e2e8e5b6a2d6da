"""One file becomes two, wherever it is interrupted: nothing is lost, nothing is there twice."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from stream_server.errors import StartError
from stream_server.storage import data_directory, files, migrations, splitting
from stream_server.storage.data_directory import DataDirectory
from stream_server.storage.database import open_engine
from stream_server.storage.tables import table_names
from tests.helpers.one_file import PACKETS, REVISIONS, directory_of_before, is_whole, rows


def both(directory: DataDirectory) -> dict[str, list[Any]]:
    return rows(directory.server_path, directory.recording_path)


@pytest.mark.parametrize("revision", REVISIONS)
def test_everything_of_a_directory_of_before_is_there_and_in_its_file(tmp_path: Path, revision: str) -> None:
    single = directory_of_before(tmp_path / "data", revision)
    reference = directory_of_before(tmp_path / "reference")
    inode = single.stat().st_ino
    directory = data_directory.prepare(tmp_path / "data")
    assert both(directory) == rows(reference)
    assert directory.recording_path.stat().st_ino == inode, "what is large is not copied"
    for file, history in (
        (directory.server_path, migrations.SERVER),
        (directory.recording_path, migrations.RECORDING),
    ):
        engine = open_engine(file)
        with engine.begin() as connection:
            assert compare_metadata(MigrationContext.configure(connection), history.metadata) == []
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
        engine.dispose()
    assert sorted(file.name for file in (tmp_path / "data").glob("*sqlite3*")) == [
        splitting.RECORDING, splitting.SERVER, splitting.SINGLE,
    ]  # fmt: skip
    assert data_directory.prepare(tmp_path / "data") == directory
    assert both(directory) == rows(reference)


def killed_at(step: int, path: Path) -> bool:
    """Prepare the directory in a child that is killed where it opens, renames or removes for the nth time.

    Returns whether it was; else it had done all before.
    """
    child = os.fork()
    if not child:
        left = step

        def count(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            if event in {"sqlite3.connect", "os.rename", "os.link", "os.remove", "os.chmod", "open"} and str(
                arguments[0]
            ).startswith(str(path)):
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        data_directory.prepare(path)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return status == signal.SIGKILL


def test_a_kill_at_any_step_costs_nothing_and_no_server_of_before_begins_anew(tmp_path: Path) -> None:
    reference = rows(directory_of_before(tmp_path / "reference"))
    for step in range(100):
        path = tmp_path / str(step)
        single = directory_of_before(path)
        if not killed_at(step, path):
            break
        assert single.stat().st_size
        if not is_whole(single):
            with pytest.raises(StartError, match="newer stream-server"):
                migrations_of_before(single)
        elif step % 2:
            killed_at(step, path)  # and once more, a little farther
        assert both(data_directory.prepare(path)) == reference
    assert 5 < step < 99


def migrations_of_before(single: Path) -> None:
    """What a server of before does first; the present history knows the note no more than theirs did."""
    with contextlib.closing(sqlite3.connect(single)) as plain:
        (revision,) = plain.execute("SELECT version_num FROM alembic_version").fetchone()
        assert revision not in REVISIONS
        if "packets" not in table_names(plain):
            migrations.upgrade(single, migrations.RECORDING)
        raise StartError("newer stream-server")


def test_a_file_system_without_links_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: Path, _target: Path) -> None:
        raise PermissionError("no links here")

    reference = rows(directory_of_before(tmp_path / "data"))
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert both(data_directory.prepare(tmp_path / "data")) == reference


def test_a_server_of_before_refuses_the_directory_by_name(tmp_path: Path) -> None:
    directory_of_before(tmp_path)
    data_directory.prepare(tmp_path)
    with pytest.raises(StartError, match=r"stream-server\.sqlite3 was written by a newer stream-server"):
        migrations.upgrade(tmp_path / splitting.SINGLE, migrations.RECORDING)


@pytest.mark.parametrize("name", [splitting.SINGLE, splitting.SERVER, splitting.RECORDING])
def test_a_directory_of_a_newer_server_is_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    data_directory.prepare(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / name)) as plain, plain:
        plain.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StartError, match="newer stream-server") as refused:
        data_directory.prepare(tmp_path)
    assert "install that version" in str(refused.value)


def test_a_file_of_before_beside_the_two_is_not_taken_for_them(tmp_path: Path) -> None:
    directory = data_directory.prepare(tmp_path)
    (tmp_path / splitting.SINGLE).unlink()
    directory_of_before(tmp_path)
    with pytest.raises(StartError, match="two servers' data"):
        data_directory.prepare(tmp_path)
    directory.server_path.unlink()
    directory.recording_path.unlink()
    assert len(both(data_directory.prepare(tmp_path))["packets"]) == PACKETS


def test_a_lost_registry_is_not_begun_anew(tmp_path: Path) -> None:
    directory = data_directory.prepare(tmp_path)
    directory.server_path.unlink()
    with pytest.raises(StartError, match=r"server\.sqlite3 is missing"):
        data_directory.prepare(tmp_path)


def test_a_directory_that_a_program_of_before_has_open_is_left_until_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BUSY_SECONDS", 0.01)
    single = directory_of_before(tmp_path)
    reference = rows(single)
    with contextlib.closing(sqlite3.connect(single, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM packets").fetchone()
        with pytest.raises(StartError, match="while another program has it open"):
            data_directory.prepare(tmp_path)
    assert both(data_directory.prepare(tmp_path)) == reference


def test_a_backup_becomes_the_two_files_that_it_was_made_of(tmp_path: Path) -> None:
    (tmp_path / "restored").mkdir()
    directory_of_before(tmp_path / "data")
    directory = data_directory.prepare(tmp_path / "data")
    directory.backup(tmp_path / "restored" / splitting.SINGLE)
    assert both(data_directory.prepare(tmp_path / "restored")) == both(directory)


def test_a_backup_of_before_is_restored_too(tmp_path: Path) -> None:
    single = directory_of_before(tmp_path / "data")
    (tmp_path / "restored").mkdir()
    with (
        contextlib.closing(sqlite3.connect(single)) as source,
        contextlib.closing(sqlite3.connect(tmp_path / "restored" / splitting.SINGLE)) as copy,
    ):
        source.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
    assert both(data_directory.prepare(tmp_path / "restored")) == rows(single)


def test_what_was_waited_for_is_waited_for_still_and_ages_from_now_on(tmp_path: Path) -> None:
    directory_of_before(tmp_path)
    directory = data_directory.prepare(tmp_path)
    with contextlib.closing(sqlite3.connect(directory.recording_path)) as plain:
        assert plain.execute("SELECT * FROM holes").fetchall() == [(1, 51, 52, 9, 0, 0)]
        positions = plain.execute("SELECT DISTINCT position FROM packets").fetchall()
        assert positions == [(None,)]
        assert plain.execute("SELECT known, taken FROM lane_starts").fetchall() == [(None, "[[1,50]]")]
