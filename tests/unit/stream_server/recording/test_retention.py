"""Retention: which packets go, in which order, and that they stay counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from can_stream.protocol.clock_record import ClockRecord
from can_stream.protocol.control import LaneName
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import (
    Gap,
    GapReason,
    encode_clock,
)
from stream_server.config import RecordingSection
from stream_server.errors import StorageError
from stream_server.metrics import Metrics
from stream_server.recording import clock_store, retention, retention_store
from stream_server.recording.known_time import Reading
from stream_server.recording.retention import Retention
from stream_server.storage import kept_facts
from stream_server.storage import recording_schema as schema
from stream_server.storage.database import Database, T
from tests.helpers import recordings
from tests.helpers.server_parts import (
    OTHER_START,
    START,
    frames_packet,
    gap_packet,
    new_recording,
    values_packet,
)

SECOND_NS = 1_000_000_000
NEVER = RecordingSection(max_age_seconds=1e6, max_bytes=10**12)


async def heard(_action: str, _seconds: float) -> None:
    """Nobody listens to what the clock does."""


def at(seconds: float, wall_seconds: float | None = None, synchronised: bool = False) -> Reading:
    """So many seconds after boot, and by the wall clock, if that says nothing else."""
    wall = seconds if wall_seconds is None else wall_seconds
    return Reading("boot", int(seconds * SECOND_NS), int(wall * SECOND_NS), synchronised)


class RefusingOnce(Database):
    """Storage that refuses once for each of `refusals`. `emptied`: no packet is left after a write."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.refusals: list[str] = []
        self.emptied = asyncio.Event()

    async def write(self, run: Callable[[Connection], T]) -> T:
        if self.refusals:
            raise StorageError(self.refusals.pop())
        outcome = await super().write(run)
        if not await kept(self):
            self.emptied.set()
        return outcome


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(new_recording(tmp_path))
    yield opened
    await opened.close()


async def record(database: Database, *bodies: bytes, lane: LaneName = "frames") -> None:
    """Packets of one lane, each received in the second of its number."""
    await database.write(
        lambda c: recordings.record(c, *bodies, lane=lane, received_ns=lambda seq: seq * SECOND_NS)
    )


async def kept(database: Database) -> list[int]:
    query = select(schema.packets.c.seq).order_by(schema.packets.c.id)
    return await database.read(lambda connection: list(connection.execute(query).scalars()))


async def totals(database: Database, lane: LaneName = "frames") -> tuple[int, int, int]:
    table = schema.retention_totals
    query = (
        select(table.c.packets, table.c.frames, table.c.bytes)
        .join(schema.lanes)
        .where(schema.lanes.c.lane == lane)
    )
    return await database.read(lambda connection: tuple(connection.execute(query).one()))


async def taken(database: Database) -> dict[str, int]:
    """What each dongle's frames lane takes, by the books."""
    return {one.dongle_id: one.size_bytes for one in await database.read(retention_store.taken)}


async def test_what_is_too_old_goes_and_nothing_else(database: Database) -> None:
    bodies = [frames_packet(seq, count=seq) for seq in range(1, 6)]
    await record(database, *bodies)
    metrics = Metrics()
    keeper = Retention(database, RecordingSection(max_age_seconds=7.0), metrics, heard)
    assert await keeper.apply(at(10)) == 1 + 2, "frames; what is 7 s old stays"
    assert await kept(database) == [3, 4, 5]
    assert await totals(database) == (2, 3, sum(map(len, bodies[:2])))
    assert await keeper.apply(at(10)) == 0
    assert metrics.registry.get_sample_value("stream_server_retention_deleted_frames_total") == 3
    assert metrics.registry.get_sample_value("stream_server_retention_deleted_packets_total") == 2


async def test_of_too_much_the_oldest_go_until_the_rest_fits(database: Database) -> None:
    bodies = [frames_packet(seq, count=10) for seq in range(1, 6)]
    size = len(bodies[0])
    await record(database, *bodies)
    for room, left in ((5 * size, 5), (5 * size - 1, 4), (2 * size, 2), (1, 0)):
        await Retention(database, RecordingSection(1e6, max_bytes=room), Metrics(), heard).apply(at(10))
        assert await kept(database) == [1, 2, 3, 4, 5][5 - left :]
        assert sum((await taken(database)).values()) == left * size <= room


async def test_more_than_one_transaction_is_needed_for_much(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_store, "RETENTION_PACKETS", 2)
    await record(database, *(frames_packet(seq) for seq in range(1, 8)))
    assert await Retention(database, RecordingSection(3.5, 10**9), Metrics(), heard).apply(at(10)) == 6
    assert await kept(database) == [7]
    assert (await totals(database))[:2] == (6, 6)


def owner_of(dongle_id: str) -> str:
    return dongle_id.partition("-")[0]


async def seqs(database: Database, dongle_id: str) -> list[int]:
    table = schema.packets
    both = table.join(schema.lane_starts).join(schema.lanes)
    query = (
        select(table.c.seq)
        .select_from(both)
        .where(schema.lanes.c.dongle_id == dongle_id)
        .order_by(table.c.seq)
    )
    return await database.read(lambda connection: list(connection.execute(query).scalars()))


