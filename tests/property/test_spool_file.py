"""Whatever lies where the spool should be: it opens, or is set aside and a new one takes its place."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_agent.lanes.spooled_lane import SpooledLane
from hypothesis import example, given, settings
from hypothesis import strategies as st

from can_stream.frames.batches import batch_of
from can_stream.lanes.intervals import IntervalSet
from can_stream.lanes.sender import LaneSender
from can_stream.lanes.window import WindowLimits
from can_stream.protocol.packets import GapReason
from edge_agent.config.sections import SpoolSection
from edge_agent.host.clock import Clock
from edge_agent.lanes.disk_backlog import Marks
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


def a_lane(start_id: str) -> SpooledLane:
    lane = SpooledLane("d", "frames", start_id, WindowLimits(), 1000, 0.0)
    lane.take_loss(GapReason.START, None, 0.0)
    for number in range(20):
        lane.take_frames(batch_of([(number, number, 0, 8, bytes(8))]), 0.0)
    return lane


async def run_once(path: Path, lane: SpooledLane) -> list[State]:
    """A spool that is opened, writes the lane's packets and is closed."""
    states: list[State] = []
    lanes: list[LaneSender] = [lane]
    section = SpoolSection(directory=str(path))
    spool = Spool(section, lanes, Clock(), greet_again=lambda: None, on_state=states.append)
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
        assert again.held_packets == 42


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
        assert lane.held_frames == 0, "not all is on disk"
        listed = lane.connect(0.0).backlog
        assert [one.last_seq for one in listed if one.start_id == lane.start_id][-1] == 21


def test_only_some_files_are_kept(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / FILE_NAME).write_bytes(b"no database %d" % number)
        asyncio.run(run_once(tmp_path, a_lane("02" * 8)))
    assert [old.read_bytes() for old in kept_files(tmp_path)] == [b"no database %d" % n for n in (3, 4, 5)]


@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 50)), max_size=100), st.integers(0, 10**9))
def test_marks_never_forget_what_may_have_been_sent(parts: list[tuple[int, int]], announced: int) -> None:
    marks = Marks(announced)
    for first, length in parts:
        marks.may_have_sent(first, first + length)
    again = Marks.parse(marks.text())
    assert again.announced == announced
    assert all(again.sent.missing(first, first + length) == [] for first, length in parts)
    assert len(list(again.sent)) <= 32
    assert not IntervalSet([(1, 2)]).missing(1, 2)
