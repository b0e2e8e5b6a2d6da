"""A file that is deleted, covered, cut or locked meanwhile: what waits is moved, or known to be lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from can_stream.frames.batches import FrameBatch, batch_of
from can_stream.lanes.sender import LaneSender
from can_stream.lanes.window import WindowLimits
from can_stream.protocol.hop import RangeKind
from can_stream.protocol.lanes_control import LedgerEntry
from can_stream.protocol.packets import Gap, GapReason, decode_packet
from edge_agent.config.sections import SpoolSection
from edge_agent.host.clock import Clock
from edge_agent.spool.directory import FILE_NAME, WAL_NAME, kept_files
from edge_agent.spool.errors import spool_errors
from edge_agent.spool.file import SpoolFile
from edge_agent.spool.spool import Spool
from edge_agent.spool.store import Moment, SpoolStore
from edge_agent.state import State, StatusCode
from tests.helpers.spooled_lanes import START, a_spooled_lane, until, window_of

EARLIER = "00" * 8
Frame = tuple[str, int]
"""Start and position."""


class Agent:
    """A lane whose frames are numbered by their ids, its spool, and a server that has all at once."""

    def __init__(self, path: Path, start_id: str = START, reserve_bytes: int | None = None) -> None:
        self.lane = a_spooled_lane(start_id=start_id, limits=WindowLimits(max_in_flight=10**6))
        self.window = window_of(self.lane)
        self.states: list[State] = []
        self.greetings = asyncio.Event()
        self.recorded: dict[Frame, int] = {}
        self.in_gaps: set[Frame] = set()
        section = SpoolSection(str(path), flush_seconds=0.02, reserve_bytes=reserve_bytes)
        self.spool = Spool(
            section, [self.lane], Clock(), greet_again=self.greetings.set, on_state=self.states.append
        )

    def make(self, packets: int) -> None:
        for _ in range(packets):
            first = self.lane.next_frame
            ids = range(first, first + 10)
            self.lane.take_frames(batch_of([(0, one, 1, 8, os.urandom(8)) for one in ids]), 0.0)

    async def until_on_disk(self, frames: int) -> None:
        await until(lambda: self.window.disk.frames == frames)

    async def until_greeting(self) -> None:
        async with asyncio.timeout(30):
            await self.greetings.wait()
        self.greetings.clear()

    async def deliver(self) -> None:
        """All that this connection may send."""
        while self.lane.has_unsent or not self.window.disk.reader.is_finished:
            await until(lambda: self.lane.has_unsent or self.window.disk.reader.is_finished)
            self.deliver_now()

    def deliver_now(self) -> list[RangeKind]:
        kinds = []
        while (sent := self.lane.next_packet()) is not None:
            kinds.append(sent[0])
            packet = decode_packet(sent[1])
            start_id, _ = packet.number
            assert packet.position is not None
            places = [(start_id, packet.position + i) for i in range(packet.frames or 0)]
            if isinstance(packet.body, FrameBatch):
                ids = packet.body.arbitration_id.tolist()
                assert not set(places) & set(self.recorded), "recorded twice"
                self.recorded |= dict(zip(places, ids, strict=True))
            else:
                assert isinstance(packet.body, Gap)
                assert packet.body.reason is GapReason.SPOOL
                self.in_gaps |= set(places)
            self.lane.acknowledged(sent[0], packet.number)
        return kinds

    @property
    def state(self) -> State:
        return self.spool.state


@contextlib.asynccontextmanager
async def running(
    path: Path, start_id: str = START, *, opens: bool = True, reserve_bytes: int | None = None
) -> AsyncIterator[Agent]:
    """Its spool runs meanwhile, and comes to its end."""
    agent = Agent(path, start_id, reserve_bytes)
    task = asyncio.create_task(agent.spool.run())
    try:
        if opens:
            await asyncio.wait_for(agent.spool.opened.wait(), 30)
        yield agent
    finally:
        agent.spool.stop()
        await asyncio.wait_for(task, 30)


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.spool.spool.LOOK_SECONDS", 0.05)
    monkeypatch.setattr("edge_agent.spool.spool.IN_USE_SECONDS", 0.05)


def places(start_id: str, first: int, last: int) -> dict[Frame, int]:
    return {(start_id, place): place for place in range(first, last)}


async def leave(path: Path, packets: int, start_id: str = EARLIER) -> None:
    """What an earlier start left there."""
    async with running(path, start_id) as agent:
        agent.make(packets)


async def until_file(path: Path) -> None:
    await until((path / FILE_NAME).exists)


async def test_a_file_that_is_deleted_is_made_again_with_all_that_waits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await leave(tmp_path, 3)
    async with running(tmp_path) as agent:
        agent.make(20)
        await agent.until_on_disk(230)
        for name in (FILE_NAME, WAL_NAME):
            (tmp_path / name).unlink(missing_ok=True)
        await until_file(tmp_path)
        agent.make(5)
        await agent.until_on_disk(280)
        assert "its file was deleted" in caplog.text
        assert agent.state.code is StatusCode.OK
        assert "its file was deleted, or something else was put in its place" in agent.state.message
        assert agent.spool.trimmed_frames == 0
    async with running(tmp_path, "02" * 8) as after:
        hello = after.lane.connect(0.0)
        assert hello.complete
        entries = [(entry.start_id, entry.frames) for entry in hello.starts]
        assert entries == [(EARLIER, 30), (START, 250), ("02" * 8, 0)]
        await after.deliver()
        assert after.recorded == places(EARLIER, 0, 30) | places(START, 0, 250)
        assert not after.in_gaps


@pytest.mark.parametrize("put", ["nothing", "the log of another", "nonsense"])
async def test_a_log_that_alone_is_deleted_is_made_again_and_a_kill_costs_nothing_of_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, put: str
) -> None:
    path, killed, other = tmp_path / "spool", tmp_path / "killed", tmp_path / "other"
    async with running(other, EARLIER) as agent:
        agent.make(20)
        await agent.until_on_disk(200)
        foreign = (other / WAL_NAME).read_bytes()
    async with running(path) as agent:
        agent.make(20)
        await agent.until_on_disk(200)
        (path / WAL_NAME).unlink()
        if put != "nothing":
            (path / WAL_NAME).write_bytes(foreign if put == "the log of another" else os.urandom(5_000))
        await until(lambda: "its log was deleted and is made anew" in caplog.text)
        agent.make(5)
        await agent.until_on_disk(250)
        shutil.copytree(path, killed)  # what a process that is killed now leaves
        assert agent.state.code is StatusCode.OK
        assert not kept_files(path)
    for left in (path, killed):
        async with running(left, "02" * 8) as after:
            after.lane.connect(0.0)
            await after.deliver()
            assert after.recorded == places(START, 0, 250)
            assert not after.in_gaps


async def test_a_log_that_cannot_be_made_anew_is_said_and_nothing_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk."""
    async with running(tmp_path) as agent:
        agent.make(20)
        await agent.until_on_disk(200)
        with monkeypatch.context() as patched:
            patched.setattr(SpoolFile, "make_log_anew", fails)
            (tmp_path / WAL_NAME).unlink()
            await until(lambda: agent.state.code is StatusCode.DEGRADED)
            assert "its log was deleted, and cannot be made anew yet (disk I/O error)" in agent.state.message
            agent.make(5)
            await agent.until_on_disk(250)
        await until(lambda: agent.state.code is StatusCode.OK)
        agent.lane.connect(0.0)
        await agent.deliver()
        assert agent.recorded == places(START, 0, 250)


