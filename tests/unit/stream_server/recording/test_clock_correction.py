"""When frames of a wrong clock really were: record by record, and in storage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, insert

from can_stream.protocol.clock_record import ClockRecord
from can_stream.protocol.packet_head import PacketKind
from stream_server.recording import clock_store
from stream_server.recording.clock_correction import ClockCorrection, StoredClock, Unsynchronised
from stream_server.storage import recording_schema as schema
from stream_server.storage.database import Database
from tests.helpers.server_parts import new_recording


def corrected_by_hand(records: list[StoredClock], start_pk: int, seq: int) -> Unsynchronised | None:
    """The rule as one would say it."""
    before = [one for one in records if one.start_pk == start_pk and one.seq <= seq]
    if not before or before[-1].synchronised:
        return None
    mine = before[-1]
    for later in records[records.index(mine) :]:
        same_boot = later.boot_id == mine.boot_id != "" or later.start_pk == mine.start_pk
        if same_boot and later.synchronised:
            return Unsynchronised(later.offset_ns - mine.offset_ns)
    return Unsynchronised(None)


@st.composite
def lanes(draw: st.DrawFn) -> list[StoredClock]:
    """Starts one after another, several of one boot."""
    records, boots = [], draw(st.lists(st.sampled_from(["a", "b", ""]), max_size=5))
    for start_pk, boot in enumerate(boots, 1):
        seqs = draw(st.sets(st.integers(0, 6), max_size=4))
        records += [
            StoredClock(start_pk, seq, boot, draw(st.integers(-9, 9)), draw(st.booleans()))
            for seq in sorted(seqs)
        ]
    return records


@given(lanes(), st.integers(1, 6), st.integers(1, 8))
def test_every_packet_is_judged_by_its_record_and_the_next_right_clock_of_its_boot(
    records: list[StoredClock], start_pk: int, seq: int
) -> None:
    assert ClockCorrection(records).of(start_pk, seq) == corrected_by_hand(records, start_pk, seq)


def test_offsets_that_are_nonsense_correct_nothing() -> None:
    records = [StoredClock(1, 2, "a", 1 - 2**62, False), StoredClock(1, 3, "a", 2**62 - 1, True)]
    assert ClockCorrection(records).of(1, 2) == Unsynchronised(None)


def make_start(connection: Connection) -> int:
    """A start of a dongle's frames lane; its key."""
    lane = insert(schema.lanes).values(dongle_id="van7-can0", lane="frames").returning(schema.lanes.c.id)
    lane_id = connection.execute(lane).scalar_one()
    start = insert(schema.lane_starts).values(lane_id=lane_id, start_id="00" * 8, taken="[]")
    key: int = connection.execute(start.returning(schema.lane_starts.c.id)).scalar_one()
    return key


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(new_recording(tmp_path))
    yield opened
    await opened.close()


def deleted(start_pk: int, seq: int, kind: PacketKind = PacketKind.CLOCK) -> Any:
    return SimpleNamespace(start_pk=start_pk, seq=seq, kind=kind)


async def test_when_packets_are_deleted_what_is_still_in_force_stays(database: Database) -> None:
    start_pk = await database.write(make_start)
    stored = [(start_pk, seq, ClockRecord("boot", seq, synchronised=seq == 9)) for seq in (2, 5, 9)]
    await database.write(lambda connection: clock_store.store(connection, stored))
    gone = [deleted(start_pk, 1, PacketKind.GAP), deleted(start_pk, 2), deleted(start_pk, 5)]
    await database.write(lambda connection: clock_store.forget(connection, gone))
    clocks = await database.read(lambda connection: clock_store.load(connection, "van7-can0"))
    # Packet 6 is still there, and still of the clock that record 5 told of.
    assert clocks.of(start_pk, 6) == Unsynchronised(4)
    assert clocks.of(start_pk, 3) is None
    assert clocks.of(start_pk, 10) is None


async def test_what_hello_says_is_the_first_record_of_its_start(database: Database) -> None:
    start_pk = await database.write(make_start)
    for offset_ns in (7, 8):
        right = ClockRecord("boot", offset_ns, synchronised=True)
        await database.write(partial(clock_store.store_hello, start_pk=start_pk, record=right))
    assert await database.read(lambda connection: clock_store.newest(connection, start_pk)) == (0, True)
    wrong = [(start_pk, 2, ClockRecord("boot", 1, synchronised=False))]
    await database.write(lambda connection: clock_store.store(connection, wrong))
    assert await database.read(lambda connection: clock_store.newest(connection, start_pk)) == (2, False)
    assert await database.read(lambda connection: clock_store.newest(connection, start_pk + 1)) == (0, True)
