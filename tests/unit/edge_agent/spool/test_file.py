"""The spool's SQLite file: who has it, what is in it, and how large all of it may become."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from edge_agent.errors import SpoolError
from edge_agent.spool.directory import FILE_NAME, kept_files, set_aside
from edge_agent.spool.errors import spool_errors
from edge_agent.spool.file import PAGE_BYTES, SCHEMA_VERSION, SpoolFile

MAX_BYTES = 2_000_000


def refusal(directory: Path) -> SpoolError:
    with pytest.raises(SpoolError) as refused, spool_errors(directory):
        SpoolFile(directory, MAX_BYTES)
    return refused.value


def by_hand(directory: Path, *statements: str) -> list[tuple[int, ...]]:
    """What somebody else does with the file; the rows of the last."""
    db = sqlite3.connect(directory / FILE_NAME, isolation_level=None)
    rows: list[tuple[int, ...]] = []
    for statement in statements:
        rows = db.execute(statement).fetchall()
    db.close()
    return rows


def test_it_is_made_where_nothing_is_for_this_user_alone(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "spool"
    SpoolFile(directory, MAX_BYTES).close()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert by_hand(directory, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    assert by_hand(directory, "PRAGMA page_size") == [(PAGE_BYTES,)], "a commit writes whole pages"


def test_one_has_it_at_a_time(tmp_path: Path) -> None:
    first = SpoolFile(tmp_path, MAX_BYTES)
    error = refusal(tmp_path)
    assert (error.is_in_use, error.is_corrupt) == (True, False)
    first.close()
    SpoolFile(tmp_path, MAX_BYTES).close()


def test_new_rows_come_behind_those_that_are_there(tmp_path: Path) -> None:
    database = SpoolFile(tmp_path, MAX_BYTES)
    assert database.next_row == 1
    database.close()
    by_hand(
        tmp_path,
        "INSERT INTO packets (id, lane, start, first_seq, seq, made_ms) VALUES (41, 1, 1, 1, 1, 0)",
    )
    database = SpoolFile(tmp_path, MAX_BYTES)
    assert database.next_row == 42
    database.close()


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, -3])
def test_a_file_of_another_version_cannot_be_read_and_says_which(version: int, tmp_path: Path) -> None:
    SpoolFile(tmp_path, MAX_BYTES).close()
    by_hand(tmp_path, f"PRAGMA user_version={version}")
    error = refusal(tmp_path)
    assert error.is_corrupt
    assert f"its version is {version}, this agent reads 1 to {SCHEMA_VERSION}" in error.reason


def test_somebody_elses_database_is_not_written_into(tmp_path: Path) -> None:
    by_hand(tmp_path, "CREATE TABLE mine (a)")
    assert refusal(tmp_path).is_corrupt
    assert by_hand(tmp_path, "SELECT count(*) FROM sqlite_master") == [(1,)]


def test_a_file_without_the_tables_that_it_should_have_is_damaged(tmp_path: Path) -> None:
    by_hand(tmp_path, "CREATE TABLE lanes (a)", f"PRAGMA user_version={SCHEMA_VERSION}")
    assert refusal(tmp_path).is_corrupt


def test_a_refusal_leaves_the_file_to_others(tmp_path: Path) -> None:
    by_hand(tmp_path, "CREATE TABLE mine (a)")
    refusal(tmp_path)
    by_hand(tmp_path, "INSERT INTO mine VALUES (1)", "DROP TABLE mine", "VACUUM")


def test_a_transaction_is_whole_or_not_at_all(tmp_path: Path) -> None:
    database = SpoolFile(tmp_path, MAX_BYTES)

    def insert(*numbers: int) -> None:
        with database.transaction() as db:
            for number in numbers:
                db.execute("INSERT INTO bodies VALUES (?, x'00')", (number,))

    insert(1)
    with pytest.raises(sqlite3.IntegrityError):
        insert(2, 1)
    insert(3)
    database.sync()
    database.close()
    assert by_hand(tmp_path, "SELECT id FROM bodies") == [(1,), (3,)]


def test_a_transaction_always_fits_into_its_share(tmp_path: Path) -> None:
    for number, max_bytes in enumerate((1_000_000, 500_000_000, 1 << 40)):
        database = SpoolFile(tmp_path / str(number), max_bytes)
        assert 4 * database.transaction_bytes <= max_bytes // 4
        assert database.transaction_bytes <= 1024 * 1024
        database.close()


def test_what_was_set_aside_makes_room_the_oldest_first(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / FILE_NAME).write_bytes(bytes(600_000))
        set_aside(tmp_path, number * 10**9)
    oldest, middle, newest = kept_files(tmp_path)
    database = SpoolFile(tmp_path, MAX_BYTES)
    before = database.excess_bytes()
    assert kept_files(tmp_path) == []
    for path in (middle, newest):
        path.write_bytes(bytes(200_000))
    assert database.excess_bytes() == before + 400_000
    assert kept_files(tmp_path) == [middle, newest], "half of it is enough"
    assert not oldest.exists()
    database.close()


def test_what_is_too_large_for_the_bound_is_the_systems_full_disk(tmp_path: Path) -> None:
    database = SpoolFile(tmp_path, 1_000_000)
    database.excess_bytes()
    full = pytest.raises(SpoolError, match="the disk is full: free some space")
    with full, spool_errors(tmp_path), database.transaction() as db:
        db.execute("INSERT INTO bodies VALUES (1, zeroblob(900000))")
    database.close()


def test_the_reserve_of_the_disk_is_kept_but_for_room_inside_the_file(tmp_path: Path) -> None:
    for reserve_bytes, grows in ((0, True), (None, True), (1 << 60, False)):
        database = SpoolFile(tmp_path / str(reserve_bytes), MAX_BYTES, reserve_bytes)
        if grows:
            database.check_reserve()
        else:
            with pytest.raises(SpoolError, match="kept for others: free some space, or set a smaller"):
                database.check_reserve()
            with database.transaction() as db:
                size = 2 * database.transaction_bytes
                db.execute("INSERT INTO bodies VALUES (1, zeroblob(?))", (size,))
                db.execute("DELETE FROM bodies")
            database.check_reserve()
        database.close()


def test_closing_is_possible_more_than_once_and_leaves_one_file(tmp_path: Path) -> None:
    database = SpoolFile(tmp_path, MAX_BYTES)
    database.sync()
    database.close()
    database.close()
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_a_place_that_is_a_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "spool").touch()
    error = refusal(tmp_path / "spool")
    assert not error.is_corrupt
    assert "make it a directory that the agent's user can write" in str(error)


def test_one_that_others_could_read_is_closed_to_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "spool"
    SpoolFile(directory, MAX_BYTES).close()
    directory.chmod(0o755)
    (directory / FILE_NAME).chmod(0o644)
    SpoolFile(directory, MAX_BYTES).close()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / FILE_NAME).stat().st_mode) == 0o600
    assert f"others could enter {directory}" in caplog.text
