"""A gateway whose clock jumps: nothing is lost or reordered, and what was read before is corrected."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from edge_agent.config.loading import load_agent_config
from edge_agent.config.sections import AgentConfig
from tests.helpers.agents import recorded_frames, recorded_gaps, registered_agents
from tests.helpers.clocked_agent import RIGHT_NS, SPACING_NS, PiClock, counting_log, number_of, running
from tests.helpers.processes import StreamServer

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MARK: Final = "clock_synchronised"
# Two looks at a clock on a busy machine.
NEAR_NS: Final = 20_000_000


@pytest.fixture
def config(tmp_path: Path) -> AgentConfig:
    path = tmp_path / "agent.toml"
    log = counting_log(tmp_path / "drive.log")
    path.write_text(
        '[server]\nurl = "http://127.0.0.1:9"\n[agent]\nid = "pi"\n[[dongles]]\nid = "pi-log"\n'
        f'interface = "log"\nchannel = "{log}"\n'
    )
    return load_agent_config(path)


class Recording:
    """What the server holds of the one dongle."""

    def __init__(self, server: StreamServer) -> None:
        self._server = server
        self._viewer = server.create_token()

    async def has(self, frames: int) -> None:
        """Waits until so many frames more are recorded than now."""
        wanted = frames + await asyncio.to_thread(self._count)
        async with asyncio.timeout(60):
            while await asyncio.to_thread(self._count) < wanted:  # noqa: ASYNC110 - another process has them
                await asyncio.sleep(0.02)

    def _count(self) -> int:
        return recorded_frames(self._server, "pi-log", self._viewer)

    def frames(self) -> list[dict[str, Any]]:
        text = self._server.read("/api/v1/dongles/pi-log/frames?format=jsonl", self._viewer).decode()
        records = [json.loads(line) for line in text.splitlines()]
        return [record for record in records if record["type"] == "can_frame"]

    def lost(self) -> int:
        return sum(gap["frames"] or 0 for gap in recorded_gaps(self._server, "pi-log", self._viewer))


def moment_ns(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1) * 1000


def true_ns(frame: dict[str, Any]) -> int:
    return moment_ns(frame.get("corrected_ts", frame["ts"]))


def check_one_start(frames: list[dict[str, Any]]) -> None:
    """Every frame once and in order, at the spacing of the log: whatever the clock did meanwhile."""
    assert [number_of(frame) for frame in frames] == list(range(len(frames)))
    began_ns = true_ns(frames[0])
    late = [true_ns(frame) - began_ns - number * SPACING_NS for number, frame in enumerate(frames)]
    assert max(map(abs, late)) < NEAR_NS


@pytest.fixture
def recording(tmp_path: Path, config: AgentConfig) -> Any:
    with StreamServer(tmp_path / "server") as server:
        (agent,) = registered_agents(server, ["pi"], tmp_path)
        section = type(config.server)(server.url, str(agent.token_file))
        yield Recording(server), type(config)(section, config.dongles, config.agent)


async def test_a_clock_that_becomes_right_reorders_and_loses_nothing(
    recording: tuple[Recording, AgentConfig],
) -> None:
    recorded, config = recording
    clock = PiClock()
    async with running(config, clock):
        await recorded.has(200)
        clock.set(3600 * 10**9, right=False)  # a fake hardware clock, say
        await recorded.has(200)
        assert not any("corrected_ts" in frame for frame in recorded.frames())
        clock.set(RIGHT_NS, right=True)
        await recorded.has(200)
        clock.set(RIGHT_NS - 2 * 10**9, right=True)  # it was wrong by two seconds, and right all the same
        await recorded.has(200)
    frames = recorded.frames()
    assert recorded.lost() == 0
    marked = [frame for frame in frames if MARK in frame]
    assert len(marked) >= 400
    assert frames[: len(marked)] == marked, "the marked frames are the first"
    assert all(frame["ts"].startswith("1970") and "corrected_ts" in frame for frame in marked)
    assert all(frame["ts"].startswith("2025") for frame in frames[len(marked) :])
    backward = next(n for n in range(1, len(frames)) if true_ns(frames[n]) < true_ns(frames[n - 1]))
    check_one_start(frames[:backward])
    assert [number_of(frame) for frame in frames] == list(range(len(frames)))


async def test_a_clock_beyond_all_times_that_can_be_sent_is_corrected_too(
    recording: tuple[Recording, AgentConfig],
) -> None:
    recorded, config = recording
    clock = PiClock()
    clock.set(2**63 - 10**9, right=False)
    async with running(config, clock):
        await recorded.has(600)
        clock.set(RIGHT_NS, right=True)
        await recorded.has(200)
    frames = recorded.frames()
    check_one_start(frames)
    marked = [moment_ns(frame["ts"]) for frame in frames if MARK in frame]
    assert marked == sorted(set(marked))
    assert marked[-1] - marked[0] > 10**9


@pytest.mark.parametrize("set_before_the_second_start", [False, True])
async def test_an_agent_that_starts_again_in_the_same_boot_corrects_what_the_first_read(
    recording: tuple[Recording, AgentConfig], set_before_the_second_start: bool
) -> None:
    recorded, config = recording
    clock = PiClock()
    async with running(config, clock):
        await recorded.has(200)
    first = len(recorded.frames())
    if set_before_the_second_start:
        clock.set(RIGHT_NS, right=True)
    async with running(config, clock):
        await recorded.has(200)
        clock.set(RIGHT_NS, right=True)
        await recorded.has(200)
    frames = recorded.frames()
    check_one_start(frames[:first])
    check_one_start(frames[first:])
    assert all("corrected_ts" in frame for frame in frames[:first])
    assert (MARK in frames[first]) is not set_before_the_second_start
    assert MARK not in frames[-1]
    assert true_ns(frames[first - 1]) < true_ns(frames[first]) < true_ns(frames[first - 1]) + 60 * 10**9
    assert recorded.lost() == 0
