"""Starts and gaps of a lane are bounded: the oldest of which nothing is recorded are forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from can_stream.protocol.hop import RangeKind
from can_stream.protocol.lanes_control import BacklogRange, LaneHello
from can_stream.protocol.packets import Gap, GapReason, decode_packet
from stream_server import clock
from stream_server.metrics import Metrics
from stream_server.recording import books_store, retention_store
from stream_server.recording.books import Books
from stream_server.recording.hole_keeper import HoleKeeper
from stream_server.recording.recorder import Lane, Recorder
from stream_server.recording.running_time import RunningTime
from stream_server.storage import recording_schema as schema
from stream_server.storage.database import Database
from tests.helpers import recordings
from tests.helpers.server_parts import START, frames_packet, gap_packet, new_recording

pytestmark = pytest.mark.usefixtures("few")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_store, "MOST_STARTS", 4)
    monkeypatch.setattr(retention_store, "MOST_GAPS", 5)
    monkeypatch.setattr(retention_store, "FORGOTTEN_ROWS", 2)


class Server:
    """A recorder and what keeps its starts few."""

    def __init__(self, recording: Database) -> None:
        self.recording = recording
        self.acknowledged = asyncio.Event()
        self.recorder = Recorder(recording, Metrics(), lambda: 0.0)
        self.recorder.start()

    async def announce(self, *start_ids: str, own: str = START) -> Lane:
        """An agent connects, and lists what waits of these starts."""
        listed = [BacklogRange(one, 1, 9, 0, 30, None) for one in start_ids]
        hello = LaneHello("can0", "frames", 1, listed, next_frame=0)
        lane, _, _ = await self.recorder.open_lane("can0", hello, own, self.acknowledged.set)
        return lane

    async def record(self, *bodies: bytes) -> None:
        await self.recording.write(lambda connection: recordings.record(connection, *bodies))

    async def keep(self) -> None:
        running = RunningTime(0.0, clock.monotonic_seconds())
        await HoleKeeper(self.recording, self.recorder, running, 1e6).keep()

    async def of(self, column: Any) -> list[Any]:
        return await self.recording.read(lambda c: list(c.execute(select(column)).scalars()))

    async def books(self) -> Books:
        return await self.recording.read(partial(books_store.load, dongle_id="can0"))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    recording = Database(new_recording(tmp_path))
    made = Server(recording)
    yield made
    await made.recorder.close()
    await recording.close()


def name(number: int) -> str:
    return f"{number:016x}"


async def test_of_too_many_starts_the_oldest_without_packets_go(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    first = frames_packet(1, 3, start_id=name(1))
    await server.record(first)
    await server.announce(*map(name, range(2, 9)), own=name(100))
    lane = await server.announce(name(8), own=name(2))
    await server.keep()
    left = await server.of(schema.lane_starts.c.start_id)
    assert sorted(left) == sorted(map(name, (1, 2, 8, 100))), "recorded, named by its agent, the newest"
    assert "can0 (frames): 5 starts of before, of which nothing is recorded" in caplog.text
    await server.keep()
    assert len(await server.of(schema.lane_starts.c.id)) == 4

    body = frames_packet(1, 2, start_id=name(2), position=0)
    server.recorder.add_packet(lane, decode_packet(body), body, RangeKind.LIVE)
    await asyncio.wait_for(server.acknowledged.wait(), 10)
    assert await server.of(schema.packets.c.frames) == [3, 2], "what is connected goes on"


async def test_what_is_forgotten_is_in_no_sum_and_the_books_add_up(server: Server) -> None:
    for number in range(1, 8):
        await server.record(frames_packet(1, number, start_id=name(number)))
    await server.recording.write(lambda c: retention_store.delete_oldest(c, 5))
    await server.keep()
    assert len(await server.of(schema.lane_starts.c.id)) == 4
    assert await server.of(schema.retention_totals.c.frames) == [4 + 5]
    (taken,) = await server.recording.read(retention_store.taken)
    assert taken.size_bytes == sum(await server.of(schema.packets.c.size_bytes))
    books = await server.books()
    assert books.differences == []
    assert [(lane.here, lane.deleted) for lane in books.lanes] == [(6 + 7, 4 + 5)]


async def test_of_too_many_gaps_the_oldest_go(server: Server) -> None:
    gaps = [gap_packet(seq, Gap(GapReason.SOURCE, seq, 1)) for seq in range(1, 9)]
    await server.record(*gaps, frames_packet(9))
    await server.keep()
    assert await server.of(schema.gaps.c.first_seq) == [4, 5, 6, 7, 8]
    assert await server.of(schema.packets.c.seq) == [9]
