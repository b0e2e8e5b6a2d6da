"""The recording as it is read: packets and gaps in the order of the bus, page by page."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select, update

from can_stream.protocol.lanes_control import BacklogRange, LaneHello
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Gap, GapReason, decode_packet, encode_gap
from stream_server.recording import block_store, openings, recorded_pages, start_store
from stream_server.recording.gap_news import GapNews
from stream_server.recording.openings import Said
from stream_server.recording.recorded_pages import Cursor
from stream_server.storage import kept_facts
from stream_server.storage import recording_schema as schema
from stream_server.storage.database import Database
from tests.helpers import recordings
from tests.helpers.server_parts import FIRST_NS, OTHER_START, START, frames_packet, gap_packet, new_recording


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(new_recording(tmp_path))
    yield opened
    await opened.close()


async def read(
    database: Database, from_ns: int | None = None, to_ns: int | None = None
) -> list[int | tuple[str, int | None] | None]:
    """Numbers of packets, and what gaps say, in order; None for a packet that is not what was recorded."""
    out: list[int | tuple[str, int | None] | None] = []
    cursor: Cursor | None = Cursor()
    while cursor is not None:
        read_page = partial(recorded_pages.page, dongle_id="can0", after=cursor, from_ns=from_ns, to_ns=to_ns)
        page, cursor = await database.read(read_page)
        for record in page:
            if isinstance(record.body, GapNews):
                out.append((record.body.reason.where, record.body.frames))
            else:
                out.append(None if record.body is None else decode_packet(record.body).number.seq)
    return out


def lost(first: int, seq: int, frames: int, position: int | None, start_id: str = START) -> bytes:
    return gap_packet(seq, Gap(GapReason.WINDOW, first, frames), start_id, position)


@pytest.mark.parametrize("page_rows", [1, 2, 3, 200])
async def test_gaps_are_in_their_places_whatever_came_first(
    database: Database, monkeypatch: pytest.MonkeyPatch, page_rows: int
) -> None:
    monkeypatch.setattr(recorded_pages, "_PAGE_ROWS", page_rows)
    counted = [
        gap_packet(1, Gap(GapReason.START, 1, None), OTHER_START),
        *(frames_packet(seq, 2, OTHER_START) for seq in (2, 5)),
        lost(3, 4, 9, None, OTHER_START),
    ]
    positioned = [
        gap_packet(1, Gap(GapReason.START, 1, None), START, 0),
        *(frames_packet(seq, 2, START, position) for seq, position in ((2, 0), (9, 40), (6, 20))),
        lost(3, 4, 9, 2),
    ]
    await database.write(lambda c: recordings.record(c, *counted))
    await database.write(lambda c: recordings.record(c, *positioned))
    lane_id = await database.read(lambda c: c.execute(select(schema.lanes.c.id)).scalar_one())
    await database.write(lambda c: openings.give_up(c, lane_id, float("inf")))
    assert await read(database) == [
        ("agent_start", None), 2, ("agent_window", 9), 5,
        ("agent_start", None), 2, ("agent_window", 9), ("agent_announced", 9), 6, ("agent_announced", 18), 9,
    ]  # fmt: skip


async def test_a_time_leaves_out_packets_and_gaps_of_other_times(database: Database) -> None:
    early, late = FIRST_NS, FIRST_NS + 3600 * 10**9
    gaps = [
        gap_packet(seq, Gap(GapReason.SOURCE, seq, 1, at_ns, at_ns), START, seq)
        for seq, at_ns in ((1, early), (2, late))
    ]
    packets = [*gaps, frames_packet(3, 1, START, 3)]
    await database.write(lambda c: recordings.record(c, *packets, span_ns=lambda _seq: (late, late)))
    assert await read(database, to_ns=late) == [("agent_source", 1)]
    assert await read(database, from_ns=late) == [("agent_source", 1), 3]


async def test_a_gap_that_an_older_server_recorded_among_the_packets_is_read_counted_and_found(
    database: Database,
) -> None:
    await database.write(lambda c: recordings.record(c, *(frames_packet(seq, 2) for seq in (1, 5))))

    def older(connection: Connection) -> None:
        body = encode_gap(PacketNumber(START, 4), Gap(GapReason.ANNOUNCED, 2, 6))
        row: dict[str, Any] = {"start_pk": 1, "seq": 4, "first_seq": 2, "kind": 3, "frames": 6}
        row |= {"first_ns": 0, "last_ns": 0}
        row |= {"received_ns": 0, "is_backlog": True, "size_bytes": len(body), "body": body}
        connection.execute(insert(schema.packets), row)
        connection.execute(update(schema.lane_starts).values(taken="[[1,5]]", bytes=500))
        kept_facts.put(connection, kept_facts.BLOCKS_DUE, "3")

    await database.write(older)
    for _ in range(2):
        assert await read(database) == [1, 4, 5]
        assert await database.read(lambda c: recorded_pages.known_gaps(c, "can0")) == (1, 6)
        await block_store.fill_in(database)
    listed = BacklogRange(START, 3, 3, None, 2, 1.0)
    said = Said(1, LaneHello("can0", "frames", 6, [listed]), START, None, 0.0)
    opened = await database.write(lambda c: openings.store(c, said))
    start = opened.opening.starts[START]
    assert (start.through, start.in_gaps) == (1, 6), "it stops before what may be found"
    assert await read(database) == [1, ("agent_announced", 6), 5]
    assert await database.read(lambda c: recorded_pages.known_gaps(c, "can0")) == (1, 6)
    with closing(sqlite3.connect(database.path)) as plain:
        (stored,) = plain.execute("SELECT bytes FROM lane_starts").fetchone()
    assert stored < 500, "its bytes count no more"
    assert await database.read(lambda c: start_store.load(c, 1, ["nobody"])) == {}


async def test_a_packet_that_is_not_what_was_recorded_is_not_shown(database: Database) -> None:
    bodies = [frames_packet(seq, 3) for seq in (1, 2, 3)]
    await database.write(lambda connection: recordings.record(connection, *bodies))
    other = update(schema.packets).where(schema.packets.c.seq == 2).values(body=frames_packet(2, 4))
    await database.write(lambda connection: connection.execute(other).rowcount)
    assert await read(database) == [1, None, 3]
