"""One spool file put behind another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from can_stream.lanes.sender import LaneSender
from can_stream.protocol.lanes_control import LedgerEntry
from can_stream.protocol.marker import activation_name
from edge_agent.lanes.disk_backlog import SpoolRow
from edge_agent.spool.changes import LaneKey, Moment
from edge_agent.spool.file import SpoolFile
from edge_agent.spool.moving import copy_all
from edge_agent.spool.store import SpoolStore
from tests.helpers.spooled_lanes import a_spooled_lane, random_frames, store_all

NOW = Moment("this boot", 100.0, 1_766_417_462_000)
MARKED = (5, 77)  # for which activation, and since when
SHARED, ONLY_THERE, ONLY_HERE = "0a" * 8, "0b" * 8, "0c" * 8
FIRST: LaneKey = ("van7-can0", "frames")
SECOND: LaneKey = ("van7-can1", "frames")


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[SpoolStore, SpoolStore]]:
    """One whose place is lost, and one that is in it now."""
    with ExitStack() as stack:
        lost, there = (SpoolStore(tmp_path / name, 50_000_000, NOW) for name in ("lost", "there"))
        for store in (lost, there):
            stack.callback(store.close)
        yield lost, there


def put(store: SpoolStore, lane: LaneSender, packets: int) -> None:
    for _ in range(packets):
        lane.take_frames(random_frames(10), 90.0)
    store_all(store, lane, NOW)


def rows(store: SpoolStore) -> list[tuple[LaneKey, SpoolRow]]:
    found = [(key, row) for key, rows in store.oldest(NOW).items() for row in rows]
    return sorted(found, key=lambda one: one[1].row)


def shown(store: SpoolStore) -> list[tuple[str, str, int, int | None]]:
    return [(key[0], row.number.start_id, row.number.seq, row.position) for key, row in rows(store)]


def test_all_is_there_behind_what_was(stores: tuple[SpoolStore, SpoolStore]) -> None:
    lost, there = stores
    put(there, a_spooled_lane("van7-can1", ONLY_THERE), 2)
    put(there, a_spooled_lane("van7-can0", SHARED), 3)
    lane = a_spooled_lane("van7-can0", SHARED)
    for _ in range(3):
        lane.take_frames(random_frames(10), 90.0)
        lane.accepted(lane.next_seq - 1)
    put(lost, lane, 2)
    put(lost, a_spooled_lane("van7-can1", ONLY_HERE), 1)
    before, moved = rows(there), rows(lost)
    offset = there.copy_from(lost)
    assert offset == 5
    assert shown(there) == [
        ("van7-can1", ONLY_THERE, 1, 0),
        ("van7-can1", ONLY_THERE, 2, 10),
        ("van7-can0", SHARED, 1, 0),
        ("van7-can0", SHARED, 2, 10),
        ("van7-can0", SHARED, 3, 20),
        ("van7-can0", SHARED, 4, 30),
        ("van7-can0", SHARED, 5, 40),
        ("van7-can1", ONLY_HERE, 1, 0),
    ]
    assert [row.row for _, row in rows(there)] == [*(row.row for _, row in before), 6, 7, 8]
    assert [row.row + offset for _, row in moved] == [6, 7, 8]
    assert all(row.age_seconds == 10.0 for _, row in rows(there))
    left = there.left(NOW)
    assert left[FIRST].ledger == [LedgerEntry(SHARED, 5, 50, 30)], "the newer of both"
    assert left[SECOND].ledger == [LedgerEntry(ONLY_THERE, 2, 20, 0), LedgerEntry(ONLY_HERE, 1, 10, 0)]
    assert sum(stretch.frames for stretch in left[FIRST].backlog.stretches) == 50


def test_an_empty_file_takes_all_under_the_same_numbers(stores: tuple[SpoolStore, SpoolStore]) -> None:
    lost, there = stores
    put(lost, a_spooled_lane(), 3)
    assert there.copy_from(lost) == 0
    assert rows(there) == rows(lost)


def test_there_may_be_nothing_to_move(stores: tuple[SpoolStore, SpoolStore]) -> None:
    lost, there = stores
    put(there, a_spooled_lane(), 3)
    before = rows(there)
    there.copy_from(lost)
    assert rows(there) == before


def test_more_than_fits_into_one_transaction_comes_whole(tmp_path: Path) -> None:
    with ExitStack() as stack:
        lost, there = (SpoolFile(tmp_path / name, 50_000_000) for name in ("lost", "there"))
        for file in (lost, there):
            stack.callback(file.close)
        with lost.transaction() as db:
            db.execute("INSERT INTO lanes VALUES (7, 'van7-can0', 'frames')")
            db.execute("INSERT INTO starts VALUES (3, ?, 'boot', NULL)", (SHARED,))
            db.execute("INSERT INTO activations VALUES (5, ?)", (activation_name("ab" * 16, 9),))
            for number in range(1, 1_302):
                packet = (number * 2, 7, 3, number, number, 1, None, None, None, 0, number - 1, *MARKED)
                db.execute("INSERT INTO packets VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", packet)
                db.execute("INSERT INTO bodies VALUES (?, ?)", (number * 2, b"%d" % number))
        with there.transaction() as db:
            db.execute("INSERT INTO activations VALUES (5, ?)", (activation_name("cd" * 16, 9),))
        assert copy_all(lost.db, there.transaction) == 0
        named = "SELECT DISTINCT name, born_ms FROM packets JOIN activations USING (carried)"
        assert there.db.execute(named).fetchall() == [(activation_name("ab" * 16, 9), 77)]
        query = "SELECT p.id, p.seq, b.body FROM packets p JOIN bodies b USING (id) ORDER BY p.id"
        found = there.db.execute(query).fetchall()
        assert found == [(number * 2, number, b"%d" % number) for number in range(1, 1_302)]
