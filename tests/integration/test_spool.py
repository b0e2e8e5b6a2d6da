"""The agent's spool with real processes: outages, kills, full and damaged disks."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.agents import recorded_gaps, recorded_lines, run_agent, wait_for_recorded
from tests.helpers.counting_bus import CountingBus, numbers_in
from tests.helpers.processes import EnrolledAgent, StreamServer


def test_what_comes_while_the_server_is_away_arrives_once_and_in_order(tmp_path: Path) -> None:
    with StreamServer(tmp_path / "server") as server, CountingBus() as bus:
        agent = EnrolledAgent(server, "van7", tmp_path)
        token = server.create_token("viewer")
        with run_agent(agent, server.url, [bus.dongle("van7-can0")]) as process:
            bus.wait_until_open()
            bus.send(1000)
            wait_for_recorded(server, "van7-can0", token, 1000)
            server.process.kill()
            bus.send(50_000)
            server.start()
            bus.frames_per_second = 500
            wait_for_recorded(server, "van7-can0", token, 51_000, 120)
            bus.frames_per_second = 0
            wait_for_recorded(server, "van7-can0", token, bus.sent, 60)
            assert process.stop() == 0
        lines = recorded_lines(server, "van7-can0", token)
        assert numbers_in(lines) == list(range(bus.sent))
        assert [gap["where"] for gap in recorded_gaps(server, "van7-can0", token)] == ["agent_start"]
