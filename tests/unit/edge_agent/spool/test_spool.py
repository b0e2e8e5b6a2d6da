"""The spool's rules at its edges: bounds, ages, starts, disks that fail."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest

from can_stream.lanes.sender import LaneSender
from can_stream.lanes.window import WindowLimits
from can_stream.protocol.packets import Gap, GapReason, decode_packet
from edge_agent.config.sections import SpoolSection
from edge_agent.errors import SpoolError
from edge_agent.host.clock import Clock
from edge_agent.lanes.trim import trim
from edge_agent.spool.directory import FILE_NAME, files_bytes, spool_directory
from edge_agent.spool.spool import Spool
from edge_agent.spool.store import Changes, LaneKey, Moment, SpoolStore
from edge_agent.state import State, StatusCode
from tests.helpers.spooled_lanes import (
    START,
    a_spooled_lane,
    acknowledge_all,
    load,
    offer_left,
    random_frames,
    store_all,
    until,
    window_of,
)

KEY: LaneKey = ("van7-can0", "frames")
NOW = Moment("this boot", 100.0, 1_766_417_462_000)


def a_lane(packets: int, start_id: str = START, made_at_seconds: float = 0.0) -> LaneSender:
    lane = a_spooled_lane("van7-can0", start_id)
    for number in range(packets):
        lane.take_frames(random_frames(10, number * 1000), made_at_seconds)
    return lane


def left_by(store: SpoolStore, now: Moment, start_id: str = "02" * 8) -> LaneSender:
    """The lane of another process that finds what is there."""
    lane = a_lane(0, start_id)
    offer_left(store, lane, now)
    return lane


def test_another_process_offers_what_is_there_under_its_own_numbers_and_age(tmp_path: Path) -> None:
    store = SpoolStore(tmp_path, 10_000_000, NOW)
    store_all(store, a_lane(3, made_at_seconds=90.0), NOW)
    (listed,) = left_by(store, NOW).connect(100.0).backlog
    assert (listed.start_id, listed.first_seq, listed.last_seq, listed.frames) == (START, 1, 3, 30)
    assert listed.position == 0
    assert listed.age_seconds == 10.0
    store.close()
    rebooted = Moment("another boot", 5.0, NOW.wall_ms)
    store = SpoolStore(tmp_path, 10_000_000, rebooted)
    (listed,) = left_by(store, rebooted).connect(5.0).backlog
    assert listed.age_seconds is None
    store.close()


@pytest.mark.parametrize(
    ("now", "age_seconds"),
    [
        (Moment("this boot", 160.0, None), 70.0),
        (Moment("another boot", 5.0, 1_766_417_522_000), 70.0),
        (Moment("another boot", 5.0, None), None),
    ],
)
def test_how_old_a_packet_is_is_known_where_the_clocks_can_be_believed(
    tmp_path: Path, now: Moment, age_seconds: float | None
) -> None:
    store = SpoolStore(tmp_path, 10_000_000, NOW)
    store_all(store, a_lane(1, made_at_seconds=90.0), NOW)
    (row,) = store.oldest(now)[KEY]
    assert row.age_seconds == age_seconds
    store.close()


def test_what_is_let_go_before_it_was_ever_sent_is_one_gap_with_its_times(tmp_path: Path) -> None:
    store = SpoolStore(tmp_path, 10_000_000, NOW)
    lane = a_lane(50)
    store_all(store, lane, NOW)
    for at in range(2):
        plan = trim(window_of(lane).disk, store.oldest(NOW)[KEY][: 20 + at])
        store.apply(Changes([(KEY, row) for row in plan.puts], [row.row for row in plan.merged]), NOW)
        window_of(lane).disk.trimmed(plan.lost, plan.merged)
    assert lane.window.trimmed_frames == 400
    lane.connect(100.0)
    fetch = window_of(lane).disk.reader.next_fetch()
    assert fetch is not None
    rows = store.fetch(KEY, fetch, NOW)
    gap = decode_packet(rows[0].packet).body
    assert isinstance(gap, Gap)
    assert gap == Gap(GapReason.SPOOL, 1, 400, 0, 39_009)
    assert [row.number.seq for row in rows] == list(range(40, 49))  # as far as one stretch
    store.close()


def test_a_packet_whose_bytes_are_damaged_is_lost_alone(tmp_path: Path) -> None:
    store = SpoolStore(tmp_path, 10_000_000, NOW)
    lane = a_lane(3)
    store_all(store, lane, NOW)
    store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as file:
        file.execute("UPDATE bodies SET body=zeroblob(20) WHERE id=2")
    store = SpoolStore(tmp_path, 10_000_000, NOW)
    lane.connect(100.0)
    fetch = window_of(lane).disk.reader.next_fetch()
    assert fetch is not None
    bodies = [decode_packet(row.packet) for row in store.fetch(KEY, fetch, NOW)]
    assert [packet.number.seq for packet in bodies] == [1, 2, 3]
    assert bodies[1].body == Gap(GapReason.SPOOL, 2, 10, 1000, 1009)
    store.close()


def test_a_file_that_is_opened_again_gives_what_is_in_it_at_once(tmp_path: Path) -> None:
    store = SpoolStore(tmp_path, 10_000_000, NOW)
    lane = a_lane(3)
    store_all(store, lane, NOW)
    store.close()
    store = SpoolStore(tmp_path, 10_000_000, NOW)
    assert [row.number.seq for row in store.oldest(NOW)[KEY]] == [1, 2, 3]
    store.close()


def test_a_spool_belongs_to_one_agent(tmp_path: Path) -> None:
    store = SpoolStore(tmp_path, 10_000_000, NOW)
    with pytest.raises(SpoolError, match="another agent uses this spool: give each its own `directory`"):
        open_in_another_process(tmp_path)
    store.close()


def open_in_another_process(path: Path) -> None:
    """Locks are between processes."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            SpoolStore(path, 10_000_000, NOW)
            os.write(writing, b"opened")
        except SpoolError as error:
            os.write(writing, error.reason.encode() + b"\0" + error.remedy.encode())
        os._exit(0)
    os.waitpid(child, 0)
    said = os.read(reading, 1000).decode()
    os.close(reading)
    os.close(writing)
    if said != "opened":
        reason, _, remedy = said.partition("\0")
        raise SpoolError(path, reason, remedy)


