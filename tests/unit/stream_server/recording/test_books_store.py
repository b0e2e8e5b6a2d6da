"""The books as they are read from a recording."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import update

from can_stream.protocol.lanes_control import BacklogRange, LaneHello, LedgerEntry
from can_stream.protocol.packets import Gap, GapReason
from stream_server.recording import books_store, openings, retention_store
from stream_server.storage import recording_schema as schema
from stream_server.storage.database import Database
from tests.helpers import recordings
from tests.helpers.server_parts import (
    OTHER_START,
    START,
    frames_packet,
    gap_packet,
    new_recording,
    values_packet,
)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(new_recording(tmp_path))
    packets = [
        gap_packet(1, Gap(GapReason.START, 1, None), START, 0),
        frames_packet(2, 10, START, 0),
        gap_packet(3, Gap(GapReason.SOURCE, 3, 4), START, 10),
        gap_packet(5, Gap(GapReason.SPOOL, 4, 6), START, 14),
        frames_packet(6, 10, START, 20),
    ]
    await opened.write(lambda c: recordings.record(c, *packets))
    await opened.write(lambda c: recordings.record(c, values_packet(1, 0, 1), lane="signals"))
    yield opened
    await opened.close()


async def test_each_start_is_there_with_its_gaps_by_reason(database: Database) -> None:
    found = await database.read(partial(books_store.load, dongle_id="can0"))
    frames, values = found.starts
    assert (frames.made, frames.recorded, frames.in_gaps, frames.in_holes) == (30, 20, 10, 0)
    assert frames.gaps == {"agent_source": 4, "agent_spool": 6}
    assert (frames.unknown_gaps, frames.gaps_forgotten) == (1, 0)
    assert (values.lane, values.made, values.recorded) == ("signals", None, 2)
    assert found.differences == []
    assert (await database.read(partial(books_store.load, dongle_id="can9"))).lanes == []


async def test_what_retention_deletes_stays_in_the_books(database: Database) -> None:
    await database.write(lambda c: retention_store.delete_oldest(c, 2**62))
    found = await database.read(partial(books_store.load, dongle_id="can0"))
    frames = found.starts[0]
    assert (frames.recorded, frames.in_gaps, frames.gaps_forgotten) == (20, 10, 4)
    assert [(lane.here, lane.deleted) for lane in found.lanes] == [(0, 20), (0, 2)]
    assert found.differences == []


async def test_holes_ledgers_and_frames_that_have_vanished_are_differences(database: Database) -> None:
    listed = BacklogRange(OTHER_START, 1, 9, 0, 30, None)
    ledger = [LedgerEntry(OTHER_START, 9, 30, 12)]
    hello = LaneHello("can0", "frames", 7, [listed], next_frame=30, starts=ledger)
    said = openings.Said(1, hello, START, None, 40.0)
    await database.write(lambda c: openings.store(c, said))
    await database.write(lambda c: c.execute(update(schema.packets).values(frames=9)))
    found = await database.read(partial(books_store.load, dongle_id="can0"))
    (hole,) = next(one for one in found.starts if one.start_id == OTHER_START).holes
    assert (hole.frames, hole.known_for_seconds, hole.listed_seconds_ago) == (30, 0.0, 0.0)
    assert [text.split(":")[1].split(",")[0].strip() for text in found.differences] == [
        "30 frames are known of", "12 frames were acknowledged", "20 frames were recorded",
        "2 values were recorded",
    ]  # fmt: skip
