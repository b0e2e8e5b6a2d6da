"""What goes when the disk has too much, and when; and when what was written is synced."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from can_stream.lanes.sender import LaneSender
from edge_agent.config.sections import SpoolSection
from edge_agent.host.clock import Clock
from edge_agent.spool.changes import Changes
from edge_agent.spool.disk import Disk
from edge_agent.spool.known_lanes import KnownLanes
from edge_agent.spool.reading import TRIM_ROWS
from edge_agent.spool.trimming import Trimming
from tests.helpers.spooled_lanes import a_spooled_lane, key_of, random_frames, window_of


class SetClock(Clock):
    """Stands still at `seconds`."""

    seconds = 100.0

    def monotonic_ns(self) -> int:
        return int(self.seconds * 1e9)


class Trial:
    """Some lanes with their disk, and nothing that moves by itself."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.clock = SetClock()
        self.section = SpoolSection(str(path), max_bytes)
        self.lanes = [a_spooled_lane(name) for name in ("can0", "can1")]
        self.known = KnownLanes(self.lanes, max_bytes)
        self.disk = Disk(path, self.section, self.clock)
        self.trimming = Trimming(self.known, self.disk, self.clock, 60.0)

    async def write(self, lane: LaneSender, packets: int, frames: int = 10) -> None:
        """So many packets, made now."""
        window = window_of(lane)
        for _ in range(packets):
            lane.take_frames(random_frames(frames), self.clock.seconds)
            rows = window.hand_over(self.clock.seconds, self.disk.next_row, 1 << 30)
            await self.disk.apply(Changes([(key_of(lane), row) for row in rows]))
            window.written(rows)


@asynccontextmanager
async def a_trial(path: Path, max_bytes: int = 500_000_000) -> AsyncIterator[Trial]:
    trial = Trial(path, max_bytes)
    await trial.disk.open()
    trial.known.adopt()
    yield trial
    await trial.disk.finish()


async def test_the_oldest_go_first_of_whatever_lane(tmp_path: Path) -> None:
    async with a_trial(tmp_path, 1_000_000) as trial:
        old, new = trial.lanes
        await trial.write(old, 20, 1_000)
        await trial.write(new, 50, 1_000)
        assert trial.disk.excess_bytes > 0
        await trial.trimming.make_room()
        assert trial.disk.excess_bytes <= 0
        assert old.window.trimmed_frames > 0
        assert new.window.trimmed_frames == 0 or old.window.trimmed_frames == 20_000
        assert trial.known.frames + trial.known.trimmed_frames == 70_000


async def test_a_connection_that_holds_all_there_is_has_to_end_first(tmp_path: Path) -> None:
    async with a_trial(tmp_path, 1_000_000) as trial:
        lane = trial.lanes[0]
        lane.connect(trial.clock.seconds)
        await trial.write(lane, 70, 1_000)
        await trial.trimming.make_room()
        assert (lane.window.trimmed_frames, window_of(lane).wants_greeting) == (0, True)
        lane.connect(trial.clock.seconds)
        await trial.trimming.make_room()
        assert lane.window.trimmed_frames > 0
        assert trial.disk.excess_bytes <= 0


async def test_what_is_too_old_goes_and_is_looked_for_now_and_then(tmp_path: Path) -> None:
    async with a_trial(tmp_path) as trial:
        lane = trial.lanes[0]
        await trial.write(lane, 5)
        trial.clock.seconds += 55
        await trial.write(lane, 3)
        await trial.trimming.expire()
        assert trial.known.trimmed_frames == 0
        trial.clock.seconds += 9
        await trial.trimming.expire()
        assert trial.known.trimmed_frames == 0
        trial.clock.seconds += 1
        await trial.trimming.expire()
        assert (trial.known.trimmed_frames, trial.known.frames) == (50, 30)


async def test_what_is_let_go_is_looked_at_in_parts(tmp_path: Path) -> None:
    async with a_trial(tmp_path) as trial:
        await trial.write(trial.lanes[0], TRIM_ROWS + 1)
        (rows,) = (await trial.disk.oldest(None)).values()
        assert [row.number.seq for row in rows] == list(range(1, TRIM_ROWS + 1))
        (rows,) = (await trial.disk.oldest(1)).values()
        assert [row.number.seq for row in rows] == [1]


async def test_what_is_written_is_synced_once_some_time_after(tmp_path: Path) -> None:
    async with a_trial(tmp_path) as trial:
        disk, wait = trial.disk, trial.section.sync_seconds - trial.section.flush_seconds
        assert disk.sync_due_in(trial.clock.seconds) == math.inf
        await trial.write(trial.lanes[0], 1)
        trial.clock.seconds += wait / 2
        await trial.write(trial.lanes[0], 1)
        assert disk.sync_due_in(trial.clock.seconds) == wait / 2
        await disk.sync_due()
        assert disk.sync_due_in(trial.clock.seconds) == wait / 2
        trial.clock.seconds += wait / 2
        await disk.sync_due()
        assert disk.sync_due_in(trial.clock.seconds) == math.inf