@pytest.mark.parametrize("max_bytes", [1_000_000, 3_000_000])
async def test_all_files_stay_within_the_bound_and_every_frame_is_counted(
    tmp_path: Path, max_bytes: int
) -> None:
    lane = a_lane(0)
    async with spooling(tmp_path, [lane], max_bytes=max_bytes) as spool:
        for _ in range(30):
            for _ in range(20):
                lane.take_frames(random_frames(1_000), 0.0)
            await until(lambda: lane.window.held_packets == window_of(lane).disk.backlog.packets)
            assert files_bytes(tmp_path) <= max_bytes
        assert spool.trimmed_frames + spool.frames == 600_000
        assert spool.trimmed_frames > 300_000 or max_bytes > 1_000_000
        assert spool.frames > 40_000


def test_live_packets_that_pile_up_ask_for_another_greeting_and_then_are_on_disk_alone(
    tmp_path: Path,
) -> None:
    store = SpoolStore(tmp_path, 10_000_000, NOW)
    lane = a_spooled_lane(limits=WindowLimits(max_bytes=5_000))
    lane.connect(0.0)
    wishes = []
    for number in range(100):
        lane.take_frames(random_frames(10, number), 0.0)
        store_all(store, lane, NOW)
        wishes.append(window_of(lane).wants_greeting)
    assert wishes == sorted(wishes)
    assert wishes.count(True) > 50
    assert lane.window.trimmed_frames == 0
    hello = lane.connect(1.0)
    assert (window_of(lane).wants_greeting, lane.window.held_bytes) == (False, 0)
    assert sum(listed.frames for listed in hello.backlog) == 1_000
    store.close()


