"""Holes that nobody lists: given up after days of running, or when an operator asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select

from can_stream.protocol.control import LaneName
from can_stream.protocol.lanes_control import BacklogRange, LaneHello
from can_stream.protocol.packets import GapReason
from stream_server import clock
from stream_server.metrics import Metrics
from stream_server.recording import hole_keeper
from stream_server.recording.gap_news import GapNews
from stream_server.recording.hole_keeper import HoleKeeper, ask_to_close, load_running_time, take_answer
from stream_server.recording.recorder import Recorder
from stream_server.recording.running_time import RunningTime
from stream_server.storage import kept_facts
from stream_server.storage import recording_schema as schema
from stream_server.storage.database import Database
from tests.helpers.conditions import Gathered
from tests.helpers.server_parts import OTHER_START, START, new_recording

AGE_SECONDS = 100.0


@dataclass
class Server:
    """A recorder and its keeper, at a time that a test sets. `told`: gaps as consoles get them."""

    recording: Database
    seconds: float = 0.0
    told: Gathered[tuple[str, LaneName, Sequence[GapNews]]] = field(default_factory=Gathered)

    def __post_init__(self) -> None:
        self.recorder = Recorder(self.recording, Metrics(), lambda: self.seconds)
        self.recorder.tell_gaps = lambda *told: self.told.append(told)
        self.recorder.start()

    def keeper(self) -> HoleKeeper:
        running = RunningTime(self.seconds, clock.monotonic_seconds() + 60.0)  # it stands still
        return HoleKeeper(self.recording, self.recorder, running, AGE_SECONDS)

    async def waits(self, dongle_id: str, frames: int) -> None:
        """An agent lists frames of an old start, and is gone."""
        listed = BacklogRange(OTHER_START, 1, 9, 0, frames, None)
        hello = LaneHello(dongle_id, "frames", 1, [listed], next_frame=0)
        await self.recorder.open_lane(dongle_id, hello, START, lambda: None)

    async def holes(self) -> list[int]:
        return await self.recording.read(lambda c: list(c.execute(select(schema.holes.c.frames)).scalars()))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    recording = Database(new_recording(tmp_path))
    made = Server(recording)
    yield made
    await made.recorder.close()
    await recording.close()


async def test_a_hole_is_given_up_once_nobody_has_listed_it_for_its_age(server: Server) -> None:
    await server.waits("can0", 30)
    server.seconds = 60.0
    await server.waits("can1", 5)
    assert await server.keeper().keep() == 0
    server.seconds = 100.5
    assert await server.keeper().keep() == 30
    ((dongle_id, lane, (gap,)),) = server.told
    assert (dongle_id, lane, gap.frames, gap.reason) == ("can0", "frames", 30, GapReason.ANNOUNCED)
    assert await server.holes() == [5]
    await server.waits("can1", 5)
    server.seconds = 180.0
    assert await server.keeper().keep() == 0, "a hello has listed it meanwhile"


async def test_the_time_that_the_server_has_run_is_kept_over_restarts_and_kills(server: Server) -> None:
    server.seconds = 50.0
    await server.keeper().keep()
    running = await load_running_time(server.recording)
    assert 50.0 <= running.at(clock.monotonic_seconds()) < 60.0
    server.seconds = 90.0
    await server.waits("can0", 1)  # and killed before the minute was over
    running = await load_running_time(server.recording)
    assert 90.0 <= running.at(clock.monotonic_seconds()) < 100.0
    stored = await server.recording.read(lambda c: kept_facts.get(c, kept_facts.RUNNING_SECONDS))
    assert stored == "50.0"


async def test_an_operator_closes_the_holes_of_one_agent_while_the_server_runs(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hole_keeper, "LOOK_SECONDS", 0.01)
    await server.waits("can0", 30)
    await server.waits("can1", 5)
    running = asyncio.create_task(server.keeper().run())
    number = await server.recording.write(partial(ask_to_close, dongle_ids=["can0"]))
    await server.told.until(1)
    async with asyncio.timeout(10):
        while True:
            frames = await server.recording.write(partial(take_answer, number=number))
            if frames is not None:
                break
    assert frames == 30
    assert await server.holes() == [5]
    await server.waits("can0", 30)
    assert await server.holes() == [5], "the lane knows of it"
    running.cancel()
    left = await server.recording.read(lambda c: c.execute(select(schema.hole_closings)).all())
    assert left == []


async def test_a_lane_that_is_being_opened_is_left_alone_until_it_is(server: Server) -> None:
    await server.waits("can0", 30)
    lane = await server.recorder._lane("can0", "frames")
    async with lane.opening:
        assert await server.recorder.give_up_holes(("can0", "frames"), hole_keeper.FOREVER) is None
    assert await server.recorder.give_up_holes(("can0", "frames"), hole_keeper.FOREVER) == 30