def fails(_: SpoolFile) -> None:
    raise sqlite3.OperationalError("disk I/O error")


async def test_what_is_on_a_full_disk_goes_to_the_server_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else may make room: it may be the spool that fills the disk."""
    monkeypatch.setattr("edge_agent.spool.spool.RETRY_SECONDS", 0.1)
    async with running(tmp_path) as agent:
        agent.make(200)
        await agent.until_on_disk(2000)
        with monkeypatch.context() as patched:
            patched.setattr(SpoolStore, "apply", is_full)
            agent.make(5)
            await until(lambda: agent.state.code is StatusCode.FAILED)
            assert (
                "the disk is full: free some space; meanwhile packets wait in memory" in agent.state.message
            )
            agent.lane.connect(0.0)
            await agent.deliver()
            assert agent.recorded == places(START, 0, 2050)
            assert agent.state.code is StatusCode.FAILED
        await until(lambda: agent.state.code is StatusCode.OK)
    async with running(tmp_path, "02" * 8) as after:
        assert after.lane.connect(0.0).backlog == []


async def test_with_too_little_of_the_disk_free_for_others_packets_wait_in_memory_until_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.spool.spool.RETRY_SECONDS", 0.1)
    async with running(tmp_path, reserve_bytes=1 << 40) as agent:
        agent.make(5)
        await until(lambda: agent.state.code is StatusCode.FAILED)
        assert "1099511.6 MB that are kept for others: free some space" in agent.state.message
        assert "`reserve_bytes` below [spool]; meanwhile packets wait in memory" in agent.state.message
        agent.lane.connect(0.0)
        await agent.deliver()
        assert agent.recorded == places(START, 0, 50), "what is live goes on"
        agent.lane.disconnect()
        agent.make(5)
    async with running(tmp_path, "02" * 8) as after:
        assert [one.frames for one in after.lane.connect(0.0).backlog] == [50], "written at the end"


def is_full(_: SpoolStore, *__: object) -> int:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    with spool_errors(Path("spool")):
        raise error


async def test_what_is_on_its_way_while_the_file_is_moved_arrives_once(tmp_path: Path) -> None:
    async with running(tmp_path) as agent:
        agent.make(100)
        await agent.until_on_disk(1000)
        agent.lane.max_backlog_frames = 100
        agent.lane.connect(0.0)
        await until(lambda: agent.lane.window.has_backlog)
        on_their_way = [agent.lane.next_packet() for _ in range(5)]
        for name in (FILE_NAME, WAL_NAME):
            (tmp_path / name).unlink(missing_ok=True)
        await until_file(tmp_path)
        for sent in on_their_way:
            assert sent is not None
            packet = decode_packet(sent[1])
            assert isinstance(packet.body, FrameBatch)
            assert packet.position is not None
            for i, one in enumerate(packet.body.arbitration_id.tolist()):
                agent.recorded[START, packet.position + i] = one
            agent.lane.acknowledged(sent[0], packet.number)
        await agent.deliver()
        assert agent.recorded == places(START, 0, 1000)
        assert agent.lane.is_empty
    async with running(tmp_path, "02" * 8) as after:
        assert after.lane.connect(0.0).backlog == [], "acknowledged, and still on disk"


async def test_a_directory_that_is_covered_gives_what_waits_to_the_one_that_is_seen(tmp_path: Path) -> None:
    """As by a disk that is mounted late, on which an earlier start left something."""
    path, covered, late = tmp_path / "spool", tmp_path / "covered", tmp_path / "late"
    await leave(late, 3)
    async with running(path) as agent:
        agent.make(20)
        await agent.until_on_disk(200)
        agent.lane.connect(0.0)
        await agent.deliver()
        agent.make(10)  # on this connection
        agent.lane.disconnect()
        await agent.until_on_disk(100)
        agent.lane.connect(0.0)
        path.rename(covered)
        late.rename(path)
        await agent.until_greeting()
        hello = agent.lane.connect(0.0)
        assert hello.complete
        assert [one.start_id for one in hello.backlog] == [EARLIER, START]
        assert hello.starts == [LedgerEntry(EARLIER, 3, 30, 0), LedgerEntry(START, 30, 300, 200)]
        await agent.deliver()
        assert agent.recorded == places(EARLIER, 0, 30) | places(START, 0, 300)
        agent.make(4)
        agent.lane.disconnect()
        await agent.until_on_disk(40)
    async with running(path, "02" * 8) as after:
        after.lane.connect(0.0)
        await after.deliver()
        assert after.recorded == places(START, 300, 340)


async def test_a_file_that_comes_back_brings_nothing_a_second_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As when the disk is unmounted again."""
    path, covered, late = tmp_path / "spool", tmp_path / "covered", tmp_path / "late"
    late.mkdir()
    async with running(path) as agent:
        agent.make(20)
        await agent.until_on_disk(200)
        path.rename(covered)
        late.rename(path)
        await until((path / FILE_NAME).exists)
        agent.make(5)
        await agent.until_on_disk(250)
        path.rename(late)
        covered.rename(path)
        await until(lambda: caplog.text.count("what waits is moved there") == 2)
        await until(lambda: agent.state.message.endswith("what waited was moved there (2 times)"))
        agent.make(5)
        await agent.until_on_disk(300)
    async with running(path, "02" * 8) as after:
        hello = after.lane.connect(0.0)
        assert sum(one.frames for one in hello.backlog) == 300
        await after.deliver()
        assert after.recorded == places(START, 0, 300)