async def record_of(database: Database, dongle_id: str, *numbers: int, start_id: str = START) -> int:
    """A packet of each number, and how large one is."""
    bodies = [frames_packet(seq, count=10, start_id=start_id) for seq in numbers]
    await database.write(lambda c: recordings.record(c, *bodies, dongle_id=dongle_id))
    return len(bodies[-1])


async def test_whoever_takes_most_gives_and_nobody_else_loses_anything(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_store, "RETENTION_PACKETS", 4)
    await record_of(database, "quiet-can0", 1, 2, 3)
    for first in range(1, 41, 2):  # two dongles take turns
        await record_of(database, "loud-can0", first, first + 1, start_id=OTHER_START)
        await record_of(database, "loud-can1", first, first + 1, start_id=OTHER_START)
    size = await record_of(database, "quiet-can0", 4)
    limits = RecordingSection(1e6, max_bytes=24 * size)
    metrics = Metrics()
    assert await Retention(database, limits, metrics, heard, owner_of).apply(at(10)) == 60 * 10
    assert await seqs(database, "quiet-can0") == [1, 2, 3, 4], "older than most of what is left"
    assert await seqs(database, "loud-can0") == await seqs(database, "loud-can1") == list(range(31, 41))
    assert sum((await taken(database)).values()) == 24 * size
    assert metrics.registry.get_sample_value("stream_server_retention_deleted_packets_total") == 60
    assert await Retention(database, limits, metrics, heard, owner_of).apply(at(10)) == 0


async def test_an_agent_has_a_bound_of_its_own_however_much_room_there_is(database: Database) -> None:
    size = await record_of(database, "loud-can0", *range(1, 11))
    await record_of(database, "loud-can0", *range(1, 6), start_id=OTHER_START)
    await record_of(database, "quiet-can0", 1, 2)
    limits = RecordingSection(1e6, max_bytes=10**9, max_bytes_per_agent=7 * size)
    await Retention(database, limits, Metrics(), heard, owner_of).apply(at(10))
    assert await seqs(database, "loud-can0") == [1, 2, 3, 4, 5, 9, 10], "the older start's are the oldest"
    assert await seqs(database, "quiet-can0") == [1, 2]


async def test_late_packets_keep_the_order_of_their_numbers(database: Database) -> None:
    """Live ones came first, then what was missing before them."""
    size = await record_of(database, "can0", 4, 5, 6)
    await record_of(database, "can0", 1, 2, 3)
    await Retention(database, RecordingSection(1e6, 2 * size), Metrics(), heard).apply(at(10))
    assert await seqs(database, "can0") == [5, 6]


async def test_values_and_gaps_are_counted_in_the_books_of_their_lanes_and_not_as_frames(
    database: Database,
) -> None:
    await record(database, frames_packet(1, count=3), gap_packet(2, Gap(GapReason.WINDOW, 2, 100)))
    await record(database, values_packet(1, 0, 1), lane="signals")
    assert await Retention(database, RecordingSection(1.0, 10**9), Metrics(), heard).apply(at(10)) == 3
    assert await kept(database) == []
    assert (await totals(database))[:2] == (1, 3)
    assert (await totals(database, "signals"))[:2] == (1, 2)
    assert set((await taken(database)).values()) == {0}


async def test_gaps_go_with_their_time_but_for_those_whose_packets_may_come(database: Database) -> None:
    count = len(GapReason)
    gaps = [gap_packet(seq, Gap(reason, seq, 1)) for seq, reason in enumerate(GapReason, 2)]
    late = [frames_packet(count + 2), gap_packet(count + 3, Gap(GapReason.SOURCE, count + 3, 1))]
    await record(database, frames_packet(1), *gaps, *late)
    assert await Retention(database, RecordingSection(8.5, 10**9), Metrics(), heard).apply(at(10)) == 1
    query = select(schema.gaps.c.reason).order_by(schema.gaps.c.id)
    left = await database.read(lambda connection: list(connection.execute(query).scalars()))
    assert left == [*(reason for reason in GapReason if reason.was_a_packet), GapReason.SOURCE]


async def test_the_last_word_on_a_clock_outlives_its_packet(database: Database) -> None:
    clocks = [
        encode_clock(PacketNumber(START, seq), ClockRecord("boot", seq, synchronised=False)) for seq in (1, 2)
    ]
    await record(database, *clocks, frames_packet(3), frames_packet(4))
    await Retention(database, RecordingSection(6.5, 10**9), Metrics(), heard).apply(at(10))
    assert await kept(database) == [4]
    query = select(schema.clock_records.c.seq)
    assert await database.read(lambda connection: list(connection.execute(query).scalars())) == [2]
    judged = await database.read(lambda connection: clock_store.load(connection, "can0"))
    (start_pk,) = await database.read(lambda c: c.execute(select(schema.lane_starts.c.id)).scalars().all())
    assert judged.of(start_pk, 4) is not None, "frame 4 is still known to be of a wrong clock"


