"""How an agent ends: what is waited for, what the disk keeps, and what is said of the rest."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from edge_agent import draining
from edge_agent.budget.budget import Stage
from edge_agent.config.sections import SpoolSection
from edge_agent.draining import acknowledged, drain
from edge_agent.spool.directory import FILE_NAME
from edge_agent.spool.store import Moment, SpoolStore
from edge_agent.state import StatusCode
from tests.helpers.agent_parts import (
    AgentParts,
    databases,
    log_section,
    put_frames,
    put_values,
    slcan_section,
)
from tests.helpers.conditions import running
from tests.helpers.spooled_lanes import until
from tests.helpers.uplink_server import listening, streaming


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edge_agent.draining")


@pytest.fixture
def _soon(mocker: MockerFixture) -> None:
    """Nothing takes as long as it says."""
    mocker.patch.object(draining, "STOP_SECONDS", 0.2)
    mocker.patch.object(draining, "STOP_SPOOLED_SECONDS", 0.1)


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """What was said of the end."""
    return [(one.levelname, one.getMessage()) for one in caplog.records if one.name == "edge_agent.draining"]


def with_values(parts: AgentParts, frames: int, values: int) -> None:
    """Its first dongle has so much in its lanes."""
    (dongle, *_) = parts.dongles
    parts.announcer.databases_loaded(dongle, databases())
    put_frames(dongle, frames)
    put_values(dongle, values)


def on_disk(directory: Path) -> dict[str, int]:
    """What a start after this one finds there: frames and values by lane."""
    now = Moment("another boot", 5.0, None)
    store = SpoolStore(directory, 10_000_000, now)
    left = {
        key[1]: sum(one.frames for one in lane.backlog.stretches) for key, lane in store.left(now).items()
    }
    store.close()
    return left


async def drained(parts: AgentParts) -> float:
    """Ends an agent that streams; how long that took."""
    loop, spool = asyncio.get_running_loop(), parts.spool
    async with streaming(parts.uplink) as task:
        spooling = None if spool is None else asyncio.create_task(spool.run())
        if spool is not None:
            await spool.opened.wait()
        begun_seconds = loop.time()
        await drain(parts.uplink, task, parts.lanes, spool, spooling)
        assert task.done()
        assert spooling is None or spooling.done()
    return loop.time() - begun_seconds


# -- what is waited for


async def test_what_the_server_takes_in_time_is_waited_for_and_not_spoken_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with listening() as server:
        parts = AgentParts([log_section()], server.url)
        with_values(parts, 30, 4)
        assert await drained(parts) < draining.STOP_SECONDS
    assert [lane.acknowledged_frames for lane in parts.lanes] == [30, 4]
    assert logged(caplog) == []


async def test_the_last_ack_ends_it(mocker: MockerFixture) -> None:
    mocker.patch.object(draining, "STOP_SECONDS", 600.0)
    async with listening(acks=False) as server:
        parts = AgentParts([log_section()], server.url)
        async with streaming(parts.uplink) as task:
            put_frames(parts.dongles[0], 3)
            ending = asyncio.create_task(drain(parts.uplink, task, parts.lanes, None, None))
            await server.packets.until(2)  # the gap at the start, and the frames
            assert not ending.done()
            server.acks = True
            await server.drop()  # what is sent again is acknowledged
            async with asyncio.timeout(30):
                await ending
    assert parts.lanes[0].is_empty


@pytest.mark.usefixtures("_soon")
async def test_a_lane_without_budget_is_waited_for_unless_the_agent_stops() -> None:
    async with listening() as server:
        parts = AgentParts([log_section()], server.url)
        (lane,) = parts.lanes
        lane.paused = True
        async with streaming(parts.uplink):
            async with asyncio.timeout(30):
                await acknowledged(parts.uplink, parts.lanes, stopping=True)
            assert not lane.is_empty
            waiting = asyncio.create_task(acknowledged(parts.uplink, parts.lanes))
            put_frames(parts.dongles[0], 1)
            parts.uplink.progress.set()
            for _ in range(10):
                await asyncio.sleep(0)
            assert not waiting.done(), "a log is played to its end, be it tomorrow"
            parts.dongles[0].pipeline.limit(Stage.EVERYTHING)
            async with asyncio.timeout(30):
                await waiting


async def test_a_server_that_refuses_is_asked_again_after_a_while(mocker: MockerFixture) -> None:
    mocker.patch.object(draining, "REFUSED_SECONDS", 0.01)
    async with listening() as server:
        parts = AgentParts([log_section()], server.url)
        server.refuses = True
        async with running(parts.uplink.run()):
            while not parts.uplink.state.refused:
                await parts.uplink.progress.wait()
                parts.uplink.progress.clear()
            waiting = asyncio.create_task(acknowledged(parts.uplink, parts.lanes))
            await asyncio.sleep(0)
            assert not waiting.done(), "another server, or another token, may take it"
            parts.lanes[0].accepted(parts.lanes[0].next_seq)
            async with asyncio.timeout(30):
                await waiting


# -- what is lost


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize(
    ("frames", "values", "lost"),
    [
        (30, 4, "30 frames and 4 signal values"),
        (30, 0, "30 frames"),
        (0, 4, "4 signal values"),
    ],
)
async def test_what_was_not_acknowledged_in_time_is_lost_and_counted(
    frames: int, values: int, lost: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(acks=False) as server:
        parts = AgentParts([log_section()], server.url)
        if values:
            with_values(parts, max(frames, 1), values)
            if not frames:
                parts.lanes[0].accepted(parts.lanes[0].next_seq)
        else:
            put_frames(parts.dongles[0], frames)
        assert await drained(parts) >= 0.2
    assert logged(caplog) == [("ERROR", f"{lost} were not acknowledged by the server and are lost")]


@pytest.mark.usefixtures("_soon")
async def test_what_was_never_sent_of_a_log_is_in_the_log_and_not_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    parts = AgentParts([log_section()], "http://127.0.0.1:1")
    put_frames(parts.dongles[0], 30)
    async with running(parts.uplink.run()) as task:
        await drain(parts.uplink, task, parts.lanes, None, None)
    assert logged(caplog) == [
        ("WARNING", "30 frames were not sent, and are in the log still: start again to play it")
    ]


@pytest.mark.usefixtures("_soon")
async def test_the_lanes_of_all_dongles_are_one_sum(caplog: pytest.LogCaptureFixture) -> None:
    async with listening(acks=False) as server:
        parts = AgentParts([log_section("van7-a"), log_section("van7-b")], server.url)
        for dongle, count in zip(parts.dongles, (30, 12), strict=True):
            put_frames(dongle, count)
        await drained(parts)
    assert [message.partition(" were")[0] for _, message in logged(caplog)] == ["42 frames"]


@pytest.mark.usefixtures("_soon")
async def test_a_gap_that_was_not_acknowledged_is_no_loss_to_speak_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with listening(acks=False) as server:
        parts = AgentParts([log_section()], server.url)
        await drained(parts)
        assert not parts.lanes[0].is_empty
    assert logged(caplog) == []


# -- what the disk keeps


@pytest.mark.usefixtures("_soon")
async def test_what_the_disk_keeps_is_not_lost_and_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "spool"
    async with listening(acks=False) as server:
        parts = AgentParts([slcan_section("/dev/none")], server.url, spool=SpoolSection(str(directory)))
        with_values(parts, 30, 4)
        await drained(parts)
    assert logged(caplog) == [("INFO", f"34 frames and values wait in {directory}")]
    assert on_disk(directory) == {"frames": 30, "signals": 4}


async def test_what_the_disk_keeps_is_not_waited_for_long(tmp_path: Path) -> None:
    async with listening(acks=False) as server:
        parts = AgentParts(
            [slcan_section("/dev/none")], server.url, spool=SpoolSection(str(tmp_path / "spool"))
        )
        put_frames(parts.dongles[0], 30)
        seconds = await drained(parts)
    assert draining.STOP_SPOOLED_SECONDS <= seconds < draining.STOP_SECONDS


@pytest.mark.usefixtures("_soon")
async def test_a_log_beside_it_is_waited_for_as_long_as_without_a_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sections = [slcan_section("/dev/none"), log_section()]
    async with listening(acks=False) as server:
        parts = AgentParts(sections, server.url, spool=SpoolSection(str(tmp_path / "spool")))
        for dongle, count in zip(parts.dongles, (30, 12), strict=True):
            put_frames(dongle, count)
        assert await drained(parts) >= draining.STOP_SECONDS
    assert logged(caplog) == [
        ("ERROR", "12 frames were not acknowledged by the server and are lost"),
        ("INFO", f"30 frames and values wait in {tmp_path / 'spool'}"),
    ]


@pytest.mark.usefixtures("_soon")
async def test_what_a_disk_that_fails_does_not_keep_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    no_directory = tmp_path / "spool"
    no_directory.touch()
    async with listening(acks=False) as server:
        parts = AgentParts([slcan_section("/dev/none")], server.url, spool=SpoolSection(str(no_directory)))
        put_frames(parts.dongles[0], 30)
        assert await drained(parts) >= draining.STOP_SECONDS, "there is no other hope than the server"
    assert logged(caplog) == [("ERROR", "30 frames were not acknowledged by the server and are lost")]


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("leaves_directory", [False, True])
async def test_what_was_on_a_disk_that_is_gone_is_not_said_to_wait_there(
    leaves_directory: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture, mocker: MockerFixture
) -> None:
    mocker.patch("edge_agent.spool.spool.LOOK_SECONDS", 0.05)
    directory, gone = tmp_path / "spool", tmp_path / "gone"
    parts = AgentParts([slcan_section("/dev/none")], spool=SpoolSection(str(directory), flush_seconds=0.05))
    put_frames(parts.dongles[0], 30)
    spool = parts.spool
    assert spool is not None
    async with running(parts.uplink.run()) as task, asyncio.timeout(60):
        spooling = asyncio.create_task(spool.run())
        await until(lambda: parts.lanes[0].window.unsafe_frames == 0)
        directory.rename(gone)
        if leaves_directory:
            (directory / FILE_NAME).mkdir(parents=True)
        else:
            directory.touch()
        await until(lambda: spool.state.code is StatusCode.FAILED)
        await drain(parts.uplink, task, parts.lanes, spool, spooling)
    level, message = logged(caplog)[-1]
    assert level == "ERROR"
    assert message.startswith(f"30 frames and values were written to {directory}, and are lost if they are")


@pytest.mark.usefixtures("_soon")
async def test_a_disk_that_hangs_does_not_keep_the_agent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parts = AgentParts([slcan_section("/dev/none")], spool=SpoolSection(str(tmp_path / "spool")))
    put_frames(parts.dongles[0], 30)
    async with running(parts.uplink.run()) as task, running(forever()) as spooling, asyncio.timeout(30):
        await drain(parts.uplink, task, parts.lanes, parts.spool, spooling)
        await asyncio.wait([spooling])
        assert task.cancelled()
        assert spooling.cancelled()
    assert logged(caplog) == [("ERROR", "30 frames were not acknowledged by the server and are lost")]


async def forever() -> None:
    """As a thread does whose disk does not answer."""
    await asyncio.Event().wait()
