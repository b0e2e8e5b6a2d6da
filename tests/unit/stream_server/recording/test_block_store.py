"""A search by time reads the blocks in which something can be, and finds what reading all of them finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, delete, func, insert, select

from can_stream.protocol.packet_head import PacketKind
from stream_server.recording import block_store, recorded_pages, retention_store
from stream_server.recording.block_store import BLOCK_PACKETS, Noted
from stream_server.storage import kept_facts
from stream_server.storage import recording_schema as schema

HOUR_NS = 3_600_000_000_000
LAST_NS = (1 << 63) - 1


def recordings() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        schema.metadata.create_all(connection)
        connection.execute(insert(schema.lanes).values(id=1, dongle_id="can0", lane="frames"))
        yield connection
    engine.dispose()


@pytest.fixture(name="recording")
def _recording() -> Iterator[Connection]:
    yield from recordings()


def record(connection: Connection, start_pk: int, times_ns: list[int], apart: int = 1) -> None:
    """A packet of each time; their numbers are so far apart."""
    start = {"id": start_pk, "lane_id": 1, "start_id": f"{start_pk:016x}", "taken": "[]"}
    connection.execute(insert(schema.lane_starts).values(start))
    noted = [
        Noted(start_pk, 1 + place * apart, first_ns, min(first_ns + 5, LAST_NS), PacketKind.FRAMES)
        for place, first_ns in enumerate(times_ns)
    ]
    same = {"frames": 1, "received_ns": 0, "is_backlog": False, "size_bytes": 1, "body": b"x"}
    rows = [{**one._asdict(), "first_seq": one.seq, **same} for one in noted]
    connection.execute(insert(schema.packets), rows)
    block_store.note(connection, noted)


def found(connection: Connection, from_ns: int | None, to_ns: int | None) -> list[tuple[int, int]]:
    cursor: recorded_pages.Cursor | None = recorded_pages.Cursor()
    out = []
    while cursor is not None:
        page, cursor = recorded_pages.page(connection, "can0", cursor, from_ns, to_ns)
        out += [(one.start_pk, one.seq) for one in page if isinstance(one.body, bytes)]
    return out


def as_before(connection: Connection) -> None:
    """The recording as a server without blocks has left it."""
    connection.execute(delete(schema.packet_blocks))
    last = connection.execute(select(func.max(schema.packets.c.id))).scalar_one()
    kept_facts.put(connection, kept_facts.BLOCKS_DUE, str(last))


times = st.one_of(st.integers(-(1 << 63), LAST_NS), st.integers(0, 20).map(lambda hours: hours * HOUR_NS))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(times, min_size=1, max_size=40),
    st.lists(times, min_size=1, max_size=40),
    st.sampled_from([1, 7, 300]),
    st.lists(st.tuples(st.none() | times, st.none() | times), min_size=1, max_size=4),
)
def test_a_search_finds_what_a_search_without_blocks_finds(
    first: list[int], second: list[int], apart: int, ranges: list[tuple[int | None, int | None]]
) -> None:
    for recording in recordings():
        record(recording, 1, first, apart)
        record(recording, 2, second, apart)
        by_blocks = [found(recording, *one) for one in ranges]
        as_before(recording)
        assert [found(recording, *one) for one in ranges] == by_blocks
        while block_store.fill_in_some(recording):
            pass
        assert block_store.is_complete(recording)
        assert [found(recording, *one) for one in ranges] == by_blocks


def steps(recording: Connection, search: Callable[[], object]) -> int:
    """How much SQLite has to do, in steps of its machine."""
    taken = 0

    def count() -> None:
        nonlocal taken
        taken += 1

    driver = recording.connection.driver_connection
    assert driver is not None
    driver.set_progress_handler(count, 10)
    search()
    driver.set_progress_handler(None, 0)
    return taken


def test_a_search_costs_the_same_wherever_it_lies(recording: Connection) -> None:
    second_ns = 1_000_000_000
    record(recording, 1, [number * second_ns for number in range(40_000)])

    def ten_seconds_from(first_ns: int) -> int:
        return steps(recording, lambda: found(recording, first_ns, first_ns + 10 * second_ns))

    begin, end = ten_seconds_from(1000 * second_ns), ten_seconds_from(39_000 * second_ns)
    assert end < 2 * begin
    assert ten_seconds_from(365 * 24 * HOUR_NS) < end
    counted = steps(recording, lambda: recorded_pages.known_gaps(recording, "can0"))
    as_before(recording)
    assert ten_seconds_from(39_000 * second_ns) > 20 * end
    assert steps(recording, lambda: recorded_pages.known_gaps(recording, "can0")) > 20 * counted


def test_blocks_go_with_their_packets(recording: Connection) -> None:
    record(recording, 1, [0] * (BLOCK_PACKETS * 2))
    record(recording, 2, [0] * 3)

    def blocks_after_deletion(through_id: int) -> list[tuple[int, int]]:
        while retention_store.delete_oldest(recording, through_id).packets:
            pass
        query = select(schema.packet_blocks.c.start_pk, schema.packet_blocks.c.block)
        return [(row.start_pk, row.block) for row in recording.execute(query)]

    assert blocks_after_deletion(0) == [(1, 0), (1, 1), (1, 2), (2, 0)]
    assert blocks_after_deletion(BLOCK_PACKETS) == [(1, 1), (1, 2), (2, 0)]
    assert blocks_after_deletion(BLOCK_PACKETS * 2) == [(2, 0)]
    assert blocks_after_deletion(BLOCK_PACKETS * 9) == []