@pytest.mark.parametrize("delivers", [False, True])
async def test_a_copy_that_is_put_in_its_place_brings_nothing_a_second_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, delivers: bool
) -> None:
    """As when all is copied to a larger disk, which is then mounted over it."""
    path, copy = tmp_path / "spool", tmp_path / "copy"
    await leave(path, 3)
    async with running(path) as agent:
        agent.make(20)
        await agent.until_on_disk(230)
        shutil.copytree(path, copy)
        if delivers:
            agent.lane.connect(0.0)
            await agent.deliver()
        agent.make(5)
        agent.lane.disconnect()
        await agent.until_on_disk(50 if delivers else 280)
        path.rename(tmp_path / "old")
        copy.rename(path)
        await until(lambda: "what waits is moved there" in caplog.text)
        agent.make(5)
        await agent.until_on_disk(130 if delivers else 330)
        hello = agent.lane.connect(0.0)
        assert sum(one.frames for one in hello.backlog) == (130 if delivers else 330)
        if delivers:  # the copy alone knows that these wait, and they are recorded
            agent.recorded = {place: one for place, one in agent.recorded.items() if place[0] == START}
        await agent.deliver()
        assert agent.recorded == places(EARLIER, 0, 30) | places(START, 0, 300)
        assert agent.lane.is_empty
        assert agent.lane.acknowledged_frames == 300, "each once"
    async with running(path, "02" * 8) as after:
        assert after.lane.connect(0.0).backlog == []


