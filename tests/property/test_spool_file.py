"""Whatever lies where the spool should be: it opens, or is set aside and a new one takes its place."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from can_stream.frames.batches import batch_of
from can_stream.lanes.sender import LaneSender
from can_stream.lanes.window import WindowLimits
from can_stream.protocol.packets import GapReason
from edge_agent.config.sections import SpoolSection
from edge_agent.host.clock import Clock
from edge_agent.lanes.spooled_window import SpooledWindow, spooled_lane
from edge_agent.spool.directory import FILE_NAME, kept_files
from edge_agent.spool.spool import Spool
from edge_agent.state import State, StatusCode


@contextmanager
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp())
    try:
        yield path
    finally:
        shutil.rmtree(path)


def a_lane(start_id: str) -> LaneSender:
    lane = spooled_lane("d", "frames", start_id, WindowLimits(), 1000, 0.0)
    lane.take_loss(GapReason.START, None, 0.0)
    for number in range(20):
        lane.take_frames(batch_of([(number, number, 0, 8, bytes(8))]), 0.0)
    return lane


async def run_once(path: Path, lane: LaneSender) -> list[State]:
    """A spool that is opened, writes the lane's packets and is closed."""
    states: list[State] = []
    section = SpoolSection(directory=str(path))
    spool = Spool(section, [lane], Clock(), greet_again=lambda: None, on_state=states.append)
    running = asyncio.create_task(spool.run())
    await spool.opened.wait()
    spool.stop()
    await asyncio.wait_for(running, 30)
    return states


def written_spool() -> bytes:
    with directory() as path:
        asyncio.run(run_once(path, a_lane("01" * 8)))
        return (path / FILE_NAME).read_bytes()


GOOD = written_spool()


# SQLite takes less than a page for an empty file, which is one that can be used.
@given(st.binary(min_size=1024, max_size=3000))
@settings(max_examples=60)
def test_any_bytes_give_a_new_spool_and_a_named_old_one(content: bytes) -> None:
    with directory() as path:
        (path / FILE_NAME).write_bytes(content)
        states = asyncio.run(run_once(path, a_lane("02" * 8)))
        (old,) = kept_files(path)
        assert old.read_bytes() == content
        assert states[-1].code is StatusCode.DEGRADED
        assert old.name in states[-1].message
        again = a_lane("03" * 8)
        asyncio.run(run_once(path, again))
        assert again.window.held_packets == 42


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=40))
@example([(18, 3)])  # "this version only reads it"
@settings(max_examples=200)
def test_a_damaged_file_costs_nothing_of_what_comes_then(damage: list[tuple[int, int]]) -> None:
    content = bytearray(GOOD)
    for place, value in damage:
        content[place] = value
    with directory() as path:
        (path / FILE_NAME).write_bytes(content)
        lane = a_lane("02" * 8)
        asyncio.run(run_once(path, lane))
        assert isinstance(lane.window, SpooledWindow)
        assert lane.window.unsafe_frames == 0, "not all is on disk"
        listed = lane.connect(0.0).backlog
        assert [one.last_seq for one in listed if one.start_id == lane.start_id][-1] == 21


def test_only_some_files_are_kept(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / FILE_NAME).write_bytes(b"no database %d" % number)
        asyncio.run(run_once(tmp_path, a_lane("02" * 8)))
    assert [old.read_bytes() for old in kept_files(tmp_path)] == [b"no database %d" % n for n in (3, 4, 5)]
