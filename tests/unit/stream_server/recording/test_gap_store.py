"""Gaps in storage: what is found is taken out of exactly the gaps that it lay in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import Connection, insert, select

from can_stream.lanes.holdings import Found, NewGap
from can_stream.protocol.packets import GapReason
from stream_server.recording import gap_store
from stream_server.storage import recording_schema as schema

START = "00000000000000a1"


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = sqlalchemy.create_engine("sqlite://")
    schema.metadata.create_all(engine)
    with engine.connect() as opened:
        opened.execute(insert(schema.lanes).values(id=1, dongle_id="can0", lane="frames"))
        opened.execute(insert(schema.lane_starts).values(id=1, lane_id=1, start_id=START, taken="[]"))
        yield opened
    engine.dispose()


def gap(*parts: tuple[int, int], reason: GapReason = GapReason.SPOOL, frames: int | None = None) -> NewGap:
    size = sum(last - first + 1 for first, last in parts)
    return NewGap(START, reason, 0, 0, parts[0][0], list(parts), size if frames is None else frames)


def rows(connection: Connection) -> list[Any]:
    table = schema.gaps
    query = select(table.c.id, table.c.place, table.c.parts, table.c.frames).order_by(table.c.id)
    return [tuple(row) for row in connection.execute(query)]


def test_what_is_found_is_taken_out_where_it_was_and_nothing_is_left_of_a_gap_without_parts(
    connection: Connection,
) -> None:
    new = [gap((0, 9), (20, 29)), gap((40, 49)), gap((60, 69), reason=GapReason.SOURCE)]
    made = gap_store.add(connection, new, {START: 1}, 5)
    assert [one.gap_id for one in made] == [1, 2, 3]
    found = [Found(START, [(0, 9), (25, 29)], 15), Found(START, [(40, 49), (60, 65)], 10)]
    news = gap_store.find(connection, 1, found, exact=True)
    assert [(one.gap_id, one.frames, one.found_frames, one.is_new) for one in news] == [
        (1, 5, 15, False), (2, 0, 10, False),
    ]  # fmt: skip
    assert rows(connection) == [(1, 20, "[[20,24]]", 5), (3, 60, "[[60,69]]", 10)]
    assert list(gap_store.findable(connection, [1])[1]) == [(20, 24)]


def test_where_units_are_numbers_the_count_shrinks_by_what_came(connection: Connection) -> None:
    gap_store.add(connection, [gap((3, 5), frames=30)], {START: 1}, 5)
    (news,) = gap_store.find(connection, 1, [Found(START, [(4, 4)], 12)], exact=False)
    assert (news.frames, news.found_frames) == (18, 12)
    assert gap_store.frames_of(connection, [1]) == {1: 18}
    (news,) = gap_store.find(connection, 1, [Found(START, [(3, 3)], 25)], exact=False)
    assert news.frames == 0, "more came than was said"
    (news,) = gap_store.find(connection, 1, [Found(START, [(5, 5)], 1)], exact=False)
    assert rows(connection) == []


def test_another_gap_takes_over_without_anything_being_found(connection: Connection) -> None:
    gap_store.add(connection, [gap((0, 9))], {START: 1}, 5)
    (news,) = gap_store.find(connection, 1, [Found(START, [(0, 3)], 0)], exact=True)
    assert (news.frames, news.found_frames) == (6, 0)


def test_retention_goes_past_gaps_but_for_those_whose_packets_may_come(connection: Connection) -> None:
    gap_store.add(connection, [gap((0, 9)), gap((10, 19), reason=GapReason.SOURCE)], {START: 1}, 5)
    gap_store.add(connection, [gap((20, 29), reason=GapReason.BUDGET)], {START: 1}, 6)
    gap_store.forget(connection, [2])
    assert len(rows(connection)) == 3
    gap_store.forget(connection, [1])
    assert [row[0] for row in rows(connection)] == [1]