@pytest.mark.parametrize("whole", [False, True])
async def test_a_file_that_is_deleted_right_before_the_end_is_moved_too(tmp_path: Path, whole: bool) -> None:
    path = tmp_path / "spool"
    async with running(path) as agent:
        agent.make(20)
        await agent.until_on_disk(200)
        if whole:
            shutil.rmtree(path)
        else:
            (path / FILE_NAME).unlink()
    async with running(path, "02" * 8) as after:
        after.lane.connect(0.0)
        await after.deliver()
        assert after.recorded == places(START, 0, 200)


async def test_a_file_that_was_cut_is_set_aside_and_gaps_say_what_was_in_it(tmp_path: Path) -> None:
    await leave(tmp_path, 3)
    async with running(tmp_path) as agent:
        agent.make(20)
        await agent.until_on_disk(230)
        os.truncate(tmp_path / FILE_NAME, 0)
        await until(lambda: bool(kept_files(tmp_path)))
        agent.make(5)
        await agent.until_on_disk(50)
        assert agent.state.code is StatusCode.DEGRADED
        assert "a file that could not be read was set aside as unreadable-" in agent.state.message
        assert agent.spool.trimmed_frames == 230
        assert agent.lane.connect(0.0).complete
        await agent.deliver()
        assert agent.in_gaps == set(places(EARLIER, 0, 30) | places(START, 0, 200))
        assert agent.recorded == places(START, 200, 250)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process has it meanwhile: locks are between processes."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        store = SpoolStore(path, 10_000_000, Moment("boot", 0.0, None))
        os.write(writing, b"opened")
        signal.pause()
        store.close()
        os._exit(0)
    try:
        assert os.read(reading, 6) == b"opened"
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)


async def test_a_file_that_is_locked_at_the_start_is_read_once_it_is_free(tmp_path: Path) -> None:
    await leave(tmp_path, 3)
    with locked(tmp_path):
        agent = Agent(tmp_path)
        task = asyncio.create_task(agent.spool.run())
        await until(lambda: bool(agent.states))
        (state,) = agent.states
        assert state.code is StatusCode.FAILED
        assert "until then the server is told of what is new alone" in state.message
        assert not agent.spool.opened.is_set()
        agent.make(2)
        hello = agent.lane.connect(0.0)
        assert not hello.complete
        assert [one.start_id for one in hello.backlog] == [START]
        agent.make(1)
        assert agent.deliver_now() == [RangeKind.LIVE, RangeKind.BACKLOG, RangeKind.BACKLOG]
    await agent.until_greeting()
    assert agent.spool.opened.is_set()
    assert agent.state.code is StatusCode.OK
    hello = agent.lane.connect(0.0)
    assert hello.complete
    assert [one.start_id for one in hello.backlog] == [EARLIER]
    await agent.deliver()
    assert agent.recorded == places(EARLIER, 0, 30) | places(START, 0, 30)
    agent.spool.stop()
    await asyncio.wait_for(task, 30)


async def test_a_hello_that_cuts_ranges_is_not_complete(tmp_path: Path) -> None:
    for number in range(1, 4):
        await leave(tmp_path, 1, f"{number:016x}")
    async with running(tmp_path) as agent:
        hello = agent.lane.connect(0.0, 2)
        assert (len(hello.backlog), hello.complete) == (2, False)
        await agent.deliver()
        await agent.until_greeting()
        hello = agent.lane.connect(0.0, 2)
        assert (len(hello.backlog), hello.complete) == (1, True)


def test_a_lane_whose_spool_was_never_opened_is_not_complete() -> None:
    lane: LaneSender = a_spooled_lane()
    assert not lane.connect(0.0).complete