async def test_it_goes_on_when_storage_works_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retention, "PERIOD_SECONDS", 0.01)
    database = RefusingOnce(new_recording(tmp_path))
    await record(database, frames_packet(1))
    database.emptied.clear()
    database.refusals.append("database or disk is full")
    running = asyncio.create_task(Retention(database, RecordingSection(max_bytes=1), Metrics(), heard).run())
    async with asyncio.timeout(10):
        await database.emptied.wait()
    running.cancel()
    await database.close()
    assert "retention waits: storage does not take writes: database or disk is full" in caplog.text


async def test_nothing_is_due_in_an_empty_recording(database: Database) -> None:
    assert await Retention(database, NEVER, Metrics(), heard).apply(at(10)) == 0


class Heard:
    """What the audit is told of the clock."""

    def __init__(self) -> None:
        self.news: list[tuple[str, float]] = []

    async def __call__(self, action: str, seconds: float) -> None:
        self.news.append((action, seconds))


DAY = 86_400.0


async def test_a_clock_that_jumps_ahead_deletes_nothing_and_it_is_told(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    told = Heard()
    keeper = Retention(database, RecordingSection(max_age_seconds=7 * DAY), Metrics(), told)
    await record(database, *(frames_packet(seq) for seq in range(1, 6)))
    for seconds in (10, 20):
        assert await keeper.apply(at(seconds)) == 0
    for seconds in (30, 40):
        assert await keeper.apply(at(seconds, seconds + 10 * DAY)) == 0
    assert told.news == [("clock.jumped", 10 * DAY)]
    assert keeper.jump_seconds == 10 * DAY
    assert "jumped ahead by 240.0 hours" in str(keeper.warning)
    assert str(keeper.warning) in caplog.text
    assert "stream-server clock confirm" in caplog.text
    assert await keeper.apply(at(50, 50 - 30 * DAY)) == 0
    assert "jumped back by 720.0 hours" in str(keeper.warning)
    assert await keeper.apply(at(60)) == 0
    assert (keeper.jump_seconds, keeper.warning) == (0, None)
    assert [action for action, _ in told.news] == ["clock.jumped", "clock.settled"]
    assert await kept(database) == [1, 2, 3, 4, 5]
    assert await keeper.apply(at(60 + 7 * DAY)) == 5, "by then they are old"


async def test_while_the_clock_is_wrong_what_is_too_much_still_goes(database: Database) -> None:
    keeper = Retention(database, RecordingSection(5.0, max_bytes=1), Metrics(), heard)
    await record(database, frames_packet(1))
    assert await keeper.apply(at(10, 10 + DAY)) == 1


async def test_a_restart_under_a_wrong_clock_changes_nothing(database: Database) -> None:
    limits = RecordingSection(max_age_seconds=7 * DAY)
    await record(database, *(frames_packet(seq) for seq in range(1, 6)))
    await Retention(database, limits, Metrics(), heard).apply(at(10))
    for boot, seconds, wall in (
        ("boot", 20, 20 + 10 * DAY),
        ("other", 5, 30 * DAY),
        ("other", 50, 400 * DAY),
    ):
        now = Reading(boot, int(seconds * SECOND_NS), int(wall * SECOND_NS), synchronised=False)
        keeper = Retention(database, limits, Metrics(), heard)
        assert await keeper.apply(now) == 0
        assert keeper.jump_seconds > 9 * DAY
    assert await kept(database) == [1, 2, 3, 4, 5]


async def test_what_an_operator_confirms_counts_and_an_old_word_does_not(database: Database) -> None:
    limits = RecordingSection(max_age_seconds=7 * DAY)
    keeper = Retention(database, limits, Metrics(), heard)
    await record(database, *(frames_packet(seq) for seq in range(1, 6)))
    await keeper.apply(at(10, synchronised=True))
    await keeper.apply(at(20, 20 + 10 * DAY))
    key = kept_facts.CLOCK_CONFIRMED
    for said, gone in ((20.0, 0), (25 + 10 * DAY, 5)):
        text = str(int(said * SECOND_NS))
        await database.write(lambda connection, text=text: kept_facts.put(connection, key, text))  # type: ignore[misc]
        assert await keeper.apply(at(30, 30 + 10 * DAY)) == gone
        assert await database.read(lambda connection: kept_facts.get(connection, key)) is None


async def test_packets_that_came_while_the_clock_was_wrong_are_as_old_as_they_are(database: Database) -> None:
    keeper = Retention(database, RecordingSection(max_age_seconds=100.0), Metrics(), heard)
    await keeper.apply(at(0, 1000 * DAY))
    await record(database, frames_packet(1))  # its time of receipt is of 1970
    await keeper.apply(at(10, 1000 * DAY + 10))
    await record(database, frames_packet(2))
    await keeper.apply(at(60, 1000 * DAY + 60))
    assert await kept(database) == [1, 2]
    await keeper.apply(at(115, 1000 * DAY + 115))
    assert await kept(database) == [2]
    await keeper.apply(at(165, 1000 * DAY + 165))
    assert await kept(database) == []
