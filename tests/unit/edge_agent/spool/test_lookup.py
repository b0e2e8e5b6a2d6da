"""What the file remembers of lanes and starts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edge_agent.spool.changes import Moment
from edge_agent.spool.directory import FILE_NAME
from edge_agent.spool.lookup import LookupTables
from edge_agent.spool.store import SpoolStore

START = "01" * 8
UNKNOWN = Moment("this boot", 100.0, None)
KNOWN = Moment("this boot", 160.0, 1_766_417_462_000)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    SpoolStore(tmp_path, 10_000_000, UNKNOWN).close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as db:
        yield db


def again(db: sqlite3.Connection, boot_id: str = "this boot") -> LookupTables:
    """What the next process finds."""
    tables = LookupTables(db, boot_id)
    tables.read_starts()
    return tables


def test_lanes_and_starts_keep_their_numbers(db: sqlite3.Connection) -> None:
    first, keys = LookupTables(db, "this boot"), [("van7-can0", "frames"), ("van7-can0", "signals")]
    lanes = [first.lane(key) for key in keys]
    starts = [first.start(start_id, KNOWN) for start_id in (START, "02" * 8)]
    tables = again(db)
    assert tables.keys() == dict(zip(lanes, keys, strict=True))
    assert [tables.lane(key) for key in keys] == lanes
    assert [tables.start(start_id, KNOWN) for start_id in (START, "02" * 8)] == starts
    assert [tables.starts[number].start_id for number in starts] == [START, "02" * 8]


def test_a_clock_that_is_known_late_or_set_tells_of_the_whole_boot(db: sqlite3.Connection) -> None:
    tables = LookupTables(db, "this boot")
    number = tables.start(START, UNKNOWN)
    later = Moment("another boot", 5.0, KNOWN.wall_ms)
    assert again(db).starts[number].age_seconds(90_000, later) is None
    tables.start(START, KNOWN)
    assert again(db).starts[number].age_seconds(90_000, later) == 70.0
    tables.start(START, Moment("this boot", 160.0, 1_766_417_462_900))  # not worth a write
    assert again(db).starts[number].age_seconds(90_000, later) == 70.0
    tables.start(START, Moment("this boot", 160.0, 1_766_417_402_000))
    assert again(db).starts[number].age_seconds(90_000, later) == 130.0


def test_the_clock_of_another_boot_says_nothing_of_this_one(db: sqlite3.Connection) -> None:
    number = LookupTables(db, "this boot").start(START, UNKNOWN)
    tables = again(db, "another boot")
    assert not tables.is_of_this_boot(tables.start(START, Moment("another boot", 5.0, KNOWN.wall_ms)))
    assert again(db).starts[number].boot_wall_ms is None


@pytest.mark.parametrize(
    "columns", ["'01', 'boot', 1", "'01010101010101zz', 'boot', 1", f"'{START}', 'boot', 'noon'"]
)
def test_a_start_that_is_none_is_refused(db: sqlite3.Connection, columns: str) -> None:
    db.execute(f"INSERT INTO starts (start_id, boot_id, boot_wall_ms) VALUES ({columns})")
    with pytest.raises(ValueError, match=r"is none|non-hexadecimal"):
        again(db)
