"""The log of SQLite: what was committed counts, and nothing else, whatever its bytes are."""

from __future__ import annotations

import contextlib
import sqlite3
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_server.storage.write_ahead_log import committed_pages, is_broken

FRAME = 24 + 4096


@pytest.fixture
def log(tmp_path: Path) -> bytes:
    """A few commits."""
    path = tmp_path / "x"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as plain:
        plain.execute("PRAGMA journal_mode=WAL")
        plain.execute("CREATE TABLE rows (body BLOB)")
        for _ in range(4):
            plain.execute("INSERT INTO rows VALUES (zeroblob(3000))")
        return path.with_name("x-wal").read_bytes()


def test_every_page_is_found_where_it_was_written_last(log: bytes) -> None:
    pages = committed_pages(log)
    assert set(pages) >= {1, 2}
    assert log[pages[1] :].startswith(b"SQLite format 3\0")
    assert pages[2] > pages[1]


def test_a_commit_without_its_end_does_not_count(log: bytes) -> None:
    *_, last = range(32, len(log), FRAME)
    before = committed_pages(log[:last])
    assert before != committed_pages(log)
    claimed = bytearray(log)
    claimed[36:40] = struct.pack(">I", 7)
    assert 36 + 20 not in committed_pages(bytes(claimed)).values(), "the checksum is of what was written"


@pytest.mark.parametrize("at", [0, 3, 9, 16, 25])
def test_a_header_that_has_changed_ends_the_log(log: bytes, at: int) -> None:
    assert committed_pages(with_change(log, at)) == {}


@pytest.mark.parametrize("at", [0, 4, 8, 24, 700])
def test_a_page_that_has_changed_costs_itself_where_commits_are_behind_it(log: bytes, at: int) -> None:
    places = range(32, len(log), FRAME)
    whole = committed_pages(log)
    # The last commit is of three pages.
    for place in places[:-4]:
        changed = with_change(log, place + at)
        assert is_broken(changed)
        left = committed_pages(changed)
        assert place + 24 not in left.values()
        assert {where for where in whole.values() if where != place + 24} <= set(left.values())


@pytest.mark.parametrize("at", [0, 8, 18, 24, 700])
def test_the_last_commit_may_be_torn_by_a_power_cut(log: bytes, at: int) -> None:
    *_, last = range(32, len(log), FRAME)
    assert not is_broken(log)
    torn = with_change(log, last + at)
    assert not is_broken(torn)
    assert committed_pages(torn) == committed_pages(log[:last])


def test_what_is_left_of_the_round_before_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as plain:
        plain.execute("PRAGMA journal_mode=WAL")
        plain.execute("CREATE TABLE rows (body BLOB)")
        for _ in range(10):
            plain.execute("INSERT INTO rows VALUES (zeroblob(3000))")
        plain.execute("PRAGMA wal_checkpoint(RESTART)")
        plain.execute("INSERT INTO rows VALUES (zeroblob(3000))")
        log = path.with_name("x-wal").read_bytes()
        assert len(log) > 10 * FRAME
        assert not is_broken(log)
        assert 0 < len(committed_pages(log)) < 6


def with_change(log: bytes, at: int) -> bytes:
    changed = bytearray(log)
    changed[at] ^= 0x55
    return bytes(changed)


@given(st.binary(max_size=300), st.sampled_from([0x377F0682, 0x377F0683]), st.integers(0, 1 << 17))
def test_any_bytes_hold_no_page_that_is_not_theirs(tail: bytes, magic: int, page_bytes: int) -> None:
    assert committed_pages(tail) == {}
    assert committed_pages(struct.pack(">3I", magic, 3_007_000, page_bytes) + tail) == {}
