"""A hello that lists much costs few statements: it comes at each reconnection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import Connection

from can_stream.protocol.control import MAX_RANGES
from can_stream.protocol.lanes_control import BacklogRange, LaneHello, LedgerEntry
from stream_server.recording import openings, start_store
from stream_server.storage.database import Database
from tests.helpers.server_parts import new_recording

START, NOW = "00" * 8, "11" * 8


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(new_recording(tmp_path))
    yield opened
    await opened.close()


def said(lane_id: int, listed: slice, now_seconds: float) -> openings.Said:
    """2,048 ranges with a gap behind each, of which some are listed."""
    ranges = [BacklogRange(START, n, n, 2 * n, 1, None) for n in range(1, MAX_RANGES + 1)]
    ledger = [LedgerEntry(START, MAX_RANGES, 2 * MAX_RANGES + 1, 0)]
    hello = LaneHello("can0", "frames", 1, ranges[listed], next_frame=0, complete=True, starts=ledger)
    return openings.Said(lane_id, hello, NOW, None, now_seconds)


async def test_a_thousand_ranges_listed_anew_are_one_statement(database: Database) -> None:
    def hear(connection: Connection, now_seconds: float) -> tuple[list[int], set[float]]:
        lane_id = start_store.lane_id_of(connection, "can0", "frames")
        rows: list[int] = []

        def note(_connection: Any, _cursor: Any, _text: str, given: Any, *_rest: object) -> None:
            rows.append(len(given) if isinstance(given, list) else 1)

        sqlalchemy.event.listen(connection, "before_cursor_execute", note)
        openings.store(connection, said(lane_id, slice(None), now_seconds))
        sqlalchemy.event.remove(connection, "before_cursor_execute", note)
        (start,) = start_store.load(connection, lane_id, [START]).values()
        assert [(hole.first, hole.last) for hole in start.holes] == [(2 * n, 2 * n) for n in range(1, 2049)]
        return rows, {hole.last_listed_seconds for hole in start.holes}

    first, _ = await database.write(lambda c: hear(c, 5.0))
    again, listed = await database.write(lambda c: hear(c, 9.0))
    assert listed == {9.0}
    assert max(first) == MAX_RANGES
    assert sum(again) < 20, again


async def test_what_is_listed_no_more_becomes_a_gap_and_the_rest_stays(database: Database) -> None:
    def hear(connection: Connection) -> list[tuple[int, float]]:
        lane_id = start_store.lane_id_of(connection, "can0", "frames")
        for listed, now_seconds in ((slice(None), 5.0), (slice(0, None, 2), 9.0)):
            openings.store(connection, said(lane_id, listed, now_seconds))
        (start,) = start_store.load(connection, lane_id, [START]).values()
        return [(hole.first, hole.last_listed_seconds) for hole in start.holes]

    left = await database.write(hear)
    assert left == [(2 * n, 9.0) for n in range(1, MAX_RANGES + 1, 2)]