def test_a_hello_that_cannot_list_all_lists_the_oldest_and_another_follows(tmp_path: Path) -> None:
    store = SpoolStore(tmp_path, 10_000_000, NOW)
    for start in range(1, 8):
        store_all(store, a_lane(2, f"{start:016x}"), NOW)
    lane = left_by(store, NOW, f"{9:016x}")
    seen: list[str] = []
    while window_of(lane).disk.backlog.stretches:
        hello = lane.connect(100.0, max_ranges=3)
        assert len(hello.backlog) <= 3
        assert hello.complete == (len(hello.backlog) == window_of(lane).disk.backlog.packets // 2)
        seen += [listed.start_id for listed in hello.backlog]
        while load(store, lane, NOW):
            acknowledge_all(lane)
        assert window_of(lane).wants_greeting == bool(window_of(lane).disk.backlog.stretches)
    assert seen == [f"{start:016x}" for start in range(1, 8)]
    store.close()


async def test_packets_of_a_dongle_that_is_gone_wait_and_are_counted(tmp_path: Path) -> None:
    async with spooling(tmp_path, [a_lane(5)]) as spool:
        await until(lambda: spool.frames == 50)
    other = a_spooled_lane("van7-can1", "03" * 8)
    lanes: list[LaneSender] = [other]
    async with spooling(tmp_path, lanes) as spool:
        assert spool.frames == 50
        lanes.append(a_lane(0, "03" * 8))
        await until(lambda: lanes[1].window.held_packets == 5)
        assert spool.frames == 50


async def test_what_is_too_old_goes(tmp_path: Path) -> None:
    clock = Clock()
    lane = a_lane(5, made_at_seconds=clock.monotonic_seconds() - 100)
    async with spooling(tmp_path, [lane]) as spool:
        await until(lambda: spool.frames == 50)
    lane = a_lane(0, "03" * 8)
    async with spooling(tmp_path, [lane], max_age_seconds=60) as spool:
        await until(lambda: spool.trimmed_frames == 50)
        assert spool.frames == 0


async def test_a_place_that_cannot_be_used_is_named_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    lane = a_lane(5)
    states: list[State] = []
    async with spooling(tmp_path / "file", [lane], states=states):
        pass
    assert states[0].code is StatusCode.FAILED
    assert "make it a directory that the agent's user can write" in states[0].message
    assert "meanwhile packets wait in memory alone" in states[0].message
    assert lane.window.unsafe_frames == 50


@contextlib.asynccontextmanager
async def spooling(
    path: Path,
    lanes: Sequence[LaneSender],
    *,
    states: list[State] | None = None,
    max_bytes: int = 500_000_000,
    max_age_seconds: float = 1e6,
) -> AsyncIterator[Spool]:
    """A spool of these lanes that runs inside, and comes to its end."""
    section = SpoolSection(str(path), max_bytes, max_age_seconds)
    told = [] if states is None else states
    spool = Spool(section, lanes, Clock(), greet_again=lambda: None, on_state=told.append)
    running = asyncio.create_task(spool.run())
    await asyncio.wait_for(spool.opened.wait(), 30)
    yield spool
    spool.stop()
    await asyncio.wait_for(running, 30)


@pytest.mark.parametrize(
    ("configured", "environment", "expected"),
    [
        ("/mnt/spool", {"STATE_DIRECTORY": "/var/lib/x"}, "/mnt/spool"),
        (None, {"STATE_DIRECTORY": "/var/lib/x:/var/lib/y"}, "/var/lib/x/spool"),
    ],
)
def test_where_a_spool_is(configured: str | None, environment: Mapping[str, str], expected: str) -> None:
    assert spool_directory(configured, environment) == Path(expected)


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    SpoolStore(tmp_path, 10_000_000, NOW).close()
    assert (tmp_path / FILE_NAME).read_bytes().startswith(b"SQLite format 3")
