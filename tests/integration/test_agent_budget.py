"""A day's byte budget of a running agent: frames stop, presence does not, and a new day brings all back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from edge_agent.config.loading import load_agent_config
from edge_agent.config.sections import AgentConfig, ServerSection
from tests.helpers.agents import recorded_frames, recorded_gaps, registered_agents, run_agent
from tests.helpers.clocked_agent import RIGHT_NS, PiClock, counting_log, number_of, running
from tests.helpers.conditions import eventually
from tests.helpers.processes import StreamServer

DAY_NS: Final = 86_400 * 10**9
# Two connections and some seconds of frames.
MAX_BYTES: Final = 60_000
DONGLE: Final = "pi-log"


class Watched:
    """The server, as a viewer sees it."""

    def __init__(self, server: StreamServer, directory: Path) -> None:
        self.server = server
        self.viewer = server.create_token()
        (self.agent,) = registered_agents(server, ["pi"], directory)

    def agent_service(self) -> dict[str, Any]:
        """What the agent says of itself; {} before it has."""
        services = self.server.read_json("/api/v1/agents/pi/services", self.viewer)["services"]
        return next((one for one in services if one["agent_service_id"] == "agent"), {})

    def stage(self) -> int:
        return int(self.agent_service().get("metrics", {}).get("budget_stage", -1))

    def frames(self) -> int:
        return recorded_frames(self.server, DONGLE, self.viewer)

    def numbers(self) -> list[int]:
        """Which frames of the log are recorded."""
        text = self.server.read(f"/api/v1/dongles/{DONGLE}/frames?format=jsonl", self.viewer).decode()
        records = [json.loads(line) for line in text.splitlines()]
        return [number_of(one) for one in records if one["type"] == "can_frame"]

    def is_online(self) -> bool:
        return bool(self.server.read_json("/api/v1/agents/pi", self.viewer)["online"])

    def wait_for_presence(self) -> None:
        def last_seen() -> str:
            return str(self.server.read_json("/api/v1/agents/pi", self.viewer)["last_seen"])

        before = last_seen()
        eventually(lambda: last_seen() != before, "presence goes on")

    def stopped_frames(self) -> int:
        """How many frames there are, once none comes for three signs of life; 0 before.

        What was on its way is recorded later than a sign of life behind it is seen, and may be one itself.
        """
        before = self.frames()
        for _ in range(3):
            self.wait_for_presence()
        return before if self.frames() == before else 0


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    config = tmp_path / "server.toml"
    config.write_text("[agents]\nheartbeat_seconds = 1\n")
    with StreamServer(tmp_path / "server", "--config", config) as server:
        yield Watched(server, tmp_path)


@pytest.fixture
def config(watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AgentConfig:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    path = tmp_path / "agent.toml"
    path.write_text(
        f'[server]\nurl = "http://127.0.0.1:9"\n[agent]\nid = "pi"\n[[dongles]]\nid = "{DONGLE}"\n'
        f'interface = "log"\nchannel = "{counting_log(tmp_path / "drive.log")}"\n'
        f"[uplink]\nmax_bytes_per_day = {MAX_BYTES}\n"
    )
    section = ServerSection(watched.server.url, str(watched.agent.token_file))
    return replace(load_agent_config(path), server=section)


async def test_frames_stop_at_the_budget_and_flow_again_the_next_day(
    watched: Watched, config: AgentConfig
) -> None:
    clock = PiClock()
    clock.set(RIGHT_NS, right=True)
    async with running(config, clock):
        await asyncio.to_thread(eventually, lambda: watched.stage() >= 1, "the budget is spent")
        stopped_at = await asyncio.to_thread(eventually, watched.stopped_frames, "no more frames come")
        said = watched.agent_service()
        assert said["status"] == "DEGRADED"
        # Presence spends the little that is left, so a later stage may have begun.
        assert "frames" in said["message"]
        assert "until 2025-12-23 00:00 UTC" in said["message"]
        await asyncio.to_thread(watched.wait_for_presence)
        assert watched.is_online()
        assert watched.frames() == stopped_at
        clock.set(RIGHT_NS + DAY_NS, right=True)
        await asyncio.to_thread(eventually, lambda: watched.frames() > stopped_at, "frames flow again")
        await asyncio.to_thread(eventually, lambda: watched.stage() == 0, "the budget is restored")
    numbers = watched.numbers()
    lost = [gap for gap in recorded_gaps(watched.server, DONGLE, watched.viewer) if gap["frames"]]
    assert {gap["where"] for gap in lost} == {"agent_budget"}
    missing = set(range(numbers[-1] + 1)) - set(numbers)
    assert sum(gap["frames"] for gap in lost) == len(missing) > 0
    assert numbers == sorted(numbers)


def test_an_agent_that_starts_again_knows_what_is_spent(watched: Watched, tmp_path: Path) -> None:
    dongle = {"id": DONGLE, "interface": "log", "channel": str(counting_log(tmp_path / "drive.log"))}
    uplink = {"max_bytes_per_day": MAX_BYTES}
    with run_agent(watched.agent, watched.server.url, [dongle], uplink=uplink) as process:
        eventually(lambda: watched.stage() >= 1, "the budget is spent")
        assert process.stop() == 0
        assert "frames are not sent" in process.errors
    state = watched.agent.token_file.parent
    spent = json.loads((state / "budget-pi.json").read_bytes())["bytes_sent"]
    assert spent >= MAX_BYTES * 0.8
    before, said_at = watched.frames(), watched.agent_service()["last_seen"]
    with run_agent(watched.agent, watched.server.url, [dongle], uplink=uplink) as process:
        eventually(lambda: watched.agent_service()["last_seen"] > said_at, "the second start reports")
        assert watched.stage() >= 1
        assert watched.agent_service()["metrics"]["bytes_today"] >= spent
        assert process.stop() == 0
    assert watched.frames() == before
