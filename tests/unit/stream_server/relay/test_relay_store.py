"""What waits for a bus is in storage as it was, and of another boot without its moments."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.relay_control import Totals
from stream_server.relay import relay_store
from stream_server.relay.relay_store import Stored, Way
from stream_server.relay.values import (
    Changes,
    Deleted,
    Served,
    StoredLine,
    StoredMark,
    StoredRow,
    StoredStretch,
)
from stream_server.storage.database import Database
from tests.helpers.server_parts import new_recording

WAY, BACK = Way("can0", "can8"), Way("can8", "can0")
START, OTHER = "00000000000000a1", "00000000000000b2"
LINE = StoredLine(
    START, 0, 3, 9, Totals(sent=3, not_sent={"gate": 1}),
    [StoredStretch(3, 5, 2, "hole", 77), StoredStretch(5, 6, 1, "gap")],
    [StoredMark(2, 0, "ab" * 16 + "-1")],
)  # fmt: skip
ROWS = [
    StoredRow(START, 7, 6, 2, 88, b"\x80", in_doubt=True),
    StoredRow(START, 8, 8, 1, None),
]


@pytest.fixture
async def recording(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(new_recording(tmp_path))
    yield database
    await database.close()


async def written(recording: Database, way: Way, changes: Changes) -> Stored:
    await recording.write(partial(relay_store.write, way=way, changes=changes))
    return await recording.read(partial(relay_store.load, way=way))


async def test_it_is_read_as_it_was_written_each_direction_by_itself(recording: Database) -> None:
    everything = Changes([], ROWS, [LINE], [])
    assert await written(recording, WAY, everything) == Stored(ROWS, [LINE], None)
    assert await written(recording, BACK, Changes([], ROWS[:1], [], [])) == Stored(ROWS[:1], [], None)
    later = StoredLine(START, 1, 8, 9)
    changed = Changes([Deleted(START, 1, 7)], ROWS[1:], [later], [])
    assert await written(recording, WAY, changed) == Stored(ROWS[1:], [later], None)
    assert await written(recording, WAY, Changes([], [], [], [OTHER])) == Stored(ROWS[1:], [later], None)
    assert await written(recording, WAY, Changes([], [], [], [START])) == Stored([], [], None)
    assert await recording.read(relay_store.ways) == [BACK]


async def test_of_another_boot_no_moment_is_known(recording: Database) -> None:
    await written(recording, WAY, Changes([], ROWS, [LINE], []))
    await recording.write(partial(relay_store.put_served, way=WAY, serving=Served("ab" * 16, 99)))

    async def opened(boot_id: str) -> Stored:
        await recording.write(partial(relay_store.forget_moments, boot_id=boot_id, now_ns=5))
        return await recording.read(partial(relay_store.load, way=WAY))

    first = await opened("one")
    assert first.serving == Served("ab" * 16, 5)
    assert [row.born_ns for row in first.rows] == [None, None]
    assert [part.born_ns for part in first.lines[0].stretches] == [None, None]
    await written(recording, WAY, Changes([], ROWS, [LINE], []))
    same = await opened("one")
    assert (same.rows, same.lines) == (ROWS, [LINE])
    assert [row.born_ns for row in (await opened("unknown")).rows] == [None, None]
    await written(recording, WAY, Changes([], ROWS, [LINE], []))
    assert [row.born_ns for row in (await opened("unknown")).rows] == [None, None], "it may be any boot"


async def test_of_a_direction_that_is_dropped_nothing_is_kept(recording: Database) -> None:
    for way in (WAY, BACK):
        await written(recording, way, Changes([], ROWS, [LINE], []))
        await recording.write(partial(relay_store.put_served, way=way, serving=Served("ab" * 16)))
    await recording.write(partial(relay_store.drop, way=WAY))
    load = partial(relay_store.load, way=WAY)
    assert await recording.read(load) == Stored([], [], None)
    assert await recording.read(relay_store.ways) == [BACK]


async def test_packets_that_are_not_there_are_not_found(recording: Database) -> None:
    numbers = [PacketNumber(START, 1)]
    found = await recording.read(partial(relay_store.bodies, dongle_id="can0", numbers=numbers))
    assert found == {}
