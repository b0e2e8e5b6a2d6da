"""Files read page by page: what SQLite has written is read as it reads it; damage breaks nothing."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_server.storage.damaged_file import DamagedFile
from stream_server.storage.sqlite_pages import (
    LEAF_TABLE,
    Cell,
    Layout,
    PageError,
    cells,
    children,
    read_layout,
    record,
)
from stream_server.storage.table_shape import TableShape, only_table, shape_of
from stream_server.storage.write_ahead_log import committed_pages
from tests.helpers.damaged_recordings import PAGE, damage

SHAPE = "CREATE TABLE rows (id INTEGER PRIMARY KEY, number BIGINT, text TEXT, body BLOB NOT NULL)"
LENGTHS = (0, 1, 300, 3900, 4061, 4062, 9000, 70_000)


def fill(path: Path, count: int = 300, page_bytes: int = PAGE) -> dict[int, tuple[Any, ...]]:
    """A table with rows of all sizes and an index; what is in it."""
    chance = random.Random(3)
    numbers = [0, 1, -1, 127, 128, -40_000, 1 << 23, 1 << 40, -(1 << 63), (1 << 63) - 1]
    with contextlib.closing(sqlite3.connect(path)) as plain, plain:
        plain.execute(f"PRAGMA page_size={page_bytes}")
        plain.execute(SHAPE)
        plain.execute("CREATE INDEX numbers ON rows (number)")
        for key in range(1, count + 1):
            values = (key, chance.choice(numbers), "ä" * (key % 50), chance.randbytes(chance.choice(LENGTHS)))
            plain.execute("INSERT INTO rows VALUES (?, ?, ?, ?)", values)
        return {row[0]: row for row in plain.execute("SELECT * FROM rows")}


def read(path: Path) -> dict[int, tuple[Any, ...]]:
    with DamagedFile(path) as file:
        pages = [number for number in range(1, file.pages + 1) if file.owner(number) == "rows"]
        return {cell.rowid: (cell.rowid, *cell.values[1:]) for number in pages for cell in file.rows(number)}


@pytest.mark.parametrize("page_bytes", [512, 4096, 65536])
def test_every_row_is_read_as_sqlite_reads_it(tmp_path: Path, page_bytes: int) -> None:
    path = tmp_path / "y"
    stored = fill(path, page_bytes=page_bytes)
    assert read(path) == stored
    with DamagedFile(path) as file:
        assert {cell.rowid: cell.values[0] for cell in file.index_entries("rows")} == {
            key: row[1] for key, row in stored.items()
        }
        assert file.has_root("rows")
        assert not file.has_root("nothing")


def test_what_was_committed_and_is_only_in_the_log_is_read_too(tmp_path: Path) -> None:
    path, copy = tmp_path / "live", tmp_path / "copy"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as plain:
        plain.execute("PRAGMA journal_mode=WAL")
        plain.execute(SHAPE)
        plain.executemany("INSERT INTO rows VALUES (?, 1, '', x'')", [(key,) for key in range(1, 50)])
        plain.execute("BEGIN")
        plain.execute("INSERT INTO rows VALUES (1000, 1, '', zeroblob(5000))")
        for tail in ("", "-wal"):
            shutil.copy(f"{path}{tail}", f"{copy}{tail}")
    assert sorted(read(copy)) == list(range(1, 50))
    whole = Path(f"{copy}-wal").read_bytes()
    assert committed_pages(whole)
    for cut in (0, 31, 40, len(whole) // 2, len(whole) - 1):
        Path(f"{copy}-wal").write_bytes(whole[:cut])
        assert set(read(copy)) <= set(range(1, 50)), "a log that ends too early"


def test_a_page_whose_tree_is_lost_is_known_by_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "x"
    stored = fill(path)
    damage(path, 1, random.Random(1))
    with contextlib.closing(sqlite3.connect(":memory:")) as plain:
        plain.execute(SHAPE)
        shapes = {"rows": shape_of(plain.execute("PRAGMA table_info(rows)").fetchall())}
    with DamagedFile(path) as file:
        leaves = [n for n in range(1, file.pages + 1) if file.owner(n) is None and file.kind(n) == LEAF_TABLE]
        found = {
            cell.rowid: shapes["rows"].row(cell)
            for number in leaves
            for cell in file.rows(number)
            if only_table(shapes, cell) == "rows"
        }
    assert found == {
        key: dict(zip(("id", "number", "text", "body"), row, strict=True)) for key, row in stored.items()
    }


def test_pages_that_are_free_are_known(tmp_path: Path) -> None:
    path = tmp_path / "x"
    fill(path)
    with contextlib.closing(sqlite3.connect(path)) as plain, plain:
        plain.execute("DELETE FROM rows WHERE id > 5")
    with DamagedFile(path) as file:
        free = sum(file.is_free(number) for number in range(1, file.pages + 1))
        with contextlib.closing(sqlite3.connect(path)) as plain:
            assert free == plain.execute("PRAGMA freelist_count").fetchone()[0] > 10
    assert sorted(read(path)) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("content", [b"", b"x", b"SQLite format 3\0", os.urandom(10_000), bytes(20_000)])
def test_a_file_that_is_none_holds_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    assert read(path) == {}


def test_pages_with_any_bytes_of_them_changed_break_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "x", 60)
    whole, chance = (tmp_path / "x").read_bytes(), random.Random(9)
    for _ in range(200):
        changed = bytearray(whole)
        for _ in range(chance.choice([1, 5, 200])):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        (tmp_path / "y").write_bytes(changed)
        read(tmp_path / "y")


def no_page(_number: int) -> bytes:
    raise PageError("none")


@given(st.binary(max_size=600), st.integers(1, 2))
def test_any_bytes_are_rows_or_a_page_error(page: bytes, number: int) -> None:
    for kind in (b"\x02", b"\x05", b"\x0a", b"\x0d", b""):
        with contextlib.suppress(PageError):
            children(kind + page, number)
        with contextlib.suppress(PageError):
            for cell in cells(kind + page, number, Layout(512), no_page):
                assert isinstance(cell, Cell | PageError)
    for parse in (record, read_layout):
        with contextlib.suppress(PageError):
            parse(page)
    assert committed_pages(page) == {}


@given(
    st.lists(
        st.none() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(codec="utf-8")) | st.binary()
    )
)
def test_a_record_is_what_sqlite_has_written(values: list[Any]) -> None:
    values = values[:20] or [None]
    with contextlib.closing(sqlite3.connect(":memory:")) as plain:
        names = [f"c{number}" for number in range(len(values))]
        plain.execute(f"CREATE TABLE t ({', '.join(names)})")
        plain.execute(f"INSERT INTO t VALUES ({', '.join('?' * len(values))})", values)
        image = plain.serialize()
    pages = {
        number: image[(number - 1) * PAGE : number * PAGE] for number in range(1, len(image) // PAGE + 1)
    }
    (cell,) = cells(pages[2], 2, read_layout(image[:100]), pages.__getitem__)
    assert isinstance(cell, Cell)
    assert list(cell.values) == values


def shapes() -> Iterator[tuple[str, TableShape]]:
    with contextlib.closing(sqlite3.connect(":memory:")) as plain:
        for name, columns in (
            ("two", "id INTEGER PRIMARY KEY, name TEXT NOT NULL"),
            ("also_two", "name TEXT PRIMARY KEY, size BIGINT"),
            ("pair", "a BIGINT, b BIGINT, PRIMARY KEY (a, b)"),
        ):
            plain.execute(f"CREATE TABLE {name} ({columns})")
            yield name, shape_of(plain.execute(f"PRAGMA table_info({name})").fetchall())


def test_a_row_is_of_the_only_table_that_it_fits() -> None:
    tables = dict(shapes())
    assert only_table(tables, Cell(7, (None, "x"))) == "two"
    assert tables["two"].row(Cell(7, (None, "x"))) == {"id": 7, "name": "x"}
    assert only_table(tables, Cell(7, ("x", 5))) == "also_two"
    assert only_table(tables, Cell(7, (None, None))) is None, "of several"
    assert only_table(tables, Cell(7, (b"", 5))) is None
    assert only_table(tables, Cell(7, (None, "x", 3))) is None
    assert tables["two"].row(Cell(7, (None,))) == {"id": 7}, "a column that came later"
    assert tables["two"].row(Cell(7, (7, "x"))) is None, "a key is no column of the record"
