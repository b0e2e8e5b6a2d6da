"""What SQLite and the disk really raise, and what the spool makes of it."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from edge_agent.errors import SpoolError
from edge_agent.spool.directory import FILE_NAME
from edge_agent.spool.errors import spool_errors


def raised(work: Callable[[], object]) -> sqlite3.Error:
    with pytest.raises(sqlite3.Error) as failed:
        work()
    return failed.value


def spool_error(directory: Path, error: Exception) -> SpoolError:
    """What the spool makes of it."""
    with pytest.raises(SpoolError) as made, spool_errors(directory):
        raise error
    return made.value


def opened(directory: Path) -> sqlite3.Connection:
    return sqlite3.connect(directory / FILE_NAME, isolation_level=None, timeout=0)


def with_code(code: int, text: str = "it failed") -> sqlite3.Error:
    """For what no test can make a disk do."""
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


def test_a_file_that_is_no_database_is_replaced(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database at all, though long enough" * 100)
    error = spool_error(tmp_path, raised(lambda: opened(tmp_path).execute("SELECT * FROM sqlite_master")))
    assert (error.is_corrupt, error.is_in_use) == (True, False)
    assert str(error) == f"{tmp_path}: it cannot be read (file is not a database): a new one is made"


def test_somebody_elses_database_is_replaced(tmp_path: Path) -> None:
    db = opened(tmp_path)
    db.execute("CREATE TABLE packets (id INTEGER PRIMARY KEY, other TEXT NOT NULL)")
    for statement in ("SELECT lane FROM packets", "INSERT INTO packets VALUES (1, NULL)"):
        assert spool_error(tmp_path, raised(lambda text=statement: db.execute(text))).is_corrupt  # type: ignore[misc]
    db.close()


def test_a_database_that_another_holds_is_in_use(tmp_path: Path) -> None:
    first, second = opened(tmp_path), opened(tmp_path)
    first.execute("BEGIN EXCLUSIVE")
    error = spool_error(tmp_path, raised(lambda: second.execute("BEGIN IMMEDIATE")))
    assert (error.is_corrupt, error.is_in_use) == (False, True)
    assert (
        str(error) == f"{tmp_path}: another agent uses this spool: give each its own `directory` in [spool]"
    )
    first.close()
    second.close()


def test_a_full_disk_is_said_and_the_file_kept(tmp_path: Path) -> None:
    db = opened(tmp_path)
    db.execute("CREATE TABLE bodies (body BLOB)")
    db.execute("PRAGMA max_page_count=3")
    error = spool_error(tmp_path, raised(lambda: db.execute("INSERT INTO bodies VALUES (zeroblob(1000000))")))
    assert (error.is_corrupt, error.reason, error.remedy) == (False, "the disk is full", "free some space")
    db.close()


@pytest.mark.parametrize("writable", [True, False])
def test_a_file_that_says_it_may_not_be_written_is_damaged_where_it_may(
    writable: bool, tmp_path: Path, mocker: MockerFixture
) -> None:
    opened(tmp_path).execute("CREATE TABLE bodies (body BLOB)")
    mocker.patch("os.access", return_value=writable)  # root may write everything
    error = spool_error(tmp_path, with_code(sqlite3.SQLITE_READONLY, "attempt to write a readonly database"))
    assert error.is_corrupt == writable
    if not writable:
        assert "it cannot be written: mount it writable" in str(error)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (sqlite3.SQLITE_PERM, "it may not be used"),
        (sqlite3.SQLITE_CANTOPEN, "it cannot be opened"),
        (sqlite3.SQLITE_CANTOPEN_ISDIR, "it cannot be opened"),
        (sqlite3.SQLITE_IOERR, "the disk fails (it failed)"),
        (sqlite3.SQLITE_IOERR_FSYNC, "the disk fails (it failed)"),
        (sqlite3.SQLITE_NOMEM, "the disk fails (it failed)"),
    ],
)
def test_a_disk_that_fails_is_not_the_files_fault(code: int, reason: str, tmp_path: Path) -> None:
    error = spool_error(tmp_path, with_code(code))
    assert (error.reason, error.is_corrupt, error.is_in_use) == (reason, False, False)
    assert error.remedy


@pytest.mark.parametrize(
    "code", [sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CORRUPT_INDEX, sqlite3.SQLITE_TOOBIG]
)
def test_what_is_damaged_within_is_replaced(code: int, tmp_path: Path) -> None:
    assert spool_error(tmp_path, with_code(code)).is_corrupt


def test_a_fault_of_the_module_itself_means_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    error = raised(lambda: opened(tmp_path).execute("SELECT ?", ()))
    assert not hasattr(error, "sqlite_errorcode")
    assert spool_error(tmp_path, error).is_corrupt


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_the_system_says_that_the_disk_is_full(number: int, tmp_path: Path) -> None:
    error = spool_error(tmp_path, OSError(number, os.strerror(number)))
    assert (error.reason, error.is_corrupt) == ("the disk is full", False)


def test_a_place_that_is_no_directory_is_said_in_the_systems_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="exists") as failed:
        (tmp_path / "file").mkdir()
    error = spool_error(tmp_path / "file", failed.value)
    assert str(error) == (
        f"{tmp_path / 'file'}: File exists: make it a directory that the agent's user can write"
    )
    assert spool_error(tmp_path, OSError("no number")).reason == "no number"


def test_an_error_names_its_directory(tmp_path: Path) -> None:
    error = spool_error(tmp_path, ValueError("it is empty"))
    assert isinstance(error, SpoolError)
    assert (error.directory, error.is_corrupt) == (tmp_path, True)
